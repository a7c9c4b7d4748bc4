//! A filter under strace that lets one system call fail, and the oracle that knows what may be true afterwards.
//!
//! A run is a [`Scenario`]: lines on a FIFO, a moved file, a changed key. After it the filter is started once more, as its
//! daemon would, and seals one more line into each log; then the auditor opens and verifies what is there. [`Bench::judge`]
//! holds that against what strace saw, what the filter told, and what it answered.

mod drive;
mod exchange;

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sealedlog::control::{Event, GenesisFingerprint};
use sealedlog::stream::state::folder_name;
use tempfile::TempDir;

use self::drive::Drive;
use self::exchange::Exchange;
use super::keys;
use super::sealed::{Log, Place, Running, names};
use super::strace::{Call, Target};
use super::tools::tool;

/// What is traced: all that touches files, waits, makes threads or takes memory. Not close(2): it closes whatever it returns,
/// but not where it is not made.
const CALLS: &str = "openat,read,write,pread64,pwrite64,fdatasync,fsync,flock,ftruncate,fallocate,rename,renameat,renameat2,\
unlink,unlinkat,statx,newfstatat,mkdir,mmap,mlock,madvise,ioctl,getrandom,clone3,clone,ppoll,pipe2,eventfd2,epoll_create1,\
epoll_ctl,epoll_wait,inotify_init1,inotify_add_watch,fcntl,fchown,getdents64,access,readlink,link,prctl";

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
    /// So many lines come, in turn for each log, and are taken; in a transaction, where the filter answers.
    Lines(usize),
    /// The files are moved away, and SIGHUP sent.
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

/// A filter.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// `sealedlog seal`.
    Seal,
    /// `sealedlog-apache` with these words.
    Apache(&'static [&'static str]),
    /// `sealedlog-syslog` with these words, for the lines of [`HOSTS`].
    Syslog(&'static [&'static str]),
}

impl Program {
    /// What its logs are told apart by; the one that has no such thing is called nothing.
    fn hosts(self) -> &'static [&'static str] {
        match self {
            Program::Seal | Program::Apache(_) => &[""],
            Program::Syslog(_) => &HOSTS,
        }
    }

    /// The name template of a log.
    fn template(self, host: &str) -> String {
        match self {
            Program::Seal => "x.log".to_owned(),
            Program::Apache(words) => words.iter().find(|word| word.starts_with("x.")).expect("it has one").to_string(),
            Program::Syslog(_) => format!("{host}/x.log"),
        }
    }

    /// The file of a log whose name does not change.
    fn file(self, host: &str) -> PathBuf {
        Path::new("log").join(self.template(host) + ".pgp")
    }

    /// Whether it answers, as rsyslog's omprog wants it.
    fn answers(self) -> bool {
        matches!(self, Program::Syslog(words) if words.contains(&"--use-transactions"))
    }
}

/// Where lines of a syslog daemon come from.
const HOSTS: [&str; 2] = ["a", "b"];

/// A line for the log of a host, as its daemon writes it.
fn with_field(host: &str, body: &str) -> String {
    if host.is_empty() { body.to_owned() } else { format!("{host} {body}") }
}

/// Where in a run the calls begin that are let fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// At its start.
    Start,
    /// Where it first reads.
    Read,
    /// Where it waits after what it first read.
    Wait,
}

/// A run of a filter.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Which one.
    pub program: Program,
    /// A run came before, so that the stream is there.
    pub begun: bool,
    /// Calls before that are those of another scenario.
    pub since: Since,
    /// What happens.
    pub steps: &'static [Step],
}

