//! Whole programs side by side, in one run, on the same lines: what sealing costs, and what one would take instead.
//!
//! `cargo bench --features audit --bench programs -- [FILE]`. Without FILE the lines are made, from a fixed seed; FILE is
//! repeated to the wanted count, its lines numbered so that no two are equal. From the environment:
//!
//! | variable | what | default |
//! | --- | --- | --- |
//! | `BENCH_LINES` | lines for whatever is fast | 1000000 |
//! | `BENCH_MEDIUM_LINES` | lines for slogencrypt, slogverify, the steady pace, the syslog daemons; requests to Apache | 100000 |
//! | `BENCH_SLOW_LINES` | lines for whatever makes a public-key operation a line | 20000 |
//! | `REPS` | runs of each program; medians are told | 5 |
//! | `ONLY` | only rows with this in their name, with what they read from others; or `growth`, or `epochs` | all |
//! | `TMPDIR` | where all files are, 2.5 KB a line; in memory (`/dev/shm`) the disk is left out | `/tmp` |
//!
//! A run of everything on the made-up lines also writes `docs/performance/` and the tables of `docs/performance.md`.
//!
//! Promises: runs are interleaved, so that a slow minute of the machine meets all; what was sealed comes back byte for byte, or the
//! run counts as failed, and so does this program. What is not installed is told and is no failure.
//! Does not promise a quiet machine: look at the range beside the median.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use place::{Input, Keys, Place};
use rows::Inputs;
use run::Why;

#[path = "programs/a_line.rs"]
mod a_line;
#[path = "programs/daemons.rs"]
mod daemons;
#[path = "programs/goals.rs"]
mod goals;
#[path = "programs/growth.rs"]
mod growth;
#[path = "programs/page.rs"]
mod page;
#[path = "programs/place.rs"]
mod place;
#[path = "programs/rows.rs"]
mod rows;
#[path = "programs/run.rs"]
mod run;
#[path = "programs/steady.rs"]
mod steady;
#[path = "programs/svg.rs"]
mod svg;

#[path = "../tests/common/apache.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod apache;
#[path = "../tests/common/lines.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod lines;
#[path = "../tests/common/load.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod load;
#[path = "../tests/common/syslog.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod syslog;
#[path = "../tests/common/tools.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod tools;

const SEALEDLOG: &str = env!("CARGO_BIN_EXE_sealedlog");
const APACHE: &str = env!("CARGO_BIN_EXE_sealedlog-apache");
const SYSLOG: &str = env!("CARGO_BIN_EXE_sealedlog-syslog");
const AUDIT: &str = env!("CARGO_BIN_EXE_sealedlog-audit");

/// How this program is told, by itself, to be one of the programs that are measured.
const SEQUOIA_A_LINE: &str = "--sequoia-a-line";
const AGE_A_LINE: &str = "--age-a-line";
const ANSWER: &str = "--answer";
const STORE: &str = "--store";

fn main() -> ExitCode {
    // cargo gives benches an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let done = match &args[..] {
        [option, cert] if option == SEQUOIA_A_LINE => a_line::sequoia_a_line(cert).map(|()| true),
        [option, recipient] if option == AGE_A_LINE => a_line::age_a_line(recipient).map(|()| true),
        [option, store, ..] if option == ANSWER => daemons::answer(store).map(|()| true),
        [option, store, ..] if option == STORE => daemons::store(store).map(|()| true),
        [] => bench(None),
        [file] if !file.starts_with('-') => bench(Some(Path::new(file))),
        _ => Err(anyhow::anyhow!("usage: programs [FILE]")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("programs: error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Measures everything, prints the tables and writes the page. Whether every run went well.
fn bench(file: Option<&Path>) -> anyhow::Result<bool> {
    let (all, slow, reps) = (number("BENCH_LINES", 1_000_000)?, number("BENCH_SLOW_LINES", 20_000)?, number("REPS", 5)?);
    let medium = number("BENCH_MEDIUM_LINES", 100_000)?;
    let only = std::env::var("ONLY").ok();
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let place = Place::new()?;
    tell("programs: making keys and lines");
    let keys = Keys::new(&place)?;
    let inputs = Inputs {
        all: Input::new(&place, "all.log", file, all)?,
        medium: Input::new(&place, "medium.log", file, medium)?,
        slow: Input::new(&place, "slow.log", file, slow)?,
    };
    let mut rows = rows::rows(&place, &keys, &inputs)?;
    rows.extend(steady::rows(&place, &keys, &inputs.medium));
    rows.extend(daemons::rows(&place, &keys, medium, medium));
    let kept: Vec<&str> =
        rows.iter().filter(|row| wanted(row.name)).flat_map(|row| [Some(row.name), rows::reads(row.name)]).flatten().collect();
    rows.retain(|row| kept.contains(&row.name));
    for rep in 1..=reps {
        for row in &mut rows {
            if let Ok(runs) = &mut row.runs {
                tell(&format!("programs: run {rep} of {reps}: {}", row.name));
                match (row.run)() {
                    Ok(run) => runs.push(run),
                    Err(error) => {
                        tell(&format!("programs: {}: {error:#}", row.name));
                        row.runs = Err(Why::Failed(format!("{error:#}").lines().next().unwrap_or_default().to_owned()));
                    }
                }
            }
        }
    }
    let conditions = format!(
        "{} lines of {:.1} bytes on average ({} for what is marked *, {} for **, the steady pace and the daemons); {reps} runs each, one \
         of each program after the other; files below {}; {}",
        all,
        inputs.all.bytes as f64 / inputs.all.lines as f64,
        slow,
        medium,
        std::env::temp_dir().display(),
        page::machine()
    );
    print(&format!("{conditions}\n\n{}\n{}", goals::programs(&rows), goals::goals(&rows)))?;
    let growth = if wanted("growth") { Some(growth::measure(&place, reps)?) } else { None };
    let epochs = if wanted("epochs") { Some(growth::epochs(reps)?) } else { None };
    if let Some(growth) = &growth {
        print(&format!("\nlines/s\n{}\nbytes a line\n{}", growth.table(growth::Of::Speed), growth.table(growth::Of::Bytes)))?;
    }
    if let Some(epochs) = &epochs {
        print(&format!("\n{}", growth::epochs_table(epochs)))?;
    }
    let well = rows.iter().all(|row| !matches!(row.runs, Err(Why::Failed(_))));
    if let (true, None, None, Some(growth), Some(epochs)) = (well, file, only, growth, epochs) {
        page::write(&conditions, &rows, &growth, &epochs)?;
        tell("programs: written: docs/performance.md and docs/performance/");
    }
    Ok(well)
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().ok().filter(|&n| n > 0).with_context(|| format!("{name}={text} is no count")),
        Err(_) => Ok(default),
    }
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

fn tell(line: &str) {
    // Where standard error is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{line}");
}
