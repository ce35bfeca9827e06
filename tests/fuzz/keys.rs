//! Laws of keys under a pass-phrase.

use rigmesh::identity::{KeyCost, KeyKind, Passphrase, SEALED_KEY_BYTES, SealedKey};

/// What is read is written again as itself and keeps to the bounds; a key made of thin air never opens.
pub fn sealed(bytes: &[u8]) -> bool {
    assert!(bytes.len() != 32 || !SealedKey::is_begun(bytes), "a plain key may be any 32 bytes");
    let Ok(key) = SealedKey::decode(bytes) else { return false };
    assert!(SealedKey::is_begun(bytes) && bytes.len() == SEALED_KEY_BYTES);
    assert_eq!(key.encode(), bytes);
    let (memory_kib, passes, lanes) = key.cost().numbers();
    assert_eq!(KeyCost::new(memory_kib, passes, lanes), Ok(key.cost()));
    if memory_kib <= 256 && passes <= 4 {
        let passphrase = Passphrase::from_bytes(b"no such key").unwrap();
        assert!(key.open(KeyKind::X25519, &passphrase).is_err());
    }
    true
}

/// A key with half as many lanes as levels, rounded up.
pub fn with_lanes(levels: usize) -> Vec<u8> {
    let mut file = super::corpus("sealed_key").swap_remove(0);
    file[13..17].copy_from_slice(&128u32.to_be_bytes());
    file[18] = u8::try_from(levels.div_ceil(2)).unwrap_or(u8::MAX);
    file
}
