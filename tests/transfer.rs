//! The ways of docs/transfer.md from the server to the auditor, with the commands of that page: what was fetched stays what it
//! was whatever becomes of the server, and what was hurt on its way is told.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::keys;
use common::lines::Lines;
use common::page::{block, block_with, blocks, page};
use common::sealed::{Place, Running, names, seal_all};
use common::ssh::SshServer;
use common::tools::{must, next_second, path_with_programs, tool};
use nix::unistd::{Group, Uid, chown};
use sealedlog::control::GenesisFingerprint;
use serde_json::Value;

const CURRENT: &str = "access.log.pgp";

#[test]
fn the_page_shows_nothing_that_is_not_run() {
    let page = page();
    let fences: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("```")).filter(|info| !info.is_empty()).collect();
    let run =
        ["text authorized_keys", "sh pull", "sh compare", "sh verify", "text authorized_keys", "sh scp", "sh medium", "sh desk"];
    let more = ["sh recorder", "sh file", "sh server", "sh view"];
    // tests/serial.rs runs those of the serial line. The account would be made on the machine itself; tests/common/ssh.rs has
    // what stands for it.
    assert_eq!(fences, [&["sh"][..], &run, &more].concat());
}

/// A server with a log of three finished files and one that grows, and its auditor.
struct Server {
    place: Place,
    desk: tempfile::TempDir,
}

impl Server {
    fn new() -> Server {
        let place = Place::new(&[&keys::sequoia_v6().public]);
        if Uid::effective().is_root() {
            let readers = Group::from_name("adm").expect("groups can be read").expect("Debian has it").gid;
            chown(&place.path("log"), None, Some(readers)).expect("root may");
            fs::set_permissions(place.path("log"), fs::Permissions::from_mode(0o2750)).expect("own folder");
        }
        let server = Server { place, desk: tempfile::tempdir().expect("a temporary folder can be made") };
        for day in 1..=3 {
            server.seal(day, 20);
            fs::rename(server.file(CURRENT), server.file(&format!("access.log.2026-01-0{day}.pgp"))).expect("own folder");
        }
        server.seal(4, 20);
        server
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path("log").join(name)
    }

    fn seal(&self, seed: u64, count: usize) {
        let ended = seal_all(&mut self.place.seal_to("access.log"), &Lines::file(seed, count));
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    }

    fn mark(&self) {
        let mut mark = Command::new(env!("CARGO_BIN_EXE_sealedlog"));
        must(mark.args(["mark", "--state"]).arg(self.place.path("state")).arg("--runtime").arg(self.place.path("run")), b"");
    }

    /// The fingerprints that an administrator would have written down, as options.
    fn genesis(&self) -> String {
        let streams = names(&self.place.path("state")).into_iter();
        let options = streams.map(|stream| {
            let genesis = fs::read(self.place.path("state").join(stream).join("genesis")).expect("made with the first line");
            format!(" --genesis {}", GenesisFingerprint::of(&genesis).to_string().replace(' ', ""))
        });
        options.collect()
    }

    /// The page's line of `verify` on a folder, and what it found.
    fn verify(&self, folder: &Path) -> (i32, Vec<String>) {
        let (key, ledger) = (keys::sequoia_v6().secret.display().to_string(), self.desk.path().join("audits.json"));
        let mut line = block_with(
            "sh verify",
            &[("\"$time\"", &folder.display().to_string()), ("secret.asc", &key), ("audits.json", &ledger.display().to_string())],
        );
        line.push_str(" --json");
        if !ledger.exists() {
            line.push_str(&self.genesis());
        }
        let output = self.sh(&line);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let kinds = found.iter().filter_map(|finding| finding["finding"].as_str()).map(str::to_owned).collect();
        (output.status.code().expect("it ended"), kinds)
    }

    fn verify_clean(&self, folder: &Path) {
        assert_eq!(self.verify(folder), (0, vec![]), "{}", folder.display());
    }

