//! These tests are about how fast a peer takes what it lacks, and what does not wait for that.

use super::*;

const LARGE: usize = 600 << 10;

/// The first key from `number` on of the partition of `other`, or of another one.
fn key_beside(other: &Target, is_there: bool, number: &mut u32) -> Target {
    loop {
        *number += 1;
        let found = target(PLAIN, &format!("key {number}"));
        if (found.place == other.place) == is_there {
            return found;
        }
    }
}

/// Waits for what nothing tells of.
async fn until(is_so: impl Fn() -> bool) {
    let waits = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_mins(1), waits).await;
    waited.expect("it becomes so");
}

#[tokio::test]
async fn a_partition_that_waits_for_the_rate_holds_up_no_other() {
    let mut cluster = Cluster::start().await;
    let mut number = 0;
    let large = target(PLAIN, "large");
    let small = key_beside(&large, false, &mut number);
    cluster.cut(2);
    let value = "x".repeat(LARGE);
    for _ in 0..4 {
        let key = key_beside(&large, true, &mut number);
        let put = cluster.put(0, &key, Some(&value), Basis::Blind).await;
        put.expect("two of three");
    }
    cluster.repair_rate = 1;
    cluster.restart(2, true, |_| ()).await;
    cluster.heal();
    let behind = Arc::clone(&cluster.peers[2]);
    let converging = tokio::spawn(async move { behind.converge().await });
    let whole = |place: Place| {
        let seen = |peer: usize| {
            let moment = cluster.peers[peer].moment();
            moment.shown(&place).map(|shown| shown.state.clock.clone())
        };
        seen(0) == seen(2)
    };
    until(|| cluster.peers[2].counts().repair_bytes != 0).await;
    // It has the first answer, which cost it more than a week.
    cluster.cut(2);
    let put = cluster.put(0, &small, Some("small"), Basis::Blind).await;
    put.expect("two of three");
    cluster.heal();
    until(|| {
        cluster.peers[2].converge_soon();
        whole(small.place) && cluster.peers[2].partitions_behind() == 1
    })
    .await;
    assert!(!whole(large.place), "more than a first answer waits");
    converging.abort();
    cluster.stop();
}
