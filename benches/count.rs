//! Instructions of the record path, counted by valgrind: numbers that a noisy machine does not change, so that a regression shows.
//!
//! `cargo bench --features audit --bench count -- [check | renew]`, or `make bench-count`. For each kind of record this program runs
//! itself under `valgrind --tool=callgrind`, which counts in [`seal_epochs`] and what it calls: keys of the slots, sealing, erasing, in
//! memory. The counts a line are compared with `benches/count.txt`; one that is higher by more than [`TOLERANCE`] fails. One that is
//! lower by more is told: `renew` writes the file anew, and the change goes into a commit with its reason.
//!
//! Does not count what this machine can do: valgrind 3.19 knows AES-NI and AVX2, but no VAES, AVX-512 or SHA extensions, so it takes the
//! portable ways past those. A change of the compiler or of OpenSSL changes the counts as well.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use sealedlog::chain::{ChainKey, EpochKey, Kind};
use sealedlog::host::processor::processor;
use sealedlog::recipient::{self, Recipients};
use sealedlog::record::seal::{EpochSealer, Processor, table_len};
use sealedlog::record::{Framing, Profile};
use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::parse::Parse;
use openpgp::serialize::SerializeInto;

#[path = "../tests/common/lines.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod lines;

/// How far a count may be from the committed one, as a part of it. Random keys and scalars change it by less than a thousandth.
const TOLERANCE: f64 = 0.02;
const COUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/count.txt");
/// How this program is told, by itself, to seal.
const SEAL: &str = "--seal";
const HEAD: &str =
    "# Instructions a line, counted by valgrind; `make bench-count` compares, `make bench-count COUNT=renew` writes.\n";

/// A kind of record: its name, the committed key that it is sealed to, the profile, slots of an epoch, lines a record.
struct Case {
    name: &'static str,
    key: &'static str,
    profile: Profile,
    slots: u32,
    group: usize,
}

const CASES: [Case; 6] = [
    Case { name: "rfc9580", key: "keys/example-rfc9580-x25519.asc", profile: Profile::Rfc9580, slots: 4096, group: 1 },
    Case { name: "rfc9580-short-epochs", key: "keys/example-rfc9580-x25519.asc", profile: Profile::Rfc9580, slots: 64, group: 1 },
    Case { name: "rfc9580-group", key: "keys/example-rfc9580-x25519.asc", profile: Profile::Rfc9580, slots: 64, group: 250 },
    Case { name: "rfc4880", key: CV25519, profile: Profile::Rfc4880, slots: 256, group: 1 },
    Case { name: "age", key: "keys/example.age", profile: Profile::Age, slots: 256, group: 1 },
    Case { name: "age-group", key: "keys/example.age", profile: Profile::Age, slots: 64, group: 250 },
];
/// The vectors' key, made by GnuPG. Its secret half is left out.
const CV25519: &str = "tests/vectors/rfc4880/small/secret/gpg-25519.sec.asc";
/// Epochs that are counted.
const EPOCHS: u32 = 2;

fn main() -> ExitCode {
    // cargo gives benches an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [SEAL, name] => seal(name).map(|()| true),
        [] | ["check"] => check(),
        ["renew"] => renew().map(|()| true),
        _ => Err(anyhow::anyhow!("usage: count [check | renew]")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where standard error is gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "count: error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether no count is higher than committed.
fn check() -> anyhow::Result<bool> {
    let text = fs::read_to_string(COUNTS).with_context(|| format!("cannot read {COUNTS}"))?;
    let committed: BTreeMap<&str, f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, count) = line.split_once(' ').context("a line is a name and a number")?;
            Ok((name, count.trim().parse()?))
        })
        .collect::<anyhow::Result<_>>()?;
    let mut well = true;
    for case in &CASES {
        let (count, wanted) = (count(case)?, *committed.get(case.name).with_context(|| format!("no count for {}", case.name))?);
        let change = count / wanted - 1.0;
        let verdict = match change {
            _ if change > TOLERANCE => "HIGHER",
            _ if change < -TOLERANCE => "lower: renew the numbers",
            _ => "as committed",
        };
        well &= change <= TOLERANCE;
        let (name, change) = (case.name, change * 100.0);
        writeln!(
            io::stdout(),
            "{name:<24}{count:>12.0} instructions a line{wanted:>12.0} committed {change:>+7.2} %  {verdict}"
        )?;
    }
    Ok(well)
}

fn renew() -> anyhow::Result<()> {
    let mut text = HEAD.to_owned();
    for case in &CASES {
        text += &format!("{} {:.0}\n", case.name, count(case)?);
    }
    io::stdout().write_all(text.as_bytes())?;
    Ok(fs::write(COUNTS, text)?)
}

/// Instructions a line, by this program under valgrind.
fn count(case: &Case) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*seal_epochs*"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe()?).args([SEAL, case.name]);
    let ended = command.output().context("cannot run valgrind")?;
    ensure!(ended.status.success(), "valgrind: {}: {}", ended.status, String::from_utf8_lossy(&ended.stderr).trim());
    let text = fs::read_to_string(out)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    let total: f64 = total.context("callgrind wrote no total")?.trim().parse()?;
    ensure!(total > 0.0, "callgrind has counted nothing");
    Ok(total / (f64::from(EPOCHS * case.slots) * case.group as f64))
}

/// What is counted.
fn seal(name: &str) -> anyhow::Result<()> {
    let Some(case) = CASES.iter().find(|case| case.name == name) else { bail!("there is no {name}") };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(case.key);
    let mut key = fs::read(&file)?;
    if case.key == CV25519 {
        key = Cert::from_bytes(&key)?.strip_secret_key_material().armored().to_vec()?;
    }
    let keys = recipient::parse(&file, &key, SystemTime::now()).into_iter().collect::<Result<Vec<_>, _>>()?;
    let recipients = Arc::new(Recipients::new(keys, Some(case.profile))?);
    let lines: Vec<Vec<u8>> = lines::Lines::new(1).take(case.slots as usize * case.group).collect();
    let bodies: Vec<Vec<u8>> = lines.chunks(case.group).map(<[_]>::concat).collect();
    let mut table = vec![0; table_len(&recipients, case.slots)];
    let mut out = Vec::with_capacity(1 << 20);
    let key = ChainKey::from_bytes([7; 32]).epoch_key();
    seal_epochs(&recipients, &key, case.slots, &mut table, &bodies, &mut out, processor())
}

/// By its name valgrind finds what is to be counted.
#[inline(never)]
fn seal_epochs(
    recipients: &Arc<Recipients>,
    key: &EpochKey,
    slots: u32,
    table: &mut [u8],
    bodies: &[Vec<u8>],
    out: &mut Vec<u8>,
    processor: Processor,
) -> anyhow::Result<()> {
    for _ in 0..EPOCHS {
        let mut sealer = EpochSealer::new(recipients.clone(), key, slots, &mut table[..], processor)?;
        for body in bodies {
            out.clear();
            sealer.seal(Kind::Line, 1_769_817_600, body, Framing::Binary, out)?;
            black_box(&*out);
        }
    }
    Ok(())
}
