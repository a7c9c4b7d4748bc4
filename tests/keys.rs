//! What is sealed to: which keys are taken, which are refused in which words, and what a running filter does when they change.
//!
//! A refused key means: a clear error, a hint, exit status 2, and not a byte of the lines on the disk.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use sealedlog::control::Event;

use common::keys::{self, Pgp};
use common::sealed::{Content, Log, Place, Running, SOON, seal_all, unprivileged};
use common::tools::{must, run, tool, wait_for};

/// Stands in every line that is given to a filter that must refuse.
const NEEDLE: &str = "needle-4f1c7a";

fn line() -> String {
    format!("GET /{NEEDLE} HTTP/1.1\n")
}

// Refusals.

/// Both filters refuse to start with these words, and nothing is made or written.
fn refuses(place: &Place, error: &str, hint: &str) {
    let before = place.files();
    for (program, mut command) in [("sealedlog", place.seal_to("x.log")), ("sealedlog-apache", apache(place))] {
        let output = place.path("stdout");
        command.stdout(fs::File::create(&output).unwrap());
        let mut running = Running::start_with(&mut command);
        let mut pipe = running.take_input();
        // It has ended before it read, perhaps.
        let _ = std::io::Write::write_all(&mut pipe, line().as_bytes());
        drop(pipe);
        let ended = running.wait();
        assert_eq!(ended.stderr, format!("{program}: error: {error}\n{program}: hint: {hint}\n"));
        assert_eq!(ended.status.code(), Some(2));
        assert_eq!(fs::read(&output).unwrap(), b"");
        fs::remove_file(&output).unwrap();
        assert_eq!(place.files(), before, "something was made");
        place.assert_nowhere(NEEDLE);
    }
}

fn apache(place: &Place) -> Command {
    let mut command = place.apache();
    command.arg(place.path("log/x.log"));
    command
}

/// A key folder with one file in it is refused as not usable, for this reason.
fn refuses_file(file: &Path, why: &str, hint: &str) {
    let place = Place::new(&[file]);
    let there = place.path("keys.d").join(file.file_name().unwrap());
    let error = format!("no usable public key in {}; {}{why}", place.path("keys.d").display(), there.display());
    refuses(&place, &error, hint);
    // The same when the file is named instead of the folder.
    let named = run(Command::new(env!("CARGO_BIN_EXE_sealedlog")).args(["keys", "--keys"]).arg(&there), b"").unwrap_err();
    assert!(named.contains(&format!("no usable public key in {0}; {0}{why}", there.display())), "{named}");
}

fn written(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, content).unwrap();
    (folder, file)
}

const NEW_CERTIFICATE: &str = "put a certificate in its place that is in force";
const EXTEND: &str = "extend the certificate where its secret key is, export it again and replace the file";
const ADD_SUBKEY: &str = "add an encryption subkey, export the certificate again and replace the file";
const OTHER_KEY: &str = "use an OpenPGP key (RSA, NIST, X25519, Cv25519), an age recipient, or an ssh-ed25519 or ssh-rsa key";
const EXPORT: &str = "export the public key anew: gpg --export --armor, age-keygen -y, or the .pub file of ssh-keygen";
const SECRET: &str = "take the file off this machine and put only the public half here; treat the key as exposed";
const PUT_ONE: &str = "put an OpenPGP certificate (.asc .gpg .pgp), an age recipient (.age) or an SSH public key (.pub) there";
const PATH: &str = "check that the path is right and may be read by the user that the program runs as";

#[test]
fn certificates_out_of_force_are_refused() {
    let cases: [(&Pgp, &str, &str); 3] = [
        (keys::gpg_expired(), "has expired", EXTEND),
        (keys::gpg_revoked(), "is revoked", NEW_CERTIFICATE),
        (keys::gpg_sign_only(), "has no key for encryption", ADD_SUBKEY),
    ];
    for (key, why, hint) in cases {
        refuses_file(&key.public, &format!(": certificate {} {why}", key.fingerprint), hint);
    }
}

