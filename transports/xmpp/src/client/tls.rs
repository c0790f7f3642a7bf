//! TLS of the client session.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore};

use super::ConfigError;
use crate::reason::OfflineReason;

/// Trusts the system's authorities and those in `ca_file`.
pub(super) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        add(&mut roots, path).map_err(|detail| ConfigError::CaFile { path: path.to_owned(), detail })?;
    }
    if roots.is_empty() {
        return Err(ConfigError::NoRoots);
    }
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        // Cannot happen: ring implements both versions that rustls knows.
        .map_err(|_| ConfigError::NoRoots)
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let mut added = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        added += 1;
    }
    if added == 0 { Err("it holds no certificate".to_owned()) } else { Ok(()) }
}

/// Why a handshake failed.
pub(super) fn reason(error: &io::Error) -> OfflineReason {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return OfflineReason::StreamEnded { detail: format!("during the TLS handshake: {error}") };
    };
    let remedy = match tls {
        // A bad signature is what an authority of the right name and the wrong key looks like.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "if the server's certificate comes from an authority of your own, set it as CA file"
        }
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "check this machine's clock; if it is right, the server needs a new certificate",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate must name the domain of the JID",
        Error::InvalidCertificate(_) => "the server needs another certificate",
        _ => "check that the port is right: STARTTLS and direct TLS use different ones",
    };
    OfflineReason::Tls { detail: tls.to_string(), remedy }
}
