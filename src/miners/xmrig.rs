//! XMRig: its configuration file and its answers, as version 6.26 really writes them (miners.md).
//!
//! Traps: a hashrate is `null` until its window has filled, and `0.0` while the dataset is built; a
//! difficulty may be 2^64 - 1; `paused` is a flag, the rate only decays; rejected shares are a difference;
//! `/2/backends` lists only what was built in; a proxy answers in another unit.

use super::secrets::without_userinfo;
use crate::base::{Error, Result, check_json};
use serde_json::{Map, Value, json};

/// The largest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The longest text taken over from an answer.
const TEXT_CHARS_MAX: usize = 128;

/// What `/2/summary` (or `/1/summary`, `/api.json`) tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Hashes a second: the 10 s mean, else the 60 s, else the 15 min one; `None` before anything was measured.
    pub hashrate_hs: Option<f64>,
    /// Shares accepted since the process started.
    pub shares: u64,
    /// Shares rejected since the process started.
    pub rejected: u64,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// The pool, without user or password; empty when there is none.
    pub pool: String,
    /// Whether the connection to the pool stands.
    pub connected: bool,
    /// Shares accepted on this connection.
    pub accepted: u64,
    /// The algorithm; empty when not yet known.
    pub algorithm: String,
    /// Whether the miner was paused.
    pub paused: bool,
    /// The pool's difficulty. 2^64 - 1 is a value XMRig does send.
    pub difficulty: u64,
}

/// Reads a summary. [`Error::Malformed`] when it is no JSON object, or not a miner's.
pub fn parse_summary(bytes: &[u8]) -> Result<Summary> {
    let value = parse("miner summary", bytes)?;
    let Value::Object(_) = value else { return Err(Error::malformed("miner summary", "not an object")) };
    match value.get("kind") {
        None => {}
        Some(kind) if kind == "miner" => {}
        Some(_) => return Err(Error::malformed("miner summary", "from a proxy, not from a miner")),
    }
    let Some(hashrate) = value.get("hashrate").filter(|h| h.is_object()) else {
        return Err(Error::malformed("miner summary", "has no `hashrate`"));
    };
    let at = |group: &str, key: &str| value.get(group).and_then(|g| g.get(key));
    let count = |group: &str, key: &str| at(group, key).and_then(whole).unwrap_or(0);
    let shares = count("results", "shares_good");
    let text = |v: Option<&Value>| v.and_then(Value::as_str).map(short).unwrap_or_default();
    Ok(Summary {
        hashrate_hs: rate(hashrate),
        shares,
        rejected: count("results", "shares_total").saturating_sub(shares),
        uptime_s: value.get("uptime").and_then(whole).unwrap_or(0),
        pool: without_userinfo(&text(at("connection", "pool"))),
        connected: count("connection", "uptime") > 0 || count("connection", "uptime_ms") > 0,
        accepted: count("connection", "accepted"),
        algorithm: text(value.get("algo")),
        paused: value.get("paused").and_then(Value::as_bool).unwrap_or(false),
        difficulty: count("results", "diff_current"),
    })
}

/// Reads `/2/backends`: how many CPU threads are at work. A build without a CPU backend has none.
pub fn parse_backends(bytes: &[u8]) -> Result<u32> {
    let value = parse("miner backends", bytes)?;
    let Value::Array(backends) = &value else { return Err(Error::malformed("miner backends", "not a list")) };
    let threads = |backend: &Value| backend.get("threads").and_then(Value::as_array).map_or(0, Vec::len);
    let all = backends.iter().filter(|b| b.get("type").is_some_and(|t| t == "cpu")).map(threads).sum::<usize>();
    Ok(u32::try_from(all).unwrap_or(u32::MAX))
}

