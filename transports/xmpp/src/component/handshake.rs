//! From a TCP connection to an authenticated component stream (XEP-0114).

use std::fmt::Write;

use sha1::{Digest, Sha1};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::handle::ComponentConfig;
use crate::client::dial::{self, Target};
use crate::ns;
use crate::reason::OfflineReason;
use crate::secret::Secret;
use crate::wire::{Item, Wire, With, el};

pub(super) type Stream = Wire<TcpStream>;

/// Connects and proves that we know the secret.
pub(super) async fn connect(
    config: &ComponentConfig,
    domain: &str,
    target: &Target,
) -> Result<Stream, OfflineReason> {
    let tcp = dial::connect(target, config.connect_timeout).await?;
    let shake = handshake(tcp, domain, &config.secret);
    timeout(config.connect_timeout, shake)
        .await
        .map_err(|_elapsed| OfflineReason::Timeout { doing: "the handshake" })?
}

async fn handshake(tcp: TcpStream, domain: &str, secret: &Secret) -> Result<Stream, OfflineReason> {
    let mut wire = Wire::new(tcp, ns::COMPONENT);
    wire.open(domain);
    let id = match next(&mut wire, domain).await? {
        Item::Opened { id: Some(id) } => id,
        _ => return Err(OfflineReason::Protocol { detail: "a stream header without an id".to_owned() }),
    };
    wire.push(&el("handshake", ns::COMPONENT).with_text(proof(&id, secret)));
    match next(&mut wire, domain).await? {
        Item::Element(answer) if answer.is("handshake", ns::COMPONENT) => Ok(wire),
        Item::Element(other) => Err(OfflineReason::unexpected(&other, domain, "<handshake>")),
        _ => Err(OfflineReason::Protocol { detail: "no answer to the handshake".to_owned() }),
    }
}

async fn next(wire: &mut Stream, domain: &str) -> Result<Item, OfflineReason> {
    match wire.next().await.map_err(OfflineReason::broken)? {
        Item::Element(error) if error.is("error", ns::STREAM) => {
            Err(match OfflineReason::stream_error(&error, domain) {
                OfflineReason::StreamEnded { detail } if detail.starts_with("not-authorized") => {
                    OfflineReason::ComponentAuth { domain: domain.to_owned(), detail }
                }
                other => other,
            })
        }
        Item::Closed => Err(OfflineReason::StreamEnded { detail: "during the handshake".to_owned() }),
        item => Ok(item),
    }
}

/// SHA-1 of stream id and secret, in hex: what XEP-0114 section 3 asks for. It protects the secret from nobody who
/// can listen; the stream belongs on loopback.
fn proof(id: &str, secret: &Secret) -> String {
    let digest = Sha1::new().chain_update(id).chain_update(secret.expose()).finalize();
    digest.iter().fold(String::with_capacity(40), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_of_the_standard_s_digest() {
        // SHA-1("abc"), FIPS 180-2 appendix A.1.
        assert_eq!(proof("ab", &Secret::new("c")), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
