#![doc = include_str!("ARCHITECTURE.md")]

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod delivery;
#[cfg(test)]
mod fuzz;
pub mod inbound;
pub mod model;
pub mod scheduler;
pub mod signature;
#[cfg(test)]
mod sim;
pub mod store;
