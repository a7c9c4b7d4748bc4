//! OCB under four keys at once. Most of what a short chunk costs is waiting for the block before; four chunks do not wait
//! for each other.
//!
//! Promises: what [`Ocb::open_last`](super::Ocb::open_last) says of each of the chunks. What is computed with stays on the
//! stack, which is the caller's to wipe. For the auditor: a writer seals one line at a time.
#![forbid(unsafe_code)]

use std::array::from_fn;

use super::{MASKS, TAG_LEN, padded, top};

/// How many chunks are opened at once.
pub const LANES: usize = 4;
/// How many blocks of each are deciphered at once: as many as it takes for none to wait for its round.
const STRIDE: usize = 4;

/// A cipher with keys of 32 bytes and blocks of 16, under a key for each chunk; and what OCB does with blocks.
pub trait FourCiphers {
    /// A block of each chunk, side by side.
    type Blocks: Copy;

    /// Takes the keys.
    fn new(keys: [&[u8; 32]; LANES]) -> Self;
    /// Enciphers.
    fn encrypt<const N: usize>(&self, blocks: [Self::Blocks; N]) -> [Self::Blocks; N];
    /// XORs blocks with their offsets, deciphers them and XORs them again.
    fn decrypt<const N: usize>(&self, blocks: [Self::Blocks; N], offsets: [Self::Blocks; N]) -> [Self::Blocks; N];

    /// Puts blocks side by side.
    fn gather(blocks: [&[u8; 16]; LANES]) -> Self::Blocks;
    /// Puts each where it belongs.
    fn scatter(blocks: Self::Blocks, to: [&mut [u8; 16]; LANES]);
    /// Bit by bit.
    fn xor(one: Self::Blocks, other: Self::Blocks) -> Self::Blocks;
    /// Bit by bit.
    fn and(one: Self::Blocks, other: Self::Blocks) -> Self::Blocks;
    /// Zeros in the place of all others.
    fn only(blocks: Self::Blocks, these: [bool; LANES]) -> Self::Blocks;
    /// RFC 7253, 2: `double`.
    fn double(blocks: Self::Blocks) -> Self::Blocks;
    /// RFC 7253, 4.2: `Offset_0` from `Ktop` where `bottom` is 1.
    fn stretch_by_one(tops: Self::Blocks) -> Self::Blocks;
    /// Which are zero. Takes the same time for all.
    fn are_zero(blocks: Self::Blocks) -> [bool; LANES];
}

/// A chunk with number 0, and the tag of an empty one behind it.
pub struct Sealed<'a> {
    /// 32 bytes.
    pub key: &'a [u8; 32],
    /// As [`nonce`](super::nonce) makes them.
    pub nonce: u128,
    /// At most [`MAX_TEXT`](super::MAX_TEXT) bytes, then the tag, then the tag of the empty chunk.
    pub text_and_tags: &'a [u8],
    /// The associated data of the empty chunk, at most 15 bytes.
    pub end_ad: &'a [u8],
}

impl Sealed<'_> {
    /// Length of the text in bytes.
    pub fn text_len(&self) -> usize {
        self.text_and_tags.len() - 2 * TAG_LEN
    }

    /// The block that begins at this byte of the text, or behind it.
    #[inline(always)]
    fn block(&self, at: usize) -> &[u8; 16] {
        self.text_and_tags[at..].first_chunk().expect("both tags stand behind the text")
    }
}

/// So many bytes of a block that is not full.
const KEPT: [[u8; 16]; 16] = table(0xff);
/// What stands behind them in the checksum; nothing where there are none.
const PADDING: [[u8; 16]; 16] = table(0x80);

/// With 0xff before the end of each row, or 0x80 at it.
const fn table(byte: u8) -> [[u8; 16]; 16] {
    let mut table = [[0; 16]; 16];
    let mut len = 1;
    while len < 16 {
        let mut at = if byte == 0xff { 0 } else { len };
        while at < len + (byte != 0xff) as usize {
            table[len][at] = byte;
            at += 1;
        }
        len += 1;
    }
    table
}

