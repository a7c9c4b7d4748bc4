//! Which log a line belongs to, as a field at its beginning says, and which file that is.
//!
//! Promises: every line has a log, whatever its field looks like; a value becomes a part of one file name and can neither
//! leave the folder nor mean a conversion; two different hosts never share a file or a stream (of values that are longer
//! than a name may be, a digest stands for the rest).
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use memchr::memchr;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::target::strip_suffix;
use crate::control::Hex;
use crate::segment::rotation::{Base, NameTemplate, Rotation, Schedule, TemplateError};

/// The space behind the field stands in the first so many bytes of a line.
pub const FIELD_LIMIT: usize = 512;
/// A value with more bytes than this has a digest in place of its end.
const VALUE_LIMIT: usize = 100;
/// So many of its bytes stand before the digest.
const VALUE_START: usize = 64;
/// RFC 5424's NILVALUE: there is no such value.
const NIL: &str = "-";
/// What cannot be in a value, and so keeps two of them apart.
const SEPARATORS: [char; 5] = ['/', '@', '+', '=', ','];

/// Why a template means nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Templates are text.
    #[error("the file template is not UTF-8: {}", .0.display())]
    NotUtf8(PathBuf),
    /// A brace that begins no placeholder.
    #[error("unknown placeholder at byte {offset} of the file template '{template}'")]
    Placeholder {
        /// The whole template.
        template: String,
        /// Where its brace stands, in bytes from 0.
        offset: usize,
    },
    /// `a-b` and `c` would be the same as `a` and `b-c`.
    #[error("nothing keeps the placeholders apart in the file template '{0}'")]
    Together(String),
    /// It ends in a folder, or goes up behind its fixed part.
    #[error("no file can have the name of the file template '{0}'")]
    NoFile(String),
    /// A conversion.
    #[error(transparent)]
    Names(#[from] TemplateError),
}

impl RouteError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Placeholder { .. } => "the placeholders are {host} and {log}",
            Self::Together(_) => "put a '/' or one of '@+=,' between them: {host}/{log}.log",
            Self::Names(TemplateError::Conversion { .. }) => {
                "write '%%' for a percent sign, and see strftime(3) for the conversions"
            }
            _ => "choose another name, for instance /var/log/remote/{host}/{log}.log",
        }
    }
}

/// The values that choose a log, as they stand in file names; `-` where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    /// The host.
    pub host: String,
    /// The log.
    pub log: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Text and strftime conversions.
    Text(String),
    Host,
    Log,
}

/// A path with strftime conversions and the placeholders `{host}` and `{log}`.
#[derive(Clone, Debug)]
pub struct Template {
    folder: PathBuf,
    /// Behind the folder.
    parts: Vec<Part>,
    rotation: Rotation,
}

impl Template {
    /// Takes a template apart. The suffix of a record format at its end is taken off.
    pub fn parse(path: &Path) -> Result<Self, RouteError> {
        let text = path.to_str().ok_or_else(|| RouteError::NotUtf8(path.to_owned()))?;
        let stripped = strip_suffix(path);
        let stripped = stripped.to_str().unwrap_or(text);
        let fixed = stripped.find(['{', '%']).unwrap_or(stripped.len());
        let fixed = stripped[..fixed].rfind('/').map_or(0, |slash| slash + 1);
        let parts = parts(stripped, fixed)?;
        let name = stripped.rsplit('/').next().unwrap_or_default();
        if matches!(name, "" | ".") || stripped[fixed..].split('/').any(|component| component == "..") {
            return Err(RouteError::NoFile(text.to_owned()));
        }
        if !is_unambiguous(&parts) {
            return Err(RouteError::Together(text.to_owned()));
        }
        let folder = if fixed == 0 { PathBuf::from(".") } else { PathBuf::from(&stripped[..fixed]) };
        let mut template = Self { folder, parts, rotation: Rotation { base: Base::Local, ..Rotation::default() } };
        let names = NameTemplate::new(template.path(&template.widest()), &template.rotation)?;
        template.rotation.interval = names.finest();
        // What follows a placeholder is not known here: no conversion may begin before one and end in its value.
        for part in &template.parts {
            match part {
                Part::Text(text) if text.contains('%') => drop(NameTemplate::new(text, &template.rotation)?),
                Part::Text(_) | Part::Host | Part::Log => {}
            }
        }
        Ok(template)
    }

