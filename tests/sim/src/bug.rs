//! This is the list of bugs that can be planted: rules of the design taken away, one at a time, to
//! show that the oracle would see it.
//!
//! They are planted in the simulated node around the core, at the decision that the rule is about.
//! Nothing of them is in the core, so no build of Soros can contain them.

/// A rule taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A write is acknowledged before it is synced.
    AckBeforeSync,
    /// A process that starts on a directory that lost writes mints under the actor of before.
    SameActorAfterLoss,
    /// A dropped partition keeps its generation, and with it its actor.
    SameActorAfterRefill,
    /// A restored or emptied directory is believed.
    RestoredIsTrusted,
    /// A dropped partition's objects go first, and its clock later.
    ObjectsDroppedFirst,
    /// A partition with a damaged record is dropped at once, whoever else holds the rest of it.
    DroppedBeforeOthersHold,
    /// A replica promises all that its clock has seen, what it cannot read, too.
    UnreadablePromised,
    /// What an earlier life of a replica held counts when a later one promises.
    EarlierLifeHolds,
    /// A replica is held to have lost nothing when it was dropped, what was damaged neither.
    DamagedCountsAsKept,
    /// A replica with a damaged record is believed by who lacks what it could not read.
    DamagedBelieved,
    /// A suspect does not refuse what it hears that others do.
    RefusedUnheard,
    /// The clock lies in a tree of its own, which a crash may leave ahead of the objects.
    ClockInItsOwnTree,
    /// A full transfer joins the sender's clock of its last range.
    JoinEndClock,
    /// A full transfer joins the sender's clock of its first range and repairs nothing after it.
    JoinStartClockAlone,
    /// A full transfer that began before its partition was dropped is joined after.
    JoinAfterDrop,
    /// A full transfer fills its ranges from the clock of its first one.
    StartClockFill,
    /// A full transfer passes over the keys that only the receiver has.
    OneWayTransfer,
    /// A clock forgets the actors that are closed.
    ActorForgotten,
    /// Actors are closed without asking their node whether they have ended.
    ClosedWhileLiving,
    /// What is held of actors is compared before they are refused first-hand.
    ClosedBeforeRefused,
    /// A suspect takes part in a closing, as if it held what the others hold.
    ClosedWithSuspect,
    /// Replicas close actors of which they have not seen the same.
    ClosedUnequal,
    /// Who hears that others have closed an actor closes it whatever it has seen itself.
    ClosedOnHearsay,
    /// A context that does not name closed actors covers all that the receiver has closed.
    SilenceIsClosed,
    /// A context that names a list of closed actors that is not known here covers none of them.
    UnknownListIgnored,
    /// A coordinator counts itself though its partition was dropped since it minted.
    DroppedCoordinatorCounts,
    /// A stored context is a version vector without isolated dots.
    VectorContexts,
    /// The token of a write names all that its coordinator had seen.
    WideToken,
    /// A forwarded write of which nothing was heard is sent to another replica.
    RetryForwarded,
    /// A suspect takes another suspect's word for a trusted one's.
    SuspectCountsSuspect,
    /// A suspect answers quorum reads.
    SuspectAnswers,
    /// A merge made of siblings takes the dot of the client's own version.
    MergeUnderClientsDot,
    /// A replica collapses siblings where they lie, without a new dot.
    CollapseInPlace,
    /// Each replica collapses siblings where they lie, by the version of the policy that it knows.
    CollapseByVersion,
    /// A policy that fails leaves the new version alone.
    TrapLosesSiblings,
    /// A policy in quarantine is asked.
    QuarantinedRuns,
    /// A process asks the version with which it started.
    OldVersionRuns,
    /// A node that has yet to get a version's component asks the version that it has.
    LastOneStandsIn,
    /// A version is put in quarantine for what the one before it did.
    BlameComesLate,
    /// What a policy made of siblings for a reader is stored in their place.
    ReadAnswerStored,
    /// A policy's answer is stored though the versions moved since it saw them.
    MovedIgnored,
    /// The version that a policy chose supersedes nothing.
    ChosenBeside,
    /// A tombstone is dropped before its dots are under the base.
    TombstoneDroppedEarly,
    /// Dots that a cut log no longer names count as seen.
    ShortLogSkipped,
    /// A clock is joined before the objects it speaks for are merged.
    ClockBeforeObjects,
    /// A write whose outcome is unknown is said to have failed.
    UnknownToldAsFailed,
    /// A clock is not held against its peers'.
    SkewUnchecked,
    /// Objects of a dead bucket are removed, and the sum stays.
    SweepKeepsSum,
    /// Repair passes over the dots of a dead bucket.
    DeadDotsSkipped,
}

