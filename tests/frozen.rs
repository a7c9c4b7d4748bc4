//! Files that version 1 of the format has sealed, kept for ever: every later version opens and verifies them.
//!
//! `tests/vectors/PROFILE/CASE/` has the sealed files, the secret keys, the lines and what the verifier says. A case that
//! is there is never made again; `SEALEDLOG_FREEZE=1 cargo test --features audit --test frozen` makes those that are not.

#![cfg(feature = "audit")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::keys;
use common::tampered::some_lines;
use common::tools::wait_for;
use serde_json::Value;

struct Profile {
    name: &'static str,
    keys: [(&'static Path, &'static Path); 2],
}

/// Each with two key pairs, for a change of keys.
fn profiles() -> Vec<Profile> {
    let pgp = |key: &'static keys::Pgp| (key.public.as_path(), key.secret.as_path());
    vec![
        Profile { name: "rfc9580", keys: [pgp(keys::sequoia_v6()), pgp(keys::openpgpjs())] },
        Profile { name: "rfc4880", keys: [pgp(keys::gpg_cv25519()), pgp(keys::gpg_rsa4096())] },
        Profile {
            name: "age",
            keys: [(&keys::age().public, &keys::age().secret), (&keys::ssh_ed25519().public, &keys::ssh_ed25519().secret)],
        },
    ]
}

/// A case's name, and what is made of a log in it.
type Case = (&'static str, fn(&mut Maker));

const CASES: [Case; 6] = [
    // As small as a log in two files with a mark can be; `fuzz/` starts at it.
    ("small", |log| {
        log.run(&[], 0..4);
        fs::rename(log.file(), log.at("a.log.1")).unwrap();
        log.run(&[], 4..8);
        log.run(&[], 8..12);
        log.sealedlog("mark");
        fs::rename(log.at("a.log.1"), log.at(&format!("a.1.{}", log.suffix()))).unwrap();
    }),
    // Three runs in two files, with epochs that are used up, and a mark.
    ("whole", |log| {
        log.run(&[], 0..90);
        fs::rename(log.file(), log.at("a.log.1")).unwrap();
        log.run(&[], 90..100);
        log.run(&[], 100..110);
        log.sealedlog("mark");
        fs::rename(log.at("a.log.1"), log.at(&format!("a.1.{}", log.suffix()))).unwrap();
    }),
    // One record a line of base64, and a body in pieces.
    ("text", |log| log.run(&["--framing", "base64", "--max-line", "64"], 0..12)),
    // A writer that was killed, with its last records cut off.
    ("truncated", |log| {
        log.run(&[], 0..5);
        log.killed(5..25);
        log.cut(700);
        log.run(&[], 25..30);
    }),
    // A change of keys while a filter runs.
    ("recipients", |log| {
        let mut running = log.seal(&[]).spawn().unwrap();
        log.write(&mut running, 0..5);
        log.change_keys();
        std::thread::sleep(Duration::from_secs(2));
        log.write(&mut running, 5..10);
        drop(running.stdin.take());
        assert!(running.wait().unwrap().success());
    }),
    // A restart after an intrusion; the fingerprint of the new stream is not known.
    ("restart", |log| {
        log.run(&[], 0..5);
        log.sealedlog("restart");
        log.run(&[], 5..10);
    }),
];

#[test]
fn what_version_1_has_sealed_is_opened_and_verified() {
    let mut checked = 0;
    for profile in ["rfc9580", "rfc4880", "age"] {
        for (case, _) in CASES {
            let folder = vectors().join(profile).join(case);
            let genesis = fs::read_to_string(folder.join("genesis")).unwrap();
            let audit = |command: &str| {
                let mut audit = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
                audit.current_dir(&folder).args([command, "log", "--genesis", genesis.trim()]);
                for secret in fs::read_dir(folder.join("secret")).unwrap() {
                    audit.arg("--key").arg(secret.unwrap().path());
                }
                audit
            };
            let opened = audit("open").arg("--all").output().unwrap();
            let lines = fs::read(folder.join("lines")).unwrap();
            assert_eq!(String::from_utf8_lossy(&opened.stdout), String::from_utf8_lossy(&lines), "{profile} {case}");
            let verified = audit("verify").arg("--json").output().unwrap();
            let expected = fs::read_to_string(folder.join("findings.json")).unwrap();
            let said = String::from_utf8(verified.stdout).unwrap();
            assert_eq!(without_messages(&said), without_messages(&expected), "{profile} {case}");
            assert_eq!(verified.status.code(), Some(i32::from(expected.lines().count() > 1)), "{profile} {case}");
            checked += 1;
        }
    }
    assert_eq!(checked, 3 * CASES.len());
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The words may become better; everything else stays.
fn without_messages(json: &str) -> Vec<Value> {
    json.lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            value.as_object_mut().unwrap().remove("message");
            value
        })
        .collect()
}

/// Makes one case.
struct Maker {
    folder: tempfile::TempDir,
    keys: [(&'static Path, &'static Path); 2],
    lines: Vec<Vec<u8>>,
    sealed: Vec<u8>,
}

