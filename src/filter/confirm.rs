//! What rsyslog's `omprog` is answered: with `confirmMessages`, and with `useTransactions`.
//!
//! Promises: each line is answered once, at its end, and never with text of a log; an answer that is no error is given
//! after the line is in its file (write(2) is done), that to the end of a transaction after the files are on the disk.
//! Within a transaction too: rsyslog does not send a line again that was answered there when the program dies at a later one
//! (rsyslog issue 2420), and takes two answers in one read for an error.
//! Lines that were refused may come again, and are sealed once (`Log::offer`).
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::Timestamp;

use super::log::{Common, Offer};
use super::logs::Logs;

const BEGIN: &[u8] = b"BEGIN TRANSACTION\n";
const COMMIT: &[u8] = b"COMMIT TRANSACTION\n";

/// What the daemon waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// An answer to each line (`confirmMessages="on"`).
    Messages,
    /// Also lines in transactions, which end on the disk (`useTransactions="on"`).
    Transactions,
}

/// A line that was not answered yet.
struct Line {
    log: usize,
    /// Bytes of its field that are still to come.
    skip: usize,
    offer: Offer,
    refused: Option<String>,
}

/// One end of the exchange.
pub struct Confirmer {
    confirm: Confirm,
    key: [u8; 32],
    in_transaction: bool,
    /// Logs that may not be on the disk.
    written: BTreeSet<usize>,
    line: Option<Line>,
}

impl Confirmer {
    /// With a random key for what it remembers of lines.
    pub fn new(confirm: Confirm, key: [u8; 32]) -> Self {
        Self { confirm, key, in_transaction: false, written: BTreeSet::new(), line: None }
    }

    /// Says that it is ready: the daemon waits for that before it sends anything.
    pub fn greet(&self) {
        answer("OK");
    }

    /// Takes a line or a piece of one, and answers at its end.
    pub fn take(&mut self, piece: &[u8], ends_line: bool, now: Timestamp, logs: &mut Logs, common: &mut Common) {
        if self.line.is_none() && self.confirm == Confirm::Transactions {
            match piece {
                BEGIN => {
                    // What was written before and not committed stays to be brought to the disk.
                    self.in_transaction = true;
                    return answer("OK");
                }
                COMMIT => {
                    self.in_transaction = false;
                    return answer(&self.sync(logs, common));
                }
                _ => {}
            }
        }
        let key = self.key;
        let line = self.line.get_or_insert_with(|| {
            let (log, skip, refused) = match logs.log_of(piece, common) {
                Some((log, skip)) => (log, skip, None),
                None => (0, 0, Some("cannot open another log: all that may be open are blocked".to_owned())),
            };
            Line { log, skip, offer: Offer::new(key), refused }
        });
        if line.refused.is_none() {
            let body = &piece[std::mem::take(&mut line.skip)..];
            let offered =
                if body.is_empty() { Ok(()) } else { logs.offer(line.log, &mut line.offer, body, ends_line, now, common) };
            line.refused = offered.err();
        }
        if let Some(line) = self.line.take_if(|_| ends_line) {
            if line.refused.is_none() && self.confirm == Confirm::Transactions {
                self.written.insert(line.log);
            }
            let text = match line.refused {
                Some(why) => why,
                None if self.in_transaction => "DEFER_COMMIT".to_owned(),
                // Nothing else will bring it to the disk before the daemon forgets it.
                None => self.sync(logs, common),
            };
            answer(&text);
        }
    }

    /// Brings to the disk what was written since the last time; the answer to that.
    fn sync(&mut self, logs: &mut Logs, common: &mut Common) -> String {
        let mut failed = logs.take_unsynced();
        for log in std::mem::take(&mut self.written) {
            failed = failed.or(logs.sync(log, common).err());
        }
        failed.unwrap_or_else(|| "OK".to_owned())
    }
}

/// One line on standard output. Whether anybody reads it shows at the end of input.
fn answer(text: &str) {
    // A path may have any character in it.
    let mut line: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    line.push('\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
