//! Step 6: the node as one machine, owned by the dispatcher thread.
