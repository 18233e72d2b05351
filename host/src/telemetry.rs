//! This is what a node tells its operators: log lines on standard error, and figures at `/metrics`.
//!
//! Nothing here is global but the log's subscriber: several nodes in one process have a [`Metrics`]
//! each. No key, value, token or secret ever goes into a log line or a label; sizes and ids may.

mod family;
mod log;
mod metrics;
mod number;
mod requests;
mod text;

pub use family::Family;
pub use log::{Log, LogError, LogFormat, is_filter, start_log};
pub use metrics::{CONTENT_TYPE, CommitFigures, Metrics};
pub use number::{Counter, Gauge, Histogram};
pub use requests::{Operation, Requests};
