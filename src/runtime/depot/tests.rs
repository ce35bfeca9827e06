//! Offers, chunks, versions and limits on a disk that works.

use super::incoming::{Depot, Offer, Stored};
use super::*;
use crate::base::{Error, Rng, Timestamp};
use crate::bundle::{ManifestBuilder, OBJECT_BYTES_MAX, ObjectId, ObjectManifest};
use crate::identity::PublicKey;
use crate::miners::trial::TrialRecord;
use crate::runtime::files::disk::Disk;
use crate::runtime::files::faulty::{FaultyDisk, snapshot};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A folder in memory where there is one: these tests sync a lot.
pub(super) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_unix(1_800_000_000, 0)
}

pub(super) fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32]).unwrap()
}

/// An object with all its bytes.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) manifest: ObjectManifest,
    pub(super) bytes: Vec<u8>,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

/// The first file is the main one. Content: `size` random bytes from `seed`.
pub(super) fn object(name: &str, version: &str, files: &[(&str, usize, u64)]) -> Object {
    let mut builder = ManifestBuilder::new(name, version).unwrap();
    let (mut all, mut kept) = (Vec::new(), Vec::new());
    for (path, size, seed) in files {
        let mut bytes = vec![0; *size];
        Rng::from_number(*seed).fill(&mut bytes);
        builder.begin_file(path, false).unwrap();
        builder.push_bytes(&bytes).unwrap();
        all.extend(&bytes);
        kept.push(((*path).to_owned(), bytes));
    }
    Object { manifest: builder.finish(files[0].0).unwrap(), bytes: all, files: kept }
}

impl Object {
    pub(super) fn id(&self) -> ObjectId {
        self.manifest.id()
    }

    pub(super) fn chunk(&self, index: u32) -> &[u8] {
        let (start, length) = self.manifest.chunk_place(index).unwrap();
        &self.bytes[start as usize..][..length as usize]
    }

    /// Whether version `n` lies in the data folder byte for byte, with its modes.
    pub(super) fn is_at(&self, data: &Path, n: u32) -> bool {
        let version = data.join("slots").join(self.manifest.name()).join(n.to_string());
        self.files.iter().all(|(path, bytes)| {
            let path = version.join(path);
            let mode = if path.ends_with(self.manifest.main()) { 0o755 } else { 0o644 };
            std::fs::read(&path).is_ok_and(|found| found == *bytes)
                && path.metadata().unwrap().permissions().mode() & 0o7777 == mode
        })
    }
}

/// A rig's data folder, opened.
pub(super) struct Rig {
    pub(super) slots: Arc<Slots>,
    pub(super) depot: Depot,
}

pub(super) fn open(data: &Path, disk: &Disk, limits: &DepotLimits) -> crate::base::Result<Rig> {
    let slots = Arc::new(Slots::open_on(data, limits, disk)?);
    let depot = Depot::open(data, limits, disk, Arc::clone(&slots), now())?;
    Ok(Rig { slots, depot })
}

impl Rig {
    pub(super) fn offer(&mut self, object: &Object) -> crate::base::Result<Offer> {
        self.depot.offer(&object.id(), object.manifest.text(), &key(9), OBJECT_BYTES_MAX, now())
    }

    /// All of a deploy; the version's number and how many chunks were sent.
    pub(super) fn deploy(&mut self, object: &Object) -> crate::base::Result<(u32, u32)> {
        let (id, mut sent) = (object.id(), 0);
        let n = match self.offer(object)? {
            Offer::Refused(why) => return Err(Error::Failed(why)),
            Offer::Installed { slot } => slot,
            Offer::Have => self.depot.install(&id, now())?,
            Offer::Need { missing, .. } => {
                for index in missing.iter().flat_map(|(first, count)| *first..first + count) {
                    assert!(matches!(self.depot.store(&id, index, object.chunk(index))?, Stored::Kept { .. }));
                    sent += 1;
                }
                self.depot.install(&id, now())?
            }
        };
        self.slots.activate(object.manifest.name(), n)?;
        self.depot.finish(&id)?;
        Ok((n, sent))
    }

    pub(super) fn current(&self, name: &str) -> u32 {
        self.slots.current(name).map_or(0, |program| program.number)
    }
}

fn rig(data: &Path) -> Rig {
    open(data, &Disk::real(), &DepotLimits::default()).unwrap()
}

