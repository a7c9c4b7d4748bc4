//! What an intruder has at time T, and what he can do to a log with it: [`World`], [`Edit`].
//!
//! He has the sealed files, the public key and the state folder: the chain key of the epoch that is claimed next. All
//! epochs before are closed. He has no secret key, no session key and no older chain key.

use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use arbitrary::Arbitrary;
use jiff::{SignedDuration, Timestamp};
use sealedlog::audit::read::{Found, Opener, RecordReader};
use sealedlog::chain::{self, ChainKey, EpochKey, Kind};
use sealedlog::control::{
    Close, Control, Ephemeral, Epoch, Event, Follows, FoundProgress, Gap, Genesis, GenesisFingerprint, Hex, Mark,
    RecipientsChanged, Resume, Segment, SegmentBefore, StreamId, UsedEpoch, WriterId,
};
use sealedlog::identity::Identities;
use sealedlog::recipient::x25519::{AGREEMENT_LEN, AT_ONCE, agree_many};
use sealedlog::recipient::{self, AgeRecipient, Recipients};
use sealedlog::record::age::AgeFile;
use sealedlog::record::open::Seal;
use sealedlog::record::openpgp::{Literal, Message};
use sealedlog::record::seal::{EpochSealer, Processor, table_len};
use sealedlog::record::seipd2::{self, MessageKey, Seipd2};
use sealedlog::record::{Framing, Profile, age, framing, seipd1};
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::serialize::SerializeInto;

use crate::{FROZEN, Frozen};

/// Lines that the intruder seals for epochs from T on, which are his to fill.
pub const AFTER: &[u8] = b"after T ";
/// Lines that he seals in any other way.
pub const STRANGE: &[u8] = b"strange ";

/// A change of bytes.
#[derive(Arbitrary, Debug, Clone)]
pub enum Change {
    /// Some bits of one byte.
    Flip(u16, u8),
    /// A length field, say.
    Set(u16, u32),
    /// Nothing from there on.
    Cut(u16),
    /// So many bytes less.
    Remove(u16, u8),
    /// These bytes more.
    Insert(u16, Vec<u8>),
    /// So many bytes twice.
    Repeat(u16, u8),
}

impl Change {
    /// These changes, one after the other.
    pub fn apply(changes: &[Self], bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for change in changes.iter().take(32) {
            change.change(&mut bytes);
        }
        bytes
    }

    fn change(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let place = |at: u16| usize::from(at) % (len + 1);
        match self {
            Self::Flip(at, by) => bytes.get_mut(place(*at)).map_or((), |byte| *byte ^= by),
            Self::Set(at, to) => bytes.iter_mut().skip(place(*at)).zip(to.to_be_bytes()).for_each(|(byte, to)| *byte = to),
            Self::Cut(at) => bytes.truncate(place(*at)),
            Self::Remove(at, count) => drop(bytes.drain(place(*at)..(place(*at) + usize::from(*count)).min(len))),
            Self::Insert(at, more) => drop(bytes.splice(place(*at)..place(*at), more.iter().copied())),
            Self::Repeat(at, count) => {
                let part = bytes[place(*at)..(place(*at) + usize::from(*count)).min(len)].to_vec();
                bytes.splice(place(*at)..place(*at), part);
            }
        }
    }
}

/// One sealed file.
pub struct SealedFile {
    /// Its name.
    pub name: &'static str,
    /// All of it.
    pub bytes: &'static [u8],
    /// Where its records stand.
    pub records: Vec<Range<usize>>,
}

/// A frozen log, seen from both sides.
pub struct World {
    /// The log.
    pub frozen: &'static Frozen,
    /// Its files, taken apart.
    pub files: Vec<SealedFile>,
    /// The auditor's key.
    pub identities: Identities,
    /// What lines are sealed to.
    pub recipients: Arc<Recipients>,
    /// How records follow each other.
    pub framing: Framing,
    /// The fingerprint from paper.
    pub genesis: GenesisFingerprint,
    /// The lines, each with its newline.
    pub lines: Vec<Vec<u8>>,
    /// When the log was marked.
    pub marked: Timestamp,
    stream: StreamId,
    writers: Vec<WriterId>,
    host: String,
    log: String,
    next_epoch: u64,
    chain_key: ChainKey,
    /// The literal's name of each record (`rfc4880`).
    names: Vec<Vec<u8>>,
}

