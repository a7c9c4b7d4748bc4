//! rsyslog's end of what `omprog` and a filter say to each other, and what must be true of it.

use std::io::{BufRead, BufReader};
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::{Fault, Place, Run};
use crate::common::sealed::SOON;
use crate::common::strace::{Call, Target};

/// How long it waits for an answer before it looks whether there can be one.
const LOOK: Duration = Duration::from_millis(20);
/// How long it rests after a refusal (`action.resumeInterval`).
const RESUME: Duration = Duration::from_secs(1);
/// After so many refusals it sends nothing more: some faults fall again in each thread.
const PATIENCE: usize = 4;

/// The answers of a filter.
#[derive(Debug)]
pub struct Exchange {
    answers: Receiver<String>,
    refusals: Vec<String>,
    /// The answers to the ends of transactions.
    pub commits: Vec<String>,
    /// What was never answered.
    pub unanswered: Option<String>,
    /// Answers to nothing.
    spare: Vec<String>,
}

/// Whether an answer could not be written, and so will never be there.
pub fn answer_was_lost(calls: &[Call], fault: &Option<(Target, Fault)>) -> bool {
    let is_again = matches!(fault, Some((_, Fault::Error("EINTR"))));
    !is_again && calls.iter().any(|call| call.injected && is_answer(call))
}

fn is_answer(call: &Call) -> bool {
    call.name == "write" && call.arguments.starts_with("1<")
}

impl Exchange {
    /// With what the filter writes.
    pub fn new(output: ChildStdout) -> Self {
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line.expect("answers are text")).is_err() {
                    return;
                }
            }
        });
        Self { answers, refusals: Vec::new(), commits: Vec::new(), unanswered: None, spare: Vec::new() }
    }

    /// The next answer, if there is one soon; an error where there are none any more.
    pub fn next(&self) -> Result<Option<String>, RecvTimeoutError> {
        match self.answers.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => Ok(None),
            next => next.map(Some),
        }
    }

    /// Takes note of an answer that was another one; `None` where there were too many.
    pub fn refuse(&mut self, answer: String) -> Option<()> {
        self.refusals.push(answer);
        thread::sleep(RESUME);
        (self.refusals.len() < PATIENCE).then_some(())
    }

    /// What is left after the end of input.
    pub fn end(&mut self) {
        while let Ok(answer) = self.answers.recv_timeout(SOON) {
            self.spare.push(answer);
        }
    }

    /// What is not as it must be, each in a sentence. What was answered must be in the files, which the files tell.
    pub fn judge(&self, run: &Run, place: &Place) -> Vec<String> {
        let mut untrue = Vec::new();
        if !self.spare.is_empty() {
            untrue.push(format!("answers that nobody waited for: {:?}", self.spare));
        }
        if let Some(unanswered) = &self.unanswered {
            let ended = run.status.is_some_and(|status| !status.success());
            if !ended && !answer_was_lost(&run.calls, &run.fault) {
                untrue.push(format!("no answer to {unanswered:?}"));
            }
        }
        let fell = run.calls.iter().filter(|call| call.injected).count();
        // A log that could not be written is tried again after a second, too: either may be first.
        if self.refusals.len() > 2 * fell {
            untrue.push(format!("{fell} faults fell, but it refused {:?}", self.refusals));
        }
        untrue.extend(self.not_on_disk(&run.calls, place));
        untrue
    }

    /// Each file that lines of a transaction were written to must have been brought to the disk before its end was answered
    /// with OK. strace tells it where all files were watched, or this one.
    fn not_on_disk(&self, calls: &[Call], place: &Place) -> Vec<String> {
        let (input, log) = (place.path("in"), place.path("log"));
        let is_read = |call: &Call| call.name == "read" && call.path.as_ref() == Some(&input);
        let reads = |text: &str| {
            let read = calls.iter().enumerate().filter(|(_, call)| is_read(call) && call.arguments.contains(text));
            read.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let (begins, ends) = (reads("\"BEGIN TRANSACTION\\n\""), reads("\"COMMIT TRANSACTION\\n\""));
        let mut untrue = Vec::new();
        if ends.len() < self.commits.len() {
            untrue.push(format!("{} ends of transactions were read, {} answered", ends.len(), self.commits.len()));
        }
        for (end, _) in ends.iter().zip(&self.commits).filter(|(_, answer)| *answer == "OK") {
            let begin = begins.iter().rev().find(|begin| *begin < end).expect("each has a beginning");
            let answer = (end + 1..calls.len()).find(|at| is_answer(&calls[*at]) || is_read(&calls[*at])).unwrap_or(calls.len());
            // Not what is written between transactions, where a file was moved away.
            for (at, written) in calls.iter().enumerate().take(*end).skip(*begin) {
                let in_log = written.path.as_ref().is_some_and(|path| path.starts_with(&log));
                if written.name != "write" || !in_log || written.result.is_none_or(|bytes| bytes <= 0) {
                    continue;
                }
                let is_sync = |call: &Call| {
                    let returned = call.returned.is_some_and(|returned| returned <= answer);
                    call.name == "fdatasync" && call.path == written.path && call.result == Some(0) && returned
                };
                if !calls[at..answer].iter().any(is_sync) {
                    untrue.push(format!("committed, and not on the disk: {:?} in {:?}", written.arguments, written.path));
                }
            }
        }
        untrue
    }
}
