//! Whether a file ends with a whole record. Looks only at its end: one record's length, and a little more.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem;

use crate::record::openpgp::{Message, PKESK, PKESK_HEADER, read_header};
use crate::record::{Framing, MAX_RECORD};

/// How many bytes at the end of a file of this length are no whole record.
pub fn torn(file: &File, length: u64, framing: Framing, marks: &[Vec<u8>]) -> io::Result<u64> {
    let window = match framing {
        Framing::Binary => MAX_RECORD + 64 * 1024,
        Framing::Base64 => MAX_RECORD / 3 * 4 + 64 * 1024,
    };
    let mut end = vec![0; usize::try_from(length).map_or(window, |length| length.min(window))];
    let from = length - end.len() as u64;
    file.read_exact_at(&mut end, from)?;
    let torn = match framing {
        Framing::Base64 => memchr::memrchr(b'\n', &end).map_or(end.len(), |newline| end.len() - newline - 1),
        Framing::Binary => torn_binary(&end, end.len() as u64 == length, marks),
    };
    Ok(torn as u64)
}

fn torn_binary(end: &[u8], is_whole_file: bool, marks: &[Vec<u8>]) -> usize {
    let mut at = if is_whole_file { 0 } else { next_head(end, 0, marks).unwrap_or(end.len()) };
    // Where the record began whose packets stand at `at`.
    let mut begin = at;
    while at < end.len() {
        match Message::parse(&end[at..]) {
            // What was torn claims its whole length, and so a part of what was written behind it.
            Ok(message) => {
                at = hidden_head(end, at, &message, marks).unwrap_or(at + message.len);
                begin = at;
            }
            Err(_) => match next_head(end, at + 1, marks) {
                Some(head) => {
                    if !is_pkesk(&end[at..head]) {
                        begin = head;
                    }
                    at = head;
                }
                None => return end.len() - begin,
            },
        }
    }
    0
}

/// Whether these bytes are one PKESK packet, so that what stands behind it is of the same record.
fn is_pkesk(bytes: &[u8]) -> bool {
    read_header(bytes).is_ok_and(|(packet, header, body)| packet == PKESK && header + body == bytes.len())
}

/// Where in a message at `at` another record begins: at a PKESK packet for one of our keys that is none of its own.
fn hidden_head(bytes: &[u8], at: usize, message: &Message<'_>, marks: &[Vec<u8>]) -> Option<usize> {
    // A head that begins in it may reach beyond it.
    let longest = marks.iter().map(Vec::len).max()? + 3;
    let (end, mut own) = (at + message.len, at);
    let until = &bytes[..bytes.len().min(end + longest)];
    let mut packets = message.pkesks().map(<[u8]>::len);
    let mut head = next_head(until, at + 1, marks)?;
    while head < end {
        while own < head
            && let Some(len) = packets.next()
        {
            own += len;
        }
        if own != head || own == at + message.pkesks.len() {
            return Some(head);
        }
        head = next_head(until, head + 1, marks)?;
    }
    None
}

/// Where the next PKESK packet for one of our keys begins.
fn next_head(bytes: &[u8], from: usize, marks: &[Vec<u8>]) -> Option<usize> {
    let heads = marks.iter().filter_map(|mark| {
        memmem::find_iter(&bytes[from..], mark).find_map(|found| {
            let body = from + found;
            // The packet's header has two or three octets.
            [2, 3].into_iter().filter_map(|len| body.checked_sub(len)).find(|&head| head >= from && bytes[head] == PKESK_HEADER)
        })
    });
    heads.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::openpgp::{SEIPD, write_header};

    fn record(body: usize) -> Vec<u8> {
        let mut record = Vec::new();
        write_header(PKESK, 6, &mut record);
        record.extend_from_slice(b"\x03MARKER");
        record.truncate(8);
        write_header(SEIPD, body, &mut record);
        record.resize(record.len() + body, 1);
        record
    }

    #[test]
    fn every_cut_of_the_last_record_is_seen() {
        let marks = vec![b"\x03MARK".to_vec()];
        let (first, last) = (record(40), record(300));
        for is_whole_file in [true, false] {
            let whole = [&first[..], &last].concat();
            assert_eq!(torn_binary(&whole, is_whole_file, &marks), 0);
            // Without its first bytes the last record cannot be told from nothing where only a window is seen.
            for cut in 8..last.len() {
                let torn = [&first[..], &last[..cut]].concat();
                assert_eq!(torn_binary(&torn, is_whole_file, &marks), cut, "{cut}");
            }
        }
        assert_eq!(torn_binary(b"nothing that is known", true, &marks), 21);
        let for_two = [&last[..8], &last].concat();
        for cut in 8..for_two.len() {
            assert_eq!(torn_binary(&[&first[..], &for_two[..cut]].concat(), true, &marks), cut, "{cut}");
        }
    }

    #[test]
    fn a_record_behind_a_torn_one_is_whole() {
        let marks = vec![b"\x03MARK".to_vec()];
        let (first, last) = (record(600), record(40));
        for cut in 0..first.len() {
            assert_eq!(torn_binary(&[&first[..cut], &last].concat(), true, &marks), 0, "{cut}");
        }
        // Two keys: the second packet is the record's own.
        let two = [&record(0)[..8], &last].concat();
        assert_eq!(torn_binary(&[&first[..200], &two].concat(), true, &marks), 0);
    }
}
