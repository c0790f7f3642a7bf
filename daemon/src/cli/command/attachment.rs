//! `pigeon send --attach` and `pigeon attachment save`: files out and in, through the daemon's API.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pigeon_proto::api;
use pigeon_proto::api::attachment_chunk::Part as Chunk;
use pigeon_proto::api::send_attachment_request::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::super::args::SendArgs;
use super::super::client::{About, Daemon};
use super::super::error::CliError;
use super::super::output::Out;
use super::super::{text, view};
use super::messages::full_id;
use super::show;

/// Largest attachment in bytes, as the daemon has it.
const SIZE_MAX: u64 = 16 << 20;
/// Bytes read and sent at a time, and how many such chunks are read ahead of the daemon.
const CHUNK_SIZE: usize = 64 << 10;
const CHUNKS_AHEAD: usize = 4;
/// The daemon seals and syncs hundreds of parts, maybe after those of others, maybe on an SD card.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// How long the next chunk of a file may take.
const CHUNK_MAX: Duration = Duration::from_secs(60);

/// A file to be attached.
pub(super) struct Attached {
    file: File,
    head: api::AttachmentHead,
    path: PathBuf,
}

impl Attached {
    /// Opens the file that the arguments name, if any.
    ///
    /// # Errors
    /// [`CliError::Usage`] where it is no file that can be attached.
    pub(super) fn open(message: &SendArgs) -> Result<Option<Self>, CliError> {
        let Some(path) = message.attach.clone() else { return Ok(None) };
        let shown = path.display();
        let unfit = |what: String, help: &str| CliError::Usage { what, help: help.into() };
        let unreadable = |error: io::Error| {
            unfit(format!("cannot read {shown}: {error}"), "give the path of a file that you may read")
        };
        let file = File::open(&path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unfit(
                format!("{shown} is no file"),
                "pack a folder into a file first, with tar or zip",
            ));
        }
        let size = metadata.len();
        if size == 0 || size > SIZE_MAX {
            let what = format!("{shown} has {}", text::size(size));
            return Err(unfit(
                what,
                "an attachment has 1 byte to 16 MiB: cut the file with `split`, or make it smaller",
            ));
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(unfit(
                format!("{shown} has a name that is no text"),
                "rename it, or attach a copy of it",
            ));
        };
        let media_type = message.media_type.clone().unwrap_or_else(|| media_type(name).to_owned());
        let head = api::AttachmentHead { message: None, name: name.to_owned(), media_type, size };
        Ok(Some(Self { file, head, path }))
    }
}

/// Sends a message with its attachment.
pub(super) async fn send(
    daemon: &Daemon,
    message: SendArgs,
    text: String,
    attached: Attached,
    out: &mut Out,
) -> Result<(), CliError> {
    let Attached { file, mut head, path } = attached;
    let SendArgs { to, lifetime, .. } = message;
    head.message =
        Some(api::SendRequest { to, text, lifetime_h: lifetime.unwrap_or(0), ..api::SendRequest::default() });
    let (chunks, requests) = mpsc::channel(CHUNKS_AHEAD);
    // Where the daemon refuses, the reader's channel closes and it ends.
    let reader = tokio::task::spawn_blocking(move || read(file, head, &chunks));
    let call = async { daemon.client().send_attachment(ReceiverStream::new(requests)).await };
    let reply = daemon.answer_within(ANSWER_MAX, About::Contact, call).await;
    if let Ok(Err(error)) = reader.await {
        let what = format!("cannot read {}: {error}", path.display());
        return Err(CliError::Usage { what, help: "nothing was sent; send it again".into() });
    }
    show(out, &reply?, view::messages::sent)
}

/// Reads the file into the channel. An error in the middle leaves fewer bytes than announced, and the daemon refuses.
fn read(
    mut file: File,
    head: api::AttachmentHead,
    chunks: &mpsc::Sender<api::SendAttachmentRequest>,
) -> io::Result<()> {
    let send = |part| chunks.blocking_send(api::SendAttachmentRequest { part: Some(part) });
    if send(Part::Head(head)).is_err() {
        return Ok(());
    }
    loop {
        let mut data = Vec::with_capacity(CHUNK_SIZE);
        (&mut file).take(CHUNK_SIZE as u64).read_to_end(&mut data)?;
        if data.is_empty() || send(Part::Data(data)).is_err() {
            return Ok(());
        }
    }
}

/// The usual kinds; the others are for the recipient to know by name.
fn media_type(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
    match end.as_str() {
        "gif" => "image/gif",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "mp3" => "audio/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "mp4" => "video/mp4",
        "csv" => "text/csv",
        "txt" => "text/plain",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        _ => "",
    }
}

/// Where an attachment goes.
enum Target {
    Output,
    File(File, PathBuf),
}

