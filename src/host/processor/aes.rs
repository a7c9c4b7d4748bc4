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

    const ROUNDS: usize = 14;
    /// Where the last word of a round key goes: into all four, rotated for every other round key.
    const LAST_WORD: [u8; 16] = [12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15];
    const LAST_WORD_ROTATED: [u8; 16] = [13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12];

    /// Round keys in the order of their use, of the cipher or of the equivalent inverse cipher. Only made where the processor has
    /// AES and AVX2.
    pub struct RoundKeys<const INVERSE: bool>([__m128i; ROUNDS + 1]);

    impl<const INVERSE: bool> Drop for RoundKeys<INVERSE> {
        fn drop(&mut self) {
            self.0.zeroize();
        }
    }

    impl<const INVERSE: bool> RoundKeys<INVERSE> {
        /// Blocks that do not wait for each other (FIPS 197, 5.1 and 5.3.5).
        #[inline]
        #[target_feature(enable = "aes,avx2")]
        fn rounds<const N: usize>(&self, mut blocks: [__m128i; N]) -> [__m128i; N] {
            let Self(keys) = self;
            blocks = blocks.map(|block| _mm_xor_si128(block, keys[0]));
            for key in &keys[1..ROUNDS] {
                blocks = blocks.map(|block| if INVERSE { _mm_aesdec_si128(block, *key) } else { _mm_aesenc_si128(block, *key) });
            }
            let last = keys[ROUNDS];
            blocks.map(|block| if INVERSE { _mm_aesdeclast_si128(block, last) } else { _mm_aesenclast_si128(block, last) })
        }

        /// One block.
        #[inline]
        #[target_feature(enable = "aes,avx2")]
        pub fn one(&self, mut block: InOut<'_, '_, Block>) {
            let [done] = self.rounds([load(block.get_in())]);
            store(block.get_out(), done);
        }

        /// As many blocks as are interleaved.
        #[inline]
        #[target_feature(enable = "aes,avx2")]
        pub fn eight(&self, mut blocks: InOut<'_, '_, Array<Block, U8>>) {
            let done = self.rounds(blocks.get_in().0.each_ref().map(|block| load(block)));
            for (block, done) in blocks.get_out().iter_mut().zip(done) {
                store(block, done);
            }
        }

        /// Fewer.
        #[inline]
        #[target_feature(enable = "aes,avx2")]
        pub fn few(&self, blocks: InOutBuf<'_, '_, Block>) {
            match blocks.len() {
                0 => {}
                1 => self.exactly::<1>(blocks),
                2 => self.exactly::<2>(blocks),
                3 => self.exactly::<3>(blocks),
                4 => self.exactly::<4>(blocks),
                5 => self.exactly::<5>(blocks),
                6 => self.exactly::<6>(blocks),
                _ => self.exactly::<7>(blocks),
            }
        }

        #[target_feature(enable = "aes,avx2")]
        fn exactly<const N: usize>(&self, mut blocks: InOutBuf<'_, '_, Block>) {
            let few: &[Block; N] = blocks.get_in().first_chunk().expect("callers count them");
            let done = self.rounds(few.each_ref().map(|block| load(block)));
            for (block, done) in blocks.get_out().iter_mut().zip(done) {
                store(block, done);
            }
        }
    }

    impl RoundKeys<false> {
        /// Of the inverse cipher (FIPS 197, 5.3.5): from the last to the first, all but those two through InvMixColumns.
        #[cfg(feature = "audit")]
        #[target_feature(enable = "aes,avx2")]
        pub fn inverse(&self) -> RoundKeys<true> {
            let mut inverse = self.0;
            inverse.reverse();
            for key in &mut inverse[1..ROUNDS] {
                *key = _mm_aesimc_si128(*key);
            }
            RoundKeys(inverse)
        }
    }

    /// One direction.
    pub struct Aes256(pub RoundKeys<false>);

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
            // SAFETY: see the type of the keys.
            unsafe { Self(RoundKeys(expand(&key.0))) }
        }
    }

    impl BlockCipherEncrypt for Aes256 {
        fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
            // SAFETY: as above.
            unsafe { self.call(f) }
        }
    }

    impl Aes256 {
        #[target_feature(enable = "aes,avx2")]
        fn call(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
            f.call(self);
        }
    }

    impl BlockCipherEncBackend for Aes256 {
        #[inline(always)]
        fn encrypt_block(&self, block: InOut<'_, '_, Block>) {
            // SAFETY: as above.
            unsafe { self.0.one(block) }
        }

        #[inline(always)]
        fn encrypt_par_blocks(&self, blocks: InOut<'_, '_, Array<Block, U8>>) {
            // SAFETY: as above.
            unsafe { self.0.eight(blocks) }
        }

        #[inline(always)]
        fn encrypt_tail_blocks(&self, blocks: InOutBuf<'_, '_, Block>) {
            // SAFETY: as above.
            unsafe { self.0.few(blocks) }
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
    fn load(block: &Block) -> __m128i {
        load_bytes(&block.0)
    }

    #[target_feature(enable = "avx2")]
    fn load_bytes(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: as many bytes are there; the instruction wants no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    fn store(block: &mut Block, value: __m128i) {
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
