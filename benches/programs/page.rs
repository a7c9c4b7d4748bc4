//! `docs/performance.md` and what stands beside it, as far as it is measured: tables between marks, data and plots.
//!
//! A table stands between `<!-- bench: NAME -->` and `<!-- end -->`; the rest of the page is written by people.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::goals;
use super::growth::{EpochCost, Growth, LENGTHS, Of, epochs_page};
use super::run::{Pick, Row};
use super::svg;

/// Writes all of it.
pub fn write(conditions: &str, rows: &[Row<'_>], growth: &Growth, epochs: &[EpochCost]) -> anyhow::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let beside = docs.join("performance");
    fs::create_dir_all(&beside)?;
    let page = docs.join("performance.md");
    let mut text = fs::read_to_string(&page)?;
    for (name, table) in [
        ("conditions", format!("{conditions}.\n")),
        ("goals", goals::goals_page(rows)),
        ("programs", goals::programs_page(rows)),
        ("speed", growth.page(Of::Speed)),
        ("bytes", growth.page(Of::Bytes)),
        ("epochs", epochs_page(epochs)),
    ] {
        text = put(&text, name, &table).with_context(|| format!("{} has no marks for {name}", page.display()))?;
    }
    fs::write(&page, text)?;

    let ticks = LENGTHS.map(|length| length as f64);
    let (below, mut bytes) = ("bytes of a line", growth.curves(Of::Bytes));
    bytes.push(("plain text".to_owned(), ticks.iter().map(|length| (*length, *length)).collect()));
    let speed = svg::curves("rfc9580: lines a second, file to file", below, "lines/s", &ticks, &growth.curves(Of::Speed));
    let bytes = svg::curves("rfc9580: bytes a line in the file", below, "bytes a line", &ticks, &bytes);
    let slots: Vec<_> = epochs.iter().map(|cost| f64::from(cost.slots)).collect();
    let curve = |name: &str, of: fn(&EpochCost) -> f64| {
        (name.to_owned(), epochs.iter().map(|cost| (f64::from(cost.slots), of(cost))).collect::<Vec<_>>())
    };
    let costs =
        [curve("keys", |cost| cost.keys), curve("sealing", |cost| cost.seal), curve("both", |cost| cost.keys + cost.seal)];
    let costs = svg::curves("rfc9580: cost of a line by length of epoch", "slots of an epoch", "µs a line", &slots, &costs);
    let bars: Vec<_> = rows
        .iter()
        .filter(|row| row.lines > 1 && !row.name.contains("lines/s"))
        .filter_map(|row| {
            Some((row.name.trim_end_matches([' ', '*']).to_owned(), row.speed(Pick::Median)?, row.name.contains("sealedlog")))
        })
        .collect();
    let bars = svg::bars("Lines a second, sealedlog in blue", "lines/s (Apache: requests/s)", &bars);
    for (name, content) in
        [("speed.svg", speed), ("bytes.svg", bytes), ("epochs.svg", costs), ("programs.svg", bars), ("growth.tsv", growth.data())]
    {
        fs::write(beside.join(name), content)?;
    }
    Ok(())
}

/// The text with another table between a pair of marks; `None` where they are not.
fn put(text: &str, name: &str, table: &str) -> Option<String> {
    let mark = format!("<!-- bench: {name} -->\n");
    let start = text.find(&mark)? + mark.len();
    let end = start + text[start..].find("<!-- end -->")?;
    Some(format!("{}\n{}\n\n{}", &text[..start], table.trim_end(), &text[end..]))
}

/// The machine in plain words.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let features = [("avx512f", "AVX-512"), ("vaes", "VAES"), ("avx2", "AVX2"), ("aes", "AES"), ("sha_ni", "SHA")];
    let features: Vec<_> = features.iter().filter(|(flag, _)| has(flag)).map(|(_, name)| *name).collect();
    let features = if features.is_empty() { String::new() } else { format!(" with {}", features.join(", ")) };
    let kind = if has("hypervisor") { "virtual cores" } else { "cores" };
    format!("{cores} {kind}{features}")
}