/// Writes the attachment of a message into a file.
pub(super) async fn save(
    daemon: &Daemon,
    id: &str,
    file: Option<PathBuf>,
    force: bool,
    out: &mut Out,
) -> Result<(), CliError> {
    let message_id = full_id(daemon, id).await?;
    let call = async { daemon.client().read_attachment(api::ReadAttachmentRequest { message_id }).await };
    let mut chunks = daemon.answer(About::Message, call).await?;
    let Some(Chunk::Head(head)) = next(daemon, &mut chunks).await? else { return Err(daemon.ended_early()) };
    let mut target = target(file, &head.name, force)?;
    let copied = copy(daemon, &mut chunks, &head, &mut target, out).await;
    match target {
        Target::Output => copied,
        Target::File(file, path) => {
            let synced = copied.and_then(|()| file.sync_all().map_err(|error| unwritable(&path, &error)));
            if synced.is_err() {
                // Half a file looks like a whole one.
                let _ = std::fs::remove_file(&path);
            }
            synced?;
            show(out, &head, |out, head| {
                let what = format!("{} ({})", path.display(), text::size(head.size));
                out.line(&format!("saved as {}", text::one_line(&what)))
            })
        }
    }
}

async fn copy(
    daemon: &Daemon,
    chunks: &mut tonic::Streaming<api::AttachmentChunk>,
    head: &api::Attachment,
    target: &mut Target,
    out: &mut Out,
) -> Result<(), CliError> {
    let mut size = 0;
    while let Some(chunk) = next(daemon, chunks).await? {
        let Chunk::Data(data) = chunk else { return Err(daemon.ended_early()) };
        size += data.len() as u64;
        match target {
            Target::Output => out.bytes(&data)?,
            Target::File(file, path) => file.write_all(&data).map_err(|error| unwritable(path, &error))?,
        }
    }
    if size == head.size { Ok(()) } else { Err(daemon.ended_early()) }
}

async fn next(
    daemon: &Daemon,
    chunks: &mut tonic::Streaming<api::AttachmentChunk>,
) -> Result<Option<Chunk>, CliError> {
    let call = async { chunks.message().await.map(tonic::Response::new) };
    Ok(daemon.answer_within(CHUNK_MAX, About::Message, call).await?.and_then(|chunk| chunk.part))
}

/// Opens what the attachment is written to. Its author's name is used for a new file in a folder and for nothing else.
fn target(file: Option<PathBuf>, name: &str, force: bool) -> Result<Target, CliError> {
    if file.as_deref() == Some(Path::new("-")) {
        return Ok(Target::Output);
    }
    let named = || match Path::new(name).file_name() {
        Some(only) if only == name => Ok(PathBuf::from(name)),
        _ => Err(CliError::Usage {
            what: "the attachment's name is no file's name".into(),
            help: "name the file: `pigeon attachment save ID FILE`".into(),
        }),
    };
    let path = match file {
        None => named()?,
        Some(folder) if folder.is_dir() => folder.join(named()?),
        Some(file) => file,
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    let opened = if force { options.truncate(true) } else { options.create_new(true) }.open(&path);
    match opened {
        Ok(file) => Ok(Target::File(file, path)),
        Err(error) => Err(unwritable(&path, &error)),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> CliError {
    let help = match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "choose another name: `pigeon attachment save ID FILE`, or use --force"
        }
        _ => "choose another place: `pigeon attachment save ID FILE`",
    };
    CliError::Usage { what: format!("cannot write {}: {error}", path.display()), help: help.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn args(path: &Path) -> SendArgs {
        SendArgs {
            to: "jerry".into(),
            text: None,
            attach: Some(path.into()),
            media_type: None,
            lifetime: None,
            lines: false,
            require_e2e: false,
        }
    }

    #[test]
    fn what_can_be_attached_is_a_file_of_one_byte_to_sixteen_mebibytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picture.PNG");
        let file = File::create(&path).unwrap();
        for (size, good) in [(0, false), (1, true), (SIZE_MAX, true), (SIZE_MAX + 1, false)] {
            file.set_len(size).unwrap();
            assert_eq!(Attached::open(&args(&path)).is_ok(), good, "{size}");
        }
        file.set_len(5).unwrap();
        let head = Attached::open(&args(&path)).unwrap().unwrap().head;
        assert_eq!(
            (head.name.as_str(), head.media_type.as_str(), head.size),
            ("picture.PNG", "image/png", 5)
        );
        assert!(Attached::open(&args(dir.path())).is_err(), "a folder");
        assert!(Attached::open(&args(Path::new("/nonexistent"))).is_err());
        assert!(Attached::open(&SendArgs { attach: None, ..args(&path) }).unwrap().is_none());
    }

    #[test]
    fn a_file_that_is_there_stays_without_force_and_names_stay_in_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = |target| match target {
            Ok(Target::File(_, path)) => Some(path),
            _ => None,
        };
        let folder = || Some(dir.path().to_owned());
        let first = dir.path().join("a.png");
        assert_eq!(path(target(folder(), "a.png", false)), Some(first.clone()));
        assert!(matches!(target(folder(), "a.png", false), Err(CliError::Usage { .. })));
        assert_eq!(path(target(folder(), "a.png", true)), Some(first));
        for bad in ["..", "../a", "/etc/a", "a/b", "a/", ""] {
            assert!(target(folder(), bad, false).is_err(), "{bad:?}");
        }
        assert!(matches!(target(Some("-".into()), "..", false), Ok(Target::Output)));
    }
}
