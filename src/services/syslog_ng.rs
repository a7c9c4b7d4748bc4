//! syslog-ng: its destinations that are files get FIFOs in their place, by a second definition that goes before the first.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use super::{DropIn, FIFO_FOLDER, Wiring, WiringError, below, is_plain_name, log_name, read};

/// The file.
pub const DROP_IN: &str = "/etc/syslog-ng/conf.d/zz-sealedlog.conf";

const FOLDER: &str = "/etc/syslog-ng/conf.d";
const MAIN: &str = "/etc/syslog-ng/syslog-ng.conf";

pub fn wiring(root: &Path) -> Result<Wiring, WiringError> {
    let main = read(root, MAIN)?;
    let (mut wiring, mut definitions) = (Wiring::default(), String::new());
    let mut is_included = false;
    for (at, line) in main.lines().enumerate() {
        let line = line.trim();
        is_included |= line.starts_with("@include") && line.contains("conf.d");
        if line.starts_with('#') || line.starts_with("source ") || !names_file(line) {
            continue;
        }
        let not_understood = || WiringError::NotUnderstood { path: PathBuf::from(MAIN), line: at + 1, text: line.to_owned() };
        // Behind our file it would be the last definition.
        let definition = line.strip_prefix("destination ").filter(|_| !is_included).ok_or_else(not_understood)?;
        let (name, log) = destination(definition).ok_or_else(not_understood)?;
        definitions += &format!("destination {name} {{ pipe(\"{FIFO_FOLDER}/{log}\" perm(0600) log-fifo-size(100000)); }};\n");
        wiring.logs.push(log);
    }
    if !is_included {
        return Err(WiringError::NotUnderstood {
            path: PathBuf::from(MAIN),
            line: main.lines().count(),
            text: "no @include of conf.d".to_owned(),
        });
    }
    wiring.left = others(root);
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

/// Whether a line has a file in it as source or destination, however it is spaced.
fn names_file(line: &str) -> bool {
    let mut found = line.match_indices("file");
    found.any(|(at, word)| {
        let begins = !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        begins && line[at + word.len()..].trim_start().starts_with('(')
    })
}

/// Files of others in our file's folder that name files.
fn others(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(below(root, FOLDER)).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|suffix| suffix == "conf"));
    let is_other = |path: &PathBuf| path.file_name() != Path::new(DROP_IN).file_name();
    let names = |path: &PathBuf| {
        fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| !line.trim().starts_with('#') && names_file(line)))
    };
    let found = paths.filter(|path| is_other(path) && names(path));
    found.map(|path| format!("{}: files that it names stay in plain text", path.display())).collect()
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

    fn of(main: &str) -> Result<Wiring, WiringError> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/syslog-ng/conf.d")).unwrap();
        fs::write(root.path().join("etc/syslog-ng/syslog-ng.conf"), main).unwrap();
        fs::write(root.path().join("etc/syslog-ng/conf.d/a.conf"), "destination d_a { file(\"/var/log/a\"); };\n").unwrap();
        wiring(root.path())
    }

    const INCLUDE: &str = "@include \"/etc/syslog-ng/conf.d/*.conf\"\n";

    #[test]
    fn what_is_not_understood_is_left() {
        let auth = "source s_k { file(\"/proc/kmsg\"); };\ndestination d_auth { file(\"/var/log/auth.log\"); };\n";
        let wiring = of(&format!("{auth}{INCLUDE}")).unwrap();
        assert_eq!(wiring.logs, ["auth.log"]);
        assert!(wiring.left[0].contains("conf.d/a.conf"), "{:?}", wiring.left);
        for more in [
            "destination d {\nfile(\"/x\");\n};",
            "log { destination { file (\"/x\"); }; };",
            "destination\td { file(\"/x\"); };",
        ] {
            assert!(matches!(of(&format!("{auth}{more}\n{INCLUDE}")), Err(WiringError::NotUnderstood { .. })), "{more}");
        }
        assert!(of(&format!("{INCLUDE}{auth}")).is_err() && of(auth).is_err());
        for line in ["options { create_file(yes); };", "log_file_size(1)", "profile(x)"] {
            assert!(!names_file(line), "{line}");
        }
    }

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
