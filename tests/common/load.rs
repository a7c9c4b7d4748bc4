//! Requests to a server on loopback, each with an id of its own in the query, and the account of who was answered.
//!
//! Nothing is asked twice: a request that got no whole answer is told as such, never repeated in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::tools::{SOON, wait_for};

/// How many requests, over how many connections kept alive at the same time, at what pace.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server's port on 127.0.0.1.
    pub port: u16,
    /// Starts every id of this load.
    pub name: String,
    /// Requests in all.
    pub requests: usize,
    /// Connections that share them.
    pub connections: usize,
    /// Rest of each connection after a request.
    pub pause: Duration,
}

/// What became of a load's requests.
#[derive(Debug, Default)]
pub struct Answers {
    /// Ids whose whole answer came, with status 200.
    pub answered: Vec<String>,
    /// Ids that got none, and why; the server may or may not have logged them.
    pub unanswered: Vec<(String, String)>,
    /// Connections opened: more than [`Load::connections`] where the server closed some.
    pub opened: usize,
}

impl Load {
    /// Sends all requests and returns when the last one is answered or given up.
    pub fn run(&self) -> Answers {
        self.run_while(&AtomicBool::new(false))
    }

    /// As [`Load::run`], and goes on with more requests for as long as it is told to.
    pub fn run_while(&self, more: &AtomicBool) -> Answers {
        let parts: Vec<Answers> = thread::scope(|scope| {
            let running: Vec<_> =
                (0..self.connections).map(|connection| scope.spawn(move || self.one_connection(connection, more))).collect();
            running.into_iter().map(|part| part.join().expect("a client does not panic")).collect()
        });
        let mut all = Answers::default();
        for part in parts {
            all.answered.extend(part.answered);
            all.unanswered.extend(part.unanswered);
            all.opened += part.opened;
        }
        all
    }

    fn one_connection(&self, connection: usize, more: &AtomicBool) -> Answers {
        let mut told = Answers::default();
        let mut open = None;
        let goes_on = |number: &usize| *number < self.requests || more.load(Ordering::Relaxed);
        for number in (connection..).step_by(self.connections).take_while(goes_on) {
            let id = format!("{}-{number}", self.name);
            if open.is_none() {
                open = connect(self.port);
                told.opened += usize::from(open.is_some());
            }
            let Some(stream) = open.as_mut() else {
                told.unanswered.push((id, "no connection".into()));
                continue;
            };
            match ask(stream, &format!("/hello.txt?id={id}")) {
                Ok(answer) => {
                    if answer.status == 200 {
                        told.answered.push(id);
                    } else {
                        told.unanswered.push((id, format!("status {}", answer.status)));
                    }
                    if answer.last {
                        open = None;
                    }
                }
                Err(error) => {
                    told.unanswered.push((id, error.to_string()));
                    open = None;
                }
            }
            thread::sleep(self.pause);
        }
        told
    }
}

impl Answers {
    /// Where `log` differs from "every answered request exactly once, every other at most once, nothing else":
    /// one sentence each, empty when all is well.
    pub fn differences(&self, log: &[u8]) -> Vec<String> {
        let seen = ids(log);
        let mut told = vec![];
        for id in &self.answered {
            match seen.get(id) {
                Some(1) => {}
                Some(times) => told.push(format!("{id} is in the log {times} times")),
                None => told.push(format!("{id} was answered and is not in the log")),
            }
        }
        let unanswered: BTreeSet<&String> = self.unanswered.iter().map(|(id, _)| id).collect();
        let answered: BTreeSet<&String> = self.answered.iter().collect();
        for (id, times) in &seen {
            if unanswered.contains(id) && *times > 1 {
                told.push(format!("{id} is in the log {times} times"));
            } else if !unanswered.contains(id) && !answered.contains(id) {
                told.push(format!("{id} is in the log and was not asked"));
            }
        }
        told
    }

    /// Whether every request that got no answer was cut off with its connection, which was idle for the server when it closed it.
    pub fn only_closed(&self) -> bool {
        let closed = ["closed without an answer", "Connection reset by peer", "Broken pipe"];
        self.unanswered.iter().all(|(_, why)| closed.iter().any(|closed| why.contains(closed)))
    }

    /// Counts the other's requests in.
    pub fn add(&mut self, other: Answers) {
        self.answered.extend(other.answered);
        self.unanswered.extend(other.unanswered);
        self.opened += other.opened;
    }
}

/// The ids in a log's request targets, and how often each is there.
pub fn ids(log: &[u8]) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for line in log.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        // Once a line: a referer might carry an id too.
        let Some((_, rest)) = line.split_once("?id=") else {
            continue;
        };
        let id = rest.split([' ', '"']).next().unwrap_or_default();
        *seen.entry(id.to_owned()).or_insert(0) += 1;
    }
    seen
}

/// A request that the server is still answering: a file too large for the sockets' buffers, of which only the
/// head was read. Its line is logged once [`Slow::finish`] has read the rest.
pub struct Slow {
    id: String,
    stream: BufReader<TcpStream>,
    left: u64,
}

impl Slow {
    /// Asks the server on `port` for `/large.bin` and reads the answer's head.
    pub fn begin(port: u16, id: &str) -> Slow {
        let mut stream = connect(port).expect("the server accepts connections");
        let head = send(&mut stream, &format!("/large.bin?id={id}")).expect("the server answers");
        assert_eq!(head.status, 200, "/large.bin is there");
        Slow { id: id.to_owned(), stream, left: head.length }
    }

    /// Reads the rest, and tells whether all of it came.
    pub fn finish(mut self) -> Answers {
        let mut answers = Answers::default();
        let rest = io::copy(&mut (&mut self.stream).take(self.left), &mut io::sink());
        match rest {
            Ok(got) if got == self.left => answers.answered.push(self.id),
            Ok(got) => {
                let why = format!("{} bytes of the answer are missing", self.left - got);
                answers.unanswered.push((self.id, why));
            }
            Err(error) => answers.unanswered.push((self.id, error.to_string())),
        }
        answers
    }
}

struct Answer {
    status: u16,
    length: u64,
    /// The server closes the connection after this answer.
    last: bool,
}

/// A connection, tried for a while: a server that restarts may refuse for a moment.
fn connect(port: u16) -> Option<BufReader<TcpStream>> {
    let mut open = None;
    wait_for(SOON, || {
        open = TcpStream::connect(("127.0.0.1", port)).ok();
        open.is_some()
    });
    let stream = open?;
    // Longer than any pause a server under test is allowed, short enough to end a hanging test.
    stream.set_read_timeout(Some(SOON)).ok()?;
    stream.set_write_timeout(Some(SOON)).ok()?;
    Some(BufReader::new(stream))
}

fn ask(stream: &mut BufReader<TcpStream>, target: &str) -> io::Result<Answer> {
    let answer = send(stream, target)?;
    let body = io::copy(&mut stream.by_ref().take(answer.length), &mut io::sink())?;
    if body != answer.length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "body cut short"));
    }
    Ok(answer)
}

/// Sends a request and reads the answer's head.
fn send(stream: &mut BufReader<TcpStream>, target: &str) -> io::Result<Answer> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: load/1\r\nReferer: https://www.example.org/\r\n\r\n"
    );
    stream.get_mut().write_all(request.as_bytes())?;
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
    }
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| bad("no HTTP/1.1 status line"))?;
    let mut length = None;
    let mut last = false;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "head cut short"));
        }
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
        last |= field.strip_prefix("connection:").is_some_and(|value| value.contains("close"));
    }
    Ok(Answer { status, length: length.ok_or_else(|| bad("no content length"))?, last })
}
