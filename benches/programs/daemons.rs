//! Daemons that log through a filter of ours, and as they do without: syslog-ng, rsyslog and Apache as they are installed.
//!
//! Promises: the daemon's source and the text of its lines are the same both times, and all lines arrive.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sealedlog::host::file::set_pipe_size;

use super::apache::{Apache, quoted};
use super::lines::Lines;
use super::place::{Keys, Place, fresh_state, is_installed, output};
use super::run::{Row, Run, RunOnce, Why};
use super::steady::settled;
use super::syslog::{children, free_port, is_filter, libraries};
use super::{ANSWER, APACHE, AUDIT, STORE, SYSLOG};

pub const SYSLOG_NG_SEALED: &str = "syslog-ng, program(sealedlog-syslog)";
pub const SYSLOG_NG_PLAIN: &str = "syslog-ng, file()";
pub const RSYSLOG_SEALED: &str = "rsyslog, omprog sealedlog-syslog";
pub const RSYSLOG_ANSWERS: &str = "rsyslog, omprog of a program that stores";
pub const RSYSLOG_UNCONFIRMED: &str = "rsyslog, omprog, without answers";
pub const RSYSLOG_STORES: &str = "rsyslog, omprog, without answers, of a program that stores";
pub const RSYSLOG_PLAIN: &str = "rsyslog, omfile";
pub const APACHE_SEALED: &str = "Apache, sealedlog-apache (requests)";
pub const APACHE_ROTATELOGS: &str = "Apache, rotatelogs (requests)";

const LONG: Duration = Duration::from_secs(20);
/// The lines are stored when the files' length rests for so long.
const REST: Duration = Duration::from_millis(400);
/// What the pipe from rsyslog holds without answers, in bytes.
const PIPE_SIZE: usize = 512 << 10;
const LOOK: Duration = Duration::from_millis(1);
/// Connections of `ab`.
const CONNECTIONS: &str = "8";

/// The rows of this module: so many lines for the syslog daemons, so many requests for Apache.
pub fn rows<'a>(place: &'a Place, keys: &'a Keys, lines: u64, requests: u64) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for (name, kind, way) in [
        (SYSLOG_NG_SEALED, Kind::SyslogNg, Way::Sealed),
        (SYSLOG_NG_PLAIN, Kind::SyslogNg, Way::Plain),
        (RSYSLOG_SEALED, Kind::Rsyslog, Way::Sealed),
        (RSYSLOG_ANSWERS, Kind::Rsyslog, Way::Answered),
        (RSYSLOG_UNCONFIRMED, Kind::Rsyslog, Way::Unconfirmed),
        (RSYSLOG_STORES, Kind::Rsyslog, Way::Stored),
        (RSYSLOG_PLAIN, Kind::Rsyslog, Way::Plain),
    ] {
        let run: RunOnce<'a> = Box::new(move || syslog(place, keys, kind, way, lines));
        let there = kind.root().join(kind.program()).is_file();
        let runs = if there { Ok(Vec::new()) } else { Err(Why::Missing(kind.program().to_owned())) };
        rows.push(Row { name, lines, run, runs });
    }
    for (name, sealed) in [(APACHE_SEALED, true), (APACHE_ROTATELOGS, false)] {
        let run: RunOnce<'a> = Box::new(move || apache(place, keys, sealed, requests));
        let missing = ["ab", "rotatelogs", "apache2"].into_iter().find(|program| !is_installed(program));
        let runs = missing.map_or(Ok(Vec::new()), |program| Err(Why::Missing(program.to_owned())));
        rows.push(Row { name, lines: requests, run, runs });
    }
    rows
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    SyslogNg,
    Rsyslog,
}

impl Kind {
    /// Where `scripts/setup.sh` unpacks it.
    fn root(self) -> PathBuf {
        let name = if self == Self::SyslogNg { "syslog-ng" } else { "rsyslog" };
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/daemons").join(name)
    }

