//! How record heads look, to find the next record behind damage.
//!
//! Promises: a search costs time in proportion to the distance that it goes. Knows the heads of the auditor's own keys
//! and, in bounded number, those of records that were read before: a record to several recipients may begin with the
//! packet of a stranger.
#![forbid(unsafe_code)]

use base64::{Engine, engine::general_purpose::STANDARD};
use memchr::memmem::Finder;

use crate::record::age::MAGIC;
use crate::record::openpgp::{Malformed, PKESK, SEIPD, read_header};

/// How many heads are learned from records that opened.
const MAX_LEARNED: usize = 64;
/// How many heads are learned from records that look like ones but did not open.
const MAX_SEEN: usize = 16;
/// Longest PKESK packet of a recipient that stands before another in one record: RSA of 8192 bits, and some.
const MAX_PKESK: usize = 1200;
/// How far before a mark its record may begin.
pub const MAX_BEFORE: usize = 64 * 1024;
/// So much of a mark does not stand somewhere by chance.
const MIN_PART: usize = 6;
/// Longest mark: version, length, version, fingerprint.
const MAX_MARK: usize = 35;

/// The heads that are known.
#[derive(Clone)]
pub struct Heads {
    /// How PKESK bodies begin.
    marks: Vec<(Vec<u8>, Finder<'static>)>,
    /// How many of them, the first ones, are of the auditor's own keys.
    own_marks: usize,
    /// The beginning of records in base64, and how many characters before it the record begins.
    texts: Vec<(Finder<'static>, usize)>,
    own_texts: usize,
    /// The marks in base64, wherever in a record they stand.
    shifted: Vec<Finder<'static>>,
    /// How records began that were learned.
    beginnings: Vec<Vec<u8>>,
    learned: usize,
    seen: usize,
}

impl Heads {
    /// The heads of these marks, see `Identities::marks`.
    pub fn new(marks: &[Vec<u8>]) -> Self {
        let mut heads = Self {
            marks: Vec::new(),
            own_marks: 0,
            texts: Vec::new(),
            own_texts: 0,
            shifted: Vec::new(),
            beginnings: Vec::new(),
            learned: 0,
            seen: 0,
        };
        for mark in marks.iter().filter(|mark| mark.as_slice() != MAGIC) {
            heads.marks.push((mark.clone(), Finder::new(mark).into_owned()));
            // The mark stands behind a packet header of 2, 3 or 6 octets.
            let text = |bytes: &[u8]| Finder::new(&STANDARD.encode(&bytes[..bytes.len() / 3 * 3])).into_owned();
            heads.texts.push((text(&mark[1..]), 4));
            heads.texts.push((text(mark), 4));
            heads.shifted.extend((0..3).map(|shift| text(&mark[shift..])));
        }
        (heads.own_marks, heads.own_texts) = (heads.marks.len(), heads.texts.len());
        heads.texts.push((Finder::new(&STANDARD.encode(&MAGIC[..18])).into_owned(), 0));
        heads
    }

    /// Learns the head of a record, which opened or only looks like one.
    pub fn learn(&mut self, record: &[u8], opened: bool) {
        let Some((header, mark)) = head(record) else { return };
        let (count, max) = if opened { (&mut self.learned, MAX_LEARNED) } else { (&mut self.seen, MAX_SEEN) };
        if *count == max || self.beginnings.iter().any(|known| record.starts_with(known)) {
            return;
        }
        *count += 1;
        let beginning = &record[..(header + mark.len()) / 3 * 3];
        self.texts.push((Finder::new(&STANDARD.encode(beginning)).into_owned(), 0));
        self.beginnings.push(beginning.to_vec());
        if !self.marks.iter().any(|(known, _)| known == mark) {
            self.marks.push((mark.to_vec(), Finder::new(mark).into_owned()));
        }
    }

    /// Whether there is nothing to learn from a record.
    pub fn knows_beginning(&self, record: &[u8]) -> bool {
        self.beginnings.iter().any(|known| record.starts_with(known)) || self.learned == MAX_LEARNED
    }

    /// Whether `bytes` begin with a known head.
    pub fn at(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC) || head(bytes).is_some_and(|(_, mark)| self.marks.iter().any(|(known, _)| known == mark))
    }

    /// Whether nothing was learned from records that opened.
    pub fn unlearned(&self) -> bool {
        self.learned == 0
    }

    /// Whether `bytes` end within the head of another record, as they do where a length is wrong.
    pub fn ends_within(&self, bytes: &[u8]) -> bool {
        let tail = &bytes[bytes.len().saturating_sub(MAX_MARK)..];
        self.marks.iter().any(|(mark, _)| (MIN_PART..tail.len()).any(|len| mark.starts_with(&tail[tail.len() - len..])))
    }

    /// Whether within these PKESK packets another one for an own key begins than they are: then a length is wrong, and a
    /// whole record may stand in what it spans.
    pub fn hide_another(&self, pkesks: &[u8]) -> bool {
        let (mut bodies, mut at) = (Vec::new(), 0);
        while let Ok((_, header, len)) = read_header(&pkesks[at.min(pkesks.len())..]) {
            bodies.push(at + header);
            // An octet before a header may make it a longer one, of the same body.
            let body = pkesks.get(at + header..at + header + len).unwrap_or_default();
            if body_len(body).is_some_and(|told| matches!(body.get(told..).map(read_header), Some(Ok((PKESK | SEIPD, ..))))) {
                return true;
            }
            at += header + len;
        }
        self.marks[..self.own_marks].iter().any(|(_, finder)| finder.find_iter(pkesks).any(|mark| !bodies.contains(&mark)))
    }

    /// Where in `bytes` the next record begins, at `from` or later. `failed` is the beginning of the record that was
    /// tried last: a mark that belongs to it is passed over.
    pub fn next(&self, bytes: &[u8], from: usize, failed: Option<usize>) -> Option<usize> {
        let mut from = from;
        // Where the last packet ends that belongs to the record that failed.
        let mut belongs = None;
        loop {
            let (header, mark) = self.next_packet(bytes, from)?;
            let end = read_header(&bytes[header..]).map_or(0, |(_, octets, len)| header + octets + len);
            if belongs == Some(header) {
                (belongs, from) = (Some(end), mark);
                continue;
            }
            let limit = failed.unwrap_or(header.saturating_sub(MAX_BEFORE));
            let start = chain_back(bytes, header, limit);
            if Some(start) != failed {
                return Some(start);
            }
            (belongs, from) = (Some(end), mark);
        }
    }

    /// The next packet with a known mark: its header, not before `from`, and where a search goes on behind it.
    fn next_packet(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        // Windows that grow, so that a mark that is nowhere is not looked for to the end each time.
        let (mut start, mut window) = (from, 512);
        while start < bytes.len() {
            let end = bytes.len().min(start + window);
            let mut best: Option<(usize, usize)> = None;
            for (mark, finder) in &self.marks {
                let area = &bytes[start..bytes.len().min(end + mark.len())];
                for at in finder.find_iter(area).map(|at| start + at) {
                    if best.is_some_and(|(found, _)| found < at) {
                        break;
                    }
                    if let Some(header) = header_before(bytes, at).filter(|&header| header >= from) {
                        best = Some((header, at + 1));
                        break;
                    }
                }
            }
            if best.is_some() {
                return best;
            }
            (start, window) = (end, window * 2);
        }
        None
    }

    /// Where in base64 the first known mark is, of a record that may begin before it.
    pub fn first_text(&self, bytes: &[u8]) -> Option<usize> {
        let shifted = self.shifted.iter().filter_map(|finder| finder.find(bytes)).min();
        [self.next_text(bytes, 0), shifted].into_iter().flatten().min()
    }

    /// Where in a line of base64 the next record begins, at `from` or later. Heads that were learned whole are exact;
    /// those of the own keys are used only until there are some.
    pub fn next_text(&self, line: &[u8], from: usize) -> Option<usize> {
        let texts = if self.learned > 0 { &self.texts[self.own_texts..] } else { &self.texts[..] };
        let (mut start, mut window) = (from, 512);
        while start < line.len() {
            let end = line.len().min(start + window);
            let found = texts.iter().filter_map(|(finder, before)| {
                let area = &line[start..line.len().min(end + 2 * MAX_MARK)];
                finder.find_iter(area).map(|at| start + at).filter_map(|at| at.checked_sub(*before)).find(|&at| at >= from)
            });
            if let Some(at) = found.min() {
                return Some(at);
            }
            (start, window) = (end, window * 2);
        }
        None
    }
}

/// Whether `bytes`, which end too early, could be the beginning of a record. It may be for a stranger first.
pub fn begins(bytes: &[u8]) -> bool {
    if bytes.starts_with(MAGIC) || MAGIC.starts_with(bytes) {
        return !bytes.is_empty();
    }
    match read_header(bytes) {
        Err(Malformed::Short) => bytes.first().is_some_and(|&octet| matches!(octet, 0xC1 | 0x84 | 0x85)),
        Ok((PKESK, header, len)) => {
            let body = &bytes[header.min(bytes.len())..];
            len <= MAX_PKESK
                && matches!(body, [] | [3, ..] | [6] | [6, 0, ..] | [6, 21] | [6, 21, 4, ..] | [6, 33] | [6, 33, 6, ..])
        }
        _ => false,
    }
}

/// Header length and mark of the PKESK packet that `bytes` begin with.
pub fn head(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (PKESK, header, len) = read_header(bytes).ok()? else { return None };
    let body = bytes.get(header..)?;
    let mark = match *body {
        [3, ..] => 10,
        [6, fingerprint, ..] => 2 + usize::from(fingerprint),
        _ => return None,
    };
    (mark <= MAX_MARK && mark <= len).then_some(())?;
    Some((header, body.get(..mark)?))
}

/// Where the header is of a PKESK packet whose body begins at `at`. Headers of other lengths may end there by chance, or
/// because somebody put an octet before it: the one counts that is as long as the body says. Where none is, the one
/// behind whose packet another one stands, and before all others the longest. (To RSA of 4096 bits a record begins with
/// C1 C1 4C, and C1 4C is a header as well.)
fn header_before(bytes: &[u8], at: usize) -> Option<usize> {
    let fits = |start: &usize| matches!(read_header(&bytes[*start..]), Ok((PKESK, header, len)) if start + header == at && (11..=MAX_PKESK).contains(&len));
    let len = |start: usize| read_header(&bytes[start..]).map_or(0, |(_, _, len)| len);
    let followed = |start: &usize| matches!(bytes.get(at + len(*start)..).map(read_header), Some(Ok((PKESK | SEIPD, ..))));
    let starts: Vec<usize> = [6, 5, 3, 2].into_iter().filter_map(|len| at.checked_sub(len)).filter(fits).collect();
    let told = body_len(&bytes[at..]);
    let is_told = |start: &usize| told == Some(len(*start));
    starts.iter().copied().find(is_told).or(starts.iter().copied().find(followed)).or(starts.first().copied())
}

/// How long the body of a PKESK packet is by its own fields (RFC 9580, 5.1), where they say.
fn body_len(body: &[u8]) -> Option<usize> {
    let algorithm = match *body {
        [3, ..] => 9,
        [6, fingerprint, ..] => 2 + usize::from(fingerprint),
        _ => return None,
    };
    let octet = |at: usize| body.get(at).copied().map(usize::from);
    let mpi = |at: usize| Some(at + 2 + (octet(at)? << 8 | octet(at + 1)?).div_ceil(8));
    let counted = |at: usize| Some(at + 1 + octet(at)?);
    match octet(algorithm)? {
        1 | 2 => mpi(algorithm + 1),
        18 => counted(mpi(algorithm + 1)?),
        25 => counted(algorithm + 1 + 32),
        26 => counted(algorithm + 1 + 56),
        _ => None,
    }
}

/// Goes from a PKESK packet back over those that stand directly before it: the record's first, not before `limit`.
fn chain_back(bytes: &[u8], mut start: usize, limit: usize) -> usize {
    let limit = limit.max(start.saturating_sub(MAX_BEFORE));
    'packets: loop {
        for before in (limit.max(start.saturating_sub(MAX_PKESK))..start).rev() {
            if !matches!(bytes[before], 0xC1 | 0x84 | 0x85) {
                continue;
            }
            let fits = matches!(read_header(&bytes[before..start]), Ok((PKESK, header, len)) if before + header + len == start);
            if fits && plausible(&bytes[before..start]) {
                start = before;
                continue 'packets;
            }
        }
        return start;
    }
}

