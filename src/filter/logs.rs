//! The logs of a filter: one, or as many as the lines have routes, of which some are open.
//!
//! Promises: a line goes to the log that its beginning names and to no other; at most so many logs are open as was asked
//! for; a line costs no work for the logs that it does not go to.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::keyring::Keyring;
use super::log::{Common, Log, Offer};
use super::route::Route;
use super::target::{Files, Routes};
use super::{FilterError, WhenFull};
use crate::control::Hex;
use crate::host::clock;
use crate::stream::claim::Claimant;
use crate::stream::state::{Config, StateFolder};
use crate::stream::{Writer, WriterOptions};

/// How often a state that could not be used is tried again.
const RETRY_STATE: Duration = Duration::from_secs(60);
/// What upkeep has to do after a line that was answered can wait so long: lines come one by one there.
const SOON: Duration = Duration::from_millis(100);
/// No upkeep is due.
const NEVER: Duration = Duration::MAX;

/// What all writers of a filter have in common.
pub struct Maker {
    /// Name and version, for control records.
    pub software: String,
    /// This host's name.
    pub host: String,
    /// Key files and folders, as absolute paths.
    pub keys: Vec<PathBuf>,
    /// Where chains are kept.
    pub state_dir: PathBuf,
    /// Where progress is kept.
    pub runtime_dir: PathBuf,
    /// Whether line buffers are locked in memory.
    pub memory_locked: bool,
    /// What else could not be had, in words.
    pub lacks: Vec<String>,
    /// When an idle log gets a mark.
    pub mark_idle: Option<Duration>,
    /// Where lines are shown in plain text, if anywhere.
    pub window: Option<PathBuf>,
    /// Random: writers' ids come from it, so that none can be without one later.
    pub seed: [u8; 32],
    /// How many were made.
    pub made: u64,
}

impl Maker {
    fn log(&mut self, files: Option<Files>, host: Option<&str>, keys: &Keyring) -> Log {
        self.made += 1;
        let id: [u8; 32] = Sha256::new().chain_update(self.seed).chain_update(self.made.to_be_bytes()).finalize().into();
        let claimant = Claimant {
            writer: Hex(*id.first_chunk().expect("a digest is longer")),
            recipients: keys.recipients().clone(),
            host: host.unwrap_or(&self.host).to_owned(),
            log: files.as_ref().map_or_else(|| "-".to_owned(), Files::log),
            software: self.software.clone(),
            memory_locked: self.memory_locked,
            lacks: self.lacks.clone(),
        };
        let state =
            files.as_ref().map(|files| StateFolder::new(&self.state_dir, &self.runtime_dir, files.folder(), files.template()));
        let config = Config {
            host: claimant.host.clone(),
            log: files.as_ref().map(|files| PathBuf::from(files.log())).unwrap_or_default(),
            keys: self.keys.clone(),
            framing: keys.framing().name().to_owned(),
            profile: keys.profile().map(|profile| profile.name().to_owned()),
            window: self.window.clone(),
        };
        let framing = keys.framing();
        Log::new(
            Writer::new(WriterOptions { claimant, state, config, framing, retry_state: RETRY_STATE, mark_idle: self.mark_idle }),
            files,
        )
    }
}

/// Where lines go by what they begin with.
struct Routing {
    routes: Routes,
    maker: Maker,
    index: HashMap<Route, usize>,
    /// The route of each log.
    keys: Vec<Route>,
    /// When each log was last used, counted in lines.
    used: Vec<u64>,
    lines: u64,
    /// That of the line at hand.
    route: Route,
}

/// What becomes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It goes to this log, but for so many bytes at its beginning.
    Log {
        /// The log's number.
        log: usize,
        /// How many bytes.
        skip: usize,
    },
    /// There is no room for another log: it is counted in the gap of this one.
    Counted(usize),
    /// It has to wait.
    Wait,
}

/// The logs. See the module's description. A log's number stays as long as it is open.
pub struct Logs {
    logs: Vec<Log>,
    /// When upkeep of each log is due.
    due: Vec<Duration>,
    /// No upkeep is due before this.
    next_due: Duration,
    blocked: BTreeSet<usize>,
    /// Those that lines came to since the last [`Logs::flush`].
    touched: Vec<usize>,
    /// Where the last piece went, if its line goes on in the next one.
    going_on: Option<Place>,
    /// `None` for one log and lines that begin with no field.
    routing: Option<Routing>,
    /// Why a log that was closed to make room for another one may not be on the disk.
    unsynced: Option<String>,
}

impl Logs {
    /// One log.
    pub fn one(files: Option<Files>, mut maker: Maker, keys: &Keyring) -> Self {
        let mut logs = Self::empty(None);
        logs.add(maker.log(files, None, keys));
        logs
    }

