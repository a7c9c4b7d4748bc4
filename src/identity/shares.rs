//! Shares of a secret key: K of N holders open it together, fewer learn nothing.
//!
//! Not the key file itself is split, but a random key that it is encrypted under: so a share stays short, and every share
//! file carries the encrypted key file. Each also carries the digest of every share of its set.
//!
//! Promises: fewer than K shares open nothing and tell nothing of the key (Shamir over GF(256)); a share that was damaged or
//! changed is never used, and is named as far as the others tell it: also when its holder changed the digests in it. The
//! joined key is in memory only, and erased. Does not tell who changed his share where as many of a set contradict as agree
//! and none of them opens the key; does not protect a share from who reads its file, and no holder from K others.
#![forbid(unsafe_code)]

mod text;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use thiserror::Error;
use vsss_rs::{Gf256, IdentifierGf256};
use zeroize::Zeroizing;

pub use self::text::is_share;

/// Fewer are no shares: one alone would be the key.
pub const FEWEST: u8 = 2;
const SET_ID_LEN: usize = 16;
const VALUE_LEN: usize = 32;

/// What all shares of one set say alike.
#[derive(Clone, PartialEq, Eq)]
struct Set {
    /// Fingerprint of the key that they open.
    key: String,
    made: Timestamp,
    id: [u8; SET_ID_LEN],
    /// How many of them open it.
    needed: u8,
    /// Of each share, by its number less one.
    digests: Vec<[u8; 32]>,
    /// The key file, encrypted.
    sealed: Vec<u8>,
}

/// One share, as a file holds it.
pub struct Share {
    file: PathBuf,
    set: Set,
    /// From 1 on.
    number: u8,
    value: Zeroizing<[u8; VALUE_LEN]>,
}

/// A secret key file that shares gave.
pub struct Joined {
    /// Fingerprint of the key, as the shares have it.
    pub key: String,
    /// What stood in the key file.
    pub content: Zeroizing<Vec<u8>>,
}

/// What is wrong with shares.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The file cannot be read.
    #[error("cannot read the share: {file}: {error}")]
    Read {
        /// The share's file.
        file: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Something else.
    #[error("not a share of a secret key: {0}")]
    NotAShare(PathBuf),
    /// Made by a version to come.
    #[error("a share of version {version}, which is not known: {file}")]
    Version {
        /// The share's file.
        file: PathBuf,
        /// The version.
        version: String,
    },
    /// It is not as it was written, by accident as it seems.
    #[error("damaged share: {file}: {why}")]
    Damaged {
        /// The share's file.
        file: PathBuf,
        /// How that is seen.
        why: &'static str,
    },
    /// It was written anew, with a checksum that fits.
    #[error("changed share: {file}: share {number} is not the one that was made: {why}")]
    Changed {
        /// The share's file.
        file: PathBuf,
        /// Which share it says it is.
        number: u8,
        /// How that is seen.
        why: String,
    },
    /// As many say one thing of their set as another.
    #[error("changed share: these say one thing of their set: {}; these another: {}", list(.one), list(.other))]
    Disagree {
        /// The files on one side.
        one: Vec<PathBuf>,
        /// The files on the other side.
        other: Vec<PathBuf>,
    },
    /// Less than the key needs.
    #[error("too few shares of the key {key}: {have} of the {needed} that are needed, {} missing{}", needed - have, mixed(.of_others, .files, .id))]
    TooFew {
        /// Fingerprint of the key.
        key: String,
        /// Which set of shares of it.
        id: String,
        /// How many good ones there are.
        have: u8,
        /// How many it takes.
        needed: u8,
        /// The numbers of those that would do.
        wanted: Vec<u8>,
        /// The files of those that there are.
        files: Vec<PathBuf>,
        /// There are shares of other sets, too.
        of_others: bool,
    },
    /// Enough shares that agree, and the key does not open: all of them were changed.
    #[error("changed shares: together they do not open the key {key}: {}", list(.files))]
    DoesNotOpen {
        /// Fingerprint of the key.
        key: String,
        /// Their files.
        files: Vec<PathBuf>,
    },
}

