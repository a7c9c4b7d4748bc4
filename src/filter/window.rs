//! A window: the newest lines once more, in plain text, in a small file in memory, for fail2ban or a live view.
//!
//! Promises: the file and the one before it (`.1`) are together no larger than asked for, and never on a disk; a line comes here when
//! it was taken to be sealed, and whatever fails here keeps no line from that. Whoever reads the machine's memory reads the window, so
//! there is none unless it was asked for.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::warn::Warner;
use crate::host::clock;
use crate::host::file::{is_in_memory, open_append_nofollow};
use crate::segment::give_to_group;

/// How often a file that could not be opened or written is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How often it is looked whether it was removed.
const LOOK: Duration = Duration::from_secs(1);
const MODE: u32 = 0o640;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct WindowOptions {
    /// The file.
    pub path: PathBuf,
    /// The most bytes of it and the one before.
    pub size: u64,
}

impl WindowOptions {
    /// Looks whether the file would be in memory.
    ///
    /// # Errors
    ///
    /// `Unsupported` where it would not; where its folder cannot be looked at.
    pub fn check(&self) -> io::Result<()> {
        match is_in_memory(self.folder())? {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::Unsupported, "it is not in memory (tmpfs)")),
        }
    }

    /// The folder that the file is in.
    pub fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}

/// The window of a filter.
pub struct Window {
    options: WindowOptions,
    file: Option<(File, u64)>,
    retry_at: Duration,
    look_at: Duration,
}

impl Window {
    /// One that is opened with the first line.
    pub fn new(options: WindowOptions) -> Self {
        Self { options, file: None, retry_at: Duration::ZERO, look_at: Duration::ZERO }
    }

    /// Shows a line, or a piece of one.
    pub fn show(&mut self, piece: &[u8], warner: &mut Warner) {
        if self.file.is_none() && clock::boottime() < self.retry_at {
            return;
        }
        if let Err(error) = self.append(piece) {
            (self.file, self.retry_at) = (None, clock::boottime() + RETRY);
            let path = self.options.path.display();
            warner.warn("window", &format_args!("cannot show lines in {path}: {error}; they are sealed all the same"));
        }
    }

    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        let (half, now) = (self.options.size / 2, clock::boottime());
        if now >= self.look_at {
            self.look_at = now + LOOK;
            self.file.take_if(|(file, _)| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0));
        }
        if self.file.as_ref().is_none_or(|(_, length)| length + piece.len() as u64 > half) {
            self.begin(piece.len() as u64, half)?;
        }
        let Some((file, length)) = &mut self.file else { return Ok(()) };
        // What is longer than the window would not be bounded.
        let shown = &piece[..piece.len().min(usize::try_from(half).unwrap_or(usize::MAX))];
        file.write_all(shown)?;
        *length += shown.len() as u64;
        Ok(())
    }

    /// Goes on in the file that is there, where the piece fits; else in a new one.
    fn begin(&mut self, more: u64, half: u64) -> io::Result<()> {
        let path = &self.options.path;
        self.options.check()?;
        let is_full = |length: u64| length > 0 && length + more > half;
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && is_full(metadata.len())) {
            let mut before = OsString::from(path);
            before.push(".1");
            fs::rename(path, before)?;
        }
        let file = open_append_nofollow(path, MODE, false)?;
        give_to_group(&file);
        let length = file.metadata()?.len();
        self.file = Some((file, length));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small_and_has_the_newest_lines() {
        let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
        let path = folder.path().join("x.log");
        let options = WindowOptions { path: path.clone(), size: 2000 };
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        let mut warner = Warner::new("test");
        let mut window = Window::new(options.clone());
        for number in 0..1000 {
            window.show(format!("line {number}\n").as_bytes(), &mut warner);
            let (old, new) = (read("x.log.1"), read("x.log"));
            assert!(old.len() <= 1000 && new.len() <= 1000 && new.ends_with(&format!("line {number}\n")));
        }
        let both = read("x.log.1") + &read("x.log");
        let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        assert!(expected.ends_with(&both) && both.len() > 1000);
        // The next run goes on; a line that is too long is cut; what is in its place is left.
        let mut window = Window::new(options);
        window.show(b"again\n", &mut warner);
        assert!((read("x.log.1") + &read("x.log")).ends_with("line 999\nagain\n"));
        window.show(&[b'x'; 5000], &mut warner);
        assert_eq!(read("x.log").len(), 1000);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut window = Window::new(WindowOptions { path: link, size: 2000 });
        window.show(b"not there\n", &mut warner);
        assert!(!read("x.log").contains("not there"));
    }
}
