//! The writer: one run of one filter on one log. It joins chain, records and files.
//!
//! Promises: after [`Writer::flush`] returned without error every line given so far is in the file, and progress says so;
//! what could not be written is still in the batch, sealed. Whatever fails about the chain's state, sealing goes on, in a
//! stream that is kept nowhere if need be. Nothing is opened or claimed before it is needed.
#![forbid(unsafe_code)]

mod epochs;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use self::epochs::{ActiveEpoch, Prepared};
use super::claim::{Claim, ClaimError, ClaimSource, Claimant, seconds};
use super::counts::Tally;
use super::progress::{EpochProgress, LeftProgress};
use super::state::{Config, StateError, StateFolder};
use super::sync::{DiskProgress, Sync, SyncError, SyncedEpoch};
use crate::chain::{Kind, MIN_SLOTS};
use crate::control::{
    Control, Event, Gap, GenesisFingerprint, Mark, RecipientsChanged, Resume, Segment, SegmentBefore, StreamId, UsedEpoch,
};
use crate::host::clock::{self, ClockJump};
use crate::recipient::Recipients;
use crate::record::seal::SealError;
use crate::record::{Framing, framing};
use crate::segment::{Appender, Batch, Found, LogFile, Sink};

/// An epoch ends this long after its claim, used up or not.
const EPOCH_LIFE: Duration = Duration::from_secs(600);
/// Epochs that are used up faster than this make the next one longer.
const FAST: Duration = Duration::from_secs(1);
/// The log goes to the disk, and then progress, at most this often.
const SYNC_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked whether the file was moved away.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why a line could not be sealed or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written to.
    #[error("cannot write to {}: {source}", path.display())]
    Append {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing can be sealed.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A record cannot be made.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// What a writer tells the administrator, once each time it begins.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Warning {
    /// Sealing goes on in a stream that is kept nowhere.
    #[error("the chain's state cannot be used, so this log goes on in a stream of its own: {0}")]
    Ephemeral(ClaimError),
    /// The file's place among the files of its stream could not be noted.
    #[error("{0}")]
    State(StateError),
    /// Progress could not be stored.
    #[error("cannot store progress: {0}")]
    Progress(io::Error),
    /// The log could not be brought to the disk.
    #[error("cannot bring the log to the disk: {0}")]
    Sync(io::Error),
}

/// What a writer is made of.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Names itself in control records.
    pub claimant: Claimant,
    /// Where the chain is kept; `None` for a fresh stream.
    pub state: Option<StateFolder>,
    /// Stored beside the state, for `mark` and `status`.
    pub config: Config,
    /// How records follow each other.
    pub framing: Framing,
    /// How often a state that could not be used is tried again.
    pub retry_state: Duration,
    /// A mark is sealed when nothing was written for so long.
    pub mark_idle: Option<Duration>,
}

/// Seals lines and appends them. See the module's description.
pub struct Writer {
    options: WriterOptions,
    source: Option<ClaimSource>,
    /// The kept stream could not be used; when to try again.
    retry: Option<Duration>,
    epoch: Option<ActiveEpoch>,
    prepared: VecDeque<Prepared>,
    slots: u32,
    /// The epoch before was used up within [`FAST`].
    fast: bool,
    sink: Option<Sink>,
    batch: Batch,
    /// Progress files of epochs whose records are all in the batch or the file.
    ended_memory: Vec<EpochProgress>,
    ended_disk: Vec<EpochProgress>,
    /// Files of writers that are gone, which go when the record that tells their values is on the disk.
    left: Vec<LeftProgress>,
    sync: Option<Sync>,
    synced: Duration,
    looked: Duration,
    /// The file was moved away, and none can be opened in its place.
    displaced: bool,
    /// When records were last written.
    written: Duration,
    dirty: bool,
    clock_jump: ClockJump,
    last_used: Option<UsedEpoch>,
    /// The stream of the last epoch that was used.
    last_stream: Option<(StreamId, GenesisFingerprint)>,
    before: Option<(String, u64)>,
    warnings: Vec<Warning>,
    tally: Tally,
}

