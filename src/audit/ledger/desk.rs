//! What a desk remembers of its ledgers, apart from them: for each the key that it is sealed with, and how far it had come.
//!
//! Promises: a ledger that is read is what this desk wrote last, or it is said what it is instead. Whoever can change the desk's own
//! folder can forge ledgers: then only the head on paper tells.
//! Not promised: anything of a ledger that this desk has never seen, unless its head is given from paper.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Ledger, LedgerError, VERSION};
use crate::control::{Hex, SecretHex};

/// Stands before the seal in the last line of a ledger.
const SEAL: &str = "seal ";
/// How many bytes of a file's SHA-256 are its head.
const HEAD_LEN: usize = 10;

/// What a ledger's file comes to, for paper: five groups of four hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head(Hex<HEAD_LEN>);

impl Head {
    fn of(file: &[u8]) -> Self {
        Self(Hex(*Sha256::digest(file).first_chunk().expect("SHA-256 is longer")))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, pair) in self.0.0.chunks(2).enumerate() {
            write!(f, "{}{:02X}{:02X}", if at == 0 { "" } else { " " }, pair[0], pair[1])?;
        }
        Ok(())
    }
}

impl FromStr for Head {
    type Err = String;

    /// Reads what [`fmt::Display`] writes; spaces, colons and dashes do not matter, nor does the case.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| !c.is_whitespace() && !matches!(c, ':' | '-')).collect();
        digits.parse().map(Self).map_err(|why| format!("a ledger's head has five groups of four hexadecimal digits: {why}"))
    }
}

/// What the desk remembers of one ledger.
#[derive(Serialize, Deserialize)]
struct Note {
    id: Hex<16>,
    /// Where it was written last.
    path: PathBuf,
    key: SecretHex,
    number: u64,
    #[serde(with = "crate::control::milliseconds")]
    time: Timestamp,
}

/// What a ledger is, as far as the desk knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none, and there was none here.
    New,
    /// There is none, and this desk wrote one here: so many times, at last at this time.
    Lost(u64, Timestamp),
    /// It is what this desk wrote last, or has the head that is on paper.
    Newest,
    /// It was written so many times, and this desk has written it as often as the other number says, at last at this time.
    Older(u64, u64, Timestamp),
    /// This desk has never seen it: whether it is the newest one, and unchanged, is not known.
    Strange,
}

/// A ledger that was read.
pub struct Read {
    /// Empty where there is none.
    pub ledger: Ledger,
    /// What it is.
    pub standing: Standing,
    /// Of the file that it was read from.
    pub head: Option<Head>,
}

/// The folder of a desk.
pub struct Desk(PathBuf);

impl Desk {
    /// In this folder, which is made at the first writing.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Reads a ledger. `paper` is the head that its last writing gave.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Changed`] where its seal or its head is not that of its content.
    pub fn read(&self, path: &Path, paper: Option<Head>) -> Result<Read, LedgerError> {
        let notes = self.notes()?;
        let file = match fs::read(path) {
            Ok(file) => Zeroizing::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let there = std::path::absolute(path)?;
                let lost = notes.iter().find(|note| note.path == there);
                let standing = lost.map_or(Standing::New, |note| Standing::Lost(note.number, note.time));
                return Ok(Read { ledger: Ledger::default(), standing, head: None });
            }
            Err(error) => return Err(error.into()),
        };
        let (content, seal) = split(&file);
        let ledger: Ledger = serde_json::from_slice(content)?;
        if ledger.v != VERSION {
            return Err(LedgerError::Version(ledger.v));
        }
        let head = Head::of(&file);
        if paper.is_some_and(|paper| paper != head) {
            return Err(LedgerError::Changed);
        }
        let standing = match notes.iter().find(|note| note.id == ledger.id) {
            None if paper.is_some() => Standing::Newest,
            None => Standing::Strange,
            Some(note) => {
                sealing(&note.key, content).verify_slice(&seal.unwrap_or_default()).map_err(|_| LedgerError::Changed)?;
                // One more than the desk knows: the power went between the two.
                if ledger.number >= note.number || paper.is_some() {
                    Standing::Newest
                } else {
                    Standing::Older(ledger.number, note.number, note.time)
                }
            }
        };
        Ok(Read { ledger, standing, head: Some(head) })
    }

    /// Writes a ledger in the place of the one that was read, all or nothing, for its owner's eyes only. Gives its head.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Busy`] where the file is no longer the one with the head `before`.
    pub fn write(&self, path: &Path, before: Option<Head>, ledger: &mut Ledger, now: Timestamp) -> Result<Head, LedgerError> {
        let there = match fs::read(path) {
            Ok(file) => Some(Head::of(&Zeroizing::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if there != before {
            return Err(LedgerError::Busy);
        }
        let known = self.notes()?.into_iter().find(|note| note.id == ledger.id && ledger.id != Hex::default());
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(io::Error::other)?;
        if ledger.id == Hex::default() {
            getrandom::fill(&mut ledger.id.0).map_err(io::Error::other)?;
        }
        let key = known.as_ref().map_or_else(|| SecretHex::copy_of(&key), |note| note.key.clone());
        (ledger.v, ledger.number) = (VERSION, ledger.number.max(known.map_or(0, |note| note.number)) + 1);
        let mut file = Zeroizing::new(serde_json::to_vec(ledger)?);
        let seal: [u8; 32] = sealing(&key, &file).finalize().into_bytes().into();
        writeln!(file, "\n{SEAL}{}", Hex(seal))?;
        replace(path, &file)?;
        let note = Note { id: ledger.id, path: std::path::absolute(path)?, key, number: ledger.number, time: now };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        replace(&self.0.join(format!("{}.json", note.id)), &Zeroizing::new(serde_json::to_vec(&note)?))?;
        Ok(Head::of(&file))
    }

    fn notes(&self) -> Result<Vec<Note>, LedgerError> {
        let wrong = |path: &Path, why: &dyn fmt::Display| LedgerError::Desk(format!("{}: {why}", path.display()));
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(wrong(&self.0, &error)),
        };
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let notes = paths.iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "json"));
        notes
            .map(|path| {
                let text = Zeroizing::new(fs::read(path).map_err(|error| wrong(path, &error))?);
                serde_json::from_slice(&text).map_err(|error| wrong(path, &error))
            })
            .collect()
    }
}

