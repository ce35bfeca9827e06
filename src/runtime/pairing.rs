//! Who may become known to this node by a code (secure-session.md §3): the desk where one is shown, and the enrolment with
//! its file. Handshake threads ask here, and save here whom they paired with, before anybody is told.

use super::audit::AuditBook;
use super::clock::{Clock, wall};
use super::files::atomic;
use super::files::disk::Disk;
use super::files::registry::SharedRegistry;
use crate::base::{Error, Refusal, Result, Rng};
use crate::identity::PublicKey;
use crate::mesh::{PairAim, Target};
use crate::peers::{AuditBegin, CodeKind, Enrolment, Grants, PairCode, PairDesk, PairState, Peer};
use crate::session::secure::Psk;
use crate::session::{Asked, Established};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The largest file that is read: the most rigs with the longest names.
const FILE_BYTES_MAX: usize = 8 << 20;

/// The codes of one node.
pub(crate) struct Pairings {
    desk: Mutex<PairDesk>,
    enrolment: Mutex<Option<Enrolment>>,
    disk: Disk,
    file: PathBuf,
    registry: SharedRegistry,
    audit: Option<Arc<AuditBook>>,
    clock: Clock,
}

/// One that somebody tries; it ends when this is dropped.
pub(crate) struct Attempt {
    pairings: Arc<Pairings>,
    from: IpAddr,
    asked: Asked,
    wrong: bool,
}

impl Pairings {
    /// Takes up the enrolment that an earlier run began, if there is one.
    ///
    /// # Errors
    /// [`Error::Config`] naming a file that cannot be read, which stays as it is.
    pub(crate) fn load(
        disk: Disk,
        file: PathBuf,
        registry: SharedRegistry,
        audit: Option<Arc<AuditBook>>,
        clock: Clock,
    ) -> Result<Arc<Pairings>> {
        let enrolment = match atomic::read(&file, FILE_BYTES_MAX)? {
            Some(bytes) => Some(Enrolment::decode(&bytes).map_err(|e| {
                Error::Config(format!("{}: {e}; it was left as it is: correct it or move it away", file.display()))
            })?),
            None => None,
        };
        let (desk, enrolment) = (Mutex::default(), Mutex::new(enrolment));
        Ok(Arc::new(Pairings { desk, enrolment, disk, file, registry, audit, clock }))
    }

    /// Shows a new code.
    pub(crate) fn show(&self, grants: Grants, span: Duration, rng: &mut Rng) -> PairCode {
        let code = PairCode::draw(CodeKind::Pair, rng);
        self.desk.lock().open(code.clone(), grants, self.clock.mono() + span);
        code
    }

    /// Shows none any more.
    pub(crate) fn hide(&self) {
        self.desk.lock().close();
    }

    /// How the code stands, and how often it was tried wrongly.
    pub(crate) fn state(&self) -> (PairState, u32) {
        let desk = self.desk.lock();
        (desk.state(self.clock.mono()), desk.wrong())
    }

    /// Begins an enrolment, which replaces the one before. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::Io`]; then nothing has changed.
    pub(crate) fn enrol(&self, uses: u32, days: u32, grants: Grants, rng: &mut Rng) -> Result<PairCode> {
        let (enrolment, code) = Enrolment::new(wall(), uses, days, grants, rng);
        let mut held = self.enrolment.lock();
        self.save(&enrolment)?;
        *held = Some(enrolment);
        Ok(code)
    }

    /// The enrolment as it stands.
    pub(crate) fn enrolment(&self) -> Option<Enrolment> {
        self.enrolment.lock().clone()
    }

    /// Ends it: its link is worth nothing any more. `false` when there was none.
    ///
    /// # Errors
    /// [`Error::Io`] when the file could not be removed: it ends all the same, until the node does.
    pub(crate) fn end_enrolment(&self) -> Result<bool> {
        let had = self.enrolment.lock().take().is_some();
        if had {
            atomic::remove(&self.file)?;
        }
        Ok(had)
    }

