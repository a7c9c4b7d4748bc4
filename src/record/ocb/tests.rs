//! RFC 7253's own samples, and the crate `ocb3` beside ours.

use super::*;
use aes::{Aes128, Aes128Enc, Aes256, Aes256Enc};
use ocb3::aead::AeadInOut;
use ocb3::aead::consts::{U15, U16};
use proptest::prelude::*;

/// `HASH(K, A)` (RFC 7253, 4.1) one block at a time: tags of samples whose associated data are longer than ours.
fn hash<C: BlockCipherEncrypt<BlockSize = U16>>(ocb: &Ocb<C>, ad: &[u8]) -> u128 {
    let encipher = |block: u128| {
        let mut block = aes::Block::from(block.to_ne_bytes());
        ocb.cipher.encrypt_block(&mut block);
        u128::from_ne_bytes(block.into())
    };
    let (blocks, rest) = ad.as_chunks::<16>();
    let star = u128::from_be(encipher(0));
    let mut mask = 0;
    let mut sum = 0;
    for (number, block) in (1u32..).zip(blocks) {
        mask ^= (0..number.trailing_zeros()).fold(double(double(star)), |l, _| double(l)).to_be();
        sum ^= encipher(u128::from_ne_bytes(*block) ^ mask);
    }
    if !rest.is_empty() {
        sum ^= encipher(padded(rest) ^ mask ^ star.to_be());
    }
    sum
}

fn nonce_of_12_bytes(nonce: u128) -> u128 {
    (1 << 96) | nonce
}

