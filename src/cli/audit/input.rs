//! What the commands that read sealed files have in common: files, secret keys, what is trusted.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args};

use super::{PROGRAM, passphrase_source};
use crate::audit::escape::escape;
use crate::audit::files::{self, ExpandError, Files};
use crate::audit::ledger::Ledger;
use crate::audit::ledger::desk::Head;
use crate::audit::verify::Trust;
use crate::cli::{TROUBLE, Trouble, tell};
use crate::control::GenesisFingerprint;
use crate::host::clock;
use crate::identity::shares::{self, Share, ShareError};
use crate::identity::{Identities, LoadError};

/// Files and the secret keys that open them.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("secrets").required(true).multiple(true).args(["key", "share", "gpg_agent"])))]
pub struct InputArgs {
    /// Sealed files, or folders with such files, in any order
    #[arg(required = true, value_name = "FILE|DIR")]
    pub inputs: Vec<PathBuf>,

    /// Secret key that opens them: OpenPGP, age or SSH; may be repeated
    #[arg(short, long, value_name = "SECRET")]
    key: Vec<PathBuf>,

    /// Share of a secret key that opens them; repeated for as many as are needed
    #[arg(long, value_name = "FILE")]
    share: Vec<PathBuf>,

    /// Use the secret keys that gpg-agent has, on OpenPGP cards too; it asks for passphrase or PIN itself
    #[arg(long)]
    gpg_agent: bool,

    /// Read the passphrases of secret keys from this file descriptor, one a line, instead of asking on the terminal
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,
}

/// Where trust starts, and where it is remembered.
#[derive(Args, Debug)]
pub struct TrustArgs {
    /// Genesis fingerprint from paper: sixteen groups of four hexadecimal digits; may be repeated
    #[arg(long, value_name = "FINGERPRINT")]
    genesis: Vec<GenesisFingerprint>,

    /// File with genesis fingerprints, one a line; what follows # is not read
    #[arg(long, value_name = "FILE")]
    genesis_file: Vec<PathBuf>,

    /// File that remembers what was verified before, and who has used sealed logs; it is made where there is none
    #[arg(long, value_name = "LEDGER")]
    pub ledger: Option<PathBuf>,

    /// Head that the last use of the ledger gave, from paper: five groups of four hexadecimal digits
    #[arg(long, value_name = "HEAD", requires = "ledger")]
    pub ledger_head: Option<Head>,

    /// Who uses the logs, for the ledger; the account's name by default
    #[arg(long, value_name = "NAME")]
    pub auditor: Option<String>,

    /// Trust the genesis records that the files bring themselves
    #[arg(long)]
    trust_first: bool,
}

impl InputArgs {
    /// The files; what could not be had is told. An error where none is left.
    pub fn files(&self) -> Result<Files, Trouble> {
        find_files(&self.inputs)
    }

    /// The secret keys. What is wrong with one is told; it is an error where none is left.
    pub fn keys(&self) -> Result<Keys, Trouble> {
        let mut passphrases = passphrase_source(self.passphrase_fd)?;
        let (mut identities, mut wrong) = (Identities::default(), Vec::new());
        let unusable = |error: LoadError| Trouble::new(&error, error.hint());
        let not_joined = |error: ShareError| Trouble::new(&error, error.hint());
        for path in &self.key {
            wrong.extend(identities.add_file(path, &mut *passphrases).map_err(unusable).err());
        }
        let mut shares = Vec::new();
        for path in &self.share {
            match Share::read(path) {
                Ok(share) => shares.push(share),
                Err(error) => wrong.push(not_joined(error)),
            }
        }
        let (joined, errors) = shares::join(shares);
        wrong.extend(errors.into_iter().map(not_joined));
        for key in joined {
            // Where a file would be named.
            let name = format!("the shared key {}", key.key);
            wrong.extend(identities.add(Path::new(&name), &key.content, &mut *passphrases).map_err(unusable).err());
        }
        if self.gpg_agent {
            wrong.extend(identities.add_agent().map_err(|error| Trouble::new(&error, error.hint())).err());
        }
        let last = if identities.is_empty() { wrong.pop() } else { None };
        for trouble in &wrong {
            tell(PROGRAM, trouble);
        }
        match last {
            Some(trouble) => Err(trouble),
            None => Ok(Keys { identities, all: wrong.is_empty() }),
        }
    }
}

/// The files of these arguments; what could not be had is told. An error where none is left.
pub fn find_files(inputs: &[PathBuf]) -> Result<Files, Trouble> {
    let mut found = files::expand(inputs);
    let trouble = |error: &ExpandError| {
        let hint = match error {
            ExpandError::Empty(_) => "their names end in .pgp, .pgp64 or .age64; give others by name",
            ExpandError::Read { .. } => "check the path and its permissions",
        };
        Trouble::new(escape(error.to_string().as_bytes()), hint)
    };
    let nothing = found.files.is_empty() && found.skipped.is_empty();
    let last = if nothing { found.errors.pop() } else { None };
    for error in &found.errors {
        tell(PROGRAM, &trouble(error));
    }
    last.map_or(Ok(found), |error| Err(trouble(&error)))
}

/// The secret keys that could be had.
pub struct Keys {
    /// They are at least one.
    pub identities: Identities,
    all: bool,
}

impl Keys {
    /// Exit status of a command that did what it could: whether all is well does not count where a key was missing, or where
    /// gpg-agent did not use one, which is told here.
    pub fn status(&self, all_is_well: bool) -> ExitCode {
        let refused = self.identities.refused();
        if let Some(error) = &refused {
            tell(PROGRAM, &Trouble::new(error, error.hint()));
        }
        let all = self.all && refused.is_none();
        ExitCode::from(if all { u8::from(!all_is_well) } else { TROUBLE })
    }
}

impl TrustArgs {
    /// What is believed, with what this ledger knows.
    pub fn trust(&self, ledger: Option<Ledger>) -> Result<Trust, Trouble> {
        let mut genesis = self.genesis.clone();
        for path in &self.genesis_file {
            genesis.extend(read_fingerprints(path)?);
        }
        Ok(Trust { genesis, ledger, first: self.trust_first, retention: None, marked_since: None, now: clock::now() })
    }
}

fn read_fingerprints(path: &Path) -> Result<Vec<GenesisFingerprint>, Trouble> {
    let hint = "a line has sixteen groups of four hexadecimal digits";
    let text = std::fs::read_to_string(path).map_err(|error| {
        Trouble::new(format_args!("cannot read {}: {error}", path.display()), "check the path and its permissions")
    })?;
    let lines = text.lines().zip(1..).map(|(line, number)| (line.split('#').next().unwrap_or_default().trim(), number));
    lines
        .filter(|(line, _)| !line.is_empty())
        .map(|(line, number)| {
            line.parse().map_err(|why| Trouble::new(format_args!("{}, line {number}: {why}", path.display()), hint))
        })
        .collect()
}
