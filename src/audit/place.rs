//! Places: which slot of which epoch of which stream a record proves to be sealed in.
//!
//! Promises: a place is found by look-up, whatever else the files hold, and believed only when the record's seal proves
//! it with a key that follows from the stream's `E_0`. Nothing that a record says of itself is believed before. Memory and
//! time are in proportion to the records that prove a place, and else bounded: how many slots an epoch announces, and how
//! far a record claims to be from the last one, costs no more than that.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::chain::{ChainKey, ChainSecret, EpochKey, Kind, Locator, Locators, MAX_SLOTS, MIN_SLOTS};
use crate::record::open::{Opened, Seal, SessionKey, Whereabouts};

/// How many epochs behind the newest one that was seen records are looked for when an `epoch` record seems lost, so that
/// many writers may run side by side.
const AHEAD: u64 = 4;
/// How far back behind the newest epoch that was seen the ones not seen are looked for.
const BEHIND: u64 = 64;
/// So many slots are ready for look-up at once of which nothing is known but that they may have been used: in the streams
/// that something vouches for, and as many in all others. Beyond that an epoch is ready a little further than it was
/// seen to go, which is enough where its records follow each other.
const MAX_SPARE: usize = 1_500_000;
/// So far beyond the epochs that it was followed to a stream that nothing vouches for is followed as often as it likes.
const NEAR: u64 = 2 * CHECKPOINT;
/// So many epochs the streams that nothing vouches for may lie further ahead, all together.
const MAX_WALK: u64 = 1 << 21;
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
    /// What can be looked up: locator, number of the epoch, slot. In order, since the profile `age` has room for half a
    /// locator only.
    slots: BTreeSet<(Locator, u32, u16)>,
    /// The epochs by their numbers.
    numbers: Vec<(usize, u64)>,
    /// How much of `slots` nothing stands behind, see [`MAX_SPARE`]: in streams that nothing vouches for, and in the others.
    spare: [usize; 2],
    /// How far streams that nothing vouches for were followed.
    walked: u64,
    /// Streams with a newer epoch than when lost ones were looked for.
    to_widen: BTreeSet<usize>,
}

struct Spine {
    /// Every [`CHECKPOINT`]th chain key from 0; empty where only single epochs' keys are known.
    checkpoints: Vec<ChainKey>,
    newest: (u64, ChainKey),
    is_age: bool,
    trusted: bool,
    epochs: BTreeMap<u64, Leaf>,
    seen: Option<u64>,
}

struct Leaf {
    number: u32,
    key: EpochKey,
    locators: Locators,
    /// How many slots it has.
    slots: u32,
    /// How many of them can be looked up.
    loaded: u32,
    /// How many records were found in it.
    found: u32,
    /// What of `Places::spare` is its own.
    spare: usize,
    /// `rfc9580`: the session key with which a record opened that proves its place or holds `K_j`, so that nobody but the
    /// writer made it.
    session_key: Option<Arc<SessionKey>>,
    /// C_j by PKESK digest and session key, for records of the profile `rfc9580`; one without for the others.
    secrets: Vec<([u8; 32], Option<Arc<SessionKey>>, ChainSecret)>,
}

impl Leaf {
    fn new(number: u32, key: EpochKey) -> Self {
        let locators = key.locators();
        Self { number, locators, key, slots: 0, loaded: 0, found: 0, spare: 0, session_key: None, secrets: Vec::new() }
    }

    /// How many slots may be ready for look-up on the strength of the records that were found.
    fn backed(&self) -> u32 {
        MIN_SLOTS.saturating_add(self.found.saturating_mul(2)).next_multiple_of(4)
    }
}

impl Places {
    /// Adds a stream that begins with `E_0` and has so many slots in epoch 0. Its number is the count of those before it.
    pub fn add_stream(&mut self, chain_key: &ChainKey, slots: u32, is_age: bool, trusted: bool) -> usize {
        let stream = self.add_spine(vec![chain_key.clone()], chain_key.clone(), is_age);
        self.spines[stream].trusted = trusted;
        self.to_widen.insert(stream);
        self.load(stream, 0, slots.clamp(1, MAX_SLOTS));
        stream
    }

    /// Adds a stream of which only single epochs' keys are known.
    pub fn add_orphan(&mut self, is_age: bool) -> usize {
        self.add_spine(Vec::new(), ChainKey::from_bytes([0; 32]), is_age)
    }

    /// Adds an epoch to a stream of which only single epochs' keys are known.
    pub fn add_epoch(&mut self, stream: usize, epoch: u64, key: EpochKey) {
        self.leaf(stream, epoch, key);
    }

    /// Something vouches for this stream.
    pub fn trust(&mut self, stream: usize) {
        let spine = &mut self.spines[stream];
        if !std::mem::replace(&mut spine.trusted, true) {
            let spare: usize = spine.epochs.values().map(|leaf| leaf.spare).sum();
            self.spare[0] -= spare;
            self.spare[1] += spare;
        }
    }

