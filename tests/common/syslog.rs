//! A real syslog-ng or rsyslog, with its own configuration, socket, port and files in a folder of its own.
//!
//! The daemons are those that `scripts/setup.sh` unpacks below `target/daemons/`; nothing of the machine's own logging is
//! touched. Each has what Debian's configuration has, with other paths: a local socket, here also UDP and TCP on loopback,
//! one plain-text file of its own, and the snippet under test, included. The daemon and the programs that it started are
//! gone when the value is dropped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::tools::wait_for;

/// Less than the minute after which syslog-ng starts a program again that has ended, unless it is told otherwise.
const LONG: Duration = Duration::from_secs(50);

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// syslog-ng.
    SyslogNg,
    /// rsyslog.
    Rsyslog,
}

impl Kind {
    /// The snippet for it, in the repository.
    pub fn snippet(self) -> &'static str {
        match self {
            Kind::SyslogNg => "syslog-ng/sealedlog.conf",
            Kind::Rsyslog => "rsyslog/sealedlog.conf",
        }
    }
}

/// A running daemon.
pub struct Daemon {
    /// Its UDP and TCP port on 127.0.0.1.
    pub port: u16,
    kind: Kind,
    dir: TempDir,
    child: Option<Child>,
}

impl Daemon {
    /// Starts a daemon whose configuration includes `snippet`, and returns once its socket and its port are there.
    pub fn start(kind: Kind, snippet: &str) -> Daemon {
        // Another process can take the free port before the daemon does; then the next one is tried.
        for _ in 0..5 {
            let dir = tempfile::Builder::new().prefix("sealedlog-syslog-").tempdir().expect("a temporary folder can be made");
            let port = free_port();
            lay_out(kind, dir.path(), port, snippet);
            let mut daemon = Daemon { port, kind, dir, child: None };
            if daemon.run() {
                return daemon;
            }
            let told = daemon.told();
            assert!(told.contains("in use"), "{kind:?} did not start:\n{told}");
        }
        panic!("no free port found for {kind:?}");
    }

    /// Starts it again in the same folder, after [`Daemon::stop`] or [`Daemon::kill`].
    pub fn start_again(&mut self) {
        assert!(self.child.is_none() && self.run(), "{:?} did not start again:\n{}", self.kind, self.told());
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The socket that stands for /dev/log.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What it has said on standard error, and of itself in its own file.
    pub fn told(&self) -> String {
        let stderr = fs::read(self.dir.path().join("stderr")).unwrap_or_default();
        let text = String::from_utf8_lossy(&[stderr, self.plain()].concat()).into_owned();
        text.lines().filter(|line| !line.contains(" #0")).collect::<Vec<_>>().join("\n")
    }

    /// Messages that its own plain-text destination has by now, without what they begin with.
    pub fn plain(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("plain")).unwrap_or_default()
    }

