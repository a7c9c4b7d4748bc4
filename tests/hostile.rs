//! The auditor's program against files that an enemy made: every line of the server comes back, what else is there is
//! named, time stays in proportion to the bytes and memory bounded.
//!
//! Costs are compared, never limited in seconds: a run on twice as much takes less than three times as long. With
//! `SEALEDLOG_TEST_FULL=1` the files are as large as they may be in earnest: a million records, 50 MB of markers.
#![cfg(feature = "audit")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::{Engine, engine::general_purpose::STANDARD};
use common::keys;
use common::lines::{Lines, Random};
use common::measure::{Measured, measure, run_if_asked};
use common::sealed::{Place, seal_all};
use sealedlog::audit::read::{Found, Opener, RecordReader};
use sealedlog::chain::{ChainKey, Kind};
use sealedlog::control::{
    Control, Epoch, Event, Follows, FoundProgress, Genesis, GenesisFingerprint, Hex, RecipientsChanged, Resume, StreamId,
    UsedEpoch,
};
use sealedlog::identity::{Identities, Terminal};
use sealedlog::recipient::Recipients;
use sealedlog::record::openpgp::{Message, read_header};
use sealedlog::record::seal::{EpochSealer, Processor, table_len};
use sealedlog::record::{Framing, MAX_RECORD, Profile, framing};

/// The program that runs the measured ones.
#[test]
fn measured() {
    run_if_asked();
}

fn full() -> bool {
    std::env::var_os("SEALEDLOG_TEST_FULL").is_some()
}

/// A log of the server, sealed by the real program.
struct Server {
    place: Place,
    secret: PathBuf,
    public: PathBuf,
    framing: Framing,
    lines: Vec<Vec<u8>>,
    /// Records with their framing.
    records: Vec<Vec<u8>>,
}

impl Server {
    fn new(public: &[&Path], secret: &Path, framing: Framing, count: usize) -> Self {
        let place = Place::new(public);
        let lines: Vec<_> = Lines::new(1).take(count).collect();
        let mut command = place.seal_to("x.log");
        command.args(["--framing", framing.name()]);
        let ended = seal_all(&mut command, &lines.concat());
        assert!(ended.status.success(), "{ended:?}");
        let sealed = fs::read(place.path("log").join(&place.logs()[0])).unwrap();
        let records = split(&sealed);
        assert!(records.len() > count);
        Self { place, secret: secret.to_owned(), public: public[0].to_owned(), framing, lines, records }
    }

    fn rfc9580(framing: Framing, count: usize) -> Self {
        Self::new(&[&keys::sequoia_v6().public], &keys::sequoia_v6().secret, framing, count)
    }

    fn rfc4880(framing: Framing, count: usize) -> Self {
        Self::new(&[&keys::gpg_cv25519().public], &keys::gpg_cv25519().secret, framing, count)
    }

    fn age(count: usize) -> Self {
        Self::new(&[&keys::age().public], &keys::age().secret, Framing::Base64, count)
    }

    fn genesis(&self) -> GenesisFingerprint {
        GenesisFingerprint::of(&unframed(&self.records[0], self.framing))
    }

    fn recipients(&self) -> Arc<Recipients> {
        recipients(&self.public)
    }

