//! Step 5: what runs on a rig, as pure states and parsers.
