//! This is what runs components: two engines with every WebAssembly feature set by hand, because
//! the set that a release accepts grows, and nodes must agree while they are upgraded one by one.
//!
//! Requests have an engine whose instances are set aside beforehand: fast to make, and never more
//! than there is room for. Placement, which is asked rarely and may need much, has one that
//! allocates as it goes.

use crate::plugin::guest::Guest;
use crate::plugin::limits::{
    CORE_INSTANCES, INSTANCES, Limits, PLANNING, PLANNING_TICK, REQUEST, REQUEST_TICK, SLOT_BYTES,
    STACK_BYTES, TABLE_ENTRIES, TABLES,
};
use crate::plugin::log;
use crate::plugin::ticker::Ticker;
use soros_core::map::plugin::PluginKind;
use std::num::NonZeroUsize;
use std::time::Duration;
use wasmtime::component::Linker;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
    WasmFeatures,
};

/// What components may use; everything else that is or will be is refused.
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::COMPONENT_MODEL);

/// How many frames of a trap's backtrace are kept.
const FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(8).expect("eight is not zero");

/// An engine with what every component is linked to, and its clock.
pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) linker: Linker<Guest>,
    pub(super) ticker: Ticker,
    pub(super) limits: Limits,
    pub(super) tick: Duration,
}

/// Why the engines cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The machine does not give what the engine needs, address space above all.
    #[error("the WebAssembly engine does not start: {0:#}")]
    Engine(wasmtime::Error),
    /// There is no thread for its clock.
    #[error("the WebAssembly engine's clock does not start")]
    Clock(#[source] std::io::Error),
}

impl Host {
    /// The engine for policies that requests ask.
    pub(super) fn for_requests() -> Result<Host, EngineError> {
        let mut config = config();
        of_requests(&mut config);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        Host::start(&config, REQUEST, REQUEST_TICK)
    }

    /// The engine for placement.
    pub(super) fn for_planning() -> Result<Host, EngineError> {
        let mut config = config();
        of_planning(&mut config);
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Host::start(&config, PLANNING, PLANNING_TICK)
    }

    /// An engine that only compiles, to the same code as the one for this kind of policy.
    pub(super) fn for_compiling(kind: PluginKind) -> Result<Engine, EngineError> {
        let mut config = config();
        match kind {
            PluginKind::Placement => of_planning(&mut config),
            PluginKind::Resolution | PluginKind::Validation => of_requests(&mut config),
        }
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Engine::new(&config).map_err(EngineError::Engine)
    }

    fn start(config: &Config, limits: Limits, tick: Duration) -> Result<Host, EngineError> {
        let engine = Engine::new(config).map_err(EngineError::Engine)?;
        let ticker = Ticker::start(&engine, tick).map_err(EngineError::Clock)?;
        let linker = log::linker(&engine).map_err(EngineError::Engine)?;
        Ok(Host {
            engine,
            linker,
            ticker,
            limits,
            tick,
        })
    }

    /// How many ticks of its clock a call may see.
    pub(super) fn ticks_max(&self) -> u32 {
        let ticks = self.limits.deadline.as_nanos() / self.tick.as_nanos();
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

/// What compiled code depends on, of the engine for requests.
fn of_requests(config: &mut Config) {
    config.memory_reservation(SLOT_BYTES as u64);
    config.memory_guard_size(64 << 10);
}

fn of_planning(config: &mut Config) {
    config.memory_reservation(PLANNING.memory_bytes as u64);
}

fn config() -> Config {
    let mut config = Config::new();
    config.wasm_features(FEATURES.complement(), false);
    config.wasm_features(FEATURES, true);
    config.cranelift_nan_canonicalization(true);
    config.consume_fuel(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES);
    config.memory_init_cow(true);
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.wasm_backtrace_max_frames(Some(FRAMES_MAX));
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES);
    pool.total_memories(INSTANCES);
    pool.total_core_instances(INSTANCES * 8);
    pool.total_tables(INSTANCES * 4);
    pool.max_core_instances_per_component(CORE_INSTANCES);
    pool.max_memories_per_component(1);
    pool.max_tables_per_component(TABLES);
    pool.table_elements(TABLE_ENTRIES);
    pool.max_memory_size(SLOT_BYTES);
    pool.linear_memory_keep_resident(0);
    pool.table_keep_resident(0);
    pool
}
