//! Delegations: an owner lets an Ed25519 key speak for its address (dht.md §8.1). Owners with an Ed25519 key sign the
//! fields; owners with a wallet (Ethereum, Paralism) sign a text that names them.

use super::record::unix_seconds;
use super::{Fault, Rules, chain};
use crate::base::Timestamp;
use crate::identity::{Address, SignKey};
use crate::wire::cbor::{MapWriter, Reader};

const LABEL: &[u8] = b"a2al-del\0";

/// The one scope there is: operations in the network.
pub const SCOPE_NETWORK: u8 = 1;

/// How the owner said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seal {
    /// An Ed25519 owner: its key, and its signature over the fields.
    Ed25519 {
        /// The owner's key.
        master_pub: [u8; 32],
        /// Its signature.
        signature: [u8; 64],
    },
    /// An owner with a wallet, as the version of its address says: a signature over a text, from which the key is found.
    Wallet {
        /// 65 bytes: on Ethereum r ‖ s ‖ v, on Paralism the header first.
        signature: [u8; 65],
        /// The text; [`Delegation::wallet_text`] makes it.
        message: String,
    },
}

/// A delegation. Not secret, and not bound to one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The Ed25519 key that may speak.
    pub op_pub: [u8; 32],
    /// The address it may speak for.
    pub agent: Address,
    /// Since when: Unix seconds. Not checked, but newer ones rank higher under the later rules.
    pub issued_at: u64,
    /// Until when: Unix seconds; 0 for ever.
    pub expires_at: u64,
    /// What for; see [`SCOPE_NETWORK`].
    pub scope: u8,
    /// The owner's word.
    pub seal: Seal,
}

impl Delegation {
    /// By an Ed25519 owner. `expires_at` in Unix seconds, 0 for never.
    pub fn issue(master: &SignKey, op_pub: [u8; 32], issued_at: u64, expires_at: u64) -> Delegation {
        let (master_pub, signature) = (master.public(), [0; 64]);
        let (agent, scope) = (Address::of_ed25519(&master_pub), SCOPE_NETWORK);
        let mut delegation =
            Delegation { op_pub, agent, issued_at, expires_at, scope, seal: Seal::Ed25519 { master_pub, signature } };
        let signature = master.sign(&delegation.signed_bytes());
        delegation.seal = Seal::Ed25519 { master_pub, signature };
        delegation
    }

    /// The text that a wallet is asked to sign, for an Ethereum or Paralism address.
    ///
    /// # Errors
    /// [`Fault::Delegation`] for an address of another kind.
    pub fn wallet_text(agent: &Address, op_pub: &[u8; 32], issued_at: u64, expires_at: u64) -> Result<String, Fault> {
        let chain = match agent.version() {
            Address::ETHEREUM => "Ethereum",
            Address::PARALISM => "Paralism",
            _ => return Err(Fault::Delegation("the address has no wallet")),
        };
        Ok(format!(
            "A2AL Delegation Authorization\nAuthorize this Ed25519 key to operate on behalf of your {chain} address.\n\n\
             op_key:{}\nagent:{agent}\nscope:{SCOPE_NETWORK}\nissued_at:{issued_at}\nexpires_at:{expires_at}\n",
            hex::encode(op_pub)
        ))
    }

    /// What an Ed25519 owner signs: the fields without the signature.
    pub fn signed_bytes(&self) -> Vec<u8> {
        [LABEL, &self.start().finish()].concat()
    }

    fn start(&self) -> MapWriter {
        let mut map = MapWriter::new();
        if let Seal::Ed25519 { master_pub, .. } = &self.seal {
            map.bytes(1, master_pub);
        }
        map.bytes(2, &self.op_pub).bytes(3, self.agent.as_bytes()).uint(4, self.issued_at).uint(5, self.expires_at);
        map.uint(6, self.scope);
        map
    }

