//! Public keys: parsed, checked, and joined to the set that one stream is sealed to.
//!
//! Promises: a key that cannot be used is refused with its reason, a secret key always; a set has one profile, which
//! every key in it can open. Knows no file and no clock: file names come along only to be told, the time is an argument.
#![forbid(unsafe_code)]

mod age;
mod openpgp;
mod rsa;
mod ssh;
pub mod x25519;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

pub use self::age::AgeRecipient;
pub use self::openpgp::OpenPgpRecipient;
use self::x25519::AgreementKey;
use crate::record::{Cipher, Profile};

/// Suffixes of the files in a key folder that are read as public keys.
pub const KEY_SUFFIXES: [&str; 5] = ["asc", "gpg", "pgp", "age", "pub"];

/// One public key that lines are sealed to.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// The file it came from.
    pub file: PathBuf,
    /// As its own tools show it: OpenPGP in hexadecimal, SSH as `SHA256:…`, age the recipient itself.
    pub fingerprint: String,
    /// What the key says of itself: a user id or a comment; may be empty. Not authenticated.
    pub label: String,
    /// When it ends to be usable, where it says so.
    pub expires: Option<SystemTime>,
    /// The key.
    pub key: PublicKey,
}

/// A public key of one of the kinds that can be sealed to.
#[derive(Clone, Debug)]
pub enum PublicKey {
    /// An encryption subkey of an OpenPGP certificate.
    OpenPgp(Box<OpenPgpRecipient>),
    /// An age or SSH key.
    Age(AgeRecipient),
}

impl PublicKey {
    /// The kind in a few words, for people.
    pub fn kind(&self) -> String {
        match self {
            Self::OpenPgp(key) => key.kind(),
            Self::Age(key) => key.kind().to_owned(),
        }
    }
}

/// Why a key file is not used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Secret keys have no business on a server.
    #[error("{0} holds a secret key")]
    SecretKey(PathBuf),
    /// The certificate was revoked.
    #[error("{file}: certificate {fingerprint} is revoked")]
    Revoked {
        /// The key file.
        file: PathBuf,
        /// Its certificate.
        fingerprint: String,
    },
    /// The certificate, or all its encryption keys, have expired.
    #[error("{file}: certificate {fingerprint} has expired")]
    Expired {
        /// The key file.
        file: PathBuf,
        /// Its certificate.
        fingerprint: String,
    },
    /// Nothing in the certificate may encrypt.
    #[error("{file}: certificate {fingerprint} has no key for encryption")]
    CannotEncrypt {
        /// The key file.
        file: PathBuf,
        /// Its certificate.
        fingerprint: String,
    },
    /// The algorithm, version or type is one that is not sealed to.
    #[error("{file}: {what} cannot be sealed to")]
    Unsupported {
        /// The key file.
        file: PathBuf,
        /// The algorithm, version or type by name.
        what: String,
    },
    /// Not a public key of any kind that is known.
    #[error("{file}: not a public key: {why}")]
    NotAKey {
        /// The key file.
        file: PathBuf,
        /// What the parser said.
        why: String,
    },
}

impl Refusal {
    /// What the administrator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::SecretKey(_) => "take the file off this machine and put only the public half here; treat the key as exposed",
            Self::Revoked { .. } => "put a certificate in its place that is in force",
            Self::Expired { .. } => "extend the certificate where its secret key is, export it again and replace the file",
            Self::CannotEncrypt { .. } => "add an encryption subkey, export the certificate again and replace the file",
            Self::Unsupported { .. } => {
                "use an OpenPGP key (RSA, NIST, X25519, Cv25519), an age recipient, or an ssh-ed25519 or ssh-rsa key"
            }
            Self::NotAKey { .. } => {
                "export the public key anew: gpg --export --armor, age-keygen -y, or the .pub file of ssh-keygen"
            }
        }
    }
}

/// Why keys that are good each by itself cannot be used together.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetError {
    /// There is no key.
    #[error("no usable public key")]
    Empty,
    /// A stream has one format, and these keys need two.
    #[error("OpenPGP and age or SSH keys cannot be mixed: {openpgp} is OpenPGP, {age} is not")]
    Mixed {
        /// A file with an OpenPGP certificate.
        openpgp: PathBuf,
        /// A file with an age or SSH key.
        age: PathBuf,
    },
    /// The profile that was asked for does not fit a key.
    #[error("profile {profile} cannot be used with {file}: {why}")]
    Profile {
        /// What was asked for.
        profile: Profile,
        /// The file with the key that does not fit.
        file: PathBuf,
        /// What does not fit.
        why: String,
    },
}

/// All that one stream is sealed to. Each key alone opens every record.
#[derive(Clone, Debug)]
pub struct Recipients {
    profile: Profile,
    cipher: Cipher,
    keys: Vec<Recipient>,
}

impl Recipients {
    /// All that makes one set of recipients another than the next, as texts: fingerprints of certificates and keys, of the
    /// keys in certificates that are sealed to, cipher and profile.
    pub fn terms(&self) -> Vec<String> {
        let mut terms = self.fingerprints();
        terms.extend(self.openpgp().map(|key| key.key_fingerprint().to_string()));
        terms.extend([self.cipher.id().to_string(), self.profile.name().to_owned()]);
        terms
    }