    /// As many as lines have routes; none so far.
    pub fn routed(routes: Routes, maker: Maker) -> Self {
        let (index, route) = (HashMap::new(), Route::default());
        Self::empty(Some(Routing { routes, maker, index, keys: Vec::new(), used: Vec::new(), lines: 0, route }))
    }

    fn empty(routing: Option<Routing>) -> Self {
        Self {
            logs: Vec::new(),
            due: Vec::new(),
            next_due: NEVER,
            blocked: BTreeSet::new(),
            touched: Vec::new(),
            going_on: None,
            routing,
            unsynced: None,
        }
    }

    /// Whether some log cannot be written for now.
    pub fn any_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Whether one never will be.
    pub fn any_blocked_for_good(&self) -> bool {
        self.blocked.iter().any(|&log| self.logs[log].is_blocked_for_good())
    }

    /// Opens the file of a single log at the start, where that was asked for.
    pub fn open_if_forced(&mut self, common: &mut Common) {
        self.each(common, Log::open_if_forced);
    }

    /// Where the next piece goes. Opens what has to be open for it.
    pub fn place(&mut self, piece: &[u8], now: Timestamp, common: &mut Common) -> Place {
        let place = match self.going_on {
            Some(Place::Log { log, .. }) => Place::Log { log, skip: 0 },
            Some(place) => place,
            None => self.route(piece, common),
        };
        let Place::Log { log, .. } = place else { return place };
        if self.touch(log) {
            self.logs[log].look_if_due(common);
        }
        let may = self.logs[log].may_take(now, common);
        self.note(log);
        if may { place } else { Place::Wait }
    }

    /// Takes a piece to where [`Logs::place`] said.
    pub fn take(&mut self, place: Place, piece: &[u8], ends_line: bool, now: Timestamp, common: &mut Common) {
        match place {
            Place::Log { log, skip } => {
                self.logs[log].take(&piece[skip..], ends_line, now, common);
                self.note(log);
            }
            Place::Counted(log) => self.logs[log].count_elsewhere(piece, self.going_on.is_none(), now),
            Place::Wait => {}
        }
        self.going_on = Some(place).filter(|_| !ends_line);
    }

    /// Writes what waits in the logs that lines came to.
    pub fn flush(&mut self, common: &mut Common) {
        while let Some(log) = self.touched.pop() {
            self.logs[log].touched = false;
            self.logs[log].flush(common);
            self.note(log);
            // What it needs next is another thing than before these lines.
            (self.due[log], self.next_due) = (Duration::ZERO, Duration::ZERO);
        }
    }

    /// What is due by the clock. When the next thing is, on the clock that counts suspended time.
    pub fn upkeep(&mut self, common: &mut Common) -> Option<Duration> {
        let now = clock::boottime();
        if self.next_due <= now {
            for log in 0..self.logs.len() {
                if self.due[log] <= now {
                    self.due[log] = self.logs[log].upkeep(common).map_or(NEVER, |next| now.saturating_add(next));
                    if self.logs[log].has_waiting() {
                        self.logs[log].flush(common);
                        // It synchronises a while after that.
                        self.due[log] = now;
                    }
                    self.note(log);
                }
            }
            self.next_due = self.due.iter().copied().min().unwrap_or(NEVER);
        }
        Some(self.next_due).filter(|due| *due != NEVER)
    }

    /// All logs go over to the keys as they were read last.
    pub fn follow_keys(&mut self, common: &mut Common) {
        self.each(common, Log::follow_keys);
    }

    /// Opens files again by their names where they were moved away.
    pub fn look_after_files(&mut self, common: &mut Common) {
        self.each(common, Log::look_after_file);
    }

    /// Ends all logs. An error says how much is lost in all of them.
    pub fn finish(&mut self, give_up_at: Duration) -> Result<(), FilterError> {
        let failed = self.logs.iter_mut().filter_map(|log| log.finish(give_up_at).err());
        failed.reduce(add_losses).map_or(Ok(()), Err)
    }

    /// The log that a line belongs to, and the bytes of its field. `None` where there is no room for another log.
    pub fn log_of(&mut self, line: &[u8], common: &mut Common) -> Option<(usize, usize)> {
        match self.route(line, common) {
            Place::Log { log, skip } => Some((log, skip)),
            Place::Counted(_) | Place::Wait => None,
        }
    }

    /// See [`Log::offer`].
    pub fn offer(
        &mut self,
        log: usize,
        offer: &mut Offer,
        piece: &[u8],
        ends_line: bool,
        now: Timestamp,
        common: &mut Common,
    ) -> Result<(), String> {
        let offered = self.logs[log].offer(offer, piece, ends_line, now, common);
        self.note(log);
        self.due[log] = self.due[log].min(clock::boottime().saturating_add(SOON));
        self.next_due = self.next_due.min(self.due[log]);
        offered
    }

    /// See [`Log::sync`].
    pub fn sync(&mut self, log: usize, common: &mut Common) -> Result<(), String> {
        let synced = self.logs[log].sync(common);
        self.note(log);
        synced
    }

