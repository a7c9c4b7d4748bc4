//! Other people's vectors through our readers: the age test kit (C2SP CCTV), which the age crate brings, and the examples of
//! RFC 9580, appendix A (`tests/vectors/rfc9580-appendix`). Each opens or fails as its authors say, in the one form in which
//! we read such a thing: as a record.

#![cfg(feature = "audit")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::STANDARD};
use common::tools::{must, tool};
use sealedlog::audit::read::{Found, Opener, RecordReader, Why};
use sealedlog::control::Hex;
use sealedlog::identity::{Identities, PassphraseSource};
use sealedlog::recipient::{self, Recipients, Refusal};
use sealedlog::record::age::{AgeError, AgeFile};
use sealedlog::record::openpgp::Message;
use sealedlog::record::{Framing, MAX_RECORD, Profile, framing};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

struct Passphrase(&'static str);

impl PassphraseSource for Passphrase {
    fn passphrase(&mut self, _file: &Path, attempt: u32) -> io::Result<Option<Zeroizing<String>>> {
        Ok((attempt == 0).then(|| Zeroizing::new(self.0.to_owned())))
    }
}

fn identities(content: &[u8], passphrase: &'static str) -> Identities {
    let mut identities = Identities::default();
    identities.add(Path::new("a vector"), content, &mut Passphrase(passphrase)).unwrap();
    identities
}

/// What a file with nothing but this is found to hold. Where something stands behind a record, it is told.
fn read(file: &[u8], identities: &Identities) -> Result<Vec<u8>, Why> {
    let opener = Opener::new(identities);
    let (mut opened, mut damaged) = (Err(Why::NotARecord), None);
    for found in RecordReader::new(file, &opener) {
        match found.unwrap() {
            Found::Record(record) => opened = Ok(record.opened.body),
            Found::Damage(damage) => damaged = damaged.or(Some(damage.why)),
        }
    }
    damaged.map_or(opened.map(|body| body.to_vec()), Err)
}

/// The folder of the sources of a crate that this one depends on.
fn crate_sources(name: &str) -> PathBuf {
    let metadata = must(Command::new(env!("CARGO")).args(["metadata", "--format-version", "1", "--locked"]), b"");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
    let found = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == name);
    Path::new(found.unwrap()["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

/// One file of the test kit.
struct Kit {
    name: String,
    header: BTreeMap<String, String>,
    file: Vec<u8>,
}

/// All of it. The form is that of <https://github.com/C2SP/CCTV/tree/main/age>.
fn kit() -> Vec<Kit> {
    let folder = crate_sources("age").join("tests/testdata/testkit");
    let mut vectors = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let (name, content) = (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
        let end = memchr::memmem::find(&content, b"\n\n").unwrap();
        let (text, mut file) = (String::from_utf8(content[..end].to_vec()).unwrap(), content[end + 2..].to_vec());
        let mut header = BTreeMap::new();
        for line in text.lines() {
            let (key, value) = line.split_once(": ").unwrap();
            let known = ["expect", "payload", "file key", "identity", "passphrase", "armored", "compressed", "comment"];
            assert!(known.contains(&key), "{name}: {line}");
            header.insert(key.to_owned(), value.to_owned());
        }
        if let Some(how) = header.get("compressed") {
            assert_eq!(how, "zlib", "{name}");
            let inflate = "process.stdout.write(require('zlib').inflateSync(require('fs').readFileSync(0)))";
            file = must(tool("node").args(["-e", inflate]), &file);
        }
        vectors.push(Kit { name, header, file });
    }
    vectors
}

#[test]
fn the_age_test_kit_opens_and_fails_as_it_says() {
    let (mut opened, mut failed, mut too_long, mut passed_over) = (0, 0, 0, 0);
    for Kit { name, header, file } in kit() {
        let expected = header["expect"].as_str();
        if header.contains_key("armored") {
            // A record is one line of base64: of age's armor nothing is read.
            passed_over += 1;
            continue;
        }
        // A passphrase is no key that a log is sealed to. With another key such a file must not open either.
        let other = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0".to_owned();
        let keys = identities(header.get("identity").unwrap_or(&other).as_bytes(), "");
        let is_ours = header.contains_key("identity");
        if file.len() > MAX_RECORD {
            too_long += 1;
        } else if expected == "success" && is_ours {
            let parsed = AgeFile::parse(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
            let file_key = keys.unwrap_age(&parsed.stanzas).unwrap_or_else(|| panic!("{name}: no key"));
            assert_eq!(Hex(*file_key).to_string(), header["file key"], "{name}");
            let mut plain = Vec::new();
            assert_eq!(parsed.open(&file_key, &mut plain), Ok(()), "{name}");
            assert_eq!(Hex::<32>(Sha256::digest(&plain).into()).to_string(), header["payload"], "{name}");
        } else if let Ok(parsed) = AgeFile::parse(&file)
            && let Some(file_key) = keys.unwrap_age(&parsed.stanzas)
        {
            let mut plain = Vec::new();
            let error = parsed.open(&file_key, &mut plain).expect_err(&name);
            let told = if expected == "HMAC failure" { AgeError::Mac } else { AgeError::Payload };
            assert_eq!((error, plain.len()), (told, 0), "{name}: {expected}");
            assert!(["HMAC failure", "payload failure"].contains(&expected), "{name}: {expected}");
        } else {
            // Without a nonce it is not taken apart at all.
            let no_nonce = ["stream_no_nonce", "stream_short_nonce"].contains(&name.as_str());
            assert!(["header failure", "no match"].contains(&expected) || no_nonce || !is_ours, "{name}: {expected}");
        }
        // The same as a record of a file.
        let mut line = Vec::new();
        framing::write(Framing::Base64, &file, &mut line);
        if file.len() > MAX_RECORD || file.is_empty() {
            continue;
        }
        match read(&line, &keys) {
            Ok(body) => {
                assert!(expected == "success" && is_ours, "{name}: {expected}");
                assert_eq!(Hex::<32>(Sha256::digest(&body).into()).to_string(), header["payload"], "{name}");
                opened += 1;
            }
            Err(_) => {
                assert!(expected != "success" || !is_ours, "{name}: {expected}");
                failed += 1;
            }
        }
    }
    // And one is empty, as a line of base64 that is none.
    assert_eq!((opened, failed, too_long, passed_over), (11, 77, 3, 31));
}

fn appendix(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rfc9580-appendix").join(name)).unwrap()
}

/// The packets behind an armor.
fn dearmored(armored: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(armored.to_vec()).unwrap();
    let (_, body) = text.split_once("\n\n").unwrap();
    let lines = body.lines().take_while(|line| !line.starts_with('=') && !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

#[test]
fn the_certificate_of_rfc_9580_a_3_is_sealed_to_in_its_profile() {
    let now = SystemTime::now();
    let found = recipient::parse(Path::new("a3.asc"), &appendix("a3-certificate.asc"), now);
    let keys: Vec<_> = found.into_iter().map(Result::unwrap).collect();
    assert_eq!(keys[0].fingerprint.to_lowercase(), "cb186c4f0609a697e4d52dfa6c722b0c1f1e27c18a56708f6525ec27bad9acc9");
    assert_eq!(Recipients::new(keys, None).unwrap().profile(), Profile::Rfc9580);
    for secret in ["a4-secret-key.asc", "a5-locked-secret-key.asc"] {
        let found = recipient::parse(Path::new("x.asc"), &appendix(secret), now);
        assert!(matches!(found[..], [Err(Refusal::SecretKey(_))]), "{secret}: {found:?}");
    }
}

#[test]
fn the_message_of_rfc_9580_a_8_opens_with_the_secret_keys_of_a_4_and_a_5() {
    let message = dearmored(&appendix("a8-x25519-ocb.asc"));
    for (key, passphrase) in [("a4-secret-key.asc", ""), ("a5-locked-secret-key.asc", "correct horse battery staple")] {
        let keys = identities(&appendix(key), passphrase);
        assert_eq!(read(&message, &keys), Ok(b"Hello, world!".to_vec()), "{key}");
        let mut line = Vec::new();
        framing::write(Framing::Base64, &message, &mut line);
        assert_eq!(read(&line, &keys), Ok(b"Hello, world!".to_vec()), "{key}");
        for at in (0..message.len()).step_by(5) {
            let mut changed = message.clone();
            changed[at] ^= 1;
            assert!(read(&changed, &keys).is_err(), "byte {at}");
        }
    }
    let mut wrong = Identities::default();
    assert!(wrong.add(Path::new("a5"), &appendix("a5-locked-secret-key.asc"), &mut Passphrase("wrong")).is_err());
}

#[test]
fn messages_of_rfc_9580_that_are_none_of_ours_are_no_records() {
    let keys = identities(&appendix("a4-secret-key.asc"), "");
    for name in ["a9-eax-passphrase.asc", "a10-ocb-passphrase.asc", "a11-gcm-passphrase.asc"] {
        assert_eq!(read(&dearmored(&appendix(name)), &keys), Err(Why::NotARecord), "{name}");
    }
    assert!(read(&dearmored(&appendix("a3-certificate.asc")), &keys).is_err());
    let opener = Opener::new(&keys);
    let text = appendix("a6-cleartext-signed.txt");
    assert!(RecordReader::new(&text[..], &opener).all(|found| matches!(found.unwrap(), Found::Damage(_))));
}

/// rPGP's messages, for the key of A.4 and other kinds of keys. Those of SEIPD version 1 have the form of a record. Those of
/// version 2 have chunks of 256 KiB and more, which no record has: a reader would have to hold them before it knows anything.
#[test]
fn messages_of_another_implementation_open_where_they_have_the_form_of_a_record() {
    let folder = crate_sources("pgp").join("tests/rfc9580");
    let (mut opened, mut refused) = (0, 0);
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let keys = identities(&fs::read(path.join("tsk.asc")).unwrap(), "");
        for name in ["enc-seipdv1.msg", "enc-seipdv2.msg"] {
            let Ok(message) = fs::read(path.join(name)) else { continue };
            let message = dearmored(&message);
            let version = Message::parse(&message).unwrap().seipd[0];
            let what = read(&message, &keys);
            if version == 1 {
                assert_eq!(what, Ok(b"hello world\n".to_vec()), "{}", path.display());
                opened += 1;
            } else {
                assert_eq!(what, Err(Why::DoesNotOpen), "{}", path.display());
                refused += 1;
            }
        }
    }
    assert_eq!((opened, refused), (7, 9));
}