fn simple(version: &str, seed: u64) -> Object {
    object("miner", version, &[("bin/miner", 100_000, seed)])
}

#[test]
fn a_deploy_installs_and_switches_byte_for_byte_and_leaves_nothing_incoming() {
    let dir = folder();
    let mut rig = rig(dir.path());
    let one = object("xmrig", "6.22.2", &[("bin/xmrig", 200_000, 1), ("bin/lib.so", 70_000, 2), ("empty", 0, 3)]);
    assert_eq!(rig.deploy(&one), Ok((1, 5)));
    assert!(one.is_at(dir.path(), 1));
    let program = rig.slots.current("xmrig").unwrap();
    assert_eq!((program.number, program.label.as_str()), (1, "6.22.2"));
    assert_eq!(program.main, dir.path().join("slots/xmrig/1/bin/xmrig"));
    assert_eq!(snapshot(&dir.path().join("incoming")).len(), 0);
    assert_eq!(rig.offer(&one), Ok(Offer::Installed { slot: 1 }));
    let versions = rig.slots.versions(None);
    assert_eq!((versions.len(), versions[0].object, &versions[0].state), (1, Some(one.id()), &VersionState::Trial));
}

#[test]
fn only_what_the_rig_does_not_have_is_asked_for() {
    let dir = folder();
    let mut rig = rig(dir.path());
    let one = object("xmrig", "1", &[("bin/xmrig", 200_000, 1), ("lib.so", 300_000, 2)]);
    rig.deploy(&one).unwrap();
    // The library is the same, elsewhere in the object and under another name.
    let two = object("other", "2", &[("other", 131_072, 5), ("deep/lib.so", 300_000, 2), ("x", 10, 6)]);
    let Offer::Need { missing, missing_bytes } = rig.offer(&two).unwrap() else { panic!() };
    assert_eq!((missing, missing_bytes), (vec![(0, 2), (6, 1)], 131_072 + 300_000 % 65_536 + 10));
    rig.depot.let_go(&two.id());
    assert_eq!(rig.deploy(&two), Ok((1, 3)));
    assert!(two.is_at(dir.path(), 1));
    // Nothing new at all: nothing is asked for.
    let three = object("third", "1", &[("a/lib", 300_000, 2), ("b/lib", 200_000, 1)]);
    assert_eq!(rig.offer(&three), Ok(Offer::Have));
    assert_eq!(rig.deploy(&three), Ok((1, 0)));
    assert!(three.is_at(dir.path(), 1));
    // What was changed behind our back is not taken for what it was.
    std::fs::write(dir.path().join("slots/third/1/a/lib"), vec![7; 300_000]).unwrap();
    std::fs::write(dir.path().join("slots/other/1/deep/lib.so"), vec![7; 300_000]).unwrap();
    std::fs::write(dir.path().join("slots/xmrig/1/lib.so"), vec![7; 300_000]).unwrap();
    let Offer::Need { missing_bytes, .. } = rig.offer(&three).unwrap() else { panic!() };
    assert!(missing_bytes >= 300_000);
    assert_eq!(rig.deploy(&three).unwrap().0, 2, "a damaged version is no version");
    assert!(three.is_at(dir.path(), 2));
}

#[test]
fn a_transfer_goes_on_where_it_stopped_and_wrong_chunks_are_dropped() {
    let dir = folder();
    let object = object("m", "1", &[("m", 300_000, 1), ("n", 5, 2)]);
    let id = object.id();
    let mut first = rig(dir.path());
    assert!(matches!(first.depot.store(&id, 0, object.chunk(0)), Err(Error::NotFound(_))));
    first.offer(&object).unwrap();
    assert_eq!(first.depot.store(&id, 3, object.chunk(3)), Ok(Stored::Kept { missing: 4 }));
    assert_eq!(first.depot.store(&id, 3, object.chunk(3)), Ok(Stored::Kept { missing: 4 }));
    for (index, bytes) in [(0, object.chunk(1)), (0, &object.chunk(0)[1..]), (5, object.chunk(0)), (u32::MAX, b"")] {
        assert_eq!(first.depot.store(&id, index, bytes), Ok(Stored::WrongHash));
    }
    first.depot.store(&id, 4, object.chunk(4)).unwrap();
    assert!(first.depot.install(&id, now()).is_err());
    let half = Ok(Offer::Need { missing: vec![(0, 3)], missing_bytes: 3 * 65_536 });
    assert_eq!(first.offer(&object), half, "asked while it is open");
    drop(first);
    let mut second = rig(dir.path());
    assert_eq!(second.offer(&object), half);
    // What lies there counts only if it fits.
    second.depot.let_go(&id);
    let data = dir.path().join("incoming").join(id.to_string()).join("data");
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[3 * 65_536] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    assert_eq!(second.offer(&object), Ok(Offer::Need { missing: vec![(0, 4)], missing_bytes: 4 * 65_536 }));
    assert_eq!(second.deploy(&object), Ok((1, 4)));
    assert!(object.is_at(dir.path(), 1));
}

