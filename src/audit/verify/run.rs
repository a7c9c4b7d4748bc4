//! Lines that follow each other in their places, as nearly all do: weighed together, not one by one.
//!
//! Promises: it comes to the same as if each were weighed alone.
#![forbid(unsafe_code)]

use jiff::Timestamp;

use super::{Record, Verdict, Verifier};
use crate::audit::claim::Claim;
use crate::audit::place::Place;
use crate::chain::Kind;
use crate::record::open::Seal;

/// So many epochs are run through side by side.
const MAX_RUNS: usize = 8;
/// So many digests are kept in memory, of all epochs that are not complete.
const MAX_DIGESTS: usize = 1 << 21;

/// Lines of one epoch in one file, each in the slot behind the one before.
pub(super) struct Run {
    claim: u64,
    stream: usize,
    epoch: u64,
    /// The slot that comes next.
    next: u32,
    /// Where the last of them ends.
    end: u64,
    newest: u32,
    lines: u64,
    digests: Vec<u64>,
}

impl Verifier {
    /// Takes a line that goes on with a run. `None` where it does not.
    pub(super) fn follow(&mut self, record: &Record) -> Option<Verdict> {
        let (claim, slot) = record.claim.as_ref()?;
        let id = claim.id();
        let run = self.runs.iter_mut().find(|run| run.claim == id).filter(|run| run.next == *slot)?;
        if !matches!(record.opened.seal, Seal::Rfc9580 { kind: Kind::Line, .. }) {
            return None;
        }
        run.next += 1;
        run.end = record.offset + record.length;
        run.newest = run.newest.max(record.opened.date.unwrap_or(0));
        run.lines += u64::from(record.lines);
        run.digests.push(record.digest.max(1));
        self.files[self.current].last_end = run.end;
        Some(Verdict::InPlace(Kind::Line, Place { stream: run.stream, epoch: run.epoch, slot: *slot }))
    }

    /// Begins a run behind a line that is in its place.
    pub(super) fn begin_run(&mut self, claim: &Claim, place: Place) {
        let Some(state) = self.streams[place.stream].epochs.get(&place.epoch) else { return };
        let is_last = state.next == place.slot + 1 && state.digests.len() == state.next as usize;
        if !is_last || state.away.is_some() || state.first.is_none_or(|(file, _)| file != self.current) {
            return;
        }
        let Place { stream, epoch, .. } = place;
        let run = Run {
            claim: claim.id(),
            stream,
            epoch,
            next: state.next,
            end: state.last_end,
            newest: 0,
            lines: 0,
            digests: Vec::new(),
        };
        if self.runs.len() == MAX_RUNS {
            self.end_runs();
        }
        self.runs.push(run);
    }

    /// Puts down what the runs came to. Before anything is asked of epochs, and where a file ends.
    pub(super) fn end_runs(&mut self) {
        for run in std::mem::take(&mut self.runs) {
            let count = run.digests.len();
            if count == 0 {
                continue;
            }
            let stream = &mut self.streams[run.stream];
            let state = stream.epochs.get_mut(&run.epoch).expect("a run begins in an epoch that is there");
            state.digests.extend(&run.digests);
            (state.next, state.last_end) = (run.next, run.end);
            if let Ok(newest) = Timestamp::from_second(run.newest.into()) {
                state.newest = state.newest.max(newest);
            }
            stream.newest = stream.newest.max(state.newest);
            self.in_memory += count;
            self.summary.records += count as u64;
            self.summary.lines += run.lines;
            self.places.found(run.stream, run.epoch, u32::try_from(count).expect("an epoch has at most 16384 slots"));
            self.put_away(run.stream, run.epoch);
        }
    }

    /// Puts away what is known of an epoch's records one by one, if there are no more to come.
    pub(super) fn put_away(&mut self, stream: usize, epoch: u64) {
        let Some(state) = self.streams[stream].epochs.get(&epoch) else { return };
        if state.is_complete() {
            self.places.complete(stream, epoch);
            self.spill(stream, epoch);
        } else if self.in_memory > MAX_DIGESTS && !self.spill.has_failed() {
            let all: Vec<_> = (0..self.streams.len())
                .flat_map(|stream| self.streams[stream].epochs.keys().map(move |&epoch| (stream, epoch)))
                .filter(|of| !self.runs.iter().any(|run| (run.stream, run.epoch) == *of))
                .collect();
            all.into_iter().for_each(|(stream, epoch)| self.spill(stream, epoch));
        }
    }

    fn spill(&mut self, stream: usize, epoch: u64) {
        let Some(state) = self.streams[stream].epochs.get_mut(&epoch) else { return };
        if state.away.is_some() || state.digests.is_empty() {
            return;
        }
        let room = state.slots.unwrap_or(crate::chain::MAX_SLOTS);
        state.away = self.spill.put(&state.digests, room as usize);
        if state.away.is_some() {
            self.in_memory -= state.digests.len();
            state.digests = Vec::new();
        }
    }

    /// The digest of the record that is in a place, if one is.
    pub(super) fn digest(&mut self, place: Place) -> Option<u64> {
        let state = self.streams[place.stream].epochs.get(&place.epoch)?;
        let digest = match state.away {
            None => state.digests.get(place.slot as usize).copied().unwrap_or(0),
            Some(away) => match self.spill.get(away, place.slot) {
                Ok(digest) => digest,
                Err(error) => {
                    self.trouble.get_or_insert(error);
                    0
                }
            },
        };
        (digest != 0).then_some(digest)
    }

    /// A record is in its place.
    pub(super) fn see(&mut self, place: Place, digest: u64) {
        let state = self.streams[place.stream].epochs.entry(place.epoch).or_default();
        match state.away {
            None => self.in_memory += state.see(place.slot, digest),
            Some(away) => {
                if let Err(error) = self.spill.set(away, place.slot, digest.max(1)) {
                    self.trouble.get_or_insert(error);
                }
            }
        }
    }
}
