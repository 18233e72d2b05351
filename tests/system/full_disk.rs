//! This is a disk that is full: writes of values are refused and nothing else is, until there is
//! room again; and with no byte left nothing is lost and nobody has to start anything.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use soros_tests::cluster::Cluster;
use soros_tests::http::Answer;
use soros_tests::load::{Load, faults};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;

const VALUE_BYTES: usize = 64 << 10;
const WRITERS: usize = 6;
/// How often the disks are filled, and how long what the engines merge by themselves then may take.
const TURNS_MAX: usize = 20;
const SETTLES_WITHIN: Duration = Duration::from_secs(3);
/// Of so many values one is not deleted, so that each of the engine's tables has some that stay.
const KEPT_OF: usize = 8;
/// The fewest values that must fit.
const VALUES_MIN: usize = 250;
/// How long it may take until writes are taken again.
const CLEARS_WITHIN: Duration = Duration::from_mins(2);

/// What a node may hold: less than its disk, so that what was deleted can be merged away.
const CAPACITY: &str = "32MiB";

/// A disk that is soon full.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = MountFlags::empty();
        let mounted = mount("tmpfs", folder.path(), "tmpfs", flags, c"size=256m");
        mounted.is_ok().then_some(SmallDisk(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all that is left.
    fn fill(&self) {
        let file = std::fs::File::create(self.path().join("foreign")).expect("a file");
        let mut whole = 1 << 20;
        while 0 < whole {
            let block = vec![1; whole];
            while std::io::Write::write_all(&mut &file, &block).is_ok() {}
            whole /= 16;
        }
    }

    fn clear(&self) {
        std::fs::remove_file(self.path().join("foreign")).expect("the foreign file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.path(), UnmountFlags::DETACH).expect("the small disk goes");
    }
}

/// Three nodes with little capacity on a small disk each, which must outlive them.
fn on_small_disks() -> Option<(Vec<SmallDisk>, Cluster)> {
    let mut cluster = Cluster::of(&["peer,authority"; 3]);
    let disks: Option<Vec<SmallDisk>> = (0..3).map(|_| SmallDisk::mount()).collect();
    let Some(disks) = disks else {
        eprintln!("SKIPPED 1 test: a small disk cannot be mounted here");
        return None;
    };
    for (node, disk) in disks.iter().enumerate() {
        symlink(disk.path(), cluster.folder(node)).expect("a link");
        let capacity = ("SOROS_CAPACITY".to_owned(), CAPACITY.to_owned());
        cluster.set_environment(node, vec![capacity]);
    }
    Some((disks, cluster))
}

fn path(key: &str) -> String {
    format!("/v1/kv/default/{key}")
}

fn value(key: &str) -> String {
    key.repeat(VALUE_BYTES / key.len())
}

async fn put(cluster: &Cluster, node: usize, key: &str) -> Answer {
    let put = cluster.http(node).put(&path(key), &[], value(key)).await;
    put.expect("an answer")
}

/// Puts values through all nodes until all stay full: the keys that were acknowledged.
async fn fill(cluster: &Cluster) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for turn in 0..TURNS_MAX {
        acknowledged.extend(fill_once(cluster, turn).await);
        // What was written twice is merged on a full disk, which may make room once more.
        tokio::time::sleep(SETTLES_WITHIN).await;
        let mut full = 0.0;
        for node in 0..cluster.count() {
            full += cluster.figure(node, "soros_disk_full").await;
        }
        if 2.5 < full {
            return acknowledged;
        }
    }
    panic!("the disks do not get full");
}

/// Puts values through all nodes until each has refused one.
async fn fill_once(cluster: &Cluster, turn: usize) -> Vec<String> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut http = cluster.http(writer % cluster.count());
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let key = format!("{turn}-{writer}-{number}");
                let put = http.put(&path(&key), &[], value(&key)).await;
                let put = put.expect("an answer");
                match put.status.as_u16() {
                    200 | 201 | 204 => acknowledged.push(key),
                    507 => break,
                    // Too few of the others had room.
                    503 | 504 => {}
                    _ => panic!("{}: {}", put.status, put.text()),
                }
            }
            acknowledged
        });
    }
    writers.join_all().await.concat()
}

