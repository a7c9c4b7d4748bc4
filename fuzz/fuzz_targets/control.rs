//! Control records: what is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealedlog::control::{Control, GenesisFingerprint};

fuzz_target!(|bytes: &[u8]| {
    if let Some(control) = Control::parse(bytes) {
        let body = control.body();
        let again = Control::parse(&body).expect("written here");
        assert_eq!(again.body(), body);
        assert!(body.ends_with(b"}\n") && !body[..body.len() - 1].contains(&b'\n'));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(fingerprint) = text.parse::<GenesisFingerprint>()
    {
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
});
