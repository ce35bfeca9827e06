//! Secure sessions between real processes: used by default, never given up in silence.

use super::user::{Folder, Pair};

#[test]
fn sessions_are_secure_by_default_and_the_way_back_is_the_owners_alone() {
    let pair = Pair::new();
    let status = |pair: &Pair| pair.controller.rows(&["status", "rig-1"]).remove(0);
    assert_eq!(status(&pair)["secure"], true);
    assert_eq!(pair.controller.rows(&["peers", "list"])[0]["secure"], true);
    assert_eq!(pair.rig.rows(&["peers", "list"])[0]["secure"], true);

    // The rig goes back to 1.0, or somebody has taken its place: the owner's side notices, also after restarts.
    pair.rig.write("config.json", r#"{"secure": false}"#);
    let pair = pair.restarted(|daemon| daemon.kill());
    let refused = pair.controller.run(&["status", "rig-1"]);
    assert_ne!(refused.code, 0);
    assert!(format!("{refused:?}").contains("downgrade refused"), "{refused:?}");
    pair.controller.run(&["peers", "allow-plain", "rig-1"]).ok();
    assert_eq!(status(&pair)["secure"], false);
    let text = pair.controller.run(&["status", "rig-1"]).ok();
    let again = pair.controller.run(&["peers", "allow-plain", "rig-1"]);
    assert_eq!(again.code, 1, "{again:?} {text:?}");

    // And forward again, by itself.
    pair.rig.write("config.json", "{}");
    let pair = pair.restarted(|daemon| daemon.kill());
    assert_eq!(status(&pair)["secure"], true);
}

#[test]
fn a_rig_that_requires_sessions_refuses_a_controller_without_and_says_why() {
    let (rig, boss) = (Folder::init("worker", "rig-1"), Folder::init("controller", "boss"));
    rig.run(&["peers", "allow", &boss.key(), "--grant", "controller"]).ok();
    let daemon = rig.serve_with(&["--require-secure"]);
    boss.run(&["peers", "add", &daemon.address(), "--key", &rig.key(), "--name", "rig-1"]).ok();
    assert_eq!(boss.rows(&["status"])[0]["secure"], true);
    boss.write("config.json", r#"{"secure": false}"#);
    let refused = boss.run(&["status"]);
    assert!(format!("{refused:?}").contains("secure session required"), "{refused:?}");
    boss.write("config.json", r#"{"secure": false, "require_secure": true}"#);
    boss.run(&["status"]).fails(3, &["require_secure cannot be without secure"]);
}