impl Maker {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("log").join(name)
    }

    fn file(&self) -> PathBuf {
        let found = fs::read_dir(self.folder.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
        let newest = found.into_iter().filter(|path| path.to_string_lossy().contains("/a.log.") && !path.ends_with("a.log.1"));
        newest.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap()
    }

    fn suffix(&self) -> String {
        self.file().extension().unwrap().to_string_lossy().into_owned()
    }

    /// On a host of another name than this one: control records tell it.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--uts", "sh", "-c", "hostname www.example.org && exec \"$@\"", "sh"]);
        command.arg(env!("CARGO_BIN_EXE_sealedlog"));
        let at = |name: &str| self.folder.path().join(name);
        command.arg(name).arg("--state").arg(at("state")).arg("--runtime").arg(at("run"));
        command
    }

    fn seal(&self, options: &[&str]) -> Command {
        let mut command = self.command("seal");
        command.arg("--keys").arg(self.folder.path().join("keys")).arg("-o").arg(self.at("a.log")).args(options);
        command.stdin(Stdio::piped());
        command
    }

    fn run(&mut self, options: &[&str], lines: std::ops::Range<usize>) {
        let mut child = self.seal(options).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&self.lines[lines.clone()].concat()).unwrap();
        assert!(child.wait().unwrap().success());
        self.sealed.extend(self.lines[lines].concat());
    }

    fn killed(&mut self, lines: std::ops::Range<usize>) {
        let before = fs::metadata(self.file()).unwrap().len();
        let text = self.lines[lines].concat();
        let mut child = self.seal(&[]).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(&text).unwrap();
        assert!(wait_for(Duration::from_secs(10), || fs::metadata(self.file()).unwrap().len() > before + text.len() as u64));
        std::thread::sleep(Duration::from_millis(300));
        child.kill().unwrap();
        child.wait().unwrap();
        self.sealed.extend(text);
    }

    fn write(&mut self, child: &mut Child, lines: std::ops::Range<usize>) {
        let text = self.lines[lines].concat();
        child.stdin.as_mut().unwrap().write_all(&text).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        self.sealed.extend(text);
    }

    fn cut(&self, bytes: u64) {
        let file = fs::OpenOptions::new().write(true).open(self.file()).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length - bytes).unwrap();
    }

    fn change_keys(&self) {
        fs::remove_dir_all(self.folder.path().join("keys")).unwrap();
        self.put_key(1);
    }

    fn put_key(&self, number: usize) {
        let keys = self.folder.path().join("keys");
        fs::create_dir_all(&keys).unwrap();
        let public = self.keys[number].0;
        fs::copy(public, keys.join(public.file_name().unwrap())).unwrap();
    }

    fn sealedlog(&self, command: &str) {
        assert!(self.command(command).output().unwrap().status.success());
    }
}

#[test]
fn cases_that_are_not_there_are_made_where_that_is_asked_for() {
    if std::env::var_os("SEALEDLOG_FREEZE").is_none() {
        return;
    }
    for Profile { name, keys } in profiles() {
        for (case, make) in CASES {
            let target = vectors().join(name).join(case);
            if target.exists() {
                continue;
            }
            let folder = tempfile::Builder::new().prefix("sealedlog-example-").tempdir().unwrap();
            fs::create_dir(folder.path().join("log")).unwrap();
            let mut log = Maker { folder, keys, lines: some_lines(4, 110), sealed: Vec::new() };
            log.put_key(0);
            make(&mut log);
            fs::create_dir_all(target.join("log")).unwrap();
            fs::create_dir_all(target.join("secret")).unwrap();
            for file in fs::read_dir(log.folder.path().join("log")).unwrap().map(|entry| entry.unwrap().path()) {
                fs::copy(&file, target.join("log").join(file.file_name().unwrap())).unwrap();
            }
            for (_, secret) in &keys[..if case == "recipients" { 2 } else { 1 }] {
                fs::copy(secret, target.join("secret").join(secret.file_name().unwrap())).unwrap();
            }
            // The first genesis is what an administrator would have written down: here the auditor's word is taken for it.
            let audit = |command: &str, options: &[&str]| {
                let mut audit = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
                audit.current_dir(&target).args([command, "log"]).args(options);
                for secret in fs::read_dir(target.join("secret")).unwrap() {
                    audit.arg("--key").arg(secret.unwrap().path());
                }
                audit.output().unwrap()
            };
            let ledger = log.folder.path().join("ledger");
            let ledger_path = ledger.to_string_lossy();
            audit("verify", &["--trust-first", "--ledger", ledger_path.as_ref()]);
            let ledger: Value = serde_json::from_slice(&fs::read(&ledger).unwrap()).unwrap();
            let first = ledger["streams"].as_array().unwrap().iter().min_by_key(|stream| stream["began"].as_str().unwrap());
            let genesis = first.unwrap()["genesis"].as_str().unwrap().to_owned();
            fs::write(target.join("genesis"), format!("{genesis}\n")).unwrap();
            let verified = audit("verify", &["--json", "--genesis", &genesis]);
            let said = without_messages(&String::from_utf8(verified.stdout).unwrap());
            let said: String = said.iter().map(|value| format!("{value}\n")).collect();
            fs::write(target.join("findings.json"), said).unwrap();
            let opened = audit("open", &["--all", "--genesis", &genesis]);
            assert!(["truncated", "restart"].contains(&case) || opened.stdout == log.sealed, "{name} {case}");
            fs::write(target.join("lines"), opened.stdout).unwrap();
        }
    }
}
