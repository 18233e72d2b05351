//! This is what a node finds out before it says a word to the others: that no other living process
//! has its identity, that its directory is of the cluster it is told to come into, and whether the
//! cluster has seen a later life of it than its directory has, as after an earlier copy was put
//! back.
//!
//! Two processes with one identity would vote twice and be taken for dead by turns, so this is done
//! before any task runs and before the node's listeners are bound: whoever answers where this node
//! is reached is another process. Who does not answer at once is not waited for.

use super::keeper::{self, KeeperError};
use super::wire::{Answer, Request, To, Wire, WireError, ask};
use super::{Entry, Failure};
use crate::store::Store;
use futures_util::future::join_all;
use soros_core::epoch::Epoch;
use soros_core::id::{Incarnation, NodeId, NodeName};
use soros_core::map::Map;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long another node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// A node that is about to start.
pub struct Scout<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// The incarnation of the process that had its directory before.
    pub previous: Option<Incarnation>,
    /// Its disk.
    pub store: &'a dyn Store,
    /// Its way to other nodes, on which it says that it is in no cluster.
    pub wire: &'a dyn Wire,
    /// How it comes into a cluster.
    pub entry: &'a Entry,
    /// Where it will be reached, as far as that is known before its listeners are bound.
    pub addresses: Vec<String>,
}

/// What speaks against a node's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scouted {
    /// Nothing.
    Sound,
    /// The cluster knows this later life of the node: the directory is an earlier copy.
    Restored(Incarnation),
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum ScoutError {
    /// It cannot be part of the cluster.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Its map could not be read.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl Scout<'_> {
    /// Asks whoever can be reached.
    ///
    /// # Errors
    /// [`ScoutError`] when the node must not start.
    pub async fn ask(&self) -> Result<Scouted, ScoutError> {
        let known = keeper::read(self.store)?;
        let id = NodeId::of(self.name);
        let mut own: BTreeSet<String> = self.addresses.iter().cloned().collect();
        let mut others: BTreeSet<String> = match self.entry {
            Entry::Bootstrap(founders) => founders.iter().cloned().collect(),
            Entry::Join(address) => BTreeSet::from([address.clone()]),
            Entry::Known => BTreeSet::new(),
        };
        for (node, place) in known.iter().flat_map(Map::nodes) {
            let addresses = if *node == id { &mut own } else { &mut others };
            addresses.insert(place.identity.peer.clone());
        }
        let asked = own.union(&others).map(|address| self.map_at(address));
        let mut maps = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok(map) => maps.extend(map),
                Err(WireError::Twin) => {
                    return Err(Failure::IdentityInUse(self.name.clone()).into());
                }
                Err(WireError::NotSent | WireError::Unknown) => {}
            }
        }
        match known {
            Some(known) => Ok(self.judge(id, &known, &maps)?),
            None => Ok(Scouted::Sound),
        }
    }

    /// The map of whoever listens at `address`.
    async fn map_at(&self, address: &str) -> Result<Option<Map>, WireError> {
        let to = To::Address(address.to_owned());
        let newer_than = Epoch::NONE;
        match ask(
            self.wire,
            &to,
            &Request::Fetch { newer_than },
            ANSWER_TIMEOUT,
        )
        .await?
        {
            Answer::Fetch(map) => Ok(map.map(|map| *map)),
            _ => Ok(None),
        }
    }

    fn judge(&self, id: NodeId, known: &Map, maps: &[Map]) -> Result<Scouted, Failure> {
        let (ours, foreign): (Vec<&Map>, Vec<&Map>) = maps
            .iter()
            .partition(|map| map.cluster() == known.cluster());
        if let (true, Some(foreign)) = (ours.is_empty(), foreign.first()) {
            return Err(Failure::OtherCluster {
                recorded: known.cluster(),
                found: foreign.cluster(),
            });
        }
        let newest = ours.into_iter().max_by_key(|map| map.epoch());
        let life = |map: &Map| Some(map.node(id)?.identity.incarnation);
        let Some(seen) = newest.and_then(life) else {
            return Ok(Scouted::Sound);
        };
        if Some(seen) == self.previous || Some(seen) == life(known) {
            Ok(Scouted::Sound)
        } else {
            Ok(Scouted::Restored(seen))
        }
    }
}
