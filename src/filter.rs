//! The loop that every filter runs: lines from standard input, sealed, into files, for months.
//!
//! Promises: each line is in the file before the next read, or is held, or is counted into a `gap` record, as the policy
//! says; a signal, a changed key folder, a full disk or a moved file never ends it. It never writes a line in the clear
//! and never tells one. Before it reads the first one it gives up all that it does not need (`host::sandbox`). Dense input
//! gathers for a moment before it is read (`pace`).
#![forbid(unsafe_code)]

pub mod confirm;
mod keyring;
mod log;
mod logs;
mod pace;
mod program;
pub mod route;
pub mod target;
mod warn;
pub mod window;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::libc::EBADF;
use thiserror::Error;

use self::confirm::{Confirm, Confirmer};
use self::keyring::Keyring;
use self::log::{Common, LAST_TRY};
use self::logs::{Logs, Maker, Place};
use self::pace::Pace;
use self::program::Program;
use self::route::FIELD_LIMIT;
use self::target::{Target, TargetError};
use self::warn::Warner;
use self::window::{Window, WindowOptions};
use crate::host::memory::{LockedBuffer, wipe_stack, wipe_stack_of_symmetric};
use crate::host::sandbox::Sandbox;
use crate::host::signals::Signals;
use crate::host::wake::Wake;
use crate::host::{self, clock, process};
use crate::input::{Filled, InputError, LineReader, READ_ROOM};
use crate::keys::KeyError;
use crate::record::{Framing, Profile};
use crate::segment;

/// How long it rests where it cannot wait.
const WAIT_AGAIN: Duration = Duration::from_millis(100);

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
    /// Each line is answered on standard output, and refused there.
    Refuse(Confirm),
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
    /// Lines of one read share a record.
    pub group: bool,
    /// A mark is sealed into a log when nothing was for so long.
    pub mark_idle: Option<Duration>,
    /// Lines are shown once more, in plain text.
    pub window: Option<WindowOptions>,
    /// The process gives up, for good, all that it does not need.
    pub sandbox: bool,
    /// What it could not have for its protection so far, in words.
    pub lacks: Vec<String>,
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
    /// Plain text would come to a disk.
    #[error("no window in {}: {source}", path.display())]
    Window {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Lines that go to several logs, or are answered one by one, cannot share a record.
    #[error("lines cannot share a record where each has a log of its own or is answered by itself")]
    Group,
    /// The field that chooses a log would not fit.
    #[error("lines are to be cut into pieces of less than {0} bytes, but the field at their beginning must be in the first one")]
    ShortLines(usize),
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
            Self::Window { .. } => "name a file below /run, in a folder that is there",
            Self::Group => "leave --group out, or write all lines to one log without answers",
            Self::ShortLines(_) => "choose a higher --max-line",
            Self::System { .. } => "look at the limits of the user and the unit that the program runs as",
            Self::Input(_) => "look at what standard input is connected to",
            Self::Lost { .. } => "make room where the log goes, or start again what reads it; then start this again",
        }
    }
}

/// Gives up all that a filter does not need, for good. What could not be had.
fn enter_sandbox(options: &FilterOptions) -> Vec<String> {
    // What is known from here on without looking.
    let _ = (process::boot_id(), segment::log_group());
    let mut sandbox = Sandbox::default();
    options.keys.iter().for_each(|keys| sandbox.keys(keys));
    options.target.admit(&mut sandbox);
    options.window.iter().for_each(|window| sandbox.window(window.folder()));
    if !matches!(options.target, Target::Output) {
        sandbox.state(&options.state_dir);
        sandbox.state(&options.runtime_dir);
    }
    sandbox.enter()
}

type Reader = LineReader<LockedBuffer, fn(usize) -> io::Result<LockedBuffer>>;

/// A filter that is set up and has not read yet.
pub struct Filter {
    options: FilterOptions,
    common: Common,
    logs: Logs,
    confirmer: Option<Confirmer>,
    signals: Signals,
    wake: Wake,
    /// What it could not have for its protection, until that is told.
    lacks: Vec<String>,
    /// The change of keys that all logs have followed.
    followed: u64,
    pace: Pace,
    /// How long the input is left alone before the next read.
    pause: Option<Duration>,
    unreadable: Option<InputError>,
}

