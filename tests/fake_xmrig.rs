//! No test: a small stand-in for XMRig, built with the tests (no harness) and started by them as a miner.
//! Find it with `support::fake_xmrig()`. Run by `cargo test`, without `--config`, it ends at once with success.
//!
//! With `--config FILE` or `--config=FILE` it reads the configuration file as XMRig does, prints some lines, and
//! serves the recorded answers of `tests/data/xmrig/` on `http.host:http.port` behind
//! `http.access-token`, with XMRig's statuses. SIGTERM ends it with status 0.
//! What it plays is told by the first pool's `user`, so that it can be chosen through a profile or a controller:
//!
//! | user contains | it |
//! |---|---|
//! | `starting` | answers as while the dataset is built: zeros, nothing measured |
//! | `paused` | says that it is paused |
//! | `earning` | has 7 good shares of 8, accepted on this connection |
//! | `silent` | listens but never answers |
//! | `deaf` | ignores SIGTERM |
//! | `flood` | prints without end |
//! | `dies` | prints a reason and ends with status 3 at once |
//! | `crash-MS` | does the same after MS milliseconds |
//! | anything else | hashes, with no share yet, as in the recording |

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SUMMARY: &str = include_str!("data/xmrig/summary.json");
const STARTING: &str = include_str!("data/xmrig/summary-starting.json");
const BACKENDS: &str = include_str!("data/xmrig/backends.json");

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let inline = args.iter().find_map(|arg| arg.strip_prefix("--config="));
    let separate = || args.iter().position(|arg| arg == "--config").and_then(|i| args.get(i + 1));
    let Some(path) = inline.or_else(|| separate().map(String::as_str)) else { return };
    let config: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let user = config["pools"][0]["user"].as_str().unwrap_or_default().to_owned();
    let told = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&told)).unwrap();
    println!(" * ABOUT        XMRig/6.26.0 gcc/12.2.0 (a stand-in)");
    println!(" * POOL #1      {} algo auto", config["pools"][0]["url"].as_str().unwrap_or("none"));
    // A miner that is careless with the wallet: whoever keeps these lines must mask it.
    println!("[2026-01-01 00:00:00.000]  net      login as {user} with {}", config["http"]["access-token"]);
    eprintln!("[2026-01-01 00:00:00.001]  cpu      READY threads 2/2 (2)");
    if user.contains("flood") {
        std::thread::spawn(|| {
            loop {
                println!("flood");
            }
        });
    }
    let delay =
        user.split_once("crash-").map(|(_, ms)| ms.chars().take_while(char::is_ascii_digit).collect::<String>());
    if user.contains("dies") || delay.is_some() {
        std::thread::sleep(Duration::from_millis(delay.and_then(|ms| ms.parse().ok()).unwrap_or(0)));
        println!("[2026-01-01 00:00:00.002]  config   no valid configuration found");
        std::process::exit(3);
    }
    let address = (config["http"]["host"].as_str().unwrap(), config["http"]["port"].as_u64().unwrap() as u16);
    let listener = TcpListener::bind(address).unwrap();
    let token = config["http"]["access-token"].as_str().unwrap().to_owned();
    let deaf = user.contains("deaf");
    std::thread::spawn(move || serve(&listener, &user, &token));
    while deaf || !told.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("[2026-01-01 00:00:00.003]  signal   SIGTERM received, exiting");
}

fn serve(listener: &TcpListener, user: &str, token: &str) {
    let mut kept = Vec::new();
    for socket in listener.incoming().flatten() {
        if user.contains("silent") {
            kept.push(socket);
        } else {
            answer(socket, user, token);
        }
    }
}

fn answer(mut socket: TcpStream, user: &str, token: &str) {
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let authorization = head.iter().find_map(|line| line.strip_prefix("Authorization: "));
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match (authorization, request.starts_with("GET "), path) {
        (None, ..) => ("401 UNAUTHORIZED", String::new()),
        (Some(bearer), ..) if bearer != format!("Bearer {token}") => ("403 FORBIDDEN", String::new()),
        (_, false, _) => ("405 METHOD NOT ALLOWED", String::new()),
        (_, _, "/2/summary" | "/1/summary" | "/api.json") => ("200 OK", summary(user)),
        (_, _, "/2/backends") => ("200 OK", BACKENDS.to_owned()),
        (_, _, "/2/config" | "/1/config") => ("403 FORBIDDEN", String::new()),
        _ => ("404 NOT FOUND", "{\n    \"status\": 404,\n    \"error\": \"NOT_FOUND\"\n}".to_owned()),
    };
    let length = body.len();
    let _ = write!(
        socket,
        "HTTP/1.1 {status}\r\nAccess-Control-Allow-Headers: Authorization, Content-Type\r\nAccess-Control-Allow-Methods: GET, PUT, POST, DELETE\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n\r\n{body}"
    );
}

fn summary(user: &str) -> String {
    if user.contains("starting") {
        return STARTING.to_owned();
    }
    let mut summary: Value = serde_json::from_str(SUMMARY).unwrap();
    summary["paused"] = json!(user.contains("paused"));
    if user.contains("earning") {
        summary["results"]["shares_good"] = json!(7);
        summary["results"]["shares_total"] = json!(8);
        summary["connection"]["accepted"] = json!(7);
        summary["connection"]["rejected"] = json!(1);
    }
    summary.to_string()
}
