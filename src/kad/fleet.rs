//! The topic under which the rigs of a fleet find each other (secure-session.md §8).

use crate::identity::hmac_sha256;

/// What a fleet's topic begins with.
const PREFIX: &str = "rigmesh/";
const LABEL: &[u8] = b"rigmesh-topic-1\0";

/// The topic of a fleet. With the fleet's secret nobody else can tell it, nor flood it; without one it is the name, and tells
/// the world who is in the fleet.
pub fn fleet_topic(name: &str, secret: Option<&[u8; 32]>) -> String {
    let Some(secret) = secret else { return format!("{PREFIX}{name}") };
    let tag = hex::encode(hmac_sha256(secret, &[LABEL, name.as_bytes()]));
    format!("{PREFIX}{}", tag.get(..32).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_of_a_secret_fleet_says_nothing() {
        assert_eq!(fleet_topic("north", None), "rigmesh/north");
        let secret = fleet_topic("north", Some(&[7; 32]));
        // python3: hmac.new(b"\x07" * 32, b"rigmesh-topic-1\0north", "sha256").hexdigest()[:32]
        assert_eq!(secret, "rigmesh/4a36f410c36dd56a4b0f0fd10999ec0f");
        assert_ne!(secret, fleet_topic("south", Some(&[7; 32])));
        assert_ne!(secret, fleet_topic("north", Some(&[8; 32])));
    }
}
