//! What becomes of messages that were sent, in two steps.
//!
//! When the server has answered a ping that was sent after them, it has taken them: the acceptance is written down, and
//! only then said. But what a server has taken is not always kept. ejabberd 23.01 hands a message to the process of its
//! recipient's session and answers the ping; if it is stopped before that process comes to it, the message is in no
//! archive (measured: 6 of 40 with the machine busy), or comes back as if no account were there. So they are settled when
//! the connection has stood a second longer and the server has answered once more. If it has not, they are sent again
//! over the next connection, with the same ids, unless their arrival is known by then. A bridge that is killed in between
//! does not send them again: its end says nothing about the server's.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use pigeon_bundle::{Verdict, VerdictCode};
use pigeon_xmpp::{ComponentHandle, Synced};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::desk::{Desk, now_s};
use super::doubt;
use super::flights::{Returned, Waiter};
use super::ledger::LedgerError;
use super::record::{LedgerKey, Record, State};
use super::worker::{is_session_of, passing};

/// How long the connection must have stood after the server took a message.
const STAND: Duration = Duration::from_secs(1);
/// Batches that may wait for the server's answer to those before them.
pub const BATCHES_MAX: usize = 64;
/// Batches that are written down at the same time: 512 messages at most.
const WRITTEN_TOGETHER: usize = 8;
/// Batches that the server has taken and that are not settled. Two seconds of many small ones.
const TAKEN_MAX: usize = 4_096;
/// Messages that leave the queue in one transaction.
const SETTLED_TOGETHER: usize = 512;

/// Messages that were sent together.
pub struct Batch {
    /// The handle that sent them, and nothing else: its sync speaks for them.
    pub component: ComponentHandle,
    /// The messages.
    pub sent: Vec<Sent>,
}

/// A message on its way.
pub struct Sent {
    /// Which.
    pub key: LedgerKey,
    /// Its record.
    pub record: Record,
    /// What happened to it here.
    pub outcome: Outcome,
}

/// What happened to a message on our side of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was written to the stream.
    Sent,
    /// It can never be.
    Refused(VerdictCode),
}

/// A batch that the server has taken.
struct Taken {
    at: Instant,
    over: Synced,
    component: ComponentHandle,
    sent: Vec<Sent>,
}

/// Accepts and settles until the worker ends, and then what is left.
///
/// # Errors
/// [`LedgerError`] when the ledger takes no more writes until it is opened anew.
pub async fn run(desk: Arc<Desk>, batches: mpsc::Receiver<Batch>) -> Result<(), LedgerError> {
    let (taken, to_settle) = mpsc::channel(TAKEN_MAX);
    tokio::try_join!(accept(&desk, batches, taken), settle(&desk, to_settle))?;
    Ok(())
}

/// Waits until the server has taken what was sent, and says so. What is sent meanwhile waits for the next question, so
/// that a busy server is asked, the disk synced and a carrier told once for many messages.
async fn accept(
    desk: &Desk,
    mut batches: mpsc::Receiver<Batch>,
    taken: mpsc::Sender<Taken>,
) -> Result<(), LedgerError> {
    let mut waiting = Vec::new();
    while batches.recv_many(&mut waiting, BATCHES_MAX).await > 0 {
        let (components, sent): (Vec<_>, Vec<_>) =
            waiting.drain(..).map(|Batch { component, sent }| (component, sent)).unzip();
        let synced = ComponentHandle::sync_all(&components).await;
        let (at, time_s) = (Instant::now(), now_s());
        let mut accepted = Vec::new();
        for ((component, sent), synced) in components.into_iter().zip(sent).zip(synced) {
            match synced {
                Ok(over) => accepted.push(write_down(desk, Taken { at, over, component, sent }, time_s)),
                Err(error) => {
                    tracing::info!(%error, messages = sent.len(), "what was sent stays in doubt");
                    sent.iter().for_each(|sent| desk.flights.stall(&sent.key));
                }
            }
        }
        // The store takes so many transactions at a time and no more.
        let written: Vec<_> = stream::iter(accepted).buffered(WRITTEN_TOGETHER).try_collect().await?;
        let (accepted, waiters): (Vec<_>, Vec<_>) = written.into_iter().unzip();
        for batch in accepted {
            // The other end goes only with an error, which ends this too.
            let _ = taken.send(batch).await;
        }
        desk.accept(&waiters.concat(), time_s).await;
    }
    Ok(())
}

/// Writes down what the server has taken. What of it is to be settled, and who waits for the acceptance.
async fn write_down(desk: &Desk, batch: Taken, time_s: u64) -> Result<(Taken, Vec<Waiter>), LedgerError> {
    let written = try_join_all(batch.sent.into_iter().map(|sent| accept_one(desk, sent, time_s))).await?;
    let (sent, waiters): (Vec<_>, Vec<_>) = written.into_iter().flatten().unzip();
    Ok((Taken { sent, ..batch }, waiters.concat()))
}

