//! The Debian packages: built and looked at by lintian, then installed, used, upgraded and purged in a copy of this system
//! that is thrown away: an overlay on its root, entered by chroot.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;
use tempfile::TempDir;

use common::disk::SmallDisk;
use common::keys;
use common::lines::Lines;
use common::sealed::Log;
use common::tools::{must, tool};

/// Built from the programs under test.
fn packages() -> TempDir {
    let out = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_sealedlog")).parent().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut build = Command::new(root.join("scripts/deb.sh"));
    build.current_dir(root).arg("--programs").arg(programs).arg("--output").arg(out.path());
    // Symbols for debuggers take longest, and say nothing here.
    build.env("DEB_BUILD_OPTIONS", "noautodbgsym");
    must(&mut build, b"");
    out
}

/// A system to install in: this one as it is now, and what is written to it.
struct System {
    folder: TempDir,
    _disk: SmallDisk,
}

impl System {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let _disk = SmallDisk::mount(folder.path(), 1 << 20);
        for name in ["changed", "work", "root"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder, _disk }
    }

    /// Where a file stands that was written, whose name begins with a slash.
    fn written(&self, path: &str) -> PathBuf {
        self.folder.path().join("changed").join(&path[1..])
    }

    /// All files that were written or removed, and are not the package manager's own.
    fn all_written(&self) -> BTreeSet<String> {
        let find = must(tool("find").arg(self.folder.path().join("changed")).args(["!", "-type", "d", "-printf", "/%P\\n"]), b"");
        let own = ["/var/lib/dpkg/", "/var/log/dpkg.log", "/var/cache/", "/etc/ld.so.cache", "/packages/"];
        let files = String::from_utf8(find).unwrap();
        files.lines().filter(|file| !own.iter().any(|own| file.starts_with(own))).map(str::to_owned).collect()
    }

    /// Runs a script inside, as root, in which the first command that fails is the last.
    fn run(&self, script: &str, input: &[u8]) -> String {
        let enter = r#"
            set -e
            mount -t overlay overlay -o "lowerdir=/,upperdir=$0/changed,workdir=$0/work" "$0/root"
            mount -t proc proc "$0/root/proc"
            mount --rbind /dev "$0/root/dev"
            exec chroot "$0/root" /bin/sh -euc "$1"
        "#;
        let mut command = tool("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", enter]).arg(self.folder.path()).arg(script);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        String::from_utf8(must(&mut command, input)).unwrap()
    }
}

const SEAL: &str = "sealedlog seal -o /var/log/sealed/x.log";

#[test]
fn they_install_seal_upgrade_and_leave_nothing_but_what_was_sealed() {
    if !Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "packages are installed by root only");
        return;
    }
    let packages = packages();
    let system = System::new();
    must(tool("cp").arg("-r").arg(packages.path()).arg(system.written("/packages")), b"");

    system.run("dpkg -i /packages/sealedlog_*.deb", b"");
    let after_install = system.all_written();
    assert!(after_install.contains("/usr/bin/sealedlog-syslog") && !after_install.contains("/usr/bin/sealedlog-audit"));
    assert!(system.written("/etc/sealedlog/keys.d").is_dir(), "{after_install:?}");
    if !system.run("command -v systemd-tmpfiles || true", b"").is_empty() {
        let tag = fs::read(system.written("/var/lib/sealedlog/CACHEDIR.TAG")).unwrap();
        assert_eq!(tag, b"Signature: 8a477f597d28d172789f06886806bc55\n", "as https://bford.info/cachedir has it");
    }
    let refused = system.run("if sealedlog keys 2>&1; then exit 1; fi", b"");
    assert!(refused.contains("/etc/sealedlog/keys.d"), "{refused}");

    let key = keys::sequoia_v6();
    fs::copy(&key.public, system.written("/etc/sealedlog/keys.d/auditor.asc")).unwrap();
    let text = [Lines::file(1, 50), Lines::file(2, 50)];
    system.run(&format!("mkdir -p /var/log/sealed; {SEAL}"), &text[0]);
    // The same version again is an upgrade like any other: the stream goes on.
    system.run("dpkg -i /packages/sealedlog*.deb; sealedlog-audit --version", b"");
    system.run(SEAL, &text[1]);
    let sealed = system.written("/var/log/sealed/x.log.pgp");
    let log = Log::whole(&sealed, &key.secret);
    assert!(log.text() == text.concat());
    assert_eq!(log.genesis.len(), 1, "one stream");

    system.run("dpkg --remove sealedlog sealedlog-audit; dpkg -i /packages/sealedlog_*.deb", b"");
    assert!(system.written("/etc/sealedlog/keys.d/auditor.asc").is_file(), "removed is not purged");
    system.run("sealedlog keys; dpkg --purge sealedlog sealedlog-audit", b"");
    assert_eq!(system.all_written(), BTreeSet::from(["/var/log/sealed/x.log.pgp".to_owned()]));
    for folder in ["/etc/sealedlog", "/var/lib/sealedlog", "/run/sealedlog", "/usr/share/doc/sealedlog"] {
        assert!(!system.written(folder).exists(), "{folder}");
    }
}
