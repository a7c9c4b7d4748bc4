//! What an intruder seals himself: he has the public key, and everything that root's files hold at time T. He rebuilds a
//! history, its middle, its beginning or a whole stream, and forges the words of writers. None of it is believed.

#![cfg(feature = "audit")]

mod common;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use common::tampered::{FIRST_LINE, Log, each_profile, killed, names, some_lines};
use sealedlog::audit::finding::Kind;
use sealedlog::audit::verify::Trust;
use sealedlog::chain::{ChainKey, EpochKey, Kind as Sealed};
use sealedlog::control::{
    Close, Control, Epoch, Event, FoundProgress, Hex, Mark, Resume, Segment, SegmentBefore, StreamId, UsedEpoch,
};
use sealedlog::recipient::x25519::{AGREEMENT_LEN, AT_ONCE, agree_many};
use sealedlog::recipient::{AgeRecipient, Recipients};
use sealedlog::record::age::AgeFile;
use sealedlog::record::openpgp::{Literal, Message};
use sealedlog::record::seal::{EpochSealer, Processor};
use sealedlog::record::seipd2::{self, MessageKey, Seipd2};
use sealedlog::record::{Framing, age, framing};
use sealedlog::stream::claim::{Claimant, begin_ephemeral};

/// What root finds in the state folder at time T.
struct Intruder {
    recipients: Arc<Recipients>,
    stream: StreamId,
    epoch: u64,
    chain_key: ChainKey,
    framing: Framing,
}

impl Intruder {
    fn at(log: &Log) -> Self {
        let folder = fs::read_dir(log.folder.path().join("state")).unwrap().next().unwrap().unwrap().path();
        let state = fs::read(folder.join("state")).unwrap();
        // Both slots hold the same but the counter.
        Self {
            recipients: Arc::new(sealedlog::keys::load(std::slice::from_ref(&log.public), None).unwrap().recipients),
            stream: Hex(state[24..40].try_into().unwrap()),
            epoch: u64::from_be_bytes(state[40..48].try_into().unwrap()),
            chain_key: ChainKey::from_bytes(state[48..80].try_into().unwrap()),
            framing: if log.sealed[0] < 0x80 { Framing::Base64 } else { Framing::Binary },
        }
    }

    /// Takes the next epoch, as a writer would: its records with these events, lines and a close, dated as he likes.
    fn write(&mut self, time: jiff::Timestamp, before: Option<UsedEpoch>, events: Vec<Event>, lines: &[Vec<u8>]) -> Vec<u8> {
        let key = self.chain_key.epoch_key();
        let epoch = Epoch {
            epoch: self.epoch,
            epoch_key: (*key.as_bytes()).into(),
            slots: 64,
            before,
            boot: String::new(),
            progress: None,
        };
        let mut sealer = self.sealer(&key);
        let mut out = Vec::new();
        let mut seal = |kind, body: &[u8]| {
            let date = u32::try_from(time.as_second()).unwrap();
            sealer.seal(kind, date, body, self.framing, &mut out).unwrap();
            sealer.next_slot()
        };
        let control = |event| Control { v: 1, stream: self.stream, writer: Hex([3; 8]), time, event }.body();
        let mut slot = 0;
        for event in [vec![Event::Epoch(epoch)], events].concat() {
            slot = seal(Sealed::Control, &control(event));
        }
        for line in lines {
            slot = seal(Sealed::Line, line);
        }
        seal(Sealed::Control, &control(Event::Close(Close { slots: slot, why: "exit".to_owned() })));
        self.chain_key = self.chain_key.next();
        self.epoch += 1;
        out
    }

