//! `sealedlog-audit keygen`: a key pair for the dedicated machine.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use age::secrecy::{ExposeSecret, SecretString};
use clap::{ArgGroup, Args};
use jiff::{Span, Zoned};
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

use super::passphrase_source;
use crate::cli::{Outcome, Trouble, print};

const EXAMPLES: &str = "\
Examples:
  sealedlog-audit keygen --name 'Log auditor <auditor@example.org>' -o keys
  sealedlog-audit keygen --age --secret auditor.key --public auditor.age";

/// What `keygen` was asked for.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("where").required(true).args(["output", "secret"])))]
pub struct KeygenArgs {
    /// Make an age identity instead of an OpenPGP key
    #[arg(long, conflicts_with_all = ["name", "expires"])]
    age: bool,

    /// Name in the OpenPGP certificate, for people
    #[arg(long, value_name = "USERID")]
    name: Option<String>,

    /// After what time the certificate is no longer sealed to, as in 3y or 18mo; never, by default
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,

    /// Folder for both files; it is made where it is missing
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// File for the secret key
    #[arg(long, value_name = "FILE", requires = "public", conflicts_with = "output")]
    secret: Option<PathBuf>,

    /// File for the public key
    #[arg(long, value_name = "FILE", requires = "secret", conflicts_with = "output")]
    public: Option<PathBuf>,

    /// Read the passphrase from this file descriptor instead of the terminal
    #[arg(long, value_name = "N")]
    passphrase_fd: Option<u32>,

    /// Do not encrypt the secret key
    #[arg(long, conflicts_with = "passphrase_fd")]
    no_passphrase: bool,
}

/// Both halves of a new key.
struct KeyPairFiles {
    fingerprint: String,
    public: Vec<u8>,
    secret: Zeroizing<Vec<u8>>,
}

/// Makes the key and writes both files; none is overwritten.
pub fn run(args: &KeygenArgs) -> Outcome {
    let (secret_path, public_path) = paths(args)?;
    for path in [&secret_path, &public_path] {
        // Before anybody is asked for a passphrase.
        if path.symlink_metadata().is_ok() {
            return Err(cannot_write(path, &nix::errno::Errno::EEXIST.into()));
        }
    }
    let validity = args.expires.as_ref().map(validity).transpose()?;
    let passphrase = if args.no_passphrase { None } else { Some(passphrase(args.passphrase_fd, &secret_path)?) };
    let made = if args.age {
        age_identity(passphrase).map_err(|error| error.to_string())
    } else {
        openpgp_key(args.name.as_deref(), validity, passphrase).map_err(|error| error.to_string())
    };
    let files = made.map_err(|error| Trouble::new(format_args!("cannot make a key: {error}"), ""))?;
    write(&secret_path, 0o600, &files.secret)?;
    if let Err(trouble) = write(&public_path, 0o644, &files.public) {
        // A key of which only one half is there helps nobody.
        let _ = fs::remove_file(&secret_path);
        return Err(trouble);
    }
    print(format_args!(
        "fingerprint: {}\nsecret key:  {}\npublic key:  {}\n\n\
         Write the fingerprint on paper. Keep a second copy of the secret key off this machine; without it no log can be opened.\n\
         Copy the public key to the server, to /etc/sealedlog/keys.d/, and compare the fingerprint there: sealedlog keys\n",
        files.fingerprint,
        secret_path.display(),
        public_path.display(),
    ))
}

fn paths(args: &KeygenArgs) -> Result<(PathBuf, PathBuf), Trouble> {
    if let (Some(secret), Some(public)) = (&args.secret, &args.public) {
        return Ok((secret.clone(), public.clone()));
    }
    let folder = args.output.clone().unwrap_or_default();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| cannot_write(&folder, &error))?;
    // What a key folder takes as an age key ends in .age, as an OpenPGP certificate in .asc.
    let (secret, public) = if args.age {
        ("sealedlog-secret.txt", "sealedlog-public.age")
    } else {
        ("sealedlog-secret.asc", "sealedlog-public.asc")
    };
    Ok((folder.join(secret), folder.join(public)))
}

fn validity(span: &Span) -> Result<Duration, Trouble> {
    let now = Zoned::now();
    now.checked_add(*span)
        .ok()
        .and_then(|end| Duration::try_from(now.duration_until(&end)).ok())
        .filter(|validity| !validity.is_zero())
        .ok_or_else(|| Trouble::new("--expires is no time to come", "give a span as in 3y or 18mo"))
}

fn passphrase(descriptor: Option<u32>, file: &Path) -> Result<Zeroizing<String>, Trouble> {
    let failed = |error: io::Error| {
        Trouble::new(
            format_args!("cannot read the passphrase: {error}"),
            "run it on a terminal, or give --passphrase-fd or --no-passphrase",
        )
    };
    let passphrase = match descriptor {
        Some(_) => passphrase_source(descriptor)?.passphrase(file, 0).map_err(failed)?.unwrap_or_default(),
        None => {
            let ask = |what: &str| rpassword::prompt_password(format!("{what}: ")).map(Zeroizing::new).map_err(failed);
            let first = ask("passphrase for the new secret key")?;
            if *first != *ask("the same again")? {
                return Err(Trouble::new("the passphrases differ", "try again"));
            }
            first
        }
    };
    if passphrase.is_empty() {
        return Err(Trouble::new("the passphrase is empty", "give one, or --no-passphrase where the disk itself is encrypted"));
    }
    Ok(passphrase)
}

/// A certificate as RFC 9580 has it: version 6, Ed25519 to certify, X25519 to decrypt, SEIPD version 2, and AES-256 with
/// OCB before the AES-128 that all have.
fn openpgp_key(
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
fn age_identity(passphrase: Option<Zeroizing<String>>) -> io::Result<KeyPairFiles> {
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

fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), Trouble> {
    let create = || -> io::Result<File> { OpenOptions::new().write(true).create_new(true).mode(mode).open(path) };
    let mut file = create().map_err(|error| cannot_write(path, &error))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = fs::remove_file(path);
        cannot_write(path, &error)
    })
}

fn cannot_write(path: &Path, error: &io::Error) -> Trouble {
    let hint = match error.kind() {
        io::ErrorKind::AlreadyExists => "no key is overwritten; give another name, or move the old file away",
        _ => "give a folder that can be written",
    };
    Trouble::new(format_args!("cannot write: {}: {error}", path.display()), hint)
}
