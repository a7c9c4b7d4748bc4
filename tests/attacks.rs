//! What an intruder with root does to a log so that its end or its past is another: each way that is known, on what the
//! real programs wrote. The verifier names it; where it cannot know, it says that it does not, and is never silent.

#![cfg(feature = "audit")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::keys;
use common::tampered::{Log, killed, names, some_lines, without};
use common::tools::{SOON, wait_for, wait_idle};
use sealedlog::audit::finding::{Finding, Kind};
use sealedlog::audit::verify::Trust;
use sealedlog::control::Event;
use sealedlog::record::openpgp::Message;

/// A run of the program that goes on until it is told otherwise.
struct Alive {
    child: Child,
    file: PathBuf,
}

impl Alive {
    fn start(log: &Log) -> Self {
        let child = log.command("x.log").stdin(Stdio::piped()).spawn().unwrap();
        Self { child, file: log.folder.path().join("x.log.pgp") }
    }

    /// Writes lines, and waits until they are in the file.
    fn write(&mut self, lines: &[Vec<u8>]) -> &mut Self {
        let before = record_count(&self.file);
        self.child.stdin.as_mut().unwrap().write_all(&lines.concat()).unwrap();
        assert!(wait_for(SOON, || record_count(&self.file) >= before + lines.len()));
        // Progress is moved on behind the records.
        wait_idle(self.child.id());
        self
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn record_count(file: &Path) -> usize {
    let sealed = fs::read(file).unwrap_or_default();
    let (mut at, mut count) = (0, 0);
    while let Ok(message) = Message::parse(&sealed[at..]) {
        (at, count) = (at + message.len, count + 1);
    }
    count
}

/// Cuts the last records off the file.
fn cut(log: &mut Log, count: usize) {
    log.reread("x.log");
    let records = log.records();
    fs::write(&log.file, &log.sealed[..records[records.len() - count].start]).unwrap();
    log.reread("x.log");
}

/// What root can do to the values that tell how far an epoch has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Values {
    /// All of them stay.
    Kept,
    /// Those in memory are gone, as after a reboot.
    MemoryGone,
    /// All are gone.
    AllGone,
}

fn remove(log: &Log, values: Values) {
    let folders = match values {
        Values::Kept => &[][..],
        Values::MemoryGone => &["run"],
        Values::AllGone => &["run", "state"],
    };
    for folder in folders {
        for stream in fs::read_dir(log.folder.path().join(folder)).unwrap() {
            for file in fs::read_dir(stream.unwrap().path()).unwrap().map(Result::unwrap) {
                if file.file_name().to_string_lossy().starts_with("progress-") {
                    fs::remove_file(file.path()).unwrap();
                }
            }
        }
    }
}

/// What is said of the whole log, but for what only tells that no root was given.
fn told(log: &mut Log, trust: Trust) -> (Vec<Finding>, Vec<u8>) {
    log.reread("x.log");
    let (report, lines) = log.verify(&[&log.sealed], trust);
    (report.findings, lines)
}

#[test]
fn kill_cut_and_a_start_right_after_is_truncated_or_unproven() {
    let lines = some_lines(1, 40);
    for (values, expected) in
        [(Values::Kept, Kind::Truncated), (Values::MemoryGone, Kind::Unproven), (Values::AllGone, Kind::Unproven)]
    {
        let mut log = Log::rfc9580();
        log.seal(&lines[..10]);
        killed(&mut log, &lines[10..30]);
        cut(&mut log, 3);
        remove(&log, values);
        log.seal(&lines[30..]);
        let trust = log.reread("x.log").rooted();
        let (findings, opened) = told(&mut log, trust);
        let kinds: Vec<_> = findings.iter().map(|finding| finding.finding).collect();
        // The value on disk may have known of some that are cut off.
        let more = if values == Values::MemoryGone { &[Kind::Truncated][..] } else { &[] };
        assert!(kinds.starts_with(&[expected]) && kinds[1..].iter().all(|kind| more.contains(kind)), "{values:?} {findings:#?}");
        assert!(findings.iter().all(|finding| finding.epoch == Some(1)), "{findings:#?}");
        assert!(values != Values::Kept || findings[0].count == Some(3), "{findings:#?}");
        assert_eq!(opened, without(&lines, 27..30).concat(), "{values:?}");
    }
}

#[test]
fn a_clean_end_that_is_cut_off_is_unproven() {
    let lines = some_lines(1, 40);
    let mut log = Log::rfc9580();
    log.seal(&lines[..20]);
    // The close and two lines: the run had ended, so there is no value left that could tell.
    cut(&mut log, 3);
    log.seal(&lines[20..]);
    let trust = log.reread("x.log").rooted();
    let (findings, opened) = told(&mut log, trust);
    let kinds: Vec<_> = findings.iter().map(|finding| finding.finding).collect();
    assert_eq!(kinds, [Kind::Unproven], "{findings:#?}");
    assert_eq!(opened, without(&lines, 18..20).concat());
}

#[test]
fn a_rotation_before_the_restart_hides_nothing() {
    let lines = some_lines(1, 40);
    for (values, expected) in [(Values::Kept, Kind::Truncated), (Values::AllGone, Kind::Unproven)] {
        let mut log = Log::rfc9580();
        killed(&mut log, &lines[..20]);
        cut(&mut log, 3);
        remove(&log, values);
        let (first, moved) = (log.sealed.clone(), log.folder.path().join("x.log.1.pgp"));
        let trust = log.rooted();
        fs::rename(&log.file, &moved).unwrap();
        log.seal(&lines[20..]);
        let (report, opened) = log.verify(&[&log.sealed, &first], trust);
        assert_eq!(names(&report), [expected.name()], "{values:?} {:#?}", report.findings);
        assert_eq!(opened, without(&lines, 17..20).concat());
    }
}

/// Two writers on one file; the first is killed and its last records are cut out, while the other goes on.
#[test]
fn one_of_two_writers_killed_and_cut_is_told_by_the_other() {
    let lines = some_lines(1, 400);
    for (values, expected) in [(Values::Kept, Kind::Truncated), (Values::AllGone, Kind::Unproven)] {
        let mut log = Log::rfc9580();
        let (mut first, mut second) = (Alive::start(&log), Alive::start(&log));
        first.write(&lines[..20]);
        second.write(&lines[20..40]);
        let before = record_count(&second.file);
        first.write(&lines[40..60]);
        first.kill();
        // Its last five lines, at the end of the file, while the other writer waits.
        assert_eq!(record_count(&second.file), before + 20);
        cut(&mut log, 5);
        remove(&log, values);
        if values == Values::AllGone {
            // The other's own value is gone as well: it stores the next one in a file that nobody finds, and ends well.
            assert!(log.folder.path().join("run").exists());
        }
        // More than one epoch, so that it claims anew.
        for part in lines[60..].chunks(20) {
            second.write(part);
        }
        second.end();
        let trust = log.reread("x.log").rooted();
        let (findings, opened) = told(&mut log, trust);
        let mut kinds: Vec<_> = findings.iter().map(|finding| finding.finding).collect();
        // The epoch that the first writer had claimed ahead has lost its value, too.
        kinds.dedup();
        assert_eq!(kinds, [expected], "{values:?} {findings:#?}");
        assert_eq!(findings[0].epoch, Some(0), "{findings:#?}");
        assert_eq!(opened, without(&lines, 55..60).concat(), "{values:?}");
    }
}

/// A writer that has claimed its next epoch ahead dies, and another one goes on: nothing was used of it, nothing is said.
#[test]
fn an_epoch_that_a_dead_writer_had_claimed_ahead_is_no_lack() {
    let lines = some_lines(1, 300);
    let mut log = Log::rfc9580();
    let (mut first, mut second) = (Alive::start(&log), Alive::start(&log));
    second.write(&lines[..2]);
    // More than half of an epoch, so that the next is claimed.
    first.write(&lines[2..42]);
    wait_idle(first.child.id());
    first.kill();
    for part in lines[42..].chunks(30) {
        second.write(part);
    }
    second.end();
    let trust = log.reread("x.log").rooted();
    let (findings, opened) = told(&mut log, trust);
    assert_eq!(findings, [], "{findings:#?}");
    assert_eq!(opened, lines.concat());
}

/// A power cut: of an epoch that was claimed ahead nothing is known, and others have claimed epochs between it and the one that was
/// in use. That is no alarm; more epochs than that writer can have claimed are.
#[test]
fn an_epoch_that_was_claimed_ahead_before_a_power_cut_is_no_alarm() {
    let lines = some_lines(1, 80);
    let mut log = Log::rfc9580();
    let mut writer = Alive::start(&log);
    writer.write(&lines[..10]);
    let before = record_count(&writer.file);
    for _ in 0..4 {
        sealedlog(&log, "mark", &["x.log"]);
    }
    let marked = record_count(&writer.file);
    writer.write(&lines[10..42]);
    wait_idle(writer.child.id());
    writer.kill();
    remove(&log, Values::AllGone);
    log.reread("x.log");
    log.seal(&lines[42..]);
    let trust = log.rooted();
    let (findings, opened) = told(&mut log, trust.clone());
    assert!(findings.len() == 2 && findings.iter().all(|finding| finding.finding == Kind::Unproven), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding.message == "no record of epoch 5 is here"), "{findings:#?}");
    assert_eq!(opened, lines.concat());
    // The epochs of the marks are gone as well.
    let records = log.records();
    let without_marks = [&log.sealed[..records[before].start], &log.sealed[records[marked].start..]].concat();
    let (report, _) = log.verify(&[&without_marks], trust);
    assert!(names(&report).contains(&"missing"), "{:#?}", report.findings);
}

