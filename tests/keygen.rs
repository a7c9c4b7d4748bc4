//! `sealedlog-audit keygen`: what it asks on a terminal, and what it gives to print. QR codes are read by another program's code.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use sequoia_openpgp::Cert;
use sequoia_openpgp::parse::Parse;

use common::sealed::{Place, names, seal_all};
use common::tools::{must, run, tool};

const PASSPHRASE: &str = "correct horse";

fn audit() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"))
}

/// What a terminal shows while a person who sits at it types these lines.
fn on_terminal(folder: &Path, options: &str, lines: &[&str]) -> String {
    let mut script = tool("script");
    let command = format!("'{}' keygen {options}", env!("CARGO_BIN_EXE_sealedlog-audit"));
    let typed: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let shown = must(script.args(["-qec", &command, "/dev/null"]).current_dir(folder), typed.as_bytes());
    String::from_utf8(shown).unwrap()
}

/// Reads a code from its modules, with light ones around it.
fn read_code(width: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
    const SCALE: usize = 4;
    let mut image = rqrr::PreparedImage::prepare_from_bitmap(width * SCALE, width * SCALE, |x, y| is_dark(x / SCALE, y / SCALE));
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code");
    grids[0].decode().unwrap().1
}

fn read_terminal(shown: &str) -> String {
    let rows = shown.lines().filter_map(|line| line.trim_end().strip_prefix("\x1b[97;40m")?.strip_suffix("\x1b[0m"));
    let rows: Vec<Vec<char>> = rows.map(|row| row.chars().collect()).collect();
    let light = |x: usize, y: usize| match rows[y / 2][x] {
        '█' => true,
        '▀' => y.is_multiple_of(2),
        '▄' => !y.is_multiple_of(2),
        _ => false,
    };
    read_code(rows[0].len(), |x, y| !light(x, y))
}

fn read_svg(page: &str) -> String {
    let between = |from: &str, to: &str| page.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let width: usize = between("viewBox=\"0 0 ", " ").parse().unwrap();
    let dark: HashSet<(usize, usize)> = between("<path d=\"M", "z\"")
        .split("zM")
        .map(|module| {
            let (x, y) = module.strip_suffix("h1v1h-1").unwrap().split_once(' ').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        })
        .collect();
    read_code(width, |x, y| dark.contains(&(x, y)))
}

fn fingerprint(told: &str) -> &str {
    told.split_once("fingerprint: ").unwrap().1.lines().next().unwrap().trim()
}

#[test]
fn a_terminal_is_asked_and_shows_the_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let shown = on_terminal(folder.path(), "", &["", "Ann <a@example.org>", "", "", "", PASSPHRASE, PASSPHRASE]);
    let made = folder.path().join("sealedlog-keys");
    assert_eq!(names(&made), ["sealedlog-key.html", "sealedlog-public.asc", "sealedlog-secret.asc"], "{shown}");
    let cert = Cert::from_file(made.join("sealedlog-public.asc")).unwrap();
    let expected = cert.fingerprint().to_hex();
    assert_eq!(fingerprint(&shown), expected);
    assert_eq!(read_terminal(&shown), expected);
    assert_eq!(cert.userids().next().unwrap().userid().value(), b"Ann <a@example.org>");
    // What was typed ahead of the question is shown by the terminal itself.
    assert!(!shown.split_once("fingerprint: ").unwrap().1.contains(PASSPHRASE), "{shown}");
    // In groups, for a hand that writes.
    let grouped: String = shown.lines().filter_map(|line| line.strip_prefix("    ")).flat_map(str::split_whitespace).collect();
    assert_eq!(grouped, expected, "{shown}");
    // The key is one, under that passphrase.
    let place = Place::new(&[made.join("sealedlog-public.asc")]);
    assert!(seal_all(&mut place.seal_to("x.log"), b"a line\n").status.success());
    let mut open = audit();
    open.arg("open").arg(place.path("log")).arg("--key").arg(made.join("sealedlog-secret.asc")).args(["--passphrase-fd", "0"]);
    assert_eq!(must(&mut open, format!("{PASSPHRASE}\n").as_bytes()), b"a line\n");
}

