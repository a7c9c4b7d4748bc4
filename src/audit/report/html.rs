//! The report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere.
//!
//! Promises: what came out of logs is text, whatever is in it (see [`page`]); the page forbids the browser to load or run anything.
#![forbid(unsafe_code)]

mod chart;
pub mod page;

pub use chart::step;

use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use self::page::Page;
use super::incident::{Found, Incident};
use super::tables::Section;
use super::time::Moment;
use super::top::Table;
use super::{Report, verdict};
use crate::audit::finding::Severity;
use crate::audit::rules::rule::{Class, Level};

const STYLE: &str = include_str!("html/style.css");

/// The whole file.
pub fn render(report: &Report) -> String {
    let mut page = Page::default();
    // Nothing is loaded or run, and of styles only this one is taken (CSP 3, 2.3.1).
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"");
    page.raw("default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-");
    page.text(STANDARD.encode(Sha256::digest(STYLE)))
        .raw("'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw("<meta name=\"referrer\" content=\"no-referrer\">\n<style>")
        .raw(STYLE)
        .raw("</style>\n<title>")
        .text(&report.title)
        .raw("</title>\n</head>\n<body>\n<header>\n<h1>")
        .text(&report.title)
        .raw("</h1>\n");
    heading(&mut page, report);
    page.raw("</header>\n<main>\n");
    anomalies(&mut page, report);
    verification(&mut page, report);
    volume(&mut page, report);
    for section in &report.sections {
        tables(&mut page, section);
    }
    changes(&mut page, report);
    examined(&mut page, report);
    how_to_read(&mut page, report);
    page.raw("</main>\n<footer><p>Made by ").text(&report.software).raw(" on ").text(report.made.to_string());
    page.raw(". All times are in UTC.</p></footer>\n</body>\n</html>\n");
    page.into_string()
}

fn heading(page: &mut Page, report: &Report) {
    let verification = &report.verification;
    let summary = &verification.summary;
    page.raw(if summary.alarms > 0 || summary.records == 0 {
        "<div class=\"verdict bad\">"
    } else if summary.warnings > 0 || !summary.anchored {
        "<div class=\"verdict warn\">"
    } else {
        "<div class=\"verdict\">"
    });
    page.raw("<strong>").text(verification.verdict).raw("</strong><p>").text(verification.meaning).raw("</p></div>\n<dl>");
    page.raw("<dt>Audited by</dt><dd>").text(&report.auditor).raw("</dd><dt>With</dt><dd>").text(&report.software);
    page.raw("</dd><dt>At</dt><dd>").text(report.made.to_string()).raw("</dd><dt>Examined</dt><dd>");
    page.count(report.examined.files.len() as u64).raw(" files, ").count(summary.streams).raw(" streams, ");
    page.count(summary.lines).raw(" line records in place; ").count(summary.alarms).raw(" alarms, ");
    page.count(summary.warnings).raw(" warnings</dd></dl>\n<ul class=\"tiles\">");
    for class in Class::ALL.into_iter().filter(|class| *class != Class::Change) {
        let found: Vec<_> = report.found.iter().filter(|found| found.class == Some(class)).collect();
        let incidents: usize = found.iter().map(|found| found.incidents.len()).sum();
        page.raw("<li><b>").count(incidents as u64).raw("</b>").text(class.title()).raw("</li>");
    }
    page.raw(
        "</ul>\n<nav aria-label=\"Contents\"><ul><li><a href=\"#anomalies\">Anomalies</a></li><li><a href=\"#verification\">Verification</a>\
         </li><li><a href=\"#volume\">Volume</a></li>",
    );
    for section in &report.sections {
        page.raw("<li><a href=\"#").text(section.name).raw("\">").text(section.title).raw("</a></li>");
    }
    page.raw(
        "<li><a href=\"#changes\">Changes</a></li><li><a href=\"#examined\">Files and logs</a></li><li><a href=\"#reading\">How to read this\
         </a></li></ul></nav>\n",
    );
}

