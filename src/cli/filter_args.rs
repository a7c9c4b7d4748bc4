//! Options that all filters have, and how a filter is run.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use std::os::fd::AsFd;

use super::{Outcome, RUNTIME_FOLDER, STATE_FOLDER, Trouble};
use crate::filter::target::Target;
use crate::filter::window::WindowOptions;
use crate::filter::{Filter, FilterError, FilterOptions, Until, WhenFull};
use crate::host::privileges::{Account, PrivilegeError};
use crate::host::process;
use crate::keys::KEY_FOLDER;
use crate::record::{Framing, MAX_LINE, Profile};

/// As many bytes of plain text a window has where nothing else was asked for.
const WINDOW: u64 = 64 * 1024;

/// What every filter can be told.
#[derive(Args, Clone, Debug)]
pub struct FilterArgs {
    /// Key file or folder; may be repeated
    #[arg(long, value_name = "PATH", default_value = KEY_FOLDER)]
    pub keys: Vec<PathBuf>,

    /// Where the chain of each log is kept
    #[arg(long, value_name = "DIR", default_value = STATE_FOLDER)]
    pub state: PathBuf,

    /// Where progress is kept; must be in memory (tmpfs)
    #[arg(long, value_name = "DIR", default_value = RUNTIME_FOLDER)]
    pub runtime: PathBuf,

    /// Record format, where the keys leave a choice: rfc9580, rfc4880 or age
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<Profile>,

    /// How records follow each other: binary, or base64 with one line a record
    #[arg(long, value_name = "FRAMING")]
    pub framing: Option<Framing>,

    /// When lines cannot be stored: block (stop reading) or drop (count them into a gap record)
    #[arg(long, value_name = "POLICY")]
    pub when_full: Option<Policy>,

    /// Longest line in bytes that is sealed in one piece
    #[arg(long, value_name = "BYTES", default_value_t = MAX_LINE as u64, value_parser = clap::value_parser!(u64).range(1..=MAX_LINE as u64))]
    pub max_line: u64,

    /// Seal the lines of one read, up to 64 KiB, into one record: fewer bytes and less work, but damage costs all of them
    #[arg(long)]
    pub group: bool,

    /// Seal a mark into a log when nothing came for so many seconds, so that its last lines cannot be cut off unnoticed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub mark_idle: Option<u64>,

    /// Show the newest lines in plain text in this file, too, for fail2ban or a live view. It must be in memory (tmpfs); when it
    /// is full it becomes FILE.1, in the place of the one before
    #[arg(long, value_name = "FILE")]
    pub window: Option<PathBuf>,

    /// The most bytes of both
    #[arg(long, value_name = "BYTES", default_value_t = WINDOW, requires = "window", value_parser = clap::value_parser!(u64).range(1024..))]
    pub window_size: u64,

    /// Become this user at the start, for good: it must be able to write to the log's folder, and to read the keys. Folders of
    /// state and progress that are missing are made for it
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Keep the rights to open other files and connections, and to run programs. For log folders that are links or
    /// mount points, and change while the program runs
    #[arg(long)]
    pub no_sandbox: bool,

    /// Go on to the end of input whatever signals come
    #[arg(long, overrides_with = "until_term")]
    pub until_eof: bool,

    /// On SIGTERM seal what can be read without waiting, then end
    #[arg(long, overrides_with = "until_eof")]
    pub until_term: bool,
}

/// What becomes of lines that cannot be stored.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Policy {
    /// Stop reading.
    Block,
    /// Count them into a gap record.
    Drop,
}

impl FilterArgs {
    /// Runs a filter on standard input. `until` and `when_full` are what it does where nothing else was asked for.
    pub fn run(self, program: &str, target: Target, until: Until, when_full: WhenFull) -> Outcome {
        let keeps_state = !matches!(target, Target::Output);
        if let Some(name) = &self.user {
            self.become_user(name, keeps_state).map_err(|error| Trouble::new(&error, error.hint()))?;
        }
        let lacks = process::harden().missing().map(str::to_owned).collect();
        let _ = process::ignore_sigpipe();
        let options = FilterOptions {
            software: format!("{program} {}", env!("CARGO_PKG_VERSION")),
            keys: self.keys,
            profile: self.profile,
            framing: self.framing,
            target,
            state_dir: self.state,
            runtime_dir: self.runtime,
            until: match (self.until_eof, self.until_term) {
                (true, _) => Until::Eof,
                (_, true) => Until::Term,
                _ => until,
            },
            when_full: match self.when_full {
                Some(Policy::Block) => WhenFull::Block,
                Some(Policy::Drop) => WhenFull::Drop,
                None => when_full,
            },
            group: self.group,
            mark_idle: self.mark_idle.map(Duration::from_secs),
            window: self
                .window
                .map(|path| WindowOptions { path: std::path::absolute(&path).unwrap_or(path), size: self.window_size }),
            sandbox: !self.no_sandbox,
            lacks,
            max_line: usize::try_from(self.max_line).unwrap_or(MAX_LINE).min(MAX_LINE),
        };
        let trouble = |error: FilterError| Trouble::new(&error, error.hint());
        Filter::new(options).map_err(trouble)?.run(std::io::stdin().as_fd()).map_err(trouble)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Leaves root's rights behind, with the folders made that only root can make.
    fn become_user(&self, name: &str, keeps_state: bool) -> Result<(), PrivilegeError> {
        let account = Account::find(name)?;
        let folders = [&self.state, &self.runtime];
        let folders = folders.iter().filter(|_| keeps_state);
        if account.is_needed()? {
            // Whether it could be made shows below.
            folders.clone().for_each(|folder| drop(account.make_folder(folder)));
            account.become_it()?;
        }
        folders.clone().try_for_each(|folder| account.check_folder(folder))
    }
}
