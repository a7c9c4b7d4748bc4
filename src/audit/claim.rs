//! What records with the same PKESK packets claim: the epoch that the first of them begins.
//!
//! Promises: a record that a claim proves was sealed in that slot by the holder of the key that the claim brings. Whether
//! that is the key of an epoch of a known stream is the verifier's to say; a claim only saves it from proving record by
//! record. What a claim costs in memory and time is bounded by the records that were read.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::chain::{self, ChainKey, ChainSecret, EpochKey, Kind, Locator, Locators, MAX_SLOTS, MIN_SLOTS, Tag};
use crate::control::{Control, Event, StreamId};
use crate::record::open::{Opened, Whereabouts};
use crate::sha256::{self, Compress, LANES, State};

/// So many tables are kept.
const MAX_TABLES: usize = 16;
/// So many slots beyond those of records that were proven are worth a locator from the beginning, and so many more each
/// record is.
const FIRST_CREDIT: i64 = 1 << 19;
const CREDIT: i64 = 4;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An epoch, by the word of its first record.
pub struct Claim {
    /// Never 0.
    id: u64,
    /// The stream that it says that it is of.
    pub stream: StreamId,
    /// j.
    pub epoch: u64,
    /// The key that it brings.
    pub key: EpochKey,
    slots: u32,
    locators: Locators,
    secret: ChainSecret,
    table: Mutex<Arc<Table>>,
    proven: AtomicU32,
}

impl Claim {
    /// What a record claims that says that it begins an epoch, and that its key proves to be in slot 0.
    pub fn of(opened: &Opened, control: &Control) -> Option<Self> {
        let (epoch, key, slots) = match &control.event {
            Event::Genesis(genesis) => (0, ChainKey::copy_of(genesis.chain_key.as_bytes()).epoch_key(), genesis.slots),
            Event::Epoch(epoch) => (epoch.epoch, EpochKey::from_bytes(*epoch.epoch_key.as_bytes()), epoch.slots),
            _ => return None,
        };
        let (locators, secret) = (key.locators(), opened.chain_secret(&key));
        if opened.proves_with(0, &locators.slot(0), &secret) != Some(Kind::Control) {
            return None;
        }
        let (slots, table, proven) = (slots.clamp(1, MAX_SLOTS), Mutex::default(), AtomicU32::new(0));
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Some(Self { id, stream: control.stream, epoch, key, slots, locators, secret, table, proven })
    }

    /// A number that no other claim has.
    pub fn id(&self) -> u64 {
        self.id
    }

    fn table(&self) -> MutexGuard<'_, Arc<Table>> {
        self.table.lock().expect("no thread panics while it holds the lock")
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({} {})", self.stream, self.epoch)
    }
}

/// A claim as one thread refers to it: records that were opened together count their references here, and not all at the
/// claim itself, where every thread would wait for the others.
#[derive(Debug)]
pub struct Claimed(Arc<Claim>);

impl Deref for Claimed {
    type Target = Claim;

    fn deref(&self) -> &Claim {
        &self.0
    }
}

/// Where the slots of an epoch are found by their locators.
#[derive(Default)]
pub struct Table {
    locators: Vec<Locator>,
    /// Slots, each at the first free place from the one on that its locator names; twice as many places as slots, at least.
    index: Vec<u16>,
}

const FREE: u16 = u16::MAX;

impl Table {
    /// Of the first `slots` slots.
    fn new(locators: &Locators, slots: u32, compress: Compress) -> Self {
        let (many, groups) = (locators.many(compress), 0..slots.div_ceil(LANES as u32 * 4));
        let locators = groups.flat_map(|group| {
            let quads = many.numbers(group * LANES as u32);
            (0..4).flat_map(move |group| chain::locators(&quads, group))
        });
        let locators: Vec<Locator> = locators.take(slots.next_multiple_of(4) as usize).collect();
        let mut table = Self { index: vec![FREE; (locators.len() * 2).next_power_of_two()], locators };
        for slot in 0..table.locators.len() {
            let free = table.probe(&table.locators[slot]).find(|&at| table.index[at] == FREE).expect("half of all are free");
            table.index[free] = u16::try_from(slot).expect("an epoch has at most 16384 slots");
        }
        table
    }

    fn probe(&self, locator: &Locator) -> impl Iterator<Item = usize> + use<> {
        let (mask, start) = (self.index.len() - 1, u64::from_le_bytes(*locator) as usize);
        (0..=mask).map(move |step| start.wrapping_add(step) & mask)
    }

    /// The slot with this locator.
    fn find(&self, locator: &Locator) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        self.probe(locator)
            .map(|at| self.index[at])
            .take_while(|&slot| slot != FREE)
            .map(u32::from)
            .find(|&slot| self.locators[slot as usize] == *locator)
    }
}

