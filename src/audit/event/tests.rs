//! What holds for every format.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Everything an event says but its message, in the order of its fields; a space in a value is shown as `␣`.
fn told(event: &Event<'_>) -> String {
    let shown =
        |(name, value): (&str, Value<'_>)| (name != "message").then(|| format!("{name}={}", value.to_string().replace(' ', "␣")));
    event.ecs().filter_map(shown).collect::<Vec<_>>().join(" ")
}

fn squeezed(expected: &str) -> String {
    expected.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A line without a context has this form, and says this.
pub fn check(format: Format, line: &str, expected: &str) {
    check_in(&Context::default(), format, line, expected);
}

/// The same with a context.
pub fn check_in(context: &Context, format: Format, line: &str, expected: &str) {
    let event = parse(line.as_bytes(), context);
    assert_eq!((event.format, told(&event)), (format, squeezed(expected)), "{line}");
    let ended = format!("{line}\r\n");
    assert_eq!(told(&parse(ended.as_bytes(), context)), squeezed(expected), "{line} with its newline");
    // However it is torn, it is no panic.
    for end in 0..line.len() {
        parse(&line.as_bytes()[..end], context);
    }
}

/// A message of a program says this besides time, host, program and process, in each form of syslog.
pub fn check_message(program: &str, message: &str, expected: &str) {
    let context = Context { sealed: "2026-01-31T13:00:00Z".parse().ok(), ..Context::default() };
    let name = program.split('(').next().unwrap();
    let (severity, rest) = match expected.strip_prefix("log.level=") {
        Some(rest) => {
            rest.split_once(' ').map_or((format!("log.level={rest} "), ""), |(level, rest)| (format!("log.level={level} "), rest))
        }
        None => (String::new(), expected),
    };
    let all = format!(
        "@timestamp=2026-01-31T12:00:00Z host.name=web1 process.name={name} process.pid=7 {severity}event.dataset=system.syslog {rest}"
    );
    check_in(&context, Format::SyslogTraditional, &format!("Jan 31 12:00:00 web1 {program}[7]: {message}"), &all);
    check_in(&context, Format::SyslogIso, &format!("2026-01-31T13:00:00+01:00 web1 {program}[7]: {message}"), &all);
}

#[test]
fn forms_of_syslog() {
    let context = Context { sealed: "2026-01-31T13:00:00Z".parse().ok(), ..Context::default() };
    let all = "@timestamp=2026-01-31T12:00:00Z host.name=web1 process.name=app process.pid=7";
    for (format, line, expected) in [
        (Format::SyslogTraditional, "Jan 31 12:00:00 web1 app[7]: a b", format!("{all} event.dataset=system.syslog")),
        (
            Format::SyslogTraditional,
            "<38>Jan 31 12:00:00 web1 app[7]: a b",
            format!("{all} log.level=info event.dataset=system.syslog log.syslog.facility.code=4"),
        ),
        (Format::SyslogIso, "2026-01-31T12:00:00.000000Z web1 app[7]: a b", format!("{all} event.dataset=system.syslog")),
        (
            Format::SyslogIso,
            "<13>2026-01-31T12:00:00Z web1 app[7]: a b",
            format!("{all} log.level=notice event.dataset=system.syslog log.syslog.facility.code=1"),
        ),
        (
            Format::Syslog5424,
            "<165>1 2026-01-31T12:00:00Z web1 app 7 ID47 [a@1 b=\"c\\\"]d\" e=\"\"][f] \u{feff}a b",
            format!(
                "{all} log.level=notice event.dataset=system.syslog log.syslog.msgid=ID47 \
                 sealedlog.syslog.structured_data=[a@1␣b=\"c\\\"]d\"␣e=\"\"][f] log.syslog.facility.code=20"
            ),
        ),
        (
            Format::Syslog5424,
            "<165>1 - - - - - - a b",
            "log.level=notice event.dataset=system.syslog log.syslog.facility.code=20".to_owned(),
        ),
        (Format::SyslogTraditional, "<13>app[7]: a b", "process.name=app process.pid=7 log.level=notice event.dataset=system.syslog log.syslog.facility.code=1".to_owned()),
        (
            Format::SyslogTraditional,
            "<13>Jan 31 12:00:00 app[7]: a b",
            "@timestamp=2026-01-31T12:00:00Z process.name=app process.pid=7 log.level=notice event.dataset=system.syslog log.syslog.facility.code=1".to_owned(),
        ),
        (Format::SyslogIso, "2026-01-31T12:00:00.000000Z - (systemd)[7]: a b", "@timestamp=2026-01-31T12:00:00Z process.name=(systemd) process.pid=7 event.dataset=system.syslog".to_owned()),
    ] {
        check_in(&context, format, line, &squeezed(&expected));
        assert_eq!(parse(line.as_bytes(), &context).message, b"a b", "{line}");
    }
    let event = parse(b"Jan 31 12:00:00 web1 last message repeated 3 times\n", &context);
    assert_eq!((event.program, event.message), (None, &b"last message repeated 3 times"[..]));
    let event = parse(b"Jan 31 12:00:00", &context);
    assert_eq!((event.time.is_some(), event.message), (true, &b""[..]));
    for line in ["<192>Jan 31 12:00:00 web1 app: a", "<>x", "<13", "Jan 31 12:0", "Janus", "", "\u{0}\u{1b}[31m"] {
        check_in(&context, Format::Unknown, line, "event.dataset=unknown");
        assert_eq!(parse(line.as_bytes(), &context).message, line.as_bytes());
    }
    // A line of the web server that came by syslog.
    let event =
        parse(b"Jan 31 12:00:00 web1 apache2: 203.0.113.7 - - [31/Jan/2026:11:59:59 +0000] \"GET / HTTP/1.1\" 200 5", &context);
    assert_eq!(event.fields.get(Field::ResponseStatus), Some(&Value::Number(200)));
    assert_eq!(event.time, Some("2026-01-31T11:59:59Z".parse().unwrap()));
}

#[test]
fn a_name_gives_its_values() {
    let event = parse(b"Install: a:all (1), b:all (2)", &Context::default());
    let packages: Vec<_> = event.values(Field::PackageName).map(|value| value.to_string()).collect();
    assert_eq!(packages, ["a", "b"]);
    assert_eq!(event.values(Field::Message).count(), 1);
    assert_eq!(event.values(Field::HostName).count(), 0);
}

#[test]
fn severities_have_their_order_and_names() {
    assert!(Severity::ALL.is_sorted());
    for severity in Severity::ALL {
        assert_eq!(Severity::from_name(severity.name()), Some(severity));
    }
    assert_eq!(Severity::from_name("trace8"), Some(Severity::Debug));
    assert_eq!(Severity::from_name("a long name that is none"), None);
}

/// The shortest of three runs.
fn duration(line: &[u8], context: &Context) -> Duration {
    let run = |_| {
        let start = Instant::now();
        std::hint::black_box(parse(line, context));
        start.elapsed()
    };
    (0..3).map(run).min().unwrap()
}

#[test]
fn hostile_lines_take_time_in_proportion() {
    let context = Context { sealed: "2026-01-31T13:00:00Z".parse().ok(), zone: TimeZone::UTC, log: "apt".to_owned() };
    let syslog = "Jan 31 12:00:00 h ";
    let cases: Vec<(String, &str)> = [
        ("", "["),
        ("", "\\"),
        ("", "\0"),
        ("", "[31/Jan/2026:12:00:00 +0000] "),
        ("h - - [31/Jan/2026:12:00:00 +0000] \"GET /", "\\\""),
        ("h - - [31/Jan/2026:12:00:00 +0000] \"GET /", "\\x80"),
        ("h - - [31/Jan/2026:12:00:00 +0000] \"GET ", "a://"),
        ("[Sat Jan 31 12:00:00 2026] ", "[client 1"),
        ("[Sat Jan 31 12:00:00 2026] ", "[client 1] "),
        ("[Sat Jan 31 12:00:00 2026] [error] ", "AH: ["),
        ("[Sat Jan 31 12:00:00 2026] [error] ", ", referer: "),
        ("<13>1 - - - - - ", "[a b=\"\\"),
        ("<13>1 - - - - - ", "[]"),
        ("<1", "3"),
        ("Install: ", "a:b (c), "),
        ("Install: ", "a:b (c"),
        ("2026-01-31 12:00:00 fail2ban.x [1]: NOTICE ", "["),
        ("2026-01-31 12:00:00 ", "install "),
        ("2026-01-31T12:00:00 ", "a["),
    ]
    .into_iter()
    .map(|(head, part)| (head.to_owned(), part))
    .chain(
        [
            ("sshd[1]: Failed password for ", " from 1.2.3.4 port 5"),
            ("sshd[1]: Connection closed by invalid user ", " 1.2.3.4 port 5"),
            ("sudo: a : ", "b=c ; "),
            ("sudo: a : ", " ; "),
            ("cron: (", ") CMD ("),
            ("postfix/smtp[1]: ABCDEF0: ", "to=<\">, "),
            ("postfix/smtp[1]: ABCDEF0: ", "to=<\"\\\">, "),
            ("postfix/smtp[1]: ABCDEF0: to=<\"", "\\\">, to=<"),
            ("postfix/smtp[1]: ABCDEF0: ", "to=<"),
            ("postfix/smtp[1]: ABCDEF0: ", "a=, "),
            ("postfix/smtpd[1]: NOQUEUE: reject: RCPT from ", "x[1]: ; from="),
            ("kernel: IN=a OUT= ", "SRC=1.2.3.4 "),
            ("su: ", "pam_(a): "),
            ("su(pam_unix): authentication failure; ", "ruser=a rhost=b "),
            ("x: message repeated 2 times: [ ", "message repeated 2 times: [ "),
            ("systemd[1]: ", "a.service: "),
        ]
        .map(|(head, part)| (format!("{syslog}{head}"), part)),
    )
    .collect();
    for (head, part) in cases {
        let line = |length: usize| [head.as_bytes(), &part.as_bytes().repeat(length / part.len())].concat();
        let short = duration(&line(1 << 18), &context);
        let long = duration(&line(1 << 20), &context);
        // Four times as long; sixteen times if it were the square. Short times say nothing.
        assert!(long < short * 10 + Duration::from_millis(20), "{head}{part}…: {short:?}, then {long:?}");
    }
}

#[test]
fn ten_mebibytes_in_a_line() {
    let start = Instant::now();
    for part in ["a:b (c), ", "\u{1b}[31m", "\u{0}", "é\\x\"", "=", "[", "<"] {
        for head in
            ["", "Install: ", "Jan 31 12:00:00 h postfix/x[1]: ABCDEF0: ", "1.2.3.4 - - [31/Jan/2026:12:00:00 +0000] \"GET /"]
        {
            let line = [head.as_bytes(), &part.as_bytes().repeat((10 << 20) / part.len())].concat();
            let event = parse(&line, &Context::default());
            assert!(event.fields.len() <= 1 << 14);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Words as a format's head may lead to every parser.
const HEADS: [&str; 16] = [
    "",
    "<13>",
    "<13>1 2026-01-31T12:00:00Z h a 1 - ",
    "Jan 31 12:00:00 h sshd[1]: ",
    "Jan 31 12:00:00 h sshd[1]: Failed password for ",
    "Jan 31 12:00:00 h sudo: ",
    "Jan 31 12:00:00 h su: ",
    "Jan 31 12:00:00 h CRON[1]: (",
    "Jan 31 12:00:00 h kernel: IN= OUT= ",
    "Jan 31 12:00:00 h systemd[1]: ",
    "Jan 31 12:00:00 h postfix/smtp[1]: ABCDEF0: to=<",
    "Jan 31 12:00:00 h x: pam_unix(",
    "2026-01-31 12:00:00 ",
    "2026-01-31 12:00:00 fail2ban.x [",
    "[Sat Jan 31 12:00:00 2026] [",
    "h - - [31/Jan/2026:12:00:00 +0000] \"",
];

proptest! {
    #[test]
    fn any_bytes_give_an_event(head in 0..HEADS.len(), tail in vec(any::<u8>(), 0..200), year in 1..9999i16) {
        let sealed = jiff::civil::date(year, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let line = [HEADS[head].as_bytes(), &tail].concat();
        let event = parse(&line, &Context { sealed: Some(sealed), ..Context::default() });
        prop_assert!(event.ecs().all(|(name, _)| Field::named(name).count() == 1));
        // The message is a piece of the line, to its end.
        let end = line.strip_suffix(b"\n").unwrap_or(&line);
        prop_assert!(end.strip_suffix(b"\r").unwrap_or(end).ends_with(event.message));
    }

    #[test]
    fn words_of_logs_in_any_order(words in vec(prop::sample::select(vec![
        "from ", " port ", "1.2.3.4", "::1", "[", "]", "<", ">", "\"", "\\", "=", ", ", " ; ", ": ", "to=<", "status=", "COMMAND=", "user ",
        "invalid user ", " by ", "(uid=", "(", ")", "client=", "relay=", "Jan 31 12:00:00", "2026-01-31", "AH00001", "9", " ", "é", "\n",
    ]), 0..30), head in 0..HEADS.len()) {
        let line = HEADS[head].to_owned() + &words.concat();
        let event = parse(line.as_bytes(), &Context::default());
        prop_assert!(event.ecs().count() > 0);
    }

    #[test]
    fn the_fields_of_a_request_come_back(
        ip in any::<std::net::IpAddr>(),
        user in "[a-z][a-z \\[\\]äö]{0,10}[a-z]",
        second in 0..4_000_000_000i64,
        path in "/[!-~]{0,20}",
        status in 100..600i64,
        bytes in 0..i64::MAX / 100,
        referrer in "[ -~äöü€]{2,20}",
        agent in "[ -~äöü€]{2,20}",
    ) {
        prop_assume!(!path.contains(['?', '#']));
        let time = Timestamp::from_second(second).unwrap();
        let line = format!(
            "{ip} - {user} [{}] \"GET {} HTTP/1.1\" {status} {bytes} \"{}\" \"{}\"\n",
            time.strftime("%d/%b/%Y:%H:%M:%S +0000"), escaped(&path), escaped(&referrer), escaped(&agent),
        );
        let event = parse(line.as_bytes(), &Context::default());
        let expected = [
            ("source.ip", ip.to_string()),
            ("user.name", user),
            ("http.request.method", "GET".to_owned()),
            ("url.original", path.clone()),
            ("url.path", path),
            ("http.version", "1.1".to_owned()),
            ("http.response.status_code", status.to_string()),
            ("http.response.body.bytes", bytes.to_string()),
            ("http.request.referrer", referrer),
            ("user_agent.original", agent),
        ];
        let found: Vec<_> = event.fields.iter().map(|(field, value)| (field.name(), value.to_string())).collect();
        prop_assert_eq!((event.time, event.format, found), (Some(time), Format::ApacheCombined, expected.to_vec()));
    }

    #[test]
    fn the_fields_of_a_login_come_back(
        ip in any::<std::net::IpAddr>(), port in any::<u16>(), user in "[ -~]{0,10}[!-~]", host in "[a-z][a-z0-9.-]{0,10}", pid in any::<u32>(),
    ) {
        let line = format!("2026-01-31T12:00:00+00:00 {host} sshd[{pid}]: Failed password for invalid user {user} from {ip} port {port} ssh2");
        let event = parse(line.as_bytes(), &Context::default());
        prop_assert_eq!((event.host.as_deref(), event.pid), (Some(&*host), Some(pid)));
        prop_assert_eq!(event.fields.get(Field::SourceIp), Some(&Value::Ip(ip)));
        prop_assert_eq!(event.fields.get(Field::SourcePort), Some(&Value::Number(port.into())));
        if user != "-" {
            prop_assert_eq!(event.fields.get(Field::UserName).map(Value::to_string), Some(user));
        }
    }

    #[test]
    fn the_fields_of_a_delivery_come_back(to in "[a-z\">, =]{0,12}@example\\.net", seconds in 0..100_000i64, response in "[ -~]{1,30}") {
        prop_assume!(to.matches('"').count() % 2 == 0 && !to.split('"').step_by(2).any(|plain| plain.contains('>')));
        let line = format!(
            "Jan 31 12:00:00 h postfix/smtp[7]: 3F2A1B40C7: to=<{to}>, relay=none, delay={seconds}.5, dsn=4.4.1, status=deferred ({response})"
        );
        let event = parse(line.as_bytes(), &Context::default());
        let text = |field| event.fields.get(field).map(Value::to_string);
        prop_assert_eq!(text(Field::EmailTo), Some(to));
        prop_assert_eq!(event.fields.get(Field::Duration), Some(&Value::Number(seconds * 1_000_000_000 + 500_000_000)));
        prop_assert_eq!(text(Field::PostfixStatus), Some("deferred".to_owned()));
        if response != "-" {
            prop_assert_eq!(text(Field::PostfixResponse), Some(response));
        }
    }
}
