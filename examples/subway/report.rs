//! What came of it: counts from the daemons' outboxes and inboxes, ways from their events.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use pigeon_harness::Event;
use pigeon_harness::node::text_of;

use pigeon_harness::cast::{Actor, Cast};

/// The counts of the last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages in the outboxes.
    pub(crate) sent: u64,
    /// Of these, how many are in somebody's inbox.
    pub(crate) delivered: u64,
    /// Delivery receipts that came back.
    pub(crate) receipts: u64,
    /// Messages that are in an inbox more than once, each time too many.
    pub(crate) duplicates: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, delivered, receipts, duplicates } = self;
        write!(f, "demo: {sent} sent, {delivered} delivered, {receipts} receipts, {duplicates} duplicates")
    }
}

/// A message that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// Its text.
    pub(crate) text: String,
    /// Its id, the same in outbox and inbox.
    pub(crate) message_id: String,
    /// Its bundle's id.
    pub(crate) bundle_id: String,
}

/// Counts what the running daemons have in their outboxes and inboxes. One that was killed is not asked.
pub(crate) fn tally(cast: &Cast) -> Tally {
    let outbox: Vec<Value> = cast.all().into_iter().flat_map(|actor| messages(actor, "outbox")).collect();
    let inbox: Vec<String> = cast
        .all()
        .into_iter()
        .flat_map(|actor| messages(actor, "inbox"))
        .map(|m| text_of(&m, "message_id"))
        .collect();
    let distinct: BTreeSet<&String> = inbox.iter().collect();
    let arrived = |message: &&Value| distinct.contains(&text_of(message, "message_id"));
    let receipts = outbox.iter().filter_map(|message| message.get("receipts")?.as_u64()).sum();
    Tally {
        sent: count(outbox.len()),
        delivered: count(outbox.iter().filter(arrived).count()),
        receipts,
        duplicates: count(inbox.len() - distinct.len()),
    }
}

fn count(number: usize) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

/// The messages in a box, or none where the daemon does not answer any more.
pub(crate) fn messages(actor: &Actor, which: &str) -> Vec<Value> {
    let reply = actor.node.json(&[which]).unwrap_or_default();
    reply.get("messages").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// One row a message: what, which way, how often it changed hands, how long it took.
pub(crate) fn table(cast: &Cast, sent: &[Sent]) -> String {
    let mut rows = vec![["message", "path", "hand-overs", "seconds"].map(str::to_owned)];
    for message in sent {
        let bundle = &message.bundle_id;
        let arrival = received(cast, bundle);
        let way = arrival
            .as_ref()
            .map_or_else(|| stranded(cast, bundle), |(actor, event)| path(cast, actor, event));
        let seconds = arrival.map_or("-".to_owned(), |(_actor, event)| seconds(cast, bundle, &event));
        rows.push([message.text.clone(), way, hand_overs(cast, bundle).to_string(), seconds]);
    }
    aligned(&rows)
}

/// Where it arrived, and how.
fn received<'a>(cast: &'a Cast, bundle: &str) -> Option<(&'a Actor, Event)> {
    let arrived = |actor: &'a Actor| {
        let events = actor.node.watch().matching(|event| event.is("message_received", bundle));
        events.into_iter().next().map(|event| (actor, event))
    };
    cast.all().into_iter().find_map(arrived)
}

/// The way of a message that arrived, read backwards from its arrival.
fn path(cast: &Cast, recipient: &Actor, arrival: &Event) -> String {
    let bundle = &arrival.bundle_id;
    let (last, mut stops) = match arrival.detail.as_str() {
        "xmpp" => (first_accepted(cast, bundle), vec!["bridge", recipient.name()]),
        _ => (actor_with(cast, &arrival.peer), vec![recipient.name()]),
    };
    let mut at = last;
    while let Some(actor) = at {
        // Nobody takes a bundle twice; a ring would mean that the events are wrong.
        if stops.contains(&actor.name()) {
            break;
        }
        stops.insert(0, actor.name());
        at = giver(cast, actor, bundle);
        if !actor.node.watch().matching(|event| event.is("fetched", bundle)).is_empty() {
            stops.insert(0, "bridge");
            at = first_accepted(cast, bundle);
        }
    }
    stops.join(" → ")
}

/// Whose upload the bridge accepted first.
fn first_accepted<'a>(cast: &'a Cast, bundle: &str) -> Option<&'a Actor> {
    let accepted = |actor: &'a Actor| {
        let event =
            actor.node.watch().matching(|event| event.is("bridge_accepted", bundle)).into_iter().next()?;
        Some((event.time_ms, actor))
    };
    cast.all()
        .into_iter()
        .filter_map(accepted)
        .min_by_key(|(time_ms, _actor)| *time_ms)
        .map(|(_time, actor)| actor)
}

fn actor_with<'a>(cast: &'a Cast, key: &str) -> Option<&'a Actor> {
    cast.all().into_iter().find(|actor| actor.key == key)
}

fn giver<'a>(cast: &'a Cast, taker: &Actor, bundle: &str) -> Option<&'a Actor> {
    let taken = taker.node.watch().matching(|event| event.is("taken", bundle) || event.is("stored", bundle));
    taken.first().and_then(|event| actor_with(cast, &event.peer))
}

/// How far a message came that did not arrive.
fn stranded(cast: &Cast, bundle: &str) -> String {
    let with = |kind: &str| -> Vec<&str> {
        let has = |actor: &&Actor| !actor.node.watch().matching(|event| event.is(kind, bundle)).is_empty();
        cast.all().into_iter().filter(has).map(Actor::name).collect()
    };
    let mut way = vec!["elaine".to_owned()];
    let stops = [("taken", "carried by"), ("uploaded", "uploaded by"), ("bridge_accepted", "accepted from")];
    way.extend(stops.iter().filter_map(|(kind, words)| {
        let names = with(kind);
        (!names.is_empty()).then(|| format!("{words} {}", names.join(" and ")))
    }));
    let missing = ["no carrier", "never uploaded", "no word from the bridge", "never opened by jerry"];
    format!("{} → STOPPED: {}", way.join(" → "), missing[(way.len() - 1).min(missing.len() - 1)])
}

/// How often a copy of the bundle changed hands, on its way or on others.
fn hand_overs(cast: &Cast, bundle: &str) -> usize {
    let given = |event: &Event| event.is("handed_over", bundle) || event.is("delivered_direct", bundle);
    cast.all().iter().map(|actor| actor.node.watch().matching(given).len()).sum()
}

fn seconds(cast: &Cast, bundle: &str, arrival: &Event) -> String {
    let queued = |actor: &Actor| actor.node.watch().matching(|event| event.is("message_queued", bundle));
    let queued: Vec<Event> = cast.all().into_iter().flat_map(queued).collect();
    let millis = queued.first().map_or(0, |event| arrival.time_ms.saturating_sub(event.time_ms));
    format!("{}.{}", millis / 1000, millis % 1000 / 100)
}

/// Columns as wide as their widest cell, the numbers flush right.
fn aligned(rows: &[[String; 4]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (message, path, moves, seconds) = (width(0), width(1), width(2), width(3));
    let line = |row: &[String; 4]| {
        format!("{:message$}  {:path$}  {:>moves$}  {:>seconds$}\n", row[0], row[1], row[2], row[3])
    };
    rows.iter().map(line).collect()
}
