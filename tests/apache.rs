//! A real Apache writes its logs through `sealedlog-apache`; an auditor opens and verifies what it wrote.
//!
//! Each request has an id of its own, so what comes back is compared with what was asked: every answered request
//! exactly once. `verify` has to be silent where nothing happened, and to say exactly what did.
#![cfg(feature = "audit")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use sealedlog::audit::read::{Found, Opener, RecordReader};
use sealedlog::control::{Control, Event, Gap, WriterId};
use sealedlog::identity::{Descriptor, Identities};
use sealedlog::input::READ_ROOM;
use serde_json::Value;
use tempfile::TempDir;

use common::apache::{Apache, quoted};
use common::disk::SmallDisk;
use common::keys;
use common::load::{Answers, ids};
use common::tools::{SOON, catches, must, wait_for};

const FILTER: &str = env!("CARGO_BIN_EXE_sealedlog-apache");
const AUDIT: &str = env!("CARGO_BIN_EXE_sealedlog-audit");

#[test]
fn every_line_comes_back_over_reload_restart_and_stop_rfc9580() {
    over_reload_restart_and_stop(&Site::new(), 6000);
}

#[test]
fn every_line_comes_back_over_reload_restart_and_stop_rfc4880() {
    let key = keys::gpg_cv25519();
    over_reload_restart_and_stop(&Site::with(&key.public, &key.secret), 3000);
}

#[test]
fn every_line_comes_back_over_reload_restart_and_stop_age() {
    let key = keys::age();
    over_reload_restart_and_stop(&Site::with(&key.public, &key.secret), 3000);
}

fn over_reload_restart_and_stop(site: &Site, requests: usize) {
    let errors = Site::with(&site.public, &site.secret);
    let apache = Apache::start(
        &[
            site.access("access.log"),
            format!("ErrorLog {}", quoted(&format!("|{}", errors.command("--until-term", "error.log")))),
            "<LocationMatch ^/denied>\nRequire all denied\n</LocationMatch>".to_owned(),
        ],
        &[],
    );
    let mut denied = vec![];
    denied.extend(refused(&apache, "first", 50));
    let mut load = apache.load("load", requests, 8);
    // Slow enough to last over all that happens to the server.
    load.pause = Duration::from_millis(3);
    let mut reloads = vec![];
    let more = AtomicBool::new(true);
    let mut answers = thread::scope(|scope| {
        let running = scope.spawn(|| load.run_while(&more));
        let mut reload = || {
            let before = Instant::now();
            graceful(&apache);
            reloads.push(before.elapsed());
        };
        site.wait_writers(&apache);
        reload();
        site.wait_writers(&apache);
        reload();
        site.wait_writers(&apache);
        let slow = apache.slow("slow");
        reload();
        // Both generations of the program write to one file now.
        site.wait_writers(&apache);
        let mut answers = slow.finish();
        apache.wait_old_workers();
        denied.extend(refused(&apache, "reloaded", 50));
        apache.restart();
        more.store(false, Ordering::Relaxed);
        answers.add(running.join().unwrap());
        answers
    });
    denied.extend(refused(&apache, "restarted", 50));
    // Again, so that it is certain that some come after the restart.
    answers.add(apache.load("after", 200, 8).run());
    site.wait_logged(&answers);
    apache.stop();

    // Apache would wait three seconds for a program that does not end when it is told to, and kill it then.
    assert!(reloads.iter().any(|time| *time < Duration::from_secs(3)), "{reloads:?}");
    let asked = answers.answered.len() + answers.unanswered.len();
    assert!(asked >= requests && answers.answered.len() > asked * 9 / 10, "{:?}", answers.unanswered);
    assert!(answers.answered.contains(&"slow".to_owned()), "{:?}", answers.unanswered);
    assert_eq!(site.genesis().len(), 1);
    assert_eq!(answers.differences(&site.open()), Vec::<String>::new());
    let audit = site.verify();
    assert_eq!((audit.status, &audit.findings), (0, &vec![]), "{}", audit.text);
    // Those of the server's own connections to itself included.
    assert_eq!(audit.summary["lines"], site.open().iter().filter(|byte| **byte == b'\n').count());
    assert_eq!(audit.summary["anchored"], true);
    let controls = site.controls();
    assert!(writers(&controls).len() >= 5, "start, three reloads, restart: {controls:?}");
    assert!(interleaved(&controls), "two programs wrote to one file at the same time: {controls:?}");

    let audit = errors.verify();
    assert_eq!((audit.status, &audit.findings), (0, &vec![]), "{}", audit.text);
    let controls = errors.controls();
    let closed: BTreeSet<_> =
        controls.iter().filter(|control| matches!(control.event, Event::Close(_))).map(|control| control.writer).collect();
    assert_eq!(writers(&controls), closed, "a program was killed");
    let told = String::from_utf8(errors.open()).unwrap();
    assert!(told.matches("resuming normal operations").count() >= 5, "{told}");
    for id in denied {
        assert_eq!(told.matches(&format!("/denied-{id}\n")).count(), 1, "{id}: {told}");
    }
}

