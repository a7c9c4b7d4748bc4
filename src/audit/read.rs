//! Opens the records of sealed files, in file order, several at a time.
//!
//! Promises: those of [`super::scan`]; what it hands out as a record is authentic under one of the auditor's keys. Does
//! not say whether it stands where it belongs: that is the verifier's business.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest, Sha256};

use super::heads::Heads;
pub use super::scan::{Damage, Why};
use super::scan::{Examine, Piece, Scanner};
use crate::control::{Control, Event, GenesisFingerprint};
use crate::identity::Identities;
use crate::record::Framing;
use crate::record::age::{AgeFile, MAGIC};
use crate::record::open::{Opened, Seal, SessionKey};
use crate::record::openpgp::Message;
use crate::record::seipd2::Seipd2;

/// So many session keys are kept, and as many failures.
const MAX_CACHED: usize = 4096;
/// The end of an age file is looked for in no more bytes: each that may be the last one costs as many.
const MAX_UNENDED: usize = 4096;
/// So many session keys are tried on a record whose PKESK packets give none.
const MAX_RECENT: usize = 4;

/// Opens records. One serves all files of a run, so that session keys and heads known from one help with the next.
pub struct Opener<'i> {
    identities: &'i Identities,
    hasher: RandomState,
    learned: Mutex<Learned>,
    work: Work,
}

struct Learned {
    heads: Arc<Heads>,
    /// `rfc9580`: what the PKESK packets with this digest give.
    session_keys: HashMap<[u8; 32], Option<Arc<SessionKey>>>,
    /// Session keys of the records accepted last, the newest first.
    recent: VecDeque<Arc<SessionKey>>,
}

/// What was done so far, to measure.
#[derive(Debug, Default)]
pub struct Work {
    /// Candidates that were tried.
    pub candidates: AtomicU64,
    /// Records whose PKESK packets or stanzas went to the secret keys.
    pub unwrapped: AtomicU64,
}

/// One record.
#[derive(Debug)]
pub struct Record {
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes of the file it takes, framing included.
    pub length: u64,
    /// Hash of the unframed record, the same for equal records opened by one [`Opener`] and for no others that chance brings.
    pub digest: u64,
    /// The fingerprint, where the body reads as a genesis.
    pub genesis: Option<GenesisFingerprint>,
    /// What it held.
    pub opened: Opened,
    /// Its own PKESK packets gave no key; a session key known from other records of its epoch opened it.
    pub salvaged: bool,
}

/// What stands in a file.
#[derive(Debug)]
pub enum Found {
    /// A record.
    Record(Box<Record>),
    /// Something else.
    Damage(Damage),
}

/// Reads one file: an iterator of what is found, in file order.
pub struct RecordReader<'o, 'i, R>(Scanner<'o, R, Opener<'i>>);

impl<'i> Opener<'i> {
    /// Opens with these secret keys.
    pub fn new(identities: &'i Identities) -> Self {
        let heads = Arc::new(Heads::new(&identities.marks()));
        let learned = Learned { heads, session_keys: HashMap::new(), recent: VecDeque::new() };
        Self { identities, hasher: RandomState::new(), learned: Mutex::new(learned), work: Work::default() }
    }

    /// What was done so far.
    pub fn work(&self) -> &Work {
        &self.work
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().expect("no thread panics while it holds the lock")
    }

    fn open(&self, record: &[u8]) -> Result<Opened, Why> {
        self.work.candidates.fetch_add(1, Ordering::Relaxed);
        if record.starts_with(MAGIC) {
            return self.open_age(record);
        }
        let message = Message::parse(record).ok().filter(|message| message.len == record.len()).ok_or(Why::NotARecord)?;
        let digest = Sha256::digest(message.pkesks).into();
        match message.seipd.first() {
            Some(2) => {
                let session_key = self.session_key(&message, digest)?.ok_or(Why::NoKey)?;
                Opened::seipd2(&message, digest, &session_key).map_err(|_| Why::DoesNotOpen)
            }
            Some(1) => {
                self.check(&message)?;
                self.work.unwrapped.fetch_add(1, Ordering::Relaxed);
                let (cipher, session_key) = self.identities.unwrap_seipd1(&message).ok_or(Why::NoKey)?;
                Opened::seipd1(&message, digest, cipher, &Arc::new(session_key)).map_err(|_| Why::DoesNotOpen)
            }
            _ => Err(Why::NotARecord),
        }
    }

    /// Refuses PKESK packets that span another record: it is to be found instead.
    fn check(&self, message: &Message<'_>) -> Result<(), Why> {
        if self.heads().hide_another(message.pkesks) { Err(Why::NotARecord) } else { Ok(()) }
    }

    fn open_age(&self, record: &[u8]) -> Result<Opened, Why> {
        let file = AgeFile::parse(record).map_err(|_| Why::NotARecord)?;
        self.work.unwrapped.fetch_add(1, Ordering::Relaxed);
        let file_key = self.identities.unwrap_age(&file.stanzas).ok_or(Why::NoKey)?;
        Opened::age(&file, &file_key).map_err(|_| Why::DoesNotOpen)
    }

