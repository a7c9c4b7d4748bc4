//! The loop that every filter runs: lines from standard input, sealed, into files, for months.
//!
//! Promises: each line is in the file before the next read, or is held, or is counted into a `gap` record, as the policy
//! says; a signal, a changed key folder, a full disk or a moved file never ends it. It never writes a line in the clear
//! and never tells one.
#![forbid(unsafe_code)]

pub mod target;
mod warn;

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use self::target::{Files, Target, TargetError};
use self::warn::Warner;
use crate::control::{Gap, Hex};
use crate::host::memory::LockedBuffer;
use crate::host::signals::Signals;
use crate::host::wake::Wake;
use crate::host::{self, clock, process};
use crate::input::{Filled, InputError, LineReader, READ_ROOM};
use crate::keys::{self, KeyError, KeyWatch};
use crate::record::{Framing, Profile};
use crate::stream::claim::{ClaimError, Claimant};
use crate::stream::state::{Config, StateFolder};
use crate::stream::writer::WriteError;
use crate::stream::{Writer, WriterOptions};

/// Sealed bytes that are held at most while the disk does not take them.
const HOLD: usize = 4 * 1024 * 1024;
/// Sealed bytes that are collected at most before they are written.
const WRITE_SIZE: usize = 256 * 1024;
/// How often a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a state that could not be used is tried again.
const RETRY_STATE: Duration = Duration::from_secs(60);
/// How long a filter that was told to end goes on trying to write.
const LAST_TRY: Duration = Duration::from_secs(2);
/// How often the keys are read again even if nothing seems to have changed: some expire, some folders come back.
const KEYS_INTERVAL: Duration = Duration::from_secs(3600);
/// The same while the folder is unusable.
const KEYS_TROUBLE_INTERVAL: Duration = Duration::from_secs(60);

/// What ends a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The end of input, whatever signals come before it.
    Eof,
    /// SIGTERM, after what can be read without waiting; or the end of input.
    Term,
}

/// What becomes of lines that cannot be stored for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// They are not read, so that the program before waits.
    Block,
    /// Some are held, the rest is counted into a `gap` record.
    Drop,
}

/// What a filter is told.
#[derive(Clone, Debug)]
pub struct FilterOptions {
    /// Name and version, for control records; the first word begins every message.
    pub software: String,
    /// Key files and folders.
    pub keys: Vec<PathBuf>,
    /// The profile asked for.
    pub profile: Option<Profile>,
    /// The framing asked for.
    pub framing: Option<Framing>,
    /// Where records go.
    pub target: Target,
    /// Where the chain is kept.
    pub state_dir: PathBuf,
    /// Where progress is kept.
    pub runtime_dir: PathBuf,
    /// What ends it.
    pub until: Until,
    /// What becomes of lines that cannot be stored.
    pub when_full: WhenFull,
    /// Longest body of a record in bytes.
    pub max_line: usize,
}

/// Why a filter does not start, or ends without having stored everything.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilterError {
    /// There is nothing to seal to.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// There is nothing to write to.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The profile has no such framing.
    #[error("profile age has framing base64 only")]
    AgeBinary,
    /// The system refuses what no filter can do without.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The input cannot be read.
    #[error(transparent)]
    Input(InputError),
    /// It was told to end before everything could be written.
    #[error("{lines} lines and {bytes} sealed bytes could not be written: {why}")]
    Lost {
        /// Lines that were not sealed.
        lines: u64,
        /// Bytes of records that were sealed and not written.
        bytes: usize,
        /// The last error.
        why: String,
    },
}

impl FilterError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Keys(error) => error.hint(),
            Self::Target(error) => error.hint(),
            Self::AgeBinary => "leave --framing out",
            Self::System { .. } => "look at the limits of the user and the unit that the program runs as",
            Self::Input(_) => "look at what standard input is connected to",
            Self::Lost { .. } => "make room where the log goes, or start again what reads it; then start this again",
        }
    }
}

/// Lines that were dropped since the last `gap` record.
struct Dropped {
    lines: u64,
    bytes: u64,
    from: Timestamp,
    to: Timestamp,
    why: String,
}

