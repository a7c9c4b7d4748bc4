//! Other people's programs open our records, with keys that they made, the way README shows it; and what a record costs.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::keys::{self, Pgp};
use common::lines::{Lines, Random};
use common::stock;
use common::tools::{must, path_with_programs, tool};
use sealedlog::audit::read::{Found, Opener, RecordReader};
use sealedlog::control::Control;
use sealedlog::identity::{Identities, Terminal};
use sequoia_openpgp::Cert;
use sequoia_openpgp::parse::Parse;
use tempfile::TempDir;

const SEALEDLOG: &str = env!("CARGO_BIN_EXE_sealedlog");
const AUDIT: &str = env!("CARGO_BIN_EXE_sealedlog-audit");

/// Lines that a tool which looks at text could spoil.
fn lines() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Lines::new(7).take(3).collect();
    lines.extend([b"\n".to_vec(), b"one\r\n".to_vec(), b"\0\xff\xfe \x1b[2J\n".to_vec(), vec![b'x'; 70_000]]);
    lines.last_mut().expect("not empty").push(b'\n');
    lines.push(b"without newline".to_vec());
    lines
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// Puts the public keys into a key folder, which `sealedlog keys` must find good and of the profile named.
fn key_folder(dir: &Path, publics: &[&Path], profile: &str, options: &[&str]) -> PathBuf {
    let keys = dir.join("keys.d");
    fs::create_dir(&keys).expect("writable");
    for public in publics {
        fs::copy(public, keys.join(public.file_name().expect("a file"))).expect("writable");
    }
    let told = must(Command::new(SEALEDLOG).args(["keys", "check"]).args(options).arg("--keys").arg(&keys), b"");
    let told = String::from_utf8(told).expect("text");
    assert!(told.contains(&format!("profile {profile}: ")) && !told.contains("refused"), "{told}");
    let listed = must(Command::new(SEALEDLOG).args(["keys", "list", "--keys"]).arg(&keys), b"");
    let listed = String::from_utf8(listed).expect("text");
    assert_eq!(listed.lines().count(), publics.len(), "{listed}");
    keys
}

/// Seals in two runs, so that every usual kind of control record is there.
fn seal(dir: &Path, keys: &Path, options: &[&str], suffix: &str, lines: &[Vec<u8>]) -> PathBuf {
    let log = dir.join("access.log");
    let (first, second) = lines.split_at(lines.len() / 2);
    for part in [first, second] {
        let mut seal = Command::new(SEALEDLOG);
        seal.arg("seal").args(options).arg("--keys").arg(keys).arg("-o").arg(&log);
        seal.arg("--state").arg(dir.join("state")).arg("--runtime").arg(dir.join("run"));
        must(&mut seal, &part.concat());
    }
    dir.join(format!("access.log{suffix}"))
}

/// `sealedlog-audit split`: the records' files in order.
fn split(file: &Path, into: &Path) -> Vec<PathBuf> {
    must(Command::new(AUDIT).arg("split").arg(file).arg("-o").arg(into), b"");
    let mut files: Vec<_> = fs::read_dir(into).expect("made").map(|entry| entry.expect("made").path()).collect();
    files.sort();
    files
}

/// What the records hold must be the lines, and the control records that two runs leave.
fn assert_opened(who: &str, bodies: &[Vec<u8>], lines: &[Vec<u8>]) {
    let (controls, got): (Vec<_>, Vec<_>) = bodies.iter().cloned().partition(|body| Control::parse(body).is_some());
    let kinds: Vec<_> = controls.iter().map(|body| Control::parse(body).expect("just was one").event.kind()).collect();
    assert_eq!(kinds, ["genesis", "segment", "close", "epoch", "resume", "close"], "{who}");
    assert!(got == lines, "{who}: {} lines for {}", got.len(), lines.len());
}

type Open<'a> = dyn Fn(&Path) -> Result<Vec<u8>, String> + 'a;