    /// A script in the folder of the evidence.
    fn sh(&self, script: &str) -> Output {
        let links = tempfile::tempdir().expect("a temporary folder can be made");
        let mut sh = tool("sh");
        sh.args(["-euc", script]).current_dir(self.desk.path()).env("PATH", path_with_programs(links.path()));
        sh.env("XDG_STATE_HOME", self.place.path("desk-state"));
        sh.output().expect("sh can be run")
    }

    /// What is done to files that were fetched by who has taken the server over.
    fn attack(&self) {
        Attack::ALL.into_iter().for_each(|attack| attack.on(&self.place.path("log")));
    }
}

/// One thing that is done to one file.
#[derive(Clone, Copy, Debug)]
enum Attack {
    Cut,
    Longer,
    Removed,
    /// As long and as old as it was.
    Sneaky,
}

impl Attack {
    const ALL: [Attack; 4] = [Attack::Cut, Attack::Longer, Attack::Removed, Attack::Sneaky];

    fn name(self) -> &'static str {
        match self {
            Attack::Longer => "access.log.2026-01-01.pgp",
            Attack::Removed => "access.log.2026-01-02.pgp",
            Attack::Sneaky => "access.log.2026-01-03.pgp",
            Attack::Cut => CURRENT,
        }
    }

    fn on(self, folder: &Path) {
        let file = folder.join(self.name());
        let mut bytes = fs::read(&file).expect("it is there");
        let (middle, time) = (bytes.len() / 2, fs::metadata(&file).expect("it is there").modified().expect("it has one"));
        match self {
            Attack::Cut => bytes.truncate(bytes.len() - 700),
            // Other from its second half on.
            Attack::Longer => bytes = [&bytes[..middle], &bytes[middle + 1..], &bytes[bytes.len() - 3000..]].concat(),
            Attack::Removed => return fs::remove_file(file).expect("own file"),
            Attack::Sneaky => bytes[middle] ^= 1,
        }
        fs::write(&file, bytes).expect("own file");
        if matches!(self, Attack::Sneaky) {
            File::options().write(true).open(&file).expect("it is there").set_modified(time).expect("own file");
        }
    }
}

/// All that is below a folder.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let list = must(tool("find").arg(folder).args(["-type", "f"]), b"");
    let list = String::from_utf8(list).expect("tests use ASCII");
    list.lines().map(|path| (path.into(), fs::read(path).expect("readable"))).collect()
}

/// Pulls as the page says, into a new folder, and compares with the pull before: the folder, and what was told.
fn pull(server: &Server, ssh: &SshServer, way: &str) -> (PathBuf, String) {
    pull_with(server, ssh, way, &[])
}

/// As [`pull`], with parts of the page's commands replaced.
fn pull_with(server: &Server, ssh: &SshServer, way: &str, other: &[(&str, &str)]) -> (PathBuf, String) {
    next_second();
    let account = format!("{}@", ssh.account());
    let mut parts = [other, &[("sealed-pull@", &account[..])]].concat();
    let logs = server.place.path("log").display().to_string();
    if way == "sh scp" {
        parts.push(("/var/log/sealed", &logs));
    }
    let script = format!("set -e\n{}\necho $time\nset +e\n{}", block_with(way, &parts), block("sh compare"));
    let output = ssh.client("sh").args(["-uc", &script]).current_dir(server.desk.path()).output().expect("sh can be run");
    let told = String::from_utf8(output.stderr).expect("text");
    let time = String::from_utf8(output.stdout).expect("text");
    let folder = server.desk.path().join(time.lines().next().unwrap_or_else(|| panic!("{way}: {told}")));
    assert!(folder.is_dir(), "{way}: {told}");
    // What cmp(1) says of a file that is longer goes to standard output.
    (folder, told + time.split_once('\n').expect("a line").1)
}

/// What stands before the key in authorized_keys: the page's first or second line, for this server.
fn key_options(server: &Server, which: usize) -> String {
    let line = blocks("text authorized_keys").swap_remove(which);
    let (options, _) = line.split_once(" ssh-ed25519 AAAA").expect("a key stands there");
    options.replace("/var/log/sealed", &server.place.path("log").display().to_string())
}

