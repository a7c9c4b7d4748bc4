//! The filters, run as a daemon runs them, and what they wrote, opened and put in its place.
//!
//! [`Log`] is an oracle of its own: it derives the chain from the genesis records it meets and finds the slot of every
//! record, so that a test can say not only what came back but that nothing is missing between.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use sealedlog::audit::read::{Damage, Found, Opener, Record, RecordReader};
use sealedlog::chain::{ChainKey, EpochKey, Kind};
use sealedlog::control::{Control, Event, GenesisFingerprint, StreamId};
use sealedlog::identity::{Descriptor, Identities};
use sealedlog::record::open::{Seal, Whereabouts};
use tempfile::TempDir;

use super::keys::PASSPHRASE;
pub use super::tools::SOON;
use super::tools::{catches, usual_umask, wait_for, wait_idle};

/// A folder with a key folder, a log folder, and places for state and progress.
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// With the key files in the key folder.
    pub fn new<P: AsRef<Path>>(keys: &[P]) -> Place {
        usual_umask();
        let dir = tempfile::Builder::new().prefix("sealedlog-place-").tempdir().expect("a temporary folder can be made");
        // Others than root are to reach it, too.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
        let place = Place { dir };
        for folder in ["keys.d", "log", "state", "run"] {
            fs::create_dir(place.path(folder)).expect("writable");
        }
        for key in keys {
            place.add_key(key.as_ref());
        }
        place
    }

    /// A path below the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Copies a file into the key folder, where it appears whole, and returns its path there.
    pub fn add_key(&self, file: &Path) -> PathBuf {
        let name = file.file_name().expect("key files have names");
        let (new, there) = (self.dir.path().join(name), self.path("keys.d").join(name));
        fs::copy(file, &new).expect("key files can be copied");
        fs::rename(new, &there).expect("on one file system");
        there
    }

    /// `sealedlog seal` with this place's folders; without `-o` it writes to standard output.
    pub fn seal(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
        command.arg("seal");
        self.folders(&mut command);
        command
    }

    /// `sealedlog seal -o` a file in the log folder.
    pub fn seal_to(&self, name: &str) -> Command {
        let mut command = self.seal();
        command.arg("-o").arg(self.path("log").join(name));
        command
    }

    /// `sealedlog-apache` with this place's folders, rotatelogs' options and operands still to come. It runs in the log folder.
    pub fn apache(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-apache"));
        self.folders(&mut command);
        command.current_dir(self.path("log"));
        command
    }

    /// `sealedlog-syslog` with this place's folders and this template below the log folder, options still to come.
    pub fn syslog(&self, template: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealedlog-syslog"));
        self.folders(&mut command);
        command.arg(self.path("log").join(template));
        command
    }

    fn folders(&self, command: &mut Command) {
        command.arg("--keys").arg(self.path("keys.d"));
        command.arg("--state").arg(self.path("state")).arg("--runtime").arg(self.path("run"));
    }

    /// Names of what is in the log folder, in order.
    pub fn logs(&self) -> Vec<String> {
        names(&self.path("log"))
    }

    /// All regular files below the folder.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(self.dir.path(), &mut files);
        files
    }

    /// No file below the folder holds the text.
    pub fn assert_nowhere(&self, text: &str) {
        for file in self.files() {
            let content = fs::read(&file).expect("readable");
            assert!(memchr::memmem::find(&content, text.as_bytes()).is_none(), "{text:?} is in {}", file.display());
        }
    }

    /// Makes the folder one that only root may write to, with what the unprivileged user needs handed to it; returns the
    /// command's program as a copy that this user reaches.
    pub fn reachable(&self, program: &OsStr) -> PathBuf {
        let copy = self.path(&Path::new(program).file_name().expect("a program").to_string_lossy());
        if !copy.exists() {
            fs::copy(program, &copy).expect("programs can be copied");
        }
        copy
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let entry = entry.expect("readable");
        let kind = entry.file_type().expect("readable");
        if kind.is_dir() {
            walk(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}

/// Names of what is in a folder, in order; none where there is no folder.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("readable").file_name().into_string().expect("tests use ASCII")).collect();
    names.sort();
    names
}

/// A user without rights: `nobody` where the tests run as root, else who runs them.
pub const NOBODY: u32 = 65534;

/// The same command as an unprivileged user.
pub fn unprivileged(place: &Place, command: &Command) -> Command {
    let mut other = Command::new(place.reachable(command.get_program()));
    other.args(command.get_args());
    if Uid::effective().is_root() {
        other.uid(NOBODY).gid(NOBODY);
    }
    other
}

/// A filter that runs, with a pipe to its standard input.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    stderr: tempfile::NamedTempFile,
}

