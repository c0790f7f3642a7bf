//! What other processes have used.

/// The kernel counts processor time in these (`sysconf(_SC_CLK_TCK)` is 100 on every Linux that runs here).
const TICK_S: f64 = 0.01;
/// Fields of `/proc/PID/stat` behind the program's name: user time is field 14, kernel time 15, of which the name is 2.
const UTIME: usize = 11;

/// Seconds of processor time of all threads of a process.
pub(crate) fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name is in parentheses and may contain anything.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(UTIME).take(2).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() * TICK_S
}

/// A line of `/proc/PID/status`, in MiB.
pub(crate) fn memory_mib(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<f64>().unwrap() / 1_024.0
}
