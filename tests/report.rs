//! `sealedlog-audit report` on logs of which everything is known, and on logs of an enemy.
#![cfg(feature = "audit")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use common::browser;
use common::keys;
use common::measure::measure;
use common::scene::{Incident, LOGS, SEGMENTS, Scene};
use common::tampered::{Log, records, splice};
use serde_json::Value;

/// Lines of the scene, where the environment does not say otherwise.
const LINES: usize = 120_000;

fn lines() -> usize {
    std::env::var("SEALEDLOG_REPORT_LINES").map_or(LINES, |lines| lines.parse().expect("a number of lines"))
}

fn report(evidence: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    command.arg("report").arg(evidence).arg("--key").arg(&keys::sequoia_v6().secret).args(options);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("our program can be run")
}

fn told(found: &Value) -> BTreeSet<Incident> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut told = BTreeSet::new();
    for found in found.as_array().unwrap() {
        if found["level"] == "informational" {
            continue;
        }
        for incident in found["incidents"].as_array().unwrap() {
            let subject: Vec<_> = incident["subject"].as_array().unwrap().iter().map(text).collect();
            told.insert(Incident {
                rule: text(&found["rule"]),
                host: text(&incident["host"]),
                log: text(&incident["log"]),
                subject: subject.join(" "),
            });
        }
    }
    told
}

#[test]
fn measured() {
    common::measure::run_if_asked();
}

/// What was done to a file, and the finding that must name it.
fn tamper(evidence: &Path) -> BTreeSet<(String, PathBuf)> {
    let file = |host: &str, log: &str, segment: usize| evidence.join(host).join(format!("{log}.{segment:02}.pgp"));
    let mut expected = BTreeSet::new();
    let mut change = |path: PathBuf, kind: &str, change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let sealed = fs::read(&path).unwrap();
        fs::write(&path, change(&sealed)).unwrap();
        expected.insert((kind.to_owned(), path));
    };
    change(file("web1", "access.log", 3), "altered", &|sealed| {
        let record = records(sealed)[40].clone();
        let mut sealed = sealed.to_vec();
        sealed[record.end - 20] ^= 1;
        sealed
    });
    change(file("web1", "auth.log", 4), "missing", &|sealed| {
        let all = records(sealed);
        splice(sealed, all[20].start..all[25].end, b"")
    });
    change(file("mail1", "mail.log", 7), "duplicated", &|sealed| {
        let record = records(sealed)[30].clone();
        let copy = sealed[record.clone()].to_vec();
        splice(sealed, record.end..record.end, &copy)
    });
    change(file("db1", "syslog", 2), "garbage", &|sealed| {
        let at = records(sealed)[12].start;
        splice(sealed, at..at, b"this is no record")
    });
    expected
}

#[test]
fn what_was_put_in_is_told_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::make(folder.path(), &keys::sequoia_v6().public, lines(), true);
    let files = LOGS.len() * SEGMENTS;
    let tampered = tamper(&scene.evidence);
    let output = folder.path().join("report.json");
    let began = Instant::now();
    let command =
        { report(&scene.evidence, &["--trust-first", "--format", "json", "-o", output.to_str().unwrap(), "--auditor", "Anna"]) };
    let measured = measure(&command);
    let took = began.elapsed();
    eprintln_measured(scene.lines, took.as_secs_f64(), measured.memory);
    assert_eq!(measured.status.code(), Some(1), "{}", measured.stderr);
    let made: Value = serde_json::from_slice(&fs::read(&output).unwrap()).unwrap();
    assert_eq!(made["auditor"], "Anna");
    assert_eq!(made["examined"]["files"].as_array().unwrap().len(), files);
    assert_eq!(made["logs"].as_array().unwrap().len(), LOGS.len());
    let counted: u64 = made["logs"].as_array().unwrap().iter().map(|log| log["lines"].as_u64().unwrap()).sum();
    // One altered, six removed.
    assert_eq!(counted, scene.lines - 7);

    let expected: BTreeSet<Incident> = scene.incidents.iter().cloned().collect();
    let told = told(&made["found"]);
    let missing: Vec<_> = expected.difference(&told).collect();
    let invented: Vec<_> = told.difference(&expected).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing {missing:#?}, invented {invented:#?}");
    let findings: BTreeSet<(String, PathBuf)> = made["verification"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["finding"].as_str().unwrap().to_owned(), PathBuf::from(finding["file"].as_str().unwrap_or(""))))
        .collect();
    assert_eq!(findings, tampered, "{}", made["verification"]["findings"]);
    assert!(measured.memory < 400, "{} MiB", measured.memory);
}

