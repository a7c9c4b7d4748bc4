//! More lines at once than a busy server has in an hour, from many writers, onto fast and slow disks: memory stays bounded,
//! who feeds it waits where it must, nothing is lost, and SIGTERM is obeyed.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sealedlog::control::Event;

use common::keys;
use common::lines::{Lines, Random};
use common::sealed::{Content, Log, Place, Running, SOON};
use common::tools::{tool, wait_for};

/// Lines of an hour of a server with ten requests a second.
const HOUR: usize = 36_000;
/// Most memory of a filter in KiB. Of it 8 MiB and more are the pages of the program and its libraries, which these builds
/// have twice the size of released ones.
const MOST: u64 = 24 << 10;

fn fast() -> Place {
    Place::new(&[&keys::sequoia_v6().public])
}

fn secret() -> &'static Path {
    &keys::sequoia_v6().secret
}

/// A number of KiB from a process's status.
fn kib(pid: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(what)).expect("the kernel tells it");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

fn audit(words: &[&str], files: &[PathBuf]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    command.args(words).arg("--trust-first").arg("--key").arg(secret()).args(files).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The auditor finds no fault, and each writer's lines are there in their order.
fn check(file: &Path, seeds: &[u64], count: usize) {
    let files = [file.to_owned()];
    let verified = audit(&["verify", "--json"], &files).output().unwrap();
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.status.success() && said.lines().count() == 1, "{said}");
    let mut expected: Vec<_> = seeds.iter().map(|&seed| Lines::new(seed).take(count).peekable()).collect();
    let mut open = audit(&["open"], &files).spawn().unwrap();
    let mut there = 0;
    for line in BufReader::new(open.stdout.take().unwrap()).split(b'\n') {
        let mut line = line.unwrap();
        line.push(b'\n');
        let from = expected.iter_mut().find_map(|lines| lines.next_if_eq(&line));
        assert!(from.is_some(), "a line is another one, or not in order");
        there += 1;
    }
    assert!(open.wait().unwrap().success());
    assert_eq!(there, seeds.len() * count);
}

#[test]
fn ten_logs_and_three_writers_of_one_log_take_an_hours_lines_at_once() {
    let place = fast();
    let started = Instant::now();
    // The last three write to one log.
    let name = |writer: usize| format!("{}.log", writer.min(9));
    let writers: Vec<_> = (0..12)
        .map(|writer| {
            let count = if writer < 9 { HOUR / 4 } else { HOUR };
            let mut running = Running::start(&mut place.seal_to(&name(writer)));
            thread::spawn(move || {
                let mut input = running.take_input();
                let mut random = Random(writer as u64);
                let (mut batch, mut left) = (Vec::new(), 0);
                for line in Lines::new(writer as u64).take(count) {
                    batch.extend_from_slice(&line);
                    if left == 0 {
                        input.write_all(&batch).unwrap();
                        batch.clear();
                        left = random.below(500);
                    }
                    left -= 1.min(left);
                }
                input.write_all(&batch).unwrap();
                let memory = ["VmHWM", "RssAnon", "RssFile"].map(|what| kib(running.pid(), what));
                drop(input);
                let ended = running.wait();
                assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
                memory
            })
        })
        .collect();
    let memory: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let most = memory.iter().max().expect("there are twelve");
    let told = format!("sealed in {:?}; most memory (VmHWM, RssAnon, RssFile in KiB): {most:?}", started.elapsed());
    std::io::stderr().write_all(format!("{told}\n").as_bytes()).unwrap();
    assert!(most[0] < MOST, "{told}");
    for writer in [0, 8] {
        check(&place.path("log").join(format!("{writer}.log.pgp")), &[writer], HOUR / 4);
    }
    check(&place.path("log/9.log.pgp"), &[9, 10, 11], HOUR);
}

/// A filter under strace whose writes and synchronisations all take this much longer; and its own id.
fn slow(place: &Place, delay: Duration) -> (Running, Pid) {
    let command = place.seal_to("x.log");
    let trace = place.path("trace");
    let mut strace = tool("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&trace);
    let inject = format!("inject=write,pwrite64,fdatasync,fsync:delay_enter={}", delay.as_micros());
    strace.args(["-e", "trace=write,pwrite64,fdatasync,fsync,ppoll", "-e", &inject]);
    strace.arg(command.get_program()).args(command.get_args());
    let running = Running::start(&mut strace);
    let first = || {
        let line = BufReader::new(File::open(&trace).ok()?).lines().next()?.ok()?;
        line.split_whitespace().next()?.parse().ok()
    };
    assert!(wait_for(SOON, || first().is_some()));
    (running, Pid::from_raw(first().expect("it was there")))
}

#[test]
fn a_slow_disk_holds_back_who_feeds_it_and_a_termination_is_obeyed() {
    for delay in [Duration::from_millis(20), Duration::from_millis(60)] {
        let place = fast();
        let (mut running, pid) = slow(&place, delay);
        let mut input = running.take_input();
        let text = Lines::file(60, 200_000);
        let again = text.clone();
        let writer = thread::spawn(move || {
            let mut taken = 0;
            while let Ok(n) = input.write(&again[taken..]) {
                taken += n;
                if taken == again.len() {
                    break;
                }
            }
            taken
        });
        let file = place.path("log/x.log.pgp");
        let length = || fs::metadata(&file).map_or(0, |metadata| metadata.len());
        assert!(wait_for(SOON, || length() > 1 << 20), "{} bytes", length());
        assert!(kib(pid.as_raw() as u32, "VmHWM") < MOST);
        let told = Instant::now();
        kill(pid, Signal::SIGTERM).unwrap();
        let ended = running.wait();
        let took = told.elapsed();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
        let taken = writer.join().unwrap();
        // All that the writer has would take a minute, and more.
        assert!(took < Duration::from_secs(20), "{delay:?} a call: it took {took:?}");
        let log = Log::whole(&file, secret());
        let sealed = log.text();
        assert!(text.starts_with(&sealed), "what was sealed is not what was written");
        assert!(taken - sealed.len() <= 65536, "{taken} bytes taken, {} sealed: more than a pipe holds is missing", sealed.len());
        log.assert_settled();
    }
}

#[test]
fn memory_stays_as_it_is_over_many_epochs() {
    let place = fast();
    let mut running = Running::start(&mut place.seal_to("x.log"));
    let mut input = running.take_input();
    let mut sizes = HashMap::new();
    for round in 0..6 {
        for part in Lines::file(70 + round, 20_000).chunks(60_000) {
            input.write_all(part).unwrap();
        }
        sizes.insert(round, kib(running.pid(), "VmHWM"));
    }
    drop(input);
    running.wait();
    // The keys of an epoch take memory, those of the next one too; epochs grow as fast as lines are sealed.
    let (mut lines, mut slots) = (0, [64, 64]);
    for entry in &Log::whole(&place.path("log/x.log.pgp"), secret()).entries {
        match &entry.content {
            Content::Line(_) => lines += 1,
            Content::Control(control) => {
                if let Event::Epoch(epoch) = &control.event {
                    let part = usize::from(lines > 3 * 20_000);
                    slots[part] = epoch.slots.max(slots[part]);
                }
            }
        }
    }
    let larger = u64::from(slots[1].saturating_sub(slots[0])) * 256 / 1024;
    assert!(sizes[&5] <= sizes[&2] + 512 + larger, "{sizes:?}, {slots:?}");
    assert!(sizes[&5] < MOST, "{sizes:?}");
}
