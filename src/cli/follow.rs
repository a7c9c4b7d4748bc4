//! `sealedlog-follow`: seals the logs of programs that only write files, and the journal.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Outcome, RUNTIME_FOLDER, STATE_FOLDER, Trouble, report};
use crate::follow::{Files, Journal, POLL, Sealer, Stopped};
use crate::host::process;
use crate::host::signals::Signals;
use crate::keys::KEY_FOLDER;

const PROGRAM: &str = "sealedlog-follow";
/// What seals, beside this program.
pub const SEALER: &str = "sealedlog-syslog";
/// Where names of files stand, one a line.
pub const LIST: &str = "/etc/sealedlog/follow";

const EXAMPLES: &str = "\
Examples:
  sealedlog-follow /var/log/dpkg.log '/var/log/unattended-upgrades/*.log'
  sealedlog-follow --list /etc/sealedlog/follow
  sealedlog-follow --journal";

/// Seal the logs of programs that only write files, and free the plain text
///
/// Lines are sealed a moment after they were written, and then overwritten with zeros in the file, which keeps its length. A line
/// is on the disk in plain text for that moment: where a program can write to a FIFO, to syslog or to a pipe, that is the better way.
#[derive(Parser, Debug)]
#[command(name = PROGRAM, version, after_help = EXAMPLES)]
pub struct Cli {
    /// Files, which need not be there yet; a * in the last part stands for any name
    #[arg(value_name = "PATH")]
    files: Vec<PathBuf>,

    /// File with such paths, one a line; without files and --journal: /etc/sealedlog/follow
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,

    /// Follow the journal of systemd in memory
    #[arg(long, conflicts_with_all = ["files", "list"])]
    journal: bool,

    /// Folder of the journal
    #[arg(long, value_name = "DIR", default_value = "/run/log/journal", requires = "journal")]
    journal_folder: PathBuf,

    /// File that keeps how far the journal is sealed
    #[arg(long, value_name = "FILE", default_value = "/var/lib/sealedlog-follow/cursor", requires = "journal")]
    cursor: PathBuf,

    /// Files to append to; {log} stands for the name of the log
    #[arg(short, long, value_name = "FILE-TEMPLATE", default_value = "/var/log/sealed/{log}.%Y-%m-%d")]
    output: PathBuf,

    /// Key file or folder; may be repeated
    #[arg(long, value_name = "PATH", default_value = KEY_FOLDER)]
    keys: Vec<PathBuf>,

    /// Where the chain of each log is kept
    #[arg(long, value_name = "DIR", default_value = STATE_FOLDER)]
    state: PathBuf,

    /// Where progress is kept; must be in memory (tmpfs)
    #[arg(long, value_name = "DIR", default_value = RUNTIME_FOLDER)]
    runtime: PathBuf,

    /// Seal as this user; what it cannot read is read before
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// The program.
pub fn main() -> ExitCode {
    report(PROGRAM, run(Cli::parse()))
}

fn run(cli: Cli) -> Outcome {
    let _ = process::harden();
    let mut files = cli.files.clone();
    let list = cli.list.clone().or_else(|| (files.is_empty() && !cli.journal).then(|| PathBuf::from(LIST)));
    if let Some(list) = list {
        files.extend(read_list(&list)?);
    }
    let signals = Signals::install().map_err(|error| Trouble::new(format_args!("no signals: {error}"), ""))?;
    let ends = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ends);
    let beside = std::env::current_exe().map(|program| program.with_file_name(SEALER));
    let program =
        beside.map_err(|error| Trouble::new(format_args!("cannot find {SEALER}: {error}"), "give it the same folder"))?;
    let watched = Arc::new(signals);
    let signals = Arc::clone(&watched);
    let stop = move || {
        if watched.take_terminate() {
            seen.store(true, Ordering::Relaxed);
        }
        seen.load(Ordering::Relaxed)
    };
    let mut sealer = Sealer::new(PROGRAM, program, cli.sealer_args(), stop.clone());
    let done = if cli.journal {
        let mut journal = Journal::new(cli.journal_folder.clone(), cli.cursor.clone());
        until(&stop, || journal.poll(&mut sealer)).and_then(|()| journal.finish(&mut sealer))
    } else {
        let mut all: Vec<Files> = files.into_iter().map(Files::new).collect();
        let done = until(&stop, || {
            all.iter_mut().try_for_each(|files| files.poll(&mut sealer, false))?;
            rest(&signals);
            Ok(())
        });
        done.and_then(|()| all.iter_mut().try_for_each(|files| files.poll(&mut sealer, true)))
    };
    sealer.finish();
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Stopped) => {
            Err(Trouble::new("not all is sealed: what is not stays in plain text", "see what was warned of, and start it again"))
        }
    }
}

/// Until it is told to end.
fn until(stop: &impl Fn() -> bool, mut work: impl FnMut() -> Result<(), Stopped>) -> Result<(), Stopped> {
    while !stop() {
        work()?;
    }
    Ok(())
}

/// For a moment, or until a signal comes.
fn rest(signals: &Signals) {
    let moment = PollTimeout::try_from(POLL).unwrap_or(PollTimeout::ZERO);
    let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], moment);
    signals.drain();
}

/// The names in a list.
pub fn read_list(list: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let text = fs::read_to_string(list).map_err(|error| {
        Trouble::new(format_args!("cannot read {}: {error}", list.display()), "name files, or a file with their names as --list")
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(PathBuf::from).collect())
}

impl Cli {
    fn sealer_args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        let paths = self.keys.iter().map(|path| ("--keys", path)).chain([("--state", &self.state), ("--runtime", &self.runtime)]);
        args.extend(paths.flat_map(|(option, path)| [option.into(), path.clone().into_os_string()]));
        args.extend(self.user.iter().flat_map(|user| ["--user".into(), user.into()]));
        args.push(self.output.clone().into());
        args
    }
}