/// For who runs it with `--nocapture`.
fn eprintln_measured(lines: u64, seconds: f64, memory: u64) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{lines} lines, {seconds:.1} s, {memory} MiB");
}

#[test]
fn a_month_without_incidents_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::make(folder.path(), &keys::sequoia_v6().public, lines(), false);
    let made = run(&mut report(&scene.evidence, &["--trust-first", "--format", "json"]));
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(told(&made["found"]), BTreeSet::new());
    assert_eq!(made["verification"]["verdict"], "The logs are what was sealed.");
    assert_eq!(made["limits"], Value::Array(Vec::new()));
}

/// A log that the real program sealed from these lines, in a folder of its own.
fn sealed(lines: &[Vec<u8>]) -> Log {
    let mut log = Log::rfc9580();
    log.seal(lines);
    log
}

/// Runs a report on a log's file.
fn report_on(log: &Log, file: &Path, options: &[&str]) -> Output {
    let mut command = report(file, options);
    let secret = keys::sequoia_v6();
    assert_eq!(log.public, secret.public);
    run(command.arg("--trust-first"))
}

/// What an enemy writes into logs that he can reach.
fn hostile() -> Vec<Vec<u8>> {
    let attacks: Vec<Vec<u8>> = vec![
        b"<script>document.title='owned';console.error('owned')</script>".to_vec(),
        b"\"><img src=x onerror=\"console.error('owned')\">".to_vec(),
        b"</title></style></pre></details><iframe src=https://evil.example/></iframe>".to_vec(),
        b"--><svg onload=console.error('owned')>".to_vec(),
        b"javascript:alert(1) ' onmouseover='alert(1)".to_vec(),
        b"\x1b[2J\x1b]0;owned\x07\x1b[31mred\r\x08\x7f".to_vec(),
        "\u{9b}2J \u{202e}txt.exe\u{202c} \u{200b}\u{feff}\u{2066}x\u{e0041}".as_bytes().to_vec(),
        b"broken \xff\xfe\xc3( \xed\xa0\x80".to_vec(),
        b"{{7*7}} ${7*7} %s%n &lt;b&gt;".to_vec(),
    ];
    let mut lines = Vec::new();
    for attack in &attacks {
        let text = |before: &str, after: &str| [before.as_bytes(), attack, after.as_bytes(), b"\n"].concat();
        lines.push(text("", ""));
        lines.push(text("203.0.113.7 - - [31/Jan/2026:12:00:00 +0000] \"GET /.env/", " HTTP/1.1\" 404 10 \"-\" \"nikto\""));
        lines.push(text("203.0.113.7 - - [31/Jan/2026:12:00:00 +0000] \"GET / HTTP/1.1\" 503 10 \"-\" \"sqlmap ", "\""));
        for _ in 0..12 {
            let message = "2026-01-31T12:00:00+00:00 h sshd[1]: Failed password for invalid user ";
            lines.push(text(message, " from 203.0.113.7 port 1 ssh2"));
        }
        lines.push(text("2026-01-31T12:00:00+00:00 h sudo: ", " : user NOT in sudoers ; TTY=x ; PWD=/ ; USER=root ; COMMAND=/x"));
        lines.push(text("2026-01-31T12:00:00+00:00 ", " sudo: bob : TTY=x ; PWD=/ ; USER=root ; COMMAND=/x"));
        lines.push(text("2026-01-31 12:00:00 install ", ":amd64 <none> 1"));
        lines.push(text("2026-01-31T12:00:00+00:00 h systemd[1]: ", ".service: Failed with result 'x'."));
    }
    for time in ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z", "2099-01-01T00:00:00+00:00"] {
        lines.push(format!("{time} h sshd[1]: Accepted password for root from 203.0.113.7 port 1 ssh2\n").into_bytes());
    }
    // A long line, in pieces, one of which looks like a line of its own.
    let mut long = vec![b'x'; 10 << 20];
    let fake = b"2026-01-31T12:00:00+00:00 h sudo: www-data : TTY=x ; PWD=/ ; USER=root ; COMMAND=/fake";
    long[1 << 20..(1 << 20) + fake.len()].copy_from_slice(fake);
    long.push(b'\n');
    lines.push(long);
    lines.push((0..=255).filter(|byte| *byte != b'\n').chain([b'\n']).collect());
    lines
}

/// Nothing that moves a cursor, hides text or turns its direction.
fn assert_tame(text: &str) {
    let is_wild = |c: &char| {
        c.is_control() && *c != '\n' && *c != '\t'
            || matches!(*c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0041}')
    };
    assert_eq!(text.chars().find(is_wild), None);
}

