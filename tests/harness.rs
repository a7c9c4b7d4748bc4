//! The tests' own tools, tried on programs whose behaviour is known: what they cannot see here, they cannot see
//! in the product.

mod common;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgp::composed::{Deserializable, MessageBuilder, SignedPublicKey};
use pgp::crypto::aead::{AeadAlgorithm, ChunkSize};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::Preferences;
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::policy::StandardPolicy;

use common::apache::{Apache, quoted};
use common::keys::{self, Age, Pgp, Ssh};
use common::lines::{AVERAGE, Lines, nasty};
use common::load::{Answers, ids};
use common::stock;
use common::tools::{SOON, must, path, tool, wait_for};

// Keys, and the tools that open.

#[test]
fn gnupg_opens_what_it_sealed_to_each_kind_of_key() {
    for key in [keys::gpg_rsa4096(), keys::gpg_cv25519(), keys::gpg_locked()] {
        let (_dir, record) = record();
        sealed_by_gnupg(key, &record).unwrap();
        assert_eq!(stock::gnupg(key, &record).unwrap(), PLAIN);
    }
}

#[test]
fn rpgp_opens_what_gnupg_sealed_and_the_reverse() {
    for key in [keys::gpg_cv25519(), keys::gpg_locked(), keys::rpgp_v4_p256(), keys::rpgp_v4_rsa()] {
        let (_dir, record) = record();
        sealed_by_gnupg(key, &record).unwrap();
        assert_eq!(stock::rpgp(key, &record).unwrap(), PLAIN);
        sealed_by_rpgp(key, &record, false);
        assert_eq!(stock::gnupg(key, &record).unwrap(), PLAIN);
    }
}

#[test]
fn rpgp_and_openpgpjs_open_seipd2_messages_to_version_6_keys_of_every_make() {
    for key in [keys::rpgp_v6(), keys::openpgpjs(), keys::sequoia_v6()] {
        let (_dir, record) = record();
        sealed_by_rpgp(key, &record, true);
        assert_eq!(stock::rpgp(key, &record).unwrap(), PLAIN);
        assert_eq!(stock::openpgpjs(key, &record).unwrap(), PLAIN);
        must(keys::openpgpjs_script().arg("encrypt").arg(&key.public).arg(&record), PLAIN);
        assert!(is_seipd2(&record), "{}", key.public.display());
        assert_eq!(stock::rpgp(key, &record).unwrap(), PLAIN);
        assert_eq!(stock::openpgpjs(key, &record).unwrap(), PLAIN);
    }
}

#[test]
fn rpgp_opens_with_a_locked_version_6_key() {
    let (_dir, record) = record();
    let key = keys::sequoia_locked();
    sealed_by_rpgp(key, &record, true);
    assert_eq!(stock::rpgp(key, &record).unwrap(), PLAIN);
    let without = Pgp { passphrase: None, ..key.clone() };
    assert!(stock::rpgp(&without, &record).is_err());
}

#[test]
fn age_opens_what_it_sealed_to_age_and_ssh_keys() {
    let Age { public, secret, .. } = keys::age();
    let mut pairs = vec![(public, secret)];
    for Ssh { public, secret, .. } in [keys::ssh_ed25519(), keys::ssh_rsa()] {
        pairs.push((public, secret));
    }
    for (public, secret) in pairs {
        let (_dir, record) = record();
        must(tool("age").arg("-R").arg(public).arg("-o").arg(&record), PLAIN);
        assert_eq!(stock::age(secret, &record).unwrap(), PLAIN);
        let refused = stock::age(&keys::age_other().secret, &record).unwrap_err();
        assert!(refused.contains("no identity matched"), "{refused}");
    }
}

