//! What is known of the ends of epochs: from later epochs of the same writer, from censuses, from the ledger.
//!
//! Promises: a value counts only if the epoch's own key gives it, so that nobody can have had it for fewer records; what a
//! later census leaves out is not held to be in use. The rules are those of `docs/format.md`, section "Settled epochs".
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use super::epoch::EpochState;
use super::{Census, Stream, Verifier};
use crate::audit::ledger::KnownEpoch;
use crate::audit::place::Place;
use crate::chain::{MAX_SLOTS, Progress};
use crate::control::{FoundProgress, Hex, StreamId, UsedEpoch, WriterId};

/// An epoch that was claimed at most so long before the stream's newest record may still be in use.
pub(super) const OPEN: Duration = Duration::from_secs(11 * 60);
/// Of one stream, epochs of which nothing is here are looked for at somebody's word up to this number; each costs two chains of
/// hashes.
const MAX_UNSEEN: usize = 4096;

/// No more values of censuses than this are kept of a stream that is trusted.
const MAX_VALUES: usize = 1 << 20;
/// No more of all other streams together.
const MAX_STRANGE_VALUES: usize = 1 << 16;

/// What is known of an epoch's end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    /// So many slots were used at least.
    pub at_least: u32,
    /// It says that the end was cut, not that the middle is gone.
    pub of_end: bool,
    /// Nothing more can have come.
    pub settled: bool,
    /// It was claimed and never used.
    pub unused: bool,
    /// When it was last told to be claimed by a writer that was alive.
    pub alive: Option<Timestamp>,
    /// A census that was taken after its claim does not know it: it had ended by then, or its value was lost.
    pub omitted: bool,
}

/// Evidence of one stream's epochs.
pub(super) type OfStream = BTreeMap<u64, Evidence>;

/// One value that is told of an epoch.
struct Telling {
    time: Timestamp,
    /// The number of the census, where that was taken after the epoch's claim.
    later: Option<usize>,
    value: FoundProgress,
}

impl Verifier {
    /// Remembers what a record tells of other epochs. What it leaves out counts against them, so it is kept whole or not.
    pub(super) fn census(&mut self, place: Place, time: Timestamp, values: Option<Vec<FoundProgress>>) {
        let Some(values) = values else { return };
        let stream = &mut self.streams[place.stream];
        let (kept, most) = match stream.anchored {
            true => (&mut stream.told_values, MAX_VALUES),
            false => (&mut self.strange_values, MAX_STRANGE_VALUES),
        };
        if *kept + values.len() > most {
            return;
        }
        *kept += values.len();
        self.censuses.push(Census { stream: place.stream, epoch: place.epoch, time, values });
    }

    /// All that is known of the ends of the epochs of each stream.
    pub(super) fn evidence(&mut self, ledger: &[HashMap<u64, KnownEpoch>]) -> Vec<OfStream> {
        let mut evidence: Vec<OfStream> = (0..self.streams.len()).map(|number| self.words_of_writers(number)).collect();
        for (known, of_stream) in ledger.iter().zip(&mut evidence) {
            for (&epoch, known) in known {
                let found = of_stream.entry(epoch).or_default();
                if known.count > found.at_least {
                    (found.at_least, found.of_end) = (known.count, true);
                }
                found.settled |= known.settled;
            }
        }
        self.words_of_censuses(&mut evidence);
        evidence
    }

    /// Each epoch's first record says how much of the one before its writer has used.
    fn words_of_writers(&mut self, number: usize) -> OfStream {
        let mut evidence = OfStream::new();
        let epochs = &self.streams[number].epochs;
        // Of an epoch whose slots are all there nothing can be said that is not known.
        let is_full =
            |before: &UsedEpoch| epochs.get(&before.epoch).is_some_and(|state| state.is_full() && before.used <= state.next);
        let befores: Vec<_> = epochs
            .iter()
            .filter_map(|(&epoch, state)| state.before.filter(|before| before.epoch < epoch && !is_full(before)))
            .collect();
        for before in befores {
            // Only who had the epoch's progress at that slot knows its value.
            let Some(mut progress) = self.places.epoch_key(number, before.epoch).map(|key| key.memory_progress()) else {
                continue;
            };
            progress.advance_to(before.used.min(MAX_SLOTS));
            if *progress.value() == before.progress.0 {
                let found: &mut Evidence = evidence.entry(before.epoch).or_default();
                (found.at_least, found.settled) = (found.at_least.max(before.used), true);
            }
        }
        evidence
    }

