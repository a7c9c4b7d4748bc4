//! `sealedlog seal-existing`: plain files that are left over from before are sealed, and removed.
//!
//! Promises: a plain file goes only when all of it is sealed, on the disk and under its new name, and nobody has it open to
//! write; where anything fails it is as it was. No link is followed, in no part of its name: who owns a folder further up cannot
//! have another file sealed and removed. Not promised: that its bytes are gone from the disk, whose blocks are freed and not
//! overwritten; what a program writes that opens it in the very moment in which it is removed.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::PROGRAM;
use super::keys::KeyPaths;
use crate::cli::{Outcome, Trouble, print, printable, report, shown};
use crate::control::{GenesisFingerprint, Hex};
use crate::filter::target::with_suffix;
use crate::host::file::{open_nofollow, try_lock_exclusive};
use crate::host::memory::LockedBuffer;
use crate::host::open_files::OpenFiles;
use crate::host::process;
use crate::input::{Filled, InputError, LineReader, READ_ROOM};
use crate::keys;
use crate::plaintext::Content;
use crate::recipient::Recipients;
use crate::record::MAX_LINE;
use crate::segment;
use crate::stream::claim::Claimant;
use crate::stream::state::Config;
use crate::stream::writer::WriteError;
use crate::stream::{Writer, WriterOptions};

