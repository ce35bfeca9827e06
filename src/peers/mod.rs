//! Step 5: the registry of peers: scores, selection, allowlist, permissions.

mod axes;
mod features;
mod measure;
mod points;
mod quality;

pub use axes::{AxisRange, Feature, axis_ranges, build_coords};
pub use features::{FEATURE_LABELS, FEATURE_RANGES, StandardFeatures, normalize_features, weight_features};
pub use measure::{MEASURE_ROUND_TRIPS, Measurement, PING_SAMPLES, Samples, compute_score, geo_km_between, measure};
pub use points::{Metric, Point, PointTree};
pub use quality::{QualityMetrics, QualityWeights, TrustMetrics, nat_score, quality_score, trust_score};
