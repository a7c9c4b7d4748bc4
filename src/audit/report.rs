//! The report of an audit: what was examined, whether it is what was sealed, what is in it, and what looks wrong.
//!
//! Promises: memory is bounded whatever the lines; where that costs exactness, the report says so. Only lines in their place are counted.
//! How many lines there are over time goes by when they were sealed, which no line can claim; all else by the line's own time, unless that is
//! later than it was sealed.
//! Not promised: that a log tells the truth, or that rules find what they do not describe.
#![forbid(unsafe_code)]

pub mod html;
pub mod incident;
pub mod json;
pub mod lines;
pub mod tables;
pub mod text;
pub mod time;
pub mod top;
pub mod verdict;
pub mod volume;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use self::incident::{Found, Incidents, ShownLine};
use self::lines::{Lines, Whole};
use self::tables::{Section, Tables};
use self::time::Moment;
use self::volume::Volume;
use super::escape::escape;
use super::event::{self, Context, Event};
use super::finding::{Finding, Summary};
use super::rules::Rules;
use super::rules::engine::{Engine, Seen};
use super::rules::window::Sample;
use super::session::{Line, Reader};
use super::verify;

/// More logs than this are counted as one.
const MAX_LOGS: usize = 1000;
/// So much of a line is shown, in bytes.
const MAX_SHOWN: usize = 600;
/// A line may be so much ahead of its seal: clocks of two hosts, a zone that is not known. Beyond that its own time is not believed.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// A line that is further ahead of its seal than this is counted.
const SLIGHTLY_AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Everything that the report says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What stands above it.
    pub title: String,
    /// When it was made.
    pub made: Moment,
    /// Who audited.
    pub auditor: String,
    /// With which program.
    pub software: String,
    /// What was examined.
    pub examined: Examined,
    /// Whether it is what was sealed.
    pub verification: Verification,
    /// The logs.
    pub logs: Vec<LogReport>,
    /// Their lines over time.
    pub volume: VolumeReport,
    /// What is in them.
    pub sections: Vec<Section>,
    /// What the rules found.
    pub found: Vec<Found>,
    /// How many rules were used.
    pub rules: usize,
    /// Where the report is not exact.
    pub limits: Vec<String>,
}

/// What was examined.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Examined {
    /// The files that were read.
    pub files: Vec<FileReport>,
    /// What has the name of a sealed file and is none that is read.
    pub skipped: Vec<String>,
    /// What could not be read, and why.
    pub unreadable: Vec<String>,
    /// Lines whose record is not in its place. They are counted nowhere else.
    pub out_of_place: u64,
}

/// A file that was read.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Where.
    pub path: String,
    /// How long, in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
    /// It was written to while it was read: the hash may be of more or less than what was examined.
    pub changed: bool,
}

/// Whether it is what was sealed.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// In one sentence.
    pub verdict: &'static str,
    /// What that means.
    pub meaning: &'static str,
    /// In numbers.
    pub summary: Summary,
    /// All there is to say, in the order of the files.
    pub findings: Vec<Finding>,
    /// The streams.
    pub streams: Vec<StreamReport>,
}

/// A stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// Its host.
    pub host: String,
    /// Its log.
    pub log: String,
    /// When it began.
    pub began: Moment,
    /// Its genesis fingerprint.
    pub genesis: String,
    /// Whether something trusted vouches for it.
    pub anchored: bool,
}

/// A log of a host: what all its streams have.
#[derive(Clone, Debug, Serialize)]
pub struct LogReport {
    /// Its host.
    pub host: String,
    /// Its folder and name.
    pub log: String,
    /// How many streams it is in.
    pub streams: u64,
    /// How many lines it has.
    pub lines: u64,
    /// How many bytes those have.
    pub bytes: u64,
    /// The forms of its lines, with how many there are of each.
    pub formats: BTreeMap<&'static str, u64>,
    /// The first line.
    pub first: Option<ShownLine>,
    /// The last one.
    pub last: Option<ShownLine>,
    /// The longest one, in bytes.
    pub longest: u64,
    /// Lines of which no time is known.
    pub undated: u64,
    /// Lines whose own time is more than five minutes after they were sealed: a clock is wrong, or the line lies.
    pub ahead: u64,
    /// Lines in each step of time.
    pub counts: Vec<u64>,
    /// Times without lines, between the first and the last.
    pub silent: Vec<Silent>,
}

/// A time without lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silent {
    /// From.
    pub from: Moment,
    /// To.
    pub to: Moment,
}

/// What the counts of the logs mean.
#[derive(Clone, Debug, Serialize)]
pub struct VolumeReport {
    /// When the first step begins.
    pub from: Option<Moment>,
    /// How long each is, in seconds.
    pub step: i64,
}