/// Seals to `publics`, splits, and each of `openers` opens every record.
fn all_open(publics: &[&Path], profile: &str, options: &[&str], openers: &[(&str, &Open<'_>)]) {
    let suffixes: &[(&str, &str)] = match profile {
        "age" => &[("base64", ".age64")],
        // As base64 they are opened README's way, below.
        "rfc9580" => &[("binary", ".pgp")],
        _ => &[("binary", ".pgp"), ("base64", ".pgp64")],
    };
    for (framing, suffix) in suffixes {
        let dir = folder();
        let keys = key_folder(dir.path(), publics, profile, options);
        let options = [options, &["--framing", framing]].concat();
        let file = seal(dir.path(), &keys, &options, suffix, &lines());
        let records = split(&file, &dir.path().join("records"));
        for (who, open) in openers {
            let bodies: Result<Vec<_>, _> = records.iter().map(|record| open(record)).collect();
            let bodies = bodies.unwrap_or_else(|error| panic!("{who}, {publics:?}: {error}"));
            assert_opened(&format!("{who}, {framing}, {publics:?}"), &bodies, &lines());
        }
    }
}

#[test]
fn gnupg() {
    let (rsa, curve) = (keys::gpg_rsa4096(), keys::gpg_cv25519());
    let (by_rsa, by_curve) = (|record: &Path| stock::gnupg(rsa, record), |record: &Path| stock::gnupg(curve, record));
    all_open(&[&rsa.public], "rfc4880", &[], &[("gpg", &by_rsa)]);
    all_open(&[&curve.public], "rfc4880", &[], &[("gpg", &by_curve)]);
    all_open(&[&rsa.public, &curve.public], "rfc4880", &[], &[("gpg, RSA", &by_rsa), ("gpg, Cv25519", &by_curve)]);
    let locked = keys::gpg_locked();
    all_open(&[&locked.public], "rfc4880", &[], &[("gpg", &|record| stock::gnupg(locked, record))]);
}

/// OpenPGP.js and rPGP open what is sealed to `key`.
fn both_open(key: &Pgp, options: &[&str]) {
    let by_js = |record: &Path| stock::openpgpjs(key, record);
    let by_rpgp = |record: &Path| stock::rpgp(key, record);
    all_open(&[&key.public], "rfc9580", options, &[("OpenPGP.js", &by_js), ("rPGP", &by_rpgp)]);
}

/// What `sealedlog-audit keygen` makes.
fn keygen(dir: &Path) -> Pgp {
    must(Command::new(AUDIT).args(["keygen", "--no-passphrase", "-o"]).arg(dir), b"");
    let public = dir.join("sealedlog-public.asc");
    let fingerprint = Cert::from_file(&public).expect("keygen writes certificates").fingerprint().to_hex();
    Pgp { secret: dir.join("sealedlog-secret.asc"), public, fingerprint, passphrase: None }
}

#[test]
fn openpgpjs_and_rpgp() {
    let dir = folder();
    let own = keygen(dir.path());
    for key in [keys::openpgpjs(), keys::rpgp_v6(), keys::sequoia_v6(), &own] {
        both_open(key, &[]);
    }
    let two = [keys::openpgpjs(), keys::rpgp_v6()];
    let by_js = |record: &Path| stock::openpgpjs(two[0], record);
    let by_rpgp = |record: &Path| stock::rpgp(two[1], record);
    all_open(&two.map(|key| &*key.public), "rfc9580", &[], &[("OpenPGP.js", &by_js), ("rPGP", &by_rpgp)]);
}

#[test]
fn old_keys_with_the_fast_profile() {
    for key in [keys::rpgp_v4_p256(), keys::rpgp_v4_rsa(), keys::gpg_rsa4096()] {
        both_open(key, &["--profile", "rfc9580"]);
    }
}

#[test]
fn age() {
    let (age, ed25519, rsa) = (keys::age(), keys::ssh_ed25519(), keys::ssh_rsa());
    let by_age = |record: &Path| stock::age(&age.secret, record);
    let by_ed25519 = |record: &Path| stock::age(&ed25519.secret, record);
    let by_rsa = |record: &Path| stock::age(&rsa.secret, record);
    all_open(&[&age.public], "age", &[], &[("age", &by_age)]);
    all_open(&[&ed25519.public], "age", &[], &[("age, ssh-ed25519", &by_ed25519)]);
    all_open(&[&rsa.public], "age", &[], &[("age, ssh-rsa", &by_rsa)]);
    let publics = [&*age.public, &ed25519.public, &rsa.public];
    all_open(&publics, "age", &[], &[("age", &by_age), ("age, ssh-ed25519", &by_ed25519), ("age, ssh-rsa", &by_rsa)]);
}

/// The section of README.md that shows how to open records without a program of ours.
fn section() -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md is there");
    let (_, section) = readme.split_once("\n## Opening without sealedlog\n").expect("README.md has the section");
    section.split("\n## ").next().expect("at least one part").to_owned()
}

/// The fenced block of that section whose opening fence is followed by `info`.
fn block(info: &str) -> String {
    let (section, opening) = (section(), format!("```{info}\n"));
    let (_, rest) = section.split_once(&opening).unwrap_or_else(|| panic!("README.md has no block marked {info}"));
    rest.split_once("\n```").expect("the fence is closed").0.to_owned()
}

#[test]
fn readme_shows_nothing_that_is_not_run() {
    let section = section();
    let fences: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("```")).filter(|info| !info.is_empty()).collect();
    assert_eq!(fences, ["sh gnupg", "sh gnupg-split", "sh age", "js openpgpjs"]);
}

