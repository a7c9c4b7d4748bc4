//! Output that may be a terminal: lines out of logs are whatever an enemy wrote into them.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, StdoutLock, Write};

use crate::audit::escape::escape;

/// Standard output, escaped where a person looks at it, byte for byte everywhere else.
pub struct Output {
    out: io::BufWriter<StdoutLock<'static>>,
    escapes: bool,
}

impl Output {
    /// Standard output as it is connected.
    pub fn new() -> Self {
        let stdout = io::stdout();
        let escapes = stdout.is_terminal();
        Self { out: io::BufWriter::with_capacity(1 << 18, stdout.lock()), escapes }
    }

    /// Writes a line or a piece of one.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.escapes { self.out.write_all(escape(bytes).as_bytes()) } else { self.out.write_all(bytes) }
    }

    /// Writes what is our own: it may well move or colour.
    pub fn write_own(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Whether a person looks at it.
    pub fn is_terminal(&self) -> bool {
        self.escapes
    }

    /// Brings everything out.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
