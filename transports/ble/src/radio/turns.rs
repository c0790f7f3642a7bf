//! Who may use the radio for what: scanning rests while somebody connects, and, where the controller cannot do
//! both, while it advertises.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::timeout;

/// Scanning that does not stop within this time is not waited for.
const STOP_MAX: Duration = Duration::from_secs(3);

/// The order in which scanning, advertising and connecting take place.
pub(crate) struct Turns {
    /// One connects at a time.
    connecting: Mutex<()>,
    /// How many want silence.
    holds: watch::Sender<usize>,
    scanning: watch::Sender<bool>,
    /// Advertising has to rest while scanning goes on.
    alternate: watch::Sender<bool>,
}

impl Turns {
    pub(super) fn new(alternate: bool) -> Self {
        Self {
            connecting: Mutex::new(()),
            holds: watch::Sender::new(0),
            scanning: watch::Sender::new(false),
            alternate: watch::Sender::new(alternate),
        }
    }

    /// Waits until nobody else connects.
    pub(crate) async fn connect(&self) -> MutexGuard<'_, ()> {
        self.connecting.lock().await
    }

    /// Stops scanning until the guard is dropped. Returns when it has stopped.
    pub(crate) async fn quiet(&self) -> Quiet<'_> {
        self.holds.send_modify(|holds| *holds += 1);
        let quiet = Quiet(self);
        let mut scanning = self.scanning.subscribe();
        let _slow = timeout(STOP_MAX, scanning.wait_for(|scanning| !scanning)).await;
        quiet
    }

    /// Returns when nobody wants silence.
    pub(super) async fn may_scan(&self) {
        let mut holds = self.holds.subscribe();
        let _open = holds.wait_for(|holds| *holds == 0).await;
    }

    /// Returns when somebody wants silence.
    pub(super) async fn must_rest(&self) {
        let mut holds = self.holds.subscribe();
        let _open = holds.wait_for(|holds| *holds > 0).await;
    }

    pub(super) fn set_scanning(&self, scanning: bool) {
        self.scanning.send_replace(scanning);
    }

    /// The controller cannot do both at once.
    pub(super) fn set_alternate(&self) {
        if !self.alternate.send_replace(true) {
            tracing::info!("the adapter does not advertise while it scans: in turns from now on");
        }
    }

    pub(super) fn is_alternate(&self) -> bool {
        *self.alternate.borrow()
    }

    pub(super) fn scanning(&self) -> watch::Receiver<bool> {
        self.scanning.subscribe()
    }
}

/// Nobody scans while this lives.
pub(crate) struct Quiet<'a>(&'a Turns);

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.0.holds.send_modify(|holds| *holds -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn scanning_rests_while_anyone_connects() {
        let turns = Turns::new(false);
        turns.may_scan().await;
        turns.set_scanning(true);
        let (first, ()) = tokio::join!(turns.quiet(), async {
            turns.must_rest().await;
            turns.set_scanning(false);
        });
        let second = turns.quiet().await;
        drop(first);
        let waiting = timeout(Duration::from_secs(1), turns.may_scan()).await;
        assert!(waiting.is_err(), "the second still connects");
        drop(second);
        turns.may_scan().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_that_does_not_stop_is_not_waited_for() {
        let turns = Turns::new(false);
        turns.set_scanning(true);
        let _quiet = turns.quiet().await;
    }
}
