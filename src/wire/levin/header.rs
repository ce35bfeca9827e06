//! The 33 bytes in front of every payload.

use super::LevinError;

/// Length of a header, bytes.
pub const HEADER_BYTES: usize = 33;
/// The first eight bytes of every message, little-endian.
pub const SIGNATURE: u64 = 0x0101_0101_0101_2101;
/// No payload is longer (100 MiB), whatever a connection allows.
pub const PAYLOAD_BYTES_MAX: u64 = 100 << 20;
/// The one version of the protocol.
const PROTOCOL_VERSION: u32 = 1;

/// What a message is about.
pub mod command {
    /// Who are you, what do you have.
    pub const HANDSHAKE: u32 = 1001;
    /// What do you have now.
    pub const TIMED_SYNC: u32 = 1002;
    /// Are you there.
    pub const PING: u32 = 1003;
    /// What can you do.
    pub const SUPPORT_FLAGS: u32 = 1007;
    /// A new block, unasked.
    pub const NEW_BLOCK: u32 = 2001;
    /// New transactions, unasked.
    pub const NEW_TRANSACTIONS: u32 = 2002;
    /// Asks for blocks and transactions.
    pub const REQUEST_OBJECTS: u32 = 2003;
    /// Brings them.
    pub const RESPONSE_OBJECTS: u32 = 2004;
    /// Asks for the ids of a chain.
    pub const REQUEST_CHAIN: u32 = 2006;
    /// Brings them.
    pub const RESPONSE_CHAIN: u32 = 2007;
    /// A new block without the transactions that the receiver may have, unasked.
    pub const NEW_FLUFFY_BLOCK: u32 = 2008;
    /// Asks for those that it does not have.
    pub const REQUEST_FLUFFY_MISSING: u32 = 2009;
    /// Asks for the waiting transactions that the sender does not have.
    pub const TXPOOL_COMPLEMENT: u32 = 2010;

    /// A word for it, for people.
    pub fn name(command: u32) -> &'static str {
        match command {
            HANDSHAKE => "handshake",
            TIMED_SYNC => "timed sync",
            PING => "ping",
            SUPPORT_FLAGS => "support flags",
            NEW_BLOCK => "new block",
            NEW_TRANSACTIONS => "new transactions",
            REQUEST_OBJECTS => "request objects",
            RESPONSE_OBJECTS => "response objects",
            REQUEST_CHAIN => "request chain",
            RESPONSE_CHAIN => "response chain",
            NEW_FLUFFY_BLOCK => "new fluffy block",
            REQUEST_FLUFFY_MISSING => "request fluffy missing",
            TXPOOL_COMPLEMENT => "txpool complement",
            _ => "unknown",
        }
    }
}

/// Bits of a header's flags.
pub mod flag {
    /// A request or a notification.
    pub const REQUEST: u32 = 1;
    /// A response.
    pub const RESPONSE: u32 = 2;
    /// The first fragment of a message; together with [`END`] a dummy.
    pub const BEGIN: u32 = 4;
    /// The last fragment.
    pub const END: u32 = 8;
}

/// What a response says about how it went.
pub mod return_code {
    /// Done, as the Go package says it. monerod 0.18 reads no payload behind it: it leaves whoever answers its handshake
    /// so, as one of another network.
    pub const OK: i32 = 0;
    /// Done, as CryptoNote nodes say it, and what they want to hear: monerod 0.18 takes what is above 0 for success.
    pub const HANDLED: i32 = 1;
    /// The connection failed.
    pub const CONNECTION: i32 = -1;
    /// The command is unknown, as monerod says it.
    pub const UNKNOWN_COMMAND: i32 = -6;
    /// The payload has the wrong form.
    pub const FORMAT: i32 = -7;
    /// The signature is wrong.
    pub const SIGNATURE: i32 = -13;
}

/// A header. Integers are little-endian on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow.
    pub payload_bytes: u64,
    /// Whether the sender waits for a response. One byte on the wire; only 1 is yes.
    pub expects_response: bool,
    /// One of [`command`], or any other.
    pub command: u32,
    /// One of [`return_code`] in a response, 0 otherwise.
    pub return_code: i32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// 1; other versions are accepted on reading.
    pub version: u32,
}

impl Header {
    /// Of a request (`expects_response`) or a notification.
    pub fn request(command: u32, expects_response: bool, payload_bytes: u64) -> Header {
        let (flags, version) = (flag::REQUEST, PROTOCOL_VERSION);
        Header { payload_bytes, expects_response, command, return_code: 0, flags, version }
    }

    /// Of a response.
    pub fn response(command: u32, return_code: i32, payload_bytes: u64) -> Header {
        let (flags, version) = (flag::RESPONSE, PROTOCOL_VERSION);
        Header { payload_bytes, expects_response: false, command, return_code, flags, version }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let bytes = (SIGNATURE.to_le_bytes().into_iter())
            .chain(self.payload_bytes.to_le_bytes())
            .chain([u8::from(self.expects_response)])
            .chain(self.command.to_le_bytes())
            .chain(self.return_code.to_le_bytes())
            .chain(self.flags.to_le_bytes())
            .chain(self.version.to_le_bytes());
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`LevinError::Signature`] first, then [`LevinError::PayloadTooLarge`] above [`PAYLOAD_BYTES_MAX`]. Command,
    /// flags, version and return code may be anything.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, LevinError> {
        if u64::from_le_bytes(field(bytes, 0)) != SIGNATURE {
            return Err(LevinError::Signature);
        }
        let payload_bytes = u64::from_le_bytes(field(bytes, 8));
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(LevinError::PayloadTooLarge { size: payload_bytes, max: PAYLOAD_BYTES_MAX });
        }
        Ok(Header {
            payload_bytes,
            expects_response: field(bytes, 16) == [1],
            command: u32::from_le_bytes(field(bytes, 17)),
            return_code: i32::from_le_bytes(field(bytes, 21)),
            flags: u32::from_le_bytes(field(bytes, 25)),
            version: u32::from_le_bytes(field(bytes, 29)),
        })
    }
}

/// `N` bytes from `at` on, all of which are there.
fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(bytes.iter().skip(at)).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_its_first_bytes_are_the_signature() {
        let header = Header::response(command::PING, return_code::FORMAT, 9);
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        assert_eq!(bytes[..8], [0x01, 0x21, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01]);
    }

    #[test]
    fn the_signature_is_judged_before_the_size() {
        let mut bytes = Header::request(command::PING, true, u64::MAX).encode();
        assert!(matches!(Header::decode(&bytes), Err(LevinError::PayloadTooLarge { size: u64::MAX, .. })));
        bytes[0] ^= 1;
        assert_eq!(Header::decode(&bytes), Err(LevinError::Signature));
    }
}
