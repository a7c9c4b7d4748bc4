//! A filter under strace that lets one system call fail, and the oracle that knows what may be true afterwards.
//!
//! A run is a [`Scenario`]: lines on a FIFO, a moved file, a changed key. After it the filter is started once more, as its
//! daemon would, and seals one more line; then the auditor opens and verifies what is there. [`Bench::judge`] holds that
//! against what strace saw and what the filter told.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use sealedlog::control::{Event, GenesisFingerprint};
use sealedlog::stream::state::folder_name;
use tempfile::TempDir;

use super::keys;
use super::sealed::{Log, Place, SOON, names, seal_all};
use super::strace::{Call, Target, parse};
use super::tools::{tool, wait_for};

/// What is traced: all that touches files, waits, makes threads or takes memory. Not close(2): it closes whatever it returns,
/// but not where it is not made.
const CALLS: &str = "openat,read,write,pread64,pwrite64,fdatasync,fsync,flock,ftruncate,fallocate,rename,renameat,renameat2,\
unlink,unlinkat,statx,newfstatat,mkdir,mmap,mlock,madvise,ioctl,getrandom,clone3,clone,ppoll,pipe2,eventfd2,epoll_create1,\
epoll_ctl,epoll_wait,inotify_init1,inotify_add_watch,fcntl,fchown,getdents64,access,readlink,link,prctl";
/// How long a step may take that waits for the filter; one that cannot write tries again after a second.
const STEP: Duration = Duration::from_secs(4);

/// What is done to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is not made, and returns this error.
    Error(&'static str),
    /// The process is killed in its place.
    Kill,
}

impl Fault {
    /// All that are injected.
    pub const ALL: [Fault; 4] = [Fault::Error("EIO"), Fault::Error("ENOSPC"), Fault::Error("EINTR"), Fault::Kill];
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Error(name) => write!(f, "error={name}"),
            Fault::Kill => write!(f, "signal=KILL"),
        }
    }
}

/// One thing that happens to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many lines come, and are read.
    Lines(usize),
    /// The file is moved away, and SIGHUP sent.
    Move,
    /// The key is replaced by another one.
    Key,
    /// Time passes, so that a file has another name.
    Second,
    /// strace begins here, so that threads that are made later are the first to make their calls.
    Attach,
    /// SIGTERM comes instead of the end of input.
    Terminate,
}

/// A run of a filter.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// `sealedlog-apache` with these words; none: `sealedlog seal`.
    pub apache: &'static [&'static str],
    /// A run came before, so that the stream is there.
    pub begun: bool,
    /// Calls before this read of standard input are those of another scenario; 0: all.
    pub from_read: usize,
    /// What happens.
    pub steps: &'static [Step],
}

/// The scenarios, which together make every call that a filter makes.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "begin", apache: &[], begun: false, from_read: 0, steps: &[Step::Lines(3)] },
    Scenario {
        name: "append",
        apache: &[],
        begun: true,
        from_read: 1,
        steps: &[Step::Lines(3), Step::Lines(40), Step::Lines(40)],
    },
    Scenario { name: "reopen", apache: &[], begun: true, from_read: 2, steps: &[Step::Lines(3), Step::Move, Step::Lines(3)] },
    Scenario { name: "keys", apache: &[], begun: true, from_read: 2, steps: &[Step::Lines(3), Step::Key, Step::Lines(3)] },
    Scenario {
        name: "ahead",
        apache: &[],
        begun: true,
        from_read: 0,
        steps: &[Step::Lines(20), Step::Attach, Step::Lines(20), Step::Lines(40), Step::Terminate],
    },
    Scenario {
        name: "size",
        apache: &["--when-full", "block", "x.%H%M%S.log", "2K"],
        begun: true,
        from_read: 1,
        steps: &[Step::Lines(12), Step::Second, Step::Lines(3)],
    },
    Scenario { name: "drop", apache: &["x.log"], begun: false, from_read: 1, steps: &[Step::Lines(3), Step::Lines(40)] },
];

