//! OpenPGP certificates (RFC 9580): which key of a certificate is sealed to, and what it can take.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use sequoia_openpgp as openpgp;

use openpgp::cert::prelude::*;
use openpgp::crypto::ecdh::aes_key_wrap;
use openpgp::crypto::mem::Protected;
use openpgp::packet::{Key, PKESK, Packet, key, pkesk};
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::MarshalInto;
use openpgp::types::{AEADAlgorithm, Curve, HashAlgorithm, PublicKeyAlgorithm, RevocationStatus, SymmetricAlgorithm};

use super::x25519::{self, Agreement, AgreementKey};
use super::{PublicKey, Recipient, Refusal};
use crate::record::openpgp::write_header;
use crate::record::{self, Cipher};

/// Length in bytes to which a session key is padded before it is wrapped (RFC 9580, 11.5).
const WRAPPED_LEN: usize = 40;

/// The encryption key of an OpenPGP certificate, and what the certificate says that it can take.
#[derive(Clone, Debug)]
pub struct OpenPgpRecipient {
    key: Key<key::PublicParts, key::UnspecifiedRole>,
    /// Whether the certificate announces SEIPD version 2 (RFC 9580, 5.2.3.32).
    pub announces_seipd2: bool,
    /// Whether AES-256 is among its preferred ciphers (RFC 9580, 5.2.3.14).
    pub prefers_aes256: bool,
    /// Its preferred AEAD cipher suites, where it has any, hold AES-256 with OCB (RFC 9580, 5.2.3.15).
    aes256_ocb: Option<bool>,
    cv25519: Option<Arc<Cv25519>>,
}

/// A key of type Curve25519Legacy (RFC 9580, 9.2.1), and how session keys are wrapped under what is agreed upon with it (11.5).
#[derive(Debug)]
struct Cv25519 {
    key: AgreementKey,
    hash: HashAlgorithm,
    cipher: SymmetricAlgorithm,
    /// What is hashed behind the shared secret.
    param: Vec<u8>,
}

impl Cv25519 {
    /// `None` for all other keys.
    fn of(key: &Key<key::PublicParts, key::UnspecifiedRole>) -> Option<Self> {
        let openpgp::crypto::mpi::PublicKey::ECDH { curve: curve @ Curve::Cv25519, q, hash, sym } = key.mpis() else {
            return None;
        };
        let [0x40, public @ ..] = q.value() else { return None };
        let oid = curve.oid();
        let mut param = vec![u8::try_from(oid.len()).ok()?];
        param.extend_from_slice(oid);
        param.extend_from_slice(&[PublicKeyAlgorithm::ECDH.into(), 3, 1, (*hash).into(), (*sym).into()]);
        param.extend_from_slice(b"Anonymous Sender    ");
        param.extend_from_slice(key.fingerprint().as_bytes());
        Some(Self { key: AgreementKey::new(public.try_into().ok()?)?, hash: *hash, cipher: *sym, param })
    }

    /// Wraps what a PKESK encrypts.
    fn wrap(&self, session_key: Protected, secret: &[u8; 32]) -> openpgp::Result<Vec<u8>> {
        let mut hash = self.hash.context()?.for_digest();
        hash.update(&[0, 0, 0, 1]);
        hash.update(secret);
        hash.update(&self.param);
        let mut digest: Protected = vec![0; self.hash.digest_size()?].into();
        hash.digest(&mut digest)?;
        let key: Protected = digest[..self.cipher.key_size()?.min(digest.len())].into();
        aes_key_wrap(self.cipher, &key, &session_key)
    }
}

impl OpenPgpRecipient {
    /// The kind in a few words, for people.
    pub fn kind(&self) -> String {
        let algorithm = match self.curve() {
            Some(curve) => format!("ECDH {curve}"),
            None => match self.key.pk_algo() {
                PublicKeyAlgorithm::X25519 => "X25519".to_owned(),
                PublicKeyAlgorithm::X448 => "X448".to_owned(),
                _ => format!("RSA {}", self.key.mpis().bits().unwrap_or(0)),
            },
        };
        format!("OpenPGP v{} {algorithm}", self.key.version())
    }

    /// The fingerprint of the encryption key itself, in hexadecimal.
    pub fn key_fingerprint(&self) -> String {
        self.key.fingerprint().to_hex()
    }

    /// Whether AES-256 with OCB may be used. A certificate without such preferences, for which the profile was asked
    /// for by hand, is judged by its preferred ciphers.
    pub fn prefers_aes256_ocb(&self) -> bool {
        self.aes256_ocb.unwrap_or(self.prefers_aes256 && !self.announces_seipd2)
    }

