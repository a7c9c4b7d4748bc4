//! A run that is under way: what comes to the filter, step by step.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::exchange::{Exchange, answer_was_lost};
use super::{Bench, Fault, Line, Run, Step, with_field};
use crate::common::keys;
use crate::common::sealed::{SOON, names};
use crate::common::strace::{Call, Target, parse};
use crate::common::tools::{tool, wait_for};

/// How long a step waits for what a fault may prevent; a filter that cannot write tries again after a second.
const STEP: Duration = Duration::from_secs(4);
/// How long it waits for what must come, however busy the machine is.
const SURELY: Duration = SOON.saturating_mul(3);

/// A run that is under way.
pub(super) struct Drive<'a> {
    bench: &'a Bench,
    strace: Command,
    fault: Option<(Target, Fault)>,
    filter: Option<Child>,
    tracer: Option<Child>,
    status: Option<ExitStatus>,
    input: Option<File>,
    stderr: tempfile::NamedTempFile,
    lines: Vec<Line>,
    sent: usize,
    unseen: usize,
    exchange: Option<Exchange>,
    /// Nothing comes any more.
    over: bool,
    command: String,
}

impl<'a> Drive<'a> {
    pub fn new(bench: &'a Bench, strace: Command, fault: Option<(Target, Fault)>) -> Self {
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
            lines: Vec::new(),
            sent: 0,
            unseen: 0,
            exchange: None,
            over: false,
            command: String::new(),
        };
        let filter = bench.command();
        let mut command = if drive.bench.scenario.steps.contains(&Step::Attach) {
            filter
        } else {
            drive.strace.arg(filter.get_program()).args(filter.get_args());
            std::mem::replace(&mut drive.strace, tool("strace"))
        };
        let answers = bench.scenario.program.answers();
        command.current_dir(bench.place.path("log")).env("TZ", "UTC").stdin(output);
        command.stdout(if answers { Stdio::piped() } else { Stdio::null() });
        command.stderr(drive.stderr.reopen().expect("own file"));
        drive.command = format!("{command:?}");
        let mut filter = command.spawn().expect("strace can be run");
        drive.exchange = filter.stdout.take().map(Exchange::new);
        drive.filter = Some(filter);
        drive
    }

    pub fn finish(mut self) -> Run {
        if self.exchange.is_some() {
            self.over = self.accepted("", "OK").is_none();
        }
        for step in self.bench.scenario.steps {
            if !self.over && !self.ended() {
                self.step(*step);
            }
        }
        self.input = None;
        wait_for(SURELY, || self.ended());
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
        let Drive { fault, lines, sent, unseen, command, mut exchange, .. } = self;
        if let Some(exchange) = &mut exchange {
            exchange.end();
        }
        Run { command, calls, status, stderr, lines, sent, unseen, exchange, fault }
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
        match step {
            Step::Lines(count) => {
                let hosts = self.bench.scenario.program.hosts();
                let first = self.lines.len();
                let lines: Vec<_> = (first..first + count)
                    .map(|number| (hosts[number % hosts.len()], format!("line {number:04} {}\n", "x".repeat(60))))
                    .collect();
                match self.exchange.is_some() {
                    true => self.over = self.transaction(&lines).is_none(),
                    false => self.lines(&lines),
                }
            }
            Step::Move => {
                let files = self.bench.scenario.program.hosts().iter().map(|host| self.bench.scenario.program.file(host));
                let files: Vec<_> = files.map(|file| self.bench.place.path("").join(file)).collect();
                for file in &files {
                    let _ = fs::rename(file, file.with_extension("1.pgp"));
                }
                self.signal(Signal::SIGHUP);
                wait_for(STEP, || files.iter().all(|file| file.exists()) || self.ended());
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
                wait_for(SURELY, || attached() && trace.exists());
                sleep(Duration::from_millis(50));
            }
            Step::Terminate => self.signal(Signal::SIGTERM),
        }
    }

    fn send(&mut self, text: &str) {
        self.sent += text.len();
        // It may be gone.
        let _ = self.input.as_mut().expect("still open").write_all(text.as_bytes());
    }

    /// Lines that nobody answers; until they are stored.
    fn lines(&mut self, lines: &[(&'static str, String)]) {
        let text: String = lines.iter().map(|(host, body)| with_field(host, body)).collect();
        self.lines.extend(lines.iter().map(|(host, body)| Line { host, body: body.clone(), answered: false }));
        self.send(&text);
        if self.tracer.is_none() && self.bench.scenario.steps.contains(&Step::Attach) {
            let file = self.bench.place.path("").join(self.bench.scenario.program.file(""));
            let length = || fs::metadata(&file).map_or(0, |metadata| metadata.len());
            // Each record is longer than its line.
            wait_for(SURELY, || length() > 2 * self.sent as u64);
            self.unseen += text.len();
            return;
        }
        let input = self.bench.place.path("in");
        wait_for(SURELY, || {
            let calls = self.calls();
            let read = |call: &&Call| call.name == "read" && call.path.as_ref() == Some(&input);
            let bytes: usize = calls.iter().filter(read).filter_map(|call| usize::try_from(call.result?).ok()).sum();
            // It waits for more: they are in the file, if they can be.
            let mut later = calls.iter().rev().take_while(|call| !read(call));
            (bytes + self.unseen >= self.sent && later.any(|call| call.name == "ppoll")) || self.ended()
        });
    }

    /// A transaction as rsyslog has it: what is refused comes again, and all of it where its end is refused. `None` where
    /// there is no answer, or nothing but refusals.
    fn transaction(&mut self, lines: &[(&'static str, String)]) -> Option<()> {
        loop {
            self.accepted("BEGIN TRANSACTION\n", "OK")?;
            for (host, body) in lines {
                self.lines.push(Line { host, body: body.clone(), answered: false });
                self.accepted(&with_field(host, body), "DEFER_COMMIT")?;
                self.lines.last_mut().expect("it was pushed").answered = true;
            }
            let answer = self.say("COMMIT TRANSACTION\n")?;
            let exchange = self.exchange.as_mut().expect("it answers");
            exchange.commits.push(answer.clone());
            if answer == "OK" {
                return Some(());
            }
            exchange.refuse(answer)?;
        }
    }

    /// Says it until it is answered with this.
    fn accepted(&mut self, text: &str, answer: &str) -> Option<()> {
        loop {
            let said = self.say(text)?;
            if said == answer {
                return Some(());
            }
            self.exchange.as_mut().expect("it answers").refuse(said)?;
        }
    }

    /// The answer to this.
    fn say(&mut self, text: &str) -> Option<String> {
        self.send(text);
        let mut answer = None;
        wait_for(SURELY, || match self.exchange.as_ref().expect("it answers").next() {
            Ok(None) => answer_was_lost(&self.calls(), &self.fault),
            // An error: it has ended.
            next => {
                answer = next.unwrap_or_default();
                true
            }
        });
        if answer.is_none() {
            self.exchange.as_mut().expect("it answers").unanswered = Some(text.to_owned());
        }
        answer
    }
}
