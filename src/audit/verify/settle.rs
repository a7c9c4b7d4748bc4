//! What the files do not have: settling every epoch, and giving every lack and every damage its name.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use jiff::Timestamp;

use super::{EpochState, Position, Stream, TornTold, Verifier};
use crate::audit::finding::{Finding, Kind as Finds, Severity, Summary};
use crate::audit::ledger::{KnownEpoch, KnownStream, Ledger};
use crate::audit::place::Place;
use crate::audit::read::{Damage, Why};
use crate::chain::{MAX_SLOTS, Progress};
use crate::control::{FoundProgress, GenesisFingerprint, Hex, SecretHex, StreamId};
use crate::record::age::AgeFile;
use crate::record::openpgp::{Malformed, Message};
use crate::record::seipd2::Seipd2;
use crate::record::{MAX_RECORD, framing};

/// An epoch that was claimed at most so long before the stream's newest record may still be in use.
const OPEN: Duration = Duration::from_secs(11 * 60);
/// No record is shorter, in bytes of a file.
const MIN_RECORD: u64 = 120;

/// What verification came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Everything there is to say, in the order of the input.
    pub findings: Vec<Finding>,
    /// The same in numbers.
    pub summary: Summary,
    /// The streams with records in place.
    pub streams: Vec<KnownGenesis>,
    /// What the next verification should know.
    pub ledger: Ledger,
}

/// One stream, to be told to people.
#[derive(Clone, Debug)]
pub struct KnownGenesis {
    /// Its genesis fingerprint.
    pub genesis: GenesisFingerprint,
    /// Its host.
    pub host: String,
    /// Its log.
    pub log: String,
    /// When it began.
    pub began: Timestamp,
    /// Whether something trusted vouches for it.
    pub anchored: bool,
}

/// Slots that should be there.
struct Lack {
    kind: Finds,
    stream: usize,
    epoch: u64,
    slot: u32,
    /// `None` where it is not known how many.
    count: Option<u64>,
    /// Where they would stand.
    regions: Vec<(usize, u64, u64)>,
    message: String,
}

/// What is known of an epoch's end.
#[derive(Clone, Copy, Default)]
struct Evidence {
    /// So many slots were used at least.
    at_least: u32,
    /// It says that the end was cut, not that the middle is gone.
    of_end: bool,
    /// Nothing more can have come.
    settled: bool,
    /// A later record says that the epoch was never used.
    unused: bool,
    /// Something at all was known.
    known: bool,
}

impl Verifier {
    /// Weighs what is there and what is not. Nothing can be fed any more.
    pub fn finish(mut self) -> Report {
        self.second_chance();
        self.anchor();
        let mut damages: Vec<_> =
            std::mem::take(&mut self.damages).into_iter().map(|(file, damage)| (file, damage, false)).collect();
        self.name_by_locator(&mut damages);
        let mut lacks = Vec::new();
        for number in 0..self.streams.len() {
            self.settle_stream(number, &mut lacks);
        }
        self.give_damage_to_lacks(lacks, &mut damages);
        self.check_heads(&mut damages);
        self.name_damage(damages);
        self.check_streams();
        self.report()
    }

    /// Records that had no place may have one now that all epochs are known.
    fn second_chance(&mut self) {
        self.places.widen();
        for (file, record) in std::mem::take(&mut self.unplaced) {
            match self.locate(&record.opened) {
                Some((place, kind, rewrapped)) => {
                    self.place(file, &record, place, kind, rewrapped);
                }
                None => self.tell(Finds::Foreign, file, record.offset, record.length, |finding| finding.count(1)),
            }
        }
    }

    /// A stream is anchored that a record of an anchored stream names, and so on.
    fn anchor(&mut self) {
        for stream in &mut self.streams {
            stream.anchored |= stream.genesis.is_some_and(|genesis| self.vouched.contains(&genesis));
        }
    }

