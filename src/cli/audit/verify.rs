//! `sealedlog-audit verify`: whether sealed files are what was sealed.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use clap::Args;
use jiff::{SpanRelativeTo, Timestamp};
use serde_json::json;

use super::evidence::{Evidence, stopped};
use super::input::{InputArgs, TrustArgs};
use super::terminal::escape;
use crate::audit::finding::Severity;
use crate::audit::session::{Line, Reader};
use crate::audit::verify::{Report, Trust};
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

/// Wants nothing but the verdict.
struct Silent;

impl Reader for Silent {
    fn line(&mut self, _line: &Line<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Verifies files. Exit status 1 where there is anything to say.
pub fn run(args: &VerifyArgs) -> Outcome {
    let mut evidence = Evidence::new(&args.input)?;
    let asked = |trust: &mut Trust| (trust.retention, trust.marked_since) = (args.retention, args.marked_since);
    let (mut verifier, _) = args.trust.verifier(asked)?;
    if let Err(stop) = evidence.read(&mut verifier, &mut Silent, true) {
        return stopped(stop);
    }
    let mut report = verifier.finish();
    evidence.tell_skipped();
    if let Some(path) = &args.trust.ledger {
        report.ledger.write(path).map_err(|error| {
            Trouble::new(
                format_args!("cannot write the ledger {}: {error}", path.display()),
                "check the folder and its permissions",
            )
        })?;
    }
    print(if args.json { as_json(&report) } else { as_text(&report) })?;
    Ok(evidence.status(&report, report.findings.is_empty()))
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
