//! A file system in memory that fills up; made by root only.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounted at a folder, gone when the value is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// With so many KiB.
    pub fn mount(at: &Path, kib: usize) -> SmallDisk {
        let size = format!("size={kib}k,mode=755");
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).expect("root may mount");
        SmallDisk(at.to_owned())
    }

    /// Gives it another size.
    pub fn resize(&self, kib: usize) {
        let size = format!("size={kib}k,mode=755");
        mount(Some("tmpfs"), &self.0, Some("tmpfs"), MsFlags::MS_REMOUNT, Some(size.as_str())).expect("root may mount");
    }

    /// Whether no block is left.
    pub fn is_full(&self) -> bool {
        nix::sys::statvfs::statvfs(&self.0).expect("it is mounted").blocks_free() == 0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
