//! `sealedlog-audit open`: the lines of sealed files.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::PROGRAM;
use super::input::{InputArgs, TrustArgs, unreadable};
use super::terminal::{Output, escape};
use crate::audit::finding::{Kind, Severity};
use crate::audit::read::{Damage, Opener, Why};
use crate::audit::session::{self, End, Line, Reader};
use crate::audit::verify::Verifier;
use crate::cli::{Outcome, Trouble};

/// How often growing files are looked at.
const POLL: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  sealedlog-audit open /evidence/access.log.pgp --key auditor.key >access.log
  sealedlog-audit open /evidence/ --key auditor.key --genesis \"$(cat genesis.txt)\" | lnav
  sealedlog-audit open access.log.age64 --key key.txt --follow
  sealedlog-audit open /evidence/ --share /media/anna/share.txt --share /media/ben/share.txt
  sealedlog-audit open /evidence/ --gpg-agent";

/// What `open` was asked for.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct OpenArgs {
    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    trust: TrustArgs,

    /// Print lines too that are not in their place
    #[arg(long)]
    all: bool,

    /// Go on with what is appended to the files and with new files in the folders, until interrupted
    #[arg(long, short)]
    follow: bool,
}

/// Lines to standard output.
struct Printer {
    out: Output,
    all: bool,
    follow: bool,
}

impl Reader for Printer {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        if line.place.is_some() || self.all { self.out.write(line.body) } else { Ok(()) }
    }

    fn damage(&mut self, path: &Path, damage: &Damage) {
        if self.follow && damage.why != Why::CutShort {
            let _ = writeln!(
                io::stderr(),
                "{PROGRAM}: warning: {} at byte {}: {} bytes do not open",
                escape(path.as_os_str().as_encoded_bytes()),
                damage.offset,
                damage.length
            );
        }
    }
}

/// Opens files. Exit status 1 where something was not as it was sealed.
pub fn run(args: &OpenArgs) -> Outcome {
    let files = args.input.files()?;
    let (trust, keys) = (args.trust.trust()?, args.input.keys()?);
    let has_root = trust.has_root() || trust.first;
    let opener = Opener::new(&keys.identities);
    let mut verifier = Verifier::new(trust);
    let ordered = session::order(&files.files, &opener, &mut verifier).map_err(|error| unreadable(&error))?;
    let mut printer = Printer { out: Output::new(), all: args.all, follow: args.follow };
    let mut ends = HashMap::new();
    for path in ordered {
        let id = file_id(&path);
        match session::read_file(&path, 0, None, &opener, &mut verifier, &mut printer).map_err(|error| unreadable(&error))? {
            Ok(end) => drop(id.map(|id| ends.insert(id, end))),
            Err(error) => return cannot_print(&error),
        }
    }
    if let Err(error) = session::release(&mut verifier, true, &mut printer).and_then(|()| printer.out.flush()) {
        return cannot_print(&error);
    }
    if args.follow {
        return follow(args, &opener, &mut verifier, &mut printer, ends);
    }
    let report = verifier.finish();
    let mut stderr = io::stderr().lock();
    for path in &files.skipped {
        let _ = writeln!(
            stderr,
            "{PROGRAM}: warning: {}: passed over, not a regular file",
            escape(path.as_os_str().as_encoded_bytes())
        );
    }
    for finding in report.findings.iter().filter(|finding| has_root || finding.finding != Kind::Unanchored) {
        let severity = if finding.severity == Severity::Alarm { "alarm" } else { "warning" };
        let _ = writeln!(stderr, "{PROGRAM}: {severity}: {}", escape(finding.to_string().as_bytes()));
    }
    if !has_root && report.summary.records > 0 {
        let _ = writeln!(stderr, "{PROGRAM}: note: without --genesis or --ledger order and completeness rest on the files alone");
    }
    if report.summary.records == 0 && report.summary.alarms > 0 {
        let _ = writeln!(
            stderr,
            "{PROGRAM}: hint: no record opened; check that the secret key belongs to a key that the log was sealed to"
        );
    }
    Ok(keys.status(report.summary.alarms == 0 && files.skipped.is_empty()))
}

/// What a file is whatever it is called: device and inode.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn follow(
    args: &OpenArgs,
    opener: &Opener<'_>,
    verifier: &mut Verifier,
    printer: &mut Printer,
    mut ends: HashMap<FileId, End>,
) -> Outcome {
    loop {
        std::thread::sleep(POLL);
        let mut files: Vec<_> = args.input.files()?.files.into_iter().filter_map(|path| Some((file_id(&path)?, path))).collect();
        // What a file that was renamed got at last comes before what the new one has.
        files.sort_by_key(|(id, _)| !ends.contains_key(id));
        for (id, path) in files {
            let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let (from, file) = ends.get(&id).map_or((0, None), |end| (end.offset, Some(end.file)));
            if length <= from {
                continue;
            }
            match session::read_file(&path, from, file, opener, verifier, printer).map_err(|error| unreadable(&error))? {
                Ok(end) => drop(ends.insert(id, end)),
                Err(error) => return cannot_print(&error),
            }
        }
        if let Err(error) = printer.out.flush() {
            return cannot_print(&error);
        }
    }
}

/// A reader that went away ends the program quietly.
fn cannot_print(error: &io::Error) -> Outcome {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Trouble::new(format_args!("cannot write to standard output: {error}"), "look at where it is redirected to"))
}
