//! Progress values in files: how far an epoch has come, for the writer that comes after a killed one.
//!
//! Promises: a value is in its file before the epoch is used, moves forward only, and is told apart from a live writer's
//! by its lock. The runtime directory holds the value of each write, the state directory that of each synchronisation.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::state::StateFolder;
use crate::chain::Progress;
use crate::control::{FoundProgress, Hex, StreamId};
use crate::host::file::try_lock_exclusive;

/// How often a lock is asked for that a killed process still has, and how long between.
const DYING_TRIES: u32 = 500;
const DYING_PAUSE: Duration = Duration::from_millis(2);
const PREFIX: &str = "progress-";
/// What a file is called before it is locked. It is empty then.
const NEW: &str = "progress.new";
/// As many values as fit into one control record with room to spare; the rest waits for the next writer.
const MAX_FOUND: usize = 2000;
/// So often a value is read at most that its writer changes in the meantime, once each write of his.
const READINGS: u32 = 1000;

/// One epoch's progress, in a file that is locked as long as this lives, or in memory alone.
pub struct EpochProgress {
    progress: Progress,
    file: Option<(PathBuf, File)>,
}

impl EpochProgress {
    /// Keeps the value in memory alone.
    pub fn in_memory(progress: Progress) -> Self {
        Self { progress, file: None }
    }

    /// Makes the file in `folder`, which is made where it is missing, and stores the value there. To be called under the
    /// stream's lock. A new file gets its name when it is locked, so that nobody takes it for that of a dead writer.
    pub fn create(folder: &Path, stream: StreamId, epoch: u64, progress: Progress) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // A log's folder serves one stream after the other, whose epochs have the same numbers.
        let path = folder.join(format!("{PREFIX}{stream}-{epoch}"));
        let file = match OpenOptions::new().write(true).open(&path) {
            // Of a killed writer, who claimed this epoch.
            Ok(file) => {
                lock(&file)?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = folder.join(NEW);
                let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&new)?;
                lock(&file)?;
                fs::rename(&new, &path)?;
                file
            }
            Err(error) => return Err(error),
        };
        let stored = Self { progress, file: Some((path, file)) };
        stored.store()?;
        Ok(stored)
    }

    /// Moves on to the value for `slots` records in the log.
    pub fn advance_to(&mut self, slots: u32) -> io::Result<()> {
        if slots <= self.progress.slots() {
            return Ok(());
        }
        self.progress.advance_to(slots);
        self.store()
    }

    /// The value as it stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Removes the file: the epoch is settled by records that are in the log.
    pub fn remove(self) {
        if let Some((path, _lock)) = &self.file {
            // Whatever stays is found by the next writer, and says nothing against the log.
            let _ = fs::remove_file(path);
        }
    }

    fn store(&self) -> io::Result<()> {
        match &self.file {
            Some((_, file)) => file.write_all_at(self.progress.value(), 0),
            None => Ok(()),
        }
    }
}

/// Under the stream's lock nobody but a killed writer can have it, whose files the kernel has not all closed yet.
fn lock(file: &File) -> io::Result<()> {
    let mut tries = DYING_TRIES;
    while !try_lock_exclusive(file)? {
        tries -= 1;
        if tries == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        thread::sleep(DYING_PAUSE);
    }
    Ok(())
}

/// The progress file of a writer that is gone, locked until its value is in a record.
#[derive(Debug)]
pub struct LeftProgress {
    path: PathBuf,
    _lock: File,
}

impl LeftProgress {
    /// Removes the file: the record with its value is on the disk.
    pub fn remove(self) {
        // Whatever stays is found again by the next writer.
        let _ = fs::remove_file(&self.path);
    }
}

