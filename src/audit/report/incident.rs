//! Incidents: the hits of a rule on one log about one subject.
//!
//! Promises: memory is bounded; hits beyond that are still counted, and told as what they are.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use serde::Serialize;

use super::time::Moment;
use crate::audit::rules::Rules;
use crate::audit::rules::engine::Hit;
use crate::audit::rules::rule::{Class, Level};
use crate::audit::rules::window::Sample;

/// So many incidents of one rule are told each on its own.
const MAX_OF_RULE: usize = 200;
/// So many lines of an incident are shown.
const MAX_LINES: usize = 5;

/// What a rule found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The rule's id.
    pub rule: String,
    /// Its title.
    pub title: String,
    /// What it says of itself.
    pub description: String,
    /// When it finds what is none.
    pub false_positives: Vec<String>,
    /// How much it matters.
    pub level: Level,
    /// What it is taken for.
    pub class: Option<Class>,
    /// All hits, those of `others` among them.
    pub hits: u64,
    /// By log and subject, the earliest first.
    pub incidents: Vec<Incident>,
    /// Hits of incidents that there was no room for.
    pub others: u64,
}

/// One incident.
#[derive(Clone, Debug, Serialize)]
pub struct Incident {
    /// The host of the log.
    pub host: String,
    /// The log.
    pub log: String,
    /// Whom it is about: an address, a user, a package.
    pub subject: Vec<String>,
    /// When it began.
    pub first: Option<Moment>,
    /// When it was seen last.
    pub last: Option<Moment>,
    /// How many lines belong to it.
    pub hits: u64,
    /// Some of them, the first.
    pub lines: Vec<ShownLine>,
}

/// A line that is shown, or its beginning.
#[derive(Clone, Debug, Serialize)]
pub struct ShownLine {
    /// When.
    pub time: Option<Moment>,
    /// Its text.
    pub text: String,
}

impl From<Sample> for ShownLine {
    fn from(sample: Sample) -> Self {
        Self { time: sample.time.map(Moment), text: sample.text.into() }
    }
}

/// All incidents, while lines come.
#[derive(Default)]
pub struct Incidents {
    by_rule: HashMap<usize, OfRule>,
}

#[derive(Default)]
struct OfRule {
    hits: u64,
    others: u64,
    incidents: HashMap<(usize, Vec<String>), Open>,
}

struct Open {
    first: Option<i64>,
    last: Option<i64>,
    hits: u64,
    lines: Vec<Sample>,
}

impl Incidents {
    /// Adds a hit on a line of a log.
    pub fn add(&mut self, hit: Hit, log: usize, line: Sample) {
        let of_rule = self.by_rule.entry(hit.rule).or_default();
        of_rule.hits += hit.count;
        let key = (log, hit.subject);
        if !of_rule.incidents.contains_key(&key) && of_rule.incidents.len() == MAX_OF_RULE {
            of_rule.others += hit.count;
            return;
        }
        let open = of_rule.incidents.entry(key).or_insert(Open { first: None, last: None, hits: 0, lines: Vec::new() });
        let before = hit.samples.iter().filter_map(|sample| sample.time);
        open.first = open.first.into_iter().chain(hit.since).chain(before).chain(line.time).min();
        open.last = open.last.max(line.time);
        open.hits += hit.count;
        let room = MAX_LINES.saturating_sub(open.lines.len());
        open.lines.extend(hit.samples.into_iter().chain([line]).take(room));
    }

    /// What they came to, the worst first; logs by their numbers.
    pub fn found(self, rules: &Rules, logs: &[(String, String)]) -> Vec<Found> {
        let told = |(number, of_rule): (usize, OfRule)| {
            let rule = &rules.all()[number];
            let mut incidents: Vec<_> = of_rule
                .incidents
                .into_iter()
                .map(|((log, subject), open)| {
                    let (host, log) = logs[log].clone();
                    let lines = open.lines.into_iter().map(ShownLine::from).collect();
                    Incident {
                        host,
                        log,
                        subject,
                        first: open.first.map(Moment),
                        last: open.last.map(Moment),
                        hits: open.hits,
                        lines,
                    }
                })
                .collect();
            incidents.sort_by(|a, b| (a.first, &a.host, &a.log, &a.subject).cmp(&(b.first, &b.host, &b.log, &b.subject)));
            Found {
                rule: rule.id.clone(),
                title: rule.title.clone(),
                description: rule.description.clone(),
                false_positives: rule.false_positives.clone(),
                level: rule.level,
                class: rule.class,
                hits: of_rule.hits,
                incidents,
                others: of_rule.others,
            }
        };
        let mut found: Vec<Found> = self.by_rule.into_iter().map(told).collect();
        let rank = |found: &Found| Class::ALL.iter().position(|class| Some(*class) == found.class);
        found.sort_by(|a, b| (rank(a), b.level, &a.rule).cmp(&(rank(b), a.level, &b.rule)));
        found
    }
}
