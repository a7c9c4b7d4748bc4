//! Lines of syslog: the traditional form (RFC 3164), rsyslog's with a time stamp of RFC 3339, and RFC 5424, each with `<PRI>` before it or,
//! the last one excepted, without.
//!
//! Promises: host and program are what stands before the message, where only the daemon writes.
//! Not promised: a program whose name has spaces is told from its message.
#![forbid(unsafe_code)]

use jiff::Timestamp;
use memchr::memchr;

use super::scan::{self, digits, number, text, word};
use super::{Context, Event, Field, Format, Severity, apache, cron, dated, pam, postfix, sshd, sudo, systemd, time};

/// A line in any form of syslog.
pub fn parse<'a>(line: &'a [u8], context: &Context) -> Option<Event<'a>> {
    let (priority, rest) = match priority(line) {
        Some((priority, rest)) => (Some(priority), rest),
        None => (None, line),
    };
    let (mut event, is_pam) = if let (Some(_), Some(rest)) = (priority, rest.strip_prefix(b"1 ")) {
        (parse_5424(rest, context)?, false)
    } else if let Some((time, rest)) = time::traditional(rest, context) {
        parse_traditional(Format::SyslogTraditional, time, rest)
    } else if let Some((time, rest)) = time::iso(rest, context) {
        parse_traditional(Format::SyslogIso, Some(time), rest)
    } else {
        // RFC 3164, 4.3.3: nothing but a message is behind the priority.
        priority?;
        let mut event = Event::new(Format::SyslogTraditional, rest);
        let is_pam = take_tag(&mut event);
        (event, is_pam)
    };
    if let Some(priority) = priority {
        event.severity = Some(Severity::ALL[usize::from(priority % 8)]);
        event.put(Field::SyslogFacility, i64::from(priority / 8));
    }
    parse_message(&mut event, is_pam);
    Some(event)
}

/// With a time stamp of RFC 3339, where another format may begin alike: only if a program is named.
pub fn parse_iso<'a>(time: Timestamp, rest: &'a [u8]) -> Option<Event<'a>> {
    let (mut event, is_pam) = parse_traditional(Format::SyslogIso, Some(time), rest);
    event.program.as_ref()?;
    parse_message(&mut event, is_pam);
    Some(event)
}

/// `<PRI>`: at most 191 (RFC 5424, 6.2.1).
fn priority(line: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = digits(line.strip_prefix(b"<")?);
    let priority = number(digits.get(..digits.len().min(4))?)?;
    Some((u8::try_from(priority).ok().filter(|priority| *priority <= 191)?, rest.strip_prefix(b">")?))
}

/// Host, program and message behind a time; whether PAM wrote it, as its tag says.
fn parse_traditional(format: Format, time: Option<Timestamp>, rest: &[u8]) -> (Event<'_>, bool) {
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let (host, behind) = word(rest);
    let mut event = Event::new(format, behind);
    event.time = time;
    // What a program on this host says to /dev/log names no host.
    if host.ends_with(b":") {
        event.message = rest;
    } else if !host.is_empty() && host != b"-" {
        event.host = Some(text(host));
    }
    let is_pam = take_tag(&mut event);
    (event, is_pam)
}

/// Takes `program[1]: ` from the message. True if it is the tag of a module of PAM.
fn take_tag(event: &mut Event<'_>) -> bool {
    let message = event.message;
    let Some(end) = message.iter().position(|byte| matches!(byte, b' ' | b':' | b'[')) else { return false };
    let (name, mut rest) = message.split_at(end);
    let mut process = None;
    if let Some(inner) = rest.strip_prefix(b"[") {
        let Some(close) = memchr(b']', inner) else { return false };
        process = number(&inner[..close]).and_then(|number| u32::try_from(number).ok());
        rest = &inner[close + 1..];
    }
    let Some(rest) = rest.strip_prefix(b":") else { return false };
    if name.is_empty() {
        return false;
    }
    // Linux-PAM once wrote `sshd(pam_unix)[1]:`.
    let (name, module) = match memchr(b'(', name) {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, &b""[..]),
    };
    event.program = (name != b"-").then(|| text(name));
    event.pid = process;
    event.message = rest.strip_prefix(b" ").unwrap_or(rest);
    module.starts_with(b"(pam_")
}