#[test]
fn locked_ssh_keys_open_with_their_passphrase_only() {
    for key in [keys::ssh_ed25519_locked(), keys::ssh_rsa_locked()] {
        let show = |passphrase: &str| {
            let mut keygen = tool("ssh-keygen");
            keygen.args(["-y", "-P", passphrase, "-f"]).arg(&key.secret);
            common::tools::run(&mut keygen, b"")
        };
        assert!(show("").is_err());
        let shown = show(key.passphrase.unwrap()).unwrap();
        assert_eq!(shown, fs::read(&key.public).unwrap());
    }
}

#[test]
fn damage_and_the_wrong_key_are_refused_by_every_tool() {
    let (v4, v6, age) = (keys::gpg_cv25519(), keys::openpgpjs(), keys::age());
    let seipd2 = |record: &Path| sealed_by_rpgp(v6, record, true);
    refuses_damage(
        |record| sealed_by_gnupg(v4, record).unwrap(),
        |record| stock::gnupg(v4, record),
        |record| stock::gnupg(keys::gpg_sign_only(), record),
    );
    refuses_damage(seipd2, |record| stock::openpgpjs(v6, record), |record| stock::openpgpjs(keys::rpgp_v6(), record));
    refuses_damage(seipd2, |record| stock::rpgp(v6, record), |record| stock::rpgp(keys::rpgp_v6(), record));
    refuses_damage(
        |record| {
            let mut seal = tool("age");
            must(seal.args(["-r", &age.recipient, "-o"]).arg(record), PLAIN);
        },
        |record| stock::age(&age.secret, record),
        |record| stock::age(&keys::age_other().secret, record),
    );
}

#[test]
fn gnupg_refuses_to_seal_to_the_keys_that_are_no_recipients() {
    for key in [keys::gpg_expired(), keys::gpg_revoked(), keys::gpg_sign_only()] {
        let (_dir, record) = record();
        let told = sealed_by_gnupg(key, &record).unwrap_err();
        assert!(told.contains("nusable public key"), "{told}");
        assert!(!record.exists());
    }
}

#[test]
fn certificates_are_what_their_names_say() {
    use sequoia_openpgp::types::RevocationStatus;
    let policy = StandardPolicy::new();
    // Version, announces SEIPD v2, usable for encryption, revoked.
    let facts = |key: &Pgp| {
        let cert = Cert::from_file(&key.public).unwrap();
        assert_eq!(cert.fingerprint().to_hex(), key.fingerprint);
        assert!(!cert.is_tsk(), "{} holds a secret key", key.public.display());
        assert!(Cert::from_file(&key.secret).unwrap().is_tsk());
        let valid = cert.with_policy(&policy, None).unwrap();
        let usable = valid.keys().supported().alive().revoked(false).for_transport_encryption();
        (
            cert.primary_key().key().version(),
            valid.features().is_some_and(|features| features.supports_seipdv2()),
            valid.alive().is_ok() && usable.count() > 0,
            matches!(valid.revocation_status(), RevocationStatus::Revoked(_)),
        )
    };
    for (key, expected) in [
        (keys::gpg_rsa4096(), (4, false, true, false)),
        (keys::gpg_cv25519(), (4, false, true, false)),
        (keys::gpg_locked(), (4, false, true, false)),
        (keys::gpg_expired(), (4, false, false, false)),
        (keys::gpg_revoked(), (4, false, true, true)),
        (keys::gpg_sign_only(), (4, false, false, false)),
        (keys::openpgpjs(), (6, true, true, false)),
        (keys::rpgp_v6(), (6, true, true, false)),
        (keys::rpgp_v4_rsa(), (4, false, true, false)),
        (keys::rpgp_v4_p256(), (4, false, true, false)),
        (keys::sequoia_v6(), (6, true, true, false)),
        (keys::sequoia_locked(), (6, true, true, false)),
    ] {
        assert_eq!(facts(key), expected, "{}", key.public.display());
    }
}

