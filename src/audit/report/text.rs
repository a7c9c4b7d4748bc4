//! The report as plain text of 80 columns, for a terminal or paper.
//!
//! Promises: nothing in it moves a cursor or hides text; no line of it is longer than 80 characters.
#![forbid(unsafe_code)]

use super::html::page::thousands;
use super::html::step;
use super::incident::{Found, Incident};
use super::time::Moment;
use super::top::Table;
use super::{LogReport, Report, verdict};
use crate::audit::escape::escape;
use crate::audit::finding::Severity;
use crate::audit::rules::rule::Class;

const WIDTH: usize = 80;
/// Columns of a chart.
const CHART: usize = 72;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[derive(Default)]
struct Paper {
    out: String,
}

impl Paper {
    /// A paragraph; its lines after the first begin further in.
    fn put(&mut self, indent: usize, text: &str) {
        // Whatever line breaks a file name has, it stays in its paragraph.
        let text = escape(text.as_bytes()).replace('\n', "\\u{a}").replace('\t', " ");
        let (mut line, mut used) = (" ".repeat(indent), indent);
        for word in text.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            if used > indent && used + 1 + word.len() > WIDTH {
                self.line(&line);
                (line, used) = (" ".repeat(indent + 2), indent + 2);
            } else if used > indent {
                line.push(' ');
                used += 1;
            }
            // A word that fits no line.
            while used + word.len() > WIDTH {
                let rest = word.split_off(WIDTH - used);
                line.extend(word);
                self.line(&line);
                (line, used, word) = (" ".repeat(indent + 2), indent + 2, rest);
            }
            used += word.len();
            line.extend(word);
        }
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn head(&mut self, text: &str, under: char) {
        self.out.push('\n');
        self.put(0, text);
        let length = text.chars().count().min(WIDTH);
        self.line(&under.to_string().repeat(length));
    }
}

/// All of it.
pub fn render(report: &Report) -> String {
    let mut paper = Paper::default();
    paper.put(0, &report.title);
    paper.line(&"=".repeat(report.title.chars().count().min(WIDTH)));
    let verification = &report.verification;
    let summary = &verification.summary;
    paper.line("");
    paper.put(0, &verification.verdict.to_uppercase());
    paper.put(0, verification.meaning);
    paper.line("");
    paper.put(0, &format!("Audited by {}, with {}, at {}.", report.auditor, report.software, report.made));
    paper.put(
        0,
        &format!(
            "Examined: {} files, {} streams, {} line records in place; {} alarms, {} warnings.",
            report.examined.files.len(),
            summary.streams,
            thousands(summary.lines),
            thousands(summary.alarms),
            thousands(summary.warnings)
        ),
    );
    paper.head("Anomalies", '-');
    let anomalies: Vec<_> = report.found.iter().filter(|found| found.class != Some(Class::Change)).collect();
    if anomalies.is_empty() {
        paper.put(0, &format!("None of the {} rules found anything.", report.rules));
    }
    for found in anomalies {
        rule(&mut paper, found);
    }
    findings(&mut paper, report);
    paper.head("Volume over time", '-');
    paper.put(
        0,
        &format!("Lines by the time when they were sealed. \"·\": none. A step of the report is {}.", step(report.volume.step)),
    );
    for log in &report.logs {
        chart(&mut paper, log, report.volume.from);
    }
    for section in &report.sections {
        paper.head(section.title, '-');
        let mut tables = section.tables.iter().filter(|table| !table.rows.is_empty()).peekable();
        if tables.peek().is_none() {
            paper.put(0, "Nothing of that is in the logs.");
        }
        for shown in tables {
            table(&mut paper, shown);
        }
    }
    paper.head(Class::Change.title(), '-');
    for found in report.found.iter().filter(|found| found.class == Some(Class::Change)) {
        rule(&mut paper, found);
    }
    examined(&mut paper, report);
    if !report.limits.is_empty() {
        paper.head("Where this is not exact", '-');
        for limit in &report.limits {
            paper.put(0, limit);
        }
    }
    paper.out
}

fn rule(paper: &mut Paper, found: &Found) {
    let class = found.class.map_or("Rules without a class", Class::title);
    paper.line("");
    paper.put(0, &format!("[{}] {}: {}", found.level.name(), class, found.title));
    paper.put(4, &found.description);
    if !found.false_positives.is_empty() {
        paper.put(4, &format!("May also be: {}.", found.false_positives.join("; ")));
    }
    for Incident { host, log, subject, first, last, hits, lines } in &found.incidents {
        let (first, last) = (first.map_or_else(String::new, Moment::short), last.map_or_else(String::new, Moment::short));
        let who = if subject.is_empty() { String::new() } else { format!("{} on ", subject.join(" ")) };
        let lines_of = if *hits == 1 { "line" } else { "lines" };
        paper.put(2, &format!("* {who}{host}, {log}, {first} to {last}, {} {lines_of}", thousands(*hits)));
        for line in lines {
            paper.put(6, &line.text);
        }
    }
    if found.others > 0 {
        paper.put(2, &format!("* and {} lines of incidents that there was no room for", thousands(found.others)));
    }
}

