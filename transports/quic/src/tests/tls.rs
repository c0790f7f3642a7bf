//! Who is let in: raw Ed25519 keys over TLS 1.3 with our ALPN, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{NamedGroup, SignatureScheme, version};

use super::{foreign_client, handshake, node, parts};
use crate::tls;

/// An X.509 chain of one, as a TLS peer without RFC 7250 has it. Nobody gets as far as to parse it.
#[derive(Debug)]
struct Certificate(Arc<CertifiedKey>);

impl Certificate {
    fn new() -> Arc<Self> {
        let secret = node(7).pkcs8_der();
        let signer =
            rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&secret[..])).unwrap();
        let chain = vec![CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01])];
        Arc::new(Self(Arc::new(CertifiedKey::new(chain, signer))))
    }
}

impl ResolvesClientCert for Certificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// What becomes of a client that differs from an honest one by `bend`.
async fn client_outcome(bend: impl FnOnce(&mut rustls::ClientConfig)) -> Result<(), (String, String)> {
    let listener = parts(2);
    handshake(&client(bend), &listener.endpoint, listener.announcement.listening()).await.map(|_| ())
}

/// What becomes of a server that differs from an honest one by `bend`.
async fn server_outcome(bend: impl FnOnce(&mut rustls::ServerConfig)) -> Result<(), (String, String)> {
    let server = server(bend);
    handshake(&parts(1).endpoint, &server, server.local_addr().unwrap()).await.map(|_| ())
}

#[tokio::test]
async fn an_honest_peer_is_let_in() {
    assert_eq!(client_outcome(|_| {}).await, Ok(()));
    assert_eq!(server_outcome(|_| {}).await, Ok(()));
}

#[tokio::test]
async fn another_protocol_is_refused() {
    for protocols in [vec![b"pigeon/2".to_vec()], vec![b"h3".to_vec()], vec![]] {
        let (client, server) =
            client_outcome(|config| config.alpn_protocols = protocols.clone()).await.unwrap_err();
        assert!(server.contains("error 120"), "no_application_protocol: {client} / {server}");
    }
    let (client, _) =
        server_outcome(|config| config.alpn_protocols = vec![b"h3".to_vec()]).await.unwrap_err();
    assert!(client.contains("error 120"), "no_application_protocol: {client}");
}

#[tokio::test]
async fn a_certificate_is_refused_from_either_side() {
    let (_, server) =
        client_outcome(|config| config.client_auth_cert_resolver = Certificate::new()).await.unwrap_err();
    assert!(server.contains("IncorrectCertificateType"), "{server}");
    let (client, _) = server_outcome(|config| config.cert_resolver = Certificate::new()).await.unwrap_err();
    assert!(client.contains("ertificateType"), "{client}");
}

/// A client with no key of its own.
#[tokio::test]
async fn an_anonymous_client_is_refused() {
    #[derive(Debug)]
    struct Nobody;
    impl ResolvesClientCert for Nobody {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }
        fn only_raw_public_keys(&self) -> bool {
            true
        }
        fn has_certs(&self) -> bool {
            false
        }
    }
    let (client, server) =
        client_outcome(|config| config.client_auth_cert_resolver = Arc::new(Nobody)).await.unwrap_err();
    assert!(server.contains("no certificates") || server.contains("certificate"), "{client} / {server}");
}

/// A client key of the test's own making.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
    fn only_raw_public_keys(&self) -> bool {
        true
    }
    fn has_certs(&self) -> bool {
        true
    }
}

/// A client that shows these entries and signs as node 1.
async fn showing(entries: Vec<Vec<u8>>) -> Result<(), (String, String)> {
    let secret = node(1).pkcs8_der();
    let signer = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&secret[..])).unwrap();
    let entries = entries.into_iter().map(CertificateDer::from).collect();
    let shown = Arc::new(Shown(Arc::new(CertifiedKey::new(entries, signer))));
    client_outcome(|config| config.client_auth_cert_resolver = shown).await
}

#[tokio::test]
async fn a_stolen_public_key_is_refused() {
    assert_eq!(showing(vec![node(1).spki_der().to_vec()]).await, Ok(()));
    let (_, server) = showing(vec![node(3).spki_der().to_vec()]).await.unwrap_err();
    assert!(server.contains("ignature"), "{server}");
}

/// A raw key is one entry of 44 bytes: nothing comes behind it, and it has one encoding.
#[tokio::test]
async fn what_is_no_single_raw_key_is_refused() {
    let own = node(1).spki_der().to_vec();
    let mut long = own.clone();
    long.push(0);
    for entries in [vec![own.clone(), own], vec![long], vec![vec![0x30, 0]], vec![vec![]]] {
        let (client, server) = showing(entries.clone()).await.unwrap_err();
        assert!(!server.is_empty(), "{entries:?}: {client}");
    }
}

