//! The sealing side of one epoch: keys for all its slots made ahead, one erased with every record.
//!
//! Promises: after [`EpochSealer::seal`] returned, nothing in here helps to open the record or to make another in its
//! slot; after [`EpochSealer::new`] returned, the epoch's session key and chain secret are gone. What is left in the
//! table opens or forges only records that are still to come. Both leave traces on the stack, which is the caller's to wipe.
#![forbid(unsafe_code)]

use std::sync::Arc;

use aes::Aes256Enc;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::ocb::wipe;
use super::openpgp::Literal;
use super::seipd2::{self, MessageKey, SALT_LEN, WriteChunks};
use super::{CONTROL_NAME, Framing, MAX_LINE, Profile, age, framing, seipd1};
use crate::chain::{self, EpochKey, Kind, MIN_SLOTS, Tag};
use crate::recipient::Recipients;
use crate::recipient::x25519::{self, AGREEMENT_LEN, AT_ONCE, AgreeMany, Agreement, AgreementKey};
use crate::sha256::{self, Compress, LANES};

/// Why a line was not sealed. Nothing was appended then, and the slot is still free.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealError {
    /// All slots of the epoch are used.
    #[error("the epoch is used up")]
    UsedUp,
    /// The body is longer than a record can hold.
    #[error("a record holds at most {MAX_LINE} bytes, not {0}")]
    TooLong(usize),
    /// The public-key operation failed.
    #[error("cannot seal to an OpenPGP key: {0}")]
    OpenPgp(String),
    /// The operating system gave no randomness.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

/// Functions of the record path that are faster where the processor is known.
#[derive(Clone, Copy, Debug)]
pub struct Processor {
    /// For tags, locators and message keys.
    pub compress: Compress,
    /// For `rfc9580` with AES-256.
    pub write_chunks: WriteChunks,
    /// For `age`, and `rfc4880` with keys of type Curve25519Legacy.
    pub agree_many: AgreeMany,
}

impl Processor {
    /// Any processor.
    pub const ANY: Self =
        Self { compress: sha256::compress, write_chunks: seipd2::write_chunks::<Aes256Enc>, agree_many: x25519::agree_many };
}

/// Seals the records of one epoch, slot by slot. Its secrets stand in `table`, memory that the caller chose.
pub struct EpochSealer<B> {
    recipients: Arc<Recipients>,
    /// `rfc9580`: the packets that every record begins with. Else empty.
    pkesks: Vec<u8>,
    slots: u32,
    next: u32,
    table: B,
    record: Vec<u8>,
    processor: Processor,
}

/// `rfc9580`: salt and message key of a slot.
const SEIPD2_ENTRY: usize = SALT_LEN + MessageKey::LEN;
/// The other profiles: locator and tag of a slot.
const TAG_ENTRY: usize = 8 + 32;

fn entry_len(profile: Profile) -> usize {
    if profile == Profile::Rfc9580 { SEIPD2_ENTRY } else { TAG_ENTRY }
}

/// Bytes of agreements that are made ahead at most.
const AHEAD_LEN: usize = 512 * 1024;

/// How many bytes of table an epoch needs: an entry for each slot, and a row of agreements for each that has them made
/// ahead, and as many for the others as are made at once.
pub fn table_len(recipients: &Recipients, slots: u32) -> usize {
    let row = row_len(recipients);
    slots as usize * entry_len(recipients.profile()) + (rows_ahead(slots, row) + AT_ONCE) * row
}

/// How many bytes a slot's agreements have.
fn row_len(recipients: &Recipients) -> usize {
    recipients.agreement_keys().count() * AGREEMENT_LEN
}

