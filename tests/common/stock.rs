//! Opening a record the way a person without this software would: with GnuPG, age, OpenPGP.js or rPGP.
//!
//! `record` is a file that holds one record and nothing else, binary. The result is the plain bytes, or what the
//! tool said when it refused.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use pgp::composed::{Deserializable, Message, SignedSecretKey};
use pgp::types::Password;

use super::keys::{Pgp, gpg, openpgpjs_script};
use super::tools::{must, run, tool};

/// `gpg --decrypt`, in a home that holds `key` alone.
pub fn gnupg(key: &Pgp, record: &Path) -> Result<Vec<u8>, String> {
    let home = format!("open-{}", &key.fingerprint[..12]);
    {
        static IMPORTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let mut imported = IMPORTED.lock().unwrap_or_else(|poison| poison.into_inner());
        if !imported.contains(&home) {
            must(gpg(&home).arg("--import").arg(&key.secret), b"");
            imported.push(home.clone());
        }
    }
    let mut gpg = gpg(&home);
    gpg.args(["--passphrase", key.passphrase.unwrap_or("")]);
    run(gpg.arg("--decrypt").arg(record), b"")
}

/// `age -d -i IDENTITY`: an identity file of age's, or an SSH key without passphrase (age asks for one on the
/// terminal only).
pub fn age(identity: &Path, record: &Path) -> Result<Vec<u8>, String> {
    run(tool("age").args(["-d", "-i"]).arg(identity).arg(record), b"")
}

/// OpenPGP.js, with a key that is not locked.
pub fn openpgpjs(key: &Pgp, record: &Path) -> Result<Vec<u8>, String> {
    let mut script = openpgpjs_script();
    run(script.arg("decrypt").arg(&key.secret).arg(record), b"")
}

/// rPGP.
pub fn rpgp(key: &Pgp, record: &Path) -> Result<Vec<u8>, String> {
    let text = |error: &dyn std::fmt::Display| format!("rPGP: {}: {error}", record.display());
    let file = fs::File::open(&key.secret).map_err(|error| text(&error))?;
    let (secret, _) = SignedSecretKey::from_armor_single(file).map_err(|error| text(&error))?;
    let bytes = fs::read(record).map_err(|error| text(&error))?;
    let passphrase = Password::from(key.passphrase.unwrap_or(""));
    Message::from_bytes(&bytes[..])
        .and_then(|message| message.decrypt(&passphrase, &secret))
        .and_then(|message| match message.is_compressed() {
            true => message.decompress(),
            false => Ok(message),
        })
        .map_err(|error| text(&error))?
        .as_data_vec()
        .map_err(|error| text(&error))
}
