//! Many Parquet files: `host=…/log=…/day=…/part-0.parquet`, as Hive, DuckDB and Spark have them.
//!
//! Promises: memory is bounded, and no file is open but the one that is written: rows wait in memory, and what of a partition has
//! gathered when it is to be written is a part, a file of its own. Names of hosts and logs cannot leave the folder: what is not a
//! letter, a digit or one of `._-` is written as `%` and two digits, as in URLs; what is too long is cut, with a hash behind it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::parquet::{Group, Parquet};
use super::{Of, Table};
use crate::audit::row::Row;
use crate::control::Hex;

/// Rows in memory take so many bytes, of all files together.
const MAX_BYTES: usize = 128 << 20;
/// A name has so many bytes at most: most file systems take 255.
const MAX_NAME: usize = 200;
/// What Hive writes where there is no value.
const NONE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Host, log and day (UTC).
type Key = (Option<String>, Option<String>, Option<Date>);

/// Rows that wait, and how many parts were written before.
#[derive(Default)]
struct Waiting {
    group: Option<Group>,
    parts: u32,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.group.as_ref().map_or(0, Group::bytes)
    }
}

/// Tables in a folder.
pub(super) struct Partitioned {
    folder: PathBuf,
    waiting: HashMap<Key, Waiting>,
    /// What the rows in memory take.
    bytes: usize,
}

impl Partitioned {
    /// In this folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), waiting: HashMap::new(), bytes: 0 }
    }

    /// Writes what waits of a partition as a part.
    fn write(&mut self, key: &Key) -> io::Result<()> {
        let Some(waiting) = self.waiting.get_mut(key) else { return Ok(()) };
        self.bytes -= waiting.bytes();
        let Some(group) = waiting.group.take() else { return Ok(()) };
        let (host, log, day) = key;
        let day = day.map(|day| day.to_string());
        let folder = [("host", host), ("log", log), ("day", &day)]
            .iter()
            .fold(self.folder.clone(), |folder, (name, value)| folder.join(format!("{name}={}", encoded(value.as_deref()))));
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = folder.join(format!("part-{}.parquet", waiting.parts));
        waiting.parts += 1;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Parquet::new(file, group)?.close()
    }
}

impl Table for Partitioned {
    fn row(&mut self, row: &Row<'_>, of: &Of<'_>) -> io::Result<()> {
        let day = of.time.map(|time| time.to_zoned(TimeZone::UTC).date());
        let key = (of.host.map(str::to_owned), of.log.map(str::to_owned), day);
        let waiting = self.waiting.entry(key.clone()).or_default();
        let group = waiting.group.get_or_insert_with(|| {
            let group = Group::new();
            self.bytes += group.bytes();
            group
        });
        self.bytes -= group.bytes();
        group.push(row);
        self.bytes += group.bytes();
        if group.is_full() {
            return self.write(&key);
        }
        if self.bytes > MAX_BYTES
            && let Some(largest) = self.waiting.iter().max_by_key(|(_, waiting)| waiting.bytes()).map(|(key, _)| key.clone())
        {
            // So that parts are few.
            return self.write(&largest);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let all: Vec<Key> = self.waiting.keys().cloned().collect();
        all.iter().try_for_each(|key| self.write(key))
    }
}

fn encoded(value: Option<&str>) -> String {
    let Some(value) = value else { return NONE.to_owned() };
    let mut name = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name += &format!("%{byte:02X}"),
        }
        if name.len() > MAX_NAME {
            let digest = Sha256::digest(value.as_bytes());
            name.truncate(MAX_NAME);
            let cut = name[MAX_NAME - 2..].find('%').map_or(MAX_NAME, |at| MAX_NAME - 2 + at);
            name.truncate(cut);
            let short: [u8; 8] = digest[..8].try_into().expect("eight bytes");
            return format!("{name}~{}", Hex(short));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder_and_differ_as_their_values_do() {
        assert_eq!(encoded(Some("/var/log/a b=c.log")), "%2Fvar%2Flog%2Fa%20b%3Dc.log");
        assert_eq!(encoded(Some("gr\u{fc}n%2F")), "gr%C3%BCn%252F");
        assert_eq!(encoded(None), NONE);
        for letter in ["a", "\u{fc}", "/"] {
            let long = letter.repeat(5000);
            let (one, other) = (encoded(Some(&long)), encoded(Some(&format!("{long}x"))));
            assert!(one.len() < 240 && one != other && !one.contains('/'), "{one}");
            assert!(!one.ends_with('%') && one.contains('~'));
        }
    }
}
