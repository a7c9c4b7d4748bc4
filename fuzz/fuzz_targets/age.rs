//! age files: any header is read without harm, what was changed in any way does not open; what is not, does.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sealedlog::record::age::{self, AgeFile, MAGIC, Stanza};
use sealedlog_fuzz::world::Change;

#[derive(Arbitrary, Debug)]
struct Input {
    stanza_args: Vec<u8>,
    stanza_body: Vec<u8>,
    body: Vec<u8>,
    times: u16,
    changes: Vec<Change>,
    any: Vec<u8>,
}

const FILE_KEY: [u8; 16] = [7; 16];

fuzz_target!(|input: Input| {
    let arg = |byte: &u8| char::from(33 + byte % 94).to_string();
    let stanza =
        |args: &[u8], body: &[u8]| Stanza { tag: "X".to_owned(), args: args.iter().map(arg).collect(), body: body.to_vec() };
    let stanzas = [stanza(&input.stanza_args, &input.stanza_body), stanza(&[], &[])];
    let body = input.body.repeat(usize::from(input.times % 2048));
    if body.len() > 200_000 {
        return;
    }
    let mut file = Vec::new();
    age::write(&stanzas, &FILE_KEY, &[3; 16], &body, &mut file);
    let mut plain = Vec::new();
    let parsed = AgeFile::parse(&file).expect("written here");
    assert_eq!(parsed.stanzas, stanzas);
    parsed.open(&FILE_KEY, &mut plain).expect("nothing was changed");
    assert_eq!(plain, body);
    let changed = Change::apply(&input.changes, &file);
    let behind_magic = [MAGIC, b"\n-> ", &input.any].concat();
    for bytes in [&changed[..], &input.any, &behind_magic] {
        if bytes == file {
            continue;
        }
        let Ok(parsed) = AgeFile::parse(bytes) else { continue };
        assert!(parsed.open(&FILE_KEY, &mut plain).is_err(), "a forgery opens");
        assert!(plain.is_empty(), "something of a forgery is released");
        // What is read is canonical: written again, with another MAC, it has the same header.
        let mut again = Vec::new();
        age::write(&parsed.stanzas, &FILE_KEY, parsed.nonce, b"", &mut again);
        let head = memchr_mac(&again);
        assert_eq!(&bytes[..head], &again[..head]);
    }
});

/// The length of a header up to its MAC.
fn memchr_mac(file: &[u8]) -> usize {
    file.windows(5).position(|window| window == b"\n--- ").expect("a header has a MAC") + 5
}