impl Filter {
    /// Checks everything that can be checked without claiming anything or making a file. For a process with one thread.
    pub fn new(mut options: FilterOptions) -> Result<Self, FilterError> {
        let system = |what| move |source| FilterError::System { what, source };
        let name = options.software.split(' ').next().unwrap_or("sealedlog").to_owned();
        // Before there are threads, secrets, and a sandbox.
        let program = match &options.target {
            Target::Files(files) => files.actions.program.as_ref(),
            _ => None,
        };
        let program = program.map(|path| Program::new(path, Warner::new(&name))).transpose().map_err(system("no helper"))?;
        // Soon: a daemon may signal what it has just started.
        let signals = Signals::install().map_err(system("cannot handle signals"))?;
        let wake = Wake::new().map_err(system("cannot make a pipe"))?;
        let mut warner = Warner::new(&name);
        let mut keys = Keyring::load(&options, wake.waker(), &mut warner)?;
        let (mut seed, mut key) = ([0; 32], [0; 32]);
        getrandom::fill(&mut seed)
            .and_then(|()| getrandom::fill(&mut key))
            .map_err(|error| FilterError::System { what: "no randomness", source: io::Error::other(error) })?;
        let confirmer = match options.when_full {
            WhenFull::Refuse(confirm) => Some(Confirmer::new(confirm, key)),
            WhenFull::Block | WhenFull::Drop => None,
        };
        if let Some(window) = &options.window {
            window.check().map_err(|source| FilterError::Window { path: window.path.clone(), source })?;
        }
        let probe = LockedBuffer::new(READ_ROOM).map_err(system("no memory"))?;
        let alone = matches!(&options.target, Target::Routed(routed) if routed.template.has_field()) || confirmer.is_some();
        if options.group && alone {
            return Err(FilterError::Group);
        }
        let (files, routes) = match &options.target {
            Target::Output => (None, None),
            Target::Files(files) => (Some(files.check(program)?), None),
            Target::Routed(routed) if routed.template.has_field() && options.max_line < 2 * FIELD_LIMIT => {
                return Err(FilterError::ShortLines(2 * FIELD_LIMIT));
            }
            Target::Routed(routed) => (None, Some(routed.clone().check()?)),
        };
        if options.sandbox {
            // After the time zone was read, and before the first thread starts.
            options.lacks.extend(enter_sandbox(&options));
        }
        let maker = Maker {
            software: options.software.clone(),
            host: process::host_name().unwrap_or_else(|_| "localhost".to_owned()),
            keys: options.keys.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect(),
            state_dir: options.state_dir.clone(),
            runtime_dir: options.runtime_dir.clone(),
            memory_locked: probe.is_locked(),
            lacks: options.lacks.iter().cloned().chain((!options.sandbox).then(|| "sandbox".to_owned())).collect(),
            mark_idle: options.mark_idle,
            window: options.window.as_ref().map(|window| window.path.clone()),
            seed,
            made: 0,
        };
        let mut lacks = options.lacks.clone();
        if !probe.is_locked() {
            lacks.push("memory that is never swapped (RLIMIT_MEMLOCK)".to_owned());
        }
        let logs = match routes {
            Some(routes) => Logs::routed(routes, maker),
            None => Logs::one(files, maker, &keys),
        };
        keys.watch(&mut warner);
        let window = options.window.clone().map(Window::new);
        let common = Common { warner, keys, when_full: options.when_full, window, sandbox: options.sandbox };
        Ok(Self {
            options,
            common,
            logs,
            confirmer,
            signals,
            wake,
            lacks,
            followed: 0,
            pace: Pace::default(),
            pause: None,
            unreadable: None,
        })
    }

    /// Seals `input` until it is told to end. Everything that was read is stored then, or the error says how much is not.
    pub fn run(mut self, input: BorrowedFd<'_>) -> Result<(), FilterError> {
        let system = |what| move |source| FilterError::System { what, source };
        let buffer = LockedBuffer::new(2 * READ_ROOM).map_err(system("no memory"))?;
        let mut reader: Reader =
            LineReader::new(buffer, self.options.max_line, LockedBuffer::new as fn(usize) -> io::Result<LockedBuffer>)
                .in_groups(self.options.group);
        let (mut ended, mut terminated) = (false, None);
        self.logs.open_if_forced(&mut self.common);
        if let Some(confirmer) = &self.confirmer {
            confirmer.greet();
        }
        loop {
            let mut due = self.upkeep();
            if !self.logs.any_blocked() {
                // What had to wait.
                self.take(&mut reader, ended);
                if self.logs.any_blocked() {
                    due = Some(Duration::ZERO);
                }
            }
            let since = terminated.map_or(Duration::ZERO, |at: Duration| clock::boottime().saturating_sub(at));
            let give_up = since >= LAST_TRY;
            if since >= LAST_TRY / 2 && !self.logs.any_blocked() {
                // Input that comes without end.
                ended = true;
                self.take(&mut reader, ended);
            }
            if ended && (!self.logs.any_blocked() || self.confirmer.is_some()) {
                return self.finish(terminated.unwrap_or_else(clock::boottime) + LAST_TRY);
            }
            if give_up
                || self.logs.any_blocked_for_good()
                || (ended && self.options.when_full == WhenFull::Drop && self.logs.any_blocked() && terminated.is_some())
            {
                return self.give_up(&mut reader);
            }
            let blocks = self.logs.any_blocked() && self.options.when_full == WhenFull::Block;
            let reads = !ended && !blocks;
            let timeout = if terminated.is_some() && reads { Some(Duration::ZERO) } else { due };
            let wakes = [self.signals.as_fd(), self.wake.as_fd()];
            // It may be a long time before the next line overwrites what sealing this one left there.
            match self.common.keys.recipients().profile() {
                Profile::Rfc9580 => wipe_stack_of_symmetric(),
                Profile::Rfc4880 | Profile::Age => wipe_stack(),
            }
            if let Some(pause) = self.pause.take().filter(|_| reads && terminated.is_none()) {
                // A wake ends it, and is found below; so is an error.
                let _ = host::wait(None, &wakes, Some(pause));
            }
            let ready = match host::wait(reads.then_some(input), &wakes, timeout) {
                Ok(ready) => ready,
                Err(source) if source.raw_os_error() == Some(EBADF) => return Err(system("cannot wait for input")(source)),
                Err(error) => {
                    // The kernel has no memory for it, for now.
                    self.common.warner.warn("wait", &format_args!("cannot wait for input: {error}; tried again"));
                    std::thread::sleep(WAIT_AGAIN);
                    continue;
                }
            };
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
            if ended || !self.logs.any_blocked() {
                self.take(&mut reader, ended);
            }
        }
    }

