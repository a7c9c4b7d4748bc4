//! The epochs of a writer: where they come from, how they begin and how they end.
//!
//! Promises: an epoch that was claimed is used or told to be unused; a claim that fails makes a stream that is kept nowhere stand in.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::{EPOCH_LIFE, FAST, Warning, WriteError, Writer};
use crate::chain::{Kind, MAX_SLOTS, MIN_SLOTS};
use crate::control::{Close, Control, Ephemeral, Epoch, Event, Follows, FoundProgress, Hex, SecretHex, StreamId, UsedEpoch};
use crate::host::clock;
use crate::host::memory::LockedBuffer;
use crate::host::process::boot_id;
use crate::record::seal::EpochSealer;
use crate::stream::claim::{self, Claim, ClaimError, ClaimSource, GenesisRecord, seconds};
use crate::stream::progress::{EpochProgress, take_census};
use crate::stream::sync::DiskProgress;

/// An epoch that is claimed ahead.
pub(super) enum Prepared {
    /// On another thread.
    Running(JoinHandle<Result<Claim, ClaimError>>),
    /// Already.
    Ready(Box<Claim>),
}

impl Prepared {
    /// Waits for the claim; `None` where it failed, which is told when it is tried again.
    fn claim(self) -> Option<Claim> {
        match self {
            Self::Running(thread) => thread.join().ok()?.ok(),
            Self::Ready(claim) => Some(*claim),
        }
    }
}

/// The epoch in use.
pub(super) struct ActiveEpoch {
    pub(super) stream: StreamId,
    pub(super) genesis: Arc<GenesisRecord>,
    pub(super) epoch: u64,
    pub(super) sealer: EpochSealer<LockedBuffer>,
    pub(super) memory: EpochProgress,
    pub(super) disk: DiskProgress,
    pub(super) claimed: Duration,
    /// When its first slot was used.
    pub(super) begun: Duration,
    pub(super) kept: bool,
}

impl Writer {
    /// Makes sure that the epoch in use has a free slot.
    pub fn room(&mut self) -> Result<(), WriteError> {
        if self.epoch.as_ref().is_some_and(|epoch| epoch.sealer.next_slot() < epoch.sealer.slots()) {
            return Ok(());
        }
        self.fast = self.epoch.as_ref().is_some_and(|epoch| clock::boottime() < epoch.begun + FAST);
        self.end_epoch();
        let claim = self.next_claim()?;
        let progress = self.take_census(claim.stream, claim.epoch);
        if claim.sealer.slots() == MIN_SLOTS {
            // Else a power cut could take all of an epoch whose claim is on the disk. Where lines come fast the next
            // synchronisation is never far.
            self.sync_soon();
        }
        self.begin_epoch(claim, false, progress)
    }

    /// Claims the next epoch on another thread, so that the line path does not wait for the disk.
    pub(super) fn prepare_next(&mut self) {
        let (Some(epoch), Some(source)) = (&self.epoch, &self.source) else { return };
        let now = clock::boottime();
        if now >= epoch.claimed + EPOCH_LIFE / 2 {
            // It will be closed by its age before it is used up.
            return;
        }
        if self.fast || now < epoch.begun + FAST / 2 {
            self.slots = (epoch.sealer.slots() * 2).min(MAX_SLOTS);
        }
        let (source, claimant, slots, on) = (source.clone(), self.options.claimant.clone(), self.slots, Some(epoch.stream));
        let claim = move || source.claim(&claimant, slots, on);
        // Where there is no thread to be had it is claimed when it is needed.
        self.prepared.extend(Builder::new().spawn(claim).map(Prepared::Running));
    }

    /// The prepared epoch, or one claimed now; of a stream that is kept nowhere if there is no other way.
    pub(super) fn next_claim(&mut self) -> Result<Claim, WriteError> {
        while let Some(prepared) = self.prepared.pop_front() {
            match prepared.claim() {
                Some(claim) if clock::boottime() < claim.claimed + EPOCH_LIFE => return Ok(claim),
                Some(claim) => self.end_unused(claim)?,
                None => {}
            }
        }
        if self.source.is_none() && self.options.state.is_none() {
            let (source, claim) = claim::begin_ephemeral(&self.options.claimant, self.slots, None)?;
            self.source = Some(source);
            return Ok(claim);
        }
        let kept =
            self.options.state.clone().filter(|_| self.retry.is_none_or(|at| clock::boottime() >= at)).map(ClaimSource::Kept);
        let on = self.last_stream.filter(|_| self.last_used.is_some()).map(|(stream, _)| stream);
        let source = match (&self.source, kept) {
            (Some(source), _) if !source.is_kept() => source.clone(),
            (_, Some(kept)) => kept,
            (_, None) => return self.ephemeral_claim(None),
        };
        match source.claim(&self.options.claimant, self.slots, on) {
            Ok(claim) => {
                if let (true, Some(folder)) = (source.is_kept(), &self.options.state) {
                    let _ = folder.store_config(&self.options.config);
                }
                self.source = Some(source);
                Ok(claim)
            }
            Err(error @ (ClaimError::Seal(_) | ClaimError::StreamEnded)) => Err(error.into()),
            Err(error) => self.ephemeral_claim(Some(error)),
        }
    }

