//! One file from beginning to end: framing, candidate records, damage.
//!
//! Promises: bounded memory (a few MiB and the results of one batch), work in proportion to the bytes whatever they
//! are, all bytes but empty and blank lines told as record or as damage, in order. A length that a record claims is believed only
//! once the record is accepted. What makes a candidate a record is the examiner's business.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::heads::{self, Heads};
use crate::record::openpgp::{Malformed, Message};
use crate::record::{Framing, MAX_RECORD, framing};

/// Longest line of base64 that a record can take.
const MAX_TEXT: usize = MAX_RECORD.div_ceil(3) * 4 + 1;
/// What is read at once.
const BLOCK: usize = 1 << 20;
/// Most candidates, and about how many bytes, that are examined in one go.
const MAX_BATCH: usize = 2048;
const MAX_BATCH_BYTES: usize = 4 << 20;
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
    /// Size of the first batch; after damage it starts at 1.
    const FIRST_BATCH: usize = 256;

    /// Whether these bytes are one whole record.
    fn examine(&self, record: &[u8]) -> Result<Self::Out, Why>;

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
    input: R,
    framing: Option<Framing>,
    buf: Vec<u8>,
    /// Offset in the file of the first byte of `buf`.
    base: u64,
    /// What of `buf` was dealt with.
    pos: usize,
    end_of_input: bool,
    finished: bool,
    batch: usize,
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
            input,
            framing,
            buf: Vec::new(),
            base: offset,
            pos: 0,
            end_of_input: false,
            finished: false,
            batch: E::FIRST_BATCH,
            searching: false,
            no_newline_before: 0,
            earlier: None,
            latest: None,
            ready: VecDeque::new(),
        }
    }

    /// The framing, as soon as it is known.
    pub fn framing(&self) -> Option<Framing> {
        self.framing
    }

    fn advance(&mut self) -> io::Result<()> {
        match self.framing {
            None => {
                self.fill(MAX_TEXT + BLOCK)?;
                self.framing = detect(&self.buf, &self.examiner.heads());
                if self.framing.is_none() {
                    self.finished = true;
                }
            }
            Some(Framing::Binary) => {
                self.fill(MAX_RECORD + heads::MAX_BEFORE)?;
                self.binary();
            }
            Some(Framing::Base64) => {
                self.fill(MAX_TEXT + 2)?;
                self.lines();
            }
        }
        Ok(())
    }

    /// Reads until `ahead` bytes are there, or all.
    fn fill(&mut self, ahead: usize) -> io::Result<()> {
        if self.end_of_input || self.buf.len() - self.pos >= ahead {
            return Ok(());
        }
        // Some of what was dealt with stays: a record may begin before the mark that finds it.
        let drop = self.pos.saturating_sub(KEEP);
        self.buf.drain(..drop);
        self.base += drop as u64;
        self.pos -= drop;
        let wanted = (ahead + MAX_BATCH_BYTES).div_ceil(BLOCK) * BLOCK - (self.buf.len() - self.pos);
        let got = (&mut self.input).take(wanted as u64).read_to_end(&mut self.buf)?;
        self.end_of_input = got < wanted;
        Ok(())
    }

    fn binary(&mut self) {
        if self.pos == self.buf.len() {
            return self.finish();
        }
        let heads = self.examiner.heads();
        if self.searching {
            return match heads.next(&self.buf, self.pos, None) {
                // A packet before the mark may have been passed over already.
                Some(next) => self.go_on_at(next.max(self.pos)),
                None => self.pass_over(KEEP),
            };
        }
        let (mut cut, mut at, mut stop) = (Vec::new(), self.pos, None);
        while cut.len() < self.batch && at < self.buf.len() && at - self.pos < MAX_BATCH_BYTES {
            match cut_record(&self.buf[at..]) {
                Ok(len) => {
                    cut.push(at..at + len);
                    at += len;
                }
                // More input settles it.
                Err(Cut::Malformed(Malformed::Short)) if !self.end_of_input && !cut.is_empty() => break,
                Err(why) => {
                    stop = Some(why);
                    break;
                }
            }
        }
        if !cut.is_empty() {
            return self.examine_binary(&cut);
        }
        match stop.expect("nothing was cut, for a reason") {
            Cut::Repeated(len) => {
                self.examiner.rejected(&self.buf[self.pos..]);
                self.damage(self.pos..self.pos + len, 1, Why::NotARecord, true);
                self.pos += len;
                self.batch = 1;
            }
            Cut::Malformed(why) => {
                let rest = &self.buf[self.pos..];
                let why = if why == Malformed::Short && heads::begins(rest) { Why::CutShort } else { Why::NotARecord };
                self.fail(self.pos, heads.at(rest), why);
            }
        }
    }

    fn examine_binary(&mut self, cut: &[Range<usize>]) {
        let (examiner, buf) = (self.examiner, &self.buf);
        let mut results: Vec<Option<Result<E::Out, Why>>> =
            cut.par_iter().map(|range| Some(examiner.examine(&buf[range.clone()]))).collect();
        for (i, range) in cut.iter().enumerate() {
            let result = results[i].take().expect("each is taken once");
            let record = &self.buf[range.clone()];
            let out = match result {
                Ok(out) => Some(out),
                Err(why) => {
                    let mut later = results[i + 1..].iter().filter_map(|result| result.as_ref()?.as_ref().ok());
                    let out = examiner.again(record, why, &mut later);
                    if out.is_none() {
                        // What was cut behind it rests on its length.
                        examiner.rejected(record);
                        self.pos = range.start;
                        return self.fail(range.start, true, why);
                    }
                    out
                }
            };
            self.accept(range.clone(), range.clone(), out.expect("else it has failed"));
        }
        self.pos = cut.last().expect("there is one").end;
        self.batch = (self.batch * 2).min(MAX_BATCH);
    }

    /// No record begins at `start`: goes on at the next head.
    fn fail(&mut self, start: usize, is_head: bool, why: Why) {
        self.batch = 1;
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
        let (mut lines, mut at) = (Vec::new(), self.pos);
        while lines.len() < self.batch && at < self.buf.len() && at - self.pos < MAX_BATCH_BYTES {
            let known = usize::try_from(self.no_newline_before.saturating_sub(self.base)).unwrap_or(usize::MAX).max(at);
            let reach = self.buf.len().min(at + MAX_TEXT);
            let found = if known < reach { memchr::memchr(b'\n', &self.buf[known..reach]).map(|n| known + n) } else { None };
            match found {
                Some(newline) => {
                    lines.push((self.text(at..newline), at..newline + 1));
                    at = newline + 1;
                }
                None if self.end_of_input && reach == self.buf.len() => {
                    lines.push((self.text(at..reach), at..reach));
                    at = reach;
                }
                None => {
                    self.no_newline_before = self.no_newline_before.max(self.base + reach as u64);
                    if lines.is_empty() {
                        return self.endless_line(reach);
                    }
                    break;
                }
            }
        }
        if lines.is_empty() {
            return self.finish();
        }
        let (examiner, buf) = (self.examiner, &self.buf);
        let mut results: Vec<Option<Result<E::Out, Why>>> = lines
            .par_iter()
            .map_init(Vec::new, |record, (text, _)| {
                let line = &buf[text.clone()];
                (!line.is_empty()).then(|| examine_text(examiner, line, record))
            })
            .collect();
        for (i, (text, framed)) in lines.iter().enumerate() {
            match results[i].take() {
                None => {}
                Some(Ok(out)) => self.accept(text.clone(), framed.clone(), out),
                Some(Err(why)) => {
                    let mut later = results[i + 1..].iter().filter_map(|result| result.as_ref()?.as_ref().ok());
                    let mut record = Vec::new();
                    let line = &self.buf[text.clone()];
                    let again = framing::read_line(line, &mut record).then(|| examiner.again(&record, why, &mut later));
                    match again.flatten() {
                        Some(out) => self.accept(text.clone(), framed.clone(), out),
                        None => {
                            // The heads in a broken line may be known from good ones behind it only.
                            if examiner.heads().unlearned() {
                                for ((text, _), result) in lines.iter().zip(&results).skip(i + 1) {
                                    if let Some(Ok(out)) = result {
                                        examiner.accepted(&beginning(&self.buf[text.clone()]), out);
                                        break;
                                    }
                                }
                            }
                            self.broken_line(text.clone(), framed.clone(), Some(why));
                        }
                    }
                }
            }
        }
        self.pos = at;
        self.batch = (self.batch * 2).min(MAX_BATCH);
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
                return None;
            }
            if let Err(error) = self.advance() {
                self.finished = true;
                return Some(Err(error));
            }
        }
    }
}

