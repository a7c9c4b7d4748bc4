//! Places: which slot of which epoch of which stream a record proves to be sealed in.
//!
//! Promises: a place is found by look-up, whatever else the files hold, and believed only when the record's seal proves
//! it with a key that follows from the stream's `E_0`. Nothing that a record says of itself is believed before.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use crate::chain::{ChainKey, ChainSecret, EpochKey, Kind, Locator, Locators, MAX_SLOTS};
use crate::record::open::{Opened, Seal, Whereabouts};

/// How many epochs behind the newest one that was seen records are looked for when an `epoch` record seems lost, so that
/// many writers may run side by side.
const AHEAD: u64 = 4;
/// How far back behind the newest epoch that was seen the ones not seen are looked for.
const BEHIND: u64 = 64;
/// Epochs that are made ready for look-up at a guess, in one verification: each costs time and memory.
const MAX_WIDE: u32 = 256;
/// A chain key is remembered every so many epochs.
const CHECKPOINT: u64 = 64;
/// No stream has more epochs between two that are seen: a larger jump is an alarm, not a loop.
pub const MAX_JUMP: u64 = 1 << 20;
/// Chain secrets remembered for one epoch: one, but where it was forked or its PKESK packets were damaged.
const MAX_SECRETS: usize = 4;

/// A slot of an epoch of a stream; streams are numbered as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The stream's number.
    pub stream: usize,
    /// j.
    pub epoch: u64,
    /// i.
    pub slot: u32,
}

/// What look-up and proof came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// The record proves its place.
    Proven(Place, Kind),
    /// The content proves its place, but the PKESK packets are others than those that it was sealed with.
    Rewrapped(Place, Kind),
    /// It stands under the locator of this place and does not prove it.
    Disproven(Place),
    /// No place that is known.
    Nowhere,
}

/// The streams that are known, and the look-up.
#[derive(Default)]
pub struct Places {
    spines: Vec<Spine>,
    locators: HashMap<Locator, Place>,
    /// The profile `age` has room for half a locator only.
    prefixes: HashMap<[u8; 4], Vec<Place>>,
    /// How many epochs were made ready for look-up at a guess.
    wide: u32,
}

struct Spine {
    /// Every [`CHECKPOINT`]th chain key from 0; empty where only single epochs' keys are known.
    checkpoints: Vec<ChainKey>,
    newest: (u64, ChainKey),
    is_age: bool,
    epochs: BTreeMap<u64, Leaf>,
    seen: Option<u64>,
    /// For which newest epoch lost ones were looked for.
    widened: Option<Option<u64>>,
}

struct Leaf {
    key: EpochKey,
    locators: Locators,
    /// How many slots can be looked up.
    loaded: u32,
    /// C_j by PKESK digest, for records of the profile `rfc9580`; one without for the others.
    secrets: Vec<([u8; 32], ChainSecret)>,
}

impl Leaf {
    fn new(key: EpochKey) -> Self {
        Self { locators: key.locators(), key, loaded: 0, secrets: Vec::new() }
    }
}

impl Places {
    /// Adds a stream that begins with `E_0` and has so many slots in epoch 0. Its number is the count of those before it.
    pub fn add_stream(&mut self, chain_key: &ChainKey, slots: u32, is_age: bool) -> usize {
        let stream = self.add_spine(vec![chain_key.clone()], chain_key.clone(), is_age);
        self.load(stream, 0, slots.clamp(1, MAX_SLOTS));
        stream
    }

    /// Adds a stream of which only single epochs' keys are known.
    pub fn add_orphan(&mut self, is_age: bool) -> usize {
        self.add_spine(Vec::new(), ChainKey::from_bytes([0; 32]), is_age)
    }

    /// Adds an epoch to a stream of which only single epochs' keys are known.
    pub fn add_epoch(&mut self, stream: usize, epoch: u64, key: EpochKey) {
        self.spines[stream].epochs.entry(epoch).or_insert_with(|| Leaf::new(key));
    }

