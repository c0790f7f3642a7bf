//! The order of work of PROTOCOL.md section 6, without effects: bytes and what the ledger knows in, a judgement out.
//!
//! One step differs from the text there. A message counts as known by P *and* the two JIDs of its route
//! ([`LedgerKey`]), so the route is opened before the ledger is asked. Counting P alone would let any account holder
//! who carries a bundle suppress it: he signs a route of his own for it, the bridge accepts that, and answers the
//! author's upload with "accepted" too. For the same bundle (B) nothing more is checked; for another bundle of a known
//! message the author's signature is, or a carrier could find out by guessing whom a message is from.

use std::collections::BTreeSet;

use bytes::Bytes;
use jid::BareJid;
use pigeon_bundle::{
    BridgeIdentity, Bundle, BundleId, DAY_S, MessageDigest, MessageId, Reveal, Route, RouteError,
    VerdictCode, is_for_bridge, open_at_bridge, open_route,
};
use pigeon_proto::{Body, Content};
use pigeon_xmpp::Delivery;

use super::ledger::{Books, LedgerError};
use super::record::{LedgerKey, Record, State};

/// What clients see that know nothing of bundles.
pub const FALLBACK_BODY: &str =
    "This is an end-to-end encrypted CarrierPigeon message; open it with pigeond.";
/// A bundle's day may start this far ahead of our clock, seconds. Records are kept until their bundle's end, so a day
/// in the next century would stay for a century.
pub const EPOCH_AHEAD_MAX_S: u64 = 2 * DAY_S;

/// The bridge as the judge sees it.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// Keys.
    pub identity: &'a BridgeIdentity,
    /// The component's domain.
    pub domain: &'a str,
    /// The hosts that it serves.
    pub hosts: &'a BTreeSet<String>,
    /// Whether mail for people without a card is read and sent on.
    pub plain: bool,
    /// Unix seconds.
    pub now_s: u64,
}

/// What is to be done with an upload.
#[derive(Debug)]
pub enum Judgement {
    /// Answer it.
    Answer(Answer),
    /// Deliver it, then answer it.
    Deliver(Box<Order>),
}

/// An answer that needs no delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// B of the upload; zeros when its bytes are no bundle.
    pub bundle: BundleId,
    /// P of the upload; zeros when its bytes are no bundle.
    pub message: MessageDigest,
    /// Accepted, or why not.
    pub code: VerdictCode,
    /// When that was decided, Unix seconds.
    pub time_s: u64,
    /// Accompanies an acceptance when the message is known to have arrived.
    pub reveal: Option<Reveal>,
    /// The ledger's name for it, when the ledger knows it.
    pub known: Option<LedgerKey>,
    /// The author's bare JID, when the author has proven to be the author and should learn of a refusal.
    pub author: Option<Author>,
    /// For the audit line: what exactly was wrong. Names nobody.
    pub reason: &'static str,
}

/// A proven author's bare JID; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Author(pub String);

impl std::fmt::Debug for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Author(…)")
    }
}

/// A message to deliver.
#[derive(Debug, Clone)]
pub struct Order {
    /// The ledger's name for it.
    pub key: LedgerKey,
    /// The record to begin with, or the one begun.
    pub record: Record,
    /// The bundle that is delivered.
    pub bundle: Bundle,
    /// The stanza.
    pub delivery: Delivery,
    /// Whether the ledger does not know it yet.
    pub is_new: bool,
}

impl Order {
    /// The refusal of what the judge would deliver. Its author is proven, and learns of it if there is such an account.
    #[must_use]
    pub fn refused(&self, code: VerdictCode, reason: &'static str, time_s: u64) -> Answer {
        let author = (code != VerdictCode::AuthorNotRegistered).then(|| Author(self.record.author.clone()));
        let (bundle, message) = (self.bundle.id(), self.bundle.message_digest());
        Answer { bundle, message, code, time_s, reveal: None, known: None, author, reason }
    }
}

