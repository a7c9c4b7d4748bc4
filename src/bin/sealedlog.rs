//! See `sealedlog::cli::sealedlog`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sealedlog::cli::sealedlog::main()
}