/// While writers live nothing is held against them, though none of their epochs has an end.
#[test]
fn live_writers_are_no_finding() {
    let lines = some_lines(1, 200);
    let mut log = Log::rfc9580();
    let (mut first, mut second) = (Alive::start(&log), Alive::start(&log));
    first.write(&lines[..40]);
    second.write(&lines[40..80]);
    first.write(&lines[80..140]);
    let trust = log.reread("x.log").rooted();
    let (findings, opened) = told(&mut log, trust);
    assert_eq!(findings, [], "{findings:#?}");
    assert_eq!(opened, lines[..140].concat());
    sealedlog(&log, "mark", &[]);
    second.write(&lines[140..]);
    let trust = log.reread("x.log").rooted();
    let (findings, opened) = told(&mut log, trust);
    assert_eq!(findings, [], "{findings:#?}");
    assert_eq!(opened, lines.concat());
}

fn command(log: &Log, name: &str, files: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
    let at = |name: &str| log.folder.path().join(name);
    command.arg(name).arg("--state").arg(at("state")).arg("--runtime").arg(at("run"));
    command.args(files.iter().map(|file| at(file)));
    command
}

/// Runs `sealedlog mark` or `restart`; what it prints.
fn sealedlog(log: &Log, name: &str, files: &[&str]) -> String {
    let output = command(log, name, files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn below_a_mark_a_cut_is_truncated_and_a_cut_mark_is_unmarked() {
    let lines = some_lines(1, 60);
    let mut log = Log::rfc9580();
    let mut writer = Alive::start(&log);
    writer.write(&lines[..40]);
    let before = jiff::Timestamp::now();
    let said = sealedlog(&log, "mark", &["x.log"]);
    assert_eq!(said, format!("marked {}\n", log.folder.path().join("x.log.pgp").canonicalize().unwrap().display()));
    log.reread("x.log");
    let (whole, records) = (log.sealed.clone(), log.records());
    // Four records of the mark's writer stand at the end: epoch, resume, mark, close.
    let mark_begins = records.len() - 4;
    let marked = |log: &Log| Trust { marked_since: Some(before), ..log.rooted() };
    let (report, opened) = log.verify(&[&whole], marked(&log));
    assert_eq!(names(&report), [""; 0], "{:#?}", report.findings);
    assert_eq!(opened, lines[..40].concat());
    let later = Trust { marked_since: Some(jiff::Timestamp::now()), ..log.rooted() };
    assert_eq!(names(&log.verify(&[&whole], later).0), ["unmarked"]);
    // The last three lines cut out from before the mark.
    let without_three = [&whole[..records[mark_begins - 3].start], &whole[records[mark_begins].start..]].concat();
    let (report, _) = log.verify(&[&without_three], marked(&log));
    assert_eq!(names(&report), ["truncated"], "{:#?}", report.findings);
    assert_eq!(report.findings[0].count, Some(3));
    // All from the last three lines on, the mark included: within the live epoch nothing else could tell.
    let (report, _) = log.verify(&[&whole[..records[mark_begins - 3].start]], marked(&log));
    assert_eq!(names(&report), ["unmarked"], "{:#?}", report.findings);
    writer.end();
}

#[test]
fn a_mark_tells_of_a_killed_writer_that_nobody_followed() {
    let lines = some_lines(1, 20);
    for (values, expected) in
        [(None, None), (Some(Values::Kept), Some(Kind::Truncated)), (Some(Values::AllGone), Some(Kind::Unproven))]
    {
        let mut log = Log::rfc9580();
        killed(&mut log, &lines);
        if let Some(values) = values {
            cut(&mut log, 2);
            remove(&log, values);
        }
        let root = log.rooted();
        let before = jiff::Timestamp::now();
        sealedlog(&log, "mark", &[]);
        let (findings, _) = told(&mut log, Trust { marked_since: Some(before), ..root });
        let kinds: Vec<_> = findings.iter().map(|finding| finding.finding).collect();
        assert_eq!(kinds, expected.into_iter().collect::<Vec<_>>(), "{values:?} {findings:#?}");
    }
}

#[test]
fn a_mark_needs_a_log_with_a_state_and_its_keys() {
    let mut log = Log::rfc9580();
    let failed = |log: &Log, files: &[&str]| {
        let output = command(log, "mark", files).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(failed(&log, &[]).contains("cannot read"), "{}", failed(&log, &[]));
    fs::create_dir(log.folder.path().join("state")).unwrap();
    assert!(failed(&log, &[]).contains("no log has a state"), "{}", failed(&log, &[]));
    log.seal(&some_lines(1, 5));
    let said = failed(&log, &["y.log"]);
    assert!(said.contains("y.log has no state") && said.contains("these have: ") && said.contains("x.log"), "{said}");
    // Other keys than those that the stream is sealed to.
    let moved = log.folder.path().join("moved");
    fs::create_dir(log.folder.path().join("keys")).unwrap();
    let key = log.folder.path().join("keys/key.asc");
    fs::copy(&log.public, &key).unwrap();
    log.public = log.folder.path().join("keys");
    log.seal(&some_lines(1, 5));
    fs::rename(&key, &moved).unwrap();
    assert!(failed(&log, &[]).contains("key"), "{}", failed(&log, &[]));
    fs::copy(&keys::openpgpjs().public, &key).unwrap();
    assert!(failed(&log, &[]).contains("goes on in another stream"), "{}", failed(&log, &[]));
    // Nothing was lost and nothing is open.
    fs::rename(&moved, &key).unwrap();
    sealedlog(&log, "mark", &[]);
    let trust = log.rooted();
    assert_eq!(told(&mut log, trust).0, []);
}

/// The chain of a taken server is known to others: from the restart on the auditor trusts what is on paper alone.
#[test]
fn after_a_restart_the_new_stream_is_believed_from_paper_only() {
    let lines = some_lines(1, 300);
    let mut log = Log::rfc9580();
    let mut writer = Alive::start(&log);
    writer.write(&lines[..40]);
    let old = log.reread("x.log").rooted();
    let said = sealedlog(&log, "restart", &[]);
    let fingerprint = said.lines().nth(1).and_then(|line| line.trim().strip_prefix("genesis ")).unwrap().parse().unwrap();
    // The filter that was running goes over when it needs an epoch.
    for part in lines[40..].chunks(20) {
        writer.write(part);
    }
    writer.end();
    let (findings, _) = told(&mut log, old.clone());
    let kinds: Vec<_> = findings.iter().map(|finding| finding.finding).collect();
    assert_eq!(kinds, [Kind::Unanchored], "{findings:#?}");
    assert!(findings[0].message.contains(&fingerprint_text(&said)), "{findings:#?}");
    let both = Trust { genesis: [old.genesis.clone(), vec![fingerprint]].concat(), ..Trust::default() };
    let (findings, opened) = told(&mut log, both.clone());
    assert_eq!(findings, [], "{findings:#?}");
    assert_eq!(opened, lines.concat());
    // The filter told so: a writer's first record in a stream says how far all others have come.
    let sealed = common::sealed::Log::open(&[&log.file], &[&keys::sequoia_v6().secret]);
    let resumes = sealed.events().filter(|event| matches!(event, Event::Resume(_))).count();
    assert_eq!(resumes, 2, "of the command, and of the filter");
    // A mark in the new stream is one for the log; the old one has ended.
    let before = jiff::Timestamp::now();
    sealedlog(&log, "mark", &[]);
    let (findings, _) = told(&mut log, Trust { marked_since: Some(before), ..both });
    assert_eq!(findings, [], "{findings:#?}");
}

fn fingerprint_text(said: &str) -> String {
    said.lines().nth(1).unwrap().trim().strip_prefix("genesis ").unwrap().to_owned()
}

/// A change of keys while two writers run, one of which is killed before it has gone over: its values come over into the
/// stream that follows.
#[test]
fn a_writer_killed_at_a_change_of_keys_is_told_by_the_stream_that_follows() {
    let lines = some_lines(1, 200);
    for (values, expected) in [(Values::Kept, Kind::Truncated), (Values::AllGone, Kind::Unproven)] {
        let (first_key, second_key) = (keys::sequoia_v6(), keys::openpgpjs());
        let mut log = Log::new(&first_key.public, &first_key.secret);
        let folder = log.folder.path().join("keys");
        fs::create_dir(&folder).unwrap();
        fs::copy(&first_key.public, folder.join("a.asc")).unwrap();
        log.public = folder.clone();
        let (mut first, mut second) = (Alive::start(&log), Alive::start(&log));
        first.write(&lines[..20]);
        second.write(&lines[20..30]);
        first.write(&lines[30..50]);
        let trust = log.reread("x.log").rooted();
        first.kill();
        cut(&mut log, 4);
        remove(&log, values);
        fs::copy(&second_key.public, folder.join("b.asc")).unwrap();
        fs::remove_file(folder.join("a.asc")).unwrap();
        let before = record_count(&second.file);
        // The last word on the old stream, and the beginning of the new one.
        assert!(wait_for(SOON, || record_count(&second.file) >= before + 4));
        second.write(&lines[50..]);
        second.end();
        log.identities =
            sealedlog::identity::Identities::load(&[&first_key.secret, &second_key.secret], &mut sealedlog::identity::Terminal)
                .unwrap();
        let (findings, opened) = told(&mut log, trust);
        let kinds: Vec<_> = findings.iter().map(|finding| finding.finding).filter(|kind| *kind != Kind::Recipients).collect();
        assert_eq!(kinds, [expected], "{values:?} {findings:#?}");
        assert_eq!(opened, without(&lines, 46..50).concat());
    }
}

#[test]
fn an_idle_log_is_marked_where_that_was_asked_for() {
    let lines = some_lines(1, 10);
    let mut log = Log::rfc9580();
    let child = log.command("x.log").args(["--mark-idle", "1"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut writer = Alive { child, file: log.folder.path().join("x.log.pgp") };
    let began = jiff::Timestamp::now();
    writer.write(&lines);
    let before = record_count(&writer.file);
    assert!(wait_for(SOON, || record_count(&writer.file) >= before + 2), "two marks");
    let trust = Trust { marked_since: Some(began + Duration::from_secs(1)), ..log.reread("x.log").rooted() };
    assert_eq!(told(&mut log, trust).0, []);
    writer.end();
}

#[test]
fn a_log_whose_state_was_begun_beside_its_file_is_marked_too() {
    let lines = some_lines(1, 10);
    let mut log = Log::rfc9580();
    log.seal(&lines[..5]);
    fs::remove_dir_all(log.folder.path().join("state")).unwrap();
    log.seal(&lines[5..]);
    let before = record_count(&log.file);
    sealedlog(&log, "mark", &[]);
    // The file begins with another genesis, so that the stream's own comes first.
    assert_eq!(record_count(&log.file), before + 5);
    // A state of which nothing else is known is told, not passed over.
    let state = fs::read_dir(log.folder.path().join("state")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(state.join("segment")).unwrap();
    let output = command(&log, "mark", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("which log this state is of cannot be read"));
}

/// One writer's end of an epoch is moved behind its next epoch.
#[test]
fn a_tail_that_is_moved_behind_the_next_epoch_is_reordered() {
    let mut log = Log::rfc9580();
    log.seal(&some_lines(1, 150));
    let (root, records) = (log.rooted(), log.records());
    // Genesis and 63 more fill the first epoch, 128 or more the second one.
    let (tail, behind) = (records[60].start..records[64].start, records[80].start);
    let moved = [&log.sealed[..tail.start], &log.sealed[tail.end..behind], &log.sealed[tail], &log.sealed[behind..]].concat();
    let (report, _) = log.verify(&[&moved], root);
    assert_eq!(names(&report), ["reordered"], "{:#?}", report.findings);
}