    fn add_spine(&mut self, checkpoints: Vec<ChainKey>, first: ChainKey, is_age: bool) -> usize {
        let epochs = BTreeMap::new();
        self.spines.push(Spine { checkpoints, newest: (0, first), is_age, epochs, seen: None, widened: None });
        self.spines.len() - 1
    }

    /// Whether a stream has the profile `age`.
    pub fn is_age(&self, stream: usize) -> bool {
        self.spines[stream].is_age
    }

    /// `K_j`, where it follows from `E_0` or was given.
    pub fn epoch_key(&mut self, stream: usize, epoch: u64) -> Option<EpochKey> {
        if let Some(leaf) = self.spines[stream].epochs.get(&epoch) {
            return Some(leaf.key.clone());
        }
        self.chain_key(stream, epoch).map(|key| key.epoch_key())
    }

    /// Makes an epoch's slots ready for look-up, now that their number is known.
    pub fn saw_epoch(&mut self, stream: usize, epoch: u64, slots: u32) {
        self.load(stream, epoch, slots.clamp(1, MAX_SLOTS));
        let spine = &mut self.spines[stream];
        spine.seen = Some(spine.seen.map_or(epoch, |seen| seen.max(epoch)));
    }

    /// Whether an epoch lies so near the newest one that its key may be computed at somebody's word.
    pub fn is_within_reach(&self, stream: usize, epoch: u64) -> bool {
        self.spines[stream].seen.unwrap_or(0).saturating_add(MAX_JUMP) >= epoch
    }

    /// Makes epochs that were not seen ready for look-up: their first records may be lost. Whether there was anything to do.
    pub fn widen(&mut self) -> bool {
        let mut any = false;
        for stream in 0..self.spines.len() {
            let spine = &mut self.spines[stream];
            if spine.checkpoints.is_empty() || spine.widened == Some(spine.seen) {
                continue;
            }
            spine.widened = Some(spine.seen);
            let seen = spine.seen.unwrap_or(0);
            for epoch in seen.saturating_sub(BEHIND)..=seen.saturating_add(AHEAD) {
                if self.wide < MAX_WIDE && !self.spines[stream].epochs.contains_key(&epoch) {
                    self.wide += 1;
                    self.load(stream, epoch, MAX_SLOTS);
                    any = true;
                }
            }
        }
        any
    }

    /// Finds the place that a record proves.
    pub fn locate(&mut self, opened: &Opened) -> Located {
        let mut candidates = match opened.locator() {
            Some(Whereabouts::Locator(locator)) => self.locators.get(&locator).copied().into_iter().collect::<Vec<_>>(),
            Some(Whereabouts::Prefix(prefix)) => self.prefixes.get(&prefix).cloned().unwrap_or_default(),
            None => Vec::new(),
        };
        candidates.retain(|place| self.spines[place.stream].is_age == matches!(opened.seal, Seal::Age { .. }));
        for &place in &candidates {
            if let Some(kind) = self.prove(opened, place) {
                return Located::Proven(place, kind);
            }
        }
        for &place in &candidates {
            if let Some(kind) = self.prove_rewrapped(opened, place) {
                return Located::Rewrapped(place, kind);
            }
        }
        // Half a locator is met by chance too often to say anything.
        match (candidates.first(), &opened.seal) {
            (Some(&place), Seal::Rfc9580 { .. } | Seal::Rfc4880 { .. }) => Located::Disproven(place),
            _ => Located::Nowhere,
        }
    }

    /// The place that a locator names, without proof.
    pub fn look_up(&self, locator: &Locator) -> Option<Place> {
        self.locators.get(locator).copied()
    }

    /// The places that half a locator may name, without proof.
    pub fn look_up_prefix(&self, prefix: [u8; 4]) -> &[Place] {
        self.prefixes.get(&prefix).map_or(&[], Vec::as_slice)
    }

