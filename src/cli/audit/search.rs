//! `sealedlog-audit search`: the lines that match, of all logs in the order of time.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::PROGRAM;
use super::evidence::{Evidence, stopped};
use super::input::{InputArgs, TrustArgs};
use super::remembered::Remembered;
use super::select::SelectArgs;
use super::terminal::Output;
use crate::audit::escape::escape_name;
use crate::audit::lines::MAX_LINE;
use crate::audit::search::{Found, Item, Meaning, Pattern, Query, Search, Summary};
use crate::audit::session::Stop;
use crate::cli::{Outcome, TROUBLE, Trouble};

const EXAMPLES: &str = "\
Examples:
  sealedlog-audit search /evidence/ --key auditor.key -e 'Failed password' --since 7d
  sealedlog-audit search /evidence/ --key auditor.key --log access.log --field 'status>=500' --field client=192.0.2.0/24
  sealedlog-audit search /evidence/ --key auditor.key --program sshd -i -e root -C 3 -H
  sealedlog-audit search /evidence/ --key auditor.key --log access.log --since 2026-01-31 | goaccess --log-format=COMBINED -
  sealedlog-audit search /evidence/ --key auditor.key -e sudo --json | jq -r '.\"user.name\"'";

/// What `search` was asked for.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SearchArgs {
    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    select: SelectArgs,

    #[command(flatten)]
    pattern: PatternArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// What lines are to have in them.
#[derive(Args, Debug)]
#[command(next_help_heading = "Pattern")]
struct PatternArgs {
    /// Regular expression that a line has in it; may be repeated: any will do. Without one every line matches
    #[arg(short = 'e', long = "regexp", value_name = "PATTERN", allow_hyphen_values = true)]
    patterns: Vec<String>,

    /// Patterns are text, not regular expressions
    #[arg(short = 'F', long, requires = "patterns")]
    fixed_strings: bool,

    /// Small and capital letters are the same
    #[arg(short, long, requires = "patterns")]
    ignore_case: bool,

    /// Lines that have none of the patterns in them
    #[arg(short = 'v', long, requires = "patterns")]
    invert_match: bool,
}

/// How what is found is shown.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// The number of lines instead of the lines; with --with-origin of each log
    #[arg(short, long, conflicts_with_all = ["json", "before", "after", "context"])]
    count: bool,

    /// No more than this many lines
    #[arg(short, long, value_name = "NUM")]
    max_count: Option<u64>,

    /// So many lines of the same log before each
    #[arg(short = 'B', long = "before-context", value_name = "NUM", conflicts_with = "json")]
    before: Option<usize>,

    /// So many lines of the same log behind each
    #[arg(short = 'A', long = "after-context", value_name = "NUM", conflicts_with = "json")]
    after: Option<usize>,

    /// So many lines of the same log around each
    #[arg(short = 'C', long = "context", value_name = "NUM", conflicts_with = "json")]
    context: Option<usize>,

    /// Host and log before each line
    #[arg(short = 'H', long, conflicts_with = "json")]
    with_origin: bool,

    /// One JSON object a line, with what the line says and where its record stands
    #[arg(long)]
    json: bool,

    /// Whether matches are coloured
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    color: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

/// grep's colours: of a match, of names, of what stands between.
const MATCH: &[u8] = b"\x1b[01;31m\x1b[K";
const NAME: &[u8] = b"\x1b[35m\x1b[K";
const SEPARATOR: &[u8] = b"\x1b[36m\x1b[K";
const END: &[u8] = b"\x1b[m\x1b[K";

/// What is found, to standard output.
struct Printer {
    out: Output,
    origin: bool,
    json: bool,
    colors: bool,
    /// What is shown in colour.
    pattern: Option<Pattern>,
}

impl Printer {
    fn new(args: &OutputArgs, pattern: Option<Pattern>) -> Self {
        let out = Output::new();
        let colors = match args.color {
            When::Auto => out.is_terminal(),
            When::Always => true,
            When::Never => false,
        };
        Self { out, origin: args.with_origin, json: args.json, colors: colors && !args.json, pattern }
    }

    fn print(&mut self, item: &Item<'_>) -> io::Result<()> {
        if item.parted {
            self.own(SEPARATOR, b"--")?;
            self.out.write(b"\n")?;
        }
        let separator = if item.found == Found::Match { ":" } else { "-" };
        match item.log {
            Some((host, log)) if self.origin => {
                self.own(NAME, origin(host, log).as_bytes())?;
                self.own(SEPARATOR, separator.as_bytes())?;
            }
            Some(_) => {}
            None if self.json => {}
            // Always, so that nobody takes it for a line of the log.
            None => {
                self.own(NAME, NOWHERE.as_bytes())?;
                self.own(SEPARATOR, separator.as_bytes())?;
            }
        }
        self.text(item)?;
        self.out.write(b"\n")
    }

