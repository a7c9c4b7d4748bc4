//! CSV (RFC 4180).
//!
//! Promises: what a spreadsheet would take for a formula, and carry out, has an apostrophe before it: text that begins with `=`, `+`, `-`
//! or `@`, a tab or a carriage return. Numbers stay as they are.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io::{self, Write};

use csv::{Terminator, Writer, WriterBuilder};

use super::{Of, Table};
use crate::audit::event::Kind;
use crate::audit::row::{Row, columns};

/// A table in CSV.
pub(super) struct Csv<W: Write> {
    writer: Writer<W>,
    kinds: Vec<Kind>,
}

impl<W: Write> Csv<W> {
    /// Begins it with the names of the columns.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).buffer_capacity(1 << 18).from_writer(out);
        writer.write_record(columns().map(|column| column.name)).map_err(io::Error::from)?;
        Ok(Self { writer, kinds: columns().map(|column| column.kind).collect() })
    }
}

impl<W: Write> Table for Csv<W> {
    fn row(&mut self, row: &Row<'_>, _: &Of<'_>) -> io::Result<()> {
        for (cell, kind) in row.cells().iter().zip(&self.kinds) {
            let text = match kind {
                Kind::Text => cell.text().map(harmless),
                _ => cell.first().map(|value| Cow::Owned(value.to_string())),
            };
            self.writer.write_field(text.as_deref().unwrap_or_default()).map_err(io::Error::from)?;
        }
        self.writer.write_record(None::<&[u8]>).map_err(io::Error::from)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.writer.flush()
    }
}

fn harmless(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { Cow::Owned(format!("'{text}")) } else { text }
}
