//! Which processes have which files open to write, out of `/proc` (proc_pid_fd(5), proc_pid_fdinfo(5)).
//!
//! Promises: regular files only, each once, with every process that could be looked at. Not promised: one moment for all of
//! it, since processes come and go meanwhile; files that are mapped and whose descriptor was closed; processes outside of
//! this one's PID namespace (pid_namespaces(7)).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;
use serde::Serialize;

/// What open(2) keeps of a way to open a file that can be written to.
const ACCESS_MODE: u32 = 0o3;
/// What the kernel puts behind the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// A process that has a file open to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Process {
    /// Its number.
    #[serde(rename = "pid")]
    pub id: u32,
    /// The name of its program, at most 15 bytes of it.
    pub program: String,
    /// The systemd unit that it runs in, where it is one's.
    pub unit: Option<String>,
}

/// A regular file that can be written to by who has it open.
#[derive(Clone, Debug)]
pub struct OpenFile {
    /// Its name, as the first process that was found opened it.
    pub path: PathBuf,
    /// That name was removed, or is another file's by now.
    pub removed: bool,
    /// What it is.
    pub metadata: Metadata,
    /// By whom, the lowest number first.
    pub writers: Vec<Process>,
    /// One of their descriptors.
    fd: PathBuf,
}

impl OpenFile {
    /// Opens it to read, whether or not it has a name that can be reached.
    ///
    /// # Errors
    ///
    /// What open(2) says; `NotFound` where the process has closed it.
    pub fn open(&self) -> io::Result<File> {
        // What the descriptor is now may be something else, that would wait.
        OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&self.fd)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct OpenFiles {
    files: BTreeMap<(u64, u64), OpenFile>,
    /// How many processes may not be looked at, as far as that shows; at least one where the first one does not (`hidepid`,
    /// proc(5)).
    pub hidden: usize,
}

impl OpenFiles {
    /// Looks at every process but this one.
    ///
    /// # Errors
    ///
    /// Where the folder of the processes, `/proc` but in a test, cannot be read.
    pub fn look(proc: &Path) -> io::Result<Self> {
        let mut all = Self::default();
        all.hidden += usize::from(!proc.join("1").is_dir());
        for entry in fs::read_dir(proc)? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if id == std::process::id() {
                continue;
            }
            match all.add(id, &entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => all.hidden += 1,
                // It ended meanwhile.
                _ => {}
            }
        }
        Ok(all)
    }

    /// Who has this file open.
    pub fn writers(&self, metadata: &Metadata) -> &[Process] {
        self.files.get(&(metadata.dev(), metadata.ino())).map_or(&[], |file| &file.writers)
    }

    /// The files, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &OpenFile> {
        self.files.values()
    }

    fn add(&mut self, id: u32, folder: &Path) -> io::Result<()> {
        let mut process = None;
        for fd in fs::read_dir(folder.join("fd"))? {
            let fd = fd?;
            let told = fs::read_to_string(folder.join("fdinfo").join(fd.file_name())).unwrap_or_default();
            if !is_writable(&told) {
                continue;
            }
            // Through the descriptor, whatever its name is now.
            let Some(metadata) = fs::metadata(fd.path()).ok().filter(Metadata::is_file) else { continue };
            let process = process.get_or_insert_with(|| Process::of(id, folder));
            let file = self.files.entry((metadata.dev(), metadata.ino())).or_insert_with(|| {
                let (path, removed) = name_of(&fd.path(), &metadata);
                OpenFile { path, removed, metadata, writers: Vec::new(), fd: fd.path() }
            });
            if !file.writers.contains(process) {
                file.writers.push(process.clone());
                file.writers.sort();
            }
        }
        Ok(())
    }
}

