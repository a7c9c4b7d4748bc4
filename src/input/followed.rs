//! A plain file that a program writes lines to, read as they come and emptied behind what was read.
//!
//! Promises: what was not freed is read again by who opens the file anew, so nothing is lost over a kill; what was freed is zeros
//! and, as far as the file system can, no blocks; nothing that a program writes meanwhile is touched, since the file keeps its
//! length. Where the file begins anew, by truncation, so does the reading. Not promised: that a line is on no disk before; it stands in
//! the file in plain text until it is freed.
#![forbid(unsafe_code)]

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::host::file::{erase_range, first_data, open_nofollow_to_change};

/// At most so many bytes are read at once; a longer line comes in pieces.
const ROOM: usize = 64 << 10;

/// Device and inode: which file it is, whatever it is called.
pub type FileId = (u64, u64);

/// The file.
#[derive(Debug)]
pub struct Followed {
    file: File,
    id: FileId,
    /// What stands before was freed.
    from: u64,
}

impl Followed {
    /// Opens it where its first byte is that is not zero.
    ///
    /// # Errors
    ///
    /// What open(2) says; symbolic links, what is no regular file, and what has several names are refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_nofollow_to_change(path)?;
        // Who can make a link in this folder could have any file emptied.
        if file.metadata()?.nlink() > 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has another name, too"));
        }
        let mut followed = Self { id: id(&file.metadata()?), file, from: 0 };
        followed.skip_zeros()?;
        Ok(followed)
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Which file has this name now.
    pub fn id_of(path: &Path) -> Option<FileId> {
        path.symlink_metadata().ok().as_ref().map(id)
    }

    /// What it is now.
    ///
    /// # Errors
    ///
    /// What fstat(2) says.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// What stands there and was not freed, up to the end of a line; with `partial` also a line that has no end yet.
    ///
    /// # Errors
    ///
    /// What read(2) says.
    pub fn read(&mut self, partial: bool) -> io::Result<Vec<u8>> {
        if self.file.metadata()?.len() < self.from {
            self.from = 0;
            self.skip_zeros()?;
        }
        let mut bytes = vec![0; ROOM];
        let mut have = 0;
        while have < bytes.len() {
            match self.file.read_at(&mut bytes[have..], self.from + have as u64) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let whole = memchr::memrchr(b'\n', &bytes[..have]).map_or(0, |end| end + 1);
        let is_long = whole == 0 && have == bytes.len();
        bytes.truncate(if partial || is_long { have } else { whole });
        Ok(bytes)
    }

    /// Erases what was read last: so many bytes.
    ///
    /// # Errors
    ///
    /// What write(2) or fdatasync(2) say; it is read again then.
    pub fn free(&mut self, len: usize) -> io::Result<()> {
        // A file that is shorter by now begins anew; to write to it would make it longer.
        if self.file.metadata()?.len() >= self.from + len as u64 {
            erase_range(&self.file, self.from, len as u64)?;
        }
        self.from += len as u64;
        Ok(())
    }

    fn skip_zeros(&mut self) -> io::Result<()> {
        self.from = first_data(&self.file, self.from)?;
        Ok(())
    }
}

fn id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_freed_is_zeros_and_what_comes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        fs::write(&path, "one\ntwo\nthr").unwrap();
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        let mut followed = Followed::open(&path).unwrap();
        assert_eq!(followed.read(false).unwrap(), b"one\ntwo\n");
        // It was not freed: it is there again.
        assert_eq!(followed.read(false).unwrap(), b"one\ntwo\n");
        followed.free(8).unwrap();
        assert_eq!(followed.read(false).unwrap(), b"");
        assert_eq!(followed.read(true).unwrap(), b"thr");
        writer.write_all(b"ee\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"\0\0\0\0\0\0\0\0three\n");
        // As after a kill.
        let mut followed = Followed::open(&path).unwrap();
        assert_eq!(followed.read(false).unwrap(), b"three\n");
        followed.free(6).unwrap();
        assert!(fs::read(&path).unwrap().iter().all(|&byte| byte == 0));
        assert_eq!(Followed::open(&path).unwrap().read(true).unwrap(), b"");
        // Begun anew.
        fs::write(&path, "four\n").unwrap();
        assert_eq!(followed.read(false).unwrap(), b"four\n");
    }

    #[test]
    fn what_may_be_another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("other"), "x\n").unwrap();
        std::os::unix::fs::symlink(path("other"), path("link")).unwrap();
        fs::hard_link(path("other"), path("name")).unwrap();
        for name in ["link", "name", "."] {
            assert!(Followed::open(&path(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let text = [vec![b'x'; ROOM + 10], b"\ny\n".to_vec()].concat();
        fs::write(&path, &text).unwrap();
        let mut followed = Followed::open(&path).unwrap();
        let mut all = Vec::new();
        for _ in 0..2 {
            let piece = followed.read(false).unwrap();
            followed.free(piece.len()).unwrap();
            all.extend(piece);
        }
        assert!(all == text);
    }
}