#[test]
fn what_an_enemy_writes_is_shown_and_never_run() {
    let log = sealed(&hostile());
    // Names of files are somebody's words, too.
    let folder = log.folder.path().join("copy");
    fs::create_dir(&folder).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"<img src=x onerror=alert(1)>\xff\x1b[2J.pgp");
    fs::copy(&log.file, folder.join(name)).unwrap();
    let page = log.folder.path().join("page.html");
    let attack = "</title><script>console.error('owned')</script>\u{202e}";
    let options = ["--title", attack, "--auditor", attack];
    let made = report_on(&log, &folder, &[&options[..], &["-o", page.to_str().unwrap()]].concat());
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let html = fs::read_to_string(&page).unwrap();
    assert_tame(&html);
    for markup in ["<script", "<img", "<iframe", "<svg onload"] {
        assert!(!html.contains(markup), "{markup}");
    }
    assert!(html.contains("&lt;script&gt;document.title=&#39;owned&#39;"));
    assert!(html.contains("broken \\xff\\xfe\\xc3( \\xed\\xa0\\x80"));
    assert!(html.contains("\\u{202e}txt.exe"));
    let loaded = browser::load(&page);
    assert_eq!(loaded.console, Vec::<String>::new());
    for element in ["<script", "<img", "<iframe", "<b>owned"] {
        assert!(!loaded.dom.contains(element), "{element}");
    }
    assert!(loaded.dom.contains("<title>&lt;/title&gt;&lt;script&gt;"));

    let text = report_on(&log, &folder, &[&options[..], &["--format", "text"]].concat());
    let text = String::from_utf8(text.stdout).unwrap();
    assert_tame(&text);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
    assert!(text.contains("\\xff\\xfe\\xc3("));

    let json = String::from_utf8(report_on(&log, &folder, &["--format", "json"]).stdout).unwrap();
    assert_tame(&json);
    let made: Value = serde_json::from_str(&json).unwrap();
    let counted = &made["logs"][0];
    assert_eq!(counted["lines"], hostile().len());
    assert!(counted["longest"].as_u64().unwrap() > 10 << 20);
    // No piece of a line is a line, and no time is believed that had not come.
    assert!(!json.contains("COMMAND=/fake"));
    assert_eq!(counted["ahead"], 2);
    assert!(made["volume"]["step"].as_u64().unwrap() <= 60, "{}", made["volume"]);
    let rules: Vec<_> = made["found"].as_array().unwrap().iter().map(|found| found["rule"].as_str().unwrap()).collect();
    assert!(rules.contains(&"ssh-password-spraying") && rules.contains(&"sudo-refused"), "{rules:?}");
    assert!(!rules.contains(&"service-account-uses-sudo"), "{rules:?}");
}

/// The oracle of the tests with a browser: a page that does what ours must not.
#[test]
fn a_browser_tells_what_a_page_does() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">";
    for (content, is_told) in [
        ("<p>text".to_owned(), false),
        ("<script>console.error('x')</script>".to_owned(), true),
        ("<script>nothing.there()</script>".to_owned(), true),
        (format!("{policy}<script>1</script>"), true),
        (format!("{policy}<img src=https://x.example/a.png>"), true),
        (format!("{policy}<p onclick=\"x()\">"), true),
    ] {
        fs::write(&page, &content).unwrap();
        let loaded = browser::load(&page);
        assert_eq!(!loaded.console.is_empty(), is_told, "{content}: {:?}", loaded.console);
    }
}

#[test]
fn a_browser_shows_all_of_it_and_prints_it() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::make(folder.path(), &keys::sequoia_v6().public, 20_000, true);
    tamper(&scene.evidence);
    let page = folder.path().join("report.html");
    let made = run(report(&scene.evidence, &["--trust-first", "-o"]).arg(&page));
    assert_eq!(made.status.code(), Some(1), "{}", String::from_utf8_lossy(&made.stderr));
    let made = run(&mut report(&scene.evidence, &["--trust-first", "--format", "json"]));
    let json: Value = serde_json::from_slice(&made.stdout).unwrap();
    let loaded = browser::load(&page);
    assert_eq!(loaded.console, Vec::<String>::new());
    assert_eq!(loaded.dom.matches("<svg").count(), LOGS.len());
    assert_eq!(loaded.dom.matches("<title").count(), LOGS.len() + 1);
    for loads in ["<script", "<link", "<img", "<iframe", "@import", "url("] {
        assert!(!loaded.dom.contains(loads), "{loads}");
    }
    assert!(loaded.dom.match_indices(" href=\"").all(|(at, found)| loaded.dom[at + found.len()..].starts_with('#')));
    let printed = browser::printed(&page);
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    assert!(printed.contains(&squeezed("The logs are not what was sealed.")));
    for found in json["found"].as_array().unwrap() {
        assert!(printed.contains(&squeezed(found["title"].as_str().unwrap())), "{}", found["title"]);
        // What is folded on the screen is not on paper.
        for incident in found["incidents"].as_array().unwrap() {
            let line = incident["lines"][0]["text"].as_str().unwrap();
            assert!(printed.contains(&squeezed(&line[..line.len().min(40)])), "{line}");
        }
    }
    for file in json["examined"]["files"].as_array().unwrap() {
        assert!(printed.contains(&file["sha256"].as_str().unwrap()[..16]));
    }
}

