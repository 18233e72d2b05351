//! This is what a replica says of itself, which is stored with the operation that changes it.

use super::{Answer, Applied, Partitions};
use crate::bug::Bug;
use crate::disk::Overlay;
use crate::node::closing;
use soros_core::close::Ask;
use soros_core::id::{Generation, NodeId};
use soros_core::known::KnownLists;
use soros_core::place::Place;
use soros_core::replica::{Quorum, Replica};

impl Partitions {
    pub(super) fn take_part(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        ask: &Ask,
        bug: Option<Bug>,
    ) -> Applied {
        let compared = self.compared.contains(&place);
        self.say(batch, place, |replica| {
            let answer = closing::answer(replica, ask, compared, bug);
            answer.map_or(Answer::NotHeld, Answer::Closing)
        })
    }

    /// Changes what a replica says of itself.
    pub(super) fn say(
        &mut self,
        batch: &mut Overlay<'_>,
        place: Place,
        change: impl FnOnce(&mut Replica) -> Answer,
    ) -> Applied {
        self.change(place, |replica| {
            let answer = change(replica);
            replica.save(batch);
            Ok(answer)
        })
    }

    pub(super) fn merged(
        &mut self,
        (place, begun): (Place, Generation),
        (peer, trusted): (NodeId, bool),
        quorum: Quorum,
        bug: Option<Bug>,
    ) -> Answer {
        let replica = self.replicas.get_mut(&place);
        let of_round = |replica: &&mut Replica| {
            begun == replica.layout().generation() || bug == Some(Bug::JoinAfterDrop)
        };
        let Some(replica) = replica.filter(of_round) else {
            return Answer::NotHeld;
        };
        let counts = trusted || bug == Some(Bug::SuspectCountsSuspect);
        let standing = &replica.state().standing;
        let standing = standing.after_merging(peer, counts, quorum);
        if trusted || standing.is_trusted() {
            self.compared.insert(place);
        }
        replica.stand(standing);
        self.touched.insert(place);
        Answer::Done
    }
}

pub(super) fn agree(replica: &mut Replica, peer: NodeId, settled: bool, replicas: usize) -> Answer {
    replica.agree(peer, settled, replicas);
    Answer::Done
}

pub(super) fn learn(replica: &mut Replica, lists: &KnownLists) -> Answer {
    replica.learn(lists);
    Answer::Done
}

pub(super) fn doubt(replica: &mut Replica) -> Answer {
    replica.doubt();
    Answer::Done
}
