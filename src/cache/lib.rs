//! A slice's blocks in memory and log: dirty ranges, states, budget, eviction.
//!
//! Absent: the content store. A miss is for the caller to fill.
//!
//! Next: [`dirty`] (what is not uploaded yet, never evicted), then [`clean`] (what can be fetched
//! again, evicted at will).

pub mod clean;
pub mod dirty;
