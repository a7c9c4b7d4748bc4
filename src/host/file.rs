//! What `std::fs` lacks for log and state files: no symbolic links, locks, attributes, a group by
//! name.
//!
//! Not promised: anything about the directories on the way to a file. Who may write to those
//! decides what a name means.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use nix::unistd::{Gid, Group, Whence, fchown, lseek};

/// Opens `path` for appending, and creates it with `mode` (less the umask) where it is missing;
/// with `create_exclusive` it must be missing.
///
/// Writes to the file wait where they must (no O_NONBLOCK); so does the opening of a FIFO that has
/// no reader.
///
/// # Errors
///
/// What open(2) says; for a symbolic link, dangling or not, `InvalidInput` and a text that says so.
pub fn open_append_nofollow(path: &Path, mode: u32, create_exclusive: bool) -> io::Result<File> {
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .create_new(create_exclusive)
        .mode(mode)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path);
    opened.map_err(|error| {
        // ELOOP also stands for a chain of links in a directory of the path.
        let is_link = || path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        match error.raw_os_error() {
            Some(libc::ELOOP | libc::EEXIST) if is_link() => {
                io::Error::new(io::ErrorKind::InvalidInput, "is a symbolic link, which is not followed")
            }
            _ => error,
        }
    })
}

/// Opens a regular file to read, where whoever owns its folder may not be a friend: nothing that would wait, no link.
///
/// # Errors
///
/// What open(2) says, `ELOOP` for a symbolic link; `InvalidInput` for what is no regular file.
pub fn open_nofollow(path: &Path) -> io::Result<File> {
    open_regular(path, OpenOptions::new().read(true))
}

/// The same, to read and to write.
///
/// # Errors
///
/// As [`open_nofollow`].
pub fn open_nofollow_to_change(path: &Path) -> io::Result<File> {
    open_regular(path, OpenOptions::new().read(true).write(true))
}

fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = options.custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

/// Where the first byte from `from` on is that is not zero; the file's length where there is none. Holes are passed over.
///
/// # Errors
///
/// What lseek(2) and read(2) say.
pub fn first_data(file: &File, from: u64) -> io::Result<u64> {
    let mut at = from;
    let mut bytes = [0; 4096];
    loop {
        at = match lseek(file, i64::try_from(at).unwrap_or(i64::MAX), Whence::SeekData) {
            Ok(data) => u64::try_from(data).unwrap_or(at),
            // Nothing but a hole behind it.
            Err(Errno::ENXIO) => return Ok(file.metadata()?.len()),
            Err(errno) => return Err(errno.into()),
        };
        let read = file.read_at(&mut bytes, at)?;
        if let Some(found) = bytes[..read].iter().position(|&byte| byte != 0) {
            return Ok(at + found as u64);
        }
        if read == 0 {
            return Ok(at);
        }
        at += read as u64;
    }
}

