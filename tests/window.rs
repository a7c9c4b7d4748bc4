//! The window of a filter: what tail(1) sees through it, and that there is none on a disk.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use common::keys;
use common::lines::Lines;
use common::sealed::{Log, Place, Running};
use common::tools::{SOON, tool, wait_for};

fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

#[test]
fn who_follows_it_sees_every_line_and_it_stays_small() {
    let (place, memory) = (Place::new(&[&keys::sequoia_v6().public]), in_memory());
    let window = memory.path().join("x.log");
    // It is there before the one who follows, as with fail2ban.
    fs::write(&window, "").unwrap();
    let seen = place.path("seen");
    let mut tail = tool("tail")
        .args(["-n", "+1", "-s", "0.05", "-F"])
        .arg(&window)
        .stdout(fs::File::create(&seen).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut command = place.seal_to("x.log");
    let mut running = Running::start(command.arg("--window").arg(&window).args(["--window-size", "65536"]));
    let lines: Vec<Vec<u8>> = Lines::new(8).take(1000).collect();
    // Slower than it is emptied: who comes late sees the newest only.
    for (at, batch) in lines.chunks(50).enumerate() {
        running.write(batch.concat());
        let expected = lines[..(at + 1) * 50].concat();
        assert!(wait_for(SOON, || fs::read(&seen).unwrap() == expected), "after {} lines", (at + 1) * 50);
        let both: u64 = [&window, &memory.path().join("x.log.1")]
            .iter()
            .filter_map(|file| fs::metadata(file).ok())
            .map(|metadata| metadata.len())
            .sum();
        assert!(both <= 65536, "{both}");
    }
    // Announced, and not taken for a log that is not sealed.
    let sealedlog = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sealedlog")).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let status = sealedlog(&["status", "--state", &path("state"), "--runtime", &path("run")]);
    assert!(status.contains(&format!("in plain text, too: {}\n", window.display())), "{status}");
    let doctor = sealedlog(&["doctor", "--logs", &path("log")]);
    let told = doctor.split_once(window.to_str().unwrap()).unwrap().1.lines().nth(1).unwrap();
    assert!(told.trim_start().starts_with("it stays: the newest lines of a log, in memory"), "{doctor}");
    running.end_well();
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert_eq!(Log::whole(&place.path("log/x.log.pgp"), &keys::sequoia_v6().secret).text(), lines.concat());
}

#[test]
fn there_is_none_on_a_disk_and_none_that_was_not_asked_for() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let mut command = place.seal_to("x.log");
    let ended = Running::start(command.arg("--window").arg(place.path("x.log"))).end();
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("it is not in memory") && ended.stderr.contains("hint: name a file below /run"), "{ended:?}");
    assert!(!place.path("x.log").exists() && place.logs().is_empty());
    let mut running = Running::start(&mut place.seal_to("x.log"));
    running.write("a line of text\n");
    running.end_well();
    place.assert_nowhere("a line of text");
}

#[test]
fn a_window_that_cannot_be_written_costs_no_line() {
    let (place, memory) = (Place::new(&[&keys::sequoia_v6().public]), in_memory());
    let folder = memory.path().join("gone");
    fs::create_dir(&folder).unwrap();
    let mut command = place.seal_to("x.log");
    let mut running = Running::start(command.arg("--window").arg(folder.join("x.log")));
    let lines: Vec<Vec<u8>> = Lines::new(9).take(50).collect();
    running.write(&lines[0]);
    let shown = || fs::read(folder.join("x.log")).is_ok_and(|text| text == lines[0]);
    assert!(wait_for(SOON, shown));
    fs::remove_dir_all(&folder).unwrap();
    // So often it looks.
    sleep(Duration::from_millis(1100));
    running.write(lines[1..].concat());
    running.wait_told("they are sealed all the same");
    assert!(running.end().status.success());
    assert_eq!(Log::whole(&place.path("log/x.log.pgp"), &keys::sequoia_v6().secret).text(), lines.concat());
}

#[test]
fn lines_that_are_answered_one_by_one_are_shown_too() {
    let (place, memory) = (Place::new(&[&keys::sequoia_v6().public]), in_memory());
    let window = memory.path().join("x.log");
    let mut command = place.syslog("x.log");
    command.arg("--confirm-messages").arg("--window").arg(&window).stdout(Stdio::piped());
    let mut running = Running::start_with(&mut command);
    running.write("one\ntwo\n");
    let mut answers = [0; 9];
    running.child().stdout.as_mut().unwrap().read_exact(&mut answers).unwrap();
    assert_eq!(&answers, b"OK\nOK\nOK\n");
    assert_eq!(fs::read_to_string(&window).unwrap(), "one\ntwo\n");
    running.end_well();
}
