//! When to ask the peer for a sign of life, and when to give it up.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::limits::SLOW_LINK_BYTES_PER_S;

/// Watches one connection.
#[derive(Debug)]
pub(crate) struct Probe {
    after: Duration,
    patience: Duration,
    poke_patience: Duration,
    /// Asked at, and to be answered by.
    asked: Option<(Instant, Instant)>,
    /// Doubt came while a question was out. Its answer may be older than the doubt: ask once more.
    again: bool,
    /// Silence before this does not count.
    held: Option<Instant>,
}

/// Watches that what was sent is acknowledged. A server that goes on talking may have stopped reading: Prosody 0.12.3 took
/// a session up again, and the next thing it did with that client's stanzas was nothing, for a minute and a half.
#[derive(Debug)]
pub(crate) struct Silence {
    patience: Duration,
    asked: Option<Asked>,
}

/// A request without an answer.
#[derive(Debug)]
struct Asked {
    number: u64,
    since: Instant,
    /// Bytes that had been read by then.
    read: u64,
}

impl Silence {
    /// An acknowledgement may take `patience`, and what the bytes before it need, both ways.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, asked: None }
    }

    /// When to give up on the request that is out, by its number. `in_flight` as for [`Probe::expired`]; `read` are the
    /// bytes that this connection has brought: the answer comes behind what the server had begun to send.
    pub(crate) fn deadline(
        &mut self,
        out: Option<u64>,
        now: Instant,
        in_flight: usize,
        read: u64,
    ) -> Option<Instant> {
        if self.asked.as_ref().map(|asked| asked.number) != out {
            self.asked = out.map(|number| Asked { number, since: now, read });
        }
        let Asked { since, read: before, .. } = self.asked.as_ref()?;
        let came = usize::try_from(read.saturating_sub(*before)).unwrap_or(usize::MAX);
        Some(*since + self.patience + in_flight_time(in_flight.saturating_add(came)))
    }
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Ask for a sign of life.
    Ask,
    /// There was none.
    Dead,
}

impl Probe {
    /// Asks after `after` of silence and waits for `patience`, or `poke_patience` where there is doubt already.
    pub(crate) fn new(after: Duration, patience: Duration, poke_patience: Duration) -> Self {
        Self { after, patience, poke_patience, asked: None, again: false, held: None }
    }

    /// Nothing is being read for our own reasons.
    pub(crate) fn hold(&mut self, now: Instant) {
        self.asked = None;
        self.again = false;
        self.held = Some(now);
    }

    /// When to look again.
    pub(crate) fn deadline(&self, last_read: Instant) -> Instant {
        match self.asked {
            Some((asked, by)) if last_read < asked => by,
            Some(_) if self.again => last_read,
            _ => self.heard(last_read) + self.after,
        }
    }

    /// The deadline has passed. `in_flight` are the bytes that the peer must take before it can answer.
    pub(crate) fn expired(&mut self, now: Instant, last_read: Instant, in_flight: usize) -> Due {
        if let Some((asked, by)) = self.asked {
            if last_read < asked {
                return if by <= now { Due::Dead } else { Due::Nothing };
            }
            self.asked = None;
            if self.again {
                self.ask(now, self.poke_patience, in_flight);
                return Due::Ask;
            }
        }
        if now < self.heard(last_read) + self.after {
            return Due::Nothing;
        }
        self.ask(now, self.patience, in_flight);
        Due::Ask
    }

    /// The connection is in doubt. Whether to ask now: not when a question is out that must be answered as soon.
    pub(crate) fn poke(&mut self, now: Instant, last_read: Instant, in_flight: usize) -> bool {
        let by = now + self.poke_patience + in_flight_time(in_flight);
        if self.asked.is_some_and(|(asked, soonest)| last_read < asked && soonest <= by) {
            self.again = true;
            return false;
        }
        self.ask(now, self.poke_patience, in_flight);
        true
    }

    fn ask(&mut self, now: Instant, patience: Duration, in_flight: usize) {
        self.asked = Some((now, now + patience + in_flight_time(in_flight)));
        self.again = false;
    }

    fn heard(&self, last_read: Instant) -> Instant {
        self.held.map_or(last_read, |held| held.max(last_read))
    }
}

