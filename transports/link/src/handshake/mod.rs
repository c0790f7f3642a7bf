//! `Hello` and `Auth` both ways (docs/wire-format.md section 6): afterwards the peer's node key is known.

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use pigeon_bundle::{NodeKey, NodeSecret, SignatureError, verify};
use pigeon_proto::{Auth, Frame, FrameError, Hello, PROTOCOL_VERSION};

use crate::{Link, LinkMeta, RawLink, Role, TransportKind};

/// How long a peer may take for the whole handshake.
pub const AUTH_TIMEOUT: Duration = Duration::from_secs(5);

const CONTEXT: &str = "link-auth";

/// Where in the handshake something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeStep {
    /// Waiting for the peer's `Hello`.
    Hello,
    /// Waiting for the peer's `Auth`.
    Auth,
}

impl HandshakeStep {
    fn name(self) -> &'static str {
        match self {
            Self::Hello => "Hello",
            Self::Auth => "Auth",
        }
    }
}

/// Why a link is not authenticated. It is closed; nothing that came over it counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer took longer than [`AUTH_TIMEOUT`].
    #[error("the peer did not authenticate within {} s", AUTH_TIMEOUT.as_secs())]
    Timeout,
    /// The connection ended.
    #[error("the peer closed the link before its {}", .0.name())]
    Closed(HandshakeStep),
    /// What came is no frame.
    #[error("instead of the peer's {}: {error}", .step.name())]
    Frame {
        /// What was awaited.
        step: HandshakeStep,
        /// What is wrong with it.
        error: FrameError,
    },
    /// Another frame came first.
    #[error("{got} frame instead of the peer's {}", .step.name())]
    Unexpected {
        /// What was awaited.
        step: HandshakeStep,
        /// Name of the frame that came.
        got: &'static str,
    },
    /// No version in common.
    #[error("the peer speaks version {theirs}, this node {PROTOCOL_VERSION}: update the older one")]
    Version {
        /// The peer's version.
        theirs: u32,
    },
    /// The peer shows this node's own key: a connection to itself, or a reflection.
    #[error("the peer shows this node's own key: connected to itself")]
    OwnKey,
    /// `Auth` names another key than the one the transport has proved.
    #[error("the peer's Auth names another node key than its certificate")]
    OtherKey,
    /// The signature is not for this link, this role and these Hellos.
    #[error("the peer's Auth does not hold for this link: {0}")]
    Signature(#[from] SignatureError),
}

/// Proves this node's key to the peer and has the peer prove its own.
///
/// # Errors
/// Whatever keeps the peer from being known; the link is closed then.
pub async fn authenticate(mut raw: RawLink, node: &NodeSecret, hello: Hello) -> Result<Link, HandshakeError> {
    let outcome = tokio::time::timeout(AUTH_TIMEOUT, exchange(&mut raw, node, hello)).await;
    match outcome.unwrap_or(Err(HandshakeError::Timeout)) {
        Ok((peer, hello)) => Ok(Link::new(raw, peer, hello)),
        Err(error) => {
            raw.closed.cancel();
            Err(error)
        }
    }
}

/// The signature of `Auth`: by the node with this key and role, over this link and both Hellos.
///
/// `hello_dialler` and `hello_listener` are frame bodies as they were sent, without the number.
#[must_use]
pub fn auth_signature(
    node: &NodeSecret,
    link: &LinkMeta,
    signer: Role,
    hello_dialler: &[u8],
    hello_listener: &[u8],
) -> [u8; 64] {
    let transcript = Transcript::new(link.transport, &link.binding, hello_dialler, hello_listener);
    node.sign(CONTEXT, &transcript.parts(&[signer.as_u8()], &node.key()))
}

