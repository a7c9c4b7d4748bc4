//! Lines that are offered one by one, stored or refused, and offered again where they were refused.
//!
//! Promises: what [`Log::offer`] takes to the end of a line is in the file (write(2) is done); what it refuses is sealed
//! once, however often it is offered, as long as no other line of this log comes between. A slot that was used is never
//! left out: what was sealed and refused is written before anything else is sealed.
#![forbid(unsafe_code)]

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use super::{Common, Log, WRITE_SIZE};
use crate::control::Gap;
use crate::host::clock;
use crate::stream::writer::WriteError;

/// A line in pieces, as far as it came.
pub struct Offer {
    /// Of this process, so that who sees a digest cannot try out lines.
    key: [u8; 32],
    pieces: u64,
    digest: [u8; 32],
}

/// A line that was sealed, as far as it came, and not answered for.
pub(super) struct Refused {
    pieces: u64,
    digest: [u8; 32],
    whole: bool,
}

impl Offer {
    /// The beginning of a line.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, pieces: 0, digest: [0; 32] }
    }

    fn add(&mut self, piece: &[u8]) {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        self.digest = mac.chain_update(self.digest).chain_update(piece).finalize().into_bytes().into();
        self.pieces += 1;
    }
}

impl Log {
    /// Takes a piece of a line. With its last one the line is in the file. An error says why it is not; what is left of the
    /// line then is not to be offered.
    pub fn offer(
        &mut self,
        offer: &mut Offer,
        piece: &[u8],
        ends_line: bool,
        now: Timestamp,
        common: &mut Common,
    ) -> Result<(), String> {
        let first = offer.pieces == 0;
        if first {
            self.store(common)?;
            self.look_if_due(common);
            self.blocked.as_ref().map_or(Ok(()), |blocked| Err(blocked.why.clone()))?;
            let opened = self.enter_next(now, common);
            self.told(opened, common)?;
        }
        // Nothing is remembered of a whole line that is taken at once.
        let at_once = first && ends_line && self.refused.is_none();
        if !at_once {
            offer.add(piece);
        }
        if let Some(refused) = self.refused.take_if(|refused| offer.pieces <= refused.pieces) {
            let comes_to_its_end = offer.pieces == refused.pieces;
            if comes_to_its_end && offer.digest == refused.digest {
                // It is in the file by now. What was missing of it comes next.
                self.refused = Some(refused).filter(|refused| !refused.whole);
                return Ok(());
            }
            if !comes_to_its_end && !ends_line {
                self.refused = Some(refused);
                return Ok(());
            }
            self.cut_short |= !refused.whole;
            if !first {
                // Its first pieces are gone: they looked like those that were sealed.
                return Err("the line before is in the log now; this one has to come again".to_owned());
            }
        }
        if self.cut_short {
            // Else this line would go on where that one was cut.
            let why = "the end of a line was refused and did not come again".to_owned();
            let told = self.writer.gap(Gap { lines: 1, bytes: 0, from: now, to: now, why }, clock::now());
            self.told(told, common)?;
            self.cut_short = false;
        }
        let sealed = self.line(piece, now, common);
        self.told(sealed, common)?;
        let stored = if ends_line || self.writer.waiting() > WRITE_SIZE { self.store(common) } else { Ok(()) };
        if stored.is_ok() {
            common.show(piece);
        }
        if at_once && stored.is_ok() {
            return Ok(());
        } else if at_once {
            offer.add(piece);
        }
        self.refused = Some(Refused { pieces: offer.pieces, digest: offer.digest, whole: ends_line });
        stored?;
        self.refused = self.refused.take().filter(|refused| !refused.whole);
        Ok(())
    }

    /// Brings everything to the disk. An error says why it may not be there.
    pub fn sync(&mut self, common: &mut Common) -> Result<(), String> {
        self.store(common)?;
        self.writer.sync();
        self.tell_warnings(common);
        self.take_unsynced().map_or(Ok(()), Err)
    }

    /// Writes what waits, now.
    fn store(&mut self, common: &mut Common) -> Result<(), String> {
        let stored = self.writer.flush();
        self.told(stored, common)?;
        if self.blocked.take().is_some() {
            common.warner.warn("goes on", &"the log can be written again");
        }
        Ok(())
    }

    fn told(&mut self, done: Result<(), WriteError>, common: &mut Common) -> Result<(), String> {
        done.map_err(|error| {
            let text = error.to_string();
            self.cannot_write(error, common);
            text
        })
    }
}