/// The frozen logs.
pub static WORLDS: LazyLock<[World; 3]> = LazyLock::new(|| [0, 1, 2].map(|number| World::new(&FROZEN[number])));

impl World {
    fn new(frozen: &'static Frozen) -> Self {
        let identities = frozen.identities();
        let public = public_half(frozen);
        let found = recipient::parse(Path::new("public"), &public, SystemTime::now());
        let recipients = Recipients::new(found.into_iter().map(|key| key.expect("a frozen key")).collect(), None);
        let recipients = recipients.expect("one key");
        assert_eq!(recipients.profile().name(), frozen.profile);
        let mut files = Vec::new();
        let (mut controls, mut names) = (Vec::new(), Vec::new());
        let opener = Opener::new(&identities);
        let mut framing = None;
        for &(name, bytes) in &frozen.files {
            let mut records = Vec::new();
            let mut reader = RecordReader::new(bytes, &opener);
            for found in &mut reader {
                let Ok(Found::Record(record)) = found else { panic!("a frozen file is whole") };
                let at = usize::try_from(record.offset).expect("small");
                records.push(at..at + usize::try_from(record.length).expect("small"));
                controls.extend(record.opened.body.starts_with(b"{").then(|| Control::parse(&record.opened.body)).flatten());
                if let Seal::Rfc4880 { place: Some((locator, mac)), .. } = &record.opened.seal {
                    names.push(chain::rfc4880_name(locator, mac).to_vec());
                }
            }
            framing = reader.framing();
            files.push(SealedFile { name, bytes, records });
        }
        drop(opener);
        let (mut first, mut last_epoch, mut marked, mut writers) = (None, 0, None, Vec::new());
        for control in controls {
            writers.push(control.writer);
            match control.event {
                Event::Genesis(genesis) => first = Some((control.stream, genesis)),
                Event::Epoch(epoch) => last_epoch = last_epoch.max(epoch.epoch),
                Event::Mark(_) => marked = Some(control.time),
                _ => {}
            }
        }
        let (stream, genesis) = first.expect("a file begins with its genesis");
        let mut chain_key = ChainKey::from_bytes(*genesis.chain_key.as_bytes());
        (0..=last_epoch).for_each(|_| chain_key = chain_key.next());
        Self {
            frozen,
            files,
            recipients: Arc::new(recipients),
            framing: framing.expect("files have records"),
            genesis: frozen.genesis.trim().parse().expect("a fingerprint"),
            lines: frozen.lines.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect(),
            marked: marked.expect("the log has a mark"),
            stream,
            writers,
            host: genesis.host,
            log: genesis.log,
            next_epoch: last_epoch + 1,
            chain_key,
            names,
            identities,
        }
    }

    fn sealer(&self, key: &EpochKey) -> EpochSealer<Vec<u8>> {
        let table = vec![0; table_len(&self.recipients, 64)];
        EpochSealer::new(Arc::clone(&self.recipients), key, 64, table, Processor::ANY)
            .expect("keys of the tests can be sealed to")
    }

    fn framed(&self, record: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        framing::write(self.framing, record, &mut out);
        out
    }

    fn unframed(&self, item: &[u8]) -> Option<Vec<u8>> {
        match self.framing {
            Framing::Binary => Some(item.to_vec()),
            Framing::Base64 => {
                let mut record = Vec::new();
                framing::read_line(item.strip_suffix(b"\n")?, &mut record).then_some(record)
            }
        }
    }
}

fn public_half(frozen: &Frozen) -> Vec<u8> {
    if frozen.profile == "age" {
        let text = std::str::from_utf8(frozen.secret).expect("text");
        let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).expect("an identity");
        return ::age::x25519::Identity::from_str(line).expect("an identity").to_public().to_string().into_bytes();
    }
    let certificate = sequoia_openpgp::Cert::from_bytes(frozen.secret).expect("a key");
    certificate.strip_secret_key_material().to_vec().expect("a certificate")
}

/// One of the records that are there: which file, which of its records. Taken modulo what there is.
pub type Spot = (u8, u8);

