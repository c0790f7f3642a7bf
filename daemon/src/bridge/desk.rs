//! What all tasks of the bridge share, and how verdicts leave it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use pigeon_bundle::{
    Acceptances, BridgeCard, BridgeIdentity, BundleId, MessageDigest, Reveal, Verdict, VerdictCode,
};
use pigeon_xmpp::{ComponentHandle, SendError};

use super::accounts::Accounts;
use super::config::PickUp;
use super::flights::{Flights, Waiter};
use super::judge::Judge;
use super::keys::{self, BridgeKeyError};
use super::ledger::{Books as _, Ledger, LedgerError};
use super::metrics::Metrics;
use super::refusal;
use super::shards::{Entered, Shards};

/// How long to wait before something is tried again that the server takes too slowly.
const BUSY_WAIT: Duration = Duration::from_millis(20);
/// How often. After that it counts as not sent.
const BUSY_TRIES: u32 = 500;

/// How long, and how often, the connection is waited for that is asked about an account once more.
const AGAIN_WAIT: Duration = Duration::from_millis(300);
const AGAIN_TRIES: u32 = 34;

/// The bridge's keys, ledger and connection.
pub struct Desk {
    /// Keys.
    pub identity: BridgeIdentity,
    /// The component's domain.
    pub domain: String,
    /// Hosts that are served.
    pub hosts: BTreeSet<String>,
    /// How long a registration lasts, seconds.
    pub registration_s: u64,
    /// Limits of delegated pick-up.
    pub pick_up: PickUp,
    /// How long another key waits, seconds.
    pub notice_s: u64,
    /// Whether mail for people without a card is read and sent on.
    pub plain: bool,
    /// Whether the component's own stream will do where the server gives no right to send as its users.
    pub unchecked_senders: bool,
    /// The messages that are this instance's, where there are several.
    pub shards: Option<Shards>,
    /// Figures for the operator.
    pub metrics: Metrics,
    /// Connections to the server that have ended.
    pub lost_connections: AtomicU64,
    /// Which accounts are there.
    pub accounts: Accounts,
    /// What has been accepted, and who may speak.
    pub ledger: Ledger,
    /// What is on its way.
    pub flights: Flights,
    /// The connection to the server. Deliveries go through clones of their own.
    pub component: ComponentHandle,
    /// Where the card is kept.
    pub data_dir: PathBuf,
    /// Addresses of the shards, for the card.
    pub addresses: Vec<String>,
    /// The card that is handed out.
    pub card: Mutex<BridgeCard>,
}

impl Desk {
    /// Notes the answer to one upload, for the audit trail and the figures: no names, no content.
    pub fn audit(&self, bundle: &BundleId, message: &MessageDigest, code: VerdictCode, reason: &str) {
        self.metrics.verdict(code);
        let short = |id: &[u8; 32]| data_encoding::HEXLOWER.encode(&id[..4]);
        tracing::info!(
            target: "pigeon_bridge::audit",
            bundle = %short(&bundle.0),
            digest = %short(&message.0),
            verdict = ?code,
            reason,
            "upload"
        );
    }

