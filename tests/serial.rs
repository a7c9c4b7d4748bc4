//! The serial line of docs/transfer.md, with the commands of that page: what noise hurt is told, one by one, and the rest opens.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use common::keys;
use common::lines::{Lines, Random};
use common::page::block_with;
use common::sealed::{Place, seal_all};
use common::site::Site;
use common::tools::{SOON, must, next_second, path_with_programs, tool, wait_for};
use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{LocalFlags, OutputFlags, tcgetattr};
use sealedlog::audit::read::{Found, Opener, RecordReader};
use sealedlog::control::Control;
use sealedlog::identity::{Identities, Terminal};
use serde_json::Value;

const AUDIT: &str = env!("CARGO_BIN_EXE_sealedlog-audit");

/// Two ends of a terminal that no program inherits, and the name of the second one.
fn terminal() -> (PtyMaster, File, String) {
    let near = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("terminals can be made");
    grantpt(&near).expect("own terminal");
    unlockpt(&near).expect("own terminal");
    let name = ptsname_r(&near).expect("it has a name");
    let far = File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&name);
    (near, far.expect("own terminal"), name)
}

/// A script in a folder.
fn sh(folder: &Path, script: &str) -> Command {
    let links = folder.join("programs");
    fs::create_dir_all(&links).unwrap();
    let mut sh = tool("sh");
    sh.args(["-euc", script]).current_dir(folder).env("PATH", path_with_programs(&links)).stdin(Stdio::null());
    sh
}

/// Seals to a serial line as the page says, and records at its other end as the page says; between them `hurt` makes of the records,
/// one a line, what arrives. A line is two terminals with this process between them. Returns the recorder's file.
fn over_serial_line(desk: &Path, key: &Path, lines: &[u8], hurt: impl FnOnce(&[u8]) -> Vec<u8>) -> PathBuf {
    let (mut sent, near, near_name) = terminal();
    let (mut received, far, far_name) = terminal();
    // cat(1) tells of the hang-up at the end.
    let mut recorder = sh(desk, &block_with("sh recorder", &[("/dev/ttyS0", &far_name)])).stderr(Stdio::null()).spawn().unwrap();
    // What comes before the line is set is no business of this test.
    assert!(wait_for(SOON, || {
        let set = tcgetattr(&far).unwrap();
        !set.output_flags.contains(OutputFlags::OPOST) && !set.local_flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON)
    }));

    fs::write(desk.join("lines"), lines).unwrap();
    let seal = format!("sealedlog seal --keys {}", key.display());
    let parts = [("/dev/ttyS0", &near_name[..]), ("some-program |", "cat lines |"), ("sealedlog seal", &seal)];
    let mut server = sh(desk, &block_with("sh server", &parts)).spawn().unwrap();
    let reader = thread::spawn(move || read_to_hangup(&mut sent));
    assert!(server.wait().unwrap().success());
    drop(near);
    let bytes = reader.join().unwrap();
    assert!(!bytes.contains(&b'\r'), "the line is not raw");

    let arrives = hurt(&bytes);
    received.write_all(&arrives).unwrap();
    let recorded = desk.join("server.pgp64");
    let whole = || fs::metadata(&recorded).is_ok_and(|file| file.len() >= arrives.len() as u64);
    assert!(wait_for(SOON, whole), "{:?} of {}", fs::metadata(&recorded), arrives.len());
    // Nothing comes back on the line.
    drop((received, far));
    recorder.wait().unwrap();
    assert!(fs::read(&recorded).unwrap() == arrives, "the recorder changes what arrives");
    recorded
}