#[test]
fn the_example_keys_are_public_usable_and_listed() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys");
    let readme = fs::read_to_string(keys.join("README.md")).unwrap();
    let mut found = 0;
    for entry in fs::read_dir(&keys).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (_dir, record) = record();
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("md") => continue,
            Some("asc") => {
                let cert = Cert::from_file(&path).unwrap();
                assert!(!cert.is_tsk(), "{name}");
                assert!(readme.contains(&cert.fingerprint().to_hex()), "{name}");
                let key = Pgp {
                    public: path.clone(),
                    secret: PathBuf::new(),
                    fingerprint: cert.fingerprint().to_hex(),
                    passphrase: None,
                };
                sealed_by_rpgp(&key, &record, cert.primary_key().key().version() == 6);
            }
            Some("age" | "pub") => {
                must(tool("age").arg("-R").arg(&path).arg("-o").arg(&record), PLAIN);
            }
            _ => panic!("{name} is none of the kinds of key file"),
        }
        assert!(readme.contains(&name), "{name}");
        assert!(record.exists());
        found += 1;
    }
    assert_eq!(found, 4);
}

// Lines.

#[test]
fn lines_are_of_the_announced_length_unequal_and_the_same_again() {
    const COUNT: usize = 200_000;
    let lines: Vec<_> = Lines::new(1).take(COUNT).collect();
    let bytes: usize = lines.iter().map(Vec::len).sum();
    let average = bytes as f64 / COUNT as f64;
    assert!((average - AVERAGE as f64).abs() < 1.0, "{average} bytes a line");
    assert_eq!(lines.iter().collect::<HashSet<_>>().len(), COUNT);
    for line in &lines {
        assert!(line.ends_with(b"\n") && line.iter().filter(|b| **b == b'\n').count() == 1);
    }
    assert!(Lines::new(1).take(COUNT).eq(lines.iter().cloned()));
    assert_ne!(Lines::new(2).next(), Lines::new(1).next());
    assert_eq!(Lines::file(1, 3), lines[..3].concat());
}

#[test]
fn line_times_are_real_and_rise() {
    let time = |line: &[u8]| {
        let line = String::from_utf8(line.to_vec()).unwrap();
        let text = line.split(['[', ']']).nth(1).unwrap().to_owned();
        jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).and_then(|parts| parts.to_timestamp()).unwrap()
    };
    let times: Vec<_> = Lines::new(3).take(300_000).map(|line| time(&line)).collect();
    assert_eq!(times[0].to_string()[..10], *"2026-01-31");
    assert!(times.is_sorted());
    // Over the month's end.
    assert!(times.last().unwrap().to_string().starts_with("2026-02-0"));
}

#[test]
fn nasty_inputs_are_what_their_names_say() {
    let inputs = nasty();
    let names: HashSet<_> = inputs.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), inputs.len());
    let get = |name: &str| &inputs.iter().find(|(n, _)| *n == name).unwrap().1;
    assert!(get("empty input").is_empty());
    assert!(std::str::from_utf8(get("invalid UTF-8")).is_err());
    assert_eq!(get("a line of 5 MiB").len(), (5 << 20) + 1);
    assert_eq!(get("a line of 5 MiB").iter().filter(|b| **b == b'\n').count(), 1);
    assert!(!get("no final newline").ends_with(b"\n"));
}

// Apache.

#[test]
fn with_a_program_that_reads_to_the_end_every_request_is_logged_once_over_reload_restart_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let apache = Apache::start(&[custom_log(&patient_cat(&log))], &[]);
    let load = apache.load("load", 6000, 8);
    let more = AtomicBool::new(true);
    let mut answers = std::thread::scope(|scope| {
        let running = scope.spawn(|| load.run_while(&more));
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(100));
            apache.graceful();
        }
        let slow = apache.slow("slow");
        apache.graceful();
        let mut answers = slow.finish();
        apache.restart();
        more.store(false, Ordering::Relaxed);
        answers.add(running.join().unwrap());
        answers
    });
    // Again, so that it is certain that some come after the restart.
    answers.add(apache.load("after", 200, 8).run());
    // It answers before it logs, and a stop cuts what is under way.
    wait_for(SOON, || answers.differences(&fs::read(&log).unwrap()).is_empty());
    apache.stop();

    assert!(answers.answered.len() > 5000, "{:?}", answers.unanswered);
    assert!(answers.answered.contains(&"slow".to_owned()), "{:?}", answers.unanswered);
    let log = fs::read(log).unwrap();
    assert_eq!(answers.differences(&log), Vec::<String>::new());
}

