//! One log that the real program seals, to be changed in one way and verified.

use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sealedlog::audit::finding::{Finding, Kind};
use sealedlog::audit::read::Opener;
use sealedlog::audit::session::{self, Line, Reader};
use sealedlog::audit::verify::{Report, Trust, Verifier};
use sealedlog::control::{GenesisFingerprint, Hex};
use sealedlog::identity::{Identities, Terminal};
use sealedlog::record::Framing;
use sealedlog::record::openpgp::Message;
use sealedlog::stream::claim::Claimant;
use sealedlog::stream::state::{Config, StateFolder};
use sealedlog::stream::{Writer, WriterOptions};

use super::lines::Lines;

/// One log in a folder of its own, sealed by the real program.
pub struct Log {
    pub folder: tempfile::TempDir,
    pub public: PathBuf,
    pub identities: Identities,
    pub file: PathBuf,
    pub sealed: Vec<u8>,
}

impl Log {
    /// A log sealed to this key.
    pub fn new(public: &Path, secret: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identities = Identities::load(&[secret], &mut Terminal).unwrap();
        Self { folder, public: public.to_owned(), identities, file: PathBuf::new(), sealed: Vec::new() }
    }

    /// A log of the profile `rfc9580`.
    pub fn rfc9580() -> Self {
        Self::new(&super::keys::sequoia_v6().public, &super::keys::sequoia_v6().secret)
    }

    /// `sealedlog seal` into the file of this name.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
        let at = |name: &str| self.folder.path().join(name);
        command.args(["seal", "--keys"]).arg(&self.public).arg("--state").arg(at("state")).arg("--runtime").arg(at("run"));
        command.arg("-o").arg(at(name));
        command
    }

    /// Seals lines in one run of the program, and reads the file again.
    pub fn seal(&mut self, lines: &[Vec<u8>]) -> &mut Self {
        self.seal_as("x.log", lines)
    }

    /// The same into the file of this name.
    pub fn seal_as(&mut self, name: &str, lines: &[Vec<u8>]) -> &mut Self {
        self.seal_at(None, name, lines)
    }

    /// The same by another clock.
    pub fn seal_at(&mut self, clock: Option<&str>, name: &str, lines: &[Vec<u8>]) -> &mut Self {
        let mut command = self.command(name);
        if let Some(clock) = clock {
            let found = Command::new("dpkg").args(["-L", "libfaketime"]).output().unwrap();
            let files = String::from_utf8(found.stdout).unwrap();
            let library =
                files.lines().find(|file| file.ends_with("libfaketime.so.1")).expect("the package libfaketime is missing");
            command.env("LD_PRELOAD", library).env("FAKETIME", clock);
        }
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&lines.concat()).unwrap();
        assert!(child.wait().unwrap().success());
        self.reread(name)
    }

    /// Reads the file again.
    pub fn reread(&mut self, name: &str) -> &mut Self {
        self.file = [".pgp", ".age64"]
            .iter()
            .map(|suffix| self.folder.path().join(format!("{name}{suffix}")))
            .find(|file| file.exists())
            .unwrap();
        self.sealed = fs::read(&self.file).unwrap();
        self
    }

    /// Where each record stands.
    pub fn records(&self) -> Vec<Range<usize>> {
        records(&self.sealed)
    }

    /// The fingerprint that an administrator would have on paper.
    pub fn genesis(&self) -> GenesisFingerprint {
        let report = self.verify(&[&self.sealed], Trust { first: true, ..Trust::default() }).0;
        report.streams[0].genesis
    }

    /// Trust in the first genesis.
    pub fn rooted(&self) -> Trust {
        Trust { genesis: vec![self.genesis()], ..Trust::default() }
    }

    /// Verifies files with these contents; what is said, and the lines.
    pub fn verify(&self, contents: &[&[u8]], trust: Trust) -> (Report, Vec<u8>) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let folder = self.folder.path().join(format!("copy{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&folder).unwrap();
        let mut files = Vec::new();
        for (number, content) in contents.iter().enumerate() {
            files.push(folder.join(format!("{number}.log")));
            fs::write(&files[number], content).unwrap();
        }
        let mut lines = Collect::default();
        let mut verifier = Verifier::new(trust);
        let unreadable = session::read(&files, &Opener::new(&self.identities), &mut verifier, &mut lines).unwrap();
        assert!(unreadable.is_empty(), "{unreadable:?}");
        fs::remove_dir_all(folder).unwrap();
        (verifier.finish(), lines.0)
    }

    /// Expects exactly this finding of the changed file, and these lines.
    #[track_caller]
    pub fn expect(&self, changed: &[u8], kind: Kind, at: Option<Range<usize>>, count: Option<u64>, lines: &[Vec<u8>]) -> Finding {
        let (report, opened) = self.verify(&[changed], self.rooted());
        assert_eq!(names(&report), [kind.name()], "{:#?}", report.findings);
        let finding = report.findings[0].clone();
        if let Some(at) = at {
            let place = finding.offset.zip(finding.length).map(|(offset, length)| offset as usize..(offset + length) as usize);
            assert_eq!(place, Some(at), "{finding:?}");
        }
        assert_eq!(finding.count, count, "{finding:?}");
        assert_eq!(String::from_utf8_lossy(&opened), String::from_utf8_lossy(&lines.concat()));
        finding
    }
}

