//! What was measured, as tables; and what must be reached, each goal with what was.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::daemons::{
    APACHE_ROTATELOGS, APACHE_SEALED, RSYSLOG_ANSWERS, RSYSLOG_PLAIN, RSYSLOG_SEALED, RSYSLOG_UNCONFIRMED, SYSLOG_NG_PLAIN,
    SYSLOG_NG_SEALED,
};
use super::rows::{
    AGE_CRATE, AGE_STREAM, GPG_DECRYPT, GPG_ENCRYPT, OPEN, SEAL_AGE, SEAL_AGE_GROUP, SEAL_ONE_CORE, SEAL_RFC4880,
    SEAL_RFC4880_GROUP, SEAL_RFC9580, SEQUOIA_RFC4880, SEQUOIA_RFC9580, SLOGENCRYPT, SLOGVERIFY, VERIFY,
};
use super::run::{Pick, Row, Why};
use super::steady::{START_UP, STEADY_ROTATELOGS, STEADY_SEALED};

/// What a goal is about.
enum What {
    /// How many times as fast as the other.
    Times(&'static str, &'static str),
    /// Processor time as a part of the other's.
    Cpu(&'static str, &'static str),
    /// The highest peak memory of these, in MiB.
    Memory(&'static [&'static str]),
    /// Bytes a line over the plain text.
    Over(&'static str),
    /// Milliseconds.
    Millis(&'static str),
}

/// What must be reached.
pub struct Goal {
    /// In words.
    pub text: &'static str,
    what: What,
    /// At least that, else at most.
    at_least: bool,
    goal: f64,
}

const fn at_least(goal: f64, text: &'static str, one: &'static str, other: &'static str) -> Goal {
    Goal { text, what: What::Times(one, other), at_least: true, goal }
}

const fn at_most(goal: f64, text: &'static str, what: What) -> Goal {
    Goal { text, what, at_least: false, goal }
}

const FILTERS: &[&str] =
    &[SEAL_RFC9580, SEAL_ONE_CORE, SEAL_RFC4880, SEAL_RFC4880_GROUP, SEAL_AGE, SEAL_AGE_GROUP, STEADY_SEALED];

/// All of them, in the order of the tables.
pub const GOALS: &[Goal] = &[
    at_least(0.8, "seal rfc9580: times gpg -e -z0 of one message", SEAL_RFC9580, GPG_ENCRYPT),
    at_least(15.0, "seal rfc9580: times slogencrypt", SEAL_RFC9580, SLOGENCRYPT),
    at_least(250.0, "seal rfc9580: times Sequoia, a message a line", SEAL_RFC9580, SEQUOIA_RFC9580),
    at_least(0.4, "seal rfc9580 on one core: times gpg -e -z0", SEAL_ONE_CORE, GPG_ENCRYPT),
    at_least(2.0, "seal age: times the age crate, a file a line", SEAL_AGE, AGE_CRATE),
    at_least(0.5, "seal --group age: times age -r of one file", SEAL_AGE_GROUP, AGE_STREAM),
    at_least(2.0, "seal rfc4880: times Sequoia, a message a line", SEAL_RFC4880, SEQUOIA_RFC4880),
    at_least(0.5, "seal --group rfc4880: times gpg -e -z0", SEAL_RFC4880_GROUP, GPG_ENCRYPT),
    at_least(0.6, "open rfc9580: times gpg -d of one message", OPEN, GPG_DECRYPT),
    at_least(20.0, "open rfc9580: times slogverify", OPEN, SLOGVERIFY),
    at_least(0.6, "verify rfc9580: times gpg -d of one message", VERIFY, GPG_DECRYPT),
    at_least(20.0, "verify rfc9580: times slogverify", VERIFY, SLOGVERIFY),
    at_most(1.5, "processor time at 10,000 lines/s: times rotatelogs", What::Cpu(STEADY_SEALED, STEADY_ROTATELOGS)),
    at_least(0.95, "syslog-ng program(): times its file()", SYSLOG_NG_SEALED, SYSLOG_NG_PLAIN),
    at_least(0.95, "rsyslog omprog, without answers: times its omfile", RSYSLOG_UNCONFIRMED, RSYSLOG_PLAIN),
    at_least(0.95, "rsyslog omprog: times a program that stores and answers", RSYSLOG_SEALED, RSYSLOG_ANSWERS),
    at_least(0.98, "Apache with sealedlog-apache: times with rotatelogs", APACHE_SEALED, APACHE_ROTATELOGS),
    at_most(30.0, "start to first line sealed, ms", What::Millis(START_UP)),
    at_most(16.0, "filters: peak memory, MiB, the highest", What::Memory(FILTERS)),
    at_most(256.0, "open, verify: peak memory, MiB, the highest", What::Memory(&[OPEN, VERIFY])),
    at_most(192.0, "seal rfc9580, one X25519 key: bytes a line over the plain text", What::Over(SEAL_RFC9580)),
];

impl Goal {
    fn reached(&self, rows: &[Row<'_>], pick: Pick) -> Option<f64> {
        let row = |name: &str| rows.iter().find(|row| row.name == name);
        match self.what {
            What::Times(one, other) => Some(row(one)?.speed(pick)? / row(other)?.speed(pick)?),
            What::Cpu(one, other) => Some(row(one)?.cpu(pick)? / row(other)?.cpu(pick)?),
            What::Memory(names) => names.iter().filter_map(|name| row(name)?.memory(Pick::Best)).reduce(f64::max),
            What::Over(name) => row(name)?.over(),
            What::Millis(name) => row(name)?.millis(pick),
        }
    }

    fn bound(&self) -> String {
        format!("{} {}", if self.at_least { "at least" } else { "at most" }, self.goal)
    }

    fn verdict(&self, reached: Option<f64>) -> &'static str {
        match reached {
            None => "not measured",
            Some(reached) if (reached >= self.goal) == self.at_least || reached == self.goal => "met",
            Some(_) => "MISSED",
        }
    }
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 10.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.1}"),
    }
}

