//! What a profile or a controller may set, by miner type: a list of known keys, each with a rule
//! for its value. Everything else is refused by name, so that nothing from outside reaches an
//! option, a path or a command line that is not on this list. No value is repeated in an error: it may be a wallet.

use crate::base::{Error, JSON_DEPTH_MAX, Result};
use serde_json::{Map, Value};

/// The miner types that the real manager knows.
pub const MINER_TYPES: &[&str] = &["command", "sha256d", "xmrig"];

/// Share of the CPU, in percent, that the built-in hasher takes when its profile does not say.
pub const SHA256D_INTENSITY_DEFAULT: u64 = 50;

/// What a value must be.
enum Rule {
    Flag,
    Null,
    Number(i64, i64),
    /// A text of 1 to so many bytes that passes the check; the words say what is wanted.
    Text(usize, fn(&str) -> bool, &'static str),
    Word(&'static [&'static str]),
    List(usize, &'static Rule),
    Object(&'static [(&'static str, Rule)]),
    /// The first rule that holds; the words say what is wanted.
    Either(&'static [Rule], &'static str),
}
use Rule::{Either, Flag, List, Null, Number, Object, Text, Word};

const ALGO: Rule = Text(32, |s| only(s, b"/_.-"), "an algorithm name such as rx/0");
const COIN: Rule = Text(32, |s| only(s, b"-_"), "a coin name such as monero");
const FLAG_OR_SECONDS: Rule = Either(&[Flag, Number(0, 3600)], "true, false or seconds");

/// One XMRig pool. `daemon`, `socks5`, `self-select` and `spend-secret-key` are left out on purpose:
/// they reach other hosts or hold keys.
const POOL: Rule = Object(&[
    (
        "url",
        Text(256, is_pool_address, "host:port, or stratum+tcp://host:port or stratum+ssl://host:port, without a user"),
    ),
    (
        "user",
        Text(512, |s| only(s, b"._-+/:=@#~,%"), "a wallet or login of letters, digits and . _ - + / : = @ # ~ , %"),
    ),
    ("pass", Text(256, is_printable, "printable ASCII")),
    ("rig-id", Text(64, |s| only(s, b"._-"), "letters, digits, dots, underscores or dashes")),
    ("algo", Either(&[ALGO, Null], "an algorithm name such as rx/0")),
    ("coin", Either(&[COIN, Null], "a coin name such as monero")),
    ("keepalive", FLAG_OR_SECONDS),
    ("enabled", Flag),
    ("nicehash", Flag),
    ("tls", Flag),
    (
        "tls-fingerprint",
        Either(
            &[Text(64, |s| s.len() == 64 && s.bytes().all(|c| c.is_ascii_hexdigit()), "64 hex digits"), Null],
            "64 hex digits",
        ),
    ),
]);

/// Threads of one algorithm: a number of them, or the CPU each is pinned to (-1: not pinned).
const THREADS: Rule =
    Either(&[Flag, Number(1, 1024), List(1024, &Number(-1, 1023))], "a number of threads or a list of CPUs");

const XMRIG: &[(&str, Rule)] = &[
    ("pools", List(8, &POOL)),
    ("algo", ALGO),
    ("coin", COIN),
    ("threads", Number(1, 1024)),
    ("donate-level", Number(0, 99)),
    ("print-time", Number(0, 3600)),
    ("retries", Number(1, 1000)),
    ("retry-pause", Number(1, 3600)),
    ("pause-on-battery", Flag),
    ("pause-on-active", FLAG_OR_SECONDS),
    (
        "cpu",
        Object(&[
            ("enabled", Flag),
            ("huge-pages", Flag),
            ("huge-pages-jit", Flag),
            ("hw-aes", Either(&[Flag, Null], "true, false or null")),
            ("priority", Either(&[Number(0, 5), Null], "0 to 5")),
            ("memory-pool", Either(&[Flag, Number(0, 4096)], "true, false or a number")),
            ("yield", Flag),
            (
                "asm",
                Either(&[Flag, Word(&["auto", "none", "intel", "ryzen", "bulldozer"])], "true, false or a CPU family"),
            ),
            ("max-threads-hint", Number(1, 100)),
            ("rx", THREADS),
            ("cn", THREADS),
            ("argon2", THREADS),
            ("ghostrider", THREADS),
        ]),
    ),
    (
        "randomx",
        // Not `wrmsr` and `rdmsr`: they write to the registers of the machine.
        Object(&[
            ("mode", Word(&["auto", "fast", "light"])),
            ("init", Number(-1, 1024)),
            ("1gb-pages", Flag),
            ("numa", Flag),
        ]),
    ),
];

