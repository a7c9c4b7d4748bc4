//! rotatelogs' command line: refused, or names of files at any time.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::Parser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use sealedlog::cli::rotatelogs::Args;
use sealedlog::segment::rotation::Schedule;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

// Eight bytes of time, one that chooses the zone; then words, each ended by a NUL.
fuzz_target!(|bytes: &[u8]| {
    let Some((time, [zone, words @ ..])) = bytes.split_first_chunk::<8>() else { return };
    let words = words.split(|&byte| byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let Ok(cli) = Cli::try_parse_from([OsString::from("x")].into_iter().chain(words)) else { return };
    let schedule = match Schedule::try_from(&cli.args) {
        Ok(schedule) => schedule,
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.hint().is_empty());
            return;
        }
    };
    let zone = match zone % 4 {
        0 => TimeZone::UTC,
        1 => TimeZone::fixed(jiff::tz::offset(-11)),
        2 => TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone"),
        _ => TimeZone::posix("LHST-10:30LHDT-11,M10.1.0,M4.1.0").expect("a zone"),
    };
    let Ok(now) = Timestamp::from_second(i64::from_be_bytes(*time)) else { return };
    let first = schedule.first(now, &zone);
    assert!(!first.path.as_os_str().is_empty());
    if let Some(boundary) = schedule.boundary(&first, now, &zone) {
        assert!(boundary >= now);
    }
    for bytes in [0, 1, u64::MAX] {
        for later in
            [now, now.saturating_add(jiff::SignedDuration::from_secs(86_400)).unwrap_or(now), Timestamp::MAX, Timestamp::MIN]
        {
            let _ = schedule.next(&first, bytes, later, &zone);
        }
    }
});
