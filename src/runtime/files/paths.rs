//! Where everything lies. `--data-dir DIR` puts all of it into one folder; otherwise the XDG
//! places that a Go node uses (mesh.md §1), so that its files are taken over as they are.

use crate::base::{Error, Result};
use std::path::{Path, PathBuf};

/// The files of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The X25519 private key: 32 raw bytes.
    pub private_key: PathBuf,
    /// The public identity, JSON.
    pub node_json: PathBuf,
    /// The registry; its companions lie beside it.
    pub peers: PathBuf,
    /// Everything that only RigMesh has.
    pub data: PathBuf,
}

impl Paths {
    /// All in one folder.
    pub fn in_folder(folder: &Path) -> Paths {
        Paths {
            private_key: folder.join("private.key"),
            node_json: folder.join("node.json"),
            peers: folder.join("peers.json"),
            data: folder.to_owned(),
        }
    }

    /// `$XDG_DATA_HOME` and `$XDG_CONFIG_HOME`, or `~/.local/share` and `~/.config`; empty or
    /// relative values do not count, as the XDG specification says.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no home folder either.
    pub fn xdg() -> Result<Paths> {
        let base = |variable: &str, fallback: &str| {
            let set = std::env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute());
            set.or_else(|| std::env::home_dir().filter(|h| h.is_absolute()).map(|home| home.join(fallback)))
                .ok_or_else(|| Error::Config(format!("neither {variable} nor a home folder is set; use --data-dir")))
        };
        let data = base("XDG_DATA_HOME", ".local/share")?.join("lethean-desktop");
        let config = base("XDG_CONFIG_HOME", ".config")?.join("lethean-desktop");
        Ok(Paths {
            private_key: data.join("node/private.key"),
            node_json: config.join("node.json"),
            peers: config.join("peers.json"),
            data: data.join("rigmesh"),
        })
    }

    /// The Ed25519 seed, beside the private key.
    pub fn sign_key(&self) -> PathBuf {
        self.private_key.with_file_name("sign.key")
    }

    /// What was accepted when: `freshness.json`.
    pub fn freshness(&self) -> PathBuf {
        self.data.join("freshness.json")
    }

    /// What rigs are owed: `deploys.json`.
    pub fn deploys(&self) -> PathBuf {
        self.data.join("deploys.json")
    }

    /// Who may become known to this controller by the code of an enrolment: `enrol.json`.
    pub fn enrolment(&self) -> PathBuf {
        self.data.join("enrol.json")
    }

    /// The link by which this rig becomes known to its controller at the next start: `enrol.link`.
    pub fn enrol_link(&self) -> PathBuf {
        self.data.join("enrol.link")
    }

    /// The number of the last record that said where this node is: `record.seq`.
    pub fn record_seq(&self) -> PathBuf {
        self.data.join("record.seq")
    }

    /// The folder of the audit log.
    pub fn audit(&self) -> PathBuf {
        self.data.join("audit")
    }

    /// The folder of the DHT node.
    pub fn dht(&self) -> PathBuf {
        self.data.join("dht")
    }

    /// The secret of a fleet: 32 bytes, or their hex or base64.
    pub fn fleet_secret(&self, name: &str) -> PathBuf {
        self.data.join("fleets").join(format!("{name}.key"))
    }

    /// The lock that says which process owns the folder.
    pub fn lock(&self) -> PathBuf {
        self.data.join("rigmesh.lock")
    }

    /// The socket over which the commands speak to the daemon.
    pub fn socket(&self) -> PathBuf {
        self.data.join("rigmesh.sock")
    }

    /// The optional configuration file.
    pub fn config(&self) -> PathBuf {
        self.data.join("config.json")
    }

    /// The server certificate that `init --tls` makes.
    pub fn tls_cert(&self) -> PathBuf {
        self.data.join("tls-cert.pem")
    }

    /// Its key.
    pub fn tls_key(&self) -> PathBuf {
        self.data.join("tls-key.pem")
    }
}