/// The tables of all claims of a run.
pub struct Tables {
    compress: Compress,
    credit: AtomicI64,
    made: Mutex<VecDeque<Arc<Claim>>>,
}

impl Tables {
    /// None yet.
    pub fn new(compress: Compress) -> Self {
        Self { compress, credit: AtomicI64::new(FIRST_CREDIT), made: Mutex::default() }
    }

    /// The slots of a claim as far as it is worth it. More of them where `more` is asked for.
    fn get(&self, claim: &Arc<Claim>, more: bool) -> Arc<Table> {
        let mut table = claim.table();
        let (have, all) = (table.locators.len(), claim.slots.next_multiple_of(4));
        if have as u32 >= all || (have > 0 && !more) {
            return Arc::clone(&table);
        }
        let backed = all.min(MIN_SLOTS.saturating_add(claim.proven.load(Ordering::Relaxed).saturating_mul(2)));
        let spare = i64::from(all - backed);
        let slots = if self.credit.load(Ordering::Relaxed) >= spare {
            self.credit.fetch_sub(spare, Ordering::Relaxed);
            all
        } else {
            backed
        };
        if slots as usize > have {
            *table = Arc::new(Table::new(&claim.locators, slots, self.compress));
            let made = Arc::clone(&table);
            drop(table);
            self.remember(claim);
            return made;
        }
        Arc::clone(&table)
    }

    fn remember(&self, claim: &Arc<Claim>) {
        let mut made = self.made.lock().expect("no thread panics while it holds the lock");
        made.retain(|known| !Arc::ptr_eq(known, claim));
        made.push_back(Arc::clone(claim));
        let gone = if made.len() > MAX_TABLES { made.pop_front() } else { None };
        drop(made);
        if let Some(gone) = gone {
            *gone.table() = Arc::default();
        }
    }
}

/// Proves records of one claim that come one after the other, mostly in the order of their slots.
pub struct Prover {
    /// What is claimed.
    pub claim: Arc<Claimed>,
    table: Option<Arc<Table>>,
    many: sha256::Hmac,
    /// Of sixteen slots from the first one on.
    tags: Option<(u32, State)>,
    next: u32,
    proven: u32,
    misses: u32,
}

impl Prover {
    /// Begins anywhere in the epoch.
    pub fn new(claim: &Arc<Claim>, compress: Compress) -> Self {
        let (many, claim) = (claim.secret.many(compress), Arc::new(Claimed(Arc::clone(claim))));
        Self { claim, table: None, many, tags: None, next: 0, proven: 0, misses: 0 }
    }

    /// The slot that a record of the profile `rfc9580` proves.
    pub fn prove(&mut self, opened: &Opened, tables: &Tables) -> Option<u32> {
        let Some(Whereabouts::Locator(locator)) = opened.locator() else { return None };
        let locator = &locator;
        let table = self.table.get_or_insert_with(|| tables.get(&self.claim.0, false));
        let slot = match table.locators.get(self.next as usize) {
            Some(next) if next == locator => Some(self.next),
            _ => table.find(locator),
        };
        let slot = match slot {
            Some(slot) => slot,
            None => {
                // Not each time: what is not there may be asked for again and again.
                self.misses += 1;
                if !self.misses.is_power_of_two() {
                    return None;
                }
                self.settle(tables);
                self.table.insert(tables.get(&self.claim.0, true)).find(locator)?
            }
        };
        opened.proves_by(locator, &self.tag(slot))?;
        (self.next, self.proven) = (slot + 1, self.proven + 1);
        Some(slot)
    }

    /// Where records follow each other, sixteen are made at once.
    fn tag(&mut self, slot: u32) -> Tag {
        let of = |tags: &(u32, State)| {
            let lane = slot.checked_sub(tags.0).filter(|&lane| lane < LANES as u32)?;
            Some(Tag::from_bytes(sha256::lane(&tags.1, lane as usize)))
        };
        if let Some(tag) = self.tags.as_ref().and_then(of) {
            return tag;
        }
        if slot != self.next {
            return self.claim.secret.tag(slot);
        }
        of(self.tags.insert((slot, self.many.numbers(slot)))).expect("it is the first of them")
    }

    /// Accounts for the records that were proven since it was done last.
    pub fn settle(&mut self, tables: &Tables) {
        let proven = std::mem::take(&mut self.proven);
        self.claim.proven.fetch_add(proven, Ordering::Relaxed);
        tables.credit.fetch_add(i64::from(proven) * CREDIT, Ordering::Relaxed);
    }
}