    fn program(self) -> &'static str {
        if self == Self::SyslogNg { "usr/sbin/syslog-ng" } else { "usr/sbin/rsyslogd" }
    }

    /// What is shipped for it, and stands in the repository.
    fn snippet(self) -> &'static str {
        if self == Self::SyslogNg { "syslog-ng/sealedlog.conf" } else { "rsyslog/sealedlog.conf" }
    }

    /// Plain text to a file, with the template, the queue and the flow control of the snippet.
    fn plain(self, file: &Path) -> String {
        let file = file.display();
        match self {
            Self::SyslogNg => format!(
                "destination d_plain {{ file(\"{file}\" template(\"$HOST_FROM/$FACILITY $(replace-delimiter \\\"\\\\n\\\" \\\" \\\" \
                 \\\"$ISODATE $HOST $MSGHDR$MSG\\\")\\n\")); }};\n\
                 log {{ source(s_src); destination(d_plain); flags(flow-control); }};\n"
            ),
            Self::Rsyslog => format!(
                "main_queue(queue.workerThreads=\"1\" queue.timeoutShutdown=\"10000\")\n\
                 if $fromhost-ip == \"127.0.0.1\" then {{ set $.sealedlog = $$myhostname; }} else {{ set $.sealedlog = $fromhost-ip; }}\n\
                 template(name=\"plain\" type=\"string\" string=\"%$.sealedlog%/%syslogfacility-text% %timestamp:::date-rfc3339% \
                 %hostname:::escape-cc% %syslogtag:::escape-cc%%msg:::sp-if-no-1st-sp%%msg:::escape-cc%\\n\")\n\
                 action(type=\"omfile\" file=\"{file}\" template=\"plain\")\n"
            ),
        }
    }

    fn configuration(self, folder: &Path, port: u16, destination: &str) -> String {
        match self {
            Self::SyslogNg => format!(
                "@version: 3.38\n\
                 options {{ chain_hostnames(off); flush_lines(0); use_dns(no); use_fqdn(no); dns_cache(no); stats_freq(0); keep_hostname(yes); }};\n\
                 source s_src {{ network(transport(tcp) ip(127.0.0.1) port({port})); }};\n{destination}"
            ),
            Self::Rsyslog => format!(
                "global(workDirectory=\"{}\")\nmodule(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
                 {destination}",
                folder.display()
            ),
        }
    }

    fn command(self, folder: &Path) -> anyhow::Result<Command> {
        let root = self.root();
        let mut command = Command::new(root.join(self.program()));
        if self == Self::SyslogNg {
            let versions = fs::read_dir(root.join("usr/lib/syslog-ng"))?.flatten().map(|entry| entry.path());
            let modules = versions.into_iter().find(|path| path.is_dir()).context("syslog-ng has no modules")?;
            command.args(["-F", "--no-caps", "-f"]).arg(folder.join("conf")).arg("-R").arg(folder.join("persist"));
            command.arg("-p").arg(folder.join("pid")).arg("-c").arg(folder.join("control")).arg("--module-path").arg(modules);
            command.env("LD_LIBRARY_PATH", libraries(&root, &["usr/lib/syslog-ng"]));
        } else {
            let modules = libraries(&root, &[]).split(':').map(|lib| format!("{lib}/rsyslog")).collect::<Vec<_>>().join(":");
            command.args(["-n", "-f"]).arg(folder.join("conf")).arg("-i").arg(folder.join("pid")).args(["-M", &modules]);
            command.env("LD_LIBRARY_PATH", libraries(&root, &[]));
        }
        // It sends signals to its group.
        command.stdin(Stdio::null()).stdout(Stdio::null()).env("LC_ALL", "C").env("TZ", "UTC").process_group(0);
        command.stderr(File::create(folder.join("stderr"))?);
        Ok(command)
    }
}

/// What stores the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The snippet that is shipped.
    Sealed,
    /// As the snippet says for who does without answers.
    Unconfirmed,
    /// The same with [`store`] as its program.
    Stored,
    /// The snippet with [`answer`] as its program.
    Answered,
    /// The daemon itself, in plain text.
    Plain,
}

