//! A process beside a filter that does what the filter may not do any more.
//!
//! Promised: it has none of the filter's secrets if it is started before there are any, reads nothing of the filter's
//! input, and ends when the filter does. Signals do not end it.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::unistd::{ForkResult, fork};

use super::signals::Signals;

/// Starts a helper that does `work` with what is written to the pipe that this returns, until that is closed. For a process
/// with one thread.
///
/// # Errors
///
/// What pipe2(2) and fork(2) say.
pub fn start(work: impl FnOnce(PipeReader)) -> io::Result<File> {
    let (reader, writer) = io::pipe()?;
    // SAFETY: there is no other thread, which could hold a lock that the child would wait for.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(File::from(std::os::fd::OwnedFd::from(writer))),
        ForkResult::Child => {
            // Else the end of it would never be seen.
            drop(writer);
            let _ = catch_unwind(AssertUnwindSafe(|| {
                // Handlers, not SIG_IGN, which programs that are run would inherit.
                let _signals = Signals::install();
                if let Ok(nothing) = OpenOptions::new().read(true).open("/dev/null") {
                    // SAFETY: standard input is not used by anything else in this process.
                    unsafe { libc::dup2(nothing.as_raw_fd(), 0) };
                }
                work(reader);
            }));
            // SAFETY: _exit has no preconditions; what is to be done at exit is the parent's.
            unsafe { libc::_exit(0) }
        }
    }
}