    /// The server's records with `between` after each.
    fn mixed(&self, mut between: impl FnMut(usize, &mut Vec<u8>)) -> Vec<u8> {
        let mut file = Vec::new();
        for (i, record) in self.records.iter().enumerate() {
            file.extend_from_slice(record);
            between(i, &mut file);
        }
        file
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.place.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn audit(&self, command: &str, more: &[&str], files: &[&Path]) -> Measured {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
        program.arg(command).args(files).arg("--key").arg(&self.secret).args(more);
        measure(&program)
    }

    /// What `verify` says, with the fingerprint from paper.
    fn verify(&self, files: &[&Path]) -> Verified {
        let genesis = self.genesis().to_string();
        let cost = self.audit("verify", &["--json", "--genesis", &genesis], files);
        assert!(matches!(cost.status.code(), Some(0 | 1)), "{cost:?}");
        let said = String::from_utf8(cost.stdout.clone()).unwrap();
        let said = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Verified { said, cost }
    }

    /// All lines come back, in order, and nothing else does.
    #[track_caller]
    fn assert_opens(&self, files: &[&Path]) -> Measured {
        let cost = self.audit("open", &["--genesis", &self.genesis().to_string()], files);
        assert!(cost.stdout == self.lines.concat(), "{} bytes came back: {}", cost.stdout.len(), head(&cost.stderr));
        cost
    }
}

struct Verified {
    said: Vec<serde_json::Value>,
    cost: Measured,
}

impl Verified {
    /// How many records the findings of a kind count.
    fn counted(&self, kind: &str) -> u64 {
        self.of(kind).map(|finding| finding["count"].as_u64().unwrap_or(1)).sum()
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &serde_json::Value> {
        self.said.iter().filter(move |finding| finding["finding"] == kind)
    }

    /// The kinds of findings, each once.
    fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<_> = self.said.iter().filter_map(|finding| finding["finding"].as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    fn lines(&self) -> u64 {
        self.said.last().unwrap()["summary"]["lines"].as_u64().unwrap()
    }
}

fn head(text: &str) -> &str {
    &text[..text.len().min(2000)]
}

fn recipients(public: &Path) -> Arc<Recipients> {
    Arc::new(sealedlog::keys::load(&[public.to_owned()], None).unwrap().recipients)
}

/// The records of an undamaged file, with their framing.
fn split(sealed: &[u8]) -> Vec<Vec<u8>> {
    if sealed[0] < 0x80 {
        return sealed.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    }
    let (mut at, mut records) = (0, Vec::new());
    while at < sealed.len() {
        let len = Message::parse(&sealed[at..]).unwrap().len;
        records.push(sealed[at..at + len].to_vec());
        at += len;
    }
    records
}

fn unframed(record: &[u8], framed: Framing) -> Vec<u8> {
    if framed == Framing::Binary {
        return record.to_vec();
    }
    let mut bytes = Vec::new();
    assert!(framing::read_line(record.trim_ascii_end(), &mut bytes));
    bytes
}

/// Runs on so much and on twice as much; the second result. What a run costs anyhow, `idle`, is taken off.
#[track_caller]
fn in_proportion(what: &str, idle: &Measured, size: usize, mut run: impl FnMut(usize) -> Measured) -> Measured {
    // What else runs on the machine costs time here, too; not each time.
    for attempt in 1.. {
        let (half, whole) = (run(size / 2), run(size));
        let _ = writeln!(
            std::io::stderr(),
            "{what}: {:.2} s and {} MiB for {}, {:.2} s and {} MiB for {size}",
            half.cpu.as_secs_f64(),
            half.memory,
            size / 2,
            whole.cpu.as_secs_f64(),
            whole.memory
        );
        let own = |run: &Measured| run.cpu.saturating_sub(idle.cpu).as_secs_f64();
        // What is too short to be measured is as good as nothing.
        if own(&whole) < 3.0 * own(&half).max(0.1) {
            return whole;
        }
        assert!(attempt < 3, "{what}: {:?} for {size}, {:?} for half of it", whole.cpu, half.cpu);
    }
    unreachable!("the last attempt fails")
}

/// Who has the public key and the software, and no key of the server's chain.
struct Enemy {
    recipients: Arc<Recipients>,
    framing: Framing,
    random: Random,
}

type Sealer = EpochSealer<Vec<u8>>;

impl Enemy {
    fn of(server: &Server) -> Self {
        Self { recipients: server.recipients(), framing: server.framing, random: Random(7) }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.iter_mut().for_each(|byte| *byte = self.random.next() as u8);
        bytes
    }

    fn sealer(&self, key: &ChainKey, slots: u32) -> Sealer {
        let table = vec![0; table_len(&self.recipients, slots)];
        EpochSealer::new(self.recipients.clone(), &key.epoch_key(), slots, table, Processor::ANY).unwrap()
    }

    /// So many epochs of streams that nobody knows.
    fn sealers(&mut self, count: usize, slots: u32) -> Vec<Sealer> {
        let keys: Vec<_> = (0..count).map(|_| ChainKey::from_bytes(self.bytes())).collect();
        keys.iter().map(|key| self.sealer(key, slots)).collect()
    }

    fn line(&self, sealer: &mut Sealer, body: &[u8], out: &mut Vec<u8>) {
        sealer.seal(Kind::Line, 1_790_000_000, body, self.framing, out).unwrap();
    }

    fn control(&self, sealer: &mut Sealer, stream: StreamId, event: Event, out: &mut Vec<u8>) {
        let time = "2026-10-01T00:00:00Z".parse().unwrap();
        let control = Control { v: 1, stream, writer: Hex([3; 8]), time, event };
        sealer.seal(Kind::Control, 1_790_000_000, &control.body(), self.framing, out).unwrap();
    }

    /// A stream of his own: its first chain key, its id, and the rest of its first epoch.
    fn stream(
        &mut self,
        id: Option<StreamId>,
        slots: u32,
        change: impl Fn(&mut Genesis),
        out: &mut Vec<u8>,
    ) -> (ChainKey, StreamId, Sealer) {
        let (key, stream) = (ChainKey::from_bytes(self.bytes()), id.unwrap_or(Hex(self.bytes())));
        let mut sealer = self.sealer(&key, 64);
        let mut genesis = Genesis {
            chain_key: (*key.as_bytes()).into(),
            slots,
            host: "www".to_owned(),
            log: "/var/log/x.log".to_owned(),
            software: String::new(),
            profile: self.recipients.profile().name().to_owned(),
            recipients: Vec::new(),
            state: false,
            progress: false,
            memory_locked: false,
            lacks: Vec::new(),
            follows: None,
        };
        change(&mut genesis);
        self.control(&mut sealer, stream, Event::Genesis(genesis), out);
        (key, stream, sealer)
    }
}

/// Records that open and belong nowhere, between those of the server.
#[test]
fn a_million_records_sealed_with_the_public_key_are_foreign() {
    let size = if full() { 1_000_000 } else { 200_000 };
    let server = Server::rfc9580(Framing::Binary, 25_000);
    let clean = server.write("clean.pgp", &server.records.concat());
    let baseline = server.verify(&[&clean]);
    assert!(baseline.kinds().is_empty(), "{:?}", baseline.said);
    let mut enemy = Enemy::of(&server);
    let run = |count: usize| {
        let mut sealers = enemy.sealers(64, 16384);
        let (each, mut made) = (count.div_ceil(server.records.len()), 0);
        let file = server.mixed(|_, file| {
            for _ in 0..each.min(count - made) {
                made += 1;
                enemy.line(&mut sealers[made % 64], b"192.0.2.1 - - \"GET /forged HTTP/1.1\" 200 17\n", file);
            }
        });
        assert_eq!(made, count);
        let file = server.write("mixed.pgp", &file);
        let verified = server.verify(&[&file]);
        assert_eq!(verified.kinds(), ["foreign"]);
        assert_eq!((verified.counted("foreign"), verified.lines()), (count as u64, 25_000));
        server.assert_opens(&[&file]);
        verified.cost
    };
    let cost = in_proportion("foreign records", &baseline.cost, size, run);
    assert!(cost.memory < baseline.cost.memory + 200, "{} MiB, {} without", cost.memory, baseline.cost.memory);
}

/// Records for another key, which cost no operation of ours but a look at their heads.
#[test]
fn records_for_other_keys_are_passed_over() {
    for (server, stranger, size) in [
        (Server::rfc9580(Framing::Binary, 2000), &keys::rpgp_v6().public, if full() { 1_000_000 } else { 60_000 }),
        (Server::rfc9580(Framing::Base64, 2000), &keys::rpgp_v6().public, if full() { 400_000 } else { 60_000 }),
        // Each is a public-key operation to make.
        (Server::rfc4880(Framing::Binary, 200), &keys::rpgp_v4_p256().public, 4000),
        (Server::age(500), &keys::age_other().public, 8000),
    ] {
        let mut enemy = Enemy { recipients: recipients(stranger), ..Enemy::of(&server) };
        let (kind, small) = (server.recipients().profile(), server.write("clean", &server.records.concat()));
        let idle = server.verify(&[&small]).cost;
        let baseline = idle.memory;
        let cost = in_proportion(&format!("{kind} for others, {}", server.framing.name()), &idle, size, |count| {
            let mut sealers = enemy.sealers(64, 16384);
            let (each, mut made) = (count.div_ceil(server.records.len()), 0);
            let file = server.mixed(|_, file| {
                for _ in 0..each.min(count - made) {
                    made += 1;
                    enemy.line(&mut sealers[made % 64], b"for somebody else\n", file);
                }
            });
            let file = server.write("mixed", &file);
            let verified = server.verify(&[&file]);
            assert_eq!(verified.kinds(), ["altered"], "{kind}");
            assert_eq!((verified.counted("altered"), verified.lines()), (count as u64, server.lines.len() as u64), "{kind}");
            server.assert_opens(&[&file]);
            verified.cost
        });
        assert!(cost.memory < baseline + 200, "{kind}: {} MiB, {baseline} without", cost.memory);
    }
}

/// What looks like the beginning of a record everywhere: as a bare head, and as packets that announce a megabyte.
#[test]
fn a_marker_every_150_bytes_costs_time_in_proportion() {
    let size = if full() { 50_000_000 } else { 4_000_000 };
    for (server, size) in [
        (Server::rfc9580(Framing::Binary, 50), size),
        (Server::rfc9580(Framing::Base64, 50), size),
        (Server::age(50), size),
        // Each that is whole costs an operation of the secret key.
        (Server::rfc4880(Framing::Binary, 50), size / 8),
        (Server::rfc4880(Framing::Base64, 50), size / 8),
    ] {
        let idle = server.verify(&[&server.write("clean", &server.records.concat())]).cost;
        let genuine = unframed(&server.records[1], server.framing);
        let mut markers = vec![genuine[..60].to_vec()];
        if server.recipients().profile() != Profile::Age {
            // The whole packet with the wrapped key, before one that is as long as a record can be, or the file allows.
            let mut whole = Message::parse(&genuine).unwrap().pkesks.to_vec();
            whole.extend_from_slice(&[0xD2, 255]);
            whole.extend_from_slice(&(size as u32 / 16).min(0xF_FFFF).to_be_bytes());
            whole.extend_from_slice(&Message::parse(&genuine).unwrap().seipd[..4]);
            markers.push(whole);
        }
        for (number, marker) in markers.iter().enumerate() {
            let what = format!("{} {} marker {number}", server.recipients().profile(), server.framing.name());
            in_proportion(&what, &idle, size, |size| {
                let (mut random, mut garbage) = (Random(5), Vec::new());
                while garbage.len() < size {
                    let end = (garbage.len() + 150).max(garbage.len() + marker.len() + 10);
                    match server.framing {
                        Framing::Binary => garbage.extend_from_slice(marker),
                        Framing::Base64 => garbage.extend_from_slice(&STANDARD.encode(marker).as_bytes()[..marker.len() / 3 * 4]),
                    }
                    while garbage.len() < end {
                        let byte = random.next() as u8;
                        garbage.push(if server.framing == Framing::Binary { byte } else { b'A' + byte % 26 });
                    }
                }
                let half = server.records.len() / 2;
                let mut file = server.records[..half].concat();
                file.extend_from_slice(&garbage);
                if server.framing == Framing::Base64 {
                    file.push(b'\n');
                }
                file.extend_from_slice(&server.records[half..].concat());
                let path = server.write("markers", &file);
                let verified = server.verify(&[&path]);
                assert_eq!((verified.kinds(), verified.lines()), (vec!["altered"], 50), "{what}");
                if number == 1 || server.recipients().profile() == Profile::Age {
                    server.assert_opens(&[&path]);
                }
                assert_eq!(work(&server, &file) / (size as u64 / 100), 0, "{what}: more candidates than markers");
                verified.cost
            });
        }
    }
}

/// How many candidates were tried.
fn work(server: &Server, file: &[u8]) -> u64 {
    let identities = Identities::load(&[&server.secret], &mut Terminal).unwrap();
    let opener = Opener::new(&identities);
    RecordReader::new(file, &opener).for_each(|found| drop(found.unwrap()));
    assert!(opener.work().unwrapped.load(Ordering::Relaxed) <= opener.work().candidates.load(Ordering::Relaxed));
    opener.work().candidates.load(Ordering::Relaxed)
}

/// Packet headers that announce what no record has.
fn wrong_headers(packet_type: u8) -> Vec<Vec<u8>> {
    let (new, old) = (0xC0 | packet_type, 0x80 | (packet_type & 15) << 2);
    let mut headers = vec![
        vec![new, 255, 0xff, 0xff, 0xff, 0xff],
        vec![new, 255, 0x7f, 0xff, 0xff, 0xff],
        vec![new, 255, 0, 0x10, 0xff, 0xf0],
        // Partial lengths: 1 byte, 512, 1 GiB.
        vec![new, 0xE0],
        vec![new, 0xE9],
        vec![new, 0xFE],
        // A packet that is nothing.
        vec![new, 0],
    ];
    if packet_type < 16 {
        headers.extend([vec![old | 2, 0xff, 0xff, 0xff, 0xff], vec![old | 2, 0, 0x10, 0, 0], vec![old | 3]]);
    }
    headers
}

#[test]
fn no_length_is_believed() {
    for server in
        [Server::rfc9580(Framing::Binary, 300), Server::rfc4880(Framing::Binary, 60), Server::rfc9580(Framing::Base64, 300)]
    {
        let genuine = unframed(server.records.last().unwrap(), server.framing);
        let message = Message::parse(&genuine).unwrap();
        let (_, pkesk, _) = read_header(&genuine).unwrap();
        let (_, seipd, _) = read_header(&genuine[message.pkesks.len()..]).unwrap();
        let mut wrong: Vec<Vec<u8>> = wrong_headers(1).iter().map(|header| [header, &genuine[pkesk..]].concat()).collect();
        wrong.extend(
            wrong_headers(18).iter().map(|header| [message.pkesks, header, &genuine[message.pkesks.len() + seipd..]].concat()),
        );
        wrong.extend(wrong_literals(&server));
        for (number, wrong) in wrong.iter().enumerate() {
            let what = format!("{} {number}", server.recipients().profile());
            let mut framed = Vec::new();
            framing::write(server.framing, wrong, &mut framed);
            let file = server.mixed(|i, file| {
                if i % 7 == 2 {
                    file.extend_from_slice(&framed)
                }
            });
            let path = server.write("lengths", &file);
            let identities = Identities::load(&[&server.secret], &mut Terminal).unwrap();
            let opener = Opener::new(&identities);
            let found: Vec<_> = RecordReader::new(&file[..], &opener).map(Result::unwrap).collect();
            let records = found.iter().filter(|found| matches!(found, Found::Record(_))).count();
            // An enemy's record that is one all the same belongs nowhere.
            assert!(records >= server.records.len(), "{what}: {records} of {}", server.records.len());
            let tried = opener.work().candidates.load(Ordering::Relaxed);
            assert!(tried < 6 * server.records.len() as u64, "{what}: {tried} candidates");
            // Each run of the programs costs; a few of them show that the rest of the way holds, too.
            if number % 6 == 0 {
                let verified = server.verify(&[&path]);
                assert_eq!(verified.lines(), server.lines.len() as u64, "{what}");
                let unexpected: Vec<_> = verified
                    .kinds()
                    .into_iter()
                    .filter(|kind| !["altered", "garbage", "foreign", "torn"].contains(kind))
                    .collect();
                assert!(unexpected.is_empty() && !verified.kinds().is_empty(), "{what}: {unexpected:?}");
                server.assert_opens(&[&path]);
            }
        }
    }
}

/// An octet before a record, which makes its first header one of another length, of a packet that spans the next record too.
#[test]
fn an_octet_before_a_record_hides_none() {
    for server in [Server::rfc9580(Framing::Binary, 300), Server::rfc4880(Framing::Binary, 60)] {
        for octets in [&[0xC1][..], &[0xC1, 0xC1], &[0x85, 1], &[0x84], &[0xC1, 0xFF, 0, 0, 1]] {
            let file = server.mixed(|_, file| file.extend_from_slice(octets));
            let path = server.write("octets", &file);
            let verified = server.verify(&[&path]);
            assert_eq!(verified.lines(), server.lines.len() as u64, "{octets:x?}: {:?}", verified.said);
            server.assert_opens(&[&path]);
        }
    }
}

/// Literal packets with wrong lengths, sealed as they should be with the public key.
fn wrong_literals(server: &Server) -> Vec<Vec<u8>> {
    use sealedlog::record::ocb::{self, Ocb, TAG_LEN};
    use sealedlog::record::seipd2::MessageKey;
    let recipients = server.recipients();
    if recipients.profile() != Profile::Rfc9580 {
        return Vec::new();
    }
    let (session_key, salt, cipher) = ([9; 32], [4; 32], recipients.cipher());
    let session_key = &session_key[..cipher.key_len()];
    let mut bytes = [0; MessageKey::LEN];
    MessageKey::derive(cipher, session_key, &salt).write_to(&mut bytes);
    let (key, rest) = bytes.split_at(cipher.key_len());
    let ad = [0xD2, 2, cipher.id(), 2, 6];
    let seal = |mut plain: Vec<u8>| {
        let end_ad = [&ad[..], &(plain.len() as u64).to_be_bytes()].concat();
        let nonce = ocb::nonce(rest.first_chunk().unwrap());
        let (tag, end_tag) = match cipher.key_len() {
            16 => Ocb::<aes::Aes128Enc>::new(key, nonce).seal_last(0, &ad, &mut plain, &end_ad),
            _ => Ocb::<aes::Aes256Enc>::new(key, nonce).seal_last(0, &ad, &mut plain, &end_ad),
        };
        let mut record = recipients.openpgp().flat_map(|recipient| recipient.pkesk6(session_key).unwrap()).collect();
        sealedlog::record::openpgp::write_header(18, 4 + 32 + plain.len() + 2 * TAG_LEN, &mut record);
        [&record[..], &ad[1..], &salt, &plain, &tag, &end_tag].concat()
    };
    let content = b"b\0\0\0\0\0a line that an enemy sealed\n";
    let mut wrong: Vec<_> = wrong_headers(11).iter().map(|header| seal([header, &content[..]].concat())).collect();
    // A file name that is longer than all, padding behind it that is, another packet.
    wrong.push(seal([&[0xCB, content.len() as u8], &b"b\xff"[..], &content[2..]].concat()));
    for behind in wrong_headers(21).iter().chain(&wrong_headers(11)) {
        wrong.push(seal([&[0xCB, content.len() as u8], &content[..], behind].concat()));
    }
    wrong
}

#[test]
fn lines_and_headers_without_end_stay_in_bounded_memory() {
    let size = if full() { 100_000_000 } else { 24_000_000 };
    let magic = b"age-encryption.org/v1\n";
    let stanza = |tag: &str| format!("-> {tag} AAAA\n\n").into_bytes();
    let endless = |head: &[u8], piece: &[u8], size: usize| {
        let mut bytes = head.to_vec();
        while bytes.len() < size {
            bytes.extend_from_slice(piece);
        }
        bytes
    };
    let body_line = [&[b'A'; 64][..], b"\n"].concat();
    let x25519 = [&magic[..], b"-> X25519 ", &[b'A'; 43], b"\n"].concat();
    let age = Server::age(300);
    let pgp = Server::rfc9580(Framing::Base64, 300);
    let idle = age.verify(&[&age.write("clean", &age.records.concat())]).cost;
    let baseline = idle.memory;
    type Make<'a> = Box<dyn Fn(usize) -> Vec<u8> + 'a>;
    let encode = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
    let cases: Vec<(&str, &Server, Make<'_>)> = vec![
        ("one line of base64", &pgp, Box::new(|size| vec![b'A'; size])),
        ("one line of base64, age", &age, Box::new(|size| vec![b'Q'; size])),
        ("one line that is a stanza's body", &age, Box::new(|size| encode(&endless(&x25519, &body_line, size * 3 / 4)))),
        ("one line of stanzas", &age, Box::new(|size| encode(&endless(magic, &stanza("x"), size * 3 / 4)))),
        (
            "records of a stanza's body",
            &age,
            Box::new(|size| {
                let mut line = encode(&endless(&x25519, &body_line, MAX_RECORD - 100));
                line.push(b'\n');
                endless(b"", &line, size)
            }),
        ),
        (
            "records of stanzas",
            &age,
            Box::new(|size| {
                let mut line = encode(&endless(magic, &stanza("x"), MAX_RECORD - 100));
                line.push(b'\n');
                endless(b"", &line, size)
            }),
        ),
    ];
    for (what, server, make) in cases {
        let cost = in_proportion(what, &idle, size, |size| {
            let half = server.records.len() / 2;
            let file = [&server.records[..half].concat(), &make(size)[..], b"\n", &server.records[half..].concat()].concat();
            let path = server.write("endless", &file);
            let verified = server.verify(&[&path]);
            assert_eq!(verified.lines(), 300, "{what}");
            assert!(matches!(verified.kinds()[..], ["garbage"] | ["altered"]), "{what}: {:?}", verified.kinds());
            server.assert_opens(&[&path]);
            verified.cost
        });
        assert!(cost.memory < baseline + 60, "{what}: {} MiB, {baseline} without", cost.memory);
    }
}

/// Streams of an enemy's own, whatever they say of themselves, before and behind those of the server.
#[test]
fn streams_of_an_enemys_own_cost_what_their_bytes_do() {
    let server = Server::rfc9580(Framing::Binary, 2000);
    let clean = server.write("clean.pgp", &server.records.concat());
    let idle = server.verify(&[&clean]).cost;
    let baseline = idle.memory;
    let id = {
        let identities = Identities::load(&[&server.secret], &mut Terminal).unwrap();
        let opener = Opener::new(&identities);
        let Some(Ok(Found::Record(genesis))) = RecordReader::new(&server.records[0][..], &opener).next() else { panic!() };
        Control::parse(&genesis.opened.body).unwrap().stream
    };
    let mut enemy = Enemy::of(&server);
    let epoch = |key: &ChainKey, number: u64, slots: u32| {
        let before = Some(UsedEpoch { epoch: number.wrapping_sub(1), used: u32::MAX, progress: Hex([5; 32]) });
        Event::Epoch(Epoch {
            epoch: number,
            epoch_key: (*key.epoch_key().as_bytes()).into(),
            slots,
            before,
            boot: String::new(),
            progress: None,
        })
    };
    type Make<'a> = Box<dyn FnMut(&mut Enemy, usize) -> Vec<u8> + 'a>;
    let cases: Vec<(&str, usize, Make<'_>)> = vec![
        (
            "genesis records that announce many slots",
            if full() { 20_000 } else { 2400 },
            Box::new(|enemy, count| {
                let mut file = Vec::new();
                (0..count).for_each(|_| drop(enemy.stream(None, u32::MAX, |_| {}, &mut file)));
                file
            }),
        ),
        (
            "streams of the server's name that follow its stream",
            1200,
            Box::new(|enemy, count| {
                let mut file = Vec::new();
                let follows = Follows { stream: id, genesis: server.genesis(), why: "claim".to_owned() };
                for number in 0..count {
                    let change = |genesis: &mut Genesis| {
                        genesis.follows = (number % 2 == 0).then(|| follows.clone());
                        genesis.state = number % 3 == 0;
                    };
                    let (_, stream, mut sealer) = enemy.stream(Some(id), 64, change, &mut file);
                    enemy.line(&mut sealer, b"not of the server\n", &mut file);
                    let named = RecipientsChanged { old: Vec::new(), new: Vec::new(), genesis: server.genesis() };
                    enemy.control(&mut sealer, stream, Event::Recipients(named), &mut file);
                }
                file
            }),
        ),
        (
            "epochs far away",
            300,
            Box::new(|enemy, count| {
                let mut file = Vec::new();
                for number in 0..count as u64 {
                    let (_, stream, _) = enemy.stream(Some(id), 64, |_| {}, &mut file);
                    for far in [1 << 20, (1 << 20) - 3 * number, 1 << 63, u64::MAX, number] {
                        let key = ChainKey::from_bytes(enemy.bytes());
                        let mut sealer = enemy.sealer(&key, 64);
                        enemy.control(&mut sealer, stream, epoch(&key, far, u32::MAX), &mut file);
                    }
                }
                file
            }),
        ),
        (
            "epochs that announce many slots",
            800,
            Box::new(|enemy, count| {
                let mut file = Vec::new();
                let (mut key, stream, _) = enemy.stream(None, 64, |_| {}, &mut file);
                for number in 1..count as u64 {
                    key = key.next();
                    let mut sealer = enemy.sealer(&key, 64);
                    enemy.control(&mut sealer, stream, epoch(&key, number, 16384), &mut file);
                    enemy.line(&mut sealer, b"one\n", &mut file);
                }
                file
            }),
        ),
        (
            "a stream with every second record missing, and damage between",
            30_000,
            Box::new(|enemy, count| {
                let mut file = Vec::new();
                let (mut key, stream, _) = enemy.stream(None, 64, |_| {}, &mut file);
                for number in 1..=(count as u64 / 1000) {
                    key = key.next();
                    let mut sealer = enemy.sealer(&key, 16384);
                    enemy.control(&mut sealer, stream, epoch(&key, number, 16384), &mut file);
                    for _ in 0..1000 {
                        enemy.line(&mut sealer, b"gone\n", &mut Vec::new());
                        enemy.line(&mut sealer, b"here\n", &mut file);
                        file.extend_from_slice(b"?");
                    }
                }
                file
            }),
        ),
        (
            "lists without end, and JSON within JSON",
            40,
            Box::new(|enemy, count| {
                let mut file = Vec::new();
                for number in 0..count {
                    let many = |genesis: &mut Genesis| genesis.recipients = vec!["A".repeat(64); 15_000];
                    let (_, stream, mut sealer) = enemy.stream(None, 64, many, &mut file);
                    let names = vec!["B".repeat(40); 10_000];
                    let changed = RecipientsChanged { old: names.clone(), new: names, genesis: server.genesis() };
                    enemy.control(&mut sealer, stream, Event::Recipients(changed), &mut file);
                    let kind = ["genesis", "epoch", "resume", "mark"][number % 4];
                    let mut body = format!("{{\"v\":1,\"kind\":\"{kind}\",\"progress\":").into_bytes();
                    body.resize(1_000_000, b'[');
                    sealer.seal(Kind::Control, 0, &body, enemy.framing, &mut file).unwrap();
                }
                file
            }),
        ),
        (
            "progress without end",
            1000,
            Box::new(|enemy, count| {
                let mut file = Vec::new();
                let (_, stream, mut sealer) = enemy.stream(None, 64, |_| {}, &mut file);
                for part in 0..4 {
                    let value =
                        |epoch| FoundProgress { stream: None, epoch, memory: Some(Hex([1; 32])), disk: None, live: false };
                    let progress = (0..count as u64 / 4).map(|number| value(number * part)).collect::<Vec<_>>();
                    let progress = Some(progress);
                    let resume = Resume { length: u64::MAX, torn: u64::MAX, progress };
                    enemy.control(&mut sealer, stream, Event::Resume(resume), &mut file);
                }
                file
            }),
        ),
    ];
    for (what, size, mut make) in cases {
        let mut made = 0;
        let cost = in_proportion(what, &idle, size, |size| {
            // It comes first, so that all of it is known before the server's stream is.
            let first = server.write("0.pgp", &make(&mut enemy, size));
            let verified = server.verify(&[&first, &clean]);
            let said =
                verified.said.iter().find(|finding| finding["file"].as_str().is_some_and(|file| file.ends_with("clean.pgp")));
            assert_eq!(said, None, "{what}");
            assert!(!verified.kinds().is_empty(), "{what}");
            if made == 1 {
                server.assert_opens(&[&first, &clean]);
            }
            made += 1;
            verified.cost
        });
        assert!(cost.memory < baseline + 200, "{what}: {} MiB, {baseline} without", cost.memory);
    }
}

/// What was sealed to two, and one's wrapped keys changed: who opens it with the other key, and with that one.
struct Pair {
    server: Server,
    /// How the bodies of the changed packets begin.
    mark: Vec<u8>,
    victim: PathBuf,
    other: PathBuf,
}

impl Pair {
    fn new(victim: (&Path, &Path), other: (&Path, &Path), count: usize) -> Self {
        let profile = recipients(victim.0).profile();
        let server = Server::new(&[victim.0, other.0], victim.1, profile.framing(), count);
        assert_eq!(recipients(other.0).profile(), profile);
        let marks = recipients(victim.0).marks();
        Self { server, mark: marks[0].clone(), victim: victim.1.to_owned(), other: other.1.to_owned() }
    }

    /// The record with the victim's packet made another.
    fn swapped(&self, record: &[u8], new: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let message = Message::parse(record).unwrap();
        let mut changed = Vec::new();
        for packet in message.pkesks() {
            let (_, header, _) = read_header(packet).unwrap();
            let is_his = packet[header..].starts_with(&self.mark);
            changed.extend(if is_his { new(packet) } else { packet.to_vec() });
        }
        changed.extend_from_slice(&record[message.pkesks.len()..]);
        assert!(changed.len() == record.len() && changed != record);
        changed
    }

    /// What verification with a key says, and the lines that `open` gives.
    fn seen_with(&mut self, secret: &Path, file: &Path, more: &[&str]) -> (Verified, Vec<u8>) {
        self.server.secret = secret.to_owned();
        let genesis = self.server.genesis().to_string();
        let lines = self.server.audit("open", &[&["--genesis", &genesis], more].concat(), &[file]).stdout;
        (self.server.verify(&[file]), lines)
    }
}

/// Garbage in the place of a packet's body, behind `keep` bytes of it.
fn garbage(packet: &[u8], keep: usize) -> Vec<u8> {
    let (_, header, _) = read_header(packet).unwrap();
    let mut random = Random(3);
    let mut garbage = packet.to_vec();
    garbage[header + keep..].iter_mut().for_each(|byte| *byte = random.next() as u8);
    garbage
}

/// Epoch 0 has 64 slots: genesis, segment, 62 lines. Epoch 1 has 128.
const EPOCH: std::ops::Range<usize> = 64..64 + 128;

#[test]
fn keys_that_were_swapped_in_a_whole_epoch_are_noticed_by_both_recipients() {
    let (victim, other) = (keys::sequoia_v6(), keys::rpgp_v6());
    let mut pair = Pair::new((&victim.public, &victim.secret), (&other.public, &other.secret), 600);
    let (victims, others) = (pair.victim.clone(), pair.other.clone());
    let key = recipients(&victim.public);
    let key_len = pair.server.recipients().cipher().key_len();
    let wrapped = key.openpgp().next().unwrap().pkesk6(&[7; 32][..key_len]).unwrap();
    let mark = pair.mark.len();
    type Swap<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let swaps: [Swap<'_>; 3] = [&|_| wrapped.clone(), &|packet| garbage(packet, mark), &|packet| garbage(packet, 0)];
    for (number, swap) in swaps.into_iter().enumerate() {
        let mut records = pair.server.records.clone();
        records[EPOCH].iter_mut().for_each(|record| *record = pair.swapped(record, swap));
        let file = pair.server.write("swapped.pgp", &records.concat());
        // The first slot of the epoch is its control record.
        let lines = pair.server.lines.clone();
        let (verified, opened) = pair.seen_with(&others, &file, &[]);
        assert_eq!(verified.kinds(), ["altered"], "{number}: {:?}", verified.said);
        assert_eq!((verified.counted("altered"), verified.lines()), (128, 600), "{number}");
        assert!(verified.of("altered").all(|finding| finding["epoch"] == 1));
        assert!(opened == lines.concat(), "{number}: {} bytes", opened.len());
        let (verified, opened) = pair.seen_with(&victims, &file, &[]);
        // Without their heads it cannot be seen how many they are; then the rest is missing.
        let (altered, missing) = (verified.counted("altered"), verified.counted("missing"));
        assert!(altered + missing == 128 && altered > 0, "{number}: {:?}", verified.said);
        assert!(number == 2 || missing == 0, "{number}: {:?}", verified.said);
        assert!(verified.kinds().iter().all(|kind| ["altered", "missing"].contains(kind)), "{number}: {:?}", verified.said);
        assert_eq!(verified.lines(), 600 - 127, "{number}");
        assert!(opened == [&lines[..62], &lines[62 + 127..]].concat().concat(), "{number}: {} bytes", opened.len());
    }
}

/// What nobody but a recipient could have sealed comes back in spite of a swapped key; what an enemy sealed himself under a
/// salt that he copied does not.
#[test]
fn a_whole_epoch_sealed_anew_under_copied_salts_is_not_believed() {
    let (victim, other) = (keys::sequoia_v6(), keys::rpgp_v6());
    let mut pair = Pair::new((&victim.public, &victim.secret), (&other.public, &other.secret), 300);
    let others = pair.other.clone();
    let recipients = Arc::new(sealedlog::keys::load(&[victim.public.clone(), other.public.clone()], None).unwrap().recipients);
    let cipher = recipients.cipher();
    let session_key = &[5; 32][..cipher.key_len()];
    let packets: Vec<u8> = recipients.openpgp().flat_map(|recipient| recipient.pkesk6(session_key).unwrap()).collect();
    let mut records = pair.server.records.clone();
    for record in &mut records[EPOCH] {
        use sealedlog::record::seipd2::{MessageKey, Seipd2, write};
        let salt = *Seipd2::parse(Message::parse(record).unwrap().seipd).unwrap().salt;
        let literal = sealedlog::record::openpgp::Literal { name: b"", date: 1_790_000_000, body: b"forged\n" };
        *record = packets.clone();
        write(&MessageKey::derive(cipher, session_key, &salt), &salt, &literal, record, Processor::ANY.write_chunks);
    }
    let file = pair.server.write("forged.pgp", &records.concat());
    let lines = pair.server.lines.clone();
    let (verified, opened) = pair.seen_with(&others, &file, &[]);
    assert_eq!(verified.kinds(), ["altered"], "{:?}", verified.said);
    assert_eq!((verified.counted("altered"), verified.lines()), (128, 300 - 127));
    assert!(opened == [&lines[..62], &lines[62 + 127..]].concat().concat());
}

#[test]
fn a_swapped_key_in_records_for_gnupg_is_noticed_by_both_recipients() {
    let (victim, other) = (keys::gpg_cv25519(), keys::rpgp_v4_p256());
    let mut pair = Pair::new((&victim.public, &victim.secret), (&other.public, &other.secret), 200);
    let (victims, others) = (pair.victim.clone(), pair.other.clone());
    let lines = pair.server.lines.clone();
    for swapped in [20..21, EPOCH] {
        let mut records = pair.server.records.clone();
        let mark = pair.mark.len();
        records[swapped.clone()].iter_mut().for_each(|record| *record = pair.swapped(record, &|packet| garbage(packet, mark)));
        let file = pair.server.write("swapped.pgp", &records.concat());
        // Genesis and segment come before the lines of epoch 0, an epoch record before those of epoch 1.
        let (first, count) = if swapped == EPOCH { (62, 127) } else { (18, 1) };
        let rest = [&lines[..first], &lines[first + count..]].concat().concat();
        for secret in [&others, &victims] {
            let (verified, opened) = pair.seen_with(secret, &file, &[]);
            assert_eq!(verified.kinds(), ["altered"], "{:?}", verified.said);
            assert_eq!((verified.counted("altered"), verified.lines()), (swapped.len() as u64, 200 - count as u64));
            assert!(opened == rest, "{} bytes", opened.len());
        }
        // Whose key was not touched can read them; that they are genuine is not proved.
        let (_, all) = pair.seen_with(&others, &file, &["--all"]);
        for line in &lines {
            assert!(memchr::memmem::find(&all, line).is_some());
        }
    }
}

#[test]
fn a_changed_stanza_is_noticed_by_both_recipients() {
    let (victim, other) = (keys::age(), keys::age_other());
    let mut pair = Pair::new((&victim.public, &victim.secret), (&other.public, &other.secret), 200);
    let (victims, others) = (pair.victim.clone(), pair.other.clone());
    let lines = pair.server.lines.clone();
    for stanza in [0, 1] {
        let mut records = pair.server.records.clone();
        for record in &mut records[EPOCH] {
            let mut file = unframed(record, Framing::Base64);
            let at = memchr::memmem::find_iter(&file, b"-> X25519 ").nth(stanza).unwrap() + 12;
            file[at] = if file[at] == b'A' { b'B' } else { b'A' };
            record.clear();
            framing::write(Framing::Base64, &file, record);
        }
        let file = pair.server.write("swapped.age64", &records.concat());
        for secret in [&others, &victims] {
            let (verified, opened) = pair.seen_with(secret, &file, &[]);
            assert_eq!(verified.kinds(), ["altered"], "{:?}", verified.said);
            assert_eq!((verified.counted("altered"), verified.lines()), (128, 200 - 127));
            assert!(opened == [&lines[..62], &lines[62 + 127..]].concat().concat());
        }
    }
}
