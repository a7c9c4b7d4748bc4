//! What the fuzz targets share: a small sealed log of each profile, its keys, and a folder to write to.
//!
//! Everything is made once and out of the frozen files in `tests/vectors`, so that an input means the same in every run.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sealedlog::identity::{Identities, PassphraseSource};
use zeroize::Zeroizing;

pub mod world;

/// Knows no passphrase.
pub struct NoPassphrase;

impl PassphraseSource for NoPassphrase {
    fn passphrase(&mut self, _file: &Path, _attempt: u32) -> io::Result<Option<Zeroizing<String>>> {
        Ok(None)
    }
}

/// A sealed log as it is frozen: file names and contents, the secret key, the genesis fingerprint, the lines.
pub struct Frozen {
    /// `rfc9580`, `rfc4880`, `age`.
    pub profile: &'static str,
    /// In the order in which they were written.
    pub files: [(&'static str, &'static [u8]); 2],
    /// As its own tools store it, without a passphrase.
    pub secret: &'static [u8],
    /// What an administrator would have on paper.
    pub genesis: &'static str,
    /// What was sealed.
    pub lines: &'static [u8],
}

macro_rules! frozen {
    ($profile:literal, $suffix:literal, $secret:literal) => {
        Frozen {
            profile: $profile,
            files: [
                (concat!("a.1.", $suffix), include_bytes!(concat!("../../tests/vectors/", $profile, "/small/log/a.1.", $suffix))),
                (
                    concat!("a.log.", $suffix),
                    include_bytes!(concat!("../../tests/vectors/", $profile, "/small/log/a.log.", $suffix)),
                ),
            ],
            secret: include_bytes!(concat!("../../tests/vectors/", $profile, "/small/secret/", $secret)),
            genesis: include_str!(concat!("../../tests/vectors/", $profile, "/small/genesis")),
            lines: include_bytes!(concat!("../../tests/vectors/", $profile, "/small/lines")),
        }
    };
}

/// One log of each profile.
pub const FROZEN: [Frozen; 3] = [
    frozen!("rfc9580", "pgp", "sequoia-v6.sec.asc"),
    frozen!("rfc4880", "pgp", "gpg-25519.sec.asc"),
    frozen!("age", "age64", "age.txt"),
];

impl Frozen {
    /// Its secret key, ready for use.
    pub fn identities(&self) -> Identities {
        let mut identities = Identities::default();
        identities.add(Path::new(self.profile), self.secret, &mut NoPassphrase).expect("a frozen key is read");
        identities
    }
}

/// The secret keys of all frozen logs.
pub fn all_identities() -> Identities {
    let mut identities = Identities::default();
    for frozen in &FROZEN {
        identities.add(Path::new(frozen.profile), frozen.secret, &mut NoPassphrase).expect("a frozen key is read");
    }
    identities
}

/// A folder for this target alone, below `$FUZZ_FOLDER`.
pub fn folder(target: &str) -> PathBuf {
    static ROOT: LazyLock<PathBuf> =
        LazyLock::new(|| std::env::var_os("FUZZ_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from));
    let folder = ROOT.join(format!("{target}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("FUZZ_FOLDER can be written to");
    folder
}

/// Puts this content into a file, which it replaces.
pub fn put(path: &Path, content: &[u8]) {
    File::create(path).and_then(|mut file| file.write_all(content)).expect("FUZZ_FOLDER can be written to");
}