    /// The programs that it runs.
    pub fn filters(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// The one program that it runs, once there is one.
    pub fn filter(&self) -> u32 {
        let mut filters = vec![];
        let there = wait_for(LONG, || {
            filters = self.filters();
            filters.len() == 1 && is_filter(filters[0])
        });
        assert!(there, "one program is expected, not {filters:?}:\n{}", self.told());
        filters[0]
    }

    /// SIGHUP to the daemon alone, as a reload of its service sends it.
    pub fn reload(&self) {
        signal(self.pid(), Signal::SIGHUP);
    }

    /// SIGHUP to the daemon and all its programs, as Debian's logrotate rule for rsyslog sends it.
    pub fn hang_up_all(&self) {
        self.signal_all(Signal::SIGHUP);
    }

    /// SIGTERM to the daemon and all its programs at once, as systemd stops a service; returns once they are gone.
    pub fn stop(&mut self) {
        let filters = self.filters();
        self.signal_all(Signal::SIGTERM);
        let child = self.child.as_mut().expect("it runs");
        let ended = wait_for(LONG, || child.try_wait().expect("own child").is_some());
        assert!(ended, "{:?} runs on after SIGTERM:\n{}", self.kind, self.told());
        self.child = None;
        let gone = wait_for(LONG, || filters.iter().all(|filter| !is_filter(*filter)));
        assert!(gone, "programs run on after the daemon's end: {filters:?}");
    }

    fn run(&mut self) -> bool {
        let mut child = command(self.kind, self.dir.path()).spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.kind));
        let (socket, port) = (self.socket(), self.port);
        let mut ended = false;
        let ready = wait_for(LONG, || {
            ended = child.try_wait().expect("own child").is_some();
            let local = || UnixDatagram::unbound().is_ok_and(|client| client.connect(&socket).is_ok());
            ended || (local() && TcpStream::connect(("127.0.0.1", port)).is_ok() && has_udp(port))
        });
        self.child = Some(child);
        assert!(ready || self.told().contains("in use"), "{:?} neither listens nor ends:\n{}", self.kind, self.told());
        ready && !ended
    }

    fn signal_all(&self, with: Signal) {
        let filters = self.filters();
        signal(self.pid(), with);
        for filter in filters {
            // It may have ended with the daemon already.
            let _ = kill(Pid::from_raw(filter as i32), with);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let filters = children(child.id());
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
        // A program that was stopped goes on, and ends with its input.
        for filter in &filters {
            let _ = kill(Pid::from_raw(*filter as i32), Signal::SIGCONT);
        }
        if !wait_for(Duration::from_secs(10), || child.try_wait().is_ok_and(|ended| ended.is_some())) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !wait_for(Duration::from_secs(5), || filters.iter().all(|filter| !is_filter(*filter))) {
            for filter in filters.into_iter().filter(|filter| is_filter(*filter)) {
                let _ = kill(Pid::from_raw(filter as i32), Signal::SIGKILL);
            }
        }
    }
}

/// A message as the C library's syslog(3) sends it to /dev/log, with a number that [`numbers`] finds again.
pub fn message(facility: u8, tag: &str, number: usize) -> String {
    let padding = "a word or two, as log lines have them, until it is as long as they are ".repeat(2);
    format!("<{}>Nov 22 04:30:00 {tag}: #{number:07} {padding}", facility * 8 + 6)
}

/// The numbers of a tag's messages in a log, in its order.
pub fn numbers(text: &[u8], tag: &str) -> Vec<usize> {
    let marker = format!(" {tag}: #");
    let number = |line: &[u8]| {
        let at = memchr::memmem::find(line, marker.as_bytes())? + marker.len();
        std::str::from_utf8(line.get(at..at + 7)?).ok()?.parse().ok()
    };
    text.split(|byte| *byte == b'\n').filter_map(number).collect()
}

/// What is wrong with numbers that should be these, each once and in order; empty if nothing is.
pub fn differences(found: &[usize], wanted: std::ops::Range<usize>) -> String {
    let set: std::collections::BTreeSet<usize> = found.iter().copied().collect();
    let missing: Vec<_> = wanted.clone().filter(|number| !set.contains(number)).collect();
    let (twice, moved) = (found.len() - set.len(), found.windows(2).filter(|pair| pair[0] > pair[1]).collect::<Vec<_>>());
    let foreign = set.iter().filter(|number| !wanted.contains(number)).count();
    if missing.is_empty() && twice + moved.len() + foreign == 0 {
        return String::new();
    }
    let (first, steps) = (&missing[..missing.len().min(5)], &moved[..moved.len().min(5)]);
    format!("{} missing {first:?}, {twice} twice, {} out of order {steps:?}, {foreign} unknown", missing.len(), moved.len())
}

/// Sends a signal to a process that is there.
pub fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(process as i32), signal).expect("it runs");
}

/// Whether somebody has this UDP port. To ask by taking it could keep the daemon from it.
fn has_udp(port: u16) -> bool {
    fs::read_to_string("/proc/net/udp").expect("readable").contains(&format!(" 0100007F:{port:04X} "))
}

/// A socket at another address of loopback: a sender that is not this host.
pub fn udp_from(address: Ipv4Addr) -> UdpSocket {
    UdpSocket::bind((address, 0)).expect("all of 127.0.0.0/8 is this machine")
}

/// A port of loopback that nobody has, TCP and UDP.
pub fn free_port() -> u16 {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    (0..20)
        .find_map(|_| {
            let port = TcpListener::bind(any).ok()?.local_addr().ok()?.port();
            UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|_| port)
        })
        .expect("loopback has a free port")
}

