//! This is a loaded placement policy: its table is checked whole before anybody sees it.

use crate::plugin::abi::v1;
use crate::plugin::error::Fault;
use crate::plugin::instance::{Pool, Source, Usage};
use crate::plugin::log::shortened;
use soros_core::id::NodeId;
use soros_core::map::table::Table;
use soros_core::policy::topology::Snapshot;
use soros_core::policy::{BadAnswer, Placement, PolicyError};

/// A loaded placement policy. A call may take seconds, so it never belongs on a thread that serves
/// requests.
pub struct Placer {
    pool: Pool<v1::Placer>,
}

impl Placer {
    pub(super) fn new(source: Source) -> Result<Placer, Fault> {
        let (pool, ()) = Pool::new(source)?;
        Ok(Placer { pool })
    }

    /// How it has been used on this node.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.pool.usage()
    }

    /// As [`Placement::plan`]; what it computes is added to `fuel`.
    ///
    /// # Errors
    /// [`PolicyError`]; the table in force stays.
    pub fn plan_counted(
        &self,
        now: &Snapshot,
        before: Option<&Table>,
        seed: u64,
        fuel: &mut u64,
    ) -> Result<Table, PolicyError> {
        self.pool.ask(
            fuel,
            |store, policy| policy.plan(store, now, before, seed),
            |answer| judged(answer, now),
        )
    }
}

impl Placement for Placer {
    fn plan(
        &self,
        now: &Snapshot,
        before: Option<&Table>,
        seed: u64,
    ) -> Result<Table, PolicyError> {
        self.plan_counted(now, before, seed, &mut 0)
    }
}

fn judged(answer: Result<Vec<u16>, String>, now: &Snapshot) -> Result<Table, PolicyError> {
    let cells = answer.map_err(|reason| PolicyError::GaveUp(shortened(&reason)))?;
    let members: Vec<NodeId> = now.members().iter().map(|member| member.node.id).collect();
    let table = Table::of_positions(now.partitions(), now.copies(), &members, &cells);
    let table = table.map_err(BadAnswer::Table)?;
    now.check(&table).map_err(BadAnswer::Table)?;
    Ok(table)
}
