//! Messages of Postfix's daemons.
//!
//! Promises: a recipient or sender with commas, brackets or quotes in it is one value; a server's answer is read for no fields.
//! Not promised: lines of policy services and milters that log in Postfix's name.
#![forbid(unsafe_code)]

use memchr::memchr;

use super::scan::{address, address_and_port, digits, find, number, split, split_last, strip_any, text, word};
use super::{Event, Field, syslog};

pub fn parse<'a>(message: &'a [u8], event: &mut Event<'a>) {
    let message = syslog::take_severity(message, event);
    if let Some((id, rest)) = split(&message[..message.len().min(32)], b": ").map(|(id, _)| (id, &message[id.len() + 2..]))
        && is_queue_id(id)
    {
        event.put_text(Field::PostfixQueueId, id);
        queued(rest, event);
    } else if let Some((action, rest)) = strip_any(message, &CONNECTIONS) {
        event.put_action(action, None);
        let (peer, _) = word(rest);
        // postscreen also says where to.
        let has_port = action.starts_with("postscreen");
        put_peer(peer, has_port, [Field::SourceDomain, Field::SourceIp, Field::SourcePort], event);
    } else if let Some((action, rest)) = strip_any(
        message,
        &[
            ("lost connection after ", "lost_connection"),
            ("timeout after ", "timeout"),
            ("too many errors after ", "too_many_errors"),
            ("improper command pipelining after ", "pipelining"),
        ],
    ) && let Some((_, peer)) = split(rest, b" from ")
    {
        event.put_action(action, Some(false));
        put_source(word(peer).0, event);
    } else if let Some((peer, reason)) = split(message, b": SASL ")
        && memchr(b' ', peer).is_none()
    {
        event.put_action("sasl_authentication", Some(false));
        put_source(peer, event);
        event.put_text(Field::PostfixSaslMethod, word(reason).0);
        if let Some((_, user)) = split_last(reason, b", sasl_username=") {
            event.put_text(Field::UserName, user);
        }
    } else if let Some(rest) = message.strip_prefix(b"connect to ") {
        event.put_action("connect_to", Some(false));
        let (peer, reason) = split(rest, b": ").unwrap_or((rest, b""));
        put_destination(peer, event);
        event.put_text(Field::Reason, reason);
    } else if let Some((_, rest)) = split(&message[..message.len().min(400)], b"TLS connection established ")
        .map(|(head, _)| (head, &message[head.len() + 27..]))
    {
        event.put_action("tls", Some(true));
        let peer = |rest| split(rest, b": ").map_or(rest, |(peer, _)| peer);
        if let Some(rest) = rest.strip_prefix(b"to ") {
            put_destination(peer(rest), event);
        } else if let Some(rest) = rest.strip_prefix(b"from ") {
            put_source(peer(rest), event);
        }
    }
}

const CONNECTIONS: [(&str, &str); 9] = [
    ("connect from ", "connect"),
    ("disconnect from ", "disconnect"),
    ("CONNECT from ", "postscreen_connect"),
    ("DISCONNECT ", "postscreen_disconnect"),
    ("PASS NEW ", "postscreen_pass"),
    ("PASS OLD ", "postscreen_pass"),
    ("WHITELISTED ", "postscreen_pass"),
    ("ALLOWLISTED ", "postscreen_pass"),
    ("HANGUP ", "postscreen_hangup"),
];

/// Short names are a time and an inode in hexadecimal digits, long ones have no vowels (postconf(5), enable_long_queue_ids): so
/// neither is a word.
fn is_queue_id(id: &[u8]) -> bool {
    let is_short = || id.len() >= 6 && id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    let is_long = || {
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() && !b"AEIOUaeiou".contains(byte);
        id.len() >= 10 && id.iter().all(is_digit) && memchr(b'z', id).is_some()
    };
    id == b"NOQUEUE" || is_short() || is_long()
}

/// What is said about a message behind its name in the queue.
fn queued<'a>(rest: &'a [u8], event: &mut Event<'a>) {
    if rest == b"removed" {
        event.put_action("removed", None);
        return;
    }
    if let Some((action, rest)) = strip_any(rest, &VERDICTS) {
        verdict(action, rest, event);
        return;
    }
    // pickup: `uid=1000 from=<alice>`.
    if let Some(behind) = rest.strip_prefix(b"uid=") {
        let (id, behind) = digits(behind);
        event.put_text(Field::UserId, id);
        event.put_action("pickup", None);
        values(behind.strip_prefix(b" ").unwrap_or(behind), b", ", event);
        return;
    }
    values(rest, b", ", event);
}

