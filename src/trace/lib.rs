//! What a person sees of a running server: logs, spans, metrics.
//!
//! Absent: decisions. Nothing here changes what a client is answered.

pub mod log;
pub mod stamp;

pub use tracing::{debug, error, info, warn};
