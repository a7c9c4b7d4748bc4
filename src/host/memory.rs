//! Memory for keys and for lines in the clear.
//!
//! Promised: a buffer's bytes are zeroed before the memory goes back, whichever way it ends but an
//! abort. Asked for, and told where refused: never written to swap, not in core dumps, zeros in a
//! forked child. Not promised: that no copy exists elsewhere; registers and the stack are the
//! concern of who computes with the bytes.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use nix::libc::c_void;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use zeroize::Zeroize;

/// A mapping of its own, of fixed size and at first all zeros.
pub struct LockedBuffer {
    start: NonNull<c_void>,
    len: NonZeroUsize,
    locked: bool,
    hidden: bool,
}

// SAFETY: the mapping belongs to this value alone and is not tied to the thread that made it.
unsafe impl Send for LockedBuffer {}

impl LockedBuffer {
    /// A buffer of `len` bytes; takes whole pages from the system, so that one buffer for many keys
    /// is better than many small ones.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a length of zero, and what mmap(2) says. A limit on locked memory
    /// (RLIMIT_MEMLOCK) is no error, see [`is_locked`](Self::is_locked).
    pub fn new(len: usize) -> io::Result<Self> {
        let len = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new private mapping where the kernel likes touches no memory there is.
        let start = unsafe { mmap_anonymous(None, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE) }?;
        // SAFETY: the range is the mapping made above. None of the three changes what it holds:
        // wiping happens in a forked child, in its own copy.
        let (hidden, locked) = unsafe {
            let advise = |advice| madvise(start, len.get(), advice).is_ok();
            let no_dump = advise(MmapAdvise::MADV_DONTDUMP);
            let wiped = advise(MmapAdvise::MADV_WIPEONFORK);
            (no_dump && wiped, mlock(start, len.get()).is_ok())
        };
        Ok(Self { start, len, locked, hidden })
    }

    /// Whether the memory can never go to swap.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Whether the memory is left out of core dumps and of forked children.
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }
}

impl Deref for LockedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` to `start + len` is our mapping, page-aligned, readable, initialised
        // (zeros at first) and mapped as long as `self` lives; `&self` keeps writers away.
        unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), self.len.get()) }
    }
}

impl DerefMut for LockedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast().as_ptr(), self.len.get()) }
    }
}

impl AsRef<[u8]> for LockedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for LockedBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// Says nothing of the content.
impl fmt::Debug for LockedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedBuffer")
            .field("len", &self.len)
            .field("locked", &self.locked)
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

impl Drop for LockedBuffer {
    fn drop(&mut self) {
        self.zeroize();
        // SAFETY: the mapping is ours, and no reference into it outlives `self`. Unmapping also
        // unlocks. It fails only for a range that is none, and then there is nothing to do.
        let _ = unsafe { munmap(self.start, self.len.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::in_child;
    use super::*;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};

    const LEN: usize = 100_000;

    #[test]
    fn it_is_memory() {
        let mut buffer = LockedBuffer::new(LEN).unwrap();
        assert_eq!(buffer.len(), LEN);
        assert!(buffer.iter().all(|byte| *byte == 0));
        buffer.fill(7);
        buffer.as_mut()[LEN - 1] = 8;
        let buffer = std::thread::spawn(move || buffer).join().unwrap();
        assert_eq!((buffer[0], buffer.as_ref()[LEN - 1]), (7, 8));
        assert!(!format!("{buffer:?}").contains('7'));
        assert_eq!(LockedBuffer::new(0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_forked_child_reads_zeros() {
        let mut secret = LockedBuffer::new(LEN).unwrap();
        let mut plain = vec![0; LEN];
        secret.fill(7);
        plain.fill(7);
        assert!(secret.is_hidden());
        in_child(|| {
            let zeros = secret.iter().all(|byte| *byte == 0);
            // What is not protected does arrive, so that this test can fail.
            if zeros && plain.iter().all(|byte| *byte == 7) {
                Ok(())
            } else {
                Err("the child sees the parent's bytes".to_owned())
            }
        })
        .unwrap();
        assert!(secret.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn it_is_locked_and_left_out_of_dumps_where_the_limit_allows() {
        in_child(|| {
            let before = locked_kib();
            let buffer = LockedBuffer::new(LEN).map_err(|error| error.to_string())?;
            let grown = locked_kib() - before;
            let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(|error| error.to_string())?;
            let allowed = soft >= 2 * LEN as u64 || geteuid().is_root();
            let flags = flags_of(&buffer);
            drop(buffer);
            let after = locked_kib();
            // lo = locked, dd = not in core dumps, wf = wiped on fork (proc(5), VmFlags).
            let hidden = ["dd", "wf"].iter().all(|flag| flags.contains(&(*flag).to_owned()));
            let locked = flags.contains(&"lo".to_owned()) && grown >= LEN / 1024;
            if hidden && after == before && (locked || !allowed) {
                Ok(())
            } else {
                Err(format!("grown by {grown} KiB, then {before} and {after}, flags {flags:?}"))
            }
        })
        .unwrap();
    }

    #[test]
    fn without_permission_to_lock_it_works_and_says_so() {
        in_child(|| {
            setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0).map_err(|error| error.to_string())?;
            if geteuid().is_root() {
                // Leaving root drops CAP_IPC_LOCK.
                let nobody = 65_534;
                setgroups(&[])
                    .and_then(|()| setgid(Gid::from_raw(nobody)))
                    .and_then(|()| setuid(Uid::from_raw(nobody)))
                    .map_err(|error| error.to_string())?;
            }
            let mut buffer = LockedBuffer::new(LEN).map_err(|error| error.to_string())?;
            buffer.fill(7);
            let works = buffer.iter().all(|byte| *byte == 7);
            let (locked, kib) = (buffer.is_locked(), locked_kib());
            if works && !locked && buffer.is_hidden() && kib == 0 {
                Ok(())
            } else {
                Err(format!("works {works}, says locked {locked}, {kib} KiB locked"))
            }
        })
        .unwrap();
    }

    fn locked_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn flags_of(buffer: &LockedBuffer) -> Vec<String> {
        let start = buffer.as_ptr() as usize;
        let mut inside = false;
        for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&start);
            } else if let Some(flags) = line.strip_prefix("VmFlags:")
                && inside
            {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        Vec::new()
    }
}
