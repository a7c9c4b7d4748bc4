//! Rules that find attacks and faults in logs: a subset of Sigma (detection rules and correlations, specification 2.1).
//!
//! Promises: a rule that is not understood in every part is an error, with file, line and what to change; rules are data, ours too
//! (`rules/` of the project); time and memory are bounded whatever the lines.
//! Not promised: Sigma's modifiers for encodings, aliases of correlations, and logs of other systems. `docs/report.md` says what there is.
#![forbid(unsafe_code)]

mod builtin;
mod condition;
pub mod engine;
pub mod rule;
mod selection;
pub mod source;
#[cfg(test)]
mod tests;
pub mod window;
pub mod yaml;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::rule::{Kind, Rule};
use self::yaml::Wrong;

/// No file of rules is longer, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Why rules cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder has no rules in it.
    #[error("no rules (*.yml) in the folder {}", .0.display())]
    Empty(PathBuf),
    /// A rule is wrong.
    #[error("{}:{}: {}", path.display(), wrong.line, wrong.what)]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line, and what.
        wrong: Wrong,
    },
}

/// Rules that fit together.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// For each rule the correlations that name it, and in which place.
    followers: Vec<Vec<(usize, usize)>>,
    told: Vec<bool>,
}

impl Rules {
    /// The rules that the program brings, and those of these files and folders. One that has the id of another that was there before
    /// takes its place.
    pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Self, RuleError> {
        let mut rules = builtin();
        for path in paths {
            let mut added = Vec::new();
            for path in files(path.as_ref())? {
                added.extend(read(&path)?);
            }
            unique(&added)?;
            rules.retain(|rule| added.iter().all(|other| other.id != rule.id));
            rules.extend(added);
        }
        Self::joined(rules)
    }

    /// Puts rules together: what they call each other by must be there, and no rule may lead to itself.
    fn joined(rules: Vec<Rule>) -> Result<Self, RuleError> {
        let mut followers = vec![Vec::new(); rules.len()];
        let mut told = vec![true; rules.len()];
        for (number, rule) in rules.iter().enumerate() {
            let Kind::Correlation(correlation) = &rule.kind else { continue };
            for (place, (name, line)) in correlation.rules.iter().enumerate() {
                let Some(named) = rules.iter().position(|rule| rule.is_called(name)) else {
                    return Err(wrong(&rule.origin.file, *line, format!("no rule has the id or the name {name:?}")));
                };
                followers[named].push((number, place));
                told[named] &= correlation.generate || rules[named].class.is_some();
            }
        }
        let rules = Self { rules, followers, told };
        for (number, rule) in rules.rules.iter().enumerate() {
            if rules.leads_to(number, number, &mut vec![false; rules.rules.len()]) {
                return Err(wrong(&rule.origin.file, rule.origin.line, "the correlation leads back to itself".to_owned()));
            }
        }
        Ok(rules)
    }

    fn leads_to(&self, from: usize, to: usize, been: &mut [bool]) -> bool {
        self.followers[from]
            .iter()
            .any(|(next, _)| *next == to || !std::mem::replace(&mut been[*next], true) && self.leads_to(*next, to, been))
    }

    /// All of them.
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether hits of a rule are told, and not only counted by others: a rule without a class that a correlation names serves that one.
    pub fn is_told(&self, number: usize) -> bool {
        self.told[number]
    }

    fn followers(&self, number: usize) -> &[(usize, usize)] {
        &self.followers[number]
    }
}

fn wrong(path: &Path, line: usize, what: String) -> RuleError {
    RuleError::Wrong { path: path.to_owned(), wrong: Wrong { line, what } }
}

/// The rules that are compiled into the program.
fn builtin() -> Vec<Rule> {
    let all = builtin::FILES
        .iter()
        .flat_map(|(name, text)| parse(Path::new(name), text).expect("the rules of the project are tested to be right"));
    all.collect()
}

/// The rules of a text.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Rule>, RuleError> {
    let failed = |wrong| RuleError::Wrong { path: path.to_owned(), wrong };
    let documents = yaml::parse(text).map_err(failed)?;
    documents.iter().map(|document| Rule::parse(document, path).map_err(failed)).collect()
}

fn read(path: &Path) -> Result<Vec<Rule>, RuleError> {
    let failed = |source| RuleError::Read { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(wrong(path, 1, format!("the file has {length} bytes; rules have no more than {MAX_FILE}")));
    }
    parse(path, &fs::read_to_string(path).map_err(failed)?)
}

/// The file, or those of the folder whose names end in `.yml` or `.yaml`, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, RuleError> {
    let failed = |source| RuleError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yml" || extension == "yaml"));
    files.sort();
    if files.is_empty() { Err(RuleError::Empty(path.to_owned())) } else { Ok(files) }
}

fn unique(rules: &[Rule]) -> Result<(), RuleError> {
    for (at, rule) in rules.iter().enumerate() {
        if let Some(other) = rules[..at].iter().find(|other| other.id == rule.id) {
            let what = format!("the id {:?} is that of the rule at {}", rule.id, other.origin);
            return Err(wrong(&rule.origin.file, rule.origin.line, what));
        }
    }
    Ok(())
}
