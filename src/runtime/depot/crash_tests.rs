//! Every change of the disk fails, or is the last one, or is the last one before the power goes: after reopening, the
//! table "stopped at / after restart" of chunked-deploy.md holds, and a new offer completes byte for byte.

use super::incoming::Offer;
use super::tests::{Object, Rig, folder, object, open};
use super::*;
use crate::base::Result;
use crate::miners::trial::TrialRecord;
use crate::runtime::files::disk::Disk;
use crate::runtime::files::faulty::{Fault, FaultyDisk, snapshot};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

const FAULTS: [Fault; 4] =
    [Fault::Fails(ErrorKind::StorageFull), Fault::Fails(ErrorKind::Other), Fault::Stops, Fault::PowerCut];

/// A rig that runs version 1 and has proved it.
fn with_version_one(data: &Path, one: &Object) {
    let mut rig = open(data, &Disk::real(), &DepotLimits::default()).unwrap();
    rig.deploy(one).unwrap();
    rig.slots.pass_trial("miner", 1).unwrap();
}

/// Names in a folder that is there or not.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs `story` once for every change it makes and every fault at that change, in a fresh folder each time, and
/// hands the reopened rig to `after` with what the story came to.
fn at_every_change(
    prepare: impl Fn(&Path),
    story: impl Fn(&Path, &Disk) -> Result<()>,
    after: impl Fn(&str, &Path, Rig, Result<()>),
) {
    let (dir, counter) = (folder(), FaultyDisk::new());
    prepare(dir.path());
    story(dir.path(), &counter.disk()).unwrap();
    assert!(counter.changes() > 5, "{} changes", counter.changes());
    for n in 0..counter.changes() {
        for fault in FAULTS {
            let (dir, faulty) = (folder(), FaultyDisk::with_fault(n, fault));
            prepare(dir.path());
            let result = story(dir.path(), &faulty.disk());
            assert!(faulty.has_struck());
            if fault == Fault::PowerCut {
                faulty.cut_power();
            }
            let what = format!("{fault:?} at change {n} of {}: {result:?}", counter.changes());
            let rig = open(dir.path(), &Disk::real(), &DepotLimits::default()).unwrap();
            after(&what, dir.path(), rig, result);
        }
    }
}

/// What holds after any stop of a deploy of `two` over `one`, and that it can be completed.
fn check(what: &str, data: &Path, mut rig: Rig, result: &Result<()>, one: &Object, two: &Object) {
    let slot = data.join("slots/miner");
    let current = rig.current("miner");
    let numbers: BTreeSet<String> = rig.slots.versions(None).iter().map(|v| v.number.to_string()).collect();
    // No half of anything is left after the reopening.
    let pointer = BTreeSet::from(["current".to_owned()]);
    assert!(names(&slot).is_subset(&(&numbers | &pointer)), "{what}: {:?}", names(&slot));
    let id = two.id().to_string();
    assert!(names(&data.join("incoming")).is_subset(&BTreeSet::from([id])), "{what}");
    assert!(one.is_at(data, 1), "{what}: the old version is untouched");
    assert!(numbers.iter().filter(|n| *n != "1").all(|n| two.is_at(data, n.parse().unwrap())), "{what}");
    assert!(current == 1 || numbers.len() == 2 && two.is_at(data, current), "{what}: runs {current}");
    assert!(result.is_err() || current != 1, "{what}: it was said to run");
    let offer = rig.offer(two).unwrap();
    if numbers.len() == 2 {
        assert!(matches!(offer, Offer::Installed { .. }), "{what}: {offer:?}");
        assert!(names(&data.join("incoming")).is_empty(), "{what}");
    } else {
        assert!(matches!(offer, Offer::Need { .. } | Offer::Have), "{what}: {offer:?}");
    }
    let (n, _) = rig.deploy(two).unwrap();
    assert!(rig.current("miner") == n && two.is_at(data, n), "{what}");
    assert!(names(&data.join("incoming")).is_empty(), "{what}");
    assert_eq!(rig.slots.rollback("miner", None), Ok(1), "{what}");
}

fn objects(files: &[(&str, usize, u64)]) -> (Object, Object) {
    (object("miner", "1", &[("bin/miner", 90_000, 1), ("lib.so", 40_000, 7)]), object("miner", "2", files))
}

