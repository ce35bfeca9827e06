//! mesh/handshake.json: the recorded transcripts through our machines in both roles, and the
//! probes' verdicts. A probe in prose is a story to re-tell: the table says which.

use crate::support::{Outcome, Run, all, array, bytes, same, text};
use rigmesh::base::{Now, Refusal, Rng, Time, Timestamp};
use rigmesh::formats::smsg::{LinkKey, open_link, seal_v1};
use rigmesh::identity::{Identity, NodeIdentity, PublicKey, SecretKey, SignKey, verify_challenge};
use rigmesh::message::{Handshake, HandshakeAck, Message};
use rigmesh::session::{Challenges, Expect, Initiator, Known, LinkKeys, Responded, Security, respond};
use serde_json::Value;

fn now() -> Now {
    Now { mono: Time::ZERO, wall: Timestamp::from_unix(1_795_227_353, 0) }
}

fn identity(private: [u8; 32], info: &Value) -> Identity {
    let info: NodeIdentity = serde_json::from_value(info.clone()).unwrap();
    Identity::from_parts(SecretKey::from_bytes(private), SignKey::from_seed(&[1; 32]), info).unwrap()
}

fn answer(local: &Identity, first: &[u8], admit: bool) -> Responded {
    let admit = |_: &PublicKey, _| if admit { Ok(Known::default()) } else { Err(Refusal::NotAllowed) };
    respond(local, &Security::Off, first, admit, now(), &mut Rng::from_number(1), &mut Challenges::new())
}

fn frame(key: &LinkKey, recorded: &Value, timestamp: Option<i64>) -> Outcome {
    let (sealed, mut body) = (bytes(recorded, "frame"), Vec::new());
    if let Err(e) = open_link(key, &mut sealed.clone(), &mut body) {
        return Outcome::Wrong(e.to_string());
    }
    let message = Message::decode(&body).unwrap();
    let mut again = Vec::new();
    let nonce = sealed[57..81].try_into().unwrap();
    let resealed = timestamp.map(|t| seal_v1(key, nonce, t, &message.encode(), &mut again));
    all([
        same("body", std::str::from_utf8(&body).unwrap(), text(recorded, "body")),
        same("encoded again", message.encode().as_str(), text(recorded, "body")),
        same("payload again", message.payload().unwrap().encode().as_str(), message.payload.as_str()),
        same("sealed again", resealed.is_none_or(|r| r.is_ok() && again == sealed), true),
    ])
}

pub(crate) fn accepted(run: &mut Run<'_>) {
    run.each(|case| {
        let initiator = identity(array(case, "initiator_private"), &case["initiator_identity"]);
        let responder = identity(array(case, "responder_private"), &case["responder_identity"]);
        let (first, second) = (bytes(&case["frames"][0], "hex"), bytes(&case["frames"][1], "hex"));
        let (hello, theirs) = (Message::decode(&first).unwrap(), Message::decode(&second).unwrap());
        let offer: Handshake = hello.parse().unwrap();
        let recorded: HandshakeAck = theirs.parse().unwrap();
        let secret = initiator.secret().shared_secret(&responder.public_key()).unwrap();
        let Responded::Accept { ack, established, keys: LinkKeys::Plain(link_key) } = answer(&responder, &first, true)
        else {
            return Outcome::Wrong("our responder refuses the recorded initiator".to_owned());
        };
        let ours: HandshakeAck = Message::decode(&ack).unwrap().parse().unwrap();
        let key = LinkKey::from_secret(&array(case, "shared_secret"));
        // Our own initiator has another challenge: the recorded ack must not do for it.
        let (begun, _) = Initiator::start(
            &initiator,
            Expect::Key(responder.public_key()),
            &Security::Off,
            None,
            now(),
            &mut Rng::from_number(2),
            &mut Challenges::new(),
        )
        .unwrap();
        let mut checks = vec![
            same("first message again", hello.encode().into_bytes(), first),
            same("ack again", theirs.encode().into_bytes(), second.clone()),
            same("secret", secret.as_bytes(), &array(case, "shared_secret")),
            same("our ack", &ours, &recorded),
            same("addressed", Message::decode(&ack).unwrap().to, theirs.to.clone()),
            same("who", established.key, initiator.public_key()),
            same("link key", link_key.as_bytes(), key.as_bytes()),
            same("proof", verify_challenge(&offer.challenge, &recorded.challenge_response, &secret), true),
            same(
                "an ack for another challenge",
                begun.handle_ack(&initiator, &Security::Off, &second, |_| Known::default()).is_err(),
                true,
            ),
            frame(&key, &case["disconnect_frame"], None),
        ];
        for recorded in case["encrypted_frames"].as_array().unwrap() {
            checks.push(frame(&key, recorded, recorded["smsg_timestamp"].as_i64()));
        }
        all(checks)
    });
}

