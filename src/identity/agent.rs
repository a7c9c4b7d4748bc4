//! Secret keys that gpg-agent has, on OpenPGP cards too: used where they are, never seen here.
//!
//! What is spoken with it is Assuan, a line protocol, and of the agent's commands SETKEY, SETKEYDESC and PKDECRYPT alone. gpg says
//! which keys there are and gives their public halves.
//!
//! Promises: a passphrase or PIN goes from the pinentry to the agent and never comes here; once the agent refused (no pinentry, a
//! PIN that nobody gave, no card) it is not asked again, and that is told. A record that does not open is no refusal.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use sequoia_openpgp as openpgp;
use thiserror::Error;
use zeroize::Zeroizing;

use openpgp::cert::prelude::*;
use openpgp::crypto::mem::Protected;
use openpgp::crypto::mpi::{Ciphertext, ProtectedMPI, PublicKey};
use openpgp::crypto::{Decryptor, SessionKey, ecdh};
use openpgp::packet::{Key, key};
use openpgp::parse::Parse;

/// So much of a ciphertext goes into one line, of which Assuan allows 1000 bytes.
const CHUNK: usize = 300;
/// No answer of the agent is longer.
const MAX_ANSWER: usize = 64 * 1024;
/// Codes of libgpg-error that mean that the agent cannot use the key now, whatever the record is: bad passphrase, no secret key,
/// timeout, no agent, no pinentry, pinentry, bad PIN, cancelled, card removed, no card, not confirmed, cancelled for good,
/// forbidden, pinentry gone.
const REFUSALS: [u32; 14] = [11, 17, 62, 77, 85, 86, 87, 99, 110, 112, 114, 198, 251, 16383];

type Public = Key<key::PublicParts, key::UnspecifiedRole>;

/// Why gpg-agent's keys cannot be had or used.
#[derive(Debug, Error, Clone)]
#[non_exhaustive]
pub enum AgentError {
    /// One of GnuPG's programs does not run, or failed.
    #[error("cannot ask GnuPG for its keys: {program}: {error}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it said.
        error: String,
    },
    /// The agent's socket.
    #[error("cannot reach gpg-agent: {socket}: {error}")]
    Unreachable {
        /// Where it should be.
        socket: PathBuf,
        /// What the operating system said.
        error: String,
    },
    /// There is no secret key for encryption.
    #[error("gpg-agent has no secret key that can decrypt")]
    NoKey,
    /// It has the key and does not use it.
    #[error("gpg-agent does not use its key {key}: {why}")]
    Refused {
        /// Fingerprint of the key.
        key: String,
        /// What the agent said.
        why: String,
    },
}

impl AgentError {
    /// What the auditor can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Program { .. } => "install GnuPG, and check its home folder ($GNUPGHOME)",
            Self::Unreachable { .. } => "start it: gpgconf --launch gpg-agent",
            Self::NoKey => "import the key or insert its card: gpg --card-status; gpg --list-secret-keys shows what there is",
            Self::Refused { .. } => {
                "insert the card, give the passphrase or PIN when the pinentry asks, and set GPG_TTY=$(tty) where it asks on the terminal"
            }
        }
    }
}

/// The agent of this run: its keys take turns, so that no two pinentries come at once.
#[derive(Debug)]
struct Agent {
    socket: PathBuf,
    refused: Mutex<Option<AgentError>>,
}

/// A key that the agent has.
#[derive(Clone, Debug)]
pub struct AgentKey {
    public: Public,
    keygrip: String,
    agent: Arc<Agent>,
}

