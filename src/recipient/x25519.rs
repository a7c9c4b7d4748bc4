//! X25519 (RFC 7748) with the same public key again and again, as records of their own need it.
//!
//! Promises: the values of RFC 7748's function, at less than half of its time, from a table of the key's multiples; in a
//! time that does not depend on the ephemeral key. Knows no random generator, the ephemeral keys are handed in; and no
//! processor: which [`AgreeMany`] is the fastest is for the caller to find out.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::OnceLock;

use curve25519_dalek::edwards::EdwardsBasepointTable;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::traits::{BasepointTable, IsIdentity};

/// Length of an [`Agreement`]'s bytes.
pub const AGREEMENT_LEN: usize = 64;
/// How many secrets are agreed upon at once.
pub const AT_ONCE: usize = 8;

/// What both sides of one key agreement have: the ephemeral public key, which is told, and the shared secret behind it.
pub type Agreement = [u8; AGREEMENT_LEN];
/// Agrees upon secrets with one public key, each with an ephemeral secret key of 32 random bytes.
pub type AgreeMany = fn(&AgreementKey, &[[u8; 32]; AT_ONCE], &mut [Agreement; AT_ONCE]);

/// The ephemeral public key of an agreement, and its shared secret.
pub fn parts(agreement: &Agreement) -> (&[u8; 32], &[u8; 32]) {
    let (share, secret) = agreement.split_first_chunk().expect("it is longer");
    (share, secret.first_chunk().expect("the other half"))
}

/// One after the other, on any machine.
pub fn agree_many(key: &AgreementKey, ephemerals: &[[u8; 32]; AT_ONCE], agreements: &mut [Agreement; AT_ONCE]) {
    for (ephemeral, agreement) in ephemerals.iter().zip(agreements) {
        let secret = match key.multiples() {
            Multiples::Table(table) => table.mul_base_clamped(*ephemeral).to_montgomery(),
            Multiples::Twist(point) => point.mul_clamped(*ephemeral),
        };
        agreement[..32].copy_from_slice(MontgomeryPoint::mul_base_clamped(*ephemeral).as_bytes());
        agreement[32..].copy_from_slice(secret.as_bytes());
    }
}

/// A table of a key's multiples as a function for a known processor wants it. No secret.
pub type WideTable = Vec<[u64; AT_ONCE]>;

/// A public key that shared secrets are agreed upon with. About 30 KiB, once something was agreed upon.
pub struct AgreementKey {
    point: MontgomeryPoint,
    multiples: OnceLock<Multiples>,
    wide: OnceLock<Option<WideTable>>,
}

enum Multiples {
    /// Of the point on the curve in Edwards' form that the public key stands for.
    Table(Box<EdwardsBasepointTable>),
    /// The public key is on the curve's twist, which has no such form here. No key that was made as it should be is.
    Twist(MontgomeryPoint),
}

impl AgreementKey {
    /// Takes a public key as RFC 7748 encodes it; `None` where every shared secret with it would be zero.
    pub fn new(public: [u8; 32]) -> Option<Self> {
        let point = MontgomeryPoint(public);
        let is_low = point.mul_clamped([1; 32]).is_identity();
        (!is_low).then(|| Self { point, multiples: OnceLock::new(), wide: OnceLock::new() })
    }

    /// A table that `make` makes, once, of the second coordinate of the point on the curve in Edwards' form that the public
    /// key stands for (RFC 8032, 5.1.2); `None` where there is no such point.
    pub fn wide(&self, make: impl FnOnce(&[u8; 32]) -> WideTable) -> Option<&WideTable> {
        let table = self.wide.get_or_init(|| self.point.to_edwards(0).map(|point| make(point.compress().as_bytes())));
        table.as_ref()
    }

    fn multiples(&self) -> &Multiples {
        self.multiples.get_or_init(|| match self.point.to_edwards(0) {
            Some(point) => Multiples::Table(Box::new(EdwardsBasepointTable::create(&point))),
            None => Multiples::Twist(self.point),
        })
    }
}

impl fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgreementKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_function_of_rfc_7748(mut public: [u8; 32], ephemerals: [[u8; 32]; AT_ONCE], mode in 0u8..4) {
            match mode {
                // Half of all numbers are on the curve, half on its twist.
                0 | 1 => {}
                // Not reduced, and with the bit that is to be ignored.
                2 => public = [0xff; 32],
                _ => public = MontgomeryPoint::mul_base_clamped(public).to_bytes(),
            }
            let mut agreements = [[0; AGREEMENT_LEN]; AT_ONCE];
            agree_many(&AgreementKey::new(public).unwrap(), &ephemerals, &mut agreements);
            for (ephemeral, agreement) in ephemerals.iter().zip(&agreements) {
                let (share, secret) = parts(agreement);
                prop_assert_eq!(*share, MontgomeryPoint::mul_base_clamped(*ephemeral).to_bytes());
                prop_assert_eq!(*secret, MontgomeryPoint(public).mul_clamped(*ephemeral).to_bytes());
            }
        }
    }

    #[test]
    fn keys_of_low_order_are_refused() {
        for first in [0, 1] {
            let mut public = [0; 32];
            public[0] = first;
            assert!(AgreementKey::new(public).is_none());
        }
    }

    #[test]
    fn meets_the_vector_of_rfc_7748() {
        let unhex =
            |text: &str| -> [u8; 32] { std::array::from_fn(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()) };
        let alice = unhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let mut agreements = [[0; AGREEMENT_LEN]; AT_ONCE];
        agree_many(&AgreementKey::new(bob).unwrap(), &[alice; AT_ONCE], &mut agreements);
        let share = unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let secret = unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        agreements.iter().for_each(|agreement| assert_eq!(parts(agreement), (&share, &secret)));
    }
}
