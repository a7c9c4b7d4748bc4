//! age identities and SSH private keys. Plugins are refused: they run programs of their own.
#![forbid(unsafe_code)]

use std::io::{BufReader, Read};
use std::path::Path;

use age::armor::ArmoredReader;
use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{LoadError, PassphraseSource};
use crate::record::age::{FILE_KEY_LEN, Stanza};

/// Work factor of scrypt that an identity file may ask for: 2^22 takes some seconds and 4 GiB of memory.
const MAX_WORK_FACTOR: u8 = 22;
/// A decrypted identity file longer than this is none.
const MAX_IDENTITIES: u64 = 1 << 20;

/// An age identity or SSH private key, unlocked.
pub struct AgeIdentity(Box<dyn age::Identity + Send + Sync>);

impl AgeIdentity {
    /// Unwraps the file key, where one of the stanzas is for this key.
    pub fn unwrap(&self, stanzas: &[Stanza]) -> Option<Zeroizing<[u8; FILE_KEY_LEN]>> {
        // One by one: a stanza that is broken must not hide another that is not.
        let tried = stanzas.iter().filter_map(|stanza| self.0.unwrap_stanza(&of_age(stanza))).take(super::MAX_TRIED);
        let file_key = tried.filter_map(Result::ok).next()?;
        Some(Zeroizing::new(*file_key.expose_secret()))
    }
}

/// In the type of the age crate.
fn of_age(Stanza { tag, args, body }: &Stanza) -> age_core::format::Stanza {
    age_core::format::Stanza { tag: tag.clone(), args: args.clone(), body: body.clone() }
}

/// Reads an identity file of age-keygen.
pub fn parse(file: &Path, content: &[u8]) -> Result<Vec<AgeIdentity>, LoadError> {
    let not_a_key = |why: &str| LoadError::NotAKey { file: file.to_owned(), why: why.to_owned() };
    let identities = age::IdentityFile::from_buffer(content)
        .map_err(|_| not_a_key("a line of it is no age identity"))?
        .into_identities()
        .map_err(|_| not_a_key("it holds an age identity of a kind that is not known"))?;
    if identities.is_empty() {
        return Err(not_a_key("no age identity in it"));
    }
    Ok(identities.into_iter().map(AgeIdentity).collect())
}

/// Reads an identity file that was encrypted with a passphrase (`age -p`), armored or binary.
pub fn decrypt(file: &Path, content: &[u8], passphrases: &mut dyn PassphraseSource) -> Result<Vec<AgeIdentity>, LoadError> {
    let not_a_key = |why: &str| LoadError::NotAKey { file: file.to_owned(), why: why.to_owned() };
    let decryptor = || age::Decryptor::new(ArmoredReader::new(content)).map_err(|_| not_a_key("a damaged age file"));
    if !decryptor()?.is_scrypt() {
        return Err(not_a_key("it is an age file for recipients, not a secret key under a passphrase"));
    }
    unlock(file, passphrases, |passphrase| {
        let mut key = age::scrypt::Identity::new(passphrase);
        key.set_max_work_factor(MAX_WORK_FACTOR);
        let reader = match decryptor()?.decrypt(std::iter::once(&key as _)) {
            Ok(reader) => reader,
            Err(age::DecryptError::ExcessiveWork { .. }) => return Err(not_a_key("its passphrase asks for too much work")),
            Err(_) => return Ok(None),
        };
        let mut plain = Zeroizing::new(Vec::with_capacity(content.len()));
        reader.take(MAX_IDENTITIES).read_to_end(&mut plain).map_err(|_| not_a_key("a damaged age file"))?;
        parse(file, &plain).map(Some)
    })
}

/// Reads a private key of ssh-keygen: `ssh-ed25519` or `ssh-rsa`.
pub fn parse_ssh(file: &Path, content: &[u8], passphrases: &mut dyn PassphraseSource) -> Result<AgeIdentity, LoadError> {
    let unsupported = |what: String| LoadError::Unsupported { file: file.to_owned(), what };
    let key = age::ssh::Identity::from_buffer(BufReader::new(content), None)
        .map_err(|_| LoadError::NotAKey { file: file.to_owned(), why: "not an SSH private key that can be read".to_owned() })?;
    match key {
        age::ssh::Identity::Unencrypted(_) => Ok(AgeIdentity(Box::new(key))),
        age::ssh::Identity::Encrypted(key) => unlock(file, passphrases, |passphrase| {
            Ok(key.decrypt(passphrase).ok().map(|key| AgeIdentity(Box::new(age::ssh::Identity::from(key)))))
        }),
        age::ssh::Identity::Unsupported(age::ssh::UnsupportedKey::EncryptedPem) => {
            Err(unsupported("an SSH key in the old PEM encryption".to_owned()))
        }
        age::ssh::Identity::Unsupported(age::ssh::UnsupportedKey::EncryptedSsh(cipher)) => {
            Err(unsupported(format!("an SSH key encrypted with {cipher}")))
        }
        age::ssh::Identity::Unsupported(age::ssh::UnsupportedKey::Hardware(kind) | age::ssh::UnsupportedKey::Type(kind)) => {
            Err(unsupported(format!("an SSH key of type {kind}")))
        }
    }
}

/// Asks until `open` takes the passphrase.
fn unlock<T>(
    file: &Path,
    passphrases: &mut dyn PassphraseSource,
    open: impl Fn(SecretString) -> Result<Option<T>, LoadError>,
) -> Result<T, LoadError> {
    for attempt in 0.. {
        let passphrase =
            passphrases.passphrase(file, attempt).map_err(|error| LoadError::Passphrase { file: file.to_owned(), error })?;
        let Some(passphrase) = passphrase else { break };
        if let Some(key) = open(SecretString::from(passphrase.as_str()))? {
            return Ok(key);
        }
    }
    Err(LoadError::WrongPassphrase(file.to_owned()))
}
