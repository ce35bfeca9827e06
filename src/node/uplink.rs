//! How a person writes where a node is: `KEY@host:port`, with `wss://` for TLS and `#HEX` behind
//! it for a pinned certificate. The key is base64 or the node id.

use crate::base::{Error, Result};
use crate::identity::{NodeId, PublicKey};
use crate::mesh::Target;
use crate::session::Expect;

/// Reads `[KEY@][ws://|wss://]host:port[#FINGERPRINT]`.
pub(crate) fn parse_target(text: &str) -> Result<Target> {
    let (place, pin) = match text.split_once('#') {
        Some((place, pin)) => (place, Some(parse_pin(pin)?)),
        None => (text, None),
    };
    let (key, place) = match place.rsplit_once('@') {
        Some((key, place)) => (Some(key), place),
        None => (None, place),
    };
    let (tls, address) = match place.split_once("://") {
        Some(("wss", rest)) => (true, rest),
        Some(("ws", rest)) => (pin.is_some(), rest),
        Some((scheme, _)) => {
            return Err(Error::Config(format!("{scheme}:// is no way to reach a node; use ws:// or wss://")));
        }
        None => (pin.is_some(), place),
    };
    let address = address.trim_end_matches("/ws").trim_end_matches('/');
    check_address(address)?;
    let expect = key.map_or(Ok(Expect::Anyone), parse_expect)?;
    Ok(Target { address: address.to_owned(), expect, tls, tls_pin: pin, found: false, pairing: None })
}

/// A key as base64, or a node id as 32 hex digits.
pub(crate) fn parse_expect(text: &str) -> Result<Expect> {
    if let Ok(id) = text.parse::<NodeId>() {
        return Ok(Expect::Id(id));
    }
    PublicKey::from_base64(text).map(Expect::Key).map_err(|_| {
        Error::Config(format!(
            "{text:?} is neither a public key (44 characters of base64) nor a node id (32 hex digits)"
        ))
    })
}

/// SHA-256 of a certificate as 64 hex digits; colons may separate them.
pub(crate) fn parse_pin(text: &str) -> Result<[u8; 32]> {
    let mut pin = [0; 32];
    hex::decode_to_slice(text.replace(':', "").to_lowercase(), &mut pin)
        .map_err(|_| Error::Config("a certificate fingerprint has 64 hex digits".to_owned()))?;
    Ok(pin)
}

/// `host:port` with a port between 1 and 65535.
pub(crate) fn check_address(address: &str) -> Result<()> {
    let port = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty() && address.len() <= 260)
        .and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(port) if port > 0 && !address.contains(char::is_whitespace) => Ok(()),
        _ => Err(Error::Config(format!("{address:?} is no address; write host:port, such as rig-07.lan:9091"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_in_all_its_spellings() {
        let plain = parse_target("rig-07.lan:9091").unwrap();
        assert_eq!((plain.address.as_str(), plain.expect, plain.tls), ("rig-07.lan:9091", Expect::Anyone, false));
        let full =
            parse_target(&format!("0123456789abcdef0123456789abcdef@wss://[::1]:9091/ws#{}", "ab".repeat(32))).unwrap();
        assert_eq!((full.address.as_str(), full.tls, full.tls_pin), ("[::1]:9091", true, Some([0xab; 32])));
        assert!(matches!(full.expect, Expect::Id(_)));
        for wrong in ["", "host", "host:0", "host:99999", ":9091", "http://host:1", "nokey@host:1", "host:1#12"] {
            assert!(parse_target(wrong).is_err(), "{wrong}");
        }
    }
}
