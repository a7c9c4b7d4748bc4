//! How each service of a Debian system comes to write its logs into our FIFOs, and how that is undone.
//!
//! Promises: says what is to be done and does nothing; only files of our own and the services' own switches are used, never
//! a change in another package's file. What is not understood in a service's configuration is said and left as it is.
#![forbid(unsafe_code)]

mod apache;
mod journald;
mod postfix;
mod rsyslog;
mod syslog_ng;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where the FIFOs are that systemd holds: in memory, so that a log without one yet is never on the disk.
pub const FIFO_FOLDER: &str = "/run/sealedlog-in";
/// Where what comes through them is sealed to.
pub const SEALED_FOLDER: &str = "/var/log/sealed";
/// Where systemd keeps which FIFOs it is to hold.
const WANTED: &str = "/etc/systemd/system/sockets.target.wants";
/// Where it keeps which services it is to start.
const SERVICES_WANTED: &str = "/etc/systemd/system/multi-user.target.wants";
/// Behind the name of a plain file that waits.
const ASIDE: &str = ".unsealed-";
/// The unit that follows files.
const FOLLOW: &str = "sealedlog-follow.service";

/// A service whose logs can be sealed without its configuration being edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The Apache HTTP server: all logs of all virtual hosts below `${APACHE_LOG_DIR}`.
    Apache,
    /// rsyslogd(8): all rules of its main file that name a file.
    Rsyslog,
    /// syslog-ng(8): all destinations of its main file that are files.
    SyslogNg,
    /// postfix(1), where it writes a log file by itself.
    Postfix,
    /// systemd-journald(8): in memory, and little; its lines go to the syslog daemon, or are followed where there is none.
    Journald,
    /// Programs that only write files: those of `/etc/sealedlog/follow` are followed.
    Files,
}

/// What is to be done for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wiring {
    /// Its logs, as paths below [`FIFO_FOLDER`].
    pub logs: Vec<String>,
    /// Our own files among its configuration.
    pub drop_ins: Vec<DropIn>,
    /// The log that the service opens under a name of its own.
    pub link: Option<Link>,
    /// Our own units that follow its log.
    pub units: Vec<&'static str>,
    /// What of its configuration is left as it is, and what to do about it.
    pub left: Vec<String>,
}

/// A file of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    /// Where.
    pub path: PathBuf,
    /// All of it.
    pub content: String,
}

/// The name of a log file that leads to a FIFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The name.
    pub path: PathBuf,
    /// The log whose FIFO it is.
    pub log: String,
}

/// Why a service cannot be wired.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WiringError {
    /// Its configuration cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it has would be lost or stay in plain text.
    #[error("{}:{line}: '{text}' is in a form that is not understood", path.display())]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// It has no log that could be sealed.
    #[error("{} names no log file", .0.display())]
    NoLogs(PathBuf),
}

/// Commands that are the same for all systems.
type Command = &'static [&'static str];

impl Service {
    /// In the order in which they are wired: who takes lines over comes before who hands them over.
    pub const ALL: [Self; 6] = [Self::Apache, Self::Rsyslog, Self::SyslogNg, Self::Postfix, Self::Journald, Self::Files];

    /// As it is called on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apache => "apache",
            Self::Rsyslog => "rsyslog",
            Self::SyslogNg => "syslog-ng",
            Self::Postfix => "postfix",
            Self::Journald => "journald",
            Self::Files => "files",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Whether it is there, below `root`.
    pub fn is_installed(self, root: &Path) -> bool {
        let program = match self {
            Self::Apache => "usr/sbin/apache2",
            Self::Rsyslog => "usr/sbin/rsyslogd",
            Self::SyslogNg => "usr/sbin/syslog-ng",
            Self::Postfix => "usr/sbin/postfix",
            Self::Journald => "usr/lib/systemd/systemd-journald",
            Self::Files => "etc/sealedlog/follow",
        };
        root.join(program).exists()
    }

