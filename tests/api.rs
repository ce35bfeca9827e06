//! The table in the crate docs names every symbol of the Go package's API page.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

#[test]
fn the_table_of_names_is_complete() {
    let page: BTreeSet<&str> = include_str!("data/node-api-symbols.txt").lines().collect();
    let table = include_str!("../src/api.md");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut named = BTreeSet::new();
    for (symbol, ours) in rows {
        assert!(named.insert(symbol), "{symbol} stands there twice");
        assert!(ours.len() > 3, "{symbol} has no Rust item");
    }
    assert_eq!(named, page, "the table and the API page differ");
}
