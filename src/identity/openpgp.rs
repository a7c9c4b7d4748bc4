//! OpenPGP secret keys (RFC 9580, 10.1), of Sequoia, GnuPG or any other program, armored or binary.
#![forbid(unsafe_code)]

use std::path::Path;

use sequoia_openpgp as openpgp;

use openpgp::cert::prelude::*;
use openpgp::crypto::{Decryptor, KeyPair, Password};
use openpgp::packet::{Key, PKESK, Packet, key};
use openpgp::parse::Parse;
use openpgp::types::SymmetricAlgorithm;

use super::agent::{AgentError, AgentKey};
use super::{LoadError, PassphraseSource};
use crate::record::Cipher;
use crate::record::open::SessionKey;
use crate::record::openpgp::read_header;

/// A secret key that can decrypt: unlocked, or with gpg-agent.
pub struct OpenPgpIdentity {
    holder: Holder,
    mark3: Vec<u8>,
    mark6: Vec<u8>,
}

/// Where the secret is.
enum Holder {
    Here(KeyPair),
    Agent(AgentKey),
}

impl OpenPgpIdentity {
    fn new(key: Key<key::SecretParts, key::UnspecifiedRole>) -> openpgp::Result<Self> {
        let public = key.parts_as_public().clone();
        Self::held(&public, Holder::Here(key.into_keypair()?))
    }

    /// A key that gpg-agent has.
    pub fn of_agent(key: AgentKey) -> openpgp::Result<Self> {
        let public = key.public().clone();
        Self::held(&public, Holder::Agent(key))
    }

    fn held(key: &Key<key::PublicParts, key::UnspecifiedRole>, holder: Holder) -> openpgp::Result<Self> {
        let (fingerprint, algorithm) = (key.fingerprint(), u8::from(key.pk_algo()));
        let len = u8::try_from(fingerprint.as_bytes().len() + 1)?;
        let mark3 = [&[3][..], key.keyid().as_bytes(), &[algorithm]].concat();
        let mark6 = [&[6, len, key.version()][..], fingerprint.as_bytes()].concat();
        Ok(Self { holder, mark3, mark6 })
    }

    /// Why gpg-agent did not use it, if it was asked to.
    pub fn refused(&self) -> Option<AgentError> {
        match &self.holder {
            Holder::Here(_) => None,
            Holder::Agent(key) => key.refused(),
        }
    }

    fn decryptor(&self) -> Box<dyn Decryptor> {
        match &self.holder {
            Holder::Here(pair) => Box::new(pair.clone()),
            Holder::Agent(key) => Box::new(key.clone()),
        }
    }

    /// How the bodies of PKESK packets for this key begin.
    pub fn marks(&self) -> [Vec<u8>; 2] {
        [self.mark6.clone(), self.mark3.clone()]
    }

    /// Whether a PKESK packet (header included) has version 6 and is for this key or names none.
    pub fn is_for6(&self, packet: &[u8]) -> bool {
        // A packet for an unknown recipient has no fingerprint (RFC 9580, 5.1.2).
        body(packet).is_some_and(|body| body.starts_with(&self.mark6) || body.starts_with(&[6, 0]))
    }

    /// Whether a PKESK packet (header included) has version 3 and is for this key or names none.
    pub fn is_for3(&self, packet: &[u8]) -> bool {
        // A packet for an unknown recipient has a key id of zeros (RFC 9580, 5.1.1).
        body(packet).is_some_and(|body| body.starts_with(&self.mark3) || body.starts_with(&[3, 0, 0, 0, 0, 0, 0, 0, 0]))
    }

    /// Unwraps a version 6 PKESK packet (header included).
    pub fn unwrap6(&self, packet: &[u8], cipher: Cipher) -> Option<SessionKey> {
        let PKESK::V6(packet) = parse_pkesk(packet)? else { return None };
        let key = packet.decrypt(&mut *self.decryptor(), Some(SymmetricAlgorithm::from(cipher.id())))?;
        SessionKey::from_slice(&key).filter(|key| key.as_bytes().len() == cipher.key_len())
    }

