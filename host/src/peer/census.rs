//! This is how a node looks through what it holds, for a dry run: how much there is, and a sample
//! of the values.
//!
//! Of each partition only the first replica counts, so that nothing is counted twice. It runs on a
//! thread that serves nobody, one object in memory, and stops when the time is up.

use super::Peer;
use super::partitions::Moment;
use soros_core::id::{BucketId, PlacementId};
use soros_core::key::{Key, Partition};
use soros_core::map::Map;
use soros_core::object::{Object, Value};
use soros_core::place::Place;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout_at;

/// How many keys are looked at between two looks at the time.
const KEYS_PER_STEP: usize = 64;

/// What a partition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many live keys.
    pub keys: u64,
    /// How many bytes, all siblings and what is kept with them.
    pub bytes: u64,
}

/// Who looks at values until it has seen enough.
pub type Looks = Box<dyn FnMut(&Key, &Value) -> bool + Send>;

impl Peer {
    /// What those partitions of a placement hold of which this node is the first replica; none when
    /// it cannot be found out in time.
    pub async fn loads(
        self: &Arc<Self>,
        placement: PlacementId,
        deadline: Instant,
    ) -> Option<BTreeMap<Partition, Load>> {
        let map = self.map()?;
        let buckets = buckets_of(&map, placement);
        self.look_through(&map, placement, deadline, move |peer, moment, places| {
            let mut loads = BTreeMap::new();
            for place in places {
                let mut load = Load::default();
                for &bucket in &buckets {
                    let each = &mut |_: &Key, object: &Object| {
                        load.keys += 1;
                        load.bytes += object.size() as u64;
                        true
                    };
                    peer.walk(&moment, place, bucket, deadline, each)?;
                }
                loads.insert(place.partition, load);
            }
            Some(loads)
        })
        .await
    }

    /// Shows `looks` the live values of a bucket, of each partition of which this node is the first
    /// replica at most `keys_max` keys, until it has seen enough. Whether it saw all that it should
    /// in time is the answer.
    pub async fn look_at_values(
        self: &Arc<Self>,
        bucket: BucketId,
        keys_max: usize,
        deadline: Instant,
        mut looks: Looks,
    ) -> bool {
        let Some(map) = self.map() else {
            return false;
        };
        let placement = map
            .bucket_by_id(bucket)
            .and_then(|(_, bucket)| map.placement_of(bucket));
        let Some(id) = placement.map(|placement| placement.id) else {
            return false;
        };
        let looked = self.look_through(&map, id, deadline, move |peer, moment, places| {
            for place in places {
                let (mut keys, mut goes_on) = (0, true);
                let each = &mut |key: &Key, object: &Object| {
                    keys += 1;
                    let values = object.versions.values();
                    let mut values = values.filter_map(|version| version.value.as_ref());
                    goes_on = values.all(|value| looks(key, value));
                    goes_on && keys < keys_max
                };
                peer.walk(&moment, place, bucket, deadline, each)?;
                if !goes_on {
                    break;
                }
            }
            Some(())
        });
        looked.await.is_some()
    }

    /// Runs `run` with the partitions of a placement of which this node is the first replica, once
    /// no other census is under way. Who deletes a bucket does not wait for one.
    async fn look_through<R: Send + 'static>(
        self: &Arc<Self>,
        map: &Map,
        placement: PlacementId,
        deadline: Instant,
        run: impl FnOnce(&Peer, Arc<Moment>, Vec<Place>) -> Option<R> + Send + 'static,
    ) -> Option<R> {
        let (_, found) = map.placement_by_id(placement)?;
        let rows = found.table.rows();
        let first = rows.filter(|(_, replicas)| replicas.first() == Some(&self.me));
        let places = first.map(|(partition, _)| Place {
            placement,
            partition,
        });
        let places: Vec<Place> = places.collect();
        let turn = timeout_at(deadline.into(), Arc::clone(&self.censuses).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return None;
        };
        let (peer, moment) = (Arc::clone(self), self.moments.load_full());
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            run(&peer, moment, places)
        });
        looked.await.ok().flatten()
    }

    /// Shows `each` the live objects of a bucket in a partition, until it has seen enough.
    fn walk(
        &self,
        moment: &Moment,
        place: Place,
        bucket: BucketId,
        deadline: Instant,
        each: &mut dyn FnMut(&Key, &Object) -> bool,
    ) -> Option<()> {
        let (shown, view) = (moment.shown(&place)?, moment.view(&place)?);
        let (mut from, mut goes_on) = (None, true);
        loop {
            if deadline <= Instant::now() {
                return None;
            }
            let step = &mut |key: &Key, object: &Object| goes_on = goes_on && each(key, object);
            let next = view.for_each_live(bucket, from.as_ref(), KEYS_PER_STEP, step);
            let next = next.map_err(|error| self.unreadable(place, shown, &error));
            match next.ok()? {
                Some(next) if goes_on => from = Some(next),
                _ => return Some(()),
            }
        }
    }
}

fn buckets_of(map: &Map, placement: PlacementId) -> Vec<BucketId> {
    let buckets = map.buckets().values();
    let of_it = buckets.filter(|bucket| {
        let found = map.placement_of(bucket);
        found.is_some_and(|found| found.id == placement)
    });
    of_it.map(|bucket| bucket.id).collect()
}
