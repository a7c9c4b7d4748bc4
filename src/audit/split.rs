//! Cuts sealed files into records by their looks alone, without any key.
//!
//! Promises: what it hands out has the form of one record. Whether it is whole or genuine, only a key can tell.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard};

use super::heads::Heads;
use super::scan::{Examine, Why};
use crate::record::age::{AgeFile, MAGIC};
use crate::record::openpgp::Message;
use crate::record::seipd2::Seipd2;

/// Takes for a record what has the form of one and no head of another one in it. For [`super::scan::Scanner`].
pub struct Structure(Mutex<Arc<Heads>>);

impl Structure {
    /// Knows no head yet.
    pub fn new() -> Self {
        Self(Mutex::new(Arc::new(Heads::new(&[]))))
    }

    fn known(&self) -> MutexGuard<'_, Arc<Heads>> {
        self.0.lock().expect("no thread panics while it holds the lock")
    }
}

impl Default for Structure {
    fn default() -> Self {
        Self::new()
    }
}

impl Examine for Structure {
    /// The record without its framing.
    type Out = Vec<u8>;
    /// The first record shows how heads look, so that a wrong length among the next ones is seen.
    const FIRST_WINDOW: usize = 1;

    fn examine(&self, record: &[u8]) -> Result<Vec<u8>, Why> {
        let fits = if record.starts_with(MAGIC) {
            AgeFile::parse(record).is_ok()
        } else {
            let is_message = Message::parse(record).is_ok_and(|message| {
                message.len == record.len()
                    && match message.seipd.first() {
                        Some(1) => true,
                        _ => Seipd2::parse(message.seipd).is_ok(),
                    }
            });
            let heads = self.heads();
            is_message && heads.next(record, 1, Some(0)).is_none() && !heads.ends_within(record)
        };
        if fits { Ok(record.to_vec()) } else { Err(Why::NotARecord) }
    }

    fn accepted(&self, record: &[u8], _: &Vec<u8>) {
        let mut heads = self.known();
        if !heads.knows_beginning(record) {
            Arc::make_mut(&mut heads).learn(record, true);
        }
    }

    fn rejected(&self, record: &[u8]) {
        Arc::make_mut(&mut self.known()).learn(record, false);
    }

    fn heads(&self) -> Arc<Heads> {
        Arc::clone(&self.known())
    }
}
