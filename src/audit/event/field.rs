//! The names of all fields that an event can have, and their values.
//!
//! Promises: what is not in the one list here is no field. Names are those of the Elastic Common Schema (ECS 9) where it has one, else
//! they begin with `postfix.` or `sealedlog.`.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;

/// An event keeps so many fields; a line that names more packages than fit is no upgrade of one machine.
const MAX_FIELDS: usize = 1 << 14;

/// What the values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Words.
    Text,
    /// A whole number.
    Number,
    /// An address of IPv4 or IPv6.
    Ip,
    /// A moment.
    Time,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// Words, without the escapes of the log.
    Text(Cow<'a, str>),
    /// A whole number, in the unit that its field has.
    Number(i64),
    /// An address of IPv4 or IPv6.
    Ip(IpAddr),
    /// A moment.
    Time(Timestamp),
}

impl Value<'_> {
    /// The same without a copy.
    pub fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Number(number) => Value::Number(*number),
            Self::Ip(address) => Value::Ip(*address),
            Self::Time(time) => Value::Time(*time),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Ip(address) => address.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<IpAddr> for Value<'_> {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}

/// Fields in the order in which the line has them. One may come more than once, as the packages of one upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a>(Vec<(Field, Value<'a>)>);

impl<'a> Fields<'a> {
    pub(super) fn reserve(&mut self, count: usize) {
        self.0.reserve(count);
    }

    pub(super) fn push(&mut self, field: Field, value: Value<'a>) {
        if self.0.len() < MAX_FIELDS {
            self.0.push((field, value));
        }
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (Field, Value<'a>)> {
        self.0.into_iter()
    }

    /// All, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &Value<'a>)> {
        self.0.iter().map(|(field, value)| (*field, value))
    }

    /// The first value of a field.
    pub fn get(&self, field: Field) -> Option<&Value<'a>> {
        self.0.iter().find(|entry| entry.0 == field).map(|entry| &entry.1)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal $kind:ident $([$($alias:literal)+])?;)+) => {
        /// A field. Each has a name in the Elastic Common Schema or one of its own, and perhaps short ones.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Field {
            $($(#[$doc])+ $variant,)+
        }

        impl Field {
            /// All that exist.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As it is called in output.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The short names that may be typed for it. Fields may share one: it means any of them.
            pub fn aliases(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($($alias),+)?],)+ }
            }

            /// What its values are.
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)+ }
            }
        }
    };
}

