//! Which file a stream writes to, and when the next one starts: the rules of Apache's `rotatelogs`.
//!
//! Promises: the same names, at the same instants, as rotatelogs 2.4 makes for the same rules (the differences stand at
//! [`Schedule::next`] and [`NameTemplate`]); a segment that was just chosen and is within the size limit is not due again at the
//! same instant, whatever the clock did before. Does not open, link or truncate anything and reads no clock: instant, zone and file size are
//! arguments, and a profile's suffix is added by the caller.
//!
//! Times here are **wall seconds**, as rotatelogs counts them: seconds since 1970-01-01T00:00:00 *as the wall clock shows
//! it*, so Unix time plus the offset from UTC. Boundaries are multiples of the interval in wall seconds; that makes a day's
//! file end at local midnight, and lets an hour that a DST change repeats go on in the same file.

#![forbid(unsafe_code)]

mod name;

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use name::{NameTemplate, TemplateError};

/// How far the end of a segment may lie beyond its interval before the clock counts as set back, in seconds. Zones have
/// moved by a whole day at most (across the date line), so no change of offset reaches it.
const SET_BACK: i64 = 86_400;

/// The wall clock that boundaries and names follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// UTC plus this many seconds (rotatelogs' OFFSET; 0 is its default).
    Utc(i32),
    /// The zone given with each call (rotatelogs' `-l`).
    Local,
}

/// Which files are emptied when they are opened. Says what was asked for; to obey is the caller's decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncate {
    /// None.
    #[default]
    Never,
    /// Those that a rotation opens under another name, not the first one (`-T`).
    Rotated,
    /// All; a name without conversions gets no suffix (`-t`).
    Always,
}

/// When a segment ends, and what its successor is. The default never rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Length of the interval in seconds; a segment ends at the next multiple of it on the wall clock.
    pub interval: Option<NonZeroU32>,
    /// A segment ends when it has **more** than this many bytes.
    pub size: Option<NonZeroU64>,
    /// The wall clock.
    pub base: Base,
    /// Number of files in the ring `file`, `file.1` … (`-n`).
    pub ring: Option<NonZeroU32>,
    /// Which files are emptied when they are opened.
    pub truncate: Truncate,
}

impl Default for Rotation {
    fn default() -> Self {
        Rotation { interval: None, size: None, base: Base::Utc(0), ring: None, truncate: Truncate::Never }
    }
}

impl Rotation {
    /// `now` in wall seconds. `zone` counts for [`Base::Local`] only.
    pub fn wall(&self, now: Timestamp, zone: &TimeZone) -> i64 {
        now.as_second() + i64::from(self.offset(now, zone))
    }

    /// Start of the interval that `now` lies in, in wall seconds; without an interval `now` itself.
    pub fn interval_start(&self, now: Timestamp, zone: &TimeZone) -> i64 {
        let wall = self.wall(now, zone);
        match self.interval {
            Some(interval) => wall - wall.rem_euclid(i64::from(interval.get())),
            None => wall,
        }
    }

    /// Seconds east of UTC that the wall clock has at `now`.
    fn offset(&self, now: Timestamp, zone: &TimeZone) -> i32 {
        match self.base {
            Base::Utc(offset) => offset,
            Base::Local => zone.to_offset(now).seconds(),
        }
    }

    /// The first instant, from `now` on, at which the wall clock shows `end` or later.
    fn instant_of(&self, end: i64, now: Timestamp, zone: &TimeZone) -> Timestamp {
        let mut offset = i64::from(self.offset(now, zone));
        if self.base == Base::Local {
            for change in zone.following(now) {
                let at = change.timestamp();
                if end - offset < at.as_second() {
                    break;
                }
                offset = i64::from(change.offset().seconds());
                if at.as_second() + offset >= end {
                    return at;
                }
            }
        }
        Timestamp::from_second(end - offset).map_or(Timestamp::MAX, |at| at.max(now))
    }
}

/// Why a segment starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the first one.
    First,
    /// The interval of the one before is over, or the clock was set back by more than a day.
    Interval,
    /// The one before is larger than the limit.
    Size,
}

/// One file that a [`Schedule`] chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name.
    pub path: PathBuf,
    /// It is to be emptied when it is opened, so the rules say.
    pub truncate: bool,
    /// Why it starts.
    pub reason: Reason,
    /// End of its interval in wall seconds.
    end: Option<i64>,
    /// Its number in the ring.
    ring: u32,
}

/// Rules and names together: the segments of one stream, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When.
    pub rotation: Rotation,
    /// Under which name.
    pub names: NameTemplate,
}

