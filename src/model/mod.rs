//! stub

pub mod outcome;
