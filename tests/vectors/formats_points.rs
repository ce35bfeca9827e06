//! formats/kdtree.json and formats/poindexter.json: points, distances, builders, quality, trust, features.

use crate::support::{Outcome, Run, all, same, text};
use rigmesh::base::{Now, Time, Timestamp};
use rigmesh::peers::{
    AxisRange, FEATURE_LABELS, FEATURE_RANGES, Feature, Metric, Peer, PeerRegistry, Point, PointTree, QualityMetrics,
    QualityWeights, StandardFeatures, TrustMetrics, axis_ranges, build_coords, normalize_features, quality_score,
    trust_score, weight_features,
};
use serde_json::Value;

const NOW: Now = Now { mono: Time::ZERO, wall: Timestamp::ZERO };

/// A number; the ones JSON does not have are texts.
fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("+Inf") => f64::INFINITY,
        Some("-Inf") => f64::NEG_INFINITY,
        _ => value.as_f64().unwrap_or_else(|| panic!("no number: {value}")),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// The same up to a relative tolerance.
fn close_by(what: &str, ours: f64, theirs: f64, tolerance: f64) -> Outcome {
    let equal = ours == theirs || (ours.is_nan() && theirs.is_nan());
    if equal || (ours - theirs).abs() <= tolerance * theirs.abs().max(1.0) {
        return Outcome::Same;
    }
    Outcome::Wrong(format!("{what}: {ours} instead of {theirs}"))
}

fn close(what: &str, ours: f64, theirs: &Value) -> Outcome {
    close_by(what, ours, number(theirs), 1e-12)
}

fn close_all(what: &str, ours: &[f64], theirs: &Value) -> Outcome {
    let theirs = numbers(theirs);
    let each = ours.iter().zip(&theirs).map(|(a, b)| close_by(what, *a, *b, 1e-12)).collect::<Vec<_>>();
    all([same(what, ours.len(), theirs.len())].into_iter().chain(each))
}

/// Answers `[id, distance]` in order.
fn answers(what: &str, ours: &[(&Point, f64)], theirs: &Value) -> Outcome {
    let theirs = theirs.as_array().unwrap();
    let each = ours.iter().zip(theirs).map(|((point, distance), want)| {
        all([same(what, point.id.as_str(), want[0].as_str().unwrap()), close(what, *distance, &want[1])])
    });
    all([same(what, ours.len(), theirs.len())].into_iter().chain(each.collect::<Vec<_>>()))
}

fn points(value: &Value) -> Vec<Point> {
    let point = |p: &Value| Point::new(p[0].as_str().unwrap(), numbers(&p[1]));
    value.as_array().unwrap().iter().map(point).collect()
}

pub(crate) fn metrics(run: &mut Run<'_>) {
    let root = run.root;
    for case in run.value().as_array().unwrap() {
        let name = text(case, "metric");
        run.case(name, || {
            let metric = match name {
                "euclidean" => Metric::Euclidean,
                "manhattan" => Metric::Manhattan,
                "chebyshev" => Metric::Chebyshev,
                _ => return Outcome::Other("there is no such metric here".to_owned()),
            };
            let tree = PointTree::build(points(&root["points"]), metric).unwrap();
            let mut outcomes = Vec::new();
            for query in case["queries"].as_array().unwrap() {
                let q = numbers(&query["query"]);
                let nearest: Vec<_> = tree.nearest(&q).into_iter().collect();
                outcomes.extend([
                    answers("nearest", &nearest, &Value::from(vec![query["nearest"].clone()])),
                    same("found", !nearest.is_empty(), query["nearest_ok"].as_bool().unwrap()),
                    answers("5 nearest", &tree.k_nearest(&q, 5), &query["k5"]),
                    answers("23 nearest", &tree.k_nearest(&q, 23), &query["k23"]),
                    answers("within", &tree.radius(&q, number(&query["radius"])), &query["within"]),
                ]);
            }
            let (odd, q) = (&case["degenerate"], vec![0.0; tree.dim()]);
            let length = |ours: usize, key: &str| same(key, ours as u64, odd[key].as_u64().unwrap());
            outcomes.extend([
                length(tree.k_nearest(&q, 0).len(), "k0_len"),
                length(tree.k_nearest(&q, 500).len(), "k500_len"),
                length(tree.radius(&q, -1.0).len(), "negative_radius_len"),
                length(tree.k_nearest(&q[1..], 5).len(), "wrong_dim_k_len"),
                same(
                    "wrong dimension",
                    tree.nearest(&q[1..]).is_some(),
                    odd["wrong_dim_nearest_ok"].as_bool().unwrap(),
                ),
            ]);
            all(outcomes)
        });
    }
}

