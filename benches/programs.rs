//! Whole programs side by side, in one run, on the same lines: what sealing costs, and what one would take instead.
//!
//! `cargo bench --features audit --bench programs -- [FILE]`. Without FILE the lines are made, from a fixed seed; FILE is
//! repeated to the wanted count, its lines numbered so that no two are equal. From the environment:
//!
//! | variable | what | default |
//! | --- | --- | --- |
//! | `BENCH_LINES` | lines for whatever is fast | 1000000 |
//! | `BENCH_SLOW_LINES` | lines for whatever makes a public-key operation a line | 20000 |
//! | `REPS` | runs of each program; medians are told | 3 |
//! | `TMPDIR` | where all files are, 1 KB a line; in memory (`/dev/shm`) the disk is left out | `/tmp` |
//!
//! Promises: every program reads a file and writes a file; runs are interleaved, so that a slow minute of the machine
//! meets all; what was sealed comes back byte for byte, or the run counts as failed, and so does this program.
//! Does not promise a quiet machine: look at the range beside the median.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::{CertBuilder, CipherSuite};
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use openpgp::serialize::stream::{Encryptor, LiteralWriter, Message};

#[path = "../tests/common/lines.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod lines;

/// Of the made-up log.
const SEED: u64 = 1;
/// How often a running program's peak memory is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);
const SEALEDLOG: &str = env!("CARGO_BIN_EXE_sealedlog");

/// How this program is told, by itself, to be one of the programs that are measured.
const SEQUOIA_A_LINE: &str = "--sequoia-a-line";
const AGE_A_LINE: &str = "--age-a-line";

fn main() -> ExitCode {
    // cargo gives benches an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let done = match &args[..] {
        [option, cert] if option == SEQUOIA_A_LINE => sequoia_a_line(cert).map(|()| true),
        [option, recipient] if option == AGE_A_LINE => age_a_line(recipient).map(|()| true),
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

/// Measures everything and prints the tables. Whether every run went well.
fn bench(file: Option<&Path>) -> anyhow::Result<bool> {
    let (all, slow, reps) = (number("BENCH_LINES", 1_000_000)?, number("BENCH_SLOW_LINES", 20_000)?, number("REPS", 3)?);
    let place = Place::new()?;
    tell("programs: making keys and lines");
    let keys = Keys::new(&place)?;
    let (all, slow) = (Input::new(&place, "all.log", file, all)?, Input::new(&place, "slow.log", file, slow)?);
    let mut rows = rows(&place, &keys, &all, &slow)?;
    for rep in 1..=reps {
        for row in &mut rows {
            if let Ok(runs) = &mut row.runs {
                tell(&format!("programs: run {rep} of {reps}: {}", row.name));
                match (row.run)() {
                    Ok(run) => runs.push(run),
                    Err(error) => row.runs = Err(format!("{error:#}")),
                }
            }
        }
    }
    let mut text = format!(
        "{} lines, {:.1} bytes each ({} for what is marked *), medians of {reps} runs, files in {}\n\n",
        all.lines,
        all.bytes as f64 / all.lines as f64,
        slow.lines,
        place.path("").display()
    );
    table(&rows, &mut text);
    text.push('\n');
    goals(&rows, &mut text);
    io::stdout().write_all(text.as_bytes())?;
    Ok(rows.iter().all(|row| !matches!(&row.runs, Err(why) if why != NOT_BUILT)))
}

const NOT_BUILT: &str = "not built";

/// One program on one input.
struct Row<'a> {
    name: &'static str,
    input: &'a Input,
    run: Box<dyn Fn() -> anyhow::Result<Run> + 'a>,
    /// The runs so far, or why there are none.
    runs: Result<Vec<Run>, String>,
}

/// What one run took.
#[derive(Clone, Copy)]
struct Run {
    /// From start to exit, seconds.
    wall: f64,
    /// User and system time of the program and those it waited for, seconds.
    cpu: f64,
    /// Peak of resident memory in bytes.
    memory: u64,
    /// Bytes of its output beyond those of the plain text, where it stores the log.
    over: Option<i64>,
}

