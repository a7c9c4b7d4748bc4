//! Age recipients and SSH public keys. Plugins are refused: they fork a program for every wrap, which a filter must not.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use sha2::{Digest, Sha256};

use super::rsa::{self, RsaKey};
use super::ssh::{self, SshError};
use super::x25519::{self, AGREEMENT_LEN, AgreementKey};
use super::{PublicKey, Recipient, Refusal};
use crate::record;
use crate::record::age::{FILE_KEY_LEN, Stanza, hkdf};

const X25519_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const SSH_ED25519_LABEL: &[u8] = b"age-encryption.org/v1/ssh-ed25519";
const SSH_RSA_LABEL: &[u8] = b"age-encryption.org/v1/ssh-rsa";

/// An age or SSH public key.
#[derive(Clone)]
pub struct AgeRecipient(Kind);

#[derive(Clone)]
enum Kind {
    /// `age1…`
    X25519(Arc<Agreed>),
    /// `ssh-ed25519 …`
    SshEd25519(Arc<Agreed>),
    /// `ssh-rsa …`
    SshRsa(Arc<Encrypted>),
}

/// A key with which a secret is agreed upon for each file key.
struct Agreed {
    key: AgreementKey,
    /// Stands behind the ephemeral public key in the derivation of the wrapping key.
    public: [u8; 32],
    label: &'static [u8],
    /// The stanza's type, and its arguments before the ephemeral public key.
    tag: &'static str,
    args: Vec<String>,
}

/// A key that each file key is encrypted to.
struct Encrypted {
    key: RsaKey,
    /// Says which key it is.
    tag: String,
}

impl AgeRecipient {
    /// The kind in a few words, for people.
    pub fn kind(&self) -> &'static str {
        match self.0 {
            Kind::X25519(_) => "age X25519",
            Kind::SshRsa(_) => "SSH RSA",
            Kind::SshEd25519(_) => "SSH Ed25519",
        }
    }

    /// What each file key is wrapped with a new agreement of, if it is.
    pub fn agreement_key(&self) -> Option<&AgreementKey> {
        match &self.0 {
            Kind::X25519(agreed) | Kind::SshEd25519(agreed) => Some(&agreed.key),
            Kind::SshRsa(_) => None,
        }
    }

    /// Wraps a file key to this recipient: a stanza of the header. `once` is for this file key alone: an agreement of its
    /// [`agreement_key`](Self::agreement_key) where it has one, else random bytes.
    pub fn wrap(&self, file_key: &[u8; FILE_KEY_LEN], once: &[u8; AGREEMENT_LEN]) -> Stanza {
        match &self.0 {
            Kind::X25519(agreed) | Kind::SshEd25519(agreed) => {
                let (share, secret) = x25519::parts(once);
                let body = record::age::wrap(file_key, share, &agreed.public, secret, agreed.label).to_vec();
                let args = agreed.args.iter().cloned().chain([STANDARD_NO_PAD.encode(share)]).collect();
                Stanza { tag: agreed.tag.to_owned(), args, body }
            }
            Kind::SshRsa(encrypted) => {
                let seed = once.first_chunk::<{ rsa::SEED_LEN }>().expect("it is longer");
                let body = encrypted.key.encrypt(file_key, SSH_RSA_LABEL, seed);
                Stanza { tag: "ssh-rsa".to_owned(), args: vec![encrypted.tag.clone()], body }
            }
        }
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
    let low_order = || not_a_key("every secret agreed upon with it would be zero".to_owned());
    let recipient = |fingerprint: String, label: &str, kind: Kind| Recipient {
        file: file.to_owned(),
        fingerprint,
        label: label.to_owned(),
        expires: None,
        key: PublicKey::Age(AgeRecipient(kind)),
    };
    if line.starts_with("age1") {
        let public = x25519_key(line).map_err(|why| match line[4..].rfind('1') {
            Some(at) => unsupported(format!("the age plugin recipient age1{}…", &line[4..4 + at])),
            None => not_a_key(why.to_owned()),
        })?;
        let key = AgreementKey::new(public).ok_or_else(low_order)?;
        let agreed = Agreed { key, public, label: X25519_LABEL, tag: "X25519", args: Vec::new() };
        return Ok(recipient(line.to_owned(), "", Kind::X25519(Arc::new(agreed))));
    }
    let ssh = ssh::parse(line).map_err(|error| match error {
        SshError::NotAKey => not_a_key(error.to_string()),
        SshError::Type(_) | SshError::Length(_) => unsupported(error.to_string()),
    })?;
    let digest = Sha256::digest(&ssh.bytes);
    let tag = STANDARD_NO_PAD.encode(&digest[..4]);
    let kind = match ssh.key {
        ssh::Key::Ed25519(point) => {
            let public = point.to_montgomery();
            // The shared secret is multiplied by a number that follows from the key's own bytes; so is the key, once.
            let tweak = hkdf(b"", &ssh.bytes, SSH_ED25519_LABEL);
            let key = AgreementKey::new(public.mul_clamped(*tweak).to_bytes()).ok_or_else(low_order)?;
            let public = public.to_bytes();
            Kind::SshEd25519(Arc::new(Agreed { key, public, label: SSH_ED25519_LABEL, tag: "ssh-ed25519", args: vec![tag] }))
        }
        ssh::Key::Rsa(key) => Kind::SshRsa(Arc::new(Encrypted { key, tag })),
    };
    Ok(recipient(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest)), ssh.comment, kind))
}

/// The public key of an age recipient.
fn x25519_key(line: &str) -> Result<[u8; 32], &'static str> {
    let checked = CheckedHrpstring::new::<Bech32>(line).map_err(|_| "invalid Bech32 encoding")?;
    if checked.hrp().as_str() != "age" {
        return Err("its Bech32 prefix is not \"age\"");
    }
    let bytes: Vec<u8> = checked.byte_iter().collect();
    bytes.try_into().map_err(|_| "it does not have 32 bytes")
}