#[test]
fn a_deploy_of_many_files_may_be_stopped_anywhere() {
    // The library is copied from version 1.
    let (one, two) = objects(&[("bin/miner", 150_000, 2), ("lib/lib.so", 40_000, 7), ("readme", 100, 3)]);
    at_every_change(
        |data| with_version_one(data, &one),
        |data, disk| open(data, disk, &DepotLimits::default())?.deploy(&two).map(drop),
        |what, data, rig, result| check(what, data, rig, &result, &one, &two),
    );
}

#[test]
fn a_deploy_of_one_file_may_be_stopped_anywhere() {
    let (one, two) = objects(&[("miner", 150_000, 2)]);
    at_every_change(
        |data| with_version_one(data, &one),
        |data, disk| open(data, disk, &DepotLimits::default())?.deploy(&two).map(drop),
        |what, data, rig, result| check(what, data, rig, &result, &one, &two),
    );
}

#[test]
fn a_first_deploy_into_an_empty_folder_may_be_stopped_anywhere() {
    let (_, two) = objects(&[("bin/miner", 70_000, 2), ("x", 1, 3)]);
    at_every_change(
        |_| (),
        |data, disk| open(data, disk, &DepotLimits::default())?.deploy(&two).map(drop),
        |what, data, mut rig, result| {
            let current = rig.current("miner");
            assert!(current == 0 || two.is_at(data, current), "{what}");
            assert!(result.is_err() || current != 0, "{what}");
            let (n, _) = rig.deploy(&two).unwrap();
            assert!(rig.current("miner") == n && two.is_at(data, n), "{what}");
            assert!(names(&data.join("incoming")).is_empty(), "{what}");
            assert!(names(&data.join("slots/miner")).len() == 2, "{what}");
        },
    );
}

#[test]
fn a_resume_may_be_stopped_anywhere() {
    let (one, two) = objects(&[("bin/miner", 150_000, 2), ("readme", 100, 3)]);
    at_every_change(
        |data| {
            with_version_one(data, &one);
            let mut rig = open(data, &Disk::real(), &DepotLimits::default()).unwrap();
            rig.offer(&two).unwrap();
            rig.depot.store(&two.id(), 1, two.chunk(1)).unwrap();
            // And an install that a kill cut short.
            std::fs::create_dir(data.join("slots/miner").join(format!(".new-{}", two.id()))).unwrap();
        },
        |data, disk| open(data, disk, &DepotLimits::default())?.deploy(&two).map(drop),
        |what, data, rig, result| check(what, data, rig, &result, &one, &two),
    );
}

#[test]
fn a_process_that_lives_on_after_a_failed_write_can_try_again() {
    let (one, two) = objects(&[("bin/miner", 150_000, 2), ("lib/lib.so", 40_000, 7)]);
    let (dir, counter) = (folder(), FaultyDisk::new());
    with_version_one(dir.path(), &one);
    let mut rig = open(dir.path(), &counter.disk(), &DepotLimits::default()).unwrap();
    let opening = counter.changes();
    rig.deploy(&two).unwrap();
    for n in opening..counter.changes() {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            let (dir, faulty) = (folder(), FaultyDisk::with_fault(n, Fault::Fails(kind)));
            with_version_one(dir.path(), &one);
            let mut rig = open(dir.path(), &faulty.disk(), &DepotLimits::default()).unwrap();
            let first = rig.deploy(&two);
            assert!(faulty.has_struck());
            let current = rig.current("miner");
            assert!(current == 1 || two.is_at(dir.path(), current), "{kind:?} at {n}: {first:?}");
            let (number, _) = rig.deploy(&two).unwrap_or_else(|e| panic!("{kind:?} at {n}: {first:?}, then {e}"));
            assert!(rig.current("miner") == number && two.is_at(dir.path(), number), "{kind:?} at {n}");
            assert!(names(&dir.path().join("incoming")).is_empty(), "{kind:?} at {n}");
            let reopened = open(dir.path(), &Disk::real(), &DepotLimits::default()).unwrap();
            assert_eq!(reopened.current("miner"), number, "{kind:?} at {n}");
        }
    }
}

