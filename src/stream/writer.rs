//! The writer: one run of one filter on one log. It joins chain, records and files.
//!
//! Promises: after [`Writer::flush`] returned without error every line given so far is in the file, and progress says so;
//! what could not be written is still in the batch, sealed. Whatever fails about the chain's state, sealing goes on, in a
//! stream that is kept nowhere if need be. Nothing is opened or claimed before it is needed.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use super::claim::{self, Claim, ClaimError, ClaimSource, Claimant, GenesisRecord, seconds};
use super::progress::{EpochProgress, Left};
use super::state::{Config, StateError, StateFolder};
use super::sync::{DiskProgress, Sync, SyncedEpoch};
use crate::chain::{Kind, MAX_SLOTS, MIN_SLOTS};
use crate::control::{
    Close, Control, Ephemeral, Epoch, Event, Follows, FoundProgress, Gap, GenesisFingerprint, Hex, RecipientsChanged, Resume,
    SecretHex, Segment, SegmentBefore, StreamId, UsedEpoch,
};
use crate::host::clock::{self, ClockJump};
use crate::host::memory::LockedBuffer;
use crate::host::process::boot_id;
use crate::recipient::Recipients;
use crate::record::Framing;
use crate::record::seal::{EpochSealer, SealError};
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
}

/// The epoch in use.
struct ActiveEpoch {
    stream: StreamId,
    genesis: Arc<GenesisRecord>,
    epoch: u64,
    sealer: EpochSealer<LockedBuffer>,
    memory: EpochProgress,
    disk: DiskProgress,
    claimed: Duration,
    /// When its first slot was used.
    begun: Duration,
    kept: bool,
}

