//! Bytes that stand in records by chance.

use super::*;
use crate::record::openpgp::{Message, PKESK, SEIPD, write_header};

/// A PKESK packet for one key and 94 bytes of data; `fill` tells one from the other.
fn record(fill: u8) -> Vec<u8> {
    let mut record = Vec::new();
    write_header(PKESK, 94, &mut record);
    record.extend_from_slice(&MARK);
    record.resize(96, fill);
    write_header(SEIPD, 94, &mut record);
    record.resize(192, fill);
    record
}

const MARK: [u8; 9] = [3, 1, 2, 3, 4, 5, 6, 7, 8];

/// Takes what is as long as [`record`].
struct ByLength;

impl Examine for ByLength {
    type Out = ();

    fn examine(&self, bytes: &[u8]) -> Result<(), Why> {
        let is_whole = Message::parse(bytes).is_ok_and(|message| message.pkesks.len() == 96 && bytes.len() == 192);
        is_whole.then_some(()).ok_or(Why::DoesNotOpen)
    }

    fn accepted(&self, _record: &[u8], (): &()) {}

    fn rejected(&self, _record: &[u8]) {}

    fn heads(&self) -> Arc<Heads> {
        Arc::new(Heads::new(&[MARK.to_vec()]))
    }
}

/// Where records stand, and where torn ones do that are repeated.
fn found(file: &[u8]) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut records, mut torn) = (Vec::new(), Vec::new());
    for piece in Scanner::new(file, 0, None, &ByLength) {
        match piece.unwrap() {
            Piece::Record { offset, .. } => records.push(offset),
            Piece::Damage(damage) => {
                assert!(damage.repeated, "{damage:?}");
                torn.push((damage.offset, damage.length));
            }
        }
    }
    (records, torn)
}

/// The torn packet spans the beginning of the record behind it, and where it ends there stands something like a packet that
/// ends with that record: as if the one behind were for the same key once more.
#[test]
fn what_spans_a_record_by_chance_does_not_hide_it() {
    let (first, mut second, third) = (record(0x11), record(0x22), record(0x33));
    second[70..72].copy_from_slice(&[0xC0 | PKESK, 120]);
    let file = [&first[..], &second[..26], &second, &third].concat();
    assert_eq!(found(&file), (vec![0, 218, 410], vec![(192, 26)]));
}
