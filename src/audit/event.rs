//! One line of a log as an event: when, on which host, which program, how grave, and the fields that its format has.
//!
//! Promises: any bytes give an event, never a panic; time and memory are in proportion to the line; nothing of the line is lost, what is
//! not understood is in the message as it was. Where an outsider chooses a part of a line (a user name, a request), the
//! parsers take the places around it that he cannot write.
//! Not promised: that a line says the truth. A log has what its program wrote; see each parser for what it leaves out.
#![forbid(unsafe_code)]

mod apache;
mod cron;
mod dated;
mod dpkg;
pub mod field;
mod pam;
mod postfix;
mod scan;
mod sshd;
mod sudo;
mod syslog;
mod systemd;
#[cfg(test)]
mod tests;
mod time;

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use field::{Field, Fields, Kind, Value};

/// What is known about a line besides its bytes.
#[derive(Clone, Debug)]
pub struct Context {
    /// When its record was sealed. Gives the year to time stamps without one (RFC 3164): without this they give no time.
    pub sealed: Option<Timestamp>,
    /// The zone of time stamps that name none.
    pub zone: TimeZone,
    /// The name of the log, as `apache2/access.log`. Decides only where a line itself leaves it open.
    pub log: String,
}

impl Default for Context {
    /// No record, UTC, no name.
    fn default() -> Self {
        Self { sealed: None, zone: TimeZone::UTC, log: String::new() }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Apache's Common Log Format (mod_log_config): `%h %l %u %t "%r" %>s %b`.
    ApacheCommon,
    /// The same with referrer and user agent. nginx writes it too.
    ApacheCombined,
    /// The same behind `%v:%p`: `other_vhosts_access.log` of Debian.
    ApacheVhostCombined,
    /// Apache's error log, as version 2.4 writes it or as 2.2 did.
    ApacheError,
    /// RFC 3164: `Jan 31 12:00:00 host program[1]: message`, with `<PRI>` or, as in files, without.
    SyslogTraditional,
    /// The same with a time stamp of RFC 3339, as rsyslog writes files (`RSYSLOG_FileFormat`) and sealedlog the journal's entries.
    SyslogIso,
    /// RFC 5424.
    Syslog5424,
    /// `dpkg.log`.
    Dpkg,
    /// A line of a stanza in `apt/history.log`, or one of the lines that `apt/term.log` begins and ends with.
    Apt,
    /// `fail2ban.log`.
    Fail2ban,
    /// Anything else behind a date and a time.
    Dated,
    /// Anything else.
    Unknown,
}

impl Format {
    /// The value of `event.dataset`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApacheCommon | Self::ApacheCombined | Self::ApacheVhostCombined => "apache.access",
            Self::ApacheError => "apache.error",
            Self::SyslogTraditional | Self::SyslogIso | Self::Syslog5424 => "system.syslog",
            Self::Dpkg => "dpkg.log",
            Self::Apt => "apt.history",
            Self::Fail2ban => "fail2ban.log",
            Self::Dated => "dated",
            Self::Unknown => "unknown",
        }
    }
}

/// How grave a line is, by its own words. The order is that of RFC 5424 (table 2): the gravest is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// 0: system is unusable.
    Emergency,
    /// 1: action must be taken immediately.
    Alert,
    /// 2: critical conditions.
    Critical,
    /// 3: error conditions.
    Error,
    /// 4: warning conditions.
    Warning,
    /// 5: normal but significant condition.
    Notice,
    /// 6: informational messages.
    Informational,
    /// 7: debug-level messages.
    Debug,
}

