//! This is how a node whose directory was found in doubt comes to be believed again: when it has
//! had from the other replicas whatever it may have lost.

use super::Peer;
use soros_core::map::Map;
use soros_core::place::Place;
use std::sync::atomic::Ordering;

impl Peer {
    /// Waits until this node has had from others all that its directory may have lost: every
    /// partition that ever was its own is trusted again, durably. One that has no other replica can
    /// ask nobody, and is not waited for; its own record keeps the doubt.
    pub async fn whole(&self) {
        loop {
            // Listens before it looks, so that no pass goes unheard.
            let passed = self.passed.notified();
            if self.is_whole() {
                return;
            }
            passed.await;
        }
    }

    /// The directory's doubt is resolved, durably: partitions of which nothing was stored before
    /// have lost nothing.
    pub fn believe(&self) {
        self.sound.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_whole(&self) -> bool {
        let Some(map) = self.map() else {
            return false;
        };
        let moment = self.moments.load();
        self.names_this_life(&map) && moment.buckets().epoch == map.epoch() && {
            let mut held = self.held(&map);
            held.all(|place| {
                let alone = self.others_of(place).is_empty();
                let shown = moment.shown(&place);
                shown.is_some_and(|shown| alone || shown.state.standing.is_trusted())
            })
        }
    }

    /// Whether the map was made after this process started. Then it is newer than any that a life
    /// before served under, and no partition is missing from it: a directory that lost its map, too,
    /// may know an older one only.
    fn names_this_life(&self, map: &Map) -> bool {
        map.node(self.me).is_some_and(|node| {
            let named = &node.identity;
            named.incarnation == self.identity.incarnation && named.raft == self.identity.raft
        })
    }

    /// The partitions that a map gives this node.
    pub(super) fn held(&self, map: &Map) -> impl Iterator<Item = Place> {
        map.placements().values().flat_map(|placement| {
            let rows = placement.table.rows();
            let held = rows.filter(|(_, nodes)| nodes.contains(&self.me));
            held.map(|(partition, _)| Place {
                placement: placement.id,
                partition,
            })
        })
    }
}
