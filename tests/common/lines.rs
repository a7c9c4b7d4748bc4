//! Log lines to seal: realistic ones from a seed, and those that break careless programs.
//!
//! Uses nothing but the standard library, so that benches can include this file too. All addresses and names are
//! those set aside for documentation (RFC 5737, RFC 3849, RFC 2606).

/// Bytes a line of [`Lines`] has on average, newline included.
pub const AVERAGE: usize = 237;

/// An endless access log in Apache's combined format, about [`AVERAGE`] bytes a line, no two lines equal; the
/// same seed gives the same log.
pub struct Lines {
    random: Random,
    count: u64,
    /// Seconds since 1970, rising as the log goes on.
    time: u64,
}

impl Lines {
    /// The log of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed), count: 0, time: START }
    }

    /// The first `count` lines of the log of `seed`, as one file.
    pub fn file(seed: u64, count: usize) -> Vec<u8> {
        let mut file = Vec::with_capacity(count * (AVERAGE + 8));
        for line in Self::new(seed).take(count) {
            file.extend_from_slice(&line);
        }
        file
    }
}

impl Iterator for Lines {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.count += 1;
        if self.random.below(3) == 0 {
            self.time += self.random.below(3);
        }
        let r = &mut self.random;
        let address = address(r);
        let user = if r.below(40) == 0 { r.pick(USERS) } else { "-" };
        // Every target ends in a number that only this line has: the mixing function maps no two counts to one.
        let target = format!("{}{:016x}", r.pick(TARGETS), mix(self.count));
        let status = r.pick(STATUS);
        let size = 180 + r.below(64) * r.below(900);
        let referer = r.pick(REFERERS);
        let agent = r.pick(AGENTS);
        Some(
            format!(
                "{address} - {user} [{}] \"{} {target} HTTP/1.1\" {status} {size} \"{referer}\" \"{agent}\"\n",
                stamp(self.time),
                r.pick(METHODS),
            )
            .into_bytes(),
        )
    }
}

/// Inputs that careless programs get wrong, each with a name for messages. Every one must come back byte for byte.
pub fn nasty() -> Vec<(&'static str, Vec<u8>)> {
    const MIB: usize = 1 << 20;
    let long = |length: usize| -> Vec<u8> {
        let mut random = Random(length as u64);
        // Any byte but the newline, so that it stays one line.
        (0..length).map(|_| (random.next() >> 56) as u8).map(|byte| if byte == b'\n' { b' ' } else { byte }).collect()
    };
    let with_newline = |mut line: Vec<u8>| {
        line.push(b'\n');
        line
    };
    vec![
        ("empty input", vec![]),
        ("one newline", b"\n".to_vec()),
        ("empty lines", b"\n\n\na\n\n\n".to_vec()),
        ("one byte without newline", b"x".to_vec()),
        ("no final newline", b"first\nsecond without end".to_vec()),
        ("NUL bytes", b"\0\n\0\0\0\na\0b\n".to_vec()),
        ("invalid UTF-8", b"\xff\xfe\n\xc3\x28\n\xed\xa0\x80\n\x80\n".to_vec()),
        ("CRLF", b"one\r\ntwo\r\n\r\n".to_vec()),
        ("carriage returns alone", b"one\rtwo\r\n\r".to_vec()),
        ("terminal escapes", b"\x1b]0;title\x07\x1b[2J\xe2\x80\xae\n".to_vec()),
        ("every byte", (0..=255).collect()),
        ("like a control record", control_look_alikes()),
        ("like a record's head", record_look_alikes()),
        ("a line of 5 MiB", with_newline(long(5 * MIB))),
        ("a line of 5 MiB without newline", long(5 * MIB)),
        ("a line of 1 MiB less one, and newline", with_newline(long(MIB - 1))),
        ("a line of 1 MiB, and newline", with_newline(long(MIB))),
        ("a line of 1 MiB and one, and newline", with_newline(long(MIB + 1))),
    ]
}

