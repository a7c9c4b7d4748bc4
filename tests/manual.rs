//! The committed man pages and completions say what the command lines say.
//!
//! `SEALEDLOG_REWRITE=1 cargo test --features audit --test manual` writes them anew. A page is rendered from the clap
//! definition; EXAMPLES is the text after its `--help`, and the sections behind it stand in `tests/manual/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Program;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

/// Sections of a page behind those that clap knows: parts of them are shared.
const SECTIONS: &[(&str, &[&str])] = &[
    ("sealedlog", &[include_str!("manual/exit-status.man"), include_str!("manual/sealedlog.man")]),
    (
        "sealedlog-seal",
        &[
            include_str!("manual/seal-signals.man"),
            include_str!("manual/filter-exit-status.man"),
            include_str!("manual/filter-files.man"),
            include_str!("manual/sealedlog-seal.man"),
        ],
    ),
    ("sealedlog-keys", &[include_str!("manual/sealedlog-keys.man")]),
    ("sealedlog-doctor", &[include_str!("manual/sealedlog-doctor.man")]),
    ("sealedlog-seal-existing", &[include_str!("manual/sealedlog-seal-existing.man")]),
    ("sealedlog-status", &[include_str!("manual/sealedlog-status.man")]),
    ("sealedlog-enable", &[include_str!("manual/sealedlog-enable.man")]),
    ("sealedlog-disable", &[include_str!("manual/sealedlog-disable.man")]),
    ("sealedlog-mark", &[include_str!("manual/sealedlog-mark.man")]),
    ("sealedlog-restart", &[include_str!("manual/sealedlog-restart.man")]),
    (
        "sealedlog-apache",
        &[
            include_str!("manual/apache-signals.man"),
            include_str!("manual/filter-exit-status.man"),
            include_str!("manual/filter-files.man"),
            include_str!("manual/sealedlog-apache.man"),
        ],
    ),
    (
        "sealedlog-syslog",
        &[
            include_str!("manual/syslog-signals.man"),
            include_str!("manual/filter-exit-status.man"),
            include_str!("manual/filter-files.man"),
            include_str!("manual/sealedlog-syslog.man"),
        ],
    ),
    ("sealedlog-follow", &[include_str!("manual/sealedlog-follow.man")]),
    ("sealedlog-audit", &[include_str!("manual/audit.man")]),
    ("sealedlog-audit-keygen", &[include_str!("manual/audit-keygen.man")]),
    ("sealedlog-audit-open", &[include_str!("manual/audit-open.man")]),
    ("sealedlog-audit-verify", &[include_str!("manual/audit-verify.man")]),
    ("sealedlog-audit-report", &[include_str!("manual/audit-report.man")]),
    ("sealedlog-audit-export", &[include_str!("manual/audit-export.man")]),
    ("sealedlog-audit-search", &[include_str!("manual/audit-search.man")]),
    ("sealedlog-audit-split", &[include_str!("manual/audit-split.man")]),
];

/// The programs whose pages and completions there are.
fn programs() -> Vec<Command> {
    let programs = [
        sealedlog::cli::sealedlog::Cli::command(),
        sealedlog::cli::apache::Cli::command(),
        sealedlog::cli::syslog::Cli::command(),
        sealedlog::cli::follow::Cli::command(),
        #[cfg(feature = "audit")]
        sealedlog::cli::audit::Cli::command(),
    ];
    programs.into_iter().map(|program| program.disable_help_subcommand(true)).collect()
}

/// Files of programs that this build does not have.
fn is_elsewhere(name: &str) -> bool {
    cfg!(not(feature = "audit")) && name.trim_start_matches('_').starts_with("sealedlog-audit")
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// A page for the program, and one for each of its subcommands.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for mut program in programs() {
        program.build();
        let version = program.get_version().expect("every program has one").to_owned();
        for command in std::iter::once(&program).chain(program.get_subcommands()) {
            let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
            let page = page(command, &name, &version);
            pages.insert(format!("{name}.1"), page);
        }
    }
    pages
}

fn page(command: &Command, name: &str, version: &str) -> String {
    let man = Man::new(command.clone()).source(format!("sealedlog {version}")).manual("sealedlog");
    let mut out = Vec::new();
    man.render_title(&mut out).unwrap();
    man.render_name_section(&mut out).unwrap();
    out.extend_from_slice(synopsis(command).as_bytes());
    man.render_description_section(&mut out).unwrap();
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut out).unwrap();
    }
    // Paragraphs of long help, which clap_mangen passes on as they are.
    let mut page = String::from_utf8(out).unwrap().replace("\n\n", "\n.sp\n");
    for operand in command.get_positionals() {
        // Several names in one operand, which clap_mangen takes for one that is required.
        let names = operand.get_value_names().map(|names| names.join(" ")).filter(|names| names.contains(' '));
        if let Some(names) = names {
            page = page.replace(&format!("<\\fI{names}\\fR>"), &escape(&operand.to_string()));
        }
    }
    page += &subcommands(command, name);
    if let Some(text) = command.get_after_long_help().or(command.get_after_help()) {
        page += &examples(&text.to_string());
    }
    let sections = SECTIONS.iter().find(|(of, _)| *of == name);
    for section in sections.unwrap_or_else(|| panic!("SECTIONS has none for {name}")).1 {
        page += section;
    }
    page
}

