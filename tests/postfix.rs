//! A real Postfix: the log lines of the mail that it delivers are sealed, through each syslog daemon and through a FIFO in the
//! place of its log file.
//!
//! Each message has a sender of its own, so what comes back is compared with what was sent.
#![cfg(feature = "audit")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};

use common::postfix::Postfix;
use common::sealed::Running;
use common::site::{SYSLOG, Site};
use common::syslog::{Daemon, Kind};
use common::syslog_cases::host;
use common::tools::{SOON, wait_for};

#[test]
fn mail_is_logged_through_syslog_ng() {
    through_syslog(Kind::SyslogNg);
}

#[test]
fn mail_is_logged_through_rsyslog() {
    through_syslog(Kind::Rsyslog);
}

fn through_syslog(kind: Kind) {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let mut daemon = Daemon::start(kind, &site.snippet(kind.snippet(), SYSLOG));
    let postfix = Postfix::logging_to_syslog(&daemon.socket());
    send(&postfix, "first", 20);
    daemon.reload();
    postfix.reload();
    send(&postfix, "second", 20);
    postfix.stop();
    // What is on its way in the daemon is not known; its own file is written by the same stroke.
    let stopped = || String::from_utf8_lossy(&daemon.plain()).contains("stopping the Postfix mail system");
    assert!(wait_for(SOON, stopped));
    daemon.stop();

    let texts = site.texts();
    let text = String::from_utf8_lossy(&texts[&format!("{}/mail", host())]).into_owned();
    assert_delivered(&text, "first", 20);
    assert_delivered(&text, "second", 20);
    assert!(texts.iter().all(|(log, text)| log.ends_with("/mail") || !String::from_utf8_lossy(text).contains("postfix/qmgr")));
    site.verify_clean();
    site.place.assert_nowhere("status=sent");
}

/// The FIFO is held open for reading and writing, as systemd does with `ListenFIFO=`: no line is lost while the filter is stopped,
/// killed and started anew.
#[test]
fn mail_is_logged_through_a_fifo() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let folder = tempfile::tempdir().unwrap();
    // Postfix's programs that write are other users.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let fifo = folder.path().join("sealedlog-in/mail.log");
    fs::create_dir(fifo.parent().unwrap()).unwrap();
    mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
    let _holder = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let main = shipped("postfix/main.cf").replace("/var/run/", &format!("{}/", folder.path().display()));
    assert!(main.contains(&format!("maillog_file = {}\n", fifo.display())), "{main}");
    // Before the filter: with the FIFO held Postfix does not wait for a reader.
    let postfix = Postfix::with_main_cf(&format!("{main}maillog_file_prefixes = {}\n", folder.path().display()));
    send(&postfix, "unread", 10);

    let mut filter = filter(&site, &fifo);
    send(&postfix, "first", 20);
    wait_read(&filter, &fifo);
    filter.kill();
    send(&postfix, "killed", 20);
    filter = self::filter(&site, &fifo);
    postfix.reload();
    send(&postfix, "reloaded", 20);
    // In the midst of it: what it has read it seals, what it has not is there for the next.
    filter.signal(Signal::SIGTERM);
    send(&postfix, "stopped", 20);
    let ended = filter.wait();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    filter = self::filter(&site, &fifo);
    postfix.stop();
    wait_read(&filter, &fifo);
    filter.signal(Signal::SIGTERM);
    assert!(filter.wait().status.success());

    let texts = site.texts();
    assert_eq!(texts.len(), 1, "{:?}", site.files());
    let text = String::from_utf8_lossy(&texts["mail.log"]).into_owned();
    for (name, count) in [("unread", 10), ("first", 20), ("killed", 20), ("reloaded", 20), ("stopped", 20)] {
        assert_delivered(&text, name, count);
    }
    assert!(text.contains("stopping the Postfix mail system"), "{text}");
    site.verify_clean();
    site.place.assert_nowhere("status=sent");
}

/// The filter as the service unit runs it, on the FIFO.
fn filter(site: &Site, fifo: &Path) -> Running {
    let unit = shipped("systemd/sealedlog@.service").replace("%I", "mail.log");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/sealedlog seal ")).unwrap();
    let line = line.replace("%%", "%").replace("/var/log/sealed/", &format!("{}/", site.logs().display()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
    // As systemd leaves out a variable that is empty.
    let words = line.split(' ').filter(|word| *word != "$SEALEDLOG_OPTIONS");
    command.arg("seal").args(site.options().split(' ')).args(words).stdout(Stdio::null());
    Running::start_on(&mut command, File::open(fifo).unwrap())
}

/// A file that is shipped.
fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Waits until the filter has read all that is in the FIFO, and come to its next read.
fn wait_read(filter: &Running, fifo: &Path) {
    let ready = || {
        let file = File::open(fifo).unwrap();
        let mut waiting = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&file), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut waiting, 0u8).unwrap() > 0
    };
    assert!(wait_for(SOON, || !ready()));
    filter.wait_idle();
}

fn send(postfix: &Postfix, name: &str, count: usize) {
    for number in 0..count {
        postfix.send(&format!("{name}-{number}@example.org"), &format!("to-{name}-{number}@example.org"));
    }
    postfix.wait_delivered();
}

/// Each message was taken, queued and delivered once.
fn assert_delivered(text: &str, name: &str, count: usize) {
    for number in 0..count {
        let (from, to) = (format!(" from=<{name}-{number}@example.org>"), format!(" to=<to-{name}-{number}@example.org>"));
        let lines = |service: &str, what: &str| text.lines().filter(|line| line.contains(service) && line.contains(what)).count();
        let told = [lines("postfix/pickup", &from), lines("postfix/qmgr", &from), lines("postfix/discard", &to)];
        assert_eq!(told, [1, 1, 1], "{from}: {text}");
    }
}

/// Postfix changes the user of its programs, so nothing is tested without that right.
fn is_root() -> bool {
    let root = Uid::effective().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "Postfix is started by root only");
    root
}
