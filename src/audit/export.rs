//! Lines as rows of a table, for other people's tools: NDJSON, CSV, Parquet, SQLite.
//!
//! Promises: one row a line, with the columns of [`super::row`], in the order in which the files are read: log by log, each in the order
//! in which it was sealed. What was not finished leaves nothing behind (see [`output`]). Memory is bounded.
#![forbid(unsafe_code)]

mod csv;
pub mod output;
mod parquet;
mod partition;
mod sqlite;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use thiserror::Error;

use self::output::Output;
use super::lines::{Lines, LogLine};
use super::place::Place;
use super::row::{Row, Verification};
use super::select::Selector;
use super::session::{Line, Reader};
use crate::control::WriterId;

/// The form of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line. Several values of a field are an array; what is empty is left out.
    Ndjson,
    /// CSV (RFC 4180) with a head. Text that a spreadsheet would take for a formula has an apostrophe before it.
    Csv,
    /// Parquet.
    Parquet,
    /// A database of SQLite with the table `lines`.
    Sqlite,
}

/// The export was to end before it was done. It comes as the inner error of an [`io::Error`].
#[derive(Debug, Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What rows are written to.
trait Table {
    /// Takes a row, that of a line of this time on this host and log.
    fn row(&mut self, row: &Row<'_>, of: &Of<'_>) -> io::Result<()>;

    /// Writes what is left.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// What a row is sorted by, in a table of many files.
struct Of<'a> {
    host: Option<&'a str>,
    log: Option<&'a str>,
    time: Option<Timestamp>,
}

/// JSON objects, to a file or to standard output.
struct Ndjson<W>(W);

impl<W: Write> Table for Ndjson<W> {
    fn row(&mut self, row: &Row<'_>, _: &Of<'_>) -> io::Result<()> {
        row.write_json(&mut self.0)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows.
    pub rows: u64,
    /// How many of them are of lines that were too long to be taken as a whole.
    pub cut: u64,
}

/// An export while files are read.
pub struct Export {
    selector: Selector,
    trusts: bool,
    lines: Lines,
    table: Box<dyn Table>,
    rows: u64,
    stop: Arc<AtomicBool>,
}

impl Export {
    /// An export of the lines that are selected. `trusts` says whether trust starts anywhere but at the files; it ends with
    /// [`Interrupted`] once `stop` is set.
    pub fn new(target: Target, selector: Selector, trusts: bool, stop: Arc<AtomicBool>) -> Self {
        Self { selector, trusts, lines: Lines::default(), table: target.0, rows: 0, stop }
    }

    /// Writes what is left. The output is still to be committed.
    pub fn finish(mut self) -> io::Result<Summary> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(|line| self.take(line))?;
        self.table.finish()?;
        Ok(Summary { rows: self.rows, cut: lines.cut() })
    }

    fn take(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other(Interrupted));
        }
        let Some(mut candidate) = self.selector.candidate(*line) else { return Ok(()) };
        if !self.selector.takes(&mut candidate) {
            return Ok(());
        }
        let name = line.place.map(|(_, name)| name);
        let time = self.selector.time(&mut candidate);
        let of = Of { host: name.map(|name| name.host), log: name.map(|name| name.log), time };
        let event = self.selector.event(&mut candidate);
        self.rows += 1;
        self.table.row(&Row::new(line, event, Verification::of(line, self.trusts)), &of)
    }
}

impl Reader for Export {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        let taken = lines.take(line, |line| self.take(line));
        self.lines = lines;
        taken
    }

    fn line_ends(&mut self, place: Place, writer: WriterId) -> io::Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        let taken = lines.end(place, writer, |line| self.take(line));
        self.lines = lines;
        taken
    }
}

/// Where an export goes, ready to be written to.
pub struct Target(Box<dyn Table>);

impl Target {
    /// One table in a file.
    pub fn file(format: Format, output: &Output) -> io::Result<Self> {
        Ok(Self(match format {
            Format::Ndjson => Box::new(Ndjson(io::BufWriter::with_capacity(1 << 18, output.file()?))),
            Format::Csv => Box::new(csv::Csv::new(output.file()?)?),
            Format::Parquet => Box::new(parquet::Parquet::new(output.file()?, parquet::Group::new())?),
            Format::Sqlite => Box::new(sqlite::Sqlite::new(output.partial())?),
        }))
    }

    /// Many Parquet files in a folder, by host, log and day.
    pub fn partitioned(output: &Output) -> Self {
        Self(Box::new(partition::Partitioned::new(output.partial())))
    }

    /// To a stream; `None` for formats that need a file.
    pub fn stream(format: Format, out: impl Write + 'static) -> io::Result<Option<Self>> {
        Ok(match format {
            Format::Ndjson => Some(Self(Box::new(Ndjson(io::BufWriter::with_capacity(1 << 18, out))))),
            Format::Csv => Some(Self(Box::new(csv::Csv::new(out)?))),
            Format::Parquet | Format::Sqlite => None,
        })
    }
}
