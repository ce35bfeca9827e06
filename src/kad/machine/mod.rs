//! The DHT node as one machine.

mod calls;
mod lookup;
mod sources;