#[test]
fn a_program_that_started_and_had_no_line_leaves_nothing() {
    let site = Site::new();
    let apache = Apache::start(&[site.access("access.log")], &[]);
    // Just after its start a process has no command line yet.
    let runs = || apache.programs().iter().any(|(_, line)| line.contains("sealedlog-apache"));
    assert!(wait_for(SOON, runs), "{:?}", apache.programs());
    apache.stop();
    assert_eq!(site.left(), Vec::<PathBuf>::new());
}

#[test]
fn what_a_killed_program_wrote_stays_and_the_next_one_goes_on() {
    let site = Site::new();
    let apache = Apache::start(&[site.access("access.log")], &[]);
    let mut load = apache.load("load", 6000, 8);
    load.pause = Duration::from_millis(2);
    let mut killed = BTreeSet::new();
    let file = site.logs().join("access.log.pgp");
    let more = AtomicBool::new(true);
    let answers = thread::scope(|scope| {
        let running = scope.spawn(|| load.run_while(&more));
        for _ in 0..3 {
            let program = |killed: &BTreeSet<u32>| {
                apache.programs().into_iter().find(|(id, line)| line.contains(FILTER) && !killed.contains(id))
            };
            let length = || fs::metadata(&file).map_or(0, |metadata| metadata.len());
            let before = length();
            // It has a request behind it, so it has lines.
            assert!(wait_for(SOON, || length() > before + 20_000), "{}", apache.errors());
            let (id, _) = program(&killed).expect("Apache starts it anew");
            kill(Pid::from_raw(id as i32), Signal::SIGKILL).unwrap();
            killed.insert(id);
            let written = fs::read(&file).unwrap();
            assert!(wait_for(SOON, || program(&killed).is_some()), "{}", apache.errors());
            assert!(wait_for(SOON, || length() > written.len() as u64), "{}", apache.errors());
            thread::sleep(Duration::from_millis(300));
            assert!(fs::read(&file).unwrap().starts_with(&written), "a program changed what another one wrote");
        }
        more.store(false, Ordering::Relaxed);
        running.join().unwrap()
    });
    site.wait_at_rest();
    apache.stop();

    assert!(answers.answered.len() > 5900 && answers.unanswered.len() < 100, "{:?}", answers.unanswered);
    let opened = site.open();
    let seen = ids(&opened);
    assert!(seen.values().all(|times| *times == 1));
    // What it had read and not written is lost; what waits in the pipe is not.
    let line = opened.split(|byte| *byte == b'\n').next().unwrap().len();
    let lost = answers.answered.len() - seen.len();
    assert!(lost <= killed.len() * 2 * READ_ROOM / line, "{lost}");
    let audit = site.verify();
    let cut: Vec<_> = audit.findings.iter().filter(|finding| finding["finding"] != "torn").collect();
    assert!(cut.is_empty(), "{}", audit.text);
    assert_eq!(audit.status, i32::from(!audit.findings.is_empty()));
    // A write that the kill cut short shows in the file's length as the next program found it.
    let torn =
        site.controls().iter().filter(|control| matches!(&control.event, Event::Resume(resume) if resume.torn > 0)).count();
    assert_eq!(audit.findings.len(), torn, "{}", audit.text);
    assert_eq!(writers(&site.controls()).len(), killed.len() + 1);
}

#[test]
fn lines_are_complete_over_files_that_rotate_each_second() {
    let site = rotating("access.log 1");
    let files = site.files();
    assert!(files.len() >= 3, "{files:?}");
    assert_eq!(site.genesis().len(), 1);
}

#[test]
fn lines_are_complete_over_files_that_rotate_by_size() {
    let site = rotating("access.log 50K");
    let files = site.files();
    assert!(files.len() >= 3, "{files:?}");
}

