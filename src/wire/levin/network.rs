//! Which CryptoNote network a node belongs to: 16 bytes that both sides of a handshake must share.

use crate::base::Error;
use std::fmt;
use std::str::FromStr;

/// The id of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkId(pub [u8; 16]);

const fn monero(last: u8) -> NetworkId {
    NetworkId([0x12, 0x30, 0xF1, 0x71, 0x61, 0x04, 0x41, 0x61, 0x17, 0x31, 0x00, 0x82, 0x16, 0xA1, 0xA1, last])
}

impl NetworkId {
    /// Monero's main network, and its private ones for tests (`--regtest`).
    pub const MAINNET: NetworkId = monero(0x10);
    /// Monero's public test network.
    pub const TESTNET: NetworkId = monero(0x11);
    /// Monero's rehearsal network.
    pub const STAGENET: NetworkId = monero(0x12);

    /// The hash of its first block, as monerod 0.18 has it; `None` for a network we do not know.
    pub fn genesis(&self) -> Option<[u8; 32]> {
        let hash = match *self {
            NetworkId::MAINNET => "418015bb9ae982a1975da7d79277c2705727a56894ba0fb246adaabb1f4632e3",
            NetworkId::TESTNET => "48ca7cd3c8de5b6a4d53d2861fbdaedca141553559f9be9520068053cda8430b",
            NetworkId::STAGENET => "76ee3cc98646292206cd3e86f74d88b4dcc1d937088645e9b0cbca84b7ce74eb",
            _ => return None,
        };
        let mut id = [0; 32];
        hex::decode_to_slice(hash, &mut id).ok().map(|()| id)
    }

    /// Its name, when it has one.
    pub fn name(&self) -> Option<&'static str> {
        match *self {
            NetworkId::MAINNET => Some("mainnet"),
            NetworkId::TESTNET => Some("testnet"),
            NetworkId::STAGENET => Some("stagenet"),
            _ => None,
        }
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for NetworkId {
    type Err = Error;

    /// `mainnet`, `testnet`, `stagenet`, or 32 hex digits.
    fn from_str(text: &str) -> Result<NetworkId, Error> {
        match text {
            "mainnet" => return Ok(NetworkId::MAINNET),
            "testnet" => return Ok(NetworkId::TESTNET),
            "stagenet" => return Ok(NetworkId::STAGENET),
            _ => {}
        }
        let mut id = [0; 16];
        let unknown =
            || Error::Config(format!("unknown network {text:?}: use mainnet, testnet, stagenet or 32 hex digits"));
        hex::decode_to_slice(text, &mut id).map_err(|_| unknown())?;
        Ok(NetworkId(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_named_or_given_as_hex() {
        for id in [NetworkId::MAINNET, NetworkId::TESTNET, NetworkId::STAGENET] {
            assert_eq!(id.name().unwrap().parse::<NetworkId>().unwrap(), id);
            assert_eq!(id.to_string().parse::<NetworkId>().unwrap(), id);
            assert!(id.genesis().is_some());
        }
        assert_eq!(NetworkId([0; 16]).genesis(), None);
        assert_eq!(NetworkId::MAINNET.to_string(), "1230f171610441611731008216a1a110");
        assert!("main".parse::<NetworkId>().unwrap_err().to_string().contains("stagenet"));
    }
}
