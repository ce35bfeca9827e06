//! Every vector of the original's own making, checked against the table below.
//!
//! The files are read from `tests/vectors/`, or from the folder that `RIGMESH_VECTORS` names: another
//! set of the same layout and schema must pass unchanged. Every file in that folder and every list in
//! it must stand in the table, as checked, owed by a later issue, or left out for a reason; a case
//! whose verdict differs from the original's on purpose stands there with the rule it follows. What
//! the table does not name fails, and so does a decision that matches no case.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

#[path = "vectors/dht_machine.rs"]
mod dht_machine;
#[path = "vectors/dht_message.rs"]
mod dht_message;
#[path = "vectors/dht_place.rs"]
mod dht_place;
#[path = "vectors/dht_record.rs"]
mod dht_record;
#[path = "vectors/dht_responder.rs"]
mod dht_responder;
#[path = "vectors/dht_store.rs"]
mod dht_store;
#[path = "vectors/dht_table.rs"]
mod dht_table;
#[path = "vectors/formats_points.rs"]
mod formats_points;
#[path = "vectors/formats_smsg.rs"]
mod formats_smsg;
#[path = "vectors/formats_stim.rs"]
mod formats_stim;
#[path = "vectors/formats_stmf.rs"]
mod formats_stmf;
#[path = "vectors/formats_trix.rs"]
mod formats_trix;
#[path = "vectors/mesh_bundle.rs"]
mod mesh_bundle;
#[path = "vectors/mesh_handshake.rs"]
mod mesh_handshake;
#[path = "vectors/mesh_identity.rs"]
mod mesh_identity;
#[path = "vectors/mesh_levin.rs"]
mod mesh_levin;
#[path = "vectors/mesh_limits.rs"]
mod mesh_limits;
#[path = "vectors/mesh_message.rs"]
mod mesh_message;
#[path = "vectors/mesh_peer.rs"]
mod mesh_peer;
#[path = "vectors/mesh_smsg.rs"]
mod mesh_smsg;
#[path = "vectors/mesh_ueps.rs"]
mod mesh_ueps;
#[path = "vectors/support.rs"]
mod support;

use support::Decision::{Checked, LeftOut, Owed};
use support::{Differs, File};

const PROSE: support::Decision = LeftOut("prose about the other lists");

const LABELS: support::Decision = LeftOut("says where the file is from");
const NO_ANALYTICS: support::Decision = LeftOut("analytics lists are not part of RigMesh");
const NO_DNS: support::Decision = LeftOut("DNS, RDAP and link tools are not part of RigMesh");
const NO_COSINE: &str = "selection.md §2: cosine distances do not grow along every axis and are left out";

const KEYS_EXACT: &str = "mesh.md §2: key names exact, and id and type required";
const STRICT_TEXT: &str = "mesh.md §2: invalid UTF-8 and lone surrogates refused";
const REQUIRED: &str = "mesh.md §2: ids or types that are null or missing refused";
const NO_V3: &str = "SMSG v3 (rolling licence keys) is recognised and refused";
const NO_HASHES: &str = "hash sigils cannot be undone and have no use here: unknown names";

const CHALLENGE_32: &str = "mesh.md §8: challenges of exactly 32 bytes only";
const ID_OF_KEY: &str = "mesh.md §8: an identity whose id is not the hash of its key is refused";

const STRICT_UEPS: &str =
    "ueps.md, reading: the five header TLVs once, in order, with their lengths, the HMAC, the payload";
const LENIENT_UEPS: &str = "ueps.md, reading: each of the five header TLVs and the HMAC once, with its length";

const NAMES: &str =
    "issue 3, bundles: a name with `..`, `.`, `//`, a leading `/` or a backslash refuses the whole archive";
const ALIKE: &str = "issue 3, bundles: two entries of one name refuse the archive";
const KINDS: &str = "issue 3, bundles: links, devices and FIFOs refuse the archive, they are never skipped";
const NO_FILES: &str = "issue 3, bundles: a miner has a main file, whose path is returned";
const NO_PROFILE: &str = "mesh-weaknesses.md 37: a bundle without a profile gives none";
const DEEP: &str = "names are bounded: 32 components in an archive, 16 in a bundle";
const VARINT_TOO_LARGE: &str = "levin.md: a larger value is an overflow error on writing, never truncated";
const ALL_ARRAYS: &str = "levin.md: arrays of every scalar type are read and written";
const NOT_NULL: &str = "a configuration and a tree are values, which are never null: the case cannot be written";

