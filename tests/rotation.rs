//! `sealedlog-apache` in rotatelogs' place, on real files: rotation by time and size, and each of its options.
//!
//! The rules for names and instants are compared with rotatelogs itself in `tests/rotatelogs.rs`; here is what the program
//! does about them: no line is split or lost, each file stands on its own, and the chain goes on from one to the next.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use sealedlog::control::Event;

use common::keys;
use common::lines::Lines;
use common::sealed::{Content, Log, Place, Running, SOON, seal_all};
use common::tools::{away_from_midnight, next_second, wait_for};

fn fast() -> Place {
    Place::new(&[&keys::sequoia_v6().public])
}

fn apache(place: &Place, words: &[&str]) -> Command {
    let mut command = place.apache();
    command.args(words);
    command
}

/// Bytes in all files of the log folder.
fn length(place: &Place) -> u64 {
    place.logs().iter().map(|name| fs::metadata(place.path("log").join(name)).map_or(0, |metadata| metadata.len())).sum()
}

/// Writes what ends with a newline, and returns when it was sealed.
fn seal(running: &mut Running, place: &Place, line: impl AsRef<[u8]>) {
    let before = length(place);
    running.write(&line);
    // A record is longer than what it holds.
    assert!(wait_for(SOON, || length(place) > before + line.as_ref().len() as u64), "{}", running.told());
}

/// Seconds since 1970.
fn seconds() -> u64 {
    jiff::Timestamp::now().as_second() as u64
}

/// The sealed files in the log folder, in the order in which their first segments say that they were begun.
fn files(place: &Place) -> Vec<PathBuf> {
    let names = place.logs().into_iter().filter(|name| name.ends_with(".pgp") || name.ends_with(".age64"));
    let mut files: Vec<PathBuf> = names.map(|name| place.path("log").join(name)).collect();
    files.sort_by_key(|file| {
        let log = open(std::slice::from_ref(file));
        let first = log.events().find_map(|event| match event {
            Event::Segment(segment) => segment.segment,
            _ => None,
        });
        first.expect("each file has its number")
    });
    files
}

fn open(files: &[PathBuf]) -> Log {
    Log::open(files, &[&keys::sequoia_v6().secret, &keys::gpg_cv25519().secret, &keys::age().secret])
}

/// All files together are the input, each begins with the genesis and knows the one before, and no line is in two.
fn check(files: &[PathBuf], text: &[u8]) -> Log {
    let log = open(files);
    assert!(log.damage.is_empty(), "{:?}", log.damage);
    assert!(log.text() == text, "lines are missing or in another order");
    log.assert_settled();
    for (number, file) in files.iter().enumerate() {
        let mut records = log.entries.iter().filter(|entry| entry.file == number).map(|entry| &entry.content);
        let Some(Content::Control(genesis)) = records.next() else { panic!("{} begins with a line", file.display()) };
        assert!(matches!(genesis.event, Event::Genesis(_)), "{} begins with {genesis:?}", file.display());
        let segment = records.find_map(|content| match content {
            Content::Control(control) => match &control.event {
                Event::Segment(segment) => Some(segment),
                _ => None,
            },
            Content::Line(_) => panic!("{}: a line before the segment record", file.display()),
        });
        let segment = segment.expect("each file says which it is");
        assert_eq!(segment.segment, Some(number as u64), "{}", file.display());
        assert_eq!(segment.before.is_some(), number > 0);
        if let Some(before) = &segment.before {
            let there = &files[number - 1];
            assert_eq!(before.name, there.file_name().unwrap().to_str().unwrap());
            assert_eq!(before.length, fs::metadata(there).unwrap().len());
        }
        let last = log.entries.iter().rfind(|entry| entry.file == number).unwrap();
        let closes = matches!(&last.content, Content::Control(control) if matches!(control.event, Event::Close(_)));
        assert!(closes, "{} does not end with a close", file.display());
        let is_line = |content: &Content| matches!(content, Content::Line(_));
        if let Some(Content::Line(line)) =
            log.entries.iter().rfind(|entry| entry.file == number && is_line(&entry.content)).map(|entry| &entry.content)
        {
            assert!(line.ends_with(b"\n"), "{} ends within a line", file.display());
        }
    }
    assert_eq!(log.genesis.len(), 1, "one stream");
    log
}

