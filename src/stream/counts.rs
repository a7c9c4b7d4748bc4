//! What became of a log, in numbers: for the administrator's `status`, never as evidence.
//!
//! Promises: every writer of a log adds what it did within a second or so, gaps and errors at once, and never waits for another one. Not promised: that
//! nothing is missing. A writer that is killed takes its last second with it, a power cut what was not on the disk.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use memchr::memchr_iter;
use serde::{Deserialize, Serialize};

use super::state::StateFolder;
use crate::control::milliseconds;
use crate::host::clock;
use crate::host::file::{lock_exclusive, try_lock_exclusive};

const NAME: &str = "counts";
/// More bytes than this it never has.
const MAX: u64 = 1 << 16;
/// How often a writer adds what it counted, at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same where it cannot.
const RETRY: Duration = Duration::from_secs(60);
/// How often a writer that ends tries to, and how long between.
const LAST_TRIES: u32 = 100;
const LAST_PAUSE: Duration = Duration::from_millis(1);

/// Numbers of a log, or of what one of its writers did since it last added them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Since when.
    #[serde(with = "milliseconds")]
    pub since: Timestamp,
    /// Lines that were sealed.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Gaps that a `gap` record tells of.
    pub gaps: u64,
    /// Lines that these say are lost.
    pub lost_lines: u64,
    /// The last of them.
    pub last_gap: Option<Event>,
    /// Errors that a filter told of.
    pub errors: u64,
    /// The last of them.
    pub last_error: Option<Event>,
}

/// What happened last, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    #[serde(with = "milliseconds")]
    pub time: Timestamp,
    /// What; without log text.
    pub text: String,
}

impl Event {
    fn now(text: String) -> Option<Self> {
        Some(Self { time: clock::now(), text })
    }
}

impl Counts {
    fn none_so_far() -> Self {
        let since = clock::now();
        Self { since, lines: 0, bytes: 0, gaps: 0, lost_lines: 0, last_gap: None, errors: 0, last_error: None }
    }

    fn add(&mut self, more: Self) {
        self.since = self.since.min(more.since);
        self.lines += more.lines;
        self.bytes += more.bytes;
        self.gaps += more.gaps;
        self.lost_lines += more.lost_lines;
        self.errors += more.errors;
        self.last_gap = more.last_gap.or(self.last_gap.take());
        self.last_error = more.last_error.or(self.last_error.take());
    }
}

impl StateFolder {
    /// What was counted so far.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, `NotFound` where nothing was counted.
    pub fn counts(&self) -> io::Result<Counts> {
        let file = open(self, OpenOptions::new().read(true))?;
        lock_exclusive(&file)?;
        read(&file)
    }

    /// Adds to what was counted. False where another writer does so at this moment.
    fn add_counts(&self, more: &Counts) -> io::Result<bool> {
        let file = open(self, OpenOptions::new().read(true).write(true).create(true).mode(0o600))?;
        if !try_lock_exclusive(&file)? {
            return Ok(false);
        }
        // What cannot be read is of no use to anybody, and is begun anew.
        let mut counts = read(&file).unwrap_or_else(|_| Counts::none_so_far());
        counts.add(more.clone());
        let mut text = serde_json::to_vec(&counts).map_err(io::Error::other)?;
        // In one write, whoever is killed when.
        let length = usize::try_from(file.metadata()?.len().min(MAX)).unwrap_or(0);
        text.resize(text.len().max(length), b' ');
        file.write_all_at(&text, 0)?;
        Ok(true)
    }
}

fn open(folder: &StateFolder, options: &mut OpenOptions) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    options.custom_flags(flags).open(folder.path().join(NAME))
}

fn read(mut file: &File) -> io::Result<Counts> {
    let mut text = Vec::new();
    (&mut file).take(MAX).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

/// What a writer counted and has not added yet.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Option<Counts>,
    /// When it is to be added.
    due: Duration,
}

impl Tally {
    /// A line that was sealed, or a piece of one, or several.
    pub fn line(&mut self, body: &[u8]) {
        let counts = self.counts();
        counts.lines += memchr_iter(b'\n', body).count() as u64;
        counts.bytes += body.len() as u64;
    }

    /// Lines that were not.
    pub fn gap(&mut self, lines: u64, why: String) {
        let counts = self.counts();
        counts.gaps += 1;
        counts.lost_lines += lines;
        counts.last_gap = Event::now(why);
        self.due = Duration::ZERO;
    }

    /// Something went wrong.
    pub fn error(&mut self, text: String) {
        let counts = self.counts();
        counts.errors += 1;
        counts.last_error = Event::now(text);
        self.due = Duration::ZERO;
    }

    fn counts(&mut self) -> &mut Counts {
        self.counts.get_or_insert_with(|| {
            self.due = clock::boottime() + INTERVAL;
            Counts::none_so_far()
        })
    }

    /// When it is to be added, if there is something.
    pub fn due(&self) -> Option<Duration> {
        self.counts.as_ref().map(|_| self.due)
    }

    /// Adds it to what `folder` has. Where that cannot be done now it is tried again later: lines go before numbers.
    pub fn store(&mut self, folder: &StateFolder) {
        let Some(counts) = &self.counts else { return };
        match folder.add_counts(counts) {
            Ok(true) => self.counts = None,
            Ok(false) => self.due = clock::boottime() + INTERVAL,
            Err(_) => self.due = clock::boottime() + RETRY,
        }
    }

    /// The same for the last time, where another writer may end in the same moment.
    pub fn store_last(&mut self, folder: &StateFolder) {
        for _ in 0..LAST_TRIES {
            self.store(folder);
            if self.counts.is_none() {
                return;
            }
            thread::sleep(LAST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_many_writers_count_adds_up() {
        let at = tempfile::tempdir().unwrap();
        let folder = StateFolder::new(&at.path().join("state"), &at.path().join("run"), Path::new("/var/log"), "x.log");
        std::fs::create_dir_all(folder.path()).unwrap();
        assert_eq!(folder.counts().unwrap_err().kind(), io::ErrorKind::NotFound);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut tally = Tally::default();
                    for _ in 0..100 {
                        tally.line(b"one\ntwo\nthr");
                        tally.line(b"ee\n");
                        tally.store(&folder);
                    }
                    tally.store_last(&folder);
                });
            }
        });
        let counts = folder.counts().unwrap();
        assert_eq!((counts.lines, counts.bytes), (1200, 400 * 14));
        assert_eq!(counts.last_gap, None);
        let mut tally = Tally::default();
        tally.gap(7, "no room".to_owned());
        tally.error("long ".repeat(99));
        tally.store(&folder);
        tally.error("short".to_owned());
        tally.store(&folder);
        let counts = folder.counts().unwrap();
        assert_eq!((counts.lines, counts.gaps, counts.lost_lines, counts.errors), (1200, 1, 7, 2));
        assert_eq!((counts.last_gap.unwrap().text, counts.last_error.unwrap().text), ("no room".to_owned(), "short".to_owned()));
    }
}