    fn add_spine(&mut self, checkpoints: Vec<ChainKey>, first: ChainKey, is_age: bool) -> usize {
        let epochs = BTreeMap::new();
        self.spines.push(Spine { checkpoints, newest: (0, first), is_age, trusted: false, epochs, seen: None });
        self.spines.len() - 1
    }

    fn leaf(&mut self, stream: usize, epoch: u64, key: EpochKey) -> &mut Leaf {
        let (numbers, epochs) = (&mut self.numbers, &mut self.spines[stream].epochs);
        epochs.entry(epoch).or_insert_with(|| {
            numbers.push((stream, epoch));
            Leaf::new(u32::try_from(numbers.len() - 1).expect("an epoch takes more memory than a byte"), key)
        })
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
        if spine.seen.is_none_or(|seen| seen < epoch) {
            spine.seen = Some(epoch);
            self.to_widen.insert(stream);
        }
    }

    /// Whether an epoch's key may be computed at somebody's word. It must lie near the newest epoch that was seen; what the
    /// streams that nothing vouches for ask for is limited in all, too.
    pub fn is_within_reach(&mut self, stream: usize, epoch: u64) -> bool {
        let spine = &self.spines[stream];
        if spine.seen.unwrap_or(0).saturating_add(MAX_JUMP) < epoch {
            return false;
        }
        let walked = (spine.checkpoints.len() as u64).saturating_sub(1) * CHECKPOINT;
        let ahead = epoch.saturating_sub(walked.max(spine.newest.0));
        if spine.trusted || ahead <= NEAR || spine.epochs.contains_key(&epoch) {
            return true;
        }
        let granted = self.walked + ahead <= MAX_WALK;
        self.walked += if granted { ahead } else { 0 };
        granted
    }

    /// Makes epochs that were not seen ready for look-up: their first records may be lost. Whether there was anything to do.
    pub fn widen(&mut self) -> bool {
        let (trusted, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.to_widen).into_iter().partition(|&stream| self.spines[stream].trusted);
        let mut any = false;
        for stream in trusted.into_iter().chain(others) {
            let spine = &self.spines[stream];
            if spine.checkpoints.is_empty() {
                continue;
            }
            let seen = spine.seen.unwrap_or(0);
            for epoch in seen.saturating_sub(BEHIND)..=seen.saturating_add(AHEAD) {
                if !self.spines[stream].epochs.contains_key(&epoch) {
                    self.load(stream, epoch, MAX_SLOTS);
                    any = true;
                }
            }
        }
        any
    }

    fn has_room(&self, stream: usize, slots: usize) -> bool {
        self.spare[usize::from(self.spines[stream].trusted)] + slots <= MAX_SPARE
    }

    /// Finds the place that a record proves.
    pub fn locate(&mut self, opened: &Opened) -> Located {
        let mut candidates = match opened.locator() {
            Some(Whereabouts::Locator(locator)) => self.look_up(&locator),
            Some(Whereabouts::Prefix(prefix)) => self.look_up_prefix(prefix),
            None => Vec::new(),
        };
        candidates.retain(|place| self.spines[place.stream].is_age == matches!(opened.seal, Seal::Age { .. }));
        for &place in &candidates {
            if let Some(kind) = self.prove(opened, place) {
                self.found(place);
                return Located::Proven(place, kind);
            }
        }
        for &place in &candidates {
            if let Some(kind) = self.prove_rewrapped(opened, place) {
                self.found(place);
                return Located::Rewrapped(place, kind);
            }
        }
        // Half a locator is met by chance too often to say anything.
        match (candidates.first(), &opened.seal) {
            (Some(&place), Seal::Rfc9580 { .. } | Seal::Rfc4880 { .. }) => Located::Disproven(place),
            _ => Located::Nowhere,
        }
    }

    /// The places that a locator names, without proof: one, if any.
    pub fn look_up(&self, locator: &Locator) -> Vec<Place> {
        self.between(*locator, *locator)
    }

    /// The places that half a locator may name, without proof.
    pub fn look_up_prefix(&self, prefix: [u8; 4]) -> Vec<Place> {
        let [a, b, c, d] = prefix;
        self.between([a, b, c, d, 0, 0, 0, 0], [a, b, c, d, 255, 255, 255, 255])
    }

    fn between(&self, first: Locator, last: Locator) -> Vec<Place> {
        let found = self.slots.range((first, 0, 0)..=(last, u32::MAX, u16::MAX));
        let place = |&(_, number, slot): &(Locator, u32, u16)| {
            let (stream, epoch) = self.numbers[number as usize];
            Place { stream, epoch, slot: slot.into() }
        };
        found.map(place).collect()
    }

    /// A record was found there: as many more slots of its epoch may be looked for.
    fn found(&mut self, place: Place) {
        let Some(leaf) = self.spines[place.stream].epochs.get_mut(&place.epoch) else { return };
        leaf.found = leaf.found.saturating_add(1);
        let slots = leaf.slots;
        if leaf.loaded < slots || leaf.spare > 0 {
            self.load(place.stream, place.epoch, slots);
        }
    }

