//! Log files: opened by name, appended to in whole records, looked at again when somebody moved them away.
//!
//! Promises: the only code that touches log files; it never truncates one unless rotation was told to by name, never
//! follows a symbolic link at the last component, and never puts part of a record after a whole one without putting the
//! whole record after that. What cannot be written stays in the batch.
#![forbid(unsafe_code)]

pub mod rotation;
mod tail;

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use nix::unistd::Gid;

use crate::host::file::{chown_group, group_id, open_append_nofollow, open_nofollow};
use crate::record::Framing;

/// Owner may write, the log readers' group may read.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;
/// Debian's group of those who may read logs.
const LOG_GROUP: &str = "adm";

/// Whole records that wait to be written.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends in `bytes`.
    ends: Vec<usize>,
}

impl Batch {
    /// The buffer to which exactly one record is to be appended, followed by [`Batch::commit`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the record that was appended to the buffer.
    pub fn commit(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Takes back what was appended to the buffer since the last whole record.
    pub fn roll_back(&mut self) {
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Drops what was written: `written` bytes at the front. Returns whether they end inside a record, whose bytes stay.
    fn advance(&mut self, written: usize) -> bool {
        let whole = self.ends.partition_point(|&end| end <= written);
        let cut = if whole == 0 { 0 } else { self.ends[whole - 1] };
        self.bytes.drain(..cut);
        self.ends.drain(..whole);
        self.ends.iter_mut().for_each(|end| *end -= cut);
        written > cut
    }
}

/// The one name of a folder that logs are named by, whichever links lead there, and whether or not it is there yet. A link
/// that leads nowhere yet counts as a folder that is not there.
///
/// # Errors
///
/// Where a part of it that is there cannot be looked at: with another name it would be that of another log.
pub fn canonical_folder(folder: &Path) -> io::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    for at in folder.ancestors() {
        match fs::canonicalize(at) {
            Ok(mut there) => {
                // What is made later is made as a folder.
                there.extend(folder.strip_prefix(at).expect("it is one of its ancestors"));
                return Ok(there);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(folder)
}

/// Makes the folders of `path` that are missing below `base`, which is not made. As log files they are for the log
/// readers' group, where that is allowed.
///
/// # Errors
///
/// What mkdir(2) says of the first one that cannot be made.
pub fn make_folders(base: &Path, path: &Path) -> io::Result<()> {
    let below = path.parent().and_then(|folder| folder.strip_prefix(base).ok()).unwrap_or(Path::new(""));
    let mut folder = base.to_owned();
    for component in below {
        folder.push(component);
        match DirBuilder::new().mode(FOLDER_MODE).create(&folder) {
            Ok(()) => {
                drop(File::open(&folder).map(give_to_group));
                sync_folder(&folder)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives a file another name, which must be new, for good.
///
/// # Errors
///
/// `AlreadyExists` where something has that name, and what link(2), unlink(2) and fsync(2) say.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    // rename(2) would replace what is there.
    fs::hard_link(from, to)?;
    fs::remove_file(from)?;
    sync_folder(to)
}

/// Removes a file, for good.
///
/// # Errors
///
/// What unlink(2) and fsync(2) say.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_folder(path)
}

/// Gives a file the time of another one as that of its last change.
///
/// # Errors
///
/// What open(2) and utimensat(2) say.
pub fn keep_time(path: &Path, of: &Metadata) -> io::Result<()> {
    open_nofollow(path)?.set_modified(of.modified()?)
}

/// Brings a name that is new, or gone, to the disk. Who may not read the folder above has no way to; where that was moved
/// away, so was the name.
fn sync_folder(name: &Path) -> io::Result<()> {
    let above = name.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(above) {
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => Ok(()),
        above => above?.sync_all(),
    }
}

/// The group of those who may read logs, where there is one. It is looked up once: in the sandbox it cannot be.
pub fn log_group() -> Option<Gid> {
    static GROUP: OnceLock<Option<Gid>> = OnceLock::new();
    *GROUP.get_or_init(|| group_id(LOG_GROUP).ok())
}

/// Gives a new log file to those who may read logs, where that can be done.
pub fn give_to_group(file: impl AsFd) {
    // Without the group's right to read a log is still a log; who runs unprivileged cannot give files away.
    let _ = log_group().map(|group| chown_group(file, group));
}

/// Where records go.
#[derive(Debug)]
pub enum Sink {
    /// A log file.
    File(LogFile),
    /// Standard output, or another descriptor that is only written through.
    Through(Appender),
}

impl Sink {
    /// Writes the whole batch and empties it. After an error the records that are not in the file yet are still there.
    pub fn append(&mut self, batch: &mut Batch) -> io::Result<()> {
        match self {
            Self::File(file) => file.append(batch),
            Self::Through(out) => out.append(batch),
        }
    }
}

/// A descriptor that records go to, and whether the last one is whole.
#[derive(Debug)]
pub struct Appender {
    file: File,
    framing: Framing,
    /// The end is not the end of a record.
    ragged: bool,
}

impl Appender {
    /// Writes behind what is there, which is nothing or a whole record.
    pub fn new(file: File, framing: Framing) -> Self {
        Self { file, framing, ragged: false }
    }

    fn append(&mut self, batch: &mut Batch) -> io::Result<()> {
        while !batch.is_empty() {
            let newline = usize::from(self.ragged && self.framing == Framing::Base64);
            let written = if newline == 1 {
                // In one write with the records, so that no other writer's record comes between.
                self.file.write(&[b"\n", &batch.bytes[..]].concat())
            } else {
                self.file.write(&batch.bytes)
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.ragged = batch.advance(written - newline),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One open segment.
#[derive(Debug)]
pub struct LogFile {
    out: Appender,
    path: PathBuf,
    /// Its name is on the disk for certain.
    is_named: Arc<AtomicBool>,
}

/// What another thread is to bring to the disk.
#[derive(Debug)]
pub struct Unsynced {
    file: File,
    path: PathBuf,
    is_named: Arc<AtomicBool>,
}

impl Unsynced {
    /// Does so: the content, and once the name.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if !self.is_named.load(Ordering::Relaxed) {
            sync_folder(&self.path)?;
            self.is_named.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What was found when a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its length in bytes; 0 for a new one.
    pub length: u64,
    /// How many bytes at its end are no whole record.
    pub torn: u64,
}

impl LogFile {
    /// Opens a file to append to, or makes it. `marks` are the beginnings of records by which a torn end is seen.
    pub fn open(path: &Path, framing: Framing, marks: &[Vec<u8>]) -> io::Result<(Self, Found)> {
        let file = match open_append_nofollow(path, FILE_MODE, true) {
            Ok(file) => {
                give_to_group(&file);
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_append_nofollow(path, FILE_MODE, false)?,
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let torn = if length == 0 { 0 } else { tail::torn(&File::open(path)?, length, framing, marks)? };
        let out = Appender { file, framing, ragged: torn > 0 };
        // Who made the file may have been killed before its name was on the disk.
        let is_named = Arc::new(AtomicBool::new(false));
        Ok((Self { out, path: path.to_owned(), is_named }, Found { length, torn }))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes now.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.out.file.metadata()?.len())
    }

    /// Whether these are its first bytes; also false where it cannot be read.
    pub fn begins_with(&self, bytes: &[u8]) -> bool {
        let mut first = vec![0; bytes.len()];
        File::open(&self.path).is_ok_and(|file| file.read_exact_at(&mut first, 0).is_ok()) && first == bytes
    }

    /// For another thread to bring it to the disk.
    pub fn unsynced(&self) -> io::Result<Unsynced> {
        Ok(Unsynced { file: self.out.file.try_clone()?, path: self.path.clone(), is_named: Arc::clone(&self.is_named) })
    }

    /// Empties the file; only rotation with truncation does this.
    pub fn truncate(&self) -> io::Result<()> {
        self.out.file.set_len(0)
    }

    /// Whether no name is left of it: what is written to it is lost when it is closed.
    pub fn is_removed(&self) -> bool {
        self.out.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Writes the whole batch and empties it. After an error the records that are not in the file yet are still there.
    pub fn append(&mut self, batch: &mut Batch) -> io::Result<()> {
        self.out.append(batch)
    }

    /// Whether the path still names this file. A path that cannot be looked at counts as moved.
    pub fn is_in_place(&self) -> bool {
        match (self.out.file.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(there)) => ours.dev() == there.dev() && ours.ino() == there.ino(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[&[u8]]) -> Batch {
        let mut batch = Batch::default();
        for record in records {
            batch.buffer().extend_from_slice(record);
            batch.commit();
        }
        batch
    }

    #[test]
    fn a_short_write_keeps_the_whole_torn_record() {
        for (written, left, torn) in
            [(0, "aabbbc", false), (1, "aabbbc", true), (2, "bbbc", false), (4, "bbbc", true), (6, "", false)]
        {
            let mut batch = batch(&[b"aa", b"bbb", b"c"]);
            assert_eq!(batch.advance(written), torn, "{written}");
            assert_eq!(batch.bytes, left.as_bytes());
            assert_eq!(batch.ends.last().copied().unwrap_or(0), left.len());
        }
    }

    #[test]
    fn a_ragged_base64_file_gets_its_newline_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.age64");
        fs::write(&path, "YWdl\nYWdlLW").unwrap();
        let (mut file, found) = LogFile::open(&path, Framing::Base64, &[]).unwrap();
        assert_eq!(found, Found { length: 11, torn: 6 });
        file.out.append(&mut batch(&[b"Yg==\n"])).unwrap();
        file.out.append(&mut batch(&[b"Yw==\n"])).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"YWdl\nYWdlLW\nYg==\nYw==\n");
        assert!(file.is_in_place());
        fs::rename(&path, folder.path().join("moved")).unwrap();
        assert!(!file.is_in_place());
    }

    #[test]
    fn folders_are_made_below_the_base_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/log");
        make_folders(folder.path(), &path).unwrap();
        make_folders(folder.path(), &path).unwrap();
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o750);
        assert!(make_folders(&folder.path().join("none"), &folder.path().join("none/a/log")).is_err());
        assert!(!folder.path().join("none").exists() && !path.exists());
    }

    #[test]
    fn a_folder_has_the_same_name_before_and_after_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let there = fs::canonicalize(folder.path()).unwrap().join("there");
        fs::create_dir(&there).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&there, &link).unwrap();
        for name in [link.join("a/b"), link.join("a"), link.clone(), link.join("./a//b/")] {
            let before = canonical_folder(&name).unwrap();
            assert!(before.starts_with(&there), "{}", before.display());
            fs::create_dir_all(&name).unwrap();
            assert_eq!(canonical_folder(&name).unwrap().as_os_str(), before.as_os_str());
            let _ = fs::remove_dir_all(there.join("a"));
        }
        fs::write(there.join("file"), "").unwrap();
        assert!(canonical_folder(&link.join("file/a")).is_err());
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("log.pgp"), folder.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(LogFile::open(&path, Framing::Binary, &[]).is_err());
        fs::write(&target, "").unwrap();
        assert!(LogFile::open(&path, Framing::Binary, &[]).is_err());
    }
}