/// The scenarios, which together make every call that a filter makes.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "begin", program: Program::Seal, begun: false, since: Since::Start, steps: &[Step::Lines(3)] },
    Scenario {
        name: "append",
        program: Program::Seal,
        begun: true,
        since: Since::Read,
        steps: &[Step::Lines(3), Step::Lines(40), Step::Lines(40)],
    },
    Scenario {
        name: "reopen",
        program: Program::Seal,
        begun: true,
        since: Since::Wait,
        steps: &[Step::Lines(3), Step::Move, Step::Lines(3)],
    },
    Scenario {
        name: "keys",
        program: Program::Seal,
        begun: true,
        since: Since::Wait,
        steps: &[Step::Lines(3), Step::Key, Step::Lines(3)],
    },
    Scenario {
        name: "ahead",
        program: Program::Seal,
        begun: true,
        since: Since::Start,
        steps: &[Step::Lines(20), Step::Attach, Step::Lines(20), Step::Lines(40), Step::Terminate],
    },
    Scenario {
        name: "size",
        program: Program::Apache(&["--when-full", "block", "x.%H%M%S.log", "2K"]),
        begun: true,
        since: Since::Read,
        steps: &[Step::Lines(12), Step::Second, Step::Lines(3)],
    },
    Scenario {
        name: "drop",
        program: Program::Apache(&["x.log"]),
        begun: false,
        since: Since::Read,
        steps: &[Step::Lines(3), Step::Lines(40)],
    },
    Scenario {
        name: "routes",
        program: Program::Syslog(&[]),
        begun: true,
        since: Since::Wait,
        steps: &[Step::Lines(4), Step::Move, Step::Lines(4)],
    },
    Scenario {
        name: "commit",
        program: Program::Syslog(&["--use-transactions"]),
        begun: true,
        since: Since::Read,
        steps: &[Step::Lines(3), Step::Move, Step::Lines(2)],
    },
    // Each line closes the log of the other host, within the transaction.
    Scenario {
        name: "closed",
        program: Program::Syslog(&["--use-transactions", "--max-open", "1"]),
        begun: false,
        since: Since::Start,
        steps: &[Step::Lines(3)],
    },
];

/// A scenario with its folders, made anew from a copy before each run.
pub struct Bench {
    scenario: Scenario,
    place: Place,
    template: TempDir,
    logs: Vec<OneLog>,
}

/// One of the logs.
struct OneLog {
    host: &'static str,
    /// Its folder in the state and the runtime directory.
    folder: String,
    /// The stream of the run before.
    stream: Option<String>,
    genesis: Option<GenesisFingerprint>,
}

/// A line that the filter was offered.
#[derive(Clone, Debug)]
struct Line {
    host: &'static str,
    /// Without the field that names its log.
    body: String,
    /// The filter answered for it.
    answered: bool,
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
    lines: Vec<Line>,
    /// Bytes that it was offered.
    sent: usize,
    /// Bytes that were read before strace came.
    unseen: usize,
    /// With a filter that answers.
    exchange: Option<Exchange>,
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

    /// Whether the fault was that.
    fn was_killed(&self) -> bool {
        matches!(self.fault, Some((_, Fault::Kill))) && self.was_hit()
    }

    /// What the filter and strace were told and told, in a line each.
    pub fn told(&self) -> String {
        let told = self.stderr.lines().take(6).collect::<Vec<_>>().join("\n  ");
        let exchange = self.exchange.as_ref().map_or_else(String::new, |exchange| format!("\n  {exchange:?}"));
        format!("{:?} {told}{exchange}\n  {}", self.status, self.command)
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

    /// The lines of a log, and how many bytes of them must be there: those of the lines that were answered for.
    fn lines_of(&self, host: &str, input: &Path) -> (String, usize) {
        let (mut left, mut owed, mut all) = (self.read(input).1, 0, String::new());
        for line in &self.lines {
            let raw = with_field(line.host, &line.body).len();
            // Without answers the next read is one.
            let answered = if self.exchange.is_some() { line.answered } else { raw <= left };
            left = left.saturating_sub(raw);
            if line.host == host {
                all.push_str(&line.body);
                owed = if answered { all.len() } else { owed };
            }
        }
        (all, owed)
    }
}

impl Bench {
    /// With the run before, if the scenario has one.
    pub fn new(scenario: Scenario) -> Bench {
        let place = Place::new(&[&keys::sequoia_v6().public]);
        mkfifo(&place.path("in"), Mode::S_IRWXU).expect("own folder");
        let template = tempfile::tempdir().expect("a temporary folder can be made");
        let log = |host: &&'static str| {
            let folder = folder_name(&place.path("log"), &scenario.program.template(host));
            OneLog { host, folder, stream: None, genesis: None }
        };
        let logs = scenario.program.hosts().iter().map(log).collect();
        let mut bench = Bench { scenario, place, template, logs };
        if scenario.begun {
            bench.one_more("before\n").expect("nothing fails there");
            for log in 0..bench.logs.len() {
                let state = fs::read(bench.place.path("state").join(&bench.logs[log].folder).join("state")).expect("it was made");
                bench.logs[log].stream = Some(state[24..40].iter().map(|byte| format!("{byte:02x}")).collect());
                bench.logs[log].genesis = first_genesis(&bench.files(bench.logs[log].host));
            }
        }
        for folder in FOLDERS {
            copy(&bench.place.path(folder), &bench.template.path().join(folder));
        }
        bench
    }

