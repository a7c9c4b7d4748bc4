//! `sealedlog keys`: what would be sealed to, and what is refused.
//!
//! Promises: nothing is changed, and no secret key is shown.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::cli::{Outcome, Trouble, print, printable};
use crate::keys::{self, KEY_FOLDER};
use crate::recipient::{Recipient, Recipients, Refusal};
use crate::record::Profile;

pub const EXAMPLES: &str = "\
Examples:
  sealedlog keys                       what would be sealed to, and what is refused
  sealedlog keys check --keys new.asc  whether this file can be used, before it is put in place";

#[derive(Args, Debug)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: Option<KeysCommand>,

    #[command(flatten)]
    paths: KeyPaths,
}

#[derive(Subcommand, Debug)]
enum KeysCommand {
    /// Tell whether the keys can be used together, and what the choice costs (the default)
    Check(KeyPaths),
    /// List the keys, one a line: file, kind, fingerprint, expiry, label, separated by tabs
    List(KeyPaths),
}

#[derive(Args, Debug)]
pub struct KeyPaths {
    /// Key file or folder; may be repeated
    #[arg(long, value_name = "PATH", default_value = KEY_FOLDER)]
    pub keys: Vec<PathBuf>,

    /// Record format, where the keys leave a choice: rfc9580, rfc4880 or age
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<Profile>,
}

/// The subcommand.
pub fn run(args: KeysArgs) -> Outcome {
    match args {
        KeysArgs { command: Some(KeysCommand::List(paths)), .. } => list(&paths),
        KeysArgs { command: Some(KeysCommand::Check(paths)), .. } | KeysArgs { command: None, paths } => check(&paths),
    }
}

fn read(paths: &KeyPaths) -> Result<Vec<Result<Recipient, Refusal>>, Trouble> {
    keys::read(&paths.keys).map_err(|error| Trouble::new(&error, error.hint()))
}

fn list(paths: &KeyPaths) -> Outcome {
    let (mut text, mut refused) = (String::new(), false);
    for key in read(paths)? {
        match key {
            Ok(key) => {
                let (file, kind, label) = (key.file.display(), key.key.kind(), printable(&key.label));
                let _ = writeln!(text, "{file}\t{kind}\t{}\t{}\t{label}", key.fingerprint, expiry(&key));
            }
            Err(refusal) => {
                refused = true;
                let _ = writeln!(text, "refused\t{refusal}");
            }
        }
    }
    print(text)?;
    Ok(ExitCode::from(u8::from(refused)))
}

fn check(paths: &KeyPaths) -> Outcome {
    let loaded = keys::load(&paths.keys, paths.profile).map_err(|error| Trouble::new(&error, error.hint()))?;
    let mut text = String::new();
    for key in loaded.recipients.keys() {
        let _ = writeln!(text, "{}\n    {}  {}", key.file.display(), key.key.kind(), key.fingerprint);
        let _ = writeln!(
            text,
            "    {}{}",
            expiry(key),
            if key.label.is_empty() { String::new() } else { format!("  {}", printable(&key.label)) }
        );
    }
    let _ = writeln!(text, "profile {}: {}", loaded.recipients.profile(), cost(&loaded.recipients));
    for refusal in &loaded.refused {
        let _ = writeln!(text, "refused: {refusal}\n    {}", refusal.hint());
    }
    print(text)?;
    Ok(ExitCode::from(u8::from(!loaded.refused.is_empty())))
}

pub fn expiry(key: &Recipient) -> String {
    match key.expires.and_then(|time| Timestamp::try_from(time).ok()) {
        Some(time) => format!("expires {}", time.strftime("%Y-%m-%d")),
        None => "does not expire".to_owned(),
    }
}

fn cost(recipients: &Recipients) -> String {
    let choice = match recipients.profile() {
        Profile::Rfc9580 => {
            "one public-key operation for up to 16384 lines, to seal and to open; opens with sealedlog-audit and RFC 9580 tools"
        }
        Profile::Rfc4880 if recipients.openpgp().all(|key| key.why_not_rfc9580().is_none()) => {
            "one public-key operation a line, to seal and to open; opens with GnuPG. --profile rfc9580 is faster by far where \
             sealedlog-audit or another RFC 9580 tool opens the log"
        }
        Profile::Rfc4880 => "one public-key operation a line, to seal and to open; opens with GnuPG",
        Profile::Age => "one public-key operation a line, to seal and to open; opens with age",
    };
    let keys = recipients.keys().len();
    format!("{choice}; {keys} {}, each opens every record alone", if keys == 1 { "key" } else { "keys" })
}