    /// Whether the record proves this very place.
    pub fn prove(&mut self, opened: &Opened, place: Place) -> Option<Kind> {
        if !self.spines[place.stream].epochs.contains_key(&place.epoch) {
            // Only what is proven is remembered.
            let key = self.epoch_key(place.stream, place.epoch)?;
            let kind = opened.proves(place.slot, &key)?;
            self.spines[place.stream].epochs.insert(place.epoch, Leaf::new(key));
            return Some(kind);
        }
        let leaf = self.spines[place.stream].epochs.get_mut(&place.epoch)?;
        let digest = match &opened.seal {
            Seal::Rfc9580 { pkesks_digest, .. } => *pkesks_digest,
            Seal::Rfc4880 { .. } | Seal::Age { .. } => [0; 32],
        };
        let locator = leaf.locators.slot(place.slot);
        if let Some((_, secret)) = leaf.secrets.iter().find(|(known, _)| *known == digest) {
            return opened.proves_with(place.slot, &locator, secret);
        }
        let secret = opened.chain_secret(&leaf.key);
        let proven = opened.proves_with(place.slot, &locator, &secret);
        if proven.is_some() && leaf.secrets.len() < MAX_SECRETS {
            leaf.secrets.push((digest, secret));
        }
        proven
    }

    /// Whether the record proves the place with the PKESK packets of other records of the epoch.
    fn prove_rewrapped(&self, opened: &Opened, place: Place) -> Option<Kind> {
        let leaf = self.spines[place.stream].epochs.get(&place.epoch)?;
        let locator = leaf.locators.slot(place.slot);
        leaf.secrets.iter().find_map(|(_, secret)| opened.proves_with(place.slot, &locator, secret))
    }

    /// Makes the first `slots` slots of an epoch, and no others, ready for look-up.
    fn load(&mut self, stream: usize, epoch: u64, slots: u32) {
        let Some(key) = self.epoch_key(stream, epoch) else { return };
        let spine = &mut self.spines[stream];
        let leaf = spine.epochs.entry(epoch).or_insert_with(|| Leaf::new(key));
        let slots = slots.next_multiple_of(4);
        for quad in leaf.loaded.min(slots) / 4..leaf.loaded.max(slots) / 4 {
            for (slot, locator) in (quad * 4..).zip(leaf.locators.quad(quad)) {
                let place = Place { stream, epoch, slot };
                let prefix = *locator.first_chunk().expect("a locator is longer");
                match (spine.is_age, slot < slots) {
                    (true, true) => self.prefixes.entry(prefix).or_default().push(place),
                    (true, false) => self.prefixes.entry(prefix).or_default().retain(|known| *known != place),
                    (false, true) => {
                        self.locators.insert(locator, place);
                    }
                    (false, false) => {
                        self.locators.remove(&locator);
                    }
                }
            }
        }
        leaf.loaded = slots;
    }

    /// `E_j`, by the nearest key that is remembered.
    fn chain_key(&mut self, stream: usize, epoch: u64) -> Option<ChainKey> {
        let spine = &mut self.spines[stream];
        let checkpoint = epoch / CHECKPOINT;
        let known = spine.checkpoints.len().checked_sub(1)? as u64;
        let (mut at, mut key) = if spine.newest.0 <= epoch && spine.newest.0 / CHECKPOINT >= checkpoint.min(known) {
            spine.newest.clone()
        } else {
            let nearest = checkpoint.min(known);
            (nearest * CHECKPOINT, spine.checkpoints[usize::try_from(nearest).ok()?].clone())
        };
        while at < epoch {
            (at, key) = (at + 1, key.next());
            if at % CHECKPOINT == 0 && at / CHECKPOINT == spine.checkpoints.len() as u64 {
                spine.checkpoints.push(key.clone());
            }
        }
        spine.newest = (at, key.clone());
        Some(key)
    }
}
