//! The signals a filter gets, as flags that its main loop takes.
//!
//! Promised: none of the signals below ends the process, and each ends the main thread's wait.
//! What they mean is the caller's to decide: Apache and syslog-ng send SIGTERM first and lines
//! afterwards, and rsyslog's logrotate rule sends SIGHUP to every process of the unit.
//!
//! | signal | becomes |
//! | --- | --- |
//! | SIGTERM, SIGINT | terminate |
//! | SIGHUP | hangup: reopen the file by its name |
//! | SIGALRM, SIGUSR1, SIGUSR2 | nothing; sent to a process group (Apache's graceful restart), they must not kill |
//! | SIGXFSZ | nothing; write(2) says that a file may not grow (`LimitFSIZE=`) |
//!
//! SIGINT stays ignored where it was ignored at the start, as for a shell's background job. A
//! program that the filter runs gets the default actions back, since handlers end at execve(2).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};

use super::wake::Wake;

/// The handlers, until it is dropped; wait for its descriptor, [`drain`](Signals::drain) it, then
/// take the flags.
#[derive(Debug)]
pub struct Signals {
    terminate: Arc<AtomicBool>,
    hangup: Arc<AtomicBool>,
    wake: Wake,
    handlers: Vec<SigId>,
}

impl Signals {
    /// Installs the handlers for the whole process, and lets the signals through where the calling
    /// thread was started with them blocked.
    ///
    /// # Errors
    ///
    /// What pipe2(2), dup(2) or sigaction(2) say.
    pub fn install() -> io::Result<Self> {
        let mut signals = Self { terminate: Arc::default(), hangup: Arc::default(), wake: Wake::new()?, handlers: Vec::new() };
        signals.handle(Signal::SIGTERM, Arc::clone(&signals.terminate))?;
        if !is_ignored(Signal::SIGINT) {
            signals.handle(Signal::SIGINT, Arc::clone(&signals.terminate))?;
        }
        signals.handle(Signal::SIGHUP, Arc::clone(&signals.hangup))?;
        // A handler without effect instead of SIG_IGN, which programs we run would inherit.
        signals.handle(Signal::SIGALRM, Arc::default())?;
        signals.handle(Signal::SIGUSR1, Arc::default())?;
        signals.handle(Signal::SIGUSR2, Arc::default())?;
        signals.handle(Signal::SIGXFSZ, Arc::default())?;
        let user = [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGXFSZ];
        let all = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGALRM].into_iter().chain(user);
        all.collect::<SigSet>().thread_unblock()?;
        Ok(signals)
    }

    /// Takes the wakes; to be done before the flags are taken, so that a signal in between is seen.
    pub fn drain(&self) -> bool {
        self.wake.drain()
    }

    /// True once after SIGTERM or SIGINT.
    pub fn take_terminate(&self) -> bool {
        self.terminate.swap(false, Ordering::AcqRel)
    }

    /// True once after SIGHUP.
    pub fn take_hangup(&self) -> bool {
        self.hangup.swap(false, Ordering::AcqRel)
    }

    fn handle(&mut self, signal: Signal, flag: Arc<AtomicBool>) -> io::Result<()> {
        // The flag first: actions run in this order, and a wake must find it set.
        let set = signal_hook::flag::register(signal as i32, flag)?;
        self.handlers.push(set);
        let wake = pipe::register(signal as i32, self.wake.writer()?)?;
        self.handlers.push(wake);
        Ok(())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            unregister(handler);
        }
    }
}

fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action sigaction(2) changes nothing, and `action` has room for the
    // old one.
    let failed = unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid sigaction, whether or not the call filled it.
    let action = unsafe { action.assume_init() };
    failed == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::super::{in_child, wait};
    use super::*;
    use nix::sys::signal::{SigHandler, raise, signal};
    use std::time::Duration;

    fn taken(signals: &Signals) -> (bool, bool, bool) {
        let now = Some(Duration::ZERO);
        let woken = wait(None, &[signals.as_fd()], now).unwrap().woken;
        assert_eq!(woken, signals.drain());
        (woken, signals.take_terminate(), signals.take_hangup())
    }

    #[test]
    fn each_signal_sets_its_flag_once_and_wakes() {
        in_child(|| {
            // Who starts the tests in the background may have them ignore it, and that is respected.
            // SAFETY: the default action runs no code of ours.
            unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.unwrap();
            let signals = Signals::install().map_err(|error| error.to_string())?;
            let expected = [
                (Signal::SIGTERM, (true, true, false)),
                (Signal::SIGINT, (true, true, false)),
                (Signal::SIGHUP, (true, false, true)),
                (Signal::SIGALRM, (true, false, false)),
                (Signal::SIGUSR1, (true, false, false)),
                (Signal::SIGUSR2, (true, false, false)),
            ];
            for (signal, flags) in expected {
                raise(signal).unwrap();
                let (first, second) = (taken(&signals), taken(&signals));
                if first != flags || second != (false, false, false) {
                    return Err(format!("{signal}: {first:?}, then {second:?}"));
                }
            }
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn an_ignored_sigint_stays_ignored_and_a_blocked_sigterm_comes_through() {
        in_child(|| {
            // SAFETY: SIG_IGN runs no code of ours.
            unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }.unwrap();
            SigSet::from(Signal::SIGTERM).thread_block().unwrap();
            raise(Signal::SIGTERM).unwrap();
            let signals = Signals::install().map_err(|error| error.to_string())?;
            let first = taken(&signals);
            raise(Signal::SIGINT).unwrap();
            let second = taken(&signals);
            if first == (true, true, false) && second == (false, false, false) {
                Ok(())
            } else {
                Err(format!("{first:?}, then {second:?}"))
            }
        })
        .unwrap();
    }
}
