//! Every constant and switch of the DHT's machine (dht.md §16), in one place: ours, and the Go node's.

use super::Rules;
use std::time::Duration;

/// How many nodes of one neighbourhood (an IPv4 /24 or an IPv6 /48) are kept. Private ranges are not counted, so that a
/// farm on one network works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubnetLimits {
    /// In one bucket.
    pub per_bucket: usize,
    /// In the whole table.
    pub per_table: usize,
    /// In one answer.
    pub per_answer: usize,
}

/// How much of the store others may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Records signed by one key.
    pub publisher_records: usize,
    /// Their bytes.
    pub publisher_bytes: usize,
    /// Records that came from one neighbourhood. A farm behind one NAT is one neighbourhood.
    pub source_records: usize,
    /// Their bytes.
    pub source_bytes: usize,
}

/// Constants and switches. [`Policy::default`] is what this node does. [`Policy::reference`] behaves like the Go node of
/// version 0.1.7, faults included as far as its vectors show them; it is for comparisons, not for a network with strangers.
///
/// The pace of the Go node's queries and copies is not among them: it shows in no answer, and ours is another. What is part of
/// the wire is no choice and stands elsewhere: [`super::DATAGRAM_BYTES_MAX`], [`super::BODY_BYTES_MAX`],
/// 256 buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How times, orders and keys are judged, the tolerance of clocks among it.
    pub rules: Rules,

    // The routing table (dht.md §10).
    /// Entries of a bucket, and nodes of an answer.
    pub k: usize,
    /// Candidates that wait beside a bucket.
    pub pending_max: usize,
    /// How long they wait.
    pub pending_life: Duration,
    /// An entry that answered within this time is fresh: preferred in answers, and what makes a bucket healthy.
    pub fresh: Duration,
    /// An entry that has not answered for this long may be asked whether it is alive, and replaced if not. Entries that
    /// answered within it never leave for a stranger.
    pub questionable: Duration,
    /// An entry that never answered is asked after this long.
    pub hearsay_life: Duration,
    /// Questions an entry that once answered may leave unanswered in a row before it leaves.
    pub misses_max: u8,
    /// A node that has had no answer from anyone for this long suspects its own line and drops nobody for silence.
    pub offline_after: Duration,
    /// Whether a request proves that its sender is where it came from. Anyone can send one in another's name.
    pub trust_sources: bool,
    /// Whether a node's id must be that of its address.
    pub check_ids: bool,
    /// Whether a proven newcomer makes a full bucket ask its oldest entry however lately that answered, takes its place
    /// after one unanswered question, and everything that is heard counts as a sign of life.
    pub strangers_evict: bool,
    /// Whether nodes that never answered us may fill answers to others.
    pub answer_hearsay: bool,
    /// Limits by neighbourhood, if any.
    pub subnets: Option<SubnetLimits>,
    /// Questions to full buckets' entries that run at once.
    pub probes_max: usize,
    /// A question whose outcome nobody told is forgotten after this long.
    pub probe_life: Duration,
    /// Fresh entries below which a bucket is refilled.
    pub refill_below: usize,
    /// Pauses between a bucket's refills, by how many in a row found nobody new.
    pub refill_cooldowns: [Duration; 4],
    /// Whether empty buckets before the last one that is not are refilled, too, and only those count as served that are.
    pub refill_gaps: bool,

    // Maintenance (dht.md §10.7).
    /// How often.
    pub maintenance_every: Duration,
    /// Candidates asked each time.
    pub pending_probes_max: usize,
    /// Entries asked each time.
    pub stale_probes_max: usize,
    /// Buckets refilled each time.
    pub refills_max: usize,
    /// Time for a refill.
    pub refill_budget: Duration,

    // Peers and requests (dht.md §11).
    /// Attempts of a request without a deadline of its own.
    pub rpc_attempts: u32,
    /// Time for a request of a query.
    pub query_timeout: Duration,
    /// Time for a STORE, and for the PING of a replica.
    pub store_timeout: Duration,
    /// Time for a PING by which the table asks whether an entry is alive.
    pub probe_timeout: Duration,
    /// Time for a PING to a node named at the start.
    pub bootstrap_timeout: Duration,
    /// How long an answer may take of a peer that was never measured.
    pub rto_initial: Duration,
    /// The least time an answer is given.
    pub rto_min: Duration,
    /// The most.
    pub rto_max: Duration,
    /// Failures in a row that make a peer bad.
    pub bad_after: u32,
    /// The pause after a first failure; it doubles with each further one.
    pub backoff: Duration,
    /// How often it doubles.
    pub backoff_doublings_max: u32,
    /// Peers whose health is remembered.
    pub peers_max: usize,
    /// Whether what others say can change where a proven peer is asked.
    pub hearsay_rebinds: bool,

    // Queries (dht.md §12).
    /// Requests at once to peers that are good.
    pub good_slots: usize,
    /// To peers nobody has asked yet.
    pub unknown_slots: usize,
    /// Whether a query ends when the k closest nodes have answered, not when nobody is left to ask.
    pub end_at_closest: bool,
    /// Disjoint paths of a query for records.
    pub paths: usize,
    /// Whether the newest of several copies is wanted, not the first.
    pub newest_wins: bool,

    // Publishing (dht.md §13).
    /// Copies wanted of a record.
    pub replicas: usize,
    /// Copies at most.
    pub replicas_max: usize,
    /// First pause before a replica is asked whether it is alive; it doubles.
    pub replica_probe_first: Duration,
    /// The longest such pause.
    pub replica_probe_max: Duration,
    /// How long a silent replica may come back.
    pub replica_grace: Duration,

    // Answers.
    /// The most bytes an unproven source is sent, in times of what it sent; none for no bound.
    pub unproven_factor: Option<usize>,
    /// Requests a second from one source whose signatures are checked; the others are dropped unread.
    pub source_rate_per_s: u32,
    /// How many it may save up.
    pub source_burst: u32,
    /// NAT echoes for one IP address within [`Policy::nat_window`].
    pub nat_echoes_max: u32,
    /// See there.
    pub nat_window: Duration,

    // The store (dht.md §9).
    /// Keys held.
    pub keys_max: usize,
    /// Bytes held, as records are encoded, and 256 for the upkeep of each.
    pub store_bytes_max: usize,
    /// Records of one key that are its owner's.
    pub own_per_key: usize,
    /// Topic records of one key.
    pub topic_per_key: usize,
    /// Mailbox records of one key.
    pub mailbox_per_key: usize,
    /// Mailbox records of one key by one sender.
    pub mailbox_per_sender: usize,
    /// The longest that a record is held without being sent again; none for as long as it says.
    pub lifetime_max: Option<Duration>,
    /// Whether records leave when their time is over. The Go node drops them when their key is written again.
    pub expire: bool,
    /// How much others may fill, if there are limits.
    pub quotas: Option<Quotas>,
    /// Whether a full store drops what is farthest from this node's id, not what was not asked for the longest time; and
    /// a full key something of the source that has most there, not the oldest.
    pub fair_eviction: bool,
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            rules: Rules::default(),
            questionable: secs(15 * 60),
            hearsay_life: secs(60),
            misses_max: 2,
            trust_sources: false,
            check_ids: true,
            strangers_evict: false,
            answer_hearsay: false,
            subnets: Some(SubnetLimits { per_bucket: 2, per_table: 8, per_answer: 2 }),
            refill_gaps: true,
            rto_initial: millis(400),
            rto_min: millis(100),
            rto_max: secs(2),
            peers_max: 4096,
            hearsay_rebinds: false,
            end_at_closest: true,
            paths: 3,
            newest_wins: true,
            unproven_factor: Some(3),
            source_rate_per_s: 200,
            source_burst: 400,
            store_bytes_max: 64 << 20,
            lifetime_max: Some(secs(24 * 3600)),
            expire: true,
            quotas: Some(Quotas {
                publisher_records: 256,
                publisher_bytes: 256 << 10,
                source_records: 8192,
                source_bytes: 8 << 20,
            }),
            fair_eviction: true,
            ..Policy::reference()
        }
    }
}