/// Decrypts, and says which of the four bear their tags. `ad` are the associated data of all four, at most 15 bytes; `plain` has
/// a block more for each than its text has full ones. What does not bear its tags must not be believed.
#[inline(always)]
pub fn open<C: FourCiphers>(chunks: &[Sealed<'_>; LANES], ad: &[u8], mut plain: [&mut [[u8; 16]]; LANES]) -> [bool; LANES] {
    let cipher = C::new(chunks.each_ref().map(|chunk| chunk.key));
    let lens = chunks.each_ref().map(Sealed::text_len);
    let (counts, rests) = (lens.map(|len| len / 16), lens.map(|len| len % 16));
    let (longest, shortest) =
        counts.into_iter().fold((0, usize::MAX), |(most, least), count| (most.max(count), least.min(count)));
    let blocks_at = |at: [usize; LANES]| C::gather(from_fn(|lane| chunks[lane].block(at[lane])));
    let zero = C::gather([&[0; 16]; LANES]);

    // `bottom` is 0 for the chunk and 1 for the empty one behind it, and `Ktop` the same for both.
    let tops = chunks.each_ref().map(|chunk| top(chunk.nonce));
    let [star, first] = cipher.encrypt([zero, C::gather(tops.each_ref())]);
    let end = C::stretch_by_one(first);
    let dollar = C::double(star);
    let mut l = [zero; MASKS];
    let used = longest.checked_ilog2().map_or(0, |log| log as usize + 1);
    let mut mask = dollar;
    for l in &mut l[..used] {
        mask = C::double(mask);
        *l = mask;
    }

    // Behind the text: its last offset, the pad of a block that is not full, both hashes and the last tag.
    let grays = counts.map(|count| count ^ (count >> 1));
    let mut offset = C::xor(first, C::only(star, rests.map(|rest| rest > 0)));
    for (j, l) in l[..used].iter().enumerate() {
        offset = C::xor(offset, C::only(*l, grays.map(|gray| gray >> j & 1 == 1)));
    }
    let ad = padded(ad).to_ne_bytes();
    let end_ads = chunks.each_ref().map(|chunk| padded(chunk.end_ad).to_ne_bytes());
    let hashed = [C::gather([&ad; LANES]), C::gather(end_ads.each_ref())].map(|ad| C::xor(star, ad));
    let [pad, hash, end_hash, end_tag] = cipher.encrypt([offset, hashed[0], hashed[1], C::xor(end, dollar)]);
    let end_difference = C::xor(blocks_at(lens.map(|len| len + TAG_LEN)), C::xor(end_tag, end_hash));

    // The tag is deciphered and compared with what should have been enciphered.
    let [tagged] = cipher.decrypt([C::xor(hash, blocks_at(lens))], [zero]);
    let full = counts.map(|count| 16 * count);
    let rest = C::and(C::xor(blocks_at(full), pad), C::gather(rests.map(|rest| &KEPT[rest])));
    let padding = C::gather(rests.map(|rest| &PADDING[rest]));
    let mut checksum = [offset, dollar, rest, padding].into_iter().fold(tagged, C::xor);

    let mut before = first;
    let mut offsets = |from: usize| -> [C::Blocks; STRIDE] {
        from_fn(|at| {
            // Behind the longest text it does not matter.
            before = C::xor(before, l.get((from + at + 1).trailing_zeros() as usize).copied().unwrap_or(zero));
            before
        })
    };
    let texts: [&[[u8; 16]]; LANES] = from_fn(|lane| chunks[lane].text_and_tags[..lens[lane]].as_chunks().0);
    let common = shortest - shortest % STRIDE;
    for from in (0..common).step_by(STRIDE) {
        let strides: [&[_; STRIDE]; LANES] = texts.map(|text| text[from..].first_chunk().expect("all have so many"));
        let blocks = cipher.decrypt(from_fn(|at| C::gather(strides.map(|stride| &stride[at]))), offsets(from));
        let mut out: [&mut [_; STRIDE]; LANES] =
            plain.each_mut().map(|plain| plain[from..].first_chunk_mut().expect("all have so many"));
        for (at, blocks) in blocks.into_iter().enumerate() {
            checksum = C::xor(checksum, blocks);
            C::scatter(blocks, out.each_mut().map(|out| &mut out[at]));
        }
    }
    for from in (common..longest).step_by(STRIDE) {
        let sealed = from_fn(|at| C::gather(texts.map(|text| text.get(from + at).unwrap_or(&[0; 16]))));
        for (blocks, i) in cipher.decrypt(sealed, offsets(from)).into_iter().zip(from..) {
            checksum = C::xor(checksum, C::only(blocks, counts.map(|count| i < count)));
            let mut nowhere = [[0; 16]; LANES];
            let mut nowhere = nowhere.iter_mut();
            C::scatter(
                blocks,
                plain.each_mut().map(|plain| {
                    let nowhere = nowhere.next().expect("one for each");
                    plain.get_mut(i).unwrap_or(nowhere)
                }),
            );
        }
    }
    let mut behind = counts.into_iter();
    C::scatter(rest, plain.map(|plain| &mut plain[behind.next().expect("one for each")]));
    let (text, end) = (C::are_zero(checksum), C::are_zero(end_difference));
    from_fn(|lane| text[lane] & end[lane])
}
