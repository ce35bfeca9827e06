//! Step 2: who a node is: keys, node id, shared secret, challenge and response, roles
//! (mesh.md §1, secure-session.md §4).
//!
//! Its signing key has an [`Address`] in the DHT (dht.md §1).
//!
//! A node is its X25519 key; the node id is derived from it and proves nothing by itself. Everything
//! that admits or permits goes by the whole [`PublicKey`].

mod address;
mod address_text;
mod challenge;
mod keys;
mod lately;
mod node;
mod rotation;
mod sealed;
mod sign;

pub use address::Address;
pub(crate) use challenge::hmac_sha256;
pub use challenge::{CHALLENGE_BYTES, generate_challenge, sign_challenge, verify_challenge};
pub use keys::{NodeId, PublicKey, SecretKey, SharedSecret, derive_shared_secret};
pub(crate) use lately::Binds;
pub use node::{Identity, NodeIdentity, ROLE_BYTES_MAX, Role};
pub use rotation::Rotation;
pub use sealed::{KeyCost, KeyKind, PASSPHRASE_BYTES_MAX, Passphrase, SEALED_KEY_BYTES, SealedKey};
pub use sign::{SignKey, verify_bind, verify_signature};
