//! This is how a replica closes actors that can mint no more, and what it takes of them until then.
//!
//! Closing changes the clock and nothing else: it counts all dots of an actor as seen, those that
//! nobody holds, too, so that no gap is left that could block a base for ever. It is sound at a
//! replica that has exactly the dots that all had when it was decided; any other compares all its
//! objects with one that has closed the actor. See `docs/design/causality.md`, "Closed actors".

use super::{Replica, State, View};
use crate::close::{Answer, Ask, Word};
use crate::closed::{Closed, Closing};
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::{Actor, Dot};
use crate::dot_set::{Counters, DotSet};
use crate::id::NodeId;
use crate::known::KnownLists;
use crate::limits::CLOSED_AT_A_TIME_MAX;
use crate::object::Object;
use crate::place::{Entry, Layout};
use crate::record::{Batch, RecordError, Records};
use crate::replica::Found;
use std::collections::BTreeSet;

/// Of how many refused actors some may have been closed together where nobody knows the list.
const POSSIBLE_OF: usize = 6;

/// What a replica made of an object from its coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is merged; this was there.
    Merged(Found),
    /// It is not: the actor that minted it has ended, and is to be closed.
    Ended,
    /// It is not, for it is not clear what of it is obsolete: the sender has closed actors that
    /// this replica has not.
    Unclear,
}

/// What a replica holds of actors that it refuses from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whether its silence can be believed.
    pub trusted: bool,
    /// The name of the list of the actors that it has closed.
    pub name: Option<Actor>,
    /// The dots of each that it has seen, in the order asked for.
    pub seen: Vec<Counters>,
}

impl Replica {
    /// Takes an object first-hand: from the coordinator that minted `dots` for it.
    ///
    /// # Errors
    /// [`RecordError`] when the object cannot be read.
    pub fn take(
        &mut self,
        batch: &mut dyn Batch,
        entry: &Entry,
        object: Object,
        dots: &[Dot],
    ) -> Result<Taken, RecordError> {
        if dots.iter().any(|dot| self.refuses(&dot.actor)) {
            return Ok(Taken::Ended);
        }
        let found = self.merge(batch, entry, object, dots)?;
        Ok(found.map_or(Taken::Unclear, Taken::Merged))
    }

    fn refuses(&self, actor: &Actor) -> bool {
        self.state.refused.contains(actor) || self.state.clock.closed().has(actor)
    }

    /// Answers the leader of a closing; none when it does not do what is asked. `believed` says
    /// whether its process believes it: that it is of the node's latest directory, and has compared
    /// itself with another since the process started.
    pub fn answer(&mut self, ask: &Ask, believed: bool) -> Option<Answer> {
        match ask {
            Ask::Ended(actors) => Some(Answer::Ended(self.ended(actors))),
            Ask::Refuse(actors) => self.refuse(actors, believed).map(Answer::Held),
            Ask::Close(after, step) => {
                let closed = self.close(*after, std::slice::from_ref(step));
                Some(Answer::Closed(closed))
            }
        }
    }

    /// Those of the node's own `actors` that have ended: all but the one it mints under. None of
    /// them minted later than that, for the question was asked after they had.
    fn ended(&self, actors: &[Actor]) -> Vec<Actor> {
        let own = self.actor;
        let over = |actor: &&Actor| actor.node == own.node && **actor != own;
        actors.iter().filter(over).copied().collect()
    }

    /// Takes nothing first-hand of `actors` from here on, and says what it holds of them; none when
    /// it mints under one of them.
    fn refuse(&mut self, actors: &[Actor], believed: bool) -> Option<Held> {
        if actors.contains(&self.actor) {
            return None;
        }
        let clock = &self.state.clock;
        let held = Held {
            trusted: believed && self.state.standing.is_trusted(),
            name: clock.closed().name(),
            seen: actors
                .iter()
                .map(|actor| clock.seen().of_actor(actor))
                .collect(),
        };
        for actor in actors {
            if !self.refuses(actor) {
                self.state.refused.insert(*actor);
                self.changed = true;
            }
        }
        Some(held)
    }

