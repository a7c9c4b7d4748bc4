//! AES-OCB (RFC 7253) for the chunks of SEIPD v2, all blocks of a chunk in one call of the cipher.
//!
//! Promises: what [`Ocb::seal`] gives is RFC 7253's OCB-ENCRYPT with tags of 128 bits; nothing is allocated; tags are
//! compared in constant time; key schedule, masks and working blocks are erased when they are dropped. Does not promise
//! anything where a nonce is used twice under one key, and knows no packets: nonces and associated data are handed in.
//!
//! Many blocks a call matter: with AVX-512 the cipher spreads its whole key schedule over wide registers in each call, so
//! that a call for one block costs what a call for twenty does. So the masks and the first nonce come from one call,
//! and a short chunk, its tag and the tag that ends the message from a second one.
#![forbid(unsafe_code)]

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use subtle::{Choice, ConstantTimeEq};

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
    masks: Masks,
}

impl<C: BlockCipherEncrypt<BlockSize = U16> + KeyInit> Ocb<C> {
    /// Takes a key of the cipher's length. `first_nonce` is what chunk 0 begins with, as RFC 7253, 4.2 formats it: the
    /// tag's length modulo 128, zeros, a one, and the nonce, as a big-endian number of 128 bits (see [`nonce`]). Chunk
    /// i has the number that is greater by i.
    pub fn new(key: &[u8], first_nonce: u128) -> Self {
        let cipher = C::new_from_slice(key).expect("callers give the cipher a key of its length");
        let mut batch = Batch::<2>::new();
        batch.push(0);
        batch.push((first_nonce & !63).to_be());
        batch.encrypt(&cipher);
        let masks = Masks::new(batch.get(0), batch.get(1));
        Self { cipher, first_nonce, masks }
    }

    /// Encrypts chunk `index` in place and returns its tag. `text` has at most [`MAX_TEXT`] bytes and `ad` at most 15.
    pub fn seal(&self, index: u64, ad: &[u8], text: &mut [u8]) -> Tag {
        self.seal_with(index, ad, text, None).0
    }

    /// As [`seal`](Self::seal), with the tag of an empty chunk behind it, whose associated data are `end_ad`.
    pub fn seal_last(&self, index: u64, ad: &[u8], text: &mut [u8], end_ad: &[u8]) -> (Tag, Tag) {
        self.seal_with(index, ad, text, Some(end_ad))
    }

    fn seal_with(&self, index: u64, ad: &[u8], text: &mut [u8], end_ad: Option<&[u8]>) -> (Tag, Tag) {
        assert!(text.len() <= MAX_TEXT, "a chunk has at most {MAX_TEXT} bytes");
        let (mut offset, mut checksum) = (self.first_offset(index), 0);
        let mut batch: Batch = Batch::new();
        let (blocks, rest) = text.as_chunks_mut::<16>();
        // All groups but the last are full; the last may be empty and shares its call with what follows the text.
        let (full, last) = blocks.split_at_mut(blocks.len().saturating_sub(1) / GROUP * GROUP);
        for group in full.chunks_exact_mut(GROUP) {
            let mut again = offset.clone();
            batch.load(group, &mut offset);
            checksum ^= sum(group);
            batch.encrypt(&self.cipher);
            batch.store(group, &mut again);
            batch.clear();
        }
        let mut again = offset.clone();
        batch.load(last, &mut offset);
        checksum ^= sum(last);
        if !rest.is_empty() {
            offset.mask ^= self.masks.star;
            checksum ^= padded(rest);
            batch.push(offset.mask);
        }
        let tags_at = batch.len;
        batch.push(padded(ad) ^ self.masks.star);
        batch.push(checksum ^ offset.mask ^ self.masks.dollar);
        if let Some(end_ad) = end_ad {
            batch.push(padded(end_ad) ^ self.masks.star);
            batch.push(self.first_offset(index + 1).mask ^ self.masks.dollar);
        }
        batch.encrypt(&self.cipher);
        batch.store(last, &mut again);
        if !rest.is_empty() {
            xor_into(rest, batch.get(tags_at - 1));
        }
        (batch.tag(tags_at, ad), batch.tag(tags_at + 2, end_ad.unwrap_or_default()))
    }