/// Overwrites a part of a file with zeros, on the disk, then gives its blocks back where the file system can. The length stays.
///
/// # Errors
///
/// What write(2) and fdatasync(2) say.
pub fn erase_range(file: &File, from: u64, len: u64) -> io::Result<()> {
    let zeros = [0; 4096];
    let mut at = from;
    while at < from + len {
        let count = usize::try_from(from + len - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all_at(&zeros[..count], at)?;
        at += count as u64;
    }
    file.sync_data()?;
    let range = i64::try_from(from).ok().zip(i64::try_from(len).ok());
    if let Some((from, len)) = range {
        // It is a matter of room only.
        let _ = fallocate(file, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, from, len);
    }
    Ok(())
}

/// Whether what is in a folder is in memory alone (tmpfs, ramfs), as long as nothing is swapped.
///
/// # Errors
///
/// What statfs(2) says.
pub fn is_in_memory(folder: &Path) -> io::Result<bool> {
    let kind = statfs(folder)?.filesystem_type();
    // linux/magic.h
    const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
    Ok(kind == TMPFS_MAGIC || kind == RAMFS_MAGIC)
}

/// How much of a path's file system is used, in hundredths of what who is not root may use.
///
/// # Errors
///
/// What statvfs(3) says.
pub fn used_space(path: &Path) -> io::Result<u8> {
    let system = statvfs(path)?;
    let used = system.blocks() - system.blocks_free();
    let all = (used + system.blocks_available()).max(1);
    Ok((used * 100).div_ceil(all) as u8)
}

/// Waits for the one exclusive lock of the file (flock(2)). It belongs to this opening of the file
/// and its duplicates, and goes with the last of them, a killed process's too.
///
/// # Errors
///
/// What flock(2) says: ENOLCK, or a file system without locks.
pub fn lock_exclusive(file: &File) -> io::Result<()> {
    Ok(flock(file, libc::LOCK_EX)?)
}

/// Takes the lock of [`lock_exclusive`] if nobody has it, and says whether it did.
///
/// # Errors
///
/// As [`lock_exclusive`].
pub fn try_lock_exclusive(file: &File) -> io::Result<bool> {
    match flock(file, libc::LOCK_EX | libc::LOCK_NB) {
        Ok(()) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives the lock back while the file stays open.
///
/// # Errors
///
/// As [`lock_exclusive`].
pub fn unlock(file: &File) -> io::Result<()> {
    Ok(flock(file, libc::LOCK_UN)?)
}

/// Which attributes [`set_no_cow`] could set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Overwriting happens in place (FS_NOCOW_FL: btrfs and the like). File systems that have no
    /// such flag either always do (ext4) or never; that is not told here.
    pub no_cow: bool,
    /// dump(8) leaves the file out (FS_NODUMP_FL).
    pub no_dump: bool,
}

/// Asks the file system to overwrite this file in place and backups to leave it out; to be called
/// while the file is empty, since btrfs ignores it afterwards.
pub fn set_no_cow(file: &File) -> Attributes {
    // From linux/fs.h.
    const FS_NODUMP_FL: u32 = 0x0000_0040;
    const FS_NOCOW_FL: u32 = 0x0080_0000;
    // One at a time: a file system refuses them all where it does not know one.
    Attributes { no_cow: add_attribute(file, FS_NOCOW_FL), no_dump: add_attribute(file, FS_NODUMP_FL) }
}

/// The number of a group.
///
/// # Errors
///
/// `NotFound` for an unknown group, and what getgrnam_r(3) says.
pub fn group_id(name: &str) -> io::Result<Gid> {
    Ok(Group::from_name(name)?.ok_or(io::ErrorKind::NotFound)?.gid)
}

/// Gives an open file or directory to a group, where we may.
///
/// # Errors
///
/// What fchown(2) says, which need not keep a log from being written.
pub fn chown_group(file: impl AsFd, group: Gid) -> io::Result<()> {
    Ok(fchown(file, None, Some(group))?)
}

/// Has a pipe hold so many bytes, or some more. All who have one of its ends see that.
///
/// # Errors
///
/// What fcntl(2) says of F_SETPIPE_SZ: `EBADF` for what is no pipe, `EPERM` above the limits of a user, `EBUSY` where more
/// bytes wait in it.
pub fn set_pipe_size(pipe: impl AsFd, bytes: u32) -> io::Result<()> {
    let bytes = i32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes)).map(drop)?)
}

