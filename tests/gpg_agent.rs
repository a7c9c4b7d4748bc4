//! Secret keys in a real gpg-agent open logs, and where it does not use them that is told.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::keys::{self, PASSPHRASE, Pgp};
use common::sealed::{Place, seal_all};
use common::tools::{must, tool};

const LINES: &[u8] = b"GET / HTTP/1.1\nGET /needle-5d20 HTTP/1.1\n";

/// A log that is sealed to a key.
fn sealed(key: &Pgp, options: &[&str]) -> Place {
    let place = Place::new(&[&key.public]);
    let ended = seal_all(place.seal_to("x.log").args(options), LINES);
    assert!(ended.status.success(), "{ended:?}");
    place
}

/// The home in which tests/common made a key of this name.
fn home(name: &str) -> PathBuf {
    keys::folder().join(format!("{name}.gnupg"))
}

/// Opens with the agent of a home, on no terminal.
fn open(place: &Place, home: &Path, more: &[&Path]) -> Output {
    let mut open = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    open.arg("open").arg(place.path("log")).arg("--gpg-agent").args(more);
    open.env("GNUPGHOME", home).env_remove("GPG_TTY").env_remove("DISPLAY").output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn assert_opens(output: &Output) {
    assert_eq!((&output.stdout[..], output.status.code()), (LINES, Some(0)), "{output:?}");
}

fn gpgconf(home: &Path, arguments: &[&str]) {
    must(tool("gpgconf").arg("--homedir").arg(home).args(arguments), b"");
}

#[test]
fn keys_of_the_agent_open_logs() {
    let (curve, rsa) = (keys::gpg_cv25519(), keys::gpg_rsa4096());
    assert_opens(&open(&sealed(curve, &[]), &home("gpg-25519"), &[]));
    assert_opens(&open(&sealed(rsa, &[]), &home("gpg-rsa"), &[]));
    assert_opens(&open(&sealed(rsa, &["--profile", "rfc9580"]), &home("gpg-rsa"), &[]));
    // It is started where it does not run.
    gpgconf(&home("gpg-25519"), &["--kill", "gpg-agent"]);
    assert_opens(&open(&sealed(curve, &["--framing", "base64"]), &home("gpg-25519"), &[]));
}

#[test]
fn a_nist_key_that_was_imported_opens_logs() {
    let key = keys::rpgp_v4_p256();
    must(keys::gpg("agent-p256").arg("--import"), &fs::read(&key.secret).unwrap());
    assert_opens(&open(&sealed(key, &[]), &home("agent-p256"), &[]));
    assert_opens(&open(&sealed(key, &["--profile", "rfc9580"]), &home("agent-p256"), &[]));
}

/// A pinentry that says this instead of asking anybody.
fn pinentry(home: &Path, answer: &str) {
    let program = home.join("pinentry");
    let asked = home.join("asked");
    let script = format!(
        "#!/bin/sh\necho OK\nwhile read -r word rest; do\n case $word in\n GETPIN) echo x >>'{}'; {answer};;\n \
         BYE) echo OK; exit;;\n *) echo OK;;\n esac\ndone\n",
        asked.display()
    );
    let _ = fs::remove_file(&asked);
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.join("gpg-agent.conf"), format!("pinentry-program {}\n", program.display())).unwrap();
    gpgconf(home, &["--kill", "gpg-agent"]);
}

#[test]
fn a_locked_key_is_asked_for_once_and_told_when_nobody_unlocks_it() {
    let (key, home) = (keys::gpg_locked(), home("gpg-locked"));
    let place = sealed(key, &[]);
    let subkey = "does not use its key ";
    pinentry(&home, "echo ERR 83886179 cancelled");
    let output = open(&place, &home, &[]);
    assert_eq!((&output.stdout[..], output.status.code()), (&b""[..], Some(2)), "{output:?}");
    assert!(told(&output).contains(subkey) && told(&output).contains("hint: insert the card"), "{output:?}");
    assert_eq!(fs::read(home.join("asked")).unwrap(), b"x\n", "two records and more are in the log");
    // Another key does the rest.
    let output = open(&place, &home, &[Path::new("--key"), &keys::gpg_cv25519().secret]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");

    pinentry(&home, "exit 1");
    let output = open(&place, &home, &[]);
    assert!(output.status.code() == Some(2) && told(&output).contains(subkey), "{output:?}");

    fs::write(home.join("gpg-agent.conf"), "pinentry-program /nonexistent/pinentry\n").unwrap();
    gpgconf(&home, &["--kill", "gpg-agent"]);
    let output = open(&place, &home, &[]);
    assert!(output.status.code() == Some(2) && told(&output).contains(subkey), "{output:?}");

    pinentry(&home, &format!("echo 'D {PASSPHRASE}'; echo OK"));
    assert_opens(&open(&place, &home, &[]));
    assert_eq!(fs::read(home.join("asked")).unwrap(), b"x\n");
}

#[test]
fn no_key_no_home_and_no_gnupg_are_told() {
    let place = sealed(keys::gpg_cv25519(), &[]);
    let key = [Path::new("--key"), &keys::gpg_cv25519().secret];
    let empty = home("agent-empty");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&empty).unwrap();
    let missing = home("agent-missing");
    for (home, error) in [(&empty, "gpg-agent has no secret key that can decrypt"), (&missing, "error: cannot ")] {
        let output = open(&place, home, &[]);
        assert_eq!((&output.stdout[..], output.status.code()), (&b""[..], Some(2)), "{output:?}");
        assert!(told(&output).contains(error) && told(&output).contains("hint: "), "{output:?}");
        // The rest is done.
        let output = open(&place, home, &key);
        assert_eq!((&output.stdout[..], output.status.code()), (LINES, Some(2)), "{output:?}");
        assert!(told(&output).contains(error), "{output:?}");
    }
    let mut without = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    let output = without.arg("open").arg(place.path("log")).arg("--gpg-agent").env("PATH", "/nonexistent").output().unwrap();
    assert!(output.status.code() == Some(2) && told(&output).contains("cannot ask GnuPG for its keys: gpgconf: "), "{output:?}");
}

#[test]
fn the_agents_key_for_other_logs_opens_none() {
    keys::gpg_cv25519();
    let output = open(&sealed(keys::gpg_rsa4096(), &[]), &home("gpg-25519"), &[]);
    assert_eq!((&output.stdout[..], output.status.code()), (&b""[..], Some(2)), "{output:?}");
    assert!(told(&output).contains("error: no record opened") && told(&output).contains("the secret key belongs"), "{output:?}");
}