/// Who has this file open to write, whatever kind of file it is. Processes that may not be looked at are passed over.
pub fn writers_of(proc: &Path, file: &Metadata) -> Vec<Process> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let has_it = |folder: &Path| {
        let mut fds = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
        fds.any(|fd| {
            let is_it = fs::metadata(fd.path()).is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()));
            is_it && is_writable(&fs::read_to_string(folder.join("fdinfo").join(fd.file_name())).unwrap_or_default())
        })
    };
    processes
        .filter(|(id, folder)| *id != std::process::id() && has_it(folder))
        .map(|(id, folder)| Process::of(id, &folder))
        .collect()
}

impl Process {
    fn of(id: u32, folder: &Path) -> Self {
        let program = fs::read_to_string(folder.join("comm")).map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned());
        let unit = fs::read_to_string(folder.join("cgroup")).ok().and_then(|groups| unit_of(&groups));
        Self { id, program, unit }
    }
}

/// Whether the descriptor was opened to write, by what fdinfo tells of it.
fn is_writable(told: &str) -> bool {
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & ACCESS_MODE != 0)
}

/// The name that a file was opened by, and whether it is no longer the file's.
fn name_of(fd: &Path, metadata: &Metadata) -> (PathBuf, bool) {
    let path = fs::read_link(fd).unwrap_or_default();
    let is_there = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (metadata.dev(), metadata.ino()))
    };
    if is_there(&path) {
        return (path, false);
    }
    let without = path.as_os_str().as_bytes().strip_suffix(DELETED).map(|name| PathBuf::from(OsStr::from_bytes(name)));
    (without.unwrap_or(path), true)
}

/// The systemd unit out of a process' control groups (cgroups(7)): the last part of the path that names one.
fn unit_of(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        (controllers.is_empty() || controllers == "name=systemd").then_some(path)
    });
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    paths.filter_map(|path| path.rsplit('/').find(is_unit)).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::{Command, Stdio};

    #[test]
    fn who_writes_a_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["written", "removed", "read"] {
            File::create(at(name)).unwrap();
        }
        let append = |name: &str| File::options().append(true).open(at(name)).unwrap();
        let mut child = Command::new("sleep")
            .arg("600")
            .stdin(File::open(at("read")).unwrap())
            .stdout(append("written"))
            .stderr(Stdio::from(append("removed")))
            .spawn()
            .unwrap();
        fs::remove_file(at("removed")).unwrap();
        let found = OpenFiles::look(Path::new("/proc")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let of_child: Vec<_> = found.iter().filter(|file| file.writers.iter().any(|process| process.id == child.id())).collect();
        let named = |name: &str| of_child.iter().find(|file| file.path == at(name));
        let written = named("written").unwrap();
        assert!(!written.removed);
        assert_eq!(written.writers.len(), 1);
        assert_eq!(written.writers[0].program, "sleep");
        assert_eq!(found.writers(&fs::metadata(at("written")).unwrap()), &written.writers[..]);
        assert!(named("removed").unwrap().removed);
        assert!(named("read").is_none() && found.writers(&fs::metadata(at("read")).unwrap()).is_empty());
    }

    #[test]
    fn where_the_first_process_does_not_show_others_may_be_hidden() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(OpenFiles::look(proc.path()).unwrap().hidden, 1);
        fs::create_dir_all(proc.path().join("1/fd")).unwrap();
        assert_eq!(OpenFiles::look(proc.path()).unwrap().hidden, 0);
    }

    #[test]
    fn what_proc_tells_is_understood() {
        for (flags, writable) in [("0100000", false), ("0102001", true), ("02102002", true), ("x", false)] {
            assert_eq!(is_writable(&format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t1\n")), writable, "{flags}");
        }
        assert!(!is_writable(""));
        let unit = |groups| unit_of(groups);
        assert_eq!(unit("0::/system.slice/rsyslog.service\n").as_deref(), Some("rsyslog.service"));
        assert_eq!(unit("0::/system.slice/apache2.service/workers\n").as_deref(), Some("apache2.service"));
        assert_eq!(unit("4:memory:/a.service\n1:name=systemd:/user.slice/b.scope\n").as_deref(), Some("b.scope"));
        assert_eq!(unit("0::/\n"), None);
    }
}
