//! One life of an adapter: opened, on the air in both roles, until it goes.

use std::sync::Arc;
use std::time::Duration;

use bluer::{Adapter, AdapterEvent, AdapterProperty};
use bluer::{Address, Session, SessionEvent};
use btleplug::platform::Peripheral;
use futures::StreamExt as _;

use super::scan::{self, Central};
use super::{Trouble, Turns, advertise, trouble};
use crate::accept;
use crate::bearer::gatt_server::Server;
use crate::bearer::l2cap::{At, Listener};
use crate::config::{BleConfig, Roles};
use crate::transport::Shared;

/// A `bluetoothd` that has just started, or an adapter that has just been switched on, needs a moment.
const SETTLE: Duration = Duration::from_millis(200);
const SETTLE_TRIES: usize = 15;

/// An adapter on the air.
pub(crate) struct Station {
    session: Session,
    adapter: Adapter,
    central: btleplug::platform::Adapter,
    own: At,
    pub(crate) turns: Turns,
}

/// What a station serves with; not shared.
pub(super) struct Parts {
    listener: Option<Listener>,
    server: Option<Server>,
}

impl Station {
    pub(super) async fn open(
        shared: &Arc<Shared>,
        central: &mut Option<Central>,
    ) -> Result<(Arc<Self>, Parts), Trouble> {
        let config = &shared.config;
        let session = Session::new().await.map_err(|error| Trouble::NoBus(error.to_string()))?;
        let adapter = choose(&session, config).await?;
        let name = adapter.name().to_owned();
        let refused = |what| {
            move |error: bluer::Error| Trouble::Refused {
                adapter: name.clone(),
                what,
                error: error.to_string(),
            }
        };
        power(&adapter, config).await?;
        let address = adapter.address().await.map_err(refused.clone()("its address"))?;
        let address_type = adapter.address_type().await.map_err(refused.clone()("its address"))?;
        let own = (address, address_type);
        let listener = config.bearers.l2cap().then(|| Listener::bind(own)).transpose();
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) if config.bearers.gatt() => {
                tracing::info!(%error, "no L2CAP channels here: GATT has to do");
                None
            }
            Err(error) => {
                return Err(refused.clone()("an L2CAP listener")(bluer::Error {
                    kind: bluer::ErrorKind::Failed,
                    message: error.to_string(),
                }));
            }
        };
        let server = match config.bearers.gatt() {
            true => Some(Server::start(&adapter).await.map_err(refused("a GATT service"))?),
            false => None,
        };
        if central.as_ref().is_none_or(|central| central.name != adapter.name()) {
            *central = Some(Central::open(adapter.name()).await?);
        }
        let central = central.as_ref().map(|central| central.adapter.clone());
        let central = central.ok_or_else(|| Trouble::Gone(adapter.name().to_owned()))?;
        let turns = Turns::new(config.roles == Roles::Alternate);
        tracing::info!(
            adapter = adapter.name(),
            psm = listener.as_ref().map(Listener::psm),
            "Bluetooth is used"
        );
        Ok((Arc::new(Self { session, adapter, central, own, turns }), Parts { listener, server }))
    }

    pub(super) fn name(&self) -> &str {
        self.adapter.name()
    }

    /// This adapter's own address.
    pub(crate) fn own(&self) -> At {
        self.own
    }

    /// The device with this address, as BlueZ knows it now.
    pub(crate) async fn device(&self, address: Address) -> Option<Peripheral> {
        scan::find(&self.central, address).await
    }

    /// bluer's view of the same device.
    pub(crate) fn remote(&self, address: Address) -> bluer::Result<bluer::Device> {
        self.adapter.device(address)
    }

    /// Has BlueZ forget a device that could not be reached: what it remembers may be why.
    pub(crate) async fn forget(&self, address: Address) {
        if let Err(error) = self.adapter.remove_device(address).await {
            tracing::debug!(%error, "nothing to forget");
        }
    }

    /// Scans, advertises and accepts until the adapter is gone.
    pub(super) async fn run(&self, shared: &Arc<Shared>, parts: Parts, central: &mut Central) -> Trouble {
        let Parts { listener, server } = parts;
        let (psm, gatt) = (listener.as_ref().map(Listener::psm), server.is_some());
        let trouble = tokio::select! {
            trouble = central.run(shared, &self.turns) => trouble,
            trouble = self.watch() => trouble,
            () = advertise::run(shared, &self.adapter, psm, gatt, &self.turns) => self.gone(),
            () = accept::channels(shared, listener) => self.gone(),
            () = accept::clients(shared, server) => self.gone(),
            () = shared.stop.cancelled() => self.gone(),
        };
        central.stop().await;
        trouble
    }

    fn gone(&self) -> Trouble {
        Trouble::Gone(self.name().to_owned())
    }

    /// Returns when the adapter goes or is switched off.
    async fn watch(&self) -> Trouble {
        let streams =
            async { bluer::Result::Ok((self.session.events().await?, self.adapter.events().await?)) };
        let Ok((adapters, properties)) = streams.await else { return self.gone() };
        let removed = adapters.filter(|event| {
            let gone = matches!(event, SessionEvent::AdapterRemoved(name) if name == self.name());
            futures::future::ready(gone)
        });
        let off = properties.filter(|event| {
            let off = matches!(event, AdapterEvent::PropertyChanged(AdapterProperty::Powered(false)));
            futures::future::ready(off)
        });
        tokio::pin!(removed, off);
        tokio::select! {
            _ = removed.next() => self.gone(),
            _ = off.next() => {
                let name = self.name();
                trouble::blocked(name).unwrap_or_else(|| Trouble::Off(name.to_owned()))
            }
        }
    }
}

/// The configured adapter, by name or address; else `hci0`, else the first.
async fn choose(session: &Session, config: &BleConfig) -> Result<Adapter, Trouble> {
    let missing = || Trouble::NoAdapter(config.adapter.clone());
    let mut tries = 0;
    loop {
        let names = session.adapter_names().await.map_err(|error| {
            tracing::debug!(%error, "no list of adapters");
            missing()
        })?;
        if let Some(adapter) = pick(session, config.adapter.as_deref(), names).await {
            return Ok(adapter);
        }
        tries += 1;
        if tries > SETTLE_TRIES {
            return Err(missing());
        }
        tokio::time::sleep(SETTLE).await;
    }
}

async fn pick(session: &Session, wanted: Option<&str>, mut names: Vec<String>) -> Option<Adapter> {
    names.sort();
    let Some(wanted) = wanted else {
        let name = names.iter().find(|name| *name == "hci0").or(names.first())?;
        return session.adapter(name).ok();
    };
    for name in names {
        let adapter = session.adapter(&name).ok()?;
        if name == wanted || adapter.address().await.is_ok_and(|a| a.to_string().eq_ignore_ascii_case(wanted))
        {
            return Some(adapter);
        }
    }
    None
}

/// Makes sure that it is on, or says why it is not.
async fn power(adapter: &Adapter, config: &BleConfig) -> Result<(), Trouble> {
    let name = adapter.name().to_owned();
    for _ in 0..SETTLE_TRIES {
        if adapter.is_powered().await.unwrap_or(false) {
            return Ok(());
        }
        if let Some(blocked) = trouble::blocked(&name) {
            return Err(blocked);
        }
        if config.power_on
            && let Err(error) = adapter.set_powered(true).await
        {
            tracing::debug!(%error, "switching on failed");
        }
        tokio::time::sleep(SETTLE).await;
    }
    Err(trouble::blocked(&name).unwrap_or(Trouble::Off(name)))
}
