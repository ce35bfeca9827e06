//! Laws of the audit log's files.

use rigmesh::peers::{AUDIT_FAULTS_MAX, AuditCheck, AuditHash, AuditLine, AuditNotes};

/// The bytes as a file, and as the JSON of a line whose hash is right. What is sound has every byte in its lines, and is
/// not sound any more after one of them is taken away.
pub fn log(bytes: &[u8]) -> bool {
    let as_file = file(bytes);
    let line = format!("{} ", AuditHash::ZERO.after(bytes)).into_bytes();
    as_file | (file(&[&line, bytes, b"\n"].concat()) && !bytes.contains(&b'\n'))
}

fn file(bytes: &[u8]) -> bool {
    let (mut check, mut notes, mut good, mut starts) = (AuditCheck::new(&[]), AuditNotes::default(), 0, Vec::new());
    check.handle_file("f", 0, bytes, true, |line: &AuditLine<'_>| {
        starts.push(good);
        good += 65 + line.json.len() + 1;
        notes.handle_line(line);
    });
    let report = check.finish();
    assert!(report.faults.len() <= AUDIT_FAULTS_MAX && report.faults.len() as u64 <= report.fault_count);
    assert!(notes.finish().len() as u64 <= report.lines && report.lines * 67 <= bytes.len() as u64);
    assert!(report.torn.is_none_or(|torn| torn.offset + torn.bytes == bytes.len()));
    let whole = report.is_sound() && report.torn.is_none() && report.lines > 0;
    if whole {
        assert_eq!(good, bytes.len());
        if let [_, second, ..] = starts[..] {
            let mut less = AuditCheck::new(&[]);
            less.handle_file("f", 0, &bytes[second..], true, |_| {});
            assert!(!less.finish().is_sound());
        }
    }
    whole
}