/// A scenario with its folders, made anew from a copy before each run.
pub struct Bench {
    scenario: Scenario,
    place: Place,
    template: TempDir,
    /// The stream of the run before.
    stream: Option<String>,
    genesis: Option<GenesisFingerprint>,
    count: usize,
}

/// What came of a run.
pub struct Run {
    /// What strace was told.
    pub command: String,
    /// What it saw.
    pub calls: Vec<Call>,
    /// How the filter ended; `None` if it did not.
    status: Option<ExitStatus>,
    stderr: String,
    /// Lines that were offered.
    fed: Vec<String>,
    /// Bytes that were read before strace came.
    unseen: usize,
    fault: Option<(Target, Fault)>,
}

impl Run {
    /// Whether the fault fell.
    pub fn was_hit(&self) -> bool {
        match &self.fault {
            Some((_, Fault::Kill)) => self.status.is_some_and(|status| status.signal() == Some(9)),
            _ => self.calls.iter().any(|call| call.injected),
        }
    }

    /// What the filter and strace were told and told, in a line each.
    pub fn told(&self) -> String {
        format!("{:?} {}\n  {}", self.status, self.stderr.lines().take(6).collect::<Vec<_>>().join("\n  "), self.command)
    }

    /// Bytes that were read, and those of them that were answered for: by the next read, or by an end that says so.
    fn read(&self, input: &Path) -> (usize, usize) {
        let reads: Vec<_> = self.calls.iter().filter(|call| call.name == "read" && call.path.as_deref() == Some(input)).collect();
        let bytes =
            |calls: &[&Call]| self.unseen + calls.iter().filter_map(|call| usize::try_from(call.result?).ok()).sum::<usize>();
        let all = bytes(&reads);
        let killed = self.status.is_none_or(|status| status.code().is_none());
        let answered = if killed { bytes(&reads[..reads.len().saturating_sub(1)]) } else { all };
        (all, answered)
    }
}

impl Bench {
    /// With the run before, if the scenario has one.
    pub fn new(scenario: Scenario) -> Bench {
        let place = Place::new(&[&keys::sequoia_v6().public]);
        mkfifo(&place.path("in"), Mode::S_IRWXU).expect("own folder");
        let template = tempfile::tempdir().expect("a temporary folder can be made");
        let mut bench = Bench { scenario, place, template, stream: None, genesis: None, count: 0 };
        if scenario.begun {
            assert!(seal_all(&mut bench.command(), b"before\n").status.success());
            let state = fs::read(bench.path("state/FOLDER/state")).expect("it was made");
            bench.stream = Some(state[24..40].iter().map(|byte| format!("{byte:02x}")).collect());
            bench.genesis = bench.first_genesis();
        }
        for folder in FOLDERS {
            copy(&bench.place.path(folder), &bench.template.path().join(folder));
        }
        bench
    }

    fn command(&self) -> Command {
        if self.scenario.apache.is_empty() {
            return self.place.seal_to("x.log");
        }
        let mut command = self.place.apache();
        command.args(self.scenario.apache);
        command
    }

    /// The calls that can be let fail, as one run makes them.
    pub fn targets(&mut self) -> BTreeSet<Target> {
        let run = self.run(None);
        let untrue = self.judge(&run);
        assert!(untrue.is_empty(), "{}: without a fault: {untrue:?}", self.scenario.name);
        let input = self.place.path("in");
        let is_input = |call: &Call| call.name == "read" && call.path.as_ref() == Some(&input);
        let began = run.calls.iter().position(|call| call.arguments.starts_with("PR_SET_DUMPABLE")).unwrap_or(0);
        let from = match self.scenario.from_read {
            0 => began,
            read => run.calls.iter().enumerate().filter(|(_, call)| is_input(call)).nth(read - 1).expect("it reads").0,
        };
        let mut targets = Target::all(&run.calls, from, |path| self.role(path));
        // What the system's own libraries open, how a thread is called; the standard library ends a program where a hash
        // table has no randomness, which does not come to pass, or a thread no memory for its second stack.
        let first = run.calls[0].thread;
        let foreign = |call: &&Call| {
            let stack = call.name == "mmap" && call.thread != first && call.arguments.contains("MAP_STACK");
            let foreign = call.path.as_ref().is_some_and(|path| path.starts_with("/usr") || path.starts_with("/etc"));
            call.name == "prctl" || foreign || stack || call.arguments.contains("GRND_INSECURE")
        };
        let foreign: Vec<Call> = run.calls.iter().filter(foreign).cloned().collect();
        let count = |call: &Call| {
            let before = run.calls.iter().take_while(|other| *other != call);
            1 + before.filter(|other| (other.thread, &other.name) == (call.thread, &call.name)).count()
        };
        for call in &foreign {
            targets.remove(&Target { name: call.name.clone(), path: None, when: count(call) });
        }
        targets
    }

