//! This is what three replicas do under any interleaving of writes, frames that are lost, repeated
//! or late, repairs, transfers that break off, and restarts.

use crate::cluster::{Beside, Cluster, KEYS, REPLICAS};
use proptest::prelude::*;

/// One thing that happens; of what an attempt to close actors asks for, one thing at a time.
#[derive(Clone, Debug)]
enum Step {
    Read {
        key: usize,
        mask: u8,
    },
    Write {
        at: usize,
        key: usize,
        token: Option<usize>,
        is_live: bool,
        beside: Beside,
    },
    Deliver {
        frame: usize,
        to: usize,
    },
    Repair {
        from: usize,
        to: usize,
        bytes_max: usize,
        arrives: u8,
    },
    Transfer {
        from: usize,
        to: usize,
        bytes_max: usize,
    },
    BreakOff {
        from: usize,
        to: usize,
    },
    Remember {
        from: usize,
        to: usize,
    },
    Settle(usize),
    Truncate(usize),
    Restart(usize),
    Close(usize),
    CloseLost(usize),
    CloseLate {
        which: usize,
        to: usize,
    },
}

fn beside() -> impl Strategy<Value = Beside> {
    prop_oneof![
        4 => Just(Beside::Keep),
        1 => Just(Beside::Supersede),
        1 => Just(Beside::Merge),
    ]
}

fn pair() -> impl Strategy<Value = (usize, usize)> {
    (0..REPLICAS, 1..REPLICAS).prop_map(|(from, step)| (from, (from + step) % REPLICAS))
}

fn writes() -> impl Strategy<Value = Step> {
    let token = proptest::option::weighted(0.7, 0..1000_usize);
    let is_live = proptest::bool::weighted(0.7);
    (0..REPLICAS, 0..KEYS, token, is_live, beside()).prop_map(
        |(at, key, token, is_live, beside)| Step::Write {
            at,
            key,
            token,
            is_live,
            beside,
        },
    )
}

/// A bound of 1 byte lets one object through, whatever its size.
fn bytes_max() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), Just(200), Just(usize::MAX)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..KEYS, 1..8_u8).prop_map(|(key, mask)| Step::Read { key, mask }),
        8 => writes(),
        6 => (0..1000_usize, 0..REPLICAS).prop_map(|(frame, to)| Step::Deliver { frame, to }),
        3 => (pair(), bytes_max(), any::<u8>()).prop_map(|((from, to), bytes_max, arrives)| {
            Step::Repair { from, to, bytes_max, arrives }
        }),
        4 => (pair(), bytes_max()).prop_map(|((from, to), bytes_max)| {
            Step::Transfer { from, to, bytes_max }
        }),
        1 => pair().prop_map(|(from, to)| Step::BreakOff { from, to }),
        4 => pair().prop_map(|(from, to)| Step::Remember { from, to }),
        2 => (0..REPLICAS).prop_map(Step::Settle),
        2 => (0..REPLICAS).prop_map(Step::Truncate),
        2 => (0..REPLICAS).prop_map(Step::Restart),
        12 => (0..4_usize).prop_map(Step::Close),
        1 => (0..4_usize).prop_map(Step::CloseLost),
        1 => (0..1000_usize, 0..REPLICAS).prop_map(|(which, to)| Step::CloseLate { which, to }),
    ]
}

fn apply(cluster: &mut Cluster, step: &Step) {
    match *step {
        Step::Read { key, mask } => cluster.read(key, mask),
        Step::Write {
            at,
            key,
            token,
            is_live,
            beside,
        } => cluster.write(at, key, token, is_live, beside),
        Step::Deliver { frame, to } => cluster.deliver(frame, to),
        Step::Repair {
            from,
            to,
            bytes_max,
            arrives,
        } => cluster.repair(from, to, bytes_max, arrives),
        Step::Transfer {
            from,
            to,
            bytes_max,
        } => cluster.transfer_step(from, to, bytes_max),
        Step::BreakOff { from, to } => cluster.break_off(from, to),
        Step::Remember { from, to } => cluster.remember(from, to),
        Step::Settle(at) => cluster.settle(at),
        Step::Truncate(at) => cluster.truncate(at),
        Step::Restart(at) => cluster.restart(at),
        Step::Close(pick) => cluster.close_step(pick, true),
        Step::CloseLost(pick) => cluster.close_step(pick, false),
        Step::CloseLate { which, to } => cluster.close_late(which, to),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn replicas_are_what_full_histories_say(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut cluster = Cluster::new();
        for step in &steps {
            apply(&mut cluster, step);
            cluster.assert_sound();
            cluster.assert_trusted();
        }
        cluster.quiet();
        cluster.assert_sound();
        cluster.assert_converged();
    }
}