const SEAL_RFC9580: &str = "sealedlog seal, rfc9580";
const SEAL_RFC4880: &str = "sealedlog seal, rfc4880 *";
const SEAL_AGE: &str = "sealedlog seal, age *";
const SEQUOIA_RFC9580: &str = "Sequoia, a message a line, rfc9580 *";
const SEQUOIA_RFC4880: &str = "Sequoia, a message a line, rfc4880 *";
const AGE_CRATE: &str = "age crate, a file a line *";
const GPG_ENCRYPT: &str = "gpg -e -z0, one message";
const ROTATELOGS: &str = "rotatelogs, plain text";
const OPEN: &str = "sealedlog-audit open, rfc9580";
const VERIFY: &str = "sealedlog-audit verify, rfc9580";
const GPG_DECRYPT: &str = "gpg -d, one message";

/// All rows in the order in which they run: what is read back is what the same round has written.
fn rows<'a>(place: &'a Place, keys: &'a Keys, all: &'a Input, slow: &'a Input) -> anyhow::Result<Vec<Row<'a>>> {
    let me = std::env::current_exe()?;
    let sealed = place.path("sealed.pgp");
    let message = place.path("message.gpg");
    let mut rows = Vec::new();
    let mut row = |name, input, run: Box<dyn Fn() -> anyhow::Result<Run> + 'a>| {
        rows.push(Row { name, input, run, runs: Ok(Vec::new()) });
    };
    let seal = |key: &'a Path, input: &'a Input, out: PathBuf| {
        Box::new(move || {
            let (state, runtime) = (place.path("state"), place.path("run"));
            for old in [&state, &runtime] {
                let _ = fs::remove_dir_all(old);
            }
            let _ = fs::remove_file(&out);
            let mut command = Command::new(SEALEDLOG);
            command.arg("seal").arg("--keys").arg(key).arg("-o").arg(&out);
            command.arg("--state").arg(&state).arg("--runtime").arg(&runtime);
            measure(&mut command, &input.path, None)?.storing(&out, input)
        })
    };
    let redirected = |command: Box<dyn Fn() -> Command + 'a>, input: &'a Input, out: PathBuf| {
        Box::new(move || measure(&mut command(), &input.path, Some(&out))?.storing(&out, input))
    };
    let a_line = |option: &'static str, key: String| {
        let me = me.clone();
        Box::new(move || {
            let mut command = Command::new(&me);
            command.arg(option).arg(&key);
            command
        })
    };
    let path = |path: &Path| path.display().to_string();

    row(SEAL_RFC9580, all, seal(&keys.rfc9580, all, sealed.clone()));
    row(GPG_ENCRYPT, all, redirected(Box::new(|| keys.gpg_encrypt()), all, message.clone()));
    row(ROTATELOGS, all, rotatelogs(place, all));
    row(SEAL_RFC4880, slow, seal(&keys.rfc4880, slow, place.path("slow.pgp")));
    row(SEAL_AGE, slow, seal(&keys.age, slow, place.path("slow.age64")));
    let out = place.path("slow.out");
    row(SEQUOIA_RFC9580, slow, redirected(a_line(SEQUOIA_A_LINE, path(&keys.rfc9580)), slow, out.clone()));
    row(SEQUOIA_RFC4880, slow, redirected(a_line(SEQUOIA_A_LINE, path(&keys.rfc4880)), slow, out.clone()));
    row(AGE_CRATE, slow, redirected(a_line(AGE_A_LINE, keys.age_recipient.clone()), slow, out));

    let audit = Path::new(SEALEDLOG).with_file_name("sealedlog-audit");
    let open = {
        let (audit, sealed) = (audit.clone(), sealed.clone());
        let command = move || {
            let mut command = Command::new(&audit);
            command.arg("open").arg(&sealed).arg("--key").arg(&keys.rfc9580_secret);
            command
        };
        reading_back(Box::new(command), place.path("plain"), all)
    };
    let verify = {
        let (audit, report) = (audit.clone(), place.path("report"));
        Box::new(move || {
            let mut command = Command::new(&audit);
            command.arg("verify").arg(&sealed).arg("--key").arg(&keys.rfc9580_secret).arg("--trust-first");
            measure(&mut command, Path::new("/dev/null"), Some(&report))
        })
    };
    let gpg_decrypt = {
        let command = move || {
            let mut command = keys.gpg.command();
            command.arg("-d").arg(&message);
            command
        };
        reading_back(Box::new(command), place.path("plain"), all)
    };
    row(OPEN, all, open);
    row(VERIFY, all, verify);
    row(GPG_DECRYPT, all, gpg_decrypt);
    for row in &mut rows {
        let subcommand = match row.name {
            OPEN => "open",
            VERIFY => "verify",
            _ => continue,
        };
        if !has_subcommand(&audit, subcommand) {
            row.runs = Err(NOT_BUILT.to_owned());
        }
    }
    Ok(rows)
}

