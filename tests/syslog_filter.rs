//! `sealedlog-syslog` behind pipes as a syslog daemon holds them: which line goes to which log.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use sealedlog::control::Event;

use common::disk::SmallDisk;
use common::keys;
use common::lines::{Random, nasty};
use common::sealed::{Log, Place, Running, SOON, names, seal_all};
use common::tools::{tool, wait_for};

fn fast() -> Place {
    Place::new(&[&keys::sequoia_v6().public])
}

fn secret() -> &'static Path {
    &keys::sequoia_v6().secret
}

/// Files of the log folder, without it.
fn logs(place: &Place) -> Vec<String> {
    let root = place.path("log");
    let mut files: Vec<String> = place
        .files()
        .iter()
        .filter_map(|file| file.strip_prefix(&root).ok())
        .map(|file| file.to_str().expect("names are encoded").to_owned())
        .collect();
    files.sort();
    files
}

/// What a file of the log folder holds, in which nothing may be missing.
fn text(place: &Place, name: &str) -> Vec<u8> {
    let log = Log::whole(&place.path("log").join(name), secret());
    log.assert_settled();
    log.text()
}

fn genesis_host(log: &Log) -> &str {
    let host = log.events().find_map(|event| if let Event::Genesis(genesis) = event { Some(&genesis.host) } else { None });
    host.expect("every file begins with one")
}

fn wait_for_file(file: &Path, text: &[u8]) {
    assert!(wait_for(SOON, || file.exists() && Log::open(&[file], &[secret()]).text() == text), "{}", file.display());
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the tests run as root, or as who runs the filter").count()
}

// Routes.

#[test]
fn each_host_has_a_stream_of_its_own() {
    for (public, secret, suffix) in [
        (&keys::sequoia_v6().public, secret(), "pgp"),
        (&keys::gpg_cv25519().public, &keys::gpg_cv25519().secret, "pgp"),
        (&keys::age().public, &keys::age().secret, "age64"),
    ] {
        let place = Place::new(&[public]);
        let mut input = Vec::new();
        let mut expected: BTreeMap<(&str, &str), Vec<u8>> = BTreeMap::new();
        for number in 0..300 {
            let (host, log) = (["a", "b.example.org"][number % 2], ["auth", "mail", "mail"][number % 3]);
            let line = format!("line {number} of {host}\n");
            input.extend_from_slice(format!("{host}/{log} {line}").as_bytes());
            expected.entry((host, log)).or_default().extend_from_slice(line.as_bytes());
        }
        let ended = seal_all(&mut place.syslog("{host}/{log}.log"), &input);
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
        assert_eq!(logs(&place).len(), 4);
        let (mut streams, mut writers) = (HashSet::new(), HashSet::new());
        for ((host, log), text) in expected {
            let file = place.path("log").join(host).join(format!("{log}.log.{suffix}"));
            let sealed = Log::whole(&file, secret);
            sealed.assert_settled();
            assert!(sealed.text() == text, "{host}/{log}");
            assert_eq!(genesis_host(&sealed), host);
            let Some(Event::Genesis(genesis)) = sealed.events().next() else { unreachable!() };
            assert_eq!(genesis.log, place.path("log").join(host).join(format!("{log}.log")).display().to_string());
            assert_eq!(sealed.genesis.len(), 1);
            streams.extend(sealed.genesis.keys().copied());
            writers.extend(sealed.entries.iter().filter_map(|entry| match &entry.content {
                common::sealed::Content::Control(control) => Some(control.writer),
                common::sealed::Content::Line(_) => None,
            }));
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
            let folder = fs::metadata(file.parent().unwrap()).unwrap();
            assert_eq!(folder.mode() & 0o7777, 0o750);
            if nix::unistd::Uid::effective().is_root() {
                let adm = nix::unistd::Group::from_name("adm").unwrap().expect("Debian has it").gid;
                assert_eq!(folder.gid(), adm.as_raw());
            }
        }
        assert_eq!((streams.len(), writers.len()), (4, 4));
        assert_eq!(names(&place.path("state")).len(), 4);
    }
}

