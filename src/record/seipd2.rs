//! SEIPD version 2 (RFC 9580, 5.13.2) with OCB and chunks of 4 KiB.
#![forbid(unsafe_code)]

#[cfg(feature = "audit")]
pub mod four;

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes128Enc, Aes256};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

use super::Cipher;
use super::ocb::{self, BadTag, Ocb, TAG_LEN, wipe};
use super::openpgp::{self, Malformed, SEIPD};
use crate::sha256::{self, Compress, Hmac, LANES, State};

/// The AEAD algorithm's number (RFC 9580, 9.6): OCB.
pub const OCB: u8 = 2;
/// The chunk size octet of every record: 2^(6+6) bytes.
pub const CHUNK_OCTET: u8 = 6;
/// Length of the salt in bytes.
pub const SALT_LEN: usize = 32;

const CHUNK: usize = 1 << (CHUNK_OCTET + 6);
/// Version, cipher, AEAD algorithm, chunk size octet, salt.
const FIELDS_LEN: usize = 4 + SALT_LEN;

/// Key and nonce prefix of one message.
pub struct MessageKey {
    cipher: Cipher,
    /// The key, then the prefix, then nothing.
    bytes: [u8; Self::LEN],
}

impl MessageKey {
    /// Length of [`MessageKey::write_to`]'s output in bytes.
    pub const LEN: usize = 39;

    /// Derives it from session key and salt: `HKDF-SHA256(session key, salt, D2 ‖ 02 ‖ cipher ‖ AEAD ‖ chunk octet)`.
    pub fn derive(cipher: Cipher, session_key: &[u8], salt: &[u8; SALT_LEN]) -> Self {
        let mut message_key = Self { cipher, bytes: [0; Self::LEN] };
        Hkdf::<Sha256>::new(Some(salt), session_key)
            .expand(&associated_data(cipher), &mut message_key.bytes[..cipher.key_len() + 7])
            .expect("39 bytes are within HKDF's limit");
        message_key
    }

    /// Derives those of sixteen messages at once, one salt each.
    pub fn derive_many(cipher: Cipher, session_key: &[u8], salts: &State, compress: Compress) -> [Self; LANES] {
        let extracted = Hmac::with_keys(salts, compress).code(sha256::block_of(session_key), session_key.len());
        let (expand, info) = (Hmac::with_keys(&extracted, compress), associated_data(cipher));
        let first = expand.code(sha256::block_of(&[&info[..], &[1]].concat()), info.len() + 1);
        let mut block = [sha256::Words::same(0); 16];
        block[..8].copy_from_slice(&first);
        block[8..].copy_from_slice(&sha256::block_of(&[&info[..], &[2]].concat())[..8]);
        let len = cipher.key_len() + 7;
        let second = if len > 32 { expand.code(block, 32 + info.len() + 1) } else { first };
        std::array::from_fn(|lane| {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&sha256::lane(&first, lane));
            bytes[32..].copy_from_slice(&sha256::lane(&second, lane));
            let mut message_key = Self { cipher, bytes: [0; Self::LEN] };
            message_key.bytes[..len].copy_from_slice(&bytes[..len]);
            message_key
        })
    }

    /// Stores it in a table made ahead.
    pub fn write_to(&self, out: &mut [u8; Self::LEN]) {
        *out = self.bytes;
    }

    /// Takes it from a table made ahead.
    pub fn read_from(cipher: Cipher, bytes: &[u8; Self::LEN]) -> Self {
        Self { cipher, bytes: *bytes }
    }

    /// For a cipher `C` that is the key's.
    fn ocb<C: BlockCipherEncrypt<BlockSize = U16> + KeyInit>(&self) -> Ocb<C> {
        let (key, rest) = self.bytes.split_at(self.cipher.key_len());
        let prefix = rest.first_chunk().expect("7 bytes stand behind the key");
        Ocb::new(key, ocb::nonce(prefix))
    }
}