/// Lines that read like what the software writes about itself.
fn control_look_alikes() -> Vec<u8> {
    let mut input = b"sealedlog: error: nothing: is wrong\nsealedlog\nsealedlog: hint: -\n".to_vec();
    for kind in ["genesis", "epoch", "segment", "close", "gap", "mark", "recipients"] {
        input.extend_from_slice(
            format!(
                "{{\"v\":1,\"kind\":\"{kind}\",\"stream\":\"{:032x}\",\"writer\":\"{:016x}\",\"time\":\"2026-01-31T12:00:00.000Z\",\"slots\":1,\"lines\":9}}\n",
                0, 0
            )
            .as_bytes(),
        );
    }
    input
}

/// Lines that hold the bytes a reader looks for when it searches the next record.
fn record_look_alikes() -> Vec<u8> {
    let mut input = b"YWdlLWVuY3J5cHRpb24ub3Jn\nage-encryption.org/v1\n-> X25519 \n".to_vec();
    input.extend_from_slice(b"-----BEGIN PGP MESSAGE-----\n");
    // A PKESK version 6 and a version 3, each cut after its head, and a SEIPD version 2.
    input.extend_from_slice(b"\xc1\x6d\x06\x21\x06\n\x85\x02\x0c\x03\n\xd2\x50\x02\x09\x02\x06\n");
    input
}

/// A small generator (SplitMix64): fast, seeded, good enough for made-up logs, and not for secrets.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// SplitMix64's finaliser: a permutation of the 64-bit numbers.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn address(r: &mut Random) -> String {
    let host = 1 + r.below(254);
    match r.below(10) {
        0..=3 => format!("192.0.2.{host}"),
        4..=5 => format!("198.51.100.{host}"),
        6..=7 => format!("203.0.113.{host}"),
        _ => format!("2001:db8:{:x}::{:x}", r.below(65536), r.below(65536)),
    }
}

/// 2026-01-31 00:00:00 UTC.
const START: u64 = 1_769_817_600;

/// Apache's `%t` of a time in seconds since 1970.
fn stamp(time: u64) -> String {
    let (day, second) = (time / 86_400, time % 86_400);
    // Days since 1 March of the year 0, in cycles of 400 years (146,097 days).
    let z = day + 719_468;
    let in_cycle = z % 146_097;
    let year_of_cycle = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let day_of_year = in_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * from_march + 2) / 5 + 1;
    let year = z / 146_097 * 400 + year_of_cycle + u64::from(from_march >= 10);
    format!(
        "{day_of_month:02}/{}/{year}:{:02}:{:02}:{:02} +0000",
        MONTHS[((from_march + 2) % 12) as usize],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const USERS: &[&str] = &["alice", "bob", "carol", "operator"];
const METHODS: &[&str] = &["GET", "GET", "GET", "GET", "GET", "GET", "POST", "POST", "HEAD"];
const STATUS: &[&str] = &["200", "200", "200", "200", "200", "200", "200", "200", "302", "304", "404", "403", "500"];
const TARGETS: &[&str] = &[
    "/?session=",
    "/ocsp/",
    "/crl/delta.crl?n=",
    "/static/css/site.min.css?v=",
    "/static/js/bundle.4f1c.js?v=",
    "/login?next=%2Faccount%2Forders&token=",
    "/account/orders/",
    "/renew/",
    "/api/v1/orders?state=pending&page=2&cursor=",
    "/api/v1/certificates/",
    "/search?q=wildcard+certificate&lang=en&id=",
    "/.well-known/acme-challenge/",
];
const REFERERS: &[&str] = &[
    "-",
    "-",
    "-",
    "-",
    "https://www.example.org/",
    "https://www.example.org/products/certificates?lang=en",
    "https://shop.example.org/account/orders?page=3",
    "https://search.example.org/results?q=tls+certificate",
    "https://www.example.org/help/how-to-renew.html",
];
const AGENTS: &[&str] = &[
    "curl/8.14.1",
    "Apache-HttpClient/4.5.14 (Java/17.0.15)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (compatible; examplebot/2.1; +https://www.example.org/bot.html)",
    "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36",
];
