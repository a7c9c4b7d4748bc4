//! What a filter can still do while it runs, seen from inside of it: a debugger makes its threads call the kernel. And that
//! it can do what it has to: folders that are made anew, links, programs, another user.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use sealedlog::control::Event;

use common::keys;
use common::sealed::{Content, Log, NOBODY, Place, Running, SOON, names, seal_all, unprivileged};
use common::tools::{catches, must, tool, wait_for, wait_idle};

fn fast() -> Place {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    // The rule for logs stands on the parent of their folder.
    fs::create_dir(place.path("log/deep")).unwrap();
    place
}

/// The programs, each with a log in the folder `log/deep`, and the file that lines `a …` go to.
fn programs(place: &Place) -> [(Command, PathBuf); 3] {
    let file = |name: &str| place.path("log/deep").join(name);
    let mut apache = place.apache();
    apache.arg(file("apache"));
    [
        (place.seal_to("deep/seal"), file("seal.pgp")),
        (apache, file("apache.pgp")),
        (place.syslog("deep/{host}/x"), file("a/x.pgp")),
    ]
}

/// Text of all lines in a file.
fn text(file: &Path) -> String {
    let log = Log::open(&[file], &[&keys::sequoia_v6().secret]);
    String::from_utf8(log.text()).expect("lines of these tests")
}

fn wait_for_text(file: &Path, expected: &str) {
    assert!(
        wait_for(SOON, || file.exists() && text(file).ends_with(expected)),
        "{expected:?} does not come to {}",
        file.display()
    );
}

fn lacks(file: &Path) -> Vec<String> {
    let log = Log::open(&[file], &[&keys::sequoia_v6().secret]);
    let genesis = log.entries.iter().find_map(|entry| match &entry.content {
        Content::Control(control) => match &control.event {
            Event::Genesis(genesis) => Some(genesis.lacks.clone()),
            _ => None,
        },
        Content::Line(_) => None,
    });
    genesis.expect("each file begins with one")
}

// From inside.

/// A system call that a process is made to make. Arguments that are text stand for their addresses.
struct Call<'a> {
    number: libc::c_long,
    text: &'a str,
    /// `None`: the address of the text.
    arguments: [Option<i64>; 3],
}

fn open<'a>(path: &'a str, flags: i32) -> Call<'a> {
    Call { number: libc::SYS_openat, text: path, arguments: [Some(libc::AT_FDCWD.into()), None, Some(flags.into())] }
}

fn call<'a>(number: libc::c_long, first: i64, second: i64) -> Call<'a> {
    Call { number, text: "", arguments: [Some(first), Some(second), Some(0)] }
}

fn execute(path: &str) -> Call<'_> {
    Call { number: libc::SYS_execve, text: path, arguments: [None, Some(0), Some(0)] }
}

