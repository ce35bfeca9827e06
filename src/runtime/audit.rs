//! The audit log of a running node: opened once, shared by the threads that carry commands out, and what is wrong with it
//! for the status.

use super::clock::wall;
use super::files::audit::{AuditLog, read_audit_tail};
use super::files::disk::Disk;
use crate::base::{Error, Result, Timestamp};
use crate::identity::Identity;
use crate::mesh::{AuditSink, not_recorded};
use crate::message::AuditTail;
use crate::peers::{AUDIT_FILE_BYTES_MAX, AuditBegin, AuditEntry, AuditFault, AuditMark};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often a log that nothing is written to is looked after: its heads are a day apart.
pub(crate) const AUDIT_EVERY: Duration = Duration::from_hours(1);
/// The most lines that a peer is given at once, and their bytes: a message that fits every frame.
const TAIL_LINES_MAX: usize = 500;
const TAIL_BYTES_MAX: usize = 192 << 10;

/// The log and how it stands. Every call may block for the disk.
pub(crate) struct AuditBook {
    disk: Disk,
    folder: PathBuf,
    identity: Arc<Identity>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    log: Option<Arc<AuditLog>>,
    tampered: Option<String>,
    unwritable: Option<String>,
}

impl AuditBook {
    /// Of this folder, not yet opened: a command that only asks a rig something has no need of it.
    pub(crate) fn new(disk: Disk, folder: PathBuf, identity: Arc<Identity>) -> AuditBook {
        AuditBook { disk, folder, identity, state: Mutex::default() }
    }

    /// Opens the log, checks its newest files, repairs its end. A log that cannot be opened is told loudly and tried again
    /// by every command: a rig goes on mining, and refuses to be changed.
    pub(crate) fn open(&self, t: Timestamp) {
        if let Err(e) = self.log(t) {
            log::error!(target: "audit", "the audit log cannot be opened, so no command is carried out: {e}");
        }
    }

    /// Writes what is owed, such as a head after a day. Nothing while the log is not open.
    pub(crate) fn handle_timeout(&self, t: Timestamp) {
        let log = self.state.lock().log.clone();
        let Some(log) = log else { return };
        let done = log.handle_timeout(t);
        if let Err(e) = &done {
            log::error!(target: "audit", "the audit log cannot be written: {e}");
        }
        let _ = self.note(done);
    }

    /// Many lines, synced together.
    pub(crate) fn append_all(&self, t: Timestamp, entries: &[AuditEntry<'_>]) -> Result<Vec<AuditMark>> {
        self.note(self.log(t).and_then(|log| log.append_all(t, entries)))
    }

    /// A change between its two lines.
    ///
    /// # Errors
    /// [`Error::Failed`] when it cannot be recorded, and was not made; what the change gives.
    pub(crate) fn record<T>(&self, begin: &AuditBegin<'_>, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = self.append(wall(), &AuditEntry::Begin(*begin)).map_err(|e| Error::Failed(not_recorded(&e)))?;
        let result = change();
        let why = result.as_ref().err().map(Error::to_string);
        self.end(wall(), begun.n, why.as_deref().map_or(Ok(()), Err));
        result
    }

    /// The newest lines, for a peer that asks: at most `lines`, or as many as are given at once when that is 0 or more.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn tail(&self, lines: u32) -> Result<AuditTail> {
        let asked = usize::try_from(lines).unwrap_or(TAIL_LINES_MAX);
        let lines_max = if asked == 0 { TAIL_LINES_MAX } else { asked.min(TAIL_LINES_MAX) };
        if !self.folder.is_dir() {
            return Ok(AuditTail::default());
        }
        let (lines, more) = read_audit_tail(&self.disk, &self.folder, lines_max, TAIL_BYTES_MAX)?;
        Ok(AuditTail { lines, more })
    }

    /// What its owner should know: that somebody changed it, or that it cannot be written.
    pub(crate) fn trouble(&self) -> Option<String> {
        let state = self.state.lock();
        let parts: Vec<&str> =
            [&state.tampered, &state.unwritable].into_iter().filter_map(|part| part.as_deref()).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn log(&self, t: Timestamp) -> Result<Arc<AuditLog>> {
        let mut state = self.state.lock();
        if let Some(log) = &state.log {
            return Ok(log.clone());
        }
        let opened = AuditLog::open_on(&self.disk, &self.folder, &self.identity, t, AUDIT_FILE_BYTES_MAX as u64);
        match opened {
            Ok((log, fault)) => {
                if let Some(fault) = fault {
                    let text = told(&fault);
                    log::error!(target: "audit", "{text}");
                    state.tampered = Some(text);
                }
                state.unwritable = None;
                Ok(state.log.insert(Arc::new(log)).clone())
            }
            Err(e) => {
                state.unwritable = Some(refused(&e.to_string()));
                Err(e)
            }
        }
    }

    /// Remembers whether the last line could be written.
    fn note<T>(&self, done: Result<T>) -> Result<T> {
        // A line that is too long is its sender's fault, and says nothing about the disk.
        if !matches!(done, Err(Error::Malformed { .. })) {
            self.state.lock().unwritable = done.as_ref().err().map(|e| refused(&e.to_string()));
        }
        done
    }
}

impl AuditSink for AuditBook {
    fn append(&self, t: Timestamp, entry: &AuditEntry<'_>) -> Result<AuditMark> {
        self.note(self.log(t).and_then(|log| log.append(t, entry)))
    }
}

fn refused(why: &str) -> String {
    format!("the audit log cannot be written, so no command is carried out: {why}")
}

fn told(fault: &AuditFault) -> String {
    let place = if fault.file.is_empty() { String::new() } else { format!(" ({}:{})", fault.file, fault.line) };
    format!("the audit log was changed by somebody: line {}{place}: {}; see rigmesh audit verify", fault.n, fault.why)
}
