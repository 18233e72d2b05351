//! This is how a node lets another one drop a partition and rely on what it holds itself: it looks
//! through its objects first, for what cannot be read it does not hold.
//!
//! It does so on a thread that serves nobody, one partition at a time. Where there is more to look
//! at than the time allows, it goes on when it is asked again, and what is looked through counts
//! for a short while: who asks may have to ask again, because of another replica.

use super::Peer;
use super::answer::refusal;
use super::operation::{Answer, Operation};
use super::partitions::Renewal;
use soros_core::id::NodeId;
use soros_core::limits::REPAIR_BYTES;
use soros_core::message::{Refusal, Reply};
use soros_core::place::Place;
use soros_core::record::RecordError;
use soros_core::replica::Inventory;
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// For how long what was looked at before counts, while there is more to look at.
const COUNTS_FOR: Duration = Duration::from_mins(10);
/// For how long a look through all counts.
const WHOLE_COUNTS_FOR: Duration = Duration::from_secs(30);

/// The partitions that were looked through, or are in part.
pub(super) type Begun = BTreeMap<Place, Looked>;

/// A look through a partition, as far as it has come.
#[derive(Debug)]
pub(super) struct Looked {
    /// Since when it goes on, or has ended.
    since: Instant,
    /// How many times damage had been met there, with its own.
    met: u64,
    inventory: Inventory,
}

impl Looked {
    /// Whether it still counts, when damage was met `met` times by now.
    fn counts(&self, met: u64) -> bool {
        if self.inventory.is_over() {
            self.since.elapsed() < WHOLE_COUNTS_FOR && self.met == met
        } else {
            self.since.elapsed() < COUNTS_FOR
        }
    }
}

impl Peer {
    /// Lets another replica drop its state and rely on this one's.
    pub(super) async fn on_rely(
        self: &Arc<Self>,
        peer: NodeId,
        place: Place,
        deadline: Instant,
    ) -> Result<Reply, Refusal> {
        let life_is_known = self.life_is_known();
        let turn = timeout_at(
            deadline.into(),
            Arc::clone(&self.inventories).acquire_owned(),
        );
        let Ok(Ok(turn)) = turn.await else {
            return Err(Refusal::Overloaded);
        };
        let looking = Arc::clone(self);
        // The rest of the time is for the commit and the way back.
        let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            looking.inventory(place, until)
        });
        let inventory = looked.await.unwrap_or(Err(Refusal::Storage))?;
        let step = Renewal::Promise { peer, inventory };
        let promise = Operation::Renewal { place, step };
        match self.committer.commit(promise).await {
            Ok(Answer::Promised(promise, trusted)) => {
                // It names what is damaged here: of all else its silence is believed.
                Ok(Reply::Promised(promise, trusted && life_is_known))
            }
            Ok(Answer::NotNow) => Err(Refusal::Suspect),
            Ok(_) => Err(Refusal::NotServed),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// Looks through all objects of a partition that could be opened again, or as many as can be
    /// until the time is up.
    fn inventory(&self, place: Place, until: Instant) -> Result<Inventory, Refusal> {
        let moment = self.moments.load_full();
        let shown = moment.shown(&place).ok_or(Refusal::NotServed)?;
        let view = moment.view(&place).ok_or(Refusal::NotServed)?;
        let generation = shown.layout.generation();
        let before = {
            let mut begun = self.begun();
            begun.retain(|place, looked| looked.counts(self.damage.met(place)));
            begun.remove(&place)
        };
        let before = before.filter(|looked| looked.inventory.generation() == generation);
        if let Some(whole) = before.as_ref().filter(|looked| looked.inventory.is_over()) {
            let inventory = whole.inventory.clone();
            self.begun().extend(before.map(|looked| (place, looked)));
            return Ok(inventory);
        }
        let mut looked = if let Some(before) = before {
            before
        } else {
            // Once, for its lists may be long: who goes on must come further each time.
            let me = (self.identity.node, self.identity.incarnation);
            let opens = moment.check_opens(place, me);
            opens.map_err(|error| self.unreadable(place, shown, &error))?;
            Looked {
                since: Instant::now(),
                met: 0,
                inventory: Inventory::new(shown.layout),
            }
        };
        // What others meet meanwhile may be a record that was looked at already.
        looked.met = self.damage.met(&place);
        while !looked.inventory.is_over() {
            if until <= Instant::now() {
                self.begun().insert(place, looked);
                return Err(Refusal::TooLate);
            }
            let found = view.take_stock(&mut looked.inventory, REPAIR_BYTES);
            found.map_err(|error| self.unreadable(place, shown, &error))?;
        }
        looked.since = Instant::now();
        let inventory = looked.inventory.clone();
        if !inventory.unreadable().is_empty() {
            self.unreadable(place, shown, &RecordError::Damaged("an object"));
            looked.met += 1;
        }
        self.begun().insert(place, looked);
        Ok(inventory)
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        let begun = self.begun_inventories.lock();
        begun.unwrap_or_else(PoisonError::into_inner)
    }
}
