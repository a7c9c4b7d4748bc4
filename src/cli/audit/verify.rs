//! `sealedlog-audit verify`: whether sealed files are what was sealed.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::{SpanRelativeTo, Timestamp};
use serde_json::json;

use super::PROGRAM;
use super::input::{InputArgs, TrustArgs, unreadable};
use super::terminal::escape;
use crate::audit::finding::Severity;
use crate::audit::read::Opener;
use crate::audit::session::{self, Line, Reader};
use crate::audit::verify::Report;
use crate::cli::{Outcome, Trouble, print};

const EXAMPLES: &str = "\
Examples:
  sealedlog-audit verify /evidence/ --key auditor.key --genesis \"$(cat genesis.txt)\"
  sealedlog-audit verify /evidence/ --key auditor.key --ledger audits.json --retention 200d
  sealedlog-audit verify access.log.pgp --key auditor.key --json | jq 'select(.severity == \"alarm\")'";

/// What `verify` was asked for.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    trust: TrustArgs,

    /// Files older than this may have been removed on purpose: 200d, 12h
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    retention: Option<Duration>,

    /// Every log must have a mark at or after this time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME")]
    marked_since: Option<Timestamp>,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is no length of time; write for instance 200d or 12h");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(length).map_err(|_| wrong())
}

/// Shows on a terminal how far the reading has come.
struct Watcher {
    bar: ProgressBar,
    read: u64,
    last: u64,
}

impl Reader for Watcher {
    fn line(&mut self, _line: &Line<'_>) -> io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _path: &Path, offset: u64) {
        // An offset that is not behind the last one is in the next file.
        self.read += if offset >= self.last { offset - self.last } else { offset };
        self.last = offset;
        self.bar.set_position(self.read);
    }
}

/// Verifies files. Exit status 1 where there is anything to say.
pub fn run(args: &VerifyArgs) -> Outcome {
    let files = args.input.files()?;
    let mut trust = args.trust.trust()?;
    (trust.retention, trust.marked_since) = (args.retention, args.marked_since);
    let keys = args.input.keys()?;
    let opener = Opener::new(&keys.identities);
    let length = files.files.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.len()).sum();
    let mut watcher = Watcher { bar: progress_bar(length), read: 0, last: 0 };
    let mut report = session::verify(&files.files, &opener, trust, &mut watcher).map_err(|error| unreadable(&error))?;
    watcher.bar.finish_and_clear();
    for path in &files.skipped {
        let _ = writeln!(io::stderr(), "{PROGRAM}: warning: {}: passed over, not a regular file", path.display());
    }
    if let Some(path) = &args.trust.ledger {
        report.ledger.write(path).map_err(|error| {
            Trouble::new(
                format_args!("cannot write the ledger {}: {error}", path.display()),
                "check the folder and its permissions",
            )
        })?;
    }
    print(if args.json { as_json(&report) } else { as_text(&report) })?;
    Ok(keys.status(report.findings.is_empty() && files.skipped.is_empty()))
}

fn progress_bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn as_json(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let _ = writeln!(text, "{}", json!(finding));
    }
    let _ = writeln!(text, "{}", json!({ "summary": report.summary }));
    text
}

fn as_text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let severity = if finding.severity == Severity::Alarm { "ALARM" } else { "warning" };
        let _ = writeln!(text, "{severity}: {}", escape(finding.to_string().as_bytes()));
    }
    for stream in &report.streams {
        let trusted = if stream.anchored { "trusted" } else { "not trusted" };
        let (log, host) = (escape(stream.log.as_bytes()), escape(stream.host.as_bytes()));
        let _ = writeln!(text, "stream of {log} on {host} since {:.0}, {trusted}\n    genesis {}", stream.began, stream.genesis);
    }
    let summary = &report.summary;
    let _ = writeln!(
        text,
        "{} lines in {} records of {} in place; {}, {}",
        summary.lines,
        summary.records,
        counted(summary.streams, "stream"),
        counted(summary.alarms, "alarm"),
        counted(summary.warnings, "warning")
    );
    text
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