    /// A record for the public key, of a session key or file key of his own, with salt or nonce of another.
    fn under_the_salt_of(&self, record: &[u8], body: &[u8]) -> Vec<u8> {
        let mut forged = Vec::new();
        if self.framing == Framing::Base64 {
            let mut unframed = Vec::new();
            assert!(framing::read_line(&record[..record.len() - 1], &mut unframed));
            let nonce = AgeFile::parse(&unframed).unwrap().nonce;
            let agreement = |key: &AgeRecipient| {
                let mut agreements = [[0; AGREEMENT_LEN]; AT_ONCE];
                agree_many(key.agreement_key().unwrap(), &[[7; 32]; AT_ONCE], &mut agreements);
                agreements[0]
            };
            let stanzas: Vec<_> = self.recipients.age().map(|key| key.wrap(&[7; 16], &agreement(key))).collect();
            age::write(&stanzas, &[7; 16], nonce, body, &mut forged);
        } else {
            let cipher = self.recipients.cipher();
            let session_key = &[7; 32][..cipher.key_len()];
            let salt = Seipd2::parse(Message::parse(record).unwrap().seipd).unwrap().salt;
            self.recipients.openpgp().for_each(|key| forged.extend(key.pkesk6(session_key).unwrap()));
            let literal = Literal { name: b"", date: 1_700_000_000, body };
            seipd2::write(
                &MessageKey::derive(cipher, session_key, salt),
                salt,
                &literal,
                &mut forged,
                Processor::ANY.write_chunks,
            );
        }
        let mut framed = Vec::new();
        framing::write(self.framing, &forged, &mut framed);
        framed
    }

    fn sealer(&self, key: &EpochKey) -> EpochSealer<Vec<u8>> {
        EpochSealer::new(self.recipients.clone(), key, 64, vec![0; 64 * 80], Processor::ANY).unwrap()
    }
}

fn resume(progress: Vec<FoundProgress>) -> Event {
    Event::Resume(Resume { length: 0, torn: 0, progress: Some(progress) })
}

fn segment() -> Event {
    Event::Segment(Segment { segment: Some(0), before: None, progress: Some(Vec::new()) })
}

fn live(epoch: u64, value: [u8; 32]) -> FoundProgress {
    FoundProgress { stream: None, epoch, memory: Some(Hex(value)), disk: None, live: true }
}

/// Three runs of ten lines each: epochs 0, 1, 2.
fn three_short_runs(log: &mut Log) -> Vec<Vec<u8>> {
    let lines = some_lines(1, 30);
    log.seal(&lines[..10]).seal(&lines[10..20]).seal(&lines[20..]);
    lines
}

#[test]
fn a_rebuilt_history_is_missing_what_was_sealed() {
    for mut log in each_profile() {
        let lines = three_short_runs(&mut log);
        let (records, root) = (log.records(), log.rooted());
        let mut intruder = Intruder::at(&log);
        let long_ago = jiff::Timestamp::now() - Duration::from_secs(3600);
        // The genesis is all that he keeps: to the auditor it must be the one from paper.
        let mut history = log.sealed[records[0].clone()].to_vec();
        history.extend(intruder.write(long_ago, None, vec![segment()], &some_lines(9, 30)));
        let (report, _) = log.verify(&[&history], root.clone());
        assert_eq!(names(&report), ["missing"], "{:#?}", report.findings);
        // A middle run: the second one is replaced.
        let mut intruder = Intruder::at(&log);
        let second = records[13].start..records[13 + 13].start;
        let mut middle = log.sealed[..second.start].to_vec();
        middle.extend(intruder.write(long_ago, None, vec![resume(Vec::new())], &some_lines(9, 10)));
        middle.extend(&log.sealed[second.end..]);
        let (report, opened) = log.verify(&[&middle], root.clone());
        let kinds = names(&report);
        assert!(kinds.contains(&"missing") && !opened.is_empty(), "{:#?}", report.findings);
        assert!(lines[20..].iter().all(|line| memchr::memmem::find(&opened, line).is_some()));
        // The last run is cut, and another one in its place.
        let mut intruder = Intruder::at(&log);
        let mut end = log.sealed[..second.end].to_vec();
        end.extend(intruder.write(long_ago, None, vec![resume(Vec::new())], &some_lines(9, 10)));
        let (report, _) = log.verify(&[&end], root);
        assert_eq!(names(&report), ["missing"], "{:#?}", report.findings);
        // Without a root the data alone says it, too.
        assert!(names(&log.verify(&[&end], Trust::default()).0).contains(&"missing"));
    }
}

