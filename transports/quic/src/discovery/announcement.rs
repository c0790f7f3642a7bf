//! What this node announces.

use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use mdns_sd::{Error, ServiceInfo};

use super::SERVICE;

/// The names of this transport, random, and its port. They say nothing of who runs it and end with it.
pub(crate) struct Announcement {
    instance: String,
    host: String,
    listening: SocketAddr,
}

impl Announcement {
    pub(crate) fn new(listening: SocketAddr) -> Result<Self, getrandom::Error> {
        Ok(Self { instance: random_name()?, host: format!("{}.local.", random_name()?), listening })
    }

    /// Where the socket listens.
    pub(crate) fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// The instance name, without the service type.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// The instance name as mDNS knows it.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{SERVICE}", self.instance)
    }

    /// The records to announce. Addresses are those of each interface.
    pub(crate) fn service(&self, carriage_open: bool) -> Result<ServiceInfo, Error> {
        let carriage = if carriage_open { "1" } else { "0" };
        let text = [("v", "1"), ("c", carriage)];
        let service =
            ServiceInfo::new(SERVICE, &self.instance, &self.host, "", self.listening.port(), &text[..])?;
        let mut service = service.enable_addr_auto();
        // Nobody else has a 128-bit random name: probing for it (RFC 6762 section 8.1) would only cost 750 ms.
        service.set_requires_probe(false);
        Ok(service)
    }
}

fn random_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(HEXLOWER.encode(&bytes))
}
