//! Where a filter's records go: standard output, or files whose names and rotation rotatelogs' rules give.
//!
//! Promises: nothing is made or opened by a check; rotation falls between lines.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::unistd::{AccessFlags, eaccess};
use thiserror::Error;

use super::program::Program;
use super::route::{Route, Template};
use super::warn::Warner;
use crate::host::sandbox::Sandbox;
use crate::record::{Framing, Profile};
use crate::segment::rotation::{Schedule, Segment, Truncate};
use crate::segment::{self, canonical_folder};
use crate::stream::Writer;
use crate::stream::writer::WriteError;

/// Suffixes that a name may have already.
const SUFFIXES: [&str; 3] = [".pgp", ".pgp64", ".age64"];

/// Where records go.
#[derive(Clone, Debug)]
pub enum Target {
    /// Standard output, as a fresh stream.
    Output,
    /// Files.
    Files(Box<FileTarget>),
    /// Files that the beginning of each line chooses.
    Routed(Box<RoutedTarget>),
}

/// Files that the beginning of each line chooses, each a log with a stream of its own.
#[derive(Clone, Debug)]
pub struct RoutedTarget {
    /// Their names.
    pub template: Template,
    /// How many are open at the same time at most; 0 is taken as 1.
    pub max_open: usize,
}

/// What is done about files beside writing to them, as rotatelogs has it.
#[derive(Clone, Debug, Default)]
pub struct FileActions {
    /// Keep a hard link of this name to the current file.
    pub link: Option<PathBuf>,
    /// Run this program after a file was opened.
    pub program: Option<PathBuf>,
    /// Open the first file at start.
    pub force_open: bool,
    /// Make parent directories.
    pub make_parents: bool,
    /// Make a file for each interval.
    pub create_empty: bool,
    /// Copy lines to standard output.
    pub echo: bool,
    /// Tell of each file.
    pub verbose: bool,
}

/// Files as they were asked for.
#[derive(Clone, Debug)]
pub struct FileTarget {
    /// The name template as it was typed, without strftime conversions carried out.
    pub template: PathBuf,
    /// Names and times.
    pub schedule: Schedule,
    /// What else is done.
    pub actions: FileActions,
}

/// Why files cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The folder is not there.
    #[error("cannot write to {}: {source}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something stands in the file's place that cannot be appended to.
    #[error("cannot append to {}: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// The name is that of a terminal, a serial line or another device.
    #[error("cannot append to {}: it is a device", .path.display())]
    Device {
        /// The device.
        path: PathBuf,
    },
    /// Names can become longer than file names may be.
    #[error("the names of the logs below {} can become longer than a file name may be", .folder.display())]
    TooLong {
        /// Where they would be.
        folder: PathBuf,
    },
}

impl TargetError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "make the folder, and let the user that the program runs as write to it",
            Self::File { .. } => "remove or rename what stands there, or choose another name",
            Self::Device { .. } => "leave -o out and send standard output there: sealedlog seal --framing base64 >/dev/ttyS0",
            Self::TooLong { .. } => "put a '/' between the placeholders, or shorten what stands around them",
        }
    }
}

impl Target {
    /// Lets what is done with files be done in the sandbox.
    pub fn admit(&self, sandbox: &mut Sandbox) {
        match self {
            Self::Output => {}
            Self::Files(files) => {
                let rotation = &files.schedule.rotation;
                sandbox.logs(files.fixed_folder(), rotation.ring.is_some() || rotation.truncate != Truncate::Never);
                if let Some(link) = &files.actions.link {
                    sandbox.link(link);
                }
            }
            Self::Routed(routed) => sandbox.logs(routed.template.folder(), false),
        }
    }
}

