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

/// A system to install in: this one as it is now, with Apache as Debian configures it, and what is written to it.
struct System {
    folder: TempDir,
    _disk: SmallDisk,
}

impl System {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let _disk = SmallDisk::mount(folder.path(), 1 << 20);
        for name in ["base", "changed", "work", "root"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let system = Self { folder, _disk };
        if !Path::new("/etc/apache2/apache2.conf").exists() {
            let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/daemons/apache2");
            must(tool("cp").arg("-r").arg(packages).arg(system.written("/apache2-packages")), b"");
            system.run("dpkg -i /apache2-packages/*.deb; rm -r /apache2-packages", b"");
            // What was written until now is what the system is.
            let [base, changed] = ["base", "changed"].map(|name| system.folder.path().join(name));
            fs::remove_dir(&base).unwrap();
            fs::rename(&changed, &base).unwrap();
            fs::create_dir(&changed).unwrap();
        }
        system
    }

    /// Where a file stands that was written, whose name begins with a slash.
    fn written(&self, path: &str) -> PathBuf {
        self.folder.path().join("changed").join(&path[1..])
    }

    /// All files that were written or removed, and are not the package manager's own.
    fn all_written(&self) -> BTreeSet<String> {
        let find = must(tool("find").arg(self.folder.path().join("changed")).args(["!", "-type", "d", "-printf", "/%P\\n"]), b"");
        let own = ["/var/lib/dpkg/", "/var/log/dpkg.log", "/var/cache/", "/etc/ld.so.cache", "/packages/", "/run/sealedlog-in/"];
        let is_own = |file: &str| own.iter().any(|own| file.starts_with(own)) || ACCOUNTS_BEFORE.contains(&file);
        let files = String::from_utf8(find).unwrap();
        // What was written as it was is none.
        let is_as_before = |file: &str| {
            let (Ok(now), Ok(before)) = (fs::read(self.written(file)), fs::read(file)) else { return false };
            now == before
        };
        files.lines().filter(|file| !is_own(file) && !is_as_before(file)).map(str::to_owned).collect()
    }

    /// Runs a script inside, as root, in which the first command that fails is the last.
    fn run(&self, script: &str, input: &[u8]) -> String {
        let enter = r#"
            set -e
            mount -t overlay overlay -o "lowerdir=$0/base:/,upperdir=$0/changed,workdir=$0/work" "$0/root"
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

/// What useradd(8) and its kin leave of the accounts before.
const ACCOUNTS_BEFORE: [&str; 5] = ["/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/.pwd.lock"];
const APACHE: &str = "/etc/apache2/conf-available/00-sealedlog.conf";
const SEAL: &str = "sealedlog seal -o /var/log/sealed/x.log";

/// Without systemd running, so nothing is started; the whole of it is `make test-debian`.
fn enable_and_disable(system: &System) {
    let before = system.all_written();
    let shown = system.run("sealedlog enable --dry-run apache", b"");
    for step in
        ["would run systemctl -q enable sealedlog@apache2-access.log.socket", "would write /etc/apache2/", "would run a2enconf"]
    {
        assert!(shown.contains(step), "{shown}");
    }
    assert_eq!(system.all_written(), before, "a dry run");

    let site = "CustomLog ${APACHE_LOG_DIR}/shop-access.log combined\nCustomLog /srv/elsewhere.log combined\n";
    fs::create_dir_all(system.written("/etc/apache2/sites-enabled")).unwrap();
    fs::write(system.written("/etc/apache2/sites-enabled/shop.conf"), site).unwrap();
    let piped = "CustomLog \"|/usr/bin/sealedlog-apache /var/log/piped.log 86400\" combined\n";
    fs::write(system.written("/etc/apache2/sites-enabled/piped.conf"), piped).unwrap();
    system.run("sealedlog enable apache; grep -qx PIDFile=/run/apache2/apache2.pid /etc/systemd/system/apache2.service.d/*", b"");
    fs::remove_file(system.written("/etc/apache2/sites-enabled/piped.conf")).unwrap();
    let told = system.run("sealedlog enable apache; apache2ctl configtest 2>&1; sealedlog enable apache", b"");
    for text in
        ["/etc/apache2/sites-enabled/shop.conf:2: not below ${APACHE_LOG_DIR}", "apache: sealed (", "Syntax OK", "sealed already"]
    {
        assert!(told.contains(text), "{told}");
    }
    let content = fs::read_to_string(system.written(APACHE)).unwrap();
    assert!(content.contains("\nDefine APACHE_LOG_DIR /run/sealedlog-in/apache2\n"), "{content}");
    let enabled = system.all_written();
    for name in ["access", "error", r"shop\x2daccess"] {
        let unit = format!("/etc/systemd/system/sockets.target.wants/sealedlog@apache2-{name}.log.socket");
        assert!(enabled.contains(&unit), "{unit}: {enabled:?}");
    }
    // A configuration that Apache would not start with is none that anything is changed for.
    fs::write(
        system.written("/etc/apache2/sites-enabled/broken.conf"),
        "CustomLog ${APACHE_LOG_DIR}/new.log combined\nNonsense\n",
    )
    .unwrap();
    let refused = system.run("if sealedlog enable apache 2>&1; then exit 1; fi; sealedlog status || true", b"");
    assert!(refused.contains("Nonsense") && refused.contains("apache: 'apache2ctl configtest' failed"), "{refused}");
    fs::remove_file(system.written("/etc/apache2/sites-enabled/broken.conf")).unwrap();
    assert_eq!(system.all_written(), enabled);
    assert!(!enabled.iter().any(|file| file.starts_with("/etc/systemd/system/apache2.service.d")), "nothing is piped any more");

    system.run("sealedlog disable apache; grep -qx apache /etc/sealedlog/disabled; rm /etc/sealedlog/disabled", b"");
    fs::remove_file(system.written("/etc/apache2/sites-enabled/shop.conf")).unwrap();
    assert_eq!(system.all_written(), before, "exactly undone");
    // Done with what was removed.
    system.run("sealedlog enable apache", b"");
}

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
    enable_and_disable(&system);
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
