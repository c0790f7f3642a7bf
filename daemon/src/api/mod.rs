//! The local API: gRPC over a Unix socket (`proto/proto/pigeon/v1/pigeon.proto`).

mod accounts;
mod attachments;
mod convert;
mod meeting;
mod people;
pub mod socket;

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use pigeon_bundle::Card;
use pigeon_core::Catalog;
use pigeon_proto::api;
use pigeon_proto::api::pigeon_server::Pigeon;
use pigeon_store::Store;
use tokio::sync::mpsc;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::carriage::Carriage;
use crate::clock::{Clock, mono_ms};
use crate::config::Config;
use crate::events::EventLog;
use crate::input::Input;
use crate::mailbox::{Deleted, Mailbox, MailboxError, Which};
use crate::neighbours::Neighbours;
use crate::transports::Transports;
pub use accounts::AccountDesk;
use convert::{
    bundle_detail, bundle_id, bundle_summary, contact, inbox_message, issued_card, outbox_message, status_of,
};

/// Submissions of one stream that are sealed and committed at a time.
const SUBMITS_IN_FLIGHT_MAX: usize = 64;
/// Bundles in one page at most.
const PAGE_MAX: u32 = 1_000;
const PAGE_DEFAULT: u32 = 100;

/// What the API reads and drives.
pub struct Service {
    /// Configuration the daemon runs with.
    pub config: Arc<Config>,
    /// Sends and receives.
    pub mailbox: Arc<Mailbox>,
    /// Bundles.
    pub store: Store,
    /// Events.
    pub events: EventLog,
    /// Links.
    pub neighbours: Neighbours,
    /// Transports.
    pub transports: Arc<Transports>,
    /// What was carried.
    pub carriage: Carriage,
    /// The accounts.
    pub accounts: AccountDesk,
    /// To the shell, for meetings in person.
    pub inputs: mpsc::Sender<Input>,
    /// Time.
    pub clock: Clock,
    /// What the store had to repair at start.
    pub recovery: String,
    /// Start, by [`mono_ms`].
    pub started_ms: u64,
    /// Ends the streams when the daemon stops.
    pub cancel: CancellationToken,
}

type Reply<T> = Result<Response<T>, Status>;
type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

async fn send(mailbox: &Mailbox, request: api::SendRequest) -> Result<api::SendReply, MailboxError> {
    if let Some(bridge) = mailbox.bridge_that_reads(&request.to)
        && !request.bridge_may_read
    {
        let error = format!("there is no card of {}: {bridge} would read the message", request.to);
        let tag = request.tag;
        return Ok(api::SendReply { tag, error, bridge_would_read: bridge, ..api::SendReply::default() });
    }
    let sent = mailbox.send(&request.to, request.text, request.lifetime_h).await?;
    Ok(api::SendReply {
        message_id: sent.message.to_string(),
        bundle_id: sent.bundle.to_string(),
        uplink: sent.uplink,
        tag: request.tag,
        error: String::new(),
        bridge_would_read: String::new(),
    })
}

/// How many tombstones are held, counted page by page.
fn tombstones(store: &Store) -> Result<u64, MailboxError> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = store.tombstones(after, PAGE_MAX as usize)?;
        count += page.len() as u64;
        match page.last() {
            Some((last, _)) => after = Some(*last),
            None => return Ok(count),
        }
    }
}

impl Service {
    fn identity_reply(&self, card: Option<Card>) -> api::IdentityReply {
        api::IdentityReply {
            identity: self.mailbox.identity().to_string(),
            name: self.config.name.clone(),
            jid: self.accounts.accounts.addresses().0,
            card: card.map(|card| card.to_text()).unwrap_or_default(),
        }
    }
}

#[tonic::async_trait]
impl Pigeon for Service {
    async fn send(&self, request: Request<api::SendRequest>) -> Reply<api::SendReply> {
        send(&self.mailbox, request.into_inner()).await.map(Response::new).map_err(|e| status_of(&e))
    }

