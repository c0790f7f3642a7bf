//! What this process has used, and running itself again for a figure of its own.

use std::path::Path;
use std::process::{Command, Stdio};

const CHILD: &str = "PIGEON_BENCH_CHILD";

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Resident memory in MiB.
pub(crate) fn resident_mib() -> u64 {
    field("/proc/self/status", "VmRSS:") >> 10
}

/// Most resident memory so far in MiB.
pub(crate) fn peak_mib() -> u64 {
    field("/proc/self/status", "VmHWM:") >> 10
}

/// Bytes that this process has had the kernel write to disks.
pub(crate) fn written_bytes() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

/// Seconds of processor time of all threads.
pub(crate) fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::try_from(time).unwrap().as_secs_f64()
}

/// The task of a child, if this is one.
pub(crate) fn task() -> Option<Vec<String>> {
    std::env::var(CHILD).ok().map(|task| task.split('\n').map(str::to_owned).collect())
}

pub(crate) fn is_child() -> bool {
    task().is_some()
}

/// Runs this program again with a task; gives back what it printed.
pub(crate) fn child(task: &str, dir: &Path, count: usize) -> String {
    let exe = std::env::current_exe().unwrap();
    let task = format!("{task}\n{}\n{count}", dir.display());
    let output = Command::new(exe).env(CHILD, task).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "a child of the bench ended with {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
