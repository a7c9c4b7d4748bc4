//! A secret key in shares, by the programs: what `keygen` leaves, who opens logs with how many, and what is told.
//!
//! Every subset of sets of many sizes, and every kind of changed share, are tested with the module.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::keys;
use common::sealed::{Place, names, seal_all};
use common::tools::{must, run};

const LINES: &[u8] = b"GET / HTTP/1.1\nGET /needle-93c1 HTTP/1.1\n";

fn audit() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"))
}

/// A key in shares, and a log that was sealed to it.
struct Shared {
    folder: tempfile::TempDir,
    shares: Vec<PathBuf>,
    place: Place,
    told: String,
}

impl Shared {
    fn new(shares: usize, needed: usize, kind: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let counts = [shares, needed].map(|count| count.to_string());
        let mut keygen = audit();
        keygen.arg("keygen").args(kind).args(["--shares", &counts[0], "--threshold", &counts[1], "-o"]).arg(folder.path());
        let told = String::from_utf8(must(&mut keygen, b"")).unwrap();
        let file = |number| folder.path().join(format!("sealedlog-share-{number}-of-{shares}.txt"));
        let shares = (1..=shares).map(file).collect();
        let public = if kind.is_empty() { "sealedlog-public.asc" } else { "sealedlog-public.age" };
        let place = Place::new(&[folder.path().join(public)]);
        let ended = seal_all(&mut place.seal_to("x.log"), LINES);
        assert!(ended.status.success(), "{ended:?}");
        Self { folder, shares, place, told }
    }

    fn run(&self, command: &str, places: &[usize], more: &[&Path]) -> Output {
        let mut audit = audit();
        audit.arg(command).arg(self.place.path("log"));
        for &place in places {
            audit.arg("--share").arg(&self.shares[place]);
        }
        audit.args(more).output().unwrap()
    }

