//! A power cut: what had not come to the disk is gone, and with it all that was in memory. How much that is, and what is told of it.
//!
//! The disk is an image with a real ext4 on it. What it has at the moment of the cut is a copy of the image: what the file system
//! still holds in memory is not in it.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::Uid;
use serde_json::Value;

use common::keys;
use common::sealed::{Place, Running};
use common::tools::{must, tool};

/// A line comes so often.
const EACH: Duration = Duration::from_millis(100);
/// The filters bring their logs to the disk so often (docs/debian.md).
const SYNC: Duration = Duration::from_secs(30);
/// For a machine with other work.
const SLACK: Duration = Duration::from_secs(5);

/// An image that is mounted; gone when dropped.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn mount(image: &Path, at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        must(tool("mount").args(["-o", "loop"]).arg(image).arg(at), b"");
        Self { image: image.to_owned(), at: at.to_owned() }
    }

    /// What is on it now, in one piece: nothing came to it while it was copied.
    fn cut(&self, copy: &Path) {
        for _ in 0..100 {
            fs::copy(&self.image, copy).unwrap();
            if fs::read(&self.image).unwrap() == fs::read(copy).unwrap() {
                return;
            }
        }
        panic!("the disk is written to all the time");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = tool("umount").arg("-l").arg(&self.at).status();
    }
}

fn seal(disk: &Disk, runtime: &Path, key: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
    command.args(["seal", "-o"]).arg(disk.at.join("x.log")).arg("--keys").arg(key);
    command.arg("--state").arg(disk.at.join("state")).arg("--runtime").arg(runtime);
    command
}

fn audit(words: &[&str], disk: &Disk) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    let output =
        command.args(words).arg(disk.at.join("x.log.pgp")).arg("--key").arg(&keys::sequoia_v6().secret).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn at_most_what_came_since_the_last_synchronisation_is_lost_and_no_more_is_claimed() {
    // File systems on images are mounted by root only, where there are loop devices.
    if !Uid::effective().is_root() || !Path::new("/dev/loop-control").exists() {
        return;
    }
    // In memory, as /run is; the images are read and written fast there.
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let key = place.path("keys.d");
    let image = memory.path().join("image");
    File::create(&image).unwrap().set_len(32 << 20).unwrap();
    must(tool("mkfs.ext4").args(["-q", "-F"]).arg(&image), b"");
    let disk = Disk::mount(&image, &memory.path().join("disk"));
    let mut running = Running::start(&mut seal(&disk, &memory.path().join("run"), &key));

    // Shortly before a synchronisation is due, and shortly behind it.
    let cuts = [SYNC - Duration::from_secs(2), SYNC + SLACK];
    let (started, mut written, mut taken) = (Instant::now(), 0, Vec::new());
    while taken.len() < cuts.len() {
        running.write(format!("line {written}\n"));
        written += 1;
        sleep(EACH);
        if started.elapsed() >= cuts[taken.len()] {
            let copy = memory.path().join(format!("cut-{}", taken.len()));
            disk.cut(&copy);
            taken.push((copy, written));
        }
    }
    running.end_well();
    drop(disk);

    let most = [SYNC, 2 * SLACK];
    for (number, (copy, written)) in taken.into_iter().enumerate() {
        // In the same place, since a log's state goes by its name.
        let disk = Disk::mount(&copy, &memory.path().join("disk"));
        let (_, text) = audit(&["open", "--trust-first"], &disk);
        let lines: Vec<_> = text.lines().collect();
        let expected: Vec<String> = (0..lines.len()).map(|number| format!("line {number}")).collect();
        assert_eq!(lines, expected, "all of them from the first one on");
        let lost = written - lines.len();
        let _ = writeln!(std::io::stderr(), "cut {:?} after the start: {lost} of {written} lines are lost", cuts[number]);
        let bound = most[number].as_millis() / EACH.as_millis();
        assert!((lost as u128) <= bound, "{lost} of {written} lines");

        // As after a boot: the filter goes on, in the same stream, and the end that nothing proves is told as such.
        let mut running = Running::start(&mut seal(&disk, &memory.path().join(format!("run-{number}")), &key));
        running.write("line after\n");
        running.end_well();
        let (_, text) = audit(&["open", "--trust-first"], &disk);
        assert!(text.ends_with("line after\n"), "{text}");
        let (code, report) = audit(&["verify", "--trust-first", "--json"], &disk);
        let findings: Vec<Value> = report.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = &findings.last().unwrap()["summary"];
        assert_eq!((code, &summary["alarms"], &summary["streams"]), (Some(1), &Value::from(0), &Value::from(1)), "{report}");
        let names: Vec<_> = findings.iter().filter_map(|finding| finding["finding"].as_str()).collect();
        assert!(names.contains(&"unproven") && names.iter().all(|name| ["unproven", "torn"].contains(name)), "{report}");
    }
}
