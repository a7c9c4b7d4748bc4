//! What the measured programs work on: a folder that goes away, lines in files, keys of every kind.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::{CertBuilder, CipherSuite};
use openpgp::serialize::SerializeInto;

use super::lines::Lines;

/// Of the made-up log.
const SEED: u64 = 1;

/// The folder of everything here, removed at the end.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> io::Result<Self> {
        // A short name: the socket of gpg's agent is in it.
        tempfile::Builder::new().prefix("sl-bench-").tempdir().map(Self)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The lines, in a file.
pub struct Input {
    pub path: PathBuf,
    pub lines: u64,
    pub bytes: u64,
}

impl Input {
    /// `count` made-up lines, or those of `file`, again and again, each with its number.
    pub fn new(place: &Place, name: &str, file: Option<&Path>, count: u64) -> anyhow::Result<Self> {
        let path = place.path(name);
        let mut out = BufWriter::new(File::create(&path)?);
        let Some(file) = file else {
            for line in Lines::new(SEED).take(usize::try_from(count)?) {
                out.write_all(&line)?;
            }
            return Self::done(path, out, count);
        };
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(!content.is_empty(), "{} is empty", file.display());
        for (number, line) in (1..=count).zip(content.split_inclusive(|&byte| byte == b'\n').cycle()) {
            out.write_all(line.strip_suffix(b"\n").unwrap_or(line))?;
            writeln!(out, " {number}")?;
        }
        Self::done(path, out, count)
    }

    /// So many lines of `length` bytes each, newline included, no two equal where there is room for that.
    pub fn of_length(place: &Place, length: usize, count: u64) -> anyhow::Result<Self> {
        let path = place.path("length.log");
        let mut out = BufWriter::new(File::create(&path)?);
        let text: Vec<u8> = Lines::new(SEED).take(400).flatten().map(|byte| if byte == b'\n' { b' ' } else { byte }).collect();
        for number in 0..count {
            let number = format!("{number:010} ");
            let rest = length.saturating_sub(number.len() + 1);
            out.write_all(number.as_bytes())?;
            out.write_all(&text[..rest])?;
            out.write_all(b"\n")?;
        }
        Self::done(path, out, count)
    }

    fn done(path: PathBuf, out: BufWriter<File>, lines: u64) -> anyhow::Result<Self> {
        let file = out.into_inner().context("cannot write the lines")?;
        file.sync_all()?;
        Ok(Self { path, lines, bytes: file.metadata()?.len() })
    }
}

/// Keys as people have them, made by the programs and libraries that they make them with.
pub struct Keys {
    pub rfc9580: PathBuf,
    pub rfc9580_secret: PathBuf,
    pub rfc4880: PathBuf,
    pub age: PathBuf,
    pub age_recipient: String,
    pub gpg: Gpg,
}

const USER: &str = "Audit <audit@example.org>";

impl Keys {
    pub fn new(place: &Place) -> anyhow::Result<Self> {
        // Their folder is watched for changes, and what is written here is none.
        let folder = place.path("keys");
        fs::create_dir(&folder)?;
        let write = |name: &str, content: &[u8]| -> io::Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, content)?;
            Ok(path)
        };
        let cert = rfc9580_cert()?;
        let gpg = Gpg::new(place.path("gnupg"))?;
        let rfc4880 = output(gpg.command().args(["--export", USER]))?;
        let identity = age::x25519::Identity::generate();
        let age_recipient = identity.to_public().to_string();
        Ok(Self {
            rfc9580: write("rfc9580.asc", &cert.armored().to_vec()?)?,
            rfc9580_secret: write("rfc9580.secret.asc", &cert.as_tsk().armored().to_vec()?)?,
            rfc4880: write("rfc4880.pgp", &rfc4880)?,
            age: write("audit.age", age_recipient.as_bytes())?,
            age_recipient,
            gpg,
        })
    }

    pub fn gpg_encrypt(&self) -> Command {
        let mut command = self.gpg.command();
        command.args(["-e", "-z0", "--trust-model", "always", "-r", USER]);
        command
    }
}

/// A new key of RFC 9580, Ed25519 and X25519, that announces SEIPD v2.
pub fn rfc9580_cert() -> anyhow::Result<Cert> {
    let cert = CertBuilder::new().set_profile(openpgp::Profile::RFC9580)?.set_cipher_suite(CipherSuite::Cv25519);
    Ok(cert.add_userid(USER).add_storage_encryption_subkey().generate()?.0)
}

/// GnuPG with one key, Ed25519 and Cv25519, in a home of its own.
pub struct Gpg(PathBuf);

impl Gpg {
    pub fn new(home: PathBuf) -> anyhow::Result<Self> {
        DirBuilder::new().mode(0o700).create(&home)?;
        let gpg = Self(home);
        output(gpg.command().args(["--passphrase", "", "--quick-generate-key", USER, "future-default", "default", "never"]))?;
        Ok(gpg)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&self.0).args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback"]);
        command
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // Its agent would stay for good.
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.0).args(["--kill", "all"]).status();
    }
}

pub fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    ensure!(output.status.success(), "{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

/// Empty folders for state and progress; what was in them is gone.
pub fn fresh_state(place: &Place) -> [PathBuf; 2] {
    let folders = ["state", "run"].map(|name| place.path(name));
    for old in &folders {
        let _ = fs::remove_dir_all(old);
    }
    folders
}

/// Whether a program can be run by its name.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