    /// Whether this instance may work on a message now. If it has just become its own, all that others wrote is read.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn may_work_on(&self, message: &MessageDigest) -> Result<bool, LedgerError> {
        let Some(shards) = &self.shards else { return Ok(true) };
        match shards.enter(message.shard(), Instant::now())? {
            Entered::Held => Ok(true),
            Entered::Busy => Ok(false),
            Entered::Fresh => {
                self.ledger.catch_up().await?;
                Ok(true)
            }
        }
    }

    /// Whether an account is gone, as far as the server says. Where it cannot be asked, accounts are there; a connection
    /// that ended over the question is waited for, and the next one asked.
    pub async fn is_gone(&self, account: &str) -> bool {
        let before = self.lost_connections.load(Ordering::Relaxed);
        if let Some(gone) = self.accounts.is_gone(&self.component, account).await {
            return gone;
        }
        for _ in 0..AGAIN_TRIES {
            tokio::time::sleep(AGAIN_WAIT).await;
            let is_online = self.metrics.online.load(Ordering::Relaxed);
            let is_lost = self.lost_connections.load(Ordering::Relaxed) != before;
            if is_online {
                return is_lost && self.accounts.is_gone(&self.component, account).await.unwrap_or(false);
            }
        }
        false
    }

    /// A judge for this moment.
    #[must_use]
    pub fn judge(&self) -> Judge<'_> {
        Judge {
            identity: &self.identity,
            domain: &self.domain,
            hosts: &self.hosts,
            plain: self.plain,
            now_s: now_s(),
        }
    }

    /// The card, fresh if the last one is half over.
    ///
    /// # Errors
    /// [`BridgeKeyError`] when a fresh one cannot be kept.
    pub fn card(&self) -> Result<Vec<u8>, BridgeKeyError> {
        let mut card = self.card.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys::serves(&card, &self.identity, &self.domain, &self.addresses, now_s()) {
            *card = keys::card(&self.data_dir, &self.identity, &self.domain, &self.addresses, now_s())?;
        }
        Ok(card.as_bytes().to_vec())
    }

    /// Gives a carrier a refusal for its author to take along.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn refusal_for(&self, author: &str, to: &str, verdict: &Verdict) -> Result<(), LedgerError> {
        let Some(owner) = self.ledger.registration(author)? else { return Ok(()) };
        let Some((id, bundle)) = refusal::sealed(&owner, &verdict.sign(&self.identity)) else {
            return Ok(());
        };
        if let Err(error) = patiently(|| self.component.hand_out(to, &id, bundle.clone())).await {
            tracing::debug!(%error, "a refusal for an author was not sent");
        }
        Ok(())
    }

    /// Signs a verdict and sends it. A verdict that cannot be sent is dropped: whoever wants it uploads again, and the
    /// ledger has the answer.
    pub async fn verdict(&self, to: &str, verdict: &Verdict, reveal: Option<Reveal>) {
        let bytes = verdict.sign(&self.identity);
        let reveal = reveal.map(|reveal| reveal.0);
        if let Err(error) = patiently(|| self.component.verdict(to, &bytes, reveal)).await {
            tracing::debug!(%error, "a verdict was not sent");
        }
    }

    /// Signs acceptances of this moment and sends them, those for one carrier together.
    pub async fn accept(&self, waiters: &[Waiter], time_s: u64) {
        let mut carriers: BTreeMap<&str, Vec<(BundleId, MessageDigest)>> = BTreeMap::new();
        for Waiter { to, bundle, message } in waiters {
            carriers.entry(to).or_default().push((*bundle, *message));
        }
        let stanzas = carriers.iter().flat_map(|(to, bundles)| {
            bundles.chunks(Acceptances::MAX).map(async |bundles| self.accept_for(to, bundles, time_s).await)
        });
        join_all(stanzas).await;
    }

    async fn accept_for(&self, to: &str, bundles: &[(BundleId, MessageDigest)], time_s: u64) {
        if let [(bundle, message)] = *bundles {
            let verdict = Verdict { bundle, message, code: VerdictCode::Accepted, time_s };
            return self.verdict(to, &verdict, None).await;
        }
        let bytes = Acceptances { bundles: bundles.to_vec(), time_s }.sign(&self.identity);
        if let Err(error) = patiently(|| self.component.acceptances(to, &bytes)).await {
            tracing::debug!(%error, "acceptances were not sent");
        }
    }
}

/// Tries again while the server takes too slowly what is sent.
///
/// # Errors
/// As `send`, and [`SendError::Busy`] after ten seconds of it.
pub async fn patiently<T, F: Future<Output = Result<T, SendError>>>(
    mut send: impl FnMut() -> F,
) -> Result<T, SendError> {
    for _ in 1..BUSY_TRIES {
        match send().await {
            // Room in the output buffer announces itself by nothing.
            Err(SendError::Busy) => tokio::time::sleep(BUSY_WAIT).await,
            outcome => return outcome,
        }
    }
    send().await
}

/// Unix seconds.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