#[test]
fn a_terminal_is_asked_for_shares_and_they_open() {
    let folder = tempfile::tempdir().unwrap();
    let shown = on_terminal(folder.path(), "", &["2", "3", "", "kept", "n"]);
    let made = folder.path().join("kept");
    let share = |number| format!("sealedlog-share-{number}-of-3.txt");
    assert_eq!(names(&made), ["sealedlog-public.age".to_owned(), share(1), share(2), share(3)], "{shown}");
    assert!(shown.contains("any 2 of the 3 open the logs") && fingerprint(&shown).starts_with("age1"), "{shown}");
    let place = Place::new(&[made.join("sealedlog-public.age")]);
    assert!(seal_all(&mut place.seal_to("x.log"), b"a line\n").status.success());
    let mut open = audit();
    open.arg("open").arg(place.path("log")).arg("--share").arg(made.join(share(3))).arg("--share").arg(made.join(share(1)));
    assert_eq!(must(&mut open, b""), b"a line\n");
}

#[test]
fn who_goes_away_leaves_no_key() {
    for lines in [&[][..], &["1"], &["1", "", "1", "keys"], &["1", "", "1", "keys", "y", "one", "another"]] {
        let folder = tempfile::tempdir().unwrap();
        let mut script = tool("script");
        let command = format!("'{}' keygen", env!("CARGO_BIN_EXE_sealedlog-audit"));
        let typed: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let told = run(script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path()), typed.as_bytes()).unwrap_err();
        assert!(told.contains("exit status: 2"), "{told}");
        let keys = folder.path().join("keys");
        assert!(!keys.exists() || names(&keys).is_empty(), "{:?}", names(&keys));
    }
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let told = run(audit().arg("keygen").current_dir(folder.path()), b"1\n\n1\n\n\n").unwrap_err();
    assert!(told.contains("exit status: 2") && told.contains("error: nothing says where the key goes\n"), "{told}");
    assert!(told.contains("hint: give -o DIR"), "{told}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn the_page_shows_the_fingerprint_and_nothing_runs() {
    let name = "<script>alert(\"1\")</script> & 'Ann'";
    for kind in [&["--name", name][..], &["--age"], &["--shares", "3", "--threshold", "2", "--name", name]] {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.html");
        let mut keygen = audit();
        keygen.arg("keygen").args(kind).arg("-o").arg(folder.path()).arg("--page").arg(&page).arg("--qr");
        if !kind.contains(&"--shares") {
            keygen.arg("--no-passphrase");
        }
        let told = String::from_utf8(must(&mut keygen, b"")).unwrap();
        let expected = fingerprint(&told);
        assert_eq!(read_terminal(&told), expected);
        let html = fs::read_to_string(&page).unwrap();
        assert_eq!(read_svg(&html), expected);
        let code = html.split_once("<code>").unwrap().1.split_once("</code>").unwrap().0;
        assert_eq!(code.replace("<br>", "").split_whitespace().collect::<String>(), expected);
        assert_eq!(html.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;Ann&#39;"), kind.contains(&name));
        for loaded in ["<script", "src=", "href=", "url(", "@import", "<iframe", "<link", "onload"] {
            assert!(!html.contains(loaded), "{loaded}");
        }
        assert_eq!(
            html.matches("http").count(),
            html.matches("http-equiv").count() + html.matches("http://www.w3.org/2000/svg").count()
        );
        assert!(html.contains("default-src 'none'") && !html.contains("PRIVATE") && !html.contains("AGE-SECRET"));
        // A page that is there stays, and no key is made.
        let again =
            run(audit().args(["keygen", "--no-passphrase", "-o"]).arg(folder.path().join("new")).arg("--page").arg(&page), b"");
        assert!(again.unwrap_err().contains("no key is overwritten"));
        assert_eq!((names(&folder.path().join("new")), fs::read_to_string(&page).unwrap()), (vec![], html));
    }
}

#[test]
fn into_a_pipe_goes_no_code_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let told = must(audit().args(["keygen", "--no-passphrase", "-o"]).arg(folder.path()), b"");
    assert!(told.is_ascii() && !told.contains(&0x1b), "{}", String::from_utf8_lossy(&told));
}