impl Severity {
    /// All, the gravest first: each at its code in RFC 5424.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Informational,
        Self::Debug,
    ];

    /// As syslog.conf(5) has it: `emerg`, `alert`, `crit`, `err`, `warning`, `notice`, `info`, `debug`.
    pub fn name(self) -> &'static str {
        ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"][self as usize]
    }

    /// From what syslog, Apache (with `trace1` to `trace8`) and others call it, in any case of letters.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::from_bytes(name.as_bytes())
    }

    fn from_bytes(name: &[u8]) -> Option<Self> {
        // Longer than any of them: not worth a copy.
        if name.len() > 13 {
            return None;
        }
        Some(match &name.to_ascii_lowercase()[..] {
            b"emerg" | b"emergency" | b"panic" => Self::Emergency,
            b"alert" => Self::Alert,
            b"crit" | b"critical" | b"fatal" => Self::Critical,
            b"err" | b"error" => Self::Error,
            b"warn" | b"warning" => Self::Warning,
            b"notice" => Self::Notice,
            b"info" | b"information" | b"informational" => Self::Informational,
            b"debug" | b"trace" => Self::Debug,
            [b't', b'r', b'a', b'c', b'e', b'1'..=b'8'] => Self::Debug,
            _ => return None,
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The fields that every format may have. They come first.
const OWN: [Field; 7] =
    [Field::Time, Field::Message, Field::HostName, Field::ProcessName, Field::ProcessId, Field::LogLevel, Field::Dataset];

/// What a line says. Text that is not UTF-8 has U+FFFD for what is wrong with it; the message is bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// By the line's own time stamp.
    pub time: Option<Timestamp>,
    /// The host that the line names.
    pub host: Option<Cow<'a, str>>,
    /// The program that it names.
    pub program: Option<Cow<'a, str>>,
    /// The process that it names.
    pub pid: Option<u32>,
    /// How grave the line calls itself.
    pub severity: Option<Severity>,
    /// Without time, host and program where a line has them before its message; else the whole line. Never with its newline.
    pub message: &'a [u8],
    /// Everything else that was understood.
    pub fields: Fields<'a>,
    /// The form of the line.
    pub format: Format,
}

impl<'a> Event<'a> {
    fn new(format: Format, message: &'a [u8]) -> Self {
        Self { time: None, host: None, program: None, pid: None, severity: None, message, fields: Fields::default(), format }
    }

    /// Everything with its name in the Elastic Common Schema. A name that comes more than once is an array there.
    pub fn ecs(&self) -> impl Iterator<Item = (&'static str, Value<'_>)> {
        self.entries().map(|(field, value)| (field.name(), value))
    }

    /// The values of one field: none, one, or more.
    pub fn values(&self, field: Field) -> impl Iterator<Item = Value<'_>> {
        let others = self.fields.iter().filter(move |entry| entry.0 == field).map(|(_, value)| value.borrowed());
        self.own(field).into_iter().chain(others)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (Field, Value<'_>)> {
        let own = OWN.into_iter().filter_map(|field| Some((field, self.own(field)?)));
        own.chain(self.fields.iter().map(|(field, value)| (field, value.borrowed())))
    }

    /// The value of a field of [`OWN`].
    fn own(&self, field: Field) -> Option<Value<'_>> {
        let text = |text| Value::Text(Cow::Borrowed(text));
        match field {
            Field::Time => self.time.map(Value::Time),
            Field::Message => Some(Value::Text(scan::text(self.message))),
            Field::HostName => self.host.as_deref().map(text),
            Field::ProcessName => self.program.as_deref().map(text),
            Field::ProcessId => self.pid.map(|pid| Value::Number(pid.into())),
            Field::LogLevel => self.severity.map(|severity| text(severity.name())),
            Field::Dataset => Some(text(self.format.name())),
            _ => None,
        }
    }

    fn put(&mut self, field: Field, value: impl Into<Value<'a>>) {
        self.fields.push(field, value.into());
    }

    /// Text, unless there is none or it is the `-` that stands for none.
    fn put_text(&mut self, field: Field, bytes: &'a [u8]) {
        if !bytes.is_empty() && bytes != b"-" {
            self.put(field, scan::text(bytes));
        }
    }

    fn put_number(&mut self, field: Field, digits: &[u8]) {
        if let Some(number) = scan::number(digits) {
            self.put(field, number);
        }
    }

    /// A peer: its address, or the name that stands in its place.
    fn put_source(&mut self, bytes: &'a [u8]) {
        match scan::address(bytes) {
            Some(address) => self.put(Field::SourceIp, address),
            None => self.put_text(Field::SourceDomain, bytes),
        }
    }

    fn put_action(&mut self, action: &'static str, success: Option<bool>) {
        self.put(Field::Action, Cow::Borrowed(action));
        if let Some(success) = success {
            self.put(Field::Outcome, Cow::Borrowed(if success { "success" } else { "failure" }));
        }
    }
}

/// What a line says; with its newline or without.
pub fn parse<'a>(line: &'a [u8], context: &Context) -> Event<'a> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let known = match line.first() {
        Some(b'<') => syslog::parse(line, context),
        Some(b'[') => apache::parse_error(line, context),
        Some(b'0'..=b'9') => dated::parse(line, context),
        Some(b'A'..=b'Z') => syslog::parse(line, context).or_else(|| dpkg::parse_apt(line, context)),
        _ => None,
    };
    known.or_else(|| apache::parse_access(line)).unwrap_or_else(|| Event::new(Format::Unknown, line))
}
