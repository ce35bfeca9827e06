//! Pairing and enrolment for an embedding program and for the command line (secure-session.md §3).

use super::{Shared, uplink};
use crate::base::{Error, Result};
use crate::identity::NodeId;
use crate::mesh::{Command, ConnectTo, PairAim, Target};
use crate::peers::{CodeKind, Enrolment, Grants, PAIR_ADDRESSES_MAX, PairCode, PairLink, PairState};
use crate::runtime::clock::system_rng;
use crate::runtime::whereabouts::own_addresses;
use crate::session::Expect;
use crate::session::pairing::Joining;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The longest time that a code is shown.
const SHOWN_MAX: Duration = Duration::from_secs(24 * 3600);

/// Becoming known to nodes, and letting them become known. Cheap to clone.
#[derive(Clone)]
pub struct Pairing {
    pub(in crate::node) shared: Arc<Shared>,
}

/// A node that this one was paired with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairedWith {
    /// Its id.
    pub peer: NodeId,
    /// The name it states.
    pub name: String,
    /// What this node may do there: names of grants.
    pub granted: Vec<String>,
}

impl Pairing {
    /// Shows a new code, which replaces the one before: whoever dials this node and knows it becomes known here and may do
    /// what it asks for, at most `grants`. It is good once, for `span` (at most a day), and while this node runs.
    /// `addresses`: where this node can be dialled, when that is not what its interfaces say.
    ///
    /// # Errors
    /// [`Error::Config`]: this node does not listen, has secure sessions off, or cannot say where it is.
    pub fn show(&self, grants: Grants, span: Duration, addresses: &[String]) -> Result<PairLink> {
        let (addresses, tls) = self.places(addresses)?;
        let code = self.shared.pairings.show(grants, span.min(SHOWN_MAX), &mut system_rng()?);
        Ok(PairLink { code, id: self.shared.identity.id(), addresses, tls, enrol: None })
    }

    /// Shows no code any more.
    pub fn hide(&self) {
        self.shared.pairings.hide();
    }

    /// How the code stands that was shown last, and how often it was tried wrongly.
    pub fn state(&self) -> (PairState, u32) {
        self.shared.pairings.state()
    }

    /// Begins an enrolment, which replaces the one before: `uses` rigs may become known here within `days` by the link, and
    /// grant this node `grants`. Durable when this returns; the link itself is kept nowhere.
    ///
    /// # Errors
    /// As [`Pairing::show`], and [`Error::Io`].
    pub fn enrol(&self, uses: u32, days: u32, grants: Grants, addresses: &[String]) -> Result<PairLink> {
        let (addresses, tls) = self.places(addresses)?;
        let code = self.shared.pairings.enrol(uses, days, grants, &mut system_rng()?)?;
        Ok(PairLink { code, id: self.shared.identity.id(), addresses, tls, enrol: Some(grants) })
    }

    /// The enrolment as it stands, with the rigs that came.
    pub fn enrolment(&self) -> Option<Enrolment> {
        self.shared.pairings.enrolment()
    }

    /// Ends the enrolment. `false`: there was none.
    ///
    /// # Errors
    /// [`Error::Io`] when its file could not be removed.
    pub fn end_enrolment(&self) -> Result<bool> {
        self.shared.pairings.end_enrolment()
    }

    /// Pairs with the node whose link this is, trying its addresses in their order. What it grants is in the answer; it is
    /// known here afterwards as `name`, or as it calls itself.
    ///
    /// # Errors
    /// [`Error::Rejected`] with its words, [`Error::WrongKey`], [`Error::Unreachable`]; of several addresses the reason that
    /// says most.
    pub fn join(&self, link: &PairLink, name: Option<&str>) -> Result<PairedWith> {
        let mut told: Option<Error> = None;
        for address in &link.addresses {
            let target = Target { expect: Expect::Id(link.id), ..uplink::parse_target(address)? };
            let target = Target { tls: link.tls, found: link.tls, ..target };
            match self.dial(target, &link.code, link.enrol, name) {
                Ok(paired) => return Ok(paired),
                // An answer says more than silence.
                Err(e) if told.is_none() || matches!(told, Some(Error::Unreachable(_) | Error::TimedOut(_))) => {
                    told = Some(e);
                }
                Err(_) => {}
            }
        }
        Err(told.unwrap_or_else(|| Error::Config("the link names no address".to_owned())))
    }

