//! `sealedlog status`: what it says of logs that the filters sealed, and what it warns of.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::disk::SmallDisk;
use common::keys;
use common::lines::Lines;
use common::sealed::{Place, Running};
use common::tools::tool;
use sequoia_openpgp::Profile;
use sequoia_openpgp::cert::{CertBuilder, CipherSuite};
use sequoia_openpgp::serialize::SerializeInto;
use serde_json::Value;

/// Within this a running filter has done its part.
const SOON: Duration = Duration::from_secs(20);

fn status(place: &Place, options: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
    command.arg("status").arg("--state").arg(place.path("state")).arg("--runtime").arg(place.path("run"));
    command.arg("--keys").arg(place.path("keys.d")).args(options);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn seal(place: &Place, name: &str, line: &str) {
    let file = place.path("line");
    fs::write(&file, line).unwrap();
    assert!(place.seal_to(name).stdin(fs::File::open(file).unwrap()).stderr(Stdio::null()).status().unwrap().success());
}

/// The object of the only log.
fn only(place: &Place) -> (Option<i32>, Value) {
    let (code, out, err) = status(place, &["--json"]);
    assert_eq!(err, "");
    let objects: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [log, summary] = &objects[..] else { panic!("{out}") };
    assert_eq!(
        (&summary["summary"]["logs"], &summary["summary"]["unreadable"]),
        (&Value::from(1), &Value::from(Vec::<u8>::new()))
    );
    (code, log.clone())
}

#[test]
fn what_is_awaited_is_said() {
    let place = Place::new::<&str>(&[]);
    let (code, out, _) = status(&place, &[]);
    assert!(code == Some(1) && out.contains("a public key is awaited in") && out.contains("keys.d"), "{out}");
    place.add_key(&keys::sequoia_v6().public);
    assert_eq!(status(&place, &[]), (Some(0), "no log is sealed yet; 1 usable key\n".to_owned(), String::new()));
    // The state folder is made with the first line.
    fs::remove_dir(place.path("state")).unwrap();
    assert_eq!(status(&place, &["--json"]).0, Some(0));
}

#[test]
fn each_log_is_shown_with_what_can_be_seen_of_it() {
    for (public, profile, framing, suffix) in [
        (&keys::sequoia_v6().public, "rfc9580", "binary", "pgp"),
        (&keys::gpg_cv25519().public, "rfc4880", "binary", "pgp"),
        (&keys::age().public, "age", "base64", "age64"),
    ] {
        let place = Place::new(&[public]);
        seal(&place, "x.log", "a line\n");
        let (code, log) = only(&place);
        assert_eq!((code, &log["warnings"]), (Some(0), &Value::from(Vec::<u8>::new())), "{log}");
        let file = place.path("log").join(format!("x.log.{suffix}"));
        assert_eq!(log["log"], place.path("log/x.log").to_str().unwrap());
        assert_eq!((&log["profile"], &log["framing"]), (&Value::from(profile), &Value::from(framing)));
        assert_eq!(log["newest"]["file"], file.to_str().unwrap());
        assert_eq!(log["newest"]["bytes"], fs::metadata(&file).unwrap().size());
        assert_eq!(log["newest"]["segment"], 0);
        // As sha256sum has it.
        let genesis = fs::read_dir(place.path("state")).unwrap().next().unwrap().unwrap().path().join("genesis");
        let sum = tool("sha256sum").arg(genesis).output().unwrap().stdout;
        let shown = log["genesis"].as_str().unwrap().replace(' ', "").to_lowercase();
        assert!(sum.starts_with(shown.as_bytes()) && shown.len() == 64);
        assert_eq!(log["recipients"].as_array().unwrap().len(), 1);
        // For people.
        let (code, out, _) = status(&place, &[]);
        assert_eq!(code, Some(0));
        for part in [file.to_str().unwrap(), "written 20", log["genesis"].as_str().unwrap(), profile] {
            assert!(out.contains(part), "{part}: {out}");
        }
        // One that is asked for, and one that is not there.
        assert_eq!(status(&place, &[place.path("log/x.log").to_str().unwrap()]).0, Some(0));
        assert_eq!(status(&place, &[place.path("log/y.log").to_str().unwrap()]).0, Some(2));
    }
}

#[test]
fn what_is_wrong_is_warned_of() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    seal(&place, "x.log", "a line\n");
    let warned = |part: &str| {
        let (code, log) = only(&place);
        let warnings = log["warnings"].as_array().unwrap();
        assert_eq!((code, warnings.len()), (Some(1), 1), "{log}");
        assert!(warnings[0].as_str().unwrap().contains(part), "{log}");
    };
    // A key more, which the next line is sealed to.
    let other = place.add_key(&keys::rpgp_v6().public);
    warned("it is not sealed to these keys yet");
    seal(&place, "x.log", "another line\n");
    assert_eq!(only(&place).0, Some(0));
    fs::remove_file(other).unwrap();
    seal(&place, "x.log", "and another\n");
    // What is no key.
    fs::write(place.path("keys.d/x.asc"), "no key").unwrap();
    warned("a key is refused");
    fs::remove_file(place.path("keys.d/x.asc")).unwrap();
    fs::rename(place.path("keys.d"), place.path("away")).unwrap();
    warned("its keys cannot be used");
    fs::rename(place.path("away"), place.path("keys.d")).unwrap();
    fs::remove_file(place.path("log/x.log.pgp")).unwrap();
    warned("its newest file is gone");
}