    fn command(&self) -> Command {
        match self.scenario.program {
            Program::Seal => self.place.seal_to("x.log"),
            Program::Apache(words) => {
                let mut command = self.place.apache();
                command.args(words);
                command
            }
            Program::Syslog(words) => {
                let mut command = self.place.syslog("{host}/x.log");
                command.args(words);
                command
            }
        }
    }

    /// A run that seals one more line into each log. An error says what was wrong about it.
    fn one_more(&self, body: &str) -> Result<(), String> {
        let mut lines: Vec<String> = self.logs.iter().map(|log| with_field(log.host, body)).collect();
        let mut answers = String::new();
        if self.scenario.program.answers() {
            answers = format!("OK\nOK\n{}OK\n", "DEFER_COMMIT\n".repeat(lines.len()));
            lines.insert(0, "BEGIN TRANSACTION\n".to_owned());
            lines.push("COMMIT TRANSACTION\n".to_owned());
        }
        let output = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let mut running = Running::start_with(self.command().stdout(output.reopen().expect("own file")));
        // Less than a pipe holds; it may end without reading it.
        let _ = running.take_input().write_all(lines.concat().as_bytes());
        let ended = running.wait();
        let said = fs::read_to_string(output.path()).expect("answers are text");
        let well = ended.status.success() && ended.stderr.is_empty() && said == answers;
        well.then_some(()).ok_or_else(|| format!("{ended:?}, answers: {said:?}"))
    }