    /// Joins keys to a set and chooses its profile, or takes the one asked for. Keys that stand in several files count once.
    pub fn new(mut keys: Vec<Recipient>, wanted: Option<Profile>) -> Result<Self, SetError> {
        keys.sort_by(|a, b| (&a.fingerprint, &a.file).cmp(&(&b.fingerprint, &b.file)));
        keys.dedup_by(|a, b| a.fingerprint == b.fingerprint);
        let first = keys.first().ok_or(SetError::Empty)?;
        let is_openpgp = |key: &&Recipient| matches!(key.key, PublicKey::OpenPgp(_));
        if let (Some(openpgp), Some(age)) = (keys.iter().find(is_openpgp), keys.iter().find(|key| !is_openpgp(key))) {
            return Err(SetError::Mixed { openpgp: openpgp.file.clone(), age: age.file.clone() });
        }
        let profile = match wanted {
            Some(profile) => profile,
            None if !is_openpgp(&first) => Profile::Age,
            None if openpgp_keys(&keys).all(|(_, key)| key.announces_seipd2) => Profile::Rfc9580,
            None => Profile::Rfc4880,
        };
        check_profile(profile, &keys)?;
        let aes256 = match profile {
            Profile::Age => true,
            Profile::Rfc9580 => openpgp_keys(&keys).all(|(_, key)| key.prefers_aes256_ocb()),
            Profile::Rfc4880 => openpgp_keys(&keys).all(|(_, key)| key.prefers_aes256),
        };
        Ok(Self { profile, cipher: if aes256 { Cipher::Aes256 } else { Cipher::Aes128 }, keys })
    }

    /// The format of every record sealed to this set.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The cipher that every OpenPGP key of the set prefers.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The keys, in the order of their fingerprints.
    pub fn keys(&self) -> &[Recipient] {
        &self.keys
    }

    /// The fingerprints, in order.
    pub fn fingerprints(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.fingerprint.clone()).collect()
    }

    /// The OpenPGP encryption keys, in order; none in the profile `age`.
    pub fn openpgp(&self) -> impl Iterator<Item = &OpenPgpRecipient> {
        openpgp_keys(&self.keys).map(|(_, key)| key)
    }

    /// The age and SSH keys, in order; none in the OpenPGP profiles.
    pub fn age(&self) -> impl Iterator<Item = &AgeRecipient> {
        self.keys.iter().filter_map(|recipient| match &recipient.key {
            PublicKey::Age(key) => Some(key),
            PublicKey::OpenPgp(_) => None,
        })
    }

    /// What each record needs an agreement of, in order; none in the profile `rfc9580`, where an epoch's records share a
    /// session key.
    pub fn agreement_keys(&self) -> impl Iterator<Item = &AgreementKey> {
        let wanted = self.profile != Profile::Rfc9580;
        self.keys.iter().filter(move |_| wanted).filter_map(|recipient| match &recipient.key {
            PublicKey::OpenPgp(key) => key.agreement_key(),
            PublicKey::Age(key) => key.agreement_key(),
        })
    }

    /// What stands at the head of each record for one of these keys, so that a reader finds the next record behind damage.
    pub fn marks(&self) -> Vec<Vec<u8>> {
        match self.profile {
            Profile::Age => vec![crate::record::age::MAGIC.to_vec()],
            Profile::Rfc9580 => self.openpgp().map(|key| key.pkesk6_head()).collect(),
            Profile::Rfc4880 => self.openpgp().map(|key| key.pkesk3_head()).collect(),
        }
    }
}

impl PartialEq for Recipients {
    /// Whether both seal the same way to the same keys.
    fn eq(&self, other: &Self) -> bool {
        self.terms() == other.terms()
    }
}

fn openpgp_keys(keys: &[Recipient]) -> impl Iterator<Item = (&Recipient, &OpenPgpRecipient)> {
    keys.iter().filter_map(|recipient| match &recipient.key {
        PublicKey::OpenPgp(key) => Some((recipient, &**key)),
        PublicKey::Age(_) => None,
    })
}

fn check_profile(profile: Profile, keys: &[Recipient]) -> Result<(), SetError> {
    for recipient in keys {
        let why = match (&recipient.key, profile) {
            (PublicKey::OpenPgp(_), Profile::Age) => Some("it is an OpenPGP certificate".to_owned()),
            (PublicKey::Age(_), Profile::Rfc9580 | Profile::Rfc4880) => Some("it is not an OpenPGP certificate".to_owned()),
            (PublicKey::OpenPgp(key), Profile::Rfc9580) => key.why_not_rfc9580(),
            (PublicKey::OpenPgp(key), Profile::Rfc4880) => key.why_not_rfc4880(),
            (PublicKey::Age(_), Profile::Age) => None,
        };
        if let Some(why) = why {
            return Err(SetError::Profile { profile, file: recipient.file.clone(), why });
        }
    }
    Ok(())
}

/// Reads the public keys of one file, one result a key: OpenPGP armored or binary, age recipients, SSH public keys.
/// Expiry and revocation are judged at `now`.
pub fn parse(file: &Path, content: &[u8], now: SystemTime) -> Vec<Result<Recipient, Refusal>> {
    let text = String::from_utf8_lossy(content);
    let holds = |needle: &str| text.lines().any(|line| line.trim_start().to_ascii_uppercase().starts_with(needle));
    if holds("AGE-SECRET-KEY-")
        || holds("AGE-PLUGIN-")
        || text.contains("PRIVATE KEY-----")
        || text.contains("PRIVATE KEY BLOCK-----")
    {
        return vec![Err(Refusal::SecretKey(file.to_owned()))];
    }
    let first_word = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("");
    if first_word.starts_with("age1")
        || first_word.starts_with("ssh-")
        || first_word.starts_with("ecdsa-")
        || first_word.starts_with("sk-")
    {
        return age::parse(file, &text);
    }
    if content.starts_with(b"age-encryption.org/") || text.contains("BEGIN AGE ENCRYPTED FILE") {
        let why = "it is an age-encrypted file, perhaps a secret key under a passphrase".to_owned();
        return vec![Err(Refusal::NotAKey { file: file.to_owned(), why })];
    }
    openpgp::parse(file, content, now)
}
