//! Tests of the audit log's files: every fault of the disk, tampering, heads, rotation.

use super::*;
use crate::base::Rng;
use crate::identity::Role;
use crate::peers::{AuditBegin, AuditKind};
use crate::runtime::files::faulty::{Fault, FaultyDisk};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const START: i64 = 1_800_000_000;

fn time() -> Timestamp {
    Timestamp::from_unix(START, 0)
}

fn identity() -> Identity {
    Identity::generate("rig", Role::Worker, time(), &mut Rng::from_number(1)).unwrap()
}

fn keys() -> [(PublicKey, [u8; 32]); 1] {
    [(identity().public_key(), identity().sign_key().public())]
}

/// A log with three lines a file.
fn small(disk: &Disk, folder: &Path) -> Result<(AuditLog, Option<AuditFault>)> {
    AuditLog::open_on(disk, &folder.join("audit"), &identity(), time(), 600)
}

fn command(log: &AuditLog, id: &str) -> Result<AuditMark> {
    let args = serde_json::json!({"miner": "m"});
    let begin = AuditBegin { who: None, session: None, id, ts: None, what: "start_miner", args: &args, peer: None };
    log.append(time(), &AuditEntry::Begin(begin))
}

fn note(mark: AuditMark) -> AuditNote {
    AuditNote { line: 0, whose: None, mark }
}

fn report(folder: &Path, notes: &[AuditNote]) -> (AuditReport, Vec<AuditKind>) {
    let mut kinds = Vec::new();
    let report = check_audit(&folder.join("audit"), &keys(), notes, |line| kinds.push(line.kind.clone())).unwrap();
    (report, kinds)
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder.join("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to.join("audit")).unwrap();
    for name in files(from) {
        fs::copy(from.join("audit").join(&name), to.join("audit").join(&name)).unwrap();
    }
}

/// Opens and writes; what was acknowledged, and whether all was.
fn run(disk: &Disk, folder: &Path, lines: usize) -> (Vec<AuditNote>, bool) {
    let Ok((log, fault)) = small(disk, folder) else { return (Vec::new(), false) };
    assert_eq!(fault, None);
    let (mut acknowledged, mut whole) = (Vec::new(), true);
    for i in 0..lines {
        match command(&log, &"x".repeat(i * 7 % 50)) {
            Ok(mark) => acknowledged.push(note(mark)),
            Err(_) => whole = false,
        }
    }
    (acknowledged, whole)
}

/// At every change of the disk, with every fault: what was acknowledged is there, nothing looks like tampering.
fn survives(before: &Path, lines: usize, repaired: bool) {
    let counted = tempfile::tempdir().unwrap();
    copy(before, counted.path());
    let counter = FaultyDisk::new();
    assert!(run(&counter.disk(), counted.path(), lines).1);
    let changes = counter.changes();
    assert!(changes > 10);
    for n in 0..changes {
        for fault in [Fault::Fails(ErrorKind::StorageFull), Fault::Stops, Fault::PowerCut] {
            let dir = tempfile::tempdir().unwrap();
            copy(before, dir.path());
            let faulty = FaultyDisk::with_fault(n, fault);
            let (mut acknowledged, _) = run(&faulty.disk(), dir.path(), lines);
            // A disk that works again takes lines again.
            assert!(!matches!(fault, Fault::Fails(_)) || acknowledged.len() + 1 >= lines, "{fault:?} at {n}");
            if fault == Fault::PowerCut {
                faulty.cut_power();
            }
            let (log, found) = small(&Disk::real(), dir.path()).unwrap();
            assert_eq!(found, None, "{fault:?} at {n}");
            acknowledged.push(note(command(&log, "after").unwrap()));
            let (report, kinds) = report(dir.path(), &acknowledged);
            assert!(report.is_sound() && report.torn.is_none(), "{fault:?} at {n}: {report:?}");
            assert_eq!(report.compared.matched, acknowledged.len() as u64);
            assert!(!repaired || kinds.contains(&AuditKind::Repair), "{fault:?} at {n}: cut without a word");
        }
    }
}

#[test]
fn at_every_fault_no_acknowledged_line_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("audit")).unwrap();
    survives(dir.path(), 8, false);
}

#[test]
fn at_every_fault_a_half_written_line_is_repaired_and_the_oldest_file_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = small(&Disk::real(), dir.path()).unwrap();
    while files(dir.path()).len() < 16 || files(dir.path())[0] == name_of(0) {
        command(&log, "x").unwrap();
    }
    assert_eq!(files(dir.path()).len(), AUDIT_FILES_MAX);
    let newest = dir.path().join("audit").join(files(dir.path()).pop().unwrap());
    assert_eq!(fs::metadata(&newest).unwrap().permissions().mode() & 0o777, 0o600);
    // A crash left this much of a long line.
    let whole = fs::read(&newest).unwrap();
    fs::write(&newest, [&whole[..], "ab".repeat(150).as_bytes()].concat()).unwrap();
    let (report, _) = report(dir.path(), &[]);
    assert!(report.is_sound() && report.torn.is_some_and(|torn| torn.bytes == 300));
    assert!(report.checked_from.is_some_and(|from| from > 0));
    survives(dir.path(), 4, true);
}

