//! The state folder of a stream with any content: an error, nothing, or a state that is written and read the same.
#![no_main]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sealedlog::chain::ChainKey;
use sealedlog::control::{GenesisFingerprint, Hex};
use sealedlog::stream::state::{State, StateFolder};
use sealedlog_fuzz::{folder, put};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| folder("state"));

// What is changed of a good state file: offset (two bytes), length (one), the bytes. 0xffff: all of it is the rest.
fuzz_target!(|bytes: &[u8]| {
    let Some((at, rest)) = bytes.split_first_chunk::<2>() else { return };
    let state = StateFolder::new(&FOLDER, &FOLDER, Path::new("/l"), "x");
    let path = state.path().join("state");
    let good = State {
        stream: Hex([1; 16]),
        next_epoch: 5,
        chain_key: ChainKey::from_bytes([2; 32]),
        genesis: GenesisFingerprint::of(b"genesis"),
        recipients: Hex([3; 32]),
    };
    let any = if u16::from_be_bytes(*at) == 0xffff {
        fs::create_dir_all(state.path()).expect("writable");
        put(&path, rest);
        true
    } else {
        state.lock().and_then(|locked| locked.write(&good)).expect("writable");
        let file = OpenOptions::new().write(true).open(&path).expect("it is there");
        file.write_all_at(rest, u64::from(u16::from_be_bytes(*at) % 8192)).expect("writable");
        false
    };
    let locked = state.lock().expect("a regular file can be locked");
    if let Ok(Some(read)) = locked.read() {
        // Who cannot make a checksum only finds the state that was there.
        assert!(any || (read.next_epoch, read.stream) == (5, Hex([1; 16])), "a state that was never written");
        locked.write(&read).expect("writable");
        let again = locked.read().expect("it was written").expect("it was written");
        assert_eq!(
            (again.next_epoch, again.stream, again.chain_key.as_bytes()),
            (read.next_epoch, read.stream, read.chain_key.as_bytes())
        );
    }
    drop(locked);
    for name in ["config", "segment", "genesis", "genesis.next"] {
        put(&state.path().join(name), rest);
    }
    if let Some(config) = state.config() {
        state.store_config(&config).expect("writable");
        assert_eq!(state.config(), Some(config));
    }
    let _ = state.newest_segment();
    assert!(state.genesis(&good.genesis).is_err() || rest == b"genesis");
});
