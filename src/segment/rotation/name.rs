//! Names of segments: rotatelogs' FILE, and what it makes of an instant.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::Offset;
use thiserror::Error;

use super::{Rotation, Truncate};

/// Conversions of strftime that are formatted as they are.
const PLAIN: &[u8] = b"AaBbCdeFGgHhIjklMmPpRSTUuVWwYyz";
const HOUR: u32 = 3600;

/// Why a name template cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// Nothing to make a name from.
    #[error("file name is empty")]
    Empty,
    /// strftime templates are text.
    #[error("file name with '%' is not UTF-8: {}", .0.display())]
    NotUtf8(PathBuf),
    /// The ring's names are numbered, so they cannot carry a time too.
    #[error("-n does not go with '%' in the file name: {}", .0.display())]
    RingWithConversion(PathBuf),
    /// A conversion that is unknown, would put a control character into a name, or ends the template.
    #[error("unknown conversion '{conversion}' at byte {offset} of the file name '{template}'")]
    Conversion {
        /// The whole template.
        template: String,
        /// What was not understood, from its `%` on.
        conversion: String,
        /// Where its `%` stands, in bytes from 0.
        offset: usize,
    },
}

/// A segment's name as it was asked for: what rotatelogs does with its FILE.
///
/// | FILE | rules | names |
/// | --- | --- | --- |
/// | has a `%` | no ring | strftime of the start |
/// | no `%` | `-t` | FILE |
/// | no `%` | ring of n | FILE, FILE.1 … FILE.n-1 |
/// | no `%` | interval or size | FILE.%010d, the start in wall seconds |
/// | no `%` | none | FILE |
///
/// strftime is that of the C locale, with the flags `-_0^`. Conversions that rotatelogs would copy as they are, and those
/// that make control characters, are errors. `%Z` is the zone's name at the instant (rotatelogs: always that of standard
/// time) and `%s` the start in Unix time (rotatelogs: right with `-l` only).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Fixed(PathBuf),
    Stamped(PathBuf),
    Ring(PathBuf),
    Strftime(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Text and conversions for [`BrokenDownTime`].
    Format(String),
    /// `%Z`, which a wall time alone does not tell.
    ZoneName,
    /// `%s`, the same.
    UnixTime,
}

impl NameTemplate {
    /// The names that `file` and `rotation` make.
    pub fn new(file: impl Into<OsString>, rotation: &Rotation) -> Result<Self, TemplateError> {
        let file = file.into();
        if file.is_empty() {
            return Err(TemplateError::Empty);
        }
        let path = PathBuf::from(&file);
        if file.as_encoded_bytes().contains(&b'%') {
            if rotation.ring.is_some() {
                return Err(TemplateError::RingWithConversion(path));
            }
            let text = file.to_str().ok_or(TemplateError::NotUtf8(path))?;
            return Ok(NameTemplate(Kind::Strftime(pieces(text)?)));
        }
        Ok(NameTemplate(if rotation.truncate == Truncate::Always {
            Kind::Fixed(path)
        } else if rotation.ring.is_some() {
            Kind::Ring(path)
        } else if rotation.interval.is_some() || rotation.size.is_some() {
            Kind::Stamped(path)
        } else {
            Kind::Fixed(path)
        }))
    }

    /// True if the names are those of a ring.
    pub(super) fn is_ring(&self) -> bool {
        matches!(self.0, Kind::Ring(_))
    }

    /// The longest interval in seconds at whose ends alone the name changes; `None` where it never does.
    pub fn finest(&self) -> Option<NonZeroU32> {
        let Kind::Strftime(pieces) = &self.0 else { return None };
        let seconds = pieces.iter().filter_map(|piece| match piece {
            Piece::Format(format) => finest(format),
            // It changes with the offset from UTC, at full hours at the earliest.
            Piece::ZoneName => Some(HOUR),
            Piece::UnixTime => Some(1),
        });
        seconds.min().and_then(NonZeroU32::new)
    }

    /// The path of the segment that starts at `start` (wall seconds) and is number `ring` of its ring. `offset` is the wall
    /// clock's distance from UTC in seconds and `zone_name` its name, for `%z`, `%s` and `%Z`.
    pub fn path(&self, start: i64, ring: u32, offset: i32, zone_name: &str) -> PathBuf {
        match &self.0 {
            Kind::Fixed(path) => path.clone(),
            Kind::Ring(path) if ring == 0 => path.clone(),
            Kind::Ring(path) => with_suffix(path, &format!(".{ring}")),
            Kind::Stamped(path) => with_suffix(path, &format!(".{start:010}")),
            Kind::Strftime(pieces) => {
                let mut time = BrokenDownTime::from(civil(start));
                // %z is hours and minutes; old offsets have seconds.
                time.set_offset(Offset::from_seconds(offset - offset % 60).ok());
                let mut name = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Format(format) => {
                            name += &time.to_string(format).expect("conversions were checked by pieces()");
                        }
                        Piece::ZoneName => name += zone_name,
                        Piece::UnixTime => name += &(start - i64::from(offset)).to_string(),
                    }
                }
                name.into()
            }
        }
    }
}

