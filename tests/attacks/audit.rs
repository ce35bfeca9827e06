//! The audit log of real nodes against whoever would rather not be in it: on the disk before a miner starts, noted on the
//! other side, and found out when it is cut, changed or written anew.

use rigmesh::base::{Error, Result, Timestamp};
use rigmesh::identity::PublicKey;
use rigmesh::message::{MessageType, Payload, StartMiner};
use rigmesh::miners::{LogSlice, MinerInstance, MinerManager, MinerState, MinerStats, StartRequest};
use rigmesh::peers::{AuditBegin, AuditChain, AuditEntry, AuditReport, Grants};
use rigmesh::{Node, check_audit, read_audit_notes};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A miner whose every start looks at what both sides have on disk by then.
#[derive(Clone)]
struct Watcher {
    rig: PathBuf,
    owner: PathBuf,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl MinerInstance for Watcher {
    fn name(&self) -> String {
        "watcher".into()
    }
    fn miner_type(&self) -> String {
        "watcher".into()
    }
    fn stats(&self) -> Result<MinerStats> {
        Ok(MinerStats::new("watcher", "watcher", MinerState::Hashing))
    }
    fn console_history(&self, _: usize, _: Option<i64>) -> LogSlice {
        LogSlice::default()
    }
}

impl MinerManager for Watcher {
    fn start_miner(&self, asked: &StartRequest) -> Result<Arc<dyn MinerInstance>> {
        self.seen.lock().unwrap().push((text(&self.rig), text(&self.owner)));
        if asked.miner_type == "broken" {
            Err(Error::Failed("it is broken".into()))
        } else {
            Ok(Arc::new(self.clone()))
        }
    }
    fn stop_miner(&self, _: &str) -> Result<()> {
        Ok(())
    }
    fn list_miners(&self) -> Vec<Arc<dyn MinerInstance>> {
        vec![]
    }
    fn miner(&self, _: &str) -> Result<Arc<dyn MinerInstance>> {
        Ok(Arc::new(self.clone()))
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("audit/audit-000000000000.log")
}

fn text(folder: &Path) -> String {
    fs::read_to_string(file(folder)).unwrap_or_default()
}

fn lines(folder: &Path) -> Vec<Value> {
    text(folder).lines().map(|line| serde_json::from_str(&line[65..]).unwrap()).collect()
}

struct Farm {
    rig: Node,
    owner: Node,
    id: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    folder: tempfile::TempDir,
}

impl Farm {
    fn new() -> Farm {
        Farm::after(|_, _| {})
    }

    /// Something is done to the folders before the nodes start.
    fn after(prepare: impl FnOnce(&Path, &Path)) -> Farm {
        let folder = tempfile::tempdir().unwrap();
        let [rig, owner] = ["rig", "owner"].map(|name| folder.path().join(name));
        fs::create_dir(&rig).unwrap();
        fs::create_dir(&owner).unwrap();
        prepare(&rig, &owner);
        let seen = Arc::new(Mutex::default());
        let watcher = Watcher { rig: rig.clone(), owner: owner.clone(), seen: Arc::clone(&seen) };
        let rig = Node::builder().data_dir(rig).listen("127.0.0.1:0").miners(Arc::new(watcher)).start().unwrap();
        let owner = Node::builder().data_dir(owner).start().unwrap();
        rig.peers().allow(&owner.identity().public_key(), Grants::CONTROLLER, "test").unwrap();
        owner.peers().allow(&rig.identity().public_key(), Grants::NONE, "test").unwrap();
        let id = owner.connect(&rig.loopback_address().unwrap(), &rig.identity().public_key()).unwrap().to_string();
        Farm { rig, owner, id, seen, folder }
    }

    fn path(&self, of: &str) -> PathBuf {
        self.folder.path().join(of)
    }

    fn start(&self, miner_type: &str) -> Result<String> {
        self.owner.controller().start_miner(&self.id, miner_type, None, Some(&json!({"pass": "hunter2"})))
    }

