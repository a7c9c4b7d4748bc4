//! What was seen of one epoch.
//!
//! Promises: slots that were passed over are remembered with their place, until a record fills them.
#![forbid(unsafe_code)]

use jiff::Timestamp;

use super::Position;
use crate::audit::spill::Away;
use crate::control::{UsedEpoch, WriterId};

/// What was seen of one epoch.
#[derive(Default)]
pub(super) struct EpochState {
    pub(super) slots: Option<u32>,
    pub(super) writer: Option<WriterId>,
    pub(super) claimed: Option<Timestamp>,
    pub(super) before: Option<UsedEpoch>,
    /// The length of the file that its writer found when it came to it with this epoch.
    pub(super) resumed: Option<u64>,
    /// Where its first record but a genesis stands.
    pub(super) first: Option<Position>,
    /// Where its last record in order ends.
    pub(super) last_end: u64,
    /// The slot after the highest one seen.
    pub(super) next: u32,
    /// Digests of the records seen, 0 for none, while they are in memory.
    pub(super) digests: Vec<u64>,
    pub(super) away: Option<Away>,
    pub(super) holes: Vec<Hole>,
    pub(super) close: Option<u32>,
    pub(super) newest: Timestamp,
}

/// Slots that were passed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) file: usize,
    pub(super) after: u64,
    pub(super) before: u64,
}

impl EpochState {
    /// How many more digests are in memory.
    pub(super) fn see(&mut self, slot: u32, digest: u64) -> usize {
        let (at, before) = (slot as usize, self.digests.len());
        if self.digests.len() <= at {
            self.digests.resize(at + 1, 0);
        }
        self.digests[at] = digest.max(1);
        self.digests.len() - before
    }

    /// Whether all its slots are there.
    pub(super) fn is_full(&self) -> bool {
        self.holes.is_empty() && self.slots == Some(self.next)
    }

    /// Whether all records that it will ever have are there.
    pub(super) fn is_complete(&self) -> bool {
        self.is_full() || self.holes.is_empty() && self.close.is_some_and(|close| self.next == close + 1)
    }

    /// Takes a slot out of the holes, for a record from `offset` to `end` of a file. Whether it was in one; then, whether it
    /// stands where the hole is.
    pub(super) fn fill(&mut self, slot: u32, file: usize, offset: u64, end: u64) -> Option<bool> {
        let at = self.holes.iter().position(|hole| (hole.from..hole.to).contains(&slot))?;
        let hole = self.holes.remove(at);
        let fits = hole.file == file && hole.after <= offset && end <= hole.before;
        let (before, after) = if fits { (offset, end) } else { (hole.before, hole.after) };
        for part in [Hole { to: slot, before, ..hole }, Hole { from: slot + 1, after, ..hole }] {
            if part.from < part.to {
                self.holes.push(part);
            }
        }
        Some(fits)
    }
}
