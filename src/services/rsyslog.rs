//! rsyslog: the rules of its main file once more, with FIFOs in the place of files, and behind them `stop`.
//!
//! Ours is the last of `rsyslog.d`: what other packages and the administrator have there comes before it.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::{DropIn, FIFO_FOLDER, Wiring, WiringError, is_plain_name, log_name, read};

/// The file.
pub const DROP_IN: &str = "/etc/rsyslog.d/zz-sealedlog.conf";

const MAIN: &str = "/etc/rsyslog.conf";
/// Lines that are no rules, and that mean the same for rules wherever they stand.
const SETTINGS: [&str; 3] = ["module(", "global(", "input("];
/// The same of the older form.
const DIRECTIVES: [&str; 12] = [
    "$ActionFileDefaultTemplate",
    "$AllowedSender",
    "$DirCreateMode",
    "$DirGroup",
    "$DirOwner",
    "$FileCreateMode",
    "$FileGroup",
    "$FileOwner",
    "$ModLoad",
    "$RepeatedMsgReduction",
    "$Umask",
    "$WorkDirectory",
];
/// What brings our file in.
const INCLUDES: [&str; 2] = ["$IncludeConfig /etc/rsyslog.d/*.conf", "include(file=\"/etc/rsyslog.d/*.conf\""];
/// Actions that write no file: to users, to another host, to a FIFO, to nobody.
const OTHER_ACTIONS: [&str; 5] = [":omusrmsg:", "@", "|", "~", "stop"];

pub fn wiring(root: &Path) -> Result<Wiring, WiringError> {
    let main = read(root, MAIN)?;
    let (mut wiring, mut rules) = (Wiring::default(), String::new());
    let (mut has_queue, mut is_included) = (false, false);
    for (at, line) in main.lines().enumerate() {
        let line = line.trim();
        let is_directive = DIRECTIVES.iter().any(|name| line.split_whitespace().next() == Some(name));
        if line.is_empty() || line.starts_with('#') || is_directive || SETTINGS.iter().any(|setting| line.starts_with(setting)) {
            continue;
        }
        if INCLUDES.iter().any(|include| line.starts_with(include)) && wiring.logs.is_empty() && rules.is_empty() {
            is_included = true;
            continue;
        }
        if line.starts_with("main_queue(") && line.ends_with(')') {
            has_queue = true;
            continue;
        }
        let not_understood = || WiringError::NotUnderstood { path: PathBuf::from(MAIN), line: at + 1, text: line.to_owned() };
        let (selector, action) = line.split_once(char::is_whitespace).ok_or_else(not_understood)?;
        // Before our file comes in, a rule would write what ours writes, too.
        if !is_selector(selector) || !is_included {
            return Err(not_understood());
        }
        let action = action.trim_start();
        let Some(file) = action.trim_start_matches('-').strip_prefix('/') else {
            if !OTHER_ACTIONS.iter().any(|other| action.starts_with(other)) {
                return Err(not_understood());
            }
            rules += &format!("{selector} {action}\n");
            continue;
        };
        let log = log_name(&format!("/{file}"));
        if !is_plain_name(&log) {
            return Err(not_understood());
        }
        rules += &format!(
            "{selector} action(type=\"ompipe\" pipe=\"{FIFO_FOLDER}/{log}\" template=\"RSYSLOG_FileFormat\" \
             action.resumeRetryCount=\"-1\" action.resumeInterval=\"1\")\n"
        );
        wiring.logs.push(log);
    }
    if wiring.logs.is_empty() {
        return Err(WiringError::NoLogs(PathBuf::from(MAIN)));
    }
    wiring.logs.sort();
    wiring.logs.dedup();
    // With a second worker, which rsyslog starts under load, lines change their order. It can be said only once.
    let queue = if has_queue { "" } else { "main_queue(queue.workerThreads=\"1\")\n" };
    let content = format!(
        "# Made by \"sealedlog enable rsyslog\", removed by \"sealedlog disable rsyslog\": the rules of {MAIN},\n\
         # with FIFOs in the place of files. After a change there, \"sealedlog enable rsyslog\" makes this anew.\n\
         {queue}{rules}# Else the rules behind this would write plain text.\nstop\n"
    );
    wiring.drop_ins.push(DropIn { path: PathBuf::from(DROP_IN), content });
    Ok(wiring)
}

/// Facilities and priorities, as in `auth,authpriv.*;mail.none` (rsyslog.conf(5)).
fn is_selector(word: &str) -> bool {
    let is_part = |part: &str| {
        let Some((facilities, priority)) = part.split_once('.') else { return false };
        let names = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*,=!".contains(&byte));
        !facilities.is_empty() && !priority.is_empty() && names(facilities) && names(priority)
    };
    word.split(';').filter(|part| !part.is_empty()).all(is_part)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(main: &str) -> Result<Wiring, WiringError> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/rsyslog.conf"), main).unwrap();
        wiring(root.path())
    }

    const INCLUDE: &str = "$IncludeConfig /etc/rsyslog.d/*.conf\n";

    #[test]
    fn files_become_fifos_and_the_rest_stays() {
        let wiring = of("# x\nmodule(load=\"imuxsock\") # y\n$FileOwner root\n$IncludeConfig /etc/rsyslog.d/*.conf\n\
            *.*;auth,authpriv.none\t\t-/var/log/syslog\nauth,authpriv.*  /var/log/auth.log\n*.emerg\t:omusrmsg:*\n*.* @@relay:514\n");
        let Wiring { logs, drop_ins, left, .. } = wiring.unwrap();
        assert_eq!((logs, left), (vec!["auth.log".to_owned(), "syslog".to_owned()], vec![]));
        let content = &drop_ins[0].content;
        for line in [
            "*.*;auth,authpriv.none action(type=\"ompipe\" pipe=\"/run/sealedlog-in/syslog\"",
            "*.emerg :omusrmsg:*\n",
            "*.* @@relay:514\n",
            "\nmain_queue(",
        ] {
            assert!(content.contains(line), "{line} in {content}");
        }
        assert!(content.ends_with("\nstop\n") && !content.contains("/var/log/"));
    }

    /// Behind `stop` such a rule would be lost.
    #[test]
    fn what_is_not_understood_is_left() {
        for rule in [
            "if $msg contains \"x\" then /var/log/x",
            "action(type=\"omfile\" file=\"/x\")",
            ":msg, contains, \"x\" /var/log/x",
            "*.* /var/log/%x",
            "*.* action(type=\"omfile\" file=\"/var/log/all.log\")",
            "*.* ?DynaFile",
            "*.* -?DynaFile",
            "*.* ^/bin/x",
            "$ActionQueueType LinkedList",
            "$PrivDropToUser syslog",
            "& stop",
            "$IncludeConfig /etc/rsyslog.d/*.conf",
        ] {
            let error = of(&format!("{INCLUDE}*.* /var/log/syslog\n{rule}\n")).unwrap_err().to_string();
            assert!(error.starts_with("/etc/rsyslog.conf:3: '"), "{error}");
        }
        let early = of("*.* /var/log/syslog\n$IncludeConfig /etc/rsyslog.d/*.conf\n").unwrap_err().to_string();
        assert!(early.starts_with("/etc/rsyslog.conf:1: '"), "{early}");
        assert!(matches!(of("# nothing\n"), Err(WiringError::NoLogs(_))));
    }
}
