//! Step 2: who a node is: keys, node id, shared secret, challenge and response, roles.