/// The disk does not take what was sealed, or the file cannot be opened.
struct Blocked {
    retry_at: Duration,
    why: String,
    /// Standard output has no reader any more, and will have none.
    for_good: bool,
}

type Reader = LineReader<LockedBuffer, fn(usize) -> io::Result<LockedBuffer>>;

/// A filter that is set up and has not read yet.
pub struct Filter {
    options: FilterOptions,
    writer: Writer,
    files: Option<Files>,
    warner: Warner,
    signals: Signals,
    wake: Wake,
    watch: Option<KeyWatch>,
    keys_at: Duration,
    blocked: Option<Blocked>,
    dropped: Option<Dropped>,
    at_line_start: bool,
    unreadable: Option<InputError>,
}

impl Filter {
    /// Checks everything that can be checked without making or claiming anything.
    pub fn new(options: FilterOptions) -> Result<Self, FilterError> {
        let system = |what| move |source| FilterError::System { what, source };
        // First of all: a daemon may signal what it has just started.
        let signals = Signals::install().map_err(system("cannot handle signals"))?;
        let mut warner = Warner::new(options.software.split(' ').next().unwrap_or("sealedlog"));
        let loaded = keys::load(&options.keys, options.profile)?;
        loaded.refused.iter().for_each(|refusal| warner.warn("refused", refusal));
        let recipients = Arc::new(loaded.recipients);
        let framing = framing(&options, recipients.profile())?;
        let files = match &options.target {
            Target::Output => None,
            Target::Files(files) => Some(files.check()?),
        };
        let mut writer_id = [0; 8];
        getrandom::fill(&mut writer_id)
            .map_err(|error| FilterError::System { what: "no randomness", source: io::Error::other(error) })?;
        let probe = LockedBuffer::new(READ_ROOM).map_err(system("no memory"))?;
        let claimant = Claimant {
            writer: Hex(writer_id),
            recipients,
            host: process::host_name().unwrap_or_else(|_| "localhost".to_owned()),
            log: files.as_ref().map_or_else(|| "-".to_owned(), Files::log),
            software: options.software.clone(),
            memory_locked: probe.is_locked(),
        };
        let state = files
            .as_ref()
            .map(|files| StateFolder::new(&options.state_dir, &options.runtime_dir, files.folder(), files.template()));
        let config = Config {
            log: files.as_ref().map(|files| PathBuf::from(files.log())).unwrap_or_default(),
            keys: options.keys.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect(),
            framing: framing.name().to_owned(),
        };
        let wake = Wake::new().map_err(system("cannot make a pipe"))?;
        let watch = KeyWatch::new(&options.keys, wake.waker());
        let watch = watch
            .inspect_err(|error| warner.warn("watch", &format_args!("the keys cannot be watched for changes: {error}")))
            .ok();
        let writer = Writer::new(WriterOptions { claimant, state, config, framing, retry_state: RETRY_STATE });
        Ok(Self {
            options,
            writer,
            files,
            warner,
            signals,
            wake,
            watch,
            keys_at: clock::boottime() + KEYS_INTERVAL,
            blocked: None,
            dropped: None,
            at_line_start: true,
            unreadable: None,
        })
    }

