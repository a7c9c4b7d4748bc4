//! What the filters do with files, signals and full disks: nothing before it is needed, nothing lost, nothing cut.
#![cfg(feature = "audit")]
#![forbid(unsafe_code)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sealedlog::control::{Event, Gap};

use common::disk::SmallDisk;
use common::keys;
use common::lines::{Lines, Random, nasty};
use common::sealed::{Content, Log, Place, Running, SOON, names, seal_all, unprivileged};
use common::tools::{must, tool, wait_for};

/// Long enough for a filter to do what it must not do.
const A_WHILE: Duration = Duration::from_millis(400);

fn fast() -> Place {
    Place::new(&[&keys::sequoia_v6().public])
}

fn secret() -> &'static Path {
    &keys::sequoia_v6().secret
}

/// A place for each profile, the secret key, the suffix, and the words that ask for base64 where that is a choice.
fn profiles() -> Vec<(Place, &'static Path, &'static str)> {
    vec![
        (fast(), secret(), "pgp"),
        (Place::new(&[&keys::gpg_cv25519().public]), &keys::gpg_cv25519().secret, "pgp"),
        (Place::new(&[&keys::age().public]), &keys::age().secret, "age64"),
    ]
}

/// Waits until a file has lines up to this one.
fn wait_for_text(file: &Path, secret: &Path, text: &[u8]) {
    assert!(wait_for(SOON, || file.exists() && Log::open(&[file], &[secret]).text() == text), "the lines do not come");
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Waits until a file has grown, and the filter has nothing more to do.
fn wait_for_rest(running: &Running, file: &Path, from: u64) {
    assert!(wait_for(SOON, || length(file) > from), "{} does not grow", file.display());
    running.wait_idle();
}

// What is made, and when.

#[test]
fn nothing_is_made_before_the_first_line() {
    for until in ["--until-eof", "--until-term"] {
        for end in ["eof", "term and eof", "hup, term and eof"] {
            let place = fast();
            let before = place.files();
            for (program, command) in [("seal", place.seal_to("x.log")), ("apache", apache(&place, &["x.log", "1"]))] {
                let mut running = Running::start(Command::new(command.get_program()).args(command.get_args()).arg(until));
                if program == "apache" {
                    // Options come before rotatelogs' operands.
                    running.kill();
                    running = Running::start(&mut apache(&place, &[until, "x.log", "1"]));
                }
                running.wait_signals();
                running.wait_idle();
                if end.contains("hup") {
                    running.signal(Signal::SIGHUP);
                    running.wait_idle();
                }
                if end.contains("term") {
                    running.signal(Signal::SIGTERM);
                    sleep(Duration::from_millis(50));
                }
                running.end_well();
                assert_eq!(place.files(), before, "{program} {until} {end}");
                assert!(names(&place.path("state")).is_empty() && names(&place.path("run")).is_empty());
            }
        }
    }
}

fn apache(place: &Place, words: &[&str]) -> Command {
    let mut command = place.apache();
    command.args(words);
    command
}

#[test]
fn files_belong_to_those_who_read_logs() {
    let place = fast();
    assert!(seal_all(&mut place.seal_to("x.log"), b"line\n").status.success());
    let file = fs::metadata(place.path("log/x.log.pgp")).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o640);
    if nix::unistd::Uid::effective().is_root() {
        let adm = nix::unistd::Group::from_name("adm").unwrap().expect("Debian has it").gid;
        assert_eq!(file.gid(), adm.as_raw());
    }
    // State and progress are nobody else's business.
    for folder in ["state", "run"] {
        for name in names(&place.path(folder)) {
            let there = place.path(folder).join(name);
            assert_eq!(fs::metadata(&there).unwrap().mode() & 0o777, 0o700);
            for file in names(&there) {
                assert_eq!(fs::metadata(there.join(&file)).unwrap().mode() & 0o077, 0, "{file}");
            }
        }
    }
}

#[test]
fn the_suffix_is_added_unless_it_is_there() {
    for (given, options, made) in [
        ("x.log", &[][..], "x.log.pgp"),
        ("x.log.pgp", &[], "x.log.pgp"),
        ("x", &["--framing", "base64"], "x.pgp64"),
        ("x.pgp", &["--framing", "base64"], "x.pgp64"),
    ] {
        let place = fast();
        assert!(seal_all(place.seal_to(given).args(options), b"line\n").status.success());
        assert_eq!(place.logs(), [made]);
        assert_eq!(Log::whole(&place.path("log").join(made), secret()).text(), b"line\n");
    }
    let place = Place::new(&[&keys::age().public]);
    assert!(seal_all(&mut place.seal_to("x.pgp"), b"line\n").status.success());
    assert_eq!(place.logs(), ["x.age64"]);
    let ended = seal_all(place.seal_to("x").args(["--framing", "binary"]), b"line\n");
    assert_eq!(ended.status.code(), Some(2));
    assert_eq!(ended.stderr, "sealedlog: error: profile age has framing base64 only\nsealedlog: hint: leave --framing out\n");
}

