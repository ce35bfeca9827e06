//! RigMesh puts a fleet of mining or compute rigs under the control of the people who own them, over
//! an encrypted peer-to-peer mesh, with no cloud in between. One library, one static binary,
//! synchronous threads and channels, no async runtime.
//!
//! It speaks the mesh protocol 1.0 of an existing Go node, byte for byte, without that node's faults:
//! only keys that are listed get in, only keys with the grant may command, and a command is
//! accepted at most once, ever.
//!
//! # A worker with miners of its own
//!
//! ```
//! use rigmesh::base::{Error, Result};
//! use rigmesh::miners::{LogSlice, MinerInstance, MinerManager, MinerState, MinerStats, StartRequest};
//! use rigmesh::peers::Grants;
//! use std::sync::Arc;
//!
//! struct Press; // the one machine of this rig, always on
//!
//! impl MinerInstance for Press {
//!     fn name(&self) -> String { "press".into() }
//!     fn miner_type(&self) -> String { "press".into() }
//!     fn stats(&self) -> Result<MinerStats> {
//!         let stats = MinerStats::new(self.name(), self.miner_type(), MinerState::Hashing);
//!         Ok(MinerStats { hashrate_hs: Some(42.0), ..stats })
//!     }
//!     fn console_history(&self, _lines: usize, _since_ms: Option<i64>) -> LogSlice { LogSlice::default() }
//! }
//!
//! impl MinerManager for Press {
//!     fn start_miner(&self, _: &StartRequest) -> Result<Arc<dyn MinerInstance>> { Ok(Arc::new(Press)) }
//!     fn stop_miner(&self, _: &str) -> Result<()> { Err(Error::Failed("the press never stops".into())) }
//!     fn list_miners(&self) -> Vec<Arc<dyn MinerInstance>> { vec![Arc::new(Press)] }
//!     fn miner(&self, _: &str) -> Result<Arc<dyn MinerInstance>> { Ok(Arc::new(Press)) }
//! }
//!
//! # fn main() -> Result<()> {
//! # let folder = std::env::temp_dir().join(format!("rigmesh-doc-{}", std::process::id()));
//! let rig = rigmesh::Node::builder().data_dir(folder.join("rig")).listen("127.0.0.1:0").miners(Arc::new(Press)).start()?;
//! let owner = rigmesh::Node::builder().data_dir(folder.join("owner")).start()?;
//! rig.peers().allow(&owner.identity().public_key(), Grants::CONTROLLER, "setup")?;
//! owner.peers().allow(&rig.identity().public_key(), Grants::NONE, "setup")?;
//!
//! let id = owner.connect(&rig.loopback_address().unwrap(), &rig.identity().public_key())?; // returns when proven
//! let stats = owner.controller().stats(&id.to_string())?;
//! assert_eq!(stats.miners()[0].hashrate, 42.0);
//! owner.shutdown()?;
//! rig.shutdown()?;
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok(()) }
//! ```
//!
//! # Machines inside, threads outside
//!
//! Every protocol is a plain struct that never sees a socket, a file, a thread or a clock: it is
//! given the time and an input and hands out outputs (`handle_x(now, x)`, `handle_timeout(now)`,
//! `poll_output()`, `poll_timeout()`). Threads and sockets live in one room and drive the machines, so the same
//! code runs on a rig, under a fuzzer, and in a simulator with a virtual clock.
//!
//! | step | rooms | what |
//! |---|---|---|
//! | 8 | `node` | the handles: [`Node`], [`Controller`], [`Transport`], [`SharedRegistry`] |
//! | 7 | `runtime`, `sim` | the only room that blocks: sockets, files, processes, threads; and its virtual twin |
//! | 6 | `mesh` | the node as one machine: links, calls, dials, requests, intents, deployments, rigs that were found, freshness |
//! | 5 | [`session`], [`peers`], [`kad`], [`miners`] | one connection; the registry; the DHT; what runs on a rig |
//! | 4 | [`bundle`] | what is deployed: manifests of objects, and bundles as Go nodes make them |
//! | 3 | [`message`] | the fifteen messages |
//! | 2 | [`identity`] | keys, ids, challenges, addresses in the DHT |
//! | 1 | [`wire`] | binary protocols: UEPS packets with their dispatcher, Levin, deterministic CBOR |
//! | 1 | [`formats`] | TRIX and its transforms, the sealing sigil, SMSG, STMF, TIM and STIM, JSON as Go spells it |
//! | 0 | [`base`] | time, randomness, errors, bounds |
//!
//! An arrow may only point to a lower step; `tests/tidy.rs` reads the source and fails otherwise. The modules
//! of steps 0 to 5 are public so that tests, fuzzers and embedders reach them; they are not yet under semver.
//!
//! # The life of one message
//!
//! 1. A handle records a command that changes something in this node's audit log, and puts it into the dispatcher's `control` queue, with a byte credit taken first.
//! 2. The `dispatcher` thread owns the mesh machine. It finds the peer's proven link, or dials, builds the message
//!    and notes its id.
//! 3. The connection's writer's half seals it (a session's frame, or SMSG v1 to a Go node), frames it (RFC 6455) and writes it without
//!    blocking, under one lock, so that the order of sealing is the order of the wire. What the
//!    socket does not take starts a writer thread, which retires when the backlog is gone.
//! 4. On the other side the connection's one permanent thread, its reader, counts the frame, opens it in
//!    place, decodes it, and waits for room in the `inbox`: so TCP pushes back on the sender.
//! 5. That dispatcher's dialogue judges it: addressed rightly, proven, fresh, within the limit.
//! 6. A request needs its grant, becomes a job, and a `jobs` thread asks the miner manager. The marks that make a command
//!    unrepeatable are on disk before it runs, and so is its line in the audit log; the line after it is before the reply.
//! 7. The reply goes the same way back; the call it answers is found by its id, on the link it was sent over.
//!
//! # Threads
//!
//! `dispatcher`, `listen`, `jobs/0` and `jobs/1` (a hung one is replaced, at most eight), `store`, `depot` from the first deployment on, and `conn/<peer>` for
//! every connection. Short-lived: `hs` dials or accepts, does TLS, upgrade and handshake, and waits half a second for the next; `conn/<n>/w` writes while
//! there is a backlog. With a plain listener for packets `ueps`, and `ueps/<n>` for each of its connections. A DHT node has `kad` (which several nodes of a process may share, [`dht::Threads`]), `kad/r` and, while it saves, `kad/s`, with debug pages `kad/http/<n>`. A node that says where it is has `beacon`, on the local link `lan`, `join` until it has joined the DHT, and `find` for a question the mesh has. A rig adds `miner/<name>` for each miner, a daemon `control` and `signal`. Blocking sends go only towards the
//! dispatcher, so no ring of waiting threads can form; away from it a full queue is a typed `Busy`. Whoever starts a
//! thread joins it.
//!
//! # Decisions
//!
//! * Links are sealed by `ring`'s ChaCha20-Poly1305 under a key from HChaCha20, which is XChaCha20-Poly1305; the tests hold it
//!   against the portable crate. `ring` is in the tree anyway, as the provider of TLS.
//! * Sessions ([`session::secure`]) are the library `snow`'s handshake over our own curve, hash and cipher, so that no second generation of
//!   them comes into the tree; afterwards each direction is 40 bytes of its own, and reader and writer share nothing.
//! * Inside a session the limits are those that RigMesh nodes announce on 1.0 links (4,000 messages at once, 2,000 a second), and not
//!   the 100 and 50 of the Go node: over them the reader waits, so nothing is lost, and a deployment's questions must not be slowed.
//! * The secure mark is kept for keys that this node knows. In open mode a stranger's would be one more line in a file for everybody who passes.
//! * The audit log's two lines stand around what changes a rig: for a chunked deployment around the installation and the switch, not
//!   around chunks, which nothing runs. A command that was told `timed out` ends in the log later, and its reply has no place in it.
//! * The owner's own commands at the rig are recorded as `local`, and refused like others when they cannot be; except those that take
//!   power away (`stop`, `pause`, `peers revoke`), so that nobody who can fill the disk can keep a stolen key in.
//! * A controller writes its lines for a sweep together, up to 256 a sync, before the first is sent and after the last answer. A
//!   deployment that outlives its caller gets a pair of its own (`owed`) when it is over.
//! * A key under a pass-phrase states its public key in clear, so that `id` needs no pass-phrase. Each key's file opens by
//!   itself, and a pass-phrase is changed by way of the plain form, so that no crash between the two files locks a node out.
//! * A rig's own clock counts as at least the newest time it ever saved, so a board without a battery can be commanded.
//! * Of the container formats there is what a fleet has a use for. SMSG v3 (rolling keys), adaptive-bitrate lists, PGP, the hash sigils,
//!   running containers and DNS tools stay out; `tests/vectors.rs` names each of their lists as left out, with the reason.
//! * A tree in an archive has one rule for names, and one entry that breaks it refuses the whole archive. The original skips
//!   or follows such entries.
//! * STIM's obfuscation, which hides nothing, is the slowest part of sealing; it is computed in batches, and on several
//!   cores through a [`base::Crew`] that the caller hands in, so that nothing below step 7 starts a thread.
//! * A version on trial must hash within its grace and then last five minutes; until then five bad ends, counted across
//!   restarts, take it back.
//! * A deployment's disk work has one thread of its own, `depot`, which owns everything that is arriving: no lock is
//!   held while a disk is slow, and two transfers never race.
//! * Chunks travel unparsed to that thread; the dispatcher reads only their number. They pass outside the rate limits,
//!   because the rig asked for each of them.
//! * `get_versions` and `rollback` are messages of ours (capability `slots1`), in no specification but here.
//! * In a session a chunk travels in frames of kind 3, behind its transfer's number and its own (four bytes each, big-endian), and a
//!   UEPS packet as one whole packet in a frame of kind 4; neither as a message. Both have bounds of their own, whatever size of
//!   messages was announced, and a kind that a node did not announce ends the session.
//! * The side that dialled a session dials again when it is 21.6 to 23.8 hours old. The newer one wins; the older takes nothing new
//!   and goes when what is under way on it is answered.
//! * An offer to pair says `"pair":true`, one of a rig that is enrolled `"enrol":true` as well, so that a node may have a code and an
//!   enrolment at the same time. A link says `t=1` for TLS. Wishes that are no grants here count for nothing.
//! * `grant`, `revoke` and their answer `access` are messages of ours (capability `manage1`). A key that was revoked is let in again at
//!   the machine only. The newest time that was seen is saved while a key is used whose permission ends.
//! * A session's offer names the key that is meant, when one is known (`to`): a node whose keys were replaced answers under the old ones
//!   whoever asks for them, says in that session which are in their place, and nothing else. `rotate`, `rotated` and `keep_key` are
//!   messages of ours (capability `rotate1`), `get_audit` and `audit` too. A new key follows at its first session after the wait, so that
//!   neither side is ever without a key that works. Of two statements about one key none is followed until the owner decides.
//! * UEPS packets over 1.0 links travel in messages of ours, `ueps` and `ueps_reply` (capability `ueps1`). Every verified packet is
//!   answered by a packet whose JSON names the HMAC that it answers; over plain TCP under a key derived for answers.
//! * On plain TCP forgeries count for the address and not only for the connection, because a new connection costs nothing.
//! * A pause of a whole rig is a state of the rig, not of its miners: nothing starts until it is resumed as a whole.
//! * The DHT's lookups, copies and refills have a pace of their own: the Go node's shows in no datagram. What it answers is
//!   compared byte for byte under [`kad::Policy::reference`].
//! * Wallet signatures are checked by libsecp256k1 (C), two crates; the pure-Rust ones are nine.
//! * Debug pages are served by a few lines of our own over `httparse`: small servers have no time-outs and unnamed threads.
//! * Archives are read by a reader of our own, on one slice, that refuses what it does not know; the `tar` crate, whose header
//!   types it uses, merges PAX and GNU headers by itself and takes sizes in several spellings. The tests hold the two
//!   against each other.
//! * A bundle of several files, none named like it, carries `bundle-manifest.json`, which names the one that is run; a Go node
//!   extracts it as one more file.
//! * What neighbours tell (`gossip1`) goes one step: a record is passed on only by a node that has it from its rig. A message
//!   has at most nine records, and one a second is read, because each record costs a signature.
//! * A place that a record names is dialled with any certificate: the key that must answer is known, and proven inside.
//! * On the local link records travel behind `rigmesh-lan-1\0` and a byte (1 *here*, 2 *who is there*), over IPv4 multicast.
//! * The places of a record are the interfaces that are up, those of containers left out, and not what peers see: whether a
//!   port is forwarded nobody can tell from outside, so the owner says it (`advertise`).
//! * A message type that RigMesh does not know may change something in an embedder's program, so it is judged like a command.
#![doc = include_str!("attacks.md")]
#![doc = include_str!("api.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation))]

