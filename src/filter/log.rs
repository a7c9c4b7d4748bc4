//! One log of a filter: its writer, its files, and what becomes of lines while they cannot be stored.
//!
//! Promises: each line that it took is in the file, or held, or counted into a `gap` record, as the policy says. What it
//! holds is bounded.
#![forbid(unsafe_code)]

mod offer;

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use memchr::memchr_iter;

pub use self::offer::Offer;
use self::offer::Refused;
use super::keyring::Keyring;
use super::target::Files;
use super::warn::Warner;
use super::window::Window;
use super::{FilterError, WhenFull};
use crate::control::Gap;
use crate::host::clock;
use crate::stream::Writer;
use crate::stream::claim::ClaimError;
use crate::stream::writer::{Warning, WriteError};

/// Sealed bytes that are held at most while the disk does not take them.
const HOLD: usize = 4 * 1024 * 1024;
/// Sealed bytes that are collected at most before they are written.
const WRITE_SIZE: usize = 256 * 1024;
/// How often a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// When upkeep goes on after a file that was moved away was looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a filter that was told to end goes on trying to write.
pub const LAST_TRY: Duration = Duration::from_secs(2);

/// What all logs of a filter share.
pub struct Common {
    /// Tells warnings.
    pub warner: Warner,
    /// What is sealed to.
    pub keys: Keyring,
    /// What becomes of lines that cannot be stored.
    pub when_full: WhenFull,
    /// Where lines are shown once more.
    pub window: Option<Window>,
    /// The process has given up what it did not need.
    pub sandbox: bool,
}

impl Common {
    fn show(&mut self, piece: &[u8]) {
        if let Some(window) = &mut self.window {
            window.show(piece, &mut self.warner);
        }
    }

