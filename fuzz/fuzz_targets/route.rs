//! File templates and the fields of lines: each line has a log, whose files stay in the folder.
#![no_main]

use std::path::{Component, Path};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use sealedlog::filter::route::{FIELD_LIMIT, Route, Template};

// A template, a NUL, a line. Without a NUL it is a line for a template with both fields.
fuzz_target!(|bytes: &[u8]| {
    let (template, line) = match bytes.iter().position(|&byte| byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&b"/l/{host}/{log}.%Y.log"[..], bytes),
    };
    let Ok(text) = std::str::from_utf8(template) else { return };
    let template = match Template::parse(Path::new(text)) {
        Ok(template) => template,
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.hint().is_empty());
            return;
        }
    };
    let mut route = Route::default();
    let taken = template.route(line, &mut route);
    assert!(taken <= FIELD_LIMIT && taken <= line.len());
    assert!(taken == 0 || (template.has_field() && line[taken - 1] == b' '));
    for value in [&route.host, &route.log] {
        assert!(!value.is_empty() && value.len() <= 100 && !value.starts_with('.'));
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
    }
    let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
    let fits = template.fits(now, &TimeZone::UTC);
    let path = template.schedule(&route).first(now, &TimeZone::UTC).path;
    let below = path.strip_prefix(template.folder()).expect("files are in the folder");
    assert!(below.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
    assert!(below.components().next().is_some(), "{path:?}");
    assert!(!fits || below.iter().all(|part| part.len() <= 255), "{path:?}");
});
