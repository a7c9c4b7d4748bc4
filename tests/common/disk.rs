//! A file system in memory that fills up; made by root only.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounted at a folder, gone when the value is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// With so many KiB.
    pub fn mount(at: &Path, kib: usize) -> SmallDisk {
        let size = format!("size={kib}k,mode=755");
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .expect("a small file system can be mounted by root only: run the tests as root");
        SmallDisk(at.to_owned())
    }

    /// Gives it another size.
    pub fn resize(&self, kib: usize) {
        let size = format!("size={kib}k,mode=755");
        mount(Some("tmpfs"), &self.0, Some("tmpfs"), MsFlags::MS_REMOUNT, Some(size.as_str())).expect("root may mount");
    }

    /// Lets nobody write to it, or everybody again. No file may be open for writing.
    pub fn read_only(&self, read_only: bool) {
        let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        mount(Some("tmpfs"), &self.0, Some("tmpfs"), MsFlags::MS_REMOUNT | flags, None::<&str>).expect("root may mount");
    }

    /// Fills it to the last byte; returns the file that does.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).expect("root may write");
        while file.write(&[0; 4096]).is_ok_and(|n| n > 0) {}
        ballast
    }

    /// Makes room.
    pub fn grow(&self) {
        self.resize(64 << 10);
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