#[test]
fn a_full_disk_is_warned_of() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let at = place.path("log/small");
    fs::create_dir(&at).unwrap();
    let _disk = SmallDisk::mount(&at, 1024);
    seal(&place, "small/x.log", "a line\n");
    assert_eq!(only(&place).0, Some(0));
    fs::write(at.join("filling"), vec![0; 950 << 10]).unwrap();
    let (code, log) = only(&place);
    assert!(code == Some(1) && log["warnings"][0].as_str().unwrap().starts_with("its disk is 9"), "{log}");
}

#[test]
fn lines_gaps_errors_and_the_filter_that_runs_are_shown() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    let at = place.path("log/small");
    fs::create_dir(&at).unwrap();
    let disk = SmallDisk::mount(&at, 256);
    let mut running = Running::start(place.seal_to("small/x.log").args(["--when-full", "drop"]));
    let lines: Vec<Vec<u8>> = Lines::new(5).take(200).collect();
    running.write(lines.concat());
    running.wait_idle();
    let settled = |lines: u64| {
        let until = Instant::now() + SOON;
        while only(&place).1["counts"]["lines"] != lines {
            assert!(Instant::now() < until, "{}", only(&place).1);
            sleep(Duration::from_millis(50));
        }
        only(&place)
    };
    // Within a second or so, while it runs.
    let (code, log) = settled(200);
    assert_eq!((code, &log["counts"]["bytes"]), (Some(0), &Value::from(lines.concat().len())));
    let [writer] = &log["writers"].as_array().unwrap()[..] else { panic!("{log}") };
    assert_eq!((&writer["pid"], &writer["program"]), (&Value::from(running.pid()), &Value::from("sealedlog")));
    // Two filters on one log add up.
    let mut twin = Running::start(&mut place.seal_to("small/x.log"));
    twin.write("one\ntwo\n");
    assert!(twin.end().status.success());
    settled(202);
    let flood: Vec<Vec<u8>> = Lines::new(6).take(40_000).collect();
    flood.chunks(100).for_each(|batch| running.write(batch.concat()));
    running.wait_told("lines are held, then counted and dropped until it can be");
    running.wait_idle();
    let (code, log) = only(&place);
    assert!(code == Some(1) && log["counts"]["errors"] == 1, "{log}");
    assert!(log["counts"]["last_error"]["text"].as_str().unwrap().contains("No space left on device"), "{log}");
    disk.grow();
    running.wait_told("the log can be written again");
    assert!(running.end().status.success());
    let (_, log) = only(&place);
    let count = |name: &str| log["counts"][name].as_u64().unwrap();
    assert_eq!((count("gaps"), count("lines") + count("lost_lines")), (1, 40_202), "{log}");
    assert_eq!(log["writers"], Value::from(Vec::<u8>::new()));
    let warned: Vec<_> = log["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(warned.iter().any(|warning| warning.starts_with("a gap at 20")), "{warned:?}");
    assert!(warned.iter().any(|warning| warning.starts_with("an error at 20")), "{warned:?}");
    let (_, out, _) = status(&place, &[]);
    for part in ["no filter has it open", " lines, ", "; 1 gaps, ", " lines lost; "] {
        assert!(out.contains(part), "{part}: {out}");
    }
    // What is no number any more is said, and begun anew.
    let folder = fs::read_dir(place.path("state")).unwrap().next().unwrap().unwrap().path();
    fs::write(folder.join("counts"), "{").unwrap();
    assert!(only(&place).1["warnings"][0].as_str().unwrap().starts_with("what was counted of it cannot be read"));
    seal(&place, "small/x.log", "a line\n");
    assert_eq!(only(&place).1["counts"]["lines"], 1);
}

#[test]
fn a_key_that_ends_within_a_month_is_warned_of() {
    for (days, is_soon) in [(20, true), (40, false)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ends.asc");
        let builder = CertBuilder::new().set_profile(Profile::RFC9580).unwrap().set_cipher_suite(CipherSuite::Cv25519);
        let builder = builder.set_validity_period(Duration::from_secs(days * 24 * 3600)).add_userid("ends <ends@example.org>");
        let (cert, _) = builder.add_storage_encryption_subkey().generate().unwrap();
        fs::write(&file, cert.armored().to_vec().unwrap()).unwrap();
        let place = Place::new(&[&file]);
        seal(&place, "x.log", "a line\n");
        let (code, log) = only(&place);
        assert_eq!(code, Some(i32::from(is_soon)), "{log}");
        assert!(log["recipients"][0]["expires"].as_str().is_some_and(|time| time.starts_with("20")), "{log}");
        let warning = log["warnings"][0].as_str();
        assert_eq!(warning.is_some_and(|warning| warning.contains("ends.asc expires 20")), is_soon, "{log}");
    }
}

#[test]
fn a_state_that_cannot_be_read_is_not_passed_over() {
    let place = Place::new(&[&keys::sequoia_v6().public]);
    seal(&place, "x.log", "a line\n");
    let folder = fs::read_dir(place.path("state")).unwrap().next().unwrap().unwrap().path();
    fs::write(folder.join("config"), "{").unwrap();
    let (code, out, _) = status(&place, &[]);
    assert!(code == Some(1) && out.contains("which log this state is of cannot be read"), "{out}");
}
