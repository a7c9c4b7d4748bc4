//! The opening side: one record and its key to the line in it and the seal that proves its place.
//!
//! Promises: nothing is handed out unless all of the record is authentic under its key; keys are erased when dropped;
//! seals are compared in constant time. Does not look for keys and knows no stream: whether a seal is believed is the
//! verifier's business. The formulas are those of `docs/format.md`, section "The chain".
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use aes::Aes256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::age::{AgeError, AgeFile, FILE_KEY_LEN, NONCE_LEN};
use super::openpgp::{Literal, Malformed, Message};
use super::seipd2::{OpenError, SALT_LEN, Seipd2, read_chunks};
use super::{CONTROL_NAME, Cipher, Profile, seipd1};
use crate::chain::{self, ChainSecret, EpochKey, Kind, Locator, Tag};

/// The session key of an OpenPGP message: at most 32 bytes, erased when dropped.
#[derive(Clone)]
pub struct SessionKey {
    bytes: Zeroizing<[u8; 32]>,
    len: usize,
}

impl SessionKey {
    /// Copies a key; `None` where it is longer than any that records use.
    pub fn from_slice(key: &[u8]) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(Self { bytes, len: key.len() })
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// What a record of an OpenPGP profile is bound to: its PKESK packets, and the session key that it opened with. That may be
/// one that others wrap, where its own packets were changed.
#[derive(Clone, Debug)]
pub struct Wrapped {
    /// SHA-256 of the PKESK packets as they stand in the record, headers included.
    pub pkesks_digest: [u8; 32],
    /// The session key.
    pub session_key: SessionKey,
}

impl PartialEq for Wrapped {
    fn eq(&self, other: &Self) -> bool {
        self.pkesks_digest == other.pkesks_digest && self.session_key.as_bytes() == other.session_key.as_bytes()
    }
}

/// What one record held.
#[derive(Debug)]
pub struct Opened {
    /// What proves its place.
    pub seal: Seal,
    /// Seconds since 1970 of the sealing; `None` in the profile `age`, whose format has no room for it.
    pub date: Option<u32>,
    /// One line with its newline, or one control record.
    pub body: Body,
}

/// The content of a record, in memory of its own or in one piece with those of others that were opened along with it.
#[derive(Clone, Default)]
pub struct Body {
    /// Nothing for an empty one.
    bytes: Option<Arc<Vec<u8>>>,
    range: Range<usize>,
}

impl Body {
    /// A part of what several records share.
    pub fn part_of(bytes: &Arc<Vec<u8>>, range: Range<usize>) -> Self {
        debug_assert!(range.start <= range.end && range.end <= bytes.len());
        Self { bytes: Some(Arc::clone(bytes)), range }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { bytes: Some(Arc::new(bytes)), range }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.as_ref().map_or(&[], |bytes| &bytes[self.range.clone()])
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Body {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// The part of a record that carries its place, with what it takes to check it.
#[derive(Clone)]
pub enum Seal {
    /// Profile `rfc9580`.
    Rfc9580 {
        /// The salt of the SEIPD v2 packet.
        salt: [u8; SALT_LEN],
        /// The record's PKESK packets, and the epoch's session key.
        wrapped: Arc<Wrapped>,
        /// Line or control, by the literal's file name, which the session key authenticates.
        kind: Kind,
    },
    /// Profile `rfc4880`.
    Rfc4880 {
        /// Locator and MAC out of the literal's file name, where it has that form.
        place: Option<(Locator, [u8; 16])>,
        /// The record's PKESK packets and session key.
        wrapped: Arc<Wrapped>,
    },
    /// Profile `age`.
    Age {
        /// The payload's nonce.
        nonce: [u8; NONCE_LEN],
        /// The record's file key.
        file_key: Zeroizing<[u8; FILE_KEY_LEN]>,
    },
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.profile())
    }
}

impl Seal {
    /// The profile that the record is of.
    pub fn profile(&self) -> Profile {
        match self {
            Self::Rfc9580 { .. } => Profile::Rfc9580,
            Self::Rfc4880 { .. } => Profile::Rfc4880,
            Self::Age { .. } => Profile::Age,
        }
    }
}

/// Where a record says that it belongs: a look-up, not a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whereabouts {
    /// The OpenPGP profiles: `L`.
    Locator(Locator),
    /// The profile `age` has room for `L[..4]` only, so several slots may match.
    Prefix([u8; 4]),
}

/// What a decrypted message of the profile `rfc9580` holds.
pub struct Read {
    /// Line or control, by the literal's file name.
    pub kind: Kind,
    /// Seconds since 1970.
    pub date: u32,
    /// Where in the plain text the body stands.
    pub body: Range<usize>,
}

impl Read {
    /// Of the plain text that stands in this part of `plain`.
    pub fn of(plain: &[u8], part: Range<usize>) -> Result<Self, Malformed> {
        let (start, text) = (part.start, &plain[part]);
        let literal = Literal::parse(text)?;
        let kind = if literal.name == CONTROL_NAME { Kind::Control } else { Kind::Line };
        let from = start + literal.body_at(text);
        Ok(Self { kind, date: literal.date, body: from..from + literal.body.len() })
    }
}

impl Opened {
    /// Opens a message whose encrypted data packet is a SEIPD v2.
    pub fn seipd2(message: &Message<'_>, wrapped: &Arc<Wrapped>) -> Result<Self, OpenError> {
        let packet = Seipd2::parse(message.seipd)?;
        let key = packet.message_key(wrapped.session_key.as_bytes()).ok_or(OpenError::Authentication)?;
        let mut plain = Zeroizing::new(Vec::new());
        packet.append(&key, &mut plain, read_chunks::<Aes256>)?;
        let Read { kind, date, body } = Read::of(&plain, 0..plain.len())?;
        let seal = Seal::Rfc9580 { salt: *packet.salt, wrapped: Arc::clone(wrapped), kind };
        Ok(Self { seal, date: Some(date), body: plain[body].to_vec().into() })
    }