/// A refusal on the way through the checks.
struct Refusal(VerdictCode, &'static str);

/// Mail that is sealed to the bridge must be a text that it can read.
const NO_TEXT: Refusal = Refusal(VerdictCode::Malformed, "what is sealed to the bridge is no text");

impl Judge<'_> {
    /// Judges the bytes of an upload.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be read: then there is no judgement, and no answer.
    pub fn judge(&self, bytes: Bytes, books: &dyn Books) -> Result<Judgement, LedgerError> {
        let bundle = match Bundle::parse(bytes) {
            Ok(bundle) => bundle,
            Err(error) => {
                tracing::debug!(%error, "upload is no bundle in the fixed form");
                return Ok(Judgement::Answer(self.malformed()));
            }
        };
        let (route, key) = match self.open(&bundle) {
            Ok(opened) => opened,
            Err(refusal) => return Ok(self.refuse(&bundle, &refusal, None)),
        };
        let held = books.record(&key)?;
        if let Some(record) = &held
            && record.bundle == bundle.id()
        {
            return self.known(bundle, route, key, record, books);
        }
        let author = self.author(&bundle, &route, books)?;
        if let Some(refusal) = self.admit(&bundle, &route, author) {
            let author = author.is_ok().then(|| Author(route.author.clone()));
            return Ok(self.refuse(&bundle, &refusal, author));
        }
        if let Err(refusal) = self.body(&bundle, &route) {
            let author = Some(Author(route.author.clone()));
            return Ok(self.refuse(&bundle, &refusal, author));
        }
        match held {
            Some(record) => self.known(bundle, route, key, &record, books),
            None => self.fresh(bundle, route, key, books),
        }
    }

    /// What goes along with the bundle as text; for mail that is sealed to the bridge, that mail's own text, and no
    /// bundle. Its author must be who signed the route: the registered key's signature says so for both.
    fn body(&self, bundle: &Bundle, opened: &Opened) -> Result<Option<String>, Refusal> {
        if !is_for_bridge(bundle, &self.identity.key()) {
            return Ok(None);
        }
        if !self.plain {
            return Err(Refusal(VerdictCode::Policy, "mail for people without a card is switched off"));
        }
        let inside = open_at_bridge(bundle, self.identity).map_err(|_| NO_TEXT)?;
        if opened.route.verify(bundle, &inside.author).is_err() {
            return Err(Refusal(VerdictCode::SignatureWrong, "route and text have different authors"));
        }
        match Content::decode(&inside.content).map(|content| content.body) {
            Ok(Body::Text(text)) => Ok(Some(text.text)),
            _ => Err(NO_TEXT),
        }
    }

    /// The order to deliver a bundle. `None` when it cannot be read any more.
    fn order(
        &self,
        bundle: Bundle,
        opened: Opened,
        key: LedgerKey,
        record: Record,
        is_new: bool,
    ) -> Option<Order> {
        let body = self.body(&bundle, &opened).ok()?;
        Some(order(bundle, opened, body, key, record, is_new))
    }

    /// What to deliver for a message in doubt, from its bundle in the ledger. `None` when that cannot be read: only by
    /// damage, or when the bridge's keys are not those of then.
    #[must_use]
    pub fn again(&self, bytes: Bytes, key: &LedgerKey, record: &Record) -> Option<Order> {
        let bundle = Bundle::parse(bytes).ok()?;
        let (route, found) = self.open(&bundle).ok()?;
        if found != *key {
            return None;
        }
        self.order(bundle, route, *key, record.clone(), false)
    }

    /// Opens the route of a bundle that names this bridge, and brings its JIDs to normal form.
    fn open(&self, bundle: &Bundle) -> Result<(Opened, LedgerKey), Refusal> {
        let cannot = VerdictCode::RouteDoesNotOpen;
        let uplink = bundle.uplink().ok_or(Refusal(cannot, "no uplink block"))?;
        if *uplink.domain != *self.domain {
            return Err(Refusal(cannot, "for another bridge's domain"));
        }
        let route = open_route(bundle, self.identity).map_err(|error| match error {
            RouteError::OtherBridge => Refusal(cannot, "for another bridge key"),
            RouteError::Malformed(_) => Refusal(VerdictCode::Malformed, "the route is malformed"),
            _ => Refusal(cannot, "the route does not open"),
        })?;
        let opened =
            Opened::new(route).ok_or(Refusal(VerdictCode::Malformed, "a JID of the route is none"))?;
        let key = LedgerKey::new(&bundle.message_digest(), &opened.author, &opened.recipient);
        Ok((opened, key))
    }

    /// Whether the registered owner of the author's JID signed the route.
    fn author(
        &self,
        bundle: &Bundle,
        opened: &Opened,
        books: &dyn Books,
    ) -> Result<Result<(), VerdictCode>, LedgerError> {
        let registration = books.registration(&opened.author)?;
        let Some(registration) = registration.filter(|registration| registration.may_speak(self.now_s))
        else {
            return Ok(Err(VerdictCode::AuthorNotRegistered));
        };
        Ok(opened.route.verify(bundle, &registration.key).map_err(|_| VerdictCode::SignatureWrong))
    }

    /// The first reason not to deliver, in the protocol's order.
    fn admit(&self, bundle: &Bundle, opened: &Opened, author: Result<(), VerdictCode>) -> Option<Refusal> {
        if bundle.expires_s() <= self.now_s {
            return Some(Refusal(VerdictCode::Expired, "expired"));
        }
        if bundle.epoch().start_s() > self.now_s.saturating_add(EPOCH_AHEAD_MAX_S) {
            return Some(Refusal(VerdictCode::Policy, "its day is in the future"));
        }
        if !self.hosts.contains(&opened.author_host) {
            return Some(Refusal(VerdictCode::ForeignHost, "the author's host is not served"));
        }
        if !self.hosts.contains(&opened.recipient_host) {
            return Some(Refusal(VerdictCode::ForeignHost, "the recipient's host is not served"));
        }
        match author {
            Err(VerdictCode::AuthorNotRegistered) => {
                Some(Refusal(VerdictCode::AuthorNotRegistered, "no key registered for the author"))
            }
            Err(code) => Some(Refusal(code, "not signed by the author's registered key")),
            Ok(()) => None,
        }
    }

    fn known(
        &self,
        bundle: Bundle,
        route: Opened,
        key: LedgerKey,
        record: &Record,
        books: &dyn Books,
    ) -> Result<Judgement, LedgerError> {
        let State::Decided { code, time_s } = record.state.after(self.now_s) else {
            if record.bundle == bundle.id() {
                let refused = self.refuse(&bundle, &NO_TEXT, None);
                let again = self.order(bundle, route, key, record.clone(), false);
                return Ok(again.map_or(refused, |order| Judgement::Deliver(Box::new(order))));
            }
            // What was sent once is sent again, not another bundle of the same message.
            let first = books.queued(&key)?.and_then(|bytes| self.again(bytes, &key, record));
            let refused = self.refuse(&bundle, &NO_TEXT, None);
            let again = first.or_else(|| self.order(bundle, route, key, record.clone(), false));
            return Ok(again.map_or(refused, |order| Judgement::Deliver(Box::new(order))));
        };
        let reveal = if code.is_accepted() { books.revealed(&record.commitment)? } else { None };
        let reason = if code.is_accepted() { "known" } else { "refused before" };
        let author = (!code.is_accepted()).then(|| Author(record.author.clone()));
        let (id, message) = (bundle.id(), bundle.message_digest());
        let known = Some(key);
        Ok(Judgement::Answer(Answer { bundle: id, message, code, time_s, reveal, known, author, reason }))
    }

    fn fresh(
        &self,
        bundle: Bundle,
        route: Opened,
        key: LedgerKey,
        books: &dyn Books,
    ) -> Result<Judgement, LedgerError> {
        if let Some(reveal) = books.revealed(&bundle.commitment())? {
            let answer = self.answer(&bundle, VerdictCode::Accepted, "has arrived");
            return Ok(Judgement::Answer(Answer { reveal: Some(reveal), ..answer }));
        }
        let record = Record {
            state: State::InDoubt,
            bundle: bundle.id(),
            commitment: bundle.commitment(),
            author: route.author.clone(),
            recipient: route.recipient.clone(),
            expires_s: bundle.expires_s(),
        };
        let refused = self.refuse(&bundle, &NO_TEXT, None);
        let order = self.order(bundle, route, key, record, true);
        Ok(order.map_or(refused, |order| Judgement::Deliver(Box::new(order))))
    }

    fn refuse(&self, bundle: &Bundle, refusal: &Refusal, author: Option<Author>) -> Judgement {
        Judgement::Answer(Answer { author, ..self.answer(bundle, refusal.0, refusal.1) })
    }

    fn malformed(&self) -> Answer {
        Answer {
            bundle: BundleId([0; 32]),
            message: MessageDigest([0; 32]),
            code: VerdictCode::Malformed,
            time_s: self.now_s,
            reveal: None,
            known: None,
            author: None,
            reason: "not a bundle in the fixed form",
        }
    }

    fn answer(&self, bundle: &Bundle, code: VerdictCode, reason: &'static str) -> Answer {
        let (id, message) = (bundle.id(), bundle.message_digest());
        Answer { bundle: id, message, code, reason, ..self.malformed() }
    }
}

