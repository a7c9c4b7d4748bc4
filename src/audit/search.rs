//! Searching: the lines that are asked for and have the pattern, with lines around them, of all logs in the order of time.
//!
//! The merge rule. Lines of one log (one host and log name) come in the order in which they were sealed, always: that order is proved.
//! Lines of several logs are merged by time. The time of a line there is its own time stamp, else that of its record, but never
//! before that of the line found before it in the log, and never after the latest sealing in the log so far: so a clock that went back,
//! or a time stamp that somebody made up, moves no other line further than to the moment at which it was sealed. Of the same time
//! the log that was read first comes first. A line with its context stays in one piece, at the time of its first match.
//!
//! Promises: what is found is what grep would find in the plain text; lines of one log alone are given out as they are read; memory is
//! bounded, whatever is found: more than some dozens of MiB goes to encrypted runs (see [`super::merge`]).
#![forbid(unsafe_code)]

mod emit;
mod pattern;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;

use jiff::Timestamp;

use self::emit::Emitter;
use super::lines::{Lines, LogLine};
use super::merge::{Merge, Rank};
use super::place::Place;
use super::row::{Row, Verification};
use super::select::{Candidate, Selector};
use super::session::{Line, Reader};
use super::verify::Verifier;
use crate::control::WriterId;

pub use emit::{Found, Item};
pub use pattern::{Meaning, Pattern, PatternError};

/// Lines that may turn out to stand before a match take so many bytes, all together.
const MAX_BEFORE: usize = 64 << 20;
/// What one of them takes beside its bytes.
const KEPT: usize = 32;
/// The number of what is of no log: lines that are not in their place.
const NO_LOG: u32 = 0;

/// What is wanted of a search.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// What lines are to have in them.
    pub pattern: Option<Pattern>,
    /// What they are not to have in them.
    pub invert: bool,
    /// So many lines before each, if there are as many.
    pub before: usize,
    /// So many behind each.
    pub after: usize,
    /// No more matches than this are given out.
    pub max: Option<u64>,
    /// How many there are, and nothing else.
    pub count: bool,
    /// Lines as rows in JSON.
    pub json: bool,
    /// Whether trust starts anywhere but at the files.
    pub trusts: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many lines.
    pub matches: u64,
    /// The same by host and log; `None` is of lines that are not in their place.
    pub by_log: Vec<(Option<(String, String)>, u64)>,
    /// How many lines were too long to be searched as a whole.
    pub cut: u64,
}

/// What is known of one log.
#[derive(Default)]
struct State {
    /// How many lines it has had.
    number: u64,
    matches: u64,
    /// The lines before, while they may be wanted.
    before: VecDeque<(u64, Vec<u8>)>,
    /// The last line that was given out.
    given: Option<u64>,
    /// So many more are wanted.
    wanted: usize,
    /// The time of the last match, and of the piece that it is in.
    time: i64,
    piece: i64,
    /// The latest sealing.
    sealed: Option<i64>,
}

/// A search while files are read.
pub struct Search<P> {
    query: Query,
    selector: Selector,
    lines: Lines,
    /// The numbers of logs, by their streams and by their names.
    of_streams: HashMap<usize, u32>,
    names: Vec<Option<(String, String)>>,
    numbers: HashMap<(String, String), u32>,
    states: Vec<State>,
    /// What all their lines before take.
    kept: usize,
    /// Where there is more than one log.
    merge: Option<Merge>,
    emitter: Emitter<P>,
    json: Vec<u8>,
}