/// What an intruder does.
#[derive(Arbitrary, Debug)]
pub enum Edit {
    /// Takes records away.
    Delete(Spot, u8),
    /// Puts records there a second time.
    Copy(Spot, u8, Spot),
    /// Puts records elsewhere.
    Move(Spot, u8, Spot),
    /// Changes bytes of a record.
    Change(Spot, Change),
    /// Puts in bytes.
    Insert(Spot, Vec<u8>),
    /// Puts the public-key part of one record before the encrypted part of another.
    Graft(Spot, Spot, Spot),
    /// Seals with the public key, in the salt, nonce or name of a record that is there.
    Imitate(Spot, Spot, Vec<u8>),
    /// Begins a stream of his own.
    Strange(Spot, Beginning, Vec<Say>),
    /// Goes on with the chain, as the next writer would.
    Next(Spot, Run),
    /// One file becomes two.
    Split(Spot),
    /// Two files become one.
    Join(u8),
    /// Files change their names.
    Exchange,
    /// A file goes.
    Remove(u8),
}

/// The genesis of a stream of his own.
#[derive(Arbitrary, Debug)]
pub struct Beginning {
    chain: u8,
    slots: u16,
    same_stream: bool,
    same_log: bool,
    state: bool,
    follows: bool,
    time: i32,
}

/// One epoch that he writes.
#[derive(Arbitrary, Debug)]
pub struct Run {
    skip: u8,
    /// The number that its `epoch` record tells, from the true one.
    off: i8,
    slots: u16,
    writer: u8,
    time: i32,
    before: Option<Used>,
    census: Option<Vec<Value>>,
    without_epoch: bool,
    says: Vec<Say>,
}

/// The end of an epoch, in his word.
#[derive(Arbitrary, Debug)]
pub struct Used {
    epoch: u8,
    used: u8,
    progress: u8,
}

/// A progress value, in his word.
#[derive(Arbitrary, Debug)]
pub struct Value {
    epoch: u8,
    memory: Option<u8>,
    disk: Option<u8>,
    live: bool,
    same_stream: bool,
}

/// One record of an epoch that he writes.
#[derive(Arbitrary, Debug)]
pub enum Say {
    /// A line.
    Line(u8),
    /// A line that looks like a control record.
    Pretend,
    /// The writer's first record in a file.
    Resume { length: u32, torn: u16, census: Option<Vec<Value>> },
    /// The same in a new one.
    Segment { segment: u8, length: Option<(u32, Option<Used>)>, census: Option<Vec<Value>> },
    /// Lines were dropped.
    Gap(u32),
    /// The end of the epoch, so many slots from the true one.
    Close(i8),
    /// The keys changed, to his stream or to none that is there.
    Recipients(bool),
    /// His stream, or none that is there, stood in for this one.
    Ephemeral(bool, Value),
    /// How far writers have come.
    Mark(Vec<Value>),
    /// Any other body.
    Raw(Vec<u8>),
}

/// A log in his hands.
pub struct Forger<'w> {
    world: &'w World,
    /// The records, or what became of them, of each file.
    pub files: Vec<Vec<Vec<u8>>>,
    epoch: u64,
    chain_key: ChainKey,
    strange: GenesisFingerprint,
    /// A word of the log's own stream names his.
    pub vouched: bool,
    budget: usize,
}

impl<'w> Forger<'w> {
    /// The log as it is at time T.
    pub fn new(world: &'w World) -> Self {
        let items = |file: &SealedFile| file.records.iter().map(|range| file.bytes[range.clone()].to_vec()).collect();
        Self {
            world,
            files: world.files.iter().map(items).collect(),
            epoch: world.next_epoch,
            chain_key: world.chain_key.clone(),
            strange: GenesisFingerprint::of(b"none that is there"),
            vouched: false,
            budget: 24,
        }
    }

    /// What the files hold.
    pub fn contents(&self) -> Vec<Vec<u8>> {
        self.files.iter().map(|file| file.concat()).collect()
    }

