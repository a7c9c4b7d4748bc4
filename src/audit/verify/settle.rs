//! What the files do not have: settling every epoch, and giving every lack and every damage its name.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use jiff::Timestamp;

use super::epoch::{EpochState, Hole};
use super::evidence::{Latest, OPEN, OfStream, is_within};
use super::lack::Lack;
use super::{KnownGenesis, MAX_UNPLACED, Position, Report, Stream, TornTold, Verifier};
use crate::audit::finding::{Finding, Kind as Finds, Severity, Summary};
use crate::audit::ledger::{KnownEpoch, KnownStream, Ledger};
use crate::audit::place::{Located, Place, Wanted};
use crate::audit::read::{Damage, Record, Why};
use crate::chain::MAX_SLOTS;
use crate::control::SecretHex;
use crate::record::age::AgeFile;
use crate::record::open::Whereabouts;
use crate::record::openpgp::{Malformed, Message};
use crate::record::seipd2::Seipd2;
use crate::record::{MAX_RECORD, framing};

/// Writers claim epochs in order and begin them within 10 minutes: not before more than so many earlier ones.
const MAX_OVERTAKEN: usize = 32;

/// Epochs that the writer of an unsettled one may have claimed ahead, so that nothing of them came to the file.
struct MayBeUnused {
    /// When that one was claimed.
    claimed: Timestamp,
    left: u64,
}

impl MayBeUnused {
    /// A writer claims one ahead, and one that it begins at once.
    const MOST: u64 = 2;

    /// Takes as many from `all`, where one that was claimed at `after` or before came right before them.
    fn take(all: &mut [Self], count: u64, after: Option<Timestamp>) -> bool {
        let could = |this: &Self| after.is_none_or(|after| is_within(OPEN, this.claimed, after));
        if all.iter().filter(|this| could(this)).map(|this| this.left).sum::<u64>() < count {
            return false;
        }
        let mut needed = count;
        for this in all.iter_mut().filter(|this| could(this)) {
            let taken = this.left.min(needed);
            (this.left, needed) = (this.left - taken, needed - taken);
        }
        true
    }
}

impl Verifier {
    /// Weighs what is there and what is not. Nothing can be fed any more.
    pub fn finish(mut self) -> Report {
        self.end_runs();
        self.place_late(true);
        self.anchor();
        let mut damages = std::mem::take(&mut self.damages);
        damages.sort_by_key(|(file, damage, _)| (*file, damage.offset));
        self.name_by_locator(&mut damages);
        let mut lacks = Vec::new();
        let ledger: Vec<_> = (0..self.streams.len()).map(|number| self.known_epochs(number)).collect();
        let evidence = self.evidence(&ledger);
        let followers = self.followers();
        for (number, (known, evidence)) in ledger.iter().zip(&evidence).enumerate() {
            self.settle_stream(number, known, evidence, &followers[number], &mut lacks);
        }
        self.give_damage_to_lacks(lacks, &mut damages);
        self.check_heads(&mut damages);
        self.name_damage(damages);
        self.check_streams();
        self.report()
    }

    /// Records that had no place may have one now that more epochs are known: at the end, or because there is no room for
    /// more of them.
    pub(super) fn place_late(&mut self, at_end: bool) {
        if self.unplaced.is_empty() && self.damages.is_empty() {
            return;
        }
        self.places.widen();
        let mut wanted = Wanted::default();
        self.unplaced.iter().for_each(|(_, record)| wanted.add(record.opened.locator()));
        self.places.recall(&wanted);
        let mut unplaced = Vec::new();
        for (file, record) in std::mem::take(&mut self.unplaced) {
            match self.locate(&record) {
                Some((place, kind, rewrapped)) => {
                    self.place(file, &record, place, kind, rewrapped);
                }
                None => unplaced.push((file, record)),
            }
        }
        self.unplaced_size = 0;
        // What shows a place that no other record proves was changed there; of all others somebody else is the author.
        for (file, record) in unplaced {
            let place = match self.places.locate(&record.opened) {
                Located::Disproven(place) if !self.is_filled(place) => Some(place),
                _ => None,
            };
            let size = record.opened.body.len() + size_of::<Record>();
            match place {
                // Another record may come yet that proves it.
                Some(_) if !at_end && self.unplaced_size + size <= MAX_UNPLACED / 2 => {
                    self.unplaced_size += size;
                    self.unplaced.push((file, record));
                }
                Some(place) if at_end => self.see_altered(place, file, record.offset, record.length),
                _ => self.tell(Finds::Foreign, file, record.offset, record.length, |finding| finding.count(1)),
            }
        }
    }

