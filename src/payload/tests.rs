//! Suites of this room: a real log on a real reactor, stores in memory.
