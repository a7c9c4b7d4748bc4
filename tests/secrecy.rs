//! What the memory of a running filter gives to who takes it: nothing of what was sealed before.
//!
//! A filter seals lines and then waits for more. Its whole memory is read as root, and what it must not hold is derived from
//! the finished file with the auditor's key: the lines, every key that opens a sealed record or makes another in its slot,
//! the chain up to the epochs that it has claimed. Then every window of 16 and of 32 bytes of its writable memory is
//! tried as a key on two sealed records, the first short one and the last, so that it does not matter what those keys are
//! called: 540,000 windows of 16 bytes and 720,000 of 32 bytes a filter have enough different bytes to be keys, of 21 MiB
//! of memory; with two tests at a time that takes from 2 seconds (rfc4880) to 19 (age), and a whole test 10 to 30.
//!
//! Only root may read that memory, because the filters are not dumpable; for others the tests say so and do nothing.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]
// What was done, and where nothing could be, why: seen with --nocapture.
#![allow(clippy::print_stderr)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use aes::cipher::BlockCipherDecrypt;
use aes::cipher::consts::U16;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use hkdf::Hkdf;
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use sealedlog::chain::{ChainKey, EpochKey, Kind};
use sealedlog::control::{Control, Event, WriterId};
use sealedlog::host::memory::SYMMETRIC_STACK;
use sealedlog::host::processor::processor;
use sealedlog::record::age::AgeFile;
use sealedlog::record::ocb::{self, Ocb};
use sealedlog::record::open::Seal;
use sealedlog::record::openpgp::Message;
use sealedlog::record::seal::{EpochSealer, table_len};
use sealedlog::record::seipd2::{MessageKey, Seipd2};
use sealedlog::record::{Cipher, Framing, framing, seipd1};
use sealedlog::stream::claim::{ClaimSource, Claimant};
use sealedlog::stream::state::StateFolder;
use sha2::Sha256;

use common::keys;
use common::lines::Random;
use common::memory::{Needles, Region, of_file, of_process, tell, windows};
use common::sealed::{Content, Entry, Log, NOBODY, Place, Running, SOON, names, unprivileged};
use common::tools::{must, run, tool, wait_for};

/// So many lines come at once, with a pause behind them, so that epochs stay small and several are used.
const BURST: usize = 16;
const BURSTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(400);
const LONG_LINE: usize = 300 << 10;

/// Whether the memory of filters can be read; says why not.
fn may_read() -> bool {
    let root = Uid::effective().is_root();
    if !root {
        eprintln!("nothing is done: a filter is not dumpable, so only root can read its memory");
    }
    root
}

/// A line of random letters and digits, of which no part can be in memory by chance.
fn line(random: &mut Random, len: usize) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut line: Vec<u8> = (0..len).map(|_| LETTERS[random.below(LETTERS.len() as u64) as usize]).collect();
    line.push(b'\n');
    line
}

/// A filter on a log of its own, and what was given to it.
struct Sealing {
    running: Running,
    runtime: PathBuf,
    random: Random,
    lines: Vec<Vec<u8>>,
}

impl Sealing {
    fn start(place: &Place, command: &mut Command) -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("randomness");
        let (running, random) = (Running::start(command), Random(u64::from_le_bytes(seed)));
        Self { running, runtime: place.path("run"), random, lines: Vec::new() }
    }

    fn write(&mut self, len: usize) {
        let line = line(&mut self.random, len);
        self.running.write(&line);
        self.lines.push(line);
    }

    /// Short lines, longer ones, and in the middle one that is longer than all buffers.
    fn bursts(&mut self, bursts: usize) {
        for burst in 0..bursts {
            for _ in 0..BURST {
                let long = self.random.below(8) == 0;
                let len = if long { 2000 + self.random.below(9000) } else { 20 + self.random.below(300) };
                self.write(len as usize);
            }
            if burst == bursts / 2 {
                self.write(LONG_LINE);
            }
            // It seals no more than these before the pause is over, whenever it gets its turn.
            self.running.wait_idle();
            sleep(PAUSE);
        }
    }

    /// The files of progress that this filter holds, where it is the only one.
    fn epochs(&self) -> Vec<String> {
        names(&self.runtime).iter().flat_map(|folder| names(&self.runtime.join(folder))).collect()
    }

    /// Goes on until an epoch is claimed ahead and nothing happens any more.
    fn rest(&mut self) {
        assert!(
            wait_for(SOON, || {
                self.write(50);
                sleep(Duration::from_millis(100));
                self.running.wait_idle();
                self.epochs().len() == 2
            }),
            "no epoch is claimed ahead"
        );
    }

    /// Goes on until the epoch that was claimed ahead is the one in use.
    fn reach_next_epoch(&mut self) {
        let first = self.epochs()[0].clone();
        while self.epochs().contains(&first) {
            (0..BURST).for_each(|_| self.write(50));
            sleep(Duration::from_millis(20));
        }
    }
}

