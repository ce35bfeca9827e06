//! The tables in the docs name every symbol of the Go packages' API pages.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

#[test]
fn the_table_of_names_is_complete() {
    is_complete(include_str!("data/node-api-symbols.txt"), include_str!("../src/api.md"));
}

#[test]
fn the_table_of_the_names_of_the_dht_is_complete() {
    is_complete(include_str!("data/dht-api-symbols.txt"), include_str!("../src/api_dht.md"));
}

fn is_complete(page: &str, table: &str) {
    let page: BTreeSet<&str> = page.lines().collect();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut named = BTreeSet::new();
    for (symbol, ours) in rows {
        assert!(named.insert(symbol), "{symbol} stands there twice");
        assert!(ours.len() > 3, "{symbol} has no Rust item");
    }
    assert_eq!(named, page, "the table and the API page differ");
}