/// How a filter ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it told.
    pub stderr: String,
}

impl Running {
    /// Starts it, with standard output to nowhere unless the command says otherwise before `start_with`.
    pub fn start(command: &mut Command) -> Running {
        command.stdout(Stdio::null());
        Self::start_with(command)
    }

    /// Starts it with the standard output that the command has.
    pub fn start_with(command: &mut Command) -> Running {
        Self::start_on(command, Stdio::piped())
    }

    /// Starts it on another standard input than a pipe from here, and with the standard output that the command has.
    pub fn start_on(command: &mut Command, input: impl Into<Stdio>) -> Running {
        let stderr = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let told = stderr.reopen().expect("own file");
        let mut child = command.stdin(input).stderr(told).spawn().expect("our programs can be run");
        let input = child.stdin.take();
        Running { child, input, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its other ends.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Writes to its standard input.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.input.as_mut().expect("still open").write_all(bytes.as_ref()).expect("it reads");
    }

    /// Takes the writing end of its standard input.
    pub fn take_input(&mut self) -> ChildStdin {
        self.input.take().expect("still open")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// What it has told so far.
    pub fn told(&self) -> String {
        fs::read_to_string(self.stderr.path()).expect("readable")
    }

    /// Waits until it has told this.
    pub fn wait_told(&self, text: &str) {
        assert!(wait_for(SOON, || self.told().contains(text)), "it did not tell {text:?} but {:?}", self.told());
    }

    /// Waits until it has done all that there is to do, and waits for more itself.
    pub fn wait_idle(&self) {
        wait_idle(self.pid());
    }

    /// Waits until signals that come while it is set up do not end it any more.
    pub fn wait_signals(&self) {
        let caught = || [Signal::SIGTERM, Signal::SIGHUP].iter().all(|signal| catches(self.pid(), *signal));
        assert!(wait_for(SOON, caught), "it does not handle signals");
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("own child").is_none()
    }

    /// Waits for its end, which must come soon.
    pub fn wait(mut self) -> Ended {
        let mut status = None;
        let ended = wait_for(SOON, || {
            status = self.child.try_wait().expect("own child");
            status.is_some()
        });
        assert!(ended, "it does not end; it told {:?}", self.told());
        Ended { status: status.expect("it ended"), stderr: self.told() }
    }

    /// Ends its input and waits for its end.
    pub fn end(mut self) -> Ended {
        self.input = None;
        self.wait()
    }

    /// As [`Running::end`]; it must end well and have told nothing.
    pub fn end_well(self) {
        let ended = self.end();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("own child");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed assertion leaves it behind; by its id it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a filter on the whole input.
pub fn seal_all(command: &mut Command, input: &[u8]) -> Ended {
    let mut running = Running::start(command);
    let mut pipe = running.take_input();
    let input = input.to_vec();
    // It may end without reading all of it.
    let writer = std::thread::spawn(move || pipe.write_all(&input));
    let ended = running.wait();
    let _ = writer.join();
    ended
}

/// A record in its place.
#[derive(Debug)]
pub struct Entry {
    /// Index of the file.
    pub file: usize,
    /// Where it begins there.
    pub offset: u64,
    /// How many bytes it takes there.
    pub length: u64,
    /// Its stream, epoch and slot.
    pub place: (StreamId, u64, u32),
    /// A line or the piece of one; else what it tells.
    pub content: Content,
    /// What proves its place, with the keys that it takes to see it.
    pub seal: Seal,
}

/// What a record holds.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // some thousands of them in a test
pub enum Content {
    /// A line, or a piece of one.
    Line(Vec<u8>),
    /// A control record.
    Control(Control),
}

/// Sealed files, opened.
#[derive(Debug, Default)]
pub struct Log {
    /// All records, in file order.
    pub entries: Vec<Entry>,
    /// What is none, with the index of its file.
    pub damage: Vec<(usize, Damage)>,
    /// The genesis fingerprints of the streams.
    pub genesis: HashMap<StreamId, GenesisFingerprint>,
}

impl Log {
    /// Opens files; every record must have a place, and no place two different records.
    pub fn open<P: AsRef<Path>, K: AsRef<Path>>(files: &[P], secrets: &[K]) -> Log {
        let mut passphrases = Descriptor::read(format!("{PASSPHRASE}\n").as_bytes()).expect("a passphrase");
        let identities = Identities::load(secrets, &mut passphrases).expect("secret keys of the tests");
        let opener = Opener::new(&identities);
        let (mut log, mut records) = (Log::default(), Vec::new());
        for (number, file) in files.iter().enumerate() {
            let input = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.as_ref().display()));
            for found in RecordReader::new(input, &opener) {
                match found.expect("readable") {
                    Found::Record(record) => records.push((number, record)),
                    Found::Damage(damage) => log.damage.push((number, damage)),
                }
            }
        }
        let mut chains = Chains::default();
        for (_, record) in &records {
            if let Some(Control { stream, event: Event::Genesis(genesis), .. }) =
                record.genesis.and_then(|_| Control::parse(&record.opened.body))
            {
                log.genesis.insert(stream, record.genesis.expect("it is one"));
                chains.add_stream(stream, genesis.chain_key.as_bytes(), genesis.slots);
            }
        }
        for (number, record) in records {
            let (place, kind) = chains
                .place(&record)
                .unwrap_or_else(|| panic!("record without place: file {number}, offset {}: {record:?}", record.offset));
            let content = match kind {
                Kind::Line => Content::Line(record.opened.body.to_vec()),
                Kind::Control => Content::Control(Control::parse(&record.opened.body).expect("control records are JSON")),
            };
            if let Content::Control(Control { event: Event::Epoch(epoch), .. }) = &content {
                chains.add_slots(place.0, place.1, epoch.slots);
            }
            let Record { offset, length, opened, .. } = *record;
            log.entries.push(Entry { file: number, offset, length, place, content, seal: opened.seal });
        }
        log
    }

    /// As [`Log::open`], of one file in which nothing is damaged.
    pub fn whole(file: &Path, secret: &Path) -> Log {
        let log = Log::open(&[file], &[secret]);
        assert!(log.damage.is_empty(), "{:?}", log.damage);
        log
    }

    /// All lines' bytes, joined.
    pub fn text(&self) -> Vec<u8> {
        self.lines().flatten().copied().collect()
    }

    /// The bodies of lines and pieces of lines.
    pub fn lines(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.entries.iter().filter_map(|entry| match &entry.content {
            Content::Line(body) => Some(body),
            Content::Control(_) => None,
        })
    }

    /// What control records tell, copies of the genesis included.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.entries.iter().filter_map(|entry| match &entry.content {
            Content::Line(_) => None,
            Content::Control(control) => Some(&control.event),
        })
    }

    /// The kinds of records in order, lines that follow each other as one `line`.
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self
            .entries
            .iter()
            .map(|entry| match &entry.content {
                Content::Line(_) => "line",
                Content::Control(control) => control.event.kind(),
            })
            .collect();
        kinds.dedup_by(|a, b| a == b && *a == "line");
        kinds
    }

    /// No slot stands twice (but the genesis), and none is missing before the last of its epoch. Returns for each stream and
    /// epoch how many slots are there, and whether the last of them is a `close`.
    pub fn epochs(&self) -> BTreeMap<(StreamId, u64), (u32, bool)> {
        let mut epochs: BTreeMap<(StreamId, u64), BTreeMap<u32, bool>> = BTreeMap::new();
        for Entry { place: (stream, epoch, slot), content, .. } in &self.entries {
            let is_close = matches!(content, Content::Control(Control { event: Event::Close(_), .. }));
            let is_genesis = matches!(content, Content::Control(Control { event: Event::Genesis(_), .. }));
            let twice = epochs.entry((*stream, *epoch)).or_default().insert(*slot, is_close).is_some();
            assert!(!twice || is_genesis, "slot {slot} of epoch {epoch} stands twice");
        }
        epochs
            .into_iter()
            .map(|(epoch, slots)| {
                let (last, closed) = slots.last_key_value().expect("it has one");
                assert_eq!(slots.len(), *last as usize + 1, "slots are missing in epoch {}: {:?}", epoch.1, slots.keys());
                (epoch, (*last + 1, *closed))
            })
            .collect()
    }

    /// As [`Log::epochs`], where every epoch must be used up or end with a `close`.
    pub fn assert_settled(&self) {
        for ((_, epoch), (slots, closed)) in self.epochs() {
            // A file of a later epoch begins with a copy of the genesis.
            assert!(
                closed || (epoch, slots) == (0, 1) || slots.is_power_of_two() && slots >= 64,
                "epoch {epoch} ends open after {slots} slots"
            );
        }
    }
}