impl<P: FnMut(&Item<'_>) -> io::Result<()>> Search<P> {
    /// A search that hands what it finds to `print`. An error where random bytes cannot be had.
    pub fn new(query: Query, selector: Selector, print: P) -> io::Result<Self> {
        let merge = if query.count { None } else { Some(Merge::new()?) };
        Ok(Self {
            emitter: Emitter::new(print, query.max, query.before + query.after > 0, query.after),
            query,
            selector,
            lines: Lines::default(),
            of_streams: HashMap::new(),
            names: vec![None],
            numbers: HashMap::new(),
            states: vec![State::default()],
            kept: 0,
            merge,
            json: Vec::new(),
        })
    }

    /// Gives out what is left. What was found.
    pub fn finish(mut self) -> io::Result<Summary> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(|line| self.take(line))?;
        if let Some(merge) = self.merge {
            let names = &self.names;
            merge.finish(|rank, tag, bytes| self.emitter.take(names, rank.unit, rank.number, Found::from_tag(tag), bytes))?;
        }
        let matches: u64 = self.states.iter().map(|state| state.matches).sum();
        let by_log = self.names.into_iter().zip(&self.states).map(|(name, state)| (name, state.matches));
        // Of lines that are not in their place only where there are any.
        let by_log = by_log.filter(|(name, _)| name.is_some() || self.states[0].number > 0).collect();
        let matches = self.query.max.map_or(matches, |max| matches.min(max));
        Ok(Summary { matches, by_log, cut: lines.cut() })
    }

    fn take(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        let Some(mut candidate) = self.selector.candidate(*line) else { return Ok(()) };
        let log = self.log(line);
        let state = &mut self.states[log as usize];
        let number = state.number;
        state.number += 1;
        if let Some(sealed) = line.sealed {
            // A date of seconds is of any moment in that second.
            state.sealed = state.sealed.max(Some(sealed.as_microsecond().saturating_add(999_999)));
        }
        // Behind the last one that is wanted everything is what stands behind it.
        let has = !self.emitter.is_done()
            && self.query.pattern.as_ref().is_none_or(|pattern| pattern.is_in(line.text) != self.query.invert);
        if has && self.selector.takes(&mut candidate) {
            self.found(log, number, &mut candidate)
        } else if !self.query.count && state.wanted > 0 {
            state.wanted -= 1;
            self.give(log, number, Found::After, line.text)
        } else if !self.query.count && self.query.before > 0 {
            self.keep(log, number, line.text);
            Ok(())
        } else {
            Ok(())
        }
    }

    fn found(&mut self, log: u32, number: u64, candidate: &mut Candidate<'_>) -> io::Result<()> {
        let state = &mut self.states[log as usize];
        state.matches += 1;
        if self.query.count {
            return Ok(());
        }
        if self.merge.is_some() {
            let time = self.selector.time(candidate);
            state.time = merged_time(state.time, time, state.sealed);
        }
        let before = std::mem::take(&mut state.before);
        self.kept -= before.iter().map(|(_, text)| text.len() + KEPT).sum::<usize>();
        let first = before.front().map_or(number, |(number, _)| *number);
        let goes_on = self.query.before + self.query.after > 0 && state.given.is_some_and(|given| given + 1 == first);
        if !goes_on {
            state.piece = state.time;
        }
        state.wanted = self.query.after;
        for (number, text) in before {
            self.give(log, number, Found::Before, &text)?;
        }
        let line = candidate.line;
        if !self.query.json {
            return self.give(log, number, Found::Match, line.text);
        }
        let mut json = std::mem::take(&mut self.json);
        json.clear();
        Row::new(&line, self.selector.event(candidate), Verification::of(&line, self.query.trusts)).write_json(&mut json)?;
        json.pop();
        let given = self.give(log, number, Found::Match, &json);
        self.json = json;
        given
    }

    fn give(&mut self, log: u32, number: u64, found: Found, bytes: &[u8]) -> io::Result<()> {
        let state = &mut self.states[log as usize];
        state.given = Some(number);
        match &mut self.merge {
            Some(merge) => merge.push(Rank { time: state.piece, unit: log, number }, found.tag(), bytes),
            None => self.emitter.take(&self.names, log, number, found, bytes),
        }
    }

    /// Keeps a line that may turn out to stand before a match.
    fn keep(&mut self, log: u32, number: u64, text: &[u8]) {
        let before = &mut self.states[log as usize].before;
        while before.len() >= self.query.before || self.kept + text.len() + KEPT > MAX_BEFORE {
            let Some((_, gone)) = before.pop_front() else { return };
            self.kept -= gone.len() + KEPT;
        }
        self.kept += text.len() + KEPT;
        before.push_back((number, text.to_vec()));
    }

    /// The number of a line's log.
    fn log(&mut self, line: &LogLine<'_>) -> u32 {
        let Some((place, name)) = line.place else { return NO_LOG };
        if let Some(&log) = self.of_streams.get(&place.stream) {
            return log;
        }
        let name = (name.host.to_owned(), name.log.to_owned());
        let log = *self.numbers.entry(name.clone()).or_insert_with(|| {
            self.names.push(Some(name));
            self.states.push(State::default());
            u32::try_from(self.states.len() - 1).expect("streams are far fewer")
        });
        self.of_streams.insert(place.stream, log);
        log
    }
}

/// The time that a match has in the merge, behind one with the time `before` in a log last sealed to at `sealed`.
fn merged_time(before: i64, time: Option<Timestamp>, sealed: Option<i64>) -> i64 {
    let time = time.map_or(before, |time| time.as_microsecond().max(before));
    sealed.map_or(time, |sealed| time.min(sealed.max(before)))
}

impl<P: FnMut(&Item<'_>) -> io::Result<()>> Reader for Search<P> {
    fn begin(&mut self, verifier: &Verifier) {
        let asked_for = verifier.names().filter(|name| self.selector.is_of_log(name));
        let logs: BTreeSet<(&str, &str)> = asked_for.map(|name| (name.host, name.log)).collect();
        // The files of one log are in order.
        if logs.len() == 1 {
            self.merge = None;
        }
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        let taken = lines.take(line, |line| self.take(line));
        self.lines = lines;
        taken
    }

    fn line_ends(&mut self, place: Place, writer: WriterId) -> io::Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        let taken = lines.end(place, writer, |line| self.take(line));
        self.lines = lines;
        taken
    }
}
