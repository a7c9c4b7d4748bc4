//! Evidence: real sealed files are changed in one way, and the verifier says just that, at the right place; every line
//! that was not touched comes back.

#![cfg(feature = "audit")]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::keys;
use common::tampered::{FIRST_LINE, Log, each_profile, killed, names, records, some_lines, splice, three_runs, without, writer};
use sealedlog::audit::finding::Kind;
use sealedlog::audit::verify::Trust;
use sealedlog::chain::Kind as ChainKind;
use sealedlog::control::{Close, Control, Epoch, Event, Follows, FoundProgress, Gap, Hex, Resume, UsedEpoch};
use sealedlog::identity::{Identities, Terminal};
use sealedlog::record::Framing;
use sealedlog::record::openpgp::Message;
use sealedlog::record::seal::{EpochSealer, Processor};
use sealedlog::stream::claim::{Claimant, begin_ephemeral};

#[test]
fn what_was_not_touched_is_clean() {
    for mut log in each_profile() {
        let lines = three_runs(&mut log);
        let (report, opened) = log.verify(&[&log.sealed], log.rooted());
        assert_eq!(report.findings, []);
        assert_eq!(opened, lines.concat());
        assert_eq!((report.summary.lines, report.summary.streams, report.summary.anchored), (300, 1, true));
        assert_eq!(report.summary.records as usize, log.records().len());
    }
}

#[test]
fn a_changed_record_is_altered() {
    for mut log in each_profile() {
        let lines = three_runs(&mut log);
        let place = log.records()[FIRST_LINE + 20].clone();
        // In the cipher text, far behind all that tells the place.
        let mut changed = log.sealed.clone();
        changed[place.end - 30] ^= 1;
        let finding = log.expect(&changed, Kind::Altered, Some(place.clone()), Some(1), &without(&lines, 20..21));
        assert_eq!((finding.epoch, finding.slot), (Some(0), Some(22)));
        // The last record of all, for which nothing is missing behind it.
        let place = log.records().last().unwrap().clone();
        let mut changed = log.sealed.clone();
        changed[place.end - 30] ^= 1;
        log.expect(&changed, Kind::Altered, Some(place), Some(1), &lines);
        // Two neighbours, and the genesis.
        let places = log.records()[FIRST_LINE + 7].start..log.records()[FIRST_LINE + 8].end;
        let mut changed = log.sealed.clone();
        changed[log.records()[FIRST_LINE + 7].end - 30] ^= 1;
        changed[log.records()[FIRST_LINE + 8].end - 30] ^= 1;
        log.expect(&changed, Kind::Altered, Some(places), Some(2), &without(&lines, 7..9));
    }
}

#[test]
fn a_changed_genesis_is_altered() {
    let mut log = Log::rfc9580();
    let lines = three_runs(&mut log);
    // Another file of the stream has the genesis still.
    log.seal_as("y.log", &some_lines(9, 3));
    log.reread("x.log");
    let mut changed = log.sealed.clone();
    changed[log.records()[0].end - 30] ^= 1;
    let (report, opened) = log.verify(&[&changed, &log.sealed[log.records()[0].clone()]], log.rooted());
    assert_eq!(names(&report), ["altered"], "{:#?}", report.findings);
    assert_eq!(report.findings[0].offset, Some(0));
    assert_eq!(opened, lines.concat());
}

#[test]
fn a_record_whose_wrapped_key_was_changed_is_altered_and_comes_back() {
    let mut log = Log::rfc9580();
    let lines = three_runs(&mut log);
    let place = log.records()[FIRST_LINE + 20].clone();
    let mut changed = log.sealed.clone();
    changed[place.start + 80] ^= 1;
    log.expect(&changed, Kind::Altered, Some(place), Some(1), &lines);
}

#[test]
fn removed_records_are_missing() {
    for mut log in each_profile() {
        let lines = three_runs(&mut log);
        for count in [1, 5] {
            let (from, to) = (log.records()[FIRST_LINE + 20].start, log.records()[FIRST_LINE + 20 + count].start);
            let changed = splice(&log.sealed, from..to, b"");
            let expected = without(&lines, 20..20 + count);
            let finding = log.expect(&changed, Kind::Missing, Some(from..from), Some(count as u64), &expected);
            assert_eq!((finding.epoch, finding.slot), (Some(0), Some(22)));
        }
        // The head of the file.
        let (report, _) = log.verify(&[&log.sealed[log.records()[0].end..], &log.sealed[log.records()[0].clone()]], log.rooted());
        assert_eq!(names(&report), ["missing"], "{:#?}", report.findings);
        // Its segment record; a whole epoch; everything between the genesis and a later run.
        let changed = splice(&log.sealed, log.records()[1].clone(), b"");
        log.expect(&changed, Kind::Missing, None, Some(1), &lines);
    }
}