fn anomalies(page: &mut Page, report: &Report) {
    page.raw("<section id=\"anomalies\">\n<h2>Anomalies</h2>\n");
    let is_change = |found: &&Found| found.class == Some(Class::Change);
    if report.found.iter().all(|found| is_change(&found)) {
        page.raw("<p>None of the ").count(report.rules as u64).raw(" rules found anything.</p>\n");
    }
    for class in Class::ALL.map(Some).into_iter().chain([None]).filter(|class| *class != Some(Class::Change)) {
        let mut found = report.found.iter().filter(|found| found.class == class).peekable();
        if found.peek().is_none() {
            continue;
        }
        page.raw("<h3>").text(class.map_or("Rules without a class", Class::title)).raw("</h3>\n");
        for found in found {
            rule(page, found);
        }
    }
    page.raw("</section>\n");
}

fn rule(page: &mut Page, found: &Found) {
    page.raw("<h4>").text(&found.title).raw(" <span class=\"badge ").text(found.level.name()).raw("\">").text(found.level.name());
    page.raw("</span></h4>\n<p>").text(&found.description).raw("</p>\n");
    if !found.false_positives.is_empty() {
        page.raw("<p class=\"faint\">May also be: ").text(found.false_positives.join("; ")).raw(".</p>\n");
    }
    page.raw("<div class=\"scroll\"><table><caption>").text(&found.rule).raw(": ").count(found.incidents.len() as u64);
    page.raw(if found.incidents.len() == 1 { " incident, " } else { " incidents, " }).count(found.hits);
    page.raw(if found.hits == 1 { " line" } else { " lines" });
    page.raw(
        "</caption><thead><tr><th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">Host</th><th scope=\"col\">Log</th>\
         <th scope=\"col\">Who or what</th><th scope=\"col\" class=\"n\">Lines</th></tr></thead><tbody>\n",
    );
    let is_urgent = found.level >= Level::High && found.class != Some(Class::Change);
    for incident in &found.incidents {
        self::incident(page, incident, is_urgent);
    }
    page.raw("</tbody></table></div>\n");
    if found.others > 0 {
        page.raw("<p>").count(found.others).raw(" more lines are of incidents that there was no room for.</p>\n");
    }
}

/// What is urgent shows its lines without being asked.
fn incident(page: &mut Page, incident: &Incident, is_urgent: bool) {
    page.raw("<tr><td class=\"t\">");
    moment(page, incident.first);
    page.raw("</td><td class=\"t\">");
    moment(page, incident.last);
    page.raw("</td><td class=\"k\">").text(&incident.host).raw("</td><td class=\"k\">").text(&incident.log).raw("</td><td>");
    page.text(incident.subject.join(" ")).raw("</td><td class=\"n\">").count(incident.hits);
    page.raw("</td></tr>\n<tr class=\"lines\"><td colspan=\"6\"><details").raw(if is_urgent {
        " open><summary>"
    } else {
        "><summary>"
    });
    let shown = incident.lines.len() as u64;
    if shown < incident.hits {
        page.raw("The first ").count(shown).raw(" lines");
    } else {
        page.raw("The lines");
    }
    page.raw("</summary>");
    for line in &incident.lines {
        page.raw("<pre>").text(&line.text).raw("</pre>");
    }
    page.raw("</details></td></tr>\n");
}

fn moment(page: &mut Page, moment: Option<Moment>) {
    match moment {
        Some(moment) => page.raw("<time datetime=\"").text(moment.to_string()).raw("\">").text(moment.short()).raw("</time>"),
        None => page.raw("–"),
    };
}

