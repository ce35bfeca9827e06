//! Step 5: one connection as a machine: handshake, inbound half, outbound half.
