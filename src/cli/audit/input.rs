//! What `open` and `verify` have in common: files, secret keys, what is trusted.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Args;

use super::passphrase_source;
use crate::audit::files::{self, ExpandError, Files};
use crate::audit::ledger::Ledger;
use crate::audit::session::ReadError;
use crate::audit::verify::Trust;
use crate::cli::Trouble;
use crate::control::GenesisFingerprint;
use crate::host::clock;
use crate::identity::Identities;

/// Files and the secret keys that open them.
#[derive(Args, Debug)]
pub struct InputArgs {
    /// Sealed files, or folders with such files, in any order
    #[arg(required = true, value_name = "FILE|DIR")]
    pub inputs: Vec<PathBuf>,

    /// Secret key that opens them: OpenPGP, age or SSH; may be repeated
    #[arg(short, long, value_name = "SECRET", required = true)]
    key: Vec<PathBuf>,

    /// Read the passphrases of secret keys from this file descriptor, one a line, instead of asking on the terminal
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

/// Where trust starts.
#[derive(Args, Debug)]
pub struct TrustArgs {
    /// Genesis fingerprint from paper: sixteen groups of four hexadecimal digits; may be repeated
    #[arg(long, value_name = "FINGERPRINT")]
    genesis: Vec<GenesisFingerprint>,

    /// File that remembers what was verified before; it is made by the first verification that trusts a stream
    #[arg(long, value_name = "LEDGER")]
    pub ledger: Option<PathBuf>,

    /// Trust the genesis records that the files bring themselves
    #[arg(long)]
    trust_first: bool,
}

impl InputArgs {
    /// The files; what was passed over is told.
    pub fn files(&self) -> Result<Files, Trouble> {
        files::expand(&self.inputs).map_err(|error| match &error {
            ExpandError::Empty(_) => Trouble::new(&error, "their names end in .pgp, .pgp64 or .age64; give others by name"),
            ExpandError::Read { .. } => Trouble::new(&error, "check the path and its permissions"),
        })
    }

    /// The secret keys.
    pub fn identities(&self) -> Result<Identities, Trouble> {
        let mut passphrases = passphrase_source(self.passphrase_fd)?;
        Identities::load(&self.key, &mut *passphrases).map_err(|error| Trouble::new(&error, error.hint()))
    }
}

impl TrustArgs {
    /// What is believed.
    pub fn trust(&self) -> Result<Trust, Trouble> {
        let ledger = match &self.ledger {
            None => None,
            Some(path) => Ledger::read(path).map_err(|error| {
                Trouble::new(
                    format_args!("cannot use the ledger {}: {error}", path.display()),
                    "give the ledger of an earlier verification, or a new name",
                )
            })?,
        };
        Ok(Trust {
            genesis: self.genesis.clone(),
            ledger,
            first: self.trust_first,
            retention: None,
            marked_since: None,
            now: clock::now(),
        })
    }
}

/// A file that cannot be read.
pub fn unreadable(error: &ReadError) -> Trouble {
    Trouble::new(error, "check the path and its permissions")
}