const SHA256D: &[(&str, Rule)] =
    &[("algo", Word(&["sha256d"])), ("threads", Number(1, 256)), ("intensity", Number(1, 100))];

/// The name of a command that this rig's own configuration declares. Never a program or an argument.
const COMMAND: &[(&str, Rule)] = &[("command", Text(64, |s| only(s, b"._-"), "the name of a declared command"))];

/// Refuses a configuration with a key that miners of this type do not know, or a value that does not
/// fit its key. [`Error::Malformed`] names the key.
pub fn check(miner_type: &str, config: &Value) -> Result<()> {
    let rules = match miner_type {
        "xmrig" => XMRIG,
        "sha256d" => SHA256D,
        "command" => COMMAND,
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(Error::malformed(
                "miner type",
                format!("{shown:?} is not known: use one of {}", MINER_TYPES.join(", ")),
            ));
        }
    };
    let Value::Object(map) = config else { return Err(bad("", "must be an object")) };
    check_object("", map, rules)
}

/// The configuration a miner is started with: the controller's laid over the profile's, key by key in
/// nested objects, lists as a whole. Both are checked, and the result must be enough to start with.
pub fn effective(miner_type: &str, profile: Option<&Value>, over: Option<&Value>) -> Result<Value> {
    let mut config = Value::Object(Map::new());
    for layer in [profile, over].into_iter().flatten() {
        check(miner_type, layer)?;
        lay_over(&mut config, layer, 0);
    }
    if profile.is_none() && over.is_none() {
        return Err(Error::malformed("start request", "needs a profile or a config"));
    }
    let needed = match miner_type {
        "xmrig" => "pools",
        "command" => "command",
        _ => return Ok(config),
    };
    if config.get(needed).is_none_or(|v| v.as_array().is_some_and(Vec::is_empty)) {
        return Err(bad(needed, "is needed"));
    }
    let pools = config.get("pools").and_then(Value::as_array).into_iter().flatten();
    match pools.enumerate().find(|(_, pool)| pool.get("url").is_none()) {
        Some((i, _)) => Err(bad(&format!("pools[{i}].url"), "is needed")),
        None => Ok(config),
    }
}

fn lay_over(base: &mut Value, layer: &Value, depth: usize) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) if depth < JSON_DEPTH_MAX => {
            for (key, value) in layer {
                lay_over(base.entry(key.clone()).or_insert(Value::Null), value, depth + 1);
            }
        }
        (base, layer) => *base = layer.clone(),
    }
}

fn check_object(path: &str, map: &Map<String, Value>, rules: &[(&str, Rule)]) -> Result<()> {
    for (key, value) in map {
        match rules.iter().find(|(known, _)| known == key) {
            Some((_, rule)) => check_value(&join(path, key), value, rule)?,
            None => {
                let shown: String = key.chars().take(48).collect();
                return Err(Error::malformed("miner config", format!("unknown key {:?}", join(path, &shown))));
            }
        }
    }
    Ok(())
}

