//! See `sealedlog::cli::audit`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sealedlog::cli::audit::main()
}