    /// Pairs with whoever knows the code at `[wss://]host:port`, read off its screen.
    ///
    /// # Errors
    /// As [`Pairing::join`]; [`Error::Config`] for what is no code.
    pub fn join_at(&self, code: &str, address: &str, name: Option<&str>) -> Result<PairedWith> {
        let code = PairCode::read(CodeKind::Pair, code)?;
        let target = uplink::parse_target(address)?;
        // The key behind the certificate proves that it knows the code.
        let found = target.tls && target.tls_pin.is_none();
        self.dial(Target { found, ..target }, &code, None, name)
    }

    fn dial(&self, target: Target, code: &PairCode, enrol: Option<Grants>, name: Option<&str>) -> Result<PairedWith> {
        // The rig's owner decides: we ask for everything. A rig that is enrolled asks for nothing.
        let all = Grants::CONTROLLER.union(Grants::MANAGE);
        let want = if enrol.is_some() { Grants::NONE } else { all };
        let aim = Arc::new(PairAim {
            joining: Joining {
                psk: code.psk().into(),
                want: want.names().map(str::to_owned).collect(),
                enrol: enrol.is_some(),
            },
            grants: enrol,
            name: name.map(str::to_owned),
            granted: OnceLock::new(),
        });
        let target = Target { pairing: Some(aim.clone()), ..target };
        let info = self.shared.connect(ConnectTo::Address(target.clone()))?;
        if enrol.is_some() {
            // Kept up from now on, as after every start.
            let uplink = Target { expect: Expect::Key(info.key), pairing: None, ..target };
            self.shared.control.send(Command::AddUplink { target: uplink }, None, 0)?;
        }
        let granted = aim.granted.get().cloned().unwrap_or_default();
        Ok(PairedWith { peer: info.peer, name: info.name, granted })
    }

    /// This node's own part of a second, always the same: what spreads a farm that is switched on at once.
    pub(super) fn share_of_a_second(&self) -> Duration {
        let key = self.shared.identity.public_key();
        let part = key.as_bytes().first_chunk().map_or(0, |low| u32::from_le_bytes(*low));
        Duration::from_millis(u64::from(part % 1000))
    }

    /// Where this node can be dialled, and whether by TLS.
    fn places(&self, stated: &[String]) -> Result<(Vec<String>, bool)> {
        let shared = &self.shared;
        if !shared.config.secure {
            return Err(Error::Config("pairing takes secure sessions, and `secure` is off here".to_owned()));
        }
        let Some(listen) = shared.advertised.listen else {
            return Err(Error::Config("this node does not listen, so nobody can dial it to pair".to_owned()));
        };
        let tls = shared.advertised.tls;
        if !stated.is_empty() {
            if stated.len() > PAIR_ADDRESSES_MAX {
                return Err(Error::Config(format!("at most {PAIR_ADDRESSES_MAX} addresses fit in a link")));
            }
            stated.iter().try_for_each(|address| uplink::check_address(address))?;
            return Ok((stated.to_vec(), tls));
        }
        let mut found: Vec<String> =
            shared.advertised.places(&own_addresses()).iter().map(|place| place.at.to_string()).collect();
        found.truncate(PAIR_ADDRESSES_MAX);
        if found.is_empty() && listen.ip().is_loopback() {
            found.push(listen.to_string());
        }
        if found.is_empty() {
            return Err(Error::Config("no address of this machine leads to it: say one with --address".to_owned()));
        }
        Ok((found, tls))
    }
}
