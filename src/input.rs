//! Lines from a file descriptor, in memory that the caller gives and that is wiped behind them.
//!
//! Promised: the pieces, joined, are the input byte for byte, whatever its bytes and however the
//! reads cut it; no piece is longer than the limit; after a piece is dropped its bytes are nowhere
//! in the reader's memory. One [`fill`](LineReader::fill) is one read(2), so nothing is taken from
//! the pipe that the caller did not ask for, and a line is handed out as soon as it is complete.
//!
//! Not promised: that a line is text, or whole; writers tear and interleave long lines themselves.
#![forbid(unsafe_code)]

pub mod followed;
pub mod journal;

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::AsFd;

use memchr::{memchr, memrchr};
use nix::errno::Errno;

/// The default limit of a piece, in bytes.
pub const PIECE_LIMIT: usize = 1 << 20;

/// The room for one read beside a partial line, in bytes: what a pipe holds by default.
pub const READ_ROOM: usize = 64 << 10;

/// Lines that are handed out together have at most so many bytes.
pub const GROUP_LIMIT: usize = READ_ROOM;

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// read(2) failed.
    #[error("cannot read the input: {0}")]
    Read(#[source] io::Error),
    /// There is no larger buffer for a long line. The limit of a piece has been lowered to what
    /// fits: after a warning the caller takes pieces and fills again, and loses nothing.
    #[error("no memory for a line longer than {len} bytes")]
    Grow {
        /// The new limit of a piece, in bytes.
        len: usize,
        /// What the allocator said.
        #[source]
        source: io::Error,
    },
    /// The buffer is full of complete pieces that were not taken.
    #[error("the buffer is full of pieces that were not taken")]
    Full,
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// So many bytes, at least one.
    Bytes(usize),
    /// The end of the input; what is left is for [`LineReader::rest`].
    Eof,
    /// Nothing for now, from a descriptor that does not block.
    WouldBlock,
}

/// Cuts what it reads into pieces: each line with its newline, and a line longer than the limit in
/// pieces of exactly the limit, the last of which has the newline.
///
/// After each [`fill`](Self::fill) the caller takes all pieces before it fills again:
///
/// ```no_run
/// # use sealedlog::input::{Filled, InputError, LineReader, PIECE_LIMIT, READ_ROOM};
/// # fn seal(_: &[u8], _: bool) {}
/// # fn run() -> Result<(), InputError> {
/// let stdin = std::io::stdin();
/// let mut reader = LineReader::new(vec![0; READ_ROOM], PIECE_LIMIT, |len| Ok(vec![0; len]));
/// while reader.fill(&stdin)? != Filled::Eof {
///     while let Some(piece) = reader.next_piece() {
///         seal(&piece, piece.ends_line());
///     }
/// }
/// while let Some(piece) = reader.rest() {
///     seal(&piece, piece.ends_line());
/// }
/// # Ok(())
/// # }
/// ```
pub struct LineReader<B: AsRef<[u8]> + AsMut<[u8]>, G> {
    buffer: B,
    grow: G,
    limit: usize,
    /// Complete lines are handed out together.
    groups: bool,
    /// `start..end` is what was read and not taken. Outside of it there is nothing of the input.
    start: usize,
    end: usize,
    /// There is no newline in `start..searched`.
    searched: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, G: FnMut(usize) -> io::Result<B>> LineReader<B, G> {
    /// A reader into `buffer`, for pieces of at most `limit` bytes (0 is taken as 1).
    ///
    /// Where a partial line fills more than half of the buffer, `grow` is asked for a larger one of
    /// the length it is given: twice as long, at most `limit` + [`READ_ROOM`]. A buffer of that
    /// length never grows.
    pub fn new(buffer: B, limit: usize, grow: G) -> Self {
        Self { buffer, grow, limit: limit.max(1), groups: false, start: 0, end: 0, searched: 0 }
    }

    /// Hands out as many complete lines together as were read and have at most [`GROUP_LIMIT`] bytes. A longer line is
    /// handed out as before.
    #[must_use]
    pub fn in_groups(mut self, groups: bool) -> Self {
        self.groups = groups;
        self
    }

    /// Reads once. All complete pieces are to be taken before.
    ///
    /// # Errors
    ///
    /// See [`InputError`]; what was read before stays.
    pub fn fill(&mut self, input: impl AsFd) -> Result<Filled, InputError> {
        self.make_room()?;
        let room = &mut self.buffer.as_mut()[self.end..];
        if room.is_empty() {
            // read(2) of nothing would look like the end of the input.
            return Err(InputError::Full);
        }
        loop {
            match nix::unistd::read(&input, room) {
                Ok(0) => return Ok(Filled::Eof),
                Ok(n) => {
                    self.end += n;
                    return Ok(Filled::Bytes(n));
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Filled::WouldBlock),
                Err(error) => return Err(InputError::Read(error.into())),
            }
        }
    }

    /// The next complete piece. Its bytes are wiped when it is dropped.
    pub fn next_piece(&mut self) -> Option<Piece<'_>> {
        let (range, ends_line) = self.take_complete()?;
        Some(Piece { bytes: &mut self.buffer.as_mut()[range], ends_line })
    }

