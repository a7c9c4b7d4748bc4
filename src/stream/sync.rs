//! Synchronisation in the background: the log to the disk first, then progress on disk.
//!
//! Promises: progress on disk never says more than what is on the disk; the line path does not wait.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::thread::JoinHandle;

use super::progress::{EpochProgress, Left};
use super::state::StateFolder;
use crate::chain::Progress;
use crate::control::StreamId;

/// Progress on disk, which gets its file at the first synchronisation only: short epochs never have one.
pub enum DiskProgress {
    /// Without a file so far.
    Unstored(Progress),
    /// In its file.
    Stored(EpochProgress),
    /// Being moved on by a synchronisation.
    Away,
}

/// The epoch whose progress a synchronisation moves on.
pub struct SyncedEpoch {
    /// Its stream.
    pub stream: StreamId,
    /// j.
    pub epoch: u64,
    /// How many of its slots are in the file.
    pub slots: u32,
    /// Its progress.
    pub disk: DiskProgress,
    /// Where progress is kept.
    pub folder: StateFolder,
}

/// A synchronisation that runs.
pub struct Sync {
    /// The stream of the epoch whose progress it moves on; zeros without one.
    pub stream: StreamId,
    /// That epoch.
    pub epoch: u64,
    thread: JoinHandle<(DiskProgress, io::Result<()>)>,
}

impl Sync {
    /// Brings a file to the disk; then what was found of dead writers and the progress of ended epochs is removed, and
    /// that of the epoch in use moved on.
    pub fn start(file: File, left: Option<Left>, ended: Vec<EpochProgress>, active: Option<SyncedEpoch>) -> Self {
        let (stream, epoch) = active.as_ref().map_or_else(Default::default, |active| (active.stream, active.epoch));
        let thread = std::thread::spawn(move || {
            if let Err(error) = file.sync_data() {
                // What was to be removed stays, and is found by the next writer.
                return (active.map_or(DiskProgress::Away, |active| active.disk), Err(error));
            }
            if let Some(left) = left {
                left.remove();
            }
            ended.into_iter().for_each(EpochProgress::remove);
            active.map_or((DiskProgress::Away, Ok(())), move_on)
        });
        Self { stream, epoch, thread }
    }

    /// Whether its result can be had without waiting.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end: progress as it stands now, and how it went.
    pub fn join(self) -> (DiskProgress, io::Result<()>) {
        self.thread.join().unwrap_or_else(|_| (DiskProgress::Away, Err(io::Error::other("the synchronisation died"))))
    }
}

fn move_on(active: SyncedEpoch) -> (DiskProgress, io::Result<()>) {
    let SyncedEpoch { stream, epoch, slots, disk, folder } = active;
    let mut stored = match disk {
        DiskProgress::Stored(stored) => stored,
        DiskProgress::Unstored(progress) => {
            let create = |progress| EpochProgress::create(folder.path(), stream, epoch, progress);
            match folder.lock().map_err(io::Error::other).and_then(|_lock| create(progress.clone())) {
                Ok(stored) => stored,
                Err(error) => return (DiskProgress::Unstored(progress), Err(error)),
            }
        }
        DiskProgress::Away => return (DiskProgress::Away, Ok(())),
    };
    let moved = stored.advance_to(slots);
    (DiskProgress::Stored(stored), moved)
}
