//! How another thread ends the main thread's [`wait`](super::wait).
//!
//! Promised: a wake is never lost, waking never waits, and many wakes before one drain are one.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};

/// The main thread's end: to be waited for, and drained before what the wake was for is looked at.
#[derive(Debug)]
pub struct Wake {
    pipe: Arc<Pipe>,
}

/// Any other thread's end.
#[derive(Debug, Clone)]
pub struct Waker {
    pipe: Arc<Pipe>,
}

/// Both ends belong to both sides: a reader without writers would be ready for ever, and a writer
/// without reader would get SIGPIPE.
#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Wake {
    /// A wake that nobody has woken yet.
    ///
    /// # Errors
    ///
    /// What pipe2(2) says.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { pipe: Arc::new(Pipe { reader, writer }) })
    }

    /// An end for another thread.
    pub fn waker(&self) -> Waker {
        Waker { pipe: Arc::clone(&self.pipe) }
    }

    /// Takes all wakes that came up to now, and says whether there were any.
    pub fn drain(&self) -> bool {
        let mut woken = false;
        let mut bytes = [0; 256];
        loop {
            match read(&self.pipe.reader, &mut bytes) {
                Ok(n) if n > 0 => woken = true,
                Err(Errno::EINTR) => {}
                // EAGAIN: it is empty. There is no end of input, we hold the other end too.
                _ => return woken,
            }
        }
    }

    /// Another descriptor of the writing end, for a signal handler: it does not block, and any
    /// byte written to it is a wake.
    pub(super) fn writer(&self) -> io::Result<OwnedFd> {
        self.pipe.writer.try_clone()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.reader.as_fd()
    }
}

impl Waker {
    /// Ends the current or the next wait.
    pub fn wake(&self) {
        // EAGAIN: the pipe is full of wakes already.
        while write(&self.pipe.writer, &[0]) == Err(Errno::EINTR) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wakes_are_one_and_never_block() {
        let wake = Wake::new().unwrap();
        let waker = wake.waker().clone();
        assert!(!wake.drain());
        // More than a pipe holds.
        (0..100_000).for_each(|_| waker.wake());
        assert!(wake.drain());
        assert!(!wake.drain());
        waker.wake();
        assert!(wake.drain());
        drop(wake);
        waker.wake();
    }
}
