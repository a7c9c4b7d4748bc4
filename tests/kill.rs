//! SIGKILL at any moment: what was in the file stays, what was cut is told as that, and nothing else is.
#![cfg(feature = "audit")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::keys;
use common::lines::Random;
use common::sealed::{Place, Running, SOON};
use common::tools::wait_for;
use sealedlog::audit::read::{Found, Opener, RecordReader};
use sealedlog::control::{Control, GenesisFingerprint};
use sealedlog::identity::{Identities, Terminal};
use sealedlog::record::openpgp::Message;

/// How often it is killed.
const KILLS: usize = 200;

/// Who writes numbered lines, a few at a time, until the filter is gone.
fn feed(running: &mut Running, name: char, next: &Arc<AtomicU64>) -> (thread::JoinHandle<()>, Arc<AtomicBool>) {
    let (mut pipe, next, stop) = (running.take_input(), Arc::clone(next), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let feeder = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let first = next.fetch_add(20, Ordering::Relaxed);
            let lines: String = (first..first + 20).map(|number| format!("{name} {number:09}\n")).collect();
            if pipe.write_all(lines.as_bytes()).is_err() {
                break;
            }
            thread::sleep(Duration::from_micros(300));
        }
    });
    (feeder, stop)
}

/// Kills filters on one log at random moments and starts them again; returns the file's length at each kill.
fn kill_often(place: &Place, names: &[char], seed: u64) -> Vec<u64> {
    let (mut random, file) = (Random(seed), place.path("log/x.log.pgp"));
    let counters: Vec<_> = names.iter().map(|_| Arc::new(AtomicU64::new(0))).collect();
    let length = || fs::metadata(&file).map_or(0, |metadata| metadata.len());
    let start = |which: usize| {
        let mut running = Running::start(&mut place.seal_to("x.log"));
        let (feeder, stop) = feed(&mut running, names[which], &counters[which]);
        (running, feeder, stop)
    };
    let mut filters: Vec<_> = (0..names.len()).map(start).collect();
    let mut lengths = Vec::new();
    for kill in 0..KILLS {
        // Half of them after something was written, however long a start takes; the other half at any time.
        let before = length();
        if kill % 2 == 0 {
            assert!(wait_for(SOON, || length() > before), "nothing is written");
        }
        thread::sleep(Duration::from_millis(5 + random.below(56)));
        let which = random.below(names.len() as u64) as usize;
        let (running, feeder, _) = filters.remove(which);
        assert_eq!(running.told(), "", "nothing went wrong but its end");
        running.kill();
        lengths.push(length());
        feeder.join().unwrap();
        if kill + 1 < KILLS {
            filters.insert(which, start(which));
        }
    }
    for (running, feeder, stop) in filters {
        stop.store(true, Ordering::Relaxed);
        feeder.join().unwrap();
        running.end_well();
    }
    // Whoever comes next tells what the last one who was killed left behind.
    let mut last = Running::start(&mut place.seal_to("x.log"));
    last.write("z 000000000\n");
    last.end_well();
    lengths
}

fn check(place: &Place, lengths: &[u64], torn_at_most: usize) {
    let (file, secret) = (place.path("log/x.log.pgp"), &keys::sequoia_v6().secret);
    let content = fs::read(&file).unwrap();
    let identities = Identities::load(&[secret], &mut Terminal).unwrap();
    let opener = Opener::new(&identities);
    // What stood in the file at each kill, whole, is there at the end: nothing is ever overwritten or cut off.
    let (mut ends, mut lines, mut torn) = (Vec::new(), Vec::new(), 0);
    for found in RecordReader::new(&content[..], &opener).map(Result::unwrap) {
        match found {
            Found::Record(record) => {
                ends.push(record.offset + record.length);
                if Control::parse(&record.opened.body).is_none() {
                    lines.push((record.offset, record.opened.body.to_vec()));
                }
            }
            Found::Damage(_) => torn += 1,
        }
    }
    assert!(lengths.iter().all(|&length| length <= content.len() as u64) && lengths.is_sorted());
    let genesis = GenesisFingerprint::of(&content[..Message::parse(&content).unwrap().len]);
    let audit = |command: &str, more: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
        program.arg(command).arg(&file).arg("--key").arg(Path::new(secret)).args(["--genesis", &genesis.to_string()]).args(more);
        program.output().unwrap().stdout
    };
    // Each feeder's lines come in order, none twice. Between two runs those are lost that were in the pipe at the kill.
    let mut last: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
    let mut gaps = 0;
    for (offset, line) in &lines {
        let number: u64 = std::str::from_utf8(&line[2..11]).unwrap().parse().unwrap();
        let before = last.insert(line[0], (number, *offset));
        if let Some((before, at)) = before {
            assert!(number > before, "{number} after {before}");
            if number > before + 1 {
                gaps += 1;
                assert!(
                    lengths.iter().any(|&length| at < length && length <= *offset + 1),
                    "no kill between {before} and {number}"
                );
            }
        }
    }
    let said = String::from_utf8(audit("verify", &["--json"])).unwrap();
    let said: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, findings) = said.split_last().unwrap();
    assert!(findings.iter().all(|finding| finding["finding"] == "torn"), "{findings:?}");
    assert!(findings.len() == torn && torn <= torn_at_most, "{torn} torn: {findings:#?}");
    assert_eq!(summary["summary"]["lines"], lines.len());
    let opened = audit("open", &[]);
    assert!(opened == lines.iter().flat_map(|(_, line)| line.clone()).collect::<Vec<u8>>(), "open gives other lines");
    let told = format!("{} lines, {gaps} gaps after {} kills, {torn} torn\n", lines.len(), lengths.len());
    std::io::stderr().write_all(told.as_bytes()).unwrap();
    assert!(lines.len() > 2000, "{told}");
}

#[test]
fn two_hundred_kills_of_one_filter_lose_nothing_that_was_written() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let lengths = kill_often(&place, &['a'], 1);
    check(&place, &lengths, KILLS);
}

#[test]
fn two_hundred_kills_of_two_filters_on_one_file_lose_nothing_that_was_written() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let lengths = kill_often(&place, &['a', 'b'], 2);
    check(&place, &lengths, KILLS);
}
