//! Postfix: where it writes its log by itself (`maillog_file`, postlogd(8)), the file's name becomes a link to a FIFO.
//!
//! Where it does not, its lines go through syslog, and there is nothing to do for it.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{DropIn, Link, Wiring, WiringError, below, is_plain_name, log_name, read};

/// Says which file was made a link.
pub const DROP_IN: &str = "/etc/sealedlog/maillog_file";

const MAIN: &str = "/etc/postfix/main.cf";
const THROUGH_SYSLOG: &str = "maillog_file is not set, so it logs through syslog, and is sealed with it";

pub fn wiring(root: &Path) -> Result<Wiring, WiringError> {
    let Some((line, file)) = maillog_file(&read(root, MAIN)?) else {
        return Ok(Wiring { left: vec![THROUGH_SYSLOG.to_owned()], ..Wiring::default() });
    };
    let log = log_name(&file);
    if !file.starts_with('/') || file.starts_with("/dev/") || !is_plain_name(&log) {
        return Err(WiringError::NotUnderstood { path: PathBuf::from(MAIN), line, text: format!("maillog_file = {file}") });
    }
    let folder = Path::new(&file).parent().unwrap_or(Path::new("/"));
    let error = |source| WiringError::Read { path: folder.to_owned(), source };
    let metadata = fs::metadata(below(root, &folder.to_string_lossy())).map_err(error)?;
    // Postfix follows no other link.
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return Err(error(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "Postfix follows a link there only where nobody but root may write to this folder",
        )));
    }
    let link = Link { path: PathBuf::from(&file), log: log.clone() };
    let content = format!(
        "# Made by \"sealedlog enable postfix\", removed by \"sealedlog disable postfix\": this file is a link to a FIFO.\n{file}\n"
    );
    let drop_ins = vec![DropIn { path: PathBuf::from(DROP_IN), content }];
    Ok(Wiring { logs: vec![log], drop_ins, link: Some(link), ..Wiring::default() })
}

/// The file that was made a link.
pub fn enabled_link(root: &Path) -> Option<Link> {
    let text = read(root, DROP_IN).ok()?;
    let file = text.lines().find(|line| line.starts_with('/'))?;
    Some(Link { path: PathBuf::from(file), log: log_name(file) })
}

/// The parameter's value and the line that it begins in (postconf(5)): the last one counts; a line that begins with a blank goes on.
fn maillog_file(main: &str) -> Option<(usize, String)> {
    let mut last: Option<(usize, String)> = None;
    let mut goes_on = false;
    for (at, line) in main.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if line.starts_with(char::is_whitespace) {
            if let Some((_, value)) = last.as_mut().filter(|_| goes_on) {
                *value = format!("{value} {}", line.trim()).trim().to_owned();
            }
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        goes_on = name.trim() == "maillog_file";
        if goes_on {
            last = Some((at + 1, value.trim().to_owned()));
        }
    }
    last.filter(|(_, value)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts() {
        for (main, expected) in [
            ("", None),
            ("maillog_file =\n", None),
            ("# maillog_file = /x\nmaillog_file_prefixes = /var\n", None),
            ("maillog_file = /var/log/mail.log\n", Some((1, "/var/log/mail.log"))),
            ("maillog_file = /a\nx = y\n z\nmaillog_file=/b\n", Some((4, "/b"))),
            ("x = y\nmaillog_file =\n# more\n\n  /var/log/postfix.log\n", Some((2, "/var/log/postfix.log"))),
            ("maillog_file = /a\nmaillog_file = \n", None),
        ] {
            let found = maillog_file(main);
            assert_eq!(found.as_ref().map(|(line, value)| (*line, value.as_str())), expected, "{main:?}");
        }
    }

    #[test]
    fn only_a_file_that_can_be_a_link_is_wired() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| fs::create_dir_all(root.path().join(name)).unwrap();
        folder("etc/postfix");
        folder("var/log");
        folder("etc/sealedlog");
        let of = |value: &str| {
            fs::write(root.path().join("etc/postfix/main.cf"), format!("maillog_file = {value}\n")).unwrap();
            wiring(root.path())
        };
        if nix::unistd::Uid::effective().is_root() {
            let wired = of("/var/log/mail.log").unwrap();
            assert_eq!((wired.logs, wired.left), (vec!["mail.log".to_owned()], vec![]));
            fs::write(root.path().join(&DROP_IN[1..]), &wired.drop_ins[0].content).unwrap();
            assert_eq!(enabled_link(root.path()), wired.link);
        }
        for value in ["/dev/stdout", "/var/log/a b", "$x", "mail.log", "/var/log/$x"] {
            assert!(matches!(of(value), Err(WiringError::NotUnderstood { line: 1, .. })), "{value}");
        }
        let path = root.path().join("var/log");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o775)).unwrap();
        assert!(of("/var/log/mail.log").unwrap_err().to_string().contains("nobody but root"));
        assert_eq!(of("").unwrap(), Wiring { left: vec![THROUGH_SYSLOG.to_owned()], ..Wiring::default() });
    }
}
