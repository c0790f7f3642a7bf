//! Real UDP on loopback, two endpoints in one process.
#![allow(clippy::unwrap_used, reason = "tests")]

mod contract;
mod stream;
mod tls;
mod transport;

use std::net::SocketAddr;
use std::time::Duration;

use pigeon_bundle::NodeSecret;
use pigeon_link::contract::hello;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio_util::sync::CancellationToken;

use crate::QuicConfig;
use crate::transport::Parts;

fn node(number: u8) -> NodeSecret {
    NodeSecret::from_secret_bytes(&[number; 32])
}

/// Loopback, no discovery, links that are soon found dead.
fn config() -> QuicConfig {
    QuicConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        mdns: false,
        idle_timeout: Duration::from_millis(1_500),
        keep_alive: Duration::from_millis(300),
        ..QuicConfig::default()
    }
}

/// A socket on which nothing accepts by itself.
fn parts(number: u8) -> Parts {
    parts_with(config(), number)
}

fn parts_with(config: QuicConfig, number: u8) -> Parts {
    Parts::prepare(config, node(number), Box::new(|| hello(true)), CancellationToken::new()).unwrap()
}

/// A QUIC client of the test's own making.
fn foreign_client(config: ClientConfig) -> Endpoint {
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// Both ends of a connection, or what both sides have against it.
async fn handshake(
    client: &Endpoint,
    server: &Endpoint,
    at: SocketAddr,
) -> Result<(Connection, Connection), (String, String)> {
    let dial = client.connect(at, crate::tls::SERVER_NAME).unwrap();
    let accept = async {
        let incoming = server.accept().await.unwrap();
        // Keep the endpoint going until both sides know.
        incoming.await
    };
    let (dialled, accepted) =
        pigeon_link::contract::step("handshake", async { tokio::join!(dial, accept) }).await;
    match (dialled, accepted) {
        (Ok(dialled), Ok(accepted)) => Ok((dialled, accepted)),
        // TLS 1.3: a client is done before the server has judged it, and hears of a refusal afterwards.
        (Ok(dialled), Err(accepted)) => {
            let told = pigeon_link::contract::step("client is told", dialled.closed()).await;
            Err((told.to_string(), accepted.to_string()))
        }
        (Err(dialled), Ok(_)) => Err((dialled.to_string(), String::new())),
        (Err(dialled), Err(accepted)) => Err((dialled.to_string(), accepted.to_string())),
    }
}
