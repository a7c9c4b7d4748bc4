//! Keys made by the tools that people make them with, in a temporary folder, once for each test process.
//!
//! A key is made when a test first asks for it. The folder, and what GnuPG left running on it, are gone when the
//! process ends, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use pgp::composed::{ArmorOptions, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SubkeyParamsBuilder};
use pgp::crypto::aead::AeadAlgorithm;
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::{KeyDetails, KeyVersion};
use sequoia_openpgp::cert::{CertBuilder, CipherSuite};
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::{Cert, Profile};

use super::tools::{must, tool, usual_umask};

/// The passphrase of every key here that has one.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// An OpenPGP key pair in files.
#[derive(Clone, Debug)]
pub struct Pgp {
    /// The certificate, armored (`.asc`).
    pub public: PathBuf,
    /// The secret key, armored.
    pub secret: PathBuf,
    /// Of the primary key, upper-case hex.
    pub fingerprint: String,
    /// What opens the secret key, if it is locked.
    pub passphrase: Option<&'static str>,
}

/// An age key pair in files.
#[derive(Clone, Debug)]
pub struct Age {
    /// A file with the recipient in it (`.age`).
    pub public: PathBuf,
    /// The identity file, as age-keygen wrote it.
    pub secret: PathBuf,
    /// The recipient, `age1…`.
    pub recipient: String,
}

/// An SSH key pair in files.
#[derive(Clone, Debug)]
pub struct Ssh {
    /// The public key's line (`.pub`).
    pub public: PathBuf,
    /// The secret key in OpenSSH's format.
    pub secret: PathBuf,
    /// What opens the secret key, if it is locked.
    pub passphrase: Option<&'static str>,
}

/// `fn NAME() -> &'static TYPE`: made at the first call, by the expression.
macro_rules! key {
    ($(#[$doc:meta])* $name:ident: $type:ty = $make:expr) => {
        $(#[$doc])*
        pub fn $name() -> &'static $type {
            static KEY: OnceLock<$type> = OnceLock::new();
            KEY.get_or_init(|| $make)
        }
    };
}

key!(/// GnuPG, RSA 4096, primary and encryption subkey.
    gpg_rsa4096: Pgp = gnupg("gpg-rsa", "rsa4096", Some("rsa4096"), "never", None, None));
key!(/// GnuPG, Ed25519 with a Cv25519 encryption subkey.
    gpg_cv25519: Pgp = gnupg("gpg-25519", "ed25519", Some("cv25519"), "never", None, None));
key!(/// As [`gpg_cv25519`], the secret key locked with [`PASSPHRASE`].
    gpg_locked: Pgp = gnupg("gpg-locked", "ed25519", Some("cv25519"), "never", Some(PASSPHRASE), None));
key!(/// As [`gpg_cv25519`], made in 2020 and expired a year later.
    gpg_expired: Pgp = gnupg("gpg-expired", "ed25519", Some("cv25519"), "1y", None, Some("20200101T000000")));
key!(/// As [`gpg_cv25519`], revoked with the certificate that GnuPG makes for that.
    gpg_revoked: Pgp = revoked());
key!(/// GnuPG, Ed25519, for certifying and signing only.
    gpg_sign_only: Pgp = gnupg("gpg-sign", "ed25519", None, "never", None, None));

key!(/// OpenPGP.js, version 6, Ed25519 and X25519, announces SEIPD v2.
    openpgpjs: Pgp = openpgpjs_key());
key!(/// rPGP, version 6, Ed25519 and X25519, announces SEIPD v2.
    rpgp_v6: Pgp = rpgp("rpgp-v6", KeyVersion::V6, KeyType::Ed25519, KeyType::X25519, true));
key!(/// rPGP, version 4, RSA 3072, SEIPD v1 only.
    rpgp_v4_rsa: Pgp = rpgp("rpgp-rsa", KeyVersion::V4, KeyType::Rsa(3072), KeyType::Rsa(3072), false));
key!(/// rPGP, version 4, NIST P-256, SEIPD v1 only.
    rpgp_v4_p256: Pgp = rpgp("rpgp-p256", KeyVersion::V4, KeyType::ECDSA(ECCCurve::P256), KeyType::ECDH(ECCCurve::P256), false));
key!(/// Sequoia, version 6, Ed25519 and X25519, announces SEIPD v2.
    sequoia_v6: Pgp = sequoia("sequoia-v6", None));
key!(/// As [`sequoia_v6`], the secret key locked with [`PASSPHRASE`].
    sequoia_locked: Pgp = sequoia("sequoia-locked", Some(PASSPHRASE)));

key!(/// age-keygen's.
    age: Age = age_key("age"));
key!(/// Another of age-keygen's.
    age_other: Age = age_key("age-other"));
key!(/// ssh-keygen, Ed25519.
    ssh_ed25519: Ssh = ssh("ssh-ed25519", "ed25519", None));
key!(/// ssh-keygen, RSA 4096.
    ssh_rsa: Ssh = ssh("ssh-rsa", "rsa", None));
key!(/// ssh-keygen, Ed25519, locked with [`PASSPHRASE`].
    ssh_ed25519_locked: Ssh = ssh("ssh-ed25519-locked", "ed25519", Some(PASSPHRASE)));
key!(/// ssh-keygen, RSA 4096, locked with [`PASSPHRASE`].
    ssh_rsa_locked: Ssh = ssh("ssh-rsa-locked", "rsa", Some(PASSPHRASE)));

/// The folder of this process's keys.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        usual_umask();
        // Not below target/: GnuPG's socket must not have a name of more than 107 bytes.
        let folder = tempfile::Builder::new().prefix("sealedlog-keys-").tempdir().expect("a temporary folder can be made").keep();
        remove_at_exit(&folder);
        folder
    })
}

