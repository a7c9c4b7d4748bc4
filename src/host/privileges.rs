//! Becoming another user for good.
//!
//! Promised: after [`Account::become_it`] the process has the user, the group and the other groups that a login of that
//! user would have, in all three kinds of ids, and none of root's rights; it was tried that they cannot be had again.
//! What is open stays open.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::unistd::{
    AccessFlags, Gid, Uid, User, eaccess, fchown, getegid, geteuid, getgrouplist, setgroups, setresgid, setresuid, setuid,
};
use thiserror::Error;

/// Why the process cannot be that of another user.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PrivilegeError {
    /// There is none of this name.
    #[error("there is no user {0}")]
    NoUser(String),
    /// Accounts cannot be read, or an id not be changed.
    #[error("cannot become user {user}: {source}")]
    System {
        /// The name.
        user: String,
        /// What the system said.
        source: io::Error,
    },
    /// Only root can become another user.
    #[error("cannot become user {0}: this is not run as root")]
    NotRoot(String),
    /// Root's rights are there still.
    #[error("cannot become user {0}: root's rights could be had again")]
    StillRoot(String),
    /// The user has no use of a folder.
    #[error("user {user} cannot write to {folder}: {source}")]
    Folder {
        /// The name.
        user: String,
        /// The folder.
        folder: String,
        /// What the system said.
        source: io::Error,
    },
}

impl PrivilegeError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoUser(_) => "make the user (adduser --system NAME), or choose another one",
            Self::NotRoot(_) => "leave --user out, or let root start it",
            Self::System { .. } | Self::StillRoot(_) => "look at what the unit or container that it runs in allows",
            Self::Folder { .. } => "give the folder to the user (chown -R), or choose one of his own with --state and --runtime",
        }
    }
}

/// A user, as a login would have it.
#[derive(Debug, Clone)]
pub struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Account {
    /// Looks a user up by name.
    ///
    /// # Errors
    ///
    /// `NoUser`, and `System` where accounts cannot be read.
    pub fn find(name: &str) -> Result<Self, PrivilegeError> {
        let system = |source: io::Error| PrivilegeError::System { user: name.to_owned(), source };
        let user = User::from_name(name).map_err(|errno| system(errno.into()))?;
        let user = user.ok_or_else(|| PrivilegeError::NoUser(name.to_owned()))?;
        let text = CString::new(name).map_err(|error| system(error.into()))?;
        let groups = getgrouplist(&text, user.gid).map_err(|errno| system(errno.into()))?;
        Ok(Self { name: name.to_owned(), uid: user.uid, gid: user.gid, groups })
    }

    /// Makes a folder that is this user's own, where there is none; its parents are root's.
    ///
    /// # Errors
    ///
    /// What mkdir(2) and chown(2) say.
    pub fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if let Some(parent) = folder.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        // The very folder that was made, whatever its name stands for by now.
        let flags = nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW;
        let made = OpenOptions::new().read(true).custom_flags(flags).open(folder)?;
        Ok(fchown(&made, Some(self.uid), Some(self.gid))?)
    }

    /// Whether the process is this user's already, or must become it. `Err` where it cannot.
    ///
    /// # Errors
    ///
    /// `NotRoot`.
    pub fn is_needed(&self) -> Result<bool, PrivilegeError> {
        match geteuid() {
            uid if uid == self.uid => Ok(false),
            uid if uid.is_root() => Ok(true),
            _ => Err(PrivilegeError::NotRoot(self.name.clone())),
        }
    }

    /// Becomes this user, for good. For a process with one thread. Memory can be locked as before.
    ///
    /// # Errors
    ///
    /// `System` and `StillRoot`; the process is to be ended then.
    pub fn become_it(&self) -> Result<(), PrivilegeError> {
        // Root may lock what it likes; whom it becomes could lock some pages only. It is no harm where this is refused.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        setgroups(&self.groups)
            .and_then(|()| setresgid(self.gid, self.gid, self.gid))
            .and_then(|()| setresuid(self.uid, self.uid, self.uid))
            .map_err(|errno| PrivilegeError::System { user: self.name.clone(), source: errno.into() })?;
        let is_it = geteuid() == self.uid && getegid() == self.gid;
        if !is_it || (!self.uid.is_root() && setuid(Uid::from_raw(0)).is_ok()) {
            return Err(PrivilegeError::StillRoot(self.name.clone()));
        }
        Ok(())
    }

    /// Looks whether the process, which is this user's now, can make files in a folder.
    ///
    /// # Errors
    ///
    /// `Folder`.
    pub fn check_folder(&self, folder: &Path) -> Result<(), PrivilegeError> {
        eaccess(folder, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| PrivilegeError::Folder {
            user: self.name.clone(),
            folder: folder.display().to_string(),
            source: errno.into(),
        })
    }
}
