//! What happens to syslog-ng and to rsyslog alike, each with its snippet as it is shipped.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::site::{Audit, SYSLOG, Site};
use super::syslog::{Daemon, Kind, differences, message, numbers, signal, udp_from};
use super::tools::{SOON, away_from_midnight, wait_for};

const USER: u8 = 1;
const MAIL: u8 = 2;
const AUTH: u8 = 4;

/// A server with one syslog daemon, whose messages are sealed.
pub struct Server {
    /// Its folders and its auditor.
    pub site: Site,
    /// Its daemon.
    pub daemon: Daemon,
}

impl Server {
    /// With the daemon's snippet.
    pub fn start(kind: Kind) -> Server {
        // Files are named after the day.
        away_from_midnight();
        let site = Site::new();
        let daemon = Daemon::start(kind, &site.snippet(kind.snippet(), SYSLOG));
        Server { site, daemon }
    }

    /// Sends local messages of facility `user` and tag `load`, after each so many a rest.
    pub fn send(&self, range: std::ops::Range<usize>, rest: Option<(usize, Duration)>) {
        let socket = UnixDatagram::unbound().expect("a socket can be made");
        socket.connect(self.daemon.socket()).expect("the daemon listens");
        for number in range {
            // Blocks while the daemon does not read.
            socket.send(message(USER, "load", number).as_bytes()).expect("the daemon reads");
            if let Some((count, rest)) = rest
                && number % count == 0
            {
                thread::sleep(rest);
            }
        }
    }

    /// As [`Server::send`], from 0 on and with a short rest now and then, until it is enough; returns how many those were.
    fn send_until(&self, enough: &AtomicBool) -> usize {
        let parts = (0..).step_by(1000).take_while(|_| !enough.load(Ordering::Relaxed));
        parts.map(|part| self.send(part..part + 1000, Some((20, Duration::from_millis(1))))).count() * 1000
    }

    /// Waits until the daemon's own plain-text file has so many messages of [`Server::send`].
    pub fn wait_plain(&self, count: usize) {
        // Tags are no part of that file.
        let marker = b"#0";
        let there = || memchr::memmem::find_iter(&self.daemon.plain(), marker).count() >= count;
        assert!(wait_for(SOON, there), "{}", self.daemon.told());
    }

    /// Waits until a log has a sealed file.
    pub fn wait_sealed(&self) {
        assert!(wait_for(SOON, || !self.site.files().is_empty()), "{}", self.daemon.told());
    }

    /// The text of one of this host's own logs.
    pub fn text(&self, facility: &str) -> Vec<u8> {
        self.site.texts().remove(&format!("{}/{facility}", host())).unwrap_or_default()
    }

    /// The numbers of [`Server::send`] that were sealed, in order.
    pub fn sealed(&self) -> Vec<usize> {
        numbers(&self.text("user"), "load")
    }
}

/// This host's name as both daemons know it.
pub fn host() -> String {
    let name = nix::unistd::gethostname().expect("a host has a name").into_string().expect("tests use ASCII");
    name.split('.').next().expect("a first part").to_owned()
}

