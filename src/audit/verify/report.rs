//! What a verification says.
#![forbid(unsafe_code)]

use jiff::Timestamp;

use crate::audit::finding::{Finding, Severity, Summary};
use crate::audit::ledger::Ledger;
use crate::control::GenesisFingerprint;

/// What verification came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Everything there is to say, in the order of the input.
    pub findings: Vec<Finding>,
    /// The same in numbers.
    pub summary: Summary,
    /// The streams with records in place.
    pub streams: Vec<KnownGenesis>,
    /// What the next verification should know.
    pub ledger: Ledger,
}

impl Report {
    /// Adds something that is not of the files.
    pub fn add(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Alarm => self.summary.alarms += 1,
            Severity::Warning => self.summary.warnings += 1,
        }
        self.findings.push(finding);
    }
}

/// One stream, to be told to people.
#[derive(Clone, Debug)]
pub struct KnownGenesis {
    /// Its genesis fingerprint.
    pub genesis: GenesisFingerprint,
    /// Its host.
    pub host: String,
    /// Its log.
    pub log: String,
    /// When it began.
    pub began: Timestamp,
    /// The time of its newest record in place, by the record.
    pub newest: Timestamp,
    /// Whether something trusted vouches for it.
    pub anchored: bool,
    /// It is trusted because its own files were to be believed, and for no other reason.
    pub by_files: bool,
}
