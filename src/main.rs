//! Arguments in, exit code out.

use std::process::ExitCode;

/// Every request allocates and frees small pieces on its worker's thread (decision 17).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vpce::cli::run(std::env::args_os())
}
