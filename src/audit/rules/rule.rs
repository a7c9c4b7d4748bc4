//! One rule, from its YAML.
//!
//! Promises: a key that is not known is an error, with its line; what is read means what Sigma says it does.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::condition::Condition;
use super::selection::{Selection, fields_named};
use super::source::Sources;
use super::yaml::{Node, Wrong};
use crate::audit::event::{Event, Field};

/// Begins the tag that gives a rule its class.
const CLASS: &str = "sealedlog.class.";

/// How much a hit matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// To be known; part of running a server.
    Informational,
    /// Seldom worth a look by itself.
    Low,
    /// Worth a look.
    Medium,
    /// To be looked at now.
    High,
    /// Act.
    Critical,
}

impl Level {
    const ALL: [(&str, Self); 5] = [
        ("informational", Self::Informational),
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("critical", Self::Critical),
    ];

    /// As Sigma calls it.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// What a hit is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Somebody got in.
    Compromise,
    /// Somebody is where he should not be, or seems to be.
    Intrusion,
    /// Service is denied, on purpose or not.
    DenialOfService,
    /// Somebody tries this very server.
    DirectedProbe,
    /// A program tries whatever it finds.
    AutomatedProbe,
    /// Something broke.
    Fault,
    /// Configuration, accounts or packages were changed.
    Change,
}

impl Class {
    /// All, the worst first.
    pub const ALL: [Self; 7] = [
        Self::Compromise,
        Self::Intrusion,
        Self::DenialOfService,
        Self::DirectedProbe,
        Self::AutomatedProbe,
        Self::Fault,
        Self::Change,
    ];

    /// As tags have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compromise => "compromise",
            Self::Intrusion => "intrusion",
            Self::DenialOfService => "denial_of_service",
            Self::DirectedProbe => "directed_probe",
            Self::AutomatedProbe => "automated_probe",
            Self::Fault => "fault",
            Self::Change => "change",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Compromise => "Compromise",
            Self::Intrusion => "Intrusion",
            Self::DenialOfService => "Denial of service",
            Self::DirectedProbe => "Directed probe",
            Self::AutomatedProbe => "Automated probe",
            Self::Fault => "Fault",
            Self::Change => "Configuration and package changes",
        }
    }
}

/// Where a rule was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line that it begins in.
    pub line: usize,
}

impl Origin {
    /// A place in a file.
    pub fn new(file: &Path, line: usize) -> Self {
        Self { file: file.to_owned(), line }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it was read.
    pub origin: Origin,
    /// What it is called by other rules.
    pub id: String,
    /// A short name, by which other rules may call it too.
    pub name: Option<String>,
    /// What it finds, in a line.
    pub title: String,
    /// The same in some sentences.
    pub description: String,
    /// When it finds what is none.
    pub false_positives: Vec<String>,
    /// How much a hit matters.
    pub level: Level,
    /// What a hit is taken for; `None` where the rule serves other rules only.
    pub class: Option<Class>,
    /// What it looks at.
    pub kind: Kind,
}

/// The two kinds of rules.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Looks at one line.
    Detection(Detection),
    /// Looks at how hits of other rules lie in time.
    Correlation(Correlation),
}

/// What a line must be.
#[derive(Clone, Debug)]
pub struct Detection {
    /// Which lines it is for.
    pub sources: Sources,
    selections: Vec<Selection>,
    condition: Condition,
}

impl Detection {
    /// Whether it matches an event and the line that it was read from.
    pub fn matches(&self, event: &Event<'_>, line: &str) -> bool {
        self.condition.holds(&mut |selection| self.selections[selection].selects(event, line))
    }
}

/// What must come together.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// How.
    pub test: CorrelationTest,
    /// Ids or names of rules, with the line that names them.
    pub rules: Vec<(String, usize)>,
    /// One by one for each combination of these; each may be any of several fields.
    pub group_by: Vec<Vec<Field>>,
    /// Within this time, in milliseconds.
    pub timespan: i64,
    /// Whether hits of the rules are told, too.
    pub generate: bool,
}

