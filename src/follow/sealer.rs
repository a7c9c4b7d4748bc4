//! The program that seals, `sealedlog-syslog`, behind pipes: rsyslog's confirm and transaction protocol from the other side.
//!
//! Promises: lines count as sealed when they are on the disk; one that was answered is not sent again, whatever dies or refuses in
//! between, and the program is started again until it takes them. What it says is told once in a while, and is never text of a log.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What could not be sealed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);
/// The same is not told again before.
const TOLD: Duration = Duration::from_secs(600);
const STORED: &str = "DEFER_COMMIT";
const DONE: &str = "OK";

/// It was told to end before everything was sealed.
#[derive(Debug)]
pub struct Stopped;

/// The program.
pub struct Sealer {
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    running: Option<Running>,
    stop: Box<dyn Fn() -> bool>,
    told: Option<(String, Instant)>,
}

struct Running {
    child: Child,
    /// Until it is to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Sealer {
    /// Warnings begin with `name`. It gives up when it cannot seal and `stop` says so.
    pub fn new(name: &'static str, program: PathBuf, args: Vec<OsString>, stop: impl Fn() -> bool + 'static) -> Self {
        Self { name, program, args, running: None, stop: Box::new(stop), told: None }
    }

    /// Seals lines into a log, whose name has no space in it. A last line without an end gets one.
    pub fn seal(&mut self, log: &str, lines: &[u8]) -> Result<(), Stopped> {
        let mut stored = 0;
        loop {
            let Err(error) = self.transaction(log, lines, &mut stored) else { return Ok(()) };
            self.warn(format_args!("cannot seal {log}: {error}"));
            let until = Instant::now() + AGAIN;
            while Instant::now() < until {
                if (self.stop)() {
                    return Err(Stopped);
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Says what is wrong, the same not too often.
    pub fn warn(&mut self, what: impl Display) {
        let what = what.to_string();
        if self.told.as_ref().is_some_and(|(told, when)| *told == what && when.elapsed() < TOLD) {
            return;
        }
        let _ = writeln!(io::stderr(), "{}: warning: {what}", self.name);
        self.told = Some((what, Instant::now()));
    }

    /// Lets the program end.
    pub fn finish(mut self) {
        if let Some(running) = &mut self.running {
            running.input = None;
            let _ = running.child.wait();
        }
    }

    /// From `stored` on, which goes forward with each line that is in its file.
    fn transaction(&mut self, log: &str, lines: &[u8], stored: &mut usize) -> io::Result<()> {
        if self.running.is_none() {
            self.running = Some(self.start()?);
        }
        self.ask(b"BEGIN TRANSACTION\n", DONE)?;
        while *stored < lines.len() {
            let rest = &lines[*stored..];
            let line = memchr::memchr(b'\n', rest).map_or(rest, |end| &rest[..=end]);
            let end: &[u8] = if line.ends_with(b"\n") { b"" } else { b"\n" };
            self.ask(&[log.as_bytes(), b" ", line, end].concat(), STORED)?;
            *stored += line.len();
        }
        self.ask(b"COMMIT TRANSACTION\n", DONE)
    }

    /// A program that refuses goes on; one that is gone does not.
    fn ask(&mut self, what: &[u8], wanted: &str) -> io::Result<()> {
        let done = self.running.as_mut().map_or(Err(io::ErrorKind::NotConnected.into()), |running| running.ask(what, wanted));
        if done.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Other) {
            self.running = None;
        }
        done
    }

    fn start(&self) -> io::Result<Running> {
        let mut command = Command::new(&self.program);
        command.args(["--confirm-messages", "--use-transactions"]).args(&self.args);
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.program.display()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).expect("both are pipes");
        let mut running = Running { child, input: Some(input), output: BufReader::new(output) };
        running.answer(DONE)?;
        Ok(running)
    }
}

impl Running {
    fn ask(&mut self, what: &[u8], wanted: &str) -> io::Result<()> {
        self.input.as_mut().map_or(Ok(()), |input| input.write_all(what))?;
        self.answer(wanted)
    }

    /// `Other` for an answer that is another one.
    fn answer(&mut self, wanted: &str) -> io::Result<()> {
        let mut answer = String::new();
        if self.output.read_line(&mut answer)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the program that seals has ended"));
        }
        match answer.trim_end() {
            answer if answer == wanted => Ok(()),
            answer => Err(io::Error::other(answer.to_owned())),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is waited for, one that does not answer any more is ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
