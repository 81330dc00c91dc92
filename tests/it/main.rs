//! Integration tests: one file per feature, against the real binary on free ports of loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests are tests"
)]

mod api;
mod binary;
mod certificates;
mod cli;
mod clients;
mod disk;
mod hostile;
mod hostile_receivers;
#[allow(dead_code, reason = "shared by test files, not all of which use all of it")]
mod hostile_tools;
mod inbound;
mod limits;
mod lists;
#[path = "../support/certificates.rs"]
mod made_certificates;
mod metrics;
mod oauth;
mod properties;
mod races;
mod receivers;
mod sealed;
mod ssrf;
mod tasks;
mod tidy;

#[path = "../support/mod.rs"]
#[allow(clippy::let_underscore_must_use, reason = "as in the other test programs")]
mod support;