#[test]
fn by_time_each_interval_has_its_file() {
    for key in [&keys::sequoia_v6().public, &keys::gpg_cv25519().public, &keys::age().public] {
        let place = Place::new(&[key]);
        let mut running = Running::start(&mut apache(&place, &["x.log", "1"]));
        let mut text = Vec::new();
        let begin = seconds();
        for (count, line) in Lines::new(1).enumerate() {
            if count >= 70 && place.logs().len() >= 4 {
                break;
            }
            assert!(seconds() - begin < SOON.as_secs(), "{:?}", place.logs());
            // Halves, so that a boundary falls into a line now and then.
            let (first, second) = line.split_at(line.len() / 2);
            running.write(first);
            sleep(Duration::from_millis(25));
            running.write(second);
            sleep(Duration::from_millis(25));
            text.extend_from_slice(&line);
        }
        running.end_well();
        let end = seconds();
        let files = files(&place);
        check(&files, &text);
        // x.log. and the start of the interval in seconds.
        let starts: Vec<u64> = files
            .iter()
            .map(|file| file.file_name().unwrap().to_str().unwrap())
            .map(|name| name.strip_prefix("x.log.").unwrap().split('.').next().unwrap().parse().unwrap())
            .collect();
        assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "{starts:?}");
        assert!(starts.iter().all(|start| (begin..=end).contains(start)), "{starts:?}, from {begin} to {end}");
    }
}

#[test]
fn by_size_files_end_after_the_line_that_reaches_it() {
    for (text, size) in
        [(Lines::file(2, 400), "10K"), ([vec![b'a'; 3 << 20], b"\n".to_vec(), Lines::file(3, 20)].concat(), "100K")]
    {
        let place = fast();
        let mut running = Running::start(&mut apache(&place, &["x.%Y%m%d-%H%M%S.log", size]));
        let limit = if size == "10K" { 10 << 10 } else { 100 << 10 };
        // One second a file, or the names are the same. What comes after the first file was full needs another one.
        let parts: Vec<&[u8]> = text.chunks(text.len() / 4 + 1).collect();
        for (number, part) in parts.iter().enumerate() {
            if number + 1 == parts.len() {
                assert!(wait_for(SOON, || length(&place) > limit), "{:?}", place.logs());
                next_second();
            }
            running.write(part);
            sleep(Duration::from_millis(1100));
        }
        running.end_well();
        let files = files(&place);
        assert!(files.len() >= 2, "{files:?}");
        check(&files, &text);
        for file in &files[..files.len() - 1] {
            assert!(fs::metadata(file).unwrap().len() > limit, "{} was left before it was full", file.display());
        }
    }
}

#[test]
fn a_line_in_pieces_is_not_split_by_a_boundary() {
    let place = fast();
    let mut running = Running::start(&mut apache(&place, &["--max-line", "1000", "x.log", "1"]));
    let mut text = Vec::new();
    for line in 0..3 {
        for part in 0..16 {
            let mut part = vec![b'a' + part; 1500];
            if part[0] == b'p' {
                part.push(b'\n');
            }
            running.write(&part);
            text.extend_from_slice(&part);
            sleep(Duration::from_millis(100));
            // The line lasts over the second in which its first piece was sealed, so that the next line has a file of its own.
            assert!(wait_for(SOON, || place.logs().len() == line + 1), "{:?}", place.logs());
        }
    }
    running.end_well();
    let files = files(&place);
    assert_eq!(files.len(), 3, "{files:?}");
    let log = check(&files, &text);
    assert!(log.lines().count() >= 72);
}

#[test]
fn names_follow_local_time_or_an_offset() {
    away_from_midnight();
    let place = fast();
    let ended = seal_all(apache(&place, &["-l", "x.%H-%z", "86400"]).env("TZ", "Asia/Kolkata"), b"line\n");
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(place.logs(), ["x.00-+0530.pgp"]);
    let place = fast();
    assert!(seal_all(&mut apache(&place, &["x.%H%M-%z", "86400", "-300"]), b"line\n").status.success());
    assert_eq!(place.logs(), ["x.0000--0500.pgp"]);
    let text = Lines::file(4, 3);
    let place = fast();
    assert!(seal_all(&mut apache(&place, &["x.pgp", "86400"]), &text).status.success());
    let today = jiff::Timestamp::now().as_second() / 86400 * 86400;
    assert_eq!(place.logs(), [format!("x.{today}.pgp")]);
}

