//! Sorting more than fits into memory.
//!
//! Promises: entries come back in the order of their ranks, each once; memory is bounded whatever they are. What does not fit lies in
//! files without a name, encrypted (ChaCha20-Poly1305, RFC 8439) under a random key that stands nowhere but in this process: no plain
//! text of a log comes to the disk, and what comes back is what was put there, or an error.
#![forbid(unsafe_code)]

mod run;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use thiserror::Error;

use self::run::{Cursor, Run, Vault};

/// Entries in memory take so many bytes.
const MAX_MEMORY: usize = 64 << 20;
/// So many runs of one length are merged into one that is longer.
const FAN_IN: usize = 16;

/// What was put away could not be written, or did not come back. It comes as the inner error of an [`io::Error`].
#[derive(Debug, Error)]
#[error("cannot use a temporary file of this program: {0}")]
pub struct TemporaryError(io::Error);

fn temporary(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), TemporaryError(error))
}

/// What entries are sorted by: no two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// In microseconds since 1970.
    pub time: i64,
    /// Whose it is among those of one time.
    pub unit: u32,
    /// Its place there.
    pub number: u64,
}

/// An entry in memory: its bytes stand among those of the others.
struct Held {
    rank: Rank,
    tag: u8,
    start: usize,
    len: usize,
}

/// Takes entries in any order and gives them back sorted.
pub struct Merge {
    held: Vec<Held>,
    bytes: Vec<u8>,
    max_memory: usize,
    /// By how often they were merged.
    runs: Vec<Vec<Run>>,
    vault: Vault,
}

impl Merge {
    /// One that is empty.
    pub fn new() -> io::Result<Self> {
        Self::with_memory(MAX_MEMORY)
    }

    fn with_memory(max_memory: usize) -> io::Result<Self> {
        Ok(Self { held: Vec::new(), bytes: Vec::new(), max_memory, runs: Vec::new(), vault: Vault::new().map_err(temporary)? })
    }

