//! AES-OCB (RFC 7253) for the chunks of SEIPD v2, all that a chunk needs in one use of the cipher.
//!
//! Promises: what [`Ocb::seal`] gives is RFC 7253's OCB-ENCRYPT with tags of 128 bits; nothing is allocated; tags are
//! compared in constant time; key schedule, masks and working blocks are erased when they are dropped. Does not promise
//! anything where a nonce is used twice under one key, and knows no packets: nonces and associated data are handed in.
//!
//! One use of the cipher matters: with AVX-512 it spreads its whole key schedule over wide registers in each, which costs
//! as much as ten blocks. So a chunk is sealed in one use, with its masks, its tag and the tag that ends the message; it is
//! opened in two, one for each direction.
#![forbid(unsafe_code)]

#[cfg(feature = "audit")]
pub mod four;

use aes::Block;
use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::inout::InOutBuf;
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend, BlockCipherEncClosure,
    BlockCipherEncrypt, BlockSizeUser, KeyInit,
};
use subtle::ConstantTimeEq;

/// Longest text of one chunk in bytes.
pub const MAX_TEXT: usize = 1 << 12;
/// Length of a tag in bytes.
pub const TAG_LEN: usize = 16;

/// Authenticates a chunk and its associated data.
pub type Tag = [u8; TAG_LEN];

/// The tag is not that of the text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("authentication failed")]
pub struct BadTag;

/// OCB under one key with consecutive nonces. `C` is a cipher with blocks of 16 bytes: `aes::Aes256Enc` is enough to
/// seal, opening needs `aes::Aes256`.
pub struct Ocb<C> {
    cipher: C,
    first_nonce: u128,
}

impl<C: BlockCipherEncrypt<BlockSize = U16> + KeyInit> Ocb<C> {
    /// Takes a key of the cipher's length. `first_nonce` is what chunk 0 begins with, as RFC 7253, 4.2 formats it: the
    /// tag's length modulo 128, zeros, a one, and the nonce, as a big-endian number of 128 bits (see [`nonce`]). Chunk
    /// i has the number that is greater by i.
    pub fn new(key: &[u8], first_nonce: u128) -> Self {
        Self { cipher: C::new_from_slice(key).expect("callers give the cipher a key of its length"), first_nonce }
    }

    /// Encrypts chunk `index` in place and returns its tag. `text` has at most [`MAX_TEXT`] bytes and `ad` at most 15.
    pub fn seal(&self, index: u64, ad: &[u8], text: &mut [u8]) -> Tag {
        self.seal_last(index, ad, text, b"").0
    }

    /// As [`seal`](Self::seal), with the tag of an empty chunk behind it, whose associated data are `end_ad`.
    pub fn seal_last(&self, index: u64, ad: &[u8], text: &mut [u8], end_ad: &[u8]) -> (Tag, Tag) {
        assert!(text.len() <= MAX_TEXT, "a chunk has at most {MAX_TEXT} bytes");
        let (mut tag, mut end_tag) = ([0; TAG_LEN], [0; TAG_LEN]);
        let nonce = self.first_nonce + u128::from(index);
        self.cipher.encrypt_with_backend(Seal { nonce, ad, text, end_ad, tag: &mut tag, end_tag: &mut end_tag });
        (tag, end_tag)
    }
}

impl<C: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt + KeyInit> Ocb<C> {
    /// Decrypts chunk `index` in place. `text` has at most [`MAX_TEXT`] bytes and `ad` at most 15.
    ///
    /// # Errors
    ///
    /// [`BadTag`]; `text` is of no use then, and must not be believed.
    pub fn open(&self, index: u64, ad: &[u8], text: &mut [u8], tag: &Tag) -> Result<(), BadTag> {
        self.open_with(index, ad, text, tag, None)
    }

    /// As [`open`](Self::open), with the tag of an empty chunk behind it, whose associated data are `end_ad`.
    ///
    /// # Errors
    ///
    /// [`BadTag`] where one of both is wrong.
    pub fn open_last(
        &self,
        index: u64,
        ad: &[u8],
        text: &mut [u8],
        tag: &Tag,
        end_ad: &[u8],
        end_tag: &Tag,
    ) -> Result<(), BadTag> {
        self.open_with(index, ad, text, tag, Some((end_ad, end_tag)))
    }

