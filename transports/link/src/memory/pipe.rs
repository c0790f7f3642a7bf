//! One link of the in-memory network: two directions, each with delay, bandwidth and bad luck.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use pigeon_proto::FRAME_SIZE_MAX;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Conditions, link_rng};
use crate::raw::{FLUSH_TIMEOUT, FRAME_QUEUE_MAX};
use crate::{AddressClass, CostClass, LinkMeta, RawLink, Role, TransportKind};

/// Frames under way in one direction.
const IN_FLIGHT_MAX: usize = 32;

/// Both ends of a new link, the dialler's first. `link` numbers it within its seed; `members` are the two
/// ends' numbers in the network. Cancelling `cut` breaks it.
///
/// Must be called within a tokio runtime.
#[must_use]
pub fn raw_pair(
    seed: u64,
    link: u64,
    conditions: Conditions,
    members: [u64; 2],
    cut: &CancellationToken,
) -> (RawLink, RawLink) {
    let mut binding = [0; 32];
    link_rng(seed, link, 3).fill_bytes(&mut binding);
    let (dialler_tx, from_dialler) = mpsc::channel(FRAME_QUEUE_MAX);
    let (listener_tx, from_listener) = mpsc::channel(FRAME_QUEUE_MAX);
    let (to_dialler, dialler_rx) = mpsc::channel(FRAME_QUEUE_MAX);
    let (to_listener, listener_rx) = mpsc::channel(FRAME_QUEUE_MAX);
    let dialler = end(Role::Dialler, members[1], binding, dialler_tx, dialler_rx);
    let listener = end(Role::Listener, members[0], binding, listener_tx, listener_rx);
    let cut = cut.child_token();
    let pipe = |from, to, closed: &CancellationToken, direction| Pipe {
        from,
        to,
        closed: closed.clone(),
        cut: cut.clone(),
        conditions,
        rng: link_rng(seed, link, direction),
        line_free: Instant::now(),
        flight: VecDeque::new(),
    };
    let there = pipe(from_dialler, to_listener, &dialler.closed, 0);
    let back = pipe(from_listener, to_dialler, &listener.closed, 1);
    tokio::spawn(run(there, back, [dialler.closed.clone(), listener.closed.clone()]));
    (dialler, listener)
}

fn end(
    role: Role,
    peer: u64,
    binding: [u8; 32],
    tx: mpsc::Sender<Bytes>,
    rx: mpsc::Receiver<Bytes>,
) -> RawLink {
    let meta = LinkMeta {
        transport: TransportKind::Memory,
        role,
        binding,
        cost: CostClass::Lan,
        remote: format!("member {peer}"),
        address_class: AddressClass::Memory(peer),
        peer_raw_key: None,
        sighting: None,
    };
    RawLink { meta, tx, rx, closed: CancellationToken::new() }
}

/// Whether something of this probability happens now.
pub(super) fn chance(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    f64::from(rng.next_u32()) < probability * 4_294_967_296.0
}

/// Runs both directions until the link is over.
async fn run(there: Pipe, back: Pipe, closed: [CancellationToken; 2]) {
    let mut there = Box::pin(there.run());
    let mut back = Box::pin(back.run());
    let (end, other) = tokio::select! {
        end = &mut there => (end, back),
        end = &mut back => (end, there),
    };
    if end == End::Drained {
        other.await;
    }
    closed.iter().for_each(CancellationToken::cancel);
}

/// How a direction came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its sender or its receiver was dropped; the other direction may go on.
    Drained,
    /// The whole link is over.
    Over,
}

/// One direction.
struct Pipe {
    from: mpsc::Receiver<Bytes>,
    to: mpsc::Sender<Bytes>,
    /// The sending side closes the link.
    closed: CancellationToken,
    /// The air is gone.
    cut: CancellationToken,
    conditions: Conditions,
    rng: ChaCha8Rng,
    /// When the last frame's last bit is sent.
    line_free: Instant,
    flight: VecDeque<(Instant, Bytes)>,
}

impl Pipe {
    async fn run(mut self) -> End {
        let cut = self.cut.clone();
        let closed = self.closed.clone();
        let to = self.to.clone();
        let end = {
            let mut carry = pin!(self.carry());
            tokio::select! {
                biased;
                () = cut.cancelled() => None,
                end = &mut carry => end,
                () = closed.cancelled() => {
                    // `carry` sees it too and stops taking; a reader that stalls cannot hold the link open.
                    tokio::select! {
                        () = cut.cancelled() => None,
                        _ = &mut carry => Some(End::Over),
                        () = sleep(FLUSH_TIMEOUT) => Some(End::Over),
                    }
                }
                () = to.closed() => Some(End::Drained),
            }
        };
        match end {
            Some(end) => end,
            None => {
                self.cut.cancel();
                sleep(self.conditions.silence).await;
                End::Over
            }
        }
    }

    /// Carries frames to the receiver. `None`: the link breaks.
    async fn carry(&mut self) -> Option<End> {
        let mut open = true;
        let mut closing = false;
        loop {
            let due = self.flight.front().map(|(due, _)| *due);
            if due.is_none() && !open {
                return Some(if closing { End::Over } else { End::Drained });
            }
            tokio::select! {
                biased;
                () = self.closed.cancelled(), if !closing => {
                    closing = true;
                    self.from.close();
                }
                () = sleep_until(due.unwrap_or(self.line_free)), if due.is_some() => {
                    if let Some((_, frame)) = self.flight.pop_front()
                        && self.to.send(frame).await.is_err()
                    {
                        return Some(End::Drained);
                    }
                }
                frame = self.from.recv(), if open && self.flight.len() < IN_FLIGHT_MAX => match frame {
                    None => open = false,
                    Some(frame) => self.take(frame)?,
                }
            }
        }
    }

    /// Puts a frame on the line. `None`: the link breaks.
    fn take(&mut self, frame: Bytes) -> Option<()> {
        let fits = (1..=FRAME_SIZE_MAX).contains(&frame.len());
        if !fits || chance(&mut self.rng, self.conditions.break_per_frame) {
            return None;
        }
        let sent = self.line_free.max(Instant::now()) + self.line_time(frame.len());
        self.line_free = sent;
        self.flight.push_back((sent + self.conditions.latency, frame));
        Some(())
    }

    fn line_time(&self, size: usize) -> Duration {
        match self.conditions.bandwidth_bytes_s {
            Some(rate) => Duration::from_micros(size as u64 * 1_000_000 / u64::from(rate.max(1))),
            None => Duration::ZERO,
        }
    }
}
