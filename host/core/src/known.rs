//! These are the lists of closed actors that a replica knows and has not closed itself. They tell
//! what a context covers that names one of them.
//!
//! A replica that begins anew has closed nothing, and should all replicas begin anew before any has
//! learned the list of another, no clock has it any more; but objects name it, and tokens of
//! clients. So what the old state knew is stored with the new one, and told to others, until the
//! same is closed again under the same names. Who leads the closings sees to that.

use crate::closed::Closed;
use crate::codec::{Codec, DecodeError, Reader, Writer};
use crate::dot::Actor;
use crate::limits::{KNOWN_LISTS_DECODED_MAX, KNOWN_LISTS_MAX};
use std::collections::BTreeSet;

/// Lists of closed actors that are not closed here, at most [`KNOWN_LISTS_MAX`] of them: those that
/// were known first.
#[derive(Clone, Debug, Default)]
pub struct KnownLists(Vec<Closed>);

/// By their steps: equal lists may have come to be by others, and were called otherwise then.
impl PartialEq for KnownLists {
    fn eq(&self, other: &KnownLists) -> bool {
        self.iter()
            .map(Closed::steps)
            .eq(other.iter().map(Closed::steps))
    }
}

impl Eq for KnownLists {}

impl KnownLists {
    /// Adds a list, unless all that it is or was called is known: by these, or by `own`, the list
    /// of what is closed here. Whether it was added: it is not where there are too many.
    pub fn learn(&mut self, list: &Closed, own: &Closed) -> bool {
        let lacks = self.lacks(list, own);
        if lacks {
            self.0.retain(|before| !list.explains(before));
            self.0.push(list.clone());
        }
        lacks
    }

    /// Whether another knows a list that would be learned.
    #[must_use]
    pub fn lack(&self, others: &KnownLists, own: &Closed) -> bool {
        others.0.iter().any(|list| self.lacks(list, own))
    }

    fn lacks(&self, list: &Closed, own: &Closed) -> bool {
        let is_told = own.explains(list) || self.0.iter().any(|known| known.explains(list));
        let others = self.0.iter().filter(|before| !list.explains(before));
        !is_told && others.count() < KNOWN_LISTS_MAX
    }

    /// Drops the lists that `own` explains.
    pub fn forget(&mut self, own: &Closed) {
        self.0.retain(|list| !own.explains(list));
    }

    /// Whether a list that is or was called `name` had actors that are not closed in `own`: what
    /// the name covers is not known without it.
    #[must_use]
    pub fn explain_more(&self, name: &Actor, own: &Closed) -> bool {
        let explains_more = |list: &Closed| {
            let steps = list.steps_of(name)?;
            let mut actors = list.actors();
            Some(actors.any(|actor| list.has_within(steps, actor) && !own.has(actor)))
        };
        self.0
            .iter()
            .any(|list| explains_more(list).unwrap_or(false))
    }

    /// The actors of the lists that are not closed in `own`.
    pub fn beyond(&self, own: &Closed) -> impl Iterator<Item = Actor> {
        let actors = self.0.iter().flat_map(Closed::actors).copied();
        actors.filter(|actor| !own.has(actor))
    }

    /// The lists.
    pub fn iter(&self) -> impl Iterator<Item = &Closed> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The actors, for each list, that are to be closed next after `own` to be called what the list
    /// is or was called. Of none that has not all of `own`: that can never be.
    pub fn next_after(&self, own: &Closed) -> impl Iterator<Item = BTreeSet<Actor>> {
        self.0.iter().filter_map(|list| list.next_after(own))
    }
}

