//! What PAM's modules write in the name of the program that uses them.
//!
//! Promises: a user's name is what stands between PAM's own words, to the end of the line where nothing of PAM's comes behind it.
#![forbid(unsafe_code)]

use super::scan::{digits, split, split_last, text};
use super::{Event, Field};

/// Whether it is a message of PAM; if so its fields are put. What has no tag of PAM at its beginning is only one if the caller says so:
/// other programs may write an outsider's words there.
pub fn parse<'a>(message: &'a [u8], is_pam: bool, event: &mut Event<'a>) -> bool {
    let rest = match message.strip_prefix(b"pam_").and_then(|rest| split(rest, b"): ")) {
        Some((module, rest)) => {
            if let Some((_, service)) = split(module, b"(") {
                event.put_text(Field::ServiceName, split(service, b":").map_or(service, |(service, _)| service));
            }
            rest
        }
        None if is_pam => message,
        None => return false,
    };
    if let Some(session) = rest.strip_prefix(b"session opened for user ") {
        event.put_action("session_opened", Some(true));
        let (user, by) = split_last(session, b" by ").unwrap_or((session, b""));
        let ((user, user_id), (by, by_id)) = (name_and_id(user), name_and_id(by));
        if by.is_empty() {
            event.put_text(Field::UserName, user);
            event.put_text(Field::UserId, user_id);
        } else {
            event.put_text(Field::UserName, by);
            event.put_text(Field::UserId, by_id);
            event.put_text(Field::EffectiveUserName, user);
        }
    } else if let Some(user) = rest.strip_prefix(b"session closed for user ") {
        event.put_action("session_closed", None);
        event.put_text(Field::UserName, user);
    } else if let Some(values) = rest.strip_prefix(b"authentication failure; ").or_else(|| more_failures(rest)) {
        event.put_action("authentication", Some(false));
        authentication(values, event);
    } else if rest == b"check pass; user unknown" {
        event.put_action("authentication", Some(false));
        event.put(Field::Reason, text(b"user unknown"));
    } else {
        // A message of a module that is not known is the module's all the same.
        return message.starts_with(b"pam_");
    }
    true
}

/// `PAM 2 more authentication failures; logname= …`
fn more_failures(rest: &[u8]) -> Option<&[u8]> {
    let (count, rest) = digits(rest.strip_prefix(b"PAM ")?);
    let rest = rest.strip_prefix(b" more authentication failure").filter(|_| !count.is_empty())?;
    rest.strip_prefix(b"s").unwrap_or(rest).strip_prefix(b"; ")
}

/// `alice(uid=1000)`, or the name alone.
fn name_and_id(user: &[u8]) -> (&[u8], &[u8]) {
    split_last(user, b"(uid=").map_or((user, b""), |(name, id)| (name, id.strip_suffix(b")").unwrap_or(id)))
}

/// `logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7  user=alice`: the user, which comes last, may have spaces.
fn authentication<'a>(values: &'a [u8], event: &mut Event<'a>) {
    let (values, user) = split(values, b" user=").unwrap_or((values, b""));
    let mut caller: &[u8] = b"";
    let mut host: &[u8] = b"";
    for value in values.split(|byte| *byte == b' ') {
        if let Some(id) = value.strip_prefix(b"uid=") {
            event.put_text(Field::UserId, id);
        } else if let Some(terminal) = value.strip_prefix(b"tty=") {
            event.put_text(Field::Terminal, terminal);
        } else if let Some(name) = value.strip_prefix(b"ruser=") {
            caller = name;
        } else if let Some(name) = value.strip_prefix(b"rhost=") {
            host = name;
        }
    }
    if caller.is_empty() {
        event.put_text(Field::UserName, user);
    } else {
        event.put_text(Field::UserName, caller);
        if user != caller {
            event.put_text(Field::EffectiveUserName, user);
        }
    }
    event.put_source(host);
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_message;

    #[test]
    fn sessions_and_failures() {
        for (program, message, expected) in [
            (
                "sshd",
                "pam_unix(sshd:session): session opened for user alice(uid=1000) by (uid=0)",
                "service.name=sshd event.action=session_opened event.outcome=success user.name=alice user.id=1000",
            ),
            (
                "sudo",
                "pam_unix(sudo:session): session opened for user root(uid=0) by alice(uid=1000)",
                "service.name=sudo event.action=session_opened event.outcome=success user.name=alice user.id=1000 user.effective.name=root",
            ),
            (
                "CRON",
                "pam_unix(cron:session): session closed for user root",
                "service.name=cron event.action=session_closed user.name=root",
            ),
            (
                "sshd",
                "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7  user=alice",
                "service.name=sshd event.action=authentication event.outcome=failure user.id=0 sealedlog.tty=ssh user.name=alice source.ip=203.0.113.7",
            ),
            (
                "sudo",
                "pam_unix(sudo:auth): authentication failure; logname=alice uid=1000 euid=0 tty=/dev/pts/0 ruser=alice rhost=  user=alice",
                "service.name=sudo event.action=authentication event.outcome=failure user.id=1000 sealedlog.tty=/dev/pts/0 user.name=alice",
            ),
            (
                "sshd(pam_unix)",
                "authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= rhost=h.example ",
                "event.action=authentication event.outcome=failure user.id=0 sealedlog.tty=NODEVssh source.domain=h.example",
            ),
            (
                "sshd",
                "pam_unix(sshd:auth): check pass; user unknown",
                "service.name=sshd event.action=authentication event.outcome=failure event.reason=user␣unknown",
            ),
            (
                "sshd",
                "PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7  user=root",
                "event.action=authentication event.outcome=failure user.id=0 sealedlog.tty=ssh user.name=root source.ip=203.0.113.7",
            ),
            ("app", "session opened for user root by alice(uid=1000)", ""),
            ("x", "pam_limits(x:session): other", "service.name=x"),
        ] {
            check_message(program, message, expected);
        }
    }
}
