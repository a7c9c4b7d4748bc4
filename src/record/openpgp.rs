//! OpenPGP packets (RFC 9580, 4.2) as far as records use them: headers, the shape of a message, the literal data packet.
#![forbid(unsafe_code)]

use thiserror::Error;

use super::MAX_RECORD;

/// Packet type of the public-key encrypted session key packet (RFC 9580, 5.1).
pub const PKESK: u8 = 1;
/// Packet type of the symmetrically encrypted and integrity protected data packet (RFC 9580, 5.13).
pub const SEIPD: u8 = 18;
/// Packet type of the literal data packet (RFC 9580, 5.9).
pub const LITERAL: u8 = 11;
/// Packet type of the padding packet (RFC 9580, 5.14).
pub const PADDING: u8 = 21;
/// The first octet of a PKESK packet's header.
pub const PKESK_HEADER: u8 = 0xC0 | PKESK;

/// Why bytes are not what they should be.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
#[non_exhaustive]
pub enum Malformed {
    /// More bytes are needed to tell.
    #[error("cut short")]
    Short,
    /// Not an OpenPGP packet header in the form that records use.
    #[error("no packet header")]
    Header,
    /// A packet of another type than the place calls for.
    #[error("a packet of another type")]
    Type,
    /// Longer than any record.
    #[error("longer than a record can be")]
    Long,
    /// A packet of another version than the place calls for.
    #[error("a packet of another version")]
    Version,
    /// A field of the packet does not add up.
    #[error("a field that does not add up")]
    Field,
}

/// Appends a packet header in the current format with a definite length (RFC 9580, 4.2.1).
pub fn write_header(packet_type: u8, len: usize, out: &mut Vec<u8>) {
    out.push(0xC0 | packet_type);
    match len {
        0..192 => out.push(len as u8),
        192..8384 => out.extend_from_slice(&[((len - 192) >> 8) as u8 + 192, (len - 192) as u8]),
        _ => {
            out.push(255);
            out.extend_from_slice(&u32::try_from(len).expect("packets are far shorter than 4 GiB").to_be_bytes());
        }
    }
}

/// Length in bytes of what [`write_header`] appends.
pub fn header_len(len: usize) -> usize {
    match len {
        0..192 => 2,
        192..8384 => 3,
        _ => 6,
    }
}

/// Reads a packet header: type, length of the header, length of the body. The current and the legacy format with
/// definite lengths (RFC 9580, 4.2.1 and 4.2.2); partial lengths never stand in a record.
pub fn read_header(bytes: &[u8]) -> Result<(u8, usize, usize), Malformed> {
    let &first = bytes.first().ok_or(Malformed::Short)?;
    let be = |from: usize, n: usize| -> Result<usize, Malformed> {
        let octets = bytes.get(from..from + n).ok_or(Malformed::Short)?;
        Ok(octets.iter().fold(0, |len, &octet| len << 8 | usize::from(octet)))
    };
    match first >> 6 {
        0b11 => {
            let (header, len) = match be(1, 1)? {
                len @ 0..192 => (2, len),
                high @ 192..224 => (3, ((high - 192) << 8) + be(2, 1)? + 192),
                255 => (6, be(2, 4)?),
                _ => return Err(Malformed::Header),
            };
            Ok((first & 0x3F, header, len))
        }
        0b10 => {
            let octets = match first & 3 {
                0 => 1,
                1 => 2,
                2 => 4,
                _ => return Err(Malformed::Header),
            };
            Ok((first >> 2 & 0x0F, 1 + octets, be(1, octets)?))
        }
        _ => Err(Malformed::Header),
    }
}

/// A record's outer shape: where its PKESK packets end, and its encrypted data packet.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// All PKESK packets, headers included.
    pub pkesks: &'a [u8],
    /// The body of the SEIPD packet.
    pub seipd: &'a [u8],
    /// Length of the whole record in bytes.
    pub len: usize,
}

impl<'a> Message<'a> {
    /// Reads the record that `bytes` begin with; more may follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut at = 0;
        loop {
            let (packet_type, header, body) = read_header(&bytes[at..])?;
            let end = at + header + body;
            match packet_type {
                _ if end > MAX_RECORD => return Err(Malformed::Long),
                PKESK => at = end,
                SEIPD if at > 0 => {
                    let seipd = bytes.get(at + header..end).ok_or(Malformed::Short)?;
                    return Ok(Self { pkesks: &bytes[..at], seipd, len: end });
                }
                _ => return Err(Malformed::Type),
            }
            if at >= bytes.len() {
                return Err(Malformed::Short);
            }
        }
    }

    /// The same, faster, where the record begins with these PKESK packets, as those before it did, and no others; `None`
    /// where it does not, or is not whole.
    pub fn parse_behind(bytes: &'a [u8], pkesks: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(pkesks).filter(|_| !pkesks.is_empty())?;
        let (packet_type, header, body) = read_header(rest).ok()?;
        let len = pkesks.len() + header + body;
        let seipd = rest.get(header..header + body).filter(|_| packet_type == SEIPD && len <= MAX_RECORD)?;
        Some(Self { pkesks: &bytes[..pkesks.len()], seipd, len })
    }

    /// The PKESK packets one by one, headers included.
    pub fn pkesks(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.pkesks;
        std::iter::from_fn(move || {
            let (_, header, body) = read_header(rest).ok()?;
            let (packet, after) = rest.split_at_checked(header + body)?;
            rest = after;
            Some(packet)
        })
    }
}

