//! Messages of OpenSSH's server, 7 to 10.
//!
//! Promises: whoever tries to log in chooses the user's name, spaces included, but not what is read as his address: that is taken from
//! behind the name, where sshd writes it.
//! Not promised: names in lines that sshd wrote for debugging.
#![forbid(unsafe_code)]

use super::scan::{address, digits, last_word, split, split_last, strip_any, word};
use super::{Event, Field, syslog};

pub fn parse<'a>(message: &'a [u8], event: &mut Event<'a>) {
    let message = message.strip_suffix(b" [preauth]").unwrap_or(message);
    let message = syslog::take_severity(message, event);
    if let Some(rest) = message.strip_prefix(b"Accepted ") {
        // The name of a user that exists has no spaces; the name in a certificate, behind, may.
        login(rest, event, true, split);
    } else if let Some(rest) = message.strip_prefix(b"Failed ") {
        login(rest, event, false, split_last);
    } else if let Some((_, rest)) =
        strip_any(message, &[("Invalid user ", ()), ("Illegal user ", ()), ("input_userauth_request: invalid user ", ())])
    {
        event.put_action("ssh_invalid_user", Some(false));
        named_peer(rest, event, split_last);
    } else if let Some(rest) = message.strip_prefix(b"maximum authentication attempts exceeded for ") {
        event.put_action("ssh_login", Some(false));
        event.put_text(Field::Reason, &message[..message.len() - rest.len() - b" for ".len()]);
        named_peer(rest.strip_prefix(b"invalid user ").unwrap_or(rest), event, split_last);
    } else if let Some(rest) = message.strip_prefix(b"Received disconnect from ") {
        event.put_action("ssh_disconnect", None);
        peer(rest, event);
    } else if let Some((action, rest)) = strip_any(message, &ENDS) {
        event.put_action(action, None);
        end(rest, event);
    } else if let Some((action, rest)) = strip_any(message, &BEGINNINGS) {
        event.put_action(action, None);
        peer(rest, event);
    } else if let Some(rest) = message.strip_prefix(b"User ")
        && let Some((who, reason)) = split_last(rest, b" not allowed because ")
    {
        event.put_action("ssh_login", Some(false));
        named_peer(who, event, split_last);
        event.put_text(Field::Reason, reason);
    } else if let Some(rest) = message.strip_prefix(b"Starting session: ") {
        event.put_action("ssh_session", Some(true));
        if let Some((_, who)) = split(rest, b" for ") {
            named_peer(who, event, split);
        }
    } else if let Some(rest) = message.strip_prefix(b"Bad protocol version identification ")
        && let Some((_, from)) = split_last(rest, b" from ")
    {
        event.put_action("ssh_bad_protocol", Some(false));
        peer(from, event);
    } else if let Some((_, rest)) = strip_any(message, &[("reverse mapping checking getaddrinfo for ", ()), ("Address ", ())]) {
        // `NAME [ADDRESS] failed`, `ADDRESS maps to NAME, but`.
        let first =
            split(rest, b" [").and_then(|(_, rest)| split(rest, b"]")).map_or_else(|| word(rest).0, |(address, _)| address);
        if let Some(address) = address(first) {
            event.put_action("ssh_reverse_mapping", Some(false));
            event.put(Field::SourceIp, address);
        }
    } else if let Some(rest) = message.strip_prefix(b"Server listening on ") {
        event.put_action("ssh_listen", None);
        let (at, rest) = word(rest);
        if let Some(at) = address(at) {
            event.put(Field::DestinationIp, at);
        }
        event.put_number(Field::DestinationPort, digits(rest.strip_prefix(b"port ").unwrap_or(rest)).0);
    }
}

/// What ends a connection; a user's name may stand before the address.
const ENDS: [(&str, &str); 6] = [
    ("Connection closed by ", "ssh_connection_closed"),
    ("Connection reset by ", "ssh_connection_reset"),
    ("Disconnected from ", "ssh_disconnect"),
    ("Disconnecting ", "ssh_disconnect"),
    ("Timeout before authentication for ", "ssh_timeout"),
    ("Close session: user ", "ssh_session_closed"),
];