#[test]
fn every_input_comes_back_byte_for_byte() {
    for (place, secret, suffix) in profiles() {
        for framing in [None, Some("base64")] {
            for (name, input) in nasty() {
                let text = format!("{}.log", name.replace(' ', "-").replace(',', ""));
                let (mut command, suffix) = (
                    place.seal_to(&text),
                    if framing.is_some() {
                        suffix.replace("pgp", "pgp64").replace("pgp6464", "pgp64")
                    } else {
                        suffix.to_owned()
                    },
                );
                if framing.is_some() {
                    command.args(["--framing", "base64"]);
                }
                let ended = seal_all(&mut command, &input);
                assert!(ended.status.success() && ended.stderr.is_empty(), "{name}: {ended:?}");
                let file = place.path("log").join(format!("{text}.{suffix}"));
                assert_eq!(file.exists(), !input.is_empty(), "{name}");
                if file.exists() {
                    let log = Log::whole(&file, secret);
                    assert!(log.text() == input, "{name}");
                    assert!(log.lines().all(|line| line.len() <= 1 << 20), "{name}");
                    log.assert_settled();
                    fs::remove_file(file).unwrap();
                }
            }
        }
    }
}

#[test]
fn standard_output_gets_a_fresh_stream_each_time() {
    for (place, secret, _) in profiles() {
        let text = Lines::file(3, 300);
        let out = place.path("out");
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut command = place.seal();
            command.stdout(fs::File::create(&out).unwrap());
            let mut running = Running::start_with(&mut command);
            running.write(&text);
            running.end_well();
            let log = Log::whole(&out, secret);
            assert_eq!(log.text(), text);
            assert_eq!(log.kinds()[..3], ["genesis", "segment", "line"]);
            let Some(Event::Genesis(genesis)) = log.events().next() else { unreachable!() };
            assert!(!genesis.state && !genesis.progress && genesis.log == "-");
            streams.extend(log.genesis.keys().copied());
        }
        assert_ne!(streams[0], streams[1]);
        assert!(names(&place.path("state")).is_empty() && names(&place.path("run")).is_empty());
    }
}

