//! Findings: the things that the verifier has to say, with stable names.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::escape::escape;
use crate::control::StreamId;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To be known; explained by the data itself, or not decidable from it.
    Warning,
    /// The data is not what was sealed.
    Alarm,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// A record was changed.
    Altered,
    /// Records are not there.
    Missing,
    /// The same record again.
    Duplicated,
    /// A record stands in another place than it was written to.
    Reordered,
    /// A record that no writer of a known stream sealed.
    Foreign,
    /// The end of what a writer wrote was cut off.
    Truncated,
    /// A place has two different records that both prove it.
    Forked,
    /// A stream took the place of another that it does not name.
    Replaced,
    /// There is no mark where one was asked for.
    Unmarked,
    /// No stream of a log that should be there.
    Absent,
    /// A log that should be there has said nothing for longer than it may.
    Silent,
    /// A plain file of a log that should be sealed.
    Unsealed,
    /// The ledger is not the one that was written last.
    Ledger,
    /// Bytes that are no record.
    Garbage,
    /// A write that did not end.
    Torn,
    /// Whether something is missing cannot be decided.
    Unproven,
    /// Nothing that is trusted vouches for the stream.
    Unanchored,
    /// Lines were dropped before they were sealed, and counted.
    Gap,
    /// The keys changed.
    Recipients,
    /// A stream without state stood in for another.
    Ephemeral,
}

impl Kind {
    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Self::Torn | Self::Unproven | Self::Unanchored | Self::Gap | Self::Recipients | Self::Ephemeral => Severity::Warning,
            _ => Severity::Alarm,
        }
    }

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Missing => "missing",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Foreign => "foreign",
            Self::Truncated => "truncated",
            Self::Forked => "forked",
            Self::Replaced => "replaced",
            Self::Unmarked => "unmarked",
            Self::Absent => "absent",
            Self::Silent => "silent",
            Self::Unsealed => "unsealed",
            Self::Ledger => "ledger",
            Self::Garbage => "garbage",
            Self::Torn => "torn",
            Self::Unproven => "unproven",
            Self::Unanchored => "unanchored",
            Self::Gap => "gap",
            Self::Recipients => "recipients",
            Self::Ephemeral => "ephemeral",
        }
    }
}

/// One thing to say, with its place. What is not known is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub finding: Kind,
    /// How bad.
    pub severity: Severity,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "file_name")]
    pub file: Option<PathBuf>,
    /// Where in it, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// How many bytes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamId>,
    /// The epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The first slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// How many records, or how many at most where that is all that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The same in a sentence.
    pub message: String,
}

/// JSON has no words for a name that is not UTF-8: it is shown as people see it.
fn file_name<S: Serializer>(file: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match file {
        Some(file) => match file.to_str() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_str(&escape(file.as_os_str().as_encoded_bytes())),
        },
        None => serializer.serialize_none(),
    }
}

impl Finding {
    /// A finding without a place yet.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            finding: kind,
            severity: kind.severity(),
            file: None,
            offset: None,
            length: None,
            stream: None,
            epoch: None,
            slot: None,
            count: None,
            message: message.into(),
        }
    }

    /// Puts it into a file.
    pub fn at(mut self, file: impl Into<PathBuf>, offset: u64, length: u64) -> Self {
        (self.file, self.offset, self.length) = (Some(file.into()), Some(offset), Some(length));
        self
    }

    /// Puts it into a stream.
    pub fn of(mut self, stream: StreamId) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Puts it into an epoch.
    pub fn slot(mut self, epoch: u64, slot: u32) -> Self {
        (self.epoch, self.slot) = (Some(epoch), Some(slot));
        self
    }

    /// Says how many.
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.finding.name())?;
        if let Some(file) = &self.file {
            write!(f, ": {}", file.display())?;
            if let (Some(offset), Some(length)) = (self.offset, self.length) {
                write!(f, " at byte {offset}")?;
                if length > 0 {
                    write!(f, " ({length} bytes)")?;
                }
            }
        }
        write!(f, ": {}", self.message)
    }
}

/// What was verified, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Streams with a record in place.
    pub streams: u64,
    /// Records in place, control records among them.
    pub records: u64,
    /// Records in place that hold a line or a piece of one.
    pub lines: u64,
    /// Findings of severity alarm.
    pub alarms: u64,
    /// Findings of severity warning.
    pub warnings: u64,
    /// Whether every stream is vouched for by something trusted.
    pub anchored: bool,
}