/// What has the address first.
const BEGINNINGS: [(&str, &str); 4] = [
    ("Connection from ", "ssh_connection"),
    ("Did not receive identification string from ", "ssh_no_identification"),
    ("Unable to negotiate with ", "ssh_no_negotiation"),
    ("banner exchange: Connection from ", "ssh_bad_protocol"),
];

type Split = for<'a> fn(&'a [u8], &[u8]) -> Option<(&'a [u8], &'a [u8])>;

/// `password for invalid user bob from 203.0.113.7 port 50022 ssh2: KEY`
fn login<'a>(rest: &'a [u8], event: &mut Event<'a>, success: bool, split_at: Split) {
    let (method, rest) = word(rest);
    let Some(rest) = rest.strip_prefix(b"for ") else { return };
    event.put_action("ssh_login", Some(success));
    event.put_text(Field::SshMethod, method);
    let rest = rest.strip_prefix(b"invalid user ").or_else(|| rest.strip_prefix(b"illegal user ")).unwrap_or(rest);
    let behind = named_peer(rest, event, split_at);
    if let Some((_, key)) = split(behind, b"ssh2: ") {
        event.put_text(Field::SshKey, key);
    }
}

/// `bob from 203.0.113.7 port 50022`, and what is behind that.
fn named_peer<'a>(bytes: &'a [u8], event: &mut Event<'a>, split_at: Split) -> &'a [u8] {
    // Without a name two spaces are left, one of which is cut off with the words before.
    let (user, from) = match bytes.strip_prefix(b"from ") {
        Some(from) if split_at(from, b" from ").is_none() => (&b""[..], from),
        _ => match split_at(bytes, b" from ") {
            Some(parts) => parts,
            None => (bytes, &b""[..]),
        },
    };
    event.put_text(Field::UserName, user);
    peer(from, event)
}

/// `203.0.113.7 port 50022`, and what is behind that. Older servers wrote no port.
fn peer<'a>(bytes: &'a [u8], event: &mut Event<'a>) -> &'a [u8] {
    let (host, rest) = word(bytes);
    let host = host.strip_suffix(b":").or_else(|| host.strip_suffix(b",")).unwrap_or(host);
    event.put_source(host);
    let Some(port) = rest.strip_prefix(b"port ") else { return rest };
    let (port, rest) = digits(port);
    event.put_number(Field::SourcePort, port);
    rest
}

