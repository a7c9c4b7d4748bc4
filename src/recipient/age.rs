//! Age recipients and SSH public keys. Plugins are refused: they fork a program for every wrap, which a filter must not.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use age_core::format::{FileKey, Stanza};
use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::x25519::{self, Agreement, AgreementKey};
use super::{PublicKey, Recipient, Refusal};
use crate::record;
use crate::record::age::{FILE_KEY_LEN, hkdf};

const X25519_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const SSH_ED25519_LABEL: &[u8] = b"age-encryption.org/v1/ssh-ed25519";

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
    SshRsa(age::ssh::Recipient),
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

    /// Wraps a file key to this recipient: a stanza of the header. `agreement` is one of its
    /// [`agreement_key`](Self::agreement_key), where it has one, for this file key alone. Errors are those of the age crate,
    /// which has none for these kinds.
    pub fn wrap(&self, file_key: &[u8; FILE_KEY_LEN], agreement: &Agreement) -> Result<Vec<Stanza>, age::EncryptError> {
        let agreed = match &self.0 {
            Kind::X25519(agreed) | Kind::SshEd25519(agreed) => agreed,
            Kind::SshRsa(key) => {
                let file_key = FileKey::init_with_mut(|key| key.copy_from_slice(file_key));
                return Ok(age::Recipient::wrap_file_key(key, &file_key)?.0);
            }
        };
        let (share, secret) = x25519::parts(agreement);
        let body = record::age::wrap(file_key, share, &agreed.public, secret, agreed.label).to_vec();
        let args = agreed.args.iter().cloned().chain([STANDARD_NO_PAD.encode(share)]).collect();
        Ok(vec![Stanza { tag: agreed.tag.to_owned(), args, body }])
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
        // The age crate knows best what is one, but does not hand out its bytes.
        line.parse::<age::x25519::Recipient>().map_err(|why: &str| match line[4..].rfind('1') {
            Some(at) => unsupported(format!("the age plugin recipient age1{}…", &line[4..4 + at])),
            None => not_a_key(why.to_owned()),
        })?;
        let (_, bytes) = bech32::decode(line).map_err(|why| not_a_key(why.to_string()))?;
        let public: [u8; 32] = bytes.try_into().map_err(|_| not_a_key("it does not have 32 bytes".to_owned()))?;
        let key = AgreementKey::new(public).ok_or_else(low_order)?;
        let agreed = Agreed { key, public, label: X25519_LABEL, tag: "X25519", args: Vec::new() };
        return Ok(recipient(line.to_owned(), "", Kind::X25519(Arc::new(agreed))));
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
    let digest = Sha256::digest(&blob);
    let kind = match key {
        age::ssh::Recipient::SshEd25519(_, point) => {
            let public = point.to_montgomery();
            // The shared secret is multiplied by a number that follows from the key's own bytes; so is the key, once.
            let tweak = hkdf(b"", &blob, SSH_ED25519_LABEL);
            let key = AgreementKey::new(public.mul_clamped(*tweak).to_bytes()).ok_or_else(low_order)?;
            let (public, args) = (public.to_bytes(), vec![STANDARD_NO_PAD.encode(&digest[..4])]);
            Kind::SshEd25519(Arc::new(Agreed { key, public, label: SSH_ED25519_LABEL, tag: "ssh-ed25519", args }))
        }
        key => Kind::SshRsa(key),
    };
    Ok(recipient(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest)), label, kind))
}
