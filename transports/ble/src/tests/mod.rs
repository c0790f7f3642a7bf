//! Links over a bearer within the process: everything above the radio.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::large_futures, reason = "tests")]

mod contract;
mod flow;
mod hostile;
mod rig;

use std::sync::Arc;
use std::time::Duration;

use bluer::{Address, AddressType};
use pigeon_bundle::NodeSecret;
use pigeon_link::contract::hello;
use pigeon_link::{RawLink, Role};
use tokio_util::sync::CancellationToken;

use crate::BleConfig;
use crate::bearer::Bearer;
use crate::bearer::l2cap::At;
use crate::dial::raw_link;
use crate::transport::Shared;

pub(crate) fn node(number: u8) -> NodeSecret {
    NodeSecret::from_secret_bytes(&[number; 32])
}

pub(crate) fn at(number: u8) -> At {
    (Address([0, 0, 0, 0, 0, number]), AddressType::LePublic)
}

/// What a transport's tasks share, without a radio.
pub(crate) fn shared(number: u8) -> Arc<Shared> {
    patient(number, Duration::from_millis(1_500))
}

/// The same, with links that are over after so long a silence.
pub(crate) fn patient(number: u8, idle: Duration) -> Arc<Shared> {
    let patience = (idle, idle / 4);
    let config = BleConfig { idle_timeout: patience.0, keep_alive: patience.1, ..BleConfig::default() };
    let stop = CancellationToken::new();
    let (shared, mut events) = Shared::new(config, node(number), Box::new(|| hello(true)), stop).unwrap();
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    shared
}

/// Two ends of a link over two ends of a bearer.
pub(crate) async fn linked(dialler: Bearer, listener: Bearer) -> (RawLink, RawLink) {
    let (a, b) = (shared(1), shared(2));
    let (dialler, listener) = tokio::join!(
        raw_link(&a, dialler, Role::Dialler, at(2)),
        raw_link(&b, listener, Role::Listener, at(1)),
    );
    (dialler.unwrap(), listener.unwrap())
}
