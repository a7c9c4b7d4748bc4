//! Verification: every record to its place, and whatever is not as it was sealed to a finding.
//!
//! Promises: what is reported as in place was sealed there by the holder of the stream's chain key; trust starts at a root
//! only (a genesis fingerprint from paper, or the ledger); everything else in the files is named, with its place. The
//! rules are those of `docs/format.md`, section "Verification".
//!
//! Records are fed in file order; [`Verifier::finish`] weighs what the files do not have. Time is in proportion to what is
//! fed. Memory is, by some hundred bytes an epoch, and by findings: of the records in their places eight bytes each are
//! remembered in a file without a name (see [`super::spill`]). Whatever else an enemy puts in is bounded.
#![forbid(unsafe_code)]

mod epoch;
mod evidence;
mod held;
mod lack;
mod report;
mod run;
mod settle;

pub use report::{KnownGenesis, Report};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use self::epoch::{EpochState, Hole};
use super::finding::{Finding, Kind as Finds, Summary};
use super::ledger::Ledger;
use super::place::{Located, Place, Places};
use super::read::{Damage, Record};
use super::spill::Spill;
use crate::chain::{ChainKey, EpochKey, Kind};
use crate::control::{Control, Event, Follows, FoundProgress, Genesis, GenesisFingerprint, StreamId, WriterId};
use crate::record::open::{Opened, Seal};

/// Records without a place are looked at again at the end, as long as their contents take no more than this, in bytes.
const MAX_UNPLACED: usize = 64 * 1024 * 1024;
/// More streams than this that nothing vouches for are not looked after.
const MAX_STREAMS: usize = 10_000;
/// Host and log name of a stream that nothing vouches for have no more bytes than this.
const MAX_NAMES: usize = 8192;
/// More streams of one id are not asked whether an epoch is theirs.
const MAX_NAMESAKES: usize = 16;
/// More findings of one kind are told as one, in numbers.
const MAX_TOLD: u64 = 20_000;
/// Texts of control records are shown to this length, in characters.
const MAX_SHOWN: usize = 1000;

/// What is believed, and what is asked for.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Genesis fingerprints from paper.
    pub genesis: Vec<GenesisFingerprint>,
    /// What was verified before.
    pub ledger: Option<Ledger>,
    /// Believe the genesis records that the files bring.
    pub first: bool,
    /// Records older than this may have been removed on purpose.
    pub retention: Option<Duration>,
    /// Every stream must have a mark at or after this time.
    pub marked_since: Option<Timestamp>,
    /// The time of the verification, for `retention`.
    pub now: Timestamp,
}

impl Trust {
    /// Whether trust starts anywhere but at the files themselves.
    pub fn has_root(&self) -> bool {
        !self.genesis.is_empty() || self.ledger.as_ref().is_some_and(|ledger| !ledger.streams.is_empty())
    }
}

/// What becomes of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in this place and its stream is as trusted as the rest.
    InPlace(Kind, Place),
    /// It is in this place, in a stream which says that it stood in for another; whether that is so is not known yet.
    Pending(Place),
    /// It is not.
    Elsewhere,
}

/// What a stream is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogName<'v> {
    /// The stream.
    pub stream: StreamId,
    /// Its host, as its genesis record names it.
    pub host: &'v str,
    /// Its log: folder and name, with what stands for the time in it.
    pub log: &'v str,
}

