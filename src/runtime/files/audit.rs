//! The files of the audit log (secure-session.md §7): `audit-<n of its first line>.log`, appended to and synced line by
//! line, 4 MiB each, 16 of them; and reading them while somebody else writes.
//!
//! A line that was acknowledged is on the disk. One whose write failed was never acknowledged: it is cut before the next
//! one is written. A file in which a line that is not the last one is bad is left as it stands: a new file is begun, whose
//! first line says that tampering was found, and commands go on.

use super::disk::{Disk, DiskFile, Folder, Kind};
use crate::base::{Error, Result, Timestamp};
use crate::identity::{Identity, PublicKey, SignKey};
use crate::peers::{
    AUDIT_FILE_BYTES_MAX, AUDIT_FILES_MAX, AUDIT_HEAD_AGE, AUDIT_HEAD_LINES, AUDIT_LINE_BYTES_MAX, AUDIT_N_MAX,
    AuditChain, AuditCheck, AuditEntry, AuditFault, AuditHash, AuditLine, AuditMark, AuditNote, AuditNotes,
    AuditReport,
};
use parking_lot::Mutex;
use std::io::ErrorKind;
use std::path::Path;

/// The most that is read of a file: a repair may stand behind the bound.
const READ_BYTES_MAX: usize = AUDIT_FILE_BYTES_MAX + AUDIT_LINE_BYTES_MAX;
/// Lines that are synced together.
const PIECE_LINES: usize = 256;
/// No file has more lines than this: 64 digits, a space, `{}` and a newline are 68 bytes.
const FILE_LINES_MAX: u64 = (READ_BYTES_MAX / 68) as u64;

fn name_of(first: u64) -> String {
    format!("audit-{first:012}.log")
}

/// The number in a name, which has one spelling.
fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".log")?;
    let first = digits.parse().ok().filter(|first| *first <= AUDIT_N_MAX)?;
    (name_of(first) == name).then_some(first)
}

/// The first lines' numbers, oldest first.
fn list(folder: &Folder) -> Result<Vec<u64>> {
    let entries = folder.entries()?;
    // The names sort as their numbers do.
    Ok(entries.iter().filter(|(_, kind)| *kind == Kind::File).filter_map(|(name, _)| first_of(name)).collect())
}