#[test]
fn a_whole_epoch_and_a_whole_beginning_are_missing() {
    let mut log = Log::rfc9580();
    let lines = three_runs(&mut log);
    let records = log.records();
    // Epoch 0 has 64 slots: genesis, segment, 62 lines. Epoch 1 begins at record 64 and has 128.
    let changed = splice(&log.sealed, records[64].start..records[64 + 128].start, b"");
    let (report, opened) = log.verify(&[&changed], log.rooted());
    assert_eq!(names(&report), ["missing"], "{:#?}", report.findings);
    assert_eq!(report.findings[0].epoch, Some(1));
    assert_eq!(opened, [lines[..62].concat(), lines[62 + 127..].concat()].concat());
    let changed = splice(&log.sealed, records[1].start..records[64].start, b"");
    let (report, opened) = log.verify(&[&changed], log.rooted());
    assert_eq!(names(&report), ["missing"], "{:#?}", report.findings);
    assert_eq!(opened, lines[62..].concat());
}

#[test]
fn a_repeated_record_is_duplicated() {
    for mut log in each_profile() {
        let lines = three_runs(&mut log);
        let place = log.records()[FIRST_LINE + 20].clone();
        let copy = log.sealed[place.clone()].to_vec();
        let changed = splice(&log.sealed, place.end..place.end, &copy);
        log.expect(&changed, Kind::Duplicated, Some(place.end..place.end + copy.len()), Some(1), &lines);
        // At the very end.
        let end = log.sealed.len();
        let changed = splice(&log.sealed, end..end, &copy);
        log.expect(&changed, Kind::Duplicated, Some(end..end + copy.len()), Some(1), &lines);
    }
}

#[test]
fn swapped_records_are_reordered() {
    for mut log in each_profile() {
        let lines = three_runs(&mut log);
        let records = log.records();
        let (a, b) = (records[FIRST_LINE + 20].clone(), records[FIRST_LINE + 21].clone());
        let swapped = [&log.sealed[b.clone()], &log.sealed[a.clone()]].concat();
        let changed = splice(&log.sealed, a.start..b.end, &swapped);
        let mut expected = lines.clone();
        expected.swap(20, 21);
        log.expect(&changed, Kind::Reordered, Some(a.start + b.len()..b.end), Some(1), &expected);
    }
}

#[test]
fn what_an_intruder_seals_with_the_public_key_is_foreign_or_not_trusted() {
    for mut log in each_profile() {
        let lines = three_runs(&mut log);
        let mut intruder = Log {
            folder: tempfile::tempdir().unwrap(),
            public: log.public.clone(),
            ..Log::new(&log.public, &keys::age().secret)
        };
        intruder.seal(&some_lines(3, 10));
        // Without the genesis of his stream.
        let records = intruder.records();
        let forged = intruder.sealed[records[FIRST_LINE].start..records[FIRST_LINE + 10].start].to_vec();
        let end = log.sealed.len();
        let changed = splice(&log.sealed, end..end, &forged);
        log.expect(&changed, Kind::Foreign, Some(end..end + forged.len()), Some(10), &lines);
        let place = log.records()[FIRST_LINE + 20].start;
        let changed = splice(&log.sealed, place..place, &forged);
        log.expect(&changed, Kind::Foreign, Some(place..place + forged.len()), Some(10), &lines);
        // With it.
        let changed = [&log.sealed[..], &intruder.sealed].concat();
        let (report, opened) = log.verify(&[&changed], log.rooted());
        assert_eq!(names(&report), ["unanchored"], "{:#?}", report.findings);
        assert_eq!(opened, lines.concat());
    }
}

#[test]
fn a_second_genesis_for_a_log_is_replaced() {
    let mut log = Log::rfc9580();
    let lines = three_runs(&mut log);
    let trust = log.rooted();
    fs::remove_dir_all(log.folder.path().join("state")).unwrap();
    log.seal(&some_lines(4, 10));
    let (report, opened) = log.verify(&[&log.sealed], trust);
    assert_eq!(names(&report), ["replaced"], "{:#?}", report.findings);
    assert_eq!(opened, lines.concat());
    // Without a root it shows as well.
    let (report, _) = log.verify(&[&log.sealed], Trust::default());
    assert_eq!(names(&report), ["unanchored", "replaced"], "{:#?}", report.findings);
}