fn findings(paper: &mut Paper, report: &Report) {
    paper.head("Verification", '-');
    if report.verification.findings.is_empty() {
        paper.put(0, "There is no finding.");
    }
    for finding in &report.verification.findings {
        let severity = if finding.severity == Severity::Alarm { "ALARM" } else { "warning" };
        paper.put(0, &format!("{severity}: {}", finding));
        paper.put(4, verdict::meaning(finding.finding));
    }
    if report.examined.out_of_place > 0 {
        paper.put(
            0,
            &format!(
                "Opened lines in records that are not in their places: {}. They are counted nowhere in this report.",
                thousands(report.examined.out_of_place)
            ),
        );
    }
    for stream in &report.verification.streams {
        let trusted = if stream.anchored { "trusted" } else { "not trusted" };
        paper.put(0, &format!("Stream of {} on {} since {}, {trusted}", stream.log, stream.host, stream.began));
        paper.put(4, &stream.genesis);
    }
}

fn chart(paper: &mut Paper, log: &LogReport, from: Option<Moment>) {
    paper.line("");
    paper.put(0, &format!("{} {}: {} lines", log.host, log.log, thousands(log.lines)));
    let width = log.counts.len().div_ceil(CHART).max(1);
    let columns: Vec<u64> = log.counts.chunks(width).map(|steps| steps.iter().sum()).collect();
    let most = columns.iter().copied().max().unwrap_or(0).max(1);
    let bar = |lines: &u64| match *lines {
        0 => '·',
        lines => BARS[((u128::from(lines) * BARS.len() as u128 - 1) / u128::from(most)).min(7) as usize],
    };
    paper.line(&format!("  {}", columns.iter().map(bar).collect::<String>()));
    let last = log.last.as_ref().and_then(|line| line.time).map_or_else(String::new, Moment::short);
    paper.put(2, &format!("all logs from {}; this one's last line {last}", from.map_or_else(String::new, Moment::short)));
    if !log.silent.is_empty() {
        paper.put(2, &format!("{} times without a line", log.silent.len()));
    }
}

fn table(paper: &mut Paper, table: &Table) {
    paper.line("");
    paper.put(0, &format!("{} ({})", table.title, table.columns.join(", ")));
    for row in &table.rows {
        paper.put(0, &format!("{}  {}", thousands(row.count), row.cells.join("  ")));
    }
    if table.more > 0 {
        paper.put(2, &format!("{} more rows; {} lines in all", thousands(table.more), thousands(table.total)));
    }
    if table.lacking > 0 {
        paper.put(2, &format!("memory was bounded: a count may be short by up to {}", thousands(table.lacking)));
    }
}

fn examined(paper: &mut Paper, report: &Report) {
    paper.head("Files and logs", '-');
    for log in &report.logs {
        paper.put(0, &format!("{} {}: {} lines, {} bytes", log.host, log.log, thousands(log.lines), thousands(log.bytes)));
        for (what, line) in [("first", &log.first), ("last", &log.last)] {
            if let Some(line) = line {
                let time = line.time.map_or_else(String::new, |time| time.to_string());
                paper.put(2, &format!("{what} {time}: {}", line.text));
            }
        }
        if log.ahead > 0 {
            paper.put(2, &format!("{} lines say a time after they were sealed", thousands(log.ahead)));
        }
        if log.undated > 0 {
            paper.put(2, &format!("{} lines have no time", thousands(log.undated)));
        }
    }
    for file in &report.examined.files {
        paper.put(0, &format!("{}: {} bytes, SHA-256", file.path, thousands(file.bytes)));
        paper.put(4, &file.sha256);
        if file.changed {
            paper.put(4, "was written to while it was read");
        }
    }
    for path in &report.examined.skipped {
        paper.put(0, &format!("Passed over, not a regular file: {}", path));
    }
    for error in &report.examined.unreadable {
        paper.put(0, &format!("Not examined: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_stay_within_their_width() {
        let mut paper = Paper::default();
        paper.put(4, &"word ".repeat(100));
        paper.put(6, &"x".repeat(1000));
        paper.put(0, "a\nb\u{1b}[2J\u{202e}\tc");
        assert!(paper.out.lines().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(paper.out.matches('x').count(), 1000);
        assert!(paper.out.ends_with("a\\u{a}b\\u{1b}[2J\\u{202e} c\n"));
        assert!(paper.out.starts_with("    word word"));
    }
}
