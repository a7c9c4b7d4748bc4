//! How records follow each other: as they are, or one line of base64 each.
#![forbid(unsafe_code)]

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Framing;

/// Appends one record in its framing.
pub fn write(framing: Framing, record: &[u8], out: &mut Vec<u8>) {
    match framing {
        Framing::Binary => out.extend_from_slice(record),
        Framing::Base64 => {
            // With room for what comes after it, too: the other only makes as much as it needs.
            out.reserve(record.len().div_ceil(3) * 4 + 1);
            base64_simd::STANDARD.encode_append(record, out);
            out.push(b'\n');
        }
    }
}

/// Undoes the base64 framing of one line, without its newline, into `record`, which it replaces. Whether it was base64.
pub fn read_line(line: &[u8], record: &mut Vec<u8>) -> bool {
    record.clear();
    STANDARD.decode_vec(line.strip_suffix(b"\r").unwrap_or(line), record).is_ok()
}