fn rotatelogs<'a>(place: &'a Place, input: &'a Input) -> Box<dyn Fn() -> anyhow::Result<Run> + 'a> {
    Box::new(move || {
        let folder = place.path("rotatelogs");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        let mut command = Command::new("rotatelogs");
        // Names its file after the time, so it is the only one in the folder.
        command.arg(folder.join("log")).arg("86400");
        let run = measure(&mut command, &input.path, None)?;
        let out = fs::read_dir(&folder)?.next().context("rotatelogs made no file")??.path();
        run.storing(&out, input)
    })
}

fn reading_back<'a>(
    command: Box<dyn Fn() -> Command + 'a>,
    out: PathBuf,
    input: &'a Input,
) -> Box<dyn Fn() -> anyhow::Result<Run> + 'a> {
    Box::new(move || {
        let run = measure(&mut command(), Path::new("/dev/null"), Some(&out))?;
        ensure!(same_content(&out, &input.path)?, "what came back is not what was sealed");
        fs::remove_file(&out)?;
        Ok(run)
    })
}

impl Run {
    /// With what `out` has more than `input`. The file is brought to the disk, at nobody's cost.
    fn storing(self, out: &Path, input: &Input) -> anyhow::Result<Self> {
        let file = File::open(out)?;
        file.sync_all()?;
        let over = i64::try_from(file.metadata()?.len())? - i64::try_from(input.bytes)?;
        ensure!(over >= 0, "the output is {} bytes shorter than the lines", -over);
        Ok(Self { over: Some(over), ..self })
    }
}

