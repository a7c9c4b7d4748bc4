//! The command line of Apache's `rotatelogs`, for `sealedlog-apache`.
//!
//! Promises: a command line that rotatelogs refuses is refused (but TIME|SIZE may be missing, sizes of 4 GiB and more are
//! what they say, and `--` alone ends the options: rotatelogs takes any word with `--` for that). What it accepts means
//! the same here, unless rotatelogs itself misreads it: numbers with something behind them (`5KB`, five bytes there; `5k`,
//! five seconds), negative and fractional sizes, and offsets of more than a day (`5M 86400`, where the interval was meant) are
//! errors that say so. Parsing has no effect and reads nothing.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use thiserror::Error;

use crate::segment::rotation::{Base, Rotation, Schedule, TemplateError, Truncate};

/// Most minutes that OFFSET may be, in either direction: one day.
const MAX_OFFSET: i32 = 1440;

/// rotatelogs' options and operands as they were typed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Tell on standard error how the command line was understood, and each file that is opened or closed
    #[arg(short = 'v', overrides_with = "verbose")]
    pub verbose: bool,

    /// Take local time instead of UTC for intervals and names
    #[arg(short = 'l', overrides_with = "local_time")]
    pub local_time: bool,

    /// Keep a hard link of this name to the current file
    #[arg(short = 'L', value_name = "LINKNAME", allow_hyphen_values = true, overrides_with = "link")]
    pub link: Option<PathBuf>,

    /// Run this program after a file was opened: its arguments are the new file and, after a rotation, the old one
    #[arg(short = 'p', value_name = "PROGRAM", allow_hyphen_values = true, overrides_with = "program")]
    pub program: Option<PathBuf>,

    /// Open the file at start, not when the first line comes
    #[arg(short = 'f', overrides_with = "force_open")]
    pub force_open: bool,

    /// Make the parent directories of the file
    #[arg(short = 'D', overrides_with = "make_parents")]
    pub make_parents: bool,

    /// Empty the file instead of starting another one; its name gets no suffix
    #[arg(short = 't', overrides_with = "truncate")]
    pub truncate: bool,

    /// Empty a file that a rotation opens, but not the first one
    #[arg(short = 'T', overrides_with = "truncate_rotated")]
    pub truncate_rotated: bool,

    /// Copy the lines to standard output
    #[arg(short = 'e', overrides_with = "echo")]
    pub echo: bool,

    /// Make a file for each interval even if no line comes (needs TIME, else it does nothing)
    #[arg(short = 'c', overrides_with = "create_empty")]
    pub create_empty: bool,

    /// Use FILE, FILE.1 … up to N files in turn, and empty each when its turn comes again
    #[arg(short = 'n', value_name = "N", allow_hyphen_values = true, overrides_with = "ring")]
    pub ring: Option<OsString>,

    /// FILE, then TIME (seconds between rotations) or SIZE (a number and B, K, M or G) or both in this order, then OFFSET
    /// (minutes from UTC)
    ///
    /// FILE may have strftime conversions (%Y-%m-%d); else the start of the interval in seconds is appended to it, or the
    /// current time if it rotates by SIZE. Without TIME and SIZE it never rotates.
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["FILE", "TIME|SIZE", "OFFSET"])]
    pub operands: Vec<OsString>,
}

