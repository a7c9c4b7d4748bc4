//! Which lines are asked for: by time, host, log, program, severity and fields.
//!
//! Promises: a line is parsed only where a question needs it; what no parser understands is still found by time, host, log and its
//! bytes. Of a field that comes more than once any value counts.
//! Not promised: that what a line says of itself is true. Time, host and log of the record are the sealing host's word, which nobody
//! changed afterwards; `Clock::Record` and host names of records alone rest on that.
#![forbid(unsafe_code)]

mod field;
mod name;
mod time;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::event::{self, Context, Event, Severity};
use super::lines::LogLine;
use super::verify::LogName;

pub use field::{FieldError, FieldTest};
pub use name::Name;
pub use time::{TimeError, moment};

/// A line's own time is not believed to be further behind its sealing than this: clocks of two hosts, or a zone that is not known.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Whose time of a line counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The line's own time stamp, if it has one that is not later than its sealing by a day; else its record's.
    #[default]
    Line,
    /// Its record's alone.
    Record,
}

/// What is asked for; nothing asked for is everything.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// By whose time.
    pub clock: Clock,
    /// Of one of these hosts: the one that sealed it, or the one that the line names.
    pub hosts: Vec<Name>,
    /// Of one of these logs.
    pub logs: Vec<Name>,
    /// Of one of these programs.
    pub programs: Vec<Name>,
    /// As grave as this or graver, by its own words.
    pub severity: Option<Severity>,
    /// With all of these.
    pub fields: Vec<FieldTest>,
    /// Those too that are not in their place.
    pub elsewhere: bool,
}

/// Asks the questions.
pub struct Selector {
    criteria: Criteria,
    /// What the parsers are told of a line.
    context: Context,
    /// The stream of the last line, and whether its host and log are asked for.
    last: Option<(usize, bool, bool)>,
}

/// A line of a log that is asked for, perhaps understood.
pub struct Candidate<'a> {
    /// The line.
    pub line: LogLine<'a>,
    /// Its stream's host is one that was asked for.
    of_host: bool,
    event: Option<Event<'a>>,
}

impl Selector {
    /// For lines whose time stamps are of this zone where they name none.
    pub fn new(criteria: Criteria, zone: TimeZone) -> Self {
        Self { criteria, context: Context { zone, ..Context::default() }, last: None }
    }

    /// Whether lines of this log are asked for.
    pub fn is_of_log(&self, name: &LogName<'_>) -> bool {
        is_one(&self.criteria.logs, name.log)
    }

    /// What is asked of single lines, unless it is of a log that was not asked for or not in its place.
    pub fn candidate<'a>(&mut self, line: LogLine<'a>) -> Option<Candidate<'a>> {
        let Criteria { hosts, logs, elsewhere, .. } = &self.criteria;
        let Some((place, name)) = line.place else {
            self.last = None;
            self.context.log.clear();
            return (*elsewhere && logs.is_empty()).then_some(Candidate { line, of_host: hosts.is_empty(), event: None });
        };
        let of_host = match self.last {
            Some((stream, of_host, of_log)) if stream == place.stream => of_log.then_some(of_host),
            _ => {
                let (of_host, of_log) = (is_one(hosts, name.host), is_one(logs, name.log));
                self.last = Some((place.stream, of_host, of_log));
                name.log.clone_into(&mut self.context.log);
                of_log.then_some(of_host)
            }
        };
        of_host.map(|of_host| Candidate { line, of_host, event: None })
    }

    /// Whether it is what was asked for.
    pub fn takes(&mut self, candidate: &mut Candidate<'_>) -> bool {
        self.in_window(candidate) && self.is_of_host(candidate) && self.meets(candidate)
    }

    /// Its time.
    pub fn time(&mut self, candidate: &mut Candidate<'_>) -> Option<Timestamp> {
        let sealed = candidate.line.sealed;
        match self.criteria.clock {
            Clock::Record => sealed,
            Clock::Line => {
                let latest = sealed.map_or(Timestamp::MAX, |sealed| sealed.checked_add(AHEAD).unwrap_or(Timestamp::MAX));
                self.event(candidate).time.filter(|time| *time <= latest).or(sealed)
            }
        }
    }

    /// What it says.
    pub fn event<'c, 'a>(&mut self, candidate: &'c mut Candidate<'a>) -> &'c Event<'a> {
        let line = &candidate.line;
        let context = &mut self.context;
        candidate.event.get_or_insert_with(|| {
            context.sealed = line.sealed;
            event::parse(line.text, context)
        })
    }

    fn in_window(&mut self, candidate: &mut Candidate<'_>) -> bool {
        let (since, until) = (self.criteria.since, self.criteria.until);
        if since.is_none() && until.is_none() {
            return true;
        }
        // Of a line without any time it cannot be said.
        self.time(candidate).is_some_and(|time| since.is_none_or(|since| time >= since) && until.is_none_or(|until| time < until))
    }

    fn is_of_host(&mut self, candidate: &mut Candidate<'_>) -> bool {
        if candidate.of_host {
            return true;
        }
        self.event(candidate);
        let host = candidate.event.as_ref().and_then(|event| event.host.as_deref());
        host.is_some_and(|host| self.criteria.hosts.iter().any(|name| name.is(host)))
    }

    fn meets(&mut self, candidate: &mut Candidate<'_>) -> bool {
        let Criteria { programs, severity, fields, .. } = &self.criteria;
        if programs.is_empty() && severity.is_none() && fields.is_empty() {
            return true;
        }
        self.event(candidate);
        let (Criteria { programs, severity, fields, .. }, Some(event)) = (&self.criteria, &candidate.event) else { return false };
        let of_program = || event.program.as_deref().is_some_and(|program| programs.iter().any(|name| name.is(program)));
        let is_grave = |least| event.severity.is_some_and(|severity| severity <= least);
        (programs.is_empty() || of_program()) && severity.is_none_or(is_grave) && fields.iter().all(|field| field.holds(event))
    }
}