/// gpg on a home of its own below [`folder`], made when it is not there yet.
pub fn gpg(home: &str) -> Command {
    let home = folder().join(format!("{home}.gnupg"));
    // It asks whether the home is safe from others.
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(&home).expect("own folder");
    let mut gpg = tool("gpg");
    gpg.arg("--homedir").arg(home);
    gpg.args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback"]);
    gpg
}

/// The script that speaks for OpenPGP.js, with its arguments still to come.
pub fn openpgpjs_script() -> Command {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    assert!(
        interop.join("node_modules/openpgp").is_dir(),
        "OpenPGP.js is missing: run scripts/setup.sh, or: cd tests/interop && npm ci"
    );
    let mut node = tool("node");
    node.arg(interop.join("openpgpjs.mjs"));
    node
}

/// A process that outlives this one by a moment: the pipe to it closes when this one ends, whatever ends it.
fn remove_at_exit(folder: &Path) {
    static REAPER: Mutex<Option<Child>> = Mutex::new(None);
    const SCRIPT: &str = "cat; for home in \"$1\"/*.gnupg; do gpgconf --homedir \"$home\" --kill all; done; rm -rf \"$1\"";
    let mut shell = tool("sh");
    shell.args(["-c", SCRIPT, "sh"]).arg(folder);
    // A terminal's interrupt is for the tests; what they leave behind is cleared all the same.
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    let child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh can be run");
    *REAPER.lock().expect("set once") = Some(child);
}

fn gnupg(
    name: &str,
    primary: &str,
    encryption: Option<&str>,
    expire: &str,
    passphrase: Option<&'static str>,
    made: Option<&str>,
) -> Pgp {
    let command = || {
        let mut gpg = gpg(name);
        gpg.args(["--passphrase", passphrase.unwrap_or("")]);
        gpg
    };
    let then = |gpg: &mut Command| {
        if let Some(time) = made {
            gpg.arg("--faked-system-time").arg(time);
        }
    };
    let user = format!("{name} <{name}@example.org>");
    let mut gpg = command();
    then(&mut gpg);
    must(gpg.args(["--quick-generate-key", &user, primary, "sign", expire]), b"");

    let listing = must(command().args(["--with-colons", "--list-keys"]), b"");
    let fingerprint = String::from_utf8_lossy(&listing)
        .lines()
        .find_map(|line| line.strip_prefix("fpr:"))
        .map(|fields| fields.trim_matches(':').to_owned())
        .expect("gpg lists a fingerprint for a key that it made");
    if let Some(kind) = encryption {
        let mut gpg = command();
        then(&mut gpg);
        must(gpg.args(["--quick-add-key", &fingerprint, kind, "encr", expire]), b"");
    }
    export(name, fingerprint, passphrase)
}

fn revoked() -> Pgp {
    let name = "gpg-revoked";
    let key = gnupg(name, "ed25519", Some("cv25519"), "never", None, None);
    let file = folder().join(format!("{name}.gnupg/openpgp-revocs.d/{}.rev", key.fingerprint));
    // A colon before the armor keeps it from being imported by mistake.
    let certificate = fs::read_to_string(file).expect("gpg made a revocation certificate");
    let certificate = certificate.replace(":-----BEGIN", "-----BEGIN");
    must(gpg(name).arg("--import"), certificate.as_bytes());
    export(name, key.fingerprint, None)
}