const AS_RECEIVED: &str = "dht.md §2: a signature counts over the bytes as they came first, the canonical form second";
const DETERMINISTIC: &str =
    "dht.md §2: lengths are definite, nothing is tagged, keys are integers and stand once; no sender differs";
const NO_WEAK_KEYS: &str = "dht-weaknesses.md §2: keys of small order, for which anyone can sign, are refused";
const AHEAD_60: &str = "dht.md §15: a timestamp may be 60 s ahead, as in the later version";
const GRACE_60: &str = "dht.md §15: a delegation holds for 60 s beyond its end, as in the later version";

static TABLE: &[File] = &[
    File {
        path: "mesh/identity.json",
        lists: &[
            ("note", PROSE),
            ("identities", Checked(mesh_identity::identities)),
            ("shared", Checked(mesh_identity::shared)),
            ("challenge", Checked(mesh_identity::challenge)),
            ("public_key_cases", Checked(mesh_identity::public_key_cases)),
            ("public_key_cases_private", LeftOut("an input of public_key_cases")),
            ("load_cases", Checked(mesh_identity::load_cases)),
            ("no_identity_error", Checked(mesh_identity::no_identity_error)),
        ],
        differs: &[
            Differs {
                list: "load_cases",
                case: "id/publicKey in node.json do not match the key",
                rule: "mesh.md §1: a node.json whose id or publicKey does not belong to the private key is refused",
            },
            Differs {
                list: "load_cases",
                case: "unknown role",
                rule: "mesh.md §1: a role is controller, worker or dual (this one's id is wrong, too)",
            },
        ],
    },
    File {
        path: "mesh/message.json",
        lists: &[
            ("reply_note", Checked(mesh_message::reply)),
            ("encode", Checked(mesh_message::encode)),
            ("decode", Checked(mesh_message::decode)),
            ("payload_parse", Checked(mesh_message::payload_parse)),
            ("validate_response", Checked(mesh_message::validate)),
        ],
        differs: &[
            Differs { list: "decode", case: "empty object", rule: REQUIRED },
            Differs { list: "decode", case: "null", rule: REQUIRED },
            Differs { list: "decode", case: "id null", rule: REQUIRED },
            Differs { list: "decode", case: "upper-case keys", rule: KEYS_EXACT },
            Differs {
                list: "decode",
                case: "duplicate key (last wins?)",
                rule: "mesh.md §2: duplicate known keys refused",
            },
            Differs { list: "decode", case: "invalid utf-8 in from", rule: STRICT_TEXT },
            Differs { list: "decode", case: "lone surrogate escape", rule: STRICT_TEXT },
            Differs {
                list: "decode",
                case: "ts offset +24:00",
                rule: "mesh.md §2: ts as in the vectors except +24:00",
            },
            Differs { list: "decode", case: "deep nesting 9999", rule: "mesh.md §2: depth above 32 refused" },
            Differs { list: "payload_parse", case: "{\"SENTAT\":3}", rule: KEYS_EXACT },
        ],
    },
    File {
        path: "mesh/smsg.json",
        lists: &[
            ("construction", PROSE),
            ("encrypt", Checked(mesh_smsg::encrypt)),
            ("decrypt", Checked(mesh_smsg::decrypt)),
            ("sigil", Checked(mesh_smsg::sigil)),
            ("encrypt_empty_body_error", Checked(mesh_smsg::empty_body)),
            ("encrypt_empty_password_error", Checked(mesh_smsg::empty_password)),
        ],
        differs: &[],
    },
    File {
        path: "mesh/peer.json",
        lists: &[
            ("is_peer_allowed", Checked(mesh_peer::is_peer_allowed)),
            ("names", Checked(mesh_peer::names)),
            ("persist", Checked(mesh_peer::persist)),
            ("registry_errors", Checked(mesh_peer::registry_errors)),
            ("score_sequences", Checked(mesh_peer::score_sequences)),
            ("selection", Checked(mesh_peer::selection)),
        ],
        differs: &[
            Differs {
                list: "is_peer_allowed",
                case: "is_peer_allowed[1]",
                rule: "mesh.md §8: a registered id admits nobody with another key (BYPASS)",
            },
            Differs {
                list: "score_sequences",
                case: "score_sequences[5]",
                rule: "mesh.md §7: scores are clamped to 0..100, also when a peer is added",
            },
            Differs {
                list: "selection",
                case: "stale_after_20_failures",
                rule: "mesh-weaknesses.md 41: the selection follows every change of a score",
            },
        ],
    },
    File {
        path: "formats/kdtree.json",
        lists: &[
            ("format", LABELS),
            ("set", LABELS),
            ("reference", LABELS),
            ("notes", PROSE),
            ("points", LeftOut("an input of metrics")),
            ("metrics", Checked(formats_points::metrics)),
            ("pairs", Checked(formats_points::pairs)),
            ("mutations", Checked(formats_points::mutations)),
            ("negative", Checked(formats_points::negative)),
            ("ties", Checked(formats_points::ties)),
            ("go_p2p_selection", Checked(formats_points::go_p2p_selection)),
        ],
        differs: &[
            Differs { list: "metrics", case: "cosine", rule: NO_COSINE },
            Differs { list: "metrics", case: "weighted_cosine", rule: NO_COSINE },
        ],
    },
    File {
        path: "formats/poindexter.json",
        lists: &[
            ("format", LABELS),
            ("set", LABELS),
            ("reference", LABELS),
            ("notes", PROSE),
            ("builders", Checked(formats_points::builders)),
            ("builders_negative", Checked(formats_points::builders_negative)),
            ("default_quality_weights", Checked(formats_points::default_quality_weights)),
            ("default_quality_weights_total", Checked(formats_points::default_quality_weights_total)),
            ("default_ranges", Checked(formats_points::default_ranges)),
            ("peer_quality", Checked(formats_points::peer_quality)),
            ("standard_feature_labels", Checked(formats_points::feature_labels)),
            ("standard_features", Checked(formats_points::standard_features)),
            ("trust", Checked(formats_points::trust)),
            ("distribution", NO_ANALYTICS),
            ("peer_analytics", NO_ANALYTICS),
            ("dns_record_types", NO_DNS),
            ("external_links", NO_DNS),
            ("rdap_invalid", NO_DNS),
            ("rdap_parse", NO_DNS),
        ],
        differs: &[Differs {
            list: "builders_negative",
            case: "nil_feature",
            rule: "a feature is a reference, which is never null: the case cannot be written",
        }],
    },
    File {
        path: "formats/trix.json",
        lists: &[
            ("format", LABELS),
            ("set", LABELS),
            ("reference", LABELS),
            ("notes", PROSE),
            ("aead", Checked(formats_trix::aead)),
            ("borg_trix", Checked(formats_trix::borg_trix)),
            ("chains", Checked(formats_trix::chains)),
            ("checksums", Checked(formats_trix::checksums)),
            ("containers", Checked(formats_trix::containers)),
            ("encrypted_containers", Checked(formats_trix::encrypted_containers)),
            ("negative", Checked(formats_trix::negative)),
            ("obfuscators", Checked(formats_trix::obfuscators)),
            ("sigils", Checked(formats_trix::sigils)),
        ],
        differs: &[
            Differs { list: "chains", case: "sha256 hex", rule: NO_HASHES },
            Differs { list: "sigils", case: "md4", rule: NO_HASHES },
            Differs { list: "sigils", case: "md5", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha1", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha224", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha256", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha384", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha512", rule: NO_HASHES },
            Differs { list: "sigils", case: "ripemd160", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha3-224", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha3-256", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha3-384", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha3-512", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha512-224", rule: NO_HASHES },
            Differs { list: "sigils", case: "sha512-256", rule: NO_HASHES },
            Differs { list: "sigils", case: "blake2s-256", rule: NO_HASHES },
            Differs { list: "sigils", case: "blake2b-256", rule: NO_HASHES },
            Differs { list: "sigils", case: "blake2b-384", rule: NO_HASHES },
            Differs { list: "sigils", case: "blake2b-512", rule: NO_HASHES },
        ],
    },
    File {
        path: "formats/smsg.json",
        lists: &[
            ("format", LABELS),
            ("set", LABELS),
            ("reference", LABELS),
            ("notes", PROSE),
            ("derive_key", Checked(formats_smsg::derive_key)),
            ("v1", Checked(formats_smsg::v1)),
            ("v2", Checked(formats_smsg::v2)),
            ("negative", Checked(formats_smsg::negative)),
            ("abr", LeftOut("adaptive-bitrate lists describe videos")),
            ("periods", LeftOut(NO_V3)),
            ("stream_keys", LeftOut(NO_V3)),
            ("v3", LeftOut(NO_V3)),
            ("v3_attachment_quirks", LeftOut(NO_V3)),
        ],
        differs: &[
            Differs { list: "negative", case: "lenient: chunk totals not checked", rule: NO_V3 },
            Differs { list: "negative", case: "lenient: empty inner header, no compression", rule: NO_V3 },
            Differs { list: "negative", case: "lenient: gzip named but not applied", rule: NO_V3 },
            Differs { list: "negative", case: "duplicate period: last entry wins (valid last)", rule: NO_V3 },
            Differs { list: "negative", case: "only next period present", rule: NO_V3 },
            Differs { list: "negative", case: "lenient: unknown cadence acts daily", rule: NO_V3 },
            Differs { list: "negative", case: "lenient: cadence missing", rule: NO_V3 },
            Differs { list: "negative", case: "header prefix", rule: NO_V3 },
        ],
    },
    File {
        path: "formats/stmf.json",
        lists: &[
            ("format", LABELS),
            ("set", LABELS),
            ("reference", LABELS),
            ("notes", PROSE),
            ("ecdh", Checked(formats_stmf::ecdh)),
            ("keypairs", Checked(formats_stmf::keypairs)),
            ("encrypt", Checked(formats_stmf::encrypt)),
            ("negative", Checked(formats_stmf::negative)),
        ],
        differs: &[],
    },
    File {
        path: "mesh/handshake.json",
        lists: &[
            ("accepted", Checked(mesh_handshake::accepted)),
            ("rejected_allowlist", Checked(mesh_handshake::rejected)),
            ("probes", Checked(mesh_handshake::probes)),
            ("http", LeftOut("requests to a socket: tests/sockets.rs")),
            ("probe_initiator_private", LeftOut("the Go prober's own key")),
            ("probe_other_private", LeftOut("the Go prober's own key")),
            ("probe_responder_identity", LeftOut("an input of probes")),
            ("probe_responder_private", LeftOut("an input of probes")),
        ],
        differs: &[
            Differs { list: "probes", case: "challenge of 1 byte", rule: CHALLENGE_32 },
            Differs { list: "probes", case: "challenge of 1000 bytes", rule: CHALLENGE_32 },
            Differs {
                list: "probes",
                case: "identity id does not match the public key (id spoofing)",
                rule: ID_OF_KEY,
            },
            Differs { list: "probes", case: "empty identity id", rule: ID_OF_KEY },
            // Its id is another key's, too. The name alone is a story: handshake::an_invalid_name_…
            Differs { list: "probes", case: "invalid peer name (accepted, not registered)", rule: ID_OF_KEY },
            Differs {
                list: "probes",
                case: "responder's own identity (self connection)",
                rule: "mesh.md §8: our own key is refused as a peer",
            },
        ],
    },
    File {
        path: "mesh/dedup.json",
        lists: &[("note", PROSE), ("sequences", Checked(mesh_limits::dedup))],
        differs: &[],
    },
    File {
        path: "mesh/ratelimit.json",
        lists: &[("note", PROSE), ("sequences", Checked(mesh_limits::rate))],
        differs: &[],
    },
    File {
        path: "formats/stim.json",
        lists: &[
            ("format", LABELS),
            ("set", LABELS),
            ("reference", LABELS),
            ("notes", PROSE),
            ("datanode", Checked(formats_stim::datanode)),
            ("from_tar", Checked(formats_stim::from_tar)),
            ("tim_to_tar", Checked(formats_stim::tim_to_tar)),
            ("stim", Checked(formats_stim::stim)),
            ("negative", Checked(formats_stim::negative)),
        ],
        differs: &[
            Differs { list: "datanode", case: "datanode[0]", rule: NAMES },
            Differs { list: "datanode", case: "datanode[4]", rule: NAMES },
            Differs { list: "from_tar", case: "later duplicates win", rule: ALIKE },
            Differs { list: "from_tar", case: "links and devices ignored", rule: KINDS },
            Differs { list: "from_tar", case: "rootfs//abs and dot names kept verbatim", rule: NAMES },
            Differs {
                list: "from_tar",
                case: "config under ./ not found",
                rule: "issue 3, bundles: `./x` is normalised",
            },
            Differs {
                list: "from_tar",
                case: "config.json as a directory-typed entry",
                rule: "the configuration is a file",
            },
            Differs {
                list: "from_tar",
                case: "garbage after config swallowed",
                rule: "formats-weaknesses.md 15: a tar fails on anything but a clean end",
            },
            Differs {
                list: "negative",
                case: "lenient: empty header, wrong sizes in header ignored",
                rule: "formats-weaknesses.md 5: sizes in the header are checked when they are there",
            },
            Differs { list: "negative", case: "hazard: parent-relative path accepted", rule: NAMES },
            Differs { list: "negative", case: "hazard: double slash and dot names accepted", rule: NAMES },
            Differs { list: "negative", case: "to_sigil nil config", rule: NOT_NULL },
            Differs { list: "negative", case: "to_tar nil config", rule: NOT_NULL },
            Differs { list: "negative", case: "from_datanode nil", rule: NOT_NULL },
            Differs {
                list: "negative",
                case: "cache with empty password",
                rule: "tim-stim.md §5: the cache of sealed archives is not part of RigMesh",
            },
        ],
    },
    File {
        path: "mesh/bundle.json",
        lists: &[
            ("note", PROSE),
            ("construction", PROSE),
            ("default_tim_config", Checked(mesh_bundle::default_config)),
            ("profile_encrypted", Checked(mesh_bundle::profile_encrypted)),
            ("profile_unencrypted", Checked(mesh_bundle::profile_unencrypted)),
            ("miner", Checked(mesh_bundle::miner)),
            ("extract_errors", Checked(mesh_bundle::extract_errors)),
            ("read_bundle", Checked(mesh_bundle::read)),
            ("hostile_tars", Checked(mesh_bundle::hostile)),
        ],
        differs: &[
            Differs { list: "miner", case: "no profile", rule: NO_PROFILE },
            Differs { list: "miner", case: "binary that looks like JSON", rule: NO_PROFILE },
            Differs { list: "hostile_tars", case: "a/../b (stays inside)", rule: NAMES },
            Differs { list: "hostile_tars", case: "absolute /etc/x", rule: NAMES },
            Differs { list: "hostile_tars", case: "dir traversal", rule: NAMES },
            Differs { list: "hostile_tars", case: "backslashes", rule: NAMES },
            Differs { list: "hostile_tars", case: "symlink", rule: KINDS },
            Differs { list: "hostile_tars", case: "symlink then file through it", rule: KINDS },
            Differs { list: "hostile_tars", case: "hardlink", rule: KINDS },
            Differs { list: "hostile_tars", case: "fifo", rule: KINDS },
            Differs { list: "hostile_tars", case: "char device", rule: KINDS },
            Differs { list: "hostile_tars", case: "same name twice (last wins)", rule: ALIKE },
            Differs { list: "hostile_tars", case: "file then dir of same name", rule: ALIKE },
            Differs { list: "hostile_tars", case: "empty tar", rule: NO_FILES },
            Differs { list: "hostile_tars", case: "empty data", rule: NO_FILES },
            Differs { list: "hostile_tars", case: "long name (PAX/GNU)", rule: DEEP },
        ],
    },
    File {
        path: "mesh/ueps.json",
        lists: &[
            ("note", PROSE),
            ("build", Checked(mesh_ueps::build)),
            ("build_errors", Checked(mesh_ueps::build_errors)),
            ("read", Checked(mesh_ueps::read)),
            ("dispatch", Checked(mesh_ueps::dispatch)),
            ("dispatch_registered", LeftOut("the handlers of the list dispatch, read with it")),
        ],
        differs: &[
            Differs { list: "read", case: "unknown TLV 0x10 before HMAC (signed)", rule: STRICT_UEPS },
            Differs { list: "read", case: "empty unknown TLV", rule: STRICT_UEPS },
            Differs { list: "read", case: "HMAC first, then headers", rule: STRICT_UEPS },
            Differs { list: "read", case: "two HMAC TLVs (last wins)", rule: STRICT_UEPS },
            Differs { list: "read", case: "two HMAC TLVs (last wins); leniently", rule: LENIENT_UEPS },
            Differs { list: "read", case: "headers in another order", rule: STRICT_UEPS },
            Differs { list: "read", case: "headers in another order; leniently", rule: LENIENT_UEPS },
            Differs { list: "read", case: "duplicate version TLV (last wins)", rule: STRICT_UEPS },
            Differs { list: "read", case: "duplicate version TLV (last wins); leniently", rule: LENIENT_UEPS },
            Differs { list: "read", case: "no header TLVs at all", rule: STRICT_UEPS },
            Differs { list: "read", case: "no header TLVs at all; leniently", rule: LENIENT_UEPS },
            Differs { list: "read", case: "two-byte version value (first byte used)", rule: STRICT_UEPS },
            Differs { list: "read", case: "two-byte version value (first byte used); leniently", rule: LENIENT_UEPS },
            Differs { list: "read", case: "three-byte threat (first two used)", rule: STRICT_UEPS },
            Differs { list: "read", case: "three-byte threat (first two used); leniently", rule: LENIENT_UEPS },
            Differs { list: "read", case: "FORGERY: threat TLV moved into payload, same MAC", rule: STRICT_UEPS },
            Differs {
                list: "read",
                case: "FORGERY: threat TLV moved into payload, same MAC; leniently",
                rule: LENIENT_UEPS,
            },
            Differs {
                list: "read",
                case: "FORGERY: payload prefix turned into an intent TLV, same MAC",
                rule: STRICT_UEPS,
            },
            Differs {
                list: "read",
                case: "FORGERY: payload prefix turned into an intent TLV, same MAC; leniently",
                rule: LENIENT_UEPS,
            },
        ],
    },
    // Owed as a whole.
    File {
        path: "mesh/levin.json",
        lists: &[
            ("value_format", PROSE),
            ("headers", Checked(mesh_levin::headers)),
            ("packets", Checked(mesh_levin::packets)),
            ("varints", Checked(mesh_levin::varints)),
            ("varint_decode", Checked(mesh_levin::varint_decode)),
            ("varint_overflow", Checked(mesh_levin::varint_overflow)),
            ("storage", Checked(mesh_levin::storage)),
            ("storage_decode", Checked(mesh_levin::storage_decode)),
            ("type_mismatch_error", Checked(mesh_levin::type_mismatch)),
        ],
        differs: &[
            Differs { list: "varints", case: "varints[16]", rule: VARINT_TOO_LARGE },
            Differs { list: "varints", case: "varints[17]", rule: VARINT_TOO_LARGE },
            Differs { list: "storage", case: "ERR array of int8", rule: ALL_ARRAYS },
            Differs { list: "storage", case: "ERR array of bool", rule: ALL_ARRAYS },
            Differs { list: "storage_decode", case: "array of uint16 (0x87)", rule: ALL_ARRAYS },
            Differs {
                list: "storage_decode",
                case: "trailing bytes ignored",
                rule: "levin.md: bytes behind the root are refused, but by the lenient reader",
            },
            Differs {
                list: "storage_decode",
                case: "duplicate key (last wins)",
                rule: "levin.md: a name that stands twice is refused, but by the lenient reader",
            },
        ],
    },
    File { path: "formats/*", lists: &[("*", Owed("the formats issue"))], differs: &[] },
    File {
        path: "dht/addresses.json",
        lists: &[
            ("schema", PROSE),
            ("ed25519", Checked(dht_place::ed25519)),
            ("ethereum", Checked(dht_place::ethereum)),
            ("paralism", Checked(dht_place::paralism)),
            ("parse", Checked(dht_place::parse)),
        ],
        differs: &[],
    },
    File {
        path: "dht/xor.json",
        lists: &[
            ("schema", PROSE),
            ("pairs", Checked(dht_place::xor_pairs)),
            ("nearest", Checked(dht_table::nearest)),
            ("random_in_bucket", Checked(dht_place::random_in_bucket)),
        ],
        differs: &[],
    },
    File {
        path: "dht/wireaddr.json",
        lists: &[
            ("schema", PROSE),
            ("encode", Checked(dht_place::encode_observed)),
            ("decode", Checked(dht_place::decode_observed)),
            ("is_public_ip", Checked(dht_place::is_public_ip)),
        ],
        differs: &[],
    },
    File {
        path: "dht/files.json",
        lists: &[
            ("schema", PROSE),
            ("now", LeftOut("an input of seen_peers_text")),
            ("accepted", LeftOut("an input of seen_peers_text")),
            ("seen_peers_text", Checked(dht_place::seen_peers)),
            ("peers_cache_json", Checked(dht_place::peers_cache)),
        ],
        differs: &[],
    },
    File {
        path: "dht/messages.json",
        lists: &[("schema", PROSE), ("messages", Checked(dht_message::messages))],
        differs: &[],
    },
    File {
        path: "dht/messages_negative.json",
        lists: &[("schema", PROSE), ("cases", Checked(dht_message::negative))],
        differs: &[
            Differs {
                list: "cases",
                case: "FIND_NODE body with an unknown key, signature over the bytes as sent",
                rule: AS_RECEIVED,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE body with an unknown key, signature over the bytes as sent; by default",
                rule: AS_RECEIVED,
            },
            Differs {
                list: "cases",
                case: "FIND_VALUE with later-version key 3=true (one-shot subscribe), signed as sent",
                rule: AS_RECEIVED,
            },
            Differs {
                list: "cases",
                case: "FIND_VALUE with later-version key 3=true (one-shot subscribe), signed as sent; by default",
                rule: AS_RECEIVED,
            },
            Differs { list: "cases", case: "FIND_VALUE with explicit rec_type 0, signed as sent", rule: AS_RECEIVED },
            Differs {
                list: "cases",
                case: "FIND_VALUE with explicit rec_type 0, signed as sent; by default",
                rule: AS_RECEIVED,
            },
            Differs {
                list: "cases",
                case: "STORE_RESP with later-version key 2 (already_had), signed as sent",
                rule: AS_RECEIVED,
            },
            Differs {
                list: "cases",
                case: "STORE_RESP with later-version key 2 (already_had), signed as sent; by default",
                rule: AS_RECEIVED,
            },
            Differs { list: "cases", case: "STORE_RESP empty map, signed as sent", rule: AS_RECEIVED },
            Differs { list: "cases", case: "STORE_RESP empty map, signed as sent; by default", rule: AS_RECEIVED },
            Differs { list: "cases", case: "header with an unknown key 5, signed as sent", rule: AS_RECEIVED },
            Differs {
                list: "cases",
                case: "header with an unknown key 5, signed as sent; by default",
                rule: AS_RECEIVED,
            },
            Differs { list: "cases", case: "STORE with explicit empty key, signed as sent", rule: AS_RECEIVED },
            Differs {
                list: "cases",
                case: "STORE with explicit empty key, signed as sent; by default",
                rule: AS_RECEIVED,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE body as indefinite-length map, signature over canonical form",
                rule: DETERMINISTIC,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE body as indefinite-length map, signature over canonical form; by default",
                rule: DETERMINISTIC,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE target as chunked byte string, signature over canonical form",
                rule: DETERMINISTIC,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE target as chunked byte string, signature over canonical form; by default",
                rule: DETERMINISTIC,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE duplicate key 1, signature over the first value",
                rule: DETERMINISTIC,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE duplicate key 1, signature over the first value; by default",
                rule: DETERMINISTIC,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE target wrapped in CBOR tag 2, signature over untagged form",
                rule: DETERMINISTIC,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE target wrapped in CBOR tag 2, signature over untagged form; by default",
                rule: DETERMINISTIC,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE target as an array of 32 integers, signature over byte-string form",
                rule: DETERMINISTIC,
            },
            Differs {
                list: "cases",
                case: "FIND_NODE target as an array of 32 integers, signature over byte-string form; by default",
                rule: DETERMINISTIC,
            },
            Differs { list: "cases", case: "FIND_NODE with text key \"1\"", rule: DETERMINISTIC },
            Differs { list: "cases", case: "FIND_NODE with text key \"1\"; by default", rule: DETERMINISTIC },
            Differs { list: "cases", case: "outer indefinite-length map", rule: DETERMINISTIC },
            Differs { list: "cases", case: "outer indefinite-length map; by default", rule: DETERMINISTIC },
            Differs { list: "cases", case: "outer wrapped in tag 55799", rule: DETERMINISTIC },
            Differs { list: "cases", case: "outer wrapped in tag 55799; by default", rule: DETERMINISTIC },
            Differs {
                list: "cases",
                case: "small-order public key (identity point), R=identity, S=0: accepted by the reference (cofactorless RFC 8032 without small-order rejection); by default",
                rule: NO_WEAK_KEYS,
            },
        ],
    },
    File {
        path: "dht/records.json",
        lists: &[("schema", PROSE), ("records", Checked(dht_record::records))],
        differs: &[
            Differs { list: "records", case: "at -60 s; by default", rule: AHEAD_60 },
            Differs { list: "records", case: "at -1 s; by default", rule: AHEAD_60 },
        ],
    },
    File {
        path: "dht/records_negative.json",
        lists: &[("schema", PROSE), ("cases", Checked(dht_record::negative))],
        differs: &[
            Differs { list: "cases", case: "endpoint payload duplicate keys", rule: DETERMINISTIC },
            Differs { list: "cases", case: "endpoint payload duplicate keys; by default", rule: DETERMINISTIC },
        ],
    },
    File {
        path: "dht/record_order.json",
        lists: &[("schema", PROSE), ("pairs", Checked(dht_record::order)), ("merges", Checked(dht_record::merges))],
        differs: &[],
    },
    File {
        path: "dht/delegation.json",
        lists: &[
            ("schema", PROSE),
            ("proofs", Checked(dht_record::proofs)),
            ("record_auth", Checked(dht_record::record_auth)),
        ],
        differs: &[
            Differs { list: "proofs", case: "ed25519 at 1000 s; by default", rule: GRACE_60 },
            Differs { list: "proofs", case: "ed25519 at 1059 s; by default", rule: GRACE_60 },
            Differs { list: "proofs", case: "ethereum at 1000 s; by default", rule: GRACE_60 },
            Differs { list: "proofs", case: "paralism compressed at 1000 s; by default", rule: GRACE_60 },
            Differs { list: "record_auth", case: "delegated, expired exactly now; by default", rule: GRACE_60 },
        ],
    },
    File {
        path: "dht/topics.json",
        lists: &[
            ("schema", PROSE),
            ("keys", Checked(dht_record::topic_keys)),
            ("payloads", Checked(dht_record::topic_payloads)),
            ("filter_entries", LeftOut("an input of filters")),
            ("filters", Checked(dht_record::filters)),
        ],
        differs: &[],
    },
    File {
        path: "dht/mailbox.json",
        lists: &[
            ("schema", PROSE),
            ("cases", Checked(dht_message::mail)),
            ("open_verdicts", Checked(dht_message::open_verdicts)),
            ("max_size", Checked(dht_message::max_size)),
        ],
        differs: &[],
    },
];

#[test]
fn every_vector_is_decided_and_every_decision_holds() {
    let report = support::run(&TABLE.iter().chain(dht_machine::ROWS).collect::<Vec<_>>());
    println!("{} cases run", report.cases);
    assert!(report.faults.is_empty(), "{} faults\n{}", report.faults.len(), report.faults.join("\n"));
    assert!(report.cases > 0);
}
