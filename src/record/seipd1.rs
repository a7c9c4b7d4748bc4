//! SEIPD version 1 (RFC 9580, 5.13.1): OpenPGP's CFB mode with a modification detection code. What GnuPG opens.
#![forbid(unsafe_code)]

use aes::{Aes128, Aes256};
use cfb_mode::cipher::KeyIvInit;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::Cipher;
use super::openpgp::{self, Malformed, SEIPD};
use super::seipd2::OpenError;

const BLOCK: usize = 16;
/// A random block and its last two octets again.
const PREFIX_LEN: usize = BLOCK + 2;
/// Header of the modification detection code packet.
const MDC_HEADER: [u8; 2] = [0xD3, 20];
const MDC_LEN: usize = MDC_HEADER.len() + 20;

/// Appends the SEIPD packet of one literal, which is encrypted in place. `random` is fresh for each packet.
pub fn write(cipher: Cipher, session_key: &[u8], random: &[u8; BLOCK], literal: &openpgp::Literal<'_>, out: &mut Vec<u8>) {
    let body_len = 1 + PREFIX_LEN + literal.write_len() + MDC_LEN;
    out.reserve(openpgp::header_len(body_len) + body_len);
    openpgp::write_header(SEIPD, body_len, out);
    out.push(1);
    let start = out.len();
    out.extend_from_slice(random);
    out.extend_from_slice(&random[BLOCK - 2..]);
    literal.write(out);
    out.extend_from_slice(&MDC_HEADER);
    let mdc = Sha1::digest(&out[start..]);
    out.extend_from_slice(&mdc);
    let (text, iv) = (&mut out[start..], &[0; BLOCK]);
    match cipher {
        Cipher::Aes128 => cfb_mode::Encryptor::<Aes128>::new_from_slices(session_key, iv)
            .expect("the key has the cipher's length")
            .encrypt(text),
        Cipher::Aes256 => cfb_mode::Encryptor::<Aes256>::new_from_slices(session_key, iv)
            .expect("the key has the cipher's length")
            .encrypt(text),
    }
}

/// Decrypts the body of a SEIPD v1 packet into `plain`, which it replaces. Nothing is released unless its code is right.
pub fn open(cipher: Cipher, session_key: &[u8], body: &[u8], plain: &mut Vec<u8>) -> Result<(), OpenError> {
    plain.clear();
    let [version, text @ ..] = body else { return Err(Malformed::Field.into()) };
    if *version != 1 {
        return Err(Malformed::Version.into());
    }
    if text.len() < PREFIX_LEN + MDC_LEN || session_key.len() != cipher.key_len() {
        return Err(OpenError::Authentication);
    }
    // A wrong candidate shows in the first two blocks, so that it never costs its whole announced length.
    let mut head: [u8; PREFIX_LEN] = text[..PREFIX_LEN].try_into().expect("the text is longer");
    decrypt(cipher, session_key, &mut head);
    if head[BLOCK - 2..BLOCK] != head[BLOCK..] {
        return Err(OpenError::Authentication);
    }
    plain.extend_from_slice(text);
    decrypt(cipher, session_key, plain);
    let mdc_at = plain.len() - 20;
    let mdc = Sha1::digest(&plain[..mdc_at]);
    if plain[mdc_at - 2..mdc_at] != MDC_HEADER || !bool::from(mdc[..].ct_eq(&plain[mdc_at..])) {
        plain.zeroize();
        return Err(OpenError::Authentication);
    }
    plain.truncate(mdc_at - MDC_HEADER.len());
    plain.drain(..PREFIX_LEN);
    Ok(())
}

fn decrypt(cipher: Cipher, session_key: &[u8], text: &mut [u8]) {
    let iv = &[0; BLOCK];
    match cipher {
        Cipher::Aes128 => cfb_mode::Decryptor::<Aes128>::new_from_slices(session_key, iv)
            .expect("the key has the cipher's length")
            .decrypt(text),
        Cipher::Aes256 => cfb_mode::Decryptor::<Aes256>::new_from_slices(session_key, iv)
            .expect("the key has the cipher's length")
            .decrypt(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(body in prop::collection::vec(any::<u8>(), 0..3000), random: [u8; 16], flip: prop::sample::Index) {
            for cipher in [Cipher::Aes128, Cipher::Aes256] {
                let session_key = vec![3; cipher.key_len()];
                let literal = openpgp::Literal { name: b"sabc", date: 7, body: &body };
                let mut packet = Vec::new();
                write(cipher, &session_key, &random, &literal, &mut packet);
                let (packet_type, header, body_len) = openpgp::read_header(&packet).unwrap();
                prop_assert_eq!((packet_type, header + body_len), (SEIPD, packet.len()));
                let mut plain = Vec::new();
                open(cipher, &session_key, &packet[header..], &mut plain).unwrap();
                prop_assert_eq!(openpgp::Literal::parse(&plain), Ok(literal));
                packet[header + flip.index(body_len)] ^= 1;
                prop_assert!(open(cipher, &session_key, &packet[header..], &mut plain).is_err());
                prop_assert!(plain.is_empty());
            }
        }
    }
}
