//! Puts the bridge together, runs it, and takes it apart.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pigeon_store::{StoreError, StoreOptions};
use pigeon_xmpp::{ComponentConfig, ComponentEvent, spawn_component};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::accounts::Accounts;
use super::config::{Config, ConfigError};
use super::control::Doors;
use super::desk::{Desk, now_s};
use super::flights::Flights;
use super::jobs;
use super::journal::Journal;
use super::keys::{self, BridgeKeyError};
use super::ledger::{Ledger, LedgerError};
use super::metrics::Metrics;
use super::rate::Rate;
use super::reader::Reader;
use super::settle::{self, BATCHES_MAX};
use super::shards::Shards;
use super::told::Told;
use super::worker::Worker;
use crate::keys::KeyError;
use crate::random::OsRandom;

const LEDGER_DIR: &str = "ledger";
/// The wait after the server has refused the component. Often that mends itself: after a crash the server may take the
/// old connection for alive a little longer and refuse the new one. It is our own server, so asking costs nothing.
const RETRY_OPERATOR: Duration = Duration::from_secs(3);
/// How long a clean stop may wait for the server's answer about what was just sent. What has none by then is in
/// doubt, and sent again at the next start.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Why the bridge does not run.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The card.
    #[error(transparent)]
    Card(#[from] BridgeKeyError),
    /// The ledger could not be opened or closed.
    #[error("ledger: {0}")]
    Store(#[from] StoreError),
    /// The ledger failed while it was in use.
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The connection cannot be configured.
    #[error("component: {0}")]
    Component(#[from] pigeon_xmpp::ConfigError),
    /// An address for figures cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}\nhelp: the socket is made in data_dir; metrics.listen must be a free address of this machine"
    )]
    Door {
        /// Where.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A running bridge could not be asked, or refused.
    #[error("{0}")]
    Ask(String),
    /// A task of the bridge ended by a fault.
    #[error("{task} failed: {detail}\nhelp: please report this; the ledger is safe, start again")]
    Task {
        /// Which task.
        task: &'static str,
        /// What the runtime said.
        detail: String,
    },
}

/// Runs until `cancel`.
///
/// # Errors
/// [`BridgeError`]: keys, ledger or configuration cannot be used, or the ledger failed for good.
pub async fn run(config: Config, cancel: CancellationToken) -> Result<(), BridgeError> {
    let identity = keys::identity(config.key_dir(), &mut OsRandom)?;
    let card = keys::card(config.key_dir(), &identity, &config.domain, &config.shards, now_s())?;
    let ledger = open_ledger(&config).await?;
    let login = config.component.as_ref().unwrap_or(&config.domain);
    let mut component = ComponentConfig::new(login, config.secret()?, &config.server);
    component.host = config.hosts.first().cloned();
    component.retry_operator = RETRY_OPERATOR;
    component.unchecked_senders = config.unchecked_senders;
    // The connection outlives the work: what was just sent is still to be settled.
    let connection = CancellationToken::new();
    let (component, events) = spawn_component(component, connection.clone())?;
    tracing::info!(domain = config.domain, "starting");
    let desk = Arc::new(Desk {
        identity,
        domain: config.domain.clone(),
        hosts: config.host_set(),
        registration_s: config.registration_s(),
        pick_up: config.pick_up,
        notice_s: config.notice_s(),
        plain: config.plain_recipients,
        unchecked_senders: config.unchecked_senders,
        shards: config.shared.as_ref().map(|shared| Shards::new(&shared.dir)),
        addresses: config.shards.clone(),
        metrics: Metrics::default(),
        lost_connections: AtomicU64::new(0),
        accounts: Accounts::new(Duration::from_secs(config.accounts.check_s)),
        ledger: ledger.clone(),
        flights: Flights::default(),
        component,
        data_dir: config.key_dir().to_owned(),
        card: Mutex::new(card),
    });
    let doors = Doors::open(&config.data_dir, config.metrics.listen)
        .await
        .map_err(|(address, source)| BridgeError::Door { address, source })?;
    let doors = tokio::spawn(doors.serve(Arc::clone(&desk), cancel.clone()));
    let outcome = serve(desk, &config, events, cancel).await;
    // It holds the ledger.
    doors.abort();
    let _ = doors.await;
    connection.cancel();
    tracing::info!("stopping");
    let closed = blocking("closing the ledger", move || ledger.close()).await?;
    outcome?;
    Ok(closed?)
}

/// Runs the three tasks until one fails or `cancel`.
async fn serve(
    desk: Arc<Desk>,
    config: &Config,
    events: mpsc::Receiver<ComponentEvent>,
    cancel: CancellationToken,
) -> Result<(), BridgeError> {
    let (sender, receiver) = jobs::queue();
    let (batches, to_settle) = mpsc::channel(BATCHES_MAX);
    let settler = {
        let (desk, cancel) = (Arc::clone(&desk), cancel.clone());
        tokio::spawn(async move {
            let _guard = cancel.drop_guard();
            settle::run(desk, to_settle).await
        })
    };
    let worker = Worker {
        desk: Arc::clone(&desk),
        jobs: receiver,
        batches,
        cancel: cancel.clone(),
        rate: Rate::new(config.limits.author_per_minute),
        told: Told::default(),
    };
    let worker = {
        let cancel = cancel.clone();
        tokio::spawn(async move {
            let _guard = cancel.drop_guard();
            worker.run().await
        })
    };
    let reader =
        Reader { desk, jobs: sender, rate: Rate::new(config.limits.account_per_minute), online: false };
    // What the server sends during the stop is read too: its answer to the last sync is among it.
    let reading = tokio::spawn(reader.run(events, CancellationToken::new()));
    cancel.cancelled().await;
    let ended = tokio::time::timeout(STOP_MAX, async {
        let worked = join("the worker", worker).await;
        let settled = join("the settler", settler).await;
        worked.and(settled)
    });
    let outcome = ended.await.unwrap_or_else(|_elapsed| {
        tracing::info!("the server did not answer in time; what it was asked about stays in doubt");
        Ok(())
    });
    reading.abort();
    outcome
}

async fn join(task: &'static str, handle: JoinHandle<Result<(), LedgerError>>) -> Result<(), BridgeError> {
    match handle.await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(BridgeError::Task { task, detail: error.to_string() }),
    }
}

async fn open_ledger(config: &Config) -> Result<Ledger, BridgeError> {
    let dir = config.data_dir.join(LEDGER_DIR);
    let options = StoreOptions {
        cache_bytes: config.store.cache_bytes,
        quota_bytes: config.store.quota_bytes,
        ..StoreOptions::DEFAULT
    };
    let pick_up = config.pick_up;
    let (ledger, report) =
        blocking("opening the ledger", move || Ledger::open(&dir, options, pick_up)).await??;
    if report.is_healthy() {
        tracing::info!(%report, "ledger");
    } else {
        tracing::error!(%report, "ledger was damaged: messages delivered before may be delivered once more");
    }
    let Some(shared) = config.shared.clone() else { return Ok(ledger) };
    let journal =
        blocking("opening the shared log", move || Journal::open(&shared.dir, &shared.instance)).await?;
    let ledger = ledger.shared(journal.map_err(LedgerError::from)?);
    ledger.catch_up().await?;
    Ok(ledger)
}

async fn blocking<T: Send + 'static>(
    task: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BridgeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| BridgeError::Task { task, detail: error.to_string() })
}
