//! Control records: what a writer says about its stream, as one line of JSON in the place of a log line.
//!
//! Promises: the fields and names of `docs/format.md`, section "Control records"; unknown fields are ignored by readers.
//! What is believed of them is the verifier's business: only the seal makes a control record one, never its text.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// Fixed-size bytes, written as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Zeroize)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// Names one stream: random.
pub type StreamId = Hex<16>;
/// Names one run of one filter on a stream: random.
pub type WriterId = Hex<8>;

impl<const N: usize> Default for Hex<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let mut bytes = [0; N];
        if text.len() != 2 * N {
            return Err(format!("{} hexadecimal digits are wanted, not {}", 2 * N, text.len()));
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err("not hexadecimal".to_owned());
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        text.parse().map_err(D::Error::custom)
    }
}

/// A key of 32 bytes in a control record, on the heap so that no move leaves a copy, erased when dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHex(Box<Hex<32>>);

impl SecretHex {
    /// Copies a key.
    pub fn copy_of(bytes: &[u8; 32]) -> Self {
        let mut key = Self(Box::default());
        key.0.0.copy_from_slice(bytes);
        key
    }

    /// The key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }
}

impl From<[u8; 32]> for SecretHex {
    fn from(bytes: [u8; 32]) -> Self {
        Self::copy_of(&bytes)
    }
}

impl Clone for SecretHex {
    fn clone(&self) -> Self {
        Self::copy_of(self.as_bytes())
    }
}

impl Drop for SecretHex {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHex")
    }
}

/// SHA-256 of a genesis record without its framing: what an administrator writes on paper.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenesisFingerprint(Hex<32>);

impl GenesisFingerprint {
    /// Of the record's bytes.
    pub fn of(record: &[u8]) -> Self {
        Self(Hex(Sha256::digest(record).into()))
    }

    /// Takes a stored one.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Hex(bytes))
    }

    /// Its bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }
}

impl fmt::Display for GenesisFingerprint {
    /// Sixteen groups of four hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pair) in self.0.0.chunks_exact(2).enumerate() {
            write!(f, "{}{:02X}{:02X}", if i == 0 { "" } else { " " }, pair[0], pair[1])?;
        }
        Ok(())
    }
}

impl fmt::Debug for GenesisFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for GenesisFingerprint {
    type Err = String;

    /// Reads what [`fmt::Display`] writes; spaces, colons and dashes do not matter, nor does the case.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| !c.is_whitespace() && !matches!(c, ':' | '-')).collect();
        digits
            .parse()
            .map(Self)
            .map_err(|why| format!("a genesis fingerprint has sixteen groups of four hexadecimal digits: {why}"))
    }
}

/// One control record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Control {
    /// Version of this format: 1.
    pub v: u32,
    /// The stream that it stands in.
    pub stream: StreamId,
    /// The writer that sealed it.
    pub writer: WriterId,
    /// When what it tells happened.
    #[serde(with = "milliseconds")]
    pub time: Timestamp,
    /// What it tells.
    #[serde(flatten)]
    pub event: Event,
}

impl Control {
    /// The body of the record: one line of JSON. It may carry a key, so it is erased when dropped.
    pub fn body(&self) -> Zeroizing<Vec<u8>> {
        // Room for every record but one with hundreds of recipients, so that no copy of a key stays behind in growing.
        let mut body = Zeroizing::new(Vec::with_capacity(8192));
        serde_json::to_writer(&mut *body, self).expect("every field has a form in JSON");
        body.push(b'\n');
        body
    }

    /// Reads a body; `None` where it is no control record of a version that is known.
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().filter(|control: &Self| control.v == 1)
    }
}

/// What control records tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Event {
    /// A stream begins: slot 0 of epoch 0, repeated at the head of every file.
    Genesis(Genesis),
    /// An epoch begins: slot 0 of every other epoch.
    Epoch(Epoch),
    /// A writer's first record in a new file, after its `epoch`.
    Segment(Segment),
    /// A writer's first record in a file that has something in it, after its `epoch`.
    Resume(Resume),
    /// A writer leaves an epoch before its end.
    Close(Close),
    /// Lines were dropped before they were sealed.
    Gap(Gap),
    /// The recipients changed: the last record of a writer on this stream.
    Recipients(RecipientsChanged),
    /// A stream without state stood in for this one.
    Ephemeral(Ephemeral),
    /// All that is known of writers' progress, written on request.
    Mark(Mark),
}

impl Event {
    /// The name in the field `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Genesis(_) => "genesis",
            Self::Epoch(_) => "epoch",
            Self::Segment(_) => "segment",
            Self::Resume(_) => "resume",
            Self::Close(_) => "close",
            Self::Gap(_) => "gap",
            Self::Recipients(_) => "recipients",
            Self::Ephemeral(_) => "ephemeral",
            Self::Mark(_) => "mark",
        }
    }
}

/// The beginning of a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Genesis {
    /// `E_0`.
    pub chain_key: SecretHex,
    /// Number of slots of epoch 0.
    pub slots: u32,
    /// The host's name.
    pub host: String,
    /// Folder and name template of the log.
    pub log: String,
    /// Name and version of the writing program.
    pub software: String,
    /// The records' format.
    pub profile: String,
    /// The recipients' fingerprints.
    pub recipients: Vec<String>,
    /// Whether the chain is kept in a state file, so that later writers go on with it.
    pub state: bool,
    /// Whether progress is kept in the runtime directory.
    pub progress: bool,
    /// Whether keys and lines are locked in memory.
    pub memory_locked: bool,
    /// What else the writing program could not have for its protection, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// The stream that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
}

