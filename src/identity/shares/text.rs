//! The text of a share's file: words for people, and between two marks named lines and base64.
//!
//! Promises: what stands between the marks is read in the one form in which it is written, so no byte of it can be another
//! without being told. What stands before and behind them, and how lines end, is not read.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{FEWEST, SET_ID_LEN, Set, Share, ShareError, VALUE_LEN, hex};

const BEGIN: &str = "-----BEGIN SEALEDLOG SHARE-----";
const END: &str = "-----END SEALEDLOG SHARE-----";
const VERSION: &str = "1";
const COLUMNS: usize = 64;

/// Whether a file holds a share, or what is left of one.
pub fn is_share(content: &[u8]) -> bool {
    memchr::memmem::find(content, BEGIN.as_bytes()).is_some()
}

impl Set {
    /// How many shares there are.
    pub fn shares(&self) -> u8 {
        u8::try_from(self.digests.len()).expect("split and parse see to it")
    }

    /// What the encryption of the key file authenticates, too.
    pub fn head(&self) -> String {
        let Self { key, made, id, needed, digests, .. } = self;
        let mut text = format!("Version: {VERSION}\nKey: {key}\nMade: {made}\nSet: {}\n", hex(id));
        let _ = writeln!(text, "Needed: {needed}\nShares: {}", self.shares());
        for (digest, number) in digests.iter().zip(1..=self.shares()) {
            let _ = writeln!(text, "Digest {number}: {}", hex(digest));
        }
        text
    }

    /// The whole file of one share.
    pub fn write(&self, number: u8, value: &[u8; VALUE_LEN]) -> Zeroizing<String> {
        let (shares, needed, key) = (self.shares(), self.needed, &self.key);
        let body = self.body(number, value);
        let checksum = checksum(body.lines());
        Zeroizing::new(format!(
            "This is share {number} of {shares} of a secret key that opens sealed logs. Any {needed} of the shares open them\n\
             together, fewer open nothing. The key's fingerprint:\n\
             {key}\n\
             \n\
             Keep it where no holder of another share can read it, and never on a server whose logs it opens.\n\
             To open logs: sealedlog-audit open LOG, with --share FILE once for each of {needed} shares.\n\
             \n\
             {BEGIN}\n{}Checksum: {checksum}\n{END}\n",
            *body
        ))
    }

    fn body(&self, number: u8, value: &[u8; VALUE_LEN]) -> Zeroizing<String> {
        let mut text = Zeroizing::new(self.head());
        // Room for all of it, so that growing leaves no copy behind.
        text.reserve(self.sealed.len() * 2 + 256);
        text.push_str("Secret:\n");
        for line in STANDARD.encode(&self.sealed).as_bytes().chunks(COLUMNS) {
            text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            text.push('\n');
        }
        let value = Zeroizing::new(STANDARD.encode(value));
        let _ = writeln!(text, "Share: {number}\nValue: {}", *value);
        text
    }
}

fn checksum<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line);
        hash.update("\n");
    }
    hex(&hash.finalize())
}

/// Reads what [`Set::write`] wrote.
pub fn parse(file: &Path, content: &[u8]) -> Result<Share, ShareError> {
    let damaged = |why| ShareError::Damaged { file: file.to_owned(), why };
    if !is_share(content) {
        return Err(ShareError::NotAShare(file.to_owned()));
    }
    let text = std::str::from_utf8(content).map_err(|_| damaged("it is no text any more"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut behind = lines.skip_while(|line| *line != BEGIN).skip(1);
    let body: Vec<&str> = behind.by_ref().take_while(|line| *line != END).collect();
    if text.matches(BEGIN).count() > 1 {
        return Err(damaged("it holds more than one share"));
    }
    if text.matches(END).count() != 1 {
        return Err(damaged("its end is missing"));
    }
    let (last, body) = body.split_last().ok_or_else(|| damaged("there is nothing in it"))?;
    if last.strip_prefix("Checksum: ") != Some(&checksum(body.iter().copied())) {
        return Err(damaged("its checksum is another"));
    }
    let version = body.first().and_then(|line| line.strip_prefix("Version: ")).filter(|version| *version != VERSION);
    if let Some(version) = version.filter(|version| version.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Err(ShareError::Version { file: file.to_owned(), version: version.to_owned() });
    }
    let share = fields(file, body).ok_or_else(|| damaged("it is not of the form that shares have"))?;
    // One form, so that nothing can hide in another.
    let body_again = share.set.body(share.number, &share.value);
    if !body_again.lines().eq(body.iter().copied()) {
        return Err(damaged("it is not of the form that shares have"));
    }
    Ok(share)
}

fn fields(file: &Path, lines: &[&str]) -> Option<Share> {
    let mut lines = lines.iter();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(": ");
    field("Version")?;
    // Shown on terminals.
    let key = field("Key").filter(|key| key.bytes().all(|byte| byte.is_ascii_alphanumeric()))?.to_owned();
    let made: Timestamp = field("Made")?.parse().ok()?;
    let id = unhex::<SET_ID_LEN>(field("Set")?)?;
    let needed: u8 = field("Needed")?.parse().ok()?;
    let shares: u8 = field("Shares")?.parse().ok()?;
    let digests: Option<Vec<_>> = (1..=shares).map(|number| unhex::<32>(field(&format!("Digest {number}"))?)).collect();
    let digests = digests.filter(|_| (FEWEST..=shares).contains(&needed))?;
    let mut sealed = String::new();
    lines.next().filter(|line| **line == "Secret:")?;
    let mut lines = lines.as_slice();
    while let [line, rest @ ..] = lines
        && !line.contains(':')
    {
        sealed.push_str(line);
        lines = rest;
    }
    let sealed = STANDARD.decode(sealed).ok()?;
    let [number, value] = lines else { return None };
    let number: u8 = number.strip_prefix("Share: ")?.parse().ok()?;
    let mut share = Zeroizing::new([0; VALUE_LEN]);
    // The decoder wants room for what the last four characters could hold.
    let mut buffer = Zeroizing::new([0; VALUE_LEN + 3]);
    let length = STANDARD.decode_slice(value.strip_prefix("Value: ")?, &mut *buffer).ok()?;
    share.copy_from_slice(buffer.get(..length).filter(|value| value.len() == VALUE_LEN)?);
    let set = Set { key, made, id, needed, digests, sealed };
    (1..=shares).contains(&number).then(|| Share { file: file.to_owned(), set, number, value: share })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}
