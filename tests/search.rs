//! `sealedlog-audit search`: what it finds is what grep finds in the plain text.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::process::{Command, Output};

use common::keys;
use common::lines::{Lines, Random, nasty};
use common::measure::{measure, run_if_asked};
use common::sealed::{Place, Running, seal_all};
use common::tools::{must, tool};
use serde_json::Value;

/// `sealedlog-audit search` on the place's log folder.
fn search(place: &Place, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    command.arg("search").arg(place.path("log")).arg("--key").arg(&keys::sequoia_v6().secret).arg("--trust-first");
    command.args(args).output().unwrap()
}

/// What it finds; it must have nothing to tell.
#[track_caller]
fn found(place: &Place, args: &[&str]) -> String {
    let output = search(place, args);
    assert!(output.stderr.is_empty() && output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn place() -> Place {
    Place::new(&[&keys::sequoia_v6().public])
}

/// Runs `sealedlog seal` as on a host of this name, and perhaps at another time.
fn seal(place: &Place, host: &str, clock: Option<&str>, log: &str, lines: &[u8], more: &[&str]) {
    let sealing = place.seal_to(log);
    let mut command = tool("unshare");
    command.args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", host]);
    if let Some(clock) = clock {
        let files = String::from_utf8(must(tool("dpkg").args(["-L", "libfaketime"]), b"")).unwrap();
        let library = files.lines().find(|file| file.ends_with("libfaketime.so.1")).expect("the package libfaketime is missing");
        command.arg("env").arg(format!("LD_PRELOAD={library}")).arg(format!("FAKETIME={clock}"));
    }
    command.arg(sealing.get_program()).args(sealing.get_args()).args(more);
    let ended = seal_all(&mut command, lines);
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

/// Renames a log's file, as logrotate does.
fn rotate(place: &Place, log: &str, to: &str) {
    fs::rename(place.path("log").join(log), place.path("log").join(to)).unwrap();
}

/// The real grep on plain text.
fn grep(plain: &[u8], args: &[&str]) -> (i32, Vec<u8>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), plain).unwrap();
    let output = tool("grep").env("LC_ALL", "C.UTF-8").arg("-a").args(args).arg(file.path()).output().unwrap();
    (output.status.code().unwrap(), output.stdout)
}

#[track_caller]
fn assert_like_grep(place: &Place, plain: &[u8], args: &[&str]) {
    let (status, expected) = grep(plain, &[&["-P"], args].concat());
    let output = search(place, args);
    assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == expected, "{args:?}: {} bytes, not {}", output.stdout.len(), expected.len());
    assert_eq!(output.status.code(), Some(status), "{args:?}");
}

#[test]
fn it_finds_what_grep_finds_across_rotated_files() {
    let place = place();
    let lines: Vec<Vec<u8>> = Lines::new(3).take(3000).collect();
    for (at, part) in lines.chunks(1000).enumerate() {
        let grouped: &[&str] = if at == 1 { &["--group"] } else { &[] };
        seal(&place, "web", None, "x.log", &part.concat(), grouped);
        // In no order by name.
        rotate(&place, "x.log.pgp", ["x.log.pgp.2", "x.log.pgp.3", "x.log.pgp.1"][at]);
    }
    let plain = lines.concat();
    for args in [
        &["-e", "curl"][..],
        &["-e", "\" 404 "],
        &["-e", "CURL", "-i"],
        &["-e", "curl", "-v"],
        &["-c", "-e", "curl"],
        &["-c", "-v", "-e", "curl"],
        &["-e", "^192\\.0\\.2\\.(7|8) .*POST"],
        &["-e", "nowhere at all"],
        &["-c", "-e", "nowhere at all"],
        &["-e", "/a"],
        &["-e", ""],
        &["-A", "3", "-e", "\" 500 "],
        &["-B", "3", "-e", "\" 500 "],
        &["-C", "2", "-e", "\" 403 "],
        &["-C", "1", "-e", "\" 200 "],
        &["-A", "1", "-B", "5", "-v", "-e", "\" 200 "],
        &["-C", "4", "-A", "0", "-e", "alice"],
        &["-m", "7", "-e", "curl"],
        &["-m", "7", "-C", "3", "-e", "curl"],
        &["-m", "7", "-A", "30", "-e", "curl"],
        &["-m", "3", "-c", "-e", "curl"],
        &["-m", "0", "-e", "curl"],
        &["--color=always", "-e", "curl|GET"],
        &["--color=always", "-A", "1", "-e", "alice"],
        &["--color=always", "-v", "-e", "GET"],
        &["-e", "c.rl.8", "-i"],
    ] {
        assert_like_grep(&place, &plain, args);
    }
    // Several patterns, and patterns as text: grep -P takes one.
    for (args, of_grep) in [
        (&["-e", "alice", "-e", "bob|carol"][..], &["-E", "-e", "alice", "-e", "bob|carol"][..]),
        (&["-F", "-e", "next=%2F"], &["-F", "-e", "next=%2F"]),
        (&["-F", "-i", "-e", "4F1C.js?v", "-e", "(java/"], &["-F", "-i", "-e", "4F1C.js?v", "-e", "(java/"]),
        (&["-F", "-e", "alice\nbob"], &["-F", "-e", "alice\nbob"]),
    ] {
        let output = search(&place, args);
        assert_eq!(output.stdout, grep(&plain, of_grep).1, "{args:?}");
        assert!(output.status.success());
    }
    assert_eq!(found(&place, &[]).as_bytes(), plain);
}