/// Each sender and facility has a file and a stream of its own; what a message says of itself decides nothing.
pub fn senders_and_facilities(kind: Kind) {
    let mut server = Server::start(kind);
    let local = UnixDatagram::unbound().unwrap();
    local.connect(server.daemon.socket()).unwrap();
    let host = host();
    for number in 0..50 {
        local.send(message(AUTH, "sshd[7]", number).as_bytes()).unwrap();
        local.send(message(MAIL, "postfix/qmgr[8]", number).as_bytes()).unwrap();
    }
    let inside = format!("<30>Nov 22 04:30:00 split: one\n127.0.0.2/auth two\n{host}/auth three\0four");
    local.send(inside.as_bytes()).unwrap();
    let (second, third) = (udp_from(Ipv4Addr::new(127, 0, 0, 2)), udp_from(Ipv4Addr::new(127, 0, 0, 3)));
    for number in 0..50 {
        for (sender, claimed) in [(&second, host.as_str()), (&third, "127.0.0.2")] {
            let claim = message(AUTH, "sshd[7]", number).replacen("04:30:00 ", &format!("04:30:00 {claimed} "), 1);
            sender.send_to(claim.as_bytes(), ("127.0.0.1", server.daemon.port)).unwrap();
        }
        // So few at a time fit into any socket's memory.
        server.wait_plain(100 + 2 * (number + 1));
    }
    server.daemon.stop();

    let texts = server.site.texts();
    let names = ["/auth", "/daemon", "/mail"].map(|name| format!("{host}{name}")).into_iter();
    let wanted: BTreeSet<_> = names.chain(["127.0.0.2/auth".to_owned(), "127.0.0.3/auth".to_owned()]).collect();
    // The daemons also tell of themselves.
    let found: BTreeSet<_> = texts.keys().filter(|name| !name.ends_with("/syslog")).cloned().collect();
    assert_eq!(found, wanted);
    for (log, tag) in [(format!("{host}/mail"), "postfix/qmgr[8]"), (format!("{host}/auth"), "sshd[7]")] {
        let text = &texts[&log];
        assert_eq!(differences(&numbers(text, tag), 0..50), "", "{log}");
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 50, "{}", String::from_utf8_lossy(text));
    }
    for (log, claimed) in [("127.0.0.2/auth", host.as_str()), ("127.0.0.3/auth", "127.0.0.2")] {
        let text = String::from_utf8_lossy(&texts[log]);
        assert_eq!(differences(&numbers(&texts[log], "sshd[7]"), 0..50), "", "{log}");
        assert!(text.lines().count() == 50 && text.lines().all(|line| line.contains(&format!(" {claimed} sshd[7]: "))), "{text}");
    }
    let split = String::from_utf8_lossy(&texts[&format!("{host}/daemon")]);
    assert!(split.lines().count() == 1 && split.contains(" two") && split.contains("/auth three"), "{split}");
    let audit = server.site.verify_clean();
    assert_eq!(audit.summary["streams"], texts.len());
    assert_eq!(audit.summary["anchored"], true);
    for text in ["#0000007", "postfix/qmgr"] {
        server.site.place.assert_nowhere(text);
    }
}

const STEPS: usize = 3;

/// Reloads, signals to every process, a file renamed, a stop and a start: every line once, in order.
pub fn reload_rename_restart_and_stop(kind: Kind) {
    let mut server = Server::start(kind);
    let enough = AtomicBool::new(false);
    let (first, count) = thread::scope(|scope| {
        let sending = scope.spawn(|| server.send_until(&enough));
        server.wait_sealed();
        let first = server.daemon.filter();
        for step in 0..STEPS {
            thread::sleep(Duration::from_millis(150));
            server.daemon.reload();
            thread::sleep(Duration::from_millis(150));
            if step == 1 {
                let [name] = &server.user_files()[..] else { panic!("{:?}", server.site.files()) };
                let logs = server.site.logs();
                fs::rename(logs.join(name), logs.join(name.replace(".log.", ".log.0."))).unwrap();
            }
            server.daemon.hang_up_all();
        }
        // All of it happened while messages came.
        enough.store(true, Ordering::Relaxed);
        (first, sending.join().unwrap())
    });
    assert_eq!(server.daemon.filter(), first, "the program lives over reloads and SIGHUP");
    server.wait_plain(count);
    assert_eq!(server.user_files().len(), 2, "{:?}", server.site.files());
    server.daemon.stop();
    server.daemon.start_again();
    server.send(count..count + 5_000, None);
    server.wait_plain(count + 5_000);
    server.daemon.stop();
    // syslog-ng sends a message again that waited for room in the pipe when it was told to reload, as each step does twice.
    let again = if kind == Kind::SyslogNg { 2 * STEPS } else { 0 };
    let (mut seen, sealed) = (BTreeSet::new(), server.sealed());
    let once: Vec<usize> = sealed.iter().copied().filter(|number| seen.insert(*number)).collect();
    assert_eq!(differences(&once, 0..count + 5_000), "");
    assert!(sealed.len() - once.len() <= again, "{} twice", sealed.len() - once.len());
    server.site.verify_clean();
}

/// As much as comes at once: every line once, in order.
pub fn burst(kind: Kind) {
    let mut server = Server::start(kind);
    let count = 100_000;
    server.send(0..count, None);
    server.wait_plain(count);
    server.daemon.stop();
    assert_eq!(differences(&server.sealed(), 0..count), "");
    server.site.verify_clean();
}

