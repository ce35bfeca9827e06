//! What several test programs share.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The stand-in for XMRig: the newest `fake_xmrig-*` among the test programs, where cargo builds
/// `tests/fake_xmrig.rs` together with all others.
///
/// # Panics
/// When it has never been built, as after `cargo test --test miners` on a fresh clone.
#[allow(dead_code)]
pub(crate) fn fake_xmrig() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    let folder = own.parent().expect("the folder of the test programs");
    let programs = std::fs::read_dir(folder).expect("the test programs").flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("fake_xmrig-") && (!name.contains('.') || name.ends_with(".exe"))
    });
    let newest = programs.max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok());
    newest.expect("no fake_xmrig: run `cargo test --test fake_xmrig` once").path()
}

/// Waits until `done` holds, looking often; after `seconds` the test fails, saying what it waited for.
///
/// # Panics
/// When the time is over.
#[allow(dead_code)]
pub(crate) fn eventually(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        assert!(Instant::now() < until, "waited {seconds} s in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