pub(crate) fn pairs(run: &mut Run<'_>) {
    run.each(|case| {
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        all([
            close("euclidean", Metric::Euclidean.distance(&a, &b), &case["euclidean"]),
            close("manhattan", Metric::Manhattan.distance(&a, &b), &case["manhattan"]),
            close("chebyshev", Metric::Chebyshev.distance(&a, &b), &case["chebyshev"]),
        ])
    });
}

pub(crate) fn mutations(run: &mut Run<'_>) {
    let list = run.value();
    let dim = list["dim"].as_u64().unwrap() as usize;
    let mut tree = PointTree::empty(dim, Metric::Euclidean).unwrap();
    let (mut inserted, mut deleted) = (0, 0);
    for (i, step) in list["steps"].as_array().unwrap().iter().enumerate() {
        run.case(&format!("step {i}"), || {
            let id = text(step, "id");
            let done = match text(step, "op") {
                "insert" => tree.insert(Point::new(id, numbers(&step["coords"]))),
                "delete" => tree.delete(id),
                other => panic!("unknown step {other}"),
            };
            *(if text(step, "op") == "insert" { &mut inserted } else { &mut deleted }) += u64::from(done);
            let order: Vec<Value> = tree.points().iter().map(|p| p.id.clone().into()).collect();
            let want = step["order_after"].as_array().unwrap_or(&order).clone();
            all([
                same("result", done, step["result"].as_bool().unwrap()),
                same("points", tree.len() as u64, step["len"].as_u64().unwrap()),
                same("order", order, want),
            ])
        });
    }
    run.case("counts", || {
        all([
            same("inserted", inserted, list["insert_count"].as_u64().unwrap()),
            same("deleted", deleted, list["delete_count"].as_u64().unwrap()),
        ])
    });
}

pub(crate) fn negative(run: &mut Run<'_>) {
    let list = run.value();
    let build = |points: &[(&str, &[f64])]| {
        let points = points.iter().map(|(id, coords)| Point::new(*id, *coords)).collect();
        PointTree::build(points, Metric::Euclidean)
    };
    let error = |ours: rigmesh::base::Result<PointTree>, key: &str| {
        same(key, ours.err().map(|e| e.to_string()).as_deref(), list[key].as_str())
    };
    run.case("no_points", || error(build(&[]), "no_points"));
    run.case("zero_dim_point", || error(build(&[("a", &[])]), "zero_dim_point"));
    run.case("mixed_dims", || error(build(&[("a", &[1.0]), ("b", &[1.0, 2.0])]), "mixed_dims"));
    run.case("duplicate_id", || error(build(&[("a", &[1.0]), ("a", &[2.0])]), "duplicate_id"));
    run.case("from_dim_0", || error(PointTree::empty(0, Metric::Euclidean), "from_dim_0"));
    let flag = |key: &str| list[key].as_bool().unwrap();
    run.case("two_empty_ids_ok", || {
        same("accepted", build(&[("", &[1.0]), ("", &[2.0])]).is_ok(), flag("two_empty_ids_ok"))
    });
    run.case("nan_point_nearest_ok", || {
        same("found", build(&[("a", &[f64::NAN])]).unwrap().nearest(&[0.0]).is_some(), flag("nan_point_nearest_ok"))
    });
    run.case("inf_point", || {
        let tree = build(&[("a", &[f64::INFINITY])]).unwrap();
        let found = tree.k_nearest(&[0.0], 1);
        all([
            same("found", tree.nearest(&[0.0]).is_some(), flag("inf_point_nearest_ok")),
            same("length", found.len() as u64, list["inf_point_knearest_len"].as_u64().unwrap()),
            close("distance", found[0].1, &list["inf_point_knearest_distance"]),
        ])
    });
}

