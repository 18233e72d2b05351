//! These are the authority's tests: storage by openraft's own suite, and small clusters over a wire
//! in memory, under a clock that only moves when all wait.

mod api;
mod cluster;
mod commands;
mod failures;
mod formats;
mod founding;
mod record;
mod releases;
mod spreading;
mod storage;
