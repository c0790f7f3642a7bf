//! `pigeon meet`: two people compare six digits, and have each other's card.

use std::io::{self, IsTerminal as _, Write as _};

use pigeon_proto::api::meet_request::Part;
use pigeon_proto::api::{Contact, MeetReply, MeetRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::super::client::{About, Daemon};
use super::super::error::{CliError, complain};
use super::super::json::Json;
use super::super::output::Out;
use super::super::view;
use super::lines::{self, Line};

/// Requests of one meeting: whom, and the answer.
const REQUESTS_MAX: usize = 2;

/// Meets the neighbour whose node key begins with `neighbour`.
///
/// # Errors
/// Whatever the meeting came to, but the other's card.
pub(super) async fn run(daemon: &Daemon, neighbour: String, out: &mut Out) -> Result<(), CliError> {
    let (requests, stream) = mpsc::channel(REQUESTS_MAX);
    let ask = |part| MeetRequest { part: Some(part) };
    // Has room for all there are.
    let _ = requests.try_send(ask(Part::Neighbour(neighbour)));
    let mut client = daemon.client();
    let mut replies = daemon.answer(About::Node, client.meet(ReceiverStream::new(stream))).await?;
    let mut answer = Answer::None;
    loop {
        let reply = tokio::select! {
            reply = replies.message() => reply.map_err(|status| daemon.error(About::Node, &status))?,
            same = answer.given() => {
                let _ = requests.try_send(ask(Part::Same(same?)));
                continue;
            }
        };
        let reply = reply.ok_or_else(|| daemon.ended_early())?;
        if !reply.code.is_empty() {
            answer = Answer::ask(out.is_json());
        }
        if show(out, &reply)? {
            return Ok(());
        }
    }
}

/// Whether that was the last.
fn show(out: &mut Out, reply: &MeetReply) -> Result<bool, CliError> {
    if out.is_json() {
        out.object(&Json(reply))?;
    } else {
        view::contacts::meeting(out, reply)?;
    }
    out.flush()?;
    Ok(reply.contact.as_ref().is_some_and(|contact| *contact != Contact::default()))
}

/// What the person says, who may be slower than the other side.
enum Answer {
    /// Not asked yet, or answered.
    None,
    /// Comes from a thread: nothing else can wait for the standard input and for the daemon.
    Asked(mpsc::Receiver<Result<bool, CliError>>),
}

impl Answer {
    fn ask(json: bool) -> Self {
        let (given, answer) = mpsc::channel(1);
        std::thread::spawn(move || {
            // The meeting may be over.
            let _ = given.blocking_send(read(json));
        });
        Self::Asked(answer)
    }

    /// The answer, once; for ever where none is awaited.
    async fn given(&mut self) -> Result<bool, CliError> {
        let given = match self {
            Self::None => return std::future::pending().await,
            Self::Asked(answer) => answer.recv().await,
        };
        *self = Self::None;
        given.unwrap_or_else(|| Err(no_answer("the standard input cannot be read")))
    }
}

/// Asks until it is answered with yes or no.
fn read(json: bool) -> Result<bool, CliError> {
    let mut input = io::stdin().lock();
    loop {
        if !json && io::stdin().is_terminal() {
            let mut screen = io::stderr();
            let asked = write!(screen, "Do both screens show this code? [yes/no] ");
            asked.and_then(|()| screen.flush()).map_err(CliError::output)?;
        }
        match lines::next(&mut input) {
            Ok(Some(Line::Text(line))) => match line.trim().to_ascii_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => complain(
                    "note",
                    "33",
                    "answer yes or no; a code that differs in one digit is another code",
                ),
            },
            Ok(Some(_)) => {}
            Ok(None) => return Err(no_answer("the standard input ended without an answer")),
            Err(error) => return Err(no_answer(&error.to_string())),
        }
    }
}

fn no_answer(why: &str) -> CliError {
    CliError::Usage {
        what: format!("nobody said whether the codes are the same: {why}"),
        help: "answer yes or no on the standard input; nothing was kept, start again on both sides".into(),
    }
}