    /// As [`next_piece`](Self::next_piece), and at last what is left without a newline: for the end
    /// of the input, or when no more is to be waited for.
    pub fn rest(&mut self) -> Option<Piece<'_>> {
        let (range, ends_line) = self.take_complete().or_else(|| self.take_partial())?;
        Some(Piece { bytes: &mut self.buffer.as_mut()[range], ends_line })
    }

    /// The piece that is next: for [`rest`](Self::rest) if the input has `ended`, else for [`next_piece`](Self::next_piece).
    /// What was searched once is not searched again.
    pub fn peek_piece(&mut self, ended: bool) -> Option<&[u8]> {
        let stop = match self.complete() {
            Some((stop, _)) => stop,
            None => (ended && self.start < self.end).then_some(self.end)?,
        };
        Some(&self.buffer.as_ref()[self.start..stop])
    }

    fn take_complete(&mut self) -> Option<(Range<usize>, bool)> {
        let (stop, ends_line) = self.complete()?;
        Some((self.take_to(stop), ends_line))
    }

    /// Where the next complete piece stops, and whether with a newline.
    fn complete(&mut self) -> Option<(usize, bool)> {
        let reach = self.end.min(self.start.saturating_add(self.limit));
        let from = self.searched.min(reach);
        match memchr(b'\n', &self.buffer.as_ref()[from..reach]) {
            Some(at) => {
                // It is found at once the next time.
                self.searched = from + at;
                let stop = from + at + 1;
                let group = stop..self.end.min(self.start.saturating_add(self.limit.min(GROUP_LIMIT))).max(stop);
                let more = if self.groups { memrchr(b'\n', &self.buffer.as_ref()[group]) } else { None };
                Some((more.map_or(stop, |at| stop + at + 1), true))
            }
            None => {
                self.searched = self.searched.max(reach);
                (reach - self.start == self.limit).then_some((reach, false))
            }
        }
    }

    fn take_partial(&mut self) -> Option<(Range<usize>, bool)> {
        (self.start < self.end).then(|| (self.take_to(self.end), false))
    }

    fn take_to(&mut self, stop: usize) -> Range<usize> {
        let range = self.start..stop;
        self.start = stop;
        self.searched = stop;
        range
    }

    fn make_room(&mut self) -> Result<(), InputError> {
        self.move_to_front();
        let len = self.buffer.as_ref().len();
        let full = self.limit.saturating_add(READ_ROOM);
        // Doubling, so that a long line is copied a constant number of times.
        if len - self.end <= self.end && len < full {
            self.replace(len.saturating_mul(2).max(READ_ROOM).min(full))
        } else {
            Ok(())
        }
    }

    /// Moves what was not taken to the front. Where pieces were taken one by one it is the start of
    /// one line, so each byte is moved at most once.
    fn move_to_front(&mut self) {
        if self.start > 0 {
            let (start, end) = (self.start, self.end);
            let buffer = self.buffer.as_mut();
            buffer.copy_within(start..end, 0);
            wipe(&mut buffer[end - start..end]);
            self.searched -= start;
            self.end -= start;
            self.start = 0;
        }
    }

    /// Takes a buffer of `len` bytes for the one there is; `start` must be 0.
    fn replace(&mut self, len: usize) -> Result<(), InputError> {
        let grown = (self.grow)(len).and_then(|buffer| match buffer.as_ref().len() {
            got if got < len => Err(io::ErrorKind::OutOfMemory.into()),
            _ => Ok(buffer),
        });
        match grown {
            Ok(mut buffer) => {
                buffer.as_mut()[..self.end].copy_from_slice(&self.buffer.as_ref()[..self.end]);
                wipe(&mut self.buffer.as_mut()[..self.end]);
                self.buffer = buffer;
                Ok(())
            }
            Err(source) => {
                // With pieces of half the buffer a partial line never asks for more again.
                self.limit = self.limit.min(self.buffer.as_ref().len() / 2).max(1);
                Err(InputError::Grow { len: self.limit, source })
            }
        }
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, G> Drop for LineReader<B, G> {
    fn drop(&mut self) {
        wipe(&mut self.buffer.as_mut()[..self.end]);
    }
}

/// Says nothing of the input.
impl<B: AsRef<[u8]> + AsMut<[u8]>, G> fmt::Debug for LineReader<B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineReader")
            .field("buffer", &self.buffer.as_ref().len())
            .field("limit", &self.limit)
            .field("pending", &(self.end - self.start))
            .finish_non_exhaustive()
    }
}

/// A line or a part of one; its bytes are wiped when it is dropped.
pub struct Piece<'a> {
    bytes: &'a mut [u8],
    ends_line: bool,
}

impl Piece<'_> {
    /// Whether the last byte is a newline; else the line goes on in the next piece, or the input
    /// ended without one.
    pub fn ends_line(&self) -> bool {
        self.ends_line
    }
}

impl Deref for Piece<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        wipe(self.bytes);
    }
}

/// Says nothing of the content.
impl fmt::Debug for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece").field("len", &self.bytes.len()).field("ends_line", &self.ends_line).finish_non_exhaustive()
    }
}

/// As `Zeroize` for slices, which writes byte by byte, but at the speed of memset.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

#[cfg(test)]
mod tests;
