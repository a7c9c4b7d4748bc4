use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::host::memory::LockedBuffer;

/// A buffer that counts, when it is dropped, the bytes that were not wiped.
struct Watched {
    bytes: Vec<u8>,
    left: Rc<Cell<usize>>,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Watched {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let left = self.bytes.iter().filter(|byte| **byte != 0).count();
        self.left.set(self.left.get() + left);
    }
}

fn pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    (reader, writer)
}

fn outside_is_wiped<B: AsRef<[u8]> + AsMut<[u8]>, G>(reader: &LineReader<B, G>) -> bool {
    let bytes = reader.buffer.as_ref();
    let outside = bytes[..reader.start].iter().chain(&bytes[reader.end..]);
    outside.copied().all(|byte| byte == 0)
}

/// What the pieces must be, however the input comes.
fn expected(input: &[u8], limit: usize) -> Vec<(Vec<u8>, bool)> {
    input
        .split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| line.chunks(limit))
        .map(|piece| (piece.to_vec(), piece.last() == Some(&b'\n')))
        .collect()
}

/// What groups must be, where all is read at once: pieces that end a line joined to the ones behind them, as long as all of
/// them have at most `limit` bytes.
fn grouped(pieces: Vec<(Vec<u8>, bool)>, limit: usize) -> Vec<(Vec<u8>, bool)> {
    let mut groups: Vec<(Vec<u8>, bool)> = Vec::new();
    for (piece, ends_line) in pieces {
        match groups.last_mut() {
            Some((group, true)) if ends_line && group.len() + piece.len() <= limit => group.extend(piece),
            _ => groups.push((piece, ends_line)),
        }
    }
    groups
}