fn seal<C>(key: &[u8], nonce: u128, ad: &[u8], text: &[u8]) -> Vec<u8>
where
    C: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
{
    let ocb = Ocb::<C>::new(key, nonce_of_12_bytes(nonce));
    let mut sealed = text.to_vec();
    let short = if ad.len() < 16 { ad } else { b"" };
    let mut tag = ocb.seal(0, short, &mut sealed);
    if short.len() < ad.len() {
        tag = (u128::from_ne_bytes(tag) ^ hash(&ocb, ad)).to_ne_bytes();
    }
    sealed.extend_from_slice(&tag);
    sealed
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// RFC 7253, appendix A: key 00…0F, nonces BBAA99887766554433221100 and on, associated data and text of 0, 8, … 40
/// bytes that count up: both, the first alone, the second alone.
const SAMPLES: [&str; 16] = [
    "785407BFFFC8AD9EDCC5520AC9111EE6",
    "6820B3657B6F615A5725BDA0D3B4EB3A257C9AF1F8F03009",
    "81017F8203F081277152FADE694A0A00",
    "45DD69F8F5AAE72414054CD1F35D82760B2CD00D2F99BFA9",
    "571D535B60B277188BE5147170A9A22C3AD7A4FF3835B8C5701C1CCEC8FC3358",
    "8CF761B6902EF764462AD86498CA6B97",
    "5CE88EC2E0692706A915C00AEB8B2396F40E1C743F52436BDF06D8FA1ECA343D",
    "1CA2207308C87C010756104D8840CE1952F09673A448A122C92C62241051F57356D7F3C90BB0E07F",
    "6DC225A071FC1B9F7C69F93B0F1E10DE",
    "221BD0DE7FA6FE993ECCD769460A0AF2D6CDED0C395B1C3CE725F32494B9F914D85C0B1EB38357FF",
    "BD6F6C496201C69296C11EFD138A467ABD3C707924B964DEAFFC40319AF5A48540FBBA186C5553C68AD9F592A79A4240",
    "FE80690BEE8A485D11F32965BC9D2A32",
    "2942BFC773BDA23CABC6ACFD9BFD5835BD300F0973792EF46040C53F1432BCDFB5E1DDE3BC18A5F840B52E653444D5DF",
    "D5CA91748410C1751FF8A2F618255B68A0A12E093FF454606E59F9C1D0DDC54B65E8628E568BAD7AED07BA06A4A69483A7035490C5769E60",
    "C5CD9D1850C141E358649994EE701B68",
    "4412923493C57D5DE0D700F753CCE0D1D2D95060122E9F15A5DDBFC5787E50B5CC55EE507BCB084E479AD363AC366B95A98CA5F3000B1479",
];

#[test]
fn meets_the_samples_of_rfc_7253() {
    let bytes: [u8; 40] = std::array::from_fn(|i| i as u8);
    for (i, sample) in SAMPLES.iter().enumerate() {
        let len = i.div_ceil(3) * 8;
        let (ad, text) = (if i % 3 == 0 { 0 } else { len }, if i % 3 == 2 { 0 } else { len });
        let nonce = 0xBBAA_9988_7766_5544_3322_1100 + i as u128;
        assert_eq!(hex(&seal::<Aes128Enc>(&bytes[..16], nonce, &bytes[..ad], &bytes[..text])), *sample, "sample {i}");
        assert_eq!(hex(&seal::<Aes128>(&bytes[..16], nonce, &bytes[..ad], &bytes[..text])), *sample, "sample {i}");
    }
}

/// RFC 7253, appendix A: texts and associated data of 0 to 127 zeros.
fn many_lengths<C: BlockCipherEncrypt<BlockSize = U16> + KeyInit>(key_len: usize) -> String {
    let mut key = vec![0; key_len];
    key[key_len - 1] = 128;
    let mut all = Vec::new();
    for len in 0..128 {
        let (zeros, nonce) = (vec![0; len], 3 * len as u128);
        all.extend(seal::<C>(&key, nonce + 1, &zeros, &zeros));
        all.extend(seal::<C>(&key, nonce + 2, b"", &zeros));
        all.extend(seal::<C>(&key, nonce + 3, &zeros, b""));
    }
    hex(&seal::<C>(&key, 385, &all, b""))
}

#[test]
fn meets_the_iterated_samples_of_rfc_7253() {
    assert_eq!(many_lengths::<Aes128Enc>(16), "67E944D23256C5E0B6C61FA22FDF1EA2");
    assert_eq!(many_lengths::<Aes256Enc>(32), "D90EB8E9C977C88B79DD793D7FFA161C");
}

type Other<C> = ocb3::Ocb3<C, U15, U16, 9>;

/// Seals and opens `text` chunk by chunk from `index` on, and what the other crate makes of it.
fn as_the_other_crate<E, C>(key: &[u8], prefix: [u8; 7], index: u64, ad: &[u8], end_ad: &[u8], text: &[u8], flip: usize)
where
    E: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
    C: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt + KeyInit,
    Other<C>: KeyInit + AeadInOut<NonceSize = U15, TagSize = U16>,
{
    let (sealer, opener) = (Ocb::<E>::new(key, nonce(&prefix)), Ocb::<C>::new(key, nonce(&prefix)));
    let other = Other::<C>::new_from_slice(key).unwrap();
    let expected = |index: u64, ad: &[u8], text: &mut [u8]| -> Tag {
        let mut nonce = ocb3::Nonce::<U15>::default();
        nonce[..7].copy_from_slice(&prefix);
        nonce[7..].copy_from_slice(&index.to_be_bytes());
        other.encrypt_inout_detached(&nonce, ad, text.into()).unwrap().into()
    };
    let chunks: Vec<&[u8]> = if text.is_empty() { vec![b""] } else { text.chunks(MAX_TEXT).collect() };
    for (index, plain) in (index..).zip(chunks) {
        let (mut ours, mut both, mut theirs) = (plain.to_vec(), plain.to_vec(), plain.to_vec());
        let (tag, end_tag) = (expected(index, ad, &mut theirs), expected(index + 1, end_ad, &mut []));
        assert_eq!(sealer.seal(index, ad, &mut ours), tag);
        assert_eq!(sealer.seal_last(index, ad, &mut both, end_ad), (tag, end_tag));
        assert!(ours == theirs && both == theirs, "{} bytes", plain.len());
        assert_eq!(opener.open(index, ad, &mut ours, &tag), Ok(()));
        assert_eq!(opener.open_last(index, ad, &mut both, &tag, end_ad, &end_tag), Ok(()));
        assert!(ours == plain && both == plain, "{} bytes", plain.len());
        // One bit of text, tags and nonce each.
        let changed = |bit: usize, tag: &Tag| -> Tag {
            let mut tag = *tag;
            tag[bit / 8 % TAG_LEN] ^= 1 << (bit % 8);
            tag
        };
        let open = |index, text: &[u8], tag: &Tag, end_tag: &Tag| {
            let one = opener.open(index, ad, &mut text.to_vec(), tag);
            (one, opener.open_last(index, ad, &mut text.to_vec(), tag, end_ad, end_tag))
        };
        assert_eq!(open(index, &theirs, &tag, &changed(flip, &end_tag)), (Ok(()), Err(BadTag)));
        assert_eq!(open(index, &theirs, &changed(flip, &tag), &end_tag), (Err(BadTag), Err(BadTag)));
        assert_eq!(open(index + 1, &theirs, &tag, &end_tag), (Err(BadTag), Err(BadTag)));
        if let Some(byte) = theirs.get_mut(flip % plain.len().max(1)) {
            *byte ^= 1 << (flip % 8);
            assert_eq!(open(index, &theirs, &tag, &end_tag), (Err(BadTag), Err(BadTag)));
        }
    }
}

fn both_sizes(key: [u8; 32], prefix: [u8; 7], index: u64, ads: (&[u8], &[u8]), text: &[u8], flip: usize) {
    as_the_other_crate::<Aes128Enc, Aes128>(&key[..16], prefix, index, ads.0, ads.1, text, flip);
    as_the_other_crate::<Aes256Enc, Aes256>(&key, prefix, index, ads.0, ads.1, text, flip);
}

proptest! {
    #[test]
    fn gives_what_the_ocb3_crate_gives(
        key: [u8; 32],
        prefix: [u8; 7],
        index in prop_oneof![0u64..3, 60u64..70, 120u64..300],
        ad in prop::collection::vec(any::<u8>(), 0..16),
        end_ad in prop::collection::vec(any::<u8>(), 0..16),
        text in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            prop::collection::vec(any::<u8>(), 900..1200),
            prop::collection::vec(any::<u8>(), 0..9000),
        ],
        flip: usize,
    ) {
        both_sizes(key, prefix, index, (&ad, &end_ad), &text, flip);
    }
}

#[test]
fn every_edge_of_a_block_and_a_group_is_as_in_the_ocb3_crate() {
    let text: Vec<u8> = (0..=MAX_TEXT).map(|i| (i * 7) as u8).collect();
    for blocks in [0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 192, 255, 256] {
        for len in (blocks * 16usize).saturating_sub(1)..=(blocks * 16 + 1).min(MAX_TEXT) {
            both_sizes([9; 32], [3; 7], blocks as u64, (&[0xD2, 2, 9, 2, 6], &[7; 13]), &text[..len], len * 31);
        }
    }
}
