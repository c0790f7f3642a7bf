//! `pigeon inbox`, `outbox`, `read`, `cancel` and `delete`.

use pigeon_proto::api;

use super::super::args::PageArgs;
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
pub(super) async fn inbox(
    daemon: &Daemon,
    unread_only: bool,
    page: &PageArgs,
    out: &mut Out,
) -> Result<(), CliError> {
    let before = match &page.before {
        Some(id) => full_id(daemon, id).await?,
        None => String::new(),
    };
    let request = api::InboxRequest { unread_only, limit: page.limit, before };
    let reply = daemon.answer(About::Message, daemon.client().inbox(request)).await?;
    show(out, &reply, view::messages::inbox)
}

/// Lists the messages sent.
pub(super) async fn outbox(daemon: &Daemon, page: &PageArgs, out: &mut Out) -> Result<(), CliError> {
    let before = match &page.before {
        Some(id) => full_sent_id(daemon, id).await?,
        None => String::new(),
    };
    let request = api::OutboxRequest { limit: page.limit, before };
    let reply = daemon.answer(About::Message, daemon.client().outbox(request)).await?;
    show(out, &reply, view::messages::outbox)
}

/// Deletes one message, received or sent.
pub(super) async fn delete(daemon: &Daemon, id: &str, out: &mut Out) -> Result<(), CliError> {
    let message_id = match digits(id, "inbox")? {
        Digits::All(id) => id,
        Digits::First(first) => {
            let mut ids = inbox_ids(daemon).await?;
            ids.extend(outbox_ids(daemon).await?);
            only(ids.into_iter(), &first, "inbox", "`pigeon inbox` and `pigeon outbox` list the messages")?
        }
    };
    let call = async { daemon.client().delete(api::DeleteRequest { message_id }).await };
    let reply = daemon.answer(About::Message, call).await?;
    show(out, &reply, view::messages::deleted)
}

/// All ids in the inbox, a page at a time.
async fn inbox_ids(daemon: &Daemon) -> Result<Vec<String>, CliError> {
    let (mut ids, mut before) = (Vec::new(), String::new());
    loop {
        let request = api::InboxRequest { unread_only: false, limit: 0, before };
        let reply = daemon.answer(About::Node, daemon.client().inbox(request)).await?;
        let first = reply.messages.first().map(|message| message.message_id.clone());
        ids.extend(reply.messages.into_iter().map(|message| message.message_id));
        match first {
            Some(first) if reply.more => before = first,
            _ => return Ok(ids),
        }
    }
}

/// All ids in the outbox, a page at a time.
async fn outbox_ids(daemon: &Daemon) -> Result<Vec<String>, CliError> {
    let (mut ids, mut before) = (Vec::new(), String::new());
    loop {
        let request = api::OutboxRequest { limit: 0, before };
        let reply = daemon.answer(About::Node, daemon.client().outbox(request)).await?;
        let first = reply.messages.first().map(|message| message.message_id.clone());
        ids.extend(reply.messages.into_iter().map(|message| message.message_id));
        match first {
            Some(first) if reply.more => before = first,
            _ => return Ok(ids),
        }
    }
}

/// Shows one message and marks it as read.
pub(super) async fn read(daemon: &Daemon, id: &str, out: &mut Out) -> Result<(), CliError> {
    let message_id = full_id(daemon, id).await?;
    let call = async { daemon.client().read(api::ReadRequest { message_id }).await };
    let message = daemon.answer(About::Message, call).await?;
    show(out, &message, view::messages::message)
}

/// Takes back one message sent.
pub(super) async fn cancel(daemon: &Daemon, id: &str, out: &mut Out) -> Result<(), CliError> {
    let message_id = full_sent_id(daemon, id).await?;
    let call = async { daemon.client().cancel(api::CancelRequest { message_id }).await };
    let message = daemon.answer(About::Message, call).await?;
    show(out, &message, view::messages::cancelled)
}

/// The daemon wants whole ids; people type the digits that tell their messages apart.
pub(super) async fn full_id(daemon: &Daemon, id: &str) -> Result<String, CliError> {
    match digits(id, "inbox")? {
        Digits::All(id) => Ok(id),
        Digits::First(first) => {
            let ids = inbox_ids(daemon).await?.into_iter();
            only(ids, &first, "inbox", "`pigeon inbox` lists the messages")
        }
    }
}

async fn full_sent_id(daemon: &Daemon, id: &str) -> Result<String, CliError> {
    match digits(id, "outbox")? {
        Digits::All(id) => Ok(id),
        Digits::First(first) => {
            let ids = outbox_ids(daemon).await?.into_iter();
            only(ids, &first, "outbox", "`pigeon outbox` lists the messages")
        }
    }
}

/// What was typed of an id.
enum Digits {
    All(String),
    First(String),
}

fn digits(id: &str, folder: &str) -> Result<Digits, CliError> {
    let id = id.to_ascii_lowercase();
    if id.len() < ID_DIGITS_MIN || id.len() > ID_DIGITS || !id.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        return Err(CliError::Usage {
            what: format!("`{id}` is no message id"),
            help: format!(
                "an id has {ID_DIGITS} hex digits, the first {ID_DIGITS_MIN} or more will do; `pigeon {folder}` shows them"
            ),
        });
    }
    Ok(if id.len() == ID_DIGITS { Digits::All(id) } else { Digits::First(id) })
}

/// The one id that begins so.
fn only(
    ids: impl Iterator<Item = String>,
    first: &str,
    folder: &str,
    help: &'static str,
) -> Result<String, CliError> {
    let mut matching: Vec<String> = ids.filter(|candidate| candidate.starts_with(first)).collect();
    match (matching.pop(), matching.len()) {
        (Some(only), 0) => Ok(only),
        (Some(_), others) => Err(CliError::Usage {
            what: format!("{} messages have an id that begins with {first}", others + 1),
            help: format!("give more digits; `pigeon --json {folder}` shows the whole ids"),
        }),
        (None, _) => {
            let what = format!("no message in the {folder} has an id that begins with {first}");
            Err(CliError::NotFound { what, help })
        }
    }
}
