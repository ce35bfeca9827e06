//! Step 5: the registry of peers: scores, selection, allowlist, permissions, lives (mesh.md §7, §8;
//! selection.md; secure-session.md §5).
//!
//! [`PeerRegistry`] is a plain value without lock, file or clock. Beside it stand the tools it is
//! made of: [`PointTree`], the quality, trust and feature formulas, and [`measure()`]. Left out of
//! selection.md: cosine metrics, analytics, DNS, RDAP and link tools.

mod access;
mod audit;
mod audit_check;
mod axes;
mod export;
mod features;
mod lifecycle;
mod manage;
mod measure;
mod pairing;
mod peer;
mod pins;
mod pointer;
mod points;
mod proven;
mod quality;
mod registry;
mod rotation;
mod selection;
mod texts;

pub use access::{Access, Admission, Grants, KeyAccess, PeerAuthMode, Permission};
pub use audit::{
    AUDIT_FILE_BYTES_MAX, AUDIT_FILES_MAX, AUDIT_HEAD_AGE, AUDIT_HEAD_LINES, AUDIT_LINE_BYTES_MAX, AUDIT_N_MAX,
    AUDIT_REASON_BYTES_MAX, AuditBegin, AuditChain, AuditEntry, AuditHash, AuditKind, AuditLine, AuditMark,
};
pub use audit_check::{
    AUDIT_FAULTS_MAX, AUDIT_NOTES_MAX, AuditCheck, AuditCompared, AuditFault, AuditNote, AuditNotes, AuditReport,
    AuditTorn,
};
pub use axes::{AxisRange, Feature, axis_ranges, build_coords};
pub use export::{
    EXPORT_BYTES_MAX, ExportedAccess, MergeOutcome, Merged, RegistryExport, open_registry, seal_registry,
};
pub use features::{FEATURE_LABELS, FEATURE_RANGES, StandardFeatures, normalize_features, weight_features};
pub use lifecycle::{Lifecycle, LifecycleConfig, LifecycleOutput, Stage};
pub use manage::{AccessChange, Gift};
pub use measure::{MEASURE_ROUND_TRIPS, Measurement, PING_SAMPLES, Samples, compute_score, geo_km_between, measure};
pub use pairing::{
    CodeKind, ENROL_DAYS_MAX, ENROL_USES_MAX, Enrolled, Enrolment, PAIR_ADDRESSES_MAX, PAIR_WRONG_MAX, PairCode,
    PairDesk, PairLink, PairState,
};
pub use peer::{
    ADDRESS_ID_PREFIX, Origin, PEER_TEXT_MAX, Peer, PeerExtra, SCORE_DEFAULT, SCORE_MAXIMUM, SCORE_MINIMUM,
};
pub use pins::Pinned;
pub use pointer::{
    POINTER_ADDRESSES_MAX, POINTER_BYTES_MAX, PointerExpected, PointerRecord, new_pointer, resolve as resolve_pointer,
};
pub use points::{Metric, Point, PointTree};
pub use proven::{Expected, ID_PREFIX_MIN};
pub use quality::{QualityMetrics, QualityWeights, TrustMetrics, nat_score, quality_score, trust_score};
pub use registry::{
    PEERS_MAX, PeerRegistry, PeerSnapshot, SCORE_FAILURE_DECREMENT, SCORE_SUCCESS_INCREMENT, SCORE_TIMEOUT_DECREMENT,
};
pub use rotation::{NamedSuccessor, ROTATION_DELAY, Succession};
pub use texts::{RegistryFiles, RegistryTexts, decode_peers, encode_peers};