fields! {
    /// The line's own time stamp.
    Time = "@timestamp" Time ["time"];
    /// The message, or the whole line.
    Message = "message" Text;
    /// The host that the line names.
    HostName = "host.name" Text ["host"];
    /// The program that the line names.
    ProcessName = "process.name" Text ["program"];
    /// The process that the line names.
    ProcessId = "process.pid" Number ["pid"];
    /// How grave the line calls itself, by its name in syslog.conf(5).
    LogLevel = "log.level" Text ["severity"];
    /// The form of the line: `apache.access`, `system.syslog` and so on.
    Dataset = "event.dataset" Text ["format"];

    /// The address of the client.
    SourceIp = "source.ip" Ip ["client"];
    /// The name of the client, as the server looked it up.
    SourceDomain = "source.domain" Text ["client"];
    /// The port of the client.
    SourcePort = "source.port" Number;
    /// The address that was connected to.
    DestinationIp = "destination.ip" Ip;
    /// The name that was connected to.
    DestinationDomain = "destination.domain" Text;
    /// The port that was connected to.
    DestinationPort = "destination.port" Number;
    /// `tcp`, `udp`, `icmp` …
    Transport = "network.transport" Text;

    /// Who did it, or tried to.
    UserName = "user.name" Text ["user"];
    /// As whom it was done: the user of sudo and su.
    EffectiveUserName = "user.effective.name" Text ["user"];
    /// The number of who did it.
    UserId = "user.id" Text;

    /// The target of a request, as it was sent.
    UrlOriginal = "url.original" Text ["url"];
    /// Its part before `?`.
    UrlPath = "url.path" Text ["path"];
    /// Its part behind `?`.
    UrlQuery = "url.query" Text ["query"];
    /// The virtual host.
    UrlDomain = "url.domain" Text ["vhost"];
    /// The port of the virtual host.
    UrlPort = "url.port" Number;
    /// GET, POST …
    RequestMethod = "http.request.method" Text ["method"];
    /// The request's header Referer.
    RequestReferrer = "http.request.referrer" Text ["referrer"];
    /// `1.1`, `2.0` …
    HttpVersion = "http.version" Text;
    /// 200, 404 …
    ResponseStatus = "http.response.status_code" Number ["status"];
    /// What was sent, in bytes. Some log formats, Debian's among them, count the header too.
    ResponseBytes = "http.response.body.bytes" Number ["bytes"];
    /// The request's header User-Agent.
    UserAgent = "user_agent.original" Text ["agent"];
    /// A request that is none of HTTP.
    RequestLine = "sealedlog.http.request_line" Text;

    /// What was done: `ssh_login`, `sudo_command`, `reject` …
    Action = "event.action" Text ["action"];
    /// `success` or `failure`.
    Outcome = "event.outcome" Text ["outcome"];
    /// Why it was refused, in the program's words.
    Reason = "event.reason" Text ["reason"];
    /// The number of the message, as `AH00126`.
    Code = "event.code" Text ["code"];
    /// How long it took, in nanoseconds.
    Duration = "event.duration" Number;

    /// The command that was run.
    CommandLine = "process.command_line" Text ["command"];
    /// The folder that it was run in.
    WorkingDirectory = "process.working_directory" Text;
    /// The thread that the line names.
    ThreadId = "process.thread.id" Number;
    /// The terminal.
    Terminal = "sealedlog.tty" Text ["tty"];
    /// The service, by its systemd unit or PAM name.
    ServiceName = "service.name" Text ["service" "unit"];
    /// The rule that was met: the jail of fail2ban.
    RuleName = "rule.name" Text ["rule" "jail"];
    /// The file that it is about.
    FilePath = "file.path" Text;

    /// The facility's number in RFC 5424 (table 1).
    SyslogFacility = "log.syslog.facility.code" Number ["facility"];
    /// MSGID of RFC 5424.
    SyslogMessageId = "log.syslog.msgid" Text;
    /// STRUCTURED-DATA of RFC 5424, as it stands.
    StructuredData = "sealedlog.syslog.structured_data" Text;
    /// The module of Apache that wrote the line.
    ApacheModule = "sealedlog.apache.module" Text ["module"];
    /// `password`, `publickey` …
    SshMethod = "sealedlog.ssh.method" Text;
    /// The key's kind and fingerprint.
    SshKey = "sealedlog.ssh.key" Text;

    /// The envelope's sender; empty for a bounce.
    EmailFrom = "email.from.address" Text ["from"];
    /// A recipient.
    EmailTo = "email.to.address" Text ["to"];
    /// The header Message-ID, without its angle brackets.
    EmailMessageId = "email.message_id" Text ["message-id"];
    /// The name of a message in Postfix's queue, or NOQUEUE.
    PostfixQueueId = "postfix.queue_id" Text ["queue"];
    /// Where a message went: `host[address]:port`, `local` …
    PostfixRelay = "postfix.relay" Text ["relay"];
    /// `sent`, `deferred`, `bounced` …
    PostfixStatus = "postfix.status" Text ["status"];
    /// What the other side said.
    PostfixResponse = "postfix.response" Text;
    /// The enhanced status code (RFC 3463).
    PostfixDsn = "postfix.dsn" Text;
    /// Time before the queue manager, in it, to connect, to send: seconds, with slashes.
    PostfixDelays = "postfix.delays" Text;
    /// The size of a message in bytes.
    PostfixSize = "postfix.size" Number;
    /// To how many it goes.
    PostfixRecipients = "postfix.nrcpt" Number;
    /// The name that the client gave.
    PostfixHelo = "postfix.helo" Text;
    /// `SMTP`, `ESMTP`.
    PostfixProtocol = "postfix.proto" Text;
    /// The recipient before aliases.
    PostfixOriginalTo = "postfix.orig_to" Text ["to"];
    /// How the client said who it is.
    PostfixSaslMethod = "postfix.sasl_method" Text;

    /// A package.
    PackageName = "package.name" Text ["package"];
    /// Its version: the new one.
    PackageVersion = "package.version" Text ["version"];
    /// Its architecture.
    PackageArchitecture = "package.architecture" Text;
    /// The version before.
    PackageOldVersion = "sealedlog.package.old_version" Text;
}

impl Field {
    /// The fields that a typed name means; none if there is no such name.
    pub fn named(name: &str) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |field| field.name() == name || field.aliases().contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_aliases_are_none_of_them() {
        let names: HashSet<_> = Field::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(names.len(), Field::ALL.len());
        for alias in Field::ALL.iter().flat_map(|field| field.aliases()) {
            assert!(!names.contains(alias), "{alias}");
        }
        for typed in [
            "client",
            "status",
            "user",
            "method",
            "path",
            "agent",
            "from",
            "to",
            "program",
            "pid",
            "host",
            "severity",
            "source.ip",
        ] {
            assert!(Field::named(typed).next().is_some(), "{typed}");
        }
        assert_eq!(Field::named("client").collect::<Vec<_>>(), [Field::SourceIp, Field::SourceDomain]);
        assert_eq!(Field::named("colour").count(), 0);
    }
}