    /// Unwraps a version 3 PKESK packet (header included).
    pub fn unwrap3(&self, packet: &[u8]) -> Option<(Cipher, SessionKey)> {
        let PKESK::V3(packet) = parse_pkesk(packet)? else { return None };
        let (algorithm, key) = packet.decrypt(&mut *self.decryptor(), None)?;
        let cipher = Cipher::from_id(algorithm.into())?;
        SessionKey::from_slice(&key).filter(|key| key.as_bytes().len() == cipher.key_len()).map(|key| (cipher, key))
    }
}

fn body(packet: &[u8]) -> Option<&[u8]> {
    let (_, header, _) = read_header(packet).ok()?;
    packet.get(header..)
}

fn parse_pkesk(packet: &[u8]) -> Option<PKESK> {
    match Packet::from_bytes(packet).ok()? {
        Packet::PKESK(packet) => Some(packet),
        _ => None,
    }
}

/// Reads the secret keys of one file. The passphrase is asked where one of them is encrypted, once for all of them.
pub fn parse(file: &Path, content: &[u8], passphrases: &mut dyn PassphraseSource) -> Result<Vec<OpenPgpIdentity>, LoadError> {
    let not_a_key = |why: &str| LoadError::NotAKey { file: file.to_owned(), why: why.to_owned() };
    // What the parser says could quote the file.
    let certs = CertParser::from_bytes(content).map_err(|_| not_a_key("no OpenPGP, age or SSH key in it"))?;
    let certs: Vec<Cert> =
        certs.collect::<Result<_, _>>().map_err(|_| not_a_key("no OpenPGP, age or SSH key in it that can be read"))?;
    if certs.is_empty() {
        return Err(not_a_key("no OpenPGP, age or SSH key in it"));
    }
    if !certs.iter().any(Cert::is_tsk) {
        return Err(LoadError::PublicKey(file.to_owned()));
    }
    let keys: Vec<Key<key::SecretParts, key::UnspecifiedRole>> = certs
        .iter()
        .flat_map(|cert| cert.keys().secret())
        // As it is: an encrypted secret is bound to the key's role (RFC 9580, 5.5.3).
        .map(|key| key.key().clone())
        .filter(|key| key.pk_algo().for_encryption())
        .collect();
    let unsupported = |what: &str| LoadError::Unsupported { file: file.to_owned(), what: what.to_owned() };
    if keys.is_empty() {
        return Err(unsupported("an OpenPGP key without a secret key for encryption"));
    }
    let (locked, mut open): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.secret().is_encrypted());
    if !locked.is_empty() {
        open.extend(unlock(file, &locked, passphrases)?);
    }
    let identities: Vec<_> = open.into_iter().filter_map(|key| OpenPgpIdentity::new(key).ok()).collect();
    if identities.is_empty() { Err(unsupported("an OpenPGP key of an algorithm that is not known")) } else { Ok(identities) }
}

/// One passphrase that unlocks at least one of the keys: a stub of a primary key, whose secret is elsewhere, never opens.
fn unlock(
    file: &Path,
    locked: &[Key<key::SecretParts, key::UnspecifiedRole>],
    passphrases: &mut dyn PassphraseSource,
) -> Result<Vec<Key<key::SecretParts, key::UnspecifiedRole>>, LoadError> {
    for attempt in 0.. {
        let passphrase =
            passphrases.passphrase(file, attempt).map_err(|error| LoadError::Passphrase { file: file.to_owned(), error })?;
        let Some(passphrase) = passphrase else { break };
        let password = Password::from(passphrase.as_str());
        let open: Vec<_> = locked.iter().filter_map(|key| key.clone().decrypt_secret(&password).ok()).collect();
        if !open.is_empty() {
            return Ok(open);
        }
    }
    Err(LoadError::WrongPassphrase(file.to_owned()))
}