/// The polls of a filter that has nothing to do are counted: it must sleep, wherever its records go.
#[test]
fn a_filter_without_lines_rests() {
    let place = fast();
    for output in ["-", "x.log"] {
        let mut command = if output == "-" { place.seal() } else { place.seal_to(output) };
        command.stdout(fs::File::create(place.path("out")).unwrap());
        let trace = place.path("trace");
        let mut traced = tool("strace");
        traced.args(["-f", "-qq", "-e", "trace=ppoll", "-o"]).arg(&trace);
        traced.arg(command.get_program()).args(command.get_args());
        traced.stdout(fs::File::create(place.path("out")).unwrap());
        let mut running = Running::start_with(&mut traced);
        running.write("line\n");
        let written = if output == "-" { place.path("out") } else { place.path("log/x.log.pgp") };
        assert!(wait_for(SOON, || length(&written) > 0));
        let begin = Instant::now();
        sleep(Duration::from_secs(2));
        running.end_well();
        let (polls, seconds) = (fs::read_to_string(&trace).unwrap().lines().count(), begin.elapsed().as_secs());
        assert!(polls >= 2 && polls < 20 * (seconds as usize), "{output}: {polls} polls in {seconds} seconds");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_filter() {
    let place = fast();
    let mut command = place.seal();
    command.stdout(Stdio::piped());
    let mut running = Running::start_with(&mut command);
    drop(running.child().stdout.take());
    running.write("line\n");
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("standard output") && ended.stderr.contains("hint: "), "{ended:?}");
}

#[test]
fn each_line_is_in_the_file_before_the_next_comes() {
    for (place, secret, suffix) in profiles() {
        let mut running = Running::start(&mut place.seal_to("x.log"));
        let file = place.path(&format!("log/x.log.{suffix}"));
        let mut text = Vec::new();
        for line in Lines::new(4).take(8) {
            // In two halves, as a slow program writes them.
            let (first, second) = line.split_at(line.len() / 2);
            running.write(first);
            sleep(Duration::from_millis(30));
            let before = length(&file);
            sleep(Duration::from_millis(30));
            assert_eq!(length(&file), before, "half a line was sealed");
            running.write(second);
            text.extend_from_slice(&line);
            wait_for_text(&file, secret, &text);
        }
        running.end_well();
        Log::whole(&file, secret).assert_settled();
    }
}

/// As with `%Y-%m-%d`, which changes too seldom to wait for.
#[test]
fn a_name_with_the_time_begins_a_file_when_it_changes() {
    let place = fast();
    let mut command = place.seal_to("deeper/x.%H%M%S");
    let mut running = Running::start(command.arg("--make-parents"));
    let folder = place.path("log/deeper");
    let mut text = Vec::new();
    for (count, line) in Lines::new(6).take(3).enumerate() {
        text.extend_from_slice(&line);
        running.write(&line);
        assert!(wait_for(SOON, || folder.is_dir() && names(&folder).len() == count + 1), "{:?}", names(&folder));
        sleep(Duration::from_millis(1100));
    }
    running.end_well();
    let files: Vec<_> = names(&folder).into_iter().map(|name| folder.join(name)).collect();
    let log = Log::open(&files, &[secret()]);
    assert!(log.text() == text);
    log.assert_settled();
}

// Signals.

#[test]
fn a_termination_seals_what_can_be_read_and_closes() {
    for (place, secret, suffix) in profiles() {
        let text = Lines::file(5, 150);
        let file = place.path(&format!("log/x.log.{suffix}"));
        let mut running = Running::start(&mut place.seal_to("x.log"));
        running.write(b"first\n");
        wait_for_rest(&running, &file, 0);
        // All of it waits in the pipe when the signal comes, with a last line that has no end yet.
        running.signal(Signal::SIGSTOP);
        running.write(&text);
        running.write(b"no end");
        running.signal(Signal::SIGTERM);
        running.signal(Signal::SIGCONT);
        let input = running.take_input();
        let ended = running.wait();
        drop(input);
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
        let log = Log::whole(&file, secret);
        assert_eq!(log.text(), [b"first\n", &text[..], b"no end"].concat());
        assert_eq!(log.kinds().last(), Some(&"close"));
        log.assert_settled();
        assert_eq!(left_progress(&place), [""; 0]);
    }
}

#[test]
fn until_the_end_of_input_signals_are_not_the_end() {
    let place = fast();
    for mut command in [apache(&place, &["x.log"]), {
        let mut seal = place.seal_to("y.log");
        seal.arg("--until-eof");
        seal
    }] {
        let before = place.logs().len();
        let mut running = Running::start(&mut command);
        running.write("one\n");
        assert!(wait_for(SOON, || place.logs().len() > before));
        for signal in
            [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM, Signal::SIGTERM]
        {
            running.signal(signal);
            sleep(Duration::from_millis(30));
            running.write("more\n");
        }
        sleep(A_WHILE);
        assert!(running.runs());
        running.write("last");
        running.end_well();
    }
    for name in ["x.log.pgp", "y.log.pgp"] {
        let log = Log::whole(&place.path("log").join(name), secret());
        assert_eq!(log.text(), [b"one\n", "more\n".repeat(7).as_bytes(), b"last"].concat());
        log.assert_settled();
    }
}

#[test]
fn a_termination_in_an_endless_burst_ends_soon_with_all_sealed_that_was_read() {
    let place = fast();
    let mut running = Running::start(&mut place.seal_to("x.log"));
    let mut input = running.take_input();
    let block = Lines::file(6, 10_000);
    let again = block.clone();
    // It goes on for as long as somebody reads, and says how much was taken.
    let writer = std::thread::spawn(move || {
        let mut taken = 0;
        while let Ok(n) = input.write(&again[taken % again.len()..]) {
            taken += n;
        }
        taken
    });
    let file = place.path("log/x.log.pgp");
    let begin = Instant::now();
    assert!(wait_for(SOON, || length(&file) > 1_000_000));
    // What a busy machine makes of a moment.
    let moment = begin.elapsed();
    let told = Instant::now();
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    let took = told.elapsed();
    assert!(took < Duration::from_secs(4) + 10 * moment, "it took {took:?}, the first megabyte {moment:?}");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let taken = writer.join().unwrap();
    let log = Log::whole(&file, secret());
    let sealed = log.text();
    assert!(sealed.chunks(block.len()).all(|part| block.starts_with(part)), "what was sealed is not what was written");
    // What the pipe holds was never read.
    assert!(taken - sealed.len() <= 2 * 65536, "{taken} bytes taken, {} sealed", sealed.len());
    log.assert_settled();
}

// Death and after.

/// Files with progress values that are left below state and runtime folder.
fn left_progress(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["state", "run"] {
        for log in names(&place.path(folder)) {
            found.extend(names(&place.path(folder).join(log)).into_iter().filter(|name| name.starts_with("progress")));
        }
    }
    found
}

#[test]
fn after_a_kill_the_next_run_tells_length_and_progress() {
    for (place, secret, suffix) in profiles() {
        let file = place.path(&format!("log/x.log.{suffix}"));
        let mut running = Running::start(&mut place.seal_to("x.log"));
        for count in 0..3 {
            let before = length(&file);
            running.write(format!("line {count}\n"));
            wait_for_rest(&running, &file, before);
        }
        running.kill();
        assert_eq!(left_progress(&place).len(), 2, "memory and disk");
        let killed = length(&file);
        let mut running = Running::start(&mut place.seal_to("x.log"));
        running.write("after\n");
        wait_for_rest(&running, &file, killed);
        // The values are in the file now; theirs go, and the new writer's stand in their place.
        assert!(wait_for(SOON, || left_progress(&place).iter().all(|name| !name.ends_with("-0"))), "{:?}", left_progress(&place));
        running.end_well();
        assert_eq!(left_progress(&place), [""; 0]);
        let log = Log::whole(&file, secret);
        assert_eq!(log.text(), b"line 0\nline 1\nline 2\nafter\n");
        assert_eq!(log.kinds(), ["genesis", "segment", "line", "epoch", "resume", "line", "close"]);
        let Some(Event::Resume(resume)) = log.events().nth(3) else { unreachable!() };
        let census = resume.progress.as_ref().expect("the state is kept");
        assert_eq!((resume.length, resume.torn, census.len()), (killed, 0, 1));
        let found = &census[0];
        let Some(Event::Genesis(genesis)) = log.events().next() else { unreachable!() };
        let key = sealedlog::chain::ChainKey::from_bytes(*genesis.chain_key.as_bytes()).epoch_key();
        let (mut memory, mut disk) = (key.memory_progress(), key.disk_progress());
        memory.advance_to(5);
        assert_eq!((found.epoch, found.memory.map(|value| value.0)), (0, Some(*memory.value())));
        let on_disk = found.disk.expect("it was synchronised once").0;
        assert!((0..=5).any(|slots| {
            disk.advance_to(slots);
            *disk.value() == on_disk
        }));
    }
}

#[test]
fn a_torn_end_is_told_and_costs_nothing_else() {
    for (place, secret, suffix) in profiles() {
        let file = place.path(&format!("log/x.log.{suffix}"));
        let seal = |text: &str| assert!(seal_all(&mut place.seal_to("x.log"), text.as_bytes()).status.success());
        seal("one\n");
        let end = length(&file);
        seal("two\n");
        let content = fs::read(&file).unwrap();
        // What a power cut leaves of a write.
        for cut in [end + 1, end + 40, (end + content.len() as u64) / 2] {
            fs::write(&file, &content[..cut as usize]).unwrap();
            seal("three\n");
            let log = Log::open(&[&file], &[secret]);
            let resumes: Vec<_> = log
                .events()
                .filter_map(|event| if let Event::Resume(resume) = event { Some((resume.length, resume.torn)) } else { None })
                .collect();
            let (length, torn) = *resumes.last().unwrap();
            assert_eq!(length, cut, "{suffix} {cut}: {resumes:?}");
            let [(_, damage)] = &log.damage[..] else { panic!("{suffix} {cut}: {:?}", log.damage) };
            // A newline ends a torn line of base64.
            assert_eq!((damage.offset, damage.length), (cut - torn, torn + u64::from(suffix == "age64")), "{suffix} {cut}");
            assert!(log.text().starts_with(b"one\n") && log.text().ends_with(b"three\n"));
            assert_eq!(fs::read(&file).unwrap()[..cut as usize], content[..cut as usize], "something was cut or changed");
        }
    }
}

#[test]
fn two_filters_append_to_one_file() {
    for (place, secret, suffix) in profiles() {
        let file = place.path(&format!("log/x.log.{suffix}"));
        let mut filters: Vec<_> = (0..2).map(|_| Running::start(&mut place.seal_to("x.log"))).collect();
        let texts: Vec<Vec<Vec<u8>>> = (0..2).map(|seed| Lines::new(10 + seed).take(1500).collect()).collect();
        std::thread::scope(|scope| {
            for (filter, lines) in filters.iter_mut().zip(&texts) {
                scope.spawn(move || {
                    let mut random = Random(7);
                    for line in lines {
                        filter.write(line);
                        if random.below(40) == 0 {
                            sleep(Duration::from_millis(1));
                        }
                    }
                });
            }
        });
        filters.into_iter().for_each(Running::end_well);
        let log = Log::whole(&file, secret);
        log.assert_settled();
        let sealed: Vec<&Vec<u8>> = log.lines().collect();
        assert_eq!(sealed.len(), 3000);
        for lines in &texts {
            let mine: Vec<&Vec<u8>> = sealed.iter().copied().filter(|line| lines.contains(line)).collect();
            assert!(mine.iter().copied().eq(lines.iter()), "lines of one filter are out of order");
        }
        assert_eq!(left_progress(&place), [""; 0]);
    }
}

#[test]
fn a_file_that_was_moved_or_removed_is_opened_again_by_its_name() {
    for how in ["renamed", "removed", "replaced"] {
        let place = fast();
        let file = place.path("log/x.log.pgp");
        let mut running = Running::start(&mut place.seal_to("x.log"));
        running.write("one\n");
        wait_for_rest(&running, &file, 0);
        // More than the time between two looks, the last of which is soon after the first line.
        sleep(Duration::from_millis(2500));
        let moved = place.path("log/x.log.1.pgp");
        match how {
            "renamed" => fs::rename(&file, &moved).unwrap(),
            "removed" => fs::remove_file(&file).unwrap(),
            _ => {
                fs::rename(&file, &moved).unwrap();
                fs::copy(&moved, &file).unwrap();
            }
        }
        running.write("two\n");
        wait_for_rest(&running, &file, if how == "replaced" { length(&moved) } else { 0 });
        running.write("three\n");
        running.end_well();
        let log = Log::open(&[&file], &[secret()]);
        match how {
            "replaced" => {
                assert_eq!(log.text(), b"one\ntwo\nthree\n", "{:?}", log.kinds());
                assert!(log.kinds().contains(&"resume"));
            }
            _ => {
                assert_eq!(log.text(), b"two\nthree\n");
                assert_eq!(log.kinds(), ["genesis", "epoch", "segment", "line", "close"]);
                let Some(Event::Segment(segment)) = log.events().nth(2) else { unreachable!() };
                let before = segment.before.as_ref().unwrap();
                assert_eq!((segment.segment, before.name.as_str()), (Some(1), "x.log.pgp"));
                if how == "renamed" {
                    assert_eq!(before.length, length(&moved));
                    let both = Log::open(&[&moved, &file], &[secret()]);
                    assert_eq!((both.text(), both.damage.len()), (b"one\ntwo\nthree\n".to_vec(), 0));
                    both.assert_settled();
                }
            }
        }
    }
}

#[test]
fn a_hangup_opens_the_file_again_by_its_name() {
    let place = fast();
    let file = place.path("log/x.log.pgp");
    let mut running = Running::start(&mut place.seal_to("x.log"));
    running.write("one\n");
    wait_for_rest(&running, &file, 0);
    fs::rename(&file, place.path("log/x.log.1.pgp")).unwrap();
    running.signal(Signal::SIGHUP);
    wait_for_rest(&running, &file, 0);
    running.write("two\n");
    running.end_well();
    let both = Log::open(&[&place.path("log/x.log.1.pgp"), &file], &[secret()]);
    assert_eq!(both.text(), b"one\ntwo\n");
    both.assert_settled();
}

#[test]
fn a_link_in_place_of_the_file_is_never_followed_while_it_runs_either() {
    let place = fast();
    let (file, target) = (place.path("log/x.log.pgp"), place.path("log/target"));
    let mut running = Running::start(&mut place.seal_to("x.log"));
    running.write("one\n");
    wait_for_rest(&running, &file, 0);
    let moved = place.path("log/moved.pgp");
    fs::rename(&file, &moved).unwrap();
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &file).unwrap();
    sleep(Duration::from_millis(2500));
    running.write("two\n");
    running.wait_told("is a symbolic link, which is not followed");
    fs::remove_file(&file).unwrap();
    running.write("three\n");
    assert!(running.end().status.success());
    assert_eq!(fs::read(&target).unwrap(), b"");
    let both = Log::open(&[&moved, &file], &[secret()]);
    assert_eq!((both.text(), both.damage.len()), (b"one\ntwo\nthree\n".to_vec(), 0));
}