/// A stop while the daemon is at work: what it wrote to its other destination it has sealed too, up to the end.
pub fn stop_at_work(kind: Kind) {
    let mut server = Server::start(kind);
    let sealed = thread::scope(|scope| {
        let socket = server.daemon.socket();
        // It ends with the daemon's socket.
        scope.spawn(move || {
            let sender = UnixDatagram::unbound().unwrap();
            sender.connect(socket).unwrap();
            let mut numbers = 0..;
            while sender.send(message(USER, "load", numbers.next().unwrap()).as_bytes()).is_ok() {}
        });
        server.wait_plain(20_000);
        server.daemon.stop();
        server.sealed()
    });
    let plain = memchr::memmem::find_iter(&server.daemon.plain(), b"#0").count();
    assert_eq!(differences(&sealed, 0..plain), "");
    server.site.verify_clean();
}

/// What a stall of the program did.
pub struct Stall {
    /// Messages sent before and while the program was stopped; the sender waits when the daemon does.
    pub sent: usize,
    /// How many more the daemon's other destination had when the stall was over than when it began.
    pub other: usize,
    /// Whether the daemon replaced the program meanwhile.
    pub replaced: bool,
    /// What was sealed in the end, of [`STALL_COUNT`] messages.
    pub sealed: Vec<usize>,
}

/// Messages of [`stall`].
pub const STALL_COUNT: usize = 40_000;

/// A program that is stopped for a while, and until it has been replaced where that is asked for, with messages coming all
/// the time.
pub fn stall(kind: Kind, time: Duration, until_replaced: bool) -> Stall {
    let mut server = Server::start(kind);
    let count = STALL_COUNT;
    let sent = AtomicUsize::new(0);
    let told = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for part in 0..count / 100 {
                server.send(part * 100..part * 100 + 100, Some((100, Duration::from_millis(10))));
                sent.store(part * 100 + 100, Ordering::Relaxed);
            }
        });
        server.wait_sealed();
        let filter = server.daemon.filter();
        let plain = || memchr::memmem::find_iter(&server.daemon.plain(), b"#0").count();
        signal(filter, Signal::SIGSTOP);
        let before = plain();
        thread::sleep(time);
        let other = plain() - before;
        let is_replaced = || !server.daemon.filters().contains(&filter);
        let replaced = if until_replaced { wait_for(SOON, is_replaced) } else { is_replaced() };
        let sent = sent.load(Ordering::Relaxed);
        if !replaced {
            signal(filter, Signal::SIGCONT);
        }
        sending.join().unwrap();
        Stall { sent, other, replaced, sealed: vec![] }
    });
    server.wait_plain(count);
    server.daemon.stop();
    Stall { sealed: server.sealed(), ..told }
}

impl Server {
    /// The files of this host's facility `user`.
    pub fn user_files(&self) -> Vec<String> {
        self.site.files().into_iter().filter(|name| name.contains("/user.")).collect()
    }

    /// Kills the program so many times while messages come, and stops the daemon when they have come; returns how many were
    /// sent, and which of them were sealed.
    pub fn kill_filters(&mut self, times: usize) -> (usize, Vec<usize>, Audit) {
        let begin = Instant::now();
        let mut killed = BTreeSet::new();
        let enough = AtomicBool::new(false);
        let count = thread::scope(|scope| {
            let sending = scope.spawn(|| self.send_until(&enough));
            self.wait_sealed();
            while killed.len() < times {
                thread::sleep(Duration::from_millis(300));
                let filter = self.daemon.filter();
                if killed.insert(filter) {
                    signal(filter, Signal::SIGKILL);
                }
            }
            // Until the last one has been replaced: what is sent before may be lost with its pipe.
            assert!(wait_for(SOON, || !killed.contains(&self.daemon.filter())), "{}", self.daemon.told());
            thread::sleep(Duration::from_secs(1));
            enough.store(true, Ordering::Relaxed);
            sending.join().unwrap()
        });
        self.wait_plain(count);
        self.daemon.filter();
        // Not after a minute each time.
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(30 * times as u64), "it goes on soon after a kill: {took:?}");
        self.daemon.stop();
        (count, self.sealed(), self.site.verify())
    }
}
