//! These are a node's promises when it begins again in the same process.

use super::*;
use crate::config::Flags;
use crate::network::shutdown;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

/// Two ports that are free now, and that the system gives nobody by itself.
fn free_ports() -> [u16; 2] {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).expect("small");
    let mut ports = (first..32_768).filter(free);
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
    let ports = free_ports();
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
        app.run(TORN_AFTER, ended).await.expect("a clean end");
    }
}