// Full and broken disks.

#[test]
fn with_policy_block_a_full_disk_loses_nothing() {
    for (place, secret, suffix) in profiles() {
        let disk = SmallDisk::mount(&place.path("log"), 256);
        let file = place.path(&format!("log/x.log.{suffix}"));
        let mut running = Running::start(&mut place.seal_to("x.log"));
        let text = Lines::file(20, 2500);
        let mut input = running.take_input();
        let (done, written) = (std::sync::mpsc::channel(), text.clone());
        std::thread::spawn(move || {
            input.write_all(&written).unwrap();
            drop(input);
            done.0.send(()).unwrap();
        });
        running.wait_told("no more lines are read until it can be");
        let told = running.told();
        assert!(told.contains("x.log") && told.contains("No space left on device"), "{told}");
        sleep(Duration::from_millis(1500));
        let full = fs::read(&file).unwrap();
        assert!(done.1.try_recv().is_err(), "it went on reading");
        assert_eq!(running.told(), told, "one warning");
        disk.grow();
        let ended = running.wait();
        assert!(ended.status.success() && ended.stderr.contains("the log can be written again"), "{ended:?}");
        let content = fs::read(&file).unwrap();
        assert!(content.starts_with(&full), "what was there was changed");
        let log = Log::open(&[&file], &[secret]);
        assert!(log.text() == text, "{suffix}: lines are missing");
        assert!(log.damage.iter().all(|(_, damage)| damage.repeated), "{:?}", log.damage);
        log.assert_settled();
    }
}