impl FileTarget {
    /// What stands before the first conversion, up to a whole folder.
    fn fixed_folder(&self) -> &Path {
        let mut folders = self.template.ancestors().skip(1);
        let fixed = folders.find(|folder| !folder.as_os_str().as_encoded_bytes().contains(&b'%'));
        fixed.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Looks whether the files could be written now. Nothing is made or opened.
    pub fn check(&self, program: Option<Program>) -> Result<Files, TargetError> {
        let stripped = strip_suffix(&self.template);
        let folder = stripped.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dated = folder.to_string_lossy().contains('%');
        if !dated && !self.actions.make_parents {
            check_folder(folder)?;
        }
        let canonical = canonical(folder)?;
        let template = stripped.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let zone = TimeZone::system();
        let files =
            Files { target: self.clone(), program, folder: canonical, template, zone, current: None, looked: None, base: None };
        let first = files.first(Timestamp::now()).path;
        check_device(&first)?;
        SUFFIXES.iter().try_for_each(|suffix| check_file(&with_suffix(&first, suffix)))?;
        Ok(files)
    }
}

impl RoutedTarget {
    /// Looks whether files could be made now. Nothing is made or opened.
    pub fn check(self) -> Result<Routes, TargetError> {
        let Self { template, max_open } = self;
        check_folder(template.folder())?;
        let (folder, zone, now) = (canonical(template.folder())?, TimeZone::system(), Timestamp::now());
        if !template.fits(now, &zone) {
            return Err(TargetError::TooLong { folder });
        }
        let routes = Routes { template, folder, zone, max_open: max_open.max(1) };
        if !routes.template.has_field() {
            let path = routes.files(&Route::default()).first(now).path;
            SUFFIXES.iter().try_for_each(|suffix| check_file(&append(&path, suffix)))?;
        }
        Ok(routes)
    }
}

/// The files of all logs of a running filter.
#[derive(Debug)]
pub struct Routes {
    /// Which log a line belongs to.
    pub template: Template,
    /// How many are open at the same time at most.
    pub max_open: usize,
    folder: PathBuf,
    zone: TimeZone,
}

impl Routes {
    /// The files of one log, whose folders are made when they are needed.
    pub fn files(&self, route: &Route) -> Files {
        let (schedule, template) = (self.template.schedule(route), self.template.name(route));
        let target = FileTarget { template: PathBuf::from(&template), schedule, actions: FileActions::default() };
        let base = Some(self.template.folder().to_owned());
        Files {
            target,
            program: None,
            folder: self.folder.clone(),
            template,
            zone: self.zone.clone(),
            current: None,
            looked: None,
            base,
        }
    }
}

fn check_folder(folder: &Path) -> Result<(), TargetError> {
    let error = |source| TargetError::Folder { folder: folder.to_owned(), source };
    if !fs::metadata(folder).map_err(error)?.is_dir() {
        return Err(error(io::ErrorKind::NotADirectory.into()));
    }
    eaccess(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| error(errno.into()))
}

fn canonical(folder: &Path) -> Result<PathBuf, TargetError> {
    canonical_folder(folder).map_err(|source| TargetError::Folder { folder: folder.to_owned(), source })
}

fn check_file(path: &Path) -> Result<(), TargetError> {
    let file = |why: String| TargetError::File { path: path.to_owned(), why };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => Err(file("it is a symbolic link, which is never followed".to_owned())),
        Ok(metadata) if !metadata.is_file() => Err(file("it is not a regular file".to_owned())),
        Ok(_) => eaccess(path, AccessFlags::W_OK).map_err(|error| file(error.desc().to_owned())),
        Err(_) => Ok(()),
    }
}

/// With the suffix of a record format the name of a device would be that of a regular file beside it, in the memory that /dev
/// is in.
fn check_device(path: &Path) -> Result<(), TargetError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_char_device() => Err(TargetError::Device { path: path.to_owned() }),
        _ => Ok(()),
    }
}

/// The files of a running filter.
#[derive(Debug)]
pub struct Files {
    target: FileTarget,
    /// What runs the program that is to be run after a file was opened.
    program: Option<Program>,
    folder: PathBuf,
    template: String,
    zone: TimeZone,
    current: Option<Segment>,
    /// The time of the last line that needed no other file, where time alone decides.
    looked: Option<Timestamp>,
    /// Folders below this one are made.
    base: Option<PathBuf>,
}

impl Files {
    /// What else is done about files.
    pub fn actions(&self) -> &FileActions {
        &self.target.actions
    }

    /// The canonical folder of the template.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The name template without folder and suffix.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// Folder and template, as control records name the log.
    pub fn log(&self) -> String {
        self.folder.join(&self.template).display().to_string()
    }