/// An opened route with its JIDs as the server writes them.
struct Opened {
    route: Route,
    author: String,
    author_host: String,
    recipient: String,
    recipient_host: String,
}

impl Opened {
    /// `None` for JIDs that cannot be accounts.
    fn new(route: Route) -> Option<Self> {
        let account = |text: &str| BareJid::new(text).ok().filter(|jid| jid.node().is_some());
        let (author, recipient) = (account(&route.author)?, account(&route.recipient)?);
        Some(Self {
            author_host: author.domain().to_string(),
            author: author.to_string(),
            recipient_host: recipient.domain().to_string(),
            recipient: recipient.to_string(),
            route,
        })
    }
}

fn order(
    bundle: Bundle,
    opened: Opened,
    plain: Option<String>,
    key: LedgerKey,
    record: Record,
    is_new: bool,
) -> Order {
    let message = bundle.message_digest();
    let readable = opened.route.message_id != MessageId::NONE;
    // The server's answers are told apart by the id.
    let id = if readable { opened.route.message_id } else { message_id_of(&message) };
    let delivery = Delivery {
        author: opened.author,
        recipient: opened.recipient,
        message_id_hex: id.to_string(),
        origin_id_hex: message.to_string(),
        sent_ms: opened.route.sent_ms,
        bundle: plain.is_none().then(|| bundle.as_bytes().clone()),
        body: plain.or_else(|| readable.then(|| FALLBACK_BODY.to_owned())),
    };
    Order { key, record, bundle, delivery, is_new }
}

/// The id of a message without one of its author's: the first half of P.
fn message_id_of(message: &MessageDigest) -> MessageId {
    let (half, _) = message.0.as_chunks::<16>();
    MessageId(half[0])
}

#[cfg(test)]
mod tests;