impl Policy {
    /// What the Go node of version 0.1.7 does.
    pub const fn reference() -> Policy {
        Policy {
            rules: Rules::pinned(),
            k: 16,
            pending_max: 5,
            pending_life: secs(2 * 3600),
            fresh: secs(30 * 60),
            questionable: Duration::ZERO,
            hearsay_life: secs(30 * 60),
            misses_max: 1,
            offline_after: secs(60),
            trust_sources: true,
            check_ids: false,
            strangers_evict: true,
            answer_hearsay: true,
            subnets: None,
            probes_max: 8,
            probe_life: secs(30),
            refill_below: 8,
            refill_cooldowns: [secs(30), secs(2 * 60), secs(10 * 60), secs(15 * 60)],
            refill_gaps: false,
            maintenance_every: secs(15),
            pending_probes_max: 5,
            stale_probes_max: 10,
            refills_max: 2,
            refill_budget: secs(15),
            rpc_attempts: 3,
            query_timeout: secs(2),
            store_timeout: secs(2),
            probe_timeout: secs(3),
            bootstrap_timeout: secs(10),
            rto_initial: secs(2),
            rto_min: secs(2),
            rto_max: secs(2),
            bad_after: 2,
            backoff: secs(30),
            backoff_doublings_max: 10,
            peers_max: 65_536,
            hearsay_rebinds: true,
            good_slots: 5,
            unknown_slots: 3,
            end_at_closest: false,
            paths: 1,
            newest_wins: false,
            replicas: 8,
            replicas_max: 16,
            replica_probe_first: secs(30),
            replica_probe_max: secs(3600),
            replica_grace: secs(30 * 60),
            unproven_factor: None,
            source_rate_per_s: u32::MAX,
            source_burst: u32::MAX,
            nat_echoes_max: 3,
            nat_window: secs(10),
            keys_max: 100_000,
            store_bytes_max: usize::MAX,
            own_per_key: 8,
            topic_per_key: 100,
            mailbox_per_key: 50,
            mailbox_per_sender: 4,
            lifetime_max: None,
            expire: false,
            quotas: None,
            fair_eviction: false,
        }
    }
}