/// From a file, so that the stream keeps its state: its fingerprint is known on the server, and marks go over the line.
#[test]
fn a_file_goes_over_the_line_as_it_grows() {
    let (site, desk, (mut sent, line, name)) = (Site::new(), tempfile::tempdir().unwrap(), terminal());
    let place = &site.place;
    let sealed = place.path("log/some-program.pgp64");
    let logs = site.logs().display().to_string();
    let seal = format!("sealedlog seal --keys {} {}", place.path("keys.d").display(), folders(place).join(" "));
    let parts = [
        ("/dev/ttyS0", &name[..]),
        ("some-program |", "cat lines |"),
        ("sealedlog seal", &seal),
        ("/var/log/sealed", &logs),
        // It ends by itself.
        ("tail -n +1", "exec timeout 4 tail -n +1"),
    ];
    fs::write(desk.path().join("lines"), Lines::file(7, 50)).unwrap();
    let script = block_with("sh file", &parts);
    let received = thread::scope(|scope| {
        let more = scope.spawn(|| {
            assert!(wait_for(SOON, || fs::metadata(&sealed).is_ok_and(|file| file.len() > 20_000)));
            next_second();
            next_second();
            let mut seal = place.seal_to("some-program");
            assert!(seal_all(seal.args(["--framing", "base64"]), &Lines::file(8, 5)).status.success());
            let mut mark = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
            must(mark.arg("mark").args(folders(place)), b"");
        });
        let reader = scope.spawn(move || read_to_hangup(&mut sent));
        // `timeout` says so when it had to end it.
        assert_eq!(sh(desk.path(), &script).stderr(Stdio::null()).status().unwrap().code(), Some(124));
        more.join().unwrap();
        drop(line);
        reader.join().unwrap()
    });
    assert!(received == fs::read(&sealed).unwrap());
    let recorded = desk.path().join("server.pgp64");
    fs::write(&recorded, &received).unwrap();
    let mut verify = Command::new(AUDIT);
    verify.arg("verify").arg(&recorded).arg("--key").arg(site.secret());
    let told = must(verify.args(site.genesis().iter().flat_map(|genesis| ["--genesis", genesis])), b"");
    assert!(String::from_utf8_lossy(&told).contains("55 lines"), "{}", String::from_utf8_lossy(&told));
}

/// Options for state and progress.
fn folders(place: &Place) -> [String; 4] {
    let path = |name: &str| place.path(name).display().to_string();
    ["--state".to_owned(), path("state"), "--runtime".to_owned(), path("run")]
}

fn read_to_hangup(terminal: &mut PtyMaster) -> Vec<u8> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    // When the last one closes the other end, reading fails with EIO.
    while let Ok(count @ 1..) = terminal.read(&mut part) {
        bytes.extend_from_slice(&part[..count]);
    }
    bytes
}

/// Which line each record holds, if any.
fn lines_of_records(bytes: &[u8], secret: &Path) -> Vec<Option<usize>> {
    let identities = Identities::load(&[secret], &mut Terminal).unwrap();
    let opener = Opener::new(&identities);
    let mut lines = 0..;
    RecordReader::new(bytes, &opener)
        .map(|found| match found.unwrap() {
            // No line of an access log reads as a control record.
            Found::Record(record) => Control::parse(&record.opened.body).is_none().then(|| lines.next().expect("endless")),
            Found::Damage(damage) => panic!("{damage:?}"),
        })
        .collect()
}

/// What noise did.
#[derive(Default)]
struct Hurt {
    /// Lines that cannot be read any more.
    lines: BTreeSet<usize>,
    /// Pieces that are no part of a record.
    garbage: usize,
}

/// Hurts every sixth record of a line in one way after the other, in its second half, where nothing stands that another record repeats.
fn noise(bytes: &[u8], secret: &Path, random: &mut Random) -> (Vec<u8>, Hurt) {
    let of = lines_of_records(bytes, secret);
    let records: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(records.len(), of.len());
    let (mut out, mut hurt, mut kind, mut at) = (Vec::new(), Hurt::default(), 0, 0);
    while at < records.len() {
        let record = records[at];
        let cut = record.len() * 3 / 4 + random.below(record.len() as u64 / 5) as usize;
        let lines: Option<Vec<usize>> = of[at..].iter().take(3).copied().collect();
        let Some(lines) = lines.filter(|lines| at % 6 == 5 && lines.len() == 3) else {
            out.extend_from_slice(record);
            at += 1;
            continue;
        };
        let (first, rest) = record.split_at(cut);
        let any = |random: &mut Random| b"\x00\xff~\x13\x11\x7f\r#"[random.below(8) as usize];
        kind += 1;
        match kind % 8 {
            0 => {
                // A line feed would be another kind of damage.
                let flipped = (0..7).map(|bit| rest[0] ^ (1 << bit)).find(|byte| *byte != b'\n').expect("most are none");
                out.extend([first, &[flipped], &rest[1..]].concat());
                hurt.lines.insert(lines[0]);
            }
            1 => {
                out.extend([first, &rest[1..]].concat());
                hurt.lines.insert(lines[0]);
            }
            2 => {
                out.extend([first, &[any(random), any(random)], rest].concat());
                hurt.lines.insert(lines[0]);
            }
            3 => {
                out.extend([first, b"\n", &[any(random)], b"\n\n", rest].concat());
                hurt.lines.insert(lines[0]);
            }
            4 => {
                // Between two records.
                out.extend([b"~", &[any(random), any(random)][..], b"~\n\n", record].concat());
                hurt.garbage += 1;
            }
            5 => {
                // A piece of three records.
                out.extend([first, &records[at + 2][records[at + 2].len() / 4..]].concat());
                hurt.lines.extend(lines);
                at += 2;
            }
            6 => {
                // The line feed, so that two stand on one line; both can be read.
                out.extend_from_slice(record.trim_ascii_end());
            }
            _ => {
                hurt.lines.insert(lines[0]);
            }
        }
        at += 1;
    }
    (out, hurt)
}

