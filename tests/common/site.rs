//! A server whose daemons seal into one folder, and its auditor.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::sealed::{Log, Place};
use super::tools::must;

/// The program of the syslog snippets.
pub const SYSLOG: &str = env!("CARGO_BIN_EXE_sealedlog-syslog");
const AUDIT: &str = env!("CARGO_BIN_EXE_sealedlog-audit");

/// Key, log, state and runtime folders of a server; the secret key of its auditor.
pub struct Site {
    /// The server's folders.
    pub place: Place,
    secret: PathBuf,
}

/// What `sealedlog-audit verify` said.
pub struct Audit {
    /// Its exit status.
    pub status: i32,
    /// Its findings.
    pub findings: Vec<Value>,
    /// Its last line.
    pub summary: Value,
    /// All of it.
    pub text: String,
}

impl Site {
    /// With a key of `sealedlog-audit keygen`.
    pub fn new() -> Site {
        let place = Place::new::<&Path>(&[]);
        let keys = place.path("auditor");
        must(Command::new(AUDIT).args(["keygen", "--no-passphrase", "-o"]).arg(&keys), b"");
        place.add_key(&keys.join("sealedlog-public.asc"));
        Site { secret: keys.join("sealedlog-secret.asc"), place }
    }

    /// The secret key.
    pub fn secret(&self) -> &Path {
        &self.secret
    }

    /// The folder of the sealed files.
    pub fn logs(&self) -> PathBuf {
        self.place.path("log")
    }

    /// How the names of the files begin that hold what the programs warn of.
    pub fn warnings(&self) -> PathBuf {
        self.place.path("sealedlog")
    }

    /// The options that stand for the folders below /etc, /var/lib and /run.
    pub fn options(&self) -> String {
        let path = |name| self.place.path(name).display().to_string();
        format!("--keys {} --state {} --runtime {}", path("keys.d"), path("state"), path("run"))
    }

    /// A file of the repository that a server gets, with this server's folders and the built program in it, and nothing else
    /// changed.
    pub fn snippet(&self, file: &str, program: &str) -> String {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("it is there");
        let name = Path::new(program).file_name().expect("a program").to_str().expect("ASCII");
        let installed = format!("/usr/bin/{name} ");
        assert_eq!(text.matches(&installed).count(), 1, "{text}");
        let text = text.replace(&installed, &format!("{program} {} ", self.options()));
        let text = text.replace("/var/log/sealedlog-", &format!("{}-", self.warnings().display()));
        text.replace("/var/log/sealed/", &format!("{}/", self.logs().display()))
    }

    /// Sealed files, those in folders too, in the order of their names, relative to the log folder.
    pub fn files(&self) -> Vec<String> {
        let logs = self.logs();
        let all = self.place.files().into_iter();
        let mut names: Vec<_> =
            all.filter_map(|file| Some(file.strip_prefix(&logs).ok()?.to_str().expect("tests use ASCII").to_owned())).collect();
        names.sort();
        names
    }

    /// The text of each log that has a file, by what comes before the date in its name: `HOST/FACILITY`. Every record must have
    /// its place.
    pub fn texts(&self) -> BTreeMap<String, Vec<u8>> {
        let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let logs = self.logs();
        let log = |name: &str| name.split(".20").next().expect("a first part").to_owned();
        let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for name in self.files() {
            files.entry(log(&name)).or_default().push(logs.join(name));
        }
        for (log, files) in files {
            let opened = Log::open(&files, &[&self.secret]);
            // A write that was cut short, by a kill or a full disk, stands again, whole.
            assert!(opened.damage.iter().all(|(_, damage)| damage.repeated), "{log}: {:?}", opened.damage);
            texts.insert(log, opened.text());
        }
        texts
    }

    /// The fingerprints that an administrator would have written down.
    pub fn genesis(&self) -> Vec<String> {
        let states = fs::read_dir(self.place.path("state")).expect("readable");
        let files = states.map(|state| state.expect("readable").path().join("genesis")).filter(|file| file.is_file());
        files.map(|file| String::from_utf8_lossy(&must(Command::new("sha256sum").arg(file), b"")[..64]).into_owned()).collect()
    }

    /// `sealedlog-audit verify` on all that is there.
    pub fn verify(&self) -> Audit {
        let mut audit = Command::new(AUDIT);
        audit.args(["verify", "--json"]).arg(self.logs()).arg("--key").arg(&self.secret);
        audit.args(self.genesis().into_iter().flat_map(|genesis| ["--genesis".to_owned(), genesis]));
        let output = audit.output().expect("it can be run");
        let text = String::from_utf8(output.stdout).expect("UTF-8") + &String::from_utf8_lossy(&output.stderr);
        let mut findings: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"))).collect();
        let summary = findings.pop().unwrap_or_default()["summary"].clone();
        assert!(summary.is_object(), "{text}");
        Audit { status: output.status.code().expect("it ended"), findings, summary, text }
    }

    /// As [`Site::verify`]; there must be no finding.
    pub fn verify_clean(&self) -> Audit {
        let audit = self.verify();
        assert_eq!((audit.status, &audit.findings), (0, &vec![]), "{}", audit.text);
        audit
    }
}
