//! See `sealedlog::cli::syslog`.
#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: sealedlog::cli::WipingAllocator = sealedlog::cli::WipingAllocator;

fn main() -> std::process::ExitCode {
    sealedlog::cli::syslog::main()
}
