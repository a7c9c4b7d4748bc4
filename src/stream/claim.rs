//! Claims: how a writer gets an epoch that nobody else has or will have.
//!
//! Promises: the claim is on the disk before the epoch can be used; the chain key before it is gone then. A claim that
//! fails uses nothing up.
#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use zeroize::Zeroizing;

use super::progress::EpochProgress;
use super::state::{LockedState, State, StateError, StateFolder, recipients_digest};
use crate::chain::{ChainKey, EpochKey, Kind, MIN_SLOTS, Progress};
use crate::control::{Control, Event, Follows, Genesis, GenesisFingerprint, Hex, SecretHex, StreamId, WriterId};
use crate::host::clock;
use crate::host::memory::{LockedBuffer, wipe_stack};
use crate::host::processor::processor;
use crate::recipient::Recipients;
use crate::record::Framing;
use crate::record::seal::{EpochSealer, SealError, table_len};

/// Why an epoch was not claimed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The state could not be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The progress value could not be stored.
    #[error("cannot store progress: {path}: {source}")]
    Progress {
        /// The folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// No memory for keys.
    #[error("no memory for the keys of an epoch: {0}")]
    Memory(io::Error),
    /// A key could not be sealed to, or there was no randomness.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The log goes on in another stream: another writer went over to other recipients, or `restart` was asked for.
    #[error("the log goes on in another stream")]
    StreamEnded,
}

/// A genesis record as it stands at the head of every file of its stream.
#[derive(Debug)]
pub struct GenesisRecord {
    /// The record without framing.
    pub record: Vec<u8>,
    /// Its fingerprint.
    pub fingerprint: GenesisFingerprint,
}

/// What does not change from claim to claim of one writer.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// The writer.
    pub writer: WriterId,
    /// What it seals to.
    pub recipients: Arc<Recipients>,
    /// The host's name.
    pub host: String,
    /// Folder and name template of the log.
    pub log: String,
    /// Name and version of the program.
    pub software: String,
    /// Whether its line buffers are locked in memory.
    pub memory_locked: bool,
    /// What else it could not have for its protection, in words.
    pub lacks: Vec<String>,
}

/// An epoch that is claimed and not used yet. The key in it says no more than the table of the sealer does until slot 0
/// is sealed; it is erased then.
pub struct Claim {
    /// The stream.
    pub stream: StreamId,
    /// Its genesis record.
    pub genesis: Arc<GenesisRecord>,
    /// j.
    pub epoch: u64,
    /// `K_j`.
    pub key: EpochKey,
    /// When it was claimed.
    pub time: Timestamp,
    /// The same on the clock that counts suspended time too.
    pub claimed: Duration,
    /// Keys of all slots. In epoch 0 slot 0, the genesis, is already sealed.
    pub sealer: EpochSealer<LockedBuffer>,
    /// `P_j`.
    pub memory_progress: EpochProgress,
    /// `D_{j,0}`.
    pub disk_progress: Progress,
}

/// Where a writer's epochs come from.
#[derive(Clone)]
pub enum ClaimSource {
    /// A state folder, shared by all writers of the log.
    Kept(StateFolder),
    /// This process's memory: a stream that ends with it.
    Ephemeral(Arc<Mutex<EphemeralState>>),
}

/// The state of a stream that is kept nowhere.
pub struct EphemeralState {
    stream: StreamId,
    next_epoch: u64,
    chain_key: ChainKey,
    genesis: Arc<GenesisRecord>,
}

impl ClaimSource {
    /// Whether the chain outlives this process.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    /// Claims the next epoch, with `slots` slots, of the stream `on` that the writer is on. A writer that is on none yet
    /// begins a kept stream where there is none, and one that follows it where it is sealed to other recipients.
    ///
    /// What the chain and the public-key operations left on the stack is wiped.
    pub fn claim(&self, claimant: &Claimant, slots: u32, on: Option<StreamId>) -> Result<Claim, ClaimError> {
        let claim = self.claim_epoch(claimant, slots, on);
        wipe_stack();
        claim
    }

