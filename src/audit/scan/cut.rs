//! Where in the bytes of a file candidates begin and end, by their framing and packet headers alone.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::ops::Range;

use super::{MAX_PKESKS, Why};
use crate::audit::heads::{self, Heads};
use crate::record::openpgp::{Malformed, Message};
use crate::record::{Framing, framing};

/// Why no record can be cut.
pub enum Cut {
    /// It has not the shape of one.
    Malformed(Malformed),
    /// So many bytes at the beginning are of another, torn record.
    Repeated(usize),
}

/// Length of the record that `bytes` begin with, as far as its packet headers say. `latest` are the PKESK packets of the
/// one before, and then its own.
pub fn cut_record(bytes: &[u8], latest: &mut Vec<u8>) -> Result<usize, Cut> {
    if let Some(message) = Message::parse_behind(bytes, latest) {
        return Ok(message.len);
    }
    let message = Message::parse(bytes).map_err(Cut::Malformed)?;
    if message.pkesks.len() > MAX_PKESKS {
        return Err(Cut::Malformed(Malformed::Long));
    }
    match heads::repeated(message.pkesks) {
        Some(len) => Err(Cut::Repeated(len)),
        None => {
            latest.clear();
            latest.extend_from_slice(message.pkesks);
            Ok(message.len)
        }
    }
}

/// What stands in framed candidates.
pub type Unframed = Vec<Option<Result<Range<usize>, Why>>>;

/// The candidates that were cut from `bytes`, without framing, and where they stand then; nothing for an empty line.
pub fn unframe<'b>(bytes: &'b [u8], cut: &[Range<usize>], framed: Framing) -> (Cow<'b, [u8]>, Unframed) {
    if framed == Framing::Binary {
        return (Cow::Borrowed(bytes), cut.iter().map(|range| Some(Ok(range.clone()))).collect());
    }
    let (mut all, mut record) = (Vec::with_capacity(bytes.len() / 4 * 3), Vec::new());
    let ranges = cut.iter().map(|range| {
        let candidate = &bytes[range.clone()];
        (!candidate.is_empty()).then(|| {
            let start = all.len();
            if !framing::read_line(candidate, &mut record) {
                return Err(Why::NotARecord);
            }
            all.extend_from_slice(&record);
            Ok(start..all.len())
        })
    });
    let ranges = ranges.collect();
    (Cow::Owned(all), ranges)
}

/// How many characters at the beginning of `text` are whole groups of base64.
pub fn encoded_len(text: &[u8]) -> usize {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = text.iter().take_while(|byte| digit(byte)).count();
    let padding = text[digits..].iter().take(2).take_while(|&&byte| byte == b'=').count();
    (digits + padding) / 4 * 4
}

/// Whether it begins as records do: with a known head, or in their shape.
pub fn looks_like_record(record: &[u8], heads: &Heads) -> bool {
    heads.at(record) || Message::parse(record).is_ok()
}

/// Whether a line that ends too early could be the beginning of a record.
pub fn begins_text(text: &[u8]) -> bool {
    let begin = beginning(text);
    heads::begins(&begin) || (begin.is_empty() && text.len() < 4)
}

/// As much of the record in a line of base64 as a head takes. Where the line is cut, the last group may be missing.
pub fn beginning(text: &[u8]) -> Vec<u8> {
    let (mut beginning, text) = (Vec::new(), &text[..text.len().min(64)]);
    framing::read_line(&text[..text.len() / 4 * 4], &mut beginning);
    beginning
}

/// By the first known head, else by whether the bytes are text. `None` for nothing but empty lines.
pub fn detect(bytes: &[u8], heads: &Heads) -> Option<Framing> {
    if bytes.trim_ascii().is_empty() {
        return None;
    }
    match (heads.next(bytes, 0, None), heads.first_text(bytes)) {
        (Some(binary), text) if text.is_none_or(|text| binary < text) => return Some(Framing::Binary),
        (_, Some(_)) => return Some(Framing::Base64),
        _ => {}
    }
    let sample = &bytes[..bytes.len().min(4096)];
    let text = sample.iter().filter(|byte| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte)).count();
    Some(if text * 8 >= sample.len() * 7 { Framing::Base64 } else { Framing::Binary })
}
