//! Key files: a secret key is never taken for a public one; what is taken can be sealed to.
#![no_main]

use std::path::Path;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use sealedlog::identity::Identities;
use sealedlog::recipient::{self, Recipients};
use sealedlog_fuzz::NoPassphrase;

fuzz_target!(|bytes: &[u8]| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let found = recipient::parse(Path::new("x.asc"), bytes, now);
    let is_secret = Identities::default().add(Path::new("x"), bytes, &mut NoPassphrase).is_ok();
    let public: Vec<_> = found.into_iter().filter_map(Result::ok).collect();
    assert!(!is_secret || public.is_empty(), "a file with a secret key is taken for a public one");
    if let Ok(recipients) = Recipients::new(public, None) {
        assert_eq!(recipients.keys().len(), recipients.fingerprints().len());
        assert!(recipients.terms().len() > recipients.keys().len());
        assert!(recipients.marks().iter().all(|mark| mark.len() > 8));
    }
});
