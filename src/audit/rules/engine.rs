//! Rules at work: a line goes in, hits come out.
//!
//! Promises: a line costs the rules for its kind and no others; groups never mix the lines of two logs.
//! Not promised: correlations over several logs. Streams are read one after the other, so their lines do not meet in time.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use super::Rules;
use super::rule::{Correlation, CorrelationTest, Kind};
use super::source::Source;
use super::window::{Sample, Step, Windows};
use crate::audit::event::{Event, Field};

/// What a hit of a rule about one line is grouped by: the first that the line has.
const SUBJECTS: [&[Field]; 5] = [
    &[Field::SourceIp, Field::SourceDomain],
    &[Field::UserName],
    &[Field::PackageName],
    &[Field::ServiceName, Field::FilePath],
    &[Field::ProcessName],
];
/// No word of a group is kept longer, in bytes.
const MAX_WORD: usize = 120;

/// A line, as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What it says.
    pub event: &'a Event<'a>,
    /// The line itself.
    pub line: &'a str,
    /// As much of it as is to be kept.
    pub shown: &'a str,
    /// The number of its log.
    pub log: usize,
    /// When, in milliseconds since 1970. A line of which that is not known takes no part in correlations.
    pub time: Option<i64>,
}

/// What a rule found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The rule's number.
    pub rule: usize,
    /// Whom it is about.
    pub subject: Vec<String>,
    /// Lines that are part of it since it was told last.
    pub count: u64,
    /// The first of them, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Lines from before this one.
    pub samples: Vec<Sample>,
}

/// Rules, and what they remember.
pub struct Engine<'r> {
    rules: &'r Rules,
    /// The detections for each source.
    by_source: Vec<Vec<usize>>,
    windows: Vec<Windows>,
    hasher: RandomState,
}

impl<'r> Engine<'r> {
    /// Rules that have seen nothing.
    pub fn new(rules: &'r Rules) -> Self {
        let of = |source: Source| {
            let is_for = |number: &usize| match &rules.all()[*number].kind {
                Kind::Detection(detection) => detection.sources.has(source),
                Kind::Correlation(_) => false,
            };
            (0..rules.all().len()).filter(is_for).collect()
        };
        Self {
            rules,
            by_source: Source::ALL.into_iter().map(of).collect(),
            windows: rules.all().iter().map(|_| Windows::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Looks at a line.
    pub fn see(&mut self, seen: &Seen<'_>, tell: &mut dyn FnMut(Hit)) {
        let rules = self.rules;
        for at in 0..self.by_source[Source::of(seen.event) as usize].len() {
            let number = self.by_source[Source::of(seen.event) as usize][at];
            if let Kind::Detection(detection) = &rules.all()[number].kind
                && detection.matches(seen.event, seen.line)
            {
                if rules.is_told(number) {
                    let subject = SUBJECTS.iter().find_map(|fields| word(seen.event, fields)).into_iter().collect();
                    tell(Hit { rule: number, subject, count: 1, since: seen.time, samples: Vec::new() });
                }
                self.follow(number, seen, tell);
            }
        }
    }

    /// A rule was met: those that name it may be, too.
    fn follow(&mut self, met: usize, seen: &Seen<'_>, tell: &mut dyn FnMut(Hit)) {
        let rules = self.rules;
        let Some(time) = seen.time else { return };
        for &(number, place) in rules.followers(met) {
            let Kind::Correlation(correlation) = &rules.all()[number].kind else { continue };
            let Some(subject) = group(correlation, seen.event) else { continue };
            let value = match &correlation.test {
                CorrelationTest::ValueCount(fields, _) => match word(seen.event, fields) {
                    Some(word) => Some(self.hasher.hash_one(word)),
                    None => continue,
                },
                _ => None,
            };
            let key = self.hasher.hash_one((seen.log, &subject));
            let step = Step { rule: place, time, value, text: seen.shown };
            if let Some(met) = self.windows[number].add(correlation, key, &step) {
                if rules.is_told(number) {
                    tell(Hit { rule: number, subject, count: met.count, since: Some(met.since), samples: met.samples });
                }
                // Rules name no rule that names them: see `Rules`.
                self.follow(number, seen, tell);
            }
        }
    }

    /// The correlations that may have overlooked something for want of memory, by their numbers.
    pub fn overflowed(&self) -> Vec<usize> {
        (0..self.windows.len()).filter(|number| self.windows[*number].overflowed).collect()
    }
}

/// The values that a correlation goes by; none where the event lacks one of them.
fn group(correlation: &Correlation, event: &Event<'_>) -> Option<Vec<String>> {
    correlation.group_by.iter().map(|fields| word(event, fields)).collect()
}

/// The first value of the first of these fields that there is.
fn word(event: &Event<'_>, fields: &[Field]) -> Option<String> {
    let value = fields.iter().find_map(|field| event.values(*field).next())?;
    let mut word = value.to_string();
    if word.len() > MAX_WORD {
        let end = (0..=MAX_WORD).rev().find(|end| word.is_char_boundary(*end)).unwrap_or(0);
        word.truncate(end);
        word.push('…');
    }
    Some(word)
}
