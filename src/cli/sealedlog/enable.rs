//! `sealedlog enable` and `sealedlog disable`: the logs of services are sealed from now on, and no more.
//!
//! Promises: nothing is changed without a usable key; done twice it changes nothing more; a service that would not start with
//! the change gets it taken back; `disable` leaves no file of ours, and what was written before it is sealed first. Only files of
//! our own and the services' own switches are used.
#![forbid(unsafe_code)]

mod change;

use std::fmt::{Display, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::SystemTime;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use nix::unistd::Uid;

use self::change::{Change, ROOT, is_pending, wait_until, write_lines};
use super::PROGRAM;
use crate::cli::follow::{LIST, SEALER, read_list};
use crate::cli::{Outcome, RUNTIME_FOLDER, STATE_FOLDER, Trouble, print, report};
use crate::follow::{JOURNAL_LOG, logs_of};
use crate::host::file::try_lock_exclusive;
use crate::host::process;
use crate::keys::{self, KEY_FOLDER};
use crate::services::{FIFO_FOLDER, SEALED_FOLDER, Service, wanted};
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

/// Services that were disabled by name, one a line: no new key turns them on again.
const DISABLED: &str = "/etc/sealedlog/disabled";
const LOCK: &str = "/run/sealedlog-in/.lock";
/// Who seals.
const USER: &str = "sealedlog";
/// A run without anybody goes on where something changes meanwhile, but not for ever.
const RUNS: usize = 5;
/// What such a change shows in: folders, and files that are read.
const WATCHED: [&str; 7] = [
    KEY_FOLDER,
    "/etc/apache2/sites-enabled",
    "/etc/apache2/conf-enabled",
    "/run/sealedlog-in/apache2",
    "/etc/rsyslog.conf",
    "/etc/syslog-ng/syslog-ng.conf",
    "/etc/postfix/main.cf",
];

/// Which services.
#[derive(Args, Debug)]
struct ServicesArgs {
    /// Services; without any: all that are installed, or sealed
    #[arg(value_name = "SERVICE", value_parser = service())]
    services: Vec<Service>,

    /// Show each change, and make none
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub struct EnableArgs {
    #[command(flatten)]
    asked: ServicesArgs,

    /// As the unit does that watches the keys: without a usable key say what is awaited and end well, and leave out what was
    /// disabled by name
    #[arg(long, conflicts_with = "services")]
    unattended: bool,
}

#[derive(Args, Debug)]
pub struct DisableArgs {
    #[command(flatten)]
    asked: ServicesArgs,

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
    let _lock = begin(args.asked.dry_run)?;
    if let Err((error, hint)) = usable_keys() {
        if args.unattended {
            return print(format_args!("nothing is changed: a public key is awaited in {KEY_FOLDER}\n    {error}\n"));
        } else if !args.asked.dry_run {
            return Err(Trouble::new(format_args!("nothing was changed: {error}"), hint));
        }
        print(format_args!("nothing would be changed yet: {error}\n"))?;
    }
    let change = Change::new(args.asked.dry_run);
    if args.unattended {
        // What comes while systemd has this running already starts no other run.
        for _ in 1..RUNS {
            let before = watched();
            let status = enable_all(args, &change)?;
            if watched() == before {
                return Ok(status);
            }
        }
    }
    enable_all(args, &change)
}

fn enable_all(args: &EnableArgs, change: &Change) -> Outcome {
    let disabled = disabled();
    let asked: Vec<Service> = match args.asked.services.as_slice() {
        [] => Service::ALL.into_iter().filter(|service| service.is_installed(Path::new(ROOT))).collect(),
        asked => asked.to_vec(),
    };
    let (mut status, mut logs, mut followed) = (ExitCode::SUCCESS, Vec::new(), Vec::new());
    for service in asked {
        if args.unattended && disabled.contains(&service) {
            continue;
        }
        let was_followed = !service.enabled_units(Path::new(ROOT)).is_empty();
        match change.enable(service) {
            Ok(new) => {
                logs.extend(new);
                followed.extend(followed_logs(service).into_iter().filter(|_| !was_followed));
            }
            Err(error) => status = report(PROGRAM, Err(error.of(service))),
        }
    }
    if !args.asked.dry_run && !args.unattended {
        let is_left = |service: &Service| !args.asked.services.is_empty() && !args.asked.services.contains(service);
        store_disabled(&disabled.into_iter().filter(is_left).collect::<Vec<_>>())?;
    }
    if change.booted && !args.asked.dry_run {
        show_genesis(&logs, &followed)?;
    }
    Ok(status)
}

/// What would be done differently shows in it.
fn watched() -> Vec<(PathBuf, Option<SystemTime>)> {
    let keys = fs::read_dir(KEY_FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = WATCHED.into_iter().map(PathBuf::from).chain(keys);
    let mut times: Vec<_> = all.map(|path| (fs::metadata(&path).and_then(|metadata| metadata.modified()).ok(), path)).collect();
    times.sort();
    times.into_iter().map(|(time, path)| (path, time)).collect()
}

/// Exit status 2 where some service could not be done as it was asked for; the others are done.
pub fn disable(args: &DisableArgs) -> Outcome {
    let _ = process::harden();
    let _lock = begin(args.asked.dry_run)?;
    let change = Change::new(args.asked.dry_run);
    let asked: Vec<Service> = match args.asked.services.as_slice() {
        // journald first, so that the daemon is not handed what it would write in plain text.
        [] => Service::ALL.into_iter().rev().filter(|&it| it.is_enabled(Path::new(ROOT)) || is_pending(it)).collect(),
        asked => asked.to_vec(),
    };
    if !args.asked.dry_run && !args.unattended {
        // Before the unit that watches sees the first change.
        let mut all = disabled();
        all.extend(&asked);
        all.sort_by_key(|service| service.name());
        all.dedup();
        store_disabled(&all)?;
    }
    let mut status = ExitCode::SUCCESS;
    for service in asked {
        if let Err(error) = change.disable(service) {
            status = report(PROGRAM, Err(error.of(service)));
        }
    }
    if args.unattended
        && let Err(error) = change.let_go(&wanted(Path::new(ROOT)))
    {
        status = report(PROGRAM, Err(Trouble::new(error, "end what writes to it, then try again")));
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
    fs::create_dir_all(FIFO_FOLDER).map_err(|error| trouble(&error))?;
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

/// The logs that our units of this service follow.
fn followed_logs(service: Service) -> Vec<String> {
    let is_enabled = !service.enabled_units(Path::new(ROOT)).is_empty();
    match service {
        Service::Files if is_enabled => {
            read_list(Path::new(LIST)).unwrap_or_default().iter().flat_map(|pattern| logs_of(pattern)).collect()
        }
        Service::Journald if is_enabled => vec![JOURNAL_LOG.to_owned()],
        _ => Vec::new(),
    }
}

/// Writes a first line to each log, so that its stream begins, and shows the fingerprints: by the way that its own lines take, or
/// beside the one that follows it.
fn show_genesis(logs: &[String], followed: &[String]) -> Result<(), Trouble> {
    if logs.is_empty() && followed.is_empty() {
        return Ok(());
    }
    let host = process::host_name().unwrap_or_else(|_| "localhost".to_owned());
    let line = |log: &str| format!("{PROGRAM}: {log} of {host} is sealed from {:.0} on\n", Timestamp::now());
    // Whether they came through shows below.
    for log in logs {
        let _ = write_lines(&Path::new(FIFO_FOLDER).join(log), line(log).as_bytes());
    }
    let _ = seal_lines(&followed.iter().map(|log| format!("{log} {}", line(log))).collect::<String>());
    let names: Vec<PathBuf> =
        logs.iter().chain(followed).map(|log| PathBuf::from(format!("{SEALED_FOLDER}/{log}.%Y-%m-%d"))).collect();
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

/// Seals lines that begin with the name of their log.
fn seal_lines(lines: &str) -> io::Result<()> {
    let program = std::env::current_exe()?.with_file_name(SEALER);
    let mut sealer = Command::new(program);
    sealer.args(["--user", USER]).arg(format!("{SEALED_FOLDER}/{{log}}.%Y-%m-%d"));
    let mut running = sealer.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let written = running.stdin.take().map_or(Ok(()), |mut input| input.write_all(lines.as_bytes()));
    running.wait()?;
    written
}

/// The fingerprints of those that have begun.
fn genesis_of(names: &[PathBuf]) -> Vec<(PathBuf, String)> {
    let folders = StateFolder::all(Path::new(STATE_FOLDER), Path::new(RUNTIME_FOLDER)).unwrap_or_default();
    let begun = folders.iter().filter_map(|folder| {
        let log = folder.config()?.log;
        let state = folder.lock().ok()?.read().ok()??;
        names.contains(&log).then(|| (log, state.genesis.to_string()))
    });
    begun.collect()
}