    fn open(&self, places: &[usize]) -> Output {
        self.run("open", places, &[])
    }
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// All lines, and no word but that there is no root.
fn assert_opens(output: &Output) {
    assert_eq!(output.stdout, LINES, "{output:?}");
    assert_eq!((output.status.code(), told(output).lines().count()), (Some(0), 1), "{output:?}");
}

#[test]
fn keygen_writes_shares_and_no_secret_key() {
    for (kind, public) in [(&[][..], "sealedlog-public.asc"), (&["--age"], "sealedlog-public.age")] {
        let shared = Shared::new(5, 3, kind);
        let shares: Vec<String> = (1..=5).map(|number| format!("sealedlog-share-{number}-of-5.txt")).collect();
        let mut files = [vec![public.to_owned()], shares].concat();
        files.sort();
        assert_eq!(names(shared.folder.path()), files);
        for share in &shared.shares {
            assert_eq!(fs::metadata(share).unwrap().permissions().mode() & 0o777, 0o600);
            let text = fs::read_to_string(share).unwrap();
            assert!(!text.contains("PRIVATE KEY") && !text.contains("AGE-SECRET"), "{text}");
            assert!(shared.told.contains(&share.display().to_string()), "{}", shared.told);
            let fingerprint = text.split_once("\nKey: ").unwrap().1.split_once('\n').unwrap().0;
            assert!(shared.told.contains(&format!("fingerprint: {fingerprint}\n")), "{}", shared.told);
        }
        assert!(shared.told.contains("any 3 of the 5 open the logs"), "{}", shared.told);
    }
}

#[test]
fn exactly_the_subsets_that_are_large_enough_open_the_log() {
    for (shares, needed, kind) in [(2, 2, &[][..]), (3, 2, &["--age"]), (5, 3, &[])] {
        let shared = Shared::new(shares, needed, kind);
        for subset in 1u32..1 << shares {
            let places: Vec<usize> = (0..shares).filter(|at| subset >> at & 1 == 1).collect();
            let output = shared.open(&places);
            if places.len() >= needed {
                assert_opens(&output);
                continue;
            }
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{output:?}");
            let (have, missing) = (places.len(), needed - places.len());
            let told = told(&output);
            assert!(told.contains(&format!(": {have} of the {needed} that are needed, {missing} missing\n")), "{told}");
            let others: Vec<_> = (0..shares).filter(|at| !places.contains(at)).map(|at| (at + 1).to_string()).collect();
            assert!(told.contains(&format!("other shares of this set: {}\n", others.join(", "))), "{told}");
            assert_eq!(told.lines().count(), 2, "{told}");
        }
    }
}

#[test]
fn verify_takes_shares_and_nothing_is_written() {
    let shared = Shared::new(3, 2, &[]);
    let here = tempfile::tempdir().unwrap();
    let mut verify = audit();
    verify.current_dir(here.path()).env("TMPDIR", here.path()).env("HOME", here.path());
    verify.arg("verify").arg(shared.place.path("log")).arg("--trust-first");
    let told = must(verify.arg("--share").arg(&shared.shares[2]).arg("--share").arg(&shared.shares[0]), b"");
    assert!(String::from_utf8_lossy(&told).contains("2 lines in"), "{}", String::from_utf8_lossy(&told));
    assert_eq!(names(here.path()), [""; 0]);
    assert_eq!(names(shared.folder.path()).len(), 4);
}

#[test]
fn a_bad_share_is_named_and_the_rest_is_done() {
    let shared = Shared::new(3, 2, &[]);
    let text = fs::read_to_string(&shared.shares[1]).unwrap();
    let bad = shared.shares[1].display().to_string();
    let key = keys::gpg_cv25519();
    let cases = [
        (text.replace("\nNeeded: 2", "\nNeeded: 3"), format!("error: damaged share: {bad}: its checksum is another\n")),
        ("something else\n".to_owned(), format!("error: not a share of a secret key: {bad}\n")),
        (fs::read_to_string(&key.secret).unwrap(), format!("error: not a share of a secret key: {bad}\n")),
    ];
    for (content, error) in cases {
        fs::write(&shared.shares[1], content).unwrap();
        let output = shared.open(&[0, 1, 2]);
        assert_eq!((&output.stdout[..], output.status.code()), (LINES, Some(2)), "{output:?}");
        assert!(told(&output).contains(&error), "{output:?}");
        // Not enough is left.
        let output = shared.open(&[0, 1]);
        assert_eq!((&output.stdout[..], output.status.code()), (&b""[..], Some(2)), "{output:?}");
        assert!(told(&output).contains(&error) && told(&output).contains("1 missing"), "{output:?}");
        let output = shared.run("verify", &[0, 1, 2], &[]);
        assert!(output.status.code() == Some(2) && String::from_utf8_lossy(&output.stdout).contains("2 lines in"), "{output:?}");
    }
    fs::remove_file(&shared.shares[1]).unwrap();
    let output = shared.open(&[0, 1, 2]);
    assert!(output.status.code() == Some(2) && told(&output).contains(&format!("cannot read the share: {bad}: ")), "{output:?}");
}

#[test]
fn shares_of_another_key_are_told() {
    let (mine, other) = (Shared::new(3, 2, &[]), Shared::new(3, 2, &[]));
    let output = mine.run("open", &[0], &[Path::new("--share"), &other.shares[1]]);
    assert_eq!((&output.stdout[..], output.status.code()), (&b""[..], Some(2)), "{output:?}");
    let told = told(&output);
    assert_eq!(told.matches("the other shares are of other sets").count(), 2, "{told}");
    assert!([&mine.shares[0], &other.shares[1]].iter().all(|share| told.contains(&share.display().to_string())), "{told}");
    // Enough of one, and of the other: each opens its own.
    let both = [Path::new("--share"), &other.shares[1], Path::new("--share"), &other.shares[2]];
    assert_opens(&mine.run("open", &[0, 1], &both));
}

#[test]
fn a_key_and_shares_go_together_and_are_not_taken_for_each_other() {
    let shared = Shared::new(3, 2, &[]);
    let key = &keys::sequoia_v6().secret;
    assert_opens(&shared.run("open", &[0, 1], &[Path::new("--key"), key]));
    let output = shared.run("open", &[0, 1], &[Path::new("--key"), &shared.shares[2]]);
    assert_eq!((&output.stdout[..], output.status.code()), (LINES, Some(2)), "{output:?}");
    assert!(told(&output).contains("not a whole secret key: ") && told(&output).contains("with --share"), "{output:?}");
    let output = run(audit().arg("open").arg(shared.place.path("log")), b"").unwrap_err();
    assert!(output.contains("--key") && output.contains("--share"), "{output}");
}

#[test]
fn keygen_refuses_what_makes_no_sense_and_overwrites_nothing() {
    let shared = Shared::new(3, 2, &[]);
    let folder = shared.folder.path().to_str().unwrap();
    for (args, told) in [
        (&["--shares", "3", "-o", folder][..], "--threshold"),
        (&["--threshold", "3", "-o", folder], "--shares"),
        (&["--shares", "3", "--threshold", "1", "-o", folder], "1 is not in 2.."),
        (&["--shares", "256", "--threshold", "2", "-o", folder], "256 is not in 2.."),
        (&["--shares", "3", "--threshold", "4", "-o", folder], "--threshold 4 is more than there are shares: 3"),
        (&["--shares", "3", "--threshold", "2", "--secret", "s", "--public", "p"], "--secret"),
        (&["--shares", "3", "--threshold", "2", "--passphrase-fd", "0", "-o", folder], "--passphrase-fd"),
    ] {
        let error = run(audit().arg("keygen").args(args), b"").unwrap_err();
        assert!(error.contains(told) && error.contains("exit status: 2"), "{error}");
    }
    let before = fs::read(&shared.shares[2]).unwrap();
    fs::remove_file(&shared.shares[0]).unwrap();
    let again = ["keygen", "--shares", "3", "--threshold", "2", "-o", folder];
    let error = run(audit().args(again), b"").unwrap_err();
    assert!(error.contains("no key is overwritten"), "{error}");
    assert_eq!(fs::read(&shared.shares[2]).unwrap(), before);
    assert_eq!(names(shared.folder.path()).len(), 3, "what was begun is there");
}
