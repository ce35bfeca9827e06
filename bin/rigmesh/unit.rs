//! The texts with which service managers run the node, from the files of `bin/service/`: one source for what is
//! installed, printed and shown as an example.

use crate::args::{Serve, ServiceInstall, split_globals};
use crate::exit::Exit;
use argh::FromArgs as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a unit of ours begins with.
const MARK: &str = "# Written by `rigmesh service install";
const SYSTEM: &str = include_str!("../service/system.service");
const USER: &str = include_str!("../service/user.service");
const OPENRC: &str = include_str!("../service/openrc");
const BUSYBOX: &str = include_str!("../service/busybox-init");
/// The data folder of the machine's service, and the name of systemd's word for it.
const DATA: &str = "/var/lib/rigmesh";
/// Where the scripts expect the program.
const PROGRAM: &str = "/usr/local/bin/rigmesh";

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Service {
    program: PathBuf,
    /// `serve` and its options, the data folder apart.
    words: Vec<String>,
    /// `None`: the places of the user it runs as.
    data_dir: Option<PathBuf>,
    run_as: Option<String>,
}

impl Service {
    /// From the command line: the options after `--` are checked as `serve` itself checks them, and paths made absolute.
    pub(crate) fn new(args: &ServiceInstall, data_dir: Option<&Path>) -> Result<Service, Exit> {
        let here = |path: &Path| {
            std::path::absolute(path).map_err(|e| Exit::usage(format!("cannot use {}: {e}", path.display())))
        };
        let program = match &args.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|e| Exit::usage(format!("name the program (--program): {e}")))?,
        };
        let (words, own) = serve_words(&args.serve)?;
        let default = (!args.user).then(|| PathBuf::from(DATA));
        let data_dir = match own.as_deref().or(data_dir) {
            Some(folder) => Some(here(folder)?),
            None => default,
        };
        if let Some(user) = &args.run_as {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            if args.user {
                return Err(Exit::usage("--user is the user who types it; --run-as goes without"));
            }
            if user.is_empty() || user.starts_with(['-', '.']) || !user.chars().all(plain) {
                return Err(Exit::usage(format!("{user:?} is no user's name")));
            }
        }
        Ok(Service { program: here(&program)?, words, data_dir, run_as: args.run_as.clone() })
    }

    /// Where the node's files will be, when that is fixed.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The whole command.
    fn command(&self) -> Result<Vec<String>, Exit> {
        let mut command = vec![utf8(&self.program)?];
        command.extend(self.words.iter().cloned());
        if let Some(folder) = &self.data_dir {
            command.extend(["--data-dir".to_owned(), utf8(folder)?]);
        }
        Ok(command)
    }

    /// The unit of the machine's systemd.
    pub(crate) fn system_unit(&self) -> Result<String, Exit> {
        let folder = self.data_dir.clone().unwrap_or_else(|| DATA.into());
        let user = self.run_as.as_ref().map(|user| format!("User={user}"));
        // Below /var/lib systemd makes the folder and gives it to the user; elsewhere it must be there.
        let state = match folder.strip_prefix("/var/lib").ok().and_then(Path::to_str).filter(|name| plain(name)) {
            Some(name) => format!("StateDirectory={name}\nStateDirectoryMode=0700"),
            None => format!("ReadWritePaths={}", quoted(&utf8(&folder)?, false)?),
        };
        let within = |roots: &[&str]| roots.iter().any(|r| folder.starts_with(r) || self.program.starts_with(r));
        let home = match within(&["/home", "/root", "/run/user"]) {
            true => "# The program or its data are there.\nProtectHome=read-only",
            false => "# (A miner's program below /home needs read-only here.)\nProtectHome=yes",
        };
        let tmp = match within(&["/tmp", "/var/tmp"]) {
            true => "# No PrivateTmp: the program or its data are there.",
            false => "PrivateTmp=yes",
        };
        let text = SYSTEM.replace("@STATE@", &state).replace("@HOME@", home).replace("@TMP@", tmp);
        Ok(text
            .replace("@USER@\n", &user.map_or_else(String::new, |line| line + "\n"))
            .replace("@EXEC@", &self.exec()?))
    }

    /// The unit of a user's systemd.
    pub(crate) fn user_unit(&self) -> Result<String, Exit> {
        Ok(USER.replace("@EXEC@", &self.exec()?))
    }

    /// A script for OpenRC or BusyBox.
    pub(crate) fn script(&self, init: &str) -> Result<String, Exit> {
        let text = match init {
            "openrc" => OPENRC,
            "busybox" => BUSYBOX,
            _ => return Err(Exit::usage(format!("unknown init {init:?}: use systemd, openrc or busybox"))),
        };
        let command = self.command()?;
        if let Some(odd) = command.iter().find(|word| !plain(word)) {
            return Err(Exit::usage(format!("{odd:?} cannot stand in a script: print it without, and write it there")));
        }
        let (program, words) = command.split_first().ok_or_else(|| Exit::usage("no command"))?;
        Ok(text.replace(PROGRAM, program).replace(&format!("serve --data-dir {DATA}"), &words.join(" ")))
    }

    fn exec(&self) -> Result<String, Exit> {
        let words: Vec<String> = self.command()?.iter().map(|word| quoted(word, true)).collect::<Result<_, _>>()?;
        Ok(words.join(" "))
    }
}

/// Whether a unit was written by [`Service::system_unit`] or [`Service::user_unit`].
pub(crate) fn is_ours(text: &[u8]) -> bool {
    text.starts_with(MARK.as_bytes())
}