#[test]
fn files_have_the_hashes_of_other_tools() {
    let log = sealed(&common::tampered::some_lines(1, 50));
    let made: Value = serde_json::from_slice(&report_on(&log, &log.file, &["--format", "json"]).stdout).unwrap();
    let sum = Command::new("sha256sum").arg(&log.file).output().unwrap();
    let file = &made["examined"]["files"][0];
    assert_eq!(file["sha256"].as_str().unwrap(), String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap());
    assert_eq!((file["bytes"].as_u64().unwrap(), &file["changed"]), (log.sealed.len() as u64, &Value::Bool(false)));
}

#[test]
fn the_output_is_whole_and_nothing_is_overwritten_unasked() {
    let log = sealed(&common::tampered::some_lines(1, 50));
    let page = log.folder.path().join("report.html");
    fs::write(&page, "precious").unwrap();
    let options = ["-o", page.to_str().unwrap()];
    let refused = report_on(&log, &log.file, &options);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("hint: give another name, or --force"));
    assert_eq!(fs::read_to_string(&page).unwrap(), "precious");
    assert_eq!(report_on(&log, &log.file, &[&options[..], &["--force"]].concat()).status.code(), Some(0));
    assert!(fs::read_to_string(&page).unwrap().ends_with("</html>\n"));
    assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o600);
    let nowhere = log.folder.path().join("no/folder.html");
    let failed = report_on(&log, &log.file, &["-o", nowhere.to_str().unwrap()]);
    assert_eq!(failed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("cannot write"));
    let left: Vec<_> = common::sealed::names(log.folder.path()).into_iter().filter(|name| name.contains(".part")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_is_in_the_report() {
    let log = sealed(&common::tampered::some_lines(1, 50));
    let mut command = report(&log.file, &["--trust-first", "--format", "json"]);
    let made = run(command.arg(log.folder.path().join("gone.pgp")));
    assert_eq!(made.status.code(), Some(2));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(made["examined"]["unreadable"][0].as_str().unwrap().contains("gone.pgp"));
    assert_eq!(made["logs"][0]["lines"], 50);
}

#[test]
fn rules_of_users_are_used_and_wrong_ones_named() {
    let log = sealed(&[b"2026-01-31T12:00:00+00:00 h app[1]: the secret word\n".to_vec()]);
    let rules = log.folder.path().join("own.yml");
    let rule = "title: The word\nid: own\nlogsource: {product: linux}\ndetection: {keywords: [secret], condition: keywords}\nlevel: high\n";
    fs::write(&rules, rule).unwrap();
    let options = ["--format", "json", "--rules", rules.to_str().unwrap()];
    let made: Value = serde_json::from_slice(&report_on(&log, &log.file, &options).stdout).unwrap();
    let found = &made["found"].as_array().unwrap()[..];
    assert_eq!((found.len(), &found[0]["rule"], &found[0]["hits"]), (1, &Value::from("own"), &Value::from(1)));
    fs::write(&rules, rule.replace("condition: keywords", "condition: words")).unwrap();
    let made = report_on(&log, &log.file, &options);
    assert_eq!(made.status.code(), Some(2));
    let told = String::from_utf8_lossy(&made.stderr);
    assert!(told.contains("own.yml:4: the condition names \"words\"") && told.contains("hint: change the rule"), "{told}");
}

#[test]
fn times_without_a_zone_are_in_the_one_that_is_named() {
    let log = sealed(&[b"[Sat Jan 31 12:00:00.000000 2026] [core:error] [pid 1:tid 2] AH00126: Invalid URI\n".to_vec()]);
    for (zone, expected) in [("UTC", "2026-01-31T12:00:00Z"), ("Europe/Vienna", "2026-01-31T11:00:00Z")] {
        let made = report_on(&log, &log.file, &["--format", "json", "--time-zone", zone]);
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(made["logs"][0]["first"]["time"], expected);
    }
    assert_eq!(report_on(&log, &log.file, &["--time-zone", "Mars"]).status.code(), Some(2));
}