pub(crate) fn ties(run: &mut Run<'_>) {
    let list = run.value();
    run.case("ten points at one place", || {
        let points = (0..10).map(|i| Point::new(i.to_string(), [1.0])).collect();
        let tree = PointTree::build(points, Metric::Euclidean).unwrap();
        let (point, distance) = tree.nearest(&[0.0]).unwrap();
        all([
            same("first", point.id.as_str(), text(list, "nearest_linear_backend")),
            close("distance", distance, &list["distance"]),
        ])
    });
}

pub(crate) fn go_p2p_selection(run: &mut Run<'_>) {
    let list = run.value();
    let peers = list["peers"].as_array().unwrap();
    run.case("points", || {
        let points = peers.iter().map(|p| Point::new(text(p, "id"), numbers(&p["coords"]))).collect();
        let tree = PointTree::build(points, Metric::Euclidean).unwrap();
        answers("order", &tree.k_nearest(&[0.0; 4], peers.len()), &list["order"])
    });
    run.case("registry", || {
        let mut registry = PeerRegistry::new();
        for peer in peers {
            let id = text(peer, "id").to_owned();
            let (ping_ms, geo_km) = (number(&peer["pingMs"]), number(&peer["geoKm"]));
            let (hops, score) = (peer["hops"].as_i64().unwrap(), number(&peer["score"]));
            registry.add_peer(NOW, Peer { id: id.clone(), ping_ms, hops, geo_km, score, ..Peer::default() }).unwrap();
            registry.set_connected(NOW, &id, true);
        }
        let ours: Vec<_> = registry.select_nearest_peers(peers.len()).iter().map(|p| p.id.as_str()).collect();
        let theirs = list["order"].as_array().unwrap().iter().map(|o| o[0].as_str().unwrap()).collect();
        same("order", ours, theirs)
    });
}

fn ranges(value: &Value, key: &str) -> Vec<AxisRange> {
    let range = |r: &Value| AxisRange::new(number(&r["Min"]), number(&r["Max"]));
    value[key].as_array().unwrap().iter().map(range).collect()
}

/// One column of items that are rows of numbers.
fn column(axis: usize) -> impl Fn(&Vec<f64>) -> f64 {
    move |row| row[axis]
}

pub(crate) fn builders(run: &mut Run<'_>) {
    run.each(|case| {
        let dim = case["dim"].as_u64().unwrap() as usize;
        let rows: Vec<Vec<f64>> = case["raw"].as_array().unwrap().iter().map(numbers).collect();
        let columns: Vec<_> = (0..dim).map(column).collect();
        let features: Vec<Feature<'_, Vec<f64>>> = columns.iter().map(|c| c as Feature<'_, Vec<f64>>).collect();
        let weights = numbers(&case["weights"]);
        let invert: Vec<bool> = case["invert"].as_array().unwrap().iter().map(|b| b.as_bool().unwrap()).collect();
        let build = |given: Option<&[AxisRange]>| build_coords(&rows, &features, &weights, &invert, given);
        let rows_close = |what: &str, ours: &[Vec<f64>], theirs: &Value| {
            all(ours.iter().zip(theirs.as_array().unwrap()).map(|(a, b)| close_all(what, a, b)).collect::<Vec<_>>())
        };
        let given = ranges(&case["given_stats"], "Stats");
        let (own, with) = (build(None).unwrap(), build(Some(&given)).unwrap());
        let wrong = build(Some(&given[1..])).unwrap_err().to_string();
        all([
            same("ranges", axis_ranges(&rows, &features), ranges(&case["computed_stats"], "Stats")),
            same("points", own.len(), rows.len()),
            rows_close("coords", &own, &case["coords"]),
            rows_close("coords_nd", &own, &case["coords_nd"]),
            rows_close("coords_with_stats", &with, &case["coords_with_stats"]),
            same("ranges of another number", wrong.as_str(), text(case, "wrong_stats_error")),
        ])
    });
}