/// One log, while its lines come.
struct Log {
    name: (String, String),
    context: Context,
    streams: u64,
    lines: u64,
    bytes: u64,
    formats: HashMap<event::Format, u64>,
    first: Option<Sample>,
    last: Option<Sample>,
    longest: u64,
    undated: u64,
    ahead: u64,
}

/// Collects what the report is made of.
pub struct Collector<'r> {
    rules: &'r Rules,
    now: Timestamp,
    zone: TimeZone,
    lines: Lines,
    body: Body<'r>,
    out_of_place: u64,
}

/// What lines are counted in.
struct Body<'r> {
    engine: Engine<'r>,
    logs: Vec<Log>,
    /// For each stream of the verifier the number of its log.
    of_stream: Vec<Option<usize>>,
    by_name: HashMap<(String, String), usize>,
    volume: Volume,
    tables: Tables,
    incidents: Incidents,
    latest: Timestamp,
    no_rules: u64,
}

/// What the report says of itself.
#[derive(Clone, Debug)]
pub struct Heading {
    /// What stands above it.
    pub title: String,
    /// Who audited.
    pub auditor: String,
    /// With which program.
    pub software: String,
}

impl<'r> Collector<'r> {
    /// One that has seen nothing. Time stamps without a zone are in `zone`; no line is later than `now`.
    pub fn new(rules: &'r Rules, zone: TimeZone, now: Timestamp) -> Self {
        let body = Body {
            engine: Engine::new(rules),
            logs: Vec::new(),
            of_stream: Vec::new(),
            by_name: HashMap::new(),
            volume: Volume::default(),
            tables: Tables::default(),
            incidents: Incidents::default(),
            latest: now.checked_add(AHEAD).unwrap_or(now),
            no_rules: 0,
        };
        Self { rules, now, zone, lines: Lines::default(), body, out_of_place: 0 }
    }

    /// The report, with what the verification came to.
    pub fn finish(self, heading: Heading, verified: verify::Report, examined: Examined) -> Report {
        let Self { rules, now, lines: mut open, mut body, out_of_place, .. } = self;
        open.finish(&mut |whole| body.see(&whole));
        let limits = body.limits(rules);
        let Body { logs, volume, tables, incidents, .. } = body;
        let names: Vec<_> = logs.iter().map(|log| log.name.clone()).collect();
        let mut logs: Vec<_> = logs.into_iter().enumerate().map(|(number, log)| log.report(number, &volume)).collect();
        logs.sort_by(|a, b| (&a.host, &a.log).cmp(&(&b.host, &b.log)));
        let (verdict, meaning) = verdict::verdict(&verified.summary);
        let streams = verified.streams.into_iter().map(|stream| StreamReport {
            host: stream.host,
            log: stream.log,
            began: stream.began.into(),
            genesis: stream.genesis.to_string(),
            anchored: stream.anchored,
        });
        Report {
            title: heading.title,
            made: now.into(),
            auditor: heading.auditor,
            software: heading.software,
            examined: Examined { out_of_place, ..examined },
            verification: Verification {
                verdict,
                meaning,
                summary: verified.summary,
                findings: verified.findings,
                streams: streams.collect(),
            },
            logs,
            volume: VolumeReport { from: volume.range().map(|(from, _)| Moment::of_seconds(from)), step: volume.seconds() },
            sections: tables.sections(),
            found: incidents.found(rules, &names),
            rules: rules.all().len(),
            limits,
        }
    }
}

impl Reader for Collector<'_> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let Some((place, name)) = line.place else {
            self.out_of_place += 1;
            return Ok(());
        };
        self.body.know(place.stream, name.host, name.log, &self.zone);
        let body = &mut self.body;
        self.lines.add(line, &mut |whole| body.see(&whole));
        Ok(())
    }
}