fn fetch_attack_fetch(way: &str) {
    let (server, ssh) = (Server::new(), SshServer::start());
    ssh.authorize(&key_options(&server, usize::from(way == "sh scp")));
    server.mark();
    let (first, told) = pull(&server, &ssh, way);
    assert_eq!(told, "", "{way}");
    assert_eq!(names(&first), ["access.log.2026-01-01.pgp", "access.log.2026-01-02.pgp", "access.log.2026-01-03.pgp", CURRENT]);
    server.verify_clean(&first);

    server.seal(5, 20);
    server.mark();
    let (second, told) = pull(&server, &ssh, way);
    assert_eq!(told, "", "{way}");
    assert!(fs::read(second.join(CURRENT)).unwrap().len() > fs::read(first.join(CURRENT)).unwrap().len(), "{way}");
    if way == "sh pull" {
        for day in 1..=3 {
            let inode = |folder: &Path| fs::metadata(folder.join(format!("access.log.2026-01-0{day}.pgp"))).unwrap().ino();
            assert_eq!(inode(&first), inode(&second), "it takes no room twice");
        }
    }
    server.verify_clean(&second);

    let before = content(server.desk.path());
    server.attack();
    let (third, told) = pull(&server, &ssh, way);
    for (path, bytes) in &before {
        // The ledger is none of what was fetched.
        assert!(fs::read(path).unwrap() == *bytes, "{way}: {} is other than it was", path.display());
    }
    let named = |name: &str| told.lines().filter(|line| line.contains(name)).count();
    for attack in [Attack::Cut, Attack::Longer, Attack::Removed] {
        assert_eq!(named(attack.name()), 1, "{way}: {attack:?}: {told}");
    }
    // rsync does not look into it, and so keeps the good one.
    let sneaky = Attack::Sneaky.name();
    assert_eq!(named(sneaky), usize::from(way == "sh scp"), "{told}");
    assert_eq!(fs::read(third.join(sneaky)).unwrap() == before[&second.join(sneaky)], way == "sh pull");
    // What the desk knows, to begin from it again.
    let (ledger, state) = (server.desk.path().join("audits.json"), server.place.path("desk-state"));
    let (remembered, known) = (fs::read(&ledger).unwrap(), content(&state));
    let begin_again = || {
        fs::write(&ledger, &remembered).unwrap();
        known.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    };
    let (status, found) = server.verify(&third);
    assert!(status == 1 && !found.is_empty(), "{way}: {found:?}");
    // The good copy is what it was, by the same ledger.
    begin_again();
    server.verify_clean(&second);
    // Each alone is found.
    for attack in Attack::ALL {
        let alone = server.desk.path().join(format!("{attack:?}"));
        must(tool("cp").arg("-a").arg(&second).arg(&alone), b"");
        attack.on(&alone);
        begin_again();
        let (status, found) = server.verify(&alone);
        let kind = if matches!(attack, Attack::Cut | Attack::Removed) { "truncated" } else { "altered" };
        assert!(status == 1 && found.iter().any(|found| found == kind), "{attack:?}: {found:?}");
    }
    if way == "sh pull" {
        // By content; again into a folder of its own.
        let (fourth, told) = pull_with(&server, &ssh, way, &[("rsync -rt", "rsync -rtc")]);
        assert_eq!(told.lines().filter(|line| line.contains(sneaky)).count(), 1, "{told}");
        assert!(fs::read(fourth.join(sneaky)).unwrap() != before[&second.join(sneaky)]);
        begin_again();
        assert!(before.iter().all(|(path, bytes)| fs::read(path).unwrap() == *bytes));
    }
}

/// A copy that was made while a record was written.
#[test]
fn a_file_that_was_fetched_in_the_middle_of_a_write_is_whole_the_next_time() {
    let server = Server::new();
    let mut running = Running::start(&mut server.place.seal_to("access.log"));
    running.write(Lines::file(9, 3));
    running.wait_idle();
    let copy = server.desk.path().join("copy");
    let fetch = || must(tool("cp").arg("-rT").arg(server.place.path("log")).arg(&copy), b"");
    fetch();
    server.verify_clean(&copy);
    running.write(Lines::file(10, 1));
    running.wait_idle();
    fetch();
    let file = File::options().write(true).open(copy.join(CURRENT)).unwrap();
    file.set_len(file.metadata().unwrap().len() - 100).unwrap();
    assert_eq!(server.verify(&copy), (1, vec!["torn".to_owned()]));
    fetch();
    server.verify_clean(&copy);
    running.end_well();
}