    type SendStreamStream = ReplyStream<api::SendReply>;

    async fn send_stream(
        &self,
        request: Request<Streaming<api::SendRequest>>,
    ) -> Reply<Self::SendStreamStream> {
        let mailbox = self.mailbox.clone();
        let replies = request
            .into_inner()
            .take_until(self.cancel.clone().cancelled_owned())
            .map(move |request| {
                let mailbox = mailbox.clone();
                async move {
                    let request = request?;
                    let tag = request.tag;
                    Ok(send(&mailbox, request).await.unwrap_or_else(|error| api::SendReply {
                        tag,
                        error: error.to_string(),
                        ..api::SendReply::default()
                    }))
                }
            })
            .buffered(SUBMITS_IN_FLIGHT_MAX);
        Ok(Response::new(Box::pin(replies)))
    }

    async fn send_attachment(
        &self,
        request: Request<Streaming<api::SendAttachmentRequest>>,
    ) -> Reply<api::SendReply> {
        attachments::send(&self.mailbox, request.into_inner()).await.map(Response::new)
    }

    type ReadAttachmentStream = ReplyStream<api::AttachmentChunk>;

    async fn read_attachment(
        &self,
        request: Request<api::ReadAttachmentRequest>,
    ) -> Reply<Self::ReadAttachmentStream> {
        let chunks = attachments::read(&self.mailbox, &request.into_inner().message_id).await?;
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn inbox(&self, request: Request<api::InboxRequest>) -> Reply<api::InboxReply> {
        let api::InboxRequest { unread_only, limit, before } = request.into_inner();
        let which = Which { unread: unread_only, limit: limit as usize, before };
        let page = self.mailbox.inbox_page(&which).map_err(|e| status_of(&e))?;
        let messages = page.messages.into_iter().map(inbox_message).collect();
        let duplicates = self.mailbox.duplicates();
        Ok(Response::new(api::InboxReply { messages, duplicates, more: page.more }))
    }

    async fn read(&self, request: Request<api::ReadRequest>) -> Reply<api::InboxMessage> {
        let message = self.mailbox.read(&request.into_inner().message_id).await.map_err(|e| status_of(&e))?;
        Ok(Response::new(inbox_message(message)))
    }

    async fn outbox(&self, request: Request<api::OutboxRequest>) -> Reply<api::OutboxReply> {
        let api::OutboxRequest { limit, before } = request.into_inner();
        let which = Which { unread: false, limit: limit as usize, before };
        let page = self.mailbox.outbox_page(&which).map_err(|e| status_of(&e))?;
        let messages = page.messages.into_iter().map(outbox_message).collect();
        Ok(Response::new(api::OutboxReply { messages, more: page.more }))
    }

    async fn delete(&self, request: Request<api::DeleteRequest>) -> Reply<api::DeleteReply> {
        let message_id = request.into_inner().message_id;
        let folder = match self.mailbox.delete(&message_id).await.map_err(|e| status_of(&e))? {
            Deleted::Inbox => "inbox",
            Deleted::Outbox => "outbox",
        };
        Ok(Response::new(api::DeleteReply { message_id, folder: folder.to_owned() }))
    }

    async fn cancel(&self, request: Request<api::CancelRequest>) -> Reply<api::OutboxMessage> {
        let message = self.mailbox.cancel(&request.into_inner().message_id).await;
        message.map(outbox_message).map(Response::new).map_err(|e| status_of(&e))
    }

    async fn identity(&self, _: Request<api::IdentityRequest>) -> Reply<api::IdentityReply> {
        Ok(Response::new(self.identity_reply(self.mailbox.card())))
    }

    async fn cards(&self, _: Request<api::CardsRequest>) -> Reply<api::CardsReply> {
        let cards = self.mailbox.cards().into_iter().map(issued_card).collect();
        Ok(Response::new(api::CardsReply { cards }))
    }

    async fn renew_card(&self, _: Request<api::RenewCardRequest>) -> Reply<api::IdentityReply> {
        let card = self.mailbox.publish_card().await.map_err(|e| status_of(&e))?;
        Ok(Response::new(self.identity_reply(Some(card))))
    }

    async fn issue_card(&self, request: Request<api::IssueCardRequest>) -> Reply<api::IssueCardReply> {
        let name = request.into_inner().name;
        let card = self.mailbox.card_for_person(&name).await.map_err(|e| status_of(&e))?;
        Ok(Response::new(api::IssueCardReply { name, card: card.to_text() }))
    }

    async fn revoke_card(&self, request: Request<api::RevokeCardRequest>) -> Reply<api::RevokeCardReply> {
        let name = request.into_inner().name;
        let name = (!name.is_empty()).then_some(name.as_str());
        let revoked = self.mailbox.revoke_card(name).await.map_err(|e| status_of(&e))?;
        Ok(Response::new(api::RevokeCardReply {
            // Cards are few: `PUBLISHED_MAX`, or one.
            revoked: u32::try_from(revoked.secrets).unwrap_or(u32::MAX),
            holds_published: revoked.holds_published,
        }))
    }

    async fn import_card(&self, request: Request<api::ImportCardRequest>) -> Reply<api::Contact> {
        let added = self.mailbox.import_card(&request.into_inner().card).await.map_err(|e| status_of(&e))?;
        Ok(Response::new(contact(&added)))
    }

    async fn contacts(&self, _: Request<api::ContactsRequest>) -> Reply<api::ContactsReply> {
        let contacts = self.mailbox.contacts().iter().map(contact).collect();
        Ok(Response::new(api::ContactsReply { contacts }))
    }

    type MeetStream = ReplyStream<api::MeetReply>;

    async fn meet(&self, request: Request<Streaming<api::MeetRequest>>) -> Reply<Self::MeetStream> {
        let replies = meeting::meet(self, request.into_inner()).await?;
        Ok(Response::new(Box::pin(replies)))
    }

    async fn bundles(&self, request: Request<api::BundlesRequest>) -> Reply<api::BundlesReply> {
        let request = request.into_inner();
        let limit = if request.limit == 0 { PAGE_DEFAULT } else { request.limit.min(PAGE_MAX) };
        let after = match request.after.as_str() {
            "" => None,
            id => Some(
                id.parse().map_err(|_| Status::invalid_argument(format!("after: {id:?} is no bundle id")))?,
            ),
        };
        let page = self.store.page(after, limit as usize).map_err(|e| status_of(&e.into()))?;
        let next = if page.len() < limit as usize { None } else { page.last().map(|(id, _)| id.to_string()) };
        let bundles =
            page.iter().map(|(id, entry)| bundle_summary(&self.store, id, entry)).collect::<Result<_, _>>();
        let bundles = bundles.map_err(|e| status_of(&e))?;
        Ok(Response::new(api::BundlesReply { bundles, next: next.unwrap_or_default() }))
    }

    async fn bundle(&self, request: Request<api::BundleRequest>) -> Reply<api::BundleDetail> {
        let id = bundle_id(&self.store, &request.into_inner().bundle_id)?;
        bundle_detail(&self.store, &id, self.clock.day_s()).map(Response::new)
    }

    async fn bundle_stats(&self, _: Request<api::BundleStatsRequest>) -> Reply<api::BundleStatsReply> {
        let stats = self.store.stats().map_err(|e| status_of(&e.into()))?;
        Ok(Response::new(api::BundleStatsReply {
            own: stats.usage.own.bundles,
            contact: stats.usage.contacts.bundles,
            stranger: stats.usage.strangers.bundles,
            bytes: stats.usage.bytes(),
            tombstones: tombstones(&self.store).map_err(|e| status_of(&e))?,
            disk_bytes: stats.disk_bytes,
            quota_bytes: self.config.store.quota_bytes,
        }))
    }

    async fn neighbours(&self, _: Request<api::NeighboursRequest>) -> Reply<api::NeighboursReply> {
        let mut neighbours = self.neighbours.list();
        neighbours.iter_mut().for_each(|neighbour| self.transports.rate(neighbour));
        Ok(Response::new(api::NeighboursReply { neighbours }))
    }

    async fn status(&self, _: Request<api::StatusRequest>) -> Reply<api::StatusReply> {
        let internal = |e: MailboxError| status_of(&e);
        let waiting = self.mailbox.waiting().map_err(internal)?;
        let stats = self.store.stats().map_err(|e| status_of(&e.into()))?;
        let usage = stats.usage;
        let uplinks = self.accounts.list().accounts;
        Ok(Response::new(api::StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.config.name.clone(),
            identity: self.mailbox.identity().to_string(),
            node_key: self.transports.node_key().map(|key| key.to_string()).unwrap_or_default(),
            uptime_s: mono_ms().saturating_sub(self.started_ms) / 1000,
            clock: self.clock.source().as_str().to_owned(),
            uplink: Some(uplinks.first().cloned().unwrap_or_default()),
            transports: self.transports.status(),
            outbox_waiting: waiting,
            inbox_unread: self.mailbox.unread(),
            bundles: usage.own.bundles + usage.contacts.bundles + usage.strangers.bundles,
            recovery: self.recovery.clone(),
            carriage: Some(self.carriage.get()),
            uplinks,
        }))
    }

