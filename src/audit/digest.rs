//! A short hash that tells records apart.
//!
//! Promises: different records have different digests but for a chance of about 2^-55 each, whoever made them, since the
//! key is random and no digest is ever shown; equal records have the same one. It is universal hashing: NH (RFC 4418,
//! 5.2) of blocks of 1 KiB, here with words of 64 bits, and a polynomial modulo 2^61 - 1 over what that gives.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

/// Words of 64 bits in a block.
const WORDS: usize = 128;
const PRIME: u64 = (1 << 61) - 1;

/// The key of a run.
pub struct Hasher {
    words: Box<[u64; WORDS]>,
    point: u64,
}

impl Default for Hasher {
    /// With a random key.
    fn default() -> Self {
        let random = RandomState::new();
        let mut words = Box::new([0; WORDS]);
        for (at, word) in words.iter_mut().enumerate() {
            *word = random.hash_one(at);
        }
        Self { words, point: random.hash_one(WORDS) % (PRIME - 2) + 2 }
    }
}

impl Hasher {
    /// The digest of a record.
    pub fn digest(&self, record: &[u8]) -> u64 {
        let mut hash = self.absorb(0, record.len() as u64);
        for block in record.chunks(WORDS * 8) {
            let sum = self.sum(block);
            for limb in [sum as u64 & PRIME, (sum >> 61) as u64 & PRIME, (sum >> 122) as u64] {
                hash = self.absorb(hash, limb);
            }
        }
        if hash >= PRIME { hash - PRIME } else { hash }
    }

    fn absorb(&self, hash: u64, limb: u64) -> u64 {
        // Both have at most 62 bits, the point has 61.
        let product = u128::from(hash + limb) * u128::from(self.point);
        let folded = (product as u64 & PRIME) + (product >> 61) as u64;
        (folded & PRIME) + (folded >> 61)
    }

    /// The sum of the products of neighbours, each with a word of the key added.
    fn sum(&self, block: &[u8]) -> u128 {
        let product = |pair: &[u8], key: &[u64]| {
            let [low, high] = [0, 8].map(|at| u64::from_le_bytes(pair[at..at + 8].try_into().expect("so many")));
            u128::from(low.wrapping_add(key[0])) * u128::from(high.wrapping_add(key[1]))
        };
        let (fours, rest) = block.as_chunks::<64>();
        // Sums of their own, so that no addition waits for the one before.
        let mut sums = [0u128; 4];
        for (four, keys) in fours.iter().zip(self.words.as_chunks::<8>().0) {
            for (at, sum) in sums.iter_mut().enumerate() {
                *sum = sum.wrapping_add(product(&four[16 * at..], &keys[2 * at..]));
            }
        }
        let mut last = [0; 64];
        last[..rest.len()].copy_from_slice(rest);
        let keys = &self.words[8 * fours.len()..];
        for (at, sum) in sums.iter_mut().enumerate().take(rest.len().div_ceil(16)) {
            *sum = sum.wrapping_add(product(&last[16 * at..], &keys[2 * at..]));
        }
        sums.into_iter().fold(0, u128::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_length_count() {
        let hasher = Hasher::default();
        let record: Vec<u8> = (0..2500u32).map(|at| (at * 7 % 251) as u8).collect();
        let mut seen = std::collections::HashSet::new();
        for len in [0, 1, 15, 16, 17, 420, 1023, 1024, 1025, 2500] {
            let copy = record[..len].to_vec();
            assert_eq!(hasher.digest(&record[..len]), hasher.digest(&copy));
            assert!(seen.insert(hasher.digest(&record[..len])), "{len}");
            for bit in 0..len * 8 {
                let mut changed = record[..len].to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(seen.insert(hasher.digest(&changed)), "{len} {bit}");
            }
        }
        assert!(seen.insert(hasher.digest(&[&record[1024..2048], &record[..1024]].concat())));
        assert!(seen.insert(hasher.digest(&record[..2048])));
        assert!(seen.insert(hasher.digest(&[&record[..420], &[0]].concat())));
    }
}
