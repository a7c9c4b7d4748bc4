//! age v1 files (age-encryption.org/v1): header with stanzas and MAC, payload in the STREAM construction.
//!
//! Promises: what [`write()`] makes, any implementation of age opens; nothing of a file is released before it is authentic.
#![forbid(unsafe_code)]

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// The first line of every age file, without its newline.
pub const MAGIC: &[u8] = b"age-encryption.org/v1";
/// Length of a file key in bytes.
pub const FILE_KEY_LEN: usize = 16;
/// Length of the payload's nonce in bytes.
pub const NONCE_LEN: usize = 16;

const CHUNK: usize = 64 * 1024;
const TAG_LEN: usize = 16;
const BODY_COLUMNS: usize = 64;
/// More recipients than this in one header are taken for an attempt to waste the reader's time.
const MAX_STANZAS: usize = 1024;

/// Why bytes are no age file of ours, or do not open.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
#[non_exhaustive]
pub enum AgeError {
    /// The header is not of the form that the specification gives.
    #[error("not an age header")]
    Header,
    /// The header's MAC is wrong: it was changed, or the file key is another.
    #[error("the header's MAC is wrong")]
    Mac,
    /// The payload was changed or cut.
    #[error("authentication failed")]
    Payload,
}

/// A file key, wrapped to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    /// The recipient's type.
    pub tag: String,
    /// What else the recipient needs; one or more visible ASCII characters each.
    pub args: Vec<String>,
    /// The wrapped file key.
    pub body: Vec<u8>,
}

/// Wraps a file key under the shared secret of an X25519 agreement: ChaCha20-Poly1305 under
/// `HKDF(shared secret, ephemeral public key ‖ public key, label)`.
pub fn wrap(
    file_key: &[u8; FILE_KEY_LEN],
    share: &[u8; 32],
    public: &[u8; 32],
    secret: &[u8; 32],
    label: &[u8],
) -> [u8; FILE_KEY_LEN + TAG_LEN] {
    let key = hkdf(secret, &[&share[..], &public[..]].concat(), label);
    let mut wrapped = [0; FILE_KEY_LEN + TAG_LEN];
    let (text, tag) = wrapped.split_at_mut(FILE_KEY_LEN);
    text.copy_from_slice(file_key);
    // Each key is used once.
    let sealed = cipher(&key).encrypt_inout_detached(&Nonce::default(), b"", text.into());
    tag.copy_from_slice(&sealed.expect("a key is within the cipher's limits"));
    wrapped
}

/// Appends one age file with these stanzas, nonce and body.
pub fn write(stanzas: &[Stanza], file_key: &[u8; FILE_KEY_LEN], nonce: &[u8; NONCE_LEN], body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(MAGIC);
    for stanza in stanzas {
        out.extend_from_slice(b"\n-> ");
        out.extend_from_slice(stanza.tag.as_bytes());
        for arg in &stanza.args {
            out.push(b' ');
            out.extend_from_slice(arg.as_bytes());
        }
        let encoded = STANDARD_NO_PAD.encode(&stanza.body);
        for line in encoded.as_bytes().chunks(BODY_COLUMNS) {
            out.push(b'\n');
            out.extend_from_slice(line);
        }
        // The body ends with a line that is not full, if need be with an empty one.
        if encoded.len() % BODY_COLUMNS == 0 {
            out.push(b'\n');
        }
    }
    out.extend_from_slice(b"\n---");
    let mac = header_mac(file_key, &out[start..]).finalize().into_bytes();
    out.push(b' ');
    out.extend_from_slice(STANDARD_NO_PAD.encode(mac).as_bytes());
    out.push(b'\n');
    out.extend_from_slice(nonce);
    write_payload(&payload_key(file_key, nonce), body, out);
}

fn write_payload(key: &[u8; 32], body: &[u8], out: &mut Vec<u8>) {
    let chunks = body.len().div_ceil(CHUNK).max(1);
    out.reserve(body.len() + chunks * TAG_LEN);
    for index in 0..chunks {
        let text = &body[index * CHUNK..body.len().min((index + 1) * CHUNK)];
        let (start, nonce) = (out.len(), chunk_nonce(index, index + 1 == chunks));
        out.extend_from_slice(text);
        let tag = long::encrypt(key, &nonce, &mut out[start..]).unwrap_or_else(|| {
            // Perhaps some of it is encrypted.
            out[start..].copy_from_slice(text);
            let sealed = cipher(key).encrypt_inout_detached(&nonce, b"", (&mut out[start..]).into());
            sealed.expect("a chunk is within the cipher's limits").into()
        });
        out.extend_from_slice(&tag);
    }
}

