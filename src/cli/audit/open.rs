//! `sealedlog-audit open`: the lines of sealed files.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::PROGRAM;
use super::evidence::{Evidence, stopped, tell_unreadable};
use super::input::{InputArgs, TrustArgs};
use super::remembered::Remembered;
use super::terminal::Output;
use crate::audit::escape::escape;
use crate::audit::read::{Damage, Why};
use crate::audit::session::{self, End, Line, ReadError, Reader, Stop};
use crate::audit::verify::{Report, Verifier};
use crate::cli::Outcome;

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
    ends: HashMap<FileId, End>,
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

    fn end(&mut self, path: &Path, end: End) {
        if let Some(id) = file_id(path) {
            self.ends.insert(id, end);
        }
    }
}

/// Opens files. Exit status 1 where something was not as it was sealed.
pub fn run(args: &OpenArgs) -> Outcome {
    let mut evidence = Evidence::new(&args.input)?;
    let (remembered, mut verifier) = Remembered::read(&args.trust, |_| ())?;
    let mut printer = Printer { out: Output::new(), all: args.all, follow: args.follow, ends: HashMap::new() };
    let read = evidence.read(&mut verifier, &mut printer, !io::stdout().is_terminal());
    if let Err(stop) = read.and_then(|()| printer.out.flush().map_err(Stop::Reader)) {
        return stopped(stop);
    }
    if args.follow {
        // It ends when it is interrupted.
        let files = evidence.files.files.len();
        remembered.write("open", "--follow".to_owned(), files, &Report::default(), None)?;
        return follow(args, &evidence, &mut verifier, &mut printer);
    }
    let report = remembered.conclude(&evidence, verifier, "open", String::new())?;
    Ok(evidence.status(&report, report.summary.alarms == 0))
}

/// What a file is whatever it is called: device and inode.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn follow(args: &OpenArgs, evidence: &Evidence, verifier: &mut Verifier, printer: &mut Printer) -> Outcome {
    let opener = evidence.opener();
    loop {
        std::thread::sleep(POLL);
        let mut files: Vec<_> = args.input.files()?.files.into_iter().filter_map(|path| Some((file_id(&path)?, path))).collect();
        // What a file that was renamed got at last comes before what the new one has.
        files.sort_by_key(|(id, _)| !printer.ends.contains_key(id));
        for (id, path) in files {
            let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let from = printer.ends.get(&id).copied();
            if length <= from.map_or(0, |end| end.offset) {
                continue;
            }
            match session::read_on(&path, from, &opener, verifier, printer) {
                Ok(Ok(end)) => printer.end(&path, end),
                Ok(Err(source)) => tell_unreadable(&ReadError { path, source }),
                Err(stop) => return stopped(stop),
            }
        }
        if let Err(error) = printer.out.flush() {
            return stopped(Stop::Reader(error));
        }
    }
}
