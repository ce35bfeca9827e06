//! Completion scripts, from one table of commands and options. A test holds the table to the parser.

use crate::exit::Exit;
use std::fmt::Write as _;

/// A command as typed, its words for people, its options.
type Entry = (&'static str, &'static str, &'static [&'static str]);

/// Every command; a second word is a subcommand, a third one of that.
const COMMANDS: &[Entry] = &[
    ("init", "make an identity", &["--role", "--name", "--tls", "--address"]),
    ("id", "show id and key", &[]),
    ("id protect", "put the keys under a pass-phrase", &[]),
    ("id unprotect", "take the pass-phrase away", &[]),
    ("id rotate", "replace the keys by new ones", &["--finish", "--now", "--forget"]),
    (
        "serve",
        "run the node",
        &[
            "--listen",
            "--config",
            "--uplink",
            "--open",
            "--require-secure",
            "--memory-budget",
            "--dht",
            "--bootstrap",
            "--dht-bind",
            "--fleet",
            "--public-fleet",
            "--lan",
            "--share",
            "--advertise",
        ],
    ),
    (
        "service install",
        "run it as a service",
        &["--user", "--run-as", "--program", "--root", "--init", "--print", "--force", "--enable", "--now"],
    ),
    ("service uninstall", "take the service away", &["--user", "--root", "--force"]),
    ("service status", "show how the service stands", &["--user"]),
    (
        "pair",
        "pair a rig with its controller",
        &["--grant", "--minutes", "--address", "--no-wait", "--cancel", "--name"],
    ),
    ("enrol", "let many rigs become known", &["--uses", "--days", "--grant", "--address", "--show", "--end"]),
    ("peers list", "show peers and allowed keys", &[]),
    ("peers add", "add a peer", &["--key", "--name", "--grant", "--trust-first", "--bootstrap", "--lan"]),
    ("peers remove", "remove a peer", &[]),
    ("peers allow", "let a key in", &["--grant", "--name"]),
    ("peers grant", "say what a key may do", &["--days", "--until", "--note", "--on", "--on-all"]),
    ("peers revoke", "shut a key out", &["--on", "--on-all"]),
    ("peers keep-key", "drop what would replace a key", &["--on", "--on-all"]),
    ("peers allow-plain", "accept protocol 1.0 from a key again", &[]),
    ("peers best", "show the best peers", &["--count"]),
    ("peers reset-clock", "forget times seen", &[]),
    ("peers export", "seal the registry to a key", &["--to", "--with-access", "--force"]),
    ("peers import", "take over a sealed registry", &["--from", "--with-access"]),
    ("discover", "find rigs", &["--fleet", "--public", "--lan", "--bootstrap", "--timeout"]),
    ("ping", "measure round trips", &["--all"]),
    ("status", "show the fleet", &["--all", "--watch", "--every", "--timeout"]),
    ("start", "start a miner", &["--all", "--profile", "--type", "--config"]),
    ("stop", "stop a miner", &["--all", "--miner", "--all-miners"]),
    ("pause", "pause miners", &["--all", "--miner"]),
    ("resume", "go on with paused miners", &["--all", "--miner"]),
    ("logs", "show what miners wrote", &["--all", "--miner", "--lines", "--since"]),
    ("audit show", "show what was commanded", &["--lines"]),
    ("audit tail", "show what rigs were commanded", &["--all", "--lines"]),
    ("audit verify", "check the audit log", &["--against"]),
    ("bench connect", "measure connecting", &["--count", "--seconds", "--anywhere"]),
    ("bench rtt", "measure round trips", &["--count", "--seconds", "--anywhere"]),
    ("bench throughput", "measure requests a second", &["--count", "--seconds", "--anywhere"]),
    ("bench sweep", "measure sweeps of the fleet", &["--all", "--count", "--seconds", "--anywhere"]),
    ("bench idle", "hold idle connections", &["--connections", "--seconds", "--plain", "--tls", "--pid", "--anywhere"]),
    ("profiles list", "show profiles", &[]),
    ("profiles put", "add or replace a profile", &[]),
    ("profiles remove", "remove a profile", &[]),
    ("seal form", "seal a form to a key", &["--to", "--field", "--file", "--meta", "--output", "--force"]),
    (
        "seal message",
        "seal a message under a password",
        &[
            "--password-file",
            "--body",
            "--body-file",
            "--attach",
            "--subject",
            "--from",
            "--hint",
            "--compress",
            "--output",
            "--force",
        ],
    ),
    ("open", "open a sealed form or message", &["--password-file", "--key", "--extract", "--force", "--peek"]),
    (
        "deploy",
        "bring miners and profiles to rigs",
        &[
            "--all",
            "--miner",
            "--profile",
            "--name",
            "--as-version",
            "--main",
            "--no-activate",
            "--dry-run",
            "--pending",
            "--cancel",
        ],
    ),
    ("versions", "show installed versions", &["--all", "--miner"]),
    ("rollback", "go back to another version", &["--to"]),
    (
        "bundle create",
        "make a bundle",
        &["--profile", "--miner", "--main", "--name", "--password-file", "--as", "--output", "--force"],
    ),
    ("bundle inspect", "show a bundle", &["--password-file"]),
    ("bundle verify", "check a bundle", &["--checksum", "--password-file"]),
    ("bundle extract", "take a bundle apart", &["--password-file", "--to", "--profile-to", "--name", "--force"]),
    (
        "ueps build",
        "make a signed packet",
        &[
            "--key-file",
            "--intent",
            "--threat",
            "--packet-version",
            "--from-layer",
            "--to-layer",
            "--payload",
            "--payload-file",
            "--output",
            "--force",
        ],
    ),
    ("ueps read", "check packets and show them", &["--key-file", "--lenient"]),
    (
        "ueps send",
        "send a packet",
        &[
            "--all",
            "--tcp",
            "--key-file",
            "--intent",
            "--profile",
            "--reason",
            "--threat",
            "--payload",
            "--payload-file",
            "--timeout",
        ],
    ),
    ("levin probe", "ask a CryptoNote node", &["--network", "--timeout"]),
    ("levin decode", "show Levin messages", &[]),
    (
        "dht node",
        "run a node of the DHT",
        &["--bootstrap", "--bind", "--key-file", "--ephemeral", "--passive", "--debug-http", "--timeout"],
    ),
    (
        "dht publish",
        "publish where one is",
        &["--ttl", "--bootstrap", "--bind", "--key-file", "--ephemeral", "--timeout"],
    ),
    ("dht resolve", "find where an address is", &["--bootstrap", "--bind", "--timeout"]),
    (
        "dht topic publish",
        "stand under a topic",
        &[
            "--name",
            "--brief",
            "--protocol",
            "--tag",
            "--ttl",
            "--bootstrap",
            "--bind",
            "--key-file",
            "--ephemeral",
            "--timeout",
        ],
    ),
    ("dht topic find", "see who stands under a topic", &["--protocol", "--tag", "--bootstrap", "--bind", "--timeout"]),
    (
        "dht mailbox send",
        "leave a sealed message",
        &["--ttl", "--bootstrap", "--bind", "--key-file", "--ephemeral", "--timeout"],
    ),
    ("dht mailbox read", "read sealed messages", &["--bootstrap", "--bind", "--key-file", "--timeout"]),
    ("dht ping", "ask a node who it is", &["--bind", "--timeout"]),
    ("dht find-node", "find the nearest nodes", &["--at", "--bootstrap", "--bind", "--timeout"]),
    ("dht stats", "show a running node's figures", &["--debug-http", "--timeout"]),
    ("dht bench", "measure a network here", &["--nodes", "--records", "--timeout"]),
    ("demo", "try everything here", &["--seconds"]),
    ("completions", "print a completion script", &[]),
    ("version", "print the version", &[]),
];

