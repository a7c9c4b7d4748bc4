//! Writing HTML. The one place where text becomes markup.
//!
//! Promises: markup is what this program's source has, nothing else: all that is not known when it is compiled goes through [`Page::text`].
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use crate::audit::escape::escape;

/// HTML, growing.
#[derive(Default)]
pub struct Page {
    out: String,
}

impl Page {
    /// Markup. It cannot come from elsewhere, as it lives as long as the program.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }

    /// Text, in an element or in the quotes of an attribute. What is invisible or turns the direction is shown as its number.
    pub fn text(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        for c in escape(text.as_ref()).chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                c => self.out.push(c),
            }
        }
        self
    }

    /// A number, its thousands apart.
    pub fn count(&mut self, number: u64) -> &mut Self {
        self.out.push_str(&thousands(number));
        self
    }

    /// A number for a drawing.
    pub fn length(&mut self, number: f64) -> &mut Self {
        // No more than a printer can show.
        let _ = write!(self.out, "{:.2}", number);
        self
    }

    /// What was written.
    pub fn into_string(self) -> String {
        self.out
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut page = Page::default();
        page.raw("<p title=\"").text("a\" onclick='x'").raw("\">").text("<script>&amp;\u{202e}\u{1b}[1m\0").text(b"\xff");
        assert_eq!(
            page.into_string(),
            "<p title=\"a&quot; onclick=&#39;x&#39;\">&lt;script&gt;&amp;amp;\\u{202e}\\u{1b}[1m\\u{0}\\xff"
        );
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
