//! One line of base64: what is read is what is written, and nothing else reads as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealedlog::record::{Framing, framing};

fuzz_target!(|bytes: &[u8]| {
    let mut record = Vec::new();
    if framing::read_line(bytes, &mut record) {
        let mut line = Vec::new();
        framing::write(Framing::Base64, &record, &mut line);
        let bare = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        assert_eq!(&line[..line.len() - 1], bare);
    }
    let mut line = Vec::new();
    framing::write(Framing::Base64, bytes, &mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(framing::read_line(&line, &mut record));
    assert_eq!(record, bytes);
});
