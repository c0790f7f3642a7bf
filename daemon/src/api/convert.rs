//! From the daemon's values to the API's messages, and from its errors to gRPC status codes.

use pigeon_bundle::{BundleId, IdentityKey};
use pigeon_core::{Catalog, Entry, Pool};
use pigeon_proto::api;
use pigeon_store::Store;
use tonic::{Code, Status};

use crate::mailbox::{AttachmentView, CardView, Contact, InboxView, MailboxError, OutboxView};

/// A bundle may be named by this many digits at least.
const PREFIX_MIN: usize = 8;
const SEALED: &str = "sealed: only the recipient can open it";

/// The gRPC status of an error; `pigeon` turns its code into an exit code.
pub(crate) fn status_of(error: &MailboxError) -> Status {
    let code = match error {
        MailboxError::Store(error) if error.is_full() => Code::ResourceExhausted,
        MailboxError::Store(_) | MailboxError::Catalog(_) | MailboxError::Damaged { .. } => Code::Internal,
        MailboxError::Card(_) | MailboxError::Seal(_) | MailboxError::Content(_) | MailboxError::OwnCard => {
            Code::InvalidArgument
        }
        MailboxError::UnknownContact { .. } | MailboxError::UnknownMessage { .. } => Code::NotFound,
        MailboxError::AmbiguousContact { .. } | MailboxError::Manifest(_) | MailboxError::Attachment(_) => {
            Code::InvalidArgument
        }
        MailboxError::NoAttachment { .. } => Code::NotFound,
        MailboxError::AttachmentIncomplete { .. } => Code::FailedPrecondition,
        MailboxError::AttachmentFile { .. } => Code::Internal,
        MailboxError::CardName => Code::InvalidArgument,
        MailboxError::UnknownCard { .. } | MailboxError::NotSent { .. } | MailboxError::NotKept { .. } => {
            Code::NotFound
        }
        MailboxError::OnItsWay { .. } => Code::FailedPrecondition,
        MailboxError::NothingToRevoke
        | MailboxError::AlreadyDelivered { .. }
        | MailboxError::AlreadyExpired { .. } => Code::FailedPrecondition,
        MailboxError::TooManyCards { .. } => Code::ResourceExhausted,
        MailboxError::OldCard | MailboxError::FutureCard | MailboxError::NoClock => Code::FailedPrecondition,
        MailboxError::TooManyContacts { .. } => Code::ResourceExhausted,
        MailboxError::Stopping => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

/// A received message.
pub(crate) fn inbox_message(view: InboxView) -> api::InboxMessage {
    let InboxView { record, from, introduced, attachment } = view;
    api::InboxMessage {
        message_id: hex(&record.message_id),
        from,
        from_identity: hex(&record.author),
        text: record.text,
        sent_ms: record.sent_ms,
        received_ms: record.received_ms,
        read: record.read,
        via: record.via,
        via_peer: hex(&record.via_peer),
        hops: record.hops,
        introduced,
        bundle_id: hex(&record.bundle),
        attachment: attachment.map(self::attachment),
    }
}

/// An attachment.
pub(crate) fn attachment(view: AttachmentView) -> api::Attachment {
    let AttachmentView { info, state, parts } = view;
    api::Attachment {
        name: info.name,
        media_type: info.media_type,
        size: info.size,
        state: state.to_owned(),
        parts,
        needed: info.needed,
        total: info.total,
    }
}

/// A sent message.
pub(crate) fn outbox_message(view: OutboxView) -> api::OutboxMessage {
    let OutboxView { record, to, state, hand_overs, attachment } = view;
    api::OutboxMessage {
        message_id: hex(&record.message_id),
        to,
        to_identity: hex(&record.recipient),
        text: record.text,
        sent_ms: record.sent_ms,
        state: state.to_owned(),
        bundle_id: hex(&record.bundle),
        hand_overs,
        delivered_ms: record.delivered_ms,
        refusal: record.refusal,
        receipts: record.receipts,
        attachment: attachment.map(self::attachment),
    }
}

/// A card given out.
pub(crate) fn issued_card(view: CardView) -> api::IssuedCard {
    let (holder, identity) = view.holder.unzip();
    api::IssuedCard {
        name: view.name,
        holder: holder.unwrap_or_default(),
        holder_identity: identity.map(|identity| identity.to_string()).unwrap_or_default(),
        issued_ms: view.issued_s.saturating_mul(1000),
        revoked: view.revoked,
        former: u32::try_from(view.former).unwrap_or(u32::MAX),
    }
}

/// A contact.
pub(crate) fn contact(contact: &Contact) -> api::Contact {
    let card = &contact.card;
    let IdentityKey(identity) = card.identity();
    api::Contact {
        identity: hex(&identity),
        name: card.name().to_owned(),
        jid: card.jids().to_vec(),
        bridge: card.bridges().to_vec(),
        issued_ms: card.issued_s().saturating_mul(1000),
        prekey_expires_ms: card.prekey_expires_s().saturating_mul(1000),
        introduced: contact.introduced,
        met: contact.met,
    }
}

/// The bundle that `text` names: its whole id, or a unique beginning of it.
pub(crate) fn bundle_id(store: &Store, text: &str) -> Result<BundleId, Status> {
    let not_found =
        || Status::not_found(format!("no bundle {text}; `pigeon bundles list` shows what is held"));
    if let Ok(id) = text.parse::<BundleId>() {
        return if store.entry(&id).map_err(|e| status_of(&e.into()))?.is_some() {
            Ok(id)
        } else {
            Err(not_found())
        };
    }
    let hexadecimal =
        text.len() >= PREFIX_MIN && text.len() < 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !hexadecimal {
        return Err(Status::invalid_argument(format!(
            "{text:?} is no bundle id: give at least {PREFIX_MIN} hex digits of it"
        )));
    }
    let prefix = text.to_ascii_lowercase();
    let first = format!("{prefix:0<64}").parse::<BundleId>().map_err(|_| not_found())?;
    let mut matches = Vec::new();
    if store.entry(&first).map_err(|e| status_of(&e.into()))?.is_some() {
        matches.push(first);
    }
    let page = store.page(Some(first), 2).map_err(|e| status_of(&e.into()))?;
    matches.extend(page.into_iter().map(|(id, _)| id).filter(|id| id.to_string().starts_with(&prefix)));
    match matches.as_slice() {
        [one] => Ok(*one),
        [] => Err(not_found()),
        _ => Err(Status::invalid_argument(format!("{text} names several bundles; give more digits"))),
    }
}

/// One line of `pigeon bundles list`.
pub(crate) fn bundle_summary(
    store: &Store,
    id: &BundleId,
    entry: &Entry,
) -> Result<api::BundleSummary, MailboxError> {
    let meta = store.meta(id)?;
    Ok(api::BundleSummary {
        bundle_id: id.to_string(),
        pool: match entry.pool {
            Pool::Own => "own",
            Pool::Contact => "contact",
            Pool::Stranger => "stranger",
        }
        .to_owned(),
        copies: u32::from(entry.copies),
        size: meta.as_ref().map_or(0, |meta| meta.size),
        expires_ms: meta.as_ref().map_or(0, |meta| meta.expires_s.saturating_mul(1000)),
        state: if entry.at_bridge { "at bridge" } else { "carried" }.to_owned(),
        hops: u32::from(entry.hops),
    })
}

/// All that `pigeon bundles show` can tell: what a carrier sees.
pub(crate) fn bundle_detail(
    store: &Store,
    id: &BundleId,
    now_s: Option<u64>,
) -> Result<api::BundleDetail, Status> {
    let read = |e: pigeon_core::CatalogError| status_of(&e.into());
    let (Some(entry), Some(bundle)) = (store.entry(id).map_err(read)?, store.bundle(id).map_err(read)?)
    else {
        return Err(Status::not_found(format!("bundle {id} has left the store meanwhile")));
    };
    let held_s = match (now_s, entry.received_wall_s) {
        (Some(now_s), Some(received_s)) => now_s.saturating_sub(received_s),
        _ => 0,
    };
    let uplink = bundle.uplink();
    Ok(api::BundleDetail {
        summary: Some(bundle_summary(store, id, &entry).map_err(|e| status_of(&e))?),
        tag: bundle.tag().to_base32(),
        epoch: bundle.epoch().0,
        created_ms: bundle.creation_s().unwrap_or(0) * 1000,
        lifetime_ms: bundle.lifetime_s() * 1000,
        commitment: bundle.commitment().to_string(),
        bridge_domain: uplink.map(|u| u.domain.to_string()).unwrap_or_default(),
        bridge_key: uplink.map(|u| hex(&u.bridge_key)).unwrap_or_default(),
        payload_size: u32::try_from(bundle.payload().len()).unwrap_or(u32::MAX),
        taken_by: store.takers(id).map_err(read)?.iter().map(ToString::to_string).collect(),
        content: SEALED.to_owned(),
        age_s: entry.age_s + held_s,
        received_from: entry.giver.map(|node| node.to_string()).unwrap_or_default(),
        hex: hex(bundle.as_bytes()),
    })
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