    fn open_with(&self, index: u64, ad: &[u8], text: &mut [u8], tag: &Tag, end: Option<(&[u8], &Tag)>) -> Result<(), BadTag> {
        assert!(text.len() <= MAX_TEXT, "a chunk has at most {MAX_TEXT} bytes");
        let (end_ad, nonce) = (end.map_or(&b""[..], |(ad, _)| ad), self.first_nonce + u128::from(index));
        let mut keyed = Keyed::default();
        self.cipher.encrypt_with_backend(Prepare { nonce, ad, len: text.len(), end_ad, keyed: &mut keyed });
        let mut equal = end.map_or(1.into(), |(_, end_tag)| keyed.end_tag.ct_eq(end_tag));
        let mut found = 0;
        self.cipher.decrypt_with_backend(Open { keyed: &keyed, text, tag, checksum: &mut found });
        equal &= found.to_ne_bytes().ct_eq(&[0; TAG_LEN]);
        if equal.into() { Ok(()) } else { Err(BadTag) }
    }
}

/// The number that a nonce of `prefix` and an index that begins at 0 makes: `00 ‖ 01`, 15 bytes (RFC 7253, 4.2).
pub fn nonce(prefix: &[u8; 7]) -> u128 {
    let mut bytes = [0; 16];
    bytes[0] = 1;
    bytes[1..8].copy_from_slice(prefix);
    u128::from_be_bytes(bytes)
}

/// Blocks that are masked, enciphered and masked again before the next ones, so that they stay near.
const GROUP: usize = 64;
/// `L_0 … L_8`, as 2^8 blocks are one chunk.
const MASKS: usize = 9;
/// Blocks whose offsets follow from the one before them by the same steps.
const STRIDE: usize = 8;

/// What follows from the key for the text of one chunk (RFC 7253, 4.1 and 4.2). Here and below, blocks are numbers in the
/// machine's byte order, so that XOR needs no swapping.
#[derive(Default)]
struct Masks {
    star: u128,
    dollar: u128,
    /// As many as the text has use for.
    l: [u128; MASKS],
    /// `Offset_{i+k+1} xor Offset_i` for k up to 7, where i is a multiple of 8, but for `L_{ntz(i+8)}` in the last one. In
    /// halves, of which the compiler takes several at once.
    steps: [[u64; 2]; STRIDE],
    /// `Offset_0` of the chunk and of the one behind it.
    first: u128,
    end: u128,
}

impl Masks {
    fn write(&mut self, cipher: &impl BlockCipherEncBackend<BlockSize = U16>, nonce: u128, text_len: usize) {
        let mut blocks = Wiped([[0; 16], top(nonce), top(nonce + 1)].map(Block::from));
        encrypt(cipher, &mut blocks.0);
        let [star, top, end_top] = blocks.0.map(|block| u128::from_be_bytes(block.into()));
        let mut mask = double(star);
        (self.star, self.dollar) = (star.to_be(), mask.to_be());
        let used = (text_len / 16).checked_ilog2().map_or(0, |log| log as usize + 1).max(3);
        for l in &mut self.l[..used] {
            mask = double(mask);
            *l = mask.to_be();
        }
        let mut step = 0;
        for (number, out) in self.steps.iter_mut().enumerate() {
            step ^= self.l.get((number + 1).trailing_zeros() as usize).filter(|_| number + 1 < STRIDE).unwrap_or(&0);
            *out = halves(step);
        }
        (self.first, self.end) = (offset_from_top(top, nonce), offset_from_top(end_top, nonce + 1));
    }

    /// `Offset_i`: the sum of `Offset_{k-1} xor L_{ntz(k)}` for k up to i holds `L_j` where bit j of i's Gray code is set.
    fn offset(&self, i: usize) -> u128 {
        let gray = i ^ (i >> 1);
        let set = |(j, l): (usize, &u128)| if gray >> j & 1 == 1 { *l } else { 0 };
        self.l.iter().enumerate().map(set).fold(self.first, |offset, l| offset ^ l)
    }

    /// XORs block k, the first of which is number `from`, with `Offset_{k+1}`.
    #[inline(always)]
    fn apply(&self, blocks: &mut [[u8; 16]], from: usize) {
        let mut before = halves(self.offset(from));
        let (strides, rest) = blocks.as_chunks_mut::<STRIDE>();
        for (stride, next) in strides.iter_mut().zip((from + STRIDE..).step_by(STRIDE)) {
            let mut steps = self.steps;
            steps[STRIDE - 1] = xor(steps[STRIDE - 1], halves(self.l[next.trailing_zeros() as usize]));
            for (block, step) in stride.iter_mut().zip(steps) {
                mask(block, xor(before, step));
            }
            before = xor(before, steps[STRIDE - 1]);
        }
        for (block, step) in rest.iter_mut().zip(self.steps) {
            mask(block, xor(before, step));
        }
    }
}

