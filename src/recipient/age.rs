//! Age recipients and SSH public keys. Plugins are refused: they fork a program for every wrap, which a filter must not.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;

use age_core::format::{FileKey, Stanza};
use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::{PublicKey, Recipient, Refusal};

/// An age or SSH public key.
#[derive(Clone)]
pub enum AgeRecipient {
    /// `age1…`
    X25519(age::x25519::Recipient),
    /// `ssh-ed25519 …` or `ssh-rsa …`
    Ssh(age::ssh::Recipient),
}

impl AgeRecipient {
    /// The kind in a few words, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::X25519(_) => "age X25519",
            Self::Ssh(age::ssh::Recipient::SshRsa(..)) => "SSH RSA",
            Self::Ssh(age::ssh::Recipient::SshEd25519(..)) => "SSH Ed25519",
        }
    }

    /// Wraps a file key to this recipient: the stanzas of the header. Errors are those of the age crate, which has none
    /// for these kinds.
    pub fn wrap(&self, file_key: &FileKey) -> Result<Vec<Stanza>, age::EncryptError> {
        let (stanzas, _labels) = match self {
            Self::X25519(key) => age::Recipient::wrap_file_key(key, file_key)?,
            Self::Ssh(key) => age::Recipient::wrap_file_key(key, file_key)?,
        };
        Ok(stanzas)
    }
}

impl fmt::Debug for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// Reads a file of age recipients or SSH public keys, one a line; `#` begins a comment line.
pub fn parse(file: &Path, text: &str) -> Vec<Result<Recipient, Refusal>> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| parse_line(file, line))
        .collect()
}

fn parse_line(file: &Path, line: &str) -> Result<Recipient, Refusal> {
    let unsupported = |what: String| Refusal::Unsupported { file: file.to_owned(), what };
    let not_a_key = |why: String| Refusal::NotAKey { file: file.to_owned(), why };
    if line.starts_with("age1") {
        let key: age::x25519::Recipient = line.parse().map_err(|why: &str| match line[4..].rfind('1') {
            Some(at) => unsupported(format!("the age plugin recipient age1{}…", &line[4..4 + at])),
            None => not_a_key(why.to_owned()),
        })?;
        let key = PublicKey::Age(AgeRecipient::X25519(key));
        return Ok(Recipient { file: file.to_owned(), fingerprint: line.to_owned(), label: String::new(), expires: None, key });
    }
    let mut words = line.splitn(3, ' ');
    let (algorithm, blob, label) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
    let key: age::ssh::Recipient = line.parse().map_err(|error| match error {
        age::ssh::ParseRecipientKeyError::RsaModulusTooLarge => unsupported("an ssh-rsa key of more than 4096 bits".to_owned()),
        age::ssh::ParseRecipientKeyError::RsaModulusTooSmall => unsupported("an ssh-rsa key of less than 2048 bits".to_owned()),
        age::ssh::ParseRecipientKeyError::Unsupported(kind) => unsupported(format!("a key of type {kind}")),
        age::ssh::ParseRecipientKeyError::Ignore => unsupported(format!("a key of type {algorithm}")),
        age::ssh::ParseRecipientKeyError::Invalid(why) => not_a_key(why.to_owned()),
        other => not_a_key(format!("{other:?}")),
    })?;
    let blob = STANDARD.decode(blob).map_err(|why| not_a_key(why.to_string()))?;
    let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)));
    Ok(Recipient {
        file: file.to_owned(),
        fingerprint,
        label: label.to_owned(),
        expires: None,
        key: PublicKey::Age(AgeRecipient::Ssh(key)),
    })
}
