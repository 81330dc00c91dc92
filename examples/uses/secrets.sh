# Secrets for trying the examples out. Real ones belong into a file that only the daemon may read.
export ENDPOINT_SECRET=whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxlcywgMzIgYnl0ZXM=
export STRIPE_SECRET=whsec_example_stripe STRIPE_TOKEN=stripe-0123456789ab
export SHOPIFY_SECRET=example_shopify SHOPIFY_TOKEN=shopify-0123456789a
export JIRA_SECRET=example_jira JIRA_TOKEN=jira-0123456789abcd
export LINEAR_SECRET=lin_wh_example LINEAR_TOKEN=linear-0123456789ab
export GITHUB_SECRET=example_github GITHUB_TOKEN=github-0123456789ab
export GITLAB_SECRET=glt-example GITLAB_TOKEN=gitlab-0123456789ab
