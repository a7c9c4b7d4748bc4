//! sealedlog: log lines sealed to public keys as they are written.
#![deny(missing_docs)]

#[cfg(feature = "audit")]
pub mod audit;
pub mod chain;
pub mod cli;
pub mod control;
pub mod filter;
pub mod follow;
pub mod host;
#[cfg(feature = "audit")]
pub mod identity;
pub mod input;
pub mod keys;
pub mod plaintext;
pub mod recipient;
pub mod record;
pub mod segment;
pub mod services;
pub mod sha256;
pub mod stream;
