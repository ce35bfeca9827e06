//! The node as a service: units that systemd reads, files that are nobody else's, and the words a service manager hears.

use super::user::{BINARY, Folder, signal};
use crate::support::eventually;
use serde_json::Value;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A folder whose user-units and whose `systemctl` are the test's own: that one writes down what it is told.
fn with_systemctl(answers: &str) -> (Folder, PathBuf) {
    let folder = Folder::init("worker", "rig-1");
    let (bin, calls) = (folder.path("bin"), folder.path("calls"));
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >> '{}'\n{answers}\n", calls.display());
    let systemctl = folder.write("bin/systemctl", &script);
    std::fs::set_permissions(systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder.set_environment("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    folder.set_environment("XDG_CONFIG_HOME", folder.path("xdg"));
    (folder, calls)
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = Folder::init("worker", "rig-1");
    for args in [
        &["service", "install", "--print"][..],
        &["service", "install", "--print", "--run-as", "daemon", "--", "--listen", ":9091", "--fleet", "a b%$"],
        &["service", "install", "--print", "--user", "--", "--lan"],
    ] {
        let text = folder.run(args).ok().out;
        assert!(text.contains(&format!("ExecStart={BINARY} serve")) && text.contains("Type=notify"), "{text}");
        assert!(text.contains(folder.data().to_str().unwrap()), "{text}");
        if !is_there("systemd-analyze") {
            eprintln!("LEFT OUT: no systemd-analyze here, so nobody but us has looked at the units");
            continue;
        }
        let unit = folder.write("rigmesh.service", &text);
        let mode: &[&str] = if args.contains(&"--user") { &["--user"] } else { &[] };
        let output = Command::new("systemd-analyze")
            .args(mode)
            .args(["verify", "--man=no"])
            .arg(&unit)
            .env("XDG_RUNTIME_DIR", folder.data())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("rigmesh")).collect();
        assert!(output.status.success() && ours.is_empty(), "{said}\n{text}");
    }
}

#[test]
fn a_unit_goes_into_an_image_and_never_over_one_of_somebody_else() {
    let folder = Folder::new();
    let image = folder.path("image");
    let root = image.to_str().unwrap();
    let unit = image.join("etc/systemd/system/rigmesh.service");
    let install = ["service", "install", "--root", root, "--program", "/usr/bin/rigmesh"];
    let row = &folder.rows(&install)[0];
    assert_eq!((&row["changed"], &row["enabled"]), (&Value::from(true), &Value::from(false)));
    assert_eq!(unit.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(unit.parent().unwrap()).unwrap().count(), 1, "nothing beside it");
    assert_eq!(folder.rows(&install)[0]["changed"], false);
    // Other options: the unit is ours and written anew.
    assert_eq!(folder.rows(&[&install[..], &["--run-as", "miner"]].concat())[0]["changed"], true);
    assert!(std::fs::read_to_string(&unit).unwrap().contains("User=miner"));

    std::fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
    folder.run(&install).fails(3, &["not written by rigmesh", "--force"]);
    folder.run(&["service", "uninstall", "--root", root]).fails(3, &["not written by rigmesh", "--force"]);
    assert!(std::fs::read_to_string(&unit).unwrap().contains("/bin/true"));
    std::fs::remove_file(&unit).unwrap();
    std::os::unix::fs::symlink("/dev/null", &unit).unwrap();
    folder.run(&install).fails(3, &["not written by rigmesh"]);
    folder.run(&[&install[..], &["--force"]].concat()).ok();
    assert!(!unit.is_symlink());

    folder.run(&["service", "uninstall", "--root", root]).ok();
    assert!(!unit.exists());
    folder.run(&["service", "uninstall", "--root", root]).fails(1, &["there is no"]);
    folder.run(&[&install[..], &["--now"]].concat()).fails(2, &["--root"]);
    folder.run(&["service", "install", "--print", "--", "--nonsense"]).fails(2, &["--nonsense", "serve --help"]);
    folder.run(&["service", "install", "--init", "openrc"]).fails(2, &["--print"]);
}

#[test]
fn systemctl_is_told_in_order_and_its_refusals_are_passed_on() {
    let (folder, calls) = with_systemctl("case \"$*\" in *show*) echo ActiveState=active; echo MainPID=7;; esac");
    let unit = folder.path("xdg/systemd/user/rigmesh.service");
    let row = folder.run(&["service", "install", "--json", "--user", "--now", "--", "--lan"]).ok().rows().remove(0);
    assert_eq!((&row["enabled"], &row["started"], &row["undone"]), (&true.into(), &true.into(), &Value::Array(vec![])));
    let told = |calls: &Path| {
        let text = std::fs::read_to_string(calls).unwrap();
        std::fs::remove_file(calls).unwrap();
        let last = |line: &str| line.rsplit("--no-ask-password ").next().unwrap().to_owned();
        assert!(text.lines().all(|line| line.starts_with("--user ")), "{text}");
        text.lines().map(last).filter(|words| !words.starts_with("show")).collect::<Vec<_>>()
    };
    assert_eq!(told(&calls), ["daemon-reload", "enable rigmesh.service", "restart rigmesh.service"]);
    let row = &folder.rows(&["service", "status", "--user"])[0];
    assert_eq!((&row["active"], &row["pid"], &row["ours"]), (&"active".into(), &7.into(), &true.into()));
    assert!(folder.run(&["service", "status", "--user"]).ok().out.contains("installed"));
    told_nothing_else(&calls);
    folder.run(&["service", "uninstall", "--user"]).ok();
    assert_eq!(told(&calls), ["disable --now rigmesh.service", "daemon-reload"]);
    assert!(!unit.exists());

    let (folder, _) = with_systemctl("echo 'Access denied' >&2; exit 4");
    let unit = folder.path("xdg/systemd/user/rigmesh.service");
    folder
        .run(&["service", "install", "--user", "--now"])
        .fails(1, &["the unit stands", "daemon-reload: Access denied"]);
    assert!(unit.exists());
    let status = folder.run(&["service", "status", "--user"]);
    assert!(status.code == 4 && status.err.contains("Access denied") && status.out.contains("installed"), "{status:?}");
    // What does not run need not be stopped.
    folder.run(&["service", "uninstall", "--user"]).ok();
    assert!(!unit.exists());

    let folder = Folder::new();
    folder.set_environment("PATH", "/nowhere");
    folder.set_environment("XDG_CONFIG_HOME", folder.path("xdg"));
    folder.run(&["service", "install", "--user", "--now"]).fails(3, &["no identity", "rigmesh init"]);
    folder.run(&["service", "status", "--user", "--json"]).fails(4, &["no systemctl"]);
}

fn told_nothing_else(calls: &Path) {
    let text = std::fs::read_to_string(calls).unwrap();
    assert!(text.lines().all(|line| line.contains(" show ")), "{text}");
    std::fs::remove_file(calls).unwrap();
}

#[test]
fn a_script_for_another_init_runs_the_node() {
    let folder = Folder::init("worker", "rig-1");
    let print = |init: &str| {
        folder.run(&["service", "install", "--init", init, "--print", "--", "--listen", "127.0.0.1:0"]).ok().out
    };
    for init in ["openrc", "busybox"] {
        let script = folder.write(init, &print(init));
        assert!(Command::new("sh").arg("-n").arg(&script).status().unwrap().success(), "{init}");
    }
    let mut script = Command::new("sh");
    let mut child = script.arg(folder.path("busybox")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the node to run", 20, || folder.rows(&["id"])[0]["running"] == true);
    // As init does at shutdown: everything hears the signal.
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    for pid in children.split_whitespace().map(|pid| pid.parse().unwrap()) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "rigmesh" {
            signal(pid, "TERM");
        }
    }
    eventually("the node to end", 20, || folder.rows(&["id"])[0]["running"] == false);
    let _ = child.kill();
    child.wait().unwrap();
}

/// What the socket hears within five seconds, the time of its coming besides.
fn hear(socket: &UnixDatagram) -> (String, Instant) {
    let mut bytes = [0; 1024];
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let n = socket.recv(&mut bytes).expect("a word to the service manager");
    (String::from_utf8_lossy(&bytes[..n]).into_owned(), Instant::now())
}

#[test]
fn the_service_manager_hears_when_the_node_serves_that_it_lives_and_that_it_stops() {
    for by_name in [false, true] {
        let folder = Folder::init("worker", "rig-1");
        let (path, name) = (folder.path("notify"), format!("rigmesh-cli-test-{}", std::process::id()));
        let socket = match by_name {
            true => UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
            false => UnixDatagram::bind(&path).unwrap(),
        };
        folder
            .set_environment("NOTIFY_SOCKET", if by_name { format!("@{name}").into() } else { path.into_os_string() });
        folder.set_environment("WATCHDOG_USEC", "400000");
        folder.set_environment("MALLOC_ARENA_MAX", "2");
        let daemon = folder.serve();
        let mut said = hear(&socket).0;
        // The dispatcher lives before the node serves.
        while said == "WATCHDOG=1" {
            said = hear(&socket).0;
        }
        assert_eq!(said, format!("READY=1\nSTATUS=listens on ws://{}", daemon.address()));
        TcpStream::connect(daemon.address()).unwrap();

        let (mut beats, mut last) = (0, Instant::now());
        while beats < 5 {
            let (said, at) = hear(&socket);
            assert_eq!(said, "WATCHDOG=1");
            assert!(at - last < Duration::from_millis(400) + Duration::from_secs(2), "a machine as slow as this?");
            (beats, last) = (beats + 1, at);
        }
        // Nothing moves, nothing is heard.
        daemon.signal("STOP");
        std::thread::sleep(Duration::from_millis(300));
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut [0; 64]).is_ok() {}
        std::thread::sleep(Duration::from_millis(600));
        assert!(socket.recv(&mut [0; 64]).is_err());
        socket.set_nonblocking(false).unwrap();
        daemon.signal("CONT");
        assert_eq!(hear(&socket).0, "WATCHDOG=1");

        // A miner knows nothing of it.
        folder.run(&["start", "self"]).ok();
        let pid = folder.await_miner("sha256d-1", None);
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environ = String::from_utf8_lossy(&environ).into_owned();
        assert!(environ.contains("RIGMESH_LAUNCH=") && !environ.contains("NOTIFY_SOCKET"), "{environ}");
        assert!(!environ.contains("WATCHDOG") && !environ.contains("MALLOC_ARENA_MAX"), "{environ}");

        assert_eq!(daemon.stop(), 0);
        socket.set_nonblocking(true).unwrap();
        let mut heard = Vec::new();
        let mut bytes = [0; 1024];
        while let Ok(n) = socket.recv(&mut bytes) {
            heard.push(String::from_utf8_lossy(&bytes[..n]).into_owned());
        }
        assert!(heard.iter().any(|said| said.starts_with("STOPPING=1")), "{heard:?}");
    }
}

#[test]
fn a_service_manager_that_makes_no_sense_is_a_fault_of_the_configuration() {
    let folder = Folder::init("worker", "rig-1");
    folder.set_environment("NOTIFY_SOCKET", "somewhere");
    folder.run(&["serve", "--listen", "127.0.0.1:0"]).fails(3, &["NOTIFY_SOCKET"]);
    folder.run(&["id"]).ok();
}