fn export(name: &str, fingerprint: String, passphrase: Option<&'static str>) -> Pgp {
    let mut gpg_public = gpg(name);
    let public = must(gpg_public.args(["--armor", "--export", &fingerprint]), b"");
    let mut gpg_secret = gpg(name);
    gpg_secret.args(["--passphrase", passphrase.unwrap_or("")]);
    let secret = must(gpg_secret.args(["--armor", "--export-secret-keys", &fingerprint]), b"");
    store(name, &public, &secret, fingerprint, passphrase)
}

fn openpgpjs_key() -> Pgp {
    must(openpgpjs_script().arg("generate").arg(folder()), b"");
    let public = folder().join("openpgpjs.pub.asc");
    let cert = Cert::from_file(&public).expect("OpenPGP.js writes certificates");
    Pgp { secret: folder().join("openpgpjs.sec.asc"), fingerprint: cert.fingerprint().to_hex(), public, passphrase: None }
}

fn rpgp(name: &str, version: KeyVersion, primary: KeyType, encryption: KeyType, seipd2: bool) -> Pgp {
    let mut subkey = SubkeyParamsBuilder::default();
    subkey.version(version).key_type(encryption).can_encrypt(EncryptionCaps::All);
    let mut params = SecretKeyParamsBuilder::default();
    params
        .version(version)
        .key_type(primary)
        .can_certify(true)
        .can_sign(true)
        .primary_user_id(format!("{name} <{name}@example.org>"))
        .feature_seipd_v2(seipd2)
        .preferred_symmetric_algorithms([SymmetricKeyAlgorithm::AES256].into_iter().collect())
        .subkey(subkey.build().expect("a possible subkey"));
    if seipd2 {
        let preferred = (SymmetricKeyAlgorithm::AES256, AeadAlgorithm::Ocb);
        params.preferred_aead_algorithms([preferred].into_iter().collect());
    }
    let key = params.build().expect("a possible key").generate(rand::thread_rng()).expect("rPGP makes keys");
    let armor = ArmorOptions::default;
    let public = SignedPublicKey::from(key.clone()).to_armored_bytes(armor());
    let secret = key.to_armored_bytes(armor());
    let fingerprint = format!("{:X}", key.fingerprint());
    let to_memory = "writing to memory works";
    store(name, &public.expect(to_memory), &secret.expect(to_memory), fingerprint, None)
}

fn sequoia(name: &str, passphrase: Option<&'static str>) -> Pgp {
    let (cert, _) = CertBuilder::new()
        .set_profile(Profile::RFC9580)
        .expect("Sequoia knows version 6")
        .set_cipher_suite(CipherSuite::Cv25519)
        .add_userid(format!("{name} <{name}@example.org>"))
        .add_transport_encryption_subkey()
        .add_storage_encryption_subkey()
        .set_password(passphrase.map(Into::into))
        .generate()
        .expect("Sequoia makes keys");
    let to_memory = "writing to memory works";
    let public = cert.armored().to_vec().expect(to_memory);
    let secret = cert.as_tsk().armored().to_vec().expect(to_memory);
    store(name, &public, &secret, cert.fingerprint().to_hex(), passphrase)
}

fn store(name: &str, public: &[u8], secret: &[u8], fingerprint: String, passphrase: Option<&'static str>) -> Pgp {
    let key = Pgp {
        public: folder().join(format!("{name}.asc")),
        secret: folder().join(format!("{name}.sec.asc")),
        fingerprint,
        passphrase,
    };
    fs::write(&key.public, public).expect("own folder");
    fs::write(&key.secret, secret).expect("own folder");
    key
}

fn age_key(name: &str) -> Age {
    let secret = folder().join(format!("{name}.txt"));
    must(tool("age-keygen").arg("-o").arg(&secret), b"");
    let recipient = must(tool("age-keygen").arg("-y").arg(&secret), b"");
    let public = folder().join(format!("{name}.age"));
    fs::write(&public, &recipient).expect("own folder");
    Age { public, secret, recipient: String::from_utf8(recipient).expect("bech32 is ASCII").trim_end().to_owned() }
}

fn ssh(name: &str, kind: &str, passphrase: Option<&'static str>) -> Ssh {
    let secret = folder().join(name);
    let mut keygen = tool("ssh-keygen");
    keygen.args(["-q", "-t", kind, "-C", "audit@example.org"]);
    keygen.args(["-N", passphrase.unwrap_or("")]);
    if kind == "rsa" {
        keygen.args(["-b", "4096"]);
    }
    must(keygen.arg("-f").arg(&secret), b"");
    Ssh { public: folder().join(format!("{name}.pub")), secret, passphrase }
}
