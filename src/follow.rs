//! Logs of programs that cannot hand them over: plain files are sealed as they grow and then emptied, and the journal is followed.
//!
//! Promises: a line is freed, or the place in the journal noted, when it is sealed and on the disk, not before; over a kill nothing
//! is lost, and what was sealed and not yet freed is sealed a second time. Not promised: that no line was ever on the disk in plain text; its
//! program wrote it there.
#![forbid(unsafe_code)]

mod sealer;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

pub use self::sealer::{Sealer, Stopped};
use crate::host::open_files::writers_of;
use crate::input::followed::Followed;
use crate::input::journal::{Entry, FIELDS, read_entry};

/// A line without an end is sealed as it is after so long.
const PARTIAL: Duration = Duration::from_secs(10);
/// A file that was renamed is followed so long beyond its last line, as long as nobody has it open.
const RENAMED: Duration = Duration::from_secs(60);
/// How often files are looked at, and how long an entry waits for others.
pub const POLL: Duration = Duration::from_millis(200);
/// Entries that are read ahead, and that are sealed in one transaction.
const AHEAD: usize = 1024;
/// `journalctl` is started again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// The files of one name, or of a name with one `*` in its last part.
#[derive(Debug)]
pub struct Files {
    pattern: PathBuf,
    open: Vec<Open>,
    /// Files that could not be opened, which was told.
    told: BTreeSet<PathBuf>,
}

/// One that is followed.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: Followed,
    /// When something came last.
    changed: Instant,
}

impl Files {
    /// Follows what is there or comes.
    pub fn new(pattern: PathBuf) -> Self {
        Self { pattern, open: Vec::new(), told: BTreeSet::new() }
    }

    /// Seals what came since the last time. With `last` lines without an end too.
    pub fn poll(&mut self, sealer: &mut Sealer, last: bool) -> Result<(), Stopped> {
        let names = expand(&self.pattern);
        for path in &names {
            match Followed::open(path) {
                Ok(file) if self.open.iter().all(|open| open.file.id() != file.id()) => {
                    self.open.push(Open { path: path.clone(), file, changed: Instant::now() });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    if self.told.insert(path.clone()) {
                        sealer.warn(format_args!("cannot follow {}: {error}", path.display()));
                    }
                }
            }
        }
        for open in &mut self.open {
            open.seal(sealer, last)?;
        }
        self.open.retain(|open| open.is_current() || open.changed.elapsed() < RENAMED || open.is_written());
        Ok(())
    }
}

impl Open {
    fn seal(&mut self, sealer: &mut Sealer, last: bool) -> Result<(), Stopped> {
        loop {
            let partial = last || self.changed.elapsed() >= PARTIAL;
            let done = self.file.read(partial).map_err(|error| format!("cannot read {}: {error}", self.path.display()));
            let bytes = match done {
                Ok(bytes) if bytes.is_empty() => return Ok(()),
                Ok(bytes) => bytes,
                Err(error) => {
                    sealer.warn(error);
                    return Ok(());
                }
            };
            sealer.seal(&log_name(&self.path), &bytes)?;
            self.changed = Instant::now();
            if let Err(error) = self.file.free(bytes.len()) {
                // It would be sealed over and over.
                sealer
                    .warn(format_args!("cannot empty {}, which is sealed and stays in plain text: {error}", self.path.display()));
                return Err(Stopped);
            }
        }
    }

    fn is_current(&self) -> bool {
        Followed::id_of(&self.path) == Some(self.file.id())
    }

    fn is_written(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| !writers_of(Path::new("/proc"), &metadata).is_empty())
    }
}

/// The logs of the files that are there and that a pattern names.
pub fn logs_of(pattern: &Path) -> Vec<String> {
    expand(pattern).iter().filter(|path| path.is_file()).map(|path| log_name(path)).collect()
}

/// The files that a pattern names now.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((before, behind)) = name.split_once('*') else { return vec![pattern.to_owned()] };
    let folder = pattern.parent().unwrap_or(Path::new("."));
    let fits = |name: &str| name.len() >= before.len() + behind.len() && name.starts_with(before) && name.ends_with(behind);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(fits)).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// What a file's log is called: its path below `/var/log`, in one part.