    /// Does one thing.
    pub fn edit(&mut self, edit: &Edit) {
        if self.files.is_empty() {
            return;
        }
        match edit {
            Edit::Delete(spot, count) => drop(self.take(*spot, *count)),
            Edit::Copy(from, count, to) => {
                let (file, range) = self.range(*from, *count);
                let items = self.files[file][range].to_vec();
                self.put(*to, items);
            }
            Edit::Move(from, count, to) => {
                let items = self.take(*from, *count);
                self.put(*to, items);
            }
            Edit::Change(spot, change) => {
                let (file, range) = self.range(*spot, 0);
                for item in &mut self.files[file][range] {
                    change.change(item);
                }
            }
            Edit::Insert(spot, bytes) => self.put(*spot, vec![bytes.clone()]),
            Edit::Graft(first, second, to) => {
                if let Some(item) = self.graft(*first, *second) {
                    self.put(*to, vec![item]);
                }
            }
            Edit::Imitate(of, to, body) => {
                if let Some(item) = self.item(*of).and_then(|item| self.imitate(&item, *of, body)) {
                    self.put(*to, vec![item]);
                }
            }
            Edit::Strange(to, beginning, says) => {
                let items = self.strange(beginning, says);
                self.put(*to, items);
            }
            Edit::Next(to, run) => {
                let items = self.next(run);
                self.put(*to, items);
            }
            Edit::Split(spot) => {
                let (file, range) = self.range(*spot, 0);
                let behind = self.files[file].split_off(range.start);
                if self.files.len() < 6 {
                    self.files.insert(file + 1, behind);
                }
            }
            Edit::Join(file) if self.files.len() > 1 => {
                let file = usize::from(*file) % (self.files.len() - 1);
                let behind = self.files.remove(file + 1);
                self.files[file].extend(behind);
            }
            Edit::Join(_) => {}
            Edit::Exchange => self.files.rotate_left(1),
            Edit::Remove(file) => drop(self.files.remove(usize::from(*file) % self.files.len())),
        }
    }

    fn range(&self, (file, at): Spot, more: u8) -> (usize, Range<usize>) {
        let file = usize::from(file) % self.files.len();
        let len = self.files[file].len();
        let at = usize::from(at) % (len + 1);
        (file, at..(at + 1 + usize::from(more % 8)).min(len).max(at))
    }

    fn item(&self, spot: Spot) -> Option<Vec<u8>> {
        let (file, range) = self.range(spot, 0);
        self.files[file].get(range.start).cloned()
    }

    fn take(&mut self, spot: Spot, more: u8) -> Vec<Vec<u8>> {
        let (file, range) = self.range(spot, more);
        self.files[file].drain(range).collect()
    }

    fn put(&mut self, spot: Spot, items: Vec<Vec<u8>>) {
        let (file, range) = self.range(spot, 0);
        // Sooner or later it is long enough.
        if self.files[file].len() < 128 {
            self.files[file].splice(range.start..range.start, items);
        }
    }

    fn graft(&self, first: Spot, second: Spot) -> Option<Vec<u8>> {
        let (first, second) = (self.world.unframed(&self.item(first)?)?, self.world.unframed(&self.item(second)?)?);
        if self.world.recipients.profile() == Profile::Age {
            let cut = |file: &[u8]| AgeFile::parse(file).ok().map(|age| file.len() - age.payload_len() - age.nonce.len());
            return Some(self.world.framed(&[&first[..cut(&first)?], &second[cut(&second)?..]].concat()));
        }
        let pkesks = Message::parse(&first).ok()?.pkesks;
        let rest = second.get(Message::parse(&second).ok()?.pkesks.len()..)?;
        Some(self.world.framed(&[pkesks, rest].concat()))
    }