#[test]
fn a_beginning_that_is_dated_back_does_not_pass_for_an_old_one() {
    let mut log = Log::rfc9580();
    three_short_runs(&mut log);
    let day = Duration::from_secs(86_400);
    let now = jiff::Timestamp::now();
    let root = Trust { retention: Some(day * 90), now, ..log.rooted() };
    let genesis = log.sealed[log.records()[0].clone()].to_vec();
    // What is there begins earlier than the stream itself: the files before it were not removed for their age.
    let mut intruder = Intruder::at(&log);
    let back = now - day * 200;
    let prefix = [&genesis[..], &intruder.write(back, None, vec![segment()], &some_lines(9, 10))].concat();
    let (report, _) = log.verify(&[&prefix], root.clone());
    assert_eq!(names(&report), ["missing"], "{:#?}", report.findings);
    // Where nothing contradicts it, it is said to be unproven; never is it silent.
    // An age key has no date, so that it could be used then.
    let mut log = Log::new(&common::keys::age().public, &common::keys::age().secret);
    let lines = some_lines(1, 30);
    log.seal_at(Some("-400d"), "x.log", &lines[..10]).seal_at(Some("-300d"), "x.log", &lines[10..]);
    let genesis = log.sealed[log.records()[0].clone()].to_vec();
    let root = Trust { retention: Some(day * 90), now, ..log.rooted() };
    let mut intruder = Intruder::at(&log);
    let prefix = [&genesis[..], &intruder.write(back, None, vec![segment()], &some_lines(9, 10))].concat();
    let (report, _) = log.verify(&[&prefix], root.clone());
    assert_eq!(names(&report), ["unproven"], "{:#?}", report.findings);
    let young = [&genesis[..], &Intruder::at(&log).write(now, None, vec![segment()], &some_lines(9, 10))].concat();
    assert_eq!(names(&log.verify(&[&young], root).0), ["missing"]);
}

#[test]
fn a_stream_of_his_own_is_not_believed() {
    for mut log in each_profile() {
        let lines = three_short_runs(&mut log);
        let intruder = Intruder::at(&log);
        let claimant = Claimant {
            writer: Hex([9; 8]),
            recipients: intruder.recipients.clone(),
            host: "host".to_owned(),
            log: "/log".to_owned(),
            software: "forged".to_owned(),
            memory_locked: true,
            lacks: Vec::new(),
        };
        let (_, mut claim) = begin_ephemeral(&claimant, 64, None).unwrap();
        let mut forged = Vec::new();
        framing::write(intruder.framing, &claim.genesis.record, &mut forged);
        for line in some_lines(9, 10) {
            claim.sealer.seal(Sealed::Line, 1_700_000_000, &line, intruder.framing, &mut forged).unwrap();
        }
        // In the place of the real one.
        let (report, opened) = log.verify(&[&forged], log.rooted());
        assert_eq!(names(&report).iter().filter(|kind| **kind == "unanchored").count(), 1, "{:#?}", report.findings);
        assert_eq!((opened, report.summary.anchored), (Vec::new(), false));
        // Behind it, in the same file, and in a file of its own.
        for files in [vec![[&log.sealed[..], &forged].concat()], vec![log.sealed.clone(), forged.clone()]] {
            let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
            let (report, opened) = log.verify(&files, log.rooted());
            assert!(names(&report).contains(&"unanchored"), "{:#?}", report.findings);
            assert_eq!(opened, lines.concat());
        }
    }
}