/// What all threads of a process get from each call: 0 or the error.
fn inside(pid: u32, calls: &[Call<'_>]) -> Vec<Vec<Errno>> {
    // Threads that claim or synchronise come and go.
    wait_idle(pid);
    let mut script = "set pagination off\nset language c\nset scheduler-locking on\n\
        set $call = (long (*)(long, long, long, long, long)) syscall\nset $errno = (int *(*)(void)) __errno_location\n"
        .to_owned();
    for (number, call) in calls.iter().enumerate() {
        // Far below the frames of what is called.
        script += "set $at = (long) $sp - 65536\n";
        script += &format!("set var {{char[{}]}} $at = \"{}\"\n", call.text.len() + 1, call.text);
        let arguments = call.arguments.map(|argument| argument.map_or("$at".to_owned(), |number| number.to_string())).join(", ");
        let made = format!("$call({}, {arguments}, 0)", call.number);
        script += &format!("thread apply all -q printf \"call {number}: %d\\n\", {made} < 0 ? *$errno() : 0\nthread 1\n");
    }
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    fs::write(file.path(), script).expect("own file");
    let mut gdb = tool("gdb");
    gdb.args(["-q", "-nx", "-batch", "-p", &pid.to_string(), "-x"]).arg(file.path());
    let said = String::from_utf8_lossy(&must(&mut gdb, b"")).into_owned();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").count();
    let results = (0..calls.len()).map(|number| {
        let lines = said.lines().filter_map(|line| line.split_once(&format!("call {number}: ")));
        let results: Vec<_> = lines.map(|(_, error)| Errno::from_raw(error.parse().expect("a number"))).collect();
        assert_eq!(results.len(), threads, "{said}");
        results
    });
    results.collect()
}

#[test]
fn a_running_filter_opens_no_other_file_no_socket_and_no_program() {
    if !Uid::effective().is_root() {
        return;
    }
    let place = fast();
    let (elsewhere, own) = (place.path("elsewhere"), place.path("log/deep/own"));
    let calls = || {
        [
            open("/etc/shadow", libc::O_RDONLY),
            open("/etc/passwd", libc::O_RDONLY),
            open(elsewhere.to_str().unwrap(), libc::O_WRONLY | libc::O_CREAT),
            call(libc::SYS_socket, libc::AF_INET.into(), libc::SOCK_STREAM.into()),
            call(libc::SYS_socket, libc::AF_UNIX.into(), libc::SOCK_DGRAM.into()),
            // Elsewhere it would be there no more.
            execute("/nowhere"),
            call(libc::SYS_ptrace, libc::PTRACE_TRACEME.into(), 0),
            call(libc::SYS_io_uring_setup, 1, 0),
            open(own.to_str().unwrap(), libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND),
        ]
    };
    let (files, others) = (Errno::EACCES, Errno::EPERM);
    let refused = [files, files, files, others, others, others, others, others];
    for (mut command, file) in programs(&place) {
        let mut running = Running::start(&mut command);
        running.write("a first\n");
        wait_for_text(&file, "first\n");
        let seen = inside(running.pid(), &calls());
        assert!(seen[0].len() >= 2, "a thread that watches the keys");
        for (number, expected) in refused.iter().enumerate() {
            assert!(seen[number].iter().all(|error| error == expected), "call {number} of {command:?}: {seen:?}");
        }
        assert!(seen[8].iter().all(|error| *error == Errno::from_raw(0)), "{seen:?}");
        assert!(!elsewhere.exists() && own.exists());
        // It goes on as if nothing had been.
        running.write("a second\n");
        wait_for_text(&file, "second\n");
        running.end_well();
        assert!(lacks(&file).is_empty());
        fs::remove_file(&own).unwrap();
    }
    // Without the sandbox they can, so that the above is its doing.
    let mut running = Running::start(place.seal_to("deep/free").arg("--no-sandbox"));
    running.write("a first\n");
    wait_for_text(&place.path("log/deep/free.pgp"), "first\n");
    let seen = inside(running.pid(), &calls()[..6]);
    for (number, errors) in seen.iter().enumerate() {
        let expected = if number == 5 { Errno::ENOENT } else { Errno::from_raw(0) };
        assert!(errors.iter().all(|error| *error == expected), "call {number}: {seen:?}");
    }
    running.end_well();
    assert_eq!(lacks(&place.path("log/deep/free.pgp")), ["sandbox"]);
}

// Folders.

#[test]
fn a_log_folder_that_is_removed_or_moved_and_made_anew_is_gone_on_in() {
    for way in ["removed", "moved"] {
        for signal in [false, true] {
            let place = fast();
            for (mut command, file) in programs(&place) {
                let mut running = Running::start(&mut command);
                running.write("a first\n");
                wait_for_text(&file, "first\n");
                let folder = place.path("log/deep");
                if way == "removed" {
                    fs::remove_dir_all(&folder).unwrap();
                } else {
                    fs::rename(&folder, place.path(&format!("log/old-{}", running.pid()))).unwrap();
                }
                fs::create_dir(&folder).unwrap();
                if signal {
                    running.signal(Signal::SIGHUP);
                    // Any of its threads may get it; what comes before it is seen goes to the old file.
                    running.wait_idle();
                } else {
                    // The name is looked at every second.
                    sleep(Duration::from_millis(1100));
                }
                running.write("a second\n");
                wait_for_text(&file, "second\n");
                let told = running.told();
                assert!(told.is_empty(), "{command:?}, {way}: {told}");
                running.end_well();
            }
        }
    }
}

/// Below a folder of the system the rule stands on the log folder alone.
#[test]
fn a_new_folder_that_is_out_of_reach_is_told_and_nothing_is_lost() {
    let place = fast();
    let folder = tempfile::Builder::new().prefix("sealedlog-").tempdir_in("/var/tmp").unwrap();
    let mut command = place.seal();
    command.arg("-o").arg(folder.path().join("x"));
    let (reader, mut writer) = std::io::pipe().unwrap();
    let running = Running::start_on(&mut command, reader.try_clone().unwrap());
    writer.write_all(b"first\n").unwrap();
    wait_for_text(&folder.path().join("x.pgp"), "first\n");
    fs::remove_dir_all(folder.path()).unwrap();
    fs::create_dir(folder.path()).unwrap();
    running.signal(Signal::SIGHUP);
    running.wait_told("its sandbox has the old one");
    // Lines wait in the pipe, as on a full disk; the next filter has them.
    writer.write_all(b"second\n").unwrap();
    sleep(Duration::from_millis(500));
    running.kill();
    let next = Running::start_on(&mut command, reader);
    wait_for_text(&folder.path().join("x.pgp"), "second\n");
    drop(writer);
    next.end_well();
}

#[test]
fn keys_that_are_links_are_read_again() {
    let (place, elsewhere) = (fast(), tempfile::tempdir().unwrap());
    let public = &keys::sequoia_v6().public;
    let name = public.file_name().unwrap();
    fs::remove_file(place.path("keys.d").join(name)).unwrap();
    fs::copy(public, elsewhere.path().join(name)).unwrap();
    symlink(elsewhere.path().join(name), place.path("keys.d").join(name)).unwrap();
    let mut running = Running::start(&mut place.seal_to("deep/x"));
    running.write("first\n");
    wait_for_text(&place.path("log/deep/x.pgp"), "first\n");
    // Read after it, so the link was, too.
    place.add_key(&keys::openpgpjs().public);
    assert!(wait_for(SOON, || Log::open(&[place.path("log/deep/x.pgp")], &[&keys::sequoia_v6().secret])
        .kinds()
        .contains(&"recipients")));
    running.end_well();
}

#[test]
fn folders_for_state_and_progress_are_made_and_a_missing_log_folder_too_when_asked_for() {
    let place = fast();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-apache"));
    command.arg("--keys").arg(place.path("keys.d"));
    command.arg("--state").arg(place.path("new/lib/state")).arg("--runtime").arg(place.path("new/run/run"));
    command.arg("-D").arg(place.path("log/%Y/a/b/x"));
    let mut running = Running::start(&mut command);
    running.write("first\n");
    let year = jiff::Zoned::now().strftime("%Y").to_string();
    let file = place.path(&format!("log/{year}/a/b/x.pgp"));
    wait_for_text(&file, "first\n");
    running.end_well();
    assert_eq!(names(&place.path("new/lib/state")).len(), 1);
}

#[test]
fn a_link_into_another_folder_is_renewed() {
    let place = fast();
    fs::create_dir(place.path("links")).unwrap();
    let link = place.path("links/current");
    let mut command = place.apache();
    command.arg("-L").arg(&link).arg(place.path("log/deep/x.%s")).arg("1");
    let mut running = Running::start(&mut command);
    let linked = |text: &str| wait_for(SOON, || link.exists() && self::text(&link) == text);
    running.write("first\n");
    assert!(linked("first\n"), "{}", running.told());
    sleep(Duration::from_millis(1100));
    running.write("second\n");
    assert!(linked("second\n"), "{}", running.told());
    running.end_well();
}

#[test]
fn a_program_runs_unconfined_beside_a_filter_that_can_run_none() {
    let (place, elsewhere) = (fast(), tempfile::tempdir().unwrap());
    let (program, out) = (place.path("program"), elsewhere.path().join("out"));
    let script = "#!/bin/bash\nexec 3<>/dev/udp/127.0.0.1/9 && wc -c </etc/passwd >";
    fs::write(&program, format!("{script}{}\n", out.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = place.apache();
    command.arg("-p").arg(&program).arg(place.path("log/deep/x"));
    let mut running = Running::start(&mut command);
    let pid = running.pid();
    let helper = wait_children(pid).trim().to_owned();
    assert!(!helper.is_empty() && !helper.contains(' '), "one helper: {helper:?}");
    // What a service manager sends to all, as soon as it can be taken.
    assert!(wait_for(SOON, || catches(helper.parse().unwrap(), Signal::SIGTERM)));
    must(tool("kill").args(["-TERM", &helper]), b"");
    running.write("first\n");
    assert!(wait_for(SOON, || fs::read_to_string(&out).is_ok_and(|size| size.trim().parse::<u64>().is_ok_and(|size| size > 0))));
    if Uid::effective().is_root() {
        assert!(inside(pid, &[execute("/nowhere")])[0].iter().all(|error| *error == Errno::EPERM));
    }
    running.end_well();
    let gone = || fs::read_to_string(format!("/proc/{helper}/stat")).map_or(true, |stat| stat.contains(") Z "));
    assert!(wait_for(SOON, gone), "the helper {helper} is there still");
}

/// The children of a process, once it has some.
fn wait_children(pid: u32) -> String {
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    assert!(wait_for(SOON, || !children().is_empty()), "it has no child");
    children()
}

// What cannot be had.

#[test]
fn a_kernel_without_landlock_or_seccomp_is_told_once_and_in_the_genesis_record() {
    let cases: [(&[&str], &[&str]); 4] = [
        (&["landlock_create_ruleset:error=ENOSYS"], &["Landlock"]),
        (&["landlock_create_ruleset:error=EOPNOTSUPP"], &["Landlock"]),
        (&["seccomp:error=EINVAL"], &["seccomp"]),
        (&["landlock_restrict_self:error=EPERM", "seccomp:error=ENOSYS"], &["Landlock", "seccomp"]),
    ];
    for (faults, missing) in cases {
        let place = fast();
        let command = place.seal_to("deep/x");
        let mut traced = tool("strace");
        traced.args(["-f", "-qq", "-o"]).arg(place.path("trace"));
        traced.args(faults.iter().flat_map(|fault| ["-e".to_owned(), format!("inject={fault}")]));
        traced.arg(command.get_program()).args(command.get_args());
        let mut running = Running::start(&mut traced);
        running.write("first\n");
        wait_for_text(&place.path("log/deep/x.pgp"), "first\n");
        running.write("second\n");
        let ended = running.end();
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(missing.iter().all(|name| ended.stderr.contains(name)), "{ended:?}");
        let file = place.path("log/deep/x.pgp");
        assert_eq!(text(&file), "first\nsecond\n");
        let lacks = lacks(&file);
        assert!(
            lacks.len() == missing.len() && lacks.iter().zip(missing).all(|(said, name)| said.starts_with(name)),
            "{lacks:?}"
        );
    }
    // And nothing is told where no line comes: Apache starts each program twice.
    let place = fast();
    let command = place.seal_to("deep/x");
    let mut traced = tool("strace");
    traced.args(["-f", "-qq", "-e", "inject=seccomp:error=EINVAL", "-o"]).arg(place.path("trace"));
    traced.arg(command.get_program()).args(command.get_args());
    assert!(seal_all(&mut traced, b"").stderr.is_empty());
}

// Another user.

fn status(pid: u32, field: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).expect("the kernel tells it");
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn as_another_user_it_rotates_and_never_is_root_again() {
    if !Uid::effective().is_root() {
        return;
    }
    let place = fast();
    chown(place.path("log/deep"), Some(NOBODY), Some(NOBODY)).unwrap();
    // The groups of a login: nobody reads logs, here.
    let accounts = fs::read_to_string("/etc/group").unwrap();
    let adm = accounts.lines().find(|line| line.starts_with("adm:")).expect("Debian has it").to_owned();
    let number = adm.split(':').nth(2).unwrap().to_owned();
    let (group, wrapper) = (place.path("group"), place.path("wrapper"));
    fs::write(&group, accounts.replace(&adm, &format!("adm:x:{number}:nobody"))).unwrap();
    fs::write(&wrapper, format!("#!/bin/sh\nmount --bind {} /etc/group && exec \"$@\"\n", group.display())).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    for sandbox in [true, false] {
        let mut command = tool("unshare");
        command.arg("-m").arg(&wrapper).arg(env!("CARGO_BIN_EXE_sealedlog-apache"));
        command.args(["--user", "nobody", "--keys"]).arg(place.path("keys.d"));
        let own = |name: &str| place.path(&format!("lib{sandbox}/{name}"));
        command.arg("--state").arg(own("state")).arg("--runtime").arg(own("run"));
        command.args(if sandbox { &[][..] } else { &["--no-sandbox"] });
        command.arg(place.path(&format!("log/deep/{sandbox}.%s"))).arg("1");
        let mut running = Running::start(&mut command);
        let files = || names(&place.path("log/deep")).into_iter().filter(|name| name.starts_with(&sandbox.to_string())).collect();
        for count in 1..=3 {
            running.write("line\n");
            assert!(wait_for(SOON, || Vec::<String>::len(&files()) == count), "{}", running.told());
            sleep(Duration::from_millis(1100));
        }
        let pid = running.pid();
        let ids = vec![NOBODY.to_string(); 4];
        assert_eq!((status(pid, "Uid"), status(pid, "Gid")), (ids.clone(), ids));
        let mut groups = status(pid, "Groups");
        groups.sort();
        let mut expected = vec![number.clone(), NOBODY.to_string()];
        expected.sort();
        assert_eq!(groups, expected);
        for set in ["CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(pid, set), ["0000000000000000"], "{set}");
        }
        // It was root; its memory stays locked as it was for that.
        assert_ne!(status(pid, "VmLck")[0], "0");
        let calls = [call(libc::SYS_setuid, 0, 0), call(libc::SYS_setresuid, 0, 0), call(libc::SYS_setgid, 0, 0)];
        let seen = inside(pid, &calls);
        assert!(seen.iter().flatten().all(|error| *error == Errno::EPERM), "{seen:?}");
        running.end_well();
        for file in files() {
            let metadata = fs::metadata(place.path("log/deep").join(&file)).unwrap();
            assert_eq!(
                (metadata.uid(), metadata.gid().to_string(), metadata.mode() & 0o777),
                (NOBODY, number.clone(), 0o640),
                "{file}"
            );
        }
        for folder in ["state", "run"] {
            let metadata = fs::metadata(own(folder)).unwrap();
            assert_eq!((metadata.uid(), metadata.mode() & 0o777), (NOBODY, 0o700));
            assert_eq!(names(&own(folder)).len(), 1);
        }
        assert_eq!(fs::metadata(place.path(&format!("lib{sandbox}"))).unwrap().uid(), 0);
    }
}

#[test]
fn a_user_that_cannot_work_here_is_refused_before_the_first_line() {
    let place = fast();
    let refused = |command: &mut Command, error: &str, hint: &str| {
        let ended = seal_all(command, b"line\n");
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert!(lines.len() == 2 && lines[0].contains(error) && lines[1].contains(hint), "{ended:?}");
        assert!(names(&place.path("log/deep")).is_empty());
    };
    refused(place.seal_to("deep/x").args(["--user", "no-such-user"]), "there is no user no-such-user", "adduser");
    let mut daemon = unprivileged(&place, &place.seal_to("deep/x"));
    refused(daemon.args(["--user", "daemon"]), "cannot become user daemon: this is not run as root", "--user");
    if !Uid::effective().is_root() {
        return;
    }
    let mut command = place.seal_to("deep/x");
    command.args(["--user", "nobody"]);
    let state = place.path("state").display().to_string();
    refused(&mut command, &format!("user nobody cannot write to {state}"), "--state");
    for folder in ["state", "run"] {
        chown(place.path(folder), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let folder = place.path("log/deep").display().to_string();
    refused(&mut command, &format!("cannot write to {folder}"), "let the user that the program runs as write to it");
    chown(place.path("log/deep"), Some(NOBODY), Some(NOBODY)).unwrap();
    let keys = place.path("keys.d");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
    refused(&mut command, "cannot read", "may be read by the user");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(seal_all(&mut command, b"line\n").status.success());
    // Who is that user already has nothing to do.
    let mut same = unprivileged(&place, &place.seal_to("deep/y"));
    assert!(seal_all(same.args(["--user", "nobody"]), b"line\n").status.success());
}
