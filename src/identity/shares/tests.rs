use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

const CONTENT: &[u8] = b"-----BEGIN PGP PRIVATE KEY BLOCK-----\nneedle\n-----END PGP PRIVATE KEY BLOCK-----\n";
const KEY: &str = "0123456789ABCDEF";

fn made() -> Timestamp {
    "2026-11-23T01:02:03.5Z".parse().unwrap()
}

fn dealt(shares: u8, needed: u8) -> Vec<String> {
    split(CONTENT, KEY, shares, needed, made()).unwrap().iter().map(|text| text.to_string()).collect()
}

/// Named by their places: share 1 is `0`.
fn parse(texts: &[(usize, &str)]) -> Vec<Share> {
    texts.iter().map(|(at, text)| Share::parse(Path::new(&at.to_string()), text.as_bytes()).unwrap()).collect()
}

fn chosen<'a>(texts: &'a [String], places: &[usize]) -> Vec<(usize, &'a str)> {
    places.iter().map(|&at| (at, &texts[at][..])).collect()
}

/// How many keys open, which are the right one, and the errors.
fn outcome(shares: Vec<Share>) -> (usize, Vec<String>) {
    let (joined, errors) = join(shares);
    assert!(joined.iter().all(|joined| joined.content[..] == *CONTENT && joined.key == KEY));
    (joined.len(), errors.iter().map(ToString::to_string).collect())
}

/// A share written anew by its holder, as `change` wants it, with all checksums right.
fn forged(text: &str, change: impl FnOnce(&mut Share)) -> String {
    let mut share = parse(&[(0, text)]).remove(0);
    change(&mut share);
    share.set.write(share.number, &share.value).to_string()
}

#[test]
fn exactly_the_subsets_that_are_large_enough_open() {
    for (shares, needed) in [(2, 2), (3, 2), (3, 3), (5, 3), (6, 5), (7, 2)] {
        let texts = dealt(shares, needed);
        for subset in 0u32..1 << shares {
            let places: Vec<usize> = (0..usize::from(shares)).filter(|at| subset >> at & 1 == 1).collect();
            let (opened, errors) = outcome(parse(&chosen(&texts, &places)));
            let have = u8::try_from(places.len()).unwrap();
            assert_eq!(opened, usize::from(have >= needed), "{needed} of {shares}: {places:?}");
            if have == 0 || have >= needed {
                assert_eq!(errors, [""; 0]);
                continue;
            }
            let missing = needed - have;
            let told = format!("too few shares of the key {KEY}: {have} of the {needed} that are needed, {missing} missing");
            assert_eq!(errors, [told]);
        }
    }
}

#[test]
fn order_and_copies_make_no_difference() {
    let texts = dealt(5, 3);
    assert_eq!(outcome(parse(&chosen(&texts, &[4, 0, 2]))).0, 1);
    assert_eq!(outcome(parse(&chosen(&texts, &[4, 4, 0, 0, 2]))), (1, vec![]));
    let (opened, errors) = outcome(parse(&chosen(&texts, &[4, 4, 4, 0])));
    assert!(opened == 0 && errors[0].contains("2 of the 3 that are needed, 1 missing"), "{errors:?}");
}

#[test]
fn largest_set() {
    let texts = dealt(255, 255);
    assert_eq!(outcome(parse(&chosen(&texts, &(0..255).collect::<Vec<_>>()))), (1, vec![]));
    assert_eq!(outcome(parse(&chosen(&texts, &(1..255).collect::<Vec<_>>()))).0, 0);
}