/// Load over two reloads with these operands.
fn rotating(operands: &str) -> Site {
    let site = Site::new();
    let apache = Apache::start(&[site.access(operands)], &[]);
    let mut load = apache.load("load", 6000, 8);
    load.pause = Duration::from_millis(4);
    let more = AtomicBool::new(true);
    let answers = thread::scope(|scope| {
        let running = scope.spawn(|| load.run_while(&more));
        let mut answers = vec![];
        for name in ["slow-0", "slow-1"] {
            thread::sleep(Duration::from_millis(700));
            site.wait_writers(&apache);
            let slow = apache.slow(name);
            graceful(&apache);
            site.wait_writers(&apache);
            let before = site.files().len();
            thread::sleep(Duration::from_millis(1200));
            // The old program's file has been left by the new one.
            assert!(wait_for(SOON, || site.files().len() > before), "{:?}", site.files());
            answers.push(slow.finish());
        }
        more.store(false, Ordering::Relaxed);
        let mut all = running.join().unwrap();
        answers.into_iter().for_each(|answer| all.add(answer));
        all
    });
    site.wait_logged(&answers);
    apache.stop();
    // A reload closes idle connections, at times while the next request is on its way.
    assert!(answers.only_closed(), "{:?}", answers.unanswered);
    assert_eq!(answers.differences(&site.open()), Vec::<String>::new());
    let audit = site.verify();
    assert_eq!((audit.status, &audit.findings), (0, &vec![]), "{}", audit.text);
    assert!(writers(&site.controls()).len() >= 3);
    site
}

#[test]
fn a_full_disk_does_not_stop_the_server_and_what_was_dropped_is_counted() {
    if !Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "a small file system can be mounted by root only");
        return;
    }
    let site = Site::new();
    let disk = SmallDisk::mount(&site.logs(), 256);
    let apache = Apache::start(&[site.access("access.log")], &[]);
    // More than the program holds in memory, in lines that a pipe still takes whole.
    let mut answers = apache.load(&"x".repeat(3000), 3000, 8).run();
    // The server ends spare workers, at times while the next request of an idle connection is on its way.
    let unanswered = &answers.unanswered;
    assert!(unanswered.len() < 30 && answers.only_closed(), "{unanswered:?}\n{}", apache.errors());
    assert!(disk.is_full());
    disk.resize(64 * 1024);
    let grown = || fs::metadata(site.logs().join("access.log.pgp")).is_ok_and(|metadata| metadata.len() > 1 << 20);
    assert!(wait_for(SOON, grown), "{}", apache.errors());
    let after = apache.load("after", 100, 4).run();
    site.wait_logged(&after);
    answers.add(after);
    let told = apache.errors();
    apache.stop();

    assert!(told.contains("No space left on device"), "{told}");
    assert!(!told.contains("xxx"), "a warning tells a line");
    let seen = ids(&site.open());
    assert!(seen.values().all(|times| *times == 1));
    let gaps: Vec<Gap> = site
        .controls()
        .into_iter()
        .filter_map(|control| match control.event {
            Event::Gap(gap) => Some(gap),
            _ => None,
        })
        .collect();
    let missing: Vec<_> = answers.answered.iter().filter(|id| !seen.contains_key(*id)).collect();
    assert!(!missing.is_empty(), "the load was too small to fill the program's memory");
    assert_eq!(gaps.iter().map(|gap| gap.lines).sum::<u64>(), missing.len() as u64);
    // All lines differ in their ids only.
    let opened = site.open();
    let line = opened.split(|byte| *byte == b'\n').find(|line| line.len() > 3000).unwrap();
    let id = ids(line).into_keys().next().unwrap();
    let bytes: usize = missing.iter().map(|missing| line.len() + 1 - id.len() + missing.len()).sum();
    assert_eq!(gaps.iter().map(|gap| gap.bytes).sum::<u64>(), bytes as u64);
    assert!((0..100).all(|number| seen.contains_key(&format!("after-{number}"))));
    let audit = site.verify();
    assert_eq!(audit.status, 1);
    let kinds = |kind: &str| audit.findings.iter().filter(|finding| finding["finding"] == kind).count();
    assert_eq!(kinds("gap"), gaps.len(), "{}", audit.text);
    assert_eq!(kinds("gap") + kinds("torn"), audit.findings.len(), "{}", audit.text);
}

