//! Apache: `APACHE_LOG_DIR` is defined anew, as a folder in memory where the FIFOs lie.
//!
//! A definition in the configuration goes before the variable of Debian's envvars(5), however Apache is started. It holds for
//! what is read after it, so it comes first among `conf-enabled`.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use super::{DropIn, FIFO_FOLDER, Wiring, WiringError, below, is_aside, is_plain_name, read};

/// Where systemd reads which of the processes is Apache.
pub const PID_FILE: &str = "/etc/systemd/system/apache2.service.d/sealedlog-pidfile.conf";

/// As a2enconf(8) knows it.
pub const NAME: &str = "00-sealedlog";
/// The file.
pub const DROP_IN: &str = "/etc/apache2/conf-available/00-sealedlog.conf";
/// Where a2enconf(8) brings it in.
pub const ENABLED: &str = "/etc/apache2/conf-enabled/00-sealedlog.conf";
const PID_FILE_CONTENT: &str = "\
# Made by \"sealedlog enable apache\", removed by \"sealedlog disable apache\".
[Service]
# With piped logs systemd mistakes one of Apache's programs for its main process, in half of all starts; stopping it then
# cuts requests that are being served.
PIDFile=/run/apache2/apache2.pid
";

/// What its logs' names begin with.
pub const LOGS: &str = "apache2/";

const MAIN: &str = "/etc/apache2/apache2.conf";
const MODULES: &str = "/etc/apache2/mods-enabled";
const VARIABLES: &str = "/etc/apache2/envvars";
const FOLDERS: [&str; 3] = [MODULES, "/etc/apache2/conf-enabled", "/etc/apache2/sites-enabled"];
const LOG_DIR: &str = "${APACHE_LOG_DIR}/";
/// Logs that Debian's own configuration has, or an administrator who turns a site on.
const USUAL: [&str; 3] = ["access.log", "error.log", "other_vhosts_access.log"];
/// Directives whose first argument is a log.
const DIRECTIVES: [&str; 6] = ["CustomLog", "ErrorLog", "ForensicLog", "GlobalLog", "ScriptLog", "TransferLog"];

/// How Debian's own configuration says where the number of its main process is: file, name, line.
const PID_SETTINGS: [(&str, &str, &str); 2] = [
    (MAIN, "PidFile", "PidFile ${APACHE_PID_FILE}"),
    (VARIABLES, "APACHE_PID_FILE", "export APACHE_PID_FILE=/var/run/apache2$SUFFIX/apache2.pid"),
];
const OTHER_PID_FILE: &str = "a program of ours gets its logs, and its PidFile is not Debian's: give apache2.service a PIDFile= as \
                              /usr/share/doc/sealedlog/examples/apache/apache2.service.d has it, else stopping it cuts requests";

const PIPED: &str = "a program gets this log, and where it writes to is its business";
const ELSEWHERE: &str = "not below ${APACHE_LOG_DIR}, so it stays in plain text; write it as ${APACHE_LOG_DIR}/NAME";
const EARLY: &str = "read before APACHE_LOG_DIR is defined anew, so it stays in plain text; move it to a site";

