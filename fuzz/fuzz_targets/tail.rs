//! The end of a file that a filter goes on in: what is torn of it is at most all, and a whole record behind it is none.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sealedlog::record::Framing;
use sealedlog::segment::LogFile;
use sealedlog_fuzz::world::WORLDS;
use sealedlog_fuzz::{folder, put};

static FILE: LazyLock<PathBuf> = LazyLock::new(|| folder("tail").join("log"));

fuzz_target!(|bytes: &[u8]| {
    let [first, rest @ ..] = bytes else { return };
    let world = &WORLDS[usize::from(first % 3)];
    let file = &world.files[0];
    let cut = file.bytes.len() * usize::from(*first >> 2) / 64;
    let content = if first & 2 == 0 { rest.to_vec() } else { [&file.bytes[..cut], rest].concat() };
    put(&FILE, &content);
    let (_, found) = LogFile::open(&FILE, world.framing, &world.recipients.marks()).expect("a regular file");
    assert_eq!(found.length, content.len() as u64);
    assert!(found.torn <= found.length);
    if world.framing == Framing::Base64 {
        assert_eq!(found.torn == 0, content.is_empty() || content.ends_with(b"\n"));
    }
    if found.torn == 0 && world.framing == Framing::Binary {
        let record = &file.bytes[file.records[0].clone()];
        put(&FILE, &[&content[..], record].concat());
        let (_, found) = LogFile::open(&FILE, world.framing, &world.recipients.marks()).expect("a regular file");
        assert_eq!(found.torn, 0);
    }
});
