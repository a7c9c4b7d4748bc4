//! Messages of sudo and su.
//!
//! Promises: the command is everything behind `COMMAND=`, whatever is in it.
#![forbid(unsafe_code)]

use super::scan::{last_word, split, split_last, strip_any, word};
use super::{Event, Field};

/// `alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/id`, with a reason in front where sudo refused.
pub fn parse<'a>(message: &'a [u8], event: &mut Event<'a>) {
    let Some((user, mut rest)) = split(message.trim_ascii_start(), b" : ") else { return };
    event.put_text(Field::UserName, user.trim_ascii_end());
    let mut is_refused = false;
    let mut has_command = false;
    while !rest.is_empty() {
        if let Some(command) = rest.strip_prefix(b"COMMAND=") {
            event.put_text(Field::CommandLine, command);
            has_command = true;
            break;
        }
        let (item, behind) = split(rest, b" ; ").unwrap_or((rest, b""));
        match split(item, b"=") {
            Some((b"TTY", terminal)) => event.put_text(Field::Terminal, terminal),
            Some((b"PWD", folder)) => event.put_text(Field::WorkingDirectory, folder),
            Some((b"USER", user)) => event.put_text(Field::EffectiveUserName, user),
            Some((b"GROUP" | b"TSID" | b"ENV" | b"HOST" | b"CHROOT" | b"CWD", _)) => {}
            _ => {
                is_refused = true;
                event.put_text(Field::Reason, item);
            }
        }
        rest = behind;
    }
    if has_command || is_refused {
        event.put_action("sudo_command", Some(!is_refused));
    }
}

/// `(to root) alice on pts/0`, `FAILED SU (to root) alice on pts/0`, and what su of shadow wrote.
pub fn parse_su<'a>(message: &'a [u8], event: &mut Event<'a>) {
    if let Some((success, rest)) = strip_any(message, &[("(to ", true), ("FAILED SU (to ", false)]) {
        let Some((target, rest)) = split(rest, b") ") else { return };
        let (user, terminal) = split_last(rest, b" on ").unwrap_or((rest, b""));
        event.put_action("su", Some(success));
        event.put_text(Field::UserName, user);
        event.put_text(Field::EffectiveUserName, target);
        event.put_text(Field::Terminal, terminal);
    } else if let Some((success, rest)) = strip_any(message, &[("Successful su for ", true), ("FAILED su for ", false)]) {
        let Some((target, user)) = split(rest, b" by ") else { return };
        event.put_action("su", Some(success));
        event.put_text(Field::UserName, user);
        event.put_text(Field::EffectiveUserName, target);
    } else if let Some((success, rest)) = strip_any(message, &[("+ ", true), ("- ", false)]) {
        let (terminal, _) = word(rest);
        let Some((user, target)) = split(last_word(rest).1, b":") else { return };
        event.put_action("su", Some(success));
        event.put_text(Field::UserName, user);
        event.put_text(Field::EffectiveUserName, target);
        event.put_text(Field::Terminal, terminal);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_message;

    #[test]
    fn messages_of_sudo_and_su() {
        for (program, message, expected) in [
            (
                "sudo",
                "   alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/bin/sh -c a ; USER=bob",
                "user.name=alice sealedlog.tty=pts/0 process.working_directory=/home/alice user.effective.name=root \
                 process.command_line=/bin/sh␣-c␣a␣;␣USER=bob event.action=sudo_command event.outcome=success",
            ),
            (
                "sudo",
                "bob : user NOT in sudoers ; TTY=pts/1 ; PWD=/ ; USER=root ; ENV=A=b ; COMMAND=/usr/bin/id",
                "user.name=bob event.reason=user␣NOT␣in␣sudoers sealedlog.tty=pts/1 process.working_directory=/ user.effective.name=root \
                 process.command_line=/usr/bin/id event.action=sudo_command event.outcome=failure",
            ),
            (
                "sudo",
                "alice : 3 incorrect password attempts",
                "user.name=alice event.reason=3␣incorrect␣password␣attempts event.action=sudo_command event.outcome=failure",
            ),
            ("sudo", "torn", ""),
            (
                "su",
                "(to root) alice on pts/0",
                "event.action=su event.outcome=success user.name=alice user.effective.name=root sealedlog.tty=pts/0",
            ),
            (
                "su",
                "FAILED SU (to root) alice on pts/0",
                "event.action=su event.outcome=failure user.name=alice user.effective.name=root sealedlog.tty=pts/0",
            ),
            (
                "su",
                "Successful su for root by alice",
                "event.action=su event.outcome=success user.name=alice user.effective.name=root",
            ),
            (
                "su",
                "+ /dev/pts/0 alice:root",
                "event.action=su event.outcome=success user.name=alice user.effective.name=root sealedlog.tty=/dev/pts/0",
            ),
            ("su", "(to root", ""),
        ] {
            check_message(program, message, expected);
        }
    }
}