/// Seals lines and appends them. See the module's description.
pub struct Writer {
    options: WriterOptions,
    source: Option<ClaimSource>,
    /// The kept stream could not be used; when to try again.
    retry: Option<Duration>,
    epoch: Option<ActiveEpoch>,
    prepared: VecDeque<JoinHandle<Result<Claim, ClaimError>>>,
    slots: u32,
    sink: Option<Sink>,
    batch: Batch,
    /// Progress files of epochs whose records are all in the batch or the file.
    ended_memory: Vec<EpochProgress>,
    ended_disk: Vec<EpochProgress>,
    left: Option<Left>,
    sync: Option<Sync>,
    synced: Duration,
    looked: Duration,
    dirty: bool,
    clock_jump: ClockJump,
    last_used: Option<UsedEpoch>,
    /// The stream of the last epoch that was used.
    last_stream: Option<(StreamId, GenesisFingerprint)>,
    before: Option<(String, u64)>,
    warnings: Vec<Warning>,
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
            sink: None,
            batch: Batch::default(),
            ended_memory: Vec::new(),
            ended_disk: Vec::new(),
            left: None,
            sync: None,
            synced: now,
            looked: now,
            dirty: false,
            clock_jump: ClockJump::new(),
            last_used: None,
            last_stream: None,
            before: None,
            warnings: Vec::new(),
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
        let (file, mut found) = LogFile::open(path, self.options.framing, &self.recipients().marks()).map_err(open)?;
        self.leave("rotation")?;
        if truncate {
            // After taking leave: the file before may be the same one.
            file.truncate().map_err(open)?;
            found = Found { length: 0, torn: 0 };
        }
        self.sink = Some(Sink::File(file));
        self.begin_file(path, found).inspect_err(|_| self.give_up_file())
    }

    /// Writes through a descriptor, as a fresh stream.
    pub fn enter_through(&mut self, out: File) -> Result<(), WriteError> {
        self.sink = Some(Sink::Through(Appender::new(out, self.options.framing)));
        self.begin_file(Path::new("-"), Found { length: 0, torn: 0 }).inspect_err(|_| self.give_up_file())
    }

    /// A file that could not be begun is begun anew the next time.
    fn give_up_file(&mut self) {
        self.end_epoch();
        self.sink = None;
    }

    /// Ends the epoch in use, with everything written and on the disk, and closes the file.
    fn leave(&mut self, why: &str) -> Result<(), WriteError> {
        if self.epoch.is_some() {
            self.close_epoch(why)?;
        }
        self.flush()?;
        self.sync_now();
        if let Some(Sink::File(file)) = self.sink.take() {
            let name = file.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            self.before = Some((name, file.length().unwrap_or(0)));
        }
        Ok(())
    }

    fn begin_file(&mut self, path: &Path, found: Found) -> Result<(), WriteError> {
        let now = clock::now();
        let claim = self.next_claim()?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let left = self.collect_left(claim.stream);
        let progress = left.values.clone();
        let event = if found.length == 0 {
            let before = self.before.take().map(|(name, length)| SegmentBefore { name, length, last: self.last_used });
            let segment = match &self.source {
                Some(ClaimSource::Kept(folder)) => match folder.lock().and_then(|locked| locked.next_segment(&name)) {
                    Ok(segment) => segment,
                    Err(error) => {
                        self.warnings.push(Warning::State(error));
                        folder.newest_segment().map_or(0, |newest| newest.segment + 1)
                    }
                },
                _ => 0,
            };
            Event::Segment(Segment { segment, before, progress })
        } else {
            Event::Resume(Resume { length: found.length, torn: found.torn, progress })
        };
        self.begin_epoch(claim, found.length == 0)?;
        self.control(event, now)?;
        self.left = Some(left);
        Ok(())
    }

    /// Seals one line, or a piece of one, as its time says, into the batch.
    pub fn line(&mut self, body: &[u8], time: Timestamp) -> Result<(), WriteError> {
        self.room()?;
        self.append(Kind::Line, body, seconds(time))?;
        let epoch = self.epoch.as_ref().expect("room makes sure that there is one");
        // For lines only: what closes an epoch must not claim another.
        if epoch.sealer.next_slot() * 2 >= epoch.sealer.slots() && self.prepared.is_empty() {
            self.prepare_next();
        }
        Ok(())
    }

    /// Seals into the batch that lines were dropped.
    pub fn gap(&mut self, gap: Gap, time: Timestamp) -> Result<(), WriteError> {
        self.control(Event::Gap(gap), time)
    }

    /// Writes what waits, and moves progress on.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        if let Some(sink) = self.sink.as_mut().filter(|_| !self.batch.is_empty()) {
            self.dirty = true;
            if let Err(source) = sink.append(&mut self.batch) {
                let path = match sink {
                    Sink::File(file) => file.path().to_owned(),
                    Sink::Through(_) => PathBuf::from("standard output"),
                };
                return Err(WriteError::Append { path, source });
            }
        }
        for ended in self.ended_memory.drain(..) {
            ended.remove();
        }
        if let Some(epoch) = &mut self.epoch
            && let Err(error) = epoch.memory.advance_to(epoch.sealer.next_slot())
        {
            self.warnings.push(Warning::Progress(error));
        }
        if self.left.is_some() {
            self.start_sync();
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
        Ok([epoch, sync, retry].into_iter().flatten().min().map(|at| at.saturating_sub(now)))
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
                self.enter(&path, false)
            }
            _ => Ok(()),
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
        if self.epoch.is_some() {
            // The stream needs a slot for its last word, which is claimed while it is still the one of the state.
            match self.room() {
                Err(WriteError::Claim(ClaimError::RecipientsChanged)) => {}
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
        let Some((framing, path)) = elsewhere else { return self.begin_in_file(claim) };
        self.prepared.push_back(std::thread::spawn(|| Ok(claim)));
        let left = self.leave("keys");
        if left.is_err() {
            // The records that take leave of the old stream are lost, but no line: what follows is of another form and must
            // not come into this file.
            (self.batch, self.sink) = (Batch::default(), None);
        }
        self.options.framing = framing;
        left.and_then(|()| self.enter(&path, false))
    }

    /// The first epoch for new recipients, in the kept stream if it can be had.
    fn claim_for_recipients(&mut self) -> Result<(ClaimSource, Claim), WriteError> {
        let follows = self.followed("recipients");
        match &self.options.state {
            Some(folder) if self.retry.is_none() => {
                let source = ClaimSource::Kept(folder.clone());
                match source.claim(&self.options.claimant, MIN_SLOTS, true) {
                    Ok(claim) => Ok((source, claim)),
                    Err(error) => self.go_ephemeral(error, follows),
                }
            }
            _ => Ok(claim::begin_ephemeral(&self.options.claimant, MIN_SLOTS, follows)?),
        }
    }

    /// The stream in use, as the one that another follows.
    fn followed(&self, why: &str) -> Option<Follows> {
        self.last_stream.map(|(stream, genesis)| Follows { stream, genesis, why: why.to_owned() })
    }

    /// Goes on in the open file with an epoch of another stream.
    fn begin_in_file(&mut self, claim: Claim) -> Result<(), WriteError> {
        let (length, left) = (self.length(), self.collect_left(claim.stream));
        self.begin_epoch(claim, true)?;
        self.control(Event::Resume(Resume { length, torn: 0, progress: left.values.clone() }), clock::now())?;
        self.left = Some(left);
        self.flush()
    }

    /// Ends the stream's part of this writer: everything is in the file, on the disk, and told.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.end_prepared()?;
        self.leave("exit")
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

    /// Makes sure that the epoch in use has a free slot.
    fn room(&mut self) -> Result<(), WriteError> {
        if self.epoch.as_ref().is_some_and(|epoch| epoch.sealer.next_slot() < epoch.sealer.slots()) {
            return Ok(());
        }
        self.end_epoch();
        let claim = self.next_claim()?;
        self.begin_epoch(claim, false)
    }

    /// Claims the next epoch on another thread, so that the line path does not wait for the disk.
    fn prepare_next(&mut self) {
        let (Some(epoch), Some(source)) = (&self.epoch, &self.source) else { return };
        let now = clock::boottime();
        if now >= epoch.claimed + EPOCH_LIFE / 2 {
            // It will be closed by its age before it is used up.
            return;
        }
        if now < epoch.begun + FAST / 2 {
            self.slots = (epoch.sealer.slots() * 2).min(MAX_SLOTS);
        }
        let (source, claimant, slots) = (source.clone(), self.options.claimant.clone(), self.slots);
        self.prepared.push_back(std::thread::spawn(move || source.claim(&claimant, slots, false)));
    }

    /// The prepared epoch, or one claimed now; of a stream that is kept nowhere if there is no other way.
    fn next_claim(&mut self) -> Result<Claim, WriteError> {
        while let Some(prepared) = self.prepared.pop_front() {
            match prepared.join() {
                Ok(Ok(claim)) if clock::boottime() < claim.claimed + EPOCH_LIFE => return Ok(claim),
                Ok(Ok(claim)) => self.end_unused(claim)?,
                // A failed preparation is tried again here, where its error can be told.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        if self.source.is_none() && self.options.state.is_none() {
            let (source, claim) = claim::begin_ephemeral(&self.options.claimant, self.slots, None)?;
            self.source = Some(source);
            return Ok(claim);
        }
        let kept =
            self.options.state.clone().filter(|_| self.retry.is_none_or(|at| clock::boottime() >= at)).map(ClaimSource::Kept);
        let first = self.epoch.is_none() && self.last_used.is_none();
        let source = match (&self.source, kept) {
            (Some(source), _) if !source.is_kept() => source.clone(),
            (_, Some(kept)) => kept,
            (_, None) => return self.ephemeral_claim(None),
        };
        match source.claim(&self.options.claimant, self.slots, first) {
            Ok(claim) => {
                if let (true, Some(folder)) = (source.is_kept(), &self.options.state) {
                    let _ = folder.store_config(&self.options.config);
                }
                self.source = Some(source);
                Ok(claim)
            }
            Err(error @ (ClaimError::Seal(_) | ClaimError::RecipientsChanged)) => Err(error.into()),
            Err(error) => self.ephemeral_claim(Some(error)),
        }
    }

    fn ephemeral_claim(&mut self, error: Option<ClaimError>) -> Result<Claim, WriteError> {
        let follows = self.followed("claim");
        let (source, claim) = match error {
            Some(error) => self.go_ephemeral(error, follows)?,
            None => claim::begin_ephemeral(&self.options.claimant, self.slots, follows)?,
        };
        self.source = Some(source);
        Ok(claim)
    }

    fn go_ephemeral(&mut self, error: ClaimError, follows: Option<Follows>) -> Result<(ClaimSource, Claim), WriteError> {
        self.warnings.push(Warning::Ephemeral(error));
        self.retry = Some(clock::boottime() + self.options.retry_state);
        Ok(claim::begin_ephemeral(&self.options.claimant, self.slots, follows)?)
    }

    /// Tries the kept stream again; where it can be had, it goes on with a record that names what stood in for it.
    fn return_to_state(&mut self) -> Result<(), WriteError> {
        let (Some(folder), Some(epoch)) = (&self.options.state, &self.epoch) else { return Ok(()) };
        let source = ClaimSource::Kept(folder.clone());
        let Ok(claim) = source.claim(&self.options.claimant, MIN_SLOTS, true) else {
            self.retry = Some(clock::boottime() + self.options.retry_state);
            return Ok(());
        };
        let (genesis, number) = (epoch.genesis.fingerprint, epoch.epoch);
        self.end_prepared()?;
        let progress = FoundProgress { stream: None, epoch: number, memory: Some(self.close_epoch("state")?), disk: None };
        self.flush()?;
        (self.source, self.last_used, self.retry) = (Some(source), None, None);
        self.begin_in_file(claim)?;
        self.control(Event::Ephemeral(Ephemeral { genesis, progress }), clock::now())?;
        self.flush()
    }

    /// Makes a claimed epoch the one in use: its genesis where the stream or the file begins, and its `epoch` record.
    fn begin_epoch(&mut self, claim: Claim, with_genesis: bool) -> Result<(), WriteError> {
        debug_assert!(self.epoch.is_none(), "the epoch before is ended first");
        if with_genesis || claim.epoch == 0 {
            crate::record::framing::write(self.options.framing, &claim.genesis.record, self.batch.buffer());
            self.batch.commit();
        }
        let kept = self.source.as_ref().is_some_and(ClaimSource::is_kept);
        let (slots, before, now) = (claim.sealer.slots(), self.last_used.take(), clock::boottime());
        self.last_stream = Some((claim.stream, claim.genesis.fingerprint));
        self.epoch = Some(ActiveEpoch {
            stream: claim.stream,
            genesis: claim.genesis,
            epoch: claim.epoch,
            sealer: claim.sealer,
            memory: claim.memory_progress,
            disk: DiskProgress::Unstored(claim.disk_progress),
            claimed: claim.claimed,
            begun: now,
            kept,
        });
        if claim.epoch > 0 {
            let epoch_key = SecretHex::from(*claim.key.as_bytes());
            let epoch = Epoch { epoch: claim.epoch, epoch_key, slots, before, boot: boot_id().unwrap_or_default() };
            let control = Control {
                v: 1,
                stream: claim.stream,
                writer: self.options.claimant.writer,
                time: claim.time,
                event: Event::Epoch(epoch),
            };
            self.append(Kind::Control, &control.body(), seconds(clock::now()))?;
        }
        Ok(())
    }

    /// Says in the epoch in use that it ends here, where it has a slot left, and ends it. Returns its last progress value.
    fn close_epoch(&mut self, why: &str) -> Result<Hex<32>, WriteError> {
        let Some(epoch) = &self.epoch else { return Ok(Hex([0; 32])) };
        let slots = epoch.sealer.next_slot();
        if slots < epoch.sealer.slots() {
            let (stream, writer, time) = (epoch.stream, self.options.claimant.writer, clock::now());
            let control = Control { v: 1, stream, writer, time, event: Event::Close(Close { slots, why: why.to_owned() }) };
            self.append(Kind::Control, &control.body(), seconds(time))?;
        }
        self.slots = MIN_SLOTS.max(slots.next_power_of_two().min(self.slots));
        let epoch = self.epoch.as_ref().expect("it was there above");
        let mut progress = epoch.memory.progress().clone();
        progress.advance_to(epoch.sealer.next_slot());
        self.end_epoch();
        Ok(Hex(*progress.value()))
    }

    /// Takes leave of the epoch in use: all that it will ever have is in the batch or the file.
    fn end_epoch(&mut self) {
        if let Some(epoch) = self.epoch.take() {
            let (used, mut progress) = (epoch.sealer.next_slot(), epoch.memory.progress().clone());
            progress.advance_to(used);
            self.last_used = Some(UsedEpoch { epoch: epoch.epoch, used, progress: Hex(*progress.value()) });
            self.ended_memory.push(epoch.memory);
            if let DiskProgress::Stored(disk) = epoch.disk {
                self.ended_disk.push(disk);
            }
        }
    }

    /// Settles epochs that were claimed ahead and will not be used.
    fn end_prepared(&mut self) -> Result<(), WriteError> {
        while let Some(prepared) = self.prepared.pop_front() {
            if let Ok(Ok(claim)) = prepared.join() {
                self.end_unused(claim)?;
            }
        }
        Ok(())
    }

    fn end_unused(&mut self, claim: Claim) -> Result<(), WriteError> {
        let (active, last_used) = (self.epoch.take(), self.last_used.take());
        let ended = self.begin_epoch(claim, false).and_then(|()| self.close_epoch("unused"));
        (self.epoch, self.last_used) = (active, last_used);
        ended.map(drop)
    }

    fn collect_left(&self, stream: StreamId) -> Left {
        match &self.source {
            // Under the lock; without it nothing is found and the next writer tells.
            Some(ClaimSource::Kept(folder)) => folder.lock().map(|_locked| Left::collect(folder, stream)).unwrap_or_default(),
            _ => Left::default(),
        }
    }

    /// Brings the log to the disk in the background, then moves progress on disk.
    fn start_sync(&mut self) {
        self.finish_sync(false);
        let Some(Sink::File(file)) = &self.sink else { return };
        if self.sync.is_some() {
            return;
        }
        let handle = match file.handle() {
            Ok(handle) => handle,
            Err(error) => return self.warnings.push(Warning::Sync(error)),
        };
        self.synced = clock::boottime();
        self.dirty = false;
        let epoch = match (self.epoch.as_mut().filter(|active| active.kept), &self.options.state) {
            (Some(active), Some(folder)) => Some(SyncedEpoch {
                stream: active.stream,
                epoch: active.epoch,
                slots: active.sealer.next_slot(),
                disk: mem::replace(&mut active.disk, DiskProgress::Away),
                folder: folder.clone(),
            }),
            _ => None,
        };
        self.sync = Some(Sync::start(handle, self.left.take(), mem::take(&mut self.ended_disk), epoch));
    }

    /// Takes back what a synchronisation moved on; waits for it if `wait`.
    fn finish_sync(&mut self, wait: bool) {
        let Some(sync) = self.sync.take_if(|sync| wait || sync.is_finished()) else { return };
        let (stream, epoch) = (sync.stream, sync.epoch);
        let (disk, done) = sync.join();
        if let Err(error) = done {
            self.warnings.push(Warning::Sync(error));
        }
        match (disk, &mut self.epoch) {
            (disk, Some(active)) if (active.stream, active.epoch) == (stream, epoch) => active.disk = disk,
            (DiskProgress::Stored(disk), _) => self.ended_disk.push(disk),
            (DiskProgress::Unstored(_) | DiskProgress::Away, _) => {}
        }
    }

    /// Brings all to the disk now, and forgets the progress of what is settled there.
    fn sync_now(&mut self) {
        self.finish_sync(true);
        if self.dirty || self.left.is_some() || !self.ended_disk.is_empty() {
            self.start_sync();
            self.finish_sync(true);
        }
    }
}
