//! Keeps the zeros that sled asks for from costing memory.
//!
//! sled 0.34 makes 41 histograms of half a megabyte when it is used first, in which it never counts
//! anything (its feature `no_metrics`), and a page table of six megabytes for each store, of which a small
//! store uses a few pages. Zeros that are fresh from the system cost nothing until they are touched. Where
//! the allocator gives out again what was used before, it has to write them: up to half of what an idle
//! daemon took. So what was used before is kept from being given out again.
//!
//! When sled or the allocator do not behave so any more, nothing worse happens than that memory grows.

use std::hint::black_box;

/// Bytes of sled's page table, in the two pieces that it asks for.
const PAGE_TABLE: [usize; 2] = [4 << 20, 2 << 20];

/// Makes sled's histograms; first thing in a process, while all memory is as the system gives it.
pub fn make_histograms() {
    // What prints a profile looks at the histograms first, and with `no_metrics` does nothing then.
    drop(sled::Config::new().print_profile_on_drop(true));
}

/// The places in used memory that are large enough for a page table: while they are held sled gets
/// fresh ones. They are not touched, so they cost nothing.
pub(super) fn hold_used() -> [Vec<u8>; 2] {
    black_box(PAGE_TABLE.map(Vec::with_capacity))
}
