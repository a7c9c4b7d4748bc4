//! One file from beginning to end: framing, candidate records, damage.
//!
//! Promises: bounded memory (a few MiB, and what is under way in a few jobs for each thread), work in proportion to the
//! bytes whatever they are, all bytes but empty and blank lines told as record or as damage, in order. A length that a record
//! claims is believed only once the record is accepted. What makes a candidate a record is the examiner's business.
#![forbid(unsafe_code)]

mod cut;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

pub use self::cut::unframe;
use self::cut::{Cut, beginning, begins_text, cut_record, detect, encoded_len, looks_like_record};
use super::heads::{self, Heads};
use super::pool::{Flight, Job, Pool};
use crate::record::openpgp::Malformed;
use crate::record::{Framing, MAX_RECORD, framing};

/// Longest line of base64 that a record can take.
const MAX_TEXT: usize = MAX_RECORD.div_ceil(3) * 4 + 1;
/// What is read at once.
const BLOCK: usize = 64 << 10;
/// What is there, at least, before candidates are cut, and what is read in one go beyond that: little enough that it is still
/// near the processor when it is looked at. Where it is not enough for a record, as much is read as any may take.
const NEAR: usize = 64 << 10;
const AHEAD: usize = 256 << 10;
/// Most candidates that are under way at once, for each thread.
const MAX_WINDOW: usize = 8192;
/// About how many bytes of candidates go into one job.
const JOB_BYTES: usize = 192 << 10;
/// So many jobs are under way for each thread.
const JOBS: usize = 3;
/// What the longest record takes, and a head behind it.
const FAR: usize = MAX_RECORD + heads::MAX_BEFORE;
const FAR_TEXT: usize = MAX_TEXT + 2;
/// More PKESK packets than this leave no room for a line.
const MAX_PKESKS: usize = heads::MAX_BEFORE;
/// How much of a binary file is kept where no head was found, because a head could begin in it.
const KEEP: usize = heads::MAX_BEFORE;
/// The same in a line of base64.
const KEEP_TEXT: usize = 256;

/// Why bytes are damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// Not of the form of a record.
    NotARecord,
    /// A record for other keys.
    NoKey,
    /// A record for one of our keys that is not authentic.
    DoesNotOpen,
    /// The beginning of a record at the end of the file.
    CutShort,
}

/// Bytes that are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// How many record heads were seen in it.
    pub heads: usize,
    /// Why the first of it is damage.
    pub why: Why,
    /// It equals the beginning of the record right behind it: a torn write that was repeated.
    pub repeated: bool,
}

/// Judges candidates. Called from several threads, but for `again`, `accepted` and `rejected`, which follow the file.
pub trait Examine: Sync {
    /// What comes of a record.
    type Out: Send;
    /// How many candidates are examined ahead at first; after damage it starts at 1.
    const FIRST_WINDOW: usize = 256;

    /// Whether these bytes are one whole record.
    fn examine(&self, record: &[u8]) -> Result<Self::Out, Why>;

    /// The same for candidates in `bytes` that follow each other; nothing for an empty line.
    fn examine_all(&self, bytes: &[u8], cut: &[Range<usize>], framed: Framing) -> Vec<Option<Result<Self::Out, Why>>> {
        let (bytes, candidates) = unframe(bytes, cut, framed);
        candidates.into_iter().map(|candidate| candidate.map(|range| self.examine(&bytes[range?]))).collect()
    }

    /// Another chance, with what later candidates gave.
    fn again(&self, _record: &[u8], _why: Why, _later: &mut dyn Iterator<Item = &Self::Out>) -> Option<Self::Out> {
        None
    }

    /// The record that `bytes` begin with, which are none as a whole, and its length, a multiple of three.
    fn beginning(&self, _bytes: &[u8]) -> Option<(usize, Self::Out)> {
        None
    }

    /// A record was accepted that begins with these bytes.
    fn accepted(&self, record: &[u8], out: &Self::Out);

    /// Something that begins with these bytes looks like a record, but was not accepted.
    fn rejected(&self, record: &[u8]);

    /// The heads that are known now.
    fn heads(&self) -> Arc<Heads>;
}

