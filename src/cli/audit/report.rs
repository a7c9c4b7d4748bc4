//! `sealedlog-audit report`: what sealed logs say, in a file to read.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::PROGRAM;
use super::evidence::{Evidence, stopped};
use super::input::{InputArgs, TrustArgs};
use super::remembered::Remembered;
use crate::audit::escape::escape;
use crate::audit::hashes::Hashed;
use crate::audit::report::{Collector, Examined, FileReport, Heading, html, json, text};
use crate::audit::rules::{RuleError, Rules};
use crate::audit::verify::Trust;
use crate::cli::{Outcome, Trouble, print};
use crate::host::clock;

const EXAMPLES: &str = "\
Examples:
  sealedlog-audit report /evidence/ --key auditor.key --genesis \"$(cat genesis.txt)\" -o report.html
  sealedlog-audit report /evidence/ --key auditor.key --ledger audits.json --auditor 'Anna Example' --format text | less
  sealedlog-audit report /evidence/ --key auditor.key --rules my-rules/ --format json | jq '.found[].title'";

/// What `report` was asked for.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    trust: TrustArgs,

    /// File to write, whole or not at all, for your eyes only; without it the report goes to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write over the file of --output
    #[arg(long, requires = "output")]
    force: bool,

    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,

    /// What stands above the report
    #[arg(long, default_value = "Audit of sealed logs")]
    title: String,

    /// Rules of your own, in Sigma's form, in a file or the *.yml of a folder; may be repeated
    #[arg(long, value_name = "FILE|DIR")]
    rules: Vec<PathBuf>,

    /// Zone of time stamps that name none: UTC, Europe/Vienna
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = parse_zone)]
    time_zone: TimeZone,

    /// Files older than this may have been removed on purpose: 200d, 12h
    #[arg(long, value_name = "AGE", value_parser = crate::audit::age)]
    retention: Option<Duration>,

    /// Every log must have a mark at or after this time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME")]
    marked_since: Option<Timestamp>,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One file for a browser, that needs no network
    Html,
    /// 80 columns, for a terminal or paper
    Text,
    /// The same for programs
    Json,
}

fn parse_zone(name: &str) -> Result<TimeZone, String> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| format!("{name} is no time zone; write for instance UTC or Europe/Vienna"))
}

/// Makes the report. Exit status 1 where the verification has anything to say.
pub fn run(args: &ReportArgs) -> Outcome {
    let rules = Rules::load(&args.rules).map_err(|error| wrong_rules(&error))?;
    if let Some(path) = &args.output
        && !args.force
        && path.symlink_metadata().is_ok()
    {
        return Err(Trouble::new(
            format_args!("{} is there already", shown(path)),
            "give another name, or --force to write over it",
        ));
    }
    let mut evidence = Evidence::new(&args.input)?;
    let asked = |trust: &mut Trust| (trust.retention, trust.marked_since) = (args.retention, args.marked_since);
    let (remembered, mut verifier) = Remembered::read(&args.trust, asked)?;
    let heading = Heading {
        title: args.title.clone(),
        auditor: remembered.auditor().to_owned(),
        software: format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")),
    };
    let mut collector = Collector::new(&rules, args.time_zone.clone(), clock::now());
    let paths = evidence.files.files.clone();
    let (read, hashed) = std::thread::scope(|scope| {
        let hashes = scope.spawn(|| paths.iter().map(|path| Hashed::read(path)).collect::<Vec<_>>());
        (evidence.read(&mut verifier, &mut collector, true), hashes.join())
    });
    if let Err(stop) = read {
        return stopped(stop);
    }
    let examined = Examined {
        // A thread that panicked has told so itself.
        files: hashed.into_iter().flatten().flatten().map(file_report).collect(),
        skipped: evidence.files.skipped.iter().map(|path| shown(path)).collect(),
        unreadable: evidence.unreadable().to_vec(),
        out_of_place: 0,
    };
    let mut verified = verifier.finish();
    remembered.weigh(&mut verified);
    remembered.write("report", String::new(), evidence.files.files.len(), &verified, None)?;
    evidence.tell_skipped();
    let all_is_well = verified.findings.is_empty();
    let status = evidence.status(&verified, all_is_well);
    let report = collector.finish(heading, verified, examined);
    let text = match args.format {
        Format::Html => html::render(&report),
        Format::Text => text::render(&report),
        Format::Json => json::render(&report),
    };
    match &args.output {
        Some(path) => {
            write(path, args.force, text.as_bytes()).map_err(|error| {
                Trouble::new(
                    format_args!("cannot write {}: {error}", shown(path)),
                    "check the folder, its permissions and the room on the disk",
                )
            })?;
            let _ = writeln!(io::stderr(), "{PROGRAM}: note: {}", report.verification.verdict);
        }
        None => drop(print(text)?),
    }
    Ok(status)
}

fn file_report(hashed: Hashed) -> FileReport {
    let changed = hashed.has_changed();
    FileReport { path: shown(&hashed.path), bytes: hashed.bytes, sha256: hashed.sha256, changed }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

fn wrong_rules(error: &RuleError) -> Trouble {
    let hint = match error {
        RuleError::Read { .. } => "check the path and its permissions",
        RuleError::Empty(_) => "give a file by name, or a folder with rules",
        _ => "change the rule; docs/report.md says what a rule may have",
    };
    Trouble::new(escape(error.to_string().as_bytes()), hint)
}

/// Writes a file that is there with all of its content, or not at all.
fn write(path: &Path, force: bool, content: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".part{}", std::process::id()));
    let part = PathBuf::from(part);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        // A link is not made over what came in the meantime.
        if force { fs::rename(&part, path) } else { fs::hard_link(&part, path).and_then(|()| fs::remove_file(&part)) }
    });
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}