#[test]
fn secret_keys_are_refused_whatever_else_is_there_and_whatever_their_names() {
    let binary = must(tool("gpg").args(["--batch", "--dearmor"]), &fs::read(&keys::gpg_cv25519().secret).unwrap());
    let (_folder, binary) = written("binary.gpg", binary);
    for (secret, good) in [
        (&keys::gpg_cv25519().secret, &keys::gpg_rsa4096().public),
        (&keys::gpg_locked().secret, &keys::gpg_rsa4096().public),
        (&keys::sequoia_v6().secret, &keys::openpgpjs().public),
        (&keys::sequoia_locked().secret, &keys::openpgpjs().public),
        (&binary, &keys::gpg_rsa4096().public),
        (&keys::age().secret, &keys::age_other().public),
        (&keys::ssh_ed25519().secret, &keys::age_other().public),
        (&keys::ssh_rsa_locked().secret, &keys::age_other().public),
    ] {
        for name in ["a.asc", "a.gpg", "a.age", "a.pub", "key.txt", "id_ed25519", "z.key"] {
            let place = Place::new(&[good]);
            let there = place.path("keys.d").join(name);
            fs::copy(secret, &there).unwrap();
            refuses(&place, &format!("{} holds a secret key", there.display()), SECRET);
        }
    }
}

#[test]
fn a_secret_key_beside_its_public_half_in_one_file_is_refused() {
    for (public, secret) in
        [(&keys::gpg_cv25519().public, &keys::gpg_cv25519().secret), (&keys::age().public, &keys::age().secret)]
    {
        for (first, second) in [(public, secret), (secret, public)] {
            let both = [fs::read(first).unwrap(), fs::read(second).unwrap()].concat();
            let (_folder, file) = written("both.asc", both);
            let place = Place::new(&[&file]);
            let error = format!("{} holds a secret key", place.path("keys.d/both.asc").display());
            refuses(&place, &error, SECRET);
        }
    }
}

#[test]
fn a_mixed_folder_is_refused_and_names_both_files() {
    for (openpgp, other) in
        [(&keys::gpg_cv25519().public, &keys::age().public), (&keys::sequoia_v6().public, &keys::ssh_ed25519().public)]
    {
        let place = Place::new(&[openpgp, other]);
        let there = |file: &Path| place.path("keys.d").join(file.file_name().unwrap()).display().to_string();
        let error =
            format!("OpenPGP and age or SSH keys cannot be mixed: {} is OpenPGP, {} is not", there(openpgp), there(other));
        refuses(&place, &error, "keep the OpenPGP certificates or the age and SSH keys, not both");
    }
}

#[test]
fn keys_that_cannot_be_sealed_to_are_refused_by_name() {
    let ssh = |kind: &str, bits: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        must(tool("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-b", bits, "-f"]).arg(&file), b"");
        (folder, file.with_extension("pub"))
    };
    for (kind, bits, what) in [
        ("rsa", "1024", "an ssh-rsa key of less than 2048 bits"),
        ("rsa", "8192", "an ssh-rsa key of more than 4096 bits"),
        ("ecdsa", "256", "a key of type ecdsa-sha2-nistp256"),
    ] {
        let (_folder, file) = ssh(kind, bits);
        refuses_file(&file, &format!(": {what} cannot be sealed to"), OTHER_KEY);
    }
    let plugin = "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t\n";
    let (_folder, file) = written("token.age", plugin);
    refuses_file(&file, ": the age plugin recipient age1yubikey… cannot be sealed to", OTHER_KEY);
    let (_folder, file) = written("elgamal.asc", elgamal());
    refuses_file(&file, ": an Elgamal key cannot be sealed to", OTHER_KEY);
}

/// A certificate whose only encryption key is Elgamal's, by GnuPG.
fn elgamal() -> Vec<u8> {
    let parameters = "%no-protection\nKey-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSubkey-Type: ELG-E\n\
                      Subkey-Length: 1024\nName-Real: elgamal\nExpire-Date: 0\n%commit\n";
    must(keys::gpg("elgamal").args(["--generate-key"]), parameters.as_bytes());
    must(keys::gpg("elgamal").args(["--armor", "--export"]), b"")
}

