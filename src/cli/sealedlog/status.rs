//! `sealedlog status`: each sealed log, its keys, its newest file, and what is wrong with them.
//!
//! Promises: nothing is changed. Not promised: that no filter is missing where none has the file open; a log may have nothing to
//! say, and its filter starts with its first line.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::keys::expiry;
use super::streams::{Log, StreamsArgs, find};
use crate::cli::{Outcome, bytes, print, printable, processes, shown};
use crate::host::file::used_space;
use crate::host::open_files::{OpenFiles, Process};
use crate::host::process;
use crate::keys::{self, KEY_FOLDER};
use crate::recipient::Recipient;
use crate::stream::counts::{Counts, Event};
use crate::stream::state::{StateFolder, recipients_digest};

pub const EXAMPLES: &str = "\
Examples:
  sealedlog status
  sealedlog status --json | jq -r 'select(.warnings != []) | .log'";

/// A key that expires within so long is warned of.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);
/// A disk that is used to so many hundredths is, too.
const FULL: u8 = 90;
/// A gap or an error is, for so long: whoever is told each day is told of it.
const RECENT: Duration = Duration::from_secs(25 * 3600);

#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    streams: StreamsArgs,

    /// Key file or folder that the first log awaits, where none is sealed yet; may be repeated
    #[arg(long, value_name = "PATH", default_value = KEY_FOLDER)]
    keys: Vec<PathBuf>,

    /// Only the logs with something wrong
    #[arg(long)]
    warnings: bool,

    /// One JSON object a line: each log, then a summary
    #[arg(long)]
    json: bool,
}

/// What is to be said of a log.
#[derive(Debug, Serialize)]
struct Status {
    log: String,
    host: String,
    /// Of the keys as they are now.
    profile: Option<&'static str>,
    framing: String,
    /// Where its newest lines are in plain text.
    window: Option<PathBuf>,
    recipients: Vec<Key>,
    genesis: Option<String>,
    next_epoch: Option<u64>,
    newest: Newest,
    /// Who has that file open; `None` where not every process could be looked at.
    writers: Option<Vec<Process>>,
    /// `None` where nothing was counted.
    counts: Option<Counts>,
    disk_used_percent: Option<u8>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Key {
    file: PathBuf,
    kind: String,
    fingerprint: String,
    label: String,
    #[serde(serialize_with = "rfc3339")]
    expires: Option<Timestamp>,
}

/// The file that was begun last.
#[derive(Debug, Serialize)]
struct Newest {
    file: PathBuf,
    segment: Option<u64>,
    /// `None` where it is gone.
    bytes: Option<u64>,
    #[serde(serialize_with = "rfc3339")]
    written: Option<Timestamp>,
}

/// Exit status 1 where there is a warning, or no usable key.
pub fn run(args: &StatusArgs) -> Outcome {
    let _ = process::harden();
    let is_first = match StateFolder::all(&args.streams.state, &args.streams.runtime) {
        Ok(folders) => folders.is_empty(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_first && args.streams.files.is_empty() {
        return awaited(args);
    }
    let mut unreadable = Vec::new();
    let logs = find(&args.streams, &mut unreadable)?;
    let (now, open) = (SystemTime::now(), OpenFiles::look(Path::new("/proc")).ok());
    let all: Vec<Status> = logs.iter().map(|log| Status::of(log, now, open.as_ref())).collect();
    let mut text = String::new();
    for status in all.iter().filter(|status| !args.warnings || !status.warnings.is_empty()) {
        let _ = if args.json { writeln!(text, "{}", json!(status)) } else { write!(text, "{}", status.as_text()) };
    }
    let mut warnings: usize = all.iter().map(|status| status.warnings.len()).sum();
    if args.streams.files.is_empty() {
        warnings += unreadable.len();
        for folder in unreadable.iter().filter(|_| !args.json) {
            let _ = writeln!(text, "{}: warning: which log this state is of cannot be read", folder.display());
        }
    }
    if args.json {
        let summary = json!({ "logs": all.len(), "unreadable": unreadable, "warnings": warnings });
        let _ = writeln!(text, "{}", json!({ "summary": summary }));
    }
    print(text)?;
    Ok(ExitCode::from(u8::from(warnings > 0)))
}

/// No log is sealed yet: what that takes.
fn awaited(args: &StatusArgs) -> Outcome {
    let folders: Vec<_> = args.keys.iter().map(|path| path.display().to_string()).collect();
    let (usable, why) = match keys::load(&args.keys, None) {
        Ok(loaded) => (loaded.recipients.keys().len(), None),
        Err(error) => (0, Some(error.to_string())),
    };
    let text = match &why {
        _ if args.json => {
            let summary = json!({ "logs": 0, "unreadable": [], "warnings": usize::from(usable == 0), "usable_keys": usable });
            format!("{}\n", json!({ "summary": summary }))
        }
        None => format!("no log is sealed yet; {usable} usable {}\n", if usable == 1 { "key" } else { "keys" }),
        Some(why) => format!("no log is sealed yet: a public key is awaited in {}\n    {}\n", folders.join(", "), printable(why)),
    };
    print(text)?;
    Ok(ExitCode::from(u8::from(usable == 0)))
}

impl Status {
    fn of(log: &Log, now: SystemTime, open: Option<&OpenFiles>) -> Self {
        let mut warnings = Vec::new();
        let (mut profile, mut recipients, mut terms) = (None, Vec::new(), None);
        match log.keys() {
            Ok(loaded) => {
                profile = Some(loaded.recipients.profile().name());
                for key in loaded.recipients.keys() {
                    if key.expires.is_some_and(|time| time.duration_since(now).is_ok_and(|left| left <= SOON)) {
                        warnings.push(format!("the key in {} {}", key.file.display(), expiry(key)));
                    }
                    recipients.push(Key::of(key));
                }
                warnings.extend(loaded.refused.iter().map(|refusal| format!("a key is refused: {refusal}")));
                terms = Some(recipients_digest(&loaded.recipients.terms()));
            }
            Err(error) => warnings.push(format!("its keys cannot be used: {error}")),
        }
        let state = log.folder.lock().and_then(|locked| locked.read()).map_err(|error| warnings.push(error.to_string()));
        let state = state.ok().flatten();
        if let (Some(state), Some(terms)) = (&state, terms)
            && state.recipients != terms
        {
            warnings.push("it is not sealed to these keys yet: its filter goes over to them with the next line".to_owned());
        }
        let newest = Newest::of(log);
        if newest.bytes.is_none() {
            warnings.push(format!("its newest file is gone: {}", newest.file.display()));
        }
        let counts = log.folder.counts().map_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                warnings.push(format!("what was counted of it cannot be read: {error}"));
            }
        });
        let counts = counts.ok();
        if let Some(Counts { last_gap, last_error, .. }) = &counts {
            let is_recent = |event: &&Event| now.duration_since(event.time.into()).is_ok_and(|ago| ago <= RECENT);
            for (what, event) in [("a gap", last_gap), ("an error", last_error)] {
                if let Some(Event { time, text }) = event.as_ref().filter(is_recent) {
                    warnings.push(format!("{what} at {}: {text}", utc(*time)));
                }
            }
        }
        let disk_used_percent = newest.file.parent().and_then(|folder| used_space(folder).ok());
        if let Some(used) = disk_used_percent.filter(|&used| used >= FULL) {
            warnings.push(format!("its disk is {used} % full"));
        }
        Self {
            log: log.config.log.display().to_string(),
            host: log.config.host.clone(),
            profile,
            framing: log.config.framing.clone(),
            window: log.config.window.clone(),
            recipients,
            genesis: state.as_ref().map(|state| state.genesis.to_string()),
            next_epoch: state.as_ref().map(|state| state.next_epoch),
            writers: open.and_then(|open| {
                let of = fs::symlink_metadata(&newest.file).map(|metadata| open.writers(&metadata).to_vec()).unwrap_or_default();
                (open.hidden == 0 || !of.is_empty()).then_some(of)
            }),
            newest,
            counts,
            disk_used_percent,
            warnings,
        }
    }