    /// Takes `steps` after the list called `after`, if that is the one here, and if exactly the
    /// dots agreed on were seen here. Whether the actors are closed now.
    pub fn close(&mut self, after: Option<Actor>, steps: &[Closing]) -> bool {
        for step in steps {
            self.check_agreed(step);
        }
        let clock = &self.state.clock;
        let mut actors = steps.iter().flat_map(Closing::iter);
        if actors.all(|(actor, _)| clock.closed().has(actor)) {
            // It was told twice.
            return true;
        }
        let is_open = |actor: &Actor| *actor != self.actor && !clock.closed().has(actor);
        let fits = |step: &Closing| {
            step.iter().all(|(actor, _)| is_open(actor)) && step.agrees_with(clock.seen())
        };
        let fit = after == clock.closed().name() && steps.iter().all(fits);
        if fit {
            for step in steps {
                self.state.clock.close(step.clone());
                self.on_closed(step);
            }
        }
        fit
    }

    /// Looks for dots of `step` that are not here. When it was decided every replica had seen them
    /// all, so that one that is believed and lacks some has lost them.
    pub(super) fn check_agreed(&mut self, step: &Closing) {
        let clock = &self.state.clock;
        let mut open = step.iter().filter(|(actor, _)| !clock.closed().has(actor));
        if !open.all(|(actor, agreed)| clock.seen().of_actor(actor).includes(agreed)) {
            self.doubt_if_trusted();
        }
    }

    /// Whether a replica that had seen `before` and has seen `now` has lost something, as far as
    /// the lists of closed actors that both name are known here: nobody forgets a dot or a list.
    pub(super) fn is_less(&self, now: &DotSet, before: &DotSet) -> bool {
        let closed = self.state.clock.closed();
        let steps = |seen: &DotSet| {
            let name = seen.names().next();
            name.map_or(Some(0), |name| closed.steps_of(name))
        };
        let (steps_now, steps_before) = (steps(now), steps(before));
        let is_lost = |(actor, ..): (Actor, u64, u64)| match steps_now {
            _ if actor.is_name() => false,
            Some(steps) => !closed.has_within(steps, &actor),
            // It may be closed there.
            None => now.highest(&actor) != 0,
        };
        steps_now.is_some_and(|now| steps_before.is_some_and(|before| now < before))
            || before.minus(now).any(is_lost)
    }

    /// Takes note that it may lack versions that others hold for no fault of a disk, `if` so. What
    /// waited for dots that nobody has is as small as it can be once their actor is closed, and
    /// then nothing else shows that it had met more than others.
    pub(super) fn stray_if(&mut self, strays: bool) {
        if strays {
            self.changed |= !self.state.strays;
            self.state.strays = true;
            self.alike.clear();
        }
    }

    /// Takes note that `node` has seen the same and holds the same. That nothing is amiss is told
    /// by one that is `settled`, or by all others of the partition's `replicas`.
    pub fn agree(&mut self, node: NodeId, settled: bool, replicas: usize) {
        self.alike.insert(node);
        if settled || replicas <= self.alike.len() + 1 {
            self.changed |= self.state.strays;
            self.state.strays = false;
            self.alike.clear();
        }
    }

    /// Takes note that actors are closed: what waited for them can go.
    pub(super) fn on_closed(&mut self, step: &Closing) {
        let actors = step.iter().map(|(actor, _)| *actor);
        for actor in actors {
            self.state.refused.remove(&actor);
            self.advanced.insert(actor);
            self.logged.insert(actor);
        }
        let State { known, clock, .. } = &mut self.state;
        known.forget(clock.closed());
        self.names_may_go = true;
        self.changed = true;
    }

    /// The lists named in a context that are to be stored with it.
    pub(super) fn names_to_keep(&self, context: &DotSet) -> Vec<Actor> {
        let names = context.names().filter(|name| self.keeps(name));
        names.copied().collect()
    }

    /// Whether the name of a list is stored with the objects that it is said of. A suspect keeps
    /// all that it does not know: it may have seen less than such a list covers, and would count an
    /// object as met without what the name says of it. A replica that is believed has seen all that
    /// a list covers, or closed it; but where the list is in no clock any more, because all began
    /// anew, it has seen only what is left of it, and keeps the name until the actors are closed
    /// again.
    pub(super) fn keeps(&self, name: &Actor) -> bool {
        let State {
            known,
            clock,
            standing,
            ..
        } = &self.state;
        let own = clock.closed();
        !own.knows(name) && (!standing.is_trusted() || known.explain_more(name, own))
    }

    /// Merges what another holds, to the knowledge of `lists`. Where a name of none of those
    /// matters it is looked for among the lists that these would become if some of the actors that
    /// are refused here were closed: the only one that had closed them may have lost its disk.
    pub(super) fn sync(&self, mine: Object, other: Object, lists: Vec<&Closed>) -> Option<Object> {
        if let Some(merged) = mine.clone().sync(other.clone(), &lists) {
            return Some(merged);
        }
        let names = mine.context.names().chain(other.context.names());
        let names: BTreeSet<Actor> = names.copied().collect();
        let possible = self.possible(&lists, &names);
        let all: Vec<&Closed> = lists.into_iter().chain(&possible).collect();
        mine.sync(other, &all)
    }