#[test]
fn with_policy_block_the_last_lines_before_the_end_of_input_are_not_lost() {
    let place = fast();
    let disk = SmallDisk::mount(&place.path("log"), 64);
    let mut running = Running::start(&mut place.seal_to("x.log"));
    running.write("one\n");
    wait_for_rest(&running, &place.path("log/x.log.pgp"), 0);
    let ballast = disk.fill();
    // More than a page of the file system, and all of it read at once.
    let text = Lines::file(21, 200);
    running.write(&text);
    running.wait_told("No space left on device");
    drop(running.take_input());
    sleep(Duration::from_millis(300));
    disk.grow();
    let ended = running.wait();
    assert!(ended.status.success(), "{ended:?}");
    drop(ballast);
    let log = Log::open(&[&place.path("log/x.log.pgp")], &[secret()]);
    assert!(log.text() == [b"one\n", &text[..]].concat(), "{} lines", log.lines().count());
}

#[test]
fn with_policy_block_a_disk_that_stays_full_is_told_at_a_termination() {
    let place = fast();
    let disk = SmallDisk::mount(&place.path("log"), 64);
    let mut running = Running::start(&mut place.seal_to("x.log"));
    running.write("one\n");
    wait_for_rest(&running, &place.path("log/x.log.pgp"), 0);
    disk.fill();
    running.write(Lines::file(22, 100));
    running.wait_told("No space left on device");
    let told = Instant::now();
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    // It tries for two seconds.
    assert!(told.elapsed() < Duration::from_secs(20), "it took {:?}", told.elapsed());
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("could not be written") && ended.stderr.contains("hint: make room"), "{ended:?}");
    place.assert_nowhere("HTTP/1.1");
}

