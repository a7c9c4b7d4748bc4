//! Command lines, messages and exit status. What is typed is checked here and carried out below.
//!
//! Promises: exit status 0 = done and all is well, 1 = done and the answer is no, 2 = could not be done; an error is one
//! line that says what and where, and one that says what to do.
#![forbid(unsafe_code)]

pub mod apache;
#[cfg(feature = "audit")]
pub mod audit;
mod filter_args;
pub mod follow;
pub mod rotatelogs;
pub mod sealedlog;
pub mod syslog;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// What each program has as its global allocator; who uses the library chooses for himself.
pub use crate::host::alloc::WipingAllocator;
use crate::host::open_files::Process;

/// Where the chains are kept, unless told otherwise.
const STATE_FOLDER: &str = "/var/lib/sealedlog";
/// Where progress is, unless told otherwise.
const RUNTIME_FOLDER: &str = "/run/sealedlog";

/// Exit status of a program that could not do what it was asked for.
pub const TROUBLE: u8 = 2;

/// What comes out of a command: an exit status, or an error with a hint.
pub type Outcome = Result<ExitCode, Trouble>;

/// Why a command could not be carried out.
#[derive(Debug)]
pub struct Trouble {
    error: String,
    hint: String,
}

impl Trouble {
    /// An error, and what to do about it; without a hint where that is empty.
    pub fn new(error: impl Display, hint: impl Into<String>) -> Self {
        Self { error: error.to_string(), hint: hint.into() }
    }
}

/// Tells the outcome and turns it into an exit status.
pub fn report(program: &str, outcome: Outcome) -> ExitCode {
    outcome.unwrap_or_else(|trouble| {
        tell(program, &trouble);
        ExitCode::from(TROUBLE)
    })
}

/// Tells what went wrong.
fn tell(program: &str, trouble: &Trouble) {
    // Where standard error is gone there is nobody left to tell.
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{program}: error: {}", trouble.error);
    if !trouble.hint.is_empty() {
        let _ = writeln!(stderr, "{program}: hint: {}", trouble.hint);
    }
}

/// Writes to standard output; a reader that went away ends the program quietly, as it does `cat`.
pub fn print(text: impl Display) -> Outcome {
    match write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Trouble::new(format_args!("cannot write to standard output: {error}"), "look at where it is redirected to"))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// For a terminal: labels of keys and names of files are whatever somebody wrote.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The same of a path.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Programs with their numbers and units, for people.
fn processes(all: &[Process]) -> String {
    let one = |Process { id, program, unit }: &Process| {
        let unit = unit.as_ref().map_or_else(String::new, |unit| format!(", {}", printable(unit)));
        format!("{} ({id}{unit})", printable(program))
    };
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A number of bytes, for people.
fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let at = (count.ilog2() as usize / 10).min(units.len());
    format!("{:.1} {}", count as f64 / (1u64 << (10 * at)) as f64, units[at - 1])
}
