//! `sealedlog-audit verify`: whether sealed files are what was sealed.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::evidence::{Evidence, stopped};
use super::input::{InputArgs, TrustArgs};
use super::remembered::Remembered;
use crate::audit::escape::escape;
use crate::audit::expected::{self, Expected};
use crate::audit::finding::Severity;
use crate::audit::session::{Line, Reader};
use crate::audit::verify::{Report, Trust};
use crate::cli::{Outcome, Trouble, print};
use crate::host::clock;

const EXAMPLES: &str = "\
Examples:
  sealedlog-audit verify /evidence/ --key auditor.key --genesis \"$(cat genesis.txt)\"
  sealedlog-audit verify /evidence/ --key auditor.key --genesis-file genesis.txt --ledger audits.json
  sealedlog-audit verify /evidence/ --key auditor.key --ledger audits.json --retention 200d --expect logs.txt
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
    #[arg(long, value_name = "AGE", value_parser = crate::audit::age)]
    retention: Option<Duration>,

    /// Every log must have a mark at or after this time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME")]
    marked_since: Option<Timestamp>,

    /// List of logs that should be there: a line has host, log and, where it is not 3d, the longest silence; may be repeated
    #[arg(long, value_name = "FILE")]
    expect: Vec<PathBuf>,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
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
    let (remembered, mut verifier) = Remembered::read(&args.trust, asked)?;
    let expected = args.expect.iter().map(|path| read_list(path)).collect::<Result<Vec<_>, _>>()?.concat();
    if let Err(stop) = evidence.read(&mut verifier, &mut Silent, true) {
        return stopped(stop);
    }
    let mut report = verifier.finish();
    evidence.tell_skipped();
    let learned = std::mem::take(&mut report.ledger);
    for finding in expected::missing(&expected, &report.streams, &args.input.inputs, clock::now()) {
        report.add(finding);
    }
    remembered.weigh(&mut report);
    remembered.write("verify", String::new(), evidence.files.files.len(), &report, Some(learned))?;
    print(if args.json { as_json(&report) } else { as_text(&report) })?;
    Ok(evidence.status(&report, report.findings.is_empty()))
}

fn read_list(path: &Path) -> Result<Vec<Expected>, Trouble> {
    expected::read(path).map_err(|error| {
        Trouble::new(
            format_args!("cannot use the list {}: {error}", path.display()),
            "a line has host, log and longest silence, as in: www1 apache2/access.log 2d",
        )
    })
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
        let trusted = match (stream.anchored, stream.by_files) {
            (true, true) => "trusted only as its own files say so (--trust-first)",
            (true, false) => "trusted",
            (false, _) => "not trusted",
        };
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
