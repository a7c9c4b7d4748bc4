//! Reading sealed files: what is found must be exact, whatever was done to the file.
#![cfg(feature = "audit")]

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use age::secrecy::ExposeSecret;
use sealedlog::audit::read::{Damage, Found, Opener, Record, RecordReader, Why};
use sealedlog::chain::{ChainKey, EpochKey, Kind};
use sealedlog::identity::{Descriptor, Identities};
use sealedlog::recipient::{self, Recipients};
use sealedlog::record::openpgp::{PKESK, SEIPD, read_header};
use sealedlog::record::seal::{EpochSealer, Processor, table_len};
use sealedlog::record::{Framing, Profile};
use sequoia_openpgp::Profile as CertProfile;
use sequoia_openpgp::cert::{Cert, CertBuilder};
use sequoia_openpgp::serialize::SerializeInto;

const SLOTS: u32 = 64;
const DATE: u32 = 1_790_000_000;

/// A file of records and the key to it.
struct Case {
    name: String,
    framing: Framing,
    records: Vec<Vec<u8>>,
    identities: Identities,
    recipients: Arc<Recipients>,
    epoch: EpochKey,
}

impl Case {
    fn new(profile: Profile, framing: Framing, keys: usize, count: usize) -> Self {
        let (mut public, mut identities) = (Vec::new(), Identities::default());
        let mut secrets = Vec::new();
        for i in 0..keys {
            let (certificate, secret) = key_pair(profile, i);
            let file = format!("key{i}");
            public.extend(recipient::parse(Path::new(&file), &certificate, SystemTime::now()).into_iter().map(Result::unwrap));
            let fingerprint = public.last().unwrap().fingerprint.clone();
            secrets.push((fingerprint, secret));
        }
        // The auditor holds the key whose packet comes last.
        secrets.sort();
        let mut none = Descriptor::read(&b"none\n"[..]).unwrap();
        identities.add(Path::new("secret"), &secrets.last().unwrap().1, &mut none).unwrap();
        let recipients = Arc::new(Recipients::new(public, Some(profile)).unwrap());
        let epoch = ChainKey::from_bytes([7; 32]).epoch_key();
        let name = format!("{profile} {} {keys} keys", framing.name());
        let mut case = Self { name, framing, records: Vec::new(), identities, recipients, epoch };
        case.records = case.seal(count);
        case
    }

    fn seal(&self, count: usize) -> Vec<Vec<u8>> {
        let table = vec![0; table_len(&self.recipients, SLOTS)];
        let mut sealer = EpochSealer::new(Arc::clone(&self.recipients), &self.epoch, SLOTS, table, Processor::ANY).unwrap();
        (0..count)
            .map(|i| {
                let mut record = Vec::new();
                sealer.seal(kind(i), DATE + i as u32, body(i).as_bytes(), self.framing, &mut record).unwrap();
                record
            })
            .collect()
    }

    fn file(&self) -> Vec<u8> {
        self.records.concat()
    }

    /// Offset of a record in the file.
    fn offset(&self, i: usize) -> usize {
        self.records[..i].iter().map(Vec::len).sum()
    }

    fn read(&self, file: &[u8]) -> Vec<Found> {
        read(&Opener::new(&self.identities), file)
    }

    /// Whether the record is that of this number, in its slot.
    fn is(&self, record: &Record, i: usize) -> bool {
        let opened = &record.opened;
        let proved = opened.proves(i as u32, &self.epoch) == Some(kind(i));
        let dated = opened.date == (self.recipients.profile() != Profile::Age).then_some(DATE + i as u32);
        !record.salvaged && proved && dated && opened.body == body(i).as_bytes()
    }
}

fn kind(i: usize) -> Kind {
    if i.is_multiple_of(3) { Kind::Control } else { Kind::Line }
}

fn body(i: usize) -> String {
    format!("{{\"line\": {i}}}\n")
}

