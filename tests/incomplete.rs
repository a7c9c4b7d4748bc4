//! What the auditor cannot have: files that are not there, a stick that was cut off, a key that does not fit. Each is told, the
//! rest is still done, and the exit status is 2.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::unistd::Uid;

use common::keys;
use common::sealed::{Place, seal_all};
use common::tools::{must, tool};

/// A file of this log with these lines.
fn seal(place: &Place, name: &str, lines: &[u8]) -> PathBuf {
    assert!(seal_all(&mut place.seal_to(name), lines).status.success());
    place.path("log").join(format!("{name}.pgp"))
}

fn audit(command: &str, files: &[&Path], secret: &Path) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    program.arg(command).args(files).arg("--trust-first").arg("--key").arg(secret).output().unwrap()
}

/// Both commands end with status 2 and say this; `open` still gives these lines.
fn is_told(files: &[&Path], secret: &Path, told: &[&str], lines: &str) {
    for command in ["open", "verify"] {
        let output = audit(command, files, secret);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}: {stderr}");
        for told in told {
            assert!(stderr.contains(told), "{command}: {told} is not in: {stderr}");
        }
        if command == "open" {
            assert_eq!(String::from_utf8(output.stdout).unwrap(), lines);
        }
    }
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_opened() {
    let (key, place) = (keys::sequoia_v6(), Place::new(&[&keys::sequoia_v6().public]));
    let file = seal(&place, "x.log", b"one\ntwo\n");
    let (missing, empty) = (place.path("missing.pgp"), place.path("empty"));
    fs::create_dir(&empty).unwrap();
    // Of this one not even the first byte can be read, not by root either.
    let unreadable = Path::new("/proc/self/mem");
    let told = ["error: cannot read /proc/self/mem: ", "missing.pgp: No such file", "no sealed files in the folder: "];
    is_told(&[&missing, &empty, unreadable, &file], &key.secret, &told, "one\ntwo\n");
    is_told(&[&missing], &key.secret, &["missing.pgp: No such file"], "");

    let split = place.path("records");
    let mut program = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    let output = program.arg("split").args([unreadable, &file]).arg("-o").arg(&split).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(fs::read_dir(&split).unwrap().count() >= 3, "genesis, two lines and more");
}

#[test]
fn a_key_that_opens_nothing_is_told() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let file = seal(&place, "x.log", b"one\n");
    let stranger = keys::gpg_cv25519();
    is_told(&[&file], &stranger.secret, &["error: no record opened", "hint: check that"], "");
}

/// A loop device, detached when dropped.
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = tool("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
        let _ = tool("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
fn of_a_stick_that_was_cut_off_the_readable_part_is_opened() {
    // File systems on images are mounted by root only, where there are loop devices.
    if !Uid::effective().is_root() || !Path::new("/dev/loop-control").exists() {
        return;
    }
    let (key, place) = (keys::sequoia_v6(), Place::new(&[&keys::sequoia_v6().public]));
    let lines: String = (0..20_000).map(|number| format!("line {number} of a log that a stick has\n")).collect();
    let whole = seal(&place, "a.log", b"one\ntwo\n");
    let cut = seal(&place, "b.log", lines.as_bytes());
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let (image, stick) = (memory.path().join("image"), memory.path().join("stick"));
    File::create(&image).unwrap().set_len(32 << 20).unwrap();
    must(tool("mkfs.ext4").args(["-q", "-F", "-b", "4096"]).arg(&image), b"");
    fs::create_dir(&stick).unwrap();
    must(tool("mount").args(["-o", "loop"]).arg(&image).arg(&stick), b"");
    fs::copy(&whole, stick.join("a.log.pgp")).unwrap();
    fs::copy(&cut, stick.join("b.log.pgp")).unwrap();
    must(tool("umount").arg(&stick), b"");

    // The device keeps its size; what is behind the half of the second file is gone.
    let blocks = must(tool("debugfs").args(["-R", "blocks /b.log.pgp"]).arg(&image), b"");
    let blocks: Vec<u64> = String::from_utf8(blocks).unwrap().split_whitespace().map(|block| block.parse().unwrap()).collect();
    let device = must(tool("losetup").args(["--find", "--show"]).arg(&image), b"");
    let device = Loop(String::from_utf8(device).unwrap().trim().to_owned());
    OpenOptions::new().write(true).open(&image).unwrap().set_len(blocks[blocks.len() / 2] * 4096).unwrap();
    must(tool("mount").args(["-o", "ro,noload", &device.0]).arg(&stick), b"");

    for command in ["open", "verify"] {
        let output = audit(command, &[&stick], &key.secret);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("b.log.pgp: Input/output error"), "{stderr}");
        if command == "open" {
            let opened = String::from_utf8(output.stdout).unwrap();
            let expected = format!("one\ntwo\n{lines}");
            let share = opened.len() * 100 / expected.len();
            assert!(expected.starts_with(&opened) && (45..60).contains(&share), "{share} % of the lines");
        }
    }
}