fn verification(page: &mut Page, report: &Report) {
    let verification = &report.verification;
    page.raw("<section id=\"verification\">\n<h2>Verification</h2>\n<p>").text(verification.verdict).raw(" ");
    page.text(verification.meaning).raw("</p>\n");
    if report.examined.out_of_place > 0 {
        page.raw("<p>").count(report.examined.out_of_place);
        page.raw(
            " lines opened whose record is not in its place. They are no evidence and are counted nowhere in this report.</p>\n",
        );
    }
    if verification.findings.is_empty() {
        page.raw("<p>There is no finding.</p>\n");
    } else {
        page.raw("<div class=\"scroll\"><table><caption>Findings, in the order of the files</caption><thead><tr><th scope=\"col\">What</th>");
        page.raw("<th scope=\"col\">Where</th><th scope=\"col\" class=\"n\">Records</th><th scope=\"col\">What it means</th></tr></thead><tbody>\n");
        for finding in &verification.findings {
            let class = if finding.severity == Severity::Alarm { "alarm" } else { "warning" };
            page.raw("<tr><td><span class=\"badge ").text(class).raw("\">").text(finding.finding.name()).raw("</span></td><td>");
            if let Some(file) = &finding.file {
                page.text(file.as_os_str().as_bytes());
            }
            if let Some(offset) = finding.offset {
                page.raw(" at byte ").count(offset);
            }
            page.raw("</td><td class=\"n\">");
            if let Some(count) = finding.count {
                page.count(count);
            }
            page.raw("</td><td>")
                .text(verdict::meaning(finding.finding))
                .raw("<br><span class=\"faint\">")
                .text(&finding.message);
            page.raw("</span></td></tr>\n");
        }
        page.raw("</tbody></table></div>\n");
    }
    page.raw(
        "<div class=\"scroll\"><table><caption>Streams</caption><thead><tr><th scope=\"col\">Host</th><th scope=\"col\">Log</th>",
    );
    page.raw("<th scope=\"col\">Since</th><th scope=\"col\">Trusted</th><th scope=\"col\">Genesis fingerprint</th></tr></thead><tbody>\n");
    for stream in &verification.streams {
        page.raw("<tr><td>").text(&stream.host).raw("</td><td>").text(&stream.log).raw("</td><td class=\"t\">");
        moment(page, Some(stream.began));
        page.raw(if stream.anchored { "</td><td>yes</td><td>" } else { "</td><td class=\"warning\">no</td><td>" });
        page.raw("<code>").text(&stream.genesis).raw("</code></td></tr>\n");
    }
    page.raw("</tbody></table></div>\n</section>\n");
}

fn volume(page: &mut Page, report: &Report) {
    page.raw("<section id=\"volume\">\n<h2>Volume over time</h2>\n<p>Lines by the time when they were sealed, in steps of ");
    page.text(step(report.volume.step)).raw(". Shaded: no line between the first and the last of the log.</p>\n");
    for (number, log) in report.logs.iter().enumerate() {
        chart::volume(page, number as u64, log, &report.volume);
    }
    page.raw("</section>\n");
}

fn tables(page: &mut Page, section: &Section) {
    page.raw("<section id=\"").text(section.name).raw("\">\n<h2>").text(section.title).raw("</h2>\n");
    if section.tables.iter().all(|table| table.rows.is_empty()) {
        page.raw("<p>Nothing of that is in the logs.</p>\n");
    }
    for table in section.tables.iter().filter(|table| !table.rows.is_empty()) {
        self::table(page, table);
    }
    page.raw("</section>\n");
}

fn table(page: &mut Page, table: &Table) {
    page.raw("<div class=\"scroll\"><table><caption>").text(table.title).raw("</caption><thead><tr>");
    for column in table.columns {
        page.raw("<th scope=\"col\">").text(column).raw("</th>");
    }
    page.raw(
        "<th scope=\"col\" class=\"n\">lines</th><th scope=\"col\">first</th><th scope=\"col\">last</th></tr></thead><tbody>\n",
    );
    for row in &table.rows {
        page.raw("<tr>");
        for cell in &row.cells {
            page.raw("<td>").text(cell).raw("</td>");
        }
        page.raw("<td class=\"n\">").count(row.count).raw("</td><td class=\"t\">");
        moment(page, row.first);
        page.raw("</td><td class=\"t\">");
        moment(page, row.last);
        page.raw("</td></tr>\n");
    }
    page.raw("</tbody></table></div>\n");
    if table.more > 0 {
        page.raw("<p class=\"faint\">").count(table.more).raw(" more rows; ").count(table.total).raw(" lines in all.</p>\n");
    }
    if table.lacking > 0 {
        page.raw("<p class=\"faint\">Memory was bounded: a count may be short by up to ").count(table.lacking).raw(".</p>\n");
    }
}

