//! Secret keys of other programs open our records, and other programs open records that were split.
#![cfg(feature = "audit")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use age::secrecy::SecretString;
use pgp::composed::{Deserializable, Message, SignedSecretKey};
use sealedlog::audit::read::{Found, Opener, RecordReader};
use sealedlog::chain::{ChainKey, Kind};
use sealedlog::identity::{Descriptor, Identities, LoadError};
use sealedlog::recipient::{self, Recipients};
use sealedlog::record::seal::{EpochSealer, Processor, table_len};
use sealedlog::record::{Cipher, Framing, Profile};

const PASSPHRASE: &str = "correct hörse";

fn bodies() -> Vec<Vec<u8>> {
    vec![b"GET / HTTP/1.1\r\n".to_vec(), b"\n".to_vec(), b"\0\xff no newline".to_vec(), vec![b'x'; 100_000]]
}

fn recipients(public: &Path) -> Arc<Recipients> {
    let keys = recipient::parse(public, &fs::read(public).unwrap(), SystemTime::now());
    Arc::new(Recipients::new(keys.into_iter().map(Result::unwrap).collect(), None).unwrap())
}

/// Seals some lines to a key and opens them with its secret half; gives the sealed file.
fn round_trip(folder: &Path, public: &Path, secret: &Path, passphrase: &str, profile: Profile) -> PathBuf {
    let recipients = recipients(public);
    assert_eq!(recipients.profile(), profile);
    let epoch = ChainKey::from_bytes([1; 32]).epoch_key();
    let mut file = Vec::new();
    let table = vec![0; table_len(&recipients, 64)];
    let mut sealer = EpochSealer::new(recipients, &epoch, 64, table, Processor::ANY).unwrap();
    for body in bodies() {
        sealer.seal(Kind::Line, 1_790_000_000, &body, profile.framing(), &mut file).unwrap();
    }
    let identities = Identities::load(&[secret], &mut descriptor(passphrase)).unwrap();
    let opener = Opener::new(&identities);
    let found: Vec<_> = RecordReader::new(&file[..], &opener).map(Result::unwrap).collect();
    assert_eq!(found.len(), bodies().len());
    for (i, (found, body)) in found.iter().zip(bodies()).enumerate() {
        let Found::Record(record) = found else { panic!("{found:?}") };
        assert!(record.opened.body == body);
        assert_eq!(record.opened.proves(i as u32, &epoch), Some(Kind::Line));
    }
    let path = folder.join("log").with_extension(&profile.suffix(profile.framing())[1..]);
    fs::write(&path, &file).unwrap();
    path
}

fn descriptor(passphrase: &str) -> Descriptor {
    Descriptor::read(format!("{passphrase}\n").as_bytes()).unwrap()
}

fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Output {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn audit() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"))
}

/// Runs `split` and gives the records' files, in order.
fn split(folder: &Path, sealed: &Path) -> Vec<PathBuf> {
    let records = folder.join("records");
    let output = audit().args([OsStr::new("split"), sealed.as_os_str(), OsStr::new("-o"), records.as_os_str()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("4 records in {}\n", records.display()));
    let mut files: Vec<_> = fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files[0].file_stem().unwrap() == "00000001" && files[3].file_stem().unwrap() == "00000004");
    files
}

struct Gpg(tempfile::TempDir);

impl Gpg {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self(home)
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut gpg = Command::new("gpg")
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--batch", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", PASSPHRASE])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        gpg.stdin.take().unwrap().write_all(input).unwrap();
        let output = gpg.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "gpg-agent"]).status();
    }
}

fn gpg_opens_and_its_keys_open(key: &str, protection: &str, export: &[&str]) {
    let (gpg, folder) = (Gpg::new(), tempfile::tempdir().unwrap());
    let parameters = format!("{key}\nName-Real: Auditor\nExpire-Date: 0\n{protection}\n%commit\n");
    gpg.run(&["--gen-key"], parameters.as_bytes());
    let (public, secret) = (folder.path().join("public.gpg"), folder.path().join("secret.gpg"));
    fs::write(&public, gpg.run(&["--export"], b"")).unwrap();
    fs::write(&secret, gpg.run(export, b"")).unwrap();
    let sealed = round_trip(folder.path(), &public, &secret, PASSPHRASE, Profile::Rfc4880);
    for (record, body) in split(folder.path(), &sealed).iter().zip(bodies()) {
        assert!(gpg.run(&["--decrypt", record.to_str().unwrap()], b"") == body);
    }
    let error = Identities::load(&[&public], &mut descriptor("")).err().unwrap();
    assert!(matches!(error, LoadError::PublicKey(_)) && error.hint().contains("--export-secret-keys"), "{error}");
    let wrong = Identities::load(&[&secret], &mut descriptor("wrong")).err();
    assert_eq!(matches!(wrong, Some(LoadError::WrongPassphrase(_))), protection.starts_with("Passphrase"));
}

