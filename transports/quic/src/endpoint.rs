//! The one UDP socket and QUIC's limits on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use pigeon_bundle::NodeSecret;
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::{HANDSHAKES_MAX, QuicConfig, QuicError, tls};

/// Bytes in flight on a link, each way. Enough for 1 Gbit/s at 8 ms.
const WINDOW_BYTES: u32 = 1 << 20;
/// Bytes kept for a connection before it is accepted or refused.
const INCOMING_BUFFER_BYTES: u64 = 16 << 10;

/// Opens the socket, ready to dial and to accept. Must be called within a tokio runtime.
pub(crate) fn open(config: &QuicConfig, node: &NodeSecret) -> Result<Endpoint, QuicError> {
    let mut server = ServerConfig::with_crypto(Arc::new(tls::server(node)?));
    server.transport_config(Arc::new(transport(config, 1)?));
    server.max_incoming(HANDSHAKES_MAX);
    server.incoming_buffer_size(INCOMING_BUFFER_BYTES);
    server.incoming_buffer_size_total(INCOMING_BUFFER_BYTES * HANDSHAKES_MAX as u64);
    let mut client = ClientConfig::new(Arc::new(tls::client(node)?));
    client.transport_config(Arc::new(transport(config, 0)?));

    let bound = |source| QuicError::Bind { listen: config.listen, source };
    let socket = open_socket(config.listen).map_err(bound)?;
    let runtime = Arc::new(TokioRuntime);
    let mut endpoint =
        Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).map_err(bound)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// Limits of a connection whose peer may open `streams` of them. Segmentation offload is on by default.
fn transport(config: &QuicConfig, streams: u32) -> Result<TransportConfig, QuicError> {
    let idle = IdleTimeout::try_from(config.idle_timeout).map_err(|_| QuicError::Setting {
        setting: "idle_timeout",
        max_s: Duration::from_millis(VarInt::MAX.into_inner()).as_secs(),
    })?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(WINDOW_BYTES.into())
        .receive_window(WINDOW_BYTES.into())
        .send_window(u64::from(WINDOW_BYTES))
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(config.keep_alive));
    Ok(transport)
}

fn open_socket(listen: SocketAddr) -> io::Result<UdpSocket> {
    match bound_socket(listen) {
        Err(_) if listen.is_ipv6() && listen.ip().is_unspecified() => {
            bound_socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, listen.port())))
        }
        outcome => outcome,
    }
}

/// A socket that serves IPv4 too when it is bound to `[::]`, whatever the system's default.
fn bound_socket(listen: SocketAddr) -> io::Result<UdpSocket> {
    let family = if listen.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if listen.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &listen)?;
    Ok(socket.into())
}
