//! Settings and names of the whole process.
//!
//! Promised: what [`harden`] reports as had, is had. Not promised: protection from root, who can
//! read any process's memory while it runs.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setegid, seteuid, setgroups};

/// What [`harden`] could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Hardening {
    /// No core dump, and no ptrace by the same user (PR_SET_DUMPABLE 0).
    pub not_dumpable: bool,
    /// No core file, here and in programs that are run (RLIMIT_CORE 0).
    pub no_core_files: bool,
    /// No program that is run gains privileges by set-user-id bits (PR_SET_NO_NEW_PRIVS 1).
    pub no_new_privileges: bool,
}

impl Hardening {
    /// What could not be had, in words for a warning; nothing where all is well.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.not_dumpable, "not dumpable (PR_SET_DUMPABLE)"),
            (self.no_core_files, "no core files (RLIMIT_CORE)"),
            (self.no_new_privileges, "no new privileges (PR_SET_NO_NEW_PRIVS)"),
        ]
        .into_iter()
        .filter_map(|(had, name)| (!had).then_some(name))
    }
}

/// Keeps the memory of this process out of core dumps and from other processes of the same user.
///
/// To be called before the first key is made, and after the last change of user or group, which
/// makes a process dumpable again. For a process that is not root, /proc/self belongs to root from
/// then on.
pub fn harden() -> Hardening {
    Hardening {
        not_dumpable: prctl::set_dumpable(false).is_ok(),
        no_core_files: setrlimit(Resource::RLIMIT_CORE, 0, 0).is_ok(),
        no_new_privileges: prctl::set_no_new_privs().is_ok(),
    }
}

/// Does something with the rights of the user and group that own what `metadata` is of, if this process is root and they
/// are others; what it makes then belongs to them. Not for programs that do several things at a time.
///
/// # Errors
///
/// What setegid(2) and seteuid(2) say; nothing was done then.
pub fn as_owner<T>(metadata: &Metadata, work: impl FnOnce() -> T) -> io::Result<T> {
    let (user, group) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    if !geteuid().is_root() || user.is_root() {
        return Ok(work());
    }
    let back = Root { group: getegid(), groups: getgroups()? };
    setgroups(&[group])?;
    setegid(group)?;
    seteuid(user)?;
    // The change has made the process dumpable again where the system is set so.
    let _ = harden();
    let done = work();
    drop(back);
    Ok(done)
}

/// Gives root's rights back, also after a panic.
struct Root {
    group: Gid,
    groups: Vec<Gid>,
}

impl Drop for Root {
    fn drop(&mut self) {
        // Who was root a moment ago may be it again.
        let _ = seteuid(Uid::from_raw(0));
        let _ = setegid(self.group);
        let _ = setgroups(&self.groups);
        let _ = harden();
    }
}

/// Raises the limit of open files to what the system allows this process. Returns that.
///
/// # Errors
///
/// What getrlimit(2) and setrlimit(2) say; the limit is as it was then.
pub fn raise_open_files() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// The random name of this boot, 36 characters, as the kernel gives it. It is read once: in the sandbox it cannot be.
///
/// # Errors
///
/// Where /proc is not mounted.
pub fn boot_id() -> io::Result<String> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id.clone());
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(ID.get_or_init(|| text.trim_end().to_owned()).clone())
}

/// The host's name; bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
///
/// The name of the account that runs this, if it has one.
pub fn account() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name)
}

/// What gethostname(2) says.
pub fn host_name() -> io::Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().into_owned())
}

/// Makes a write to a closed pipe the error EPIPE instead of the end of the process, whatever the
/// program's start-up code and parent chose.
///
/// # Errors
///
/// What sigaction(2) says.
pub fn ignore_sigpipe() -> io::Result<()> {
    // SAFETY: SIG_IGN runs no code of ours, so there is nothing that could be unsafe in a handler.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::in_child;
    use super::*;

    #[test]
    fn harden_does_what_it_reports() {
        in_child(|| {
            let had = harden();
            let really = Hardening {
                not_dumpable: !prctl::get_dumpable().unwrap(),
                no_core_files: getrlimit(Resource::RLIMIT_CORE).unwrap() == (0, 0),
                no_new_privileges: prctl::get_no_new_privs().unwrap(),
            };
            let all = Hardening { not_dumpable: true, no_core_files: true, no_new_privileges: true };
            if had == all && really == all && had.missing().count() == 0 {
                Ok(())
            } else {
                Err(format!("reported {had:?}, is {really:?}"))
            }
        })
        .unwrap();
    }

    #[test]
    fn work_for_an_owner_is_done_as_he() {
        in_child(|| {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let (nobody, here) = (65_534, folder.path().join("here"));
            if !geteuid().is_root() {
                return Ok(());
            }
            std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
            std::os::unix::fs::chown(folder.path(), Some(nobody), Some(nobody)).unwrap();
            let owner = folder.path().metadata().unwrap();
            as_owner(&owner, || std::fs::write(&here, "").unwrap()).unwrap();
            let made = here.metadata().unwrap();
            let dumpable = prctl::get_dumpable().unwrap();
            match (made.uid(), made.gid(), geteuid().is_root(), getegid().as_raw(), dumpable) {
                (65_534, 65_534, true, 0, false) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
    }

    #[test]
    fn what_is_missing_is_named() {
        let had = Hardening { not_dumpable: false, no_core_files: true, no_new_privileges: false };
        let missing: Vec<_> = had.missing().collect();
        assert_eq!(missing.len(), 2);
        assert!(missing[0].contains("DUMPABLE") && missing[1].contains("NO_NEW_PRIVS"));
    }

    #[test]
    fn the_limit_of_open_files_is_raised() {
        in_child(|| {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 64.min(hard), hard).unwrap();
            let raised = raise_open_files().map_err(|error| error.to_string())?;
            let really = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            if (raised, hard) == really { Ok(()) } else { Err(format!("said {raised}, is {really:?}")) }
        })
        .unwrap();
    }

    #[test]
    fn names_are_there() {
        let id = boot_id().unwrap();
        assert_eq!(id.len(), 36, "{id}");
        assert!(id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()));
        assert!(!host_name().unwrap().is_empty());
    }

    #[test]
    fn a_closed_pipe_is_an_error_not_the_end() {
        in_child(|| {
            // SAFETY: the default action runs no code of ours.
            unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.unwrap();
            ignore_sigpipe().unwrap();
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            match nix::unistd::write(&writer, b"x") {
                Err(nix::errno::Errno::EPIPE) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
    }
}
