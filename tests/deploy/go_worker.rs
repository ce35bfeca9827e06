//! A worker with a Go node's manners on a real socket: it answers ping without announcing anything, ignores
//! types it does not know, and takes a miner in one message as the original does (mesh.md §4).

use rigmesh::base::{Now, Rng, Time, Timestamp};
use rigmesh::bundle::{self, Unpacked};
use rigmesh::formats::smsg::{LinkKey, open_link, seal_v1};
use rigmesh::identity::{Identity, PublicKey, Role};
use rigmesh::message::{DeployAck, Message, Payload, Pong};
use rigmesh::session::{Challenges, Known, LinkKeys, Responded, Security, respond};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{SystemTime, UNIX_EPOCH};
use tungstenite::{Message as WsMessage, WebSocket};

pub struct GoWorker {
    pub address: String,
    pub key: PublicKey,
    /// What was deployed to it, and the types of all it heard.
    pub deployed: Receiver<Unpacked>,
    pub heard: Receiver<String>,
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Now { mono: Time::ZERO, wall: Timestamp::from_unix(since.as_secs() as i64, since.subsec_nanos()) }
}

impl GoWorker {
    pub fn start() -> GoWorker {
        let mut rng = Rng::from_number(99);
        let identity = Identity::generate("go", Role::Worker, now().wall, &mut rng).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, key) = (listener.local_addr().unwrap().to_string(), identity.public_key());
        let ((deploys, deployed), (words, heard)) = (channel(), channel());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&identity, stream.unwrap(), &mut rng, &deploys, &words);
            }
        });
        GoWorker { address, key, deployed, heard }
    }
}

fn serve(identity: &Identity, stream: TcpStream, rng: &mut Rng, deploys: &Sender<Unpacked>, words: &Sender<String>) {
    let mut ws = tungstenite::accept(stream).unwrap();
    let hello = ws.read().unwrap().into_data();
    let admit = |_: &_, _| Ok(Known::default());
    let Responded::Accept { ack, established, keys: LinkKeys::Plain(link_key) } =
        respond(identity, &Security::Off, &hello, admit, now(), rng, &mut Challenges::new())
    else {
        panic!("no handshake");
    };
    ws.send(WsMessage::text(String::from_utf8(ack).unwrap())).unwrap();
    while let Ok(message) = ws.read() {
        let mut frame = message.into_data().to_vec();
        let mut body = Vec::new();
        if frame.is_empty() || open_link(&link_key, &mut frame, &mut body).is_err() {
            continue;
        }
        let request = Message::decode(&body).unwrap();
        let _ = words.send(request.kind.to_string());
        let reply = match request.payload() {
            Ok(Payload::Ping(ping)) => {
                Payload::Pong(Pong { sent_at: ping.sent_at, received_at: now().wall.unix_millis(), rigmesh: None })
            }
            Ok(Payload::Deploy(deploy)) => {
                let password = identity.secret().shared_secret(&established.key).unwrap().smsg_password();
                let name = deploy.name.clone();
                let unpacked = bundle::extract_miner_bundle(deploy.into(), &password).unwrap();
                deploys.send(unpacked).unwrap();
                Payload::DeployAck(DeployAck { success: true, name, error: String::new() })
            }
            _ => continue,
        };
        let reply = request.reply(now(), rng, &reply);
        say(&mut ws, &link_key, rng, &reply);
    }
}

fn say(ws: &mut WebSocket<TcpStream>, key: &LinkKey, rng: &mut Rng, message: &Message) {
    let mut frame = Vec::new();
    seal_v1(key, rng.array(), now().wall.unix_seconds(), &message.encode(), &mut frame).unwrap();
    let _ = ws.send(WsMessage::binary(frame));
}