    /// A path's name that is the same in every run of this scenario.
    fn role(&self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(self.place.path("")).ok()?.to_str()?;
        let told = match below.split_once("progress-") {
            Some((_, of)) => Some(of.split('-').next()?) == self.stream.as_deref(),
            None => !self.template().contains('%') || !below.starts_with("log/"),
        };
        let below = below.replace(&self.folder(), FOLDER);
        told.then(|| self.stream.as_ref().map_or(below.clone(), |stream| below.replace(stream, STREAM)))
    }

    /// The path that has this name in this place.
    fn path(&self, role: &str) -> PathBuf {
        let below = role.replace(FOLDER, &self.folder());
        self.place.path(&self.stream.as_ref().map_or(below.clone(), |stream| below.replace(STREAM, stream)))
    }

    fn template(&self) -> &str {
        self.scenario.apache.iter().find(|word| word.starts_with("x.")).copied().unwrap_or("x.log")
    }

    /// The log's folder in the state and the runtime directory.
    fn folder(&self) -> String {
        folder_name(&self.place.path("log"), self.template())
    }

    /// Runs the scenario, with a fault in it.
    pub fn run(&mut self, fault: Option<(Target, Fault)>) -> Run {
        for folder in FOLDERS {
            let there = self.place.path(folder);
            fs::remove_dir_all(&there).expect("own folder");
            copy(&self.template.path().join(folder), &there);
        }
        let trace = self.place.path("trace");
        let _ = fs::remove_file(&trace);
        let mut strace = tool("strace");
        strace.args(["-f", "-y", "-qq", "-o"]).arg(&trace).args(["-e", &format!("trace={CALLS}")]);
        if let Some((target, fault)) = &fault {
            if let Some(path) = &target.path {
                strace.arg("-P").arg(self.path(path)).arg("-P").arg(self.place.path("in"));
            }
            strace.arg("-e").arg(format!("inject={}:{fault}:when={}", target.name, target.when));
        }
        self.count += 1;
        Drive::new(self, strace, fault).finish()
    }

