//! The Unix socket: who may connect, and how it appears and goes.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

const MODE: u32 = 0o660;

/// Why the socket cannot be had. Each names the path and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error(
        "another pigeond already listens on {path}\nhelp: stop it, or give this one its own `socket` and `data_dir`"
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error(
        "{path} is there and is no socket\nhelp: `socket` in the config names a file that the daemon makes; choose another path"
    )]
    NoSocket {
        /// What is there.
        path: PathBuf,
    },
    /// The system refused.
    #[error(
        "{action} {path}: {source}\nhelp: `socket` in the config must be in a folder that the daemon's user may write"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The listening socket; its file goes with it.
pub struct Socket {
    path: PathBuf,
    /// Accepts connections.
    pub listener: Option<UnixListener>,
}

impl Socket {
    /// Listens on `path` with mode 0660, in place of a socket that a dead daemon left behind.
    ///
    /// # Errors
    /// A living daemon there, or a path that cannot be used.
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        let io = |action| move |source| SocketError::Io { action, path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            // Open to all: the socket itself says who may use it.
            std::fs::create_dir_all(dir).map_err(io("making the folder of"))?;
        }
        if let Ok(there) = std::fs::symlink_metadata(path) {
            if !there.file_type().is_socket() {
                return Err(SocketError::NoSocket { path: path.to_owned() });
            }
            match UnixStream::connect(path).await {
                // Nobody listens: a daemon died there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(SocketError::InUse { path: path.to_owned() }),
            }
            std::fs::remove_file(path).map_err(io("removing the stale socket"))?;
        }
        let listener = UnixListener::bind(path).map_err(io("listening on"))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))
            .map_err(io("setting the mode of"))?;
        Ok(Self { path: path.to_owned(), listener: Some(listener) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody can be told any more; a stale socket is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Who may use the API: the daemon's user, root, and the users that the config lists. The socket's mode and group
/// keep the others out already; this holds even where somebody loosens the mode.
#[derive(Debug, Clone)]
pub struct Guard {
    uids: Arc<[u32]>,
}

impl Guard {
    /// A guard that lets in this process's user, root and `allow_uids`.
    pub fn new(allow_uids: &[u32]) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self { uids: allow_uids.iter().copied().chain([own, 0]).collect() }
    }

    /// Checks the peer credentials (`SO_PEERCRED`) of a request's connection.
    ///
    /// # Errors
    /// `PermissionDenied` for everybody else.
    pub fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let uid = request
            .extensions()
            .get::<UdsConnectInfo>()
            .and_then(|info| info.peer_cred.as_ref())
            .map(|c| c.uid());
        match uid {
            Some(uid) if self.uids.contains(&uid) => Ok(request),
            Some(uid) => Err(Status::permission_denied(format!(
                "user id {uid} may not use this daemon; add it to api.allow_uids in the daemon's config"
            ))),
            None => Err(Status::permission_denied("the connection has no peer credentials")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/pigeond.sock");
        let first = Socket::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(matches!(Socket::bind(&path).await, Err(SocketError::InUse { .. })));
        drop(first);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // what kill -9 leaves
        Socket::bind(&path).await.unwrap();
        let file = dir.path().join("diary.txt");
        std::fs::write(&file, "precious").unwrap();
        assert!(matches!(Socket::bind(&file).await, Err(SocketError::NoSocket { .. })));
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }

    #[test]
    fn strangers_are_refused() {
        let guard = Guard::new(&[]);
        let denied = guard.check(Request::new(())).unwrap_err();
        assert_eq!(denied.code(), tonic::Code::PermissionDenied);
    }
}
