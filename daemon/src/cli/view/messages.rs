//! Messages, received and sent.

use pigeon_proto::api::{
    Attachment, DeleteReply, InboxMessage, InboxReply, OutboxMessage, OutboxReply, SendReply,
};

use super::super::error::CliError;
use super::super::output::Out;
use super::super::text::{block, count, one_line, or_dash, preview, short, size};
use super::super::time::rfc3339;

/// Characters of a text in a list.
const PREVIEW_CHARS: usize = 48;
/// Characters of an attachment's name.
const NAME_CHARS: usize = 32;

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
            unconfirmed(name_or_key(&message.from, &message.from_identity), message.introduced),
            rfc3339(message.received_ms),
            or_dash(&message.via),
            with_text(message.attachment.as_ref(), &message.text),
        ]
    };
    let rows: Vec<_> = reply.messages.iter().map(row).collect();
    out.table(["NEW", "ID", "FROM", "RECEIVED", "VIA", "TEXT"], &rows)?;
    let unread = reply.messages.iter().filter(|message| !message.read).count();
    let mut summary = count(rows.len() as u64, "message", "messages");
    if unread > 0 {
        summary += &format!(", {unread} unread");
    }
    if reply.duplicates > 0 {
        summary += &format!("; {} dropped", count(reply.duplicates, "duplicate copy", "duplicate copies"));
    }
    out.line(&summary)?;
    older(out, "inbox", reply.messages.first().filter(|_| reply.more).map(|message| &message.message_id))
}

/// Where to go on.
fn older(out: &mut Out, folder: &str, before: Option<&String>) -> Result<(), CliError> {
    match before {
        Some(id) => out.line(&format!("there are older ones: pigeon {folder} --before {}", short(id))),
        None => Ok(()),
    }
}

/// A message that was just deleted.
pub(in super::super) fn deleted(out: &mut Out, reply: &DeleteReply) -> Result<(), CliError> {
    let from = match reply.folder.as_str() {
        "outbox" => "outbox",
        _ => "inbox",
    };
    out.line(&format!("deleted from the {from}: {}", short(&reply.message_id)))
}

/// A name that its owner chose, and that nobody confirmed by importing the card, says so.
fn unconfirmed(name: String, introduced: bool) -> String {
    if introduced { format!("{name}, unconfirmed") } else { name }
}

/// One message in full.
pub(in super::super) fn message(out: &mut Out, message: &InboxMessage) -> Result<(), CliError> {
    let from = match message.from == message.from_identity {
        true => message.from.clone(),
        false => format!("{} ({})", message.from, short(&message.from_identity)),
    };
    let from = unconfirmed(from, message.introduced);
    let via = match message.via_peer.as_str() {
        "" => or_dash(&message.via),
        peer => format!("{}, handed over by node {}", message.via, short(peer)),
    };
    let mut pairs = vec![
        ("from", from),
        ("sent", rfc3339(message.sent_ms)),
        ("received", rfc3339(message.received_ms)),
        ("via", via),
        ("hops", message.hops.to_string()),
        ("message", message.message_id.clone()),
        ("bundle", message.bundle_id.clone()),
    ];
    if let Some(attachment) = &message.attachment {
        pairs.push(("attached", attached(attachment)));
    }
    out.pairs(&pairs)?;
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
            with_text(message.attachment.as_ref(), &message.text),
        ]
    };
    let rows: Vec<_> = reply.messages.iter().map(row).collect();
    out.table(["ID", "TO", "SENT", "STATE", "HANDED OVER", "TEXT"], &rows)?;
    let delivered = reply.messages.iter().filter(|message| message.delivered_ms > 0).count();
    let mut summary = count(rows.len() as u64, "message", "messages");
    if !rows.is_empty() {
        summary += &format!(", {delivered} delivered");
    }
    out.line(&summary)?;
    older(out, "outbox", reply.messages.first().filter(|_| reply.more).map(|message| &message.message_id))
}

/// A message that was just taken back.
pub(in super::super) fn cancelled(out: &mut Out, message: &OutboxMessage) -> Result<(), CliError> {
    out.pairs(&[
        ("message", message.message_id.clone()),
        ("to", name_or_key(&message.to, &message.to_identity)),
        ("state", message.state.clone()),
    ])?;
    if message.hand_overs > 0 {
        let copies = count(message.hand_overs.into(), "neighbour holds a copy", "neighbours hold copies");
        out.line(&format!(
            "{copies} and will drop it on hearing of this; if one meets the recipient first, it is delivered"
        ))?;
    }
    Ok(())
}

fn state(message: &OutboxMessage) -> String {
    match message {
        OutboxMessage { refusal, state, .. } if !refusal.is_empty() && state == "refused" => {
            format!("refused: {}", one_line(refusal))
        }
        OutboxMessage { delivered_ms: 1.., .. } => {
            format!("{} {}", message.state, rfc3339(message.delivered_ms))
        }
        _ => message.state.clone(),
    }
}

/// The beginning of a text, after what is attached to it.
fn with_text(attachment: Option<&Attachment>, text: &str) -> String {
    let text = preview(text, PREVIEW_CHARS);
    match attachment {
        None => text,
        Some(attachment) => format!("[{}] {text}", attached(attachment)).trim_end().to_owned(),
    }
}