/// Runs a program to its end, which must be a good one.
fn measure(command: &mut Command, input: &Path, out: Option<&Path>) -> anyhow::Result<Run> {
    let name = Path::new(command.get_program()).display().to_string();
    let file = File::open(input).with_context(|| format!("cannot read {}", input.display()))?;
    command.stdin(file).stderr(Stdio::piped());
    match out {
        Some(out) => command.stdout(File::create(out)?),
        None => command.stdout(Stdio::null()),
    };
    let before = cpu_of_children()?;
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    let mut stderr = child.stderr.take().expect("standard error is piped");
    let (end, ended) = mpsc::channel::<()>();
    let (status, wall, memory, told) = thread::scope(|scope| {
        let pid = child.id();
        let sampler = scope.spawn(move || peak_memory(pid, &ended));
        let told = scope.spawn(move || {
            let mut told = String::new();
            let _ = stderr.read_to_string(&mut told);
            told
        });
        let status = child.wait();
        let wall = start.elapsed().as_secs_f64();
        drop(end);
        let memory = sampler.join().expect("the sampler does not panic");
        (status, wall, memory, told.join().expect("reading does not panic"))
    });
    let status = status?;
    if !status.success() {
        bail!("{name}: {status}: {}", told.trim().lines().next().unwrap_or(""));
    }
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

fn has_subcommand(program: &Path, subcommand: &str) -> bool {
    let mut command = Command::new(program);
    command.args([subcommand, "--help"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
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

/// The folder of everything here, removed at the end.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> io::Result<Self> {
        // A short name: the socket of gpg's agent is in it.
        tempfile::Builder::new().prefix("sl-bench-").tempdir().map(Self)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The lines, in a file.
struct Input {
    path: PathBuf,
    lines: u64,
    bytes: u64,
}

impl Input {
    /// `count` made-up lines, or those of `file`, again and again, each with its number.
    fn new(place: &Place, name: &str, file: Option<&Path>, count: u64) -> anyhow::Result<Self> {
        let path = place.path(name);
        let mut out = BufWriter::new(File::create(&path)?);
        let Some(file) = file else {
            for line in lines::Lines::new(SEED).take(usize::try_from(count)?) {
                out.write_all(&line)?;
            }
            return Self::done(path, out, count);
        };
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(!content.is_empty(), "{} is empty", file.display());
        for (number, line) in (1..=count).zip(content.split_inclusive(|&byte| byte == b'\n').cycle()) {
            out.write_all(line.strip_suffix(b"\n").unwrap_or(line))?;
            writeln!(out, " {number}")?;
        }
        Self::done(path, out, count)
    }

    fn done(path: PathBuf, out: BufWriter<File>, lines: u64) -> anyhow::Result<Self> {
        let file = out.into_inner().context("cannot write the lines")?;
        file.sync_all()?;
        Ok(Self { path, lines, bytes: file.metadata()?.len() })
    }
}

/// Keys as people have them, made by the programs and libraries that they make them with.
struct Keys {
    rfc9580: PathBuf,
    rfc9580_secret: PathBuf,
    rfc4880: PathBuf,
    age: PathBuf,
    age_recipient: String,
    gpg: Gpg,
}

const USER: &str = "Audit <audit@example.org>";

impl Keys {
    fn new(place: &Place) -> anyhow::Result<Self> {
        // Their folder is watched for changes, and what is written here is none.
        let folder = place.path("keys");
        fs::create_dir(&folder)?;
        let write = |name: &str, content: &[u8]| -> io::Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, content)?;
            Ok(path)
        };
        let (cert, _) = CertBuilder::new()
            .set_profile(openpgp::Profile::RFC9580)?
            .set_cipher_suite(CipherSuite::Cv25519)
            .add_userid(USER)
            .add_storage_encryption_subkey()
            .generate()?;
        let gpg = Gpg::new(place.path("gnupg"))?;
        let rfc4880 = output(gpg.command().args(["--export", USER]))?;
        let identity = age::x25519::Identity::generate();
        let age_recipient = identity.to_public().to_string();
        Ok(Self {
            rfc9580: write("rfc9580.asc", &cert.armored().to_vec()?)?,
            rfc9580_secret: write("rfc9580.secret.asc", &cert.as_tsk().armored().to_vec()?)?,
            rfc4880: write("rfc4880.pgp", &rfc4880)?,
            age: write("audit.age", age_recipient.as_bytes())?,
            age_recipient,
            gpg,
        })
    }

    fn gpg_encrypt(&self) -> Command {
        let mut command = self.gpg.command();
        command.args(["-e", "-z0", "--trust-model", "always", "-r", USER]);
        command
    }
}

/// GnuPG with one key, Ed25519 and Cv25519, in a home of its own.
struct Gpg(PathBuf);

impl Gpg {
    fn new(home: PathBuf) -> anyhow::Result<Self> {
        DirBuilder::new().mode(0o700).create(&home)?;
        let gpg = Self(home);
        output(gpg.command().args(["--passphrase", "", "--quick-generate-key", USER, "future-default", "default", "never"]))?;
        Ok(gpg)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&self.0).args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback"]);
        command
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // Its agent would stay for good.
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.0).args(["--kill", "all"]).status();
    }
}

fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    ensure!(output.status.success(), "{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

/// What Sequoia's documentation gives for encrypting, once a line: standard input to standard output.
fn sequoia_a_line(cert: &str) -> anyhow::Result<()> {
    let (policy, cert) = (StandardPolicy::new(), Cert::from_file(cert)?);
    let keys: Vec<_> =
        cert.keys().with_policy(&policy, None).supported().alive().revoked(false).for_storage_encryption().collect();
    each_line(|line, out| {
        let message = Encryptor::for_recipients(Message::new(out), keys.iter().cloned()).build()?;
        let mut literal = LiteralWriter::new(message).build()?;
        literal.write_all(line)?;
        literal.finalize()
    })
}

/// What the age crate's documentation gives for encrypting, once a line: standard input to standard output.
fn age_a_line(recipient: &str) -> anyhow::Result<()> {
    let recipient: age::x25519::Recipient = recipient.parse().map_err(anyhow::Error::msg)?;
    each_line(|line, out| {
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))?;
        let mut payload = encryptor.wrap_output(out)?;
        payload.write_all(line)?;
        payload.finish()?;
        Ok(())
    })
}

fn each_line(mut write: impl FnMut(&[u8], &mut (dyn Write + Send + Sync)) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (mut input, mut out) = (io::stdin().lock(), BufWriter::new(io::stdout()));
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        write(&line, &mut out)?;
        line.clear();
    }
    Ok(out.flush()?)
}