/// The usage of `--help`: clap_mangen's own has neither values nor legible short options.
fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").expect("usage begins so");
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let rest = usage.strip_prefix(name).expect("usage goes on with the name");
    format!(".SH SYNOPSIS\n.B {}\n{}\n", escape(name), escape(rest.trim()))
}

/// Those of a program have pages of their own, those of a subcommand have not.
fn subcommands(command: &Command, name: &str) -> String {
    let mut text = String::new();
    for (at, sub) in command.get_subcommands().enumerate() {
        if at == 0 {
            text += ".SH SUBCOMMANDS\n";
        }
        let about = escape(&sub.get_about().unwrap_or_default().to_string());
        let has_page = !name.contains('-') || name == "sealedlog-audit";
        let head =
            if has_page { format!(".BR {}\\-{} (1)", escape(name), sub.get_name()) } else { format!(".B {}", sub.get_name()) };
        text += &format!(".TP\n{head}\n{about}\n");
    }
    text
}

/// `Examples:` or `Examples (what they are):`, and lines that are shown as they are.
fn examples(help: &str) -> String {
    let (head, lines) = help.split_once('\n').expect("examples have a head and lines");
    let what = head.strip_prefix("Examples").and_then(|rest| rest.strip_suffix(':')).expect("the head is that of examples");
    let mut text = ".SH EXAMPLES\n".to_owned();
    if let Some(what) = what.trim().strip_prefix('(').and_then(|what| what.strip_suffix(')')) {
        text += &format!("{}:\n.PP\n", escape(what));
    }
    text += ".nf\n";
    for line in lines.lines() {
        if line.is_empty() {
            text += ".sp\n";
            continue;
        }
        text += &format!("{}\n", escape(line.strip_prefix("  ").unwrap_or(line)));
    }
    text + ".fi\n"
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('"', "\\(dq");
    text.replace('`', "\\(ga").replace('^', "\\(ha").replace('~', "\\(ti").replace("\n.", "\n\\&.")
}

fn completions() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for mut program in programs() {
        let name = program.get_name().to_owned();
        for (shell, file) in
            [(Shell::Bash, format!("{name}.bash")), (Shell::Zsh, format!("_{name}")), (Shell::Fish, format!("{name}.fish"))]
        {
            let mut out = Vec::new();
            generate(shell, &mut program, &name, &mut out);
            files.insert(file, String::from_utf8(out).unwrap());
        }
    }
    files
}

fn compare(folder: &Path, rendered: &BTreeMap<String, String>) {
    let committed = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    if std::env::var_os("SEALEDLOG_REWRITE").is_some_and(|value| value == "1") {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in rendered {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let other: Vec<_> = rendered.iter().filter(|(name, text)| committed(name) != **text).map(|(name, _)| name).collect();
    let hint = "SEALEDLOG_REWRITE=1 cargo test --features audit --test manual writes them anew";
    assert!(other.is_empty(), "{} differs from the command line in {other:?}; {hint}", folder.display());
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strange: Vec<_> = names.filter(|name| !rendered.contains_key(name) && !is_elsewhere(name)).collect();
    assert!(strange.is_empty(), "{} holds what is not rendered: {strange:?}", folder.display());
}

#[test]
fn man_pages_are_those_of_the_command_lines() {
    compare(&folder("man"), &pages());
}

#[test]
fn completions_are_those_of_the_command_lines() {
    compare(&folder("completions"), &completions());
}

#[test]
fn every_page_has_its_sections() {
    for (name, page) in pages() {
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"] {
            let heads = page.lines().filter(|line| line.trim_start_matches(".SH ").trim_matches('"') == section).count();
            assert_eq!(heads, 1, "{name}: {section}");
        }
        assert!(!page.contains("EXTRA"), "{name}");
        assert!(!page.lines().any(|line| line.is_empty()), "{name}: an empty line is no macro");
    }
    let pages = pages();
    let gone: Vec<_> =
        SECTIONS.iter().filter(|(name, _)| !pages.contains_key(&format!("{name}.1")) && !is_elsewhere(name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

/// What `man` would complain about, a reader sees as damage.
#[test]
fn man_shows_every_page_without_a_warning() {
    if Program::new("groff").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "groff is missing");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in pages() {
        let file = folder.path().join(&name);
        fs::write(&file, text).unwrap();
        let shown = Program::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-K", "utf8", "-rLL=80n", "-P-cbou"])
            .arg(&file)
            .output()
            .unwrap();
        let warnings = String::from_utf8_lossy(&shown.stderr);
        assert!(shown.status.success() && warnings.is_empty(), "{name}: {warnings}");
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("EXIT STATUS"), "{name} shows as {shown}");
    }
}