/// A filter is killed and its last lines are cut off; the intruder then plays the next writer, with the chain key from the
/// state and whatever he finds, and says that all is well.
#[test]
fn a_forged_next_writer_cannot_say_that_a_cut_epoch_is_whole() {
    let lines = some_lines(1, 20);
    let mut log = Log::rfc9580();
    killed(&mut log, &lines);
    let root = log.rooted();
    let (records, mut intruder) = (log.records(), Intruder::at(&log));
    let run = fs::read_dir(log.folder.path().join("run")).unwrap().next().unwrap().unwrap().path();
    let file = fs::read_dir(&run).unwrap().map(Result::unwrap).find(|file| file.file_name().to_string_lossy().ends_with("-0"));
    let current: [u8; 32] = fs::read(file.unwrap().path()).unwrap().try_into().unwrap();
    let cut = log.sealed[..records[records.len() - 5].start].to_vec();
    let left = u32::try_from(records.len() - 5).unwrap();
    let used = |progress| Some(UsedEpoch { epoch: 0, used: left, progress: Hex(progress) });
    let before = |progress| SegmentBefore { name: "x".to_owned(), length: cut.len() as u64, last: used(progress) };
    let segment =
        |progress| Event::Segment(Segment { segment: Some(1), before: Some(before(progress)), progress: Some(Vec::new()) });
    let mark = |progress| Event::Mark(Mark { progress });
    // It is all the same which writer he says that he is, or what time it is.
    let now = jiff::Timestamp::now();
    type Case<'a> = (&'a str, Option<UsedEpoch>, Vec<Event>, &'a [Kind]);
    let cases: Vec<Case> = vec![
        ("silence", None, vec![resume(Vec::new())], &[Kind::Unproven]),
        ("a made-up value", None, vec![resume(vec![live(0, [7; 32])])], &[Kind::Unproven]),
        ("the last value", None, vec![resume(vec![live(0, current)])], &[Kind::Truncated]),
        ("its end, in the epoch's word", used([7; 32]), vec![resume(Vec::new())], &[Kind::Unproven]),
        ("its end, with the last value", used(current), vec![resume(Vec::new())], &[Kind::Unproven]),
        ("its end, in the file's word", None, vec![segment([7; 32])], &[Kind::Unproven]),
        ("a mark", None, vec![resume(Vec::new()), mark(vec![live(0, [7; 32])])], &[Kind::Unproven]),
        (
            "a mark with the last value",
            None,
            vec![resume(vec![]), mark(vec![live(0, current)])],
            &[Kind::Truncated, Kind::Unproven],
        ),
        ("twice the same", None, vec![resume(vec![live(0, [7; 32]); 40])], &[Kind::Unproven]),
        (
            "a close of another epoch's",
            None,
            vec![resume(vec![]), Event::Close(Close { slots: left, why: "exit".to_owned() })],
            &[Kind::Unproven],
        ),
    ];
    let (chain_key, epoch) = (intruder.chain_key.clone(), intruder.epoch);
    for (what, before, events, expected) in cases {
        (intruder.chain_key, intruder.epoch) = (chain_key.clone(), epoch);
        let forged = [&cut[..], &intruder.write(now, before, events, &some_lines(9, 3))].concat();
        let (report, _) = log.verify(&[&forged], root.clone());
        let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.finding).collect();
        assert!(!kinds.is_empty() && kinds.iter().all(|kind| expected.contains(kind)), "{what}: {:#?}", report.findings);
        assert!(report.findings.iter().any(|finding| finding.epoch == Some(0)), "{what}: {:#?}", report.findings);
    }
}

/// In an epoch that runs at T he has the tags of the slots to come, and no others: a close that stands there cannot speak of
/// fewer records than there were.
#[test]
fn a_forged_close_in_a_running_epoch_hides_nothing() {
    let lines = some_lines(1, 20);
    // Not `rfc9580`, whose records are bound to a session key that is erased: here the tags are all that it takes.
    let key = common::keys::gpg_cv25519();
    let mut log = Log::new(&key.public, &key.secret);
    killed(&mut log, &lines);
    let root = log.rooted();
    // The tags are those of the genesis' E_0, which here is had from the auditor; the table in memory begins at the next slot.
    let sealed = common::sealed::Log::open(&[&log.file], &[&key.secret]);
    let Some(Event::Genesis(genesis)) = sealed.events().next() else { panic!("a file begins with its genesis") };
    let key = ChainKey::from_bytes(*genesis.chain_key.as_bytes()).epoch_key();
    let intruder = Intruder::at(&log);
    let records = log.records();
    let next = u32::try_from(records.len()).unwrap();
    for (slots, place) in [(next - 5, next), (next, next), (next - 5, next + 1)] {
        // The table in memory begins with the next slot; here it is made again from the epoch's own key.
        let mut sealer = intruder.sealer(&key);
        let mut forged = log.sealed[..records[records.len() - 5].start].to_vec();
        let mut waste = Vec::new();
        for _ in 0..place {
            sealer.seal(Sealed::Line, 0, b"", Framing::Binary, &mut waste).unwrap();
        }
        let event = Event::Close(Close { slots, why: "exit".to_owned() });
        let control = Control { v: 1, stream: intruder.stream, writer: Hex([3; 8]), time: jiff::Timestamp::now(), event };
        sealer.seal(Sealed::Control, 0, &control.body(), Framing::Binary, &mut forged).unwrap();
        let (report, _) = log.verify(&[&forged], root.clone());
        assert_eq!(names(&report), ["missing"], "{:#?}", report.findings);
    }
    assert!(FIRST_LINE < records.len());
}