    /// `Offset_0` (RFC 7253, 4.2) of chunk `index`.
    fn first_offset(&self, index: u64) -> Offset<'_> {
        let nonce = self.first_nonce + u128::from(index);
        let mask = if nonce & !63 == self.first_nonce & !63 {
            offset_from_top(self.masks.top, nonce)
        } else {
            let mut batch = Batch::<1>::new();
            batch.push((nonce & !63).to_be());
            batch.encrypt(&self.cipher);
            offset_from_top(batch.get(0), nonce)
        };
        Offset { mask, number: 0, masks: &self.masks }
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
        let (mut offset, mut checksum) = (self.first_offset(index), 0);
        let mut batch: Batch = Batch::new();
        let (blocks, rest) = text.as_chunks_mut::<16>();
        for group in blocks.chunks_mut(GROUP) {
            let mut again = offset.clone();
            batch.load(group, &mut offset);
            batch.decrypt(&self.cipher);
            batch.store(group, &mut again);
            checksum ^= sum(group);
            batch.clear();
        }
        if !rest.is_empty() {
            offset.mask ^= self.masks.star;
        }
        batch.push(offset.mask);
        batch.push(padded(ad) ^ self.masks.star);
        // Stands for the chunk's tag, which needs the whole text.
        batch.push(0);
        if let Some((end_ad, _)) = end {
            batch.push(padded(end_ad) ^ self.masks.star);
            batch.push(self.first_offset(index + 1).mask ^ self.masks.dollar);
        }
        batch.encrypt(&self.cipher);
        if !rest.is_empty() {
            xor_into(rest, batch.get(0));
            checksum ^= padded(rest);
        }
        let mut last = Batch::<1>::new();
        last.push(checksum ^ offset.mask ^ self.masks.dollar);
        last.encrypt(&self.cipher);
        batch.set(2, last.get(0));
        let mut equal = equal_tags(&batch.tag(1, ad), tag);
        if let Some((end_ad, end_tag)) = end {
            equal &= equal_tags(&batch.tag(3, end_ad), end_tag);
        }
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

/// Blocks of text in one call: what the widest cipher takes at once.
const GROUP: usize = 64;
/// The blocks behind the text: its partial block, and two each for its tag and for the end's.
const BEHIND: usize = 5;
/// `L_0 … L_8`, as 2^8 blocks are one chunk.
const MASKS: usize = 9;

/// What follows from the key, and `Ktop` of the first nonces (RFC 7253, 4.1 and 4.2). Here and below, blocks are numbers
/// in the machine's byte order, so that XOR needs no swapping.
struct Masks {
    star: u128,
    dollar: u128,
    l: [u128; MASKS],
    top: u128,
}

impl Masks {
    fn new(star: u128, top: u128) -> Self {
        let dollar = double(star);
        let mut masks = Self { star, dollar, l: [0; MASKS], top };
        let mut mask = dollar;
        for l in &mut masks.l {
            mask = double(mask);
            *l = mask;
        }
        masks
    }
}

impl Drop for Masks {
    fn drop(&mut self) {
        (self.star, self.dollar, self.l, self.top) = (0, 0, [0; MASKS], 0);
        zeroize::optimization_barrier(self);
    }
}

/// `Offset_i`, and i.
#[derive(Clone)]
struct Offset<'a> {
    mask: u128,
    number: u32,
    masks: &'a Masks,
}

impl Offset<'_> {
    /// `Offset_{i+1} = Offset_i xor L_{ntz(i+1)}`
    fn advance(&mut self) -> u128 {
        self.number += 1;
        self.mask ^= self.masks.l[self.number.trailing_zeros() as usize];
        self.mask
    }
}