/// Reads one file, if it is there, into a check.
fn read_into(
    folder: &Folder,
    first: u64,
    newest: bool,
    check: &mut AuditCheck,
    see: impl FnMut(&AuditLine<'_>),
) -> Result<()> {
    let name = name_of(first);
    match folder.read(&name, READ_BYTES_MAX) {
        Ok(Some(bytes)) => check.handle_file(&name, first, &bytes, newest, see),
        Ok(None) => {}
        Err(Error::Malformed { .. }) => check.handle_unreadable(&name, first, "the file is larger than any of ours"),
        Err(e) => return Err(e),
    }
    Ok(())
}

/// Checks the whole log in a folder, oldest line first, and gives each good line to `see`. Only reads, so a daemon may
/// be writing meanwhile. Heads must be signed by one of `keys` (X, S); `notes` are what the other side noted. No folder is
/// a log without lines.
///
/// # Errors
/// [`Error::Io`] when the folder or a file cannot be read. What is wrong in them is in the report.
pub fn check_audit(
    folder: &Path,
    keys: &[(PublicKey, [u8; 32])],
    notes: &[AuditNote],
    mut see: impl FnMut(&AuditLine<'_>),
) -> Result<AuditReport> {
    let mut check = AuditCheck::new(keys);
    check.expect(notes);
    if !folder.is_dir() {
        return Ok(check.finish());
    }
    let folder = Disk::real().folder(folder)?;
    let files = list(&folder)?;
    if let Some(oldest) = files.first() {
        check.handle_list(*oldest, files.len());
    }
    for (i, first) in files.iter().enumerate() {
        // The oldest may have gone since they were listed; one behind it that did shows as missing lines.
        read_into(&folder, *first, i + 1 == files.len(), &mut check, &mut see)?;
    }
    Ok(check.finish())
}

/// What the other side's log, a file of it or its whole folder, notes about other chains, and whether that log itself
/// holds.
///
/// # Errors
/// [`Error::Io`] when it is not there or cannot be read.
pub fn read_audit_notes(path: &Path) -> Result<(Vec<AuditNote>, AuditReport)> {
    let mut notes = AuditNotes::default();
    if path.is_dir() {
        let report = check_audit(path, &[], &[], |line| notes.handle_line(line))?;
        return Ok((notes.finish(), report));
    }
    let Some(bytes) = super::atomic::read(path, READ_BYTES_MAX)? else {
        return Err(Error::io(format!("cannot read {}", path.display()), &ErrorKind::NotFound.into()));
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Without its name, the file says itself where it begins.
    let stated = || {
        let line = bytes.split(|c| *c == b'\n').next().unwrap_or_default();
        AuditLine::decode(line).map_or(0, |line| line.mark.n)
    };
    let first = first_of(&name).unwrap_or_else(stated);
    let mut check = AuditCheck::new(&[]);
    check.handle_file(&name, first, &bytes, true, |line| notes.handle_line(line));
    Ok((notes.finish(), check.finish()))
}

/// The newest lines as they stand in the files, the oldest first, at most so many and together so many bytes; and whether
/// there are older ones. Judges nothing: whoever reads them has the hashes. Only reads.
///
/// # Errors
/// [`Error::Io`].
pub(in crate::runtime) fn read_audit_tail(
    disk: &Disk,
    path: &Path,
    lines_max: usize,
    bytes_max: usize,
) -> Result<(Vec<String>, bool)> {
    let folder = disk.folder(path)?;
    let (mut newest, mut bytes) = (Vec::new(), 0usize);
    for first in list(&folder)?.into_iter().rev() {
        let content = folder.read(&name_of(first), READ_BYTES_MAX)?.unwrap_or_default();
        // What follows the last newline is being written, or was never acknowledged.
        let whole = content.iter().rposition(|c| *c == b'\n').unwrap_or(0);
        for line in content.get(..whole).unwrap_or_default().rsplit(|c| *c == b'\n').filter(|line| !line.is_empty()) {
            bytes = bytes.saturating_add(line.len());
            if newest.len() >= lines_max || bytes > bytes_max {
                newest.reverse();
                return Ok((newest, true));
            }
            newest.push(String::from_utf8_lossy(line).into_owned());
        }
    }
    newest.reverse();
    Ok((newest, false))
}

/// The log that is written. One process owns its folder.
pub struct AuditLog {
    x: PublicKey,
    sign: SignKey,
    writer: Mutex<Writer>,
}

struct Writer {
    folder: Folder,
    file_bytes_max: u64,
    /// The first lines' numbers, oldest first.
    files: Vec<u64>,
    /// The newest file; `None` when the next line begins one.
    file: Option<Newest>,
    chain: AuditChain,
    /// What must be written before anything else.
    owed: Option<Owed>,
    /// Lines since the last head.
    unsigned: u64,
    /// When the last head was written, or the first line without one.
    since: Option<Timestamp>,
}

struct Newest {
    file: DiskFile,
    /// Bytes of whole lines.
    good: u64,
    /// What is behind them is of a line that failed, and goes.
    dirty: bool,
}

#[derive(Clone, Copy)]
enum Owed {
    /// A last line, this long, that a crash left.
    Repair(u64),
    /// Tampering, found at this line.
    Tampered(u64),
}

impl AuditLog {
    /// Opens the log in `path`, which is made when it is missing, and looks at its two newest files. Tampering that they
    /// show comes with it, and is to be told loudly; commands go on.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder or a file cannot be opened or read. That a repair cannot be written yet (a full
    /// disk) is no error here: the next line fails for it.
    pub fn open(path: &Path, identity: &Identity, t: Timestamp) -> Result<(AuditLog, Option<AuditFault>)> {
        AuditLog::open_on(&Disk::real(), path, identity, t, AUDIT_FILE_BYTES_MAX as u64)
    }

    pub(in crate::runtime) fn open_on(
        disk: &Disk,
        path: &Path,
        identity: &Identity,
        t: Timestamp,
        file_bytes_max: u64,
    ) -> Result<(AuditLog, Option<AuditFault>)> {
        let (x, sign) = (identity.public_key(), SignKey::from_seed(&identity.sign_key().seed()));
        let folder = match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Some(parent), Some(name)) => disk.folder(parent)?.open_or_create(name)?,
            _ => disk.folder(path)?,
        };
        let files = list(&folder)?;
        let mut check = AuditCheck::new(&[(x, sign.public())]);
        let mut first_t = None;
        let looked_at = files.get(files.len().saturating_sub(2)..).unwrap_or_default();
        for first in looked_at {
            let newest = files.last() == Some(first);
            read_into(&folder, *first, newest, &mut check, |line| first_t = first_t.or(line.t))?;
        }
        let (next, before) = (check.next_n(), check.before().unwrap_or(AuditHash::ZERO));
        let tampered = check.faults_here() > 0;
        let report = check.finish();
        let mut writer = Writer {
            folder,
            file_bytes_max,
            files,
            file: None,
            chain: AuditChain::default(),
            owed: None,
            unsigned: report.lines,
            since: first_t,
        };
        if let Some((n, at)) = report.last_head {
            writer.unsigned = next.unwrap_or(n).saturating_sub(n).saturating_sub(1);
            writer.since = at.or(first_t);
        }
        if let Some(first) = writer.files.last().copied() {
            let last = first.saturating_add(FILE_LINES_MAX);
            if tampered {
                // Whatever numbers the file states, the new one's name must be another and its numbers be new. A last
                // line that is not whole stays, and takes a number too.
                let next = next.map(|next| next.saturating_add(u64::from(report.torn.is_some())));
                let n = next.unwrap_or(last).clamp(first.saturating_add(1), last);
                let name = name_of(first);
                let at = report.faults.iter().find(|fault| fault.file == name).map_or(first, |fault| fault.n);
                writer.chain = AuditChain::resume(n, before);
                writer.owed = Some(Owed::Tampered(at));
            } else {
                writer.chain = AuditChain::resume(next.unwrap_or(first), before);
                writer.owed = report.torn.map(|torn| Owed::Repair(u64::try_from(torn.bytes).unwrap_or(u64::MAX)));
                if let Some(file) = writer.folder.open_file(&name_of(first), true)? {
                    let size = file.size()?;
                    let good = report.torn.and_then(|torn| u64::try_from(torn.offset).ok()).unwrap_or(size);
                    writer.file = Some(Newest { file, good, dirty: false });
                }
            }
        }
        let log = AuditLog { x, sign, writer: Mutex::new(writer) };
        // A disk that is full now may not be later: the first line tries again, and fails if it must.
        let _ = log.handle_timeout(t);
        Ok((log, report.faults.into_iter().next()))
    }

    /// Appends a line. After `Ok` it survives a power cut. Blocks for the disk: not for the dispatcher's thread.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] (the line is too long) or [`Error::Failed`] (no numbers left): then the command
    /// must not run.
    pub fn append(&self, t: Timestamp, entry: &AuditEntry<'_>) -> Result<AuditMark> {
        let mut writer = self.writer.lock();
        // A command that has run is written first.
        if matches!(entry, AuditEntry::End { .. }) {
            writer.pay(t)?;
        } else {
            self.settle(&mut writer, t)?;
        }
        writer.write(t, entry)
    }

    /// Appends many lines, synced together: a controller's about a whole fleet. One place for each.
    ///
    /// # Errors
    /// As [`AuditLog::append`]. Then some of them may be on disk all the same: commands that begin and never end.
    pub fn append_all(&self, t: Timestamp, entries: &[AuditEntry<'_>]) -> Result<Vec<AuditMark>> {
        let mut writer = self.writer.lock();
        let mut marks = Vec::with_capacity(entries.len());
        // In pieces, so that heads come as often as they should.
        for piece in entries.chunks(PIECE_LINES) {
            if piece.iter().all(|entry| matches!(entry, AuditEntry::End { .. })) {
                writer.pay(t)?;
            } else {
                self.settle(&mut writer, t)?;
            }
            marks.extend(writer.write_all(t, piece)?);
        }
        Ok(marks)
    }

    /// Writes what is owed: a repair, a head after a day without one. To be called now and then; blocks for the disk.
    ///
    /// # Errors
    /// As [`AuditLog::append`]; it is tried again at the next line.
    pub fn handle_timeout(&self, t: Timestamp) -> Result<()> {
        self.settle(&mut self.writer.lock(), t)
    }

    fn settle(&self, writer: &mut Writer, t: Timestamp) -> Result<()> {
        writer.pay(t)?;
        let old = writer.since.is_some_and(|since| t.since(since) >= AUDIT_HEAD_AGE);
        if writer.unsigned >= AUDIT_HEAD_LINES || (writer.unsigned > 0 && old) {
            writer.write(t, &AuditEntry::Head { x: &self.x, sign: &self.sign })?;
        }
        Ok(())
    }
}

impl Writer {
    fn pay(&mut self, t: Timestamp) -> Result<()> {
        match self.owed {
            None => return Ok(()),
            Some(Owed::Repair(cut)) => self.write(t, &AuditEntry::Repair { cut })?,
            Some(Owed::Tampered(at)) => self.write(t, &AuditEntry::Tampered { at })?,
        };
        self.owed = None;
        Ok(())
    }

    fn write(&mut self, t: Timestamp, entry: &AuditEntry<'_>) -> Result<AuditMark> {
        let (line, mark) = self.chain.encode(t, entry)?;
        let repair = matches!(entry, AuditEntry::Repair { .. });
        self.put(&line, repair)?;
        self.chain.follow(mark);
        if matches!(entry, AuditEntry::Head { .. }) {
            (self.unsigned, self.since) = (0, Some(t));
        } else {
            self.count(t, 1);
        }
        Ok(mark)
    }

    /// Commands' lines, none of them a head or a repair: as many as fit go into a file at once.
    fn write_all(&mut self, t: Timestamp, entries: &[AuditEntry<'_>]) -> Result<Vec<AuditMark>> {
        let mut chain = self.chain;
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            let (line, mark) = chain.encode(t, entry)?;
            chain.follow(mark);
            lines.push((line, mark));
        }
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            let room = |good: u64| usize::try_from(self.file_bytes_max.saturating_sub(good)).unwrap_or(usize::MAX);
            let (mut bytes, mut here) = (Vec::new(), 0);
            // What does not fit behind the newest file's end begins one of its own.
            let behind = self.file.as_ref().map(|newest| room(newest.good));
            let first = rest.first().map_or(0, |(line, _)| line.len());
            let free = behind.filter(|free| *free >= first).unwrap_or_else(|| room(0));
            for (line, _) in rest {
                if here > 0 && bytes.len() + line.len() > free {
                    break;
                }
                bytes.extend_from_slice(line);
                here += 1;
            }
            self.put(&bytes, false)?;
            let (done, left) = rest.split_at_checked(here).unwrap_or((rest, &[]));
            done.iter().for_each(|(_, mark)| self.chain.follow(*mark));
            self.count(t, done.len() as u64);
            rest = left;
        }
        Ok(lines.into_iter().map(|(_, mark)| mark).collect())
    }

    fn count(&mut self, t: Timestamp, lines: u64) {
        self.unsigned = self.unsigned.saturating_add(lines);
        self.since = self.since.or(Some(t));
    }

    /// Whole lines, durably. A repair is written over what it is about, so that nothing is ever cut without a word.
    fn put(&mut self, lines: &[u8], repair: bool) -> Result<()> {
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if let Some(newest) = self.file.as_mut().filter(|newest| newest.dirty) {
            newest.file.cut(newest.good)?;
            newest.file.sync()?;
            newest.dirty = false;
        }
        let newest = match &mut self.file {
            Some(newest) if repair || newest.good.saturating_add(length) <= self.file_bytes_max => newest,
            _ => self.begin_file()?,
        };
        newest.dirty = !repair;
        newest.file.write_at(newest.good, lines)?;
        if repair {
            newest.file.cut(newest.good.saturating_add(length))?;
        }
        newest.file.sync()?;
        (newest.good, newest.dirty) = (newest.good.saturating_add(length), false);
        Ok(())
    }

    /// A new file, durably there and empty. The oldest go.
    fn begin_file(&mut self) -> Result<&mut Newest> {
        let first = self.chain.next_n();
        let name = name_of(first);
        // One of this name is what a failed attempt left, else it has something in it.
        let file = match self.folder.open_file(&name, true)? {
            Some(file) if file.size()? == 0 => file,
            _ => self.folder.create_file(&name)?,
        };
        self.folder.sync()?;
        if self.files.last() != Some(&first) {
            self.files.push(first);
        }
        while self.files.len() > AUDIT_FILES_MAX {
            let Some(oldest) = self.files.first().copied() else { break };
            // What cannot be removed now is tried again with the next file.
            if self.folder.remove_file(&name_of(oldest)).is_err() {
                break;
            }
            self.files.remove(0);
        }
        Ok(self.file.insert(Newest { file, good: 0, dirty: false }))
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
