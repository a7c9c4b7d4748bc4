//! Time of day that jumps, repeats an hour or has a day more: no line is lost, no file is written over, nothing untrue is
//! told. The real programs run by libfaketime's clock.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use common::keys;
use common::sealed::{Log, Place, Running, SOON};
use common::tools::wait_for;

/// `sealedlog-apache` by another clock, in a zone.
fn by_clock(place: &Place, zone: &str, words: &[&str]) -> Command {
    let found = Command::new("dpkg").args(["-L", "libfaketime"]).output().unwrap();
    let files = String::from_utf8(found.stdout).unwrap();
    let library = files.lines().find(|file| file.ends_with("libfaketimeMT.so.1")).expect("the package libfaketime is missing");
    let mut command = place.apache();
    command.args(words).env("LD_PRELOAD", library).env("TZ", zone);
    // What measures time goes on as ever; only the time of day is set.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    command.env("FAKETIME_FMT", "%s").env("FAKETIME_NO_CACHE", "1");
    command
}

/// The files' contents, none of which may change but at its end.
#[derive(Default)]
struct Kept(BTreeMap<String, Vec<u8>>);

impl Kept {
    fn look(&mut self, place: &Place) {
        let mut now = BTreeMap::new();
        for name in place.logs() {
            now.insert(name.clone(), fs::read(place.path("log").join(&name)).unwrap());
        }
        for (name, before) in &self.0 {
            assert!(now.get(name).is_some_and(|content| content.starts_with(before)), "{name} was written over");
        }
        self.0 = now;
    }
}

/// Every line is in some file, once, and the auditor finds no fault.
fn check(place: &Place, lines: &[String]) {
    let files: Vec<PathBuf> = place.logs().iter().map(|name| place.path("log").join(name)).collect();
    let secret: &Path = &keys::sequoia_v6().secret;
    let log = Log::open(&files, &[secret]);
    assert!(log.damage.is_empty(), "{:?}", log.damage);
    let mut there: Vec<String> = log.lines().map(|line| String::from_utf8(line.clone()).unwrap()).collect();
    there.sort();
    let mut expected = lines.to_vec();
    expected.sort();
    assert_eq!(there, expected);
    log.assert_settled();
    let mut verify = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    let output = verify.args(["verify", "--json", "--trust-first", "--key"]).arg(secret).args(&files).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.status.success(), "{said}");
}

/// How long a clock runs before the time of day that matters: by then the first line is sealed.
const BEFORE: u64 = 5;

/// Runs by a clock that starts [`BEFORE`] a time of day, with a line every 200 ms until some time after it.
fn run_over(time: &str, zone: &str, words: &[&str]) -> (Place, Vec<String>) {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let start = seconds(time) - BEFORE;
    let mut running = Running::start(by_clock(&place, zone, words).env("FAKETIME", format!("@{start}")));
    let begin = Instant::now();
    let mut kept = Kept::default();
    let mut lines = Vec::new();
    // Its clock starts a little later than this one.
    while begin.elapsed() < Duration::from_secs(BEFORE + 3) {
        lines.push(format!("line {}\n", lines.len()));
        running.write(lines.last().unwrap());
        sleep(Duration::from_millis(200));
        kept.look(&place);
    }
    running.end_well();
    kept.look(&place);
    (place, lines)
}

#[test]
fn a_clock_that_jumps_by_days_loses_no_line() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let clock = place.path("clock");
    // Of two parts: what is there at any moment is whole.
    let set = |offset: i64| {
        fs::write(place.path("clock.new"), format!("{offset:+}")).unwrap();
        fs::rename(place.path("clock.new"), &clock).unwrap();
    };
    set(0);
    let mut command = by_clock(&place, "Europe/Vienna", &["-l", "x.%Y-%m-%d.log", "86400"]);
    let mut running = Running::start(command.env("FAKETIME_TIMESTAMP_FILE", &clock));
    let (mut kept, mut lines) = (Kept::default(), Vec::new());
    let mut days = Vec::new();
    for day in [0, 1, 0, -1, 2, -2, 0] {
        set(day * 86_400);
        for _ in 0..40 {
            lines.push(format!("line {} of day {day}\n", lines.len()));
            running.write(lines.last().unwrap());
        }
        let text = lines.concat().len() as u64;
        let length = || place.logs().iter().map(|name| fs::metadata(place.path("log").join(name)).unwrap().len()).sum::<u64>();
        assert!(wait_for(SOON, || length() > text));
        sleep(Duration::from_millis(200));
        kept.look(&place);
        days.push(place.logs().len());
    }
    running.end_well();
    kept.look(&place);
    check(&place, &lines);
    // Forward each day has its file; back by a day rotatelogs' rules go on in the file that is open, by more they do not.
    assert!(days[0] == 1 && days[1] == 2 && *days.last().unwrap() >= 3, "{days:?}: {:?}", place.logs());
}

/// Over each of these times, which files there are; all at once, since they wait most of the time.
fn over_each(zone: &str, words: &[&str], times: &[(&str, &[&str])]) {
    thread::scope(|scope| {
        for (time, expected) in times {
            scope.spawn(move || {
                let (place, lines) = run_over(time, zone, words);
                assert_eq!(place.logs(), *expected, "{time}");
                check(&place, &lines);
            });
        }
    });
}

/// Seconds since 1970.
fn seconds(time: &str) -> u64 {
    time.parse::<jiff::Timestamp>().unwrap().as_second() as u64
}

#[test]
fn the_hour_that_is_left_out_and_the_one_that_comes_twice_are_whole() {
    over_each(
        "Europe/Vienna",
        &["-l", "x.%H%M.log", "3600"],
        &[
            // After the keys were made. 01:59:59, then 03:00.
            ("2028-03-26T01:00:00Z", &["x.0100.log.pgp", "x.0300.log.pgp"]),
            // 02:59:59, then 02:00 again: the same file.
            ("2028-10-29T01:00:00Z", &["x.0200.log.pgp"]),
            // The second 02:59:59.
            ("2028-10-29T02:00:00Z", &["x.0200.log.pgp", "x.0300.log.pgp"]),
        ],
    );
}

#[test]
fn the_day_that_most_years_do_not_have_has_its_file() {
    over_each(
        "UTC",
        &["-l", "x.%Y-%m-%d.log", "86400"],
        &[
            ("2028-02-29T00:00:00Z", &["x.2028-02-28.log.pgp", "x.2028-02-29.log.pgp"]),
            ("2028-03-01T00:00:00Z", &["x.2028-02-29.log.pgp", "x.2028-03-01.log.pgp"]),
            ("2027-03-01T00:00:00Z", &["x.2027-02-28.log.pgp", "x.2027-03-01.log.pgp"]),
        ],
    );
}