/// What a filter and its folders held at one time, and what was in the file then.
struct Snapshot {
    memory: Vec<Region>,
    files: Vec<Region>,
    lengths: HashMap<PathBuf, u64>,
    next_epoch: u64,
    next_chain_key: ChainKey,
}

impl Snapshot {
    fn of(place: &Place, pid: u32, folder: &StateFolder) -> Self {
        let memory = of_process(pid).expect("root reads every process's memory");
        let of = |name: &str| place.files().into_iter().filter(|file| file.starts_with(place.path(name))).collect::<Vec<_>>();
        let files = ["state", "run", "log"].iter().flat_map(|name| of(name)).map(|file| of_file(&file)).collect();
        let lengths = of("log").into_iter().map(|file| (file.clone(), fs::metadata(&file).expect("it is there").len())).collect();
        let state = folder.lock().expect("nobody claims").read().expect("whole").expect("a stream has begun");
        Self { memory, files, lengths, next_epoch: state.next_epoch, next_chain_key: state.chain_key }
    }
}

fn state_folder(place: &Place) -> StateFolder {
    let log = fs::canonicalize(place.path("log")).expect("it is there");
    StateFolder::new(&place.path("state"), &place.path("run"), &log, "x.log")
}

/// One epoch as its chain and its records in the finished file tell it.
struct Epoch {
    chain_key: ChainKey,
    key: EpochKey,
    slots: u32,
    /// Records in the file at the time of the snapshot: slots from 0 on.
    sealed: u32,
    /// Any record of it.
    record: Option<usize>,
}

/// What can be derived from the finished file.
struct Derived {
    log: Log,
    epochs: BTreeMap<u64, Epoch>,
}

impl Derived {
    fn new(file: &Path, secret: &Path, snapshot: &Snapshot) -> Self {
        let log = Log::whole(file, secret);
        log.assert_settled();
        let (first, slots) = log
            .events()
            .find_map(|event| match event {
                Event::Genesis(genesis) => Some((ChainKey::from_bytes(*genesis.chain_key.as_bytes()), genesis.slots)),
                _ => None,
            })
            .expect("every file begins with its genesis");
        let (mut epochs, mut chain_key) = (BTreeMap::new(), first);
        for epoch in 0..=snapshot.next_epoch {
            let (key, next) = (chain_key.epoch_key(), chain_key.next());
            epochs.insert(epoch, Epoch { chain_key, key, slots, sealed: 0, record: None });
            chain_key = next;
        }
        let length = snapshot.lengths[file];
        for (number, Entry { place: (_, epoch, slot), offset, length: len, content, .. }) in log.entries.iter().enumerate() {
            let Some(of) = epochs.get_mut(epoch) else { continue };
            of.record = Some(number);
            if offset + len <= length {
                of.sealed = of.sealed.max(slot + 1);
            }
            if let Content::Control(Control { event: Event::Epoch(epoch), .. }) = content {
                of.slots = epoch.slots;
            }
        }
        // Else the derivation would be of another chain.
        assert_eq!(epochs[&snapshot.next_epoch].chain_key.as_bytes(), snapshot.next_chain_key.as_bytes());
        Self { log, epochs }
    }

    fn sealed(&self, snapshot: &Snapshot, file: &Path) -> impl Iterator<Item = &Entry> {
        let length = snapshot.lengths[file];
        self.log.entries.iter().filter(move |entry| entry.offset + entry.length <= length)
    }

    /// The newest epoch with a record at the time of the snapshot.
    fn in_use(&self) -> u64 {
        *self.epochs.iter().rfind(|(_, epoch)| epoch.sealed > 0).expect("lines were sealed").0
    }

    fn seal(&self, epoch: u64) -> Option<&Seal> {
        self.epochs[&epoch].record.map(|number| &self.log.entries[number].seal)
    }

    /// `C_j`, where a record of the epoch tells its session key.
    fn chain_secret(&self, epoch: u64) -> Option<[u8; 32]> {
        let key = self.epochs[&epoch].key.as_bytes();
        let (salt, info) = match self.seal(epoch) {
            Some(Seal::Rfc9580 { wrapped, .. }) => {
                (wrapped.session_key.as_bytes(), [&b"sealedlog v1 chain"[..], &wrapped.pkesks_digest].concat())
            }
            Some(_) => (&b""[..], b"sealedlog v1 chain".to_vec()),
            None => return None,
        };
        Some(hkdf(Some(salt), key, &info))
    }

    /// `T_{j,i}`
    fn tag(&self, epoch: u64, slot: u32) -> [u8; 32] {
        hmac(&self.chain_secret(epoch).expect("the epoch has records"), &slot.to_be_bytes())
    }

