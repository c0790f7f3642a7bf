//! A place between a client and its server, where what happens to connections can be changed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// What a captive portal says to whatever it is sent.
const PAGE: &[u8] = b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What happens to connections.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// They reach this server.
    To(SocketAddr),
    /// A login page answers.
    Page,
}

struct Inner {
    way: Mutex<Way>,
    open: Mutex<Vec<TcpStream>>,
    seen: AtomicUsize,
    ended: AtomicBool,
}

pub(crate) struct Portal {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

impl Portal {
    pub(crate) fn new(way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            way: Mutex::new(way),
            open: Mutex::default(),
            seen: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::Acquire) {
                    return;
                }
                serving.seen.fetch_add(1, Ordering::AcqRel);
                let (stream, inner) = (stream.unwrap(), Arc::clone(&serving));
                thread::spawn(move || inner.serve(stream));
            }
        });
        Self { address, inner }
    }

    /// From now on; what is open is cut.
    pub(crate) fn set(&self, way: Way) {
        *self.inner.way.lock().unwrap() = way;
        self.cut();
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        for stream in self.inner.open().drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Connections so far.
    pub(crate) fn seen(&self) -> usize {
        self.inner.seen.load(Ordering::Acquire)
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::Release);
        // The listener is woken to see it.
        let _ = TcpStream::connect(self.address);
        self.cut();
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap()
    }

    fn serve(&self, mut stream: TcpStream) {
        let way = *self.way.lock().unwrap();
        match way {
            Way::Page => {
                let mut said = [0; 1_024];
                if matches!(stream.read(&mut said), Ok(1..)) {
                    let _ = stream.write_all(PAGE);
                }
                let _ = stream.shutdown(Shutdown::Both);
            }
            Way::To(server) => {
                let Ok(server) = TcpStream::connect(server) else { return };
                let again = |stream: &TcpStream| stream.try_clone().unwrap();
                self.open().extend([again(&stream), again(&server)]);
                let (back, forth) = ((again(&server), again(&stream)), (stream, server));
                thread::spawn(move || copy(back.0, back.1));
                copy(forth.0, forth.1);
            }
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Either side may end it.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
