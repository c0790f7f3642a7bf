//! From a TCP connection to a session: TLS, authentication, resource or resumption.

use minidom::Element;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::config::Account;
use super::scram::{Login, Step};
use super::sm::{Sm, h};
use super::{dial, tls};
use crate::ns;
use crate::reason::OfflineReason;
use crate::stanza::iq::{self, Kind};
use crate::wire::{Item, Wire, With, el};

/// A stream that can carry stanzas.
pub(super) type Stream = Wire<TlsStream<TcpStream>>;

/// What the login came to.
pub(super) struct LoggedIn {
    pub(super) wire: Stream,
    pub(super) session: Session,
    /// The largest stanza that the server takes, if it says (XEP-0478).
    pub(super) stanza_max: Option<usize>,
}

/// A session, new or continued.
pub(super) enum Session {
    /// The old one; its stanzas must be sent again.
    Resumed {
        /// How many of ours the server has.
        h: u32,
    },
    /// A new one.
    New(Sm),
}

const BIND_ID: &str = "bind";

/// Connects and logs in. `resume` is the element that asks for the old session; `number` is the new one's.
pub(super) async fn login(
    account: &Account,
    resume: Option<Element>,
    number: u64,
) -> Result<LoggedIn, OfflineReason> {
    let config = &account.config;
    let work = async {
        let tcp = dial::connect(&account.target, config.connect_timeout).await?;
        let mut wire = Wire::new(secure(account, tcp).await?, ns::CLIENT);
        let features = open(&mut wire, account).await?;
        authenticate(&mut wire, account, &features).await?;
        let features = open(&mut wire, account).await?;
        let stanza_max = stanza_max(&features);
        let sm = features.has_child("sm", ns::SM);
        if let Some(resume) = resume.filter(|_| sm)
            && let Some(h) = try_resume(&mut wire, account, resume).await?
        {
            return Ok(LoggedIn { wire, session: Session::Resumed { h }, stanza_max });
        }
        bind(&mut wire, account).await?;
        let session = if sm { enable(&mut wire, account, number).await? } else { Sm::new(number, None) };
        Ok(LoggedIn { wire, session: Session::New(session), stanza_max })
    };
    timeout(config.online_timeout, work)
        .await
        .map_err(|_elapsed| OfflineReason::Timeout { doing: "logging in" })?
}

/// XEP-0478: `<limits><max-bytes>` among the stream's features.
fn stanza_max(features: &Element) -> Option<usize> {
    let limit = features.get_child("limits", ns::LIMITS)?.get_child("max-bytes", ns::LIMITS)?;
    limit.text().trim().parse().ok()
}

/// TLS at once, or after asking for it. Without TLS nothing else is ever sent.
pub(super) async fn secure(account: &Account, tcp: TcpStream) -> Result<TlsStream<TcpStream>, OfflineReason> {
    let tcp = if account.config.direct_tls { tcp } else { starttls(account, tcp).await? };
    let handshake = account.tls.connect(account.server_name.clone(), tcp);
    match timeout(account.config.connect_timeout, handshake).await {
        Ok(result) => result.map_err(|error| tls::reason(&error)),
        Err(_elapsed) => Err(OfflineReason::Timeout { doing: "starting TLS" }),
    }
}

async fn starttls(account: &Account, tcp: TcpStream) -> Result<TcpStream, OfflineReason> {
    let mut wire = Wire::new(tcp, ns::CLIENT);
    let features = open(&mut wire, account).await?;
    if !features.has_child("starttls", ns::TLS) {
        return Err(OfflineReason::Tls {
            detail: "it does not offer STARTTLS".to_owned(),
            remedy: "enable TLS on the server, or use its direct TLS port",
        });
    }
    wire.push(&el("starttls", ns::TLS));
    let answer = element(&mut wire, account).await?;
    if answer.is("failure", ns::TLS) {
        return Err(OfflineReason::Tls {
            detail: "it refuses STARTTLS".to_owned(),
            remedy: "check the server's certificate and key",
        });
    }
    expect(&answer, "proceed", ns::TLS, account)?;
    Ok(wire.into_inner())
}