    fn is_filled(&mut self, place: Place) -> bool {
        self.digest(place).is_some()
    }

    /// A record is there that shows its place, in whatever condition: from here on the slot counts as seen.
    fn see_altered(&mut self, place: Place, file: usize, offset: u64, length: u64) {
        self.see(place, u64::MAX);
        let stream = &mut self.streams[place.stream];
        let id = stream.id;
        let state = stream.epochs.entry(place.epoch).or_default();
        if state.fill(place.slot, file, offset, offset + length).is_none() && place.slot >= state.next {
            if place.slot > state.next {
                let (from, to, after) = (state.next, place.slot, state.last_end);
                state.holes.push(Hole { from, to, file, after, before: offset });
            }
            state.next = place.slot + 1;
        }
        self.tell(Finds::Altered, file, offset, length, |finding| finding.of(id).slot(place.epoch, place.slot).count(1));
    }

    /// A stream is anchored that a record of an anchored stream names, and so on.
    fn anchor(&mut self) {
        for stream in &mut self.streams {
            stream.anchored |= stream.genesis.is_some_and(|genesis| self.vouched.contains(&genesis));
        }
    }

    /// A record that does not open may still show its place: salt and nonce stand in the clear.
    fn name_by_locator(&mut self, damages: &mut [(usize, Damage, bool)]) {
        let shown: Vec<_> = damages.iter().map(|(file, damage, _)| self.shown_place(*file, damage)).collect();
        let mut wanted = Wanted::default();
        shown.iter().for_each(|&shown| wanted.add(shown));
        self.places.recall(&wanted);
        for ((file, damage, named), shown) in damages.iter_mut().zip(shown) {
            let place = match shown {
                Some(Whereabouts::Locator(locator)) => self.places.look_up(&locator).first().copied(),
                Some(Whereabouts::Prefix(prefix)) => match self.places.look_up_prefix(prefix)[..] {
                    [place] => Some(place),
                    _ => None,
                },
                None => None,
            };
            if let Some(place) = place.filter(|&place| !self.is_filled(place)) {
                *named = true;
                self.see_altered(place, *file, damage.offset, damage.length);
            }
        }
    }

    fn shown_place(&self, file: usize, damage: &Damage) -> Option<Whereabouts> {
        if damage.heads != 1 || damage.length > 2 * MAX_RECORD as u64 || damage.why == Why::CutShort {
            return None;
        }
        let bytes = self.bytes_of(file, damage)?;
        if let Ok(message) = Message::parse(&bytes) {
            // Where more stands behind it, others may have lost their heads there.
            if message.len != bytes.len() {
                return None;
            }
            return Seipd2::parse(message.seipd).ok()?.salt.first_chunk().copied().map(Whereabouts::Locator);
        }
        AgeFile::parse(&bytes).ok()?.nonce.first_chunk().copied().map(Whereabouts::Prefix)
    }

    /// The damaged bytes without their framing, if they are a line of base64.
    fn bytes_of(&self, file: usize, damage: &Damage) -> Option<Vec<u8>> {
        let length = usize::try_from(damage.length).ok().filter(|&length| length <= 2 * MAX_RECORD)?;
        let mut bytes = vec![0; length];
        File::open(&self.files[file].path).and_then(|file| file.read_exact_at(&mut bytes, damage.offset)).ok()?;
        let mut record = Vec::new();
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if !line.contains(&b'\n') && framing::read_line(line, &mut record) {
            return Some(record);
        }
        Some(bytes)
    }

