//! Step 8: the handles an embedding program holds.