#[test]
fn a_bad_offer_is_refused_in_the_protocols_words() {
    let dir = folder();
    let mut rig = rig(dir.path());
    let object = simple("1", 1);
    let mut refused = |id: &ObjectId, text: &str, max| match rig.depot.offer(id, text, &key(9), max, now()).unwrap() {
        Offer::Refused(why) => why,
        other => panic!("{other:?}"),
    };
    let text = object.manifest.text();
    assert_eq!(refused(&object.id(), text, 99_999), "too large");
    assert_eq!(refused(&ObjectId::of("x"), text, OBJECT_BYTES_MAX), "bad manifest: t");
    let bad = text.replace("\"bin/miner\"", "\"../miner\"");
    assert_eq!(refused(&ObjectId::of(&bad), &bad, OBJECT_BYTES_MAX), "bad manifest: files.path");
    assert!(snapshot(&dir.path().join("incoming")).is_empty());
}

#[test]
fn without_space_an_offer_is_refused_and_nothing_is_written() {
    let (dir, faulty) = (folder(), FaultyDisk::new());
    let limits = DepotLimits { reserve_bytes: 1_000_000, ..DepotLimits::default() };
    let mut rig = open(dir.path(), &faulty.disk(), &limits).unwrap();
    let (one, two) = (simple("1", 1), object("m", "1", &[("m", 100_000, 1), ("n", 100_000, 2)]));
    faulty.set_free_bytes(1_099_999);
    assert_eq!(rig.offer(&one), Ok(Offer::Refused("no space: need 1100000, free 1099999".into())));
    faulty.set_free_bytes(1_399_999);
    assert_eq!(rig.offer(&two), Ok(Offer::Refused("no space: need 1400000, free 1399999".into())));
    assert!(snapshot(&dir.path().join("incoming")).is_empty());
    faulty.set_free_bytes(1_400_000);
    assert!(matches!(rig.offer(&two), Ok(Offer::Need { .. })));
    // The room of the open one is promised: it is to be copied yet.
    faulty.set_free_bytes(1_250_000);
    assert_eq!(rig.offer(&one), Ok(Offer::Refused("no space: need 1300000, free 1250000".into())));
    rig.depot.let_go(&two.id());
    faulty.set_free_bytes(1_200_000);
    assert!(matches!(rig.offer(&two), Ok(Offer::Need { .. })), "what is reserved is not needed again");
    // A quota of installed versions counts as well.
    let limits = DepotLimits { slots_bytes_max: 150_000, ..DepotLimits::default() };
    let mut rig = self::rig(dir.path());
    rig.deploy(&one).unwrap();
    let mut rig = open(dir.path(), &Disk::real(), &limits).unwrap();
    assert_eq!(rig.offer(&simple("2", 2)), Ok(Offer::Refused("no space: need 100000, free 50000".into())));
}

