//! The state of one stream: a folder with the next epoch's chain key, the genesis record, and what `mark` needs.
//!
//! Promises: the key file has a fixed size, is allocated once, and is overwritten in place, both of its slots at each
//! claim, each brought to the disk before the next step; whoever dies when, one whole slot is there. Does not promise
//! anything where the file system does not overwrite in place (copy-on-write, snapshots).
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::chain::ChainKey;
use crate::control::{GenesisFingerprint, Hex, StreamId};
use crate::host::file::{lock_exclusive, open_nofollow, set_no_cow};

const MAGIC: &[u8; 16] = b"sealedlog state1";
/// The genesis record of a stream whose state is not on the disk yet.
const NEXT_GENESIS: &str = "genesis.next";
/// More bytes than this no small file of the folder has.
const MAX_SMALL: u64 = 1 << 20;
/// Each slot has a block of its own, so that a torn write never reaches both.
const SLOT_STRIDE: u64 = 4096;
const FIELDS_LEN: usize = 16 + 8 + 16 + 8 + 32 + 32 + 32;
const SLOT_LEN: usize = FIELDS_LEN + 32;

/// Why the state of a stream cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A system call failed.
    #[error("{what}: {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither slot of the state is whole.
    #[error("{}: the state is damaged", .0.display())]
    Damaged(PathBuf),
}

/// What the state file holds.
#[derive(Clone)]
pub struct State {
    /// The stream.
    pub stream: StreamId,
    /// The epoch that the next claim takes.
    pub next_epoch: u64,
    /// Its chain key.
    pub chain_key: ChainKey,
    /// The fingerprint of the stream's genesis record.
    pub genesis: GenesisFingerprint,
    /// [`recipients_digest`] of what the stream is sealed to.
    pub recipients: Hex<32>,
}

/// Tells sets of recipients apart, by their [`Recipients::terms`](crate::recipient::Recipients::terms).
pub fn recipients_digest(terms: &[String]) -> Hex<32> {
    let mut hash = Sha256::new();
    for text in terms {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    Hex(hash.finalize().into())
}

/// What `mark` and `status` need to find a stream's file and keys again. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Folder and name template of the log, without the suffix of the record format.
    pub log: PathBuf,
    /// The host that the genesis record names.
    #[serde(default)]
    pub host: String,
    /// Key files and folders.
    pub keys: Vec<PathBuf>,
    /// `binary` or `base64`.
    pub framing: String,
    /// The profile that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Where the newest lines are to be seen in plain text, in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<PathBuf>,
}

/// The newest file of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewestSegment {
    /// Its number, from 0; `None` behind one whose number could not be read any more.
    pub segment: Option<u64>,
    /// Where it was made.
    pub path: PathBuf,
}

/// The folder with one stream's state.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
    runtime: PathBuf,
}

/// The name of a stream's folder: the template's base name made harmless, and a digest of folder and template.
pub fn folder_name(log_folder: &Path, template: &str) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let base: String = template.rsplit('/').next().unwrap_or(template).chars().map(harmless).take(100).collect();
    let mut hash = Sha256::new();
    hash.update(log_folder.as_os_str().as_encoded_bytes());
    hash.update(b"/");
    hash.update(template.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    format!("{base}-{}", Hex::<8>(digest[..8].try_into().expect("a digest is longer")))
}

impl StateFolder {
    /// The folder of a log in the state and the runtime directory; nothing is made yet.
    pub fn new(state_dir: &Path, runtime_dir: &Path, log_folder: &Path, template: &str) -> Self {
        let name = folder_name(log_folder, template);
        Self { path: state_dir.join(&name), runtime: runtime_dir.join(name) }
    }