    fn settle_stream(
        &mut self,
        number: usize,
        known: &HashMap<u64, KnownEpoch>,
        evidence: &OfStream,
        followers: &HashSet<usize>,
        lacks: &mut Vec<Lack>,
    ) {
        let stream = &self.streams[number];
        let latest = Latest::of(stream, followers.iter().map(|&follower| self.streams[follower].newest));
        let present = |state: &EpochState| state.next > 1 || (state.first.is_some());
        let newest = stream.epochs.iter().rev().find(|(_, state)| present(state)).map(|(&epoch, _)| epoch);
        let oldest = stream.epochs.iter().find(|(_, state)| present(state)).map(|(&epoch, _)| epoch);
        let last_known = known.keys().max().copied();
        let Some(newest_here) = newest.or_else(|| stream.epochs.keys().next_back().copied()) else {
            // A stream that came to its end may have been removed as a whole after an audit.
            let has_ended = (!stream.state || !followers.is_empty()) && known.values().all(|known| known.settled);
            if stream.anchored && !known.is_empty() && !has_ended {
                let message = format!("the ledger knows the log {} of {}, and no record of it is here", stream.log, stream.host);
                let finding = Finding::new(Finds::Missing, message).of(stream.id);
                self.findings.push(((usize::MAX, 0), finding));
            }
            return;
        };
        let last = newest_here
            .max(last_known.unwrap_or(0))
            .max(evidence.iter().filter(|(_, found)| found.at_least > 0).map(|(&epoch, _)| epoch).max().unwrap_or(0));
        let first = oldest.unwrap_or(0);
        // Of a writer that was killed at once nothing is there, or the genesis alone.
        let has_ended = |epoch: u64| {
            let there = self.streams[number].epochs.get(&epoch).map_or(0, |state| state.next);
            evidence.get(&epoch).is_some_and(|found| found.settled && found.at_least <= there)
        };
        if first > 0 && oldest.is_some() && !(0..first).all(has_ended) {
            self.lack_prefix(number, first, known, lacks);
        }
        let (mut may_be_unused, mut last_claimed) = (Vec::new(), None::<Timestamp>);
        // Of which epochs anything is known; what lies between them is one lack each.
        let is_orphan = self.streams[number].genesis.is_none();
        let mut told: BTreeSet<u64> =
            evidence.keys().copied().filter(|epoch| (first..=last).contains(epoch) && !is_orphan).collect();
        told.extend(self.streams[number].epochs.range(first..=last).map(|(&epoch, _)| epoch));
        let mut expected = first;
        for epoch in told {
            if epoch > expected && !is_orphan {
                let is_unproven = MayBeUnused::take(&mut may_be_unused, epoch - expected, last_claimed);
                let kind = if is_unproven { Finds::Unproven } else { Finds::Missing };
                let at_most = is_unproven.then(|| (epoch - expected) * u64::from(MAX_SLOTS));
                let regions = self.regions_between(number, expected);
                let message = match epoch - expected {
                    1 => format!("no record of epoch {expected} is here"),
                    count => format!("no record of {count} epochs from {expected} on is here"),
                };
                lacks.push(Lack { kind, stream: number, epoch: expected, slot: 0, count: None, at_most, regions, message });
            }
            expected = epoch.saturating_add(1);
            let found = evidence.get(&epoch).copied().unwrap_or_default();
            let stream = &self.streams[number];
            match stream.epochs.get(&epoch) {
                Some(state) => {
                    last_claimed = last_claimed.max(state.claimed);
                    for hole in &state.holes {
                        let count = Some(u64::from(hole.to - hole.from));
                        let regions = vec![(hole.file, hole.after, hole.before)];
                        lacks.push(Lack {
                            kind: Finds::Missing,
                            stream: number,
                            epoch,
                            slot: hole.from,
                            count,
                            at_most: None,
                            regions,
                            message: String::new(),
                        });
                    }
                    let file = state.first.map_or(0, |(file, _)| file);
                    if found.at_least > state.next {
                        let kind = if found.of_end { Finds::Truncated } else { Finds::Missing };
                        let (slot, count) = (state.next, Some(u64::from(found.at_least - state.next)));
                        let regions = vec![(file, state.last_end, u64::MAX)];
                        lacks.push(Lack {
                            kind,
                            stream: number,
                            epoch,
                            slot,
                            count,
                            at_most: None,
                            regions,
                            message: String::new(),
                        });
                    }
                    let settled = state.slots == Some(state.next) || state.close.is_some() || found.settled;
                    if settled {
                        let count = state.next;
                        self.streams[number].settled.insert(epoch, count);
                    } else if !latest.is_open(epoch, state, &found) {
                        let claimed = state.claimed.unwrap_or(state.newest);
                        may_be_unused.push(MayBeUnused { claimed, left: MayBeUnused::MOST });
                        let at_most = u64::from(state.slots.unwrap_or(MAX_SLOTS).saturating_sub(state.next.max(found.at_least)));
                        let (next, id, end) = (state.next, stream.id, state.last_end);
                        let from = state.newest.max(state.claimed.unwrap_or(state.newest));
                        self.tell(Finds::Unproven, file, end, 0, |mut finding| {
                            finding.message = format!(
                                "epoch {epoch} has no end: at most {at_most} records after slot {} may be missing, from {from:.0} on for at most ten minutes",
                                next.saturating_sub(1)
                            );
                            finding.of(id).slot(epoch, next).count(at_most)
                        });
                    }
                }
                None if found.unused => {
                    self.streams[number].settled.insert(epoch, 0);
                }
                // Claimed ahead by a writer that lives; nothing shows that it was used.
                None if found.at_least == 0 && found.alive.is_some_and(|at| !found.omitted && latest.is_recent(at)) => {}
                None if found.at_least == 0 && found.alive.is_some() => {
                    let id = stream.id;
                    let (file, offset, _) = self.regions_between(number, epoch).first().copied().unwrap_or((0, 0, 0));
                    self.tell(Finds::Unproven, file, offset, 0, |mut finding| {
                        finding.message = format!("epoch {epoch} was claimed, and whether it was used is not known");
                        finding.of(id).slot(epoch, 0).count(u64::from(MAX_SLOTS))
                    });
                }
                None => {
                    let is_last = known.contains_key(&epoch) && newest.is_none_or(|newest| epoch > newest);
                    let kind = if is_last || found.of_end { Finds::Truncated } else { Finds::Missing };
                    let count = (found.at_least > 0).then_some(u64::from(found.at_least));
                    let regions = self.regions_between(number, epoch);
                    let message = format!("no record of epoch {epoch} is here");
                    lacks.push(Lack { kind, stream: number, epoch, slot: 0, count, at_most: None, regions, message });
                }
            }
        }
        self.check_order_of_epochs(number);
    }

