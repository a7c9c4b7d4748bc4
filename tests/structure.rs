//! Keeps the shape of the code: what may be unsafe, which module may know which, how long a file may be.
//!
//! Works on the text of `src/`, without comments and without tests, so it sees every configuration at once. Each rule is
//! also run on code that breaks it.

use std::fs;
use std::path::Path;

/// Modules from the bottom to the top. One may name those below its own row; in the first row they may name each other.
const LAYERS: [&[&str]; 6] = [
    &["chain", "control", "recipient", "record", "sha256"],
    &["host"],
    &["segment", "identity", "plaintext", "services"],
    &["stream", "input", "keys"],
    &["audit", "filter", "follow"],
    &["cli"],
];
/// The pure core: no file, no environment, no clock. Also those parts of other modules that promise the same.
const PURE: [&str; 5] = ["chain", "control", "recipient", "record", "sha256"];
/// What makes code impure. Types that only carry a time are none of it.
const IMPURE: [&str; 7] = ["std::fs", "std::env", "std::net", "std::process", "std::thread", "Instant", "now("];
/// The only file of the core that draws random bytes by itself: fresh session and file keys.
const DRAWS_RANDOMNESS: &str = "src/record/seal.rs";
/// Secret keys: no code of the server's programs may name them.
const AUDITOR_ONLY: [&str; 2] = ["audit", "identity"];
const AUDIT_CFG: &str = "#[cfg(feature = \"audit\")]";
const MAX_LINES: usize = 720;

struct Source {
    /// Relative to the repository, with slashes.
    path: String,
    text: String,
}

impl Source {
    /// The module below the crate that it belongs to; `lib` and `bin` for those two.
    fn module(&self) -> &str {
        let rest = self.path.strip_prefix("src/").expect("sources lie in src/");
        rest.split('/').next().expect("split gives at least one part").trim_end_matches(".rs")
    }

    fn is_host(&self) -> bool {
        self.module() == "host"
    }

    fn is_auditor_only(&self) -> bool {
        AUDITOR_ONLY.contains(&self.module())
            || self.path.starts_with("src/cli/audit")
            || self.path.starts_with("src/bin/sealedlog-audit")
    }

    /// Its lines without comments, up to its tests.
    fn code(&self) -> Vec<&str> {
        let lines = self.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        lines.map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect()
    }

    /// Every name that directly follows `crate::`, in lists in braces too.
    fn named_modules(&self) -> Vec<String> {
        let code = self.code().join(" ");
        let mut named = Vec::new();
        for root in ["crate::", "sealedlog::"] {
            for (at, _) in code.match_indices(root) {
                // `$crate::` and another crate's path that ends alike.
                if code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                    continue;
                }
                let rest = &code[at + root.len()..];
                match rest.strip_prefix('{') {
                    Some(list) => named.extend(first_names(list)),
                    None => named.push(name(rest)),
                }
            }
        }
        named
    }
}

fn name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first name of each path in a list that was opened by a brace.
fn first_names(list: &str) -> Vec<String> {
    let (mut names, mut depth, mut item) = (Vec::new(), 0, String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&std::mem::take(&mut item))),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    names.push(name(&item));
    names.retain(|name| !name.is_empty());
    names
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Everything that is wrong with one file.
fn violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut wrong = |what: String| found.push(format!("{}: {what}", source.path));
    let (module, code) = (source.module(), source.code());

    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        wrong(format!("{lines} lines, at most {MAX_LINES} are wanted"));
    }

    if !source.is_host() {
        if code.iter().any(|line| words(line).any(|word| word == "unsafe")) {
            wrong("unsafe code outside of src/host".to_owned());
        }
        let head = source.text.lines().find(|line| !line.starts_with("//!") && !line.trim().is_empty());
        // The crate's root holds host; tests in a file of their own stand below a module that forbids it.
        let exempt = module == "lib" || source.path.ends_with("/tests.rs");
        if !exempt && head != Some("#![forbid(unsafe_code)]") {
            wrong("does not begin with #![forbid(unsafe_code)]".to_owned());
        }
    }

    if PURE.contains(&module) {
        for line in &code {
            for impure in IMPURE.iter().filter(|impure| line.contains(**impure)) {
                wrong(format!("the core names {impure}"));
            }
            if line.contains("getrandom::fill") && source.path != DRAWS_RANDOMNESS {
                wrong("the core draws randomness".to_owned());
            }
        }
    }

    if source.path.matches('/').count() == 1 {
        let modules = LAYERS.concat();
        let named = |line: &&str| line.split("super::").skip(1).any(|rest| modules.contains(&name(rest).as_str()));
        if code.iter().any(named) {
            wrong("names a module of the crate by super::, write crate::".to_owned());
        }
    }
    let layer = |module: &str| LAYERS.iter().position(|row| row.contains(&module));
    let named = source.named_modules();
    match (module, layer(module)) {
        ("lib", _) => {}
        ("bin", _) => {
            for other in named.iter().filter(|other| *other != "cli") {
                wrong(format!("a program names {other}, not only cli"));
            }
        }
        (_, None) => wrong(format!("module {module} has no layer in tests/structure.rs")),
        (_, Some(own)) => {
            for other in named.iter().filter(|other| *other != module) {
                match layer(other) {
                    None => wrong(format!("names {other}, which has no layer in tests/structure.rs")),
                    Some(below) if below < own || own == 0 && below == 0 => {}
                    Some(_) => wrong(format!("names {other}, which is not below {module}")),
                }
            }
        }
    }

    if !source.is_auditor_only() {
        if let Some(secret) = named.iter().find(|other| AUDITOR_ONLY.contains(&other.as_str())) {
            wrong(format!("server code names {secret}"));
        }
        let mut before = "";
        for line in code.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
            let declared = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ").map(name);
            if declared.is_some_and(|declared| AUDITOR_ONLY.contains(&declared.as_str())) && before != AUDIT_CFG {
                wrong(format!("{line} without {AUDIT_CFG} before it"));
            }
            before = line;
        }
    }
    found
}

