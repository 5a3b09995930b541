//! Whether the records of a store agree with each other.

use crate::engine::Engine;

/// Checks everything.
pub(crate) fn check(engine: &dyn Engine) {
    let checked = crate::check::check(&*engine.view());
    assert_eq!(checked.findings, []);
    assert!(checked.repairs.is_empty(), "a repair of nothing");
}
