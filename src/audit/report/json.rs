//! The report as JSON: everything that the other forms show.
//!
//! Promises: no character in it does anything to a terminal: those that could are written as JSON's `\u`, which programs read as themselves.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::Report;
use crate::audit::escape::is_shown_as_number;

/// All of it.
pub fn render(report: &Report) -> String {
    let json = serde_json::to_string_pretty(report).expect("all maps of a report have words for keys");
    tame(&json) + "\n"
}

/// Outside of strings JSON has only ASCII, so that what is replaced stands in one.
fn tame(json: &str) -> String {
    let mut tame = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_shown_as_number(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(tame, "\\u{unit:04x}");
            }
        } else {
            tame.push(c);
        }
    }
    tame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tamed_reads_as_before() {
        let text = "a\u{1b}[2J\u{9b}\u{202e}\u{e0041}\u{7f}\n\"\\é";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let tame = tame(&json);
        assert!(!tame.chars().any(|c| c != '\n' && is_shown_as_number(c)), "{tame:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&tame).unwrap(), [text]);
    }
}
