//! Our rotation rules against Apache's own `rotatelogs`: same command line, same instants, same lines; then the same files
//! with the same content. Without the program these tests pass unseen, except where `CI=true`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sealedlog::cli::rotatelogs::{Args, Error};
use sealedlog::segment::rotation::{Schedule, Segment};

const PROGRAM: &str = "/usr/bin/rotatelogs";

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// What one side made: name to content.
type Files = BTreeMap<String, Vec<u8>>;

fn program_is_there() -> bool {
    let there = Path::new(PROGRAM).exists();
    assert!(there || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{PROGRAM} is missing");
    there
}

fn parse(words: &[&str]) -> Result<Schedule, String> {
    let cli = Cli::try_parse_from([&["sealedlog-apache"], words].concat()).map_err(|error| error.to_string())?;
    Schedule::try_from(&cli.args).map_err(|error: Error| {
        assert!(!error.hint().is_empty());
        error.to_string()
    })
}

/// The real program, run with `-e`: a line that comes back on its standard output is in its file.
struct Real {
    child: Child,
    input: ChildStdin,
    echo: ChildStdout,
}

impl Real {
    fn start(words: &[&str], tz: &str, folder: &Path) -> Real {
        let mut child = Command::new(PROGRAM)
            .arg("-e")
            .args(words)
            .current_dir(folder)
            .env("TZ", tz)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, echo) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Real { child, input, echo }
    }

    fn write(&mut self, line: &[u8]) {
        self.input.write_all(line).unwrap();
        let mut back = vec![0; line.len()];
        self.echo.read_exact(&mut back).unwrap();
        assert_eq!(back, line);
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}

/// Opens and writes as [`Schedule`] says, in memory.
struct Ours {
    schedule: Schedule,
    zone: TimeZone,
    current: Option<Segment>,
    files: Files,
}

impl Ours {
    fn open(&mut self, segment: Segment) {
        let file = self.files.entry(segment.path.to_str().unwrap().to_owned()).or_default();
        if segment.truncate {
            file.clear();
        }
        self.current = Some(segment);
    }

    fn write(&mut self, line: &[u8], now: Timestamp) {
        if self.current.is_none() {
            let first = self.schedule.first(now, &self.zone);
            self.open(first);
        }
        let current = self.current.as_ref().unwrap();
        let bytes = self.files[current.path.to_str().unwrap()].len() as u64;
        if let Some(next) = self.schedule.next(current, bytes, now, &self.zone) {
            self.open(next);
        }
        let name = self.current.as_ref().unwrap().path.to_str().unwrap().to_owned();
        self.files.get_mut(&name).unwrap().extend_from_slice(line);
    }
}

fn read_folder(folder: &Path) -> Files {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// Both sides with lines after these pauses, in a folder that has `there` already. Runs again when a second ended while the
/// real program wrote, because then its instant is not known.
fn same(words: &[&str], tz: &str, zone: &TimeZone, there: &[(&str, &str)], pauses: &[u64]) -> Files {
    for attempt in 0..20 {
        if attempt > 0 {
            // With most of a second left.
            let time = Timestamp::now().subsec_nanosecond();
            sleep(Duration::from_nanos(1_000_000_000 - time as u64));
        }
        let folder = tempfile::tempdir().unwrap();
        let files: Files = there.iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec())).collect();
        for (name, text) in &files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let schedule = parse(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let mut ours = Ours { schedule, zone: zone.clone(), current: None, files };
        let mut real = Real::start(words, tz, folder.path());
        let mut known = true;
        for (number, pause) in pauses.iter().enumerate() {
            sleep(Duration::from_millis(*pause));
            let line = format!("line {number}\n").into_bytes();
            let before = Timestamp::now();
            real.write(&line);
            known &= before.as_second() == Timestamp::now().as_second();
            ours.write(&line, before);
        }
        real.end();
        if known {
            let theirs = read_folder(folder.path());
            assert_eq!(ours.files, theirs, "{words:?} with TZ={tz}");
            return theirs;
        }
    }
    panic!("{words:?}: no attempt stayed within its seconds");
}

#[test]
fn names_are_the_same() {
    if !program_is_there() {
        return;
    }
    let dated = "a.%Y-%m-%d-%H_%M_%S";
    let all =
        "%A %a %B %b %C %c %d %e %F %G %g %H %h %I %j %k %l %M %m %P %p %R %r %S %T %U %u %V %W %w %X %Y %y %% %-d %_m %0e %^a";
    let command_lines: &[&[&str]] = &[
        &["a", "86400"],
        &["a", "5M"],
        &["a", "86400", "5M"],
        &["a", "86400", "60"],
        &["a", "86400", "-300"],
        &["a", "86400", "+330"],
        &["a", "604800", "-720"],
        &["a", "5M", "60"],
        &["a", "5M", "-90"],
        &["a", "5M", "3600", "840"],
        &["a", "3600", "5M", "-600"],
        &["a", " 3600", " 0"],
        &["-l", "a", "86400"],
        &["-l", "a", "5000B"],
        &["-l", "a", "7200", "1G"],
        &["-l", dated, "86400"],
        &["-lf", dated, "3600"],
        &["-fl", dated, "1K"],
        &["-cvlT", dated, "10000"],
        &[dated, "86400"],
        &[dated, "86400", "330"],
        &[dated, "1000", "-570"],
        &[dated, "5M", "-570"],
        &["-t", "a", "86400"],
        &["-t", "a", "86400", "5M", "60"],
        &["-t", dated, "86400"],
        &["-T", "a", "86400"],
        &["-t", "-T", "a", "86400"],
        &["-n", "3", "a", "86400"],
        &["-n3", "a", "5M"],
        &["-n", "2", "-n", "1", "-l", "-l", "a", "5M"],
        &["-tn3", "a", "5M"],
        &["--", "a", "5M"],
        &["--", "-a", "5M"],
        &["-l", all, "3600"],
        &[all, "3600", "-30"],
        &["-l", "%z %Z %s", "3600"],
        &["a", "2147483647"],
    ];
    for tz in ["UTC", "Europe/Vienna", "Asia/Kolkata", "America/New_York", "Australia/Sydney", "Pacific/Marquesas"] {
        let zone = TimeZone::get(tz).unwrap();
        for words in command_lines {
            let summer = zone.to_offset_info(Timestamp::now()).dst().is_dst();
            if summer && words.iter().any(|word| word.contains("%s")) {
                continue; // rotatelogs' %s is an hour off then, and its %Z that of winter
            }
            let made = same(words, tz, &zone, &[], &[0]);
            assert_eq!(made.len(), 1);
        }
    }
}

#[test]
fn sequences_are_the_same() {
    if !program_is_there() {
        return;
    }
    let old = &[("a", "old a\n"), ("a.1", "old a.1\n")];
    let vienna = TimeZone::get("Europe/Vienna").unwrap();
    let same = |words: &[&str], there: &[(&str, &str)], pauses: &[u64]| same(words, "Europe/Vienna", &vienna, there, pauses);
    // The limit is passed, not reached, and asked about before a write: 14 bytes are two lines.
    assert_eq!(same(&["-n", "3", "a", "14B"], &[], &[0; 11]).len(), 3);
    assert_eq!(same(&["-n", "3", "a", "5B"], old, &[0; 3]).len(), 3);
    same(&["-n", "1", "a", "5B"], old, &[0; 3]);
    same(&["-t", "-n", "3", "a", "14B"], old, &[0; 5]);
    same(&["-t", "a", "14B"], old, &[0; 5]);
    same(&["-t", "a", "2"], old, &[0, 1000, 1000, 1000]);
    same(&["-T", "a.%S", "1"], &[], &[0, 1000, 1000]);
    assert!(same(&["a", "1"], &[], &[0, 0, 1000, 1100]).len() >= 3);
    assert!(same(&["a", "5B", "90"], &[], &[0, 1000, 1000]).len() >= 3);
    assert!(same(&["-l", "a", "3600", "5B"], &[], &[0, 1000, 1000]).len() >= 3);
    assert!(same(&["a.%H%M%S", "3600", "5B", "-30"], &[], &[0, 1000, 1000]).len() >= 3);
}

/// A zone of our own, whose clock changes by an hour three seconds from now, forwards or backwards.
fn dst_change_is_the_same(forwards: bool) -> Files {
    for _ in 0..15 {
        let change = Timestamp::now() + Duration::from_secs(3);
        // Offsets from UTC are such that the change is at 12:00:00 of the clock before it.
        let before = 12 * 3600 - change.as_second().rem_euclid(86_400);
        let standard = if forwards { before } else { before - 3600 };
        let day = jiff::tz::Offset::from_seconds(before as i32).unwrap().to_datetime(change).day_of_year();
        // J counts no leap day; n does, from 0.
        let (sign, hours) = (if standard > 0 { '-' } else { '+' }, standard.abs());
        let west = format!("{sign}{}:{:02}:{:02}", hours / 3600, hours / 60 % 60, hours % 60);
        let (start, end) = if forwards { (day - 1, day + 9) } else { (day - 11, day - 1) };
        if start < 0 || end > 364 {
            return Files::new();
        }
        let tz = format!("STD{west}DST,{start}/12,{end}/12");
        let zone = TimeZone::posix(&tz).unwrap();
        let shown = |at: Timestamp| zone.to_datetime(at).strftime("%H%M%S").to_string();
        let after = if forwards { "130000" } else { "110000" };
        assert_eq!(shown(change - Duration::from_secs(1)), "115959", "{tz}");
        assert_eq!(shown(Timestamp::from_second(change.as_second()).unwrap()), after, "{tz}");
        let made = same(&["-l", "a.%H%M%S.%z", "1800"], &tz, &zone, &[], &[100, 500, 2000, 1200, 200]);
        if Timestamp::now() < change + Duration::from_secs(3) {
            return made;
        }
    }
    panic!("no attempt was quick enough");
}

#[test]
fn dst_change_forwards_is_the_same() {
    if program_is_there() {
        let names: Vec<_> = dst_change_is_the_same(true).into_keys().map(|name| name[..8].to_owned()).collect();
        assert!(names.is_empty() || names == ["a.113000", "a.130000"], "{names:?}");
    }
}

#[test]
fn dst_change_backwards_is_the_same() {
    if program_is_there() {
        let names: Vec<_> = dst_change_is_the_same(false).into_keys().map(|name| name[..8].to_owned()).collect();
        assert!(names.is_empty() || names == ["a.113000"], "{names:?}");
    }
}

/// True if the real program takes the command line and makes a file.
fn real_takes(words: &[&str]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(PROGRAM)
        .args(words)
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It may have ended already.
    let _ = child.stdin.take().unwrap().write_all(b"line\n");
    let status = child.wait().unwrap();
    assert!(status.success() || status.code() == Some(1), "{words:?}: {status}");
    status.success()
}

#[test]
fn both_refuse() {
    let command_lines: &[(&[&str], &str)] = &[
        (&["a", "0"], "rotation time '0' is not"),
        (&["a", "-5"], "rotation time '-5' is not"),
        (&["a", "abc"], "rotation time 'abc' is not"),
        (&["a", ""], "rotation time '' is not"),
        (&["a", "-l", "86400"], "rotation time '-l' is not"),
        (&["a", "0B"], "rotation size '0B' is not"),
        (&["a", "M"], "rotation size 'M' is not"),
        (&["a", "5MM"], "rotation size '5MM' is not"),
        (&["a", "5M", "5M"], "rotation size is given twice"),
        (&["a", "86400", "60", "5M"], "rotation time is given twice"),
        (&["a", "10", "20", "30"], "rotation time is given twice"),
        (&["a", "86400", "5M", "60", "70"], "5 operands, at most 4"),
        (&["-l", "a", "86400", "60"], "offset '60' does not go with -l"),
        (&["-l", "a", "5M", "86400"], "offset '86400' does not go with -l"),
        (&["-l", "a", "86400", "5M", "60"], "offset '60' does not go with -l"),
        (&["-n", "3", "a%Y", "86400"], "-n does not go with '%' in the file name: a%Y"),
        (&["-n", "0", "a", "86400"], "-n '0' is not"),
        (&["-n", "-1", "a", "86400"], "-n '-1' is not"),
        (&["-n", "x", "a", "86400"], "-n 'x' is not"),
        (&["-x", "a", "86400"], "unexpected argument '-x'"),
        (&["-fla", "86400"], "unexpected argument '-a'"),
        (&["-L", "a"], "required arguments were not provided"),
        (&["a", "5M", "-n"], "offset '-n' is not"),
        (&[], "required arguments were not provided"),
    ];
    for (words, message) in command_lines {
        let error = parse(words).expect_err(&format!("{words:?}"));
        assert!(error.contains(message), "{words:?}: {error}");
        // atoi reads any word as an offset of 0.
        if program_is_there() && *words != ["a", "5M", "-n"] {
            assert!(!real_takes(words), "{words:?}");
        }
    }
}

#[test]
fn only_rotatelogs_refuses() {
    for (words, size) in [
        (&["a", "4G"][..], Some(1u64 << 32)),
        (&["a", "4096M"], Some(1 << 32)),
        (&["a", "4294967296B"], Some(1 << 32)),
        (&["-n", "3", "a"], None),
        (&["a%Y"], None),
        (&["a"], None),
    ] {
        let schedule = parse(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert_eq!(schedule.rotation.size.map(u64::from), size, "{words:?}");
        assert!(!program_is_there() || !real_takes(words), "{words:?}");
    }
}

#[test]
fn only_we_refuse_what_rotatelogs_misreads() {
    for (words, message) in [
        (&["a", "5k"][..], "rotation time '5k' is not"),
        (&["a", "86400s"], "rotation time '86400s' is not"),
        (&["a", "5KB"], "rotation size '5KB' is not"),
        (&["a", "1.5M"], "rotation size '1.5M' is not"),
        (&["a", "-5M"], "rotation size '-5M' is not"),
        (&["a", "99999999999"], "rotation time '99999999999' is not"),
        (&["a", "86400", "CET"], "offset 'CET' is not"),
        (&["a", "5M", "86400"], "offset '86400' is not"),
        (&["a", "5M", "94449440"], "offset '94449440' is not"),
        (&["a%N", "86400"], "unknown conversion '%N' at byte 1"),
        (&["a%", "86400"], "unknown conversion '%' at byte 1"),
        (&["", "86400"], "file name is empty"),
        (&["--help-me", "a", "86400"], "unexpected argument '--help-me'"),
    ] {
        let error = parse(words).expect_err(&format!("{words:?}"));
        assert!(error.contains(message), "{words:?}: {error}");
        assert!(!program_is_there() || real_takes(words), "{words:?}");
    }
    let error = parse(&["a", "99999999999999999999G"]).unwrap_err();
    assert!(error.contains("rotation size"), "{error}");
    let error = parse(&["a", "17179869184G"]).unwrap_err();
    assert!(error.contains("rotation size"), "{error}");
}

#[test]
fn options_are_read_as_getopt_reads_them() {
    let args = |words: &[&str]| Cli::try_parse_from([&["x"], words].concat()).unwrap().args;
    let all = args(&["-vlfDtTec", "-L", "-link", "-pprogram", "-n", "4", "a", "60", "-L", "x"]);
    assert!(all.verbose && all.local_time && all.force_open && all.make_parents && all.truncate);
    assert!(all.truncate_rotated && all.echo && all.create_empty);
    assert_eq!(all.link.unwrap(), Path::new("-link"));
    assert_eq!(all.program.unwrap(), Path::new("program"));
    assert_eq!(all.ring.unwrap(), "4");
    assert_eq!(all.operands, ["a", "60", "-L", "x"]);
    let last = args(&["-L", "one", "-fLtwo", "-vv", "a"]);
    assert_eq!(last.link.unwrap(), Path::new("two"));
    assert!(last.force_open && last.verbose);
}
