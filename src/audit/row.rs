//! A line as one flat row: what proves it, and what it says, under the same names wherever rows go.
//!
//! Promises: every row has the same columns in the same order: [`EVIDENCE`], which rests on the records alone and is named
//! `sealedlog.`, the line itself, then every field of [`Field::ALL`], which rests on the line's own words.
//! Not promised: bytes. Text that is not UTF-8 has U+FFFD for what is wrong with it; `open` gives the bytes.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io::{self, Write};

use super::event::{Event, Field, Kind, Value};
use super::lines::LogLine;

/// What is known of the place of a line's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// It is in its place in a stream that something trusted vouches for.
    Trusted,
    /// It is in its place; nothing but the files themselves vouches for the stream.
    Unanchored,
    /// It is not: a copy, a forgery, or of a stream that is not trusted.
    Elsewhere,
}

impl Verification {
    /// Of a line; `trusts` says whether trust started anywhere but at the files.
    pub fn of(line: &LogLine<'_>, trusts: bool) -> Self {
        match (line.place, trusts) {
            (None, _) => Self::Elsewhere,
            (Some(_), true) => Self::Trusted,
            (Some(_), false) => Self::Unanchored,
        }
    }

    /// As it is called in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Unanchored => "unanchored",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

/// Whether and where the line's record stands in the evidence, and the line itself.
pub const EVIDENCE: [Column; 10] = [
    column("sealedlog.verification", Kind::Text),
    column("sealedlog.host", Kind::Text),
    column("sealedlog.log", Kind::Text),
    column("sealedlog.stream", Kind::Text),
    column("sealedlog.epoch", Kind::Number),
    column("sealedlog.slot", Kind::Number),
    column("sealedlog.part", Kind::Number),
    column("sealedlog.sealed", Kind::Time),
    column("sealedlog.cut", Kind::Number),
    column("event.original", Kind::Text),
];

/// All columns, in order.
pub fn columns() -> impl Iterator<Item = Column> {
    EVIDENCE.into_iter().chain(Field::ALL.iter().map(|field| column(field.name(), field.kind())))
}

/// What stands in one column of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    #[default]
    Empty,
    /// A value.
    One(Value<'a>),
    /// More than one, as of the packages of one upgrade.
    Many(Vec<Value<'a>>),
}

impl<'a> Cell<'a> {
    fn add(&mut self, value: Value<'a>) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(value),
            Self::One(first) => Self::Many(vec![first, value]),
            Self::Many(mut values) => {
                values.push(value);
                Self::Many(values)
            }
        }
    }

    /// The only value, or the first.
    pub fn first(&self) -> Option<&Value<'a>> {
        match self {
            Self::Empty => None,
            Self::One(value) => Some(value),
            Self::Many(values) => values.first(),
        }
    }

    /// As text, several with a comma and a space between.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Empty => None,
            Self::One(Value::Text(text)) => Some(Cow::Borrowed(text)),
            Self::One(value) => Some(Cow::Owned(value.to_string())),
            Self::Many(values) => Some(Cow::Owned(values.iter().map(Value::to_string).collect::<Vec<_>>().join(", "))),
        }
    }
}

/// A row: a cell for each column.
#[derive(Clone, Debug)]
pub struct Row<'a>(Vec<Cell<'a>>);

impl<'a> Row<'a> {
    /// Of a line and what it says.
    pub fn new(line: &LogLine<'a>, event: &'a Event<'a>, verification: Verification) -> Self {
        let mut cells = vec![Cell::Empty; EVIDENCE.len() + Field::ALL.len()];
        let text = |text: &'a str| Cell::One(Value::Text(Cow::Borrowed(text)));
        let number = |number: i64| Cell::One(Value::Number(number));
        cells[0] = text(verification.name());
        if let Some((place, name)) = line.place {
            cells[1] = text(name.host);
            cells[2] = text(name.log);
            cells[3] = Cell::One(Value::Text(Cow::Owned(name.stream.to_string())));
            cells[4] = number(i64::try_from(place.epoch).unwrap_or(i64::MAX));
            cells[5] = number(place.slot.into());
        }
        cells[6] = number(line.part.into());
        cells[7] = line.sealed.map_or(Cell::Empty, |sealed| Cell::One(Value::Time(sealed)));
        cells[8] = number(line.cut.into());
        cells[9] = Cell::One(Value::Text(String::from_utf8_lossy(line.text)));
        for (field, value) in event.entries() {
            cells[EVIDENCE.len() + field as usize].add(value);
        }
        Self(cells)
    }