    /// Key and nonce's prefix of the record in this slot of an epoch of the profile `rfc9580`.
    fn message_key(&self, epoch: u64, slot: u32) -> Option<(Vec<u8>, [u8; 7])> {
        let Some(Seal::Rfc9580 { wrapped, .. }) = self.seal(epoch) else { return None };
        let session_key = wrapped.session_key.as_bytes();
        let cipher = if session_key.len() == 32 { Cipher::Aes256 } else { Cipher::Aes128 };
        let salt = [&self.epochs[&epoch].key.locators().slot(slot)[..], &self.tag(epoch, slot)[..24]].concat();
        let mut bytes = [0; MessageKey::LEN];
        MessageKey::derive(cipher, session_key, salt[..].try_into().expect("8 and 24 bytes")).write_to(&mut bytes);
        let (key, rest) = bytes.split_at(cipher.key_len());
        Some((key.to_vec(), *rest.first_chunk().expect("seven bytes stand behind the key")))
    }

    /// What lets its holder seal in a slot that is still free: in memory for as long as it is.
    fn free_slot(&self, epoch: u64, slot: u32) -> Vec<u8> {
        self.message_key(epoch, slot).map_or_else(|| self.tag(epoch, slot).to_vec(), |(key, _)| key)
    }
}

fn hkdf(salt: Option<&[u8]>, key: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(salt, key).expand(info, &mut out).expect("32 bytes are within HKDF's limit");
    out
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    use hmac::Mac;
    let mut mac = <hmac::Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Adds a key of HMAC-SHA256 in all its forms: raw, in hex, and as the two states that a prepared MAC keeps of it, in
/// the order of the words and in that of the processor's SHA instructions.
fn add_mac_key(needles: &mut Needles, name: &str, key: &[u8; 32]) {
    needles.add_key(name, key);
    for (side, pad) in [("inner", 0x36), ("outer", 0x5c)] {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        let mut state = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
        sha2::block_api::compress256(&mut state, &[block]);
        let bytes = |order: [usize; 8]| order.iter().flat_map(|&word| state[word].to_le_bytes()).collect::<Vec<_>>();
        needles.add(format!("{name}, {side} state"), &bytes([0, 1, 2, 3, 4, 5, 6, 7]));
        needles.add(format!("{name}, {side} state in registers"), &bytes([5, 4, 1, 0, 7, 6, 3, 2]));
    }
}

/// All that must be gone.
fn needles(derived: &Derived, snapshot: &Snapshot, file: &Path, lines: &[Vec<u8>]) -> Needles {
    let mut needles = Needles::default();
    for (number, line) in lines.iter().enumerate() {
        needles.add(format!("line {number}"), line);
    }
    for (number, entry) in derived.sealed(snapshot, file).enumerate() {
        match &entry.seal {
            // Once for an epoch, below.
            Seal::Rfc9580 { .. } => {}
            Seal::Rfc4880 { wrapped, .. } => {
                needles.add(format!("session key of record {number}"), wrapped.session_key.as_bytes())
            }
            Seal::Age { nonce, file_key } => {
                needles.add(format!("file key of record {number}"), &file_key[..]);
                needles.add(format!("payload key of record {number}"), &hkdf(Some(nonce), &file_key[..], b"payload"));
                add_mac_key(&mut needles, &format!("header key of record {number}"), &hkdf(Some(b""), &file_key[..], b"header"));
            }
        }
    }
    for (&number, epoch) in &derived.epochs {
        add_mac_key(&mut needles, &format!("E_{number}"), epoch.chain_key.as_bytes());
        // An epoch that is claimed and not begun: slot 0 will carry its key, and all that follows from it is still to come.
        if epoch.sealed > 0 || number == snapshot.next_epoch {
            add_mac_key(&mut needles, &format!("K_{number}"), epoch.key.as_bytes());
        }
        if let Some(secret) = derived.chain_secret(number) {
            add_mac_key(&mut needles, &format!("C_{number}"), &secret);
        }
        if let Some(Seal::Rfc9580 { wrapped, .. }) = derived.seal(number) {
            needles.add(format!("session key of epoch {number}"), wrapped.session_key.as_bytes());
        }
        for slot in 0..epoch.sealed {
            let name = format!("T of epoch {number} slot {slot}");
            let tag = derived.tag(number, slot);
            match derived.message_key(number, slot) {
                Some((key, _)) => {
                    needles.add(format!("message key of epoch {number} slot {slot}"), &key);
                    // The first 24 bytes stand in the record for all to see.
                    needles.add(name, &tag[16..]);
                }
                None => add_mac_key(&mut needles, &name, &tag),
            }
        }
        let mut progress = epoch.key.memory_progress();
        for slots in 0..epoch.sealed {
            progress.advance_to(slots);
            needles.add_key(&format!("P of epoch {number} after {slots}"), progress.value());
        }
    }
    needles
}

/// Bytes that open a record, tried as each of the keys that records have.
struct Sample {
    record: Vec<u8>,
    /// `rfc9580`: what follows the message key's own bytes.
    iv: [u8; 7],
    /// `None` for RSA, which wraps with no symmetric key.
    wrapped: Option<Wrapped>,
}

/// A session key or file key under the key that Diffie-Hellman gave.
enum Wrapped {
    Age(Vec<u8>),
    Pkesk(Vec<u8>),
}

impl Wrapped {
    fn of(record: &[u8]) -> Option<Self> {
        if let Ok(file) = AgeFile::parse(record) {
            let body = &file.stanzas[0].body;
            return (body.len() == 32).then(|| Self::Age(body.clone()));
        }
        let pkesk = Message::parse(record).expect("a record").pkesks;
        // At the end of the packet, behind its length: 8 bytes more than what was wrapped.
        let len = [24, 40, 48].into_iter().find(|&len| usize::from(pkesk[pkesk.len() - 1 - len]) == len)?;
        (pkesk.len() < 200).then(|| Self::Pkesk(pkesk[pkesk.len() - len..].to_vec()))
    }
}

/// RFC 3394, 2.2.2: whether the integrity check value comes out.
fn unwraps_aes<C: BlockCipherDecrypt<BlockSize = U16>>(cipher: &C, wrapped: &[u8]) -> bool {
    let (mut blocks, n) = (wrapped.to_vec(), wrapped.len() / 8 - 1);
    for step in (1..=6 * n).rev() {
        let at = 8 * ((step - 1) % n + 1);
        let mut block = aes::Block::default();
        block[..8].copy_from_slice(&blocks[..8]);
        block[7] ^= u8::try_from(step).expect("at most 30 steps");
        block[8..].copy_from_slice(&blocks[at..at + 8]);
        cipher.decrypt_block(&mut block);
        blocks[..8].copy_from_slice(&block[..8]);
        blocks[at..at + 8].copy_from_slice(&block[8..]);
    }
    blocks[..8] == [0xa6; 8]
}

#[test]
fn key_wrap_is_undone() {
    // RFC 3394, 4.1
    let key: Vec<u8> = (0..16).collect();
    let wrapped = 0x1fa6_8b0a_8112_b447_aef3_4bd8_fb5a_7b82_u128.to_be_bytes();
    let wrapped = [&wrapped[..], &0x9d3e_8623_71d2_cfe5_u64.to_be_bytes()].concat();
    assert!(unwraps_aes(&aes::Aes128::new_from_slice(&key).unwrap(), &wrapped));
    assert!(!unwraps_aes(&aes::Aes128::new_from_slice(&[7; 16]).unwrap(), &wrapped));
}

impl Sample {
    fn new(file: &Path, entry: &Entry, derived: &Derived) -> Self {
        let content = fs::read(file).expect("readable");
        let framed = &content[entry.offset as usize..][..entry.length as usize];
        let mut record = framed.to_vec();
        if file.extension().is_some_and(|suffix| suffix == "age64") {
            assert!(framing::read_line(framed.trim_ascii_end(), &mut record));
        }
        let (_, epoch, slot) = entry.place;
        let iv = derived.message_key(epoch, slot).map_or([0; 7], |(_, iv)| iv);
        let wrapped = Wrapped::of(&record);
        Self { record, iv, wrapped }
    }

    fn opens(&self, window: &[u8]) -> bool {
        let mut plain = Vec::new();
        if self.unwraps(window) {
            return true;
        }
        if let Ok(file) = AgeFile::parse(&self.record) {
            return match window.first_chunk::<16>() {
                Some(key) if window.len() == 16 => file.open(key, &mut plain).is_ok(),
                _ => self.opens_payload(window),
            };
        }
        let message = Message::parse(&self.record).expect("a record");
        if message.seipd[0] == 1 {
            let cipher = if window.len() == 32 { Cipher::Aes256 } else { Cipher::Aes128 };
            return seipd1::open(cipher, window, message.seipd, &mut plain).is_ok();
        }
        let packet = Seipd2::parse(message.seipd).expect("a record");
        let len = packet.cipher.key_len();
        window.len() == len && (packet.open(window, &mut plain).is_ok() || self.opens_chunk(message.seipd, window))
    }

    /// As the key that wraps the session key or file key: of an X25519 stanza, or of AES key wrap in a PKESK packet.
    fn unwraps(&self, key: &[u8]) -> bool {
        match &self.wrapped {
            Some(Wrapped::Age(body)) => {
                key.len() == 32
                    && ChaCha20Poly1305::new_from_slice(key).expect("32 bytes").decrypt(&Nonce::default(), &body[..]).is_ok()
            }
            Some(Wrapped::Pkesk(body)) => match key.len() {
                16 => unwraps_aes(&aes::Aes128::new_from_slice(key).expect("16 bytes"), body),
                _ => unwraps_aes(&aes::Aes256::new_from_slice(key).expect("32 bytes"), body),
            },
            None => false,
        }
    }

    /// As message key, of a record with one chunk.
    fn opens_chunk(&self, seipd: &[u8], key: &[u8]) -> bool {
        let (fields, chunks) = seipd.split_at(36);
        let (chunks, _) = chunks.split_last_chunk::<16>().expect("a record has two tags");
        let (text, tag) = chunks.split_last_chunk::<16>().expect("a record has two tags");
        let ad = [0xd2, fields[0], fields[1], fields[2], fields[3]];
        let (nonce, mut text) = (ocb::nonce(&self.iv), text.to_vec());
        match key.len() {
            16 => Ocb::<aes::Aes128>::new(key, nonce).open(0, &ad, &mut text, tag).is_ok(),
            _ => Ocb::<aes::Aes256>::new(key, nonce).open(0, &ad, &mut text, tag).is_ok(),
        }
    }

    /// As payload key of an age file with one chunk.
    fn opens_payload(&self, key: &[u8]) -> bool {
        let mac = memchr::memmem::find(&self.record, b"\n--- ").expect("a header ends with its MAC");
        let payload = mac + 5 + memchr::memchr(b'\n', &self.record[mac + 5..]).expect("the MAC's line ends") + 1 + 16;
        let nonce: Nonce = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].into();
        let cipher = ChaCha20Poly1305::new_from_slice(key).expect("32 bytes");
        cipher.decrypt(&nonce, &self.record[payload..]).is_ok()
    }
}

