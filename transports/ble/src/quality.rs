//! How good a link is.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// What is known of a link's quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkQuality {
    /// Signal strength of the peer when it was last heard advertising, dBm.
    pub rssi_dbm: Option<i16>,
    /// Bytes of frames that have arrived.
    pub bytes_in: u64,
    /// Bytes of frames that the peer has acknowledged.
    pub bytes_out: u64,
    /// Bytes per second both ways, averaged over the last seconds in which something moved.
    pub bytes_per_s: u64,
}

/// The same, counted while the link runs.
#[derive(Debug)]
pub(crate) struct Meter {
    rssi: AtomicI32,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    sent: AtomicU64,
    rate: AtomicU64,
}

/// No signal strength is known.
const UNKNOWN: i32 = i32::MIN;

impl Meter {
    pub(crate) fn new() -> Self {
        let rssi = AtomicI32::new(UNKNOWN);
        let [bytes_in, bytes_out, sent, rate] = [const { AtomicU64::new(0) }; 4];
        Self { rssi, bytes_in, bytes_out, sent, rate }
    }

    pub(crate) fn heard(&self, rssi: i16) {
        self.rssi.store(rssi.into(), Ordering::Relaxed);
    }

    pub(crate) fn count_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of frames sent, acknowledged or not.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Both directions so far.
    pub(crate) fn total(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed) + self.bytes_out.load(Ordering::Relaxed)
    }

    /// What moved in the last second. A quiet second says nothing about the link.
    pub(crate) fn second(&self, bytes: u64) {
        if bytes > 0 {
            let before = self.rate.load(Ordering::Relaxed);
            let now = if before == 0 { bytes } else { (3 * before + bytes) / 4 };
            self.rate.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> LinkQuality {
        let rssi = self.rssi.load(Ordering::Relaxed);
        LinkQuality {
            rssi_dbm: i16::try_from(rssi).ok(),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            bytes_per_s: self.rate.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_seconds_do_not_lower_the_rate() {
        let meter = Meter::new();
        assert_eq!(meter.read(), LinkQuality::default());
        meter.second(1_000);
        meter.second(0);
        assert_eq!(meter.read().bytes_per_s, 1_000);
        meter.second(2_000);
        assert_eq!(meter.read().bytes_per_s, 1_250);
        meter.heard(-60);
        assert_eq!(meter.read().rssi_dbm, Some(-60));
    }
}