/// Never ends without a time.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn in_flight_time(bytes: usize) -> Duration {
    Duration::from_secs(u64::try_from(bytes).unwrap_or(u64::MAX) / SLOW_LINK_BYTES_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn probe() -> (Probe, Instant) {
        (Probe::new(90 * S, 20 * S, 4 * S), Instant::now())
    }

    #[test]
    fn silence_is_questioned_and_then_is_death() {
        let (mut probe, start) = probe();
        assert_eq!(probe.deadline(start), start + 90 * S);
        assert_eq!(probe.expired(start + 89 * S, start, 0), Due::Nothing);
        assert_eq!(probe.expired(start + 90 * S, start, 0), Due::Ask);
        assert_eq!(probe.deadline(start), start + 110 * S);
        assert_eq!(probe.expired(start + 110 * S, start, 0), Due::Dead);
    }

    #[test]
    fn each_request_has_its_time_and_what_is_in_flight_more() {
        let (mut silence, start) = (Silence::new(20 * S), Instant::now());
        assert_eq!(silence.deadline(None, start, 0, 7), None);
        assert_eq!(silence.deadline(Some(1), start, 0, 7), Some(start + 20 * S));
        assert_eq!(silence.deadline(Some(1), start + 9 * S, 10_000, 7), Some(start + 25 * S));
        assert_eq!(
            silence.deadline(Some(1), start + 9 * S, 10_000, 100_007),
            Some(start + 75 * S),
            "a backlog"
        );
        assert_eq!(silence.deadline(Some(2), start + 10 * S, 0, 100_007), Some(start + 30 * S));
        assert_eq!(silence.deadline(None, start + 11 * S, 0, 100_007), None);
        let again = silence.deadline(Some(2), start + 12 * S, 0, 100_007);
        assert_eq!(again, Some(start + 32 * S), "nothing was read for a while");
    }

    #[test]
    fn an_answer_starts_over() {
        let (mut probe, start) = probe();
        assert_eq!(probe.expired(start + 90 * S, start, 0), Due::Ask);
        let heard = start + 91 * S;
        assert_eq!(probe.deadline(heard), heard + 90 * S);
        assert_eq!(probe.expired(start + 110 * S, heard, 0), Due::Nothing);
    }

    #[test]
    fn what_is_in_flight_gets_its_time() {
        let (mut probe, start) = probe();
        assert_eq!(probe.expired(start + 90 * S, start, 200_000), Due::Ask);
        assert_eq!(probe.deadline(start), start + 210 * S);
    }

    #[test]
    fn doubt_shortens_the_wait_and_repeated_doubt_does_not_extend_it() {
        let (mut probe, start) = probe();
        assert_eq!(probe.expired(start + 90 * S, start, 0), Due::Ask);
        assert!(probe.poke(start + 91 * S, start, 0));
        assert_eq!(probe.deadline(start), start + 95 * S);
        assert!(!probe.poke(start + 94 * S, start, 0));
        assert_eq!(probe.deadline(start), start + 95 * S);
        assert_eq!(probe.expired(start + 95 * S, start, 0), Due::Dead);
    }

    #[test]
    fn doubt_while_a_question_is_out_asks_once_more_after_the_answer() {
        let (mut probe, start) = probe();
        assert!(probe.poke(start, start - S, 0));
        assert!(!probe.poke(start + S, start - S, 0));
        let heard = start + 2 * S;
        assert!(probe.deadline(heard) <= heard);
        assert_eq!(probe.expired(heard, heard, 0), Due::Ask);
        // Read in the same instant is an answer; what counts is that it is not asked for ever.
        let heard = start + 3 * S;
        assert_eq!(probe.deadline(heard), heard + 90 * S);
        assert_eq!(probe.expired(heard, heard, 0), Due::Nothing);
    }

    #[test]
    fn a_poke_after_an_answer_asks_again() {
        let (mut probe, start) = probe();
        assert!(probe.poke(start, start - S, 0));
        let heard = start + S;
        assert!(probe.poke(start + 2 * S, heard, 0));
        assert_eq!(probe.deadline(heard), start + 6 * S);
    }

    #[test]
    fn silence_of_our_own_making_does_not_count() {
        let (mut probe, start) = probe();
        assert!(probe.poke(start, start - S, 0));
        probe.hold(start + 100 * S);
        assert_eq!(probe.deadline(start), start + 190 * S);
        assert_eq!(probe.expired(start + 101 * S, start, 0), Due::Nothing);
    }
}
