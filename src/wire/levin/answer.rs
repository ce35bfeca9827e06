//! What a node answers when it is asked: enough for a CryptoNote node to keep a connection to us.

use super::{
    HandshakeRequest, HandshakeResponse, LevinError, Message, NodeData, PingResponse, SupportFlags, SyncData,
    TimedSyncRequest, TimedSyncResponse, command, return_code,
};
use crate::base::Rng;

/// What we say about ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNode {
    /// Who we are.
    pub node: NodeData,
    /// What we have of the chain.
    pub sync: SyncData,
}

impl LocalNode {
    /// One that only looks: it cannot be dialled and has nothing of the chain but its beginning. Its number is random.
    pub fn observer(network_id: super::NetworkId, rng: &mut Rng) -> LocalNode {
        let peer_id = rng.number().max(1);
        let node = NodeData { network_id, my_port: 0, rpc_port: 0, rpc_credits_per_hash: 0, peer_id, support_flags: 0 };
        LocalNode { node, sync: SyncData { current_height: 1, top_version: 1, ..SyncData::default() } }
    }

    /// The request that opens a connection.
    ///
    /// # Errors
    /// None that a struct of fixed size can cause.
    pub fn handshake(&self) -> Result<Message, LevinError> {
        let request = HandshakeRequest { node: self.node.clone(), sync: self.sync.clone() };
        Ok(Message::request(command::HANDSHAKE, request.encode()?))
    }

    /// The request for news of the chain.
    ///
    /// # Errors
    /// As [`LocalNode::handshake`].
    pub fn timed_sync(&self) -> Result<Message, LevinError> {
        Ok(Message::request(command::TIMED_SYNC, TimedSyncRequest { sync: self.sync.clone() }.encode()?))
    }

    /// The response to a request; `None` for what wants none. A handshake of another network, or one that cannot be read, is
    /// answered with [`return_code::FORMAT`] and nothing; so is what we do not know.
    ///
    /// # Errors
    /// As [`LocalNode::handshake`].
    pub fn answer(&self, request: &Message) -> Result<Option<Message>, LevinError> {
        if request.is_response() || !request.expects_response {
            return Ok(None);
        }
        let (node, sync) = (self.node.clone(), self.sync.clone());
        let payload = match request.command {
            command::HANDSHAKE => match HandshakeRequest::decode(&request.payload) {
                Ok(theirs) if theirs.node.network_id == node.network_id => {
                    Some(HandshakeResponse { node, sync, peers: Vec::new() }.encode()?)
                }
                _ => None,
            },
            command::TIMED_SYNC => Some(TimedSyncResponse { sync, peers: Vec::new() }.encode()?),
            command::PING => Some(PingResponse { status: "OK".to_owned(), peer_id: node.peer_id }.encode()?),
            command::SUPPORT_FLAGS => Some(SupportFlags { support_flags: node.support_flags }.encode()?),
            _ => None,
        };
        let code = if payload.is_some() { return_code::HANDLED } else { return_code::FORMAT };
        Ok(Some(Message::response(request.command, code, payload.unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NetworkId, Section};
    use super::*;

    #[test]
    fn what_is_asked_is_answered_and_what_is_told_is_not() {
        let local = LocalNode::observer(NetworkId::TESTNET, &mut Rng::from_number(1));
        let other = LocalNode::observer(NetworkId::TESTNET, &mut Rng::from_number(2));
        let empty = Section::new().encode().unwrap();
        let answer = |message: &Message| local.answer(message).unwrap();
        let response = answer(&other.handshake().unwrap()).unwrap();
        assert_eq!(HandshakeResponse::decode(&response.payload).unwrap().node, local.node);
        let response = answer(&other.timed_sync().unwrap()).unwrap();
        assert_eq!(TimedSyncResponse::decode(&response.payload).unwrap().sync.current_height, 1);
        let response = answer(&Message::request(command::PING, empty.clone())).unwrap();
        assert_eq!(PingResponse::decode(&response.payload).unwrap().status, "OK");
        assert!(answer(&Message::request(command::SUPPORT_FLAGS, empty.clone())).is_some());
        assert_eq!(answer(&Message::notification(command::REQUEST_CHAIN, empty.clone())), None);
        assert_eq!(answer(&Message::response(command::PING, 0, empty)), None);
    }

    #[test]
    fn another_network_and_an_unknown_command_are_refused_with_a_code() {
        let local = LocalNode::observer(NetworkId::TESTNET, &mut Rng::from_number(1));
        let stranger = LocalNode::observer(NetworkId::MAINNET, &mut Rng::from_number(2));
        for request in [stranger.handshake().unwrap(), Message::request(4711, vec![1])] {
            let response = local.answer(&request).unwrap().unwrap();
            assert_eq!((response.return_code, response.payload.len()), (return_code::FORMAT, 0));
        }
    }
}