/// How hits are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorrelationTest {
    /// At least so many.
    EventCount(usize),
    /// With at least so many different values of any of these fields.
    ValueCount(Vec<Field>, usize),
    /// Of all the rules.
    Temporal,
    /// Of all the rules, in their order.
    TemporalOrdered,
}

/// The most that may be asked for, so that what is remembered stays small.
const MAX_COUNT: usize = 100_000;

/// The keys of a rule that say nothing here.
const PASSED_OVER: [&str; 10] =
    ["author", "date", "license", "modified", "references", "related", "scope", "status", "taxonomy", "version"];

impl Rule {
    /// Reads one document.
    pub fn parse(node: &Node, file: &Path) -> Result<Self, Wrong> {
        let (mut id, mut name, mut title, mut level, mut class) = (None, None, None, None, None);
        let (mut description, mut false_positives) = (String::new(), Vec::new());
        let (mut logsource, mut detection, mut correlation) = (None, None, None);
        for (key, value) in node.map()? {
            match key.text()? {
                "id" => id = Some(value.text()?.to_owned()),
                "name" => name = Some(value.text()?.to_owned()),
                "title" => title = Some(value.text()?.to_owned()),
                "description" => description = value.text()?.trim().to_owned(),
                "falsepositives" => {
                    for item in value.items() {
                        false_positives.push(item.text()?.trim().to_owned());
                    }
                }
                "level" => {
                    let text = value.text()?;
                    let found = Level::ALL.iter().find(|(name, _)| *name == text);
                    level = Some(found.ok_or_else(|| Wrong::new(value.line, format!("{text:?} is no level")))?.1);
                }
                "tags" => {
                    for item in value.items() {
                        let Some(text) = item.text()?.strip_prefix(CLASS) else { continue };
                        let found = Class::ALL.into_iter().find(|class| class.name() == text);
                        class = Some(found.ok_or_else(|| Wrong::new(item.line, format!("{text:?} is no class")))?);
                    }
                }
                "logsource" => logsource = Some(value),
                "detection" => detection = Some(value),
                "correlation" => correlation = Some(value),
                "fields" => {}
                other if PASSED_OVER.contains(&other) => {}
                other => return Err(Wrong::new(key.line, format!("the key {other:?} is not known"))),
            }
        }
        let missing = |what: &str| Wrong::new(node.line, format!("the rule has no {what}"));
        let kind = match (logsource, detection, correlation) {
            (Some(logsource), Some(detection), None) => Kind::Detection(parse_detection(logsource, detection)?),
            (None, None, Some(correlation)) => Kind::Correlation(parse_correlation(correlation)?),
            (_, None, None) => return Err(missing("detection")),
            (None, Some(_), None) => return Err(missing("logsource")),
            _ => return Err(Wrong::new(node.line, "a rule has either logsource and detection, or correlation")),
        };
        Ok(Self {
            origin: Origin::new(file, node.line),
            id: id.ok_or_else(|| missing("id"))?,
            name,
            title: title.ok_or_else(|| missing("title"))?,
            description,
            false_positives,
            level: level.unwrap_or(Level::Medium),
            class,
            kind,
        })
    }

    /// Whether somebody calls it so.
    pub fn is_called(&self, name: &str) -> bool {
        self.id == name || self.name.as_deref() == Some(name)
    }
}

fn parse_detection(logsource: &Node, detection: &Node) -> Result<Detection, Wrong> {
    let (mut category, mut product, mut service) = (None, None, None);
    for (key, value) in logsource.map()? {
        match key.text()? {
            "category" => category = Some(value.text()?),
            "product" => product = Some(value.text()?),
            "service" => service = Some(value.text()?),
            "definition" => {}
            other => return Err(Wrong::new(key.line, format!("the key {other:?} of logsource is not known"))),
        }
    }
    let sources = Sources::named(category, product, service).map_err(|what| Wrong::new(logsource.line, what))?;
    let (mut names, mut selections, mut condition) = (Vec::new(), Vec::new(), None);
    for (key, value) in detection.map()? {
        match key.text()? {
            "condition" => condition = Some(value),
            "timeframe" => return Err(Wrong::new(key.line, "timeframe is of the past; write a correlation")),
            name => {
                names.push(name);
                selections.push(Selection::parse(value)?);
            }
        }
    }
    let node = condition.ok_or_else(|| Wrong::new(detection.line, "the detection has no condition"))?;
    let mut any = Vec::new();
    for item in node.items() {
        any.push(Condition::parse(item.text()?, &names).map_err(|what| Wrong::new(item.line, what))?);
    }
    Ok(Detection { sources, selections, condition: Condition::Any(any) })
}

