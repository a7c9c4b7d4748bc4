//! The clocks, read in one place.
//!
//! Not promised: that [`ClockJump`] sees every restore. A snapshot that the hypervisor takes and
//! restores behind the guest's back leaves both clocks in step.
#![forbid(unsafe_code)]

use std::time::Duration;

use jiff::Timestamp;

use nix::time::{ClockId, clock_gettime};

/// Time of day (CLOCK_REALTIME); it can be set, and jump, at any moment.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Time since some moment before (CLOCK_MONOTONIC), without the time the machine was suspended.
pub fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Time since boot (CLOCK_BOOTTIME), with the time the machine was suspended.
pub fn boottime() -> Duration {
    read(ClockId::CLOCK_BOOTTIME)
}

/// Notices that the machine slept: that CLOCK_BOOTTIME and CLOCK_MONOTONIC came to differ by
/// another amount than before.
///
/// While the machine was suspended, or was an image on a disk, its memory was there to be read.
#[derive(Debug)]
pub struct ClockJump {
    asleep: Duration,
}

impl ClockJump {
    /// Starts from how the clocks stand now.
    #[expect(clippy::new_without_default, reason = "it reads the clocks")]
    pub fn new() -> Self {
        Self { asleep: asleep() }
    }

    /// True once after the difference has changed by more than a second.
    pub fn check(&mut self) -> bool {
        self.observe(asleep())
    }

    fn observe(&mut self, asleep: Duration) -> bool {
        let jumped = self.asleep.abs_diff(asleep) > Duration::from_secs(1);
        if jumped {
            self.asleep = asleep;
        }
        jumped
    }
}

/// How long the machine has been suspended since boot.
fn asleep() -> Duration {
    loop {
        let before = monotonic();
        let boottime = boottime();
        // Being stopped between the two reads must not look like a jump.
        if monotonic().saturating_sub(before) < Duration::from_millis(200) {
            return boottime.saturating_sub(before);
        }
    }
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).expect("the clock exists since Linux 2.6.39").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::CloneFlags;

    #[test]
    fn the_clocks_run_together() {
        let (monotonic_before, boottime_before) = (monotonic(), boottime());
        std::thread::sleep(Duration::from_millis(20));
        assert!(monotonic() - monotonic_before >= Duration::from_millis(20));
        assert!(boottime() - boottime_before >= Duration::from_millis(20));
        assert!(boottime() >= monotonic_before);
        assert!(now().as_second() > 1_700_000_000);
        assert!(!ClockJump::new().check());
    }

    /// A time namespace with another CLOCK_BOOTTIME is what a restore looks like from inside.
    #[test]
    fn a_shifted_boottime_is_a_jump() {
        crate::host::in_child(|| {
            let text = |error: std::io::Error| error.to_string();
            let mut jump = ClockJump::new();
            if !enter_time_namespace("boottime 5 0").map_err(text)? {
                // Not every machine lets its users have one.
                return Ok(());
            }
            match (jump.check(), jump.check()) {
                (true, false) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
    }

    /// False where namespaces are not to be had.
    fn enter_time_namespace(offsets: &str) -> std::io::Result<bool> {
        if nix::sched::unshare(CloneFlags::from_bits_retain(NEW_USER_AND_TIME)).is_err() {
            return Ok(false);
        }
        std::fs::write("/proc/self/timens_offsets", offsets)?;
        let namespace = std::fs::File::open("/proc/self/ns/time_for_children")?;
        nix::sched::setns(&namespace, CloneFlags::empty())?;
        Ok(true)
    }

    const NEW_USER_AND_TIME: i32 = libc::CLONE_NEWUSER | libc::CLONE_NEWTIME;

    #[test]
    fn small_drift_is_not_a_jump_and_a_jump_is_told_once() {
        let mut jump = ClockJump { asleep: Duration::from_secs(50) };
        assert!(!jump.observe(Duration::from_millis(50_900)));
        assert!(jump.observe(Duration::from_millis(51_100)));
        assert!(!jump.observe(Duration::from_millis(51_100)));
        assert!(jump.observe(Duration::from_secs(10)));
    }
}
