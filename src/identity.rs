//! Secret keys: read, unlocked, and asked to unwrap the keys of records. Only the auditor's program has this code.
//!
//! Promises: a passphrase comes from the terminal or a file descriptor, never from a command line, and only where a key
//! needs one; what an error says never holds secret material. Keys are used whatever their expiry or revocation says,
//! because old logs must stay readable. Does not lock memory: the machine is the auditor's own.
#![forbid(unsafe_code)]

mod age;
mod agent;
mod openpgp;
mod passphrase;
pub mod shares;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

pub use self::age::AgeIdentity;
pub use self::agent::AgentError;
pub use self::openpgp::OpenPgpIdentity;
pub use self::passphrase::{Descriptor, PassphraseSource, Terminal};
use crate::record::open::SessionKey;
use crate::record::openpgp::Message;
use crate::record::{self, Cipher};

/// A key file longer than this is none.
const MAX_KEY_FILE: u64 = 16 << 20;
/// So many PKESK packets or stanzas of one record that say that they are for a key are tried with it: each is an operation with
/// the secret key, and takes a few bytes only.
const MAX_TRIED: usize = 8;

/// Why a file gives no secret key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read the secret key: {file}: {error}")]
    Read {
        /// The key file.
        file: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The public half was given.
    #[error("not a secret key: {0}: it holds a public key")]
    PublicKey(PathBuf),
    /// A share was given, which is no key by itself.
    #[error("not a whole secret key: {0}: it holds a share of one")]
    Share(PathBuf),
    /// Not a secret key of any kind that is known.
    #[error("not a secret key: {file}: {why}")]
    NotAKey {
        /// The key file.
        file: PathBuf,
        /// What does not fit, without content of the file.
        why: String,
    },
    /// A secret key that opens no record.
    #[error("cannot be used: {file}: {what}")]
    Unsupported {
        /// The key file.
        file: PathBuf,
        /// What it is.
        what: String,
    },
    /// The passphrase does not unlock it.
    #[error("wrong passphrase: {0}")]
    WrongPassphrase(PathBuf),
    /// No passphrase could be had.
    #[error("cannot get the passphrase: {file}: {error}")]
    Passphrase {
        /// The key file that needs it.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl LoadError {
    /// What the auditor can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check the path after --key and its permissions",
            Self::PublicKey(_) => {
                "give the secret half: gpg --export-secret-keys, the identity file of age-keygen, or the file of ssh-keygen without .pub"
            }
            Self::Share(_) => "give it with --share, and as many others as it names",
            Self::NotAKey { .. } => "give an OpenPGP secret key, an age identity file or an SSH private key",
            Self::Unsupported { .. } => {
                "give a key that can decrypt; an SSH key in the old PEM encryption is converted by ssh-keygen -p -f FILE"
            }
            Self::WrongPassphrase(_) => "try again; gpg, age and ssh-keygen ask for the same passphrase",
            Self::Passphrase { .. } => "run it on a terminal, or give --passphrase-fd",
        }
    }
}

/// All secret keys of one run.
#[derive(Default)]
pub struct Identities {
    openpgp: Vec<OpenPgpIdentity>,
    age: Vec<AgeIdentity>,
}

impl Identities {
    /// Reads and unlocks the keys of all files; the source is asked once a file that needs it.
    pub fn load<P: AsRef<Path>>(paths: &[P], passphrases: &mut dyn PassphraseSource) -> Result<Self, LoadError> {
        let mut identities = Self::default();
        for path in paths {
            identities.add_file(path.as_ref(), passphrases)?;
        }
        Ok(identities)
    }

    /// Reads and unlocks the keys of one file.
    pub fn add_file(&mut self, path: &Path, passphrases: &mut dyn PassphraseSource) -> Result<(), LoadError> {
        let content = read(path).map_err(|error| LoadError::Read { file: path.to_owned(), error })?;
        self.add(path, &content, passphrases)
    }

    /// Adds the keys in the content of one file; `file` is told in errors and to the source.
    pub fn add(&mut self, file: &Path, content: &[u8], passphrases: &mut dyn PassphraseSource) -> Result<(), LoadError> {
        match sniff(content) {
            Content::AgeIdentities => self.age.extend(age::parse(file, content)?),
            Content::AgeEncrypted => self.age.extend(age::decrypt(file, content, passphrases)?),
            Content::Ssh => self.age.push(age::parse_ssh(file, content, passphrases)?),
            Content::Share => return Err(LoadError::Share(file.to_owned())),
            Content::Public => return Err(LoadError::PublicKey(file.to_owned())),
            Content::Plugin => {
                return Err(LoadError::Unsupported { file: file.to_owned(), what: "an age plugin identity".to_owned() });
            }
            Content::OpenPgp => self.openpgp.extend(openpgp::parse(file, content, passphrases)?),
        }
        Ok(())
    }

