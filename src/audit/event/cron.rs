//! Messages of cron and crontab.
//!
//! Not promised: what anacron says about its jobs; it has no form of its own.
#![forbid(unsafe_code)]

use super::scan::{split, text};
use super::{Event, Field};

/// `(root) CMD (run-parts /etc/cron.hourly)`, and the same with another word.
pub fn parse<'a>(message: &'a [u8], event: &mut Event<'a>) {
    let Some((user, rest)) = message.strip_prefix(b"(").and_then(|rest| split(rest, b") ")) else { return };
    let Some((action, what)) = split(rest, b" (") else { return };
    let what = what.strip_suffix(b")").unwrap_or(what).trim_ascii();
    if action.is_empty() || action.len() > 32 || !action.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b' ') {
        return;
    }
    // Messages of the daemon itself have its name in the place of a user.
    if user != b"CRON" && user != b"cron" {
        event.put_text(Field::UserName, user);
    }
    match action {
        b"CMD" | b"CMDEND" => {
            event.put_action(if action == b"CMD" { "cron_command" } else { "cron_command_end" }, None);
            event.put_text(Field::CommandLine, what);
        }
        b"RELOAD" => {
            event.put_action("cron_reload", None);
            event.put_text(Field::FilePath, what);
        }
        _ => {
            let name = format!("cron_{}", text(action).to_ascii_lowercase().replace(' ', "_"));
            event.put(Field::Action, std::borrow::Cow::Owned(name));
            // The owner of the crontab that was listed or changed.
            if matches!(action, b"LIST" | b"REPLACE" | b"DELETE" | b"BEGIN EDIT" | b"END EDIT") {
                event.put_text(Field::EffectiveUserName, what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_message;

    #[test]
    fn messages_of_cron() {
        for (program, message, expected) in [
            (
                "CRON",
                "(root) CMD (   cd / && run-parts --report /etc/cron.hourly)",
                "user.name=root event.action=cron_command process.command_line=cd␣/␣&&␣run-parts␣--report␣/etc/cron.hourly",
            ),
            ("CRON", "(bob) CMD (echo (a) b)", "user.name=bob event.action=cron_command process.command_line=echo␣(a)␣b"),
            ("cron", "(CRON) INFO (Running @reboot jobs)", "event.action=cron_info"),
            ("crontab", "(alice) BEGIN EDIT (bob)", "user.name=alice event.action=cron_begin_edit user.effective.name=bob"),
            ("cron", "(alice) RELOAD (crontabs/alice)", "user.name=alice event.action=cron_reload file.path=crontabs/alice"),
            ("cron", "(alice", ""),
            ("cron", "(a) b (c)", ""),
        ] {
            check_message(program, message, expected);
        }
    }
}
