//! `sealedlog-audit split`: one file a record, as stock tools take it.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::PROGRAM;
use crate::audit::files::{self, ExpandError};
use crate::audit::scan::{Damage, Piece, Scanner, Why};
use crate::audit::split::Structure;
use crate::cli::{Outcome, Trouble, print};
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
    let found = files::expand(&args.inputs).map_err(|error| match &error {
        ExpandError::Empty(_) => Trouble::new(&error, "their names end in .pgp, .pgp64 or .age64; give others by name"),
        ExpandError::Read { .. } => Trouble::new(&error, "check the path and its permissions"),
    })?;
    fs::create_dir_all(&args.output).map_err(|error| cannot_write(&args.output, &error))?;
    let mut all_well = found.skipped.is_empty();
    for path in &found.skipped {
        tell(format_args!("warning: passed over: {}: not a regular file", path.display()));
    }
    let mut number = 0;
    for path in &found.files {
        let input = File::open(path).map_err(|error| cannot_read(path, &error))?;
        let structure = Structure::new();
        for piece in Scanner::new(input, 0, None, &structure) {
            match piece.map_err(|error| cannot_read(path, &error))? {
                Piece::Record { out: record, .. } => {
                    number += 1;
                    write(&args.output, number, &record)?;
                }
                Piece::Damage(damage) => {
                    all_well = false;
                    tell(format_args!("damage: {}: {}", path.display(), describe(&damage)));
                }
            }
        }
    }
    let records = if number == 1 { "record" } else { "records" };
    print(format_args!("{number} {records} in {}\n", args.output.display()))?;
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
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

fn cannot_read(path: &Path, error: &io::Error) -> Trouble {
    Trouble::new(format_args!("cannot read: {}: {error}", path.display()), "check the path and its permissions")
}

fn cannot_write(path: &Path, error: &io::Error) -> Trouble {
    Trouble::new(format_args!("cannot write: {}: {error}", path.display()), "give an empty or new folder with -o")
}