#[test]
fn rotatelogs_loses_the_request_in_flight_at_a_reload_and_that_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let rotatelogs = format!("{} {} 86400", path("rotatelogs").display(), log.display());
    // It adds the start of the period to the name.
    let read = || {
        let files = fs::read_dir(dir.path()).unwrap();
        files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect::<Vec<u8>>()
    };
    let apache = Apache::start(&[custom_log(&rotatelogs)], &[]);
    let mut answers = apache.load("load", 1000, 4).run();
    assert_eq!(answers.unanswered, vec![]);
    assert!(wait_for(SOON, || ids(&read()).len() == 1000));
    assert_eq!(answers.differences(&read()), Vec::<String>::new());

    let slow = apache.slow("slow");
    apache.graceful();
    answers.add(slow.finish());
    apache.graceful_stop();
    assert_eq!(answers.differences(&read()), ["slow was answered and is not in the log"]);
}

#[test]
fn directives_environment_and_error_log_reach_the_programs() {
    let dir = tempfile::tempdir().unwrap();
    let access = dir.path().join("access");
    let errors = dir.path().join("errors");
    // The environment of the program, before what it is fed.
    let show = format!("/bin/sh -c 'echo \"$SEALEDLOG_TEST\" >> {}; exec cat > /dev/null'", access.display());
    let apache = Apache::start(
        &[custom_log(&show), format!("ErrorLog {}", quoted(&format!("|/bin/sh -c 'exec cat >> {}'", errors.display())))],
        &[("SEALEDLOG_TEST", "value of the test")],
    );
    assert_eq!(apache.load("one", 1, 1).run().answered, ["one-0"]);
    // A shell before it.
    let cats = || apache.programs().iter().filter(|(_, line)| line.starts_with("cat")).count();
    assert!(wait_for(SOON, || cats() >= 2), "{:?}", apache.programs());
    // One start before the reload and one after it; a stop that comes too early ends the shell before it writes.
    let starts = || fs::read_to_string(&access).unwrap_or_default().lines().count();
    let before = starts();
    apache.graceful();
    assert!(wait_for(SOON, || starts() > before));
    let told = || fs::read_to_string(&errors).unwrap_or_default();
    assert!(wait_for(SOON, || told().contains("resuming normal operations")), "{}", told());
    apache.stop();
    let seen = fs::read_to_string(&access).unwrap();
    assert!(before >= 1 && seen.lines().all(|l| l == "value of the test"), "{seen}");
}

