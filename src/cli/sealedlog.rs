//! `sealedlog`: the administrator's program.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;

use super::doctor::{self, DoctorArgs};
use super::existing::{self, ExistingArgs};
use super::filter_args::FilterArgs;
use super::status::{self, StatusArgs};
use super::streams::{self, StreamsArgs};
use super::{Outcome, Trouble, print, printable, report};
use crate::filter::target::{FileActions, FileTarget, Target};
use crate::filter::{Until, WhenFull};
use crate::keys::{self, KEY_FOLDER};
use crate::recipient::{Recipient, Recipients, Refusal};
use crate::record::Profile;
use crate::segment::rotation::{Rotation, Schedule};

/// The program's name.
pub const PROGRAM: &str = "sealedlog";

const SEAL_EXAMPLES: &str = "\
Examples:
  some-program | sealedlog seal -o /var/log/some-program.log
  sealedlog seal --keys auditor.asc --framing base64 <notes.txt >notes.pgp64";

const KEYS_EXAMPLES: &str = "\
Examples:
  sealedlog keys                       what would be sealed to, and what is refused
  sealedlog keys check --keys new.asc  whether this file can be used, before it is put in place";

/// Seal log lines to public keys as they are written
///
/// The server holds no key that opens them; the secret key lives on another machine, with sealedlog-audit.
#[derive(Parser, Debug)]
#[command(name = PROGRAM, version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Seal standard input, line by line, and append it to a file or write it to standard output
    Seal(SealArgs),
    /// Show what would be sealed to
    Keys(KeysArgs),
    /// Seal into each log how far it has come, before its files are copied for an audit
    #[command(after_help = streams::MARK_EXAMPLES)]
    Mark(StreamsArgs),
    /// Show each sealed log: its keys, its newest file, and what is wrong
    #[command(after_help = status::EXAMPLES)]
    Status(StatusArgs),
    /// Find the logs that are still written in plain text, who writes them, and what to do
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(DoctorArgs),
    /// Seal plain files that are left over from before, and remove them
    #[command(after_help = existing::EXAMPLES)]
    SealExisting(ExistingArgs),
    /// Begin each log anew, in a stream that follows the old one, after an intrusion
    #[command(after_help = streams::RESTART_EXAMPLES)]
    Restart(StreamsArgs),
}

#[derive(Args, Debug)]
#[command(after_help = SEAL_EXAMPLES)]
struct SealArgs {
    /// File to append to; the suffix of the record format is added unless it is there. Without it: standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Args, Debug)]
#[command(after_help = KEYS_EXAMPLES)]
struct KeysArgs {
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
pub(super) struct KeyPaths {
    /// Key file or folder; may be repeated
    #[arg(long, value_name = "PATH", default_value = KEY_FOLDER)]
    pub(super) keys: Vec<PathBuf>,

    /// Record format, where the keys leave a choice: rfc9580, rfc4880 or age
    #[arg(long, value_name = "PROFILE")]
    pub(super) profile: Option<Profile>,
}

/// The program.
pub fn main() -> ExitCode {
    report(PROGRAM, run(Cli::parse()))
}

fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Seal(args) => seal(args),
        Command::Mark(args) => streams::mark(&args),
        Command::Restart(args) => streams::restart(&args),
        Command::Status(args) => status::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::SealExisting(args) => existing::run(&args),
        Command::Keys(KeysArgs { command: Some(KeysCommand::List(paths)), .. }) => list(&paths),
        Command::Keys(KeysArgs { command: Some(KeysCommand::Check(paths)), .. } | KeysArgs { command: None, paths }) => {
            check(&paths)
        }
    }
}

fn seal(args: SealArgs) -> Outcome {
    let target = match args.output {
        None => Target::Output,
        Some(template) => {
            let schedule = Schedule::new(Rotation::default(), &template);
            let schedule = schedule.map_err(|error| Trouble::new(error, "give the file's name after -o"))?;
            Target::Files(Box::new(FileTarget { template, schedule, actions: FileActions::default() }))
        }
    };
    args.filter.run(PROGRAM, target, Until::Term, WhenFull::Block)
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

pub(super) fn expiry(key: &Recipient) -> String {
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
