//! What a replay measures: the columns of `tests/traces/README.md`.

use serde_json::{Map, Number, Value};

use crate::scenario::Scenario;

/// Counts of one replay, filled as it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// When and how each message was delivered.
    pub(crate) delivered: Vec<Option<Delivery>>,
    /// Nodes that ever held each message, its recipient aside.
    pub(crate) holders: Vec<u32>,
    pub(crate) transmissions: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
    pub(crate) aborted: u64,
}

/// The first arrival of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) at_ms: u64,
    pub(crate) by_uplink: bool,
}

/// Figures of one replay. Times in seconds; `None` where nothing was delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Messages written.
    pub created: usize,
    /// Messages delivered before their ttl.
    pub delivered: usize,
    /// Part of the messages delivered.
    pub ratio: f64,
    /// Part of the messages delivered by an uplink.
    pub uplink: f64,
    /// Mean delay of what was delivered.
    pub delay_avg: Option<f64>,
    /// Median of the same.
    pub delay_med: Option<f64>,
    /// 95th percentile of the same.
    pub delay_p95: Option<f64>,
    /// Mean over all messages, an undelivered one counting its whole ttl, or until the end of the trace.
    pub delay_cens: f64,
    /// Transmissions by message written, the last hop among them.
    pub tx_per_msg: f64,
    /// Nodes that ever held a message, its recipient not among them, by message.
    pub copies: f64,
    /// (Transmissions − delivered) / delivered.
    pub overhead: Option<f64>,
    /// Megabytes of messages transmitted.
    pub mbytes: f64,
    /// Copies pushed out of full buffers.
    pub dropped: u64,
    /// Transfers that a contact's end cut off.
    pub aborted: u64,
    /// Delays of what was delivered, ascending.
    pub delays_s: Vec<f64>,
}

impl Metrics {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn of(scenario: &Scenario, tally: &Tally) -> Self {
        let created = scenario.messages.len();
        let mut delays_s = Vec::new();
        let mut censored_s = 0.0;
        for (message, delivery) in scenario.messages.iter().zip(&tally.delivered) {
            let ends_ms = message.ends_ms().min(scenario.ends_ms);
            match delivery {
                Some(delivery) => {
                    let delay_s = seconds(delivery.at_ms.saturating_sub(message.written_ms));
                    delays_s.push(delay_s);
                    censored_s += delay_s;
                }
                None => censored_s += seconds(ends_ms.saturating_sub(message.written_ms)),
            }
        }
        delays_s.sort_by(f64::total_cmp);
        let delivered = delays_s.len();
        let by_uplink = tally.delivered.iter().flatten().filter(|delivery| delivery.by_uplink).count();
        let per_message = |count: f64| count / created as f64;
        let some = |value: f64| (delivered > 0).then_some(value);
        let transmissions = tally.transmissions as f64;
        Self {
            created,
            delivered,
            ratio: per_message(delivered as f64),
            uplink: per_message(by_uplink as f64),
            delay_avg: some(delays_s.iter().sum::<f64>() / delivered as f64),
            delay_med: quantile(&delays_s, 50),
            delay_p95: quantile(&delays_s, 95),
            delay_cens: per_message(censored_s),
            tx_per_msg: per_message(transmissions),
            copies: per_message(tally.holders.iter().map(|count| f64::from(*count)).sum()),
            overhead: some((transmissions - delivered as f64) / delivered as f64),
            mbytes: tally.bytes as f64 / 1e6,
            dropped: tally.dropped,
            aborted: tally.aborted,
            delays_s,
        }
    }

    /// One JSON object, the columns' names as keys; null where nothing was delivered.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("created".into(), self.created.into());
        object.insert("delivered".into(), self.delivered.into());
        for (name, value) in self.columns() {
            let number = value.and_then(Number::from_f64).map_or(Value::Null, Value::Number);
            object.insert(name.into(), number);
        }
        object.insert("dropped".into(), self.dropped.into());
        object.insert("aborted".into(), self.aborted.into());
        object
    }

    /// The columns that are no plain counts.
    pub fn columns(&self) -> [(&'static str, Option<f64>); 10] {
        [
            ("ratio", Some(self.ratio)),
            ("uplink", Some(self.uplink)),
            ("delay_avg", self.delay_avg),
            ("delay_med", self.delay_med),
            ("delay_p95", self.delay_p95),
            ("delay_cens", Some(self.delay_cens)),
            ("tx_per_msg", Some(self.tx_per_msg)),
            ("copies", Some(self.copies)),
            ("overhead", self.overhead),
            ("mbytes", Some(self.mbytes)),
        ]
    }
}

fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied()
}

#[expect(clippy::cast_precision_loss, reason = "times are at most 1e12 ms")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