pub fn wiring(root: &Path) -> Result<Wiring, WiringError> {
    let mut wiring = Wiring { logs: USUAL.map(|name| format!("{LOGS}{name}")).to_vec(), ..Wiring::default() };
    let (mut error_log, mut is_piped) = (String::new(), false);
    for path in files(root)? {
        let text = read(root, &path.to_string_lossy())?;
        let (is_main, mut is_early) = (path == Path::new(MAIN), path == Path::new(MAIN) || path.starts_with(MODULES));
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            // Ours is the first of those.
            is_early &= !(is_main && line.starts_with("Include") && line.contains("conf-enabled/"));
            if line.starts_with('#') {
                continue;
            }
            is_piped |= is_piped_to_us(line);
            let place = |what: &str| format!("{}:{}: {what}: {line}", path.display(), number + 1);
            match look(line) {
                // It is said once more behind the definition.
                Log::Ours(_) if is_early && is_main && directive(line) == Some("ErrorLog") => error_log = format!("{line}\n"),
                Log::Ours(_) if is_early => wiring.left.push(place(EARLY)),
                Log::Ours(logs) => wiring.logs.extend(logs),
                Log::Left(what) => wiring.left.push(place(what)),
                Log::NotUnderstood => {
                    return Err(WiringError::NotUnderstood { path, line: number + 1, text: line.to_owned() });
                }
                Log::None => {}
            }
        }
    }
    // Those of files that are included from elsewhere, once Apache has opened them.
    wiring.logs.extend(landed(root));
    wiring.logs.sort();
    wiring.logs.dedup();
    let folder = format!("{FIFO_FOLDER}/{}", LOGS.trim_end_matches('/'));
    let content = format!(
        "# Made by \"sealedlog enable apache\", removed by \"sealedlog disable apache\".\n\
         # A log that has no FIFO there yet lands in memory, and gets one with the next \"sealedlog enable apache\".\n\
         Define APACHE_LOG_DIR {folder}\n{error_log}"
    );
    wiring.drop_ins.push(DropIn { path: PathBuf::from(DROP_IN), content });
    if is_piped && has_usual_pid_file(root) {
        wiring.drop_ins.push(DropIn { path: PathBuf::from(PID_FILE), content: PID_FILE_CONTENT.to_owned() });
    } else if is_piped {
        wiring.left.push(OTHER_PID_FILE.to_owned());
    }
    Ok(wiring)
}

/// Whether a directive starts a filter of ours.
fn is_piped_to_us(line: &str) -> bool {
    directive(line).is_some() && line.contains('|') && line.contains("sealedlog-apache")
}

fn has_usual_pid_file(root: &Path) -> bool {
    PID_SETTINGS.iter().all(|(path, name, usual)| {
        let text = read(root, path).unwrap_or_default();
        let mut said = text.lines().map(str::trim).filter(|line| !line.starts_with('#') && line.contains(name));
        said.next() == Some(usual) && said.next().is_none()
    })
}

/// Its configuration, as Debian's main file includes it.
fn files(root: &Path) -> Result<Vec<PathBuf>, WiringError> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        let entries = match fs::read_dir(below(root, folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(WiringError::Read { path: PathBuf::from(folder), source }),
        };
        let ours = |name: &str| name.strip_suffix(".conf") == Some(NAME);
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        files.extend(names.filter(|name| name.ends_with(".conf") && !ours(name)).map(|name| Path::new(folder).join(name)));
    }
    files.sort();
    files.insert(0, PathBuf::from(MAIN));
    Ok(files)
}

/// The directive of a line, if it is one that names a log.
fn directive(line: &str) -> Option<&'static str> {
    let word = line.split_whitespace().next()?;
    DIRECTIVES.into_iter().find(|directive| directive.eq_ignore_ascii_case(word))
}