/// Runs a block of README.md in a folder where `access.log` was sealed to `public` and `files` were copied to, and takes
/// apart again what it prints.
fn run_block(info: &str, public: &Path, profile: &str, options: &[&str], files: &[(&Path, &str)], gnupg_home: Option<&Path>) {
    let dir = folder();
    let keys = key_folder(dir.path(), &[public], profile, &[]);
    // What a block prints has no marks between records, so here each line ends.
    let lines: Vec<_> = lines().into_iter().filter(|line| line.ends_with(b"\n")).collect();
    let suffix = if info == "sh gnupg-split" {
        ".pgp"
    } else if profile == "age" {
        ".age64"
    } else {
        ".pgp64"
    };
    let sealed = seal(dir.path(), &keys, options, suffix, &lines);
    assert!(sealed.exists());
    for (file, name) in files {
        fs::copy(file, dir.path().join(name)).expect("writable");
    }
    let script = dir.path().join("block.mjs");
    fs::write(&script, block(info)).expect("writable");
    let mut command = if info.starts_with("js ") { tool("node") } else { tool("sh") };
    if info.starts_with("js ") {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/node_modules");
        symlink(modules, dir.path().join("node_modules")).expect("writable");
    }
    let links = tempfile::tempdir().expect("a temporary folder can be made");
    command.env("PATH", path_with_programs(links.path()));
    command.envs(gnupg_home.map(|home| ("GNUPGHOME", home)));
    let mut out = must(command.arg("block.mjs").current_dir(dir.path()), b"");
    if info == "sh gnupg-split" {
        // The first line is what `split` says.
        let end = out.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        assert!(String::from_utf8_lossy(&out[..end]).contains(" records in records"));
        out.drain(..end);
    }
    let bodies: Vec<_> = out.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_opened(info, &bodies, &lines);
}

#[test]
fn readme_gnupg() {
    for key in [keys::gpg_rsa4096(), keys::gpg_cv25519()] {
        let home = format!("readme-{}", &key.fingerprint[..12]);
        must(keys::gpg(&home).arg("--import").arg(&key.secret), b"");
        let home = keys::folder().join(format!("{home}.gnupg"));
        run_block("sh gnupg", &key.public, "rfc4880", &["--framing", "base64"], &[], Some(&home));
        run_block("sh gnupg-split", &key.public, "rfc4880", &[], &[], Some(&home));
    }
}

#[test]
fn readme_age() {
    let (age, ed25519, rsa) = (keys::age(), keys::ssh_ed25519(), keys::ssh_rsa());
    for (public, secret) in [(&age.public, &age.secret), (&ed25519.public, &ed25519.secret), (&rsa.public, &rsa.secret)] {
        run_block("sh age", public, "age", &[], &[(secret, "key.txt")], None);
    }
}

#[test]
fn readme_openpgpjs() {
    let dir = folder();
    for key in [&keygen(dir.path()), keys::openpgpjs()] {
        run_block("js openpgpjs", &key.public, "rfc9580", &["--framing", "base64"], &[(&key.secret, "secret.asc")], None);
    }
}

/// 192 bytes a line over the plain text with one X25519 recipient; control records come to little more.
#[test]
fn what_a_line_costs() {
    const LINES: usize = 2000;
    const AT_MOST: u64 = 192;
    let identities = Identities::load(&[&keys::sequoia_v6().secret], &mut Terminal).expect("it is not locked");
    for length in [180, 237, 500, 1000, 4000, 4096, 8000] {
        let dir = folder();
        let mut random = Random(length as u64);
        let mut line = || {
            let mut line: Vec<u8> = (1..length).map(|_| b' ' + (random.next() >> 60) as u8).collect();
            line.push(b'\n');
            line
        };
        let lines: Vec<_> = (0..LINES).map(|_| line()).collect();
        let sealed = seal(dir.path(), &keys::sequoia_v6().public, &[], ".pgp", &lines);
        let file = fs::File::open(&sealed).expect("written");
        let (mut seen, mut controls, opener) = (0, 0, Opener::new(&identities));
        for found in RecordReader::new(file, &opener) {
            let Found::Record(record) = found.expect("it can be read") else { panic!("damage in what was just sealed") };
            if Control::parse(&record.opened.body).is_some() {
                controls += record.length;
                continue;
            }
            let over = record.length - record.opened.body.len() as u64;
            assert!(over <= AT_MOST, "a line of {length} bytes costs {over} more");
            seen += 1;
        }
        assert_eq!(seen, LINES);
        let each = controls as f64 / LINES as f64;
        assert!(each < 8.0, "{each} bytes a line for control records");
    }
}
