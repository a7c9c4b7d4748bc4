//! Which lines `search` and `export` are asked for.
#![forbid(unsafe_code)]

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::audit::event::Severity;
use crate::audit::select::{Clock, Criteria, FieldTest, Name, Selector, moment};
use crate::cli::Trouble;
use crate::host::clock;

/// Which lines are taken; all that is asked for must hold.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which lines")]
pub struct SelectArgs {
    /// Lines at or after this time: 2026-01-31T12:00:00Z, '2026-01-31 12:00', 2026-01-31, or how long ago, as 2h or 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Lines before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Which time of a line counts: its own time stamp, else its record's, or that of its record alone, which nobody could choose
    #[arg(long, value_enum, value_name = "CLOCK", default_value = "line")]
    by: By,

    /// Zone of times that name none, in lines and here: Europe/Berlin, +01:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true, value_parser = parse_zone)]
    zone: TimeZone,

    /// Lines of this host, which sealed them or which they name; * and ? stand for any characters; may be repeated
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,

    /// Lines of this log, by the end of its path: access.log, 'apache2/*'; may be repeated
    #[arg(long, value_name = "NAME")]
    log: Vec<String>,

    /// Lines of this program: sshd, 'postfix/*'; may be repeated
    #[arg(long, value_name = "NAME")]
    program: Vec<String>,

    /// Lines that call themselves as grave as this or graver: emerg, alert, crit, err, warning, notice, info, debug
    #[arg(long, value_name = "LEVEL", value_parser = parse_severity)]
    severity: Option<Severity>,

    /// Lines with such a field: client=192.0.2.0/24, status>=500, user!=root, agent~curl; all that are given must hold
    #[arg(long, value_name = "NAME=VALUE")]
    field: Vec<String>,

    /// Lines too that are not in their place: copies, forgeries, those of streams that are not trusted
    #[arg(long)]
    all: bool,
}

/// Which time counts.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Line,
    Record,
}

fn parse_severity(text: &str) -> Result<Severity, String> {
    let names = || Severity::ALL.map(Severity::name).join(", ");
    Severity::from_name(text).ok_or_else(|| format!("there are {}", names()))
}

fn parse_zone(text: &str) -> Result<TimeZone, String> {
    if let Ok(zone) = TimeZone::get(text) {
        return Ok(zone);
    }
    // jiff has offsets behind times only.
    let offset: Option<Offset> =
        jiff::fmt::temporal::DateTimeParser::new().parse_time_zone(text).ok().and_then(|zone| zone.to_fixed_offset().ok());
    offset.map(TimeZone::fixed).ok_or_else(|| "write a name as Europe/Berlin, or an offset as +01:00".to_owned())
}

impl SelectArgs {
    /// What asks these questions, and the questions in words, for the ledger.
    pub fn selector(&self) -> Result<(Selector, String), Trouble> {
        let now = clock::now();
        let time = |option: &str, text: &Option<String>| -> Result<Option<Timestamp>, Trouble> {
            let parsed = text.as_ref().map(|text| moment(text, now, &self.zone)).transpose();
            parsed.map_err(|error| Trouble::new(format_args!("--{option}: {error}"), "see --help"))
        };
        let (since, until) = (time("since", &self.since)?, time("until", &self.until)?);
        if let (Some(from), Some(to)) = (since, until)
            && from >= to
        {
            return Err(Trouble::new(format_args!("--until {to} is not after --since {from}"), "no line is in such a window"));
        }
        let clock = match self.by {
            By::Line => Clock::Line,
            By::Record => Clock::Record,
        };
        let names = |names: &[String]| names.iter().map(|name| Name::new(name)).collect();
        let field = |text: &String| {
            text.parse::<FieldTest>().map_err(|error| {
                Trouble::new(
                    format_args!("--field: {error}"),
                    "sealedlog-audit-search(1) has the fields and how they are compared",
                )
            })
        };
        let criteria = Criteria {
            since,
            until,
            clock,
            hosts: names(&self.host),
            logs: names(&self.log),
            programs: names(&self.program),
            severity: self.severity,
            fields: self.field.iter().map(field).collect::<Result<_, _>>()?,
            elsewhere: self.all,
        };
        Ok((Selector::new(criteria, self.zone.clone()), self.asked(since, until)))
    }

    /// As it could be typed, with moments for what was typed as an age.
    fn asked(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> String {
        let mut words: Vec<String> = Vec::new();
        words.extend(since.map(|since| format!("--since {since}")));
        words.extend(until.map(|until| format!("--until {until}")));
        if let By::Record = self.by {
            words.push("--by record".to_owned());
        }
        for (option, values) in [("host", &self.host), ("log", &self.log), ("program", &self.program), ("field", &self.field)] {
            words.extend(values.iter().map(|value| format!("--{option} {value}")));
        }
        words.extend(self.severity.map(|severity| format!("--severity {severity}")));
        if self.all {
            words.push("--all".to_owned());
        }
        words.join(" ")
    }
}
