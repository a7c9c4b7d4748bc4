//! Whole sealed files: every byte is told once, in order, as a record or as damage.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sealedlog::audit::read::{Found, Opener, RecordReader};
use sealedlog::identity::Identities;
use sealedlog::record::Framing;
use sealedlog_fuzz::{FROZEN, all_identities};

static IDENTITIES: LazyLock<Identities> = LazyLock::new(all_identities);

// The first byte chooses the log that the rest is put into; 0xff: the rest is the file.
fuzz_target!(|bytes: &[u8]| {
    let [first, rest @ ..] = bytes else { return };
    let file = match FROZEN.get(usize::from(*first >> 5)) {
        Some(frozen) if *first != 0xff => {
            let sealed = frozen.files[0].1;
            let [at, over, rest @ ..] = rest else { return };
            let at = sealed.len() * usize::from(*at) / 256;
            let over = (at + usize::from(*over) * usize::from(first & 1)).min(sealed.len());
            [&sealed[..at], rest, &sealed[over..]].concat()
        }
        _ => rest.to_vec(),
    };
    let opener = Opener::new(&IDENTITIES);
    let mut reader = RecordReader::new(&file[..], &opener);
    let (mut at, mut told) = (0, 0);
    let mut pieces = Vec::new();
    for found in &mut reader {
        let (offset, length) = match found.expect("memory can be read") {
            Found::Record(record) => (record.offset, record.length),
            Found::Damage(damage) => (damage.offset, damage.length),
        };
        assert!(offset >= at && length > 0, "out of order: {offset} {length} behind {at}");
        pieces.push((at, offset));
        at = offset + length;
        told += length;
    }
    assert!(at <= file.len() as u64);
    pieces.push((at, file.len() as u64));
    // What is passed over are empty and blank lines; a file of such lines alone has no framing.
    let passed: Vec<u8> = pieces
        .iter()
        .flat_map(|&(from, to)| &file[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()])
        .copied()
        .collect();
    let text = reader.framing() != Some(Framing::Binary);
    assert!(passed.iter().all(|&byte| text && byte.is_ascii_whitespace()), "{told} of {} bytes are told", file.len());
});