impl ShareError {
    /// What the auditor can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "check the path after --share and its permissions".to_owned(),
            Self::NotAShare(_) => "give a file that keygen --shares wrote; a whole secret key is given with --key".to_owned(),
            Self::Version { .. } => "use the version of sealedlog that made it, or a later one".to_owned(),
            Self::Damaged { .. } => "give another copy of it, or another share".to_owned(),
            Self::Changed { .. } => "give another share, and ask its holder".to_owned(),
            Self::Disagree { .. } => "at least one was changed; give further shares, which tell which".to_owned(),
            Self::TooFew { wanted, .. } => {
                let wanted: Vec<_> = wanted.iter().map(u8::to_string).collect();
                format!("nothing was opened with it; ask the holders of other shares of this set: {}", wanted.join(", "))
            }
            Self::DoesNotOpen { .. } => "give other shares of this key".to_owned(),
        }
    }
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn mixed(of_others: &bool, files: &[PathBuf], id: &str) -> String {
    if *of_others { format!("; of set {id} is only: {}; the other shares are of other sets", list(files)) } else { String::new() }
}

/// Splits the content of a secret key file: the text of each share file, in order. `key` is its fingerprint, of letters and
/// digits. Panics where `needed` is not from [`FEWEST`] to `shares`.
pub fn split(
    content: &[u8],
    key: &str,
    shares: u8,
    needed: u8,
    made: Timestamp,
) -> Result<Vec<Zeroizing<String>>, getrandom::Error> {
    assert!((FEWEST..=shares).contains(&needed), "the command line checks it");
    let mut secret = Zeroizing::new([0; VALUE_LEN]);
    let mut id = [0; SET_ID_LEN];
    getrandom::fill(&mut *secret)?;
    getrandom::fill(&mut id)?;
    let numbers = (1..=shares).map(|number| IdentifierGf256(Gf256(number)));
    let rng = UnwrapErr(SysRng);
    let points = Gf256::split_bytes_with_participant_ids_iter(needed.into(), shares.into(), *secret, rng, numbers);
    let points: Vec<_> = points.expect("numbers from 1 on, each once").into_iter().map(Zeroizing::new).collect();
    let values: Vec<_> = points.iter().map(|point| Zeroizing::new(value(&point[1..]))).collect();
    let digests = values.iter().zip(1..=shares).map(|(value, number)| digest(&id, number, value)).collect();
    let made = Timestamp::from_second(made.as_second()).expect("it was a time before");
    let mut set = Set { key: key.to_owned(), made, id, needed, digests, sealed: Vec::new() };
    let mut buffer = Zeroizing::new(Vec::with_capacity(content.len() + 16));
    buffer.extend_from_slice(content);
    cipher(&secret).encrypt_in_place(&nonce(), set.head().as_bytes(), &mut *buffer).expect("a key file is short");
    set.sealed = buffer.to_vec();
    Ok(values.iter().zip(1..=shares).map(|(value, number)| set.write(number, value)).collect())
}

/// The key is used once.
fn nonce() -> Nonce {
    Nonce::default()
}

fn cipher(secret: &[u8; VALUE_LEN]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(secret.into())
}

fn value(bytes: &[u8]) -> [u8; VALUE_LEN] {
    bytes.try_into().expect("a share is as long as the secret")
}

/// `SHA-256("sealedlog v1 share" ‖ set id ‖ byte(number) ‖ value)`
fn digest(id: &[u8; SET_ID_LEN], number: u8, value: &[u8; VALUE_LEN]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"sealedlog v1 share")
        .chain_update(id)
        .chain_update([number])
        .chain_update(value)
        .finalize()
        .into()
}

impl Share {
    /// Reads a share's file.
    pub fn read(file: &Path) -> Result<Self, ShareError> {
        let content = super::read(file).map_err(|error| ShareError::Read { file: file.to_owned(), error })?;
        Self::parse(file, &content)
    }

    /// Reads the content of a share's file; `file` is told in errors.
    pub fn parse(file: &Path, content: &[u8]) -> Result<Self, ShareError> {
        text::parse(file, content)
    }