/// Opens a stream and waits for its features.
pub(super) async fn open<Io>(wire: &mut Wire<Io>, account: &Account) -> Result<Element, OfflineReason>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    wire.open(&account.domain());
    match next(wire).await? {
        Item::Opened { .. } => {}
        _ => return Err(OfflineReason::Protocol { detail: "no stream header".to_owned() }),
    }
    let features = element(wire, account).await?;
    expect(&features, "features", ns::STREAM, account)?;
    Ok(features)
}

async fn authenticate(wire: &mut Stream, account: &Account, features: &Element) -> Result<(), OfflineReason> {
    let none = el("mechanisms", ns::SASL);
    let mechanisms = features.get_child("mechanisms", ns::SASL).unwrap_or(&none);
    let username = account.jid.node().map(|node| node.to_string()).unwrap_or_default();
    let (mut login, auth) =
        Login::begin(mechanisms, &username, &account.config.password, account.config.allow_plain)?;
    wire.push(&auth);
    loop {
        let answer = element(wire, account).await?;
        match login.step(&answer).await? {
            Step::Send(element) => wire.push(&element),
            Step::Done => return Ok(()),
        }
    }
}

/// Asks for the old session. `None` when the server does not have it any more.
async fn try_resume(
    wire: &mut Stream,
    account: &Account,
    resume: Element,
) -> Result<Option<u32>, OfflineReason> {
    wire.push(&resume);
    let answer = element(wire, account).await?;
    if answer.is("failed", ns::SM) {
        return Ok(None);
    }
    expect(&answer, "resumed", ns::SM, account)?;
    let h = h(&answer)
        .ok_or_else(|| OfflineReason::Protocol { detail: "<resumed> without a count".to_owned() })?;
    Ok(Some(h))
}

async fn bind(wire: &mut Stream, account: &Account) -> Result<(), OfflineReason> {
    let mut bind = el("bind", ns::BIND);
    if let Some(resource) = &account.config.resource {
        bind.append_child(el("resource", ns::BIND).with_text(resource.as_str()));
    }
    wire.push(&el("iq", ns::CLIENT).with("type", "set").with("id", BIND_ID).child(bind));
    let answer = element(wire, account).await?;
    expect(&answer, "iq", ns::CLIENT, account)?;
    match iq::split(&answer) {
        Some((Kind::Result, _)) if answer.attr("id") == Some(BIND_ID) => Ok(()),
        Some((Kind::Error, _)) => {
            let (condition, _text) = crate::stanza::error::of_stanza(&answer);
            let detail = format!("no resource: {condition}");
            if condition == "conflict" {
                return Err(OfflineReason::Conflict { detail });
            }
            Err(OfflineReason::StreamEnded { detail })
        }
        _ => {
            Err(OfflineReason::Protocol { detail: "another answer to the request for a resource".to_owned() })
        }
    }
}

async fn enable(wire: &mut Stream, account: &Account, number: u64) -> Result<Sm, OfflineReason> {
    wire.push(&el("enable", ns::SM).with("resume", "true"));
    let answer = element(wire, account).await?;
    if answer.is("failed", ns::SM) {
        return Ok(Sm::new(number, None));
    }
    expect(&answer, "enabled", ns::SM, account)?;
    Ok(Sm::new(number, Some(&answer)))
}

async fn next<Io>(wire: &mut Wire<Io>) -> Result<Item, OfflineReason>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    wire.next().await.map_err(OfflineReason::broken)
}

pub(super) async fn element<Io>(wire: &mut Wire<Io>, account: &Account) -> Result<Element, OfflineReason>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    match next(wire).await? {
        Item::Element(element) if element.is("error", ns::STREAM) => {
            Err(OfflineReason::stream_error(&element, &account.domain()))
        }
        Item::Element(element) => Ok(element),
        Item::Closed => Err(OfflineReason::StreamEnded { detail: "the server closed the stream".to_owned() }),
        Item::Opened { .. } | Item::Refused(_) => {
            Err(OfflineReason::Protocol { detail: "an unreadable element while logging in".to_owned() })
        }
    }
}

fn expect(element: &Element, name: &str, ns: &str, account: &Account) -> Result<(), OfflineReason> {
    if element.is(name, ns) {
        return Ok(());
    }
    Err(OfflineReason::unexpected(element, &account.domain(), &format!("<{name}>")))
}
