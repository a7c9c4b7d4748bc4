//! A real rsyslog seals what it is sent through `sealedlog-syslog`, with the snippet that is shipped; an auditor opens and
//! verifies.
//!
//! Messages are numbered, so that what comes back is compared with what was sent: each once, in order.
#![cfg(feature = "audit")]

mod common;

use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::unistd::Uid;

use common::disk::SmallDisk;
use common::lines::Lines;
use common::site::{SYSLOG, Site};
use common::syslog::{Daemon, Kind, differences};
use common::syslog_cases::{self as cases, Server};
use common::tools::{SOON, must, path_with_programs, wait_for};

const KIND: Kind = Kind::Rsyslog;

#[test]
fn each_sender_and_facility_has_its_stream() {
    cases::senders_and_facilities(KIND);
}

#[test]
fn nothing_is_lost_over_reload_rename_restart_and_stop() {
    cases::reload_rename_restart_and_stop(KIND);
}

#[test]
fn a_burst_is_sealed_in_order() {
    cases::burst(KIND);
}

#[test]
fn a_stop_at_work_loses_nothing_that_was_taken() {
    cases::stop_at_work(KIND);
}

/// What was stored and not answered comes again: a line, or the lines of a transaction whose end was not answered. None is lost.
#[test]
fn a_killed_program_costs_nothing() {
    let mut server = Server::start(KIND);
    let times = 4;
    let (count, sealed, audit) = server.kill_filters(times);
    assert_all_there(&sealed, count, times);
    let other: Vec<_> = audit.findings.iter().filter(|finding| finding["finding"] != "torn").collect();
    assert!(other.is_empty(), "{}", audit.text);
}

/// Messages that one transaction has at most: what rsyslog takes from its main queue at a time.
const TRANSACTION: usize = 1024;

/// All are there, in order but for those that came again, of each death at most one transaction.
fn assert_all_there(sealed: &[usize], count: usize, deaths: usize) {
    let mut once = sealed.to_vec();
    once.sort_unstable();
    once.dedup();
    assert_eq!(differences(&once, 0..count), "");
    assert!(sealed.len() - count <= deaths * TRANSACTION, "{} twice", sealed.len() - count);
    let back = sealed.windows(2).filter(|pair| pair[0] >= pair[1]).count();
    assert!(back <= deaths, "{back} steps back");
}

/// After ten seconds without an answer, and five more for its end, rsyslog replaces the program; meanwhile its main queue takes
/// what comes, and its other destinations wait.
#[test]
fn a_stopped_program_is_replaced_and_nothing_is_dropped() {
    let stall = cases::stall(KIND, Duration::from_secs(15), true);
    assert!(stall.replaced);
    assert_all_there(&stall.sealed, cases::STALL_COUNT, 1);
    assert!(stall.sent > 30_000, "{}", stall.sent);
}