    pub(super) fn ephemeral_claim(&mut self, error: Option<ClaimError>) -> Result<Claim, WriteError> {
        let follows = self.followed("claim");
        let (source, claim) = match error {
            Some(error) => self.go_ephemeral(error, follows)?,
            None => claim::begin_ephemeral(&self.options.claimant, self.slots, follows)?,
        };
        self.source = Some(source);
        Ok(claim)
    }

    pub(super) fn go_ephemeral(
        &mut self,
        error: ClaimError,
        follows: Option<Follows>,
    ) -> Result<(ClaimSource, Claim), WriteError> {
        self.warnings.push(Warning::Ephemeral(error));
        self.retry = Some(clock::boottime() + self.options.retry_state);
        Ok(claim::begin_ephemeral(&self.options.claimant, self.slots, follows)?)
    }

    /// Tries the kept stream again; where it can be had, it goes on with a record that names what stood in for it.
    pub(super) fn return_to_state(&mut self) -> Result<(), WriteError> {
        let (Some(folder), Some(epoch)) = (&self.options.state, &self.epoch) else { return Ok(()) };
        let source = ClaimSource::Kept(folder.clone());
        let Ok(claim) = source.claim(&self.options.claimant, MIN_SLOTS, None) else {
            self.retry = Some(clock::boottime() + self.options.retry_state);
            return Ok(());
        };
        let (genesis, number) = (epoch.genesis.fingerprint, epoch.epoch);
        self.end_prepared()?;
        let progress =
            FoundProgress { stream: None, epoch: number, memory: Some(self.close_epoch("state")?), disk: None, live: false };
        self.flush()?;
        (self.source, self.last_used, self.retry) = (Some(source), None, None);
        self.begin_in_file(claim)?;
        // In one batch with what the stream goes on with, so that it is not forgotten where that has to wait.
        self.control(Event::Ephemeral(Ephemeral { genesis, progress }), clock::now())?;
        self.flush()
    }

    /// The first epoch for new recipients, in the kept stream if it can be had.
    pub(super) fn claim_for_recipients(&mut self) -> Result<(ClaimSource, Claim), WriteError> {
        let follows = self.followed("recipients");
        match &self.options.state {
            Some(folder) if self.retry.is_none() => {
                let source = ClaimSource::Kept(folder.clone());
                match source.claim(&self.options.claimant, MIN_SLOTS, None) {
                    Ok(claim) => Ok((source, claim)),
                    Err(error) => self.go_ephemeral(error, follows),
                }
            }
            _ => Ok(claim::begin_ephemeral(&self.options.claimant, MIN_SLOTS, follows)?),
        }
    }

    /// The stream in use, as the one that another follows.
    pub(super) fn followed(&self, why: &str) -> Option<Follows> {
        self.last_stream.map(|(stream, genesis)| Follows { stream, genesis, why: why.to_owned() })
    }

    /// Makes a claimed epoch the one in use: its genesis where the stream or the file begins, and its `epoch` record.
    pub(super) fn begin_epoch(
        &mut self,
        claim: Claim,
        with_genesis: bool,
        progress: Option<Vec<FoundProgress>>,
    ) -> Result<(), WriteError> {
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
            let epoch_key = SecretHex::copy_of(claim.key.as_bytes());
            let boot = boot_id().unwrap_or_default();
            let epoch = Epoch { epoch: claim.epoch, epoch_key, slots, before, boot, progress };
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

    /// How far all others have come, for the next record, in the epoch `epoch` of `stream`: `None` without state. The values
    /// must not stay in memory, where they would be older than those in their files before long.
    pub(super) fn take_census(&mut self, stream: StreamId, epoch: u64) -> Option<Vec<FoundProgress>> {
        let Some(ClaimSource::Kept(folder)) = &self.source else { return None };
        match take_census(folder, stream, epoch) {
            Ok((values, left)) => {
                self.left.extend(left);
                Some(values)
            }
            Err(error) => {
                self.warnings.push(Warning::Progress(error));
                None
            }
        }
    }

    /// Says in the epoch in use that it ends here, where it has a slot left, and ends it. Returns its last progress value.
    pub(super) fn close_epoch(&mut self, why: &str) -> Result<Hex<32>, WriteError> {
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
    pub(super) fn end_epoch(&mut self) {
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
    pub(super) fn end_prepared(&mut self) -> Result<(), WriteError> {
        while let Some(prepared) = self.prepared.pop_front() {
            if let Some(claim) = prepared.claim() {
                self.end_unused(claim)?;
            }
        }
        Ok(())
    }

    pub(super) fn end_unused(&mut self, claim: Claim) -> Result<(), WriteError> {
        let (active, last_used) = (self.epoch.take(), self.last_used.take());
        let ended = self.begin_epoch(claim, false, None).and_then(|()| self.close_epoch("unused"));
        (self.epoch, self.last_used) = (active, last_used);
        ended.map(drop)
    }
}