/// Why one stream follows another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Follows {
    /// The other stream.
    pub stream: StreamId,
    /// Its genesis fingerprint.
    pub genesis: GenesisFingerprint,
    /// `recipients`, `restart` or `claim` (for an ephemeral stream: the state could not be used).
    pub why: String,
}

/// The beginning of an epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Epoch {
    /// j.
    pub epoch: u64,
    /// `K_j`.
    pub epoch_key: SecretHex,
    /// Number of slots.
    pub slots: u32,
    /// The writer's epoch before, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<UsedEpoch>,
    /// The kernel's boot id.
    pub boot: String,
    /// The census, as the epoch begins; not in a writer's first epoch, where `segment` or `resume` has it, nor without state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Vec<FoundProgress>>,
}

/// How much of an epoch was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedEpoch {
    /// j.
    pub epoch: u64,
    /// Number of slots used.
    pub used: u32,
    /// `P_{j,used}`, which nobody can have had for fewer slots.
    pub progress: Hex<32>,
}

/// The beginning of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// The file's number in its stream, from 0; `None` where the state did not give it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// The file before, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<SegmentBefore>,
    /// The census; `None` for a stream without state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Vec<FoundProgress>>,
}

/// What is known of the file before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SegmentBefore {
    /// Its name without folder.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// This writer's last slot in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<UsedEpoch>,
}

/// A writer goes on in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resume {
    /// The file's length before this writer's first record.
    pub length: u64,
    /// Length of a torn record at its end; 0 for none.
    pub torn: u64,
    /// The census; `None` for a stream without state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Vec<FoundProgress>>,
}

/// Progress of an epoch that was claimed and, as far as its claimant has said, not ended: one entry of a census of all
/// such epochs of the log, which a record carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundProgress {
    /// The stream, where it is another than the one that the record stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamId>,
    /// j.
    pub epoch: u64,
    /// `P_{j,i+1}` out of the runtime directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Hex<32>>,
    /// `D_{j,i+1}` out of the state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Hex<32>>,
    /// Its writer is alive: the values move on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
}

/// The end of an epoch before its last slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Close {
    /// Number of slots before this record; its own slot.
    pub slots: u32,
    /// `exit`, `rotation`, `time`, `keys`, `state` or `unused`.
    pub why: String,
}

/// Lines that were dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// How many.
    pub lines: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// When the first came.
    #[serde(with = "milliseconds")]
    pub from: Timestamp,
    /// When the last came.
    #[serde(with = "milliseconds")]
    pub to: Timestamp,
    /// Why.
    pub why: String,
}

/// A change of keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecipientsChanged {
    /// Fingerprints before.
    pub old: Vec<String>,
    /// Fingerprints from now on.
    pub new: Vec<String>,
    /// Genesis fingerprint of the stream that goes on.
    pub genesis: GenesisFingerprint,
}

/// A stream without state that stood in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ephemeral {
    /// Its genesis fingerprint.
    pub genesis: GenesisFingerprint,
    /// Its last progress value.
    pub progress: FoundProgress,
}

/// The census, on request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// The census.
    pub progress: Vec<FoundProgress>,
}

/// Times as `2026-01-31T12:00:00.000Z`.
pub(crate) mod milliseconds {
    use super::*;

    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_the_format_says() {
        let control = Control {
            v: 1,
            stream: Hex([0xab; 16]),
            writer: Hex([1; 8]),
            time: "2026-01-31T12:00:00.25Z".parse().unwrap(),
            event: Event::Close(Close { slots: 7, why: "exit".to_owned() }),
        };
        let body = control.body();
        let expected = r#"{"v":1,"stream":"abababababababababababababababab","writer":"0101010101010101","time":"2026-01-31T12:00:00.250Z","kind":"close","slots":7,"why":"exit"}"#;
        assert_eq!(std::str::from_utf8(&body).unwrap(), format!("{expected}\n"));
        let again = Control::parse(&body).unwrap();
        assert_eq!(again.body(), body);
        assert!(Control::parse(&body[..20]).is_none());
        let unknown_field = String::from_utf8(body.to_vec()).unwrap().replace("\"slots\"", "\"later\":[1],\"slots\"");
        assert!(Control::parse(unknown_field.as_bytes()).is_some());
        assert!(Control::parse(unknown_field.replace("\"v\":1", "\"v\":2").as_bytes()).is_none());
    }

    #[test]
    fn fingerprints_come_back_from_paper() {
        let fingerprint = GenesisFingerprint::of(b"a record");
        let shown = fingerprint.to_string();
        assert_eq!(shown.split(' ').count(), 16);
        assert_eq!(shown.parse(), Ok(fingerprint));
        assert_eq!(shown.to_lowercase().replace(' ', "").parse(), Ok(fingerprint));
        assert!("12".parse::<GenesisFingerprint>().is_err());
        assert!("zz".repeat(32).parse::<GenesisFingerprint>().is_err());
    }
}