/// Salts and nonces stand in the clear, and the public key is public: a message of his own under a copied one opens.
#[test]
fn a_copied_salt_is_no_proof() {
    for mut log in [Log::rfc9580(), Log::new(&common::keys::age().public, &common::keys::age().secret)] {
        let lines = some_lines(1, 10);
        log.seal(&lines);
        let (root, records, intruder) = (log.rooted(), log.records(), Intruder::at(&log));
        let target = records[FIRST_LINE + 4].clone();
        let forged = intruder.under_the_salt_of(&log.sealed[target.clone()], b"forged\n");
        let (before, original, behind) = (&log.sealed[..target.start], &log.sealed[target.clone()], &log.sealed[target.end..]);
        let is_age = intruder.framing == Framing::Base64;
        let others = [&lines[..4], &lines[5..]].concat().concat();
        for (changed, told, opened) in [
            // In the place of the record, half a locator says nothing in the profile `age`.
            ([before, &forged, behind].concat(), if is_age { &["foreign", "missing"][..] } else { &["altered"] }, &others),
            ([before, &forged, original, behind].concat(), &["foreign"], &lines.concat()),
            ([before, original, &forged, behind].concat(), &["foreign"], &lines.concat()),
            ([before, original, behind, &forged].concat(), &["foreign"], &lines.concat()),
        ] {
            let (report, text) = log.verify(&[&changed], root.clone());
            assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(opened), "{:#?}", report.findings);
            let mut kinds = names(&report);
            kinds.sort_unstable();
            assert_eq!(kinds, told, "{:#?}", report.findings);
        }
    }
}

/// The next chain key seals an epoch, and it is put into the past: its place tells that it was not there then.
#[test]
fn an_epoch_that_is_put_into_the_past_is_reordered() {
    let mut log = Log::rfc9580();
    log.seal(&some_lines(1, 10));
    let (root, long_ago) = (log.rooted(), jiff::Timestamp::now() - Duration::from_secs(3600));
    let mut intruder = Intruder::at(&log);
    let mut run = || intruder.write(long_ago, None, vec![resume(Vec::new())], &some_lines(9, 1));
    for _ in 0..33 {
        log.sealed.extend(run());
    }
    assert_eq!(names(&log.verify(&[&log.sealed], root.clone()).0), Vec::<&str>::new());
    let first = log.records()[12].end;
    let last = run();
    // Behind the first run: 33 lower epochs come after it; behind the second one 32.
    let second = log.records()[16].end;
    assert_eq!(names(&log.verify(&[&[&log.sealed[..], &last].concat()], root.clone()).0), Vec::<&str>::new());
    for (at, told) in [(first, &["reordered"][..]), (second, &[])] {
        let forged = [&log.sealed[..at], &last, &log.sealed[at..]].concat();
        let (report, _) = log.verify(&[&forged], root.clone());
        assert_eq!(names(&report), told, "{:#?}", report.findings);
    }
}

/// A control record of a later version is in its place, whatever it says.
#[test]
fn a_control_record_of_a_later_version_is_in_its_place() {
    for mut log in each_profile() {
        log.seal(&some_lines(1, 10));
        let (root, intruder) = (log.rooted(), Intruder::at(&log));
        let (key, now) = (intruder.chain_key.epoch_key(), jiff::Timestamp::now());
        let control = |event| Control { v: 1, stream: intruder.stream, writer: Hex([3; 8]), time: now, event }.body();
        let (epoch_key, boot) = ((*key.as_bytes()).into(), String::new());
        let epoch = Epoch { epoch: intruder.epoch, epoch_key, slots: 64, before: None, boot, progress: None };
        let mut sealer = intruder.sealer(&key);
        for body in [
            control(Event::Epoch(epoch)),
            control(resume(Vec::new())),
            b"{\"v\":2}\n".to_vec().into(),
            b"{\"v\":1,\"kind\":\"news\"}\n".to_vec().into(),
            control(Event::Close(Close { slots: 4, why: "exit".to_owned() })),
        ] {
            let date = u32::try_from(now.as_second()).unwrap();
            sealer.seal(Sealed::Control, date, &body, intruder.framing, &mut log.sealed).unwrap();
        }
        let (report, _) = log.verify(&[&log.sealed], root);
        assert_eq!((names(&report), report.summary.lines), (Vec::new(), 10), "{:#?}", report.findings);
    }
}