/// Seals, takes the memory at rest, and looks for everything in it.
fn nothing_that_was_sealed_can_be_had(place: &Place, command: &mut Command, file: &str, secret: &Path, is_rsa: bool) {
    if !may_read() {
        return;
    }
    let mut sealing = Sealing::start(place, command);
    sealing.bursts(BURSTS);
    sealing.rest();
    let folder = state_folder(place);
    let snapshot = Snapshot::of(place, sealing.running.pid(), &folder);
    let lines = sealing.lines.clone();
    // What is claimed ahead shows its keys to the auditor once it is used.
    sealing.reach_next_epoch();
    let Sealing { running, .. } = sealing;
    running.end_well();

    let file = fs::canonicalize(place.path("log")).unwrap().join(file);
    let derived = Derived::new(&file, secret, &snapshot);
    let in_use = derived.in_use();
    assert!(in_use >= 3, "only {in_use} epochs were used");
    assert_eq!(in_use + 2, snapshot.next_epoch, "one epoch is claimed ahead");
    assert!(derived.seal(in_use + 1).is_some(), "what was claimed ahead has been used since");
    let sealed = derived.sealed(&snapshot, &file).filter(|entry| matches!(entry.content, Content::Line(_))).count();
    assert_eq!(sealed, lines.len(), "all lines were sealed before the memory was taken");

    // That the search finds what is there: keys that are still needed, in the epoch in use and in the one claimed ahead.
    for (epoch, slot) in [(in_use, derived.epochs[&in_use].sealed), (in_use + 1, 1)] {
        let mut control = Needles::default();
        control.add("the next slot's key", &derived.free_slot(epoch, slot));
        assert_eq!(control.search(&snapshot.memory).len(), 1, "the key of slot {slot} of epoch {epoch} is not in memory");
    }

    let started = Instant::now();
    let needles = needles(&derived, &snapshot, &file, &lines);
    let mut found = needles.search(&snapshot.memory);
    let newest = format!("E_{}", snapshot.next_epoch);
    // The state is where that one belongs.
    found.extend(needles.search(&snapshot.files).into_iter().filter(|(name, _)| *name != newest));
    let bytes: usize = snapshot.memory.iter().map(|region| region.bytes.len()).sum();
    eprintln!("{} secrets searched for in {} KiB: {:?}", needles.len(), bytes >> 10, started.elapsed());

    let started = Instant::now();
    let entries: Vec<_> = derived.sealed(&snapshot, &file).filter(|entry| matches!(entry.content, Content::Line(_))).collect();
    let is_short = |entry: &&&Entry| entry.length < 2000;
    let (first, last) = (entries.iter().find(is_short).unwrap(), entries.iter().rfind(is_short).unwrap());
    let samples = [first, last].map(|entry| Sample::new(&file, entry, &derived));
    assert_eq!(samples[0].wrapped.is_none(), is_rsa, "only RSA wraps without another key");
    for (sample, entry) in samples.iter().zip([first, last]) {
        sample.assert_opens_with(entry, &derived);
    }
    let mut opening = Vec::new();
    for len in [16, 32] {
        let (tried, found) = windows(&snapshot.memory, len, |window| samples.iter().any(|sample| sample.opens(window)));
        eprintln!("{tried} windows of {len} bytes tried: {:?}", started.elapsed());
        assert!(tried > 10_000);
        opening.extend(found);
    }
    assert!(found.is_empty() && opening.is_empty(), "{}\n{} windows open a record: {opening:?}", tell(&found), opening.len());
}

