//! `sealedlog-audit`: the auditor's program.
#![forbid(unsafe_code)]

mod evidence;
pub mod export;
mod input;
pub mod keygen;
pub mod open;
mod remembered;
pub mod report;
pub mod search;
mod select;
pub mod split;
mod terminal;
pub mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{Trouble, report};
use crate::identity::{Descriptor, PassphraseSource, Terminal};

const PROGRAM: &str = "sealedlog-audit";

/// Open, verify, search and export sealed logs, on the machine that has the secret key
#[derive(Parser, Debug)]
#[command(name = PROGRAM, version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a key pair: a public half to seal to, a secret half to keep
    Keygen(keygen::KeygenArgs),
    /// Print the lines of sealed files, and tell what is not as it was sealed
    Open(open::OpenArgs),
    /// Say whether sealed files are what was sealed, and what is not
    Verify(verify::VerifyArgs),
    /// Write what sealed logs say, and whether they are what was sealed, into a file to read
    Report(report::ReportArgs),
    /// Print the lines of sealed files that match, of all logs in the order of time
    Search(search::SearchArgs),
    /// Write lines as rows of a table: NDJSON, CSV, Parquet, SQLite
    Export(export::ExportArgs),
    /// Write each record to a file of its own, for stock tools; needs no key
    Split(split::SplitArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Keygen(args) => keygen::run(&args),
        Command::Open(args) => open::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Split(args) => split::run(&args),
    };
    report(PROGRAM, outcome)
}

/// Where the passphrases of secret keys come from: `--passphrase-fd`, else the terminal.
pub fn passphrase_source(descriptor: Option<u32>) -> Result<Box<dyn PassphraseSource>, Trouble> {
    Ok(match descriptor {
        None => Box::new(Terminal),
        Some(number) => Box::new(Descriptor::open(number).map_err(|error| {
            Trouble::new(
                format_args!("cannot read the passphrase: descriptor {number}: {error}"),
                "give --passphrase-fd a descriptor that is open for reading, as in --passphrase-fd 3 3<file",
            )
        })?),
    })
}