    /// Everything before the first epoch that is here: removed on purpose, or not.
    fn lack_prefix(&mut self, number: usize, first: u64, known: &HashMap<u64, KnownEpoch>, lacks: &mut Vec<Lack>) {
        let stream = &self.streams[number];
        if (0..first).all(|epoch| known.get(&epoch).is_some_and(|known| known.settled)) {
            return;
        }
        let Some(state) = stream.epochs.get(&first) else { return };
        let (file, offset) = state.first.unwrap_or((0, 0));
        let oldest = state.claimed.unwrap_or(state.newest);
        let removed = self
            .trust
            .retention
            .is_some_and(|age| Duration::try_from(self.trust.now.duration_since(oldest)).is_ok_and(|is| is >= age))
            // Nothing in a stream is older than its beginning: such a date was made up.
            && oldest >= stream.began;
        let kind = if removed { Finds::Unproven } else { Finds::Missing };
        let message =
            format!("all records before epoch {first} are missing: the files that begin before {oldest:.0} are not here");
        let regions = vec![(file, 0, offset)];
        lacks.push(Lack { kind, stream: number, epoch: 0, slot: 1, count: None, at_most: None, regions, message });
    }

    /// Where an epoch of which nothing is here would stand.
    fn regions_between(&self, number: usize, epoch: u64) -> Vec<(usize, u64, u64)> {
        let epochs = &self.streams[number].epochs;
        let after =
            epochs.range(epoch.saturating_add(1)..).find_map(|(_, state)| state.first).map(|(file, offset)| (file, 0, offset));
        let before =
            epochs.range(..epoch).rev().find_map(|(_, state)| state.first.map(|(file, _)| (file, state.last_end, u64::MAX)));
        match (before, after) {
            (Some((file, from, _)), Some((same, _, to))) if file == same => vec![(file, from.min(to), to)],
            (before, after) => before.into_iter().chain(after).collect(),
        }
    }

