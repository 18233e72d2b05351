//! This is what the engine does by itself, on a thread of its own: it looks at the disk, merges
//! tables, makes room on a full disk as far as it can, and opens a database again that stopped.

use crate::store::engine::Shared;
use crate::store::engine::compaction::{self, Step};
use crate::store::engine::running::ends;
use crate::store::room::Room;
use crate::store::{Durability, Space, StoreError};
use fjall::Keyspace;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it looks for something to do.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long it leaves what failed alone.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The shortest pause between two attempts to make room.
const SQUEEZE_PAUSE_MIN: Duration = Duration::from_secs(1);
/// What an attempt must make for the next one not to wait longer: it reads and writes much of what
/// is stored.
const MADE_BYTES_MIN: u64 = 1 << 20;
/// How often the pause is doubled at most.
const FRUITLESS_MAX: u32 = 3;
/// How often tables that were merged are removed while merging goes on.
const LET_GO_EVERY: Duration = Duration::from_millis(200);
/// How long whoever keeps a view has to take a new one, before what old ones see is let go.
const STALE_WAIT: Duration = Duration::from_millis(20);

/// The thread, until this is dropped.
#[derive(Debug)]
pub(super) struct Upkeep {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Upkeep> {
        let (end, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("upkeep".to_owned())
            .spawn(move || Keeper::new(&shared, &ended).run())?;
        Ok(Upkeep {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's upkeep died of a panic");
        }
    }
}

struct Keeper<'a> {
    shared: &'a Shared,
    ended: &'a Receiver<()>,
    /// When a database that stopped is opened again.
    opens_at: Instant,
    lets_go_at: Instant,
    merges_at: Instant,
    squeezes_at: Instant,
    /// How many attempts to make room in a row made none.
    fruitless: u32,
    /// A merge that ran out of disk left files behind, which an opening removes.
    left_files: bool,
}

impl<'a> Keeper<'a> {
    fn new(shared: &'a Shared, ended: &'a Receiver<()>) -> Keeper<'a> {
        let now = Instant::now();
        Keeper {
            shared,
            ended,
            opens_at: now,
            lets_go_at: now,
            merges_at: now,
            squeezes_at: now,
            fruitless: 0,
            left_files: false,
        }
    }

    fn run(&mut self) {
        while self.ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let room = self.shared.look().room;
            if self.has_stopped(room) {
                self.open_again();
                continue;
            }
            self.let_go();
            if self.merges_at <= Instant::now() {
                self.merge_all();
            }
            if room.is_full() && self.squeezes_at <= Instant::now() {
                self.make_room();
            }
        }
    }

    fn goes_on(&self) -> bool {
        self.ended.try_recv() == Err(TryRecvError::Empty)
    }

    /// Removes tables that were merged. Whether there were some that had not gone by themselves.
    fn let_go(&mut self) -> bool {
        let held = self.shared.let_go();
        self.lets_go_at = Instant::now() + LET_GO_EVERY;
        held
    }

    fn has_stopped(&mut self, room: Room) -> bool {
        if self.left_files && room == Room::Ample {
            self.left_files = false;
            self.shared.failed.store(true, Ordering::Release);
        }
        let state = self.shared.state();
        let stopped = match self.shared.working(&state) {
            Ok(running) => self.shared.noted(running.check()).is_err(),
            Err(_) => true,
        };
        stopped && !self.shared.closed.load(Ordering::Acquire)
    }

    fn open_again(&mut self) {
        if Instant::now() < self.opens_at {
            return;
        }
        match self.shared.mend() {
            Ok(()) => tracing::info!("the store was opened again"),
            Err(error) => tracing::debug!(%error, "the store cannot be opened again yet"),
        }
        self.opens_at = Instant::now() + FAILURE_PAUSE;
    }

    fn merge_all(&mut self) {
        let options = &self.shared.options;
        let sizes = (options.table_bytes, options.unmerged_bytes);
        let tidy = move |keyspace: &Keyspace, room, oldest| {
            compaction::tidy(keyspace, sizes, room, oldest)
        };
        for space in Space::ALL {
            let mut step = Step::Merged;
            while step == Step::Merged && self.goes_on() {
                step = self.step_somehow(space, tidy);
            }
            if space == Space::Partitions {
                let starved = step == Step::NoRoom;
                self.shared.starved.store(starved, Ordering::Relaxed);
            }
        }
    }

    /// Merges downwards until there is a good deal of room again or nothing is left to merge.
    fn make_room(&mut self) {
        let (begun, before) = (Instant::now(), self.shared.look().usage.free);
        if let Err(error) = self.squeeze() {
            tracing::debug!(%error, "no room was made");
        }
        self.let_go();
        let made = self.shared.look().usage.free.saturating_sub(before);
        self.fruitless = if made < MADE_BYTES_MIN {
            (self.fruitless + 1).min(FRUITLESS_MAX)
        } else {
            0
        };
        let pause = SQUEEZE_PAUSE_MIN * 2_u32.pow(self.fruitless);
        self.squeezes_at = Instant::now() + pause.max(begun.elapsed());
    }

    fn squeeze(&mut self) -> Result<(), StoreError> {
        let table_bytes = self.shared.options.table_bytes;
        let squeeze = |keyspace: &Keyspace, room, oldest| {
            compaction::squeeze(keyspace, table_bytes, room, oldest)
        };
        let mut may_raise = true;
        self.shared.write_out()?;
        // One run alone would be moved as it is, and only a merge cuts it.
        if self.shared.runs(Space::Partitions) == 1 {
            self.shared.write_out()?;
        }
        while self.goes_on()
            && !self
                .shared
                .options
                .marks
                .is_relieved(&self.shared.look().usage)
        {
            let step = self.step_somehow(Space::Partitions, squeeze);
            if step == Step::Merged {
                continue;
            }
            if !may_raise || !self.shared.raise()? {
                break;
            }
            self.shared.write_out()?;
            may_raise = false;
        }
        Ok(())
    }

    fn step_somehow(&mut self, space: Space, act: impl Fn(&Keyspace, u64, u64) -> Merged) -> Step {
        let mut step = self.step(space, Leaves::All, &act);
        if step == Step::NoRoom && self.let_go() {
            step = self.step(space, Leaves::All, &act);
        }
        if step == Step::NoRoom {
            step = self.step(space, Leaves::Half, &act);
        }
        step
    }

    fn step(
        &mut self,
        space: Space,
        leaves: Leaves,
        act: impl FnOnce(&Keyspace, u64, u64) -> Merged,
    ) -> Step {
        match self.shared.step(space, leaves, act) {
            Ok(step) => {
                if step == Step::Merged && self.lets_go_at <= Instant::now() {
                    self.let_go();
                }
                step
            }
            Err(error) => {
                let is_full =
                    self.shared.free_bytes().unwrap_or(0) < self.shared.options.reserve_bytes;
                self.left_files |= is_full;
                self.merges_at = Instant::now() + FAILURE_PAUSE;
                tracing::warn!(%error, is_full, "tables could not be merged");
                Step::Nothing
            }
        }
    }
}

