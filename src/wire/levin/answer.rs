//! What a node answers when it is asked: enough for a CryptoNote node to keep a connection to us.

use super::{
    HandshakeRequest, HandshakeResponse, LevinError, Message, NetworkId, NodeData, PingResponse, SupportFlags,
    SyncData, TimedSyncRequest, TimedSyncResponse, command, return_code,
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
    /// One that only looks: it cannot be dialled and has nothing of the chain but its first block. Its number is random.
    ///
    /// monerod asks a peer whose top block it does not know for its chain, and leaves it when that does not come (seen: after
    /// 77 s). So the first block is named; of a network whose first block we do not know, nothing is.
    pub fn observer(network_id: NetworkId, rng: &mut Rng) -> LocalNode {
        let peer_id = rng.number().max(1);
        let node = NodeData { network_id, my_port: 0, rpc_port: 0, rpc_credits_per_hash: 0, peer_id, support_flags: 0 };
        let top_id = network_id.genesis().unwrap_or_default();
        let sync =
            SyncData { current_height: 1, cumulative_difficulty: 1, top_id, top_version: 1, ..SyncData::default() };
        LocalNode { node, sync }
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
    /// answered with [`return_code::FORMAT`] and nothing, what we do not know with [`return_code::UNKNOWN_COMMAND`].
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
            _ => return Ok(Some(Message::response(request.command, return_code::UNKNOWN_COMMAND, Vec::new()))),
        };
        let code = if payload.is_some() { return_code::HANDLED } else { return_code::FORMAT };
        Ok(Some(Message::response(request.command, code, payload.unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Section;
    use super::*;

    #[test]
    fn an_observer_has_the_first_block_of_its_network_and_a_listener_answers_with_the_code_that_monerod_wants() {
        let local = LocalNode::observer(NetworkId::STAGENET, &mut Rng::from_number(1));
        assert_eq!(Some(local.sync.top_id), NetworkId::STAGENET.genesis());
        let response = local.answer(&local.handshake().unwrap()).unwrap().unwrap();
        assert!(response.return_code > return_code::OK && !response.is_failure());
        let private = LocalNode::observer(NetworkId([7; 16]), &mut Rng::from_number(1));
        assert_eq!(private.sync.top_id, [0; 32]);
    }

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
        let unknown = Message::request(4711, vec![1]);
        for (request, code) in
            [(stranger.handshake().unwrap(), return_code::FORMAT), (unknown, return_code::UNKNOWN_COMMAND)]
        {
            let response = local.answer(&request).unwrap().unwrap();
            assert_eq!((response.return_code, response.payload.len()), (code, 0));
        }
    }
}