/// OpenSSL has the faster ChaCha20-Poly1305, but takes two microseconds until it begins.
#[cfg(feature = "openssl")]
mod long {
    use std::sync::OnceLock;

    use chacha20poly1305::Nonce;
    use ossl::cipher::{AeadParams, EncAlg, OsslCipher};
    use ossl::{OsslContext, OsslSecret};

    use super::TAG_LEN;

    /// From this length on it is worth it.
    const LONG: usize = 4096;

    /// Encrypts in place and gives the tag; `None` where the text is short, or OpenSSL cannot.
    pub fn encrypt(key: &[u8; 32], nonce: &Nonce, text: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        static CONTEXT: OnceLock<Option<OsslContext>> = OnceLock::new();
        if text.len() < LONG {
            return None;
        }
        let context = CONTEXT.get_or_init(|| OsslContext::new_lib_ctx_checked().ok()).as_ref()?;
        let (secret, aead) = (OsslSecret::from_slice(key), AeadParams::new(None, TAG_LEN, 0));
        let mut cipher =
            OsslCipher::new(context, EncAlg::ChaCha20Poly1305, true, secret, Some(nonce.to_vec()), Some(aead)).ok()?;
        let len = cipher.update_in_place(text).ok()?;
        let mut tag = [0; TAG_LEN];
        // A stream cipher holds nothing back.
        let rest = cipher.finalize(&mut tag).ok()?;
        cipher.get_tag(&mut tag).ok()?;
        (len == text.len() && rest == 0).then_some(tag)
    }
}

#[cfg(not(feature = "openssl"))]
mod long {
    /// There is no other.
    pub fn encrypt(_: &[u8; 32], _: &chacha20poly1305::Nonce, _: &mut [u8]) -> Option<[u8; super::TAG_LEN]> {
        None
    }
}

/// An age file taken apart; it spans all the bytes that were given.
#[derive(Debug)]
pub struct AgeFile<'a> {
    /// The wrapped file keys.
    pub stanzas: Vec<Stanza>,
    /// The payload's nonce, which carries the record's place.
    pub nonce: &'a [u8; NONCE_LEN],
    header: &'a [u8],
    mac: [u8; 32],
    payload: &'a [u8],
}

impl<'a> AgeFile<'a> {
    /// Reads the header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, AgeError> {
        let mut rest = bytes;
        let mut line = || -> Result<&'a [u8], AgeError> {
            let end = memchr::memchr(b'\n', rest).ok_or(AgeError::Header)?;
            let line = &rest[..end];
            rest = &rest[end + 1..];
            Ok(line)
        };
        if line()? != MAGIC {
            return Err(AgeError::Header);
        }
        let mut stanzas = Vec::new();
        let mac_line = loop {
            let head = line()?;
            let Some(args) = head.strip_prefix(b"-> ") else { break head };
            if stanzas.len() == MAX_STANZAS {
                return Err(AgeError::Header);
            }
            let mut encoded = Vec::new();
            loop {
                let columns = line()?;
                if columns.len() > BODY_COLUMNS {
                    return Err(AgeError::Header);
                }
                encoded.extend_from_slice(columns);
                if columns.len() < BODY_COLUMNS {
                    break;
                }
            }
            let mut args = args.split(|&byte| byte == b' ').map(argument);
            let tag = args.next().ok_or(AgeError::Header)??;
            let body = STANDARD_NO_PAD.decode(&encoded).map_err(|_| AgeError::Header)?;
            stanzas.push(Stanza { tag, args: args.collect::<Result<_, _>>()?, body });
        };
        let encoded = mac_line.strip_prefix(b"--- ").ok_or(AgeError::Header)?;
        let mac = STANDARD_NO_PAD.decode(encoded).ok().and_then(|mac| mac.try_into().ok()).ok_or(AgeError::Header)?;
        let header = &bytes[..bytes.len() - rest.len() - encoded.len() - 2];
        let (nonce, payload) = rest.split_first_chunk().ok_or(AgeError::Header)?;
        if stanzas.is_empty() { Err(AgeError::Header) } else { Ok(Self { stanzas, nonce, header, mac, payload }) }
    }

    /// Length of the encrypted payload in bytes.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// Decrypts into `plain`, which it replaces. Nothing is released unless all of it is authentic.
    pub fn open(&self, file_key: &[u8; FILE_KEY_LEN], plain: &mut Vec<u8>) -> Result<(), AgeError> {
        plain.clear();
        header_mac(file_key, self.header).verify_slice(&self.mac).map_err(|_| AgeError::Mac)?;
        let opened = self.open_payload(&cipher(&payload_key(file_key, self.nonce)), plain);
        if opened.is_err() {
            plain.zeroize();
        }
        opened
    }

    fn open_payload(&self, aead: &ChaCha20Poly1305, plain: &mut Vec<u8>) -> Result<(), AgeError> {
        plain.reserve(self.payload.len());
        let chunks = self.payload.len().div_ceil(CHUNK + TAG_LEN).max(1);
        for index in 0..chunks {
            let chunk = &self.payload[index * (CHUNK + TAG_LEN)..self.payload.len().min((index + 1) * (CHUNK + TAG_LEN))];
            let (text, tag) = chunk.split_last_chunk::<TAG_LEN>().ok_or(AgeError::Payload)?;
            // The last chunk is empty only where the whole body is.
            if text.is_empty() && index > 0 {
                return Err(AgeError::Payload);
            }
            let start = plain.len();
            plain.extend_from_slice(text);
            let nonce = chunk_nonce(index, index + 1 == chunks);
            aead.decrypt_inout_detached(&nonce, b"", (&mut plain[start..]).into(), tag.into()).map_err(|_| AgeError::Payload)?;
        }
        Ok(())
    }
}