    /// One read, and everything in it. Whether the input is at its end.
    fn read(&mut self, reader: &mut Reader, input: BorrowedFd<'_>) -> bool {
        match reader.fill(input) {
            Ok(Filled::Bytes(bytes)) => {
                let at = clock::monotonic();
                self.tell_lacks();
                let lines = self.take(reader, false);
                // A daemon that waits for answers writes no more before it has them.
                self.pause = if self.confirmer.is_none() { self.pace.after(lines, bytes, at) } else { None };
                false
            }
            Ok(Filled::WouldBlock) | Err(InputError::Full) => {
                self.take(reader, false);
                false
            }
            Ok(Filled::Eof) => {
                self.take(reader, true);
                true
            }
            Err(error @ InputError::Grow { .. }) => {
                self.common.warner.warn("memory", &error);
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

    /// With the first line, so that of Apache's two filters one tells it.
    fn tell_lacks(&mut self) {
        if !self.lacks.is_empty() {
            let lacks = std::mem::take(&mut self.lacks).join(", ");
            self.common.warner.warn("sandbox", &format_args!("lines are sealed without {lacks}"));
        }
    }

    /// Seals and writes what was read, at the end of input its unfinished last line too. How many pieces that were.
    fn take(&mut self, reader: &mut Reader, ended: bool) -> u32 {
        let now = clock::now();
        let mut pieces = 0;
        if let Some(confirmer) = &mut self.confirmer {
            while let Some(piece) = if ended { reader.rest() } else { reader.next_piece() } {
                confirmer.take(&piece, piece.ends_line(), now, &mut self.logs, &mut self.common);
                pieces += 1;
            }
            return pieces;
        }
        // Nothing is opened or rotated without a line that goes there.
        while let Some(piece) = reader.peek_piece(ended) {
            let place = self.logs.place(piece, now, &mut self.common);
            if place == Place::Wait {
                break;
            }
            let Some(piece) = (if ended { reader.rest() } else { reader.next_piece() }) else { break };
            self.logs.take(place, &piece, piece.ends_line(), now, &mut self.common);
            pieces += 1;
        }
        self.logs.flush(&mut self.common);
        pieces
    }

    /// What is due by the clock. How long nothing else will be.
    fn upkeep(&mut self) -> Option<Duration> {
        if clock::boottime() >= self.common.keys.read_at() {
            self.reload_keys();
        }
        if self.common.keys.changes() != self.followed {
            // One log found that another program went over to other keys.
            self.follow_keys();
        }
        let due = self.logs.upkeep(&mut self.common);
        let keys = self.common.keys.read_at();
        Some(due.map_or(keys, |due| due.min(keys)).saturating_sub(clock::boottime()))
    }

    /// Acts on signals and on changed keys. Whether it is told to end.
    fn handle_wakes(&mut self) -> bool {
        self.wake.drain();
        self.signals.drain();
        if self.common.keys.take_changed() {
            self.reload_keys();
        }
        if self.signals.take_hangup() {
            self.reload_keys();
            self.logs.look_after_files(&mut self.common);
        }
        self.signals.take_terminate() && self.options.until == Until::Term
    }

    fn reload_keys(&mut self) {
        self.common.keys.reload(&mut self.common.warner);
        self.follow_keys();
    }

    fn follow_keys(&mut self) {
        self.followed = self.common.keys.changes();
        self.logs.follow_keys(&mut self.common);
    }

    fn finish(mut self, give_up_at: Duration) -> Result<(), FilterError> {
        self.logs.finish(give_up_at)?;
        self.unreadable.map_or(Ok(()), |error| Err(FilterError::Input(error)))
    }

    fn give_up(mut self, reader: &mut Reader) -> Result<(), FilterError> {
        let now = clock::now();
        while let Some(piece) = reader.rest() {
            self.logs.give_up(&piece, piece.ends_line(), now, &mut self.common);
        }
        self.logs.lost().map_or(Ok(()), Err)
    }
}