/// XMRig's configuration file: the checked `config` (see [`super::config`]) and what only the rig decides.
/// The API is bound to loopback, read-only, behind a token made for this launch; nothing is written
/// back, watched, logged to a file or run in the background.
pub fn launch_config(config: &Value, name: &str, port: u16, token: &str) -> Value {
    let mut file = config.as_object().cloned().unwrap_or_default();
    let (algo, coin, threads) = (file.remove("algo"), file.remove("coin"), file.remove("threads"));
    for pool in file.get_mut("pools").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(pool) = pool else { continue };
        for (key, value) in [("algo", &algo), ("coin", &coin)] {
            if let Some(value) = value {
                pool.entry(key).or_insert_with(|| value.clone());
            }
        }
    }
    if let Some(threads) = threads
        && let Value::Object(cpu) = file.entry("cpu").or_insert_with(|| Value::Object(Map::new()))
    {
        // What `--threads=N` means to XMRig.
        cpu.insert("*".into(), json!({"intensity": 1, "threads": threads, "affinity": -1}));
    }
    for (key, value) in [
        ("api", json!({"id": null, "worker-id": name})),
        (
            "http",
            json!({"enabled": true, "host": "127.0.0.1", "port": port, "access-token": token, "restricted": true}),
        ),
        ("autosave", json!(false)),
        ("background", json!(false)),
        ("colors", json!(false)),
        ("title", json!(false)),
        ("watch", json!(false)),
        ("syslog", json!(false)),
        ("log-file", Value::Null),
    ] {
        file.insert(key.into(), value);
    }
    Value::Object(file)
}

fn parse(what: &'static str, bytes: &[u8]) -> Result<Value> {
    if bytes.len() > ANSWER_BYTES_MAX {
        return Err(Error::malformed(what, format!("larger than {ANSWER_BYTES_MAX} bytes")));
    }
    let text = check_json(what, bytes)?;
    serde_json::from_str(text)
        .map_err(|e| Error::malformed(what, format!("not JSON, line {} column {}", e.line(), e.column())))
}

/// The first window that has filled. Zero counts only when something was measured before: `highest` is
/// `null` while the miner is still getting ready.
fn rate(hashrate: &Value) -> Option<f64> {
    let windows = hashrate.get("total").and_then(Value::as_array)?;
    let rate = windows.iter().take(3).find_map(Value::as_f64).filter(|r| r.is_finite() && *r >= 0.0)?;
    let measured = hashrate.get("highest").and_then(Value::as_f64).is_some();
    (rate > 0.0 || measured).then_some(rate)
}

