//! The program that `-p` asks for, run by a helper: the filter itself can run none after its start.
//!
//! Promises: the program runs as if there were no sandbox, with the new file and, after a rotation, the one before as its
//! arguments, and the filter does not wait for it. The helper runs this program only, and has none of the filter's secrets; but
//! who takes the filter over chooses the arguments.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::warn::Warner;
use crate::host::helper;

/// No path is longer.
const MAX_PATH: usize = 1 << 16;

/// Where to ask for the program. The helper ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    requests: Arc<File>,
}

impl Program {
    /// Starts the helper. For a process with one thread and no secrets yet.
    ///
    /// # Errors
    ///
    /// What fork(2) says.
    pub fn new(path: &Path, warner: Warner) -> io::Result<Self> {
        let requests = helper::start(|requests| serve(path, BufReader::new(requests), warner))?;
        Ok(Self { path: path.to_owned(), requests: Arc::new(requests) })
    }

    /// Has it run.
    pub fn run(&self, new: &Path, old: Option<&Path>, warner: &mut Warner) {
        let mut request = Vec::new();
        for path in [Some(new), old] {
            let bytes = path.map_or(&[][..], |path| path.as_os_str().as_bytes());
            request.extend_from_slice(&bytes.len().to_le_bytes());
            request.extend_from_slice(bytes);
        }
        if let Err(error) = (&*self.requests).write_all(&request) {
            warner.warn("program", &format_args!("cannot run {}: its helper is gone: {error}", self.path.display()));
        }
    }
}

/// Runs the program for each request.
fn serve(program: &Path, mut requests: impl Read, mut warner: Warner) {
    while let Some(new) = next(&mut requests)
        && let Some(old) = next(&mut requests)
    {
        let old = Some(&old).filter(|old| !old.is_empty()).map(|old| OsStr::from_bytes(old));
        let child = Command::new(program).arg(OsStr::from_bytes(&new)).args(old).stdin(Stdio::null()).spawn();
        match child {
            Ok(mut child) => {
                std::thread::spawn(move || child.wait());
            }
            Err(error) => warner.warn("program", &format_args!("cannot run {}: {error}", program.display())),
        }
    }
}

/// One path of a request; `None` when there are no more.
fn next(requests: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; size_of::<usize>()];
    requests.read_exact(&mut length).ok()?;
    let length = usize::from_le_bytes(length);
    let mut path = vec![0; Some(length).filter(|length| *length <= MAX_PATH)?];
    requests.read_exact(&mut path).ok()?;
    Some(path)
}