fn table(rows: &[Row<'_>], text: &mut String) {
    let head = format!("{:<38}{:>12}{:>24}{:>12}{:>12}{:>10}", "", "lines/s", "from - to", "CPU s / M", "bytes over", "peak MiB");
    let _ = writeln!(text, "{head}\n{}", "-".repeat(head.len()));
    for row in rows {
        let _ = match &row.runs {
            Ok(runs) => {
                let speeds: Vec<f64> = runs.iter().map(|run| row.input.lines as f64 / run.wall).collect();
                let (least, most) = speeds.iter().fold((f64::MAX, 0.0f64), |(a, b), &speed| (a.min(speed), b.max(speed)));
                let over = row.over().map_or("-".to_owned(), |over| format!("{over:.1}"));
                let (range, memory) = (format!("{least:.0} - {most:.0}"), row.memory().unwrap_or(0.0));
                let (speed, cpu) = (row.speed().unwrap_or(0.0), row.median(|run| run.cpu).unwrap_or(0.0));
                let cpu = cpu / row.input.lines as f64 * 1e6;
                writeln!(text, "{:<38}{speed:>12.0}{range:>24}{cpu:>12.2}{over:>12}{memory:>10.1}", row.name)
            }
            Err(why) => writeln!(text, "{:<38}{why}", row.name),
        };
    }
}

impl Row<'_> {
    fn median(&self, of: impl Fn(&Run) -> f64) -> Option<f64> {
        let mut values: Vec<f64> = self.runs.as_ref().ok()?.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = *values.get(values.len() / 2)?;
        Some(if values.len() % 2 == 1 { middle } else { (middle + values[values.len() / 2 - 1]) / 2.0 })
    }

    /// Lines a second.
    fn speed(&self) -> Option<f64> {
        self.median(|run| self.input.lines as f64 / run.wall)
    }

    /// Bytes a line over the plain text.
    fn over(&self) -> Option<f64> {
        let over = self.runs.as_ref().ok()?.first()?.over?;
        Some(over as f64 / self.input.lines as f64)
    }

    /// Peak memory in MiB.
    fn memory(&self) -> Option<f64> {
        self.median(|run| run.memory as f64 / 1048576.0)
    }
}

/// The goals, each with what was reached, and what else is good to compare.
fn goals(rows: &[Row<'_>], text: &mut String) {
    let row = |name: &str| rows.iter().find(|row| row.name == name);
    let times = |one, other| Some(row(one)?.speed()? / row(other)?.speed()?);
    let peaks = [SEAL_RFC9580, SEAL_RFC4880, SEAL_AGE].map(|name| row(name).and_then(Row::memory));
    let peak = peaks.into_iter().reduce(|one, other| Some(one?.max(other?))).flatten();
    let over = row(SEAL_RFC9580).and_then(Row::over);
    for (what, reached, words, met, goal) in [
        (
            "rfc9580: times Sequoia a line",
            times(SEAL_RFC9580, SEQUOIA_RFC9580),
            "at least",
            f64::ge as fn(&f64, &f64) -> bool,
            100.0,
        ),
        ("rfc9580: bytes a line over the plain text, one X25519 recipient", over, "at most", f64::le, 192.0),
        ("seal: peak memory in MiB, the highest profile", peak, "under", f64::lt, 24.0),
    ] {
        let (reached, verdict) = match reached {
            Some(value) => (format!("{value:.1}"), if met(&value, &goal) { "met" } else { "MISSED" }),
            None => ("-".to_owned(), "not measured"),
        };
        let _ = writeln!(text, "{what:<68}{reached:>9}   {words} {goal}: {verdict}");
    }
    for (what, one, other) in [
        ("rfc9580: times gpg's one message", SEAL_RFC9580, GPG_ENCRYPT),
        ("rfc9580: times rotatelogs", SEAL_RFC9580, ROTATELOGS),
        ("rfc4880: times Sequoia a line", SEAL_RFC4880, SEQUOIA_RFC4880),
        ("age: times the age crate a line", SEAL_AGE, AGE_CRATE),
        ("open: times gpg -d", OPEN, GPG_DECRYPT),
        ("verify: times gpg -d", VERIFY, GPG_DECRYPT),
    ] {
        let reached = times(one, other).map_or("-".to_owned(), |times| format!("{times:.2}"));
        let _ = writeln!(text, "{what:<68}{reached:>9}");
    }
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().ok().filter(|&n| n > 0).with_context(|| format!("{name}={text} is no count")),
        Err(_) => Ok(default),
    }
}

fn tell(line: &str) {
    // Where standard error is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{line}");
}
