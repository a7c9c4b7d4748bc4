//! A log as daemons write it: one write a line, ten thousand a second; and how soon the first line is sealed.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::place::{Input, Keys, Place, fresh_state, is_installed};
use super::run::{Row, Run, RunOnce, Why, measure_fed, median};
use super::{APACHE, SEALEDLOG};

pub const STEADY_SEALED: &str = "sealedlog-apache, 10,000 lines/s";
pub const STEADY_ROTATELOGS: &str = "rotatelogs, 10,000 lines/s";
pub const START_UP: &str = "sealedlog seal, to the first line";

const LINES_A_SECOND: u32 = 10_000;
/// Starts of one run, of which the one in the middle counts.
const STARTS: usize = 20;
/// How often a file is looked at, and how long its length must rest until it counts as complete.
const LOOK: Duration = Duration::from_micros(100);
const REST: Duration = Duration::from_millis(30);

/// The rows of this module. `input` is written at the steady pace.
pub fn rows<'a>(place: &'a Place, keys: &'a Keys, input: &'a Input) -> Vec<Row<'a>> {
    let rotatelogs: Result<_, Why> =
        if is_installed("rotatelogs") { Ok(Vec::new()) } else { Err(Why::Missing("rotatelogs".to_owned())) };
    let steady_sealed = || {
        let mut command = Command::new(APACHE);
        let [state, runtime] = fresh_state(place);
        command.arg("--keys").arg(&keys.rfc9580).arg("--state").arg(state).arg("--runtime").arg(runtime);
        command
    };
    vec![
        Row { name: STEADY_SEALED, lines: input.lines, run: steady(place, input, Box::new(steady_sealed)), runs: Ok(Vec::new()) },
        Row {
            name: STEADY_ROTATELOGS,
            lines: input.lines,
            run: steady(place, input, Box::new(|| Command::new("rotatelogs"))),
            runs: rotatelogs,
        },
        Row { name: START_UP, lines: 1, run: Box::new(|| start_up(place, keys)), runs: Ok(Vec::new()) },
    ]
}

/// Both programs take the same command line.
fn steady<'a>(place: &'a Place, input: &'a Input, program: Box<dyn Fn() -> Command + 'a>) -> RunOnce<'a> {
    Box::new(move || {
        let folder = place.path("steady");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        let mut command = program();
        command.arg(folder.join("log")).arg("86400");
        let run = measure_fed(&mut command, |stdin| feed(stdin, &input.path))?;
        let stored: u64 = fs::read_dir(&folder)?.map(|file| Ok(file?.metadata()?.len())).sum::<io::Result<u64>>()?;
        ensure!(stored >= input.bytes, "{stored} bytes are stored of {}", input.bytes);
        Ok(run)
    })
}

/// Each line with a write of its own, at its time; a line that is late is written at once.
fn feed(mut to: ChildStdin, lines: &Path) -> io::Result<()> {
    let (mut lines, mut line) = (BufReader::new(fs::File::open(lines)?), Vec::new());
    let (start, mut due) = (Instant::now(), Duration::ZERO);
    while lines.read_until(b'\n', &mut line)? > 0 {
        thread::sleep(due.saturating_sub(start.elapsed()));
        to.write_all(&line)?;
        line.clear();
        due += Duration::from_secs(1) / LINES_A_SECOND;
    }
    Ok(())
}

/// From before the program is started to its first line's record in the file, with a stream that is new.
fn start_up(place: &Place, keys: &Keys) -> anyhow::Result<Run> {
    let out = place.path("start.pgp");
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let [state, runtime] = fresh_state(place);
        let _ = fs::remove_file(&out);
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(b"192.0.2.1 - - [31/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 180 \"-\" \"-\"\n")?;
        let mut command = Command::new(SEALEDLOG);
        command.arg("seal").arg("--keys").arg(&keys.rfc9580).arg("-o").arg(&out);
        command.arg("--state").arg(state).arg("--runtime").arg(runtime).stdin(reader).stderr(Stdio::null());
        let start = Instant::now();
        let mut child = command.spawn().context("cannot run sealedlog")?;
        let written = settled(start, || fs::metadata(&out).map_or(0, |file| file.len()), REST, LOOK);
        // The end of input.
        drop((writer, command));
        ensure!(child.wait()?.success(), "sealedlog failed");
        took.push(written.context("no record came in ten seconds")?.as_secs_f64());
    }
    let wall = median(took).context("there were starts")?;
    Ok(Run { wall, cpu: 0.0, memory: 0, over: None })
}

/// When, after `start`, a length that grows has changed last: it is looked at until it rests.
pub fn settled(start: Instant, length: impl Fn() -> u64, rest: Duration, look: Duration) -> Option<Duration> {
    let (mut last, mut changed) = (0, Duration::ZERO);
    loop {
        let (now, length) = (start.elapsed(), length());
        if length != last {
            (last, changed) = (length, now);
        } else if last > 0 && now > changed + rest {
            return Some(changed);
        } else if now > changed + Duration::from_secs(10) {
            return None;
        }
        thread::sleep(look);
    }
}
