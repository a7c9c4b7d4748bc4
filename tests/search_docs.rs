//! The commands of `docs/search.md`, run as they stand there, with the real tools.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::keys;
use common::lines::Lines;
use common::sealed::{Log, Place, seal_all};
use common::tools::{must, path_with_programs, tool};
use serde_json::Value;

/// The blocks of code, by what stands behind the language.
fn blocks() -> BTreeMap<String, String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/search.md")).unwrap();
    let mut blocks = BTreeMap::new();
    for block in text.split("\n```").skip(1).step_by(2) {
        let (head, code) = block.split_once('\n').unwrap();
        let (_, name) = head.split_once(' ').unwrap();
        assert!(blocks.insert(name.to_owned(), code.to_owned()).is_none(), "{name}");
    }
    blocks
}

#[test]
fn every_command_does_what_it_is_there_for() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    fs::rename(place.path("log"), place.path("evidence")).unwrap();
    fs::copy(&keys::sequoia_v6().secret, place.path("key.asc")).unwrap();
    let access: Vec<Vec<u8>> = Lines::new(21).take(500).collect();
    let auth: String = (0..40)
        .map(|number| match number % 4 {
            0 => format!(
                "Jan 31 12:00:{number:02} mail sshd[{number}]: Failed password for root from 192.0.2.{} port 4711 ssh2\n",
                number % 3
            ),
            _ => format!("Jan 31 12:00:{number:02} mail CRON[{number}]: (root) CMD (true)\n"),
        })
        .collect();
    for (host, log, lines) in [("web", "access.log", access.concat()), ("mail", "auth.log", auth.clone().into_bytes())] {
        let mut sealing = tool("unshare");
        sealing.args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", host, env!("CARGO_BIN_EXE_sealedlog"), "seal"]);
        sealing.arg("--keys").arg(place.path("keys.d")).arg("--state").arg(place.path("state"));
        sealing.arg("--runtime").arg(place.path("run")).arg("-o").arg(place.path("evidence").join(log));
        let ended = seal_all(&mut sealing, &lines);
        assert!(ended.status.success(), "{ended:?}");
    }
    let genesis = |log: &str| {
        let opened = Log::whole(&place.path("evidence").join(log), &keys::sequoia_v6().secret);
        opened.genesis.values().next().unwrap().to_string()
    };
    let links = tempfile::tempdir().unwrap();
    let duckdb = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/duckdb");
    let run = |program: &[&str], code: &str| {
        let mut command = tool(program[0]);
        command.args(&program[1..]).arg(code).current_dir(place.path(""));
        command
            .env("PATH", path_with_programs(links.path()))
            .env("PYTHONPATH", &duckdb)
            .env("HOME", place.path(""))
            .env("TERM", "dumb");
        command.env("GENESIS", genesis("access.log.pgp")).env("OTHER", genesis("auth.log.pgp"));
        String::from_utf8(must(&mut command, b"")).unwrap()
    };
    let mut blocks = blocks();
    let mut block = |name: &str| {
        let code = blocks.remove(name).unwrap_or_else(|| panic!("docs/search.md has no block {name}"));
        if name == "duckdb" { run(&["python3", "-c"], &code) } else { run(&["bash", "-euo", "pipefail", "-c"], &code) }
    };
    let is_of = |line: &[u8], part: &str| String::from_utf8_lossy(line).contains(part);
    let errors = access.iter().filter(|line| ["\" 403 ", "\" 404 ", "\" 500 "].iter().any(|status| is_of(line, status))).count();

    let found = block("search");
    let failed = |text: &str| text.lines().filter(|line| line.contains("Failed password")).count();
    assert_eq!(failed(&found), 10);
    assert!(
        found.contains("\n--\n")
            && found
                .contains(&format!("web {}/access.log:{errors}\n", fs::canonicalize(place.path("evidence")).unwrap().display())),
        "{found}"
    );

    block("goaccess");
    let report: Value = serde_json::from_slice(&fs::read(place.path("report.json")).unwrap()).unwrap();
    let ours = access.iter().filter(|line| line.starts_with(b"192.0.2.")).count();
    assert_eq!((&report["general"]["valid_requests"], &report["general"]["failed_requests"]), (&ours.into(), &0.into()));

    let counted = block("lnav");
    assert!(counted.contains("40"), "{counted}");
    assert_eq!(fs::read_to_string(place.path("auth.log")).unwrap(), auth);

    let addresses = block("jq");
    let total: usize = addresses.lines().map(|line| line.split_whitespace().next().unwrap().parse::<usize>().unwrap()).sum();
    assert!(total == 10 && addresses.contains("192.0.2."), "{addresses}");

    let top = block("sqlite");
    assert!((1..=10).contains(&top.lines().count()) && top.lines().all(|line| line.contains('|')), "{top}");
    let trusted = must(
        tool("sqlite3")
            .arg(place.path("lines.db"))
            .arg("SELECT count(*) FROM lines WHERE \"sealedlog.verification\" = 'trusted'"),
        b"",
    );
    assert_eq!(trusted, b"540\n");

    block("parquet");
    let shown = block("duckdb");
    assert!(shown.contains("500") && shown.contains("mail") && shown.contains("requests"), "{shown}");
    assert!(blocks.is_empty(), "no test has {blocks:?}");
}
