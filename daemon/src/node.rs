//! The daemon as a whole: opens what lasts, starts the tasks, stops them in order.

use std::sync::Arc;
use std::time::Duration;

use pigeon_bundle::SecretRandom;
use pigeon_core::{Catalog, Core, CoreConfig, Entry, Reachable, Routing, StoreOp, Whom};
use pigeon_proto::api::pigeon_server::PigeonServer;
use pigeon_store::{RecordOp, RecoveryReport, Store, StoreError, StoreOptions, Table, Transaction};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::{AccountError, Accounts};
use crate::api::socket::{Guard, Socket, SocketError};
use crate::api::{AccountDesk, Service};
use crate::battery;
use crate::carriage::Carriage;
use crate::clock::{Clock, mono_ms};
use crate::config::{CarryFor, Config, PickupWhom, ReachableTo, RoutingPolicy};
use crate::connectivity;
use crate::events::{EventLog, event};
use crate::folder::backup::RESTORED;
use crate::folder::secret::Passphrases;
use crate::folder::{Folder, FolderError};
use crate::input::INPUTS_MAX;
use crate::keys::KeyError;
use crate::mailbox::{Mailbox, MailboxError, run_assembler, run_calendar, run_opener};
use crate::neighbours::Neighbours;
use crate::notices::Notices;
use crate::random::OsRandom;
use crate::shell::{Shell, Workers};
use crate::transports::{self, Transports};
use crate::uplink::{Hub, UplinkStates};

/// Entries rewritten in one transaction.
const COPIES_PAGE: usize = 32;
/// Room for records in the smallest store, bytes.
const RECORDS_MIN: u64 = 16 << 20;
/// How long clients may take to go when the daemon stops.
const CLIENTS_MAX: Duration = Duration::from_secs(2);
/// How long the tasks may take.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Mailbox.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// Socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Accounts.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The system refused signal handlers.
    #[error("the system gives no signal handlers: {0}")]
    Signals(#[from] std::io::Error),
    /// A task panicked.
    #[error("a task of the daemon broke down: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The API server failed.
    #[error("the local API ended: {0}")]
    Api(#[from] tonic::transport::Error),
}

/// Runs the node until `cancel`, then stops it: no new work, frames in flight finished, store flushed, socket removed.
/// `passphrases` are what [`Passphrases::ask`] gave.
///
/// # Errors
/// What keeps it from starting, with the remedy.
pub async fn run(
    config: Config,
    passphrases: Passphrases,
    cancel: CancellationToken,
) -> Result<(), NodeError> {
    let config = Arc::new(config);
    let socket = Socket::bind(&config.socket).await?;
    // The folder's lock comes before the keys: two daemons on one data_dir must not make an identity each.
    let opened = tokio::task::spawn_blocking({
        let config = config.clone();
        move || open_folder(&config, &passphrases)
    });
    let (folder, store, recovery) = opened.await??;
    let keys = folder.keys();
    let identity = keys.identity(&mut OsRandom)?;
    keys.seal()?;
    let restored = store.record(Table::Meta, RESTORED)?.is_some();
    let went_back = restored || recovery.lost_transactions > 0 || recovery.set_aside.is_some();
    let recovery = if recovery.is_healthy() { String::new() } else { recovery.to_string() };
    if !recovery.is_empty() {
        tracing::warn!(recovery, "the store was repaired");
    }
    if went_back {
        give_up_copies(&store).await?;
    }
    let clock = Clock::new(config.clock);
    let events = EventLog::new(clock.clone());
    let (inputs, shell_inputs) = mpsc::channel(INPUTS_MAX);
    let accounts = Accounts::open(config.account.as_ref(), keys.clone())?;
    let mailbox = Arc::new(Mailbox::open(
        store.clone(),
        identity,
        config.clone(),
        accounts.clone(),
        clock.clone(),
        events.clone(),
        inputs.clone(),
    )?);
    if went_back {
        mailbox.forget_one_time().await?;
    }
    if restored {
        let done = RecordOp::Delete { table: Table::Meta, key: RESTORED.to_vec() };
        store.commit(Transaction::of_records(vec![done])).await?;
    }
    let tasks = TaskTracker::new();
    let network = connectivity::watch_changes(cancel.clone()).unwrap_or_else(|error| {
        tracing::warn!(%error, "no netlink: changes of the network are noticed late");
        watch::channel(0).1
    });

    let (opener, opens) = mpsc::unbounded_channel();
    tasks.spawn(run_opener(mailbox.clone(), opens, cancel.clone()));
    let (uplink, commands) = mpsc::unbounded_channel();
    let uplink_states = UplinkStates::default();
    let neighbours = Neighbours::default();
    let transports = Arc::new(Transports::new());
    let notices = Notices { events: events.clone(), mailbox: mailbox.clone() };
    let carriage = Carriage::default();
    let workers = Workers {
        carriage: carriage.clone(),
        opener,
        uplink: uplink.clone(),
        transports: transports.clone(),
        neighbours: neighbours.clone(),
        notices,
    };
    let core = Core::new(core_config(&config), seed());
    let shell = Shell::new(core, store.clone(), clock.clone(), workers, inputs.clone());
    let shell = tokio::spawn({
        // Without the shell nothing works: however it ends, the daemon ends.
        let (cancel, ends) = (cancel.clone(), cancel.clone().drop_guard());
        async move {
            shell.run(shell_inputs, cancel).await;
            drop(ends);
        }
    });

    match mailbox.refresh().await {
        // A full store on the day of a renewal: the card that is held does for a while.
        Err(error) if mailbox.card().is_some() => tracing::error!(%error, "the card could not be renewed"),
        refreshed => drop(refreshed?),
    }
    mailbox.upgrade().await?;
    mailbox.reveal_again().await?;
    tasks.spawn(run_calendar(mailbox.clone(), cancel.clone()));
    tasks.spawn(run_assembler(mailbox.clone(), cancel.clone()));
    let hub = Hub {
        accounts: accounts.clone(),
        mailbox: mailbox.clone(),
        store: store.clone(),
        inputs: inputs.clone(),
        events: events.clone(),
        states: uplink_states.clone(),
        network: network.clone(),
        cancel: cancel.clone(),
    };
    tasks.spawn(hub.run(commands));
    tasks.spawn(battery::watch(battery::POWER_SUPPLIES.into(), inputs.clone(), cancel.clone()));
    tasks.spawn(transports::run(
        transports.clone(),
        config.clone(),
        keys,
        clock.clone(),
        inputs.clone(),
        network,
        cancel.clone(),
    ));

    events.push(event("node_started"));
    tracing::info!(identity = %mailbox.identity(), socket = %config.socket.display(), "pigeond is up");
    let service = Service {
        config: config.clone(),
        mailbox,
        store: store.clone(),
        events,
        neighbours,
        transports,
        carriage,
        accounts: AccountDesk { accounts, states: uplink_states, uplink },
        inputs,
        clock,
        recovery,
        started_ms: mono_ms(),
        cancel: cancel.clone(),
    };
    let served = serve(socket, service, &config, cancel.clone()).await;
    cancel.cancel();
    tasks.close();
    if tokio::time::timeout(STOP_MAX, tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end in time and are dropped");
    }
    shell.await?;
    tokio::task::spawn_blocking(move || store.close()).await??;
    drop(folder);
    tracing::info!("stopped");
    served
}

fn open_folder(
    config: &Config,
    passphrases: &Passphrases,
) -> Result<(Folder, Store, RecoveryReport), FolderError> {
    let folder = Folder::open(config, passphrases)?;
    let (store, recovery) = folder.store(store_options(config))?;
    Ok((folder, store, recovery))
}

/// A store that has lost its newest transactions may remember copies that were given away since. They are given up:
/// the bundles still go to their recipients and to the bridge, and the copies of all nodes still sum to six at most.
async fn give_up_copies(store: &Store) -> Result<(), NodeError> {
    let mut after = None;
    loop {
        let page = store.page(after, COPIES_PAGE).map_err(MailboxError::from)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        let ops = page
            .into_iter()
            .filter(|(_, entry)| entry.copies > 0)
            .map(|(id, entry)| StoreOp::Update { id, entry: Entry { copies: 0, ..entry } });
        let ops: Vec<StoreOp> = ops.collect();
        if !ops.is_empty() {
            store.commit(Transaction::of_ops(ops)).await?;
        }
    }
}

async fn serve(
    mut socket: Socket,
    service: Service,
    config: &Config,
    cancel: CancellationToken,
) -> Result<(), NodeError> {
    let guard = Guard::new(&config.api.allow_uids);
    let Some(listener) = socket.listener.take() else { return Ok(()) };
    let server = PigeonServer::with_interceptor(service, move |request| guard.check(request));
    let served = tonic::transport::Server::builder()
        .add_service(server)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), cancel.clone().cancelled_owned());
    tokio::select! {
        served = served => served?,
        // A client that connected and says nothing would keep the server waiting for ever.
        () = async { cancel.cancelled().await; tokio::time::sleep(CLIENTS_MAX).await } => {}
    }
    Ok(())
}

