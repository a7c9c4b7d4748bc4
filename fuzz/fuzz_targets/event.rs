//! Lines of logs: any bytes give an event whose message is the end of the line, and whose names are known.
#![no_main]

use std::sync::LazyLock;

use jiff::tz::{Offset, TimeZone};
use libfuzzer_sys::fuzz_target;
use sealedlog::audit::event::{Context, Field, Format, Kind, Value, parse};

/// Two logs, one of which leaves nothing to the lines.
static CONTEXTS: LazyLock<[Context; 2]> = LazyLock::new(|| {
    let sealed = "2026-01-31T12:00:00Z".parse().ok();
    let zone = TimeZone::fixed(Offset::from_hours(2).expect("a zone"));
    [Context { sealed, zone, log: "apt/history.log".to_owned() }, Context::default()]
});

fuzz_target!(|line: &[u8]| {
    for context in &*CONTEXTS {
        let event = parse(line, context);
        let end = line.strip_suffix(b"\n").unwrap_or(line);
        let end = end.strip_suffix(b"\r").unwrap_or(end);
        assert!(end.ends_with(event.message), "a message that is not the end of its line");
        assert!(event.format != Format::Unknown || event.message == end && event.fields.is_empty() && event.time.is_none());
        // The shortest field has two bytes of a line; text without UTF-8 grows, by as much as three times.
        assert!(event.fields.len() <= 8 + end.len());
        for (name, value) in event.ecs() {
            let field = Field::ALL.iter().find(|field| field.name() == name).expect("a name of the list");
            let kind = match &value {
                Value::Text(text) => {
                    assert!(text.len() <= 64 + 3 * end.len());
                    Kind::Text
                }
                Value::Number(_) => Kind::Number,
                Value::Ip(_) => Kind::Ip,
                Value::Time(_) => Kind::Time,
            };
            assert_eq!(field.kind(), kind, "{name}");
        }
    }
});
