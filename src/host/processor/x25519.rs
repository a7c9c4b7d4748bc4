//! The fastest X25519 (RFC 7748) for eight ephemeral keys that this processor has.
//!
//! Promises: the same values as [`x25519::agree_many`], the one for any processor, in a time that does not depend on the
//! ephemeral keys.

use crate::recipient::x25519::{self, AgreeMany};

/// Looks what the processor has.
pub fn agree_many() -> AgreeMany {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512ifma") {
        return avx512::agree_many;
    }
    x25519::agree_many
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;
    use std::sync::OnceLock;

    use crate::recipient::x25519::{self, AT_ONCE, Agreement, AgreementKey, WideTable};

    const LIMBS: usize = 5;
    /// A limb has so many bits, and its products are cut at 52: each high half counts twice in the next limb.
    const BITS: u32 = 51;
    const MASK: u64 = (1 << BITS) - 1;
    /// `-121665 / 121666`, of the curve in Edwards' form (RFC 7748, 4.1)
    const D: [u64; LIMBS] =
        [929_955_233_495_203, 466_365_720_129_213, 1_662_059_464_998_953, 2_033_849_074_728_123, 1_442_794_654_840_575];
    /// The square root of -1.
    const ROOT: [u64; LIMBS] =
        [1_718_705_420_411_056, 234_908_883_556_509, 2_233_514_472_574_048, 2_117_202_627_021_982, 765_476_049_583_133];
    /// The second coordinate of the base point, `4 / 5`.
    const BASE: [u8; 32] = {
        let mut y = [0x66; 32];
        y[0] = 0x58;
        y
    };
    /// A scalar has so many digits of four bits. Each is taken as a number from -8 to 7, by adding 8 to it before.
    const DIGITS: usize = 64;
    const EIGHTS: [u64; 4] = [0x8888_8888_8888_8888, 0x8888_8888_8888_8888, 0x8888_8888_8888_8888, 0x0888_8888_8888_8888];

    /// Eight numbers modulo `2^255 - 19`, limb by limb.
    ///
    /// Reduced: each limb is below `2^51 + 2^16`. What multiplies takes and gives reduced numbers, and so do sums and
    /// differences; the processor takes 52 bits of each limb, so nothing is lost.
    #[derive(Clone, Copy)]
    struct Field([__m512i; LIMBS]);

    /// Eight points on the curve in Edwards' form: `x = X/Z`, `y = Y/Z`, `xy = T/Z`.
    struct Point {
        x: Field,
        y: Field,
        z: Field,
        t: Field,
    }

    /// What is added to points: `y + x`, `y - x` and `2dxy`.
    struct Addend([Field; 3]);

    pub fn agree_many(key: &AgreementKey, ephemerals: &[[u8; 32]; AT_ONCE], agreements: &mut [Agreement; AT_ONCE]) {
        static OF_BASE: OnceLock<WideTable> = OnceLock::new();
        // SAFETY: only handed out where the processor and the system have AVX-512 with IFMA.
        let table_of = |y: &[u8; 32]| unsafe { table_of(y) };
        match key.wide(table_of) {
            // SAFETY: as above.
            Some(table) => unsafe { agree(OF_BASE.get_or_init(|| table_of(&BASE)), table, ephemerals, agreements) },
            None => x25519::agree_many(key, ephemerals, agreements),
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn agree(base: &WideTable, key: &WideTable, ephemerals: &[[u8; 32]; AT_ONCE], agreements: &mut [Agreement; AT_ONCE]) {
        let digits = digits(ephemerals);
        let (share, secret) = (multiples(base, &digits), multiples(key, &digits));
        // The coordinate of RFC 7748 is (Z + Y) / (Z - Y). No divisor is zero: that would be a multiple of zero, which keys
        // of low order alone have.
        let divisors = [sub(share.z, share.y), sub(secret.z, secret.y)];
        let inverse = invert(mul(divisors[0], divisors[1]));
        let share = mul(add(share.z, share.y), mul(inverse, divisors[1]));
        let secret = mul(add(secret.z, secret.y), mul(inverse, divisors[0]));
        for (coordinate, at) in [(share, 0), (secret, 32)] {
            let lanes = coordinate.0.map(|limb| unpack(limb));
            for (lane, agreement) in agreements.iter_mut().enumerate() {
                encode(lanes.map(|lanes| lanes[lane]), (&mut agreement[at..at + 32]).try_into().expect("32 bytes"));
            }
        }
    }

    /// The multiples 1 to 8 of `256^i` times a point, for i from 0 to 31, as addends: each limb of all eight in one register.
    /// `y` is the point's second coordinate, which must be one of a point; of the two that there are it is either, since
    /// they have the same multiples but for the sign of x.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn table_of(y: &[u8; 32]) -> WideTable {
        let (one, d) = (splat([1, 0, 0, 0, 0]), splat(D));
        let y = broadcast(y);
        let x = root_of_ratio(sub(square(y), one), add(mul(square(y), d), one));
        let point = addend(x, y);
        let lanes = _mm512_set_epi64(8, 7, 6, 5, 4, 3, 2, 1);
        let mut multiples = Point { x: splat([0; LIMBS]), y: one, z: one, t: splat([0; LIMBS]) };
        for bit in (0..4).rev() {
            multiples = double(&multiples);
            let more = sum(&multiples, &point, 0);
            let set = _mm512_test_epi64_mask(lanes, _mm512_set1_epi64(1 << bit));
            multiples = Point {
                x: blend(set, multiples.x, more.x),
                y: blend(set, multiples.y, more.y),
                z: blend(set, multiples.z, more.z),
                t: blend(set, multiples.t, more.t),
            };
        }
        let mut table = Vec::with_capacity(DIGITS / 2 * 3 * LIMBS);
        for _ in 0..DIGITS / 2 {
            let inverse = invert(multiples.z);
            for part in addend(mul(multiples.x, inverse), mul(multiples.y, inverse)).0 {
                for limb in part.0 {
                    table.push(unpack(limb));
                }
            }
            for _ in 0..8 {
                multiples = double(&multiples);
            }
        }
        table
    }

    /// Words of the scalars, made those of RFC 7748, with 8 added to all digits but the highest.
    #[target_feature(enable = "avx512f")]
    fn digits(scalars: &[[u8; 32]; AT_ONCE]) -> [__m512i; 4] {
        let mut lanes = [[0; AT_ONCE]; 4];
        for (at, scalar) in scalars.iter().enumerate() {
            let mut carry = 0;
            for (word, bytes) in scalar.as_chunks().0.iter().enumerate() {
                let mut value = u64::from_le_bytes(*bytes);
                match word {
                    0 => value &= !7,
                    3 => value = value & (u64::MAX >> 1) | 1 << 62,
                    _ => {}
                }
                let sum = u128::from(value) + u128::from(EIGHTS[word]) + carry;
                (lanes[word][at], carry) = (sum as u64, sum >> 64);
            }
        }
        [pack(&lanes[0]), pack(&lanes[1]), pack(&lanes[2]), pack(&lanes[3])]
    }

    /// The multiple of each lane's scalar, of the point that the table is of.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn multiples(table: &WideTable, digits: &[__m512i; 4]) -> Point {
        let (zero, one) = (splat([0; LIMBS]), splat([1, 0, 0, 0, 0]));
        let mut point = Point { x: zero, y: one, z: one, t: zero };
        for odd in [1, 0] {
            for (place, limbs) in table.chunks_exact(3 * LIMBS).enumerate() {
                let at = place * 2 + odd;
                let shift = _mm_set_epi64x(0, 4 * (at as i64 % 16));
                let digit = _mm512_and_si512(_mm512_srl_epi64(digits[at / 16], shift), _mm512_set1_epi64(15));
                let digit = if at == DIGITS - 1 { digit } else { _mm512_sub_epi64(digit, _mm512_set1_epi64(8)) };
                let (size, negative) = (_mm512_abs_epi64(digit), _mm512_cmplt_epi64_mask(digit, _mm512_setzero_si512()));
                let (addend, sign) = look_up(limbs, size, negative);
                point = sum(&point, &addend, sign);
            }
            for _ in 0..4 * odd {
                point = double(&point);
            }
        }
        point
    }

    /// The addend of each lane's multiple from 0 to 8, with the lanes in which it is to be subtracted. All of the table's
    /// part is read, and what is taken of it is chosen within registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn look_up(limbs: &[[u64; AT_ONCE]], size: __m512i, negative: __mmask8) -> (Addend, __mmask8) {
        let there = _mm512_test_epi64_mask(size, size);
        let at = _mm512_sub_epi64(size, word(1));
        let of_zero = [splat([1, 0, 0, 0, 0]), splat([1, 0, 0, 0, 0]), splat([0; LIMBS])];
        let mut addend = Addend(of_zero);
        for (part, limbs) in addend.0.iter_mut().zip(limbs.as_chunks::<LIMBS>().0) {
            for (limb, multiples) in part.0.iter_mut().zip(limbs) {
                *limb = _mm512_mask_permutexvar_epi64(*limb, there, at, pack(multiples));
            }
        }
        let [plus, minus, product] = addend.0;
        (Addend([blend(negative, plus, minus), blend(negative, minus, plus), product]), negative)
    }

    /// As an addend; of a point with Z = 1.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn addend(x: Field, y: Field) -> Addend {
        let d2 = splat(D);
        Addend([add(y, x), sub(y, x), mul(mul(x, y), add(d2, d2))])
    }

    /// The sum, for any two points. In the lanes of `negative` the last part of the addend counts with the other sign.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn sum(point: &Point, Addend([plus, minus, product]): &Addend, negative: __mmask8) -> Point {
        let a = mul(sub(point.y, point.x), *minus);
        let b = mul(add(point.y, point.x), *plus);
        let (c, d) = (mul(point.t, *product), add(point.z, point.z));
        let (less, more) = (sub(d, c), add(d, c));
        let (e, f, g, h) = (sub(b, a), blend(negative, less, more), blend(negative, more, less), add(b, a));
        Point { x: mul(e, f), y: mul(g, h), z: mul(f, g), t: mul(e, h) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn double(Point { x, y, z, .. }: &Point) -> Point {
        let (a, b, c) = (square(*x), square(*y), square(*z));
        let (g, h) = (sub(a, b), add(a, b));
        let (e, f) = (sub(h, square(add(*x, *y))), add(add(c, c), g));
        Point { x: mul(e, f), y: mul(g, h), z: mul(f, g), t: mul(e, h) }
    }

    /// A number whose square is `u / v`, which must be the square of one (RFC 8032, 5.1.3). Everyone may know these.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn root_of_ratio(u: Field, v: Field) -> Field {
        let v3 = mul(square(v), v);
        let uv7 = mul(u, mul(square(v3), v));
        let power = mul(square_times(ones250(uv7).0, 2), uv7);
        let root = mul(mul(u, v3), power);
        let is_root = is_zero(sub(mul(square(root), v), u));
        blend(is_root, mul(root, splat(ROOT)), root)
    }

    /// In which lanes it is zero.
    #[target_feature(enable = "avx512f")]
    fn is_zero(number: Field) -> __mmask8 {
        let lanes = number.0.map(|limb| unpack(limb));
        let mut zeros = 0;
        for lane in 0..AT_ONCE {
            let mut bytes = [0; 32];
            encode(lanes.map(|lanes| lanes[lane]), &mut bytes);
            zeros |= u8::from(bytes == [0; 32]) << lane;
        }
        zeros
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn pack(lanes: &[u64; AT_ONCE]) -> __m512i {
        // SAFETY: the array has the size of the register.
        unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn unpack(limb: __m512i) -> [u64; AT_ONCE] {
        let mut lanes = [0; AT_ONCE];
        // SAFETY: as above, and nobody else has it.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), limb) }
        lanes
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn splat(limbs: [u64; LIMBS]) -> Field {
        let [a, b, c, d, e] = limbs;
        Field([word(a), word(b), word(c), word(d), word(e)])
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn word(value: u64) -> __m512i {
        _mm512_set1_epi64(value.cast_signed())
    }

    /// The same coordinate for all; its highest bit is none of it.
    #[target_feature(enable = "avx512f")]
    fn broadcast(y: &[u8; 32]) -> Field {
        let words = y.as_chunks().0;
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| u64::from_le_bytes(words[at]));
        splat([a & MASK, (a >> 51 | b << 13) & MASK, (b >> 38 | c << 26) & MASK, (c >> 25 | d << 39) & MASK, (d >> 12) & MASK])
    }

    /// The one form of a reduced number, little-endian.
    fn encode(mut limbs: [u64; LIMBS], out: &mut [u8; 32]) {
        // Whether it is at least 2^255 - 19; it is below twice that.
        let carry = |carry: u64, limb: &u64| (limb + carry) >> BITS;
        let over = limbs.iter().fold(19, carry);
        limbs[0] += 19 * over;
        let mut above = 0;
        for limb in &mut limbs {
            *limb += above;
            above = *limb >> BITS;
            *limb &= MASK;
        }
        let [a, b, c, d, e] = limbs;
        let words = [a | b << 51, b >> 13 | c << 38, c >> 26 | d << 25, d >> 39 | e << 12];
        for (bytes, word) in out.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
    }

    /// The second number in the lanes that are set.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn blend(lanes: __mmask8, Field(a): Field, Field(b): Field) -> Field {
        let limb = |at: usize| _mm512_mask_blend_epi64(lanes, a[at], b[at]);
        Field([limb(0), limb(1), limb(2), limb(3), limb(4)])
    }

    /// Hands on what limbs have above 51 bits; below `2^62` each they are reduced then.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduce([a, b, c, d, e]: [__m512i; LIMBS]) -> Field {
        let mask = word(MASK);
        let low = |limb| _mm512_and_si512(limb, mask);
        let high = |limb| _mm512_srli_epi64::<BITS>(limb);
        Field([
            _mm512_madd52lo_epu64(low(a), high(e), word(19)),
            _mm512_add_epi64(low(b), high(a)),
            _mm512_add_epi64(low(c), high(b)),
            _mm512_add_epi64(low(d), high(c)),
            _mm512_add_epi64(low(e), high(d)),
        ])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(Field(a): Field, Field(b): Field) -> Field {
        let sum = |at: usize| _mm512_add_epi64(a[at], b[at]);
        reduce([sum(0), sum(1), sum(2), sum(3), sum(4)])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn sub(Field(a): Field, Field(b): Field) -> Field {
        // Four times the modulus, so that no limb falls below zero.
        let (first, other) = (word(4 * (MASK - 18)), word(4 * MASK));
        let difference = |at: usize| _mm512_sub_epi64(_mm512_add_epi64(a[at], if at == 0 { first } else { other }), b[at]);
        reduce([difference(0), difference(1), difference(2), difference(3), difference(4)])
    }

    /// The limbs of a product, each below `15 · 2^52`, as a reduced number: what is above `2^255` counts 19 times below.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn fold(z: [__m512i; 2 * LIMBS]) -> Field {
        let times19 = |a| {
            let (twice, sixteen) = (_mm512_add_epi64(a, a), _mm512_slli_epi64::<4>(a));
            _mm512_add_epi64(_mm512_add_epi64(a, twice), sixteen)
        };
        let limb = |at: usize| _mm512_add_epi64(z[at], times19(z[at + LIMBS]));
        reduce([limb(0), limb(1), limb(2), limb(3), limb(4)])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn mul(Field(a): Field, Field(b): Field) -> Field {
        let mut z = [_mm512_setzero_si512(); 2 * LIMBS];
        for i in 0..LIMBS {
            for j in 0..LIMBS {
                z[i + j + 1] = _mm512_madd52hi_epu64(z[i + j + 1], a[i], b[j]);
            }
        }
        for limb in &mut z {
            *limb = _mm512_add_epi64(*limb, *limb);
        }
        for i in 0..LIMBS {
            for j in 0..LIMBS {
                z[i + j] = _mm512_madd52lo_epu64(z[i + j], a[i], b[j]);
            }
        }
        fold(z)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn square(Field(a): Field) -> Field {
        let mut z = [_mm512_setzero_si512(); 2 * LIMBS];
        // Products of two different limbs count twice, and so do high halves.
        for i in 0..LIMBS {
            for j in i + 1..LIMBS {
                z[i + j + 1] = _mm512_madd52hi_epu64(z[i + j + 1], a[i], a[j]);
            }
        }
        for limb in &mut z {
            *limb = _mm512_add_epi64(*limb, *limb);
        }
        for i in 0..LIMBS {
            z[2 * i + 1] = _mm512_madd52hi_epu64(z[2 * i + 1], a[i], a[i]);
            for j in i + 1..LIMBS {
                z[i + j] = _mm512_madd52lo_epu64(z[i + j], a[i], a[j]);
            }
        }
        for limb in &mut z {
            *limb = _mm512_add_epi64(*limb, *limb);
        }
        for i in 0..LIMBS {
            z[2 * i] = _mm512_madd52lo_epu64(z[2 * i], a[i], a[i]);
        }
        fold(z)
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn square_times(mut a: Field, times: usize) -> Field {
        for _ in 0..times {
            a = square(a);
        }
        a
    }

    /// `a^(p - 2)`: what gives 1 when multiplied with `a`, and 0 for 0.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn invert(a: Field) -> Field {
        let (ones250, a11) = ones250(a);
        mul(square_times(ones250, 5), a11)
    }

    /// `a^(2^250 - 1)` and `a^11`
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn ones250(a: Field) -> (Field, Field) {
        let a2 = square(a);
        let a9 = mul(a, square_times(a2, 2));
        let a11 = mul(a2, a9);
        let ones5 = mul(square(a11), a9);
        let ones10 = mul(square_times(ones5, 5), ones5);
        let ones20 = mul(square_times(ones10, 10), ones10);
        let ones40 = mul(square_times(ones20, 20), ones20);
        let ones50 = mul(square_times(ones40, 10), ones10);
        let ones100 = mul(square_times(ones50, 50), ones50);
        let ones200 = mul(square_times(ones100, 100), ones100);
        (mul(square_times(ones200, 50), ones50), a11)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn numbers_have_one_form() {
            let number = |limbs| {
                let mut out = [0; 32];
                encode(limbs, &mut out);
                out
            };
            let small = |value| std::array::from_fn(|at| if at == 0 { value } else { 0 });
            // The modulus itself and the numbers around it, and the largest that is reduced.
            assert_eq!(number([MASK - 18, MASK, MASK, MASK, MASK]), small(0));
            assert_eq!(number([MASK - 17, MASK, MASK, MASK, MASK]), small(1));
            assert_eq!(number([MASK, MASK, MASK, MASK, MASK]), small(18));
            assert_eq!(number([MASK + 1, MASK, MASK, MASK, MASK]), small(19));
            let mut last = [0xff; 32];
            (last[0], last[31]) = (0xec, 0x7f);
            assert_eq!(number([MASK - 19, MASK, MASK, MASK, MASK]), last);
            assert_eq!(number([7, 0, 0, 0, MASK + 1]), small(26));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::recipient::x25519::{self, AGREEMENT_LEN, AT_ONCE, AgreementKey};

    fn gives_the_same(public: [u8; 32], ephemerals: &[[u8; 32]; AT_ONCE]) {
        let key = AgreementKey::new(public).unwrap();
        let (mut fast, mut plain) = ([[0; AGREEMENT_LEN]; AT_ONCE], [[0; AGREEMENT_LEN]; AT_ONCE]);
        super::agree_many()(&key, ephemerals, &mut fast);
        x25519::agree_many(&key, ephemerals, &mut plain);
        assert_eq!(fast, plain, "{public:?} {ephemerals:?}");
    }

    proptest! {
        #[test]
        fn the_fastest_gives_what_the_plain_one_gives(public: [u8; 32], ephemerals: [[u8; 32]; AT_ONCE]) {
            gives_the_same(public, &ephemerals);
        }
    }

    #[test]
    fn numbers_at_the_edge_are_no_exception() {
        let edges = [[0; 32], [0xff; 32], [0x55; 32], [0xaa; 32], [1; 32], [0x80; 32], [0x7f; 32], [8; 32]];
        for last in [0x7f, 0xff, 0, 0x80, 0x3f] {
            // Two and more, and around the modulus, where it is reduced or not.
            for first in [2, 3, 9, 0x12, 0xea, 0xeb, 0xef, 0xf0, 0xff] {
                let between = if last & 0x7f == 0 { 0 } else { 0xff };
                let mut public = [between; 32];
                (public[0], public[31]) = (first, last);
                if AgreementKey::new(public).is_some() {
                    gives_the_same(public, &edges);
                }
            }
        }
    }
}
