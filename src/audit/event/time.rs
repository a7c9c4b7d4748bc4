//! Time stamps of logs.
//!
//! Promises: a time stamp that is none (a 30th of February, an hour 25) gives nothing; a leap second is the last moment before the next
//! minute, so that order is kept.
//! Not promised: which of the two an hour is that a zone has twice (the first is taken), and an hour that a zone leaves out (it is moved
//! behind the gap).
#![forbid(unsafe_code)]

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::Context;
use super::scan::digits;

/// How far ahead of its record a line without a year may be: clocks of two hosts, or a zone that is not known.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// A 29th of February is in one of so many years, 1900 and 2100 included.
const YEARS: i16 = 8;

/// Month and day as RFC 3164 has them, perhaps a year, then the time: `Jan 31 12:00:00`, `Jan  1 2026 12:00:00.123`. The time is only
/// missing where it needs a year.
pub fn traditional<'a>(bytes: &'a [u8], context: &Context) -> Option<(Option<Timestamp>, &'a [u8])> {
    let (month, day, rest) = month_and_day(bytes)?;
    // A leap year has every day that there is.
    Date::new(2000, month, day).ok()?;
    let (year, rest) = match rest {
        [a, b, c, d, b' ', rest @ ..] if rest.len() >= 8 && rest[2] == b':' => (Some(year([a, b, c, d])?), rest),
        _ => (None, rest),
    };
    let (time, rest) = clock(rest)?;
    let rest = match rest {
        [] => rest,
        [b' ' | b':', ..] => rest,
        _ => return None,
    };
    let local = |year: i16| context.zone.to_timestamp(Date::new(year, month, day).ok()?.to_datetime(time)).ok();
    let moment = match (year, context.sealed) {
        (Some(year), _) => Some(local(year)?),
        // The latest that is not too far ahead is the closest: years are further apart than that.
        (None, Some(sealed)) => {
            let latest = sealed.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
            let year = context.zone.to_datetime(sealed).year();
            (year - YEARS..=year.saturating_add(1)).rev().filter_map(local).find(|time| *time <= latest)
        }
        (None, None) => None,
    };
    Some((moment, rest))
}

/// RFC 3339 and its kin: `2026-01-31T12:00:00.123456+01:00`, with a space for the `T`, a comma for the point, without a zone.
pub fn iso<'a>(bytes: &'a [u8], context: &Context) -> Option<(Timestamp, &'a [u8])> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't' | b' ', rest @ ..] = bytes else { return None };
    let date = Date::new(year([y1, y2, y3, y4])?, two(*m1, *m2)?, two(*d1, *d2)?).ok()?;
    let (time, rest) = clock(rest)?;
    let at = date.to_datetime(time);
    match offset(rest) {
        Some((offset, rest)) => Some((offset.to_timestamp(at).ok()?, rest)),
        None => Some((context.zone.to_timestamp(at).ok()?, rest)),
    }
}

/// `%t` of Apache's access logs without its brackets: `31/Jan/2026:12:00:00 +0100`.
pub fn apache_access(bytes: &[u8]) -> Option<Timestamp> {
    let [d1, d2, b'/', m1, m2, m3, b'/', y1, y2, y3, y4, b':', rest @ ..] = bytes else { return None };
    let date = Date::new(year([y1, y2, y3, y4])?, month([*m1, *m2, *m3])?, two(*d1, *d2)?).ok()?;
    let (time, rest) = clock(rest)?;
    let (offset, rest) = offset(rest.strip_prefix(b" ")?)?;
    if !rest.is_empty() {
        return None;
    }
    offset.to_timestamp(date.to_datetime(time)).ok()
}