impl Sample {
    /// That the true keys open it, so that the windows are tried in earnest.
    fn assert_opens_with(&self, entry: &Entry, derived: &Derived) {
        match &entry.seal {
            Seal::Rfc9580 { wrapped, .. } => {
                assert!(self.opens(wrapped.session_key.as_bytes()));
                let (key, _) = derived.message_key(entry.place.1, entry.place.2).expect("of this profile");
                assert!(self.opens(&key));
            }
            Seal::Rfc4880 { wrapped, .. } => assert!(self.opens(wrapped.session_key.as_bytes())),
            Seal::Age { nonce, file_key } => {
                assert!(self.opens(&file_key[..]));
                assert!(self.opens(&hkdf(Some(nonce), &file_key[..], b"payload")));
            }
        }
        assert!(!self.opens(&[7; 16]) && !self.opens(&[7; 32]));
    }
}

fn with_seal(public: &Path, secret: &Path, file: &str, is_rsa: bool) {
    let place = Place::new(&[public]);
    nothing_that_was_sealed_can_be_had(&place, &mut place.seal_to("x.log"), file, secret, is_rsa);
}

#[test]
fn rfc9580() {
    with_seal(&keys::sequoia_v6().public, &keys::sequoia_v6().secret, "x.log.pgp", false);
}