    fn is_as_made(&self) -> bool {
        digest(&self.set.id, self.number, &self.value) == self.set.digests[usize::from(self.number) - 1]
    }
}

/// Shares that say the same of their set.
struct Group {
    shares: Vec<Share>,
    opened: bool,
}

impl Group {
    fn set(&self) -> &Set {
        &self.shares[0].set
    }

    fn files(&self) -> Vec<PathBuf> {
        self.shares.iter().map(|share| share.file.clone()).collect()
    }

    /// Those with different numbers: a copy of a share is not a second one.
    fn distinct(&self) -> BTreeMap<u8, &Share> {
        self.shares.iter().map(|share| (share.number, share)).collect()
    }

    fn open(&mut self) -> Option<Result<Joined, ShareError>> {
        let (set, distinct) = (self.set(), self.distinct());
        if distinct.len() < usize::from(set.needed) {
            return None;
        }
        let points = distinct.values().take(set.needed.into());
        let points: Vec<Vec<u8>> = points.map(|share| [&[share.number], &share.value[..]].concat()).collect();
        // Each Vec of them is erased as this program's allocator gets it back.
        let secret = Zeroizing::new(Gf256::combine_bytes(&points).expect("as many as are needed, each once"));
        let mut content = Zeroizing::new(set.sealed.clone());
        let opened = cipher(&value(&secret)).decrypt_in_place(&nonce(), set.head().as_bytes(), &mut *content);
        let key = set.key.clone();
        Some(match opened {
            Ok(()) => {
                self.opened = true;
                Ok(Joined { key, content })
            }
            Err(_) => Err(ShareError::DoesNotOpen { key, files: self.files() }),
        })
    }
}

/// Joins shares, of one set or of several: the keys that they give, and all that is wrong with them.
pub fn join(shares: Vec<Share>) -> (Vec<Joined>, Vec<ShareError>) {
    let (mut joined, mut wrong) = (Vec::new(), Vec::new());
    let mut groups: Vec<Group> = Vec::new();
    for share in shares {
        if !share.is_as_made() {
            let why = "its digest is another".to_owned();
            wrong.push(ShareError::Changed { file: share.file, number: share.number, why });
            continue;
        }
        match groups.iter_mut().find(|group| *group.set() == share.set) {
            Some(group) => group.shares.push(share),
            None => groups.push(Group { shares: vec![share], opened: false }),
        }
    }
    for group in &mut groups {
        match group.open() {
            Some(Ok(key)) => joined.push(key),
            Some(Err(error)) => wrong.push(error),
            None => {}
        }
    }
    // Who opened the key is right; of those that did not, the many.
    groups.sort_by_key(|group| std::cmp::Reverse((group.opened, group.distinct().len())));
    let sets: Vec<_> = groups.iter().map(|group| group.set().id).collect();
    for (at, group) in groups.iter().enumerate().filter(|(_, group)| !group.opened) {
        let (set, distinct) = (group.set(), group.distinct());
        if let Some(first) = groups[..at].iter().find(|first| first.set().id == set.id) {
            wrong.extend(contradiction(first, group));
        } else if distinct.len() < usize::from(set.needed) {
            wrong.push(ShareError::TooFew {
                key: set.key.clone(),
                id: hex(&set.id),
                have: u8::try_from(distinct.len()).expect("less than 255"),
                needed: set.needed,
                wanted: (1..=set.shares()).filter(|number| !distinct.contains_key(number)).collect(),
                files: group.files(),
                of_others: sets.iter().any(|id| *id != set.id),
            });
        }
    }
    (joined, wrong)
}

/// What is wrong where two groups say that they are of one set, and the first one opened the key or is not smaller.
fn contradiction(first: &Group, second: &Group) -> Vec<ShareError> {
    if !first.opened && first.distinct().len() == second.distinct().len() {
        return vec![ShareError::Disagree { one: first.files(), other: second.files() }];
    }
    let why = format!("it contradicts {}", list(&first.files()));
    let changed = |share: &Share| ShareError::Changed { file: share.file.clone(), number: share.number, why: why.clone() };
    second.shares.iter().map(changed).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
