//! Signing what goes out and verifying what comes in. Pure: no I/O, no clock.

pub mod sign;

pub use sign::sign;