pub(crate) fn rejected(run: &mut Run<'_>) {
    let case = run.value();
    run.case("rejected_allowlist", || {
        let recorded = bytes(&case["frames"][1], "hex");
        let theirs: HandshakeAck = Message::decode(&recorded).unwrap().parse().unwrap();
        let mut rng = Rng::from_number(3);
        let local = Identity::generate("local", rigmesh::identity::Role::Worker, now().wall, &mut rng).unwrap();
        let Responded::Reject { reason, .. } = answer(&local, &bytes(&case["frames"][0], "hex"), false) else {
            return Outcome::Wrong("not refused".to_owned());
        };
        let mut challenges = Challenges::new();
        let (begun, _) =
            Initiator::start(&local, Expect::Anyone, &Security::Off, None, now(), &mut rng, &mut challenges).unwrap();
        let error = begun.handle_ack(&local, &Security::Off, &recorded, |_| Known::default()).unwrap_err();
        all([
            same("reason", reason, theirs.reason),
            same("error", error.to_string().as_str(), "handshake rejected: peer not authorized"),
        ])
    });
}

/// Where each probe in prose is told.
const TOLD: &[(&str, &str)] = &[
    ("handshake message over 1 MiB", "tests/sockets.rs: a handshake above 64 KiB is closed with 1009"),
    ("handshake message of exactly 1 MiB", "the same (mesh.md §3)"),
    ("duplicate message id", "story commands::a_command_without_an_id_is_refused_and_a_duplicate_is_dropped"),
    ("garbage frame", "story commands::compressed_frames_attachments_and_garbage_are_dropped_and_the_link_stays"),
    ("second handshake", "the same"),
    ("message with forged", "story commands::a_reflected_or_misaddressed_message_is_dropped_and_the_link_stays"),
    ("stale timestamp", "story links::a_stale_first_request_is_told_1001_once_a_second_and_proves_nothing"),
    ("unknown message type", "story commands::an_unknown_type_and_a_bad_payload_harm_nothing"),
    ("ping with a bad payload", "the same"),
    ("start_miner without", "sockets: a_node_without_miners_says_so_by_error_1004"),
    ("deploy of unknown type", "story commands::an_admitted_key_without_the_permission_gets_1002_for_every_command"),
    ("disconnect message", "story links::a_disconnect_ends_its_own_connection_only"),
    ("frame over 1 MiB", "sockets: a_websocket_ping_is_answered_and_an_oversize_frame_closes_with_1009"),
    ("150 pings", "story commands::what_exceeds_the_limit_is_answered_at_most_five_times_a_second_and_counts_as_seen"),
    ("websocket ping", "the same"),
    (
        "second connection",
        "story links::two_connections_of_one_go_controller_live_and_closing_the_old_one_hurts_nothing",
    ),
    ("ALLOWLIST BYPASS", "story handshake::a_registered_id_shown_with_another_key_admits_nobody"),
    (
        "initiator never proves",
        "story links::an_initiator_that_never_proves_its_key_is_closed_after_40_seconds_whatever_it_sends",
    ),
    ("REPLAY", "story commands::a_recorded_connection_played_back_runs_nothing_now_later_or_after_a_power_cut"),
    ("MaxConns", "tests/sockets.rs"),
    ("responder Stop()", "story lifecycle::a_shutdown_answers_what_is_pending_and_says_goodbye"),
];

pub(crate) fn probes(run: &mut Run<'_>) {
    let root = run.root;
    let local = identity(array(root, "probe_responder_private"), &root["probe_responder_identity"]);
    run.each(|case| {
        let desc = text(case, "desc");
        let sent = case["sent"].as_str().and_then(|hex| hex::decode(hex).ok());
        let Some(sent) = sent.filter(|_| case["reply_kind"].is_string()) else {
            let told = TOLD.iter().any(|(start, _)| desc.starts_with(start));
            return same("told as a story", told, true);
        };
        let theirs = case["reply"].as_str().filter(|reply| !reply.is_empty());
        let theirs: Option<HandshakeAck> =
            theirs.map(|reply| Message::decode(reply.as_bytes()).unwrap().parse().unwrap());
        match (theirs, answer(&local, &sent, !desc.starts_with("allowlist:"))) {
            (Some(theirs), Responded::Accept { ack, .. }) if theirs.accepted => {
                same("ack", Message::decode(&ack).unwrap().parse::<HandshakeAck>().unwrap(), theirs)
            }
            (Some(theirs), Responded::Reject { reason, .. }) if !theirs.accepted => {
                same("reason", reason, theirs.reason)
            }
            (None, Responded::Close(_)) => Outcome::Same,
            (theirs, ours) => Outcome::Other(format!("{theirs:?} there, {ours:?} here")),
        }
    });
}
