//! Whether `bluetoothd` is on the bus, and whether it is still the same one.

use std::sync::Arc;
use std::time::Duration;

use dbus::message::MatchRule;
use dbus::nonblock::{MsgMatch, Proxy, SyncConnection};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use super::Trouble;

const BLUEZ: &str = "org.bluez";
const BUS: &str = "org.freedesktop.DBus";
/// The bus itself answers at once.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Who is behind `org.bluez`: a new process is a new owner.
pub(super) struct Daemon {
    owner: watch::Receiver<Owner>,
    _connection: Arc<SyncConnection>,
    _changes: MsgMatch,
    bus: JoinHandle<()>,
}

/// The unique bus name behind `org.bluez`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// It runs, as this one.
    Here(String),
    /// It does not run.
    Nobody,
    /// The bus itself is gone.
    BusLost,
}

impl Daemon {
    pub(super) async fn watch() -> Result<Self, Trouble> {
        let no_bus = |error: dbus::Error| Trouble::NoBus(error.message().unwrap_or("no answer").to_owned());
        let connected = spawn_blocking(dbus_tokio::connection::new_system_sync).await;
        let connected = connected.map_err(|error| Trouble::NoBus(error.to_string()))?;
        let (resource, connection) = connected.map_err(no_bus)?;
        let sender = watch::Sender::new(Owner::Nobody);
        let lost = sender.clone();
        let bus = tokio::spawn(async move {
            let error = resource.await;
            tracing::debug!(%error, "the D-Bus connection ended");
            lost.send_replace(Owner::BusLost);
        });
        let owner = sender.subscribe();
        let changed = sender.clone();
        let rule = MatchRule::new_signal(BUS, "NameOwnerChanged").with_sender(BUS);
        let changes = connection.add_match(rule).await.map_err(no_bus)?;
        let changes = changes.cb(move |_, (name, _, new): (String, String, String)| {
            if name == BLUEZ {
                changed.send_replace(owner_of(new));
            }
            true
        });
        let proxy = Proxy::new(BUS, "/org/freedesktop/DBus", ANSWER_MAX, Arc::clone(&connection));
        // An error says that nobody owns the name; asking this way does not start it.
        let asked: Result<(String,), _> = proxy.method_call(BUS, "GetNameOwner", (BLUEZ,)).await;
        if let Ok((name,)) = asked {
            sender.send_replace(owner_of(name));
        }
        Ok(Self { owner, _connection: connection, _changes: changes, bus })
    }

    pub(super) fn owner(&self) -> watch::Receiver<Owner> {
        self.owner.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.bus.abort();
    }
}

fn owner_of(name: String) -> Owner {
    if name.is_empty() { Owner::Nobody } else { Owner::Here(name) }
}
