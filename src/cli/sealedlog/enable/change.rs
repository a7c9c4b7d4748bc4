//! The steps of a change: files of our own, FIFOs, the services' own switches; done, or shown.
//!
//! Promises: what begins is noted until it is done, so that a run that was cut off is gone on with; where the service cannot take a
//! change up, it is taken back.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::PROGRAM;
use crate::cli::{Trouble, print};
use crate::host::open_files::writers_of;
use crate::services::{DropIn, FIFO_FOLDER, Link, Service, Wiring, WiringError, aside, asides, socket_unit, wanted};

/// The system itself. Tests of `services` have others.
pub const ROOT: &str = "/";
/// Where systemd says that it runs (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// Where systemd reads its own configuration.
const UNITS: &str = "/etc/systemd/system";
/// Folders that are made for one file of ours.
const FOLDERS: [&str; 2] = ["journald.conf.d", "apache2.service.d"];
/// How long is waited: for another run, until a service lets go of a file, until a first line is sealed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a FIFO is tried to be made where a plain file comes in between.
const TRIES: usize = 5;
const POLL: Duration = Duration::from_millis(100);

/// Why a service was not changed, or changed back.
pub enum Failed {
    /// Its configuration is not understood.
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
    /// With the service that it is of, and a hint.
    pub fn of(self, service: Service) -> Trouble {
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
pub struct Change {
    dry_run: bool,
    /// systemd runs.
    pub booted: bool,
}

impl Change {
    /// Shows them only with `dry_run`.
    pub fn new(dry_run: bool) -> Self {
        Self { dry_run, booted: Path::new(BOOTED).is_dir() }
    }

    /// Returns the logs that got a FIFO.
    pub fn enable(&self, service: Service) -> Result<Vec<String>, Failed> {
        let root = Path::new(ROOT);
        if !service.is_installed(root) {
            return Err(Failed::Step("it is not installed".to_owned(), "name one that is: --dry-run shows them"));
        }
        let Wiring { logs, drop_ins, link, units, left } = service.wiring(root)?;
        for what in &left {
            self.tell(format_args!("{service}: {what}"))?;
        }
        if drop_ins.is_empty() && units.is_empty() {
            // What there was to do for it once is no more.
            return if service.is_enabled(root) { self.disable(service).map(|()| Vec::new()) } else { Ok(Vec::new()) };
        }
        let led = service.enabled_link(root);
        let held = wanted(root);
        let new: Vec<String> = logs.iter().filter(|log| !held.contains(log)).cloned().collect();
        // A run that was cut off may have had systemd told of a FIFO, and not to make it.
        let unheld: Vec<String> =
            logs.iter().filter(|log| new.contains(log) || (self.booted && !is_fifo(&fifo(log)))).cloned().collect();
        let is_stale = |path: &&&str| Path::new(path).exists() && !drop_ins.iter().any(|file| file.path == Path::new(path));
        let stale: Vec<&str> = service.drop_ins().iter().filter(is_stale).copied().collect();
        let before: Vec<_> = drop_ins.iter().map(|file| fs::read_to_string(&file.path).ok()).collect();
        let follows = service.enabled_units(root);
        let (missing, extra): (Vec<_>, Vec<_>) = (
            units.iter().filter(|unit| !follows.contains(unit)).copied().collect(),
            follows.iter().filter(|unit| !units.contains(unit)).copied().collect(),
        );
        let changed = !missing.is_empty()
            || !extra.is_empty()
            || !stale.is_empty()
            || !service.is_switched_on(root)
            || is_pending(service)
            || link.as_ref().is_some_and(|link| !leads(link))
            || drop_ins.iter().zip(&before).any(|(file, before)| before.as_ref() != Some(&file.content));
        if unheld.is_empty() && !changed {
            self.tell(format_args!("{service}: sealed already{}", count(&logs)))?;
            return Ok(new);
        }
        let done = self.note(service, &[]).and_then(|()| {
            self.hold(&unheld)?;
            led.iter().filter(|led| link.as_ref() != Some(led)).try_for_each(|led| self.lead_back(led))?;
            drop_ins.iter().try_for_each(|file| self.write(file))?;
            stale.iter().try_for_each(|path| self.remove(Path::new(path)))?;
            link.iter().try_for_each(|link| self.lead(link))?;
            service.switch_on().map_or(Ok(()), |command| self.run(command))?;
            service.check().map_or(Ok(()), |command| self.run(command))?;
            self.take_up(service)
        });
        if let Err(error) = done {
            let _ = link.iter().try_for_each(|link| self.lead_back(link));
            self.undo(service, &drop_ins, &before, &new);
            return Err(Failed::Step(error, "what was changed was taken back; look at what the command says"));
        }
        self.systemctl("disable", &extra)
            .and_then(|()| self.systemctl("enable", &missing))
            .and_then(|()| logs.iter().try_for_each(|log| self.adopt(log)))
            .and_then(|()| link.iter().try_for_each(|link| self.is_let_go(link)))
            .and_then(|()| self.forget(service))
            .map_err(|error| Failed::Step(error, "its other logs are sealed; the next run goes on with it"))?;
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
        // It runs as before, or not at all, whether or not it was the change that kept it from that.
        let _ = self.take_up(service);
        let _ = self.let_go(new).and_then(|()| self.forget(service));
    }

    /// Undoes it: as much as can be, whatever fails.
    pub fn disable(&self, service: Service) -> Result<(), Failed> {
        let root = Path::new(ROOT);
        if !service.is_enabled(root) && !is_pending(service) {
            return self.tell(format_args!("{service}: is not sealed by \"sealedlog enable\""));
        }
        // What names them goes with the first steps.
        let mut logs = service.enabled_logs(root);
        logs.extend(fs::read_to_string(pending(service)).unwrap_or_default().lines().map(str::to_owned));
        logs.sort();
        logs.dedup();
        // A log may get lines of two.
        let others = Service::ALL.into_iter().filter(|&other| other != service && other.is_enabled(root));
        let shared: Vec<String> = others.flat_map(|other| other.enabled_logs(root)).collect();
        logs.retain(|log| !shared.contains(log));
        let link = service.enabled_link(root);
        let is_installed = service.is_installed(root);
        let mut errors = Vec::new();
        let mut step = |done: Result<(), String>| errors.extend(done.err());
        step(self.note(service, &logs));
        // It seals what is there and ends.
        step(self.systemctl("disable", &service.enabled_units(root)));
        if service == Service::Journald {
            // With its files on the disk again, it would bring there what was only in memory.
            step(self.start(Some(&["journalctl", "--rotate"])));
            step(self.start(Some(&["journalctl", "--directory=/run/log/journal", "--vacuum-size=1"])));
        }
        step(service.switch_off().filter(|_| is_installed).map_or(Ok(()), |command| self.run(command)));
        link.iter().for_each(|link| step(self.lead_back(link)));
        service.drop_ins().iter().for_each(|path| step(self.remove(Path::new(path))));
        step(if is_installed { self.take_up(service) } else { Ok(()) });
        if service == Service::Journald {
            step(self.start(Some(&["journalctl", "--flush"])));
        }
        step(self.let_go(&logs));
        if !errors.is_empty() {
            return Err(Failed::Step(errors.join("; "), "the other steps are done; see to it and try again"));
        }
        let hint = "it is in memory and of no harm";
        self.forget(service).map_err(|error| Failed::Step(error, hint))?;
        self.tell(format_args!("{service}: {} plain text again", if self.dry_run { "would write" } else { "writes" }))
    }

    /// Notes that a change has begun, so that the next run goes on with it. In memory: what starts anew takes all up anyway.
    fn note(&self, service: Service, logs: &[String]) -> Result<(), String> {
        if self.dry_run {
            return Ok(());
        }
        let (path, names) = (pending(service), logs.iter().map(|log| format!("{log}\n")).collect::<String>());
        fs::write(&path, names).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    fn forget(&self, service: Service) -> Result<(), String> {
        if self.dry_run {
            return Ok(());
        }
        let path = pending(service);
        fs::remove_file(&path).map_err(|error| format!("cannot remove {}: {error}", path.display()))
    }

    /// Has systemd hold the FIFOs of these logs, now and after each start.
    fn hold(&self, logs: &[String]) -> Result<(), String> {
        if logs.is_empty() {
            return Ok(());
        }
        // systemd makes them too, but not before it runs, and Apache's check wants them.
        let folders = logs.iter().filter_map(|log| Some(fifo(log).parent()?.to_owned()));
        let made = |folder: PathBuf| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|error| format!("cannot make {}: {error}", folder.display()))
        };
        folders.filter(|_| !self.dry_run).try_for_each(made)?;
        // The service may make a plain file in the very moment.
        let mut held = self.set_aside(logs).and_then(|()| self.systemctl("enable", &socket_units(logs)));
        for _ in 1..TRIES {
            if held.is_ok() {
                break;
            }
            held = self.set_aside(logs).and_then(|()| self.systemctl("enable", &socket_units(logs)));
        }
        held
    }

    /// Plain files that lie where FIFOs are to be: logs that were new. In memory they wait until nobody writes to them.
    fn set_aside(&self, logs: &[String]) -> Result<(), String> {
        for log in logs {
            let path = fifo(log);
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                let aside = (0..).map(|number| aside(&path, number)).find(|aside| !aside.exists()).expect("numbers do not end");
                self.step(format_args!("rename {} to {}", path.display(), aside.display()), || fs::rename(&path, &aside))?;
            }
        }
        Ok(())
    }

