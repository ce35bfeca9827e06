//! `enrol`: a rig whose data folder holds an `enrol.link` dials the controller of that link until both know each other, then
//! removes the file. Who makes images for a farm puts the same file on every card.

use super::pairing::Pairing;
use crate::base::{Error, Result};
use crate::peers::PairLink;
use crate::runtime::files::atomic;
use crate::runtime::threads::STACK_HANDSHAKE;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// The largest file that is read, bytes.
const FILE_BYTES_MAX: usize = 4096;
/// First pause after a failure; doubles up to [`PAUSE_MAX`], and a rig's own share comes on top, so that a farm that is
/// switched on at once does not dial at once.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The thread, and what ends it.
pub(super) struct Enroller {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Enroller {
    /// Starts when there is a file.
    ///
    /// # Errors
    /// [`Error::Config`] for a file that holds no link of an enrolment: it stays as it is.
    pub(super) fn start(file: PathBuf, pairing: Pairing) -> Result<Option<Enroller>> {
        let Some(bytes) = atomic::read(&file, FILE_BYTES_MAX)? else { return Ok(None) };
        let link = std::str::from_utf8(&bytes).ok().map(str::parse::<PairLink>);
        let link = match link {
            Some(Ok(link)) if link.enrol.is_some() => link,
            Some(Err(e)) => return Err(Error::Config(format!("{}: {e}", file.display()))),
            _ => return Err(Error::Config(format!("{}: this is no link of `rigmesh enrol`", file.display()))),
        };
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new()
            .name("enrol".to_owned())
            .stack_size(STACK_HANDSHAKE)
            .spawn(move || run(&file, &link, &pairing, &stopped))
            .map_err(|e| Error::io("cannot start the thread enrol", &e))?;
        Ok(Some(Enroller { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Enroller {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!(target: "peers", thread = "enrol"; "a thread panicked");
        }
    }
}

fn run(file: &Path, link: &PairLink, pairing: &Pairing, stopped: &Receiver<()>) {
    let mut pause = PAUSE_MIN;
    let share = pairing.share_of_a_second();
    loop {
        match pairing.join(link, None) {
            Ok(paired) => {
                log::info!(target: "peers", peer = paired.peer.to_string().as_str(), name = crate::base::quote_value(&paired.name).as_ref(); "enrolled with its controller");
                // As long as it is there, the next start only asks again what is known.
                if let Err(e) = atomic::remove(file) {
                    log::error!(target: "peers", "{} is used and could not be removed, remove it: {e}", file.display());
                }
                return;
            }
            Err(Error::ShuttingDown) => return,
            Err(e) => log::warn!(target: "peers", retry_s = pause.as_secs(); "not enrolled yet: {e}"),
        }
        match stopped.recv_timeout(pause + share) {
            Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(PAUSE_MAX),
            _ => return,
        }
    }
}