fn check_value(path: &str, value: &Value, rule: &Rule) -> Result<()> {
    let holds = |ok: bool, want: &str| if ok { Ok(()) } else { Err(bad(path, &format!("must be {want}"))) };
    match rule {
        Flag => holds(value.is_boolean(), "true or false"),
        Null => holds(value.is_null(), "null"),
        Number(min, max) => holds(
            value.as_i64().is_some_and(|n| (*min..=*max).contains(&n)),
            &format!("a whole number from {min} to {max}"),
        ),
        Text(bytes_max, fits, want) => {
            holds(value.as_str().is_some_and(|s| (1..=*bytes_max).contains(&s.len()) && fits(s)), want)
        }
        Word(words) => {
            holds(value.as_str().is_some_and(|s| words.contains(&s)), &format!("one of {}", words.join(", ")))
        }
        List(max, rule) => {
            let Value::Array(items) = value else { return Err(bad(path, "must be a list")) };
            holds(items.len() <= *max, &format!("a list of at most {max}"))?;
            items.iter().enumerate().try_for_each(|(i, item)| check_value(&format!("{path}[{i}]"), item, rule))
        }
        Object(rules) => match value {
            Value::Object(map) => check_object(path, map, rules),
            _ => Err(bad(path, "must be an object")),
        },
        Either(rules, want) => holds(rules.iter().any(|rule| check_value(path, value, rule).is_ok()), want),
    }
}

fn bad(path: &str, what: &str) -> Error {
    let detail = if path.is_empty() { what.to_owned() } else { format!("`{path}` {what}") };
    Error::malformed("miner config", detail)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Letters, digits and `more`; not starting with a dash, which a program could take for an option.
fn only(text: &str, more: &[u8]) -> bool {
    !text.starts_with('-') && text.bytes().all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|c| matches!(c, b' '..=b'~'))
}

