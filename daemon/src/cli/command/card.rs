//! `pigeon card`: this node's card out, others' cards in.

use std::fs::File;
use std::io::{self, Read};

use pigeon_proto::api;

use super::super::args::QrArgs;
use super::super::client::{About, Daemon};
use super::super::error::{CliError, ExitStatus, complain};
use super::super::output::Out;
use super::super::{qr, text, view};
use super::show as show_reply;

/// Every card begins so (`docs/wire-format.md` section 2).
const CARD_PREFIX: &str = "pigeon:card:";
/// A card has at most 4,096 bytes of text; a mail program may have wrapped it, hence the room for blanks.
const CARD_INPUT_MAX: u64 = 8_192;

/// Shows this node's published card.
pub(super) async fn show(daemon: &Daemon, qr: &QrArgs, out: &mut Out) -> Result<(), CliError> {
    let reply = daemon.answer(About::Node, daemon.client().identity(api::IdentityRequest {})).await?;
    if reply.card.is_empty() && !out.is_json() {
        return Err(CliError::Refused {
            code: ExitStatus::Refused,
            message: "this node has no card yet: it does not know the day".into(),
            help: Some(
                "set the clock (NTP), or meet a neighbour that knows; `pigeon status` shows the clock".into(),
            ),
        });
    }
    show_reply(out, &reply, |out, reply| print(out, &reply.card, qr))
}

/// A card's text, and above it the QR code: in a terminal, or where it is asked for.
fn print(out: &mut Out, card: &str, qr: &QrArgs) -> Result<(), CliError> {
    let columns = if out.is_terminal() { terminal_columns() } else { None };
    if qr.qr || out.is_terminal() && !qr.no_qr {
        match qr::draw(card, out.has_colour(), columns) {
            Ok(drawing) => out.bytes(drawing.as_bytes())?,
            Err(why) => complain("note", "33", &format!("no QR code: {why}")),
        }
    }
    out.line(&text::one_line(card))
}

/// Lists the cards given out.
pub(super) async fn list(daemon: &Daemon, out: &mut Out) -> Result<(), CliError> {
    let reply = daemon.answer(About::Node, daemon.client().cards(api::CardsRequest {})).await?;
    show_reply(out, &reply, view::contacts::cards)
}

/// Publishes a new card and shows it.
pub(super) async fn renew(daemon: &Daemon, qr: &QrArgs, out: &mut Out) -> Result<(), CliError> {
    let reply = daemon.answer(About::Node, daemon.client().renew_card(api::RenewCardRequest {})).await?;
    show_reply(out, &reply, |out, reply| print(out, &reply.card, qr))
}

/// Shows a card for one person, made now or before.
pub(super) async fn issue(daemon: &Daemon, name: String, qr: &QrArgs, out: &mut Out) -> Result<(), CliError> {
    let request = api::IssueCardRequest { name };
    let reply = daemon.answer(About::Node, daemon.client().issue_card(request)).await?;
    show_reply(out, &reply, |out, reply| print(out, &reply.card, qr))
}

/// Revokes one person's card, or the former published ones.
pub(super) async fn revoke(daemon: &Daemon, name: Option<String>, out: &mut Out) -> Result<(), CliError> {
    let request = api::RevokeCardRequest { name: name.unwrap_or_default() };
    let reply = daemon.answer(About::Node, daemon.client().revoke_card(request)).await?;
    show_reply(out, &reply, view::contacts::revoked)
}

/// Adds or renews the contact of `card`.
pub(super) async fn import(daemon: &Daemon, card: String, out: &mut Out) -> Result<(), CliError> {
    let request = api::ImportCardRequest { card };
    let contact = daemon.answer(About::Card, daemon.client().import_card(request)).await?;
    show_reply(out, &contact, view::contacts::imported)
}

/// The card that an argument means: its text, what is in a file, or what comes on the standard input.
///
/// # Errors
/// [`CliError::Usage`] where there is no card to be found. Whether it is a good one, the daemon knows.
pub(super) fn find(argument: &str) -> Result<String, CliError> {
    let (place, found) = if argument.trim_start().starts_with(CARD_PREFIX) {
        ("the argument".to_owned(), Ok(argument.to_owned()))
    } else if argument == "-" {
        ("the standard input".to_owned(), read_bounded(io::stdin().lock()))
    } else {
        (format!("file {argument}"), File::open(argument).and_then(read_bounded))
    };
    let card = found.map_err(|error| no_card(format!("cannot read a card from {place}: {error}")))?;
    let card: String = card.split_ascii_whitespace().collect();
    if !card.starts_with(CARD_PREFIX) {
        return Err(no_card(format!("there is no card in {place}")));
    }
    Ok(card)
}

fn no_card(what: String) -> CliError {
    let help = "a card is the text that `pigeon card show` prints on the other node: pigeon:card:…";
    CliError::Usage { what, help: help.into() }
}

fn read_bounded(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    let read = input.take(CARD_INPUT_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > CARD_INPUT_MAX {
        return Err(io::Error::other(format!("longer than {CARD_INPUT_MAX} bytes")));
    }
    Ok(text)
}

fn terminal_columns() -> Option<usize> {
    rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| size.ws_col.into())
        .filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_card_is_found_in_the_argument_or_a_file_wrapped_or_not() {
        assert_eq!(find("pigeon:card:abc").unwrap(), "pigeon:card:abc");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "\n  pigeon:card:ab\r\n  c\n\n").unwrap();
        assert_eq!(find(file.path().to_str().unwrap()).unwrap(), "pigeon:card:abc");
    }

    #[test]
    fn what_is_no_card_is_refused_before_the_daemon_is_asked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let too_long = format!("pigeon:card:{}", "a".repeat(9_000));
        for content in ["", "Pigeon:card:abc", &too_long] {
            std::fs::write(&file, content).unwrap();
            let refused = find(file.path().to_str().unwrap());
            assert!(matches!(refused, Err(CliError::Usage { .. })), "{content:.20}");
        }
        assert!(matches!(find("/nonexistent"), Err(CliError::Usage { .. })));
        assert!(matches!(find("/"), Err(CliError::Usage { .. })), "a directory is no card");
    }
}