    /// The cells, in the order of the columns.
    pub fn cells(&self) -> &[Cell<'a>] {
        &self.0
    }

    /// Writes it as one JSON object in one line (NDJSON) with what is not empty; several values of a field are an array.
    pub fn write_json(&self, mut out: impl Write) -> io::Result<()> {
        let mut separator = b'{';
        for (column, cell) in columns().zip(&self.0) {
            if *cell == Cell::Empty {
                continue;
            }
            // No name has a character that is to be escaped.
            write!(out, "{}\"{}\":", char::from(separator), column.name)?;
            separator = b',';
            match cell {
                Cell::Empty => {}
                Cell::One(value) => write_value(&mut out, value)?,
                Cell::Many(values) => {
                    for (at, value) in values.iter().enumerate() {
                        out.write_all(if at == 0 { b"[" } else { b"," })?;
                        write_value(&mut out, value)?;
                    }
                    out.write_all(b"]")?;
                }
            }
        }
        out.write_all(b"}\n")
    }
}

fn write_value(out: &mut impl Write, value: &Value<'_>) -> io::Result<()> {
    match value {
        Value::Number(number) => write!(out, "{number}"),
        Value::Text(text) => Ok(serde_json::to_writer(out, text)?),
        Value::Ip(_) | Value::Time(_) => write!(out, "\"{value}\""),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::audit::event::{Context, parse};
    use crate::audit::place::Place;
    use crate::audit::verify::LogName;
    use crate::control::Hex;

    #[test]
    fn names_are_unique_and_every_field_stands_in_its_column() {
        let names: HashSet<_> = columns().map(|column| column.name).collect();
        assert_eq!(names.len(), EVIDENCE.len() + Field::ALL.len());
        for (at, field) in Field::ALL.iter().enumerate() {
            assert_eq!(*field as usize, at);
        }
    }

    #[test]
    fn a_row_has_its_evidence_and_its_fields() {
        let text = b"2026-02-01T12:00:00Z web sshd[7]: Failed password for r\"\\\xff\x1b from 192.0.2.7 port 4711 ssh2";
        let name = LogName { stream: Hex([0xab; 16]), host: "we\u{202e}b", log: "/var/log/auth.log" };
        let sealed = Some("2026-02-01T12:00:01Z".parse().unwrap());
        let line = LogLine { text, part: 2, cut: false, sealed, place: Some((Place { stream: 4, epoch: 5, slot: 6 }, name)) };
        let event = parse(text, &Context::default());
        let row = Row::new(&line, &event, Verification::of(&line, true));
        let mut json = Vec::new();
        row.write_json(&mut json).unwrap();
        assert_eq!(json.iter().filter(|byte| **byte == b'\n').count(), 1);
        let object: serde_json::Value = serde_json::from_slice(&json).unwrap();
        for (name, value) in [
            ("sealedlog.verification", "trusted".into()),
            ("sealedlog.host", "we\u{202e}b".into()),
            ("sealedlog.stream", "ab".repeat(16).into()),
            ("sealedlog.epoch", 5.into()),
            ("sealedlog.slot", 6.into()),
            ("sealedlog.part", 2.into()),
            ("sealedlog.sealed", "2026-02-01T12:00:01Z".into()),
            ("event.original", String::from_utf8_lossy(text).into()),
            ("source.ip", "192.0.2.7".into()),
            ("source.port", 4711.into()),
            ("process.pid", 7.into()),
            ("user.name", serde_json::Value::from("r\"\\\u{fffd}\u{1b}")),
        ] {
            assert_eq!(object[name], value, "{name}");
        }
        assert!(object.get("http.version").is_none());
        assert_eq!(Verification::of(&LogLine { place: None, ..line }, true).name(), "elsewhere");
        assert_eq!(Verification::of(&line, false).name(), "unanchored");
    }

    #[test]
    fn several_values_are_an_array_or_stand_side_by_side() {
        let text = b"Upgrade: a:amd64 (1, 2), b:amd64 (3, 4)";
        let event = parse(text, &Context::default());
        let line = LogLine { text, part: 0, cut: false, sealed: None, place: None };
        let row = Row::new(&line, &event, Verification::Elsewhere);
        let mut json = Vec::new();
        row.write_json(&mut json).unwrap();
        let object: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(object["package.name"], serde_json::json!(["a", "b"]), "{object}");
        let at = columns().position(|column| column.name == "package.name").unwrap();
        assert_eq!(row.cells()[at].text().unwrap(), "a, b");
    }
}
