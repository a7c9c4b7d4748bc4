//! AES-256 (FIPS 197) with the processor's own instructions in both directions, for opening.
//!
//! Promises: as [`super::aes`].

use crate::record::seipd2::{self, ReadChunks};

/// The fastest way that this processor has to open the chunks of a message with AES-256.
pub fn read_chunks() -> ReadChunks {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("avx2") {
        return seipd2::read_chunks::<x86::Aes256>;
    }
    seipd2::read_chunks::<aes::Aes256>
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use aes::Block;
    use aes::cipher::array::Array;
    use aes::cipher::consts::{U8, U16, U32};
    use aes::cipher::inout::{InOut, InOutBuf};
    use aes::cipher::{
        BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncClosure, BlockCipherEncrypt,
        BlockSizeUser, Key, KeyInit, KeySizeUser, ParBlocksSizeUser,
    };
    use zeroize::Zeroize;

    use super::super::aes::x86::{Aes256 as Encrypt, ROUNDS, load, store};

    /// Only made where the processor has AES and AVX2.
    pub struct Aes256 {
        encrypt: Encrypt,
        /// Of the equivalent inverse cipher, in the order of their use.
        keys: [__m128i; ROUNDS + 1],
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
            let encrypt = Encrypt::new(key);
            // SAFETY: see the type.
            let keys = unsafe { inverse(&encrypt.keys) };
            Self { encrypt, keys }
        }
    }

    impl Drop for Aes256 {
        fn drop(&mut self) {
            self.keys.zeroize();
        }
    }

    impl BlockCipherEncrypt for Aes256 {
        fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
            self.encrypt.encrypt_with_backend(f);
        }
    }

    impl BlockCipherDecrypt for Aes256 {
        fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
            // SAFETY: see the type.
            unsafe { self.call(f) }
        }
    }

    impl Aes256 {
        #[target_feature(enable = "aes,avx2")]
        fn call(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
            f.call(self);
        }

        /// `N` blocks, which do not wait for each other.
        #[target_feature(enable = "aes,avx2")]
        fn decrypt_few<const N: usize>(&self, mut blocks: InOutBuf<'_, '_, Block>) {
            let few: &[Block; N] = blocks.get_in().first_chunk().expect("callers count them");
            let plain = self.decrypt(few.each_ref().map(|block| load(block)));
            for (block, plain) in blocks.get_out().iter_mut().zip(plain) {
                store(block, plain);
            }
        }

        /// FIPS 197, 5.3.5
        #[target_feature(enable = "aes,avx2")]
        fn decrypt<const N: usize>(&self, mut blocks: [__m128i; N]) -> [__m128i; N] {
            blocks = blocks.map(|block| _mm_xor_si128(block, self.keys[0]));
            for key in &self.keys[1..ROUNDS] {
                blocks = blocks.map(|block| _mm_aesdec_si128(block, *key));
            }
            blocks.map(|block| _mm_aesdeclast_si128(block, self.keys[ROUNDS]))
        }
    }

    impl BlockCipherDecBackend for Aes256 {
        #[inline(always)]
        fn decrypt_block(&self, mut block: InOut<'_, '_, Block>) {
            // SAFETY: see the type; and a block is as many bytes.
            unsafe {
                let [plain] = self.decrypt([load(block.get_in())]);
                store(block.get_out(), plain);
            }
        }

        #[inline(always)]
        fn decrypt_par_blocks(&self, mut blocks: InOut<'_, '_, Array<Block, U8>>) {
            // SAFETY: as above.
            unsafe {
                let plain = self.decrypt(blocks.get_in().0.each_ref().map(|block| load(block)));
                for (block, plain) in blocks.get_out().iter_mut().zip(plain) {
                    store(block, plain);
                }
            }
        }

        #[inline(always)]
        fn decrypt_tail_blocks(&self, blocks: InOutBuf<'_, '_, Block>) {
            // SAFETY: see the type.
            unsafe {
                match blocks.len() {
                    0 => {}
                    1 => self.decrypt_few::<1>(blocks),
                    2 => self.decrypt_few::<2>(blocks),
                    3 => self.decrypt_few::<3>(blocks),
                    4 => self.decrypt_few::<4>(blocks),
                    5 => self.decrypt_few::<5>(blocks),
                    6 => self.decrypt_few::<6>(blocks),
                    _ => self.decrypt_few::<7>(blocks),
                }
            }
        }
    }

    /// FIPS 197, 5.3.5: the round keys from the last to the first, all but those two through InvMixColumns.
    #[target_feature(enable = "aes,avx2")]
    fn inverse(keys: &[__m128i; ROUNDS + 1]) -> [__m128i; ROUNDS + 1] {
        let mut inverse = [keys[0]; ROUNDS + 1];
        inverse[0] = keys[ROUNDS];
        for round in 1..ROUNDS {
            inverse[round] = _mm_aesimc_si128(keys[ROUNDS - round]);
        }
        inverse
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn it_undoes_the_cipher_of_the_aes_crate(key: [u8; 32], blocks in prop::collection::vec(any::<[u8; 16]>(), 0..40)) {
                prop_assume!(std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("avx2"));
                let plain: Vec<Block> = blocks.iter().map(|block| Block::from(*block)).collect();
                let mut sealed = plain.clone();
                aes::Aes256Enc::new(&key.into()).encrypt_blocks(&mut sealed);
                let mut ours = plain.clone();
                Aes256::new(&key.into()).encrypt_blocks(&mut ours);
                prop_assert_eq!(&ours, &sealed);
                Aes256::new(&key.into()).decrypt_blocks(&mut ours);
                prop_assert_eq!(ours, plain);
            }
        }
    }
}
