//! Where a node's files are, its configuration, and what its miners are run with.

use crate::args::Globals;
use crate::exit::{self, Exit};
use crate::passphrase;
use rigmesh::base::Error;
use rigmesh::identity::Identity;
use rigmesh::{Config, DeclaredCommand, IdentityCard, IdentityFiles, MinerSettings, Paths};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest configuration file that is read, bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The files: all in `--data-dir`, or at the XDG places.
pub(crate) fn paths(globals: &Globals) -> Result<Paths, Exit> {
    match &globals.data_dir {
        Some(folder) => {
            // Children run elsewhere: what they are told must not depend on where we stand.
            let folder = std::path::absolute(folder)
                .map_err(|e| Exit::new(exit::CONFIG, format!("cannot use --data-dir {}: {e}", folder.display())))?;
            Ok(Paths::in_folder(&folder))
        }
        None => Paths::xdg().map_err(|e| Exit::at_start(&e)),
    }
}

/// The identity that must be there. One under a pass-phrase is asked for it, so this is called once in a command.
pub(crate) fn identity(paths: &Paths) -> Result<Identity, Exit> {
    let identity = IdentityFiles::from(paths).load_with(&mut passphrase::of_key).map_err(|e| Exit::at_start(&e))?;
    identity.ok_or_else(|| no_identity(paths))
}

/// What is told of the identity that must be there, without a pass-phrase.
pub(crate) fn identity_card(paths: &Paths) -> Result<IdentityCard, Exit> {
    IdentityFiles::from(paths).inspect().map_err(|e| Exit::at_start(&e))?.ok_or_else(|| no_identity(paths))
}

fn no_identity(paths: &Paths) -> Exit {
    let place = paths.private_key.display();
    let why = format!("there is no identity ({place} is missing); make one: rigmesh init --role controller");
    Exit::new(exit::CONFIG, why)
}

/// The configuration: the given file, which must be there, or `config.json` in the data folder, which may.
pub(crate) fn config(paths: &Paths, given: Option<&Path>) -> Result<Config, Exit> {
    let path = given.map_or_else(|| paths.config(), Path::to_path_buf);
    let wrong = |why: String| Exit::new(exit::CONFIG, format!("cannot use {}: {why}", path.display()));
    match std::fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound && given.is_none() => return Ok(Config::default()),
        Err(e) => return Err(wrong(e.to_string())),
        Ok(metadata) if metadata.len() > CONFIG_BYTES_MAX => {
            return Err(wrong(format!("larger than {CONFIG_BYTES_MAX} bytes")));
        }
        Ok(_) => {}
    }
    let bytes = std::fs::read(&path).map_err(|e| wrong(e.to_string()))?;
    Config::decode(&bytes).map_err(|e| wrong(e.to_string()))
}

/// The part `miners` of the configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MinersConfig {
    /// The XMRig program.
    xmrig: Option<PathBuf>,
    /// What miners of type `command` may run, by name.
    commands: BTreeMap<String, CommandConfig>,
    /// Most miners at once.
    max: Option<usize>,
    /// How often a miner is asked for its statistics, ms.
    probe_interval_ms: Option<u64>,
    /// The first pause after a crash, ms.
    backoff_min_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandConfig {
    program: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    cwd: Option<PathBuf>,
}

/// What the miners of this node are run with.
pub(crate) fn miners(paths: &Paths, config: &Config) -> Result<MinerSettings, Exit> {
    let value = serde_json::to_value(&config.miners).unwrap_or_default();
    let read: MinersConfig =
        serde_json::from_value(value).map_err(|e| Exit::from(Error::Config(format!("configuration: miners: {e}"))))?;
    let mut settings = MinerSettings::new(&paths.data);
    settings.xmrig = read.xmrig;
    settings.log_lines_max = config.log_lines_max;
    settings.miners_max = read.max.unwrap_or(settings.miners_max);
    let time = |ms: Option<u64>, default: Duration| ms.map_or(default, |ms| Duration::from_millis(ms.max(100)));
    settings.policy.probe_interval = time(read.probe_interval_ms, settings.policy.probe_interval);
    settings.policy.backoff_min = time(read.backoff_min_ms, settings.policy.backoff_min);
    settings.commands = read
        .commands
        .into_iter()
        .map(|(name, c)| (name, DeclaredCommand { program: c.program, args: c.args, env: c.env, cwd: c.cwd }))
        .collect();
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn programs_come_from_the_configuration_and_a_misspelt_key_is_noticed() {
        let paths = Paths::in_folder(Path::new("/x"));
        let with = |value: serde_json::Value| {
            let map = serde_json::from_value(value).unwrap();
            miners(&paths, &Config { miners: map, ..Config::default() })
        };
        let settings = with(json!({"xmrig": "/bin/xmrig", "commands": {"a": {"program": "/bin/true"}}})).unwrap();
        assert_eq!(settings.xmrig.as_deref(), Some(Path::new("/bin/xmrig")));
        assert!(settings.commands.contains_key("a"));
        let error = with(json!({"xmirg": "/bin/xmrig"})).unwrap_err();
        assert!(error.code == exit::CONFIG && error.message.contains("xmirg"), "{error:?}");
    }

    #[test]
    fn a_given_configuration_must_be_there_and_the_default_one_may() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_folder(dir.path());
        assert_eq!(config(&paths, None).unwrap(), Config::default());
        assert_eq!(config(&paths, Some(&dir.path().join("nope"))).unwrap_err().code, exit::CONFIG);
        std::fs::write(paths.config(), r#"{"conections_max": 1}"#).unwrap();
        let error = config(&paths, None).unwrap_err();
        assert!(error.message.contains("config.json") && error.message.contains("conections_max"), "{error:?}");
    }
}
