//! `sealedlog-audit split`: one file a record, as stock tools take it.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::PROGRAM;
use super::evidence::tell_unreadable;
use super::input::find_files;
use crate::audit::scan::{Damage, Piece, Scanner, Why};
use crate::audit::session::ReadError;
use crate::audit::split::Structure;
use crate::cli::{Outcome, TROUBLE, Trouble, print};
use crate::record::age::MAGIC;

const EXAMPLES: &str = "\
Examples:
  sealedlog-audit split /evidence/access.log.pgp -o records
  for record in records/*.pgp; do gpg --quiet --decrypt \"$record\"; done
  for record in records/*.age; do age --decrypt -i key.txt \"$record\"; done";

/// What `split` was asked for.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SplitArgs {
    /// Sealed files, or folders with such files
    #[arg(required = true, value_name = "FILE|DIR")]
    inputs: Vec<PathBuf>,

    /// Folder for the records, numbered in order; it is made where it is missing, files in it are never overwritten
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Writes the records. Exit status 1 where there was damage.
pub fn run(args: &SplitArgs) -> Outcome {
    let found = find_files(&args.inputs)?;
    fs::create_dir_all(&args.output).map_err(|error| cannot_write(&args.output, &error))?;
    let mut all_well = found.skipped.is_empty();
    for path in &found.skipped {
        tell(format_args!("warning: passed over: {}: not a regular file", path.display()));
    }
    let (mut number, mut all_read) = (0, found.errors.is_empty());
    for path in &found.files {
        match split(path, &args.output, &mut number)? {
            Ok(is_whole) => all_well &= is_whole,
            Err(source) => {
                all_read = false;
                tell_unreadable(&ReadError { path: path.clone(), source });
            }
        }
    }
    let records = if number == 1 { "record" } else { "records" };
    print(format_args!("{number} {records} in {}\n", args.output.display()))?;
    Ok(ExitCode::from(if all_read { u8::from(!all_well) } else { TROUBLE }))
}

/// Writes the records of one file. Gives whether they were all of it; the inner error is the file's.
fn split(path: &Path, output: &Path, number: &mut u64) -> Result<io::Result<bool>, Trouble> {
    let input = match File::open(path) {
        Ok(input) => input,
        Err(error) => return Ok(Err(error)),
    };
    let (structure, mut is_whole) = (Structure::new(), true);
    for piece in Scanner::new(input, 0, None, &structure) {
        match piece {
            Ok(Piece::Record { out: record, .. }) => {
                *number += 1;
                write(output, *number, &record)?;
            }
            Ok(Piece::Damage(damage)) => {
                is_whole = false;
                tell(format_args!("damage: {}: {}", path.display(), describe(&damage)));
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(is_whole))
}

fn write(folder: &Path, number: u64, record: &[u8]) -> Result<(), Trouble> {
    let suffix = if record.starts_with(MAGIC) { "age" } else { "pgp" };
    let path = folder.join(format!("{number:08}.{suffix}"));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&path)
        .and_then(|mut file| file.write_all(record))
        .map_err(|error| cannot_write(&path, &error))
}

/// One damage in words.
fn describe(damage: &Damage) -> String {
    let what = match damage.why {
        _ if damage.repeated => "a torn record, repeated right after",
        Why::CutShort => "a record that is cut short",
        Why::NotARecord => "no record",
        _ => "not a whole record",
    };
    format!("{} bytes at offset {}: {what}", damage.length, damage.offset)
}

fn tell(message: std::fmt::Arguments<'_>) {
    // Where standard error is gone there is nobody left to tell; the exit status still says it.
    let _ = writeln!(io::stderr(), "{PROGRAM}: {message}");
}

fn cannot_write(path: &Path, error: &io::Error) -> Trouble {
    Trouble::new(format_args!("cannot write: {}: {error}", path.display()), "give an empty or new folder with -o")
}
