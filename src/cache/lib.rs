//! A slice's blocks in memory and log: dirty ranges, states, budget, eviction.
//!
//! Absent: the content store. A miss is for the caller to fill.
