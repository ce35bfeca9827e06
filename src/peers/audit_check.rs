//! What files of audit lines show (secure-session.md §7): whether the chain holds, from which line on that could be
//! checked, how far it is signed, and whether the places that the other side noted lie on it.
//!
//! Every line is held against the hash that the line before it states, so a changed line is found where it stands and
//! what follows is still checked. The first line of the oldest file is taken as it stands, unless it is line 0.

use super::audit::{AUDIT_FILES_MAX, AUDIT_LINE_BYTES_MAX, AuditHash, AuditKind, AuditLine, AuditMark};
use crate::base::Timestamp;
use crate::identity::PublicKey;
use std::collections::BTreeMap;

/// Most faults that are told one by one.
pub const AUDIT_FAULTS_MAX: usize = 16;
/// Most places of the other side that are compared: more than 16 files of 4 MiB can hold.
pub const AUDIT_NOTES_MAX: usize = 1 << 20;

/// Something that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFault {
    /// The number of the line: what it states, or what should stand there.
    pub n: u64,
    /// The name of the file; empty when it is missing.
    pub file: String,
    /// The line in that file, from 1; 0 when it is missing.
    pub line: u64,
    /// What is wrong.
    pub why: &'static str,
}

/// A last line that is not whole: being written, or left so by a crash. It was never acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditTorn {
    /// The number that it has or would have.
    pub n: u64,
    /// Where it begins in its file.
    pub offset: usize,
    /// Its bytes.
    pub bytes: usize,
    /// Whether it ends with a newline. Then it is not being written: a crash or somebody's hand left it so.
    pub ended: bool,
}

/// A place on this chain that the other side noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditNote {
    /// The line of the other side that says so.
    pub line: u64,
    /// Whose chain is meant; `None` when the line does not say.
    pub whose: Option<PublicKey>,
    /// The place.
    pub mark: AuditMark,
}

/// How the other side's notes compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCompared {
    /// Lie on this chain.
    pub matched: u64,
    /// Are older than what is kept here.
    pub too_old: u64,
    /// Stand at a number that has another hash here: the chain was written anew.
    pub different: Vec<AuditNote>,
    /// Have a number beyond the last line here, or one that is missing: the end was cut off.
    pub missing: Vec<AuditNote>,
}

/// What the files show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Files that were read.
    pub files: u64,
    /// Whole lines.
    pub lines: u64,
    /// The first line that could be checked; what is before it is gone or, for one line, taken as it stands.
    pub checked_from: Option<u64>,
    /// The last line.
    pub last: Option<AuditMark>,
    /// The newest head that was read, whoever signed it, and its time.
    pub last_head: Option<(u64, Option<Timestamp>)>,
    /// The last head whose signature is right.
    pub signed_to: Option<u64>,
    /// The last line, when it is not whole.
    pub torn: Option<AuditTorn>,
    /// What is wrong: the first [`AUDIT_FAULTS_MAX`].
    pub faults: Vec<AuditFault>,
    /// All that is wrong.
    pub fault_count: u64,
    /// The other side's notes.
    pub compared: AuditCompared,
}

impl AuditReport {
    /// Whether nothing shows tampering. A last line without its end does not: a cut end leaves no trace but on the other
    /// side.
    pub fn is_sound(&self) -> bool {
        self.fault_count == 0
            && self.compared.different.is_empty()
            && self.compared.missing.is_empty()
            && self.torn.is_none_or(|torn| !torn.ended)
    }
}

/// Reads files in their order and says what they show.
#[derive(Debug)]
pub struct AuditCheck {
    keys: Vec<(PublicKey, [u8; 32])>,
    /// Notes by number.
    expected: BTreeMap<u64, Vec<AuditNote>>,
    /// The number of the next line; `None` before the first.
    next: Option<u64>,
    /// The stated hash of the line before; `None` when it is not known.
    before: Option<AuditHash>,
    /// Faults in the file that was read last.
    here: u64,
    report: AuditReport,
}

impl AuditCheck {
    /// Heads must be signed by one of these (X, S); with none, signatures are not looked at.
    pub fn new(keys: &[(PublicKey, [u8; 32])]) -> AuditCheck {
        AuditCheck {
            keys: keys.to_vec(),
            expected: BTreeMap::new(),
            next: None,
            before: None,
            here: 0,
            report: AuditReport::default(),
        }
    }

    /// Compares with what the other side noted, except what it noted about others. Before the first file.
    pub fn expect(&mut self, notes: &[AuditNote]) {
        for note in notes.iter().take(AUDIT_NOTES_MAX) {
            let ours =
                note.whose.is_none_or(|whose| self.keys.is_empty() || self.keys.iter().any(|(x, _)| *x == whose));
            if ours {
                self.expected.entry(note.mark.n).or_default().push(*note);
            }
        }
    }

