//! From a checked configuration to a command line: what each miner type runs, with which files.

use super::versions::{Program, Versions};
use crate::base::{Error, Result, Rng};
use crate::bundle::check_object_name;
use crate::miners::config::SHA256D_INTENSITY_DEFAULT;
use crate::miners::supervise::Policy;
use crate::miners::{secrets_of, xmrig};
use crate::runtime::files::atomic;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The environment variable that names a program and its arguments, separated by white space, to be put before the
/// paths of our own binary and of XMRig when they are started. It is for tests and for trying a rig of another
/// processor under an emulator (`qemu-aarch64-static`): a program under qemu-user cannot execute one of its own kind
/// where the kernel knows no handler for it.
///
/// Whoever sets the environment of the node starts it and could start anything else; nothing that a peer sends and no
/// profile reaches it, and children do not inherit it.
pub(super) const CHILD_RUNNER_VARIABLE: &str = "RIGMESH_CHILD_RUNNER";

/// What a rig runs miners with. Everything here comes from the rig's own configuration, never from a peer.
#[derive(Clone, Debug)]
pub struct MinerSettings {
    /// The data folder: `desired.json` and `run/` are kept in it.
    pub data_dir: PathBuf,
    /// The `rigmesh` binary, for its launcher and the built-in hasher. Default: the running program; a library
    /// in another program must set it.
    pub binary: PathBuf,
    /// The XMRig program, or `slot:NAME` for the current version of an installed miner. Either way a version installed
    /// in the slot `xmrig` comes first. `None`: then only such a version can be run.
    pub xmrig: Option<PathBuf>,
    /// The programs that miners of type `command` may name.
    pub commands: BTreeMap<String, DeclaredCommand>,
    /// Most miners at once. Default 32.
    pub miners_max: usize,
    /// Lines of output kept for each miner. Default 1,000.
    pub log_lines_max: usize,
    /// Bytes of output kept for each miner. Default 256 KiB.
    pub log_bytes_max: usize,
    /// How long a start waits for the miner to fail at once or to answer. Default 500 ms.
    pub settle: Duration,
    /// The times of supervision.
    pub policy: Policy,
    /// For tests on another architecture: a program and arguments put before the paths of `binary` and `xmrig`.
    /// Default: the words of the environment variable `RIGMESH_CHILD_RUNNER`, or none.
    pub wrapper: Vec<String>,
}

impl MinerSettings {
    /// The defaults.
    pub fn new(data_dir: impl Into<PathBuf>) -> MinerSettings {
        MinerSettings {
            data_dir: data_dir.into(),
            binary: std::env::current_exe().unwrap_or_else(|_| "rigmesh".into()),
            xmrig: None,
            commands: BTreeMap::new(),
            miners_max: 32,
            log_lines_max: 1000,
            log_bytes_max: 256 * 1024,
            settle: Duration::from_millis(500),
            policy: Policy::default(),
            wrapper: child_runner(std::env::var(CHILD_RUNNER_VARIABLE).ok().as_deref()),
        }
    }

    /// With all paths absolute: children run in another folder. A bare program name stays one to be found in `PATH`.
    pub(super) fn absolute(mut self) -> Result<MinerSettings> {
        let programs = self.commands.values_mut().map(|command| &mut command.program);
        let named = |path: &&mut PathBuf| path.components().count() > 1;
        let paths = [&mut self.binary].into_iter().chain(self.xmrig.as_mut()).chain(programs).filter(named);
        for path in paths.chain([&mut self.data_dir]) {
            *path = std::path::absolute(&*path)
                .map_err(|e| Error::io(format!("cannot make {} absolute", path.display()), &e))?;
        }
        Ok(self)
    }

    pub(super) fn run_folder(&self) -> PathBuf {
        self.data_dir.join("run")
    }
}

/// A program the rig's owner declared. It must stay in the foreground: what it leaves in the background is
/// killed when it ends.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DeclaredCommand {
    /// An absolute path, or a name to be found in `PATH`, or `slot:NAME` for the current version of an installed miner.
    pub program: PathBuf,
    /// Its arguments, passed as they are: no shell.
    pub args: Vec<String>,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// Its working folder; the data folder when not given.
    pub cwd: Option<PathBuf>,
}

impl std::fmt::Debug for DeclaredCommand {
    /// Without arguments and environment: they may hold a wallet.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeclaredCommand").field("program", &self.program).finish_non_exhaustive()
    }
}

/// What one miner runs, decided once; each launch gets its own port, token and file.
pub(super) enum Plan {
    Xmrig { program: Program, config: Value },
    Sha256d { config: Value },
    Command { program: Program, command: DeclaredCommand },
}

