//! What is sealed comes back byte for byte, and nothing is found where nothing was done: whole programs, every profile and
//! framing.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::keys;
use common::lines::{Lines, Random, nasty};
use common::tools::{must, tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sealedlog::control::{Control, Ephemeral, Event, FoundProgress, Gap, GenesisFingerprint, Hex, Mark, RecipientsChanged};
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::serialize::SerializeInto;
use tempfile::TempDir;

const OPEN: Duration = common::tools::SOON;

/// One way to seal.
#[derive(Clone, Copy)]
enum Format {
    Rfc9580,
    Rfc9580Base64,
    Rfc4880,
    Rfc4880Base64,
    Age,
}

impl Format {
    const ALL: [Format; 5] = [Format::Rfc9580, Format::Rfc9580Base64, Format::Rfc4880, Format::Rfc4880Base64, Format::Age];

    fn public(self) -> &'static Path {
        match self {
            Format::Rfc9580 | Format::Rfc9580Base64 => &keys::sequoia_v6().public,
            Format::Rfc4880 | Format::Rfc4880Base64 => &keys::gpg_cv25519().public,
            Format::Age => &keys::age().public,
        }
    }

    fn secret(self) -> &'static Path {
        match self {
            Format::Rfc9580 | Format::Rfc9580Base64 => &keys::sequoia_v6().secret,
            Format::Rfc4880 | Format::Rfc4880Base64 => &keys::gpg_cv25519().secret,
            Format::Age => &keys::age().secret,
        }
    }

    /// What has to be asked for; the rest follows from the keys.
    fn options(self) -> &'static [&'static str] {
        match self {
            Format::Rfc9580Base64 | Format::Rfc4880Base64 => &["--framing", "base64"],
            _ => &[],
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Format::Rfc9580 | Format::Rfc4880 => ".pgp",
            Format::Rfc9580Base64 | Format::Rfc4880Base64 => ".pgp64",
            Format::Age => ".age64",
        }
    }
}

/// A server of its own: logs, state, progress.
struct Server {
    dir: TempDir,
    format: Format,
}

impl Server {
    fn new(format: Format) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        fs::create_dir(dir.path().join("logs")).expect("writable");
        Self { dir, format }
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// `sealedlog seal` without input and output yet.
    fn filter(&self) -> Command {
        let mut seal = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
        seal.arg("seal").arg("--keys").arg(self.format.public()).args(self.format.options());
        seal.arg("--state").arg(self.dir.path().join("state")).arg("--runtime").arg(self.dir.path().join("run"));
        seal
    }

    /// Seals `input` to the end of a log; returns the log's file.
    fn seal(&self, name: &str, input: &[u8]) -> PathBuf {
        self.seal_with(name, input, &[])
    }

    fn seal_with(&self, name: &str, input: &[u8], options: &[&str]) -> PathBuf {
        let log = self.logs().join(name);
        let told = finish(self.filter().args(options).arg("-o").arg(&log), input);
        assert!(told.status.success() && told.stdout.is_empty() && told.stderr.is_empty(), "{name}: {told:?}");
        let mut file = log.into_os_string();
        file.push(self.format.suffix());
        file.into()
    }

    /// Seals `input` to standard output and puts that into a file.
    fn seal_through_pipe(&self, name: &str, input: &[u8]) -> PathBuf {
        let told = finish(&mut self.filter(), input);
        assert!(told.status.success() && told.stderr.is_empty(), "{name}: {:?}", told.stderr);
        let file = self.logs().join(format!("{name}{}", self.format.suffix()));
        fs::write(&file, told.stdout).expect("own folder");
        file
    }

