//! Real miner processes: supervision, their HTTP API, the built-in hasher.
