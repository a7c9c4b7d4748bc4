//! A real Postfix that delivers to nobody, with its own queue, configuration and log.
//!
//! It is what `scripts/setup.sh` unpacks below `target/daemons/postfix`. Its programs change their user, so it needs root. No
//! account is made: `uucp` stands for `postfix` and the group `operator` for `postdrop`, which every Debian has. The value's end
//! is its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown};
use tempfile::TempDir;

use super::syslog::{libraries, unpacked};
use super::tools::{SOON, must, run, tool, usual_umask, wait_for};

const SERVICES: &str = "\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
postlog   unix-dgram n  -       n       -       1       postlogd
";

/// A running mail server.
pub struct Postfix {
    dir: TempDir,
    root: PathBuf,
    /// Its socket in the place of /dev/log, where it logs through syslog.
    syslog: Option<PathBuf>,
}

impl Postfix {
    /// Starts a server that logs to a syslog socket, as all of Postfix does by default.
    pub fn logging_to_syslog(socket: &Path) -> Postfix {
        Self::start("", Some(socket.to_owned()))
    }

    /// Starts a server with these lines in its main.cf; the folder of its log file must be named, too.
    pub fn with_main_cf(lines: &str) -> Postfix {
        Self::start(lines, None)
    }

    fn start(lines: &str, syslog: Option<PathBuf>) -> Postfix {
        usual_umask();
        let dir = tempfile::Builder::new().prefix("sealedlog-postfix-").tempdir().expect("a temporary folder can be made");
        let root = unpacked("postfix", "usr/sbin/postfix");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
        for folder in ["etc", "queue", "data", "dev"] {
            fs::create_dir(dir.path().join(folder)).expect("writable");
        }
        let owner = User::from_name("uucp").expect("accounts can be read").expect("Debian has an account uucp");
        chown(&dir.path().join("data"), Some(owner.uid), None).expect("tests of Postfix run as root");
        for name in ["postfix-script", "post-install", "postfix-files"] {
            fs::copy(root.join("etc/postfix").join(name), dir.path().join("etc").join(name)).expect("it is in the package");
        }
        fs::copy(root.join("usr/share/postfix/dynamicmaps.cf"), dir.path().join("etc/dynamicmaps.cf"))
            .expect("it is in the package");
        fs::write(dir.path().join("etc/master.cf"), SERVICES).expect("writable");
        let (own, package) = (dir.path().display(), root.display());
        let main = format!(
            "compatibility_level = 3.6\nconfig_directory = {own}/etc\nmeta_directory = {own}/etc\nqueue_directory = {own}/queue\n\
             data_directory = {own}/data\ncommand_directory = {package}/usr/sbin\ndaemon_directory = {package}/usr/lib/postfix/sbin\n\
             shlib_directory = {package}/usr/lib/postfix\nsendmail_path = {package}/usr/sbin/sendmail\n\
             mailq_path = {package}/usr/bin/mailq\nnewaliases_path = {package}/usr/bin/newaliases\n\
             import_environment = MAIL_CONFIG TZ LD_LIBRARY_PATH\nexport_environment = MAIL_CONFIG TZ LD_LIBRARY_PATH\n\
             mail_owner = uucp\nsetgid_group = operator\nmyhostname = mail.example.org\nmydestination =\nalias_maps =\nalias_database =\n\
             inet_interfaces = loopback-only\nlocal_transport = discard\ndefault_transport = discard\n{lines}\n"
        );
        fs::write(dir.path().join("etc/main.cf"), main).expect("writable");
        let postfix = Postfix { dir, root, syslog };
        postfix.control("start").unwrap_or_else(|told| panic!("{told}"));
        postfix
    }

    /// Sends a message and returns when it is in the queue.
    pub fn send(&self, from: &str, to: &str) {
        let mail = format!("From: {from}\nTo: {to}\nSubject: a confidential subject\n\nText.\n");
        must(self.command("sendmail").arg("-C").arg(self.dir.path().join("etc")).args(["-f", from, to]), mail.as_bytes());
    }

    /// Waits until the queue is empty.
    pub fn wait_delivered(&self) {
        let empty = || {
            ["maildrop", "incoming", "active", "deferred"].iter().all(|queue| {
                let files = Command::new("find").arg(self.dir.path().join("queue").join(queue)).args(["-type", "f"]).output();
                files.expect("find can be run").stdout.is_empty()
            })
        };
        assert!(wait_for(SOON, empty), "mail stays in the queue");
    }

    /// `postfix reload`.
    pub fn reload(&self) {
        self.control("reload").unwrap_or_else(|told| panic!("{told}"));
    }

    /// `postfix stop`; returns when its processes are gone.
    pub fn stop(self) {
        let master = self.master().expect("it runs");
        self.control("stop").unwrap_or_else(|told| panic!("{told}"));
        assert!(wait_for(SOON, || !Path::new(&format!("/proc/{master}")).exists()), "it runs on");
    }

    fn control(&self, what: &str) -> Result<Vec<u8>, String> {
        run(self.command("postfix").arg("-c").arg(self.dir.path().join("etc")).arg(what), b"")
    }

    /// One of its programs, in a namespace in which /dev/log is the daemon's socket.
    fn command(&self, program: &str) -> Command {
        let program = self.root.join("usr/sbin").join(program);
        let mut command = match &self.syslog {
            None => Command::new(program),
            Some(socket) => {
                let script = "set -e; mount --make-rprivate /; mount -t tmpfs tmpfs \"$1\"; \
                    cp -a /dev/null /dev/zero /dev/random /dev/urandom \"$1\"; ln -s \"$2\" \"$1/log\"; \
                    mount --move \"$1\" /dev; shift 2; exec \"$@\"";
                let mut command = tool("unshare");
                command.args(["--mount", "sh", "-c", script, "sh"]).arg(self.dir.path().join("dev")).arg(socket).arg(program);
                command
            }
        };
        command.env("LD_LIBRARY_PATH", libraries(&self.root, &["usr/lib/postfix"])).env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    fn master(&self) -> Option<i32> {
        fs::read_to_string(self.dir.path().join("queue/pid/master.pid")).ok()?.trim().parse().ok()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let Some(master) = self.master() else { return };
        let process = PathBuf::from(format!("/proc/{master}"));
        // After a stop another process may have its number.
        let own = || fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "master");
        if own() {
            let _ = kill(Pid::from_raw(master), Signal::SIGTERM);
            wait_for(Duration::from_secs(10), || !own());
        }
    }
}
