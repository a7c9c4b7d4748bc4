//! Reading many files as what they are: the segments of streams, in the order in which they were written.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;

use super::place::Place;
use super::pool::Pool;
use super::read::{Damage, Found, Opener, Record, RecordReader};
use super::verify::{LogName, Verdict, Verifier};
use crate::chain::Kind;
use crate::control::{Control, Event, GenesisFingerprint, StreamId, WriterId};

/// So much of a file is looked at to see where it belongs, in bytes.
const HEAD: u64 = 256 * 1024;
/// So many records of it at most.
const HEAD_RECORDS: usize = 16;

/// Threads are started for files of at least so many bytes.
const WORTH_THREADS: u64 = 128 * 1024;
/// Progress is told every so many bytes.
const PROGRESS: u64 = 1 << 20;

/// A file cannot be read, or not to its end. Others may be.
#[derive(Debug, Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct ReadError {
    /// Which.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Why a reading did not go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Stop {
    /// The reader gave up.
    #[error("{0}")]
    Reader(io::Error),
    /// What the verifier put away on the disk did not come back.
    #[error("cannot read the temporary file of this program: {0}")]
    Temporary(io::Error),
}

/// What a file's first records say of its place. A stream that follows another is sorted with that one: they may share files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    /// Files of which nothing is known come last.
    unknown: bool,
    began: Option<Timestamp>,
    stream: Option<StreamId>,
    first: Option<Timestamp>,
    segment: Option<u64>,
    path: PathBuf,
    /// The stream of the file itself, which numbers its files.
    own: Option<StreamId>,
}

/// The oldest stream that one goes back to, and when that one began.
type Family = (StreamId, Timestamp);

/// The genesis that a file begins with.
struct Begins {
    genesis: GenesisFingerprint,
    /// Host and log.
    log: (String, String),
    /// Without state the stream may stand in for another one of its log.
    state: bool,
}

/// Puts files into the order in which they were written, and makes their genesis records known to the verifier. Files that
/// cannot be read come last: to read them says why.
fn order(files: &[PathBuf], opener: &Opener<'_>, verifier: &mut Verifier) -> Vec<PathBuf> {
    let (mut orders, mut begins_with) = (Vec::new(), Vec::<Option<Begins>>::new());
    for path in files {
        let mut order =
            Order { unknown: true, began: None, stream: None, first: None, segment: None, path: path.clone(), own: None };
        let mut genesis = None;
        let head = File::open(path).map(|file| RecordReader::new(file.take(HEAD), opener).with_window(HEAD_RECORDS));
        for found in head.into_iter().flatten().take(HEAD_RECORDS) {
            let Ok(Found::Record(record)) = found else { continue };
            let introduced: Option<GenesisFingerprint> = record.genesis.filter(|_| verifier.introduce(&record));
            let Some(control) = Control::parse(&record.opened.body) else { continue };
            if record.genesis.is_some() && introduced.is_none() {
                continue;
            }
            match control.event {
                Event::Genesis(event) => {
                    if order.began.is_none() {
                        order.began = Some(control.time);
                        let begins = |genesis| Begins { genesis, log: (event.host, event.log), state: event.state };
                        genesis = introduced.map(begins);
                    }
                    order.stream.get_or_insert(control.stream);
                }
                Event::Segment(segment) => {
                    // The epoch before it may have been claimed long ahead: its time says nothing of the file.
                    if order.own.is_none() {
                        order.own = Some(control.stream);
                        (order.segment, order.first) = (segment.segment, Some(control.time));
                    }
                }
                _ => {
                    order.first.get_or_insert(control.time);
                }
            }
            order.stream.get_or_insert(control.stream);
            order.unknown = false;
        }
        orders.push(order);
        begins_with.push(genesis);
    }
    // All that the files bring is known now.
    let mut families: HashMap<StreamId, Family> = HashMap::new();
    let mut of_logs: HashMap<&(String, String), BTreeMap<Timestamp, Family>> = HashMap::new();
    for (order, begins) in orders.iter().zip(&begins_with) {
        let ancestor = begins.as_ref().and_then(|begins| verifier.ancestor(begins.genesis));
        if let (Some(stream), Some(family)) = (order.stream, ancestor.or(order.stream.zip(order.began))) {
            families.entry(stream).or_insert(family);
            if let (Some(began), Some(Begins { log, state: true, .. })) = (order.began, begins) {
                of_logs.entry(log).or_default().insert(began, family);
            }
        }
    }
    // One that stood in may not have known for which: it goes with the one of its log that was there.
    for (order, begins) in orders.iter().zip(&begins_with) {
        if let (Some(stream), Some(began), Some(Begins { log, state: false, .. })) = (order.stream, order.began, begins)
            && families.get(&stream).is_some_and(|family| family.0 == stream)
            && let Some((_, &family)) = of_logs.get(log).and_then(|there| there.range(..began).next_back())
        {
            families.insert(stream, family);
        }
    }
    // A file whose genesis is damaged goes with the others of its stream.
    for order in &mut orders {
        if let Some(&(stream, began)) = order.stream.and_then(|stream| families.get(&stream)) {
            (order.stream, order.began) = (Some(stream), Some(began));
        }
    }
    orders.sort();
    by_segment(&mut orders);
    orders.into_iter().map(|order| order.path).collect()
}

