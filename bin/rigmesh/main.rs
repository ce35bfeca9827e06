//! The `rigmesh` binary.

fn main() {}
