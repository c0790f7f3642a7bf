//! Attachments between local apps and the mailbox, in chunks: no app's paths are read here, and no daemon's there.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use pigeon_bundle::attachment::ATTACHMENT_SIZE_MAX;
use pigeon_proto::api;
use pigeon_proto::api::attachment_chunk::Part as Chunk;
use pigeon_proto::api::send_attachment_request::Part;
use tonic::{Status, Streaming};

use super::convert::{attachment, status_of};
use crate::folder::files::Reader;
use crate::mailbox::{Attached, Mailbox, MailboxError};

/// Bytes of one chunk from a sender, at most.
const CHUNK_SIZE_MAX: usize = 1 << 20;
/// How long a sender may be silent: what it has sent so far stands in memory meanwhile, and others wait.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Takes a message with its attachment.
pub(super) async fn send(
    mailbox: &Arc<Mailbox>,
    mut requests: Streaming<api::SendAttachmentRequest>,
) -> Result<api::SendReply, Status> {
    let Some(Part::Head(head)) = next(&mut requests).await? else {
        return Err(Status::invalid_argument("the first message must be the attachment's head"));
    };
    let Some(message) = head.message else {
        return Err(Status::invalid_argument("the attachment's head has no message"));
    };
    let announced = usize::try_from(head.size).unwrap_or(usize::MAX);
    check_size(announced)?;
    let _permit = mailbox.upload().await.map_err(|e| status_of(&e))?;
    let mut content = Vec::with_capacity(announced);
    while let Some(part) = next(&mut requests).await? {
        let Part::Data(data) = part else {
            return Err(Status::invalid_argument("only the first message may be a head"));
        };
        if data.len() > CHUNK_SIZE_MAX {
            let size = data.len();
            return Err(Status::invalid_argument(format!(
                "chunk of {size} bytes; send at most {CHUNK_SIZE_MAX}"
            )));
        }
        check_size(content.len() + data.len())?;
        content.extend_from_slice(&data);
    }
    if announced > 0 && content.len() != announced {
        let got = content.len();
        return Err(Status::invalid_argument(format!(
            "{got} bytes came of {announced} announced; send it again"
        )));
    }
    let attached = Attached { name: head.name, media_type: head.media_type, content };
    let sent = mailbox.send_attached(&message.to, message.text, message.lifetime_h, attached).await;
    let sent = sent.map_err(|e| status_of(&e))?;
    Ok(api::SendReply {
        message_id: sent.message.to_string(),
        bundle_id: sent.bundle.to_string(),
        uplink: sent.uplink,
        tag: message.tag,
        error: String::new(),
        bridge_would_read: String::new(),
    })
}

async fn next(requests: &mut Streaming<api::SendAttachmentRequest>) -> Result<Option<Part>, Status> {
    let request = tokio::time::timeout(SILENCE_MAX, requests.message()).await;
    let request =
        request.map_err(|_| Status::deadline_exceeded("nothing was sent for 30 s; send it again"))??;
    match request {
        None => Ok(None),
        Some(api::SendAttachmentRequest { part: Some(part) }) => Ok(Some(part)),
        Some(api::SendAttachmentRequest { part: None }) => Err(Status::invalid_argument("an empty message")),
    }
}

fn check_size(size: usize) -> Result<(), Status> {
    if size > ATTACHMENT_SIZE_MAX {
        return Err(Status::invalid_argument(format!(
            "an attachment has at most {ATTACHMENT_SIZE_MAX} bytes; send it in pieces"
        )));
    }
    Ok(())
}

/// What a reader is at.
enum Reading {
    Head(api::Attachment, Reader),
    Data(Reader),
}

/// The attachment of a message received, a chunk at a time.
pub(super) async fn read(
    mailbox: &Mailbox,
    message_id: &str,
) -> Result<impl Stream<Item = Result<api::AttachmentChunk, Status>> + Send + use<>, Status> {
    let found = mailbox.attachment(message_id).map_err(|e| status_of(&e))?;
    let unreadable = |source| MailboxError::AttachmentFile { path: found.files.path(&found.owner), source };
    let reader = found.files.open(&found.owner).await.map_err(|source| status_of(&unreadable(source)))?;
    let start = Reading::Head(attachment(found.view), reader);
    Ok(futures::stream::try_unfold(start, |reading| async {
        let (part, reader) = match reading {
            Reading::Head(head, reader) => (Chunk::Head(head), reader),
            Reading::Data(mut reader) => {
                let read = reader.chunk().await;
                match read.map_err(|error| Status::internal(format!("reading the attachment: {error}")))? {
                    None => return Ok(None),
                    Some(data) => (Chunk::Data(data), reader),
                }
            }
        };
        Ok(Some((api::AttachmentChunk { part: Some(part) }, Reading::Data(reader))))
    }))
}