    fn imitate(&mut self, item: &[u8], spot: Spot, body: &[u8]) -> Option<Vec<u8>> {
        self.budget = self.budget.checked_sub(1)?;
        let original = self.world.unframed(item)?;
        let body = [STRANGE, body, b"\n"].concat();
        let (recipients, session_key) = (&self.world.recipients, [9; 32]);
        let mut record = Vec::new();
        let cipher = recipients.cipher();
        let session_key = &session_key[..cipher.key_len()];
        match recipients.profile() {
            Profile::Rfc9580 => {
                let salt = Seipd2::parse(Message::parse(&original).ok()?.seipd).ok()?.salt;
                for key in recipients.openpgp() {
                    record.extend(key.pkesk6(session_key).ok()?);
                }
                let literal = Literal { name: b"", date: 0, body: &body };
                seipd2::write(
                    &MessageKey::derive(cipher, session_key, salt),
                    salt,
                    &literal,
                    &mut record,
                    Processor::ANY.write_chunks,
                );
            }
            Profile::Rfc4880 => {
                for key in recipients.openpgp() {
                    record.extend(key.pkesk3(cipher, session_key).ok()?);
                }
                // He cannot see it; the proof must hold if he could.
                let name = &self.world.names[usize::from(spot.1) % self.world.names.len()];
                seipd1::write(cipher, session_key, &[1; 16], &Literal { name, date: 0, body: &body }, &mut record);
            }
            Profile::Age => {
                let nonce = AgeFile::parse(&original).ok()?.nonce;
                let wrap = |key: &AgeRecipient| {
                    let mut agreements = [[0; AGREEMENT_LEN]; AT_ONCE];
                    agree_many(key.agreement_key()?, &[[9; 32]; AT_ONCE], &mut agreements);
                    Some(key.wrap(&[9; 16], &agreements[0]))
                };
                let stanzas: Vec<_> = recipients.age().filter_map(wrap).collect();
                age::write(&stanzas, &[9; 16], nonce, &body, &mut record);
            }
        }
        Some(self.world.framed(&record))
    }

    fn strange(&mut self, beginning: &Beginning, says: &[Say]) -> Vec<Vec<u8>> {
        let first = ChainKey::from_bytes([beginning.chain; 32]);
        let stream = if beginning.same_stream { self.world.stream } else { Hex([beginning.chain; 16]) };
        let follows = beginning.follows.then(|| Follows {
            stream: self.world.stream,
            genesis: self.world.genesis,
            why: "restart".to_owned(),
        });
        let names = if beginning.same_log {
            (self.world.host.clone(), self.world.log.clone())
        } else {
            ("h".to_owned(), "/l".to_owned())
        };
        let genesis = Genesis {
            chain_key: (*first.as_bytes()).into(),
            slots: u32::from(beginning.slots),
            host: names.0,
            log: names.1,
            software: String::new(),
            profile: self.world.frozen.profile.to_owned(),
            recipients: self.world.recipients.fingerprints(),
            state: beginning.state,
            progress: true,
            memory_locked: true,
            lacks: Vec::new(),
            follows,
        };
        let time = self.time(beginning.time);
        let mut written = Written::new(self, &first.epoch_key(), stream, Hex([8; 8]), time, STRANGE);
        written.control(Event::Genesis(genesis));
        let record = written.items.first().and_then(|item| self.world.unframed(item));
        says.iter().for_each(|say| written.say(say));
        let (items, vouched) = (written.items, written.vouched);
        self.vouched |= vouched;
        if let Some(record) = record {
            self.strange = GenesisFingerprint::of(&record);
        }
        items
    }

    fn time(&self, seconds: i32) -> Timestamp {
        self.world.marked.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(self.world.marked)
    }

    fn next(&mut self, run: &Run) -> Vec<Vec<u8>> {
        for _ in 0..run.skip % 4 {
            (self.epoch, self.chain_key) = (self.epoch + 1, self.chain_key.next());
        }
        let key = self.chain_key.epoch_key();
        let epoch = Epoch {
            epoch: self.epoch.saturating_add_signed(i64::from(run.off)),
            epoch_key: (*key.as_bytes()).into(),
            slots: if run.slots == 0 { 64 } else { u32::from(run.slots) },
            before: run.before.as_ref().map(used),
            boot: String::new(),
            progress: run.census.as_deref().map(|values| self.census(values)),
        };
        let writers = &self.world.writers;
        let writer = writers.get(usize::from(run.writer)).copied().unwrap_or(Hex([3; 8]));
        let mut written = Written::new(self, &key, self.world.stream, writer, self.time(run.time), AFTER);
        if !run.without_epoch {
            written.control(Event::Epoch(epoch));
        }
        run.says.iter().for_each(|say| written.say(say));
        let (items, vouched) = (written.items, written.vouched);
        self.vouched |= vouched;
        (self.epoch, self.chain_key) = (self.epoch + 1, self.chain_key.next());
        items
    }