/// All keys for encryption that the agent has.
pub fn keys() -> Result<Vec<AgentKey>, AgentError> {
    // It may run already.
    gnupg("gpgconf", &["--launch", "gpg-agent"])?;
    let socket = gnupg("gpgconf", &["--list-dirs", "agent-socket"])?;
    let socket = PathBuf::from(String::from_utf8_lossy(&unescape(socket.trim_ascii_end())).into_owned());
    let agent = Arc::new(Agent { socket, refused: Mutex::default() });
    Conversation::begin(&agent.socket).map_err(|error| agent.unreachable(&error))?;
    let listed = gnupg("gpg", &["--batch", "--no-tty", "--with-colons", "--with-keygrip", "--list-secret-keys"])?;
    let keygrips = keygrips(&String::from_utf8_lossy(&listed));
    let mut export = vec!["--batch", "--no-tty", "--export"];
    export.extend(keygrips.keys().map(String::as_str));
    if keygrips.is_empty() {
        return Err(AgentError::NoKey);
    }
    let certs = gnupg("gpg", &export)?;
    let unreadable = |error: openpgp::anyhow::Error| AgentError::Program { program: "gpg", error: error.to_string() };
    let certs: Vec<Cert> = CertParser::from_bytes(&certs).map_err(unreadable)?.filter_map(Result::ok).collect();
    let keys = certs.iter().flat_map(|cert| cert.keys()).map(|key| key.key().clone().role_into_unspecified());
    let keys = keys.filter(|key| key.pk_algo().for_encryption()).filter_map(|public| {
        let keygrip = keygrips.get(&public.fingerprint().to_hex())?.clone();
        Some(AgentKey { public, keygrip, agent: Arc::clone(&agent) })
    });
    let keys: Vec<_> = keys.collect();
    if keys.is_empty() { Err(AgentError::NoKey) } else { Ok(keys) }
}

/// What one of GnuPG's programs prints.
fn gnupg(program: &'static str, arguments: &[&str]) -> Result<Vec<u8>, AgentError> {
    let failed = |error: String| AgentError::Program { program, error };
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    // One line of what may be many, and nothing that moves a cursor.
    let told = told.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect::<String>();
    Err(failed(if told.is_empty() { output.status.to_string() } else { told }))
}

/// Keygrips by fingerprint, of the keys whose secret half is there or on a card (doc/DETAILS of GnuPG).
fn keygrips(listing: &str) -> HashMap<String, String> {
    let (mut keygrips, mut fingerprint) = (HashMap::new(), None);
    for line in listing.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        match (fields[0], fields.get(9)) {
            // A `#` says that the secret half is elsewhere.
            ("sec" | "ssb", _) => fingerprint = (fields.get(14) != Some(&"#")).then(String::new),
            ("fpr", Some(value)) => fingerprint = fingerprint.map(|_| (*value).to_owned()),
            ("grp", Some(value)) => {
                if let Some(fingerprint) = fingerprint.take() {
                    keygrips.insert(fingerprint, (*value).to_owned());
                }
            }
            _ => {}
        }
    }
    keygrips
}

impl Agent {
    fn unreachable(&self, error: &io::Error) -> AgentError {
        AgentError::Unreachable { socket: self.socket.clone(), error: error.to_string() }
    }

    fn turn(&self) -> MutexGuard<'_, Option<AgentError>> {
        self.refused.lock().expect("no thread panics while it holds the lock")
    }
}

impl AgentKey {
    /// The public half.
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// Why the agent was not asked any more.
    pub fn refused(&self) -> Option<AgentError> {
        self.agent.turn().clone()
    }
}

impl Decryptor for AgentKey {
    fn public(&self) -> &Public {
        &self.public
    }

    fn decrypt(&mut self, ciphertext: &Ciphertext, plaintext_len: Option<usize>) -> openpgp::Result<SessionKey> {
        let mut refused = self.agent.turn();
        if let Some(error) = &*refused {
            return Err(error.clone().into());
        }
        let answer = Conversation::begin(&self.agent.socket).and_then(|mut agent| agent.decrypt(self, ciphertext));
        match answer {
            Ok(Ok(answer)) => self.finish(&answer, ciphertext, plaintext_len),
            Ok(Err(Said { code, text })) => {
                let error = AgentError::Refused { key: self.public.fingerprint().to_hex(), why: text };
                if REFUSALS.contains(&(code & 0xffff)) {
                    *refused = Some(error.clone());
                }
                Err(error.into())
            }
            Err(error) => {
                let error = self.agent.unreachable(&error);
                *refused = Some(error.clone());
                Err(error.into())
            }
        }
    }
}