/// Reads and deletes are answered by nodes that refuse values, and they say why.
async fn check_full(cluster: &Cluster, keys: &[String]) {
    for (node, key) in (0..cluster.count()).zip(keys) {
        let refused = put(cluster, node, "more").await;
        assert_eq!(refused.status, 507, "{}", refused.text());
        assert_eq!(refused.code(), "disk-full");
        assert!((cluster.figure(node, "soros_disk_full").await - 1.0).abs() < f64::EPSILON);
        let read = cluster.http(node).get(&path(key)).await.expect("an answer");
        assert!(read.text() == value(key), "{}", read.status);
        let delete = cluster.http(node).delete(&path(key), &[]).await;
        assert_eq!(delete.expect("an answer").status, 204);
    }
    let shown = cluster.http(0).get("/v1/cluster").await.expect("an answer");
    let shown = shown.json();
    let nodes = shown["nodes"].as_array().expect("nodes");
    assert!(
        nodes.iter().all(|node| node["disk_full"] == true),
        "{shown}"
    );
}

/// Waits until a node takes values.
async fn takes_values(cluster: &Cluster, node: usize) -> Duration {
    let begun = Instant::now();
    loop {
        let put = put(cluster, node, "more").await;
        if put.status.is_success() {
            return begun.elapsed();
        }
        let late = CLEARS_WITHIN < begun.elapsed();
        assert!(!late, "{}: {}", cluster.name(node), put.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What was acknowledged and not deleted is there, and what was deleted is not.
async fn check_values(cluster: &Cluster, keys: &[String], is_there: impl Fn(usize) -> bool) {
    let mut http = cluster.http(0);
    for (number, key) in keys.iter().enumerate() {
        let read = http.get(&path(key)).await.expect("an answer");
        let expected = if is_there(number) { 200 } else { 404 };
        assert_eq!(read.status, expected, "{key}");
        assert!(expected == 404 || read.text() == value(key), "{key}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_values_and_nothing_else_until_there_is_room() {
    let Some((disks, mut cluster)) = on_small_disks() else {
        return;
    };
    cluster.start_all().await;
    Load::prepare(&cluster).await;
    let processes = [0, 1, 2].map(|node| cluster.process_id(node));
    let load = Load::start(&cluster, &[0, 1, 2], 1);
    let keys = fill(&cluster).await;
    assert!(VALUES_MIN < keys.len(), "only {} values fit", keys.len());
    check_full(&cluster, &keys).await;
    let is_kept = |number: usize| 3 <= number && number.is_multiple_of(KEPT_OF);
    for (number, key) in keys.iter().enumerate().skip(3) {
        if !is_kept(number) {
            let delete = cluster.http(number % 3).delete(&path(key), &[]).await;
            let delete = delete.expect("an answer");
            assert_eq!(delete.status, 204, "{}", delete.text());
        }
    }
    for node in 0..3 {
        let took = takes_values(&cluster, node).await;
        println!("{} took values again after {took:?}", cluster.name(node));
    }
    check_values(&cluster, &keys, is_kept).await;
    load.progress(50).await;

    disks[0].fill();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        let live = cluster.http(0).get("/health/live").await;
        assert_eq!(live.expect("an answer").status, 200);
        let own = [("soros-consistency", "one")];
        let key = path(&keys[KEPT_OF]);
        let mut http = cluster.http(0);
        let read = http.send(hyper::Method::GET, &key, &own, "").await;
        let read = read.expect("an answer");
        assert_eq!(read.status, 200, "{}", read.text());
        let refused = put(&cluster, 0, "none").await;
        assert!(!refused.status.is_success());
        takes_values(&cluster, 1).await;
    }
    disks[0].clear();
    let took = takes_values(&cluster, 0).await;
    println!("with room again values were taken after {took:?}");
    load.progress(50).await;
    let (_, oracle) = load.stop().await;
    cluster.wait_ready(0).await;
    assert_eq!(faults(&cluster, &oracle).await, Vec::<String>::new());
    check_values(&cluster, &keys, is_kept).await;
    let now = [0, 1, 2].map(|node| cluster.process_id(node));
    assert_eq!(processes, now);
}
