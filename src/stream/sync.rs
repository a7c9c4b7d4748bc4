//! Synchronisation in the background: the log to the disk first, then progress on disk.
//!
//! Promises: progress on disk never says more than what is on the disk; the line path does not wait.
#![forbid(unsafe_code)]

use std::io;
use std::thread::{Builder, JoinHandle};

use super::progress::{EpochProgress, LeftProgress};
use super::state::StateFolder;
use crate::chain::Progress;
use crate::control::StreamId;
use crate::segment::Unsynced;

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

/// What went wrong in a synchronisation.
#[derive(Debug)]
pub enum SyncError {
    /// The log may not be on the disk.
    Log(io::Error),
    /// It is, but progress on disk does not say so.
    Progress(io::Error),
}

/// A synchronisation that runs.
pub struct Sync {
    /// The stream of the epoch whose progress it moves on; zeros without one.
    pub stream: StreamId,
    /// That epoch.
    pub epoch: u64,
    thread: JoinHandle<(DiskProgress, Result<(), SyncError>)>,
}

impl Sync {
    /// Brings the log to the disk; then the progress of writers that are gone and the progress of ended epochs is removed,
    /// and that of the epoch in use moved on.
    ///
    /// # Errors
    ///
    /// Where no thread can be had: nothing was done, and of the progress that was handed in the files are left.
    pub fn start(
        log: Unsynced,
        left: Vec<LeftProgress>,
        ended: Vec<EpochProgress>,
        active: Option<SyncedEpoch>,
    ) -> io::Result<Self> {
        let (stream, epoch) = active.as_ref().map_or_else(Default::default, |active| (active.stream, active.epoch));
        let thread = Builder::new().spawn(move || {
            if let Err(error) = log.sync() {
                // What was to be removed stays, and is found by the next writer.
                return (active.map_or(DiskProgress::Away, |active| active.disk), Err(SyncError::Log(error)));
            }
            left.into_iter().for_each(LeftProgress::remove);
            ended.into_iter().for_each(EpochProgress::remove);
            let (disk, moved) = active.map_or((DiskProgress::Away, Ok(())), move_on);
            (disk, moved.map_err(SyncError::Progress))
        })?;
        Ok(Self { stream, epoch, thread })
    }

    /// Whether its result can be had without waiting.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end: progress as it stands now, and how it went.
    pub fn join(self) -> (DiskProgress, Result<(), SyncError>) {
        self.thread
            .join()
            .unwrap_or_else(|_| (DiskProgress::Away, Err(SyncError::Log(io::Error::other("the synchronisation died")))))
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
