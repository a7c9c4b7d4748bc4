//! Digests of records that are not expected to be asked for again, out of memory.
//!
//! Promises: what was put away is what comes back, or an error; nobody else can open the file, which has no name. It
//! tells nothing of the records: digests are under a random key that stands nowhere. Where no such file can be made, the
//! caller keeps what he has.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Where large temporary files go (hier(7)): not in memory, as `/tmp` may be.
const FOLDER: &str = "/var/tmp";

/// The file, once there is something to put away.
#[derive(Debug, Default)]
pub struct Spill {
    file: Option<File>,
    end: u64,
    failed: bool,
}

/// Where digests are.
#[derive(Clone, Copy, Debug)]
pub struct Away(u64);

impl Spill {
    /// Puts digests away, with room for `room` of them. `None` where that cannot be done.
    pub fn put(&mut self, digests: &[u64], room: usize) -> Option<Away> {
        if self.file.is_none() && !self.failed {
            self.file = nameless().ok();
            self.failed = self.file.is_none();
        }
        let file = self.file.as_ref().filter(|_| !self.failed)?;
        let bytes: Vec<u8> = digests.iter().flat_map(|digest| digest.to_le_bytes()).collect();
        self.failed = file.write_all_at(&bytes, self.end).is_err();
        let away = Away(self.end);
        self.end += 8 * digests.len().max(room) as u64;
        (!self.failed).then_some(away)
    }

    /// Whether it is of no use to try.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// One of them; 0 where nothing was put.
    pub fn get(&self, away: Away, slot: u32) -> io::Result<u64> {
        let (mut bytes, at) = ([0; 8], away.0 + 8 * u64::from(slot));
        let file = self.file.as_ref().expect("something was put there");
        // The room behind the last ones may lie behind the file's end.
        let mut have = 0;
        while have < bytes.len() {
            match file.read_at(&mut bytes[have..], at + have as u64) {
                Ok(0) => break,
                Ok(len) => have += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// Changes one of them.
    pub fn set(&self, away: Away, slot: u32, digest: u64) -> io::Result<()> {
        let file = self.file.as_ref().expect("something was put there");
        file.write_all_at(&digest.to_le_bytes(), away.0 + 8 * u64::from(slot))
    }
}

/// A file that nobody else can open, gone with the program.
pub(super) fn nameless() -> io::Result<File> {
    nameless_in(Path::new(FOLDER)).or_else(|_| nameless_in(&std::env::temp_dir()))
}

fn nameless_in(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits()).open(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_away_comes_back() {
        let mut spill = Spill::default();
        let one = spill.put(&[1, 2, 3], 64).unwrap();
        let other = spill.put(&[4], 1).unwrap();
        spill.set(one, 1, 9).unwrap();
        let got: Vec<u64> = (0..64).map(|slot| spill.get(one, slot).unwrap()).collect();
        assert_eq!((&got[..3], got[3..].iter().sum::<u64>()), (&[1, 9, 3][..], 0));
        assert_eq!(spill.get(other, 0).unwrap(), 4);
        assert_eq!(spill.get(other, 5).unwrap(), 0);
    }
}