    /// Seals `input` until it is told to end. Everything that was read is stored then, or the error says how much is not.
    pub fn run(mut self, input: BorrowedFd<'_>) -> Result<(), FilterError> {
        let system = |what| move |source| FilterError::System { what, source };
        let buffer = LockedBuffer::new(2 * READ_ROOM).map_err(system("no memory"))?;
        let mut reader: Reader = LineReader::new(buffer, self.options.max_line, LockedBuffer::new);
        let (mut ended, mut terminated) = (false, None);
        if self.files.as_ref().is_some_and(|files| files.actions().force_open) {
            self.open(clock::now());
            self.flush();
        }
        loop {
            let mut due = self.upkeep();
            if self.blocked.is_none() {
                // What had to wait.
                self.take(&mut reader, ended);
                if self.blocked.is_some() {
                    due = Some(Duration::ZERO);
                }
            }
            let give_up = terminated.is_some_and(|at: Duration| clock::boottime() >= at + LAST_TRY);
            if give_up && self.blocked.is_none() {
                // Input that comes without end.
                ended = true;
                self.take(&mut reader, ended);
            }
            if ended && self.blocked.is_none() {
                return self.finish();
            }
            if give_up
                || self.blocked.as_ref().is_some_and(|blocked| blocked.for_good)
                || (ended && self.options.when_full == WhenFull::Drop && self.blocked.is_some() && terminated.is_some())
            {
                return self.give_up(&mut reader);
            }
            let blocks = self.blocked.is_some() && self.options.when_full == WhenFull::Block;
            let reads = !ended && !blocks;
            let timeout = if terminated.is_some() && reads { Some(Duration::ZERO) } else { due };
            let wakes = [self.signals.as_fd(), self.wake.as_fd()];
            let ready = host::wait(reads.then_some(input), &wakes, timeout).map_err(system("cannot wait for input"))?;
            if ready.woken && self.handle_wakes() {
                terminated.get_or_insert(clock::boottime());
                if blocks {
                    ended = true;
                }
                continue;
            }
            if ready.input {
                ended = self.read(&mut reader, input);
            } else if terminated.is_some() && reads {
                ended = true;
                self.take(&mut reader, true);
            }
            if ended || self.blocked.is_none() {
                self.take(&mut reader, ended);
            }
        }
    }

    /// One read, and everything in it. Whether the input is at its end.
    fn read(&mut self, reader: &mut Reader, input: BorrowedFd<'_>) -> bool {
        match reader.fill(input) {
            Ok(Filled::Bytes(_) | Filled::WouldBlock) | Err(InputError::Full) => {
                self.take(reader, false);
                false
            }
            Ok(Filled::Eof) => {
                self.take(reader, true);
                true
            }
            Err(error @ InputError::Grow { .. }) => {
                self.warner.warn("memory", &error);
                self.take(reader, false);
                false
            }
            Err(error) => {
                self.take(reader, true);
                self.unreadable = Some(error);
                true
            }
        }
    }

    /// Seals and writes what was read, at the end of input its unfinished last line too.
    fn take(&mut self, reader: &mut Reader, ended: bool) {
        let now = clock::now();
        if reader.has_piece(ended)
            && self.blocked.is_none()
            && let Err(error) = self.writer.look_if_due()
        {
            self.cannot_write(error);
        }
        // Nothing is opened or rotated without a line that goes there.
        while reader.has_piece(ended) {
            if !self.may_take(now) {
                return;
            }
            let Some(piece) = (if ended { reader.rest() } else { reader.next_piece() }) else { break };
            self.seal(&piece, now);
            self.at_line_start = piece.ends_line();
            if self.files.as_ref().is_some_and(|files| files.actions().echo) {
                // Whoever asked for a copy and does not take it gets none.
                let _ = io::stdout().write_all(&piece);
            }
            drop(piece);
            if self.writer.waiting() > WRITE_SIZE {
                self.flush();
            }
        }
        self.flush();
    }

    /// Opens or rotates where that is due. False where lines have to wait.
    fn may_take(&mut self, now: Timestamp) -> bool {
        if self.at_line_start || !self.writer.is_open() {
            self.open(now);
        }
        self.options.when_full == WhenFull::Drop || (self.blocked.is_none() && self.writer.is_open())
    }

    /// Opens the file that lines of this time go to, unless it is open.
    fn open(&mut self, now: Timestamp) {
        if self.blocked.as_ref().is_some_and(|blocked| clock::boottime() < blocked.retry_at) {
            return;
        }
        let mut opened = self.enter(now);
        if let Err(WriteError::Claim(ClaimError::RecipientsChanged)) = opened {
            self.reload_keys(true);
            opened = self.enter(now);
        }
        if let Err(error) = opened {
            self.cannot_write(error);
        }
    }

    fn enter(&mut self, now: Timestamp) -> Result<(), WriteError> {
        match &mut self.files {
            Some(files) => files.enter(&mut self.writer, now, &mut self.warner),
            None if !self.writer.is_open() => match io::stdout().as_fd().try_clone_to_owned() {
                Ok(out) => self.writer.enter_through(out.into()),
                Err(source) => Err(WriteError::Open { path: "standard output".into(), source }),
            },
            None => Ok(()),
        }
    }

