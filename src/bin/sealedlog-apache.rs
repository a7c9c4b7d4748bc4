//! See `sealedlog::cli::apache`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sealedlog::cli::apache::main()
}