const VERDICTS: [(&str, &str); 7] = [
    ("reject: ", "reject"),
    ("milter-reject: ", "reject"),
    ("hold: ", "hold"),
    ("milter-hold: ", "hold"),
    ("discard: ", "discard"),
    ("filter: ", "filter"),
    ("warn: ", "warn"),
];

/// `RCPT from host[203.0.113.7]: 554 5.7.1 <x@example.net>: Relay access denied; from=<a> to=<b> proto=ESMTP helo=<h>`
fn verdict<'a>(action: &'static str, rest: &'a [u8], event: &mut Event<'a>) {
    event.put_action(action, (action == "reject").then_some(false));
    let Some((_, rest)) = split(rest, b" from ") else { return };
    let (peer, rest) = split(rest, b": ").unwrap_or((rest, b""));
    put_peer(peer, memchr(b' ', peer).is_none(), [Field::SourceDomain, Field::SourceIp, Field::SourcePort], event);
    // The reason has what the client asked for: the values are behind its end.
    let (reason, rest) = split_last(rest, b"; from=").map_or((rest, &b""[..]), |(reason, _)| (reason, &rest[reason.len() + 2..]));
    event.put_text(Field::Reason, reason);
    values(rest, b" ", event);
}

/// `to=<bob@example.net>, relay=mx.example.net[192.0.2.1]:25, delay=0.5, status=sent (250 2.0.0 Ok)`
fn values<'a>(mut rest: &'a [u8], separator: &[u8], event: &mut Event<'a>) {
    let mut honours_quotes = true;
    while let Some(equals) = memchr(b'=', &rest[..rest.len().min(64)]) {
        let (name, behind) = (&rest[..equals], &rest[equals + 1..]);
        if name == b"status" {
            status(behind, event);
            return;
        }
        let value = if behind.starts_with(b"<") {
            let end = bracket_end(behind, &mut honours_quotes).unwrap_or(behind.len());
            &behind[..end]
        } else {
            &behind[..find(behind, separator).unwrap_or(behind.len())]
        };
        value_of(name, value, event);
        rest = behind[value.len()..].strip_prefix(separator).unwrap_or(b"");
    }
}

/// How long a value in angle brackets is. A quoted local part (RFC 5321, 4.1.2) may hold brackets.
fn bracket_end(value: &[u8], honours_quotes: &mut bool) -> Option<usize> {
    if *honours_quotes {
        let (mut is_quoted, mut at) = (false, 1);
        while let Some(byte) = value.get(at) {
            match byte {
                b'\\' if is_quoted => at += 1,
                b'"' => is_quoted = !is_quoted,
                b'>' if !is_quoted => return Some(at + 1),
                _ => {}
            }
            at += 1;
        }
        // A quote has no end. To look for it behind each further one would take too long.
        *honours_quotes = false;
    }
    memchr(b'>', value).map(|at| at + 1)
}

fn value_of<'a>(name: &[u8], value: &'a [u8], event: &mut Event<'a>) {
    let inner = value.strip_prefix(b"<").map(|rest| rest.strip_suffix(b">").unwrap_or(rest)).unwrap_or(value);
    match name {
        // An empty sender is a bounce's.
        b"from" => event.put(Field::EmailFrom, text(inner)),
        b"to" => event.put_text(Field::EmailTo, inner),
        b"orig_to" => event.put_text(Field::PostfixOriginalTo, inner),
        b"message-id" => {
            event.put_text(Field::EmailMessageId, inner);
            event.put_action("message_id", None);
        }
        b"client" => put_source(value, event),
        b"relay" => {
            event.put_text(Field::PostfixRelay, value);
            if value.ends_with(b"]") || find(value, b"]:").is_some() {
                put_destination(value, event);
            }
        }
        b"delay" => {
            if let Some(duration) = nanoseconds(value) {
                event.put(Field::Duration, duration);
            }
        }
        b"delays" => event.put_text(Field::PostfixDelays, value),
        b"dsn" => event.put_text(Field::PostfixDsn, value),
        b"size" => event.put_number(Field::PostfixSize, value),
        // `2 (queue active)`
        b"nrcpt" => {
            event.put_action("queue", None);
            event.put_number(Field::PostfixRecipients, digits(value).0);
        }
        b"proto" => event.put_text(Field::PostfixProtocol, value),
        b"helo" => event.put_text(Field::PostfixHelo, inner),
        b"sasl_method" => event.put_text(Field::PostfixSaslMethod, value),
        b"sasl_username" => event.put_text(Field::UserName, value),
        _ => {}
    }
}