/// A literal data packet (RFC 9580, 5.9) of format `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal<'a> {
    /// The file name field: a seal, a mark of control records, or empty.
    pub name: &'a [u8],
    /// Seconds since 1970.
    pub date: u32,
    /// The content.
    pub body: &'a [u8],
}

impl<'a> Literal<'a> {
    /// Appends the packet.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_header(LITERAL, self.body_len(), out);
        out.push(b'b');
        out.push(u8::try_from(self.name.len()).expect("names here have at most 33 bytes"));
        out.extend_from_slice(self.name);
        out.extend_from_slice(&self.date.to_be_bytes());
        out.extend_from_slice(self.body);
    }

    /// Length in bytes of what [`Literal::write`] appends.
    pub fn write_len(&self) -> usize {
        header_len(self.body_len()) + self.body_len()
    }

    fn body_len(&self) -> usize {
        2 + self.name.len() + 4 + self.body.len()
    }

    /// Where the content begins in the bytes that it was read from with [`Literal::parse`].
    pub fn body_at(&self, plain: &[u8]) -> usize {
        read_header(plain).map_or(0, |(_, header, _)| header) + 2 + self.name.len() + 4
    }

    /// Reads the decrypted content of a record: one literal data packet, after which padding may follow (RFC 9580, 10.3).
    pub fn parse(plain: &'a [u8]) -> Result<Self, Malformed> {
        let (packet_type, header, len) = read_header(plain)?;
        if packet_type != LITERAL {
            return Err(Malformed::Type);
        }
        let body = plain.get(header..header + len).ok_or(Malformed::Short)?;
        let mut rest = &plain[header + len..];
        while !rest.is_empty() {
            let (packet_type, header, len) = read_header(rest)?;
            if packet_type != PADDING {
                return Err(Malformed::Type);
            }
            rest = rest.get(header + len..).ok_or(Malformed::Short)?;
        }
        let [b'b', name_len, fields @ ..] = body else { return Err(Malformed::Field) };
        let (name, fields) = fields.split_at_checked(usize::from(*name_len)).ok_or(Malformed::Field)?;
        let (date, body) = fields.split_first_chunk::<4>().ok_or(Malformed::Field)?;
        Ok(Self { name, date: u32::from_be_bytes(*date), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_announced_length_is_the_written_one(name in prop::collection::vec(any::<u8>(), 0..40), date: u32, body in prop::collection::vec(any::<u8>(), 0..20000)) {
            let literal = Literal { name: &name, date, body: &body };
            let mut out = Vec::new();
            literal.write(&mut out);
            prop_assert_eq!(out.len(), literal.write_len());
            prop_assert_eq!(Literal::parse(&out), Ok(literal));
            write_header(PADDING, 300, &mut out);
            prop_assert_eq!(Literal::parse(&out), Err(Malformed::Short));
            out.extend_from_slice(&[0; 300]);
            prop_assert_eq!(Literal::parse(&out), Ok(literal));
        }

        #[test]
        fn headers_come_back(packet_type in 1u8..64, len in 0usize..20_000_000) {
            let mut out = Vec::new();
            write_header(packet_type, len, &mut out);
            prop_assert_eq!(out.len(), header_len(len));
            prop_assert_eq!(read_header(&out), Ok((packet_type, out.len(), len)));
            for cut in 0..out.len() {
                prop_assert_eq!(read_header(&out[..cut]), Err(Malformed::Short));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::parse(&bytes);
            let _ = Literal::parse(&bytes);
            let mut record = vec![PKESK_HEADER, 1, 6];
            record.extend_from_slice(&bytes);
            if let Ok(message) = Message::parse(&record) {
                prop_assert!(message.len <= record.len());
                prop_assert_eq!(message.pkesks().map(<[u8]>::len).sum::<usize>(), message.pkesks.len());
            }
        }
    }

    #[test]
    fn a_length_that_no_record_has_is_refused_at_once() {
        let huge = [0xC0 | PKESK, 255, 0xff, 0xff, 0xff, 0xff, 6];
        assert_eq!(Message::parse(&huge).unwrap_err(), Malformed::Long);
    }
}
