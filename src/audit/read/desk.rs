//! What one thread has at hand while it opens records that follow each other.
//!
//! Promises: what comes of a record does not depend on those that are opened along with it. Plain texts stand in one piece,
//! and what records share is counted for one thread alone: counting with others would make each wait for all. Where
//! records of one epoch follow each other, the keys and tags of sixteen are made at once.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Opener, Pkesks, Told, Why, count_lines};
use crate::audit::claim::{Claim, Prover};
use crate::chain::Kind;
use crate::control::{Control, Event, GenesisFingerprint};
use crate::record::age::MAGIC;
use crate::record::ocb::four::LANES as FOUR;
use crate::record::open::{Body, Opened, Read, Seal, Wrapped};
use crate::record::openpgp::Message;
use crate::record::seipd2::{MessageKey, Seipd2};
use crate::sha256::{self, LANES};

/// So many epochs are on the desk.
const MAX_EPOCHS: usize = 16;
/// Sixteen keys at once take about as long as so many one by one.
const WORTH_MANY: usize = 6;

/// The desk.
pub struct Desk<'o, 'i, 'b> {
    opener: &'o Opener<'i>,
    plain: Vec<u8>,
    epochs: Vec<OnDesk>,
    /// The one that the record before was of.
    current: usize,
    /// Records of that one that wait to be opened together.
    waiting: Vec<Waiting<'b>>,
    told: Vec<Option<Result<Told, Why>>>,
    /// Which of them stand in `plain`, and where.
    bodies: Vec<(usize, Range<usize>)>,
    /// Which of them, and of which epoch, may prove a place that is claimed.
    unproven: Vec<(usize, usize)>,
}

struct OnDesk {
    pkesks: Vec<u8>,
    /// As the SEIPD packet names it.
    cipher: Option<u8>,
    /// Of this thread: what all share, every thread would count.
    wrapped: Option<Arc<Wrapped>>,
    known: Arc<Pkesks>,
    prover: Option<Prover>,
}

struct Waiting<'b> {
    /// Its number among what is told.
    number: usize,
    record: &'b [u8],
    packet: Seipd2<'b>,
}

impl<'o, 'i, 'b> Desk<'o, 'i, 'b> {
    /// With room for so many bytes and records.
    pub fn new(opener: &'o Opener<'i>, bytes: usize, records: usize) -> Self {
        Self {
            opener,
            plain: Vec::with_capacity(bytes),
            epochs: Vec::new(),
            current: 0,
            waiting: Vec::with_capacity(LANES),
            told: Vec::with_capacity(records),
            bodies: Vec::with_capacity(records),
            unproven: Vec::with_capacity(records),
        }
    }

    /// Takes the next candidate.
    pub fn take(&mut self, candidate: Option<Result<&'b [u8], Why>>) {
        let judged = match candidate {
            None => Ok(None),
            Some(Err(why)) => Err(why),
            Some(Ok(record)) => self.judge(record),
        };
        // Not in one: nothing is to be moved for those that wait.
        match judged {
            Ok(None) => self.told.push(None),
            Ok(Some(told)) => self.told.push(Some(Ok(*told))),
            Err(why) => self.told.push(Some(Err(why))),
        }
        if self.waiting.len() == LANES {
            self.open_waiting();
        }
    }

    /// What came of all.
    pub fn finish(mut self) -> Vec<Option<Result<Told, Why>>> {
        self.clear();
        let plain = Arc::new(self.plain);
        for (number, body) in self.bodies {
            if let Some(Ok(told)) = &mut self.told[number] {
                told.opened.body = Body::part_of(&plain, body);
            }
        }
        self.told
    }

    /// `None` for one that waits.
    fn judge(&mut self, record: &'b [u8]) -> Result<Option<Box<Told>>, Why> {
        let opener = self.opener;
        if record.starts_with(MAGIC) {
            return opener.open_age(record).map(|opened| Some(Box::new(opener.told(record, opened, false))));
        }
        let alike = self.epochs.get(self.current).and_then(|epoch| Message::parse_behind(record, &epoch.pkesks));
        let is_alike = alike.is_some();
        let message = alike.or_else(|| Message::parse(record).ok());
        let message = message.filter(|message| message.len == record.len()).ok_or(Why::NotARecord)?;
        match message.seipd.first() {
            Some(2) => {}
            Some(1) => return opener.open_seipd1(&message).map(|opened| Some(Box::new(opener.told(record, opened, false)))),
            _ => return Err(Why::NotARecord),
        }
        self.turn_to(&message, is_alike)?;
        if self.epochs[self.current].wrapped.is_none() {
            return Err(Why::NoKey);
        }
        let packet = Seipd2::parse(message.seipd).map_err(|_| Why::DoesNotOpen)?;
        self.waiting.push(Waiting { number: self.told.len(), record, packet });
        Ok(None)
    }