    /// Those of such lists that are called one of `names`.
    fn possible(&self, lists: &[&Closed], names: &BTreeSet<Actor>) -> Vec<Closed> {
        let refused: Vec<Actor> = self.state.refused.iter().copied().collect();
        let refused = &refused[..refused.len().min(POSSIBLE_OF)];
        let mut possible = Vec::new();
        for list in lists {
            for chosen in 1_u32..1 << refused.len() {
                let is_chosen = |(at, _): &(usize, &Actor)| chosen >> at & 1 == 1;
                let actors = refused.iter().enumerate().filter(is_chosen);
                let seen = self.state.clock.seen();
                let step = actors.map(|(_, actor)| (*actor, seen.of_actor(actor)));
                let step = Closing::new(step);
                if names.contains(&list.name_after(&step)) {
                    let mut closed = Closed::clone(list);
                    closed.push(step);
                    possible.push(closed);
                }
            }
        }
        possible
    }

    /// Looks for objects that were stored with the name of a list that need not be kept any more.
    pub(super) fn find_kept_names(&mut self, records: &dyn Records) -> Result<(), RecordError> {
        if !self.names_may_go || self.state.unstripped == 0 {
            return Ok(());
        }
        let mut last = None;
        loop {
            // Names come before all actors.
            let (from, to) = self.layout.unstripped_behind(last.as_ref());
            let found = records.list(&from, &to, 1)?;
            let next = found.first().map(|listed| Layout::actor_of(&listed.key));
            let Some(name) = next.transpose()?.filter(Actor::is_name) else {
                break;
            };
            if !self.keeps(&name) {
                self.advanced.insert(name);
            }
            last = Some(name);
        }
        self.names_may_go = false;
        Ok(())
    }

    /// Looks for what waits for closed actors, of which there may be more than is worth asking for
    /// one by one.
    pub(super) fn find_closed(&mut self, records: &dyn Records) -> Result<(), RecordError> {
        let layout = self.layout;
        let closed = self.state.clock.closed().clone();
        if closed.is_empty() {
            return Ok(());
        }
        let is_closed = |actor: &Actor| closed.has(actor);
        let waited_for = actors(records, |actor| layout.unstripped_behind(actor))?;
        self.advanced
            .extend(waited_for.into_iter().filter(is_closed));
        let logged = actors(records, |actor| layout.log_behind(actor))?;
        self.logged.extend(logged.into_iter().filter(is_closed));
        Ok(())
    }

    /// Takes note of a list that another life or another replica has closed.
    pub(super) fn learn_list(&mut self, list: &Closed) {
        let State { known, clock, .. } = &mut self.state;
        self.changed |= known.learn(list, clock.closed());
    }

    /// Takes note of the lists that another replica knows beside its own.
    pub fn learn(&mut self, lists: &KnownLists) {
        for list in lists.iter() {
            self.learn_list(list);
        }
    }

    /// Stores the lists that are known beside it, if they are others than those that are stored.
    pub(super) fn store_known(&mut self, batch: &mut dyn Batch) {
        let (key, known) = (self.layout.known(), &self.state.known);
        if self.known_stored.as_ref() == Some(known) {
            return;
        }
        if known.is_empty() {
            batch.remove(key);
        } else {
            batch.put(key, known.to_bytes());
        }
        self.known_stored = Some(known.clone());
    }

    /// Stores the steps of the list of closed actors that are not stored yet.
    pub(super) fn store_steps(&mut self, batch: &mut dyn Batch) {
        let steps = self.state.clock.closed().steps();
        for (number, step) in (0..).zip(steps).skip(self.steps_stored) {
            batch.put(self.layout.closed(number), step.to_bytes());
        }
        self.steps_stored = steps.len();
    }
}

