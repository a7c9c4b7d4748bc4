//! The ledger over audits: what was done to files since the last one, and what was done to the ledger itself; who has used the logs;
//! and the list of logs that should be there.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealedlog::control::GenesisFingerprint;
use serde_json::Value;

use common::keys;
use common::sealed::{Place, names, seal_all};

/// A server's logs, and a desk with a ledger.
struct Audits {
    place: Place,
    desk: tempfile::TempDir,
}

/// What a command said.
struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    /// The names of the findings of `verify --json`.
    fn findings(&self) -> Vec<String> {
        let lines = self.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter_map(|line| line["finding"].as_str().map(str::to_owned)).collect()
    }

    /// The head that the ledger has now.
    fn head(&self) -> String {
        let note = self.stderr.lines().find_map(|line| line.split_once(" has the head ")).expect("it is told");
        note.1.split(" now").next().unwrap().to_owned()
    }
}

impl Audits {
    fn new() -> Self {
        let place = Place::new(&[&keys::sequoia_v6().public]);
        let audits = Self { place, desk: tempfile::tempdir().unwrap() };
        audits.seal("x.log", "one\ntwo\n");
        audits
    }

    fn seal(&self, name: &str, lines: &str) {
        assert!(seal_all(&mut self.place.seal_to(name), lines.as_bytes()).status.success());
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path("log").join(name)
    }

    fn ledger(&self) -> PathBuf {
        self.desk.path().join("audits.json")
    }