/// `invalid user bob 203.0.113.7 port 50022: why`: from behind, as the name may hold anything.
fn end<'a>(bytes: &'a [u8], event: &mut Event<'a>) {
    let named = strip_any(bytes, &[("authenticating user ", ()), ("invalid user ", ()), ("user ", ())]);
    let Some((before, behind)) = split_last(bytes, b" port ") else {
        peer(bytes, event);
        return;
    };
    let (port, behind) = digits(behind);
    let (_, host) = last_word(before);
    if let Some((_, rest)) = named {
        let end = before.len() - host.len();
        let start = bytes.len() - rest.len();
        event.put_text(Field::UserName, bytes.get(start..end.saturating_sub(1)).unwrap_or(b""));
    }
    event.put_source(host);
    event.put_number(Field::SourcePort, port);
    if let Some(reason) = behind.strip_prefix(b": ") {
        event.put_text(Field::Reason, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_message;

    #[test]
    fn messages_of_sshd() {
        let peer = "source.ip=203.0.113.7 source.port=50022";
        for (message, expected) in [
            (
                "Accepted publickey for alice from 203.0.113.7 port 50022 ssh2: ED25519 SHA256:abc",
                "event.action=ssh_login event.outcome=success sealedlog.ssh.method=publickey user.name=alice PEER sealedlog.ssh.key=ED25519␣SHA256:abc",
            ),
            (
                "Accepted publickey for alice from 203.0.113.7 port 50022 ssh2: ED25519-CERT SHA256:abc ID x from 192.0.2.9 port 1 (serial 0)",
                "event.action=ssh_login event.outcome=success sealedlog.ssh.method=publickey user.name=alice PEER \
                 sealedlog.ssh.key=ED25519-CERT␣SHA256:abc␣ID␣x␣from␣192.0.2.9␣port␣1␣(serial␣0)",
            ),
            (
                "Failed password for root from 2001:db8::7 port 50022 ssh2",
                "event.action=ssh_login event.outcome=failure sealedlog.ssh.method=password user.name=root source.ip=2001:db8::7 source.port=50022",
            ),
            (
                "message repeated 2 times: [ Failed password for root from 203.0.113.7 port 50022 ssh2]",
                "event.action=ssh_login event.outcome=failure sealedlog.ssh.method=password user.name=root PEER",
            ),
            (
                "Failed password for invalid user x from 192.0.2.1 port 22 ssh2 from 203.0.113.7 port 50022 ssh2",
                "event.action=ssh_login event.outcome=failure sealedlog.ssh.method=password user.name=x␣from␣192.0.2.1␣port␣22␣ssh2 PEER",
            ),
            (
                "Invalid user bob from 203.0.113.7 port 50022",
                "event.action=ssh_invalid_user event.outcome=failure user.name=bob PEER",
            ),
            ("Invalid user  from 203.0.113.7 port 50022", "event.action=ssh_invalid_user event.outcome=failure PEER"),
            (
                "Invalid user bob from 203.0.113.7",
                "event.action=ssh_invalid_user event.outcome=failure user.name=bob source.ip=203.0.113.7",
            ),
            ("Connection closed by 203.0.113.7 port 50022 [preauth]", "event.action=ssh_connection_closed PEER"),
            ("Connection closed by 203.0.113.7", "event.action=ssh_connection_closed source.ip=203.0.113.7"),
            (
                "Connection closed by invalid user a 192.0.2.1 port 1 b 203.0.113.7 port 50022 [preauth]",
                "event.action=ssh_connection_closed user.name=a␣192.0.2.1␣port␣1␣b PEER",
            ),
            ("Connection closed by invalid user  203.0.113.7 port 50022 [preauth]", "event.action=ssh_connection_closed PEER"),
            ("Disconnected from user alice 203.0.113.7 port 50022", "event.action=ssh_disconnect user.name=alice PEER"),
            ("Received disconnect from 203.0.113.7 port 50022:11: Bye from 192.0.2.1 port 1", "event.action=ssh_disconnect PEER"),
            ("Received disconnect from 203.0.113.7: 11: Bye Bye [preauth]", "event.action=ssh_disconnect source.ip=203.0.113.7"),
            (
                "Disconnecting authenticating user root 203.0.113.7 port 50022: Too many authentication failures [preauth]",
                "event.action=ssh_disconnect user.name=root PEER event.reason=Too␣many␣authentication␣failures",
            ),
            (
                "error: maximum authentication attempts exceeded for invalid user bob from 203.0.113.7 port 50022 ssh2 [preauth]",
                "log.level=err event.action=ssh_login event.outcome=failure event.reason=maximum␣authentication␣attempts␣exceeded user.name=bob PEER",
            ),
            (
                "Unable to negotiate with 203.0.113.7 port 50022: no matching cipher found.",
                "event.action=ssh_no_negotiation PEER",
            ),
            (
                "Did not receive identification string from 203.0.113.7",
                "event.action=ssh_no_identification source.ip=203.0.113.7",
            ),
            (
                "User bob from 203.0.113.7 not allowed because not listed in AllowUsers",
                "event.action=ssh_login event.outcome=failure user.name=bob source.ip=203.0.113.7 event.reason=not␣listed␣in␣AllowUsers",
            ),
            (
                "reverse mapping checking getaddrinfo for h.example [203.0.113.7] failed - POSSIBLE BREAK-IN ATTEMPT!",
                "event.action=ssh_reverse_mapping event.outcome=failure source.ip=203.0.113.7",
            ),
            ("Server listening on :: port 22.", "event.action=ssh_listen destination.ip=:: destination.port=22"),
            (
                "Bad protocol version identification 'GET / from 1' from 203.0.113.7 port 50022",
                "event.action=ssh_bad_protocol event.outcome=failure PEER",
            ),
            ("Failed password for", ""),
            ("Failed password for ", "event.action=ssh_login event.outcome=failure sealedlog.ssh.method=password"),
            ("something else", ""),
        ] {
            check_message("sshd", message, &expected.replace("PEER", peer));
        }
        check_message(
            "sshd-session",
            "Connection closed by 203.0.113.7 port 50022",
            &format!("event.action=ssh_connection_closed {peer}"),
        );
    }
}