/// RFC 5424 behind its version.
fn parse_5424<'a>(rest: &'a [u8], context: &Context) -> Option<Event<'a>> {
    let (time, rest) = match rest.strip_prefix(b"- ") {
        Some(rest) => (None, rest),
        None => {
            let (time, rest) = time::iso(rest, context)?;
            (Some(time), rest.strip_prefix(b" ")?)
        }
    };
    let (host, rest) = word(rest);
    let (program, rest) = word(rest);
    let (process, rest) = word(rest);
    let (id, rest) = word(rest);
    let data = structured_data(rest);
    let message = &rest[data..];
    let message = message.strip_prefix(b" ").unwrap_or(message);
    // A byte order mark says that the message is UTF-8.
    let mut event = Event::new(Format::Syslog5424, message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message));
    event.time = time;
    event.host = (!host.is_empty() && host != b"-").then(|| text(host));
    event.program = (!program.is_empty() && program != b"-").then(|| text(program));
    event.pid = number(process).and_then(|number| u32::try_from(number).ok());
    event.put_text(Field::SyslogMessageId, id);
    event.put_text(Field::StructuredData, &rest[..data]);
    Some(event)
}

/// How long the structured data is that something begins with; all of it if they have no end.
fn structured_data(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"-") {
        return 1;
    }
    let (mut at, mut is_quoted, mut is_open) = (0, false, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if is_quoted => at += 1,
            b'"' if is_open => is_quoted = !is_quoted,
            b'[' if !is_open => is_open = true,
            b']' if !is_quoted => is_open = false,
            _ if !is_open => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// What the programs that are known say in their messages.
fn parse_message(event: &mut Event<'_>, is_pam: bool) {
    let message = repeated(event.message);
    // sshd passes on some of what PAM says without its tag.
    let is_pam =
        is_pam || message.starts_with(b"PAM ") && event.program.as_ref().is_some_and(|program| program.starts_with("sshd"));
    if pam::parse(message, is_pam, event) {
        return;
    }
    // The name of the program is the event's own: it is read while fields are put.
    let Some(program) = event.program.clone() else { return };
    match &*program {
        "sshd" | "sshd-session" | "sshd-auth" => sshd::parse(message, event),
        "sudo" => sudo::parse(message, event),
        "su" => sudo::parse_su(message, event),
        "cron" | "crond" | "crontab" | "CRON" | "anacron" => cron::parse(message, event),
        "systemd" | "systemd-logind" => systemd::parse(message, event),
        "kernel" => systemd::parse_kernel(message, event),
        "apache2" | "httpd" | "apache" | "nginx" => {
            if let Some(access) = apache::parse_access(message) {
                // The time is that of the request, not of the daemon that passed it on.
                event.time = access.time.or(event.time);
                access.fields.into_entries().for_each(|(field, value)| event.put(field, value));
            }
        }
        program if program.starts_with("postfix") => postfix::parse(message, event),
        program if program.starts_with("fail2ban") => dated::parse_fail2ban(message, event),
        _ => {}
    }
}

/// The message inside `message repeated 2 times: [ … ]`, as rsyslog writes it.
fn repeated(message: &[u8]) -> &[u8] {
    let inner = || {
        let (count, rest) = digits(message.strip_prefix(b"message repeated ")?);
        let inner = rest.strip_prefix(b" times: [")?.strip_suffix(b"]")?;
        (!count.is_empty()).then(|| inner.strip_prefix(b" ").unwrap_or(inner))
    };
    inner().unwrap_or(message)
}

/// Takes the word for the gravity from a message that may begin with one.
pub fn take_severity<'a>(message: &'a [u8], event: &mut Event<'_>) -> &'a [u8] {
    match scan::severity_prefix(message) {
        Some((severity, rest)) => {
            event.severity = event.severity.or(Some(severity));
            rest
        }
        None => message,
    }
}