/// The census for a record in the epoch `epoch` of `stream`: every earlier epoch that has a progress file, those of streams that
/// this one follows among them, and the files of writers that are gone.
///
/// Epochs are claimed in order, so every earlier one had its file when this one was claimed. What is not found has its end in
/// the log, or has lost its value. Files of later epochs are not touched: they may just be made.
pub fn take_census(folder: &StateFolder, stream: StreamId, epoch: u64) -> io::Result<(Vec<FoundProgress>, Vec<LeftProgress>)> {
    let (mut values, mut left) = (Vec::new(), Vec::new());
    // First those in memory: which writers live shows there; files on the disk are made later.
    for (folder, in_memory) in [(folder.runtime(), true), (folder.path(), false)] {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((of, number)) = name.to_str().and_then(parse_name) else { continue };
            if values.len() >= MAX_FOUND || (of == stream && number >= epoch) {
                continue;
            }
            // One that is gone by now has told its end.
            let file = match File::open(entry.path()) {
                Ok(file) => file,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => continue,
                Err(error) => return Err(error),
            };
            let of = (of != stream).then_some(of);
            let known = values.iter().position(|found: &FoundProgress| (found.stream, found.epoch) == (of, number));
            let is_live = known.is_some_and(|at| values[at].live) || !try_lock_exclusive(&file).unwrap_or(false);
            // A file that was made but has no value yet belongs to an epoch that was not used.
            if let Some(value) = read_value(&file) {
                let at = known.unwrap_or_else(|| {
                    values.push(FoundProgress { stream: of, epoch: number, memory: None, disk: None, live: false });
                    values.len() - 1
                });
                *(if in_memory { &mut values[at].memory } else { &mut values[at].disk }) = Some(Hex(value));
                values[at].live |= is_live;
            }
            if !is_live {
                left.push(LeftProgress { path: entry.path(), _lock: file });
            }
        }
    }
    values.sort_by_key(|found| (found.stream, found.epoch));
    Ok((values, left))
}

/// The value in a file that its writer may be writing to: read until it stays the same.
fn read_value(file: &File) -> Option<[u8; 32]> {
    let mut last = None;
    for _ in 0..READINGS {
        let mut value = [0; 32];
        file.read_exact_at(&mut value, 0).ok()?;
        if last == Some(value) {
            return last;
        }
        last = Some(value);
    }
    None
}

/// The stream and the epoch that a file's name tells.
fn parse_name(name: &str) -> Option<(StreamId, u64)> {
    let (stream, epoch) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some((stream.parse().ok()?, epoch.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::chain::EpochKey;

    #[test]
    fn a_census_tells_writers_that_live_from_those_that_are_gone() {
        let at = tempfile::tempdir().unwrap();
        let folder = StateFolder::new(&at.path().join("state"), &at.path().join("run"), Path::new("/var/log"), "x.log");
        let key = EpochKey::from_bytes([5; 32]);
        let (stream, other) = (Hex([1; 16]), Hex([2; 16]));
        let mut memory = EpochProgress::create(folder.runtime(), stream, 3, key.memory_progress()).unwrap();
        let disk = EpochProgress::create(folder.path(), stream, 3, key.disk_progress()).unwrap();
        memory.advance_to(9).unwrap();
        memory.advance_to(4).unwrap();
        let census = || take_census(&folder, stream, 9).unwrap();
        let (mut reached, at_first) = (key.memory_progress(), key.disk_progress());
        reached.advance_to(9);
        let found = |live| FoundProgress {
            stream: None,
            epoch: 3,
            memory: Some(Hex(*reached.value())),
            disk: Some(Hex(*at_first.value())),
            live,
        };
        let (values, left) = census();
        assert_eq!((values, left.len()), (vec![found(true)], 0));
        drop((memory, disk));
        // The same epoch of a stream that this one follows.
        drop(EpochProgress::create(folder.runtime(), other, 3, key.memory_progress()).unwrap());
        // The epoch that the census stands in.
        let _own = EpochProgress::create(folder.runtime(), stream, 9, key.memory_progress()).unwrap();
        let (values, left) = census();
        let first = Some(Hex(*key.memory_progress().value()));
        let followed = FoundProgress { stream: Some(other), epoch: 3, memory: first, disk: None, live: false };
        assert_eq!(values, [found(false), followed]);
        assert!(census().0.iter().all(|found| found.live), "somebody else holds them now");
        left.into_iter().for_each(LeftProgress::remove);
        assert_eq!(census().0, []);
    }

    #[test]
    fn who_takes_a_census_never_takes_a_file_that_is_just_made() {
        let at = tempfile::tempdir().unwrap();
        let folder = StateFolder::new(&at.path().join("state"), &at.path().join("run"), Path::new("/var/log"), "x.log");
        let (key, stream) = (EpochKey::from_bytes([5; 32]), Hex([1; 16]));
        fs::create_dir_all(folder.path()).unwrap();
        fs::create_dir_all(folder.runtime()).unwrap();
        let ended = AtomicBool::new(false);
        // They live until the thread has ended.
        let live = thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let (_, left) = take_census(&folder, stream, u64::MAX).unwrap();
                    assert_eq!(left.len(), 0, "{left:?}");
                }
            });
            let create = |epoch| EpochProgress::create(folder.path(), stream, epoch, key.disk_progress()).unwrap();
            let live: Vec<_> = (0..400).map(create).collect();
            ended.store(true, Ordering::Relaxed);
            live
        });
        assert_eq!(live.len(), 400);
    }
}