#[test]
fn rsync_harms_nothing_that_was_fetched() {
    fetch_attack_fetch("sh pull");
}

#[test]
fn scp_harms_nothing_that_was_fetched() {
    fetch_attack_fetch("sh scp");
}

/// The page's table of rsync's options, on one folder.
#[test]
fn what_other_options_of_rsync_do_to_what_was_fetched() {
    let (server, ssh) = (Server::new(), SshServer::start());
    ssh.authorize(&key_options(&server, 0));
    let rsync = |options: &[&str], to: &Path| {
        let from = format!("{}@server.example.org:/", ssh.account());
        must(ssh.client("rsync").arg("-rt").args(options).arg(from).arg(to), b"");
    };
    let fetched = server.desk.path().join("fetched");
    rsync(&[], &fetched);
    let before = content(&fetched);
    next_second();
    server.seal(5, 20);
    let grown = server.desk.path().join("grown");
    rsync(&[], &grown);
    server.attack();
    let aside = format!("--backup-dir={}", server.desk.path().join("aside").display());
    // Which of the files are other than they were: cut, replaced by a longer one, removed.
    let [cut, longer, removed, sneaky] = Attack::ALL.map(Attack::name);
    let cases: [(&[&str], &[&str]); 9] = [
        (&[], &[cut, longer]),
        (&["--update"], &[cut, longer]),
        (&["--inplace"], &[cut, longer]),
        (&["--checksum"], &[cut, longer, sneaky]),
        (&["--append-verify"], &[longer]),
        (&["--delete"], &[cut, longer, removed]),
        (&["--append"], &[]),
        (&["--ignore-existing"], &[]),
        (&["--backup", &aside], &[cut, longer]),
    ];
    for (options, harmed) in cases {
        let folder = server.desk.path().join("one");
        must(tool("cp").arg("-a").arg(&grown).arg(&folder), b"");
        let before = content(&folder);
        rsync(options, &folder);
        let mut found: Vec<_> = before
            .iter()
            .filter(|(path, bytes)| !fs::read(path).is_ok_and(|now| now.starts_with(bytes)))
            .map(|(path, _)| path.file_name().expect("a file").to_str().expect("ASCII"))
            .collect();
        let mut harmed = harmed.to_vec();
        found.sort_unstable();
        harmed.sort_unstable();
        assert_eq!(found, harmed, "{options:?}");
        fs::remove_dir_all(folder).unwrap();
    }
    let kept = content(&server.desk.path().join("aside"));
    assert_eq!(kept.len(), 2, "what was replaced");
    // Who has the file from before it grew, and a server that is well.
    let (server, ssh) = (Server::new(), SshServer::start());
    ssh.authorize(&key_options(&server, 0));
    drop(before);
    for (option, grows) in [("--append", true), ("--ignore-existing", false)] {
        let folder = server.desk.path().join(option);
        let from = format!("{}@server.example.org:/", ssh.account());
        let rsync = || must(ssh.client("rsync").args(["-rt", option, &from]).arg(&folder), b"");
        rsync();
        server.seal(6, 5);
        rsync();
        assert_eq!(fs::read(folder.join(CURRENT)).unwrap() == fs::read(server.file(CURRENT)).unwrap(), grows, "{option}");
    }
}

