//! `init` and `id`: who this node is, and the line with which the other side lets it in.

use crate::args::{Globals, Id, IdCommand, Init};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::{passphrase, settings};
use rigmesh::base::Error;
use rigmesh::control::ControlClient;
use rigmesh::identity::{Address, Identity, KeyCost, NodeIdentity, Role};
use rigmesh::{FolderLock, IdentityCard, IdentityFiles, PASSPHRASE_FILE_VARIABLE, Paths, Protection, TlsPair};
use serde_json::{Value, json};

/// The port of [`rigmesh::Config`]'s default.
const PORT: u16 = 9091;

pub(crate) fn init(globals: &Globals, out: &Out, args: &Init) -> Result<(), Exit> {
    let role: Role = args.role.parse().map_err(|e: Error| Exit::usage(e.to_string()))?;
    if let Some(name) = &args.name
        && (name.is_empty() || !rigmesh::base::is_plain_name(name))
    {
        let rule = "take at most 64 of A-Z a-z 0-9 space _ -, first and last a letter or digit";
        return Err(Exit::usage(format!("the name {name:?} cannot be used: {rule}")));
    }
    let address = match &args.address {
        Some(address) => with_port(address)?,
        None => format!("{}:{PORT}", host_name()),
    };
    let paths = settings::paths(globals)?;
    let _lock = FolderLock::take(&paths).map_err(|e| Exit::at_start(&e))?;
    let files = IdentityFiles::from(&paths);
    if files.inspect().map_err(|e| Exit::at_start(&e))?.is_some() {
        let place = paths.private_key.display();
        return Err(Exit::new(exit::CONFIG, format!("there is an identity already ({place}); `rigmesh id` shows it")));
    }
    // The certificate first: without it nothing has happened yet, and it is of no use by itself.
    let fingerprint = if args.tls { Some(certificate(&paths, &address)?) } else { None };
    let name = args.name.clone().unwrap_or_else(host_name);
    let identity = files.create(&name, role.clone()).map_err(|e| Exit::at_start(&e))?;
    let admit = admit_lines(&identity, &address, fingerprint.as_deref());
    if out.json() {
        let mut row = describe(identity.info(), &identity.sign_key().public(), &paths);
        if let Some(row) = row.as_object_mut() {
            row.insert("tls_fingerprint".to_owned(), json!(fingerprint));
            row.insert("admit".to_owned(), json!(admit));
        }
        return out.row(&row);
    }
    out.say(&format!("made the identity {} ({name}, {role}) in {}", identity.id(), paths.data.display()));
    out.say(match (role.is_controller(), role.is_worker()) {
        (true, false) => "on each rig that it shall command, run:",
        (false, _) => "run `rigmesh serve` and `rigmesh pair` here, and on the controller what that shows; or carry keys by hand, on the controller (and `rigmesh peers allow KEY --grant controller` here):",
        (true, true) => "on each rig that it shall command, run the first line; on a controller of this node, the second:",
    });
    out.text(&admit.join("\n"))
}

pub(crate) fn id(globals: &Globals, out: &Out, args: &Id) -> Result<(), Exit> {
    let paths = settings::paths(globals)?;
    match args.command {
        None => show(out, &paths),
        Some(IdCommand::Protect(_)) => protect(out, &paths),
        Some(IdCommand::Unprotect(_)) => unprotect(out, &paths),
        Some(IdCommand::Rotate(ref args)) => crate::rotate::rotate(globals, out, args),
    }
}

/// Needs no pass-phrase, except to make a signing key that is missing.
fn show(out: &Out, paths: &Paths) -> Result<(), Exit> {
    let IdentityCard { info, sign_key, protection } = settings::identity_card(paths)?;
    let sign_key = match sign_key {
        Some(key) => key,
        None => settings::identity(paths)?.sign_key().public(),
    };
    let mut row = describe(&info, &sign_key, paths);
    let fingerprint = TlsPair::stored_fingerprint(paths).map_err(|e| Exit::at_start(&e))?;
    if let Some(row) = row.as_object_mut() {
        row.insert("tls_fingerprint".to_owned(), json!(fingerprint));
        row.insert("keys".to_owned(), json!(protection.as_str()));
        row.insert("running".to_owned(), json!(ControlClient::open(paths).is_ok_and(|c| c.is_some())));
    }
    if out.json() {
        return out.row(&row);
    }
    let keys = match protection {
        Protection::Plain => "not protected by a pass-phrase (rigmesh id protect)",
        Protection::Half => "one of two protected by a pass-phrase; complete it: rigmesh id protect",
        Protection::Protected => "protected by a pass-phrase",
    };
    let mut text = format!(
        "id    {}\nkey   {}\ndht   {}\nname  {}\nrole  {}\nkeys  {keys}\n",
        info.id,
        info.public_key,
        Address::of_ed25519(&sign_key),
        crate::table::safe(&info.name),
        info.role
    );
    if let Some(fingerprint) = fingerprint {
        text += &format!("tls   {fingerprint}\n");
    }
    out.text(&text)
}

