//! How the cost of sealing grows: over the length of lines and the number of recipients, and over the length of epochs.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use sealedlog::chain::{ChainKey, Kind, MAX_SLOTS, MIN_SLOTS};
use sealedlog::host::processor::processor;
use sealedlog::recipient::{self, Recipients};
use sealedlog::record::Framing;
use sealedlog::record::seal::{EpochSealer, table_len};
use sequoia_openpgp::serialize::SerializeInto;

use super::lines::Lines;
use super::place::{Input, Place, rfc9580_cert};
use super::rows::seal_with;
use super::run::{Pick, Row};
use super::{SEALEDLOG, tell};

/// Bytes of a line, newline included.
pub const LENGTHS: [usize; 7] = [20, 64, 237, 1024, 4096, 16384, 65536];
pub const RECIPIENTS: [usize; 5] = [1, 2, 3, 5, 10];
/// What a run seals at most.
const MOST_LINES: u64 = 200_000;
const MOST_BYTES: u64 = 64 << 20;
/// Slots that are sealed for one number of the epochs.
const SLOTS: u32 = 65_536;

/// `rfc9580`, file to file.
pub struct Growth {
    /// Lines a second and bytes a line, for each of [`LENGTHS`] in each of [`RECIPIENTS`].
    cells: Vec<Vec<(f64, f64)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Lines a second.
    Speed,
    /// Bytes a line in the file.
    Bytes,
}

/// Seals lines of all lengths to all numbers of recipients, `reps` times.
pub fn measure(place: &Place, reps: u64) -> anyhow::Result<Growth> {
    let mut folders = Vec::new();
    let certs = (0..10).map(|_| rfc9580_cert()?.armored().to_vec()).collect::<anyhow::Result<Vec<_>>>()?;
    for count in RECIPIENTS {
        let folder = place.path(&format!("keys-{count}"));
        fs::create_dir(&folder)?;
        for (number, cert) in certs.iter().take(count).enumerate() {
            fs::write(folder.join(format!("{number}.asc")), cert)?;
        }
        folders.push(folder);
    }
    let mut cells = vec![Vec::new(); RECIPIENTS.len()];
    for length in LENGTHS {
        tell(&format!("programs: growth: lines of {length} bytes"));
        let input = Input::of_length(place, length, MOST_LINES.min(MOST_BYTES / length as u64))?;
        let mut rows: Vec<Row<'_>> = folders
            .iter()
            .map(|keys| {
                let run = seal_with(Command::new(SEALEDLOG), place, keys, &input, place.path("growth.pgp"), &[]);
                Row { name: "growth", lines: input.lines, run, runs: Ok(Vec::new()) }
            })
            .collect();
        for _ in 0..reps {
            for row in &mut rows {
                let run = (row.run)()?;
                row.runs.as_mut().ok().context("it has no other way to end")?.push(run);
            }
        }
        for (row, cells) in rows.iter().zip(&mut cells) {
            let (speed, over) = (row.speed(Pick::Median), row.over());
            cells.push((speed.context("it ran")?, over.context("it stores")? + input.bytes as f64 / input.lines as f64));
        }
    }
    Ok(Growth { cells })
}

impl Growth {
    fn cell(&self, of: Of, recipients: usize, length: usize) -> f64 {
        let (speed, bytes) = self.cells[recipients][length];
        if of == Of::Speed { speed } else { bytes }
    }

    /// A row a length, a column a number of recipients.
    pub fn table(&self, of: Of) -> String {
        let mut text = format!("{:>10}", "bytes");
        for name in RECIPIENTS.map(name) {
            let _ = write!(text, "{name:>12}");
        }
        text.push('\n');
        for (at, length) in LENGTHS.iter().enumerate() {
            let _ = write!(text, "{length:>10}");
            for column in 0..RECIPIENTS.len() {
                let _ = write!(text, "{:>12.0}", self.cell(of, column, at));
            }
            text.push('\n');
        }
        text
    }

    /// The same for the page.
    pub fn page(&self, of: Of) -> String {
        let head = RECIPIENTS.map(name).join(" | ");
        let mut text = format!("| bytes of a line | {head} |\n| ---: |{}\n", " ---: |".repeat(RECIPIENTS.len()));
        for (at, length) in LENGTHS.iter().enumerate() {
            let cells: Vec<_> = (0..RECIPIENTS.len()).map(|column| format!("{:.0}", self.cell(of, column, at))).collect();
            let _ = writeln!(text, "| {length} | {} |", cells.join(" | "));
        }
        text
    }

