//! The evidence of a command line: its files, read through the verifier with its keys and what it trusts.
//!
//! Promises: what cannot be read, opened or used is told on standard error and the rest is still done; the exit status says so.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::PROGRAM;
use super::input::{InputArgs, Keys};
use crate::audit::escape::escape;
use crate::audit::files::Files;
use crate::audit::finding::{Kind, Severity};
use crate::audit::merge::TemporaryError;
use crate::audit::place::Place;
use crate::audit::read::{Damage, Opener};
use crate::audit::session::{self, End, Line, ReadError, Reader, Stop};
use crate::audit::verify::{Report, Verifier};
use crate::cli::{TROUBLE, Trouble, tell};
use crate::control::WriterId;

/// Files, keys and trust of a command.
pub struct Evidence {
    /// What is read, and what was passed over.
    pub files: Files,
    keys: Keys,
    /// The secret keys opened nothing, or files could not be read.
    incomplete: bool,
    unreadable: Vec<String>,
}

impl Evidence {
    /// Finds the files and reads the keys. An error where none is left of either.
    pub fn new(input: &InputArgs) -> Result<Self, Trouble> {
        let files = input.files()?;
        let unreadable: Vec<_> = files.errors.iter().map(ToString::to_string).collect();
        Ok(Self { incomplete: !unreadable.is_empty(), unreadable, files, keys: input.keys()? })
    }

    /// What opens records.
    pub fn opener(&self) -> Opener<'_> {
        Opener::new(&self.keys.identities)
    }

    /// Reads all files through the verifier; on a terminal `bar` shows how far it has come. What cannot be read is told.
    pub fn read(&mut self, verifier: &mut Verifier, reader: &mut impl Reader, bar: bool) -> Result<(), Stop> {
        let mut watched = Watched::new(reader, &self.files.files, bar);
        let unreadable = session::read(&self.files.files, &Opener::new(&self.keys.identities), verifier, &mut watched)?;
        watched.bar.finish_and_clear();
        for error in &unreadable {
            tell_unreadable(error);
        }
        self.incomplete |= !unreadable.is_empty();
        self.unreadable.extend(unreadable.iter().map(ToString::to_string));
        Ok(())
    }

    /// What could not be read, and why. It was told.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// Tells on standard error what there is to say of the files.
    pub fn tell(&self, report: &Report, has_root: bool) {
        self.tell_skipped();
        let mut stderr = io::stderr().lock();
        for finding in report.findings.iter().filter(|finding| has_root || finding.finding != Kind::Unanchored) {
            let severity = if finding.severity == Severity::Alarm { "alarm" } else { "warning" };
            let _ = writeln!(stderr, "{PROGRAM}: {severity}: {}", escape(finding.to_string().as_bytes()));
        }
        if !has_root && report.summary.records > 0 {
            let _ =
                writeln!(stderr, "{PROGRAM}: note: without --genesis or --ledger order and completeness rest on the files alone");
        }
    }

    /// Tells on standard error which files were passed over.
    pub fn tell_skipped(&self) {
        let mut stderr = io::stderr().lock();
        for path in &self.files.skipped {
            let path = escape(path.as_os_str().as_encoded_bytes());
            let _ = writeln!(stderr, "{PROGRAM}: warning: {path}: passed over, not a regular file");
        }
    }

    /// Exit status: 2 where something could not be done, told here if it was not yet; else 1 where all is not well.
    pub fn status(&mut self, report: &Report, all_is_well: bool) -> ExitCode {
        if report.summary.records == 0 && report.summary.alarms > 0 {
            let error = Trouble::new(
                "no record opened",
                "check that the files are sealed logs and that the secret key belongs to a key that they were sealed to",
            );
            tell(PROGRAM, &error);
            self.incomplete = true;
        }
        let status = self.keys.status(all_is_well && self.files.skipped.is_empty());
        if self.incomplete { ExitCode::from(TROUBLE) } else { status }
    }
}

/// Tells that a file cannot be read.
pub fn tell_unreadable(error: &ReadError) {
    tell(PROGRAM, &Trouble::new(escape(error.to_string().as_bytes()), "check the path, its permissions and the medium"));
}

const ROOM: &str = "look at the file systems of /var/tmp and TMPDIR; one of them must have room";

/// What an error is that ends a reading.
pub fn stopped(stop: Stop) -> Result<ExitCode, Trouble> {
    match stop {
        // A reader that went away ends the program quietly, as it does `cat`.
        Stop::Reader(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Stop::Reader(error) if error.get_ref().is_some_and(|inner| inner.is::<TemporaryError>()) => {
            Err(Trouble::new(error, ROOM))
        }
        Stop::Reader(error) => {
            Err(Trouble::new(format_args!("cannot write to standard output: {error}"), "look at where it is redirected to"))
        }
        Stop::Temporary(_) => Err(Trouble::new(stop, ROOM)),
    }
}

/// A reader with a bar that shows how far the reading has come.
struct Watched<'r, R> {
    reader: &'r mut R,
    bar: ProgressBar,
    read: u64,
    last: u64,
}

impl<'r, R: Reader> Watched<'r, R> {
    fn new(reader: &'r mut R, files: &[PathBuf], bar: bool) -> Self {
        let length = files.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.len()).sum();
        let drawn = ProgressBar::new(length);
        if !bar || !io::stderr().is_terminal() {
            drawn.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let bar = drawn.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { reader, bar, read: 0, last: 0 }
    }
}

impl<R: Reader> Reader for Watched<'_, R> {
    fn begin(&mut self, verifier: &Verifier) {
        self.reader.begin(verifier);
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.reader.line(line)
    }

    fn line_ends(&mut self, place: Place, writer: WriterId) -> io::Result<()> {
        self.reader.line_ends(place, writer)
    }

    fn damage(&mut self, path: &Path, damage: &Damage) {
        self.reader.damage(path, damage);
    }

    fn progress(&mut self, path: &Path, offset: u64) {
        // An offset that is not behind the last one is in the next file.
        self.read += if offset >= self.last { offset - self.last } else { offset };
        self.last = offset;
        self.bar.set_position(self.read);
        self.reader.progress(path, offset);
    }

    fn end(&mut self, path: &Path, end: End) {
        self.reader.end(path, end);
    }
}