/// Where the clock was set back, the files of one stream change places among themselves: their numbers tell their order.
fn by_segment(orders: &mut [Order]) {
    let mut places: HashMap<StreamId, Vec<usize>> = HashMap::new();
    for (at, order) in orders.iter().enumerate() {
        if let (Some(own), Some(_)) = (order.own, order.segment) {
            places.entry(own).or_default().push(at);
        }
    }
    for places in places.values() {
        let mut files: Vec<Order> = places.iter().map(|&at| orders[at].clone()).collect();
        files.sort_by_key(|file| file.segment);
        for (&at, file) in places.iter().zip(files) {
            orders[at] = file;
        }
    }
}

/// A line that was opened, or a piece of one, or several.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its bytes.
    pub body: &'a [u8],
    /// When it was sealed, in seconds since 1970, where its record says so.
    pub sealed: Option<u32>,
    /// Where it stands and whose it is; `None` where it is not in its place.
    pub place: Option<(Place, LogName<'a>)>,
    /// The writer of its epoch, where it is in its place and that is known.
    pub writer: Option<WriterId>,
    /// When its epoch was claimed; the same.
    pub claimed: Option<Timestamp>,
}

impl<'a> Line<'a> {
    fn new(body: &'a [u8], sealed: Option<u32>, place: Option<Place>, verifier: &'a Verifier) -> Self {
        let (writer, claimed) = place.map_or((None, None), |place| verifier.claim_of(place));
        Self { body, sealed, place: place.map(|place| (place, verifier.log_of(place.stream))), writer, claimed }
    }
}

/// What a reading is told while it goes on.
pub trait Reader {
    /// The files are in order, and what they begin with is known.
    fn begin(&mut self, _verifier: &Verifier) {}

    /// A line.
    fn line(&mut self, line: &Line<'_>) -> io::Result<()>;

    /// A record in this place, a `close` or a `gap` of this writer, ends the line that the writer had begun, if it had begun one.
    fn line_ends(&mut self, _place: Place, _writer: WriterId) -> io::Result<()> {
        Ok(())
    }

    /// Bytes that are no record.
    fn damage(&mut self, _path: &Path, _damage: &Damage) {}

    /// How many bytes of the file have been read.
    fn progress(&mut self, _path: &Path, _offset: u64) {}

    /// The file has been read as far as it goes.
    fn end(&mut self, _path: &Path, _end: End) {}
}

/// Where a file's reading came to.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The file's number with the verifier.
    pub file: usize,
    /// The end of the last whole record or damage.
    pub offset: u64,
}

/// Reads files through the verifier, in the order in which they were written. Gives those that cannot be read.
pub fn read(
    files: &[PathBuf],
    opener: &Opener<'_>,
    verifier: &mut Verifier,
    reader: &mut impl Reader,
) -> Result<Vec<ReadError>, Stop> {
    let mut unreadable = Vec::new();
    let ordered = order(files, opener, verifier);
    reader.begin(verifier);
    for path in ordered {
        match read_on(&path, None, opener, verifier, reader)? {
            Ok(end) => reader.end(&path, end),
            Err(source) => unreadable.push(ReadError { path, source }),
        }
    }
    release(verifier, true, reader).map_err(Stop::Reader)?;
    Ok(unreadable)
}

