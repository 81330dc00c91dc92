//! The scheduler: when, and how many at once.
//!
//! One thread decides ([`core`], pure; [`shell`], its hands); attempts run on an elastic [`pool`]
//! of named threads. Everybody else may only commit to the store, which tells the scheduler.
//! Nothing here knows HTTP; nothing here writes a row.

pub mod breaker;
pub mod core;
mod judge;
mod lane;
mod offline;
mod places;
pub mod pool;
mod rates;
mod round;
pub mod shell;
#[cfg(test)]
mod tests;
mod throttle;
mod worker;

pub use lane::Task;
pub use shell::{Scheduler, Settings};
