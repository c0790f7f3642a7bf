//! Who is let in: raw Ed25519 keys over TLS 1.3 with our ALPN, and nobody else.

use std::sync::Arc;

use pigeon_bundle::NodeSecret;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, version};

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
    let mut config = tls::client_config(&node(1)).unwrap();
    bend(&mut config);
    let crypto = QuicClientConfig::try_from(config).unwrap();
    let client = foreign_client(ClientConfig::new(Arc::new(crypto)));
    handshake(&client, &listener.endpoint, listener.announcement.listening()).await.map(|_| ())
}

/// What becomes of a server that differs from an honest one by `bend`.
async fn server_outcome(bend: impl FnOnce(&mut rustls::ServerConfig)) -> Result<(), (String, String)> {
    let dialler = parts(1);
    let mut config = tls::server_config(&node(2)).unwrap();
    bend(&mut config);
    let crypto = QuicServerConfig::try_from(config).unwrap();
    let config = ServerConfig::with_crypto(Arc::new(crypto));
    let server = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    handshake(&dialler.endpoint, &server, server.local_addr().unwrap()).await.map(|_| ())
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

/// A client that shows one key and signs with another.
#[tokio::test]
async fn a_stolen_public_key_is_refused() {
    #[derive(Debug)]
    struct Thief(Arc<CertifiedKey>);
    impl ResolvesClientCert for Thief {
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
    let shown = |shown: &NodeSecret| {
        let secret = node(1).pkcs8_der();
        let signer =
            rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&secret[..])).unwrap();
        let key = CertifiedKey::new(vec![CertificateDer::from(shown.spki_der().to_vec())], signer);
        Arc::new(Thief(Arc::new(key)))
    };
    assert_eq!(client_outcome(|config| config.client_auth_cert_resolver = shown(&node(1))).await, Ok(()));
    let (_, server) =
        client_outcome(|config| config.client_auth_cert_resolver = shown(&node(3))).await.unwrap_err();
    assert!(server.contains("ignature"), "{server}");
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

/// Early data can be replayed and a ticket outlives a key: a second connection starts from nothing.
#[tokio::test]
async fn nothing_is_resumed() {
    let (dialler, listener) = (parts(1), parts(2));
    let at = listener.announcement.listening();
    let first = handshake(&dialler.endpoint, &listener.endpoint, at).await.unwrap();
    // A round trip, so that tickets, if there were any, would have come.
    let (mut send, mut receive) = first.0.open_bi().await.unwrap();
    send.write_all(b"ping").await.unwrap();
    let (mut back, _) = first.1.accept_bi().await.unwrap();
    back.write_all(b"pong").await.unwrap();
    receive.read_chunk(4, true).await.unwrap().unwrap();
    let second = dialler.endpoint.connect(at, tls::SERVER_NAME).unwrap();
    assert!(second.into_0rtt().is_err(), "a ticket was kept");
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
