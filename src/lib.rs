//! Posthaste: one binary that sends and receives webhooks.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod delivery;
pub mod model;
pub mod signature;
pub mod store;
