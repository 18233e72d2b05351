//! These are the scenes: short plays of what is too rare a meeting for chance, or was once found
//! in some store and must never be found in this one. Each can be played with a bug planted.

mod closings;
mod damage;
mod deletions;
mod lives;
mod policies;
mod retold;
mod transfer;

use crate::bug::Bug;
use crate::report::Report;

/// A scene.
pub struct Scene {
    /// What it is called.
    pub name: &'static str,
    /// The bugs that must be found in it.
    pub opposites: &'static [Bug],
    play: fn(Option<Bug>) -> Report,
}

impl Scene {
    /// Plays it, with a bug planted or none.
    ///
    /// # Panics
    /// When it does not go as it is told, and no bug is planted.
    #[must_use]
    pub fn play(&self, bug: Option<Bug>) -> Report {
        (self.play)(bug)
    }
}

/// All scenes.
pub const ALL: [Scene; 56] = [
    Scene {
        name: "a key that the sender forgets during a transfer",
        opposites: &[Bug::JoinStartClockAlone],
        play: transfer::a_key_that_the_sender_forgets,
    },
    Scene {
        name: "a transfer breaks off and goes on",
        opposites: &[],
        play: transfer::a_transfer_breaks_off_and_goes_on,
    },
    Scene {
        name: "a delete dies half-way",
        opposites: &[],
        play: transfer::a_delete_dies_half_way,
    },
    Scene {
        name: "a message from before a closing",
        opposites: &[Bug::SilenceIsClosed],
        play: closings::a_message_from_before_a_closing,
    },
    Scene {
        name: "a reader that has not heard of a closing",
        opposites: &[Bug::UnknownListIgnored],
        play: closings::a_reader_that_has_not_heard_of_a_closing,
    },
    Scene {
        name: "a write comes while its life is being closed",
        opposites: &[Bug::ClosedBeforeRefused],
        play: closings::a_write_comes_while_its_life_is_being_closed,
    },
    Scene {
        name: "a leader is emptied after it closed",
        opposites: &[Bug::RefusedUnheard],
        play: closings::a_leader_is_emptied_after_it_closed,
    },
    Scene {
        name: "a coordinator drops its partition",
        opposites: &[Bug::DroppedCoordinatorCounts],
        play: closings::a_coordinator_drops_its_partition,
    },
    Scene {
        name: "a replica missed the writes of a bucket that died",
        opposites: &[Bug::SweepKeepsSum, Bug::DeadDotsSkipped],
        play: deletions::a_replica_missed_the_writes_of_a_bucket_that_died,
    },
    Scene {
        name: "a bucket dies during a transfer",
        opposites: &[],
        play: deletions::a_bucket_dies_during_a_transfer,
    },
    Scene {
        name: "a dead bucket is read where it is swept",
        opposites: &[],
        play: deletions::a_dead_bucket_is_read_where_it_is_swept,
    },
    Scene {
        name: "a process dies while it sweeps",
        opposites: &[],
        play: deletions::a_process_dies_while_it_sweeps,
    },
    Scene {
        name: "an emptied disk counts anew",
        opposites: &[Bug::SameActorAfterLoss],
        play: lives::an_emptied_disk_counts_anew,
    },
    Scene {
        name: "a directory is put back to a backup",
        opposites: &[Bug::RestoredIsTrusted],
        play: lives::a_directory_is_put_back,
    },
    Scene {
        name: "two of a write quorum lose their disks",
        opposites: &[Bug::SuspectCountsSuspect],
        play: lives::two_of_a_write_quorum_lose_their_disks,
    },
    Scene {
        name: "two lives begin in the same second",
        opposites: &[Bug::SameActorAfterLoss],
        play: lives::two_lives_begin_in_the_same_second,
    },
    Scene {
        name: "others know a higher dot of its own",
        opposites: &[Bug::SameActorAfterLoss],
        play: lives::others_know_a_higher_dot,
    },
    Scene {
        name: "an old write comes after its tombstone",
        opposites: &[Bug::TombstoneDroppedEarly],
        play: lives::an_old_write_comes_after_its_tombstone,
    },
    Scene {
        name: "a new write meets an old tombstone",
        opposites: &[Bug::SameActorAfterLoss],
        play: lives::a_new_write_meets_an_old_tombstone,
    },
    Scene {
        name: "a process dies as it drops a partition",
        opposites: &[],
        play: lives::a_process_dies_as_it_drops_a_partition,
    },
    Scene {
        name: "elements are added on all sides",
        opposites: &[Bug::CollapseInPlace],
        play: retold::elements_are_added_on_all_sides,
    },
    Scene {
        name: "a repair comes late",
        opposites: &[Bug::ActorForgotten],
        play: retold::a_repair_comes_late,
    },
    Scene {
        name: "a bit flips on a minority",
        opposites: &[Bug::ObjectsDroppedFirst, Bug::SameActorAfterRefill],
        play: retold::a_bit_flips_on_a_minority,
    },
    Scene {
        name: "a bit flips where alone the last writes are",
        opposites: &[Bug::DroppedBeforeOthersHold],
        play: damage::a_bit_flips_where_alone_the_last_writes_are,
    },
    Scene {
        name: "a bit flips in what two others must fetch",
        opposites: &[Bug::DroppedBeforeOthersHold],
        play: damage::a_bit_flips_in_what_two_others_must_fetch,
    },
    Scene {
        name: "a bit flips in what the log no longer names",
        opposites: &[Bug::DroppedBeforeOthersHold],
        play: damage::a_bit_flips_in_what_the_log_no_longer_names,
    },
    Scene {
        name: "bits flip at two replicas at once",
        opposites: &[Bug::DroppedBeforeOthersHold],
        play: damage::bits_flip_at_two_replicas_at_once,
    },
    Scene {
        name: "bits flip at the only two replicas",
        opposites: &[Bug::UnreadablePromised, Bug::DroppedBeforeOthersHold],
        play: damage::bits_flip_at_the_only_two_replicas,
    },
    Scene {
        name: "bits flip at the only two replicas, and no log names them",
        opposites: &[Bug::UnreadablePromised, Bug::DroppedBeforeOthersHold],
        play: damage::bits_flip_at_the_only_two_replicas_and_no_log_names_them,
    },
    Scene {
        name: "a disk is lost after bits flipped at the two others",
        opposites: &[],
        play: damage::a_disk_is_lost_after_bits_flipped_at_the_two_others,
    },
    Scene {
        name: "the same key is damaged at two replicas",
        opposites: &[],
        play: damage::the_same_key_is_damaged_at_two_replicas,
    },
    Scene {
        name: "a bit flips before a replica has heard of a closing",
        opposites: &[],
        play: damage::a_bit_flips_before_a_replica_has_heard_of_a_closing,
    },
    Scene {
        name: "the only two replicas are dropped after a closing",
        opposites: &[],
        play: damage::the_only_two_replicas_are_dropped_after_a_closing,
    },
    Scene {
        name: "a token names a list that is in no clock any more",
        opposites: &[],
        play: damage::a_token_names_a_list_that_is_in_no_clock_any_more,
    },
    Scene {
        name: "only the name of a list tells what was overwritten",
        opposites: &[],
        play: damage::only_the_name_of_a_list_tells_what_was_overwritten,
    },
    Scene {
        name: "a disk is emptied after it said what it holds",
        opposites: &[Bug::EarlierLifeHolds],
        play: damage::a_disk_is_emptied_after_it_said_what_it_holds,
    },
    Scene {
        name: "who promises cannot be opened again",
        opposites: &[],
        play: damage::who_promises_cannot_be_opened_again,
    },
    Scene {
        name: "a value is read after one of its two was damaged",
        opposites: &[Bug::DamagedCountsAsKept],
        play: damage::a_value_is_read_after_one_of_its_two_was_damaged,
    },
    Scene {
        name: "a value is lost at one of its two and damaged at the other",
        opposites: &[Bug::DamagedCountsAsKept],
        play: damage::a_value_is_lost_at_one_of_its_two_and_damaged_at_the_other,
    },
    Scene {
        name: "a delete is met by one that cannot hand it on",
        opposites: &[Bug::DamagedCountsAsKept],
        play: damage::a_delete_is_met_by_one_that_cannot_hand_it_on,
    },
    Scene {
        name: "a suspect is filled from who cannot read all",
        opposites: &[Bug::DamagedBelieved],
        play: damage::a_suspect_is_filled_from_who_cannot_read_all,
    },
    Scene {
        name: "a clock record is damaged while all others are away",
        opposites: &[],
        play: damage::a_clock_record_is_damaged_while_all_others_are_away,
    },
    Scene {
        name: "clock records are damaged at two of five, and an object at a third",
        opposites: &[],
        play: damage::clock_records_are_damaged_at_two_and_an_object_at_a_third,
    },
    Scene {
        name: "clock records are damaged at two of five while a third begins anew",
        opposites: &[],
        play: damage::clock_records_are_damaged_at_two_while_a_third_begins_anew,
    },
    Scene {
        name: "two nodes know of two versions of a policy",
        opposites: &[Bug::CollapseByVersion, Bug::CollapseInPlace],
        play: policies::two_nodes_know_of_two_versions,
    },
    Scene {
        name: "a policy fails too often",
        opposites: &[Bug::TrapLosesSiblings, Bug::QuarantinedRuns],
        play: policies::a_policy_fails_too_often,
    },
    Scene {
        name: "complaints about a policy come late",
        opposites: &[Bug::BlameComesLate],
        play: policies::complaints_come_late,
    },
    Scene {
        name: "a node is away while versions are swapped",
        opposites: &[Bug::OldVersionRuns, Bug::LastOneStandsIn, Bug::ChosenBeside],
        play: policies::a_node_is_away_while_versions_are_swapped,
    },
    Scene {
        name: "a reader is shown what nobody wrote",
        opposites: &[Bug::ReadAnswerStored],
        play: policies::a_reader_is_shown_what_nobody_wrote,
    },
    Scene {
        name: "siblings move while the policy answers",
        opposites: &[Bug::MovedIgnored],
        play: policies::siblings_move_while_the_policy_answers,
    },
    Scene {
        name: "the power is cut everywhere",
        opposites: &[Bug::AckBeforeSync],
        play: retold::the_power_is_cut_everywhere,
    },
    Scene {
        name: "a torn tail is appended to",
        opposites: &[Bug::ClockInItsOwnTree],
        play: retold::a_torn_tail_is_appended_to,
    },
    Scene {
        name: "a client tries again what is unknown",
        opposites: &[Bug::UnknownToldAsFailed],
        play: retold::a_client_tries_again_what_is_unknown,
    },
    Scene {
        name: "a forwarded write is not heard of",
        opposites: &[Bug::RetryForwarded],
        play: retold::a_forwarded_write_is_not_heard_of,
    },
    Scene {
        name: "wall clocks are an hour off",
        opposites: &[],
        play: retold::wall_clocks_are_an_hour_off,
    },
    Scene {
        name: "ninety-nine writers interleave",
        opposites: &[Bug::WideToken],
        play: retold::ninety_nine_writers_interleave,
    },
];
