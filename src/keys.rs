//! The key folder: which files are read, what becomes of them together, and word of every change.
//!
//! Promises: a secret key anywhere in it is an error, as is a folder without a usable key; what is refused is named.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use thiserror::Error;

use crate::host::wake::Waker;
use crate::recipient::{self, KEY_SUFFIXES, Recipient, Recipients, Refusal, SetError};
use crate::record::Profile;

/// Where keys are looked for when nothing else is said.
pub const KEY_FOLDER: &str = "/etc/sealedlog/keys.d";
/// A key file is far smaller.
const MAX_KEY_FILE: u64 = 16 * 1024 * 1024;

/// Why there is nothing to seal to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A path cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A secret key lies among the public ones.
    #[error("{0}")]
    SecretKey(Refusal),
    /// No file holds a key that can be used.
    #[error("no usable public key in {}{}", list(paths), reasons(refused))]
    NoneUsable {
        /// Where was looked.
        paths: Vec<PathBuf>,
        /// What was found and refused.
        refused: Vec<Refusal>,
    },
    /// The keys do not go together.
    #[error(transparent)]
    Set(#[from] SetError),
}

impl KeyError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check that the path is right and may be read by the user that the program runs as",
            Self::SecretKey(refusal) => refusal.hint(),
            Self::NoneUsable { refused, .. } => refused.first().map_or(
                "put an OpenPGP certificate (.asc .gpg .pgp), an age recipient (.age) or an SSH public key (.pub) there",
                Refusal::hint,
            ),
            Self::Set(SetError::Mixed { .. }) => "keep the OpenPGP certificates or the age and SSH keys, not both",
            Self::Set(SetError::Profile { .. }) => {
                "keep keys of one kind in the folder, and leave --profile out where it was given"
            }
            Self::Set(_) => "put a public key there",
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn reasons(refused: &[Refusal]) -> String {
    refused.iter().map(|refusal| format!("; {refusal}")).collect()
}

/// What a key folder came to.
#[derive(Debug)]
pub struct Loaded {
    /// What is sealed to.
    pub recipients: Recipients,
    /// What was found beside it and refused.
    pub refused: Vec<Refusal>,
}

/// Every key of every file, each with what is to be said of it.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Result<Recipient, Refusal>>, KeyError> {
    let now = SystemTime::now();
    let mut keys = Vec::new();
    for path in paths {
        let unreadable = |source| KeyError::Unreadable { path: path.clone(), source };
        if fs::metadata(path).map_err(unreadable)?.is_dir() {
            let entries =
                fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
            let mut files = entries.map_err(unreadable)?;
            files.sort();
            for file in files.iter().filter(|file| !is_hidden(file)) {
                if has_key_suffix(file) {
                    keys.extend(read_file(file, now)?);
                } else {
                    keys.push(Err(refuse_by_name(file, now)));
                }
            }
        } else {
            keys.extend(read_file(path, now)?);
        }
    }
    Ok(keys)
}

/// Reads what is to be sealed to. Refused keys are an error only where nothing is left, a secret key always.
pub fn load(paths: &[PathBuf], profile: Option<Profile>) -> Result<Loaded, KeyError> {
    let (mut keys, mut refused) = (Vec::new(), Vec::new());
    for key in read(paths)? {
        match key {
            Ok(key) => keys.push(key),
            Err(secret @ Refusal::SecretKey(_)) => return Err(KeyError::SecretKey(secret)),
            Err(refusal) => refused.push(refusal),
        }
    }
    match Recipients::new(keys, profile) {
        Ok(recipients) => Ok(Loaded { recipients, refused }),
        Err(SetError::Empty) => Err(KeyError::NoneUsable { paths: paths.to_vec(), refused }),
        Err(error) => Err(error.into()),
    }
}

fn read_file(file: &Path, now: SystemTime) -> Result<Vec<Result<Recipient, Refusal>>, KeyError> {
    let unreadable = |source| KeyError::Unreadable { path: file.to_owned(), source };
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > MAX_KEY_FILE {
        let why = "it is no regular file of a key's size".to_owned();
        return Ok(vec![Err(Refusal::NotAKey { file: file.to_owned(), why })]);
    }
    Ok(recipient::parse(file, &fs::read(file).map_err(unreadable)?, now))
}

/// A file whose name is not that of a key. A secret key is one under any name: age-keygen and ssh-keygen give theirs no suffix.
fn refuse_by_name(file: &Path, now: SystemTime) -> Refusal {
    let secret = |key| matches!(key, Err(Refusal::SecretKey(_)));
    if read_file(file, now).is_ok_and(|keys| keys.into_iter().any(secret)) {
        return Refusal::SecretKey(file.to_owned());
    }
    Refusal::NotAKey { file: file.to_owned(), why: format!("its name does not end in .{}", KEY_SUFFIXES.join(", .")) }
}

fn is_hidden(file: &Path) -> bool {
    file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn has_key_suffix(file: &Path) -> bool {
    file.extension().and_then(|suffix| suffix.to_str()).is_some_and(|suffix| KEY_SUFFIXES.contains(&suffix))
}

/// Wakes the main loop when something in the key files' folders changes.
pub struct KeyWatch {
    changed: Arc<AtomicBool>,
    /// Always there until it is dropped.
    watcher: Option<RecommendedWatcher>,
}

impl KeyWatch {
    /// Watches folders, and the folders that files stand in, since editors replace files. Of a folder that is not there
    /// the one that it would be in, so that it is seen when it comes.
    pub fn new(paths: &[PathBuf], waker: Waker) -> notify::Result<Self> {
        let paths = paths.iter().map(std::path::absolute).collect::<io::Result<Vec<_>>>()?;
        let changed = Arc::new(AtomicBool::new(false));
        // The watcher needs a thread, and takes for granted that it got it.
        thread::Builder::new().spawn(|| ())?.join().map_err(|_| io::Error::other("threads die"))?;
        let (flag, keys) = (changed.clone(), paths.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| concerns(&event, &keys)) {
                flag.store(true, Ordering::SeqCst);
                waker.wake();
            }
        })?;
        let mut watch = Self { changed, watcher: Some(watcher) };
        for path in &paths {
            let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("/")) };
            let watcher = watch.watcher.as_mut().expect("it is dropped with the whole");
            survive(|| watcher.watch(folder, RecursiveMode::NonRecursive))??;
        }
        Ok(watch)
    }

    /// Whether something changed since the last call.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::SeqCst)
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        // It tells its thread to end, which may be gone.
        let _ = survive(|| drop(self.watcher.take()));
    }
}

/// The watcher panics where its thread is gone, which must not be the filter's end.
fn survive<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| io::Error::other("the watching thread is gone"))
}

/// Whether keys may have changed. Reading them is an event too, and so is writing a log that stands beside them.
fn concerns(event: &notify::Event, keys: &[PathBuf]) -> bool {
    let near = |path: &PathBuf| keys.iter().any(|key| path.starts_with(key) || key.starts_with(path));
    (!event.kind.is_access() || is_closed_after_writing(event)) && (event.paths.is_empty() || event.paths.iter().any(near))
}

fn is_closed_after_writing(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}
