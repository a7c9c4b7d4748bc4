//! Base64 framing as a transport: over a terminal line, with noise on it. What arrives whole opens, what does not is told.
#![cfg(feature = "audit")]

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use common::keys;
use common::lines::{Lines, Random};
use common::sealed::{Place, Running};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use sealedlog::audit::read::{Found, Opener, RecordReader};
use sealedlog::control::{Control, GenesisFingerprint};
use sealedlog::identity::{Identities, Terminal};
use sealedlog::record::framing;

/// What came out at the other end of a terminal line.
struct Received {
    place: Place,
    secret: PathBuf,
    lines: Vec<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Received {
    /// Seals to a terminal in raw mode, or in cooked mode, which puts a carriage return before each line feed.
    fn over_line(public: &Path, secret: &Path, raw: bool, count: usize) -> Self {
        let place = Place::new(&[public]);
        let lines: Vec<_> = Lines::new(4).take(count).collect();
        let pty = openpty(None, None).unwrap();
        if raw {
            let mut settings = tcgetattr(&pty.slave).unwrap();
            cfmakeraw(&mut settings);
            tcsetattr(&pty.slave, SetArg::TCSANOW, &settings).unwrap();
        }
        let mut command = place.seal();
        command.args(["--framing", "base64"]).stdout(pty.slave);
        let mut running = Running::start_with(&mut command);
        // The command still holds the terminal's other end.
        drop(command);
        let reader = thread::spawn(move || read_to_hangup(pty.master));
        running.write(lines.concat());
        running.end_well();
        let bytes = reader.join().unwrap();
        Self { place, secret: secret.to_owned(), lines, bytes }
    }

    /// Where the texts of records stand.
    fn records(&self) -> Vec<Range<usize>> {
        let mut at = 0;
        let line = |line: &[u8]| {
            let start = at;
            at += line.len();
            start..start + line.trim_ascii_end().len()
        };
        self.bytes.split_inclusive(|&byte| byte == b'\n').map(line).collect()
    }

    fn genesis(&self) -> GenesisFingerprint {
        let mut record = Vec::new();
        assert!(framing::read_line(&self.bytes[self.records()[0].clone()], &mut record));
        GenesisFingerprint::of(&record)
    }

    fn audit(&self, command: &str, bytes: &[u8], more: &[&str]) -> Vec<u8> {
        let path = self.place.path("received");
        fs::write(&path, bytes).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_sealedlog-audit"));
        program.arg(command).arg(&path).arg("--key").arg(&self.secret).args(more);
        let output = program.output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        output.stdout
    }

    fn verify(&self, bytes: &[u8]) -> Vec<serde_json::Value> {
        let said = self.audit("verify", bytes, &["--json", "--genesis", &self.genesis().to_string()]);
        String::from_utf8(said).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn open(&self, bytes: &[u8]) -> Vec<u8> {
        self.audit("open", bytes, &["--genesis", &self.genesis().to_string()])
    }

    /// Which line each record holds, if any.
    fn line_of(&self) -> Vec<Option<usize>> {
        let identities = Identities::load(&[&self.secret], &mut Terminal).unwrap();
        let opener = Opener::new(&identities);
        let found = RecordReader::new(&self.bytes[..], &opener).map(|found| match found.unwrap() {
            Found::Record(record) => record.opened.body,
            Found::Damage(damage) => panic!("{damage:?}"),
        });
        // No line of an access log reads as a control record.
        let (mut lines, mut of) = (0, Vec::new());
        for body in found {
            of.push(Control::parse(&body).is_none().then_some(lines));
            lines += usize::from(of.last().unwrap().is_some());
        }
        assert_eq!((lines, of.len()), (self.lines.len(), self.records().len()));
        of
    }
}

fn read_to_hangup(master: OwnedFd) -> Vec<u8> {
    let (mut master, mut bytes, mut part) = (File::from(master), Vec::new(), [0; 4096]);
    // When the last one closes the other end, reading fails with EIO.
    while let Ok(count @ 1..) = master.read(&mut part) {
        bytes.extend_from_slice(&part[..count]);
    }
    bytes
}

/// The bytes with noise in them, behind the first record, and which records arrived whole.
fn noisy(received: &Received, rate: u64, seed: u64) -> (Vec<u8>, Vec<bool>) {
    let (records, mut random) = (received.records(), Random(seed));
    let mut whole = vec![true; records.len()];
    let mut hurt = |range: Range<usize>| {
        let first = records.partition_point(|record| record.end <= range.start);
        (first..records.len()).take_while(|&i| records[i].start < range.end).for_each(|i| whole[i] = false);
    };
    let (mut out, mut at) = (received.bytes[..records[1].start].to_vec(), records[1].start);
    let bytes = &received.bytes;
    while at < bytes.len() {
        if random.below(rate) != 0 {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        match random.below(8) {
            0 | 1 => {
                out.push(bytes[at] ^ (1 << random.below(8)));
                hurt(at..at + 1);
                at += 1;
            }
            2 | 3 => {
                for _ in 0..=random.below(4) {
                    let any = random.next() as u8;
                    out.push([b'\n', b'\r', any & 31, any, b'A' + any % 26, b'='][random.below(6) as usize]);
                }
                // Between two bytes of a record; what stands before or behind it does not hurt it.
                if records.iter().any(|record| record.start < at && at < record.end) {
                    hurt(at..at + 1);
                }
            }
            4 => {
                hurt(at..at + 1);
                at += 1;
            }
            5 => {
                let end = (at + 2 + random.below(1500) as usize).min(bytes.len());
                hurt(at..end);
                at = end;
            }
            6 => {
                // The next line feed, or both of CR and LF, with something else in their place or not.
                let feed = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |feed| at + feed);
                let end = records.iter().map(|record| record.end).rfind(|&end| end <= feed).unwrap_or(feed);
                out.extend_from_slice(&bytes[at..end.max(at)]);
                if random.below(2) == 0 {
                    out.push(b'B');
                }
                at = (feed + 1).min(bytes.len());
            }
            _ => {
                // A whole line, or what is left of this one.
                let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |feed| at + feed + 1);
                hurt(at..end);
                at = end;
            }
        }
    }
    (out, whole)
}

fn keys_of_all_profiles() -> [(&'static str, &'static Path, &'static Path); 3] {
    [
        ("rfc9580", &keys::sequoia_v6().public, &keys::sequoia_v6().secret),
        ("rfc4880", &keys::gpg_cv25519().public, &keys::gpg_cv25519().secret),
        ("age", &keys::age().public, &keys::age().secret),
    ]
}

#[test]
fn over_a_quiet_line_everything_arrives_whether_raw_or_cooked() {
    for (profile, public, secret) in keys_of_all_profiles() {
        for raw in [true, false] {
            let received = Received::over_line(public, secret, raw, 150);
            assert_eq!(memchr::memchr(b'\r', &received.bytes).is_some(), !raw);
            let said = received.verify(&received.bytes);
            assert_eq!(said.len(), 1, "{profile}: {said:?}");
            assert_eq!(said[0]["summary"]["lines"], 150);
            assert!(received.open(&received.bytes) == received.lines.concat(), "{profile}");
        }
    }
}

#[test]
fn what_arrives_whole_over_a_noisy_line_opens_and_the_rest_is_told() {
    for (profile, public, secret) in keys_of_all_profiles() {
        for raw in [true, false] {
            let received = Received::over_line(public, secret, raw, 300);
            let line_of = received.line_of();
            for (seed, rate) in [(1, 20_000), (2, 4000), (3, 4000), (4, 1500), (5, 1500), (6, 1500), (7, 500)] {
                let what = format!("{profile}, raw {raw}, seed {seed}");
                let (bytes, whole) = noisy(&received, rate, seed);
                let expected: Vec<&Vec<u8>> = line_of
                    .iter()
                    .zip(&whole)
                    .filter(|(_, whole)| **whole)
                    .filter_map(|(line, _)| Some(&received.lines[(*line)?]))
                    .collect();
                let opened = received.open(&bytes);
                let mut rest = opened.split_inclusive(|&byte| byte == b'\n').peekable();
                for line in &expected {
                    // What was changed in its framing only, or in what does not count, may be there besides.
                    while rest.next_if(|next| next != line).is_some() {}
                    let found = rest.next().is_some();
                    assert!(found, "{what}: lost a whole line: {}", String::from_utf8_lossy(line));
                }
                let said = received.verify(&bytes);
                let kinds: Vec<_> = said.iter().filter_map(|finding| finding["finding"].as_str()).collect();
                let fit = |kind: &&str| ["altered", "garbage", "missing", "torn", "unproven"].contains(kind);
                assert!(kinds.iter().all(fit), "{what}: {kinds:?}");
                let lines = said.last().unwrap()["summary"]["lines"].as_u64().unwrap();
                // One whose keys were hurt may find its place at the end only.
                assert!(lines as usize >= opened.split_inclusive(|&byte| byte == b'\n').count(), "{what}");
                // Nothing is made up, and next to nothing comes back that did not arrive whole.
                assert!(lines as usize <= expected.len() + whole.len() / 20, "{what}: {lines} lines, {} arrived", expected.len());
                // Where the last word of an epoch is hurt, nothing says how many records stood before it and were hurt with it.
                let end = 1 + line_of.iter().rposition(Option::is_some).unwrap();
                let known = if whole[end..].contains(&false) {
                    1 + whole[..end].iter().rposition(|whole| *whole).unwrap()
                } else {
                    whole.len()
                };
                let hurt = whole[..known].iter().filter(|whole| !**whole).count() as u64;
                let told: u64 = said
                    .iter()
                    .filter(|finding| {
                        finding["finding"] == "altered"
                            || finding["finding"] == "missing"
                            || finding["finding"] == "torn"
                            || finding["finding"] == "unproven"
                    })
                    .map(|finding| finding["count"].as_u64().unwrap_or(16384))
                    .sum();
                assert!(told + (lines - expected.len() as u64) >= hurt, "{what}: {told} told of {hurt}: {said:?}");
                let _ = std::io::stderr().write_all(format!("{what}: {hurt} of {} hurt\n", whole.len()).as_bytes());
            }
        }
    }
}

/// Without the first record nothing proves the places of its epoch, but no line is lost for it.
#[test]
fn without_its_beginning_all_of_it_still_opens() {
    for (profile, public, secret) in keys_of_all_profiles() {
        let received = Received::over_line(public, secret, true, 100);
        let mut bytes = received.bytes.clone();
        bytes[100] = b'?';
        // Nothing says which of the records hold lines, so that the others are shown, too.
        let opened = received.audit("open", &bytes, &["--all"]);
        let lines: Vec<_> = opened.split_inclusive(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"{")).collect();
        assert!(lines.concat() == received.lines.concat(), "{profile}");
    }
}