    async fn search_contact(&self, request: Request<api::ContactByJid>) -> Reply<api::FoundContact> {
        let (found, _card) = people::search(&self.accounts, &request.into_inner().jid).await?;
        Ok(Response::new(found))
    }

    async fn add_contact(&self, request: Request<api::ContactByJid>) -> Reply<api::FoundContact> {
        people::add(&self.accounts, &self.mailbox, &request.into_inner().jid, false).await.map(Response::new)
    }

    async fn contact_requests(
        &self,
        _: Request<api::ContactRequestsRequest>,
    ) -> Reply<api::ContactRequestsReply> {
        Ok(Response::new(api::ContactRequestsReply { jid: self.accounts.states.requests() }))
    }

    async fn accept_contact(&self, request: Request<api::ContactByJid>) -> Reply<api::FoundContact> {
        people::add(&self.accounts, &self.mailbox, &request.into_inner().jid, true).await.map(Response::new)
    }

    async fn accounts(&self, _: Request<api::AccountsRequest>) -> Reply<api::AccountsReply> {
        Ok(Response::new(self.accounts.list()))
    }

    async fn add_account(&self, request: Request<api::AddAccountRequest>) -> Reply<api::AccountsReply> {
        self.accounts.add(&self.mailbox, request.into_inner()).await.map(Response::new)
    }