/// Where records of known streams belong.
#[derive(Default)]
struct Chains {
    keys: HashMap<(StreamId, u64), EpochKey>,
    /// Of each stream, the first epoch that is not looked for yet, and its chain key.
    next: HashMap<StreamId, (u64, ChainKey)>,
    /// The first four bytes of the locator, which is what all profiles have.
    slots: HashMap<[u8; 4], Vec<(StreamId, u64, u32)>>,
}

impl Chains {
    /// So many more epochs of each stream are looked for where a record has no place: the slower lines are sealed, the
    /// smaller and the more they are.
    const MORE: u64 = 400;
    /// So many are looked for at most.
    const MOST: u64 = 8 * Self::MORE;

    fn add_stream(&mut self, stream: StreamId, first: &[u8; 32], slots: u32) {
        if self.next.contains_key(&stream) {
            return;
        }
        self.next.insert(stream, (0, ChainKey::from_bytes(*first)));
        self.add_epochs(stream);
        self.add_slots(stream, 0, slots);
    }

    fn add_epochs(&mut self, stream: StreamId) {
        let (first, mut chain) = self.next.remove(&stream).expect("it was added");
        for epoch in first..first + Self::MORE {
            self.keys.insert((stream, epoch), chain.epoch_key());
            self.add(stream, epoch, 0..1);
            chain = chain.next();
        }
        self.next.insert(stream, (first + Self::MORE, chain));
    }

