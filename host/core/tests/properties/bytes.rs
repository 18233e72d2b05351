//! This is every record and message as bytes: read back as written, and refused without a panic
//! when cut, changed or made up.

use crate::cluster::{place, value};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use soros_core::clock::Clock;
use soros_core::close::{self, Ask, Word};
use soros_core::closed::{Closed, Closing, News};
use soros_core::codec::Codec;
use soros_core::dot::{Actor, Dot};
use soros_core::dot_set::DotSet;
use soros_core::epoch::Epoch;
use soros_core::id::{BucketId, Generation, Incarnation, NodeId};
use soros_core::key::Key;
use soros_core::known::KnownLists;
use soros_core::message::{Refusal, Reply, Request};
use soros_core::object::{Object, Value, Version};
use soros_core::operation::{
    Achieved, Basis, Consistency, OperationError, ReadAnswer, ReadRequest, Rejection, Target,
    WriteAnswer, WriteRequest,
};
use soros_core::place::{Entry, Layout, Place};
use soros_core::policy;
use soros_core::read::Want;
use soros_core::replica::{
    Chunk, Difference, Found, Held, Item, Promise, Standing, State, TransferKind,
};
use soros_core::skew::Skew;
use soros_core::sum::Sum;
use soros_core::sync::{Answer, StateDigest, Tally};
use soros_core::time::Time;
use std::fmt::Debug;

fn actors() -> impl Strategy<Value = Actor> {
    (1..4_u64, 0..3_u128, 1..3_u32).prop_map(|(node, incarnation, generation)| Actor {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        generation: Generation(generation),
    })
}

fn dots() -> impl Strategy<Value = Dot> {
    (actors(), 1..9_u64).prop_map(|(actor, counter)| actor.dot(counter))
}

fn dot_sets() -> impl Strategy<Value = DotSet> {
    vec(dots(), 0..12).prop_map(|dots| {
        let mut set = DotSet::default();
        for dot in dots {
            set.add(dot);
        }
        set
    })
}

fn clocks() -> impl Strategy<Value = Clock> {
    (vec(dots(), 0..12), btree_set(actors(), 0..3)).prop_map(|(dots, closed)| {
        let mut clock = Clock::default();
        for dot in dots {
            clock.add(dot);
        }
        let seen = clock.seen().clone();
        let step = closed.iter().map(|actor| (*actor, seen.of_actor(actor)));
        let step = Closing::new(step);
        if !step.is_empty() {
            clock.close(step);
        }
        clock
    })
}

fn names() -> impl Strategy<Value = Option<Actor>> {
    clocks().prop_map(|clock| clock.closed().name())
}

fn closings() -> impl Strategy<Value = Closing> {
    clocks().prop_map(|clock| clock.closed().beyond(&Closed::default()))
}

fn values() -> impl Strategy<Value = Value> {
    let meta = vec(("[a-z]{0,6}", ".{0,6}"), 0..3);
    let encoding = proptest::option::of("[a-z]{1,6}");
    (vec(any::<u8>(), 0..20), ".{0,8}", encoding, meta).prop_map(
        |(bytes, content_type, content_encoding, meta)| Value {
            bytes: bytes.into(),
            content_type,
            content_encoding,
            meta,
        },
    )
}

fn versions() -> impl Strategy<Value = Version> {
    (any::<u64>(), proptest::option::of(values())).prop_map(|(time, value)| Version {
        time: Time(time),
        value,
    })
}

fn objects() -> impl Strategy<Value = Object> {
    (btree_map(dots(), versions(), 0..4), dot_sets())
        .prop_map(|(versions, context)| Object { versions, context })
}

fn entries() -> impl Strategy<Value = Entry> {
    (any::<u64>(), vec(any::<u8>(), 1..20)).prop_map(|(bucket, key)| Entry {
        bucket: BucketId(bucket),
        key: Key::try_from(key.as_slice()).expect("a key of some bytes"),
    })
}

fn targets() -> impl Strategy<Value = Target> {
    entries().prop_map(|entry| Target {
        place: place(),
        entry,
    })
}

fn consistencies() -> impl Strategy<Value = Consistency> {
    prop_oneof![
        Just(Consistency::One),
        Just(Consistency::Quorum),
        Just(Consistency::All),
    ]
}

fn bases() -> impl Strategy<Value = Basis> {
    prop_oneof![
        Just(Basis::Unsaid),
        Just(Basis::Blind),
        dot_sets().prop_map(Basis::Seen),
    ]
}

fn figures() -> impl Strategy<Value = Achieved> {
    (any::<u8>(), any::<u8>()).prop_map(|(reached, replicas)| Achieved { reached, replicas })
}