#[test]
fn rfc4880_rsa() {
    with_seal(&keys::gpg_rsa4096().public, &keys::gpg_rsa4096().secret, "x.log.pgp", true);
}

#[test]
fn rfc4880_cv25519() {
    with_seal(&keys::gpg_cv25519().public, &keys::gpg_cv25519().secret, "x.log.pgp", false);
}

#[test]
fn age_x25519() {
    with_seal(&keys::age().public, &keys::age().secret, "x.log.age64", false);
}

#[test]
fn age_ssh_ed25519() {
    with_seal(&keys::ssh_ed25519().public, &keys::ssh_ed25519().secret, "x.log.age64", false);
}

#[test]
fn age_ssh_rsa() {
    with_seal(&keys::ssh_rsa().public, &keys::ssh_rsa().secret, "x.log.age64", true);
}

#[test]
fn apache() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let mut command = place.apache();
    command.args(["x.log"]);
    nothing_that_was_sealed_can_be_had(&place, &mut command, "x.log.pgp", &keys::sequoia_v6().secret, false);
}

/// What must not be in the memory of a writer: the chain, and every key of epochs that another writer has claimed.
fn needles_of_another(derived: &Derived, own: WriterId, next_epoch: u64) -> Needles {
    let mut needles = Needles::default();
    let writer = |epoch: u64| {
        derived.log.entries.iter().find_map(|entry| match &entry.content {
            Content::Control(control) if entry.place.1 == epoch && entry.place.2 == 0 => Some(control.writer),
            _ => None,
        })
    };
    let mut others = 0;
    for (&number, epoch) in &derived.epochs {
        add_mac_key(&mut needles, &format!("E_{number}"), epoch.chain_key.as_bytes());
        if number == next_epoch || writer(number) == Some(own) {
            continue;
        }
        others += 1;
        add_mac_key(&mut needles, &format!("K_{number}"), epoch.key.as_bytes());
        add_mac_key(&mut needles, &format!("C_{number}"), &derived.chain_secret(number).expect("it was used or closed"));
        for slot in 0..epoch.slots {
            let tag = derived.tag(number, slot);
            needles.add(format!("T of epoch {number} slot {slot}"), &tag);
            if let Some((key, _)) = derived.message_key(number, slot) {
                needles.add(format!("message key of epoch {number} slot {slot}"), &key);
            }
        }
        needles.add(format!("P of epoch {number}"), epoch.key.memory_progress().value());
    }
    assert!(others >= 3, "the other writer had {others} epochs");
    needles
}

#[test]
fn an_earlier_writer_knows_nothing_of_a_later_one() {
    if !may_read() {
        return;
    }
    let (pgp, age) = (keys::sequoia_v6(), keys::age());
    for (public, secret, file) in [(&pgp.public, &pgp.secret, "x.log.pgp"), (&age.public, &age.secret, "x.log.age64")] {
        let place = Place::new(&[public]);
        let mut earlier = Sealing::start(&place, &mut place.seal_to("x.log"));
        earlier.bursts(5);
        earlier.rest();
        let mut later = Sealing::start(&place, &mut place.seal_to("x.log"));
        later.bursts(14);
        let (before, after) = (earlier.running, later.running);
        let snapshot = Snapshot::of(&place, before.pid(), &state_folder(&place));
        let theirs = Snapshot::of(&place, after.pid(), &state_folder(&place));
        before.end_well();
        after.end_well();

        let file = fs::canonicalize(place.path("log")).unwrap().join(file);
        let derived = Derived::new(&file, secret, &snapshot);
        let own = derived.log.entries.iter().find_map(|entry| match &entry.content {
            Content::Control(control) => Some(control.writer),
            Content::Line(_) => None,
        });
        let needles = needles_of_another(&derived, own.expect("a file begins with its genesis"), snapshot.next_epoch);
        // The later writer's own memory has some of it, so that the search finds what is there.
        assert!(!needles.search(&theirs.memory).is_empty());
        let found = needles.search(&snapshot.memory);
        assert!(found.is_empty(), "{}", tell(&found));
    }
}