#[test]
fn the_oldest_incoming_objects_make_room_and_old_ones_expire() {
    let dir = folder();
    let limits = DepotLimits { incoming_bytes_max: 250_000, ..DepotLimits::default() };
    let mut rig = open(dir.path(), &Disk::real(), &limits).unwrap();
    let objects: Vec<Object> = (1..=4).map(|i| simple(&i.to_string(), i)).collect();
    let offer = |rig: &mut Rig, i: usize, days: u32| {
        let (object, at) = (&objects[i], now().plus(DAY * days));
        rig.depot.offer(&object.id(), object.manifest.text(), &key(9), OBJECT_BYTES_MAX, at).unwrap()
    };
    let there = || snapshot(&dir.path().join("incoming")).iter().filter(|(name, ..)| name.ends_with("data")).count();
    let lies = |i: usize| dir.path().join("incoming").join(objects[i].id().to_string()).exists();
    for i in 0..2 {
        assert!(matches!(offer(&mut rig, i, i as u32), Offer::Need { .. }));
    }
    // Both are open: none may leave.
    assert_eq!(offer(&mut rig, 2, 2), Offer::Refused("no space: need 100000, free 50000".into()));
    (0..2).for_each(|i| rig.depot.let_go(&objects[i].id()));
    assert!(matches!(offer(&mut rig, 2, 2), Offer::Need { .. }));
    assert!((!lies(0), lies(1), lies(2), there()) == (true, true, true, 2));
    rig.depot.let_go(&objects[2].id());
    assert!(rig.depot.expire(now().plus(DAY * 8)).is_empty());
    assert_eq!(rig.depot.expire(now().plus(DAY * 9)), [objects[1].id()]);
    drop(rig);
    let slots = Arc::new(Slots::open(dir.path(), &limits).unwrap());
    let depot = Depot::open(dir.path(), &limits, &Disk::real(), slots, now().plus(DAY * 10)).unwrap();
    assert!(!lies(2), "also at a start");
    drop(depot);
}

#[test]
fn a_revoked_keys_data_goes_at_once() {
    let dir = folder();
    let mut rig = rig(dir.path());
    let (one, two) = (simple("1", 1), simple("2", 2));
    rig.offer(&one).unwrap();
    rig.depot.offer(&two.id(), two.manifest.text(), &key(8), OBJECT_BYTES_MAX, now()).unwrap();
    assert_eq!(rig.depot.forget_key(&key(9)), [one.id()]);
    assert!(rig.depot.store(&one.id(), 0, one.chunk(0)).is_err());
    drop(rig);
    let mut rig = self::rig(dir.path());
    assert!(rig.depot.forget_key(&key(9)).is_empty());
    assert_eq!(rig.depot.forget_key(&key(8)), [two.id()]);
    assert!(snapshot(&dir.path().join("incoming")).is_empty());
}

#[test]
fn what_is_no_incoming_object_is_removed_at_a_start() {
    let dir = folder();
    let object = simple("1", 1);
    rig(dir.path()).offer(&object).unwrap();
    let incoming = dir.path().join("incoming");
    let whole = incoming.join(object.id().to_string());
    for name in ["junk", &ObjectId::of("x").to_string(), &ObjectId::of("y").to_string(), ".gone-x"] {
        std::fs::create_dir(incoming.join(name)).unwrap();
    }
    // A whole manifest under a wrong name, and half of one.
    let other = |t: &str| incoming.join(ObjectId::of(t).to_string());
    std::fs::copy(whole.join("manifest"), other("x").join("manifest")).unwrap();
    std::fs::copy(whole.join("from"), other("x").join("from")).unwrap();
    std::fs::write(other("y").join("manifest"), &object.manifest.text()[..50]).unwrap();
    std::fs::write(incoming.join("file"), "").unwrap();
    std::os::unix::fs::symlink("/etc", incoming.join("link")).unwrap();
    drop(rig(dir.path()));
    let left: Vec<_> = std::fs::read_dir(&incoming).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [whole]);
}

#[test]
fn the_newest_versions_are_kept_and_never_the_current_or_previous_removed() {
    let dir = folder();
    let mut rig = rig(dir.path());
    let numbers = |rig: &Rig| rig.slots.versions(Some("miner")).iter().map(|v| v.number).collect::<Vec<_>>();
    for i in 1..=6 {
        rig.deploy(&simple(&i.to_string(), i)).unwrap();
    }
    assert_eq!(numbers(&rig), [6, 5, 4]);
    assert_eq!(rig.slots.rollback("miner", Some(4)), Ok(4));
    rig.slots.activate("miner", 5).unwrap();
    for i in 7..=9 {
        let object = simple(&i.to_string(), i);
        rig.offer(&object).unwrap();
        for c in 0..2 {
            rig.depot.store(&object.id(), c, object.chunk(c)).unwrap();
        }
        rig.depot.install(&object.id(), now()).unwrap();
        rig.depot.finish(&object.id()).unwrap();
    }
    assert_eq!(numbers(&rig), [9, 8, 7, 5, 4], "5 is current, 4 the one before");
    drop(rig);
    // A disk budget removes what is oldest of the rest, and numbers are never given twice.
    let limits = DepotLimits { slots_bytes_max: 350_000, ..DepotLimits::default() };
    let mut rig = open(dir.path(), &Disk::real(), &limits).unwrap();
    assert_eq!(rig.deploy(&simple("10", 10)).unwrap().0, 10);
    assert_eq!(numbers(&rig), [10, 5, 4]);
    assert_eq!(rig.current("miner"), 10);
}

