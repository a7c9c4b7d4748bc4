//! What the program is made of: under which licences, from where, and no cryptography in two generations but where it is known.
//!
//! `deny.toml` says the same to cargo-deny (`make deny`), whose build takes longer than all of these tests.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use common::tools::must;
use serde_json::Value;

/// All of them go with LGPL-2.0-or-later.
const LICENCES: [&str; 13] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "LGPL-2.0-or-later",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What Sequoia asks for where a passphrase protects a secret key, which no filter does.
const ARGON2: &str = "argon2 0.5 of sequoia-openpgp, whose blake2 is of RustCrypto's generation before ours";
/// What the filters have in two versions, and for whose sake. No cipher, no hash and no MAC is among them.
const DOUBLES: [(&str, &str); 5] = [
    ("block-buffer", ARGON2),
    ("cpufeatures", ARGON2),
    ("crypto-common", ARGON2),
    ("digest", ARGON2),
    ("generic-array", "the same has 0.14, sha1collisiondetection of sequoia-openpgp 1.4"),
];
/// Of these there is one version, and it is the one that erases itself.
const PRIMITIVES: [&str; 10] =
    ["aes", "chacha20", "chacha20poly1305", "curve25519-dalek", "hkdf", "hmac", "poly1305", "sha1", "sha2", "crypto-bigint"];
/// Who brings these works with secret keys.
const AUDITORS_ONLY: [&str; 5] = ["age", "age-core", "rayon", "rsa", "vsss-rs"];

fn packages() -> Vec<Value> {
    let target = ["--filter-platform", "x86_64-unknown-linux-gnu"];
    let metadata = ["metadata", "--format-version", "1", "--locked", "--features", "audit"];
    let metadata = must(Command::new(env!("CARGO")).args(metadata).args(target), b"");
    let mut metadata: Value = serde_json::from_slice(&metadata).unwrap();
    serde_json::from_value(metadata["packages"].take()).unwrap()
}

/// Whether a licence expression can be met by licences of the list.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim();
    let (mut depth, mut bare) = (0, String::new());
    // What stands in parentheses is judged first, and is one word from there.
    let mut inner = String::new();
    for character in expression.replace('/', " OR ").chars() {
        match character {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                bare.push_str(if is_allowed(&std::mem::take(&mut inner)) { "MIT" } else { "none" });
            }
            _ if depth > 0 => inner.push(character),
            _ => bare.push(character),
        }
    }
    bare.split(" OR ").any(|all| all.split(" AND ").all(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn licences_are_allowed_ones() {
    for (expression, allowed) in [
        ("MIT OR GPL-3.0-only", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR GPL-3.0-only) AND Unicode-3.0", true),
        ("(GPL-2.0-only OR GPL-3.0-only) AND Unicode-3.0", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression), allowed, "{expression}");
    }
    let packages = packages();
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence), "{} {}: {licence}", package["name"], package["version"]);
    }
}

#[test]
fn everything_comes_from_crates_io() {
    for package in packages() {
        let expected = (package["name"] != "sealedlog").then_some(CRATES_IO);
        assert_eq!(package["source"].as_str(), expected, "{}", package["name"]);
    }
}

/// Exactly the list: what is no double any more is taken off it.
#[test]
fn the_filters_have_no_cryptography_in_two_generations_but_what_is_known() {
    let tree = ["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"];
    let tree = String::from_utf8(must(Command::new(env!("CARGO")).args(tree), b"")).unwrap();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        versions.entry(words.next().unwrap()).or_default().insert(words.next().unwrap());
    }
    assert!(versions.contains_key("sequoia-openpgp"), "{versions:?}");
    for name in PRIMITIVES {
        assert_eq!(versions.get(name).map(BTreeSet::len), Some(1), "{name}: {versions:?}");
    }
    for name in AUDITORS_ONLY {
        assert!(!versions.contains_key(name), "{name}: {versions:?}");
    }
    let doubles: Vec<&str> = versions.iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| *name).collect();
    assert_eq!(doubles, DOUBLES.map(|(name, _)| name), "{versions:?}");
}