fn read_sources(folder: &Path, below: &str, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = format!("{below}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_sources(&entry.path(), &path, sources);
        } else if path.ends_with(".rs") {
            sources.push(Source { text: fs::read_to_string(entry.path()).unwrap(), path });
        }
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "src", &mut sources);
    assert!(sources.len() > 30, "only {} files found", sources.len());
    sources
}

#[test]
fn the_code_has_its_shape() {
    let found: Vec<_> = sources().iter().flat_map(violations).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_mod_rs_and_every_layer_is_there() {
    let sources = sources();
    assert!(sources.iter().all(|source| !source.path.ends_with("/mod.rs")));
    let is_there = |module: &&str| sources.iter().any(|source| source.module() == *module);
    let gone: Vec<_> = LAYERS.concat().into_iter().filter(|module| !AUDITOR_ONLY.contains(module) && !is_there(module)).collect();
    assert!(gone.is_empty(), "layers name what is no module: {gone:?}");
}

#[test]
fn the_auditors_program_needs_its_feature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for program in fs::read_dir(root.join("src/bin")).unwrap() {
        let name = program.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("sealedlog-audit") {
            let section = manifest.split("[[bin]]").find(|section| section.contains(&format!("\"{name}\""))).unwrap_or("");
            let section = section.split("\n[").next().unwrap();
            assert!(section.contains("required-features = [\"audit\"]"), "{name} has no required-features in Cargo.toml");
        }
    }
}

#[test]
fn every_rule_finds_code_that_breaks_it() {
    let forbid = "//! Doc.\n#![forbid(unsafe_code)]\n";
    let cases = [
        ("src/keys.rs", "//! Doc.\npub fn f() {}\n".to_owned(), "does not begin with"),
        ("src/keys.rs", format!("{forbid}fn f() {{ unsafe {{ g() }} }}\n"), "unsafe code outside"),
        ("src/stream/state.rs", format!("{forbid}{}", "\n".repeat(MAX_LINES)), "lines, at most"),
        ("src/chain.rs", format!("{forbid}use std::fs::File;\n"), "the core names std::fs"),
        ("src/record/age.rs", format!("{forbid}fn f() {{ Timestamp::now(); }}\n"), "the core names now("),
        ("src/record/seal.rs", format!("{forbid}use std::env;\n"), "the core names std::env"),
        ("src/control.rs", format!("{forbid}fn f() {{ getrandom::fill(b).ok(); }}\n"), "draws randomness"),
        ("src/chain.rs", format!("{forbid}use crate::host::clock;\n"), "names host, which is not below chain"),
        ("src/segment.rs", format!("{forbid}use crate::{{record::{{age, seal}}, stream::Writer}};\n"), "names stream"),
        ("src/stream/claim.rs", format!("{forbid}fn f() {{ crate::filter::target::g() }}\n"), "names filter"),
        ("src/host/clock.rs", "use crate::stream;\n".to_owned(), "names stream"),
        ("src/stream.rs", format!("{forbid}use crate::keys;\n"), "names keys"),
        ("src/filter.rs", format!("{forbid}use super::keys;\n"), "super::"),
        ("src/cli.rs", format!("{forbid}use crate::audit::Opener;\n"), "server code names audit"),
        ("src/filter/warn.rs", format!("{forbid}use crate::{{chain, identity}};\n"), "server code names identity"),
        ("src/lib.rs", "pub mod identity;\n".to_owned(), "without #[cfg"),
        ("src/cli.rs", format!("{forbid}mod audit;\n"), "without #[cfg"),
        ("src/bin/sealedlog.rs", format!("{forbid}use sealedlog::filter;\n"), "not only cli"),
        ("src/novel.rs", forbid.to_owned(), "has no layer"),
        ("src/cli/apache.rs", format!("{forbid}use crate::novel::f;\n"), "which has no layer"),
    ];
    for (path, text, expected) in cases {
        let source = Source { path: path.to_owned(), text };
        let found = violations(&source);
        assert!(found.iter().any(|found| found.contains(expected)), "{path}: {expected}: {found:?}\n{}", source.text);
    }
    let fine = [
        (
            "src/record/seal.rs",
            format!("{forbid}// unsafe std::fs\nuse crate::recipient::Recipients;\nfn f() {{ getrandom::fill(b); }}\n"),
        ),
        ("src/chain.rs", format!("{forbid}\n#[cfg(test)]\nmod tests {{ use std::fs; use crate::cli; }}\n")),
        ("src/lib.rs", format!("#![deny(missing_docs)]\n{AUDIT_CFG}\npub mod identity;\n")),
        ("src/cli/audit.rs", format!("{forbid}use crate::{{audit::read, identity}};\n")),
        ("src/host/memory.rs", "fn f() { unsafe { g() } }\n".to_owned()),
        ("src/input/tests.rs", "use super::*;\n".to_owned()),
    ];
    for (path, text) in fine {
        let source = Source { path: path.to_owned(), text };
        assert_eq!(violations(&source), [""; 0], "{path}");
    }
}
