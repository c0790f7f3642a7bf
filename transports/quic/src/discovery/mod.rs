//! mDNS-SD: announcing this node and finding others (docs/wire-format.md section 6).

mod announcement;
mod port;
mod session;
mod sightings;

use std::sync::Arc;
use std::time::Duration;

use pigeon_link::{DutyCycle, TransportEvent};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

pub(crate) use announcement::Announcement;
use session::{End, Session};
#[cfg(test)]
pub(crate) use sightings::Sighting;
pub(crate) use sightings::Sightings;

use crate::addresses;
use crate::transport::Shared;

/// The service type.
pub(crate) const SERVICE: &str = "_pigeon._udp.local.";
/// How long to wait before mDNS is tried again.
const RESTART_DELAY: Duration = Duration::from_secs(5);

/// What discovery may be asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// Interfaces have changed.
    Poke,
    /// Ask whether this neighbour is still there; if it does not answer, it is lost.
    Verify {
        /// The sighting.
        token: String,
    },
}

/// The task that discovers, over one mDNS session after the other.
pub(crate) struct Discovery {
    shared: Arc<Shared>,
    announcement: Announcement,
    requests: mpsc::Receiver<Request>,
    wishes: Wishes,
}

/// What the daemon wants of discovery at the moment.
pub(crate) struct Wishes {
    carriage_open: watch::Receiver<bool>,
    duty: watch::Receiver<DutyCycle>,
}

impl Wishes {
    fn carriage_open(&self) -> bool {
        *self.carriage_open.borrow()
    }

    fn duty(&self) -> DutyCycle {
        *self.duty.borrow()
    }
}

impl Discovery {
    pub(crate) fn new(
        shared: Arc<Shared>,
        announcement: Announcement,
        requests: mpsc::Receiver<Request>,
        carriage_open: watch::Receiver<bool>,
        duty: watch::Receiver<DutyCycle>,
    ) -> Self {
        Self { shared, announcement, requests, wishes: Wishes { carriage_open, duty } }
    }

    /// Discovers until the transport stops.
    pub(crate) async fn run(mut self) {
        if !self.shared.config.mdns {
            return self.run_without_mdns().await;
        }
        loop {
            let end = match Session::start(&self.shared, &self.announcement, &self.wishes) {
                Ok(mut session) => {
                    self.report(TransportEvent::Ready).await;
                    let end = session.run(&mut self.requests, &mut self.wishes).await;
                    session.goodbye().await;
                    end
                }
                Err(error) => End::Broken(error),
            };
            let End::Broken(error) = end else { return };
            self.report(TransportEvent::Problem(format!(
                "mDNS does not work: {error}; neighbours are not found, trying again every {} s",
                RESTART_DELAY.as_secs()
            )))
            .await;
            for peer in self.shared.sightings.clear() {
                self.report(TransportEvent::Lost { peer }).await;
            }
            tokio::select! {
                () = sleep(RESTART_DELAY) => {}
                () = self.shared.stop.cancelled() => return,
            }
        }
    }

    async fn run_without_mdns(&mut self) {
        self.report(TransportEvent::Ready).await;
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                request = self.requests.recv() => match request {
                    Some(Request::Poke) => self.shared.live.drop_all_but(&addresses::local_ips()),
                    Some(Request::Verify { .. }) => {}
                    None => return,
                },
            }
        }
    }

    async fn report(&self, event: TransportEvent) {
        report(&self.shared, event).await;
    }
}

/// Tells the daemon, unless it stops meanwhile.
async fn report(shared: &Shared, event: TransportEvent) {
    tokio::select! {
        // Nobody listens any more: the transport is about to stop.
        _gone = shared.events.send(event) => {}
        () = shared.stop.cancelled() => {}
    }
}