impl Writer {
    /// A writer that has opened and claimed nothing yet.
    pub fn new(options: WriterOptions) -> Self {
        let now = clock::boottime();
        Self {
            options,
            source: None,
            retry: None,
            epoch: None,
            prepared: VecDeque::new(),
            slots: MIN_SLOTS,
            fast: false,
            sink: None,
            batch: Batch::default(),
            ended_memory: Vec::new(),
            ended_disk: Vec::new(),
            left: Vec::new(),
            sync: None,
            synced: now,
            looked: now,
            displaced: false,
            written: now,
            dirty: false,
            clock_jump: ClockJump::new(),
            last_used: None,
            last_stream: None,
            before: None,
            warnings: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// What the records are sealed to.
    pub fn recipients(&self) -> &Arc<Recipients> {
        &self.options.claimant.recipients
    }

    /// How records follow each other.
    pub fn framing(&self) -> Framing {
        self.options.framing
    }

    /// Whether a file or other sink is open.
    pub fn is_open(&self) -> bool {
        self.sink.is_some()
    }

    /// What there is to tell since the last call.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        mem::take(&mut self.warnings)
    }

    /// Sealed bytes that are not in the file.
    pub fn waiting(&self) -> usize {
        self.batch.len()
    }

    /// The length of the open file in bytes with what waits, for rotation by size; 0 where there is none.
    pub fn length(&self) -> u64 {
        match &self.sink {
            Some(Sink::File(file)) => file.length().unwrap_or(0) + self.batch.len() as u64,
            _ => 0,
        }
    }

    /// Goes on in the file at `path`: opens it, empties it if `truncate`, and seals what a file begins with. An open file
    /// is left before, in order.
    pub fn enter(&mut self, path: &Path, truncate: bool) -> Result<(), WriteError> {
        let open = |source| WriteError::Open { path: path.to_owned(), source };
        let (mut file, mut found) = LogFile::open(path, self.options.framing, &self.recipients().marks()).map_err(open)?;
        self.carry_over(&mut file)?;
        self.leave("rotation")?;
        if truncate {
            // After taking leave: the file before may be the same one.
            file.truncate().map_err(open)?;
            found = Found { length: 0, torn: 0 };
        }
        self.sink = Some(Sink::File(file));
        self.next_claim().and_then(|claim| self.begin_file(path, found, claim)).inspect_err(|_| self.give_up_file())
    }

    /// Goes on in the file at `path` with an epoch of the kept stream that is claimed for it, and with no other. The
    /// genesis fingerprint of its stream.
    pub fn enter_with(
        &mut self,
        path: &Path,
        claim: impl FnOnce(&StateFolder, &Claimant) -> Result<Claim, ClaimError>,
    ) -> Result<GenesisFingerprint, WriteError> {
        let open = |source| WriteError::Open { path: path.to_owned(), source };
        let folder = self.options.state.clone().ok_or_else(|| open(io::ErrorKind::NotFound.into()))?;
        // First, so that nothing has changed where this fails.
        let (file, found) = LogFile::open(path, self.options.framing, &self.recipients().marks()).map_err(open)?;
        let claim = claim(&folder, &self.options.claimant)?;
        let genesis = claim.genesis.fingerprint;
        self.source = Some(ClaimSource::Kept(folder));
        self.sink = Some(Sink::File(file));
        self.begin_file(path, found, claim).and_then(|()| self.flush())?;
        Ok(genesis)
    }

    /// The genesis of the stream whose epoch is in use.
    pub fn genesis(&self) -> Option<GenesisFingerprint> {
        self.epoch.as_ref().map(|active| active.genesis.fingerprint)
    }

    /// Writes through a descriptor, as a fresh stream.
    pub fn enter_through(&mut self, out: File) -> Result<(), WriteError> {
        self.sink = Some(Sink::Through(Appender::new(out, self.options.framing)));
        let nothing = Found { length: 0, torn: 0 };
        self.next_claim().and_then(|claim| self.begin_file(Path::new("-"), nothing, claim)).inspect_err(|_| self.give_up_file())
    }

    /// A file that could not be begun is begun anew the next time.
    fn give_up_file(&mut self) {
        self.end_epoch();
        // What the file was to begin with; the next census tells of the epoch.
        (self.batch, self.sink) = (Batch::default(), None);
        self.ended_memory.clear();
    }

    /// What waits for a file that was removed goes to the one that takes its place, as the end of its epoch.
    fn carry_over(&mut self, file: &mut LogFile) -> Result<(), WriteError> {
        if self.batch.is_empty() || !self.is_removed() {
            return Ok(());
        }
        self.end_records("rotation")?;
        let path = file.path().to_owned();
        file.append(&mut self.batch).map_err(|source| WriteError::Append { path, source })
    }

    /// Whether the open file has no name any more.
    fn is_removed(&self) -> bool {
        matches!(&self.sink, Some(Sink::File(file)) if file.is_removed())
    }

    /// Seals into the batch that the epoch in use ends, and those that were claimed ahead.
    fn end_records(&mut self, why: &str) -> Result<(), WriteError> {
        if self.epoch.is_some() {
            self.close_epoch(why)?;
        }
        // A file begins with other records than those of an epoch that nobody needs.
        self.end_prepared()
    }

    /// Ends the epoch in use, with everything written and on the disk, and closes the file.
    fn leave(&mut self, why: &str) -> Result<(), WriteError> {
        if self.sink.is_none() {
            return Ok(());
        }
        self.end_records(why)?;
        self.flush()?;
        if self.epoch.is_some() {
            // It was written to a file that was opened for it.
            self.end_records(why)?;
            self.flush()?;
        }
        self.sync();
        if let Some(Sink::File(file)) = self.sink.take() {
            let name = file.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            self.before = Some((name, file.length().unwrap_or(0)));
        }
        Ok(())
    }

    fn begin_file(&mut self, path: &Path, found: Found, claim: Claim) -> Result<(), WriteError> {
        let now = clock::now();
        let progress = self.take_census(claim.stream, claim.epoch);
        let event = if found.length == 0 {
            let before = self.before.take().map(|(name, length)| SegmentBefore { name, length, last: self.last_used });
            let segment = self.number_file(path);
            Event::Segment(Segment { segment, before, progress })
        } else {
            self.note_file(path);
            Event::Resume(Resume { length: found.length, torn: found.torn, progress })
        };
        let with_genesis = found.length == 0 || !self.has_genesis(&claim);
        self.begin_epoch(claim, with_genesis, None)?;
        self.control(event, now)?;
        self.sync_soon();
        Ok(())
    }

    /// Whether the open file begins with the genesis of the claim's stream. It does not where the stream changed in the
    /// middle of it, or where who began the stream came no further; the genesis may stand nowhere then.
    fn has_genesis(&self, claim: &Claim) -> bool {
        let mut genesis = Vec::new();
        framing::write(self.options.framing, &claim.genesis.record, &mut genesis);
        matches!(&self.sink, Some(Sink::File(file)) if file.begins_with(&genesis))
    }

    /// The number of a new file. Where it cannot be read the file has none: a wrong one would put it in a wrong place.
    fn number_file(&mut self, path: &Path) -> Option<u64> {
        let Some(ClaimSource::Kept(folder)) = &self.source else { return Some(0) };
        let locked = folder.lock();
        let number = folder.next_number();
        let noted = match (&locked, &number) {
            (Ok(locked), Ok(number)) => locked.note_segment(*number, path),
            _ => Ok(()),
        };
        self.warnings.extend(noted.err().map(Warning::State));
        self.warnings.extend(locked.err().map(Warning::State));
        number.unwrap_or_else(|error| {
            self.warnings.push(Warning::State(error));
            None
        })
    }

    /// Stores where the log is found, for `mark` and `restart`.
    fn note_file(&mut self, path: &Path) {
        if let Some(ClaimSource::Kept(folder)) = &self.source
            && let Err(error) = folder.lock().and_then(|locked| locked.note_file(path))
        {
            self.warnings.push(Warning::State(error));
        }
    }

    /// The first records of a file come to the disk as soon as they are written.
    fn sync_soon(&mut self) {
        self.synced = Duration::ZERO;
    }

    /// Seals into the batch how far all writers of the stream have come.
    pub fn mark(&mut self) -> Result<(), WriteError> {
        self.room()?;
        let Some(epoch) = self.epoch.as_ref().filter(|epoch| epoch.kept) else { return Ok(()) };
        match self.take_census(epoch.stream, epoch.epoch) {
            Some(progress) => self.control(Event::Mark(Mark { progress }), clock::now()),
            None => Ok(()),
        }
    }

    /// Seals one line, or a piece of one, as its time says, into the batch.
    pub fn line(&mut self, body: &[u8], time: Timestamp) -> Result<(), WriteError> {
        self.room()?;
        self.append(Kind::Line, body, seconds(time))?;
        self.tally.line(body);
        let epoch = self.epoch.as_ref().expect("room makes sure that there is one");
        // For lines only: what closes an epoch must not claim another.
        if (self.fast || epoch.sealer.next_slot() * 2 >= epoch.sealer.slots()) && self.prepared.is_empty() {
            self.prepare_next();
        }
        Ok(())
    }

    /// Seals into the batch that lines were dropped.
    pub fn gap(&mut self, gap: Gap, time: Timestamp) -> Result<(), WriteError> {
        let (lines, why) = (gap.lines, gap.why.clone());
        self.control(Event::Gap(gap), time)?;
        self.tally.gap(lines, why);
        Ok(())
    }

    /// Counts an error that the administrator was told of.
    pub fn count_error(&mut self, error: String) {
        self.tally.error(error);
    }

    /// Stores what was counted, for `status`, where that is due. The time until it is again, if at all.
    pub fn store_counts(&mut self) -> Option<Duration> {
        let folder = self.options.state.as_ref()?;
        if self.tally.due().is_some_and(|due| clock::boottime() >= due) {
            self.tally.store(folder);
        }
        self.tally.due().map(|due| due.saturating_sub(clock::boottime()))
    }

    /// Writes what waits, and moves progress on.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if self.displaced && !self.batch.is_empty() && self.is_removed() {
            // Nobody would find it there.
            self.look_after_file()?;
        }
        if let Some(sink) = self.sink.as_mut().filter(|_| !self.batch.is_empty()) {
            (self.dirty, self.written) = (matches!(sink, Sink::File(_)), clock::boottime());
            if let Err(source) = sink.append(&mut self.batch) {
                let path = match sink {
                    Sink::File(file) => file.path().to_owned(),
                    Sink::Through(_) => PathBuf::from("standard output"),
                };
                return Err(WriteError::Append { path, source });
            }
        }
        if !self.batch.is_empty() {
            let path = self.options.config.log.clone();
            return Err(WriteError::Open { path, source: io::ErrorKind::NotConnected.into() });
        }
        for ended in self.ended_memory.drain(..) {
            ended.remove();
        }
        if let Some(epoch) = &mut self.epoch
            && let Err(error) = epoch.memory.advance_to(epoch.sealer.next_slot())
        {
            self.warnings.push(Warning::Progress(error));
        }
        if !self.left.is_empty() {
            self.sync_soon();
        }
        Ok(())
    }

    /// Does what is due by the clock: ends an old epoch, synchronises, tries the state again, looks after a moved file.
    /// Returns the time until it should be called again, if at all.
    pub fn tick(&mut self) -> Result<Option<Duration>, WriteError> {
        let now = clock::boottime();
        self.finish_sync(false);
        let expired = self.epoch.as_ref().is_some_and(|epoch| now >= epoch.claimed + EPOCH_LIFE);
        if expired || (self.clock_jump.check() && self.epoch.is_some()) {
            self.end_prepared()?;
            self.close_epoch("time")?;
            self.flush()?;
        }
        if self.dirty && now >= self.synced + SYNC_INTERVAL {
            self.start_sync();
        }
        self.look_if_due()?;
        let mark = self.options.mark_idle.filter(|_| self.is_open()).map(|idle| self.written + idle);
        if mark.is_some_and(|at| now >= at) {
            // Also where there is nothing to mark: not again before the time has passed once more.
            self.written = now;
            self.mark()?;
            self.flush()?;
        }
        if self.retry.is_some_and(|at| now >= at) && self.epoch.is_some() {
            self.return_to_state()?;
        }
        let epoch = self.epoch.as_ref().map(|epoch| epoch.claimed + EPOCH_LIFE);
        let sync = (self.dirty || self.sync.is_some()).then_some(if self.sync.is_some() {
            now + LOOK_INTERVAL
        } else {
            self.synced + SYNC_INTERVAL
        });
        let retry = self.epoch.is_some().then_some(self.retry).flatten();
        let mark = self.options.mark_idle.filter(|_| self.is_open()).map(|idle| self.written + idle);
        Ok([epoch, sync, retry, mark].into_iter().flatten().min().map(|at| at.saturating_sub(now)))
    }

    /// Looks after the file unless that was done a moment ago: before lines go where nobody finds them.
    pub fn look_if_due(&mut self) -> Result<(), WriteError> {
        let now = clock::boottime();
        if now < self.looked + LOOK_INTERVAL {
            return Ok(());
        }
        self.looked = now;
        self.look_after_file()
    }

    /// Opens the file again by its name where it was moved away or removed.
    pub fn look_after_file(&mut self) -> Result<(), WriteError> {
        match &self.sink {
            Some(Sink::File(file)) if !file.is_in_place() => {
                let path = file.path().to_owned();
                // Not while that file is taken leave of.
                self.displaced = false;
                let entered = self.enter(&path, false);
                self.displaced = entered.is_err();
                entered
            }
            _ => {
                self.displaced = false;
                Ok(())
            }
        }
    }

    /// Goes over to other recipients: the stream ends with a record that names the one that follows it. Where records now
    /// look otherwise, `elsewhere` is the framing and the file to go on in.
    pub fn change_recipients(
        &mut self,
        recipients: Arc<Recipients>,
        elsewhere: Option<(Framing, PathBuf)>,
    ) -> Result<(), WriteError> {
        // First, so that nothing has changed where this fails.
        self.flush()?;
        if self.epoch.is_some() || (self.sink.is_some() && self.last_used.is_some()) {
            // The stream needs a slot for its last word, which is claimed while it is still the one of the state.
            match self.room() {
                Err(WriteError::Claim(ClaimError::StreamEnded)) => {}
                other => other?,
            }
        }
        let old = mem::replace(&mut self.options.claimant.recipients, recipients);
        if self.sink.is_none() {
            if let Some((framing, _)) = elsewhere {
                self.options.framing = framing;
            }
            // What was claimed ahead is told as unused by whoever finds its progress.
            self.prepared.clear();
            (self.source, self.last_used, self.last_stream) = (None, None, None);
            return Ok(());
        }
        let claimed = self.claim_for_recipients();
        if claimed.is_err() {
            self.options.claimant.recipients = old.clone();
        }
        let (source, claim) = claimed?;
        self.end_prepared()?;
        if self.epoch.is_some() {
            let (old, new) = (old.fingerprints(), self.recipients().fingerprints());
            let changed = RecipientsChanged { old, new, genesis: claim.genesis.fingerprint };
            self.control(Event::Recipients(changed), clock::now())?;
            self.close_epoch("keys")?;
        }
        (self.source, self.last_used) = (Some(source), None);
        let Some((framing, path)) = elsewhere else {
            self.begin_in_file(claim)?;
            return self.flush();
        };
        let left = self.leave("keys");
        if left.is_err() {
            // The records that take leave of the old stream are lost, but no line: what follows is of another form and must
            // not come into this file. Their progress stays where it is, for the next census.
            (self.batch, self.sink) = (Batch::default(), None);
            self.ended_memory.clear();
        }
        self.prepared.push_back(Prepared::Ready(Box::new(claim)));
        self.options.framing = framing;
        self.options.config.framing = framing.name().to_owned();
        left.and_then(|()| self.enter(&path, false))
    }

    /// Goes on in the open file with an epoch of another stream.
    fn begin_in_file(&mut self, claim: Claim) -> Result<(), WriteError> {
        if let Some(Sink::File(file)) = &self.sink {
            let path = file.path().to_owned();
            self.note_file(&path);
        }
        let (length, progress) = (self.length(), self.take_census(claim.stream, claim.epoch));
        self.begin_epoch(claim, true, None)?;
        self.control(Event::Resume(Resume { length, torn: 0, progress }), clock::now())?;
        self.sync_soon();
        Ok(())
    }

    /// Ends the stream's part of this writer: everything is in the file, on the disk, and told.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        let left = self.leave("exit");
        // What was claimed and not used is told by whoever finds its progress.
        self.prepared.clear();
        if let Some(folder) = &self.options.state {
            self.tally.store_last(folder);
        }
        left
    }

    /// Seals a control record in the next slot.
    fn control(&mut self, event: Event, time: Timestamp) -> Result<(), WriteError> {
        self.room()?;
        let epoch = self.epoch.as_ref().expect("room makes sure that there is one");
        let control = Control { v: 1, stream: epoch.stream, writer: self.options.claimant.writer, time, event };
        self.append(Kind::Control, &control.body(), seconds(clock::now()))
    }

    fn append(&mut self, kind: Kind, body: &[u8], date: u32) -> Result<(), WriteError> {
        let epoch = self.epoch.as_mut().expect("room makes sure that there is one");
        if let Err(error) = epoch.sealer.seal(kind, date, body, self.options.framing, self.batch.buffer()) {
            self.batch.roll_back();
            return Err(error.into());
        }
        self.batch.commit();
        Ok(())
    }

    /// Brings the log to the disk in the background, then moves progress on disk.
    fn start_sync(&mut self) {
        self.finish_sync(false);
        let Some(Sink::File(file)) = &self.sink else { return };
        if self.sync.is_some() {
            return;
        }
        // Whatever comes of it: not again at once.
        self.synced = clock::boottime();
        let unsynced = match file.unsynced() {
            Ok(unsynced) => unsynced,
            Err(error) => return self.warnings.push(Warning::Sync(error)),
        };
        self.dirty = false;
        let epoch = match (self.epoch.as_mut().filter(|active| active.kept), &self.options.state) {
            (Some(active), Some(folder)) => Some(SyncedEpoch {
                stream: active.stream,
                epoch: active.epoch,
                // Not what waits in the batch.
                slots: active.memory.progress().slots(),
                disk: mem::replace(&mut active.disk, DiskProgress::Away),
                folder: folder.clone(),
            }),
            _ => None,
        };
        // What still waits in the batch will not be on the disk by this.
        let (left, ended) = match self.batch.is_empty() {
            true => (mem::take(&mut self.left), mem::take(&mut self.ended_disk)),
            false => (Vec::new(), Vec::new()),
        };
        match Sync::start(unsynced, left, ended, epoch) {
            Ok(sync) => self.sync = Some(sync),
            Err(error) => self.warnings.push(Warning::Sync(error)),
        }
    }

    /// Takes back what a synchronisation moved on; waits for it if `wait`.
    fn finish_sync(&mut self, wait: bool) {
        let Some(sync) = self.sync.take_if(|sync| wait || sync.is_finished()) else { return };
        let (stream, epoch) = (sync.stream, sync.epoch);
        let (disk, done) = sync.join();
        match done {
            Ok(()) => {}
            Err(SyncError::Log(error)) => self.warnings.push(Warning::Sync(error)),
            Err(SyncError::Progress(error)) => self.warnings.push(Warning::Progress(error)),
        }
        match (disk, &mut self.epoch) {
            (disk, Some(active)) if (active.stream, active.epoch) == (stream, epoch) => active.disk = disk,
            (DiskProgress::Stored(disk), _) => self.ended_disk.push(disk),
            (DiskProgress::Unstored(_) | DiskProgress::Away, _) => {}
        }
    }

    /// Brings all that was written to the disk now, and forgets the progress of what is settled there. Where that fails a
    /// warning tells it.
    pub fn sync(&mut self) {
        self.finish_sync(true);
        if self.dirty || !self.left.is_empty() || !self.ended_disk.is_empty() {
            self.start_sync();
            self.finish_sync(true);
        }
    }
}