fn key_pair(profile: Profile, i: usize) -> (Vec<u8>, Vec<u8>) {
    let openpgp = |profile| {
        let (cert, _): (Cert, _) =
            CertBuilder::general_purpose(Some(format!("key {i}"))).set_profile(profile).unwrap().generate().unwrap();
        (cert.to_vec().unwrap(), cert.as_tsk().to_vec().unwrap())
    };
    match profile {
        Profile::Rfc9580 => openpgp(CertProfile::RFC9580),
        Profile::Rfc4880 => openpgp(CertProfile::RFC4880),
        Profile::Age => {
            let secret = age::x25519::Identity::generate();
            (secret.to_public().to_string().into_bytes(), secret.to_string().expose_secret().as_bytes().to_vec())
        }
    }
}

fn cases(count: usize) -> Vec<Case> {
    [
        (Profile::Rfc9580, Framing::Binary, 1),
        (Profile::Rfc9580, Framing::Base64, 1),
        (Profile::Rfc9580, Framing::Binary, 3),
        (Profile::Rfc9580, Framing::Base64, 2),
        (Profile::Rfc4880, Framing::Binary, 1),
        (Profile::Rfc4880, Framing::Base64, 1),
        (Profile::Rfc4880, Framing::Binary, 2),
        (Profile::Age, Framing::Base64, 1),
        (Profile::Age, Framing::Base64, 2),
    ]
    .into_iter()
    .map(|(profile, framing, keys)| Case::new(profile, framing, keys, count))
    .collect()
}

fn read(opener: &Opener<'_>, file: &[u8]) -> Vec<Found> {
    let found: Vec<_> = RecordReader::new(file, opener).map(Result::unwrap).collect();
    assert_tiles(&found, file);
    found
}

/// Every byte but those of empty lines is told, once, in order.
fn assert_tiles(found: &[Found], file: &[u8]) {
    let mut at = 0;
    for piece in found {
        let (offset, length) = extent(piece);
        assert!(length > 0 && offset >= at, "{found:#?}");
        assert!(file[at..offset].trim_ascii().is_empty(), "bytes {at} to {offset} are not told: {found:#?}");
        at = offset + length;
    }
    assert!(file[at..].trim_ascii().is_empty(), "bytes from {at} are not told: {found:#?}");
}

fn extent(piece: &Found) -> (usize, usize) {
    let (offset, length) = match piece {
        Found::Record(record) => (record.offset, record.length),
        Found::Damage(damage) => (damage.offset, damage.length),
    };
    (offset as usize, length as usize)
}

fn records(found: &[Found]) -> Vec<&Record> {
    found.iter().filter_map(|piece| if let Found::Record(record) = piece { Some(&**record) } else { None }).collect()
}

fn damages(found: &[Found]) -> Vec<&Damage> {
    found.iter().filter_map(|piece| if let Found::Damage(damage) = piece { Some(damage) } else { None }).collect()
}

#[test]
fn every_record_is_found_and_proves_its_place() {
    for case in cases(40) {
        let file = case.file();
        for (what, file) in [("as it is", file.clone()), ("with CRLF", crlf(&case, &file))] {
            let found = case.read(&file);
            assert_eq!(found.len(), 40, "{} {what}: {found:#?}", case.name);
            for (i, record) in records(&found).into_iter().enumerate() {
                assert!(case.is(record, i), "{} {what}: {i}", case.name);
                let other = record.opened.proves((i as u32 + 1) % SLOTS, &case.epoch);
                assert_eq!(other, None, "{}: proved in another slot", case.name);
                assert_eq!(record.opened.proves(i as u32, &ChainKey::from_bytes([8; 32]).epoch_key()), None);
            }
        }
    }
}

fn crlf(case: &Case, file: &[u8]) -> Vec<u8> {
    if case.framing == Framing::Binary {
        return file.to_vec();
    }
    String::from_utf8(file.to_vec()).unwrap().replace('\n', "\r\n\r\n").into_bytes()
}

