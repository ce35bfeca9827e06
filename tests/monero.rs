//! Levin against a real CryptoNote node: Debian's `monerod` on a chain of its own, in a network namespace that has
//! loopback and nothing else, so that no packet leaves the machine. Where that cannot be had the tests say loudly that
//! they are left out; with `RIGMESH_REQUIRE_MONEROD=1` that fails them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod support;

use rigmesh::base::{Error, Rng};
use rigmesh::wire::levin::{
    HandshakeRequest, HandshakeResponse, LocalNode, Message, NetworkId, PeerAddress, PeerEntry, Section, SupportFlags,
    Value, command, return_code,
};
use rigmesh::{LevinConnection, LevinProbe, LevinSettings, levin_probe};
use serde_json::{Value as Json, json};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::eventually;

/// In the namespace: the folder that monerod may use.
const FOLDER: &str = "RIGMESH_MONEROD_FOLDER";
/// Whether being left out is a failure.
const REQUIRED: &str = "RIGMESH_REQUIRE_MONEROD";

// The namespace is ours alone, and so are its ports.
const P2P: &str = "127.0.0.1:28080";
const RPC: &str = "127.0.0.1:28081";
const OURS: &str = "127.0.0.1:28090";

/// Where the blocks' rewards go: any address would do, this is the one that Monero's project publishes for donations.
const ADDRESS: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

