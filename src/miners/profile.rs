//! A profile: a named miner configuration, `{"id","name","minerType","config"}`.

use super::secrets::redact;
use crate::base::{Error, Result, check_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The largest profile that is read or stored.
pub const PROFILE_BYTES_MAX: usize = 64 * 1024;
/// The longest name of a profile and of a miner type, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// A miner configuration kept on the rig. `config` may hold wallets and passwords: show [`Profile::redacted`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// 1 to 64 of `[A-Za-z0-9._-]`, not starting with a dot: also its file's name.
    pub id: String,
    /// Free text for people.
    pub name: String,
    /// The kind of miner it is for.
    #[serde(rename = "minerType")]
    pub miner_type: String,
    /// The miner's settings, a JSON object: see [`super::config`] for the keys each type knows.
    pub config: Value,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Profile {{ id: {:?}, miner_type: {:?}, .. }}", self.id, self.miner_type)
    }
}

impl Profile {
    /// Reads a profile from a file or a peer. Keys it does not know are dropped; keys of `config` are kept
    /// and judged by [`super::config::check`].
    pub fn decode(bytes: &[u8]) -> Result<Profile> {
        if bytes.len() > PROFILE_BYTES_MAX {
            return Err(Error::malformed("profile", format!("larger than {PROFILE_BYTES_MAX} bytes")));
        }
        let text = check_json("profile", bytes)?;
        let profile: Profile =
            serde_json::from_str(text).map_err(|e| Error::malformed("profile", without_values(&e)))?;
        profile.validate()?;
        Ok(profile)
    }

    /// As [`Profile::decode`], and refuses keys and values of `config` that its miner type does not know.
    pub fn decode_checked(bytes: &[u8]) -> Result<Profile> {
        let profile = Profile::decode(bytes)?;
        super::config::check(&profile.miner_type, &profile.config)?;
        Ok(profile)
    }

    /// The profile as it is stored: JSON, two-space indent, a newline at the end.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.validate()?;
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| Error::malformed("profile", without_values(&e)))?;
        bytes.push(b'\n');
        if bytes.len() > PROFILE_BYTES_MAX {
            return Err(Error::malformed("profile", format!("larger than {PROFILE_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    /// The profile as it may be shown: wallets, users, passwords and tokens are `***`.
    #[must_use]
    pub fn redacted(&self) -> Profile {
        Profile { config: redact(&self.config), ..self.clone() }
    }

    fn validate(&self) -> Result<()> {
        check_profile_id(&self.id)?;
        check_text("profile name", &self.name)?;
        check_text("miner type", &self.miner_type)?;
        if self.miner_type.is_empty() {
            return Err(Error::malformed("miner type", "empty"));
        }
        if !self.config.is_object() {
            return Err(Error::malformed("profile", "`config` must be an object"));
        }
        Ok(())
    }
}

/// The rule for profile ids, which become file names: 1 to 64 of `[A-Za-z0-9._-]`, not starting with a dot.
pub fn check_profile_id(id: &str) -> Result<()> {
    let fits = matches!(id.len(), 1..=64)
        && !id.starts_with('.')
        && id.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'));
    if fits {
        return Ok(());
    }
    Err(Error::malformed(
        "profile id",
        "must be 1 to 64 letters, digits, dots, underscores or dashes, not starting with a dot",
    ))
}

fn check_text(what: &'static str, text: &str) -> Result<()> {
    if text.len() > NAME_BYTES_MAX {
        return Err(Error::malformed(what, format!("longer than {NAME_BYTES_MAX} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::malformed(what, "has control characters"));
    }
    Ok(())
}

/// A parser's complaint without the value it complains about, which may be a wallet.
pub(super) fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!("at line {} column {}", error.line(), error.column());
    match text.split_once(": ") {
        Some((head, _)) if head.starts_with("invalid") => format!("{head} {place}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        r#"{"id":"main","name":"Main rig","minerType":"xmrig","config":{"pools":[{"url":"p:1","user":"4Wallet"}]}}"#;

    #[test]
    fn a_profile_is_written_as_it_was_read() {
        let profile = Profile::decode(GOOD.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&profile).unwrap(), GOOD);
        assert_eq!(Profile::decode(&profile.encode().unwrap()).unwrap(), profile);
    }

    #[test]
    fn a_shown_profile_has_no_wallet_in_it() {
        let profile = Profile::decode(GOOD.as_bytes()).unwrap();
        assert!(!serde_json::to_string(&profile.redacted()).unwrap().contains("4Wallet"));
        assert!(!format!("{profile:?}").contains("4Wallet"));
    }

    #[test]
    fn what_is_no_profile_is_refused_without_repeating_its_values() {
        for bad in [
            "",
            "[]",
            r#"{"id":"a","name":"n","minerType":"x","config":[]}"#,
            r#"{"id":"a","name":"n","minerType":"","config":{}}"#,
            r#"{"id":"a","name":"n","config":{}}"#,
            r#"{"id":"a","id":"b","name":"n","minerType":"x","config":{}}"#,
            r#"{"id":"a","name":"n\u0000","minerType":"x","config":{}}"#,
            r#"{"id":"a","name":{"w":"4Wallet"},"minerType":"x","config":{}}"#,
            r#"{"id":"a","name":"n","minerType":"x","config":{},}"#,
        ] {
            let error = Profile::decode(bad.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("4Wallet"), "{error}");
        }
        let large = GOOD.replace("Main rig", &"x".repeat(PROFILE_BYTES_MAX));
        assert!(Profile::decode(large.as_bytes()).is_err());
    }

    #[test]
    fn an_id_can_be_no_path() {
        for id in ["a", "rig-7.x_Y", &"a".repeat(64)] {
            check_profile_id(id).unwrap();
        }
        for id in ["", ".", "..", ".a", "a/b", "a\\b", "a b", "é", "a\0", &"a".repeat(65)] {
            assert!(check_profile_id(id).is_err(), "{id:?}");
        }
    }
}
