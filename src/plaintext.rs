//! Logs in plain text: which files of a folder, and which that any process writes, are not sealed.
//!
//! Promises: nothing is opened that could wait or be changed by it; no symbolic link is followed but one that is put in a
//! folder's place meanwhile; a file counts as sealed by what it begins with, not by its name. Not promised: a file that nobody has open and that was not written for long is
//! told as left over, though a program may come back to it.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::host::file::{first_data, is_in_memory, open_nofollow};
use crate::host::open_files::{OpenFiles, Process};
use crate::record;

/// Folders in folders, at most.
const MAX_DEPTH: usize = 32;
/// What a file of the journal begins with (systemd, JOURNAL_FILE_FORMAT).
const JOURNAL: &[u8] = b"LPKSHHRH";
/// Where it is in memory (systemd-journald.service(8)).
const RUNTIME_JOURNAL: &str = "/run/log/journal";
/// Binary records of logins, which are no lines: utmp(5), lastlog(8), faillog(5).
const LOGINS: [&str; 4] = ["wtmp", "btmp", "lastlog", "faillog"];
/// What the names of our filters begin with.
const OURS: &str = "sealedlog";
const COMPRESSED: [&str; 5] = ["gz", "xz", "bz2", "zst", "lz4"];

/// What begins a compressed file: gzip (RFC 1952), xz, bzip2, Zstandard (RFC 8878), LZ4.
const PACKED: [&[u8]; 5] = [b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"];

/// What a file has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Lines in plain text, as far as that can be seen.
    Lines,
    /// Records.
    Sealed,
    /// Binary records of logins, which are no lines.
    Logins,
    /// systemd's journal.
    Journal,
    /// Something compressed.
    Compressed,
}

impl Content {
    /// So much of a file is enough to tell, in bytes.
    pub const HEAD: u64 = 8 << 10;

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Sealed => "sealed",
            Self::Logins => "logins",
            Self::Journal => "journal",
            Self::Compressed => "compressed",
        }
    }

    /// By a file's name and what it begins with.
    pub fn of(path: &Path, head: &[u8]) -> Self {
        match () {
            () if record::begins_record(head) => Self::Sealed,
            () if is_logins(path) => Self::Logins,
            () if head.starts_with(JOURNAL) => Self::Journal,
            () if PACKED.iter().any(|magic| head.starts_with(magic)) => Self::Compressed,
            () => Self::Lines,
        }
    }
}

/// Why a file is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A process has it open to write.
    Open,
    /// Nobody has it open, but it was written not long ago.
    Written,
    /// Left over: rotated, compressed, or not written for long.
    Old,
    /// Binary records of logins.
    Logins,
    /// In memory and meant to be: the journal there, and the window of a filter.
    Memory,
}

impl State {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Written => "written",
            Self::Old => "old",
            Self::Logins => "logins",
            Self::Memory => "memory",
        }
    }

    /// Whether plain text goes on to come into it.
    pub fn receives(self) -> bool {
        matches!(self, Self::Open | Self::Written)
    }
}

/// A file that is not sealed.
#[derive(Clone, Debug)]
pub struct PlainFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Why it is told.
    pub state: State,
    /// What it has in it.
    pub content: Content,
    /// No name is left of it: it was removed or replaced while it was open.
    pub removed: bool,
    /// Its length in bytes.
    pub length: u64,
    /// When it was written last.
    pub modified: SystemTime,
    /// Who has it open to write.
    pub writers: Vec<Process>,
}

/// Whether a filter of ours shows its newest lines there.
fn is_window(path: &Path, writers: &[Process]) -> bool {
    let are_ours = !writers.is_empty() && writers.iter().all(|process| process.program.starts_with(OURS));
    are_ours && path.parent().is_some_and(|folder| is_in_memory(folder).unwrap_or(false))
}

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// The files that are not sealed, by their names.
    pub files: Vec<PlainFile>,
    /// How many sealed files there are among those that were looked at.
    pub sealed: usize,
    /// What could not be looked at, and why.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

impl Survey {
    /// Of the files in `folder`, and of those elsewhere that processes have open to write and that look like logs by their
    /// names. What was written within `recent` before `now` counts as still written.
    ///
    /// # Errors
    ///
    /// Where the folder itself cannot be read.
    pub fn of(folder: &Path, open: &OpenFiles, now: SystemTime, recent: Duration) -> io::Result<Self> {
        let mut survey = Self::default();
        let mut seen = BTreeSet::new();
        // As the kernel names it for the processes.
        let folder = &fs::canonicalize(folder)?;
        fs::read_dir(folder)?;
        survey.walk(folder, MAX_DEPTH, &mut |survey, path, metadata| {
            seen.insert((metadata.dev(), metadata.ino()));
            let writers = open.writers(&metadata).to_vec();
            let looked = Looked { path, metadata: &metadata, removed: false, writers };
            survey.look(looked, || open_nofollow(path), now, recent);
        });
        for file in open.iter() {
            let is_of_folder = file.path.starts_with(folder);
            if seen.contains(&(file.metadata.dev(), file.metadata.ino())) || !(is_of_folder || looks_like_log(&file.path)) {
                continue;
            }
            let writers = file.writers.clone();
            let looked = Looked { path: &file.path, metadata: &file.metadata, removed: file.removed, writers };
            survey.look(looked, || file.open(), now, recent);
        }
        survey.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(survey)
    }

