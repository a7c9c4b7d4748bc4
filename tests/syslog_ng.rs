//! A real syslog-ng seals what it is sent through `sealedlog-syslog`, with the snippet that is shipped; an auditor opens and
//! verifies.
//!
//! Messages are numbered, so that what comes back is compared with what was sent: each once, in order.
#![cfg(feature = "audit")]

mod common;

use std::time::Duration;

use sealedlog::input::READ_ROOM;

use common::syslog::{Kind, differences, message};
use common::syslog_cases::{self as cases, Server};

const KIND: Kind = Kind::SyslogNg;

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

/// syslog-ng makes a new pipe for a new program, so what the old one had not read is gone with it.
#[test]
fn a_killed_program_costs_at_most_what_it_had_read_and_its_pipe() {
    let mut server = Server::start(KIND);
    let times = 4;
    let (count, sealed, audit) = server.kill_filters(times);
    let lost = count - sealed.len();
    // Each is still there at most once, and in order.
    assert!(sealed.windows(2).all(|pair| pair[0] < pair[1]) && sealed.last() == Some(&(count - 1)));
    let line = message(1, "load", 0).len();
    let pipe = 64 << 10;
    assert!(lost <= times * (READ_ROOM + pipe) / line, "{lost} lost by {times} kills");
    let other: Vec<_> = audit.findings.iter().filter(|finding| finding["finding"] != "torn").collect();
    assert!(other.is_empty(), "{}", audit.text);
}

/// With flow control the source waits, and the daemon's other destinations with it.
#[test]
fn a_stopped_program_holds_the_source_and_nothing_is_dropped() {
    let stall = cases::stall(KIND, Duration::from_secs(15), false);
    assert!(!stall.replaced);
    assert_eq!(differences(&stall.sealed, 0..cases::STALL_COUNT), "");
    // So much fits into the pipe, the daemon's window and the socket.
    assert!(stall.other < 20_000, "{}", stall.other);
}
