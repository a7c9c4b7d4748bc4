//! A file or folder that is there when it is whole, and not before.
//!
//! Promises: it is made under another name beside its own, for its owner alone, and renamed when it is on the disk; what was not
//! committed is removed. A file that is there is only replaced where that is asked for, a folder never.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// A file or folder that is being written.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    temporary: PathBuf,
    replaces: bool,
    is_folder: bool,
    is_done: bool,
}

impl Output {
    /// A file. Where there is one an error of kind [`io::ErrorKind::AlreadyExists`], unless it is to be replaced.
    pub fn new_file(path: &Path, replaces: bool) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !replaces && path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let temporary = temporary(path)?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { path: path.to_owned(), temporary, replaces, is_folder: false, is_done: false })
    }

    /// A folder; it must not be there.
    pub fn new_folder(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let temporary = temporary(path)?;
        DirBuilder::new().mode(0o700).create(&temporary)?;
        Ok(Self { path: path.to_owned(), temporary, replaces: false, is_folder: true, is_done: false })
    }

    /// Where it is written.
    pub fn partial(&self) -> &Path {
        &self.temporary
    }

    /// The file, to be written.
    pub fn file(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(&self.temporary)
    }

    /// Brings it to the disk and gives it its name.
    pub fn commit(mut self) -> io::Result<()> {
        if self.is_folder {
            sync_all(&self.temporary)?;
        } else {
            File::open(&self.temporary)?.sync_all()?;
        }
        let flags = if self.replaces { RenameFlags::empty() } else { RenameFlags::RENAME_NOREPLACE };
        renameat2(AT_FDCWD, &self.temporary, AT_FDCWD, &self.path, flags)?;
        self.is_done = true;
        File::open(folder(&self.path))?.sync_all()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.is_done {
            // There is nobody to tell, and the name says what it is.
            let _ = if self.is_folder { fs::remove_dir_all(&self.temporary) } else { fs::remove_file(&self.temporary) };
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name beside the path that nobody else has.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(format!(".{}.part", crate::control::Hex(random)));
    Ok(folder(path).join(name))
}

fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync_all(&entry.path())? } else { File::open(entry.path())?.sync_all()? }
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let output = Output::new_file(&path, false).unwrap();
        output.file().unwrap().write_all(b"one").unwrap();
        assert!(!path.exists() && names(folder.path()).len() == 1);
        assert_eq!(fs::metadata(output.partial()).unwrap().permissions().mode() & 0o777, 0o600);
        output.commit().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"one".to_vec(), vec!["rows.csv".to_owned()]));
        assert_eq!(Output::new_file(&path, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let output = Output::new_file(&path, true).unwrap();
        output.file().unwrap().write_all(b"two").unwrap();
        drop(output);
        assert_eq!((fs::read(&path).unwrap(), names(folder.path()).len()), (b"one".to_vec(), 1));
        Output::new_file(&path, true).unwrap().commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn what_came_in_between_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for is_folder in [false, true] {
            let path = folder.path().join(format!("rows{is_folder}"));
            let output = if is_folder { Output::new_folder(&path) } else { Output::new_file(&path, false) }.unwrap();
            fs::write(&path, "another's").unwrap();
            assert_eq!(output.commit().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"another's");
        }
        assert_eq!(names(folder.path()), ["rowsfalse", "rowstrue"]);
    }

    #[test]
    fn a_folder_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let output = Output::new_folder(&path).unwrap();
        fs::create_dir(output.partial().join("a")).unwrap();
        fs::write(output.partial().join("a/b"), "one").unwrap();
        output.commit().unwrap();
        assert_eq!(fs::read(path.join("a/b")).unwrap(), b"one");
        drop(Output::new_folder(&folder.path().join("other")).unwrap());
        assert_eq!(names(folder.path()), ["rows"]);
    }
}
