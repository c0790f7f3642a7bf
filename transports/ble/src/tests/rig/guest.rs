//! Runs in the guest.

use std::sync::Arc;

use bluer::adv::{Advertisement, AdvertisementHandle};
use bluer::{Adapter, Session};
use btleplug::api::{Central as _, Manager as _, Peripheral as _, ScanFilter};
use btleplug::platform::{Manager, Peripheral};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use pigeon_harness::ble::Air;
use pigeon_link::Role;
use pigeon_link::contract::{Pair, Rig, step};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::SERVICE;
use crate::bearer::gatt_server::Server;
use crate::bearer::l2cap::{self, At, Listener};
use crate::bearer::{Bearer, gatt_client};
use crate::dial::raw_link;
use crate::tests::{node, shared};

/// hci0 dials hci1.
struct Radio {
    air: Air,
    dialler: At,
    listener: At,
    _session: Session,
    adapter: Adapter,
    _advertised: AdvertisementHandle,
}

async fn at(adapter: &Adapter) -> At {
    (adapter.address().await.unwrap(), adapter.address_type().await.unwrap())
}

impl Radio {
    async fn new() -> Self {
        let session = Session::new().await.unwrap();
        let (dialling, adapter) = (session.adapter("hci0").unwrap(), session.adapter("hci1").unwrap());
        let shown = Advertisement {
            service_uuids: [SERVICE].into_iter().collect(),
            discoverable: Some(true),
            ..Advertisement::default()
        };
        Self {
            air: Air::clear().unwrap(),
            dialler: at(&dialling).await,
            listener: at(&adapter).await,
            _advertised: adapter.advertise(shown).await.unwrap(),
            adapter,
            _session: session,
        }
    }

    /// Links two ends of a bearer, each as soon as it is there: a GATT server hears of its client by the first write.
    async fn pair(
        &self,
        dialled: impl Future<Output = Bearer>,
        accepted: impl Future<Output = Bearer>,
    ) -> Pair {
        let (a, b) = (shared(1), shared(2));
        let dialler =
            async { raw_link(&a, dialled.await, Role::Dialler, self.listener, None).await.unwrap() };
        let listener =
            async { raw_link(&b, accepted.await, Role::Listener, self.dialler, None).await.unwrap() };
        let (dialler, listener) = step("a link", async { tokio::join!(dialler, listener) }).await;
        Pair { dialler, listener, dialler_node: node(1), listener_node: node(2) }
    }
}

struct L2capRig {
    radio: Radio,
    listener: Listener,
}

impl L2capRig {
    async fn new() -> Self {
        let radio = Radio::new().await;
        let listener = Listener::bind(radio.listener).unwrap();
        Self { radio, listener }
    }

    async fn connect(&self) -> Pair {
        let dialled = l2cap::connect(self.radio.dialler, self.radio.listener, self.listener.psm());
        let accepted = async {
            let (bearer, from) = self.listener.accept().await.unwrap();
            assert_eq!(from, self.radio.dialler);
            bearer
        };
        self.radio.pair(async { dialled.await.unwrap() }, accepted).await
    }
}

impl Rig for L2capRig {
    fn pair(&self) -> BoxFuture<'_, Pair> {
        self.connect().boxed()
    }

    fn cut(&self) -> BoxFuture<'_, ()> {
        self.radio.air.set_apart(&[(0, 1)]).unwrap();
        async {}.boxed()
    }
}

mod l2cap_channels {
    use super::L2capRig;
    pigeon_link::contract_tests! {
        #[tokio::test]
        #[ignore = "runs in the Bluetooth guest"]
        rig = L2capRig::new().await
    }
}

struct GattRig {
    radio: Radio,
    server: Arc<Mutex<Server>>,
    peer: Peripheral,
}

impl GattRig {
    async fn new() -> Self {
        let radio = Radio::new().await;
        let server = Arc::new(Mutex::new(Server::start(&radio.adapter).await.unwrap()));
        let peer = step("finding hci1", find(&radio)).await;
        Self { radio, server, peer }
    }

    async fn connect(&self) -> Pair {
        let mut server = self.server.lock().await;
        let dialled = async {
            self.peer.connect().await.unwrap();
            gatt_client::open(self.peer.clone(), CancellationToken::new().drop_guard()).await.unwrap()
        };
        self.radio.pair(dialled, async { server.accept().await.unwrap().0 }).await
    }
}

async fn find(radio: &Radio) -> Peripheral {
    let manager = Manager::new().await.unwrap();
    for adapter in manager.adapters().await.unwrap() {
        if !adapter.adapter_info().await.unwrap().starts_with("hci0 ") {
            continue;
        }
        let mut events = adapter.events().await.unwrap();
        adapter.start_scan(ScanFilter { services: vec![SERVICE] }).await.unwrap();
        loop {
            let all = adapter.peripherals().await.unwrap();
            let found = all.into_iter().find(|p| p.address().into_inner() == radio.listener.0.0);
            if let Some(found) = found {
                adapter.stop_scan().await.unwrap();
                return found;
            }
            events.next().await.unwrap();
        }
    }
    panic!("no hci0")
}

impl Rig for GattRig {
    fn pair(&self) -> BoxFuture<'_, Pair> {
        self.connect().boxed()
    }

    fn cut(&self) -> BoxFuture<'_, ()> {
        self.radio.air.set_apart(&[(0, 1)]).unwrap();
        async {}.boxed()
    }
}

/// All but the one that needs two links at a time: a server has one client.
macro_rules! on_gatt {
    ($($name:ident)*) => {$(
        #[tokio::test]
        #[ignore = "runs in the Bluetooth guest"]
        async fn $name() {
            pigeon_link::contract::$name(&GattRig::new().await).await;
        }
    )*};
}

mod gatt_characteristics {
    use super::GattRig;
    on_gatt! {
        both_directions_carry
        many_frames_keep_their_order
        largest_frame_passes
        oversize_frame_ends_the_link
        empty_frame_ends_the_link
        peers_learn_each_others_key
        wrong_auth_is_refused
        wrong_key_is_refused
        close_is_seen_after_what_was_queued
        drop_is_seen_after_what_was_queued
        one_direction_may_end_first
        reader_may_leave_first
        silent_peer_is_noticed
        backpressure_is_bounded
    }
}