async fn exchange(
    raw: &mut RawLink,
    node: &NodeSecret,
    hello: Hello,
) -> Result<(NodeKey, Hello), HandshakeError> {
    let own_hello = Frame::Hello(hello).encode();
    send(raw, HandshakeStep::Hello, own_hello.clone()).await?;
    let peer_hello = receive(raw, HandshakeStep::Hello).await?;
    let their_hello = check_hello(peer_hello.clone())?;

    let hellos = match raw.meta.role {
        Role::Dialler => (body(&own_hello), body(&peer_hello)),
        Role::Listener => (body(&peer_hello), body(&own_hello)),
    };
    let signature = auth_signature(node, &raw.meta, raw.meta.role, hellos.0, hellos.1);
    let own_auth = Frame::Auth(Auth { node_key: node.key(), signature });
    send(raw, HandshakeStep::Auth, own_auth.encode()).await?;
    let peer_auth = receive(raw, HandshakeStep::Auth).await?;
    let peer = check_auth(peer_auth, &raw.meta, &node.key(), hellos)?;
    Ok((peer, their_hello))
}

fn check_hello(bytes: Bytes) -> Result<Hello, HandshakeError> {
    let step = HandshakeStep::Hello;
    match Frame::decode(bytes).map_err(|error| HandshakeError::Frame { step, error })? {
        Frame::Hello(hello) if hello.version == PROTOCOL_VERSION => Ok(hello),
        Frame::Hello(hello) => Err(HandshakeError::Version { theirs: hello.version }),
        other => Err(HandshakeError::Unexpected { step, got: other.name() }),
    }
}

fn check_auth(
    bytes: Bytes,
    link: &LinkMeta,
    own: &NodeKey,
    (hello_dialler, hello_listener): (&[u8], &[u8]),
) -> Result<NodeKey, HandshakeError> {
    let step = HandshakeStep::Auth;
    let auth = match Frame::decode(bytes).map_err(|error| HandshakeError::Frame { step, error })? {
        Frame::Auth(auth) => auth,
        other => return Err(HandshakeError::Unexpected { step, got: other.name() }),
    };
    if auth.node_key == *own {
        return Err(HandshakeError::OwnKey);
    }
    if link.peer_raw_key.is_some_and(|proved| proved != auth.node_key) {
        return Err(HandshakeError::OtherKey);
    }
    let transcript = Transcript::new(link.transport, &link.binding, hello_dialler, hello_listener);
    let signer = [link.role.other().as_u8()];
    verify(auth.node_key.as_bytes(), CONTEXT, &transcript.parts(&signer, &auth.node_key), &auth.signature)?;
    Ok(auth.node_key)
}

async fn send(raw: &RawLink, step: HandshakeStep, frame: Bytes) -> Result<(), HandshakeError> {
    raw.tx.send(frame).await.map_err(|_| HandshakeError::Closed(step))
}

async fn receive(raw: &mut RawLink, step: HandshakeStep) -> Result<Bytes, HandshakeError> {
    raw.rx.recv().await.ok_or(HandshakeError::Closed(step))
}

/// A frame's message, without its number.
fn body(frame: &Bytes) -> &[u8] {
    frame.get(1..).unwrap_or_default()
}

/// What both signatures cover, besides the signer's role and key.
struct Transcript<'a> {
    transport: &'static str,
    binding: &'a [u8],
    hello_dialler: &'a [u8],
    hello_listener: &'a [u8],
    lengths: [[u8; 4]; 4],
}

impl<'a> Transcript<'a> {
    fn new(
        kind: TransportKind,
        binding: &'a [u8],
        hello_dialler: &'a [u8],
        hello_listener: &'a [u8],
    ) -> Self {
        let transport = kind.as_str();
        let lengths = [transport.as_bytes(), binding, hello_dialler, hello_listener].map(length);
        Self { transport, binding, hello_dialler, hello_listener, lengths }
    }

    fn parts<'b>(&'b self, signer: &'b [u8; 1], key: &'b NodeKey) -> [&'b [u8]; 10] {
        let [transport, binding, hello_dialler, hello_listener] = &self.lengths;
        [
            transport,
            self.transport.as_bytes(),
            binding,
            self.binding,
            signer,
            key.as_bytes(),
            hello_dialler,
            self.hello_dialler,
            hello_listener,
            self.hello_listener,
        ]
    }
}

/// The length in `lp(x)`. Nothing here is longer than a frame.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}
