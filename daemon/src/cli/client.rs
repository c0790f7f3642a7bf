//! The way to the daemon: a connection over its Unix socket, and what its answers mean to a user.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use pigeon_proto::api::pigeon_client::PigeonClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::access::Barrier;
use super::error::{CliError, ExitStatus};

/// How long an answer may take. A send waits for the disk, and disks can be slow; none takes this long.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// The largest reply: an inbox is one message. The daemon is ours, the limit stops a runaway, not an attack.
const REPLY_BYTES_MAX: usize = 256 << 20;

/// What a request was about, for a remedy where the daemon gives none.
#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    Card,
    Contact,
    Message,
    Bundle,
    Node,
}

/// A connection to the daemon.
pub(super) struct Daemon {
    client: PigeonClient<Channel>,
    socket: PathBuf,
}

impl Daemon {
    /// Connects to the daemon at `socket`.
    ///
    /// # Errors
    /// [`CliError::NotRunning`], [`CliError::Forbidden`], or [`CliError::Usage`] for an impossible path.
    pub(super) async fn connect(socket: &Path) -> Result<Self, CliError> {
        let stream = UnixStream::connect(socket).await.map_err(|error| cannot_connect(socket, &error))?;
        // tonic wants to make connections; there is exactly one, so that its errors above keep their kind.
        let mut only = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            let taken = only.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            std::future::ready(taken)
        });
        // The address names nothing: HTTP wants an authority.
        let channel = Endpoint::from_static("http://pigeond.invalid")
            .connect_with_connector(connector)
            .await
            .map_err(|error| CliError::CutOff { socket: socket.into(), reason: root_cause(&error) })?;
        let client = PigeonClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX);
        Ok(Self { client, socket: socket.into() })
    }

    /// A client for one call; a clone shares the connection. Wrap the call in [`Daemon::answer`].
    pub(super) fn client(&self) -> PigeonClient<Channel> {
        self.client.clone()
    }

    /// Waits for the daemon's answer, at most [`ANSWER_MAX`].
    ///
    /// # Errors
    /// What [`Daemon::error`] makes of a status, or [`CliError::NoAnswer`].
    pub(super) async fn answer<T>(
        &self,
        about: About,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CliError> {
        self.answer_within(ANSWER_MAX, about, call).await
    }

    /// Waits for the daemon's answer, at most `max`.
    ///
    /// # Errors
    /// As [`Daemon::answer`].
    pub(super) async fn answer_within<T>(
        &self,
        max: Duration,
        about: About,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CliError> {
        match tokio::time::timeout(max, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.error(about, &status)),
            Err(_) => Err(CliError::NoAnswer { socket: self.socket.clone(), seconds: max.as_secs() }),
        }
    }

    /// What a status means to the user. A status with a source was made on this side: the connection broke.
    pub(super) fn error(&self, about: About, status: &Status) -> CliError {
        if let Some(source) = status.source() {
            return CliError::CutOff { socket: self.socket.clone(), reason: root_cause(source) };
        }
        refused(about, status)
    }

    /// The connection ended although more was to come.
    pub(super) fn ended_early(&self) -> CliError {
        CliError::CutOff { socket: self.socket.clone(), reason: "it ended the stream".into() }
    }
}

impl About {
    fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Card => Some("copy the whole text that `pigeon card show` prints on the other node"),
            Self::Contact => {
                Some("`pigeon contact list` shows the contacts, `pigeon card import CARD` adds one")
            }
            Self::Message => Some("`pigeon inbox` lists the messages"),
            Self::Bundle => Some("`pigeon bundles list` lists the bundles"),
            Self::Node => None,
        }
    }
}

/// The daemon said no: its words, and what they mean for the exit code.
fn refused(about: About, status: &Status) -> CliError {
    let (code, help) = match status.code() {
        Code::NotFound => (ExitStatus::NotFound, about.remedy()),
        Code::Unavailable | Code::DeadlineExceeded => (ExitStatus::Unreachable, None),
        Code::PermissionDenied | Code::Unauthenticated => {
            (ExitStatus::Forbidden, Some("run it as the user that runs the daemon, or as root"))
        }
        Code::Unimplemented => {
            (ExitStatus::Refused, Some("the daemon is of another version: `pigeon status` shows which"))
        }
        Code::Internal | Code::DataLoss | Code::Unknown => {
            (ExitStatus::Refused, Some("look at the daemon's log"))
        }
        Code::InvalidArgument if matches!(about, About::Card) => (ExitStatus::Refused, about.remedy()),
        _ => (ExitStatus::Refused, None),
    };
    let (message, remedy) = split(status.message());
    let message =
        if message.is_empty() { format!("the daemon says: {}", status.code()) } else { message.into() };
    CliError::Refused { code, message, help: remedy.or(help).map(str::to_owned) }
}

/// The daemon's messages are "what happened; what helps". It knows more of the remedy than we do.
fn split(message: &str) -> (&str, Option<&str>) {
    match message.rsplit_once("; ") {
        Some((what, remedy)) => (what, Some(remedy)),
        None => (message, None),
    }
}

fn cannot_connect(socket: &Path, error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            CliError::Forbidden { socket: socket.into(), barrier: Barrier::find(socket) }
        }
        io::ErrorKind::InvalidInput => CliError::Usage {
            what: format!("{} cannot be a socket: {error}", socket.display()),
            help: "choose a shorter path, at most 107 bytes".into(),
        },
        kind => {
            let why = match kind {
                io::ErrorKind::NotFound => "there is no such socket".into(),
                io::ErrorKind::ConnectionRefused => "nobody listens there".into(),
                _ => error.to_string(),
            };
            CliError::NotRunning { socket: socket.into(), why }
        }
    }
}

/// The innermost error: what wraps it says "transport error" and no more.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_s_messages_part_into_fact_and_remedy() {
        assert_eq!(
            split("no contact matches \"a\"; near: b, c; import it"),
            ("no contact matches \"a\"; near: b, c", Some("import it"))
        );
        assert_eq!(split("no remedy here"), ("no remedy here", None));
    }

    #[test]
    fn each_status_has_its_exit_code() {
        let exit = |code| refused(About::Node, &Status::new(code, "")).status();
        assert_eq!(exit(Code::NotFound), ExitStatus::NotFound);
        assert_eq!(exit(Code::PermissionDenied), ExitStatus::Forbidden);
        assert_eq!(exit(Code::Unauthenticated), ExitStatus::Forbidden);
        assert_eq!(exit(Code::Unavailable), ExitStatus::Unreachable);
        let others =
            [Code::InvalidArgument, Code::FailedPrecondition, Code::ResourceExhausted, Code::Internal];
        for code in others {
            assert_eq!(exit(code), ExitStatus::Refused);
        }
    }

    #[test]
    fn the_daemon_s_remedy_comes_before_ours() {
        let help = |message| refused(About::Bundle, &Status::not_found(message)).help();
        assert_eq!(help("no bundle 0123; look elsewhere").as_deref(), Some("look elsewhere"));
        assert_eq!(help("no bundle 0123").as_deref(), Some("`pigeon bundles list` lists the bundles"));
        assert!(!refused(About::Node, &Status::not_found("")).to_string().is_empty());
    }
}