    #[inline(never)]
    fn claim_epoch(&self, claimant: &Claimant, slots: u32, on: Option<StreamId>) -> Result<Claim, ClaimError> {
        match self {
            Self::Kept(folder) => claim_kept(folder, claimant, slots, on),
            Self::Ephemeral(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                let key = state.chain_key.epoch_key();
                let progress = EpochProgress::in_memory(key.memory_progress().with_milestones(slots));
                let claim = prepare(claimant, state.stream, state.genesis.clone(), state.next_epoch, key, slots, progress)?;
                state.chain_key = state.chain_key.next();
                state.next_epoch += 1;
                Ok(claim)
            }
        }
    }
}

/// Begins a stream that follows the one in the folder, whoever writes to that: after an intrusion, when its chain is known
/// to others.
pub fn restart(folder: &StateFolder, claimant: &Claimant) -> Result<Claim, ClaimError> {
    let locked = folder.lock()?;
    let ours = recipients_digest(&claimant.recipients.terms());
    let follows = locked.read()?.map(|old| Follows { stream: old.stream, genesis: old.genesis, why: "restart".to_owned() });
    begin_kept(&locked, folder, claimant, MIN_SLOTS, ours, follows)
}

/// Begins a stream that is kept nowhere, in place of `follows` if that could not be used. What it left on the stack is wiped.
pub fn begin_ephemeral(claimant: &Claimant, slots: u32, follows: Option<Follows>) -> Result<(ClaimSource, Claim), ClaimError> {
    let begun = begin_in_memory(claimant, slots, follows);
    wipe_stack();
    begun
}

#[inline(never)]
fn begin_in_memory(claimant: &Claimant, slots: u32, follows: Option<Follows>) -> Result<(ClaimSource, Claim), ClaimError> {
    let beginning = begin(claimant, slots, false, follows)?;
    let chain_key = beginning.first.next();
    let claim = beginning.into_claim(EpochProgress::in_memory);
    let state = EphemeralState { stream: claim.stream, next_epoch: 1, chain_key, genesis: claim.genesis.clone() };
    Ok((ClaimSource::Ephemeral(Arc::new(Mutex::new(state))), claim))
}

fn claim_kept(folder: &StateFolder, claimant: &Claimant, slots: u32, on: Option<StreamId>) -> Result<Claim, ClaimError> {
    let locked = folder.lock()?;
    let ours = recipients_digest(&claimant.recipients.terms());
    match locked.read()? {
        Some(state) if on.is_some_and(|on| on != state.stream) => Err(ClaimError::StreamEnded),
        Some(state) if state.recipients == ours => claim_next(&locked, folder, claimant, slots, state),
        Some(_) if on.is_some() => Err(ClaimError::StreamEnded),
        other => {
            let follows = other.map(|old| Follows { stream: old.stream, genesis: old.genesis, why: "recipients".to_owned() });
            begin_kept(&locked, folder, claimant, slots, ours, follows)
        }
    }
}

fn claim_next(
    locked: &LockedState,
    folder: &StateFolder,
    claimant: &Claimant,
    slots: u32,
    state: State,
) -> Result<Claim, ClaimError> {
    let genesis = Arc::new(GenesisRecord { record: folder.genesis(&state.genesis)?, fingerprint: state.genesis });
    let key = state.chain_key.epoch_key();
    let progress = keep_progress(folder, state.stream, state.next_epoch, key.memory_progress().with_milestones(slots))?;
    let claim = prepare(claimant, state.stream, genesis, state.next_epoch, key, slots, progress)?;
    locked.write(&State { next_epoch: state.next_epoch + 1, chain_key: state.chain_key.next(), ..state })?;
    Ok(claim)
}

fn begin_kept(
    locked: &LockedState,
    folder: &StateFolder,
    claimant: &Claimant,
    slots: u32,
    recipients: Hex<32>,
    follows: Option<Follows>,
) -> Result<Claim, ClaimError> {
    let beginning = begin(claimant, slots, true, follows)?;
    let chain_key = beginning.first.next();
    let progress = keep_progress(folder, beginning.stream, 0, beginning.key.memory_progress())?;
    let claim = beginning.into_claim(|_| progress);
    // On the disk before the state is: a state without its genesis could not be verified by anyone.
    let state = State { stream: claim.stream, next_epoch: 1, chain_key, genesis: claim.genesis.fingerprint, recipients };
    match locked.begin(&claim.genesis.record, &state) {
        Ok(()) => Ok(claim),
        Err(error) => {
            if locked.read().is_ok_and(|there| there.is_none_or(|there| there.stream != claim.stream)) {
                // Nobody knows this stream: its file would stay for ever.
                claim.memory_progress.remove();
            }
            // Else it tells the next writer, who goes on in the stream, that nothing came before.
            Err(error.into())
        }
    }
}

