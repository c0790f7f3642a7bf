//! A TCP connection that a test can cut, or turn into a hole that swallows everything.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// They work.
    Open,
    /// They end, and new ones are closed at once.
    Cut,
    /// What is sent vanishes, and nobody is told.
    Hole,
    /// What the client sends vanishes; the server is heard.
    Deaf,
}

/// Forwards connections to a server.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    path: watch::Sender<Path>,
    forwarded: Arc<watch::Sender<usize>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (path, follow) = watch::channel(Path::Open);
        let forwarded = Arc::new(watch::channel(0).0);
        let count = Arc::clone(&forwarded);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, server, follow.clone(), Arc::clone(&count)));
            }
        });
        Self { addr, path, forwarded, task }
    }

    pub(crate) fn set(&self, path: Path) {
        self.path.send_replace(path);
    }

    /// Waits until `more` pieces have been forwarded, counted from this call: whoever causes them calls before.
    pub(crate) fn traffic(&self, more: usize) -> impl Future<Output = ()> + use<> {
        let goal = *self.forwarded.borrow() + more;
        let mut forwarded = self.forwarded.subscribe();
        async move {
            let wait = forwarded.wait_for(|&count| count >= goal);
            tokio::time::timeout(crate::support::PATIENCE, wait).await.unwrap().unwrap();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.set(Path::Cut);
    }
}

async fn serve(
    client: TcpStream,
    server: SocketAddr,
    path: watch::Receiver<Path>,
    count: Arc<watch::Sender<usize>>,
) {
    let mut cut = path.clone();
    let work = async {
        if *path.borrow() == Path::Hole {
            std::future::pending::<()>().await;
        }
        let Ok(server) = TcpStream::connect(server).await else { return };
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        tokio::select! {
            () = copy(client_read, server_write, path.clone(), &[Path::Hole, Path::Deaf], &count) => {}
            () = copy(server_read, client_write, path.clone(), &[Path::Hole], &count) => {}
        }
    };
    tokio::select! {
        () = work => {}
        // An error means that the proxy is gone.
        _ = cut.wait_for(|path| *path == Path::Cut) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    path: watch::Receiver<Path>,
    holes: &[Path],
    count: &watch::Sender<usize>,
) {
    let mut buffer = vec![0; 16_384];
    // A connection that has lost a piece stays a hole.
    let mut lost = false;
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else {
            if lost {
                std::future::pending::<()>().await;
            }
            return;
        };
        lost |= holes.contains(&*path.borrow());
        if !lost && to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
        count.send_modify(|count| *count += 1);
    }
}
