//! From records to lines: a record holds a line, several, or a piece of a long one.
//!
//! Promises: the pieces of a line are joined within one writer, so that no part of a long line is taken for a line of its own; memory is
//! bounded: of a line no more than [`MAX_LINE`] bytes are looked at, the rest is counted.
#![forbid(unsafe_code)]

use memchr::memchr;

use crate::audit::session::Line;
use crate::control::WriterId;

/// So much of a line is looked at, in bytes. Apache's longest is shorter.
pub const MAX_LINE: usize = 64 * 1024;
/// So many writers may be in the middle of a line at once.
const MAX_OPEN: usize = 64;

/// A line, or what there is of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<'a> {
    /// Its first bytes, without its newline.
    pub head: &'a [u8],
    /// How many it has, with its newline.
    pub length: u64,
    /// When its last piece was sealed, in seconds since 1970.
    pub sealed: Option<u32>,
    /// The number of its stream.
    pub stream: usize,
}

/// Who is in the middle of a line: a writer of a stream, else an epoch of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Author {
    Writer(WriterId),
    Epoch(u64),
}

struct Open {
    stream: usize,
    author: Author,
    head: Vec<u8>,
    length: u64,
    sealed: Option<u32>,
}

/// The lines that have no end yet.
#[derive(Default)]
pub struct Lines {
    open: Vec<Open>,
}

impl Lines {
    /// Takes what a record in its place holds, and gives the lines that end with it.
    pub fn add(&mut self, line: &Line<'_>, give: &mut impl FnMut(Whole<'_>)) {
        let Some((place, _)) = line.place else { return };
        let author = line.writer.map_or(Author::Epoch(place.epoch), Author::Writer);
        let stream = place.stream;
        let mut rest = line.body;
        if let Some(at) = self.open.iter().position(|open| open.stream == stream && open.author == author) {
            let open = &mut self.open[at];
            let end = memchr(b'\n', rest);
            let (piece, behind) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            let room = MAX_LINE - open.head.len();
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            open.head.extend_from_slice(&text[..text.len().min(room)]);
            open.length += piece.len() as u64;
            open.sealed = line.sealed;
            rest = behind;
            if end.is_none() {
                return;
            }
            let Open { head, length, sealed, .. } = self.open.swap_remove(at);
            give(Whole { head: &head, length, sealed, stream });
        }
        let sealed = line.sealed;
        while let Some(end) = memchr(b'\n', rest) {
            give(Whole { head: &rest[..end.min(MAX_LINE)], length: end as u64 + 1, sealed, stream });
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            if self.open.len() == MAX_OPEN {
                Self::end(self.open.remove(0), give);
            }
            let head = rest[..rest.len().min(MAX_LINE)].to_vec();
            self.open.push(Open { stream, author, head, length: rest.len() as u64, sealed });
        }
    }

    /// Gives the lines that never ended.
    pub fn finish(&mut self, give: &mut impl FnMut(Whole<'_>)) {
        for open in self.open.drain(..) {
            Self::end(open, give);
        }
    }

    fn end(open: Open, give: &mut impl FnMut(Whole<'_>)) {
        let Open { head, length, sealed, stream, .. } = open;
        give(Whole { head: &head, length, sealed, stream });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::place::Place;
    use crate::audit::verify::LogName;
    use crate::control::Hex;

    fn run(records: &[(u64, u8, &[u8])]) -> Vec<(Vec<u8>, u64)> {
        let (mut lines, mut given) = (Lines::default(), Vec::new());
        let mut give = |whole: Whole<'_>| given.push((whole.head.to_vec(), whole.length));
        for (epoch, writer, body) in records {
            let place = Place { stream: 0, epoch: *epoch, slot: 1 };
            let name = LogName { stream: Hex([0; 16]), host: "h", log: "l" };
            let writer = (*writer > 0).then_some(Hex([*writer; 8]));
            lines.add(&Line { body, sealed: Some(1), place: Some((place, name)), writer, claimed: None }, &mut give);
        }
        lines.finish(&mut give);
        given
    }

    #[test]
    fn lines_come_out_of_records() {
        let line = |text: &str, length| (text.as_bytes().to_vec(), length);
        assert_eq!(run(&[(0, 1, b"a\n"), (0, 1, b"b\n\nc\n")]), [line("a", 2), line("b", 2), line("", 1), line("c", 2)]);
        // A piece goes on with the same writer, in whatever epoch, and with no other.
        assert_eq!(
            run(&[(0, 1, b"a"), (0, 2, b"x\n"), (1, 1, b"b"), (1, 1, b"c\nd\n"), (2, 2, b"e")]),
            [line("x", 2), line("abc", 4), line("d", 2), line("e", 1)]
        );
        // Where nobody says who wrote them, the epoch does.
        assert_eq!(run(&[(0, 0, b"a"), (1, 0, b"x\n"), (0, 0, b"b\n")]), [line("x", 2), line("ab", 3)]);
    }

    #[test]
    fn long_lines_are_counted_and_cut() {
        let piece = vec![b'x'; 1 << 20];
        let records: Vec<_> = (0..10).map(|_| (0, 1, &piece[..])).chain([(0, 1, &b"end\n"[..])]).collect();
        assert_eq!(run(&records), [(vec![b'x'; MAX_LINE], (10 << 20) + 4)]);
        let many: Vec<_> = (0..200).map(|writer| (writer, 0, &b"never ends"[..])).collect();
        assert_eq!(run(&many).len(), 200);
    }
}