#[test]
fn a_chain_that_was_used_twice_is_forked() {
    for mut log in each_profile() {
        let lines = some_lines(1, 30);
        log.seal(&lines[..10]);
        let (state, backup) = (log.folder.path().join("state"), log.folder.path().join("backup"));
        let copy = |from: &Path, to: &Path| assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
        copy(&state, &backup);
        log.seal(&lines[10..20]);
        let before = log.sealed.len();
        fs::remove_dir_all(&state).unwrap();
        copy(&backup, &state);
        log.seal(&lines[20..]);
        log.expect(&log.sealed.clone(), Kind::Forked, Some(before..log.sealed.len()), Some(13), &lines[..20]);
    }
}

#[test]
fn bytes_between_records_are_garbage() {
    for mut log in each_profile() {
        let lines = three_runs(&mut log);
        let place = log.records()[FIRST_LINE + 20].start;
        let garbage: &[u8] = if log.sealed[0] < 0x80 { b"bm90IGEgcmVjb3Jk\n" } else { b"not a record" };
        let changed = splice(&log.sealed, place..place, garbage);
        log.expect(&changed, Kind::Garbage, Some(place..place + garbage.len()), None, &lines);
    }
}

#[test]
fn a_write_that_did_not_end_is_torn() {
    for mut log in each_profile() {
        let lines = some_lines(1, 30);
        log.seal(&lines[..20]);
        let (place, end) = (log.records()[FIRST_LINE + 5].clone(), log.sealed.len());
        // At the end of the file, from a record that nobody has.
        let mut other = Log {
            folder: tempfile::tempdir().unwrap(),
            public: log.public.clone(),
            ..Log::new(&log.public, &keys::age().secret)
        };
        other.seal(&some_lines(5, 3));
        let fragment = other.sealed[other.records()[FIRST_LINE].clone()][..150].to_vec();
        let torn = splice(&log.sealed, end..end, &fragment);
        log.expect(&torn, Kind::Torn, Some(end..end + 150), Some(1), &lines[..20]);
        // The next writer goes on behind it.
        fs::write(&log.file, &torn).unwrap();
        log.seal(&lines[20..]);
        log.expect(&log.sealed.clone(), Kind::Torn, None, Some(1), &lines);
        // A short write: the fragment, then the whole record.
        let mut fragment = torn[place.start..place.start + 150].to_vec();
        if torn[0] < 0x80 {
            fragment.push(b'\n');
        }
        let repeated = splice(&torn[..end], place.start..place.start, &fragment);
        log.expect(&repeated, Kind::Torn, Some(place.start..place.start + fragment.len()), Some(1), &lines[..20]);
    }
}

#[test]
fn without_a_root_a_stream_is_unanchored() {
    let mut log = Log::rfc9580();
    let lines = three_runs(&mut log);
    let (report, opened) = log.verify(&[&log.sealed], Trust::default());
    assert_eq!(names(&report), ["unanchored"]);
    assert!(report.findings[0].message.contains(&log.genesis().to_string()));
    assert_eq!(opened, lines.concat());
}

#[test]
fn a_log_without_a_mark_is_unmarked() {
    let mut log = Log::rfc9580();
    three_runs(&mut log);
    let trust = Trust { marked_since: Some(jiff::Timestamp::UNIX_EPOCH), ..log.rooted() };
    assert_eq!(names(&log.verify(&[&log.sealed], trust).0), ["unmarked"]);
}