fn rejections() -> impl Strategy<Value = Rejection> {
    let texts = (".{0,9}", ".{0,9}", prop::option::of("/[a-z]{0,9}"));
    texts.prop_map(|(code, message, pointer)| Rejection {
        plugin: "size-and-type".parse().expect("a name"),
        version: "1.2.3-a+b".parse().expect("a version"),
        refusal: policy::Refusal {
            code,
            message,
            pointer,
        },
    })
}

fn errors() -> impl Strategy<Value = OperationError> {
    prop_oneof![
        dot_sets().prop_map(|context| OperationError::ContextRequired { context }),
        dot_sets().prop_map(|context| OperationError::TooManySiblings { context }),
        (any::<u8>(), any::<u8>())
            .prop_map(|(reached, needed)| OperationError::QuorumUnavailable { reached, needed }),
        (any::<u8>(), any::<u8>())
            .prop_map(|(reached, needed)| OperationError::OutcomeUnknown { reached, needed }),
        any::<i64>().prop_map(|micros| OperationError::ClockSkew { skew: Skew(micros) }),
        rejections().prop_map(|rejection| OperationError::Rejected(Box::new(rejection))),
        "[a-z]{0,9}".prop_map(|reason| OperationError::PolicyUnavailable {
            plugin: "immutable".parse().expect("a name"),
            reason,
        }),
        Just(OperationError::DiskFull),
        Just(OperationError::Overloaded),
        Just(OperationError::NotServed),
        Just(OperationError::NotReady),
        Just(OperationError::Storage),
    ]
}

fn states() -> impl Strategy<Value = State> {
    let merged = btree_map(1..6_u64, any::<bool>(), 0..4);
    let merged = proptest::option::of((merged, any::<bool>()));
    let standing = merged.prop_map(|merged| match merged {
        None => Standing::Trusted,
        Some((merged, lost_nothing)) => Standing::Suspect {
            lost_nothing,
            trusted: merged
                .iter()
                .filter(|(_, is)| **is)
                .map(|(id, _)| NodeId(*id))
                .collect(),
            merged: merged.keys().map(|id| NodeId(*id)).collect(),
        },
    });
    let refused = btree_set(actors(), 0..3);
    (
        clocks(),
        any::<[u128; 1]>(),
        standing,
        any::<[u64; 3]>(),
        refused,
        any::<bool>(),
    )
        .prop_map(
            |(clock, [sum], standing, [live_keys, unstripped, log_bytes], refused, strays)| State {
                clock,
                sum: Sum(sum),
                standing,
                live_keys,
                unstripped,
                log_bytes,
                refused,
                strays,
                known: KnownLists::default(),
            },
        )
}

fn chunks() -> impl Strategy<Value = Chunk> {
    let kind = prop_oneof![Just(TransferKind::Clocked), Just(TransferKind::Union)];
    let objects = vec((entries(), objects()), 0..4);
    let end = proptest::option::of(entries());
    let damaged = vec(entries(), 0..3);
    let parts = (kind, clocks(), objects, damaged, end);
    parts.prop_map(|(kind, clock, mut objects, damaged, end)| {
        if kind == TransferKind::Clocked {
            for (_, object) in &mut objects {
                object.context.join_bases(clock.seen());
            }
        }
        Chunk {
            kind,
            seen: clock.seen().clone(),
            objects,
            damaged,
            end,
        }
    })
}

fn items() -> impl Strategy<Value = Item> {
    let dots = proptest::option::of(vec(dots(), 0..4));
    (entries(), objects(), dots).prop_map(|(entry, object, dots)| Item {
        entry,
        dots: dots.unwrap_or_else(|| object.versions.keys().copied().collect()),
        object,
    })
}