    /// What stands before the first placeholder or conversion.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether lines begin with a field.
    pub fn has_field(&self) -> bool {
        self.has_host() || self.parts.contains(&Part::Log)
    }

    /// Whether the field tells a host.
    pub fn has_host(&self) -> bool {
        self.parts.contains(&Part::Host)
    }

    /// Which log the line that begins so belongs to. Returns how many bytes its field takes, with the space.
    pub fn route(&self, line: &[u8], route: &mut Route) -> usize {
        let (has_host, has_log) = (self.has_host(), self.parts.contains(&Part::Log));
        let space = memchr(b' ', &line[..line.len().min(FIELD_LIMIT)]).filter(|_| has_host || has_log);
        let field = space.map_or(&[][..], |at| &line[..at]);
        let (host, log) = match (has_host, memchr(b'/', field).filter(|_| has_log)) {
            (true, Some(at)) => (&field[..at], &field[at + 1..]),
            (true, None) => (field, &[][..]),
            (false, _) => (&[][..], field),
        };
        encode(host, &mut route.host);
        encode(log, &mut route.log);
        space.map_or(0, |at| at + 1)
    }

    /// The template of this log's files below the folder: strftime conversions, no placeholders.
    pub fn name(&self, route: &Route) -> String {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name += text,
                // A value is no conversion.
                Part::Host => name += &route.host.replace('%', "%%"),
                Part::Log => name += &route.log.replace('%', "%%"),
            }
        }
        name
    }

    /// The names of this log's files, and when they change.
    pub fn schedule(&self, route: &Route) -> Schedule {
        Schedule::new(self.rotation, self.path(route)).expect("conversions were checked by parse()")
    }

    /// Whether the longest names, with the longest suffix, can be those of files.
    pub fn fits(&self, now: Timestamp, zone: &TimeZone) -> bool {
        let path = self.schedule(&self.widest()).first(now, zone).path;
        let longest = path.iter().map(|component| component.len()).max().unwrap_or(0);
        longest + ".pgp64".len() <= 255 && path.as_os_str().len() + ".pgp64".len() < 4096
    }

    fn widest(&self) -> Route {
        Route { host: "x".repeat(VALUE_LIMIT), log: "x".repeat(VALUE_LIMIT) }
    }

    fn path(&self, route: &Route) -> PathBuf {
        self.folder.join(self.name(route))
    }
}

fn parts(template: &str, from: usize) -> Result<Vec<Part>, RouteError> {
    let (mut parts, mut at) = (Vec::new(), from);
    while let Some(brace) = template[at..].find('{') {
        let rest = &template[at + brace..];
        let (placeholder, part) = [("{host}", Part::Host), ("{log}", Part::Log)]
            .into_iter()
            .find(|(placeholder, _)| rest.starts_with(placeholder))
            .ok_or_else(|| RouteError::Placeholder { template: template.to_owned(), offset: at + brace })?;
        parts.extend([Part::Text(template[at..at + brace].to_owned()), part]);
        at += brace + placeholder.len();
    }
    parts.push(Part::Text(template[at..].to_owned()));
    Ok(parts)
}

/// Whether something that no value has stands between each two placeholders.
fn is_unambiguous(parts: &[Part]) -> bool {
    let texts = parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None });
    // Texts stand at both ends and between.
    let between = texts.skip(1).take((parts.len() / 2).saturating_sub(1));
    between.into_iter().all(|text| text.contains(SEPARATORS))
}