fn keep_progress(folder: &StateFolder, stream: StreamId, epoch: u64, progress: Progress) -> Result<EpochProgress, ClaimError> {
    let path = folder.runtime().display().to_string();
    EpochProgress::create(folder.runtime(), stream, epoch, progress).map_err(|source| ClaimError::Progress { path, source })
}

/// A new stream with its genesis sealed.
struct Beginning {
    stream: StreamId,
    first: ChainKey,
    key: EpochKey,
    genesis: Arc<GenesisRecord>,
    sealer: EpochSealer<LockedBuffer>,
    time: Timestamp,
    claimed: Duration,
}

impl Beginning {
    fn into_claim(self, keep: impl FnOnce(Progress) -> EpochProgress) -> Claim {
        Claim {
            stream: self.stream,
            genesis: self.genesis,
            epoch: 0,
            time: self.time,
            claimed: self.claimed,
            sealer: self.sealer,
            memory_progress: keep(self.key.memory_progress()),
            disk_progress: self.key.disk_progress(),
            key: self.key,
        }
    }
}

fn begin(claimant: &Claimant, slots: u32, kept: bool, follows: Option<Follows>) -> Result<Beginning, ClaimError> {
    let (mut stream, mut bytes) = ([0; 16], Zeroizing::new([0; 32]));
    getrandom::fill(&mut stream).map_err(SealError::Random)?;
    getrandom::fill(&mut bytes[..]).map_err(SealError::Random)?;
    let (stream, first) = (Hex(stream), ChainKey::copy_of(&bytes));
    let key = first.epoch_key();
    let mut sealer = sealer(claimant, &key, slots)?;
    let (time, claimed) = (clock::now(), clock::boottime());
    let control = Control {
        v: 1,
        stream,
        writer: claimant.writer,
        time,
        event: Event::Genesis(Genesis {
            chain_key: SecretHex::copy_of(first.as_bytes()),
            slots,
            host: claimant.host.clone(),
            log: claimant.log.clone(),
            software: claimant.software.clone(),
            profile: claimant.recipients.profile().name().to_owned(),
            recipients: claimant.recipients.fingerprints(),
            state: kept,
            progress: kept,
            memory_locked: claimant.memory_locked,
            lacks: claimant.lacks.clone(),
            follows,
        }),
    };
    let mut record = Vec::new();
    sealer.seal(Kind::Control, seconds(time), &control.body(), Framing::Binary, &mut record)?;
    let genesis = Arc::new(GenesisRecord { fingerprint: GenesisFingerprint::of(&record), record });
    Ok(Beginning { stream, first, key, genesis, sealer, time, claimed })
}

fn prepare(
    claimant: &Claimant,
    stream: StreamId,
    genesis: Arc<GenesisRecord>,
    epoch: u64,
    key: EpochKey,
    slots: u32,
    memory_progress: EpochProgress,
) -> Result<Claim, ClaimError> {
    let sealer = sealer(claimant, &key, slots)?;
    let disk_progress = key.disk_progress();
    Ok(Claim {
        stream,
        genesis,
        epoch,
        key,
        time: clock::now(),
        claimed: clock::boottime(),
        sealer,
        memory_progress,
        disk_progress,
    })
}

fn sealer(claimant: &Claimant, key: &EpochKey, slots: u32) -> Result<EpochSealer<LockedBuffer>, ClaimError> {
    let table = LockedBuffer::new(table_len(&claimant.recipients, slots)).map_err(ClaimError::Memory)?;
    Ok(EpochSealer::new(claimant.recipients.clone(), key, slots, table, processor())?)
}

/// Seconds since 1970 as an OpenPGP date.
pub fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_second()).unwrap_or(0)
}
