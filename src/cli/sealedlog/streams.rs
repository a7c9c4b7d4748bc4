//! `sealedlog mark` and `sealedlog restart`: what is done to streams from outside of the filters that write them.
//!
//! Promises: each log is done or told of; one that fails keeps none of the others. As root, what is made for a log belongs
//! to the user that writes it.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::PROGRAM;
use crate::chain::MIN_SLOTS;
use crate::cli::{Outcome, RUNTIME_FOLDER, STATE_FOLDER, Trouble, print, report};
use crate::control::{GenesisFingerprint, Hex};
use crate::filter::target::{strip_suffix, with_suffix};
use crate::host::memory::LockedBuffer;
use crate::host::process;
use crate::keys::{self, KeyError, Loaded};
use crate::recipient::Recipients;
use crate::record::{Framing, Profile};
use crate::segment::canonical_folder;
use crate::stream::claim::{self, ClaimError, ClaimSource, Claimant};
use crate::stream::state::{Config, StateFolder};
use crate::stream::writer::WriteError;
use crate::stream::{Writer, WriterOptions};

/// Of `mark`.
pub const MARK_EXAMPLES: &str = "\
Examples:
  sealedlog mark                                 all logs, then copy the files for the audit
  sealedlog mark /var/log/apache2/access.log     this one
  sealedlog-audit verify evidence/ --key secret.asc --ledger audits.json --marked-since 2026-01-31T12:00:00Z";

/// Of `restart`.
pub const RESTART_EXAMPLES: &str = "\
Examples:
  sealedlog restart                              all logs, after the intruder is gone and the filters were restarted
  sealedlog restart /var/log/apache2/access.log  this one";

/// Which logs.
#[derive(Args, Debug)]
pub struct StreamsArgs {
    /// Logs, by the name that their filter was given or by their newest file; without any: all that have a state
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Where the chain of each log is kept
    #[arg(long, value_name = "DIR", default_value = STATE_FOLDER)]
    pub state: PathBuf,

    /// Where progress is kept
    #[arg(long, value_name = "DIR", default_value = RUNTIME_FOLDER)]
    pub runtime: PathBuf,
}

/// One log that has a state.
pub struct Log {
    pub folder: StateFolder,
    pub config: Config,
    pub newest: PathBuf,
}

/// Seals a mark into each log.
pub fn mark(args: &StreamsArgs) -> Outcome {
    each(args, |log| {
        let path = log.newest.clone();
        let writer = log.writer(log.framing()?)?;
        let stream = log.state()?;
        let genesis = write(writer, &path, Writer::mark, move |folder, claimant| {
            ClaimSource::Kept(folder.clone()).claim(claimant, MIN_SLOTS, Some(stream))
        });
        genesis.map(|_| format!("marked {}\n", path.display()))
    })
}

/// Begins each log anew.
pub fn restart(args: &StreamsArgs) -> Outcome {
    each(args, |log| {
        log.state()?;
        let recipients = log.recipients()?;
        // New keys may want another form.
        let framing = match recipients.profile() {
            Profile::Age => Framing::Base64,
            _ if log.newest.extension().is_some_and(|suffix| suffix == "age64") => Framing::Binary,
            _ => log.framing()?,
        };
        let path = with_suffix(&log.newest, recipients.profile().suffix(framing));
        let genesis = write(log.writer(framing)?, &path, |_| Ok(()), claim::restart)?;
        Ok(format!("restarted {}\n    genesis {genesis}\n", path.display()))
    })
}

/// Does it to every log that is asked for, and says what was done.
fn each(args: &StreamsArgs, work: impl Fn(&Log) -> Result<String, Trouble>) -> Outcome {
    let _ = process::harden();
    let mut status = ExitCode::SUCCESS;
    let mut unreadable = Vec::new();
    let logs = find(args, &mut unreadable)?;
    for folder in unreadable.iter().filter(|_| args.files.is_empty()) {
        let hint = "start its filter again and let it seal a line, which writes config and segment there";
        let error = format_args!("{}: which log this state is of cannot be read", folder.display());
        status = report(PROGRAM, Err(Trouble::new(error, hint)));
    }
    for log in logs {
        let done = fs::metadata(log.folder.path())
            .and_then(|metadata| process::as_owner(&metadata, || work(&log)))
            .unwrap_or_else(|error| Err(Trouble::new(format_args!("{}: {error}", log.newest.display()), HINT_RIGHTS)));
        match done {
            Ok(text) => drop(print(text)?),
            Err(trouble) => status = report(PROGRAM, Err(trouble)),
        }
    }
    Ok(status)
}

const HINT_RIGHTS: &str = "run it as root or as the user that the log's filter runs as";