#[test]
fn gpg_cv25519() {
    let key = "Key-Type: EDDSA\nKey-Curve: ed25519\nSubkey-Type: ECDH\nSubkey-Curve: cv25519";
    gpg_opens_and_its_keys_open(key, "%no-protection", &["--armor", "--export-secret-keys"]);
    gpg_opens_and_its_keys_open(key, &format!("Passphrase: {PASSPHRASE}"), &["--export-secret-keys"]);
    // The primary key's secret stays where it is: its place is taken by a stub.
    gpg_opens_and_its_keys_open(key, &format!("Passphrase: {PASSPHRASE}"), &["--export-secret-subkeys"]);
}

#[test]
fn gpg_rsa_4096() {
    let key = "Key-Type: RSA\nKey-Length: 2048\nSubkey-Type: RSA\nSubkey-Length: 4096";
    gpg_opens_and_its_keys_open(key, &format!("Passphrase: {PASSPHRASE}"), &["--armor", "--export-secret-keys"]);
    gpg_opens_and_its_keys_open(key, &format!("Passphrase: {PASSPHRASE}"), &["--export-secret-subkeys"]);
}

#[test]
fn age_and_ssh() {
    for (kind, passphrase) in [("age", ""), ("ed25519", ""), ("rsa", ""), ("ed25519", PASSPHRASE), ("rsa", PASSPHRASE)] {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("key");
        let public = folder.path().join("key.pub");
        let path = secret.to_str().unwrap();
        if kind == "age" {
            run("age-keygen", &["-o", path]);
            fs::write(&public, run("age-keygen", &["-y", path]).stdout).unwrap();
        } else {
            run("ssh-keygen", &["-q", "-t", kind, "-N", passphrase, "-f", path]);
        }
        let sealed = round_trip(folder.path(), &public, &secret, passphrase, Profile::Age);
        let records = split(folder.path(), &sealed);
        assert!(matches!(Identities::load(&[&public], &mut descriptor("")), Err(LoadError::PublicKey(_))));
        if passphrase.is_empty() {
            for (record, body) in records.iter().zip(bodies()) {
                assert!(run("age", &["--decrypt", "-i", path, record.to_str().unwrap()]).stdout == body);
            }
        } else {
            let wrong = Identities::load(&[&secret], &mut descriptor("wrong"));
            assert!(matches!(wrong, Err(LoadError::WrongPassphrase(_))));
        }
    }
}

#[test]
fn an_old_encrypted_ssh_key_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("key");
    run("ssh-keygen", &["-q", "-t", "rsa", "-m", "PEM", "-N", PASSPHRASE, "-f", secret.to_str().unwrap()]);
    let error = Identities::load(&[&secret], &mut descriptor(PASSPHRASE)).err().unwrap();
    assert!(matches!(error, LoadError::Unsupported { .. }) && error.hint().contains("ssh-keygen -p"), "{error}");
}

#[test]
fn an_age_identity_in_a_binary_age_file() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, public) = (folder.path().join("key"), folder.path().join("key.age"));
    let identity = age::x25519::Identity::generate();
    fs::write(&public, identity.to_public().to_string()).unwrap();
    let plain = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(PASSPHRASE));
    recipient.set_work_factor(4);
    fs::write(&secret, age::encrypt(&recipient, plain.as_bytes()).unwrap()).unwrap();
    round_trip(folder.path(), &public, &secret, PASSPHRASE, Profile::Age);
}

