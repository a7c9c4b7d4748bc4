//! A real SSH server on loopback, with one account that fetches files, and who fetches them.
//!
//! It is what `scripts/setup.sh` unpacks below `target/daemons/openssh`. As root it runs in a mount namespace in which there is
//! an account for it, in the group `adm`, so that no account of the machine is touched; else it lets in who runs the tests.
//! The value's end is its end.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::{Gid, Group, Uid, User, chown};
use tempfile::TempDir;

use super::syslog::{free_port, libraries, unpacked};
use super::tools::{self, SOON, must, tool, wait_for};

/// What the account is called, and its number, where the tests run as root: none that Debian gives away.
const ACCOUNT: (&str, u32) = ("sealed-pull", 64_987);
/// What OpenSSH wants for itself.
const SERVICE: &str = "sshd:x:64988:65534::/run/sshd:/usr/sbin/nologin";
/// Makes the accounts and the folder that the server wants, in its own view of the machine.
const NAMESPACE: &str = "set -e; mount -t tmpfs tmpfs /run; mkdir /run/sshd; mount --bind \"$1/passwd\" /etc/passwd; \
    mount --bind \"$1/group\" /etc/group; shift; exec \"$@\"";

/// A running server, and the keys and settings of its client, to whom it is `server.example.org`.
pub struct SshServer {
    dir: TempDir,
    server: Child,
    account: String,
}

impl SshServer {
    /// Starts it. It lets nobody in yet.
    pub fn start() -> SshServer {
        let dir = tempfile::Builder::new().prefix("sealedlog-ssh-").tempdir().expect("a temporary folder can be made");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
        let own = dir.path().display();
        for key in ["host", "client"] {
            must(tool("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(key)), b"");
        }
        let (root, port) = (unpacked("openssh", "usr/sbin/sshd"), free_port());
        let write = |name: &str, text: String| fs::write(dir.path().join(name), text).expect("own folder");
        // Its files lie below /tmp, which others may write to.
        write(
            "sshd_config",
            format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {own}/host\nAuthorizedKeysFile {own}/authorized_keys\n\
                 StrictModes no\nPidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 Subsystem sftp {}\n",
                root.join("usr/lib/openssh/sftp-server").display()
            ),
        );
        let account = if Uid::effective().is_root() { ACCOUNT.0.to_owned() } else { who_runs_this() };
        let host_key = fs::read_to_string(dir.path().join("host.pub")).expect("just made");
        write("known_hosts", format!("server.example.org {host_key}"));
        write(
            "ssh_config",
            format!(
                "Host server.example.org\nHostName 127.0.0.1\nHostKeyAlias server.example.org\nPort {port}\n\
                 IdentityFile {own}/client\nIdentitiesOnly yes\nUserKnownHostsFile {own}/known_hosts\nBatchMode yes\n"
            ),
        );
        fs::create_dir(dir.path().join("bin")).expect("own folder");
        for program in ["ssh", "scp"] {
            let there = dir.path().join("bin").join(program);
            let script = format!("#!/bin/sh\nexec {} -F {own}/ssh_config \"$@\"\n", tools::path(program).display());
            fs::write(&there, script).expect("own folder");
            fs::set_permissions(there, fs::Permissions::from_mode(0o755)).expect("own file");
        }
        let mut command = sshd(&root, dir.path());
        let told = File::create(dir.path().join("told")).expect("own folder");
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(told).spawn().expect("it can be run");
        let server = SshServer { dir, server, account };
        let answers = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        assert!(wait_for(SOON, answers), "the SSH server does not start: {}", server.told());
        server
    }

    /// Lets the client in, with what stands before its key in `authorized_keys`.
    pub fn authorize(&self, options: &str) {
        let key = fs::read_to_string(self.dir.path().join("client.pub")).expect("made at the start");
        let there = self.dir.path().join("authorized_keys");
        fs::write(&there, format!("{options} {key}")).expect("own folder");
        fs::set_permissions(there, fs::Permissions::from_mode(0o644)).expect("own file");
    }

    /// The account that the client is let in as.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// A command of the client: its `ssh` and `scp`, and so its rsync, know the server.
    pub fn client(&self, program: &str) -> Command {
        let own = self.dir.path().join("bin").join(program);
        let mut command = if own.exists() { Command::new(own) } else { tool(program) };
        let path = std::env::var("PATH").expect("it is set");
        command.env("PATH", format!("{}:{path}", self.dir.path().join("bin").display()));
        command
    }

    /// What the server told.
    pub fn told(&self) -> String {
        fs::read_to_string(self.dir.path().join("told")).unwrap_or_default()
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn who_runs_this() -> String {
    User::from_uid(Uid::effective()).expect("accounts can be read").expect("who runs the tests has an account").name
}

/// The server in the foreground.
fn sshd(root: &Path, dir: &Path) -> Command {
    let program: PathBuf = root.join("usr/sbin/sshd");
    let mut command = if Uid::effective().is_root() {
        let home = dir.join("home");
        fs::create_dir(&home).expect("own folder");
        let readers = Group::from_name("adm").expect("groups can be read").expect("Debian has the group adm").gid;
        chown(&home, Some(Uid::from_raw(ACCOUNT.1)), Some(readers)).expect("root may");
        accounts(dir, &home, readers);
        let mut unshare = tool("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", NAMESPACE, "sh"]).arg(dir).arg(program);
        unshare
    } else {
        Command::new(program)
    };
    command.args(["-D", "-e", "-f"]).arg(dir.join("sshd_config")).env("LD_LIBRARY_PATH", libraries(root, &[]));
    command
}

fn accounts(dir: &Path, home: &Path, readers: Gid) {
    let (name, number) = ACCOUNT;
    let passwd = fs::read_to_string("/etc/passwd").expect("everybody may read it");
    let others: String = passwd.lines().filter(|line| !line.starts_with("sshd:")).map(|line| format!("{line}\n")).collect();
    let own = format!("{name}:x:{number}:{readers}::{}:/bin/sh\n", home.display());
    fs::write(dir.join("passwd"), format!("{others}{SERVICE}\n{own}")).expect("own folder");
    fs::copy("/etc/group", dir.join("group")).expect("everybody may read it");
}
