//! Whether the mDNS port can be had at all: the engine itself would say nothing and find nobody.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

const PORT: u16 = 5353;

/// Tries to share the port as the engine does, over IPv4 and IPv6.
///
/// # Errors
/// Neither can be had: what is wrong and what to do.
pub(super) fn check() -> Result<(), String> {
    match (share(Ipv4Addr::UNSPECIFIED.into()), share(Ipv6Addr::UNSPECIFIED.into())) {
        (Err(v4), Err(v6)) => Err(format!(
            "UDP port {PORT} cannot be shared (IPv4: {v4}; IPv6: {v6}): stop the program that keeps it to itself"
        )),
        (Err(error), Ok(())) => {
            tracing::warn!(%error, "mDNS over IPv6 only");
            Ok(())
        }
        (Ok(()), Err(error)) => {
            tracing::debug!(%error, "mDNS over IPv4 only");
            Ok(())
        }
        (Ok(()), Ok(())) => Ok(()),
    }
}

fn share(any: std::net::IpAddr) -> io::Result<()> {
    let family = if any.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    if any.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(bind(&socket, &SocketAddr::new(any, PORT))?)
}