fn is_one(names: &[Name], text: &str) -> bool {
    names.is_empty() || names.iter().any(|name| name.is(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::place::Place;
    use crate::control::Hex;

    const SEALED: &str = "2026-02-01T12:00:05Z";
    const LINES: [&str; 5] = [
        "<38>1 2026-02-01T12:00:00Z mail sshd 77 - - Failed password for root from 192.0.2.7 port 4711 ssh2",
        "Feb  1 11:59:59 web postfix/smtpd[5]: connect from a.example[198.51.100.9]",
        "192.0.2.9 - alice [01/Feb/2026:12:00:01 +0000] \"GET /a HTTP/1.1\" 404 12 \"-\" \"curl/8\"",
        "[Sun Feb 01 12:00:03.000001 2026] [core:crit] [pid 7] AH00052: child pid 5 exit signal",
        "no form at all",
    ];

    fn line(text: &str, stream: usize) -> LogLine<'_> {
        let name = LogName { stream: Hex([stream as u8; 16]), host: "web", log: "/var/log/apache2/access.log" };
        let place = Place { stream, epoch: 0, slot: 1 };
        LogLine { text: text.as_bytes(), part: 0, cut: false, sealed: Some(SEALED.parse().unwrap()), place: Some((place, name)) }
    }

    /// Which of the lines are taken.
    fn taken(criteria: Criteria) -> Vec<usize> {
        let mut selector = Selector::new(criteria, TimeZone::UTC);
        let mut is_taken = |text| selector.candidate(line(text, 0)).is_some_and(|mut candidate| selector.takes(&mut candidate));
        (0..LINES.len()).filter(|&at| is_taken(LINES[at])).collect()
    }

    fn fields(tests: &[&str]) -> Criteria {
        let fields = tests.iter().map(|test| test.parse().unwrap()).collect();
        Criteria { fields, ..Criteria::default() }
    }

    #[test]
    fn each_question_takes_what_it_asks_for() {
        let name = |text: &str| vec![Name::new(text)];
        let time = |text: &str| Some(text.parse().unwrap());
        assert_eq!(taken(Criteria::default()), [0, 1, 2, 3, 4]);
        assert_eq!(taken(Criteria { since: time("2026-02-01T12:00:01Z"), ..Criteria::default() }), [2, 3, 4]);
        assert_eq!(taken(Criteria { until: time("2026-02-01T12:00:01Z"), ..Criteria::default() }), [0, 1]);
        let by_record = Criteria { since: time(SEALED), clock: Clock::Record, ..Criteria::default() };
        assert_eq!(taken(by_record), [0, 1, 2, 3, 4]);
        assert_eq!(taken(Criteria { hosts: name("mail"), ..Criteria::default() }), [0]);
        assert_eq!(taken(Criteria { hosts: name("w*"), ..Criteria::default() }).len(), 5);
        assert_eq!(taken(Criteria { logs: name("access.log"), ..Criteria::default() }).len(), 5);
        assert_eq!(taken(Criteria { logs: name("error.log"), ..Criteria::default() }).len(), 0);
        assert_eq!(taken(Criteria { programs: name("postfix/*"), ..Criteria::default() }), [1]);
        assert_eq!(taken(Criteria { severity: Some(Severity::Informational), ..Criteria::default() }), [0, 3]);
        assert_eq!(taken(Criteria { severity: Some(Severity::Critical), ..Criteria::default() }), [3]);
        assert_eq!(taken(fields(&["client=192.0.2.0/24"])), [0, 2]);
        assert_eq!(taken(fields(&["client=192.0.2.0/24", "status>=400"])), [2]);
        assert_eq!(taken(fields(&["user~^(root|alice)$"])), [0, 2]);
        assert_eq!(taken(fields(&["user!=root"])), [2]);
    }

    #[test]
    fn a_time_that_was_made_up_is_not_that_of_the_line() {
        let mut selector = Selector::new(Criteria::default(), TimeZone::UTC);
        let mut time = |text| {
            let mut candidate = selector.candidate(line(text, 0)).unwrap();
            selector.time(&mut candidate).unwrap().to_string()
        };
        assert_eq!(time("2099-01-01T00:00:00Z host program: from the future"), SEALED);
        assert_eq!(time("2001-01-01T00:00:00Z host program: from the past"), "2001-01-01T00:00:00Z");
        assert_eq!(time("2026-02-02T11:00:00Z host program: of another zone"), "2026-02-02T11:00:00Z");
    }

    #[test]
    fn what_is_not_in_its_place_is_only_taken_where_asked_for() {
        let elsewhere = |text| LogLine { place: None, ..line(text, 0) };
        let mut selector = Selector::new(Criteria::default(), TimeZone::UTC);
        assert!(selector.candidate(elsewhere("a")).is_none());
        let mut selector = Selector::new(Criteria { elsewhere: true, ..Criteria::default() }, TimeZone::UTC);
        let mut candidate = selector.candidate(elsewhere("a")).unwrap();
        assert!(selector.takes(&mut candidate));
        let of_log = Criteria { elsewhere: true, logs: vec![Name::new("x")], ..Criteria::default() };
        assert!(Selector::new(of_log, TimeZone::UTC).candidate(elsewhere("a")).is_none());
    }
}
