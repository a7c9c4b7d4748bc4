//! SHA-256 of the files of an audit.
//!
//! Promises: a file that changed while it was hashed, or after that while it was read, is told.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Read at once, in bytes.
const PART: usize = 1 << 18;

/// A file, as it was when it was hashed.
#[derive(Debug)]
pub struct Hashed {
    /// Where.
    pub path: PathBuf,
    /// How many bytes were hashed.
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
    state: State,
}

/// What is other when a file was written to: length, and time of the last change.
type State = (u64, i64, i64);

fn state(metadata: &Metadata) -> State {
    (metadata.len(), metadata.ctime(), metadata.ctime_nsec())
}

impl Hashed {
    /// Hashes a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let state = state(&file.metadata()?);
        let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0; PART], 0);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut sha256 = String::with_capacity(64);
        for byte in hasher.finalize() {
            let _ = write!(sha256, "{byte:02x}");
        }
        Ok(Self { path: path.to_owned(), bytes, sha256, state })
    }

    /// Whether the file is another by now, or has other content.
    pub fn has_changed(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |metadata| state(&metadata) != self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        let hashed = Hashed::read(&path).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(hashed.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((hashed.bytes, hashed.has_changed()), (3, false));
        std::fs::write(&path, "abcd").unwrap();
        assert!(hashed.has_changed());
        std::fs::remove_file(&path).unwrap();
        assert!(hashed.has_changed() && Hashed::read(&path).is_err());
    }
}