#[test]
fn with_policy_drop_the_writer_never_waits_and_the_gap_is_exact() {
    the_gap_is_exact(&[]);
}

#[test]
fn the_gap_of_lines_that_share_records_is_exact() {
    the_gap_is_exact(&["--group"]);
}

fn the_gap_is_exact(options: &[&str]) {
    let place = fast();
    let disk = SmallDisk::mount(&place.path("log"), 256);
    let file = place.path("log/x.log.pgp");
    let mut command = place.seal_to("x.log");
    let mut running = Running::start(command.args(["--when-full", "drop"]).args(options));
    // More than is held: 4 MiB.
    let lines: Vec<Vec<u8>> = Lines::new(23).take(40_000).collect();
    let started = Instant::now();
    for batch in lines.chunks(100) {
        running.write(batch.concat());
    }
    assert!(started.elapsed() < SOON, "the writer waited");
    running.wait_told("lines are held, then counted and dropped until it can be");
    // What is still in the pipe would be sealed once there is room.
    running.wait_idle();
    let full = fs::read(&file).unwrap();
    disk.grow();
    running.wait_told("the log can be written again");
    let later: Vec<Vec<u8>> = Lines::new(24).take(50).collect();
    running.write(later.concat());
    let ended = running.end();
    assert!(ended.status.success(), "{ended:?}");
    assert!(fs::read(&file).unwrap().starts_with(&full));
    let log = Log::open(&[&file], &[secret()]);
    log.assert_settled();
    let gaps: Vec<&Gap> = log.events().filter_map(|event| if let Event::Gap(gap) = event { Some(gap) } else { None }).collect();
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    assert!(gap.why.contains("No space left on device") && gap.from <= gap.to, "{gap:?}");
    let held = lines.len() - gap.lines as usize;
    assert!(held > 1000 && gap.lines > 1000, "{gap:?}");
    let expected = [lines[..held].concat(), later.concat()].concat();
    assert!(log.text() == expected, "the gap is not what is missing");
    assert_eq!(gap.bytes as usize, lines[held..].concat().len());
    // The gap stands where the lines are missing.
    let at = log
        .entries
        .iter()
        .position(|entry| matches!(&entry.content, Content::Control(control) if matches!(control.event, Event::Gap(_))));
    let before = log.entries[..at.unwrap()].iter().map(|entry| match &entry.content {
        Content::Line(body) => body.iter().filter(|byte| **byte == b'\n').count(),
        _ => 0,
    });
    assert_eq!(before.sum::<usize>(), held);
}

