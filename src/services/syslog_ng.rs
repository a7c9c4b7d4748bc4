//! syslog-ng: its destinations that are files get FIFOs in their place, by a second definition that goes before the first.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::{DropIn, FIFO_FOLDER, Wiring, WiringError, is_plain_name, log_name, read};

/// The file.
pub const DROP_IN: &str = "/etc/syslog-ng/conf.d/zz-sealedlog.conf";

const MAIN: &str = "/etc/syslog-ng/syslog-ng.conf";

pub fn wiring(root: &Path) -> Result<Wiring, WiringError> {
    let main = read(root, MAIN)?;
    let (mut wiring, mut definitions) = (Wiring::default(), String::new());
    for (at, line) in main.lines().enumerate() {
        let line = line.trim();
        let Some(definition) = line.strip_prefix("destination ").filter(|_| line.contains("file(")) else { continue };
        let not_understood = || WiringError::NotUnderstood { path: PathBuf::from(MAIN), line: at + 1, text: line.to_owned() };
        let (name, log) = destination(definition).ok_or_else(not_understood)?;
        definitions += &format!("destination {name} {{ pipe(\"{FIFO_FOLDER}/{log}\" perm(0600)); }};\n");
        wiring.logs.push(log);
    }
    if wiring.logs.is_empty() {
        return Err(WiringError::NoLogs(PathBuf::from(MAIN)));
    }
    wiring.logs.sort();
    wiring.logs.dedup();
    let content = format!(
        "# Made by \"sealedlog enable syslog-ng\", removed by \"sealedlog disable syslog-ng\": the files of {MAIN}\n\
         # become FIFOs. After a change there, \"sealedlog enable syslog-ng\" makes this anew.\n\
         @define allow-config-dups 1\n{definitions}"
    );
    wiring.drop_ins.push(DropIn { path: PathBuf::from(DROP_IN), content });
    Ok(wiring)
}

/// Name and log of a destination that is one file and nothing else.
fn destination(definition: &str) -> Option<(&str, String)> {
    let (name, body) = definition.split_once('{')?;
    let body = body.trim().strip_suffix("};")?.trim().strip_suffix(';')?.trim();
    let file = body.strip_prefix("file(\"")?.strip_suffix("\")")?;
    let log = log_name(file);
    (file.starts_with('/') && is_plain_name(&log)).then_some((name.trim(), log))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_what_is_more() {
        assert_eq!(destination("d_auth { file(\"/var/log/auth.log\"); };"), Some(("d_auth", "auth.log".to_owned())));
        assert_eq!(destination("d_news{file(\"/var/log/news/news.err\");};"), Some(("d_news", "news/news.err".to_owned())));
        for more in
            ["d { file(\"/var/log/$HOST\"); };", "d { file(\"/a\" perm(0600)); };", "d { file(\"/a\"); file(\"/b\"); };", "d {"]
        {
            assert_eq!(destination(more), None, "{more}");
        }
    }
}