/// Reads one file from where its reading came to, else from its begin. Gives what the system says where it cannot be read.
pub fn read_on(
    path: &Path,
    from: Option<End>,
    opener: &Opener<'_>,
    verifier: &mut Verifier,
    reader: &mut impl Reader,
) -> Result<io::Result<End>, Stop> {
    let read = match open_at(path, from.map_or(0, |end| end.offset)) {
        Ok((input, length)) => read_open(path, input, length, from, opener, verifier, reader).map_err(Stop::Reader)?,
        Err(error) => Err(error),
    };
    match verifier.trouble() {
        Some(error) => Err(Stop::Temporary(error)),
        None => Ok(read),
    }
}

/// Gives the length, too, where that is known.
fn open_at(path: &Path, offset: u64) -> io::Result<(File, u64)> {
    let mut input = File::open(path)?;
    if offset > 0 {
        io::Seek::seek(&mut input, io::SeekFrom::Start(offset))?;
    }
    let length = input.metadata().map_or(u64::MAX, |metadata| if metadata.is_file() { metadata.len() } else { u64::MAX });
    Ok((input, length))
}

/// The outer error is the reader's, the inner one the file's.
fn read_open(
    path: &Path,
    input: File,
    length: u64,
    from: Option<End>,
    opener: &Opener<'_>,
    verifier: &mut Verifier,
    reader: &mut impl Reader,
) -> io::Result<io::Result<End>> {
    let mut end = match from {
        Some(end) => {
            verifier.resume_file(end.file);
            end
        }
        None => End { file: verifier.begin_file(path.to_owned()), offset: 0 },
    };
    let from = end.offset;
    let mut told = 0;
    let each = |found: Result<&Record, Damage>| {
        let done = match found {
            Ok(record) => {
                end.offset = record.offset + record.length;
                take(record, verifier, reader)
            }
            Err(damage) => {
                reader.damage(path, &damage);
                if damage.why != super::read::Why::CutShort {
                    end.offset = damage.offset + damage.length;
                }
                verifier.damage(damage);
                Ok(())
            }
        };
        if end.offset >= told + PROGRESS {
            told = end.offset;
            reader.progress(path, told);
        }
        done
    };
    let records = RecordReader::at(input, from, None, opener);
    let read = if length.saturating_sub(from) < WORTH_THREADS {
        records.try_each(each)
    } else {
        Pool::with(opener, |pool| records.with_pool(pool).try_each(each))
    };
    reader.progress(path, end.offset);
    Ok(match read {
        Ok(read) => read.map(|()| Ok(end))?,
        Err(error) => Err(error),
    })
}

fn take(record: &Record, verifier: &mut Verifier, reader: &mut impl Reader) -> io::Result<()> {
    let (body, sealed) = (&record.opened.body, record.opened.date);
    match verifier.record(record) {
        Verdict::InPlace(Kind::Control, place) => {
            if let Some(Control { writer, event: Event::Close(_) | Event::Gap(_), .. }) = Control::parse(body) {
                reader.line_ends(place, writer)?;
            }
        }
        Verdict::InPlace(Kind::Line, place) => reader.line(&Line::new(body, sealed, Some(place), verifier))?,
        Verdict::Elsewhere => reader.line(&Line::new(body, sealed, None, verifier))?,
        Verdict::Pending(place) => verifier.hold(place, sealed, body.to_vec()),
    }
    release(verifier, false, reader)
}

/// Hands out lines that waited for a word on their stream; with `all` those for which none came, too.
pub fn release(verifier: &mut Verifier, all: bool, reader: &mut impl Reader) -> io::Result<()> {
    verifier
        .release(all)
        .iter()
        .try_for_each(|held| reader.line(&Line::new(&held.body, held.sealed, held.in_place.then_some(held.place), verifier)))
}
