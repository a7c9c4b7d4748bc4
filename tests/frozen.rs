//! Files that version 1 of the format has sealed, kept for ever: every later version opens and verifies them.
//!
//! `tests/vectors/PROFILE/CASE/` has the sealed files, the secret keys, the lines and what the verifier says. A case that
//! is there is never made again; `SEALEDLOG_FREEZE=1 cargo test --features audit --test frozen` makes those that are not.

#![cfg(feature = "audit")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::keys;
use common::tampered::{records, some_lines};
use common::tools::{SOON, wait_for, wait_idle};
use sealedlog::control::{Gap, Hex};
use sealedlog::stream::claim::Claimant;
use sealedlog::stream::state::{Config, StateFolder};
use sealedlog::stream::{Writer, WriterOptions};
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

const CASES: [Case; 20] = [
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
    // Each finding that is not among the above: what the case is called is what is found.
    ("altered", |log| {
        log.run(&[], 0..12);
        // The last letter but some of a line of base64, or a byte of the authentication tag.
        log.edit(|records| {
            let at = records[6].len() - 9;
            records[6][at] = if records[6][at] == b'A' { b'B' } else { b'A' };
        });
    }),
    ("missing", |log| {
        log.run(&[], 0..12);
        log.edit(|records| drop(records.drain(6..8)));
    }),
    ("duplicated", |log| {
        log.run(&[], 0..12);
        log.edit(|records| records.insert(9, records[6].clone()));
    }),
    ("reordered", |log| {
        log.run(&[], 0..12);
        log.edit(|records| records.swap(6, 8));
    }),
    ("foreign", |log| {
        log.run(&[], 0..12);
        // For the same key, out of another stream.
        let other = log.fresh();
        let mut stranger = log.sealedlog_seal(&other).spawn().unwrap();
        stranger.stdin.take().unwrap().write_all(b"not from here\n").unwrap();
        assert!(stranger.wait().unwrap().success());
        let file = fs::read_dir(other.path().join("log")).unwrap().next().unwrap().unwrap().path();
        let sealed = fs::read(file).unwrap();
        let record = sealed[records(&sealed)[2].clone()].to_vec();
        log.edit(|records| records.insert(6, record));
    }),
    ("forked", |log| {
        log.run(&[], 0..4);
        let kept = log.fresh();
        let copy = |from: &Path, to: &Path| {
            assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
        };
        copy(&log.folder.path().join("state"), kept.path());
        log.run(&[], 4..8);
        // An older state is put back.
        fs::remove_dir_all(log.folder.path().join("state")).unwrap();
        copy(&kept.path().join("state"), log.folder.path());
        log.run(&[], 8..10);
    }),
    ("replaced", |log| {
        log.run(&[], 0..6);
        fs::remove_dir_all(log.folder.path().join("state")).unwrap();
        log.run(&[], 6..12);
    }),
    ("unmarked", |log| {
        log.run(&[], 0..6);
        log.options = "--marked-since 2100-01-01T00:00:00Z";
    }),
    ("garbage", |log| {
        log.run(&[], 0..12);
        log.edit(|records| records.insert(6, b"This is none of the log's records.\n".to_vec()));
    }),
    // A short write, and the record again.
    ("torn", |log| {
        log.run(&[], 0..12);
        log.edit(|records| {
            let mut torn = records[6][..records[6].len() / 2].to_vec();
            if records[6][0] < 0x80 {
                torn.push(b'\n');
            }
            records.insert(6, torn);
        });
    }),
    // A writer that was killed, and what it had told of its progress is gone.
    ("unproven", |log| {
        log.run(&[], 0..3);
        log.killed(3..9);
        for folder in ["run", "state"] {
            for stream in fs::read_dir(log.folder.path().join(folder)).unwrap() {
                for file in fs::read_dir(stream.unwrap().path()).unwrap().map(|file| file.unwrap().path()) {
                    if file.file_name().unwrap().to_string_lossy().starts_with("progress-") {
                        fs::remove_file(file).unwrap();
                    }
                }
            }
        }
        log.run(&[], 9..12);
    }),
    ("unanchored", |log| {
        log.run(&[], 0..6);
        log.genesis_is_known = false;
    }),
    ("gap", |log| {
        let (mut writer, now) = (log.writer(), jiff::Timestamp::now());
        log.write_with(&mut writer, 0..6);
        writer.gap(Gap { lines: 7, bytes: 1234, from: now, to: now, why: "disk full".to_owned() }, now).unwrap();
        log.write_with(&mut writer, 6..12);
        writer.finish().unwrap();
    }),
    // The state could not be used for a while.
    ("ephemeral", |log| {
        let mut writer = log.writer();
        log.write_with(&mut writer, 0..4);
        let (state, away) = (log.folder.path().join("state"), log.folder.path().join("away"));
        fs::rename(&state, &away).unwrap();
        fs::write(&state, "in its place").unwrap();
        log.write_with(&mut writer, 4..80);
        fs::remove_file(&state).unwrap();
        fs::rename(&away, &state).unwrap();
        writer.tick().unwrap();
        log.write_with(&mut writer, 80..84);
        writer.finish().unwrap();
    }),
];