    /// Has sealed what plain files got in the place of a FIFO, once nobody writes to them any more.
    fn adopt(&self, log: &str) -> Result<(), String> {
        let path = fifo(log);
        for aside in asides(&path).into_iter().filter(|_| !self.dry_run) {
            if !wait_until(|| !is_written(&aside)) {
                return Err(format!("{} is still written, and stays until it is not", aside.display()));
            }
            self.step(format_args!("seal {}", aside.display()), || {
                write_lines(&path, &fs::read(&aside)?)?;
                fs::remove_file(&aside)
            })?;
        }
        Ok(())
    }

    /// Has the name of a log file lead to the FIFO. What stood there waits beside it, and comes back with [`Change::lead_back`].
    fn lead(&self, link: &Link) -> Result<(), String> {
        let Link { path, log } = link;
        if leads(link) {
            return Ok(());
        }
        let to = fifo(log);
        self.step(format_args!("make {} a link to {}", path.display(), to.display()), || {
            let free = (0..).map(|number| aside(path, number)).find(|aside| !aside.exists()).expect("numbers do not end");
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_file() => fs::hard_link(path, free)?,
                Ok(_) => return Err(io::Error::other("it is something else than a plain file")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            // At no moment is there no file.
            let new = path.with_extension("sealedlog-new");
            remove_if_there(&new)?;
            symlink(&to, &new)?;
            fs::rename(&new, path)
        })
    }

    /// Undoes that.
    fn lead_back(&self, link: &Link) -> Result<(), String> {
        if !leads(link) {
            return Ok(());
        }
        let path = &link.path;
        match asides(path).pop() {
            Some(before) => {
                self.step(format_args!("rename {} to {}", before.display(), path.display()), || fs::rename(&before, path))
            }
            None => self.remove(path),
        }
    }

    /// Whether nobody writes any more to what stood there before.
    fn is_let_go(&self, link: &Link) -> Result<(), String> {
        for before in asides(&link.path).into_iter().filter(|_| self.booted && !self.dry_run) {
            if !wait_until(|| !is_written(&before)) {
                return Err(format!("{} is still written in plain text", before.display()));
            }
        }
        Ok(())
    }

    /// Gives the FIFOs up, once nobody but us has them open and what is in them is sealed.
    pub fn let_go(&self, logs: &[String]) -> Result<(), String> {
        if logs.is_empty() {
            return Ok(());
        }
        if self.booted && !self.dry_run {
            let fifos: Vec<PathBuf> = logs.iter().map(|log| fifo(log)).filter(|path| is_fifo(path)).collect();
            let mut written = None;
            if !wait_until(|| {
                written = fifos.iter().find(|fifo| is_written(fifo));
                written.is_none()
            }) {
                return Err(format!(
                    "{} is still written, and stays until it is not",
                    written.unwrap_or(&PathBuf::new()).display()
                ));
            }
        }
        self.systemctl("disable", &socket_units(logs))?;
        if self.booted && !self.dry_run {
            // Of units that could not be started, nobody else would tell systemd to forget them; it is no harm.
            let _ = Command::new("systemctl").arg("reset-failed").args(socket_units(logs)).output();
        }
        Ok(())
    }

    /// Has systemd start these units now and after each start, or no more.
    fn systemctl(&self, what: &str, units: &[impl AsRef<str>]) -> Result<(), String> {
        if units.is_empty() {
            return Ok(());
        }
        let now = self.booted.then_some("--now");
        let words: Vec<&str> = ["systemctl", "-q", what].into_iter().chain(now).chain(units.iter().map(AsRef::as_ref)).collect();
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
            let mut file = fs::File::create(&part)?;
            file.write_all(content.as_bytes()).and_then(|()| file.sync_all())?;
            fs::rename(&part, path)?;
            fs::File::open(path.parent().unwrap_or(Path::new(ROOT)))?.sync_all()
        })?;
        self.reload_units(path)
    }

    /// Has systemd take up a file of its own.
    fn reload_units(&self, path: &Path) -> Result<(), String> {
        self.start(path.starts_with(UNITS).then_some(&["systemctl", "daemon-reload"]))
    }

    fn remove(&self, path: &Path) -> Result<(), String> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        self.step(format_args!("remove {}", path.display()), || {
            remove_if_there(path)?;
            // A folder that no package has, made for it alone.
            let is_ours = |folder: &&Path| FOLDERS.iter().any(|name| folder.ends_with(name));
            let _ = path.parent().filter(is_ours).map(fs::remove_dir);
            Ok(())
        })?;
        self.reload_units(path)
    }

    /// Has the service take up its configuration.
    fn take_up(&self, service: Service) -> Result<(), String> {
        let Some(command) = service.take_up() else { return Ok(()) };
        if let (Some(unit), true, false) = (command.last(), self.booted, self.dry_run) {
            // Else one that was started anew some times in a row, by us or by others, would not be started again, and be down.
            let _ = Command::new("systemctl").args(["reset-failed", unit]).output();
        }
        self.start(Some(command))
    }

    /// For commands that only mean something where systemd runs.
    fn start(&self, words: Option<&[&str]>) -> Result<(), String> {
        words.filter(|_| self.booted || self.dry_run).map_or(Ok(()), |words| self.run(words))
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

fn remove_if_there(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Where systemd makes the FIFO of a log.
fn fifo(log: &str) -> PathBuf {
    Path::new(FIFO_FOLDER).join(log)
}

fn is_fifo(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Whether the name leads to the FIFO.
fn leads(link: &Link) -> bool {
    fs::read_link(&link.path).is_ok_and(|to| to == fifo(&link.log))
}

/// Whether it came true in time.
pub fn wait_until(mut is_so: impl FnMut() -> bool) -> bool {
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
pub fn write_lines(fifo: &Path, lines: &[u8]) -> io::Result<()> {
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

/// What says that a change of a service is not done.
fn pending(service: Service) -> PathBuf {
    Path::new(FIFO_FOLDER).join(format!(".pending-{service}"))
}

/// Whether a change of a service was begun and not ended.
pub fn is_pending(service: Service) -> bool {
    pending(service).exists()
}

/// Whether anybody but systemd and our filters has it open to write.
fn is_written(path: &Path) -> bool {
    let writers = fs::symlink_metadata(path).map(|metadata| writers_of(Path::new("/proc"), &metadata)).unwrap_or_default();
    writers.iter().any(|process| process.id != 1 && process.program != PROGRAM)
}

fn socket_units(logs: &[String]) -> Vec<String> {
    logs.iter().map(|log| socket_unit(log)).collect()
}

fn count(logs: &[String]) -> String {
    match logs {
        [] => String::new(),
        [log] => format!(" ({log})"),
        _ => format!(" ({} logs: {})", logs.len(), logs.join(", ")),
    }
}