#[test]
fn a_flipped_bit_costs_its_record_alone() {
    for case in cases(4) {
        let (file, opener) = (case.file(), Opener::new(&case.identities));
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1 << (at % 8);
            // Each file is read as if it were the only one: what was learned from others must not be needed.
            let fresh = Opener::new(&case.identities);
            let found = read(if at % 2 == 0 { &fresh } else { &opener }, &changed);
            let touched = (0..4).rfind(|&i| case.offset(i) <= at).unwrap();
            for i in (0..4).filter(|&i| i != touched) {
                let whole = records(&found).into_iter().any(|record| {
                    (record.offset as usize, record.length as usize) == (case.offset(i), case.records[i].len())
                        && case.is(record, i)
                });
                assert!(whole, "{}: bit at {at} (record {touched}) cost record {i}: {found:#?}", case.name);
            }
            let framing_only =
                matches!(case.framing, Framing::Base64) && at + 1 == case.offset(touched) + case.records[touched].len();
            let unhurt = records(&found).into_iter().any(|record| case.is(record, touched));
            assert!(!unhurt || framing_only, "{}: bit at {at} was not noticed", case.name);
        }
    }
}

#[test]
fn a_damaged_wrapped_key_is_made_good_by_the_epochs_session_key() {
    for case in
        cases(5).into_iter().filter(|case| case.recipients.profile() == Profile::Rfc9580 && case.framing == Framing::Binary)
    {
        for touched in [0, 2, 4] {
            let mut file = case.file();
            // In the fingerprint of each packet: no key is found for it.
            let (mut at, end) = (case.offset(touched), case.offset(touched) + case.records[touched].len());
            while file[at] == 0xC1 {
                file[at + 8] ^= 1;
                at += 2 + usize::from(file[at + 1]);
                assert!(at < end);
            }
            let found = case.read(&file);
            assert_eq!(found.len(), 5, "{found:#?}");
            for (i, record) in records(&found).into_iter().enumerate() {
                assert_eq!(record.salvaged, i == touched);
                assert_eq!(record.opened.body, body(i).as_bytes());
                assert_eq!(
                    record.opened.proves(i as u32, &case.epoch).is_some(),
                    i != touched,
                    "a changed PKESK proved its place"
                );
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_ends_in_a_record_that_is_cut_short() {
    for case in cases(3) {
        let (file, mut by_chance) = (case.file(), 0);
        for cut in 1..file.len() {
            let found = case.read(&file[..cut]);
            let whole = (0..3).take_while(|&i| {
                let newline = usize::from(case.framing == Framing::Base64);
                case.offset(i) + case.records[i].len() <= cut + newline
            });
            let whole = whole.count();
            let read = records(&found);
            assert_eq!(read.len(), whole, "{}: cut at {cut}: {found:#?}", case.name);
            assert!(read.iter().enumerate().all(|(i, record)| case.is(record, i)));
            let rest = case.offset(whole).min(cut);
            let expected: Vec<_> =
                (rest < cut).then_some((rest as u64, (cut - rest) as u64, Why::CutShort)).into_iter().collect();
            let told: Vec<_> = damages(&found).iter().map(|damage| (damage.offset, damage.length, damage.why)).collect();
            if let ([.., (at, length, Why::CutShort)], [(from, whole, _)]) = (&told[..], &expected[..])
                && told.len() == 2
            {
                // The octet before a packet's header may look like the first of a longer one.
                assert_eq!((told[0].0, at + length), (*from, from + whole), "{}: cut at {cut}: {told:?}", case.name);
                by_chance += 1;
                continue;
            }
            assert_eq!(told, expected, "{}: cut at {cut}", case.name);
        }
        assert!(by_chance <= file.len() / 5, "{}: {by_chance} are not known as one", case.name);
    }
}

#[test]
fn a_torn_write_that_was_repeated_is_told_as_that() {
    for case in cases(3) {
        let mut by_chance = 0;
        for torn in 1..case.records[1].len() - usize::from(case.framing == Framing::Base64) {
            let (first, second) = (&case.records[0], &case.records[1]);
            let mut file = [&first[..], &second[..torn]].concat();
            if case.framing == Framing::Base64 {
                file.push(b'\n');
            }
            let tear = file.len() - first.len();
            file.extend_from_slice(second);
            file.extend_from_slice(&case.records[2]);
            let found = case.read(&file);
            let told: Vec<_> = damages(&found).iter().map(|damage| (damage.offset, damage.length, damage.repeated)).collect();
            if case.framing == Framing::Base64 && second[torn] == b'=' {
                // Which of the two lines is cut cannot be seen from outside where only padding is missing.
                assert_eq!(records(&found).len(), 3, "{}: torn after {torn}", case.name);
                continue;
            }
            if file[first.len()..].starts_with(second) {
                // The octet that is missing is the one that the next record begins with: it is whole, and that one torn.
                continue;
            }
            assert_eq!(records(&found).len(), 3, "{}: torn after {torn}: {found:#?}", case.name);
            if case.framing == Framing::Binary && goes_on_by_chance(&file[first.len()..], torn) {
                // Which of it is the torn one cannot always be seen. The records are there.
                assert!(records(&found).iter().enumerate().all(|(i, record)| record.opened.body == body(i).as_bytes()));
                by_chance += 1;
                continue;
            }
            assert!(records(&found).into_iter().enumerate().all(|(i, record)| case.is(record, i)));
            let (from, length) = (told[0].0, told.iter().map(|(_, length, _)| length).sum::<u64>());
            assert_eq!((from, length), (first.len() as u64, tear as u64), "{}: torn after {torn}: {found:#?}", case.name);
            by_chance += usize::from(told != [(from, length, true)]);
        }
        // Octets before a packet may look like a longer header of it.
        assert!(by_chance <= case.records[1].len() / 5, "{}: {by_chance} torn ones are not known as such", case.name);
    }
}

/// Whether a PKESK packet of a torn record ends, in the record behind, where something looks like the next packet.
fn goes_on_by_chance(bytes: &[u8], torn: usize) -> bool {
    let mut at = 0;
    while at < torn
        && let Ok((PKESK, header, len)) = read_header(&bytes[at..])
    {
        at += header + len;
    }
    at > torn && matches!(bytes.get(at..).map(read_header), Some(Ok((PKESK | SEIPD, ..))))
}

#[test]
fn garbage_between_records_is_told_in_its_place() {
    for case in cases(3) {
        for len in [1, 5, 60, 1000, 70_000, 3_000_000] {
            let mut garbage: Vec<u8> = (0..len).map(|i: usize| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
            if case.framing == Framing::Base64 {
                *garbage.last_mut().unwrap() = b'\n';
                if len == 1 {
                    continue;
                }
            }
            let file = [&case.records[0][..], &garbage, &case.records[1], &case.records[2]].concat();
            let found = case.read(&file);
            let told: Vec<_> = damages(&found).iter().map(|damage| (damage.offset, damage.length, damage.heads)).collect();
            assert_eq!(told, [(case.records[0].len() as u64, len as u64, 0)], "{}: {len} bytes of garbage", case.name);
            assert_eq!(records(&found).len(), 3);
        }
    }
}

#[test]
fn records_for_other_keys_are_passed_over_one_by_one() {
    for case in cases(6) {
        let stranger = Case::new(case.recipients.profile(), case.framing, 1, 3);
        let file = [case.records[..3].concat(), stranger.file(), case.records[3..].concat()].concat();
        let found = case.read(&file);
        let [damage] = damages(&found)[..] else { panic!("{}: {found:#?}", case.name) };
        let expected = (case.offset(3) as u64, stranger.file().len() as u64, 3, Why::NoKey);
        assert_eq!((damage.offset, damage.length, damage.heads, damage.why), expected, "{}", case.name);
        assert!(records(&found).into_iter().enumerate().all(|(i, record)| case.is(record, i)));
        assert_eq!(records(&found).len(), 6);
    }
}

#[test]
fn a_head_every_150_bytes_costs_time_in_proportion() {
    for case in cases(2) {
        let head = &case.records[1][..140];
        let hostile = |count: usize| {
            let mut file = case.records[0].clone();
            for i in 0..count {
                file.extend_from_slice(head);
                let filler = (0..10).map(|n| b'A' + ((i * 7 + n * 11) % 26) as u8);
                file.extend(filler);
            }
            if case.framing == Framing::Base64 {
                file.push(b'\n');
            }
            file.extend_from_slice(&case.records[1]);
            file
        };
        let mut work = Vec::new();
        for count in [2000, 4000] {
            let (opener, file) = (Opener::new(&case.identities), hostile(count));
            let found = read(&opener, &file);
            assert!(case.is(records(&found).last().unwrap(), 1), "{}", case.name);
            // By chance something in each looks like another one.
            let heads = damages(&found).iter().map(|damage| damage.heads).sum::<usize>();
            assert!((count..=2 * count).contains(&heads), "{}: {heads} of {count}", case.name);
            work.push(opener.work().candidates.load(Ordering::Relaxed));
        }
        assert!(work[1] <= work[0] * 5 / 2, "{}: {work:?}", case.name);
    }
}

#[test]
fn a_length_of_4_gib_is_not_believed() {
    for case in cases(4).into_iter().filter(|case| case.framing == Framing::Binary) {
        let (mut header, hurt) = (case.offset(1), body(1));
        let end = case.offset(2);
        while header < end {
            let (_, len, body) = sealedlog::record::openpgp::read_header(&case.file()[header..]).unwrap();
            let mut file = case.file();
            file.splice(header + 1..header + len, [255, 0xff, 0xff, 0xff, 0xff]);
            let found = case.read(&file);
            // Where another packet wraps the key, the line comes back, but proves nothing.
            let read: Vec<_> = records(&found).into_iter().filter(|record| record.opened.body != hurt.as_bytes()).collect();
            assert_eq!(read.len(), 3, "{}: header at {header}", case.name);
            assert!(read.iter().zip([0, 2, 3]).all(|(record, i)| case.is(record, i)));
            assert!(!records(&found).into_iter().any(|record| case.is(record, 1)));
            header += len + body;
        }
    }
}

#[test]
fn a_growing_file_is_read_on_from_where_it_ended() {
    for case in cases(6) {
        let file = case.file();
        let cut = case.offset(4) + 20;
        let opener = Opener::new(&case.identities);
        let mut reader = RecordReader::new(&file[..cut], &opener);
        let found: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        let Some(Found::Damage(damage)) = found.last() else { panic!("{found:#?}") };
        assert_eq!((damage.offset as usize, damage.why), (case.offset(4), Why::CutShort));
        let mut rest = Cursor::new(&file);
        rest.set_position(damage.offset);
        let on: Vec<_> = RecordReader::at(rest, damage.offset, reader.framing(), &opener).map(Result::unwrap).collect();
        let on = records(&on);
        assert_eq!(on.len(), 2, "{}", case.name);
        assert!(on.iter().enumerate().all(|(i, record)| case.is(record, i + 4) && record.offset as usize == case.offset(i + 4)));
    }
}

#[test]
fn one_public_key_operation_an_epoch() {
    let case = Case::new(Profile::Rfc9580, Framing::Binary, 1, 60);
    let opener = Opener::new(&case.identities);
    assert_eq!(records(&read(&opener, &case.file())).len(), 60);
    // Two threads may both find the cache empty.
    assert!(opener.work().unwrapped.load(Ordering::Relaxed) <= 4);
}

#[test]
fn equal_records_have_equal_digests_and_empty_files_hold_nothing() {
    let case = Case::new(Profile::Rfc9580, Framing::Binary, 1, 2);
    let file = [&case.records[0][..], &case.records[1], &case.records[0]].concat();
    let found = case.read(&file);
    let digests: Vec<_> = records(&found).iter().map(|record| record.digest).collect();
    assert!(digests[0] == digests[2] && digests[0] != digests[1]);
    assert!(case.read(b"").is_empty() && case.read(b"\n\r\n").is_empty());
}

/// Many records, long and short, so that reading goes over several buffers; with damage of many kinds among them.
#[test]
fn long_files_are_read_in_pieces() {
    for framing in [Framing::Binary, Framing::Base64] {
        let case = Case::new(Profile::Rfc9580, framing, 1, 0);
        let table = vec![0; table_len(&case.recipients, 16384)];
        let mut sealer = EpochSealer::new(Arc::clone(&case.recipients), &case.epoch, 16384, table, Processor::ANY).unwrap();
        let (mut file, mut expected, mut hurt) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..8000 {
            let body = match i % 1000 {
                0 => vec![b'l'; sealedlog::record::MAX_LINE],
                n => vec![b'm'; n * 3],
            };
            let start = file.len();
            sealer.seal(Kind::Line, DATE, &body, framing, &mut file).unwrap();
            match i % 97 {
                13 => {
                    let at = start + (file.len() - start) * (i % 89) / 90;
                    file[at] ^= 4;
                    hurt.push(i);
                }
                // Longer than any record, or any line.
                14 if i % 5 == 0 => file.extend(std::iter::repeat_n(b'A', 1_700_000).chain(*b"\n")),
                _ => {}
            }
            expected.push((start, body));
        }
        let opener = Opener::new(&case.identities);
        let found = read(&opener, &file);
        let mut read = records(&found).into_iter().map(|record| (record.offset as usize, record)).peekable();
        for (i, (start, body)) in expected.iter().enumerate() {
            let record = read.next_if(|(offset, _)| offset == start).map(|(_, record)| record);
            match record {
                Some(record) if !hurt.contains(&i) => {
                    assert!(
                        record.opened.body == *body && record.opened.proves(i as u32, &case.epoch) == Some(Kind::Line),
                        "{i}"
                    );
                }
                record => assert!(
                    hurt.contains(&i) && record.is_none_or(|record| record.salvaged || framing == Framing::Base64),
                    "{i} at {start}"
                ),
            }
        }
        assert!(read.next().is_none());
    }
}

#[test]
fn records_whose_newlines_were_lost_are_found() {
    for case in cases(30).into_iter().filter(|case| case.framing == Framing::Base64) {
        let mut file = case.records[0].clone();
        for record in &case.records[1..] {
            file.extend_from_slice(&record[..record.len() - 1]);
        }
        let found = case.read(&file);
        assert_eq!(found.len(), 30, "{}", case.name);
        assert!(records(&found).into_iter().enumerate().all(|(i, record)| case.is(record, i)), "{}", case.name);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]
    /// Whatever was done to a file, all of it is told, nothing panics, and what proves its place is what was sealed there.
    #[test]
    fn mangled_files_give_no_false_record(
        cuts in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0usize..400, 0usize..3), 1..6),
        which in 0usize..9,
    ) {
        static CASES: std::sync::LazyLock<Vec<Case>> = std::sync::LazyLock::new(|| cases(5));
        let case = &CASES[which];
        let mut file = case.file();
        for (at, len, how) in cuts {
            let at = at.index(file.len());
            let end = (at + len).min(file.len());
            match how {
                0 => drop(file.drain(at..end)),
                1 => { let part = file[at..end].to_vec(); file.splice(at..at, part); }
                _ => file[at..end].rotate_left((end - at) / 2),
            }
            if file.is_empty() { break }
        }
        for record in records(&case.read(&file)) {
            for i in 0..5 {
                proptest::prop_assert!(record.opened.proves(i, &case.epoch).is_none() || case.is(record, i as usize));
            }
        }
    }
}