    /// Why a log that was closed since the last call may not be on the disk.
    pub fn take_unsynced(&mut self) -> Option<String> {
        self.unsynced.take()
    }

    /// Counts a piece that came when it was too late to seal it.
    pub fn give_up(&mut self, piece: &[u8], ends_line: bool, now: Timestamp, common: &mut Common) {
        let place = match self.going_on {
            Some(place) => place,
            None => self.route(piece, common),
        };
        let log = match place {
            Place::Log { log, .. } | Place::Counted(log) => log,
            Place::Wait => self.blocked.first().copied().unwrap_or_default(),
        };
        self.logs[log].give_up(piece, ends_line, now);
        self.going_on = Some(Place::Counted(log)).filter(|_| !ends_line);
    }

    /// What was not stored, for the reason that blocks it.
    pub fn lost(&self) -> Option<FilterError> {
        self.logs.iter().map(Log::lost_now).reduce(add_losses)
    }

    /// The log of the route that a line begins with, made where it is not open.
    fn route(&mut self, line: &[u8], common: &mut Common) -> Place {
        let Some(routing) = &mut self.routing else { return Place::Log { log: 0, skip: 0 } };
        let skip = routing.routes.template.route(line, &mut routing.route);
        routing.lines += 1;
        if let Some(&log) = routing.index.get(&routing.route) {
            routing.used[log] = routing.lines;
            return Place::Log { log, skip };
        }
        let full = routing.keys.len() >= routing.routes.max_open;
        let room = if full { self.close_one(common) } else { None };
        let Some(routing) = &mut self.routing else { unreachable!("it was there above") };
        if full && room.is_none() {
            let least = (0..routing.keys.len()).min_by_key(|&log| routing.used[log]).expect("at least one may be open");
            return if common.when_full == WhenFull::Drop { Place::Counted(least) } else { Place::Wait };
        }
        let route = routing.route.clone();
        let host = Some(route.host.as_str()).filter(|_| routing.routes.template.has_host());
        let made = routing.maker.log(Some(routing.routes.files(&route)), host, &common.keys);
        let (used, number) = (routing.lines, room.unwrap_or(routing.keys.len()));
        routing.index.insert(route.clone(), number);
        if room.is_some() {
            (routing.keys[number], routing.used[number]) = (route, used);
            (self.logs[number], self.due[number]) = (made, NEVER);
        } else {
            routing.keys.push(route);
            routing.used.push(used);
            self.add(made);
        }
        Place::Log { log: number, skip }
    }

    fn add(&mut self, log: Log) {
        self.logs.push(log);
        self.due.push(NEVER);
    }

    /// Closes the least recently used log that is idle, and gives its number to another one.
    fn close_one(&mut self, common: &mut Common) -> Option<usize> {
        self.flush(common);
        loop {
            let used = &self.routing.as_ref()?.used;
            let idle = (0..self.logs.len()).filter(|&log| self.logs[log].is_idle());
            // One that waits for a line to come again would not know it any more.
            let log = idle.min_by_key(|&log| (self.logs[log].awaits_again(), used[log]))?;
            let closed = self.logs[log].close(common);
            self.note(log);
            if let Some(why) = self.logs[log].take_unsynced() {
                self.unsynced.get_or_insert(why);
            }
            if closed {
                let routing = self.routing.as_mut()?;
                routing.index.remove(&routing.keys[log]);
                return Some(log);
            }
        }
    }

    /// Whether it is the first time since the last flush.
    fn touch(&mut self, log: usize) -> bool {
        let first = !self.logs[log].touched;
        if first {
            self.logs[log].touched = true;
            self.touched.push(log);
        }
        first
    }

    /// Keeps the set of blocked logs, each of which has its next try due.
    fn note(&mut self, log: usize) {
        match self.logs[log].retry_at() {
            Some(at) => {
                self.blocked.insert(log);
                self.due[log] = self.due[log].min(at);
                self.next_due = self.next_due.min(at);
            }
            None => drop(self.blocked.remove(&log)),
        }
    }

    fn each(&mut self, common: &mut Common, act: impl Fn(&mut Log, &mut Common)) {
        for log in 0..self.logs.len() {
            act(&mut self.logs[log], common);
            // What it sealed about it.
            self.logs[log].flush(common);
            self.note(log);
            (self.due[log], self.next_due) = (Duration::ZERO, Duration::ZERO);
        }
    }
}

fn add_losses(all: FilterError, one: FilterError) -> FilterError {
    match (all, one) {
        (FilterError::Lost { lines, bytes, why }, FilterError::Lost { lines: more, bytes: longer, why: other }) => {
            let why = if why.is_empty() { other } else { why };
            FilterError::Lost { lines: lines + more, bytes: bytes + longer, why }
        }
        (all, _) => all,
    }
}