impl Drop for MessageKey {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

/// Appends a literal, encrypted in chunks, with a key of AES-256.
pub type WriteChunks = fn(&MessageKey, &openpgp::Literal<'_>, &mut Vec<u8>);

/// Appends the SEIPD packet of one literal. The plain text stands in `out` only until its chunk is encrypted in place;
/// `out` is made large enough first, so that no copy of it stays behind.
pub fn write(
    key: &MessageKey,
    salt: &[u8; SALT_LEN],
    literal: &openpgp::Literal<'_>,
    out: &mut Vec<u8>,
    write_chunks_aes256: WriteChunks,
) {
    let plain_len = literal.write_len();
    let body_len = FIELDS_LEN + plain_len + plain_len.div_ceil(CHUNK) * TAG_LEN + TAG_LEN;
    out.reserve(openpgp::header_len(body_len) + body_len + CHUNK);
    openpgp::write_header(SEIPD, body_len, out);
    out.extend_from_slice(&[2, key.cipher.id(), OCB, CHUNK_OCTET]);
    out.extend_from_slice(salt);
    match key.cipher {
        Cipher::Aes128 => write_chunks::<Aes128Enc>(key, literal, out),
        Cipher::Aes256 => write_chunks_aes256(key, literal, out),
    }
}

/// As [`WriteChunks`], with an implementation of the key's cipher.
pub fn write_chunks<C>(key: &MessageKey, literal: &openpgp::Literal<'_>, out: &mut Vec<u8>)
where
    C: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
{
    let (ocb, ad) = (key.ocb::<C>(), associated_data(key.cipher));
    let start = out.len();
    literal.write(out);
    let plain_len = out.len() - start;
    let chunks = plain_len.div_ceil(CHUNK);
    // From the last chunk to the first, so that each can move to make room for the tags of those before it.
    out.resize(start + plain_len + (chunks + 1) * TAG_LEN, 0);
    for index in (0..chunks).rev() {
        let (from, to) = (start + index * CHUNK, start + index * (CHUNK + TAG_LEN));
        let len = (plain_len - index * CHUNK).min(CHUNK);
        if from < to {
            out.copy_within(from..from + len, to);
        }
        let (text, tags) = out[to..].split_at_mut(len);
        if index + 1 == chunks {
            let (tag, end_tag) = ocb.seal_last(index as u64, &ad, text, &final_associated_data(key.cipher, plain_len));
            tags[..TAG_LEN].copy_from_slice(&tag);
            tags[TAG_LEN..].copy_from_slice(&end_tag);
        } else {
            tags[..TAG_LEN].copy_from_slice(&ocb.seal(index as u64, &ad, text));
        }
    }
}

/// Why a SEIPD v2 packet does not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The packet is not of the form that records have.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It was changed, or is not for this session key.
    #[error("authentication failed")]
    Authentication,
}

impl From<BadTag> for OpenError {
    fn from(_: BadTag) -> Self {
        Self::Authentication
    }
}

/// The visible fields of a SEIPD v2 packet.
#[derive(Clone, Copy, Debug)]
pub struct Seipd2<'a> {
    /// The cipher.
    pub cipher: Cipher,
    /// The salt, which carries the record's place.
    pub salt: &'a [u8; SALT_LEN],
    chunks: &'a [u8],
}

impl<'a> Seipd2<'a> {
    /// Reads the fields of a packet's body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (&[version, cipher, aead, chunk_octet], rest) = body.split_first_chunk().ok_or(Malformed::Field)?;
        let (salt, chunks) = rest.split_first_chunk().ok_or(Malformed::Field)?;
        if version != 2 {
            return Err(Malformed::Version);
        }
        if aead != OCB || chunk_octet != CHUNK_OCTET || chunks.len() < 2 * TAG_LEN {
            return Err(Malformed::Field);
        }
        Ok(Self { cipher: Cipher::from_id(cipher).ok_or(Malformed::Field)?, salt, chunks })
    }

