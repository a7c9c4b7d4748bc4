//! `sealedlog-follow` on plain files that programs write: what is sealed, when it is freed, and what a kill, a full disk and a
//! rotation cost. The journal of a booted Debian is followed in `make test-debian`.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use common::disk::SmallDisk;
use common::keys;
use common::lines::Lines;
use common::sealed::{Log, Place, Running, SOON};
use common::tools::wait_for;

/// A place with a plain log in it.
struct Plain {
    place: Place,
    path: PathBuf,
}

impl Plain {
    fn new() -> Self {
        let place = Place::new(&[&keys::sequoia_v6().public]);
        fs::create_dir(place.path("plain")).unwrap();
        let path = place.path("plain/a.log");
        Self { place, path }
    }

    /// The program, on the log and on others beside it.
    fn follow(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-follow"));
        let path = |name: &str| self.place.path(name);
        command.arg("--keys").arg(path("keys.d")).arg("--state").arg(path("state")).arg("--runtime").arg(path("run"));
        command.arg("-o").arg(path("log/{log}")).arg(path("plain/*.log"));
        Running::start(&mut command)
    }

    fn append(&self, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    /// Nothing but zeros is in it.
    fn is_freed(&self) -> bool {
        fs::read(&self.path).is_ok_and(|bytes| bytes.iter().all(|&byte| byte == 0))
    }

    fn wait_freed(&self) {
        assert!(wait_for(SOON, || self.is_freed()), "it is not freed");
    }

    fn sealed(&self) -> Log {
        let files: Vec<_> = self.place.logs().into_iter().map(|name| self.place.path("log").join(name)).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        Log::open(&files, &[&keys::sequoia_v6().secret])
    }
}

/// The process that seals, by its parent.
fn sealer(running: &Running) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn end(running: Running) {
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn lines_are_sealed_and_overwritten_as_they_come() {
    let plain = Plain::new();
    let text = Lines::file(1, 3000);
    let (before, after) = text.split_at(text.len() / 3);
    plain.append(before);
    let running = plain.follow();
    running.wait_signals();
    for piece in after.chunks(50_000) {
        plain.append(piece);
    }
    plain.append("no end");
    assert!(wait_for(SOON, || fs::read(&plain.path).is_ok_and(|bytes| bytes.iter().filter(|&&byte| byte != 0).count() == 6)));
    // At its end it waits for no more of a line.
    end(running);
    plain.wait_freed();
    let log = plain.sealed();
    assert!(log.text() == [&text[..], b"no end\n"].concat());
    log.assert_settled();
    let metadata = fs::metadata(&plain.path).unwrap();
    assert_eq!(metadata.len(), text.len() as u64 + 6, "it keeps its length");
    assert!(metadata.blocks() * 512 < metadata.len() / 4, "and hardly a block: {}", metadata.blocks());
    let doctor = Command::new(env!("CARGO_BIN_EXE_sealedlog")).args(["doctor", "--logs"]).arg(plain.place.path("plain")).output();
    // Others on this machine may write logs of their own.
    let told = String::from_utf8(doctor.unwrap().stdout).unwrap();
    assert!(!told.contains(plain.path.to_str().unwrap()), "nothing in plain text is in it: {told}");
}

#[test]
fn kills_cost_nothing() {
    let plain = Plain::new();
    let text = [Lines::file(2, 300), Lines::file(3, 300), Lines::file(4, 300)];
    let running = plain.follow();
    plain.append(&text[0]);
    plain.wait_freed();
    // The one that seals.
    kill(Pid::from_raw(sealer(&running).unwrap()), Signal::SIGKILL).unwrap();
    plain.append(&text[1]);
    plain.wait_freed();
    let seals = sealer(&running);
    // The one that follows; the other one ends with its input.
    running.kill();
    plain.append(&text[2]);
    assert!(wait_for(SOON, || seals.is_none_or(|id| !PathBuf::from(format!("/proc/{id}/exe")).exists())));
    let running = plain.follow();
    plain.wait_freed();
    end(running);
    assert!(plain.sealed().text() == text.concat());
}

/// In the midst of it what was not yet noted is sealed twice, and nothing is lost.
#[test]
fn a_kill_in_a_burst_loses_nothing() {
    let plain = Plain::new();
    let text = Lines::file(5, 20_000);
    plain.append(&text);
    let running = plain.follow();
    assert!(wait_for(SOON, || fs::read(&plain.path).is_ok_and(|bytes| bytes[0] == 0)));
    running.kill();
    assert!(!plain.is_freed(), "it was killed too late to say anything");
    let running = plain.follow();
    plain.wait_freed();
    end(running);
    let log = plain.sealed();
    let mut lines = log.lines();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        assert!(lines.any(|sealed| sealed == line), "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn nothing_is_freed_that_is_not_sealed() {
    if !Uid::effective().is_root() {
        return;
    }
    let plain = Plain::new();
    let key = fs::read_dir(plain.place.path("keys.d")).unwrap().next().unwrap().unwrap().path();
    fs::rename(&key, plain.place.path("key.asc")).unwrap();
    let text = Lines::file(6, 2000);
    plain.append(&text);
    let running = plain.follow();
    running.wait_told("no usable public key");
    assert!(fs::read(&plain.path).unwrap() == text, "without a key it stays");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().status.code(), Some(2));

    fs::rename(plain.place.path("key.asc"), &key).unwrap();
    let disk = SmallDisk::mount(&plain.place.path("log"), 256);
    let running = plain.follow();
    assert!(wait_for(SOON, || disk.is_full() && running.told().contains("No space left")), "{}", running.told());
    let left = fs::read(&plain.path).unwrap();
    assert!(left.ends_with(&text[text.len() / 2..]), "what has no room stays");
    disk.grow();
    plain.wait_freed();
    running.signal(Signal::SIGTERM);
    assert!(running.wait().status.success());
    let log = plain.sealed();
    assert!(log.text() == text, "each line once");
}

#[test]
fn a_file_that_is_renamed_is_followed_to_its_end() {
    let plain = Plain::new();
    let running = plain.follow();
    let mut old = File::options().append(true).create(true).open(&plain.path).unwrap();
    old.write_all(b"one\n").unwrap();
    plain.wait_freed();
    let renamed = plain.place.path("plain/a.log.1");
    fs::rename(&plain.path, &renamed).unwrap();
    plain.append("two\n");
    plain.wait_freed();
    old.write_all(b"three\n").unwrap();
    assert!(wait_for(SOON, || fs::read(&renamed).is_ok_and(|bytes| bytes.iter().all(|&byte| byte == 0))));
    // Truncated and begun anew, shorter.
    fs::write(&plain.path, "4\n").unwrap();
    plain.wait_freed();
    end(running);
    assert!(plain.sealed().text() == b"one\ntwo\nthree\n4\n");
}