    /// The folders of all logs that have one, in the order of their names.
    ///
    /// # Errors
    ///
    /// Where the state directory cannot be read.
    pub fn all(state_dir: &Path, runtime_dir: &Path) -> io::Result<Vec<Self>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(state_dir)? {
            let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            if entry.join("state").is_file() {
                folders.push(Self { path: entry, runtime: runtime_dir.join(name) });
            }
        }
        folders.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(folders)
    }

    /// The folder for what outlives a boot.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder for what must not reach a disk.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// Makes the folder where it is missing and locks its state against every other claim.
    pub fn lock(&self) -> Result<LockedState, StateError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Io { what, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(io("cannot make the state folder", &self.path))?;
        let path = self.path.join("state");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path);
        let file = file.map_err(io("cannot open the state", &path))?;
        lock_exclusive(&file).map_err(io("cannot lock the state", &path))?;
        if file.metadata().map_err(io("cannot look at the state", &path))?.len() == 0 {
            // While it is empty: the attribute has no effect on blocks that are there.
            let _ = set_no_cow(&file);
        }
        Ok(LockedState { folder: self.clone(), file })
    }

    /// The stored genesis record with this fingerprint, without framing.
    pub fn genesis(&self, fingerprint: &GenesisFingerprint) -> Result<Vec<u8>, StateError> {
        let path = self.path.join("genesis");
        let failed = |source| StateError::Io { what: "cannot read the genesis record", path: path.clone(), source };
        let next = self.path.join(NEXT_GENESIS);
        if let Ok(record) = fs::read(&next)
            .map_err(drop)
            .and_then(|record| if GenesisFingerprint::of(&record) == *fingerprint { Ok(record) } else { Err(()) })
        {
            // Who stored it came no further than to the state.
            fs::rename(&next, &path).map_err(failed)?;
            return Ok(record);
        }
        let record = fs::read(&path).map_err(failed)?;
        if GenesisFingerprint::of(&record) != *fingerprint {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it is that of another stream")));
        }
        Ok(record)
    }

    /// What was stored of the log's file and keys.
    pub fn config(&self) -> Option<Config> {
        serde_json::from_slice(&read_small(&self.path.join("config")).ok()?).ok()
    }

    /// Stores what `mark` and `status` need, where it is not there yet.
    pub fn store_config(&self, config: &Config) -> Result<(), StateError> {
        if self.config().as_ref() == Some(config) {
            return Ok(());
        }
        self.store("config", &serde_json::to_vec(config).expect("paths and words have a form in JSON"))
    }

    /// The newest file, if there is one.
    pub fn newest_segment(&self) -> Result<Option<NewestSegment>, StateError> {
        let path = self.path.join("segment");
        match read_small(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| StateError::Damaged(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Io { what: "cannot read", path, source }),
        }
    }

    /// The number of the file behind the newest; `None` where that one's is not known.
    pub fn next_number(&self) -> Result<Option<u64>, StateError> {
        match self.newest_segment() {
            Ok(newest) => Ok(newest.map_or(Some(0), |newest| Some(newest.segment? + 1))),
            Err(StateError::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn store_segment(&self, segment: Option<u64>, path: PathBuf) -> Result<(), StateError> {
        let newest = NewestSegment { segment, path };
        self.store("segment", &serde_json::to_vec(&newest).expect("a number and a path have a form in JSON"))
    }

    /// Replaces a small file without secrets.
    fn store(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        })();
        written.map_err(|source| StateError::Io { what: "cannot store", path, source })
    }
}

/// A stream's state under its lock, which ends when this is dropped.
pub struct LockedState {
    folder: StateFolder,
    file: File,
}

impl LockedState {
    /// The newest whole slot; `None` where no stream was begun yet.
    pub fn read(&self) -> Result<Option<State>, StateError> {
        let mut newest: Option<(u64, State)> = None;
        let mut any = false;
        for slot in 0..2 {
            let mut bytes = Zeroizing::new([0; SLOT_LEN]);
            match self.file.read_exact_at(&mut bytes[..], slot * SLOT_STRIDE) {
                Ok(()) => any |= bytes[..] != [0; SLOT_LEN],
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(source) => return Err(self.error("cannot read the state", source)),
            }
            if let Some((counter, state)) = decode(&bytes)
                && newest.as_ref().is_none_or(|(than, _)| counter > *than)
            {
                newest = Some((counter, state));
            }
        }
        match newest {
            Some((_, state)) => Ok(Some(state)),
            None if any => Err(StateError::Damaged(self.folder.path.join("state"))),
            None => Ok(None),
        }
    }