    fn words_of_censuses(&mut self, evidence: &mut [OfStream]) {
        let followers = self.followers();
        let ids = self.by_ids();
        let mut told: BTreeMap<(usize, u64), Vec<Telling>> = BTreeMap::new();
        // The epochs in which censuses were taken, of each stream.
        let mut taken: Vec<Vec<u64>> = vec![Vec::new(); self.streams.len()];
        for (at, census) in std::mem::take(&mut self.censuses).into_iter().enumerate() {
            taken[census.stream].push(census.epoch);
            let anchored = self.streams[census.stream].anchored;
            for value in census.values {
                let of = match value.stream {
                    None => Some(census.stream),
                    Some(id) => ids.get(&id).copied().filter(|_| anchored),
                };
                let Some(of) = of else { continue };
                let is_later =
                    if of == census.stream { census.epoch > value.epoch } else { followers[of].contains(&census.stream) };
                let telling = Telling { time: census.time, later: is_later.then_some(at), value };
                told.entry((of, telling.value.epoch)).or_default().push(telling);
            }
        }
        for (number, stream) in self.streams.iter_mut().enumerate() {
            for value in std::mem::take(&mut stream.last) {
                told.entry((number, value.epoch)).or_default().push(Telling { time: Timestamp::MIN, later: None, value });
            }
        }
        taken.iter_mut().for_each(|epochs| epochs.sort_unstable());
        let (mut unseen, mut named) = (vec![0; self.streams.len()], HashMap::new());
        for ((number, epoch), tellings) in told {
            // To find out for which slots values stand takes as many hashes; where all slots are there, none of it counts.
            if self.streams[number].epochs.get(&epoch).is_some_and(EpochState::is_full) {
                continue;
            }
            let is_seen = self.streams[number].epochs.contains_key(&epoch);
            unseen[number] += usize::from(!is_seen);
            if (is_seen || unseen[number] <= MAX_UNSEEN) && self.places.is_within_reach(number, epoch) {
                let found = evidence[number].entry(epoch).or_default();
                named.insert((number, epoch), self.weigh(number, epoch, tellings, found));
            }
        }
        for (number, of_stream) in evidence.iter_mut().enumerate().filter(|(number, _)| self.streams[*number].state) {
            let by_followers: usize = followers[number].iter().map(|&follower| taken[follower].len()).sum();
            let epochs: BTreeSet<u64> = self.streams[number].epochs.keys().chain(of_stream.keys()).copied().collect();
            for epoch in epochs {
                let own = taken[number].len() - taken[number].partition_point(|&census| census <= epoch);
                let named = named.get(&(number, epoch)).copied().unwrap_or(0);
                of_stream.entry(epoch).or_default().omitted = named < own + by_followers;
            }
        }
    }

    /// The stream of each id: one that is trusted before one that only says that it has it.
    fn by_ids(&self) -> HashMap<StreamId, usize> {
        let mut ids = HashMap::new();
        for (number, stream) in self.streams.iter().enumerate() {
            let known = ids.entry(stream.id).or_insert(number);
            if stream.anchored && !self.streams[*known].anchored {
                *known = number;
            }
        }
        ids
    }

