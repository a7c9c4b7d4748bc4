//! `sealedlog enable` and `sealedlog disable`: the logs of services are sealed from now on, and no more.
//!
//! Promises: nothing is changed without a usable key; done twice it changes nothing more; a service that would not start with
//! the change gets it taken back; `disable` leaves no file of ours, and what was written before it is sealed first. Only files of
//! our own and the services' own switches are used.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use nix::unistd::Uid;

use super::PROGRAM;
use crate::cli::{Outcome, Trouble, print, report};
use crate::host::file::try_lock_exclusive;
use crate::host::open_files::writers_of;
use crate::host::process;
use crate::keys::{self, KEY_FOLDER};
use crate::services::{DropIn, FIFO_FOLDER, SEALED_FOLDER, Service, Wiring, WiringError, socket_unit, wanted};
use crate::stream::state::StateFolder;

pub const ENABLE_EXAMPLES: &str = "\
Examples:
  sealedlog enable --dry-run        what would be changed
  sealedlog enable                  all services that are installed
  sealedlog enable apache rsyslog   these";

pub const DISABLE_EXAMPLES: &str = "\
Examples:
  sealedlog disable --dry-run
  sealedlog disable apache          Apache writes plain text again; the others stay sealed";

/// The system itself. Tests of `services` have others.
const ROOT: &str = "/";
/// Where systemd says that it runs (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// Services that were disabled by name, one a line: no new key turns them on again.
const DISABLED: &str = "/etc/sealedlog/disabled";
const LOCK: &str = "/run/lock/sealedlog-enable";
const STATE: &str = "/var/lib/sealedlog";
const RUNTIME: &str = "/run/sealedlog";
/// How long is waited: for another run, until a service lets go of a file, until a first line is sealed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a FIFO is tried to be made where a plain file comes in between.
const TRIES: usize = 5;
const POLL: Duration = Duration::from_millis(100);

#[derive(Args, Debug)]
pub struct EnableArgs {
    /// Services; without any: all that are installed
    #[arg(value_name = "SERVICE", value_parser = service())]
    services: Vec<Service>,

    /// Show each change, and make none
    #[arg(long)]
    dry_run: bool,

    /// As the unit does that watches the keys: without a usable key say what is awaited and end well, and leave out what was
    /// disabled by name
    #[arg(long, conflicts_with = "services")]
    unattended: bool,
}

#[derive(Args, Debug)]
pub struct DisableArgs {
    /// Services; without any: all that are sealed
    #[arg(value_name = "SERVICE", value_parser = service())]
    services: Vec<Service>,

    /// Show each change, and make none
    #[arg(long)]
    dry_run: bool,

    /// As the package does that is removed: a key that comes later turns everything on again
    #[arg(long, conflicts_with = "services")]
    unattended: bool,
}

fn service() -> impl TypedValueParser<Value = Service> {
    PossibleValuesParser::new(Service::ALL.map(Service::name)).map(|name| Service::named(&name).expect("it is one of these"))
}

/// Exit status 2 where some service could not be done as it was asked for; the others are done.
pub fn enable(args: &EnableArgs) -> Outcome {
    let _ = process::harden();
    let _lock = begin(args.dry_run)?;
    if let Err((error, hint)) = usable_keys() {
        if args.unattended {
            return print(format_args!("nothing is changed: a public key is awaited in {KEY_FOLDER}\n    {error}\n"));
        } else if !args.dry_run {
            return Err(Trouble::new(format_args!("nothing was changed: {error}"), hint));
        }
        print(format_args!("nothing would be changed yet: {error}\n"))?;
    }
    let mut change = Change::new(args.dry_run);
    let root = Path::new(ROOT);
    let disabled = disabled();
    let asked: Vec<Service> = match args.services.as_slice() {
        [] => Service::ALL.into_iter().filter(|service| service.is_installed(root)).collect(),
        asked => asked.to_vec(),
    };
    let (mut status, mut logs) = (ExitCode::SUCCESS, Vec::new());
    for service in asked {
        if args.unattended && disabled.contains(&service) {
            continue;
        }
        match change.enable(service) {
            Ok(new) => logs.extend(new),
            // Asked for by nobody, and nothing that can be helped here.
            Err(Failed::Wiring(error @ WiringError::NoSyslog)) if args.services.is_empty() => {
                print(format_args!("{service}: left as it is: {error}\n"))?;
            }
            Err(error) => status = report(PROGRAM, Err(error.of(service))),
        }
    }
    if !args.dry_run && !args.unattended {
        let is_left = |service: &Service| !args.services.is_empty() && !args.services.contains(service);
        store_disabled(&disabled.into_iter().filter(is_left).collect::<Vec<_>>())?;
    }
    if change.booted && !args.dry_run {
        show_genesis(&logs)?;
    }
    Ok(status)
}

