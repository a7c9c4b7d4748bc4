//! What logs there should be: an auditor's list, against what there is.
//!
//! Promises: a log of the list that has no sealed stream, has said nothing for too long, or lies there in plain text is a finding.
//! A log is in the list by its name or by the end of it: `apache2/access.log` is `/var/log/sealed/apache2/access.log`, too.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use super::files;
use super::finding::{Finding, Kind};
use super::verify::KnownGenesis;

/// A log has a mark each day; with one day for the way to the auditor and one more.
const SILENCE: Duration = Duration::from_secs(3 * 86_400);

/// A log that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its host.
    pub host: String,
    /// Its name, or the end of it.
    pub log: PathBuf,
    /// How long before the verification its newest record may be.
    pub silence: Duration,
}

/// Why a list cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// One of its lines is not of the form.
    #[error("line {0}: {1}")]
    Form(usize, String),
}

/// Reads a list: a line has host, log and, where it is not three days, the longest silence. What follows `#` is not read.
pub fn read(path: &Path) -> Result<Vec<Expected>, ListError> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().zip(1..).map(|(line, number)| (line.split('#').next().unwrap_or_default(), number));
    let expected = |(line, number): (&str, usize)| {
        let wrong = |why: String| ListError::Form(number, why);
        let words: Vec<_> = line.split_whitespace().collect();
        let (host, log, silence) = match words[..] {
            [] => return Ok(None),
            [host, log] => (host, log, SILENCE),
            [host, log, silence] => (host, log, super::age(silence).map_err(wrong)?),
            _ => return Err(wrong("host, log and silence are wanted, as in: www1 apache2/access.log 2d".to_owned())),
        };
        Ok(Some(Expected { host: host.to_owned(), log: PathBuf::from(log), silence }))
    };
    lines.filter_map(|line| expected(line).transpose()).collect()
}

/// What is not as the list says. `inputs` are the files and folders that were read, for plain files in them.
pub fn missing(expected: &[Expected], streams: &[KnownGenesis], inputs: &[PathBuf], now: Timestamp) -> Vec<Finding> {
    let plain = if expected.is_empty() { Vec::new() } else { files::without_suffix(inputs) };
    let mut findings = Vec::new();
    for Expected { host, log, silence } in expected {
        let shown = log.display();
        let streams = streams.iter().filter(|stream| stream.host == *host && Path::new(&stream.log).ends_with(log));
        match streams.map(|stream| stream.newest).max() {
            None => findings.push(Finding::new(Kind::Absent, format!("no sealed record of the log {shown} of {host}"))),
            Some(newest) if now.duration_since(newest).unsigned_abs() > *silence && newest < now => {
                let message =
                    format!("the newest record of the log {shown} of {host} is of {newest:.0}, longer ago than it may be");
                findings.push(Finding::new(Kind::Silent, message));
            }
            Some(_) => {}
        }
    }
    for path in plain {
        if let Some(Expected { log, .. }) = expected.iter().find(|expected| is_of(&path, &expected.log)) {
            let message = format!("a plain file with the name of the log {}, which should be sealed", log.display());
            findings.push(Finding { file: Some(path), ..Finding::new(Kind::Unsealed, message) });
        }
    }
    findings
}

/// Whether a file has the log's name, with or without what a rotation puts behind it.
fn is_of(path: &Path, log: &Path) -> bool {
    let (Some(name), Some(wanted)) = (path.file_name(), log.file_name()) else { return false };
    let (name, wanted) = (name.to_string_lossy(), wanted.to_string_lossy());
    let rest = name.strip_prefix(&*wanted);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-'])) && path.with_file_name(&*wanted).ends_with(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_what_is_wrong_in_them_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let list = |text: &str| {
            fs::write(folder.path().join("list"), text).unwrap();
            read(&folder.path().join("list"))
        };
        let read = list("# hosts\nwww1 apache2/access.log\n\nwww1\tmail.log 12h # quiet\n").unwrap();
        assert_eq!((read.len(), read[0].silence, read[1].silence), (2, SILENCE, Duration::from_secs(12 * 3600)));
        for (text, line) in [("www1\n", 1), ("\na b 2d x\n", 2), ("a b soon\n", 1)] {
            assert!(matches!(list(text), Err(ListError::Form(number, _)) if number == line), "{text}");
        }
    }

    #[test]
    fn names_are_those_of_rotated_files_too() {
        let is_of = |path: &str, log: &str| super::is_of(Path::new(path), Path::new(log));
        assert!(is_of("/e/apache2/access.log", "apache2/access.log") && is_of("/e/apache2/access.log.2.gz", "access.log"));
        assert!(is_of("/e/mail.log-20260131", "mail.log"));
        assert!(!is_of("/e/access.log", "apache2/access.log") && !is_of("/e/mail.logs", "mail.log"));
    }
}