    /// What `audit verify --against` looks at.
    fn verify(&self) -> AuditReport {
        let identity = self.rig.identity();
        let keys: [(PublicKey, [u8; 32]); 1] = [(identity.public_key(), identity.sign_key().public())];
        let (notes, theirs) = read_audit_notes(&self.path("owner/audit")).unwrap();
        assert!(theirs.is_sound(), "{theirs:?}");
        check_audit(&self.path("rig/audit"), &keys, &notes, |_| {}).unwrap()
    }
}

#[test]
fn both_sides_have_the_command_on_disk_before_the_miner_starts() {
    let farm = Farm::new();
    farm.start("watcher").unwrap();
    let seen = farm.seen.lock().unwrap().clone();
    let [(rig, owner)] = seen.as_slice() else { panic!("{seen:?}") };
    for text in [rig, owner] {
        assert!(
            text.ends_with('\n') && text.lines().count() == 1 && text.contains("\"what\":\"start_miner\""),
            "{text}"
        );
    }
    let [rig, owner] = ["rig", "owner"].map(|of| lines(&farm.path(of)));
    assert_eq!((rig.len(), owner.len()), (2, 2));
    assert_eq!(rig[0]["who"], farm.owner.identity().public_key().to_base64());
    assert_eq!(
        (&owner[0]["who"], &owner[0]["peer"]),
        (&json!("local"), &json!(farm.rig.identity().public_key().to_base64()))
    );
    assert!(rig[0]["sid"].is_string() && owner[0].get("sid").is_none());
    assert_eq!((&rig[0]["id"], &rig[0]["args"]), (&owner[0]["id"], &owner[0]["args"]), "both name the same message");
    assert_eq!((&owner[1]["end"], &owner[1]["ok"], &owner[1]["peer_n"]), (&json!(0), &json!(true), &json!(1)));
    assert_eq!(owner[1]["peer_h"].as_str().unwrap(), &text(&farm.path("rig")).lines().nth(1).unwrap()[..64]);
    let report = farm.verify();
    assert!(report.is_sound() && report.compared.matched == 1, "{report:?}");
}

#[test]
fn what_fails_is_noted_by_both_and_what_gets_no_answer_by_one() {
    let farm = Farm::new();
    let failed = farm.start("broken").unwrap_err().to_string();
    assert!(failed.contains("it is broken"));
    let [rig, owner] = ["rig", "owner"].map(|of| lines(&farm.path(of)));
    assert_eq!((&rig[1]["ok"], &owner[1]["ok"], &owner[1]["peer_n"]), (&json!(false), &json!(false), &json!(1)));
    assert!(owner[1]["err"].as_str().unwrap().contains("it is broken"));
    // Without the permission: an end on one side, nothing on the other.
    farm.rig.peers().allow(&farm.owner.identity().public_key(), Grants::OBSERVE, "test").unwrap();
    farm.start("watcher").unwrap_err();
    // And to a peer that is away.
    let Farm { rig: node, owner, id, folder, .. } = farm;
    node.shutdown().unwrap();
    owner.controller().exchange(&id, stop(), Duration::from_secs(2)).unwrap_err();
    let [rig, owner] = ["rig", "owner"].map(|of| lines(&folder.path().join(of)));
    assert_eq!((rig.len(), owner.len()), (2, 6));
    for end in [&owner[3], &owner[5]] {
        assert!(end["ok"] == false && end["err"].is_string() && end.get("peer_n").is_none(), "{end}");
    }
}

fn stop() -> Payload {
    Payload::StopMiner(rigmesh::message::StopMiner { miner_name: "watcher".into() })
}

#[test]
fn no_line_has_a_configuration_and_no_read_has_a_line() {
    let farm = Farm::new();
    farm.start("watcher").unwrap();
    farm.owner.controller().stats(&farm.id).unwrap();
    farm.owner.controller().logs(&farm.id, "watcher", 5, None).unwrap();
    farm.owner.controller().ping(&farm.id).unwrap();
    for of in ["rig", "owner"] {
        let text = text(&farm.path(of));
        assert!(
            text.lines().count() == 2 && text.contains("\"with_config\":true") && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn a_rig_whose_log_cannot_be_written_refuses_until_it_can() {
    // A file where the folder should be: not even root can write a log into that.
    let farm = Farm::after(|rig, _| fs::write(rig.join("audit"), "").unwrap());
    let refused = farm.start("watcher").unwrap_err();
    assert!(matches!(&refused, Error::Remote { code: 1004, message } if message.contains("recorded")), "{refused:?}");
    assert!(farm.seen.lock().unwrap().is_empty());
    farm.owner.controller().stats(&farm.id).unwrap();
    let row = status(&farm.rig);
    assert!(row["warning"].as_str().unwrap().contains("audit log cannot be written"), "{row}");
    fs::remove_file(farm.path("rig/audit")).unwrap();
    farm.start("watcher").unwrap();
    assert_eq!((farm.seen.lock().unwrap().len(), lines(&farm.path("rig")).len()), (1, 2));
    assert_eq!(status(&farm.rig)["warning"], Value::Null);
}

fn status(node: &Node) -> Value {
    let rigs = rigmesh::control::Rigs::named(["self"]);
    let mut rows = Vec::new();
    node.execute(rigmesh::control::Request::Status { rigs, timeout_ms: 1000 }, &mut |row| rows.push(row)).unwrap();
    rows.remove(0)
}

#[test]
fn an_owner_whose_log_cannot_be_written_sends_nothing() {
    let farm = Farm::after(|_, owner| fs::write(owner.join("audit"), "").unwrap());
    let refused = farm.start("watcher").unwrap_err();
    assert!(matches!(&refused, Error::Failed(why) if why.contains("nothing was sent")), "{refused:?}");
    let rigs = [farm.id.clone()];
    let swept = farm.owner.controller().sweep_stop(&rigs, "watcher");
    assert!(matches!(&swept[0].1, Err(Error::Failed(why)) if why.contains("nothing was sent")), "{swept:?}");
    assert!(farm.owner.controller().sweep_ping(&rigs, Duration::from_secs(5))[0].1.is_ok());
    assert!(farm.seen.lock().unwrap().is_empty() && lines(&farm.path("rig")).is_empty());
}

#[test]
fn a_sweep_is_recorded_for_each_rig() {
    let farm = Farm::new();
    let nobody = "ab".repeat(16);
    let rigs = [farm.id.clone(), nobody];
    let swept = farm.owner.controller().sweep_start(&rigs, "watcher", Some("p"), None).unwrap();
    assert!(swept[0].1.is_err() && swept[1].1.is_err(), "no profiles there, and nobody there: {swept:?}");
    let owner = lines(&farm.path("owner"));
    assert_eq!(owner.len(), 4);
    assert!(owner[..2].iter().all(|line| line["what"] == "start_miner"), "all begin before the first ends");
    assert_eq!((&owner[2]["end"], &owner[3]["end"]), (&json!(0), &json!(1)));
    assert!(owner[2]["peer_n"] == 1 && owner[3].get("peer_n").is_none());
    let report = farm.verify();
    assert!(report.is_sound() && report.compared.matched == 1, "{report:?}");
}

#[test]
fn an_embedder_that_sends_a_payload_of_its_own_is_recorded_too() {
    let farm = Farm::new();
    let start = StartMiner { miner_type: "watcher".into(), ..StartMiner::default() };
    let sent = farm.owner.controller().exchange(&farm.id, Payload::StartMiner(start), Duration::from_secs(5)).unwrap();
    assert_eq!(sent.0.kind, MessageType::MinerAck);
    assert_eq!((lines(&farm.path("owner")).len(), lines(&farm.path("rig")).len()), (2, 2));
}

#[test]
fn a_log_that_was_cut_changed_or_written_anew_is_found_out() {
    let farm = Farm::new();
    for _ in 0..3 {
        farm.start("watcher").unwrap();
    }
    assert_eq!(farm.verify().compared.matched, 3);
    let (path, whole) = (file(&farm.path("rig")), text(&farm.path("rig")));
    let keep = |n: usize| -> String { whole.split_inclusive('\n').take(n).collect() };

    fs::write(&path, keep(4)).unwrap();
    let report = farm.verify();
    assert!(report.fault_count == 0 && !report.is_sound() && report.compared.missing.len() == 1, "the end is cut off");
    fs::write(&path, keep(5)).unwrap();
    assert_eq!(farm.verify().compared.missing.len(), 1, "the command is there and its end is not");
    fs::remove_file(&path).unwrap();
    assert_eq!(farm.verify().compared.missing.len(), 3, "all of it");

    fs::write(&path, whole.replacen("\"type\":\"watcher\"", "\"type\":\"innocent\"", 1)).unwrap();
    let report = farm.verify();
    assert!(report.fault_count == 1 && report.faults[0].n == 0, "{report:?}");

    // Whoever owns the disk can compute a chain that holds; it is not the one that was noted.
    let (mut chain, mut anew) = (AuditChain::default(), Vec::new());
    for (i, line) in lines(&farm.path("rig")).iter().enumerate() {
        let t: Timestamp = Timestamp::parse(line["t"].as_str().unwrap()).unwrap();
        let (id, args) = (format!("m-{i}"), json!({"type": "innocent"}));
        let begin =
            AuditBegin { who: None, session: None, id: &id, ts: None, what: "start_miner", args: &args, peer: None };
        let entry = match line.get("end").and_then(Value::as_u64) {
            Some(of) => AuditEntry::End { of, result: Ok(()), peer: None },
            None => AuditEntry::Begin(begin),
        };
        let (bytes, mark) = chain.encode(t, &entry).unwrap();
        chain.follow(mark);
        anew.extend(bytes);
    }
    fs::write(&path, anew).unwrap();
    let report = farm.verify();
    assert!(report.fault_count == 0 && !report.is_sound(), "the chain itself holds: {report:?}");
    assert_eq!(report.compared.different.len(), 3);
}

#[test]
fn tampering_found_at_the_start_is_told_in_the_status() {
    let farm = Farm::new();
    farm.start("watcher").unwrap();
    assert_eq!(status(&farm.rig)["warning"], Value::Null);
    let Farm { rig, owner, folder, .. } = farm;
    rig.shutdown().unwrap();
    owner.shutdown().unwrap();
    let path = folder.path().join("rig");
    fs::write(file(&path), text(&path).replace("watcher", "innocent")).unwrap();
    let watcher = Watcher { rig: path.clone(), owner: path.clone(), seen: Arc::default() };
    let rig = Node::builder().data_dir(&path).miners(Arc::new(watcher)).start().unwrap();
    let warning = status(&rig)["warning"].as_str().unwrap().to_owned();
    assert!(warning.contains("changed by somebody") && warning.contains("line 0"), "{warning}");
}
