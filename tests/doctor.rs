//! `sealedlog doctor` on folders of logs that real programs write: what is sealed, what is not, and who writes it.
//!
//! Linux only: who writes is out of `/proc`.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use common::keys;
use common::sealed::{Place, unprivileged};
use serde_json::Value;

const SEALEDLOG: &str = env!("CARGO_BIN_EXE_sealedlog");

/// A program of the system that has a file open to append to; ends with this value.
struct Holder(Child);

impl Holder {
    fn of(path: &PathBuf) -> Self {
        let file = File::options().append(true).create(true).open(path).unwrap();
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn doctor(place: &Place, options: &[&str]) -> Output {
    Command::new(SEALEDLOG).arg("doctor").arg("--logs").arg(place.path("log")).args(options).output().unwrap()
}

/// The objects of files below the place, and the summary.
fn json(place: &Place, output: &Output) -> (Vec<Value>, Value) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = objects.pop().unwrap()["summary"].clone();
    // Others on this machine may write logs of their own.
    let own = place.path("");
    objects.retain(|object| object["file"].as_str().unwrap().starts_with(own.to_str().unwrap()));
    (objects, summary)
}

fn names(place: &Place, objects: &[Value]) -> Vec<(String, String)> {
    let root = place.path("");
    let name = |object: &Value| object["file"].as_str().unwrap().strip_prefix(root.to_str().unwrap()).unwrap().to_owned();
    objects
        .iter()
        .map(|object| (name(object).trim_start_matches('/').to_owned(), object["state"].as_str().unwrap().to_owned()))
        .collect()
}

fn seal(place: &Place, name: &str) {
    let file = File::open(place.path("line")).unwrap();
    assert!(place.seal_to(name).stdin(file).status().unwrap().success());
}

fn age(path: PathBuf, hours: u64) {
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
}

#[test]
fn what_is_written_in_plain_text_is_told_with_its_writer() {
    for public in [&keys::sequoia_v6().public, &keys::gpg_cv25519().public, &keys::age().public] {
        let place = Place::new(&[public]);
        let log = |name: &str| place.path("log").join(name);
        fs::write(place.path("line"), "a line\n").unwrap();
        seal(&place, "sealed.log");
        // What is named like a sealed log and is none.
        fs::write(log("not.pgp"), "plain\n").unwrap();
        fs::create_dir(log("app")).unwrap();
        fs::write(log("app/recent.log"), "plain\n").unwrap();
        fs::write(log("left.log"), "plain\n").unwrap();
        age(log("left.log"), 30);
        for name in ["syslog.1", "wtmp"] {
            fs::write(log(name), "x").unwrap();
        }
        fs::write(log("syslog.2.gz"), b"\x1f\x8b\x08\0").unwrap();
        fs::write(log("empty.log"), "").unwrap();
        std::os::unix::fs::symlink(log("left.log"), log("link.log")).unwrap();
        let holder = Holder::of(&log("open.log"));
        age(log("open.log"), 1000);
        fs::create_dir(place.path("logs")).unwrap();
        let _elsewhere = Holder::of(&place.path("logs/elsewhere"));
        let _no_log = Holder::of(&place.path("data"));
        let sealed = place.logs().into_iter().find(|name| name.starts_with("sealed.log")).unwrap();
        fs::copy(log(&sealed), place.path("logs/sealed")).unwrap();
        let _sealed = Holder::of(&place.path("logs/sealed"));

        let output = doctor(&place, &["--json"]);
        assert_eq!(output.status.code(), Some(1));
        let (objects, summary) = json(&place, &output);
        let expected = [
            ("log/app/recent.log", "written"),
            ("log/left.log", "old"),
            ("log/not.pgp", "written"),
            ("log/open.log", "open"),
            ("log/syslog.1", "old"),
            ("log/syslog.2.gz", "old"),
            ("log/wtmp", "logins"),
            ("logs/elsewhere", "open"),
        ];
        assert_eq!(names(&place, &objects), expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
        assert!(summary["sealed"].as_u64() >= Some(2), "{summary}");
        let contents: Vec<_> = objects.iter().map(|object| object["content"].as_str().unwrap()).collect();
        assert_eq!(contents, ["lines", "lines", "lines", "lines", "lines", "compressed", "logins", "lines"]);
        let open = &objects[3]["writers"];
        assert_eq!((&open[0]["pid"], &open[0]["program"]), (&Value::from(holder.0.id()), &Value::from("sleep")));
        assert!(open.as_array().unwrap().len() == 1 && objects[3]["remedy"].as_str().unwrap().contains("sealedlog seal -o"));

        let text = String::from_utf8(doctor(&place, &[]).stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with(log("open.log").to_str().unwrap())).unwrap();
        assert!(line.contains(&format!("open in sleep ({}", holder.0.id())), "{line}");

        // With more patience what was left is still written.
        let (objects, _) = json(&place, &doctor(&place, &["--json", "--within", "31"]));
        assert!(names(&place, &objects).contains(&("log/left.log".to_owned(), "written".to_owned())));
    }
}

#[test]
fn a_sealed_file_without_a_name_is_none_of_plain_text() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    fs::write(place.path("line"), "a line\n").unwrap();
    seal(&place, "x.log");
    let path = place.path("log/x.log.pgp");
    let _holder = Holder::of(&path);
    fs::remove_file(&path).unwrap();
    let (objects, summary) = json(&place, &doctor(&place, &["--json"]));
    assert_eq!(names(&place, &objects), []);
    assert!(summary["sealed"].as_u64() >= Some(1), "{summary}");
}

#[test]
fn the_folder_may_be_named_by_a_link() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let path = place.path("log/foo");
    let _holder = Holder::of(&path);
    fs::write(&path, "plain\n").unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(place.path("log"), place.path("link")).unwrap();
    let output = Command::new(SEALEDLOG).args(["doctor", "--json", "--logs"]).arg(place.path("link")).output().unwrap();
    let (objects, _) = json(&place, &output);
    assert_eq!(names(&place, &objects), [("log/foo".to_owned(), "open".to_owned())]);
}

#[test]
fn a_file_that_was_replaced_under_its_writer_is_told() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let path = place.path("log").join("rotated.log");
    let _holder = Holder::of(&path);
    fs::write(&path, "plain\n").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(place.path("line"), "a line\n").unwrap();
    seal(&place, "x.log");
    let output = doctor(&place, &["--json"]);
    let (objects, _) = json(&place, &output);
    assert_eq!(names(&place, &objects), [("log/rotated.log".to_owned(), "open".to_owned())]);
    assert_eq!(objects[0]["removed"], true);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn nothing_is_certain_where_not_all_can_be_seen() {
    if !nix::unistd::Uid::effective().is_root() {
        // Who runs this may have logs open himself.
        return;
    }
    let place = Place::new(&[&keys::sequoia_v6().public]);
    fs::write(place.path("line"), "a line\n").unwrap();
    seal(&place, "x.log");
    let mut doctor = Command::new(SEALEDLOG);
    let output = unprivileged(&place, doctor.arg("doctor").arg("--logs").arg(place.path("log"))).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("x.log.pgp cannot be looked at") && told.contains("hint: run it as root"), "{told}");
}

#[test]
fn what_cannot_be_read_is_trouble() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let output = Command::new(SEALEDLOG).args(["doctor", "--logs"]).arg(place.path("nowhere")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(told.contains("nowhere") && told.contains("--logs"), "{told}");
}
