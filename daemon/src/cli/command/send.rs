//! `pigeon send`: one message, or a message for each line of input.

use std::io::{self, IsTerminal as _, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pigeon_proto::api::{SendReply, SendRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::super::args::SendArgs;
use super::super::client::{About, Daemon};
use super::super::error::{CliError, complain};
use super::super::output::Out;
use super::super::{text as shown, view};
use super::lines::{self, Line, TEXT_BYTES_MAX};
use super::show;

/// Lines read ahead of the daemon.
const LINES_AHEAD: usize = 64;

/// The text to send: the argument, or the standard input without the line end that ends it.
///
/// # Errors
/// [`CliError::Usage`] where there is none, or too much of it.
pub(super) fn text(argument: Option<&str>) -> Result<String, CliError> {
    let text = match argument {
        Some(text) if text != "-" => text.to_owned(),
        _ => read_all()?,
    };
    if text.is_empty() {
        let help = "give it as an argument, or on the standard input";
        return Err(CliError::Usage { what: "there is no text to send".into(), help: help.into() });
    }
    Ok(text)
}

/// Sends one message.
pub(super) async fn one(
    daemon: &Daemon,
    message: SendArgs,
    text: String,
    out: &mut Out,
) -> Result<(), CliError> {
    let SendArgs { to, lifetime, require_e2e, .. } = message;
    let request = SendRequest { to, text, lifetime_h: lifetime.unwrap_or(0), ..SendRequest::default() };
    let mut reply = daemon.answer(About::Contact, daemon.client().send(request.clone())).await?;
    if !reply.bridge_would_read.is_empty() {
        may_be_read(&request.to, &reply.bridge_would_read, require_e2e)?;
        let request = SendRequest { bridge_may_read: true, ..request };
        reply = daemon.answer(About::Contact, daemon.client().send(request)).await?;
    }
    show(out, &reply, view::messages::sent)
}

/// Says, before anything is sent, that the bridge will read it; refuses where the user wants no such thing.
fn may_be_read(to: &str, bridge: &str, require_e2e: bool) -> Result<(), CliError> {
    if require_e2e {
        return Err(CliError::Usage {
            what: format!("there is no card of {to}: the bridge {bridge} would read the message"),
            help: "import their card (`pigeon card import`), or leave out --require-e2e; nothing was sent"
                .into(),
        });
    }
    complain(
        "note",
        "33",
        &format!("there is no card of {to}: the bridge {bridge} will be able to read this message"),
    );
    Ok(())
}

/// Sends each line of the standard input. A reply is printed as soon as its message is durable.
///
/// # Errors
/// [`CliError::LinesRefused`] when all was read but not all taken, [`CliError::LinesCut`] when the
/// connection ended before.
pub(super) async fn lines(daemon: &Daemon, message: SendArgs, out: &mut Out) -> Result<(), CliError> {
    let (reader, requests) = Reader::start(message);
    let mut progress = Progress::default();
    let outcome = take_replies(daemon, requests, &mut progress, out).await;
    let outcome = match outcome {
        Ok(()) if progress.answered < reader.submitted() => Err(daemon.ended_early()),
        other => other,
    };
    match outcome {
        Err(source) => Err(CliError::LinesCut {
            source: Box::new(source),
            acknowledged: progress.answered - progress.refused,
            last: progress.last,
        }),
        Ok(()) => match progress.refused + reader.unfit() {
            0 => Ok(()),
            refused => Err(CliError::LinesRefused { refused, lines: progress.answered + reader.unfit() }),
        },
    }
}

/// What came back so far.
#[derive(Debug, Default)]
struct Progress {
    answered: u64,
    refused: u64,
    /// The number of the last line that was acknowledged.
    last: u64,
    /// Nobody reads our output any more. The messages matter more: they are sent all the same.
    mute: bool,
}

async fn take_replies(
    daemon: &Daemon,
    requests: mpsc::Receiver<SendRequest>,
    progress: &mut Progress,
    out: &mut Out,
) -> Result<(), CliError> {
    let failed = |status: &tonic::Status| daemon.error(About::Contact, status);
    let call = daemon.client().send_stream(ReceiverStream::new(requests)).await;
    let mut replies = call.map_err(|status| failed(&status))?.into_inner();
    while let Some(reply) = replies.message().await.map_err(|status| failed(&status))? {
        progress.answered += 1;
        if reply.error.is_empty() {
            progress.last = reply.tag;
        } else {
            progress.refused += 1;
            complain("error", "31", &format!("line {}: {}", reply.tag, reply.error));
        }
        if !progress.mute {
            match print(out, &reply) {
                Err(CliError::OutputClosed) => progress.mute = true,
                other => other?,
            }
        }
    }
    Ok(())
}

fn print(out: &mut Out, reply: &SendReply) -> Result<(), CliError> {
    show(out, reply, |out, reply| match reply.error.is_empty() {
        true => out.line(&shown::one_line(&reply.message_id)),
        false => Ok(()),
    })?;
    out.flush()
}

/// Reads lines on a thread of its own: a read from a terminal or pipe blocks, and nothing can interrupt it.
struct Reader {
    /// Lines handed to the connection.
    submitted: Arc<AtomicU64>,
    /// Lines that could not be sent at all; each was complained about.
    unfit: Arc<AtomicU64>,
}

impl Reader {
    fn start(message: SendArgs) -> (Self, mpsc::Receiver<SendRequest>) {
        let (to_daemon, requests) = mpsc::channel(LINES_AHEAD);
        let reader = Self { submitted: Arc::default(), unfit: Arc::default() };
        let (submitted, unfit) = (Arc::clone(&reader.submitted), Arc::clone(&reader.unfit));
        // The thread is not joined: when the daemon is gone it may wait for input for ever.
        std::thread::spawn(move || read_lines(&message, &to_daemon, &submitted, &unfit));
        (reader, requests)
    }

    fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::SeqCst)
    }

    fn unfit(&self) -> u64 {
        self.unfit.load(Ordering::SeqCst)
    }
}

