//! Step 3: the messages of mesh protocol 1.0 (mesh.md §2).
