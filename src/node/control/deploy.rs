//! Deployments, versions and roll-backs as commands.

use super::executor::{Each, Executor, Tally};
use super::rows::{About, result_row};
use super::{DeployMiner, Rigs, Summary};
use crate::base::{Error, Result};
use crate::mesh::{AuditCommand, FeedInfo};
use crate::message::VersionItem;
use crate::miners::{self, Profile};
use crate::node::deploy::{Deployed, Deployment, check_one_message};
use crate::runtime::install::Installer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A row at least this often, so that whoever reads knows we live.
const ROW_EVERY: Duration = Duration::from_secs(20);

/// What a `deploy` command is to do.
pub(super) struct Order {
    pub(super) miner: Option<DeployMiner>,
    pub(super) profile: Option<Profile>,
    pub(super) activate: bool,
    pub(super) dry_run: bool,
}

impl Executor<'_> {
    pub(super) fn deploy(&self, rigs: &Rigs, order: Order, each: Each<'_>) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        if let Some(profile) = &order.profile {
            miners::config::check(&profile.miner_type, &profile.config).map_err(|e| Error::Config(e.to_string()))?;
        }
        let Some(miner) = order.miner else {
            let profile = order
                .profile
                .ok_or_else(|| Error::Config("nothing to deploy: name a miner or a profile".to_owned()))?;
            return self.deploy_profile(asked.own, &asked.peers, &profile, order.dry_run, each);
        };
        let DeployMiner { name, version, main, files } = miner;
        let mut deployment = Deployment::miner(&name, &version, main.as_deref(), files)?.activate(order.activate);
        if let Some(profile) = order.profile {
            deployment = deployment.with_profile(profile);
        }
        if order.dry_run {
            return self.rehearse(asked.own, &asked.peers, &deployment, each);
        }
        let mut tally = Tally::new(each);
        if asked.own {
            let done = self.shared.installer().and_then(|installer| {
                self.shared.record_local(&deployment.command(), || deployment.install_on(installer))
            });
            tally.add(&self.own(), done.map(|slot| deployed_row(&Deployed { slot: Some(slot), already: false })));
        }
        let abouts: BTreeMap<String, About> = asked.peers.iter().map(|p| (p.clone(), self.about(p))).collect();
        let (mut shown, mut last): (BTreeMap<String, FeedInfo>, Instant) = (BTreeMap::new(), Instant::now());
        let results = self.controller.deploy(&asked.peers, &deployment, self.shared.resident, &mut |infos| {
            let overdue = last.elapsed() >= ROW_EVERY;
            for info in infos {
                let changed = shown.get(&info.peer) != Some(info);
                if let Some(about) = abouts.get(&info.peer).filter(|_| changed || overdue) {
                    let more =
                        json!({ "event": "progress", "state": info.state, "done": info.done, "total": info.total });
                    tally.row(result_row(about, more));
                    shown.insert(info.peer.clone(), info.clone());
                    last = Instant::now();
                }
            }
        });
        for (peer, result) in results {
            tally.add(&self.about(&peer), result.map(|done| deployed_row(&done)));
        }
        Ok(tally.summary())
    }

    fn deploy_profile(
        &self,
        own: bool,
        peers: &[String],
        profile: &Profile,
        dry_run: bool,
        each: Each<'_>,
    ) -> Result<Summary> {
        let mut tally = Tally::new(each);
        let row = |event: &str| json!({ "event": event, "profile": profile.id });
        if dry_run {
            let all = own.then(|| self.own()).into_iter().chain(peers.iter().map(|p| self.about(p)));
            for about in all {
                tally.add(&about, Ok(row("would store")));
            }
            return Ok(tally.summary());
        }
        if own {
            let command = AuditCommand::new("deploy", json!({ "type": "profile", "name": profile.id }));
            let manager = self.profile_manager();
            let stored = manager.and_then(|p| self.shared.record_local(&command, || p.save_profile(profile)));
            tally.add(&self.own(), stored.map(|()| row("stored")));
        }
        for (peer, stored) in self.controller.sweep_deploy_profile(peers, profile) {
            tally.add(&self.about(&peer), stored.map(|()| row("stored")));
        }
        Ok(tally.summary())
    }

    /// What a deployment would do on each rig, without doing it.
    fn rehearse(&self, own: bool, peers: &[String], deployment: &Deployment, each: Each<'_>) -> Result<Summary> {
        let mut tally = Tally::new(each);
        if own {
            let would = json!({ "event": "would install", "object": deployment.id(), "size": deployment.size() });
            tally.add(&self.own(), Ok(would));
        }
        for peer in peers {
            let would = self.controller.connect(peer).and_then(|_| match self.controller.versions(peer, None) {
                Ok(there) => Ok(match there.iter().find(|v| v.t == deployment.id()) {
                    Some(v) if v.current => json!({ "event": "runs already", "slot": v.slot }),
                    Some(v) => json!({ "event": "would switch", "slot": v.slot }),
                    None => json!({ "event": "would send" }),
                }),
                Err(Error::Config(_)) => {
                    check_one_message(deployment, self.shared.config.message_bytes_max)?;
                    Ok(json!({ "event": "would send in one message" }))
                }
                Err(e) => Err(e),
            });
            let facts = json!({ "object": deployment.id(), "size": deployment.size(), "main": deployment.main_path() });
            tally.add(&self.about(peer), would.map(|would| merged(would, facts)));
        }
        Ok(tally.summary())
    }

    /// Every deployment of this node that is not done, also those that nobody waits for.
    pub(super) fn deploys(&self, each: Each<'_>) -> Result<Summary> {
        let infos = self.controller.deploys()?;
        let mut tally = Tally::new(each);
        for (peer, object) in self.controller.owed()? {
            let more = json!({ "object": object, "state": "left by an earlier run: `rigmesh serve` goes on with it" });
            tally.add(&self.about(&peer), Ok(more));
        }
        for info in &infos {
            let FeedInfo { object, state, done, total, .. } = info;
            let more = json!({ "object": object, "state": state, "done": done, "total": total });
            tally.add(&self.about(&info.peer), Ok(more));
        }
        Ok(tally.summary())
    }

    pub(super) fn deploy_cancel(&self, rigs: &Rigs, each: Each<'_>) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        let owed = self.controller.owed()?;
        for peer in &asked.peers {
            let left = owed.iter().filter(|(rig, _)| rig == peer).count();
            let cancelled = self.controller.cancel_deploys(peer);
            tally.add(&self.about(peer), cancelled.map(|count| json!({ "cancelled": count + left })));
        }
        Ok(tally.summary())
    }

    pub(super) fn versions(&self, rigs: &Rigs, miner: Option<&str>, each: Each<'_>) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        let row = |versions: Vec<VersionItem>| json!({ "versions": versions });
        if asked.own {
            tally.add(&self.own(), self.shared.installer().map(|i| row(i.versions(miner))));
        }
        for (peer, versions) in self.controller.sweep_versions(&asked.peers, miner) {
            tally.add(&self.about(&peer), versions.map(row));
        }
        Ok(tally.summary())
    }

    pub(super) fn rollback(&self, rigs: &Rigs, miner: &str, slot: Option<u32>, each: Each<'_>) -> Result<Summary> {
        let asked = self.asked(rigs)?;
        let mut tally = Tally::new(each);
        let row = |now: String| json!({ "now": now });
        if asked.own {
            let command = AuditCommand::rollback(miner, slot);
            let back = |i: &Arc<Installer>| self.shared.record_local(&command, || i.roll_back(miner, slot));
            let done = self.shared.installer().and_then(back);
            tally.add(&self.own(), done.map(row));
        }
        for (peer, now) in self.controller.sweep_rollback(&asked.peers, miner, slot) {
            tally.add(&self.about(&peer), now.map(row));
        }
        Ok(tally.summary())
    }
}

fn deployed_row(done: &Deployed) -> Value {
    json!({ "event": if done.already { "already installed" } else { "installed" }, "slot": done.slot })
}

fn merged(mut one: Value, mut other: Value) -> Value {
    if let (Some(one), Some(other)) = (one.as_object_mut(), other.as_object_mut()) {
        one.append(other);
    }
    one
}