/// Checks a strftime template, and takes it apart.
fn pieces(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut format = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        format += &rest[..at];
        let offset = template.len() - rest.len() + at;
        let tail = &rest[at + 1..];
        let flag = &tail[..tail.len().min(usize::from(tail.starts_with(['-', '_', '0', '^'])))];
        let conversion = tail[flag.len()..].chars().next();
        let unknown = || TemplateError::Conversion {
            template: template.to_owned(),
            conversion: format!("%{flag}{}", conversion.map(String::from).unwrap_or_default()),
            offset,
        };
        let conversion = conversion.ok_or_else(unknown)?;
        let special = match conversion {
            'Z' => Some(Piece::ZoneName),
            's' => Some(Piece::UnixTime),
            _ => None,
        };
        match conversion {
            _ if u8::try_from(conversion).is_ok_and(|byte| PLAIN.contains(&byte)) => {
                format += "%";
                format += flag;
                format.push(conversion);
            }
            _ if !flag.is_empty() => return Err(unknown()),
            '%' => format += "%%",
            // jiff's own locale differs from C's.
            'c' => format += "%a %b %e %H:%M:%S %Y",
            'D' | 'x' => format += "%m/%d/%y",
            'X' => format += "%H:%M:%S",
            'r' => format += "%I:%M:%S %p",
            _ => {
                let piece = special.ok_or_else(unknown)?;
                pieces.push(Piece::Format(std::mem::take(&mut format)));
                pieces.push(piece);
            }
        }
        rest = &tail[flag.len() + conversion.len_utf8()..];
    }
    format += rest;
    pieces.push(Piece::Format(format));
    Ok(pieces)
}

/// Seconds for which all conversions of a checked format give the same.
fn finest(format: &str) -> Option<u32> {
    let mut finest: Option<u32> = None;
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let tail = rest[at + 1..].trim_start_matches(['-', '_', '0', '^']);
        let seconds = match tail.bytes().next() {
            Some(b'S' | b'T') => Some(1),
            Some(b'M' | b'R') => Some(60),
            Some(b'H' | b'I' | b'k' | b'l' | b'P' | b'p' | b'z') => Some(HOUR),
            Some(b'%') | None => None,
            Some(_) => Some(24 * HOUR),
        };
        finest = finest.into_iter().chain(seconds).min();
        rest = tail.get(1..).unwrap_or_default();
    }
    finest
}

/// Date and time that a wall clock shows; at the ends of jiff's calendar (years -9999 and 9999) it stops.
fn civil(wall: i64) -> DateTime {
    let (min, max) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let at = Timestamp::from_second(wall.clamp(min, max)).expect("clamped to the calendar");
    Offset::UTC.to_datetime(at)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use super::*;

    #[test]
    fn conversions_are_those_of_the_c_locale() {
        let rules = Rotation { size: NonZeroU64::new(1), ..Rotation::default() };
        let names = NameTemplate::new(
            concat!(
                "%A %a %B %b %C %c %D %d %e %F %G %g %H %h %I %j %k %l %M %m %P %p %R %r %S %s %T %U %u %V %W %w %X %x %Y ",
                "%y %Z %z %% %-d %_m %0e %^a",
            ),
            &rules,
        );
        // 2026-07-05T18:07:09 in Vienna.
        let path = names.expect("every conversion is known").path(1_783_267_629 + 7200, 0, 7200, "CEST");
        assert_eq!(
            path.to_str().expect("template is UTF-8"),
            concat!(
                "Sunday Sun July Jul 20 Sun Jul  5 18:07:09 2026 07/05/26 05  5 2026-07-05 2026 26 18 Jul 06 186 18  6 07 07 pm ",
                "PM 18:07 06:07:09 PM 09 1783267629 18:07:09 27 7 27 26 0 18:07:09 07/05/26 2026 26 CEST +0200 % 5  7 05 SUN",
            )
        );
    }

    #[test]
    fn templates_that_make_no_name_are_refused() {
        let plain = Rotation::default();
        for (template, conversion, offset) in [
            ("a%", "%", 1),
            ("é%N", "%N", 2),
            ("a%%b%n", "%n", 4),
            ("%t", "%t", 0),
            ("%Ey", "%E", 0),
            ("%-", "%-", 0),
            ("%é", "%é", 0),
        ] {
            let expected = TemplateError::Conversion { template: template.to_owned(), conversion: conversion.to_owned(), offset };
            assert_eq!(NameTemplate::new(template, &plain), Err(expected));
        }
        assert_eq!(NameTemplate::new("", &plain), Err(TemplateError::Empty));
        let ring = Rotation { ring: NonZeroU32::new(2), ..plain };
        assert_eq!(NameTemplate::new("a%Y", &ring), Err(TemplateError::RingWithConversion("a%Y".into())));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_pass_unless_they_are_templates() {
        use std::os::unix::ffi::OsStringExt;
        let name = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let days = Rotation { interval: NonZeroU32::new(86_400), ..Rotation::default() };
        let names = NameTemplate::new(name(b"\xff"), &days).expect("a plain name is bytes");
        assert_eq!(names.path(0, 0, 0, "UTC").as_os_str(), name(b"\xff.0000000000"));
        assert!(matches!(NameTemplate::new(name(b"\xff%Y"), &days), Err(TemplateError::NotUtf8(_))));
    }
}
