//! One arena for the allocator.
//!
//! glibc gives each thread an arena of its own. What one thread takes and another returns stays in the first one's: a
//! bridge with a million entries in its ledger grew from 91 MiB to between 120 and 150 with 2,000 messages, and to 99 with
//! one arena, for no more processor time (docs/architecture.md). glibc reads the limit from its environment before `main`, and
//! `mallopt` needs unsafe code, so the program starts itself again, as the same process.
//!
//! An error is why it did not, say because the program has been replaced; it can go on, with more memory.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn use_one_arena() -> std::io::Result<()> {
    use std::os::unix::process::CommandExt as _;

    /// mallopt(3).
    const LIMIT: &str = "MALLOC_ARENA_MAX";
    // What the operator says counts, and the second start must not be followed by a third.
    if std::env::var_os(LIMIT).is_some() {
        return Ok(());
    }
    let mut words = std::env::args_os();
    let mut again = std::process::Command::new(std::env::current_exe()?);
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    Err(again.args(words).env(LIMIT, "1").exec())
}

/// Other allocators have none of this.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn use_one_arena() -> std::io::Result<()> {
    Ok(())
}