/// The verifier.
pub struct Verifier {
    trust: Trust,
    places: Places,
    streams: Vec<Stream>,
    by_genesis: HashMap<GenesisFingerprint, usize>,
    by_id: HashMap<StreamId, Vec<usize>>,
    /// How many streams nothing vouched for when they came.
    strangers: usize,
    /// Fingerprints that an in-place record of an anchored stream names.
    vouched: HashSet<GenesisFingerprint>,
    files: Vec<FileState>,
    current: usize,
    /// With their files, and whether they have a name yet.
    damages: Vec<(usize, Damage, bool)>,
    unplaced: Vec<(usize, Record)>,
    unplaced_size: usize,
    resumes: Vec<TornTold>,
    /// Genesis fingerprints that records of trusted streams name, with the place of the record.
    named: Vec<(usize, u64, u64, GenesisFingerprint)>,
    held: held::Waiting,
    censuses: Vec<Census>,
    /// How many values are in them, of streams that nothing vouched for.
    strange_values: usize,
    /// A stream is trusted by now that was not when the last held lines were released.
    release_due: bool,
    runs: Vec<run::Run>,
    /// Digests of records, as far as they are not in memory, and how many of them are.
    spill: Spill,
    in_memory: usize,
    /// Why something that was put away did not come back.
    trouble: Option<io::Error>,
    findings: Vec<(Position, Finding)>,
    /// How many findings of a kind there are, and what was told beyond [`MAX_TOLD`] of them.
    told: HashMap<Finds, (u64, Option<Finding>)>,
    summary: Summary,
}

/// Where in the input: file and byte.
type Position = (usize, u64);

/// What a record says of the epochs that had been claimed before it and had not ended.
struct Census {
    /// The stream and the epoch that the record stands in.
    stream: usize,
    epoch: u64,
    time: Timestamp,
    values: Vec<FoundProgress>,
}

/// A `resume` record that tells of a torn end.
struct TornTold {
    file: usize,
    length: u64,
    torn: u64,
}

struct FileState {
    path: PathBuf,
    /// End of the last record in place.
    last_end: u64,
    /// Whether a genesis came first.
    headed: bool,
    /// Whether the file's `segment` record, or another that should come after it, was seen.
    begun: bool,
    /// Where the first record is that should not be first.
    begins_late: Option<u64>,
}

#[derive(Default)]
struct Stream {
    id: StreamId,
    genesis: Option<GenesisFingerprint>,
    chain_key: Option<ChainKey>,
    host: String,
    log: String,
    state: bool,
    follows: Option<Follows>,
    began: Timestamp,
    anchored: bool,
    epochs: BTreeMap<u64, EpochState>,
    newest: Timestamp,
    marks: Vec<Timestamp>,
    /// How many values are in its censuses.
    told_values: usize,
    /// Last values of a stream without state, told by the one that it stood in for.
    last: Vec<FoundProgress>,
    profile_slots: u32,
    /// Nothing but the wish to believe the files vouches for it.
    by_files: bool,
    /// Epochs of which nothing more can come, with the number of their records.
    settled: BTreeMap<u64, u32>,
}

impl Verifier {
    /// A verifier that has seen nothing.
    pub fn new(trust: Trust) -> Self {
        let mut verifier = Self {
            places: Places::default(),
            streams: Vec::new(),
            by_genesis: HashMap::new(),
            by_id: HashMap::new(),
            strangers: 0,
            vouched: trust.genesis.iter().copied().collect(),
            files: Vec::new(),
            current: 0,
            damages: Vec::new(),
            unplaced: Vec::new(),
            unplaced_size: 0,
            resumes: Vec::new(),
            named: Vec::new(),
            held: held::Waiting::default(),
            censuses: Vec::new(),
            strange_values: 0,
            release_due: false,
            runs: Vec::new(),
            spill: Spill::default(),
            in_memory: 0,
            trouble: None,
            findings: Vec::new(),
            told: HashMap::new(),
            summary: Summary::default(),
            trust,
        };
        let known: Vec<_> = verifier.trust.ledger.iter().flat_map(|ledger| ledger.streams.clone()).collect();
        for known in known {
            verifier.vouched.insert(known.genesis);
            let chain_key = ChainKey::from_bytes(*known.chain_key.as_bytes());
            let (host, log) = (known.host.clone(), known.log.clone());
            let number = verifier.places.add_stream(&chain_key, known.slots, known.profile == "age", true);
            verifier.by_genesis.insert(known.genesis, number);
            verifier.by_id.entry(known.stream).or_default().push(number);
            verifier.streams.push(Stream {
                id: known.stream,
                genesis: Some(known.genesis),
                chain_key: Some(chain_key),
                host,
                log,
                state: known.state,
                follows: known.follows,
                began: known.began,
                anchored: true,
                newest: known.began,
                profile_slots: known.slots,
                ..Stream::default()
            });
        }
        verifier
    }

