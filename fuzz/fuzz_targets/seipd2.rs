//! SEIPD version 2: what was changed in any way does not open; what is not, does.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sealedlog::record::Cipher;
use sealedlog::record::openpgp::{Literal, read_header};
use sealedlog::record::seal::Processor;
use sealedlog::record::seipd2::{self, MessageKey, Seipd2};
use sealedlog_fuzz::world::Change;

#[derive(Arbitrary, Debug)]
struct Input {
    aes256: bool,
    salt: [u8; 32],
    name: u8,
    body: Vec<u8>,
    /// The body is repeated so many times, to have several chunks.
    times: u8,
    changes: Vec<Change>,
    any: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let cipher = if input.aes256 { Cipher::Aes256 } else { Cipher::Aes128 };
    let session_key = &[7; 32][..cipher.key_len()];
    let (name, body) = (vec![b'n'; usize::from(input.name)], input.body.repeat(usize::from(input.times)));
    let literal = Literal { name: &name, date: 1, body: &body };
    let mut packet = Vec::new();
    seipd2::write(
        &MessageKey::derive(cipher, session_key, &input.salt),
        &input.salt,
        &literal,
        &mut packet,
        Processor::ANY.write_chunks,
    );
    let (_, header, len) = read_header(&packet).expect("written here");
    assert_eq!(header + len, packet.len());
    let sealed = &packet[header..];
    let mut plain = Vec::new();
    Seipd2::parse(sealed).expect("written here").open(session_key, &mut plain).expect("nothing was changed");
    assert_eq!(Literal::parse(&plain), Ok(literal));
    let changed = Change::apply(&input.changes, sealed);
    for bytes in [&changed[..], &input.any] {
        if bytes != sealed
            && let Ok(parsed) = Seipd2::parse(bytes)
        {
            assert!(parsed.open(session_key, &mut plain).is_err(), "a forgery opens");
            assert!(plain.is_empty(), "something of a forgery is released");
        }
    }
});