    /// Adds the keys that gpg-agent has, without unlocking any: it asks for that when one is needed.
    pub fn add_agent(&mut self) -> Result<(), AgentError> {
        self.openpgp.extend(agent::keys()?.into_iter().filter_map(|key| OpenPgpIdentity::of_agent(key).ok()));
        Ok(())
    }

    /// Why gpg-agent did not use one of its keys, if it was asked to.
    pub fn refused(&self) -> Option<AgentError> {
        self.openpgp.iter().find_map(OpenPgpIdentity::refused)
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.openpgp.is_empty() && self.age.is_empty()
    }

    /// Unwraps the session key of a message with a SEIPD v2 packet of this cipher from its PKESK v6 packets.
    pub fn unwrap_seipd2(&self, message: &Message<'_>, cipher: Cipher) -> Option<SessionKey> {
        let mine = |key: &OpenPgpIdentity, packet: &[u8]| key.is_for6(packet);
        self.find(message, mine, |key, packet| key.unwrap6(packet, cipher))
    }

    /// Unwraps cipher and session key of a message with a SEIPD v1 packet from its PKESK v3 packets.
    pub fn unwrap_seipd1(&self, message: &Message<'_>) -> Option<(Cipher, SessionKey)> {
        self.find(message, OpenPgpIdentity::is_for3, OpenPgpIdentity::unwrap3)
    }

    fn find<T>(
        &self,
        message: &Message<'_>,
        is_for: impl Fn(&OpenPgpIdentity, &[u8]) -> bool,
        unwrap: impl Fn(&OpenPgpIdentity, &[u8]) -> Option<T>,
    ) -> Option<T> {
        self.openpgp.iter().find_map(|key| {
            let mine = message.pkesks().filter(|packet| is_for(key, packet));
            mine.take(MAX_TRIED).find_map(|packet| unwrap(key, packet))
        })
    }

    /// Unwraps the file key of an age file.
    pub fn unwrap_age(&self, stanzas: &[record::age::Stanza]) -> Option<Zeroizing<[u8; record::age::FILE_KEY_LEN]>> {
        self.age.iter().find_map(|key| key.unwrap(stanzas))
    }

    /// What stands at the head of each record for one of these keys, as `Recipients::marks` has it: in the OpenPGP
    /// profiles how a PKESK packet's body begins, else the first line of an age file.
    pub fn marks(&self) -> Vec<Vec<u8>> {
        let mut marks: Vec<_> = self.openpgp.iter().flat_map(OpenPgpIdentity::marks).collect();
        if !self.age.is_empty() {
            marks.push(record::age::MAGIC.to_vec());
        }
        marks
    }
}

enum Content {
    AgeIdentities,
    AgeEncrypted,
    Plugin,
    Ssh,
    Share,
    Public,
    OpenPgp,
}

fn sniff(content: &[u8]) -> Content {
    let holds = |needle: &str| memchr::memmem::find(content, needle.as_bytes()).is_some();
    let first_word = content
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty() && !line.starts_with(b"#"))
        .unwrap_or(b"");
    let begins = |words: &[&str]| words.iter().any(|word| first_word.starts_with(word.as_bytes()));
    if shares::is_share(content) {
        Content::Share
    } else if content.starts_with(record::age::MAGIC) || holds("-----BEGIN AGE ENCRYPTED FILE-----") {
        Content::AgeEncrypted
    } else if begins(&["AGE-SECRET-KEY-"]) {
        Content::AgeIdentities
    } else if begins(&["AGE-PLUGIN-"]) {
        Content::Plugin
    } else if holds("PRIVATE KEY-----") {
        Content::Ssh
    } else if begins(&["age1", "ssh-", "ecdsa-", "sk-"]) {
        Content::Public
    } else {
        Content::OpenPgp
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // Room for all of it, so that growing leaves no copy behind.
    let len = file.metadata()?.len().min(MAX_KEY_FILE);
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(len).expect("16 MiB") + 4096));
    file.take(MAX_KEY_FILE).read_to_end(&mut content)?;
    Ok(content)
}