/// Why a command line means nothing; [`Error::hint`] says what to do.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no FILE.
    #[error("FILE is missing")]
    NoFile,
    /// More operands than FILE TIME SIZE OFFSET.
    #[error("{0} operands, at most 4 are possible")]
    TooMany(usize),
    /// Neither a time nor a size.
    #[error("rotation time '{0}' is not a number of seconds from 1 to 4294967295")]
    Time(String),
    /// A size that cannot be read, is 0 or does not fit 64 bits.
    #[error("rotation size '{0}' is not a number above 0 and one of the letters B, K, M, G")]
    Size(String),
    /// The offset is not a number or longer than a day.
    #[error("offset '{0}' is not a number of minutes from -1440 to 1440")]
    Offset(String),
    /// Two rotation times, of which the first or neither can be the offset.
    #[error("rotation time is given twice, the second time as '{0}'")]
    TimeTwice(String),
    /// Two rotation sizes.
    #[error("rotation size is given twice, the second time as '{0}'")]
    SizeTwice(String),
    /// `-l` and OFFSET contradict each other.
    #[error("offset '{0}' does not go with -l")]
    OffsetWithLocal(String),
    /// Not a number of files.
    #[error("-n '{0}' is not a number of files from 1 to 4294967295")]
    Ring(String),
    /// The file name.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::NoFile => "give the log file's name, for instance /var/log/apache2/access.log",
            Error::TooMany(_) => "the order is FILE TIME SIZE OFFSET; quote a name that has blanks",
            Error::Time(_) => "write the seconds as a plain number (86400), or a size with its letter (5M)",
            Error::Size(_) => "write a whole number and one capital letter, for instance 500K, 5M or 4G",
            Error::Offset(_) => "where a time and a size are meant, the time comes first: 86400 5M",
            Error::TimeTwice(_) => "the offset comes last, after time and size: 86400 5M 60",
            Error::SizeTwice(_) => "leave one of them out",
            Error::OffsetWithLocal(_) => "leave out -l or the offset; where a time and a size are meant, the time comes first",
            Error::Ring(_) => "write a plain number, for instance -n 5",
            Error::Template(TemplateError::Conversion { .. }) => {
                "write '%%' for a percent sign, and see strftime(3) for the conversions"
            }
            Error::Template(TemplateError::RingWithConversion(_)) => "leave out -n or the conversions",
            Error::Template(_) => "choose another file name",
        }
    }
}

impl TryFrom<&Args> for Schedule {
    type Error = Error;

    fn try_from(args: &Args) -> Result<Self, Error> {
        let [file, operands @ ..] = args.operands.as_slice() else {
            return Err(Error::NoFile);
        };
        if operands.len() > 3 {
            return Err(Error::TooMany(args.operands.len()));
        }
        let mut rotation = Rotation {
            ring: args.ring.as_deref().map(ring).transpose()?,
            truncate: match (args.truncate, args.truncate_rotated) {
                (true, _) => Truncate::Always,
                (false, true) => Truncate::Rotated,
                (false, false) => Truncate::Never,
            },
            ..Rotation::default()
        };
        for (at, operand) in operands.iter().enumerate() {
            let text = operand.to_string_lossy();
            let last = at + 1 == operands.len();
            if text.contains(['B', 'K', 'M', 'G']) {
                if rotation.size.is_some() {
                    return Err(Error::SizeTwice(text.into()));
                }
                rotation.size = Some(size(&text).ok_or_else(|| Error::Size(text.into()))?);
            } else if last && (rotation.size.is_some() || rotation.interval.is_some()) {
                if args.local_time {
                    return Err(Error::OffsetWithLocal(text.into()));
                }
                rotation.base = Base::Utc(offset(&text).ok_or_else(|| Error::Offset(text.into()))?);
            } else if rotation.interval.is_some() {
                return Err(Error::TimeTwice(text.into()));
            } else {
                rotation.interval = Some(number(&text).ok_or_else(|| Error::Time(text.into()))?);
            }
        }
        if args.local_time {
            rotation.base = Base::Local;
        }
        Ok(Schedule::new(rotation, file)?)
    }
}

fn ring(text: &OsStr) -> Result<NonZeroU32, Error> {
    let text = text.to_string_lossy();
    number(&text).ok_or_else(|| Error::Ring(text.into()))
}

/// Seconds east of UTC.
fn offset(text: &str) -> Option<i32> {
    let minutes: i32 = text.trim_start().parse().ok()?;
    (-MAX_OFFSET..=MAX_OFFSET).contains(&minutes).then(|| minutes * 60)
}

/// Bytes.
fn size(text: &str) -> Option<NonZeroU64> {
    let number = text.strip_suffix(['B', 'K', 'M', 'G'])?;
    let unit = match text.as_bytes().last()? {
        b'B' => 1,
        b'K' => 1 << 10,
        b'M' => 1 << 20,
        _ => 1 << 30,
    };
    NonZeroU64::new(number.trim_start().parse::<u64>().ok()?.checked_mul(unit)?)
}

/// A number as atoi reads it, leading blanks and sign included, but with nothing behind it.
fn number(text: &str) -> Option<NonZeroU32> {
    text.trim_start().parse().ok()
}