/// Count 4, each list.
impl Codec for KnownLists {
    fn encode(&self, writer: &mut Writer) {
        writer.list(&self.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<KnownLists, DecodeError> {
        reader.list(KNOWN_LISTS_DECODED_MAX).map(KnownLists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closed::Closing;
    use crate::dot_set::Counters;
    use crate::id::{Generation, Incarnation, NodeId};

    fn actor(number: u64) -> Actor {
        Actor {
            node: NodeId(number),
            incarnation: Incarnation(1),
            generation: Generation(1),
        }
    }

    /// A list that came to be by these steps.
    fn list(steps: &[&[u64]]) -> Closed {
        let mut closed = Closed::default();
        for step in steps {
            let actors = step
                .iter()
                .map(|number| (actor(*number), Counters::default()));
            closed.push(Closing::new(actors));
        }
        closed
    }

    fn known(lists: &[Closed]) -> KnownLists {
        let mut known = KnownLists::default();
        for list in lists {
            assert!(known.learn(list, &Closed::default()), "{list:?} is known");
        }
        known
    }

    #[test]
    fn a_list_is_known_once_with_all_that_it_was() {
        let mut lists = known(&[list(&[&[1]]), list(&[&[1], &[2]])]);
        assert_eq!(
            lists,
            known(&[list(&[&[1], &[2]])]),
            "the longer one was the shorter"
        );
        assert!(!lists.learn(&list(&[&[1, 2]]), &Closed::default()));
        assert!(
            !lists.learn(&list(&[&[7]]), &list(&[&[7], &[8]])),
            "closed here"
        );
        assert!(
            lists.learn(&list(&[&[2], &[1]]), &Closed::default()),
            "it was called ⟨2⟩"
        );
    }

    #[test]
    fn a_list_is_forgotten_when_the_own_one_has_all_its_names() {
        let mut lists = known(&[list(&[&[1], &[2]])]);
        lists.forget(&list(&[&[1, 2]]));
        assert!(!lists.is_empty(), "who names ⟨1⟩ must still be understood");
        lists.forget(&list(&[&[1], &[2], &[3]]));
        assert!(lists.is_empty());
    }

    #[test]
    fn only_so_many_lists_are_known() {
        let own = Closed::default();
        let one = |number: u64| list(&[&[number]]);
        let mut lists = known(&(1..=KNOWN_LISTS_MAX as u64).map(one).collect::<Vec<_>>());
        let last = one(KNOWN_LISTS_MAX as u64 + 1);
        assert!(
            !lists.lack(&known(std::slice::from_ref(&last)), &own),
            "or it would be told for ever"
        );
        assert!(!lists.learn(&last, &own));
        assert!(
            lists.learn(&list(&[&[1], &[2]]), &own),
            "it takes the place of one of them"
        );
        assert_eq!(lists.iter().count(), KNOWN_LISTS_MAX);
    }

    #[test]
    fn a_name_says_more_until_all_its_actors_are_closed_here() {
        let lists = known(&[list(&[&[1], &[2]])]);
        let (short, long) = (list(&[&[1]]).name(), list(&[&[1], &[2]]).name());
        let more = |name: Option<Actor>, own: &[&[u64]]| {
            lists.explain_more(&name.expect("it is not empty"), &list(own))
        };
        assert!(more(short, &[]) && more(long, &[]));
        assert!(!more(short, &[&[3, 1]]) && more(long, &[&[3, 1]]));
        assert!(!more(long, &[&[2, 3, 1]]));
        assert!(!more(list(&[&[5]]).name(), &[]), "nobody knows that one");
        assert_eq!(lists.beyond(&list(&[&[2]])).collect::<Vec<_>>(), [actor(1)]);
    }

    #[test]
    fn lists_are_read_back_step_by_step() {
        let lists = known(&[list(&[&[1], &[2, 3]]), list(&[&[4]])]);
        assert_eq!(KnownLists::from_bytes(&lists.to_bytes()), Ok(lists.clone()));
        assert_ne!(lists, known(&[list(&[&[1, 2, 3]]), list(&[&[4]])]));
    }

    #[test]
    fn what_is_to_be_closed_next_leads_to_each_name_in_turn() {
        let lists = known(&[list(&[&[1, 2], &[3]])]);
        let next = |own: Closed| lists.next_after(&own).next();
        assert_eq!(next(list(&[])), Some([actor(1), actor(2)].into()));
        assert_eq!(next(list(&[&[2]])), Some([actor(1)].into()));
        assert_eq!(next(list(&[&[1, 2]])), Some([actor(3)].into()));
        assert_eq!(
            next(list(&[&[1, 3]])),
            Some([actor(2)].into()),
            "⟨1 2⟩ can be no more"
        );
        assert_eq!(next(list(&[&[4]])), None);
    }
}
