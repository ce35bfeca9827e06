//! Wallets, passwords and tokens: which parts of a configuration are secret, and how they are hidden.

use serde_json::Value;

/// What stands where a secret was.
pub const MASK: &str = "***";

/// Shorter secrets are not looked for in miner output: `x`, the usual pool password, would mask every line.
const SECRET_CHARS_MIN: usize = 4;
/// Parts of a pool user (`WALLET.worker`) at least this long are masked on their own too.
const WALLET_CHARS_MIN: usize = 12;

/// Whether the value under this key is never shown.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["user", "pass", "wallet", "token", "secret", "login", "auth"].iter().any(|word| key.contains(word))
        || key.ends_with("key")
}

/// A copy of `value` with every secret replaced by [`MASK`] and no user or password in any address.
pub(super) fn redact(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let hide = |key: &str, v: &Value| match v {
                Value::Null => Value::Null,
                _ if is_secret_key(key) => MASK.into(),
                other => redact(other),
            };
            Value::Object(map.iter().map(|(key, v)| (key.clone(), hide(key, v))).collect())
        }
        Value::Array(items) => items.iter().map(redact).collect(),
        Value::String(text) => without_userinfo(text).into(),
        other => other.clone(),
    }
}

/// The secrets of a configuration that miner output is searched for, longest first: whole values
/// and, of values such as `WALLET.worker`, the long parts.
pub fn secrets_of(config: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(config, false, &mut found);
    found.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    found.dedup();
    found
}

fn collect(value: &Value, secret: bool, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, v)| collect(v, secret || is_secret_key(key), found)),
        Value::Array(items) => items.iter().for_each(|v| collect(v, secret, found)),
        Value::String(text) if secret => {
            if text.chars().count() >= SECRET_CHARS_MIN {
                found.push(text.clone());
            }
            let parts = text.split(['.', '/', '+', ':', ',', '=']);
            found.extend(parts.filter(|p| p.len() >= WALLET_CHARS_MIN && *p != text).map(str::to_owned));
        }
        _ => {}
    }
}

/// A pool address as it may be shown: `scheme://user:password@host:port` becomes `scheme://host:port`.
pub fn without_userinfo(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(s, r)| (s, r));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_address_is_shown_without_its_user() {
        for (address, shown) in [
            ("stratum+tcp://4WALLET:pw@pool.example:3333", "stratum+tcp://pool.example:3333"),
            ("4WALLET.x@pool.example:3333/p@th", "pool.example:3333/p@th"),
            ("pool.example:3333", "pool.example:3333"),
            ("benchmark:3333", "benchmark:3333"),
            ("", ""),
        ] {
            assert_eq!(without_userinfo(address), shown);
        }
    }

    #[test]
    fn wallets_and_passwords_are_found_whole_and_in_parts() {
        let config = json!({"pools": [{"url": "p:1", "user": "4WalletWalletWallet.rig", "pass": "x", "keepalive": true}],
            "http": {"access-token": "abcdef"}});
        assert_eq!(secrets_of(&config), ["4WalletWalletWallet.rig", "4WalletWalletWallet", "abcdef"]);
        assert_eq!(
            redact(&config),
            json!({"pools": [{"url": "p:1", "user": "***", "pass": "***", "keepalive": true}], "http": {"access-token": "***"}})
        );
    }
}
