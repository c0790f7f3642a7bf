//! Judges uploads, writes down what is to be delivered, delivers it, and hands it on to be settled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use pigeon_bundle::{Bundle, Verdict, VerdictCode};
use pigeon_xmpp::{ComponentHandle, SendError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::desk::{Desk, now_s, patiently};
use super::flights::{Claim, Waiter};
use super::jobs::{Job, JobReceiver};
use super::judge::{Answer, Author, Judgement, Order};
use super::ledger::{Books as _, Ledger, LedgerError};
use super::metrics::count;
use super::rate::Rate;
use super::record::State;
use super::settle::{Batch, Outcome, Sent};
use super::told::Told;
use super::{doubt, pickup, requests};

/// Most uploads that are written down together.
pub const BATCH_MAX: usize = 64;
/// With so many messages that the server has not taken yet, the next ones may wait a little.
const BUSY: usize = 16;
/// How long, for others to be written down with them: a sync of the disk costs more than what is synced.
const GATHER: Duration = Duration::from_millis(15);
/// Most steps of forgetting in one go; the next minute continues.
const PRUNE_STEPS_MAX: usize = 64;

/// The task that works through the jobs.
pub struct Worker {
    /// Shared with the other tasks.
    pub desk: Arc<Desk>,
    /// What to do.
    pub jobs: JobReceiver,
    /// To whom deliveries go on.
    pub batches: mpsc::Sender<Batch>,
    /// Stop.
    pub cancel: CancellationToken,
    /// How much each author may send.
    pub rate: Rate,
    /// Authors told of refusals.
    pub told: Told,
}

impl Worker {
    /// Works until the reader ends or `cancel`.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger takes no more writes until it is opened anew.
    pub async fn run(mut self) -> Result<(), LedgerError> {
        loop {
            let mut jobs = tokio::select! {
                jobs = self.jobs.take(BATCH_MAX) => jobs,
                () = self.cancel.cancelled() => return Ok(()),
            };
            if jobs.is_empty() {
                return Ok(());
            }
            let is_busy = self.desk.flights.waiting() >= BUSY;
            if is_busy && jobs.len() < BATCH_MAX && jobs.iter().any(|job| matches!(job, Job::Upload { .. })) {
                tokio::time::sleep(GATHER).await;
                jobs.extend(self.jobs.take_waiting(BATCH_MAX - jobs.len()));
            }
            self.work(jobs).await?;
        }
    }

    /// Uploads that follow each other go together; everything else keeps its place among them.
    async fn work(&mut self, jobs: Vec<Job>) -> Result<(), LedgerError> {
        // Registrations reach one instance only.
        passing(self.desk.ledger.catch_up().await)?;
        let mut orders = Vec::new();
        for job in jobs {
            if let Job::Upload { from, bytes } = job {
                orders.extend(passing(self.upload(from, bytes.into()).await)?.flatten());
            } else {
                self.dispatch(std::mem::take(&mut orders)).await?;
                passing(self.other(job).await)?;
            }
        }
        self.dispatch(orders).await?;
        Ok(())
    }

    async fn other(&mut self, job: Job) -> Result<(), LedgerError> {
        match job {
            Job::Upload { .. } => Ok(()),
            Job::Register { from, card, handover, iq } => {
                requests::register(&self.desk, &from, &card, handover.as_deref(), iq).await
            }
            Job::Revoke { from, iq } => requests::revoke(&self.desk, &from, iq).await,
            Job::Yield => {
                if let Some(shards) = &self.desk.shards {
                    shards.leave_idle(|shard| self.desk.flights.has_of_shard(shard), Instant::now());
                }
                Ok(())
            }
            Job::Sweep => requests::sweep(&self.desk).await,
            Job::Reveal { from, reveals, iq } => requests::reveal(&self.desk, &from, reveals, iq).await,
            Job::PickUp { from, request, iq } => pickup::pick_up(&self.desk, &from, &request, iq).await,
            Job::Returned { key, what } => doubt::returned(&self.desk, &key, what).await,
            Job::Recover => self.recover().await,
            Job::Prune => self.prune().await,
        }
    }

    /// Answers an upload, or takes it on for delivery.
    async fn upload(&mut self, from: String, bytes: Bytes) -> Result<Option<Order>, LedgerError> {
        let desk = Arc::clone(&self.desk);
        if desk.shards.is_some()
            && let Ok(bundle) = Bundle::parse(bytes.clone())
            && !desk.may_work_on(&bundle.message_digest()).await?
        {
            return Ok(None);
        }
        let mut judgement = desk.judge().judge(bytes.clone(), &desk.ledger)?;
        if let Judgement::Deliver(order) = &judgement
            && order.is_new
            && !self.rate.allow(&order.record.author, Instant::now())
        {
            count(&desk.metrics.author_limited);
            tracing::warn!("an author is over limits.author_per_minute; the upload is not answered");
            return Ok(None);
        }
        if let Judgement::Deliver(order) = &judgement
            && let Some(answer) = self.nobody(order).await?
        {
            judgement = Judgement::Answer(answer);
        }
        if let Judgement::Deliver(order) = judgement {
            let uploaded = waiter_for(&from, &bytes, &order);
            if desk.flights.claim(&order, Some(uploaded)) == Claim::Joined {
                return Ok(None);
            }
            match still_stands(&order, &desk.ledger) {
                Ok(true) => return Ok(Some(*order)),
                changed => {
                    desk.flights.land(&order.key);
                    changed?;
                    judgement = desk.judge().judge(bytes, &desk.ledger)?;
                }
            }
        }
        if let Judgement::Answer(answer) = judgement {
            self.answer(from, answer).await?;
        }
        Ok(None)
    }

    /// The refusal of a new message whose author or recipient has no account. One in doubt goes its way: it may have
    /// been delivered.
    async fn nobody(&self, order: &Order) -> Result<Option<Answer>, LedgerError> {
        if !order.is_new {
            return Ok(None);
        }
        let (desk, record) = (&self.desk, &order.record);
        if desk.is_gone(&record.author).await {
            requests::forget(desk, &record.author, requests::GONE).await?;
            return Ok(Some(order.refused(VerdictCode::AuthorNotRegistered, requests::GONE, now_s())));
        }
        if desk.is_gone(&record.recipient).await {
            let reason = "the server has no such account";
            return Ok(Some(order.refused(VerdictCode::RecipientUnknown, reason, now_s())));
        }
        Ok(None)
    }

    async fn answer(&mut self, from: String, answer: Answer) -> Result<(), LedgerError> {
        let Answer { bundle, message, code, time_s, reveal, known, author, reason } = answer;
        if let Some(key) = known
            && self.desk.flights.join(&key, || Waiter { to: from.clone(), bundle, message })
        {
            return Ok(());
        }
        self.desk.audit(&bundle, &message, code, reason);
        let verdict = Verdict { bundle, message, code, time_s };
        self.desk.verdict(&from, &verdict, reveal).await;
        match author {
            Some(Author(author)) if !is_session_of(&from, &author) => {
                self.tell_author(&author, &from, &verdict).await
            }
            _ => Ok(()),
        }
    }

    /// The author of what is refused hears of it: over XMPP once, and by way of each carrier that
    /// brings it.
    async fn tell_author(
        &mut self,
        author: &str,
        carrier: &str,
        verdict: &Verdict,
    ) -> Result<(), LedgerError> {
        if self.told.first(verdict.bundle) {
            self.desk.verdict(author, verdict, None).await;
        }
        self.desk.refusal_for(author, carrier, verdict).await
    }

    /// Makes the orders durable, sends them, and hands them on. Says whether the server could be reached.
    async fn dispatch(&mut self, orders: Vec<Order>) -> Result<bool, LedgerError> {
        if orders.is_empty() {
            return Ok(true);
        }
        let orders = self.write_down(orders).await?;
        // A handle of its own: its sync speaks for exactly this batch.
        let component = self.desk.component.clone();
        let outcomes = deliver(&component, &orders).await;
        let mut sent = Vec::with_capacity(orders.len());
        let mut unsent = Unsent::default();
        for (Order { key, record, .. }, outcome) in orders.into_iter().zip(outcomes) {
            let outcome = match outcome {
                Ok(()) => {
                    count(&self.desk.metrics.deliveries);
                    Outcome::Sent
                }
                Err(SendError::TooLarge { .. }) => Outcome::Refused(VerdictCode::Policy),
                Err(SendError::Jid { .. }) => Outcome::Refused(VerdictCode::Malformed),
                Err(error) => {
                    unsent.add(error);
                    self.desk.flights.stall(&key);
                    continue;
                }
            };
            sent.push(Sent { key, record, outcome });
        }
        unsent.report();
        if !sent.is_empty() {
            // Its other end goes only with the whole bridge.
            let _ = self.batches.send(Batch { component, sent }).await;
        }
        Ok(unsent.is_reached())
    }

    /// Writes new orders into the ledger. What could not be written is not delivered and not answered.
    async fn write_down(&mut self, orders: Vec<Order>) -> Result<Vec<Order>, LedgerError> {
        let ledger = &self.desk.ledger;
        let writes = orders.into_iter().map(|mut order| {
            // What was refused for a reason that has passed is in doubt again.
            let begins = order.is_new || order.record.state.is_refused();
            if begins {
                order.record.state = State::InDoubt;
            }
            let write = begins.then(|| ledger.begin(&order.key, &order.record, order.bundle.as_bytes()));
            async move {
                match write {
                    Some(write) => (order, write.await),
                    None => (order, Ok(())),
                }
            }
        });
        let mut written = Vec::new();
        for (order, result) in join_all(writes).await {
            let is_full = matches!(&result, Err(LedgerError::Store(error)) if error.is_full());
            if passing(result)?.is_some() {
                written.push(order);
            } else if is_full {
                self.no_room(&order).await?;
            } else {
                self.desk.flights.land(&order.key);
            }
        }
        Ok(written)
    }

    /// Refuses what the ledger has no room for. It may be handed in again: the ledger does not know it.
    async fn no_room(&mut self, order: &Order) -> Result<(), LedgerError> {
        let (code, time_s) = (VerdictCode::Quota, now_s());
        let (waiters, _) = self.desk.flights.land(&order.key);
        self.desk.audit(&order.record.bundle, &order.key.message(), code, "the ledger is full");
        let author = &order.record.author;
        for Waiter { to, bundle, message } in waiters {
            let verdict = Verdict { bundle, message, code, time_s };
            self.desk.verdict(&to, &verdict, None).await;
            if !is_session_of(&to, author) {
                self.tell_author(author, &to, &verdict).await?;
            }
        }
        Ok(())
    }

    /// Sends what is not settled and not on its way.
    async fn recover(&mut self) -> Result<(), LedgerError> {
        if !self.repeat().await? || self.cancel.is_cancelled() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.desk.ledger.queue(after.as_ref(), BATCH_MAX)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            let mut orders = Vec::new();
            for (key, bytes) in page {
                if !self.desk.may_work_on(&key.message()).await? {
                    continue;
                }
                orders.extend(passing(doubt::reopen(&self.desk, &key, bytes).await)?.flatten());
            }
            if !orders.is_empty() {
                tracing::info!(messages = orders.len(), "sending again what is in doubt");
            }
            if !self.dispatch(orders).await? || self.cancel.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Sends again what was accepted and may be lost. Says whether the server could be reached.
    async fn repeat(&mut self) -> Result<bool, LedgerError> {
        for keys in self.desk.flights.lost().chunks(BATCH_MAX) {
            let mut orders = Vec::new();
            for key in keys {
                if self.desk.may_work_on(&key.message()).await? {
                    orders.extend(passing(doubt::repeat(&self.desk, key))?.flatten());
                }
            }
            if !orders.is_empty() {
                tracing::info!(messages = orders.len(), "sending again what the server may have lost");
            }
            if !self.dispatch(orders).await? || self.cancel.is_cancelled() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn prune(&self) -> Result<(), LedgerError> {
        let now_s = now_s();
        for _ in 0..PRUNE_STEPS_MAX {
            let forgotten = self.desk.ledger.prune(now_s).await?;
            if forgotten == 0 {
                break;
            }
            tracing::debug!(forgotten, "records forgotten");
        }
        Ok(())
    }
}

/// Sends in this order, patiently as long as the server takes some.
async fn deliver(component: &ComponentHandle, orders: &[Order]) -> Vec<Result<(), SendError>> {
    let mut outcomes = Vec::with_capacity(orders.len());
    while outcomes.len() < orders.len() {
        let left = orders.iter().skip(outcomes.len()).map(|order| &order.delivery);
        match patiently(|| component.deliver_all(left.clone().cloned().collect())).await {
            Ok(taken) => outcomes.extend(taken),
            Err(error) => outcomes.resize_with(orders.len(), || Err(error.clone())),
        }
    }
    outcomes
}

/// Whether the ledger says about a message what it said when the order was made: until it was claimed, it may have been
/// settled.
fn still_stands(order: &Order, ledger: &Ledger) -> Result<bool, LedgerError> {
    Ok(match ledger.record(&order.key)? {
        None => order.is_new,
        Some(record) => !order.is_new && record.state.after(now_s()) == State::InDoubt,
    })
}

/// Whose bundle it was that waits: the uploaded one, which is not always the one that is delivered.
fn waiter_for(from: &str, bytes: &Bytes, order: &Order) -> Waiter {
    let message = order.key.message();
    let bundle = if order.bundle.as_bytes() == bytes {
        order.bundle.id()
    } else {
        // The judge has parsed these bytes before.
        Bundle::parse(bytes.clone()).map_or(order.bundle.id(), |bundle| bundle.id())
    };
    Waiter { to: from.to_owned(), bundle, message }
}

/// `None` for an error that passes: nothing is answered, and whoever waits tries again.
pub(super) fn passing<T>(result: Result<T, LedgerError>) -> Result<Option<T>, LedgerError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_passing() => {
            tracing::error!(%error, "the ledger could not be used; what it concerns is not answered and will be uploaded again");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What of a batch could not be sent, for one line in the log.
#[derive(Default)]
struct Unsent {
    count: usize,
    error: Option<SendError>,
}

impl Unsent {
    fn add(&mut self, error: SendError) {
        self.count += 1;
        self.error = Some(error);
    }

    /// Whether it is worth trying others: a host that gives no right says nothing about other hosts.
    fn is_reached(&self) -> bool {
        matches!(self.error, None | Some(SendError::NotPrivileged { .. }))
    }

    fn report(&self) {
        let messages = self.count;
        match &self.error {
            Some(error @ SendError::NotPrivileged { .. }) => {
                tracing::error!(%error, messages, "waiting in the ledger");
            }
            Some(error) => tracing::info!(%error, messages, "waiting in the ledger"),
            None => {}
        }
    }
}

/// Whether `full` is a session of the bare JID `account`.
pub(super) fn is_session_of(full: &str, account: &str) -> bool {
    full.split('/').next() == Some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_compared_by_account() {
        assert!(is_session_of("a@h/x", "a@h") && is_session_of("a@h", "a@h"));
        assert!(!is_session_of("aa@h/x", "a@h") && !is_session_of("x/a@h", "a@h"));
    }
}
