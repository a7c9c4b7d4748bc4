//! From the FILE and DIR arguments of a command to the files that it reads.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::record::{Framing, Profile};

/// The files of a command line, and what was left out.
#[derive(Debug, Default)]
pub struct Files {
    /// What to read, in the order of the arguments, a folder's content by name.
    pub files: Vec<PathBuf>,
    /// What has the name of a sealed file in a folder but is none that is read: a link, a device, a FIFO.
    pub skipped: Vec<PathBuf>,
    /// Arguments and folders that gave nothing.
    pub errors: Vec<ExpandError>,
}

/// Why an argument gives nothing to read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// A file or folder cannot be read.
    #[error("cannot read: {path}: {error}")]
    Read {
        /// What.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A folder holds no sealed files.
    #[error("no sealed files in the folder: {0}")]
    Empty(PathBuf),
}

/// Expands arguments: files as they are, whatever their names; folders recursively, with the files in them that have
/// the suffix of sealed files, or had it before logrotate renamed them. Links and special files in folders are not followed.
pub fn expand<P: AsRef<Path>>(arguments: &[P]) -> Files {
    let mut found = Files::default();
    for argument in arguments {
        let path = argument.as_ref();
        match fs::metadata(path) {
            Err(error) => found.errors.push(ExpandError::Read { path: path.to_owned(), error }),
            Ok(metadata) if metadata.is_dir() => {
                let count = |found: &Files| found.files.len() + found.skipped.len() + found.errors.len();
                let before = count(&found);
                found.walk(path);
                if count(&found) == before {
                    found.errors.push(ExpandError::Empty(path.to_owned()));
                }
            }
            Ok(_) => found.files.push(path.to_owned()),
        }
    }
    found
}

impl Files {
    fn walk(&mut self, folder: &Path) {
        let list = || -> io::Result<Vec<_>> {
            let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            entries.into_iter().map(|entry| Ok((entry.path(), entry.file_type()?))).collect()
        };
        let entries = match list() {
            Ok(entries) => entries,
            Err(error) => return self.errors.push(ExpandError::Read { path: folder.to_owned(), error }),
        };
        for (path, kind) in entries {
            if kind.is_dir() {
                self.walk(&path);
            } else if has_suffix(&path) {
                if kind.is_file() { &mut self.files } else { &mut self.skipped }.push(path);
            } else if kind.is_symlink() && path.is_dir() {
                self.skipped.push(path);
            }
        }
    }
}

/// Regular files in these folders whose names are not those of sealed files. What cannot be read is left out.
pub fn without_suffix(arguments: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = arguments.iter().filter(|path| path.is_dir()).cloned().collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && !has_suffix(&entry.path()) => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Whether a name ends as sealed files do, with or without what logrotate puts behind it: a number or a date.
fn has_suffix(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'));
    // `.pgp64` and `.age64` end in digits themselves.
    [(Profile::Rfc9580, Framing::Binary), (Profile::Rfc9580, Framing::Base64), (Profile::Age, Framing::Base64)]
        .into_iter()
        .any(|(profile, framing)| name.ends_with(profile.suffix(framing).trim_end_matches("64")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn folders_give_their_sealed_files_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        for name in ["b.pgp", "a.age64", "c.pgp64", "notes.txt", "sub/d.pgp", "pgp", "d.pgp.1", "d.pgp64-20260131", "d.pgp.asc"] {
            fs::write(path(name), b"").unwrap();
        }
        symlink(path("b.pgp"), path("link.pgp")).unwrap();
        symlink(path("sub"), path("loop")).unwrap();
        nix::unistd::mkfifo(&path("fifo.pgp"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let found = expand(&[folder.path().to_owned(), path("notes.txt"), path("link.pgp")]);
        assert!(found.errors.is_empty());
        let expected =
            ["a.age64", "b.pgp", "c.pgp64", "d.pgp.1", "d.pgp64-20260131", "sub/d.pgp", "notes.txt", "link.pgp"].map(path);
        assert_eq!(found.files, expected);
        assert_eq!(found.skipped, ["fifo.pgp", "link.pgp", "loop"].map(path));
        fs::create_dir(path("empty")).unwrap();
        let found = expand(&[path("missing"), path("empty"), path("b.pgp")]);
        assert!(matches!(&found.errors[..], [ExpandError::Read { .. }, ExpandError::Empty(_)]), "{found:?}");
        assert_eq!(found.files, [path("b.pgp")]);
    }
}
