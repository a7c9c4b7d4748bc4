//! A real Apache on a free loopback port, with its own configuration in a folder of its own.
//!
//! It is the leader of a process group that holds its workers and log programs too; all of them are gone when the
//! value is dropped. What its log programs write is the caller's business: log lines are given word for word.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;

use super::load::{Load, Slow};
use super::tools::{SOON, tool, usual_umask, wait_for};

/// A running server.
pub struct Apache {
    /// Its port on 127.0.0.1.
    pub port: u16,
    dir: TempDir,
    parent: Child,
    /// Workers of the generations before.
    old: Mutex<BTreeSet<u32>>,
}

impl Apache {
    /// Starts a server whose configuration ends with `directives` (`CustomLog` and `ErrorLog` lines, one an item),
    /// with `env` added to its environment, and returns once it answers. Without an `ErrorLog` among them its
    /// errors go where [`Apache::errors`] reads.
    ///
    /// The log format `combined` is defined. It serves `/hello.txt` (6 bytes) and `/large.bin` (64 MiB).
    /// As root its workers run as `www-data`.
    pub fn start(directives: &[String], env: &[(&str, &str)]) -> Apache {
        usual_umask();
        // Another process can take the free port before Apache does; then the next one is tried.
        for _ in 0..5 {
            let port = free_port();
            let dir = tempfile::Builder::new().prefix("sealedlog-apache-").tempdir().expect("a temporary folder can be made");
            lay_out(dir.path(), port, directives);
            let stderr = fs::File::create(dir.path().join("stderr")).expect("writable");
            let parent = tool("apache2")
                .args(["-D", "FOREGROUND", "-f"])
                .arg(dir.path().join("apache2.conf"))
                .env("LC_ALL", "C")
                .envs(env.iter().copied())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(stderr)
                // It signals its whole group at a stop, which must not be the tests' own.
                .process_group(0)
                .spawn()
                .expect("apache2 can be run");
            let mut apache = Apache { port, dir, parent, old: Mutex::default() };
            if apache.wait_ready() {
                return apache;
            }
            let told = apache.errors();
            assert!(told.contains("Address already in use"), "apache2 did not start:\n{told}");
        }
        panic!("no free port found for apache2");
    }

    /// The parent's process id.
    pub fn pid(&self) -> u32 {
        self.parent.id()
    }