    /// Decrypts into `plain`, which it replaces. Nothing is released unless all of it is authentic.
    pub fn open(&self, session_key: &[u8], plain: &mut Vec<u8>) -> Result<(), OpenError> {
        plain.clear();
        let key = self.message_key(session_key).ok_or(OpenError::Authentication)?;
        self.append(&key, plain, read_chunks::<Aes256>)
    }

    /// The key of this message; `None` where the session key is none for its cipher.
    pub fn message_key(&self, session_key: &[u8]) -> Option<MessageKey> {
        (session_key.len() == self.cipher.key_len()).then(|| MessageKey::derive(self.cipher, session_key, self.salt))
    }

    /// As [`Seipd2::open`], behind what stands in `plain`, which stays as it was where the packet does not open.
    pub fn append(&self, key: &MessageKey, plain: &mut Vec<u8>, read_chunks_aes256: ReadChunks) -> Result<(), OpenError> {
        let start = plain.len();
        let opened = match self.cipher {
            _ if key.cipher != self.cipher => Err(OpenError::Authentication),
            Cipher::Aes128 => read_chunks::<Aes128>(self, key, plain),
            Cipher::Aes256 => read_chunks_aes256(self, key, plain),
        };
        if opened.is_err() {
            wipe(&mut plain[start..]);
            plain.truncate(start);
        }
        opened
    }
}