/// How many slots have their agreements made ahead, where a row of them has so many bytes: half of an epoch's, so that the
/// thread that makes them and the one that seals have about as much to do. None in short epochs, which come one after the
/// other where nothing presses.
fn rows_ahead(slots: u32, row: usize) -> usize {
    if slots <= MIN_SLOTS || row == 0 { 0 } else { (slots as usize / 2).min(AHEAD_LEN / row) / AT_ONCE * AT_ONCE }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> EpochSealer<B> {
    /// Makes the keys of all slots. `table` has at least [`table_len`] bytes. For the stack see [`EpochSealer::seal`].
    #[inline(never)]
    pub fn new(
        recipients: Arc<Recipients>,
        key: &EpochKey,
        slots: u32,
        mut table: B,
        processor: Processor,
    ) -> Result<Self, SealError> {
        let compress = processor.compress;
        let (mut pkesks, entry_len) = (Vec::new(), entry_len(recipients.profile()));
        let groups = table.as_mut()[..slots as usize * entry_len].chunks_mut(LANES * entry_len).zip((0..).step_by(LANES));
        let quads = key.locators().many(compress);
        let quads = |from: u32| (quads.numbers(from / 64 * 16), from as usize / LANES % 4);
        if recipients.profile() == Profile::Rfc9580 {
            let cipher = recipients.cipher();
            let mut session_key = Zeroizing::new([0; 32]);
            let session_key = &mut session_key[..cipher.key_len()];
            random(session_key)?;
            for recipient in recipients.openpgp() {
                pkesks.extend_from_slice(&recipient.pkesk6(session_key).map_err(|error| SealError::OpenPgp(error.to_string()))?);
            }
            let tags = key.bound_chain_secret(session_key, &Sha256::digest(&pkesks).into()).many(compress);
            for (entries, from) in groups {
                let (quads, group) = quads(from);
                let salts = chain::seipd2_salts(&quads, group, &tags.numbers(from));
                let keys = MessageKey::derive_many(cipher, session_key, &salts, compress);
                for (lane, (entry, key)) in entries.chunks_exact_mut(entry_len).zip(keys).enumerate() {
                    let (salt_entry, key_entry) = entry.split_at_mut(SALT_LEN);
                    salt_entry.copy_from_slice(&sha256::lane(&salts, lane));
                    key.write_to(key_entry.try_into().expect("the entry has this length"));
                }
            }
        } else {
            let tags = key.chain_secret().many(compress);
            for (entries, from) in groups {
                let (quads, group) = quads(from);
                let (tags, locators) = (tags.numbers(from), chain::locators(&quads, group));
                for (lane, (entry, locator)) in entries.chunks_exact_mut(entry_len).zip(locators).enumerate() {
                    entry[..8].copy_from_slice(&locator);
                    entry[8..].copy_from_slice(&sha256::lane(&tags, lane));
                }
            }
        }
        let row = row_len(&recipients);
        let rows = &mut table.as_mut()[slots as usize * entry_len..][..rows_ahead(slots, row) * row];
        for rows in rows.chunks_exact_mut((AT_ONCE * row).max(1)) {
            agree(&recipients, processor.agree_many, rows)?;
        }
        Ok(Self { recipients, pkesks, slots, next: 0, table, record: Vec::new(), processor })
    }

    /// The slot that the next record takes.
    pub fn next_slot(&self) -> u32 {
        self.next
    }

    /// How many slots the epoch has.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// What the records are sealed to.
    pub fn recipients(&self) -> &Arc<Recipients> {
        &self.recipients
    }

    /// Seals `body` at the time `date` (seconds since 1970) in the next slot and appends the record to `out` in its
    /// framing.
    /// The slot's keys are erased before it returns; what the ciphers left on the stack lies below the caller's frame.
    #[inline(never)]
    pub fn seal(&mut self, kind: Kind, date: u32, body: &[u8], framing: Framing, out: &mut Vec<u8>) -> Result<(), SealError> {
        if self.next == self.slots {
            return Err(SealError::UsedUp);
        }
        if body.len() > MAX_LINE {
            return Err(SealError::TooLong(body.len()));
        }
        let (profile, slot) = (self.recipients.profile(), self.next as usize);
        let (entries, rows) = self.table.as_mut().split_at_mut(self.slots as usize * entry_len(profile));
        let entry = &mut entries[slot * entry_len(profile)..][..entry_len(profile)];
        self.record.clear();
        let record = if framing == Framing::Binary { &mut *out } else { &mut self.record };
        match profile {
            Profile::Rfc9580 => {
                let (salt, key) = entry.split_first_chunk::<SALT_LEN>().expect("the entry is longer");
                let key = MessageKey::read_from(self.recipients.cipher(), key.try_into().expect("the entry has this length"));
                record.extend_from_slice(&self.pkesks);
                let name = if kind == Kind::Control { CONTROL_NAME } else { b"" };
                seipd2::write(&key, salt, &Literal { name, date, body }, record, self.processor.write_chunks);
            }
            Profile::Rfc4880 | Profile::Age => {
                let (locator, tag) = split_tag_entry(entry);
                let len = row_len(&self.recipients);
                let ahead = rows_ahead(self.slots, len);
                let at = if slot < ahead { slot } else { ahead + (slot - ahead) % AT_ONCE };
                if slot >= ahead && at == ahead {
                    agree(&self.recipients, self.processor.agree_many, &mut rows[ahead * len..][..AT_ONCE * len])?;
                }
                let row = &mut rows[at * len..][..len];
                if profile == Profile::Age {
                    seal_age(&self.recipients, &locator, &tag, kind, row, body, record)?;
                } else {
                    seal_rfc4880(&self.recipients, &locator, &tag, kind, row, date, body, record)?;
                }
                wipe(row);
            }
        }
        wipe(entry);
        self.next += 1;
        if framing == Framing::Base64 {
            framing::write(framing, &self.record, out);
        }
        Ok(())
    }
}

fn split_tag_entry(entry: &[u8]) -> (chain::Locator, Tag) {
    let (locator, tag) = entry.split_first_chunk::<8>().expect("the entry is longer");
    (*locator, Tag::from_bytes(tag.try_into().expect("the entry has this length")))
}

/// Makes rows for slots that follow each other: new agreements of each key that needs them.
fn agree(recipients: &Recipients, many: AgreeMany, rows: &mut [u8]) -> Result<(), SealError> {
    let row = rows.len() / AT_ONCE;
    let (mut ephemerals, mut agreements) = (Zeroizing::new([[0; 32]; AT_ONCE]), Zeroizing::new([[0; AGREEMENT_LEN]; AT_ONCE]));
    for (key, at) in recipients.agreement_keys().zip((0..).step_by(AGREEMENT_LEN)) {
        random(ephemerals.as_flattened_mut())?;
        many(key, &ephemerals, &mut agreements);
        for (row, agreement) in rows.chunks_exact_mut(row).zip(&*agreements) {
            row[at..][..AGREEMENT_LEN].copy_from_slice(agreement);
        }
    }
    Ok(())
}

/// The next agreement of a row for a recipient that needs one.
fn next_agreement<'a>(key: Option<&AgreementKey>, agreements: &mut std::slice::Iter<'a, Agreement>) -> Option<&'a Agreement> {
    key.and_then(|_| agreements.next())
}