    /// Takes an entry: bytes, and one more that says what they are.
    pub fn push(&mut self, rank: Rank, tag: u8, bytes: &[u8]) -> io::Result<()> {
        let size = self.bytes.len() + bytes.len() + (self.held.len() + 1) * size_of::<Held>();
        if size > self.max_memory && !self.held.is_empty() {
            self.put_away().map_err(temporary)?;
        }
        self.held.push(Held { rank, tag, start: self.bytes.len(), len: bytes.len() });
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Gives all of them out, sorted, until `each` fails; its error comes back as it is.
    pub fn finish(mut self, mut each: impl FnMut(Rank, u8, &[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.runs.is_empty() {
            self.held.sort_unstable_by_key(|held| held.rank);
            return self
                .held
                .iter()
                .try_for_each(|held| each(held.rank, held.tag, &self.bytes[held.start..held.start + held.len]));
        }
        self.put_away().map_err(temporary)?;
        (self.held, self.bytes) = Default::default();
        let runs = self.runs.into_iter().flatten().collect();
        let mut merged = Merged::new(runs, &self.vault).map_err(temporary)?;
        while let Some(rank) = merged.next().map_err(temporary)? {
            let (tag, bytes) = merged.entry().map_err(temporary)?;
            each(rank, tag, &bytes)?;
        }
        Ok(())
    }

    /// Writes what is in memory as a run of its own.
    fn put_away(&mut self) -> io::Result<()> {
        self.held.sort_unstable_by_key(|held| held.rank);
        let mut run = Run::new()?;
        for held in &self.held {
            run.push(held.rank, held.tag, &self.bytes[held.start..held.start + held.len], &mut self.vault)?;
        }
        run.end(&mut self.vault)?;
        self.held.clear();
        self.bytes.clear();
        self.keep(run, 0)
    }

    fn keep(&mut self, run: Run, level: usize) -> io::Result<()> {
        if self.runs.len() == level {
            self.runs.push(Vec::new());
        }
        self.runs[level].push(run);
        if self.runs[level].len() < FAN_IN {
            return Ok(());
        }
        let (runs, mut longer) = (std::mem::take(&mut self.runs[level]), Run::new()?);
        let reading = self.vault.reader();
        let mut merged = Merged::new(runs, &reading)?;
        while let Some(rank) = merged.next()? {
            let (tag, bytes) = merged.entry()?;
            longer.push(rank, tag, &bytes, &mut self.vault)?;
        }
        longer.end(&mut self.vault)?;
        self.keep(longer, level + 1)
    }
}

/// Goes through runs side by side.
struct Merged<'v> {
    vault: &'v Vault,
    cursors: Vec<Cursor>,
    /// What each stands at, but the one that was given out last.
    next: BinaryHeap<Reverse<(Rank, usize)>>,
    last: Option<usize>,
}

impl<'v> Merged<'v> {
    fn new(runs: Vec<Run>, vault: &'v Vault) -> io::Result<Self> {
        let mut merged =
            Self { vault, cursors: runs.into_iter().map(Cursor::new).collect(), next: BinaryHeap::new(), last: None };
        for at in 0..merged.cursors.len() {
            merged.step(at)?;
        }
        Ok(merged)
    }

    fn step(&mut self, at: usize) -> io::Result<()> {
        self.next.extend(self.cursors[at].next(self.vault)?.map(|rank| Reverse((rank, at))));
        Ok(())
    }

    /// Goes to the next entry; its rank, if there is one.
    fn next(&mut self) -> io::Result<Option<Rank>> {
        if let Some(last) = self.last {
            self.step(last)?;
        }
        let next = self.next.pop().map(|Reverse(next)| next);
        self.last = next.map(|(_, at)| at);
        Ok(next.map(|(rank, _)| rank))
    }

    /// What it is.
    fn entry(&self) -> io::Result<(u8, Cow<'_, [u8]>)> {
        let at = self.last.expect("next() gave a rank before");
        self.cursors[at].entry(self.vault)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn rank(number: u64) -> Rank {
        // In no order, and some of one time.
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Rank { time: (mixed >> 40) as i64 % 1000 - 500, unit: (mixed % 3) as u32, number }
    }

    fn bytes(number: u64) -> Vec<u8> {
        let len = if number % 500 == 7 { 300_000 } else { number % 90 };
        format!("plain text {number} ").into_bytes().into_iter().cycle().take(len as usize).collect()
    }

    fn sorted(count: u64, max_memory: usize) -> usize {
        let mut merge = Merge::with_memory(max_memory).unwrap();
        for number in 0..count {
            merge.push(rank(number), (number % 251) as u8, &bytes(number)).unwrap();
            assert!(merge.bytes.len() <= max_memory.max(300_000));
        }
        let levels = merge.runs.len();
        let mut expected: Vec<u64> = (0..count).collect();
        expected.sort_by_key(|number| rank(*number));
        let mut expected = expected.into_iter();
        merge
            .finish(|got, tag, content| {
                let number = expected.next().unwrap();
                assert_eq!((got, tag), (rank(number), (number % 251) as u8));
                assert!(content == bytes(number), "{number}");
                Ok(())
            })
            .unwrap();
        assert_eq!(expected.next(), None);
        levels
    }

    #[test]
    fn entries_come_back_in_order_whether_they_fit_or_not() {
        assert_eq!(sorted(0, 1 << 20), 0);
        assert_eq!(sorted(5000, 1 << 24), 0);
        assert_eq!(sorted(5000, 1 << 19), 1);
        assert_eq!(sorted(5000, 1 << 10), 3);
    }

    #[test]
    fn nothing_of_them_is_legible_and_what_was_changed_is_an_error() {
        let mut merge = Merge::with_memory(1 << 16).unwrap();
        for number in 0..3000 {
            merge.push(rank(number), 0, &bytes(number)).unwrap();
        }
        let file = merge.runs[0][1].file();
        let mut content = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut content, 0).unwrap();
        assert!(content.len() > 10_000 && memchr::memmem::find(&content, b"plain text").is_none());
        file.write_all_at(&[content[5000] ^ 1], 5000).unwrap();
        let error = merge.finish(|_, _, _| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_reader_that_fails_ends_it() {
        let mut merge = Merge::with_memory(1 << 12).unwrap();
        for number in 0..200 {
            merge.push(rank(number), 0, &bytes(number)).unwrap();
        }
        let mut left = 5;
        let broken = merge.finish(|_, _, _| {
            left -= 1;
            if left == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        });
        assert_eq!((broken.unwrap_err().kind(), left), (io::ErrorKind::BrokenPipe, 0));
    }
}