    /// The session key that PKESK packets with this digest wrap, from the cache where it is there.
    fn session_key(&self, message: &Message<'_>, digest: [u8; 32]) -> Result<Option<Arc<SessionKey>>, Why> {
        if let Some(known) = self.learned().session_keys.get(&digest) {
            return Ok(known.clone());
        }
        self.check(message)?;
        let cipher = Seipd2::parse(message.seipd).map_err(|_| Why::DoesNotOpen)?.cipher;
        self.work.unwrapped.fetch_add(1, Ordering::Relaxed);
        let session_key = self.identities.unwrap_seipd2(message, cipher).map(Arc::new);
        let mut learned = self.learned();
        if learned.session_keys.len() >= MAX_CACHED {
            learned.session_keys.clear();
        }
        learned.session_keys.insert(digest, session_key.clone());
        Ok(session_key)
    }

    fn told(&self, record: &[u8], opened: Opened, salvaged: bool) -> Told {
        // What has another kind by its seal is only hashed in vain.
        let genesis = opened.body.starts_with(b"{").then(|| Control::parse(&opened.body)).flatten();
        let genesis =
            genesis.is_some_and(|control| matches!(control.event, Event::Genesis(_))).then(|| GenesisFingerprint::of(record));
        Told { digest: self.hasher.hash_one(record), genesis, opened, salvaged }
    }
}

/// A record before its place in the file is told.
pub struct Told {
    digest: u64,
    genesis: Option<GenesisFingerprint>,
    opened: Opened,
    salvaged: bool,
}

impl Examine for Opener<'_> {
    type Out = Told;

    fn examine(&self, record: &[u8]) -> Result<Told, Why> {
        self.open(record).map(|opened| self.told(record, opened, false))
    }

    fn again(&self, record: &[u8], why: Why, later: &mut dyn Iterator<Item = &Told>) -> Option<Told> {
        if why == Why::NotARecord {
            return None;
        }
        let message = Message::parse(record).ok().filter(|message| message.len == record.len())?;
        let packet = Seipd2::parse(message.seipd).ok()?;
        self.check(&message).ok()?;
        let mut keys: Vec<_> = self.learned().recent.iter().cloned().collect();
        // A record at the head of a file is helped by those behind it.
        keys.extend(later.take(MAX_RECENT).filter_map(|told| session_key(&told.opened)).cloned());
        let digest = Sha256::digest(message.pkesks).into();
        let opened = keys
            .iter()
            .filter(|key| key.as_bytes().len() == packet.cipher.key_len())
            .find_map(|key| Opened::seipd2(&message, digest, key).ok())?;
        Some(self.told(record, opened, true))
    }

    fn beginning(&self, bytes: &[u8]) -> Option<(usize, Told)> {
        // Where the end has padding it is seen, so only one without it can be followed by more.
        let told = |len: usize, opened| (len, self.told(&bytes[..len], opened, false));
        if !bytes.starts_with(MAGIC) {
            let len = Message::parse(bytes).ok().filter(|message| message.len < bytes.len() && message.len % 3 == 0)?.len;
            return self.open(&bytes[..len]).ok().map(|opened| told(len, opened));
        }
        // An age file does not say where it ends.
        let file = AgeFile::parse(bytes).ok().filter(|_| bytes.len() <= MAX_UNENDED)?;
        let file_key = self.identities.unwrap_age(&file.stanzas)?;
        let shortest = bytes.len() - file.payload_len();
        (shortest.next_multiple_of(3)..bytes.len())
            .step_by(3)
            .find_map(|len| Some(told(len, Opened::age(&AgeFile::parse(&bytes[..len]).ok()?, &file_key).ok()?)))
    }

    fn accepted(&self, record: &[u8], told: &Told) {
        let mut learned = self.learned();
        if !told.salvaged && !learned.heads.knows_beginning(record) {
            Arc::make_mut(&mut learned.heads).learn(record, true);
        }
        let Some(key) = session_key(&told.opened) else { return };
        if !learned.recent.iter().any(|known| Arc::ptr_eq(known, key)) {
            learned.recent.truncate(MAX_RECENT - 1);
            learned.recent.push_front(Arc::clone(key));
        }
    }

    fn rejected(&self, record: &[u8]) {
        Arc::make_mut(&mut self.learned().heads).learn(record, false);
    }

    fn heads(&self) -> Arc<Heads> {
        Arc::clone(&self.learned().heads)
    }
}

fn session_key(opened: &Opened) -> Option<&Arc<SessionKey>> {
    match &opened.seal {
        Seal::Rfc9580 { session_key, .. } => Some(session_key),
        Seal::Rfc4880 { .. } | Seal::Age { .. } => None,
    }
}

impl<'o, 'i, R: Read> RecordReader<'o, 'i, R> {
    /// Reads a file from its beginning; the framing is found out.
    pub fn new(input: R, opener: &'o Opener<'i>) -> Self {
        Self::at(input, 0, None, opener)
    }

    /// Goes on in a file: `input` stands at `offset`, the end of a record or the beginning of a `CutShort` damage told
    /// before. The framing is that of the file, where it is known.
    pub fn at(input: R, offset: u64, framing: Option<Framing>, opener: &'o Opener<'i>) -> Self {
        Self(Scanner::new(input, offset, framing, opener))
    }

    /// The framing, as soon as something was read.
    pub fn framing(&self) -> Option<Framing> {
        self.0.framing()
    }
}

impl<R: Read> Iterator for RecordReader<'_, '_, R> {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|piece| match piece {
            Piece::Damage(damage) => Found::Damage(damage),
            Piece::Record { offset, length, out: Told { digest, genesis, opened, salvaged } } => {
                Found::Record(Box::new(Record { offset, length, digest, genesis, opened, salvaged }))
            }
        }))
    }
}
