//! JSON over HTTP: who is asking, and what they may see and do.
//!
//! So far only `auth`.

pub mod auth;
