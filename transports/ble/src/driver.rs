//! One link: frames become a stream of bytes, the stream becomes sealed pieces, at most [`WINDOW_BYTES`] of it under
//! way at a time.
//!
//! Every piece that comes is taken at once, so that acknowledgements pass even where nobody reads the frames: a
//! reader that stalls holds back only the acknowledgement of what waits for it, and thereby its own peer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use pigeon_link::FLUSH_TIMEOUT;
use pigeon_proto::{Framer, encode_into};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::WINDOW_BYTES;
use crate::advert::Token;
use crate::bearer::Bearer;
use crate::noise::NoiseError;
use crate::piece::Piece;
use crate::quality::Meter;
use crate::seal::{Seal, data_max};

/// Bytes taken before they are acknowledged, unless the stream pauses.
const ACK_BYTES: u64 = WINDOW_BYTES as u64 / 4;
/// How long taken bytes may wait for more before they are acknowledged.
const ACK_DELAY: Duration = Duration::from_millis(40);
/// Pieces of others that a numbered bearer may bring between two of the peer's before the link is given up.
const FOREIGN_MAX: u32 = 256;
/// Period of the meter.
const SECOND: Duration = Duration::from_secs(1);

/// Why a link ended, for the log. `None` in [`Driver::run`]'s result: as both sides wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The radio link is gone.
    #[error("the connection is gone")]
    Gone,
    /// Nothing came for too long.
    #[error("the peer is silent")]
    Silent,
    /// What came is no stream of frames, or what should go is none.
    #[error("no frame")]
    Frame,
    /// The peer does not keep to the window.
    #[error("the peer sends more than was acknowledged")]
    Window,
    /// The peer acknowledges what was never sent.
    #[error("the peer acknowledges what was not sent")]
    Ack,
    /// A piece that does not open.
    #[error(transparent)]
    Noise(#[from] NoiseError),
}

/// How long a link may be quiet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Over after this long without a piece.
    pub(crate) idle: Duration,
    /// A sign of life this often.
    pub(crate) keep_alive: Duration,
}

/// A keyed bearer and the ends of the link's queues that face it.
pub(crate) struct Driver {
    pub(crate) bearer: Bearer,
    pub(crate) seal: Seal,
    /// Frames to the peer.
    pub(crate) from: mpsc::Receiver<Bytes>,
    /// Frames from the peer.
    pub(crate) to: mpsc::Sender<Bytes>,
    pub(crate) closed: CancellationToken,
    pub(crate) patience: Patience,
    pub(crate) meter: Arc<Meter>,
    /// Under which token this node advertises; the peer is told of changes.
    pub(crate) own_token: watch::Receiver<Token>,
    /// Where the peer's changes are told.
    pub(crate) peer_token: watch::Sender<Token>,
}

impl Driver {
    /// Carries frames until the link is over, as [`pigeon_link::RawLink`] promises.
    pub(crate) async fn run(self) -> Option<Broken> {
        let closed = self.closed.clone();
        let mut link = Carrying::new(self);
        let outcome = link.carry().await;
        drop(link);
        closed.cancel();
        outcome.err()
    }
}

/// The direction to the peer.
struct Outgoing {
    /// Ends when all senders are gone; `None` once nothing more is taken from it.
    from: Option<mpsc::Receiver<Bytes>>,
    /// Framed bytes of the frame that is being sent.
    waiting: BytesMut,
    /// Bytes of the stream sent, and acknowledged by the peer.
    sent: u64,
    acked: u64,
    end: EndState,
}

/// How far the announcement of a direction's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndState {
    NotSent,
    Sent,
    Seen,
}

/// The direction from the peer.
struct Incoming {
    /// `None` once nobody reads, or everything was handed over.
    to: Option<mpsc::Sender<Bytes>>,
    framer: Framer,
    /// A whole frame that waits for room.
    pending: Option<Bytes>,
    /// Bytes of the stream received, taken, and told to the peer as taken.
    received: u64,
    taken: u64,
    told: u64,
    /// The peer's `End` has come.
    ended: bool,
    /// `EndSeen` has been said.
    end_told: bool,
    /// Nobody reads here, and the peer must be told.
    stop_due: bool,
}