    /// The calls that can be let fail, as one run makes them.
    pub fn targets(&mut self) -> BTreeSet<Target> {
        let run = self.run(None);
        let untrue = self.judge(&run);
        assert!(untrue.is_empty(), "{}: without a fault: {untrue:?}", self.scenario.name);
        let input = self.place.path("in");
        let first = run.calls[0].thread;
        let after = |at: usize, holds: &dyn Fn(&Call) -> bool| {
            let later = run.calls.iter().enumerate().skip(at);
            later.filter(|(_, call)| call.thread == first).find(|(_, call)| holds(call)).expect("it comes to that").0
        };
        let began = run.calls.iter().position(|call| call.arguments.starts_with("PR_SET_DUMPABLE")).unwrap_or(0);
        let read = || after(0, &|call| call.name == "read" && call.path.as_ref() == Some(&input));
        let from = match self.scenario.since {
            Since::Start => began,
            Since::Read => read(),
            Since::Wait => after(read(), &|call| call.name == "ppoll"),
        };
        let mut targets = Target::all(&run.calls, from, |path| self.role(path));
        // The others' logs have the same.
        let others: Vec<_> = self.logs.iter().skip(1).flat_map(|log| self.parts(log)).map(|(_, role)| role).collect();
        targets.retain(|target| target.path.as_ref().is_none_or(|path| !others.iter().any(|other| path.contains(other))));
        // What the system's own libraries open, how a thread is called; the standard library ends a program where a hash
        // table has no randomness, which does not come to pass, or a thread no memory for its second stack.
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
            Some((_, of)) => {
                let stream = Some(of.split('-').next()?);
                self.logs.iter().any(|log| log.stream.as_deref() == stream)
            }
            None => !below.starts_with("log/") || !self.scenario.program.template("").contains('%'),
        };
        told.then(|| self.names().iter().fold(below.to_owned(), |below, (name, role)| below.replace(name, role)))
    }

    /// The path that has this name in this place.
    fn path(&self, role: &str) -> PathBuf {
        self.place.path(&self.names().iter().fold(role.to_owned(), |below, (name, role)| below.replace(role, name)))
    }

    /// Parts of paths that are others in each place, and what they are called instead.
    fn names(&self) -> Vec<(String, String)> {
        self.logs.iter().flat_map(|log| self.parts(log)).collect()
    }

    /// As [`Bench::names`], of one log.
    fn parts(&self, log: &OneLog) -> Vec<(String, String)> {
        let host = log.host;
        let mut parts = vec![(log.folder.clone(), format!("{FOLDER}{host}"))];
        parts.extend(log.stream.iter().map(|stream| (stream.clone(), format!("{STREAM}{host}"))));
        if !host.is_empty() {
            parts.push((format!("log/{host}"), format!("log/{host}")));
        }
        parts
    }

    /// The files of a log, in order.
    fn files(&self, host: &str) -> Vec<PathBuf> {
        let folder = self.place.path("log").join(host);
        names(&folder).iter().map(|name| folder.join(name)).collect()
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
        let killed = run.was_killed();
        check(killed || matches!(status.code(), Some(0 | 2)), format!("it ended with {status}"));
        // The watcher of the key folder panics where it has no thread, which is caught.
        let own = run.stderr.lines().filter(|line| line.contains("panicked at") && !line.contains("/notify-"));
        check(own.count() == 0, "it panicked".to_owned());
        if status.code() == Some(2) {
            let explained = run.stderr.contains(": error: ") && run.stderr.contains(": hint: ");
            check(explained, "it failed and did not say why".to_owned());
        }
        let (read, _) = run.read(&self.place.path("in"));
        if status.code() == Some(0) {
            check(read == run.sent && !run.stderr.contains("error:"), "it ended well before the end of input".to_owned());
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
        if let Some(exchange) = &run.exchange {
            exchange.judge(run, &self.place).into_iter().for_each(|what| check(false, what));
        }
        // Its daemon starts it again.
        let again = self.one_more("after\n");
        check(again.is_ok(), format!("the next run: {again:?}"));
        let told_stand_in = run.stderr.contains("goes on in a stream of its own");
        let mut stands_in = false;
        for log in &self.logs {
            let wrong = self.judge_log(log, run, &mut stands_in);
            let named = |what| if log.host.is_empty() { what } else { format!("{}: {what}", log.host) };
            untrue.extend(wrong.into_iter().map(named));
        }
        if !killed && stands_in != told_stand_in {
            untrue.push(format!("a stream that stands in: {stands_in}, told: {told_stand_in}"));
        }
        untrue
    }

    /// What is not as it must be in one log, and whether a stream stands in there.
    fn judge_log(&self, one: &OneLog, run: &Run, any_stands_in: &mut bool) -> Vec<String> {
        let mut untrue = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                untrue.push(what);
            }
        };
        let files = self.files(one.host);
        let log = match std::panic::catch_unwind(|| {
            let log = Log::open(&files, &[&keys::sequoia_v6().secret, &keys::rpgp_v6().secret]);
            log.epochs();
            log
        }) {
            Ok(log) => log,
            Err(panic) => {
                let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                return vec![format!("what is there cannot be put in its place: {why}")];
            }
        };
        let genesis = one.genesis.or_else(|| first_genesis(&files));
        let killed = run.was_killed();
        let (before, after) = (if self.scenario.begun { "before\n" } else { "" }, "after\n");
        let stands_in = log.events().any(|event| matches!(event, Event::Genesis(genesis) if !genesis.state));
        *any_stands_in |= stands_in;
        let told = |what: &str| run.stderr.contains(what);
        let unlearned = ["lines go on being sealed to the last good keys", "the keys cannot be watched", "/notify-"];
        let unlearned = unlearned.into_iter().any(told) && !log.events().any(|event| matches!(event, Event::Recipients(_)));
        // Who was killed while the keys changed could not name the next stream, nor who never learned of it, and told why.
        let unlinked = (killed || unlearned) && self.scenario.steps.contains(&Step::Key);
        // A stream that stood in to the end is not believed without its own fingerprint, so `open` leaves it out.
        let ordered = match stands_in || unlinked {
            true => String::from_utf8(log.text()).expect("tests use ASCII"),
            false => audit(&["open"], &files, genesis),
        };
        let (offered, owed) = run.lines_of(one.host, &self.place.path("in"));
        let text = ordered.strip_prefix(before).and_then(|text| text.strip_suffix(after));
        let gaps: Vec<_> = log.events().filter_map(|event| if let Event::Gap(gap) = event { Some(gap) } else { None }).collect();
        match text {
            None => check(false, format!("the runs before and after are not where they were: {ordered:?}")),
            Some(text) if gaps.is_empty() => {
                check(offered.starts_with(text), format!("other lines than came: {text:?}"));
                check(text.len() >= owed, format!("{owed} bytes were answered for, {} are there", text.len()));
            }
            Some(text) => {
                check(self.may_drop(), "lines were dropped".to_owned());
                let dropped: u64 = gaps.iter().map(|gap| gap.lines).sum();
                let bytes: u64 = gaps.iter().map(|gap| gap.bytes).sum();
                let there: BTreeSet<&str> = text.split_inclusive('\n').collect();
                let missing: Vec<_> = offered.split_inclusive('\n').filter(|line| !there.contains(line)).collect();
                let lost = missing.iter().map(|line| line.len() as u64).sum::<u64>();
                check(
                    killed || (dropped, bytes) == (missing.len() as u64, lost),
                    format!("{gaps:?}, but {missing:?} are missing"),
                );
            }
        }
        let progress_failed = told("cannot store progress") || told("cannot bring the log to the disk");
        for finding in verify(&files, genesis) {
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

    /// Keeps the folders, for somebody to look at.
    pub fn keep(&self, to: &Path) {
        for folder in FOLDERS {
            copy(&self.place.path(folder), &to.join(folder));
        }
        let _ = fs::copy(self.place.path("trace"), to.join("trace"));
    }
}

