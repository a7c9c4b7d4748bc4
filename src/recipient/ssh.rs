//! SSH public keys as ssh-keygen writes them: type, base64 of the key's bytes (RFC 4253, 6.6; RFC 8709, 4), comment.
//!
//! Promises: a parser that never trusts a length and takes nothing behind a key's last field.
#![forbid(unsafe_code)]

use base64::{Engine, engine::general_purpose::STANDARD};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use thiserror::Error;

use super::rsa::{RsaError, RsaKey};

/// Why a line is no SSH public key that is sealed to.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SshError {
    /// A key of a type that cannot encrypt, or that nothing is known of.
    #[error("a key of type {0}")]
    Type(String),
    /// An RSA key that is too short or too long.
    #[error("an ssh-rsa key of {0} bits")]
    Length(&'static str),
    /// Not a key, or a damaged one.
    #[error("invalid SSH public key")]
    NotAKey,
}

/// An SSH public key with what stands beside it.
#[derive(Debug)]
pub struct SshKey<'a> {
    /// Its numbers.
    pub key: Key,
    /// The bytes that its fingerprint is made of.
    pub bytes: Vec<u8>,
    /// What its owner wrote behind it.
    pub comment: &'a str,
}

/// The numbers of a key.
#[derive(Debug)]
pub enum Key {
    /// `ssh-ed25519`
    Ed25519(EdwardsPoint),
    /// `ssh-rsa`
    Rsa(RsaKey),
}

/// Reads a line without spaces around it.
pub fn parse(line: &str) -> Result<SshKey<'_>, SshError> {
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().unwrap_or("");
    let (algorithm, encoded, comment) = (word(), word(), word());
    let bytes = STANDARD.decode(encoded).map_err(|_| SshError::NotAKey)?;
    let mut rest = &bytes[..];
    let mut field = || -> Result<&[u8], SshError> {
        let (len, behind) = rest.split_first_chunk().ok_or(SshError::NotAKey)?;
        let (field, behind) = usize::try_from(u32::from_be_bytes(*len))
            .ok()
            .and_then(|len| behind.split_at_checked(len))
            .ok_or(SshError::NotAKey)?;
        rest = behind;
        Ok(field)
    };
    if field()? != algorithm.as_bytes() {
        return Err(SshError::NotAKey);
    }
    let key = match algorithm {
        "ssh-ed25519" => {
            let point = CompressedEdwardsY::from_slice(field()?).map_err(|_| SshError::NotAKey)?;
            Key::Ed25519(point.decompress().ok_or(SshError::NotAKey)?)
        }
        "ssh-rsa" => {
            let (exponent, modulus) = (positive(field()?)?, positive(field()?)?);
            Key::Rsa(RsaKey::new(modulus, exponent).map_err(|error| match error {
                RsaError::TooShort => SshError::Length("less than 2048"),
                RsaError::TooLong => SshError::Length("more than 4096"),
                RsaError::Numbers => SshError::NotAKey,
            })?)
        }
        _ => return Err(SshError::Type(algorithm.to_owned())),
    };
    if rest.is_empty() { Ok(SshKey { key, bytes, comment }) } else { Err(SshError::NotAKey) }
}

/// The field of a positive number in its shortest form (RFC 4251, 5, `mpint`).
fn positive(field: &[u8]) -> Result<&[u8], SshError> {
    match field {
        [0, second, ..] if *second >= 0x80 => Ok(field),
        [1..0x80, ..] => Ok(field),
        _ => Err(SshError::NotAKey),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(algorithm: &str, fields: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        for field in fields {
            bytes.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(field);
        }
        format!("{algorithm} {} a comment of words", STANDARD.encode(bytes))
    }

    /// A modulus of so many bits, as a number of SSH.
    fn modulus(bits: usize) -> Vec<u8> {
        let mut field = vec![0xff; bits / 8];
        field.insert(0, 0);
        field
    }

    #[test]
    fn keys_are_taken_as_a_whole_and_in_one_form_only() {
        let ed25519: &[&[u8]] = &[b"ssh-ed25519", &[1; 32]];
        let n = modulus(2048);
        let rsa: &[&[u8]] = &[b"ssh-rsa", &[1, 0, 1], &n];
        for (algorithm, fields) in [("ssh-ed25519", ed25519), ("ssh-rsa", rsa)] {
            let whole = line(algorithm, fields);
            assert_eq!(parse(&whole).unwrap().comment, "a comment of words");
            let more = line(algorithm, &[fields, &[b"more"]].concat());
            let less = line(algorithm, &fields[..fields.len() - 1]);
            let other = line("ssh-dss", fields);
            for wrong in [more, less, other, whole.replacen(' ', "  ", 1), algorithm.to_owned(), String::new()] {
                assert_eq!(parse(&wrong).unwrap_err(), SshError::NotAKey, "{wrong}");
            }
        }
        let (negative, padded) = (&n[1..], [&[0], &n[..]].concat());
        for fields in [[&b"ssh-rsa"[..], &[1, 0, 1], negative], [b"ssh-rsa", &[1, 0, 1], &padded], [b"ssh-rsa", &[0, 3], &n]] {
            assert_eq!(parse(&line("ssh-rsa", &fields)).unwrap_err(), SshError::NotAKey);
        }
        assert_eq!(parse(&line("ssh-ed25519", &[b"ssh-ed25519", &[2; 31]])).unwrap_err(), SshError::NotAKey);
        // Its second coordinate is on no point.
        assert_eq!(parse(&line("ssh-ed25519", &[b"ssh-ed25519", &[2; 32]])).unwrap_err(), SshError::NotAKey);
        assert_eq!(parse(&line("ssh-dss", &[b"ssh-dss", b"x"])).unwrap_err(), SshError::Type("ssh-dss".to_owned()));
        let lengths = [(1024, "less than 2048"), (8192, "more than 4096")];
        for (bits, told) in lengths {
            assert_eq!(parse(&line("ssh-rsa", &[b"ssh-rsa", &[3], &modulus(bits)])).unwrap_err(), SshError::Length(told));
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), any in ".{0,80}") {
            for algorithm in ["ssh-rsa", "ssh-ed25519"] {
                let head = [&u32::try_from(algorithm.len()).unwrap().to_be_bytes(), algorithm.as_bytes(), &bytes].concat();
                let _ = parse(&format!("{algorithm} {}", STANDARD.encode(head)));
                let _ = parse(&format!("{algorithm} {any}"));
            }
            let _ = parse(&any);
        }
    }
}
