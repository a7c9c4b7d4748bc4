//! Places: which slot of which epoch of which stream a record proves to be sealed in.
//!
//! Promises: a place is found by look-up, whatever else the files hold, and believed only when the record's seal proves
//! it with a key that follows from the stream's `E_0`. Nothing that a record says of itself is believed before. Memory is
//! bounded but for some hundred bytes an epoch: the slots of epochs that are complete, and of all but the newest where
//! there are too many, are not ready for look-up; they are found by [`Places::recall`], which derives them anew for
//! all records that are looked for at once. How many slots an epoch announces, and how far a record claims to be from
//! the last one, costs no more time than the records that prove a place are worth.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use crate::chain::{ChainKey, ChainSecret, EpochKey, Kind, Locator, Locators, MAX_SLOTS, MIN_SLOTS};
use crate::record::open::{Opened, Seal, SessionKey, Whereabouts, Wrapped};

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
/// Session keys remembered for one epoch: one, but where it was forked or its PKESK packets were damaged.
const MAX_SECRETS: usize = 4;
/// No more slots than about this are ready for look-up.
const MAX_READY: usize = 2 * MAX_SPARE;
/// So many epochs have what follows from their keys at hand.
const MAX_HANDY: usize = 64;

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
    /// Epochs that are to be ready when something is looked up.
    pending: Vec<(usize, u64)>,
    /// Epochs of which slots are ready, the oldest first.
    ready: VecDeque<(usize, u64)>,
    /// Epochs with what follows from their keys at hand, the oldest first.
    handy: VecDeque<(usize, u64)>,
    /// What was recalled into `slots` last.
    recalled: Vec<(Locator, u32, u16)>,
}

/// What is looked for among the epochs that are not ready.
#[derive(Default)]
pub struct Wanted {
    locators: HashSet<Locator>,
    prefixes: HashSet<[u8; 4]>,
}

impl Wanted {
    /// Adds the place that a record shows.
    pub fn add(&mut self, place: Option<Whereabouts>) {
        match place {
            Some(Whereabouts::Locator(locator)) => drop(self.locators.insert(locator)),
            Some(Whereabouts::Prefix(prefix)) => drop(self.prefixes.insert(prefix)),
            None => {}
        }
    }

    fn has(&self, locator: &Locator) -> bool {
        self.locators.contains(locator)
            || (!self.prefixes.is_empty() && locator.first_chunk().is_some_and(|prefix| self.prefixes.contains(prefix)))
    }
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
    /// How many slots it has.
    slots: u32,
    /// How many of them can be looked up.
    loaded: u32,
    /// How many records were found in it.
    found: u32,
    /// What of `Places::spare` is its own.
    spare: u32,
    /// Nothing more is to be expected in it.
    complete: bool,
    /// `rfc9580`: the session key with which a record opened that proves its place or holds `K_j`, so that nobody but the
    /// writer made it.
    session_key: Option<SessionKey>,
    /// `rfc9580`: with which session keys, and PKESK packets of this digest, records of it were sealed.
    wrapped: Vec<Arc<Wrapped>>,
    handy: Option<Box<Handy>>,
}

/// What follows from an epoch's key.
struct Handy {
    locators: Locators,
    /// `C_j` by what it is bound to, for records of the profile `rfc9580`; one without for the others.
    secrets: Vec<(Option<Arc<Wrapped>>, ChainSecret)>,
}

impl Leaf {
    fn new(number: u32, key: EpochKey) -> Self {
        Self {
            number,
            key,
            slots: 0,
            loaded: 0,
            found: 0,
            spare: 0,
            complete: false,
            session_key: None,
            wrapped: Vec::new(),
            handy: None,
        }
    }

    /// What follows from the key; whether it had to be derived.
    fn handy(&mut self) -> (&mut Handy, bool) {
        let is_new = self.handy.is_none();
        let handy = self.handy.get_or_insert_with(|| {
            let secret = |wrapped: &Wrapped| self.key.bound_chain_secret(wrapped.session_key.as_bytes(), &wrapped.pkesks_digest);
            let secrets = self.wrapped.iter().map(|wrapped| (Some(Arc::clone(wrapped)), secret(wrapped))).collect();
            Box::new(Handy { locators: self.key.locators(), secrets })
        });
        (handy, is_new)
    }