    /// What is not as it must be after a run, each in a sentence.
    pub fn judge(&mut self, run: &Run) -> Vec<String> {
        let mut untrue = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                untrue.push(what);
            }
        };
        let Some(status) = run.status else { return vec!["it does not end".to_owned()] };
        let killed = status.signal() == Some(9) && matches!(run.fault, Some((_, Fault::Kill)));
        check(killed || matches!(status.code(), Some(0 | 2)), format!("it ended with {status}"));
        // The watcher of the key folder panics where it has no thread, which is caught.
        let own = run.stderr.lines().filter(|line| line.contains("panicked at") && !line.contains("/notify-"));
        check(own.count() == 0, "it panicked".to_owned());
        if status.code() == Some(2) {
            let explained = run.stderr.contains(": error: ") && run.stderr.contains(": hint: ");
            check(explained, "it failed and did not say why".to_owned());
        }
        let input = self.place.path("in");
        let (read, answered) = run.read(&input);
        let fed = run.fed.concat();
        if status.code() == Some(0) {
            check(read == fed.len() && !run.stderr.contains("error:"), "it ended well before the end of input".to_owned());
        } else if !killed {
            let may = read == 0 || run.stderr.contains("cannot read the input");
            check(may, "it gave up in the middle".to_owned());
        }
        if let Some((target, Fault::Error("EINTR"))) = &run.fault {
            let restarts = ["write", "openat", "flock", "fdatasync", "fsync", "pread64", "pwrite64"];
            // A folder is opened by the C library, which does not try again; no handler interrupts it.
            let on_file = target.path.as_ref().is_some_and(|path| !self.path(path).is_dir());
            let on_file = on_file && restarts.contains(&&target.name[..]);
            let quiet = status.success() && run.stderr.is_empty();
            check(quiet || !on_file && target.name != "ppoll", "an interrupted call was not made again".to_owned());
        }
        // Its daemon starts it again.
        let again = seal_all(&mut self.command(), b"after\n");
        check(again.status.success() && again.stderr.is_empty(), format!("the next run: {again:?}"));
        let files: Vec<PathBuf> = names(&self.place.path("log")).iter().map(|name| self.place.path("log").join(name)).collect();
        let log = match std::panic::catch_unwind(|| {
            let log = Log::open(&files, &[&keys::sequoia_v6().secret, &keys::rpgp_v6().secret]);
            log.epochs();
            log
        }) {
            Ok(log) => log,
            Err(panic) => {
                let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                untrue.push(format!("what is there cannot be put in its place: {why}"));
                return untrue;
            }
        };
        let (before, after) = (if self.scenario.begun { "before\n" } else { "" }, "after\n");
        let stands_in = log.events().any(|event| matches!(event, Event::Genesis(genesis) if !genesis.state));
        // Who was killed while the keys changed could not name the next stream.
        let unlinked = killed && self.scenario.steps.contains(&Step::Key);
        // A stream that stood in to the end is not believed without its own fingerprint, so `open` leaves it out.
        let ordered = match stands_in || unlinked {
            true => String::from_utf8(log.text()).expect("tests use ASCII"),
            false => self.audit(&["open"], &files),
        };
        let text = ordered.strip_prefix(before).and_then(|text| text.strip_suffix(after));
        let gaps: Vec<_> = log.events().filter_map(|event| if let Event::Gap(gap) = event { Some(gap) } else { None }).collect();
        match text {
            None => check(false, format!("the runs before and after are not where they were: {ordered:?}")),
            Some(text) if gaps.is_empty() => {
                check(fed.starts_with(text), format!("other lines than came: {text:?}"));
                check(
                    text.len() >= answered,
                    format!("{answered} bytes were read before the next read, {} are there", text.len()),
                );
            }
            Some(text) => {
                check(self.may_drop(), "lines were dropped".to_owned());
                let dropped: u64 = gaps.iter().map(|gap| gap.lines).sum();
                let bytes: u64 = gaps.iter().map(|gap| gap.bytes).sum();
                let there: BTreeSet<&str> = text.split_inclusive('\n').collect();
                let missing: Vec<_> = run.fed.iter().filter(|line| !there.contains(&line[..])).collect();
                let lost = missing.iter().map(|line| line.len() as u64).sum::<u64>();
                check(
                    killed || (dropped, bytes) == (missing.len() as u64, lost),
                    format!("{gaps:?}, but {missing:?} are missing"),
                );
            }
        }
        let told = |what: &str| run.stderr.contains(what);
        let told_stand_in = told("goes on in a stream of its own");
        check(killed || stands_in == told_stand_in, format!("a stream that stands in: {stands_in}, told: {told_stand_in}"));
        let progress_failed = told("cannot store progress") || told("cannot bring the log to the disk");
        for finding in self.verify(&files) {
            let explained = match finding.kind.as_str() {
                "recipients" => self.scenario.steps.contains(&Step::Key),
                "gap" => !gaps.is_empty(),
                "ephemeral" => stands_in,
                "unanchored" => stands_in || unlinked,
                "unproven" => stands_in || progress_failed,
                _ => false,
            };
            check(explained, format!("verify says {}: {}", finding.kind, finding.text));
        }
        untrue
    }

    fn may_drop(&self) -> bool {
        self.scenario.name == "drop"
    }

    fn first_genesis(&self) -> Option<GenesisFingerprint> {
        let files = names(&self.place.path("log"));
        let content = fs::read(self.place.path("log").join(files.first()?)).expect("readable");
        let first = sealedlog::record::openpgp::Message::parse(&content).ok()?;
        Some(GenesisFingerprint::of(&content[..first.len]))
    }

    fn audit(&self, words: &[&str], files: &[PathBuf]) -> String {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
        program.args(words).args(files).arg("--key").arg(&keys::sequoia_v6().secret).arg("--key").arg(&keys::rpgp_v6().secret);
        if let Some(genesis) = self.genesis.or_else(|| self.first_genesis()) {
            program.args(["--genesis", &genesis.to_string()]);
        }
        let output = program.output().expect("our programs can be run");
        assert!(matches!(output.status.code(), Some(0 | 1)), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("tests use ASCII")
    }

    fn verify(&self, files: &[PathBuf]) -> Vec<Finding> {
        let said = self.audit(&["verify", "--json"], files);
        let said = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        said.filter(|finding| finding.get("finding").is_some())
            .map(|finding| Finding {
                kind: finding["finding"].as_str().expect("a name").to_owned(),
                text: finding["message"].as_str().unwrap_or_default().to_owned(),
            })
            .collect()
    }

    /// Keeps the folders, for somebody to look at.
    pub fn keep(&self, to: &Path) {
        for folder in FOLDERS {
            copy(&self.place.path(folder), &to.join(folder));
        }
        let _ = fs::copy(self.place.path("trace"), to.join("trace"));
    }
}