/// One launch.
pub(super) struct Launch {
    /// The program and its arguments.
    pub(super) program: Vec<OsString>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: PathBuf,
    /// The port and the token of its API.
    pub(super) api: Option<(u16, String)>,
    /// What is masked in its output, longest first.
    pub(super) secrets: Vec<String>,
}

impl Plan {
    /// For a configuration that passed [`crate::miners::config::effective`].
    pub(super) fn new(
        settings: &MinerSettings,
        versions: Option<&Versions>,
        miner_type: &str,
        config: Value,
    ) -> Result<Plan> {
        let plan = match miner_type {
            "xmrig" => {
                let program = match settings.xmrig.as_deref().map(program_of).transpose()? {
                    Some(Program::Fixed(own)) => Program::Slot { name: XMRIG_SLOT.into(), own: Some(own) },
                    Some(slot) => slot,
                    None if versions.is_some_and(|v| v.current(XMRIG_SLOT).is_some()) => {
                        Program::Slot { name: XMRIG_SLOT.into(), own: None }
                    }
                    None => {
                        let next = "set the path of xmrig in the rig's configuration, or deploy one";
                        return Err(Error::Config(format!("no xmrig program is configured on this rig: {next}")));
                    }
                };
                Plan::Xmrig { program, config }
            }
            "sha256d" => Plan::Sha256d { config },
            _ => {
                let name = config.get("command").and_then(Value::as_str).unwrap_or_default();
                let Some(command) = settings.commands.get(name) else {
                    let next = "declare it in the rig's configuration";
                    return Err(Error::NotFound(format!("no command {name:?} is declared on this rig: {next}")));
                };
                Plan::Command { program: program_of(&command.program)?, command: command.clone() }
            }
        };
        if let Some(program) = plan.program() {
            must_be_executable(&program.resolve(versions)?.0)?;
        }
        Ok(plan)
    }

    /// What it runs; `None` for the built-in hasher.
    pub(super) fn program(&self) -> Option<&Program> {
        match self {
            Plan::Xmrig { program, .. } | Plan::Command { program, .. } => Some(program),
            Plan::Sha256d { .. } => None,
        }
    }

    pub(super) fn has_api(&self) -> bool {
        !matches!(self, Plan::Command { .. })
    }

    /// Prepares one launch of the program at `path` (which the built-in hasher does not need): chooses a free
    /// port, makes a token, writes the configuration file.
    pub(super) fn prepare(&self, settings: &MinerSettings, name: &str, path: &Path, rng: &mut Rng) -> Result<Launch> {
        let wrapped = |program: &Path| {
            let mut line: Vec<OsString> = settings.wrapper.iter().map(OsString::from).collect();
            line.push(program.into());
            line
        };
        let (mut program, file, secrets, api) = match self {
            Plan::Command { command, .. } => {
                let mut program: Vec<OsString> = vec![path.into()];
                program.extend(command.args.iter().map(OsString::from));
                let cwd = command.cwd.clone().unwrap_or_else(|| settings.data_dir.clone());
                let secrets = command_secrets(command);
                return Ok(Launch { program, env: command.env.clone(), cwd, api: None, secrets });
            }
            Plan::Xmrig { config, .. } => {
                let (port, token) = (free_port()?, token(rng));
                let file = xmrig::launch_config(config, name, port, &token);
                let mut secrets = secrets_of(config);
                secrets.insert(0, token.clone());
                (wrapped(path), file, secrets, (port, token))
            }
            Plan::Sha256d { config } => {
                let (port, token) = (free_port()?, token(rng));
                let number = |key: &str, or: u64| config.get(key).and_then(Value::as_u64).unwrap_or(or);
                let file = json!({"name": name, "port": port, "token": token, "threads": number("threads", 1),
                    "intensity": number("intensity", SHA256D_INTENSITY_DEFAULT)});
                let mut program = wrapped(&settings.binary);
                program.push(crate::runtime::hasher::SUBCOMMAND.into());
                (program, file, vec![token.clone()], (port, token))
            }
        };
        let written = config_file(settings, name);
        let bytes =
            serde_json::to_vec_pretty(&file).map_err(|e| Error::Failed(format!("cannot encode a config: {e}")))?;
        atomic::write(&written, &bytes, 0o600)?;
        let mut argument = OsString::from("--config=");
        argument.push(&written);
        program.push(argument);
        Ok(Launch { program, env: BTreeMap::new(), cwd: settings.data_dir.clone(), api: Some(api), secrets })
    }
}

/// The words of [`CHILD_RUNNER_VARIABLE`]. They know no quotes: an emulator needs none.
fn child_runner(said: Option<&str>) -> Vec<String> {
    said.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
}

/// The slot that miners of type `xmrig` run from.
const XMRIG_SLOT: &str = "xmrig";