impl Schedule {
    /// The schedule of `file` under `rotation`.
    pub fn new(rotation: Rotation, file: impl Into<OsString>) -> Result<Self, TemplateError> {
        Ok(Schedule { rotation, names: NameTemplate::new(file, &rotation)? })
    }

    /// The segment that a program starts with.
    pub fn first(&self, now: Timestamp, zone: &TimeZone) -> Segment {
        let start = self.rotation.interval_start(now, zone);
        Segment {
            path: self.path(start, 0, now, zone),
            truncate: self.rotation.truncate == Truncate::Always,
            reason: Reason::First,
            end: self.end(start),
            ring: 0,
        }
    }

    /// The segment after `current`, which has `bytes` bytes, or `None` as long as `current` is to be kept. To be asked once
    /// before each write, the first included: a file that was there already may be full.
    ///
    /// A successor may have the path of `current` (an hourly interval under a daily name): where it is not to be emptied,
    /// there is nothing to open again.
    ///
    /// Otherwise than with rotatelogs, a segment beyond the size limit is kept while its successor would have the same name
    /// (rotatelogs opens the same file anew for each read); `-T` never empties the file that was just written; and after
    /// the clock was set back by more than a day the interval of the new time begins (rotatelogs stays in a file of the
    /// future until that time comes).
    pub fn next(&self, current: &Segment, bytes: u64, now: Timestamp, zone: &TimeZone) -> Option<Segment> {
        let reason = self.due(current, bytes, now, zone)?;
        let start = self.rotation.interval_start(now, zone);
        let ring = self.rotation.ring.map_or(0, |n| (current.ring + 1) % n);
        // Within its interval a segment was full: its successor is named after the moment, else it would have its name.
        let stamp = if reason == Reason::Size { self.rotation.wall(now, zone) } else { start };
        let path = self.path(stamp, ring, now, zone);
        let renamed = path != current.path;
        let truncate = match self.rotation.truncate {
            Truncate::Always => true,
            Truncate::Rotated => renamed || self.names.is_ring(),
            Truncate::Never => self.names.is_ring(),
        };
        if reason == Reason::Size && !renamed && !truncate {
            return None;
        }
        Some(Segment { path, truncate, reason, end: self.end(start), ring })
    }

    /// The instant, not before `now`, at which `current` is due by its interval; `None` without one. A caller that makes
    /// segments without lines (`-c`) sleeps until then, but no longer than it would not notice that the clock was set.
    pub fn boundary(&self, current: &Segment, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let end = current.end?;
        if self.interval_is_over(end, now, zone) {
            return Some(now);
        }
        Some(self.rotation.instant_of(end, now, zone))
    }

    fn due(&self, current: &Segment, bytes: u64, now: Timestamp, zone: &TimeZone) -> Option<Reason> {
        if current.end.is_some_and(|end| self.interval_is_over(end, now, zone)) {
            return Some(Reason::Interval);
        }
        self.rotation.size.is_some_and(|size| bytes > size.get()).then_some(Reason::Size)
    }

    fn interval_is_over(&self, end: i64, now: Timestamp, zone: &TimeZone) -> bool {
        let wall = self.rotation.wall(now, zone);
        let interval = self.rotation.interval.map_or(0, |interval| i64::from(interval.get()));
        wall >= end || end - wall > interval + SET_BACK
    }

    fn end(&self, start: i64) -> Option<i64> {
        self.rotation.interval.map(|interval| start + i64::from(interval.get()))
    }

