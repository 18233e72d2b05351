//! This is a power cut of all nodes at once: only bytes that were synced are left of their disks.

use soros_tests::cluster::Cluster;
use soros_tests::disk::Disk;
use soros_tests::load::{Load, faults};
use std::sync::Arc;

#[tokio::test]
async fn what_was_acknowledged_is_there_after_all_nodes_lost_their_power() {
    let Some(disk) = Disk::new() else { return };
    let mut cluster = Cluster::start_on_disk(3, disk).await;
    Load::prepare(&cluster).await;
    let mut oracle = Arc::default();
    for _ in 0..3 {
        let load = Load::go_on(&cluster, &[0, 1, 2], 4, oracle);
        load.progress(200).await;
        for node in 0..3 {
            cluster.kill(node);
        }
        (_, oracle) = load.stop().await;
        cluster.disk().cut_power();
        cluster.start_all().await;
        for node in 0..3 {
            let log = cluster.log(node);
            assert!(!log.contains("records may be missing"), "{log}");
        }
        assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
    }
}
