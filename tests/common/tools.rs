//! Running other programs: found by name or the test fails, output collected, failures as text.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that is not meant to wait, on a machine that has much else to do.
pub const SOON: Duration = Duration::from_secs(60);

/// A command for `program`; panics with what to install when the machine has no such program.
pub fn tool(program: &str) -> Command {
    Command::new(path(program))
}

/// Where `program` is, for configurations that want it; panics as [`tool`] does.
pub fn path(program: &str) -> PathBuf {
    find(program)
        .unwrap_or_else(|| panic!("{program} is missing: run scripts/setup.sh as root, or: apt-get install {}", package(program)))
}

/// A search path on which our programs come first, by links in a folder: beside the programs themselves stand others, which may
/// be called like a tool.
pub fn path_with_programs(links: &Path) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_sealedlog")).parent().expect("a program is in a folder");
    for name in ["sealedlog", "sealedlog-apache", "sealedlog-audit", "sealedlog-syslog"] {
        let link = links.join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(programs.join(name), link).expect("writable");
        }
    }
    format!("{}:{}", links.display(), std::env::var("PATH").expect("it is set"))
}

/// Runs `command` with `input` on its standard input: its standard output, or the command, exit status and
/// standard error as text.
pub fn run(command: &mut Command, input: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let output = thread::scope(|scope| {
        // A program may end without reading all of it; its exit status says whether that was well.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    })
    .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {told}", output.status))
}

/// As [`run`], for commands that only a broken machine fails: panics with the text.
pub fn must(command: &mut Command, input: &[u8]) -> Vec<u8> {
    run(command, input).unwrap_or_else(|error| panic!("{error}"))
}

/// What a new file of this process and of the programs that it starts may be to others is what most systems have it be: others
/// read it, and do not write to it.
pub fn usual_umask() {
    use nix::sys::stat::{Mode, umask};
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
}

/// Asks `done` every few milliseconds, and says whether it came true within `limit`.
pub fn wait_for(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a process has nothing to do: all its threads sleep, and none has run since the look before. What it was given
/// it has read then, where it reads at all.
pub fn wait_idle(pid: u32) {
    let mut before = None;
    let idle = wait_for(SOON, || {
        let now = turns(pid);
        let idle = now.is_some() && now == before;
        before = now;
        if !idle {
            thread::sleep(Duration::from_millis(15));
        }
        idle
    });
    assert!(idle, "process {pid} does not come to rest");
}

/// How often each thread of a process got its turn, if all of them sleep.
fn turns(pid: u32) -> Option<BTreeMap<String, String>> {
    let mut turns = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs") {
        let thread = thread.ok()?.path();
        let status = fs::read_to_string(thread.join("status")).ok()?;
        if !status.contains("\nState:\tS") {
            return None;
        }
        let switches = status.lines().filter(|line| line.contains("ctxt_switches")).collect();
        turns.insert(thread.display().to_string(), switches);
    }
    Some(turns)
}

/// Whether a process has a handler for a signal.
pub fn catches(pid: u32, signal: nix::sys::signal::Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    caught.is_some_and(|caught| caught & (1 << (signal as u64 - 1)) != 0)
}

/// Returns when a day of UTC has some time left: names with a date stay as they are for so long.
pub fn away_from_midnight() {
    const GUARD: u64 = 90;
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let left = 86_400 - time % 86_400;
    if left < GUARD {
        thread::sleep(Duration::from_secs(left + 1));
    }
}

/// Sleeps until the time of day has another second.
pub fn next_second() {
    let time = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let now = time();
    while time() == now {
        thread::sleep(Duration::from_millis(10));
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).map(|dir| dir.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn package(program: &str) -> &str {
    match program {
        "apache2" => "apache2-bin",
        "rotatelogs" | "ab" => "apache2-utils",
        "gpg" => "gnupg",
        "age-keygen" => "age",
        "ssh" | "scp" | "ssh-keygen" => "openssh-client",
        "node" => "nodejs",
        "mkfs.ext4" => "e2fsprogs",
        "nm" => "binutils",
        "prlimit" | "unshare" => "util-linux",
        "script" | "logger" => "bsdutils",
        other => other,
    }
}