    /// Lets a key in, with what `grants` says, on disk, and in the audit log. `who` asked for it: the key itself, or this
    /// machine's owner.
    fn save_paired(&self, who: Option<&PublicKey>, with: &Established, grants: Option<Grants>) -> Result<()> {
        let session = with.session.as_ref().and_then(|session| session.id.first_chunk().copied());
        let args = serde_json::json!({ "key": with.key, "name": with.identity.name, "grants": grants });
        let begin = AuditBegin { who, session, id: "", ts: None, what: "pair", args: &args, peer: None };
        let save = || self.registry.pair(&with.key, grants, &sign_of(with));
        match &self.audit {
            Some(audit) => audit.record(&begin, save),
            None => save(),
        }
    }

    fn save(&self, enrolment: &Enrolment) -> Result<()> {
        self.disk.write(&self.file, enrolment.encode()?.as_bytes(), 0o600)
    }

    /// Somebody at this address who says it holds `key` wants to pair.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn begin(
        self: &Arc<Self>,
        from: IpAddr,
        key: &PublicKey,
        asked: Asked,
    ) -> std::result::Result<(Psk, Attempt), Refusal> {
        if self.registry.inner().read().access().is_revoked(key) {
            return Err(Refusal::NotAllowed);
        }
        let now = self.clock.mono();
        let psk = match asked {
            Asked::Enrol => match &*self.enrolment.lock() {
                Some(enrolment) => enrolment.psk(wall(), key)?,
                None => return Err(Refusal::pairing("not pairing")),
            },
            Asked::Pair | Asked::Link => self.desk.lock().psk(now, key)?,
        };
        self.desk.lock().begin(now, from)?;
        Ok((psk.into(), Attempt { pairings: self.clone(), from, asked, wrong: false }))
    }

    /// Whom we dialled has proven itself and saved us: saves it, durably.
    ///
    /// # Errors
    /// [`Error::Io`], or what the registry does not take. The same code may be tried again until its time is over.
    pub(crate) fn save_dialled(
        &self,
        aim: &PairAim,
        target: &Target,
        certificate: Option<[u8; 32]>,
        established: &Established,
    ) -> Result<()> {
        let key = &established.key;
        self.save_paired(None, established, aim.grants)?;
        let peer = Peer {
            id: established.id.to_string(),
            // What it calls itself is noted when the link stands.
            name: aim.name.clone().unwrap_or_default(),
            public_key: key.to_base64(),
            address: target.address.clone(),
            role: established.identity.role.clone(),
            ..Peer::default()
        };
        self.registry.adopt_peer(peer, |extra| {
            (extra.tls, extra.tls_pin) = (target.tls, certificate);
            extra.named |= aim.name.is_some();
            // The controller of an enrolment does not know where its rigs are.
            extra.uplink |= aim.joining.enrol;
        })
    }
}

impl Attempt {
    /// The proof did not fit: the code was another.
    pub(crate) fn note_wrong(&mut self) {
        self.wrong = true;
    }

    /// The peer has proven itself and that it knows the code: it is saved, durably, and this is what it may do.
    ///
    /// # Errors
    /// [`Refusal::Pairing`] when somebody else was faster, [`Error::Io`] when saving failed.
    pub(crate) fn accept(&self, established: &Established) -> Result<Grants> {
        let (all, key) = (&self.pairings, &established.key);
        let granted = match self.asked {
            Asked::Enrol => {
                let mut held = all.enrolment.lock();
                let mut enrolment = held.clone().ok_or(Refusal::pairing("not pairing"))?;
                enrolment.claim(wall(), key, &established.identity.name)?;
                all.save(&enrolment)?;
                *held = Some(enrolment);
                None
            }
            Asked::Pair | Asked::Link => {
                Some(all.desk.lock().claim(all.clock.mono(), key)?.intersection(want(established)))
            }
        };
        all.save_paired(Some(key), established, granted)?;
        Ok(granted.unwrap_or(Grants::NONE))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.pairings.desk.lock().end(self.from, self.wrong);
    }
}

/// What the peer asks to be allowed; words of a later version count for nothing.
fn want(established: &Established) -> Grants {
    let words = established.session.iter().flat_map(|session| &session.statement.want);
    words.filter_map(|word| word.parse().ok()).fold(Grants::NONE, Grants::union)
}

fn sign_of(established: &Established) -> [u8; 32] {
    established.session.as_ref().map_or([0; 32], |session| session.statement.sign)
}