#[test]
fn a_link_stands_for_the_current_file() {
    let place = fast();
    let link = place.path("log/current");
    fs::write(&link, "what stood there before").unwrap();
    let mut running = Running::start(&mut apache(&place, &["-L", "current", "x.log", "1"]));
    for count in 0..4 {
        seal(&mut running, &place, format!("line {count}\n"));
        sleep(Duration::from_millis(700));
    }
    running.end_well();
    let files = files(&place);
    assert!(files.len() >= 2);
    let (linked, last) = (fs::metadata(&link).unwrap(), fs::metadata(files.last().unwrap()).unwrap());
    assert_eq!((linked.ino(), linked.dev()), (last.ino(), last.dev()));
    check(&files, b"line 0\nline 1\nline 2\nline 3\n");
}

#[test]
fn a_program_is_called_with_the_new_and_the_old_file() {
    let place = fast();
    let (program, out) = (place.path("program"), place.path("called"));
    fs::write(&program, format!("#!/bin/sh\necho \"$# $1 $2\" >>{}\ncat >>{0}\n", out.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut running = Running::start(&mut apache(&place, &["-p", program.to_str().unwrap(), "x.log", "1"]));
    let called = || fs::read_to_string(&out).unwrap_or_default();
    running.write("secret line 0\n");
    assert!(wait_for(SOON, || called().lines().count() == 1), "{}", called());
    sleep(Duration::from_millis(1100));
    running.write("secret line 1\n");
    assert!(wait_for(SOON, || called().lines().count() == 2), "{}", called());
    running.end_well();
    let names: Vec<String> = files(&place).iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(called(), format!("1 {} \n2 {} {}\n", names[0], names[1], names[0]));
}

#[test]
fn a_program_that_cannot_be_run_is_told_and_nothing_else() {
    let place = fast();
    let ended = seal_all(&mut apache(&place, &["-p", "/nowhere/program", "-L", "/nowhere/link", "x.log", "86400"]), b"line\n");
    assert!(ended.status.success());
    assert!(ended.stderr.contains("cannot run /nowhere/program: No such file"), "{ended:?}");
    assert!(ended.stderr.contains("cannot link /nowhere/link to "), "{ended:?}");
    check(&files(&place), b"line\n");
}

#[test]
fn the_file_can_be_opened_at_start() {
    let place = fast();
    let running = Running::start(&mut apache(&place, &["-f", "x.log"]));
    assert!(wait_for(SOON, || place.logs() == ["x.log.pgp"]));
    running.end_well();
    check(&files(&place), b"");
}

#[test]
fn an_empty_file_is_made_for_each_interval() {
    let place = fast();
    let mut running = Running::start(&mut apache(&place, &["-c", "x.log", "1"]));
    running.write("line\n");
    assert!(wait_for(SOON, || place.logs().len() >= 3), "{:?}", place.logs());
    running.end_well();
    check(&files(&place), b"line\n");
    // Without -c there is one.
    let place = fast();
    let mut running = Running::start(&mut apache(&place, &["x.log", "1"]));
    running.write("line\n");
    sleep(Duration::from_millis(2500));
    running.end_well();
    assert_eq!(place.logs().len(), 1);
}

#[test]
fn folders_are_made_when_asked_for() {
    away_from_midnight();
    let place = fast();
    let ended = seal_all(&mut apache(&place, &["a/b/x.log"]), b"line\n");
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("cannot write to a/b: No such file or directory"), "{ended:?}");
    let ended = seal_all(&mut apache(&place, &["-D", "a/b/x.log"]), b"line\n");
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(fs::metadata(place.path("log/a")).unwrap().mode() & 0o777, 0o750);
    check(&[place.path("log/a/b/x.log.pgp")], b"line\n");
    let ended = seal_all(&mut apache(&place, &["-D", "y/%Y/x.log", "86400"]), b"line\n");
    assert!(ended.status.success(), "{ended:?}");
    let year = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year();
    assert!(place.path(&format!("log/y/{year}/x.log.pgp")).exists());
}

#[test]
fn only_named_truncation_empties_a_file() {
    away_from_midnight();
    // -t: the same file, emptied at each interval, the first time too.
    let place = fast();
    let run = |words: &[&str], pauses: u64| {
        let mut running = Running::start(&mut apache(&place, words));
        for count in 0..2 {
            running.write(format!("{} {count}\n", words[0]));
            // It has all that was written when the pause begins.
            running.wait_idle();
            sleep(Duration::from_millis(pauses));
        }
        running.end_well();
    };
    run(&["-f", "x.log"], 0);
    run(&["-t", "x.log", "2"], 2100);
    let log = open(&[place.path("log/x.log.pgp")]);
    assert_eq!((log.text(), log.damage.len()), (b"-t 1\n".to_vec(), 0));
    assert_eq!(log.kinds()[0], "genesis");
    assert_eq!(place.logs(), ["x.log.pgp"]);
    // -T: not the first file, but those that a rotation opens again.
    let place = fast();
    let mut running = Running::start(&mut apache(&place, &["-T", "x.%u.log", "86400"]));
    running.write("one\n");
    running.end_well();
    let mut running = Running::start(&mut apache(&place, &["-T", "x.%u.log", "86400"]));
    running.write("two\n");
    running.end_well();
    let file = place.path("log").join(&place.logs()[0]);
    assert_eq!(open(&[file]).text(), b"one\ntwo\n");
    let place = fast();
    let mut running = Running::start(&mut apache(&place, &["-T", "x.%S.log", "1"]));
    for name in 0..60 {
        fs::write(place.path(&format!("log/x.{name:02}.log.pgp")), "what stood there a minute ago").unwrap();
    }
    seal(&mut running, &place, "one\n");
    sleep(Duration::from_millis(1100));
    running.write("two\n");
    running.end_well();
    let touched: Vec<PathBuf> = place
        .logs()
        .iter()
        .map(|name| place.path("log").join(name))
        .filter(|file| fs::read(file).unwrap() != b"what stood there a minute ago")
        .collect();
    let kept = touched.iter().filter(|file| fs::read(file).unwrap().starts_with(b"what stood there")).count();
    assert_eq!((touched.len(), kept), (2, 1), "{touched:?}");
}

#[test]
fn a_ring_of_files_is_written_in_turn() {
    let place = fast();
    let mut running = Running::start(&mut apache(&place, &["-n", "3", "x.log", "8K"]));
    let text = Lines::file(5, 150);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        running.write(line);
        sleep(Duration::from_millis(2));
    }
    running.end_well();
    assert_eq!(place.logs(), ["x.log.1.pgp", "x.log.2.pgp", "x.log.pgp"]);
    let log = open(&files(&place));
    assert!(log.damage.is_empty(), "{:?}", log.damage);
    assert!(text.ends_with(&log.text()), "the newest lines in order");
    // Two files are full, half of it lines.
    assert!(log.text().len() > 4096);
    for file in files(&place) {
        assert_eq!(open(&[file]).kinds()[0], "genesis");
    }
}

