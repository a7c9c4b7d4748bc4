//! SHA-256 (FIPS 180-4), HMAC (RFC 2104) and HKDF (RFC 5869) of sixteen short messages at once.
//!
//! Promises: the same values as one message at a time, at whatever speed the function that is handed in has: an epoch's
//! keys are some dozen hashes a slot, and the slots do not wait for each other. Knows no processor: which
//! [`Compress`] is the fastest is for the caller to find out. What is computed with stays on the stack, which is the
//! caller's to wipe.
#![forbid(unsafe_code)]

use sha2::block_api::compress256;

/// How many messages are hashed at once.
pub const LANES: usize = 16;

/// One 32-bit word of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Words(pub [u32; LANES]);

/// The hash values of all messages, word by word.
pub type State = [Words; 8];
/// One block of all messages, word by word.
pub type Block = [Words; 16];
/// The compression function (FIPS 180-4, 6.2.2).
pub type Compress = fn(&mut State, &Block);

/// The initial hash value (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const INNER_PAD: u32 = 0x3636_3636;
const OUTER_PAD: u32 = 0x5c5c_5c5c;
/// Length in bytes of a hash value, and of the longest message whose padding is in the same block.
const HASH_LEN: usize = 32;
const SHORT: usize = 55;

impl Words {
    /// The same word in all messages.
    pub const fn same(word: u32) -> Self {
        Self([word; LANES])
    }

    fn xor(self, word: u32) -> Self {
        Self(self.0.map(|own| own ^ word))
    }
}

/// One message after the other, on any machine.
pub fn compress(state: &mut State, block: &Block) {
    for lane in 0..LANES {
        let mut one = state.map(|words| words.0[lane]);
        let mut bytes = [0; 64];
        for (bytes, words) in bytes.as_chunks_mut().0.iter_mut().zip(block) {
            *bytes = words.0[lane].to_be_bytes();
        }
        compress256(&mut one, &[bytes]);
        for (words, word) in state.iter_mut().zip(one) {
            words.0[lane] = word;
        }
    }
}

/// `SHA-256(value)` of a hash value.
pub fn digest_of_digest(value: &mut [u8; HASH_LEN]) {
    let mut block = [0; 64];
    block[..HASH_LEN].copy_from_slice(value);
    block[HASH_LEN] = 0x80;
    block[62..].copy_from_slice(&(HASH_LEN as u16 * 8).to_be_bytes());
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    for (bytes, word) in value.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
}

/// HMAC keyed for sixteen messages, with one key or a key for each. Erased when dropped.
pub struct Hmac {
    inner: State,
    outer: State,
    compress: Compress,
}

impl Hmac {
    /// The same key of 32 bytes for all messages.
    pub fn with_key(key: &[u8; HASH_LEN], compress: Compress) -> Self {
        Self::with_keys(&splat(key), compress)
    }

    /// A key for each message.
    pub fn with_keys(keys: &State, compress: Compress) -> Self {
        let padded = |pad: u32| {
            let block = std::array::from_fn(|at| keys.get(at).map_or(Words::same(pad), |words| words.xor(pad)));
            let mut state = INITIAL.map(Words::same);
            compress(&mut state, &block);
            state
        };
        Self { inner: padded(INNER_PAD), outer: padded(OUTER_PAD), compress }
    }

    /// The codes of messages of `len` bytes, at most 55, that stand at the beginning of `block`; it is zero behind them.
    pub fn code(&self, mut block: Block, len: usize) -> State {
        assert!(len <= SHORT, "the padding needs nine bytes");
        let end = 0x80 << (24 - 8 * (len % 4));
        block[len / 4].0.iter_mut().for_each(|word| *word |= end);
        block[15] = bits(len);
        let mut state = self.inner;
        (self.compress)(&mut state, &block);
        let mut block = [Words::same(0); 16];
        block[..8].copy_from_slice(&state);
        block[8] = Words::same(0x8000_0000);
        block[15] = bits(HASH_LEN);
        let mut code = self.outer;
        (self.compress)(&mut code, &block);
        code
    }

    /// The codes of the numbers `from`, `from + 1`, … as four big-endian bytes each.
    pub fn numbers(&self, from: u32) -> State {
        let mut block = [Words::same(0); 16];
        block[0] = Words(std::array::from_fn(|lane| from + lane as u32));
        self.code(block, 4)
    }
}

impl Drop for Hmac {
    fn drop(&mut self) {
        (self.inner, self.outer) = ([Words::same(0); 8], [Words::same(0); 8]);
        zeroize::optimization_barrier(self);
    }
}

/// A value of 32 bytes for each message, word by word.
pub fn values<'a>(value: impl Fn(usize) -> &'a [u8; HASH_LEN]) -> State {
    let values: [_; LANES] = std::array::from_fn(|lane| value(lane).as_chunks().0);
    std::array::from_fn(|at| Words(std::array::from_fn(|lane| u32::from_be_bytes(values[lane][at]))))
}

/// The bytes of one message's hash value.
pub fn lane(state: &State, lane: usize) -> [u8; HASH_LEN] {
    let mut value = [0; HASH_LEN];
    for (bytes, words) in value.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = words.0[lane].to_be_bytes();
    }
    value
}

/// A block that begins with the same bytes in all messages, at most 64, and is zero behind them.
pub fn block_of(bytes: &[u8]) -> Block {
    let mut whole = [0; 64];
    whole[..bytes.len()].copy_from_slice(bytes);
    let words = whole.as_chunks().0;
    std::array::from_fn(|at| Words::same(u32::from_be_bytes(words[at])))
}

fn splat(value: &[u8; HASH_LEN]) -> State {
    let words = value.as_chunks().0;
    std::array::from_fn(|at| Words::same(u32::from_be_bytes(words[at])))
}

/// The length of a message behind one block of padded key, in bits.
fn bits(len: usize) -> Words {
    Words::same((64 + len as u32) * 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{KeyInit, Mac};
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    proptest! {
        #[test]
        fn codes_are_those_of_the_hmac_crate(keys: [[u8; 32]; LANES], text in prop::collection::vec(any::<u8>(), 0..=SHORT), from in 0u32..1 << 30) {
            let words: State = std::array::from_fn(|at| {
                Words(keys.map(|key| u32::from_be_bytes(*key.as_chunks().0.get(at).unwrap())))
            });
            let one = Hmac::with_key(&keys[0], compress).numbers(from);
            let each = Hmac::with_keys(&words, compress).code(block_of(&text), text.len());
            for (number, key) in keys.iter().enumerate() {
                let code = |key: &[u8], text: &[u8]| -> [u8; 32] {
                    hmac::Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().into()
                };
                prop_assert_eq!(lane(&each, number), code(key, &text));
                prop_assert_eq!(lane(&one, number), code(&keys[0], &(from + number as u32).to_be_bytes()));
            }
        }

        #[test]
        fn a_hash_value_is_hashed(value: [u8; 32]) {
            let mut hashed = value;
            digest_of_digest(&mut hashed);
            prop_assert_eq!(hashed, <[u8; 32]>::from(Sha256::digest(value)));
        }
    }
}