    fn known_epochs(&self, number: usize) -> HashMap<u64, KnownEpoch> {
        let genesis = self.streams[number].genesis;
        let ledger = self.trust.ledger.iter().flat_map(|ledger| &ledger.streams).find(|known| Some(known.genesis) == genesis);
        ledger.map(|known| known.epochs.iter().map(|known| (known.epoch, *known)).collect()).unwrap_or_default()
    }

    /// A writer's epochs follow each other, and no epoch stands where a later one was begun before many earlier ones.
    fn check_order_of_epochs(&mut self, number: usize) {
        let stream = &self.streams[number];
        let end = |epoch: u64| stream.epochs.get(&epoch).and_then(|state| Some((state.first?.0, state.last_end)));
        let returned = stream.returned();
        let mut moved: Vec<(u64, Position, String)> = stream
            .epochs
            .iter()
            .filter_map(|(&epoch, state)| {
                let (first, before) = (state.first?, end(state.before?.epoch)?);
                let message = || format!("epoch {epoch} stands before the end of the one that its writer used before it");
                let elsewhere = first.0 != before.0 && returned.contains(&epoch);
                (first < before && !elsewhere).then(|| (epoch, first, message()))
            })
            .collect();
        let firsts: Vec<_> = stream.epochs.iter().filter_map(|(&epoch, state)| Some((epoch, state.first?))).collect();
        for ((epoch, first), before) in firsts.iter().zip(earlier_behind(&firsts)) {
            if before > MAX_OVERTAKEN && !returned.contains(epoch) && !moved.iter().any(|(told, ..)| told == epoch) {
                let message = format!("epoch {epoch} stands before {before} epochs that were claimed before it");
                moved.push((*epoch, *first, message));
            }
        }
        let id = stream.id;
        for (epoch, (file, offset), message) in moved {
            self.tell(Finds::Reordered, file, offset, 0, |mut finding| {
                finding.message = message;
                finding.of(id).slot(epoch, 0)
            });
        }
    }

    /// Every file begins as files do.
    fn check_heads(&mut self, damages: &mut [(usize, Damage, bool)]) {
        let mut first_alarms: HashMap<usize, u64> = HashMap::new();
        for ((file, offset), _) in self.findings.iter().filter(|(_, finding)| finding.severity == Severity::Alarm) {
            let first = first_alarms.entry(*file).or_insert(*offset);
            *first = (*first).min(*offset);
        }
        for file in 0..self.files.len() {
            let state = &self.files[file];
            let (is_empty, late) = (state.last_end == 0, state.begins_late);
            if !state.headed && !is_empty {
                let first = damages.partition_point(|(at, _, _)| *at < file);
                match damages.get_mut(first).filter(|(at, damage, named)| *at == file && damage.offset == 0 && !named) {
                    Some((_, damage, named)) => {
                        *named = true;
                        let length = damage.length;
                        self.tell(Finds::Altered, file, 0, length, |mut finding| {
                            finding.message = "the genesis record at the head of the file was changed".to_owned();
                            finding.count(1)
                        });
                    }
                    None => self.tell(Finds::Missing, file, 0, 0, |mut finding| {
                        finding.message = "the genesis record at the head of the file is not there".to_owned();
                        finding.count(1)
                    }),
                }
                continue;
            }
            let told = |until: u64| first_alarms.get(&file).is_some_and(|&first| first <= until);
            if let Some(offset) = late.filter(|&offset| !told(offset)) {
                self.tell(Finds::Missing, file, 0, 0, |mut finding| {
                    finding.message =
                        format!("the beginning of the file is not there: the record at byte {offset} cannot be its first");
                    finding
                });
            }
        }
    }

