//! Getting to know the bridge: its card is pinned, ours is registered. Questions to it are tasks of their own, since
//! the session must be read on while an answer is awaited.

use std::sync::Arc;

use pigeon_bundle::{BridgeCard, Reveal};
use pigeon_proto::api::Event;
use pigeon_xmpp::{ArchivePage, ArchiveStart, ClientHandle, IqError, PickedUp};

use super::UplinkStates;
use super::pickup::TokenKey;
use crate::config::Account;
use crate::events::{EventLog, event};
use crate::mailbox::Mailbox;

/// What one introduction needs.
#[derive(Clone)]
pub(super) struct Introducer {
    pub(super) account: Account,
    pub(super) client: ClientHandle,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) events: EventLog,
    pub(super) states: UplinkStates,
}

/// What came of a question to the bridge.
pub(super) enum Answer {
    /// The card is pinned and ours is registered, or what is in the way, for people.
    Introduced(Result<(), String>),
    /// A page of the account's archive.
    Page(Result<ArchivePage, IqError>),
    /// A card that somebody has published.
    Card { jid: String, bytes: Option<Vec<u8>> },
    /// What came of a neighbour's token.
    PickedUp { token: TokenKey, result: Result<PickedUp, IqError> },
    /// What came of asking for what waits for this account itself.
    PickedUpOwn(Result<PickedUp, IqError>),
    /// The bridge has taken these, or has not.
    Revealed { reveals: Vec<Reveal>, taken: bool },
}

impl Introducer {
    /// Pins the bridge's card and registers ours.
    pub(super) async fn introduce(self) -> Answer {
        Answer::Introduced(self.try_introduce().await)
    }

    /// Tells the bridge that these messages have arrived.
    pub(super) async fn reveal(self, reveals: Vec<Reveal>) -> Answer {
        let bytes: Vec<[u8; 32]> = reveals.iter().map(|r| r.0).collect();
        let answer = self.client.reveal(&bytes).await;
        if let Err(error) = &answer {
            tracing::info!(%error, "the bridge did not take a tombstone; it is told again");
        }
        Answer::Revealed { reveals, taken: answer.is_ok() }
    }

    /// Asks for a page of the archive.
    pub(super) async fn page(self, start: ArchiveStart) -> Answer {
        Answer::Page(self.client.archive_page(&start).await)
    }

    /// Looks for the card that somebody has published.
    pub(super) async fn find_card(self, jid: String) -> Answer {
        let bytes = self.client.published_card(&jid).await.ok().flatten();
        Answer::Card { jid, bytes }
    }

    /// Hands in a neighbour's token.
    pub(super) async fn pick_up(self, token: TokenKey, request: Vec<u8>) -> Answer {
        Answer::PickedUp { token, result: self.client.pick_up(&request).await }
    }

    /// Fetches what waits for this account itself.
    pub(super) async fn pick_up_own(self, request: Vec<u8>) -> Answer {
        Answer::PickedUpOwn(self.client.pick_up(&request).await)
    }

    async fn try_introduce(&self) -> Result<(), String> {
        let domain = &self.account.bridge;
        let bytes =
            self.client.bridge_card().await.map_err(|e| format!("the bridge {domain} gives no card: {e}"))?;
        let card = BridgeCard::parse(&bytes)
            .map_err(|e| format!("the card of the bridge {domain} does not hold: {e}"))?;
        if card.domain() != domain.as_str() {
            return Err(format!(
                "the bridge {domain} shows a card for {}; check account.bridge",
                card.domain()
            ));
        }
        self.pin(card).await?;
        self.register().await
    }

    /// The first card is pinned. After that another key needs the user's word, and an older card is ignored.
    async fn pin(&self, card: BridgeCard) -> Result<(), String> {
        let key = data_encoding::HEXLOWER.encode(card.key());
        if let Some(wanted) = &self.account.bridge_key {
            if !wanted.eq_ignore_ascii_case(&key) {
                return Err(format!(
                    "the bridge {} has key {key}, account.bridge_key says {wanted}: ask its operator which is right",
                    card.domain()
                ));
            }
        } else if let Some(pinned) = self.mailbox.bridge(&self.account.bridge) {
            if pinned.key() != card.key() {
                return Err(format!(
                    "the bridge {} shows another key than the pinned one, and nothing is sent to it: ask its operator; \
                     if the new key is right, set account.bridge_key = \"{key}\" and restart",
                    card.domain()
                ));
            }
            if card.as_bytes() == pinned.as_bytes() || card.issued_s() < pinned.issued_s() {
                return Ok(());
            }
        }
        let domain = card.domain().to_owned();
        if self
            .mailbox
            .bridge(&self.account.bridge)
            .is_some_and(|pinned| pinned.as_bytes() == card.as_bytes())
        {
            return Ok(());
        }
        self.mailbox.pin_bridge(card).await.map_err(|e| e.to_string())?;
        self.states.set(&self.account.jid, |s| s.bridge.clone_from(&domain));
        self.events.push(Event { detail: domain, ..event("bridge_pinned") });
        Ok(())
    }

    async fn register(&self) -> Result<(), String> {
        let Some(own) = self.mailbox.card() else {
            return Err("this node has no card yet, because it does not know the day".to_owned());
        };
        let until = self
            .client
            .register(own.as_bytes())
            .await
            .map_err(|e| format!("the bridge does not register this node's card: {e}"))?;
        self.states.set(&self.account.jid, |s| {
            s.registered = true;
            s.problem.clear();
        });
        self.events.push(Event { detail: until.to_string(), ..event("uplink_registered") });
        tracing::info!(until, "registered with the bridge");
        // For those who may see the account's presence; without PEP a card goes from hand to hand.
        if let Err(error) = self.client.publish_card(own.as_bytes()).await {
            tracing::info!(%error, "the card is not published at the account's server");
        }
        Ok(())
    }
}
