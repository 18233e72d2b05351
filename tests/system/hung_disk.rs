//! This is a disk that takes nothing for a while, or little at a time: only its node waits for it,
//! and not for ever; clients of the others do not notice.

use soros_tests::cluster::Cluster;
use soros_tests::disk::Disk;
use soros_tests::load::{Load, faults};
use soros_tests::register::Register;
use std::os::unix::fs::symlink;
use std::time::Duration;
use tokio::task::JoinSet;

const CLIENTS: usize = 2;
/// The longest that clients of the other nodes may wait for an answer as hoped.
const GAP_MAX: Duration = Duration::from_secs(10);
/// Writes at once to the node whose disk hangs.
const WRITES: usize = 200;
/// How often the slow disk hangs, and for how long.
const TIMES: usize = 20;
const MOMENT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_disk_that_hangs_holds_up_its_node_alone() {
    let Some(disk) = Disk::new() else { return };
    let mut cluster = Cluster::of(&["peer,authority"; 3]);
    symlink(disk.path(), cluster.folder(0)).expect("a link");
    cluster.start_all().await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[0, 1, 2], CLIENTS);
    let register = Register::start(&cluster, 1, &[1, 2]);
    load.progress(50).await;

    let hanging = disk.hang();
    let before = register.acknowledged();
    load.progress(200).await;
    assert!(before < register.acknowledged());
    let mut writers = JoinSet::new();
    for _ in 0..WRITES {
        let mut http = cluster.http(0);
        writers.spawn(async move {
            let blind = [("soros-write", "blind")];
            http.put("/v1/kv/load/hung", &blind, "x").await
        });
    }
    let mut held_up = 0;
    while let Some(answer) = writers.join_next().await {
        let answer = answer.expect("a writer").expect("an answer");
        let status = answer.status.as_u16();
        assert!([201, 204, 429, 503, 504].contains(&status), "{status}");
        held_up += u32::from(204 < status);
    }
    assert!(0 < held_up, "the disk did not hang");
    load.progress(100).await;
    drop(hanging);

    load.progress(100).await;
    for _ in 0..TIMES {
        let hanging = disk.hang();
        tokio::time::sleep(MOMENT).await;
        drop(hanging);
        load.progress(5).await;
    }
    for node in 0..3 {
        cluster.wait_ready(node).await;
    }
    let seen = register.stop().await;
    assert_eq!(seen.stale, Vec::<String>::new());
    let (tallies, oracle) = load.stop().await;
    for node in [1, 2] {
        assert!(tallies[&node].longest_gap < GAP_MAX, "{:?}", tallies[&node]);
    }
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}
