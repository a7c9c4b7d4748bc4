//! Packets of one chunk, four at once.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::super::ocb::four::{FourCiphers, LANES, Sealed};
use super::super::ocb::{self, Tag, wipe};
use super::{CHUNK, Cipher, MessageKey, OpenError, Seipd2, associated_data, final_associated_data};

/// Appends the plain texts of four packets under AES-256 that are [one chunk](Seipd2::is_one_chunk) each, and says where they
/// stand. What does not open leaves zeros.
pub type ReadFour = fn([(&Seipd2<'_>, &MessageKey); LANES], &mut Vec<u8>) -> [Result<Range<usize>, OpenError>; LANES];

/// As [`ReadFour`], with an implementation of the cipher.
#[inline(always)]
pub fn read_four<C: FourCiphers>(
    packets: [(&Seipd2<'_>, &MessageKey); LANES],
    plain: &mut Vec<u8>,
) -> [Result<Range<usize>, OpenError>; LANES] {
    let sealed = packets.map(|(packet, _)| packet.one_chunk().expect("callers have asked"));
    let ranges = sealed.map(|(text, ..)| {
        let start = plain.len();
        plain.extend_from_slice(text);
        start..plain.len()
    });
    let ends = ranges.each_ref().map(|range| final_associated_data(Cipher::Aes256, range.len()));
    let mut texts = &mut plain[ranges[0].start..];
    let chunks = std::array::from_fn(|lane| {
        let (text, behind) = std::mem::take(&mut texts).split_at_mut(ranges[lane].len());
        texts = behind;
        let (key, rest) = packets[lane].1.bytes.split_first_chunk().expect("longer than a key");
        let nonce = ocb::nonce(rest.first_chunk().expect("7 bytes stand behind the key"));
        Sealed { key, nonce, text, tag: sealed[lane].1, end_ad: &ends[lane], end_tag: sealed[lane].2 }
    });
    let opened = ocb::four::open::<C>(chunks, &associated_data(Cipher::Aes256));
    let mut opened = opened.into_iter();
    ranges.map(|range| match opened.next() {
        Some(Ok(())) => Ok(range),
        _ => {
            wipe(&mut plain[range]);
            Err(OpenError::Authentication)
        }
    })
}

impl<'a> Seipd2<'a> {
    /// Whether all of it is one chunk under AES-256, as for [`ReadFour`].
    pub fn is_one_chunk(&self) -> bool {
        self.cipher == Cipher::Aes256 && self.one_chunk().is_some()
    }

    /// Text, tag and last tag of one that has one chunk.
    fn one_chunk(&self) -> Option<(&'a [u8], &'a Tag, &'a Tag)> {
        let (chunk, end_tag) = self.chunks.split_last_chunk()?;
        let (text, tag) = chunk.split_last_chunk()?;
        (text.len() <= CHUNK).then_some((text, tag, end_tag))
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
    use aes::{Aes256, Aes256Enc};
    use proptest::prelude::*;

    use super::super::{OCB, SALT_LEN, read_chunks, write, write_chunks};
    use super::*;
    use crate::record::ocb::four::{Blocks, STRIDE};
    use crate::record::openpgp::{Literal, read_header};

    /// One after the other.
    struct Four([Aes256; LANES]);

    impl FourCiphers for Four {
        fn new(keys: [&[u8; 32]; LANES]) -> Self {
            Self(keys.map(|key| Aes256::new(key.into())))
        }

        fn encrypt<const N: usize>(&self, blocks: &mut [Blocks; N]) {
            self.each(blocks, |cipher, block| cipher.encrypt_block(block));
        }

        fn decrypt(&self, blocks: [[&[u8; 16]; LANES]; STRIDE], offsets: &[Blocks; STRIDE]) -> [Blocks; STRIDE] {
            let half = |lanes: [&[u8; 16]; LANES], half: usize| u64::from_ne_bytes(lanes[half / 2].as_chunks().0[half % 2]);
            let mut blocks = blocks.map(|lanes| std::array::from_fn(|at| half(lanes, at)));
            let mask = |blocks: &mut [Blocks; STRIDE]| {
                for (block, offset) in blocks.as_flattened_mut().iter_mut().zip(offsets.as_flattened()) {
                    *block ^= offset;
                }
            };
            mask(&mut blocks);
            self.each(&mut blocks, |cipher, block| cipher.decrypt_block(block));
            mask(&mut blocks);
            blocks
        }
    }

    impl Four {
        fn each(&self, blocks: &mut [Blocks], apply: impl Fn(&Aes256, &mut aes::Block)) {
            for blocks in blocks {
                for (cipher, halves) in self.0.iter().zip(blocks.as_chunks_mut::<2>().0) {
                    let mut block = aes::Block::from_fn(|at| halves[at / 8].to_ne_bytes()[at % 8]);
                    apply(cipher, &mut block);
                    *halves = std::array::from_fn(|half| u64::from_ne_bytes(block.as_chunks().0[half]));
                }
            }
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
                let opened: usize = packets.iter().map(|packet| packet.one_chunk().unwrap().0.len()).sum();
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
