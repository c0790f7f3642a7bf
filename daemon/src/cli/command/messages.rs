//! `pigeon inbox`, `read` and `outbox`.

use pigeon_proto::api;

use super::super::client::{About, Daemon};
use super::super::error::CliError;
use super::super::output::Out;
use super::super::view;
use super::show;

/// A message id in full: 16 bytes in hex.
const ID_DIGITS: usize = 32;
/// Fewer digits than this name a message by accident.
const ID_DIGITS_MIN: usize = 4;

/// Lists the messages received.
pub(super) async fn inbox(daemon: &Daemon, unread_only: bool, out: &mut Out) -> Result<(), CliError> {
    let request = api::InboxRequest { unread_only };
    let reply = daemon.answer(About::Node, daemon.client().inbox(request)).await?;
    show(out, &reply, view::messages::inbox)
}

/// Lists the messages sent.
pub(super) async fn outbox(daemon: &Daemon, out: &mut Out) -> Result<(), CliError> {
    let reply = daemon.answer(About::Node, daemon.client().outbox(api::OutboxRequest {})).await?;
    show(out, &reply, view::messages::outbox)
}

/// Shows one message and marks it as read.
pub(super) async fn read(daemon: &Daemon, id: &str, out: &mut Out) -> Result<(), CliError> {
    let message_id = full_id(daemon, id).await?;
    let call = async { daemon.client().read(api::ReadRequest { message_id }).await };
    let message = daemon.answer(About::Message, call).await?;
    show(out, &message, view::messages::message)
}

/// The daemon wants whole ids; people type the digits that tell their messages apart.
async fn full_id(daemon: &Daemon, id: &str) -> Result<String, CliError> {
    let id = id.to_ascii_lowercase();
    if id.len() < ID_DIGITS_MIN || id.len() > ID_DIGITS || !id.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        return Err(CliError::Usage {
            what: format!("`{id}` is no message id"),
            help: format!(
                "an id has {ID_DIGITS} hex digits, the first {ID_DIGITS_MIN} or more will do; `pigeon inbox` shows them"
            ),
        });
    }
    if id.len() == ID_DIGITS {
        return Ok(id);
    }
    let request = api::InboxRequest { unread_only: false };
    let inbox = daemon.answer(About::Node, daemon.client().inbox(request)).await?;
    let all = inbox.messages.into_iter().map(|message| message.message_id);
    let mut matching: Vec<String> = all.filter(|candidate| candidate.starts_with(&id)).collect();
    match (matching.pop(), matching.len()) {
        (Some(only), 0) => Ok(only),
        (Some(_), others) => Err(CliError::Usage {
            what: format!("{} messages have an id that begins with {id}", others + 1),
            help: "give more digits; `pigeon --json inbox` shows the whole ids".into(),
        }),
        (None, _) => Err(CliError::NotFound {
            what: format!("no message in the inbox has an id that begins with {id}"),
            help: "`pigeon inbox` lists the messages",
        }),
    }
}
