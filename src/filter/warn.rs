//! Warnings of a running filter: few, rate-limited, on standard error, never with log text in them.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use crate::host::clock;

/// The same warning is told again after this long.
const AGAIN: Duration = Duration::from_secs(300);
/// Within that time so many different ones are told under one topic.
const MOST: usize = 16;

/// Tells warnings.
#[derive(Debug)]
pub struct Warner {
    program: String,
    /// What was told under each topic a short while ago, at most one more than [`MOST`].
    told: HashMap<&'static str, Vec<(String, Duration)>>,
}

impl Warner {
    /// Warnings that begin with the program's name.
    pub fn new(program: &str) -> Self {
        Self { program: program.to_owned(), told: HashMap::new() }
    }

    /// Tells it, unless the same was told under this topic a short while ago, or much else.
    pub fn warn(&mut self, topic: &'static str, what: &dyn Display) {
        self.warns(topic, what);
    }

    /// The same; whether it was told.
    pub fn warns(&mut self, topic: &'static str, what: &dyn Display) -> bool {
        let text = self.choose(topic, what.to_string(), clock::boottime());
        text.map(|text| self.tell(&text)).is_some()
    }

    /// Tells it in any case.
    pub fn tell(&self, what: &dyn Display) {
        // Standard error may be gone, or be a full pipe's other end; a filter lives on without it.
        let _ = writeln!(io::stderr(), "{}: warning: {what}", self.program);
    }

    /// What is to be told of this text.
    fn choose(&mut self, topic: &'static str, text: String, now: Duration) -> Option<String> {
        let told = self.told.entry(topic).or_default();
        told.retain(|(_, at)| now < *at + AGAIN);
        if told.len() > MOST || told.iter().any(|(other, _)| *other == text) {
            return None;
        }
        let text = if told.len() == MOST { "there is more like this, which is not told for a while".to_owned() } else { text };
        told.push((text.clone(), now));
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_while_and_different_ones_up_to_a_limit() {
        let mut warner = Warner::new("test");
        let mut choose = |topic, text: &str, second| warner.choose(topic, text.to_owned(), Duration::from_secs(second));
        for text in ["a", "b"] {
            assert_eq!(choose("write", text, 0).as_deref(), Some(text));
            assert_eq!(choose("write", text, 299), None);
            assert_eq!(choose("keys", text, 0).as_deref(), Some(text));
        }
        assert_eq!(choose("write", "a", 300).as_deref(), Some("a"));
        let told: Vec<_> = (0..100).filter_map(|number| choose("write", &number.to_string(), 400)).collect();
        assert_eq!(told.len(), MOST);
        assert!(told.last().unwrap().starts_with("there is more"));
        assert_eq!(choose("write", "again", 701).as_deref(), Some("again"));
    }
}
