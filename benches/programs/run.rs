//! One run of one program, and what it took; the runs of all.
//!
//! Promises: a program that ends badly, or whose output is not what it must be, has no numbers.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::place::Input;

/// How often a running program's peak memory is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);

/// One program on one input.
pub struct Row<'a> {
    /// What it is, unlike every other.
    pub name: &'static str,
    /// How many lines, or requests, a run has.
    pub lines: u64,
    /// Runs it once.
    pub run: RunOnce<'a>,
    /// The runs so far, or why there are none.
    pub runs: Result<Vec<Run>, Why>,
}

/// Runs a program once.
pub type RunOnce<'a> = Box<dyn Fn() -> anyhow::Result<Run> + 'a>;

/// Why there are no numbers.
pub enum Why {
    /// This is not on the machine.
    Missing(String),
    /// It went wrong.
    Failed(String),
}

/// What one run took.
#[derive(Clone, Copy)]
pub struct Run {
    /// From start to exit, or to where the last line was stored, in seconds.
    pub wall: f64,
    /// User and system time of the program and those it waited for, seconds.
    pub cpu: f64,
    /// Peak of resident memory in bytes.
    pub memory: u64,
    /// Bytes of its output beyond those of the plain text, where it stores the log.
    pub over: Option<i64>,
}

/// Which run stands for all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// The one in the middle.
    Median,
    /// The fastest; that with the least processor time; that with the most memory.
    Best,
}

impl Row<'_> {
    /// Lines a second.
    pub fn speed(&self, pick: Pick) -> Option<f64> {
        self.pick(pick, f64::max, |run| self.lines as f64 / run.wall)
    }

    /// Processor seconds a million lines.
    pub fn cpu(&self, pick: Pick) -> Option<f64> {
        self.pick(pick, f64::min, |run| run.cpu / self.lines as f64 * 1e6)
    }

    /// Milliseconds from start to end.
    pub fn millis(&self, pick: Pick) -> Option<f64> {
        self.pick(pick, f64::min, |run| run.wall * 1e3)
    }

    /// Peak memory in MiB.
    pub fn memory(&self, pick: Pick) -> Option<f64> {
        self.pick(pick, f64::max, |run| run.memory as f64 / 1048576.0)
    }

    /// Bytes a line over the plain text.
    pub fn over(&self) -> Option<f64> {
        let over = self.runs.as_ref().ok()?.first()?.over?;
        Some(over as f64 / self.lines as f64)
    }

    /// Lines a second of the slowest and the fastest run.
    pub fn range(&self) -> Option<(f64, f64)> {
        let least = self.pick(Pick::Best, f64::min, |run| self.lines as f64 / run.wall)?;
        Some((least, self.speed(Pick::Best)?))
    }

    fn pick(&self, pick: Pick, best: fn(f64, f64) -> f64, of: impl Fn(&Run) -> f64) -> Option<f64> {
        let values: Vec<f64> = self.runs.as_ref().ok()?.iter().map(of).collect();
        if pick == Pick::Best { values.into_iter().reduce(best) } else { median(values) }
    }
}

/// The value in the middle, or between the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 { middle } else { (middle + values[values.len() / 2 - 1]) / 2.0 })
}

impl Run {
    /// With what `out` has more than `input`. The file is brought to the disk, at nobody's cost.
    pub fn storing(self, out: &Path, input: &Input) -> anyhow::Result<Self> {
        let file = File::open(out)?;
        file.sync_all()?;
        let over = i64::try_from(file.metadata()?.len())? - i64::try_from(input.bytes)?;
        ensure!(over >= 0, "the output is {} bytes shorter than the lines", -over);
        Ok(Self { over: Some(over), ..self })
    }
}

/// Runs a program on a file to its end, which must be a good one.
pub fn measure(command: &mut Command, input: &Path, out: Option<&Path>) -> anyhow::Result<Run> {
    measure_to(0, command, input, out)
}

/// As [`measure`], for a program whose good end has this exit status.
pub fn measure_to(status: i32, command: &mut Command, input: &Path, out: Option<&Path>) -> anyhow::Result<Run> {
    let file = File::open(input).with_context(|| format!("cannot read {}", input.display()))?;
    command.stdin(file);
    match out {
        Some(out) => command.stdout(File::create(out)?),
        None => command.stdout(Stdio::null()),
    };
    watched(status, command, |_| Ok(()))
}

/// Runs a program that `feed` writes to, to its end, which must be a good one.
pub fn measure_fed(command: &mut Command, feed: impl FnOnce(ChildStdin) -> io::Result<()>) -> anyhow::Result<Run> {
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    watched(0, command, |stdin| feed(stdin.expect("standard input is piped")))
}

fn watched(wanted: i32, command: &mut Command, feed: impl FnOnce(Option<ChildStdin>) -> io::Result<()>) -> anyhow::Result<Run> {
    let name = Path::new(command.get_program()).display().to_string();
    let before = cpu_of_children()?;
    let start = Instant::now();
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("cannot run {name}"))?;
    let mut stderr = child.stderr.take().expect("standard error is piped");
    let stdin = child.stdin.take();
    let (end, ended) = mpsc::channel::<()>();
    let (fed, status, wall, memory, told) = thread::scope(|scope| {
        let pid = child.id();
        let sampler = scope.spawn(move || peak_memory(pid, &ended));
        let told = scope.spawn(move || {
            let mut told = Vec::new();
            let _ = stderr.read_to_end(&mut told);
            String::from_utf8_lossy(&told).into_owned()
        });
        let fed = feed(stdin);
        let status = child.wait();
        let wall = start.elapsed().as_secs_f64();
        drop(end);
        let memory = sampler.join().expect("the sampler does not panic");
        (fed, status, wall, memory, told.join().expect("reading does not panic"))
    });
    let status = status?;
    if status.code() != Some(wanted) {
        bail!("{name}: {status}: {}", told.trim().lines().next().unwrap_or(""));
    }
    fed.with_context(|| format!("cannot write to {name}"))?;
    Ok(Run { wall, cpu: cpu_of_children()? - before, memory, over: None })
}

/// Of all programs that ended so far. One runs at a time, so the difference is that one's.
fn cpu_of_children() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

/// The peak of a program's resident memory in bytes, until `ended` is closed. From /proc (`VmHWM`), because `ru_maxrss`
/// counts the memory of the program that started it, as it was before the new one took its place. What grows in the last
/// moment before the exit is missed.
fn peak_memory(pid: u32, ended: &mpsc::Receiver<()>) -> u64 {
    let mut peak = 0;
    loop {
        if let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
            let kib =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            peak = kib.map_or(peak, |kib| kib * 1024);
        }
        if ended.recv_timeout(SAMPLE_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
            return peak;
        }
    }
}

/// Whether two files hold the same.
pub fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (BufReader::with_capacity(1 << 20, File::open(one)?), BufReader::new(File::open(other)?));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let len = left.len().min(right.len());
        if left[..len] != right[..len] {
            return Ok(false);
        }
        if len == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        one.consume(len);
        other.consume(len);
    }
}
