//! The fastest compression function of SHA-256 for sixteen messages that this processor has.
//!
//! Promises: the same values as [`sha256::compress`], the one for any processor.

use crate::sha256::{self, Compress};

/// Looks what the processor has.
pub fn compress() -> Compress {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return avx512::compress;
    }
    sha256::compress
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use crate::sha256::{Block, State, Words};

    /// FIPS 180-4, 4.2.2
    const ROUND: [u32; 64] = [
        0x428a_2f98,
        0x7137_4491,
        0xb5c0_fbcf,
        0xe9b5_dba5,
        0x3956_c25b,
        0x59f1_11f1,
        0x923f_82a4,
        0xab1c_5ed5,
        0xd807_aa98,
        0x1283_5b01,
        0x2431_85be,
        0x550c_7dc3,
        0x72be_5d74,
        0x80de_b1fe,
        0x9bdc_06a7,
        0xc19b_f174,
        0xe49b_69c1,
        0xefbe_4786,
        0x0fc1_9dc6,
        0x240c_a1cc,
        0x2de9_2c6f,
        0x4a74_84aa,
        0x5cb0_a9dc,
        0x76f9_88da,
        0x983e_5152,
        0xa831_c66d,
        0xb003_27c8,
        0xbf59_7fc7,
        0xc6e0_0bf3,
        0xd5a7_9147,
        0x06ca_6351,
        0x1429_2967,
        0x27b7_0a85,
        0x2e1b_2138,
        0x4d2c_6dfc,
        0x5338_0d13,
        0x650a_7354,
        0x766a_0abb,
        0x81c2_c92e,
        0x9272_2c85,
        0xa2bf_e8a1,
        0xa81a_664b,
        0xc24b_8b70,
        0xc76c_51a3,
        0xd192_e819,
        0xd699_0624,
        0xf40e_3585,
        0x106a_a070,
        0x19a4_c116,
        0x1e37_6c08,
        0x2748_774c,
        0x34b0_bcb5,
        0x391c_0cb3,
        0x4ed8_aa4a,
        0x5b9c_ca4f,
        0x682e_6ff3,
        0x748f_82ee,
        0x78a5_636f,
        0x84c8_7814,
        0x8cc7_0208,
        0x90be_fffa,
        0xa450_6ceb,
        0xbef9_a3f7,
        0xc671_78f2,
    ];
    /// Truth tables of vpternlogd.
    const XOR: i32 = 0x96;
    const CHOOSE: i32 = 0xca;
    const MAJORITY: i32 = 0xe8;

    pub fn compress(state: &mut State, block: &Block) {
        // SAFETY: only handed out where the processor and the system have AVX-512.
        unsafe { compress_wide(state, block) }
    }

    #[target_feature(enable = "avx512f")]
    fn compress_wide(state: &mut State, block: &Block) {
        let mut w: [__m512i; 16] = std::array::from_fn(|at| load(&block[at]));
        let before: [__m512i; 8] = std::array::from_fn(|at| load(&state[at]));
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = before;
        for round in (0..64).step_by(16) {
            for at in 0..16 {
                if round > 0 {
                    let (w1, w14) = (w[(at + 1) % 16], w[(at + 14) % 16]);
                    let s0 = xor(_mm512_ror_epi32::<7>(w1), _mm512_ror_epi32::<18>(w1), _mm512_srli_epi32::<3>(w1));
                    let s1 = xor(_mm512_ror_epi32::<17>(w14), _mm512_ror_epi32::<19>(w14), _mm512_srli_epi32::<10>(w14));
                    w[at] = add(add(w[at], s0), add(w[(at + 9) % 16], s1));
                }
                let constant = _mm512_set1_epi32(ROUND[round + at].cast_signed());
                let s1 = xor(_mm512_ror_epi32::<6>(e), _mm512_ror_epi32::<11>(e), _mm512_ror_epi32::<25>(e));
                let choice = _mm512_ternarylogic_epi32::<CHOOSE>(e, f, g);
                let t1 = add(add(add(h, s1), add(choice, constant)), w[at]);
                let s0 = xor(_mm512_ror_epi32::<2>(a), _mm512_ror_epi32::<13>(a), _mm512_ror_epi32::<22>(a));
                let majority = _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c);
                (h, g, f, e) = (g, f, e, add(d, t1));
                (d, c, b, a) = (c, b, a, add(t1, add(s0, majority)));
            }
        }
        for ((words, before), after) in state.iter_mut().zip(before).zip([a, b, c, d, e, f, g, h]) {
            store(words, add(before, after));
        }
    }

    #[target_feature(enable = "avx512f")]
    fn load(words: &Words) -> __m512i {
        // SAFETY: the type has the size and the alignment of the register.
        unsafe { _mm512_load_si512(words.0.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f")]
    fn store(words: &mut Words, value: __m512i) {
        // SAFETY: as above, and nobody else has it.
        unsafe { _mm512_store_si512(words.0.as_mut_ptr().cast(), value) }
    }

    #[target_feature(enable = "avx512f")]
    fn add(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }

    #[target_feature(enable = "avx512f")]
    fn xor(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        _mm512_ternarylogic_epi32::<XOR>(a, b, c)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::sha256::{self, LANES, Words};

    proptest! {
        #[test]
        fn the_fastest_gives_what_the_plain_one_gives(state: [[u32; LANES]; 8], block: [[u32; LANES]; 16]) {
            let (mut fast, mut plain, block) = (state.map(Words), state.map(Words), block.map(Words));
            super::compress()(&mut fast, &block);
            sha256::compress(&mut plain, &block);
            prop_assert_eq!(fast, plain);
        }
    }
}
