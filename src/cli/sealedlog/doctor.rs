//! `sealedlog doctor`: which logs of this machine are still written in plain text.
//!
//! Promises: nothing is changed; exit status 0 only where every process could be looked at.
#![forbid(unsafe_code)]

use std::fmt::{Arguments, Write as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::PROGRAM;
use crate::cli::{Outcome, Trouble, bytes, print, printable, processes, shown};
use crate::host::open_files::OpenFiles;
use crate::plaintext::{Content, PlainFile, State, Survey};
use crate::services::Service;

pub const EXAMPLES: &str = "\
Examples:
  sealedlog doctor                     what is still written in plain text, by whom, and what to do about it
  sealedlog doctor --json | jq -r 'select(.state == \"open\").file'";

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Folder of the logs
    #[arg(long, value_name = "DIR", default_value = "/var/log")]
    logs: PathBuf,

    /// A file that nobody has open counts as still written where it was written within so many hours
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    within: u32,

    /// One JSON object a line: each file, then a summary
    #[arg(long)]
    json: bool,
}

/// Exit status 1 where plain text is still written.
pub fn run(args: &DoctorArgs) -> Outcome {
    let (proc, hint) = (Path::new("/proc"), "run it as root, on the machine itself");
    let open =
        OpenFiles::look(proc).map_err(|error| Trouble::new(format_args!("cannot read {}: {error}", proc.display()), hint))?;
    let survey = Survey::of(&args.logs, &open, SystemTime::now(), HOUR * args.within).map_err(|error| {
        Trouble::new(format_args!("cannot read {}: {error}", args.logs.display()), "name the folder of the logs as --logs")
    })?;
    print(if args.json { as_json(&survey, open.hidden) } else { as_text(&survey) })?;
    for (path, error) in &survey.unreadable {
        warn(format_args!("{} cannot be looked at: {error}", shown(path)));
    }
    if open.hidden > 0 {
        let what = if open.hidden == 1 { "process" } else { "processes" };
        warn(format_args!("{} {what} cannot be looked at, and may write more: run it as root", open.hidden));
    }
    match count(&survey, |state| state.receives()) {
        0 if open.hidden > 0 || !survey.unreadable.is_empty() => {
            Err(Trouble::new("not all could be looked at, so nothing is certain", "run it as root, and see what is warned of"))
        }
        plain => Ok(ExitCode::from(u8::from(plain > 0))),
    }
}

fn count(survey: &Survey, wanted: impl Fn(State) -> bool) -> usize {
    survey.files.iter().filter(|file| wanted(file.state)).count()
}

fn as_text(survey: &Survey) -> String {
    let mut text = String::new();
    let (now, old): (Vec<_>, Vec<_>) = survey.files.iter().partition(|file| file.state != State::Old);
    for file in now {
        let _ = writeln!(text, "{}: {}", shown(&file.path), what(file));
        let _ = writeln!(text, "    {}", remedy(file));
    }
    for file in &old {
        let _ = writeln!(text, "{}: old, {}", shown(&file.path), what(file));
    }
    if old.iter().any(|file| file.content == Content::Lines) {
        let _ =
            writeln!(text, "    sealedlog seal-existing seals old plain text and removes it; unpack first what is compressed");
    }
    let plain = count(survey, |state| state.receives());
    let _ = writeln!(
        text,
        "{plain} {} written in plain text, {} old and not sealed ({}), {} sealed",
        if plain == 1 { "file is" } else { "files are" },
        old.len(),
        bytes(old.iter().map(|file| file.length).sum()),
        survey.sealed
    );
    text
}