impl Drop for Offset<'_> {
    fn drop(&mut self) {
        self.mask = 0;
        zeroize::optimization_barrier(&self.mask);
    }
}

/// The blocks of one call of the cipher, at most `N`.
struct Batch<const N: usize = { GROUP + BEHIND }> {
    blocks: [aes::Block; N],
    len: usize,
    /// Blocks from here on were never used.
    clean: usize,
}

impl<const N: usize> Batch<N> {
    fn new() -> Self {
        Self { blocks: [aes::Block::from([0; 16]); N], len: 0, clean: 0 }
    }

    fn push(&mut self, block: u128) {
        self.blocks[self.len] = block.to_ne_bytes().into();
        self.len += 1;
        self.clean = self.clean.max(self.len);
    }

    fn load(&mut self, text: &[[u8; 16]], offset: &mut Offset<'_>) {
        for (block, text) in self.blocks.iter_mut().zip(text) {
            *block = (u128::from_ne_bytes(*text) ^ offset.advance()).to_ne_bytes().into();
        }
        self.len = text.len();
        self.clean = self.clean.max(self.len);
    }

    fn store(&self, text: &mut [[u8; 16]], offset: &mut Offset<'_>) {
        for (block, text) in self.blocks.iter().zip(text) {
            *text = (u128::from_ne_bytes((*block).into()) ^ offset.advance()).to_ne_bytes();
        }
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    fn encrypt(&mut self, cipher: &impl BlockCipherEncrypt<BlockSize = U16>) {
        cipher.encrypt_blocks(&mut self.blocks[..self.len]);
    }

    fn decrypt(&mut self, cipher: &impl BlockCipherDecrypt<BlockSize = U16>) {
        cipher.decrypt_blocks(&mut self.blocks[..self.len]);
    }

    fn get(&self, at: usize) -> u128 {
        u128::from_ne_bytes(self.blocks[at].into())
    }

    fn set(&mut self, at: usize, block: u128) {
        self.blocks[at] = block.to_ne_bytes().into();
    }

    /// `Tag = ENCIPHER(K, checksum xor offset xor L_$) xor HASH(K, A)`, where the block at `at` is the hash of `ad` (of
    /// no data it is 0) and the other stands behind it.
    fn tag(&self, at: usize, ad: &[u8]) -> Tag {
        let hash = if ad.is_empty() { 0 } else { self.get(at) };
        (self.get(at + 1) ^ hash).to_ne_bytes()
    }
}

impl<const N: usize> Drop for Batch<N> {
    fn drop(&mut self) {
        wipe(aes::Block::slice_as_flattened_mut(&mut self.blocks[..self.clean]));
    }
}

/// As `Zeroize` for slices, which writes byte by byte, but at the speed of memset.
pub(super) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

/// In constant time, and not byte by byte.
fn equal_tags(one: &Tag, other: &Tag) -> Choice {
    u128::from_ne_bytes(*one).ct_eq(&u128::from_ne_bytes(*other))
}

/// `double(S)` (RFC 7253, 2)
fn double(block: u128) -> u128 {
    let number = u128::from_be(block);
    ((number << 1) ^ ((number >> 127) * 0x87)).to_be()
}

/// `Offset_0 = Stretch[1+bottom..128+bottom]`, where `Stretch = Ktop ‖ (Ktop[1..64] xor Ktop[9..72])`
fn offset_from_top(top: u128, nonce: u128) -> u128 {
    let (number, bottom) = (u128::from_be(top), (nonce & 63) as u32);
    let behind = (number >> 64) as u64 ^ (number >> 56) as u64;
    ((number << bottom) | ((u128::from(behind) << bottom) >> 64)).to_be()
}

/// `bytes ‖ 1 ‖ 0…`, for less than a block.
fn padded(bytes: &[u8]) -> u128 {
    let mut block = [0; 16];
    block[..bytes.len()].copy_from_slice(bytes);
    block[bytes.len()] = 0x80;
    u128::from_ne_bytes(block)
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