/// The logs that are asked for; those without a readable state in `unreadable`.
pub fn find(args: &StreamsArgs, unreadable: &mut Vec<PathBuf>) -> Result<Vec<Log>, Trouble> {
    let folders = StateFolder::all(&args.state, &args.runtime).map_err(|error| {
        let hint = "name the folder that the filters were given as --state, and run it as root or as their user";
        Trouble::new(format_args!("cannot read {}: {error}", args.state.display()), hint)
    })?;
    let mut known = Vec::new();
    for folder in folders {
        let read = fs::metadata(folder.path())
            .and_then(|metadata| process::as_owner(&metadata, || Some((folder.config()?, folder.newest_segment().ok()??.path))));
        match read {
            Ok(Some((config, newest))) => known.push(Log { folder, config, newest }),
            // Told with the others, so that no log is passed over in silence.
            _ => unreadable.push(folder.path().to_owned()),
        }
    }
    if known.is_empty() && unreadable.is_empty() {
        let hint = "a log has a state from its first line on; name the folder that the filters were given as --state";
        return Err(Trouble::new(format_args!("no log has a state in {}", args.state.display()), hint));
    }
    if args.files.is_empty() {
        return Ok(known);
    }
    let asked = |log: &Log, file: &Path| log.config.log == strip_suffix(file) || strip_suffix(&log.newest) == strip_suffix(file);
    for file in &args.files {
        let file = absolute(file);
        if !known.iter().any(|log| asked(log, &file)) {
            let mut hint = "these have: ".to_owned();
            for (at, log) in known.iter().enumerate() {
                let _ = write!(hint, "{}{}", if at == 0 { "" } else { ", " }, log.config.log.display());
            }
            return Err(Trouble::new(format_args!("{} has no state in {}", file.display(), args.state.display()), hint));
        }
    }
    let files: Vec<PathBuf> = args.files.iter().map(|file| absolute(file)).collect();
    Ok(known.into_iter().filter(|log| files.iter().any(|file| asked(log, file))).collect())
}

/// With its folder as the filters name it.
fn absolute(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (canonical_folder(folder), file.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
    }
}

impl Log {
    /// The stream that is to be found in the state.
    fn state(&self) -> Result<crate::control::StreamId, Trouble> {
        let state = self.folder.lock().and_then(|locked| locked.read()).map_err(|error| Trouble::new(error, HINT_RIGHTS))?;
        let none = || Trouble::new(format_args!("{}: no stream was begun", self.folder.path().display()), "seal a line first");
        Ok(state.ok_or_else(none)?.stream)
    }

    /// That of the file, which its suffix tells.
    fn framing(&self) -> Result<Framing, Trouble> {
        let suffix = self.newest.extension().unwrap_or_default();
        let framing = [(".pgp", Framing::Binary), (".pgp64", Framing::Base64), (".age64", Framing::Base64)];
        framing.into_iter().find(|(name, _)| suffix == &name[1..]).map(|(_, framing)| framing).ok_or_else(|| {
            let hint = "the file segment in the state folder was changed; the log's filter writes it again with its next file";
            Trouble::new(format_args!("{} has no suffix of a record format", self.newest.display()), hint)
        })
    }

    /// The keys that its filter was told of.
    pub fn keys(&self) -> Result<Loaded, KeyError> {
        keys::load(&self.config.keys, self.config.profile.as_deref().and_then(|profile| profile.parse().ok()))
    }

    fn recipients(&self) -> Result<Recipients, Trouble> {
        self.keys().map(|loaded| loaded.recipients).map_err(|error| Trouble::new(&error, error.hint()))
    }

    /// A writer of its own beside those of the filters.
    fn writer(&self, framing: Framing) -> Result<Writer, Trouble> {
        let mut id = [0; 8];
        let system = |what: &str, error: &dyn std::fmt::Display| Trouble::new(format_args!("{what}: {error}"), "try again");
        getrandom::fill(&mut id).map_err(|error| system("no randomness", &error))?;
        let probe = LockedBuffer::new(4096).map_err(|error| system("no memory", &error))?;
        let claimant = Claimant {
            writer: Hex(id),
            recipients: Arc::new(self.recipients()?),
            host: self.config.host.clone(),
            log: self.config.log.display().to_string(),
            software: format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")),
            memory_locked: probe.is_locked(),
            lacks: Vec::new(),
        };
        let (state, config) = (Some(self.folder.clone()), self.config.clone());
        Ok(Writer::new(WriterOptions {
            claimant,
            state,
            config,
            framing,
            retry_state: std::time::Duration::MAX,
            mark_idle: None,
        }))
    }
}

/// One run of a writer: the claim, what is to be said, and its end, all on the disk.
fn write(
    mut writer: Writer,
    path: &Path,
    say: impl FnOnce(&mut Writer) -> Result<(), WriteError>,
    claim: impl FnOnce(&StateFolder, &Claimant) -> Result<claim::Claim, ClaimError>,
) -> Result<GenesisFingerprint, Trouble> {
    let done = writer.enter_with(path, claim).and_then(|genesis| {
        say(&mut writer)?;
        writer.finish()?;
        Ok(genesis)
    });
    let hint = match &done {
        Err(WriteError::Claim(ClaimError::StreamEnded)) => {
            "its keys have changed and its filter has not gone over to them: let it seal a line, then try again"
        }
        Err(WriteError::Open { .. } | WriteError::Append { .. }) => "make room, or let the user who writes the log write to it",
        _ => HINT_RIGHTS,
    };
    let genesis = done.map_err(|error| Trouble::new(format_args!("{}: {error}", path.display()), hint))?;
    match writer.take_warnings().first() {
        Some(warning) => Err(Trouble::new(format_args!("{}: {warning}", path.display()), "look at the disk, then try again")),
        None => Ok(genesis),
    }
}