    /// Opens and verifies, and everything must be as it was sealed.
    fn check<S: AsRef<OsStr>>(&self, what: &str, files: &[S], input: &[u8]) {
        let opened = finish(audit("open", files, self.format.secret()).arg("--trust-first"), b"");
        assert!(opened.status.success() && opened.stderr.is_empty(), "{what}: {}", String::from_utf8_lossy(&opened.stderr));
        assert_same(what, &opened.stdout, input);
        let verified = finish(audit("verify", files, self.format.secret()).args(["--trust-first", "--json"]), b"");
        let findings = String::from_utf8_lossy(&verified.stdout);
        assert_eq!(verified.status.code(), Some(0), "{what}: {findings}");
        assert_eq!(findings.lines().count(), 1, "{what}: {findings}");
        assert!(findings.contains(r#""alarms":0"#) && findings.contains(r#""warnings":0"#), "{what}: {findings}");
    }
}

/// `sealedlog-audit COMMAND FILES --key SECRET`.
fn audit<S: AsRef<OsStr>>(command: &str, files: &[S], secret: &Path) -> Command {
    let mut audit = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    audit.arg(command).args(files).arg("--key").arg(secret);
    audit
}

/// Runs to the end, whatever comes out.
fn finish(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("own child")
    })
}

/// Says where two outputs part instead of printing megabytes.
fn assert_same(what: &str, got: &[u8], wanted: &[u8]) {
    if got != wanted {
        let at = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        let near = |bytes: &[u8]| bytes[at..bytes.len().min(at + 80)].escape_ascii().to_string();
        panic!("{what}: {} bytes for {}, differ at {at}: {} for {}", got.len(), wanted.len(), near(got), near(wanted));
    }
}

fn every_input(format: Format) {
    let server = Server::new(format);
    let mut inputs = nasty();
    inputs.push(("an access log", Lines::file(1, 500)));
    inputs.push(("two equal lines", b"again\nagain\n".to_vec()));
    for (name, input) in &inputs {
        let file = server.seal(&name.replace(' ', "-"), input);
        if input.is_empty() {
            assert!(!file.exists(), "a file was begun for nothing");
        } else {
            server.check(name, &[file], input);
        }
        let piped = server.seal_through_pipe("piped", input);
        assert_eq!(fs::metadata(&piped).expect("written").len() == 0, input.is_empty(), "{name}");
        server.check(name, &[piped], input);
    }
    // One after the other in one file, with an unfinished line in between now and then.
    let mut all = vec![];
    let mut file = PathBuf::new();
    for (_, input) in inputs.iter().filter(|(_, input)| input.len() < 10_000) {
        file = server.seal("all", input);
        all.extend_from_slice(input);
    }
    server.check("appended", &[file], &all);
}

#[test]
fn rfc9580() {
    every_input(Format::Rfc9580);
}

#[test]
fn rfc9580_base64() {
    every_input(Format::Rfc9580Base64);
}

#[test]
fn rfc4880() {
    every_input(Format::Rfc4880);
}

#[test]
fn rfc4880_base64() {
    every_input(Format::Rfc4880Base64);
}

#[test]
fn age() {
    every_input(Format::Age);
}

#[test]
fn random_bytes() {
    for format in Format::ALL {
        let server = Server::new(format);
        let mut all = vec![];
        for seed in 0..6 {
            let mut random = Random(seed);
            let length = random.below(1 << (4 * seed).min(17)) as usize;
            // The rarer the newline, the longer the lines.
            let newlines = 2 + random.below(300);
            let input: Vec<u8> =
                (0..length).map(|_| if random.below(newlines) == 0 { b'\n' } else { random.next() as u8 }).collect();
            let longest = (1 + random.below(5000)).to_string();
            let file = server.seal_with("random", &input, &["--max-line", &longest]);
            all.extend_from_slice(&input);
            if file.exists() {
                server.check(&format!("seed {seed}, pieces of {longest}"), &[file], &all);
            }
        }
        assert!(!all.is_empty());
    }
}