/// All that `docs/format.md`, section 8.4, says can be found.
const FINDINGS: [&str; 16] = [
    "altered",
    "missing",
    "duplicated",
    "reordered",
    "foreign",
    "truncated",
    "forked",
    "replaced",
    "unmarked",
    "garbage",
    "torn",
    "unproven",
    "unanchored",
    "gap",
    "recipients",
    "ephemeral",
];

#[test]
fn what_version_1_has_sealed_is_opened_and_verified() {
    for profile in ["rfc9580", "rfc4880", "age"] {
        let mut found = BTreeSet::new();
        for (case, _) in CASES {
            let folder = vectors().join(profile).join(case);
            let opened = audit(&folder, "open").args(all(case)).output().unwrap();
            let lines = fs::read(folder.join("lines")).unwrap();
            assert_eq!(String::from_utf8_lossy(&opened.stdout), String::from_utf8_lossy(&lines), "{profile} {case}");
            let verified = audit(&folder, "verify").arg("--json").args(options(&folder)).output().unwrap();
            let expected = fs::read_to_string(folder.join("findings.json")).unwrap();
            let (said, expected) = (without_messages(&String::from_utf8(verified.stdout).unwrap()), without_messages(&expected));
            assert_eq!(said, expected, "{profile} {case}");
            assert_eq!(verified.status.code(), Some(i32::from(expected.len() > 1)), "{profile} {case}");
            found.extend(expected.iter().filter_map(|line| Some(line.get("finding")?.as_str()?.to_owned())));
        }
        assert_eq!(found, FINDINGS.iter().map(|&name| name.to_owned()).collect(), "{profile}");
    }
}

/// `sealedlog-audit` on the case in this folder, with its keys and the genesis that an administrator wrote down, if he did.
fn audit(folder: &Path, command: &str) -> Command {
    let mut audit = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    audit.current_dir(folder).args([command, "log"]);
    if let Ok(genesis) = fs::read_to_string(folder.join("genesis")) {
        audit.args(["--genesis", genesis.trim()]);
    }
    for secret in fs::read_dir(folder.join("secret")).unwrap() {
        audit.arg("--key").arg(secret.unwrap().path());
    }
    audit
}

/// Lines are compared with those out of place, too; of a stream that stood in for another these are not only lines.
fn all(case: &str) -> Option<&'static str> {
    (case != "ephemeral").then_some("--all")
}