    /// Wraps a session key as a version 6 PKESK packet (RFC 9580, 5.1.2); the packet's bytes, header included.
    pub fn pkesk6(&self, session_key: &[u8]) -> openpgp::Result<Vec<u8>> {
        let packet = pkesk::PKESK6::for_recipient(&session_key.to_vec().into(), &self.key)?;
        Packet::from(PKESK::from(packet)).to_vec()
    }

    /// Wraps a session key as a version 3 PKESK packet (RFC 9580, 5.1.1); the packet's bytes, header included.
    pub fn pkesk3(&self, cipher: Cipher, session_key: &[u8]) -> openpgp::Result<Vec<u8>> {
        let cipher = SymmetricAlgorithm::from(cipher.id());
        let packet = pkesk::PKESK3::for_recipient(cipher, &session_key.to_vec().into(), &self.key)?;
        Packet::from(PKESK::from(packet)).to_vec()
    }

    /// What each version 3 PKESK packet needs an agreement of, if it does.
    pub fn agreement_key(&self) -> Option<&AgreementKey> {
        self.cv25519.as_ref().map(|cv25519| &cv25519.key)
    }

    /// Appends what [`pkesk3`](Self::pkesk3) gives, with an agreement of this key's [`agreement_key`](Self::agreement_key),
    /// which it must have. The agreement is for this packet alone.
    pub fn write_pkesk3(
        &self,
        cipher: Cipher,
        session_key: &[u8],
        agreement: &Agreement,
        out: &mut Vec<u8>,
    ) -> openpgp::Result<()> {
        let Some(cv25519) = &self.cv25519 else {
            out.extend_from_slice(&self.pkesk3(cipher, session_key)?);
            return Ok(());
        };
        let (share, secret) = x25519::parts(agreement);
        // Cipher, key and checksum, always padded to the same length (RFC 9580, 5.1.1 and 11.5).
        let mut text = Protected::new(WRAPPED_LEN);
        let checksum = session_key.iter().fold(0u16, |sum, byte| sum.wrapping_add((*byte).into()));
        let len = 1 + session_key.len() + 2;
        text[0] = cipher.id();
        text[1..len - 2].copy_from_slice(session_key);
        text[len - 2..len].copy_from_slice(&checksum.to_be_bytes());
        text[len..].fill((WRAPPED_LEN - len) as u8);
        let wrapped = cv25519.wrap(text, secret)?;
        let head = self.pkesk3_head();
        write_header(record::openpgp::PKESK, head.len() + 3 + share.len() + 1 + wrapped.len(), out);
        out.extend_from_slice(&head);
        // A number of 263 bits: the marker of a native point, and the point.
        out.extend_from_slice(&[1, 7, 0x40]);
        out.extend_from_slice(share);
        out.push(u8::try_from(wrapped.len()).expect("it is eight bytes longer than what it wraps"));
        out.extend_from_slice(&wrapped);
        Ok(())
    }

    /// How the body of a version 6 PKESK packet for this key begins: version, length and version of the fingerprint, fingerprint.
    pub fn pkesk6_head(&self) -> Vec<u8> {
        let fingerprint = self.key.fingerprint();
        let mut head = vec![
            6,
            u8::try_from(fingerprint.as_bytes().len() + 1).expect("fingerprints have 20 or 32 bytes"),
            self.key.version(),
        ];
        head.extend_from_slice(fingerprint.as_bytes());
        head
    }

    /// How the body of a version 3 PKESK packet for this key begins: version, key id, algorithm.
    pub fn pkesk3_head(&self) -> Vec<u8> {
        let mut head = vec![3];
        head.extend_from_slice(self.key.keyid().as_bytes());
        head.push(self.key.pk_algo().into());
        head
    }

    /// What keeps this key from the profile `rfc9580`, if anything.
    pub fn why_not_rfc9580(&self) -> Option<String> {
        matches!(self.curve(), Some(Curve::Cv25519)).then(|| "its encryption key is of type Curve25519Legacy".to_owned())
    }

    /// What keeps this key from the profile `rfc4880`, if anything.
    pub fn why_not_rfc4880(&self) -> Option<String> {
        (self.key.version() != 4).then(|| format!("its key has version {}, which GnuPG cannot read", self.key.version()))
    }

    fn curve(&self) -> Option<&Curve> {
        match self.key.mpis() {
            openpgp::crypto::mpi::PublicKey::ECDH { curve, .. } => Some(curve),
            _ => None,
        }
    }
}

