//! A bridge's signed answer about a bundle (`docs/wire-format.md` section 5).

use prost::Message as _;
use thiserror::Error;

use crate::bridge_card::BridgeIdentity;
use crate::identity::{SignatureError, verify};
use crate::ids::{BundleId, MessageDigest};

const CONTEXT: &str = "verdict";
const CONTEXT_TOGETHER: &str = "acceptances";
/// More than any verdict has: two digests, a signature, a code, a time and their tags.
const SIZE_MAX: usize = 256;
/// B and P of one bundle.
const DIGESTS: usize = 64;
/// More than any [`Acceptances`] have: their digests, a signature, a time and their tags.
const TOGETHER_SIZE_MAX: usize = Acceptances::MAX * DIGESTS + 128;

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    bundle: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    message: Vec<u8>,
    #[prost(uint32, tag = "3")]
    code: u32,
    #[prost(uint64, tag = "4")]
    time: u64,
    #[prost(bytes = "vec", tag = "5")]
    signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireTogether {
    #[prost(bytes = "vec", tag = "1")]
    digests: Vec<u8>,
    #[prost(uint64, tag = "2")]
    time: u64,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
}

/// What a bridge decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum VerdictCode {
    /// It will be delivered, or has been.
    Accepted = 0,
    /// Not in the fixed form.
    Malformed = 1,
    /// The route does not open.
    RouteDoesNotOpen = 2,
    /// No key is registered for the author's JID.
    AuthorNotRegistered = 3,
    /// The author's signature is wrong.
    SignatureWrong = 4,
    /// There is no such recipient.
    RecipientUnknown = 5,
    /// The recipient is on a host that the bridge does not serve.
    ForeignHost = 6,
    /// Its time is over.
    Expired = 7,
    /// The operator does not allow it.
    Policy = 8,
    /// The bridge has no room now: not for good, unlike every other refusal.
    Quota = 9,
}

impl VerdictCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Accepted,
        Self::Malformed,
        Self::RouteDoesNotOpen,
        Self::AuthorNotRegistered,
        Self::SignatureWrong,
        Self::RecipientUnknown,
        Self::ForeignHost,
        Self::Expired,
        Self::Policy,
        Self::Quota,
    ];

    /// Whether the message is on its way.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        self == Self::Accepted
    }

    /// Whether the same bundle may be accepted later.
    #[must_use]
    pub fn is_passing(self) -> bool {
        self == Self::Quota
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl std::fmt::Display for VerdictCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Malformed => "the bundle is malformed",
            Self::RouteDoesNotOpen => {
                "the route does not open; fetch the bridge's present card and send again"
            }
            Self::AuthorNotRegistered => "the author's key is not registered with the bridge",
            Self::SignatureWrong => "the author's signature is wrong",
            Self::RecipientUnknown => "the recipient does not exist",
            Self::ForeignHost => "the bridge does not serve the recipient's or the author's host",
            Self::Expired => "the message has expired",
            Self::Policy => "the bridge's operator does not allow it",
            Self::Quota => "the bridge has no room for it now; it is handed in again later",
        })
    }
}

/// An acceptance or a refusal. It speaks for one bundle only: a refusal of a variant says nothing about another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// B of the bundle that was handed up.
    pub bundle: BundleId,
    /// Its P.
    pub message: MessageDigest,
    /// What was decided.
    pub code: VerdictCode,
    /// When, Unix seconds.
    pub time_s: u64,
}

