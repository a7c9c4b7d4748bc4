//! OCB under four keys at once. Most of what a short chunk costs is waiting for the block before; four chunks do not wait
//! for each other.
//!
//! Promises: what [`Ocb::open_last`](super::Ocb::open_last) says of each of the chunks. What is computed with stays on the
//! stack, which is the caller's to wipe. For the auditor: a writer seals one line at a time.
#![forbid(unsafe_code)]

use subtle::ConstantTimeEq;

use super::{BadTag, MASKS, Tag, double, halves, offset_from_top, padded, top, xor_into};

/// How many chunks are opened at once.
pub const LANES: usize = 4;
/// How many blocks of each are deciphered at once.
pub const STRIDE: usize = 8;

/// A block of each chunk, one after the other, in halves: numbers in the machine's byte order.
pub type Blocks = [u64; 2 * LANES];

/// A cipher with keys of 32 bytes and blocks of 16, under a key for each chunk.
pub trait FourCiphers {
    /// Takes the keys.
    fn new(keys: [&[u8; 32]; LANES]) -> Self;
    /// Enciphers.
    fn encrypt<const N: usize>(&self, blocks: &mut [Blocks; N]);
    /// XORs blocks with their offsets, deciphers them and XORs them again.
    fn decrypt(&self, blocks: [[&[u8; 16]; LANES]; STRIDE], offsets: &[Blocks; STRIDE]) -> [Blocks; STRIDE];
}

/// A chunk with number 0, and the tag of an empty one behind it.
pub struct Sealed<'a> {
    /// 32 bytes.
    pub key: &'a [u8; 32],
    /// As for [`Ocb::new`](super::Ocb::new).
    pub nonce: u128,
    /// Becomes plain text; at most [`MAX_TEXT`](super::MAX_TEXT) bytes.
    pub text: &'a mut [u8],
    /// Its tag.
    pub tag: &'a Tag,
    /// The associated data of the empty chunk, at most 15 bytes.
    pub end_ad: &'a [u8],
    /// The tag of the empty chunk.
    pub end_tag: &'a Tag,
}

/// Decrypts in place. `ad` are the associated data of all four, at most 15 bytes. What does not bear its tags must not be
/// believed.
#[inline(always)]
pub fn open<C: FourCiphers>(chunks: [Sealed<'_>; LANES], ad: &[u8]) -> [Result<(), BadTag>; LANES] {
    let cipher = C::new(chunks.each_ref().map(|chunk| chunk.key));
    let counts = chunks.each_ref().map(|chunk| chunk.text.len() / 16);
    let longest = counts.into_iter().max().unwrap_or(0);

    let tops = |index: u128| side_by_side(|lane| u128::from_ne_bytes(top(chunks[lane].nonce + index)));
    let mut keyed = [Blocks::default(), tops(0), tops(1)];
    cipher.encrypt(&mut keyed);
    let [star, first, end] = keyed;
    let start = |tops, index| side_by_side(|lane| offset_from_top(number(tops, lane).to_be(), chunks[lane].nonce + index));
    let (first, end) = (start(&first, 0), start(&end, 1));
    let mut mask: [u128; LANES] = std::array::from_fn(|lane| double(number(&star, lane).to_be()));
    let dollar = side_by_side(|lane| mask[lane].to_be());
    let mut l = [Blocks::default(); MASKS];
    for l in &mut l[..longest.checked_ilog2().map_or(0, |log| log as usize + 1)] {
        mask = mask.map(double);
        *l = side_by_side(|lane| mask[lane].to_be());
    }

    // Behind the text: its last offset, the pad of a block that is not full, both hashes and the last tag.
    let offset = side_by_side(|lane| {
        let gray = counts[lane] ^ (counts[lane] >> 1);
        let set = |(j, l)| if gray >> j & 1 == 1 { number(l, lane) } else { 0 };
        let full = l.iter().enumerate().map(set).fold(number(&first, lane), |offset, l| offset ^ l);
        if chunks[lane].text.len().is_multiple_of(16) { full } else { full ^ number(&star, lane) }
    });
    let end_ads = side_by_side(|lane| padded(chunks[lane].end_ad));
    let mut behind = [offset, xor(star, side_by_side(|_| padded(ad))), xor(star, end_ads), xor(end, dollar)];
    cipher.encrypt(&mut behind);
    let [pad, hash, end_hash, end_tag] = behind;
    let end_tag = xor(end_tag, end_hash);

    // The tag is deciphered behind the longest text, and compared with what should have been enciphered.
    let tags: [Tag; LANES] =
        std::array::from_fn(|lane| (number(&hash, lane) ^ u128::from_ne_bytes(*chunks[lane].tag)).to_ne_bytes());
    let (mut checksum, mut before) = (xor(offset, dollar), first);
    let end_tags = chunks.each_ref().map(|chunk| u128::from_ne_bytes(*chunk.end_tag));
    let mut texts = chunks.map(|chunk| chunk.text.as_chunks_mut::<16>());
    let mut nowhere = [0; 16];
    for from in (0..=longest).step_by(STRIDE) {
        let mut offsets = [Blocks::default(); STRIDE];
        for (i, offset) in (from..longest).zip(&mut offsets) {
            before = xor(before, l[(i + 1).trailing_zeros() as usize]);
            *offset = before;
        }
        let sealed = std::array::from_fn(|at| {
            let i = from + at;
            std::array::from_fn(|lane| if i == longest { &tags[lane] } else { texts[lane].0.get(i).unwrap_or(&[0; 16]) })
        });
        let blocks = cipher.decrypt(sealed, &offsets);
        for (at, blocks) in blocks.iter().enumerate() {
            let i = from + at;
            for (lane, (text, _)) in texts.iter_mut().enumerate() {
                *text.get_mut(i).unwrap_or(&mut nowhere) = number(blocks, lane).to_ne_bytes();
            }
            let counted: Blocks = std::array::from_fn(|half| if i < counts[half / 2] || i == longest { u64::MAX } else { 0 });
            checksum = std::array::from_fn(|half| checksum[half] ^ (blocks[half] & counted[half]));
        }
    }
    std::array::from_fn(|lane| {
        let mut checksum = number(&checksum, lane);
        let rest = &mut texts[lane].1;
        if !rest.is_empty() {
            xor_into(rest, number(&pad, lane));
            checksum ^= padded(rest);
        }
        let equal = checksum.ct_eq(&0) & number(&end_tag, lane).ct_eq(&end_tags[lane]);
        if equal.into() { Ok(()) } else { Err(BadTag) }
    })
}

#[inline(always)]
fn side_by_side(number: impl Fn(usize) -> u128) -> Blocks {
    let mut blocks = Blocks::default();
    for (lane, block) in blocks.as_chunks_mut().0.iter_mut().enumerate() {
        *block = halves(number(lane));
    }
    blocks
}

#[inline(always)]
fn number(blocks: &Blocks, lane: usize) -> u128 {
    let mut bytes = [0; 16];
    for (bytes, half) in bytes.as_chunks_mut().0.iter_mut().zip(&blocks[2 * lane..]) {
        *bytes = half.to_ne_bytes();
    }
    u128::from_ne_bytes(bytes)
}

#[inline(always)]
fn xor(one: Blocks, other: Blocks) -> Blocks {
    std::array::from_fn(|half| one[half] ^ other[half])
}