#[test]
fn files_come_into_order_whatever_their_names() {
    let mut log = Log::rfc9580();
    let lines = some_lines(1, 30);
    let mut contents = Vec::new();
    for (number, part) in lines.chunks(10).enumerate() {
        // One log, moved away after each run as by rotation.
        contents.push(log.seal(part).sealed.clone());
        fs::rename(&log.file, log.folder.path().join(format!("old{number}"))).unwrap();
    }
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let (report, opened) = log.verify(&order.map(|at| contents[at]), Trust { first: true, ..Trust::default() });
        assert_eq!(report.findings, [], "{order:?}");
        assert_eq!(opened, lines.concat(), "{order:?}");
    }
    let clean = log.verify(&contents, Trust { first: true, ..Trust::default() }).0;
    let root = Trust { genesis: vec![clean.streams[0].genesis], ..Trust::default() };
    let left =
        |gone: usize| contents.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, content)| *content).collect::<Vec<_>>();
    for gone in 0..3 {
        let found = names(&log.verify(&left(gone), root.clone()).0);
        // Without word of it, the newest file can go unnoticed: that is what marks and the ledger are for.
        assert_eq!(found, if gone == 2 { vec![] } else { vec!["missing"] }, "without {gone}");
    }
    let ledger = Trust { ledger: Some(clean.ledger), ..Trust::default() };
    assert_eq!(names(&log.verify(&left(2), ledger.clone()).0), ["truncated"]);
    // What was verified once may be removed, oldest first; what was not, when it is old enough.
    assert_eq!(names(&log.verify(&left(0), ledger).0), [""; 0]);
    let days = |days: u64| Duration::from_secs(86_400 * days);
    let later = Trust { now: jiff::Timestamp::now() + days(201), ..root };
    for (age, expected) in [(200, "unproven"), (202, "missing")] {
        assert_eq!(names(&log.verify(&left(0), Trust { retention: Some(days(age)), ..later.clone() }).0), [expected]);
    }
}

#[test]
fn after_an_audit_nothing_can_be_done_unnoticed_to_an_rfc9580_file() {
    let [log, _, _] = each_profile();
    sweep(log, 1);
}

#[test]
fn after_an_audit_nothing_can_be_done_unnoticed_to_an_rfc4880_file() {
    let [_, log, _] = each_profile();
    sweep(log, 7);
}

#[test]
fn after_an_audit_nothing_can_be_done_unnoticed_to_an_age_file() {
    let [_, _, log] = each_profile();
    sweep(log, 7);
}

/// Flips a bit of each byte, cuts at each length, drops, repeats and swaps each record. With one key operation a record it
/// takes its time, so that in some profiles only every `step`th byte has its turn.
fn sweep(mut log: Log, step: usize) {
    {
        let lines = some_lines(1, 5);
        log.seal(&lines);
        let clean = log.verify(&[&log.sealed], log.rooted()).0;
        assert_eq!(clean.findings, []);
        let trust = Trust { ledger: Some(clean.ledger), ..Trust::default() };
        assert_eq!(log.verify(&[&log.sealed], trust.clone()).0.findings, [], "the same file again");
        let untouched = log.sealed.clone();
        let notices = |what: &str, changed: &[u8]| {
            let (report, opened) = log.verify(&[changed], trust.clone());
            assert!(!report.findings.is_empty(), "{what}: nothing is said");
            // Whatever comes out is lines that were sealed.
            for line in opened.split_inclusive(|&byte| byte == b'\n') {
                assert!(lines.iter().any(|sealed| sealed == line), "{what}: {}", String::from_utf8_lossy(line));
            }
        };
        for at in (0..untouched.len()).step_by(step) {
            let mut changed = untouched.clone();
            changed[at] ^= 1 << (at % 8);
            // In base64 a flip may change a newline or a letter's unused bits; the record is then still the same.
            let same = untouched[0] < 0x80 && decoded(&changed) == decoded(&untouched);
            if !same {
                notices(&format!("bit flipped at {at}"), &changed);
            }
        }
        for length in (0..untouched.len() - 1).step_by(step) {
            notices(&format!("cut at {length}"), &untouched[..length]);
        }
        let records = records(&untouched);
        for (number, place) in records.iter().enumerate() {
            notices(&format!("record {number} dropped"), &splice(&untouched, place.clone(), b""));
            if number > 0 {
                notices(
                    &format!("record {number} repeated"),
                    &splice(&untouched, place.end..place.end, &untouched[place.clone()]),
                );
                let before = records[number - 1].clone();
                let swapped = [&untouched[place.clone()], &untouched[before.clone()]].concat();
                notices(&format!("record {number} swapped"), &splice(&untouched, before.start..place.end, &swapped));
            }
        }
    }
}

fn decoded(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    text.split(|&byte| byte == b'\n')
        .map(|line| {
            let mut record = Vec::new();
            sealedlog::record::framing::read_line(line, &mut record).then_some(record)
        })
        .collect()
}

