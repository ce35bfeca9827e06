//! Permissions, pairings, marks and enrolments when the disk fails, the process is killed or the power goes at any change
//! of the disk: what was acknowledged holds, what was not is there wholly or not at all, and nobody is let in by a crash.

use super::*;
use crate::base::Rng;
use crate::identity::{Identity, Role, Rotation, SecretKey};
use crate::mesh::{MarksSnapshot, MarksTable};
use crate::peers::Enrolment;
use crate::runtime::clock::Clock;
use crate::runtime::files::faulty::{Fault, FaultyDisk};
use crate::runtime::files::marks::MarksFile;
use crate::runtime::pairing::Pairings;
use crate::session::handshake::{Asked, Established, SessionInfo, Side};
use crate::session::secure::Statement;
use std::io::ErrorKind;

const FAULTS: [Fault; 3] = [Fault::Fails(ErrorKind::StorageFull), Fault::Stops, Fault::PowerCut];

fn key(n: u64) -> PublicKey {
    SecretKey::generate(&mut Rng::from_number(n)).public_key()
}

/// Does something on a disk that has a fault at each change in turn, and looks at what is left with a good one.
fn at_every_fault<T>(
    mut prepare: impl FnMut(&Path),
    mut act: impl FnMut(Disk, &Path) -> T,
    mut judge: impl FnMut(&Path, T, &str),
) {
    let mut cases = 0;
    for n in 0..200 {
        let mut struck = false;
        for fault in FAULTS {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path());
            let faulty = FaultyDisk::with_fault(n, fault);
            let done = act(faulty.disk(), dir.path());
            struck |= faulty.has_struck();
            if fault == Fault::PowerCut {
                faulty.cut_power();
            }
            judge(dir.path(), done, &format!("{fault:?} at {n}"));
            cases += 1;
        }
        if !struck {
            assert!(cases > 15, "the disk was hardly used");
            return;
        }
    }
    panic!("it never ends");
}

fn good(folder: &Path) -> SharedRegistry {
    let (registry, warnings) = SharedRegistry::load(&folder.join("peers.json"), PeerAuthMode::Allowlist).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    registry
}

#[test]
fn a_grant_is_there_or_not_and_a_revoked_key_stays_out() {
    at_every_fault(
        |folder| {
            let registry = good(folder);
            registry.allow(&key(1), Grants::CONTROLLER, "test").unwrap();
            registry.allow(&key(2), Grants::OBSERVE, "test").unwrap();
        },
        |disk, folder| {
            let loaded = SharedRegistry::load_on(disk, &folder.join("peers.json"), PeerAuthMode::Allowlist);
            let Ok((registry, _)) = loaded else { return None };
            let revoked = registry.revoke(&key(1)).is_ok();
            assert_eq!(registry.admission(&key(1)), Admission::Revoked, "in force at once, whatever the disk says");
            let gift = Gift { grants: Grants::MANAGE, by: "test".to_owned(), ..Gift::default() };
            let granted = registry.grant(&key(2), gift).is_ok();
            let paired = registry.pair(&key(3), Some(Grants::OPERATE), &[3; 32]).is_ok();
            for (n, done, before) in [(2, granted, Grants::OBSERVE), (3, paired, Grants::NONE)] {
                let now = registry.grants(&key(n));
                assert_eq!(now == before, !done, "what was refused has changed nothing");
            }
            Some((revoked, granted, paired))
        },
        |folder, done, case| {
            let left = good(folder);
            let (revoked, granted, paired) = done.unwrap_or_default();
            match left.admission(&key(1)) {
                Admission::Revoked => {}
                Admission::Listed => assert!(!revoked, "{case}: a revocation was lost"),
                other => panic!("{case}: {other:?}"),
            }
            match left.grants(&key(2)) {
                Grants::MANAGE => {}
                Grants::OBSERVE => assert!(!granted, "{case}: a grant was lost"),
                other => panic!("{case}: {other}"),
            }
            let (admission, grants) = (left.admission(&key(3)), left.grants(&key(3)));
            match (admission, grants) {
                (Admission::Listed, Grants::OPERATE) => {
                    assert_eq!(left.inner().read().sign_key_of(&key(3)), Some([3; 32]), "{case}");
                    assert!(left.inner().read().access().is_secure(&key(3)), "{case}");
                }
                // Its permissions are written before it is let in.
                (Admission::Refused, _) => assert!(!paired, "{case}: a pairing was lost"),
                other => panic!("{case}: {other:?}"),
            }
        },
    );
}

