//! The auditor's program takes no more memory for a long log than for a short one.
//!
//! With `SEALEDLOG_TEST_FULL=1` the longest has ten gigabytes, on the disk that `TMPDIR` names.
#![cfg(feature = "audit")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::keys;
use common::lines::Lines;
use common::measure::{Measured, measure, run_if_asked};
use common::sealed::{Place, Running};

/// What the program may have in all, in MiB.
const MOST: u64 = 256;
/// So much more, in MiB, may a run take on twice as much: what chance makes of threads and their allocations.
const MORE: u64 = 12;
/// About how many bytes a sealed line takes here.
const SEALED: usize = 430;

/// The program that runs the measured ones.
#[test]
fn measured() {
    run_if_asked();
}

/// How many lines the longer one of two logs has.
fn most() -> usize {
    if std::env::var_os("SEALEDLOG_TEST_FULL").is_some() { 10_000_000_000 / SEALED } else { 240_000 }
}

/// A log of so many lines in so many segments, each written by so many writers at once.
fn log(count: usize, segments: usize, writers: usize) -> (Place, PathBuf) {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let mut lines = Lines::new(1);
    for segment in 0..segments {
        let mut running: Vec<_> = (0..writers).map(|_| Running::start(&mut place.seal_to("x.log"))).collect();
        let mut pipes: Vec<_> = running.iter_mut().map(Running::take_input).collect();
        for at in 0..count / segments {
            // By turns, a few at a time, so that they meet in the file.
            pipes[at / 16 % writers].write_all(&lines.next().unwrap()).unwrap();
        }
        drop(pipes);
        running.into_iter().for_each(Running::end_well);
        let log = place.path("log").join("x.log.pgp");
        fs::rename(&log, place.path("log").join(format!("x.log.pgp.{segment:03}"))).unwrap();
    }
    let folder = place.path("log");
    (place, folder)
}

fn audit(command: &str, folder: &Path) -> Measured {
    // What it prints goes nowhere.
    let mut program = Command::new("sh");
    program
        .args(["-c", "exec \"$0\" \"$@\" >/dev/null", env!("CARGO_BIN_EXE_sealedlog-audit")])
        .args(command.split(' '))
        .stdout(Stdio::null());
    program.arg(folder).arg("--key").arg(&keys::sequoia_v6().secret).arg("--trust-first");
    let run = measure(&program);
    assert!(run.status.success(), "{run:?}");
    run
}

#[track_caller]
fn assert_flat(segments: usize, writers: usize) {
    let ((_one, short), (_other, long)) = (log(most() / 2, segments, writers), log(most(), segments, writers));
    for command in ["open", "verify", "search -e curl -C 2", "export --format ndjson"] {
        let (half, mut whole) = (audit(command, &short), audit(command, &long));
        // Chance does not strike each time.
        for _ in 0..2 {
            if whole.memory > half.memory + MORE {
                whole = audit(command, &long);
            }
        }
        let _ = writeln!(
            std::io::stderr(),
            "{command}, {segments} segments, {writers} writers: {} MiB for {} lines, {} MiB for {}; {:.2} and {:.2} s",
            half.memory,
            most() / 2,
            whole.memory,
            most(),
            half.cpu.as_secs_f64(),
            whole.cpu.as_secs_f64()
        );
        assert!(whole.memory <= half.memory + MORE && whole.memory < MOST, "{half:?} {whole:?}");
    }
}

#[test]
fn a_long_file_takes_no_more_memory_than_a_short_one() {
    assert_flat(1, 1);
}

#[test]
fn many_segments_of_several_writers_take_no_more_memory() {
    assert_flat(20, 3);
}
