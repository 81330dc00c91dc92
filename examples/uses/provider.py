"""Plays a provider: sends one signed event, as that provider would, and prints the answer.

    provider.py stripe|shopify|jira|linear|github|gitlab URL SECRET
"""

import base64
import hashlib
import hmac
import json
import sys
import time
import urllib.error
import urllib.request
import uuid


def mac(secret, text):
    return hmac.digest(secret.encode(), text, hashlib.sha256)


def stripe(secret):
    body = json.dumps({
        "id": f"evt_{uuid.uuid4().hex[:16]}",
        "type": "checkout.session.completed",
        "data": {"object": {"client_reference_id": "order-1001", "amount_total": 4200}},
    }).encode()
    now = int(time.time())
    signature = mac(secret, f"{now}.".encode() + body).hex()
    return {"stripe-signature": f"t={now},v1={signature}"}, body


def shopify(secret):
    body = json.dumps({"id": 632910392, "title": "Socks", "inventory": 7}).encode()
    return {
        "x-shopify-topic": "products/update",
        "x-shopify-event-id": str(uuid.uuid4()),
        "x-shopify-hmac-sha256": base64.b64encode(mac(secret, body)).decode(),
    }, body


def jira(secret):
    body = json.dumps({
        "webhookEvent": "jira:issue_created",
        "issue": {"key": "OPS-7", "fields": {"summary": "The printer is on fire"}},
    }).encode()
    return {
        "x-atlassian-webhook-identifier": str(uuid.uuid4()),
        "x-hub-signature": "sha256=" + mac(secret, body).hex(),
    }, body


def linear(secret):
    body = json.dumps({
        "action": "create",
        "type": "Issue",
        "data": {"identifier": "ENG-42", "title": "The login is slow"},
        "webhookTimestamp": int(time.time() * 1000),
    }).encode()
    return {
        "linear-delivery": str(uuid.uuid4()),
        "linear-event": "Issue",
        "linear-signature": mac(secret, body).hex(),
    }, body


def github(secret):
    body = json.dumps({
        "ref": "refs/heads/main",
        "repository": {"full_name": "acme/site"},
        "head_commit": {"message": "Mend the footer"},
    }).encode()
    return {
        "x-github-event": "push",
        "x-github-delivery": str(uuid.uuid4()),
        "x-hub-signature-256": "sha256=" + mac(secret, body).hex(),
    }, body


def gitlab(secret):
    body = json.dumps({
        "object_kind": "pipeline",
        "project": {"path_with_namespace": "acme/api"},
        "object_attributes": {"ref": "main", "status": "success"},
    }).encode()
    return {
        "x-gitlab-event": "Pipeline Hook",
        "idempotency-key": str(uuid.uuid4()),
        "x-gitlab-token": secret,
    }, body


def main(name, url, secret):
    headers, body = globals()[name](secret)
    headers["content-type"] = "application/json"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            print(answer.status, answer.headers.get("posthaste-message", "-"))
    except urllib.error.HTTPError as answer:
        sys.exit(f"{answer.code} {answer.read().decode()}")


main(*sys.argv[1:])
