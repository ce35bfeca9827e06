//! The registry's way out to another node, and in from one.

use super::Summary;
use super::executor::{Each, parse_key};
use super::rows::{About, outcome_row};
use crate::base::{Error, Result};
use crate::formats::stmf;
use crate::mesh::{AuditCommand, Command};
use crate::node::Shared;
use crate::peers::{EXPORT_BYTES_MAX, MergeOutcome, Merged, open_registry, seal_registry};
use crate::runtime::clock::{system_rng, wall};
use crate::runtime::files::atomic;
use serde_json::json;
use std::path::Path;

/// One row: for whom, how much, and the sealed form as text.
pub(super) fn export(shared: &Shared, to: &str, with_access: bool, each: Each<'_>) -> Result<Summary> {
    let to = parse_key(to)?;
    let registry = shared.registry.inner().read();
    let sealed = seal_registry(&shared.identity, &registry, &to, with_access, &mut system_rng()?, wall())?;
    let access = with_access.then(|| registry.allowed_public_keys().count());
    let row = json!({
        "to": to.node_id(),
        "peers": registry.count(),
        "access": access,
        "sealed": stmf::encode_text(&sealed),
    });
    drop(registry);
    each(row);
    Ok(Summary { asked: 1, failed: 0 })
}

/// First a row about the export itself, then one for each peer and key in it.
pub(super) fn import(
    shared: &Shared,
    file: &Path,
    from: Option<&str>,
    with_access: bool,
    each: Each<'_>,
) -> Result<Summary> {
    let expected = from.map_or_else(|| Ok(shared.identity.public_key()), parse_key)?;
    let bytes = read(file)?;
    let export = open_registry(&bytes, &shared.identity)?;
    if export.from != expected {
        return Err(match from {
            Some(_) => Error::WrongKey { expected: expected.to_base64(), got: export.from.to_base64() },
            None => Error::Config(format!(
                "it was made by the key {key} (node {id}); if that is the node you expect, say --from {key}",
                key = export.from,
                id = export.from.node_id()
            )),
        });
    }
    each(json!({
        "from": export.from.node_id(),
        "peers": export.peers.len(),
        "access": export.access.as_ref().map(Vec::len),
        "with_access": with_access,
    }));
    let merge = || shared.registry.merge(shared.identity.id(), &export, with_access);
    // Without access it changes nobody's power.
    let rows = if with_access {
        let keys: Vec<String> = export.access.iter().flatten().map(|access| access.key.to_base64()).collect();
        let args = json!({ "from": export.from.to_base64(), "keys": keys.len() });
        shared.record_local(&AuditCommand::new("import", args), merge)?
    } else {
        merge()?
    };
    if rows.iter().any(|row| matches!(row.outcome, Ok(MergeOutcome::Added | MergeOutcome::Allowed))) {
        shared.control.send(Command::AccessChanged, None, 0)?;
    }
    let mut summary = Summary::default();
    for Merged { id, name, outcome } in rows {
        let rig = if name.is_empty() { id.clone() } else { name };
        let (row, failed) = outcome_row(&About { rig, id }, outcome.map(|done| json!({ "outcome": done.as_str() })));
        summary.asked += 1;
        summary.failed += usize::from(failed);
        each(row);
    }
    Ok(summary)
}

/// The sealed form, as bytes or as text.
fn read(file: &Path) -> Result<Vec<u8>> {
    // Text is a third longer than the bytes it stands for.
    let found = atomic::read(file, EXPORT_BYTES_MAX / 3 * 4 + 4)?;
    let bytes = found.ok_or_else(|| Error::Config(format!("there is no file {}", file.display())))?;
    match bytes.starts_with(stmf::MAGIC) {
        true => Ok(bytes),
        false => stmf::decode_text(std::str::from_utf8(&bytes).unwrap_or_default()),
    }
}