/// Exit status 2 where some service could not be done as it was asked for; the others are done.
pub fn disable(args: &DisableArgs) -> Outcome {
    let _ = process::harden();
    let _lock = begin(args.dry_run)?;
    let mut change = Change::new(args.dry_run);
    let asked: Vec<Service> = match args.services.as_slice() {
        // journald first, so that the daemon is not handed what it would write in plain text.
        [] => Service::ALL.into_iter().rev().filter(|service| service.is_enabled(Path::new(ROOT))).collect(),
        asked => asked.to_vec(),
    };
    if !args.dry_run && !args.unattended {
        // Before the unit that watches sees the first change.
        let mut all = disabled();
        all.extend(asked.iter().filter(|service| !disabled().contains(service)));
        store_disabled(&all)?;
    }
    let mut status = ExitCode::SUCCESS;
    for service in asked {
        if let Err(error) = change.disable(service) {
            status = report(PROGRAM, Err(error.of(service)));
        }
    }
    Ok(status)
}

/// Looks whether the filters will have something to seal to; else says why not, and what to do.
fn usable_keys() -> Result<(), (String, &'static str)> {
    let loaded = keys::load(&[PathBuf::from(KEY_FOLDER)], None).map_err(|error| (error.to_string(), error.hint()))?;
    let readable = |file: &Path| fs::metadata(file).is_ok_and(|metadata| metadata.mode() & 0o004 != 0);
    match loaded.recipients.keys().iter().find(|key| !readable(&key.file)) {
        Some(key) => Err((
            format!("{} cannot be read by the filters, which are not root", key.file.display()),
            "public keys need not be hidden: chmod a+r",
        )),
        None => Ok(()),
    }
}

/// Looks whether changes can be made, by nobody else meanwhile.
fn begin(dry_run: bool) -> Result<Option<fs::File>, Trouble> {
    if dry_run {
        return Ok(None);
    }
    if !Uid::effective().is_root() {
        return Err(Trouble::new("only root can change how services log", "run it as root, or with --dry-run"));
    }
    let trouble = |error: &dyn Display| Trouble::new(format_args!("{LOCK}: {error}"), "wait for the other run, then try again");
    let lock =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(LOCK).map_err(|error| trouble(&error))?;
    if !wait_until(|| try_lock_exclusive(&lock).unwrap_or(true)) {
        return Err(trouble(&"another run is under way"));
    }
    Ok(Some(lock))
}

/// Services that were disabled by name.
fn disabled() -> Vec<Service> {
    fs::read_to_string(DISABLED).unwrap_or_default().lines().filter_map(|line| Service::named(line.trim())).collect()
}

fn store_disabled(services: &[Service]) -> Result<(), Trouble> {
    let stored = if services.is_empty() {
        fs::remove_file(DISABLED).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
    } else {
        fs::write(DISABLED, services.iter().map(|service| format!("{service}\n")).collect::<String>())
    };
    stored.map_err(|error| Trouble::new(format_args!("cannot write {DISABLED}: {error}"), "make room"))
}

