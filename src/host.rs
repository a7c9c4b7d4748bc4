//! What the filters need from the operating system below `std`: locked memory, process settings,
//! a sandbox, signals, one wait for everything, clocks, and files.
//!
//! Promised: every `unsafe` block of the crate is in this module, each with its reason, behind an
//! interface that cannot be misused from safe code. Nothing here prints, and nothing ends the
//! process. What the system may refuse without harm is asked for and its absence reported, since a
//! filter must never take its daemon down.
//!
//! Not promised: any other kernel than Linux 4.14 or newer.
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod alloc;
pub mod clock;
pub mod file;
pub mod helper;
pub mod memory;
pub mod open_files;
pub mod privileges;
pub mod process;
pub mod processor;
pub mod sandbox;
pub mod signals;
pub mod wake;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// What [`wait`] found; both are false when the time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// A read of the input would not wait: it has bytes, is at its end, or has an error to tell.
    pub input: bool,
    /// At least one of the wakes is to be drained.
    pub woken: bool,
}

/// Waits until `input` can be read, one of `wakes` was woken, or `timeout` has passed (`None`: for
/// ever; zero: only looks), on poll(2).
///
/// A signal by itself does not end the wait; those that matter come through the wake of
/// [`signals::Signals`]. A regular file counts as readable at all times.
///
/// # Errors
///
/// What ppoll(2) says, and `EBADF` for a descriptor that is closed (it would else be waited for in
/// vain).
pub fn wait(input: Option<BorrowedFd<'_>>, wakes: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Ready> {
    let mut fds: Vec<PollFd<'_>> = wakes.iter().chain(&input).map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    // A time-out too long for the clock is the same as none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match ppoll(&mut fds, left.map(TimeSpec::from), None) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Flags this crate does not know are still something to look at.
    let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::POLLIN);
    if fds.iter().any(|fd| events(fd).contains(PollFlags::POLLNVAL)) {
        return Err(Errno::EBADF.into());
    }
    let any = |fds: &[PollFd<'_>]| fds.iter().any(|fd| !events(fd).is_empty());
    let (wakes, input) = fds.split_at(wakes.len());
    Ok(Ready { input: any(input), woken: any(wakes) })
}

/// Runs `check` in a forked child, for tests that change the whole process or need it to have one
/// thread, and says what came of it.
#[cfg(test)]
fn in_child(check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let (mut reader, mut writer) = io::pipe().unwrap();
    // SAFETY: glibc makes its allocator usable in the child of a threaded process; the child takes
    // no other lock (it reports through a pipe, not through the test harness) and leaves by _exit.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            // A hang must not outlive the test, whose thread is the parent here.
            let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::SIGKILL);
            std::panic::set_hook(Box::new(|_| {}));
            let said = catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| Err("the child panicked".to_owned()));
            if let Err(text) = &said {
                let _ = writer.write_all(text.as_bytes());
            }
            // SAFETY: _exit has no preconditions; exit handlers belong to the parent.
            unsafe { libc::_exit(i32::from(said.is_err())) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            drop(writer);
            let ended = wait(Some(reader.as_fd()), &[], Some(Duration::from_secs(60))).unwrap();
            if !ended.input {
                let _ = nix::sys::signal::kill(child, nix::sys::signal::SIGKILL);
            }
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            match nix::sys::wait::waitpid(child, None).unwrap() {
                nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(()),
                status => Err(format!("{status:?}: {text}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn input_is_ready_with_bytes_and_at_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let nothing = Ready { input: false, woken: false };
        let ready = Ready { input: true, woken: false };
        let look = || wait(Some(reader.as_fd()), &[], Some(Duration::ZERO)).unwrap();
        assert_eq!(look(), nothing);
        writer.write_all(b"x").unwrap();
        assert_eq!(look(), ready);
        nix::unistd::read(&reader, &mut [0; 9]).unwrap();
        assert_eq!(look(), nothing);
        drop(writer);
        assert_eq!(look(), ready, "end of input");
    }

    #[test]
    fn wakes_are_told_from_input() {
        let (reader, _writer) = io::pipe().unwrap();
        let (first, second) = (wake::Wake::new().unwrap(), wake::Wake::new().unwrap());
        let wakes = [first.as_fd(), second.as_fd()];
        let waker = second.waker();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        let ready = wait(Some(reader.as_fd()), &wakes, Some(Duration::from_secs(60))).unwrap();
        assert_eq!(ready, Ready { input: false, woken: true });
        thread.join().unwrap();
        assert!(!first.drain());
        assert!(second.drain());
        let ready = wait(None, &wakes, Some(Duration::ZERO)).unwrap();
        assert_eq!(ready, Ready { input: false, woken: false });
    }

    #[test]
    fn the_time_out_is_kept() {
        let before = Instant::now();
        let ready = wait(None, &[], Some(Duration::from_millis(50))).unwrap();
        assert_eq!(ready, Ready { input: false, woken: false });
        assert!(before.elapsed() >= Duration::from_millis(50));
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        assert!(wait(Some(reader.as_fd()), &[], Some(Duration::MAX)).unwrap().input);
    }

    #[test]
    fn a_signal_does_not_shorten_the_wait() {
        in_child(|| {
            let signals = signals::Signals::install().map_err(|error| error.to_string())?;
            let me = nix::unistd::getpid();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                let _ = nix::sys::signal::kill(me, nix::sys::signal::SIGTERM);
            });
            // The thread may get its turn late.
            for _ in 0..100 {
                let before = Instant::now();
                let ready = wait(None, &[], Some(Duration::from_millis(200)));
                let waited = before.elapsed();
                match (ready, signals.take_terminate()) {
                    (Ok(ready), true) if !ready.woken && waited.as_millis() >= 200 => return Ok(()),
                    (Ok(ready), false) if !ready.woken && waited.as_millis() >= 200 => {}
                    other => return Err(format!("{other:?} after {waited:?}")),
                }
            }
            Err("no signal came".to_owned())
        })
        .unwrap();
    }

    #[test]
    fn a_closed_descriptor_is_an_error() {
        in_child(|| {
            let (reader, _writer) = io::pipe().map_err(|error| error.to_string())?;
            // SAFETY: the child ends right after; nothing else of it uses the number again.
            unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(&reader)) };
            let said = wait(Some(reader.as_fd()), &[], Some(Duration::from_secs(1)));
            std::mem::forget(reader);
            match said {
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
    }
}
