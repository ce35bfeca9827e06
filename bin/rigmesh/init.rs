//! `init` and `id`: who this node is, and the line with which the other side lets it in.

use crate::args::{Globals, Init};
use crate::exit::{self, Exit};
use crate::output::Out;
use crate::settings;
use rigmesh::base::Error;
use rigmesh::control::ControlClient;
use rigmesh::identity::{Address, Identity, Role};
use rigmesh::{FolderLock, IdentityFiles, Paths, TlsPair};
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
    if files.load().map_err(|e| Exit::at_start(&e))?.is_some() {
        let place = paths.private_key.display();
        return Err(Exit::new(exit::CONFIG, format!("there is an identity already ({place}); `rigmesh id` shows it")));
    }
    // The certificate first: without it nothing has happened yet, and it is of no use by itself.
    let fingerprint = if args.tls { Some(certificate(&paths, &address)?) } else { None };
    let name = args.name.clone().unwrap_or_else(host_name);
    let identity = files.create(&name, role.clone()).map_err(|e| Exit::at_start(&e))?;
    let admit = admit_lines(&identity, &address, fingerprint.as_deref());
    if out.json() {
        let mut row = describe(&identity, &paths);
        if let Some(row) = row.as_object_mut() {
            row.insert("tls_fingerprint".to_owned(), json!(fingerprint));
            row.insert("admit".to_owned(), json!(admit));
        }
        return out.row(&row);
    }
    out.say(&format!("made the identity {} ({name}, {role}) in {}", identity.id(), paths.data.display()));
    out.say(match (role.is_controller(), role.is_worker()) {
        (true, false) => "on each rig that it shall command, run:",
        (false, _) => "on the controller, run (and on this node, let the controller in: rigmesh peers allow KEY --grant controller):",
        (true, true) => "on each rig that it shall command, run the first line; on a controller of this node, the second:",
    });
    out.text(&admit.join("\n"))
}

pub(crate) fn id(globals: &Globals, out: &Out) -> Result<(), Exit> {
    let paths = settings::paths(globals)?;
    let identity = settings::identity(&paths)?;
    let mut row = describe(&identity, &paths);
    let fingerprint = TlsPair::stored_fingerprint(&paths).map_err(|e| Exit::at_start(&e))?;
    if let Some(row) = row.as_object_mut() {
        row.insert("tls_fingerprint".to_owned(), json!(fingerprint));
        row.insert("running".to_owned(), json!(ControlClient::open(&paths).is_ok_and(|c| c.is_some())));
    }
    if out.json() {
        return out.row(&row);
    }
    let info = identity.info();
    let mut text = format!(
        "id    {}\nkey   {}\ndht   {}\nname  {}\nrole  {}\n",
        info.id,
        info.public_key,
        Address::of_ed25519(&identity.sign_key().public()),
        crate::table::safe(&info.name),
        info.role
    );
    if let Some(fingerprint) = fingerprint {
        text += &format!("tls   {fingerprint}\n");
    }
    out.text(&text)
}

fn describe(identity: &Identity, paths: &Paths) -> Value {
    let info = identity.info();
    json!({
        "id": info.id,
        "name": info.name,
        "role": info.role.as_str(),
        "key": info.public_key,
        "dht_address": Address::of_ed25519(&identity.sign_key().public()).to_string(),
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
