//! The `posthaste` binary: hands the arguments to the library and exits with its code.

use std::process::ExitCode;

/// A tenth of the CPU of a message was malloc; this one is the fastest measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    posthaste::store::zeros::make_histograms();
    posthaste::cli::run(std::env::args_os())
}
