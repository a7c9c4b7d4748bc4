//! What a program costs: processor time and memory of one run, as the kernel counted them.
//!
//! The kernel tells of ended children only all together, so the measured program is run by a process of its own: this
//! test program once more, with nothing to do but that. A test file that measures has this test:
//!
//! ```ignore
//! #[test]
//! fn measured() {
//!     common::measure::run_if_asked();
//! }
//! ```

use std::env;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// Where the process in between is told what to do: an argument a line.
const VARIABLE: &str = "SEALEDLOG_TEST_MEASURED";

/// A program that ended.
#[derive(Debug)]
pub struct Measured {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
    /// Processor time, user and system.
    pub cpu: Duration,
    /// The most memory that it had, in MiB.
    pub memory: u64,
}

/// Runs a program to its end.
pub fn measure(command: &Command) -> Measured {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().expect("tests use ASCII")).collect();
    let ended = Command::new(env::current_exe().expect("a test program has a file"))
        .args(["--exact", "measured", "--nocapture"])
        .env(VARIABLE, [&[folder.path().to_str().expect("ASCII")], &words[..]].concat().join("\n"))
        .stdout(Stdio::null())
        .status()
        .expect("this program can be run");
    assert!(ended.success(), "measuring {words:?}: {ended}");
    let read = |name: &str| fs::read(folder.path().join(name)).expect("it was written");
    let numbers: Vec<u64> =
        String::from_utf8(read("cost")).expect("numbers").split(' ').map(|word| word.parse().expect("a number")).collect();
    Measured {
        status: ExitStatus::from_raw(numbers[0] as i32),
        stdout: read("stdout"),
        stderr: String::from_utf8_lossy(&read("stderr")).into_owned(),
        cpu: Duration::from_micros(numbers[1]),
        memory: numbers[2] / 1024,
    }
}

/// The process in between; does nothing where nothing is asked.
pub fn run_if_asked() {
    let Ok(asked) = env::var(VARIABLE) else { return };
    let words: Vec<&str> = asked.split('\n').collect();
    let folder = Path::new(words[0]);
    let file = |name: &str| fs::File::create(folder.join(name)).expect("own folder");
    let status = Command::new(words[1])
        .args(&words[2..])
        .env_remove(VARIABLE)
        .stdin(Stdio::null())
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .status()
        .expect("our programs can be run");
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).expect("own children");
    let (user, system) = (used.user_time(), used.system_time());
    let micros = (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec();
    fs::write(folder.join("cost"), format!("{} {micros} {}", status.into_raw(), used.max_rss())).expect("own folder");
}