/// The time of Apache's error logs without its brackets: `Sat Jan 31 12:00:00.123456 2026`. It has no zone.
pub fn apache_error(bytes: &[u8], context: &Context) -> Option<Timestamp> {
    let [b'A'..=b'Z', b'a'..=b'z', b'a'..=b'z', b' ', rest @ ..] = bytes else { return None };
    let (month, day, rest) = month_and_day(rest)?;
    let (time, rest) = clock(rest)?;
    let [b' ', y1, y2, y3, y4] = rest else { return None };
    let at: DateTime = Date::new(year([y1, y2, y3, y4])?, month, day).ok()?.to_datetime(time);
    context.zone.to_timestamp(at).ok()
}

fn month_and_day(bytes: &[u8]) -> Option<(i8, i8, &[u8])> {
    let [m1, m2, m3, b' ', rest @ ..] = bytes else { return None };
    let month = month([*m1, *m2, *m3])?;
    match rest {
        [b' ', day, b' ', rest @ ..] | [day, b' ', rest @ ..] => Some((month, two(b'0', *day)?, rest)),
        [tens, ones, b' ', rest @ ..] => Some((month, two(*tens, *ones)?, rest)),
        _ => None,
    }
}

fn month(name: [u8; 3]) -> Option<i8> {
    Some(match &name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

/// `12:00:00`, with a fraction or without.
fn clock(bytes: &[u8]) -> Option<(Time, &[u8])> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = bytes else { return None };
    let (hour, minute, second) = (two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?);
    let (mut nanoseconds, mut rest) = (0, rest);
    if let [b'.' | b',', b'0'..=b'9', ..] = rest {
        let (fraction, behind) = digits(&rest[1..]);
        for place in 0..9 {
            nanoseconds = nanoseconds * 10 + i32::from(fraction.get(place).map_or(0, |digit| digit - b'0'));
        }
        rest = behind;
    }
    let time = match second {
        60 => Time::new(hour, minute, 59, 999_999_999),
        _ => Time::new(hour, minute, second, nanoseconds),
    };
    Some((time.ok()?, rest))
}

/// `Z`, `+0100`, `+01:00` or `+01`.
fn offset(bytes: &[u8]) -> Option<(Offset, &[u8])> {
    let (sign, rest) = match bytes {
        [b'Z' | b'z', rest @ ..] => return Some((Offset::UTC, rest)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let ([h1, h2, b':', m1, m2, rest @ ..] | [h1, h2, m1 @ b'0'..=b'9', m2, rest @ ..]) = rest else {
        let [h1, h2, rest @ ..] = rest else { return None };
        return Some((Offset::from_hours(sign * two(*h1, *h2)?).ok()?, rest));
    };
    let minutes = i32::from(two(*h1, *h2)?) * 60 + i32::from(two(*m1, *m2).filter(|minutes| *minutes < 60)?);
    Some((Offset::from_seconds(i32::from(sign) * minutes * 60).ok()?, rest))
}

fn year(digits: [&u8; 4]) -> Option<i16> {
    Some(i16::from(two(*digits[0], *digits[1])?) * 100 + i16::from(two(*digits[2], *digits[3])?))
}

fn two(tens: u8, ones: u8) -> Option<i8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| (byte - b'0').cast_signed());
    Some(digit(tens)? * 10 + digit(ones)?)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn context(sealed: &str, zone: TimeZone) -> Context {
        Context { sealed: Some(sealed.parse().unwrap()), zone, log: String::new() }
    }

    #[test]
    fn a_time_without_a_year_takes_that_of_its_record() {
        let berlin = TimeZone::fixed(Offset::from_hours(1).unwrap());
        let cases = [
            ("Jan 31 12:00:00", "2026-01-31T12:00:05Z", "2026-01-31T12:00:00Z"),
            ("Dec 31 23:59:59", "2026-01-01T00:00:01Z", "2025-12-31T23:59:59Z"),
            // A clock that is ahead of the record's, by less than a day and by more.
            ("Jan  1 00:00:10", "2025-12-31T23:59:58Z", "2026-01-01T00:00:10Z"),
            ("Jan  1 23:59:58", "2025-12-31T23:59:58Z", "2026-01-01T23:59:58Z"),
            ("Jan  1 23:59:59", "2025-12-31T23:59:58Z", "2025-01-01T23:59:59Z"),
            ("Feb 29 08:00:00", "2027-03-01T00:00:00Z", "2024-02-29T08:00:00Z"),
            ("Feb 29 08:00:00", "2103-03-01T00:00:00Z", "2096-02-29T08:00:00Z"),
            ("Jul 1 01:02:03", "2026-08-01T00:00:00Z", "2026-07-01T01:02:03Z"),
            ("Jun 30 23:59:60", "2026-08-01T00:00:00Z", "2026-06-30T23:59:59.999999999Z"),
            ("Jan 31 2021 12:00:00.25", "2026-08-01T00:00:00Z", "2021-01-31T12:00:00.25Z"),
            ("Dec 31 23:59:59", "9999-12-30T00:00:00Z", "9998-12-31T23:59:59Z"),
        ];
        for (text, sealed, expected) in cases {
            let (time, rest) = traditional(text.as_bytes(), &context(sealed, TimeZone::UTC)).unwrap();
            assert_eq!((time, rest), (Some(expected.parse().unwrap()), &b""[..]), "{text} {sealed}");
        }
        let (time, _) = traditional(b"Jan  1 00:30:00", &context("2025-12-31T23:31:00Z", berlin)).unwrap();
        assert_eq!(time, Some("2025-12-31T23:30:00Z".parse().unwrap()));
        assert_eq!(traditional(b"Jan 31 12:00:00 h", &Context::default()), Some((None, &b" h"[..])));
        for wrong in [
            "Jan 32 12:00:00",
            "Jan  0 12:00:00",
            "Feb 30 12:00:00",
            "Jan 31 24:00:00",
            "Jan 31 12:00:61",
            "jan 31 12:00:00",
            "Jan 31 12:00:0",
            "",
        ] {
            assert_eq!(traditional(wrong.as_bytes(), &Context::default()), None, "{wrong}");
            assert_eq!(traditional(wrong.as_bytes(), &context("2026-01-31T12:00:05Z", TimeZone::UTC)), None, "{wrong}");
        }
    }

    #[test]
    fn zones_are_taken_from_the_line_or_the_context() {
        let cases = [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", ""),
            ("2026-01-31T12:00:00.123456+01:00 h", "2026-01-31T11:00:00.123456Z", " h"),
            ("2026-01-31T12:00:00-0930", "2026-01-31T21:30:00Z", ""),
            ("2026-01-31t12:00:00+14", "2026-01-30T22:00:00Z", ""),
            ("2026-01-31 12:00:00,250 x", "2026-01-31T10:00:00.25Z", " x"),
            ("2026-01-31 12:00:00.1234567899", "2026-01-31T10:00:00.123456789Z", ""),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999999Z", ""),
        ];
        let east = Context { zone: TimeZone::fixed(Offset::from_hours(2).unwrap()), ..Context::default() };
        for (text, expected, rest) in cases {
            assert_eq!(iso(text.as_bytes(), &east), Some((expected.parse().unwrap(), rest.as_bytes())), "{text}");
        }
        for wrong in
            ["2026-02-29T12:00:00Z", "2026-13-01T12:00:00Z", "2026-01-31T12:00", "9999-12-31T23:59:59-23:00", "2026-01-31"]
        {
            assert_eq!(iso(wrong.as_bytes(), &Context::default()), None, "{wrong}");
        }
        assert_eq!(apache_access(b"31/Jan/2026:12:00:00 -0130"), Some("2026-01-31T13:30:00Z".parse().unwrap()));
        assert_eq!(apache_access(b"31/Jan/2026:12:00:00"), None);
        assert_eq!(apache_access(b"31/Jan/2026:12:00:00 +0199"), None);
        assert_eq!(apache_error(b"Sat Jan 31 12:00:00.123456 2026", &east), Some("2026-01-31T10:00:00.123456Z".parse().unwrap()));
        assert_eq!(apache_error(b"Sat Jan 31 12:00:00", &east), None);
    }
}
