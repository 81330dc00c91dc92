//! stub

pub mod cidr;
pub mod outcome;
pub mod secret;