/// Any other program that knows the format could join them: here with the field's arithmetic written out.
#[test]
fn the_documented_arithmetic_joins_them() {
    fn multiply(mut a: u8, mut b: u8) -> u8 {
        let mut product = 0;
        while b != 0 {
            product ^= if b & 1 == 1 { a } else { 0 };
            a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1b };
            b >>= 1;
        }
        product
    }
    let invert = |a: u8| (1..=255).find(|&b| multiply(a, b) == 1).unwrap();
    let texts = dealt(5, 3);
    let shares = parse(&chosen(&texts, &[1, 3, 4]));
    let secret: [u8; 32] = std::array::from_fn(|at| {
        shares.iter().fold(0, |sum, one| {
            let others = shares.iter().filter(|other| other.number != one.number);
            let weight = others.fold(1, |w, other| multiply(w, multiply(other.number, invert(other.number ^ one.number))));
            sum ^ multiply(weight, one.value[at])
        })
    });
    let text = &texts[0];
    let armored = text.split_once("Secret:\n").unwrap().1.split_once("\nShare:").unwrap().0.replace('\n', "");
    let mut sealed = STANDARD.decode(armored).unwrap();
    let head = &text[text.find("Version: ").unwrap()..text.find("Secret:").unwrap()];
    ChaCha20Poly1305::new(&secret.into()).decrypt_in_place(&Nonce::from([0; 12]), head.as_bytes(), &mut sealed).unwrap();
    assert_eq!(sealed, CONTENT);
    let digest = Sha256::new().chain_update(b"sealedlog v1 share").chain_update(shares[0].set.id).chain_update([2]);
    assert!(text.contains(&format!("\nDigest 2: {}\n", hex(&digest.chain_update(*shares[0].value).finalize()))));
}

#[test]
fn a_byte_that_is_another_is_harmless_or_named() {
    let texts = dealt(3, 2);
    let (mut harmless, mut named) = (0, 0);
    for at in 0..texts[0].len() {
        for flip in [1, 0x20, 0x80] {
            let mut bytes = texts[0].clone().into_bytes();
            bytes[at] ^= flip;
            match Share::parse(Path::new("flipped"), &bytes) {
                Err(error) => {
                    assert!(error.to_string().contains("flipped"), "{error}");
                    assert!(matches!(error, ShareError::Damaged { .. } | ShareError::NotAShare(_)), "{error}");
                    named += 1;
                }
                Ok(share) => {
                    let mut shares = parse(&chosen(&texts, &[1]));
                    shares.push(share);
                    assert_eq!(outcome(shares), (1, vec![]), "byte {at}");
                    harmless += 1;
                }
            }
        }
    }
    // The words for people in front are not read.
    let armored = 3 * (texts[0].len() - texts[0].find("-----BEGIN").unwrap());
    assert!(named > armored - 60 && harmless > 300, "{named} of {armored}, {harmless}");
}

#[test]
fn cut_doubled_and_foreign_files_are_told() {
    let text = &dealt(3, 2)[0];
    let told = |content: &str| Share::parse(Path::new("x"), content.as_bytes()).err().map(|error| error.to_string());
    assert_eq!(told(&text.replace('\n', "\r\n")), None);
    assert_eq!(told(&text.replace('\n', "  \n\n\t")), None);
    for end in text.find("-----BEGIN").unwrap() + 31..text.len() - 1 {
        assert!(told(&text[..end]).unwrap().starts_with("damaged share: x"), "{end}");
    }
    assert_eq!(told(&format!("{text}{text}")).unwrap(), "damaged share: x: it holds more than one share");
    for other in ["", "AGE-SECRET-KEY-1", "-----BEGIN PGP PRIVATE KEY BLOCK-----"] {
        assert_eq!(told(other).unwrap(), "not a share of a secret key: x");
    }
    // Written by somebody who can make a checksum.
    let rewritten = |from: &str, to: &str| {
        let text = text.replace(from, to);
        let body = text.split_once("SHARE-----\n").unwrap().1.split_once("Checksum").unwrap().0;
        let old = text.split_once("Checksum: ").unwrap().1.split_once('\n').unwrap().0;
        told(&text.replace(old, &hex(&Sha256::digest(body)))).unwrap()
    };
    assert_eq!(rewritten("Version: 1", "Version: 2"), "a share of version 2, which is not known: x");
    for (from, to) in [("Needed: 2", "Needed: +2"), ("Needed: 2", "Needed: 1"), ("Share: 1", "Share: 4"), ("Key: ", "Key: \x1b")]
    {
        assert_eq!(rewritten(from, to), "damaged share: x: it is not of the form that shares have", "{to}");
    }
}

