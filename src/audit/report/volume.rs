//! How many lines each log has over time.
//!
//! Promises: memory is bounded: the longer the time, the coarser the steps, which are the same for all logs so that they can be compared.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

/// The steps, in seconds; each is a multiple of the one before.
const STEPS: [i64; 12] = [
    60,
    300,
    900,
    3600,
    10_800,
    21_600,
    86_400,
    7 * 86_400,
    28 * 86_400,
    10 * 28 * 86_400,
    100 * 28 * 86_400,
    10_000 * 28 * 86_400,
];
/// There are no more steps than this from the first line of all to the last.
const MAX_STEPS: i64 = 800;

/// Lines over time.
#[derive(Debug, Default)]
pub struct Volume {
    step: usize,
    /// For each log, lines in each step that has some.
    logs: Vec<BTreeMap<i64, u64>>,
    range: Option<(i64, i64)>,
}

impl Volume {
    /// Counts a line of a log at a time in seconds since 1970.
    pub fn add(&mut self, log: usize, time: i64) {
        if self.logs.len() <= log {
            self.logs.resize_with(log + 1, BTreeMap::new);
        }
        let (first, last) = self.range.map_or((time, time), |(first, last)| (first.min(time), last.max(time)));
        self.range = Some((first, last));
        while self.step + 1 < STEPS.len() && last.div_euclid(self.seconds()) - first.div_euclid(self.seconds()) >= MAX_STEPS {
            let wider = STEPS[self.step + 1] / self.seconds();
            for log in &mut self.logs {
                let narrow = std::mem::take(log);
                for (at, lines) in narrow {
                    *log.entry(at.div_euclid(wider)).or_default() += lines;
                }
            }
            self.step += 1;
        }
        let at = time.div_euclid(self.seconds());
        *self.logs[log].entry(at).or_default() += 1;
    }

    /// How long a step is, in seconds.
    pub fn seconds(&self) -> i64 {
        STEPS[self.step]
    }

    /// When the first step of all begins, in seconds since 1970, and how many there are.
    pub fn range(&self) -> Option<(i64, usize)> {
        let (first, last) = self.range?;
        let (first, last) = (first.div_euclid(self.seconds()), last.div_euclid(self.seconds()));
        Some((first * self.seconds(), usize::try_from(last - first + 1).unwrap_or(1)))
    }

    /// The lines of a log in each step of the range.
    pub fn counts(&self, log: usize) -> Vec<u64> {
        let Some((begin, count)) = self.range() else { return Vec::new() };
        let first = begin / self.seconds();
        let mut counts = vec![0; count];
        for (at, lines) in self.logs.get(log).into_iter().flatten() {
            if let Some(place) = usize::try_from(at - first).ok().and_then(|place| counts.get_mut(place)) {
                *place = *lines;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_with_the_time_and_no_line_is_lost() {
        let mut volume = Volume::default();
        for minute in 0..100_000 {
            volume.add(usize::from(minute % 3 == 0), minute * 60);
        }
        assert_eq!((volume.seconds(), volume.range()), (10_800, Some((0, 556))));
        assert_eq!(volume.counts(0).iter().sum::<u64>() + volume.counts(1).iter().sum::<u64>(), 100_000);
        assert_eq!(volume.counts(7).iter().sum::<u64>(), 0);
        // Whatever the times.
        for time in [-100_000_000_000, 400_000_000_000] {
            volume.add(2, time);
        }
        assert!(volume.range().unwrap().1 <= MAX_STEPS as usize);
        assert_eq!(volume.counts(2).iter().sum::<u64>(), 2);
    }
}
