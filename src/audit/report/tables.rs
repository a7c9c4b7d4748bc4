//! Which tables there are, and which lines they count.
//!
//! Not promised: that a program which logs in a form of its own is counted; see `audit::event`.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use serde::Serialize;

use super::top::{Table, Top};
use crate::audit::event::{Event, Field, Severity, Value};
use crate::audit::rules::source::Source;

/// Tables about one thing.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// A stable name.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// The tables.
    pub tables: Vec<Table>,
}

/// All of them, while lines come.
#[derive(Default)]
pub struct Tables {
    logins: Top,
    root: Top,
    sudo: Top,
    failures: Top,
    web_status: Top,
    web_clients: Top,
    web_refused: Top,
    web_missing: Top,
    web_errors: Top,
    apache: Top,
    mail_outcome: Top,
    mail_accounts: Top,
    mail_rejects: Top,
    grave: Top,
}

impl Tables {
    /// Counts a line of a host's log.
    pub fn add(&mut self, host: &str, log: &str, event: &Event<'_>, time: Option<i64>) {
        let get = |field| event.fields.get(field).map(words);
        let or_dash = |value: Option<Cow<'_, str>>| value.unwrap_or(Cow::Borrowed("-")).into_owned();
        let client = || or_dash(get(Field::SourceIp).or_else(|| get(Field::SourceDomain)));
        let action = get(Field::Action);
        let succeeded = get(Field::Outcome).map(|outcome| outcome == "success");
        let source = Source::of(event);
        match (source, action.as_deref(), succeeded) {
            (Source::Webserver, ..) => return self.add_request(host, log, event, &client(), time),
            (Source::Sshd, Some("ssh_login"), Some(true)) => {
                let (user, client, method) = (or_dash(get(Field::UserName)), client(), or_dash(get(Field::SshMethod)));
                self.logins.add(&[host, &user, &client, &method], time);
                if user == "root" {
                    self.root.add(&[host, "ssh", "root", &client], time);
                }
            }
            (Source::Sshd, Some("ssh_login" | "ssh_invalid_user"), Some(false)) => {
                self.failures.add(&[&client(), host, "ssh"], time);
            }
            (Source::Sudo, Some("sudo_command"), Some(success)) => {
                let (user, target) = (or_dash(get(Field::UserName)), or_dash(get(Field::EffectiveUserName)));
                let (command, outcome) = (or_dash(get(Field::CommandLine)), if success { "done" } else { "refused" });
                self.sudo.add(&[host, &user, &target, outcome, &command], time);
                if success && target == "root" {
                    self.root.add(&[host, "sudo", &user, "-"], time);
                }
            }
            (Source::Su, Some("su"), Some(success)) => {
                let (user, target) = (or_dash(get(Field::UserName)), or_dash(get(Field::EffectiveUserName)));
                self.sudo.add(&[host, &user, &target, if success { "done" } else { "refused" }, "su"], time);
                if success && target == "root" {
                    self.root.add(&[host, "su", &user, "-"], time);
                }
            }
            (Source::Postfix, Some("sasl_authentication"), Some(false)) => {
                self.failures.add(&[&client(), host, "mail"], time);
            }
            (Source::Postfix, Some("reject"), _) => {
                let reason = get(Field::Reason).map(|reason| without_addresses(&reason));
                self.mail_rejects.add(&[host, &client(), &reason.unwrap_or_default()], time);
                self.mail_outcome.add(&[host, "rejected"], time);
            }
            (Source::Postfix, Some("delivery"), _) => {
                self.mail_outcome.add(&[host, &or_dash(get(Field::PostfixStatus))], time);
            }
            (Source::Postfix, None, _) if event.fields.get(Field::PostfixSaslMethod).is_some() => {
                self.mail_accounts.add(&[host, &or_dash(get(Field::UserName)), &client()], time);
            }
            // What other programs say of PAM's refusals; sshd, sudo and su say it in their own words, too.
            (Source::Syslog | Source::Logind | Source::Accounts | Source::Cron, Some("authentication"), Some(false)) => {
                let program = event.program.as_deref().unwrap_or("-");
                self.failures.add(&[&client(), host, program], time);
            }
            (Source::Apache, ..) => {
                let (level, code) = (event.severity.map_or("-", Severity::name), or_dash(get(Field::Code)));
                self.apache.add(&[host, level, &or_dash(get(Field::ApacheModule)), &code], time);
            }
            _ => {}
        }
        if source != Source::Apache && event.severity.is_some_and(|severity| severity <= Severity::Error) {
            let (program, level) = (event.program.as_deref().unwrap_or("-"), event.severity.map_or("-", Severity::name));
            self.grave.add(&[host, program, level], time);
        }
    }

