//! Contacts over XMPP: the roster, subscriptions, and published cards.

use pigeon_bundle::Card;
use pigeon_proto::api;
use pigeon_xmpp::{ClientHandle, Closed, IqError, Subscription};
use tonic::Status;

use super::AccountDesk;
use super::convert::status_of;
use crate::mailbox::{Mailbox, MailboxError};

/// Looks for somebody: on the roster, and for a published card.
pub(super) async fn search(
    desk: &AccountDesk,
    jid: &str,
) -> Result<(api::FoundContact, Option<Card>), Status> {
    let client = desk.client(None).await?;
    let card = published(&client, jid).await?;
    let roster = client.roster().await.map_err(|error| status(&error))?;
    let item = roster.into_iter().find(|item| item.jid.eq_ignore_ascii_case(jid));
    let subscription = match item {
        Some(item) if item.asked && item.subscription == "none" => "asked".to_owned(),
        Some(item) => item.subscription,
        None => "none".to_owned(),
    };
    let found = api::FoundContact {
        jid: jid.to_owned(),
        card: card.as_ref().map(Card::to_text).unwrap_or_default(),
        name: card.as_ref().map(|card| card.name().to_owned()).unwrap_or_default(),
        identity: card.as_ref().map(|card| card.identity().to_string()).unwrap_or_default(),
        subscription,
    };
    Ok((found, card))
}

/// Puts somebody on the roster and asks for a subscription; `accept` also gives ours. A card that can be seen is taken,
/// under a name that the user has still to confirm.
pub(super) async fn add(
    desk: &AccountDesk,
    mailbox: &Mailbox,
    jid: &str,
    accept: bool,
) -> Result<api::FoundContact, Status> {
    let client = desk.client(None).await?;
    client.roster_add(jid, "").await.map_err(|error| status(&error))?;
    if accept {
        client.subscription(jid, Subscription::Allow).await.map_err(|error| offline(&error))?;
        desk.states.no_request(jid);
    }
    client.subscription(jid, Subscription::Ask).await.map_err(|error| offline(&error))?;
    let (found, card) = search(desk, jid).await?;
    if let Some(card) = card {
        match mailbox.introduce_card(card.as_bytes()).await {
            Ok(_) | Err(MailboxError::OldCard) => {}
            Err(error) => return Err(status_of(&error)),
        }
    }
    Ok(found)
}

/// A card counts only for an account that it lists: anybody could publish somebody else's.
async fn published(client: &ClientHandle, jid: &str) -> Result<Option<Card>, Status> {
    let bytes = match client.published_card(jid).await {
        Ok(bytes) => bytes,
        Err(IqError::Refused { .. }) => None,
        Err(error) => return Err(status(&error)),
    };
    let card = bytes.and_then(|bytes| Card::parse(&bytes).ok());
    Ok(card.filter(|card| card.jids().iter().any(|own| own.eq_ignore_ascii_case(jid))))
}

fn status(error: &IqError) -> Status {
    match error {
        IqError::Jid => Status::invalid_argument(error.to_string()),
        IqError::Offline | IqError::Ended | IqError::Timeout => Status::unavailable(error.to_string()),
        _ => Status::failed_precondition(error.to_string()),
    }
}

fn offline(error: &Closed) -> Status {
    Status::unavailable(error.to_string())
}