    /// Opens a message whose encrypted data packet is a SEIPD v1.
    pub fn seipd1(message: &Message<'_>, cipher: Cipher, wrapped: &Arc<Wrapped>) -> Result<Self, OpenError> {
        let mut plain = Zeroizing::new(Vec::new());
        seipd1::open(cipher, wrapped.session_key.as_bytes(), message.seipd, &mut plain)?;
        let literal = Literal::parse(&plain)?;
        let place = chain::parse_rfc4880_name(literal.name);
        let seal = Seal::Rfc4880 { place, wrapped: Arc::clone(wrapped) };
        Ok(Self { seal, date: Some(literal.date), body: literal.body.to_vec().into() })
    }

    /// Opens an age file.
    pub fn age(file: &AgeFile<'_>, file_key: &Zeroizing<[u8; FILE_KEY_LEN]>) -> Result<Self, AgeError> {
        let mut body = Vec::new();
        file.open(file_key, &mut body)?;
        Ok(Self { seal: Seal::Age { nonce: *file.nonce, file_key: file_key.clone() }, date: None, body: body.into() })
    }

    /// What a record of the profile `rfc9580` is bound to, as all of its epoch are.
    pub fn wrapped(&self) -> Option<&Arc<Wrapped>> {
        match &self.seal {
            Seal::Rfc9580 { wrapped, .. } => Some(wrapped),
            Seal::Rfc4880 { .. } | Seal::Age { .. } => None,
        }
    }

    /// Where the record says that it belongs; `None` where it carries no place at all, so that no writer of ours made it.
    pub fn locator(&self) -> Option<Whereabouts> {
        match &self.seal {
            Seal::Rfc9580 { salt, .. } => salt.first_chunk().copied().map(Whereabouts::Locator),
            Seal::Rfc4880 { place, .. } => place.map(|(locator, _)| Whereabouts::Locator(locator)),
            Seal::Age { nonce, .. } => nonce.first_chunk().copied().map(Whereabouts::Prefix),
        }
    }

    /// `C_j` of an epoch for records like this one. In the profile `rfc9580` it depends on session key and PKESK
    /// packets of the record too, so it may be kept for records that share both; in the others, for the epoch.
    pub fn chain_secret(&self, key: &EpochKey) -> ChainSecret {
        match &self.seal {
            Seal::Rfc9580 { wrapped, .. } => key.bound_chain_secret(wrapped.session_key.as_bytes(), &wrapped.pkesks_digest),
            Seal::Rfc4880 { .. } | Seal::Age { .. } => key.chain_secret(),
        }
    }

    /// Whether the record was sealed in slot `slot` of the epoch with key `K_j`, and as what.
    pub fn proves(&self, slot: u32, key: &EpochKey) -> Option<Kind> {
        self.proves_with(slot, &key.locators().slot(slot), &self.chain_secret(key))
    }

    /// The same as [`Opened::proves`], with the slot's locator and [`Opened::chain_secret`] at hand.
    pub fn proves_with(&self, slot: u32, locator: &Locator, secret: &ChainSecret) -> Option<Kind> {
        self.proves_by(locator, &secret.tag(slot))
    }

    /// The same, with the slot's tag at hand.
    pub fn proves_by(&self, locator: &Locator, tag: &Tag) -> Option<Kind> {
        let either = |matches: &dyn Fn(Kind) -> bool| [Kind::Line, Kind::Control].into_iter().find(|&kind| matches(kind));
        match &self.seal {
            Seal::Rfc9580 { salt, kind, .. } => equal_salts(&chain::seipd2_salt(locator, tag), salt).then_some(*kind),
            Seal::Rfc4880 { place, wrapped } => {
                let (place, mac) = place.as_ref()?;
                let (session_key, date) = (wrapped.session_key.as_bytes(), self.date?);
                either(&|kind| {
                    let expected = tag.rfc4880_mac(kind, &wrapped.pkesks_digest, session_key, date, &self.body);
                    bool::from(expected.ct_eq(mac) & locator.ct_eq(place))
                })
            }
            Seal::Age { nonce, file_key } => either(&|kind| chain::age_nonce(locator, tag, kind, file_key).ct_eq(nonce).into()),
        }
    }
}

/// In constant time, and not byte by byte.
fn equal_salts(one: &[u8; SALT_LEN], other: &[u8; SALT_LEN]) -> bool {
    let halves = |salt: &[u8; SALT_LEN]| [0, 16].map(|at| u128::from_ne_bytes(salt[at..at + 16].try_into().expect("half of it")));
    let ([one_a, one_b], [other_a, other_b]) = (halves(one), halves(other));
    (one_a.ct_eq(&other_a) & one_b.ct_eq(&other_b)).into()
}
