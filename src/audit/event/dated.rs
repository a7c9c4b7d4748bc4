//! Lines that begin with a digit: a date and a time, or the address of an Apache client.
//!
//! Promises: whatever is behind a date and a time, the time is taken, and the word for the gravity where it comes next.
//! Not promised: fields of programs that are not named here.
#![forbid(unsafe_code)]

use super::scan::{address, number, text, word};
use super::{Context, Event, Field, Format, Severity, dpkg, syslog, time};

/// A line with its date first; nothing for any other.
pub fn parse<'a>(line: &'a [u8], context: &Context) -> Option<Event<'a>> {
    let (time, rest) = time::iso(line, context)?;
    let rest = match rest {
        [] => rest,
        [b' ', rest @ ..] => rest,
        _ => return None,
    };
    let (first, behind) = word(rest);
    let severity = Severity::from_bytes(first.trim_ascii().strip_suffix(b":").unwrap_or(first));
    let is_spaced = line.get(10) == Some(&b' ');
    if severity.is_none()
        && !is_spaced
        && let Some(event) = syslog::parse_iso(time, rest)
    {
        return Some(event);
    }
    if is_spaced && let Some(mut event) = dpkg::parse_log(rest) {
        event.time = Some(time);
        return Some(event);
    }
    let mut event = Event::new(Format::Dated, rest);
    event.time = Some(time);
    if let (Some(name), true) = (first.strip_prefix(b"fail2ban."), is_spaced) {
        event.format = Format::Fail2ban;
        event.program = (!name.is_empty()).then(|| text(first));
        let behind = behind.trim_ascii_start();
        if let Some(inner) = behind.strip_prefix(b"[")
            && let Some(close) = inner.iter().take(20).position(|byte| *byte == b']')
        {
            event.pid = number(&inner[..close]).and_then(|number| u32::try_from(number).ok());
            event.message = inner[close + 1..].strip_prefix(b":").unwrap_or(&inner[close + 1..]).trim_ascii_start();
        }
        parse_fail2ban(event.message, &mut event);
    } else {
        let bare = first.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
        event.severity = severity.or_else(|| Severity::from_bytes(bare?));
    }
    Some(event)
}

/// fail2ban's `NOTICE  [sshd] Ban 203.0.113.7`.
pub fn parse_fail2ban<'a>(message: &'a [u8], event: &mut Event<'a>) {
    let (level, rest) = word(message);
    let Some(severity) = Severity::from_bytes(level) else { return };
    event.severity = event.severity.or(Some(severity));
    let rest = rest.trim_ascii_start();
    let Some(inner) = rest.strip_prefix(b"[") else { return };
    let Some(close) = memchr::memchr(b']', inner) else { return };
    event.put_text(Field::RuleName, &inner[..close]);
    let (action, rest) = word(inner[close + 1..].trim_ascii_start());
    let action = match (action, word(rest)) {
        (b"Restore", (b"Ban", _)) => "restore_ban",
        (b"Increase", (b"Ban", _)) => "increase_ban",
        (b"Ban", _) => "ban",
        (b"Unban", _) => "unban",
        (b"Found", _) => "found",
        (b"Ignore", _) => "ignore",
        _ => return,
    };
    event.put_action(action, None);
    let subject = rest.strip_prefix(b"Ban ").unwrap_or(rest);
    if let Some(address) = address(word(subject).0) {
        event.put(Field::SourceIp, address);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn dates_before_anything() {
        check(
            Format::Fail2ban,
            "2026-01-31 12:00:00,123 fail2ban.actions        [812]: NOTICE  [sshd] Ban 203.0.113.7",
            "@timestamp=2026-01-31T12:00:00.123Z process.name=fail2ban.actions process.pid=812 log.level=notice event.dataset=fail2ban.log \
             rule.name=sshd event.action=ban source.ip=203.0.113.7",
        );
        check(
            Format::Fail2ban,
            "2026-01-31 12:00:00,123 fail2ban.filter         [812]: INFO    [apache-auth] Found 2001:db8::7 - 2026-01-31 12:00:00",
            "@timestamp=2026-01-31T12:00:00.123Z process.name=fail2ban.filter process.pid=812 log.level=info event.dataset=fail2ban.log \
             rule.name=apache-auth event.action=found source.ip=2001:db8::7",
        );
        check(
            Format::Fail2ban,
            "2026-01-31 12:00:00,123 fail2ban.actions [812]: NOTICE  [sshd] Restore Ban 203.0.113.7",
            "@timestamp=2026-01-31T12:00:00.123Z process.name=fail2ban.actions process.pid=812 log.level=notice event.dataset=fail2ban.log \
             rule.name=sshd event.action=restore_ban source.ip=203.0.113.7",
        );
        for (line, level) in [
            ("2026-01-31 12:00:00,123 INFO Starting unattended upgrades script", " log.level=info"),
            ("2026-01-31T12:00:00.123Z ERROR module: text", " log.level=err"),
            ("2026-01-31T12:00:00.123Z 0 [System] [MY-010116] [Server] starting", ""),
            ("2026-01-31 12:00:00.123 UTC [7] LOG:  text", ""),
            ("2026-01-31 12:00:00.123 [warn] text", " log.level=warning"),
            ("2026-01-31 12:00:00.123", ""),
        ] {
            check(Format::Dated, line, &format!("@timestamp=2026-01-31T12:00:00.123Z{level} event.dataset=dated"));
        }
        check(Format::Unknown, "2026-01-31 12:00:00x", "event.dataset=unknown");
        check(Format::Unknown, "2026-01-31 12:0", "event.dataset=unknown");
        check(Format::Unknown, "20", "event.dataset=unknown");
    }
}
