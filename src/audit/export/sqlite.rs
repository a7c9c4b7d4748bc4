//! A database of SQLite.
//!
//! Promises: one table `lines`, strict: times are text of RFC 3339 in UTC, which SQLite's date functions take and which sorts by time.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value as Owned, ValueRef};
use rusqlite::{Connection, OpenFlags};

use super::{Of, Table};
use crate::audit::event::{Kind, Value};
use crate::audit::row::{Row, columns};

/// So many rows a transaction.
const BATCH: u64 = 100_000;

/// A table in a database.
pub(super) struct Sqlite {
    database: Connection,
    insert: String,
    kinds: Vec<Kind>,
    rows: u64,
}

fn failed(error: rusqlite::Error) -> io::Error {
    io::Error::other(error)
}

impl Sqlite {
    /// In this file, which is there and empty.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(path, flags).map_err(failed)?;
        let mut create = String::from(
            // Until it is committed as a file it is nobody's: no journal, which would lie beside it in plain text.
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; CREATE TABLE lines (",
        );
        let mut insert = String::from("INSERT INTO lines VALUES (");
        for (at, column) in columns().enumerate() {
            let kind = if column.kind == Kind::Number { "INTEGER" } else { "TEXT" };
            let _ = write!(create, "{}\"{}\" {kind}", if at == 0 { "" } else { ", " }, column.name);
            insert += if at == 0 { "?" } else { ", ?" };
        }
        create += ") STRICT; BEGIN";
        database.execute_batch(&create).map_err(failed)?;
        let kinds = columns().map(|column| column.kind).collect();
        Ok(Self { database, insert: insert + ")", kinds, rows: 0 })
    }
}

impl Table for Sqlite {
    fn row(&mut self, row: &Row<'_>, _: &Of<'_>) -> io::Result<()> {
        let mut statement = self.database.prepare_cached(&self.insert).map_err(failed)?;
        for (at, (cell, kind)) in row.cells().iter().zip(&self.kinds).enumerate() {
            let text = if *kind == Kind::Number { None } else { cell.text() };
            let value = match (&text, cell.first()) {
                (Some(text), _) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
                (None, Some(Value::Number(number))) => ToSqlOutput::Owned(Owned::Integer(*number)),
                (None, _) => ToSqlOutput::Owned(Owned::Null),
            };
            statement.raw_bind_parameter(at + 1, value).map_err(failed)?;
        }
        statement.raw_execute().map_err(failed)?;
        self.rows += 1;
        if self.rows.is_multiple_of(BATCH) {
            drop(statement);
            self.database.execute_batch("COMMIT; BEGIN").map_err(failed)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.database.execute_batch("COMMIT").map_err(failed)?;
        self.database.close().map_err(|(_, error)| failed(error))
    }
}