const GLOBALS: &[&str] = &["--data-dir", "--json", "--log", "--log-level", "--log-format", "--help"];
/// Values of options and positionals that have only a few.
const CHOICES: &[(&str, &str)] = &[
    ("--role", "controller worker dual"),
    ("--init", "systemd openrc busybox"),
    ("--grant", "controller observe operate deploy"),
    ("--log-level", "off error warn info debug trace"),
    ("--log-format", "text json"),
    ("--network", "mainnet testnet stagenet"),
    ("--type", "sha256d xmrig command"),
    ("--as", "stim json tim"),
    ("--compress", "zstd gzip none v1"),
    ("--intent", "handshake compute rehab custom"),
    ("completions", "bash zsh fish"),
];
/// Options that name a file or folder.
const FILES: &[&str] = &[
    "--data-dir",
    "--config",
    "--output",
    "--password-file",
    "--to",
    "--profile-to",
    "--body-file",
    "--attach",
    "--extract",
    "--key-file",
    "--payload-file",
    "--against",
    "--program",
    "--root",
];

/// The script for a shell.
pub(crate) fn script(shell: &str) -> Result<String, Exit> {
    match shell {
        "bash" => Ok(bash()),
        "zsh" => Ok(format!("#compdef rigmesh\nautoload -U +X bashcompinit && bashcompinit\n{}", bash())),
        "fish" => Ok(fish()),
        _ => Err(Exit::usage(format!("unknown shell {shell:?}: use bash, zsh or fish"))),
    }
}

/// First words, in order, each once.
fn firsts() -> Vec<&'static str> {
    let mut words: Vec<&str> = COMMANDS.iter().map(|(path, ..)| path.split(' ').next().unwrap_or(path)).collect();
    words.dedup();
    words
}

/// What may follow the words before, each once.
fn following(before: &str) -> Vec<&'static str> {
    let after = |path: &'static str| path.strip_prefix(before)?.strip_prefix(' ')?.split(' ').next();
    let mut words: Vec<&str> = COMMANDS.iter().filter_map(|(path, ..)| after(path)).collect();
    words.dedup();
    words
}

/// Words that are no command without another: `peers`, `dht`, `dht topic`.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> =
        COMMANDS.iter().filter_map(|(path, ..)| path.rsplit_once(' ').map(|(g, _)| g)).collect();
    groups.extend(firsts().into_iter().filter(|first| !following(first).is_empty()));
    // The longer stand first, because the shorter fit what they fit.
    groups.sort_unstable_by_key(|group| (std::cmp::Reverse(group.matches(' ').count()), *group));
    groups.dedup();
    groups
}