    fn path(&self, start: i64, ring: u32, now: Timestamp, zone: &TimeZone) -> PathBuf {
        let offset = self.rotation.offset(now, zone);
        match self.rotation.base {
            Base::Utc(0) => self.names.path(start, ring, offset, "UTC"),
            Base::Utc(_) => {
                let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
                self.names.path(start, ring, offset, &format!("{sign}{:02}{:02}", minutes / 60, minutes % 60))
            }
            Base::Local => self.names.path(start, ring, offset, zone.to_offset_info(now).abbreviation()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u32 = 3600;
    const DAY: u32 = 86_400;

    fn every(interval: u32, base: Base) -> Rotation {
        Rotation { interval: NonZeroU32::new(interval), base, ..Rotation::default() }
    }

    fn larger_than(size: u64) -> Rotation {
        Rotation { size: NonZeroU64::new(size), ..Rotation::default() }
    }

    fn schedule(rotation: Rotation, file: &str) -> Schedule {
        Schedule::new(rotation, file).expect("test template is valid")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("test instant is valid")
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("zone is in the system's database")
    }

    fn name(segment: &Segment) -> &str {
        segment.path.to_str().expect("test names are UTF-8")
    }

    #[test]
    fn without_rules_the_name_stays_and_nothing_is_due() {
        let plain = schedule(Rotation::default(), "access.log");
        let first = plain.first(at("2026-01-01T00:00:00Z"), &TimeZone::UTC);
        assert_eq!(name(&first), "access.log");
        assert_eq!(plain.next(&first, u64::MAX, at("2036-01-01T00:00:00Z"), &TimeZone::UTC), None);
        assert_eq!(plain.boundary(&first, at("2026-01-01T00:00:00Z"), &TimeZone::UTC), None);
        let dated = schedule(Rotation::default(), "%Y.log");
        assert_eq!(name(&dated.first(at("2026-12-31T23:59:59Z"), &TimeZone::UTC)), "2026.log");
    }

    #[test]
    fn interval_starts_at_its_multiple() {
        let days = schedule(every(DAY, Base::Utc(0)), "a");
        let first = days.first(at("1970-01-02T13:00:00.5Z"), &TimeZone::UTC);
        assert_eq!(name(&first), "a.0000086400");
        let boundary = at("1970-01-03T00:00:00Z");
        assert_eq!(days.boundary(&first, at("1970-01-02T13:00:00.5Z"), &TimeZone::UTC), Some(boundary));
        assert_eq!(days.next(&first, u64::MAX, at("1970-01-02T23:59:59.999Z"), &TimeZone::UTC), None);
        let second = days.next(&first, 0, boundary, &TimeZone::UTC).expect("due at its boundary");
        assert_eq!((name(&second), second.reason), ("a.0000172800", Reason::Interval));
    }

    #[test]
    fn offset_moves_midnight_both_ways() {
        let now = at("2026-06-15T23:30:00Z");
        for (minutes, day, boundary) in [
            (60, "2026-06-16", "2026-06-16T23:00:00Z"),
            (-300, "2026-06-15", "2026-06-16T05:00:00Z"),
            (330, "2026-06-16", "2026-06-16T18:30:00Z"),
        ] {
            let days = schedule(every(DAY, Base::Utc(minutes * 60)), "%Y-%m-%d");
            // The zone given does not count.
            let first = days.first(now, &zone("America/New_York"));
            assert_eq!(name(&first), day, "offset {minutes}");
            assert_eq!(days.boundary(&first, now, &zone("America/New_York")), Some(at(boundary)), "offset {minutes}");
        }
    }

    #[test]
    fn leap_day_has_its_file() {
        let days = schedule(every(DAY, Base::Local), "%Y-%m-%d.%j");
        let vienna = zone("Europe/Vienna");
        let mut segment = days.first(at("2028-02-28T22:59:59Z"), &vienna);
        assert_eq!(name(&segment), "2028-02-28.059");
        for (now, expected) in [("2028-02-28T23:00:00Z", "2028-02-29.060"), ("2028-02-29T23:00:00Z", "2028-03-01.061")] {
            assert_eq!(days.next(&segment, 0, at(now) - std::time::Duration::from_secs(1), &vienna), None);
            segment = days.next(&segment, 0, at(now), &vienna).expect("due at local midnight");
            assert_eq!(name(&segment), expected);
        }
    }

    #[test]
    fn dst_days_end_at_local_midnight() {
        // 23 and 25 hours long.
        let days = schedule(every(DAY, Base::Local), "%Y-%m-%d");
        let vienna = zone("Europe/Vienna");
        for (start, end, day) in [
            ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-29"),
            ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "2026-10-25"),
        ] {
            let first = days.first(at(start), &vienna);
            assert_eq!(name(&first), day);
            assert_eq!(days.boundary(&first, at(start), &vienna), Some(at(end)));
            assert_eq!(days.next(&first, 0, at(end) - std::time::Duration::from_secs(1), &vienna), None);
            assert!(days.next(&first, 0, at(end), &vienna).is_some());
        }
    }

    #[test]
    fn dst_change_is_a_boundary_when_the_clock_jumps_over_one() {
        let hours = schedule(every(HOUR, Base::Local), "%H%M");
        let vienna = zone("Europe/Vienna");
        let first = hours.first(at("2026-03-29T00:30:00Z"), &vienna);
        assert_eq!(name(&first), "0100");
        let boundary = at("2026-03-29T01:00:00Z");
        assert_eq!(hours.boundary(&first, at("2026-03-29T00:30:00Z"), &vienna), Some(boundary));
        let second = hours.next(&first, 0, boundary, &vienna).expect("02:00 is never shown, 03:00 is");
        assert_eq!(name(&second), "0300");

        // Boundaries inside the gap: at its end, not half an hour later.
        let odd = schedule(every(5400, Base::Local), "%H%M");
        let first = odd.first(at("2026-03-29T00:10:00Z"), &vienna);
        assert_eq!(name(&first), "0000");
        let halves = schedule(every(9000, Base::Local), "%H%M");
        let first = halves.first(at("2026-03-29T00:59:00Z"), &vienna);
        let wall = halves.rotation.wall(at("2026-03-29T00:59:00Z"), &vienna);
        assert!(first.end.is_some_and(|end| end > wall));
        let boundary = halves.boundary(&first, at("2026-03-29T00:59:00Z"), &vienna).expect("has an interval");
        assert_eq!(halves.next(&first, 0, boundary - std::time::Duration::from_secs(1), &vienna), None);
        assert!(halves.next(&first, 0, boundary, &vienna).is_some());
    }

    #[test]
    fn repeated_hour_stays_in_one_file() {
        let hours = schedule(every(HOUR, Base::Local), "%H%M");
        let vienna = zone("Europe/Vienna");
        let first = hours.first(at("2026-10-25T00:30:00Z"), &vienna);
        assert_eq!(name(&first), "0200");
        for now in ["2026-10-25T00:59:59Z", "2026-10-25T01:00:00Z", "2026-10-25T01:59:59Z"] {
            assert_eq!(hours.next(&first, 0, at(now), &vienna), None, "{now}");
        }
        let boundary = at("2026-10-25T02:00:00Z");
        assert_eq!(hours.boundary(&first, at("2026-10-25T00:30:00Z"), &vienna), Some(boundary));
        assert_eq!(name(&hours.next(&first, 0, boundary, &vienna).expect("due")), "0300");
    }

    #[test]
    fn boundary_is_the_first_instant_at_which_it_is_due() {
        for name in ["Europe/Vienna", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"] {
            let zone = zone(name);
            for interval in [1800, HOUR, 5400, 7200, 9000, DAY, 7 * DAY] {
                let rules = schedule(every(interval, Base::Local), "a");
                for day in 0..366 {
                    let now = at("2026-01-01T00:17:00Z") + std::time::Duration::from_secs(day * 87_000);
                    let segment = rules.first(now, &zone);
                    let boundary = rules.boundary(&segment, now, &zone).expect("has an interval");
                    let before = boundary - std::time::Duration::from_secs(1);
                    assert!(boundary > now && rules.next(&segment, 0, boundary, &zone).is_some(), "{name} {now}");
                    assert_eq!(rules.next(&segment, 0, before, &zone), None, "{name} {interval} {now}");
                }
            }
        }
    }

    #[test]
    fn size_only_names_are_the_moment() {
        let rules = schedule(Rotation { base: Base::Utc(7200), ..larger_than(5) }, "a");
        let now = at("1970-01-01T00:00:01Z");
        let first = rules.first(now, &TimeZone::UTC);
        assert_eq!(name(&first), "a.0000007201");
        assert_eq!(rules.next(&first, 5, at("1970-01-01T00:00:09Z"), &TimeZone::UTC), None);
        assert_eq!(rules.next(&first, 6, now, &TimeZone::UTC), None, "the name would be the same");
        let second = rules.next(&first, 6, at("1970-01-01T00:00:09Z"), &TimeZone::UTC).expect("too large");
        assert_eq!((name(&second), second.reason), ("a.0000007209", Reason::Size));
    }

    #[test]
    fn size_within_an_interval_names_the_moment_and_keeps_the_boundary() {
        let rules = schedule(Rotation { interval: NonZeroU32::new(HOUR), ..larger_than(5) }, "a");
        let first = rules.first(at("1970-01-01T01:10:00Z"), &TimeZone::UTC);
        let second = rules.next(&first, 6, at("1970-01-01T01:20:00Z"), &TimeZone::UTC).expect("too large");
        assert_eq!((name(&first), name(&second)), ("a.0000003600", "a.0000004800"));
        let third = rules.next(&second, 9, at("1970-01-01T02:00:00Z"), &TimeZone::UTC).expect("interval is over");
        assert_eq!((name(&third), third.reason), ("a.0000007200", Reason::Interval));
    }

    #[test]
    fn ring_comes_round_and_empties_all_but_the_first() {
        let ring = schedule(Rotation { ring: NonZeroU32::new(3), ..larger_than(5) }, "a");
        let now = at("2026-01-01T00:00:00Z");
        let mut segment = ring.first(now, &TimeZone::UTC);
        assert_eq!((name(&segment), segment.truncate), ("a", false));
        for expected in ["a.1", "a.2", "a", "a.1"] {
            segment = ring.next(&segment, 6, now, &TimeZone::UTC).expect("too large");
            assert_eq!((name(&segment), segment.truncate), (expected, true));
        }
    }

    #[test]
    fn truncation_follows_the_options() {
        let (now, later) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
        let rules = |truncate, file| schedule(Rotation { truncate, ..every(DAY, Base::Utc(0)) }, file);
        for (truncate, file, first_empties, next_empties) in [
            (Truncate::Never, "a", false, false),
            (Truncate::Rotated, "a.%d", false, true),
            (Truncate::Rotated, "a.%Y", false, false),
            (Truncate::Always, "a", true, true),
            (Truncate::Always, "a.%Y", true, true),
        ] {
            let rules = rules(truncate, file);
            let first = rules.first(now, &TimeZone::UTC);
            let next = rules.next(&first, 0, later, &TimeZone::UTC).expect("due");
            assert_eq!((first.truncate, next.truncate), (first_empties, next_empties), "{truncate:?} {file}");
        }
        assert_eq!(name(&rules(Truncate::Always, "a").first(now, &TimeZone::UTC)), "a");
        assert_eq!(name(&rules(Truncate::Rotated, "a").first(now, &TimeZone::UTC)), "a.1767225600");
    }

    #[test]
    fn clock_set_back_a_little_changes_nothing() {
        let hours = schedule(every(HOUR, Base::Utc(0)), "%H");
        let first = hours.first(at("2026-01-01T12:00:00Z"), &TimeZone::UTC);
        assert_eq!(hours.next(&first, 0, at("2026-01-01T11:59:59Z"), &TimeZone::UTC), None);
        assert_eq!(hours.next(&first, 0, at("2026-01-01T01:00:00Z"), &TimeZone::UTC), None);
    }

    #[test]
    fn clock_set_back_by_years_rotates_once() {
        let hours = schedule(every(HOUR, Base::Utc(0)), "%Y-%m-%d-%H");
        let first = hours.first(at("2036-02-07T06:28:00Z"), &TimeZone::UTC);
        let now = at("2026-01-01T12:34:00Z");
        assert_eq!(hours.boundary(&first, now, &TimeZone::UTC), Some(now));
        let second = hours.next(&first, 0, now, &TimeZone::UTC).expect("the clock was wrong before");
        assert_eq!(name(&second), "2026-01-01-12");
        assert_eq!(hours.next(&second, 0, now, &TimeZone::UTC), None);
        assert_eq!(hours.boundary(&second, now, &TimeZone::UTC), Some(at("2026-01-01T13:00:00Z")));
    }

    proptest::proptest! {
        #[test]
        fn no_clock_makes_a_chosen_segment_due_at_once(
            instants in proptest::collection::vec(-9_000_000_000i64..9_000_000_000, 1..20),
            interval in proptest::option::of(1u32..10_000_000),
            size in proptest::option::of(1u64..1000),
            local in proptest::bool::ANY,
            file in proptest::sample::select(&["a", "a.%Y", "a.%H%M%S", "%s"][..]),
        ) {
            let vienna = zone("Europe/Vienna");
            let base = if local { Base::Local } else { Base::Utc(-300 * 60) };
            let rotation = Rotation {
                interval: interval.and_then(NonZeroU32::new),
                size: size.and_then(NonZeroU64::new),
                base,
                ..Rotation::default()
            };
            let rules = schedule(rotation, file);
            let mut segment = rules.first(Timestamp::from_second(instants[0]).expect("in range"), &vienna);
            for second in instants {
                let now = Timestamp::from_second(second).expect("in range");
                if let Some(next) = rules.next(&segment, 1000, now, &vienna) {
                    proptest::prop_assert_eq!(rules.next(&next, 0, now, &vienna), None);
                    segment = next;
                }
                // If that file was there, and full, the moment's own name comes next, and then no other.
                if let Some(next) = rules.next(&segment, 1000, now, &vienna) {
                    proptest::prop_assert_eq!(rules.next(&next, 1000, now, &vienna), None);
                    segment = next;
                }
                proptest::prop_assert!(rules.boundary(&segment, now, &vienna).is_none_or(|at| at >= now));
            }
        }
    }
}
