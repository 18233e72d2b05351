//! This is what can happen to one node of a cluster, chosen by a seed.

use rustix::process::Signal;
use soros_tests::cluster::Cluster;
use soros_tests::folder::{self, Harm as Damage};
use soros_tests::load::Load;
use soros_tests::network::Weather;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

const AWAY: usize = 100;

/// Harms in an order that a seed gives.
pub(crate) struct Harms {
    random: u64,
    counts: BTreeMap<&'static str, usize>,
    /// A copy of a node's directory from before, which may be put back once.
    copied: Option<(usize, PathBuf)>,
    number: usize,
}

impl Harms {
    pub(crate) fn of_seed(seed: u64) -> Harms {
        Harms {
            random: seed,
            counts: BTreeMap::new(),
            copied: None,
            number: 0,
        }
    }

    /// How often each harm was done.
    pub(crate) fn counts(&self) -> String {
        let counts = self.counts.iter();
        let counts: Vec<_> = counts
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        counts.join(", ")
    }

    /// Does one, lets the others go on for a while, and undoes it; says what it was.
    pub(crate) async fn next(&mut self, cluster: &mut Cluster, load: &Load) -> String {
        self.number += 1;
        let node = self.below(cluster.count());
        let name = match self.below(10) {
            0 => self.stopped(cluster, load, node).await,
            1 => self.paused(cluster, load, node).await,
            2 | 3 => self.weather(cluster, load, node).await,
            4 => self.emptied(cluster, load, node).await,
            5 => self.put_back(cluster, load, node).await,
            6 => self.damaged(cluster, load, node).await,
            7 => self.all_killed(cluster).await,
            _ => self.killed(cluster, load, node).await,
        };
        *self.counts.entry(name).or_default() += 1;
        format!("{name}: {}", cluster.name(node))
    }

    async fn killed(&mut self, cluster: &mut Cluster, load: &Load, node: usize) -> &'static str {
        cluster.kill(node);
        load.progress(AWAY).await;
        cluster.restart(node).await;
        "killed"
    }

    async fn stopped(&mut self, cluster: &mut Cluster, load: &Load, node: usize) -> &'static str {
        cluster.terminate(node).await;
        load.progress(AWAY).await;
        cluster.restart(node).await;
        "stopped"
    }

    async fn all_killed(&mut self, cluster: &mut Cluster) -> &'static str {
        for node in 0..cluster.count() {
            cluster.kill(node);
        }
        cluster.start_all().await;
        "all killed"
    }

    async fn paused(&mut self, cluster: &mut Cluster, load: &Load, node: usize) -> &'static str {
        cluster.signal(node, Signal::STOP);
        load.progress(AWAY).await;
        let seconds = 1 + self.below(20) as u64;
        sleep(Duration::from_secs(seconds)).await;
        cluster.signal(node, Signal::CONT);
        "paused"
    }

    async fn weather(&mut self, cluster: &mut Cluster, load: &Load, node: usize) -> &'static str {
        let (name, weather) = [
            ("slow network", Weather::Slow(Duration::from_millis(100))),
            ("black hole", Weather::Lost),
            ("connections reset", Weather::Reset),
        ][self.below(3)];
        if self.below(2) == 0 {
            cluster.network().surround(node, weather);
        } else {
            let other = (node + 1 + self.below(cluster.count() - 1)) % cluster.count();
            cluster.network().set(node, other, weather);
        }
        load.progress(AWAY).await;
        cluster.network().clear();
        name
    }

    async fn emptied(&mut self, cluster: &mut Cluster, load: &Load, node: usize) -> &'static str {
        cluster.kill(node);
        folder::empty(&cluster.folder(node));
        load.progress(AWAY).await;
        cluster.restart(node).await;
        "directory emptied"
    }

    /// Puts an earlier copy of some node's directory back, and makes one for the next time.
    async fn put_back(&mut self, cluster: &mut Cluster, load: &Load, node: usize) -> &'static str {
        if let Some((node, copy)) = self.copied.take() {
            cluster.kill(node);
            folder::replace(&cluster.folder(node), &copy);
            folder::empty(&copy);
            load.progress(AWAY).await;
            cluster.restart(node).await;
            return "directory put back";
        }
        let copy = cluster.scratch(&format!("copy-{}", self.number));
        cluster.terminate(node).await;
        folder::copy(&cluster.folder(node), &copy);
        cluster.restart(node).await;
        self.copied = Some((node, copy));
        "stopped and copied"
    }

    async fn damaged(&mut self, cluster: &mut Cluster, load: &Load, node: usize) -> &'static str {
        cluster.kill(node);
        let folder = cluster.folder(node);
        // As an operator does who has seen what was set aside.
        for aside in (1..=4).map(|turn| folder.join(format!("damaged-{turn}"))) {
            if aside.exists() {
                folder::empty(&aside);
            }
        }
        let files = folder::files(&folder);
        let damage = [Damage::Flip, Damage::Cut][self.below(2)];
        let file = &files[self.below(files.len())];
        let harmed = folder::harm(&folder.join(file), damage);
        crate::tell(&format!("{damage:?} {}: {harmed}", file.display()));
        load.progress(AWAY).await;
        cluster.restart(node).await;
        "file damaged"
    }

    /// A number below `bound` (`SplitMix64`).
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or_default();
        bits as usize % bound
    }
}