/// The store also holds inbox, outbox and contacts: it gets room for them beyond what the core may fill with bundles,
/// so that carried mail never keeps own messages from being written.
pub(crate) fn store_options(config: &Config) -> StoreOptions {
    let quota_bytes = config.store.quota_bytes;
    let records = (quota_bytes / 4).max(RECORDS_MIN);
    StoreOptions {
        cache_bytes: config.store.cache_bytes,
        quota_bytes: quota_bytes.saturating_add(records),
        disk_bytes_max: config.store.disk_bytes_max(),
        ..StoreOptions::DEFAULT
    }
}

fn core_config(config: &Config) -> CoreConfig {
    CoreConfig {
        quota_bytes: config.store.quota_bytes,
        carry: match config.carry.whose {
            CarryFor::All => pigeon_core::CarryFor::All,
            CarryFor::Contacts => pigeon_core::CarryFor::Contacts,
            CarryFor::Nobody => pigeon_core::CarryFor::Nobody,
        },
        pigeons_only: config.carry.pigeons_only,
        daily_bytes: config.carry.daily_bytes,
        daily_bundles: config.carry.daily_bundles,
        battery_min_percent: config.energy.battery_min_percent,
        reveal_delay_ms_max: config.privacy.reveal_delay_s_max.saturating_mul(1000),
        routing: match config.routing.policy {
            RoutingPolicy::Delegate => Routing::Delegate,
            RoutingPolicy::Spray => Routing::Spray,
            RoutingPolicy::SourceSpray => Routing::SourceSpray,
        },
        reachable: match config.privacy.reachable {
            ReachableTo::Nobody => Reachable::Nobody,
            ReachableTo::Contacts => Reachable::Contacts,
            ReachableTo::Everyone => Reachable::Everyone,
        },
        pickup_ask: whom(config.pickup.ask),
        pickup_fetch: whom(config.pickup.fetch_for),
        pickup_wait_ms: config.pickup.wait_s.saturating_mul(1000),
        ..CoreConfig::default()
    }
}

fn whom(whom: PickupWhom) -> Whom {
    match whom {
        PickupWhom::None => Whom::Nobody,
        PickupWhom::Contacts => Whom::Contacts,
        PickupWhom::All => Whom::Everyone,
    }
}

/// The core's own randomness decides delays and ties, never keys.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    OsRandom.fill(&mut seed);
    seed
}