/// `sent (250 2.0.0 Ok)`
fn status<'a>(value: &'a [u8], event: &mut Event<'a>) {
    let (status, response) = word(value);
    let status = status.strip_suffix(b",").unwrap_or(status);
    event.put_text(Field::PostfixStatus, status);
    let success = match status {
        b"sent" | b"deliverable" => Some(true),
        b"deferred" | b"bounced" | b"expired" | b"undeliverable" | b"softbounce" => Some(false),
        _ => None,
    };
    event.put_action("delivery", success);
    if let Some(response) = response.strip_prefix(b"(") {
        event.put_text(Field::PostfixResponse, response.strip_suffix(b")").unwrap_or(response));
    }
}

/// Seconds with a fraction, to nanoseconds.
fn nanoseconds(seconds: &[u8]) -> Option<i64> {
    let (whole, fraction) = digits(seconds);
    let fraction = match fraction {
        [] => 0,
        [b'.', fraction @ ..] if fraction.len() <= 9 => {
            number(fraction)?.checked_mul(10_i64.pow(9 - u32::try_from(fraction.len()).ok()?))?
        }
        _ => return None,
    };
    number(whole)?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

fn put_source<'a>(peer: &'a [u8], event: &mut Event<'a>) {
    put_peer(peer, false, [Field::SourceDomain, Field::SourceIp, Field::SourcePort], event);
}

fn put_destination<'a>(peer: &'a [u8], event: &mut Event<'a>) {
    put_peer(peer, true, [Field::DestinationDomain, Field::DestinationIp, Field::DestinationPort], event);
}

