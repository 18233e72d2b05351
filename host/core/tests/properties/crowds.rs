//! This is how much a key may hold: what all replicas took of it on their own must fit a message.

use crate::cluster::{entry, place};
use crate::memory::Memory;
use soros_core::codec::Codec;
use soros_core::dot_set::DotSet;
use soros_core::id::{Incarnation, NodeId};
use soros_core::limits::{MESSAGE_BYTES_MAX, REPLICAS_MAX, VALUE_BYTES_MAX};
use soros_core::object::{Object, Value, Version};
use soros_core::replica::{Outcome, Replica, Siblings, Standing, Write};
use soros_core::time::Time;

fn write(replica: &mut Replica, disk: &mut Memory, bytes: usize) -> Outcome {
    let value = Value {
        bytes: vec![7; bytes].into(),
        content_type: String::new(),
        content_encoding: None,
        meta: Vec::new(),
    };
    let write = Write {
        context: DotSet::default(),
        version: Version {
            time: Time(1),
            value: Some(value),
        },
        siblings: Siblings::Keep,
        versions_max: usize::MAX,
    };
    let outcome = replica.write(disk, &entry(0), write);
    outcome.expect("memory does not fail")
}

#[test]
fn what_all_replicas_took_of_a_key_on_their_own_fits_one_message() {
    let sizes = [
        vec![VALUE_BYTES_MAX],
        vec![VALUE_BYTES_MAX / 2; 3],
        vec![1 << 20; 40],
    ];
    let mut merged = Object::default();
    for (node, sizes) in (1..=u64::from(REPLICAS_MAX)).zip(sizes.iter().cycle()) {
        let mut disk = Memory::default();
        let life = (NodeId(node), Incarnation(1));
        let replica = Replica::open(&disk, place(), life, Standing::Trusted);
        let mut replica = replica.expect("an empty disk opens");
        let first = write(&mut replica, &mut disk, sizes[0]);
        assert!(matches!(first, Outcome::Written(_)), "one is always taken");
        for size in &sizes[1..] {
            write(&mut replica, &mut disk, *size);
        }
        let refused = write(&mut replica, &mut disk, VALUE_BYTES_MAX);
        assert!(matches!(refused, Outcome::TooManySiblings(_)));
        let object = replica.view(&disk).object(&entry(0));
        let object = object.expect("memory does not fail");
        merged = merged.sync(object, &[]).expect("nothing is closed");
    }
    assert!(usize::from(REPLICAS_MAX) <= merged.versions.len());
    assert!(merged.to_bytes().len() < MESSAGE_BYTES_MAX);
}