/// A value as a part of a file name: one component at most, and no two values alike (but `-` is the empty one, too).
fn encode(value: &[u8], out: &mut String) {
    out.clear();
    if value.is_empty() {
        out.push_str(NIL);
        return;
    }
    for (at, &byte) in value.iter().enumerate() {
        if (byte.is_ascii_alphanumeric() || b"._:-".contains(&byte)) && (at > 0 || byte != b'.') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    if out.len() > VALUE_LIMIT {
        let digest: [u8; 32] = Sha256::digest(value).into();
        out.truncate(VALUE_START);
        let _ = write!(out, "~{}", Hex::<8>(digest[..8].try_into().expect("a digest is longer")));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(Path::new(text)).unwrap()
    }

    fn encoded(value: &[u8]) -> String {
        let mut out = String::new();
        encode(value, &mut out);
        out
    }

    #[test]
    fn fields_are_taken_off_and_every_line_has_a_log() {
        let long = [vec![b'h'; 511], b" x\n".to_vec()].concat();
        let too_long = [vec![b'h'; 512], b" x\n".to_vec()].concat();
        let digest = encoded(&[b'h'; 511]);
        for (text, line, host, log, length) in [
            ("/l/{host}/{log}.log", &b"web1/auth text\n"[..], "web1", "auth", 10),
            ("/l/{host}/{log}.log", b"web1/a/b c\n", "web1", "a%2Fb", 9),
            ("/l/{host}/{log}.log", b"web1 c\n", "web1", "-", 5),
            ("/l/{host}/{log}.log", b"/auth c\n", "-", "auth", 6),
            ("/l/{host}/{log}.log", b"web1/ c\n", "web1", "-", 6),
            ("/l/{host}/{log}.log", b"/ c\n", "-", "-", 2),
            ("/l/{host}/{log}.log", b" c\n", "-", "-", 1),
            ("/l/{host}/{log}.log", b"-/- c\n", "-", "-", 4),
            ("/l/{host}/{log}.log", b"nothing\n", "-", "-", 0),
            ("/l/{host}/{log}.log", b"\n", "-", "-", 0),
            ("/l/{host}/{log}.log", b"", "-", "-", 0),
            ("/l/{host}.log", b"web1/auth text\n", "web1%2Fauth", "-", 10),
            ("/l/{log}.log", b"web1/auth text\n", "-", "web1%2Fauth", 10),
            ("/l/x.log", b"web1/auth text\n", "-", "-", 0),
            ("/l/{host}.log", &long, &digest, "-", 512),
            ("/l/{host}.log", &too_long, "-", "-", 0),
        ] {
            let mut route = Route::default();
            assert_eq!(template(text).route(line, &mut route), length, "{text} {line:?}");
            assert_eq!((route.host.as_str(), route.log.as_str()), (host, log), "{text} {line:?}");
        }
    }

    #[test]
    fn values_become_names() {
        for (value, name) in [
            (&b""[..], "-"),
            (b"-", "-"),
            (b"web1.example.org", "web1.example.org"),
            (b"2001:db8::1", "2001:db8::1"),
            (b".", "%2E"),
            (b"..", "%2E."),
            (b".bashrc", "%2Ebashrc"),
            (b"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            (b"/abs", "%2Fabs"),
            (b"%Y", "%25Y"),
            (b"{host}", "%7Bhost%7D"),
            (b"a\0b\xff", "a%00b%FF"),
            (b"a_b~c", "a_b%7Ec"),
        ] {
            assert_eq!(encoded(value), name, "{value:?}");
        }
        assert_eq!(encoded(&[b'a'; 100]).len(), 100);
        let long = encoded(&[b'a'; 300]);
        assert_eq!((long.len(), &long[..65]), (81, &*format!("{}~", "a".repeat(64))));
    }

    #[test]
    fn templates_name_files_and_intervals() {
        let route = Route { host: "a%2Fb".to_owned(), log: "x".to_owned() };
        for (text, folder, name, path, interval) in [
            ("/l/{host}/{log}.log", "/l/", "a%%2Fb/x.log", "/l/a%2Fb/x.log", None),
            ("/l/%Y/{host}.%H.pgp", "/l/", "%Y/a%%2Fb.%H", "/l/2026/a%2Fb.00", Some(3600)),
            ("/l/d-{log}.%M", "/l/", "d-x.%M", "/l/d-x.00", Some(60)),
            ("/l/{log}.%S%Y", "/l/", "x.%S%Y", "/l/x.002026", Some(1)),
            ("{host}.%j%%H", ".", "a%%2Fb.%j%%H", "./a%2Fb.031%H", Some(86400)),
            ("/plain.log.age64", "/", "plain.log", "/plain.log", None),
            ("{host}.pgp", ".", "a%%2Fb", "./a%2Fb", None),
        ] {
            let template = template(text);
            assert_eq!(template.folder(), Path::new(folder), "{text}");
            assert_eq!(template.name(&route), name, "{text}");
            let schedule = template.schedule(&route);
            assert_eq!(schedule.rotation.interval.map(NonZeroU32::get), interval, "{text}");
            let first = schedule.first("2026-01-31T00:00:00Z".parse().unwrap(), &TimeZone::UTC);
            assert_eq!(first.path, Path::new(path), "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, error) in [
            ("/l/{hosts}.log", "unknown placeholder at byte 3"),
            ("/l/x{", "unknown placeholder at byte 4"),
            ("/l/{host}{log}", "nothing keeps"),
            ("/l/{host}-{log}.log", "nothing keeps"),
            ("/l/{host}/{log}.{host}", "nothing keeps"),
            ("/l/{host}/", "no file"),
            ("/l/{host}/../x", "no file"),
            ("", "no file"),
            ("/l/%Q{host}", "unknown conversion"),
            // With a value that begins with Y it would be one.
            ("/l/%{host}", "unknown conversion"),
            ("/l/%-{log}.log", "unknown conversion"),
            ("/l/{host}/%%%{log}", "unknown conversion"),
        ] {
            let told = Template::parse(Path::new(text)).unwrap_err().to_string();
            assert!(told.contains(error), "{text}: {told}");
        }
        for text in ["/l/{host}@{log}", "/l/{host}/{host},{log}", "../x/{host}"] {
            assert!(Template::parse(Path::new(text)).is_ok(), "{text}");
        }
        let now = "2026-01-31T00:00:00Z".parse().unwrap();
        assert!(template("/l/{host}@{log}.log").fits(now, &TimeZone::UTC));
        assert!(!template("/l/{host}@{log}@{host}.log").fits(now, &TimeZone::UTC));
    }

    proptest! {
        #[test]
        fn every_value_is_one_component_of_its_own(
            a in proptest::collection::vec(any::<u8>(), 0..140),
            b in proptest::collection::vec(any::<u8>(), 0..140),
            near in any::<prop::sample::Index>(),
        ) {
            let name = encoded(&a);
            prop_assert!(!name.is_empty() && name.len() <= VALUE_LIMIT && !name.starts_with('.'));
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && !SEPARATORS.contains(&char::from(byte))));
            let kin = |a: &[u8], b: &[u8]| a == b || [a, b].iter().all(|value| value.is_empty() || *value == b"-");
            prop_assert_eq!(encoded(&b) == name, kin(&a, &b));
            // One byte apart.
            let mut other = a.clone();
            if !other.is_empty() {
                let at = near.index(other.len());
                other[at] = other[at].wrapping_add(1);
                prop_assert_ne!(encoded(&other), name);
            }
        }

        #[test]
        fn a_line_is_its_field_and_what_is_sealed(line in proptest::collection::vec(prop::sample::select(&b"a/ -.\n%\0"[..]), 0..600)) {
            let template = template("/l/{host}/{log}.log");
            let mut route = Route::default();
            let length = template.route(&line, &mut route);
            prop_assert!(length <= FIELD_LIMIT && length <= line.len());
            prop_assert!(length == 0 || line[..length].iter().position(|byte| *byte == b' ') == Some(length - 1));
            prop_assert!(length > 0 || !line.iter().take(FIELD_LIMIT).any(|byte| *byte == b' '));
        }
    }
}