    fn seal(&mut self, piece: &[u8], now: Timestamp) {
        if !self.writer.is_open() || (self.blocked.is_some() && self.writer.waiting() >= HOLD) {
            let why = self.blocked.as_ref().map_or_else(String::new, |blocked| blocked.why.clone());
            return self.count(piece, now, why);
        }
        let mut sealed = self.writer.line(piece, now);
        if let Err(WriteError::Claim(ClaimError::RecipientsChanged)) = sealed {
            self.reload_keys(true);
            sealed = self.writer.line(piece, now);
        }
        if let Err(error) = sealed {
            self.warner.warn("seal", &error);
            self.count(piece, now, error.to_string());
        }
    }

    fn count(&mut self, piece: &[u8], now: Timestamp, why: String) {
        let dropped = self.dropped.get_or_insert(Dropped { lines: 0, bytes: 0, from: now, to: now, why });
        // Of a line in pieces the first that is dropped counts.
        dropped.lines += u64::from(self.at_line_start || dropped.lines == 0);
        dropped.bytes += piece.len() as u64;
        dropped.to = now;
    }

    /// Writes what waits, then tells what was dropped.
    fn flush(&mut self) {
        if !self.writer.is_open() || self.blocked.as_ref().is_some_and(|blocked| clock::boottime() < blocked.retry_at) {
            return;
        }
        match self.writer.flush() {
            Ok(()) => {
                if self.blocked.take().is_some() {
                    self.warner.warn("goes on", &"the log can be written again");
                }
                if let Some(dropped) = self.dropped.take() {
                    let Dropped { lines, bytes, from, to, ref why } = dropped;
                    let told = self.writer.gap(Gap { lines, bytes, from, to, why: why.clone() }, clock::now());
                    if let Err(error) = told.and_then(|()| self.writer.flush()) {
                        self.dropped = Some(dropped).filter(|_| self.writer.waiting() == 0);
                        self.cannot_write(error);
                    }
                }
            }
            Err(error) => self.cannot_write(error),
        }
    }

    fn cannot_write(&mut self, error: WriteError) {
        if self.blocked.is_none() {
            let policy = match self.options.when_full {
                WhenFull::Block => "no more lines are read until it can be",
                WhenFull::Drop => "lines are held, then counted and dropped until it can be",
            };
            self.warner.warn("write", &format_args!("{error}; {policy}"));
        }
        let for_good = is_for_good(&error);
        self.blocked = Some(Blocked { retry_at: clock::boottime() + RETRY, why: error.to_string(), for_good });
    }

    /// What is due by the clock. How long nothing else will be.
    fn upkeep(&mut self) -> Option<Duration> {
        let now = clock::boottime();
        if self.blocked.as_ref().is_some_and(|blocked| now >= blocked.retry_at) {
            self.open(clock::now());
            self.flush();
            if let Some(blocked) = self.blocked.as_mut().filter(|_| !self.writer.is_open()) {
                blocked.retry_at = blocked.retry_at.max(now + RETRY);
            }
        }
        if now >= self.keys_at {
            self.reload_keys(false);
        }
        let mut due = vec![self.keys_at.saturating_sub(now)];
        if self.blocked.is_none() {
            match self.writer.tick() {
                Ok(next) => due.extend(next),
                Err(error) => self.cannot_write(error),
            }
            if let Some(files) = self.files.as_ref().filter(|files| files.actions().create_empty && self.writer.is_open()) {
                let at = clock::now();
                match files.boundary(at) {
                    Some(boundary) if boundary <= at => {
                        self.open(at);
                        // What the next boundary is shows in the next round.
                        due.push(Duration::ZERO);
                    }
                    Some(boundary) => due.extend(Duration::try_from(boundary.duration_since(at)).ok()),
                    None => {}
                }
            }
        }
        due.extend(self.blocked.as_ref().map(|blocked| blocked.retry_at.saturating_sub(now)));
        for warning in self.writer.take_warnings() {
            self.warner.warn("stream", &warning);
        }
        due.into_iter().min()
    }

