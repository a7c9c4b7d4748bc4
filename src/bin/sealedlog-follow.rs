//! See `sealedlog::cli::follow`.
#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: sealedlog::cli::WipingAllocator = sealedlog::cli::WipingAllocator;

fn main() -> std::process::ExitCode {
    sealedlog::cli::follow::main()
}