/// nix's `Flock` owns the file and std's `File::lock` needs Rust 1.89, so the call itself.
fn flock(file: &File, operation: i32) -> nix::Result<()> {
    loop {
        // SAFETY: flock(2) touches no memory, and `file` keeps the descriptor open.
        let result = unsafe { libc::flock(file.as_raw_fd(), operation) };
        match Errno::result(result) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the attribute is set afterwards.
fn add_attribute(file: &File, attribute: u32) -> bool {
    // The request numbers promise a long, the kernel uses its first int: room for either.
    let mut flags = [0_u32; 2];
    // SAFETY: the request writes at most the eight bytes that `flags` has.
    let got = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, flags.as_mut_ptr()) };
    if got != 0 {
        return false;
    }
    flags[0] |= attribute;
    // SAFETY: the request reads at most the eight bytes that `flags` has.
    let set = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, flags.as_ptr()) };
    set == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::FdFlag;
    use nix::sys::stat::Mode;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn appends_creates_and_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut first = open_append_nofollow(&path, 0o600, true).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let again = open_append_nofollow(&path, 0o600, true).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let mut second = open_append_nofollow(&path, 0o640, false).unwrap();
        first.write_all(b"one ").unwrap();
        second.write_all(b"two ").unwrap();
        first.write_all(b"three").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one two three");
        let flags = OFlag::from_bits_retain(fcntl(&first, FcntlArg::F_GETFL).unwrap());
        assert!(flags.contains(OFlag::O_APPEND) && !flags.contains(OFlag::O_NONBLOCK));
        let flags = FdFlag::from_bits_retain(fcntl(&first, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }

    #[test]
    fn symbolic_links_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        symlink(&target, &link).unwrap();
        for target_is_there in [false, true] {
            for exclusive in [false, true] {
                let error = open_append_nofollow(&link, 0o600, exclusive).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert!(error.to_string().contains("symbolic link"), "{error}");
                assert_eq!(target.exists(), target_is_there);
            }
            std::fs::write(&target, b"").unwrap();
        }
        // A link further up is the administrator's business.
        let folder = dir.path().join("folder");
        symlink(dir.path(), &folder).unwrap();
        open_append_nofollow(&folder.join("log"), 0o600, false).unwrap();
    }

    #[test]
    fn the_lock_is_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let open = || open_append_nofollow(&path, 0o600, false).unwrap();
        let (first, second) = (open(), open());
        lock_exclusive(&first).unwrap();
        assert!(!try_lock_exclusive(&second).unwrap());
        unlock(&first).unwrap();
        assert!(try_lock_exclusive(&second).unwrap());
        assert!(!try_lock_exclusive(&first).unwrap());
        let waiting = std::thread::spawn(move || lock_exclusive(&first).map(|()| first));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(second);
        let first = waiting.join().unwrap().unwrap();
        assert!(!try_lock_exclusive(&open()).unwrap());
        drop(first);
        // Another test may have forked a moment ago: what it copied is closed when its child ends.
        let is_free = || try_lock_exclusive(&open()).unwrap();
        assert!((0..500).any(|_| is_free() || {
            std::thread::sleep(std::time::Duration::from_millis(10));
            false
        }));
    }

    #[test]
    fn attributes_are_as_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = open_append_nofollow(&dir.path().join("state"), 0o600, true).unwrap();
        let had = set_no_cow(&file);
        let mut flags = [0_u32; 2];
        // SAFETY: as in `add_attribute`.
        let got = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, flags.as_mut_ptr()) };
        let really = Attributes { no_cow: got == 0 && flags[0] & 0x80_0000 != 0, no_dump: got == 0 && flags[0] & 0x40 != 0 };
        assert_eq!(had, really);
        // What is no file of a file system has none.
        let null = File::open("/dev/null").unwrap();
        let _ = set_no_cow(&null);
        if nix::sys::statfs::fstatfs(&file).unwrap().filesystem_type() == nix::sys::statfs::EXT4_SUPER_MAGIC {
            assert!(had.no_dump);
        }
    }

    #[test]
    fn a_pipe_holds_what_was_asked_for() {
        let (reader, writer) = io::pipe().unwrap();
        set_pipe_size(&reader, 512 << 10).unwrap();
        assert_eq!(fcntl(&writer, FcntlArg::F_GETPIPE_SZ).unwrap(), 512 << 10);
        let null = File::open("/dev/null").unwrap();
        assert_eq!(set_pipe_size(&null, 512 << 10).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn the_group_is_given_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = File::open(dir.path()).unwrap();
        assert_eq!(group_id("no-such-group-here").unwrap_err().kind(), io::ErrorKind::NotFound);
        // Root can give to any group, others to their own.
        let group = if nix::unistd::geteuid().is_root() {
            Group::from_name("daemon").unwrap().expect("in every /etc/group")
        } else {
            Group::from_gid(nix::unistd::getegid()).unwrap().expect("our own group has a name")
        };
        chown_group(&folder, group_id(&group.name).unwrap()).unwrap();
        assert_eq!(folder.metadata().unwrap().gid(), group.gid.as_raw());
    }

    #[test]
    fn the_umask_takes_from_the_mode() {
        super::super::in_child(|| {
            let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
            nix::sys::stat::umask(Mode::from_bits_retain(0o027));
            let file = open_append_nofollow(&dir.path().join("log"), 0o646, true).map_err(|error| error.to_string())?;
            match file.metadata().map(|meta| meta.mode() & 0o777) {
                Ok(0o640) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
    }
}
