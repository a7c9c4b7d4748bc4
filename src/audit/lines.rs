//! Whole lines out of records, which hold one line, a piece of one, or several.
//!
//! Promises: the lines of a writer are those that it was given, whatever stands between their pieces (`docs/format.md`, 3.1). Memory
//! is bounded: of a line longer than [`MAX_LINE`], and where too many lines are begun at once, the rest is left out, and that is told
//! with the line.
//! Not promised: that a line which is not in its place is whole; nobody knows where it goes on.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::Timestamp;
use memchr::{memchr, memchr_iter};

use super::place::Place;
use super::session::Line;
use super::verify::LogName;
use crate::control::{StreamId, WriterId};

/// A line has so many bytes at most.
pub const MAX_LINE: usize = 16 << 20;
/// Lines that are begun have so many bytes at most, all together.
const MAX_BEGUN: usize = 64 << 20;
/// What one of them takes beside its bytes and names.
const BEGUN: usize = 256;

/// A line of a log.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// Its bytes without its newline.
    pub text: &'a [u8],
    /// How many lines end before it in the record that it begins in.
    pub part: u32,
    /// More than this was sealed of it.
    pub cut: bool,
    /// When its first record was sealed: the record's date, or, in a format that has none (age), when its epoch was claimed,
    /// which is ten minutes before at most.
    pub sealed: Option<Timestamp>,
    /// Where its first record stands and whose it is; `None` where that is not in its place.
    pub place: Option<(Place, LogName<'a>)>,
}

/// A writer of a stream; where it is not known, what an epoch's writer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    Writer(usize, WriterId),
    Epoch(usize, u64),
}

/// A line of which there are more pieces to come.
struct Begun {
    text: Vec<u8>,
    part: u32,
    cut: bool,
    sealed: Option<Timestamp>,
    place: Place,
    stream: StreamId,
    host: String,
    log: String,
}

impl Begun {
    fn line(&self) -> LogLine<'_> {
        let name = LogName { stream: self.stream, host: &self.host, log: &self.log };
        LogLine { text: &self.text, part: self.part, cut: self.cut, sealed: self.sealed, place: Some((self.place, name)) }
    }

    fn size(&self) -> usize {
        self.text.len() + self.host.len() + self.log.len() + BEGUN
    }
}

/// Puts lines together.
#[derive(Default)]
pub struct Lines {
    begun: HashMap<Of, Begun>,
    /// What is in them.
    size: usize,
    /// How many lines were cut.
    cut: u64,
}