    /// The next file: its name, the number in the name, and whether it is the newest one, whose last line alone may be
    /// bad. Gives each good line to `see`.
    pub fn handle_file(
        &mut self,
        name: &str,
        first: u64,
        bytes: &[u8],
        newest: bool,
        mut see: impl FnMut(&AuditLine<'_>),
    ) {
        self.report.files = self.report.files.saturating_add(1);
        match self.next {
            Some(next) if next != first => {
                self.fault(next, "", 0, "lines are missing between two files");
                (self.next, self.before) = (Some(first), None);
            }
            Some(_) => {}
            None => (self.next, self.before) = (Some(first), (first == 0).then_some(AuditHash::ZERO)),
        }
        self.here = 0;
        let (mut rest, mut line) = (bytes, 0u64);
        while !rest.is_empty() {
            line = line.saturating_add(1);
            let offset = bytes.len() - rest.len();
            let end = rest.iter().position(|c| *c == b'\n');
            let (this, tail) = match end {
                Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default()),
                None => (rest, &[][..]),
            };
            let last = newest && tail.is_empty();
            let length = rest.len() - tail.len();
            rest = tail;
            let n = self.next.unwrap_or(first);
            match self.judge(this, end.is_some(), n) {
                Ok(read) => {
                    self.enter(&read, name, line);
                    see(&read);
                }
                Err(_) if last => self.report.torn = Some(AuditTorn { n, offset, bytes: length, ended: end.is_some() }),
                Err((why, stated)) => {
                    self.fault(n, name, line, why);
                    // What it states, so that the lines behind it are still checked.
                    let behind = |number: u64| number.saturating_add(1);
                    let next = stated.map_or(behind(n), |mark| behind(mark.n).max(n));
                    (self.next, self.before) = (Some(next), stated.map(|mark| mark.h));
                }
            }
        }
    }

    /// Which files there are, before the first: the oldest one goes only when there are enough newer ones.
    pub fn handle_list(&mut self, oldest: u64, files: usize) {
        if oldest > 0 && files < AUDIT_FILES_MAX {
            self.fault(oldest.saturating_sub(1), "", 0, "the files before this one are gone");
        }
    }

    /// Faults in the file that was read last, not counting what is missing before it.
    pub fn faults_here(&self) -> u64 {
        self.here
    }

    /// A file that cannot be read, or not as a whole.
    pub fn handle_unreadable(&mut self, name: &str, first: u64, why: &'static str) {
        self.report.files = self.report.files.saturating_add(1);
        self.here = 0;
        self.fault(first, name, 1, why);
        (self.next, self.before) = (None, None);
    }

    /// What all of them show.
    pub fn finish(mut self) -> AuditReport {
        let from = self.report.checked_from;
        for note in self.expected.into_values().flatten() {
            if from.is_some_and(|from| note.mark.n < from) {
                self.report.compared.too_old = self.report.compared.too_old.saturating_add(1);
            } else {
                self.report.compared.missing.push(note);
            }
        }
        self.report
    }

    /// The hash on which the next line follows, as far as it is known.
    pub fn before(&self) -> Option<AuditHash> {
        self.before
    }

    /// The number of the next line, as far as it is known.
    pub fn next_n(&self) -> Option<u64> {
        self.next
    }

    /// A line, or why it is bad and what it states all the same.
    fn judge<'a>(
        &self,
        line: &'a [u8],
        ended: bool,
        n: u64,
    ) -> Result<AuditLine<'a>, (&'static str, Option<AuditMark>)> {
        if !ended || line.len() >= AUDIT_LINE_BYTES_MAX {
            return Err(("the line is cut or too long", None));
        }
        let Ok(read) = AuditLine::decode(line) else { return Err(("the line cannot be read", None)) };
        if read.mark.n != n {
            return Err((
                if read.mark.n > n { "lines are missing" } else { "the line has a number that was there" },
                Some(read.mark),
            ));
        }
        match self.before {
            Some(before) if !read.follows(before) => {
                Err(("the line or the one before it was changed: its hash does not follow", Some(read.mark)))
            }
            _ => Ok(read),
        }
    }

    fn enter(&mut self, read: &AuditLine<'_>, name: &str, line: u64) {
        let AuditMark { n, h } = read.mark;
        if let Some(before) = self.before {
            self.report.checked_from.get_or_insert(n);
            if matches!(read.kind, AuditKind::Head(_)) && !self.keys.is_empty() {
                match read.is_signed_by(&self.keys, before) {
                    true => self.report.signed_to = Some(n),
                    false => self.fault(n, name, line, "the head's signature is not by this node's key"),
                }
            }
        }
        if matches!(read.kind, AuditKind::Head(_)) {
            self.report.last_head = Some((n, read.t));
        }
        for note in self.expected.remove(&n).unwrap_or_default() {
            match note.mark.h == h {
                true => self.report.compared.matched = self.report.compared.matched.saturating_add(1),
                false => self.report.compared.different.push(note),
            }
        }
        self.report.lines = self.report.lines.saturating_add(1);
        self.report.last = Some(read.mark);
        (self.next, self.before) = (Some(n.saturating_add(1)), Some(h));
    }

    fn fault(&mut self, n: u64, file: &str, line: u64, why: &'static str) {
        self.report.fault_count = self.report.fault_count.saturating_add(1);
        self.here = self.here.saturating_add(1);
        if self.report.faults.len() < AUDIT_FAULTS_MAX {
            self.report.faults.push(AuditFault { n, file: file.to_owned(), line, why });
        }
    }
}