/// The programs, for a terminal.
pub fn programs(rows: &[Row<'_>]) -> String {
    let mut text = String::new();
    let head = format!("{:<38}{:>12}{:>24}{:>12}{:>12}{:>10}", "", "lines/s", "from - to", "CPU s / M", "bytes over", "peak MiB");
    let _ = writeln!(text, "{head}\n{}", "-".repeat(head.len()));
    for row in rows {
        let _ = match cells(row) {
            Ok([speed, range, cpu, over, memory]) => {
                writeln!(text, "{:<38}{speed:>12}{range:>24}{cpu:>12}{over:>12}{memory:>10}", row.name)
            }
            Err(why) => writeln!(text, "{:<38}{why}", row.name),
        };
    }
    text
}

/// The same for the page.
pub fn programs_page(rows: &[Row<'_>]) -> String {
    let mut text = "| program | lines/s | slowest to fastest | CPU s a million lines | bytes a line over the text | peak MiB |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for row in rows {
        let cells = cells(row).unwrap_or_else(|why| [why, String::new(), String::new(), String::new(), String::new()]);
        let _ = writeln!(text, "| {} | {} |", row.name.replace('*', "\\*"), cells.join(" | "));
    }
    text
}

fn cells(row: &Row<'_>) -> Result<[String; 5], String> {
    match &row.runs {
        Err(Why::Missing(what)) => Err(format!("not measured: {what} is not installed")),
        Err(Why::Failed(why)) => Err(format!("FAILED: {why}")),
        Ok(runs) if runs.is_empty() => Err("not measured".to_owned()),
        Ok(runs) => {
            let (least, most) = row.range().unwrap_or_default();
            let (speed, range) = if row.lines == 1 {
                let millis = |speed: f64| 1e3 / speed;
                (number(row.millis(Pick::Median)) + " ms", format!("{:.1} - {:.1} ms", millis(least), millis(most)))
            } else {
                (format!("{:.0}", row.speed(Pick::Median).unwrap_or_default()), format!("{least:.0} - {most:.0}"))
            };
            let some = |measured: bool, value: Option<f64>| if measured { number(value) } else { "-".to_owned() };
            let cpu = some(runs[0].cpu > 0.0, row.cpu(Pick::Median));
            let over = row.over().map_or("-".to_owned(), |over| format!("{over:.1}"));
            Ok([speed, range, cpu, over, some(runs[0].memory > 0, row.memory(Pick::Best))])
        }
    }
}

/// The goals, for a terminal.
pub fn goals(rows: &[Row<'_>]) -> String {
    let mut text = format!("{:<66}{:>9}{:>11}\n", "", "medians", "best runs");
    for goal in GOALS {
        let reached = goal.reached(rows, Pick::Median);
        let best = goal.reached(rows, Pick::Best);
        let (bound, verdict) = (goal.bound(), goal.verdict(reached));
        let _ = writeln!(text, "{:<66}{:>9}{:>11}   {bound}: {verdict}", goal.text, number(reached), number(best));
    }
    text
}

/// The same for the page.
pub fn goals_page(rows: &[Row<'_>]) -> String {
    let mut text = "| what | goal | medians | best runs | |\n| --- | --- | ---: | ---: | --- |\n".to_owned();
    for goal in GOALS {
        let reached = goal.reached(rows, Pick::Median);
        let (best, bound) = (number(goal.reached(rows, Pick::Best)), goal.bound());
        let _ = writeln!(text, "| {} | {bound} | {} | {best} | {} |", goal.text, number(reached), goal.verdict(reached));
    }
    text
}
