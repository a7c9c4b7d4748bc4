//! What `keygen` says of a new key: on the terminal, and on a page to print.
//!
//! Promises: the page holds no secret, runs nothing and loads nothing; what it shows cannot be taken for markup.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::qr::Qr;
use super::{Paths, Sharing};

/// Groups on a line of the fingerprint.
const GROUPS: usize = 8;

/// How the page looks.
const STYLE: &str = "\
body { font: 12pt/1.5 serif; max-width: 17cm; margin: 1cm auto; color: #000; background: #fff }
code { font: bold 14pt/1.8 monospace; white-space: nowrap }
svg { width: 6cm; height: 6cm; display: block; margin: 0.5cm 0 }
th { text-align: left; vertical-align: top; padding-right: 1em }
td { overflow-wrap: anywhere }
.sign td { border-bottom: 1px solid #000; width: 10cm; height: 1.2cm }
";

/// A new key, for people.
pub struct Paper<'a> {
    pub fingerprint: &'a str,
    pub name: Option<&'a str>,
    pub made: Timestamp,
    pub paths: &'a Paths,
    pub sharing: Option<Sharing>,
    pub passphrase: bool,
}

impl Paper<'_> {
    /// For the terminal.
    pub fn text(&self, qr: bool) -> String {
        let mut text = format!("fingerprint: {}\npublic key:  {}\n", self.fingerprint, self.paths.public.display());
        for path in &self.paths.secret {
            let what = if self.sharing.is_some() { "share:       " } else { "secret key:  " };
            let _ = writeln!(text, "{what}{}", path.display());
        }
        text.push_str("\nThe fingerprint, to write on paper:\n\n");
        for line in groups(self.fingerprint) {
            let _ = writeln!(text, "    {line}");
        }
        if let Some(qr) = Qr::new(self.fingerprint).filter(|_| qr) {
            let _ = write!(text, "\n{}", qr.on_terminal());
        }
        text.push('\n');
        for (at, step) in self.steps().iter().enumerate() {
            let _ = writeln!(text, "{}. {step}", at + 1);
        }
        if let Some(page) = &self.paths.page {
            let _ = writeln!(text, "\nTo print: {}", page.display());
        }
        text
    }

    /// What to do with each file.
    fn steps(&self) -> Vec<String> {
        let file = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let keep = match self.sharing {
            None => {
                let under = if self.passphrase { "It is under the passphrase. " } else { "It is under no passphrase. " };
                let secret = file(&self.paths.secret[0]);
                format!(
                    "Keep a second copy of the secret key, {secret}, off this machine; without it no log can be opened. {under}It \
                     goes to no server."
                )
            }
            Some(Sharing { shares, needed }) => format!(
                "Give each share, {} to {}, to a holder of its own, and leave none here: any {needed} of the {shares} open the \
                 logs, and with fewer left no log can be opened.",
                file(&self.paths.secret[0]),
                file(&self.paths.secret[usize::from(shares) - 1]),
            ),
        };
        let open = if self.sharing.is_some() { "--share FILE, as often as shares are needed" } else { "--key FILE" };
        vec![
            "Write the fingerprint on paper, and keep it where nobody changes it.".to_owned(),
            keep,
            format!(
                "Copy the public key, {}, to the server, to /etc/sealedlog/keys.d/, and compare the fingerprint there: sealedlog keys",
                file(&self.paths.public)
            ),
            format!("To open logs: sealedlog-audit open LOG {open}"),
        ]
    }

    /// To print: one file, without anything from elsewhere.
    pub fn page(&self) -> String {
        let title = "Key for sealed logs";
        let mut rows = String::new();
        let mut row = |what: &str, value: &str| {
            let _ = writeln!(rows, "<tr><th>{}</th><td>{}</td></tr>", escape(what), escape(value));
        };
        if let Some(name) = self.name {
            row("Name", name);
        }
        row("Made", &self.made.strftime("%Y-%m-%d %H:%M UTC").to_string());
        if let Some(Sharing { shares, needed }) = self.sharing {
            row("Held", &format!("in {shares} shares, {needed} of which open logs"));
        }
        let paths: Vec<&PathBuf> = [&self.paths.public].into_iter().chain(&self.paths.secret).collect();
        row("Files", &paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "));
        let fingerprint = groups(self.fingerprint).map(|line| escape(&line)).collect::<Vec<_>>().join("<br>\n");
        let steps: String = self.steps().iter().map(|step| format!("<li>{}</li>\n", escape(step))).collect();
        // The page says by its hash what may stand in it.
        let style = STANDARD.encode(Sha256::digest(STYLE));
        let qr = Qr::new(self.fingerprint).map(|qr| qr.svg()).unwrap_or_default();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<h2>Fingerprint</h2>\n<p><code>{fingerprint}</code></p>\n{qr}\n\
             <table>\n{rows}</table>\n<h2>What to do</h2>\n<ol>\n{steps}</ol>\n\
             <table class=\"sign\">\n<tr><th>Compared on the server</th><td></td></tr>\n\
             <tr><th>Date, signature</th><td></td></tr>\n</table>\n\
             <p>This page holds no secret. The code is the fingerprint again, for a reader of QR codes.</p>\n</body>\n</html>\n"
        )
    }
}

/// Four characters at a time, some groups a line.
fn groups(fingerprint: &str) -> impl Iterator<Item = String> {
    let groups: Vec<_> = fingerprint.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    let lines: Vec<_> = groups.chunks(GROUPS).map(|groups| groups.join(" ")).collect();
    lines.into_iter()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