struct Carrying {
    bearer: Bearer,
    seal: Seal,
    closed: CancellationToken,
    patience: Patience,
    meter: Arc<Meter>,
    own_token: watch::Receiver<Token>,
    peer_token: watch::Sender<Token>,
    out: Outgoing,
    inc: Incoming,
    /// This side closes both ways; over at the latest at this time.
    closing: Option<Instant>,
    /// The peer closes, or the connection is gone: only what came is still handed over, until this time.
    last: Option<Instant>,
    gone: bool,
    rename_due: bool,
    foreign: u32,
    ack_at: Option<Instant>,
    heard_at: Instant,
    spoke_at: Instant,
    second_at: Instant,
    counted: u64,
}

/// What one turn of the loop has seen.
enum Turn {
    Close,
    Arrived(Option<Bytes>),
    Room(bool),
    MaySend(bool),
    Unread,
    Frame(Option<Bytes>),
    Renamed,
    Timer,
}

impl Carrying {
    fn new(driver: Driver) -> Self {
        let Driver { bearer, seal, from, to, closed, patience, meter, own_token, peer_token } = driver;
        let now = Instant::now();
        let out = Outgoing {
            from: Some(from),
            waiting: BytesMut::new(),
            sent: 0,
            acked: 0,
            end: EndState::NotSent,
        };
        let inc = Incoming {
            to: Some(to),
            framer: Framer::new(),
            pending: None,
            received: 0,
            taken: 0,
            told: 0,
            ended: false,
            end_told: false,
            stop_due: false,
        };
        Self {
            bearer,
            seal,
            closed,
            patience,
            meter,
            own_token,
            peer_token,
            out,
            inc,
            closing: None,
            last: None,
            gone: false,
            rename_due: false,
            foreign: 0,
            ack_at: None,
            heard_at: now,
            spoke_at: now,
            second_at: now + SECOND,
            counted: 0,
        }
    }

    async fn carry(&mut self) -> Result<(), Broken> {
        // What overtook the handshake.
        self.opened()?;
        while !self.is_over() {
            match self.turn().await {
                Turn::Close => self.close(),
                Turn::Arrived(Some(sealed)) => self.arrived(&sealed)?,
                Turn::Arrived(None) => self.lost(),
                Turn::Room(true) => self.hand_over()?,
                Turn::Room(false) | Turn::Unread => self.unread(),
                Turn::MaySend(true) => self.speak()?,
                Turn::MaySend(false) => self.lost(),
                Turn::Frame(Some(frame)) => self.take(&frame)?,
                Turn::Frame(None) => self.out.from = None,
                Turn::Renamed => self.rename_due = true,
                Turn::Timer => self.timer()?,
            }
        }
        if self.gone && !(self.inc.ended && self.inc.to.is_none()) {
            return Err(Broken::Gone);
        }
        Ok(())
    }

    /// Waits for the next thing to happen.
    async fn turn(&mut self) -> Turn {
        let deadline = self.deadline();
        let speaks = !self.gone && self.next_piece().is_some();
        let takes = !self.gone && self.out.waiting.len() < self.data_max();
        tokio::select! {
            biased;
            () = self.closed.cancelled(), if self.closing.is_none() && self.last.is_none() => Turn::Close,
            piece = self.bearer.rx.recv(), if !self.gone => Turn::Arrived(piece),
            room = reserve(self.inc.to.as_ref()), if self.inc.pending.is_some() => Turn::Room(room),
            // Before anything is sent: the rest of a frame and the beginning of the next one share a piece.
            frame = receive(self.out.from.as_mut()), if takes && self.out.from.is_some() => Turn::Frame(frame),
            room = reserve(Some(&self.bearer.tx)), if speaks => Turn::MaySend(room),
            () = unread(self.inc.to.as_ref()), if self.inc.to.is_some() => Turn::Unread,
            Ok(()) = self.own_token.changed() => Turn::Renamed,
            () = sleep_until(deadline) => Turn::Timer,
        }
    }

