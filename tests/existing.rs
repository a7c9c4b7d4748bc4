//! `sealedlog seal-existing`: a plain file that is left over goes only when all of it is sealed.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use common::disk::SmallDisk;
use common::keys;
use common::lines::{Lines, nasty};
use common::sealed::{Log, Place, unprivileged};
use common::syslog::children;
use common::tools::{SOON, tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SEALEDLOG: &str = env!("CARGO_BIN_EXE_sealedlog");

fn existing(place: &Place, arguments: &[&Path]) -> Command {
    let mut command = Command::new(SEALEDLOG);
    command.arg("seal-existing").arg("--keys").arg(place.path("keys.d")).args(arguments);
    command
}

fn run(place: &Place, arguments: &[&Path]) -> (Option<i32>, String, String) {
    told(&existing(place, arguments).output().unwrap())
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn some_text() -> Vec<u8> {
    let mut text: Vec<u8> = Lines::new(3).take(5000).flatten().collect();
    text.extend(nasty().into_iter().flat_map(|(_, bytes)| bytes));
    text.extend_from_slice(b"no newline at the end");
    text
}

#[test]
fn what_was_in_the_file_is_in_the_sealed_one_and_the_file_is_gone() {
    for (public, secret, suffix) in [
        (&keys::sequoia_v6().public, &keys::sequoia_v6().secret, "pgp"),
        (&keys::gpg_cv25519().public, &keys::gpg_cv25519().secret, "pgp"),
        (&keys::age().public, &keys::age().secret, "age64"),
    ] {
        let place = Place::new(&[public]);
        let (text, plain) = (some_text(), place.path("log/syslog.1"));
        fs::write(&plain, &text).unwrap();
        let time = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
        File::options().write(true).open(&plain).unwrap().set_modified(time).unwrap();
        let (status, out, err) = run(&place, &[&plain]);
        assert_eq!((status, err.as_str()), (Some(0), ""));
        assert_eq!(place.logs(), [format!("syslog.1.{suffix}")], "{out}");
        let sealed = place.path("log").join(&place.logs()[0]);
        let metadata = fs::metadata(&sealed).unwrap();
        assert_eq!((metadata.modified().unwrap(), metadata.mode() & 0o777), (time, 0o640));
        assert!(Log::whole(&sealed, secret).text() == text, "{}", place.logs()[0]);
        // What was printed for the paper is the root.
        let genesis = out.lines().find_map(|line| line.trim().strip_prefix("genesis ")).unwrap();
        let mut verify = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
        let output = verify.arg("verify").arg(&sealed).arg("--key").arg(secret).args(["--genesis", genesis]).output().unwrap();
        let (status, report, err) = told(&output);
        assert_eq!(status, Some(0), "{report}{err}");
        // Nobody is left to find it in plain text.
        place.assert_nowhere("no newline at the end");
    }
}

#[test]
fn what_is_kept_is_kept() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let plain = place.path("log/a.log");
    fs::write(&plain, "one\ntwo\n").unwrap();
    let (status, out, _) = run(&place, &[Path::new("--keep"), &plain]);
    assert_eq!(status, Some(0));
    assert!(out.contains("2 lines, and kept"), "{out}");
    assert_eq!(fs::read(&plain).unwrap(), b"one\ntwo\n");
    assert_eq!(Log::whole(&place.path("log/a.log.pgp"), &keys::sequoia_v6().secret).text(), b"one\ntwo\n");
    // Not once more into the same file.
    let (status, _, err) = run(&place, &[&plain]);
    assert!(status == Some(2) && err.contains("a.log.pgp is there already"), "{err}");
    assert!(plain.exists());
}

#[test]
fn what_is_no_log_that_was_left_is_refused_and_the_others_are_done() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let log = |name: &str| place.path("log").join(name);
    fs::write(log("good"), "a line\n").unwrap();
    fs::write(log("open"), "a line\n").unwrap();
    fs::write(log("wtmp"), "x").unwrap();
    fs::write(log("x.1.gz"), b"\x1f\x8b\x08\0").unwrap();
    fs::write(log("system.journal"), b"LPKSHHRH\0").unwrap();
    std::os::unix::fs::symlink(log("good"), log("link")).unwrap();
    fs::write(log("two"), "a line\n").unwrap();
    fs::hard_link(log("two"), place.path("one")).unwrap();
    fs::write(log("locked"), "a line\n").unwrap();
    let locked = File::open(log("locked")).unwrap();
    locked.lock().unwrap();
    fs::create_dir(log("folder")).unwrap();
    fs::write(log("folder/x"), "a line\n").unwrap();
    std::os::unix::fs::symlink(log("folder"), log("linked")).unwrap();
    assert!(place.seal_to("sealed").stdin(File::open(log("good")).unwrap()).status().unwrap().success());
    let writing = File::options().append(true).open(log("open")).unwrap();
    let mut holder = tool("sleep").arg("600").stdin(Stdio::null()).stdout(writing).stderr(Stdio::null()).spawn().unwrap();
    let refused = [
        ("open", format!("sleep (process {}) has it open to write", holder.id())),
        ("wtmp", "no lines".to_owned()),
        ("x.1.gz", "unpack it first".to_owned()),
        ("system.journal", "journalctl --file".to_owned()),
        ("link", "without links".to_owned()),
        ("two", "it has another name, too".to_owned()),
        ("locked", "another run seals it".to_owned()),
        ("linked/x", format!("its folder is {}, by its own name", log("folder").display())),
        ("sealed.pgp", "it is sealed already".to_owned()),
        ("nowhere", "No such file".to_owned()),
        ("nowhere/x", "No such file".to_owned()),
    ];
    let before: Vec<_> = refused.iter().map(|(name, _)| fs::read(log(name)).ok()).collect();
    let mut names: Vec<_> = refused.iter().map(|(name, _)| log(name)).collect();
    names.insert(3, log("good"));
    let names: Vec<&Path> = names.iter().map(|name| name.as_path()).collect();
    let (status, out, err) = run(&place, &names);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(status, Some(2));
    for ((name, why), before) in refused.iter().zip(before) {
        let found = err.lines().skip_while(|line| !line.contains(&format!("log/{name}: "))).take(2).collect::<String>();
        assert!(found.contains(why), "{name}: {err}");
        assert!(*name == "link" || fs::read(log(name)).ok() == before, "{name} was changed");
    }
    assert!(out.contains("1 line\n"), "{out}");
    assert_eq!(Log::whole(&log("good.pgp"), &keys::sequoia_v6().secret).text(), b"a line\n");
    assert!(!log("good").exists() && log("link").symlink_metadata().is_ok());
}

