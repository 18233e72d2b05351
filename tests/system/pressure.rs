//! This is what a node does when it is asked for more than it has: it refuses some, and serves the
//! others.

use hyper::{Method, StatusCode};
use soros_tests::cluster::Cluster;
use soros_tests::load::{Load, faults};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const CLIENTS: usize = 2;
/// How many files the node may have open, and how many connections are made to it.
const OPEN_FILES: u32 = 256;
const CROWD: usize = 400;
const PATIENCE: Duration = Duration::from_secs(30);

fn crowd(address: SocketAddr) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok();
    (0..CROWD).filter_map(connect).collect()
}

#[tokio::test]
async fn a_node_with_more_connections_than_files_goes_on_serving() {
    let mut cluster = Cluster::of(&["peer,authority"; 3]);
    cluster.set_open_files(0, OPEN_FILES);
    cluster.start_all().await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[1, 2], CLIENTS);
    let mut early = cluster.http(0);
    early.get("/health/ready").await.expect("an answer");
    let clients = crowd(cluster.address(0));
    let peers = crowd(cluster.peer_address(0));
    assert!(OPEN_FILES as usize <= clients.len(), "{}", clients.len());
    let begun = Instant::now();
    while !["clients are turned away", "peers are turned away"]
        .iter()
        .all(|told| cluster.log(0).contains(told))
    {
        assert!(begun.elapsed() < PATIENCE, "nobody is turned away");
        load.progress(1).await;
    }
    // Who was there before is served, the engine has its files, and the others reach the node.
    for turn in 0..100 {
        let path = format!("/v1/kv/default/crowded-{turn}");
        let written = early.send(Method::PUT, &path, &[], "value").await;
        let status = written.expect("an answer").status;
        assert_eq!(status, StatusCode::CREATED, "turn {turn}");
        let read = early.get(&path).await.expect("an answer");
        assert_eq!(read.text(), "value");
    }
    load.progress(100).await;
    let log = cluster.log(0);
    assert!(!log.contains("Too many open files"), "{log}");
    drop((clients, peers));
    cluster.wait_ready(0).await;
    let (_, oracle) = load.stop().await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}