#[allow(clippy::too_many_arguments, reason = "what a record is made of")]
fn seal_rfc4880(
    recipients: &Recipients,
    locator: &chain::Locator,
    tag: &Tag,
    kind: Kind,
    row: &[u8],
    date: u32,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let cipher = recipients.cipher();
    let mut session_key = Zeroizing::new([0; 32]);
    let session_key = &mut session_key[..cipher.key_len()];
    random(session_key)?;
    let mut prefix = [0; 16];
    random(&mut prefix)?;
    let start = out.len();
    let mut agreements = row.as_chunks().0.iter();
    for recipient in recipients.openpgp() {
        // Without one there is nobody who looks at it.
        let agreement = next_agreement(recipient.agreement_key(), &mut agreements).unwrap_or(&[0; AGREEMENT_LEN]);
        if let Err(error) = recipient.write_pkesk3(cipher, session_key, agreement, out) {
            out.truncate(start);
            return Err(SealError::OpenPgp(error.to_string()));
        }
    }
    let digest = Sha256::digest(&out[start..]).into();
    let name = chain::rfc4880_name(locator, &tag.rfc4880_mac(kind, &digest, session_key, date, body));
    seipd1::write(cipher, session_key, &prefix, &Literal { name: &name, date, body }, out);
    Ok(())
}

fn seal_age(
    recipients: &Recipients,
    locator: &chain::Locator,
    tag: &Tag,
    kind: Kind,
    row: &[u8],
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let mut file_key = Zeroizing::new([0; age::FILE_KEY_LEN]);
    random(&mut file_key[..])?;
    let (mut stanzas, mut agreements) = (Vec::new(), row.as_chunks().0.iter());
    for recipient in recipients.age() {
        let mut bytes = Zeroizing::new([0; AGREEMENT_LEN]);
        let once = match next_agreement(recipient.agreement_key(), &mut agreements) {
            Some(agreement) => agreement,
            None => {
                random(&mut bytes[..])?;
                &*bytes
            }
        };
        stanzas.push(recipient.wrap(&file_key, once));
    }
    age::write(&stanzas, &file_key, &chain::age_nonce(locator, tag, kind, &file_key), body, out);
    Ok(())
}

fn random(bytes: &mut [u8]) -> Result<(), SealError> {
    getrandom::fill(bytes).map_err(SealError::Random)
}
