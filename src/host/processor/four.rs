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

    use crate::record::ocb::four::{FourCiphers, LANES};
    use crate::record::seipd2::{MessageKey, OpenError, Seipd2, four};

    const ROUNDS: usize = 14;
    /// Where the last word of a round key goes: into all four.
    const LAST_WORD: i32 = 0b11_11_11_11;
    /// Where the halves of a block go: into each other's place.
    const OTHER_HALF: i32 = 0b01_00_11_10;

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

    /// Round keys, a lane each, in the order of their use. Only made where the processor has VAES and AVX-512; its functions are
    /// called nowhere else.
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
        type Blocks = __m512i;

        #[inline(always)]
        fn new(keys: [&[u8; 32]; LANES]) -> Self {
            // SAFETY: see the type; so with all below.
            unsafe { Self::expand(keys) }
        }

        #[inline(always)]
        fn encrypt<const N: usize>(&self, blocks: [__m512i; N]) -> [__m512i; N] {
            // SAFETY: as above.
            unsafe { self.encipher(blocks) }
        }

        #[inline(always)]
        fn decrypt<const N: usize>(&self, blocks: [__m512i; N], offsets: [__m512i; N]) -> [__m512i; N] {
            // SAFETY: as above.
            unsafe { self.decipher(blocks, offsets) }
        }

        #[inline(always)]
        fn gather(blocks: [&[u8; 16]; LANES]) -> __m512i {
            // SAFETY: as above.
            unsafe { gather(blocks) }
        }

        #[inline(always)]
        fn scatter(blocks: __m512i, to: [&mut [u8; 16]; LANES]) {
            // SAFETY: as above.
            unsafe { scatter(blocks, to) }
        }

        #[inline(always)]
        fn xor(one: __m512i, other: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_xor_si512(one, other) }
        }

        #[inline(always)]
        fn and(one: __m512i, other: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_and_si512(one, other) }
        }

        #[inline(always)]
        fn only(blocks: __m512i, these: [bool; LANES]) -> __m512i {
            let halves = these.iter().enumerate().fold(0, |halves, (lane, is)| halves | (0b11 * u8::from(*is)) << (2 * lane));
            // SAFETY: as above.
            unsafe { _mm512_maskz_mov_epi64(halves, blocks) }
        }

        #[inline(always)]
        fn double(blocks: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { double(blocks) }
        }

        #[inline(always)]
        fn stretch_by_one(tops: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { stretch_by_one(tops) }
        }

        #[inline(always)]
        fn are_zero(blocks: __m512i) -> [bool; LANES] {
            // SAFETY: as above.
            let halves = unsafe { _mm512_test_epi64_mask(blocks, blocks) };
            std::array::from_fn(|lane| halves >> (2 * lane) & 0b11 == 0)
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
            let (mut even, mut odd) = (half(0), half(1));
            (encrypt[0], encrypt[1]) = (even, odd);
            // With a fixed end the compiler unrolls it.
            for pair in 1..=ROUNDS / 2 {
                let word = _mm512_ror_epi32::<8>(_mm512_shuffle_epi32::<LAST_WORD>(odd));
                even = sums(even, _mm512_aesenclast_epi128(word, _mm512_set1_epi32(1 << (pair - 1))));
                encrypt[2 * pair] = even;
                if pair < ROUNDS / 2 {
                    odd = sums(odd, _mm512_aesenclast_epi128(_mm512_shuffle_epi32::<LAST_WORD>(even), zero));
                    encrypt[2 * pair + 1] = odd;
                }
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
        fn encipher<const N: usize>(&self, blocks: [__m512i; N]) -> [__m512i; N] {
            let keys = &self.encrypt;
            let mut blocks = blocks.map(|block| _mm512_xor_si512(block, keys[0]));
            for key in &keys[1..ROUNDS] {
                blocks = blocks.map(|block| _mm512_aesenc_epi128(block, *key));
            }
            blocks.map(|block| _mm512_aesenclast_epi128(block, keys[ROUNDS]))
        }

        #[inline]
        #[target_feature(enable = "vaes,avx512f,avx512bw")]
        fn decipher<const N: usize>(&self, mut blocks: [__m512i; N], offsets: [__m512i; N]) -> [__m512i; N] {
            let keys = &self.decrypt;
            for (block, offset) in blocks.iter_mut().zip(offsets) {
                *block = _mm512_xor_si512(*block, _mm512_xor_si512(offset, keys[0]));
            }
            for key in &keys[1..ROUNDS] {
                blocks = blocks.map(|block| _mm512_aesdec_epi128(block, *key));
            }
            for (block, offset) in blocks.iter_mut().zip(offsets) {
                *block = _mm512_aesdeclast_epi128(*block, _mm512_xor_si512(offset, keys[ROUNDS]));
            }
            blocks
        }
    }

    /// Each word with all before it, and what the last word of the round key before became.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn sums(before: __m512i, substituted: __m512i) -> __m512i {
        let pairs = _mm512_xor_si512(before, _mm512_bslli_epi128::<4>(before));
        let sums = _mm512_xor_si512(pairs, _mm512_bslli_epi128::<8>(pairs));
        _mm512_xor_si512(sums, substituted)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn double(blocks: __m512i) -> __m512i {
        let numbers = swapped(blocks);
        // What is shifted out of the low half goes into the high one; what is shifted out of that comes back as 0x87.
        let out = _mm512_srai_epi64::<63>(_mm512_shuffle_epi32::<OTHER_HALF>(numbers));
        let carry = _mm512_and_si512(out, _mm512_set4_epi64(1, 0x87, 1, 0x87));
        swapped(_mm512_xor_si512(_mm512_slli_epi64::<1>(numbers), carry))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn stretch_by_one(tops: __m512i) -> __m512i {
        let numbers = swapped(tops);
        // What is shifted out of each half goes into the other one, with bit 119 of the number into the low one.
        let other = _mm512_shuffle_epi32::<OTHER_HALF>(numbers);
        let bit_119 = _mm512_and_si512(_mm512_srli_epi64::<55>(other), _mm512_set4_epi64(0, 1, 0, 1));
        let carry = _mm512_xor_si512(_mm512_srli_epi64::<63>(other), bit_119);
        swapped(_mm512_xor_si512(_mm512_slli_epi64::<1>(numbers), carry))
    }

    /// From blocks to numbers in the processor's byte order, or back.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn swapped(blocks: __m512i) -> __m512i {
        let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        _mm512_shuffle_epi8(blocks, _mm512_broadcast_i32x4(order))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn gather([first, second, third, fourth]: [&[u8; 16]; LANES]) -> __m512i {
        let wide = _mm512_castsi128_si512(load(first));
        let wide = _mm512_inserti32x4::<1>(wide, load(second));
        let wide = _mm512_inserti32x4::<2>(wide, load(third));
        _mm512_inserti32x4::<3>(wide, load(fourth))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn scatter(wide: __m512i, [first, second, third, fourth]: [&mut [u8; 16]; LANES]) {
        store(_mm512_castsi512_si128(wide), first);
        store(_mm512_extracti32x4_epi32::<1>(wide), second);
        store(_mm512_extracti32x4_epi32::<2>(wide), third);
        store(_mm512_extracti32x4_epi32::<3>(wide), fourth);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: as above.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(lane: __m128i, bytes: &mut [u8; 16]) {
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), lane) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
        use proptest::prelude::*;

        fn scattered(blocks: __m512i) -> [[u8; 16]; LANES] {
            let mut lanes = [[0; 16]; LANES];
            FourAes256::scatter(blocks, lanes.each_mut());
            lanes
        }

        proptest! {
            #[test]
            fn each_is_the_cipher_of_the_aes_crate(keys: [[u8; 32]; LANES], blocks: [[[u8; 16]; LANES]; 3], offset: [u8; 16]) {
                prop_assume!(super::super::read_four().is_some());
                let four = FourAes256::new(keys.each_ref());
                let wide = blocks.each_ref().map(|lanes| FourAes256::gather(lanes.each_ref()));
                let offsets = [FourAes256::gather([&offset; LANES]); 3];
                let (sealed, plain) = (four.encrypt(wide).map(scattered), four.decrypt(wide, offsets).map(scattered));
                let masked = |block: [u8; 16]| -> [u8; 16] { std::array::from_fn(|at| block[at] ^ offset[at]) };
                for (lane, key) in keys.iter().enumerate() {
                    let cipher = aes::Aes256::new(key.into());
                    for (at, lanes) in blocks.iter().enumerate() {
                        let mut block = lanes[lane].into();
                        cipher.encrypt_block(&mut block);
                        prop_assert_eq!(sealed[at][lane], <[u8; 16]>::from(block));
                        let mut block = masked(lanes[lane]).into();
                        cipher.decrypt_block(&mut block);
                        prop_assert_eq!(plain[at][lane], masked(block.into()));
                    }
                }
            }

            #[test]
            fn numbers_are_as_numbers_are(numbers: [u128; LANES], zero in 0..LANES) {
                prop_assume!(super::super::read_four().is_some());
                let mut numbers = numbers;
                let wide = |numbers: [u128; LANES]| FourAes256::gather(numbers.map(u128::to_be_bytes).each_ref());
                let back = |blocks| scattered(blocks).map(u128::from_be_bytes);
                let doubled = numbers.map(|number| (number << 1) ^ ((number >> 127) * 0x87));
                prop_assert_eq!(back(FourAes256::double(wide(numbers))), doubled);
                let stretched = numbers.map(|number| (number << 1) | ((number >> 127) ^ (number >> 119) & 1));
                prop_assert_eq!(back(FourAes256::stretch_by_one(wide(numbers))), stretched);
                let these = std::array::from_fn(|lane| lane == zero);
                let kept = std::array::from_fn(|lane| if these[lane] { numbers[lane] } else { 0 });
                prop_assert_eq!(back(FourAes256::only(wide(numbers), these)), kept);
                numbers[zero] = 0;
                prop_assert_eq!(FourAes256::are_zero(wide(numbers)), numbers.map(|number| number == 0));
            }
        }
    }
}
