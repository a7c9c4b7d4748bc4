//! Lines of streams that may turn out to have stood in for a trusted one: they wait for a word on it.
//!
//! Promises: what waits is bounded; what does not fit is told to be elsewhere.
#![forbid(unsafe_code)]

use super::{Verdict, Verifier};
use crate::audit::place::Place;
use crate::chain::Kind;

/// Lines that wait take no more than this, in bytes.
const MAX_HELD: usize = 64 * 1024 * 1024;
/// What one of them takes beside its bytes.
const HELD: usize = 96;

/// A line that waited.
#[derive(Debug)]
pub struct Held {
    /// Where it stands.
    pub place: Place,
    /// When it was sealed, in seconds since 1970, where its record says so.
    pub sealed: Option<u32>,
    /// Its bytes.
    pub body: Vec<u8>,
    /// Whether its stream is trusted by now.
    pub in_place: bool,
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    lines: Vec<Held>,
    size: usize,
}

impl Verifier {
    /// What becomes of a record in this place.
    pub(super) fn verdict(&self, place: Place, kind: Kind) -> Verdict {
        let stream = &self.streams[place.stream];
        if stream.anchored || !self.trust.has_root() {
            Verdict::InPlace(kind, place)
        } else if !stream.state && kind == Kind::Line && self.held.size < MAX_HELD {
            Verdict::Pending(place)
        } else {
            Verdict::Elsewhere
        }
    }

    /// Keeps a line until its stream is trusted.
    pub fn hold(&mut self, place: Place, sealed: Option<u32>, body: Vec<u8>) {
        self.held.size += body.len() + HELD;
        self.held.lines.push(Held { place, sealed, body, in_place: false });
    }

    /// The lines that were held and whose stream is trusted by now; with `all` the others too.
    pub fn release(&mut self, all: bool) -> Vec<Held> {
        // Not every time: there may be many.
        if self.held.lines.is_empty() || !(all || self.release_due) {
            return Vec::new();
        }
        self.release_due = false;
        let anchored = |held: &Held| self.streams[held.place.stream].anchored;
        let (mut released, held): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held.lines).into_iter().partition(|held| all || anchored(held));
        for held in &mut released {
            held.in_place = self.streams[held.place.stream].anchored;
        }
        self.held.size = held.iter().map(|held| held.body.len() + HELD).sum();
        self.held.lines = held;
        released
    }
}