/// A program as the configuration names it.
fn program_of(named: &Path) -> Result<Program> {
    let Some(slot) = named.to_str().and_then(|text| text.strip_prefix("slot:")) else {
        return Ok(Program::Fixed(named.to_owned()));
    };
    check_object_name(slot).map_err(|e| Error::Config(format!("the program {}: {e}", named.display())))?;
    Ok(Program::Slot { name: slot.to_owned(), own: None })
}

/// Where the configuration of a running miner stands.
pub(super) fn config_file(settings: &MinerSettings, name: &str) -> PathBuf {
    settings.run_folder().join(format!("{name}.config.json"))
}

/// A port that was free a moment ago. When another program takes it first the miner's API stays silent, and
/// the next launch chooses another.
fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| Error::io("cannot find a free port on 127.0.0.1", &e))
}

fn token(rng: &mut Rng) -> String {
    hex::encode(rng.array::<16>())
}

/// Says early and clearly what `exec` would say late.
fn must_be_executable(program: &Path) -> Result<()> {
    let executable =
        |path: &Path| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    let found = if program.components().count() > 1 {
        executable(program)
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| executable(&folder.join(program)))
    };
    if found {
        return Ok(());
    }
    let state = if program.exists() { "not executable" } else { "missing" };
    Err(Error::Config(format!(
        "the program {} is {state}: install it or correct the rig's configuration",
        program.display()
    )))
}

/// The secrets in a declared command line: values of secret-looking variables, and what follows
/// `--user`, `--pass`, `-u`, `-p` and the like.
fn command_secrets(command: &DeclaredCommand) -> Vec<String> {
    let mut pairs: Vec<(String, Value)> = command.env.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
    let mut args = command.args.iter().peekable();
    while let Some(arg) = args.next() {
        let Some(option) = arg.strip_prefix('-') else { continue };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, args.peek().filter(|next| !next.starts_with('-')).map(|next| next.as_str())),
        };
        let name = match name.trim_start_matches('-') {
            "u" | "w" => "user",
            "p" => "pass",
            other => other,
        };
        pairs.extend(value.map(|value| (name.to_owned(), value.into())));
    }
    let objects: Vec<Value> = pairs.into_iter().map(|(key, value)| json!({ key: value })).collect();
    secrets_of(&Value::Array(objects))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_of_a_command_line_are_found() {
        let command = DeclaredCommand {
            args: ["--pool", "p:1", "-u", "4Wallet", "--password=geheim", "-v", "--user", "-x"]
                .map(str::to_owned)
                .into(),
            env: [("API_TOKEN".to_owned(), "tok1".to_owned()), ("GPU".to_owned(), "all-of-them".to_owned())].into(),
            ..DeclaredCommand::default()
        };
        assert_eq!(command_secrets(&command), ["4Wallet", "geheim", "tok1"]);
    }

    #[test]
    fn the_words_before_a_child_are_those_of_the_variable_or_none() {
        assert_eq!(child_runner(Some(" qemu-aarch64-static  -cpu max ")), ["qemu-aarch64-static", "-cpu", "max"]);
        assert!(child_runner(None).is_empty() && child_runner(Some(" ")).is_empty());
    }

    #[test]
    fn a_missing_program_is_told_from_one_that_cannot_be_executed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("miner");
        let say = |path: &Path| must_be_executable(path).unwrap_err().to_string();
        assert!(say(&path).contains("is missing"));
        std::fs::write(&path, "x").unwrap();
        assert!(say(&path).contains("not executable"));
        assert!(say(Path::new("no-such-program-anywhere")).contains("is missing"));
        must_be_executable(Path::new("sh")).unwrap();
    }

    #[test]
    fn each_launch_has_its_own_token_and_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let settings = MinerSettings { xmrig: Some("/bin/sh".into()), ..MinerSettings::new(dir.path()) };
        let config = json!({"pools": [{"url": "p:1", "user": "4Wallet.rig"}]});
        let plan = Plan::new(&settings, None, "xmrig", config).unwrap();
        let mut rng = Rng::from_number(1);
        let mut prepare = || plan.prepare(&settings, "a", Path::new("/bin/sh"), &mut rng).unwrap();
        let (one, two) = (prepare(), prepare());
        assert_ne!(one.api.unwrap().1, two.api.clone().unwrap().1);
        let path = config_file(&settings, "a");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let (port, token) = two.api.unwrap();
        assert_eq!(
            (file["http"]["port"].as_u64().unwrap(), file["http"]["access-token"].as_str().unwrap()),
            (port.into(), &*token)
        );
        assert!(two.secrets.contains(&token) && two.secrets.contains(&"4Wallet.rig".to_owned()));
    }
}