#[test]
fn lines_are_copied_to_standard_output() {
    let place = fast();
    let mut command = apache(&place, &["-e", "x.log"]);
    command.stdout(Stdio::piped());
    let mut running = Running::start_with(&mut command);
    let mut out = running.child().stdout.take().unwrap();
    let text = [Lines::file(6, 100), b"no end".to_vec()].concat();
    running.write(&text);
    let reader = std::thread::spawn(move || {
        let mut copy = Vec::new();
        out.read_to_end(&mut copy).map(|_| copy).unwrap()
    });
    running.end_well();
    assert!(reader.join().unwrap() == text);
    let log = open(&[place.path("log/x.log.pgp")]);
    assert!(log.text() == text);
}

#[test]
fn each_file_is_told_when_asked_for() {
    let place = fast();
    let ended = seal_all(&mut apache(&place, &["-v", "x.log", "86400"]), b"line\n");
    let name = &place.logs()[0];
    assert!(ended.status.success() && ended.stderr.contains(&format!("opened {name}")), "{ended:?}");
}

#[test]
fn a_new_run_goes_on_in_the_file_of_its_interval() {
    let place = fast();
    let mut texts = Vec::new();
    for seed in 0..3 {
        let text = Lines::file(seed, 20);
        assert!(seal_all(&mut apache(&place, &["x.log", "86400"]), &text).status.success());
        texts.extend(text);
    }
    let files = files(&place);
    assert_eq!(files.len(), 1);
    let log = check(&files, &texts);
    assert_eq!(
        log.kinds(),
        ["genesis", "segment", "line", "close", "epoch", "resume", "line", "close", "epoch", "resume", "line", "close"]
    );
}

#[test]
fn a_fast_input_is_whole_over_many_files() {
    let place = fast();
    let mut text = Vec::new();
    let mut running = Running::start(&mut apache(&place, &["x.log", "1", "1M"]));
    // However long the seconds of the names take to pass.
    let begin = seconds();
    for seed in 0.. {
        if seed >= 30 && place.logs().len() >= 4 {
            break;
        }
        assert!(seconds() - begin < SOON.as_secs(), "{:?}", place.logs());
        let part = Lines::file(seed, 1_300);
        running.write(&part);
        text.extend(part);
        sleep(Duration::from_millis(60));
    }
    running.end_well();
    let files = files(&place);
    check(&files, &text);
}
