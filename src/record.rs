//! Records: one line, or one control record, as a self-contained OpenPGP message (RFC 9580) or age file.
//!
//! Promises: what [`seal`] makes, any implementation of the standard opens with a recipient's secret key; the bytes come
//! back exactly. A parser here never trusts a length and never panics. Knows no file, no clock and no secret key.
#![forbid(unsafe_code)]

pub mod age;
pub mod framing;
pub mod ocb;
#[cfg(feature = "audit")]
pub mod open;
pub mod openpgp;
pub mod seal;
pub mod seipd1;
pub mod seipd2;

use std::fmt;
use std::str::FromStr;

/// Longest record that is written or read, in bytes, before framing.
pub const MAX_RECORD: usize = MAX_LINE + 64 * 1024;
/// Longest body of one record, in bytes; a longer line is sealed in pieces.
pub const MAX_LINE: usize = 1024 * 1024;
/// The literal's file name of a control record in the profile `rfc9580`.
pub const CONTROL_NAME: &[u8] = b"sealedlog";

/// Whether what a file begins with, some KiB of it, looks like a record in either framing.
pub fn begins_record(head: &[u8]) -> bool {
    let is_record = |bytes: &[u8]| {
        let packet = openpgp::read_header(bytes);
        let is_pkesk = matches!(packet, Ok((openpgp::PKESK, header, _)) if matches!(bytes.get(header), Some(3 | 6)));
        is_pkesk || bytes.starts_with(age::MAGIC)
    };
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut unframed = Vec::new();
    // A line that goes on behind the head is whole groups of base64 all the same.
    is_record(head) || framing::read_line(&line[..line.len() / 4 * 4], &mut unframed) && is_record(&unframed)
}

/// The format of a stream's records, decided by what its recipients' keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// PKESK v6 and SEIPD v2; one public-key operation an epoch.
    Rfc9580,
    /// PKESK v3 and SEIPD v1, which GnuPG opens.
    Rfc4880,
    /// One age v1 file a record.
    Age,
}

impl Profile {
    /// As it is written in options and control records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rfc9580 => "rfc9580",
            Self::Rfc4880 => "rfc4880",
            Self::Age => "age",
        }
    }

    /// The suffix of a file of such records, with its dot.
    pub fn suffix(self, framing: Framing) -> &'static str {
        match (self, framing) {
            (Self::Age, _) => ".age64",
            (_, Framing::Binary) => ".pgp",
            (_, Framing::Base64) => ".pgp64",
        }
    }

    /// The framing of such records where nothing else is asked for.
    pub fn framing(self) -> Framing {
        if self == Self::Age { Framing::Base64 } else { Framing::Binary }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = [Self::Rfc9580, Self::Rfc4880, Self::Age];
        known
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| format!("{name} is no profile; there are rfc9580, rfc4880 and age"))
    }
}

/// How records follow each other in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One after the other, as they are. OpenPGP only.
    Binary,
    /// One line of base64 (RFC 4648, section 4, padded) a record.
    Base64,
}

impl Framing {
    /// As it is written in options and control records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Base64 => "base64",
        }
    }
}

impl FromStr for Framing {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Binary, Self::Base64]
            .into_iter()
            .find(|framing| framing.name() == name)
            .ok_or_else(|| format!("{name} is no framing; there are binary and base64"))
    }
}

/// The symmetric cipher of an OpenPGP record (RFC 9580, 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES with a 128-bit key.
    Aes128,
    /// AES with a 256-bit key.
    Aes256,
}

impl Cipher {
    /// The algorithm's number.
    pub fn id(self) -> u8 {
        match self {
            Self::Aes128 => 7,
            Self::Aes256 => 9,
        }
    }

    /// The cipher of a number; `None` for one that records do not use.
    pub fn from_id(id: u8) -> Option<Self> {
        [Self::Aes128, Self::Aes256].into_iter().find(|cipher| cipher.id() == id)
    }

    /// Length of its key in bytes.
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }
}