fn log_name(path: &Path) -> String {
    let path = path.strip_prefix("/var/log").unwrap_or(path);
    let parts: Vec<_> = path.iter().filter(|part| *part != "/").map(|part| part.to_string_lossy().replace(' ', "_")).collect();
    parts.join("-")
}

/// What the log of the journal is called.
pub const JOURNAL_LOG: &str = "journal";

/// The journal in memory.
#[derive(Debug)]
pub struct Journal {
    /// Where it was followed to.
    cursor: PathBuf,
    folder: PathBuf,
    reading: Option<(Child, Receiver<Entry>)>,
    /// Not before.
    again: Option<Instant>,
}

impl Journal {
    /// Goes on behind the entry whose cursor stands in the file `cursor`, or at the beginning of the journal in `folder`.
    pub fn new(folder: PathBuf, cursor: PathBuf) -> Self {
        Self { cursor, folder, reading: None, again: None }
    }

    /// Seals what comes, for about [`POLL`].
    pub fn poll(&mut self, sealer: &mut Sealer) -> Result<(), Stopped> {
        if self.reading.is_none() {
            match self.again.is_none_or(|again| Instant::now() >= again).then(|| self.start()) {
                Some(Ok(reading)) => self.reading = Some(reading),
                Some(Err(error)) => {
                    sealer.warn(format_args!("cannot run journalctl: {error}"));
                    self.again = Some(Instant::now() + AGAIN);
                }
                None => thread::sleep(POLL),
            }
        }
        let Some((_, entries)) = &self.reading else { return Ok(()) };
        let (mut lines, mut cursor, mut ended) = (Vec::new(), None, false);
        match entries.recv_timeout(POLL) {
            Ok(first) => {
                for Entry { cursor: at, line } in std::iter::once(first).chain(entries.try_iter()).take(AHEAD) {
                    lines.extend(line);
                    cursor = Some(at);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => ended = true,
        }
        if let Some(cursor) = cursor {
            sealer.seal(JOURNAL_LOG, &lines)?;
            if let Err(error) = self.note(&cursor) {
                sealer.warn(format_args!("cannot write {}: {error}", self.cursor.display()));
            }
        }
        if ended {
            self.end();
            self.again = Some(Instant::now() + AGAIN);
        }
        Ok(())
    }

    /// Seals what is there and ends.
    pub fn finish(mut self, sealer: &mut Sealer) -> Result<(), Stopped> {
        // What was logged just before has come by then.
        let until = Instant::now() + 3 * POLL;
        while Instant::now() < until {
            self.poll(sealer)?;
        }
        self.end();
        Ok(())
    }

    fn start(&self) -> io::Result<(Child, Receiver<Entry>)> {
        let mut command = Command::new("journalctl");
        command.args(["--follow", "--no-tail", "--quiet", "--output=export"]).arg(format!("--output-fields={FIELDS}"));
        command.arg("--directory").arg(&self.folder);
        if let Ok(cursor) = fs::read_to_string(&self.cursor) {
            command.arg(format!("--after-cursor={}", cursor.trim_end()));
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut input = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (found, entries) = sync_channel(AHEAD);
        thread::spawn(move || {
            while let Ok(Some(entry)) = read_entry(&mut input) {
                if found.send(entry).is_err() {
                    break;
                }
            }
        });
        Ok((child, entries))
    }

    fn note(&self, cursor: &str) -> io::Result<()> {
        let part = self.cursor.with_extension("new");
        fs::write(&part, cursor)?;
        fs::rename(part, &self.cursor)
    }

    fn end(&mut self) {
        if let Some((mut child, _)) = self.reading.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_logs_are_one_part() {
        for (path, log) in
            [("/var/log/dpkg.log", "dpkg.log"), ("/var/log/apt/term.log", "apt-term.log"), ("/srv/a b/c", "srv-a_b-c")]
        {
            assert_eq!(log_name(Path::new(path)), log);
        }
    }

    #[test]
    fn a_star_stands_for_any_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.log", "b.log", "b.log.1", ".log"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = |pattern: &str| expand(&folder.path().join(pattern)).len();
        assert_eq!((found("*.log"), found("b*log"), found("c*"), found("c")), (3, 1, 0, 1));
    }
}