#[test]
fn lines_that_break_careless_programs_are_found_as_they_are() {
    let place = place();
    let mut plain = Vec::new();
    for (name, input) in nasty() {
        // Each writer's last line may be without newline, and so is that of the whole.
        seal(&place, "web", None, "x.log", &input, &[]);
        plain.extend_from_slice(&input);
        if !input.is_empty() && !input.ends_with(b"\n") {
            plain.push(b'\n');
        }
        assert!(!name.is_empty());
    }
    for args in [
        &["-e", "", "--all"][..],
        &["-v", "-e", "sealed"],
        &["-c", "-e", ""],
        &["-F", "-e", "\x1b"],
        &["-A", "1", "-F", "-e", "kind"],
    ] {
        let of_grep: Vec<&str> = args.iter().copied().filter(|arg| *arg != "--all").collect();
        // By bytes: so long a line is too much for an expression of Unicode.
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &plain).unwrap();
        let expected = tool("grep").env("LC_ALL", "C").arg("-a").args(of_grep).arg(file.path()).output().unwrap().stdout;
        let output = search(&place, args);
        assert!(output.stdout == expected && output.status.success(), "{args:?}: {} {}", output.stdout.len(), expected.len());
        assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_long_line_is_one_line_and_a_longer_one_is_cut_and_told() {
    let place = place();
    let long = |mib: usize| {
        let mut line = vec![b'x'; mib << 20];
        line.extend_from_slice(b" its end\n");
        line
    };
    seal(&place, "web", None, "x.log", &[b"before\n".to_vec(), long(10), b"between its end\n".to_vec()].concat(), &[]);
    let output = search(&place, &["-e", "^x.*its end$"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(output.stdout == long(10));
    seal(&place, "web", None, "x.log", &[long(20), b"behind\n".to_vec()].concat(), &[]);
    let output = search(&place, &["-c", "-e", "^x"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.stdout, output.status.code()), (b"2\n".to_vec(), Some(0)));
    assert!(told.contains("warning: 1 lines are longer than 16 MiB; the rest of them was left out"), "{told}");
    assert_eq!(search(&place, &["-c", "-e", "its end$"]).stdout, b"2\n");
    assert_eq!(search(&place, &["-e", "behind|before"]).stdout, b"before\nbehind\n");
}

/// Two writers at once, one of them in the middle of a line.
#[test]
fn what_another_writer_sealed_between_the_pieces_of_a_line_is_not_in_it() {
    let place = place();
    let mut begun = Running::start(&mut place.seal_to("x.log"));
    let long = [vec![b'a'; 1 << 20], vec![b'b'; 1 << 19]].concat();
    begun.write(&long);
    // The first piece is sealed as soon as it is whole.
    begun.wait_idle();
    seal_all(&mut place.seal_to("x.log"), b"other one\nother two\n");
    begun.write(b"end\n");
    begun.end_well();
    let expected = [&b"other one\nother two\n"[..], &long, b"end\n"].concat();
    assert!(search(&place, &[]).stdout == expected);
}

fn stamped(host: &str, second: usize, text: &str) -> String {
    format!("2026-02-01T12:{:02}:{:02}Z {host} app[1]: {text}\n", second / 60, second % 60)
}

#[test]
fn logs_and_hosts_are_merged_in_the_order_of_time() {
    let place = place();
    let (mut expected, mut random) = (Vec::new(), Random(5));
    let mut of_log: [Vec<u8>; 3] = Default::default();
    let logs = [("web", "a.log"), ("web", "b.log"), ("mail", "c.log")];
    for second in 0..600 {
        let at = random.below(3) as usize;
        let line = stamped(logs[at].0, second, &format!("number {second}"));
        of_log[at].extend_from_slice(line.as_bytes());
        expected.push((at, line));
    }
    for (at, (host, log)) in logs.iter().enumerate() {
        let half = of_log[at].len() / 2;
        let half = half + of_log[at][half..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
        seal(&place, host, None, log, &of_log[at][..half], &[]);
        rotate(&place, &format!("{log}.pgp"), &format!("{log}.pgp.1"));
        seal(&place, host, None, log, &of_log[at][half..], &[]);
    }
    let all = |lines: &[(usize, String)]| lines.iter().map(|(_, line)| line.as_str()).collect::<String>();
    assert_eq!(found(&place, &[]), all(&expected));
    assert_eq!(found(&place, &["-e", "number .*7$"]), {
        let sevens: Vec<_> = expected.iter().filter(|(_, line)| line.ends_with("7\n")).cloned().collect();
        all(&sevens)
    });
    assert_eq!(found(&place, &["-m", "5"]), all(&expected[..5]));
    // Each log alone, by any of its names.
    for (at, args) in [(0, ["--log", "a.log"]), (1, ["--log", "*/b.log"]), (2, ["--host", "mail"]), (2, ["--log", "C.*"])] {
        assert_eq!(found(&place, &args).as_bytes(), of_log[at], "{args:?}");
    }
    let both: Vec<_> = expected.iter().filter(|(at, _)| *at < 2).cloned().collect();
    assert_eq!(found(&place, &["--host", "web"]), all(&both));
    // By the records' clock each log is one piece: they were sealed one after the other.
    let by_record = found(&place, &["--by", "record"]);
    let mut records: Vec<_> = by_record.lines().collect();
    assert_eq!(records.len(), 600);
    records.sort_unstable();
    assert_eq!(records.concat().len(), all(&expected).len() - 600);
    // With their origin, and counted by it.
    let origin = found(&place, &["-H", "-m", "2"]);
    let folder = fs::canonicalize(place.path("log")).unwrap();
    for (got, (at, line)) in origin.lines().zip(&expected) {
        let (host, log) = logs[*at];
        assert_eq!(format!("{got}\n"), format!("{host} {}/{log}:{line}", folder.display()));
    }
    let counts = found(&place, &["-c", "-H"]);
    for (at, (host, log)) in logs.iter().enumerate() {
        let count = of_log[at].iter().filter(|byte| **byte == b'\n').count();
        assert!(counts.contains(&format!("{host} {}/{log}:{count}\n", folder.display())), "{counts}");
    }
    // Context is of the same log, and one piece.
    let middle =
        expected.iter().position(|(at, line)| *at == 1 && line.contains(" 12:05") || line.contains("number 300\n")).unwrap();
    let around = found(&place, &["-C", "2", "-e", "number (300|301|302|303)$"]);
    assert!(around.contains(&expected[middle].1) && around.contains("--\n"), "{around}");
    for block in around.split("--\n") {
        let numbers =
            |log: usize| expected.iter().filter(|(at, _)| *at == log).map(|(_, line)| line.as_str()).collect::<String>();
        assert!((0..3).any(|log| numbers(log).contains(block)), "{block}");
    }
}

#[test]
fn a_made_up_time_moves_no_other_line() {
    let place = place();
    // Later than the key.
    let line = |host: &str, second, text: &str| stamped(host, second, text).replace("2026", "2031");
    let web = [
        line("web", 0, "one"),
        "2099-01-01T00:00:00Z web app[1]: from the future\n".to_owned(),
        "2001-01-01T00:00:00Z web app[1]: from the past\n".to_owned(),
        "no time at all\n".to_owned(),
        line("web", 20, "two"),
    ];
    let mail = [line("mail", 10, "three"), line("mail", 30, "four")];
    seal(&place, "web", Some("2031-02-01 12:00:00"), "web.log", web[..4].concat().as_bytes(), &[]);
    seal(&place, "web", Some("2031-02-01 12:00:20"), "web.log", web[4].as_bytes(), &[]);
    seal(&place, "mail", Some("2031-02-01 12:00:30"), "mail.log", mail.concat().as_bytes(), &[]);
    let expected = [&web[0], &web[1], &web[2], &web[3], &mail[0], &web[4], &mail[1]].map(String::as_str).concat();
    assert_eq!(found(&place, &["--zone", "UTC"]), expected);
    // The window goes by the line's word or by the record's.
    assert_eq!(found(&place, &["--until", "2031-02-01 12:00:00"]), web[2]);
    assert_eq!(found(&place, &["--since", "2031-02-01 12:00:20", "--by", "record"]), [&web[4][..], &mail[0], &mail[1]].concat());
}

#[test]
fn what_is_asked_of_fields_is_what_a_person_would_count() {
    let place = place();
    let lines: Vec<Vec<u8>> = Lines::new(4).take(2000).collect();
    let plain = lines.concat();
    seal(&place, "web", None, "access.log", &plain, &[]);
    for (args, pattern) in [
        (&["--field", "status>=500"][..], "\" 5[0-9][0-9] [0-9]+ \""),
        (&["--field", "status=404", "--field", "method=POST"], "\"POST [^\"]*\" 404 "),
        (&["--field", "client=192.0.2.0/24"], "^192\\.0\\.2\\."),
        (&["--field", "client=2001:db8::/32"], "^2001:db8:"),
        (&["--field", "user=alice"], "^[^ ]* - alice "),
        (&["--field", "agent~curl"], "\"curl[^\"]*\"$"),
        (&["--field", "agent~curl", "--field", "status!=200", "-e", "GET"], "\"GET [^\"]*\" [^2].*\"curl[^\"]*\"$"),
    ] {
        assert_eq!(found(&place, args).as_bytes(), grep(&plain, &["-E", pattern]).1, "{args:?}");
    }
    let nothing = search(&place, &["--severity", "err"]);
    assert_eq!((nothing.status.code(), nothing.stdout), (Some(1), Vec::new()));
}

#[test]
fn rows_are_json_that_jq_reads() {
    let place = place();
    let lines: Vec<Vec<u8>> = Lines::new(6).take(200).collect();
    seal(&place, "web", None, "access.log", &lines.concat(), &["--group"]);
    let json = found(&place, &["--json", "--field", "status=200"]);
    let statuses = must(
        tool("jq").args(["-c", "[.\"http.response.status_code\", .\"sealedlog.host\", .\"sealedlog.verification\"]"]),
        json.as_bytes(),
    );
    let statuses = String::from_utf8(statuses).unwrap();
    assert!(!statuses.is_empty() && statuses.lines().all(|line| line == "[200,\"web\",\"trusted\"]"), "{statuses}");
    let mut seen = std::collections::HashSet::new();
    for (row, line) in json.lines().zip(lines.iter().filter(|line| String::from_utf8_lossy(line).contains("\" 200 "))) {
        let row: Value = serde_json::from_str(row).unwrap();
        assert_eq!(row["event.original"].as_str().unwrap().as_bytes(), line.strip_suffix(b"\n").unwrap());
        assert!(seen.insert((row["sealedlog.slot"].as_u64(), row["sealedlog.part"].as_u64())), "{row}");
    }
    assert_eq!(seen.len(), statuses.lines().count());
}

/// A copy of records behind the others.
#[test]
fn what_is_not_in_its_place_is_told_and_only_shown_on_request() {
    let place = place();
    seal(&place, "web", None, "x.log", b"one\ntwo\n", &[]);
    let file = place.path("log/x.log.pgp");
    let content = fs::read(&file).unwrap();
    let log = common::sealed::Log::whole(&file, &keys::sequoia_v6().secret);
    let entry = log
        .entries
        .iter()
        .find(|entry| matches!(&entry.content, common::sealed::Content::Line(line) if line == b"two\n"))
        .unwrap();
    let copied = &content[entry.offset as usize..][..entry.length as usize];
    fs::write(&file, [&content[..], copied].concat()).unwrap();
    let output = search(&place, &["-e", "two"]);
    assert_eq!((output.stdout, output.status.code()), (b"two\n".to_vec(), Some(0)));
    assert!(String::from_utf8(output.stderr).unwrap().contains("alarm: duplicated"));
    let output = search(&place, &["-e", "two", "--all"]);
    assert_eq!(output.stdout, b"two\nnot in its place:two\n");
    let output = search(&place, &["-e", "two", "--all", "--json"]);
    let states = must(tool("jq").args(["-r", ".\"sealedlog.verification\""]), &output.stdout);
    assert_eq!(states, b"trusted\nelsewhere\n");
}

#[test]
fn wrong_questions_are_answered_with_what_to_do() {
    let place = place();
    seal(&place, "web", None, "x.log", b"one\n", &[]);
    for (args, told) in [
        (&["-e", "a(b"][..], "unclosed group"),
        (&["--field", "stauts=1"], "there is status"),
        (&["--field", "status"], "write NAME=VALUE"),
        (&["--since", "yesterdayish"], "is no time"),
        (&["--since", "1h", "--until", "2h"], "is not after"),
        (&["--severity", "worst"], "there are emerg, alert"),
        (&["--zone", "Nowhere/Town"], "write a name as Europe/Berlin"),
        (&["-v"], "--regexp"),
        (&["-c", "--json"], "cannot be used with"),
    ] {
        let output = search(&place, args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(told), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
    for zone in ["Europe/Berlin", "+01:00", "-0530"] {
        assert_eq!(found(&place, &["--zone", zone]), "one\n");
    }
    let mut unreadable = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    let output = unreadable.args(["search", "/nowhere", "--key"]).arg(&keys::sequoia_v6().secret).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// The ledger keeps what was asked, as one would type it again.
#[test]
fn what_was_asked_is_remembered() {
    let place = place();
    seal(&place, "web", None, "x.log", b"one\n", &[]);
    let asked = ["--host", "web", "--field", "message~o", "--since", "2020-01-01", "-e", "one"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    command.arg("search").arg(place.path("log")).arg("--key").arg(&keys::sequoia_v6().secret).args([
        "--auditor",
        "ann",
        "--trust-first",
    ]);
    command.arg("--ledger").arg(place.path("ledger.json")).args(asked).env("XDG_STATE_HOME", place.path("desk"));
    assert_eq!(must(&mut command, b""), b"one\n");
    let ledger = fs::read_to_string(place.path("ledger.json")).unwrap();
    // The seal stands below it.
    let ledger: Value = serde_json::from_str(ledger.lines().next().unwrap()).unwrap();
    let audit = &ledger["audits"][0];
    assert_eq!((&audit["auditor"], &audit["command"]), (&"ann".into(), &"search".into()), "{ledger}");
    assert_eq!(audit["window"], "--since 2020-01-01T00:00:00Z --host web --field message~o -e one");
}

/// On a terminal, that of script(1), nothing of a line is obeyed; colours are.
#[test]
fn a_terminal_is_shown_what_would_move_it() {
    let place = place();
    seal(&place, "web", None, "x.log", "one \x1b[2J match \u{202e}end\n".as_bytes(), &[]);
    let command = format!(
        "'{}' search '{}' --key '{}' --trust-first -e match",
        env!("CARGO_BIN_EXE_sealedlog-audit"),
        place.path("log").display(),
        keys::sequoia_v6().secret.display()
    );
    let shown = String::from_utf8(must(tool("script").args(["-qec", &command, "/dev/null"]), b"")).unwrap();
    assert!(shown.contains("one \\u{1b}[2J \x1b[01;31m\x1b[Kmatch\x1b[m\x1b[K \\u{202e}end"), "{shown:?}");
}

/// The program that runs the measured one.
#[test]
fn measured() {
    run_if_asked();
}

#[test]
fn what_is_merged_takes_no_more_memory_than_it_may() {
    let place = place();
    for seed in [1, 2] {
        seal(&place, "web", None, &format!("{seed}.log"), &Lines::file(seed, 300_000), &["--group"]);
    }
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" search \"$@\" >/dev/null", env!("CARGO_BIN_EXE_sealedlog-audit")]);
    command.arg(place.path("log")).arg("--key").arg(&keys::sequoia_v6().secret).arg("--trust-first");
    // More than twice of what it holds in memory.
    let run = measure(&command);
    assert!(run.status.success() && run.memory < 192, "{run:?}");
}

/// The key and nothing else: what is put away while thousands of lines are sorted is no plain text.
#[test]
fn plain_text_does_not_come_to_the_disk() {
    let place = place();
    let lines = |host: &str| {
        (0..400_000).map(|number| stamped(host, number / 200, &format!("secret words {host} {number}"))).collect::<String>()
    };
    for host in ["web", "mail"] {
        seal(&place, host, None, &format!("{host}.log"), lines(host).as_bytes(), &["--group"]);
    }
    let trace = place.path("trace");
    let mut command = tool("strace");
    command.args(["-f", "-qq", "-s", "4096", "-e", "trace=pwrite64,openat", "-o"]).arg(&trace);
    command.arg(env!("CARGO_BIN_EXE_sealedlog-audit")).arg("search").arg(place.path("log"));
    let found = must(command.arg("--key").arg(&keys::sequoia_v6().secret).args(["--trust-first", "-e", "secret"]), b"");
    assert_eq!(found.iter().filter(|byte| **byte == b'\n').count(), 800_000);
    let numbers = found.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    assert!(numbers.map(|line| line[..20].to_vec()).is_sorted());
    let trace = fs::read_to_string(trace).unwrap();
    let written = trace.lines().filter(|line| line.contains("pwrite64(")).count();
    assert!(trace.contains("O_TMPFILE") && written > 100, "{written}");
    assert!(!trace.lines().any(|line| line.contains("pwrite64(") && (line.contains("secret") || line.contains("app[1]"))));
}