/// The key that fetches can do nothing else.
#[test]
fn the_key_that_fetches_only_reads() {
    let (server, ssh) = (Server::new(), SshServer::start());
    let at = format!("{}@server.example.org", ssh.account());
    let stray = server.desk.path().join("stray.pgp");
    fs::write(&stray, "x").unwrap();
    // Others may reach it, so only the forced command keeps it from the key.
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o644)).unwrap();
    // Were it not for the key, the account could write.
    must(tool("chmod").arg("-R").arg("g+w").arg(server.place.path("log")), b"");
    let before = content(&server.place.path("log"));
    let works = |program: &str, words: &[&str]| {
        let output = ssh.client(program).args(words).current_dir(server.desk.path()).output().expect("it can be run");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let name = outside.path().file_name().unwrap().to_str().unwrap();
    let logs = server.place.path("log").display().to_string();
    for which in [0, 1] {
        let options = key_options(&server, which);
        ssh.authorize(&options);
        let reads = if which == 0 {
            works("rsync", &["-dt", &format!("{at}:/"), "got"])
        } else {
            works("scp", &["-qr", &format!("{at}:{logs}"), "got-by-scp"])
        };
        assert!(reads.0, "{reads:?}: {}", ssh.told());
        let there = outside.path().display().to_string();
        for (program, words) in [
            ("ssh", vec![&at[..], "cat", &there]),
            ("ssh", vec!["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9", &at, "true"]),
            ("rsync", vec!["-t", "stray.pgp", &format!("{at}:/")]),
            ("rsync", vec!["-t", "stray.pgp", &format!("{at}:{logs}/")]),
            ("rsync", vec!["-rt", &format!("{at}:/../../{name}"), "got"]),
            ("rsync", vec!["-rt", &format!("{at}:{there}"), "got"]),
            ("scp", vec!["-q", "stray.pgp", &format!("{at}:{logs}/stray.pgp")]),
            ("scp", vec!["-qO", "stray.pgp", &format!("{at}:{logs}/stray.pgp")]),
        ] {
            let (worked, told) = works(program, &words);
            assert!(!worked, "{options}: {program} {words:?}: {told}");
        }
    }
    assert!(!server.desk.path().join("got").join(name).exists());
    assert!(content(&server.place.path("log")) == before);
    // Without the forced command each of them would have worked, as far as the account goes.
    ssh.authorize("");
    assert!(works("ssh", &[&at, "cat", &outside.path().display().to_string()]).0);
}

/// Runs a script in a view of the machine's mounts of its own, as root.
fn with_mounts(server: &Server, script: &str) -> Output {
    let links = tempfile::tempdir().unwrap();
    let mut unshare = tool("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-euc", script]).current_dir(server.desk.path());
    unshare.env("XDG_STATE_HOME", server.place.path("desk-state"));
    unshare.env("PATH", format!("{}:/usr/sbin:/sbin", path_with_programs(links.path())));
    unshare.output().expect("it can be run")
}

/// Where no file system can be mounted, a folder stands for the medium.
#[test]
fn what_a_medium_did_to_a_file_is_told_by_its_checksum_and_by_verify() {
    let server = Server::new();
    let mounts = Uid::effective().is_root() && Path::new("/dev/loop-control").exists();
    assert!(Uid::effective().is_root() || std::env::var_os("CI").is_none(), "file systems are mounted by root only");
    let (medium, at) = (server.desk.path().join("medium"), server.desk.path().join("mounted"));
    fs::create_dir(&at).unwrap();
    File::create(&medium).unwrap().set_len(16 << 20).unwrap();
    let run = |script: String| match mounts {
        true => with_mounts(&server, &script),
        false => {
            server.sh(&script.lines().filter(|line| !line.contains("mount ")).map(|line| format!("{line}\n")).collect::<String>())
        }
    };
    let named = [("/dev/sdb1", medium.display().to_string()), ("/mnt", at.display().to_string())];
    let parts: Vec<_> = named.iter().map(|(from, to)| (*from, &to[..])).collect();
    let logs = server.place.path("log").display().to_string();
    let write = block_with("sh medium", &[&[("/var/log/sealed", &logs[..])][..], &parts].concat());
    let (key, ledger) =
        (keys::sequoia_v6().secret.display().to_string(), server.desk.path().join("audits.json").display().to_string());
    let desk = block_with("sh desk", &[&[("secret.asc", &key[..]), ("audits.json", &ledger)][..], &parts].concat());
    let at = at.display();
    if mounts {
        must(tool("mkfs.ext4").arg("-q").arg(&medium), b"");
        // A program that waits for the desk.
        let planted = run(format!("mount {} {at}\ncp /bin/true {at}/program\n{at}/program", medium.display()));
        assert!(planted.status.success(), "{planted:?}");
    }
    let written = run(write);
    assert!(written.status.success() && written.stderr.is_empty(), "{written:?}");

    // The mount is this script's own, so what else is tried on it stands behind it.
    let tries = format!("if {at}/program || touch {at}/sealed/new || echo >>{at}/SHA256SUMS; then exit 7; fi");
    let read = run(format!("{desk}{}\n{}", server.genesis(), if mounts { &tries } else { "" }));
    assert!(read.status.success(), "{read:?}");
    assert!(String::from_utf8_lossy(&read.stdout).contains("0 alarms"), "{read:?}");

    let changed = "access.log.2026-01-02.pgp";
    let image = if mounts { medium } else { server.desk.path().join("mounted/sealed").join(changed) };
    let (mut bytes, file) = (fs::read(&image).unwrap(), fs::read(server.file(changed)).unwrap());
    let at = memchr::memmem::find(&bytes, &file[..4000]).expect("it is on the medium") + 3000;
    bytes[at] ^= 1;
    fs::write(&image, bytes).unwrap();
    let read = run(format!("{desk} --json || exit 1"));
    let (told, found) = (String::from_utf8_lossy(&read.stderr), String::from_utf8_lossy(&read.stdout));
    assert!(!read.status.success(), "{read:?}");
    assert!(told.contains("1 computed checksum did NOT match"), "{told}");
    assert!(found.contains(&format!("sealed/{changed}: FAILED")) && found.matches("FAILED").count() == 1, "{found}");
}