#[test]
fn an_old_copy_and_records_of_another_stream_are_noticed_against_the_ledger() {
    for mut log in each_profile() {
        let lines = some_lines(1, 30);
        let old = log.seal(&lines[..20]).sealed.clone();
        log.seal(&lines[20..]);
        let clean = log.verify(&[&log.sealed], log.rooted()).0;
        let trust = Trust { ledger: Some(clean.ledger), ..Trust::default() };
        assert_eq!(names(&log.verify(&[&old], trust.clone()).0), ["truncated"]);
        assert_eq!(names(&log.verify(&[&log.sealed, &old], trust.clone()).0), ["duplicated"]);
        assert_eq!(names(&log.verify(&[b""], trust.clone()).0), ["missing"]);
        // A record of another log of the same host.
        let sealed = log.sealed.clone();
        log.seal_as("other.log", &some_lines(6, 10));
        let other = log.sealed.clone();
        let moved = other[records(&other)[FIRST_LINE + 3].clone()].to_vec();
        let place = records(&sealed)[FIRST_LINE + 4].start;
        let spliced = splice(&sealed, place..place, &moved);
        assert_eq!(names(&log.verify(&[&spliced], trust).0), ["foreign"]);
    }
}

#[test]
fn kill_cut_and_restart_is_truncated() {
    let lines = some_lines(1, 40);
    let mut log = Log::rfc9580();
    log.seal(&lines[..10]);
    killed(&mut log, &lines[10..30]);
    let records = log.records();
    // Nobody cut anything: the progress value says so.
    let uncut = log.sealed.clone();
    log.seal(&lines[30..]);
    let (report, opened) = log.verify(&[&log.sealed], log.rooted());
    assert_eq!(report.findings, []);
    assert_eq!(opened, lines.concat());
    // The same with the last three records cut off before the restart.
    let mut log = Log::rfc9580();
    log.seal(&lines[..10]);
    killed(&mut log, &lines[10..30]);
    assert_eq!(log.records().len(), records.len());
    let cut = log.records()[records.len() - 3].start;
    fs::write(&log.file, &log.sealed[..cut]).unwrap();
    log.seal(&lines[30..]);
    let left = without(&lines, 27..30);
    log.expect(&log.sealed.clone(), Kind::Truncated, Some(cut..cut), Some(3), &left);
    assert!(!uncut.is_empty());
}

#[test]
fn without_the_progress_value_a_killed_epoch_is_unproven() {
    let lines = some_lines(1, 40);
    for cut in [0, 3] {
        let mut log = Log::rfc9580();
        log.seal(&lines[..10]);
        killed(&mut log, &lines[10..30]);
        let end = log.records()[log.records().len() - cut..].first().map_or(log.sealed.len(), |place| place.start);
        fs::write(&log.file, &log.sealed[..end]).unwrap();
        // Whoever is root removes both values.
        fs::remove_dir_all(log.folder.path().join("run")).unwrap();
        let state = fs::read_dir(log.folder.path().join("state")).unwrap().next().unwrap().unwrap().path();
        for entry in fs::read_dir(state)
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("progress-"))
        {
            fs::remove_file(entry.path()).unwrap();
        }
        // Twenty minutes later, so that nobody can hold the epoch to be still in use.
        log.seal_at(Some("+20m"), "x.log", &lines[30..]);
        let finding = log.expect(
            &log.sealed.clone(),
            Kind::Unproven,
            Some(end..end),
            Some(43 + cut as u64 - 1),
            &without(&lines, 30 - cut..30),
        );
        assert_eq!(finding.epoch, Some(1));
    }
}