impl Lines {
    /// Takes what a record holds, and calls `each` with every line that ends in it.
    pub fn take<E>(&mut self, line: &Line<'_>, mut each: impl FnMut(&LogLine<'_>) -> Result<(), E>) -> Result<(), E> {
        let dated = line.sealed.and_then(|date| Timestamp::from_second(date.into()).ok());
        let sealed = dated.or(line.claimed);
        let (mut rest, mut part) = (line.body, 0);
        let of = line.place.map(|(place, _)| of(place, line.writer));
        if let (false, Some(of)) = (self.begun.is_empty(), of)
            && let Some(mut begun) = self.begun.remove(&of)
        {
            self.size -= begun.size();
            let end = memchr(b'\n', rest);
            self.lengthen(&mut begun, &rest[..end.unwrap_or(rest.len())]);
            let Some(end) = end else {
                self.size += begun.size();
                self.begun.insert(of, begun);
                return Ok(());
            };
            self.cut += u64::from(begun.cut);
            each(&begun.line())?;
            (rest, part) = (&rest[end + 1..], 1);
        }
        let mut from = 0;
        for end in memchr_iter(b'\n', rest) {
            each(&LogLine { text: &rest[from..end], part, cut: false, sealed, place: line.place })?;
            (from, part) = (end + 1, part + 1);
        }
        let text = &rest[from..];
        if text.is_empty() {
            return Ok(());
        }
        let (Some((place, name)), Some(of)) = (line.place, of) else {
            return each(&LogLine { text, part, cut: false, sealed, place: None });
        };
        let (host, log) = (name.host.to_owned(), name.log.to_owned());
        let mut begun = Begun { text: Vec::new(), part, cut: false, sealed, place, stream: name.stream, host, log };
        if self.size + begun.size() > MAX_BEGUN {
            self.cut += 1;
            return each(&LogLine { text, part, cut: true, sealed, place: line.place });
        }
        self.lengthen(&mut begun, text);
        self.size += begun.size();
        self.begun.insert(of, begun);
        Ok(())
    }

    /// A writer's line ends here, whether it has a newline or not.
    pub fn end<E>(&mut self, place: Place, writer: WriterId, each: impl FnMut(&LogLine<'_>) -> Result<(), E>) -> Result<(), E> {
        let by_writer = self.begun.entry(of(place, Some(writer)));
        let begun = match by_writer {
            Entry::Occupied(begun) => Some(begun.remove()),
            Entry::Vacant(_) => self.begun.remove(&of(place, None)),
        };
        self.give_out(begun, each)
    }

    /// All lines end here.
    pub fn finish<E>(&mut self, each: impl FnMut(&LogLine<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut begun: Vec<_> = std::mem::take(&mut self.begun).into_values().collect();
        begun.sort_by_key(|begun| begun.place);
        self.give_out(begun, each)
    }

    /// How many lines were longer than what was given out of them.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    fn give_out<E>(
        &mut self,
        begun: impl IntoIterator<Item = Begun>,
        mut each: impl FnMut(&LogLine<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for begun in begun {
            self.size -= begun.size();
            self.cut += u64::from(begun.cut);
            each(&begun.line())?;
        }
        Ok(())
    }

    fn lengthen(&self, begun: &mut Begun, text: &[u8]) {
        let room = MAX_BEGUN.saturating_sub(self.size + begun.size()).min(MAX_LINE - begun.text.len());
        begun.cut |= text.len() > room;
        begun.text.extend_from_slice(&text[..text.len().min(room)]);
    }
}

fn of(place: Place, writer: Option<WriterId>) -> Of {
    writer.map_or(Of::Epoch(place.stream, place.epoch), |writer| Of::Writer(place.stream, writer))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::control::Hex;

    /// What comes of records, each with its writer's number.
    fn whole(lines: &mut Lines, records: &[(u8, &[u8])]) -> Vec<(Vec<u8>, u32, bool)> {
        let mut got = Vec::new();
        for (slot, (writer, body)) in records.iter().enumerate() {
            let place = Place { stream: 0, epoch: u64::from(*writer), slot: slot as u32 };
            let name = LogName { stream: Hex([0; 16]), host: "host", log: "log" };
            let (writer, place) = (Some(Hex([*writer; 8])), Some((place, name)));
            let line = Line { body, sealed: Some(7), place, writer, claimed: None };
            let taken: Result<(), Infallible> = lines.take(&line, |line| {
                got.push((line.text.to_vec(), line.part, line.cut));
                Ok(())
            });
            taken.unwrap();
        }
        got
    }

    fn finished(lines: &mut Lines) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        let done: Result<(), Infallible> = lines.finish(|line| {
            got.push(line.text.to_vec());
            Ok(())
        });
        done.unwrap();
        got
    }

    #[test]
    fn groups_are_taken_apart_and_pieces_put_together() {
        let mut lines = Lines::default();
        let got = whole(&mut lines, &[(1, b"a\n\nb\n"), (1, b"lo"), (2, b"other\n"), (1, b"ng"), (2, b"x"), (1, b" line\n")]);
        let expected: [(&[u8], u32); 5] = [(b"a", 0), (b"", 1), (b"b", 2), (b"other", 0), (b"long line", 0)];
        assert_eq!(got, expected.map(|(text, part)| (text.to_vec(), part, false)));
        assert_eq!(finished(&mut lines), [b"x"]);
        assert_eq!((lines.size, lines.cut()), (0, 0));
    }

    #[test]
    fn a_line_ends_with_its_writers_record_of_it() {
        let mut lines = Lines::default();
        assert_eq!(whole(&mut lines, &[(1, b"begun"), (2, b"other")]), []);
        let mut got = Vec::new();
        let ended: Result<(), Infallible> = lines.end(Place { stream: 0, epoch: 9, slot: 0 }, Hex([1; 8]), |line| {
            got.push(line.text.to_vec());
            Ok(())
        });
        ended.unwrap();
        assert_eq!((got, finished(&mut lines)), (vec![b"begun".to_vec()], vec![b"other".to_vec()]));
    }

    #[test]
    fn what_is_too_long_is_cut_and_said_to_be() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 1 << 20];
        let mut records: Vec<(u8, &[u8])> = vec![(1, &piece); 17];
        records.push((1, b"end\nnext\n"));
        let got = whole(&mut lines, &records);
        assert_eq!((got[0].0.len(), got[0].2), (MAX_LINE, true));
        assert_eq!(got[1], (b"next".to_vec(), 1, false));
        // Many writers that never end theirs.
        let endless: Vec<(u8, &[u8])> = (0..=200).map(|writer| (writer, &piece[..])).collect();
        let given = whole(&mut lines, &endless).len();
        assert!(lines.size <= MAX_BEGUN && given > 130, "{} {given}", lines.size);
        assert_eq!(finished(&mut lines).len() + given, 201);
    }
}
