//! Where records go goes away for a while: full, read-only, removed, behind a limit. Whoever feeds the filter is held back or
//! never, as the policy says, and what is dropped is counted to the line.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sealedlog::control::{Event, Gap};

use common::disk::SmallDisk;
use common::keys;
use common::lines::Lines;
use common::sealed::{Content, Log, Place, Running, SOON, names};
use common::tools::{must, tool, wait_for};

/// The filter looks once a second whether its file is still there, and tries once a second to write again.
const LOOK: Duration = Duration::from_millis(1200);
/// Longer than a busy machine lets a program wait for its turn, more often than not; shorter than a filter waits for a disk.
const STOPPED: Duration = Duration::from_millis(900);

fn fast() -> Place {
    Place::new(&[&keys::sequoia_v6().public])
}

fn secret() -> &'static Path {
    &keys::sequoia_v6().secret
}

/// Feeds batches of lines with a rest between; the times that those took for which it was stopped.
fn feed(input: &mut impl Write, lines: &[Vec<u8>], rest: Duration) -> Vec<Duration> {
    let mut stops = Vec::new();
    for batch in lines.chunks(25) {
        let started = Instant::now();
        input.write_all(&batch.concat()).unwrap();
        stops.extend(Some(started.elapsed()).filter(|took| *took >= STOPPED));
        sleep(rest);
    }
    stops
}

fn gaps(log: &Log) -> Vec<&Gap> {
    log.events().filter_map(|event| if let Event::Gap(gap) = event { Some(gap) } else { None }).collect()
}

/// Walks through lines and gap records in the order of the file: together they must be the lines that were fed.
fn assert_exact(log: &Log, fed: &[Vec<u8>]) {
    let mut next = 0;
    for entry in &log.entries {
        match &entry.content {
            Content::Line(line) => {
                assert!(fed.get(next) == Some(line), "line {next} is another one, or the gap before it is not exact");
                next += 1;
            }
            Content::Control(control) => {
                if let Event::Gap(gap) = &control.event {
                    let lost = &fed[next..next + gap.lines as usize];
                    assert_eq!(gap.bytes, lost.iter().map(|line| line.len() as u64).sum::<u64>(), "{gap:?}");
                    next += gap.lines as usize;
                }
            }
        }
    }
    assert_eq!(next, fed.len(), "lines are neither there nor counted");
}

#[test]
fn with_policy_drop_nobody_waits_for_a_disk_that_is_full_twice() {
    let place = fast();
    let disk = SmallDisk::mount(&place.path("log"), 128);
    let mut running = Running::start(place.seal_to("x.log").args(["--when-full", "drop"]));
    let mut input = running.take_input();
    let lines: Vec<Vec<u8>> = Lines::new(50).take(60_000).collect();
    let mut stops = Vec::new();
    for (number, part) in lines.chunks(lines.len() / 2).enumerate() {
        // More than is held, over several tries to write it.
        let (burst, steady) = part.split_at(part.len() - 3000);
        stops.extend(feed(&mut input, burst, Duration::ZERO));
        stops.extend(feed(&mut input, steady, Duration::from_millis(20)));
        running.wait_idle();
        assert!(disk.is_full());
        let length = || fs::metadata(place.path("log/x.log.pgp")).unwrap().len();
        let before = length();
        disk.resize(16 << 10);
        // What was held.
        assert!(wait_for(SOON, || length() > before + (4 << 20)), "{number}: {}", running.told());
        running.wait_told("the log can be written again");
        running.wait_idle();
        if number == 0 {
            disk.resize(length() as usize / 1024 + 64);
        }
    }
    drop(input);
    let ended = running.wait();
    assert!(ended.status.success(), "{ended:?}");
    // Over some seconds on a full disk, twice: who waits for it is stopped each second.
    assert!(stops.len() < 3, "who feeds it was stopped for {stops:?}");
    let log = Log::open(&[place.path("log/x.log.pgp")], &[secret()]);
    log.assert_settled();
    assert_exact(&log, &lines);
    assert_eq!(gaps(&log).len(), 2, "{:?}", gaps(&log));
}

#[test]
fn a_removed_folder_holds_back_what_cannot_be_found_later() {
    for policy in ["block", "drop"] {
        let place = fast();
        let (folder, file) = (place.path("log"), place.path("log/x.log.pgp"));
        let mut running = Running::start(place.seal_to("x.log").args(["--when-full", policy]));
        running.write("one\n");
        assert!(wait_for(SOON, || file.exists() && Log::open(&[&file], &[secret()]).text() == b"one\n"));
        fs::remove_dir_all(&folder).unwrap();
        sleep(LOOK);
        let mut lines: Vec<Vec<u8>> = Lines::new(51).take(200).collect();
        running.write(lines[..100].concat());
        running.wait_told("No such file or directory");
        // Some tries; then more lines.
        sleep(2 * LOOK);
        let mut input = running.take_input();
        let rest = lines[100..].concat();
        let started = Instant::now();
        input.write_all(&rest).unwrap();
        assert!(started.elapsed() < SOON, "{policy}: a pipe's worth fits in any case");
        sleep(LOOK);
        fs::create_dir(&folder).unwrap();
        running.wait_told("the log can be written again");
        input.write_all(b"last\n").unwrap();
        drop(input);
        let ended = running.wait();
        assert!(ended.status.success(), "{policy}: {ended:?}");
        lines.push(b"last\n".to_vec());
        let log = Log::open(&[&file], &[secret()]);
        assert!(log.damage.is_empty() && gaps(&log).is_empty(), "{policy}: {:?}", gaps(&log));
        assert!(log.text() == lines.concat(), "{policy}: {} of {} lines are there", log.lines().count(), lines.len());
    }
}