    fn run(&self, command: &str, words: &[&str]) -> Said {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
        program.arg(command).arg(self.place.path("log")).arg("--key").arg(&keys::sequoia_v6().secret).args(words);
        let output = program.env("XDG_STATE_HOME", self.desk.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { status: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn verify(&self, words: &[&str]) -> Said {
        let ledger = self.ledger();
        self.run("verify", &[&["--json", "--ledger", ledger.to_str().unwrap()], words].concat())
    }

    /// The fingerprints that an administrator would have written down, in a file.
    fn genesis(&self) -> PathBuf {
        let state = self.place.path("state");
        let path = self.desk.path().join("genesis.txt");
        let lines = names(&state).into_iter().map(|stream| {
            let genesis = GenesisFingerprint::of(&fs::read(state.join(&stream).join("genesis")).unwrap());
            format!("# {stream}\n{genesis}\n\n")
        });
        fs::write(&path, lines.collect::<String>()).unwrap();
        path
    }

    fn audits(&self) -> Vec<Value> {
        let ledger = fs::read_to_string(self.ledger()).unwrap();
        let ledger: Value = serde_json::from_str(ledger.lines().next().unwrap()).unwrap();
        ledger["audits"].as_array().unwrap().clone()
    }
}

#[test]
fn what_was_cut_changed_or_removed_since_the_last_audit_is_found() {
    let audits = Audits::new();
    audits.seal("y.log", "three\n");
    let genesis = audits.genesis();
    let said = audits.verify(&["--genesis-file", genesis.to_str().unwrap()]);
    assert_eq!((said.status, said.findings()), (0, vec![]), "{}", said.stderr);
    // Lines that came since are no finding.
    audits.seal("x.log", "four\n");
    assert_eq!(audits.verify(&[]).status, 0);

    let (x, y) = (audits.file("x.log.pgp"), audits.file("y.log.pgp"));
    let (whole_x, whole_y) = (fs::read(&x).unwrap(), fs::read(&y).unwrap());
    let finds = |kind: &str| {
        let said = audits.verify(&[]);
        assert!(said.status == 1 && said.findings().contains(&kind.to_owned()), "{kind}: {}", said.stdout);
        fs::write(&x, &whole_x).unwrap();
        fs::write(&y, &whole_y).unwrap();
        assert_eq!(audits.verify(&[]).status, 0, "as it was");
    };
    fs::write(&x, &whole_x[..whole_x.len() - 700]).unwrap();
    finds("truncated");
    fs::remove_file(&y).unwrap();
    finds("missing");
    // Sealed anew by who has the public key only.
    fs::remove_file(&y).unwrap();
    let other = Place::new(&[&keys::sequoia_v6().public]);
    let mut command = other.seal();
    command.arg("-o").arg(&y);
    assert!(seal_all(&mut command, b"three, or so\n").status.success());
    finds("missing");
}

#[test]
fn a_ledger_that_is_lost_old_or_changed_is_told() {
    let audits = Audits::new();
    let genesis = audits.genesis();
    let rooted = ["--genesis-file", genesis.to_str().unwrap()];
    assert_eq!(audits.verify(&rooted).status, 0);
    let old = fs::read(audits.ledger()).unwrap();
    let said = audits.verify(&[]);
    let (newest, head) = (fs::read(audits.ledger()).unwrap(), said.head());
    assert_eq!(said.status, 0);

    fs::write(audits.ledger(), &old).unwrap();
    let said = audits.verify(&[]);
    assert_eq!((said.status, said.findings()), (1, vec!["ledger".to_owned()]));
    assert!(said.stdout.contains("an older copy: it was written 1 times, and 2 times until"), "{}", said.stdout);

    fs::remove_file(audits.ledger()).unwrap();
    let said = audits.verify(&rooted);
    assert_eq!((said.status, said.findings()), (1, vec!["ledger".to_owned()]));
    assert!(said.stdout.contains("is gone: it was written 3 times"), "{}", said.stdout);

    // An entry taken out; with a seal of another key; cut short.
    let text = String::from_utf8(newest.clone()).unwrap();
    let changed = text.replacen("\"command\":\"verify\"", "\"command\":\"open\"", 1);
    for changed in [changed.as_bytes(), &newest[..newest.len() - 10]] {
        fs::write(audits.ledger(), changed).unwrap();
        let said = audits.verify(&[]);
        assert_eq!(said.status, 2, "{}", said.stderr);
        assert!(
            said.stderr.contains("error: cannot use the ledger") && said.stderr.contains("it was changed"),
            "{}",
            said.stderr
        );
        assert_eq!(fs::read(audits.ledger()).unwrap(), changed, "it is left as it is");
    }

    // On another desk its head from paper tells what it is.
    fs::write(audits.ledger(), &newest).unwrap();
    let other = Audits { place: audits.place, desk: tempfile::tempdir().unwrap() };
    fs::write(other.ledger(), &newest).unwrap();
    let said = other.verify(&[]);
    assert_eq!((said.status, said.findings()), (1, vec!["unproven".to_owned()]), "{}", said.stderr);
    assert!(said.stdout.contains(&head), "{}", said.stdout);
    fs::remove_dir_all(other.desk.path().join("sealedlog")).unwrap();
    fs::write(other.ledger(), &newest).unwrap();
    assert_eq!(other.verify(&["--ledger-head", &head]).status, 0);
    fs::remove_dir_all(other.desk.path().join("sealedlog")).unwrap();
    fs::write(other.ledger(), &old).unwrap();
    assert_eq!(other.verify(&["--ledger-head", &head]).status, 2);
}

#[test]
fn each_use_is_in_the_ledger_with_who_and_when() {
    let audits = Audits::new();
    let ledger = audits.ledger();
    let ledger = ["--ledger", ledger.to_str().unwrap()];
    let before = jiff::Timestamp::now();
    let said = audits.verify(&["--trust-first", "--auditor", "Anna"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert_eq!(audits.run("open", &ledger).stdout, "one\ntwo\n");
    let used = audits.audits();
    let field = |name: &str| used.iter().map(|audit| audit[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("command"), ["verify", "open"]);
    assert_eq!(field("auditor")[0], "Anna");
    assert!(!field("auditor")[1].as_str().unwrap().is_empty(), "the account's name");
    assert_eq!((field("trust_first"), field("files")), (vec![true.into(), Value::Null], vec![1.into(), 1.into()]));
    for time in field("time") {
        let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
        assert!(time.duration_since(before).as_secs() < 60 && time >= before - std::time::Duration::from_millis(1));
    }
}

#[test]
fn logs_that_should_be_there_are_missed() {
    let audits = Audits::new();
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let list = audits.desk.path().join("logs.txt");
    let expects = |lines: &str| {
        fs::write(&list, lines.replace("HOST", &host)).unwrap();
        audits.run("verify", &["--json", "--trust-first", "--expect", list.to_str().unwrap()])
    };
    let said = expects("HOST x.log\nHOST log/x.log 1d\n");
    assert_eq!((said.status, said.findings()), (0, vec![]), "{}", said.stdout);
    assert_eq!(expects("HOST y.log\nother x.log\n").findings(), ["absent", "absent"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(expects("HOST x.log 1s\n").findings(), ["silent"]);
    fs::write(audits.file("x.log.1"), "plain\n").unwrap();
    assert_eq!(expects("HOST x.log\n").findings(), ["unsealed"]);
    let said = expects("HOST x.log a while\n");
    assert!(said.status == 2 && said.stderr.contains("logs.txt: line 1: "), "{}", said.stderr);
    assert!(Path::new(&list).exists());
}
