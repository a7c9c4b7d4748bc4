//! systemd's journal as `journalctl --output=export` tells it (Journal Export Format), made lines of a log.
//!
//! Promises: each entry becomes one line, whatever is in it; memory is bounded by the longest entry that is taken, and what is longer
//! is cut.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::io::{self, BufRead, Read};

use jiff::Timestamp;

/// Longest value of a field that is kept; journald's own limit for a line is less.
const MAX_VALUE: u64 = 1 << 20;
/// The fields that are asked for, beside those that each entry has.
pub const FIELDS: &str = "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_COMM,_HOSTNAME";

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands, for `--after-cursor`.
    pub cursor: String,
    /// As a line of a log, with its newline.
    pub line: Vec<u8>,
}

/// The next entry; nothing at the end.
///
/// # Errors
///
/// What read(2) says; `InvalidData` for what is none of this format, `UnexpectedEof` for an entry that is cut off.
pub fn read_entry(input: &mut impl BufRead) -> io::Result<Option<Entry>> {
    let mut fields = Fields::default();
    loop {
        let mut line = Vec::new();
        if input.by_ref().take(MAX_VALUE).read_until(b'\n', &mut line)? == 0 {
            return if fields.is_empty { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let is_whole = line.pop_if(|byte| *byte == b'\n').is_some();
        if line.is_empty() && is_whole {
            if fields.is_empty {
                continue;
            }
            return Ok(Some(fields.entry()));
        }
        match memchr::memchr(b'=', &line) {
            Some(at) => {
                if !is_whole {
                    skip_line(input)?;
                }
                fields.set(&line[..at], &line[at + 1..]);
            }
            // A value with a newline or other bytes in it: its length in 64 bits, it, and a newline.
            None if is_whole => {
                let mut length = [0; 8];
                input.read_exact(&mut length)?;
                let length = u64::from_le_bytes(length);
                let mut value = Vec::new();
                input.by_ref().take(length.min(MAX_VALUE)).read_to_end(&mut value)?;
                io::copy(&mut input.by_ref().take(length.saturating_sub(MAX_VALUE)), &mut io::sink())?;
                let mut end = [0];
                input.read_exact(&mut end)?;
                if end != *b"\n" {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                fields.set(&line, &value);
            }
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let (found, used) = {
            let bytes = input.fill_buf()?;
            memchr::memchr(b'\n', bytes).map_or((bytes.is_empty(), bytes.len()), |at| (true, at + 1))
        };
        input.consume(used);
        if found {
            return Ok(());
        }
    }
}

struct Fields {
    is_empty: bool,
    cursor: String,
    time: Option<Timestamp>,
    host: Vec<u8>,
    identifier: Vec<u8>,
    program: Vec<u8>,
    syslog_id: Vec<u8>,
    id: Vec<u8>,
    message: Vec<u8>,
}

impl Default for Fields {
    fn default() -> Self {
        let [host, identifier, program, syslog_id, id, message] = [const { Vec::new() }; 6];
        Self { is_empty: true, cursor: String::new(), time: None, host, identifier, program, syslog_id, id, message }
    }
}

impl Fields {
    fn set(&mut self, name: &[u8], value: &[u8]) {
        self.is_empty = false;
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"__CURSOR" => self.cursor = text(),
            b"__REALTIME_TIMESTAMP" => self.time = text().parse().ok().and_then(|time| Timestamp::from_microsecond(time).ok()),
            b"_HOSTNAME" => self.host = value.to_vec(),
            b"SYSLOG_IDENTIFIER" => self.identifier = value.to_vec(),
            b"_COMM" => self.program = value.to_vec(),
            b"SYSLOG_PID" => self.syslog_id = value.to_vec(),
            b"_PID" => self.id = value.to_vec(),
            b"MESSAGE" => self.message = value.to_vec(),
            _ => {}
        }
    }

    /// As rsyslog's file format has it: time (RFC 3339), host, program and process, message.
    fn entry(self) -> Entry {
        let first = |one: Vec<u8>, other: Vec<u8>| if one.is_empty() { other } else { one };
        let (program, id) = (first(self.identifier, self.program), first(self.syslog_id, self.id));
        let mut line = String::new();
        let _ = write!(line, "{:.6} ", self.time.unwrap_or(Timestamp::UNIX_EPOCH));
        let mut line = line.into_bytes();
        push(&mut line, &first(self.host, b"-".to_vec()));
        line.push(b' ');
        push(&mut line, &first(program, b"-".to_vec()));
        if !id.is_empty() {
            line.push(b'[');
            push(&mut line, &id);
            line.push(b']');
        }
        line.extend_from_slice(b": ");
        push(&mut line, &self.message);
        line.push(b'\n');
        Entry { cursor: self.cursor, line }
    }
}

/// Control characters as rsyslog escapes them, so that an entry is one line.
fn push(line: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_control() && byte != b'\t' {
            line.extend_from_slice(format!("#{byte:03o}").as_bytes());
        } else {
            line.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut export: &[u8]) -> io::Result<Vec<(String, String)>> {
        let mut lines = Vec::new();
        while let Some(Entry { cursor, line }) = read_entry(&mut export)? {
            lines.push((cursor, String::from_utf8(line).unwrap()));
        }
        Ok(lines)
    }

    #[test]
    fn entries_become_lines() {
        let text = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1769860800000001\n_HOSTNAME=host\nSYSLOG_IDENTIFIER=sshd\n_COMM=x\n\
            _PID=7\nMESSAGE=a=b\n\n__CURSOR=c\n_COMM=cron\nMESSAGE\n\x05\0\0\0\0\0\0\0a\nb=c\nX=y\n\n";
        let expected = [
            ("s=1;i=2", "2026-01-31T12:00:00.000001Z host sshd[7]: a=b\n"),
            ("c", "1970-01-01T00:00:00.000000Z - cron: a#012b=c\n"),
        ];
        assert_eq!(lines(text).unwrap(), expected.map(|(cursor, line)| (cursor.to_owned(), line.to_owned())));
        assert_eq!(lines(b"\n\n").unwrap(), []);
        assert!(lines(b"__CURSOR=c\nMESSAGE=cut").is_err());
        assert!(lines(b"MESSAGE\n\xff\0\0\0\0\0\0\0abc").is_err());
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = [b"MESSAGE=".to_vec(), vec![b'x'; 3 << 20], b"\n_COMM=c\n\n".to_vec()].concat();
        let found = lines(&text).unwrap();
        assert!(found.len() == 1 && found[0].1.len() < 2 << 20 && found[0].1.contains(" c: xxx"), "{}", found.len());
    }
}
