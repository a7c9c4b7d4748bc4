//! Correlations: how the hits of other rules lie in time, one by one for each group.
//!
//! Promises: memory is bounded for each correlation; where that costs a group whose time had not run out, it is said. Hits may come in any
//! order: what lies together in time is found as long as no more than the newest hits of a group, as many as the rule asks for, are needed.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};

use super::rule::{Correlation, CorrelationTest};

/// The groups of one correlation take about so much, in bytes.
const MAX_SIZE: usize = 8 << 20;
/// What a group takes without its hits.
const GROUP: usize = 160;
/// So many lines are kept before a correlation is met.
const SAMPLES: usize = 3;
/// Where more hits are needed, no lines are kept before that.
const FEW: usize = 100;

/// A line that shows what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, in milliseconds since 1970.
    pub time: Option<i64>,
    /// The line, or its beginning.
    pub text: Box<str>,
}

/// One hit of a rule that the correlation names.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Which of its rules.
    pub rule: usize,
    /// When, in milliseconds since 1970.
    pub time: i64,
    /// What is counted, where values are.
    pub value: Option<u64>,
    /// The line.
    pub text: &'a str,
}

/// The correlation is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// By so many hits that were not part of it before.
    pub count: u64,
    /// The first of them, in milliseconds since 1970.
    pub since: i64,
    /// Lines from before it was met.
    pub samples: Vec<Sample>,
}

/// The groups of one correlation.
#[derive(Debug, Default)]
pub struct Windows {
    groups: HashMap<u64, Group>,
    size: usize,
    /// Groups were given up that might have been needed.
    pub overflowed: bool,
}

#[derive(Debug)]
struct Group {
    newest: i64,
    hits: Hits,
    /// Hits that are part of nothing that was told.
    pending: u64,
    samples: Vec<Sample>,
    size: usize,
}

#[derive(Debug)]
enum Hits {
    /// The newest, in order.
    Times(VecDeque<i64>),
    /// The values seen last, each with the last time, in order of that.
    Values(Vec<(i64, u64)>),
    /// For each rule when it was met last, and when what led to that began.
    Steps(Vec<Option<(i64, i64)>>),
}

impl Windows {
    /// Adds a hit to a group. The correlation is met by each hit that is within the time of enough others.
    pub fn add(&mut self, correlation: &Correlation, group: u64, step: &Step<'_>) -> Option<Met> {
        let span = correlation.timespan;
        if self.size > MAX_SIZE {
            self.make_room(step.time, span);
        }
        let state = self.groups.entry(group).or_insert_with(|| Group {
            newest: i64::MIN,
            hits: match &correlation.test {
                CorrelationTest::EventCount(_) => Hits::Times(VecDeque::new()),
                CorrelationTest::ValueCount(..) => Hits::Values(Vec::new()),
                CorrelationTest::Temporal | CorrelationTest::TemporalOrdered => Hits::Steps(vec![None; correlation.rules.len()]),
            },
            pending: 0,
            samples: Vec::new(),
            size: 0,
        });
        if step.time.saturating_sub(state.newest) > span {
            (state.pending, state.samples) = (0, Vec::new());
        }
        state.newest = state.newest.max(step.time);
        let added = state.hits.add(&correlation.test, step, span);
        let met = match added {
            Added::Met(since) => {
                Some(Met { count: std::mem::take(&mut state.pending) + 1, since, samples: std::mem::take(&mut state.samples) })
            }
            _ => None,
        };
        if added == Added::Part {
            let needed = correlation.test.needed();
            state.pending = (state.pending + 1).min(needed.saturating_sub(1) as u64);
            if state.samples.len() < SAMPLES && needed <= FEW {
                state.samples.push(Sample { time: Some(step.time), text: step.text.into() });
            }
        }
        let size = GROUP + state.hits.size() + state.samples.iter().map(|sample| sample.text.len() + 32).sum::<usize>();
        self.size = self.size + size - std::mem::replace(&mut state.size, size);
        met
    }

    /// Gives up the half of the groups that was not heard of for the longest time.
    fn make_room(&mut self, now: i64, span: i64) {
        let mut newest: Vec<i64> = self.groups.values().map(|group| group.newest).collect();
        let middle = newest.len() / 2;
        let (_, &mut limit, _) = newest.select_nth_unstable(middle);
        self.overflowed |= now.saturating_sub(limit) <= span;
        // Those of one moment are all or none of them kept, so that something goes in any case.
        self.groups.retain(|_, group| group.newest > limit);
        self.size = self.groups.values().map(|group| group.size).sum();
    }
}

/// What became of a hit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Added {
    /// It does not count.
    Ignored,
    /// It counts, and more are needed.
    Part,
    /// It is met; when the first of those came that it is met by.
    Met(i64),
}

impl From<Option<i64>> for Added {
    fn from(since: Option<i64>) -> Self {
        since.map_or(Self::Part, Self::Met)
    }
}

impl CorrelationTest {
    fn needed(&self) -> usize {
        match self {
            Self::EventCount(count) | Self::ValueCount(_, count) => *count,
            Self::Temporal | Self::TemporalOrdered => FEW,
        }
    }
}