/// Feeds `input`, cut into writes of the given lengths, and returns the pieces; checks the memory
/// at each step.
fn pieces_of<B, G>(reader: &mut LineReader<B, G>, input: &[u8], cuts: &[usize]) -> Vec<(Vec<u8>, bool)>
where
    B: AsRef<[u8]> + AsMut<[u8]>,
    G: FnMut(usize) -> io::Result<B>,
{
    let (pipe, writer) = pipe();
    let mut writer = Some(writer);
    let mut cuts = cuts.iter().copied().cycle();
    let mut left = input;
    let mut pieces = Vec::new();
    loop {
        match reader.fill(&pipe) {
            Ok(Filled::Eof) => break,
            Ok(Filled::WouldBlock) => match &mut writer {
                Some(open) if !left.is_empty() => {
                    let (now, later) = left.split_at(cuts.next().unwrap().min(left.len()));
                    open.write_all(now).unwrap();
                    left = later;
                }
                _ => writer = None,
            },
            Ok(Filled::Bytes(n)) => assert!(n > 0),
            Err(InputError::Grow { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        while let Some(piece) = reader.next_piece() {
            pieces.push((piece.to_vec(), piece.ends_line()));
        }
        assert!(outside_is_wiped(reader));
        assert_eq!(reader.searched, reader.end, "nothing is searched twice");
    }
    while let Some(piece) = reader.rest() {
        pieces.push((piece.to_vec(), piece.ends_line()));
    }
    assert!(reader.buffer.as_ref().iter().all(|byte| *byte == 0));
    pieces
}

/// Bytes of which about one in `often` is a newline.
fn log(often: u8, len: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(move |byte| if byte % often == 0 { b'\n' } else { byte });
    vec(byte, 0..len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pieces_are_the_lines_whatever_the_reads(
        input in prop_oneof![log(2, 300), log(20, 5000), log(255, 20_000)],
        cuts in vec(1_usize..5000, 1..8),
        limit in prop_oneof![1_usize..10, 1_usize..3000, Just(PIECE_LIMIT)],
        len in prop_oneof![0_usize..20, 0_usize..3000],
    ) {
        let left = Rc::new(Cell::new(0));
        let new = |len| Watched { bytes: vec![0; len], left: Rc::clone(&left) };
        let mut reader = LineReader::new(new(len), limit, |len| Ok(new(len)));
        let pieces = pieces_of(&mut reader, &input, &cuts);
        prop_assert_eq!(pieces, expected(&input, limit));
        drop(reader);
        prop_assert_eq!(left.get(), 0, "bytes left in buffers that were given up");
    }

    #[test]
    fn lines_are_handed_out_together(
        input in prop_oneof![log(2, 300), log(20, 5000), log(255, 20_000)],
        cuts in vec(1_usize..5000, 1..8),
        limit in prop_oneof![1_usize..10, 1_usize..3000, Just(PIECE_LIMIT)],
    ) {
        let mut reader = LineReader::new(vec![0; 100_000], limit, |len| Ok(vec![0; len])).in_groups(true);
        let at_once = pieces_of(&mut reader, &input, &[input.len().max(1)]);
        prop_assert_eq!(at_once, grouped(expected(&input, limit), limit.min(GROUP_LIMIT)));
        let mut reader = LineReader::new(vec![0; 100], limit, |len| Ok(vec![0; len])).in_groups(true);
        let mut joined = Vec::new();
        for (bytes, ends_line) in pieces_of(&mut reader, &input, &cuts) {
            prop_assert_eq!(bytes.last() == Some(&b'\n'), ends_line);
            prop_assert!(bytes.len() <= limit);
            joined.extend(bytes);
        }
        prop_assert!(joined == input);
    }

    #[test]
    fn nothing_is_lost_where_no_larger_buffer_is_to_be_had(
        input in log(255, 20_000),
        cuts in vec(1_usize..5000, 1..8),
        len in 1_usize..3000,
        grows in 0_usize..2,
    ) {
        let mut grows = grows;
        let mut reader = LineReader::new(vec![0; len], PIECE_LIMIT, |len| {
            grows = grows.checked_sub(1).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(vec![0; len])
        });
        let pieces = pieces_of(&mut reader, &input, &cuts);
        let joined: Vec<u8> = pieces.iter().flat_map(|(bytes, _)| bytes).copied().collect();
        prop_assert!(joined == input);
        for (bytes, ends_line) in pieces {
            prop_assert_eq!(bytes.last() == Some(&b'\n'), ends_line);
            prop_assert!(!bytes[..bytes.len() - 1].contains(&b'\n'));
        }
    }
}

#[test]
fn a_line_of_megabytes_in_locked_memory() {
    let mut input = vec![b'x'; 2 * PIECE_LIMIT + 1000];
    input.extend(b"\nshort\n\nno newline");
    let lens = RefCell::new(Vec::new());
    let mut reader = LineReader::new(LockedBuffer::new(READ_ROOM).unwrap(), PIECE_LIMIT, |len| {
        lens.borrow_mut().push(len);
        LockedBuffer::new(len)
    });
    let pieces = pieces_of(&mut reader, &input, &[60_000]);
    assert!(pieces == expected(&input, PIECE_LIMIT));
    let sizes: Vec<usize> = pieces.iter().map(|(bytes, _)| bytes.len()).collect();
    assert_eq!(sizes, [PIECE_LIMIT, PIECE_LIMIT, 1001, 6, 1, 10]);
    let last = PIECE_LIMIT + READ_ROOM;
    let doubled = [128 << 10, 256 << 10, 512 << 10, 1 << 20, last];
    assert_eq!(*lens.borrow(), doubled, "twice as long each time, and never again at the limit");
}

#[test]
fn a_piece_is_wiped_as_soon_as_it_is_dropped() {
    let (pipe, mut writer) = pipe();
    let mut reader = LineReader::new(vec![0; 100], 50, |len| Ok(vec![0; len]));
    writer.write_all(b"first\nsecond\npart").unwrap();
    assert_eq!(reader.fill(&pipe).unwrap(), Filled::Bytes(17));
    let piece = reader.next_piece().unwrap();
    assert!(!format!("{piece:?}").contains("first"));
    drop(piece);
    assert_eq!(&reader.buffer[..17], b"\0\0\0\0\0\0second\npart");
    assert_eq!(&*reader.next_piece().unwrap(), b"second\n");
    assert!(reader.next_piece().is_none());
    assert_eq!(reader.fill(&pipe).unwrap(), Filled::WouldBlock);
    assert_eq!(&reader.buffer[..17], b"part\0\0\0\0\0\0\0\0\0\0\0\0\0", "moved, and wiped behind");
    writer.write_all(b"ial\n").unwrap();
    assert_eq!(reader.fill(&pipe).unwrap(), Filled::Bytes(4));
    assert_eq!(&*reader.rest().unwrap(), b"partial\n");
    assert!(reader.rest().is_none());
    drop(writer);
    assert_eq!(reader.fill(&pipe).unwrap(), Filled::Eof);
}

#[test]
fn a_forgotten_piece_is_wiped_by_the_next_fill() {
    let (pipe, mut writer) = pipe();
    let mut reader = LineReader::new(vec![0; 100], 50, |len| Ok(vec![0; len]));
    writer.write_all(b"forgotten\nx").unwrap();
    reader.fill(&pipe).unwrap();
    std::mem::forget(reader.next_piece());
    reader.fill(&pipe).unwrap();
    assert!(reader.buffer.starts_with(b"x\0") && outside_is_wiped(&reader));
}

#[test]
fn what_was_not_taken_is_wiped_with_the_reader() {
    let (pipe, mut writer) = pipe();
    let left = Rc::new(Cell::new(0));
    let new = |len| Watched { bytes: vec![0; len], left: Rc::clone(&left) };
    let mut reader = LineReader::new(new(100), 50, |len| Ok(new(len)));
    writer.write_all(b"line\npart").unwrap();
    reader.fill(&pipe).unwrap();
    drop(reader);
    assert_eq!(left.get(), 0);
}

#[test]
fn a_full_buffer_and_a_failing_read_are_told_and_lose_nothing() {
    let (pipe, mut writer) = pipe();
    let len = 8 + READ_ROOM;
    let mut reader = LineReader::new(vec![0; len], 8, |_| unreachable!("it has its full length"));
    let lines = b"1\n".repeat(len / 2);
    writer.write_all(&lines[..READ_ROOM]).unwrap();
    reader.fill(&pipe).unwrap();
    writer.write_all(&lines[READ_ROOM..]).unwrap();
    reader.fill(&pipe).unwrap();
    assert!(matches!(reader.fill(&pipe), Err(InputError::Full)));
    let folder = std::fs::File::open("/").unwrap();
    assert_eq!(&*reader.next_piece().unwrap(), b"1\n");
    let error = reader.fill(&folder).unwrap_err();
    assert!(matches!(&error, InputError::Read(source) if source.raw_os_error() == Some(libc::EISDIR)));
    let mut pieces = 1;
    while reader.next_piece().is_some() {
        pieces += 1;
    }
    assert_eq!(pieces, len / 2);
}

#[test]
fn a_look_gives_what_is_taken_next_and_searches_once() {
    let (pipe, mut writer) = pipe();
    let mut reader = LineReader::new(vec![0; 64], 8, |len| Ok(vec![0; len]));
    assert_eq!(reader.peek_piece(true), None);
    for byte in b"abc" {
        writer.write_all(&[*byte]).unwrap();
        reader.fill(&pipe).unwrap();
        assert_eq!(reader.peek_piece(false), None);
        assert_eq!(reader.searched, reader.end);
    }
    writer.write_all(b"d\nlonger than eight\nx").unwrap();
    reader.fill(&pipe).unwrap();
    for (look, expected) in [(false, &b"abcd\n"[..]), (true, b"longer t"), (false, b"han eigh"), (true, b"t\n")] {
        assert_eq!(reader.peek_piece(look), Some(expected));
        assert_eq!(reader.peek_piece(!look), Some(expected));
        assert_eq!(&*reader.next_piece().unwrap(), expected);
    }
    assert_eq!(reader.peek_piece(false), None);
    assert_eq!(reader.peek_piece(true), Some(&b"x"[..]));
    assert_eq!(&*reader.rest().unwrap(), b"x");
    assert_eq!(reader.peek_piece(true), None);
}
