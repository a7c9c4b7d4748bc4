//! `sealedlog enable` and `sealedlog disable`: the logs of services are sealed from now on, and no more.
//!
//! Promises: nothing is changed without a usable key; done twice it changes nothing more; a service that would not start with
//! the change gets it taken back; `disable` leaves no file of ours, and what was written before it is sealed first. Only files of
//! our own and the services' own switches are used.
#![forbid(unsafe_code)]

mod change;

use std::fmt::{Display, Write as _};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use nix::unistd::Uid;

use self::change::{Change, ROOT, is_pending, wait_until, write_lines};
use super::PROGRAM;
use crate::cli::{Outcome, Trouble, print, report};
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
const STATE: &str = "/var/lib/sealedlog";
const RUNTIME: &str = "/run/sealedlog";
/// A run without anybody goes on where something changes meanwhile, but not for ever.
const RUNS: usize = 5;
/// What such a change shows in: folders, and files that are read.
const WATCHED: [&str; 6] = [
    KEY_FOLDER,
    "/etc/apache2/sites-enabled",
    "/etc/apache2/conf-enabled",
    "/run/sealedlog-in/apache2",
    "/etc/rsyslog.conf",
    "/etc/syslog-ng/syslog-ng.conf",
];

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
    let change = Change::new(args.dry_run);
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
    let asked: Vec<Service> = match args.services.as_slice() {
        [] => Service::ALL.into_iter().filter(|service| service.is_installed(Path::new(ROOT))).collect(),
        asked => asked.to_vec(),
    };
    let (mut status, mut logs) = (ExitCode::SUCCESS, Vec::new());
    for service in asked {
        if args.unattended && disabled.contains(&service) {
            continue;
        }
        match change.enable(service) {
            Ok(new) => logs.extend(new),
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
    let _lock = begin(args.dry_run)?;
    let change = Change::new(args.dry_run);
    let asked: Vec<Service> = match args.services.as_slice() {
        // journald first, so that the daemon is not handed what it would write in plain text.
        [] => Service::ALL.into_iter().rev().filter(|&it| it.is_enabled(Path::new(ROOT)) || is_pending(it)).collect(),
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
