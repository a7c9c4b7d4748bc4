//! What was found, on its way out: no more than was asked for, and what stands between its pieces.
#![forbid(unsafe_code)]

use std::io;

/// What a line is among those that are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was found.
    Match,
    /// It stands before one that was.
    Before,
    /// It stands behind one.
    After,
}

impl Found {
    pub(super) fn tag(self) -> u8 {
        self as u8
    }

    pub(super) fn from_tag(tag: u8) -> Self {
        match tag {
            0 => Self::Match,
            1 => Self::Before,
            _ => Self::After,
        }
    }
}

/// A line that is given out.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// What it is.
    pub found: Found,
    /// Host and log; `None` where it is not in its place.
    pub log: Option<(&'a str, &'a str)>,
    /// Other lines are left out before it, and context was asked for.
    pub parted: bool,
    /// Its bytes without a newline, or its row as JSON.
    pub bytes: &'a [u8],
}

/// Hands out what comes, sorted by now.
pub(super) struct Emitter<P> {
    print: P,
    max: Option<u64>,
    context: bool,
    after: usize,
    matches: u64,
    /// Log and number of the last line.
    last: Option<(u32, u64)>,
    /// So many lines may still come behind the last match of all.
    left: usize,
}

impl<P: FnMut(&Item<'_>) -> io::Result<()>> Emitter<P> {
    pub(super) fn new(print: P, max: Option<u64>, context: bool, after: usize) -> Self {
        Self { print, max, context, after, matches: 0, last: None, left: 0 }
    }

    /// As many as were asked for are out.
    pub(super) fn is_done(&self) -> bool {
        self.max.is_some_and(|max| self.matches >= max)
    }

    pub(super) fn take(
        &mut self,
        names: &[Option<(String, String)>],
        log: u32,
        number: u64,
        found: Found,
        bytes: &[u8],
    ) -> io::Result<()> {
        let follows = number > 0 && self.last == Some((log, number - 1));
        let found = if self.is_done() {
            if self.left == 0 || !follows {
                self.left = 0;
                return Ok(());
            }
            self.left -= 1;
            // As grep has it, whatever it is.
            Found::After
        } else {
            found
        };
        if found == Found::Match {
            self.matches += 1;
            self.left = self.after;
        }
        let parted = self.context && self.last.is_some() && !follows;
        self.last = Some((log, number));
        let log = names[log as usize].as_ref().map(|(host, log)| (&host[..], &log[..]));
        (self.print)(&Item { found, log, parted, bytes })
    }
}