#[test]
fn a_rollback_goes_to_what_ran_before_and_can_be_undone() {
    let dir = folder();
    let mut rig = rig(dir.path());
    for i in 1..=3 {
        rig.deploy(&simple(&i.to_string(), i)).unwrap();
    }
    assert_eq!(rig.slots.rollback("miner", None), Ok(2));
    assert_eq!(rig.slots.rollback("miner", None), Ok(1));
    assert!(matches!(rig.slots.rollback("miner", None), Err(Error::NotFound(_))));
    assert!(matches!(rig.slots.rollback("miner", Some(7)), Err(Error::NotFound(_))));
    assert!(matches!(rig.slots.rollback("other", None), Err(Error::NotFound(_))));
    assert_eq!(rig.slots.activate("miner", 3), Ok(true));
    assert_eq!(rig.slots.activate("miner", 3), Ok(false));
    drop(rig);
    let rig = self::rig(dir.path());
    assert_eq!(rig.slots.rollback("miner", None), Ok(1), "what ran before 3 was 1");
    assert_eq!(rig.slots.rollback("miner", Some(0)), Ok(0));
    assert_eq!(rig.slots.current("miner"), None);
    assert!(matches!(rig.slots.activate("miner", 9), Err(Error::NotFound(_))));
}

#[test]
fn a_failed_trial_goes_back_and_is_remembered() {
    let dir = folder();
    let mut rig = rig(dir.path());
    let state = |rig: &Rig, n: u32| rig.slots.versions(None).into_iter().find(|v| v.number == n).unwrap().state;
    rig.deploy(&simple("1", 1)).unwrap();
    let record = TrialRecord { launches: 2, spent_ms: 7, hashed: true };
    rig.slots.save_trial("miner", 1, record).unwrap();
    assert_eq!(self::rig(dir.path()).slots.trial("miner", 1), Some(record));
    rig.slots.pass_trial("miner", 1).unwrap();
    assert_eq!((state(&rig, 1), rig.slots.trial("miner", 1)), (VersionState::Ok, None));
    rig.deploy(&simple("2", 2)).unwrap();
    assert_eq!(rig.slots.fail_trial("miner", 1, "not it", false), Some(2), "1 is not on trial");
    assert_eq!(rig.slots.fail_trial("miner", 2, "it broke", false), Some(1));
    for rig in [&rig, &self::rig(dir.path())] {
        assert_eq!((rig.current("miner"), state(rig, 2)), (1, VersionState::RolledBack { why: "it broke".into() }));
        assert_eq!(rig.slots.note("miner").unwrap(), "version 2 rolled back to 1: it broke");
    }
    assert!(rig.slots.rollback("miner", None).is_err(), "what failed is not gone back to");
    rig.slots.activate("miner", 2).unwrap();
    assert_eq!((state(&rig, 2), rig.slots.note("miner")), (VersionState::Trial, None));
    // Nothing to go back to.
    let dir = folder();
    let mut rig = self::rig(dir.path());
    rig.deploy(&simple("1", 1)).unwrap();
    assert_eq!(rig.slots.fail_trial("miner", 1, "it broke", false), None);
    assert_eq!((rig.current("miner"), state(&rig, 1)), (1, VersionState::Failed { why: "it broke".into() }));
    assert!(rig.slots.note("miner").unwrap().contains("no earlier one"));
    // The rig's own program is something to go back to.
    rig.deploy(&simple("2", 2)).unwrap();
    assert_eq!(rig.slots.fail_trial("miner", 2, "x", true), Some(0));
    assert_eq!(rig.slots.note("miner").unwrap(), "version 2 rolled back to the rig's own program: x");
}

