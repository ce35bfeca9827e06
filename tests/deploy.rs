//! Deployments over real sockets: many megabytes to several rigs while they answer, plain and over TLS; and the
//! one message of a Go node.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, unreachable_pub)]

#[path = "deploy/go_worker.rs"]
mod go_worker;

use rigmesh::base::{Error, Result, Rng};
use rigmesh::bundle::{self, MinerFile};
use rigmesh::message::{DeployAck, ErrorPayload, MessageType, Payload};
use rigmesh::miners::{LogSlice, MinerInstance, MinerManager, MinerState, MinerStats, Profile, StartRequest};
use rigmesh::peers::Grants;
use rigmesh::{Config, Controller, DeployFile, Deployment, FileProfileManager, Node, Paths, TlsPair};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A rig's one miner, always on, and the versions it was told of.
#[derive(Clone, Default)]
struct Press {
    switched: Arc<Mutex<Vec<String>>>,
}

impl MinerInstance for Press {
    fn name(&self) -> String {
        "press".into()
    }
    fn miner_type(&self) -> String {
        "press".into()
    }
    fn stats(&self) -> Result<MinerStats> {
        Ok(MinerStats::new("press", "press", MinerState::Hashing))
    }
    fn console_history(&self, _: usize, _: Option<i64>) -> LogSlice {
        LogSlice::default()
    }
}

impl MinerManager for Press {
    fn start_miner(&self, _: &StartRequest) -> Result<Arc<dyn MinerInstance>> {
        Ok(Arc::new(self.clone()))
    }
    fn stop_miner(&self, _: &str) -> Result<()> {
        Err(Error::Failed("it never stops".into()))
    }
    fn list_miners(&self) -> Vec<Arc<dyn MinerInstance>> {
        vec![Arc::new(self.clone())]
    }
    fn miner(&self, _: &str) -> Result<Arc<dyn MinerInstance>> {
        Ok(Arc::new(self.clone()))
    }
    fn version_switched(&self, slot: &str) {
        self.switched.lock().unwrap().push(slot.to_owned());
    }
}

struct Rig {
    node: Node,
    address: String,
    id: String,
    folder: tempfile::TempDir,
    press: Press,
}

impl Rig {
    fn start(name: &str, config: Config) -> Rig {
        Rig::start_in(tempfile::tempdir().unwrap(), name, config)
    }

    /// One that serves `wss` only.
    fn with_tls(name: &str) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let pair = TlsPair::self_signed(&["127.0.0.1".to_owned()]).unwrap();
        let paths = Paths::in_folder(folder.path());
        pair.save(&paths).unwrap();
        let (tls_cert, tls_key) = (Some(paths.tls_cert()), Some(paths.tls_key()));
        let mut rig = Rig::start_in(folder, name, Config { tls_cert, tls_key, ..Config::default() });
        rig.address = format!("wss://{}#{}", rig.address, pair.fingerprint_hex());
        rig
    }

    fn start_in(folder: tempfile::TempDir, name: &str, config: Config) -> Rig {
        let press = Press::default();
        let node = Node::builder()
            .data_dir(folder.path())
            .name(name)
            .config(config)
            .miners(Arc::new(press.clone()))
            .profiles(Arc::new(FileProfileManager::new(folder.path())))
            .listen("127.0.0.1:0")
            .start()
            .unwrap();
        let (id, address) = (node.id().to_string(), node.loopback_address().unwrap());
        Rig { node, address, id, folder, press }
    }

    fn slot(&self, miner: &str, version: u32) -> PathBuf {
        self.folder.path().join("slots").join(miner).join(version.to_string())
    }
}

fn controller(rigs: &[&Rig]) -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::builder().data_dir(folder.path()).name("owner").start().unwrap();
    for rig in rigs {
        rig.node.peers().allow(&node.identity().public_key(), Grants::CONTROLLER, "test").unwrap();
        node.peers().allow(&rig.node.identity().public_key(), Grants::NONE, "test").unwrap();
        node.connect(&rig.address, &rig.node.identity().public_key()).unwrap();
    }
    (node, folder)
}

