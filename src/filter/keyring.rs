//! The keys that a filter seals to, followed while it runs.
//!
//! Promises: as long as the folder is unusable the last good keys stay; each change is read within an hour even if nobody
//! tells of it.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::warn::Warner;
use super::{FilterError, FilterOptions};
use crate::host::clock;
use crate::host::wake::Waker;
use crate::keys::{self, KeyWatch};
use crate::recipient::Recipients;
use crate::record::{Framing, Profile};

/// How often the keys are read again even if nothing seems to have changed: some expire, some folders come back.
const INTERVAL: Duration = Duration::from_secs(3600);
/// The same while the folder is unusable.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(60);

/// The keys. See the module's description.
pub struct Keyring {
    paths: Vec<PathBuf>,
    profile: Option<Profile>,
    wanted_framing: Option<Framing>,
    waker: Waker,
    watch: Option<KeyWatch>,
    recipients: Arc<Recipients>,
    framing: Framing,
    read_at: Duration,
    changes: u64,
}

impl Keyring {
    /// Reads the keys. Those that are refused are told, but at least one must be usable.
    pub fn load(options: &FilterOptions, waker: Waker, warner: &mut Warner) -> Result<Self, FilterError> {
        let loaded = keys::load(&options.keys, options.profile)?;
        loaded.refused.iter().for_each(|refusal| warner.warn("refused", refusal));
        let recipients = Arc::new(loaded.recipients);
        let framing = framing(options.framing, recipients.profile())?;
        Ok(Self {
            paths: options.keys.clone(),
            profile: options.profile,
            wanted_framing: options.framing,
            waker,
            watch: None,
            recipients,
            framing,
            read_at: clock::boottime() + INTERVAL,
            changes: 0,
        })
    }

    /// What is sealed to.
    pub fn recipients(&self) -> &Arc<Recipients> {
        &self.recipients
    }

    /// The profile that was asked for.
    pub fn profile(&self) -> Option<Profile> {
        self.profile
    }

    /// How records follow each other.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// How often they have changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// When the keys are to be read again in any case.
    pub fn read_at(&self) -> Duration {
        self.read_at
    }

    /// Whether something has changed in the folder since the last call.
    pub fn take_changed(&self) -> bool {
        self.watch.as_ref().is_some_and(KeyWatch::take_changed)
    }

    /// Watches the folders as they are now.
    pub fn watch(&mut self, warner: &mut Warner) {
        match KeyWatch::new(&self.paths, self.waker.clone()) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => warner.warn("watch", &format_args!("the keys cannot be watched for changes: {error}")),
        }
    }

    /// Reads the keys again, or keeps what it has and says so.
    pub fn reload(&mut self, warner: &mut Warner) {
        // Anew, and before the keys are read: a folder that was removed and made again is another one.
        self.watch(warner);
        let loaded = keys::load(&self.paths, self.profile)
            .map_err(FilterError::from)
            .and_then(|loaded| Ok((framing(self.wanted_framing, loaded.recipients.profile())?, loaded)));
        let interval = match loaded {
            Ok((framing, loaded)) => {
                loaded.refused.iter().for_each(|refusal| warner.warn("refused", refusal));
                if loaded.recipients != *self.recipients {
                    self.recipients = Arc::new(loaded.recipients);
                    self.changes += 1;
                }
                self.framing = framing;
                INTERVAL
            }
            Err(error) => {
                warner.warn("keys", &format_args!("{error}; lines go on being sealed to the last good keys"));
                TROUBLE_INTERVAL
            }
        };
        self.read_at = clock::boottime() + interval;
    }
}

/// The framing of a profile, as asked for where that can be.
fn framing(wanted: Option<Framing>, profile: Profile) -> Result<Framing, FilterError> {
    match (profile, wanted) {
        (Profile::Age, Some(Framing::Binary)) => Err(FilterError::AgeBinary),
        (_, wanted) => Ok(wanted.unwrap_or(profile.framing())),
    }
}