    /// `C_j` for this record, if it is not at hand.
    fn secret_unless_handy(&mut self, opened: &Opened, wrapped: Option<&Arc<Wrapped>>) -> Option<ChainSecret> {
        let is_handy = self.handy().0.secrets.iter().any(|(known, _)| known.as_ref() == wrapped);
        (!is_handy).then(|| opened.chain_secret(&self.key))
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
        self.prepare(stream, 0, slots);
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
            let spare: usize = spine.epochs.values().map(|leaf| leaf.spare as usize).sum();
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

    /// Whether this is the key of an epoch that was found.
    pub fn has_key(&self, stream: usize, epoch: u64, key: &EpochKey) -> bool {
        self.spines[stream].epochs.get(&epoch).is_some_and(|leaf| leaf.key.equals(key))
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
        self.prepare(stream, epoch, slots);
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

    fn prepare(&mut self, stream: usize, epoch: u64, slots: u32) {
        let Some(key) = self.epoch_key(stream, epoch) else { return };
        self.leaf(stream, epoch, key).slots = slots.clamp(1, MAX_SLOTS);
        self.pending.push((stream, epoch));
    }

    fn load_pending(&mut self) {
        for (stream, epoch) in std::mem::take(&mut self.pending) {
            let leaf = self.spines[stream].epochs.get(&epoch).filter(|leaf| !leaf.complete);
            if let Some(slots) = leaf.map(|leaf| leaf.slots) {
                self.load(stream, epoch, slots);
            }
        }
    }

    /// Nothing more is to be expected in this epoch: its slots need not be ready.
    pub fn complete(&mut self, stream: usize, epoch: u64) {
        if let Some(leaf) = self.spines[stream].epochs.get_mut(&epoch).filter(|leaf| !leaf.complete) {
            (leaf.complete, leaf.handy) = (true, None);
            self.unload(stream, epoch);
        }
    }

    fn unload(&mut self, stream: usize, epoch: u64) {
        let spine = &mut self.spines[stream];
        let Some(leaf) = spine.epochs.get_mut(&epoch).filter(|leaf| leaf.loaded > 0) else { return };
        let locators = leaf.key.locators();
        for quad in 0..leaf.loaded.div_ceil(4) {
            for (slot, locator) in (quad * 4..).zip(locators.quad(quad)) {
                self.slots.remove(&(locator, leaf.number, u16::try_from(slot).expect("an epoch has at most 16384 slots")));
            }
        }
        self.spare[usize::from(spine.trusted)] -= std::mem::take(&mut leaf.spare) as usize;
        leaf.loaded = 0;
    }

    /// Makes those slots ready that are wanted, of all epochs that are known; what was recalled before is not any more.
    pub fn recall(&mut self, wanted: &Wanted) {
        self.load_pending();
        for entry in std::mem::take(&mut self.recalled) {
            let (stream, epoch) = self.numbers[entry.1 as usize];
            if self.spines[stream].epochs.get(&epoch).is_none_or(|leaf| leaf.loaded <= entry.2.into()) {
                self.slots.remove(&entry);
            }
        }
        if wanted.locators.is_empty() && wanted.prefixes.is_empty() {
            return;
        }
        for spine in &self.spines {
            for leaf in spine.epochs.values() {
                // What nothing vouches for is worth no more than was found of it.
                let all = leaf.slots.next_multiple_of(4);
                let known = if spine.trusted { all } else { all.min(leaf.backed()) };
                if leaf.loaded >= known {
                    continue;
                }
                let locators = leaf.key.locators();
                for quad in leaf.loaded / 4..known / 4 {
                    for (slot, locator) in (quad * 4..).zip(locators.quad(quad)).filter(|(_, locator)| wanted.has(locator)) {
                        let slot = u16::try_from(slot).expect("an epoch has at most 16384 slots");
                        self.recalled.push((locator, leaf.number, slot));
                    }
                }
            }
        }
        self.slots.extend(&self.recalled);
    }

    /// Finds the place that a record proves.
    pub fn locate(&mut self, opened: &Opened) -> Located {
        self.load_pending();
        let mut candidates = match opened.locator() {
            Some(Whereabouts::Locator(locator)) => self.look_up(&locator),
            Some(Whereabouts::Prefix(prefix)) => self.look_up_prefix(prefix),
            None => Vec::new(),
        };
        candidates.retain(|place| self.spines[place.stream].is_age == matches!(opened.seal, Seal::Age { .. }));
        for &place in &candidates {
            if let Some(kind) = self.prove(opened, place) {
                self.found(place.stream, place.epoch, 1);
                return Located::Proven(place, kind);
            }
        }
        for &place in &candidates {
            if let Some(kind) = self.prove_rewrapped(opened, place) {
                self.found(place.stream, place.epoch, 1);
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

    /// So many records were found in an epoch: as many more slots of it may be looked for.
    pub fn found(&mut self, stream: usize, epoch: u64, count: u32) {
        let Some(leaf) = self.spines[stream].epochs.get_mut(&epoch) else { return };
        leaf.found = leaf.found.saturating_add(count);
        let slots = leaf.slots;
        if leaf.loaded > 0 && (leaf.loaded < slots || leaf.spare > 0) {
            self.load(stream, epoch, slots);
        }
    }

    /// A record was proven, elsewhere, to be in an epoch: what it was sealed with tells others of the epoch whose PKESK
    /// packets were changed.
    pub fn was_proven(&mut self, stream: usize, epoch: u64, opened: &Opened) {
        self.found(stream, epoch, 1);
        let Some(wrapped) = opened.wrapped() else { return };
        let Some(leaf) = self.spines[stream].epochs.get_mut(&epoch) else { return };
        if leaf.wrapped.len() < MAX_SECRETS && !leaf.wrapped.contains(wrapped) {
            leaf.wrapped.push(Arc::clone(wrapped));
            leaf.handy = None;
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
        let wrapped = opened.wrapped().cloned();
        let secret = leaf.secret_unless_handy(opened, wrapped.as_ref());
        let (handy, is_new) = leaf.handy();
        let locator = handy.locators.slot(place.slot);
        let proven = match secret {
            None => {
                let known = handy.secrets.iter().find(|(known, _)| *known == wrapped);
                opened.proves_with(place.slot, &locator, &known.expect("else there is another").1)
            }
            Some(secret) => {
                let proven = opened.proves_with(place.slot, &locator, &secret);
                if proven.is_some() && handy.secrets.len() < MAX_SECRETS {
                    handy.secrets.push((wrapped.clone(), secret));
                    leaf.wrapped.extend(wrapped);
                }
                proven
            }
        };
        if is_new {
            self.keep_handy(place.stream, place.epoch);
        }
        if let (Some(_), Some(wrapped)) = (proven, opened.wrapped())
            && let Some(leaf) = self.spines[place.stream].epochs.get_mut(&place.epoch)
        {
            leaf.session_key.get_or_insert_with(|| wrapped.session_key.clone());
        }
        proven
    }

    /// What was derived last stays at hand, and what was before for long does not.
    fn keep_handy(&mut self, stream: usize, epoch: u64) {
        self.handy.push_back((stream, epoch));
        if self.handy.len() > MAX_HANDY
            && let Some((stream, epoch)) = self.handy.pop_front()
            && let Some(leaf) = self.spines[stream].epochs.get_mut(&epoch)
        {
            leaf.handy = None;
        }
    }

    /// Whether the record opens with the epoch's session key, which nobody has who cannot read the epoch, under the slot's
    /// locator: then only its PKESK packets are others than those that it was sealed with. A salt alone proves nothing here:
    /// it stands in the clear, for anybody to copy into a message of his own. In the profile `rfc9580`.
    fn prove_rewrapped(&mut self, opened: &Opened, place: Place) -> Option<Kind> {
        let Seal::Rfc9580 { wrapped, kind, .. } = &opened.seal else { return None };
        let leaf = self.spines[place.stream].epochs.get_mut(&place.epoch)?;
        let mut known = leaf.session_key.iter().chain(leaf.wrapped.iter().map(|wrapped| &wrapped.session_key));
        let same = known.any(|known| known.as_bytes() == wrapped.session_key.as_bytes());
        let (handy, is_new) = leaf.handy();
        let locator = handy.locators.slot(place.slot);
        if is_new {
            self.keep_handy(place.stream, place.epoch);
        }
        (same && opened.locator() == Some(Whereabouts::Locator(locator))).then_some(*kind)
    }

    /// Whether a record that says that it begins this epoch holds the epoch's key `carried`, under the first locator: then only
    /// its PKESK packets are others than those that it was sealed with, since nobody else knows that key, and the
    /// other records of the epoch are known by its session key. In the profile `rfc9580`.
    pub fn begins_rewrapped(&mut self, opened: &Opened, stream: usize, epoch: u64, carried: &EpochKey) -> bool {
        let Seal::Rfc9580 { wrapped, kind: Kind::Control, .. } = &opened.seal else { return false };
        let first = Some(Whereabouts::Locator(carried.locators().slot(0)));
        if opened.locator() != first || self.spines[stream].checkpoints.is_empty() {
            return false;
        }
        let Some(key) = self.epoch_key(stream, epoch).filter(|key| key.equals(carried)) else { return false };
        self.leaf(stream, epoch, key).session_key.get_or_insert_with(|| wrapped.session_key.clone());
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
        self.spare[usize::from(self.spines[stream].trusted)] -= own as usize;
        let has_room = self.has_room(stream, more);
        let spine = &mut self.spines[stream];
        let leaf = spine.epochs.get_mut(&epoch).expect("it was made");
        // What is ready stays so while the epoch can have it.
        let wanted = if has_room { slots } else { slots.min(backed.max(leaf.loaded)) };
        let (loaded, number) = (std::mem::replace(&mut leaf.loaded, wanted), leaf.number);
        leaf.spare = wanted.saturating_sub(backed);
        self.spare[usize::from(spine.trusted)] += leaf.spare as usize;
        if loaded == wanted {
            return;
        }
        let (handy, is_new) = leaf.handy();
        for quad in loaded.min(wanted) / 4..loaded.max(wanted) / 4 {
            for (slot, locator) in (quad * 4..).zip(handy.locators.quad(quad)) {
                let entry = (locator, number, u16::try_from(slot).expect("an epoch has at most 16384 slots"));
                if slot < wanted {
                    self.slots.insert(entry);
                } else {
                    self.slots.remove(&entry);
                }
            }
        }
        if is_new {
            self.keep_handy(stream, epoch);
        }
        if loaded == 0 {
            self.ready.push_back((stream, epoch));
        }
        while self.slots.len() > MAX_READY
            && let Some((stream, epoch)) = self.ready.pop_front()
        {
            self.unload(stream, epoch);
        }
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
