//! A forged record passes verify: an intruder does what he likes to a sealed log, with all that he has at time T.
//!
//! Whatever is said, no line is taken as in place that was not sealed there, and none twice. Where nothing is said, the lines
//! from before T are all there, each writer's in their order; without a mark a tail may be missing, of which the files know nothing.
#![no_main]

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sealedlog::audit::read::Opener;
use sealedlog::audit::session::{self, Line, Reader};
use sealedlog::audit::verify::{Trust, Verifier};
use sealedlog_fuzz::world::{AFTER, Edit, Forger, STRANGE, WORLDS};
use sealedlog_fuzz::{folder, put};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| folder("forged"));

#[derive(Arbitrary, Debug)]
struct Input {
    profile: u8,
    marked: bool,
    edits: Vec<Edit>,
}

#[derive(Default)]
struct Lines(Vec<Vec<u8>>);

impl Reader for Lines {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        if line.place.is_some() {
            self.0.push(line.body.to_vec());
        }
        Ok(())
    }
}

fuzz_target!(|input: Input| {
    // Most in the profile that is read fastest.
    let world = &WORLDS[usize::from(input.profile % 8).saturating_sub(5)];
    let mut forger = Forger::new(world);
    for edit in input.edits.iter().take(12) {
        forger.edit(edit);
    }
    let mut files = Vec::new();
    for (number, content) in forger.contents().iter().enumerate() {
        files.push(FOLDER.join(format!("{number}")));
        put(&files[number], content);
    }
    let trust = Trust { genesis: vec![world.genesis], marked_since: input.marked.then_some(world.marked), ..Trust::default() };
    let opener = Opener::new(&world.identities);
    let mut lines = Lines::default();
    let mut verifier = Verifier::new(trust);
    let unreadable = session::read(&files, &opener, &mut verifier, &mut lines).expect("lines can be kept");
    assert!(unreadable.is_empty(), "files can be read");
    let report = verifier.finish();
    let mut known = Vec::new();
    for line in &lines.0 {
        if line.starts_with(AFTER) || (line.starts_with(STRANGE) && forger.vouched) {
            continue;
        }
        let number = world.lines.iter().position(|known| known == line);
        let number = number.unwrap_or_else(|| panic!("never sealed, but in place: {}", line.escape_ascii()));
        assert!(!known.contains(&number), "in place twice: line {number}");
        known.push(number);
    }
    if report.findings.is_empty() {
        // The order of different writers is not proved: each of these wrote four lines.
        let in_order =
            known.iter().enumerate().all(|(at, line)| known[..at].iter().all(|before| before / 4 != line / 4 || before < line));
        let mut sorted = known.clone();
        sorted.sort_unstable();
        let whole: Vec<_> = (0..if input.marked { world.lines.len() } else { known.len() }).collect();
        if sorted != whole || !in_order {
            let kept = std::env::temp_dir().join("sealedlog-forged");
            let _ = fs::create_dir_all(&kept);
            files.iter().enumerate().for_each(|(number, file)| drop(fs::copy(file, kept.join(number.to_string()))));
            panic!("nothing is said of lines {known:?} of {} in {}", world.lines.len(), world.frozen.profile);
        }
    }
});