    /// Acts on signals and on changed keys. Whether it is told to end.
    fn handle_wakes(&mut self) -> bool {
        self.wake.drain();
        self.signals.drain();
        if self.watch.as_ref().is_some_and(KeyWatch::take_changed) {
            self.reload_keys(false);
        }
        if self.signals.take_hangup() {
            self.reload_keys(false);
            if let Err(error) = self.writer.look_after_file() {
                self.cannot_write(error);
            }
        }
        self.signals.take_terminate() && self.options.until == Until::Term
    }

    /// Reads the keys again and goes over to what they came to, or keeps what it has and says so. With `switch` even where
    /// they are the same: another writer has left this stream.
    fn reload_keys(&mut self, switch: bool) {
        // Anew, and before the keys are read: a folder that was removed and made again is another one.
        match KeyWatch::new(&self.options.keys, self.wake.waker()) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => self.warner.warn("watch", &format_args!("the keys cannot be watched for changes: {error}")),
        }
        let loaded = keys::load(&self.options.keys, self.options.profile)
            .map_err(FilterError::from)
            .and_then(|loaded| Ok((framing(&self.options, loaded.recipients.profile())?, loaded)));
        let interval = match loaded {
            Ok((framing, loaded)) => {
                loaded.refused.iter().for_each(|refusal| self.warner.warn("refused", refusal));
                let recipients = Arc::new(loaded.recipients);
                let mut interval = KEYS_INTERVAL;
                if switch || *recipients != **self.writer.recipients() {
                    let elsewhere =
                        self.files.as_ref().and_then(|files| files.elsewhere(&self.writer, recipients.profile(), framing));
                    if let Err(error) = self.writer.change_recipients(recipients, elsewhere) {
                        self.cannot_write(error);
                        // On a full disk the change has to wait, too.
                        interval = RETRY;
                    }
                }
                interval
            }
            Err(error) => {
                self.warner.warn("keys", &format_args!("{error}; lines go on being sealed to the last good keys"));
                if switch && let Err(error) = self.writer.change_recipients(self.writer.recipients().clone(), None) {
                    self.cannot_write(error);
                }
                KEYS_TROUBLE_INTERVAL
            }
        };
        self.keys_at = clock::boottime() + interval;
    }

    fn finish(mut self) -> Result<(), FilterError> {
        let give_up_at = clock::boottime() + LAST_TRY;
        loop {
            match self.writer.finish() {
                Ok(()) if self.dropped.is_some() => return Err(self.lost("they could not be sealed".to_owned())),
                Ok(()) => return self.unreadable.map_or(Ok(()), |error| Err(FilterError::Input(error))),
                Err(error) if is_for_good(&error) || clock::boottime() >= give_up_at => return Err(self.lost(error.to_string())),
                Err(_) => std::thread::sleep(LAST_TRY / 10),
            }
        }
    }

    fn give_up(mut self, reader: &mut Reader) -> Result<(), FilterError> {
        let now = clock::now();
        while let Some(piece) = reader.rest() {
            self.count(&piece, now, String::new());
            self.at_line_start = piece.ends_line();
        }
        let why = self.blocked.as_ref().map_or_else(String::new, |blocked| blocked.why.clone());
        Err(self.lost(why))
    }

    fn lost(&self, why: String) -> FilterError {
        FilterError::Lost { lines: self.dropped.as_ref().map_or(0, |dropped| dropped.lines), bytes: self.writer.waiting(), why }
    }
}

/// Whether trying again is in vain: nobody reads standard output any more.
fn is_for_good(error: &WriteError) -> bool {
    matches!(error, WriteError::Append { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
}

/// The framing of a profile, as asked for where that can be.
fn framing(options: &FilterOptions, profile: Profile) -> Result<Framing, FilterError> {
    match (profile, options.framing) {
        (Profile::Age, Some(Framing::Binary)) => Err(FilterError::AgeBinary),
        (_, wanted) => Ok(wanted.unwrap_or(profile.framing())),
    }
}