impl Way {
    /// Changes a snippet.
    fn change(self, snippet: &str, sealing: &str, store: &Path) -> anyhow::Result<String> {
        let mut snippet = snippet.to_owned();
        let mut replace = |from: &str, to: &str| -> anyhow::Result<()> {
            ensure!(snippet.contains(from), "the snippet has no {from}");
            snippet = snippet.replace(from, to);
            Ok(())
        };
        // The options behind it are nothing to it.
        let own = |option: &str| std::env::current_exe().map(|own| format!("{} {option} {}", own.display(), store.display()));
        match self {
            Self::Unconfirmed | Self::Stored => {
                let program = if self == Self::Stored { own(STORE)? } else { format!("{sealing} --pipe-size {PIPE_SIZE}") };
                let shipped = "binary=\"/usr/bin/sealedlog-syslog --confirm-messages --use-transactions ";
                replace(shipped, &format!("binary=\"{program} "))?;
                replace("confirmMessages=\"on\" useTransactions=\"on\"", "confirmMessages=\"off\" useTransactions=\"off\"")?;
            }
            Self::Answered => replace("binary=\"/usr/bin/sealedlog-syslog ", &format!("binary=\"{} ", own(ANSWER)?))?,
            Self::Sealed | Self::Plain => replace("/usr/bin/sealedlog-syslog ", &format!("{sealing} "))?,
        }
        Ok(snippet)
    }
}

/// The least that a program behind `omprog` must do so that nothing is lost: each line is written before it is answered, and
/// brought to the disk before the end of its transaction is.
pub fn answer(store: &str) -> anyhow::Result<()> {
    let mut store = File::options().append(true).create(true).open(store)?;
    let (mut input, mut line) = (BufReader::new(io::stdin().lock()), Vec::new());
    // Without the buffer of std's.
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    out.write_all(b"OK\n")?;
    while input.read_until(b'\n', &mut line)? > 0 {
        match &line[..] {
            b"BEGIN TRANSACTION\n" => out.write_all(b"OK\n")?,
            b"COMMIT TRANSACTION\n" => store.sync_data().and_then(|()| out.write_all(b"OK\n"))?,
            _ => store.write_all(&line).and_then(|()| out.write_all(b"DEFER_COMMIT\n"))?,
        }
        line.clear();
    }
    Ok(())
}

/// The least that a program behind `omprog` does that is not to answer: what comes is written as it is.
pub fn store(store: &str) -> anyhow::Result<()> {
    let mut store = File::options().append(true).create(true).open(store)?;
    let mut input = io::stdin().lock();
    set_pipe_size(&input, PIPE_SIZE as u32)?;
    let mut bytes = vec![0; PIPE_SIZE];
    loop {
        match input.read(&mut bytes)? {
            0 => return Ok(()),
            len => store.write_all(&bytes[..len])?,
        }
    }
}