/// Appends the plain text of a packet's chunks, with a key of AES-256. Where it fails, what was appended must not be believed.
pub type ReadChunks = fn(&Seipd2<'_>, &MessageKey, &mut Vec<u8>) -> Result<(), OpenError>;

/// As [`ReadChunks`], with an implementation of the key's cipher.
pub fn read_chunks<C>(packet: &Seipd2<'_>, key: &MessageKey, plain: &mut Vec<u8>) -> Result<(), OpenError>
where
    C: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt + KeyInit,
{
    let (ocb, ad) = (key.ocb::<C>(), associated_data(key.cipher));
    let (chunks, end_tag) = packet.chunks.split_last_chunk::<TAG_LEN>().expect("parse wants two tags");
    let begin = plain.len();
    let last = chunks.len().div_ceil(CHUNK + TAG_LEN) - 1;
    for (index, chunk) in chunks.chunks(CHUNK + TAG_LEN).enumerate() {
        let (text, tag) = chunk.split_last_chunk::<TAG_LEN>().ok_or(OpenError::Authentication)?;
        // Room for all of it only when its beginning is right: a length that was announced may be wrong.
        if index == 1 && plain.capacity() - begin < chunks.len() {
            let mut whole = Vec::with_capacity(begin + chunks.len());
            whole.extend_from_slice(plain);
            std::mem::replace(plain, whole).zeroize();
        }
        let start = plain.len();
        plain.extend_from_slice(text);
        let end_ad = final_associated_data(key.cipher, plain.len() - begin);
        let text = &mut plain[start..];
        if index == last {
            ocb.open_last(index as u64, &ad, text, tag, &end_ad, end_tag)?;
        } else {
            ocb.open(index as u64, &ad, text, tag)?;
        }
    }
    Ok(())
}

fn associated_data(cipher: Cipher) -> [u8; 5] {
    [0xC0 | SEIPD, 2, cipher.id(), OCB, CHUNK_OCTET]
}

fn final_associated_data(cipher: Cipher, plain_len: usize) -> [u8; 13] {
    let mut data = [0; 13];
    data[..5].copy_from_slice(&associated_data(cipher));
    data[5..].copy_from_slice(&(plain_len as u64).to_be_bytes());
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 9580, appendix A.10: "Hello, world!" and a padding packet, sealed with AES-128 and OCB.
    const SAMPLE: [u8; 107] = [
        0xd2, 0x69, 0x02, 0x07, 0x02, 0x06, 0x20, 0xa6, 0x61, 0xf7, 0x31, 0xfc, 0x9a, 0x30, 0x32, 0xb5, 0x62, 0x33, 0x26, 0x02,
        0x7e, 0x3a, 0x5d, 0x8d, 0xb5, 0x74, 0x8e, 0xbe, 0xff, 0x0b, 0x0c, 0x59, 0x10, 0xd0, 0x9e, 0xcd, 0xd6, 0x41, 0xff, 0x9f,
        0xd3, 0x85, 0x62, 0x75, 0x80, 0x35, 0xbc, 0x49, 0x75, 0x4c, 0xe1, 0xbf, 0x3f, 0xff, 0xa7, 0xda, 0xd0, 0xa3, 0xb8, 0x10,
        0x4f, 0x51, 0x33, 0xcf, 0x42, 0xa4, 0x10, 0x0a, 0x83, 0xee, 0xf4, 0xca, 0x1b, 0x48, 0x01, 0xa8, 0x84, 0x6b, 0xf4, 0x2b,
        0xcd, 0xa7, 0xc8, 0xce, 0x9d, 0x65, 0xe2, 0x12, 0xf3, 0x01, 0xcb, 0xcd, 0x98, 0xfd, 0xca, 0xde, 0x69, 0x4a, 0x87, 0x7a,
        0xd4, 0x24, 0x73, 0x23, 0xf6, 0xe8, 0x57,
    ];
    const SAMPLE_SESSION_KEY: [u8; 16] =
        [0x28, 0xe7, 0x9a, 0xb8, 0x23, 0x97, 0xd3, 0xc6, 0x3d, 0xe2, 0x4a, 0xc2, 0x17, 0xd7, 0xb7, 0x91];

    #[test]
    fn meets_the_sample_of_rfc_9580() {
        let packet = Seipd2::parse(&SAMPLE[2..]).unwrap();
        let mut plain = Vec::new();
        packet.open(&SAMPLE_SESSION_KEY, &mut plain).unwrap();
        assert_eq!(openpgp::Literal::parse(&plain), Ok(openpgp::Literal { name: b"", date: 0, body: b"Hello, world!" }));
        let end_ad = final_associated_data(Cipher::Aes128, plain.len());
        let ocb = MessageKey::derive(Cipher::Aes128, &SAMPLE_SESSION_KEY, packet.salt).ocb::<Aes128Enc>();
        let (tag, end_tag) = ocb.seal_last(0, &associated_data(Cipher::Aes128), &mut plain, &end_ad);
        assert_eq!([&plain[..], &tag, &end_tag].concat(), SAMPLE[6 + SALT_LEN..]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(len in prop_oneof![0usize..400, 4000usize..4200, 8100usize..8300, 60_000usize..70_000], fill: u8, flip: prop::sample::Index) {
            for cipher in [Cipher::Aes128, Cipher::Aes256] {
                let (session_key, salt, body) = (vec![3; cipher.key_len()], [5; 32], vec![fill; len]);
                let literal = openpgp::Literal { name: b"", date: 7, body: &body };
                let mut packet = Vec::new();
                let key = MessageKey::derive(cipher, &session_key, &salt);
                write(&key, &salt, &literal, &mut packet, write_chunks::<aes::Aes256Enc>);
                let words: State = std::array::from_fn(|at| sha256::Words::same(u32::from_be_bytes(salt.as_chunks().0[at])));
                for many in MessageKey::derive_many(cipher, &session_key, &words, sha256::compress) {
                    prop_assert_eq!(many.bytes, key.bytes);
                }
                let (packet_type, header, body_len) = openpgp::read_header(&packet).unwrap();
                prop_assert_eq!((packet_type, header + body_len), (SEIPD, packet.len()));
                let mut plain = Vec::new();
                Seipd2::parse(&packet[header..]).unwrap().open(&session_key, &mut plain).unwrap();
                prop_assert_eq!(openpgp::Literal::parse(&plain), Ok(literal));
                let at = header + flip.index(body_len);
                packet[at] ^= 1;
                plain.clear();
                let changed = Seipd2::parse(&packet[header..]);
                prop_assert!(changed.is_err() || changed.unwrap().open(&session_key, &mut plain).is_err());
                prop_assert!(plain.is_empty());
            }
        }
    }
}