    fn add_slots(&mut self, stream: StreamId, epoch: u64, slots: u32) {
        self.add(stream, epoch, 1..slots);
    }

    fn add(&mut self, stream: StreamId, epoch: u64, slots: Range<u32>) {
        let locators = self.keys[&(stream, epoch)].locators();
        for slot in slots {
            let prefix = *locators.slot(slot).first_chunk().expect("locators have eight bytes");
            self.slots.entry(prefix).or_default().push((stream, epoch, slot));
        }
    }

    fn place(&mut self, record: &Record) -> Option<((StreamId, u64, u32), Kind)> {
        loop {
            if let Some(place) = self.known_place(record) {
                return Some(place);
            }
            let more: Vec<_> = self.next.iter().filter(|(_, next)| next.0 < Self::MOST).map(|(stream, _)| *stream).collect();
            if more.is_empty() {
                return None;
            }
            more.into_iter().for_each(|stream| self.add_epochs(stream));
        }
    }

    fn known_place(&self, record: &Record) -> Option<((StreamId, u64, u32), Kind)> {
        let prefix = match record.opened.locator()? {
            Whereabouts::Locator(locator) => *locator.first_chunk()?,
            Whereabouts::Prefix(prefix) => prefix,
        };
        self.slots.get(&prefix)?.iter().find_map(|&(stream, epoch, slot)| {
            let kind = record.opened.proves(slot, &self.keys[&(stream, epoch)])?;
            Some(((stream, epoch, slot), kind))
        })
    }
}