#[test]
fn a_successor_is_in_its_place_or_its_predecessor_is_and_one_of_the_two_always_has_its_grants() {
    let node = |n| Identity::generate("boss", Role::Controller, wall(), &mut Rng::from_number(n)).unwrap();
    let (old, new) = (node(1), node(2));
    let said = Rotation::new(&old, &new, 1);
    let (x1, x2) = (old.public_key(), new.public_key());
    let of = |registry: &SharedRegistry, key: &PublicKey| (registry.admission(key), registry.grants(key));
    at_every_fault(
        |folder| {
            let registry = good(folder);
            registry.pair(&x1, Some(Grants::CONTROLLER), &old.sign_key().public()).unwrap();
            let peer =
                Peer { id: old.id().to_string(), name: "boss".into(), public_key: x1.to_base64(), ..Peer::default() };
            registry.add_peer(peer).unwrap();
        },
        |disk, folder| {
            let loaded = SharedRegistry::load_on(disk, &folder.join("peers.json"), PeerAuthMode::Allowlist);
            let Ok((registry, _)) = loaded else { return (false, false) };
            registry.inner().write().set_rotation_delay(Duration::ZERO);
            let told = registry.handle_rotation(&said, &x1, &old.sign_key().public()).is_ok();
            let followed = registry.note_successor_proven(&x2, &new.sign_key().public()).unwrap_or(false);
            assert_eq!(
                of(&registry, &x2).0 == Admission::Listed,
                followed,
                "what could not be saved has changed nothing"
            );
            (told, followed)
        },
        |folder, (told, followed), case| {
            let left = good(folder);
            let named = left.inner().read().succession(&x1);
            assert!(!told || named.is_some(), "{case}: a statement was lost");
            match (of(&left, &x1), of(&left, &x2)) {
                ((Admission::Listed, grants), (_, Grants::NONE)) => {
                    assert!(grants == Grants::CONTROLLER && !followed, "{case}: a successor was lost");
                }
                ((Admission::Revoked, Grants::NONE), (Admission::Listed, grants)) => {
                    assert_eq!(grants, Grants::CONTROLLER, "{case}");
                    let peer = left.peer(&new.id().to_string()).unwrap();
                    assert_eq!((peer.name.as_str(), left.list_peers().len()), ("boss", 1), "{case}");
                }
                other => panic!("{case}: {other:?}"),
            }
        },
    );
}

/// A rig that has proven itself.
fn established(n: u64) -> Established {
    let identity = Identity::generate(&format!("rig-{n}"), Role::Worker, wall(), &mut Rng::from_number(n)).unwrap();
    let statement = Statement::new(&identity, Vec::new(), 1 << 20);
    Established {
        side: Side::Responder,
        identity: identity.info().clone(),
        key: identity.public_key(),
        id: identity.id(),
        session: Some(SessionInfo { id: [1; 32], statement }),
    }
}

#[test]
fn a_use_of_an_enrolment_is_taken_before_the_rig_is_told() {
    let rig = established(5);
    at_every_fault(
        |folder| {
            let pairings = Pairings::load(Disk::real(), folder.join("enrol.json"), good(folder), None, Clock::start());
            pairings.unwrap().enrol(2, 1, Grants::CONTROLLER, &mut Rng::from_number(1)).unwrap();
        },
        |disk, folder| {
            let loaded = SharedRegistry::load_on(disk.clone(), &folder.join("peers.json"), PeerAuthMode::Allowlist);
            let Ok((registry, _)) = loaded else { return false };
            let pairings = Pairings::load(disk, folder.join("enrol.json"), registry, None, Clock::start()).unwrap();
            let (_, attempt) = pairings.begin([10, 0, 0, 1].into(), &rig.key, Asked::Enrol).unwrap();
            attempt.accept(&rig).is_ok()
        },
        |folder, told, case| {
            let left = Enrolment::decode(&std::fs::read(folder.join("enrol.json")).unwrap()).unwrap();
            assert!((left.uses == 1) == left.has(&rig.key), "{case}");
            let listed = good(folder).admission(&rig.key) == Admission::Listed;
            assert!(!listed || left.uses == 1, "{case}: it came for nothing");
            assert!(!told || listed, "{case}: it was told and is not known");
            // Whatever was left, it may come again, and is one rig.
            let pairings =
                Pairings::load(Disk::real(), folder.join("enrol.json"), good(folder), None, Clock::start()).unwrap();
            let (_, attempt) = pairings.begin([10, 0, 0, 1].into(), &rig.key, Asked::Enrol).unwrap();
            attempt.accept(&rig).unwrap();
            assert_eq!(
                (pairings.enrolment().unwrap().uses, pairings.enrolment().unwrap().rigs.len()),
                (1, 1),
                "{case}"
            );
        },
    );
}

#[test]
fn marks_are_the_old_or_the_new_ones_and_never_older_than_what_was_acknowledged() {
    let snapshot = |version: u64, mark: u64| MarksSnapshot {
        version,
        text: format!(r#"{{"own":"2027-01-15T08:00:0{mark}Z","keys":{{}}}}"#),
    };
    let saved = |folder: &Path| {
        let table: MarksTable = MarksFile::new(folder.join("freshness.json"), Disk::real()).load().unwrap();
        table.saved().map(|t| t.unix_seconds() % 10)
    };
    at_every_fault(
        |folder| MarksFile::new(folder.join("freshness.json"), Disk::real()).save(&snapshot(1, 1)).unwrap(),
        |disk, folder| {
            let file = MarksFile::new(folder.join("freshness.json"), disk);
            let first = file.save(&snapshot(2, 2)).is_ok();
            let second = file.save(&snapshot(3, 3)).is_ok();
            // One that was overtaken replaces nothing.
            let _ = file.save(&snapshot(2, 2));
            (first, second)
        },
        |folder, (first, second), case| {
            let least = if second {
                3
            } else if first {
                2
            } else {
                1
            };
            assert!(saved(folder).unwrap() >= least, "{case}: an acknowledged command would be taken again");
        },
    );
}