#[test]
fn where_the_disk_is_full_the_plain_file_stays_as_it_was() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    fs::create_dir(place.path("log/full")).unwrap();
    let at = place.path("log/full");
    let _disk = SmallDisk::mount(&at, 256);
    let (text, plain) = (vec![b'x'; 200 << 10], at.join("a.log"));
    fs::write(&plain, &text).unwrap();
    let (status, _, err) = run(&place, &[&plain]);
    assert!(status == Some(2) && err.contains("left as it was") && err.contains("No space left"), "{err}");
    assert_eq!(common::sealed::names(&at), ["a.log"]);
    assert!(fs::read(&plain).unwrap() == text);
}

#[test]
fn what_is_opened_to_write_meanwhile_is_not_removed() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let plain = place.path("log/a.log");
    fs::write(&plain, "a line\n").unwrap();
    // It stops when the sealed file has its name.
    let command = existing(&place, &[&plain]);
    let mut strace = tool("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=link,linkat", "-e", "inject=link,linkat:signal=STOP"]);
    strace.arg(command.get_program()).args(command.get_args()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut strace = strace.spawn().unwrap();
    assert!(wait_for(SOON, || place.path("log/a.log.pgp").exists()));
    let _writing = File::options().append(true).open(&plain).unwrap();
    // It may be about to stop only.
    let ended = wait_for(SOON, || {
        for traced in children(strace.id()) {
            let _ = kill(Pid::from_raw(traced as i32), Signal::SIGCONT);
        }
        strace.try_wait().unwrap().is_some()
    });
    assert!(ended);
    let (status, _, err) = told(&strace.wait_with_output().unwrap());
    assert!(status == Some(2) && err.contains("has it open to write") && err.contains("still there in plain text"), "{err}");
    assert_eq!(place.logs(), ["a.log", "a.log.pgp"]);
}

#[test]
fn what_an_earlier_run_left_is_begun_anew() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let plain = place.path("log/a.log");
    fs::write(&plain, "a line\n").unwrap();
    fs::write(place.path("log/a.log.pgp.part"), "half of it").unwrap();
    let (status, _, err) = run(&place, &[&plain]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert_eq!(place.logs(), ["a.log.pgp"]);
    assert_eq!(Log::whole(&place.path("log/a.log.pgp"), &keys::sequoia_v6().secret).text(), b"a line\n");
}

#[test]
fn who_cannot_see_all_processes_removes_nothing() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let plain = place.path("log/a.log");
    fs::write(&plain, "a line\n").unwrap();
    let (status, _, err) = told(&unprivileged(&place, &existing(&place, &[&plain])).output().unwrap());
    assert!(status == Some(2) && err.contains("run it as root"), "{err}");
    assert_eq!(place.logs(), ["a.log"]);
}