/// Where `scripts/setup.sh` unpacked a daemon; panics with what to run when it is not there.
pub fn unpacked(name: &str, program: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/daemons").join(name);
    let there = root.join(program);
    assert!(there.is_file(), "{} is missing: run scripts/setup.sh", there.display());
    root
}

/// The folders of a daemon's libraries, as LD_LIBRARY_PATH wants them.
pub fn libraries(root: &Path, more: &[&str]) -> String {
    let arch = [root.join("usr/lib"), root.join("lib")].into_iter().flat_map(|lib| {
        let entries = fs::read_dir(lib).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.to_string_lossy().contains("-linux-"))
    });
    let all: Vec<_> = more.iter().map(|folder| root.join(folder)).chain(arch).map(|path| path.display().to_string()).collect();
    all.join(":")
}

/// Child processes, whichever thread started them.
pub fn children(parent: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// Whether a process is there, is no zombie, and runs a program of ours.
pub fn is_filter(process: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    name.contains("(sealedlog") && !name.contains(") Z ")
}

fn command(kind: Kind, dir: &Path) -> Command {
    let stderr = fs::OpenOptions::new().create(true).append(true).open(dir.join("stderr")).expect("writable");
    let mut command = match kind {
        Kind::SyslogNg => {
            let root = unpacked("syslog-ng", "usr/sbin/syslog-ng");
            let version = fs::read_dir(root.join("usr/lib/syslog-ng")).expect("unpacked").flatten().map(|entry| entry.path());
            let modules = version.into_iter().find(|path| path.is_dir()).expect("it has modules");
            let mut command = Command::new(root.join("usr/sbin/syslog-ng"));
            command.args(["-F", "--no-caps", "-f"]).arg(dir.join("conf")).arg("-R").arg(dir.join("persist"));
            command.arg("-p").arg(dir.join("pid")).arg("-c").arg(dir.join("control")).arg("--module-path").arg(modules);
            command.env("LD_LIBRARY_PATH", libraries(&root, &["usr/lib/syslog-ng"]));
            command
        }
        Kind::Rsyslog => {
            let root = unpacked("rsyslog", "usr/sbin/rsyslogd");
            let modules = libraries(&root, &[]).split(':').map(|lib| format!("{lib}/rsyslog")).collect::<Vec<_>>().join(":");
            let mut command = Command::new(root.join("usr/sbin/rsyslogd"));
            command.args(["-n", "-f"]).arg(dir.join("conf")).arg("-i").arg(dir.join("pid")).args(["-M", &modules]);
            command.env("LD_LIBRARY_PATH", libraries(&root, &[]));
            command
        }
    };
    // In a group of its own, so that it can send signals to its group.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).env("LC_ALL", "C").env("TZ", "UTC").process_group(0);
    command
}

/// The options are those of Debian's configurations, where they matter here.
fn lay_out(kind: Kind, dir: &Path, port: u16, snippet: &str) {
    fs::write(dir.join("sealedlog.conf"), snippet).expect("writable");
    let own = dir.display();
    let conf = match kind {
        Kind::SyslogNg => format!(
            "@version: 3.38\n\
             options {{ chain_hostnames(off); flush_lines(0); use_dns(no); use_fqdn(no); dns_cache(no); stats_freq(0); keep_hostname(yes); }};\n\
             source s_src {{ unix-dgram(\"{own}/log\"); network(transport(udp) ip(127.0.0.1) port({port}));\n\
                            network(transport(tcp) ip(127.0.0.1) port({port})); }};\n\
             source s_own {{ internal(); }};\n\
             destination d_plain {{ file(\"{own}/plain\" template(\"$MSG\\n\")); }};\n\
             log {{ source(s_src); source(s_own); destination(d_plain); }};\n\
             @include \"{own}/sealedlog.conf\"\n"
        ),
        Kind::Rsyslog => {
            fs::create_dir(dir.join("spool")).expect("writable");
            format!(
                "global(workDirectory=\"{own}/spool\")\n\
                 module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"{own}/log\")\n\
                 module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
                 module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
                 include(file=\"{own}/sealedlog.conf\")\n\
                 template(name=\"plain\" type=\"string\" string=\"%msg:::drop-last-lf%\\n\")\n\
                 action(type=\"omfile\" file=\"{own}/plain\" template=\"plain\")\n"
            )
        }
    };
    fs::write(dir.join("conf"), conf).expect("writable");
}
