//! Memory for keys and for lines in the clear.
//!
//! Promised: a buffer's bytes are zeroed before the memory goes back, whichever way it ends but an
//! abort. Asked for, and told where refused: never written to swap, not in core dumps, zeros in a
//! forked child. After [`wipe_stack`] the stack below the caller's frame is zeros, and so are the
//! vector registers, which text and round keys go through. Not promised: that no copy exists elsewhere.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use nix::libc::c_void;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap_anonymous, munmap};

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

/// How far down [`wipe_stack`] reaches, in bytes: public-key operations, the deepest there are, were seen to use 40 KiB.
const STACK: usize = 128 << 10;

/// The same for [`wipe_stack_of_symmetric`]: more than twice of what sealing a record without public-key operations uses.
pub const SYMMETRIC_STACK: usize = 32 << 10;

/// Zeroes the stack below the caller's frame, where functions that have returned left what they
/// computed with, and the vector registers, which a thread that waits keeps for as long as it waits.
/// Takes some microseconds; the stack must have 128 KiB left.
pub fn wipe_stack() {
    wipe_below::<STACK>();
}

/// As [`wipe_stack`], after work without public-key operations; a quarter as far.
pub fn wipe_stack_of_symmetric() {
    wipe_below::<SYMMETRIC_STACK>();
}

#[inline(never)]
fn wipe_below<const LEN: usize>() {
    let area = [0u8; LEN];
    // Else the array would not be there at all.
    zeroize::optimization_barrier(&area);
    wipe_registers();
}

/// Zeroes the vector registers that a function may change. On other kinds of processors they stay as they are.
fn wipe_registers() {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor and the system have these registers, and the compiler is told that they change.
            unsafe {
                std::arch::asm!(
                    "vpxorq zmm16, zmm16, zmm16",
                    "vpxorq zmm17, zmm17, zmm17",
                    "vpxorq zmm18, zmm18, zmm18",
                    "vpxorq zmm19, zmm19, zmm19",
                    "vpxorq zmm20, zmm20, zmm20",
                    "vpxorq zmm21, zmm21, zmm21",
                    "vpxorq zmm22, zmm22, zmm22",
                    "vpxorq zmm23, zmm23, zmm23",
                    "vpxorq zmm24, zmm24, zmm24",
                    "vpxorq zmm25, zmm25, zmm25",
                    "vpxorq zmm26, zmm26, zmm26",
                    "vpxorq zmm27, zmm27, zmm27",
                    "vpxorq zmm28, zmm28, zmm28",
                    "vpxorq zmm29, zmm29, zmm29",
                    "vpxorq zmm30, zmm30, zmm30",
                    "vpxorq zmm31, zmm31, zmm31",
                    clobber_abi("C"),
                    options(nomem, nostack)
                );
            }
        }
        if std::arch::is_x86_feature_detected!("avx") {
            // SAFETY: as above; this zeroes all 16 of them at their whole width.
            unsafe { std::arch::asm!("vzeroall", clobber_abi("C"), options(nomem, nostack, preserves_flags)) };
        } else {
            // SAFETY: every processor of this kind has these registers, and the compiler is told that they change.
            unsafe {
                std::arch::asm!(
                    "pxor xmm0, xmm0",
                    "pxor xmm1, xmm1",
                    "pxor xmm2, xmm2",
                    "pxor xmm3, xmm3",
                    "pxor xmm4, xmm4",
                    "pxor xmm5, xmm5",
                    "pxor xmm6, xmm6",
                    "pxor xmm7, xmm7",
                    "pxor xmm8, xmm8",
                    "pxor xmm9, xmm9",
                    "pxor xmm10, xmm10",
                    "pxor xmm11, xmm11",
                    "pxor xmm12, xmm12",
                    "pxor xmm13, xmm13",
                    "pxor xmm14, xmm14",
                    "pxor xmm15, xmm15",
                    clobber_abi("C"),
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: every processor of this kind has these registers, and the compiler is told that they change. v8 to v15 are
    // left out: their lower halves belong to the callers.
    unsafe {
        std::arch::asm!(
            "movi v0.16b, #0",
            "movi v1.16b, #0",
            "movi v2.16b, #0",
            "movi v3.16b, #0",
            "movi v4.16b, #0",
            "movi v5.16b, #0",
            "movi v6.16b, #0",
            "movi v7.16b, #0",
            "movi v16.16b, #0",
            "movi v17.16b, #0",
            "movi v18.16b, #0",
            "movi v19.16b, #0",
            "movi v20.16b, #0",
            "movi v21.16b, #0",
            "movi v22.16b, #0",
            "movi v23.16b, #0",
            "movi v24.16b, #0",
            "movi v25.16b, #0",
            "movi v26.16b, #0",
            "movi v27.16b, #0",
            "movi v28.16b, #0",
            "movi v29.16b, #0",
            "movi v30.16b, #0",
            "movi v31.16b, #0",
            clobber_abi("C"),
            options(nomem, nostack, preserves_flags)
        );
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
        // As `zeroize` of a slice, which writes byte by byte, but at the speed of memset.
        self.fill(0);
        zeroize::optimization_barrier(&**self);
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
    fn what_a_function_left_on_the_stack_is_wiped() {
        // In a thread of its own, whose stack nobody else uses.
        let thread = std::thread::spawn(|| {
            #[inline(never)]
            fn leave(depth: usize) -> usize {
                let area = [0xa5u8; 1000];
                zeroize::optimization_barrier(&area);
                if depth == 0 { area.as_ptr() as usize } else { leave(depth - 1) + usize::from(area[0] == 0) }
            }
            // Reading /proc/self/mem into memory made before, so that the look does not change what it sees.
            use std::os::unix::fs::FileExt;
            let memory = std::fs::File::open("/proc/self/mem").unwrap();
            let mut seen = vec![0; 1000];
            let at = leave(40) as u64;
            memory.read_exact_at(&mut seen, at).unwrap();
            let left = seen.iter().filter(|byte| **byte == 0xa5).count();
            wipe_stack();
            memory.read_exact_at(&mut seen, at).unwrap();
            (left, seen.iter().filter(|byte| **byte == 0xa5).count())
        });
        assert_eq!(thread.join().unwrap(), (1000, 0));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn vector_registers_are_wiped() {
        let mut seen = [1u8; 16];
        // SAFETY: the compiler is told of all registers that change, by the call too, and of the memory that is written.
        unsafe {
            std::arch::asm!(
                "pcmpeqd xmm9, xmm9", "call {wipe}", "movdqu [r12], xmm9",
                wipe = sym called, in("r12") seen.as_mut_ptr(), clobber_abi("C")
            );
        }
        assert_eq!(seen, [0; 16]);
        if !std::arch::is_x86_feature_detected!("avx512f") {
            return;
        }
        let mut seen = [1u8; 64];
        // SAFETY: as above, and the processor has these registers.
        unsafe {
            std::arch::asm!(
                "vpternlogd zmm21, zmm21, zmm21, 255", "call {wipe}", "vmovdqu64 [r12], zmm21",
                wipe = sym called, in("r12") seen.as_mut_ptr(), clobber_abi("C")
            );
        }
        assert_eq!(seen, [0; 64]);

        extern "C" fn called() {
            wipe_registers();
        }
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
