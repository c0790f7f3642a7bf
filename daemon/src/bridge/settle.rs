//! Waits until the server has what was sent, writes the verdicts down, and only then says them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use pigeon_bundle::{Verdict, VerdictCode};
use pigeon_xmpp::ComponentHandle;
use tokio::sync::mpsc;

use super::desk::{Desk, now_s};
use super::flights::Returned;
use super::ledger::LedgerError;
use super::record::{LedgerKey, Record, State};
use super::worker::{is_session_of, passing};

/// What the server returned is believed when the connection has stood for so long after it.
const LEAVE: Duration = Duration::from_secs(1);
/// Batches that may wait to be settled.
pub const BATCHES_MAX: usize = 8;

/// Messages that were sent together.
pub struct Batch {
    /// The handle that sent them, and nothing else: its sync speaks for them.
    pub component: ComponentHandle,
    /// The messages.
    pub sent: Vec<Sent>,
}

/// A message in doubt.
pub struct Sent {
    /// Which.
    pub key: LedgerKey,
    /// Its record, still in doubt.
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

/// Settles batches until the worker ends.
///
/// # Errors
/// [`LedgerError`] when the ledger takes no more writes until it is opened anew.
pub async fn run(desk: Arc<Desk>, mut batches: mpsc::Receiver<Batch>) -> Result<(), LedgerError> {
    let mut waiting = Vec::new();
    while batches.recv_many(&mut waiting, BATCHES_MAX).await > 0 {
        let synced =
            join_all(waiting.drain(..).map(async |batch: Batch| match batch.component.sync().await {
                Ok(()) => batch.sent,
                Err(error) => {
                    tracing::info!(%error, messages = batch.sent.len(), "what was sent stays in doubt");
                    batch.sent.iter().for_each(|sent| desk.flights.stall(&sent.key));
                    Vec::new()
                }
            }));
        let sent: Vec<Sent> = synced.await.into_iter().flatten().collect();
        settle(&desk, sent).await?;
    }
    Ok(())
}

/// Whether the server returned something and then ended the connection: a server that stops returns what it could have
/// delivered, ejabberd 23.01 when the recipient's session has ended and its modules have not.
async fn is_leaving(desk: &Desk, sent: &[Sent]) -> bool {
    if !sent.iter().any(|sent| desk.flights.returned(&sent.key).is_some()) {
        return false;
    }
    let before = desk.lost_connections.load(Ordering::Relaxed);
    tokio::time::sleep(LEAVE).await;
    desk.lost_connections.load(Ordering::Relaxed) != before || !desk.metrics.online.load(Ordering::Relaxed)
}

/// Writes the verdicts on what the server has taken, and says them.
async fn settle(desk: &Desk, sent: Vec<Sent>) -> Result<(), LedgerError> {
    let time_s = now_s();
    let mut writes = Vec::with_capacity(sent.len());
    let doubtful = is_leaving(desk, &sent).await;
    for Sent { key, record, outcome } in sent {
        if doubtful && desk.flights.returned(&key).is_some() {
            desk.flights.stall(&key);
            continue;
        }
        let code = match (outcome, desk.flights.returned(&key)) {
            (Outcome::Refused(code), _) | (Outcome::Sent, Some(Returned::Refused(code))) => code,
            (Outcome::Sent, Some(Returned::NotAllowed)) => {
                tracing::error!(
                    "the server does not let the bridge send as its users; a message waits in the ledger"
                );
                desk.flights.stall(&key);
                continue;
            }
            (Outcome::Sent, None) => VerdictCode::Accepted,
        };
        let record = Record { state: State::Decided { code, time_s }, ..record };
        let write = desk.ledger.decide(&key, &record);
        writes.push(async move { (key, record, code, write.await) });
    }
    for (key, record, code, written) in join_all(writes).await {
        if passing(written)?.is_some() {
            announce(desk, &key, record, code, time_s).await?;
        } else {
            desk.flights.stall(&key);
        }
    }
    Ok(())
}

/// The verdict is durable: everyone who waits gets it, and the author learns of a refusal.
async fn announce(
    desk: &Desk,
    key: &LedgerKey,
    record: Record,
    code: VerdictCode,
    time_s: u64,
) -> Result<(), LedgerError> {
    let (waiters, returned) = desk.flights.land(key);
    let code = match returned {
        // It came back while the acceptance was being written.
        Some(Returned::Refused(late)) if late != code => {
            let record = Record { state: State::Decided { code: late, time_s }, ..record.clone() };
            passing(desk.ledger.decide(key, &record).await)?;
            late
        }
        _ => code,
    };
    let message = key.message();
    let reason = if code.is_accepted() { "delivered" } else { "returned by the server" };
    desk.audit(&record.bundle, &message, code, reason);
    for waiter in &waiters {
        let verdict = Verdict { bundle: waiter.bundle, message, code, time_s };
        desk.verdict(&waiter.to, &verdict, None).await;
        if !code.is_accepted() && !is_session_of(&waiter.to, &record.author) {
            desk.refusal_for(&record.author, &waiter.to, &verdict).await?;
        }
    }
    if !code.is_accepted() && !waiters.iter().any(|waiter| is_session_of(&waiter.to, &record.author)) {
        let verdict = Verdict { bundle: record.bundle, message, code, time_s };
        desk.verdict(&record.author, &verdict, None).await;
    }
    Ok(())
}
