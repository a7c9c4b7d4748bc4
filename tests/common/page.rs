//! docs/transfer.md, whose commands are what the tests run.

use std::fs;
use std::path::Path;

/// The page.
pub fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/transfer.md")).expect("the page is there")
}

/// The fenced blocks of the page whose opening fence is followed by `info`.
pub fn blocks(info: &str) -> Vec<String> {
    let (page, opening) = (page(), format!("\n```{info}\n"));
    let blocks = page.split(&opening).skip(1).map(|rest| rest.split_once("\n```").expect("the fence is closed").0.to_owned());
    blocks.collect()
}

/// As [`blocks`], where there is one.
pub fn block(info: &str) -> String {
    let mut blocks = blocks(info);
    assert_eq!(blocks.len(), 1, "{info}");
    blocks.remove(0)
}

/// A block with parts of it replaced, each of which must be there.
pub fn block_with(info: &str, parts: &[(&str, &str)]) -> String {
    parts.iter().fold(block(info), |block, (from, to)| {
        assert!(block.contains(from), "{info} has no {from}");
        block.replace(from, to)
    })
}