/// Runs `keygen` with the passphrase on standard input, a descriptor like any other.
fn keygen(args: &[&str], passphrase: &str) -> Output {
    let mut child =
        audit().arg("keygen").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(passphrase.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn what_keygen_makes_is_taken_sealed_to_and_opens() {
    for passphrase in ["", PASSPHRASE] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let how: &[&str] = if passphrase.is_empty() { &["--no-passphrase"] } else { &["--passphrase-fd", "0"] };
        let args = [&["--name", "Auditor <a@example.org>", "-o", path.to_str().unwrap()], how].concat();
        let output = keygen(&args, passphrase);
        assert!(output.status.success(), "{output:?}");
        let (secret, public) = (path.join("sealedlog-secret.asc"), path.join("sealedlog-public.asc"));
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        let recipients = recipients(&public);
        assert_eq!((recipients.profile(), recipients.cipher()), (Profile::Rfc9580, Cipher::Aes256));
        assert_eq!(recipients.keys()[0].expires, None);
        assert!(String::from_utf8_lossy(&output.stdout).contains(&recipients.fingerprints()[0]));
        assert_eq!(recipients.keys()[0].label, "Auditor <a@example.org>");
        let sealed = round_trip(folder.path(), &public, &secret, passphrase, Profile::Rfc9580);
        let (key, _) = SignedSecretKey::from_armor_single(&fs::read(&secret).unwrap()[..]).unwrap();
        for (record, body) in split(folder.path(), &sealed).iter().zip(bodies()) {
            let record = fs::read(record).unwrap();
            let message = Message::from_bytes(&record[..]).unwrap();
            let mut message = message.decrypt(&passphrase.into(), &key).unwrap();
            assert!(message.as_data_vec().unwrap() == body);
        }
        let before = fs::read(&secret).unwrap();
        assert_eq!(keygen(&args, passphrase).status.code(), Some(2), "a key was overwritten");
        assert_eq!(fs::read(&secret).unwrap(), before);
    }
}

#[test]
fn keygen_makes_age_identities() {
    for passphrase in ["", PASSPHRASE] {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public) = (folder.path().join("s"), folder.path().join("p.age"));
        let how: &[&str] = if passphrase.is_empty() { &["--no-passphrase"] } else { &["--passphrase-fd", "0"] };
        let files = ["--age", "--secret", secret.to_str().unwrap(), "--public", public.to_str().unwrap()];
        let output = keygen(&[&files, how].concat(), passphrase);
        assert!(output.status.success(), "{output:?}");
        let sealed = round_trip(folder.path(), &public, &secret, passphrase, Profile::Age);
        if passphrase.is_empty() {
            let record = &split(folder.path(), &sealed)[0];
            let opened = run("age", &["--decrypt", "-i", secret.to_str().unwrap(), record.to_str().unwrap()]);
            assert_eq!(opened.stdout, bodies()[0]);
        }
    }
}

#[test]
fn keygen_expires_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let output = keygen(&["--no-passphrase", "--expires", "3y", "-o", path], "");
    assert!(output.status.success(), "{output:?}");
    let recipients = recipients(&folder.path().join("sealedlog-public.asc"));
    let left = recipients.keys()[0].expires.unwrap().duration_since(SystemTime::now()).unwrap().as_secs() / 86400;
    assert!((1094..=1096).contains(&left), "{left} days");
}

#[test]
fn split_tells_damage_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    keygen(&["--no-passphrase", "-o", path], "");
    let (public, secret) = (folder.path().join("sealedlog-public.asc"), folder.path().join("sealedlog-secret.asc"));
    let sealed = round_trip(folder.path(), &public, &secret, "", Profile::Rfc9580);
    let mut file = fs::read(&sealed).unwrap();
    // The length in the header of the second record's SEIPD packet: it reaches into the third.
    let second = sealedlog::record::openpgp::Message::parse(&file).unwrap().len;
    let at = second + sealedlog::record::openpgp::Message::parse(&file[second..]).unwrap().pkesks.len() + 1;
    file[at] += 20;
    file.extend_from_slice(&fs::read(&sealed).unwrap()[..50]);
    fs::write(&sealed, &file).unwrap();
    let output =
        audit().args(["split", sealed.to_str().unwrap(), "-o", folder.path().join("out").to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.starts_with("3 records"), "{stdout}{stderr}");
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert!(stderr.contains(&format!("at offset {second}:")) && stderr.contains("cut short"), "{stderr}");
    assert_eq!(Framing::Binary, Profile::Rfc9580.framing());
}