#[test]
fn what_is_freed_is_wiped() {
    if !may_read() {
        return;
    }
    // The text of the key file is no secret, and not needed once it was read: it stands for all that other crates free.
    let key = &keys::gpg_rsa4096().public;
    let armored = fs::read_to_string(key).expect("readable");
    let (_head, text) = armored.split_once("\n\n").expect("armor has an empty line behind its head");
    let mut needles = Needles::default();
    needles.add("the key file", text.split("-----END").next().expect("there is a first part").as_bytes());
    let place = Place::new(&[key]);
    let mut commands = [place.seal_to("x.log"), place.apache()];
    commands[1].arg("y.log");
    for (command, file) in commands.iter_mut().zip(["log/x.log.pgp", "log/y.log.pgp"]) {
        let mut sealing = Sealing::start(&place, command);
        sealing.write(100);
        assert!(wait_for(SOON, || place.path(file).exists()));
        sealing.running.wait_idle();
        let found = needles.search(&of_process(sealing.running.pid()).expect("root reads every process's memory"));
        assert!(found.is_empty(), "{file}: {}", tell(&found));
        sealing.running.end_well();
    }
}

#[test]
fn other_users_cannot_look_into_it() {
    if !Uid::effective().is_root() {
        eprintln!("nothing is done: only root can run programs as another user");
        return;
    }
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let owner = |running: &Running| fs::metadata(format!("/proc/{}/mem", running.pid())).expect("it runs").uid();
    // What is in /proc of a process that is not dumpable belongs to root, whoever runs it.
    let cat = Running::start(tool("cat").uid(NOBODY).gid(NOBODY));
    let mut filter = Running::start(&mut unprivileged(&place, &place.seal()));
    assert!(wait_for(SOON, || owner(&cat) == NOBODY && owner(&filter) == 0), "{} {}", owner(&cat), owner(&filter));
    // So does what is there of a process that has ended.
    assert!(filter.runs());
    filter.end_well();
}

#[test]
fn no_core_file_is_written() {
    if !may_read() {
        return;
    }
    let place = Place::new(&[&keys::sequoia_v6().public]);
    // Whether its limit could be raised, and whether the system says that it wrote a core file.
    let killed = |mut running: Running, signal: Signal| {
        let pid = running.pid().to_string();
        let raised = run(tool("prlimit").args(["--pid", &pid, "--core=unlimited:unlimited"]), b"").is_ok();
        running.signal(signal);
        assert!(wait_for(SOON, || !running.runs()), "{signal} does not end it");
        let status = running.wait().status;
        assert_eq!(status.signal(), Some(signal as i32));
        (raised, status.core_dumped())
    };
    for signal in [Signal::SIGABRT, Signal::SIGQUIT] {
        if killed(Running::start(tool("cat").current_dir(place.path("log"))), signal) != (true, true) {
            eprintln!("nothing is shown: this system writes no core files at all");
            return;
        }
        for core in place.logs() {
            fs::remove_file(place.path("log").join(core)).unwrap();
        }
        let mut sealing = Sealing::start(&place, place.seal_to("x.log").current_dir(place.path("log")));
        sealing.write(100);
        assert!(wait_for(SOON, || place.logs() == ["x.log.pgp"]));
        let (raised, dumped) = killed(sealing.running, signal);
        assert!(!dumped, "{signal}");
        if !raised {
            eprintln!("its own limit of zero could not be raised: that takes the capability CAP_SYS_RESOURCE");
        }
        assert_eq!(place.logs(), ["x.log.pgp"]);
        fs::remove_file(place.path("log/x.log.pgp")).unwrap();
    }
}

/// An ext4 file system in a file, mounted until this is dropped.
struct Ext4 {
    image: PathBuf,
    mounted: PathBuf,
}

impl Ext4 {
    fn new(image: PathBuf, mounted: PathBuf) -> Self {
        fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("room for a sparse file");
        fs::create_dir(&mounted).expect("writable");
        must(tool("mkfs.ext4").args(["-q", "-F"]).arg(&image), b"");
        must(tool("mount").args(["-t", "ext4", "-o", "loop"]).arg(&image).arg(&mounted), b"");
        Self { image, mounted }
    }

