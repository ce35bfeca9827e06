//! Step 5: the registry of peers: scores, selection, allowlist, permissions.