/// `host:port` with one of the two pool schemes or none. A user in the address is refused: it would be shown.
fn is_pool_address(text: &str) -> bool {
    let schemes = ["stratum+tcp://", "stratum+ssl://"];
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    let Some((host, port)) = rest.rsplit_once(':') else { return false };
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_fits = match inner {
        Some(v6) => !v6.is_empty() && v6.bytes().all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.')),
        None => !host.is_empty() && only(host, b".-_"),
    };
    host_fits && port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pool() -> Value {
        json!({"url": "stratum+ssl://pool.example:443", "user": "4Wallet.rig+100", "pass": "x", "keepalive": true,
            "tls": true, "algo": "rx/0", "coin": "monero", "rig-id": "rig-7", "tls-fingerprint": null})
    }

    #[test]
    fn an_ordinary_configuration_of_each_type_passes() {
        let xmrig = json!({"pools": [pool()], "donate-level": 1, "threads": 2, "randomx": {"mode": "light"},
            "cpu": {"enabled": true, "max-threads-hint": 75, "priority": null, "rx": [0, 1], "asm": "ryzen"}});
        check("xmrig", &xmrig).unwrap();
        check("sha256d", &json!({"threads": 1, "intensity": 5, "algo": "sha256d"})).unwrap();
        check("sha256d", &json!({})).unwrap();
        check("command", &json!({"command": "lolminer"})).unwrap();
    }

    #[test]
    fn a_key_that_is_not_on_the_list_is_refused_by_name() {
        for (config, key) in [
            (json!({"http": {"host": "0.0.0.0"}}), "http"),
            (json!({"api": {}}), "api"),
            (json!({"log-file": "/etc/passwd"}), "log-file"),
            (json!({"background": true}), "background"),
            (json!({"autosave": true}), "autosave"),
            (json!({"opencl": {"loader": "/tmp/evil.so"}}), "opencl"),
            (json!({"cuda": {"loader": "/tmp/evil.so"}}), "cuda"),
            (json!({"tls": {"cert": "/x"}}), "tls"),
            (json!({"stress": true}), "stress"),
            (json!({"donate-over-proxy": 1}), "donate-over-proxy"),
            (json!({"randomx": {"wrmsr": true}}), "randomx.wrmsr"),
            (json!({"pools": [{"url": "a:1", "socks5": "x:1"}]}), "pools[0].socks5"),
            (json!({"pools": [{"daemon": true}]}), "pools[0].daemon"),
            (json!({"cpu": {"*": {"intensity": 1}}}), "cpu.*"),
            (json!({"CPU": {}}), "CPU"),
            (json!({"CLIArgs": "--x"}), "CLIArgs"),
        ] {
            let error = check("xmrig", &config).unwrap_err();
            assert!(
                matches!(&error, Error::Malformed { detail, .. } if detail.contains(&format!("{key:?}"))),
                "{error}"
            );
        }
        assert!(check("command", &json!({"command": "a", "args": ["-x"]})).is_err());
        assert!(check("sha256d", &json!({"pool": "x"})).is_err());
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_and_not_repeated() {
        let pools = [
            ("url", json!("pool.example:443;rm -rf")),
            ("url", json!("daemon+http://pool:1")),
            ("url", json!("http://pool:1/path")),
            ("url", json!("stratum+tcp://4Wallet:x@pool:1")),
            ("url", json!("pool")),
            ("url", json!("pool:0")),
            ("url", json!("pool:99999")),
            ("url", json!("pool:+1")),
            ("url", json!("-pool:1")),
            ("url", json!("$(id):1")),
            ("url", json!("pool\n:1")),
            ("url", json!("")),
            ("url", json!(null)),
            ("user", json!("4Wallet $(id)")),
            ("user", json!("4Wallet`id`")),
            ("user", json!("--4Wallet")),
            ("user", json!("4Wallet\u{0}")),
            ("user", json!("4Wallet".repeat(100))),
            ("pass", json!("4Wallet\n")),
            ("rig-id", json!("../4Wallet")),
            ("algo", json!("rx/0 --x")),
            ("tls", json!("4Wallet")),
            ("tls-fingerprint", json!("4Wallet")),
            ("keepalive", json!(-1)),
        ];
        for (key, value) in pools {
            let mut bad = pool();
            bad[key] = value.clone();
            let error = check("xmrig", &json!({"pools": [bad]})).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains("4Wallet"), "{key} {value}: {error}");
        }
        for bad in [
            json!([]),
            json!({"pools": {}}),
            json!({"pools": vec![pool(); 9]}),
            json!({"threads": 0}),
            json!({"threads": 1.5}),
            json!({"donate-level": 100}),
            json!({"cpu": {"rx": ["a"]}}),
            json!({"cpu": 1}),
        ] {
            assert!(check("xmrig", &bad).is_err(), "{bad}");
        }
        for bad in
            [json!({"intensity": 0}), json!({"intensity": 101}), json!({"threads": 1000}), json!({"algo": "rx/0"})]
        {
            assert!(check("sha256d", &bad).is_err(), "{bad}");
        }
        for bad in [
            json!({"command": "/bin/sh"}),
            json!({"command": "a b"}),
            json!({"command": ["a"]}),
            json!({"command": ""}),
        ] {
            assert!(check("command", &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pool_addresses_of_the_usual_forms_pass() {
        for good in ["pool.example:3333", "10.0.0.1:1", "[2001:db8::1]:443", "stratum+tcp://a_b-c.d:65535"] {
            assert!(is_pool_address(good), "{good}");
        }
    }

    #[test]
    fn a_controllers_settings_are_laid_over_the_profiles() {
        let profile = json!({"pools": [pool(), pool()], "cpu": {"priority": 1, "yield": true}});
        let over = json!({"pools": [{"url": "other:1"}], "cpu": {"priority": 5}});
        assert_eq!(
            effective("xmrig", Some(&profile), Some(&over)).unwrap(),
            json!({"pools": [{"url": "other:1"}], "cpu": {"priority": 5, "yield": true}})
        );
        assert!(effective("xmrig", Some(&profile), Some(&json!({"http": {}}))).is_err());
        assert!(effective("xmrig", Some(&json!({"http": {}})), None).is_err());
    }

    #[test]
    fn what_is_not_enough_to_start_with_is_refused() {
        for (kind, config) in [
            ("xmrig", json!({})),
            ("xmrig", json!({"pools": []})),
            ("xmrig", json!({"pools": [{"user": "x"}]})),
            ("command", json!({})),
            ("nonsense", json!({})),
        ] {
            assert!(effective(kind, Some(&config), None).is_err(), "{kind} {config}");
        }
        assert!(effective("sha256d", None, None).is_err());
        effective("sha256d", None, Some(&json!({}))).unwrap();
    }
}
