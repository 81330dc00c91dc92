//! Posthaste: one binary that sends and receives webhooks.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod delivery;
pub mod model;
pub mod scheduler;
pub mod signature;
pub mod store;