#[test]
fn without_a_state_folder_sealing_goes_on_in_a_stream_of_its_own() {
    // Who cannot write to it: an unprivileged user.
    let place = fast();
    fs::set_permissions(place.path("state"), fs::Permissions::from_mode(0o555)).unwrap();
    for open in ["log", "run"] {
        fs::set_permissions(place.path(open), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let text = Lines::file(30, 200);
    let ended = seal_all(&mut unprivileged(&place, &place.seal_to("x.log")), &text);
    assert!(ended.status.success(), "{ended:?}");
    let told = "sealedlog: warning: the chain's state cannot be used, so this log goes on in a stream of its own: ";
    assert!(ended.stderr.starts_with(told) && ended.stderr.contains("Permission denied"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    let log = Log::whole(&place.path("log/x.log.pgp"), secret());
    assert_eq!(log.text(), text);
    log.assert_settled();
    let Some(Event::Genesis(genesis)) = log.events().next() else { unreachable!() };
    assert!(!genesis.state);
}

#[test]
fn a_full_state_folder_does_not_stop_anything() {
    for when in ["before", "between"] {
        let place = fast();
        let disk = SmallDisk::mount(&place.path("state"), 64);
        let text = Lines::file(31, 200);
        if when == "between" {
            assert!(seal_all(&mut place.seal_to("x.log"), b"first\n").status.success());
            fs::rename(place.path("log/x.log.pgp"), place.path("log/y.log.pgp")).unwrap();
        }
        disk.fill();
        let ended = seal_all(&mut place.seal_to("x.log"), &text);
        assert!(ended.status.success() && ended.stderr.contains("No space left on device"), "{when}: {ended:?}");
        let log = Log::whole(&place.path("log/x.log.pgp"), secret());
        assert_eq!(log.text(), text, "{when}");
        log.assert_settled();
    }
}

#[test]
fn a_full_runtime_folder_does_not_stop_anything() {
    let place = fast();
    let disk = SmallDisk::mount(&place.path("run"), 16);
    disk.fill();
    let text = Lines::file(32, 200);
    let ended = seal_all(&mut place.seal_to("x.log"), &text);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(Log::whole(&place.path("log/x.log.pgp"), secret()).text(), text);
}

#[test]
fn standard_output_on_a_full_disk_repeats_no_record() {
    let place = fast();
    let disk = SmallDisk::mount(&place.path("log"), 64);
    let out = place.path("log/out");
    let mut command = place.seal();
    command.stdout(fs::File::create(&out).unwrap());
    let mut running = Running::start_with(&mut command);
    let text = Lines::file(33, 600);
    let mut input = running.take_input();
    let written = text.clone();
    let writer = std::thread::spawn(move || input.write_all(&written).unwrap());
    running.wait_told("No space left on device");
    disk.grow();
    let ended = running.wait();
    assert!(ended.status.success(), "{ended:?}");
    writer.join().unwrap();
    let log = Log::open(&[&out], &[secret()]);
    assert!(log.text() == text);
    assert!(log.damage.iter().all(|(_, damage)| damage.repeated), "{:?}", log.damage);
    log.assert_settled();
}

/// `seal` under strace, which makes writes to the log go wrong in this way.
fn with_faults(place: &Place, name: &str, suffix: &str, inject: &str) -> Command {
    let command = place.seal_to(name);
    let mut strace = tool("strace");
    strace.args(["-f", "-qq", "-o"]).arg(place.path("trace"));
    strace.arg("-P").arg(place.path(&format!("log/{name}.{suffix}")));
    strace.arg("-e").arg(format!("inject=write:{inject}"));
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

#[test]
fn writes_that_fail_lose_nothing() {
    for (place, secret, suffix) in profiles() {
        for inject in [
            "error=ENOSPC:when=2",
            "error=EINTR:when=1+2",
            "error=EIO:when=3..4",
            "error=EAGAIN:when=1",
            "error=EDQUOT:when=2",
            "error=EROFS:when=2",
        ] {
            let name = format!("{}.log", inject.replace(['=', ':', '+'], "-"));
            let file = place.path(&format!("log/{name}.{suffix}"));
            let mut running = Running::start(&mut with_faults(&place, &name, suffix, inject));
            // Until it has gone wrong, and some more.
            let (mut lines, mut after) = (Vec::new(), 0);
            let went_wrong = || fs::read_to_string(place.path("trace")).is_ok_and(|trace| trace.contains("(INJECTED)"));
            for line in Lines::new(40).take(2000) {
                running.write(&line);
                lines.push(line);
                assert!(wait_for(SOON, || length(&file) > 0));
                sleep(Duration::from_millis(20));
                after += usize::from(after > 0 || went_wrong());
                if after == 8 {
                    break;
                }
            }
            assert_eq!(after, 8, "{inject}: nothing went wrong");
            let ended = running.end();
            assert!(ended.status.success(), "{inject}: {ended:?}");
            let log = Log::whole(&file, secret);
            assert_eq!(log.text(), lines.concat(), "{inject}");
            log.assert_settled();
            assert_eq!(ended.stderr.is_empty(), inject.contains("EINTR"), "{inject}: {ended:?}");
        }
    }
}

#[test]
fn after_a_short_write_the_whole_record_follows_the_fragment() {
    // A limit on the size of files makes the kernel write what fits, and then fail.
    for (place, secret, suffix) in profiles() {
        let file = place.path(&format!("log/x.log.{suffix}"));
        // More than the state's files have, which are limited, too.
        let before = Lines::file(42, 60);
        assert!(seal_all(&mut place.seal_to("x.log"), &before).status.success());
        let first = length(&file);
        let command = place.seal_to("x.log");
        let mut limited = tool("prlimit");
        limited.arg(format!("--fsize={}:unlimited", first + 700)).arg(command.get_program()).args(command.get_args());
        let mut running = Running::start(&mut limited);
        let lines: Vec<Vec<u8>> = Lines::new(41).take(5).collect();
        running.write(lines.concat());
        running.wait_told("File too large");
        assert_eq!(length(&file), first + 700);
        let torn = fs::read(&file).unwrap();
        must(tool("prlimit").arg(format!("--pid={}", running.pid())).arg("--fsize=unlimited:unlimited"), b"");
        let ended = running.end();
        assert!(ended.status.success(), "{ended:?}");
        assert!(fs::read(&file).unwrap().starts_with(&torn));
        let log = Log::open(&[&file], &[secret]);
        assert_eq!(log.text(), [before, lines.concat()].concat());
        let [(_, damage)] = &log.damage[..] else { panic!("{suffix}: {:?}", log.damage) };
        assert!(damage.repeated, "{damage:?}");
        log.assert_settled();
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let place = fast();
    let mut command = place.seal_to("x.log");
    let output = command.stdin(fs::File::open(place.path("log")).unwrap()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("cannot read the input: Is a directory") && told.contains("hint: "), "{told}");
    assert_eq!(place.logs(), [""; 0]);
}

#[test]
fn a_dropped_long_line_counts_as_one() {
    let place = fast();
    let disk = SmallDisk::mount(&place.path("log"), 16);
    let mut running = Running::start(place.seal_to("x.log").args(["--when-full", "drop"]));
    // More than is held.
    let mut long = vec![b'a'; 7 << 20];
    long.push(b'\n');
    running.write(&long);
    running.write("short\n");
    running.wait_told("No space left on device");
    running.wait_idle();
    disk.grow();
    running.wait_told("the log can be written again");
    assert!(running.end().status.success());
    let log = Log::open(&[&place.path("log/x.log.pgp")], &[secret()]);
    let sealed = log.text().len();
    let gaps: Vec<_> =
        log.events().filter_map(|event| if let Event::Gap(gap) = event { Some((gap.lines, gap.bytes)) } else { None }).collect();
    assert_eq!(gaps, [(2, (long.len() + 6 - sealed) as u64)]);
}

#[test]
fn no_text_reaches_the_disk_or_standard_error() {
    for (place, _, _) in profiles() {
        let needle = "needle-7d20b1";
        let mut running = Running::start(place.seal_to("x.log").args(["--max-line", "100"]));
        for _ in 0..200 {
            running.write(format!("{needle} {}\n", "x".repeat(300)));
        }
        running.end_well();
        place.assert_nowhere(needle);
    }
}
