//! Arguments in, exit code out.

use std::process::ExitCode;

/// Every request allocates and frees small pieces on its worker's thread (decision 17); every connection has buffers that it
/// may hardly use (decision 18).
#[global_allocator]
static ALLOCATOR: vpce::edge::memory::Allocator = vpce::edge::memory::Allocator;

fn main() -> ExitCode {
    vpce::cli::run(std::env::args_os())
}
