//! The operator's door: figures for Prometheus, the state for people, and the one thing that only an operator may do.
//!
//! HTTP on a Unix socket in the data directory, which only the bridge's user can open, and, where the config says so, the
//! figures alone on a TCP address.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::metrics::{Levels, resident_bytes};
use super::requests;

/// The socket's name in the data directory.
pub const SOCKET: &str = "control.sock";
/// Connections that are served at once; more wait.
const CONNECTIONS_MAX: usize = 16;
/// How long a client may take to say what it wants.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Longest account name in a request, bytes.
const ACCOUNT_MAX: usize = 3_071;

/// Whom a door is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// The operator: everything.
    Operator,
    /// Whoever collects figures.
    Figures,
}

/// Where the doors are.
pub struct Doors {
    operator: UnixListener,
    figures: Option<TcpListener>,
}

impl Doors {
    /// Listens in `data_dir`, and at `figures`.
    ///
    /// # Errors
    /// What the system says, and about which address.
    pub async fn open(data_dir: &Path, figures: Option<SocketAddr>) -> Result<Self, (String, io::Error)> {
        let path = data_dir.join(SOCKET);
        let named = |error| (path.display().to_string(), error);
        // The ledger's lock is ours, so a socket that lies here is a dead bridge's.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
            _ => {}
        }
        let operator = UnixListener::bind(&path).map_err(named)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(named)?;
        let figures = match figures {
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(|error| (address.to_string(), error))?)
            }
            None => None,
        };
        Ok(Self { operator, figures })
    }

    /// Serves until `cancel`.
    pub async fn serve(self, desk: Arc<Desk>, cancel: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // Only closing it could fail, which nobody does.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let desk = Arc::clone(&desk);
            tokio::select! {
                accepted = self.operator.accept() => if let Ok((stream, _)) = accepted {
                    tokio::spawn(async move {
                        answer(stream, Door::Operator, desk).await;
                        drop(place);
                    });
                },
                accepted = accept(self.figures.as_ref()) => if let Ok(stream) = accepted {
                    tokio::spawn(async move {
                        answer(stream, Door::Figures, desk).await;
                        drop(place);
                    });
                },
                () = cancel.cancelled() => return,
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<tokio::net::TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, door: Door, desk: Arc<Desk>) {
    let service = service_fn(|request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(respond(&desk, door, &request).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(REQUEST_MAX).keep_alive(false);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a request for figures ended early");
    }
}

async fn respond(desk: &Desk, door: Door, request: &Request<Incoming>) -> Response<String> {
    match (request.method(), request.uri().path(), door) {
        (&Method::GET, "/metrics", _) => page(StatusCode::OK, desk.metrics.render(&levels(desk).await)),
        (&Method::GET, "/status", Door::Operator) => page(StatusCode::OK, status(desk).await),
        (&Method::POST, "/forget", Door::Operator) => forget(desk, request.uri().query()).await,
        _ => page(StatusCode::NOT_FOUND, "there is /metrics\n".to_owned()),
    }
}

fn page(status: StatusCode, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

async fn levels(desk: &Desk) -> Levels {
    let ledger = desk.ledger.clone();
    let ledger = tokio::task::spawn_blocking(move || ledger.stats().ok()).await.ok().flatten();
    Levels { in_flight: desk.flights.len(), ledger, resident_bytes: resident_bytes() }
}

async fn status(desk: &Desk) -> String {
    let levels = levels(desk).await;
    let connection = match (
        desk.metrics.online.load(Ordering::Relaxed),
        desk.metrics.privileged.load(Ordering::Relaxed),
    ) {
        (true, true) => "online",
        (true, false) if desk.unchecked_senders => {
            "online, and nobody checks senders: whoever has the component's secret can write as anybody"
        }
        (true, false) => {
            "online, but the server does not let the bridge send as its users: see docs/operators"
        }
        (false, _) => "offline: see the log",
    };
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = format!(
        "domain      {}\nhosts       {}\nserver      {connection}\nuploads     {}\ndeliveries  {}\nin flight   {}\n",
        desk.domain,
        desk.hosts.iter().cloned().collect::<Vec<_>>().join(", "),
        of(&desk.metrics.uploads),
        of(&desk.metrics.deliveries),
        levels.in_flight,
    );
    if let Some(stats) = levels.ledger {
        let line = format!(
            "ledger      {} of {} bytes, {} on disk\n",
            stats.live_bytes, stats.quota_bytes, stats.disk_bytes
        );
        text.push_str(&line);
    }
    text
}

/// Forgets the key of an account, by the operator's word.
async fn forget(desk: &Desk, account: Option<&str>) -> Response<String> {
    let account = account.filter(|account| account.len() <= ACCOUNT_MAX);
    let account = account.and_then(|account| jid::BareJid::new(account).ok());
    let Some(account) = account else {
        return page(StatusCode::BAD_REQUEST, "name an account: user@host\n".to_owned());
    };
    match requests::forget(desk, account.as_str(), "the operator says so").await {
        Ok(true) => page(StatusCode::OK, "forgotten; any key may be registered now\n".to_owned()),
        Ok(false) => page(StatusCode::NOT_FOUND, "no key is registered for this account\n".to_owned()),
        Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Asks a running bridge, as `pigeon-bridge status` and `forget` do. Blocks.
///
/// # Errors
/// No bridge there, or what it said.
pub fn ask(data_dir: &Path, method: &str, what: &str) -> Result<String, String> {
    use std::io::{Read as _, Write as _};
    let path: PathBuf = data_dir.join(SOCKET);
    let failed = |error: io::Error| {
        format!("{}: {error}\nhelp: the bridge must run, and this must be its user or root", path.display())
    };
    let mut stream = std::os::unix::net::UnixStream::connect(&path).map_err(failed)?;
    stream.set_read_timeout(Some(REQUEST_MAX)).map_err(failed)?;
    let request =
        format!("{method} {what} HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let is_good = head.split_ascii_whitespace().nth(1) == Some("200");
    if is_good { Ok(body.to_owned()) } else { Err(body.trim_end().to_owned()) }
}