    fn text(&mut self, item: &Item<'_>) -> io::Result<()> {
        let pattern = self.pattern.as_ref().filter(|_| self.colors && item.found == Found::Match);
        let places: Vec<_> = pattern.into_iter().flat_map(|pattern| pattern.places(item.bytes)).collect();
        let mut from = 0;
        for place in places {
            self.out.write(&item.bytes[from..place.start])?;
            self.own(MATCH, &item.bytes[place.clone()])?;
            from = place.end;
        }
        self.out.write(&item.bytes[from..])
    }

    fn own(&mut self, color: &[u8], bytes: &[u8]) -> io::Result<()> {
        if !self.colors {
            return self.out.write(bytes);
        }
        self.out.write_own(color)?;
        self.out.write(bytes)?;
        self.out.write_own(END)
    }
}

/// What stands before a line that is not in its place.
const NOWHERE: &str = "not in its place";

fn origin(host: &str, log: &str) -> String {
    format!("{} {}", escape_name(host), escape_name(log))
}

/// Searches. Exit status as grep: 0 where something was found, 1 where nothing was.
pub fn run(args: &SearchArgs) -> Outcome {
    let (selector, mut asked) = args.select.selector()?;
    let pattern = pattern(&args.pattern)?;
    asked.extend(args.pattern.patterns.iter().map(|pattern| format!(" -e {pattern}")));
    let mut evidence = Evidence::new(&args.input)?;
    let (remembered, mut verifier) = Remembered::read(&args.trust, |_| ())?;
    let trusts = remembered.has_root;
    let around = args.output.context.unwrap_or(0);
    let query = Query {
        pattern: pattern.clone(),
        invert: args.pattern.invert_match,
        before: args.output.before.unwrap_or(around),
        after: args.output.after.unwrap_or(around),
        max: args.output.max_count,
        count: args.output.count,
        json: args.output.json,
        trusts,
    };
    let mut printer = Printer::new(&args.output, pattern.filter(|_| !args.pattern.invert_match));
    let mut search = match Search::new(query, selector, |item: &Item<'_>| printer.print(item)) {
        Ok(search) => search,
        Err(error) => return stopped(Stop::Temporary(error)),
    };
    // On one terminal lines and bar would be in each other's way.
    let bar = !io::stdout().is_terminal();
    let found = match evidence.read(&mut verifier, &mut search, bar) {
        Ok(()) => search.finish(),
        Err(stop) => return stopped(stop),
    };
    let printed = found.and_then(|found| {
        if args.output.count {
            print_counts(&mut printer, &found)?;
        }
        printer.out.flush().map(|()| found)
    });
    let found = match printed {
        Ok(found) => found,
        Err(error) => return stopped(Stop::Reader(error)),
    };
    let report = remembered.conclude(&evidence, verifier, "search", asked.trim_start().to_owned())?;
    if found.cut > 0 {
        let mib = MAX_LINE >> 20;
        let _ = writeln!(
            io::stderr(),
            "{PROGRAM}: warning: {} lines are longer than {mib} MiB; the rest of them was left out",
            found.cut
        );
    }
    let status = evidence.status(&report, true);
    Ok(if status == ExitCode::from(TROUBLE) { status } else { ExitCode::from(u8::from(found.matches == 0)) })
}

fn pattern(args: &PatternArgs) -> Result<Option<Pattern>, Trouble> {
    if args.patterns.is_empty() {
        return Ok(None);
    }
    let meaning = Meaning { ignore_case: args.ignore_case, fixed: args.fixed_strings };
    let pattern = Pattern::new(&args.patterns, meaning);
    pattern.map(Some).map_err(|error| {
        Trouble::new(format_args!("-e: {error}"), "the syntax is that of https://docs.rs/regex; -F takes patterns as text")
    })
}

fn print_counts(printer: &mut Printer, found: &Summary) -> io::Result<()> {
    if !printer.origin {
        return printer.out.write(format!("{}\n", found.matches).as_bytes());
    }
    for (log, count) in &found.by_log {
        let origin = log.as_ref().map_or_else(|| NOWHERE.to_owned(), |(host, log)| origin(host, log));
        printer.own(NAME, origin.as_bytes())?;
        printer.own(SEPARATOR, b":")?;
        printer.out.write(format!("{count}\n").as_bytes())?;
    }
    Ok(())
}