    /// Overwrites both slots, the older one first, each on the disk before the next step.
    pub fn write(&self, state: &State) -> Result<(), StateError> {
        let counters = [0, 1].map(|slot: u64| {
            let mut bytes = Zeroizing::new([0; SLOT_LEN]);
            self.file
                .read_exact_at(&mut bytes[..], slot * SLOT_STRIDE)
                .ok()
                .and_then(|()| decode(&bytes))
                .map_or(0, |(counter, _)| counter)
        });
        let newest = counters[0].max(counters[1]);
        let order = if counters[0] <= counters[1] { [0, 1] } else { [1, 0] };
        let written = (|| {
            if self.file.metadata()?.len() < 2 * SLOT_STRIDE {
                self.file.write_all_at(&[0; 2 * SLOT_STRIDE as usize], 0)?;
                self.file.sync_all()?;
                File::open(&self.folder.path)?.sync_all()?;
            }
            for (counter, slot) in (newest + 1..).zip(order) {
                self.file.write_all_at(&encode(counter, state)[..], slot * SLOT_STRIDE)?;
                self.file.sync_data()?;
            }
            Ok(())
        })();
        written.map_err(|source| self.error("cannot write the state", source))
    }

    /// Begins a stream: its genesis record, without framing, is on the disk before its state is.
    pub fn begin(&self, record: &[u8], state: &State) -> Result<(), StateError> {
        self.folder.store(NEXT_GENESIS, record)?;
        self.write(state)?;
        // The stream is there; what remains to be done the next claim does.
        let _ = self.folder.genesis(&state.genesis);
        Ok(())
    }

    /// Notes a file that is gone on in.
    pub fn note_file(&self, path: &Path) -> Result<(), StateError> {
        let path = absolute(path);
        let number = match self.folder.newest_segment() {
            Ok(Some(newest)) if newest.path == path => return Ok(()),
            Ok(newest) => newest.map_or(Some(0), |newest| newest.segment),
            Err(StateError::Damaged(_)) => None,
            Err(error) => return Err(error),
        };
        self.folder.store_segment(number, path)
    }

    /// Notes a new file, with the number that [`StateFolder::next_number`] gave it.
    pub fn note_segment(&self, segment: Option<u64>, path: &Path) -> Result<(), StateError> {
        self.folder.store_segment(segment, absolute(path))
    }

