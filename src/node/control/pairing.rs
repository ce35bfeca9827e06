//! Pairing and enrolment, as requests.

use super::Summary;
use super::executor::{Each, Executor};
use crate::base::{Error, Result};
use crate::node::Pairing;
use crate::peers::{CodeKind, ENROL_DAYS_MAX, ENROL_USES_MAX, Grants, PairCode, PairLink, PairState};
use crate::runtime::clock::wall;
use serde_json::{Value, json};
use std::time::Duration;

/// The longest time that a code may be shown, minutes.
const MINUTES_MAX: u32 = 24 * 60;

impl Executor<'_> {
    fn pairing(&self) -> Pairing {
        Pairing { shared: self.shared.clone() }
    }

    pub(super) fn pair_show(&self, grant: &str, minutes: u32, addresses: &[String], each: Each<'_>) -> Result<Summary> {
        let grants: Grants = grant.parse()?;
        if !(1..=MINUTES_MAX).contains(&minutes) {
            return Err(Error::Config(format!("a code is shown for 1 to {MINUTES_MAX} minutes")));
        }
        let link = self.pairing().show(grants, Duration::from_secs(u64::from(minutes) * 60), addresses)?;
        each(json!({
            "code": link.code.grouped().as_str(),
            "link": link.encode().as_str(),
            "id": link.id,
            "addresses": link.addresses,
            "grants": grants.names().collect::<Vec<_>>(),
            "minutes": minutes,
        }));
        Ok(Summary { asked: 1, failed: 0 })
    }

    pub(super) fn pair_state(&self, each: Each<'_>) -> Result<Summary> {
        let (state, wrong) = self.pairing().state();
        let (word, left, key) = match state {
            PairState::None => ("none", None, None),
            PairState::Waiting(left) => ("waiting", Some(left.as_secs()), None),
            PairState::Used(key) => ("used", None, Some(key)),
            PairState::Expired => ("expired", None, None),
            PairState::Withdrawn => ("withdrawn", None, None),
        };
        let registry = &self.shared.registry;
        let id = key.map(|key| key.node_id().to_string());
        let name = id.as_ref().and_then(|id| registry.peer(id)).map(|peer| peer.name);
        let grants = key.map(|key| registry.grants(&key).names().map(str::to_owned).collect::<Vec<_>>());
        each(json!({ "state": word, "left_s": left, "wrong": wrong, "peer": id, "name": name, "grants": grants }));
        Ok(Summary { asked: 1, failed: 0 })
    }

    pub(super) fn pair_hide(&self, each: Each<'_>) -> Result<Summary> {
        self.pairing().hide();
        each(json!({ "state": "none" }));
        Ok(Summary { asked: 1, failed: 0 })
    }

    pub(super) fn pair_join(&self, with: &str, name: Option<&str>, each: Each<'_>) -> Result<Summary> {
        super::execute::check_name(name)?;
        let paired = if PairLink::is_link(with) {
            let link: PairLink = with.parse()?;
            self.refuse_own(link.id)?;
            if link.enrol.is_some() {
                return Err(Error::Config(
                    "this link enrols rigs: put it into a rig's data folder as enrol.link, and it pairs at its next start"
                        .to_owned(),
                ));
            }
            self.pairing().join(&link, name)?
        } else {
            let (code, address) = with.rsplit_once('@').ok_or_else(|| {
                Error::Config("write the link, or CODE@HOST:PORT, as `rigmesh pair` shows them on the rig".to_owned())
            })?;
            PairCode::read(CodeKind::Pair, code)?;
            self.pairing().join_at(code, address, name)?
        };
        let id = paired.peer.to_string();
        let name = self.shared.registry.peer(&id).map(|peer| peer.name).unwrap_or(paired.name);
        each(json!({ "peer": id, "name": name, "granted": paired.granted }));
        Ok(Summary { asked: 1, failed: 0 })
    }

    pub(super) fn enrol(
        &self,
        uses: u32,
        days: u32,
        grant: &str,
        addresses: &[String],
        each: Each<'_>,
    ) -> Result<Summary> {
        let grants: Grants = grant.parse()?;
        if !(1..=ENROL_USES_MAX).contains(&uses) || !(1..=ENROL_DAYS_MAX).contains(&days) {
            return Err(Error::Config(format!(
                "an enrolment is for 1 to {ENROL_USES_MAX} rigs and 1 to {ENROL_DAYS_MAX} days"
            )));
        }
        let link = self.pairing().enrol(uses, days, grants, addresses)?;
        let mut row = self.enrolment_row();
        if let Some(row) = row.as_object_mut() {
            row.insert("link".to_owned(), link.encode().as_str().into());
            row.insert("addresses".to_owned(), json!(link.addresses));
        }
        each(row);
        Ok(Summary { asked: 1, failed: 0 })
    }

    pub(super) fn enrol_state(&self, each: Each<'_>) -> Result<Summary> {
        each(self.enrolment_row());
        Ok(Summary { asked: 1, failed: 0 })
    }

    pub(super) fn enrol_end(&self, each: Each<'_>) -> Result<Summary> {
        if !self.pairing().end_enrolment()? {
            return Err(Error::NotFound("there is no enrolment".to_owned()));
        }
        each(self.enrolment_row());
        Ok(Summary { asked: 1, failed: 0 })
    }

    fn enrolment_row(&self) -> Value {
        let Some(enrolment) = self.pairing().enrolment() else { return json!({ "state": "none" }) };
        let over = enrolment.until.unix_nanos() <= wall().unix_nanos();
        let state = match (over, enrolment.uses) {
            (true, _) => "expired",
            (false, 0) => "used",
            (false, _) => "open",
        };
        let rigs: Vec<Value> = enrolment
            .rigs
            .iter()
            .map(|rig| json!({ "id": rig.key.node_id(), "name": rig.name, "at": rig.at }))
            .collect();
        json!({
            "state": state,
            "uses": enrolment.uses,
            "until": enrolment.until,
            "grants": enrolment.grants.names().collect::<Vec<_>>(),
            "rigs": rigs,
        })
    }
}
