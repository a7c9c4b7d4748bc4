//! The chain: keys that tie every record to its place in its stream, at no cost in bytes.
//!
//! Promises: who holds a chain key can derive everything after it and nothing before it; every type that holds a secret
//! erases it when it is dropped, and keys that outlive a call stand in a place of their own, so that moving one leaves
//! no copy. What HKDF and HMAC leave on the stack is the caller's to wipe. Does not promise secrecy of lines (session and
//! file keys are independent randomness) and knows no file, clock or random generator: all of that is handed in. The
//! formulas are those of `docs/format.md`, section "The chain"; HKDF is RFC 5869 with SHA-256.
#![forbid(unsafe_code)]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::sha256::{self, Compress, LANES, State, Words};

/// Smallest number of slots in an epoch; the first epoch of a writer has it.
pub const MIN_SLOTS: u32 = 64;
/// Largest number of slots in an epoch. Built for a fuzzer they are all small: a verification then costs what its records do.
pub const MAX_SLOTS: u32 = if cfg!(fuzzing) { 64 } else { 16384 };

type HmacSha256 = Hmac<Sha256>;

/// What a record holds. Part of what its seal covers, so a line can never pass for a control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One log line, or a piece of one.
    Line = 0,
    /// One JSON control record.
    Control = 1,
}

/// 32 secret bytes on the heap: moved by their address, written in place, erased when dropped.
struct Key32(Box<[u8; 32]>);

impl Key32 {
    fn written(write: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut key = Self(Box::new([0; 32]));
        write(&mut key.0);
        key
    }

    fn copy_of(bytes: &[u8; 32]) -> Self {
        Self::written(|key| key.copy_from_slice(bytes))
    }

    /// `HKDF-Expand(key, label, 32)`
    fn expand(&self, label: &[u8]) -> Self {
        Self::written(|out| expand(&self.0, label, out))
    }
}

impl Clone for Key32 {
    fn clone(&self) -> Self {
        Self::copy_of(&self.0)
    }
}

impl Drop for Key32 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// `E_j`, the spine of the chain: 32 bytes that give every later epoch's keys.
#[derive(Clone)]
pub struct ChainKey(Key32);

impl ChainKey {
    /// Takes 32 bytes: `E_0` from the operating system's generator, or a stored key. The caller's copy is his to erase.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::copy_of(&bytes)
    }

    /// As [`from_bytes`](Self::from_bytes), without another copy on the way.
    pub fn copy_of(bytes: &[u8; 32]) -> Self {
        Self(Key32::copy_of(bytes))
    }

    /// The key's bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }

    /// `E_{j+1} = HKDF-Expand(E_j, "sealedlog v1 next", 32)`
    pub fn next(&self) -> Self {
        Self(self.0.expand(b"sealedlog v1 next"))
    }

    /// `K_j = HKDF-Expand(E_j, "sealedlog v1 epoch", 32)`
    pub fn epoch_key(&self) -> EpochKey {
        EpochKey(self.0.expand(b"sealedlog v1 epoch"))
    }
}

/// `K_j`, the leaf of the chain: what a writer gets for one epoch.
#[derive(Clone)]
pub struct EpochKey(Key32);

impl EpochKey {
    /// Takes a key that a control record carries. The caller's copy is his to erase.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Key32::copy_of(&bytes))
    }

    /// The key's bytes, as a control record carries them.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }

    /// Whether both are the same key, in constant time.
    pub fn equals(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }

    /// `C_j` of the profile `rfc9580`, bound to the epoch's session key and to its PKESK packets as they stand in each
    /// record: `HKDF(K_j, salt = S_j, "sealedlog v1 chain" ‖ SHA-256(PKESK packets), 32)`
    pub fn bound_chain_secret(&self, session_key: &[u8], pkesks_digest: &[u8; 32]) -> ChainSecret {
        let mut info = [0; 50];
        info[..18].copy_from_slice(b"sealedlog v1 chain");
        info[18..].copy_from_slice(pkesks_digest);
        ChainSecret::new(&Hkdf::new(Some(session_key), self.as_bytes()), &info)
    }

    /// `C_j` of the other profiles: `HKDF(K_j, salt = empty, "sealedlog v1 chain", 32)`
    pub fn chain_secret(&self) -> ChainSecret {
        ChainSecret::new(&Hkdf::new(None, self.as_bytes()), b"sealedlog v1 chain")
    }

    /// The locators of this epoch's slots.
    pub fn locators(&self) -> Locators {
        Locators(Mac32::new(self.0.expand(b"sealedlog v1 place")))
    }

    /// `P_{j,0}`: progress as it is kept in the runtime directory.
    pub fn memory_progress(&self) -> Progress {
        Progress::new(self.0.expand(b"sealedlog v1 progress"))
    }

    /// `D_{j,0}`: progress as it is kept on disk; another chain, so that an older disk copy never passes for the newest value.
    pub fn disk_progress(&self) -> Progress {
        Progress::new(self.0.expand(b"sealedlog v1 disk progress"))
    }
}