fn differences() -> impl Strategy<Value = Difference> {
    prop_oneof![
        Just(Difference::None),
        Just(Difference::LogTooShort),
        (vec(items(), 0..3), any::<bool>())
            .prop_map(|(items, more)| Difference::Items { items, more }),
        (names(), vec(closings(), 0..3))
            .prop_map(|(after, steps)| Difference::Closed(News { after, steps })),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    (any::<bool>(), names(), dot_sets(), vec(actors(), 0..4)).prop_map(
        |(trusted, name, seen, actors)| Held {
            trusted,
            name,
            seen: actors.iter().map(|actor| seen.of_actor(actor)).collect(),
        },
    )
}

fn asks() -> impl Strategy<Value = Ask> {
    prop_oneof![
        vec(actors(), 0..4).prop_map(Ask::Ended),
        vec(actors(), 0..4).prop_map(Ask::Refuse),
        (names(), closings()).prop_map(|(after, step)| Ask::Close(after, step)),
    ]
}

fn closing_answers() -> impl Strategy<Value = close::Answer> {
    prop_oneof![
        vec(actors(), 0..4).prop_map(close::Answer::Ended),
        held().prop_map(close::Answer::Held),
        any::<bool>().prop_map(close::Answer::Closed),
    ]
}

fn promises() -> impl Strategy<Value = (Promise, bool)> {
    let promise = (actors(), clocks(), vec(entries(), 0..3), any::<bool>());
    promise.prop_map(|(holder, clock, unreadable, trusted)| {
        let promise = Promise {
            holder,
            clock,
            unreadable,
        };
        (promise, trusted)
    })
}

fn known_lists() -> impl Strategy<Value = KnownLists> {
    vec(clocks(), 0..3).prop_map(|clocks| {
        let mut lists = KnownLists::default();
        for clock in &clocks {
            lists.learn(clock.closed(), &Closed::default());
        }
        lists
    })
}

fn tallies() -> impl Strategy<Value = Tally> {
    any::<(u64, u128, bool)>().prop_map(|(epoch, sum, settled)| Tally {
        epoch: Epoch(epoch),
        sum: Sum(sum),
        settled,
    })
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::Same),
        known_lists().prop_map(Answer::NotSame),
        chunks().prop_map(Answer::Chunk),
        (
            differences(),
            clocks(),
            any::<bool>(),
            proptest::option::of(tallies())
        )
            .prop_map(|(mut difference, clock, filled, tally)| {
                if let (true, Difference::Items { items, .. }) = (filled, &mut difference) {
                    for item in items {
                        item.object.context.join_bases(clock.seen());
                    }
                }
                Answer::Difference {
                    difference,
                    seen: clock.seen().clone(),
                    tally,
                }
            }),
    ]
}

fn requests() -> impl Strategy<Value = Request> {
    let place = place();
    prop_oneof![
        (targets(), objects(), vec(dots(), 0..3)).prop_map(|(target, object, dots)| {
            Request::Store {
                target,
                object,
                dots,
            }
        }),
        (targets(), any::<bool>()).prop_map(|(target, whole)| Request::Look {
            target,
            want: if whole { Want::Object } else { Want::Digest },
        }),
        (
            targets(),
            proptest::option::of(values()),
            bases(),
            consistencies()
        )
            .prop_map(
                |(target, value, basis, consistency)| Request::Write(WriteRequest {
                    target,
                    value,
                    basis,
                    consistency,
                })
            ),
        (targets(), consistencies()).prop_map(|(target, consistency)| {
            Request::Read(ReadRequest {
                target,
                consistency,
            })
        }),
        any::<(u128, bool)>().prop_map(move |(digest, trusted)| Request::Compare {
            place,
            digest: StateDigest(digest),
            trusted,
        }),
        (clocks(), proptest::option::of(actors()), any::<bool>()).prop_map(
            move |(clock, holder, trusted)| {
                Request::Difference {
                    place,
                    dots: clock.seen().clone(),
                    holder,
                    trusted,
                }
            }
        ),
        asks().prop_map(move |ask| Request::Closing { place, ask }),
        proptest::option::of(entries()).prop_map(move |from| Request::Chunk {
            place,
            kind: TransferKind::Union,
            from,
        }),
        Just(Request::Clock),
        any::<[u64; 2]>().prop_map(|[bucket, epoch]| Request::Survey {
            bucket: BucketId(bucket),
            epoch: Epoch(epoch),
        }),
        vec(any::<u8>(), 0..9).prop_map(Request::Authority),
        vec(any::<u8>(), 0..9).prop_map(Request::Membership),
    ]
}

fn replies() -> impl Strategy<Value = Reply> {
    prop_oneof![
        any::<(bool, u64, bool)>().prop_map(|(live, time, suspect)| Reply::Stored(Found {
            live,
            beside: Time(time),
            suspect,
        })),
        objects().prop_map(Reply::Object),
        objects().prop_map(|object| Reply::Digest(object.digest())),
        errors().prop_map(|error| Reply::Written(Err(error))),
        errors().prop_map(|error| Reply::Read(Err(error))),
        (answers(), any::<(bool, bool, u64)>(), vec(actors(), 1..4)).prop_map(
            |(answer, (trusted, damaged, epoch), refused)| {
                let word = Word {
                    trusted,
                    damaged,
                    actor: refused[0],
                    waited_for: refused[1..].to_vec(),
                    refused,
                };
                Reply::Sync {
                    answer,
                    word,
                    epoch: Epoch(epoch),
                }
            }
        ),
        closing_answers().prop_map(Reply::Closing),
        promises().prop_map(|(promise, trusted)| Reply::Promised(promise, trusted)),
        any::<bool>().prop_map(Reply::Surveyed),
        any::<u64>().prop_map(Reply::Clock),
        vec(any::<u8>(), 0..9).prop_map(Reply::Authority),
        Just(Reply::Refused(Refusal::Suspect)),
        Just(Reply::Refused(Refusal::Unreadable)),
        Just(Reply::Refused(Refusal::Behind)),
    ]
}