    /// What is left of damage: writes that did not end, records without a known place, and plain garbage.
    fn name_damage(&mut self, damages: Vec<(usize, Damage, bool)>) {
        // By where the fragment is said to begin: the shortest one that is told of there.
        let mut resumes: HashMap<Position, u64> = HashMap::new();
        for TornTold { file, length, torn } in std::mem::take(&mut self.resumes) {
            let shortest = resumes.entry((file, length - torn.min(length))).or_insert(torn);
            *shortest = torn.min(*shortest);
        }
        for (file, damage, named) in damages {
            if named {
                continue;
            }
            let (offset, length) = (damage.offset, damage.length);
            let told = resumes.get(&(file, offset)).is_some_and(|&torn| torn <= length);
            let kind = if damage.repeated || damage.why == Why::CutShort || told || self.is_cut(file, &damage) {
                Finds::Torn
            } else if damage.heads > 0 {
                Finds::Altered
            } else {
                Finds::Garbage
            };
            self.tell(kind, file, offset, length, |mut finding| {
                finding.message = match (kind, damage.why) {
                    (Finds::Torn, _) => "a record whose writing did not end".to_owned(),
                    (_, Why::NoKey) => "a record for other keys, or one whose keys were changed".to_owned(),
                    (Finds::Altered, _) => "a record that does not open, of which no place is known".to_owned(),
                    _ => "bytes that are no record".to_owned(),
                };
                if damage.heads > 0 { finding.count(damage.heads as u64) } else { finding }
            });
        }
    }

    /// Whether a record begins there that is shorter than it says.
    fn is_cut(&self, file: usize, damage: &Damage) -> bool {
        damage.heads == 1
            && self.bytes_of(file, damage).is_some_and(|bytes| matches!(Message::parse(&bytes), Err(Malformed::Short)))
    }

    fn check_streams(&mut self) {
        for (file, offset, length, genesis) in std::mem::take(&mut self.named) {
            if !self.by_genesis.contains_key(&genesis) {
                self.tell(Finds::Missing, file, offset, length, |mut finding| {
                    finding.message = format!("the stream with genesis {genesis}, which this record names, is not here");
                    finding
                });
            }
        }
        // Who gives the fingerprints of many logs need not look at all of them; but there must be one.
        if !self.trust.genesis.is_empty() && !self.trust.genesis.iter().any(|genesis| self.by_genesis.contains_key(genesis)) {
            // Older files may be gone for good, and their stream with them.
            let kind = if self.trust.retention.is_some() { Finds::Unproven } else { Finds::Missing };
            let message = "there is no record of a stream whose genesis fingerprint was given";
            self.findings.push(((usize::MAX, 0), Finding::new(kind, message)));
        }
        for (number, followers) in self.followers().iter().enumerate() {
            let stream = &self.streams[number];
            if stream.epochs.is_empty() {
                continue;
            }
            let id = stream.id;
            if let Some(since) = self.trust.marked_since
                && stream.state
                && !stream.marks.iter().any(|&mark| mark >= since)
                && followers.is_empty()
            {
                let message = format!("the log {} of {} has no mark since {since:.0}", stream.log, stream.host);
                self.findings.push(((usize::MAX, 1), Finding::new(Finds::Unmarked, message).of(id)));
            }
            let stream = &self.streams[number];
            if stream.anchored && !(stream.by_files && self.replaces(number)) {
                continue;
            }
            let Some(genesis) = stream.genesis else {
                let message =
                    "the genesis of this stream is lost; its records were checked against the keys that they bring themselves";
                self.findings.push(((usize::MAX, 2), Finding::new(Finds::Unanchored, message).of(id)));
                continue;
            };
            let (kind, message) = if self.replaces(number) {
                let message = format!(
                    "the log {} of {} has another stream, which this one (genesis {genesis}) does not name as the one that it follows",
                    stream.log, stream.host
                );
                (Finds::Replaced, message)
            } else {
                let message = format!(
                    "nothing that is trusted vouches for the stream of {} on {}; compare its genesis fingerprint: {genesis}",
                    stream.log, stream.host
                );
                (Finds::Unanchored, message)
            };
            self.findings.push(((usize::MAX, 2), Finding::new(kind, message).of(id)));
        }
    }