#[test]
fn the_snippets_work_as_they_are_but_for_the_folders() {
    let site = Site::new();
    let snippet = |name: &str| {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("apache").join(name)).unwrap();
        assert_eq!(text.matches("|/usr/bin/sealedlog-apache ").count(), 1, "{text}");
        text.replace("/usr/bin/sealedlog-apache", &format!("{FILTER} {}", site.options()))
    };
    let directives = [snippet("sealedlog-access.conf"), snippet("sealedlog-error.conf")];
    let apache = Apache::start(&directives, &[("APACHE_LOG_DIR", site.logs().to_str().unwrap()), ("TZ", "UTC")]);
    let slow = apache.slow("slow");
    graceful(&apache);
    let mut answers = slow.finish();
    answers.add(apache.load("load", 200, 4).run());
    site.wait_logged(&answers);
    apache.stop();
    let files = site.files();
    let day = |name: &str| files.iter().any(|file| file.starts_with(&format!("{name}.20")) && file.ends_with(".log.pgp"));
    assert!(day("access") && day("error"), "{files:?}");
    let opened = site.open();
    assert_eq!(answers.differences(&opened), Vec::<String>::new());
    assert!(String::from_utf8_lossy(&opened).contains("resuming normal operations"));
    let audit = site.verify();
    assert_eq!((audit.status, &audit.findings), (0, &vec![]), "{}", audit.text);
    assert_eq!(audit.summary["streams"], 2);
}

#[test]
fn the_demonstration_runs() {
    let programs = Path::new(FILTER).parent().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo.sh");
    let told = must(Command::new("bash").arg(script).arg(programs), b"");
    assert!(String::from_utf8_lossy(&told).contains("All as told."));
}

/// The folders of one log on the server, and the key of its auditor.
struct Site {
    dir: TempDir,
    public: PathBuf,
    secret: PathBuf,
}

struct Audit {
    status: i32,
    findings: Vec<Value>,
    summary: Value,
    text: String,
}