/// An attachment in a few words.
fn attached(attachment: &Attachment) -> String {
    let name = preview(&attachment.name, NAME_CHARS);
    let (what, Attachment { parts, needed, total, .. }) = (size(attachment.size), attachment);
    match attachment.state.as_str() {
        "complete" => format!("{name}, {what}"),
        "arriving" => format!("{name}, {what}, {parts} of {needed} parts are here"),
        "" if *total > 1 && *parts > 0 => format!("{name}, {what}, {parts} of {total} parts handed over"),
        "" => format!("{name}, {what}"),
        state => format!("{name}, {what}, {}", one_line(state)),
    }
}

fn name_or_key(name: &str, key: &str) -> String {
    if name.is_empty() || name == key { short(key).to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::super::output::printed;
    use super::*;

    fn received(text: &str) -> InboxMessage {
        InboxMessage {
            message_id: "0123456789abcdef0123456789abcdef".into(),
            from: "elaine".into(),
            from_identity: "ee".repeat(32),
            text: text.into(),
            sent_ms: 1_795_392_000_000,
            received_ms: 1_795_395_600_000,
            read: false,
            via: "link".into(),
            via_peer: "ab".repeat(32),
            hops: 2,
            bundle_id: "cd".repeat(32),
            attachment: None,
            introduced: false,
        }
    }

    #[test]
    fn what_is_attached_stands_before_the_text() {
        let attachment = |state: &str, parts| {
            let name = "a\u{202e}gpj.png".into();
            let media_type = "image/png".into();
            let state = state.into();
            Some(Attachment { name, media_type, size: 1 << 20, state, parts, needed: 17, total: 19 })
        };
        let shown = |state, parts, text| with_text(attachment(state, parts).as_ref(), text);
        let name = "[a\\u{202e}gpj.png, 1.0 MiB";
        assert_eq!(shown("arriving", 3, "look"), format!("{name}, 3 of 17 parts are here] look"));
        assert_eq!(shown("complete", 17, ""), format!("{name}]"));
        assert_eq!(shown("expired", 0, ""), format!("{name}, expired]"));
        assert_eq!(shown("", 4, ""), format!("{name}, 4 of 19 parts handed over]"));
        let message = InboxMessage { attachment: attachment("complete", 17), ..received("x") };
        let shown = printed(|out| super::message(out, &message));
        assert!(shown.contains("attached  a\\u{202e}gpj.png, 1.0 MiB\n"), "{shown}");
    }

    #[test]
    fn an_inbox_marks_the_unread_and_shows_the_beginnings() {
        let read = InboxMessage {
            read: true,
            from: "ee".repeat(32),
            via: "xmpp".into(),
            ..received(&"x".repeat(60))
        };
        let reply =
            InboxReply { messages: vec![read, received("two\nlines\u{1b}[2J")], duplicates: 1, more: true };
        assert_eq!(
            printed(|out| inbox(out, &reply)),
            "\
NEW  ID                FROM              RECEIVED              VIA   TEXT
     0123456789abcdef  eeeeeeeeeeeeeeee  2026-11-23T01:00:00Z  xmpp  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
*    0123456789abcdef  elaine            2026-11-23T01:00:00Z  link  two lines\\u{1b}[2J
2 messages, 1 unread; 1 duplicate copy dropped
there are older ones: pigeon inbox --before 0123456789abcdef
"
        );
    }

    #[test]
    fn a_message_is_shown_with_its_way_and_all_its_lines() {
        assert_eq!(
            printed(|out| message(out, &received("two\nlines\u{7}"))),
            format!(
                "\
from      elaine (eeeeeeeeeeeeeeee)
sent      2026-11-23T00:00:00Z
received  2026-11-23T01:00:00Z
via       link, handed over by node abababababababab
hops      2
message   0123456789abcdef0123456789abcdef
bundle    {}

two
lines\\u{{7}}
",
                "cd".repeat(32)
            )
        );
    }

    #[test]
    fn a_message_taken_back_may_be_underway_all_the_same() {
        let message = OutboxMessage { to: "jerry".into(), state: "cancelled".into(), ..Default::default() };
        assert_eq!(printed(|out| cancelled(out, &message)), "message\nto       jerry\nstate    cancelled\n");
        let handed_over = OutboxMessage { hand_overs: 2, ..message };
        let shown = printed(|out| cancelled(out, &handed_over));
        assert!(shown.contains("2 neighbours hold copies and will drop it"), "{shown}");
    }

    #[test]
    fn an_outbox_says_how_far_each_message_has_come() {
        let waiting = OutboxMessage {
            to: "jerry".into(),
            state: "handed over".into(),
            hand_overs: 2,
            ..Default::default()
        };
        let delivered =
            OutboxMessage { state: "delivered".into(), delivered_ms: 1_795_392_000_000, ..waiting.clone() };
        let refused =
            OutboxMessage { state: "refused".into(), refusal: "no such user".into(), ..waiting.clone() };
        assert_eq!(
            printed(|out| outbox(
                out,
                &OutboxReply { messages: vec![waiting, delivered, refused], more: false }
            )),
            "\
ID  TO     SENT  STATE                           HANDED OVER  TEXT
    jerry  -     handed over                     2
    jerry  -     delivered 2026-11-23T00:00:00Z  2
    jerry  -     refused: no such user           2
3 messages, 1 delivered
"
        );
    }
}