fn first_genesis(files: &[PathBuf]) -> Option<GenesisFingerprint> {
    let content = fs::read(files.first()?).expect("readable");
    let first = sealedlog::record::openpgp::Message::parse(&content).ok()?;
    Some(GenesisFingerprint::of(&content[..first.len]))
}

fn audit(words: &[&str], files: &[PathBuf], genesis: Option<GenesisFingerprint>) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    program.args(words).args(files).arg("--key").arg(&keys::sequoia_v6().secret).arg("--key").arg(&keys::rpgp_v6().secret);
    if let Some(genesis) = genesis {
        program.args(["--genesis", &genesis.to_string()]);
    }
    let output = program.output().expect("our programs can be run");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("tests use ASCII")
}

fn verify(files: &[PathBuf], genesis: Option<GenesisFingerprint>) -> Vec<Finding> {
    let said = audit(&["verify", "--json"], files, genesis);
    let said = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    said.filter(|finding| finding.get("finding").is_some())
        .map(|finding| Finding {
            kind: finding["finding"].as_str().expect("a name").to_owned(),
            text: finding["message"].as_str().unwrap_or_default().to_owned(),
        })
        .collect()
}

struct Finding {
    kind: String,
    text: String,
}

/// What a log's folder and first stream are called in the name of a path.
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
