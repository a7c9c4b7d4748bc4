//! Opens the records of sealed files, in file order, several at a time.
//!
//! Promises: those of [`super::scan`]; what it hands out as a record is authentic under one of the auditor's keys. Does
//! not say whether it stands where it belongs: that is the verifier's business.
#![forbid(unsafe_code)]

mod desk;

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use memchr::{memchr, memchr_iter};
use sha2::{Digest, Sha256};

use self::desk::Desk;
use super::claim::{Claim, Claimed, Tables};
use super::digest::Hasher;
use super::heads::Heads;
use super::pool::Pool;
pub use super::scan::{Damage, Why};
use super::scan::{Examine, Piece, Scanner, unframe};
use crate::chain::Kind;
use crate::control::{Control, Event, GenesisFingerprint};
use crate::host::processor::{processor, read_chunks, read_four};
use crate::identity::Identities;
use crate::record::age::{AgeFile, MAGIC};
use crate::record::open::{Body, Opened, Seal, SessionKey, Wrapped};
use crate::record::openpgp::Message;
use crate::record::seal::Processor;
use crate::record::seipd2::four::ReadFour;
use crate::record::seipd2::{ReadChunks, Seipd2};
use crate::record::{Cipher, Framing};
use crate::sha256::Compress;

/// So many session keys are kept, and as many failures.
const MAX_CACHED: usize = 4096;
/// The end of an age file is looked for in no more bytes: each that may be the last one costs as many.
const MAX_UNENDED: usize = 4096;
/// So many session keys are tried on a record whose PKESK packets give none.
const MAX_RECENT: usize = 4;

/// Opens records. One serves all files of a run, so that session keys and heads known from one help with the next.
pub struct Opener<'i> {
    identities: &'i Identities,
    hasher: Hasher,
    learned: Mutex<Learned>,
    pkesks: Mutex<ByDigest>,
    tables: Tables,
    work: Work,
    compress: Compress,
    read_chunks: ReadChunks,
    read_four: Option<ReadFour>,
    /// The session key of the record that was accepted last.
    latest: AtomicU64,
}

/// By the SHA-256 of PKESK packets, and the cipher: a session key is one for a cipher, and who copies the packets in front of
/// something with another one must not spoil what they wrap.
type ByDigest = HashMap<([u8; 32], Cipher), Arc<Pkesks>>;

struct Learned {
    heads: Arc<Heads>,
    /// Session keys of the records accepted last, the newest first.
    recent: VecDeque<Arc<Wrapped>>,
}

/// `rfc9580`: what PKESK packets give, and what the first record with them claims.
#[derive(Default)]
struct Pkesks {
    session_key: OnceLock<Option<SessionKey>>,
    claim: OnceLock<Arc<Claim>>,
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
    /// How many lines end in it, or 1: a record may hold a piece of a line, or several lines.
    pub lines: u32,
    /// Its own PKESK packets gave no key; a session key known from other records of its epoch opened it.
    pub salvaged: bool,
    /// The epoch that the first record with its PKESK packets claims, and the slot in it that this one proves.
    pub claim: Option<(Arc<Claimed>, u32)>,
}

impl Record {
    fn new(offset: u64, length: u64, told: Told) -> Self {
        let Told { digest, genesis, opened, lines, salvaged, claim } = told;
        Self { offset, length, digest, genesis: genesis.map(|genesis| *genesis), opened, lines, salvaged, claim }
    }

    /// What of it is worth keeping where it has no place yet, in memory of its own: what its seal is checked with.
    pub fn kept(&self) -> Self {
        let Opened { seal, date, body } = &self.opened;
        let body = match seal {
            Seal::Rfc9580 { kind: Kind::Line, .. } => Body::default(),
            _ => body.to_vec().into(),
        };
        let opened = Opened { seal: seal.clone(), date: *date, body };
        Self { opened, claim: self.claim.clone(), ..*self }
    }
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
        let Processor { compress, .. } = processor();
        Self {
            identities,
            hasher: Hasher::default(),
            learned: Mutex::new(Learned { heads, recent: VecDeque::new() }),
            pkesks: Mutex::default(),
            tables: Tables::new(compress),
            work: Work::default(),
            compress,
            read_chunks: read_chunks(),
            read_four: read_four(),
            latest: AtomicU64::new(0),
        }
    }

    /// What was done so far.
    pub fn work(&self) -> &Work {
        &self.work
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().expect("no thread panics while it holds the lock")
    }

    fn open_seipd1(&self, message: &Message<'_>) -> Result<Opened, Why> {
        self.check(message)?;
        self.work.unwrapped.fetch_add(1, Ordering::Relaxed);
        let (cipher, session_key) = self.identities.unwrap_seipd1(message).ok_or(Why::NoKey)?;
        let wrapped = Wrapped { pkesks_digest: Sha256::digest(message.pkesks).into(), session_key };
        Opened::seipd1(message, cipher, &Arc::new(wrapped)).map_err(|_| Why::DoesNotOpen)
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

    /// What the PKESK packets with this digest give, from the cache where it is there.
    fn unwrap(&self, message: &Message<'_>, digest: [u8; 32]) -> Result<Arc<Pkesks>, Why> {
        let pkesks = || self.pkesks.lock().expect("no thread panics while it holds the lock");
        let cipher = Seipd2::parse(message.seipd).map_err(|_| Why::DoesNotOpen)?.cipher;
        let known = pkesks().get(&(digest, cipher)).filter(|entry| entry.session_key.get().is_some()).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        self.check(message)?;
        let entry = {
            let mut pkesks = pkesks();
            if pkesks.len() >= MAX_CACHED {
                pkesks.clear();
            }
            Arc::clone(pkesks.entry((digest, cipher)).or_default())
        };
        // Other threads wait for it instead of doing the same.
        entry.session_key.get_or_init(|| {
            self.work.unwrapped.fetch_add(1, Ordering::Relaxed);
            self.identities.unwrap_seipd2(message, cipher)
        });
        Ok(entry)
    }

    fn told(&self, record: &[u8], opened: Opened, salvaged: bool) -> Told {
        // What has another kind by its seal is only hashed in vain.
        let genesis = control(&opened).is_some_and(|control| matches!(control.event, Event::Genesis(_)));
        let genesis = genesis.then(|| Box::new(GenesisFingerprint::of(record)));
        let lines = count_lines(&opened.body);
        Told { digest: self.hasher.digest(record), genesis, opened, lines, salvaged, claim: None }
    }
}

