//! Parquet.
//!
//! Promises: text and addresses are strings, numbers 64 bits with a sign, times microseconds in UTC, all of them optional. A file is
//! written by groups of rows, of which one is in memory.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::{Of, Table};
use crate::audit::event::{Kind, Value};
use crate::audit::row::{Cell, Row, columns};

/// A group has so many rows at most: as DuckDB has them, which reads groups side by side.
const MAX_ROWS: usize = 122_880;
/// And about so many bytes, before they are compressed.
const MAX_BYTES: usize = 64 << 20;
/// What a text takes beside its bytes.
const ALLOCATION: usize = 48;
/// What a row takes beside its texts: whether each column has a value, and some dozens of them.
const ROW: usize = 1024;

fn failed(error: ParquetError) -> io::Error {
    io::Error::other(error)
}

/// What of a column is in memory.
enum Column {
    Text(Vec<ByteArray>),
    Number(Vec<i64>),
    /// Microseconds since 1970.
    Time(Vec<i64>),
}

impl Column {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text | Kind::Ip => Self::Text(Vec::new()),
            Kind::Number => Self::Number(Vec::new()),
            Kind::Time => Self::Time(Vec::new()),
        }
    }
}

/// Rows that come to the file together.
pub(super) struct Group {
    /// Values, and 1 for each row that has one, 0 for others.
    columns: Vec<(Column, Vec<i16>)>,
    rows: usize,
    bytes: usize,
}

impl Group {
    /// One that is empty.
    pub(super) fn new() -> Self {
        let columns: Vec<_> = columns().map(|column| (Column::new(column.kind), Vec::new())).collect();
        Self { bytes: columns.len() * size_of::<(Column, Vec<i16>)>(), columns, rows: 0 }
    }

    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is to be written before another row is taken.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= MAX_ROWS || self.bytes >= MAX_BYTES
    }

    /// Takes a row.
    pub(super) fn push(&mut self, row: &Row<'_>) {
        for (cell, (column, levels)) in row.cells().iter().zip(&mut self.columns) {
            let is_there = match (&mut *column, cell, cell.first()) {
                (_, Cell::Empty, _) => false,
                (Column::Text(values), cell, _) => {
                    let text = cell.text().unwrap_or_default();
                    // Hosts, logs, streams: what is the same as in the row before is there once.
                    let same = values.last().filter(|last| last.data() == text.as_bytes()).cloned();
                    self.bytes += if same.is_some() { 0 } else { text.len() + ALLOCATION };
                    values.push(same.unwrap_or_else(|| text.into_owned().into_bytes().into()));
                    true
                }
                (Column::Number(values), _, Some(Value::Number(number))) => {
                    values.push(*number);
                    true
                }
                (Column::Time(values), _, Some(Value::Time(time))) => {
                    values.push(time.as_microsecond());
                    true
                }
                _ => false,
            };
            levels.push(i16::from(is_there));
        }
        self.bytes += ROW;
        self.rows += 1;
    }

    fn write(self, writer: &mut SerializedFileWriter<File>) -> io::Result<()> {
        let mut group = writer.next_row_group().map_err(failed)?;
        // A column's memory is free as soon as it is written.
        for (column, levels) in self.columns {
            let mut writer = group.next_column().map_err(failed)?.ok_or_else(|| io::Error::other("a column is missing"))?;
            let written = match (writer.untyped(), column) {
                (ColumnWriter::ByteArrayColumnWriter(writer), Column::Text(values)) => {
                    writer.write_batch(&values, Some(&levels), None)
                }
                (ColumnWriter::Int64ColumnWriter(writer), Column::Number(values) | Column::Time(values)) => {
                    writer.write_batch(&values, Some(&levels), None)
                }
                _ => Err(ParquetError::General("a column is of another kind".to_owned())),
            };
            written.map_err(failed)?;
            writer.close().map_err(failed)?;
        }
        group.close().map(drop).map_err(failed)
    }
}

/// A table in a Parquet file.
pub(super) struct Parquet {
    writer: SerializedFileWriter<File>,
    group: Group,
}

impl Parquet {
    /// In this file, begun with these rows.
    pub(super) fn new(file: File, group: Group) -> io::Result<Self> {
        let fields: Result<Vec<_>, ParquetError> =
            columns().map(|column| primitive(column.name, column.kind).map(Arc::new)).collect();
        let schema = Type::group_type_builder("lines").with_fields(fields.map_err(failed)?).build().map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("sealedlog ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
        Ok(Self { writer, group })
    }

    /// Writes what is left and the file's end.
    pub(super) fn close(mut self) -> io::Result<()> {
        if self.group.rows > 0 {
            self.group.write(&mut self.writer)?;
        }
        self.writer.close().map(drop).map_err(failed)
    }
}

impl Table for Parquet {
    fn row(&mut self, row: &Row<'_>, _: &Of<'_>) -> io::Result<()> {
        if self.group.is_full() {
            std::mem::replace(&mut self.group, Group::new()).write(&mut self.writer)?;
        }
        self.group.push(row);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.close()
    }
}

fn primitive(name: &str, kind: Kind) -> Result<Type, ParquetError> {
    let (physical, logical) = match kind {
        Kind::Text | Kind::Ip => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Number => (Physical::INT64, None),
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
    };
    Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build()
}
