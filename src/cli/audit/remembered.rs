//! The ledger of a command: read before, weighed, and written after with what was done.
//!
//! Promises: a ledger that is not the one that was written last is a finding of the command, or an error where it was changed.
#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::PROGRAM;
use super::evidence::Evidence;
use super::input::TrustArgs;
use crate::audit::escape::escape;
use crate::audit::finding::{Finding, Kind};
use crate::audit::ledger::desk::{Desk, Head, Standing};
use crate::audit::ledger::{Audit, Ledger, LedgerError};
use crate::audit::verify::{Report, Trust, Verifier};
use crate::cli::Trouble;
use crate::host::clock;
use crate::host::process;

/// The ledger that `--ledger` names, if it does.
pub struct Remembered {
    file: Option<OfFile>,
    trust_first: bool,
    /// Whether anything but the files themselves is believed.
    pub has_root: bool,
    auditor: String,
}

struct OfFile {
    path: PathBuf,
    desk: Desk,
    head: Option<Head>,
    ledger: Ledger,
    standing: Standing,
}

impl Remembered {
    /// Reads the ledger, and makes a verifier that knows it; `asked` adds to what is trusted.
    pub fn read(args: &TrustArgs, asked: impl FnOnce(&mut Trust)) -> Result<(Self, Verifier), Trouble> {
        let file = args.ledger.as_ref().map(|path| OfFile::read(path, args.ledger_head)).transpose()?;
        let mut trust = args.trust(file.as_ref().map(|file| file.ledger.clone()))?;
        asked(&mut trust);
        let auditor = args.auditor.clone().or_else(process::account).unwrap_or_else(|| "unknown".to_owned());
        let remembered = Self { file, trust_first: trust.first, has_root: trust.has_root() || trust.first, auditor };
        Ok((remembered, Verifier::new(trust)))
    }

    /// Who uses the logs.
    pub fn auditor(&self) -> &str {
        &self.auditor
    }

    /// Adds to the findings what there is to say of the ledger.
    pub fn weigh(&self, report: &mut Report) {
        let Some(OfFile { path, standing, head, .. }) = &self.file else { return };
        let shown = path.display();
        let finding = match standing {
            Standing::New | Standing::Newest => return,
            Standing::Lost(number, time) => {
                let message = format!("the ledger {shown} is gone: it was written {number} times, at last {time:.0}");
                Finding::new(Kind::Ledger, message)
            }
            Standing::Older(number, of, time) => {
                let message =
                    format!("the ledger {shown} is an older copy: it was written {number} times, and {of} times until {time:.0}");
                Finding::new(Kind::Ledger, message)
            }
            Standing::Strange => {
                let head = head.map_or_else(String::new, |head| format!("; compare its head with the one on paper: {head}"));
                let message =
                    format!("this desk has never written the ledger {shown}, and cannot say whether it is the newest{head}");
                Finding::new(Kind::Unproven, message)
            }
        };
        report.add(finding);
    }

    /// Weighs files and ledger, tells what there is to say of both, and enters this use of the logs.
    pub fn conclude(self, evidence: &Evidence, verifier: Verifier, command: &str, window: String) -> Result<Report, Trouble> {
        let mut report = verifier.finish();
        self.weigh(&mut report);
        evidence.tell(&report, self.has_root);
        self.write(command, window, evidence.files.files.len(), &report, None)?;
        Ok(report)
    }

    /// Writes the ledger with this use of the logs in it; `learned` is what a verification came to know of streams. Says its head on
    /// standard error.
    pub fn write(
        self,
        command: &str,
        window: String,
        files: usize,
        report: &Report,
        learned: Option<Ledger>,
    ) -> Result<(), Trouble> {
        let Some(OfFile { path, desk, head, ledger, .. }) = self.file else { return Ok(()) };
        let (mut ledger, now) = (learned.unwrap_or(ledger), clock::now());
        ledger.audits.push(Audit {
            time: now,
            auditor: self.auditor,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: command.to_owned(),
            window,
            files: files as u64,
            streams: report.summary.streams,
            alarms: report.summary.alarms,
            warnings: report.summary.warnings,
            trust_first: self.trust_first,
        });
        let head = desk.write(&path, head, &mut ledger, now).map_err(|error| cannot_write(&path, &error))?;
        let path = escape(path.as_os_str().as_encoded_bytes());
        let _ = writeln!(io::stderr(), "{PROGRAM}: note: the ledger {path} has the head {head} now; write it down");
        Ok(())
    }
}

impl OfFile {
    fn read(path: &Path, paper: Option<Head>) -> Result<Self, Trouble> {
        let desk = Desk::new(desk_folder()?);
        let read = desk.read(path, paper).map_err(|error| {
            let hint = match &error {
                LedgerError::Changed => {
                    "find out who has changed it; go on with a copy that was kept, or with a new ledger and fingerprints from paper"
                }
                LedgerError::Desk(_) => "check the folder and its permissions",
                _ => "give the ledger of an earlier verification, or a new name",
            };
            Trouble::new(format_args!("cannot use the ledger {}: {error}", path.display()), hint)
        })?;
        Ok(Self { path: path.to_owned(), desk, head: read.head, ledger: read.ledger, standing: read.standing })
    }
}

fn cannot_write(path: &Path, error: &LedgerError) -> Trouble {
    let hint = match error {
        LedgerError::Busy => "run the command again",
        _ => "check the folder and its permissions",
    };
    Trouble::new(format_args!("cannot write the ledger {}: {error}", path.display()), hint)
}

/// Where a desk keeps what it remembers: below `XDG_STATE_HOME`, or `.local/state` in the home folder.
fn desk_folder() -> Result<PathBuf, Trouble> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("sealedlog/ledgers")).ok_or_else(|| {
        Trouble::new("there is no folder to remember ledgers in", "set HOME or XDG_STATE_HOME to a folder that you own")
    })
}
