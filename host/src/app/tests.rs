//! These are a node's promises when it begins again in the same process.

mod policies;

use super::*;
use crate::config::Flags;
use crate::network::shutdown;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

/// Two ports that are free now, and that the system gives nobody by itself: the test with this
/// `number` alone takes them, so that those that run at once have others.
fn free_ports(number: u16) -> [u16; 2] {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).expect("small");
    let mut ports = (first + 100 * number..32_768).filter(free);
    [(); 2].map(|()| ports.next().expect("a free port"))
}

fn config(folder: &Path, [client, peer]: [u16; 2]) -> Config {
    let address = |port| format!("127.0.0.1:{port}");
    let flags = Flags::default()
        .with("name", "n1")
        .with("dir", &folder.display().to_string())
        .with("listen", &address(client))
        .with("peer", &address(peer))
        .with("bootstrap", &address(peer));
    Config::load(&flags, |_| None).expect("a configuration")
}

#[tokio::test]
async fn a_node_begins_again_where_it_was_while_others_are_connected() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(0);
    let runtime = Arc::new(Runtime::new(Compiler::Here).expect("room for engines"));
    let mut connections = Vec::new();
    for turn in 0..2 {
        let started = App::start(config(folder.path(), ports), Arc::clone(&runtime)).await;
        let app = started.unwrap_or_else(|error| panic!("start {turn}: {error}"));
        app.serves().await.expect("it serves");
        for port in ports {
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            connections.push(connected.expect("a connection"));
        }
        let (end, ended) = shutdown();
        end.fire();
        let ended = app.ended(TORN_AFTER, ended).await;
        app.end(ended).await.expect("a clean end");
    }
}

/// Whether a node comes to serve may depend on the very table that is damaged.
#[tokio::test]
async fn a_node_that_never_serves_begins_again_to_save_what_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let [client, peer] = free_ports(1);
    let address = |port| format!("127.0.0.1:{port}");
    let flags = Flags::default()
        .with("name", "n1")
        .with("dir", &folder.path().display().to_string())
        .with("listen", &address(client))
        .with("peer", &address(peer))
        .with("join", "127.0.0.1:1");
    let config = Config::load(&flags, |_| None).expect("a configuration");
    let runtime = Arc::new(Runtime::new(Compiler::Here).expect("room for engines"));
    let app = App::start(config.clone(), Arc::clone(&runtime)).await;
    let app = app.expect("it starts");
    app.directory.notes().note_torn().expect("works");
    app.end(Ok(())).await.expect("a clean end");
    // Nothing can be saved before one of these goes.
    let aside = |turn| folder.path().join(format!("damaged-{turn}"));
    for turn in 1..=4 {
        std::fs::create_dir_all(aside(turn).join("engine")).expect("a folder");
    }
    let (_end, stop) = shutdown();
    let run = tokio::spawn(run_once(config, runtime, Duration::ZERO, stop));
    let at = (Ipv4Addr::LOCALHOST, client);
    while tokio::net::TcpStream::connect(at).await.is_err() {
        assert!(!run.is_finished(), "it starts, with nobody to join");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::remove_dir_all(aside(2)).expect("a folder");
    let ended = run.await.expect("no panic");
    let is_torn = matches!(ended, Err(AppError::Run(RunError::Torn)));
    assert!(is_torn, "{ended:?}");
}