fn read_lines(
    message: &SendArgs,
    to_daemon: &mpsc::Sender<SendRequest>,
    submitted: &AtomicU64,
    unfit: &AtomicU64,
) {
    let mut input = io::stdin().lock();
    for number in 1.. {
        let text = match lines::next(&mut input) {
            Ok(None) => return,
            Ok(Some(Line::Text(text))) => text,
            Ok(Some(line)) => {
                unfit.fetch_add(1, Ordering::SeqCst);
                complain("error", "31", &format!("line {number}: {}", line.problem().unwrap_or_default()));
                continue;
            }
            Err(error) => {
                unfit.fetch_add(1, Ordering::SeqCst);
                complain("error", "31", &format!("line {number}: cannot read the standard input: {error}"));
                return;
            }
        };
        if text.is_empty() {
            continue;
        }
        let request = SendRequest {
            to: message.to.clone(),
            text,
            lifetime_h: message.lifetime.unwrap_or(0),
            tag: number,
            ..SendRequest::default()
        };
        // Counted first: a message that was submitted is never missing from the count.
        submitted.fetch_add(1, Ordering::SeqCst);
        if to_daemon.blocking_send(request).is_err() {
            return;
        }
    }
}

fn read_all() -> Result<String, CliError> {
    let unusable = |what: String| CliError::Usage {
        what,
        help: format!("a message is UTF-8 text of at most {TEXT_BYTES_MAX} bytes"),
    };
    let stdin = io::stdin().lock();
    if stdin.is_terminal() {
        complain("note", "33", "type the message, then Ctrl-D on a line of its own");
    }
    let mut text = String::new();
    // Two more than allowed: a line end, and the byte that is too many.
    stdin
        .take(TEXT_BYTES_MAX as u64 + 2)
        .read_to_string(&mut text)
        .map_err(|error| unusable(format!("cannot read a text from the standard input: {error}")))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(unusable("the text on the standard input is too long".into()));
    }
    Ok(text)
}
