//! Lines from a pipe, however the writes cut them: the pieces, joined, are the input.
#![no_main]

use std::fs::File;
use std::io::{PipeWriter, Write};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sealedlog::input::{Filled, InputError, LineReader};

#[derive(Arbitrary, Debug)]
struct Input {
    limit: u16,
    buffer: u8,
    grows: bool,
    writes: Vec<Vec<u8>>,
}

fuzz_target!(|input: Input| {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut writer: Option<PipeWriter> = Some(writer);
    let _: Option<File> = None;
    let limit = usize::from(input.limit % 512);
    let grows = input.grows;
    let grow = move |len| if grows { Ok(vec![0; len]) } else { Err(std::io::ErrorKind::OutOfMemory.into()) };
    let mut lines = LineReader::new(vec![0; 8 + usize::from(input.buffer)], limit, grow);
    let mut writes = input.writes.iter().map(|text| &text[..text.len().min(4096)]);
    let expected: Vec<u8> = writes.clone().flatten().copied().collect();
    let (mut joined, mut waiting) = (Vec::new(), 0);
    let mut is_whole = true;
    let mut take = |piece: &[u8], ends_line: bool| {
        assert!(!piece.is_empty() && piece.len() <= limit.max(1), "a piece of {} bytes", piece.len());
        assert_eq!(ends_line, piece.ends_with(b"\n"));
        assert!(!piece[..piece.len() - 1].contains(&b'\n'));
        joined.extend_from_slice(piece);
    };
    loop {
        // A pipe that is empty would be waited for.
        while waiting == 0 && writer.is_some() {
            match writes.next() {
                Some(text) => {
                    writer.as_mut().expect("still open").write_all(text).expect("a pipe holds 64 KiB");
                    waiting = text.len();
                }
                None => writer = None,
            }
        }
        match lines.fill(&reader) {
            Ok(Filled::Bytes(n)) => waiting -= n,
            Ok(Filled::Eof) => break,
            Ok(Filled::WouldBlock) => unreachable!("the pipe blocks"),
            Err(InputError::Grow { len, .. }) => assert!(!grows && len <= limit.max(1)),
            Err(error) => panic!("{error}"),
        }
        while let Some(peeked) = lines.peek_piece(false).map(<[u8]>::to_vec) {
            let piece = lines.next_piece().expect("it was seen");
            is_whole &= peeked == *piece;
            take(&piece, piece.ends_line());
        }
    }
    while let Some(piece) = lines.rest() {
        take(&piece, piece.ends_line());
    }
    assert!(is_whole);
    assert_eq!(joined, expected);
});
