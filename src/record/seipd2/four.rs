//! Packets of one chunk, four at once.
#![forbid(unsafe_code)]

use std::array::from_fn;
use std::ops::Range;

use super::super::ocb::four::{FourCiphers, LANES, Sealed};
use super::super::ocb::{self, TAG_LEN, wipe};
use super::{CHUNK, Cipher, MessageKey, OpenError, Seipd2, associated_data, final_associated_data};

/// Appends the plain texts of four packets under AES-256 that are [one chunk](Seipd2::is_one_chunk) each, and says where they
/// stand; zeros are between them, and in the place of what does not open.
pub type ReadFour = fn([(&Seipd2<'_>, &MessageKey); LANES], &mut Vec<u8>) -> [Result<Range<usize>, OpenError>; LANES];

/// As [`ReadFour`], with an implementation of the cipher.
#[inline(always)]
pub fn read_four<C: FourCiphers>(
    packets: [(&Seipd2<'_>, &MessageKey); LANES],
    plain: &mut Vec<u8>,
) -> [Result<Range<usize>, OpenError>; LANES] {
    let start = plain.len();
    let mut end = start;
    let ranges = packets.each_ref().map(|(packet, _)| {
        let text = end..end + packet.chunks.len() - 2 * TAG_LEN;
        end += 16 * blocks(&text);
        text
    });
    plain.resize(end, 0);
    let ends = ranges.each_ref().map(|range| final_associated_data(Cipher::Aes256, range.len()));
    let chunks = from_fn(|lane| {
        let (packet, MessageKey { bytes, .. }) = packets[lane];
        let (key, rest) = bytes.split_first_chunk().expect("longer than a key");
        let nonce = ocb::nonce(rest.first_chunk().expect("7 bytes stand behind the key"));
        Sealed { key, nonce, text_and_tags: packet.chunks, end_ad: &ends[lane] }
    });
    let mut free = plain[start..].as_chunks_mut().0;
    let texts = ranges.each_ref().map(|range| free.split_off_mut(..blocks(range)).expect("counted above"));
    let opened = ocb::four::open::<C>(&chunks, &associated_data(Cipher::Aes256), texts);
    let mut opened = opened.into_iter();
    ranges.map(|range| {
        if opened.next() == Some(true) {
            return Ok(range);
        }
        wipe(&mut plain[range]);
        Err(OpenError::Authentication)
    })
}

/// How many blocks a text takes, and one more where it ends with a full one.
fn blocks(text: &Range<usize>) -> usize {
    text.len() / 16 + 1
}

impl Seipd2<'_> {
    /// Whether all of it is one chunk under AES-256, as for [`ReadFour`].
    pub fn is_one_chunk(&self) -> bool {
        self.cipher == Cipher::Aes256 && (2 * TAG_LEN..=2 * TAG_LEN + CHUNK).contains(&self.chunks.len())
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
    use aes::{Aes256, Aes256Enc};
    use proptest::prelude::*;

    use super::super::{OCB, SALT_LEN, read_chunks, write, write_chunks};
    use super::*;
    use crate::record::openpgp::{Literal, read_header};

    /// One after the other.
    struct Four([Aes256; LANES]);

    impl Four {
        fn each<const N: usize>(
            &self,
            blocks: [[u128; LANES]; N],
            apply: impl Fn(&Aes256, &mut aes::Block),
        ) -> [[u128; LANES]; N] {
            blocks.map(|blocks| {
                from_fn(|lane| {
                    let mut block = blocks[lane].to_be_bytes().into();
                    apply(&self.0[lane], &mut block);
                    u128::from_be_bytes(block.into())
                })
            })
        }
    }

    impl FourCiphers for Four {
        type Blocks = [u128; LANES];

        fn new(keys: [&[u8; 32]; LANES]) -> Self {
            Self(keys.map(|key| Aes256::new(key.into())))
        }

        fn encrypt<const N: usize>(&self, blocks: [Self::Blocks; N]) -> [Self::Blocks; N] {
            self.each(blocks, |cipher, block| cipher.encrypt_block(block))
        }

        fn decrypt<const N: usize>(&self, blocks: [Self::Blocks; N], offsets: [Self::Blocks; N]) -> [Self::Blocks; N] {
            let mask = |blocks: [Self::Blocks; N]| from_fn(|at| Self::xor(blocks[at], offsets[at]));
            mask(self.each(mask(blocks), |cipher, block| cipher.decrypt_block(block)))
        }

        fn gather(blocks: [&[u8; 16]; LANES]) -> Self::Blocks {
            blocks.map(|block| u128::from_be_bytes(*block))
        }

        fn scatter(blocks: Self::Blocks, to: [&mut [u8; 16]; LANES]) {
            for (block, to) in blocks.into_iter().zip(to) {
                *to = block.to_be_bytes();
            }
        }

        fn xor(one: Self::Blocks, other: Self::Blocks) -> Self::Blocks {
            from_fn(|lane| one[lane] ^ other[lane])
        }

        fn and(one: Self::Blocks, other: Self::Blocks) -> Self::Blocks {
            from_fn(|lane| one[lane] & other[lane])
        }

        fn only(blocks: Self::Blocks, these: [bool; LANES]) -> Self::Blocks {
            from_fn(|lane| if these[lane] { blocks[lane] } else { 0 })
        }

        fn double(blocks: Self::Blocks) -> Self::Blocks {
            blocks.map(|block| (block << 1) ^ if block >> 127 == 1 { 0x87 } else { 0 })
        }

        fn stretch_by_one(tops: Self::Blocks) -> Self::Blocks {
            // Stretch = Ktop || (Ktop[1..64] xor Ktop[9..72]), of which bits 2 to 129 are taken.
            tops.map(|top| (top << 1) | (((top >> 64) ^ (top >> 56)) >> 63 & 1))
        }

        fn are_zero(blocks: Self::Blocks) -> [bool; LANES] {
            blocks.map(|block| block == 0)
        }
    }

    fn reads() -> Vec<ReadFour> {
        [Some(read_four::<Four> as ReadFour), crate::host::processor::read_four()].into_iter().flatten().collect()
    }

    proptest! {
        /// Of any length a chunk may have, one of them changed or none.
        #[test]
        fn they_open_as_one_after_the_other(
            lens in prop::array::uniform4(prop_oneof![0usize..400, 4000usize..=CHUNK - 9]),
            fill: u8,
            change in prop::option::of((0..LANES, any::<prop::sample::Index>(), 0..8)),
        ) {
            let keys: [_; LANES] = std::array::from_fn(|lane| MessageKey::derive(Cipher::Aes256, &[9; 32], &[lane as u8; SALT_LEN]));
            let mut packets: [_; LANES] = std::array::from_fn(|lane| {
                let body: Vec<u8> = (0..lens[lane]).map(|at| fill.wrapping_mul(at as u8).wrapping_add(lane as u8)).collect();
                let mut packet = Vec::new();
                let literal = Literal { name: b"", date: 7, body: &body };
                write(&keys[lane], &[lane as u8; SALT_LEN], &literal, &mut packet, write_chunks::<Aes256Enc>);
                let (_, header, _) = read_header(&packet).unwrap();
                packet.split_off(header)
            });
            if let Some((lane, at, bit)) = change {
                let chunks = &mut packets[lane][4 + SALT_LEN..];
                chunks[at.index(chunks.len())] ^= 1u8 << bit;
            }
            let packets: [_; LANES] = std::array::from_fn(|lane| Seipd2::parse(&packets[lane]).unwrap());
            let pairs = std::array::from_fn(|lane| (&packets[lane], &keys[lane]));
            for read in reads() {
                prop_assert!(packets.iter().all(Seipd2::is_one_chunk));
                let mut plain = b"before".to_vec();
                for ((packet, key), part) in pairs.iter().zip(read(pairs, &mut plain)) {
                    let mut alone = Vec::new();
                    let opened = packet.append(key, &mut alone, read_chunks::<Aes256>);
                    prop_assert_eq!(part.map(|part| &plain[part]), opened.map(|()| &alone[..]));
                }
                prop_assert!(plain.starts_with(b"before"));
                let opened: usize = packets.iter().map(|packet| (packet.chunks.len() - 2 * TAG_LEN) / 16 * 16 + 16).sum();
                prop_assert_eq!(plain.len(), 6 + opened);
            }
        }
    }

    #[test]
    fn of_other_ciphers_and_of_several_chunks_none_is_taken() {
        let packet = |cipher: Cipher, len: usize| {
            [&[2, cipher.id(), OCB, super::super::CHUNK_OCTET][..], &vec![0; SALT_LEN + len]].concat()
        };
        let taken = |packet: Vec<u8>| Seipd2::parse(&packet).unwrap().is_one_chunk();
        assert!(taken(packet(Cipher::Aes256, 32)) && taken(packet(Cipher::Aes256, 32 + CHUNK)));
        assert!(!taken(packet(Cipher::Aes256, 33 + CHUNK)) && !taken(packet(Cipher::Aes128, 32)));
    }
}
