//! mesh/peer.json: names, scores, files, allowlist, selection.

use crate::support::{Outcome, Run, all, same, text, verdict};
use rigmesh::base::{Now, Time, Timestamp, base64_decode_strict, base64_encode};
use rigmesh::peers::{
    Peer, PeerAuthMode, PeerRegistry, RegistryTexts, SCORE_MAXIMUM, SCORE_MINIMUM, decode_peers, encode_peers,
};
use serde_json::Value;

const NOW: Now = Now { mono: Time::ZERO, wall: Timestamp::ZERO };

fn named(id: &str) -> Peer {
    Peer { id: id.to_owned(), ..Peer::default() }
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number {key}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

/// The registry that the original had made its files from, with every key text passed through `key`.
fn persisted(root: &Value, key: impl Fn(&str) -> String) -> PeerRegistry {
    let persist = &root["persist"];
    let mut registry = PeerRegistry::with_mode(PeerAuthMode::Allowlist);
    for mut peer in decode_peers(persist["peers"].to_string().as_bytes()).unwrap() {
        peer.public_key = key(&peer.public_key);
        registry.add_peer(NOW, peer).unwrap();
    }
    for text in texts(&persist["allowed_keys"]) {
        registry.allow_public_key(NOW, &key(text)).unwrap();
    }
    registry.revoke_public_key(NOW, &key(text(persist, "revoked"))).unwrap();
    registry
}

/// The recorded keys are 32 random bytes, half of them not canonical and so nobody's key here
/// (mesh.md §8). Without the top bit they can be.
fn canonical(key: &str) -> String {
    match base64_decode_strict("key", key) {
        Ok(mut bytes) if bytes.len() == 32 => {
            bytes[31] &= 0x7f;
            base64_encode(&bytes)
        }
        _ => key.to_owned(),
    }
}

pub(crate) fn is_peer_allowed(run: &mut Run<'_>) {
    let registry = persisted(run.root, canonical);
    run.each(|case| {
        let ours = registry.is_peer_allowed(text(case, "peer_id"), &canonical(text(case, "public_key")));
        verdict(case["allowed"].as_bool().unwrap(), ours.then_some(()).ok_or("refused"), |()| Outcome::Same)
    });
}

pub(crate) fn names(run: &mut Run<'_>) {
    run.each(|case| {
        let peer = Peer { name: text(case, "name").to_owned(), ..named("p") };
        let ours = PeerRegistry::new().add_peer(NOW, peer);
        verdict(case["ok"].as_bool().unwrap(), ours, |()| Outcome::Same)
    });
}

pub(crate) fn persist(run: &mut Run<'_>) {
    let (root, persist) = (run.root, run.value());
    let written = text(persist, "peers_json_text");
    run.case("peers_json_text", || {
        let read = decode_peers(written.as_bytes()).unwrap();
        let stated = decode_peers(persist["peers"].to_string().as_bytes()).unwrap();
        all([
            same("as stated", encode_peers(stated.iter()).unwrap().as_str(), written),
            same("read and written again", encode_peers(read.iter()).unwrap().as_str(), written),
        ])
    });
    run.case("allowlist_json_text", || {
        let registry = persisted(root, str::to_owned);
        same("allowlist", registry.access().allowlist_text().unwrap().as_str(), text(persist, "allowlist_json_text"))
    });
    run.case("empty files", || {
        all([
            same("peers", encode_peers([].iter()).unwrap().as_str(), text(persist, "empty_peers_text")),
            same(
                "allowlist",
                PeerRegistry::new().access().allowlist_text().unwrap().as_str(),
                text(persist, "empty_allowlist_text"),
            ),
        ])
    });
    run.case("reloaded_count", || {
        let texts = RegistryTexts {
            peers: Some(written.as_bytes()),
            allowlist: Some(text(persist, "allowlist_json_text").as_bytes()),
            ..RegistryTexts::default()
        };
        let (mut registry, _) = PeerRegistry::load(PeerAuthMode::Allowlist, texts).unwrap();
        let count = persist["reloaded_count"].as_u64().unwrap();
        registry.mark_dirty();
        let mut sorted = decode_peers(written.as_bytes()).unwrap();
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        all([
            same("count", registry.count() as u64, count),
            same(
                "written again, by id",
                registry.take_dirty().unwrap().unwrap().peers,
                encode_peers(sorted.iter()).unwrap(),
            ),
        ])
    });
}

pub(crate) fn registry_errors(run: &mut Run<'_>) {
    for name in run.value().as_object().unwrap().keys() {
        run.case(name, || {
            let mut registry = PeerRegistry::new();
            registry.add_peer(NOW, named("p0")).unwrap();
            let ours = match name.as_str() {
                "add_duplicate" => registry.add_peer(NOW, named("p0")),
                "add_empty_id" => registry.add_peer(NOW, named("")),
                "metrics_missing" => registry.update_metrics(NOW, "zz", 1.0, 1.0, 1),
                "remove_missing" => registry.remove_peer("zz").map(|_| ()),
                "score_missing" => registry.update_score("zz", 1.0),
                "update_missing" => registry.update_peer(named("zz")),
                other => panic!("unknown error case {other}"),
            };
            verdict(false, ours, |()| Outcome::Same)
        });
    }
}

pub(crate) fn score_sequences(run: &mut Run<'_>) {
    run.each(|case| {
        let (given, theirs) = (number(case, "initial_passed_to_AddPeer"), number(case, "initial_effective"));
        let mut registry = PeerRegistry::new();
        registry.add_peer(NOW, Peer { score: given, ..named("p") }).unwrap();
        let ours = registry.peer("p").unwrap().score;
        let clamped = theirs.clamp(SCORE_MINIMUM, SCORE_MAXIMUM);
        // Where the original starts above the scale, both agree again once a score is set.
        let mut agree = ours == theirs;
        let differs = !agree;
        let mut outcomes = vec![same("initial", ours, clamped)];
        for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            match text(step, "op") {
                "success" => registry.record_success(NOW, "p"),
                "failure" => registry.record_failure("p"),
                "timeout" => registry.record_timeout("p"),
                "set" => {
                    agree = true;
                    registry.update_score("p", number(step, "arg")).ok().map(|()| 0.0)
                }
                other => panic!("unknown step {other}"),
            };
            if agree {
                outcomes.push(same(&format!("step {i}"), registry.peer("p").unwrap().score, number(step, "score")));
            }
        }
        match all(outcomes) {
            Outcome::Same if differs => Outcome::Other(format!("starts at {ours} instead of {theirs}")),
            outcome => outcome,
        }
    });
}