#[test]
fn tampering_is_reported_and_left_as_it_stands_and_commands_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(&dir.path().join("audit"), &identity(), time()).unwrap().0;
    for id in ["a", "b", "c"] {
        command(&log, id).unwrap();
    }
    drop(log);
    let path = dir.path().join("audit").join(name_of(0));
    let tampered = fs::read_to_string(&path).unwrap().replace("\"id\":\"b\"", "\"id\":\"B\"") + "half a line";
    fs::write(&path, &tampered).unwrap();
    let open = || AuditLog::open(&dir.path().join("audit"), &identity(), time()).unwrap();
    let (log, fault) = open();
    assert_eq!(fault.map(|fault| (fault.n, fault.line, fault.file)), Some((1, 2, name_of(0))));
    let mark = command(&log, "d").unwrap();
    assert_eq!(mark.n, 5, "behind what is left of a line, and the line that says so");
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap(), tampered);
    assert_eq!(files(dir.path()), [name_of(0), name_of(4)]);
    // Told again at the next start, and not written down twice.
    assert!(open().1.is_some());
    assert_eq!(files(dir.path()).len(), 2);
    let (report, kinds) = report(dir.path(), &[note(mark)]);
    assert!(!report.is_sound() && report.compared.matched == 1);
    assert_eq!(report.faults.iter().map(|fault| fault.n).collect::<Vec<_>>(), [1, 3]);
    assert!(kinds.contains(&AuditKind::Tampered));
}

#[test]
fn an_older_file_that_is_gone_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = small(&Disk::real(), dir.path()).unwrap();
    while files(dir.path()).len() < 4 {
        command(&log, "x").unwrap();
    }
    assert!(report(dir.path(), &[]).0.is_sound());
    let all = files(dir.path());
    for gone in &all[..3] {
        let bytes = fs::read(dir.path().join("audit").join(gone)).unwrap();
        fs::remove_file(dir.path().join("audit").join(gone)).unwrap();
        assert!(!report(dir.path(), &[]).0.is_sound(), "{gone}");
        fs::write(dir.path().join("audit").join(gone), bytes).unwrap();
    }
}

#[test]
fn a_head_follows_a_thousand_lines_or_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = AuditChain::default();
    let mut bytes = Vec::new();
    for _ in 0..AUDIT_HEAD_LINES {
        let (line, mark) = chain.encode(time(), &AuditEntry::End { of: 0, result: Ok(()), peer: None }).unwrap();
        chain.follow(mark);
        bytes.extend(line);
    }
    fs::create_dir(dir.path().join("audit")).unwrap();
    fs::write(dir.path().join("audit").join(name_of(0)), bytes).unwrap();
    let open = || AuditLog::open(&dir.path().join("audit"), &identity(), time()).unwrap().0;
    let log = open();
    assert_eq!(report(dir.path(), &[]).0.signed_to, Some(1000));
    assert_eq!(command(&log, "x").unwrap().n, 1001);
    drop(log);
    let log = open();
    let later = |hours: u64| time().plus(Duration::from_hours(hours));
    log.handle_timeout(later(23)).unwrap();
    assert_eq!(report(dir.path(), &[]).0.signed_to, Some(1000));
    log.handle_timeout(later(24)).unwrap();
    log.handle_timeout(later(60)).unwrap();
    let (report, _) = report(dir.path(), &[]);
    assert!(report.is_sound() && report.signed_to == Some(1002) && report.last.unwrap().n == 1002);
}

#[test]
fn the_other_sides_notes_are_read_from_a_file_or_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = small(&Disk::real(), dir.path()).unwrap();
    let (key, mark) = (identity().public_key(), AuditMark { n: 9, h: AuditHash([9; 32]) });
    for _ in 0..3 {
        log.append(time(), &AuditEntry::End { of: 0, result: Ok(()), peer: Some((&key, mark)) }).unwrap();
    }
    let audit = dir.path().join("audit");
    let (notes, theirs) = read_audit_notes(&audit).unwrap();
    assert!(theirs.is_sound() && notes.len() == 3 && notes[2] == AuditNote { line: 2, whose: Some(key), mark });
    let newest = audit.join(files(dir.path()).pop().unwrap());
    fs::rename(&newest, audit.join("renamed")).unwrap();
    let (notes, theirs) = read_audit_notes(&audit.join("renamed")).unwrap();
    assert!(theirs.is_sound() && !notes.is_empty());
    assert!(read_audit_notes(&audit.join("nothing")).is_err());
}

