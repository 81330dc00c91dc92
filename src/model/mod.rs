//! The domain, pure: what an application, an endpoint, a message, a delivery and an attempt are,
//! and which way each may change.
//!
//! No I/O, no clock, no JSON values, no store. Everything else in the house may use this module;
//! it uses nothing.

pub mod application;
pub mod attempt;
mod base62;
pub mod cidr;
pub mod clock;
pub mod cloud_event;
pub mod delivery;
pub mod endpoint;
pub mod event_type;
pub mod id;
pub mod limits;
pub mod matching;
pub mod message;
pub mod name;
pub mod oauth;
pub mod outcome;
pub mod retry;
pub mod secret;
pub mod source;
pub mod task;