    /// When the current file's interval ends.
    pub fn boundary(&self, now: Timestamp) -> Option<Timestamp> {
        self.current.as_ref().and_then(|current| self.target.schedule.boundary(current, now, &self.zone))
    }

    /// Opens the file that lines of this time go to, unless it is open.
    pub fn enter(&mut self, writer: &mut Writer, now: Timestamp, warner: &mut Warner) -> Result<(), WriteError> {
        if self.looked == Some(now) && writer.is_open() {
            // Another line of the same read.
            return Ok(());
        }
        self.looked = None;
        let next = match &self.current {
            None => Some(self.first(now)),
            Some(current) => {
                let length = if self.target.schedule.rotation.size.is_some() { writer.length() } else { 0 };
                self.target.schedule.next(current, length, now, &self.zone)
            }
        };
        let (segment, rotated) = match (next, &self.current) {
            (Some(next), Some(current)) if next.path == current.path && !next.truncate && writer.is_open() => {
                self.current = Some(next);
                return Ok(());
            }
            (Some(next), current) => (next, current.is_some()),
            (None, Some(current)) if !writer.is_open() => (current.clone(), false),
            (None, _) => {
                self.looked = Some(now).filter(|_| self.target.schedule.rotation.size.is_none());
                return Ok(());
            }
        };
        let suffix = writer.recipients().profile().suffix(writer.framing());
        let path = self.suffixed(&segment.path, suffix);
        let old = self.current.as_ref().filter(|_| rotated).map(|current| self.suffixed(&current.path, suffix));
        if let Some(parent) = path.parent().filter(|_| self.target.actions.make_parents) {
            let made = DirBuilder::new().recursive(true).mode(0o750).create(parent);
            made.map_err(|source| WriteError::Open { path: parent.to_owned(), source })?;
        }
        self.make_folders(&path)?;
        writer.enter(&path, segment.truncate)?;
        self.current = Some(segment);
        self.after_open(&path, old.as_deref(), warner);
        Ok(())
    }

    /// Where to go on for recipients whose records look otherwise than the writer's do now.
    pub fn elsewhere(&self, writer: &Writer, profile: Profile, framing: Framing) -> Option<(Framing, PathBuf)> {
        let suffix = profile.suffix(framing);
        if suffix == writer.recipients().profile().suffix(writer.framing()) {
            return None;
        }
        let path = self.current.as_ref().map_or_else(PathBuf::new, |current| self.suffixed(&current.path, suffix));
        Some((framing, path))
    }

    /// Makes the folders of a file, where they are the filter's to make.
    pub fn make_folders(&self, path: &Path) -> Result<(), WriteError> {
        let Some(base) = &self.base else { return Ok(()) };
        segment::make_folders(base, path).map_err(|source| WriteError::Open { path: path.to_owned(), source })
    }

    fn suffixed(&self, path: &Path, suffix: &str) -> PathBuf {
        // Who chooses a host's name could give it a suffix, and with it the name of another one.
        if self.base.is_some() { append(path, suffix) } else { with_suffix(path, suffix) }
    }

    fn first(&self, now: Timestamp) -> Segment {
        self.target.schedule.first(now, &self.zone)
    }

    fn after_open(&self, path: &Path, old: Option<&Path>, warner: &mut Warner) {
        if self.target.actions.verbose {
            warner.tell(&format_args!("opened {}", path.display()));
        }
        if let Some(link) = &self.target.actions.link {
            let linked = match fs::remove_file(link) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => fs::hard_link(path, link),
            };
            if let Err(error) = linked {
                warner.warn("link", &format_args!("cannot link {} to {}: {error}", link.display(), path.display()));
            }
        }
        if let Some(program) = &self.program {
            program.run(path, old, warner);
        }
    }
}

/// A name without the suffix of a record format, which is added to what rotation makes of it.
pub fn strip_suffix(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    SUFFIXES.iter().find_map(|suffix| text.strip_suffix(suffix)).map_or_else(|| path.to_owned(), PathBuf::from)
}

/// A name with this suffix of a record format, in the place of one that it may have.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    append(&strip_suffix(path), suffix)
}

fn append(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
