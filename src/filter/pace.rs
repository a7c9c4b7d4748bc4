//! How long lines may gather in the pipe before the next read.
//!
//! Where lines come fast, each with a write of its own, a filter that reads at once is woken for every one of them, and
//! waking costs it and the program before it more than sealing does. So it leaves dense input alone for a moment.
//!
//! Promises: no line waits longer than [`PAUSE`] for this; input that is not dense is never left alone, nor is input that
//! comes as fast as it can be sealed: the program before does not come to wait for room in the pipe, unless it suddenly writes
//! several times as fast. What waits in the pipe was not read: it is there for the next filter where the daemon keeps the
//! pipe, as Apache and systemd do.
#![forbid(unsafe_code)]

use std::time::Duration;

/// How long input is left alone.
pub const PAUSE: Duration = Duration::from_millis(1);
/// Fewer lines than these are not worth waiting for.
const LINES: u64 = 4;
/// More bytes than these do not gather: a quarter of what a pipe holds by default.
const BYTES: u64 = 16384;

/// Watches the density of the input. See the module's description.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the last read was; `None` before the first.
    last: Option<Duration>,
}

impl Pace {
    /// How long to leave the input alone after a read at the time `now` that gave so many lines and bytes.
    pub fn after(&mut self, lines: u32, bytes: usize, now: Duration) -> Option<Duration> {
        let since = now.saturating_sub(self.last.replace(now)?).as_nanos().max(1);
        // What comes in a pause, if it goes on like this.
        let gathers = |count: u64| u128::from(count) * PAUSE.as_nanos() / since;
        let is_dense = gathers(u64::from(lines)) >= u128::from(LINES) && gathers(bytes as u64) <= u128::from(BYTES);
        is_dense.then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: usize = 250;

    /// What comes of so many lines a second: how many reads are made in a second, and the longest time that a line waited.
    fn second(lines_a_second: u32) -> (u32, Duration) {
        let gap = Duration::from_secs(1) / lines_a_second;
        let (mut pace, mut now, mut next) = (Pace::default(), Duration::ZERO, Duration::ZERO);
        let (mut reads, mut waited) = (0, Duration::ZERO);
        while next < Duration::from_secs(1) {
            // A read gives what is there, and waits where nothing is.
            now = now.max(next);
            waited = waited.max(now - next);
            let lines = ((now - next).as_nanos() / gap.as_nanos()) as u32 + 1;
            next += gap * lines;
            reads += 1;
            now += pace.after(lines, lines as usize * LINE, now).unwrap_or_default();
        }
        (reads, waited)
    }

    #[test]
    fn dense_lines_are_read_together_and_others_at_once() {
        for at_once in [1, 100, 2500, 100_000] {
            assert_eq!(second(at_once), (at_once, Duration::ZERO), "{at_once}");
        }
        for dense in [5000, 10_000, 50_000] {
            let (reads, waited) = second(dense);
            assert!(reads <= dense / 4 && waited <= PAUSE, "{dense}: {reads} reads, {waited:?}");
        }
    }

    #[test]
    fn what_fills_the_pipe_is_read_at_once() {
        let mut pace = Pace::default();
        assert_eq!(pace.after(10, LINE, Duration::from_secs(1)), None, "nothing is known yet");
        // All that a pipe holds came in two pauses.
        assert_eq!(pace.after(250, 65536, Duration::from_secs(1) + 2 * PAUSE), None);
        assert_eq!(pace.after(10, 10 * LINE, Duration::from_secs(1) + 3 * PAUSE), Some(PAUSE));
        // The clock stands still, or nothing came.
        assert_eq!(pace.after(1, LINE, Duration::from_secs(1) + 3 * PAUSE), None);
        assert_eq!(pace.after(0, 0, Duration::from_secs(2)), None);
    }
}
