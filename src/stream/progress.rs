//! Progress values in files: how far an epoch has come, for the writer that comes after a killed one.
//!
//! Promises: a value is in its file before the epoch is used, moves forward only, and is told apart from a live writer's
//! by its lock. The runtime directory holds the value of each write, the state directory that of each synchronisation.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::state::StateFolder;
use crate::chain::Progress;
use crate::control::{FoundProgress, Hex, StreamId};
use crate::host::file::try_lock_exclusive;

const PREFIX: &str = "progress-";
/// As many values as fit into one control record with room to spare; the rest waits for the next writer.
const MAX_FOUND: usize = 2000;

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
    /// stream's lock, so that nobody takes the file for that of a dead writer before it is locked.
    pub fn create(folder: &Path, stream: StreamId, epoch: u64, progress: Progress) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // A log's folder serves one stream after the other, whose epochs have the same numbers.
        let path = folder.join(format!("{PREFIX}{stream}-{epoch}"));
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        if !try_lock_exclusive(&file)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
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

/// What was found of writers that are gone, and the files it is in, locked until the values are in a record.
#[derive(Debug, Default)]
pub struct Left {
    /// The values.
    pub values: Vec<FoundProgress>,
    files: Vec<(PathBuf, File)>,
}

impl Left {
    /// Reads every value whose lock can be had, for a record of the stream `stream`: streams that it follows may have left
    /// some, too. To be called under the stream's lock.
    pub fn collect(folder: &StateFolder, stream: StreamId) -> Self {
        let mut left = Self::default();
        left.read_folder(folder.runtime(), stream, |found, value| found.memory = Some(value));
        left.read_folder(folder.path(), stream, |found, value| found.disk = Some(value));
        left.values.sort_by_key(|found| (found.stream, found.epoch));
        left
    }

    /// Removes the files: the record with the values is on the disk.
    pub fn remove(self) {
        for (path, _lock) in &self.files {
            // Whatever stays is found again by the next writer.
            let _ = fs::remove_file(path);
        }
    }

    fn read_folder(&mut self, folder: &Path, stream: StreamId, set: impl Fn(&mut FoundProgress, Hex<32>)) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if self.files.len() >= MAX_FOUND {
                break;
            }
            let name = entry.file_name();
            let Some((of, epoch)) = name.to_str().and_then(parse_name) else { continue };
            let of = (of != stream).then_some(of);
            let Ok(file) = File::open(entry.path()) else { continue };
            let mut value = [0; 32];
            if !try_lock_exclusive(&file).unwrap_or(false) {
                continue;
            }
            // A file that was made but has no value yet belongs to an epoch that was not used.
            if file.read_exact_at(&mut value, 0).is_ok() {
                match self.values.iter_mut().find(|found| (found.stream, found.epoch) == (of, epoch)) {
                    Some(found) => set(found, Hex(value)),
                    None => {
                        let mut found = FoundProgress { stream: of, epoch, memory: None, disk: None };
                        set(&mut found, Hex(value));
                        self.values.push(found);
                    }
                }
            }
            self.files.push((entry.path(), file));
        }
    }
}

/// The stream and the epoch that a file's name tells.
fn parse_name(name: &str) -> Option<(StreamId, u64)> {
    let (stream, epoch) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some((stream.parse().ok()?, epoch.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::EpochKey;

    #[test]
    fn only_what_no_live_writer_holds_is_found() {
        let at = tempfile::tempdir().unwrap();
        let folder = StateFolder::new(&at.path().join("state"), &at.path().join("run"), Path::new("/var/log"), "x.log");
        let key = EpochKey::from_bytes([5; 32]);
        let (stream, other) = (Hex([1; 16]), Hex([2; 16]));
        let mut memory = EpochProgress::create(folder.runtime(), stream, 3, key.memory_progress()).unwrap();
        let disk = EpochProgress::create(folder.path(), stream, 3, key.disk_progress()).unwrap();
        memory.advance_to(9).unwrap();
        memory.advance_to(4).unwrap();
        assert!(Left::collect(&folder, stream).values.is_empty());
        drop((memory, disk));
        // The same epoch of a stream that this one follows.
        drop(EpochProgress::create(folder.runtime(), other, 3, key.memory_progress()).unwrap());
        let left = Left::collect(&folder, stream);
        let (mut expected, disk) = (key.memory_progress(), key.disk_progress());
        expected.advance_to(9);
        assert_eq!(
            left.values,
            [
                FoundProgress { stream: None, epoch: 3, memory: Some(Hex(*expected.value())), disk: Some(Hex(*disk.value())) },
                FoundProgress { stream: Some(other), epoch: 3, memory: Some(Hex(*key.memory_progress().value())), disk: None },
            ]
        );
        assert!(Left::collect(&folder, stream).values.is_empty(), "somebody else holds them now");
        left.remove();
        assert!(Left::collect(&folder, stream).files.is_empty());
    }
}
