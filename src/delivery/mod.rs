//! stub
pub mod guard;
pub mod headers;
pub mod url;