/// Reads back what was written, and reads neither a part of it nor more than it.
#[track_caller]
fn check<T: Codec + Debug + PartialEq>(value: &T) {
    let bytes = value.to_bytes();
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
    for len in 0..bytes.len() {
        assert!(
            T::from_bytes(&bytes[..len]).is_err(),
            "{len} bytes are enough"
        );
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    assert!(T::from_bytes(&longer).is_err(), "a byte is left over");
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x81;
        let _ = T::from_bytes(&flipped);
    }
}

/// Reads back a clock record, with the list of closed actors that belongs to it and no other.
#[track_caller]
fn check_state(state: &State) {
    let (bytes, closed) = (state.to_record(), state.clock.closed());
    assert_eq!(State::of_record(&bytes, closed.clone()).as_ref(), Ok(state));
    let mut other = closed.clone();
    let stranger = Actor {
        node: NodeId(9),
        incarnation: Incarnation(9),
        generation: Generation(9),
    };
    other.push(Closing::new([(
        stranger,
        DotSet::default().of_actor(&stranger),
    )]));
    assert!(State::of_record(&bytes, other).is_err());
    for len in 0..bytes.len() {
        assert!(State::of_record(&bytes[..len], closed.clone()).is_err());
    }
}

fn read_all(bytes: &[u8]) {
    let _ = (Actor::from_bytes(bytes), Dot::from_bytes(bytes));
    let _ = (DotSet::from_bytes(bytes), Closing::from_bytes(bytes));
    let _ = (News::from_bytes(bytes), Held::from_bytes(bytes));
    let _ = (Object::from_bytes(bytes), Version::from_bytes(bytes));
    let _ = (Value::from_bytes(bytes), Sum::from_bytes(bytes));
    let _ = (Entry::from_bytes(bytes), Place::from_bytes(bytes));
    let _ = (Target::from_bytes(bytes), Basis::from_bytes(bytes));
    let _ = (
        WriteRequest::from_bytes(bytes),
        ReadRequest::from_bytes(bytes),
    );
    let _ = (
        WriteAnswer::from_bytes(bytes),
        ReadAnswer::from_bytes(bytes),
    );
    let _ = State::of_record(bytes, Closed::default());
    let _ = OperationError::from_bytes(bytes);
    let _ = (Chunk::from_bytes(bytes), TransferKind::from_bytes(bytes));
    let _ = Achieved::from_bytes(bytes);
    let _ = (Consistency::from_bytes(bytes), Found::from_bytes(bytes));
    let _ = Answer::from_bytes(bytes);
    let _ = (Request::from_bytes(bytes), Reply::from_bytes(bytes));
    let _ = (Layout::entry(bytes), Layout::entry_of_object(bytes));
    let _ = Layout::entry_of_unstripped(bytes);
}

proptest! {
    #[test]
    fn records_are_read_back_as_written(
        (clock, object, state) in (clocks(), objects(), states()),
        (entry, dot) in (entries(), dots()),
    ) {
        check(clock.seen());
        check(&object);
        check_state(&state);
        check(&entry);
        check(&dot);
        check(&place());
        check(&Sum(7));
        check(&(dot, entry));
    }

    #[test]
    fn operations_are_read_back_as_written(
        (target, value, basis) in (targets(), proptest::option::of(values()), bases()),
        (consistency, achieved, error) in (consistencies(), figures(), errors()),
        (context, versions, object) in (dot_sets(), dot_sets(), objects()),
    ) {
        let served_by = NodeId(7);
        check(&error);
        check(&ReadAnswer { object, achieved, served_by });
        check(&WriteAnswer { context, existed: true, versions, achieved, served_by });
        check(&ReadRequest { target: target.clone(), consistency });
        check(&WriteRequest { target, value, basis, consistency });
    }

    #[test]
    fn repairs_are_read_back_as_written(
        (chunk, answer) in (chunks(), answers()),
    ) {
        check(&chunk);
        check(&answer);
    }

    #[test]
    fn messages_are_read_back_as_written(request in requests(), reply in replies()) {
        check(&request);
        check(&reply);
    }

    #[test]
    fn bytes_that_nobody_wrote_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn small_bytes_that_nobody_wrote_never_panic(bytes in vec(0..3_u8, 0..300)) {
        read_all(&bytes);
    }
}

#[test]
fn a_value_is_a_value_whatever_it_holds() {
    check(&value(1));
    check(&Version {
        time: Time(u64::MAX),
        value: Some(value(2)),
    });
}