    /// All numbers, for other programs.
    pub fn data(&self) -> String {
        let mut text = "line bytes\trecipients\tlines/s\tbytes a line\n".to_owned();
        for (at, length) in LENGTHS.iter().enumerate() {
            for (column, count) in RECIPIENTS.iter().enumerate() {
                let (speed, bytes) = self.cells[column][at];
                let _ = writeln!(text, "{length}\t{count}\t{speed:.0}\t{bytes:.1}");
            }
        }
        text
    }

    /// For each number of recipients its name and its points, over the lengths.
    pub fn curves(&self, of: Of) -> Vec<(String, Vec<(f64, f64)>)> {
        let points = |column| LENGTHS.iter().enumerate().map(move |(at, length)| (*length as f64, self.cell(of, column, at)));
        RECIPIENTS.iter().enumerate().map(|(column, count)| (name(*count), points(column).collect())).collect()
    }
}

fn name(recipients: usize) -> String {
    if recipients == 1 { "1 key".to_owned() } else { format!("{recipients} keys") }
}

/// What epochs of one length cost, in memory, on one core: without claims, input and output.
pub struct EpochCost {
    pub slots: u32,
    /// Microseconds a line to make the epoch's keys.
    pub keys: f64,
    /// Microseconds a line to seal it.
    pub seal: f64,
    /// Memory for the keys of lines that are still to come.
    pub table: usize,
}

/// For all lengths of epochs, one recipient, the best of `reps` runs.
pub fn epochs(reps: u64) -> anyhow::Result<Vec<EpochCost>> {
    tell("programs: epochs");
    let cert = rfc9580_cert()?.armored().to_vec()?;
    let keys = recipient::parse(Path::new("key.asc"), &cert, SystemTime::now()).into_iter().collect::<Result<Vec<_>, _>>()?;
    let recipients = Arc::new(Recipients::new(keys, None)?);
    let key = ChainKey::from_bytes([7; 32]).epoch_key();
    let lines: Vec<Vec<u8>> = Lines::new(1).take(4096).collect();
    let lengths = (MIN_SLOTS.ilog2()..=MAX_SLOTS.ilog2()).map(|power| 1 << power);
    let mut costs: Vec<_> = lengths
        .map(|slots: u32| EpochCost { slots, keys: f64::MAX, seal: f64::MAX, table: table_len(&recipients, slots) })
        .collect();
    let mut out = Vec::new();
    for _ in 0..reps {
        for cost in &mut costs {
            let (mut keys, mut seal, mut table) = (0.0, 0.0, vec![0; cost.table]);
            for _ in 0..SLOTS / cost.slots {
                let start = Instant::now();
                let mut sealer = EpochSealer::new(recipients.clone(), &key, cost.slots, &mut table[..], processor())?;
                keys += start.elapsed().as_secs_f64();
                let start = Instant::now();
                for line in lines.iter().cycle().take(cost.slots as usize) {
                    out.clear();
                    sealer.seal(Kind::Line, 1_769_817_600, line, Framing::Binary, &mut out)?;
                }
                seal += start.elapsed().as_secs_f64();
            }
            cost.keys = cost.keys.min(keys / f64::from(SLOTS) * 1e6);
            cost.seal = cost.seal.min(seal / f64::from(SLOTS) * 1e6);
        }
    }
    Ok(costs)
}

/// For a terminal.
pub fn epochs_table(costs: &[EpochCost]) -> String {
    let mut text = format!("{:>10}{:>16}{:>16}{:>14}\n", "slots", "keys, us/line", "seal, us/line", "memory, KiB");
    for cost in costs {
        let _ = writeln!(text, "{:>10}{:>16.3}{:>16.3}{:>14}", cost.slots, cost.keys, cost.seal, cost.table / 1024);
    }
    text
}

/// For the page.
pub fn epochs_page(costs: &[EpochCost]) -> String {
    let mut text = "| slots | keys, µs a line | sealing, µs a line | memory, KiB |\n| ---: | ---: | ---: | ---: |\n".to_owned();
    for cost in costs {
        let _ = writeln!(text, "| {} | {:.3} | {:.3} | {} |", cost.slots, cost.keys, cost.seal, cost.table / 1024);
    }
    text
}
