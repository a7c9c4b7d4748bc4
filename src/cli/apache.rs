//! `sealedlog-apache`: Apache's piped logs, with rotatelogs' command line.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::filter_args::FilterArgs;
use super::{Outcome, Trouble, report, rotatelogs};
use crate::filter::target::{FileActions, FileTarget, Target, strip_suffix};
use crate::filter::{Until, WhenFull};
use crate::segment::rotation::Schedule;

const PROGRAM: &str = "sealedlog-apache";

const EXAMPLES: &str = "\
Examples (httpd configuration):
  CustomLog \"|/usr/bin/sealedlog-apache -l /var/log/apache2/access.%Y-%m-%d.log 86400\" combined
  ErrorLog  \"|/usr/bin/sealedlog-apache --until-term /var/log/apache2/error.log 100M\"";

/// Seal Apache's log lines from standard input to public keys and append them to files
///
/// Takes the command line of rotatelogs as it is: replacing the program's name in a configuration is enough. The suffix of
/// the record format (.pgp or .age64) is added to the file's name.
#[derive(Parser, Debug)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    rotatelogs: rotatelogs::Args,
}

/// The program.
pub fn main() -> ExitCode {
    report(PROGRAM, run(Cli::parse()))
}

fn run(cli: Cli) -> Outcome {
    let mut args = cli.rotatelogs;
    if let Some(file) = args.operands.first_mut() {
        *file = strip_suffix(Path::new(file)).into();
    }
    let schedule = Schedule::try_from(&args).map_err(|error| Trouble::new(&error, error.hint()))?;
    let actions = FileActions {
        link: args.link.clone(),
        program: args.program.clone(),
        force_open: args.force_open,
        make_parents: args.make_parents,
        create_empty: args.create_empty,
        echo: args.echo,
        verbose: args.verbose,
    };
    let template = PathBuf::from(args.operands.first().cloned().unwrap_or_default());
    let target = Target::Files(Box::new(FileTarget { template, schedule, actions }));
    // Apache's workers would hang behind a filter that does not read.
    cli.filter.run(PROGRAM, target, Until::Eof, WhenFull::Drop)
}
