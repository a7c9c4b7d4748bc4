//! RSA public keys, and RSAES-OAEP with SHA-256 (RFC 8017, 7.1), the side that encrypts.
//!
//! Promises: a time that depends on the key alone, not on what is encrypted. Knows no random generator: the seed is handed in.
//! Numbers that say something of the message are freed without being erased; the programs' allocator does that.
#![forbid(unsafe_code)]

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

/// Length in bytes of a hash value, and of the seed.
pub const SEED_LEN: usize = 32;
/// Shortest modulus that is sealed to, in bits.
const MIN_BITS: u32 = 2048;
/// Longest modulus that is sealed to, in bits.
const MAX_BITS: u32 = 4096;
/// Longest public exponent, in bits.
const MAX_EXPONENT_BITS: u32 = 33;

/// Why two numbers are no RSA public key that is sealed to.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
#[non_exhaustive]
pub enum RsaError {
    /// The modulus is too short to be safe.
    #[error("an RSA key of less than {MIN_BITS} bits")]
    TooShort,
    /// The modulus is longer than readers take.
    #[error("an RSA key of more than {MAX_BITS} bits")]
    TooLong,
    /// Modulus or exponent are even, or the exponent is 1 or larger than anyone's.
    #[error("not the numbers of an RSA key")]
    Numbers,
}

/// An RSA public key.
#[derive(Clone, Debug)]
pub struct RsaKey {
    modulus: BoxedMontyParams,
    /// Length of the modulus in bytes.
    len: usize,
    exponent: u64,
}

impl RsaKey {
    /// Takes modulus and exponent, big-endian.
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, RsaError> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        match bits(modulus) {
            0..MIN_BITS => return Err(RsaError::TooShort),
            MIN_BITS..=MAX_BITS => {}
            _ => return Err(RsaError::TooLong),
        }
        if bits(exponent) > MAX_EXPONENT_BITS {
            return Err(RsaError::Numbers);
        }
        let exponent = exponent.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let odd: Option<Odd<BoxedUint>> = Odd::new(number(modulus, modulus.len())).into();
        match odd {
            Some(odd) if exponent > 1 && exponent % 2 == 1 => {
                Ok(Self { modulus: BoxedMontyParams::new_vartime(odd), len: modulus.len(), exponent })
            }
            _ => Err(RsaError::Numbers),
        }
    }

    /// Encrypts a message, which must be at least 66 bytes shorter than the modulus. The seed is random, and for this
    /// message alone.
    pub fn encrypt(&self, message: &[u8], label: &[u8], seed: &[u8; SEED_LEN]) -> Vec<u8> {
        // 00 ‖ seed ‖ SHA-256(label) ‖ 00 … 00 ‖ 01 ‖ message, seed and the rest masked with each other.
        let mut encoded = Zeroizing::new(vec![0; self.len]);
        let (masked_seed, block) = encoded[1..].split_at_mut(SEED_LEN);
        let text = block.len() - message.len();
        assert!(text > SEED_LEN, "the message is too long for the key");
        block[..SEED_LEN].copy_from_slice(&Sha256::digest(label));
        block[text - 1] = 1;
        block[text..].copy_from_slice(message);
        mask(block, seed);
        masked_seed.copy_from_slice(seed);
        mask(masked_seed, block);
        let power = self.power(BoxedMontyForm::new(number(&encoded, self.len), &self.modulus));
        let bytes = power.retrieve().to_be_bytes();
        bytes[bytes.len() - self.len..].to_vec()
    }

    /// To the power of the exponent, which everyone knows.
    fn power(&self, base: BoxedMontyForm) -> BoxedMontyForm {
        let below_highest = (0..self.exponent.ilog2()).rev();
        below_highest.fold(base.clone(), |power, bit| {
            let square = power.square();
            if self.exponent >> bit & 1 == 1 { square.mul(&base) } else { square }
        })
    }
}

/// MGF1 (RFC 8017, B.2.1) over `seed`, on top of `bytes`.
fn mask(bytes: &mut [u8], seed: &[u8]) {
    for (chunk, counter) in bytes.chunks_mut(SEED_LEN).zip(0u32..) {
        let masks = Sha256::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        chunk.iter_mut().zip(masks).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// A number of at most `len` bytes, in as many words as all numbers of that length.
fn number(bytes: &[u8], len: usize) -> BoxedUint {
    let bits = u32::try_from(len * 8).expect("the length of an RSA key was checked").next_multiple_of(64);
    BoxedUint::from_be_slice(bytes, bits).expect("it is as long as was said")
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}

fn bits(number: &[u8]) -> u32 {
    let first = number.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(number.len() * 8).map_or(u32::MAX, |bits| bits - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modulus(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0xa7; bits.div_ceil(8)];
        modulus[0] = 1 << ((bits - 1) % 8);
        modulus
    }

    #[test]
    fn only_keys_of_fitting_numbers_are_taken() {
        let exponent = [1, 0, 1];
        for bits in [2048, 2049, 3000, 3072, 4095, 4096] {
            assert!(RsaKey::new(&modulus(bits), &exponent).is_ok(), "{bits}");
        }
        assert_eq!(RsaKey::new(&modulus(2047), &exponent).unwrap_err(), RsaError::TooShort);
        assert_eq!(RsaKey::new(&modulus(4097), &exponent).unwrap_err(), RsaError::TooLong);
        assert_eq!(RsaKey::new(&vec![0xff; 1 << 20], &exponent).unwrap_err(), RsaError::TooLong);
        assert_eq!(RsaKey::new(&[], &exponent).unwrap_err(), RsaError::TooShort);
        let mut even = modulus(2048);
        *even.last_mut().unwrap() &= 0xfe;
        assert_eq!(RsaKey::new(&even, &exponent).unwrap_err(), RsaError::Numbers);
        for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[0xff; 9]] {
            assert_eq!(RsaKey::new(&modulus(2048), exponent).unwrap_err(), RsaError::Numbers, "{exponent:?}");
        }
        for exponent in [&[0, 3][..], &[35], &[1, 0xff, 0xff, 0xff, 0xff]] {
            assert!(RsaKey::new(&[&[0], &modulus(2048)[..]].concat(), exponent).is_ok(), "{exponent:?}");
        }
    }

    #[test]
    fn powers_are_those_of_schoolbook_arithmetic() {
        // 2^3 and 2^65537 modulo 2^2048 - 1, where multiplying by two turns the bits.
        let modulus = [0xff; 256];
        for (exponent, bit) in [(&[3][..], 3), (&[1, 0, 1], 65537 % 2048)] {
            let key = RsaKey::new(&modulus, exponent).unwrap();
            let two = BoxedMontyForm::new(number(&[2], 256), &key.modulus);
            let mut wanted = vec![0; 256];
            wanted[255 - bit / 8] = 1 << (bit % 8);
            assert_eq!(key.power(two).retrieve().to_be_bytes().to_vec(), wanted);
        }
    }
}
