//! stub

pub mod secret;