/// What else `verify` is asked for in this case.
fn options(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("options")).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
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
    /// What else `verify` is asked for.
    options: &'static str,
    /// Somebody wrote its fingerprint down.
    genesis_is_known: bool,
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
        assert!(wait_for(SOON, || fs::metadata(self.file()).unwrap().len() > before + text.len() as u64));
        wait_idle(child.id());
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

    /// Changes the file, record by record.
    fn edit(&self, edit: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let sealed = fs::read(self.file()).unwrap();
        let mut parts = records(&sealed).into_iter().map(|range| sealed[range].to_vec()).collect();
        edit(&mut parts);
        fs::write(self.file(), parts.concat()).unwrap();
    }

    /// Another folder, for a log of the same name.
    fn fresh(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("log")).unwrap();
        folder
    }

    /// Seals with the same keys in another folder.
    fn sealedlog_seal(&self, other: &tempfile::TempDir) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
        let at = |name: &str| other.path().join(name);
        command.arg("seal").arg("--keys").arg(self.folder.path().join("keys")).arg("-o").arg(at("log/a.log"));
        command.arg("--state").arg(at("state")).arg("--runtime").arg(at("run")).stdin(Stdio::piped());
        command
    }

    /// A writer of our own, for what takes a full disk or a minute's patience in the programs.
    fn writer(&self) -> Writer {
        let at = |name: &str| self.folder.path().join(name);
        let recipients = Arc::new(sealedlog::keys::load(&[at("keys")], None).unwrap().recipients);
        let (profile, framing) = (recipients.profile(), recipients.profile().framing());
        let host = "www.example.org".to_owned();
        let claimant = Claimant {
            writer: Hex([7; 8]),
            recipients,
            host: host.clone(),
            log: "/var/log/a.log".to_owned(),
            software: "sealedlog".to_owned(),
            memory_locked: true,
            lacks: Vec::new(),
        };
        let state = Some(StateFolder::new(&at("state"), &at("run"), &at("log"), "a.log"));
        let config = Config {
            log: "/var/log/a.log".into(),
            keys: Vec::new(),
            framing: framing.name().to_owned(),
            host,
            profile: None,
            window: None,
        };
        let options = WriterOptions { claimant, state, config, framing, retry_state: Duration::ZERO, mark_idle: None };
        let mut writer = Writer::new(options);
        writer.enter(&self.at(&format!("a.log{}", profile.suffix(framing))), false).unwrap();
        writer
    }

    fn write_with(&mut self, writer: &mut Writer, lines: std::ops::Range<usize>) {
        for line in &self.lines[lines.clone()] {
            writer.line(line, jiff::Timestamp::now()).unwrap();
        }
        writer.flush().unwrap();
        self.sealed.extend(self.lines[lines].concat());
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
            let lines = some_lines(4, 110);
            let mut log = Maker { folder, keys, lines, sealed: Vec::new(), options: "", genesis_is_known: true };
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
            if log.genesis_is_known {
                // The first genesis is what an administrator would have written down: here the auditor's word is taken for it.
                let ledger = log.folder.path().join("ledger");
                audit(&target, "verify")
                    .arg("--trust-first")
                    .arg("--ledger")
                    .arg(&ledger)
                    .env("XDG_STATE_HOME", &target)
                    .output()
                    .unwrap();
                let ledger = fs::read_to_string(&ledger).unwrap();
                let ledger: Value = serde_json::from_str(ledger.lines().next().unwrap()).unwrap();
                let first = ledger["streams"].as_array().unwrap().iter().min_by_key(|stream| stream["began"].as_str().unwrap());
                fs::write(target.join("genesis"), format!("{}\n", first.unwrap()["genesis"].as_str().unwrap())).unwrap();
            }
            if !log.options.is_empty() {
                fs::write(target.join("options"), log.options).unwrap();
            }
            let verified = audit(&target, "verify").arg("--json").args(options(&target)).output().unwrap();
            let said = without_messages(&String::from_utf8(verified.stdout).unwrap());
            let told = |name: &str| said.iter().any(|line| line.get("finding").is_some_and(|finding| finding == name));
            assert!(told(case) || !FINDINGS.contains(&case), "{name} {case}: {said:?}");
            let said: String = said.iter().map(|value| format!("{value}\n")).collect();
            fs::write(target.join("findings.json"), said).unwrap();
            let opened = audit(&target, "open").args(all(case)).output().unwrap();
            let is_whole = ["whole", "small", "text", "recipients", "gap", "ephemeral", "unmarked", "unanchored"].contains(&case);
            assert!(!is_whole || opened.stdout == log.sealed, "{name} {case}");
            fs::write(target.join("lines"), opened.stdout).unwrap();
        }
    }
}