pub const EXAMPLES: &str = "\
Examples:
  sealedlog seal-existing /var/log/syslog.1
  sealedlog seal-existing --keep /var/log/apache2/*.log.?";

/// Behind the name of a file that is not complete.
const PART: &str = ".part";
const HINT_FILES: &str = "name regular files that can be read, by a name without links";

#[derive(Args, Debug)]
pub struct ExistingArgs {
    /// Plain files that nobody writes to any more
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Leave the plain files where they are
    #[arg(long)]
    keep: bool,

    #[command(flatten)]
    keys: KeyPaths,
}

/// Seals each; those that cannot be are told, and the others done all the same.
pub fn run(args: &ExistingArgs) -> Outcome {
    let lacks: Vec<_> = process::harden().missing().map(str::to_owned).collect();
    let loaded = keys::load(&args.keys.keys, args.keys.profile).map_err(|error| Trouble::new(&error, error.hint()))?;
    let recipients = Arc::new(loaded.recipients);
    let mut status = ExitCode::SUCCESS;
    for path in &args.files {
        match seal(path, &recipients, &lacks, args.keep) {
            Ok(text) => drop(print(text)?),
            Err(trouble) => status = report(PROGRAM, Err(trouble)),
        }
    }
    Ok(status)
}

/// What was done with one file, in words.
fn seal(path: &Path, recipients: &Arc<Recipients>, lacks: &[String], keep: bool) -> Result<String, Trouble> {
    let trouble =
        |error: &dyn Display, hint: &str| Trouble::new(format_args!("{}: {}", shown(path), printable(&error.to_string())), hint);
    // Everything is done in this very folder, whatever is put in its place meanwhile.
    let folder = Folder::open(folder_of(path)).map_err(|error| trouble(&error, HINT_FILES))?;
    let plain_path = folder.path(path.file_name().unwrap_or_default());
    let (mut plain, metadata) = look(&plain_path).map_err(|(error, hint)| trouble(&folder.told(&error), hint))?;
    if !try_lock_exclusive(&plain).map_err(|error| trouble(&error, HINT_FILES))? {
        return Err(trouble(&"another run seals it", "wait for that one"));
    }
    written_by(&metadata).map_err(|(error, hint)| trouble(&error, hint))?;
    let framing = recipients.profile().framing();
    let suffix = recipients.profile().suffix(framing);
    let (there, there_path) = (with_suffix(path, suffix), with_suffix(&plain_path, suffix));
    let mut part = there_path.clone().into_os_string();
    part.push(PART);
    let part = PathBuf::from(part);
    let busy = "look at that file; move it away, or remove it if it is of no use";
    if there_path.symlink_metadata().is_ok() {
        return Err(trouble(&format_args!("{} is there already", there.display()), busy));
    }
    segment::remove(&part).or_else(not_found).map_err(|error| trouble(&error, busy))?;
    let mut writer = writer(path, recipients, lacks).map_err(|error| trouble(&error, "try again"))?;
    let done = write(&mut writer, &mut plain, &part).and_then(|sealed| {
        let after = plain.metadata()?;
        if sealed.bytes != metadata.len() || stamp(&after) != stamp(&metadata) {
            return Err(io::Error::other("it changed while it was sealed").into());
        }
        segment::keep_time(&part, &metadata).and_then(|()| segment::rename_new(&part, &there_path))?;
        Ok(sealed)
    });
    let sealed = match done {
        Ok(sealed) => sealed,
        Err(error) => {
            let _ = segment::remove(&part);
            let hint = "it was left as it was; make room, or see who writes it, then try again";
            return Err(trouble(&folder.told(&error), hint));
        }
    };
    let kept = if keep {
        ", and kept"
    } else {
        let hint = "it is sealed, but still there in plain text: look at both files";
        remove(&plain_path, &plain, &metadata).map_err(|error| trouble(&error, hint))?;
        ""
    };
    let lines = if sealed.lines == 1 { "line" } else { "lines" };
    let (from, to) = (shown(path), shown(&there));
    Ok(format!("sealed {from}: {} {lines}{kept}\n    into {to}\n    genesis {}\n", sealed.lines, sealed.genesis))
}

/// A folder that is held open, so that its name can lead elsewhere without harm.
struct Folder {
    file: File,
    path: PathBuf,
}

impl Folder {
    /// One that no link leads to.
    fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        // With the dot only a folder is opened, and nothing that waits.
        let file = File::open(path.join("."))?;
        let own = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if own != path {
            return Err(io::Error::other(format!("its folder is {}, by its own name", own.display())));
        }
        Ok(Self { file, path })
    }

    fn held(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// What has this name in it.
    fn path(&self, name: &OsStr) -> PathBuf {
        Path::new(&self.held()).join(name)
    }

    /// An error, with the folder called by its name.
    fn told(&self, error: &dyn Display) -> String {
        error.to_string().replace(&self.held(), &self.path.to_string_lossy())
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Why a file is not sealed, and what to do.
type Refusal = (String, &'static str);

/// The file, if it is one to be sealed.
fn look(path: &Path) -> Result<(File, Metadata), Refusal> {
    let opened = open_nofollow(path).and_then(|mut file| {
        let mut head = Vec::new();
        (&mut file).take(Content::HEAD).read_to_end(&mut head)?;
        file.rewind()?;
        let metadata = file.metadata()?;
        Ok((file, metadata, head))
    });
    let (file, metadata, head) = opened.map_err(|error| (error.to_string(), HINT_FILES))?;
    let (error, hint) = match Content::of(path, &head) {
        Content::Lines if metadata.nlink() > 1 => ("it has another name, too", "remove that one first"),
        Content::Lines => return Ok((file, metadata)),
        Content::Sealed => ("it is sealed already", "leave it as it is"),
        Content::Logins => ("it has records of logins, and no lines", "leave it as it is"),
        Content::Journal => {
            let hint = "journalctl --file FILE | sealedlog seal -o NAME seals its lines";
            ("it is a file of systemd's journal, and has no lines", hint)
        }
        Content::Compressed => ("it is compressed", "unpack it first"),
    };
    Err((error.to_owned(), hint))
}

/// Refuses what a process has open to write, or may have.
fn written_by(metadata: &Metadata) -> Result<(), Refusal> {
    let hint = "run it as root, on the machine itself: files that are still written must not be sealed";
    let open = OpenFiles::look(Path::new("/proc")).map_err(|error| (format!("cannot read /proc: {error}"), hint))?;
    if open.hidden > 0 {
        return Err(("not all processes can be looked at, so it may still be written".to_owned(), hint));
    }
    match open.writers(metadata).first() {
        None => Ok(()),
        Some(process) => {
            let error = format!("{} (process {}) has it open to write", process.program, process.id);
            Err((error, "rotate the log, or end that program, and try again"))
        }
    }
}

/// Removes the file that was sealed, if it is still that one, as it was, and nobody is to write to it.
fn remove(path: &Path, plain: &File, metadata: &Metadata) -> Result<(), String> {
    written_by(metadata).map_err(|(error, _)| error)?;
    let (now, there) = (plain.metadata(), fs::symlink_metadata(path));
    let (now, there) = now.and_then(|now| Ok((now, there?))).map_err(|error| error.to_string())?;
    if stamp(&now) != stamp(metadata) || (there.dev(), there.ino()) != (metadata.dev(), metadata.ino()) {
        return Err("it changed behind what was sealed".to_owned());
    }
    segment::remove(path).map_err(|error| error.to_string())
}

fn writer(path: &Path, recipients: &Arc<Recipients>, lacks: &[String]) -> io::Result<Writer> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let host = process::host_name().unwrap_or_else(|_| "localhost".to_owned());
    let log = std::path::absolute(path)?;
    let claimant = Claimant {
        writer: Hex(id),
        recipients: Arc::clone(recipients),
        host: host.clone(),
        log: log.display().to_string(),
        software: format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")),
        memory_locked: LockedBuffer::new(READ_ROOM)?.is_locked(),
        lacks: lacks.to_vec(),
    };
    let framing = recipients.profile().framing();
    let config = Config { host, log, keys: Vec::new(), framing: framing.name().to_owned(), profile: None, window: None };
    // Nobody goes on with it, so it is a stream of its own without state.
    Ok(Writer::new(WriterOptions { claimant, state: None, config, framing, retry_state: Duration::MAX, mark_idle: None }))
}

struct Sealed {
    genesis: GenesisFingerprint,
    bytes: u64,
    lines: u64,
}

#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Seals all of a file, onto the disk.
fn write(writer: &mut Writer, plain: &mut File, part: &Path) -> Result<Sealed, SealError> {
    let mut reader = LineReader::new(LockedBuffer::new(READ_ROOM)?, MAX_LINE, LockedBuffer::new);
    writer.enter(part, false)?;
    let genesis = writer.genesis().ok_or_else(|| io::Error::other("no stream was begun"))?;
    let mut sealed = Sealed { genesis, bytes: 0, lines: 0 };
    let mut take = |writer: &mut Writer, piece: &[u8], is_counted: bool| {
        sealed.bytes += piece.len() as u64;
        sealed.lines += u64::from(is_counted);
        writer.line(piece, Timestamp::now())
    };
    while reader.fill(&*plain)? != Filled::Eof {
        while let Some(piece) = reader.next_piece() {
            take(writer, &piece, piece.ends_line())?;
        }
        writer.flush()?;
    }
    while let Some(piece) = reader.rest() {
        // A last line without its newline is one, too.
        take(writer, &piece, true)?;
    }
    writer.finish()?;
    match writer.take_warnings().first() {
        Some(warning) => Err(io::Error::other(warning.to_string()).into()),
        None => Ok(sealed),
    }
}

fn stamp(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