#[test]
fn hostile_fields_stay_in_the_folder_and_cost_no_line() {
    let place = fast();
    let long = "h".repeat(300);
    let fields: Vec<Vec<u8>> = [
        "../../etc/x",
        "/abs",
        "//abs/../..",
        "",
        "/",
        ".",
        "..",
        "./.",
        "../..",
        "%Y",
        "%%",
        "{host}",
        "{log}/{host}",
        "-",
        "a.pgp",
        "a",
        "a\tb",
        "a/..",
        "\u{1b}[2J",
        "é/ü",
        &long,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([b"nul\0byte/x".to_vec(), b"\xff\xfe".to_vec(), vec![b'/'; 511]])
    .collect();
    let mut input = Vec::new();
    let mut lines = HashSet::new();
    for (number, field) in fields.iter().enumerate() {
        let line = format!("needle {number}\n").into_bytes();
        input.extend_from_slice(&[field, &b" "[..], &line].concat());
        lines.insert(line);
    }
    // Without a field: sealed whole.
    for line in [b"nospace\n".to_vec(), b"\n".to_vec(), [vec![b'x'; 600], b" y\n".to_vec()].concat(), b"no-end".to_vec()] {
        input.extend_from_slice(&line);
        lines.insert(line);
    }
    let before: HashSet<PathBuf> = place.files().into_iter().collect();
    let outside = names(Path::new("/etc"));
    let ended = seal_all(&mut place.syslog("d-%Y/{host}/{log}"), &input);
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert_eq!(names(Path::new("/etc")), outside);
    let mut back = Vec::new();
    for file in place.files().iter().filter(|file| !before.contains(*file)) {
        let in_log = file.strip_prefix(place.path("log"));
        let Ok(name) = in_log else {
            assert!(file.starts_with(place.path("state")), "{}", file.display());
            continue;
        };
        let parts: Vec<&str> = name.to_str().unwrap().split('/').collect();
        assert_eq!(parts.len(), 3, "{parts:?}");
        assert!(parts[0].starts_with("d-2") && parts.iter().all(|part| !part.starts_with('.')), "{parts:?}");
        back.extend(Log::whole(file, secret()).lines().cloned());
    }
    assert!(back.len() == lines.len() && back.into_iter().collect::<HashSet<_>>() == lines, "lines are missing or changed");
    place.assert_nowhere("needle");
    // A host that calls itself as another one's file, and those that are no name at all.
    for (host, numbers) in
        [("a", vec![15]), ("a.pgp", vec![14]), ("-", vec![1, 2, 3, 4, 13]), ("%2E.", vec![0, 6, 8]), ("%2E", vec![5, 7])]
    {
        let year = names(&place.path("log"))[0].clone();
        let folder = place.path("log").join(year).join(host);
        let mut found = HashSet::new();
        for name in names(&folder) {
            let log = Log::whole(&folder.join(&name), secret());
            assert_eq!(genesis_host(&log), host);
            found.extend(log.lines().cloned());
        }
        for number in numbers {
            assert!(found.contains(format!("needle {number}\n").as_bytes()), "{host}: {number}: {found:?}");
        }
    }
}

#[test]
fn a_template_with_one_placeholder_or_none() {
    let place = fast();
    let input = b"web1/x one\nweb2 two\nthree\n";
    for (template, expected) in [
        ("h-{host}", vec![("h--.pgp", &b"three\n"[..]), ("h-web1%2Fx.pgp", b"one\n"), ("h-web2.pgp", b"two\n")]),
        ("l-{log}.pgp", vec![("l--.pgp", b"three\n"), ("l-web1%2Fx.pgp", b"one\n"), ("l-web2.pgp", b"two\n")]),
        ("none", vec![("none.pgp", input)]),
    ] {
        assert!(seal_all(&mut place.syslog(template), input).status.success());
        for (name, expected) in expected {
            assert_eq!(text(&place, name), expected, "{name}");
        }
    }
    assert_eq!(logs(&place).len(), 7);
    let log = Log::whole(&place.path("log/l-web2.pgp"), secret());
    assert_eq!(genesis_host(&log), nix::unistd::gethostname().unwrap().to_str().unwrap());
}

#[test]
fn every_input_comes_back_byte_for_byte() {
    let place = fast();
    for (name, input) in nasty() {
        let text = format!("{}.log", name.replace([' ', ','], "-"));
        let ended = seal_all(&mut place.syslog(&text), &input);
        assert!(ended.status.success() && ended.stderr.is_empty(), "{name}: {ended:?}");
        if !input.is_empty() {
            assert!(Log::whole(&place.path("log").join(format!("{text}.pgp")), secret()).text() == input, "{name}");
        }
    }
    // A long line in pieces, the field in the first one only.
    let long = [&b"a/b "[..], &vec![b' '; 5000], b"/ \n"].concat();
    let mut command = place.syslog("{host}/{log}");
    assert!(seal_all(command.args(["--max-line", "1024"]), &[&long[..], b"a/c x\n", &long].concat()).status.success());
    assert!(text(&place, "a/b.pgp") == [&long[4..], &long[4..]].concat());
    assert_eq!(text(&place, "a/c.pgp"), b"x\n");
}

#[test]
fn what_cannot_work_is_told_at_the_start() {
    let place = fast();
    fs::create_dir(place.path("log/plain.pgp")).unwrap();
    for (template, options, told) in [
        ("{hosts}.log", &[][..], "unknown placeholder"),
        ("{host}{log}", &[], "nothing keeps the placeholders apart"),
        ("none/{host}", &[], "No such file or directory"),
        ("{host}@{log}@{host}", &[], "longer than a file name"),
        ("%Q", &[], "unknown conversion"),
        ("plain", &[], "not a regular file"),
        ("{host}", &["--max-line", "1000"], "cut into pieces"),
        ("{host}", &["--group"], "lines cannot share a record"),
        ("log", &["--group", "--confirm-messages"], "lines cannot share a record"),
        ("{host}", &["--max-open", "0"], "0 is not in 1.."),
    ] {
        let ended = seal_all(place.syslog(template).args(options), b"a b\n");
        assert_eq!(ended.status.code(), Some(2), "{template}: {ended:?}");
        assert!(ended.stderr.contains(told), "{template}: {ended:?}");
    }
    assert!(names(&place.path("state")).is_empty() && logs(&place).is_empty());
}

#[test]
fn more_logs_than_may_be_open() {
    let place = fast();
    let mut running = Running::start(place.syslog("{host}").args(["--max-open", "4"]));
    running.write("h0 first\n");
    wait_for_file(&place.path("log/h0.pgp"), b"first\n");
    let alone = descriptors(running.pid());
    let mut random = Random(5);
    let mut expected: BTreeMap<String, Vec<u8>> = BTreeMap::from([("h0".to_owned(), b"first\n".to_vec())]);
    let mut most = 0;
    for round in 0..12 {
        let mut block = Vec::new();
        for number in 0..20 {
            let host = format!("h{}", random.below(15));
            let line = format!("{round} {number}\n");
            block.extend_from_slice(format!("{host} {line}").as_bytes());
            expected.entry(host).or_default().extend_from_slice(line.as_bytes());
        }
        running.write(block);
        sleep(Duration::from_millis(100));
        // Now in the midst of it, now when all is done.
        if round % 2 == 0 {
            running.wait_idle();
        }
        most = most.max(descriptors(running.pid()));
    }
    // A file and two progress values each, and what a synchronisation or the next epoch has open for a moment.
    assert!(most <= alone + 3 * 6, "{most} descriptors, {alone} with one log");
    running.end_well();
    assert_eq!(expected.len(), 15);
    for (host, lines) in expected {
        assert!(text(&place, &format!("{host}.pgp")) == lines, "{host}");
    }
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let place = fast();
    let command = place.syslog("{host}");
    let mut limited = tool("prlimit");
    limited.arg("--nofile=40:1000").arg(command.get_program()).args(command.get_args());
    let input: String = (0..100).map(|number| format!("h{number} x\n")).collect();
    let ended = seal_all(&mut limited, input.as_bytes());
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert_eq!(logs(&place).len(), 100);
}

// Time, signals, keys.

#[test]
fn a_file_changes_when_its_name_does() {
    let place = fast();
    let command = place.syslog("%Y/{host}.%H-%M");
    let mut faked = tool("faketime");
    // An hour in two seconds, for as long as it takes to come to the next year.
    faked.args(["-f", "@2030-12-31 20:00:00 x1800"]).env("TZ", "UTC");
    faked.arg(command.get_program()).args(command.get_args());
    let mut running = Running::start(&mut faked);
    let mut expected = Vec::new();
    assert!(wait_for(SOON, || {
        let line = format!("line {}\n", expected.len());
        running.write(format!("a {line}"));
        expected.extend_from_slice(line.as_bytes());
        sleep(Duration::from_millis(300));
        place.path("log/2031").exists()
    }));
    running.end_well();
    let files = logs(&place);
    assert!(files.len() >= 3 && files[0].starts_with("2030/a.2") && files.last().unwrap().starts_with("2031/a."), "{files:?}");
    let paths: Vec<PathBuf> = files.iter().map(|file| place.path("log").join(file)).collect();
    let log = Log::open(&paths, &[secret()]);
    assert_eq!((log.text(), log.damage.len(), log.genesis.len()), (expected, 0, 1));
    log.assert_settled();
    let segments = log.events().filter(|event| event.kind() == "segment").count();
    assert_eq!(segments, files.len());
}

#[test]
fn a_hangup_opens_all_files_again() {
    let place = fast();
    let mut running = Running::start(&mut place.syslog("{host}/{log}"));
    running.write("a/x one\nb/x one\n");
    for host in ["a", "b"] {
        wait_for_file(&place.path("log").join(host).join("x.pgp"), b"one\n");
    }
    fs::rename(place.path("log/a/x.pgp"), place.path("log/a/x.1.pgp")).unwrap();
    // A folder that went away is made again.
    fs::rename(place.path("log/b"), place.path("log/b.old")).unwrap();
    running.signal(Signal::SIGHUP);
    for host in ["a", "b"] {
        assert!(wait_for(SOON, || place.path("log").join(host).join("x.pgp").exists()));
    }
    running.write("a/x two\nb/x two\n");
    running.end_well();
    for (old, new) in [("a/x.1.pgp", "a/x.pgp"), ("b.old/x.pgp", "b/x.pgp")] {
        let both = Log::open(&[place.path("log").join(old), place.path("log").join(new)], &[secret()]);
        assert_eq!((both.text(), both.damage.len()), (b"one\ntwo\n".to_vec(), 0));
        both.assert_settled();
        assert_eq!(text(&place, new), b"two\n");
    }
}

#[test]
fn a_termination_is_not_the_end_before_the_end_of_input() {
    let place = fast();
    let mut running = Running::start(&mut place.syslog("{host}"));
    running.write("a one\n");
    wait_for_file(&place.path("log/a.pgp"), b"one\n");
    running.signal(Signal::SIGTERM);
    sleep(Duration::from_millis(200));
    running.write("a two\nb three\na no end");
    running.end_well();
    assert_eq!(text(&place, "a.pgp"), b"one\ntwo\nno end");
    assert_eq!(text(&place, "b.pgp"), b"three\n");
}

#[test]
fn a_key_change_is_one_of_all_logs() {
    let place = fast();
    let mut running = Running::start(&mut place.syslog("{host}"));
    running.write("a one\nb one\n");
    for host in ["a", "b"] {
        wait_for_file(&place.path("log").join(format!("{host}.pgp")), b"one\n");
    }
    let old = place.path("keys.d").join(keys::sequoia_v6().public.file_name().unwrap());
    place.add_key(&keys::age().public);
    fs::remove_file(old).unwrap();
    running.signal(Signal::SIGHUP);
    for host in ["a", "b"] {
        assert!(wait_for(SOON, || place.path("log").join(format!("{host}.age64")).exists()), "{:?}", running.told());
    }
    running.write("a two\nb two\nc two\n");
    assert!(running.end().status.success());
    for host in ["a", "b"] {
        let log = Log::whole(&place.path("log").join(format!("{host}.pgp")), secret());
        assert_eq!(log.text(), b"one\n");
        assert!(log.events().any(|event| event.kind() == "recipients"));
    }
    for host in ["a", "b", "c"] {
        let log = Log::whole(&place.path("log").join(format!("{host}.age64")), &keys::age().secret);
        assert_eq!(log.text(), b"two\n");
        assert_eq!(genesis_host(&log), host);
    }
}

// Full disks.

#[test]
fn one_log_on_a_full_disk_holds_back_or_drops_for_itself() {
    for policy in ["block", "drop"] {
        let place = fast();
        fs::create_dir(place.path("log/full")).unwrap();
        let disk = SmallDisk::mount(&place.path("log/full"), 64);
        let mut running = Running::start(place.syslog("{host}/log").args(["--when-full", policy]));
        running.write("full one\nok one\n");
        let (full, ok) = (place.path("log/full/log.pgp"), place.path("log/ok/log.pgp"));
        wait_for_file(&full, b"one\n");
        wait_for_file(&ok, b"one\n");
        let ballast = disk.fill();
        // More than what is left of its last page.
        let (mut sent, line) = (b"one\n".to_vec(), format!("{}\n", "x".repeat(5000)));
        for _ in 0..3 {
            running.write(format!("full {line}"));
            sent.extend_from_slice(line.as_bytes());
        }
        running.wait_told("No space left on device");
        running.write("ok two\n");
        if policy == "drop" {
            wait_for_file(&ok, b"one\ntwo\n");
        } else {
            sleep(Duration::from_millis(500));
            assert_eq!(Log::open(&[&ok], &[secret()]).text(), b"one\n");
        }
        fs::remove_file(ballast).unwrap();
        running.wait_told("the log can be written again");
        running.write("full end\n");
        sent.extend_from_slice(b"end\n");
        let ended = running.end();
        assert!(ended.status.success(), "{ended:?}");
        let log = Log::open(&[&full], &[secret()]);
        log.assert_settled();
        assert!(log.text() == sent, "{policy}");
        assert_eq!(text(&place, "ok/log.pgp"), b"one\ntwo\n");
    }
}

#[test]
fn a_line_for_which_no_log_can_be_opened_is_counted_or_refused() {
    let place = fast();
    fs::create_dir(place.path("log/full")).unwrap();
    let disk = SmallDisk::mount(&place.path("log/full"), 64);
    let long = "x".repeat(5000);
    let mut running = Running::start(place.syslog("{host}/log").args(["--when-full", "drop", "--max-open", "1"]));
    let file = place.path("log/full/log.pgp");
    running.write("full one\n");
    wait_for_file(&file, b"one\n");
    let ballast = disk.fill();
    running.write(format!("full {long}\n"));
    running.wait_told("No space left on device");
    running.write("other lost\nother lost, too\n");
    running.wait_idle();
    fs::remove_file(ballast).unwrap();
    running.wait_told("the log can be written again");
    running.write("other two\nfull end\n");
    assert!(running.end().status.success());
    let log = Log::open(&[&file], &[secret()]);
    assert!(log.text() == format!("one\n{long}\nend\n").as_bytes());
    let gaps: Vec<_> = log
        .events()
        .filter_map(|event| if let Event::Gap(gap) = event { Some((gap.lines, gap.bytes, gap.why.as_str())) } else { None })
        .collect();
    let [(2, 27, why)] = gaps[..] else { panic!("{gaps:?}") };
    assert!(why.contains("those of others"), "{why}");
    assert_eq!(text(&place, "other/log.pgp"), b"two\n");

    let mut exchange = confirming(&place, "{host}/log", &["--confirm-messages", "--max-open", "1"]);
    assert_eq!(exchange.answer(), "OK");
    let ballast = disk.fill();
    assert!(exchange.say(&format!("full {long}")).contains("No space left"));
    assert_eq!(exchange.say("other three"), "cannot open another log: all that may be open are blocked");
    fs::remove_file(ballast).unwrap();
    assert_eq!(exchange.say(&format!("full {long}")), "OK");
    assert_eq!(exchange.say("other three"), "OK");
    assert!(exchange.running.end().status.success());
    assert_eq!(text(&place, "other/log.pgp"), b"two\nthree\n");
}

// The protocols of rsyslog's omprog.

/// The daemon's end of the exchange.
struct Exchange {
    running: Running,
    answers: Receiver<String>,
}

impl Exchange {
    fn start(command: &mut Command) -> Exchange {
        let mut running = Running::start_with(command.stdout(Stdio::piped()));
        let out = running.child().stdout.take().expect("it is a pipe");
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n') {
                let line = String::from_utf8(line.expect("readable")).expect("answers are text");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Exchange { running, answers }
    }

    fn answer(&self) -> String {
        self.answers.recv_timeout(SOON).unwrap_or_else(|_| panic!("no answer; it told {:?}", self.running.told()))
    }

    fn silent(&self) {
        sleep(Duration::from_millis(200));
        assert!(self.answers.try_recv().is_err(), "an answer that nobody waits for");
    }

    /// One line, and its answer.
    fn say(&mut self, line: &str) -> String {
        self.running.write(format!("{line}\n"));
        self.answer()
    }

    fn transaction(&mut self, lines: &[&str]) {
        assert_eq!(self.say("BEGIN TRANSACTION"), "OK");
        for line in lines {
            assert_eq!(self.say(line), "DEFER_COMMIT");
        }
        assert_eq!(self.say("COMMIT TRANSACTION"), "OK");
    }

    fn end_well(self) {
        self.running.end_well();
        assert!(self.answers.recv().is_err(), "answers after the end of input");
    }
}

fn confirming(place: &Place, template: &str, options: &[&str]) -> Exchange {
    Exchange::start(place.syslog(template).args(options))
}

#[test]
fn each_message_is_confirmed_after_it_is_in_the_file() {
    let place = fast();
    let mut exchange = confirming(&place, "{host}", &["--confirm-messages"]);
    assert_eq!(exchange.answer(), "OK");
    exchange.silent();
    assert!(logs(&place).is_empty());
    let (file, mut text) = (place.path("log/a.pgp"), Vec::new());
    // Without transactions there are no marks.
    for line in ["a one", "a two", "a BEGIN TRANSACTION", "BEGIN TRANSACTION", "COMMIT TRANSACTION", "a "] {
        assert_eq!(exchange.say(line), "OK", "{line}");
        if let Some(body) = line.strip_prefix("a ") {
            text.extend_from_slice(format!("{body}\n").as_bytes());
        }
        assert_eq!(Log::whole(&file, secret()).text(), text);
    }
    exchange.running.write("a thr");
    exchange.silent();
    exchange.running.write("ee\nb four\na five\n");
    assert_eq!([exchange.answer(), exchange.answer(), exchange.answer()], ["OK", "OK", "OK"]);
    exchange.silent();
    exchange.running.write("a no end");
    exchange.end_well();
    text.extend_from_slice(b"three\nfive\nno end");
    assert_eq!(self::text(&place, "a.pgp"), text);
    assert_eq!(self::text(&place, "BEGIN.pgp"), b"TRANSACTION\n");
}

#[test]
fn transactions_end_on_the_disk() {
    let place = fast();
    let command = place.syslog("{host}");
    let mut strace = tool("strace");
    strace.args(["-f", "-qq", "-y", "-e", "trace=fdatasync,fsync,write", "-o"]).arg(place.path("trace"));
    strace.arg(command.get_program()).args(command.get_args()).arg("--use-transactions");
    let mut exchange = Exchange::start(&mut strace);
    assert_eq!(exchange.answer(), "OK");
    // Whether a file was brought to the disk after the last write to it, and that before the last answer.
    let is_on_disk = |name: &str| {
        let trace = fs::read_to_string(place.path("trace")).unwrap();
        let last = |call: &str, file: &str| trace.lines().rev().position(|line| line.contains(call) && line.contains(file));
        let file = format!("log/{name}.pgp>");
        let written = last(" write(", &file).expect("written");
        let answered = last(" write(1<", "OK").expect("answered");
        last("fdatasync(", &file).is_some_and(|synced| written > synced && synced > answered)
    };
    assert_eq!(exchange.say("BEGIN TRANSACTION"), "OK");
    for (number, line) in ["a one", "b one", "a two", "a COMMIT TRANSACTION", "a two"].into_iter().enumerate() {
        assert_eq!(exchange.say(line), "DEFER_COMMIT");
        let lines: usize = ["a", "b"]
            .iter()
            .filter_map(|host| Some(place.path(&format!("log/{host}.pgp"))).filter(|file| file.exists()))
            .map(|file| Log::whole(&file, secret()).lines().count())
            .sum();
        assert_eq!(lines, number + 1, "an answer before the line is in its file");
    }
    assert!(!is_on_disk("a"), "this would be seen without a commit, too");
    // The name of a file is on the disk when its folder is.
    let names_synced = || {
        let trace = fs::read_to_string(place.path("trace")).unwrap();
        trace.lines().filter(|line| line.contains(" fsync(") && line.contains("/log>")).count()
    };
    assert_eq!(exchange.say("COMMIT TRANSACTION"), "OK");
    assert!(is_on_disk("a") && is_on_disk("b"));
    assert_eq!(names_synced(), 2);
    // The next one has only one of them.
    exchange.transaction(&["b two"]);
    assert!(is_on_disk("b"));
    assert_eq!(names_synced(), 2, "once a file is enough");
    exchange.transaction(&[]);
    // Outside of a transaction.
    assert_eq!(exchange.say("a three"), "OK");
    assert!(is_on_disk("a"));
    assert_eq!(exchange.say("COMMIT TRANSACTION"), "OK");
    // A mark is a whole line.
    assert_eq!(exchange.say("BEGIN TRANSACTION "), "OK");
    exchange.end_well();
    assert_eq!(text(&place, "a.pgp"), b"one\ntwo\nCOMMIT TRANSACTION\ntwo\nthree\n");
    assert_eq!(text(&place, "BEGIN.pgp"), b"TRANSACTION \n");
}

#[test]
fn a_refused_line_that_comes_again_is_there_once() {
    for (options, answers) in [(["--confirm-messages"], ["OK"; 2]), (["--use-transactions"], ["OK", "DEFER_COMMIT"])] {
        for (public, secret, suffix) in
            [(&keys::sequoia_v6().public, secret(), "pgp"), (&keys::age().public, &keys::age().secret, "age64")]
        {
            let place = Place::new(&[public]);
            fs::create_dir(place.path("log/full")).unwrap();
            let disk = SmallDisk::mount(&place.path("log/full"), 64);
            let mut exchange = confirming(&place, "{host}/log", &options);
            let stored = answers[1];
            assert_eq!(exchange.answer(), answers[0]);
            if stored != "OK" {
                assert_eq!(exchange.say("BEGIN TRANSACTION"), "OK");
            }
            let file = place.path(&format!("log/full/log.{suffix}"));
            assert_eq!(exchange.say("full one"), stored);
            disk.fill();
            let long = format!("full {}", "needle".repeat(1000));
            for _ in 0..3 {
                let answer = exchange.say(&long);
                let told = format!("cannot write to {}: No space left on device", file.display());
                assert!(answer.starts_with(&told), "{answer}");
                // Another log goes on.
                assert_eq!(exchange.say("ok one"), stored);
            }
            // Nor does another line come before it.
            assert!(exchange.say("full other").contains("No space left"));
            if stored != "OK" {
                assert_eq!(exchange.say("BEGIN TRANSACTION"), "OK");
            }
            disk.grow();
            assert_eq!(exchange.say(&long), stored);
            assert_eq!(exchange.say(&long), stored);
            assert_eq!(exchange.say("full end"), stored);
            if stored != "OK" {
                assert_eq!(exchange.say("COMMIT TRANSACTION"), "OK");
            }
            let ended = exchange.running.end();
            assert!(ended.status.success() && !ended.stderr.contains("needle"), "{ended:?}");
            let log = Log::open(&[&file], &[secret]);
            assert!(log.damage.iter().all(|(_, damage)| damage.repeated), "{:?}", log.damage);
            log.assert_settled();
            // Sent twice after the refusal, there twice.
            let body = &long[5..];
            assert!(log.text() == format!("one\n{body}\n{body}\nend\n").as_bytes(), "{} lines", log.lines().count());
        }
    }
}

#[test]
fn a_long_line_is_answered_once_and_is_whole_after_a_refusal() {
    let place = fast();
    fs::create_dir(place.path("log/full")).unwrap();
    let disk = SmallDisk::mount(&place.path("log/full"), 384);
    let mut exchange = confirming(&place, "{host}/log", &["--confirm-messages", "--max-line", "65536"]);
    assert_eq!(exchange.answer(), "OK");
    let line = |seed: u64, length: usize| {
        let mut random = Random(seed);
        (0..length).map(|_| char::from(b'a' + random.below(26) as u8)).collect::<String>()
    };
    let (first, second, third) = (line(1, 700_000), line(2, 700_000), line(3, 300_000));
    // Its pieces do not fit; those that were sealed are not sealed again.
    for _ in 0..3 {
        assert!(exchange.say(&format!("full {first}")).contains("No space left"));
        exchange.silent();
    }
    // One that begins alike cannot be told from it in time.
    disk.grow();
    let alike = format!("{}{second}", &first[..200_000]);
    assert_eq!(exchange.say(&format!("full {alike}")), "the line before is in the log now; this one has to come again");
    assert_eq!(exchange.say(&format!("full {alike}")), "OK");
    disk.resize(4 << 10);
    let ballast = disk.fill();
    assert!(exchange.say(&format!("full {third}")).contains("No space left"));
    fs::remove_file(ballast).unwrap();
    assert_eq!(exchange.say(&format!("full {third}")), "OK");
    assert_eq!(exchange.say("full end"), "OK");
    assert!(exchange.running.end().status.success());
    let log = Log::open(&[place.path("log/full/log.pgp")], &[secret()]);
    log.assert_settled();
    let text = String::from_utf8(log.text()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // What was cut stands before the line that follows, with a record between that says so.
    let rest = lines[0].strip_suffix(alike.as_str()).unwrap_or_else(|| {
        let pieces: Vec<_> =
            log.lines().map(|line| (line.len(), String::from_utf8_lossy(&line[..line.len().min(8)]).into_owned())).collect();
        panic!("{} bytes for {}: {pieces:?}", lines[0].len(), alike.len())
    });
    assert!(first.starts_with(rest) && !rest.is_empty(), "{} bytes", rest.len());
    assert!(lines[1..] == [third.as_str(), "end"]);
    assert_eq!(log.events().filter(|event| event.kind() == "gap").count(), 1);
}

#[test]
fn a_whole_long_line_that_was_refused_is_there_once() {
    let place = fast();
    fs::create_dir(place.path("log/full")).unwrap();
    let disk = SmallDisk::mount(&place.path("log/full"), 64);
    let mut exchange = confirming(&place, "{host}/log", &["--confirm-messages", "--max-line", "65536"]);
    assert_eq!(exchange.answer(), "OK");
    assert_eq!(exchange.say("full one"), "OK");
    disk.fill();
    let long = "x".repeat(200_000);
    for _ in 0..2 {
        assert!(exchange.say(&format!("full {long}")).contains("No space left"));
    }
    disk.grow();
    assert_eq!(exchange.say(&format!("full {long}")), "OK");
    assert!(exchange.running.end().status.success());
    let log = Log::open(&[place.path("log/full/log.pgp")], &[secret()]);
    log.assert_settled();
    assert!(log.text() == format!("one\n{long}\n").as_bytes());
}

#[test]
fn a_file_that_cannot_be_opened_is_the_answer() {
    let place = fast();
    let mut exchange = confirming(&place, "{host}/log", &["--use-transactions"]);
    assert_eq!(exchange.answer(), "OK");
    assert_eq!(exchange.say("BEGIN TRANSACTION"), "OK");
    fs::create_dir_all(place.path("log/a/log.pgp")).unwrap();
    let answer = exchange.say("a needle");
    assert!(answer.starts_with("cannot open ") && !answer.contains("needle"), "{answer}");
    assert_eq!(exchange.say("b one"), "DEFER_COMMIT");
    fs::remove_dir(place.path("log/a/log.pgp")).unwrap();
    assert_eq!(exchange.say("a needle"), "DEFER_COMMIT");
    assert_eq!(exchange.say("COMMIT TRANSACTION"), "OK");
    assert!(exchange.running.end().status.success());
    assert_eq!(text(&place, "a/log.pgp"), b"needle\n");
}

#[test]
fn what_may_not_be_on_the_disk_is_not_committed() {
    // Each way on which a file is brought to the disk: at the end, and when its log is closed for another one.
    for lines in [&["a one"][..], &["a one", "b one"], &["a one", "b one", "c one"]] {
        let place = fast();
        let command = place.syslog("{host}");
        let mut strace = tool("strace");
        strace.args(["-f", "-qq", "-o"]).arg(place.path("trace"));
        strace.arg("-P").arg(place.path("log/a.pgp")).args(["-e", "inject=fdatasync:error=EIO:when=1+2"]);
        strace.arg(command.get_program()).args(command.get_args()).args(["--use-transactions", "--max-open", "1"]);
        let mut exchange = Exchange::start(&mut strace);
        assert_eq!(exchange.answer(), "OK");
        assert_eq!(exchange.say("BEGIN TRANSACTION"), "OK");
        for line in lines {
            assert_eq!(exchange.say(line), "DEFER_COMMIT");
        }
        let answer = exchange.say("COMMIT TRANSACTION");
        assert!(answer.contains("cannot bring the log to the disk") && answer.contains("log/a:"), "{answer}");
        // It may not be closed well, either.
        for line in ["BEGIN TRANSACTION", "d one", "COMMIT TRANSACTION"] {
            exchange.say(line);
        }
        exchange.transaction(&["d one"]);
        assert!(exchange.running.end().status.success());
    }
}

#[test]
fn a_policy_does_not_go_with_answers() {
    let place = fast();
    for options in [["--confirm-messages", "--when-full", "drop"], ["--use-transactions", "--when-full", "block"]] {
        let ended = seal_all(place.syslog("{host}").args(options), b"");
        assert_eq!(ended.status.code(), Some(2));
        assert!(ended.stderr.contains("cannot be used with"), "{ended:?}");
    }
}