impl AgentKey {
    /// From what the agent computed to the session key.
    fn finish(&self, answer: &Answer, ciphertext: &Ciphertext, plaintext_len: Option<usize>) -> openpgp::Result<SessionKey> {
        let malformed = || openpgp::Error::MalformedMessage("not a session key".into());
        let value = value(&answer.data).ok_or_else(malformed)?;
        match self.public.mpis() {
            PublicKey::RSA { .. } if answer.padded => {
                // PKCS #1: 0, 2, bytes that are not 0, 0. The first 0 may be gone.
                let value = value.strip_prefix(&[0]).unwrap_or(value).strip_prefix(&[2]).ok_or_else(malformed)?;
                let end = memchr::memchr(0, value).ok_or_else(malformed)?;
                Ok(value[end + 1..].into())
            }
            PublicKey::RSA { .. } => Ok(value.into()),
            PublicKey::ECDH { curve, .. } => {
                let point = ProtectedMPI::from(Protected::from(value));
                let shared = Protected::from(point.decode_point(curve)?.0);
                ecdh::decrypt_unwrap(&self.public, &shared, ciphertext, plaintext_len)
            }
            _ => Err(malformed().into()),
        }
    }
}

/// `(5:valueN:…)`, as the agent answers PKDECRYPT.
fn value(data: &[u8]) -> Option<&[u8]> {
    let rest = data.strip_prefix(b"(5:value")?;
    let colon = memchr::memchr(b':', rest)?;
    let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
    rest.get(colon + 1..)?.get(..length).filter(|value| !value.is_empty())
}

/// The ciphertext as an S-expression, as PKDECRYPT wants it.
fn expression(ciphertext: &Ciphertext) -> Option<Vec<u8>> {
    let atom = |name: &str, value: &[u8]| [format!("(1:{name}{}:", value.len()).as_bytes(), value, b")"].concat();
    let (kind, atoms) = match ciphertext {
        Ciphertext::RSA { c } => ("3:rsa", atom("a", c.value())),
        Ciphertext::ECDH { e, key } => ("4:ecdh", [atom("s", key), atom("e", e.value())].concat()),
        _ => return None,
    };
    Some([format!("(7:enc-val({kind}").as_bytes(), &atoms, b"))"].concat())
}

/// What the agent said instead of an answer.
struct Said {
    code: u32,
    text: String,
}

struct Answer {
    data: Zeroizing<Vec<u8>>,
    /// Whether RSA's padding is still there: a card takes it off.
    padded: bool,
}

/// One connection to the agent.
struct Conversation {
    input: BufReader<UnixStream>,
    output: UnixStream,
}

impl Conversation {
    fn begin(socket: &std::path::Path) -> io::Result<Self> {
        let output = UnixStream::connect(socket)?;
        let mut conversation = Self { input: BufReader::new(output.try_clone()?), output };
        let greeting = conversation.line()?;
        if greeting.starts_with(b"OK") { Ok(conversation) } else { Err(io::Error::other("it does not greet")) }
    }

    fn line(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        // Room for all of it, so that growing leaves no copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(1024));
        if self.input.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.pop();
        Ok(line)
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.output.write_all(&[line, b"\n"].concat())
    }

    /// A command whose answer is yes or no.
    fn ask(&mut self, command: &str) -> io::Result<Result<(), Said>> {
        self.send(command.as_bytes())?;
        loop {
            let line = self.line()?;
            if line.starts_with(b"OK") {
                return Ok(Ok(()));
            }
            if let Some(said) = Said::parse(&line) {
                return Ok(Err(said));
            }
        }
    }