/// One argument of a stanza: one or more visible ASCII characters.
fn argument(bytes: &[u8]) -> Result<String, AgeError> {
    let visible = !bytes.is_empty() && bytes.iter().all(|byte| (33..=126).contains(byte));
    if visible { Ok(bytes.iter().map(|&byte| char::from(byte)).collect()) } else { Err(AgeError::Header) }
}

/// `HMAC-SHA256(HKDF(file key, empty, "header"), header up to and including "---")`
fn header_mac(file_key: &[u8; FILE_KEY_LEN], header: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&hkdf(file_key, b"", b"header")[..])
        .expect("HMAC takes keys of any length");
    mac.update(header);
    mac
}

/// `HKDF(file key, nonce, "payload")`
fn payload_key(file_key: &[u8; FILE_KEY_LEN], nonce: &[u8; NONCE_LEN]) -> Zeroizing<[u8; 32]> {
    hkdf(file_key, nonce, b"payload")
}

fn cipher(key: &[u8; 32]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new_from_slice(key).expect("the key has the cipher's length")
}

/// `HKDF-SHA256(secret, salt, info, 32)`
pub fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut key[..]).expect("32 bytes are within HKDF's limit");
    key
}

/// Eleven bytes of counter, big-endian, and one that is 1 for the last chunk.
fn chunk_nonce(index: usize, last: bool) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[3..11].copy_from_slice(&(index as u64).to_be_bytes());
    nonce[11] = last.into();
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stanza(body_len: usize) -> Stanza {
        Stanza { tag: "X".to_owned(), args: vec!["a".to_owned(), "b".to_owned()], body: vec![9; body_len] }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(len in prop_oneof![0usize..300, 4090usize..4100, 65_530usize..65_545, 131_060usize..131_080], stanza_len in 0usize..200, flip: prop::sample::Index) {
            let (file_key, nonce, body) = ([1; 16], [2; 16], vec![7; len]);
            let mut file = Vec::new();
            write(&[stanza(stanza_len), stanza(0)], &file_key, &nonce, &body, &mut file);
            let parsed = AgeFile::parse(&file).unwrap();
            prop_assert_eq!(&parsed.stanzas, &vec![stanza(stanza_len), stanza(0)]);
            let mut plain = Vec::new();
            parsed.open(&file_key, &mut plain).unwrap();
            prop_assert_eq!(&plain, &body);
            prop_assert_eq!(parsed.open(&[3; 16], &mut plain), Err(AgeError::Mac));
            let at = flip.index(file.len());
            file[at] ^= 1;
            prop_assert!(AgeFile::parse(&file).and_then(|changed| changed.open(&file_key, &mut plain)).is_err());
            prop_assert!(plain.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut file = MAGIC.to_vec();
            file.extend_from_slice(b"\n-> ");
            file.extend_from_slice(&bytes);
            let _ = AgeFile::parse(&file);
            let _ = AgeFile::parse(&bytes);
        }
    }
}