/// `host[203.0.113.7]:25`: the host, its address, and a port or not.
fn put_peer<'a>(peer: &'a [u8], has_port: bool, [domain, ip, port]: [Field; 3], event: &mut Event<'a>) {
    let Some((name, bracket)) = memchr(b'[', peer).map(|at| peer.split_at(at)) else { return };
    if name != b"unknown" {
        event.put_text(domain, name);
    }
    let with_port = address_and_port(bracket).filter(|_| has_port || find(bracket, b"]:").is_some());
    match with_port {
        Some((address, number)) => {
            event.put(ip, address);
            event.put(port, number);
        }
        None => {
            let end = memchr(b']', bracket).map_or(bracket.len(), |at| at + 1);
            if let Some(address) = address(&bracket[..end]) {
                event.put(ip, address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_message;

    #[test]
    fn messages_of_the_daemons() {
        for (program, message, expected) in [
            (
                "postfix/smtpd",
                "connect from mail.example.org[203.0.113.7]",
                "event.action=connect source.domain=mail.example.org source.ip=203.0.113.7",
            ),
            (
                "postfix/smtpd",
                "disconnect from unknown[2001:db8::7] ehlo=1 quit=1 commands=2",
                "event.action=disconnect source.ip=2001:db8::7",
            ),
            (
                "postfix/submission/smtpd",
                "4XYzbC1k2fz9Kd: client=h.example[203.0.113.7]:50022, sasl_method=PLAIN, sasl_username=alice@example.org",
                "postfix.queue_id=4XYzbC1k2fz9Kd source.domain=h.example source.ip=203.0.113.7 source.port=50022 postfix.sasl_method=PLAIN \
                 user.name=alice@example.org",
            ),
            (
                "postfix/cleanup",
                "3F2A1B40C7: message-id=<a.b@example.org>",
                "postfix.queue_id=3F2A1B40C7 email.message_id=a.b@example.org event.action=message_id",
            ),
            (
                "postfix/pickup",
                "3F2A1B40C7: uid=1000 from=<alice>",
                "postfix.queue_id=3F2A1B40C7 user.id=1000 event.action=pickup email.from.address=alice",
            ),
            (
                "postfix/qmgr",
                "3F2A1B40C7: from=<>, size=2318, nrcpt=2 (queue active)",
                "postfix.queue_id=3F2A1B40C7 email.from.address= postfix.size=2318 event.action=queue postfix.nrcpt=2",
            ),
            ("postfix/qmgr", "3F2A1B40C7: removed", "postfix.queue_id=3F2A1B40C7 event.action=removed"),
            (
                "postfix/smtp",
                "3F2A1B40C7: to=<bob@example.net>, orig_to=<b>, relay=mx.example.net[2001:db8::25]:25, delay=0.52, delays=0.1/0/0.2/0.22, dsn=2.0.0, \
                 status=sent (250 2.0.0 Ok: queued as 12, to=<x>)",
                "postfix.queue_id=3F2A1B40C7 email.to.address=bob@example.net postfix.orig_to=b postfix.relay=mx.example.net[2001:db8::25]:25 \
                 destination.domain=mx.example.net destination.ip=2001:db8::25 destination.port=25 event.duration=520000000 \
                 postfix.delays=0.1/0/0.2/0.22 postfix.dsn=2.0.0 postfix.status=sent event.action=delivery event.outcome=success \
                 postfix.response=250␣2.0.0␣Ok:␣queued␣as␣12,␣to=<x>",
            ),
            (
                "postfix/local",
                "3F2A1B40C7: to=<\"a>, to=<b\"@example.net>, relay=local, delay=12, dsn=5.1.1, status=bounced (unknown user: \"a\")",
                "postfix.queue_id=3F2A1B40C7 email.to.address=\"a>,␣to=<b\"@example.net postfix.relay=local event.duration=12000000000 \
                 postfix.dsn=5.1.1 postfix.status=bounced event.action=delivery event.outcome=failure postfix.response=unknown␣user:␣\"a\"",
            ),
            (
                "postfix/smtpd",
                "NOQUEUE: reject: RCPT from unknown[203.0.113.7]: 554 5.7.1 <x@example.net>: Relay access denied; from=<a@b.example> to=<x@example.net> \
                 proto=ESMTP helo=<[192.0.2.1]>",
                "postfix.queue_id=NOQUEUE event.action=reject event.outcome=failure source.ip=203.0.113.7 \
                 event.reason=554␣5.7.1␣<x@example.net>:␣Relay␣access␣denied email.from.address=a@b.example email.to.address=x@example.net \
                 postfix.proto=ESMTP postfix.helo=[192.0.2.1]",
            ),
            (
                "postfix/smtpd",
                "warning: h.example[203.0.113.7]: SASL LOGIN authentication failed: UGFzc3dvcmQ6, sasl_username=alice",
                "log.level=warning event.action=sasl_authentication event.outcome=failure source.domain=h.example source.ip=203.0.113.7 \
                 postfix.sasl_method=LOGIN user.name=alice",
            ),
            (
                "postfix/smtpd",
                "lost connection after AUTH from unknown[203.0.113.7]",
                "event.action=lost_connection event.outcome=failure source.ip=203.0.113.7",
            ),
            (
                "postfix/smtp",
                "connect to mx.example.net[192.0.2.1]:25: Connection refused",
                "event.action=connect_to event.outcome=failure destination.domain=mx.example.net destination.ip=192.0.2.1 destination.port=25 \
                 event.reason=Connection␣refused",
            ),
            (
                "postfix/smtp",
                "Untrusted TLS connection established to mx.example.net[192.0.2.1]:25: TLSv1.3 with cipher X",
                "event.action=tls event.outcome=success destination.domain=mx.example.net destination.ip=192.0.2.1 destination.port=25",
            ),
            (
                "postfix/postscreen",
                "CONNECT from [203.0.113.7]:50022 to [192.0.2.1]:25",
                "event.action=postscreen_connect source.ip=203.0.113.7 source.port=50022",
            ),
            ("postfix/master", "warning: process killed by signal 9", "log.level=warning"),
            ("postfix/smtpd", "statistics: max connection rate 1/60s", ""),
            ("postfix/qmgr", "3F2A1B40C7: from=<alice", "postfix.queue_id=3F2A1B40C7 email.from.address=alice"),
            ("postfix/qmgr", "3F2A1B40C7: ", "postfix.queue_id=3F2A1B40C7"),
            ("postfix/qmgr", "3F2A1B4", ""),
        ] {
            check_message(program, message, expected);
        }
    }
}