/// Reads the certificates of one file, armored or binary.
pub fn parse(file: &Path, content: &[u8], now: SystemTime) -> Vec<Result<Recipient, Refusal>> {
    let not_a_key = |why: String| Refusal::NotAKey { file: file.to_owned(), why };
    let certs = match CertParser::from_bytes(content) {
        Ok(certs) => certs,
        Err(error) => return vec![Err(not_a_key(error.to_string()))],
    };
    let keys: Vec<_> = certs
        .map(|cert| {
            let cert = cert.map_err(|error| unreadable(file, &error.to_string()))?;
            recipient(file, &cert, now)
        })
        .collect();
    if keys.is_empty() { vec![Err(not_a_key("no OpenPGP certificate, age recipient or SSH key in it".to_owned()))] } else { keys }
}

fn unreadable(file: &Path, error: &str) -> Refusal {
    if error.to_lowercase().contains("version") {
        return Refusal::Unsupported { file: file.to_owned(), what: format!("an OpenPGP key of this version ({error})") };
    }
    Refusal::NotAKey { file: file.to_owned(), why: error.to_owned() }
}

fn recipient(file: &Path, cert: &Cert, now: SystemTime) -> Result<Recipient, Refusal> {
    let (file, fingerprint) = (file.to_owned(), cert.fingerprint().to_hex());
    if cert.is_tsk() {
        return Err(Refusal::SecretKey(file));
    }
    let policy = StandardPolicy::new();
    if matches!(cert.revocation_status(&policy, now), RevocationStatus::Revoked(_)) {
        return Err(Refusal::Revoked { file, fingerprint });
    }
    let valid = cert
        .with_policy(&policy, now)
        .map_err(|error| Refusal::NotAKey { file: file.clone(), why: format!("certificate {fingerprint}: {error}") })?;
    if valid.alive().is_err() {
        return Err(Refusal::Expired { file, fingerprint });
    }
    let capable: Vec<_> = valid.keys().for_transport_encryption().for_storage_encryption().collect();
    let usable = capable
        .iter()
        .filter(|key| key.alive().is_ok() && !matches!(key.revocation_status(), RevocationStatus::Revoked(_)))
        .max_by_key(|key| key.key().creation_time());
    let Some(usable) = usable else {
        return Err(match capable.first() {
            // The policy has nothing to say of what it does not take at all.
            None => match cert
                .keys()
                .filter(|key| key.key().pk_algo().for_encryption())
                .find_map(|key| check_algorithm(key.key()).err())
            {
                Some(what) => Refusal::Unsupported { file, what },
                None => Refusal::CannotEncrypt { file, fingerprint },
            },
            Some(key) if matches!(key.revocation_status(), RevocationStatus::Revoked(_)) => {
                Refusal::Revoked { file, fingerprint }
            }
            Some(_) => Refusal::Expired { file, fingerprint },
        });
    };
    check_algorithm(usable.key()).map_err(|what| Refusal::Unsupported { file: file.clone(), what })?;
    let expires = [valid.primary_key().key_expiration_time(), usable.key_expiration_time()].into_iter().flatten().min();
    let label =
        valid.userids().next().map(|user| String::from_utf8_lossy(user.userid().value()).into_owned()).unwrap_or_default();
    let public = usable.key().clone().role_into_unspecified();
    let key = OpenPgpRecipient {
        cv25519: Cv25519::of(&public).map(Arc::new),
        key: public,
        announces_seipd2: valid.features().is_some_and(|features| features.supports_seipdv2()),
        prefers_aes256: valid.preferred_symmetric_algorithms().is_some_and(|list| list.contains(&SymmetricAlgorithm::AES256)),
        aes256_ocb: valid
            .preferred_aead_ciphersuites()
            .map(|list| list.contains(&(SymmetricAlgorithm::AES256, AEADAlgorithm::OCB))),
    };
    Ok(Recipient { file, fingerprint, label, expires, key: PublicKey::OpenPgp(Box::new(key)) })
}

#[allow(deprecated)] // the names of what is refused
fn check_algorithm<P: key::KeyParts, R: key::KeyRole>(key: &Key<P, R>) -> Result<(), String> {
    match key.pk_algo() {
        PublicKeyAlgorithm::ElGamalEncrypt | PublicKeyAlgorithm::ElGamalEncryptSign => Err("an Elgamal key".to_owned()),
        algorithm if !algorithm.is_supported() => Err(format!("a key of the algorithm {algorithm}")),
        _ if !matches!(key.version(), 4 | 6) => Err(format!("a key of version {}", key.version())),
        _ => match key.mpis() {
            openpgp::crypto::mpi::PublicKey::ECDH { curve, .. } if !curve.is_supported() => {
                Err(format!("a key on the curve {curve}"))
            }
            _ => Ok(()),
        },
    }
}