/// Writes down that the server has taken a message, which is given back to be settled, with who waits to hear it: as it is
/// where that was said the last time, or where it came back, which may be because the server stops.
async fn accept_one(
    desk: &Desk,
    sent: Sent,
    time_s: u64,
) -> Result<Option<(Sent, Vec<Waiter>)>, LedgerError> {
    let Sent { key, record, outcome } = sent;
    if let Outcome::Refused(code) = outcome {
        refuse(desk, &key, record, code).await?;
        return Ok(None);
    }
    if record.state.is_accepted() || desk.flights.returned(&key).is_some() {
        return Ok(Some((Sent { key, record, outcome }, Vec::new())));
    }
    let record = Record { state: State::Decided { code: VerdictCode::Accepted, time_s }, ..record };
    if passing(desk.ledger.accept(&key, &record).await)?.is_none() {
        desk.flights.stall(&key);
        return Ok(None);
    }
    let (waiters, is_first) = desk.flights.accepted(&key);
    if is_first {
        desk.audit(&record.bundle, &key.message(), VerdictCode::Accepted, "delivered");
    }
    Ok(Some((Sent { key, record, outcome }, waiters)))
}

/// Waits until the connection has stood for a while, and lets go of what the server has kept.
async fn settle(desk: &Desk, mut taken: mpsc::Receiver<Taken>) -> Result<(), LedgerError> {
    let mut batches = Vec::new();
    while taken.recv_many(&mut batches, TAKEN_MAX).await > 0 {
        // In the order of their answers: the last is the youngest.
        if let Some(last) = batches.last() {
            sleep_until(last.at + STAND).await;
        }
        let (mut stood, mut settled) = (None, Vec::new());
        for Taken { over, component, sent, .. } in batches.drain(..) {
            if stood != Some(over)
                && let Err(error) = component.stands(over).await
            {
                tracing::info!(%error, messages = sent.len(), "what the server took last is sent again");
                // Durably: the bridge may be stopped before its server is back.
                passing(desk.ledger.doubt(sent.iter().map(|sent| (&sent.key, &sent.record))).await)?;
                sent.iter().for_each(|sent| desk.flights.stall(&sent.key));
                continue;
            }
            stood = Some(over);
            for Sent { key, record, .. } in sent {
                match desk.flights.returned(&key) {
                    None => settled.push(key),
                    Some(returned) => came_back(desk, &key, record, returned).await?,
                }
            }
        }
        for keys in settled.chunks(SETTLED_TOGETHER) {
            // What stays in the queue for want of room leaves it with the next look through it.
            passing(desk.ledger.settle(keys).await)?;
            for key in keys {
                land(desk, key).await?;
            }
        }
    }
    Ok(())
}

/// It is settled. Somebody may have come to wait before its acceptance was known, or it may have come back just now.
async fn land(desk: &Desk, key: &LedgerKey) -> Result<(), LedgerError> {
    let (waiters, returned) = desk.flights.land(key);
    desk.accept(&waiters, now_s()).await;
    match returned {
        Some(returned) => passing(doubt::returned(desk, key, returned).await).map(|_| ()),
        None => Ok(()),
    }
}

/// The server has returned a message, and has not stopped.
async fn came_back(
    desk: &Desk,
    key: &LedgerKey,
    record: Record,
    returned: Returned,
) -> Result<(), LedgerError> {
    match returned {
        Returned::NotAllowed => {
            tracing::error!(
                "the server does not let the bridge send as its users; a message waits in the ledger"
            );
            desk.flights.stall(key);
            Ok(())
        }
        Returned::Refused(_) if record.state.is_accepted() => {
            if passing(doubt::returned(desk, key, returned).await)?.is_some() {
                desk.flights.land(key);
            } else {
                desk.flights.stall(key);
            }
            Ok(())
        }
        Returned::Refused(code) => refuse(desk, key, record, code).await,
    }
}

/// Writes down that a message will never be delivered; then everyone who waits hears of it, and its author.
async fn refuse(desk: &Desk, key: &LedgerKey, record: Record, code: VerdictCode) -> Result<(), LedgerError> {
    let time_s = now_s();
    let record = Record { state: State::Decided { code, time_s }, ..record };
    if passing(desk.ledger.decide(key, &record).await)?.is_none() {
        desk.flights.stall(key);
        return Ok(());
    }
    let (waiters, _) = desk.flights.land(key);
    let message = key.message();
    desk.audit(&record.bundle, &message, code, "returned by the server");
    for Waiter { to, bundle, .. } in &waiters {
        let verdict = Verdict { bundle: *bundle, message, code, time_s };
        desk.verdict(to, &verdict, None).await;
        if !is_session_of(to, &record.author) {
            desk.refusal_for(&record.author, to, &verdict).await?;
        }
    }
    if !waiters.iter().any(|waiter| is_session_of(&waiter.to, &record.author)) {
        let verdict = Verdict { bundle: record.bundle, message, code, time_s };
        desk.verdict(&record.author, &verdict, None).await;
    }
    Ok(())
}