/// A miner of random bytes: its main file, and a small one beside it.
fn miner(folder: &Path, size: usize, seed: u64) -> (Deployment, Vec<u8>) {
    let mut bytes = vec![0; size];
    Rng::from_number(seed).fill(&mut bytes);
    let (main, notes) = (folder.join("main"), folder.join("notes"));
    std::fs::write(&main, &bytes).unwrap();
    std::fs::write(&notes, "read me").unwrap();
    let files = vec![
        DeployFile { file: main, path: "bin/press".into(), executable: false },
        DeployFile { file: notes, path: "notes.txt".into(), executable: false },
    ];
    (Deployment::miner("press", "1.0", None, files).unwrap(), bytes)
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// Asks a rig for statistics 20 times a second until told to end; the round trips.
fn ask_meanwhile(controller: Controller, rig: String, end: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<Duration>> {
    std::thread::spawn(move || {
        let mut trips = Vec::new();
        while !end.load(Ordering::Relaxed) {
            let begin = Instant::now();
            controller.stats(&rig).unwrap();
            trips.push(begin.elapsed());
            std::thread::sleep(Duration::from_millis(50).saturating_sub(begin.elapsed()));
        }
        trips.sort();
        trips
    })
}

#[test]
fn fifty_megabytes_reach_three_rigs_while_each_is_asked_twenty_times_a_second() {
    let rigs = [Rig::start("a", Config::default()), Rig::start("b", Config::default()), Rig::with_tls("c")];
    let (owner, folder) = controller(&rigs.iter().collect::<Vec<_>>());
    let (deployment, bytes) = miner(folder.path(), 50 << 20, 1);
    let ids: Vec<String> = rigs.iter().map(|r| r.id.clone()).collect();
    let end = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = ids.iter().map(|id| ask_meanwhile(owner.controller(), id.clone(), end.clone())).collect();
    let (begin, mut told) = (Instant::now(), 0);
    let results = owner.controller().deploy(&ids, &deployment, false, &mut |infos| {
        told += infos.len();
        assert!(infos.iter().all(|i| i.done <= i.total));
    });
    let took = begin.elapsed();
    end.store(true, Ordering::Relaxed);
    for trips in asking.into_iter().map(|a| a.join().unwrap()) {
        let at = |share: usize| trips[(trips.len() - 1) * share / 100];
        println!("{} questions: median {:?}, 95 % {:?}, longest {:?}", trips.len(), at(50), at(95), at(100));
        assert!(!trips.is_empty());
    }
    println!("three times 50 MiB in {took:?}");
    assert!(told > 0, "nobody was told how far it is");
    for (rig, (id, result)) in rigs.iter().zip(results) {
        assert_eq!((&id, result.unwrap().slot), (&rig.id, Some(1)));
        assert!(std::fs::read(rig.slot("press", 1).join("bin/press")).unwrap() == bytes);
        assert_eq!(mode(&rig.slot("press", 1).join("bin/press")), 0o755, "the main file is made executable");
        assert_eq!(mode(&rig.slot("press", 1).join("notes.txt")), 0o644);
        assert_eq!(*rig.press.switched.lock().unwrap(), ["press"]);
        assert_eq!(std::fs::read_dir(rig.folder.path().join("incoming")).unwrap().count(), 0, "nothing is left over");
    }
    // Again: nothing is sent, and it is the same version.
    for (_, result) in owner.controller().deploy(&ids, &deployment, false, &mut |_| ()) {
        let done = result.unwrap();
        assert_eq!((done.slot, done.already), (Some(1), true));
    }
}

#[test]
fn a_second_version_is_installed_beside_the_first_and_only_what_is_new_is_sent() {
    let rig = Rig::start("rig", Config::default());
    let (owner, owner_folder) = controller(&[&rig]);
    let ids = [rig.id.clone()];
    let deploy = |deployment: &Deployment| {
        let mut most = 0;
        let mut results = owner.controller().deploy(&ids, deployment, false, &mut |infos| {
            most = most.max(infos.iter().map(|i| i.total - i.done).max().unwrap_or(0));
        });
        (results.remove(0).1.unwrap(), most)
    };
    let (first, first_bytes) = miner(owner_folder.path(), 3 << 20, 2);
    assert_eq!(deploy(&first).0.slot, Some(1));
    let profile = br#"{"id":"pool","name":"Pool","minerType":"sha256d","config":{"threads":1}}"#;
    let (second, second_bytes) = miner(owner_folder.path(), 2 << 20, 3);
    let second = second.with_profile(Profile::decode(profile).unwrap()).activate(false);
    assert_eq!(deploy(&second).0.slot, Some(2));
    let controller = owner.controller();
    let versions = controller.versions(&rig.id, Some("press")).unwrap();
    let seen: Vec<_> = versions.iter().map(|v| (v.slot, v.current, v.version.as_str())).collect();
    assert_eq!(seen, [(2, false, "1.0"), (1, true, "1.0")], "not switched to, as it was told");
    assert_eq!(rig.node.profiles().unwrap().profile("pool").unwrap().name, "Pool");
    assert!(controller.rollback(&rig.id, "press", Some(2)).unwrap().contains('2'), "forwards is a way, too");
    assert!(controller.rollback(&rig.id, "press", None).unwrap().contains('1'));
    assert!(controller.rollback(&rig.id, "press", Some(9)).is_err());
    assert!(controller.rollback(&rig.id, "other", None).is_err());
    assert!(std::fs::read(rig.slot("press", 1).join("bin/press")).unwrap() == first_bytes);
    assert!(std::fs::read(rig.slot("press", 2).join("bin/press")).unwrap() == second_bytes);
    // The first main file under another name: every byte of it is there already.
    let main = owner_folder.path().join("again");
    std::fs::write(&main, &first_bytes).unwrap();
    let files = vec![DeployFile { file: main, path: "press".into(), executable: true }];
    let (done, missing) = deploy(&Deployment::miner("press", "1.1", None, files).unwrap());
    assert_eq!((done.slot, missing), (Some(3), 0));
}

#[test]
fn a_bundle_in_one_message_is_installed_as_a_go_node_sends_it() {
    let rig = Rig::start("rig", Config::default());
    let (owner, _folder) = controller(&[&rig]);
    let password = owner.identity().secret().shared_secret(&rig.node.identity().public_key()).unwrap().smsg_password();
    let mut rng = Rng::from_number(4);
    let send = |bundle: bundle::Bundle| {
        let payload = Payload::Deploy(bundle.into_deploy());
        owner.controller().exchange(&rig.id, payload, Duration::from_secs(20)).unwrap().0
    };
    let data = b"#!/bin/sh\nexit 0\n";
    let files = [MinerFile { path: "press", executable: true, data }];
    let profile = br#"{"id":"p1","name":"P","minerType":"sha256d","config":{"threads":1}}"#;
    let sealed = bundle::create_miner_bundle(&files, None, None, "press", &password, &mut rng).unwrap();
    let reply = send(sealed.clone());
    assert_eq!(reply.kind, MessageType::DeployAck);
    let ack: DeployAck = reply.parse().unwrap();
    assert!(ack.success && ack.name == "press", "{ack:?}");
    assert_eq!(std::fs::read(rig.slot("press", 1).join("press")).unwrap(), data);
    assert_eq!(mode(&rig.slot("press", 1).join("press")), 0o755);
    assert!(rig.node.profiles().unwrap().list_profiles().unwrap().is_empty(), "no profile was made up");
    let full = bundle::create_full_bundle(&files, None, profile, "press", &password, &mut rng).unwrap();
    assert!(send(full).parse::<DeployAck>().unwrap().success);
    assert_eq!(rig.node.profiles().unwrap().profile("p1").unwrap().name, "P");
    let only = bundle::create_profile_bundle(profile, "any text, é", &password, &mut rng).unwrap();
    assert_eq!(send(only).parse::<DeployAck>().unwrap().name, "any text, é");
    for (what, broken) in [
        ("checksum", bundle::Bundle { checksum: "0".repeat(64), ..sealed.clone() }),
        ("name", bundle::Bundle { name: "../../../ESCAPED".into(), ..sealed.clone() }),
        ("name", bundle::Bundle { name: String::new(), ..sealed.clone() }),
        ("type", bundle::Bundle { kind: bundle::BundleType::Other("x".into()), ..sealed.clone() }),
    ] {
        let reply = send(broken);
        assert_eq!(
            (reply.kind.clone(), reply.parse::<ErrorPayload>().unwrap().code),
            (MessageType::Error, 1004),
            "{what}"
        );
    }
    let wrong = bundle::create_miner_bundle(&files, None, None, "press", "other", &mut rng).unwrap();
    assert_eq!(send(wrong).kind, MessageType::Error);
    assert_eq!(owner.controller().stats(&rig.id).unwrap().miners().len(), 1, "and the rig lives");
}

#[test]
fn a_go_node_gets_one_message_when_it_fits_and_nothing_when_it_does_not() {
    let go = go_worker::GoWorker::start();
    let (owner, folder) = controller(&[]);
    owner.peers().allow(&go.key, Grants::NONE, "test").unwrap();
    let id = owner.connect(&go.address, &go.key).unwrap().to_string();
    let deploy = |deployment: &Deployment| {
        owner.controller().deploy(std::slice::from_ref(&id), deployment, false, &mut |_| ()).remove(0).1
    };
    // A single file of the largest size that the protocol lets through, and one byte more.
    let (fits, too_large) = (783_872, 783_873);
    for (size, ok) in [(1000, true), (fits, true), (too_large, false), (50 << 20, false)] {
        let (path, mut bytes) = (folder.path().join("press"), vec![0; size]);
        Rng::from_number(size as u64).fill(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let files = vec![DeployFile { file: path, path: "press".into(), executable: true }];
        let result = deploy(&Deployment::miner("press", "1", None, files).unwrap());
        if ok {
            assert_eq!(result.unwrap().slot, None, "{size}");
            let unpacked = go.deployed.recv().unwrap();
            assert!(unpacked.main == "press" && unpacked.files[0].data == bytes && unpacked.profile.is_none());
        } else {
            let text = result.unwrap_err().to_string();
            for word in [&size.to_string(), "783872", "smaller", "RigMesh on the rig"] {
                assert!(text.contains(word), "{word:?} in {text:?}");
            }
        }
    }
    // Nothing but pings and the two that fitted: no offer, no chunk, no try of the large ones.
    let heard: Vec<String> = go.heard.try_iter().filter(|kind| kind != "ping").collect();
    assert_eq!(heard, ["deploy", "deploy"]);
    let (two_files, _) = miner(folder.path(), 1000, 8);
    let profile = br#"{"id":"p1","name":"P","minerType":"sha256d","config":{"threads":1}}"#;
    deploy(&two_files.with_profile(Profile::decode(profile).unwrap())).unwrap();
    let unpacked = go.deployed.recv().unwrap();
    assert_eq!((unpacked.files.len(), unpacked.main.as_str()), (2, "bin/press"));
    assert!(String::from_utf8(unpacked.profile.unwrap()).unwrap().contains("\"p1\""));
    let error = owner.controller().versions(&id, None).unwrap_err().to_string();
    assert!(error.contains("no versions"), "{error}");
}

#[test]
fn a_rig_that_takes_no_deployments_says_so_at_once() {
    let rig = Rig::start("rig", Config { deploys: false, ..Config::default() });
    let (owner, folder) = controller(&[&rig]);
    let (large, _) = miner(folder.path(), 2 << 20, 5);
    let error =
        owner.controller().deploy(std::slice::from_ref(&rig.id), &large, false, &mut |_| ()).remove(0).1.unwrap_err();
    // It announces no chunks, so it counts as a node that takes one message, and this does not fit into one.
    let text = error.to_string();
    assert!(text.contains("2097159") && text.contains("783") && text.contains("smaller"), "{text}");
    let (small, _) = miner(folder.path(), 1000, 6);
    let error =
        owner.controller().deploy(std::slice::from_ref(&rig.id), &small, false, &mut |_| ()).remove(0).1.unwrap_err();
    assert!(error.to_string().contains("deploys are off"), "{error}");
    let profile = br#"{"id":"p1","name":"P","minerType":"sha256d","config":{}}"#;
    assert!(owner.controller().deploy_profile(&rig.id, &Profile::decode(profile).unwrap()).is_err());
}

#[test]
fn a_file_that_changes_while_it_is_sent_ends_the_deployment_with_these_words() {
    let rig = Rig::start("rig", Config::default());
    let (owner, folder) = controller(&[&rig]);
    let (deployment, _) = miner(folder.path(), 4 << 20, 7);
    std::fs::write(folder.path().join("main"), "something else").unwrap();
    let error = owner
        .controller()
        .deploy(std::slice::from_ref(&rig.id), &deployment, false, &mut |_| ())
        .remove(0)
        .1
        .unwrap_err();
    assert!(error.to_string().contains("file changed"), "{error}");
    assert!(!rig.slot("press", 1).exists());
}
