//! A component that does nothing but answer: what the server alone can carry.

use bytes::Bytes;
use carrier_pigeon::bridge::desk;
use carrier_pigeon::bridge::judge::FALLBACK_BODY;
use pigeon_harness::Server;
use pigeon_xmpp::{ComponentConfig, ComponentEvent, Delivery, Secret, SendError, spawn_component};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How the component answers an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An ordinary message with the same bundle back to who sent it: the server archives it for its recipient, and what it
    /// answers for its author where that was sent to a user ([`Echo::user`]), so that one there and back makes what a delivery makes.
    Chat,
    /// The same, and nothing is archived.
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
    /// Somebody at the component. Servers archive what is sent to users; Prosody nothing that is sent to a component itself.
    pub(crate) fn user(&self) -> String {
        format!("echo@{}", self.name)
    }

    /// Logs in as the second component of `server`.
    pub(crate) async fn start(server: &Server, answer: Answer) -> Self {
        let name = server.spec().shard_names().remove(0);
        let secret = Secret::new(server.spec().component_secret.clone());
        let mut config = ComponentConfig::new(&name, secret, server.component_addr().to_string());
        config.host = Some(server.spec().domain.clone());
        // An echo is from the component itself, and needs no right to speak as anybody.
        config.unchecked_senders = answer == Answer::Chat;
        let end = CancellationToken::new();
        let (handle, mut events) = spawn_component(config, end.clone()).unwrap();
        while !matches!(events.recv().await.unwrap(), ComponentEvent::Online { privilege_ns: Some(_) }) {}
        let (host, own) = (server.spec().domain.clone(), name.clone());
        tokio::spawn(async move {
            let mut number = 0_u64;
            while let Some(event) = events.recv().await {
                let ComponentEvent::Upload { from, bundles, .. } = event else { continue };
                for bundle in bundles.into_iter().map(Bytes::from) {
                    number += 1;
                    match answer {
                        Answer::Chat => {
                            let to = from.split_once('/').map_or(&*from, |(bare, _)| bare);
                            let message = ordinary(&own, to, number, bundle);
                            patiently(|| handle.deliver(message.clone())).await;
                        }
                        Answer::Echo => {
                            let id = format!("{number:032x}");
                            patiently(|| handle.hand_out(&from, &id, bundle.clone())).await;
                        }
                        Answer::AsTheBridge => {
                            let [author, recipient] =
                                ["elaine", "jerry"].map(|name| format!("{name}@{host}"));
                            let message = ordinary(&author, &recipient, number, bundle);
                            patiently(|| handle.deliver(message.clone())).await;
                            patiently(|| handle.verdict(&from, &VERDICT, None)).await;
                        }
                    }
                }
            }
        });
        Self { name, _end: end.drop_guard() }
    }
}

/// A message as the bridge sends it in its author's name, and as the author would send it: the text for clients that know
/// nothing of bundles, the bundle, and what servers go by when they archive it. `number` makes its ids.
pub(crate) fn ordinary(author: &str, recipient: &str, number: u64, bundle: Bytes) -> Delivery {
    Delivery {
        author: author.to_owned(),
        recipient: recipient.to_owned(),
        message_id_hex: format!("{number:032x}"),
        origin_id_hex: format!("{number:064x}"),
        sent_ms: 1_800_000_000_000,
        body: Some(FALLBACK_BODY.to_owned()),
        bundle: Some(bundle),
    }
}

async fn patiently<F: Future<Output = Result<(), SendError>>>(send: impl FnMut() -> F) {
    desk::patiently(send).await.unwrap();
}