/// TLS 1.2 does not fit into QUIC; that the configuration excludes it is shown over a pipe.
#[test]
fn tls_1_2_is_refused() {
    let outcome = |version: &'static rustls::SupportedProtocolVersion| {
        let mut config = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![tls::ALPN.to_vec()];
        let name = ServerName::try_from(tls::SERVER_NAME).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let server = Arc::new(tls::server_config(&node(2)).unwrap());
        let mut server = rustls::ServerConnection::new(server).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        server.read_tls(&mut &hello[..]).unwrap();
        server.process_new_packets().unwrap_err()
    };
    let old = outcome(&version::TLS12);
    assert!(
        old.to_string().contains("SupportedVersionsExtensionRequired") || old.to_string().contains("Tls1"),
        "{old}"
    );
    let new = outcome(&version::TLS13);
    assert!(!new.to_string().contains("Tls1") && !new.to_string().contains("SupportedVersions"), "{new}");
}

/// Counts tickets.
#[derive(Debug, Default)]
struct Tickets(AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// A server that differs from ours by `bend`.
fn server(bend: impl FnOnce(&mut rustls::ServerConfig)) -> Endpoint {
    let mut config = tls::server_config(&node(2)).unwrap();
    bend(&mut config);
    let crypto = QuicServerConfig::try_from(config).unwrap();
    let config = ServerConfig::with_crypto(Arc::new(crypto));
    Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// A client that differs from ours by `bend`.
fn client(bend: impl FnOnce(&mut rustls::ClientConfig)) -> Endpoint {
    let mut config = tls::client_config(&node(1)).unwrap();
    bend(&mut config);
    foreign_client(ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap())))
}

/// One connection with a round trip after the handshake: tickets, if there are any, have come.
async fn meet(client: &Endpoint, server: &Endpoint) {
    let (dialled, accepted) = handshake(client, server, server.local_addr().unwrap()).await.unwrap();
    let (mut send, mut receive) = dialled.open_bi().await.unwrap();
    send.write_all(b"ping").await.unwrap();
    let (mut back, _) = accepted.accept_bi().await.unwrap();
    back.write_all(b"pong").await.unwrap();
    receive.read_chunk(4, true).await.unwrap().unwrap();
}

fn generous(config: &mut rustls::ServerConfig) {
    config.send_tls13_tickets = 2;
    config.session_storage = ServerSessionMemoryCache::new(8);
    config.max_early_data_size = u32::MAX;
}

/// Early data can be replayed, and a ticket would outlive a key: our server gives none.
#[tokio::test]
async fn no_ticket_is_given() {
    let tickets = async |server: &Endpoint| {
        let store = Arc::new(Tickets::default());
        let kept = Arc::clone(&store);
        meet(&client(|config| config.resumption = Resumption::store(kept)), server).await;
        store.0.load(Ordering::Relaxed)
    };
    assert_eq!(tickets(&server(|_| {})).await, 0);
    assert!(tickets(&server(generous)).await > 0, "the client above does take tickets");
}

/// Our client keeps none, even from a server that gives them.
#[tokio::test]
async fn no_ticket_is_kept() {
    let resumes = async |client: Endpoint| {
        let server = server(generous);
        meet(&client, &server).await;
        client.connect(server.local_addr().unwrap(), tls::SERVER_NAME).unwrap().into_0rtt().is_ok()
    };
    assert!(!resumes(client(|_| {})).await);
    let careless = client(|config| {
        config.resumption = Resumption::in_memory_sessions(8);
        config.enable_early_data = true;
    });
    assert!(resumes(careless).await, "the server above does resume");
}

/// Both ends agree on a binding of the label in wire-format section 6.
#[tokio::test]
async fn the_binding_is_the_exporter_of_the_wire_format() {
    let (dialler, listener) = (parts(1), parts(2));
    let at = listener.announcement.listening();
    let (dialled, accepted) = handshake(&dialler.endpoint, &listener.endpoint, at).await.unwrap();
    let mut exported = [0; 32];
    dialled.export_keying_material(&mut exported, b"EXPORTER-CarrierPigeon-1", b"").unwrap();
    let (at_dialler, at_listener) = (tls::proved(&dialled).unwrap(), tls::proved(&accepted).unwrap());
    assert_eq!((at_dialler.binding, at_listener.binding), (exported, exported));
    assert_eq!((at_dialler.peer, at_listener.peer), (node(2).key(), node(1).key()));
}