    /// The canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = self.start();
        match &self.seal {
            Seal::Ed25519 { signature, .. } => map.bytes(7, signature),
            Seal::Wallet { signature, message } => map.bytes(7, signature).text(8, message),
        };
        map.finish()
    }

    /// Reads a delegation; whether it holds is asked later.
    ///
    /// # Errors
    /// [`Fault::Cbor`] or [`Fault::Delegation`], by what the version of the address demands.
    pub fn decode(bytes: &[u8]) -> Result<Delegation, Fault> {
        let (mut master, mut op_pub, mut agent, mut signature, mut message) = (None, None, None, &b""[..], "");
        let (mut issued_at, mut expires_at, mut scope) = (0, 0, 0);
        Reader::whole(bytes, |r| {
            r.map(|key, r| -> Result<bool, Fault> {
                match key {
                    1 => master = r.optional(Reader::bytes)?.filter(|bytes| !bytes.is_empty()),
                    2 => op_pub = Some(r.array_of()?),
                    3 => agent = Some(r.array_of()?),
                    4 => issued_at = r.u64()?,
                    5 => expires_at = r.u64()?,
                    6 => scope = r.u8()?,
                    7 => signature = r.bytes()?,
                    8 => message = r.optional(Reader::text)?.unwrap_or_default(),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        let agent = Address::from_bytes(agent.ok_or(Fault::Delegation("no address"))?);
        let seal = match (agent.version(), master) {
            (Address::ED25519, Some(master)) if message.is_empty() => Seal::Ed25519 {
                master_pub: master.try_into().map_err(|_| Fault::Delegation("a key that is not 32 bytes long"))?,
                signature: signature.try_into().map_err(|_| SIGNATURE_LENGTH)?,
            },
            (Address::ETHEREUM | Address::PARALISM, None) if !message.is_empty() => Seal::Wallet {
                signature: signature.try_into().map_err(|_| SIGNATURE_LENGTH)?,
                message: message.to_owned(),
            },
            (Address::ED25519 | Address::ETHEREUM | Address::PARALISM, _) => {
                return Err(Fault::Delegation("a key and a text that do not fit the kind of address"));
            }
            _ => return Err(Fault::Delegation("an address of an unknown kind")),
        };
        let op_pub = op_pub.ok_or(Fault::Delegation("no key that is delegated to"))?;
        Ok(Delegation { op_pub, agent, issued_at, expires_at, scope, seal })
    }

    /// Whether the owner said so, and it still holds (dht.md §8.2).
    ///
    /// # Errors
    /// [`Fault::Delegation`], or [`Fault::Expired`].
    pub fn verify(&self, now: Timestamp, rules: &Rules) -> Result<(), Fault> {
        match &self.seal {
            Seal::Ed25519 { master_pub, signature } => {
                if !rules.signed(master_pub, &self.signed_bytes(), signature) {
                    return Err(Fault::Delegation("wrong signature"));
                }
                if Address::of_ed25519(master_pub) != self.agent {
                    return Err(Fault::Delegation("the key is not the address's"));
                }
            }
            Seal::Wallet { signature, message } => {
                let signer = match self.agent.version() {
                    Address::ETHEREUM => chain::ethereum_signer(message.as_bytes(), signature),
                    _ => chain::paralism_signer(message.as_bytes(), signature),
                };
                if signer != Some(self.agent) {
                    return Err(Fault::Delegation("another wallet signed"));
                }
                if !self.says(message) {
                    return Err(Fault::Delegation("the text says something else"));
                }
            }
        }
        if self.expires_at != 0 && unix_seconds(now) >= self.expires_at.saturating_add(rules.grace_s) {
            return Err(Fault::Expired);
        }
        match self.scope {
            SCOPE_NETWORK => Ok(()),
            _ => Err(Fault::Delegation("an unknown scope")),
        }
    }

    /// Whether the text that was signed names these very fields: lines of `key:value`, of which the last of a key counts.
    fn says(&self, message: &str) -> bool {
        let (mut op_key, mut agent, mut scope, mut issued_at, mut expires_at) = (None, None, None, None, None);
        for (key, value) in message.split('\n').filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key.trim() {
                "op_key" => op_key = Some(value),
                "agent" => agent = Some(value),
                "scope" => scope = Some(value),
                "issued_at" => issued_at = Some(value),
                "expires_at" => expires_at = Some(value),
                _ => {}
            }
        }
        let number = |text: Option<&str>| text.filter(|t| t.bytes().all(|c| c.is_ascii_digit()))?.parse::<u64>().ok();
        let key = op_key.map(|key| key.strip_prefix("0x").unwrap_or(key));
        key.and_then(|key| hex::decode(key).ok()).is_some_and(|key| key == self.op_pub)
            && agent.and_then(|agent| agent.parse::<Address>().ok()) == Some(self.agent)
            && number(scope) == Some(self.scope.into())
            && number(issued_at) == Some(self.issued_at)
            && number(expires_at) == Some(self.expires_at)
    }
}

const SIGNATURE_LENGTH: Fault = Fault::Delegation("a signature of another length");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delegation_holds_until_its_end_and_the_grace() {
        let (master, op) = (SignKey::from_seed(&[1; 32]), SignKey::from_seed(&[2; 32]));
        let delegation = Delegation::issue(&master, op.public(), 5, 1000);
        assert_eq!(Delegation::decode(&delegation.encode()).unwrap(), delegation);
        let verdict = |seconds, rules: Rules| delegation.verify(Timestamp::from_unix(seconds, 0), &rules);
        assert_eq!((verdict(999, Rules::pinned()), verdict(1000, Rules::pinned())), (Ok(()), Err(Fault::Expired)));
        assert_eq!((verdict(1059, Rules::default()), verdict(1060, Rules::default())), (Ok(()), Err(Fault::Expired)));
        let for_ever = Delegation { expires_at: 0, ..delegation };
        assert!(for_ever.verify(Timestamp::from_unix(0, 0), &Rules::default()).is_err(), "the field is signed");
    }

    #[test]
    fn a_wallets_text_names_every_field() {
        let agent = Address::from_bytes([Address::ETHEREUM; 21]);
        let text = Delegation::wallet_text(&agent, &[3; 32], 7, 0).unwrap();
        let seal = Seal::Wallet { signature: [0; 65], message: text.clone() };
        let delegation = Delegation { op_pub: [3; 32], agent, issued_at: 7, expires_at: 0, scope: SCOPE_NETWORK, seal };
        assert!(delegation.says(&text));
        assert!(!delegation.says(&text.replace("issued_at:7", "issued_at:+7")));
        assert!(!delegation.says(&text.replace("scope:1\n", "")));
        assert!(!Delegation { scope: 2, ..delegation.clone() }.says(&text));
        assert!(delegation.says(&format!("scope:9\n{text}\r\n op_key : 0x{}\t", "03".repeat(32))));
        assert!(Delegation::wallet_text(&Address::from_bytes([0xa0; 21]), &[3; 32], 7, 0).is_err());
    }
}
