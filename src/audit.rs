//! What an auditor does with copied files: read, open, verify. Library first; the commands are in `cli::audit`.
//!
//! Promises: hostile files cost time and memory in proportion to their bytes, and never a panic.
#![forbid(unsafe_code)]

pub mod claim;
pub mod digest;
pub mod event;
pub mod files;
pub mod finding;
pub mod heads;
pub mod ledger;
pub mod place;
pub mod pool;
pub mod read;
pub mod scan;
pub mod session;
pub mod spill;
pub mod split;
pub mod verify;
