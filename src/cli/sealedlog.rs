//! `sealedlog`: the administrator's program.
#![forbid(unsafe_code)]

mod doctor;
mod enable;
mod existing;
mod keys;
mod status;
mod streams;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::doctor::DoctorArgs;
use self::enable::{DisableArgs, EnableArgs};
use self::existing::ExistingArgs;
use self::keys::KeysArgs;
use self::status::StatusArgs;
use self::streams::StreamsArgs;
use super::filter_args::FilterArgs;
use super::{Outcome, Trouble, report};
use crate::filter::target::{FileActions, FileTarget, Target};
use crate::filter::{Until, WhenFull};
use crate::segment::rotation::{Base, Rotation, Schedule};

const PROGRAM: &str = "sealedlog";

const SEAL_EXAMPLES: &str = "\
Examples:
  some-program | sealedlog seal -o /var/log/some-program.log
  sealedlog seal --keys auditor.asc --framing base64 <notes.txt >notes.pgp64";

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
    #[command(after_help = keys::EXAMPLES)]
    Keys(KeysArgs),
    /// Have the logs of services sealed from now on
    #[command(after_help = enable::ENABLE_EXAMPLES)]
    Enable(EnableArgs),
    /// Have services write plain text again
    #[command(after_help = enable::DISABLE_EXAMPLES)]
    Disable(DisableArgs),
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
    /// File to append to, with strftime conversions of the local time: with %Y-%m-%d each day has a file. The suffix of the
    /// record format is added unless it is there. Without it: standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Make the file's folder where it is missing
    #[arg(long, requires = "output")]
    make_parents: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

/// The program.
pub fn main() -> ExitCode {
    report(PROGRAM, run(Cli::parse()))
}

fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Seal(args) => seal(args),
        Command::Enable(args) => enable::enable(&args),
        Command::Disable(args) => enable::disable(&args),
        Command::Mark(args) => streams::mark(&args),
        Command::Restart(args) => streams::restart(&args),
        Command::Status(args) => status::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::SealExisting(args) => existing::run(&args),
        Command::Keys(args) => keys::run(args),
    }
}

fn seal(args: SealArgs) -> Outcome {
    let target = match args.output {
        None => Target::Output,
        Some(template) => {
            let rotation = Rotation { base: Base::Local, ..Rotation::default() };
            let schedule = Schedule::new(rotation, &template);
            let mut schedule = schedule.map_err(|error| Trouble::new(error, "give the file's name after -o"))?;
            schedule.rotation.interval = schedule.names.finest();
            let actions = FileActions { make_parents: args.make_parents, ..FileActions::default() };
            Target::Files(Box::new(FileTarget { template, schedule, actions }))
        }
    };
    args.filter.run(PROGRAM, target, Until::Term, WhenFull::Block)
}