pub mod base;
pub mod bundle;
pub mod formats;
pub mod identity;
pub mod kad;
mod mesh;
pub mod message;
pub mod miners;
mod node;
pub mod peers;
mod runtime;
pub mod session;
// A world for tests: a fault in its script should stop the test where it stands.
#[allow(clippy::indexing_slicing)]
#[doc(hidden)]
pub mod sim;
pub mod wire;

pub use mesh::{FeedInfo, FoundBy, FoundRig, IntentAnswer, IntentContext, IntentSource, Intents, LinkInfo, ThreatInfo};
pub use node::{
    Config, Controller, DeployFile, Deployed, Deployment, Discovered, Discovery, Node, NodeBuilder, PairedWith,
    Pairing, Sweep, Transport, UepsKey,
};
pub use node::{control, dht};
pub use runtime::clock::system_rng;
pub use runtime::crew::Cores;
pub use runtime::depot::{DepotLimits, SlotFile, SlotVersion, Slots, VersionState};
pub use runtime::files::atomic::write as write_atomic;
pub use runtime::files::audit::{AuditLog, check_audit, read_audit_notes};
pub use runtime::files::extract::{extract_miner_bundle_to, write_unpacked_miner};
pub use runtime::files::identity::{IdentityFiles, NodeManager};
pub use runtime::files::lock::FolderLock;
pub use runtime::files::paths::Paths;
pub use runtime::files::profiles::FileProfileManager;
pub use runtime::files::protect::{
    IdentityCard, PASSPHRASE_FILE_VARIABLE, Protection, passphrase_for, passphrase_from_environment,
};
pub use runtime::files::registry::SharedRegistry;
pub use runtime::files::rotation::RotationPhase;
#[doc(hidden)]
pub use runtime::hidden;
pub use runtime::levin::{LevinConnection, LevinProbe, LevinSettings, levin_probe};
pub use runtime::log_filter::{LOG_COMPONENTS, LogFilter};
pub use runtime::log_sink::{LogFormat, init_log, init_log_as};
pub use runtime::net::tls::TlsPair;
pub use runtime::process::{DeclaredCommand, MinerSettings, ProcessMinerManager};
pub use runtime::service::ServiceManager;
pub use runtime::ueps::send_packet;

/// The README's example is compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