#[test]
fn broken_records_and_pointers_never_stop_the_old_version() {
    let dir = folder();
    let mut rig = rig(dir.path());
    for i in 1..=3 {
        rig.deploy(&simple(&i.to_string(), i)).unwrap();
    }
    rig.slots.pass_trial("miner", 3).unwrap();
    drop(rig);
    let slot = dir.path().join("slots/miner");
    // The current version's folder lost its record: the one before runs, and says so.
    std::fs::remove_file(slot.join("3/.slot.json")).unwrap();
    let rig = self::rig(dir.path());
    assert_eq!(rig.current("miner"), 2);
    assert!(rig.slots.note("miner").unwrap().contains("version 3 rolled back to 2"));
    assert!(matches!(rig.slots.activate("miner", 3), Err(Error::NotFound(_))));
    drop(rig);
    for broken in ["", "{", "[2,1]", "{\"current\":-1}", "{\"current\":2.5}", "\u{0}"] {
        std::fs::write(slot.join("current"), broken).unwrap();
        let rig = self::rig(dir.path());
        assert_eq!(
            (rig.current("miner"), rig.slots.trial("miner", 2)),
            (2, Some(TrialRecord::default())),
            "{broken:?}"
        );
    }
    // Everything at once, and what has no business there.
    std::fs::write(slot.join("2/.slot.json"), "{}").unwrap();
    std::fs::write(slot.join("1/.slot.json"), [0xff; 10]).unwrap();
    for junk in [".new-x", "07", "x", "4294967296"] {
        std::fs::create_dir_all(slot.join(junk)).unwrap();
    }
    std::fs::write(dir.path().join("slots/file"), "").unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("slots/link")).unwrap();
    let mut rig = self::rig(dir.path());
    assert_eq!((rig.current("miner"), rig.slots.versions(None).len()), (0, 0));
    assert_eq!(rig.deploy(&simple("1", 1)).unwrap().0, 4, "no number is given twice");
    assert!(!slot.join(".new-x").exists());
    // A main file that was taken away is noticed before the switch.
    rig.deploy(&simple("2", 2)).unwrap();
    std::fs::remove_file(slot.join("4/bin/miner")).unwrap();
    assert!(matches!(rig.slots.activate("miner", 4), Err(Error::NotFound(_))));
}

#[test]
fn files_of_a_bundle_become_a_version_once() {
    let dir = folder();
    let rig = rig(dir.path());
    let files = [
        SlotFile { path: "xmrig", executable: false, bytes: b"#!main" },
        SlotFile { path: "etc/x y.json", executable: true, bytes: b"{}" },
    ];
    let install = |version: &str, main: &str, files: &[SlotFile<'_>]| {
        rig.slots.install_files("xmrig", version, main, files, now())
    };
    assert_eq!(install("a1b2", "xmrig", &files), Ok(1));
    assert_eq!(install("a1b2", "xmrig", &files), Ok(1), "the same again is the same version");
    assert_eq!(install("a1b3", "xmrig", &files), Ok(2));
    let mode = |path: &str| dir.path().join("slots/xmrig/1").join(path).metadata().unwrap().permissions().mode();
    assert_eq!((mode("xmrig") & 0o7777, mode("etc/x y.json") & 0o7777), (0o755, 0o755));
    assert_eq!(rig.slots.current("xmrig"), None);
    let before = snapshot(dir.path());
    let file = |path| [SlotFile { path, executable: false, bytes: b"x" }];
    for path in ["../x", "/x", "a/../x", ".slot.json", "a//b", "a\0b", ""] {
        assert!(install("1", path, &file(path)).is_err(), "{path:?}");
    }
    assert!(install("1", "other", &files).is_err() && install("", "xmrig", &files).is_err());
    assert!(rig.slots.install_files("../x", "1", "xmrig", &files, now()).is_err());
    assert_eq!(snapshot(dir.path()), before, "nothing is left of what was refused");
}

#[test]
fn one_file_needs_its_room_once() {
    let dir = folder();
    let mut rig = rig(dir.path());
    let object = simple("1", 1);
    rig.offer(&object).unwrap();
    for c in 0..2 {
        rig.depot.store(&object.id(), c, object.chunk(c)).unwrap();
    }
    rig.depot.install(&object.id(), now()).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    let inode = |path: std::path::PathBuf| path.metadata().unwrap().ino();
    let data = dir.path().join("incoming").join(object.id().to_string()).join("data");
    assert_eq!(inode(data), inode(dir.path().join("slots/miner/1/bin/miner")));
    assert!(object.is_at(dir.path(), 1));
}