    /// Whether the record proves this very place.
    pub fn prove(&mut self, opened: &Opened, place: Place) -> Option<Kind> {
        if !self.spines[place.stream].epochs.contains_key(&place.epoch) {
            // Only what is proven is remembered.
            let key = self.epoch_key(place.stream, place.epoch)?;
            let kind = opened.proves(place.slot, &key)?;
            self.leaf(place.stream, place.epoch, key);
            return Some(kind);
        }
        let leaf = self.spines[place.stream].epochs.get_mut(&place.epoch)?;
        let (digest, session_key) = match &opened.seal {
            Seal::Rfc9580 { pkesks_digest, session_key, .. } => (*pkesks_digest, Some(session_key)),
            Seal::Rfc4880 { .. } | Seal::Age { .. } => ([0; 32], None),
        };
        let locator = leaf.locators.slot(place.slot);
        // Both: a record may bring the PKESK packets of others and open with another session key, one that was tried.
        let same_key = |known: &Option<Arc<SessionKey>>| match (known, session_key) {
            (Some(known), Some(key)) => Arc::ptr_eq(known, key) || known.as_bytes() == key.as_bytes(),
            (known, key) => known.is_none() && key.is_none(),
        };
        if let Some((.., secret)) = leaf.secrets.iter().find(|(known, key, _)| *known == digest && same_key(key)) {
            return opened.proves_with(place.slot, &locator, secret);
        }
        let secret = opened.chain_secret(&leaf.key);
        let proven = opened.proves_with(place.slot, &locator, &secret);
        if proven.is_some() && leaf.secrets.len() < MAX_SECRETS {
            leaf.secrets.push((digest, session_key.cloned(), secret));
        }
        if let (Some(_), Seal::Rfc9580 { session_key, .. }) = (proven, &opened.seal) {
            leaf.session_key.get_or_insert_with(|| Arc::clone(session_key));
        }
        proven
    }

    /// Whether the record opens with the epoch's session key, which nobody has who cannot read the epoch, under the slot's
    /// locator: then only its PKESK packets are others than those that it was sealed with. A salt alone proves nothing here:
    /// it stands in the clear, for anybody to copy into a message of his own. In the profile `rfc9580`.
    fn prove_rewrapped(&self, opened: &Opened, place: Place) -> Option<Kind> {
        let Seal::Rfc9580 { session_key, kind, .. } = &opened.seal else { return None };
        let leaf = self.spines[place.stream].epochs.get(&place.epoch)?;
        let same = leaf.session_key.as_ref().is_some_and(|known| known.as_bytes() == session_key.as_bytes());
        let locator = leaf.locators.slot(place.slot);
        (same && opened.locator() == Some(Whereabouts::Locator(locator))).then_some(*kind)
    }

    /// Whether a record that says that it begins this epoch holds the epoch's key `carried`, under the first locator: then only
    /// its PKESK packets are others than those that it was sealed with, since nobody else knows that key, and the
    /// other records of the epoch are known by its session key. In the profile `rfc9580`.
    pub fn begins_rewrapped(&mut self, opened: &Opened, stream: usize, epoch: u64, carried: &EpochKey) -> bool {
        let Seal::Rfc9580 { session_key, kind: Kind::Control, .. } = &opened.seal else { return false };
        let first = Some(Whereabouts::Locator(carried.locators().slot(0)));
        if opened.locator() != first || self.spines[stream].checkpoints.is_empty() {
            return false;
        }
        let Some(key) = self.epoch_key(stream, epoch).filter(|key| key.equals(carried)) else { return false };
        self.leaf(stream, epoch, key).session_key.get_or_insert_with(|| Arc::clone(session_key));
        true
    }

    /// Makes the first `slots` slots of an epoch, and no others, ready for look-up, as far as there is room.
    fn load(&mut self, stream: usize, epoch: u64, slots: u32) {
        let Some(key) = self.epoch_key(stream, epoch) else { return };
        let leaf = self.leaf(stream, epoch, key);
        leaf.slots = slots;
        let (backed, slots) = (leaf.backed(), slots.next_multiple_of(4));
        let own = std::mem::take(&mut leaf.spare);
        let more = slots.saturating_sub(backed) as usize;
        self.spare[usize::from(self.spines[stream].trusted)] -= own;
        let has_room = self.has_room(stream, more);
        let spine = &mut self.spines[stream];
        let leaf = spine.epochs.get_mut(&epoch).expect("it was made");
        // What is ready stays so while the epoch can have it.
        let wanted = if has_room { slots } else { slots.min(backed.max(leaf.loaded)) };
        for quad in leaf.loaded.min(wanted) / 4..leaf.loaded.max(wanted) / 4 {
            for (slot, locator) in (quad * 4..).zip(leaf.locators.quad(quad)) {
                let entry = (locator, leaf.number, u16::try_from(slot).expect("an epoch has at most 16384 slots"));
                if slot < wanted {
                    self.slots.insert(entry);
                } else {
                    self.slots.remove(&entry);
                }
            }
        }
        leaf.loaded = wanted;
        leaf.spare = wanted.saturating_sub(backed) as usize;
        self.spare[usize::from(spine.trusted)] += leaf.spare;
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