impl Drop for Masks {
    fn drop(&mut self) {
        (self.star, self.dollar, self.l, self.first, self.end) = (0, 0, [0; MASKS], 0, 0);
        self.steps = [[0; 2]; STRIDE];
        zeroize::optimization_barrier(self);
    }
}

/// One chunk to be sealed.
struct Seal<'a> {
    nonce: u128,
    ad: &'a [u8],
    text: &'a mut [u8],
    end_ad: &'a [u8],
    tag: &'a mut Tag,
    end_tag: &'a mut Tag,
}

impl BlockSizeUser for Seal<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Seal<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        let mut masks = Masks::default();
        masks.write(cipher, self.nonce, self.text.len());
        let (blocks, rest) = self.text.as_chunks_mut::<16>();
        let (count, mut checksum) = (blocks.len(), 0);
        for (group, from) in blocks.chunks_mut(GROUP).zip((0..).step_by(GROUP)) {
            checksum ^= sum(group);
            masks.apply(group, from);
            encrypt(cipher, Array::cast_slice_from_core_mut(group));
            masks.apply(group, from);
        }
        let mut offset = masks.offset(count);
        if !rest.is_empty() {
            offset ^= masks.star;
            checksum ^= padded(rest);
        }
        let mut behind = Behind::new(&masks, offset, self.ad, self.end_ad);
        behind.0.0[CHECKSUM] = block(checksum ^ offset ^ masks.dollar);
        encrypt(cipher, &mut behind.0.0);
        xor_into(rest, behind.get(PAD));
        *self.tag = (behind.get(CHECKSUM) ^ behind.hash(HASH, self.ad)).to_ne_bytes();
        *self.end_tag = behind.end_tag(self.end_ad);
    }
}

/// What opening a chunk needs of the cipher's other direction.
struct Prepare<'a> {
    nonce: u128,
    ad: &'a [u8],
    len: usize,
    end_ad: &'a [u8],
    keyed: &'a mut Keyed,
}

/// What [`Prepare`] gives.
#[derive(Default)]
struct Keyed {
    masks: Masks,
    /// What the checksum is masked with before it is enciphered, and its hash behind that.
    offset: u128,
    hash: u128,
    /// Of the block that is not full.
    pad: u128,
    end_tag: Tag,
}

impl Drop for Keyed {
    fn drop(&mut self) {
        (self.offset, self.hash, self.pad) = (0, 0, 0);
        zeroize::optimization_barrier(self);
    }
}

impl BlockSizeUser for Prepare<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Prepare<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        let keyed = self.keyed;
        keyed.masks.write(cipher, self.nonce, self.len);
        let mut offset = keyed.masks.offset(self.len / 16);
        if !self.len.is_multiple_of(16) {
            offset ^= keyed.masks.star;
        }
        let mut behind = Behind::new(&keyed.masks, offset, self.ad, self.end_ad);
        encrypt(cipher, &mut behind.0.0);
        keyed.offset = offset ^ keyed.masks.dollar;
        keyed.hash = behind.hash(HASH, self.ad);
        keyed.pad = behind.get(PAD);
        keyed.end_tag = behind.end_tag(self.end_ad);
    }
}

/// One chunk to be opened.
struct Open<'a> {
    keyed: &'a Keyed,
    text: &'a mut [u8],
    tag: &'a Tag,
    /// Becomes 0 where the tag is right.
    checksum: &'a mut u128,
}

impl BlockSizeUser for Open<'_> {
    type BlockSize = U16;
}

impl BlockCipherDecClosure for Open<'_> {
    /// The tag is deciphered, and compared with what should have been enciphered: the other direction would need one more
    /// use of the cipher.
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, cipher: &B) {
        let Self { keyed, text, tag, checksum } = self;
        let (blocks, rest) = text.as_chunks_mut::<16>();
        let mut sealed = Wiped([block(u128::from_ne_bytes(*tag) ^ keyed.hash)]);
        decrypt(cipher, &mut sealed.0);
        *checksum = u128::from_ne_bytes(sealed.0[0].into()) ^ keyed.offset;
        for (group, from) in blocks.chunks_mut(GROUP).zip((0..).step_by(GROUP)) {
            keyed.masks.apply(group, from);
            decrypt(cipher, Array::cast_slice_from_core_mut(group));
            keyed.masks.apply(group, from);
            *checksum ^= sum(group);
        }
        if !rest.is_empty() {
            xor_into(rest, keyed.pad);
            *checksum ^= padded(rest);
        }
    }
}

