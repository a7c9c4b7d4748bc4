//! `sealedlog-audit keygen`: a key pair for the dedicated machine.
#![forbid(unsafe_code)]

mod guide;
mod make;
mod paper;
mod qr;

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::{Span, Zoned};
use zeroize::Zeroizing;

use self::make::{KeyPairFiles, age_identity, openpgp_key};
use self::paper::Paper;
use super::passphrase_source;
use crate::cli::{Outcome, Trouble, print};
use crate::host::clock;
use crate::identity::shares;

const EXAMPLES: &str = "\
Examples:
  sealedlog-audit keygen
  sealedlog-audit keygen --name 'Log auditor <auditor@example.org>' -o keys
  sealedlog-audit keygen --age --secret auditor.key --public auditor.age
  sealedlog-audit keygen --shares 5 --threshold 3 -o keys";

/// What `keygen` was asked for.
#[derive(Args, Debug, Clone)]
#[command(after_help = EXAMPLES)]
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

    /// Folder for the files; it is made where it is missing. Without it, and without --secret, all is asked on the terminal
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

    /// Split the secret key for so many holders, a file each; there is no file with the whole key, and no passphrase
    #[arg(long, value_name = "N", requires = "threshold", conflicts_with_all = ["passphrase_fd", "secret"])]
    #[arg(value_parser = clap::value_parser!(u8).range(i64::from(shares::FEWEST)..))]
    shares: Option<u8>,

    /// So many of the holders open logs together, fewer cannot
    #[arg(long, value_name = "K", requires = "shares")]
    #[arg(value_parser = clap::value_parser!(u8).range(i64::from(shares::FEWEST)..))]
    threshold: Option<u8>,

    /// Write a page to print, HTML with the fingerprint, its QR code and what to do
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,

    /// Show the fingerprint as a QR code even where standard output is no terminal
    #[arg(long)]
    qr: bool,
}

/// What the secret half is divided into.
#[derive(Clone, Copy)]
struct Sharing {
    shares: u8,
    needed: u8,
}

/// Where both halves go.
struct Paths {
    /// One file, or one for each share.
    secret: Vec<PathBuf>,
    public: PathBuf,
    /// A page to print.
    page: Option<PathBuf>,
}

/// Makes the key and writes the files; none is overwritten.
pub fn run(args: &KeygenArgs) -> Outcome {
    let args = &guided(args)?;
    let sharing = args.sharing()?;
    let paths = paths(args, sharing)?;
    for path in paths.all() {
        // Before anybody is asked for a passphrase.
        if path.symlink_metadata().is_ok() {
            return Err(cannot_write(path, &nix::errno::Errno::EEXIST.into()));
        }
    }
    let validity = args.expires.as_ref().map(validity).transpose()?;
    let bare = args.no_passphrase || sharing.is_some();
    let passphrase = if bare { None } else { Some(passphrase(args.passphrase_fd, &paths.secret[0])?) };
    let cannot_make = |error: &dyn Display| Trouble::new(format_args!("cannot make a key: {error}"), "");
    let files = if args.age {
        age_identity(passphrase).map_err(|error| cannot_make(&error))?
    } else {
        openpgp_key(args.name.as_deref(), validity, passphrase).map_err(|error| cannot_make(&error))?
    };
    let KeyPairFiles { fingerprint, public, secret } = &files;
    let made = clock::now();
    let shares = sharing.map(|Sharing { shares, needed }| shares::split(secret, fingerprint, shares, needed, made));
    let shares = shares.transpose().map_err(|error| cannot_make(&error))?;
    let secrets = shares.as_ref().map_or_else(|| vec![&secret[..]], |all| all.iter().map(|share| share.as_bytes()).collect());
    let paper = Paper { fingerprint, name: args.name.as_deref(), made, paths: &paths, sharing, passphrase: !bare };
    let page = paths.page.as_ref().map(|_| paper.page());
    let contents = secrets.into_iter().map(|secret| (0o600, secret)).chain([(0o644, &public[..])]);
    let contents = contents.chain(page.as_ref().map(|page| (0o644, page.as_bytes())));
    write_all(&paths.all().zip(contents).map(|(path, (mode, content))| (path, mode, content)).collect::<Vec<_>>())?;
    print(paper.text(args.qr || io::stdout().is_terminal()))
}

/// The options, with what was asked on the terminal where they do not say where the key goes.
fn guided(args: &KeygenArgs) -> Result<KeygenArgs, Trouble> {
    let mut args = args.clone();
    if args.output.is_some() || args.secret.is_some() {
        return Ok(args);
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let hint = "give -o DIR, or --secret FILE and --public FILE; on a terminal it asks";
        return Err(Trouble::new("nothing says where the key goes", hint));
    }
    guide::ask(&mut args, &mut io::stdin().lock(), &mut io::stderr().lock()).map_err(|error| {
        Trouble::new(format_args!("cannot read the answer: {error}"), "nothing was made; answer each question")
    })?;
    Ok(args)
}

impl KeygenArgs {
    fn sharing(&self) -> Result<Option<Sharing>, Trouble> {
        let Some((shares, needed)) = self.shares.zip(self.threshold) else { return Ok(None) };
        if needed > shares {
            let error = format_args!("--threshold {needed} is more than there are shares: {shares}");
            return Err(Trouble::new(
                error,
                "give a --threshold of 2 up to --shares; some less, so that a lost share loses no log",
            ));
        }
        Ok(Some(Sharing { shares, needed }))
    }
}

impl Paths {
    fn all(&self) -> impl Iterator<Item = &Path> {
        self.secret.iter().chain([&self.public]).chain(&self.page).map(PathBuf::as_path)
    }
}

fn paths(args: &KeygenArgs, sharing: Option<Sharing>) -> Result<Paths, Trouble> {
    if let (Some(secret), Some(public)) = (&args.secret, &args.public) {
        return Ok(Paths { secret: vec![secret.clone()], public: public.clone(), page: args.page.clone() });
    }
    let folder = args.output.clone().unwrap_or_default();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| cannot_write(&folder, &error))?;
    // What a key folder takes as an age key ends in .age, as an OpenPGP certificate in .asc.
    let (secret, public) = if args.age {
        ("sealedlog-secret.txt", "sealedlog-public.age")
    } else {
        ("sealedlog-secret.asc", "sealedlog-public.asc")
    };
    let secret = match sharing {
        None => vec![folder.join(secret)],
        Some(Sharing { shares, .. }) => {
            (1..=shares).map(|number| folder.join(format!("sealedlog-share-{number}-of-{shares}.txt"))).collect()
        }
    };
    Ok(Paths { secret, public: folder.join(public), page: args.page.clone() })
}

/// All of them, or none: a key of which a part is there helps nobody.
fn write_all(files: &[(&Path, u32, &[u8])]) -> Result<(), Trouble> {
    for (at, (path, mode, content)) in files.iter().enumerate() {
        if let Err(trouble) = write(path, *mode, content) {
            for (path, _, _) in &files[..at] {
                let _ = fs::remove_file(path);
            }
            return Err(trouble);
        }
    }
    Ok(())
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
