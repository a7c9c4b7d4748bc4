//! Programs that read a file and write a file: ours, and what one would take instead.
//!
//! Promises: what was sealed comes back byte for byte, or the run counts as failed.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::place::{Input, Keys, Place, fresh_state, is_installed, output};
use super::run::{Row, Run, RunOnce, Why, measure, measure_to, same_content};
use super::{AGE_A_LINE, AUDIT, SEALEDLOG, SEQUOIA_A_LINE, syslog};

pub const SEAL_RFC9580: &str = "sealedlog seal, rfc9580";
pub const SEAL_ONE_CORE: &str = "sealedlog seal, rfc9580, one core";
pub const SEAL_RFC4880: &str = "sealedlog seal, rfc4880 *";
pub const SEAL_RFC4880_GROUP: &str = "sealedlog seal --group, rfc4880";
pub const SEAL_AGE: &str = "sealedlog seal, age *";
pub const SEAL_AGE_GROUP: &str = "sealedlog seal --group, age";
pub const SEQUOIA_RFC9580: &str = "Sequoia, a message a line, rfc9580 *";
pub const SEQUOIA_RFC4880: &str = "Sequoia, a message a line, rfc4880 *";
pub const AGE_CRATE: &str = "age crate, a file a line *";
pub const AGE_STREAM: &str = "age -r, one file";
pub const GPG_ENCRYPT: &str = "gpg -e -z0, one message";
pub const SLOGENCRYPT: &str = "slogencrypt **";
pub const ROTATELOGS: &str = "rotatelogs, plain text";
pub const OPEN: &str = "sealedlog-audit open, rfc9580";
pub const VERIFY: &str = "sealedlog-audit verify, rfc9580";
pub const GPG_DECRYPT: &str = "gpg -d, one message";
pub const SLOGVERIFY: &str = "slogverify **";

/// The three sizes of input.
pub struct Inputs {
    /// For whatever is fast.
    pub all: Input,
    /// For slogencrypt and slogverify.
    pub medium: Input,
    /// For whatever makes a public-key operation a line.
    pub slow: Input,
}

/// All rows in the order in which they run: what is read back is what the same round has written.
pub fn rows<'a>(place: &'a Place, keys: &'a Keys, inputs: &'a Inputs) -> anyhow::Result<Vec<Row<'a>>> {
    let Inputs { all, medium, slow } = inputs;
    let me = std::env::current_exe()?;
    let (sealed, message, other) = (place.path("sealed.pgp"), place.path("message.gpg"), place.path("other.out"));
    let mut rows = Vec::new();
    let mut row = |name, input: &Input, run: RunOnce<'a>| {
        rows.push(Row { name, lines: input.lines, run, runs: Ok(Vec::new()) });
    };
    let seal = |key: &'a Path, input: &'a Input, out: &str, options: &'static [&'static str]| {
        let out = place.path(out);
        seal_with(Command::new(SEALEDLOG), place, key, input, out, options)
    };
    let redirected = |command: Box<dyn Fn() -> Command + 'a>, input: &'a Input, out: &Path| -> RunOnce<'a> {
        let out = out.to_owned();
        Box::new(move || measure(&mut command(), &input.path, Some(&out))?.storing(&out, input))
    };
    let a_line = |option: &'static str, key: String| -> Box<dyn Fn() -> Command + 'a> {
        let me = me.clone();
        Box::new(move || command(&me, &[option, &key]))
    };
    let text = |path: &Path| path.display().to_string();

    row(SEAL_RFC9580, all, seal(&keys.rfc9580, all, "sealed.pgp", &[]));
    row(GPG_ENCRYPT, all, redirected(Box::new(|| keys.gpg_encrypt()), all, &message));
    let pinned = command(Path::new("taskset"), &["-c", "0", SEALEDLOG]);
    row(SEAL_ONE_CORE, all, seal_with(pinned, place, &keys.rfc9580, all, place.path("other.pgp"), &[]));
    row(ROTATELOGS, all, rotatelogs(place, all));
    row(SEAL_AGE_GROUP, all, seal(&keys.age, all, "other.age64", &["--group"]));
    let age = || command(Path::new("age"), &["-r", &keys.age_recipient]);
    row(AGE_STREAM, all, redirected(Box::new(age), all, &other));
    row(SEAL_RFC4880_GROUP, all, seal(&keys.rfc4880, all, "other.pgp", &["--group"]));
    row(SEAL_RFC4880, slow, seal(&keys.rfc4880, slow, "other.pgp", &[]));
    row(SEQUOIA_RFC4880, slow, redirected(a_line(SEQUOIA_A_LINE, text(&keys.rfc4880)), slow, &other));
    row(SEQUOIA_RFC9580, slow, redirected(a_line(SEQUOIA_A_LINE, text(&keys.rfc9580)), slow, &other));
    row(SEAL_AGE, slow, seal(&keys.age, slow, "other.age64", &[]));
    row(AGE_CRATE, slow, redirected(a_line(AGE_A_LINE, keys.age_recipient.clone()), slow, &other));
    row(SLOGENCRYPT, medium, slogencrypt(place, medium));
    row(SLOGVERIFY, medium, slogverify(place, medium));

    let open = {
        let (sealed, key) = (text(&sealed), text(&keys.rfc9580_secret));
        move || command(Path::new(AUDIT), &["open", &sealed, "--key", &key])
    };
    let verify = {
        let (sealed, key, report) = (text(&sealed), text(&keys.rfc9580_secret), place.path("report"));
        move || {
            let mut verify = command(Path::new(AUDIT), &["verify", &sealed, "--key", &key, "--trust-first"]);
            measure(&mut verify, Path::new("/dev/null"), Some(&report))
        }
    };
    let gpg_decrypt = move || {
        let mut command = keys.gpg.command();
        command.arg("-d").arg(&message);
        command
    };
    row(OPEN, all, reading_back(Box::new(open), place.path("plain"), all));
    row(GPG_DECRYPT, all, reading_back(Box::new(gpg_decrypt), place.path("plain"), all));
    row(VERIFY, all, Box::new(verify));
    for row in &mut rows {
        let wanted = match row.name {
            SEAL_ONE_CORE => "taskset",
            GPG_ENCRYPT | GPG_DECRYPT => "gpg",
            ROTATELOGS => "rotatelogs",
            AGE_STREAM => "age",
            SLOGENCRYPT | SLOGVERIFY if !slog_root().join(SLOG_ENCRYPT).is_file() => "slogencrypt",
            _ => continue,
        };
        if !is_installed(wanted) {
            row.runs = Err(Why::Missing(wanted.to_owned()));
        }
    }
    Ok(rows)
}