    /// What the server has said so far on standard error, and in the error log unless a directive moved it.
    pub fn errors(&self) -> String {
        let read = |name: &str| fs::read(self.dir.path().join(name)).unwrap_or_default();
        let text = [read("stderr"), read("error.log")].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// `requests` requests over `connections` connections, each with an id that starts with `name`; not yet sent.
    pub fn load(&self, name: &str, requests: usize, connections: usize) -> Load {
        Load { port: self.port, name: name.to_owned(), requests, connections, pause: Duration::ZERO }
    }

    /// Begins a request that is not over before [`Slow::finish`].
    pub fn slow(&self, id: &str) -> Slow {
        Slow::begin(self.port, id)
    }

    /// Graceful reload (SIGUSR1), as each night's logrotate does; returns once a new generation of workers is there.
    pub fn graceful(&self) {
        self.renew(Signal::SIGUSR1);
    }

    /// Hard restart (SIGHUP): requests in flight are cut.
    pub fn restart(&self) {
        self.renew(Signal::SIGHUP);
    }

    /// Hard stop (SIGTERM); returns once the server and all its log programs are gone.
    pub fn stop(mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Stop after the requests in flight (SIGWINCH); returns once the server and all its log programs are gone.
    pub fn graceful_stop(mut self) {
        self.end(Signal::SIGWINCH);
    }

    /// Waits until no worker of the generations before a reload is there any more. They go on while they have requests, and
    /// what they log goes to the programs of their time.
    pub fn wait_old_workers(&self) {
        let old = self.old.lock().expect("no panic").clone();
        assert!(wait_for(SOON, || self.workers().is_disjoint(&old)), "old workers stay:\n{}", self.errors());
    }

    /// Process ids and command lines of the server's log programs, those of earlier generations included.
    pub fn programs(&self) -> Vec<(u32, String)> {
        self.group()
            .into_iter()
            .filter(|process| process.name != "apache2")
            .map(|process| (process.id, command_line(process.id)))
            .collect()
    }

    fn wait_ready(&mut self) -> bool {
        let pid_file = self.dir.path().join("apache2.pid");
        let mut ended = false;
        let ready = wait_for(SOON, || {
            ended = self.parent.try_wait().expect("own child").is_some();
            // Nothing is asked, so no line is logged; the listening socket queues what comes before the workers.
            ended || (pid_file.exists() && TcpStream::connect(("127.0.0.1", self.port)).is_ok())
        });
        assert!(ready, "apache2 neither answers nor ends:\n{}", self.errors());
        !ended && wait_for(SOON, || !self.workers().is_empty() && self.settled())
    }

    fn renew(&self, signal: Signal) {
        let before = self.workers();
        self.old.lock().expect("no panic").extend(&before);
        kill(self.leader(), signal).expect("the parent runs");
        let renewed = wait_for(SOON, || self.workers().difference(&before).next().is_some() && self.settled());
        assert!(renewed, "no new workers after {signal}:\n{}", self.errors());
    }

    fn end(&mut self, signal: Signal) {
        kill(self.leader(), signal).expect("the parent runs");
        let ended = wait_for(SOON, || self.parent.try_wait().expect("own child").is_some());
        assert!(ended, "apache2 runs on after {signal}:\n{}", self.errors());
        let empty = wait_for(SOON, || self.group().is_empty());
        assert!(empty, "log programs run on after {signal}: {:?}", self.programs());
    }

    fn leader(&self) -> Pid {
        Pid::from_raw(self.parent.id() as i32)
    }

    fn workers(&self) -> BTreeSet<u32> {
        let workers = self.children().into_iter().filter(|child| child.threads > 1);
        workers.map(|worker| worker.id).collect()
    }

    /// No worker or log program is in the middle of being started.
    fn settled(&self) -> bool {
        self.children().iter().all(|child| child.threads > 1)
    }

    /// Workers and, with a single thread, what is to become one: a worker, or a log program between fork and exec.
    fn children(&self) -> Vec<Process> {
        let own = |process: &Process| process.name == "apache2" && process.parent == self.parent.id();
        self.group().into_iter().filter(own).collect()
    }

    /// The living processes of the server's group: parent, workers, log programs.
    fn group(&self) -> Vec<Process> {
        processes().into_iter().filter(|process| process.group == self.parent.id() && process.state != 'Z').collect()
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        if self.parent.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill(self.leader(), Signal::SIGTERM);
            wait_for(Duration::from_secs(5), || self.parent.try_wait().is_ok_and(|ended| ended.is_some()));
        }
        // The group's number cannot have gone to others as long as one of it lives.
        if !wait_for(Duration::from_secs(2), || self.group().is_empty()) {
            let _ = killpg(self.leader(), Signal::SIGKILL);
        }
        let _ = self.parent.wait();
    }
}

/// Apache's quotes around a command or file name in a configuration line: `"|program argument"`.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn lay_out(dir: &Path, port: u16, directives: &[String]) {
    let docs = dir.join("docs");
    fs::create_dir(&docs).expect("writable");
    fs::write(docs.join("hello.txt"), "hello\n").expect("writable");
    let large = fs::File::create(docs.join("large.bin")).expect("writable");
    large.set_len(64 << 20).expect("a sparse file takes no room");
    // The workers are another user.
    for path in [dir, &docs] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("own folder");
    }
    let user = if Uid::effective().is_root() { "User www-data\nGroup www-data\n" } else { "" };
    let modules = PathBuf::from("/usr/lib/apache2/modules");
    let own = dir.display();
    let error_log = if directives.iter().any(|line| line.to_ascii_lowercase().contains("errorlog")) {
        String::new()
    } else {
        format!("ErrorLog \"{own}/error.log\"\n")
    };
    let conf = format!(
        "ServerRoot \"{own}\"\nDefaultRuntimeDir \"{own}\"\nPidFile \"{own}/apache2.pid\"\n\
         ServerName www.example.org\nListen 127.0.0.1:{port}\n{user}\
         LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
         LoadModule authz_core_module {modules}/mod_authz_core.so\n\
         LoadModule env_module {modules}/mod_env.so\n\
         StartServers 3\nServerLimit 12\nThreadsPerChild 8\nThreadLimit 8\nMaxRequestWorkers 24\n\
         MinSpareThreads 1\nMaxSpareThreads 24\n\
         KeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 5\nTimeout 60\n\
         DocumentRoot \"{own}/docs\"\n\
         LogFormat \"%h %l %u %t \\\"%r\\\" %>s %O \\\"%{{Referer}}i\\\" \\\"%{{User-Agent}}i\\\"\" combined\n\
         {error_log}{}\n",
        directives.join("\n"),
        modules = modules.display(),
    );
    fs::write(dir.join("apache2.conf"), conf).expect("writable");
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("loopback has a free port").port()
}

struct Process {
    id: u32,
    name: String,
    state: char,
    parent: u32,
    group: u32,
    threads: u32,
}

/// All processes of the machine, from /proc/PID/stat: `id (name) state parent group … threads …`.
fn processes() -> Vec<Process> {
    let read = |id: u32| -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name may hold spaces and parentheses; the last ")" ends it.
        let (head, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        Some(Process {
            id,
            name: head.split_once('(')?.1.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            // Field 20 of proc(5); the group was the fifth.
            threads: fields.nth(14)?.parse().ok()?,
        })
    };
    fs::read_dir("/proc")
        .expect("/proc is there")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

fn command_line(id: u32) -> String {
    let bytes = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}