    fn add_request(&mut self, host: &str, log: &str, event: &Event<'_>, client: &str, time: Option<i64>) {
        let status = match event.fields.get(Field::ResponseStatus) {
            Some(Value::Number(status)) => *status,
            _ => 0,
        };
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "other",
        };
        self.web_status.add(&[host, log, class], time);
        self.web_clients.add(&[client, host], time);
        if status < 400 {
            return;
        }
        let path = event.fields.get(Field::UrlPath).or_else(|| event.fields.get(Field::RequestLine)).map(words);
        let path = path.unwrap_or(Cow::Borrowed("-"));
        match status {
            401 => self.failures.add(&[client, host, "web"], time),
            404 | 410 => self.web_missing.add(&[host, &path], time),
            500.. => self.web_errors.add(&[host, &status.to_string(), &path], time),
            _ => {}
        }
        if status < 500 {
            self.web_refused.add(&[client, host], time);
        }
    }

    /// What they came to.
    pub fn sections(self) -> Vec<Section> {
        vec![
            Section {
                name: "access",
                title: "Logins, sudo and root access",
                tables: vec![
                    self.root.table("root", "Who became root", &["host", "how", "user", "from"]),
                    self.logins.table("logins", "Logins by SSH", &["host", "user", "from", "method"]),
                    self.sudo.table("sudo", "Commands by sudo and su", &["host", "user", "as", "outcome", "command"]),
                ],
            },
            Section {
                name: "failures",
                title: "Failed attempts",
                tables: vec![self.failures.table(
                    "failed_attempts",
                    "Refused passwords and names by source",
                    &["from", "host", "service"],
                )],
            },
            Section {
                name: "web",
                title: "Web",
                tables: vec![
                    self.web_status.table("web_status", "Answers", &["host", "log", "status"]),
                    self.web_errors.table("web_errors", "Requests on which the server failed", &["host", "status", "path"]),
                    self.web_missing.table("web_missing", "What was not there", &["host", "path"]),
                    self.web_refused.table("web_refused", "Clients that were refused", &["client", "host"]),
                    self.web_clients.table("web_clients", "Clients", &["client", "host"]),
                    self.apache.table("apache_errors", "Apache's error log", &["host", "level", "module", "code"]),
                ],
            },
            Section {
                name: "mail",
                title: "Mail",
                tables: vec![
                    self.mail_outcome.table("mail_outcome", "What became of messages", &["host", "outcome"]),
                    self.mail_accounts.table("mail_accounts", "Accounts that sent", &["host", "account", "from"]),
                    self.mail_rejects.table("mail_rejects", "Rejected", &["host", "from", "reason"]),
                ],
            },
            Section {
                name: "grave",
                title: "What programs call errors",
                tables: vec![self.grave.table("grave", "By program", &["host", "program", "level"])],
            },
        ]
    }
}

fn words<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// A reason of Postfix without the address that it is about, so that equal reasons are one.
fn without_addresses(reason: &str) -> String {
    let mut short = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some((before, behind)) = rest.split_once('<') {
        short.push_str(before);
        match behind.split_once('>') {
            Some((_, behind)) => {
                short.push_str("<…>");
                rest = behind;
            }
            None => {
                rest = "";
                short.push_str("<…");
            }
        }
    }
    short + rest
}
