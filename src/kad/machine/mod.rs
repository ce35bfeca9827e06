//! The DHT node as one machine.

mod lookup;
