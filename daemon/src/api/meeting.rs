//! A meeting in person as a call: its requests are the person's answers, its replies how far it has come.

use futures::{Stream, StreamExt};
use pigeon_proto::api;
use pigeon_proto::api::meet_request::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::Service;
use super::convert::{contact, status_of};
use crate::meeting::{self, MeetError, Progress};

/// Replies that wait for the app: all there are.
const REPLIES_MAX: usize = 4;

/// Begins a meeting. It ends when the app goes away, unless its person has confirmed the code by then.
///
/// # Errors
/// Where the first request names nobody.
pub(super) async fn meet(
    service: &Service,
    mut requests: Streaming<api::MeetRequest>,
) -> Result<impl Stream<Item = Result<api::MeetReply, Status>> + use<>, Status> {
    let first = requests.message().await?.and_then(|request| request.part);
    let Some(Part::Neighbour(whom)) = first else {
        return Err(Status::invalid_argument(
            "the first request of a meeting names the neighbour, or nobody",
        ));
    };
    let answers = requests.filter_map(|request| async move {
        match request.ok()?.part? {
            Part::Same(same) => Some(same),
            Part::Neighbour(_) => None,
        }
    });
    let (progress, replies) = mpsc::channel(REPLIES_MAX);
    let (mailbox, inputs) = (service.mailbox.clone(), service.inputs.clone());
    tokio::spawn(async move {
        meeting::meet(mailbox, inputs, whom, Box::pin(answers), progress).await;
    });
    let node_key = service.transports.node_key().map(|key| key.to_string()).unwrap_or_default();
    let waiting = api::MeetReply { state: "waiting".into(), node_key, ..api::MeetReply::default() };
    let replies = ReceiverStream::new(replies).map(|progress| match progress {
        Ok(progress) => Ok(reply(progress)),
        Err(error) => Err(status(&error)),
    });
    let stop = service.cancel.clone().cancelled_owned();
    Ok(futures::stream::iter([Ok(waiting)]).chain(replies).take_until(stop))
}

fn reply(progress: Progress) -> api::MeetReply {
    let (state, code, met) = match progress {
        Progress::Code(code) => ("compare", code, None),
        Progress::Confirmed => ("confirmed", String::new(), None),
        Progress::Met(met) => ("met", String::new(), Some(contact(&met))),
    };
    api::MeetReply { state: state.into(), node_key: String::new(), code, contact: met }
}

fn status(error: &MeetError) -> Status {
    let code = match error {
        MeetError::Mailbox(error) => return status_of(error),
        MeetError::Name { .. } => Code::InvalidArgument,
        MeetError::Nobody => Code::NotFound,
        MeetError::Stopping => Code::Unavailable,
        MeetError::Busy | MeetError::Several { .. } | MeetError::NoCard | MeetError::NoCode => {
            Code::FailedPrecondition
        }
        MeetError::NoAnswer
        | MeetError::NotCompared
        | MeetError::NotConfirmed
        | MeetError::Left
        | MeetError::Differ
        | MeetError::OtherDiffers
        | MeetError::OtherLeft
        | MeetError::OtherComplains
        | MeetError::Gone
        | MeetError::Broken(_)
        | MeetError::OutOfTurn { .. } => Code::Aborted,
    };
    Status::new(code, error.to_string())
}
