//! A stream over a connection: reads and writes at the same time, in one task.

use bytes::{Buf, BytesMut};
use minidom::Element;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::parse::{Item, StreamParser, XmlError};
use super::print::{attribute, print};
use crate::ns;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the peer closed the connection")]
    Eof,
}

/// An XML stream over `io`. All its methods may be cancelled: what was read or queued stays.
#[derive(Debug)]
pub(crate) struct Wire<Io> {
    io: Io,
    ns: &'static str,
    parser: StreamParser,
    input: BytesMut,
    output: BytesMut,
    last_read: Instant,
    bytes_read: u64,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Wire<Io> {
    /// A stream of `ns` over a fresh connection. Nothing is sent yet.
    pub(crate) fn new(io: Io, ns: &'static str) -> Self {
        let parser = StreamParser::new();
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { io, ns, parser, input, output, last_read: Instant::now(), bytes_read: 0 }
    }

    /// Queues our stream header and expects the peer's.
    pub(crate) fn open(&mut self, to: &str) {
        self.parser = StreamParser::new();
        let mut head = String::from("<?xml version='1.0'?><stream:stream");
        attribute("xmlns", self.ns, &mut head);
        attribute("xmlns:stream", ns::STREAM, &mut head);
        attribute("to", to, &mut head);
        attribute("version", "1.0", &mut head);
        head.push('>');
        self.output.extend_from_slice(head.as_bytes());
    }

    /// Queues an element.
    pub(crate) fn push(&mut self, element: &Element) {
        self.push_text(&print(element, self.ns));
    }

    /// Queues an element that is printed already.
    pub(crate) fn push_text(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
    }

    /// Bytes queued and not yet handed to the connection.
    pub(crate) fn queued(&self) -> usize {
        self.output.len()
    }

    /// When something last came from the peer.
    pub(crate) fn last_read(&self) -> Instant {
        self.last_read
    }

    /// Bytes that have come from the peer.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The connection, once the stream over it has been left (before TLS). What was read ahead is dropped: nothing
    /// that came in clear may be taken for something that came protected.
    pub(crate) fn into_inner(self) -> Io {
        self.io
    }

    /// The connection.
    pub(crate) fn get_ref(&self) -> &Io {
        &self.io
    }

    /// The next item; writes what is queued meanwhile.
    pub(crate) async fn next(&mut self) -> Result<Item, WireError> {
        self.drive(true).await
    }

    /// Writes what is queued; the next item too, unless the application is not ready to take more. Then only an
    /// error ends it.
    pub(crate) async fn drive(&mut self, reading: bool) -> Result<Item, WireError> {
        poll_fn(|cx| self.poll(cx, reading)).await
    }

    /// Writes until nothing is queued.
    #[cfg(test)]
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        poll_fn(|cx| self.poll_write(cx)).await
    }

    /// Closes our side of the stream and waits until the peer has closed its own.
    pub(crate) async fn close(&mut self) -> Result<(), WireError> {
        self.push_text("</stream:stream>");
        loop {
            match self.next().await {
                Ok(Item::Closed) | Err(WireError::Eof) => break,
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await?;
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Result<Item, WireError>> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        if !read {
            return Poll::Pending;
        }
        loop {
            let mut rest = &self.input[..];
            let before = rest.len();
            let item = self.parser.next(&mut rest);
            let used = before - rest.len();
            self.input.advance(used);
            if let Some(item) = item? {
                return Poll::Ready(Ok(item));
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let mut space = [0; 8192];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Err(WireError::Eof)),
            Poll::Ready(Ok(())) => {
                self.input.extend_from_slice(buffer.filled());
                self.last_read = Instant::now();
                self.bytes_read += u64::try_from(buffer.filled().len()).unwrap_or_default();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
                }
                Poll::Ready(Ok(n)) => self.output.advance(n),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut self.io).poll_flush(cx).map_err(WireError::Io)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::{With, el};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Two sides that both send far more than the pipe holds before either reads: with one half-duplex side this
    /// would hang for ever.
    #[tokio::test]
    async fn both_sides_may_send_more_than_the_pipe_holds() {
        let (a, b) = tokio::io::duplex(1024);
        let talk = |io| async move {
            let mut wire = Wire::new(io, ns::CLIENT);
            wire.open("example.org");
            for n in 0..50 {
                wire.push(&el("message", ns::CLIENT).with("id", &n.to_string()).with_text("x".repeat(2000)));
            }
            let mut seen = 0;
            while seen < 50 {
                if let Item::Element(message) = wire.next().await.unwrap() {
                    assert_eq!(message.attr("id").unwrap(), seen.to_string());
                    seen += 1;
                }
            }
            wire.close().await
        };
        let (left, right) = tokio::join!(talk(a), talk(b));
        left.unwrap();
        right.unwrap();
    }

    #[tokio::test]
    async fn the_header_names_the_domain_and_the_end_is_an_error() {
        let (a, mut b) = tokio::io::duplex(1024);
        let mut wire = Wire::new(a, ns::COMPONENT);
        wire.open("bridge.example.org");
        wire.flush().await.unwrap();
        let expected = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
                        xmlns:stream='http://etherx.jabber.org/streams' to='bridge.example.org' version='1.0'>";
        let mut sent = vec![0; expected.len()];
        b.read_exact(&mut sent).await.unwrap();
        assert_eq!(String::from_utf8(sent).unwrap(), expected);
        b.shutdown().await.unwrap();
        drop(b);
        assert!(matches!(wire.next().await, Err(WireError::Eof)));
    }
}
