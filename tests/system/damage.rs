//! This is what becomes of a node one of whose files is damaged while it is stopped: it comes back
//! by the same flags, as itself, and refills from the others, which are under load.

use soros_tests::cluster::Cluster;
use soros_tests::folder::{self, Harm};
use soros_tests::load::{Load, faults};
use soros_tests::register::Register;
use std::path::Path;
use std::time::{Duration, Instant};

const CLIENTS: usize = 2;
/// How long a node with a damaged directory may take to be at full strength again.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Kinds of files in a data directory, by how the path begins, and what happens to them.
const HARMS: [(&str, Harm); 22] = [
    ("identity", Harm::Flip),
    ("identity", Harm::Cut),
    ("format", Harm::Flip),
    ("format", Harm::Remove),
    ("mark", Harm::Flip),
    ("mark", Harm::Cut),
    ("mark", Harm::Remove),
    ("lock", Harm::Cut),
    ("engine/version", Harm::Flip),
    ("engine/version", Harm::Remove),
    ("engine/0.jnl", Harm::Flip),
    ("engine/0.jnl", Harm::Cut),
    ("engine/0.jnl", Harm::Remove),
    // The engine's own keyspace, then the partitions, the node's records (its map among them) and
    // the authority's.
    ("engine/keyspaces/0/current", Harm::Flip),
    ("engine/keyspaces/0/v", Harm::Flip),
    ("engine/keyspaces/0/tables/", Harm::Flip),
    ("engine/keyspaces/1/current", Harm::Remove),
    ("engine/keyspaces/1/v", Harm::Cut),
    ("engine/keyspaces/2/v", Harm::Flip),
    ("engine/keyspaces/2/tables/", Harm::Flip),
    ("engine/keyspaces/1/tables/", Harm::Flip),
    ("engine/keyspaces/3/tables/", Harm::Flip),
];

/// Harms the largest file whose path begins so; whether there is one with something in it.
fn harm(folder: &Path, begins: &str, harm: Harm) -> bool {
    let mut files = folder::files(folder);
    files.retain(|file| file.to_str().is_some_and(|path| path.starts_with(begins)));
    let len = |file: &std::path::PathBuf| folder.join(file).metadata().map_or(0, |file| file.len());
    let file = files.into_iter().max_by_key(len);
    file.is_some_and(|file| folder::harm(&folder.join(file), harm))
}

#[tokio::test]
async fn a_node_with_any_of_its_files_damaged_comes_back_as_itself_and_refills() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let map = cluster.http(1).get("/v1/cluster/map").await;
    let id = map.expect("an answer").json()["cluster"].clone();
    let load = Load::start(&cluster, &[1, 2], CLIENTS);
    let register = Register::start(&cluster, 1, &[0, 1, 2]);
    for (begins, how) in HARMS {
        load.progress(10).await;
        // A clean end writes tables; after it the journal has nothing that they lack.
        cluster.terminate(0).await;
        if !begins.contains("tables") {
            cluster.restart(0).await;
            load.progress(10).await;
            cluster.kill(0);
        }
        let folder = cluster.folder(0);
        assert!(harm(&folder, begins, how), "there is no {begins}");
        let begun = Instant::now();
        cluster.restart(0).await;
        let took = begun.elapsed();
        assert!(took < READY_WITHIN, "{begins} {how:?}: {took:?}");
        let map = cluster.http(0).get("/v1/cluster/map").await;
        assert_eq!(map.expect("an answer").json()["cluster"], id, "{begins}");
        // As an operator does who has seen it; the node ends when there are too many of them.
        for turn in 1..=4 {
            let aside = folder.join(format!("damaged-{turn}"));
            if aside.exists() {
                folder::empty(&aside);
            }
        }
    }
    let seen = register.stop().await;
    assert_eq!(seen.stale, Vec::<String>::new());
    let (_, oracle) = load.stop().await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}

/// How many times something of the node's directory was set aside and not removed since.
fn set_aside(folder: &Path) -> usize {
    let aside = (1..=4).map(|turn| folder.join(format!("damaged-{turn}")));
    aside.filter(|aside| aside.exists()).count()
}

#[tokio::test]
async fn a_node_with_a_damaged_table_recovers_once_and_stays_well() {
    let mut cluster = Cluster::start(3).await;
    Load::prepare(&cluster).await;
    let load = Load::start(&cluster, &[1, 2], CLIENTS);
    let register = Register::start(&cluster, 1, &[0, 1, 2]);
    // The partitions' tables, then the authority's.
    for keyspace in [1, 3] {
        load.progress(200).await;
        cluster.terminate(0).await;
        let (folder, told) = (cluster.folder(0), cluster.log(0).len());
        let tables = format!("engine/keyspaces/{keyspace}/tables/");
        assert!(harm(&folder, &tables, Harm::Flip), "there is no {tables}");
        cluster.restart(0).await;
        let begun = Instant::now();
        while set_aside(&folder) == 0 {
            let log = || cluster.log(0)[told..].to_owned();
            assert!(begun.elapsed() < READY_WITHIN, "{tables}: {}", log());
            load.progress(1).await;
        }
        cluster.wait_ready(0).await;
        for _ in 0..2 {
            load.progress(50).await;
            cluster.terminate(0).await;
            cluster.restart(0).await;
        }
        let log = cluster.log(0)[told..].to_owned();
        assert_eq!(
            log.matches("what can be read was saved").count(),
            1,
            "{tables}: {log}"
        );
        assert_eq!(set_aside(&folder), 1, "{tables}");
        folder::empty(&folder.join("damaged-1"));
    }
    let seen = register.stop().await;
    assert_eq!(seen.stale, Vec::<String>::new());
    let (_, oracle) = load.stop().await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
}
