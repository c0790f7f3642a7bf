//! One arena for the allocator.
//!
//! glibc gives each thread an arena of its own. What one thread takes and another returns stays in the first one's: a
//! bridge with a million entries in its ledger grew from 91 MiB to between 120 and 150 with 2,000 messages, and to 99 with
//! one arena, for no more processor time (docs/architecture.md). glibc reads the limit from its environment before `main`, and
//! `mallopt` needs unsafe code, so the program starts itself again, as the same process.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn use_one_arena() {
    use std::os::unix::process::CommandExt as _;

    /// mallopt(3).
    const LIMIT: &str = "MALLOC_ARENA_MAX";
    // What the operator says counts, and the second start must not be followed by a third.
    if std::env::var_os(LIMIT).is_some() {
        return;
    }
    let (Ok(program), mut words) = (std::env::current_exe(), std::env::args_os()) else { return };
    let mut again = std::process::Command::new(program);
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    // Returns only if it fails, say because the program has been replaced; then this one goes on, with more memory.
    let error = again.args(words).env(LIMIT, "1").exec();
    tracing::debug!(%error, "the allocator keeps an arena for each thread");
}

/// Other allocators have none of this.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn use_one_arena() {}
