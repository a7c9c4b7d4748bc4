//! Warnings of a running filter: few, rate-limited, on standard error, never with log text in them.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use crate::host::clock;

/// The same warning is told again after this long.
const AGAIN: Duration = Duration::from_secs(300);

/// Tells warnings.
pub struct Warner {
    program: String,
    told: HashMap<&'static str, (String, Duration)>,
}

impl Warner {
    /// Warnings that begin with the program's name.
    pub fn new(program: &str) -> Self {
        Self { program: program.to_owned(), told: HashMap::new() }
    }

    /// Tells it, unless the same was told under this topic a short while ago.
    pub fn warn(&mut self, topic: &'static str, what: &dyn Display) {
        let (text, now) = (what.to_string(), clock::boottime());
        if self.told.get(topic).is_some_and(|(last, at)| *last == text && now < *at + AGAIN) {
            return;
        }
        // Standard error may be gone, or be a full pipe's other end; a filter lives on without it.
        let _ = writeln!(io::stderr(), "{}: warning: {text}", self.program);
        self.told.insert(topic, (text, now));
    }
}