    /// The most urgent thing to say.
    fn next_piece(&self) -> Option<Piece> {
        let now = Instant::now();
        if self.inc.stop_due {
            return Some(Piece::Stop);
        }
        if self.inc.ended && !self.inc.end_told && self.inc.pending.is_none() {
            return Some(Piece::EndSeen);
        }
        if self.inc.taken - self.inc.told >= ACK_BYTES || self.ack_at.is_some_and(|at| at <= now) {
            return Some(self.ack());
        }
        if self.rename_due {
            return Some(Piece::Renamed(*self.own_token.borrow()));
        }
        let under_way = usize::try_from(self.out.sent - self.out.acked).unwrap_or(usize::MAX);
        let size = self.out.waiting.len().min(self.data_max());
        if size > 0 && under_way + size <= WINDOW_BYTES {
            return Some(Piece::Data(Bytes::copy_from_slice(self.out.waiting.get(..size)?)));
        }
        if size == 0 && self.out.from.is_none() && self.out.end == EndState::NotSent {
            return Some(Piece::End { close: self.closing.is_some() });
        }
        (self.spoke_at + self.patience.keep_alive <= now).then(|| self.ack())
    }

    /// Says the most urgent thing; there is room for it.
    fn speak(&mut self) -> Result<(), Broken> {
        let Some(piece) = self.next_piece() else { return Ok(()) };
        let sealed = self.seal.seal(&piece)?;
        match self.bearer.tx.try_send(sealed) {
            Ok(()) => self.sent(&piece),
            // Only this task sends, so a full queue cannot be; a closed one is a connection that is gone.
            Err(_) => self.lost(),
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32, as the format says")]
    fn ack(&self) -> Piece {
        Piece::Ack(self.inc.taken as u32)
    }

    fn sent(&mut self, piece: &Piece) {
        self.spoke_at = Instant::now();
        match piece {
            Piece::Data(data) => {
                self.out.waiting.advance(data.len());
                self.out.sent += data.len() as u64;
                self.meter.count_sent(data.len());
            }
            Piece::Ack(_) => {
                self.inc.told = self.inc.taken;
                self.ack_at = None;
            }
            Piece::End { .. } => self.out.end = EndState::Sent,
            Piece::EndSeen => self.inc.end_told = true,
            Piece::Stop => self.inc.stop_due = false,
            Piece::Renamed(_) => self.rename_due = false,
        }
    }

    fn data_max(&self) -> usize {
        data_max(self.bearer.piece_max, self.bearer.numbered)
    }

    fn arrived(&mut self, sealed: &[u8]) -> Result<(), Broken> {
        match self.seal.open(sealed) {
            Err(NoiseError::Open(_) | NoiseError::Number(..))
                if self.bearer.numbered && self.foreign < FOREIGN_MAX =>
            {
                self.foreign += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(()) => self.opened(),
        }
    }

    /// Takes the pieces whose turn has come.
    fn opened(&mut self) -> Result<(), Broken> {
        while let Some(piece) = self.seal.next() {
            self.heard_at = Instant::now();
            self.foreign = 0;
            self.take_piece(piece)?;
        }
        Ok(())
    }

    fn take_piece(&mut self, piece: Piece) -> Result<(), Broken> {
        match piece {
            Piece::Data(data) => return self.data(&data),
            Piece::Ack(count) => return self.acknowledged(count),
            Piece::End { close } => {
                self.inc.ended = true;
                if close {
                    self.closed_by_peer();
                }
                return self.hand_over();
            }
            Piece::EndSeen => self.out.end = EndState::Seen,
            Piece::Stop => self.stopped(),
            Piece::Renamed(token) => drop(self.peer_token.send_replace(token)),
        }
        Ok(())
    }

    fn data(&mut self, data: &[u8]) -> Result<(), Broken> {
        self.inc.received += data.len() as u64;
        if self.inc.ended || self.inc.received - self.inc.told > WINDOW_BYTES as u64 {
            return Err(Broken::Window);
        }
        self.meter.count_in(data.len());
        if self.inc.to.is_none() {
            // Nobody reads; the peer has been told and is let finish.
            self.taken_all();
            return Ok(());
        }
        self.inc.framer.push(data);
        self.hand_over()
    }

    /// Gives whole frames to whoever reads, as far as there is room.
    fn hand_over(&mut self) -> Result<(), Broken> {
        while let Some(to) = &self.inc.to {
            if self.inc.pending.is_none() {
                self.inc.pending = self.inc.framer.next_frame().map_err(|_| Broken::Frame)?;
            }
            let Some(frame) = self.inc.pending.take() else { break };
            match to.try_send(frame) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(frame)) => {
                    self.inc.pending = Some(frame);
                    return Ok(());
                }
                Err(mpsc::error::TrySendError::Closed(_)) => self.unread(),
            }
        }
        self.taken_all();
        if self.inc.ended {
            if self.inc.to.is_some() && !self.inc.framer.is_at_boundary() {
                return Err(Broken::Frame);
            }
            self.inc.to = None;
        }
        Ok(())
    }

    fn taken_all(&mut self) {
        self.inc.taken = self.inc.received;
        if self.inc.taken > self.inc.told && self.ack_at.is_none() {
            self.ack_at = Some(Instant::now() + ACK_DELAY);
        }
    }

    /// Nobody reads any more.
    fn unread(&mut self) {
        if self.inc.to.take().is_some() {
            self.inc.pending = None;
            self.inc.framer = Framer::new();
            self.inc.stop_due = !self.inc.ended;
            self.taken_all();
        }
    }

    fn acknowledged(&mut self, count: u32) -> Result<(), Broken> {
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32, as the format says")]
        let news = u64::from(count.wrapping_sub(self.out.acked as u32));
        if news > self.out.sent - self.out.acked {
            return Err(Broken::Ack);
        }
        self.out.acked += news;
        self.meter.count_out(usize::try_from(news).unwrap_or(usize::MAX));
        Ok(())
    }

    /// The peer reads no more: what is left is for nobody.
    fn stopped(&mut self) {
        self.out.from = None;
        self.out.waiting.clear();
    }

    fn take(&mut self, frame: &Bytes) -> Result<(), Broken> {
        encode_into(frame, &mut self.out.waiting).map_err(|_| Broken::Frame)
    }

    /// This side closes: what is queued still goes, nothing new is taken.
    fn close(&mut self) {
        self.closing = Some(Instant::now() + FLUSH_TIMEOUT);
        if let Some(from) = &mut self.out.from {
            from.close();
        }
    }

    /// The peer has closed both ways.
    fn closed_by_peer(&mut self) {
        self.out.from = None;
        self.out.waiting.clear();
        self.out.end = EndState::Seen;
        self.last.get_or_insert(Instant::now() + FLUSH_TIMEOUT);
    }

    fn lost(&mut self) {
        self.gone = true;
        self.out.from = None;
        self.last.get_or_insert(Instant::now() + FLUSH_TIMEOUT);
    }

    /// Whether there is nothing left to do.
    fn is_over(&self) -> bool {
        let handed_over = self.inc.to.is_none() || self.inc.pending.is_none();
        if self.gone {
            return handed_over;
        }
        if self.last.is_some() {
            return handed_over && self.inc.end_told;
        }
        let out_done = self.out.from.is_none() && self.out.end == EndState::Seen;
        let in_done = self.inc.to.is_none() && (!self.inc.ended || self.inc.end_told) && !self.inc.stop_due;
        out_done && (in_done || self.closing.is_some())
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        // What is due already waits for room on the bearer, not for the clock.
        let due = [self.ack_at, Some(self.spoke_at + self.patience.keep_alive)];
        let due = due.into_iter().flatten().filter(|at| *at > now);
        let last = [self.closing, self.last].into_iter().flatten();
        due.chain(last).fold(self.second_at.min(self.heard_at + self.patience.idle), Instant::min)
    }

    fn timer(&mut self) -> Result<(), Broken> {
        let now = Instant::now();
        if self.second_at <= now {
            let total = self.meter.total();
            self.meter.second(total - self.counted);
            self.counted = total;
            self.second_at = now + SECOND;
        }
        if self.closing.or(self.last).is_some_and(|at| at <= now) {
            // A peer that neither reads nor answers does not hold a closing link open.
            self.gone = true;
            self.inc.to = None;
            self.inc.ended = true;
        } else if self.heard_at + self.patience.idle <= now {
            return Err(Broken::Silent);
        }
        Ok(())
    }
}

/// Whether there is room for a frame; false where nobody reads.
async fn reserve(to: Option<&mpsc::Sender<Bytes>>) -> bool {
    match to {
        Some(to) => to.reserve().await.is_ok(),
        None => std::future::pending().await,
    }
}

async fn unread(to: Option<&mpsc::Sender<Bytes>>) {
    match to {
        Some(to) => to.closed().await,
        None => std::future::pending().await,
    }
}

async fn receive(from: Option<&mut mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}