#[test]
fn a_change_of_keys_is_told_and_the_next_stream_trusted() {
    let (first, second) = (keys::sequoia_v6(), keys::openpgpjs());
    let mut log = Log::new(&first.public, &first.secret);
    let folder = log.folder.path().join("keys");
    fs::create_dir(&folder).unwrap();
    fs::copy(&first.public, folder.join("a.asc")).unwrap();
    log.public = folder.clone();
    log.identities = Identities::load(&[&first.secret, &second.secret], &mut Terminal).unwrap();
    let lines = some_lines(1, 124);
    // With and without a free slot for the last word: 62 lines fill the first epoch.
    for (name, count) in [("x.log", 20), ("y.log", 62)] {
        fs::copy(&first.public, folder.join("a.asc")).unwrap();
        let mut child = log.command(name).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&lines[..count].concat()).unwrap();
        let file = log.folder.path().join(format!("{name}.pgp"));
        let holds = |records: usize| fs::read(&file).is_ok_and(|sealed| records <= records_in(&sealed));
        assert!(common::tools::wait_for(common::tools::SOON, || holds(FIRST_LINE + count)));
        fs::copy(&second.public, folder.join("b.new")).unwrap();
        fs::rename(folder.join("b.new"), folder.join("a.asc")).unwrap();
        // Last word, close, genesis, resume.
        assert!(common::tools::wait_for(common::tools::SOON, || holds(FIRST_LINE + count + 4)));
        stdin.write_all(&lines[count..].concat()).unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success());
        log.reread(name);
        let (report, opened) = log.verify(&[&log.sealed], log.rooted());
        assert_eq!(names(&report), ["recipients"], "{:#?}", report.findings);
        assert_eq!(opened, lines.concat());
        assert_eq!(report.summary.streams, 2);
        assert!(report.summary.anchored);
        // Nor is the first one said to have replaced the second, which goes back to it.
        let by_files = log.verify(&[&log.sealed], Trust { first: true, ..Trust::default() }).0;
        assert_eq!(names(&by_files), ["recipients"], "{:#?}", by_files.findings);
        // What the ledger knows of the first stream, which has ended: it needs no mark, and no file any more.
        let trust = Trust { ledger: Some(report.ledger), marked_since: Some(jiff::Timestamp::now()), ..Trust::default() };
        let told = log.verify(&[&log.sealed], trust.clone()).0;
        assert_eq!(names(&told), ["recipients", "unmarked"], "{:#?}", told.findings);
        if count == 20 {
            let rest = &log.sealed[log.records()[FIRST_LINE + count + 2].start..];
            let told = log.verify(&[rest], trust).0;
            // A file that the new stream begins has a `segment`, which this rest of one has not.
            assert_eq!(names(&told), ["missing", "unmarked"], "{:#?}", told.findings);
            assert!(told.findings[0].message.starts_with("the beginning of the file"), "{:#?}", told.findings);
        }
        // Who has the old key only reads what was sealed to it.
        log.identities = Identities::load(&[&first.secret], &mut Terminal).unwrap();
        let (_, opened) = log.verify(&[&log.sealed], Trust { first: true, ..Trust::default() });
        assert_eq!(opened, lines[..count].concat());
        log.identities = Identities::load(&[&first.secret, &second.secret], &mut Terminal).unwrap();
    }
}

/// How many whole records a file holds.
fn records_in(sealed: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Ok(message) = Message::parse(&sealed[at.min(sealed.len())..]) {
        (at, count) = (at + message.len, count + 1);
    }
    count
}

#[test]
fn dropped_lines_are_a_gap() {
    let mut log = Log::rfc9580();
    let (lines, file) = (some_lines(1, 20), log.folder.path().join("x.log.pgp"));
    let mut writer = writer(&log, Duration::from_secs(60));
    writer.enter(&file, false).unwrap();
    let now = jiff::Timestamp::now();
    lines[..10].iter().for_each(|line| writer.line(line, now).unwrap());
    writer.gap(Gap { lines: 7, bytes: 1234, from: now, to: now, why: "disk full".to_owned() }, now).unwrap();
    lines[10..].iter().for_each(|line| writer.line(line, now).unwrap());
    writer.finish().unwrap();
    log.reread("x.log");
    let place = log.records()[FIRST_LINE + 10].clone();
    let finding = log.expect(&log.sealed.clone(), Kind::Gap, Some(place), Some(7), &lines);
    assert!(finding.message.contains("7 lines (1234 bytes)"), "{}", finding.message);
}

#[test]
fn a_stream_that_stood_in_is_told_and_trusted() {
    // In one file; and where files begin with it and go on behind it, they still come into order.
    a_stream_that_stands_in(["x", "x", "x"], false);
    a_stream_that_stands_in(["x", "y", "z"], false);
    // A writer that cannot use the state from its start on does not know for which stream it stands in.
    a_stream_that_stands_in(["x", "x", "x"], true);
    a_stream_that_stands_in(["x", "y", "z"], true);
}