pub(crate) fn builders_negative(run: &mut Run<'_>) {
    let list = run.value();
    let value = |n: &f64| *n;
    let one: &[Feature<'_, f64>] = &[&value];
    let build = |items: &[f64], features: &[Feature<'_, f64>], weights: &[f64], invert: &[bool]| {
        build_coords(items, features, weights, invert, None)
    };
    let error = |key: &str, ours: rigmesh::base::Result<Vec<Vec<f64>>>| {
        same(key, ours.err().map(|e| e.to_string()).as_deref(), list[key].as_str())
    };
    run.case("no_features", || error("no_features", build(&[1.0], &[], &[], &[])));
    run.case("weights_len", || error("weights_len", build(&[1.0], one, &[], &[false])));
    run.case("invert_len", || error("invert_len", build(&[1.0], one, &[1.0], &[])));
    run.case("no_items_error", || error("no_items_error", build(&[], one, &[1.0], &[false])));
    run.case("single_item", || {
        let built = build(&[7.0], one, &[2.0], &[true]);
        let coords = built.clone().unwrap();
        all([error("single_item_error", built), close_all("coord", &coords[0], &list["single_item_inverted_coord"])])
    });
    run.case("nil_feature", || Outcome::Other("a feature is a reference, which is never null".to_owned()));
}

pub(crate) fn default_quality_weights(run: &mut Run<'_>) {
    let list = run.value();
    run.case("weights", || {
        same("weights", serde_json::from_value::<QualityWeights>(list.clone()).unwrap(), QualityWeights::default())
    });
}

pub(crate) fn default_quality_weights_total(run: &mut Run<'_>) {
    let list = run.value();
    run.case("total", || close("total", QualityWeights::default().total(), list));
}

pub(crate) fn default_ranges(run: &mut Run<'_>) {
    let list = run.value();
    run.case("ranges", || same("ranges", FEATURE_RANGES.to_vec(), ranges(list, "ranges")));
}

pub(crate) fn peer_quality(run: &mut Run<'_>) {
    run.each(|case| {
        let metrics: QualityMetrics = serde_json::from_value(case["metrics"].clone()).unwrap();
        let weights: QualityWeights = serde_json::from_value(case["weights"].clone()).unwrap();
        let default = quality_score(&metrics, &QualityWeights::default());
        all([
            close("default weights", default, &case["default_weights_score"]),
            close("own weights", quality_score(&metrics, &weights), &case["custom_weights_score"]),
        ])
    });
}

pub(crate) fn feature_labels(run: &mut Run<'_>) {
    let list = run.value();
    run.case("labels", || same("labels", serde_json::json!(FEATURE_LABELS), list.clone()));
}

pub(crate) fn standard_features(run: &mut Run<'_>) {
    run.each(|case| {
        let features: StandardFeatures = serde_json::from_value(case["features"].clone()).unwrap();
        let slice = features.to_array();
        let normalized = normalize_features(&slice, &FEATURE_RANGES);
        let extra = numbers(&case["slice_with_extra"]);
        all([
            close_all("slice", &slice, &case["slice"]),
            close_all("with an extra axis", &extra[..slice.len()], &case["slice"]),
            close_all("normalized", &normalized, &case["normalized"]),
            close_all(
                "normalized, extra axis",
                &normalize_features(&extra, &FEATURE_RANGES),
                &case["normalized_extra"],
            ),
            close_all("weighted", &weight_features(&normalized, &numbers(&case["weights"])), &case["weighted"]),
        ])
    });
}

pub(crate) fn trust(run: &mut Run<'_>) {
    run.each(|case| {
        let mut metrics: TrustMetrics = serde_json::from_value(case["metrics"].clone()).unwrap();
        metrics.hours_since_last_success = case["hours_since_last_success"].as_f64();
        let tolerance = if case["time_dependent"].as_bool() == Some(true) { 1e-6 } else { 1e-12 };
        close_by("trust", trust_score(&metrics), number(&case["score"]), tolerance)
    });
}
