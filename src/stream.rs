//! Streams: the chain's state on disk, claims of epochs, progress, and the writer that joins them with log files.
//!
//! Promises: an epoch is claimed at most once, whatever dies when; an older chain key cannot be had from the state after
//! a claim; a claim that fails never stops sealing.
#![forbid(unsafe_code)]

pub mod claim;
pub mod counts;
pub mod progress;
pub mod state;
mod sync;
pub mod writer;

pub use self::writer::{Writer, WriterOptions};
