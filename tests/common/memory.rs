//! The memory of a running process, searched for what must not be in it.
//!
//! A search takes secrets apart into pieces of 16 bytes, so that half a key that stayed behind is found too, and tells
//! where they are, never what they are.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Length of what is searched for.
pub const PIECE: usize = 16;

/// Bytes with a name: a mapping of a process, or a file.
pub struct Region {
    /// `[heap]`, `[stack]`, the file that is mapped, or the range of addresses.
    pub name: String,
    /// Whether the process can write there.
    pub writable: bool,
    /// What is there.
    pub bytes: Vec<u8>,
}

/// All readable memory of a process. Only root, or the process's own user if it is dumpable, may.
pub fn of_process(pid: u32) -> io::Result<Vec<Region>> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut regions = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        // `start-end rwxp offset device inode name`
        let mut words = line.split_whitespace();
        let (range, rights, name) = (words.next().expect("a range"), words.next().expect("rights"), words.nth(3).unwrap_or(""));
        let (start, end) = range.split_once('-').expect("two addresses");
        let address = |text| u64::from_str_radix(text, 16).expect("addresses are hexadecimal");
        // Pages of the kernel's, which cannot be read this way and hold clocks and code.
        if !rights.starts_with('r') || name.starts_with("[v") {
            continue;
        }
        let (start, end) = (address(start), address(end));
        let mut bytes = vec![0; usize::try_from(end - start).expect("it fits")];
        memory.read_exact_at(&mut bytes, start).map_err(|error| io::Error::other(format!("{line}: {error}")))?;
        regions.push(Region { name: format!("{range} {name}"), writable: rights.contains('w'), bytes });
    }
    assert!(regions.iter().any(|region| region.name.ends_with("[stack]")), "no stack among the mappings");
    Ok(regions)
}

/// A file's content.
pub fn of_file(path: &Path) -> Region {
    Region { name: path.display().to_string(), writable: false, bytes: fs::read(path).expect("readable") }
}

/// A piece, and the number of the secret that it is from.
type Pieces = Vec<([u8; PIECE], usize)>;

/// What is searched for: each by all its whole pieces.
#[derive(Default)]
pub struct Needles {
    names: Vec<String>,
    /// By their first eight bytes.
    pieces: HashMap<u64, Pieces, BuildHasherDefault<First>>,
    /// One bit for each beginning of two bytes, since most places have none of them.
    beginnings: Vec<bool>,
}

/// Where pieces of a secret were found.
pub type Found = BTreeMap<String, Vec<String>>;

impl Needles {
    /// Adds a secret of at least 16 bytes.
    pub fn add(&mut self, name: impl Into<String>, secret: &[u8]) {
        assert!(secret.len() >= PIECE);
        let number = self.names.len();
        self.names.push(name.into());
        self.beginnings.resize(1 << 16, false);
        for piece in secret.chunks_exact(PIECE) {
            let piece: [u8; PIECE] = piece.try_into().expect("chunks of this length");
            self.pieces.entry(first(&piece)).or_default().push((piece, number));
            self.beginnings[usize::from(u16::from_le_bytes([piece[0], piece[1]]))] = true;
        }
    }

    /// Adds a key as it is, and as control records write it.
    pub fn add_key(&mut self, name: &str, key: &[u8]) {
        self.add(name, key);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(format!("{name} in hex"), hex.as_bytes());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Every place where a piece of one stands, by its name.
    pub fn search(&self, regions: &[Region]) -> Found {
        let mut found = Found::new();
        for region in regions {
            for (at, window) in region.bytes.windows(PIECE).enumerate() {
                if !self.beginnings[usize::from(u16::from_le_bytes([window[0], window[1]]))] {
                    continue;
                }
                for (piece, number) in self.pieces.get(&first(window)).into_iter().flatten() {
                    if piece == window {
                        found.entry(self.names[*number].clone()).or_default().push(format!("{:#x} in {}", at, region.name));
                    }
                }
            }
        }
        found
    }
}

/// What was found in a few lines.
pub fn tell(found: &Found) -> String {
    let mut text = format!("{} secrets:", found.len());
    for (name, places) in found.iter().take(60) {
        text.push_str(&format!("\n  {name}: {} pieces, first at {}", places.len(), places[0]));
    }
    text
}

fn first(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("a piece is longer"))
}

/// Keys are random and texts are, so their first bytes are hash enough.
#[derive(Default)]
struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers of 64 bits are hashed");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number ^ number.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A random key of 16 bytes has fewer different bytes than this once in 10^9 times, a pointer or a number nearly always.
const MIN_DISTINCT: usize = 8;

/// Calls `check` with every window of this length of the writable regions that can be a key; how many those were, and
/// where `check` said yes.
pub fn windows(regions: &[Region], len: usize, mut check: impl FnMut(&[u8]) -> bool) -> (usize, Vec<String>) {
    let (mut tried, mut found) = (0, Vec::new());
    for region in regions.iter().filter(|region| region.writable) {
        let (mut counts, mut distinct) = ([0u32; 256], 0);
        for (at, &byte) in region.bytes.iter().enumerate() {
            let count = &mut counts[usize::from(byte)];
            *count += 1;
            distinct += usize::from(*count == 1);
            if let Some(before) = at.checked_sub(len) {
                let count = &mut counts[usize::from(region.bytes[before])];
                *count -= 1;
                distinct -= usize::from(*count == 0);
            }
            if at + 1 >= len && distinct >= MIN_DISTINCT {
                let start = at + 1 - len;
                tried += 1;
                if check(&region.bytes[start..=at]) {
                    found.push(format!("{start:#x} in {}", region.name));
                }
            }
        }
    }
    (tried, found)
}
