//! Messages of systemd about units and sessions, and those of the kernel that have fields.
//!
//! Promises: the unit is what stands before the dash or the colon, where systemd itself writes it.
//! Not promised: the unit of a message that has its description alone (before version 250).
#![forbid(unsafe_code)]

use memchr::memrchr;

use super::scan::{address, find, split, strip_any, text, word};
use super::{Event, Field};

type Meaning = (&'static str, Option<bool>);

/// `Started cron.service - Regular background program processing daemon.`
const STATES: [(&str, Meaning); 14] = [
    ("Starting ", ("starting", None)),
    ("Started ", ("started", Some(true))),
    ("Finished ", ("finished", Some(true))),
    ("Stopping ", ("stopping", None)),
    ("Stopped target ", ("stopped", Some(true))),
    ("Stopped ", ("stopped", Some(true))),
    ("Reloading ", ("reloading", None)),
    ("Reloaded ", ("reloaded", Some(true))),
    ("Listening on ", ("listening", Some(true))),
    ("Reached target ", ("reached", Some(true))),
    ("Created slice ", ("created", Some(true))),
    ("Removed slice ", ("removed", Some(true))),
    ("Failed to start ", ("start", Some(false))),
    ("Dependency failed for ", ("start", Some(false))),
];

/// `cron.service: Deactivated successfully.`
const RESULTS: [(&str, Meaning); 6] = [
    ("Deactivated successfully", ("deactivated", Some(true))),
    ("Succeeded", ("deactivated", Some(true))),
    ("Failed with result ", ("failed", Some(false))),
    ("Main process exited", ("exited", None)),
    ("Scheduled restart job", ("restart", None)),
    ("Consumed ", ("consumed", None)),
];

/// Messages of systemd and systemd-logind.
pub fn parse<'a>(message: &'a [u8], event: &mut Event<'a>) {
    if let Some(rest) = message.strip_prefix(b"New session ")
        && let Some((_, user)) = split(rest, b" of user ")
    {
        event.put_action("session_opened", Some(true));
        event.put_text(Field::UserName, user.strip_suffix(b".").unwrap_or(user));
    } else if message.starts_with(b"Removed session ") {
        event.put_action("session_closed", None);
    } else if let Some(((action, success), rest)) = strip_any(message, &STATES) {
        event.put_action(action, success);
        let (unit, _) = word(rest);
        if is_unit(unit) {
            event.put_text(Field::ServiceName, unit);
        }
    } else if let Some((unit, rest)) = split(message, b": ")
        && is_unit(unit)
    {
        event.put_text(Field::ServiceName, unit);
        if let Some(((action, success), rest)) = strip_any(rest, &RESULTS) {
            event.put_action(action, success);
            if action == "failed" {
                event.put_text(Field::Reason, rest.strip_suffix(b".").unwrap_or(rest));
            }
        }
    }
}

fn is_unit(word: &[u8]) -> bool {
    const KINDS: [&[u8]; 11] =
        [b"service", b"socket", b"device", b"mount", b"automount", b"swap", b"target", b"path", b"timer", b"slice", b"scope"];
    memrchr(b'.', word).is_some_and(|at| at > 0 && word.len() <= 256 && KINDS.contains(&&word[at + 1..]))
}

/// What netfilter's LOG target writes: `[UFW BLOCK] IN=eth0 OUT= SRC=203.0.113.7 DST=192.0.2.1 PROTO=TCP SPT=1 DPT=22`.
pub fn parse_kernel<'a>(message: &'a [u8], event: &mut Event<'a>) {
    let Some(at) = find(message, b"IN=") else { return };
    if !message[at..].windows(6).take(40).any(|part| part.starts_with(b" OUT=")) {
        return;
    }
    // The prefix is the administrator's: the last bracket before the fields, unless that is the time since the start.
    if let Some(prefix) = message[..at].trim_ascii_end().strip_suffix(b"]")
        && let Some(open) = memrchr(b'[', prefix)
        && prefix[open + 1..].iter().any(u8::is_ascii_alphabetic)
    {
        event.put(Field::Action, text(&prefix[open + 1..]));
    }
    for item in message[at..].split(|byte| *byte == b' ') {
        let Some((name, value)) = split(item, b"=") else { continue };
        let ip = |event: &mut Event<'a>, field| {
            if let Some(address) = address(value) {
                event.put(field, address);
            }
        };
        match name {
            b"SRC" => ip(event, Field::SourceIp),
            b"DST" => ip(event, Field::DestinationIp),
            b"SPT" => event.put_number(Field::SourcePort, value),
            b"DPT" => event.put_number(Field::DestinationPort, value),
            b"PROTO" if value.len() <= 16 => {
                event.put(Field::Transport, std::borrow::Cow::Owned(text(value).to_ascii_lowercase()))
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_message;

    #[test]
    fn units_sessions_and_packets() {
        for (program, message, expected) in [
            (
                "systemd",
                "Started cron.service - Regular background program processing daemon.",
                "event.action=started event.outcome=success service.name=cron.service",
            ),
            ("systemd", "Started Regular background program processing daemon.", "event.action=started event.outcome=success"),
            (
                "systemd",
                "Failed to start nginx.service - A web server.",
                "event.action=start event.outcome=failure service.name=nginx.service",
            ),
            (
                "systemd",
                "nginx.service: Failed with result 'exit-code'.",
                "service.name=nginx.service event.action=failed event.outcome=failure event.reason='exit-code'",
            ),
            (
                "systemd",
                "apt-daily.timer: Deactivated successfully.",
                "service.name=apt-daily.timer event.action=deactivated event.outcome=success",
            ),
            (
                "systemd-logind",
                "New session 5 of user alice.",
                "event.action=session_opened event.outcome=success user.name=alice",
            ),
            ("systemd-logind", "Removed session 5.", "event.action=session_closed"),
            ("systemd", ".service: x", ""),
            (
                "kernel",
                "[12345.678901] [UFW BLOCK] IN=eth0 OUT= MAC=00:11 SRC=203.0.113.7 DST=2001:db8::1 LEN=40 PROTO=TCP SPT=50022 DPT=22 SYN",
                "event.action=UFW␣BLOCK source.ip=203.0.113.7 destination.ip=2001:db8::1 network.transport=tcp source.port=50022 destination.port=22",
            ),
            ("kernel", "[12345.678901] IN=eth0 OUT= SRC=203.0.113.7", "source.ip=203.0.113.7"),
            ("kernel", "BEGIN=x", ""),
        ] {
            check_message(program, message, expected);
        }
    }
}