/// Why a service was not changed, or changed back.
enum Failed {
    Wiring(WiringError),
    /// What could not be done, and the hint.
    Step(String, &'static str),
}

impl From<WiringError> for Failed {
    fn from(error: WiringError) -> Self {
        Self::Wiring(error)
    }
}

impl Failed {
    fn of(self, service: Service) -> Trouble {
        match self {
            Self::Wiring(error @ WiringError::NotUnderstood { .. }) => Trouble::new(
                format_args!("{service}: left as it is: {error}"),
                format!("wire it by hand: /usr/share/doc/sealedlog/examples/{service}/README.md"),
            ),
            Self::Wiring(error) => Trouble::new(format_args!("{service}: left as it is: {error}"), ""),
            Self::Step(what, hint) => Trouble::new(format_args!("{service}: {what}"), hint),
        }
    }
}

/// Makes changes, or shows them.
struct Change {
    dry_run: bool,
    /// systemd runs.
    booted: bool,
}

impl Change {
    fn new(dry_run: bool) -> Self {
        Self { dry_run, booted: Path::new(BOOTED).is_dir() }
    }

    /// Returns the logs that got a FIFO.
    fn enable(&mut self, service: Service) -> Result<Vec<String>, Failed> {
        let root = Path::new(ROOT);
        if !service.is_installed(root) {
            return Err(Failed::Step("it is not installed".to_owned(), "name one that is: --dry-run shows them"));
        }
        let Wiring { logs, drop_ins, left } = service.wiring(root)?;
        let held = wanted(root);
        let new: Vec<String> = logs.iter().filter(|log| !held.contains(log)).cloned().collect();
        let before: Vec<_> = drop_ins.iter().map(|file| fs::read_to_string(&file.path).ok()).collect();
        let changed = drop_ins.iter().zip(&before).any(|(file, before)| before.as_ref() != Some(&file.content));
        for what in &left {
            self.tell(format_args!("{service}: {what}"))?;
        }
        if new.is_empty() && !changed {
            self.tell(format_args!("{service}: sealed already{}", count(&logs)))?;
            return Ok(new);
        }
        let done = self.hold(&new).and_then(|()| {
            drop_ins.iter().try_for_each(|file| self.write(file))?;
            service.switch_on().map_or(Ok(()), |command| self.run(command))?;
            service.check().map_or(Ok(()), |command| self.run(command))
        });
        if let Err(error) = done {
            let hint = "nothing was changed; look at what the command says";
            self.undo(service, &drop_ins, &before, &new);
            return Err(Failed::Step(error, hint));
        }
        let hint = "look at what the service says in the journal, then try again";
        self.start(service.take_up())
            .and_then(|()| new.iter().try_for_each(|log| self.adopt(log)))
            .map_err(|error| Failed::Step(error, hint))?;
        self.tell(format_args!("{service}: {}{}", if self.dry_run { "would be sealed" } else { "sealed" }, count(&logs)))?;
        Ok(new)
    }

    /// Puts back what stood there before.
    fn undo(&self, service: Service, drop_ins: &[DropIn], before: &[Option<String>], new: &[String]) {
        let _ = service.switch_off().filter(|_| before.iter().all(Option::is_none)).map(|command| self.run(command));
        for (file, before) in drop_ins.iter().zip(before) {
            let _ = match before {
                Some(content) => self.write(&DropIn { path: file.path.clone(), content: content.clone() }),
                None => self.remove(&file.path),
            };
        }
        let _ = self.let_go(new);
    }

    fn disable(&mut self, service: Service) -> Result<(), Failed> {
        let root = Path::new(ROOT);
        if !service.is_enabled(root) {
            return self.tell(format_args!("{service}: is not sealed by \"sealedlog enable\""));
        }
        let step = |error: String| Failed::Step(error, "the other steps were left; see to it and try again");
        let logs = service.enabled_logs(root);
        if service == Service::Journald {
            // With its files on the disk again, it would bring there what was only in memory.
            for command in [&["journalctl", "--rotate"], &["journalctl", "--vacuum-size=1"]] {
                self.start(command).map_err(step)?;
            }
        }
        service.switch_off().map_or(Ok(()), |command| self.run(command)).map_err(step)?;
        service.drop_ins().iter().try_for_each(|path| self.remove(Path::new(path))).map_err(step)?;
        self.start(service.take_up()).map_err(step)?;
        if service == Service::Journald {
            self.start(&["journalctl", "--flush"]).map_err(step)?;
        }
        self.let_go(&logs).map_err(step)?;
        self.tell(format_args!("{service}: {} plain text again", if self.dry_run { "would write" } else { "writes" }))
    }

