//! Packet headers, the outer shape of messages, literal data packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealedlog::record::MAX_RECORD;
use sealedlog::record::openpgp::{self, Literal, Message, read_header};
use sealedlog::record::seipd2::Seipd2;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((packet_type, header, len)) = read_header(bytes) {
        // Written again it means the same, in a header that is no longer.
        let mut out = Vec::new();
        openpgp::write_header(packet_type, len, &mut out);
        assert_eq!(out.len(), openpgp::header_len(len));
        assert_eq!(read_header(&out), Ok((packet_type, out.len(), len)));
        assert!(header <= bytes.len());
    }
    if let Ok(message) = Message::parse(bytes) {
        assert!(message.len <= bytes.len() && message.len <= MAX_RECORD);
        assert_eq!(message.pkesks().map(<[u8]>::len).sum::<usize>(), message.pkesks.len());
        assert!(bytes[..message.len].starts_with(message.pkesks) && bytes[..message.len].ends_with(message.seipd));
        let again = Message::parse(&bytes[..message.len]).expect("it ends where it says");
        assert_eq!((again.len, again.seipd), (message.len, message.seipd));
        if let Ok(packet) = Seipd2::parse(message.seipd) {
            assert_eq!(packet.salt, &message.seipd[4..36]);
        }
    }
    let _ = Seipd2::parse(bytes);
    if let Ok(literal) = Literal::parse(bytes) {
        let mut out = Vec::new();
        literal.write(&mut out);
        assert_eq!(out.len(), literal.write_len());
        assert_eq!(Literal::parse(&out), Ok(literal));
    }
});
