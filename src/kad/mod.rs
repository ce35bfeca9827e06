//! Step 5: the DHT, in which rigs are found without a server (dht.md): a Kademlia network that exists. Nothing here sends or
//! waits: a [`Machine`] is given datagrams, orders and the time, and hands out datagrams and results.
//!
//! * [`Id`]: points of the key space, their [`Distance`]. [`crate::identity::Address`] is who a node or an owner is.
//! * [`Envelope`], [`Message`], [`NodeInfo`]: the datagrams. Reading and verifying are two steps.
//! * [`SignedRecord`] with its contents [`EndpointPayload`], [`TopicPayload`], [`Mail`], and the [`Delegation`] by which an
//!   owner lets another key speak.
//! * [`RigRecord`]: what a rig publishes about itself; [`Beacon`] says when, [`fleet_topic`] under which name, [`Sighting`]
//!   is one that somebody found.
//! * [`Rules`]: where versions of the network differ in judging.
//! * [`Policy`]: every constant and switch of the machine, ours and the Go node's.
//! * [`Table`]: who is known, in 256 buckets, and whom to name, ask and replace. [`Health`]: how peers fare, how long their
//!   answers take, where they are, when they were met. [`size_estimate`], [`closest_estimate`]: how many nodes there are.
//! * [`Store`]: the records this node keeps for others. [`Snapshot`]: table and store as bytes.
//! * [`Machine`]: the node, of all these: requests, lookups, copies of what it publishes, upkeep.
//!
//! ```
//! use rigmesh::base::{Rng, Timestamp};
//! use rigmesh::identity::{Address, SignKey};
//! use rigmesh::kad::{EndpointPayload, Envelope, Header, Message, Rules, SignedRecord, Stamp, TxId, encode_datagram, rec_type};
//!
//! // A rig says where it is, and asks a node to keep that.
//! let (mut rng, now) = (Rng::from_number(1), Timestamp::from_unix(1_750_000_000, 0));
//! let rig = SignKey::generate(&mut rng);
//! let here = EndpointPayload { endpoints: Some(vec!["ws://192.0.2.7:9091/ws".into()]), ..Default::default() };
//! let stamp = Stamp { seq: 1, timestamp: 1_749_999_995, ttl_s: 3600 };
//! let record = SignedRecord::sign(&rig, rec_type::ENDPOINT, here.encode()?, stamp)?;
//! let store = Message::Store { key: Some(record.default_key()), record: Box::new(record) };
//! let datagram = encode_datagram(&Header::new(TxId::random(&mut rng)), &store, &rig)?;
//!
//! // The node reads it, and believes what is signed.
//! let received = Envelope::decode(&datagram)?.verify(&Rules::default())?;
//! assert_eq!(received.sender, Address::of_ed25519(&rig.public()));
//! let Message::Store { record, key: Some(key) } = received.message else { panic!() };
//! record.verify(now, &Rules::default())?;
//! record.check_authority(&key, now, &Rules::default())?;
//! assert_eq!(EndpointPayload::decode(record.payload())?, here);
//! # Ok::<(), rigmesh::kad::Fault>(())
//! ```
//!
//! # Bounds
//!
//! | what | bound |
//! |---|---|
//! | a datagram, sent or read | [`DATAGRAM_BYTES_MAX`] |
//! | the body of an answer | [`BODY_BYTES_MAX`] |
//! | payload of a topic or mailbox record | [`SHARED_PAYLOAD_BYTES_MAX`] |
//! | nodes of the table | 256 times [`Policy::k`], candidates 256 times [`Policy::pending_max`] |
//! | peers whose health is known | [`Policy::peers_max`] |
//! | keys of the store, its bytes | [`Policy::keys_max`], [`Policy::store_bytes_max`]; per publisher and source [`Quotas`] |
//! | a snapshot | [`SNAPSHOT_BYTES_MAX`] |
//! | requests under way; lookups; published records | 2,048; 256; 4,096 |
//! | nodes and records of a lookup | 512; 512 |
//! | requests of a source; of all strangers together | [`Policy::source_rate_per_s`]; twenty times that |
//! | what a stranger is sent | three times what it sent |
//! | records that wait for their sender to be asked back | 256; 8 of one source |
//! | memory of what was read | a small multiple of the bytes; lists grow as they are read, not by their stated count |

mod beacon;
mod chain;
mod delegation;
mod endpoint;
mod envelope;
mod fault;
mod files;
mod fleet;
mod health;
mod id;
mod key_blob;
mod machine;
mod mailbox;
mod message;
mod met;
mod node_info;
mod peers;
mod policy;
mod proven;
mod record;
mod record_endpoint;
mod rig;
mod rules;
mod saved;
mod sighting;
mod size;
mod snapshot;
mod store;
mod subnet;
mod table;
mod topic;

pub use beacon::{Beacon, BeaconOutput, FLEET_PROTOCOL};
pub use delegation::{Delegation, SCOPE_NETWORK, Seal};
pub use endpoint::{decode_observed, encode_observed, is_public_ip};
pub use envelope::{DATAGRAM_BYTES_MAX, Envelope, Header, Received, TxId, encode_datagram};
pub use fault::Fault;
pub use files::{
    PEERS_CACHE_MAX, SEEN_PEERS_MAX, SEEN_S_MAX, decode_peers_cache, decode_seen_peers, encode_peers_cache,
    encode_seen_peers,
};
pub use fleet::fleet_topic;
pub use health::{Health, PeerHealthState};
pub use id::{Distance, Id};
pub use key_blob::{KEY_BLOB_BYTES, decrypt_key_blob, encrypt_key_blob};
pub use machine::{Counters, Done, Endpoint, Machine, NO_ENDPOINT, NO_MATCHING_RECORDS, Output, PeerIdentity};
pub use mailbox::{MAIL_BODY_BYTES_MAX, Mail, Opened};
pub use message::{BODY_BYTES_MAX, Message};
pub use node_info::NodeInfo;
pub use policy::{Policy, Quotas, SubnetLimits};
pub use record::{Category, SHARED_PAYLOAD_BYTES_MAX, SignedRecord, Slot, Stamp, newest, rec_type};
pub use record_endpoint::{ENDPOINT_BYTES_SERVED, EndpointPayload, NatType};
pub use rig::{RIG_PLACES_MAX, RIG_RENEW, RIG_TTL_S, RIG_WITHDRAWN_TTL_S, RigPlace, RigRecord, next_rig_seq};
pub use rules::Rules;
pub use saved::{SavedNode, SavedRecord};
pub use sighting::{SIGHTING_BYTES_MAX, Sighting};
pub use size::{SizeEstimate, closest_estimate, size_estimate, size_estimate_any};
pub use snapshot::{SNAPSHOT_BYTES_MAX, Snapshot};
pub use store::{Authority, AuthorityRule, PutError, STALE_RECORD, Source, Store, StoreRecordDebug};
pub use subnet::Subnet;
pub use table::{Added, Entry, Proof, Table};
pub use topic::{BRIEF_CHARS_MAX, TopicPayload};