/// What a record says as a control record, if its seal does not say that it is none.
fn control(opened: &Opened) -> Option<Control> {
    let is_line = matches!(opened.seal, Seal::Rfc9580 { kind: Kind::Line, .. });
    (!is_line && opened.body.starts_with(b"{")).then(|| Control::parse(&opened.body)).flatten()
}

fn count_lines(body: &[u8]) -> u32 {
    match memchr(b'\n', body) {
        Some(at) if at + 1 < body.len() => {
            u32::try_from(memchr_iter(b'\n', body).count()).expect("a record has far less than 4 GiB")
        }
        _ => 1,
    }
}

/// A record before its place in the file is told.
pub struct Told {
    digest: u64,
    genesis: Option<Box<GenesisFingerprint>>,
    opened: Opened,
    lines: u32,
    salvaged: bool,
    claim: Option<(Arc<Claimed>, u32)>,
}

impl Examine for Opener<'_> {
    type Out = Told;

    fn examine(&self, record: &[u8]) -> Result<Told, Why> {
        let whole = 0..record.len();
        self.examine_all(record, &[whole], Framing::Binary).pop().flatten().expect("one record is asked for")
    }

    fn examine_all(&self, bytes: &[u8], cut: &[Range<usize>], framed: Framing) -> Vec<Option<Result<Told, Why>>> {
        let (bytes, candidates) = unframe(bytes, cut, framed);
        let mut desk = Desk::new(self, bytes.len(), candidates.len());
        for candidate in candidates {
            desk.take(candidate.map(|range| Ok(&bytes[range?])));
        }
        self.work.candidates.fetch_add(cut.len() as u64, Ordering::Relaxed);
        desk.finish()
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
        keys.extend(later.take(MAX_RECENT).filter_map(|told| told.opened.wrapped()).cloned());
        let pkesks_digest = Sha256::digest(message.pkesks).into();
        let opened = keys.iter().filter(|key| key.session_key.as_bytes().len() == packet.cipher.key_len()).find_map(|key| {
            let wrapped = Wrapped { pkesks_digest, session_key: key.session_key.clone() };
            Opened::seipd2(&message, &Arc::new(wrapped)).ok()
        })?;
        Some(self.told(record, opened, true))
    }

    fn beginning(&self, bytes: &[u8]) -> Option<(usize, Told)> {
        // Where the end has padding it is seen, so only one without it can be followed by more.
        let told = |len: usize, opened| (len, self.told(&bytes[..len], opened, false));
        if !bytes.starts_with(MAGIC) {
            let len = Message::parse(bytes).ok().filter(|message| message.len < bytes.len() && message.len % 3 == 0)?.len;
            return self.examine(&bytes[..len]).ok().map(|told| (len, told));
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
        let key = told.opened.wrapped();
        // Of a claim all records are alike.
        let of = told.claim.as_ref().filter(|_| !told.salvaged).map_or(0, |(claim, _)| claim.id());
        if self.latest.load(Ordering::Relaxed) == of && of != 0 {
            return;
        }
        self.latest.store(of, Ordering::Relaxed);
        let mut learned = self.learned();
        if !told.salvaged && !learned.heads.knows_beginning(record) {
            Arc::make_mut(&mut learned.heads).learn(record, true);
        }
        let Some(key) = key else { return };
        if !learned.recent.iter().any(|known| known.session_key.as_bytes() == key.session_key.as_bytes()) {
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

    /// For who wants no more than the first `window` records.
    pub fn with_window(self, window: usize) -> Self {
        Self(self.0.with_window(window))
    }

    /// Lets the threads of a pool open the records.
    pub fn with_pool(self, pool: &'o Pool<Told>) -> Self {
        Self(self.0.with_pool(pool))
    }

    /// The next piece, not on the heap.
    fn piece(&mut self) -> Option<io::Result<Piece<Record>>> {
        Some(self.0.next()?.map(|piece| match piece {
            Piece::Damage(damage) => Piece::Damage(damage),
            Piece::Record { offset, length, out } => Piece::Record { offset, length, out: Record::new(offset, length, out) },
        }))
    }

    /// Calls `each` with what is found, in file order, until it fails or the file ends.
    pub fn try_each<E>(mut self, mut each: impl FnMut(Result<&Record, Damage>) -> Result<(), E>) -> io::Result<Result<(), E>> {
        while let Some(piece) = self.piece() {
            let done = match piece? {
                Piece::Damage(damage) => each(Err(damage)),
                Piece::Record { out, .. } => each(Ok(&out)),
            };
            if done.is_err() {
                return Ok(done);
            }
        }
        Ok(Ok(()))
    }

    /// The framing, as soon as something was read.
    pub fn framing(&self) -> Option<Framing> {
        self.0.framing()
    }
}

impl<R: Read> Iterator for RecordReader<'_, '_, R> {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.piece()?.map(|piece| match piece {
            Piece::Damage(damage) => Found::Damage(damage),
            Piece::Record { out, .. } => Found::Record(Box::new(out)),
        }))
    }
}