/// Whether a packet of the right length looks like a PKESK in its first octets, too.
fn plausible(packet: &[u8]) -> bool {
    let Some((header, mark)) = head(packet) else { return false };
    let algorithm = if mark[0] == 3 { mark.get(9) } else { packet.get(header + mark.len()) };
    let version = if mark[0] == 3 { true } else { matches!(mark, [6, 0] | [6, 21, 4, ..] | [6, 33, 6, ..]) };
    version && matches!(algorithm, Some(1 | 2 | 16 | 18 | 25 | 26 | 35 | 36))
}

/// Length of the packets at the beginning of `pkesks` that belong to another, torn record: no record names a recipient twice.
pub fn repeated(pkesks: &[u8]) -> Option<usize> {
    let (_, first) = head(pkesks)?;
    let (mut at, mut last) = (0, 0);
    while let Ok((PKESK, header, len)) = read_header(&pkesks[at..]) {
        if head(&pkesks[at..]).is_some_and(|(_, mark)| mark == first) {
            last = at;
        }
        at += header + len;
        if at >= pkesks.len() {
            break;
        }
    }
    (last > 0).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second octet of the header of a packet for RSA of 4096 bits begins a header of two octets, behind whose packet
    /// something may look like another one.
    #[test]
    fn an_octet_before_a_header_is_none_of_it() {
        // To X25519, behind an octet that makes it a longer header, whose packet something like another one follows.
        let mut record = vec![0xc1, 93, 6, 33, 6];
        record.resize(2 + 35, 7);
        record.push(25);
        record.resize(2 + 36 + 32, 8);
        record.push(24);
        record.resize(2 + 93, 9);
        record.extend_from_slice(&[0xd2, 60, 2]);
        record.resize(2 + 541, 0x66);
        record.extend_from_slice(&[0xd2, 60, 2]);
        record.resize(900, 0x66);
        let heads = Heads::new(&[record[2..37].to_vec()]);
        let behind = [&[0x77, 0xc1][..], &record].concat();
        assert_eq!(heads.next(&behind, 0, None), Some(2));
        assert!(heads.hide_another(&behind[1..]) && !heads.hide_another(&record[..95]));
    }

    #[test]
    fn a_header_in_a_header_is_none() {
        let mut record = vec![0xc1, 0xc1, 0x4c, 3, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0x10, 0];
        record.resize(3 + 524, 0x55);
        record[1 + 2 + 76..][..3].copy_from_slice(&[0xd2, 40, 1]);
        record.extend_from_slice(&[0xd2, 40, 1]);
        record.resize(record.len() + 39, 0x66);
        let mut heads = Heads::new(&[]);
        heads.learn(&record, true);
        assert_eq!(heads.next(&record, 1, Some(0)), None);
        let damaged = [&[0x77; 9][..], &record].concat();
        assert_eq!(heads.next(&damaged, 0, None), Some(9));
    }
}