fn changes(page: &mut Page, report: &Report) {
    page.raw("<section id=\"changes\">\n<h2>").text(Class::Change.title()).raw("</h2>\n");
    let mut found = report.found.iter().filter(|found| found.class == Some(Class::Change)).peekable();
    if found.peek().is_none() {
        page.raw("<p>None is in the logs.</p>\n");
    }
    for found in found {
        rule(page, found);
    }
    page.raw("</section>\n");
}

fn examined(page: &mut Page, report: &Report) {
    page.raw(
        "<section id=\"examined\">\n<h2>Files and logs</h2>\n<div class=\"scroll\"><table><caption>Logs</caption><thead><tr>",
    );
    page.raw("<th scope=\"col\">Host</th><th scope=\"col\">Log</th><th scope=\"col\" class=\"n\">Lines</th><th scope=\"col\" class=\"n\">Bytes</th>");
    page.raw("<th scope=\"col\">First line</th><th scope=\"col\">Last line</th></tr></thead><tbody>\n");
    for log in &report.logs {
        page.raw("<tr><td>").text(&log.host).raw("</td><td>").text(&log.log).raw("<br><span class=\"faint\">");
        let formats: Vec<_> = log.formats.iter().map(|(format, lines)| format!("{format}: {lines}")).collect();
        page.text(formats.join(", "));
        if log.ahead > 0 {
            page.raw("<br>").count(log.ahead).raw(" lines say a time after they were sealed");
        }
        if log.undated > 0 {
            page.raw("<br>").count(log.undated).raw(" lines have no time");
        }
        page.raw("</span></td><td class=\"n\">").count(log.lines).raw("</td><td class=\"n\">").count(log.bytes).raw("</td>");
        for line in [&log.first, &log.last] {
            page.raw("<td>");
            if let Some(line) = line {
                moment(page, line.time);
                page.raw("<br><code>").text(&line.text).raw("</code>");
            }
            page.raw("</td>");
        }
        page.raw("</tr>\n");
    }
    page.raw(
        "</tbody></table></div>\n<div class=\"scroll\"><table><caption>Files</caption><thead><tr><th scope=\"col\">File</th>",
    );
    page.raw("<th scope=\"col\" class=\"n\">Bytes</th><th scope=\"col\">SHA-256</th></tr></thead><tbody>\n");
    for file in &report.examined.files {
        page.raw("<tr><td>").text(&file.path);
        if file.changed {
            page.raw("<br><span class=\"warning\">was written to while it was read</span>");
        }
        page.raw("</td><td class=\"n\">").count(file.bytes).raw("</td><td><code>").text(&file.sha256).raw("</code></td></tr>\n");
    }
    page.raw("</tbody></table></div>\n");
    for path in &report.examined.skipped {
        page.raw("<p class=\"warning\">Passed over, not a regular file: ").text(path).raw("</p>\n");
    }
    for error in &report.examined.unreadable {
        page.raw("<p class=\"alarm\">Not examined: ").text(error).raw("</p>\n");
    }
    page.raw("</section>\n");
}

fn how_to_read(page: &mut Page, report: &Report) {
    page.raw(
        "<section id=\"reading\">\n<h2>How to read this</h2>\n\
         <p>The verdict is about the files: whether what was sealed is there, unchanged and complete. It rests on the seals and on what was \
         trusted, and on nothing that a log line says.</p>\n\
         <p>Anomalies are what rules found in the lines. A rule describes what an attack looks like; what looks alike is found, too, and what \
         no rule describes is not. Each incident shows the lines that it rests on.</p>\n\
         <p>Text from the logs is shown as it is. Characters that would be invisible, move the cursor or turn the direction of writing stand as \
         <code>\\u{…}</code>, bytes that are no UTF-8 as <code>\\x…</code>.</p>\n",
    );
    if !report.limits.is_empty() {
        page.raw("<h3>Where it is not exact</h3>\n<ul>");
        for limit in &report.limits {
            page.raw("<li>").text(limit).raw("</li>");
        }
        page.raw("</ul>\n");
    }
    page.raw("</section>\n");
}