/// The snippet as it says for who does without answers.
fn unconfirmed(site: &Site) -> String {
    let snippet = site.snippet(KIND.snippet(), SYSLOG);
    let (comments, lines): (Vec<&str>, Vec<&str>) = snippet.lines().partition(|line| line.starts_with('#'));
    let mut changed = lines.join("\n") + "\n";
    let off = r#"confirmMessages="off" useTransactions="off""#;
    let size = "--pipe-size 524288 ";
    assert!([off, size].iter().all(|text| comments.iter().any(|line| line.contains(text))), "{snippet}");
    for (from, to) in [("--confirm-messages --use-transactions ", size), (r#"confirmMessages="on" useTransactions="on""#, off)] {
        assert_eq!(changed.matches(from).count(), 1, "{snippet}");
        changed = changed.replace(from, to);
    }
    changed
}

/// What a killed program that gives no answers can lose: what it read, and what was in its pipe.
const UNANSWERED: usize = 640 << 10;

/// Without answers nothing is lost over bursts and stops; a kill costs what the pipe and one read hold.
#[test]
fn without_answers_a_kill_costs_a_pipe_and_a_read() {
    let site = Site::new();
    let daemon = Daemon::start(KIND, &unconfirmed(&site));
    let mut server = Server { daemon, site };
    let burst = 50_000;
    server.send(0..burst, None);
    server.wait_plain(burst);
    server.daemon.stop();
    assert_eq!(differences(&server.sealed(), 0..burst), "");
    server.site.verify_clean();

    let site = Site::new();
    let daemon = Daemon::start(KIND, &unconfirmed(&site));
    let mut server = Server { daemon, site };
    let times = 4;
    let (count, sealed, _) = server.kill_filters(times);
    assert!(sealed.windows(2).all(|pair| pair[0] < pair[1]), "each once, in order");
    let lost = count - sealed.len();
    assert!(lost * 150 <= times * UNANSWERED, "{lost} lost");
}

/// While the disk is full the program refuses lines and rsyslog keeps them; afterwards all are there.
#[test]
fn a_full_disk_loses_nothing() {
    if !Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "a small file system can be mounted by root only");
        return;
    }
    let site = Site::new();
    let disk = SmallDisk::mount(&site.logs(), 256);
    let mut server = Server { daemon: Daemon::start(KIND, &site.snippet(KIND.snippet(), SYSLOG)), site };
    let count = 5_000;
    server.send(0..count, None);
    assert!(wait_for(SOON, || disk.is_full()));
    // It is tried again each second meanwhile.
    thread::sleep(Duration::from_secs(4));
    disk.resize(64 * 1024);
    server.wait_plain(count);
    server.send(count..count + 1000, None);
    server.wait_plain(count + 1000);
    server.daemon.stop();
    let sealed = server.sealed();
    let warned = std::fs::read_to_string(format!("{}-rsyslog.log", server.site.warnings().display())).unwrap();
    assert!(warned.contains("No space left on device") && !warned.contains("#0"), "{warned}");
    // What was refused was not stored.
    assert_eq!(differences(&sealed, 0..count + 1000), "");
    let audit = server.site.verify();
    assert!(audit.findings.iter().all(|finding| finding["finding"] == "torn"), "{}", audit.text);
}

/// Records in base64 are text that other people's syslog servers carry: `seal` on a pipe, logger, rsyslog, syslog-ng, a file.
/// The limit on a message's length is raised where it is lower than a record.
#[test]
fn records_go_through_syslog_relays_as_text() {
    let site = Site::new();
    let links = tempfile::tempdir().unwrap();
    let path = path_with_programs(links.path());
    let shell = |script: &str, input: &[u8]| must(Command::new("sh").args(["-ec", script]).env("PATH", &path), input);
    let relayed = site.logs().join("relayed");
    let end = Daemon::start(
        Kind::SyslogNg,
        &format!(
            "destination d_relayed {{ file(\"{}\"); }};\nlog {{ source(s_src); destination(d_relayed); }};\n",
            relayed.display()
        ),
    );
    let forward = format!(
        "global(maxMessageSize=\"64k\")\nmain_queue(queue.workerThreads=\"1\")\n\
         action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{}\" protocol=\"tcp\")\n",
        end.port
    );
    let relay = Daemon::start(Kind::Rsyslog, &forward);

    let mut lines: Vec<u8> = Lines::new(7).take(2_000).flatten().collect();
    lines.extend([vec![b'x'; 20_000], b"\n\xff\0 any bytes\n".to_vec()].concat());
    let script = format!(
        "sealedlog seal {} --framing base64 | logger --server 127.0.0.1 --port {} --tcp --size 64KiB --tag sealed --rfc3164",
        site.options(),
        relay.port
    );
    shell(&script, &lines);
    let cut = format!("sed -n 's/^.* sealed: //p' {} >{}", relayed.display(), site.logs().join("relayed.pgp64").display());
    let audit = format!("sealedlog-audit open {} --key {}", site.logs().join("relayed.pgp64").display(), site.secret().display());
    let arrived = || {
        shell(&cut, b"");
        let opened = Command::new("sh").args(["-c", &audit]).env("PATH", &path).output().unwrap();
        opened.stdout.len() >= lines.len()
    };
    assert!(wait_for(SOON, arrived), "{}\n{}", relay.told(), end.told());
    assert!(shell(&audit, b"") == lines);
    shell(
        &format!(
            "sealedlog-audit verify {} --key {} --trust-first",
            site.logs().join("relayed.pgp64").display(),
            site.secret().display()
        ),
        b"",
    );
}