struct Finding {
    kind: String,
    text: String,
}

/// What the log's folder and the first stream are called in the name of a path.
const FOLDER: &str = "FOLDER";
const STREAM: &str = "STREAM";

const FOLDERS: [&str; 4] = ["keys.d", "log", "state", "run"];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("own folder");
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("own files");
        }
    }
}

/// A run that is under way.
struct Drive<'a> {
    bench: &'a Bench,
    strace: Command,
    fault: Option<(Target, Fault)>,
    filter: Option<Child>,
    tracer: Option<Child>,
    status: Option<ExitStatus>,
    input: Option<File>,
    stderr: tempfile::NamedTempFile,
    fed: Vec<String>,
    unseen: usize,
    command: String,
}

impl<'a> Drive<'a> {
    fn new(bench: &'a Bench, strace: Command, fault: Option<(Target, Fault)>) -> Self {
        let fifo = bench.place.path("in");
        // Else opening one end would wait for the other.
        let both = OpenOptions::new().read(true).write(true).open(&fifo).expect("own file");
        let output = File::open(&fifo).expect("own file");
        let input = OpenOptions::new().write(true).open(&fifo).expect("own file");
        drop(both);
        let stderr = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let mut drive = Drive {
            bench,
            strace,
            fault,
            filter: None,
            tracer: None,
            status: None,
            input: Some(input),
            stderr,
            fed: Vec::new(),
            unseen: 0,
            command: String::new(),
        };
        let filter = bench.command();
        let mut command = if drive.bench.scenario.steps.contains(&Step::Attach) {
            filter
        } else {
            drive.strace.arg(filter.get_program()).args(filter.get_args());
            std::mem::replace(&mut drive.strace, tool("strace"))
        };
        command.current_dir(bench.place.path("log")).env("TZ", "UTC").stdin(output).stdout(Stdio::null());
        command.stderr(drive.stderr.reopen().expect("own file"));
        drive.command = format!("{command:?}");
        drive.filter = Some(command.spawn().expect("strace can be run"));
        drive
    }

