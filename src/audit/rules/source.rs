//! Which lines a rule is for: Sigma's `logsource`.
//!
//! Promises: a log source that is not known is an error, so that a rule never waits for lines that cannot come.
#![forbid(unsafe_code)]

use crate::audit::event::{Event, Field, Format};

/// Where a line comes from; each is a bit of a [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Requests, as web servers log them.
    Webserver,
    /// Apache's error log.
    Apache,
    /// OpenSSH's server.
    Sshd,
    /// sudo.
    Sudo,
    /// su.
    Su,
    /// `useradd`, `passwd` and their like.
    Accounts,
    /// systemd-logind.
    Logind,
    /// cron and crontab.
    Cron,
    /// Postfix.
    Postfix,
    /// systemd.
    Systemd,
    /// The kernel.
    Kernel,
    /// dpkg.
    Dpkg,
    /// apt.
    Apt,
    /// fail2ban.
    Fail2ban,
    /// Another program that logs to syslog.
    Syslog,
    /// Anything else.
    Other,
}

/// Some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources(u32);

impl Sources {
    const AUTH: [Source; 5] = [Source::Sshd, Source::Sudo, Source::Su, Source::Accounts, Source::Logind];
    const SYSLOG: [Source; 11] = [
        Source::Sshd,
        Source::Sudo,
        Source::Su,
        Source::Accounts,
        Source::Logind,
        Source::Cron,
        Source::Postfix,
        Source::Systemd,
        Source::Kernel,
        Source::Fail2ban,
        Source::Syslog,
    ];

    fn of(sources: &[Source]) -> Self {
        Self(sources.iter().fold(0, |bits, source| bits | 1 << *source as u32))
    }

    /// What a `logsource` means; an error is a sentence.
    pub fn named(category: Option<&str>, product: Option<&str>, service: Option<&str>) -> Result<Self, String> {
        if let Some(product) = product.filter(|product| !matches!(*product, "linux" | "apache")) {
            return Err(format!("logs of the product {product:?} are not read; linux and apache are"));
        }
        Ok(match (category, service, product) {
            (Some("webserver"), None, _) => Self::of(&[Source::Webserver]),
            (Some(category), ..) => {
                return Err(format!("logs of the category {category:?} are not read; webserver is, or a service"));
            }
            (None, Some(service), _) => Self::of(match service {
                "apache" => &[Source::Apache],
                "sshd" => &[Source::Sshd],
                "sudo" => &[Source::Sudo],
                "su" => &[Source::Su],
                "accounts" => &[Source::Accounts],
                "cron" => &[Source::Cron],
                "postfix" => &[Source::Postfix],
                "systemd" => &[Source::Systemd],
                "kernel" => &[Source::Kernel],
                "dpkg" => &[Source::Dpkg],
                "apt" => &[Source::Apt],
                "fail2ban" => &[Source::Fail2ban],
                "auth" => &Self::AUTH,
                "syslog" => &Self::SYSLOG,
                _ => {
                    return Err(format!(
                        "logs of the service {service:?} are not read; apache, sshd, sudo, su, accounts, auth, cron, postfix, \
                         systemd, kernel, dpkg, apt, fail2ban and syslog are"
                    ));
                }
            }),
            (None, None, Some("linux")) => Self::of(&Self::SYSLOG),
            (None, None, _) => return Err("logsource needs a category or a service".to_owned()),
        })
    }

    /// Whether this one is among them.
    pub fn has(self, source: Source) -> bool {
        self.0 & (1 << source as u32) != 0
    }
}

impl Source {
    /// All, each at its number.
    pub const ALL: [Self; 16] = [
        Self::Webserver,
        Self::Apache,
        Self::Sshd,
        Self::Sudo,
        Self::Su,
        Self::Accounts,
        Self::Logind,
        Self::Cron,
        Self::Postfix,
        Self::Systemd,
        Self::Kernel,
        Self::Dpkg,
        Self::Apt,
        Self::Fail2ban,
        Self::Syslog,
        Self::Other,
    ];

    /// Where a line comes from.
    pub fn of(event: &Event<'_>) -> Self {
        match event.format {
            Format::ApacheCommon | Format::ApacheCombined | Format::ApacheVhostCombined => return Self::Webserver,
            Format::ApacheError => return Self::Apache,
            Format::Dpkg => return Self::Dpkg,
            Format::Apt => return Self::Apt,
            Format::Fail2ban => return Self::Fail2ban,
            Format::SyslogTraditional | Format::SyslogIso | Format::Syslog5424 => {}
            _ => return Self::Other,
        }
        let Some(program) = event.program.as_deref() else { return Self::Syslog };
        match program {
            "sshd" | "sshd-session" | "sshd-auth" => Self::Sshd,
            "sudo" => Self::Sudo,
            "su" => Self::Su,
            "useradd" | "usermod" | "userdel" | "groupadd" | "groupmod" | "groupdel" | "gpasswd" | "passwd" | "chpasswd"
            | "chage" | "chfn" | "chsh" | "newusers" => Self::Accounts,
            "systemd-logind" => Self::Logind,
            "cron" | "crond" | "crontab" | "CRON" | "anacron" => Self::Cron,
            "systemd" => Self::Systemd,
            "kernel" => Self::Kernel,
            // A web server that logs through syslog.
            "apache2" | "httpd" | "apache" | "nginx" if event.fields.get(Field::ResponseStatus).is_some() => Self::Webserver,
            program if program.starts_with("postfix") => Self::Postfix,
            program if program.starts_with("fail2ban") => Self::Fail2ban,
            _ => Self::Syslog,
        }
    }
}
