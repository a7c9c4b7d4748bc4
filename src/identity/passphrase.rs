//! Where passphrases come from.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// How often the terminal is asked for one file.
const ATTEMPTS: u32 = 3;
/// No descriptor holds more than this in passphrases.
const MAX_BYTES: usize = 64 * 1024;

/// Gives the passphrases of secret keys.
pub trait PassphraseSource {
    /// The passphrase that unlocks `file`; `attempt` counts from 0. `None`: there is no other one to try.
    fn passphrase(&mut self, file: &Path, attempt: u32) -> io::Result<Option<Zeroizing<String>>>;
}

/// Asks on the terminal, up to three times a file, without echo.
#[derive(Debug, Default)]
pub struct Terminal;

impl PassphraseSource for Terminal {
    fn passphrase(&mut self, file: &Path, attempt: u32) -> io::Result<Option<Zeroizing<String>>> {
        if attempt == ATTEMPTS {
            return Ok(None);
        }
        let again = if attempt == 0 { "" } else { "that was not it; " };
        rpassword::prompt_password(format!("{again}passphrase for {}: ", file.display())).map(Zeroizing::new).map(Some)
    }
}

/// Takes one passphrase a line, in the order in which files ask; the last one serves all files that are left.
pub struct Descriptor {
    lines: Vec<Zeroizing<String>>,
    next: usize,
}

impl Descriptor {
    /// Reads a file descriptor of this process to its end.
    pub fn open(number: u32) -> io::Result<Self> {
        if number == 0 {
            return Self::read(io::stdin().lock());
        }
        Self::read(File::open(format!("/dev/fd/{number}"))?)
    }

    /// Reads passphrases to the end of input.
    pub fn read(input: impl Read) -> io::Result<Self> {
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        input.take(MAX_BYTES as u64).read_to_end(&mut content)?;
        let text = std::str::from_utf8(&content).map_err(|_| io::Error::other("a passphrase is not UTF-8"))?;
        let lines: Vec<_> = text.lines().map(|line| Zeroizing::new(line.to_owned())).collect();
        if lines.is_empty() { Err(io::Error::other("no passphrase on the descriptor")) } else { Ok(Self { lines, next: 0 }) }
    }
}

impl PassphraseSource for Descriptor {
    fn passphrase(&mut self, _file: &Path, attempt: u32) -> io::Result<Option<Zeroizing<String>>> {
        if attempt > 0 {
            return Ok(None);
        }
        let line = self.lines[self.next].clone();
        self.next = (self.next + 1).min(self.lines.len() - 1);
        Ok(Some(line))
    }
}