/// Content and seal: a line each, and nothing behind them; without a seal where the second is none.
fn split(file: &[u8]) -> (&[u8], Option<[u8; 32]>) {
    let end = memchr::memchr(b'\n', file).unwrap_or(file.len());
    let seal = || {
        let line = std::str::from_utf8(file.get(end + 1..)?).ok()?.strip_suffix('\n')?;
        let seal: Hex<32> = line.strip_prefix(SEAL)?.parse().ok()?;
        Some(seal.0)
    };
    (&file[..end], seal())
}

/// The seal of a ledger: HMAC-SHA256 (RFC 2104) of its content.
fn sealing(key: &SecretHex, content: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length").chain_update(content)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        desk: Desk,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let desk = Desk::new(folder.path().join("desk"));
            Self { folder, desk }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("audits.json")
        }

        fn read(&self) -> Result<Read, LedgerError> {
            self.desk.read(&self.path(), None)
        }

        /// Reads and writes, as an audit does.
        fn audit(&self) -> Head {
            let mut read = self.read().unwrap();
            self.desk.write(&self.path(), read.head, &mut read.ledger, Timestamp::UNIX_EPOCH).unwrap()
        }
    }

    #[test]
    fn a_ledger_is_what_was_written_last_or_it_is_said_what_it_is() {
        let place = Place::new();
        assert_eq!(place.read().unwrap().standing, Standing::New);
        place.audit();
        let older = fs::read(place.path()).unwrap();
        let head = place.audit();
        assert_eq!(place.read().unwrap().standing, Standing::Newest);
        let newest = fs::read(place.path()).unwrap();
        fs::write(place.path(), &older).unwrap();
        assert_eq!(place.read().unwrap().standing, Standing::Older(1, 2, Timestamp::UNIX_EPOCH));
        fs::remove_file(place.path()).unwrap();
        assert_eq!(place.read().unwrap().standing, Standing::Lost(2, Timestamp::UNIX_EPOCH));
        // Another desk knows nothing of it, but by its head.
        fs::write(place.path(), &newest).unwrap();
        let other = Desk::new(place.folder.path().join("other"));
        assert_eq!(other.read(&place.path(), None).unwrap().standing, Standing::Strange);
        assert_eq!(other.read(&place.path(), Some(head)).unwrap().standing, Standing::Newest);
        fs::write(place.path(), &older).unwrap();
        assert!(matches!(other.read(&place.path(), Some(head)), Err(LedgerError::Changed)));
        assert_eq!(head.to_string().parse(), Ok(head));
    }

    #[test]
    fn a_power_cut_between_ledger_and_desk_is_no_change() {
        let place = Place::new();
        place.audit();
        let note = fs::read_dir(place.folder.path().join("desk")).unwrap().next().unwrap().unwrap().path();
        let before = fs::read(&note).unwrap();
        place.audit();
        fs::write(&note, before).unwrap();
        assert_eq!(place.read().unwrap().standing, Standing::Newest);
    }

    #[test]
    fn no_bit_of_it_can_be_changed_and_nothing_cut_off() {
        let place = Place::new();
        place.audit();
        let file = fs::read(place.path()).unwrap();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            fs::write(place.path(), &changed).unwrap();
            // The ledger's name is in it, too: by another name the desk does not know it.
            let read = place.read();
            assert!(read.is_err() || read.is_ok_and(|read| read.standing == Standing::Strange), "{at}");
            fs::write(place.path(), &file[..at]).unwrap();
            assert!(place.read().is_err(), "cut at {at}");
        }
    }

    #[test]
    fn two_at_once_do_not_write_over_each_other() {
        let place = Place::new();
        let (one, other) = (place.read().unwrap(), place.read().unwrap());
        let write = |mut read: Read| place.desk.write(&place.path(), read.head, &mut read.ledger, Timestamp::UNIX_EPOCH);
        write(one).unwrap();
        assert!(matches!(write(other), Err(LedgerError::Busy)));
    }
}
