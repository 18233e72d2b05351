//! This is every limit of the core, each checked against the others when the crate is built.

use std::time::Duration;

/// The longest name of a node, bucket or placement, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// The most partitions a placement may have: a power of two.
pub const PARTITIONS_MAX: u32 = 65_536;
/// The most replicas a partition may have.
pub const REPLICAS_MAX: u8 = 7;
/// The largest value a bucket may allow, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// The largest value a bucket allows unless told otherwise, in bytes.
pub const VALUE_BYTES_DEFAULT: usize = 4 << 20;
/// The most user metadata of a value, names included, in bytes.
pub const META_BYTES_MAX: usize = 4 << 10;
/// The longest `Content-Type` or `Content-Encoding` kept with a value, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 1 << 10;
/// How many versions of one key a client may leave side by side.
pub const SIBLINGS_MAX_DEFAULT: usize = 128;
/// The most actors, isolated dots or ranges that a decoded clock or context may have.
pub const DOTS_DECODED_MAX: usize = 1 << 20;
/// The most versions that a decoded object may have: repair may pass the client's limit.
pub const VERSIONS_DECODED_MAX: usize = 1 << 16;
/// The most actors that are closed at a time.
pub const CLOSED_AT_A_TIME_MAX: usize = 256;
/// The longest token that is looked at, in bytes before base64.
pub const TOKEN_BYTES_MAX: usize = 32 << 10;
/// The most nodes a cluster may have.
pub const NODES_MAX: usize = 1024;
/// The most buckets a cluster may have.
pub const BUCKETS_MAX: usize = 1024;
/// The most placements a cluster may have.
pub const PLACEMENTS_MAX: usize = 64;
/// The most validators a bucket may have.
pub const VALIDATORS_MAX: usize = 16;
/// The most plugins a cluster may have.
pub const PLUGINS_MAX: usize = 64;
/// The most versions a plugin may have.
pub const RELEASES_MAX: usize = 16;
/// The most bytes that the components of all plugins may have together: each node holds all.
pub const COMPONENTS_BYTES_MAX: u64 = 1 << 30;
/// The longest name of a plugin, in bytes.
pub const PLUGIN_NAME_BYTES_MAX: usize = 63;
/// The longest version of a plugin, in bytes.
pub const PLUGIN_VERSION_BYTES_MAX: usize = 64;
/// The longest text of a policy that is shown to people, in bytes: a reason, a problem.
pub const POLICY_TEXT_BYTES_MAX: usize = 4 << 10;
/// The longest address or URL of a node, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 512;
/// The longest version of a node's program, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;
/// The most bytes a node may say it can hold.
pub const CAPACITY_BYTES_MAX: u64 = 1 << 60;
/// How long a node may leave what it has answered unsynced, where the cluster's settings let it. A
/// power cut takes no more from it than this and the time of a sync.
pub const UNSYNCED_TIME_MAX: Duration = Duration::from_millis(100);
/// The longest a value may live, in seconds: ten years.
pub const TTL_SECONDS_MAX: u64 = 10 * 366 * 24 * 3_600;

const _: () = assert!(PARTITIONS_MAX.is_power_of_two());
const _: () = assert!(VALUE_BYTES_DEFAULT <= VALUE_BYTES_MAX);
const _: () = assert!(NODES_MAX <= u16::MAX as usize);
const _: () = assert!(SIBLINGS_MAX_DEFAULT <= VERSIONS_DECODED_MAX);
/// The most objects or dot log entries that one message of repair carries.
pub const ITEMS_PER_ANSWER_MAX: usize = 1024;
/// About how many bytes of objects one message of repair carries; a larger object goes alone.
pub const REPAIR_BYTES: usize = 1 << 20;
/// Beside a clock of at most so many actors, objects are sent without what it says of their
/// contexts: each of them comes to have all of its actors, however few bytes it was sent in.
pub const SHARED_ACTORS_MAX: usize = 256;
/// How many unreadable entries a replica tells of that promises to hold the rest: where more are
/// damaged, it promises nothing.
pub const UNREADABLE_TOLD_MAX: usize = 64;
/// How many lists of closed actors a replica knows beside its own.
pub const KNOWN_LISTS_MAX: usize = 8;
/// How many such lists a replica reads that were stored or told: there may be more one day.
pub const KNOWN_LISTS_DECODED_MAX: usize = 64;
/// The largest message between nodes, in bytes: an object with its siblings, or a map.
pub const MESSAGE_BYTES_MAX: usize = 128 << 20;
/// The most bytes that the versions of a key may have together for a client to leave one beside
/// them. Each replica takes writes on its own, and what all of them took must fit one message: what
/// does not could never be repaired.
pub const SIBLINGS_BYTES_MAX: usize = VALUE_BYTES_MAX + (64 << 10);

/// About how many bytes of memory an actor of a context takes.
const ACTOR_BYTES: usize = 72;
const _: () =
    assert!(ITEMS_PER_ANSWER_MAX * SHARED_ACTORS_MAX * ACTOR_BYTES <= MESSAGE_BYTES_MAX / 4);
const _: () = assert!(VALUE_BYTES_MAX + META_BYTES_MAX < SIBLINGS_BYTES_MAX);
const _: () =
    assert!(REPLICAS_MAX as usize * SIBLINGS_BYTES_MAX + 2 * REPAIR_BYTES < MESSAGE_BYTES_MAX);
