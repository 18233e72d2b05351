//! This is what changes in the map of a simulated cluster: which buckets there are at each epoch.
//!
//! A bucket that was deleted and made again has another life, and an id that no other life had.

use crate::table::Bucket;
use soros_core::epoch::Epoch;
use soros_core::id::BucketId;
use soros_core::map::bucket::Buckets;
use std::collections::BTreeMap;

/// One life of a bucket: the number of the epoch that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LifeId(pub u64);

/// A bucket while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which of its lives.
    pub life: LifeId,
    /// What its keys are stored under.
    pub id: BucketId,
    /// Whether it is being found out whether it is empty.
    pub closing: bool,
}

/// The buckets of one epoch.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// The epoch.
    pub epoch: Epoch,
    lives: BTreeMap<Bucket, Life>,
}

/// The buckets of all epochs so far.
#[derive(Clone, Debug)]
pub struct Catalogs {
    all: Vec<Catalog>,
    /// Which bucket an id means, for ever.
    names: BTreeMap<BucketId, Bucket>,
}

impl Catalog {
    /// The bucket's life at this epoch, if it lives.
    #[must_use]
    pub fn life(&self, bucket: Bucket) -> Option<Life> {
        self.lives.get(&bucket).copied()
    }

    /// The buckets that live.
    pub fn living(&self) -> impl Iterator<Item = (Bucket, Life)> {
        self.lives.iter().map(|(bucket, life)| (*bucket, *life))
    }

    /// What a replica has to know of it.
    #[must_use]
    pub fn buckets(&self) -> Buckets {
        let of = |closing: bool| {
            let lives = self.lives.values();
            let lives = lives.filter(move |life| life.closing == closing);
            lives.map(|life| life.id).collect()
        };
        Buckets {
            epoch: self.epoch,
            open: of(false),
            closing: of(true),
        }
    }
}

impl Catalogs {
    /// The first epochs made one bucket each.
    #[must_use]
    pub fn new(buckets: &[Bucket]) -> Catalogs {
        let life = |number: u64| Life {
            life: LifeId(number),
            id: BucketId(number),
            closing: false,
        };
        let lives = buckets.iter().copied().zip((1..).map(life)).collect();
        let names = (1..).map(BucketId).zip(buckets.iter().copied()).collect();
        let epoch = Epoch(buckets.len() as u64);
        Catalogs {
            all: vec![Catalog { epoch, lives }],
            names,
        }
    }

    /// The newest.
    ///
    /// # Panics
    /// Never: there is always one.
    #[must_use]
    pub fn newest(&self) -> &Catalog {
        self.all.last().expect("the first one stays")
    }

    /// The one of an epoch; the first where there is none.
    #[must_use]
    pub fn at(&self, epoch: Epoch) -> &Catalog {
        let found = self.all.iter().find(|catalog| catalog.epoch == epoch);
        found.unwrap_or(&self.all[0])
    }

    /// The epoch before the newest, if there is one.
    #[must_use]
    pub fn before(&self) -> &Catalog {
        &self.all[self.all.len().saturating_sub(2)]
    }

    /// Which bucket an id means, dead ones too.
    #[must_use]
    pub fn name(&self, id: BucketId) -> Option<Bucket> {
        self.names.get(&id).copied()
    }

    /// Makes a bucket that does not live. Its new life has the epoch for an id, unless it `keeps`
    /// the one of its last life: a bug.
    pub fn create(&mut self, bucket: Bucket, keeps: bool) {
        let number = self.newest().epoch.0 + 1;
        let last = self.names.iter().rfind(|(_, name)| **name == bucket);
        let last = last.map(|(id, _)| *id).filter(|_| keeps);
        let id = last.unwrap_or(BucketId(number));
        self.names.insert(id, bucket);
        self.change(|lives| {
            lives.entry(bucket).or_insert(Life {
                life: LifeId(number),
                id,
                closing: false,
            });
        });
    }

    /// Drops a bucket with all that is in it.
    pub fn drop(&mut self, bucket: Bucket) {
        self.change(|lives| {
            lives.remove(&bucket);
        });
    }

    /// Lets a bucket take no writes, or take them again.
    pub fn close(&mut self, bucket: Bucket, closing: bool) {
        self.change(|lives| {
            if let Some(life) = lives.get_mut(&bucket) {
                life.closing = closing;
            }
        });
    }

    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<Bucket, Life>)) {
        let mut next = self.newest().clone();
        next.epoch = next.epoch.next();
        change(&mut next.lives);
        self.all.push(next);
    }
}