    fn decrypt(&mut self, key: &AgentKey, ciphertext: &Ciphertext) -> io::Result<Result<Answer, Said>> {
        let Some(expression) = expression(ciphertext) else { return Err(io::ErrorKind::Unsupported.into()) };
        for (option, variable) in [("ttyname", "GPG_TTY"), ("ttytype", "TERM"), ("display", "DISPLAY")] {
            if let Ok(value) = std::env::var(variable) {
                // Only the pinentry wants them; an agent that does not take one may still have the passphrase.
                let _ = self.ask(&format!("OPTION {option}={value}"))?;
            }
        }
        let description = format!("SETKEYDESC The+key+that+opens+sealed+logs:%0A{}", key.public.fingerprint().to_hex());
        for command in [format!("SETKEY {}", key.keygrip), description] {
            if let Err(said) = self.ask(&command)? {
                return Ok(Err(said));
            }
        }
        self.send(b"PKDECRYPT")?;
        let mut answer = Answer { data: Zeroizing::new(Vec::with_capacity(MAX_ANSWER)), padded: true };
        loop {
            let line = self.line()?;
            if let Some(said) = Said::parse(&line) {
                return Ok(Err(said));
            } else if line.starts_with(b"OK") {
                return Ok(Ok(answer));
            } else if line.starts_with(b"INQUIRE CIPHERTEXT") {
                for chunk in expression.chunks(CHUNK) {
                    self.send(&[b"D ", &escape(chunk)[..]].concat())?;
                }
                self.send(b"END")?;
            } else if line.starts_with(b"INQUIRE") {
                self.send(b"END")?;
            } else if line.starts_with(b"S PADDING 0") {
                answer.padded = false;
            } else if let Some(data) = line.strip_prefix(b"D ") {
                let data = Zeroizing::new(unescape(data));
                if answer.data.len() + data.len() > MAX_ANSWER {
                    return Err(io::Error::other("its answer is too long"));
                }
                answer.data.extend_from_slice(&data);
            }
        }
    }
}

impl Said {
    /// `ERR code text`
    fn parse(line: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(line.strip_prefix(b"ERR ")?).into_owned();
        let (code, text) = text.split_once(' ').unwrap_or((&text, "no reason given"));
        Some(Self { code: code.parse().unwrap_or(0), text: text.chars().filter(|c| !c.is_control()).collect() })
    }
}

fn escape(bytes: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(bytes.len() * 3);
    for &byte in bytes {
        match byte {
            b'%' | b'\r' | b'\n' => escaped.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => escaped.push(byte),
        }
    }
    escaped
}

fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        let escaped = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &behind[2..];
            }
            None => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_the_line_protocol() {
        let all: Vec<u8> = (0..=255).collect();
        let escaped = escape(&all);
        assert!(!escaped.contains(&b'\n') && !escaped.contains(&b'\r'));
        assert_eq!(unescape(&escaped), all);
        assert_eq!(unescape(b"%"), b"%");
        assert_eq!(unescape(b"%4"), b"%4");
        assert_eq!(unescape(b"%zz%41"), b"%zzA");
    }

    #[test]
    fn answers_are_read_and_nonsense_is_none() {
        assert_eq!(value(b"(5:value3:abc)\0"), Some(&b"abc"[..]));
        for wrong in
            [&b""[..], b"(5:value", b"(5:value3:ab", b"(5:value0:)", b"(5:value-1:a)", b"(5:value99999999999999999999:a)"]
        {
            assert_eq!(value(wrong), None);
        }
        let said = Said::parse(b"ERR 83886179 Operation cancelled <Pinentry>").unwrap();
        assert!(REFUSALS.contains(&(said.code & 0xffff)) && said.text == "Operation cancelled <Pinentry>");
        assert!(Said::parse(b"OK").is_none());
    }

    #[test]
    fn keys_whose_secret_half_is_elsewhere_are_left_out() {
        let listing = "sec:u:255:22:A:1::::::scESC:::#::ed25519:\nfpr:::::::::F1:\ngrp:::::::::G1:\nuid:u::::::::x:\n\
                       ssb:u:255:18:B:1::::::e:::+::cv25519:\nfpr:::::::::F2:\ngrp:::::::::G2:\n\
                       ssb:u:255:18:C:1::::::e:::D2760001240:::\nfpr:::::::::F3:\ngrp:::::::::G3:\n";
        let mut found: Vec<_> = keygrips(listing).into_iter().collect();
        found.sort();
        assert_eq!(found, [("F2".to_owned(), "G2".to_owned()), ("F3".to_owned(), "G3".to_owned())]);
    }
}