    /// Has systemd hold the FIFOs of these logs, now and after each start.
    fn hold(&self, logs: &[String]) -> Result<(), String> {
        if logs.is_empty() {
            return Ok(());
        }
        // systemd makes them too, but not before it runs, and Apache's check wants them.
        let folders = logs.iter().filter_map(|log| Some(Path::new(FIFO_FOLDER).join(log).parent()?.to_owned()));
        let made =
            |folder: PathBuf| fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()));
        folders.filter(|_| !self.dry_run).try_for_each(made)?;
        // The service may make a plain file in the very moment.
        let mut held = self.set_aside(logs).and_then(|()| self.systemctl("enable", logs));
        for _ in 1..TRIES {
            if held.is_ok() {
                break;
            }
            held = self.set_aside(logs).and_then(|()| self.systemctl("enable", logs));
        }
        held
    }

    /// Plain files that lie where FIFOs are to be: logs that were new. In memory they wait until nobody writes to them.
    fn set_aside(&self, logs: &[String]) -> Result<(), String> {
        for log in logs {
            let path = Path::new(FIFO_FOLDER).join(log);
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                let aside = (0..).map(|number| aside(&path, number)).find(|aside| !aside.exists()).expect("numbers do not end");
                self.step(format_args!("rename {} to {}", path.display(), aside.display()), || fs::rename(&path, &aside))?;
            }
        }
        Ok(())
    }

    /// Has sealed what plain files got in the place of a FIFO, once nobody writes to them any more.
    fn adopt(&self, log: &str) -> Result<(), String> {
        let path = Path::new(FIFO_FOLDER).join(log);
        let all = (0..).map(|number| aside(&path, number)).take_while(|aside| aside.exists());
        for aside in all.filter(|_| !self.dry_run) {
            wait_until(|| !is_written(&aside));
            self.step(format_args!("seal {}", aside.display()), || {
                write_lines(&path, &fs::read(&aside)?)?;
                fs::remove_file(&aside)
            })?;
        }
        Ok(())
    }

    /// Gives the FIFOs up, once nobody but us has them open and what is in them is sealed.
    fn let_go(&self, logs: &[String]) -> Result<(), String> {
        if logs.is_empty() {
            return Ok(());
        }
        if self.booted && !self.dry_run {
            let is_fifo = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
            let fifos: Vec<PathBuf> =
                logs.iter().map(|log| Path::new(FIFO_FOLDER).join(log)).filter(|path| is_fifo(path)).collect();
            wait_until(|| !fifos.iter().any(|fifo| is_written(fifo)));
        }
        self.systemctl("disable", logs)
    }

    fn systemctl(&self, what: &str, logs: &[String]) -> Result<(), String> {
        let units: Vec<String> = logs.iter().map(|log| socket_unit(log)).collect();
        let now = self.booted.then_some("--now");
        let words: Vec<&str> = ["systemctl", "-q", what].into_iter().chain(now).chain(units.iter().map(String::as_str)).collect();
        self.run(&words)
    }

    fn write(&self, file: &DropIn) -> Result<(), String> {
        let DropIn { path, content } = file;
        if self.dry_run {
            let indented: String = content.lines().map(|line| format!("        {line}\n")).collect();
            return self.step(format_args!("write {}:\n{}", path.display(), indented.trim_end()), || Ok(()));
        }
        self.step(format_args!("write {}", path.display()), || {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(ROOT)))?;
            // Whole or not at all; no daemon reads a file that ends so.
            let part = path.with_extension("sealedlog-new");
            fs::write(&part, content)?;
            fs::rename(&part, path)
        })
    }

    fn remove(&self, path: &Path) -> Result<(), String> {
        self.step(format_args!("remove {}", path.display()), || {
            fs::remove_file(path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
            // A folder that was made for it alone.
            let _ = path.parent().map(fs::remove_dir);
            Ok(())
        })
    }

    /// For commands that only mean something where systemd runs.
    fn start(&self, words: &[&str]) -> Result<(), String> {
        if self.booted || self.dry_run { self.run(words) } else { Ok(()) }
    }

    fn run(&self, words: &[&str]) -> Result<(), String> {
        let line = words.join(" ");
        if self.dry_run {
            return self.step(format_args!("run {line}"), || Ok(()));
        }
        let output = Command::new(words[0]).args(&words[1..]).output().map_err(|error| format!("cannot run {line}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stderr, output.stdout].concat();
        let said: Vec<_> = String::from_utf8_lossy(&said).lines().map(str::trim).map(str::to_owned).collect();
        Err(format!("'{line}' failed: {}", said.join("; ")))
    }

    /// Does it, or says what it would be.
    fn step(&self, what: impl Display, work: impl FnOnce() -> io::Result<()>) -> Result<(), String> {
        if self.dry_run {
            return print(format_args!("    would {what}\n")).map(drop).map_err(|_| "cannot write".to_owned());
        }
        work().map_err(|error| format!("cannot {what}: {error}"))
    }

    fn tell(&self, what: impl Display) -> Result<(), Failed> {
        let hint = "look at where standard output is redirected to";
        print(format_args!("{what}\n")).map(drop).map_err(|_| Failed::Step("cannot say what is done".to_owned(), hint))
    }
}

/// Whether it came true in time.
fn wait_until(mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + PATIENCE;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        sleep(POLL);
    }
}

/// Writes lines to a FIFO, each in one piece where that can be. An error where nobody reads them in time.
fn write_lines(fifo: &Path, lines: &[u8]) -> io::Result<()> {
    let mut fifo = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(fifo)?;
    for mut line in lines.split_inclusive(|&byte| byte == b'\n') {
        let until = Instant::now() + PATIENCE;
        while !line.is_empty() {
            match fifo.write(line) {
                Ok(written) => line = &line[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => sleep(POLL),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Where a plain file waits that lay in the place of a FIFO.
fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".unsealed-{number}"));
    PathBuf::from(name)
}

/// Whether anybody but systemd and our filters has it open to write.
fn is_written(path: &Path) -> bool {
    let writers = fs::symlink_metadata(path).map(|metadata| writers_of(Path::new("/proc"), &metadata)).unwrap_or_default();
    writers.iter().any(|process| process.id != 1 && process.program != PROGRAM)
}

fn count(logs: &[String]) -> String {
    match logs {
        [] => String::new(),
        [log] => format!(" ({log})"),
        _ => format!(" ({} logs: {})", logs.len(), logs.join(", ")),
    }
}

/// Writes a first line to each log, by the way that its own lines take, so that its stream begins, and shows the fingerprints.
fn show_genesis(logs: &[String]) -> Result<(), Trouble> {
    if logs.is_empty() {
        return Ok(());
    }
    let host = process::host_name().unwrap_or_else(|_| "localhost".to_owned());
    for log in logs {
        let path = Path::new(FIFO_FOLDER).join(log);
        let line = format!("{PROGRAM}: {log} of {host} is sealed from {:.0} on\n", Timestamp::now());
        // Whether it came through shows below.
        let _ = write_lines(&path, line.as_bytes());
    }
    let names: Vec<PathBuf> = logs.iter().map(|log| PathBuf::from(format!("{SEALED_FOLDER}/{log}.%Y-%m-%d"))).collect();
    let mut begun = Vec::new();
    wait_until(|| {
        begun = genesis_of(&names);
        begun.len() >= names.len()
    });
    let mut text =
        String::from("\nWrite these fingerprints on paper and give them to the auditor (sealedlog status shows them again):\n");
    for (log, genesis) in &begun {
        let _ = writeln!(text, "    {}\n        genesis {genesis}", log.display());
    }
    print(text)?;
    if begun.len() < names.len() {
        let hint = "look at the journal: journalctl -u 'sealedlog@*'";
        return Err(Trouble::new(format_args!("{} logs are not sealed yet", names.len() - begun.len()), hint));
    }
    Ok(())
}

/// The fingerprints of those that have begun.
fn genesis_of(names: &[PathBuf]) -> Vec<(PathBuf, String)> {
    let folders = StateFolder::all(Path::new(STATE), Path::new(RUNTIME)).unwrap_or_default();
    let begun = folders.iter().filter_map(|folder| {
        let log = folder.config()?.log;
        let state = folder.lock().ok()?.read().ok()??;
        names.contains(&log).then(|| (log, state.genesis.to_string()))
    });
    begun.collect()
}
