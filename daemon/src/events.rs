//! What happened on this node: a bounded log that `pigeon watch` reads. `docs/events.md` lists the kinds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use pigeon_proto::api::Event;
use tokio::sync::broadcast;

use crate::clock::Clock;

/// Events kept for late readers.
const LOG_MAX: usize = 4_096;
/// A live reader that falls behind by more than this misses events and is told so by a gap in `seq`.
const LIVE_MAX: usize = 1_024;

/// The node's event log. Cloning gives another handle to the same log.
#[derive(Debug, Clone)]
pub struct EventLog {
    inner: Arc<Mutex<Inner>>,
    live: broadcast::Sender<Event>,
    clock: Clock,
}

#[derive(Debug)]
struct Inner {
    next_seq: u64,
    kept: VecDeque<Event>,
}

impl EventLog {
    /// An empty log whose first event has sequence number 1.
    pub fn new(clock: Clock) -> Self {
        let (live, _) = broadcast::channel(LIVE_MAX);
        Self { inner: Arc::new(Mutex::new(Inner { next_seq: 1, kept: VecDeque::new() })), live, clock }
    }

    /// Appends `event`; `seq` and `time_ms` are filled in here.
    pub fn push(&self, mut event: Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        event.seq = inner.next_seq;
        event.time_ms = self.clock.display_ms();
        inner.next_seq += 1;
        tracing::debug!(kind = event.kind, bundle = short(&event.bundle_id), detail = event.detail, "event");
        if inner.kept.len() == LOG_MAX {
            inner.kept.pop_front();
        }
        inner.kept.push_back(event.clone());
        // No reader is no error. Sent under the lock so that live readers see the order of `seq`.
        let _ = self.live.send(event);
    }

    /// The kept events after `since`, and the live ones from there on, without a gap between the two.
    pub fn subscribe(&self, since: Option<u64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match since {
            Some(since) => inner.kept.iter().filter(|e| e.seq > since).cloned().collect(),
            None => Vec::new(),
        };
        (kept, self.live.subscribe())
    }
}

/// An event of `kind` with nothing else set.
pub fn event(kind: &str) -> Event {
    Event { kind: kind.to_owned(), ..Event::default() }
}

fn short(hex: &str) -> &str {
    hex.get(..8).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClockMode;

    #[test]
    fn late_readers_see_the_bounded_past_and_the_future_without_a_gap() {
        let log = EventLog::new(Clock::new(ClockMode::Trusted));
        for _ in 0..LOG_MAX + 10 {
            log.push(event("tick"));
        }
        let (kept, mut live) = log.subscribe(Some(0));
        assert_eq!(kept.len(), LOG_MAX);
        assert_eq!(kept.first().map(|e| e.seq), Some(11));
        log.push(event("tock"));
        assert_eq!(live.try_recv().map(|e| e.seq).ok(), kept.last().map(|e| e.seq + 1));
    }
}