/// A piece of a file.
#[derive(Debug)]
pub enum Piece<T> {
    /// A record.
    Record {
        /// Where it begins in the file.
        offset: u64,
        /// How many bytes of the file it takes, framing included.
        length: u64,
        /// What the examiner made of it.
        out: T,
    },
    /// Something else.
    Damage(Damage),
}

/// Reads one file.
pub struct Scanner<'e, R, E: Examine> {
    examiner: &'e E,
    pool: Option<&'e Pool<E::Out>>,
    input: R,
    framing: Option<Framing>,
    buf: Vec<u8>,
    /// Offset in the file of the first byte of `buf`.
    base: u64,
    /// What of `buf` was dealt with.
    pos: usize,
    /// More has to be there than [`NEAR`].
    far: bool,
    end_of_input: bool,
    finished: bool,
    /// Why no more could be read.
    error: Option<io::Error>,
    /// What was cut and handed out, from `pos` on.
    flights: VecDeque<Flight<E::Out>>,
    /// Up to where of `buf`.
    cut: usize,
    /// How many candidates may be.
    window: usize,
    in_flight: usize,
    /// Memory to be used again.
    idle: Vec<Vec<u8>>,
    /// The PKESK packets of the record that was cut last.
    pkesks: Vec<u8>,
    /// Binary: no head at `pos`, look for the next.
    searching: bool,
    /// Base64: no newline before this offset in the file.
    no_newline_before: u64,
    earlier: Option<Damage>,
    latest: Option<(Damage, Vec<u8>)>,
    ready: VecDeque<Piece<E::Out>>,
}

impl<'e, R: Read, E: Examine> Scanner<'e, R, E> {
    /// Reads `input`, which stands at `offset` of the file, a place where a record may begin. The framing is found out
    /// where it is not given.
    pub fn new(input: R, offset: u64, framing: Option<Framing>, examiner: &'e E) -> Self {
        Self {
            examiner,
            pool: None,
            input,
            framing,
            buf: Vec::new(),
            base: offset,
            pos: 0,
            far: false,
            end_of_input: false,
            finished: false,
            error: None,
            flights: VecDeque::new(),
            cut: 0,
            window: E::FIRST_WINDOW,
            in_flight: 0,
            idle: Vec::new(),
            pkesks: Vec::new(),
            searching: false,
            no_newline_before: 0,
            earlier: None,
            latest: None,
            ready: VecDeque::new(),
        }
    }