    /// What is to be done for it in the system below `root`, as its configuration is now.
    pub fn wiring(self, root: &Path) -> Result<Wiring, WiringError> {
        match self {
            Self::Apache => apache::wiring(root),
            Self::Rsyslog => rsyslog::wiring(root),
            Self::SyslogNg => syslog_ng::wiring(root),
            Self::Postfix => postfix::wiring(root),
            Self::Journald => journald::wiring(root),
            Self::Files => Ok(Wiring { units: vec![FOLLOW], ..Wiring::default() }),
        }
    }

    /// Our files among its configuration; the first one is there whenever it is wired.
    pub fn drop_ins(self) -> &'static [&'static str] {
        match self {
            Self::Apache => &[apache::DROP_IN, apache::PID_FILE],
            Self::Rsyslog => &[rsyslog::DROP_IN],
            Self::SyslogNg => &[syslog_ng::DROP_IN],
            Self::Postfix => &[postfix::DROP_IN],
            Self::Journald => &[journald::DROP_IN],
            Self::Files => &[],
        }
    }

    /// Whether it is wired.
    pub fn is_enabled(self, root: &Path) -> bool {
        match self.drop_ins() {
            [] => !self.enabled_units(root).is_empty(),
            [first, ..] => below(root, first).exists(),
        }
    }

    /// Our units that follow its log, as it was wired.
    pub fn enabled_units(self, root: &Path) -> Vec<&'static str> {
        let unit = match self {
            Self::Journald => journald::FOLLOW,
            Self::Files => FOLLOW,
            Self::Apache | Self::Rsyslog | Self::SyslogNg | Self::Postfix => return Vec::new(),
        };
        let is_wanted = below(root, SERVICES_WANTED).join(unit).symlink_metadata().is_ok();
        is_wanted.then_some(unit).into_iter().collect()
    }

    /// The link that it was wired with.
    pub fn enabled_link(self, root: &Path) -> Option<Link> {
        (self == Self::Postfix).then(|| postfix::enabled_link(root)).flatten()
    }

    /// The logs that it was wired with.
    pub fn enabled_logs(self, root: &Path) -> Vec<String> {
        match self {
            Self::Apache => wanted(root).into_iter().filter(|log| log.starts_with(apache::LOGS)).collect(),
            Self::Postfix => self.enabled_link(root).into_iter().map(|link| link.log).collect(),
            _ => self.drop_ins().iter().flat_map(|path| fifos_in(&below(root, path))).collect(),
        }
    }

    /// The service's own switch, once our files are there.
    pub fn switch_on(self) -> Option<Command> {
        (self == Self::Apache).then_some(&["a2enconf", "-m", "-q", apache::NAME])
    }

    /// The same, before they go.
    pub fn switch_off(self) -> Option<Command> {
        (self == Self::Apache).then_some(&["a2disconf", "-m", "-p", "-q", apache::NAME])
    }

    /// Whether its configuration is one that it can start with.
    pub fn check(self) -> Option<Command> {
        match self {
            Self::Apache => Some(&["apache2ctl", "configtest"]),
            Self::Rsyslog => Some(&["rsyslogd", "-N1"]),
            Self::SyslogNg => Some(&["syslog-ng", "--syntax-only"]),
            Self::Postfix | Self::Journald | Self::Files => None,
        }
    }

    /// Whether the service's own switch is on.
    pub fn is_switched_on(self, root: &Path) -> bool {
        self != Self::Apache || below(root, apache::ENABLED).exists()
    }

    /// Has it take up its configuration, if it runs. Requests and messages that are under way are not lost.
    pub fn take_up(self) -> Option<Command> {
        match self {
            Self::Apache => Some(&["systemctl", "try-reload-or-restart", "apache2.service"]),
            Self::Rsyslog => Some(&["systemctl", "try-restart", "rsyslog.service"]),
            Self::SyslogNg => Some(&["systemctl", "try-restart", "syslog-ng.service"]),
            Self::Postfix => Some(&["systemctl", "try-reload-or-restart", "postfix.service"]),
            Self::Journald => Some(&["systemctl", "try-restart", "systemd-journald.service"]),
            Self::Files => None,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The socket unit that holds a log's FIFO (systemd-escape(1)).
pub fn socket_unit(log: &str) -> String {
    let mut unit = String::from("sealedlog@");
    for (at, byte) in log.bytes().enumerate() {
        match byte {
            b'/' => unit.push('-'),
            b'.' if at == 0 => unit.push_str("\\x2e"),
            b'.' | b'_' | b':' => unit.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => unit.push(char::from(byte)),
            byte => unit.push_str(&format!("\\x{byte:02x}")),
        }
    }
    unit + ".socket"
}

/// The log that a socket unit is of.
fn log_of(unit: &str) -> Option<String> {
    let escaped = unit.strip_prefix("sealedlog@")?.strip_suffix(".socket")?;
    let (mut log, mut rest) = (Vec::new(), escaped.bytes());
    while let Some(byte) = rest.next() {
        match byte {
            b'-' => log.push(b'/'),
            b'\\' => {
                let digits = [rest.next().filter(|&x| x == b'x').and(rest.next())?, rest.next()?];
                log.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            byte => log.push(byte),
        }
    }
    String::from_utf8(log).ok()
}

/// The logs whose FIFOs systemd holds from its start on.
pub fn wanted(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(below(root, WANTED)).into_iter().flatten().flatten();
    let mut logs: Vec<String> = entries.filter_map(|entry| log_of(entry.file_name().to_str()?)).collect();
    logs.sort();
    logs
}

/// Whether a name can be that of an instance, a FIFO and a file, and means nothing else to systemd or strftime.
fn is_plain_name(log: &str) -> bool {
    let is_plain = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && !part.starts_with('.') && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    log.len() <= 100 && log.split('/').all(is_plain)
}

/// Where a plain file waits that lay in the place of a FIFO, until it is sealed.
pub fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{ASIDE}{number}"));
    PathBuf::from(name)
}

/// Those that wait, the oldest first.
pub fn asides(path: &Path) -> Vec<PathBuf> {
    let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let of = path.file_name().map(|name| format!("{}{ASIDE}", name.to_string_lossy())).unwrap_or_default();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix(&of)?.parse().ok();
    let mut numbers: Vec<u32> = entries.filter_map(number).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| aside(path, number)).collect()
}

/// Whether a name is one of those.
fn is_aside(name: &str) -> bool {
    name.contains(ASIDE)
}

/// A path of the system below `root`.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn read(root: &Path, path: &str) -> Result<String, WiringError> {
    let bytes = fs::read(below(root, path)).map_err(|source| WiringError::Read { path: PathBuf::from(path), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The logs whose FIFOs a file of ours names.
fn fifos_in(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let folder = format!("{FIFO_FOLDER}/");
    let names = text.match_indices(&folder).map(|(at, _)| {
        let name = &text[at + folder.len()..];
        name[..name.find(['"', '\n', ' ']).unwrap_or(name.len())].to_owned()
    });
    let mut logs: Vec<String> = names.collect();
    logs.sort();
    logs.dedup();
    logs
}

/// The name of a log below the FIFOs, after that of its file.
fn log_name(file: &str) -> String {
    file.strip_prefix("/var/log/").unwrap_or(file).trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_as_systemd_escapes() {
        for (log, unit) in [
            ("auth.log", "sealedlog@auth.log.socket"),
            ("apache2/other_vhosts_access.log", "sealedlog@apache2-other_vhosts_access.log.socket"),
            ("apache2/my-site.log", "sealedlog@apache2-my\\x2dsite.log.socket"),
        ] {
            assert_eq!(socket_unit(log), unit);
            assert_eq!(log_of(unit).as_deref(), Some(log));
        }
    }

    #[test]
    fn what_waits_is_found_whatever_went_before() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.log.unsealed-10", "a.log.unsealed-2", "b.log.unsealed-0", "a.log", "a.log.unsealed-x"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let path = folder.path().join("a.log");
        assert_eq!(asides(&path), [aside(&path, 2), aside(&path, 10)]);
    }

    #[test]
    fn only_plain_names_are_taken() {
        for log in ["auth.log", "apache2/my-site_1.log"] {
            assert!(is_plain_name(log), "{log}");
        }
        for log in ["", "a//b", "../x", "a b", "100%", "{host}", "a/../b", "$x", ".x", "a/"] {
            assert!(!is_plain_name(log), "{log}");
        }
    }
}