/// What a line says of logs.
enum Log {
    /// Nothing.
    None,
    /// These are below the folder that is defined anew.
    Ours(Vec<String>),
    /// It is not, and why.
    Left(&'static str),
    /// It is, under a name that no FIFO can have.
    NotUnderstood,
}

fn look(line: &str) -> Log {
    let argument = line.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
    if argument.trim_start_matches('"').starts_with('|') {
        return if line.contains(LOG_DIR) { Log::Left(PIPED) } else { Log::None };
    }
    let (mut at, mut logs) = (0, Vec::new());
    while let Some(found) = line[at..].find(LOG_DIR) {
        let from = at + found + LOG_DIR.len();
        let to = line[from..].find(|c: char| c == '"' || c == '\'' || c.is_whitespace()).map_or(line.len(), |len| from + len);
        let log = format!("{LOGS}{}", &line[from..to]);
        if !is_plain_name(&log) {
            return Log::NotUnderstood;
        }
        logs.push(log);
        at = to;
    }
    let is_file = !argument.starts_with("syslog") && !argument.trim_start_matches('"').starts_with("/dev/null");
    match logs.as_slice() {
        [] if directive(line).is_some() && is_file => Log::Left(ELSEWHERE),
        [] => Log::None,
        _ => Log::Ours(logs),
    }
}

/// Plain files that lie where FIFOs are to be.
fn landed(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(below(root, FIFO_FOLDER).join(LOGS)).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let logs = files.filter_map(|entry| Some(format!("{LOGS}{}", entry.file_name().to_str()?)));
    logs.filter(|log| is_plain_name(log) && !is_aside(log)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_of_all_sites_are_found_and_others_named() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = below(root.path(), path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(MAIN, "# ErrorLog: x\nErrorLog ${APACHE_LOG_DIR}/error.log\nIncludeOptional conf-enabled/*.conf\n");
        write("/etc/apache2/conf-enabled/00-sealedlog.conf", "ErrorLog ${APACHE_LOG_DIR}/ours.log\n");
        write(
            "/etc/apache2/sites-enabled/a.conf",
            "<VirtualHost *>\n\tErrorLog \"${APACHE_LOG_DIR}/shop-error.log\"\n\tcustomlog ${APACHE_LOG_DIR}/shop/access.log combined\n",
        );
        write(
            "/etc/apache2/sites-enabled/b.conf",
            "CustomLog /srv/b.log combined\nErrorLog syslog:local1\nCustomLog \"|rotatelogs ${APACHE_LOG_DIR}/c 86400\" combined\nErrorLog /var/log/x.log\n",
        );
        write("/etc/apache2/mods-enabled/m.conf", "TransferLog ${APACHE_LOG_DIR}/early.log\n");
        write("/run/sealedlog-in/apache2/landed.log", "a line\n");
        write("/run/sealedlog-in/apache2/x.log.unsealed-0", "a line\n");
        write("/etc/apache2/sites-enabled/b.conf~", "CustomLog ${APACHE_LOG_DIR}/old.log combined\n");
        let Wiring { logs, drop_ins, left, .. } = wiring(root.path()).unwrap();
        let expected = ["access.log", "error.log", "landed.log", "other_vhosts_access.log", "shop-error.log", "shop/access.log"];
        assert_eq!(logs, expected.map(|name| format!("apache2/{name}")));
        let content = "Define APACHE_LOG_DIR /run/sealedlog-in/apache2\nErrorLog ${APACHE_LOG_DIR}/error.log\n";
        assert!(drop_ins[0].content.ends_with(content), "{}", drop_ins[0].content);
        let places: Vec<_> = left.iter().map(|text| text.split(": ").next().unwrap()).collect();
        assert_eq!(places[0], "/etc/apache2/mods-enabled/m.conf:1");
        assert_eq!(places[1..], [1, 3, 4].map(|line| format!("/etc/apache2/sites-enabled/b.conf:{line}")));
        // With our own program systemd is told which process is Apache, where that is as usual.
        write("/etc/apache2/sites-enabled/d.conf", "CustomLog \"|/usr/bin/sealedlog-apache /var/log/d.log 86400\" combined\n");
        let piped = super::wiring(root.path()).unwrap();
        assert_eq!((piped.drop_ins.len(), piped.left.last().unwrap().as_str()), (1, OTHER_PID_FILE));
        let main = fs::read_to_string(below(root.path(), MAIN)).unwrap();
        write(MAIN, &format!("# PidFile: x\nPidFile ${{APACHE_PID_FILE}}\n{main}"));
        write(VARIABLES, "export APACHE_PID_FILE=/var/run/apache2$SUFFIX/apache2.pid\n");
        let piped = super::wiring(root.path()).unwrap();
        assert_eq!(piped.drop_ins[1].path, Path::new(PID_FILE));
        assert_eq!(piped.left.len(), 4);
        // No FIFO can have this name.
        write("/etc/apache2/sites-enabled/c.conf", "CustomLog ${APACHE_LOG_DIR}/$site.log combined\n");
        assert!(matches!(super::wiring(root.path()), Err(WiringError::NotUnderstood { line: 1, .. })));
    }
}
