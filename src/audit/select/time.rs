//! Moments as they are typed.
#![forbid(unsafe_code)]

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use thiserror::Error;

/// What was typed is no moment.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no time; write 2026-01-31T12:00:00Z, 2026-01-31 12:00, 2026-01-31, or how long ago, as 2h or 7d")]
pub struct TimeError(String);

/// A time stamp of RFC 3339, a date with or without a time in this zone, or how long before `now`.
pub fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, TimeError> {
    let wrong = || TimeError(text.to_owned());
    let text = text.trim();
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    // A date with a time is one of the other kind, too, with the time left out.
    let civil = if text.len() > "2026-01-31".len() { text.parse::<DateTime>() } else { text.parse::<Date>().map(DateTime::from) };
    if let Ok(civil) = civil {
        return zone.to_timestamp(civil).map_err(|_| wrong());
    }
    let ago = crate::audit::age(text).map_err(|_| wrong())?;
    now.checked_sub(ago).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_typed_in_many_ways() {
        let now: Timestamp = "2026-02-01T12:00:00Z".parse().unwrap();
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        for (text, expected) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
            ("2026-01-31T12:00:00", "2026-01-31T11:00:00Z"),
            ("2026-01-31 12:00", "2026-01-31T11:00:00Z"),
            ("2026-01-31", "2026-01-30T23:00:00Z"),
            ("2h", "2026-02-01T10:00:00Z"),
            ("7d", "2026-01-25T12:00:00Z"),
            ("1w", "2026-01-25T12:00:00Z"),
            ("90 minutes", "2026-02-01T10:30:00Z"),
        ] {
            assert_eq!(moment(text, now, &berlin).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "yesterday-ish", "2026-02-30", "-2h", "1 month", "25:00", "99999999y"] {
            assert!(moment(text, now, &berlin).is_err(), "{text}");
        }
    }
}