    /// A genesis that keeps state, for a log that has one already, and does not name it.
    fn replaces(&self, number: usize) -> bool {
        let stream = &self.streams[number];
        let same_log =
            |other: &Stream| (&other.host, &other.log) == (&stream.host, &stream.log) && other.genesis != stream.genesis;
        // Who goes back to this one is no other that was there.
        let goes_back = |other: &Stream| stream.genesis.is_some_and(|genesis| self.goes_back(other, genesis));
        let earlier = |other: &Stream| other.state && (other.began < stream.began || other.anchored && !goes_back(other));
        let names_one = stream.follows.as_ref().is_some_and(|follows| self.by_genesis.contains_key(&follows.genesis));
        stream.state && !names_one && self.streams.iter().any(|other| same_log(other) && earlier(other))
    }

    fn report(mut self) -> Report {
        let mut rest: Vec<Finding> = self.told.drain().filter_map(|(_, (_, rest))| rest).collect();
        rest.sort_by_key(|finding| finding.finding.name());
        self.findings.extend(rest.into_iter().map(|finding| ((usize::MAX, 3), finding)));
        self.findings.sort_by_key(|(position, _)| *position);
        let mut findings: Vec<Finding> = self.findings.drain(..).map(|(_, finding)| finding).collect();
        for finding in &mut findings {
            if finding.message.is_empty() {
                finding.message = describe(finding);
            }
        }
        let present: Vec<usize> = (0..self.streams.len()).filter(|&number| !self.streams[number].epochs.is_empty()).collect();
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count() as u64;
        let summary = Summary {
            streams: present.len() as u64,
            alarms: count(Severity::Alarm),
            warnings: count(Severity::Warning),
            anchored: !present.is_empty() && present.iter().all(|&number| self.streams[number].anchored),
            ..self.summary.clone()
        };
        let streams = present
            .iter()
            .filter_map(|&number| {
                let Stream { genesis, host, log, began, newest, anchored, by_files, .. } = &self.streams[number];
                Some(KnownGenesis {
                    genesis: (*genesis)?,
                    host: host.clone(),
                    log: log.clone(),
                    began: *began,
                    newest: *newest,
                    anchored: *anchored,
                    by_files: *anchored && *by_files,
                })
            })
            .collect();
        let ledger = self.next_ledger();
        Report { findings, summary, streams, ledger }
    }