impl Site {
    /// With a key of `sealedlog-audit keygen`.
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("auditor");
        must(Command::new(AUDIT).args(["keygen", "--no-passphrase", "-o"]).arg(&at), b"");
        Site { public: at.join("sealedlog-public.asc"), secret: at.join("sealedlog-secret.asc"), dir }.lay_out()
    }

    fn with(public: &Path, secret: &Path) -> Site {
        Site { dir: tempfile::tempdir().unwrap(), public: public.to_owned(), secret: secret.to_owned() }.lay_out()
    }

    fn lay_out(self) -> Site {
        for name in ["keys", "log"] {
            fs::create_dir(self.dir.path().join(name)).unwrap();
        }
        fs::copy(&self.public, self.dir.path().join("keys").join(self.public.file_name().unwrap())).unwrap();
        self
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn options(&self) -> String {
        let dir = self.dir.path().display();
        format!("--keys {dir}/keys --state {dir}/state --runtime {dir}/run")
    }

    fn command(&self, options: &str, operands: &str) -> String {
        format!("{FILTER} {} {options} {}/{operands}", self.options(), self.logs().display())
    }

    fn access(&self, operands: &str) -> String {
        format!("CustomLog {} combined", quoted(&format!("|{}", self.command("", operands))))
    }

    /// What the programs made beside their folders.
    fn left(&self) -> Vec<PathBuf> {
        let mut left = vec![];
        for name in ["log", "state", "run"] {
            let entries = fs::read_dir(self.dir.path().join(name)).into_iter().flatten();
            left.extend(entries.map(|entry| entry.unwrap().path()));
        }
        left
    }

    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(self.logs()).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The fingerprints that an administrator would have written down.
    fn genesis(&self) -> Vec<String> {
        let streams = fs::read_dir(self.dir.path().join("state")).into_iter().flatten();
        streams
            .map(|stream| stream.unwrap().path().join("genesis"))
            // A stream that is just begun has none yet.
            .filter(|genesis| genesis.is_file())
            .map(|genesis| must(Command::new("sha256sum").arg(genesis), b""))
            .map(|told| String::from_utf8_lossy(&told[..64]).into_owned())
            .collect()
    }

    fn audit(&self, command: &str) -> Command {
        let mut audit = Command::new(AUDIT);
        audit.arg(command).arg(self.logs()).arg("--key").arg(&self.secret);
        audit.args(self.genesis().into_iter().flat_map(|genesis| ["--genesis".to_owned(), genesis]));
        audit
    }

    /// The lines; alarms fail the test.
    fn open(&self) -> Vec<u8> {
        must(&mut self.audit("open"), b"")
    }

    fn verify(&self) -> Audit {
        let output = self.audit("verify").arg("--json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
        let mut findings: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"))).collect();
        let summary = findings.pop().unwrap_or_default()["summary"].clone();
        assert!(summary.is_object(), "{text}");
        Audit { status: output.status.code().unwrap(), findings, summary, text }
    }

    /// Waits until every answered request is in the log. Apache answers before it logs, and a stop cuts what is under way.
    fn wait_logged(&self, answers: &Answers) {
        let logged = || {
            let seen = ids(&self.audit("open").output().unwrap().stdout);
            answers.answered.iter().all(|id| seen.contains_key(id))
        };
        // What does not come is told by who looks at the whole.
        wait_for(SOON, logged);
    }

    /// Waits until nothing more is written.
    fn wait_at_rest(&self) {
        let lengths = || self.files().iter().map(|name| fs::metadata(self.logs().join(name)).unwrap().len()).collect::<Vec<_>>();
        let mut before = vec![];
        wait_for(SOON, || {
            thread::sleep(Duration::from_millis(300));
            let now = lengths();
            let rests = now == before;
            before = now;
            rests
        });
    }

    /// Waits until all programs that there are for this log write to it: then each holds the lock on its progress.
    fn wait_writers(&self, apache: &Apache) {
        let log = self.logs().display().to_string();
        let begun = || {
            let programs: Vec<_> =
                apache.programs().into_iter().filter(|(_, line)| line.contains(FILTER) && line.contains(&log)).collect();
            let locks = fs::read_to_string("/proc/locks").unwrap();
            let holders: Vec<u32> = locks.lines().filter_map(|lock| lock.split_whitespace().nth(4)?.parse().ok()).collect();
            !programs.is_empty() && programs.iter().all(|(id, _)| holders.contains(id))
        };
        assert!(wait_for(SOON, begun), "a program writes nothing: {:?}", apache.programs());
    }

    /// The control records of all files, file by file as they stand there.
    fn controls(&self) -> Vec<Control> {
        let none = &mut Descriptor::read(&b"none\n"[..]).unwrap();
        let identities = Identities::load(&[&self.secret], none).unwrap();
        let opener = Opener::new(&identities);
        let mut controls = vec![];
        for name in self.files() {
            let file = fs::File::open(self.logs().join(name)).unwrap();
            for found in RecordReader::new(file, &opener) {
                if let Found::Record(record) = found.unwrap() {
                    // No line of a load reads like one.
                    controls.extend(Control::parse(&record.opened.body));
                }
            }
        }
        controls
    }
}

fn writers(controls: &[Control]) -> BTreeSet<WriterId> {
    controls.iter().filter(|control| !matches!(control.event, Event::Genesis(_))).map(|control| control.writer).collect()
}

/// Whether one writer had its first and last word around a word of another.
fn interleaved(controls: &[Control]) -> bool {
    let words: Vec<_> =
        controls.iter().filter(|control| !matches!(control.event, Event::Genesis(_))).map(|control| control.writer).collect();
    words.iter().enumerate().any(|(first, writer)| {
        let last = words.iter().rposition(|other| other == writer).expect("it is there");
        words[first..last].iter().any(|other| other != writer)
    })
}

/// A reload, once the programs handle its SIGTERM: one that is still being started is ended by it, as any program is, with
/// nobody left to read what the workers log to it.
fn graceful(apache: &Apache) {
    let programs = || apache.programs().into_iter().filter(|(_, line)| line.contains(FILTER));
    let ready = || programs().all(|(id, _)| catches(id, Signal::SIGTERM));
    assert!(wait_for(SOON, ready), "{:?}", apache.programs());
    apache.graceful();
}

/// Requests that the server refuses and tells about in its error log; their ids. The workers of the generation before, which
/// listen on for a moment, tell a program that has been ended.
fn refused(apache: &Apache, name: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            let id = format!("{name}-{number}");
            let mut stream = TcpStream::connect(("127.0.0.1", apache.port)).unwrap();
            write!(stream, "GET /denied-{id} HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            id
        })
        .collect()
}
