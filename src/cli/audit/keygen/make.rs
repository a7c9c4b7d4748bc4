//! New keys: an OpenPGP certificate of version 6, or an age identity.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use age::secrecy::{ExposeSecret, SecretString};
use sequoia_openpgp as openpgp;
use zeroize::Zeroizing;

use openpgp::Packet;
use openpgp::cert::Cert;
use openpgp::crypto::{KeyPair, Password};
use openpgp::packet::key::{Key6, PrimaryRole, SecretParts, SubordinateRole};
use openpgp::packet::signature::SignatureBuilder;
use openpgp::packet::{Key, UserID};
use openpgp::serialize::SerializeInto;
use openpgp::types::{AEADAlgorithm, Features, HashAlgorithm, KeyFlags, SignatureType, SymmetricAlgorithm};

/// Both halves of a new key.
pub struct KeyPairFiles {
    pub fingerprint: String,
    pub public: Vec<u8>,
    pub secret: Zeroizing<Vec<u8>>,
}

/// A certificate as RFC 9580 has it: version 6, Ed25519 to certify, X25519 to decrypt, SEIPD version 2, and AES-256 with
/// OCB before the AES-128 that all have.
pub fn openpgp_key(
    name: Option<&str>,
    validity: Option<Duration>,
    passphrase: Option<Zeroizing<String>>,
) -> openpgp::Result<KeyPairFiles> {
    let now = SystemTime::now();
    let mut primary = Key::<SecretParts, PrimaryRole>::from(Key6::generate_ed25519()?);
    let mut subkey = Key::<SecretParts, SubordinateRole>::from(Key6::generate_x25519()?);
    primary.set_creation_time(now)?;
    subkey.set_creation_time(now)?;
    let mut signer: KeyPair = primary.clone().into_keypair()?;
    let builder = |kind, flags: KeyFlags| -> openpgp::Result<SignatureBuilder> {
        SignatureBuilder::new(kind)
            .set_hash_algo(HashAlgorithm::SHA512)
            .set_signature_creation_time(now)?
            .set_key_flags(flags)?
            .set_key_validity_period(validity)
    };
    let preferences = |kind| -> openpgp::Result<SignatureBuilder> {
        builder(kind, KeyFlags::empty().set_certification())?
            .set_features(Features::empty().set_seipdv1().set_seipdv2())?
            .set_preferred_hash_algorithms(vec![HashAlgorithm::SHA512, HashAlgorithm::SHA256])?
            .set_preferred_symmetric_algorithms(vec![SymmetricAlgorithm::AES256, SymmetricAlgorithm::AES128])?
            .set_preferred_aead_ciphersuites(vec![
                (SymmetricAlgorithm::AES256, AEADAlgorithm::OCB),
                (SymmetricAlgorithm::AES128, AEADAlgorithm::OCB),
            ])
    };
    let direct = preferences(SignatureType::DirectKey)?.sign_direct_key(&mut signer, primary.parts_as_public())?;
    let cert = Cert::try_from(vec![Packet::from(primary.clone()), direct.into()])?;
    let mut packets = Vec::new();
    if let Some(name) = name {
        let user = UserID::from(name);
        let binding =
            user.bind(&mut signer, &cert, preferences(SignatureType::PositiveCertification)?.set_primary_userid(true)?)?;
        packets.extend([Packet::from(user), binding.into()]);
    }
    let flags = KeyFlags::empty().set_transport_encryption().set_storage_encryption();
    let binding = subkey.bind(&mut signer, &cert, builder(SignatureType::SubkeyBinding, flags)?)?;
    if let Some(passphrase) = passphrase {
        let password = Password::from(passphrase.as_str());
        packets.push(primary.encrypt_secret(&password)?.into());
        subkey = subkey.encrypt_secret(&password)?;
    }
    packets.extend([Packet::from(subkey), binding.into()]);
    let cert = cert.insert_packets(packets)?.0;
    Ok(KeyPairFiles {
        fingerprint: cert.fingerprint().to_hex(),
        public: cert.armored().to_vec()?,
        secret: Zeroizing::new(cert.as_tsk().armored().to_vec()?),
    })
}

/// An identity file as age-keygen writes it; under a passphrase, an armored age file that holds it.
pub fn age_identity(passphrase: Option<Zeroizing<String>>) -> io::Result<KeyPairFiles> {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let plain = Zeroizing::new(format!("# public key: {recipient}\n{}\n", identity.to_string().expose_secret()));
    let secret = match passphrase {
        None => plain.as_bytes().to_vec(),
        Some(passphrase) => {
            let armor = age::armor::ArmoredWriter::wrap_output(Vec::new(), age::armor::Format::AsciiArmor)?;
            let encryptor = age::Encryptor::with_user_passphrase(SecretString::from(passphrase.as_str()));
            let mut writer = encryptor.wrap_output(armor)?;
            writer.write_all(plain.as_bytes())?;
            writer.finish()?.finish()?
        }
    };
    Ok(KeyPairFiles { public: format!("{recipient}\n").into_bytes(), fingerprint: recipient, secret: Zeroizing::new(secret) })
}
