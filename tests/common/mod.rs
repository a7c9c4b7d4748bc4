//! What the integration tests share: real keys, a real Apache, real syslog daemons, real-looking lines, and other people's tools.
//!
//! Nothing here imitates a program: what is missing on the machine makes the test fail and says what to install.
//! Each part stands alone; a test file takes what it needs with `mod common;`.
#![allow(dead_code)]
#![forbid(unsafe_code)]

pub mod apache;
pub mod browser;
pub mod disk;
#[cfg(feature = "audit")]
pub mod faults;
pub mod keys;
pub mod lines;
pub mod load;
pub mod measure;
pub mod memory;
pub mod page;
pub mod postfix;
#[cfg(feature = "audit")]
pub mod scene;
#[cfg(feature = "audit")]
pub mod sealed;
#[cfg(feature = "audit")]
pub mod site;
pub mod ssh;
pub mod stock;
pub mod strace;
pub mod syslog;
#[cfg(feature = "audit")]
pub mod syslog_cases;
#[cfg(feature = "audit")]
pub mod tampered;
pub mod tools;