/// Collects what lines of the other side note about chains.
#[derive(Debug, Default)]
pub struct AuditNotes {
    notes: Vec<AuditNote>,
}

impl AuditNotes {
    /// The next line.
    pub fn handle_line(&mut self, line: &AuditLine<'_>) {
        if let AuditKind::End { peer: Some((whose, mark)), .. } = line.kind
            && self.notes.len() < AUDIT_NOTES_MAX
        {
            self.notes.push(AuditNote { line: line.mark.n, whose, mark });
        }
    }

    /// All notes, in their order.
    pub fn finish(self) -> Vec<AuditNote> {
        self.notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::identity::{SecretKey, SignKey};
    use crate::peers::{AuditBegin, AuditChain, AuditEntry};
    use serde_json::json;

    fn keys() -> (PublicKey, SignKey) {
        (SecretKey::from_bytes([1; 32]).public_key(), SignKey::from_seed(&[2; 32]))
    }

    /// So many lines from `chain` on, each fifth a head, the second of two the end of the first.
    fn lines(chain: &mut AuditChain, count: u64) -> Vec<Vec<u8>> {
        let (x, sign) = keys();
        let args = json!({"miner": "m"});
        let begin =
            AuditBegin { who: Some(&x), session: None, id: "i", ts: None, what: "pause", args: &args, peer: None };
        let mut lines = Vec::new();
        for _ in 0..count {
            let entry = match chain.next_n() {
                n if n % 5 == 4 => AuditEntry::Head { x: &x, sign: &sign },
                n if n % 2 == 1 => AuditEntry::End { of: n - 1, result: Ok(()), peer: None },
                _ => AuditEntry::Begin(begin),
            };
            let (line, mark) = chain.encode(Timestamp::from_unix(1_800_000_000, 0), &entry).unwrap();
            chain.follow(mark);
            lines.push(line);
        }
        lines
    }

    fn check(files: &[(u64, Vec<u8>)], notes: &[AuditNote]) -> AuditReport {
        let (x, sign) = keys();
        let mut check = AuditCheck::new(&[(x, sign.public())]);
        check.expect(notes);
        for (i, (first, bytes)) in files.iter().enumerate() {
            check.handle_file(&format!("f{i}"), *first, bytes, i + 1 == files.len(), |_| {});
        }
        check.finish()
    }

    fn note(chain: AuditChain) -> AuditNote {
        AuditNote { line: 1, whose: None, mark: AuditMark { n: chain.next_n() - 1, h: chain.before() } }
    }

    #[test]
    fn a_whole_chain_over_two_files_is_sound_and_signed() {
        let mut chain = AuditChain::default();
        let files = [(0, lines(&mut chain, 7).concat()), (7, lines(&mut chain, 5).concat())];
        let report = check(&files, &[note(chain)]);
        assert!(report.is_sound(), "{report:?}");
        assert_eq!((report.files, report.lines, report.checked_from, report.signed_to), (2, 12, Some(0), Some(9)));
        assert_eq!((report.compared.matched, report.last.unwrap().n), (1, 11));
        // Without the older file the first line is taken as it stands.
        let report = check(&files[1..], &[note(chain)]);
        assert!(report.is_sound() && report.checked_from == Some(8));
    }

    #[test]
    fn any_changed_byte_is_found() {
        let mut chain = AuditChain::default();
        let whole = lines(&mut chain, 7).concat();
        let mut rng = Rng::from_number(7);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << rng.below(8);
            let report = check(&[(0, bytes)], &[]);
            // Without its newline the last line is one that is being written: shown, and no proof of anything.
            assert!(!report.is_sound() || (at + 1 == whole.len() && report.torn.is_some()), "at {at}: {report:?}");
        }
    }