    fn walk(&mut self, folder: &Path, depth: usize, each: &mut impl FnMut(&mut Self, &Path, Metadata)) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.cannot(folder, error),
        };
        for entry in entries {
            let looked = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)));
            match looked {
                Ok((path, metadata)) if metadata.is_dir() && depth > 0 => self.walk(&path, depth - 1, each),
                Ok((path, metadata)) if metadata.is_dir() => self.cannot(&path, io::Error::other("too many folders above it")),
                Ok((path, metadata)) if metadata.is_file() => each(self, &path, metadata),
                Ok(_) => {}
                Err(error) => self.cannot(folder, error),
            }
        }
    }

    /// What is gone by now needs no look.
    fn cannot(&mut self, path: &Path, error: io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.unreadable.push((path.to_owned(), error));
        }
    }

    fn look(&mut self, file: Looked<'_>, open: impl FnOnce() -> io::Result<File>, now: SystemTime, recent: Duration) {
        let Looked { path, metadata, removed, writers } = file;
        // Nothing is in it, and nothing in plain text comes.
        if metadata.len() == 0 && writers.iter().all(|process| process.program.starts_with(OURS)) {
            return;
        }
        let mut head = Vec::new();
        let looked = open().and_then(|file| {
            (&file).take(Content::HEAD).read_to_end(&mut head)?;
            // What is followed is sealed and emptied, and keeps its length.
            Ok(metadata.len() > 0 && head.iter().all(|&byte| byte == 0) && first_data(&file, 0)? >= file.metadata()?.len())
        });
        match looked {
            Err(error) => return self.cannot(path, error),
            Ok(true) => return,
            Ok(false) => {}
        }
        let content = Content::of(path, &head);
        if content == Content::Sealed {
            self.sealed += 1;
            return;
        }
        let is_recent = |modified: SystemTime| now.duration_since(modified).map_or(true, |age| age <= recent);
        let state = match () {
            () if content == Content::Logins => State::Logins,
            () if content == Content::Journal && path.starts_with(RUNTIME_JOURNAL) => State::Memory,
            () if is_window(path, &writers) => State::Memory,
            () if !writers.is_empty() => State::Open,
            () if !is_rotated(path) && metadata.modified().is_ok_and(is_recent) => State::Written,
            () => State::Old,
        };
        self.files.push(PlainFile {
            path: path.to_owned(),
            state,
            content,
            removed,
            length: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            writers,
        });
    }
}

/// A file before it is known what it has in it.
struct Looked<'a> {
    path: &'a Path,
    metadata: &'a Metadata,
    removed: bool,
    writers: Vec<Process>,
}

/// A folder or a name that programs give their logs.
fn looks_like_log(path: &Path) -> bool {
    let in_folder = path.iter().any(|part| part == "log" || part == "logs");
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    in_folder || name.ends_with(".log") || name.ends_with("_log")
}

/// By their names and those that rotation makes of them.
fn is_logins(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = COMPRESSED.iter().find_map(|suffix| name.strip_suffix(suffix)?.strip_suffix('.')).unwrap_or(name);
    let is_number = |rest: &str| {
        rest.strip_prefix(['.', '-']).is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    LOGINS.iter().any(|&login| name.strip_prefix(login).is_some_and(|rest| rest.is_empty() || is_number(rest)))
}

/// Compressed, numbered or dated: no program writes to it any more.
fn is_rotated(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once('.').is_some_and(|(_, last)| COMPRESSED.contains(&last) || last == "old" || digits(last))
        || name.rsplit_once('-').is_some_and(|(_, last)| last.len() >= 8 && digits(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_left_over() {
        for name in ["syslog.1", "auth.log.2.gz", "messages-20261122", "dmesg.0", "x.old"] {
            assert!(is_rotated(Path::new(name)), "{name}");
        }
        for name in ["syslog", "access.log", "a-b", "x-12", "log.d", "1"] {
            assert!(!is_rotated(Path::new(name)), "{name}");
        }
        for name in ["wtmp", "btmp.1", "lastlog", "wtmp-20261101", "btmp.2.gz"] {
            assert!(is_logins(Path::new(name)), "{name}");
        }
        for name in ["wtmpx", "a/wtmp/b", "wtmp.log", "lastlog.txt", "wtmp."] {
            assert!(!is_logins(Path::new(name)), "{name}");
        }
        for path in ["/srv/www/logs/a", "/opt/x/error.LOG", "/home/a/access_log"] {
            assert!(looks_like_log(Path::new(path)), "{path}");
        }
        assert!(!looks_like_log(Path::new("/var/lib/blog/catalog")));
    }
}