/// Bytes that are no verdict of the bridge in question.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerdictError {
    /// More bytes than a verdict has.
    #[error("verdict of {0} bytes, which is more than any has")]
    TooLarge(usize),
    /// Not the protobuf message of a verdict.
    #[error("verdict is not readable as protobuf")]
    Protobuf(#[from] prost::DecodeError),
    /// A field that is missing or has the wrong size.
    #[error("verdict field {0} is malformed")]
    Field(&'static str),
    /// A code from a newer bridge.
    #[error("verdict code {0} is unknown; update this program")]
    Code(u32),
    /// Not signed by that bridge.
    #[error("verdict is not by the bridge that the bundle names")]
    Signature(#[from] SignatureError),
}

impl Verdict {
    /// Encodes and signs it.
    #[must_use]
    pub fn sign(&self, bridge: &BridgeIdentity) -> Vec<u8> {
        let signature = bridge.sign(CONTEXT, &self.parts(&[self.code as u8], &self.time_s.to_be_bytes()));
        Wire {
            bundle: self.bundle.0.to_vec(),
            message: self.message.0.to_vec(),
            code: u32::from(self.code as u8),
            time: self.time_s,
            signature: signature.to_vec(),
        }
        .encode_to_vec()
    }

    /// The bundle that a verdict claims to be about, unchecked: look up its bridge key, then
    /// [`parse_verified`](Self::parse_verified).
    #[must_use]
    pub fn bundle_of(bytes: &[u8]) -> Option<BundleId> {
        if bytes.len() > SIZE_MAX {
            return None;
        }
        BundleId::try_from(&*Wire::decode(bytes).ok()?.bundle).ok()
    }

    /// Reads a verdict and checks that the key of the bundle's Uplink block signed it.
    ///
    /// # Errors
    /// [`VerdictError`]; such a verdict changes nothing.
    pub fn parse_verified(bytes: &[u8], bridge_key: &[u8; 32]) -> Result<Self, VerdictError> {
        if bytes.len() > SIZE_MAX {
            return Err(VerdictError::TooLarge(bytes.len()));
        }
        let wire = Wire::decode(bytes)?;
        let verdict = Self {
            bundle: BundleId::try_from(&*wire.bundle).map_err(|_| VerdictError::Field("bundle"))?,
            message: MessageDigest::try_from(&*wire.message).map_err(|_| VerdictError::Field("message"))?,
            code: VerdictCode::from_number(wire.code).ok_or(VerdictError::Code(wire.code))?,
            time_s: wire.time,
        };
        let parts = (&[verdict.code as u8], &verdict.time_s.to_be_bytes());
        verify(bridge_key, CONTEXT, &verdict.parts(parts.0, parts.1), &wire.signature)?;
        Ok(verdict)
    }

    fn parts<'a>(&'a self, code: &'a [u8; 1], time: &'a [u8; 8]) -> [&'a [u8]; 4] {
        [self.bundle.as_ref(), self.message.as_ref(), code, time]
    }
}

/// Several acceptances for one carrier under one signature: a carrier with a full pocket checks one signature for up to
/// [`Acceptances::MAX`] bundles, and its bridge makes one. They say what as many verdicts would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptances {
    /// B and P of each bundle, at least one and at most [`Acceptances::MAX`].
    pub bundles: Vec<(BundleId, MessageDigest)>,
    /// When that was decided, Unix seconds.
    pub time_s: u64,
}

impl Acceptances {
    /// Most bundles under one signature.
    pub const MAX: usize = 64;

    /// Encodes and signs them.
    #[must_use]
    pub fn sign(&self, bridge: &BridgeIdentity) -> Vec<u8> {
        let pairs = self.bundles.iter();
        let digests = pairs.flat_map(|(bundle, message)| [bundle.0, message.0]).collect::<Vec<_>>().concat();
        let signature = bridge.sign(CONTEXT_TOGETHER, &[&self.time_s.to_be_bytes(), &digests]).to_vec();
        WireTogether { digests, time: self.time_s, signature }.encode_to_vec()
    }

    /// The bundles that they claim to be about, unchecked; see [`Verdict::bundle_of`].
    #[must_use]
    pub fn bundles_of(bytes: &[u8]) -> Option<Vec<BundleId>> {
        let read = read_together(bytes).ok()?.1;
        Some(read.bundles.into_iter().map(|(bundle, _)| bundle).collect())
    }

    /// Reads acceptances and checks that this key signed them. They count for those bundles only whose Uplink block names
    /// it.
    ///
    /// # Errors
    /// [`VerdictError`]; such acceptances change nothing.
    pub fn parse_verified(bytes: &[u8], bridge_key: &[u8; 32]) -> Result<Self, VerdictError> {
        let (wire, read) = read_together(bytes)?;
        let parts: [&[u8]; 2] = [&read.time_s.to_be_bytes(), &wire.digests];
        verify(bridge_key, CONTEXT_TOGETHER, &parts, &wire.signature)?;
        Ok(read)
    }

    /// The same one by one.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let (code, time_s) = (VerdictCode::Accepted, self.time_s);
        self.bundles.iter().map(move |&(bundle, message)| Verdict { bundle, message, code, time_s })
    }
}

fn read_together(bytes: &[u8]) -> Result<(WireTogether, Acceptances), VerdictError> {
    if bytes.len() > TOGETHER_SIZE_MAX {
        return Err(VerdictError::TooLarge(bytes.len()));
    }
    let wire = WireTogether::decode(bytes)?;
    let (digests, rest) = wire.digests.as_chunks::<32>();
    let (pairs, odd) = digests.as_chunks::<2>();
    if !rest.is_empty() || !odd.is_empty() || !(1..=Acceptances::MAX).contains(&pairs.len()) {
        return Err(VerdictError::Field("digests"));
    }
    let bundles =
        pairs.iter().map(|[bundle, message]| (BundleId(*bundle), MessageDigest(*message))).collect();
    let read = Acceptances { bundles, time_s: wire.time };
    Ok((wire, read))
}