impl View<'_> {
    /// The actors that have dots here, in the clock or in what an object waits for, and are not
    /// closed.
    ///
    /// # Errors
    /// [`RecordError`] when the index cannot be read.
    pub fn open_actors(&self) -> Result<BTreeSet<Actor>, RecordError> {
        let seen = self.state.clock.seen().actors();
        let mut open: BTreeSet<Actor> = seen.filter(|actor| !actor.is_name()).copied().collect();
        open.extend(self.waited_for()?);
        Ok(open)
    }

    /// The actors, not closed yet, of the dots that objects wait for, and those of lists that are
    /// known beside the own one: names of such lists are kept with objects until all are closed.
    fn waited_for(&self) -> Result<Vec<Actor>, RecordError> {
        let closed = self.state.clock.closed();
        let mut waited_for = Vec::new();
        if 0 < self.state.unstripped {
            let behind = |actor: Option<&Actor>| self.layout.unstripped_behind(actor);
            waited_for = actors(self.records, behind)?;
            waited_for.retain(|actor| !actor.is_name() && !closed.has(actor));
        }
        let of_known: BTreeSet<Actor> = self.state.known.beyond(closed).collect();
        waited_for.extend(of_known);
        Ok(waited_for)
    }

    /// What the replica that mints under `actor` says of itself; whether it has a damaged record,
    /// those know who note it. Who leads the closing may never hear of the actors that are waited
    /// for here otherwise: nobody has a dot of theirs.
    #[must_use]
    pub fn word(&self, actor: Actor) -> Word {
        // Damage is noted by those who need what is damaged.
        let mut waited_for = self.waited_for().unwrap_or_default();
        waited_for.truncate(CLOSED_AT_A_TIME_MAX);
        Word {
            trusted: self.state.standing.is_trusted(),
            damaged: false,
            actor,
            refused: self.state.refused.iter().copied().collect(),
            waited_for,
        }
    }
}

/// The actors of the records whose first key behind an actor, and the first key behind all, are
/// `behind`.
fn actors(
    records: &dyn Records,
    behind: impl Fn(Option<&Actor>) -> (Vec<u8>, Vec<u8>),
) -> Result<Vec<Actor>, RecordError> {
    let mut actors: Vec<Actor> = Vec::new();
    loop {
        let (from, to) = behind(actors.last());
        match records.list(&from, &to, 1)?.first() {
            Some(listed) => actors.push(Layout::actor_of(&listed.key)?),
            None => return Ok(actors),
        }
    }
}

/// The lists that are known beside it, as stored.
pub(super) fn load_known(records: &dyn Records, layout: Layout) -> Result<KnownLists, RecordError> {
    let stored = records.get(&layout.known())?;
    let strange = |_| RecordError::Strange("lists of closed actors");
    let known = stored.map(|bytes| KnownLists::from_bytes(&bytes).map_err(strange));
    known.transpose().map(Option::unwrap_or_default)
}

/// All lists of the state under `layout`, which cannot be opened, the own one first. They only tell
/// what a name means: what of them is damaged goes with it.
///
/// # Errors
/// [`RecordError`] when the engine fails, or a record is of an unknown layout.
pub(super) fn known_to(records: &dyn Records, layout: Layout) -> Result<Vec<Closed>, RecordError> {
    let mut own = Closed::default();
    for number in 0.. {
        let step = records.get(&layout.closed(number));
        // What was closed up to a damaged step is a list that it was.
        let Some(step) = unless_damaged(step)?.flatten() else {
            break;
        };
        let step = Closing::from_bytes(&step);
        own.push(step.map_err(|_| RecordError::Strange("a list of closed actors"))?);
    }
    let known = unless_damaged(load_known(records, layout))?.unwrap_or_default();
    Ok(std::iter::once(own).chain(known.iter().cloned()).collect())
}

/// None where what is read is damaged.
pub(super) fn unless_damaged<T>(read: Result<T, RecordError>) -> Result<Option<T>, RecordError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(RecordError::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The list of closed actors as stored.
pub(super) fn load(records: &dyn Records, layout: Layout) -> Result<Closed, RecordError> {
    const STEPS_AT_A_TIME: usize = 256;
    let (mut closed, mut number) = (Closed::default(), 0);
    let behind = layout.closed(u32::MAX);
    loop {
        let found = records.scan(&layout.closed(number), &behind, STEPS_AT_A_TIME)?;
        for (_, bytes) in &found {
            let step = Closing::from_bytes(bytes);
            closed.push(step.map_err(|_| RecordError::Strange("a list of closed actors"))?);
            number += 1;
        }
        if found.len() < STEPS_AT_A_TIME {
            return Ok(closed);
        }
    }
}

/// Trusted 1, name: 0, or 1 and 28; count 4, the counters of each.
impl Codec for Held {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(u8::from(self.trusted));
        writer.option(self.name.as_ref());
        writer.list(&self.seen);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Held, DecodeError> {
        Ok(Held {
            trusted: reader.u8()? != 0,
            name: reader.option()?,
            seen: reader.list(CLOSED_AT_A_TIME_MAX)?,
        })
    }
}