    /// Makes the epoch of a message the current one.
    fn turn_to(&mut self, message: &Message<'b>, has_current_pkesks: bool) -> Result<(), Why> {
        let cipher = message.seipd.get(1).copied();
        if has_current_pkesks && self.epochs[self.current].cipher == cipher {
            return Ok(());
        }
        self.open_waiting();
        if let Some(at) = self.epochs.iter().position(|epoch| epoch.cipher == cipher && epoch.pkesks == message.pkesks) {
            self.current = at;
            return Ok(());
        }
        let pkesks_digest = Sha256::digest(message.pkesks).into();
        let known = self.opener.unwrap(message, pkesks_digest)?;
        let session_key = known.session_key.get().cloned().flatten();
        let wrapped = session_key.map(|session_key| Arc::new(Wrapped { pkesks_digest, session_key }));
        if self.epochs.len() == MAX_EPOCHS {
            self.clear();
        }
        self.current = self.epochs.len();
        self.epochs.push(OnDesk { pkesks: message.pkesks.to_vec(), cipher, wrapped, known, prover: None });
        Ok(())
    }

    fn open_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(wrapped) = self.epochs.get(self.current).and_then(|epoch| epoch.wrapped.clone()) else { return };
        let session_key = wrapped.session_key.as_bytes();
        let first = waiting.first().map(|first| first.packet.cipher);
        let keys = first.filter(|cipher| waiting.len() >= WORTH_MANY && cipher.key_len() == session_key.len());
        let keys = keys.map(|cipher| {
            let salts = sha256::values(|lane| waiting[lane.min(waiting.len() - 1)].packet.salt);
            MessageKey::derive_many(cipher, session_key, &salts, self.opener.compress)
        });
        for waiting in &waiting {
            self.told[waiting.number] = Some(Err(Why::DoesNotOpen));
        }
        match &keys {
            Some(keys) => {
                for (waiting, keys) in waiting.chunks(FOUR).zip(keys.chunks(FOUR)) {
                    self.open_few(waiting, keys, &wrapped);
                }
            }
            None => {
                for waiting in &waiting {
                    waiting.packet.message_key(session_key).and_then(|key| self.open(waiting, &key, &wrapped));
                }
            }
        }
        self.waiting = waiting;
        self.waiting.clear();
    }

    /// Opens records of the current epoch, at most four, each if it does.
    fn open_few(&mut self, waiting: &[Waiting<'b>], keys: &[MessageKey], wrapped: &Arc<Wrapped>) {
        if let (Some(read_four), Ok(four), Some(keys)) =
            (self.opener.read_four, <&[_; FOUR]>::try_from(waiting), keys.first_chunk::<FOUR>())
            && four.iter().all(|waiting| waiting.packet.is_one_chunk())
        {
            let pairs = std::array::from_fn(|lane| (&four[lane].packet, &keys[lane]));
            for (waiting, part) in four.iter().zip(read_four(pairs, &mut self.plain)) {
                part.ok().and_then(|part| self.opened(waiting, part, wrapped));
            }
            return;
        }
        for (waiting, key) in waiting.iter().zip(keys) {
            self.open(waiting, key, wrapped);
        }
    }

    /// Opens a record of the current epoch, if it does.
    fn open(&mut self, waiting: &Waiting<'b>, key: &MessageKey, wrapped: &Arc<Wrapped>) -> Option<()> {
        let start = self.plain.len();
        waiting.packet.append(key, &mut self.plain, self.opener.read_chunks).ok()?;
        self.opened(waiting, start..self.plain.len(), wrapped)
    }

    /// Takes what stands in this part of the plain text.
    fn opened(&mut self, waiting: &Waiting<'b>, part: Range<usize>, wrapped: &Arc<Wrapped>) -> Option<()> {
        let Waiting { number, record, packet } = *waiting;
        let (opener, epoch) = (self.opener, &self.epochs[self.current]);
        let Read { kind, date, body } = Read::of(&self.plain, part).ok()?;
        let seal = Seal::Rfc9580 { salt: *packet.salt, wrapped: Arc::clone(wrapped), kind };
        let opened = Opened { seal, date: Some(date), body: Body::default() };
        let mut genesis = None;
        if kind == Kind::Control
            && let Some(control) = Control::parse(&self.plain[body.clone()])
        {
            genesis = matches!(control.event, Event::Genesis(_)).then(|| Box::new(GenesisFingerprint::of(record)));
            if matches!(control.event, Event::Genesis(_) | Event::Epoch(_)) && epoch.known.claim.get().is_none() {
                Claim::of(&opened, &control).map(|claim| epoch.known.claim.set(Arc::new(claim)));
            }
        }
        let lines = count_lines(&self.plain[body.clone()]);
        self.bodies.push((number, body));
        self.unproven.push((number, self.current));
        let digest = opener.hasher.digest(record);
        self.told[number] = Some(Ok(Told { digest, genesis, opened, lines, salvaged: false, claim: None }));
        Some(())
    }

    /// Ends with all that is on the desk. Places are proven last: the record that claims them may be with another thread.
    fn clear(&mut self) {
        self.open_waiting();
        for (number, epoch) in self.unproven.drain(..) {
            let epoch = &mut self.epochs[epoch];
            if epoch.prover.is_none() {
                epoch.prover = epoch.known.claim.get().map(|claim| Prover::new(claim, self.opener.compress));
            }
            if let (Some(prover), Some(Ok(told))) = (&mut epoch.prover, &mut self.told[number]) {
                let slot = prover.prove(&told.opened, &self.opener.tables);
                told.claim = slot.map(|slot| (Arc::clone(&prover.claim), slot));
            }
        }
        for mut prover in self.epochs.drain(..).filter_map(|epoch| epoch.prover) {
            prover.settle(&self.opener.tables);
        }
        self.current = 0;
    }
}