/// The blocks behind the text: the pad of its last one, its checksum, and two for associated data, whose own offset is 0.
struct Behind(Wiped<5>);

const PAD: usize = 0;
const CHECKSUM: usize = 1;
const HASH: usize = 2;
const END_HASH: usize = 3;
/// The checksum of the empty chunk behind, which is 0.
const END: usize = 4;

impl Behind {
    fn new(masks: &Masks, offset: u128, ad: &[u8], end_ad: &[u8]) -> Self {
        let (hash, end_hash) = (padded(ad) ^ masks.star, padded(end_ad) ^ masks.star);
        Self(Wiped([offset, 0, hash, end_hash, masks.end ^ masks.dollar].map(block)))
    }

    fn get(&self, at: usize) -> u128 {
        u128::from_ne_bytes(self.0.0[at].into())
    }

    /// `HASH(K, A)` where A is less than a block; of no data it is 0.
    fn hash(&self, at: usize, ad: &[u8]) -> u128 {
        if ad.is_empty() { 0 } else { self.get(at) }
    }

    fn end_tag(&self, end_ad: &[u8]) -> Tag {
        (self.get(END) ^ self.hash(END_HASH, end_ad)).to_ne_bytes()
    }
}

/// Working blocks, erased when they are dropped.
struct Wiped<const N: usize>([Block; N]);

impl<const N: usize> Drop for Wiped<N> {
    fn drop(&mut self) {
        wipe(Block::slice_as_flattened_mut(&mut self.0));
    }
}

#[inline(always)]
fn encrypt<B: BlockCipherEncBackend<BlockSize = U16>>(cipher: &B, blocks: &mut [Block]) {
    let (groups, rest) = InOutBuf::from(blocks).into_chunks();
    for group in groups {
        cipher.encrypt_par_blocks(group);
    }
    cipher.encrypt_tail_blocks(rest);
}

#[inline(always)]
fn decrypt<B: BlockCipherDecBackend<BlockSize = U16>>(cipher: &B, blocks: &mut [Block]) {
    let (groups, rest) = InOutBuf::from(blocks).into_chunks();
    for group in groups {
        cipher.decrypt_par_blocks(group);
    }
    cipher.decrypt_tail_blocks(rest);
}

/// As `Zeroize` for slices, which writes byte by byte, but at the speed of memset.
pub(super) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

/// `double(S)` (RFC 7253, 2), of a big-endian number.
fn double(number: u128) -> u128 {
    (number << 1) ^ ((number >> 127) * 0x87)
}

/// The block from which the offsets of 64 consecutive nonces follow (RFC 7253, 4.2).
fn top(nonce: u128) -> [u8; 16] {
    (nonce & !63).to_be_bytes()
}

/// `Offset_0 = Stretch[1+bottom..128+bottom]`, where `Stretch = Ktop ‖ (Ktop[1..64] xor Ktop[9..72])`; `top` is a
/// big-endian number.
fn offset_from_top(top: u128, nonce: u128) -> u128 {
    let bottom = (nonce & 63) as u32;
    let behind = (top >> 64) as u64 ^ (top >> 56) as u64;
    ((top << bottom) | ((u128::from(behind) << bottom) >> 64)).to_be()
}

fn block(number: u128) -> Block {
    number.to_ne_bytes().into()
}

/// `bytes ‖ 1 ‖ 0…`, for less than a block.
fn padded(bytes: &[u8]) -> u128 {
    let mut block = [0; 16];
    block[..bytes.len()].copy_from_slice(bytes);
    block[bytes.len()] = 0x80;
    u128::from_ne_bytes(block)
}

fn halves(number: u128) -> [u64; 2] {
    let bytes = number.to_ne_bytes();
    let halves = bytes.as_chunks().0;
    [u64::from_ne_bytes(halves[0]), u64::from_ne_bytes(halves[1])]
}

fn xor(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    [one[0] ^ other[0], one[1] ^ other[1]]
}

#[inline(always)]
fn mask(block: &mut [u8; 16], mask: [u64; 2]) {
    for (half, word) in block.as_chunks_mut().0.iter_mut().zip(mask) {
        *half = (u64::from_ne_bytes(*half) ^ word).to_ne_bytes();
    }
}

fn sum(blocks: &[[u8; 16]]) -> u128 {
    blocks.iter().fold(0, |sum, block| sum ^ u128::from_ne_bytes(*block))
}

fn xor_into(bytes: &mut [u8], block: u128) {
    for (byte, pad) in bytes.iter_mut().zip(block.to_ne_bytes()) {
        *byte ^= pad;
    }
}

#[cfg(test)]
mod tests;
