//! Who may complete a TLS handshake: whoever shows a raw Ed25519 public key (RFC 7250) and signs with it.
//!
//! TLS proves that the peer holds the key; whose key it is, `Auth` says afterwards, over the channel binding.

use std::sync::Arc;

use pigeon_bundle::{NodeKey, NodeSecret};
use quinn::Connection;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme,
};

use crate::QuicError;

/// docs/wire-format.md section 6.
pub(crate) const ALPN: &[u8] = b"pigeon/1";
const EXPORTER_LABEL: &[u8] = b"EXPORTER-CarrierPigeon-1";
/// TLS wants a name; it is not sent, and nobody checks it.
pub(crate) const SERVER_NAME: &str = "pigeon.invalid";

/// What a connection has proved.
pub(crate) struct Proved {
    /// The key that the peer signed the handshake with.
    pub(crate) peer: NodeKey,
    /// The channel binding.
    pub(crate) binding: [u8; 32],
}

/// Reads what TLS has proved. `None` only before the handshake is over.
pub(crate) fn proved(connection: &Connection) -> Option<Proved> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let peer = NodeKey::from_spki_der(identity.first()?)?;
    let mut binding = [0; 32];
    connection.export_keying_material(&mut binding, EXPORTER_LABEL, b"").ok()?;
    Some(Proved { peer, binding })
}

/// The listening side.
pub(crate) fn server(node: &NodeSecret) -> Result<QuicServerConfig, QuicError> {
    Ok(QuicServerConfig::try_from(server_config(node)?)?)
}

/// The dialling side.
pub(crate) fn client(node: &NodeSecret) -> Result<QuicClientConfig, QuicError> {
    Ok(QuicClientConfig::try_from(client_config(node)?)?)
}

pub(crate) fn server_config(node: &NodeSecret) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(NodeVerifier::new()))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(raw_key(node)?)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // No resumption and no 0-RTT, each line by itself: early data can be replayed, and a ticket would outlive a key rotation.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

pub(crate) fn client_config(node: &NodeSecret) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NodeVerifier::new()))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(raw_key(node)?)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn raw_key(node: &NodeSecret) -> Result<Arc<CertifiedKey>, Error> {
    let secret = node.pkcs8_der();
    let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&secret[..]))?;
    let spki = CertificateDer::from(node.spki_der().to_vec());
    Ok(Arc::new(CertifiedKey::new(vec![spki], signer)))
}

/// Takes any raw Ed25519 key and nothing else.
#[derive(Debug)]
struct NodeVerifier(WebPkiSupportedAlgorithms);

impl NodeVerifier {
    fn new() -> Self {
        Self(ring::default_provider().signature_verification_algorithms)
    }

    fn check(key: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        match NodeKey::from_spki_der(key) {
            Some(_) if chain.is_empty() => Ok(()),
            _ => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.scheme != SignatureScheme::ED25519 {
            return Err(PeerIncompatible::NoSignatureSchemesInCommon.into());
        }
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_ref()),
            signature,
            &self.0,
        )
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for NodeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