fn as_json(survey: &Survey, hidden: usize) -> String {
    let mut text = String::new();
    for file in &survey.files {
        let object = json!({
            "file": file.path.to_string_lossy(),
            "state": file.state.name(),
            "content": file.content.name(),
            "removed": file.removed,
            "bytes": file.length,
            "modified": modified(file).map(|time| time.to_string()),
            "writers": file.writers,
            "remedy": (file.state != State::Old).then(|| remedy(file)),
        });
        let _ = writeln!(text, "{object}");
    }
    let summary = json!({
        "plain": count(survey, |state| state.receives()),
        "old": count(survey, |state| state == State::Old),
        "logins": count(survey, |state| state == State::Logins),
        "memory": count(survey, |state| state == State::Memory),
        "sealed": survey.sealed,
        "hidden_processes": hidden,
        "unreadable": survey.unreadable.iter().map(|(path, _)| path.to_string_lossy()).collect::<Vec<_>>(),
    });
    let _ = writeln!(text, "{}", json!({ "summary": summary }));
    text
}

fn what(file: &PlainFile) -> String {
    let content = match file.content {
        Content::Lines | Content::Sealed => "plain text",
        Content::Logins => "records of logins, in binary",
        Content::Journal => "systemd's journal, not sealed",
        Content::Compressed => "compressed",
    };
    let mut text = content.to_owned();
    let _ = write!(text, ", {}", bytes(file.length));
    if file.removed {
        text.push_str(", removed or replaced while it was open");
    }
    if let (State::Written, Some(time)) = (file.state, modified(file)) {
        let _ = write!(text, ", written {}", time.strftime("%Y-%m-%d %H:%M UTC"));
    }
    if !file.writers.is_empty() {
        let _ = write!(text, ", open in {}", processes(&file.writers));
    }
    text
}

/// What an administrator can do about a file.
fn remedy(file: &PlainFile) -> String {
    let program = file.writers.first().map(|process| process.program.as_str());
    match (file.state, program) {
        (State::Logins, _) => "it stays: login and sshd keep records of fixed length in it, and write no lines; who logs in is \
                               in the log of authentication, too"
            .to_owned(),
        (State::Memory, _) if file.content != Content::Journal => {
            "it stays: the newest lines of a log, in memory, for as long as its \
                                                                    filter is told to show them with --window"
                .to_owned()
        }
        (State::Memory, _) => "it stays: what journald keeps in memory is gone with the power".to_owned(),
        _ if file.content == Content::Journal && file.writers.is_empty() => {
            "journald wrote it before: read what you need of it, then remove it".to_owned()
        }
        _ if file.content == Content::Journal => enable(Service::Journald),
        (_, Some("apache2" | "httpd")) => enable(Service::Apache),
        (_, Some("rsyslogd")) => enable(Service::Rsyslog),
        (_, Some("syslog-ng")) => enable(Service::SyslogNg),
        (_, Some("postlogd" | "master")) => enable(Service::Postfix),
        (_, Some("rotatelogs")) => "run sealedlog-apache in its place: it takes the same command line".to_owned(),
        (_, Some(program)) => {
            format!("let {} log to syslog, or run it as PROGRAM | sealedlog seal -o {}", printable(program), shown(&file.path))
        }
        (_, None) => match writes_itself(&file.path) {
            Some(program) => format!("{program} writes it by itself; {PROGRAM} enable files: it is followed, sealed and emptied"),
            None => format!(
                "nobody has it open: if it is from before, seal-existing seals and removes it ({PROGRAM} seal-existing {}); else find \
                 out which program writes it, and let that log to syslog",
                shown(&file.path)
            ),
        },
    }
}

fn enable(service: Service) -> String {
    format!("{PROGRAM} enable {service}; what that says of this file, if it names it")
}

/// Programs that open their logs for a moment only, so that they are seldom seen.
fn writes_itself(path: &Path) -> Option<&'static str> {
    let ends = |name: &str| path.ends_with(name);
    match () {
        () if ends("dpkg.log") => Some("dpkg"),
        () if ends("alternatives.log") => Some("update-alternatives"),
        () if ends("apt/history.log") || ends("apt/term.log") => Some("apt"),
        () if path.iter().any(|part| part == "unattended-upgrades") => Some("unattended-upgrades"),
        () => None,
    }
}

fn modified(file: &PlainFile) -> Option<Timestamp> {
    Timestamp::try_from(file.modified).ok()
}

fn warn(what: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{PROGRAM}: warning: {what}");
}