fn a_stream_that_stands_in(files: [&str; 3], anew: bool) {
    let log = Log::rfc9580();
    let (lines, file) = (some_lines(1, 200), |at: usize| log.folder.path().join(files[at]));
    let mut writer = writer(&log, Duration::ZERO);
    let at = |name: &str| log.folder.path().join(name);
    let point_state_to = |target: &Path| {
        std::os::unix::fs::symlink(target, at("link")).unwrap();
        fs::rename(at("link"), at("state")).unwrap();
    };
    fs::create_dir(at("real")).unwrap();
    point_state_to(&at("real"));
    writer.enter(&file(0), false).unwrap();
    let now = jiff::Timestamp::now();
    lines[..20].iter().for_each(|line| writer.line(line, now).unwrap());
    writer.flush().unwrap();
    if anew {
        writer.finish().unwrap();
        writer = self::writer(&log, Duration::ZERO);
        // Times are told in milliseconds.
        std::thread::sleep(Duration::from_millis(5));
    }
    // The state cannot be used for a while: something else stands in its place.
    point_state_to(Path::new("/dev/null"));
    if anew || files[1] != files[0] {
        writer.enter(&file(1), false).unwrap();
    }
    lines[20..100].iter().for_each(|line| writer.line(line, now).unwrap());
    writer.flush().unwrap();
    let warnings: Vec<_> = writer.take_warnings().iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|warning| warning.contains("goes on in a stream of its own")), "{warnings:?}");
    point_state_to(&at("real"));
    writer.tick().unwrap();
    lines[100..150].iter().for_each(|line| writer.line(line, now).unwrap());
    if files[2] != files[1] {
        // Times are told in milliseconds.
        std::thread::sleep(Duration::from_millis(5));
        writer.enter(&file(2), false).unwrap();
    }
    lines[150..].iter().for_each(|line| writer.line(line, now).unwrap());
    writer.finish().unwrap();
    let mut sealed: Vec<_> = (0..3).map(|at| fs::read(file(at)).unwrap()).collect();
    sealed.dedup();
    let sealed: Vec<&[u8]> = sealed.iter().rev().map(Vec::as_slice).collect();
    let root = log.verify(&sealed, Trust { first: true, ..Trust::default() }).0.streams;
    let root = root.iter().min_by_key(|stream| stream.began).unwrap().genesis;
    let (report, opened) = log.verify(&sealed, Trust { genesis: vec![root], ..Trust::default() });
    assert_eq!(names(&report), ["ephemeral"], "{:#?}", report.findings);
    assert_eq!(opened, lines.concat());
    assert_eq!(report.summary.streams, 2);
}

#[test]
fn a_stream_that_is_named_and_not_there_is_missing() {
    let mut log = Log::rfc9580();
    let (lines, file) = (some_lines(1, 40), log.folder.path().join("x.log.pgp"));
    let mut writer = writer(&log, Duration::from_secs(60));
    writer.enter(&file, false).unwrap();
    let now = jiff::Timestamp::now();
    lines[..20].iter().for_each(|line| writer.line(line, now).unwrap());
    let other = sealedlog::keys::load(std::slice::from_ref(&keys::openpgpjs().public), None).unwrap().recipients;
    writer.change_recipients(Arc::new(other), None).unwrap();
    lines[20..].iter().for_each(|line| writer.line(line, now).unwrap());
    writer.finish().unwrap();
    log.reread("x.log");
    // All of the stream that follows is cut off, its genesis included: segment, lines, last word and close are left.
    let cut = log.records()[FIRST_LINE + 20 + 2].start;
    let (report, _) = log.verify(&[&log.sealed[..cut]], log.rooted());
    assert_eq!(names(&report), ["recipients", "missing"], "{:#?}", report.findings);
}

#[test]
fn who_only_says_that_he_stood_in_is_not_believed() {
    let mut log = Log::rfc9580();
    let lines = three_runs(&mut log);
    let genesis = log.genesis();
    let forger = Log::new(&log.public, &keys::age().secret);
    let recipients = Arc::new(sealedlog::keys::load(std::slice::from_ref(&log.public), None).unwrap().recipients);
    let claimant = Claimant {
        writer: Hex([9; 8]),
        recipients: recipients.clone(),
        host: "host".to_owned(),
        log: "/log".to_owned(),
        software: "forged".to_owned(),
        memory_locked: false,
        lacks: Vec::new(),
    };
    let follows = Follows { stream: Hex([1; 16]), genesis, why: "claim".to_owned() };
    let (_, mut claim) = begin_ephemeral(&claimant, 64, Some(follows)).unwrap();
    let mut forged = claim.genesis.record.clone();
    claim.sealer.seal(ChainKind::Line, 1_800_000_000, b"forged\n", Framing::Binary, &mut forged).unwrap();
    let (report, opened) = log.verify(&[&[&log.sealed[..], &forged].concat()], log.rooted());
    assert_eq!(opened, lines.concat());
    assert!(names(&report).contains(&"unanchored"), "{:#?}", report.findings);
    drop(forger);
}

