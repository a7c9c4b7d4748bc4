//! The ledger: what was verified before, so that the next verification finds what was cut, replaced or went missing since.
//!
//! It holds chain keys, which forge but never open: it belongs on the auditor's machine.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::control::{Follows, GenesisFingerprint, SecretHex, StreamId};

/// What was verified before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Version of this form: 1.
    pub v: u32,
    /// Every stream that was trusted.
    pub streams: Vec<KnownStream>,
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
    /// It was written by a later version.
    #[error("it has version {0}, which this program does not know")]
    Version(u32),
}

impl Ledger {
    /// Reads a ledger; `None` where there is none yet.
    pub fn read(path: &Path) -> Result<Option<Self>, LedgerError> {
        let text = match fs::read(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let ledger: Self = serde_json::from_slice(&text)?;
        if ledger.v == 1 { Ok(Some(ledger)) } else { Err(LedgerError::Version(ledger.v)) }
    }

    /// Writes it in the place of what was there, all or nothing, for its owner's eyes only.
    pub fn write(&mut self, path: &Path) -> Result<(), LedgerError> {
        self.v = 1;
        let mut text = Zeroizing::new(serde_json::to_vec_pretty(self)?);
        text.push(b'\n');
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        Ok(())
    }
}
