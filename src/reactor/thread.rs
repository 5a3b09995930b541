//! Named threads, pinned when asked: for writers, uploaders and other runtimes.

/// Starts a thread. A panic in it ends the process (`panic = "abort"`).
///
/// # Errors
/// The kernel's.
pub fn spawn(
    name: &str,
    core: Option<usize>,
    f: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let _ = (name, core, f);
    todo!()
}

/// Cores this process may use, in order.
#[must_use]
pub fn cores() -> Vec<usize> {
    todo!()
}