#[test]
fn a_changed_share_is_named_and_the_others_open() {
    let texts = dealt(5, 3);
    let value = forged(&texts[2], |share| share.value[7] ^= 1);
    let number = forged(&texts[2], |share| share.number = 4);
    // He writes the digest that fits into his own list.
    let list = forged(&texts[2], |share| {
        share.value[7] ^= 1;
        share.set.digests[2] = digest(&share.set.id, 3, &share.value);
    });
    let other_list = forged(&texts[2], |share| share.set.digests[0] = [0; 32]);
    let fewer = forged(&texts[2], |share| share.set.needed = 2);
    let sealed = forged(&texts[2], |share| share.set.sealed[0] ^= 1);
    let key = forged(&texts[2], |share| share.set.key = "F00".to_owned());
    let made = forged(&texts[2], |share| share.set.made = Timestamp::UNIX_EPOCH);
    for changed in [value, number, list, other_list, fewer, sealed, key, made] {
        let named = |errors: &[String]| errors.iter().any(|error| error.starts_with("changed share: 2: share "));
        let with = |places: &[usize]| {
            let mut texts = chosen(&texts, places);
            texts.insert(1, (2, &changed));
            outcome(parse(&texts))
        };
        let (opened, errors) = with(&[0, 1, 4]);
        assert!(opened == 1 && errors.len() == 1 && named(&errors), "{errors:?}");
        // Never counted.
        let (opened, errors) = with(&[0, 1]);
        assert!(opened == 0 && errors.len() == 2 && named(&errors), "{errors:?}");
        assert!(errors.iter().any(|error| error.contains("2 of the 3 that are needed, 1 missing")), "{errors:?}");
    }
}

#[test]
fn where_as_many_contradict_as_agree_both_sides_are_named() {
    let texts = dealt(5, 3);
    let changed = forged(&texts[2], |share| share.set.needed = 4);
    let (opened, errors) = outcome(parse(&[(0, &texts[0]), (2, &changed)]));
    assert_eq!(opened, 0);
    assert!(errors.contains(&"changed share: these say one thing of their set: 0; these another: 2".to_owned()), "{errors:?}");
}

#[test]
fn all_holders_together_cannot_pass_off_another_key() {
    let texts = dealt(3, 2);
    let swap = |text: &str| forged(text, |share| share.set.sealed[3] ^= 1);
    let (opened, errors) = outcome(parse(&[(0, &swap(&texts[0])), (1, &swap(&texts[1]))]));
    assert_eq!((opened, &errors[..]), (0, &[format!("changed shares: together they do not open the key {KEY}: 0, 1")][..]));
}

#[test]
fn shares_of_two_sets_are_told_apart() {
    let (one, other) = (dealt(5, 3), dealt(5, 3));
    let mixed = |mine: &[usize], theirs: &[usize]| {
        let theirs: Vec<_> = theirs.iter().map(|&at| (at + 10, &other[at][..])).collect();
        outcome(parse(&[chosen(&one, mine), theirs].concat()))
    };
    let (opened, errors) = mixed(&[0, 1], &[2, 3]);
    assert_eq!((opened, errors.len()), (0, 2), "{errors:?}");
    assert!(errors[0].contains("is only: 0, 1; the other shares are of other sets"), "{errors:?}");
    assert!(errors[1].contains("is only: 12, 13; the other shares are of other sets"), "{errors:?}");
    let (opened, errors) = mixed(&[0, 1, 4], &[2]);
    assert!(opened == 1 && errors.len() == 1 && errors[0].contains("is only: 12;"), "{errors:?}");
    // Two keys, both whole.
    assert_eq!(mixed(&[0, 1, 4], &[0, 1, 4]), (2, vec![]));
}

#[test]
fn no_share_shows_the_key_and_no_two_are_alike() {
    let texts = [dealt(5, 3), dealt(5, 3)].concat();
    let bodies: BTreeSet<_> = texts.iter().map(|text| text.split_once("Value: ").unwrap().1).collect();
    assert_eq!(bodies.len(), 10);
    assert!(texts.iter().all(|text| !text.contains("needle") && !text.contains(&STANDARD.encode(&CONTENT[..30]))));
    assert!(texts.iter().all(|text| text.lines().all(|line| line.len() <= 120)));
}