fn protect(out: &Out, paths: &Paths) -> Result<(), Exit> {
    let protection = settings::identity_card(paths)?.protection;
    let _lock = FolderLock::take(paths).map_err(|e| Exit::at_start(&e))?;
    let new = match protection {
        Protection::Plain => passphrase::new(),
        // The one that the first half is under already.
        Protection::Half => passphrase::of_key(&paths.private_key),
        Protection::Protected => {
            let how = "for another pass-phrase run: rigmesh id unprotect, then: rigmesh id protect";
            return Err(Exit::new(exit::CONFIG, format!("the private keys are protected already; {how}")));
        }
    };
    let new = new.map_err(|e| Exit::at_start(&e))?;
    IdentityFiles::from(paths).protect(&new, KeyCost::default()).map_err(|e| Exit::at_start(&e))?;
    out.say("the private keys are under the pass-phrase now; copies made before are not");
    out.say(&format!("a service that runs this node needs {PASSPHRASE_FILE_VARIABLE}; without the pass-phrase nobody can open the keys again"));
    said(out, Protection::Protected)
}

fn unprotect(out: &Out, paths: &Paths) -> Result<(), Exit> {
    let protection = settings::identity_card(paths)?.protection;
    let _lock = FolderLock::take(paths).map_err(|e| Exit::at_start(&e))?;
    if protection == Protection::Plain {
        return Err(Exit::new(exit::CONFIG, "the private keys are not protected"));
    }
    let known = passphrase::of_key(&paths.private_key).map_err(|e| Exit::at_start(&e))?;
    IdentityFiles::from(paths).unprotect(&known).map_err(|e| Exit::at_start(&e))?;
    out.say("the private keys lie plain in their files now");
    said(out, Protection::Plain)
}

fn said(out: &Out, protection: Protection) -> Result<(), Exit> {
    if out.json() { out.row(&json!({ "keys": protection.as_str() })) } else { Ok(()) }
}

fn describe(info: &NodeIdentity, sign_key: &[u8; 32], paths: &Paths) -> Value {
    json!({
        "id": info.id,
        "name": info.name,
        "role": info.role.as_str(),
        "key": info.public_key,
        "dht_address": Address::of_ed25519(sign_key).to_string(),
        "data_dir": paths.data,
    })
}

/// What the other side types.
fn admit_lines(identity: &Identity, address: &str, fingerprint: Option<&str>) -> Vec<String> {
    let info = identity.info();
    let (key, name) = (&info.public_key, quoted(&info.name));
    let name = if info.name.is_empty() { String::new() } else { format!(" --name {name}") };
    let mut lines = Vec::new();
    if info.role.is_controller() {
        lines.push(format!("rigmesh peers allow {key} --grant controller{name}"));
    }
    if info.role.is_worker() {
        let target = match fingerprint {
            Some(fingerprint) => quoted(&format!("wss://{address}#{fingerprint}")),
            None => address.to_owned(),
        };
        lines.push(format!("rigmesh peers add {target} --key {key}{name}"));
    }
    lines
}

/// As a shell reads it back. Names and addresses have no quote in them.
fn quoted(text: &str) -> String {
    if text.contains([' ', '#']) { format!("'{text}'") } else { text.to_owned() }
}

fn certificate(paths: &Paths, address: &str) -> Result<String, Exit> {
    if let Some(stored) = TlsPair::stored_fingerprint(paths).map_err(|e| Exit::at_start(&e))? {
        return Ok(stored);
    }
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let mut names = vec![host.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.dedup();
    let pair = TlsPair::self_signed(&names)?;
    pair.save(paths).map_err(|e| Exit::at_start(&e))?;
    Ok(pair.fingerprint_hex())
}

/// `host:port`, with our port where none is given.
fn with_port(address: &str) -> Result<String, Exit> {
    let bare = address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err());
    if address.is_empty() || address.contains(|c: char| c.is_whitespace() || c.is_control() || "'#@/".contains(c)) {
        return Err(Exit::usage(format!("{address:?} is no address; write HOST:PORT, such as rig-07.lan:{PORT}")));
    }
    Ok(if bare { format!("{address}:{PORT}") } else { address.to_owned() })
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = rigmesh::base::sanitise_name(name.trim());
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rigmesh::base::{Rng, Timestamp};

    fn identity(role: Role) -> Identity {
        Identity::generate("rig 1", role, Timestamp::ZERO, &mut Rng::from_number(1)).unwrap()
    }

    #[test]
    fn the_other_sides_line_is_complete() {
        let rig = identity(Role::Worker);
        let key = rig.public_key();
        assert_eq!(admit_lines(&rig, "h:1", None), [format!("rigmesh peers add h:1 --key {key} --name 'rig 1'")]);
        assert_eq!(
            admit_lines(&rig, "h:1", Some("ab")),
            [format!("rigmesh peers add 'wss://h:1#ab' --key {key} --name 'rig 1'")]
        );
        let both = admit_lines(&identity(Role::Dual), "h:1", None);
        assert_eq!(both.len(), 2);
        assert!(both[0].starts_with("rigmesh peers allow ") && both[0].contains(" --grant controller "));
    }

    #[test]
    fn an_address_gets_the_port_it_lacks() {
        assert_eq!(with_port("rig.lan").unwrap(), "rig.lan:9091");
        assert_eq!(with_port("rig.lan:1").unwrap(), "rig.lan:1");
        assert!(with_port("a b").is_err());
    }
}