enum Cut {
    Malformed(Malformed),
    /// So many bytes at the beginning are of another, torn record.
    Repeated(usize),
}

/// Length of the record that `bytes` begin with, as far as its packet headers say.
fn cut_record(bytes: &[u8]) -> Result<usize, Cut> {
    let message = Message::parse(bytes).map_err(Cut::Malformed)?;
    if message.pkesks.len() > MAX_PKESKS {
        return Err(Cut::Malformed(Malformed::Long));
    }
    heads::repeated(message.pkesks).map_or(Ok(message.len), |len| Err(Cut::Repeated(len)))
}

fn examine_text<E: Examine>(examiner: &E, text: &[u8], record: &mut Vec<u8>) -> Result<E::Out, Why> {
    if framing::read_line(text, record) { examiner.examine(record) } else { Err(Why::NotARecord) }
}

/// How many characters at the beginning of `text` are whole groups of base64.
fn encoded_len(text: &[u8]) -> usize {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = text.iter().take_while(|byte| digit(byte)).count();
    let padding = text[digits..].iter().take(2).take_while(|&&byte| byte == b'=').count();
    (digits + padding) / 4 * 4
}

fn looks_like_record(record: &[u8], heads: &Heads) -> bool {
    heads.at(record) || Message::parse(record).is_ok()
}

/// Whether a line that ends too early could be the beginning of a record.
fn begins_text(text: &[u8]) -> bool {
    let begin = beginning(text);
    heads::begins(&begin) || (begin.is_empty() && text.len() < 4)
}

/// As much of the record in a line of base64 as a head takes. Where the line is cut, the last group may be missing.
fn beginning(text: &[u8]) -> Vec<u8> {
    let (mut beginning, text) = (Vec::new(), &text[..text.len().min(64)]);
    framing::read_line(&text[..text.len() / 4 * 4], &mut beginning);
    beginning
}

/// By the first known head, else by whether the bytes are text. `None` for nothing but empty lines.
fn detect(bytes: &[u8], heads: &Heads) -> Option<Framing> {
    if bytes.trim_ascii().is_empty() {
        return None;
    }
    match (heads.next(bytes, 0, None), heads.first_text(bytes)) {
        (Some(binary), text) if text.is_none_or(|text| binary < text) => return Some(Framing::Binary),
        (_, Some(_)) => return Some(Framing::Base64),
        _ => {}
    }
    let sample = &bytes[..bytes.len().min(4096)];
    let text = sample.iter().filter(|byte| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte)).count();
    Some(if text * 8 >= sample.len() * 7 { Framing::Base64 } else { Framing::Binary })
}