    /// A record that does not open may still show its place: salt and nonce stand in the clear.
    fn name_by_locator(&mut self, damages: &mut [(usize, Damage, bool)]) {
        for (file, damage, named) in damages {
            let Some(place) = self.visible_place(*file, damage) else { continue };
            let stream = &mut self.streams[place.stream];
            let id = stream.id;
            let state = stream.epochs.entry(place.epoch).or_default();
            if state.digest(place.slot).is_some() {
                continue;
            }
            // From here on the slot counts as seen: its record is there, in whatever condition.
            state.see(place.slot, u64::MAX);
            if !state.fill(place.slot) && place.slot >= state.next {
                if place.slot > state.next {
                    let (from, to, after) = (state.next, place.slot, state.last_end);
                    state.holes.push(super::Hole { from, to, file: *file, after, before: damage.offset });
                }
                state.next = place.slot + 1;
            }
            *named = true;
            let (offset, length) = (damage.offset, damage.length);
            self.tell(Finds::Altered, *file, offset, length, |finding| finding.of(id).slot(place.epoch, place.slot).count(1));
        }
    }

    fn visible_place(&mut self, file: usize, damage: &Damage) -> Option<Place> {
        if damage.heads != 1 || damage.length > 2 * MAX_RECORD as u64 || damage.why == Why::CutShort {
            return None;
        }
        let bytes = self.bytes_of(file, damage)?;
        if let Ok(message) = Message::parse(&bytes) {
            let salt = Seipd2::parse(message.seipd).ok()?.salt;
            return self.places.look_up(salt.first_chunk()?);
        }
        let prefix = *AgeFile::parse(&bytes).ok()?.nonce.first_chunk()?;
        match self.places.look_up_prefix(prefix) {
            [place] => Some(*place),
            _ => None,
        }
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

    fn settle_stream(&mut self, number: usize, lacks: &mut Vec<Lack>) {
        let known: HashMap<u64, KnownEpoch> = self.known_epochs(number);
        let stream = &self.streams[number];
        let present = |state: &EpochState| state.next > 1 || (state.first.is_some());
        let newest = stream.epochs.iter().rev().find(|(_, state)| present(state)).map(|(&epoch, _)| epoch);
        let oldest = stream.epochs.iter().find(|(_, state)| present(state)).map(|(&epoch, _)| epoch);
        let last_known = known.keys().max().copied();
        let Some(newest_here) = newest.or_else(|| stream.epochs.keys().next_back().copied()) else {
            if stream.anchored && !known.is_empty() {
                let message = format!("the ledger knows the log {} of {}, and no record of it is here", stream.log, stream.host);
                let finding = Finding::new(Finds::Missing, message).of(stream.id);
                self.findings.push(((usize::MAX, 0), finding));
            }
            return;
        };
        let evidence = self.evidence(number, &known);
        let last = newest_here
            .max(last_known.unwrap_or(0))
            .max(evidence.iter().filter(|(_, e)| !e.unused).map(|(&j, _)| j).max().unwrap_or(0));
        let first = oldest.unwrap_or(0);
        if first > 0 && oldest.is_some() {
            self.lack_prefix(number, first, &known, lacks);
        }
        let mut unsettled_near = None;
        // Of which epochs anything is known; what lies between them is one lack each.
        let is_orphan = self.streams[number].genesis.is_none();
        let mut told: BTreeSet<u64> =
            evidence.keys().copied().filter(|epoch| (first..=last).contains(epoch) && !is_orphan).collect();
        told.extend(self.streams[number].epochs.range(first..=last).map(|(&epoch, _)| epoch));
        let mut expected = first;
        for epoch in told {
            if epoch > expected && !is_orphan {
                let near = |near: u64| epoch - expected <= 2 && expected - near <= 2;
                let kind = if unsettled_near.is_some_and(near) { Finds::Unproven } else { Finds::Missing };
                let regions = self.regions_between(number, expected);
                let message = match epoch - expected {
                    1 => format!("no record of epoch {expected} is here"),
                    count => format!("no record of {count} epochs from {expected} on is here"),
                };
                lacks.push(Lack { kind, stream: number, epoch: expected, slot: 0, count: None, regions, message });
            }
            expected = epoch.saturating_add(1);
            let found = evidence.get(&epoch).copied().unwrap_or_default();
            let stream = &self.streams[number];
            match stream.epochs.get(&epoch) {
                Some(state) => {
                    for hole in &state.holes {
                        let count = Some(u64::from(hole.to - hole.from));
                        let regions = vec![(hole.file, hole.after, hole.before)];
                        lacks.push(Lack {
                            kind: Finds::Missing,
                            stream: number,
                            epoch,
                            slot: hole.from,
                            count,
                            regions,
                            message: String::new(),
                        });
                    }
                    let file = state.first.map_or(0, |(file, _)| file);
                    if found.at_least > state.next {
                        let kind = if found.of_end { Finds::Truncated } else { Finds::Missing };
                        let (slot, count) = (state.next, Some(u64::from(found.at_least - state.next)));
                        let regions = vec![(file, state.last_end, u64::MAX)];
                        lacks.push(Lack { kind, stream: number, epoch, slot, count, regions, message: String::new() });
                    }
                    let settled = state.slots == Some(state.next) || state.close.is_some() || found.settled;
                    if settled {
                        let count = state.next;
                        self.streams[number].settled.insert(epoch, count);
                    } else if !is_open(stream, epoch, state) {
                        unsettled_near = Some(epoch);
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
                None => {
                    let is_last = known.contains_key(&epoch) && newest.is_none_or(|newest| epoch > newest);
                    let kind = if is_last || found.of_end { Finds::Truncated } else { Finds::Missing };
                    let count = (found.at_least > 0).then_some(u64::from(found.at_least));
                    let regions = self.regions_between(number, epoch);
                    let message = format!("no record of epoch {epoch} is here");
                    lacks.push(Lack { kind, stream: number, epoch, slot: 0, count, regions, message });
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
            .is_some_and(|age| Duration::try_from(self.trust.now.duration_since(oldest)).is_ok_and(|is| is >= age));
        let kind = if removed { Finds::Unproven } else { Finds::Missing };
        let message =
            format!("all records before epoch {first} are missing: the files that begin before {oldest:.0} are not here");
        let regions = vec![(file, 0, offset)];
        lacks.push(Lack { kind, stream: number, epoch: 0, slot: 1, count: None, regions, message });
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

    /// What close records, later records, progress values and the ledger say of the ends of epochs.
    fn evidence(&mut self, number: usize, known: &HashMap<u64, KnownEpoch>) -> HashMap<u64, Evidence> {
        let mut evidence: HashMap<u64, Evidence> = HashMap::new();
        let befores: Vec<_> = self.streams[number]
            .epochs
            .iter()
            .filter_map(|(&epoch, state)| state.before.filter(|before| before.epoch < epoch))
            .collect();
        for before in befores {
            // Only who had the epoch's progress at that slot knows its value.
            let Some(mut progress) = self.places.epoch_key(number, before.epoch).map(|key| key.memory_progress()) else {
                continue;
            };
            progress.advance_to(before.used.min(MAX_SLOTS));
            if *progress.value() == before.progress.0 {
                let found = evidence.entry(before.epoch).or_default();
                (found.at_least, found.settled, found.known) = (found.at_least.max(before.used), true, true);
            }
        }
        for (&epoch, known) in known {
            let found = evidence.entry(epoch).or_default();
            found.known = true;
            if known.count > found.at_least {
                (found.at_least, found.of_end) = (known.count, true);
            }
            found.settled |= known.settled;
        }
        for (_, is_mark, FoundProgress { epoch, memory, disk, .. }) in self.streams[number].progress.clone() {
            if !self.places.is_within_reach(number, epoch) {
                continue;
            }
            let Some(key) = self.places.epoch_key(number, epoch) else { continue };
            let reached = |value: Option<Hex<32>>, progress: Progress| value.and_then(|value| slots_of(progress, &value.0));
            let (memory, disk) = (reached(memory, key.memory_progress()), reached(disk, key.disk_progress()));
            let Some(slots) = memory.max(disk) else { continue };
            let found = evidence.entry(epoch).or_default();
            if slots > found.at_least {
                (found.at_least, found.of_end) = (slots, true);
            }
            found.known = true;
            found.settled |= memory.is_some() && !is_mark;
            found.unused |= slots == 0 && memory.is_some() && !is_mark;
        }
        evidence
    }

    /// A writer's epochs follow each other; where one stands before the one that came before it, it was moved.
    fn check_order_of_epochs(&mut self, number: usize) {
        let stream = &self.streams[number];
        let position = |epoch: u64| stream.epochs.get(&epoch).and_then(|state| state.first);
        let moved: Vec<(u64, Position, StreamId)> = stream
            .epochs
            .iter()
            .filter_map(|(&epoch, state)| {
                let (first, before) = (state.first?, position(state.before?.epoch)?);
                (first < before).then_some((epoch, first, stream.id))
            })
            .collect();
        for (epoch, (file, offset), id) in moved {
            self.tell(Finds::Reordered, file, offset, 0, |mut finding| {
                finding.message = format!("epoch {epoch} stands before the one that its writer used before it");
                finding.of(id).slot(epoch, 0)
            });
        }
    }

    /// Damage where records are lacking is those records, changed.
    fn give_damage_to_lacks(&mut self, mut lacks: Vec<Lack>, damages: &mut [(usize, Damage, bool)]) {
        let width = |lack: &Lack| lack.regions.iter().map(|(_, from, to)| to - from).max().unwrap_or(0);
        lacks.sort_by_key(|lack| (lack.count.is_none(), width(lack)));
        for lack in lacks {
            let id = self.streams[lack.stream].id;
            let (mut left, mut slot, mut any) = (lack.count, lack.slot, false);
            for &(region, from, to) in &lack.regions {
                for (file, damage, named) in damages.iter_mut() {
                    let within = *file == region && damage.offset >= from && damage.offset + damage.length <= to;
                    let is_torn = damage.repeated || (damage.why == Why::CutShort && lack.kind != Finds::Missing);
                    if *named || !within || is_torn || left == Some(0) {
                        continue;
                    }
                    let room = u64::max(damage.heads as u64, 1).min(u64::max(damage.length / MIN_RECORD, 1));
                    let count = left.map_or(room, |left| left.min(room));
                    (*named, any) = (true, true);
                    left = left.map(|left| left - count);
                    let (offset, length, at) = (damage.offset, damage.length, slot);
                    self.tell(Finds::Altered, *file, offset, length, |finding| finding.of(id).slot(lack.epoch, at).count(count));
                    slot += u32::try_from(count).unwrap_or(0);
                }
            }
            if left == Some(0) || (any && left.is_none()) {
                continue;
            }
            let (file, from, _) = lack.regions.first().copied().unwrap_or((0, 0, 0));
            self.tell(lack.kind, file, from, 0, |mut finding| {
                finding.message = match (lack.message.as_str(), left) {
                    ("", Some(left)) => describe_lack(lack.kind, lack.epoch, slot, left),
                    (message, _) => message.to_owned(),
                };
                finding.count = left;
                finding.of(id).slot(lack.epoch, slot)
            });
        }
    }

    /// Every file begins as files do.
    fn check_heads(&mut self, damages: &mut [(usize, Damage, bool)]) {
        for file in 0..self.files.len() {
            let state = &self.files[file];
            let (is_empty, late) = (state.last_end == 0, state.begins_late);
            if !state.headed && !is_empty {
                match damages.iter_mut().find(|(at, damage, named)| *at == file && damage.offset == 0 && !named) {
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
            let told = |until: u64| {
                self.findings
                    .iter()
                    .any(|((at, offset), finding)| *at == file && *offset <= until && finding.severity == Severity::Alarm)
            };
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
        let resumes = std::mem::take(&mut self.resumes);
        for (file, damage, named) in damages {
            if named {
                continue;
            }
            let (offset, length) = (damage.offset, damage.length);
            let told =
                |told: &TornTold| told.file == file && told.length - told.torn.min(told.length) == offset && told.torn <= length;
            let kind = if damage.repeated || damage.why == Why::CutShort || resumes.iter().any(told) || self.is_cut(file, &damage)
            {
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
        for number in 0..self.streams.len() {
            let stream = &self.streams[number];
            if stream.epochs.is_empty() {
                continue;
            }
            let id = stream.id;
            if let Some(since) = self.trust.marked_since
                && stream.state
                && !stream.marks.iter().any(|&mark| mark >= since)
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
        let earlier = |other: &Stream| other.state && (other.anchored || other.began < stream.began);
        let names_one = stream.follows.as_ref().is_some_and(|follows| self.by_genesis.contains_key(&follows.genesis));
        stream.state && !names_one && self.streams.iter().any(|other| same_log(other) && earlier(other))
    }

    fn report(mut self) -> Report {
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
                let Stream { genesis, host, log, began, anchored, .. } = &self.streams[number];
                Some(KnownGenesis {
                    genesis: (*genesis)?,
                    host: host.clone(),
                    log: log.clone(),
                    began: *began,
                    anchored: *anchored,
                })
            })
            .collect();
        let ledger = self.next_ledger();
        Report { findings, summary, streams, ledger }
    }

    /// What was known before and what is known now; nothing that was known is forgotten.
    fn next_ledger(&mut self) -> Ledger {
        let mut ledger = self.trust.ledger.take().unwrap_or_default();
        for stream in self.streams.iter().filter(|stream| stream.anchored && !stream.epochs.is_empty()) {
            let (Some(genesis), Some(chain_key)) = (stream.genesis, &stream.chain_key) else { continue };
            let position = ledger.streams.iter().position(|known| known.genesis == genesis).unwrap_or_else(|| {
                ledger.streams.push(KnownStream {
                    genesis,
                    stream: stream.id,
                    chain_key: SecretHex::from(*chain_key.as_bytes()),
                    slots: stream.profile_slots,
                    profile: if self.places.is_age(self.by_genesis[&genesis]) { "age".to_owned() } else { "openpgp".to_owned() },
                    host: stream.host.clone(),
                    log: stream.log.clone(),
                    began: stream.began,
                    epochs: Vec::new(),
                });
                ledger.streams.len() - 1
            });
            let known = &mut ledger.streams[position];
            let seen = stream.epochs.iter().map(|(&epoch, state)| (epoch, state.next));
            for (epoch, count) in seen.chain(stream.settled.iter().map(|(&epoch, &count)| (epoch, count))) {
                let seen = KnownEpoch { epoch, count, settled: stream.settled.contains_key(&epoch) };
                match known.epochs.iter_mut().find(|known| known.epoch == epoch) {
                    Some(known) => {
                        *known =
                            KnownEpoch { count: known.count.max(seen.count), settled: known.settled || seen.settled, ..*known }
                    }
                    None => known.epochs.push(seen),
                }
            }
            known.epochs.sort_by_key(|known| known.epoch);
        }
        ledger
    }
}

/// A writer's newest epoch, claimed so short a time ago that it may still be in use, and not settled by a mark.
fn is_open(stream: &Stream, epoch: u64, state: &EpochState) -> bool {
    let Some(claimed) = state.claimed else { return false };
    // One that was claimed ahead and given back unused stands before the end of the one in use.
    let used = |other: &EpochState| other.close != Some(1);
    let newer = stream
        .epochs
        .range(epoch.saturating_add(1)..)
        .any(|(_, other)| other.writer.is_some() && other.writer == state.writer && used(other));
    let recent = Duration::try_from(stream.newest.duration_since(claimed)).map_or(true, |age| age <= OPEN);
    // A mark names all writers that are alive; what it does not name has ended.
    let named =
        |mark: Timestamp| stream.progress.iter().any(|(time, is_mark, found)| *is_mark && *time == mark && found.epoch == epoch);
    let below_mark = stream.marks.iter().any(|&mark| mark > claimed && !named(mark));
    !newer && recent && !below_mark
}

/// For how many slots a progress value stands.
fn slots_of(mut progress: Progress, value: &[u8; 32]) -> Option<u32> {
    (0..=MAX_SLOTS).find(|&slots| {
        progress.advance_to(slots);
        progress.value() == value
    })
}

fn describe_lack(kind: Finds, epoch: u64, slot: u32, count: u64) -> String {
    let records = if count == 1 { "1 record is".to_owned() } else { format!("{count} records are") };
    match kind {
        Finds::Truncated => format!("{records} cut off at the end of epoch {epoch}, from slot {slot} on"),
        _ => format!("{records} missing in epoch {epoch}, from slot {slot} on"),
    }
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