#[test]
fn a_folder_that_stays_removed_is_told_at_the_end() {
    let place = fast();
    let file = place.path("log/x.log.pgp");
    let mut running = Running::start(place.seal_to("x.log").args(["--when-full", "drop"]));
    running.write("one\n");
    assert!(wait_for(SOON, || file.exists()));
    sleep(LOOK / 2);
    fs::remove_dir_all(place.path("log")).unwrap();
    sleep(LOOK);
    running.write("two\nthree\n");
    running.wait_told("No such file or directory");
    sleep(2 * LOOK);
    drop(running.take_input());
    sleep(LOOK);
    assert!(running.runs(), "it waits for the folder to come back");
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("could not be written") && ended.stderr.contains("hint: make room"), "{ended:?}");
}

#[test]
fn a_file_system_that_is_read_only_for_a_while_loses_nothing() {
    for policy in ["block", "drop"] {
        let place = fast();
        let disk = SmallDisk::mount(&place.path("log"), 1024);
        let mut running = Running::start(place.seal_to("x.log").args(["--when-full", policy]));
        // It is set up once it watches its keys, which is the last thing that it does before it reads.
        let threads = format!("/proc/{}/task", running.pid());
        assert!(wait_for(SOON, || fs::read_dir(&threads).unwrap().count() > 1));
        running.wait_idle();
        disk.read_only(true);
        let lines: Vec<Vec<u8>> = Lines::new(52).take(100).collect();
        running.write(lines.concat());
        running.wait_told("Read-only file system");
        sleep(LOOK);
        disk.read_only(false);
        assert!(wait_for(SOON, || place.path("log/x.log.pgp").exists()), "{policy}: {}", running.told());
        running.write("last\n");
        let ended = running.end();
        assert!(ended.status.success(), "{policy}: {ended:?}");
        let log = Log::open(&[place.path("log/x.log.pgp")], &[secret()]);
        log.assert_settled();
        assert_exact(&log, &[&lines[..], &[b"last\n".to_vec()]].concat());
        assert_eq!(gaps(&log).len(), usize::from(policy == "drop"), "nothing can be sealed without a file");
    }
}

/// `prlimit` on a running filter.
fn limit(running: &Running, what: &str) {
    must(tool("prlimit").arg(format!("--pid={}", running.pid())).arg(what), b"");
}

#[test]
fn a_limit_on_the_length_of_all_files_ends_nothing() {
    let place = fast();
    let command = place.seal_to("x.log");
    let mut limited = tool("prlimit");
    // Neither the state nor the first record fits.
    limited.arg("--fsize=100:unlimited").arg(command.get_program()).args(command.get_args());
    let mut running = Running::start(&mut limited);
    let lines: Vec<Vec<u8>> = Lines::new(53).take(200).collect();
    running.write(lines.concat());
    running.wait_told("File too large");
    sleep(LOOK);
    assert!(running.runs());
    limit(&running, "--fsize=unlimited:unlimited");
    let ended = running.end();
    assert!(ended.status.success(), "{ended:?}");
    let log = Log::open(&[place.path("log/x.log.pgp")], &[secret()]);
    assert!(log.text() == lines.concat());
    log.assert_settled();
    assert!(log.damage.iter().all(|(_, damage)| damage.repeated), "{:?}", log.damage);
}

#[test]
fn without_descriptors_neither_rotation_nor_a_claim_loses_a_line() {
    let place = fast();
    let mut command = place.apache();
    let mut running = Running::start(command.args(["--when-full", "block", "x.%Y%m%d-%H%M%S.log", "1"]));
    let lines: Vec<Vec<u8>> = Lines::new(54).take(1200).collect();
    running.write(lines[..10].concat());
    assert!(wait_for(SOON, || place.logs().len() == 1));
    running.wait_idle();
    let numbers = || fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap();
    let numbers: Vec<usize> = numbers().map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    // The limit is one of the numbers, and some in between are free.
    let free = (0..).find(|number| !numbers.contains(number)).unwrap();
    limit(&running, &format!("--nofile={free}:"));
    let mut input = running.take_input();
    // Over some intervals and, with 64 to 128 lines an epoch, some claims.
    let feeder = thread::spawn(move || {
        let stops = feed(&mut input, &lines[10..600], Duration::from_millis(150));
        (input, lines, stops)
    });
    running.wait_told("Too many open files");
    let (mut input, lines, stops) = feeder.join().unwrap();
    assert!(stops.iter().all(|stop| *stop < SOON), "{stops:?}");
    let while_limited = place.logs().len();
    limit(&running, "--nofile=1024:");
    feed(&mut input, &lines[600..], Duration::from_millis(100));
    drop(input);
    let ended = running.wait();
    assert!(ended.status.success(), "{ended:?}");
    let files: Vec<PathBuf> = place.logs().iter().map(|name| place.path("log").join(name)).collect();
    assert!(while_limited <= 2 && files.len() > while_limited, "{while_limited} files, then {}", files.len());
    let log = Log::open(&files, &[secret()]);
    assert!(log.damage.is_empty() && log.text() == lines.concat(), "{} of {} lines", log.lines().count(), lines.len());
    log.assert_settled();
    assert!(ended.stderr.contains("the file before is gone on with"), "{ended:?}");
    // What cannot be known without more files is a warning, and nothing is an alarm.
    let verified = verify(&place, &files);
    assert!(!verified.contains("\"alarm\"") && !verified.contains("gap"), "{verified}");
}

/// What the auditor says who trusts the first genesis.
fn verify(place: &Place, files: &[PathBuf]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    command.args(["verify", "--json", "--trust-first", "--key"]).arg(secret()).args(files);
    let output = command.output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    assert!(!names(&place.path("log")).is_empty());
    String::from_utf8(output.stdout).unwrap()
}