/// A view can be read and copied from, and shows what comes; nothing can be written through it, by root neither.
#[test]
fn through_a_read_only_view_files_can_be_copied_and_not_changed() {
    if !Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "file systems are mounted by root only");
        return;
    }
    let server = Server::new();
    let (logs, view) = (server.place.path("log").display().to_string(), server.desk.path().join("view"));
    fs::create_dir(&view).unwrap();
    let view = view.display().to_string();
    let readers = Group::from_name("adm").unwrap().unwrap().gid;
    let mount = block_with("sh view", &[("/var/log/sealed", &logs), ("/srv/operator/sealed", &view)]);
    // What can be written in its own place cannot through the view.
    let changes = |folder: &str| {
        let file = format!("{folder}/{CURRENT}");
        [
            format!("printf x >>{file}"),
            format!("truncate -s 10 {file}"),
            format!("chmod 666 {file}"),
            format!("mv {file} {folder}/moved && mv {folder}/moved {file}"),
            format!("touch {folder}/new && rm {folder}/new"),
        ]
    };
    let as_reader = format!("setpriv --reuid 65534 --regid {readers} --clear-groups --");
    let as_other = "setpriv --reuid 65534 --regid 65534 --clear-groups --";
    for who in ["root", "adm", "other"] {
        let run = |what: &str| {
            let what = match who {
                "root" => what.to_owned(),
                "adm" => format!("{as_reader} sh -c '{what}'"),
                _ => format!("{as_other} sh -c '{what}'"),
            };
            with_mounts(&server, &format!("chmod 755 .\n{mount}\n{what}"))
        };
        let before = content(&server.place.path("log"));
        let copied = run(&format!("cat {view}/{CURRENT}"));
        assert_eq!(
            copied.status.success() && copied.stdout == before[&server.file(CURRENT)],
            who != "other",
            "{who}: {copied:?}"
        );
        for change in changes(&view) {
            let output = run(&change);
            assert!(!output.status.success(), "{who}: {change}");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(who != "root" || told.contains("Read-only file system"), "{who}: {change}: {told}");
        }
        // Members of the group may not in its own place either.
        for change in changes(&logs).iter().filter(|_| who != "root") {
            assert!(!run(change).status.success(), "{who}: {change}");
        }
        assert!(content(&server.place.path("log")) == before, "{who}");
    }
    let grown = with_mounts(&server, &format!("{mount}\nprintf x >>{logs}/{CURRENT}\ncmp {logs}/{CURRENT} {view}/{CURRENT}"));
    assert!(grown.status.success(), "{grown:?}");
}
