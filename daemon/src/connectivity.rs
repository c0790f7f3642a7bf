//! Tells when an interface, address or route changes, by rtnetlink multicast groups (`man 7 rtnetlink`).
//!
//! What changed is not read: a change is only a reason to look again now instead of at the next back-off.

use std::io;

use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

// linux/rtnetlink.h, the RTMGRP_* bits.
const LINK: u32 = 0x1;
const IPV4_ADDRESS: u32 = 0x10;
const IPV4_ROUTE: u32 = 0x40;
const IPV6_ADDRESS: u32 = 0x100;
const IPV6_ROUTE: u32 = 0x400;

/// Starts watching. The returned value counts changes; it never decreases.
///
/// # Errors
/// When the kernel refuses the netlink socket (no netlink in a sandbox): the node then relies on its back-offs.
pub fn watch_changes(cancel: CancellationToken) -> io::Result<watch::Receiver<u64>> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let groups = LINK | IPV4_ADDRESS | IPV4_ROUTE | IPV6_ADDRESS | IPV6_ROUTE;
    socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                () = cancel.cancelled() => return,
                message = socket.recv_from_full() => message,
            };
            if let Err(error) = message {
                // ENOBUFS: messages were lost, which is itself a change. Anything else ends the watch.
                if error.raw_os_error() != Some(105) {
                    tracing::warn!(%error, "netlink watch ended; changes of the network are noticed late");
                    return;
                }
            }
            sender.send_modify(|count| *count += 1);
        }
    });
    Ok(receiver)
}
