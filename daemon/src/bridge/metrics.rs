//! What an operator can count, as Prometheus reads it (text format 0.0.4). No names: nothing here tells accounts apart.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pigeon_bundle::VerdictCode;
use pigeon_store::Stats;

/// Counters since the start. Every task adds to them; nobody waits for anybody.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connected to the server.
    pub online: AtomicBool,
    /// The server lets the bridge send as its users.
    pub privileged: AtomicBool,
    /// Uploads that came in.
    pub uploads: AtomicU64,
    /// The messages that they came in: one has up to [`pigeon_xmpp::UPLOAD_BUNDLES_MAX`] of them.
    pub upload_messages: AtomicU64,
    /// Their bytes.
    pub upload_bytes: AtomicU64,
    /// Messages handed to the server, repeated ones too.
    pub deliveries: AtomicU64,
    /// Uploads and requests over a carrier's rate.
    pub carrier_limited: AtomicU64,
    /// Uploads over their author's rate.
    pub author_limited: AtomicU64,
    /// What found no room in the queue.
    pub queue_full: AtomicU64,
    /// Keys registered or renewed.
    pub registrations: AtomicU64,
    verdicts: [AtomicU64; VerdictCode::ALL.len()],
}

/// Figures that are looked up when somebody asks.
#[derive(Debug, Clone, Copy)]
pub struct Levels {
    /// Messages between their delivery and their verdict.
    pub in_flight: usize,
    /// The ledger.
    pub ledger: Option<Stats>,
    /// Memory of the process, bytes.
    pub resident_bytes: Option<u64>,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    /// A verdict was said.
    pub fn verdict(&self, code: VerdictCode) {
        let found = VerdictCode::ALL.iter().zip(&self.verdicts).find(|(known, _)| **known == code);
        if let Some((_, counter)) = found {
            count(counter);
        }
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn render(&self, levels: &Levels) -> String {
        let mut page = Page::default();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let flag = |flag: &AtomicBool| u64::from(flag.load(Ordering::Relaxed));
        page.one("online", "gauge", "Connected to the XMPP server.", flag(&self.online));
        page.one(
            "privileged",
            "gauge",
            "The server lets the bridge send as its users.",
            flag(&self.privileged),
        );
        page.one("uploads_total", "counter", "Uploads that came in.", get(&self.uploads));
        let messages = get(&self.upload_messages);
        page.one("upload_messages_total", "counter", "Messages that uploads came in.", messages);
        page.one("upload_bytes_total", "counter", "Bytes of uploads.", get(&self.upload_bytes));
        page.one("deliveries_total", "counter", "Messages handed to the server.", get(&self.deliveries));
        page.head("verdicts_total", "counter", "Verdicts said, by kind.");
        for (code, counter) in VerdictCode::ALL.iter().zip(&self.verdicts) {
            page.line("verdicts_total", &format!("{{verdict=\"{code:?}\"}}"), get(counter));
        }
        page.head("limited_total", "counter", "What got no answer, by the limit that it met.");
        for (by, counter) in [
            ("carrier", &self.carrier_limited),
            ("author", &self.author_limited),
            ("queue", &self.queue_full),
        ] {
            page.line("limited_total", &format!("{{by=\"{by}\"}}"), get(counter));
        }
        page.one("registrations_total", "counter", "Keys registered or renewed.", get(&self.registrations));
        let in_flight = u64::try_from(levels.in_flight).unwrap_or(u64::MAX);
        page.one("in_flight", "gauge", "Messages sent and not settled.", in_flight);
        if let Some(stats) = levels.ledger {
            page.one("ledger_live_bytes", "gauge", "Bytes that count against the quota.", stats.live_bytes);
            page.one("ledger_quota_bytes", "gauge", "The ledger's quota.", stats.quota_bytes);
            page.one("ledger_disk_bytes", "gauge", "Bytes of the ledger on disk.", stats.disk_bytes);
            page.one("ledger_syncs_total", "counter", "Syncs of the ledger to disk.", stats.syncs);
        }
        if let Some(bytes) = levels.resident_bytes {
            page.one("resident_memory_bytes", "gauge", "Memory of the process.", bytes);
        }
        page.0
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP pigeon_bridge_{name} {help}\n# TYPE pigeon_bridge_{name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "pigeon_bridge_{name}{labels} {value}");
    }
}

/// Memory of this process, bytes, where the system says so.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_a_line_and_every_line_a_head() {
        let metrics = Metrics::default();
        metrics.verdict(VerdictCode::Accepted);
        metrics.verdict(VerdictCode::Accepted);
        count(&metrics.uploads);
        let text = metrics.render(&Levels { in_flight: 3, ledger: None, resident_bytes: resident_bytes() });
        for line in [
            "pigeon_bridge_verdicts_total{verdict=\"Accepted\"} 2",
            "pigeon_bridge_verdicts_total{verdict=\"SignatureWrong\"} 0",
            "pigeon_bridge_uploads_total 1",
            "pigeon_bridge_in_flight 3",
            "# TYPE pigeon_bridge_resident_memory_bytes gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
    }
}
