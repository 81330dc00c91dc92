//! Integration tests: one file per feature, against the real binary on free ports of loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests are tests"
)]

mod api;
mod binary;
mod cli;
mod clients;
#[allow(dead_code, reason = "shared by test files, not all of which use all of it")]
mod hostile_tools;
mod inbound;
mod limits;
mod properties;
mod races;
mod receivers;
mod tidy;