pub(crate) fn selection(run: &mut Run<'_>) {
    let list = run.value();
    let stated = list["peers"].as_array().unwrap();
    let mut registry = PeerRegistry::new();
    for peer in stated {
        let id = text(peer, "id");
        let (ping_ms, geo_km, score) = (number(peer, "pingMs"), number(peer, "geoKm"), number(peer, "score"));
        let hops = peer["hops"].as_i64().unwrap();
        registry.add_peer(NOW, Peer { ping_ms, hops, geo_km, score, ..named(id) }).unwrap();
        // 0 hops is direct once a peer was connected, which is what the recording means by it.
        registry.set_connected(NOW, id, true);
    }
    let nearest = |registry: &PeerRegistry, n| -> Vec<String> {
        registry.select_nearest_peers(n).iter().map(|p| p.id.clone()).collect()
    };
    let best = |registry: &PeerRegistry| registry.select_optimal_peer().unwrap().id.clone();
    run.case("optimal", || same("best", best(&registry).as_str(), text(list, "optimal")));
    run.case("nearest_10", || same("ids", nearest(&registry, 10), as_strings(&list["nearest_10"])));
    run.case("all_ordered", || same("ids", nearest(&registry, stated.len() + 9), as_strings(&list["all_ordered"])));
    run.case("nearest_0_len", || {
        same("length", nearest(&registry, 0).len() as u64, list["nearest_0_len"].as_u64().unwrap())
    });
    run.case("by_score_20", || {
        // The original leaves the order of equal scores open.
        let score = |id: &str| registry.peer(id).unwrap().score;
        let theirs: Vec<f64> = texts(&list["by_score_20"]).into_iter().map(score).collect();
        same("scores", registry.peers_by_score().iter().take(20).map(|p| p.score).collect::<Vec<_>>(), theirs)
    });
    let loser = text(list, "optimal");
    for _ in 0..20 {
        registry.record_failure(loser);
    }
    let after = best(&registry);
    run.case("stale_after_20_failures", || match after == text(list, "stale_after_20_failures") {
        true => Outcome::Same,
        false => Outcome::Other("the score has moved, and the selection with it".to_owned()),
    });
    run.case("after_metrics_update", || same("best", after.as_str(), text(list, "after_metrics_update")));
}

fn as_strings(list: &Value) -> Vec<String> {
    texts(list).into_iter().map(str::to_owned).collect()
}