const NAMES: [(Bug, &str); 49] = [
    (Bug::AckBeforeSync, "ack-before-sync"),
    (Bug::SameActorAfterLoss, "same-actor-after-loss"),
    (Bug::SameActorAfterRefill, "same-actor-after-refill"),
    (Bug::RestoredIsTrusted, "restored-is-trusted"),
    (Bug::ObjectsDroppedFirst, "objects-dropped-first"),
    (Bug::DroppedBeforeOthersHold, "dropped-before-others-hold"),
    (Bug::UnreadablePromised, "unreadable-promised"),
    (Bug::EarlierLifeHolds, "earlier-life-holds"),
    (Bug::DamagedCountsAsKept, "damaged-counts-as-kept"),
    (Bug::DamagedBelieved, "damaged-believed"),
    (Bug::RefusedUnheard, "refused-unheard"),
    (Bug::ClockInItsOwnTree, "clock-in-its-own-tree"),
    (Bug::JoinEndClock, "join-end-clock"),
    (Bug::JoinStartClockAlone, "join-start-clock-alone"),
    (Bug::JoinAfterDrop, "join-after-drop"),
    (Bug::StartClockFill, "start-clock-fill"),
    (Bug::OneWayTransfer, "one-way-transfer"),
    (Bug::ActorForgotten, "actor-forgotten"),
    (Bug::ClosedWhileLiving, "closed-while-living"),
    (Bug::ClosedBeforeRefused, "closed-before-refused"),
    (Bug::ClosedWithSuspect, "closed-with-suspect"),
    (Bug::ClosedUnequal, "closed-unequal"),
    (Bug::ClosedOnHearsay, "closed-on-hearsay"),
    (Bug::SilenceIsClosed, "silence-is-closed"),
    (Bug::UnknownListIgnored, "unknown-list-ignored"),
    (Bug::DroppedCoordinatorCounts, "dropped-coordinator-counts"),
    (Bug::VectorContexts, "vector-contexts"),
    (Bug::WideToken, "wide-token"),
    (Bug::RetryForwarded, "retry-forwarded"),
    (Bug::SuspectCountsSuspect, "suspect-counts-suspect"),
    (Bug::SuspectAnswers, "suspect-answers"),
    (Bug::MergeUnderClientsDot, "merge-under-clients-dot"),
    (Bug::CollapseInPlace, "collapse-in-place"),
    (Bug::CollapseByVersion, "collapse-by-version"),
    (Bug::TrapLosesSiblings, "trap-loses-siblings"),
    (Bug::QuarantinedRuns, "quarantined-runs"),
    (Bug::OldVersionRuns, "old-version-runs"),
    (Bug::LastOneStandsIn, "last-one-stands-in"),
    (Bug::BlameComesLate, "blame-comes-late"),
    (Bug::ReadAnswerStored, "read-answer-stored"),
    (Bug::MovedIgnored, "moved-ignored"),
    (Bug::ChosenBeside, "chosen-beside"),
    (Bug::TombstoneDroppedEarly, "tombstone-dropped-early"),
    (Bug::ShortLogSkipped, "short-log-skipped"),
    (Bug::ClockBeforeObjects, "clock-before-objects"),
    (Bug::UnknownToldAsFailed, "unknown-told-as-failed"),
    (Bug::SkewUnchecked, "skew-unchecked"),
    (Bug::SweepKeepsSum, "sweep-keeps-sum"),
    (Bug::DeadDotsSkipped, "dead-dots-skipped"),
];

impl Bug {
    /// All bugs, in the order of the list.
    pub fn all() -> impl Iterator<Item = Bug> {
        NAMES.iter().map(|(bug, _)| *bug)
    }

    /// The bug called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Bug> {
        let found = NAMES.iter().find(|(_, other)| *other == name);
        found.map(|(bug, _)| *bug)
    }

    /// What the bug is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(bug, _)| *bug == self);
        found.map_or("?", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Bug::all().map(Bug::name).collect();
        assert_eq!(names.len(), NAMES.len());
        assert!(Bug::all().all(|bug| Bug::named(bug.name()) == Some(bug)));
        assert_eq!(Bug::named("none"), None);
    }
}