    fn finish(mut self) -> Run {
        for step in self.bench.scenario.steps {
            if !self.ended() {
                self.step(*step);
            }
        }
        self.input = None;
        let limit = SOON;
        wait_for(limit, || self.ended());
        if self.status.is_none() {
            // By its id: strace would leave it behind.
            self.signal(Signal::SIGKILL);
            let _ = self.filter.as_mut().map(|filter| (filter.kill(), filter.wait()));
        }
        if let Some(mut tracer) = self.tracer.take() {
            wait_for(STEP, || tracer.try_wait().expect("own child").is_some());
            let _ = (tracer.kill(), tracer.wait());
        }
        let told = fs::read_to_string(self.stderr.path()).expect("readable");
        let stderr = told.lines().filter(|line| !line.starts_with("strace: ")).map(|line| format!("{line}\n")).collect();
        let (status, calls) = (self.status, self.calls());
        let Drive { fault, fed, unseen, command, .. } = self;
        Run { command, calls, status, stderr, fed, unseen, fault }
    }

    fn ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.filter.as_mut().expect("it was started").try_wait().expect("own child");
        }
        self.status.is_some()
    }

    fn calls(&self) -> Vec<Call> {
        fs::read(self.bench.place.path("trace")).map(|trace| parse(&String::from_utf8_lossy(&trace))).unwrap_or_default()
    }

    /// The filter's own id, once it is known.
    fn pid(&self) -> Option<u32> {
        match self.bench.scenario.steps.contains(&Step::Attach) {
            true => self.filter.as_ref().map(Child::id),
            false => self.calls().first().map(|call| call.thread),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill(Pid::from_raw(pid as i32), signal);
        }
    }

    fn step(&mut self, step: Step) {
        let log = self.bench.place.path("log");
        match step {
            Step::Lines(count) => {
                let first = self.fed.len();
                self.fed.extend((first..first + count).map(|number| format!("line {number:04} {}\n", "x".repeat(60))));
                let text = self.fed[first..].concat();
                // It may be gone.
                let _ = self.input.as_mut().expect("still open").write_all(text.as_bytes());
                if self.tracer.is_none() && self.bench.scenario.steps.contains(&Step::Attach) {
                    let file = log.join("x.log.pgp");
                    let length = || fs::metadata(&file).map_or(0, |metadata| metadata.len());
                    // Each record is longer than its line.
                    wait_for(STEP, || length() > 2 * self.fed.concat().len() as u64);
                    self.unseen += text.len();
                    return;
                }
                let (all, input) = (self.fed.concat().len(), self.bench.place.path("in"));
                wait_for(STEP, || {
                    let calls = self.calls();
                    let read = calls.iter().filter(|call| call.name == "read" && call.path.as_ref() == Some(&input));
                    let bytes: usize = read.filter_map(|call| usize::try_from(call.result?).ok()).sum();
                    bytes + self.unseen >= all || self.ended()
                });
            }
            Step::Move => {
                let _ = fs::rename(log.join("x.log.pgp"), log.join("x.log.1.pgp"));
                self.signal(Signal::SIGHUP);
                wait_for(STEP, || log.join("x.log.pgp").exists() || self.ended());
            }
            Step::Key => {
                let stream = || {
                    let state = self.bench.place.path("state");
                    let folder = state.join(names(&state).first().map_or("", |name| &name[..]));
                    fs::read(folder.join("state")).ok().map(|state| state[24..40].to_vec())
                };
                let before = stream();
                self.bench.place.add_key(&keys::rpgp_v6().public);
                let old = keys::sequoia_v6().public.file_name().expect("it has one");
                fs::remove_file(self.bench.place.path("keys.d").join(old)).expect("own file");
                wait_for(STEP / 2, || stream() != before || self.filter.is_none());
            }
            Step::Second => sleep(Duration::from_millis(1100)),
            Step::Attach => {
                let pid = self.filter.as_ref().expect("it was started").id();
                let trace = self.bench.place.path("trace");
                self.strace.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
                self.strace.stderr(Stdio::null());
                self.command = format!("{:?}", self.strace);
                self.tracer = Some(self.strace.spawn().expect("strace can be run"));
                // Its tracer's id stands there once it is attached.
                let status = format!("/proc/{pid}/status");
                let attached = || fs::read_to_string(&status).is_ok_and(|status| !status.contains("TracerPid:\t0\n"));
                wait_for(STEP, || attached() && trace.exists());
                sleep(Duration::from_millis(50));
            }
            Step::Terminate => self.signal(Signal::SIGTERM),
        }
    }
}
