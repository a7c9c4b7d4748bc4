//! Running other programs: found by name or the test fails, output collected, failures as text.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A command for `program`; panics with what to install when the machine has no such program.
pub fn tool(program: &str) -> Command {
    Command::new(path(program))
}

/// Where `program` is, for configurations that want it; panics as [`tool`] does.
pub fn path(program: &str) -> PathBuf {
    find(program)
        .unwrap_or_else(|| panic!("{program} is missing: run scripts/setup.sh as root, or: apt-get install {}", package(program)))
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
        "ssh-keygen" => "openssh-client",
        "node" => "nodejs",
        "mkfs.ext4" => "e2fsprogs",
        "nm" => "binutils",
        "prlimit" | "unshare" => "util-linux",
        "script" | "logger" => "bsdutils",
        other => other,
    }
}