type Merged = Result<Step, StoreError>;

/// What a merge leaves of the disk to the commits that come meanwhile.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// The reserve and something above it: none is refused for the merge.
    All,
    /// Half of the reserve: they are refused until the merge has ended. Else both would wait for
    /// each other for ever.
    Half,
}

impl Shared {
    fn step(
        &self,
        space: Space,
        leaves: Leaves,
        act: impl FnOnce(&Keyspace, u64, u64) -> Merged,
    ) -> Merged {
        let _merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let (keyspace, oldest, unwritten) = {
            let state = self.state();
            let running = self.working(&state)?;
            let keyspace = running.keyspace(space).clone();
            (keyspace, running.oldest_view(), running.unwritten_bytes())
        };
        let reserve = self.options.reserve_bytes;
        let kept = match leaves {
            Leaves::All => reserve.saturating_add(reserve / 2),
            Leaves::Half => reserve / 2,
        };
        let room = self
            .free_bytes()?
            .saturating_sub(unwritten.saturating_add(kept));
        act(&keyspace, room, oldest)
    }

    /// Writes what is in memory of the partitions to a table that overlaps all others, if there is
    /// room for one.
    fn write_out(&self) -> Result<(), StoreError> {
        let space = Space::Partitions;
        let mut ledger = self.ledger();
        match self.commit_under(&mut ledger, &[space], ends(), Durability::Synced) {
            Err(StoreError::Full) => return Ok(()),
            committed => committed?,
        }
        drop(ledger);
        let state = self.state();
        self.noted(self.working(&state)?.flush_space(space))
    }

    /// Takes what is above the last level back to the first one. No commit may come between.
    fn raise(&self) -> Result<bool, StoreError> {
        let space = Space::Partitions;
        let _ledger = self.ledger();
        {
            let state = self.state();
            self.noted(self.working(&state)?.flush_space(space))?;
        }
        loop {
            match self.step(space, Leaves::Half, compaction::gather)? {
                Step::Merged => {}
                Step::NoRoom => return Ok(false),
                Step::Nothing => break,
            }
        }
        let mut raised = false;
        self.step(space, Leaves::Half, |keyspace, _, oldest| {
            raised = compaction::raise(keyspace, oldest)?;
            Ok(Step::Nothing)
        })?;
        Ok(raised)
    }

    /// Removes the tables that were merged, which stay while a view may see them.
    /// Whether a view was in the way.
    fn let_go(&self) -> bool {
        let Ok(true) = self.removed_merged() else {
            return false;
        };
        if self.show_newest().is_ok() {
            self.tell_stale();
            if self.look().room.is_full() {
                std::thread::sleep(STALE_WAIT);
            }
            // What is left will go the next time.
            let _ = self.removed_merged();
        }
        true
    }

    fn removed_merged(&self) -> Result<bool, StoreError> {
        let state = self.state();
        self.working(&state)?.let_go()
    }

    fn show_newest(&self) -> Result<(), StoreError> {
        let _ledger = self.ledger();
        let state = self.state();
        self.noted(self.working(&state)?.sync())
    }

    fn runs(&self, space: Space) -> usize {
        let state = self.state();
        let running = self.working(&state);
        running.map_or(0, |running| running.runs(space))
    }
}