fn parse_correlation(node: &Node) -> Result<Correlation, Wrong> {
    let (mut kind, mut timespan, mut condition) = (None, None, None);
    let (mut rules, mut group_by, mut generate) = (Vec::new(), Vec::new(), false);
    for (key, value) in node.map()? {
        match key.text()? {
            "type" => kind = Some((value.text()?, value.line)),
            "rules" => {
                for item in value.items() {
                    rules.push((item.text()?.to_owned(), item.line));
                }
            }
            "group-by" => {
                for item in value.items() {
                    group_by.push(fields_named(item.text()?, item.line)?);
                }
            }
            "timespan" => timespan = Some(parse_timespan(value)?),
            "condition" => condition = Some(value),
            "generate" => {
                generate = match value.text()? {
                    "true" => true,
                    "false" => false,
                    other => return Err(Wrong::new(value.line, format!("{other:?} is neither true nor false"))),
                }
            }
            other => return Err(Wrong::new(key.line, format!("the key {other:?} of correlation is not known"))),
        }
    }
    let missing = |what: &str| Wrong::new(node.line, format!("the correlation has no {what}"));
    let (kind, line) = kind.ok_or_else(|| missing("type"))?;
    if rules.is_empty() {
        return Err(missing("rules"));
    }
    let threshold = || parse_threshold(condition.ok_or_else(|| missing("condition"))?);
    let test = match kind {
        "event_count" => CorrelationTest::EventCount(threshold()?.1),
        "value_count" => match threshold()? {
            (Some(fields), count) => CorrelationTest::ValueCount(fields, count),
            (None, _) => return Err(missing("field in its condition")),
        },
        "temporal" => CorrelationTest::Temporal,
        "temporal_ordered" => CorrelationTest::TemporalOrdered,
        other => return Err(Wrong::new(line, format!("the correlation type {other:?} is not known"))),
    };
    if let (CorrelationTest::Temporal | CorrelationTest::TemporalOrdered, Some(condition)) = (&test, condition) {
        return Err(Wrong::new(condition.line, "a temporal correlation has no condition here: all its rules must be met"));
    }
    Ok(Correlation { test, rules, group_by, timespan: timespan.ok_or_else(|| missing("timespan"))?, generate })
}

/// `{gte: 5}`, `{field: user.name, gte: 5}`; `gt` is one more.
fn parse_threshold(node: &Node) -> Result<(Option<Vec<Field>>, usize), Wrong> {
    let (mut field, mut count) = (None, None);
    for (key, value) in node.map()? {
        let number = || {
            let text = value.text()?;
            let number = text.parse().ok().filter(|number| (1..=MAX_COUNT).contains(number));
            number.ok_or_else(|| Wrong::new(value.line, format!("{text:?} is no number from 1 to {MAX_COUNT}")))
        };
        match key.text()? {
            "field" => field = Some(fields_named(value.text()?, value.line)?),
            "gte" => count = Some(number()?),
            "gt" => count = Some(number()? + 1),
            other => {
                return Err(Wrong::new(key.line, format!("{other:?} is not known in a correlation's condition; gte and gt are")));
            }
        }
    }
    Ok((field, count.ok_or_else(|| Wrong::new(node.line, "the condition has neither gte nor gt"))?))
}

/// `30s`, `5m`, `1h`, `7d`, in milliseconds.
fn parse_timespan(node: &Node) -> Result<i64, Wrong> {
    let text = node.text()?;
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => 86_400,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|digits| digits.parse::<i64>().ok());
    let milliseconds = number.filter(|number| *number > 0).and_then(|number| number.checked_mul(unit * 1000));
    milliseconds
        .filter(|milliseconds| *milliseconds > 0)
        .ok_or_else(|| Wrong::new(node.line, format!("{text:?} is no timespan; write for instance 30s, 5m, 1h or 7d")))
}
