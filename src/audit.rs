//! What an auditor does with copied files: read, open, verify, search, export. Library first; the commands are in `cli::audit`.
//!
//! Promises: hostile files cost time and memory in proportion to their bytes, and never a panic.
#![forbid(unsafe_code)]

pub mod claim;
pub mod digest;
pub mod escape;
pub mod event;
pub mod expected;
pub mod export;
pub mod files;
pub mod finding;
pub mod hashes;
pub mod heads;
pub mod ledger;
pub mod lines;
pub mod merge;
pub mod place;
pub mod pool;
pub mod read;
pub mod report;
pub mod row;
pub mod rules;
pub mod scan;
pub mod search;
pub mod select;
pub mod session;
pub mod spill;
pub mod split;
pub mod verify;

use std::time::Duration;

/// A length of time as people write it: `200d`, `12h`, `2w`.
pub fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is no length of time; write for instance 200d or 12h");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(length).map_err(|_| wrong())
}
