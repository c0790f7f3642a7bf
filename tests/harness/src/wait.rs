//! Waiting with a deadline.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// How often a condition without an event of its own is looked at again.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// A point in time after which waiting has failed.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    start: Instant,
    length: Duration,
}

impl Deadline {
    /// A deadline `length` from now.
    #[must_use]
    pub fn after(length: Duration) -> Self {
        Self { start: Instant::now(), length }
    }

    /// A deadline this many seconds from now.
    #[must_use]
    pub fn secs(seconds: u64) -> Self {
        Self::after(Duration::from_secs(seconds))
    }

    /// What is left; zero once it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.length.saturating_sub(self.start.elapsed())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }

    /// Its whole length, for error messages.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }
}

impl From<Duration> for Deadline {
    fn from(length: Duration) -> Self {
        Self::after(length)
    }
}

/// Looks at a condition that announces itself by nothing until it yields a value or the deadline has passed.
pub fn poll_until<T>(deadline: impl Into<Deadline>, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = deadline.into();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if deadline.passed() {
            return None;
        }
        thread::sleep(TICK.min(deadline.left()));
    }
}

/// Whether a TCP socket listens on `ip:port`, or on every address, in the network namespace of `pid`.
///
/// Reads the kernel's table instead of connecting, so that it works across namespaces and leaves no
/// half-open connection in the server's log.
#[must_use]
pub fn listens(pid: u32, ip: IpAddr, port: u16) -> bool {
    let table = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let wanted = [hex_address(ip), "0".repeat(8), "0".repeat(32)];
    ["tcp", "tcp6"]
        .iter()
        .any(|name| table(name).lines().skip(1).any(|line| is_listener(line, &wanted, port)))
}

/// Reads one row: `sl local_address rem_address st …`, state 0A being LISTEN.
fn is_listener(row: &str, addresses: &[String], port: u16) -> bool {
    let mut fields = row.split_ascii_whitespace().skip(1);
    let (Some(local), Some(_remote), Some("0A")) = (fields.next(), fields.next(), fields.next()) else {
        return false;
    };
    local.split_once(':').is_some_and(|(address, number)| {
        u16::from_str_radix(number, 16) == Ok(port) && addresses.iter().any(|wanted| wanted == address)
    })
}

/// The kernel prints addresses as 32-bit words in the byte order of the machine.
fn hex_address(ip: IpAddr) -> String {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_ne_bytes);
    let octets = match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    octets.chunks(4).map(|chunk| format!("{:08X}", word(chunk))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_seen_by_its_exact_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(listens(std::process::id(), address.ip(), address.port()));
        drop(listener);
        assert!(!listens(std::process::id(), address.ip(), address.port()));
    }

    #[test]
    fn a_listener_on_every_address_counts() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(std::process::id(), "127.0.0.1".parse().unwrap(), port));
    }

    #[test]
    fn polling_ends_with_the_deadline() {
        let mut looks = 0;
        let found = poll_until(Duration::from_millis(50), || {
            looks += 1;
            None::<()>
        });
        assert_eq!(found, None);
        assert!(looks >= 1);
    }
}
