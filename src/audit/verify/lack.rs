//! Slots that should be there, and the damage that explains them.
#![forbid(unsafe_code)]

use super::Verifier;
use crate::audit::finding::Kind as Finds;
use crate::audit::read::{Damage, Why};

/// No record is shorter, in bytes of a file.
const MIN_RECORD: u64 = 120;

/// Slots that should be there.
pub struct Lack {
    /// What it is called where no damage explains it.
    pub kind: Finds,
    /// The stream's number.
    pub stream: usize,
    /// j.
    pub epoch: u64,
    /// The first of them.
    pub slot: u32,
    /// `None` where it is not known how many.
    pub count: Option<u64>,
    /// How many there can have been, where it is not known.
    pub at_most: Option<u64>,
    /// Where they would stand.
    pub regions: Vec<(usize, u64, u64)>,
    /// What to say, where it is more than the number.
    pub message: String,
}

impl Verifier {
    /// Damage where records are lacking is those records, changed.
    pub(super) fn give_damage_to_lacks(&mut self, mut lacks: Vec<Lack>, damages: &mut [(usize, Damage, bool)]) {
        let width = |lack: &Lack| lack.regions.iter().map(|(_, from, to)| to.saturating_sub(*from)).max().unwrap_or(0);
        lacks.sort_by_key(|lack| (lack.count.is_none(), width(lack)));
        // From each damage on the next one that has no name: what has one is not looked at again and again.
        let mut next: Vec<usize> = (0..=damages.len()).collect();
        for lack in lacks {
            let id = self.streams[lack.stream].id;
            let (mut left, mut slot, mut any) = (lack.count, lack.slot, false);
            for &(region, from, to) in &lack.regions {
                let mut at = damages.partition_point(|(file, damage, _)| (*file, damage.offset) < (region, from));
                while left != Some(0) {
                    at = next_nameless(&mut next, damages, at);
                    let Some((file, damage, named)) = damages.get_mut(at) else { break };
                    if *file != region || damage.offset + damage.length > to {
                        break;
                    }
                    at += 1;
                    if damage.why == Why::CutShort && lack.kind != Finds::Missing {
                        continue;
                    }
                    let room = u64::max(damage.heads as u64, 1).min(u64::max(damage.length / MIN_RECORD, 1));
                    let count = left.map_or(room, |left| left.min(room));
                    (*named, any) = (true, true);
                    left = left.map(|left| left - count);
                    let (file, offset, length, first) = (*file, damage.offset, damage.length, slot);
                    self.tell(Finds::Altered, file, offset, length, |finding| {
                        finding.of(id).slot(lack.epoch, first).count(count)
                    });
                    slot = slot.saturating_add(u32::try_from(count).unwrap_or(0));
                }
            }
            if left == Some(0) || (any && left.is_none()) {
                continue;
            }
            let (file, from, _) = lack.regions.first().copied().unwrap_or((0, 0, 0));
            self.tell(lack.kind, file, from, 0, |mut finding| {
                finding.message = match (lack.message.as_str(), left) {
                    ("", Some(left)) => describe_lack(lack.kind, lack.epoch, slot, left),
                    (message, _) => message.to_owned(),
                };
                finding.count = left.or(lack.at_most);
                finding.of(id).slot(lack.epoch, slot)
            });
        }
    }
}

/// The first damage at `at` or behind it that has no name and may be given one; the end where there is none.
fn next_nameless(next: &mut [usize], damages: &[(usize, Damage, bool)], at: usize) -> usize {
    let mut found = next[at];
    while damages.get(found).is_some_and(|(_, damage, named)| *named || damage.repeated) {
        found = if next[found] == found { found + 1 } else { next[found] };
    }
    // All on the way lead there from now on.
    let mut on_the_way = at;
    while on_the_way < found {
        let step = if next[on_the_way] == on_the_way { on_the_way + 1 } else { next[on_the_way] };
        next[on_the_way] = found;
        on_the_way = step;
    }
    found
}

fn describe_lack(kind: Finds, epoch: u64, slot: u32, count: u64) -> String {
    let records = if count == 1 { "1 record is".to_owned() } else { format!("{count} records are") };
    match kind {
        Finds::Truncated => format!("{records} cut off at the end of epoch {epoch}, from slot {slot} on"),
        _ => format!("{records} missing in epoch {epoch}, from slot {slot} on"),
    }
}
