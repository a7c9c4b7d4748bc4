//! The verdict of the verification in plain words.
#![forbid(unsafe_code)]

use crate::audit::finding::{Kind, Summary};

/// In one sentence, and what it means.
pub fn verdict(summary: &Summary) -> (&'static str, &'static str) {
    match summary {
        Summary { records: 0, .. } => {
            ("Nothing could be opened.", "No record opened with the keys that were given, so nothing can be said of these files.")
        }
        Summary { alarms: 1.., .. } => (
            "The logs are not what was sealed.",
            "Records were changed, removed, added or moved after they had been sealed, or files were damaged. Each place is named below. \
             What is not named is as it was sealed.",
        ),
        Summary { anchored: false, .. } => (
            "The logs fit together, but nothing that is trusted vouches for them.",
            "Every record is where the files themselves say that it belongs. Who controlled the server before the first record could have \
             made all of it. Give the fingerprint from paper, or the ledger, to know more.",
        ),
        Summary { warnings: 1.., .. } => (
            "The logs are what was sealed, with remarks.",
            "Every record that is there is as it was sealed, in its place. The remarks below say what the data itself explains, or what cannot \
             be decided from it.",
        ),
        _ => ("The logs are what was sealed.", "Every record is as it was sealed, in its place, and none is missing."),
    }
}

/// What a kind of finding means.
pub fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::Altered => "A record was changed.",
        Kind::Missing => "Records that were sealed are not there.",
        Kind::Duplicated => "The same record stands there again.",
        Kind::Reordered => "A record stands in another place than it was written to.",
        Kind::Foreign => "A record that no writer of a known log sealed.",
        Kind::Truncated => "The end of what was written was cut off.",
        Kind::Forked => "Two different records prove the same place: the log was rewritten from an older state.",
        Kind::Replaced => "A log was begun anew in the place of another.",
        Kind::Unmarked => "The mark that was asked for is not there.",
        Kind::Absent => "A log that should be there has no sealed record.",
        Kind::Silent => "A log that should be there has said nothing for longer than it may.",
        Kind::Unsealed => "A log that should be sealed is there in plain text.",
        Kind::Ledger => "The ledger is not the one that was written last.",
        Kind::Garbage => "Bytes that are no record.",
        Kind::Torn => "A write that did not end, as a crash leaves it.",
        Kind::Unproven => "Whether something is missing cannot be decided.",
        Kind::Unanchored => "Nothing that is trusted vouches for this log.",
        Kind::Gap => "Lines were dropped before they were sealed, and counted.",
        Kind::Recipients => "The keys were changed, by the server's own program.",
        Kind::Ephemeral => "The state could not be kept, and a stream without it stood in.",
    }
}