    /// Makes a genesis known before its file's turn comes. Whether it is one that proves itself.
    pub fn introduce(&mut self, record: &Record) -> bool {
        let Some(fingerprint) = record.genesis else { return false };
        let control = Control::parse(&record.opened.body);
        let Some(Control { stream, time, event: Event::Genesis(genesis), .. }) = control else { return false };
        if let Some(&number) = self.by_genesis.get(&fingerprint) {
            // A ledger of an earlier version does not have these; the fingerprint is over all of the record.
            let stream = &mut self.streams[number];
            (stream.state, stream.follows) = (genesis.state, genesis.follows);
            return true;
        }
        let chain_key = ChainKey::from_bytes(*genesis.chain_key.as_bytes());
        let is_vouched = self.vouched.contains(&fingerprint);
        let is_welcome = self.strangers < MAX_STREAMS && genesis.host.len() + genesis.log.len() <= MAX_NAMES;
        if !(is_vouched || is_welcome) || record.opened.proves(0, &chain_key.epoch_key()) != Some(Kind::Control) {
            return false;
        }
        self.strangers += usize::from(!is_vouched);
        let Genesis { slots, host, log, state, follows, .. } = genesis;
        let is_age = matches!(record.opened.seal, Seal::Age { .. });
        let number = self.places.add_stream(&chain_key, slots, is_age, is_vouched);
        self.by_genesis.insert(fingerprint, number);
        self.by_id.entry(stream).or_default().push(number);
        self.streams.push(Stream {
            id: stream,
            genesis: Some(fingerprint),
            chain_key: Some(chain_key),
            host,
            log,
            state,
            follows,
            began: time,
            anchored: self.trust.first || is_vouched,
            by_files: self.trust.first && !is_vouched,
            newest: time,
            profile_slots: slots,
            ..Stream::default()
        });
        true
    }

    /// The id and the beginning of the oldest known stream that this one, by what the genesis records say, goes back to.
    pub fn ancestor(&self, genesis: GenesisFingerprint) -> Option<(StreamId, Timestamp)> {
        let stream = &self.streams[*self.by_genesis.get(&genesis)?];
        let oldest = self.ancestors(stream).last().unwrap_or(stream);
        Some((oldest.id, oldest.began))
    }

    /// The known streams that one goes back to, the nearest first.
    fn ancestors<'v>(&'v self, stream: &'v Stream) -> impl Iterator<Item = &'v Stream> {
        let before = |stream: &&'v Stream| Some(&self.streams[*self.by_genesis.get(&stream.follows.as_ref()?.genesis)?]);
        // A genesis cannot name one that names it in turn, as both are hashed; a ledger that was tampered with could.
        std::iter::successors(before(&stream), before).take(self.streams.len())
    }

    /// Whether a stream goes back to the one with this genesis.
    fn goes_back(&self, stream: &Stream, to: GenesisFingerprint) -> bool {
        self.ancestors(stream).any(|ancestor| ancestor.genesis == Some(to))
    }