    /// What was known before and what is known now; nothing that was known is forgotten.
    fn next_ledger(&mut self) -> Ledger {
        let mut ledger = self.trust.ledger.take().unwrap_or_default();
        let mut positions: HashMap<_, _> =
            ledger.streams.iter().enumerate().rev().map(|(position, known)| (known.genesis, position)).collect();
        for stream in self.streams.iter().filter(|stream| stream.anchored && !stream.epochs.is_empty()) {
            let (Some(genesis), Some(chain_key)) = (stream.genesis, &stream.chain_key) else { continue };
            let position = *positions.entry(genesis).or_insert_with(|| {
                ledger.streams.push(KnownStream {
                    genesis,
                    stream: stream.id,
                    chain_key: SecretHex::from(*chain_key.as_bytes()),
                    slots: stream.profile_slots,
                    profile: if self.places.is_age(self.by_genesis[&genesis]) { "age".to_owned() } else { "openpgp".to_owned() },
                    host: stream.host.clone(),
                    log: stream.log.clone(),
                    began: stream.began,
                    state: stream.state,
                    follows: stream.follows.clone(),
                    epochs: Vec::new(),
                });
                ledger.streams.len() - 1
            });
            let known = &mut ledger.streams[position];
            (known.state, known.follows) = (stream.state, stream.follows.clone());
            let mut epochs: BTreeMap<u64, KnownEpoch> = known.epochs.iter().map(|known| (known.epoch, *known)).collect();
            let seen = stream.epochs.iter().map(|(&epoch, state)| (epoch, state.next));
            for (epoch, count) in seen.chain(stream.settled.iter().map(|(&epoch, &count)| (epoch, count))) {
                let known = epochs.entry(epoch).or_insert(KnownEpoch { epoch, count, settled: false });
                known.count = known.count.max(count);
                known.settled |= stream.settled.contains_key(&epoch);
            }
            known.epochs = epochs.into_values().collect();
        }
        ledger
    }
}

/// For each of these, in the order of their epochs, how many of those before it stand behind it.
impl Stream {
    /// Epochs in files that their writer came back to, as its `resume` says: a name may come again each week, and a clock
    /// that was set back gives an old one. Other files were written between two parts of such a file.
    fn returned(&self) -> HashSet<u64> {
        let mut returned = HashSet::new();
        for (&epoch, state) in &self.epochs {
            let Some(first) = state.first else { continue };
            let goes_on = state.before.as_ref().is_some_and(|before| {
                let file = self.epochs.get(&before.epoch).and_then(|state| state.first).map(|(file, _)| file);
                returned.contains(&before.epoch) && file == Some(first.0)
            });
            if goes_on || state.resumed.is_some_and(|length| (1..=first.1).contains(&length)) {
                returned.insert(epoch);
            }
        }
        returned
    }
}

fn earlier_behind(firsts: &[(u64, Position)]) -> Vec<usize> {
    let mut places: Vec<Position> = firsts.iter().map(|(_, first)| *first).collect();
    places.sort_unstable();
    // A Fenwick tree over the places: how many epochs were met up to one.
    let mut tree = vec![0; places.len() + 1];
    let behind = |(met, (_, first)): (usize, &(u64, Position))| {
        let place = places.partition_point(|place| place <= first);
        let (mut up_to, mut at) = (0, place);
        while at > 0 {
            up_to += tree[at];
            at &= at - 1;
        }
        at = place;
        while at < tree.len() {
            tree[at] += 1;
            at += at & at.wrapping_neg();
        }
        met - up_to
    };
    firsts.iter().enumerate().map(behind).collect()
}

fn describe(finding: &Finding) -> String {
    let count = finding.count.unwrap_or(1);
    let records = if count == 1 { "a record".to_owned() } else { format!("{count} records") };
    let place = match (finding.epoch, finding.slot) {
        (Some(epoch), Some(slot)) => format!(" (epoch {epoch}, slot {slot})"),
        _ => String::new(),
    };
    match finding.finding {
        Finds::Altered => format!("{records} changed after sealing{place}"),
        Finds::Duplicated => format!("{records} that stood before already{place}"),
        Finds::Reordered => format!("{records} moved from where they were written{place}"),
        Finds::Foreign => format!("{records} sealed by somebody who does not know the keys of a known stream"),
        Finds::Forked => format!("{records} in a place that is taken by another: the chain's state was used twice{place}"),
        other => format!("{records}: {}{place}", other.name()),
    }
}