    /// What else is to be said of a file that cannot be opened.
    fn hint(&self, error: &WriteError) -> &'static str {
        match error {
            WriteError::Open { source, .. } if self.sandbox && source.kind() == io::ErrorKind::PermissionDenied => {
                " (where its folder was made anew or moved: start the filter again, its sandbox has the old one)"
            }
            _ => "",
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

/// One log. See the module's description.
pub struct Log {
    writer: Writer,
    /// `None` for standard output.
    files: Option<Files>,
    blocked: Option<Blocked>,
    dropped: Option<Dropped>,
    at_line_start: bool,
    /// The next file could not be opened; when to try again.
    enter_again: Duration,
    /// A file may not be on the disk, though it was to be.
    unsynced: Option<String>,
    refused: Option<Refused>,
    /// The last line in the file has no end, and nothing that ends it follows.
    cut_short: bool,
    /// Lines came since the last flush; kept by the set that it is in.
    pub touched: bool,
}

impl Log {
    /// A log of which nothing is made or opened yet.
    pub fn new(writer: Writer, files: Option<Files>) -> Self {
        Self {
            writer,
            files,
            enter_again: Duration::ZERO,
            blocked: None,
            dropped: None,
            at_line_start: true,
            unsynced: None,
            refused: None,
            cut_short: false,
            touched: false,
        }
    }

    /// When it is tried again to write what was sealed, if that cannot be written for now.
    pub fn retry_at(&self) -> Option<Duration> {
        self.blocked.as_ref().map(|blocked| blocked.retry_at)
    }

    /// Whether something that was sealed can be written now.
    pub fn has_waiting(&self) -> bool {
        self.writer.is_open() && self.blocked.is_none() && self.writer.waiting() > 0
    }

    /// Whether a line is in the file that was refused, and will come again.
    pub fn awaits_again(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether all that came is in the file.
    pub fn is_idle(&self) -> bool {
        self.blocked.is_none() && self.dropped.is_none() && self.writer.waiting() == 0
    }

    /// Whether it never will be.
    pub fn is_blocked_for_good(&self) -> bool {
        self.blocked.as_ref().is_some_and(|blocked| blocked.for_good)
    }

    /// Opens the file at the start, where that was asked for.
    pub fn open_if_forced(&mut self, common: &mut Common) {
        if self.files.as_ref().is_some_and(|files| files.actions().force_open) {
            self.open(clock::now(), common);
            self.flush(common);
        }
    }

    /// Looks after the file before lines go where nobody finds them.
    pub fn look_if_due(&mut self, common: &mut Common) {
        if self.blocked.is_none() {
            let looked = self.writer.look_if_due();
            self.after_look(looked, common);
        }
    }

    /// Opens the file again by its name where it was moved away.
    pub fn look_after_file(&mut self, common: &mut Common) {
        let looked = self.writer.look_after_file();
        self.after_look(looked, common);
    }

    fn after_look(&mut self, mut looked: Result<(), WriteError>, common: &mut Common) {
        if let (Err(WriteError::Open { path, source }), Some(files)) = (&looked, &self.files)
            && source.kind() == io::ErrorKind::NotFound
        {
            // Its folder went with it.
            looked = files.make_folders(path).and_then(|()| self.writer.look_after_file());
        }
        match looked {
            // It is opened again with the next line, in the stream that goes on.
            Err(WriteError::Claim(ClaimError::StreamEnded)) => self.leave_recipients(common),
            Err(error) => self.cannot_write(error, common),
            Ok(()) => {}
        }
    }

    /// Opens or rotates where that is due. False where lines have to wait.
    pub fn may_take(&mut self, now: Timestamp, common: &mut Common) -> bool {
        if self.at_line_start || !self.writer.is_open() {
            self.open(now, common);
        }
        if common.when_full != WhenFull::Drop && self.blocked.is_none() && self.writer.is_open() {
            // What cannot be sealed for now waits as what cannot be written does.
            self.make_room(common);
        }
        common.when_full == WhenFull::Drop || (self.blocked.is_none() && self.writer.is_open())
    }

    fn make_room(&mut self, common: &mut Common) {
        match self.writer.room() {
            // Going over to the other stream comes with the line.
            Ok(()) | Err(WriteError::Claim(ClaimError::StreamEnded)) => {}
            Err(error) => self.cannot_write(error, common),
        }
    }

    /// Takes a line or a piece of one.
    pub fn take(&mut self, piece: &[u8], ends_line: bool, now: Timestamp, common: &mut Common) {
        if !piece.is_empty() {
            self.seal(piece, now, common);
            common.show(piece);
        }
        self.at_line_start = ends_line;
        if self.files.as_ref().is_some_and(|files| files.actions().echo) {
            // Whoever asked for a copy and does not take it gets none.
            let _ = io::stdout().write_all(piece);
        }
        if self.writer.waiting() > WRITE_SIZE {
            self.flush(common);
        }
    }

    fn open(&mut self, now: Timestamp, common: &mut Common) {
        if self.blocked.as_ref().is_some_and(|blocked| clock::boottime() < blocked.retry_at) {
            return;
        }
        if let Err(error) = self.enter_next(now, common) {
            self.cannot_write(error, common);
        }
    }

    /// As [`Log::enter_for_keys`]. Where the next file cannot be opened and the one before still is, that one is gone on
    /// with, and the next one tried again.
    fn enter_next(&mut self, now: Timestamp, common: &mut Common) -> Result<(), WriteError> {
        let tried = self.enter_again > Duration::ZERO;
        if tried && self.writer.is_open() && clock::boottime() < self.enter_again {
            return Ok(());
        }
        match self.enter_for_keys(now, common) {
            Err(error @ WriteError::Open { .. }) if self.writer.is_open() => {
                let hint = common.hint(&error);
                self.warn("open", &format_args!("{error}{hint}; the file before is gone on with"), common);
                self.enter_again = clock::boottime() + RETRY;
                Ok(())
            }
            entered => entered,
        }
    }

    /// As [`Log::enter`], going over to other keys where another writer did.
    fn enter_for_keys(&mut self, now: Timestamp, common: &mut Common) -> Result<(), WriteError> {
        match self.enter(now, common) {
            Err(WriteError::Claim(ClaimError::StreamEnded)) => {
                self.leave_recipients(common);
                self.enter(now, common)
            }
            entered => entered,
        }
    }

    /// Opens the file that lines of this time go to, unless it is open.
    fn enter(&mut self, now: Timestamp, common: &mut Common) -> Result<(), WriteError> {
        match &mut self.files {
            Some(files) => files.enter(&mut self.writer, now, &mut common.warner),
            None if !self.writer.is_open() => match io::stdout().as_fd().try_clone_to_owned() {
                Ok(out) => self.writer.enter_through(out.into()),
                Err(source) => Err(WriteError::Open { path: "standard output".into(), source }),
            },
            None => Ok(()),
        }
    }

    fn seal(&mut self, piece: &[u8], now: Timestamp, common: &mut Common) {
        if !self.writer.is_open() || (self.blocked.is_some() && self.writer.waiting() >= HOLD) {
            let why = self.blocked.as_ref().map_or_else(String::new, |blocked| blocked.why.clone());
            return self.count(piece, now, why);
        }
        if let Err(error) = self.line(piece, now, common) {
            self.warn("seal", &error, common);
            self.count(piece, now, error.to_string());
        }
    }

    /// Seals, going over to other keys where another writer did.
    fn line(&mut self, piece: &[u8], now: Timestamp, common: &mut Common) -> Result<(), WriteError> {
        match self.writer.line(piece, now) {
            Err(WriteError::Claim(ClaimError::StreamEnded)) => {
                self.leave_recipients(common);
                self.writer.line(piece, now)
            }
            sealed => sealed,
        }
    }

    fn count(&mut self, piece: &[u8], now: Timestamp, why: String) {
        let dropped = self.dropped.get_or_insert(Dropped { lines: 0, bytes: 0, from: now, to: now, why });
        // Of a line in pieces the first that is dropped counts; of a group each line.
        let inner = memchr_iter(b'\n', &piece[..piece.len().saturating_sub(1)]).count() as u64;
        dropped.lines += inner + u64::from(self.at_line_start || dropped.lines == 0);
        dropped.bytes += piece.len() as u64;
        dropped.to = now;
    }

    /// Counts a piece of a line of another log, which could not be opened.
    pub fn count_elsewhere(&mut self, piece: &[u8], begins_line: bool, now: Timestamp) {
        let at_line_start = std::mem::replace(&mut self.at_line_start, begins_line);
        self.count(piece, now, "all logs that may be open are blocked; these lines are those of others".to_owned());
        self.at_line_start = at_line_start;
    }

    /// Counts a piece that came when it was too late to seal it.
    pub fn give_up(&mut self, piece: &[u8], ends_line: bool, now: Timestamp) {
        self.count(piece, now, String::new());
        self.at_line_start = ends_line;
    }

    /// Writes what waits, then tells what was dropped.
    pub fn flush(&mut self, common: &mut Common) {
        if !self.writer.is_open() || self.blocked.as_ref().is_some_and(|blocked| clock::boottime() < blocked.retry_at) {
            return;
        }
        match self.writer.flush() {
            Ok(()) => {
                if self.blocked.take().is_some() {
                    common.warner.warn("goes on", &"the log can be written again");
                }
                if let Some(dropped) = self.dropped.take() {
                    let Dropped { lines, bytes, from, to, ref why } = dropped;
                    let gap = Gap { lines, bytes, from, to, why: why.clone() };
                    let mut told = self.writer.gap(gap.clone(), clock::now());
                    if let Err(WriteError::Claim(ClaimError::StreamEnded)) = told {
                        self.leave_recipients(common);
                        told = self.writer.gap(gap, clock::now());
                    }
                    if let Err(error) = told.and_then(|()| self.writer.flush()) {
                        self.dropped = Some(dropped).filter(|_| self.writer.waiting() == 0);
                        self.cannot_write(error, common);
                    }
                }
            }
            Err(error) => self.cannot_write(error, common),
        }
    }

    fn cannot_write(&mut self, error: WriteError, common: &mut Common) {
        if self.blocked.is_none() {
            let policy = match common.when_full {
                WhenFull::Block => "no more lines are read until it can be",
                WhenFull::Drop => "lines are held, then counted and dropped until it can be",
                WhenFull::Refuse(_) => "lines are refused until it can be",
            };
            let hint = common.hint(&error);
            self.warn("write", &format_args!("{error}{hint}; {policy}"), common);
        }
        let for_good = is_for_good(&error);
        self.blocked = Some(Blocked { retry_at: clock::boottime() + RETRY, why: error.to_string(), for_good });
    }

    /// What is due by the clock. How long nothing else will be.
    pub fn upkeep(&mut self, common: &mut Common) -> Option<Duration> {
        let now = clock::boottime();
        if self.blocked.as_ref().is_some_and(|blocked| now >= blocked.retry_at) {
            self.open(clock::now(), common);
            self.flush(common);
            if let Some(blocked) = self.blocked.as_mut().filter(|_| !self.writer.is_open()) {
                blocked.retry_at = blocked.retry_at.max(now + RETRY);
            }
        }
        let mut due = Vec::new();
        if self.blocked.is_none() {
            // What could not be changed on a full disk, too.
            self.follow_keys(common);
        }
        if self.blocked.is_none() {
            match self.writer.tick() {
                Ok(next) => due.extend(next),
                Err(WriteError::Claim(ClaimError::StreamEnded)) => {
                    self.leave_recipients(common);
                    due.push(Duration::ZERO);
                }
                Err(error) => {
                    // It looks after the file, too, whose folder may be gone.
                    self.after_look(Err(error), common);
                    due.push(LOOK_AGAIN);
                }
            }
            if let Some(files) = self.files.as_ref().filter(|files| files.actions().create_empty && self.writer.is_open()) {
                let at = clock::now();
                match files.boundary(at) {
                    Some(boundary) if boundary <= at => {
                        self.open(at, common);
                        // What the next boundary is shows in the next round.
                        due.push(Duration::ZERO);
                    }
                    Some(boundary) => due.extend(Duration::try_from(boundary.duration_since(at)).ok()),
                    None => {}
                }
            }
        }
        // What a file begins or an epoch ends with.
        self.flush(common);
        due.extend(self.writer.store_counts());
        due.extend(self.blocked.as_ref().map(|blocked| blocked.retry_at.saturating_sub(now)));
        self.tell_warnings(common);
        due.into_iter().min()
    }

    fn tell_warnings(&mut self, common: &mut Common) {
        for warning in self.writer.take_warnings() {
            if matches!(warning, Warning::Sync(_)) {
                let log = self.files.as_ref().map_or_else(|| "standard output".to_owned(), Files::log);
                self.unsynced.get_or_insert(format!("{log}: {warning}"));
            }
            self.warn("stream", &warning, common);
        }
    }

    fn warn(&mut self, topic: &'static str, what: &dyn Display, common: &mut Common) {
        if common.warner.warns(topic, what) {
            self.writer.count_error(what.to_string());
        }
    }

    /// Why a file may not be on the disk, though it was to be since the last call.
    pub fn take_unsynced(&mut self) -> Option<String> {
        self.unsynced.take()
    }

    /// Ends an idle log, with everything on the disk. False where that cannot be written.
    pub fn close(&mut self, common: &mut Common) -> bool {
        let finished = self.writer.finish();
        self.tell_warnings(common);
        finished.map_err(|error| self.cannot_write(error, common)).is_ok()
    }

    /// Goes over to the keys as they were read last.
    pub fn follow_keys(&mut self, common: &mut Common) {
        let (theirs, ours) = (common.keys.recipients(), self.writer.recipients());
        if !Arc::ptr_eq(theirs, ours) && **theirs != **ours {
            self.change_recipients(common);
        }
    }

    /// Another writer has left this stream, which is left even where the keys are the same.
    fn leave_recipients(&mut self, common: &mut Common) {
        common.keys.reload(&mut common.warner);
        self.change_recipients(common);
    }

    fn change_recipients(&mut self, common: &mut Common) {
        let (recipients, framing) = (common.keys.recipients().clone(), common.keys.framing());
        let elsewhere = self.files.as_ref().and_then(|files| files.elsewhere(&self.writer, recipients.profile(), framing));
        if let Err(error) = self.writer.change_recipients(recipients, elsewhere) {
            self.cannot_write(error, common);
        }
    }

    /// Ends the log, with everything in the file and on the disk; tries for a while.
    pub fn finish(&mut self, give_up_at: Duration) -> Result<(), FilterError> {
        loop {
            match self.writer.finish() {
                Ok(()) if self.dropped.is_some() => return Err(self.lost("they could not be sealed".to_owned())),
                Ok(()) => return Ok(()),
                Err(error) if is_for_good(&error) || clock::boottime() >= give_up_at => return Err(self.lost(error.to_string())),
                Err(_) => std::thread::sleep(LAST_TRY / 10),
            }
        }
    }

    /// What was not stored, and why.
    pub fn lost_now(&self) -> FilterError {
        self.lost(self.blocked.as_ref().map_or_else(String::new, |blocked| blocked.why.clone()))
    }

    fn lost(&self, why: String) -> FilterError {
        FilterError::Lost { lines: self.dropped.as_ref().map_or(0, |dropped| dropped.lines), bytes: self.writer.waiting(), why }
    }
}

/// Whether trying again is in vain: nobody reads standard output any more.
fn is_for_good(error: &WriteError) -> bool {
    matches!(error, WriteError::Append { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
}