/// Many commands at once, in files of three lines.
fn fleet(log: &AuditLog, commands: usize) -> Result<Vec<AuditMark>> {
    let args = serde_json::json!({"miner": "m"});
    let ids: Vec<String> = (0..commands).map(|i| "x".repeat(i * 7 % 50)).collect();
    let begin =
        |id| AuditBegin { who: None, session: None, id, ts: None, what: "start_miner", args: &args, peer: None };
    let entries: Vec<AuditEntry<'_>> = ids.iter().map(|id| AuditEntry::Begin(begin(id))).collect();
    log.append_all(time(), &entries)
}

#[test]
fn a_fleets_lines_are_synced_together_and_fill_file_after_file() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let (log, _) = small(&disk.disk(), dir.path()).unwrap();
    assert_eq!(fleet(&log, 0).unwrap(), []);
    let marks = fleet(&log, 20).unwrap();
    assert_eq!(marks.iter().map(|mark| mark.n).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert_eq!(command(&log, "after").unwrap().n, 20);
    let notes: Vec<AuditNote> = marks.into_iter().map(note).collect();
    let (found, _) = report(dir.path(), &notes);
    assert!(found.is_sound() && found.compared.matched == 20 && found.lines == 21, "{found:?}");
    let sizes =
        files(dir.path()).into_iter().map(|name| fs::metadata(dir.path().join("audit").join(name)).unwrap().len());
    assert!(sizes.clone().count() > 4 && sizes.clone().all(|size| size <= 600), "{:?}", sizes.collect::<Vec<_>>());
    drop(log);

    // Into one large file: one write and one sync, whatever the fleet's size, and heads all the same.
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let open = AuditLog::open_on(&disk.disk(), &dir.path().join("audit"), &identity(), time(), 4 << 20);
    let (log, _) = open.unwrap();
    command(&log, "first").unwrap();
    let before = disk.changes();
    fleet(&log, 200).unwrap();
    let one = disk.changes() - before;
    assert!(one <= 2, "{one} changes of the disk for 200 lines");
    fleet(&log, 2000).unwrap();
    let (found, kinds) = report(dir.path(), &[]);
    assert!(found.is_sound() && found.signed_to.is_some(), "{found:?}");
    assert_eq!(kinds.iter().filter(|kind| matches!(kind, AuditKind::Head(_))).count(), 1);
}

#[test]
fn at_every_fault_a_fleet_that_was_acknowledged_is_there_and_one_that_was_not_harms_nothing() {
    let counted = tempfile::tempdir().unwrap();
    let counter = FaultyDisk::new();
    let run = |disk: &Disk, folder: &Path| {
        let Ok((log, _)) = small(disk, folder) else { return Vec::new() };
        let mut marks = fleet(&log, 10).unwrap_or_default();
        marks.extend(fleet(&log, 10).unwrap_or_default());
        marks.into_iter().map(note).collect::<Vec<_>>()
    };
    assert_eq!(run(&counter.disk(), counted.path()).len(), 20);
    for n in 0..counter.changes() {
        for fault in [Fault::Fails(ErrorKind::StorageFull), Fault::Stops, Fault::PowerCut] {
            let dir = tempfile::tempdir().unwrap();
            let faulty = FaultyDisk::with_fault(n, fault);
            let mut acknowledged = run(&faulty.disk(), dir.path());
            if fault == Fault::PowerCut {
                faulty.cut_power();
            }
            let (log, found) = small(&Disk::real(), dir.path()).unwrap();
            assert_eq!(found, None, "{fault:?} at {n}");
            acknowledged.push(note(command(&log, "after").unwrap()));
            let (report, _) = report(dir.path(), &acknowledged);
            assert!(report.is_sound() && report.torn.is_none(), "{fault:?} at {n}: {report:?}");
            assert_eq!(report.compared.matched, acknowledged.len() as u64, "{fault:?} at {n}");
        }
    }
}

#[test]
fn a_fleet_with_a_line_that_is_too_long_writes_none() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = small(&Disk::real(), dir.path()).unwrap();
    let (short, long) = (serde_json::json!({}), serde_json::json!({"miner": "x".repeat(20_000)}));
    let begin = |args| AuditBegin { who: None, session: None, id: "", ts: None, what: "stop_miner", args, peer: None };
    let entries = [&short, &long].map(|args| AuditEntry::Begin(begin(args)));
    assert!(matches!(log.append_all(time(), &entries), Err(Error::Malformed { .. })));
    assert_eq!(command(&log, "x").unwrap().n, 0);
}
