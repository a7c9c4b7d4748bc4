//! What a line is to have in it.
#![forbid(unsafe_code)]

use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

/// An expression takes no more memory than this, in bytes.
const MAX_EXPRESSION: usize = 16 << 20;

/// A pattern is no regular expression.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct PatternError(regex::Error);

/// How patterns are meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meaning {
    /// Small and capital letters are the same.
    pub ignore_case: bool,
    /// They are text, not regular expressions.
    pub fixed: bool,
}

/// Patterns, any of which will do.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// As grep takes them: a newline in one parts two.
    pub fn new(patterns: &[String], meaning: Meaning) -> Result<Self, PatternError> {
        let mut all = Vec::new();
        for pattern in patterns.iter().flat_map(|pattern| pattern.split('\n')) {
            let pattern = if meaning.fixed { regex::escape(pattern) } else { pattern.to_owned() };
            // One by one, so that the error shows what was typed.
            build(&pattern, meaning)?;
            all.push(pattern);
        }
        match &all[..] {
            [one] => build(one, meaning),
            _ => build(&all.iter().map(|pattern| format!("(?:{pattern})")).collect::<Vec<_>>().join("|"), meaning),
        }
    }

    /// Whether the line has it.
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }

    /// Where the line has it.
    pub fn places<'l>(&self, text: &'l [u8]) -> impl Iterator<Item = std::ops::Range<usize>> + use<'_, 'l> {
        self.0.find_iter(text).map(|found| found.range()).filter(|place| !place.is_empty())
    }
}

fn build(pattern: &str, meaning: Meaning) -> Result<Pattern, PatternError> {
    let built = RegexBuilder::new(pattern).case_insensitive(meaning.ignore_case).size_limit(MAX_EXPRESSION).build();
    built.map(Pattern).map_err(PatternError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(patterns: &[&str], meaning: Meaning) -> Result<Pattern, PatternError> {
        Pattern::new(&patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>(), meaning)
    }

    #[test]
    fn patterns_are_met_in_any_bytes() {
        let any = |patterns: &[&str], text: &[u8]| pattern(patterns, Meaning::default()).unwrap().is_in(text);
        assert!(any(&["b+$"], b"\xff\0abb") && !any(&["^b"], b"ab"));
        assert!(any(&["x", "a"], b"a") && any(&["x\na"], b"a") && any(&[""], b""));
        assert!(any(&["x|y", "^z$"], b"z") && any(&["(?i)ABC"], b"abc"));
        let both = Meaning { ignore_case: true, fixed: true };
        assert!(pattern(&["A.C("], both).unwrap().is_in(b"a.c(") && !pattern(&["A.C("], both).unwrap().is_in(b"abc("));
        let places: Vec<_> = pattern(&["a*"], Meaning::default()).unwrap().places(b"baaca").collect();
        assert_eq!(places, [1..3, 4..5]);
    }

    #[test]
    fn an_error_says_where() {
        let error = pattern(&["fine", "a(b"], Meaning::default()).unwrap_err().to_string();
        assert!(error.contains("a(b\n") && error.contains("unclosed group"), "{error}");
        // Each alone would be fine.
        assert!(pattern(&["a)", "(b"], Meaning::default()).is_err());
        let error = pattern(&["(a{1000}){1000}"], Meaning::default()).unwrap_err().to_string();
        assert!(error.contains("size limit"), "{error}");
    }
}
