//! Cutting bytes: what the parsers share.
//!
//! Promises: each function looks at a byte a bounded number of times.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::net::IpAddr;

use memchr::{memchr, memchr_iter, memchr2, memrchr, memrchr_iter};

use super::Severity;

/// As text; what is no UTF-8 becomes U+FFFD.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Digits and nothing else.
pub fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// The digits that something begins with, and the rest.
pub fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    bytes.split_at(end)
}

/// Up to the first space, and behind it.
pub fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    memchr(b' ', bytes).map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + 1..]))
}

/// Up to the last space, and behind it.
pub fn last_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    memrchr(b' ', bytes).map_or((&[], bytes), |at| (&bytes[..at], &bytes[at + 1..]))
}

/// The first place of something short, that is not empty. Lines are short: a searcher that is prepared first costs more.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr_iter(*needle.first()?, bytes).find(|at| bytes[*at..].starts_with(needle))
}

/// The last place of something short.
fn find_last(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memrchr_iter(*needle.first()?, bytes).find(|at| bytes[*at..].starts_with(needle))
}

/// Around the first place of a separator.
pub fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    find(bytes, separator).map(|at| (&bytes[..at], &bytes[at + separator.len()..]))
}

/// Around the last place of a separator.
pub fn split_last<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    find_last(bytes, separator).map(|at| (&bytes[..at], &bytes[at + separator.len()..]))
}

/// What a list of beginnings leaves of something that has one of them, and what belongs to that one.
pub fn strip_any<'a, T: Copy>(bytes: &'a [u8], beginnings: &[(&str, T)]) -> Option<(T, &'a [u8])> {
    beginnings.iter().find_map(|(beginning, belongs)| Some((*belongs, bytes.strip_prefix(beginning.as_bytes())?)))
}

/// An address, in brackets or not, without its zone.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    // The longest, with brackets and the name of an interface.
    if bytes.len() > 64 {
        return None;
    }
    let inner = bytes.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(bytes);
    let inner = inner.strip_prefix(b"IPv6:").unwrap_or(inner);
    let inner = memchr(b'%', inner).map_or(inner, |at| &inner[..at]);
    std::str::from_utf8(inner).ok()?.parse().ok()
}

/// Address and port with a colon between them, IPv6 in brackets or not.
pub fn address_and_port(bytes: &[u8]) -> Option<(IpAddr, i64)> {
    let at = memrchr(b':', bytes)?;
    let port = number(&bytes[at + 1..]).filter(|port| *port <= 65535)?;
    Some((address(&bytes[..at])?, port))
}

/// What stands in the double quotes that something begins with, and what is behind them. A backslash takes a quote with it.
pub fn quoted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some((&bytes[..at], &bytes[at + 1..]));
        }
        at += 2;
    }
}

/// Text without the escapes of Apache's logs (`ap_escape_logitem`): `\"`, `\\`, `\n` and the like, `\xhh`.
pub fn unescape(bytes: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr(b'\\', bytes) else { return text(bytes) };
    let mut plain = bytes[..first].to_vec();
    let mut rest = &bytes[first..];
    while let [byte, behind @ ..] = rest {
        let (byte, used) = match (byte, behind) {
            (b'\\', [b'x', high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, 4),
                _ => (b'\\', 1),
            },
            (b'\\', [escaped, ..]) => match escaped {
                b'"' | b'\\' => (*escaped, 2),
                b'b' => (8, 2),
                b't' => (b'\t', 2),
                b'n' => (b'\n', 2),
                b'v' => (11, 2),
                b'f' => (12, 2),
                b'r' => (b'\r', 2),
                _ => (b'\\', 1),
            },
            (byte, _) => (*byte, 1),
        };
        plain.push(byte);
        rest = &rest[used..];
    }
    Cow::Owned(String::from_utf8(plain).unwrap_or_else(|error| text(error.as_bytes()).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| digit.try_into().ok())
}

/// The word for its gravity that a message of Postfix or sshd begins with, and the rest.
pub fn severity_prefix(message: &[u8]) -> Option<(Severity, &[u8])> {
    let words = [
        ("warning: ", Severity::Warning),
        ("error: ", Severity::Error),
        ("fatal: ", Severity::Critical),
        ("panic: ", Severity::Emergency),
    ];
    strip_any(message, &words)
}
