//! The ledger: what was verified before, so that the next verification finds what was cut, replaced or went missing since; and who
//! has used sealed logs, when and for what.
//!
//! Promises: what is written was sealed with a key of the desk ([`desk`]), so that a ledger that was changed, cut short, exchanged for an
//! older copy or lost is told. It holds chain keys, which forge but never open: it belongs on the auditor's machine.
#![forbid(unsafe_code)]

pub mod desk;

use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::control::{Follows, GenesisFingerprint, Hex, SecretHex, StreamId};

/// The version of the form that is written here.
const VERSION: u32 = 2;

/// What was verified before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Version of this form: 2.
    pub v: u32,
    /// Names the ledger, whatever its file is called: random.
    pub id: Hex<16>,
    /// How many times it was written.
    pub number: u64,
    /// Every stream that was trusted.
    pub streams: Vec<KnownStream>,
    /// Every use of sealed logs, the oldest first.
    pub audits: Vec<Audit>,
}

/// One use of sealed logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When it ended.
    #[serde(with = "crate::control::milliseconds")]
    pub time: Timestamp,
    /// Who: a name that was given, or that of the account.
    pub auditor: String,
    /// With which version of sealedlog.
    pub version: String,
    /// Which command.
    pub command: String,
    /// What of the logs was asked for: time, words, fields; nothing where all was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub window: String,
    /// How many files were read.
    pub files: u64,
    /// How many streams had records in them.
    pub streams: u64,
    /// How many alarms there were.
    pub alarms: u64,
    /// How many warnings.
    pub warnings: u64,
    /// Whether the files themselves were believed where nothing else vouched for them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trust_first: bool,
}

/// One stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownStream {
    /// Its genesis fingerprint.
    pub genesis: GenesisFingerprint,
    /// Its id.
    pub stream: StreamId,
    /// `E_0`.
    pub chain_key: SecretHex,
    /// Number of slots of epoch 0.
    pub slots: u32,
    /// `age` or `openpgp`.
    pub profile: String,
    /// Its host.
    pub host: String,
    /// Its log.
    pub log: String,
    /// When it began.
    #[serde(with = "crate::control::milliseconds")]
    pub began: Timestamp,
    /// Whether it keeps state.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub state: bool,
    /// The stream that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
    /// How far each epoch had come.
    pub epochs: Vec<KnownEpoch>,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_true(value: &bool) -> bool {
    *value
}

/// How far an epoch had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownEpoch {
    /// j.
    pub epoch: u64,
    /// The slot after the highest one seen.
    pub count: u32,
    /// Whether no more could come.
    pub settled: bool,
}

/// Why a ledger cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no ledger.
    #[error("it is not a ledger: {0}")]
    Form(#[from] serde_json::Error),
    /// It was written by another version.
    #[error("it has version {0}, which this program does not know")]
    Version(u32),
    /// Its seal is not that of its content.
    #[error("it was changed after it was written")]
    Changed,
    /// Somebody else has written it since it was read.
    #[error("another program has written it meanwhile")]
    Busy,
    /// What the desk remembers of ledgers cannot be used.
    #[error("what this desk remembers of it cannot be used: {0}")]
    Desk(String),
}