/// A count, whatever way it is written; never negative.
fn whole(value: &Value) -> Option<u64> {
    match (value.as_u64(), value.as_f64()) {
        (Some(n), _) => Some(n),
        // A float beyond 2^53 is no exact count anyway; saturating is what is wanted.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        (None, Some(f)) if f >= 0.0 => Some(f as u64),
        _ => None,
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &[u8] = include_bytes!("../../tests/data/xmrig/summary.json");
    const STARTING: &[u8] = include_bytes!("../../tests/data/xmrig/summary-starting.json");
    const SUMMARY_V1: &[u8] = include_bytes!("../../tests/data/xmrig/summary-v1.json");
    const BACKENDS: &[u8] = include_bytes!("../../tests/data/xmrig/backends.json");
    const CONFIG: &[u8] = include_bytes!("../../tests/data/xmrig/config.json");

    fn recorded() -> Value {
        serde_json::from_slice(SUMMARY).unwrap()
    }

    fn read(value: &Value) -> Summary {
        parse_summary(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_recorded_answers_are_read_as_they_were_meant() {
        let want = Summary {
            hashrate_hs: Some(778.02),
            uptime_s: 94,
            pool: "benchmark:3333".into(),
            connected: true,
            algorithm: "rx/0".into(),
            difficulty: u64::MAX,
            ..Summary::default()
        };
        assert_eq!(parse_summary(SUMMARY).unwrap(), want);
        assert_eq!(parse_summary(SUMMARY_V1).unwrap(), want);
        assert_eq!(parse_backends(BACKENDS).unwrap(), 2);
    }

    #[test]
    fn zeros_while_the_dataset_is_built_are_no_hashrate() {
        let starting = parse_summary(STARTING).unwrap();
        assert_eq!((starting.hashrate_hs, starting.uptime_s), (None, 2));
    }

    #[test]
    fn null_is_not_zero() {
        let mut v = recorded();
        for (total, want) in [
            (json!([null, 843.37, null]), Some(843.37)),
            (json!([null, null, 5.0]), Some(5.0)),
            (json!([null, null, null]), None),
            (json!([0.0, 0.0, 0.0]), Some(0.0)),
            (json!([]), None),
            (json!([-1.0]), None),
        ] {
            v["hashrate"]["total"] = total.clone();
            assert_eq!(read(&v).hashrate_hs, want, "{total}");
        }
        v["hashrate"] = json!({});
        assert_eq!(read(&v).hashrate_hs, None);
    }

    #[test]
    fn rejected_is_a_difference_that_cannot_wrap() {
        let mut v = recorded();
        for (good, total, rejected) in [(7, 9, 2), (9, 7, 0), (0, u64::MAX, u64::MAX)] {
            v["results"]["shares_good"] = good.into();
            v["results"]["shares_total"] = total.into();
            assert_eq!((read(&v).shares, read(&v).rejected), (good, rejected));
        }
    }

    #[test]
    fn a_paused_miner_says_so_while_its_rate_decays() {
        let mut v = recorded();
        v["paused"] = true.into();
        v["hashrate"]["total"] = json!([713.35, 830.57, null]);
        assert!(read(&v).paused && read(&v).hashrate_hs == Some(713.35));
    }

    #[test]
    fn a_pool_is_shown_without_its_user_and_null_is_no_pool() {
        let mut v = recorded();
        v["connection"]["pool"] = "stratum+tcp://4Wallet:x@pool:1".into();
        assert_eq!(read(&v).pool, "stratum+tcp://pool:1");
        v["connection"] = json!({"pool": null, "uptime": 0});
        assert_eq!((read(&v).pool, read(&v).connected), (String::new(), false));
    }

    #[test]
    fn what_is_no_summary_is_refused() {
        let mut proxy = recorded();
        proxy["kind"] = "proxy".into();
        for bad in [
            &b""[..],
            b"[]",
            b"null",
            b"{}",
            br#"{"status":404,"error":"NOT_FOUND"}"#,
            b"}{",
            proxy.to_string().as_bytes(),
        ] {
            assert!(parse_summary(bad).is_err());
        }
        assert!(parse_summary(CONFIG).is_err() && parse_backends(SUMMARY).is_err());
        let deep = format!("{{\"hashrate\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(parse_summary(deep.as_bytes()).is_err());
        assert!(parse_summary(&vec![b' '; ANSWER_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_build_without_a_cpu_backend_has_no_cpu_threads() {
        assert_eq!(parse_backends(b"[]").unwrap(), 0);
        assert_eq!(parse_backends(br#"[{"type":"cuda","threads":[{},{}]},{"type":"cpu"}]"#).unwrap(), 0);
    }

    #[test]
    fn no_damage_to_a_recorded_answer_breaks_a_law() {
        let seed = 0x5eed;
        println!("seed {seed}");
        let mut rng = crate::base::Rng::from_number(seed);
        for _ in 0..2_000 {
            let mut bytes = SUMMARY.to_vec();
            for _ in 0..=rng.below(4) {
                let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                bytes[at] = rng.array::<1>()[0];
            }
            if let Ok(summary) = parse_summary(&bytes) {
                assert!(summary.hashrate_hs.is_none_or(|r| r.is_finite() && r >= 0.0));
                assert!(summary.shares.checked_add(summary.rejected).is_some());
                assert!(!summary.pool.contains('@') && summary.pool.chars().count() <= TEXT_CHARS_MAX);
            }
            let _ = parse_backends(&bytes);
        }
    }

    #[test]
    fn the_rig_alone_decides_where_the_api_listens() {
        let config = json!({"pools": [{"url": "a:1", "user": "w"}, {"url": "b:1", "algo": "rx/wow"}], "algo": "rx/0", "threads": 2,
            "cpu": {"priority": 1}, "http": {"host": "0.0.0.0", "restricted": false}, "autosave": true});
        let file = launch_config(&config, "main", 4242, "TOKEN");
        assert_eq!(
            file["http"],
            json!({"enabled": true, "host": "127.0.0.1", "port": 4242, "access-token": "TOKEN", "restricted": true})
        );
        assert_eq!(file["autosave"], false);
        assert_eq!(file["pools"][0]["algo"], "rx/0");
        assert_eq!(file["pools"][1]["algo"], "rx/wow");
        assert_eq!(file["cpu"], json!({"priority": 1, "*": {"intensity": 1, "threads": 2, "affinity": -1}}));
        assert!(file.get("threads").is_none() && file.get("algo").is_none());
    }
}
