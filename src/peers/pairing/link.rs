//! The code with all that belongs to it, as a link: `rigmesh://pair/1?c=…&id=…&a=host:port&a=…`.

use super::{CodeKind, PairCode};
use crate::base::{Error, Result};
use crate::identity::NodeId;
use crate::peers::Grants;
use std::fmt::Write as _;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Most addresses in a link.
pub const PAIR_ADDRESSES_MAX: usize = 4;
/// The longest link, bytes.
const LINK_BYTES_MAX: usize = 2048;
/// The longest address, bytes.
const ADDRESS_BYTES_MAX: usize = 260;
const SCHEME: &str = "rigmesh://pair/1?";

/// A link. It holds the code: whoever reads it in time may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairLink {
    /// The code.
    pub code: PairCode,
    /// The node that shows it, and must answer.
    pub id: NodeId,
    /// Where it may be reached, `host:port`; 1 to [`PAIR_ADDRESSES_MAX`].
    pub addresses: Vec<String>,
    /// It speaks TLS there.
    pub tls: bool,
    /// In an enrolment: what the controller may do on the rigs that come. `None` in a pairing.
    pub enrol: Option<Grants>,
}

impl PairLink {
    /// The text. It holds the code.
    pub fn encode(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{SCHEME}c={}&id={}", self.code.as_str(), self.id));
        for address in &self.addresses {
            text.push_str("&a=");
            escape(address, &mut text);
        }
        if self.tls {
            text.push_str("&t=1");
        }
        if let Some(grants) = self.enrol {
            text.push_str("&e=1");
            if !grants.is_empty() {
                let _ = write!(*text, "&g={grants}");
            }
        }
        text
    }

    /// Whether a text means to be a link.
    pub fn is_link(text: &str) -> bool {
        text.trim_start().get(..8).is_some_and(|head| head.eq_ignore_ascii_case("rigmesh:"))
    }
}

impl FromStr for PairLink {
    type Err = Error;

    fn from_str(text: &str) -> Result<PairLink> {
        let wrong = |why: &str| Error::Config(format!("this is no pairing link of RigMesh: {why}"));
        let text = text.trim();
        if text.len() > LINK_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let query = text.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with rigmesh://pair/1?"))?;
        let (mut code, mut id, mut addresses, mut tls, mut enrol, mut grants) =
            (None, None, Vec::new(), false, false, None);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = unescape(value).ok_or_else(|| wrong("a % in it is no escape"))?;
            let twice = match name {
                "c" => code.replace(value).is_some(),
                "id" => id.replace(value).is_some(),
                "g" => grants.replace(value).is_some(),
                "a" => {
                    if value.is_empty() || value.len() > ADDRESS_BYTES_MAX || value.contains(char::is_whitespace) {
                        return Err(wrong("an address in it is none"));
                    }
                    addresses.push(value.to_string());
                    addresses.len() > PAIR_ADDRESSES_MAX
                }
                "t" => std::mem::replace(&mut tls, value.as_str() == "1"),
                "e" => std::mem::replace(&mut enrol, value.as_str() == "1"),
                // Something of a later version that changes nothing for us.
                _ => false,
            };
            if twice {
                return Err(wrong(&format!("{name} stands there too often")));
            }
        }
        let kind = if enrol { CodeKind::Enrol } else { CodeKind::Pair };
        let code = PairCode::read(kind, &code.ok_or_else(|| wrong("the code is missing"))?)?;
        let id = id.and_then(|id| id.parse().ok()).ok_or_else(|| wrong("the node id is missing or wrong"))?;
        if addresses.is_empty() {
            return Err(wrong("it names no address"));
        }
        let enrol = match (enrol, grants) {
            (true, grants) => Some(grants.map_or(Ok(Grants::NONE), |g| g.parse())?),
            (false, _) => None,
        };
        Ok(PairLink { code, id, addresses, tls, enrol })
    }
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b':' | b'-' | b'_' => out.push(char::from(byte)),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
}

fn unescape(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_first_chunk::<2>()?;
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte).ok()?;
        bytes.extend_from_slice(&byte);
        rest = behind;
    }
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(enrol: Option<Grants>) -> PairLink {
        let kind = if enrol.is_some() { CodeKind::Enrol } else { CodeKind::Pair };
        PairLink {
            code: PairCode::draw(kind, &mut crate::base::Rng::from_number(1)),
            id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            addresses: vec!["192.168.1.7:9091".to_owned(), "[fd00::7]:9091".to_owned(), "rig-7.lan:9091".to_owned()],
            tls: false,
            enrol,
        }
    }

    #[test]
    fn a_link_is_written_and_read_back() {
        for link in
            [link(None), PairLink { tls: true, ..link(None) }, link(Some(Grants::CONTROLLER)), link(Some(Grants::NONE))]
        {
            assert_eq!(link.encode().parse::<PairLink>().unwrap(), link);
        }
        let text = link(None).encode();
        assert!(text.starts_with("rigmesh://pair/1?c=") && text.contains("&a=%5Bfd00::7%5D:9091"), "{}", *text);
        assert!(PairLink::is_link(&text) && !PairLink::is_link("K7QF2-K7QF2-K7QF2-K7QF2@rig:9091"));
    }

    #[test]
    fn what_is_no_link_is_refused_with_a_reason() {
        let good = link(None).encode().to_string();
        for bad in [
            "",
            "rigmesh://pair/2?c=1",
            "rigmesh://pair/1?",
            &good.replace("&id=", "&x="),
            &good.replace("&a=", "&b="),
            &good.replace("c=", "c=U"),
            &format!("{good}&c=00000000000000000000"),
            &format!("{good}&a=h:1&a=h:2"),
            &format!("{good}&a=%5"),
            &format!("{good}&a="),
            &format!("{good}&a={}:1", "x".repeat(300)),
            &format!("{good}&e=1"),
            &format!("{good}&x={}", "y".repeat(3000)),
        ] {
            assert!(matches!(bad.parse::<PairLink>(), Err(Error::Config(_))), "{bad}");
        }
        assert!(format!("{good}&later=thing").parse::<PairLink>().is_ok(), "a later version may say more");
    }
}
