//! Messages, received and sent.

use pigeon_proto::api::{InboxMessage, InboxReply, OutboxMessage, OutboxReply, SendReply};

use super::super::error::CliError;
use super::super::output::Out;
use super::super::text::{block, count, one_line, or_dash, preview, short};
use super::super::time::rfc3339;

/// Characters of a text in a list.
const PREVIEW_CHARS: usize = 48;

/// A message that the daemon has taken.
pub(in super::super) fn sent(out: &mut Out, reply: &SendReply) -> Result<(), CliError> {
    let ways = if reply.uplink { "neighbours, or a bridge" } else { "neighbours" };
    out.pairs(&[
        ("message", reply.message_id.clone()),
        ("bundle", reply.bundle_id.clone()),
        ("travels by", ways.into()),
    ])
}

/// The messages received; a star marks those not read.
pub(in super::super) fn inbox(out: &mut Out, reply: &InboxReply) -> Result<(), CliError> {
    let row = |message: &InboxMessage| {
        [
            if message.read { " ".to_owned() } else { "*".into() },
            short(&message.message_id).to_owned(),
            name_or_key(&message.from, &message.from_identity),
            rfc3339(message.received_ms),
            or_dash(&message.via),
            preview(&message.text, PREVIEW_CHARS),
        ]
    };
    let rows: Vec<_> = reply.messages.iter().map(row).collect();
    out.table(["", "ID", "FROM", "RECEIVED", "VIA", "TEXT"], &rows)?;
    let unread = reply.messages.iter().filter(|message| !message.read).count();
    let mut summary = count(rows.len() as u64, "message", "messages");
    if unread > 0 {
        summary += &format!(", {unread} unread");
    }
    if reply.duplicates > 0 {
        summary += &format!("; {} dropped", count(reply.duplicates, "duplicate copy", "duplicate copies"));
    }
    out.line(&summary)
}

/// One message in full.
pub(in super::super) fn message(out: &mut Out, message: &InboxMessage) -> Result<(), CliError> {
    let from = match message.from == message.from_identity {
        true => message.from.clone(),
        false => format!("{} ({})", message.from, short(&message.from_identity)),
    };
    let via = match message.via_peer.as_str() {
        "" => or_dash(&message.via),
        peer => format!("{}, handed over by node {}", message.via, short(peer)),
    };
    out.pairs(&[
        ("from", from),
        ("sent", rfc3339(message.sent_ms)),
        ("received", rfc3339(message.received_ms)),
        ("via", via),
        ("hops", message.hops.to_string()),
        ("message", message.message_id.clone()),
        ("bundle", message.bundle_id.clone()),
    ])?;
    out.line("")?;
    out.line(&block(&message.text))
}

/// The messages sent.
pub(in super::super) fn outbox(out: &mut Out, reply: &OutboxReply) -> Result<(), CliError> {
    let row = |message: &OutboxMessage| {
        [
            short(&message.message_id).to_owned(),
            name_or_key(&message.to, &message.to_identity),
            rfc3339(message.sent_ms),
            state(message),
            message.hand_overs.to_string(),
            preview(&message.text, PREVIEW_CHARS),
        ]
    };
    let rows: Vec<_> = reply.messages.iter().map(row).collect();
    out.table(["ID", "TO", "SENT", "STATE", "HANDED OVER", "TEXT"], &rows)?;
    let delivered = reply.messages.iter().filter(|message| message.delivered_ms > 0).count();
    let mut summary = count(rows.len() as u64, "message", "messages");
    if !rows.is_empty() {
        summary += &format!(", {delivered} delivered");
    }
    out.line(&summary)
}

fn state(message: &OutboxMessage) -> String {
    match message {
        OutboxMessage { refusal, .. } if !refusal.is_empty() => format!("refused: {}", one_line(refusal)),
        OutboxMessage { delivered_ms: 1.., .. } => {
            format!("{} {}", message.state, rfc3339(message.delivered_ms))
        }
        _ => message.state.clone(),
    }
}

fn name_or_key(name: &str, key: &str) -> String {
    if name.is_empty() || name == key { short(key).to_owned() } else { name.to_owned() }
}