#[test]
fn nothing_is_left_of_an_apache_that_is_dropped() {
    // A program that neither ends at SIGTERM nor at the end of its input.
    let stubborn = "/bin/sh -c 'trap \"\" TERM; cat > /dev/null; exec sleep 600'";
    let apache = Apache::start(&[custom_log(stubborn)], &[]);
    let mut all: Vec<u32> = apache.programs().into_iter().map(|(id, _)| id).collect();
    assert!(!all.is_empty());
    all.push(apache.pid());
    let port = apache.port;
    drop(apache);
    let alive = |id: u32| fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(wait_for(SOON, || !all.iter().any(|id| alive(*id))));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
#[should_panic(expected = "NoSuchDirective")]
fn a_configuration_error_is_told() {
    Apache::start(&["NoSuchDirective on".to_owned()], &[]);
}

#[test]
fn the_account_of_a_load_tells_each_difference() {
    let answers = Answers {
        answered: ["a", "b", "c"].map(str::to_owned).to_vec(),
        unanswered: vec![("d".into(), "cut".into()), ("e".into(), "cut".into()), ("f".into(), "cut".into())],
        opened: 1,
    };
    let log = b"GET /?id=a HTTP\nGET /?id=c H\nGET /?id=c H\nGET /?id=d H\nGET /?id=e H\nGET /?id=e H\nGET /?id=x H\n";
    assert_eq!(
        answers.differences(log),
        [
            "b was answered and is not in the log",
            "c is in the log 2 times",
            "e is in the log 2 times",
            "x is in the log and was not asked",
        ]
    );
}

fn refuses_damage(
    seal: impl Fn(&Path),
    open: impl Fn(&Path) -> Result<Vec<u8>, String>,
    open_with_wrong_key: impl Fn(&Path) -> Result<Vec<u8>, String>,
) {
    let (_dir, record) = record();
    seal(&record);
    assert_eq!(open(&record).unwrap(), PLAIN);
    open_with_wrong_key(&record).unwrap_err();
    let mut bytes = fs::read(&record).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&record, bytes).unwrap();
    open(&record).unwrap_err();
}

const PLAIN: &[u8] = b"192.0.2.7 - - \"GET /\" 200\0\xff\r\n";

fn record() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("record");
    (dir, record)
}

/// In a home that holds the certificate alone.
fn sealed_by_gnupg(key: &Pgp, record: &Path) -> Result<(), String> {
    let home = format!("seal-{}", &key.fingerprint[..12]);
    must(keys::gpg(&home).arg("--import").arg(&key.public), b"");
    let mut gpg = keys::gpg(&home);
    gpg.args(["--yes", "--trust-model", "always", "-r", &key.fingerprint, "-o"]);
    common::tools::run(gpg.arg(record).arg("--encrypt"), PLAIN).map(drop)
}

fn sealed_by_rpgp(key: &Pgp, record: &Path, seipd2: bool) {
    let file = fs::File::open(&key.public).unwrap();
    let (cert, _) = SignedPublicKey::from_armor_single(file).unwrap();
    cert.verify_bindings().unwrap();
    let subkey =
        cert.public_subkeys.iter().find(|subkey| subkey.signatures.iter().any(|s| s.key_flags().encrypt_storage())).unwrap();
    let builder = MessageBuilder::from_bytes("", PLAIN);
    let mut rng = rand::thread_rng();
    let bytes = if seipd2 {
        let (cipher, aead) = (SymmetricKeyAlgorithm::AES256, AeadAlgorithm::Ocb);
        let mut builder = builder.seipd_v2(&mut rng, cipher, aead, ChunkSize::C4KiB);
        builder.encrypt_to_key(&mut rng, subkey).unwrap();
        builder.to_vec(rng).unwrap()
    } else {
        let mut builder = builder.seipd_v1(&mut rng, SymmetricKeyAlgorithm::AES256);
        builder.encrypt_to_key(&mut rng, subkey).unwrap();
        builder.to_vec(rng).unwrap()
    };
    fs::write(record, bytes).unwrap();
}

fn is_seipd2(record: &Path) -> bool {
    use sequoia_openpgp::{Packet, PacketPile};
    let pile = PacketPile::from_file(record).unwrap();
    pile.descendants().any(|packet| matches!(packet, Packet::SEIP(seip) if seip.version() == 2))
}

fn custom_log(program: &str) -> String {
    format!("CustomLog {} combined", quoted(&format!("|{program}")))
}

/// Appends to `log` until the end of its input, whatever signal comes before.
fn patient_cat(log: &Path) -> String {
    format!("/bin/sh -c 'trap \"\" TERM HUP USR1; exec cat >> {}'", log.display())
}