    async fn login_account(&self, request: Request<api::AccountRequest>) -> Reply<api::AccountsReply> {
        self.accounts.set(request.into_inner(), true).map(Response::new)
    }

    async fn logout_account(&self, request: Request<api::AccountRequest>) -> Reply<api::AccountsReply> {
        self.accounts.set(request.into_inner(), false).map(Response::new)
    }

    async fn change_password(&self, request: Request<api::AccountRequest>) -> Reply<api::AccountsReply> {
        self.accounts.change_password(request.into_inner()).await.map(Response::new)
    }

    async fn remove_account(&self, request: Request<api::AccountRequest>) -> Reply<api::AccountsReply> {
        self.accounts.remove(&self.mailbox, &request.into_inner().jid).await.map(Response::new)
    }

    type WatchStream = ReplyStream<api::Event>;

    async fn watch(&self, request: Request<api::WatchRequest>) -> Reply<Self::WatchStream> {
        let request = request.into_inner();
        let since = (request.replay || request.since > 0).then_some(request.since);
        let (kept, live) = self.events.subscribe(since);
        let live = BroadcastStream::new(live).filter_map(|event| async move { event.ok().map(Ok) });
        let stop = self.cancel.clone().cancelled_owned();
        let events = futures::stream::iter(kept.into_iter().map(Ok)).chain(live).take_until(stop);
        Ok(Response::new(Box::pin(events)))
    }
}