/// The row whose output of the same round another one reads.
pub fn reads(name: &str) -> Option<&'static str> {
    match name {
        OPEN | VERIFY => Some(SEAL_RFC9580),
        GPG_DECRYPT => Some(GPG_ENCRYPT),
        SLOGVERIFY => Some(SLOGENCRYPT),
        _ => None,
    }
}

fn command(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// `sealedlog seal` of a file to a file that is new, as a stream that is new. `program` stands for `sealedlog`.
pub fn seal_with<'a>(
    program: Command,
    place: &'a Place,
    key: &'a Path,
    input: &'a Input,
    out: PathBuf,
    options: &'static [&'static str],
) -> RunOnce<'a> {
    Box::new(move || {
        let [state, runtime] = fresh_state(place);
        let _ = fs::remove_file(&out);
        let mut command = Command::new(program.get_program());
        command.args(program.get_args()).arg("seal").args(options).arg("--keys").arg(key).arg("-o").arg(&out);
        command.arg("--state").arg(&state).arg("--runtime").arg(&runtime);
        measure(&mut command, &input.path, None)?.storing(&out, input)
    })
}

fn rotatelogs<'a>(place: &'a Place, input: &'a Input) -> RunOnce<'a> {
    Box::new(move || {
        let folder = place.path("rotatelogs");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        let mut command = Command::new("rotatelogs");
        // Names its file after the time, so it is the only one in the folder.
        command.arg(folder.join("log")).arg("86400");
        let run = measure(&mut command, &input.path, None)?;
        let out = fs::read_dir(&folder)?.next().context("rotatelogs made no file")??.path();
        run.storing(&out, input)
    })
}

fn reading_back<'a>(command: Box<dyn Fn() -> Command + 'a>, out: PathBuf, input: &'a Input) -> RunOnce<'a> {
    Box::new(move || {
        let run = measure(&mut command(), Path::new("/dev/null"), Some(&out))?;
        ensure!(same_content(&out, &input.path)?, "what came back is not what was sealed");
        fs::remove_file(&out)?;
        Ok(run)
    })
}

const SLOG_ENCRYPT: &str = "usr/bin/slogencrypt";
/// What slogverify puts before each line: its number, a colon and a space.
const SLOG_NUMBER: u64 = 22;

/// Where `scripts/setup.sh` unpacks it.
fn slog_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/daemons/slog")
}

fn slog(program: &str) -> Command {
    let root = slog_root();
    let mut command = Command::new(root.join("usr/bin").join(program));
    command.env("LD_LIBRARY_PATH", syslog::libraries(&root, &["usr/lib/syslog-ng"]));
    command
}

/// syslog-ng's secure logging of a whole file, with a key of its own each time.
fn slogencrypt<'a>(place: &'a Place, input: &'a Input) -> RunOnce<'a> {
    Box::new(move || {
        let file = |name: &str| place.path(&format!("slog-{name}"));
        for old in ["master", "host", "host.new", "mac", "log"] {
            let _ = fs::remove_file(file(old));
        }
        output(slog("slogkey").arg("-m").arg(file("master")))?;
        output(slog("slogkey").arg("-d").arg(file("master")).args(["02:00:5e:00:53:01", "1"]).arg(file("host")))?;
        let mut command = slog("slogencrypt");
        command.arg("-k").arg(file("host")).args([file("host.new"), file("mac")]).arg(&input.path).arg(file("log"));
        // The first log of a key has no MAC to go on from, which it counts as an error although it has done all: see [`slogverify`].
        measure_to(1, &mut command, Path::new("/dev/null"), None)?.storing(&file("log"), input)
    })
}

/// Opens and verifies what [`slogencrypt`] wrote; anything missing is an error.
fn slogverify<'a>(place: &'a Place, input: &'a Input) -> RunOnce<'a> {
    Box::new(move || {
        let file = |name: &str| place.path(&format!("slog-{name}"));
        let _ = fs::remove_file(file("plain"));
        let mut command = slog("slogverify");
        command.arg("-k").arg(file("host")).arg("-m").arg(file("mac")).arg(file("log")).arg(file("plain"));
        let run: Run = measure(&mut command, Path::new("/dev/null"), None)?;
        let length = fs::metadata(file("plain"))?.len();
        ensure!(length == input.bytes + SLOG_NUMBER * input.lines, "{length} bytes came back of {}", input.bytes);
        Ok(run)
    })
}