#[test]
fn short_openpgp_rsa_keys_are_refused() {
    let parameters = "%no-protection\nKey-Type: EDDSA\nKey-Curve: ed25519\nKey-Usage: sign\nSubkey-Type: RSA\n\
                      Subkey-Length: 1024\nName-Real: short\nExpire-Date: 0\n%commit\n";
    must(keys::gpg("short").args(["--generate-key"]), parameters.as_bytes());
    let certificate = must(keys::gpg("short").args(["--armor", "--export"]), b"");
    let (_folder, file) = written("short.asc", certificate);
    let place = Place::new(&[&file]);
    let told = run(Command::new(env!("CARGO_BIN_EXE_sealedlog")).args(["keys", "--keys"]).arg(place.path("keys.d")), b"");
    let told = told.unwrap_err();
    assert!(told.contains("no usable public key") && told.contains("short.asc"), "{told}");
}

#[test]
fn files_that_are_no_keys_are_refused() {
    let armored = fs::read_to_string(&keys::gpg_cv25519().public).unwrap();
    let middle = armored.len() / 2;
    let cut = &armored[..middle];
    for (name, content, why) in [
        ("empty.asc", "", "no OpenPGP certificate, age recipient or SSH key in it"),
        ("notes.asc", "remember the milk\n", ""),
        ("cut.asc", cut, ""),
        ("wrong.age", "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq\n", "invalid Bech32 encoding"),
        ("wrong.pub", "ssh-ed25519 AAAA audit@example.org\n", ""),
        (
            "message.age",
            "age-encryption.org/v1\n-> scrypt\n",
            "it is an age-encrypted file, perhaps a secret key under a passphrase",
        ),
    ] {
        let (_folder, file) = written(name, content);
        let place = Place::new(&[&file]);
        let there = place.path("keys.d").join(name);
        let (keys, there) = (place.path("keys.d").display().to_string(), there.display().to_string());
        let ended = seal_all(&mut place.seal_to("x.log"), line().as_bytes());
        let beginning = format!("sealedlog: error: no usable public key in {keys}; {there}: not a public key: {why}");
        assert!(ended.stderr.starts_with(&beginning), "{name}: {}", ended.stderr);
        assert!(ended.stderr.ends_with(&format!("\nsealedlog: hint: {EXPORT}\n")), "{name}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 2, "{name}: {}", ended.stderr);
        assert_eq!(ended.status.code(), Some(2));
        assert_eq!(place.logs(), [""; 0]);
    }
    let (_folder, file) = written("key.txt", fs::read(&keys::age().public).unwrap());
    let place = Place::new(&[&file]);
    let keys = place.path("keys.d").display().to_string();
    let why = "not a public key: its name does not end in .asc, .gpg, .pgp, .age, .pub";
    refuses(&place, &format!("no usable public key in {keys}; {keys}/key.txt: {why}"), EXPORT);
}

#[test]
fn folders_without_keys_are_refused() {
    let place = Place::new::<&Path>(&[]);
    let keys = place.path("keys.d");
    refuses(&place, &format!("no usable public key in {}", keys.display()), PUT_ONE);
    fs::write(keys.join(".hidden.asc"), fs::read(&keys::gpg_cv25519().public).unwrap()).unwrap();
    refuses(&place, &format!("no usable public key in {}", keys.display()), PUT_ONE);
    fs::remove_file(keys.join(".hidden.asc")).unwrap();
    fs::create_dir(keys.join("folder.asc")).unwrap();
    let why = "not a public key: it is no regular file of a key's size";
    refuses(&place, &format!("no usable public key in {0}; {0}/folder.asc: {why}", keys.display()), EXPORT);
    fs::remove_dir_all(&keys).unwrap();
    refuses(&place, &format!("cannot read {}: No such file or directory (os error 2)", keys.display()), PATH);
    symlink("nowhere", place.path("keys.d")).unwrap();
    refuses(&place, &format!("cannot read {}: No such file or directory (os error 2)", keys.display()), PATH);
}

#[test]
fn rights_that_are_missing_are_told() {
    let place = Place::new(&[&keys::gpg_cv25519().public]);
    let told = |command: &Command| {
        let ended = seal_all(&mut unprivileged(&place, command), line().as_bytes());
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert_eq!(place.logs(), [""; 0]);
        place.assert_nowhere(NEEDLE);
        ended.stderr
    };
    let key = place.path("keys.d").join(keys::gpg_cv25519().public.file_name().unwrap());
    let chmod = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chmod(&place.path("log"), 0o555);
    let folder = place.path("log").canonicalize().unwrap();
    let denied = "Permission denied (os error 13)";
    let hint = "make the folder, and let the user that the program runs as write to it";
    let error = format!("sealedlog: error: cannot write to {}: {denied}\nsealedlog: hint: {hint}\n", folder.display());
    assert_eq!(told(&place.seal_to("x.log")), error.replace("EACCES: ", ""));
    chmod(&place.path("log"), 0o777);
    chmod(&key, 0o000);
    let error = format!("sealedlog: error: cannot read {}: {denied}\nsealedlog: hint: {PATH}\n", key.display());
    assert_eq!(told(&place.seal_to("x.log")), error);
    chmod(&key, 0o644);
    chmod(&place.path("keys.d"), 0o700);
    let error = format!("sealedlog: error: cannot read {}: {denied}\nsealedlog: hint: {PATH}\n", place.path("keys.d").display());
    if nix::unistd::Uid::effective().is_root() {
        assert_eq!(told(&place.seal_to("x.log")), error);
    }
}

#[test]
fn what_cannot_be_appended_to_is_refused() {
    let place = Place::new(&[&keys::gpg_cv25519().public]);
    let log = place.path("log").canonicalize().unwrap();
    let hint = "remove or rename what stands there, or choose another name";
    let error = |what: &str| format!("cannot append to {}/x.log.pgp: {what}", place.path("log").display());
    for target in ["nowhere", "target"] {
        fs::write(log.join("target"), "").unwrap();
        symlink(target, log.join("x.log.pgp")).unwrap();
        refuses(&place, &error("it is a symbolic link, which is never followed"), hint);
        fs::remove_file(log.join("x.log.pgp")).unwrap();
        assert_eq!(fs::read(log.join("target")).unwrap(), b"");
    }
    fs::create_dir(log.join("x.log.pgp")).unwrap();
    refuses(&place, &error("it is not a regular file"), hint);
    fs::remove_dir(log.join("x.log.pgp")).unwrap();
    nix::unistd::mkfifo(&log.join("x.log.pgp"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refuses(&place, &error("it is not a regular file"), hint);
    fs::remove_dir_all(&log).unwrap();
    let error = format!("cannot write to {}: No such file or directory (os error 2)", place.path("log").display());
    fs::create_dir(place.path("elsewhere")).unwrap();
    for mut command in [place.seal_to("x.log"), place.seal_to("deeper/x.log")] {
        let ended = seal_all(&mut command, line().as_bytes());
        assert_eq!(ended.status.code(), Some(2));
        let folder = place.path("log").display().to_string();
        assert!(ended.stderr.starts_with(&format!("sealedlog: error: cannot write to {folder}")), "{error}: {ended:?}");
    }
}

// What is taken.

fn keys_program(words: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
    let output = command.arg("keys").args(words).arg("--keys").arg(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_tools_public_keys_are_taken_with_the_right_profile_and_open_the_log() {
    type Case<'a> = (&'a Path, &'a Path, &'a str, &'a str, &'a str);
    let pgp = |key: &'static Pgp, kind, profile| -> Case<'static> { (&key.public, &key.secret, kind, &key.fingerprint, profile) };
    let ssh = |key: &'static keys::Ssh, kind| -> Case<'static> { (&key.public, &key.secret, kind, "SHA256:", "age") };
    for (public, secret, kind, fingerprint, profile) in [
        pgp(keys::gpg_rsa4096(), "OpenPGP v4 RSA 4096", "rfc4880"),
        pgp(keys::gpg_cv25519(), "OpenPGP v4 ECDH Curve25519", "rfc4880"),
        pgp(keys::rpgp_v4_rsa(), "OpenPGP v4 RSA 3072", "rfc4880"),
        pgp(keys::rpgp_v4_p256(), "OpenPGP v4 ECDH NIST P-256", "rfc4880"),
        pgp(keys::rpgp_v6(), "OpenPGP v6 X25519", "rfc9580"),
        pgp(keys::openpgpjs(), "OpenPGP v6 X25519", "rfc9580"),
        pgp(keys::sequoia_v6(), "OpenPGP v6 X25519", "rfc9580"),
        (&keys::age().public, &keys::age().secret, "age X25519", &keys::age().recipient, "age"),
        ssh(keys::ssh_ed25519(), "SSH Ed25519"),
        ssh(keys::ssh_rsa(), "SSH RSA"),
    ] {
        let place = Place::new(&[public]);
        let there = place.path("keys.d").join(public.file_name().unwrap());
        let (status, check, told) = keys_program(&["check"], &place.path("keys.d"));
        assert_eq!((status, told.as_str()), (Some(0), ""), "{check}");
        assert!(check.starts_with(&format!("{}\n    {kind}  {fingerprint}", there.display())), "{check}");
        let last = check.lines().last().unwrap();
        assert!(last.starts_with(&format!("profile {profile}: ")) && last.contains("; 1 key, each"), "{check}");
        assert_eq!(keys_program(&[], &place.path("keys.d")).1, check, "check is what happens by itself");
        let (status, list, _) = keys_program(&["list"], &place.path("keys.d"));
        let fields: Vec<&str> = list.trim_end_matches('\n').split('\t').collect();
        assert_eq!((status, fields.len()), (Some(0), 5), "{list}");
        assert_eq!(fields[..2], [&there.display().to_string(), kind]);
        assert!(fields[2].starts_with(fingerprint) && fields[3] == "does not expire", "{list}");
        let text = common::lines::Lines::file(1, 20);
        assert!(seal_all(&mut place.seal_to("x.log"), &text).status.success());
        let suffix = if profile == "age" { "age64" } else { "pgp" };
        assert_eq!(place.logs(), [format!("x.log.{suffix}")]);
        let log = Log::whole(&place.path("log").join(&place.logs()[0]), secret);
        assert_eq!(log.text(), text);
        log.assert_settled();
        let Some(Event::Genesis(genesis)) = log.events().next() else { panic!("{:?}", log.kinds()) };
        assert_eq!(genesis.profile, profile);
        assert!(genesis.recipients[0].starts_with(fingerprint) && genesis.recipients.len() == 1);
    }
}

#[test]
fn expiry_and_refused_files_beside_a_good_one_are_told() {
    let mut command = keys::gpg("expires");
    must(
        command.args(["--passphrase", "", "--quick-generate-key", "Ex\u{1b}pires <e@example.org>", "rsa2048", "encr,sign", "2y"]),
        b"",
    );
    let certificate = must(keys::gpg("expires").args(["--armor", "--export"]), b"");
    let (_folder, file) = written("expires.asc", certificate);
    let place = Place::new(&[&file, &keys::gpg_expired().public]);
    fs::write(place.path("keys.d/README"), "the auditors' keys\n").unwrap();
    let (status, check, _) = keys_program(&["check"], &place.path("keys.d"));
    assert_eq!(status, Some(1), "{check}");
    // GnuPG's years have 365 days.
    let expires = jiff::Timestamp::now() + std::time::Duration::from_secs(730 * 86_400);
    let year = expires.to_zoned(jiff::tz::TimeZone::UTC).year();
    assert!(check.contains(&format!("\n    expires {year}-")), "{check}");
    assert!(!check.contains('\u{1b}'), "{check:?}");
    let refused = format!(
        "refused: {}: certificate {} has expired\n    {EXTEND}\n",
        place.path("keys.d/gpg-expired.asc").display(),
        keys::gpg_expired().fingerprint
    );
    assert!(check.contains(&refused), "{check}");
    assert!(check.contains("README: not a public key: its name does not end in"), "{check}");
    let (status, list, _) = keys_program(&["list"], &place.path("keys.d"));
    assert_eq!((status, list.lines().filter(|line| line.starts_with("refused\t")).count()), (Some(1), 2), "{list}");
    // The filter seals to what is left, and says what is not.
    let ended = seal_all(&mut place.seal_to("x.log"), b"line\n");
    assert!(
        ended.status.success() && ended.stderr.contains("sealedlog: warning: ") && ended.stderr.contains("has expired"),
        "{ended:?}"
    );
}

#[test]
fn each_of_several_recipients_opens_all() {
    for (recipients, suffix) in [
        (
            vec![
                (&keys::gpg_cv25519().public, &keys::gpg_cv25519().secret),
                (&keys::gpg_rsa4096().public, &keys::gpg_rsa4096().secret),
                (&keys::rpgp_v4_p256().public, &keys::rpgp_v4_p256().secret),
            ],
            "pgp",
        ),
        (
            vec![
                (&keys::sequoia_v6().public, &keys::sequoia_v6().secret),
                (&keys::openpgpjs().public, &keys::openpgpjs().secret),
                (&keys::rpgp_v6().public, &keys::rpgp_v6().secret),
            ],
            "pgp",
        ),
        (
            vec![
                (&keys::age().public, &keys::age().secret),
                (&keys::ssh_ed25519().public, &keys::ssh_ed25519().secret),
                (&keys::ssh_rsa().public, &keys::ssh_rsa().secret),
            ],
            "age64",
        ),
    ] {
        let place = Place::new(&recipients.iter().map(|(public, _)| public).collect::<Vec<_>>());
        let text = common::lines::Lines::file(2, 10);
        assert!(seal_all(&mut place.seal_to("x.log"), &text).status.success());
        for (_, secret) in recipients {
            let log = Log::whole(&place.path(&format!("log/x.log.{suffix}")), secret);
            assert_eq!(log.text(), text);
        }
    }
}

#[test]
fn version_6_and_gnupgs_keys_do_not_go_together() {
    let place = Place::new(&[&keys::sequoia_v6().public, &keys::gpg_cv25519().public]);
    let there = place.path("keys.d").join(keys::sequoia_v6().public.file_name().unwrap());
    let error =
        format!("profile rfc4880 cannot be used with {}: its key has version 6, which GnuPG cannot read", there.display());
    refuses(&place, &error, "keep keys of one kind in the folder, and leave --profile out where it was given");
}

// Changes while a filter runs.

/// A running `seal`, its file, and lines that are known to be in it.
struct Live {
    place: Place,
    running: Running,
    written: Vec<u8>,
    count: usize,
}

impl Live {
    fn start(keys: &[&Path]) -> Live {
        let place = Place::new(keys);
        let running = Running::start(&mut place.seal_to("x.log"));
        let mut live = Live { place, running, written: Vec::new(), count: 0 };
        live.line("x.log.pgp");
        live
    }

    /// One more line, which must grow this file.
    fn line(&mut self, file: &str) {
        let path = self.place.path("log").join(file);
        let length = || fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let before = length();
        self.count += 1;
        let line = format!("line {}\n", self.count);
        self.running.write(&line);
        self.written.extend_from_slice(line.as_bytes());
        assert!(wait_for(SOON, || length() > before), "{file} does not grow: {}", self.running.told());
    }

    /// Replaces what is in the key folder, as a package or an administrator does, and waits until the filter has gone over.
    fn replace(&mut self, old: &Path, new: &Path) {
        let keys = self.place.path("keys.d");
        let temporary = keys.join(".new");
        fs::copy(new, &temporary).unwrap();
        fs::rename(&temporary, keys.join(new.file_name().unwrap())).unwrap();
        fs::remove_file(keys.join(old.file_name().unwrap())).unwrap();
    }

    fn grows(&self, file: &str, before: u64) -> bool {
        let path = self.place.path("log").join(file);
        wait_for(SOON, || fs::metadata(&path).is_ok_and(|metadata| metadata.len() > before))
    }

    fn length(&self, file: &str) -> u64 {
        fs::metadata(self.place.path("log").join(file)).map_or(0, |metadata| metadata.len())
    }
}

#[test]
fn a_replaced_key_is_followed_and_later_lines_open_with_the_new_one_only() {
    let (old, new) = (keys::gpg_cv25519(), keys::rpgp_v4_p256());
    let mut live = Live::start(&[&old.public]);
    let before = live.length("x.log.pgp");
    live.replace(&old.public, &new.public);
    assert!(live.grows("x.log.pgp", before), "{}", live.running.told());
    live.running.wait_idle();
    live.line("x.log.pgp");
    let file = live.place.path("log/x.log.pgp");
    live.running.end_well();

    let log = Log::open(&[&file], &[&old.secret, &new.secret]);
    assert_eq!((log.text(), log.damage.len()), (live.written, 0));
    log.assert_settled();
    let [only_old, only_new] = [&old.secret, &new.secret].map(|secret| Log::open(&[&file], &[secret]));
    assert_eq!(only_old.text(), b"line 1\n");
    assert_eq!(only_new.text(), b"line 2\n");
    assert_linked(&log);
    let last_old = only_old.entries.last().unwrap();
    assert!(only_new.damage[0].1.offset == 0 && only_old.damage[0].1.offset == last_old.offset + last_old.length);
}

/// Each stream but the last ends with a `recipients` record that names the genesis that follows it, and a `close`.
fn assert_linked(log: &Log) {
    let kinds = log.kinds();
    let (mut named, mut switches) = (None, 0);
    for (at, entry) in log.entries.iter().enumerate() {
        let Content::Control(control) = &entry.content else {
            assert!(named.is_none(), "a line between recipients and genesis: {kinds:?}");
            continue;
        };
        match &control.event {
            Event::Recipients(changed) => {
                assert_ne!(changed.old, changed.new);
                switches += 1;
                named = Some((changed.genesis, control.stream));
            }
            Event::Genesis(genesis) if at > 0 => {
                let (fingerprint, stream) = named.take().unwrap_or_else(|| panic!("no recipients record: {kinds:?}"));
                assert_eq!(log.genesis[&control.stream], fingerprint);
                let follows = genesis.follows.as_ref().expect("it follows a stream");
                assert_eq!((follows.stream, follows.why.as_str()), (stream, "recipients"));
            }
            Event::Close(close) => assert!(matches!(close.why.as_str(), "keys" | "exit" | "unused"), "{close:?}"),
            _ => {}
        }
    }
    assert!(switches > 0 && named.is_none(), "{kinds:?}");
}

#[test]
fn a_hangup_reads_the_keys_again() {
    let (old, new) = (keys::sequoia_v6(), keys::rpgp_v6());
    let key = tempfile::tempdir().unwrap();
    let place = Place::new::<&Path>(&[]);
    // A link, behind which a change is not seen.
    let behind = key.path().join("key.asc");
    fs::copy(&old.public, &behind).unwrap();
    symlink(&behind, place.path("keys.d/key.asc")).unwrap();
    let running = Running::start(&mut place.seal_to("x.log"));
    let mut live = Live { place, running, written: Vec::new(), count: 0 };
    live.line("x.log.pgp");
    fs::copy(&new.public, &behind).unwrap();
    let before = live.length("x.log.pgp");
    live.running.signal(Signal::SIGHUP);
    assert!(live.grows("x.log.pgp", before), "{}", live.running.told());
    live.running.wait_idle();
    live.line("x.log.pgp");
    let file = live.place.path("log/x.log.pgp");
    live.running.end_well();
    let log = Log::open(&[&file], &[&old.secret, &new.secret]);
    assert_eq!((log.text(), log.damage.len()), (live.written, 0));
    assert_linked(&log);
    assert_eq!(Log::open(&[&file], &[&new.secret]).text(), b"line 2\n");
    log.assert_settled();
}

#[test]
fn a_key_that_is_added_opens_later_lines_too() {
    let (old, new) = (keys::sequoia_v6(), keys::openpgpjs());
    let mut live = Live::start(&[&old.public]);
    let before = live.length("x.log.pgp");
    live.place.add_key(&new.public);
    assert!(live.grows("x.log.pgp", before), "{}", live.running.told());
    live.running.wait_idle();
    live.line("x.log.pgp");
    let file = live.place.path("log/x.log.pgp");
    live.running.end();
    assert_eq!(Log::whole(&file, &old.secret).text(), live.written);
    assert_eq!(Log::open(&[&file], &[&new.secret]).text(), b"line 2\n");
    assert_linked(&Log::whole(&file, &old.secret));
}

#[test]
fn from_openpgp_to_age_the_log_goes_on_in_the_file_with_the_other_suffix() {
    let (old, new) = (keys::gpg_cv25519(), keys::age());
    let mut live = Live::start(&[&old.public]);
    live.replace(&old.public, &new.public);
    assert!(live.grows("x.log.age64", 0), "{}", live.running.told());
    live.running.wait_idle();
    live.line("x.log.age64");
    live.line("x.log.age64");
    let files = ["x.log.pgp", "x.log.age64"].map(|name| live.place.path("log").join(name));
    let ended = live.running.end();
    assert!(ended.status.success(), "{ended:?}");
    let log = Log::open(&files, &[&old.secret, &new.secret]);
    assert_eq!((log.text(), log.damage.len()), (live.written, 0));
    log.assert_settled();
    assert_linked(&log);
    assert_eq!(Log::whole(&files[0], &old.secret).text(), b"line 1\n");
    let age = Log::whole(&files[1], &new.secret);
    assert_eq!(age.kinds(), ["genesis", "segment", "line", "close"]);
    let Some(Event::Segment(segment)) = age.events().nth(1) else { unreachable!() };
    assert_eq!(segment.before.as_ref().unwrap().name, "x.log.pgp");
}

#[test]
fn an_unusable_folder_is_warned_of_and_followed_again_when_it_is_repaired() {
    let (old, new) = (keys::sequoia_v6(), keys::rpgp_v6());
    let mut live = Live::start(&[&old.public]);
    let keys = live.place.path("keys.d");
    // Empty; gone; there again and empty; with a secret key; good.
    fs::remove_file(keys.join(old.public.file_name().unwrap())).unwrap();
    live.running.wait_told(&format!(
        "warning: no usable public key in {}; lines go on being sealed to the last good keys",
        keys.display()
    ));
    live.line("x.log.pgp");
    fs::remove_dir(&keys).unwrap();
    live.running.wait_told(&format!("warning: cannot read {}: No such file", keys.display()));
    live.line("x.log.pgp");
    fs::create_dir(&keys).unwrap();
    live.running.wait_idle();
    fs::copy(&new.secret, keys.join("new.asc")).unwrap();
    live.running.wait_told("new.asc holds a secret key; lines go on");
    live.line("x.log.pgp");
    let before = live.length("x.log.pgp");
    fs::copy(&new.public, keys.join("new.asc")).unwrap();
    assert!(live.grows("x.log.pgp", before), "{}", live.running.told());
    live.running.wait_idle();
    live.line("x.log.pgp");
    // And it goes on being watched.
    let before = live.length("x.log.pgp");
    fs::copy(&old.public, keys.join("new.asc")).unwrap();
    assert!(live.grows("x.log.pgp", before), "{}", live.running.told());
    live.running.wait_idle();
    live.line("x.log.pgp");
    let file = live.place.path("log/x.log.pgp");
    assert!(live.running.end().status.success());
    let log = Log::open(&[&file], &[&old.secret, &new.secret]);
    assert_eq!((log.text(), log.damage.len()), (live.written, 0));
    assert_linked(&log);
    assert_eq!(Log::open(&[&file], &[&new.secret]).text(), b"line 5\n");
    log.assert_settled();
}

#[test]
fn a_folder_that_is_replaced_goes_on_being_watched() {
    let (old, new) = (keys::sequoia_v6(), keys::rpgp_v6());
    let mut live = Live::start(&[&old.public]);
    let (keys, next) = (live.place.path("keys.d"), live.place.path("next.d"));
    fs::remove_dir_all(&keys).unwrap();
    live.running.wait_told(&format!("warning: cannot read {}: No such file", keys.display()));
    fs::create_dir(&next).unwrap();
    fs::copy(&old.public, next.join("key.asc")).unwrap();
    fs::rename(&next, &keys).unwrap();
    live.running.wait_idle();
    let before = live.length("x.log.pgp");
    fs::copy(&new.public, keys.join("key.asc")).unwrap();
    assert!(live.grows("x.log.pgp", before), "{}", live.running.told());
    live.running.wait_idle();
    live.line("x.log.pgp");
    let file = live.place.path("log/x.log.pgp");
    assert!(live.running.end().status.success());
    assert_eq!(Log::open(&[&file], &[&new.secret]).text(), b"line 2\n");
}

#[test]
fn a_log_that_stands_beside_its_key_does_not_keep_the_filter_busy() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let key = place.path("keys.d").join(keys::sequoia_v6().public.file_name().unwrap());
    // A file that is refused: each time that the keys are read it would be looked at.
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
    command.arg("seal").arg("--keys").arg(&key).arg("-o").arg(place.path("keys.d/x.log"));
    command.arg("--state").arg(place.path("state")).arg("--runtime").arg(place.path("run"));
    let trace = place.path("trace");
    let mut traced = tool("strace");
    traced.args(["-f", "-qq", "-e", "trace=openat", "-o"]).arg(&trace).arg(command.get_program()).args(command.get_args());
    let mut running = Running::start(&mut traced);
    for count in 0..50 {
        running.write(format!("line {count}\n"));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(running.end().status.success());
    let opened = fs::read_to_string(&trace).unwrap();
    let times = opened.lines().filter(|line| line.contains(key.to_str().unwrap())).count();
    assert_eq!(times, 1, "the key was read {times} times");
}
