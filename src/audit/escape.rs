//! Showing what came out of logs to people: it is whatever an enemy wrote into them.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

/// Shows what could move a cursor, hide text or turn its direction: control characters (but newline and tab), bidirectional
/// and invisible ones, tags, and bytes that are no UTF-8.
pub fn escape(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => shown.push(c),
                c if is_shown_as_number(c) => {
                    let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
                }
                c => shown.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// The same of a name that stands in a line with others: newline and tab, too.
pub fn escape_name(name: &str) -> String {
    escape(name.as_bytes()).replace('\n', "\\u{a}").replace('\t', "\\u{9}")
}

/// Whether a character could move a cursor, hide text or turn its direction. Newline and tab are among them.
pub fn is_shown_as_number(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_or_hides_gets_through() {
        assert_eq!(escape(b"a\tb\n"), "a\tb\n");
        assert_eq!(escape("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(escape(b"\x1b[2J\x07\r"), "\\u{1b}[2J\\u{7}\\u{d}");
        assert_eq!(escape("\u{9b}1m\u{202e}x\u{200b}".as_bytes()), "\\u{9b}1m\\u{202e}x\\u{200b}");
        assert_eq!(escape(b"\xff\xc3"), "\\xff\\xc3");
        assert_eq!(escape_name("a\tb\n\x07"), "a\\u{9}b\\u{a}\\u{7}");
    }
}
