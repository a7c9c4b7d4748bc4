//! What strace saw of a program: its system calls in order, each with what it takes to let exactly that one fail.
//!
//! strace counts `when=` for each thread by itself. So a call is named by how many calls of that name its own thread made
//! before, among all calls or among those on one path; in every thread that comes as far the fault falls once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The thread.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// What it is about, where that is a file with a name.
    pub path: Option<PathBuf>,
    /// As strace prints them.
    pub arguments: String,
    /// What it returned; `None` where it did not.
    pub result: Option<i64>,
    /// strace made it fail.
    pub injected: bool,
    /// How many calls had begun when it returned; `None` where it did not.
    pub returned: Option<usize>,
}

/// The calls of a trace that `strace -f -y -o` wrote, in the order in which they began.
pub fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: BTreeMap<u32, usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let (Ok(thread), rest) = (thread.parse(), rest.trim_start()) else { continue };
        let result = |rest: &str| {
            let number = rest.rsplit_once(" = ")?.1.split([' ', '<']).next()?;
            number.strip_prefix("0x").map_or_else(|| number.parse().ok(), |hex| i64::from_str_radix(hex, 16).ok())
        };
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if let Some(at) = unfinished.remove(&thread) {
                calls[at].result = result(resumed);
                calls[at].injected |= resumed.contains("(INJECTED)");
                calls[at].arguments.push_str(resumed);
                calls[at].returned = Some(calls.len());
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            continue;
        }
        let is_unfinished = arguments.contains("<unfinished ...>");
        let call = Call {
            thread,
            name: name.to_owned(),
            path: path(arguments),
            arguments: arguments.to_owned(),
            result: result(arguments),
            injected: arguments.contains("(INJECTED)"),
            returned: (!is_unfinished).then_some(calls.len() + 1),
        };
        if is_unfinished {
            unfinished.insert(thread, calls.len());
        }
        calls.push(call);
    }
    calls
}

/// The file that a call's first arguments name: a path, or a descriptor with what `-y` says of it.
fn path(arguments: &str) -> Option<PathBuf> {
    let named = if arguments.starts_with("AT_FDCWD") || arguments.starts_with('"') {
        arguments.split('"').nth(1)?
    } else {
        let (number, rest) = arguments.split_once('<')?;
        number.parse::<u32>().ok()?;
        rest.split('>').next()?
    };
    named.starts_with('/').then(|| PathBuf::from(named))
}

/// A call to be failed: the words for strace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The call's name.
    pub name: String,
    /// Only calls on this path count.
    pub path: Option<String>,
    /// The how-manieth of its thread.
    pub when: usize,
}

impl Target {
    /// Those of a trace from the call `from` on, each once. `role` gives a path another form, for other runs.
    ///
    /// Calls on a path that has a role are counted among those on that path, so that other threads' calls are not in the
    /// way; `read` and waiting are not, since they are watched for on standard input too. A call that can only be named
    /// together with one that the first thread made before `from` is left out.
    pub fn all(calls: &[Call], from: usize, role: impl Fn(&Path) -> Option<String>) -> BTreeSet<Target> {
        let (mut among_all, mut on_path) = (BTreeMap::new(), BTreeMap::new());
        let (mut targets, mut before) = (BTreeSet::new(), BTreeSet::new());
        for (at, call) in calls.iter().enumerate() {
            let count: &mut usize = among_all.entry((call.thread, &call.name)).or_default();
            *count += 1;
            let mut target = Target { name: call.name.clone(), path: None, when: *count };
            let named = call.path.as_deref().and_then(&role).filter(|_| !matches!(&call.name[..], "read" | "ppoll"));
            if let Some(named) = named {
                let count: &mut usize = on_path.entry((call.thread, &call.name, named.clone())).or_default();
                *count += 1;
                (target.path, target.when) = (Some(named), *count);
            }
            if at >= from {
                targets.insert(target);
            } else if call.thread == calls[0].thread {
                before.insert(target);
            }
        }
        targets.difference(&before).cloned().collect()
    }
}

#[test]
fn traces_are_understood() {
    let trace = "\
7     read(0</a/in>, \"x\\n\", 131072) = 2
7     openat(AT_FDCWD</cwd>, \"/a/log\", O_WRONLY|O_CREAT) = 3</a/log>
8     fdatasync(3</a/log> <unfinished ...>
7     write(3</a/log>, \"...\", 9)     = -1 EIO (Input/output error) (INJECTED)
8     <... fdatasync resumed>)          = 0
7     --- SIGHUP {si_signo=SIGHUP, si_code=SI_USER} ---
7     read(0</a/in>,  <unfinished ...>
7     +++ killed by SIGKILL +++
";
    let calls = parse(trace);
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.thread, &call.name[..], call.path.as_ref().unwrap().to_str().unwrap(), call.result, call.injected))
        .collect();
    let expected = [
        (7, "read", "/a/in", Some(2), false),
        (7, "openat", "/a/log", Some(3), false),
        (8, "fdatasync", "/a/log", Some(0), false),
        (7, "write", "/a/log", Some(-1), true),
        (7, "read", "/a/in", None, false),
    ];
    assert_eq!(seen, expected);
    assert_eq!(calls.iter().map(|call| call.returned).collect::<Vec<_>>(), [Some(1), Some(2), Some(4), Some(4), None]);
    let targets = Target::all(&calls, 1, |path| path.ends_with("log").then(|| "log".to_owned()));
    let log = Some("log".to_owned());
    let target = |name: &str, path: &Option<String>, when| Target { name: name.to_owned(), path: path.clone(), when };
    let expected = [target("fdatasync", &log, 1), target("openat", &log, 1), target("read", &None, 2), target("write", &log, 1)];
    assert_eq!(targets.into_iter().collect::<Vec<_>>(), expected);
}