    fn error(&self, what: &'static str, source: io::Error) -> StateError {
        StateError::Io { what, path: self.folder.path.join("state"), source }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Reads a file of the state folder, or as much of it as any has.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_nofollow(path)?.take(MAX_SMALL).read_to_end(&mut content)?;
    Ok(content)
}

/// Magic, counter, stream, epoch, chain key, genesis fingerprint, recipients, and SHA-256 over all that.
fn encode(counter: u64, state: &State) -> Zeroizing<[u8; SLOT_LEN]> {
    let mut bytes = Zeroizing::new([0; SLOT_LEN]);
    let mut at = 0;
    let fields: [&[u8]; 7] = [
        MAGIC,
        &counter.to_be_bytes(),
        &state.stream.0,
        &state.next_epoch.to_be_bytes(),
        state.chain_key.as_bytes(),
        state.genesis.as_bytes(),
        &state.recipients.0,
    ];
    for field in fields {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    let checksum: [u8; 32] = Sha256::digest(&bytes[..FIELDS_LEN]).into();
    bytes[FIELDS_LEN..].copy_from_slice(&checksum);
    bytes
}

fn decode(bytes: &[u8; SLOT_LEN]) -> Option<(u64, State)> {
    let (fields, checksum) = bytes.split_at(FIELDS_LEN);
    let mut rest = fields.strip_prefix(MAGIC)?;
    if !bool::from(Sha256::digest(fields)[..].ct_eq(checksum)) {
        return None;
    }
    let counter = u64::from_be_bytes(take(&mut rest)?);
    let stream = Hex(take(&mut rest)?);
    let next_epoch = u64::from_be_bytes(take(&mut rest)?);
    let (key, after) = rest.split_first_chunk()?;
    let chain_key = ChainKey::copy_of(key);
    rest = after;
    let genesis = GenesisFingerprint::from_bytes(take(&mut rest)?);
    Some((counter, State { stream, next_epoch, chain_key, genesis, recipients: Hex(take(&mut rest)?) }))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(epoch: u64) -> State {
        State {
            stream: Hex([1; 16]),
            next_epoch: epoch,
            chain_key: ChainKey::from_bytes([epoch as u8 + 100; 32]),
            genesis: GenesisFingerprint::of(b"genesis"),
            recipients: recipients_digest(&["a".to_owned()]),
        }
    }

    fn folder(at: &Path) -> StateFolder {
        StateFolder::new(&at.join("state"), &at.join("run"), Path::new("/var/log"), "x.log")
    }

    #[test]
    fn after_a_claim_no_older_key_is_in_the_file() {
        let at = tempfile::tempdir().unwrap();
        let folder = folder(at.path());
        assert!(folder.lock().unwrap().read().unwrap().is_none());
        for epoch in 0..5 {
            folder.lock().unwrap().write(&state(epoch)).unwrap();
            let read = folder.lock().unwrap().read().unwrap().unwrap();
            assert_eq!((read.next_epoch, read.chain_key.as_bytes()), (epoch, state(epoch).chain_key.as_bytes()));
            let bytes = fs::read(folder.path().join("state")).unwrap();
            assert_eq!(bytes.len() as u64, 2 * SLOT_STRIDE);
            for older in 0..epoch {
                assert!(memchr::memmem::find(&bytes, state(older).chain_key.as_bytes()).is_none(), "key {older} after {epoch}");
            }
        }
    }

    #[test]
    fn one_torn_slot_does_no_harm_and_two_are_told() {
        let at = tempfile::tempdir().unwrap();
        let folder = folder(at.path());
        folder.lock().unwrap().write(&state(7)).unwrap();
        let file = OpenOptions::new().write(true).open(folder.path().join("state")).unwrap();
        for slot in 0..2 {
            file.write_all_at(&[0xee; 20], slot * SLOT_STRIDE + 60).unwrap();
            let read = folder.lock().unwrap().read();
            if slot == 0 {
                assert_eq!(read.unwrap().unwrap().next_epoch, 7);
            } else {
                assert!(matches!(read, Err(StateError::Damaged(_))));
            }
        }
    }

    #[test]
    fn a_file_has_a_number_only_where_the_one_before_is_known() {
        let at = tempfile::tempdir().unwrap();
        let folder = folder(at.path());
        let (locked, log) = (folder.lock().unwrap(), Path::new("/var/log/x.log.pgp"));
        assert_eq!(folder.next_number().unwrap(), Some(0));
        locked.note_file(log).unwrap();
        locked.note_segment(Some(6), log).unwrap();
        assert_eq!(folder.next_number().unwrap(), Some(7));
        let (there, aside) = (folder.path().join("segment"), folder.path().join("aside"));
        fs::rename(&there, &aside).unwrap();
        // It is there, and cannot be read.
        fs::create_dir(&there).unwrap();
        assert!(folder.next_number().is_err() && locked.note_file(log).is_err());
        fs::remove_dir(&there).unwrap();
        fs::rename(&aside, &there).unwrap();
        assert_eq!(folder.next_number().unwrap(), Some(7));
        fs::write(&there, b"{").unwrap();
        assert!(matches!(folder.newest_segment(), Err(StateError::Damaged(path)) if path == there));
        assert_eq!(folder.next_number().unwrap(), None);
        locked.note_file(log).unwrap();
        assert_eq!(folder.newest_segment().unwrap(), Some(NewestSegment { segment: None, path: log.to_owned() }));
        assert_eq!(folder.next_number().unwrap(), None);
    }

    #[test]
    fn names_of_folders_are_harmless_and_differ() {
        let name = folder_name(Path::new("/var/log"), "a%Y/../b c.log");
        assert!(name.starts_with("b_c.log-"), "{name}");
        assert_ne!(name, folder_name(Path::new("/var/lug"), "a%Y/../b c.log"));
        assert_eq!(folder_name(Path::new("/"), &"x".repeat(300)).len(), 117);
    }
}