/// `serve` and its options, paths absolute, and the data folder apart, which may stand among them.
fn serve_words(options: &[String]) -> Result<(Vec<String>, Option<PathBuf>), Exit> {
    let (globals, rest) = split_globals(options.iter().map(OsString::from)).map_err(Exit::usage)?;
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    Serve::from_args(&["rigmesh", "serve"], &rest).map_err(|early| {
        let words = early.output.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned();
        Exit::usage(format!("after `--` come options of serve: {words}; see: rigmesh serve --help"))
    })?;
    let mut words = vec!["serve".to_owned()];
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let (name, joined) = match option.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (option.as_str(), None),
        };
        match name {
            "--data-dir" => drop(joined.or_else(|| options.next().cloned())),
            "--config" => {
                let value = joined.or_else(|| options.next().cloned()).unwrap_or_default();
                let path = std::path::absolute(&value).map_err(|e| Exit::usage(format!("cannot use {value}: {e}")))?;
                words.extend([name.to_owned(), utf8(&path)?]);
            }
            _ => words.push(option.clone()),
        }
    }
    Ok((words, globals.data_dir))
}

fn utf8(path: &Path) -> Result<String, Exit> {
    path.to_str().map(str::to_owned).ok_or_else(|| Exit::usage(format!("the path {path:?} is not UTF-8")))
}

/// Whether a word means itself everywhere.
fn plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:,@+=#[]".contains(c))
}

/// As systemd reads it back: `%` begins a specifier everywhere, `$` a variable in commands.
fn quoted(word: &str, command: bool) -> Result<String, Exit> {
    if word.chars().any(char::is_control) {
        return Err(Exit::usage(format!("{word:?} cannot stand in a unit")));
    }
    if plain(word) {
        return Ok(word.to_owned());
    }
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    let word = if command { word.replace('$', "$$") } else { word };
    Ok(format!("\"{word}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(words: &[&str]) -> Result<Service, Exit> {
        let words = [&["install"], words].concat();
        let args = ServiceInstall::from_args(&["rigmesh", "service"], &words[1..]).unwrap();
        Service::new(&args, None)
    }

    #[test]
    fn words_come_back_from_systemd_as_they_were() {
        let text = service(&["--program", "/opt/my rigs/rigmesh", "--", "--fleet", "50%$x\"\\"]).unwrap();
        let unit = text.system_unit().unwrap();
        let wanted = r#"ExecStart="/opt/my rigs/rigmesh" serve --fleet "50%%$$x\"\\" --data-dir /var/lib/rigmesh"#;
        assert!(unit.contains(wanted), "{unit}");
        assert!(service(&["--", "--fleet", "a\nExecStartPre=/bin/evil"]).unwrap().system_unit().is_err());
    }

    #[test]
    fn the_data_folder_decides_what_systemd_makes_and_what_it_shows() {
        let unit = |words: &[&str]| service(words).unwrap().system_unit().unwrap();
        let usual = unit(&["--program", "/usr/bin/rigmesh"]);
        for line in [
            "StateDirectory=rigmesh",
            "ProtectHome=yes",
            "PrivateTmp=yes",
            "Type=notify",
            "WatchdogSec=60",
            "Environment=MALLOC_ARENA_MAX=2",
        ] {
            assert!(usual.lines().any(|l| l == line), "{line}\n{usual}");
        }
        let holes = ["@EXEC@", "@USER@", "@STATE@", "@HOME@", "@TMP@"];
        assert!(!usual.contains("User=") && holes.iter().all(|hole| !usual.contains(hole)), "{usual}");
        let own = unit(&["--program", "/usr/bin/rigmesh", "--run-as", "miner", "--", "--data-dir=/home/miner/rig"]);
        for line in ["User=miner", "ReadWritePaths=/home/miner/rig", "ProtectHome=read-only", "PrivateTmp=yes"] {
            assert!(own.lines().any(|l| l == line), "{line}\n{own}");
        }
        assert!(!own.contains("StateDirectory="));
        assert!(!unit(&["--program", "/tmp/rigmesh"]).contains("\nPrivateTmp=yes"));
    }

    #[test]
    fn what_serve_would_not_take_is_refused_now() {
        for (words, why) in [
            (&["--", "--lisen", ":1"][..], "--lisen"),
            (&["--", "--data-dir"], "needs a value"),
            (&["--run-as", "a b"], "no user"),
            (&["--user", "--run-as", "a"], "--run-as"),
        ] {
            let exit = service(words).unwrap_err();
            assert!(exit.code == crate::exit::USAGE && exit.message.contains(why), "{exit:?}");
        }
        let (words, data) = serve_words(&["--config=c.json".into(), "--data-dir".into(), "d".into()]).unwrap();
        assert_eq!((words.len(), data.as_deref()), (3, Some(Path::new("d"))));
        assert!(Path::new(&words[2]).is_absolute());
    }

    #[test]
    fn scripts_get_the_command_in_place_of_their_example() {
        let made = service(&["--program", "/opt/rigmesh", "--", "--listen", ":1"]).unwrap();
        for init in ["openrc", "busybox"] {
            let text = made.script(init).unwrap();
            let words = "serve --listen :1 --data-dir /var/lib/rigmesh\"";
            assert!(text.contains("/opt/rigmesh") && text.contains(words) && !text.contains(PROGRAM), "{text}");
            assert!(text.contains("MALLOC_ARENA_MAX=2"), "{text}");
        }
        assert!(made.script("upstart").is_err());
        assert!(service(&["--", "--fleet", "a b"]).unwrap().script("openrc").is_err());
    }
}
