//! `sealedlog-audit export`: lines as rows of a table, for other people's tools.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;

use super::PROGRAM;
use super::evidence::{Evidence, stopped};
use super::input::{InputArgs, TrustArgs};
use super::remembered::Remembered;
use super::select::SelectArgs;
use super::terminal::Output as Terminal;
use crate::audit::escape::escape;
use crate::audit::export::output::Output;
use crate::audit::export::{Export, Format, Interrupted, Target};
use crate::audit::lines::MAX_LINE;
use crate::audit::session::Stop;
use crate::cli::{Outcome, Trouble};

const EXAMPLES: &str = "\
Examples:
  sealedlog-audit export /evidence/ --key auditor.key --genesis \"$(cat genesis.txt)\" --format sqlite -o lines.db
  sealedlog-audit export /evidence/ --key auditor.key --log access.log --since 30d --format csv -o requests.csv
  sealedlog-audit export /evidence/ --key auditor.key --format parquet --partition -o lines/
  duckdb -c \"SELECT host, day, count(*) FROM read_parquet('lines/**/*.parquet', hive_partitioning = true) GROUP BY ALL\"
  sealedlog-audit export /evidence/ --key auditor.key --format ndjson | jq -r '.\"source.ip\" // empty' | sort | uniq -c";

/// What `export` was asked for.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    select: SelectArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// Where rows go.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// Form of the table
    #[arg(long, value_enum)]
    format: Form,

    /// File to make; standard output where it is left out, for ndjson and csv
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Replace the file if it is there
    #[arg(long, requires = "output", conflicts_with = "partition")]
    force: bool,

    /// Make a folder with a Parquet file for each host, log and day (UTC), laid out as Hive has it
    #[arg(long, requires = "output")]
    partition: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Ndjson,
    Csv,
    Parquet,
    Sqlite,
}

/// Standard output, escaped where a person looks at it.
struct Shown(Terminal);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Exports. Exit status 1 where something was not as it was sealed.
pub fn run(args: &ExportArgs) -> Outcome {
    let format = match args.output.format {
        Form::Ndjson => Format::Ndjson,
        Form::Csv => Format::Csv,
        Form::Parquet => Format::Parquet,
        Form::Sqlite => Format::Sqlite,
    };
    if args.output.partition && format != Format::Parquet {
        return Err(Trouble::new("only Parquet can be partitioned", "give --format parquet, or leave --partition out"));
    }
    let (selector, asked) = args.select.selector()?;
    let mut evidence = Evidence::new(&args.input)?;
    let (remembered, mut verifier) = Remembered::read(&args.trust, |_| ())?;
    let trusts = remembered.has_root;
    // Before there is anything to leave behind, and not while a passphrase is asked for.
    let stop = interrupts()?;
    let output = args.output.output.as_deref().map(|path| output(path, &args.output).map(|output| (path, output))).transpose()?;
    let target = match &output {
        Some((_, output)) if args.output.partition => Ok(Target::partitioned(output)),
        Some((path, output)) => Target::file(format, output).map_err(|error| cannot_write(path, &error)),
        None => match Target::stream(format, Shown(Terminal::new())) {
            Ok(Some(target)) => Ok(target),
            Ok(None) => Err(Trouble::new("this format cannot be written to standard output", "name a file with -o")),
            Err(error) => return stopped(Stop::Reader(error)),
        },
    }?;
    let mut export = Export::new(target, selector, trusts, stop);
    let bar = output.is_some() || !io::stdout().is_terminal();
    let done = match evidence.read(&mut verifier, &mut export, bar) {
        Ok(()) => export.finish().map_err(Stop::Reader),
        Err(stop) => Err(stop),
    };
    let summary = match (done, output) {
        (Ok(summary), None) => summary,
        (Ok(summary), Some((path, output))) => {
            output.commit().map_err(|error| cannot_write(path, &error))?;
            summary
        }
        (Err(Stop::Reader(error)), _) if error.get_ref().is_some_and(|inner| inner.is::<Interrupted>()) => {
            return Err(Trouble::new("interrupted", "nothing was left behind; begin again"));
        }
        (Err(Stop::Reader(error)), Some((path, _))) => return Err(cannot_write(path, &error)),
        (Err(stop), _) => return stopped(stop),
    };
    let report = remembered.conclude(&evidence, verifier, "export", asked)?;
    let mut stderr = io::stderr().lock();
    if summary.cut > 0 {
        let _ = writeln!(
            stderr,
            "{PROGRAM}: warning: {} lines are longer than {} MiB; the rest of them was left out",
            summary.cut,
            MAX_LINE >> 20
        );
    }
    if args.output.output.is_some() {
        let _ = writeln!(stderr, "{PROGRAM}: {} rows", summary.rows);
    }
    drop(stderr);
    Ok(evidence.status(&report, report.summary.alarms == 0))
}

fn output(path: &Path, args: &OutputArgs) -> Result<Output, Trouble> {
    let output = if args.partition { Output::new_folder(path) } else { Output::new_file(path, args.force) };
    output.map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> Trouble {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Trouble::new(format_args!("{shown} is there"), "give another name; --force replaces a file, and no folder")
        }
        _ => Trouble::new(format_args!("cannot write {shown}: {error}"), "look at the folder, its permissions and its room"),
    }
}

/// Set once the program is to end: what it wrote is removed then.
fn interrupts() -> Result<Arc<AtomicBool>, Trouble> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signal_hook::flag::register(signal as i32, Arc::clone(&stop))
            .map_err(|error| Trouble::new(format_args!("cannot handle signals: {error}"), "start it again"))?;
    }
    Ok(stop)
}