#[test]
fn a_forged_word_on_how_much_was_used_is_not_believed() {
    let mut log = Log::rfc9580();
    let lines = some_lines(1, 10);
    log.seal(&lines);
    let trust = log.rooted();
    // Root takes the next chain key out of the state, cuts the end of the run, and says that it ended there.
    let folder = fs::read_dir(log.folder.path().join("state")).unwrap().next().unwrap().unwrap().path();
    let state = fs::read(folder.join("state")).unwrap();
    let chain_key: [u8; 32] = state[48..80].try_into().unwrap();
    let stream = Hex(state[24..40].try_into().unwrap());
    let key = sealedlog::chain::ChainKey::from_bytes(chain_key).epoch_key();
    let recipients = Arc::new(sealedlog::keys::load(std::slice::from_ref(&log.public), None).unwrap().recipients);
    let mut sealer = EpochSealer::new(recipients, &key, 64, vec![0; 64 * 80], Processor::ANY).unwrap();
    let mut forged = log.sealed[..log.records()[FIRST_LINE + 5].start].to_vec();
    let time = jiff::Timestamp::now() + Duration::from_secs(3600);
    let before = Some(UsedEpoch { epoch: 0, used: 7, progress: Hex([5; 32]) });
    let epoch = Epoch { epoch: 1, epoch_key: (*key.as_bytes()).into(), slots: 64, before, boot: String::new(), progress: None };
    let resume = Resume { length: forged.len() as u64, torn: 0, progress: Some(Vec::new()) };
    for event in [Event::Epoch(epoch), Event::Resume(resume), Event::Close(Close { slots: 2, why: "exit".to_owned() })] {
        let body = Control { v: 1, stream, writer: Hex([3; 8]), time, event }.body();
        sealer.seal(ChainKind::Control, 1_800_000_000, &body, Framing::Binary, &mut forged).unwrap();
    }
    assert_eq!(names(&log.verify(&[&forged], trust).0), ["unproven"]);
}

#[test]
fn control_records_of_an_enemy_cost_no_more_than_their_bytes() {
    let log = Log::rfc9580();
    let recipients = Arc::new(sealedlog::keys::load(std::slice::from_ref(&log.public), None).unwrap().recipients);
    for number in [1_u64 << 20, 1 << 50, u64::MAX - 1, u64::MAX] {
        // Epochs without a genesis, with any number, which say that any other came before.
        let mut file = Vec::new();
        for (epoch, key) in [(1, [1; 32]), (number, [2; 32])] {
            let key = sealedlog::chain::EpochKey::from_bytes(key);
            let mut sealer = EpochSealer::new(recipients.clone(), &key, 64, vec![0; 64 * 80], Processor::ANY).unwrap();
            let before = Some(UsedEpoch { epoch: number.wrapping_sub(7), used: u32::MAX, progress: Hex([5; 32]) });
            let begin = Epoch {
                epoch,
                epoch_key: (*key.as_bytes()).into(),
                slots: u32::MAX,
                before,
                boot: String::new(),
                progress: None,
            };
            let found = FoundProgress { stream: None, epoch: number, memory: Some(Hex([1; 32])), disk: None, live: false };
            let resume = Resume { length: u64::MAX, torn: u64::MAX, progress: Some(vec![found]) };
            for event in [Event::Epoch(begin), Event::Resume(resume)] {
                let control = Control { v: 1, stream: Hex([1; 16]), writer: Hex([3; 8]), time: jiff::Timestamp::MAX, event };
                sealer.seal(ChainKind::Control, 0, &control.body(), Framing::Binary, &mut file).unwrap();
            }
        }
        assert!(!log.verify(&[&file], Trust::default()).0.findings.is_empty());
        // The same behind a genesis of the enemy's.
        let claimant = Claimant {
            writer: Hex([9; 8]),
            recipients: recipients.clone(),
            host: String::new(),
            log: String::new(),
            software: String::new(),
            memory_locked: false,
            lacks: Vec::new(),
        };
        let (_, mut claim) = begin_ephemeral(&claimant, 64, None).unwrap();
        let mut file = claim.genesis.record.clone();
        let found =
            FoundProgress { stream: None, epoch: number, memory: Some(Hex([1; 32])), disk: Some(Hex([1; 32])), live: false };
        let event = Event::Resume(Resume { length: 0, torn: u64::MAX, progress: Some(vec![found; 3]) });
        let control = Control { v: 1, stream: claim.stream, writer: Hex([3; 8]), time: jiff::Timestamp::MIN, event };
        claim.sealer.seal(ChainKind::Control, 0, &control.body(), Framing::Binary, &mut file).unwrap();
        assert!(!log.verify(&[&file], Trust::default()).0.findings.is_empty());
    }
}