#[test]
fn over_a_noisy_serial_line_each_hurt_line_is_told_and_every_other_one_opens() {
    for (profile, public, secret) in [
        ("rfc9580", &keys::sequoia_v6().public, &keys::sequoia_v6().secret),
        ("rfc4880", &keys::gpg_cv25519().public, &keys::gpg_cv25519().secret),
        ("age", &keys::age().public, &keys::age().secret),
    ] {
        for seed in 0..3 {
            let what = format!("{profile}, noise {seed}");
            let desk = tempfile::tempdir().unwrap();
            let lines: Vec<_> = Lines::new(seed).take(400).collect();
            let mut expected = Hurt::default();
            let recorded = over_serial_line(desk.path(), public, &lines.concat(), |bytes| {
                let (noisy, hurt) = noise(bytes, secret, &mut Random(seed));
                expected = hurt;
                noisy
            });
            let audit = |command: &str, more: &[&str]| {
                let mut audit = Command::new(AUDIT);
                audit.arg(command).arg(&recorded).arg("--key").arg(secret).arg("--trust-first").args(more);
                audit.output().unwrap()
            };
            let opened = audit("open", &[]);
            let whole: Vec<_> =
                (0..lines.len()).filter(|line| !expected.lines.contains(line)).map(|line| &lines[line][..]).collect();
            assert!(opened.stdout == whole.concat(), "{what}");
            assert_eq!(opened.status.code(), Some(1), "{what}");
            let verified = String::from_utf8(audit("verify", &["--json"]).stdout).unwrap();
            let mut found: Vec<Value> = verified.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let summary = found.pop().unwrap()["summary"].clone();
            assert_eq!(summary["lines"], whole.len(), "{what}");
            let count = |kinds: &[&str]| -> u64 {
                let fit = found.iter().filter(|finding| kinds.contains(&finding["finding"].as_str().expect("text")));
                fit.map(|finding| finding["count"].as_u64().unwrap_or(1)).sum()
            };
            assert_eq!(count(&["altered", "missing"]), expected.lines.len() as u64, "{what}: {verified}");
            assert_eq!(count(&["garbage"]), expected.garbage as u64, "{what}: {verified}");
            assert!(
                found.iter().all(|finding| ["altered", "missing", "garbage"].contains(&finding["finding"].as_str().unwrap())),
                "{what}: {verified}"
            );
        }
    }
}

#[test]
fn a_device_is_no_file_to_append_to() {
    let place = Place::new(&[&keys::age().public]);
    let (_near, far, name) = terminal();
    drop(far);
    std::os::unix::fs::symlink(&name, place.path("log/line")).unwrap();
    let mut seal = place.seal_to("line");
    let ended = seal_all(&mut seal, b"line\n");
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("log/line: it is a device\nsealedlog: hint: leave -o out"), "{}", ended.stderr);
    assert_eq!(place.logs(), ["line"], "nothing is made beside it");
    // A FIFO may have the name of the log that is made of it.
    must(tool("mkfifo").arg(place.path("log/x")), b"");
    assert!(seal_all(&mut place.seal_to("x"), b"line\n").status.success());
    assert_eq!(place.logs(), ["line", "x", "x.age64"]);
}
