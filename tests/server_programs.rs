//! The server's programs have no code that handles secret keys.
//!
//! Shown from the symbols of the programs as they are linked: the linker leaves out what nothing calls, so a function that has
//! no symbol is not there unless all of it was inlined into another one that has. `sealedlog-audit`, made of the same crates
//! in the same build, must have each of the symbols that the server's programs must not have.
//!
//! What stays, and is not looked for: the parser of OpenPGP certificates also reads packets with secret keys (so that
//! one in the key folder is refused by name), erases them, and can write them; and ECDH, which sealing needs as
//! opening does.
#![forbid(unsafe_code)]

mod common;

use std::collections::BTreeSet;

use common::tools::{must, tool};

/// Beginnings of our own modules' names.
const MODULES: [&str; 3] = ["sealedlog::identity::", "sealedlog::audit::", "sealedlog::cli::audit::"];

/// What secret keys are read, unlocked and used with in the crates below, and in OpenSSL.
const FUNCTIONS: [&str; 13] = [
    "sequoia_openpgp::crypto::asymmetric::KeyPair as sequoia_openpgp::crypto::asymmetric::Decryptor>::decrypt",
    "sequoia_openpgp::packet::key::Encrypted::decrypt",
    "sequoia_openpgp::packet::pkesk::v3::PKESK3::decrypt",
    "sequoia_openpgp::packet::pkesk::v6::PKESK6::decrypt",
    "age::native::x25519::Identity as age::Identity>::unwrap_stanza",
    "age::native::scrypt::Identity as age::Identity>::unwrap_stanza",
    "age::ssh::identity::Identity as age::Identity>::unwrap_stanza",
    "age::ssh::identity::Identity::from_buffer",
    "age::ssh::EncryptedKey::decrypt",
    "age::identity::IdentityFile",
    "vsss_rs::gf256::Gf256::combine_bytes",
    "EVP_PKEY_decrypt",
    "EVP_PKEY_sign",
];

/// Names of the functions and data of a program, and of what it takes from shared libraries.
fn symbols(program: &str) -> BTreeSet<String> {
    let listed = must(tool("nm").args(["--demangle", "--format=just-symbols", program]), b"");
    let listed = String::from_utf8(listed).expect("nm prints text");
    let names = listed.lines().map(|name| name.split('@').next().unwrap_or_default().to_owned());
    let names: BTreeSet<String> = names.collect();
    // Else nothing would be found in a program that was stripped.
    assert!(names.iter().any(|name| name.starts_with("sealedlog::")), "{program} has no symbols");
    names
}

/// Whether one of them is of the function, or of the module.
fn has(symbols: &BTreeSet<String>, wanted: &str) -> bool {
    // Functions of OpenSSL have longer namesakes that sealing needs (EVP_PKEY_decrypt_init_ex).
    symbols.iter().any(|name| if wanted.starts_with("EVP_") { name == wanted } else { name.contains(wanted) })
}

#[test]
fn no_secret_keys_on_the_server() {
    let apache = env!("CARGO_BIN_EXE_sealedlog-apache");
    for program in [env!("CARGO_BIN_EXE_sealedlog"), apache, env!("CARGO_BIN_EXE_sealedlog-syslog")] {
        let symbols = symbols(program);
        assert!(has(&symbols, "sealedlog::recipient::") && has(&symbols, "EVP_PKEY_derive"), "{program} seals");
        for wanted in MODULES.into_iter().chain(FUNCTIONS) {
            assert!(!has(&symbols, wanted), "{program} has {wanted}");
        }
    }
}

/// What seals is another program.
#[test]
fn no_keys_where_files_are_followed() {
    let symbols = symbols(env!("CARGO_BIN_EXE_sealedlog-follow"));
    assert!(has(&symbols, "sealedlog::follow::"));
    for wanted in MODULES.into_iter().chain(FUNCTIONS).chain(["sealedlog::recipient::", "sealedlog::chain::"]) {
        assert!(!has(&symbols, wanted), "sealedlog-follow has {wanted}");
    }
}

#[cfg(feature = "audit")]
#[test]
fn the_auditors_program_has_all_of_it() {
    let symbols = symbols(env!("CARGO_BIN_EXE_sealedlog-audit"));
    for wanted in MODULES.into_iter().chain(FUNCTIONS) {
        assert!(has(&symbols, wanted), "{wanted} is looked for and has no such name");
    }
}