impl Hits {
    fn add(&mut self, test: &CorrelationTest, step: &Step<'_>, span: i64) -> Added {
        let needed = test.needed();
        let within = |first: i64, last: i64| (last.saturating_sub(first) <= span).then_some(first);
        match self {
            Self::Times(times) => {
                let at = times.iter().rposition(|time| *time <= step.time).map_or(0, |at| at + 1);
                times.insert(at, step.time);
                if times.len() > needed {
                    times.pop_front();
                }
                let (first, last) = (times[0], times[times.len() - 1]);
                if times.len() < needed { Added::Part } else { within(first, last).into() }
            }
            Self::Values(values) => {
                let Some(value) = step.value else { return Added::Ignored };
                let mut time = step.time;
                if let Some(at) = values.iter().position(|(_, other)| *other == value) {
                    time = time.max(values.remove(at).0);
                }
                let at = values.partition_point(|(other, _)| *other <= time);
                values.insert(at, (time, value));
                if values.len() > needed {
                    values.remove(0);
                }
                let (first, last) = (values[0].0, values[values.len() - 1].0);
                if values.len() < needed { Added::Part } else { within(first, last).into() }
            }
            Self::Steps(steps) => {
                let is_ordered = *test == CorrelationTest::TemporalOrdered;
                let mut since = step.time;
                if is_ordered && step.rule > 0 {
                    match steps[step.rule - 1] {
                        Some((began, before)) if before <= step.time && within(began, step.time).is_some() => since = began,
                        _ => return Added::Ignored,
                    }
                }
                steps[step.rule] = Some((since, step.time));
                if is_ordered {
                    return (step.rule + 1 == steps.len()).then_some(since).into();
                }
                let times = || steps.iter().map(|step| step.map(|(_, time)| time));
                if times().any(|time| time.is_none()) {
                    return Added::Part;
                }
                let (first, last) = (times().flatten().min(), times().flatten().max());
                first.zip(last).and_then(|(first, last)| within(first, last)).into()
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Times(times) => times.len() * 8,
            Self::Values(values) => values.len() * 16,
            Self::Steps(steps) => steps.len() * 24,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correlation(test: CorrelationTest, rules: usize) -> Correlation {
        let rules = (0..rules).map(|rule| (rule.to_string(), 1)).collect();
        Correlation { test, rules, group_by: Vec::new(), timespan: 60_000, generate: false }
    }

    fn run(test: CorrelationTest, rules: usize, steps: &[(usize, i64, u64)]) -> Vec<Option<(u64, i64)>> {
        let correlation = correlation(test, rules);
        let mut windows = Windows::default();
        let add = |(rule, seconds, value): &(usize, i64, u64)| {
            let step = Step { rule: *rule, time: seconds * 1000, value: Some(*value), text: "line" };
            windows.add(&correlation, 1, &step).map(|met| (met.count, met.since / 1000))
        };
        steps.iter().map(add).collect()
    }

    #[test]
    fn events_are_counted_in_any_order() {
        let count = CorrelationTest::EventCount(3);
        assert_eq!(
            run(count.clone(), 1, &[(0, 0, 0), (0, 30, 0), (0, 61, 0), (0, 70, 0), (0, 71, 0), (0, 500, 0), (0, 501, 0)]),
            [None, None, None, Some((3, 30)), Some((1, 61)), None, None]
        );
        assert_eq!(run(count.clone(), 1, &[(0, 50, 0), (0, 10, 0), (0, 30, 0)]), [None, None, Some((3, 10))]);
        assert_eq!(run(count, 1, &[(0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)])[2..], [Some((3, 0)), Some((1, 0))]);
    }

    #[test]
    fn values_are_counted_once() {
        let count = CorrelationTest::ValueCount(Vec::new(), 3);
        assert_eq!(
            run(count, 1, &[(0, 0, 1), (0, 1, 1), (0, 2, 2), (0, 3, 2), (0, 20, 3), (0, 200, 4), (0, 201, 5), (0, 202, 4)]),
            [None, None, None, None, Some((3, 1)), None, None, None]
        );
    }

    #[test]
    fn rules_follow_each_other() {
        let steps = [(1, 0, 0), (0, 10, 0), (1, 20, 0), (0, 100, 0), (1, 161, 0)];
        assert_eq!(run(CorrelationTest::TemporalOrdered, 2, &steps), [None, None, Some((2, 10)), None, None]);
        assert_eq!(run(CorrelationTest::Temporal, 2, &steps), [None, Some((2, 0)), Some((1, 10)), None, None]);
    }

    #[test]
    fn memory_is_bounded_and_what_that_costs_is_said() {
        let correlation = correlation(CorrelationTest::EventCount(5), 1);
        let text = "x".repeat(400);
        for (pace, overflows) in [(1_000, false), (1, true)] {
            let mut windows = Windows::default();
            for group in 0..200_000_u64 {
                let step = Step { rule: 0, time: group.cast_signed() * pace, value: None, text: &text };
                assert_eq!(windows.add(&correlation, group, &step), None);
                assert!(windows.size <= MAX_SIZE + 4096);
            }
            assert_eq!(windows.overflowed, overflows, "{pace}");
        }
    }
}
