//! Points in time as file systems keep them.

/// Time since 1970-01-01 UTC. Invariant: `nanos < 1_000_000_000`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds; before 1970 is negative.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}
