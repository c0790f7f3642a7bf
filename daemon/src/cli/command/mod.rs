//! The commands: each asks the daemon and shows the answer.

mod account;
mod attachment;
mod card;
mod lines;
mod meet;
mod messages;
mod send;
mod watch;

use std::path::Path;

use pigeon_proto::api;

use super::args::{AttachmentCommand, BundlesCommand, CardCommand, Command, ContactCommand};
use super::client::{About, Daemon};
use super::error::CliError;
use super::json::{AsJson, Json};
use super::output::Out;
use super::view;

/// Carries out `command` at the daemon whose socket is `socket`.
///
/// # Errors
/// Every [`CliError`]; what was written to `out` until then stands.
pub(super) async fn run(command: Command, socket: &Path, out: &mut Out) -> Result<(), CliError> {
    let connect = || Daemon::connect(socket);
    match command {
        Command::Id => id(&connect().await?, out).await,
        Command::Card(command) => card_command(command, socket, out).await,
        Command::Account(command) => account::run(command, socket, out).await,
        Command::Meet { neighbour } => meet::run(&connect().await?, neighbour.unwrap_or_default(), out).await,
        Command::Contact(command) => contact_command(command, &connect().await?, out).await,
        Command::Send(message) if message.lines => send::lines(&connect().await?, message, out).await,
        Command::Send(message) => {
            // What is wrong with the arguments is said whether or not a daemon answers.
            let file = attachment::Attached::open(&message)?;
            let text = match (&file, message.text.as_deref()) {
                (Some(_), None) => String::new(),
                (Some(_), Some(text)) if text != "-" => text.to_owned(),
                (_, text) => send::text(text)?,
            };
            let daemon = connect().await?;
            match file {
                Some(file) => attachment::send(&daemon, message, text, file, out).await,
                None => send::one(&daemon, message, text, out).await,
            }
        }
        Command::Inbox { unread, page } => messages::inbox(&connect().await?, unread, &page, out).await,
        Command::Read { id } => messages::read(&connect().await?, &id, out).await,
        Command::Outbox { page } => messages::outbox(&connect().await?, &page, out).await,
        Command::Delete { id } => messages::delete(&connect().await?, &id, out).await,
        Command::Cancel { id } => messages::cancel(&connect().await?, &id, out).await,
        Command::Attachment(AttachmentCommand::Save { id, file, force }) => {
            attachment::save(&connect().await?, &id, file, force, out).await
        }
        Command::Bundles(which) => bundles(&connect().await?, which, out).await,
        Command::Neighbours => neighbours(&connect().await?, out).await,
        Command::Status => status(&connect().await?, out).await,
        Command::Watch(args) => watch::run(&connect().await?, &args, out).await,
        // Has been carried out without a runtime.
        Command::Store(_) => Ok(()),
        Command::Completions { shell } => super::completions(shell, out),
    }
}

async fn card_command(command: CardCommand, socket: &Path, out: &mut Out) -> Result<(), CliError> {
    let connect = || Daemon::connect(socket);
    match command {
        CardCommand::Show { qr } => card::show(&connect().await?, &qr, out).await,
        CardCommand::Import { card } => {
            // What is wrong with the arguments is said whether or not a daemon answers.
            let card = card::find(&card)?;
            card::import(&connect().await?, card, out).await
        }
        CardCommand::List => card::list(&connect().await?, out).await,
        CardCommand::Renew { qr } => card::renew(&connect().await?, &qr, out).await,
        CardCommand::Issue { name, qr } => card::issue(&connect().await?, name, &qr, out).await,
        CardCommand::Revoke { name } => card::revoke(&connect().await?, name, out).await,
    }
}

/// Prints a reply: as JSON where a program reads, else with `for_people`.
fn show<T: AsJson>(
    out: &mut Out,
    reply: &T,
    for_people: impl FnOnce(&mut Out, &T) -> Result<(), CliError>,
) -> Result<(), CliError> {
    if out.is_json() { out.object(&Json(reply)) } else { for_people(out, reply) }
}

async fn id(daemon: &Daemon, out: &mut Out) -> Result<(), CliError> {
    let reply = daemon.answer(About::Node, daemon.client().identity(api::IdentityRequest {})).await?;
    show(out, &reply, view::node::identity)
}

async fn contacts(daemon: &Daemon, out: &mut Out) -> Result<(), CliError> {
    let reply = daemon.answer(About::Node, daemon.client().contacts(api::ContactsRequest {})).await?;
    show(out, &reply, view::contacts::list)
}

async fn contact_command(command: ContactCommand, daemon: &Daemon, out: &mut Out) -> Result<(), CliError> {
    let found = match command {
        ContactCommand::List => return contacts(daemon, out).await,
        ContactCommand::Requests => {
            let request = api::ContactRequestsRequest {};
            let reply = daemon.answer(About::Contact, daemon.client().contact_requests(request)).await?;
            return show(out, &reply, view::contacts::requests);
        }
        ContactCommand::Search { jid } => {
            daemon.answer(About::Contact, daemon.client().search_contact(api::ContactByJid { jid })).await?
        }
        ContactCommand::Add { jid } => {
            daemon.answer(About::Contact, daemon.client().add_contact(api::ContactByJid { jid })).await?
        }
        ContactCommand::Accept { jid } => {
            daemon.answer(About::Contact, daemon.client().accept_contact(api::ContactByJid { jid })).await?
        }
    };
    show(out, &found, view::contacts::found)
}

async fn neighbours(daemon: &Daemon, out: &mut Out) -> Result<(), CliError> {
    let reply = daemon.answer(About::Node, daemon.client().neighbours(api::NeighboursRequest {})).await?;
    show(out, &reply, view::node::neighbours)
}

async fn status(daemon: &Daemon, out: &mut Out) -> Result<(), CliError> {
    let reply = daemon.answer(About::Node, daemon.client().status(api::StatusRequest {})).await?;
    show(out, &reply, view::node::status)
}

async fn bundles(daemon: &Daemon, which: BundlesCommand, out: &mut Out) -> Result<(), CliError> {
    match which {
        BundlesCommand::List { limit, after } => {
            let request = api::BundlesRequest { limit, after: after.unwrap_or_default() };
            let reply = daemon.answer(About::Bundle, daemon.client().bundles(request)).await?;
            show(out, &reply, view::bundles::list)
        }
        BundlesCommand::Show { id, hex } => {
            let request = api::BundleRequest { bundle_id: id };
            let reply = daemon.answer(About::Bundle, daemon.client().bundle(request)).await?;
            show(out, &reply, |out, detail| view::bundles::detail(out, detail, hex))
        }
        BundlesCommand::Stats => {
            let request = api::BundleStatsRequest {};
            let reply = daemon.answer(About::Node, daemon.client().bundle_stats(request)).await?;
            show(out, &reply, view::bundles::stats)
        }
    }
}
