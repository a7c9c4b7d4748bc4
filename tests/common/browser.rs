//! A real browser, without a window: Chromium.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;

use super::tools::tool;

/// A page, as the browser has it.
pub struct Loaded {
    /// The elements that it made of the file.
    pub dom: String,
    /// What came to its console: errors, what the page's policy forbade.
    pub console: Vec<String>,
}

fn chromium(profile: &Path) -> Command {
    let mut command = tool("chromium");
    command.args(["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    if Uid::effective().is_root() {
        // Its own sandbox refuses root.
        command.arg("--no-sandbox");
    }
    command
}

/// Loads a file.
pub fn load(file: &Path) -> Loaded {
    let profile = tempfile::tempdir().unwrap();
    let output = chromium(profile.path()).arg("--dump-dom").arg(format!("file://{}", file.display())).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !output.stdout.is_empty(), "{told}");
    let console = told.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    Loaded { dom: String::from_utf8(output.stdout).unwrap(), console }
}

/// Prints a file to PDF and reads that: its text, without line breaks and spaces.
pub fn printed(file: &Path) -> String {
    let profile = tempfile::tempdir().unwrap();
    let pdf: PathBuf = profile.path().join("page.pdf");
    let mut command = chromium(profile.path());
    command.arg(format!("--print-to-pdf={}", pdf.display())).arg("--no-pdf-header-footer");
    let output = command.arg(format!("file://{}", file.display())).output().unwrap();
    assert!(output.status.success() && pdf.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = tool("pdftotext").arg(&pdf).arg("-").output().unwrap();
    String::from_utf8_lossy(&text.stdout).split_whitespace().collect()
}
