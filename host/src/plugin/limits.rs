//! This is every limit of a policy and of the engines that run policies. They are the same on every
//! node, so that all nodes accept the same components and agree on what a call may use.

use std::time::Duration;

/// What one call of a policy may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How much it may compute: about one unit an instruction, and one a byte that it copies.
    pub fuel: u64,
    /// How long it may hold its thread, not counting the time that the thread does not run.
    pub deadline: Duration,
    /// How much memory an instance may have.
    pub memory_bytes: usize,
    /// How much the host shows it in one call.
    pub input_bytes: usize,
    /// How much it may answer.
    pub output_bytes: usize,
    /// How much of the log one call may fill.
    pub log_bytes: usize,
}

/// The limits of policies that are asked by requests: resolution and validation.
pub const REQUEST: Limits = Limits {
    fuel: 10_000_000,
    deadline: Duration::from_millis(10),
    memory_bytes: 16 << 20,
    input_bytes: 8 << 20,
    output_bytes: 8 << 20,
    log_bytes: 4 << 10,
};

/// The limits of placement, which is asked off the request path.
pub const PLANNING: Limits = Limits {
    fuel: 20_000_000_000,
    deadline: Duration::from_secs(10),
    memory_bytes: 512 << 20,
    input_bytes: 64 << 20,
    output_bytes: 8 << 20,
    log_bytes: 64 << 10,
};

/// The largest component.
pub const COMPONENT_BYTES_MAX: usize = 32 << 20;
/// The most native code of a component.
pub const NATIVE_BYTES_MAX: usize = 256 << 20;
/// How long a processor may work on compiling a component that does not ship.
pub const COMPILE_TIME_MAX: Duration = Duration::from_mins(1);
/// How long that may last on a busy machine, where compiling stands back for all else.
pub const COMPILE_WAIT_MAX: Duration = Duration::from_mins(5);
/// On how many threads it is done: each takes address space, and a processor.
pub const COMPILE_THREADS: u32 = 2;
/// How much memory that may take.
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 2 << 30;
/// The longest config, in canonical JSON.
pub const CONFIG_BYTES_MAX: usize = 64 << 10;
/// The longest text of a policy that is shown to people: a reason, a problem, a log line.
pub const TEXT_BYTES_MAX: usize = 1 << 10;
/// How many changes one call of a validator is shown.
pub const CHANGES_MAX: usize = 64;
/// How many lines of all calls of one policy the log takes in a second.
pub const LOG_LINES_A_SECOND: u32 = 100;
/// How often an instance is used before it makes room for a fresh one: a policy that never gives
/// back a little of its memory would otherwise fail in the end.
pub const CALLS_AN_INSTANCE: u32 = 4096;

/// How often a plugin may fail at all nodes together within [`FAULTS_TIME`], before it is not asked
/// any more.
pub const FAULTS_MAX: u32 = 5;
/// How long a fault counts.
pub const FAULTS_TIME: Duration = Duration::from_secs(10);
/// How long a version that came into force is on probation: if it fails too often, the one before
/// takes over.
pub const PROBATION_TIME: Duration = Duration::from_mins(1);

/// Of how many calls within [`FAULTS_TIME`] at one node a version on probation may not refuse, or
/// give up on, nine of ten, where the version before did so with less than half.
pub const TRIAL_CALLS_MIN: u32 = 50;

/// How deep a policy may call, in bytes of stack.
pub const STACK_BYTES: usize = 256 << 10;
/// How much memory the engine for requests sets aside for an instance.
pub const SLOT_BYTES: usize = 64 << 20;
/// How many instances the engine for requests has room for.
pub const INSTANCES: u32 = 1024;
/// How many core instances a component may be made of.
pub const CORE_INSTANCES: u32 = 64;
/// How many tables a component may have.
pub const TABLES: u32 = 16;
/// How many entries a table may have.
pub const TABLE_ENTRIES: usize = 20_000;
/// How often the engine for requests looks at the time.
pub const REQUEST_TICK: Duration = Duration::from_millis(1);
/// How often the engine for placement looks at the time.
pub const PLANNING_TICK: Duration = Duration::from_millis(10);

const _: () = assert!(REQUEST.memory_bytes <= SLOT_BYTES);
const _: () = assert!(REQUEST.input_bytes < REQUEST.memory_bytes);
const _: () = assert!(PLANNING.input_bytes < PLANNING.memory_bytes);
const _: () = assert!(CONFIG_BYTES_MAX <= REQUEST.input_bytes);