/// Lines over TCP into a daemon that is running, until the last one is stored.
fn syslog(place: &Place, keys: &Keys, kind: Kind, way: Way, lines: u64) -> anyhow::Result<Run> {
    let folder = place.path("daemon");
    let _ = fs::remove_dir_all(&folder);
    let logs = folder.join("logs");
    fs::create_dir_all(&logs)?;
    let plain = logs.join("plain");
    let destination = if way == Way::Plain {
        kind.plain(&plain)
    } else {
        let [state, runtime] = fresh_state(place);
        let options = format!("--keys {} --state {} --runtime {}", keys.rfc9580.display(), state.display(), runtime.display());
        let snippet = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(kind.snippet()))?;
        let snippet = way.change(&snippet, &format!("{SYSLOG} {options}"), &plain)?;
        let snippet = snippet.replace("/var/log/sealedlog-", &format!("{}/warnings-", folder.display()));
        snippet.replace("/var/log/sealed/", &format!("{}/", logs.display()))
    };
    let port = free_port();
    fs::write(folder.join("conf"), kind.configuration(&folder, port, &destination))?;
    let mut daemon = Daemon(kind.command(&folder)?.spawn()?);
    let told = || fs::read_to_string(folder.join("stderr")).unwrap_or_default();
    let mut connection = daemon.connect(port).with_context(told)?;
    let mut messages = Vec::new();
    for line in Lines::new(1).take(usize::try_from(lines)?) {
        messages.extend_from_slice(b"<134>Jan 31 00:00:00 www access: ");
        messages.extend_from_slice(&line);
    }
    let start = Instant::now();
    let wall = thread::scope(|scope| {
        let sender = scope.spawn(move || connection.write_all(&messages).and_then(|()| connection.shutdown(Shutdown::Write)));
        let wall = settled(start, || length_below(&logs), REST, LOOK);
        sender.join().expect("the sender does not panic").map(|()| wall)
    })?;
    let wall = wall.with_context(|| format!("nothing is stored: {}", told()))?.as_secs_f64();
    daemon.stop()?;
    let found = if plain.exists() {
        fs::read(&plain)?
    } else {
        let mut open = Command::new(AUDIT);
        output(open.arg("open").arg(&logs).arg("--key").arg(&keys.rfc9580_secret).arg("--trust-first"))?
    };
    let found = memchr::memmem::find_iter(&found, b" access: ").count() as u64;
    ensure!(found == lines, "{found} lines are stored of {lines}: {}", told());
    Ok(Run { wall, cpu: 0.0, memory: 0, over: None })
}

fn length_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(file) if file.is_dir() => length_below(&entry.path()),
            Ok(file) => file.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A daemon that ends with this value.
struct Daemon(Child);

impl Daemon {
    fn connect(&mut self, port: u16) -> anyhow::Result<TcpStream> {
        let start = Instant::now();
        while start.elapsed() < LONG {
            if let Ok(connection) = TcpStream::connect(("127.0.0.1", port)) {
                return Ok(connection);
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("the daemon ended: {status}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the daemon does not listen")
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let filters = children(self.0.id());
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM)?;
        let start = Instant::now();
        while start.elapsed() < LONG {
            if self.0.try_wait()?.is_some() && !filters.iter().any(|filter| is_filter(*filter)) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("the daemon does not end")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// `ab` on a small file, connections kept, as fast as it goes.
fn apache(place: &Place, keys: &Keys, sealed: bool, requests: u64) -> anyhow::Result<Run> {
    let folder = place.path("apache");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder)?;
    let log = folder.join("log");
    let [state, runtime] = fresh_state(place);
    let program = if sealed {
        let (keys, state, runtime) = (keys.rfc9580.display(), state.display(), runtime.display());
        format!("|{APACHE} --keys {keys} --state {state} --runtime {runtime} {} 86400", log.display())
    } else {
        format!("|/usr/bin/rotatelogs {} 86400", log.display())
    };
    let server = Apache::start(&[format!("CustomLog {} combined", quoted(&program))], &[]);
    let url = format!("http://127.0.0.1:{}/hello.txt", server.port);
    let told = output(Command::new("ab").args(["-q", "-k", "-c", CONNECTIONS, "-n", &requests.to_string(), &url]))?;
    server.stop();
    let told = String::from_utf8_lossy(&told).into_owned();
    let value = |name: &str| -> Option<f64> {
        told.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    // A worker that Apache retires closes its connections; ab counts the request on its way as failed.
    let failed = value("Failed requests:").context("ab said something else")?;
    ensure!(failed <= requests as f64 / 10_000.0 && value("Non-2xx responses:").is_none(), "{failed} requests failed");
    ensure!(length_below(&folder) > requests * 60, "the log is too short");
    let wall = value("Time taken for tests:").context("ab said something else")?;
    Ok(Run { wall, cpu: 0.0, memory: 0, over: None })
}