/// Lines that share records come back as they were, in far fewer bytes, and are counted one by one.
#[test]
fn groups() {
    for format in Format::ALL {
        let server = Server::new(format);
        let lines = Lines::file(5, 2000);
        let (alone, grouped) = (server.seal("alone", &lines), server.seal_with("grouped", &lines, &["--group"]));
        server.check("grouped", &[&grouped], &lines);
        let over = |file: &Path| fs::metadata(file).expect("written").len() as usize - lines.len();
        match format {
            // Base64 takes a third.
            Format::Rfc9580 | Format::Rfc4880 => assert!(over(&grouped) * 20 < over(&alone), "{}", over(&grouped)),
            _ => assert!(over(&grouped) * 3 < over(&alone) * 2, "{} {}", over(&grouped), over(&alone)),
        }
        let verified = finish(audit("verify", &[&grouped], format.secret()).args(["--trust-first", "--json"]), b"");
        let summary = String::from_utf8_lossy(&verified.stdout);
        assert!(summary.contains(r#""lines":2000,"#), "{summary}");
        if !matches!(format, Format::Rfc9580) {
            continue;
        }
        for (name, input) in nasty().iter().filter(|(_, input)| !input.is_empty()) {
            for options in [&["--group"][..], &["--group", "--max-line", "100"]] {
                let name = format!("{name}{}", options.join(""));
                let file = server.seal_with(&name.replace(' ', "-"), input, options);
                server.check(&name, &[file], input);
            }
        }
    }
}

/// The segments of one stream, in files whose names say nothing of their order.
#[test]
fn files_in_any_order() {
    for format in Format::ALL {
        let server = Server::new(format);
        let (mut files, mut all) = (vec![], vec![]);
        for (number, name) in ["m", "z", "a", "k"].into_iter().enumerate() {
            let input = Lines::file(number as u64, 40 + number);
            let more = Lines::file(100 + number as u64, 3);
            server.seal("access.log", &input);
            let file = server.seal("access.log", &more);
            all.extend([input, more].concat());
            let moved = server.logs().join(format!("{name}{}", format.suffix()));
            fs::rename(file, &moved).expect("own folder");
            files.push(moved);
        }
        server.check("in order", &files, &all);
        files.reverse();
        server.check("backwards", &files, &all);
        files.swap(1, 3);
        server.check("mixed", &files, &all);
        server.check("a folder", &[server.logs()], &all);
    }
}

#[test]
fn ten_recipients_each_key_alone() {
    let made = tempfile::tempdir().expect("a temporary folder can be made");
    let keygen = |name: &str, kind: &[&str]| -> (PathBuf, PathBuf, Option<&str>) {
        let suffix = if kind.is_empty() { "asc" } else { "age" };
        let file = |half: &str| made.path().join(format!("{name}-{half}.{suffix}"));
        let (secret, public) = (file("secret"), file("public"));
        let mut keygen = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
        keygen.arg("keygen").args(kind).arg("--secret").arg(&secret).arg("--public").arg(&public).arg("--no-passphrase");
        must(&mut keygen, b"");
        (public, secret, None)
    };
    let pgp = |key: &keys::Pgp| (key.public.clone(), key.secret.clone(), key.passphrase);
    let ssh = |key: &keys::Ssh| (key.public.clone(), key.secret.clone(), key.passphrase);
    let plain_age = |key: &keys::Age| (key.public.clone(), key.secret.clone(), None);
    let mut v6 = vec![pgp(keys::sequoia_v6()), pgp(keys::sequoia_locked()), pgp(keys::openpgpjs()), pgp(keys::rpgp_v6())];
    v6.extend((4..10).map(|number| keygen(&format!("own-{number}"), &[])));
    let mut mixed = vec![pgp(keys::gpg_rsa4096()), pgp(keys::gpg_cv25519()), pgp(keys::gpg_locked())];
    mixed.extend([pgp(keys::rpgp_v4_rsa()), pgp(keys::rpgp_v4_p256())]);
    mixed.extend((5..10).map(|number| version_4(made.path(), number)));
    let mut others = vec![plain_age(keys::age()), plain_age(keys::age_other()), ssh(keys::ssh_ed25519()), ssh(keys::ssh_rsa())];
    others.extend([ssh(keys::ssh_ed25519_locked()), ssh(keys::ssh_rsa_locked())]);
    others.extend((6..10).map(|number| keygen(&format!("age-{number}"), &["--age"])));

    let input = [Lines::file(3, 12), b"\0\xff without end".to_vec()].concat();
    let cases = [
        ("rfc9580", "binary", ".pgp", &v6),
        ("rfc9580", "base64", ".pgp64", &v6),
        ("rfc4880", "binary", ".pgp", &mixed),
        ("rfc4880", "base64", ".pgp64", &mixed),
        ("age", "base64", ".age64", &others),
    ];
    for (profile, framing, suffix, recipients) in cases {
        assert_eq!(recipients.len(), 10);
        let server = tempfile::tempdir().expect("a temporary folder can be made");
        let at = |name: &str| server.path().join(name);
        let folder = at("keys.d");
        fs::create_dir(&folder).expect("writable");
        for (public, ..) in recipients {
            fs::copy(public, folder.join(public.file_name().expect("a file"))).expect("own folder");
        }
        let mut seal = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
        seal.args(["seal", "--framing", framing]).arg("--keys").arg(&folder).arg("-o").arg(at("log"));
        must(seal.arg("--state").arg(at("state")).arg("--runtime").arg(at("run")), &input);
        let file = at(&format!("log{suffix}"));
        for (_, secret, passphrase) in recipients {
            let what = format!("{profile} {framing} {}", secret.display());
            // One that is not needed does no harm.
            let passphrase = format!("{}\n", passphrase.unwrap_or("none"));
            let trusted = ["--trust-first", "--passphrase-fd", "0"];
            let opened = finish(audit("open", &[&file], secret).args(trusted), passphrase.as_bytes());
            assert!(opened.status.success() && opened.stderr.is_empty(), "{what}: {opened:?}");
            assert_same(&what, &opened.stdout, &input);
            let verified = finish(audit("verify", &[&file], secret).args(trusted), passphrase.as_bytes());
            assert_eq!(verified.status.code(), Some(0), "{what}: {verified:?}");
        }
        // A key that is not among them opens nothing, and that is told.
        let kind: &[&str] = if profile == "age" { &["--age"] } else { &[] };
        let (_, stranger, _) = keygen(&format!("stranger-{profile}-{framing}"), kind);
        let opened = finish(&mut audit("open", &[&file], &stranger), b"");
        assert!(opened.status.code() == Some(2) && opened.stdout.is_empty(), "{opened:?}");
        assert!(String::from_utf8_lossy(&opened.stderr).contains("error: no record opened"), "{opened:?}");
    }
}

/// A certificate as Sequoia makes them for GnuPG: public half, secret half, no passphrase.
fn version_4(dir: &Path, number: usize) -> (PathBuf, PathBuf, Option<&'static str>) {
    let cert = CertBuilder::new().add_userid(format!("{number}@example.org")).add_storage_encryption_subkey().generate();
    let (cert, _) = cert.expect("Sequoia makes keys");
    let file = |half: &str| dir.join(format!("v4-{number}-{half}.asc"));
    fs::write(file("public"), cert.armored().to_vec().expect("to memory")).expect("own folder");
    fs::write(file("secret"), cert.as_tsk().armored().to_vec().expect("to memory")).expect("own folder");
    (file("public"), file("secret"), None)
}

/// Real control records, and what else could be taken for one, as log lines.
#[test]
fn lines_that_read_like_control_records() {
    for format in Format::ALL {
        let server = Server::new(format);
        let first = server.seal("access.log", b"before\n");
        let controls = control_bodies(&server, &first);
        let mut input = controls.concat();
        // The sealed records themselves, framed and not, and the packet that a control record has inside.
        input.extend_from_slice(&fs::read(&first).expect("written"));
        input.push(b'\n');
        for record in split(&server, &first) {
            input.extend_from_slice(&record);
            input.push(b'\n');
        }
        let genesis = &controls[0];
        for name in ["sealedlog", "s", "sAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            input.extend_from_slice(b"sealedlog\n\xcb\xff");
            input.extend_from_slice(&u32::try_from(genesis.len() + name.len() + 6).expect("small").to_be_bytes());
            input.extend_from_slice(&[b'b', name.len() as u8]);
            input.extend_from_slice(name.as_bytes());
            input.extend_from_slice(&1_790_000_000_u32.to_be_bytes());
            input.extend_from_slice(genesis);
        }
        let file = server.seal("access.log", &input);
        server.check("the same stream", &[file], &[b"before\n", &input[..]].concat());
        let file = server.seal("other.log", &input);
        server.check("another stream", &[file], &input);
        let file = server.seal_through_pipe("piped", &input);
        server.check("standard output", &[file], &input);
    }
}

/// One body of each kind, those that are in `file` as they are there.
fn control_bodies(server: &Server, file: &Path) -> Vec<Vec<u8>> {
    // With --all nothing more comes out: a control record in its place is no line. So they are taken apart.
    let records = split(server, file);
    let mut bodies: Vec<Vec<u8>> = records.iter().map(|record| stock_open(server, record)).collect();
    bodies.retain(|body| Control::parse(body).is_some());
    assert_eq!(bodies.len(), 3, "genesis, segment, close");
    let genesis = Control::parse(&bodies[0]).expect("retained");
    assert_eq!(genesis.event.kind(), "genesis");
    let fingerprint = GenesisFingerprint::of(&records[0]);
    let progress = FoundProgress { stream: None, epoch: 0, memory: Some(Hex([7; 32])), disk: None, live: false };
    let more = [
        Event::Gap(Gap { lines: 9, bytes: 99, from: genesis.time, to: genesis.time, why: "full".to_owned() }),
        Event::Recipients(RecipientsChanged { old: vec![], new: vec!["A".repeat(64)], genesis: fingerprint }),
        Event::Ephemeral(Ephemeral { genesis: fingerprint, progress: progress.clone() }),
        Event::Mark(Mark { progress: vec![progress] }),
    ];
    bodies.extend(more.map(|event| Control { event, ..genesis.clone() }.body().to_vec()));
    // `epoch` and `resume` are in what a second writer leaves behind.
    let second = server.seal("second.log", b"one\n");
    server.seal("second.log", b"two\n");
    let found = split(server, &second).into_iter().map(|record| stock_open(server, &record));
    bodies.extend(found.filter(|body| Control::parse(body).is_some()));
    let kinds: std::collections::BTreeSet<_> =
        bodies.iter().map(|body| Control::parse(body).expect("retained").event.kind()).collect();
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    bodies
}

fn split(server: &Server, file: &Path) -> Vec<Vec<u8>> {
    let out = tempfile::tempdir_in(server.dir.path()).expect("writable");
    must(Command::new(env!("CARGO_BIN_EXE_sealedlog-audit")).arg("split").arg(file).arg("-o").arg(out.path()), b"");
    let mut files: Vec<PathBuf> = fs::read_dir(out.path()).expect("made").map(|entry| entry.expect("made").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("made")).collect()
}

fn stock_open(server: &Server, record: &[u8]) -> Vec<u8> {
    let file = server.dir.path().join("record");
    fs::write(&file, record).expect("writable");
    match server.format {
        Format::Rfc9580 | Format::Rfc9580Base64 => common::stock::rpgp(keys::sequoia_v6(), &file),
        Format::Rfc4880 | Format::Rfc4880Base64 => common::stock::gnupg(keys::gpg_cv25519(), &file),
        Format::Age => common::stock::age(server.format.secret(), &file),
    }
    .expect("a record opens")
}

/// A child that does not outlive a failed test.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("it runs");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn follow_a_growing_file_and_a_new_one() {
    for format in Format::ALL {
        let server = Server::new(format);
        let log = server.logs().join("access.log");
        let mut command = server.filter();
        let mut seal = Running(command.arg("-o").arg(&log).stdin(Stdio::piped()).spawn().expect("runs"));
        let mut input = seal.0.stdin.take().expect("piped");
        let mut wanted = vec![];
        let mut write = |lines: Vec<u8>| {
            input.write_all(&lines).expect("it reads");
            wanted.extend_from_slice(&lines);
            wanted.clone()
        };
        write(Lines::file(1, 20));
        let file = server.logs().join(format!("access.log{}", format.suffix()));
        assert!(wait_for(OPEN, || file.exists()));

        let mut command = audit("open", &[server.logs()], format.secret());
        command.args(["--follow", "--trust-first"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut open = Running(command.spawn().expect("runs"));
        let got = Arc::new(Mutex::new(vec![]));
        let mut out = open.0.stdout.take().expect("piped");
        let into = Arc::clone(&got);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(length @ 1..) = out.read(&mut buffer) {
                into.lock().expect("no panic").extend_from_slice(&buffer[..length]);
            }
        });
        let comes = |wanted: &[u8]| {
            wait_for(OPEN, || got.lock().expect("no panic").len() >= wanted.len());
            assert_same("followed", &got.lock().expect("no panic"), wanted);
        };
        comes(&write(Lines::file(2, 300)));
        comes(&write(b"a line of its own\n".to_vec()));
        // logrotate's way: away with the file, then tell.
        let moved = server.logs().join(format!("access.log{}.1", format.suffix()));
        fs::rename(&file, moved).expect("own folder");
        seal.signal(Signal::SIGHUP);
        comes(&write(Lines::file(3, 50)));
        assert!(wait_for(OPEN, || file.exists()), "no new file");
        comes(&write(Lines::file(4, 5)));
        drop(input);
        assert!(seal.0.wait().expect("own child").success());

        thread::sleep(Duration::from_millis(300));
        open.signal(Signal::SIGTERM);
        open.0.wait().expect("own child");
        reader.join().expect("no panic");
        let mut told = String::new();
        open.0.stderr.take().expect("piped").read_to_string(&mut told).expect("text");
        assert_eq!(told, "");
        assert_same("at the end", &got.lock().expect("no panic"), &wanted);
        server.check("afterwards", &[server.logs()], &wanted);
    }
}

#[test]
fn a_reader_that_goes_away() {
    let server = Server::new(Format::Rfc9580);
    let input = Lines::file(5, 5000);
    let file = server.seal("access.log", &input);
    let first = input.split_inclusive(|byte| *byte == b'\n').next().expect("not empty");
    for command in ["open", "verify"] {
        let mut piped = audit(command, &[&file], server.format.secret());
        let mut child = piped.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
        let mut out = child.stdout.take().expect("piped");
        if command == "open" {
            let mut line = vec![0; first.len()];
            out.read_exact(&mut line).expect("a line comes");
            assert_same("the first line", &line, first);
        }
        drop(out);
        let told = child.wait_with_output().expect("own child");
        assert_eq!(told.stderr, b"", "{}", String::from_utf8_lossy(&told.stderr));
        assert!(told.status.code().is_some_and(|status| status < 2), "{command}: {:?}", told.status);
    }
}

#[test]
fn a_terminal_gets_no_escapes() {
    let server = Server::new(Format::Rfc9580);
    let hostile = "\x1b]0;owned\x07 \u{9b}31m \u{202e}txt.exe \u{200b} \x08\x7f\n";
    let mut input = hostile.as_bytes().to_vec();
    input.extend_from_slice(b"\xff\xc3\n");
    let file = server.seal("access.log", &input);
    let command = |end: &str| {
        let (program, secret) = (env!("CARGO_BIN_EXE_sealedlog-audit"), server.format.secret().display());
        format!("'{program}' open '{}' --key '{secret}' --trust-first {end}", file.display())
    };
    let null = || File::open("/dev/null").expect("it is there");
    let on_terminal = |command: &str| {
        let mut script = tool("script");
        // A transcript goes to /dev/null, what the terminal shows to standard output.
        script.args(["-qec", command, "/dev/null"]).stdin(null());
        let output = script.output().expect("runs");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let shown = on_terminal(&command(""));
    let text = String::from_utf8(shown).expect("what is no UTF-8 is escaped");
    assert!(text.chars().all(|c| matches!(c, '\r' | '\n' | ' '..='~')), "{text:?}");
    for wanted in ["\\u{1b}]0;owned\\u{7}", "\\u{9b}31m", "\\u{202e}txt", "\\u{200b}", "\\xff\\xc3"] {
        assert!(text.contains(wanted), "{wanted} is not in {text:?}");
    }
    // From there into a pipe it is what it was.
    let piped = on_terminal(&command("2>/dev/null | base64 -w0"));
    let piped = String::from_utf8(piped).expect("base64");
    let decoded = must(tool("base64").arg("-d"), piped.trim().as_bytes());
    assert_same("in a pipe", &decoded, &input);
}
