//! Time as the daemon sees it: a monotonic clock that counts suspend, and a wall clock that may not be believed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use pigeon_core::Now;
use rustix::time::{ClockId, clock_gettime};

use crate::config::ClockMode;

/// How many neighbours' clocks are remembered; the median of these is used (PROTOCOL.md section 3).
const NEIGHBOUR_CLOCKS_MAX: usize = 5;
/// A wall clock before this is never right: the day of this release, 2026-11-01T00:00:00Z.
const BUILD_DATE_S: u64 = 1_793_491_200;

/// How long a look at the machine's clocks is good for.
const JUDGEMENT_MS: u64 = 10_000;

/// Where the current day comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSource {
    /// This machine's own clock.
    Trusted,
    /// The median of what neighbours said in their Hello.
    Neighbours,
    /// Nobody knows the day yet.
    Unknown,
}

impl ClockSource {
    /// The word `pigeon status` shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Neighbours => "from neighbours",
            Self::Unknown => "none",
        }
    }
}

/// The node's clock, shared by all tasks.
#[derive(Debug, Clone)]
pub struct Clock {
    mode: ClockMode,
    neighbours: Arc<Mutex<VecDeque<Heard>>>,
    /// When `auto` last looked, and what it found.
    judged: Arc<Mutex<Option<(u64, bool)>>>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    node: [u8; 32],
    wall_s: u64,
    at_mono_ms: u64,
}

impl Clock {
    /// A clock that judges the machine's wall time as `mode` says.
    pub fn new(mode: ClockMode) -> Self {
        Self { mode, neighbours: Arc::default(), judged: Arc::default() }
    }

    /// The time for the core. `wall_s` is there only when the machine's own clock is trusted.
    pub fn now(&self) -> Now {
        Now { mono_ms: mono_ms(), wall_s: self.trusted_wall_s() }
    }

    /// Unix seconds when this machine's clock is trusted.
    pub fn trusted_wall_s(&self) -> Option<u64> {
        let trusted = match self.mode {
            ClockMode::Trusted => true,
            ClockMode::None => false,
            ClockMode::Auto => self.judgement() && system_s() >= BUILD_DATE_S,
        };
        trusted.then(system_s)
    }

    /// Whether the machine has a clock to be believed; looked at afresh now and then, since time daemons start late.
    fn judgement(&self) -> bool {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = mono_ms();
        if judged.is_none_or(|(at_ms, _)| now_ms.saturating_sub(at_ms) >= JUDGEMENT_MS) {
            *judged = Some((now_ms, has_time_daemon() || has_hardware_clock() || has_host_clock()));
        }
        judged.is_some_and(|(_, trusted)| trusted)
    }

    /// The best guess of Unix seconds: own clock, else the median of neighbours' clocks.
    pub fn day_s(&self) -> Option<u64> {
        self.trusted_wall_s().or_else(|| self.neighbours_s())
    }

    /// Where [`Clock::day_s`] comes from.
    pub fn source(&self) -> ClockSource {
        match (self.trusted_wall_s(), self.neighbours_s()) {
            (Some(_), _) => ClockSource::Trusted,
            (None, Some(_)) => ClockSource::Neighbours,
            (None, None) => ClockSource::Unknown,
        }
    }

    /// Unix milliseconds to be shown or sealed: the machine's where it is trusted, else the neighbours', else 0.
    pub fn display_ms(&self) -> u64 {
        match self.trusted_wall_s() {
            Some(_) => system_ms(),
            None => self.neighbours_s().map_or(0, |seconds| seconds.saturating_mul(1000)),
        }
    }

    /// A neighbour said its clock reads `wall_s`. One voice per node key.
    pub fn heard(&self, node: [u8; 32], wall_s: u64) {
        let mut list = self.neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|h| h.node != node);
        if list.len() == NEIGHBOUR_CLOCKS_MAX {
            list.pop_front();
        }
        list.push_back(Heard { node, wall_s, at_mono_ms: mono_ms() });
    }

    fn neighbours_s(&self) -> Option<u64> {
        let list = self.neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        let now = mono_ms();
        let mut times: Vec<u64> =
            list.iter().map(|h| h.wall_s.saturating_add(now.saturating_sub(h.at_mono_ms) / 1000)).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }
}

/// Milliseconds since boot, suspend included (`CLOCK_BOOTTIME`).
pub fn mono_ms() -> u64 {
    let t = clock_gettime(ClockId::Boottime);
    u64::try_from(t.tv_sec).unwrap_or(0) * 1000 + u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000
}

fn system_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

fn system_s() -> u64 {
    system_ms() / 1000
}

/// `adjtimex` needs unsafe code; systemd-timesyncd, chrony and ntpd leave the same answer in files.
fn has_time_daemon() -> bool {
    ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/ntpd.pid"]
        .iter()
        .any(|path| std::path::Path::new(path).exists())
}

/// A virtual machine starts with its host's time, and has no hardware clock that could be asked. The processor's
/// `hypervisor` flag (CPUID leaf 1, ECX bit 31) tells; boards without a clock of their own are not x86.
fn has_host_clock() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
        text.lines()
            .any(|line| line.starts_with("flags") && line.split_ascii_whitespace().any(|f| f == "hypervisor"))
    })
}

fn has_hardware_clock() -> bool {
    std::fs::read_to_string("/sys/class/rtc/rtc0/since_epoch")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .is_some_and(|seconds| seconds >= BUILD_DATE_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_clock_the_median_of_neighbours_counts() {
        let clock = Clock::new(ClockMode::None);
        assert_eq!(clock.source(), ClockSource::Unknown);
        assert_eq!(clock.day_s(), None);
        for (node, wall) in [(1, 5_000), (2, 1_000_000_000_000), (3, 5_010)] {
            clock.heard([node; 32], wall);
        }
        assert_eq!(clock.source(), ClockSource::Neighbours);
        let day = clock.day_s().unwrap_or(0);
        assert!((5_010..6_000).contains(&day), "{day}");
    }

    #[test]
    fn one_node_key_has_one_voice() {
        let clock = Clock::new(ClockMode::None);
        clock.heard([1; 32], 100);
        clock.heard([2; 32], 200);
        clock.heard([3; 32], 300);
        for _ in 0..10 {
            clock.heard([9; 32], 1 << 40);
        }
        let day = clock.day_s().unwrap_or(0);
        assert!(day < 1 << 39, "a single liar moved the median to {day}");
    }
}