#[derive(Default)]
pub struct Collect(Vec<u8>);

impl Reader for Collect {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        if line.place.is_some() {
            self.0.extend_from_slice(line.body);
        }
        Ok(())
    }
}

/// The findings' names.
pub fn names(report: &Report) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.finding.name()).collect()
}

/// Where each record of an undamaged file stands.
pub fn records(sealed: &[u8]) -> Vec<Range<usize>> {
    let (mut at, mut found) = (0, Vec::new());
    while at < sealed.len() {
        let length = if sealed[0] < 0x80 {
            sealed[at..].iter().position(|&byte| byte == b'\n').unwrap() + 1
        } else {
            Message::parse(&sealed[at..]).unwrap().len
        };
        found.push(at..at + length);
        at += length;
    }
    found
}

/// Lines as servers write them.
pub fn some_lines(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Lines::new(seed).take(count).collect()
}

/// Lines without some.
pub fn without(lines: &[Vec<u8>], gone: Range<usize>) -> Vec<Vec<u8>> {
    [&lines[..gone.start], &lines[gone.end..]].concat()
}

/// The file with something else in a place.
pub fn splice(sealed: &[u8], place: Range<usize>, with: &[u8]) -> Vec<u8> {
    [&sealed[..place.start], with, &sealed[place.end..]].concat()
}

/// A log of three runs in one file; the 300 lines of it.
pub fn three_runs(log: &mut Log) -> Vec<Vec<u8>> {
    let lines = some_lines(1, 300);
    log.seal(&lines[..200]).seal(&lines[200..250]).seal(&lines[250..]);
    lines
}

/// Every kind of key, since each profile carries its evidence elsewhere.
pub fn each_profile() -> [Log; 3] {
    [
        Log::rfc9580(),
        Log::new(&super::keys::gpg_cv25519().public, &super::keys::gpg_cv25519().secret),
        Log::new(&super::keys::age().public, &super::keys::age().secret),
    ]
}

/// The records that hold line 20 and what follows: genesis and segment come before.
pub const FIRST_LINE: usize = 2;

/// A run of the program that is killed with all of its lines in the file.
pub fn killed(log: &mut Log, lines: &[Vec<u8>]) {
    let mut child = log.command("x.log").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let before = fs::metadata(log.folder.path().join("x.log.pgp")).map_or(0, |metadata| metadata.len());
    stdin.write_all(&lines.concat()).unwrap();
    let expected = before + lines.concat().len() as u64 + 190 * lines.len() as u64;
    let file = log.folder.path().join("x.log.pgp");
    let written = || fs::metadata(&file).is_ok_and(|metadata| metadata.len() > expected);
    assert!(super::tools::wait_for(super::tools::SOON, written), "{:?} of {expected}", fs::metadata(&file));
    super::tools::wait_idle(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    log.reread("x.log");
}

/// A writer of our own, for what takes a full disk or a minute's patience in the programs.
pub fn writer(log: &Log, retry_state: Duration) -> Writer {
    let recipients = Arc::new(sealedlog::keys::load(std::slice::from_ref(&log.public), None).unwrap().recipients);
    let folder = log.folder.path();
    let claimant = Claimant {
        writer: Hex([7; 8]),
        recipients,
        host: "host".to_owned(),
        log: "/log".to_owned(),
        software: "test".to_owned(),
        memory_locked: false,
        lacks: Vec::new(),
    };
    let state = Some(StateFolder::new(&folder.join("state"), &folder.join("run"), folder, "x.log"));
    let config = Config {
        log: "/log".into(),
        keys: Vec::new(),
        framing: "binary".to_owned(),
        host: "host".to_owned(),
        profile: None,
        window: None,
    };
    Writer::new(WriterOptions { claimant, state, config, framing: Framing::Binary, retry_state, mark_idle: None })
}
