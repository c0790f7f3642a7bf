//! Reads what the server sends, answers at once what can be, and leaves the rest to the worker. Never waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pigeon_bundle::VerdictCode;
use pigeon_xmpp::{ComponentEvent, Condition, IqAnswer, IqToken};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::flights::{Found, Returned};
use super::jobs::{Job, JobSender};
use super::metrics::count;
use super::rate::Rate;

/// How often expired records are forgotten, and what stayed in doubt on a working connection is sent again.
const CHORES_EVERY: Duration = Duration::from_secs(60);

/// How often the server is asked whether the accounts with registered keys are still there.
const SWEEP_EVERY: Duration = Duration::from_secs(86_400);

/// How often shards without work are looked for.
const YIELD_EVERY: Duration = Duration::from_secs(1);

/// The task that reads.
pub struct Reader {
    /// Shared with the other tasks.
    pub desk: Arc<Desk>,
    /// To the worker.
    pub jobs: JobSender,
    /// How much each account may ask.
    pub rate: Rate,
    /// Whether anything can be delivered now.
    pub online: bool,
}

impl Reader {
    /// Reads until `cancel`, or until the session ends.
    pub async fn run(mut self, mut events: mpsc::Receiver<ComponentEvent>, cancel: CancellationToken) {
        let mut chores = interval(CHORES_EVERY);
        chores.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut yields = interval(YIELD_EVERY);
        yields.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_shared = self.desk.shards.is_some();
        let mut sweeps = interval(SWEEP_EVERY);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once, when there is no connection yet.
        sweeps.tick().await;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.event(event).await,
                    None => return,
                },
                _ = chores.tick() => {
                    self.leave(Job::Prune);
                    if self.online {
                        self.leave(Job::Recover);
                    }
                }
                _ = yields.tick(), if is_shared => self.leave(Job::Yield),
                _ = sweeps.tick() => {
                    if self.online {
                        self.leave(Job::Sweep);
                    }
                }
                () = cancel.cancelled() => return,
            }
        }
    }

    async fn event(&mut self, event: ComponentEvent) {
        match event {
            ComponentEvent::Online { privilege_ns } => self.online(privilege_ns.as_deref()),
            ComponentEvent::Offline { reason } => {
                self.online = false;
                count(&self.desk.lost_connections);
                self.desk.metrics.online.store(false, Ordering::Relaxed);
                self.desk.metrics.privileged.store(false, Ordering::Relaxed);
                tracing::warn!(%reason, "offline");
            }
            ComponentEvent::Upload { from, bundles, .. } => {
                count(&self.desk.metrics.upload_messages);
                for bytes in bundles {
                    self.upload(&from, bytes);
                }
            }
            ComponentEvent::CardRequest { from, iq } => self.card(&from, iq).await,
            ComponentEvent::Register { from, card, handover, iq } => {
                self.request(iq, &from.clone(), |iq| Job::Register { from, card, handover, iq }).await;
            }
            ComponentEvent::Revoke { from, iq } => {
                self.request(iq, &from.clone(), |iq| Job::Revoke { from, iq }).await;
            }
            ComponentEvent::Reveal { from, reveals, iq } => {
                self.request(iq, &from.clone(), |iq| Job::Reveal { from, reveals, iq }).await;
            }
            ComponentEvent::PickUp { from, request, iq } => {
                self.request(iq, &from.clone(), |iq| Job::PickUp { from, request, iq }).await;
            }
            ComponentEvent::Bounce { to, id, condition } => self.bounce(&to, id.as_deref(), &condition),
            _ => {}
        }
    }

    fn online(&mut self, privilege_ns: Option<&str>) {
        self.online = privilege_ns.is_some() || self.desk.unchecked_senders;
        self.desk.metrics.online.store(true, Ordering::Relaxed);
        self.desk.metrics.privileged.store(privilege_ns.is_some(), Ordering::Relaxed);
        match privilege_ns {
            Some(namespace) => {
                tracing::info!(namespace, "online, with the right to send as the host's users");
                self.leave(Job::Recover);
            }
            None if self.desk.unchecked_senders => {
                tracing::warn!(
                    "online without the right to send as the host's users (XEP-0356), and unchecked_senders is on: \
                     authors' addresses go out on the component's own stream. The server must check no senders of this \
                     component, so whoever has the component's secret can write as anybody, of any domain: see \
                     docs/operators/bridge.md"
                );
                self.leave(Job::Recover);
            }
            None => tracing::error!(
                "online, but the server has not given the right to send as its users (XEP-0356): nothing can be \
                 delivered; see docs/operators/bridge.md"
            ),
        }
    }

    fn upload(&mut self, from: &str, bytes: Vec<u8>) {
        count(&self.desk.metrics.uploads);
        let size = u64::try_from(bytes.len()).unwrap_or_default();
        self.desk.metrics.upload_bytes.fetch_add(size, Ordering::Relaxed);
        if self.rate.allow(from, Instant::now()) {
            self.leave(Job::Upload { from: from.to_owned(), bytes });
        } else {
            count(&self.desk.metrics.carrier_limited);
            tracing::warn!("an account is over limits.account_per_minute; its upload is not answered");
        }
    }

    async fn card(&mut self, from: &str, iq: IqToken) {
        if !self.rate.allow(from, Instant::now()) {
            return self.answer(iq, over_limit()).await;
        }
        let answer = match self.desk.card() {
            Ok(card) => IqAnswer::Card(card),
            Err(error) => {
                tracing::error!(%error, "no card to hand out");
                IqAnswer::Error { condition: Condition::InternalServerError, text: String::new() }
            }
        };
        self.answer(iq, answer).await;
    }

    async fn request(&mut self, iq: IqToken, from: &str, job: impl FnOnce(IqToken) -> Job) {
        if !self.rate.allow(from, Instant::now()) {
            return self.answer(iq, over_limit()).await;
        }
        if let Err(
            Job::Register { iq, .. }
            | Job::Revoke { iq, .. }
            | Job::Reveal { iq, .. }
            | Job::PickUp { iq, .. },
        ) = self.jobs.push(job(iq))
        {
            self.answer(iq, over_limit()).await;
        }
    }

    fn bounce(&self, to: &str, id: Option<&str>, condition: &str) {
        let what = match condition {
            "forbidden" | "not-allowed" | "not-authorized" => Returned::NotAllowed,
            "resource-constraint" => Returned::Refused(VerdictCode::Quota),
            // An account that is there, and whose server has no room for its mail.
            "service-unavailable" | "recipient-unavailable"
                if self.desk.accounts.is_known(to, Instant::now()) =>
            {
                Returned::Refused(VerdictCode::Quota)
            }
            "item-not-found" | "service-unavailable" | "recipient-unavailable" | "gone" => {
                Returned::Refused(VerdictCode::RecipientUnknown)
            }
            _ => Returned::Refused(VerdictCode::Policy),
        };
        match id.and_then(|id| self.desk.flights.bounce(to, id, what)) {
            Some(Found::Landed(key)) => self.leave(Job::Returned { key, what }),
            Some(Found::Flying) => {}
            None => tracing::debug!(condition, "something that came back is not known"),
        }
    }

    /// Leaves a job to the worker. Where there is no room it is dropped: uploads come again, chores too.
    fn leave(&self, job: Job) {
        if self.jobs.push(job).is_err() {
            count(&self.desk.metrics.queue_full);
            tracing::warn!(
                "more comes in than can be worked off; what is dropped is not answered and comes again"
            );
        }
    }

    async fn answer(&self, iq: IqToken, answer: IqAnswer) {
        if let Err(error) = self.desk.component.answer(iq, answer).await {
            tracing::debug!(%error, "an answer was not sent");
        }
    }
}

fn over_limit() -> IqAnswer {
    IqAnswer::Error {
        condition: Condition::ResourceConstraint,
        text: "too much is asked of the bridge; try again in a minute".to_owned(),
    }
}
