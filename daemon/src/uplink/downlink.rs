//! What comes down: live, from the archive, and from the bridge what the server has lost.

use std::time::Duration;

use pigeon_bundle::Bundle;
use pigeon_core::Event as CoreEvent;
use pigeon_store::StoreError;
use pigeon_xmpp::{ArchivePage, IqError, PickedUp};
use tokio::time::Instant;

use super::{Bridge, Driver, QUESTION_WAIT, Question, is_final};
use crate::mailbox::Arrival;

/// A failing store is asked again after this.
const KEEP_RETRY: Duration = Duration::from_secs(5);
/// How long after the archive has been read the bridge is asked for what was not in it: by then it has heard of what was.
const OWN_WAIT: Duration = Duration::from_secs(10);

/// How far catching up has come since the session began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Away {
    /// The archive is not read to its end.
    Unread,
    /// It is; the bridge has not been asked for what was not in it.
    Unasked,
    /// All is done.
    Over,
}

impl Driver {
    /// Opens a bundle that came down; true when all that was in it is kept, or it is worth nothing. A failing store is
    /// asked again until it works or the daemon stops: the server keeps the message for as long as this takes.
    pub(super) async fn downlink(&self, bytes: Vec<u8>) -> bool {
        let bundle = match Bundle::parse(bytes.into()) {
            Ok(bundle) => bundle,
            Err(error) => {
                tracing::warn!(%error, "a damaged bundle came over the account and is dropped");
                return true;
            }
        };
        while let Err(error) = self.uplink.mailbox.receive(&bundle, Arrival::Xmpp).await {
            tracing::error!(%error, "a message from the account cannot be kept yet; trying again");
            tokio::select! {
                () = self.cancel.cancelled() => return false,
                () = tokio::time::sleep(KEEP_RETRY) => {}
            }
        }
        true
    }

    /// A neighbour's mail, or anything that the bridge pretends to be such: the core checks it like a neighbour's.
    pub(super) async fn fetched(&self, bytes: Vec<u8>) {
        match Bundle::parse(bytes.into()) {
            Ok(bundle) => self.core(CoreEvent::Fetched { bundle }).await,
            Err(error) => tracing::warn!(%error, "the bridge handed out something that is no bundle"),
        }
    }

    /// A page of the archive: each message by the same door as a live one, then the next page.
    pub(super) async fn page(&mut self, page: Result<ArchivePage, IqError>) {
        let ArchivePage { messages, last, complete } = match page {
            Ok(page) => page,
            Err(IqError::Refused { condition, .. }) => {
                if condition == "item-not-found" && self.archive.lost() {
                    self.catching_up.ask_now();
                } else {
                    tracing::debug!(condition, "the account has no archive to catch up from");
                    self.caught_up();
                }
                return;
            }
            Err(IqError::Offline | IqError::Ended) => return,
            Err(error) => {
                tracing::info!(%error, "the archive is asked again later");
                return self.catching_up.ask_later();
            }
        };
        for message in messages {
            // What the bridge handed out for a neighbour is not ours.
            if !self.is_our_bridge(&message.from) && !self.downlink(message.bytes).await {
                return;
            }
        }
        match self.archive.taken(last, complete).await {
            Ok(true) => self.catching_up.ask_now(),
            Ok(false) => self.caught_up(),
            Err(error) => note_place(Err(error)),
        }
    }

    /// All that the account's server has of what came in the meantime is here. The bridge keeps what it has delivered until
    /// it knows that it has arrived: when it has had time to hear of the rest, what it still has is what the server has
    /// lost.
    pub(super) fn caught_up(&mut self) {
        self.away = Away::Unasked;
        self.own_waiting = None;
        self.fetching_own = Question { wait: QUESTION_WAIT, at: Some(Instant::now() + OWN_WAIT) };
    }

    pub(super) fn fetch_own(&mut self) {
        let request = match self.bridge {
            Bridge::Unknown => None,
            // None without a clock.
            Bridge::Ready => self.uplink.mailbox.own_request(&self.uplink.account),
        };
        match request {
            Some(request) => {
                self.asked.spawn(self.introducer.clone().pick_up_own(request));
            }
            None => self.fetching_own.ask_later(),
        }
    }

    pub(super) fn picked_up_own(&mut self, result: Result<PickedUp, IqError>) {
        self.away = Away::Over;
        match result {
            Ok(PickedUp { bundles: 0, left: 0, .. }) => {}
            Ok(PickedUp { bundles, left, .. }) => {
                tracing::info!(
                    bundles,
                    left,
                    "fetched from the bridge what the account's server did not have"
                );
                // What this node cannot open waits on, and would be fetched again and again.
                let waited = self.own_waiting.replace(bundles + left);
                if left > 0 && waited.is_none_or(|waited| bundles + left < waited) {
                    self.away = Away::Unasked;
                    self.fetching_own.ask_later();
                }
            }
            // A slow link is busy with it: no second one behind.
            Err(IqError::Timeout) => tracing::debug!("the bridge has not handed out all in time"),
            Err(IqError::Refused { condition, .. }) if is_final(&condition) => {
                tracing::debug!(condition, "the bridge hands out nothing");
            }
            Err(error) => {
                tracing::debug!(%error, "the bridge is asked again later for what the server may have lost");
                self.away = Away::Unasked;
                self.fetching_own.ask_later();
            }
        }
    }
}

pub(super) fn note_place(kept: Result<(), StoreError>) {
    if let Err(error) = kept {
        tracing::error!(%error, "the place in the archive cannot be kept; it is read again from the last one");
    }
}
