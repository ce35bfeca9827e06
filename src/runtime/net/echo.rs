//! A server that sends back what it gets, over the same code as links: upgrade, reading, pongs, closing, writing. For the
//! fuzzing client of `tests/autobahn.sh`, and for a first look by ourselves.

use super::conn::{Conn, Parts};
use super::gate::{Gate, GateLimits};
use super::open::{UpgradeCheck, ws_config};
use super::pipe::Pipe;
use super::reader::Wire;
use crate::base::Rng;
use crate::formats::smsg::LinkKey;
use crate::mesh::LinkId;
use crate::runtime::clock::Clock;
use crate::runtime::threads::Threads;
use crate::session::{Outbound, OutboundLimits};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::Data;
use tungstenite::{Message, WebSocket};

/// The fuzzing client sends 16 MiB at once.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

fn serve(listener: &TcpListener) {
    let threads = Arc::new(Threads::default());
    let gate = Gate::new(GateLimits::WIDE);
    let clock = Clock::start();
    for (n, socket) in listener.incoming().flatten().enumerate() {
        let socket = Arc::new(socket);
        let pass = gate.leave(clock.mono(), socket.peer_addr().unwrap().ip(), &socket);
        let outbound =
            Outbound::new(LinkKey::from_secret(&[0; 32]), Rng::from_number(1), OutboundLimits::default(), clock.mono());
        let parts =
            Parts { socket: socket.clone(), tls: None, clock, threads: threads.clone(), pass, outbound, masks: None };
        let conn = Conn::new(LinkId(n as u64), parts);
        std::thread::spawn(move || echo(socket, conn));
    }
}

fn echo(socket: Arc<TcpStream>, conn: Arc<Conn>) {
    let pipe = Pipe::new(socket, None, Instant::now() + Duration::from_secs(10));
    let check = UpgradeCheck { path: "/ws", full: false };
    let Ok(mut ws) = tungstenite::accept_hdr_with_config(pipe, check, Some(ws_config(MESSAGE_BYTES_MAX))) else {
        return;
    };
    ws.get_mut().split(conn.clone()).unwrap();
    let mut wire = Wire { ws, conn };
    while let Ok((binary, message)) = wire.next() {
        wire.conn.send_unsealed(if binary { Data::Binary } else { Data::Text }, &message);
    }
    wire.conn.shut();
}

#[test]
#[ignore = "a server for tests/autobahn.sh, which ends it"]
fn serve_for_the_fuzzing_client() {
    let at = std::env::var("RIGMESH_ECHO").unwrap();
    serve(&TcpListener::bind(at).unwrap());
}

#[test]
fn what_is_sent_comes_back_whatever_its_size_and_a_close_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(&listener));
    let (mut ws, _): (WebSocket<_>, _) =
        tungstenite::client(format!("ws://{at}/ws"), TcpStream::connect(at).unwrap()).unwrap();
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        ws.send(Message::binary(vec![7; size])).unwrap();
        assert_eq!(ws.read().unwrap().into_data().len(), size);
        ws.send(Message::text("\u{fc}".repeat(size / 2))).unwrap();
        assert_eq!(ws.read().unwrap().into_text().unwrap().len(), size / 2 * 2);
    }
    ws.send(Message::Ping(vec![1, 2].into())).unwrap();
    assert_eq!(ws.read().unwrap(), Message::Pong(vec![1, 2].into()));
    ws.close(None).unwrap();
    assert!(matches!(ws.read(), Ok(Message::Close(_))));
}