    fn as_text(&self) -> String {
        let mut text = format!("{}\n", printable(&self.log));
        let Newest { file, segment, bytes: length, written } = &self.newest;
        let number = segment.map_or_else(String::new, |segment| format!("file {segment}, "));
        if let (Some(length), Some(written)) = (length, written) {
            let _ = writeln!(text, "    {}: {number}{}, written {}", shown(file), bytes(*length), utc(*written));
        }
        let _ = match self.writers.as_deref() {
            Some([]) => writeln!(text, "    no filter has it open"),
            Some(writers) => writeln!(text, "    open in {}", processes(writers)),
            None => writeln!(text, "    who has it open shows to root only"),
        };
        if let Some(Counts { since, lines, bytes: length, gaps, lost_lines, errors, .. }) = &self.counts {
            let _ = writeln!(
                text,
                "    {lines} lines, {} since {}; {gaps} gaps, {lost_lines} lines lost; {errors} errors",
                bytes(*length),
                utc(*since)
            );
        }
        if let Some(window) = &self.window {
            let _ = writeln!(text, "    its newest lines are in memory in plain text, too: {}", shown(window));
        }
        if let Some(profile) = self.profile {
            let _ = writeln!(text, "    profile {profile}, {}", self.framing);
        }
        for Key { file, kind, fingerprint, expires, .. } in &self.recipients {
            let expires =
                expires.map_or_else(|| "does not expire".to_owned(), |time| format!("expires {}", time.strftime("%Y-%m-%d")));
            let _ = writeln!(text, "    key {}: {kind} {fingerprint}, {expires}", shown(file));
        }
        if let Some(genesis) = &self.genesis {
            let _ = writeln!(text, "    genesis {genesis}");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "    warning: {}", printable(warning));
        }
        text
    }
}

impl Key {
    fn of(key: &Recipient) -> Self {
        Self {
            file: key.file.clone(),
            kind: key.key.kind().to_string(),
            fingerprint: key.fingerprint.clone(),
            label: key.label.clone(),
            expires: key.expires.and_then(|time| Timestamp::try_from(time).ok()),
        }
    }
}

impl Newest {
    fn of(log: &Log) -> Self {
        let there = fs::symlink_metadata(&log.newest).ok().filter(fs::Metadata::is_file);
        Self {
            file: log.newest.clone(),
            segment: log.folder.newest_segment().ok().flatten().and_then(|newest| newest.segment),
            bytes: there.as_ref().map(fs::Metadata::len),
            written: there.and_then(|there| Timestamp::try_from(there.modified().ok()?).ok()),
        }
    }
}

fn utc(time: Timestamp) -> impl Display {
    time.strftime("%Y-%m-%d %H:%M:%S UTC")
}

fn rfc3339<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}