    #[test]
    fn any_removed_repeated_or_swapped_line_is_found() {
        let mut chain = AuditChain::default();
        let whole = lines(&mut chain, 9);
        for at in 0..whole.len() - 1 {
            let (mut removed, mut repeated, mut swapped) = (whole.clone(), whole.clone(), whole.clone());
            removed.remove(at);
            repeated.insert(at, whole[at].clone());
            swapped.swap(at, at + 1);
            for (lines, n) in [(removed, at), (repeated, at + 1), (swapped, at)] {
                let report = check(&[(0, lines.concat())], &[]);
                assert!(!report.is_sound());
                let found = report.faults.first().map_or_else(|| report.torn.unwrap().n, |fault| fault.n);
                assert_eq!(found, n as u64, "{report:?}");
            }
        }
    }

    #[test]
    fn a_change_is_told_where_it_stands_and_once() {
        let mut chain = AuditChain::default();
        let mut whole = lines(&mut chain, 9);
        let at = whole[3].len() - 10;
        whole[3][at] ^= 1;
        let report = check(&[(0, whole.concat())], &[]);
        let fault = AuditFault { n: 3, file: "f0".into(), line: 4, why: report.faults[0].why };
        assert_eq!((report.faults, report.fault_count, report.lines), (vec![fault], 1, 8));
    }

    #[test]
    fn a_bad_last_line_is_told_from_a_bad_line_elsewhere() {
        let mut chain = AuditChain::default();
        let (older, newer) = (lines(&mut chain, 3), lines(&mut chain, 3));
        let cut = |lines: &[Vec<u8>]| lines.concat()[..lines.concat().len() - 9].to_vec();
        let report = check(&[(0, older.concat()), (3, cut(&newer))], &[]);
        let torn = report.torn.unwrap();
        assert!(report.is_sound() && torn.n == 5 && !torn.ended && torn.bytes == newer[2].len() - 9);
        assert_eq!(torn.offset, newer[0].len() + newer[1].len());
        let report = check(&[(0, cut(&older)), (3, newer.concat())], &[]);
        assert!(!report.is_sound() && report.torn.is_none() && report.faults[0].n == 2);
        // Nothing of a line but its newline, at the end.
        let report = check(&[(0, [older.concat(), b"\n".to_vec()].concat())], &[]);
        assert!(!report.is_sound() && report.torn.unwrap().ended);
    }

    #[test]
    fn a_cut_end_is_found_only_against_the_other_side() {
        let mut chain = AuditChain::default();
        let mut whole = lines(&mut chain, 6);
        let early = AuditNote { line: 0, whose: None, mark: AuditMark { n: 1, h: AuditHash::ZERO } };
        let late = note(chain);
        assert_eq!(check(&[(0, whole.concat())], &[late]).compared.matched, 1);
        whole.pop();
        assert!(check(&[(0, whole.concat())], &[]).is_sound());
        let report = check(&[(0, whole.concat())], &[late, early]);
        assert!(!report.is_sound());
        assert_eq!((report.compared.missing, report.compared.different), (vec![late], vec![early]));
    }

    #[test]
    fn a_chain_computed_anew_is_found_by_its_heads_and_by_the_other_side() {
        let mut chain = AuditChain::default();
        lines(&mut chain, 6);
        let (noted, (x, thief)) = (note(chain), (keys().0, SignKey::from_seed(&[9; 32])));
        let mut forged = AuditChain::default();
        let mut bytes = Vec::new();
        for n in 0..6u64 {
            let entry = match n {
                4 => AuditEntry::Head { x: &x, sign: &thief },
                _ => AuditEntry::Repair { cut: 1 },
            };
            let (line, mark) = forged.encode(Timestamp::ZERO, &entry).unwrap();
            forged.follow(mark);
            bytes.extend(line);
        }
        let report = check(&[(0, bytes)], &[noted]);
        assert_eq!((report.faults.len(), report.faults[0].n, report.signed_to), (1, 4, None));
        assert_eq!(report.compared.different, [noted]);
    }

    #[test]
    fn notes_are_about_the_rig_that_the_command_went_to() {
        let (x, _) = keys();
        let other = SecretKey::from_bytes([5; 32]).public_key();
        let mut chain = AuditChain::default();
        let mut notes = AuditNotes::default();
        for (whose, n) in [(x, 1), (other, 2)] {
            let peer = Some((&whose, AuditMark { n, h: AuditHash::ZERO }));
            let (line, mark) = chain.encode(Timestamp::ZERO, &AuditEntry::End { of: 0, result: Ok(()), peer }).unwrap();
            chain.follow(mark);
            notes.handle_line(&AuditLine::decode(line.trim_ascii_end()).unwrap());
        }
        let notes = notes.finish();
        assert_eq!(notes.iter().map(|note| note.whose).collect::<Vec<_>>(), [Some(x), Some(other)]);
        let report = check(&[(0, lines(&mut AuditChain::default(), 3).concat())], &notes);
        assert_eq!(report.compared.different, [notes[0]], "the other rig's place is no matter of this chain");
        assert_eq!(report.compared.missing, []);
    }
}
