//! AES-256 under four keys at once, for the auditor, where the processor has AES on wide registers.
//!
//! Promises: for each of them what the crate `aes` gives. Round keys are erased when they are dropped.

use crate::record::seipd2::four::ReadFour;

/// `None` where the processor cannot.
pub fn read_four() -> Option<ReadFour> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("vaes")
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
    {
        return Some(x86::read_four);
    }
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::ops::Range;

    use zeroize::optimization_barrier;

    use crate::record::ocb::four::{Blocks, FourCiphers, LANES, STRIDE};
    use crate::record::seipd2::{MessageKey, OpenError, Seipd2, four};

    const ROUNDS: usize = 14;
    /// Where the last word of a round key goes: into all four.
    const LAST_WORD: i32 = 0b11_11_11_11;

    pub fn read_four(
        packets: [(&Seipd2<'_>, &MessageKey); LANES],
        plain: &mut Vec<u8>,
    ) -> [Result<Range<usize>, OpenError>; LANES] {
        // SAFETY: this function is only named where the processor has them.
        unsafe { read_wide(packets, plain) }
    }

    #[target_feature(enable = "vaes,avx512f,avx512bw")]
    fn read_wide(packets: [(&Seipd2<'_>, &MessageKey); LANES], plain: &mut Vec<u8>) -> [Result<Range<usize>, OpenError>; LANES] {
        four::read_four::<FourAes256>(packets, plain)
    }

    /// Round keys, a lane each, in the order of their use. Only made where the processor has VAES and AVX-512.
    pub struct FourAes256 {
        encrypt: [__m512i; ROUNDS + 1],
        /// Of the equivalent inverse cipher (FIPS 197, 5.3.5).
        decrypt: [__m512i; ROUNDS + 1],
    }

    impl Drop for FourAes256 {
        fn drop(&mut self) {
            // SAFETY: see the type.
            let zero = unsafe { _mm512_setzero_si512() };
            (self.encrypt, self.decrypt) = ([zero; ROUNDS + 1], [zero; ROUNDS + 1]);
            optimization_barrier(self);
        }
    }

    impl FourCiphers for FourAes256 {
        #[inline(always)]
        fn new(keys: [&[u8; 32]; LANES]) -> Self {
            // SAFETY: see the type.
            unsafe { Self::expand(keys) }
        }

        #[inline(always)]
        fn encrypt<const N: usize>(&self, blocks: &mut [Blocks; N]) {
            // SAFETY: see the type.
            *blocks = unsafe { self.rounds::<false, N>(blocks.each_ref().map(|block| load(block)), &[Blocks::default(); N]) };
        }

        #[inline(always)]
        fn decrypt(&self, blocks: [[&[u8; 16]; LANES]; STRIDE], offsets: &[Blocks; STRIDE]) -> [Blocks; STRIDE] {
            // SAFETY: see the type.
            unsafe { self.rounds::<true, STRIDE>(blocks.map(|lanes| gather(lanes)), offsets) }
        }
    }

    impl FourAes256 {
        /// FIPS 197, 5.2 and 5.3.5, as in [`super::super::aes`].
        #[inline]
        #[target_feature(enable = "vaes,avx512f,avx512bw")]
        fn expand(keys: [&[u8; 32]; LANES]) -> Self {
            let zero = _mm512_setzero_si512();
            let mut encrypt = [zero; ROUNDS + 1];
            let half = |half: usize| gather(keys.map(|key| &key.as_chunks().0[half]));
            (encrypt[0], encrypt[1]) = (half(0), half(1));
            let mut constant = 1;
            for round in 2..=ROUNDS {
                let word = _mm512_shuffle_epi32::<LAST_WORD>(encrypt[round - 1]);
                let substituted = if round % 2 == 0 {
                    let constants = _mm512_set1_epi32(constant);
                    constant <<= 1;
                    _mm512_aesenclast_epi128(_mm512_ror_epi32::<8>(word), constants)
                } else {
                    _mm512_aesenclast_epi128(word, zero)
                };
                let before = encrypt[round - 2];
                let pairs = _mm512_xor_si512(before, _mm512_bslli_epi128::<4>(before));
                let sums = _mm512_xor_si512(pairs, _mm512_bslli_epi128::<8>(pairs));
                encrypt[round] = _mm512_xor_si512(sums, substituted);
            }
            let mut decrypt = encrypt;
            decrypt.reverse();
            for key in &mut decrypt[1..ROUNDS] {
                // The last round of the cipher leaves MixColumns out, that of the inverse cipher undoes all else.
                *key = _mm512_aesdec_epi128(_mm512_aesenclast_epi128(*key, zero), zero);
            }
            Self { encrypt, decrypt }
        }

        #[inline]
        #[target_feature(enable = "vaes,avx512f,avx512bw")]
        fn rounds<const INVERSE: bool, const N: usize>(&self, mut blocks: [__m512i; N], offsets: &[Blocks; N]) -> [Blocks; N] {
            let keys = if INVERSE { &self.decrypt } else { &self.encrypt };
            let offsets = offsets.each_ref().map(|offset| load(offset));
            for (block, offset) in blocks.iter_mut().zip(offsets) {
                *block = _mm512_xor_si512(*block, _mm512_xor_si512(offset, keys[0]));
            }
            for key in &keys[1..ROUNDS] {
                blocks = blocks
                    .map(|block| if INVERSE { _mm512_aesdec_epi128(block, *key) } else { _mm512_aesenc_epi128(block, *key) });
            }
            std::array::from_fn(|at| {
                let last = _mm512_xor_si512(keys[ROUNDS], offsets[at]);
                store(if INVERSE {
                    _mm512_aesdeclast_epi128(blocks[at], last)
                } else {
                    _mm512_aesenclast_epi128(blocks[at], last)
                })
            })
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(block: &Blocks) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(wide: __m512i) -> Blocks {
        let mut blocks = Blocks::default();
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), wide) }
        blocks
    }

    /// Without a detour through memory, where the processor would wait for the parts to be written.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn gather([first, second, third, fourth]: [&[u8; 16]; LANES]) -> __m512i {
        let wide = _mm512_castsi128_si512(load_lane(first));
        let wide = _mm512_inserti32x4::<1>(wide, load_lane(second));
        let wide = _mm512_inserti32x4::<2>(wide, load_lane(third));
        _mm512_inserti32x4::<3>(wide, load_lane(fourth))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_lane(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use aes::cipher::{BlockCipherEncrypt, KeyInit};
        use proptest::prelude::*;

        fn bytes(blocks: &Blocks, lane: usize) -> [u8; 16] {
            std::array::from_fn(|at| blocks[2 * lane + at / 8].to_ne_bytes()[at % 8])
        }

        proptest! {
            #[test]
            fn each_is_the_cipher_of_the_aes_crate(keys: [[u8; 32]; LANES], plain: [Blocks; STRIDE]) {
                prop_assume!(super::super::read_four().is_some());
                let four = FourAes256::new(keys.each_ref());
                let mut blocks = plain;
                four.encrypt(&mut blocks);
                for (lane, key) in keys.iter().enumerate() {
                    let cipher = aes::Aes256Enc::new(key.into());
                    for (plain, sealed) in plain.iter().zip(&blocks) {
                        let mut block = bytes(plain, lane).into();
                        cipher.encrypt_block(&mut block);
                        prop_assert_eq!(bytes(sealed, lane), <[u8; 16]>::from(block));
                    }
                }
                let sealed: [[_; LANES]; STRIDE] = blocks.map(|blocks| std::array::from_fn(|lane| bytes(&blocks, lane)));
                let sealed = sealed.each_ref().map(|lanes| lanes.each_ref());
                prop_assert_eq!(four.decrypt(sealed, &[Blocks::default(); STRIDE]), plain);
            }
        }
    }
}
