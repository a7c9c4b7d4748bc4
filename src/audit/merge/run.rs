//! Sorted entries in an encrypted file.
//!
//! Promises: a run in the reading needs the memory of one block; an entry that is large lies beside the blocks.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use zeroize::Zeroizing;

use super::Rank;
use crate::audit::spill::nameless;

/// A block has so many bytes, and the last entry's.
const BLOCK: usize = 128 << 10;
/// Entries of more bytes lie beside.
const LARGE: usize = 64 << 10;
/// What stands in a block before an entry's bytes: time, unit, number, tag, whether they lie beside.
const HEAD: usize = 8 + 4 + 8 + 1 + 1;

/// The key, and how many blocks were encrypted with it: each has its number as its nonce.
pub(super) struct Vault {
    cipher: ChaCha20Poly1305,
    blocks: u64,
}

/// Where a block is.
#[derive(Clone, Copy, Debug)]
struct Block {
    number: u64,
    offset: u64,
    len: u32,
}

impl Block {
    const LEN: usize = 8 + 8 + 4;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }
}

impl Vault {
    pub(super) fn new() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(io::Error::other)?;
        Ok(Self { cipher: ChaCha20Poly1305::new((&*key).into()), blocks: 0 })
    }

    /// The same key, for reading beside the writing.
    pub(super) fn reader(&self) -> Self {
        Self { cipher: self.cipher.clone(), blocks: u64::MAX }
    }

    fn write(&mut self, file: &File, offset: u64, plain: &mut Vec<u8>) -> io::Result<Block> {
        let number = self.blocks;
        self.blocks = number.checked_add(1).expect("a reader writes nothing, and no disk holds so many blocks");
        self.cipher.encrypt_in_place(&nonce(number), &[], plain).map_err(|_| io::Error::other("it is too long"))?;
        file.write_all_at(plain, offset)?;
        Ok(Block { number, offset, len: u32::try_from(plain.len()).map_err(io::Error::other)? })
    }

    fn read(&self, file: &File, block: Block) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; block.len as usize];
        file.read_exact_at(&mut bytes, block.offset)?;
        self.cipher.decrypt_in_place(&nonce(block.number), &[], &mut bytes).map_err(|_| changed())?;
        Ok(bytes)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a temporary file is not as it was written")
}

/// Sorted entries.
pub(super) struct Run {
    file: File,
    end: u64,
    blocks: Vec<Block>,
    /// The block that is being filled.
    plain: Vec<u8>,
}

impl Run {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { file: nameless()?, end: 0, blocks: Vec::new(), plain: Vec::new() })
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Takes the next entry.
    pub(super) fn push(&mut self, rank: Rank, tag: u8, bytes: &[u8], vault: &mut Vault) -> io::Result<()> {
        let is_large = bytes.len() > LARGE;
        let beside;
        let content = if is_large {
            let block = vault.write(&self.file, self.end, &mut bytes.to_vec())?;
            self.end += u64::from(block.len);
            beside = block.to_bytes();
            &beside[..]
        } else {
            bytes
        };
        self.plain.extend_from_slice(&rank.time.to_le_bytes());
        self.plain.extend_from_slice(&rank.unit.to_le_bytes());
        self.plain.extend_from_slice(&rank.number.to_le_bytes());
        self.plain.extend_from_slice(&[tag, u8::from(is_large)]);
        self.plain.extend_from_slice(&u32::try_from(content.len()).map_err(io::Error::other)?.to_le_bytes());
        self.plain.extend_from_slice(content);
        if self.plain.len() >= BLOCK { self.end(vault) } else { Ok(()) }
    }

    /// Writes the last block.
    pub(super) fn end(&mut self, vault: &mut Vault) -> io::Result<()> {
        if self.plain.is_empty() {
            return Ok(());
        }
        let block = vault.write(&self.file, self.end, &mut self.plain)?;
        self.end += u64::from(block.len);
        self.blocks.push(block);
        self.plain.clear();
        Ok(())
    }
}

/// Goes through a run.
pub(super) struct Cursor {
    run: Run,
    next_block: usize,
    plain: Vec<u8>,
    /// Behind the entry's head, and its length.
    at: usize,
    len: usize,
}

impl Cursor {
    pub(super) fn new(run: Run) -> Self {
        Self { run, next_block: 0, plain: Vec::new(), at: 0, len: 0 }
    }

    /// Goes to the next entry; its rank, if there is one.
    pub(super) fn next(&mut self, vault: &Vault) -> io::Result<Option<Rank>> {
        let mut from = self.at + self.len;
        if from >= self.plain.len() {
            let Some(&block) = self.run.blocks.get(self.next_block) else { return Ok(None) };
            (self.plain, from) = (vault.read(&self.run.file, block)?, 0);
            self.next_block += 1;
        }
        let head = self.plain.get(from..from + HEAD + 4).ok_or_else(changed)?;
        let rank = Rank {
            time: i64::from_le_bytes(part(head, 0)),
            unit: u32::from_le_bytes(part(head, 8)),
            number: u64::from_le_bytes(part(head, 12)),
        };
        (self.at, self.len) = (from + HEAD + 4, u32::from_le_bytes(part(head, HEAD)) as usize);
        Ok(Some(rank))
    }

    /// The entry that it stands at.
    pub(super) fn entry(&self, vault: &Vault) -> io::Result<(u8, Cow<'_, [u8]>)> {
        let bytes = self.plain.get(self.at..self.at + self.len).ok_or_else(changed)?;
        let [tag, is_large] = part(&self.plain, self.at - 6);
        if is_large == 0 {
            return Ok((tag, Cow::Borrowed(bytes)));
        }
        let number = u64::from_le_bytes(part(bytes, 0));
        let block = Block { number, offset: u64::from_le_bytes(part(bytes, 8)), len: u32::from_le_bytes(part(bytes, 16)) };
        Ok((tag, Cow::Owned(vault.read(&self.run.file, block)?)))
    }
}

/// Some bytes of an array of known length.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range has this length")
}
