//! `id rotate`: this node's own keys are replaced, step by step.

use crate::args::{Globals, IdRotate};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::table::{self, Cell};
use crate::{passphrase, remote, settings};
use rigmesh::base::Timestamp;
use rigmesh::control::{ControlClient, Request};
use rigmesh::identity::Rotation;
use rigmesh::peers::ROTATION_DELAY;
use rigmesh::{FolderLock, IdentityFiles, Paths, RotationPhase};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn rotate(globals: &Globals, out: &Out, args: &IdRotate) -> Result<(), Exit> {
    let paths = settings::paths(globals)?;
    settings::identity_card(&paths)?;
    let files = IdentityFiles::from(&paths);
    let under_way = files.rotation().map_err(|e| Exit::at_start(&e))?;
    match (args.finish, args.forget, under_way) {
        (true, true, _) => Err(Exit::usage("--finish or --forget, not both: the rigs need time between them")),
        (true, false, under_way) => finish(out, &paths, &files, under_way.as_ref(), args.now),
        (false, true, _) => {
            files.forget_replaced().map_err(|e| Exit::at_start(&e))?;
            out.say("the old keys are forgotten; a running daemon still has them until it is started again");
            if out.json() { out.row(&json!({ "phase": "none" })) } else { Ok(()) }
        }
        (false, false, None) => begin(globals, out, &paths, &files),
        (false, false, Some((said, phase))) => show(globals, out, &paths, &said, phase),
    }
}

fn begin(globals: &Globals, out: &Out, paths: &Paths, files: &IdentityFiles) -> Result<(), Exit> {
    let said = files.begin_rotation(&mut passphrase::of_key).map_err(|e| Exit::at_start(&e))?;
    out.say("new keys are made, and both keys say so; the old ones stay in force until: rigmesh id rotate --finish");
    described(out, &said, RotationPhase::Announced)?;
    if ControlClient::open(paths).is_ok_and(|client| client.is_some()) {
        remote::ask(globals, out, &Request::Rotation { announce: true })?;
        out.say("known peers are told, those that are away when they come; see who was: rigmesh id rotate");
    } else {
        out.say("known peers are told while `rigmesh serve` runs");
    }
    Ok(())
}

fn finish(
    out: &Out,
    paths: &Paths,
    files: &IdentityFiles,
    under_way: Option<&(Rotation, RotationPhase)>,
    now: bool,
) -> Result<(), Exit> {
    let _lock = FolderLock::take(paths).map_err(|e| Exit::at_start(&e))?;
    if let Some((said, RotationPhase::Announced)) = under_way {
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = (Duration::from_secs(said.issued) + ROTATION_DELAY).saturating_sub(age);
        if !left.is_zero() && !now {
            let why = format!(
                "the new keys were announced less than a day ago: rigs that this node commands follow in {} h at the earliest, and would take no commands until then; a rig that commands nobody, or who knows better, adds --now",
                left.as_secs().div_ceil(3600)
            );
            return Err(Exit::new(exit::CONFIG, why));
        }
    }
    files.finish_rotation().map_err(|e| Exit::at_start(&e))?;
    out.say("the new keys are in force; start the node again. Who has not heard is told when it is met; when everybody follows: rigmesh id rotate --forget");
    match files.rotation().map_err(|e| Exit::at_start(&e))? {
        Some((said, phase)) => described(out, &said, phase),
        None => Ok(()),
    }
}

/// How far it is, and who was told what.
fn show(globals: &Globals, out: &Out, paths: &Paths, said: &Rotation, phase: RotationPhase) -> Result<(), Exit> {
    described(out, said, phase)?;
    if !ControlClient::open(paths).is_ok_and(|client| client.is_some()) {
        out.say("no daemon runs here: nobody is told at the moment");
        return Ok(());
    }
    let answer = remote::ask(globals, out, &Request::Rotation { announce: false })?;
    if !out.json() {
        let rows: Vec<Vec<Cell>> = answer
            .rows()
            .iter()
            .map(|row| ["rig", "state", "due", "why"].map(|key| Cell::new(table::text(row, key))).into())
            .collect();
        out.text(&table::render(&["PEER", "STATE", "DUE", "WHY"], &rows, out.colour()))?;
    }
    answer.finish(out, false)
}

fn described(out: &Out, said: &Rotation, phase: RotationPhase) -> Result<(), Exit> {
    let issued = Timestamp::from_unix(i64::try_from(said.issued).unwrap_or(i64::MAX), 0);
    let (old, new) = (said.old.node_id(), said.new.node_id());
    if out.json() {
        return out.row(&json!({
            "phase": phase.as_str(),
            "old": said.old,
            "old_id": old,
            "new": said.new,
            "new_id": new,
            "issued": issued,
        }));
    }
    let force = match phase {
        RotationPhase::Announced => "the old ones are in force",
        RotationPhase::Finished => "the new ones are in force",
    };
    out.text(&format!("keys  {force}\nold   {} ({old})\nnew   {} ({new})\nsaid  {issued}\n", said.old, said.new))
}
