//! These tests are about the record of what was done to plugins.

use super::cluster::{Cluster, release_of, soon};
use crate::authority::Entry;
use soros_core::map::change::{Change, Origin, Proposal};
use soros_core::map::plugin::PluginKind;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;

const ALL: [&str; 3] = ["n1", "n2", "n3"];

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Those of the record.
    fn audited(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let audited = text.lines().filter(|line| line.contains(" audit: "));
        audited.map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_on_record_although_who_asked_for_it_was_never_answered() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let mut cluster = Cluster::founded(&ALL).await;
    let leader = cluster.leader(&ALL).await;
    let others = ALL.into_iter().filter(|name| **name != *leader);
    let others: Vec<&str> = others.collect();
    let running = cluster.node(&leader).inner.leading().unwrap();
    let change = Change::PutRelease {
        name: "own".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        kind: PluginKind::Validation,
        release: release_of(b"component"),
    };
    let origin = Origin {
        through: "n2".to_owned(),
        is_rollback: false,
    };
    let map = cluster.map(&leader);
    let proposal = Proposal::on(Some(&map), change, Some(origin));
    for other in &others {
        cluster.net.cut(other, true);
    }
    let proposed = timeout(
        Duration::from_millis(1),
        running.raft.client_write(proposal),
    );
    assert!(proposed.await.is_err(), "nobody can commit it");
    drop(running);
    for other in &others {
        cluster.net.cut(other, false);
    }
    let mut maps = cluster.keeper(others[0]).subscribe();
    let name = "own".parse().unwrap();
    let is_there = |map: &Option<Arc<_>>| {
        let map: &soros_core::map::Map = map.as_ref().unwrap();
        map.plugin(&name).is_some()
    };
    soon(maps.wait_for(is_there)).await.unwrap();
    let audited = lines.audited();
    assert!(!audited.is_empty());
    for line in &audited {
        for part in [r#"action="push""#, r#"through="n2""#, r#"version="1.0.0""#] {
            assert!(line.contains(part), "{line}");
        }
    }
    // Whoever carries changes out again at its start tells nothing twice.
    let before = lines.audited().len();
    cluster.crash(others[0]).await;
    cluster.start(others[0], Entry::Known).await;
    cluster.all_registered(&[others[0]]).await;
    let told = lines.audited();
    assert!(told.len() <= ALL.len(), "{told:?}");
    assert!(before <= told.len());
}
