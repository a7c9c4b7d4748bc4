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
    use aes::Block;
    use aes::cipher::array::Array;
    use aes::cipher::consts::{U8, U16, U32};
    use aes::cipher::inout::{InOut, InOutBuf};
    use aes::cipher::{
        BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncClosure, BlockCipherEncrypt,
        BlockSizeUser, Key, KeyInit, KeySizeUser, ParBlocksSizeUser,
    };

    use super::super::aes::x86::{Aes256 as Encrypt, RoundKeys};

    /// Both directions.
    pub struct Aes256 {
        encrypt: Encrypt,
        inverse: RoundKeys<true>,
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
            // SAFETY: only made where the processor has AES and AVX2.
            let inverse = unsafe { encrypt.0.inverse() };
            Self { encrypt, inverse }
        }
    }

    impl BlockCipherEncrypt for Aes256 {
        fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
            self.encrypt.encrypt_with_backend(f);
        }
    }

    impl BlockCipherDecrypt for Aes256 {
        fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
            // SAFETY: as above.
            unsafe { self.call(f) }
        }
    }

    impl Aes256 {
        #[target_feature(enable = "aes,avx2")]
        fn call(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
            f.call(self);
        }
    }

    impl BlockCipherDecBackend for Aes256 {
        #[inline(always)]
        fn decrypt_block(&self, block: InOut<'_, '_, Block>) {
            // SAFETY: as above.
            unsafe { self.inverse.one(block) }
        }

        #[inline(always)]
        fn decrypt_par_blocks(&self, blocks: InOut<'_, '_, Array<Block, U8>>) {
            // SAFETY: as above.
            unsafe { self.inverse.eight(blocks) }
        }

        #[inline(always)]
        fn decrypt_tail_blocks(&self, blocks: InOutBuf<'_, '_, Block>) {
            // SAFETY: as above.
            unsafe { self.inverse.few(blocks) }
        }
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