/// HMAC-SHA256 under a key that is kept, for one message or many at once.
struct Mac32 {
    key: Key32,
    keyed: HmacSha256,
}

impl Mac32 {
    fn new(key: Key32) -> Self {
        let keyed = keyed(&key.0[..]);
        Self { key, keyed }
    }

    fn number(&self, number: u32) -> [u8; 32] {
        self.keyed.clone().chain_update(number.to_be_bytes()).finalize().into_bytes().into()
    }

    fn many(&self, compress: Compress) -> sha256::Hmac {
        sha256::Hmac::with_key(&self.key.0, compress)
    }
}

/// `C_j`: what the tags of an epoch's slots are computed from.
pub struct ChainSecret(Mac32);

impl ChainSecret {
    fn new(hkdf: &Hkdf<Sha256>, info: &[u8]) -> Self {
        Self(Mac32::new(Key32::written(|out| hkdf.expand(info, out).expect("32 bytes are within HKDF's limit"))))
    }

    /// `T_{j,i} = HMAC-SHA256(C_j, be32(i))`
    pub fn tag(&self, slot: u32) -> Tag {
        Tag(self.0.number(slot))
    }

    /// Makes the tags of sixteen slots at once: of the slots `from`, `from + 1`, … in [`sha256::Hmac::numbers`].
    pub fn many(&self, compress: Compress) -> sha256::Hmac {
        self.0.many(compress)
    }
}

/// `T_{j,i}`: proves that a record was sealed in slot i of epoch j. Does not outlive a call, and so stands on the stack.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Tag([u8; 32]);

impl Tag {
    /// Takes a tag out of a table made ahead.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The tag's bytes, for a table made ahead.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the profile `age` carries: `HMAC-SHA256(T, k ‖ file key)[..12]`
    pub fn age_mac(&self, kind: Kind, file_key: &[u8; 16]) -> [u8; 12] {
        let mut mac = keyed(&self.0);
        mac.update(&[kind as u8]);
        mac.update(file_key);
        first(&mac.finalize().into_bytes())
    }

    /// What the profile `rfc4880` carries: `HMAC-SHA256(T, k ‖ SHA-256(PKESK packets) ‖ byte(length of session key) ‖
    /// session key ‖ be32(literal's date) ‖ body)[..16]`
    pub fn rfc4880_mac(&self, kind: Kind, pkesks_digest: &[u8; 32], session_key: &[u8], date: u32, body: &[u8]) -> [u8; 16] {
        let mut mac = keyed(&self.0);
        mac.update(&[kind as u8]);
        mac.update(pkesks_digest);
        mac.update(&[u8::try_from(session_key.len()).expect("session keys have at most 32 bytes")]);
        mac.update(session_key);
        mac.update(&date.to_be_bytes());
        mac.update(body);
        first(&mac.finalize().into_bytes())
    }
}

/// `L_{j,i}`: eight bytes that let a reader find a record's place by one look-up.
pub type Locator = [u8; 8];

/// Makes the locators of one epoch.
pub struct Locators(Mac32);

impl Locators {
    /// The locators of the four slots `4·quad .. 4·quad + 4`: `HMAC-SHA256(place key, be32(quad))`, cut in four.
    pub fn quad(&self, quad: u32) -> [Locator; 4] {
        let block = self.0.number(quad);
        [first(&block), first(&block[8..]), first(&block[16..]), first(&block[24..])]
    }

    /// Makes the locators of sixty-four slots at once: of the quads `from`, `from + 1`, … in [`sha256::Hmac::numbers`].
    pub fn many(&self, compress: Compress) -> sha256::Hmac {
        self.0.many(compress)
    }

    /// `L_{j,i}`
    pub fn slot(&self, slot: u32) -> Locator {
        self.quad(slot / 4)[(slot % 4) as usize]
    }
}

/// How far an epoch has come, as a value that can be moved forward by anyone and backward by nobody.
#[derive(Clone)]
pub struct Progress {
    value: Key32,
    slots: u32,
    /// Values for each further multiple of [`MILESTONE`] slots, the nearest last. They tell nobody more than `value` does.
    milestones: Vec<Key32>,
}

/// So many slots are between values that are made ahead.
const MILESTONE: u32 = 64;