    /// Lets the threads of a pool judge the candidates.
    pub fn with_pool(mut self, pool: &'e Pool<E::Out>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Examines so many candidates ahead at first.
    pub fn with_window(mut self, window: usize) -> Self {
        self.window = window;
        self
    }

    /// The framing, as soon as it is known.
    pub fn framing(&self) -> Option<Framing> {
        self.framing
    }

    fn advance(&mut self) {
        match self.framing {
            None => {
                self.fill(MAX_TEXT + BLOCK);
                self.framing = detect(&self.buf, &self.examiner.heads());
                if self.framing.is_none() {
                    self.finished = true;
                }
            }
            Some(Framing::Binary) => {
                self.fill(if self.far { FAR } else { NEAR });
                self.binary();
            }
            Some(Framing::Base64) => {
                self.fill(if self.far { FAR_TEXT } else { NEAR });
                self.lines();
            }
        }
    }

    /// Whether so many bytes are there behind what was cut, or all. Where they are not, they are from the next time on.
    fn reaches(&mut self, ahead: usize) -> bool {
        let reaches = self.end_of_input || self.buf.len() - self.cut >= ahead;
        self.far |= !reaches;
        reaches
    }

    /// Reads until `ahead` bytes are there behind what was cut, or all.
    fn fill(&mut self, ahead: usize) {
        self.cut = self.cut.max(self.pos);
        if self.end_of_input || self.buf.len() - self.cut >= ahead {
            return;
        }
        // Some of what was dealt with stays: a record may begin before the mark that finds it. Moving the rest has to be worth it.
        let drop = self.pos.saturating_sub(KEEP);
        if drop / 2 >= self.buf.len() - drop {
            self.buf.drain(..drop);
            self.base += drop as u64;
            self.pos -= drop;
            self.cut -= drop;
        }
        let wanted = (ahead + AHEAD).div_ceil(BLOCK) * BLOCK - (self.buf.len() - self.cut);
        self.buf.reserve(wanted);
        let before = self.buf.len();
        // What could be read before an error is there, and comes before it.
        self.error = (&mut self.input).take(wanted as u64).read_to_end(&mut self.buf).err();
        self.end_of_input = self.error.is_some() || self.buf.len() - before < wanted;
    }

    /// How many candidates go into the next job, and whether it is one's own to do; none where enough is under way.
    fn next_job(&self) -> Option<(usize, bool)> {
        let threads = self.pool.map_or(1, |pool| pool.threads);
        let most = self.window.min(MAX_WINDOW * threads);
        let left = most.checked_sub(self.in_flight).filter(|&left| left > 0)?;
        let own = self.pool.is_none() || most < 4;
        let count = if own { most } else { most.div_ceil(threads * JOBS).min(left) };
        (self.flights.is_empty() || !own && self.flights.len() < threads * JOBS).then_some((count, own))
    }

    /// Hands out what was cut: where each candidate stands in `buf`, with and without its framing.
    fn launch(&mut self, text: &[Range<usize>], mut framed: Vec<Range<usize>>, own: bool) {
        let (start, end) = (self.cut, framed.last().expect("there is one").end);
        let mut bytes = self.idle.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(&self.buf[start..end]);
        let cut = text.iter().map(|range| range.start - start..range.end - start).collect();
        let framing = self.framing.expect("it is known where there are records");
        let mut job = Job { bytes, cut, framing, results: Vec::new() };
        self.in_flight += framed.len();
        framed.iter_mut().for_each(|range| *range = range.start - start..range.end - start);
        let offset = self.base + start as u64;
        let (under_way, job) = match self.pool {
            Some(pool) if !own => (Some(pool.hand_out(job)), None),
            _ => {
                job.run(self.examiner);
                (None, Some(job))
            }
        };
        self.flights.push_back(Flight { offset, framed, under_way, job });
        self.cut = end;
    }

    /// The oldest of what was handed out, when it is done, and where in `buf` it begins.
    fn land(&mut self) -> Option<(Flight<E::Out>, usize)> {
        let mut flight = self.flights.pop_front()?;
        while let Some(pool) = self.pool
            && !flight.has_landed()
            && pool.help(self.examiner)
        {}
        flight.land();
        self.in_flight -= flight.framed.len();
        self.window = (self.window + flight.framed.len()).min(MAX_WINDOW * self.pool.map_or(1, |pool| pool.threads));
        let start = usize::try_from(flight.offset - self.base).expect("it is in the buffer");
        Some((flight, start))
    }

    fn reuse(&mut self, flight: Flight<E::Out>) {
        self.idle.extend(flight.job.map(|job| job.bytes));
    }

    fn binary(&mut self) {
        if self.pos == self.buf.len() {
            return self.finish();
        }
        if self.searching {
            return match self.examiner.heads().next(&self.buf, self.pos, None) {
                // A packet before the mark may have been passed over already.
                Some(next) => self.go_on_at(next.max(self.pos)),
                None => self.pass_over(KEEP),
            };
        }
        let mut stop = None;
        while let Some((count, own)) = self.next_job().filter(|_| stop.is_none()) {
            let (mut cut, mut at): (Vec<_>, _) = (Vec::with_capacity(count.min(512)), self.cut);
            while cut.len() < count && at < self.buf.len() && at - self.cut < JOB_BYTES {
                match cut_record(&self.buf[at..], &mut self.pkesks) {
                    Ok(len) => {
                        cut.push(at..at + len);
                        at += len;
                    }
                    Err(why) => {
                        stop = Some(why);
                        break;
                    }
                }
            }
            if cut.is_empty() {
                break;
            }
            self.launch(&cut.clone(), cut, own);
        }
        if let Some((flight, start)) = self.land() {
            return self.accept_binary(flight, start);
        }
        if !self.reaches(FAR) {
            return;
        }
        match stop.expect("nothing was cut, for a reason") {
            Cut::Repeated(len) => {
                self.examiner.rejected(&self.buf[self.pos..]);
                // The record that it is repeated in may begin before, where a packet that was cut short spans it.
                let hidden = self.examiner.heads().next(&self.buf, self.pos + 1, Some(self.pos));
                let end = hidden.map_or(self.pos + len, |hidden| hidden.min(self.pos + len));
                self.damage(self.pos..end, 1, Why::NotARecord, true);
                self.pos = end;
                self.window = 1;
            }
            Cut::Malformed(why) => {
                let rest = &self.buf[self.pos..];
                let why = if why == Malformed::Short && heads::begins(rest) { Why::CutShort } else { Why::NotARecord };
                let is_head = self.examiner.heads().at(rest);
                self.fail(self.pos, is_head, why);
            }
        }
    }

    fn accept_binary(&mut self, mut flight: Flight<E::Out>, start: usize) {
        for i in 0..flight.framed.len() {
            let range = start + flight.framed[i].start..start + flight.framed[i].end;
            let result = flight.land().results[i].take().expect("each is taken once");
            let out = match result {
                Ok(out) => Ok(out),
                Err(why) => {
                    let behind = self.flights.iter_mut().flat_map(|flight| flight.good(0));
                    self.examiner.again(&self.buf[range.clone()], why, &mut flight.good(i + 1).chain(behind)).ok_or(why)
                }
            };
            match out {
                Ok(out) => self.accept(range.clone(), range, out),
                Err(why) => {
                    // What was cut behind it rests on its length.
                    self.flights.clear();
                    self.in_flight = 0;
                    (self.pos, self.cut) = (range.start, range.start);
                    if !self.reaches(FAR) {
                        // It is examined once more when all is there that the next one is to be found in.
                        return self.window = 1;
                    }
                    self.examiner.rejected(&self.buf[range.clone()]);
                    return self.fail(range.start, true, why);
                }
            }
        }
        self.pos = start + flight.framed.last().expect("there is one").end;
        self.far = false;
        self.reuse(flight);
    }

    /// No record begins at `start`: goes on at the next head.
    fn fail(&mut self, start: usize, is_head: bool, why: Why) {
        self.window = 1;
        match self.examiner.heads().next(&self.buf, start + 1, Some(start)) {
            Some(next) => {
                let why = if why == Why::CutShort { Why::DoesNotOpen } else { why };
                self.damage(start..next, is_head.into(), why, true);
                self.pos = next;
            }
            None => {
                let end = if self.end_of_input { self.buf.len() } else { (self.buf.len() - KEEP).max(start + 1) };
                self.damage(start..end, is_head.into(), why, true);
                (self.pos, self.searching) = (end, true);
            }
        }
    }

    fn go_on_at(&mut self, next: usize) {
        self.damage(self.pos..next, 0, Why::NotARecord, false);
        (self.pos, self.searching) = (next, false);
    }

    fn pass_over(&mut self, keep: usize) {
        let end = if self.end_of_input { self.buf.len() } else { (self.buf.len() - keep).max(self.pos + 1) };
        self.damage(self.pos..end, 0, Why::NotARecord, false);
        self.pos = end;
    }

    fn lines(&mut self) {
        let mut endless = None;
        while let Some((count, own)) = self.next_job().filter(|_| endless.is_none()) {
            let (mut text, mut framed, mut at) = (Vec::new(), Vec::new(), self.cut);
            while framed.len() < count && at < self.buf.len() && at - self.cut < JOB_BYTES {
                let known = usize::try_from(self.no_newline_before.saturating_sub(self.base)).unwrap_or(usize::MAX).max(at);
                let reach = self.buf.len().min(at + MAX_TEXT);
                let found = if known < reach { memchr::memchr(b'\n', &self.buf[known..reach]).map(|n| known + n) } else { None };
                let (end, next) = match found {
                    Some(newline) => (newline, newline + 1),
                    None if self.end_of_input && reach == self.buf.len() => (reach, reach),
                    None => {
                        self.no_newline_before = self.no_newline_before.max(self.base + reach as u64);
                        endless = Some(reach);
                        break;
                    }
                };
                text.push(self.text(at..end));
                framed.push(at..next);
                at = next;
            }
            if framed.is_empty() {
                break;
            }
            self.launch(&text, framed, own);
        }
        match (self.land(), endless) {
            (Some((flight, start)), _) => self.accept_lines(flight, start),
            (None, Some(_)) if !self.reaches(FAR_TEXT) => {}
            (None, Some(reach)) => self.endless_line(reach),
            (None, None) => self.finish(),
        }
    }

    fn accept_lines(&mut self, mut flight: Flight<E::Out>, start: usize) {
        for i in 0..flight.framed.len() {
            let framed = start + flight.framed[i].start..start + flight.framed[i].end;
            let job = flight.land();
            let text = start + job.cut[i].start..start + job.cut[i].end;
            match job.results[i].take() {
                None => {}
                Some(Ok(out)) => self.accept(text, framed, out),
                Some(Err(why)) => {
                    let mut record = Vec::new();
                    let again = framing::read_line(&self.buf[text.clone()], &mut record).then(|| {
                        let behind = self.flights.iter_mut().flat_map(|flight| flight.good(0));
                        self.examiner.again(&record, why, &mut flight.good(i + 1).chain(behind))
                    });
                    match again.flatten() {
                        Some(out) => self.accept(text, framed, out),
                        None => {
                            // The heads in a broken line may be known from good ones behind it only.
                            if self.examiner.heads().unlearned() {
                                learn_from_next(self.examiner, &mut flight, &mut self.flights, i + 1);
                            }
                            self.broken_line(text, framed, Some(why));
                        }
                    }
                }
            }
        }
        self.pos = start + flight.framed.last().expect("there is one").end;
        self.far = false;
        self.reuse(flight);
    }

    /// A line without what may stand behind base64: a carriage return.
    fn text(&self, line: Range<usize>) -> Range<usize> {
        line.start..line.start + self.buf[line].trim_ascii_end().len()
    }

    /// A line that is longer than any record: up to the next head in it, it is damage.
    fn endless_line(&mut self, reach: usize) {
        let heads = self.examiner.heads();
        let end = match heads.next_text(&self.buf[self.pos..reach], 1) {
            Some(next) => self.pos + next,
            None => (reach - KEEP_TEXT).max(self.pos + 1),
        };
        self.broken_line(self.pos..end, self.pos..end, None);
        self.pos = end;
    }

    /// A line that is not one record as it is, if that was `tried`: looks for records in it, whose newlines may have
    /// been lost.
    fn broken_line(&mut self, text: Range<usize>, framed: Range<usize>, tried: Option<Why>) {
        let heads = self.examiner.heads();
        let mut start = text.start;
        while start < text.end {
            let next = heads.next_text(&self.buf[start..text.end], 1).map(|next| start + next);
            let end = next.unwrap_or(text.end);
            let framed_end = if next.is_some() { end } else { framed.end };
            let encoded = encoded_len(&self.buf[start..end]);
            let mut record = Vec::new();
            let examiner = self.examiner;
            let piece = &self.buf[start..start + encoded];
            let result = match tried {
                // It comes to the same.
                Some(why) if piece.len() == text.len() => {
                    framing::read_line(piece, &mut record);
                    Err(why)
                }
                _ => examine_text(examiner, piece, &mut record),
            };
            // Where the newline behind a record is lost and the next head with it, more stands behind than is its own.
            let (encoded, result) = match result {
                Err(why) => match examiner.beginning(&record) {
                    Some((len, out)) => (len / 3 * 4, Ok(out)),
                    None => (encoded, Err(why)),
                },
                result => (encoded, result),
            };
            match result {
                Ok(out) => {
                    let bytes = start..start + encoded;
                    if self.buf[bytes.end..end].trim_ascii().is_empty() {
                        self.accept(bytes, start..framed_end, out);
                    } else {
                        self.accept(bytes.clone(), bytes.clone(), out);
                        self.damage(bytes.end..framed_end, 0, Why::NotARecord, true);
                    }
                }
                Err(why) => {
                    let at_end = self.end_of_input && framed.end == self.buf.len() && self.buf.last() != Some(&b'\n');
                    let is_head = looks_like_record(&record, &heads);
                    let why = tried.filter(|_| start == text.start).unwrap_or(why);
                    let cut_short = at_end && next.is_none() && begins_text(&self.buf[start..end]);
                    if is_head && !cut_short {
                        examiner.rejected(&record);
                    }
                    self.damage(start..framed_end, is_head.into(), if cut_short { Why::CutShort } else { why }, true);
                }
            }
            start = end;
        }
    }

    fn accept(&mut self, bytes: Range<usize>, framed: Range<usize>, out: E::Out) {
        let record = &self.buf[bytes];
        if self.framing == Some(Framing::Binary) {
            self.examiner.accepted(record, &out);
        } else {
            self.examiner.accepted(&beginning(record), &out);
        }
        if let Some((damage, bytes)) = &mut self.latest {
            let torn = if self.framing == Some(Framing::Base64) { bytes.trim_ascii_end() } else { &bytes[..] };
            let whole = damage.length == bytes.len() as u64;
            damage.repeated = whole && !torn.is_empty() && torn.len() < record.len() && record.starts_with(torn);
        }
        self.flush();
        self.ready.push_back(Piece::Record {
            offset: self.base + framed.start as u64,
            length: (framed.end - framed.start) as u64,
            out,
        });
    }

    /// Notes damage; `new` where it begins with a candidate of its own.
    fn damage(&mut self, range: Range<usize>, heads: usize, why: Why, new: bool) {
        if range.is_empty() {
            return;
        }
        let (offset, length) = (self.base + range.start as u64, (range.end - range.start) as u64);
        match &mut self.latest {
            Some((damage, kept)) if !new => {
                damage.length = offset + length - damage.offset;
                damage.heads += heads;
                // Longer than any record: it is no torn one.
                if kept.len() <= MAX_TEXT {
                    kept.extend_from_slice(&self.buf[range]);
                }
            }
            _ => {
                self.join_latest();
                self.latest = Some((Damage { offset, length, heads, why, repeated: false }, self.buf[range].to_vec()));
            }
        }
    }

    fn join_latest(&mut self) {
        let Some((damage, _)) = self.latest.take() else { return };
        match &mut self.earlier {
            Some(earlier) => {
                earlier.length = damage.offset + damage.length - earlier.offset;
                earlier.heads += damage.heads;
            }
            None => self.earlier = Some(damage),
        }
    }

    /// Hands out what damage there is: a torn record apart from damage before it.
    fn flush(&mut self) {
        let apart = self.latest.take_if(|(damage, _)| damage.repeated || damage.why == Why::CutShort);
        self.join_latest();
        self.ready.extend(self.earlier.take().map(Piece::Damage));
        self.ready.extend(apart.map(|(damage, _)| Piece::Damage(damage)));
    }

    fn finish(&mut self) {
        self.flush();
        self.finished = true;
    }
}

impl<R: Read, E: Examine> Iterator for Scanner<'_, R, E> {
    type Item = io::Result<Piece<E::Out>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(Ok(piece));
            }
            if self.finished {
                return self.error.take().map(Err);
            }
            self.advance();
        }
    }
}

fn examine_text<E: Examine>(examiner: &E, text: &[u8], record: &mut Vec<u8>) -> Result<E::Out, Why> {
    if framing::read_line(text, record) { examiner.examine(record) } else { Err(Why::NotARecord) }
}

/// Accepts, for its head, the first good one from `from` on of what was examined already.
fn learn_from_next<E: Examine>(examiner: &E, flight: &mut Flight<E::Out>, behind: &mut VecDeque<Flight<E::Out>>, from: usize) {
    let first = |flight: &mut Flight<E::Out>, from: usize| {
        let Job { bytes, cut, results, .. } = flight.land();
        let good = results.iter().zip(cut).skip(from).find_map(|(result, range)| Some((result.as_ref()?.as_ref().ok()?, range)));
        good.map(|(out, range)| examiner.accepted(&beginning(&bytes[range.clone()]), out)).is_some()
    };
    let _ = first(flight, from) || behind.iter_mut().any(|flight| first(flight, 0));
}

#[cfg(test)]
mod tests;