#[test]
fn an_offer_that_fails_leaves_nothing_that_takes_room() {
    let two = object("miner", "2", &[("bin/miner", 150_000, 2), ("x", 5, 3)]);
    let (dir, counter) = (folder(), FaultyDisk::new());
    let mut rig = open(dir.path(), &counter.disk(), &DepotLimits::default()).unwrap();
    let opening = counter.changes();
    rig.offer(&two).unwrap();
    let mut refused = 0;
    for n in opening..counter.changes() {
        let (dir, faulty) = (folder(), FaultyDisk::with_fault(n, Fault::Fails(ErrorKind::StorageFull)));
        let mut rig = open(dir.path(), &faulty.disk(), &DepotLimits::default()).unwrap();
        match rig.offer(&two) {
            Ok(Offer::Refused(why)) => {
                assert!(why.starts_with("no space: need 150005, free "), "{why}");
                refused += 1;
            }
            other => assert!(other.is_err(), "at {n}: {other:?}"),
        }
        assert!(names(&dir.path().join("incoming")).is_empty(), "at {n}");
        assert!(matches!(rig.offer(&two), Ok(Offer::Need { .. })), "at {n}");
    }
    assert!(refused >= 1, "the reservation");
}

#[test]
fn a_switch_a_rollback_and_a_trial_may_be_stopped_anywhere() {
    let (one, two) = objects(&[("miner", 1000, 2)]);
    at_every_change(
        |data| {
            with_version_one(data, &one);
            open(data, &Disk::real(), &DepotLimits::default()).unwrap().deploy(&two).unwrap();
        },
        |data, disk| {
            let rig = open(data, disk, &DepotLimits::default())?;
            rig.slots.save_trial("miner", 2, TrialRecord { launches: 1, ..TrialRecord::default() })?;
            rig.slots.rollback("miner", None)?;
            rig.slots.activate("miner", 2)?;
            assert_eq!(
                rig.slots.fail_trial("miner", 2, "why", false),
                Some(1),
                "it goes back even if that cannot be written"
            );
            Ok(())
        },
        |what, data, rig, _| {
            let current = rig.current("miner");
            assert!(current == 1 || current == 2, "{what}");
            assert!(one.is_at(data, 1) && two.is_at(data, 2), "{what}");
            let left = names(&data.join("slots/miner"));
            assert!(left == ["1", "2", "current"].map(str::to_owned).into(), "{what}: {left:?}");
            if current == 2 {
                assert!(rig.slots.trial("miner", 2).is_some(), "{what}: it still has to prove itself");
            }
        },
    );
}

#[test]
fn removing_old_versions_and_objects_may_be_stopped_anywhere() {
    let version = |i: u64| object("miner", &i.to_string(), &[("m", 70_000, i), ("n", 10, i)]);
    let limits = DepotLimits { versions_kept: 1, incoming_bytes_max: 100_000, ..DepotLimits::default() };
    at_every_change(
        |data| {
            let mut rig = open(data, &Disk::real(), &DepotLimits::default()).unwrap();
            for i in 1..=4 {
                rig.deploy(&version(i)).unwrap();
            }
            rig.offer(&version(9)).unwrap();
        },
        // Makes room for what comes in, and keeps the current version and the one before.
        |data, disk| open(data, disk, &limits)?.deploy(&version(5)).map(drop),
        |what, data, mut rig, result| {
            let current = rig.current("miner");
            assert!(current == 4 || current == 5 || current == 6, "{what}");
            assert!(result.is_err() || current == 5, "{what}");
            for row in rig.slots.versions(None) {
                let i = if row.number >= 5 { 5 } else { row.number.into() };
                assert!(version(i).is_at(data, row.number), "{what}: version {}", row.number);
            }
            let known: BTreeSet<String> = [5, 9].map(|i| version(i).id().to_string()).into();
            assert!(names(&data.join("incoming")).is_subset(&known), "{what}");
            let (n, _) = rig.deploy(&version(5)).unwrap();
            assert!(version(5).is_at(data, n), "{what}");
        },
    );
}

#[test]
fn nothing_outside_the_data_folder_is_touched() {
    let (parent, two) = (folder(), object("miner", "2", &[("bin/miner", 70_000, 2)]));
    let data = parent.path().join("data");
    std::fs::write(parent.path().join("precious"), "p").unwrap();
    for n in 0..60 {
        for fault in FAULTS {
            let faulty = FaultyDisk::with_fault(n, fault);
            let _ = open(&data, &faulty.disk(), &DepotLimits::default()).and_then(|mut rig| rig.deploy(&two));
            std::fs::remove_dir_all(&data).ok();
            let left: Vec<_> = snapshot(parent.path()).into_iter().map(|(name, _, bytes)| (name, bytes)).collect();
            assert_eq!(left, [("precious".to_owned(), b"p".to_vec())], "{fault:?} at {n}");
        }
    }
}