impl Progress {
    fn new(value: Key32) -> Self {
        Self { value, slots: 0, milestones: Vec::new() }
    }

    /// The same with the work of moving on to `slots` slots done for the most part, by a thread that has the time.
    pub fn with_milestones(mut self, slots: u32) -> Self {
        let mut ahead = self.clone();
        self.milestones = (self.slots / MILESTONE + 1..=slots / MILESTONE)
            .map(|milestone| {
                ahead.advance_to(milestone * MILESTONE);
                ahead.value.clone()
            })
            .collect();
        self.milestones.reverse();
        self
    }

    /// Moves on to the value for `slots` slots: `P_{j,i+1} = SHA-256(P_{j,i})`. Never moves back.
    pub fn advance_to(&mut self, slots: u32) {
        let mut next = (self.slots / MILESTONE + 1) * MILESTONE;
        while next <= slots
            && let Some(milestone) = self.milestones.pop()
        {
            (self.value, self.slots) = (milestone, next);
            next += MILESTONE;
        }
        while self.slots < slots {
            sha256::digest_of_digest(&mut self.value.0);
            self.slots += 1;
        }
    }

    /// The value, 32 bytes.
    pub fn value(&self) -> &[u8; 32] {
        &self.value.0
    }

    /// For how many slots the value stands.
    pub fn slots(&self) -> u32 {
        self.slots
    }
}

/// `rfc9580`: the salt of the SEIPD v2 packet, `L ‖ T[..24]`
pub fn seipd2_salt(locator: &Locator, tag: &Tag) -> [u8; 32] {
    let mut salt = [0; 32];
    salt[..8].copy_from_slice(locator);
    salt[8..].copy_from_slice(&tag.0[..24]);
    salt
}

/// [`seipd2_salt`] of sixteen slots, which are group `group` of the four that sixteen quads of locators are for.
pub fn seipd2_salts(quads: &State, group: usize, tags: &State) -> State {
    let locator = |word: usize| Words(std::array::from_fn(|lane| quads[lane % 4 * 2 + word].0[group * 4 + lane / 4]));
    std::array::from_fn(|word| if word < 2 { locator(word) } else { tags[word - 2] })
}

/// The locators of the same slots.
pub fn locators(quads: &State, group: usize) -> [Locator; LANES] {
    std::array::from_fn(|lane| first(&sha256::lane(quads, group * 4 + lane / 4)[lane % 4 * 8..]))
}

/// `age`: the nonce of the payload, `L[..4] ‖ HMAC-SHA256(T, k ‖ file key)[..12]`
pub fn age_nonce(locator: &Locator, tag: &Tag, kind: Kind, file_key: &[u8; 16]) -> [u8; 16] {
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&locator[..4]);
    nonce[4..].copy_from_slice(&tag.age_mac(kind, file_key));
    nonce
}

/// Length in bytes of [`rfc4880_name`].
pub const RFC4880_NAME_LEN: usize = 33;

/// `rfc4880`: the file name of the literal data packet, `"s" ‖ base64url(L ‖ MAC)` without padding, where MAC is
/// [`Tag::rfc4880_mac`].
pub fn rfc4880_name(locator: &Locator, mac: &[u8; 16]) -> [u8; RFC4880_NAME_LEN] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(locator);
    bytes[8..].copy_from_slice(mac);
    let mut name = [b's'; RFC4880_NAME_LEN];
    URL_SAFE_NO_PAD.encode_slice(bytes, &mut name[1..]).expect("24 bytes are 32 characters of base64");
    name
}

/// Undoes [`rfc4880_name`]; `None` where the name is not of that form.
pub fn parse_rfc4880_name(name: &[u8]) -> Option<(Locator, [u8; 16])> {
    let encoded = name.strip_prefix(b"s").filter(|rest| rest.len() == RFC4880_NAME_LEN - 1)?;
    let mut bytes = [0; 24];
    (URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).ok()? == bytes.len()).then(|| (first(&bytes), first(&bytes[8..])))
}

fn expand(key: &[u8; 32], label: &[u8], out: &mut [u8; 32]) {
    Hkdf::<Sha256>::from_prk(key)
        .expect("32 bytes are a whole key")
        .expand(label, out)
        .expect("32 bytes are within HKDF's limit");
}

fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// The first `N` bytes of a longer slice.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("callers cut from at least N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use sha2::Digest;

    fn unhex<const N: usize>(value: &Value) -> [u8; N] {
        let text = value.as_str().unwrap();
        let bytes: Vec<u8> = (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }

    #[test]
    fn meets_the_published_vectors() {
        let vectors: Value = serde_json::from_str(include_str!("../tests/vectors/chain.json")).unwrap();
        let session_key: [u8; 32] = unhex(&vectors["S_j (rfc9580 session key)"]);
        let pkesks: [u8; 111] = unhex(&vectors["pkesk bytes"]);
        let file_key: [u8; 16] = unhex(&vectors["age file key"]);
        let digest: [u8; 32] = Sha256::digest(pkesks).into();
        let date = u32::try_from(vectors["rfc4880"]["date"].as_u64().unwrap()).unwrap();
        let body = vectors["rfc4880"]["body"].as_str().unwrap().as_bytes();
        let mut chain = ChainKey::from_bytes(unhex(&vectors["E_0"]));
        let mut checked = 0;
        for epoch in vectors["epochs"].as_array().unwrap() {
            assert_eq!(chain.as_bytes(), &unhex::<32>(&epoch["E"]));
            let key = chain.epoch_key();
            assert_eq!(key.as_bytes(), &unhex::<32>(&epoch["K"]));
            let (bound, plain) = (key.bound_chain_secret(&session_key, &digest), key.chain_secret());
            for slot in epoch["slots"].as_array().unwrap() {
                let i = u32::try_from(slot["i"].as_u64().unwrap()).unwrap();
                let locator = key.locators().slot(i);
                assert_eq!(locator, unhex::<8>(&slot["L"]));
                let (tag, other) = (bound.tag(i), plain.tag(i));
                assert_eq!(tag.as_bytes(), &unhex::<32>(&slot["T rfc9580"]));
                assert_eq!(other.as_bytes(), &unhex::<32>(&slot["T others"]));
                assert_eq!(seipd2_salt(&locator, &tag), unhex::<32>(&slot["salt"]));
                for (kind, name) in [(Kind::Line, "line"), (Kind::Control, "control")] {
                    assert_eq!(age_nonce(&locator, &other, kind, &file_key), unhex::<16>(&slot[format!("age nonce {name}")]));
                    let mac = other.rfc4880_mac(kind, &digest, &session_key, date, body);
                    let expected = slot[format!("rfc4880 name {name}")].as_str().unwrap();
                    assert_eq!(rfc4880_name(&locator, &mac), expected.as_bytes());
                    assert_eq!(parse_rfc4880_name(expected.as_bytes()), Some((locator, mac)));
                }
                checked += 1;
            }
            for (field, mut progress) in [("P", key.memory_progress()), ("D", key.disk_progress())] {
                for slots in [0, 1, 2, 64] {
                    progress.advance_to(slots);
                    assert_eq!(progress.value(), &unhex::<32>(&epoch[field][slots.to_string()]));
                }
            }
            chain = chain.next();
        }
        assert_eq!(checked, 24);
    }

    #[test]
    fn many_slots_at_once_are_as_one_after_the_other() {
        let key = ChainKey::from_bytes([7; 32]).epoch_key();
        let (secret, locators) = (key.chain_secret(), key.locators());
        for group in 0..4 {
            let (quads, tags) =
                (locators.many(sha256::compress).numbers(16), secret.many(sha256::compress).numbers(64 + 16 * group as u32));
            let (salts, many) = (seipd2_salts(&quads, group, &tags), super::locators(&quads, group));
            for (lane, locator) in many.iter().enumerate() {
                let slot = (64 + 16 * group + lane) as u32;
                assert_eq!(*locator, locators.slot(slot));
                assert_eq!(&sha256::lane(&tags, lane), secret.tag(slot).as_bytes());
                assert_eq!(sha256::lane(&salts, lane), seipd2_salt(locator, &secret.tag(slot)));
            }
        }
    }

    #[test]
    fn progress_comes_to_the_same_values_with_milestones() {
        let key = ChainKey::from_bytes([7; 32]).epoch_key();
        for epoch in [0, 63, 64, 200, 1024] {
            for step in [1, 63, 64, 65, 300] {
                let (mut plain, mut ahead) = (key.memory_progress(), key.memory_progress().with_milestones(epoch));
                for slots in (0..1100).step_by(step).chain([1100]) {
                    plain.advance_to(slots);
                    ahead.advance_to(slots);
                    assert_eq!((ahead.slots(), ahead.value()), (slots, plain.value()));
                    assert!(ahead.milestones.len() as u32 <= epoch.saturating_sub(slots) / MILESTONE + 1);
                }
                assert!(ahead.milestones.is_empty());
            }
        }
    }

    #[test]
    fn a_name_of_another_form_is_no_place() {
        for name in [&b""[..], b"sealedlog", b"s", &[b's'; 34], &[b'!'; 33], &[0xff; 33]] {
            assert_eq!(parse_rfc4880_name(name), None, "{name:?}");
        }
    }
}
