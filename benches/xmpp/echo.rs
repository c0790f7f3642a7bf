//! A component that does nothing but answer: what the server alone can carry.

use pigeon_harness::Server;
use pigeon_xmpp::{
    ComponentConfig, ComponentEvent, ComponentHandle, Delivery, Secret, SendError, spawn_component,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How the component answers an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The same message back to who sent it.
    Echo,
    /// The bridge's stanzas: a delivery as its author, and as many bytes as a verdict has, without looking at anything.
    AsTheBridge,
}

/// A running one; it ends with the value.
pub(crate) struct Echo {
    /// Its address.
    pub(crate) name: String,
    _end: DropGuard,
}

/// A verdict's size.
const VERDICT: [u8; 144] = [7; 144];

impl Echo {
    /// Logs in as the second component of `server`.
    pub(crate) async fn start(server: &Server, answer: Answer) -> Self {
        let name = server.spec().shard_names().remove(0);
        let secret = Secret::new(server.spec().component_secret.clone());
        let mut config = ComponentConfig::new(&name, secret, server.component_addr().to_string());
        config.host = Some(server.spec().domain.clone());
        let end = CancellationToken::new();
        let (handle, mut events) = spawn_component(config, end.clone()).unwrap();
        while !matches!(events.recv().await.unwrap(), ComponentEvent::Online { privilege_ns: Some(_) }) {}
        let host = server.spec().domain.clone();
        tokio::spawn(async move {
            let mut number = 0_u64;
            while let Some(event) = events.recv().await {
                if let ComponentEvent::Upload { from, bytes, .. } = event {
                    number += 1;
                    reply(&handle, answer, &host, &from, bytes, number).await;
                }
            }
        });
        Self { name, _end: end.drop_guard() }
    }
}

async fn reply(
    handle: &ComponentHandle,
    answer: Answer,
    host: &str,
    from: &str,
    bytes: Vec<u8>,
    number: u64,
) {
    let (id, bytes) = (format!("{number:032x}"), bytes::Bytes::from(bytes));
    match answer {
        Answer::Echo => patiently(|| handle.hand_out(from, &id, bytes.clone())).await,
        Answer::AsTheBridge => {
            let delivery = Delivery {
                author: format!("elaine@{host}"),
                recipient: format!("jerry@{host}"),
                message_id_hex: id,
                origin_id_hex: format!("{number:064x}"),
                sent_ms: 1_800_000_000_000,
                body: Some(carrier_pigeon::bridge::judge::FALLBACK_BODY.to_owned()),
                bundle: Some(bytes),
            };
            patiently(|| handle.deliver(delivery.clone())).await;
            patiently(|| handle.verdict(from, &VERDICT, None)).await;
        }
    }
}

async fn patiently<F: Future<Output = Result<(), SendError>>>(send: impl FnMut() -> F) {
    carrier_pigeon::bridge::desk::patiently(send).await.unwrap();
}
