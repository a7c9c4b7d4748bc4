//! AES-256 (FIPS 197) with the processor's own instructions: its key schedule and short texts, which are all
//! that a log line is, are where the crate `aes` takes longest.
//!
//! Promises: the same bytes as the crate's; the key schedule is erased when it is dropped. Takes the same time for all keys
//! and texts.

use crate::record::seipd2::{self, WriteChunks};

/// The fastest way that this processor has to seal the chunks of a message with AES-256.
pub fn write_chunks() -> WriteChunks {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("avx2") {
        return seipd2::write_chunks::<x86::Aes256>;
    }
    seipd2::write_chunks::<aes::Aes256Enc>
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use aes::Block;
    use aes::cipher::array::Array;
    use aes::cipher::consts::{U8, U16, U32};
    use aes::cipher::inout::{InOut, InOutBuf};
    use aes::cipher::{
        BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, Key, KeyInit, KeySizeUser,
        ParBlocksSizeUser,
    };
    use zeroize::Zeroize;

    pub const ROUNDS: usize = 14;
    /// Where the last word of a round key goes: into all four, rotated for every other round key.
    const LAST_WORD: [u8; 16] = [12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15];
    const LAST_WORD_ROTATED: [u8; 16] = [13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12];

    /// Only made where the processor has AES and AVX2.
    pub struct Aes256 {
        pub keys: [__m128i; ROUNDS + 1],
    }

    impl KeySizeUser for Aes256 {
        type KeySize = U32;
    }

    impl BlockSizeUser for Aes256 {
        type BlockSize = U16;
    }

    impl ParBlocksSizeUser for Aes256 {
        type ParBlocksSize = U8;
    }

    impl KeyInit for Aes256 {
        fn new(key: &Key<Self>) -> Self {
            // SAFETY: see the type.
            unsafe { Self { keys: expand(&key.0) } }
        }
    }

    impl Drop for Aes256 {
        fn drop(&mut self) {
            self.keys.zeroize();
        }
    }

    impl BlockCipherEncrypt for Aes256 {
        fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
            // SAFETY: see the type.
            unsafe { self.call(f) }
        }
    }

    impl Aes256 {
        #[target_feature(enable = "aes,avx2")]
        fn call(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
            f.call(self);
        }

        /// `N` blocks, which do not wait for each other.
        #[target_feature(enable = "aes,avx2")]
        fn encrypt_few<const N: usize>(&self, mut blocks: InOutBuf<'_, '_, Block>) {
            let few: &[Block; N] = blocks.get_in().first_chunk().expect("callers count them");
            let sealed = self.encrypt(few.each_ref().map(|block| load(block)));
            for (block, sealed) in blocks.get_out().iter_mut().zip(sealed) {
                store(block, sealed);
            }
        }

        /// FIPS 197, 5.1
        #[target_feature(enable = "aes,avx2")]
        fn encrypt<const N: usize>(&self, mut blocks: [__m128i; N]) -> [__m128i; N] {
            blocks = blocks.map(|block| _mm_xor_si128(block, self.keys[0]));
            for key in &self.keys[1..ROUNDS] {
                blocks = blocks.map(|block| _mm_aesenc_si128(block, *key));
            }
            blocks.map(|block| _mm_aesenclast_si128(block, self.keys[ROUNDS]))
        }
    }

    impl BlockCipherEncBackend for Aes256 {
        #[inline(always)]
        fn encrypt_block(&self, mut block: InOut<'_, '_, Block>) {
            // SAFETY: see the type; and a block is as many bytes.
            unsafe {
                let [sealed] = self.encrypt([load(block.get_in())]);
                store(block.get_out(), sealed);
            }
        }

        #[inline(always)]
        fn encrypt_par_blocks(&self, mut blocks: InOut<'_, '_, Array<Block, U8>>) {
            // SAFETY: as above.
            unsafe {
                let sealed = self.encrypt(blocks.get_in().0.each_ref().map(|block| load(block)));
                for (block, sealed) in blocks.get_out().iter_mut().zip(sealed) {
                    store(block, sealed);
                }
            }
        }

        #[inline(always)]
        fn encrypt_tail_blocks(&self, blocks: InOutBuf<'_, '_, Block>) {
            // SAFETY: see the type.
            unsafe {
                match blocks.len() {
                    0 => {}
                    1 => self.encrypt_few::<1>(blocks),
                    2 => self.encrypt_few::<2>(blocks),
                    3 => self.encrypt_few::<3>(blocks),
                    4 => self.encrypt_few::<4>(blocks),
                    5 => self.encrypt_few::<5>(blocks),
                    6 => self.encrypt_few::<6>(blocks),
                    _ => self.encrypt_few::<7>(blocks),
                }
            }
        }
    }

    /// FIPS 197, 5.2. A word that fills a whole block is substituted by the last round, whose row shifts leave it as it is;
    /// that is faster than the instruction made for it.
    #[target_feature(enable = "aes,avx2")]
    fn expand(key: &[u8; 32]) -> [__m128i; ROUNDS + 1] {
        let (whole, rotated) = (load_bytes(&LAST_WORD), load_bytes(&LAST_WORD_ROTATED));
        let (first, second) = key.split_at(16);
        let mut keys = [_mm_setzero_si128(); ROUNDS + 1];
        keys[0] = load_bytes(first.first_chunk().expect("half of the key"));
        keys[1] = load_bytes(second.first_chunk().expect("half of the key"));
        let mut constant = 1;
        for round in 2..=ROUNDS {
            let substituted = if round % 2 == 0 {
                let word = _mm_aesenclast_si128(_mm_shuffle_epi8(keys[round - 1], rotated), _mm_set1_epi32(constant));
                constant <<= 1;
                word
            } else {
                _mm_aesenclast_si128(_mm_shuffle_epi8(keys[round - 1], whole), _mm_setzero_si128())
            };
            let before = keys[round - 2];
            let pairs = _mm_xor_si128(before, _mm_slli_si128::<4>(before));
            let sums = _mm_xor_si128(pairs, _mm_slli_si128::<8>(pairs));
            keys[round] = _mm_xor_si128(sums, substituted);
        }
        keys
    }

    #[target_feature(enable = "avx2")]
    pub fn load(block: &Block) -> __m128i {
        load_bytes(&block.0)
    }

    #[target_feature(enable = "avx2")]
    fn load_bytes(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: as many bytes are there; the instruction wants no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    pub fn store(block: &mut Block, value: __m128i) {
        // SAFETY: as above, and nobody else has them.
        unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), value) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn it_is_the_cipher_of_the_aes_crate(key: [u8; 32], blocks in prop::collection::vec(any::<[u8; 16]>(), 0..40)) {
                prop_assume!(std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("avx2"));
                let mut ours: Vec<Block> = blocks.iter().map(|block| Block::from(*block)).collect();
                let mut theirs = ours.clone();
                Aes256::new(&key.into()).encrypt_blocks(&mut ours);
                aes::Aes256Enc::new(&key.into()).encrypt_blocks(&mut theirs);
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