impl Body<'_> {
    /// Finds the log of a stream, or begins it.
    fn know(&mut self, stream: usize, host: &str, log: &str, zone: &TimeZone) {
        if self.of_stream.get(stream).is_some_and(Option::is_some) {
            return;
        }
        if self.of_stream.len() <= stream {
            self.of_stream.resize(stream + 1, None);
        }
        let mut name = (host.to_owned(), log.to_owned());
        if self.logs.len() >= MAX_LOGS && !self.by_name.contains_key(&name) {
            name = ("(other hosts)".to_owned(), "(other logs)".to_owned());
        }
        let number = *self.by_name.entry(name.clone()).or_insert_with(|| {
            let context = Context { sealed: None, zone: zone.clone(), log: name.1.clone() };
            self.logs.push(Log {
                name,
                context,
                streams: 0,
                lines: 0,
                bytes: 0,
                formats: HashMap::new(),
                first: None,
                last: None,
                longest: 0,
                undated: 0,
                ahead: 0,
            });
            self.logs.len() - 1
        });
        self.logs[number].streams += 1;
        self.of_stream[stream] = Some(number);
    }

    fn see(&mut self, whole: &Whole<'_>) {
        let Some(number) = self.of_stream.get(whole.stream).copied().flatten() else { return };
        let log = &mut self.logs[number];
        let sealed = whole.sealed.and_then(|seconds| Timestamp::from_second(seconds.into()).ok());
        log.context.sealed = sealed;
        let event = event::parse(whole.head, &log.context);
        let time = log.time_of(&event, sealed, self.latest);
        let text = String::from_utf8_lossy(whole.head);
        // What is no UTF-8 can still be told apart there.
        let escaped = matches!(text, Cow::Owned(_)).then(|| escape(&whole.head[..whole.head.len().min(MAX_SHOWN)]));
        let shown = beginning(escaped.as_deref().unwrap_or(&text));
        log.count(whole, &event, time, shown);
        match sealed.map(Timestamp::as_second).or(time.map(|time| time.div_euclid(1000))) {
            Some(seconds) => self.volume.add(number, seconds),
            None => log.undated += 1,
        }
        self.tables.add(&log.name.0, &log.name.1, &event, time);
        let seen = Seen { event: &event, line: &text, shown, log: number, time };
        let incidents = &mut self.incidents;
        self.engine.see(&seen, &mut |hit| incidents.add(hit, number, Sample { time, text: shown.into() }));
        self.no_rules += u64::from(time.is_none());
    }

    fn limits(&self, rules: &Rules) -> Vec<String> {
        let mut limits = Vec::new();
        for number in self.engine.overflowed() {
            let rule = &rules.all()[number];
            limits.push(format!(
                "The rule {} ({}) had more subjects at once than there was memory for: it may have overlooked some.",
                rule.id, rule.title
            ));
        }
        if self.no_rules > 0 {
            limits.push(format!(
                "{} lines have no time that is known: rules that count over time passed them over.",
                self.no_rules
            ));
        }
        if self.logs.len() > MAX_LOGS {
            limits.push(format!("There are more than {MAX_LOGS} logs: the others are counted as one."));
        }
        limits
    }
}

impl Log {
    /// When a line was, in milliseconds since 1970: by its own time stamp, unless it is of a time that had not come when it was sealed.
    fn time_of(&mut self, event: &Event<'_>, sealed: Option<Timestamp>, latest: Timestamp) -> Option<i64> {
        let is_ahead = |own: Timestamp, by| sealed.is_some_and(|sealed| own.duration_since(sealed) > by);
        if event.time.is_some_and(|own| is_ahead(own, SLIGHTLY_AHEAD)) {
            self.ahead += 1;
        }
        let own = event.time.filter(|own| !is_ahead(*own, AHEAD) && *own <= latest);
        own.or(sealed).map(Timestamp::as_millisecond)
    }

    fn count(&mut self, whole: &Whole<'_>, event: &Event<'_>, time: Option<i64>, shown: &str) {
        self.lines += 1;
        self.bytes += whole.length;
        self.longest = self.longest.max(whole.length);
        *self.formats.entry(event.format).or_default() += 1;
        let is_first =
            self.first.as_ref().is_none_or(|first| time.is_some_and(|time| first.time.is_none_or(|other| time < other)));
        if is_first {
            self.first = Some(Sample { time, text: shown.into() });
        }
        let is_last = self.last.as_ref().is_none_or(|last| time.is_none_or(|time| last.time.is_none_or(|other| time >= other)));
        if is_last {
            self.last = Some(Sample { time, text: shown.into() });
        }
    }

    fn report(self, number: usize, volume: &Volume) -> LogReport {
        let mut formats: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (format, lines) in self.formats {
            *formats.entry(format.name()).or_default() += lines;
        }
        let counts = volume.counts(number);
        let from = volume.range().map_or(0, |(from, _)| from);
        LogReport {
            host: self.name.0,
            log: self.name.1,
            streams: self.streams,
            lines: self.lines,
            bytes: self.bytes,
            formats,
            first: self.first.map(ShownLine::from),
            last: self.last.map(ShownLine::from),
            longest: self.longest,
            undated: self.undated,
            ahead: self.ahead,
            silent: silent(&counts, from, volume.seconds()),
            counts,
        }
    }
}

/// The steps without lines between those with some, joined.
fn silent(counts: &[u64], from: i64, step: i64) -> Vec<Silent> {
    let at = |place: usize| Moment::of_seconds(from + step * i64::try_from(place).unwrap_or(0));
    let with_lines: Vec<usize> = (0..counts.len()).filter(|place| counts[*place] > 0).collect();
    let between = with_lines.windows(2).filter(|pair| pair[1] > pair[0] + 1);
    between.map(|pair| Silent { from: at(pair[0] + 1), to: at(pair[1]) }).collect()
}

/// As much of a line as is shown.
fn beginning(text: &str) -> &str {
    let end = (0..=MAX_SHOWN.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}