    /// Whose lines a stream has, by its number.
    pub fn log_of(&self, stream: usize) -> LogName<'_> {
        let Stream { id, host, log, .. } = &self.streams[stream];
        LogName { stream: *id, host, log }
    }

    /// What all streams are of that are known by now.
    pub fn names(&self) -> impl Iterator<Item = LogName<'_>> {
        (0..self.streams.len()).map(|stream| self.log_of(stream))
    }

    /// The writer of a place's epoch, and when it claimed it, as far as its records have told by now.
    pub fn claim_of(&self, place: Place) -> (Option<WriterId>, Option<Timestamp>) {
        let state = self.streams[place.stream].epochs.get(&place.epoch);
        state.map_or((None, None), |state| (state.writer, state.claimed))
    }

    /// Begins a file; records and damage fed from now on are of it. Its number.
    pub fn begin_file(&mut self, path: PathBuf) -> usize {
        self.end_runs();
        self.files.push(FileState { path, last_end: 0, headed: false, begun: false, begins_late: None });
        self.current = self.files.len() - 1;
        self.current
    }

    /// Goes on in a file that was begun before.
    pub fn resume_file(&mut self, file: usize) {
        self.end_runs();
        self.current = file;
    }

    /// Takes note of bytes that are no record.
    pub fn damage(&mut self, damage: Damage) {
        self.damages.push((self.current, damage, false));
    }

    /// Why the report cannot be relied on, where something that was put away on disk did not come back.
    pub fn trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    /// Finds the place of a record.
    pub fn record(&mut self, record: &Record) -> Verdict {
        if let Some(verdict) = self.follow(record) {
            return verdict;
        }
        self.end_runs();
        let file = self.current;
        match self.locate(record) {
            Some((place, kind, rewrapped)) => {
                let verdict = self.place(file, record, place, kind, rewrapped);
                if let (Verdict::InPlace(Kind::Line, _), Some((claim, slot))) = (verdict, &record.claim)
                    && *slot == place.slot
                {
                    self.begin_run(claim, place);
                }
                verdict
            }
            None => {
                let record = record.kept();
                let size = record.opened.body.len() + size_of::<Record>();
                if self.unplaced_size + size > MAX_UNPLACED {
                    self.place_late(false);
                }
                if self.unplaced_size + size <= MAX_UNPLACED {
                    self.unplaced_size += size;
                    self.unplaced.push((file, record));
                } else {
                    self.tell(Finds::Foreign, file, record.offset, record.length, |finding| finding.count(1));
                }
                Verdict::Elsewhere
            }
        }
    }

    fn locate(&mut self, record: &Record) -> Option<(Place, Kind, bool)> {
        let opened = &record.opened;
        // Copies of a genesis stand at the head of every file.
        if let Some(genesis) = record.genesis.filter(|_| self.introduce(record)) {
            let place = Place { stream: self.by_genesis[&genesis], epoch: 0, slot: 0 };
            if let Some(kind) = self.places.prove(opened, place) {
                return Some((place, kind, false));
            }
        }
        if let Some((claim, slot)) = &record.claim {
            let namesakes = self.by_id.get(&claim.stream).into_iter().flatten().take(MAX_NAMESAKES);
            let known = namesakes.copied().find(|&number| self.places.has_key(number, claim.epoch, &claim.key));
            if let (Some(stream), Seal::Rfc9580 { kind, .. }) = (known, &opened.seal) {
                let place = Place { stream, epoch: claim.epoch, slot: *slot };
                self.places.was_proven(stream, claim.epoch, opened);
                return Some((place, *kind, false));
            }
            // Nothing has to be made ready for what begins an epoch.
            if *slot == 0
                && let Some(found) = self.locate_by_word(opened)
            {
                return Some(found);
            }
        }
        let mut located = self.places.locate(opened);
        if matches!(located, Located::Nowhere | Located::Disproven(_)) {
            if let Some(found) = self.locate_by_word(opened) {
                return Some(found);
            }
            if self.places.widen() {
                located = self.places.locate(opened);
            }
        }
        match located {
            Located::Proven(place, kind) => Some((place, kind, false)),
            Located::Rewrapped(place, kind) => Some((place, kind, true)),
            Located::Disproven(_) | Located::Nowhere => None,
        }
    }

    /// An `epoch` record says which epoch it begins. Its word is taken for a guess, and the guess proven.
    fn locate_by_word(&mut self, opened: &Opened) -> Option<(Place, Kind, bool)> {
        let Control { stream, event: Event::Epoch(epoch), .. } =
            opened.body.starts_with(b"{").then(|| Control::parse(&opened.body))??
        else {
            return None;
        };
        let key = EpochKey::from_bytes(*epoch.epoch_key.as_bytes());
        let mut namesakes = self.by_id.get(&stream).cloned().unwrap_or_default();
        namesakes.sort_by_key(|&number| !self.streams[number].anchored);
        namesakes.truncate(MAX_NAMESAKES);
        let mut known = false;
        for &number in &namesakes {
            if !self.places.is_within_reach(number, epoch.epoch) {
                continue;
            }
            known = true;
            let place = Place { stream: number, epoch: epoch.epoch, slot: 0 };
            if let Some(kind) = self.places.prove(opened, place) {
                return Some((place, kind, false));
            }
            if self.places.begins_rewrapped(opened, number, epoch.epoch, &key) {
                return Some((place, Kind::Control, true));
            }
        }
        // Where even the genesis is lost, an epoch is checked against the key that its own record brings.
        let orphan = namesakes.iter().copied().find(|&number| self.streams[number].genesis.is_none());
        if (known && orphan.is_none()) || self.trust.has_root() || opened.proves(0, &key) != Some(Kind::Control) {
            return None;
        }
        let number = match orphan {
            Some(number) => number,
            None if self.strangers >= MAX_STREAMS => return None,
            None => {
                self.strangers += 1;
                self.streams.push(Stream { id: stream, state: true, ..Stream::default() });
                self.by_id.entry(stream).or_default().push(self.streams.len() - 1);
                self.places.add_orphan(matches!(opened.seal, Seal::Age { .. }))
            }
        };
        self.places.add_epoch(number, epoch.epoch, key);
        Some((Place { stream: number, epoch: epoch.epoch, slot: 0 }, Kind::Control, false))
    }

    fn place(&mut self, file: usize, record: &Record, place: Place, kind: Kind, rewrapped: bool) -> Verdict {
        let Place { stream: number, epoch, slot } = place;
        let control = (kind == Kind::Control).then(|| Control::parse(&record.opened.body)).flatten();
        let event = control.as_ref().map(|control| &control.event);
        if !self.is_consistent(place, event) {
            self.tell(Finds::Foreign, file, record.offset, record.length, |finding| finding.count(1));
            return Verdict::Elsewhere;
        }
        let is_genesis = (epoch, slot) == (0, 0);
        let taken = self.digest(place);
        if is_genesis && taken == Some(record.digest.max(1)) {
            self.files[file].headed |= record.offset == 0;
            self.summary.records += 1;
            self.files[file].last_end = record.offset + record.length;
            return self.verdict(place, kind);
        }
        let (id, slots) = (self.streams[number].id, self.streams[number].profile_slots);
        let last_end = self.files[file].last_end;
        if let Some(taken) = taken {
            let what = if taken == record.digest.max(1) { Finds::Duplicated } else { Finds::Forked };
            self.tell(what, file, record.offset, record.length, |finding| finding.of(id).slot(epoch, slot).count(1));
            return Verdict::Elsewhere;
        }
        self.see(place, record.digest);
        let state = self.streams[number].epochs.entry(epoch).or_default();
        let mut reordered = false;
        if is_genesis {
            (state.slots, state.next) = (Some(slots), state.next.max(1));
        } else {
            let first = *state.first.get_or_insert((file, record.offset));
            if first.0 != file || slot < state.next {
                // What had no place at first comes late, but stands where it should.
                let filled = state.fill(slot, file, record.offset, record.offset + record.length);
                reordered = filled != Some(true);
                if filled.is_none() && slot >= state.next {
                    if slot > state.next {
                        state.holes.push(Hole {
                            from: state.next,
                            to: slot,
                            file: first.0,
                            after: state.last_end,
                            before: u64::MAX,
                        });
                    }
                    state.next = slot + 1;
                }
            } else {
                if slot > state.next {
                    let after = if state.last_end > 0 { state.last_end } else { last_end };
                    state.holes.push(Hole { from: state.next, to: slot, file, after, before: record.offset });
                }
                (state.next, state.last_end) = (slot + 1, record.offset + record.length);
            }
        }
        if let Some(time) = record.opened.date.and_then(|date| Timestamp::from_second(date.into()).ok()) {
            state.newest = state.newest.max(time);
        }
        self.files[file].last_end = record.offset + record.length;
        if reordered {
            self.tell(Finds::Reordered, file, record.offset, record.length, |finding| finding.of(id).slot(epoch, slot).count(1));
        }
        if rewrapped || record.salvaged {
            self.tell(Finds::Altered, file, record.offset, record.length, |finding| finding.of(id).slot(epoch, slot).count(1));
        }
        self.summary.records += 1;
        match control {
            Some(control) => self.control(file, record, place, control),
            None if kind == Kind::Line => {
                self.summary.lines += u64::from(record.lines);
                self.check_beginning(file, record.offset);
            }
            None => {}
        }
        let newest = self.streams[number].epochs[&epoch].newest;
        self.streams[number].newest = self.streams[number].newest.max(newest);
        self.put_away(number, epoch);
        self.verdict(place, kind)
    }

    /// Whether what a record in this place says fits what follows from the chain.
    fn is_consistent(&mut self, place: Place, event: Option<&Event>) -> bool {
        match event {
            Some(Event::Genesis(_)) => (place.epoch, place.slot) == (0, 0),
            Some(Event::Epoch(epoch)) => {
                let key = self.places.epoch_key(place.stream, place.epoch);
                let carried = EpochKey::from_bytes(*epoch.epoch_key.as_bytes());
                place.slot == 0 && place.epoch == epoch.epoch && epoch.epoch > 0 && key.is_some_and(|key| key.equals(&carried))
            }
            // The first slot of an epoch is for nothing else. What does not read is a line, or a control record of a later
            // version: of unknown content, in its place.
            Some(_) | None => place.slot > 0,
        }
    }

    /// Every file begins with a genesis and, before anything but an `epoch` record, a `segment` record.
    fn check_beginning(&mut self, file: usize, offset: u64) {
        let state = &mut self.files[file];
        if !state.begun {
            (state.begun, state.begins_late) = (true, Some(offset));
        }
    }

    fn control(&mut self, file: usize, record: &Record, place: Place, control: Control) {
        let (number, id) = (place.stream, self.streams[place.stream].id);
        let anchored = self.streams[number].anchored;
        let (writer, time) = (control.writer, control.time);
        let at = |finding: Finding| finding.of(id).slot(place.epoch, place.slot);
        if !matches!(control.event, Event::Genesis(_) | Event::Epoch(_) | Event::Segment(_)) {
            self.check_beginning(file, record.offset);
        }
        let stream = &mut self.streams[number];
        if let Some(state) = stream.epochs.get_mut(&place.epoch) {
            state.writer.get_or_insert(writer);
            state.newest = state.newest.max(time);
        }
        match control.event {
            Event::Genesis(_) => {
                self.files[file].headed |= record.offset == 0;
                let state = stream.epochs.entry(0).or_default();
                state.claimed = Some(time);
            }
            Event::Epoch(epoch) => {
                self.places.saw_epoch(number, epoch.epoch, epoch.slots);
                if let Some(state) = stream.epochs.get_mut(&epoch.epoch) {
                    (state.slots, state.claimed, state.before) = (Some(epoch.slots), Some(time), epoch.before);
                }
                self.census(place, time, epoch.progress);
            }
            Event::Segment(segment) => {
                self.files[file].begun = true;
                self.census(place, time, segment.progress);
            }
            Event::Resume(resume) => {
                if let Some(state) = stream.epochs.get_mut(&place.epoch) {
                    state.resumed = Some(resume.length);
                }
                self.census(place, time, resume.progress);
                if resume.torn > 0 {
                    self.resumes.push(TornTold { file, length: resume.length, torn: resume.torn });
                }
            }
            Event::Close(close) => {
                if let Some(state) = stream.epochs.get_mut(&place.epoch).filter(|_| close.slots == place.slot) {
                    state.close = Some(place.slot);
                }
            }
            Event::Gap(gap) => {
                let (from, to) = (gap.from, gap.to);
                self.tell(Finds::Gap, file, record.offset, record.length, |mut finding| {
                    finding.message = format!(
                        "{} lines ({} bytes) were dropped from {from:.0} to {to:.0}: {}",
                        gap.lines,
                        gap.bytes,
                        shown(&[gap.why])
                    );
                    at(finding).count(gap.lines)
                });
            }
            Event::Recipients(changed) => {
                if anchored {
                    self.vouch(changed.genesis);
                    self.named.push((file, record.offset, record.length, changed.genesis));
                }
                self.tell(Finds::Recipients, file, record.offset, record.length, |mut finding| {
                    finding.message = format!(
                        "the keys changed from {} to {}; the log goes on in the stream with genesis {}",
                        shown(&changed.old),
                        shown(&changed.new),
                        changed.genesis
                    );
                    at(finding)
                });
            }
            Event::Ephemeral(ephemeral) => {
                if anchored {
                    self.vouch(ephemeral.genesis);
                    self.named.push((file, record.offset, record.length, ephemeral.genesis));
                }
                if let Some(&other) = self.by_genesis.get(&ephemeral.genesis) {
                    self.streams[other].last.push(ephemeral.progress);
                }
                self.tell(Finds::Ephemeral, file, record.offset, record.length, |mut finding| {
                    finding.message = format!("the stream with genesis {} stood in for this one", ephemeral.genesis);
                    at(finding)
                });
            }
            Event::Mark(mark) => {
                stream.marks.push(time);
                self.census(place, time, Some(mark.progress));
            }
        }
    }

    /// A genesis is named by a stream that is trusted.
    fn vouch(&mut self, genesis: GenesisFingerprint) {
        self.vouched.insert(genesis);
        if let Some(&number) = self.by_genesis.get(&genesis) {
            (self.streams[number].anchored, self.streams[number].by_files) = (true, false);
            self.places.trust(number);
            self.release_due = true;
        }
    }

    /// Adds a finding at a place in a file; a run of the same kind, record behind record, becomes one.
    fn tell(&mut self, kind: Finds, file: usize, offset: u64, length: u64, fill: impl FnOnce(Finding) -> Finding) {
        let finding = fill(Finding::new(kind, String::new()).at(&self.files[file].path, offset, length));
        if finding.message.is_empty()
            && let Some((_, last)) = self.findings.last_mut()
            && last.finding == kind
            && last.file == finding.file
            && (last.stream, last.epoch) == (finding.stream, finding.epoch)
            && last.offset.zip(last.length).is_some_and(|(at, len)| at + len == offset)
        {
            last.length = last.length.map(|len| len + length);
            last.count = last.count.map(|count| count + 1);
            return;
        }
        let (count, rest) = self.told.entry(kind).or_default();
        *count += 1;
        if *count <= MAX_TOLD {
            self.findings.push(((file, offset), finding));
            return;
        }
        let more = finding.count.unwrap_or(1);
        let rest = rest.get_or_insert_with(|| Finding { stream: None, epoch: None, slot: None, ..finding.count(0) });
        rest.count = rest.count.map(|count| count.saturating_add(more));
        rest.message = format!("{} more findings of this kind, of which only the first is shown, here", *count - MAX_TOLD);
    }
}

/// Texts out of a control record, as much of them as people read.
fn shown(texts: &[String]) -> String {
    let joined = texts.join(", ");
    match joined.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &joined[..end]),
        None => joined,
    }
}