    /// What is told of one epoch. In how many later censuses it stands with a value that is its own.
    fn weigh(&mut self, number: usize, epoch: u64, tellings: Vec<Telling>, found: &mut Evidence) -> usize {
        let Some(key) = self.places.epoch_key(number, epoch) else { return 0 };
        let slots = self.streams[number].epochs.get(&epoch).and_then(|state| state.slots).unwrap_or(MAX_SLOTS);
        let values =
            |which: fn(&FoundProgress) -> Option<Hex<32>>| tellings.iter().filter_map(move |telling| which(&telling.value));
        let memory = slots_of(key.memory_progress(), values(|value| value.memory).collect(), slots);
        let disk = slots_of(key.disk_progress(), values(|value| value.disk).collect(), slots);
        let mut named: BTreeSet<usize> = BTreeSet::new();
        for Telling { time, later, value } in &tellings {
            let reached = value.memory.and_then(|value| memory.get(&value).copied());
            let on_disk = value.disk.and_then(|value| disk.get(&value).copied());
            if reached.max(on_disk).is_some_and(|slots| slots > found.at_least) {
                (found.at_least, found.of_end) = (reached.max(on_disk).unwrap_or(0), true);
            }
            let Some(reached) = reached else { continue };
            // Who only names an epoch does not vouch for it: its value must be right.
            named.extend(later);
            if value.live {
                found.alive = found.alive.max(Some(*time));
            } else {
                (found.settled, found.unused) = (true, found.unused || reached == 0);
            }
        }
        named.len()
    }

    /// For each stream the trusted streams that keep state and follow it, and those that follow them.
    pub(super) fn followers(&self) -> Vec<HashSet<usize>> {
        let mut next: HashMap<_, Vec<usize>> = HashMap::new();
        for (number, stream) in self.streams.iter().enumerate().filter(|(_, stream)| stream.anchored && stream.state) {
            if let Some(follows) = &stream.follows {
                next.entry(follows.genesis).or_default().push(number);
            }
        }
        let of_one = |number: usize| {
            let (mut followers, mut todo) = (HashSet::new(), vec![number]);
            while let Some(at) = todo.pop() {
                let found = self.streams[at].genesis.and_then(|genesis| next.get(&genesis)).into_iter().flatten();
                todo.extend(found.copied().filter(|&follower| follower != number && followers.insert(follower)));
            }
            followers
        };
        (0..self.streams.len()).map(of_one).collect()
    }
}

/// What tells whether an epoch of a stream may still be in use.
pub(super) struct Latest {
    /// The time of the newest record of the stream and of the trusted ones that follow it.
    newest: Timestamp,
    /// The newest epoch that each writer has used.
    of_writers: HashMap<WriterId, u64>,
}

impl Latest {
    /// Of a stream and those that follow it.
    pub(super) fn of(stream: &Stream, followers: impl Iterator<Item = Timestamp>) -> Self {
        // One that was claimed ahead and given back unused stands before the end of the one in use.
        let used = stream.epochs.iter().filter(|(_, state)| state.close != Some(1));
        let of_writers = used.filter_map(|(&epoch, state)| Some((state.writer?, epoch))).collect();
        Self { newest: followers.fold(stream.newest, Timestamp::max), of_writers }
    }

    /// Whether an epoch without an end may still be in use: its writer's newest, claimed a short time ago, and known to every
    /// census that was taken since.
    pub(super) fn is_open(&self, epoch: u64, state: &EpochState, found: &Evidence) -> bool {
        let Some(claimed) = state.claimed else { return false };
        let newer = state.writer.and_then(|writer| self.of_writers.get(&writer)).is_some_and(|&newest| newest > epoch);
        !newer && !found.omitted && self.is_recent(claimed)
    }

    /// Whether something of this time may still go on where the newest record was written.
    pub(super) fn is_recent(&self, time: Timestamp) -> bool {
        is_within(OPEN, time, self.newest)
    }
}

/// Whether `later` is at most so long after `time`.
pub(super) fn is_within(span: Duration, time: Timestamp, later: Timestamp) -> bool {
    Duration::try_from(later.duration_since(time)).map_or(true, |age| age <= span)
}

/// For how many slots each of these values of a progress stands, up to `slots`.
fn slots_of(mut progress: Progress, mut wanted: HashSet<Hex<32>>, slots: u32) -> HashMap<Hex<32>, u32> {
    let mut found = HashMap::new();
    for at in 0..=slots.min(MAX_SLOTS) {
        if wanted.is_empty() {
            break;
        }
        progress.advance_to(at);
        if let Some(value) = wanted.take(&Hex(*progress.value())) {
            found.insert(value, at);
        }
    }
    found
}