    fn census(&self, values: &[Value]) -> Vec<FoundProgress> {
        values.iter().take(64).map(|value| found(value, self.world.stream)).collect()
    }
}

fn used(used: &Used) -> UsedEpoch {
    UsedEpoch { epoch: u64::from(used.epoch), used: u32::from(used.used), progress: Hex([used.progress; 32]) }
}

fn found(value: &Value, stream: StreamId) -> FoundProgress {
    FoundProgress {
        stream: value.same_stream.then_some(stream),
        epoch: u64::from(value.epoch),
        memory: value.memory.map(|byte| Hex([byte; 32])),
        disk: value.disk.map(|byte| Hex([byte; 32])),
        live: value.live,
    }
}

/// An epoch that he fills.
struct Written<'f> {
    forger: &'f Forger<'f>,
    sealer: EpochSealer<Vec<u8>>,
    stream: StreamId,
    writer: WriterId,
    time: Timestamp,
    mark: &'static [u8],
    items: Vec<Vec<u8>>,
    vouched: bool,
}

impl<'f> Written<'f> {
    fn new(
        forger: &'f Forger<'_>,
        key: &EpochKey,
        stream: StreamId,
        writer: WriterId,
        time: Timestamp,
        mark: &'static [u8],
    ) -> Self {
        Self { forger, sealer: forger.world.sealer(key), stream, writer, time, mark, items: Vec::new(), vouched: false }
    }

    fn seal(&mut self, kind: Kind, body: &[u8]) {
        let date = u32::try_from(self.time.as_second()).unwrap_or(0);
        let mut item = Vec::new();
        if self.sealer.seal(kind, date, body, self.forger.world.framing, &mut item).is_ok() {
            self.items.push(item);
        }
    }

    fn control(&mut self, event: Event) {
        let control = Control { v: 1, stream: self.stream, writer: self.writer, time: self.time, event };
        self.seal(Kind::Control, &control.body());
    }

    fn say(&mut self, say: &Say) {
        if self.items.len() >= 16 {
            return;
        }
        let none = GenesisFingerprint::of(b"none that is there");
        match say {
            Say::Line(number) => self.seal(Kind::Line, &[self.mark, &[*number, b'\n']].concat()),
            Say::Pretend => {
                let event = Event::Close(Close { slots: 1, why: "exit".to_owned() });
                let control = Control { v: 1, stream: self.stream, writer: self.writer, time: self.time, event };
                // It begins otherwise, so that the target knows it as his.
                self.seal(Kind::Line, &[self.mark, &control.body()].concat());
            }
            Say::Resume { length, torn, census } => self.control(Event::Resume(Resume {
                length: u64::from(*length),
                torn: u64::from(*torn),
                progress: census.as_deref().map(|values| self.forger.census(values)),
            })),
            Say::Segment { segment, length, census } => self.control(Event::Segment(Segment {
                segment: Some(u64::from(*segment)),
                before: length.as_ref().map(|(length, last)| SegmentBefore {
                    name: "x".to_owned(),
                    length: u64::from(*length),
                    last: last.as_ref().map(used),
                }),
                progress: census.as_deref().map(|values| self.forger.census(values)),
            })),
            Say::Gap(lines) => self.control(Event::Gap(Gap {
                lines: u64::from(*lines),
                bytes: 1,
                from: self.time,
                to: self.time,
                why: "full".to_owned(),
            })),
            Say::Close(off) => {
                let slots = self.sealer.next_slot().saturating_add_signed(i32::from(*off));
                self.control(Event::Close(Close { slots, why: "exit".to_owned() }));
            }
            Say::Recipients(his) => {
                self.vouched |= his;
                let genesis = if *his { self.forger.strange } else { none };
                self.control(Event::Recipients(RecipientsChanged { old: Vec::new(), new: Vec::new(), genesis }));
            }
            Say::Ephemeral(his, value) => {
                self.vouched |= his;
                let genesis = if *his { self.forger.strange } else { none };
                self.control(Event::Ephemeral(Ephemeral { genesis, progress: found(value, self.forger.world.stream) }));
            }
            Say::Mark(values) => self.control(Event::Mark(Mark { progress: self.forger.census(values) })),
            Say::Raw(body) => self.seal(Kind::Control, body),
        }
    }
}