    /// The raw bytes of the disk, after everything has gone there.
    fn unmount(self) -> Region {
        must(tool("umount").arg(&self.mounted), b"");
        of_file(&self.image)
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // After a failed assertion; else it is not mounted any more.
        let _ = run(tool("umount").arg(&self.mounted), b"");
    }
}

/// Without public-key operations sealing uses less than half of the stack that a filter wipes before it waits.
#[test]
fn sealing_a_record_needs_little_stack() {
    const PAINTED: usize = 512 << 10;
    #[inline(never)]
    fn paint() {
        let area = [0xa5u8; PAINTED];
        zeroize::optimization_barrier(&area);
    }
    /// How far below this frame the paint was painted over.
    fn depth_of(work: &mut dyn FnMut()) -> usize {
        let here = 0u8;
        let top = std::ptr::from_ref(&here).addr();
        paint();
        work();
        let mut stack = vec![0; PAINTED / 2];
        let memory = fs::File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut stack, (top - PAINTED / 2) as u64).unwrap();
        stack.iter().position(|byte| *byte != 0xa5).map_or(0, |untouched| stack.len() - untouched)
    }
    let recipients = sealedlog::keys::load(&[keys::sequoia_v6().public.clone()], None).expect("a good key").recipients;
    let thread = std::thread::Builder::new().stack_size(4 << 20).spawn(move || {
        let (key, recipients) = (ChainKey::from_bytes([7; 32]).epoch_key(), Arc::new(recipients));
        let mut sealer = None;
        let claimed = depth_of(&mut || {
            let table = vec![0; table_len(&recipients, 64)];
            sealer = Some(EpochSealer::new(recipients.clone(), &key, 64, table, processor()).unwrap());
        });
        let (mut sealer, mut out, line) = (sealer.unwrap(), Vec::with_capacity(4 << 20), vec![b'x'; 1 << 20]);
        let sealed = [0, 1, 300, 5000, 1 << 20].map(|len| {
            depth_of(&mut || sealer.seal(Kind::Line, 7, &line[..len], Framing::Base64, &mut out).expect("a slot is free"))
        });
        (claimed, sealed)
    });
    let (claimed, sealed) = thread.unwrap().join().unwrap();
    assert!(sealed.iter().all(|depth| *depth > 500 && *depth < SYMMETRIC_STACK / 2), "{sealed:?}");
    // That the look sees what is there: public-key operations go deeper.
    assert!(claimed > sealed[2], "{claimed} {sealed:?}");
}

#[test]
fn no_older_chain_key_is_on_the_disk_after_500_claims() {
    const CLAIMS: u64 = 500;
    if !Uid::effective().is_root() {
        eprintln!("nothing is done: only root can mount a file system");
        return;
    }
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let disk = Ext4::new(place.path("disk.img"), place.path("disk"));
    let loaded = sealedlog::keys::load(&[place.path("keys.d")], None).expect("a good key");
    let claimant = Claimant {
        writer: Default::default(),
        recipients: Arc::new(loaded.recipients),
        host: "www.example.org".to_owned(),
        log: "/var/log/x.log".to_owned(),
        software: "test".to_owned(),
        memory_locked: false,
        lacks: Vec::new(),
    };
    let folder = StateFolder::new(&disk.mounted.join("state"), &place.path("run"), Path::new("/var/log"), "x.log");
    let source = ClaimSource::Kept(folder.clone());
    let first = source.claim(&claimant, 64, None).expect("a stream is begun");
    let genesis = place.path("log/genesis.pgp");
    fs::write(&genesis, &first.genesis.record).unwrap();
    for epoch in 1..CLAIMS {
        assert_eq!(source.claim(&claimant, 64, Some(first.stream)).expect("the state can be used").epoch, epoch);
    }
    let newest = folder.lock().unwrap().read().unwrap().expect("a stream was begun");
    let raw = [disk.unmount()];

    let log = Log::whole(&genesis, &keys::sequoia_v6().secret);
    let Some(Event::Genesis(genesis)) = log.events().next() else { panic!("a genesis record") };
    let (mut needles, mut chain_key) = (Needles::default(), ChainKey::copy_of(genesis.chain_key.as_bytes()));
    for epoch in 0..CLAIMS {
        needles.add_key(&format!("E_{epoch}"), chain_key.as_bytes());
        needles.add_key(&format!("K_{epoch}"), chain_key.epoch_key().as_bytes());
        chain_key = chain_key.next();
    }
    assert_eq!((newest.next_epoch, newest.chain_key.as_bytes()), (CLAIMS, chain_key.as_bytes()));
    let found = needles.search(&raw);
    assert!(found.is_empty(), "{}", tell(&found));
    // That the search finds what is there: two slots, two pieces each.
    let mut control = Needles::default();
    control.add("the newest", chain_key.as_bytes());
    assert_eq!(control.search(&raw)["the newest"].len(), 4);
}