/// Runs `body`, the test of this name, with a network and processes of its own: this program starts itself there. When
/// its first process ends, which is the test, the kernel ends all others, monerod too.
fn apart(name: &str, body: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return body(Path::new(&folder));
    }
    let unshare = match unshare() {
        Ok(unshare) => unshare,
        Err(why) if std::env::var_os(REQUIRED).is_some_and(|v| v == "1") => panic!("{REQUIRED} is set, but {why}"),
        Err(why) => {
            // Not `eprintln`, which the test runner hides.
            let _ = writeln!(io::stderr(), "LEFT OUT: {name}: {why}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let inner = within(&unshare, &std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[inner.stdout, inner.stderr].concat()).into_owned();
    assert!(inner.status.success() && text.contains("1 passed"), "in the namespace: {}\n{text}", inner.status);
    println!("{text}");
}

/// How a namespace can be had here: as root, or as anybody where users may be mapped.
fn unshare() -> Result<Vec<&'static str>, String> {
    let monerod = Command::new("monerod").arg("--version").output();
    if !monerod.is_ok_and(|out| out.status.success()) {
        return Err("monerod is not installed (Debian's package `monero`)".to_owned());
    }
    let mut why = String::new();
    for words in [&["-n"][..], &["-r", "-n"]] {
        let tried = within(words, Path::new("true")).output();
        match tried {
            Ok(out) if out.status.success() => return Ok(words.to_vec()),
            Ok(out) => why = String::from_utf8_lossy(&out.stderr).trim().to_owned(),
            Err(e) => why = e.to_string(),
        }
    }
    Err(format!("no network namespace can be made (`unshare`, `ip`): {why}"))
}

/// A program in a namespace whose loopback is up.
fn within(unshare: &[&str], program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(unshare).args(["--pid", "--kill-child", "sh", "-c"]);
    command.arg("PATH=\"$PATH:/usr/sbin:/sbin\"; ip link set lo up && exec \"$0\" \"$@\"").arg(program);
    command.stdin(Stdio::null());
    command
}

/// A running monerod; ended when dropped.
struct Monerod {
    child: Child,
    output: PathBuf,
}

impl Monerod {
    /// Starts it, and returns when its RPC answers.
    fn start(folder: &Path) -> Monerod {
        let (data, output) = (folder.join("data"), folder.join("output"));
        let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
        let file = File::create(&output).unwrap();
        let child = Command::new("monerod")
            .args(["--regtest", "--fixed-difficulty", "1", "--data-dir"])
            .arg(data)
            .args(["--p2p-bind-ip", "127.0.0.1", "--p2p-bind-port", &port(P2P), "--rpc-bind-port", &port(RPC)])
            .args(["--no-igd", "--no-zmq", "--hide-my-port", "--allow-local-ip", "--add-exclusive-node", OURS])
            .args(["--check-updates", "disabled", "--disable-dns-checkpoints", "--non-interactive"])
            .args(["--log-level", "0,net.p2p:DEBUG"])
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut monerod = Monerod { child, output };
        eventually("monerod to answer", 60, || {
            assert!(monerod.child.try_wait().unwrap().is_none(), "monerod ended by itself");
            rpc("get_info", &json!({})).is_ok()
        });
        monerod
    }
}

impl Drop for Monerod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = fs::read_to_string(&self.output).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("monerod said at last:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// Asks monerod's RPC.
fn rpc(method: &str, params: &Json) -> io::Result<Json> {
    let answer = http("/json_rpc", &json!({ "jsonrpc": "2.0", "id": "0", "method": method, "params": params }))?;
    match answer.get("result") {
        Some(result) if result["status"] == "OK" => Ok(result.clone()),
        _ => Err(io::Error::other(format!("{method}: {answer}"))),
    }
}

/// A request to monerod's HTTP server: as little of HTTP as that needs.
fn http(path: &str, body: &Json) -> io::Result<Json> {
    let within = Some(Duration::from_secs(60));
    let mut socket = TcpStream::connect(RPC)?;
    socket.set_read_timeout(within)?;
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {RPC}\r\nContent-Length: {}\r\n\r\n", body.len());
    socket.write_all(&[head, body].concat().into_bytes())?;
    let (mut reader, mut length, mut line) = (BufReader::new(socket), 0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// The connections monerod has.
fn connections() -> Vec<Json> {
    let answer = rpc("get_connections", &json!({})).unwrap();
    answer["connections"].as_array().cloned().unwrap_or_default()
}

/// Waits until monerod has noticed that a connection is closed: it allows one from each address.
fn alone() {
    eventually("monerod to have no connection", 20, || connections().is_empty());
}

fn settings() -> LevinSettings {
    let within = Duration::from_secs(60);
    LevinSettings { connect_max: within, read_max: within, write_max: within, payload_bytes_max: 1 << 20 }
}

/// The names in a section, and those in the sections inside it behind them.
fn names(section: &Section) -> Vec<String> {
    let mut names = Vec::new();
    for (name, value) in section.iter() {
        let name = String::from_utf8(name.to_vec()).unwrap();
        if let Value::Object(inner) = value {
            names.extend(self::names(inner).iter().map(|inside| format!("{name}.{inside}")));
        } else {
            names.push(name);
        }
    }
    names
}

/// A storage of monerod's, read; what we would write for it is the same to the byte.
fn canonical(payload: &[u8]) -> Section {
    let section = Section::decode(payload).unwrap();
    assert_eq!(section.encode().unwrap(), payload, "{section:?}");
    section
}

/// A node of ours on monerod's network.
fn observer() -> LocalNode {
    LocalNode::observer(NetworkId::MAINNET, &mut Rng::from_number(1))
}

/// The connection with us that monerod has; it is through with the handshake and wants nothing of us.
fn settled(local: &LocalNode) -> Json {
    let (id, mut found) = (format!("{:016x}", local.node.peer_id), Json::Null);
    eventually("monerod to show a settled connection", 20, || {
        found = connections().into_iter().find(|c| c["peer_id"] == id.as_str()).unwrap_or_default();
        found["state"] == "normal"
    });
    found
}

/// Lets monerod make blocks, and serves it until it tells that it has so many; gives the commands that came. Both at
/// once, because it gives up a peer that owes it an answer for 5 s, and the first block can take as long.
fn serve_while_mining(connection: &mut LevinConnection, local: &LocalNode, blocks: u64, height: u64) -> Vec<u32> {
    let mut commands = Vec::new();
    std::thread::scope(|scope| {
        // It refuses (`BUSY`) as long as no peer has been there that is not ahead of it.
        scope.spawn(|| {
            rpc("generateblocks", &json!({ "amount_of_blocks": blocks, "wallet_address": ADDRESS })).unwrap()
        });
        loop {
            let message = connection.serve(local).unwrap();
            commands.push(message.command);
            if message.command == command::NEW_BLOCK {
                assert!(!message.expects_response, "{message:?}");
                let told = canonical(&message.payload).read::<u64>("current_blockchain_height").unwrap();
                if told == Some(height) {
                    return;
                }
            }
        }
    });
    commands
}

#[test]
fn monerod_answers_handshake_timed_sync_and_ping() {
    apart("monerod_answers_handshake_timed_sync_and_ping", |folder| {
        let _monerod = Monerod::start(folder);
        let local = observer();
        let mut connection = LevinConnection::connect(P2P, settings()).unwrap();
        let response = connection.call(&local.handshake().unwrap(), &local).unwrap();
        assert_eq!(response.return_code, return_code::HANDLED);
        // The names that levin.md has; what is 0 by default is left out, and so is an empty peer list.
        let expected = [
            "node_data.my_port",
            "node_data.network_id",
            "node_data.peer_id",
            "node_data.support_flags",
            "payload_data.cumulative_difficulty",
            "payload_data.cumulative_difficulty_top64",
            "payload_data.current_height",
            "payload_data.top_id",
            "payload_data.top_version",
        ];
        assert_eq!(names(&canonical(&response.payload)), expected);
        let HandshakeResponse { node, sync, .. } = HandshakeResponse::decode(&response.payload).unwrap();
        assert_eq!((node.network_id, node.my_port), (NetworkId::MAINNET, 0), "of --regtest and --hide-my-port");
        assert_eq!((sync.current_height, Some(sync.top_id)), (1, NetworkId::MAINNET.genesis()));
        let empty = Section::new().encode().unwrap();
        let response = connection.call(&Message::request(command::SUPPORT_FLAGS, empty.clone()), &local).unwrap();
        assert_eq!(SupportFlags::decode(&response.payload).unwrap().support_flags, node.support_flags);
        let refused = connection.call(&Message::request(4711, empty), &local).unwrap_err();
        let code = i64::from(return_code::UNKNOWN_COMMAND);
        assert!(matches!(refused, Error::Remote { code: c, .. } if c == code), "{refused:?}");
        assert_eq!(settled(&local)["incoming"], true);
        serve_while_mining(&mut connection, &local, 3, 4);
        drop(connection);
        alone();

        let info = rpc("get_info", &json!({})).unwrap();
        let probe = levin_probe(P2P, NetworkId::MAINNET, settings(), &mut Rng::from_number(2)).unwrap();
        let LevinProbe { handshake, sync, ping, round_trip } = probe;
        assert_eq!(handshake.sync, sync.sync, "nothing happened in between");
        assert_eq!((handshake.node, ping.peer_id), (node.clone(), node.peer_id));
        assert_eq!((sync.sync.current_height, info["height"].as_u64()), (4, Some(4)));
        assert_eq!(info["top_block_hash"], hex::encode(sync.sync.top_id));
        assert_eq!(info["cumulative_difficulty"].as_u64().map(u128::from), Some(sync.sync.difficulty()));
        assert!(round_trip < Duration::from_secs(5), "{round_trip:?}");
        alone();

        let probe = |args: &[&str]| {
            let binary = Command::new(env!("CARGO_BIN_EXE_rigmesh"));
            let out = { binary }.args(["levin", "probe", P2P]).args(args).output().unwrap();
            alone();
            (out.status.code(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
        };
        let (code, text) = probe(&["--json"]);
        assert_eq!(code, Some(0), "{text}");
        let row: Json = serde_json::from_str(&text).unwrap();
        assert_eq!((&row["height"], &row["top_hash"]), (&info["height"], &info["top_block_hash"]));
        assert_eq!((row["network"].as_str(), row["difficulty"].as_str()), (Some("mainnet"), Some("4")));
        let id = NetworkId::MAINNET.to_string();
        assert_eq!((row["network_id"].as_str(), row["peers"].as_array().map(Vec::len)), (Some(&id[..]), Some(0)));
        assert_eq!(row["peer_id"], format!("{:016x}", node.peer_id));
        let (code, text) = probe(&[]);
        assert!(code == Some(0) && text.contains("height         4\n"), "{text}");
        let (code, text) = probe(&["--network", "stagenet"]);
        assert!(code == Some(4) && text.contains("perhaps it is not of the network stagenet"), "{text}");
    });
}

#[test]
fn monerod_keeps_the_connection_it_dialled_only_when_its_handshake_is_answered_as_our_listener_does() {
    let name = "monerod_keeps_the_connection_it_dialled_only_when_its_handshake_is_answered_as_our_listener_does";
    apart(name, |folder| {
        let listener = TcpListener::bind(OURS).unwrap();
        listener.set_nonblocking(true).unwrap();
        let accept = || {
            let mut dialled = None;
            eventually("monerod to dial us", 60, || {
                dialled = listener.accept().ok();
                dialled.is_some()
            });
            LevinConnection::from_socket(dialled.unwrap().0, settings()).unwrap()
        };
        let _monerod = Monerod::start(folder);
        let local = observer();
        for code in [return_code::OK, return_code::FORMAT] {
            let mut connection = accept();
            let request = connection.receive().unwrap();
            let section = canonical(&request.payload);
            assert_eq!((request.command, section.len()), (command::HANDSHAKE, 2));
            assert_eq!(HandshakeRequest::decode(&request.payload).unwrap().node.network_id, NetworkId::MAINNET);
            let response = local.answer(&request).unwrap().unwrap();
            connection.send(&Message { return_code: code, ..response }).unwrap();
            let left = connection.receive().unwrap_err();
            assert!(matches!(left, Error::Unreachable(_)), "{code}: {left:?}");
        }
        // It dials again; now as the listener does it.
        let mut connection = accept();
        assert_eq!(connection.serve(&local).unwrap().command, command::HANDSHAKE);
        eventually("monerod to be ready", 20, || rpc("get_info", &json!({})).unwrap()["synchronized"] == true);
        let commands = serve_while_mining(&mut connection, &local, 1, 2);
        assert!(commands.contains(&command::SUPPORT_FLAGS), "{commands:?}");
        assert!(!commands.contains(&command::REQUEST_CHAIN), "it knows our only block: {commands:?}");
        assert_eq!(settled(&local)["incoming"], false);
        drop(connection);

        // The peers we tell of, it reads as we meant them.
        let mut connection = accept();
        let request = connection.receive().unwrap();
        let peer = |address: &str| PeerEntry {
            address: PeerAddress::Ip(address.parse().unwrap()),
            id: 7,
            last_seen: 0,
            pruning_seed: 0,
            rpc_port: 18_089,
        };
        let peers = vec![peer("203.0.113.9:18080"), peer("[2001:db8::7]:18081")];
        let (node, sync) = (local.node.clone(), local.sync.clone());
        let payload = HandshakeResponse { node, sync, peers }.encode().unwrap();
        connection.send(&Message::response(request.command, return_code::HANDLED, payload)).unwrap();
        eventually("monerod to know the peers", 20, || {
            let list = http("/get_peer_list", &json!({})).unwrap();
            let told = list["gray_list"].as_array().cloned().unwrap_or_default();
            let has = |host: &str, port: u16| told.iter().any(|peer| peer["host"] == host && peer["port"] == port);
            has("203.0.113.9", 18_080) && has("2001:db8::7", 18_081)
        });
    });
}