fn bash() -> String {
    let mut text = String::from(
        "_rigmesh() {\n  local cur prev typed words\n  cur=\"${COMP_WORDS[COMP_CWORD]}\"; prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n  typed=\"${COMP_WORDS[1]} ${COMP_WORDS[2]} ${COMP_WORDS[3]} \"\n  case \"$prev\" in\n",
    );
    for (option, values) in CHOICES {
        let _ = writeln!(text, "    {option}) COMPREPLY=($(compgen -W \"{values}\" -- \"$cur\")); return;;");
    }
    let _ = writeln!(text, "    {}) COMPREPLY=($(compgen -f -- \"$cur\")); return;;", FILES.join("|"));
    let _ = writeln!(
        text,
        "  esac\n  if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"{}\"\n  else case \"$typed\" in",
        firsts().join(" ")
    );
    for (path, _, options) in COMMANDS {
        let _ = writeln!(text, "    \"{path} \"*) words=\"{} {}\";;", options.join(" "), GLOBALS.join(" "));
    }
    for group in groups() {
        let _ = writeln!(text, "    \"{group} \"*) words=\"{}\";;", following(group).join(" "));
    }
    text.push_str(
        "  esac; fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _rigmesh rigmesh\n",
    );
    text
}

fn fish() -> String {
    let mut text = String::from("complete -c rigmesh -f\n");
    for global in GLOBALS {
        let _ = writeln!(text, "complete -c rigmesh -l {}{}", global.trim_start_matches('-'), value(global));
    }
    for first in firsts() {
        let words = COMMANDS.iter().find(|(path, ..)| *path == first).map_or("", |(_, words, _)| words);
        let _ = writeln!(text, "complete -c rigmesh -n __fish_use_subcommand -a {first} -d '{words}'");
    }
    for group in groups() {
        let seen: Vec<String> = group.split(' ').map(|word| format!("__fish_seen_subcommand_from {word}")).collect();
        let list = following(group).join(" ");
        let _ = writeln!(
            text,
            "complete -c rigmesh -n '{}; and not __fish_seen_subcommand_from {list}' -a '{list}'",
            seen.join("; and ")
        );
    }
    for (path, _, options) in COMMANDS {
        let seen: Vec<String> = path.split(' ').map(|word| format!("__fish_seen_subcommand_from {word}")).collect();
        for option in *options {
            let _ = writeln!(
                text,
                "complete -c rigmesh -n '{}' -l {}{}",
                seen.join("; and "),
                option.trim_start_matches('-'),
                value(option)
            );
        }
    }
    text.push_str("complete -c rigmesh -n '__fish_seen_subcommand_from completions' -a 'bash zsh fish'\n");
    text
}

fn value(option: &str) -> String {
    match CHOICES.iter().find(|(name, _)| *name == option) {
        Some((_, values)) => format!(" -x -a '{values}'"),
        None if FILES.contains(&option) => " -r -F".to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use argh::FromArgs as _;

    /// The help text of a command.
    fn help(path: &str) -> String {
        let words: Vec<&str> = path.split(' ').chain(["--help"]).filter(|w| !w.is_empty()).collect();
        Cli::from_args(&["rigmesh"], &words).unwrap_err().output
    }

    #[test]
    fn the_table_is_what_the_parser_knows() {
        for (path, _, options) in COMMANDS {
            let help = help(path);
            let mut known: Vec<&str> = help
                .lines()
                .filter(|line| line.starts_with("  -"))
                .filter_map(|line| line.split_whitespace().take(2).find(|w| w.starts_with("--")))
                .map(|w| w.trim_end_matches(','))
                .filter(|w| *w != "--help")
                .collect();
            known.sort_unstable();
            let mut ours = options.to_vec();
            ours.sort_unstable();
            assert_eq!(ours, known, "{path}\n{help}");
            assert!(help.contains("Examples:"), "{path} has no example");
        }
        let top = help("");
        for first in firsts() {
            assert!(top.contains(&format!("\n  {first} ")), "{first}");
        }
        for group in [
            "id",
            "service",
            "peers",
            "audit",
            "profiles",
            "bundle",
            "ueps",
            "levin",
            "dht",
            "dht topic",
            "dht mailbox",
        ] {
            let text = help(group);
            assert!(following(group).iter().all(|s| text.contains(&format!("\n  {s} "))), "{text}");
        }
    }

    #[test]
    fn every_shell_gets_every_command() {
        for shell in ["bash", "zsh", "fish"] {
            let text = script(shell).unwrap();
            for word in ["reset-clock", "all-miners", "trust-first", "completions", "uplink"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
        assert_eq!(script("tcsh").unwrap_err().code, crate::exit::USAGE);
    }

    #[test]
    fn bash_reads_the_script() {
        let Ok(output) = std::process::Command::new("bash").args(["-n", "-c", &script("bash").unwrap()]).output()
        else {
            return; // no bash here
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
